"""Pools: each run once and whole, whatever becomes of its process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import stub_run
from tiny_project import ROOT

from affectbook import pools
from affectbook.errors import ParameterError, RunError
from affectbook.pools import DONE, FAILED, KILLED, Task


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pools, "project_root", lambda: tmp_path)
    return tmp_path


def task(place: Path, mode: str = "good", number: int = 0, notebook: str | None = "code") -> Task:
    key = f"{mode.replace(' ', '-')}-{number}"
    folder = place / "build" / "runs" / "tiny" / key
    return Task("tiny", f"run {number}", key, {"seed": number, "mode": mode}, folder, notebook)


def started(place: Path) -> list[list[str]]:
    """Return key, process and threads of every process that was started."""
    log = place / "build" / "runs" / "tiny" / "runs.log"
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def local(*tasks: Task, workers: int = 2, **more: object) -> dict[str, pools.Outcome]:
    ended = pools.local(tasks, workers, command=stub_run.COMMAND, **more)
    assert len(ended) == len(tasks)
    return {one.task.key: one for one in ended}


def test_every_run_is_a_process_with_its_threads(place: Path) -> None:
    ended = local(*(task(place, number=i) for i in range(3)), threads=3)
    assert {(one.state, one.attempts, one.where) for one in ended.values()} == {(DONE, 1, "local")}
    processes = started(place)
    assert len({process for _, process, _ in processes}) == 3
    assert {threads for _, _, threads in processes} == {"3"}


def test_a_killed_run_is_repeated_and_the_others_go_on(place: Path) -> None:
    ended = local(task(place, "killed once"), task(place), task(place, "fails"))
    told = {key: (one.state, one.attempts, one.message) for key, one in ended.items()}
    assert told == {
        "killed-once-0": (DONE, 2, ""),
        "good-0": (DONE, 1, ""),
        "fails-0": (FAILED, 1, "a cell of the test fails"),
    }


def test_a_run_that_is_killed_again_and_again_is_told(place: Path) -> None:
    (one,) = local(task(place, "killed")).values()
    assert (one.state, one.attempts) == (KILLED, pools.ATTEMPTS)
    assert one.message == "killed by SIGKILL; did memory run out? Fewer workers need less"
    assert len(started(place)) == pools.ATTEMPTS


def test_a_run_that_is_another_one_is_no_result(place: Path) -> None:
    (one,) = local(task(place, "another key")).values()
    assert one.state == FAILED
    assert one.message.startswith("expected run another-key-0, found another.")


def test_nothing_of_the_run_that_sweeps_reaches_its_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECTBOOK_RUN_DIR", "elsewhere")
    monkeypatch.setenv("AFFECTBOOK_RUN_KEY", "another")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = pools._environment(task(place), 2)
    assert "AFFECTBOOK_RUN_DIR" not in found and "AFFECTBOOK_RUN_KEY" not in found
    assert found["OMP_NUM_THREADS"] == found["MKL_NUM_THREADS"] == "2"
    assert found["AFFECTBOOK_QUIET"] == "1"
    assert found[pools.EXPECTED] == "good-0"


def test_each_run_that_ends_is_a_line_with_the_time_left(
    place: Path, capsys: pytest.CaptureFixture
) -> None:
    local(task(place), task(place, "fails"), workers=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["[1/2] run 0: done; about 0 min left", "[2/2] run 0: failed"]


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"threads": 0}, {"threads": 1.5}])
def test_a_pool_of_nobody_is_refused(place: Path, wrong: dict) -> None:
    with pytest.raises(ParameterError, match=f"{next(iter(wrong))}: expected at least 1, found"):
        local(task(place), **wrong)


def test_workers_share_the_cores(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Pool(pools.ThreadPoolExecutor):
        def __init__(self, workers: int) -> None:
            asked.append(workers)
            super().__init__(workers)

    monkeypatch.setattr(pools, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(pools, "cores", lambda: 8)
    for threads in (1, 3, 16):
        pools.local([], threads=threads)
    assert asked == [8, 2, 1]


def driver(place: Path, *modes: str) -> subprocess.Popen[str]:
    """Start a process that sends runs to a local pool."""
    script = place / "driver.py"
    script.write_text(
        "import signal, sys\nfrom pathlib import Path\nimport stub_run, test_pools\n"
        "from affectbook import pools\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "pools.project_root = Path.cwd\n"
        "tasks = [test_pools.task(Path.cwd(), mode, i) for i, mode in enumerate(sys.argv[1:])]\n"
        "pools.local(tasks, 2, command=stub_run.COMMAND)\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "lib"), str(ROOT / "tests")])}
    return subprocess.Popen(
        [sys.executable, script, *modes], cwd=place, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def alive(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition: object, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_runs_end_with_their_driver(place: Path, how: signal.Signals) -> None:
    sweep = driver(place, "waits", "waits", "good")
    until(lambda: len(started(place)) == 2)
    sweep.send_signal(how)
    _, told = sweep.communicate(timeout=30)
    until(lambda: not any(alive(process) for _, process, _ in started(place)))
    assert sweep.returncode != 0
    assert len(started(place)) == 2, "nothing may be started after an interrupt"
    if how == signal.SIGINT:
        assert "0 of 3 runs ended before the interrupt." in told


def fetched(place: Path, number: int = 0) -> tuple[Task, dict[str, bytes]]:
    """Return a run, and the files that a worker would send."""
    one, other = task(place, number=number), place / "worker"
    other.mkdir(parents=True)
    stub_run.write(other, "tiny", one.key, {"seed": number})
    return one, {name: (other / name).read_bytes() for name in pools.FILES}


def test_a_fetched_run_is_kept_whole(place: Path) -> None:
    one, sent = fetched(place)
    assert pools.keep(one, sent) == ""
    assert {path.name: path.read_bytes() for path in one.folder.iterdir()} == sent
    assert list(one.folder.parent.iterdir()) == [one.folder]


def test_a_run_that_is_there_stays(place: Path) -> None:
    one, sent = fetched(place)
    pools.keep(one, sent)
    before = one.folder.stat().st_ino
    assert pools.keep(one, sent) == ""
    assert one.folder.stat().st_ino == before


def test_a_run_of_an_older_notebook_is_replaced(place: Path) -> None:
    one, sent = fetched(place)
    pools.keep(one, sent)
    path = one.folder / "provenance.json"
    path.write_text(path.read_text().replace('"code"', '"older"'))
    assert pools.why_not(one, one.folder) == "it was made by another version of the notebook"
    assert pools.keep(one, sent) == ""
    assert path.read_bytes() == sent["provenance.json"]
    assert list(one.folder.parent.iterdir()) == [one.folder]


def spoilt(sent: dict[str, bytes], what: str) -> dict[str, bytes]:
    made = json.loads(sent["provenance.json"])
    changed = {
        "key": made | {"run_key": "another"},
        "notebook": made | {"notebook": "another"},
        "nothing": {},
        "no mapping": [],
    }
    if what in changed:
        return sent | {"provenance.json": json.dumps(changed[what]).encode()}
    if what == "scores":
        return sent | {"scores.csv": sent["scores.csv"] + b"\n"}
    return {name: content for name, content in sent.items() if name != "page.html"}


@pytest.mark.parametrize(
    ("what", "told"),
    [("key", "expected run good-0, found another"), ("notebook", "another version of the noteb"),
     ("nothing", "provenance cannot be read"), ("no mapping", "provenance cannot be read"),
     ("scores", "scores.csv is not what the run wrote"), ("a file", "sent no page.html")],
)  # fmt: skip
def test_a_fetched_run_that_is_not_the_one_leaves_nothing(
    place: Path, what: str, told: str
) -> None:
    one, sent = fetched(place)
    wrong = pools.keep(one, spoilt(sent, what))
    assert told in wrong
    assert ("the worker's code or data differ" in wrong) == (what != "a file")
    assert not one.folder.exists()
    assert not one.folder.parent.exists() or not list(one.folder.parent.iterdir())


def test_files_of_other_names_are_not_written(place: Path) -> None:
    one, sent = fetched(place)
    assert pools.keep(one, sent | {"../../canary": b"!"}) == ""
    assert not list(place.rglob("canary"))


@pytest.mark.parametrize(
    ("address", "told"),
    [("localhost", "missing port"), ("nonsense://a:1", "unknown address scheme"),
     ("tcp://127.0.0.1:1", "nobody within 0.3 s")],
)  # fmt: skip
def test_a_scheduler_that_does_not_answer_is_one_message(
    place: Path, monkeypatch: pytest.MonkeyPatch, address: str, told: str
) -> None:
    monkeypatch.setattr(pools, "REACH_S", 0.3)
    with pytest.raises(RunError, match=f"no scheduler of Dask answers at '{address}': {told}"):
        pools.dask([task(place)], address)
