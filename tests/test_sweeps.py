"""Sweeps: each cell is kept when it is done, known by what decides it, and done once."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

from affectbook import experiments, papers, sweeps
from affectbook.analyses import ANALYSES
from affectbook.errors import ParameterError, ProtocolError
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


def test_what_is_added_to_a_setting_leaves_the_keys_of_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else every record would be stale by more than its code."""
    setting, code = sweeps.setting_of("hcmnet", MAJORITY), {"lib/a.py": "1"}
    before = {name: value for name, value in asdict(setting).items() if name != "highpass"}
    resolved = [hcmnet.network_options(setting.variant), hcmnet.training_options(setting.variant)]
    told = ["references", before, MAJORITY.options, resolved,
            experiments.load(setting).content_hash(), code]  # fmt: skip
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
    assert sweeps.key_under("hcmnet", MAJORITY, code) == key
    monkeypatch.setattr(hcmnet, "setting", lambda _: replace(setting, highpass=4.0))
    assert sweeps.key_under("hcmnet", MAJORITY, code) != key


def test_another_filter_makes_other_windows() -> None:
    setting = sweeps.setting_of("hcmnet", MAJORITY)
    usual, other = (sweeps._windows_of(replace(setting, highpass=edge)) for edge in (0.5, 4.0))
    assert usual != other and sweeps._windows_of(setting) == usual


def test_cells_may_train_on_less_and_take_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    options = [{"share": 0.5, "of": "trials"}, {"session": "1"}, {"share": 1.0}, {}]
    own = tuple(replace(MAJORITY, options=MAJORITY.options | more) for more in options)
    monkeypatch.setitem(hcmnet.SWEEPS, "tiny", own)
    folder = sweeps.run("hcmnet", "tiny")
    keys = [sweeps.key("hcmnet", cell) for cell in own]
    assert len(set(keys)) == 4
    tables = [pd.read_csv(folder / key / "scores.csv", keep_default_na=False) for key in keys]
    told = [(rows["variant"].iloc[0], rows["dataset"].iloc[0]) for rows in tables]
    assert told == [("0.5_of_trials", "wesad"), ("", "wesad session 1"), ("", "wesad"),
                    ("", "wesad")]  # fmt: skip
    same = [rows.drop(columns=["run_key", "dataset"]) for rows in tables[1:]]
    assert same[0].equals(same[2]) and same[1].equals(same[2]), "the twin has one session"


def test_a_network_trains_on_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hcmnet, "build", lambda *_: DummyClassifier())
    setting = sweeps.setting_of("hcmnet", MAJORITY)
    experiment = experiments.Experiment(setting, experiments.load(setting))
    ANALYSES["network"](hcmnet, experiment, share=0.25, of="subjects", session="1", placebo=True)
    (rows,) = experiment.rows
    assert set(rows["variant"]) == {f"{setting.variant}+0.25_of_subjects"}
    assert set(rows["dataset"]) == {"wesad session 1"} and rows["placebo"].all()
    with pytest.raises(ProtocolError, match="share 0.25 of ''"):
        ANALYSES["network"](hcmnet, experiment, share=0.25)
    with pytest.raises(ParameterError, match="has session 7; there are session: 1"):
        ANALYSES["network"](hcmnet, experiment, session="7")


def test_reference_models_of_a_paper_count_where_they_compute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = Path(sweeps.__file__).parents[2]
    more = root / "lib" / "affectbook" / "models" / "checkpoint.py"
    cells_of = {name: Cell(name, SMALL) for name in ("references", "transfer", "network")}
    before = {n: sweeps.computing_code(root, "hcmnet", one) for n, one in cells_of.items()}
    assert not any(more in found for found in before.values())
    monkeypatch.setattr(hcmnet, "REFERENCES", ("affectbook.models.checkpoint",), raising=False)
    after = {n: sweeps.computing_code(root, "hcmnet", one) for n, one in cells_of.items()}
    assert more in after["references"] and more in after["transfer"]
    assert after["network"] == before["network"]
    monkeypatch.setattr(hcmnet, "USES", ("affectbook.models.checkpoint",), raising=False)
    assert more in sweeps.computing_code(root, "hcmnet", cells_of["network"])


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
