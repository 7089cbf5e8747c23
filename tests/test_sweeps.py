"""Sweeps: each cell is kept when it is done, known by what decides it, and done once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from affectbook import experiments, papers, sweeps
from affectbook.analyses import ANALYSES
from affectbook.errors import ParameterError
from affectbook.papers import hcmnet
from affectbook.scales import Cell, cells

SMALL = {"scale": "smoke", "subjects": 3}
MAJORITY = Cell("references", SMALL, {"names": ("majority",)})
SHUFFLED = replace(
    MAJORITY, parameters=SMALL | {"protocol": "shuffled_windows_as_published", "seed": 1}
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make cells outside of the checkout, one after another in this process."""

    def build_dir(*parts: str) -> Path:
        folder = tmp_path.joinpath("build", *parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def inline(paper: str, missing: list, workers: int) -> Iterator[tuple[Cell, float]]:
        for cell, folder in missing:
            yield cell, sweeps.evaluate(paper, cell, folder)

    monkeypatch.setattr(sweeps, "build_dir", build_dir)
    monkeypatch.setattr(sweeps, "_evaluated", inline)
    monkeypatch.setitem(hcmnet.SWEEPS, "tiny", (MAJORITY, SHUFFLED))


def test_a_cell_leaves_scores_predictions_and_what_made_it() -> None:
    folder = sweeps.run("hcmnet", "tiny")
    keys = [sweeps.key("hcmnet", cell) for cell in (MAJORITY, SHUFFLED)]
    assert sorted(path.name for path in folder.iterdir()) == sorted(keys)
    scores = pd.read_csv(folder / keys[1] / "scores.csv")
    assert set(scores["estimator"]) == {"majority"} and set(scores["seed"]) == {1}
    assert set(scores["run_key"]) == {keys[1]}
    made = json.loads((folder / keys[1] / "made.json").read_text())
    assert made["parameters"]["protocol"] == "shuffled_windows_as_published"
    assert made["analysis"] == "references" and made["options"] == {"names": ["majority"]}
    assert "lib/affectbook/evaluate.py" in made["code"] and made["data"]["windows"][0] == 36


def test_what_is_done_is_not_done_again(capsys: pytest.CaptureFixture) -> None:
    folder = sweeps.run("hcmnet", "tiny")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.csv")}
    sweeps.run("hcmnet", "tiny")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.csv")} == before
    assert "2 done before" in capsys.readouterr().out


def test_a_cell_that_another_process_made_meanwhile_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = sweeps.run("hcmnet", "tiny")
    cell = folder / sweeps.key("hcmnet", MAJORITY)
    before = (cell / "made.json").stat().st_mtime_ns
    monkeypatch.setattr(sweeps.locks, "alone", lambda *_: nullcontext(True))
    sweeps.evaluate("hcmnet", MAJORITY, cell)
    assert (cell / "made.json").stat().st_mtime_ns == before


def test_a_cell_that_fails_leaves_nothing_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a fold of the test fails")

    monkeypatch.setitem(ANALYSES, "references", fail)
    with pytest.raises(ZeroDivisionError, match="a fold of the test"):
        sweeps.run("hcmnet", "tiny")
    assert list(sweeps.folder_of("hcmnet", "tiny").iterdir()) == []


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 5}, {"protocol": "leave_one_subject_out"}, {"epochs": 2}, {"seconds": 4.0},
        {"variant": "no_bissm"}, {"subjects": 2}, {"effect": 0.5},
    ],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_another_parameter_is_another_cell(other: dict) -> None:
    changed = replace(MAJORITY, parameters=SMALL | other)
    assert sweeps.key("hcmnet", changed) != sweeps.key("hcmnet", MAJORITY)


def test_other_options_are_another_cell() -> None:
    changed = replace(MAJORITY, options={"names": ("majority",), "placebo": True})
    assert sweeps.key("hcmnet", changed) != sweeps.key("hcmnet", MAJORITY)
    assert sweeps.key("hcmnet", MAJORITY) == sweeps.key("hcmnet", replace(MAJORITY))


