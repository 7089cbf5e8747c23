"""Records are confirmed by cells made again: bit-equal or not at all, whole or not at all."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
from test_sweeps import MAJORITY, SHUFFLED, elsewhere  # noqa: F401

from affectbook import confirming, experiments, records, results, sealed, staleness, sweeps
from affectbook.errors import DataNotFoundError, RunError
from affectbook.papers import hcmnet
from affectbook.scales import Cell

OLD = "lib/affectbook/evaluate.py"


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a record of two cells whose code has changed since, one file of it."""

    def inline(paper: str, cell: Cell, folder: Path, threads: int) -> None:
        sweeps.evaluate(paper, cell, folder)

    monkeypatch.setattr(results, "project_root", lambda: tmp_path)
    monkeypatch.setattr(confirming, "build_dir", sweeps.build_dir)
    monkeypatch.setattr(confirming, "make_again", inline)
    sweeps.run("hcmnet", "tiny")
    folder = records.record("hcmnet", "tiny")[0]
    told = sealed.require(folder)
    told["code"]["references"][OLD] = "of another day"
    rekey(folder, told)
    return folder


def test_a_setting_recorded_in_full_is_the_one_that_leaves_out_what_was_added() -> None:
    setting = sweeps.setting_of("hcmnet", MAJORITY)
    named = {"analysis": "references", "options": {"names": ["majority"]}}
    own = staleness.identity(MAJORITY, "hcmnet")
    assert staleness.identity(named | {"parameters": asdict(setting)}) == own
    assert staleness.identity(named | {"parameters": experiments.told(setting)}) == own
    other = asdict(replace(setting, highpass=4.0))
    assert staleness.identity(named | {"parameters": other}) != own


def rekey(folder: Path, told: dict) -> None:
    """Give a record the keys that its cells have under the code that it names."""
    today, renamed = staleness.today_of("hcmnet", "tiny"), {}
    for one in told["cells"]:
        cell = today[staleness.identity(one)]
        renamed[one["key"]] = sweeps.key_under("hcmnet", cell, told["code"]["references"])
        one["key"] = renamed[one["key"]]
    for path in folder.glob("*.csv.gz"):
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
        results.write_rows(rows.assign(run_key=rows["run_key"].map(renamed)), path)
    sealed.seal(folder, told)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def change(folder: Path, before: str, after: str) -> None:
    """Change the recorded scores and seal them, as if another code had made them."""
    path = folder / "scores.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    assert before in text
    path.write_bytes(gzip.compress(text.replace(before, after).encode(), mtime=0))
    sealed.seal(folder, sealed.glance(folder))


def test_cells_that_come_out_equal_confirm_the_whole_record(recorded: Path) -> None:
    assert records.stale(recorded) == [OLD]
    before = results.recorded("hcmnet")
    said = records.confirm("hcmnet", "tiny")
    assert "1 of 2 cells made again" in said and "bit-equal" in said
    assert records.stale(recorded) == []
    now, told = results.recorded("hcmnet"), sealed.require(recorded)
    pd.testing.assert_frame_equal(now.drop(columns="run_key"), before.drop(columns="run_key"))
    keys = {sweeps.key("hcmnet", cell) for cell in (MAJORITY, SHUFFLED)}
    assert {*now["run_key"]} == {cell["key"] for cell in told["cells"]} == keys
    (note,) = told["confirmed"]
    assert note["of"] == 2 and set(note["cells"]) < keys
    assert set(note) == {"finished", "commit", "dirty", "cells", "of"}
    assert records.confirm("hcmnet", "tiny").endswith("nothing to confirm")


def test_what_was_confirmed_stays_told_while_cells_of_it_stay(recorded: Path) -> None:
    records.confirm("hcmnet", "tiny", cells=2)
    told = sealed.require(recorded)
    told["code"]["references"][OLD] = "of a third day"
    rekey(recorded, told)
    records.confirm("hcmnet", "tiny")
    told = sealed.require(recorded)
    assert [len(note["cells"]) for note in told["confirmed"]] == [2, 1]
    keys = {cell["key"] for cell in told["cells"]}
    assert all(set(note["cells"]) <= keys for note in told["confirmed"])
    shutil.rmtree(sweeps.folder_of("hcmnet", "tiny"))
    sweeps.run("hcmnet", "tiny", {"seed": "1"})
    records.record("hcmnet", "tiny")
    assert len(sealed.require(recorded)["confirmed"]) == 2, "seed 0 stayed"
    sweeps.run("hcmnet", "tiny")
    records.record("hcmnet", "tiny")
    assert "confirmed" not in sealed.require(recorded), "all of it was made again"


