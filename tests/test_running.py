"""One run: which key it has, what makes it finished, what is changed while it is made."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tiny_project import CELLS, TinyProject

from affectbook import pools, running, runs


def test_none_and_what_the_scale_says_are_one_run() -> None:
    by_scale = running.plan("hcmnet", {"scale": "smoke"})
    named = {"scale": "smoke", "epochs": by_scale.setting["epochs"]}
    assert running.plan("hcmnet", named).key == by_scale.key
    assert running.plan("hcmnet", named | {"epochs": named["epochs"] + 1}).key != by_scale.key


@pytest.mark.usefixtures("ran")
def test_every_file_of_a_run_is_there_or_it_is_made_again(tiny: TinyProject) -> None:
    (folder,) = (tiny.root / "build" / "runs" / "tiny").iterdir()
    before = {path.name for path in folder.iterdir()}
    (folder / "predictions.csv").unlink()
    again = tiny.runs("run", "tiny", "-p", "seed", "5")
    assert "finished before" not in again.stdout and again.returncode == 0
    assert {path.name for path in folder.iterdir()} == before == set(pools.FILES)


@pytest.mark.parametrize(
    "what",
    ["code", *(pytest.param(one, marks=pytest.mark.slow) for one in ("notebook", "comment"))],
)
def test_what_was_edited_meanwhile_is_no_result(tiny: TinyProject, what: str) -> None:
    wait = "open('begun', 'w').close()\nwhile not os.path.exists('go'):\n    time.sleep(0.1)"
    cells = [CELLS[0], f"import os\nimport time\n{wait}", *CELLS[1:]]
    tiny.write_notebook(cells)
    started = tiny.start("run", "tiny")
    while not (tiny.notebook.parent / "begun").exists():
        assert started.poll() is None
        time.sleep(0.1)
    if what == "notebook":
        tiny.write_notebook([*cells, "1 + 1"])
    else:
        tiny.core.write_text({"code": "VALUE = 8\n", "comment": "VALUE = 7  # seven\n"}[what])
    (tiny.notebook.parent / "go").touch()
    _, told = started.communicate()
    there = sorted(path.name for path in (tiny.root / "build" / "runs" / "tiny").iterdir())
    if what == "comment":
        assert started.returncode == 0 and len(there) == 1
    else:
        assert started.returncode == 2 and "were changed while run" in told and not there


def test_a_run_that_is_not_the_one_waited_for_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(pools.EXPECTED, "another")
    with pytest.raises(running.RunError, match="expected run another, found [0-9a-f]{12}"):
        running.run("hcmnet", {})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("run hcmnet --timeout 0", "1 second or more"),
        ("run hcmnet --timeout -5", "1 second or more"),
        ("run hcmnet -p seed 1 -p seed 2", "given twice: seed"),
        ("run hcmnet --parameters twice.json", "given twice: seed"),
        ("run hcmnet -p seed 4294968", "seed: expected 0 to"),
        ("sweep hcmnet --grid grid.yaml -p seed 1", "no -p"),
        ("sweep hcmnet ablations --grid grid.yaml", "no sweep"),
        ("sweep hcmnet ablations --scheduler tcp://here:1", "--scheduler"),
        ("sweep hcmnet ablations --threads 2", "--threads"),
        ("sweep hcmnet ablations --workers 0", "1 worker or more"),
    ],
)
def test_nothing_that_is_asked_for_is_passed_over(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "_ask_for_cells", lambda *_: None)
    Path("twice.json").write_text('{"seed": 1, "seed": 2}')
    Path("grid.yaml").write_text("seed: [0, 1]\n")
    assert runs.main(arguments.split()) == 2
    assert told in capsys.readouterr().err