def test_a_variant_with_another_meaning_is_another_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sweeps.key("hcmnet", MAJORITY)
    monkeypatch.setitem(hcmnet.VARIANTS, "pool_strides_8_8_2", {"pool_strides": (8, 8, 4)})
    assert sweeps.key("hcmnet", MAJORITY) != before


def test_windows_with_other_content_are_another_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sweeps.key("hcmnet", MAJORITY)
    load = experiments.load

    def louder(setting: experiments.Setting) -> experiments.Data:
        data = load(setting)
        return replace(data, X=data.X * 2)

    monkeypatch.setattr(sweeps, "load", louder)
    sweeps._loaded.cache_clear()
    assert sweeps.key("hcmnet", MAJORITY) != before
    sweeps._loaded.cache_clear()


def test_only_code_that_decides_a_score_counts() -> None:
    root = Path(sweeps.__file__).parents[2]
    of_network = Cell("network", SMALL)
    found = {path.stem for path in sweeps.computing_code(root, "hcmnet", of_network)}
    assert {"evaluate", "protocols", "audit", "scoring", "hcmnet", "nlcca", "mamba2"} <= found
    drawing = {"figures", "results", "claims", "pages", "runs", "sweeps", "analyses"}
    # New data sets must not make a record stale: the windows are hashed themselves.
    reading = {"wesad", "eegmat", "windows", "simulate", "card"}
    assert not found & (drawing | reading)
    assert "personalise" not in found and "small_cnn" not in found
    own = root / "lib" / "affectbook" / "papers" / "hcmnet.py"
    assert own not in sweeps.computing_code(root, "hcmnet", of_network)


def test_part_of_a_sweep_can_be_asked_for() -> None:
    assert sweeps.chosen("hcmnet", "tiny", {"seed": "1"}) == [SHUFFLED]
    with pytest.raises(
        ParameterError, match="no cell of the sweep tiny has seed 2; there are seed: 0, 1"
    ):
        sweeps.chosen("hcmnet", "tiny", {"seed": "2"})
    with pytest.raises(ParameterError, match="did you mean seed"):
        sweeps.chosen("hcmnet", "tiny", {"sed": "1"})
    with pytest.raises(ParameterError, match="no sweep 'tinny'; it has recorded"):
        sweeps.chosen("hcmnet", "tinny", {})


def test_a_sweep_without_workers_is_refused() -> None:
    with pytest.raises(ParameterError, match="1 worker or more, not 0"):
        sweeps.run("hcmnet", "tiny", workers=0)


def test_axes_are_multiplied_the_first_slowest() -> None:
    found = cells("network", {"scale": "smoke"}, {"seed": (0, 1), "variant": ("a", "b")}, x=1)
    told = [(cell.parameters["seed"], cell.parameters["variant"]) for cell in found]
    assert told == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]
    assert all(cell.options == {"x": 1} and cell.parameters["scale"] == "smoke" for cell in found)
    assert "variant a" in str(found[0]) and "network" in str(found[0])


@pytest.mark.parametrize("paper", papers.names())
def test_every_cell_of_a_paper_can_be_resolved(paper: str) -> None:
    for name, own in papers.get(paper).SWEEPS.items():
        for cell in own:
            assert cell.analysis in ANALYSES, name
            assert sweeps.setting_of(paper, cell).tier in ("open", "simulated")
        told = [json.dumps([c.analysis, c.parameters, c.options], default=str) for c in own]
        assert len(set(told)) == len(told), f"{name} has a cell twice"


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(
        "import os, sys, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "from affectbook.sweeps import stop_with_parent\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(1, get_context('spawn'), initializer=stop_with_parent)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    pool.submit(time.sleep, 600)\n"
        "    time.sleep(600)\n"
    )
    driver = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    worker = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    ended = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < ended:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists() or os.name != "posix"