def test_a_cell_that_comes_out_otherwise_is_named_and_nothing_is_changed(recorded: Path) -> None:
    change(recorded, "0.3333333333", "0.3333333334")
    before = contents(recorded)
    with pytest.raises(RunError) as error:
        records.confirm("hcmnet", "tiny")
    for word in ("scores.csv, row ", " (estimator majority, fold 0, subject all, metric ",
                 "'0.3333333334' recorded, '0.3333333333' now", "Nothing was changed"):  # fmt: skip
        assert word in str(error.value)
    assert contents(recorded) == before
    assert [path.name for path in recorded.parent.iterdir()] == ["hcmnet_tiny"]


def test_rows_that_are_too_many_are_a_difference(recorded: Path) -> None:
    path = recorded / "predictions.csv.gz"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    results.write_rows(pd.concat([rows, rows.tail(1), rows.head(1)]), path)
    sealed.seal(recorded, sealed.glance(recorded))
    with pytest.raises(RunError, match="predictions.csv, 37 rows recorded, 36 now"):
        records.confirm("hcmnet", "tiny", cells=2)


def test_more_than_code_cannot_be_confirmed(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(recorded)
    with monkeypatch.context() as patch:
        patch.setitem(hcmnet.SWEEPS, "tiny", (MAJORITY,))
        with pytest.raises(RunError, match="stale by more than its code: parameters of"):
            records.confirm("hcmnet", "tiny")
    with monkeypatch.context() as patch:
        # The file that says what a variant means is hashed by itself.
        patch.setitem(hcmnet.VARIANTS, "pool_strides_8_8_2", {"pool_strides": (8, 8, 4)})
        with pytest.raises(RunError, match="what its variant means"):
            records.confirm("hcmnet", "tiny")

    def absent(setting: object) -> None:
        raise DataNotFoundError("no data here")

    with monkeypatch.context() as patch:
        patch.setattr(sweeps, "_loaded", absent)
        with pytest.raises(DataNotFoundError):
            records.confirm("hcmnet", "tiny")
    with pytest.raises(RunError, match="1 cell or more"):
        records.confirm("hcmnet", "tiny", cells=0)
    assert contents(recorded) == before


def test_without_a_record_there_is_nothing_to_confirm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "project_root", lambda: tmp_path)
    with pytest.raises(RunError, match="no record hcmnet_tiny"):
        records.confirm("hcmnet", "tiny")


def test_options_of_a_record_are_those_of_its_cell_after_json() -> None:
    cell = Cell("transfer", dict(MAJORITY.parameters), {"references": ("a",), "to": None})
    setting = json.loads(json.dumps(vars(sweeps.setting_of("hcmnet", cell))))
    told = {"analysis": "transfer", "options": {"to": None, "references": ["a"]}}
    assert staleness.identity(told | {"parameters": setting}) == staleness.identity(cell, "hcmnet")


@pytest.mark.slow
def test_a_cell_is_made_again_with_as_many_threads_as_it_was_made_with(tmp_path: Path) -> None:
    confirming.make_again("hcmnet", MAJORITY, tmp_path / "again", threads=1)
    made = json.loads((tmp_path / "again" / "made.json").read_text())
    assert made["machine"]["torch_threads"] == 1 and (tmp_path / "again" / "scores.csv").is_file()


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
@pytest.mark.parametrize("exchange", ["True", "False"], ids=["in one step", "in two"])
@pytest.mark.parametrize("step", range(4))
def test_a_kill_leaves_the_old_record_or_the_new_one(
    tmp_path: Path, step: int, exchange: str
) -> None:
    folder = tmp_path / "results" / "recorded" / "mine"
    folder.mkdir(parents=True)
    (folder / "scores.csv").write_text("old")
    sealed.seal(folder, {"which": "old"})
    # Each call that changes a name counts; before the one of this number the process is gone.
    script = (
        "import os, signal, shutil, sys\n"
        "from pathlib import Path\n"
        "from affectbook import sealed\n"
        "left = int(sys.argv[2])\n"
        "def counted(act):\n"
        "    def one(*given, **named):\n"
        "        global left\n"
        "        if left == 0:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        left -= 1\n"
        "        return act(*given, **named)\n"
        "    return one\n"
        "folder = Path(sys.argv[1])\n"
        f"if not {exchange}:\n"
        "    sealed._exchanged = lambda *paths: False\n"
        "sealed._exchanged = counted(sealed._exchanged)\n"
        "with sealed.locked(folder), sealed.replaced(folder) as fresh:\n"
        "    (fresh / 'scores.csv').write_text('new')\n"
        "    sealed.seal(fresh, {'which': 'new'})\n"
        "    Path.replace = counted(Path.replace)\n"
        "    shutil.rmtree = counted(shutil.rmtree)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, folder, str(step)], check=False)
    assert done.returncode in (0, -signal.SIGKILL)
    with sealed.locked(folder):
        pass
    which = sealed.require(folder)["which"]
    assert (folder / "scores.csv").read_text() == which
    assert which == "new" or done.returncode
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]
