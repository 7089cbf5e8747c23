"""Sweeps: a grid is checked whole before anything starts; each run counts once, none is made up."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import stub_run
import yaml
from hypothesis import given
from hypothesis import strategies as st

from affectbook import grids, notebook, params, pools, results, running
from affectbook.errors import DataNotFoundError, ParameterError
from affectbook.grids import GridError


@dataclass(frozen=True)
class Params:
    """Of a paper that does not exist."""

    seed: int = field(default=0, metadata={"low": 0})
    epochs: int | None = field(default=None, metadata={"low": 1})
    rate: float = 1.0
    mode: str = "good"
    word: str = ""


Swept = Callable[..., Path]


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Let plans be made without a notebook; return what was planned."""
    asked: list[dict] = []

    def plan(paper: str, given: Mapping[str, object]) -> running.Plan:
        asked.append(dict(given))
        parsed = asdict(params.parse(Params, given))
        if parsed["word"] == "nowhere":
            raise ParameterError(f"nowhere is no word (seed {parsed['seed']})")
        setting = parsed | {"epochs": parsed["epochs"] or 5}
        text = json.dumps(setting, sort_keys=True)
        key = grids.hashlib.sha256(text.encode()).hexdigest()[:12]
        folder = tmp_path / "build" / "runs" / paper / key
        return running.Plan(paper, parsed, setting, None, key, folder, ())

    def build_dir(*parts: str) -> Path:
        folder = tmp_path.joinpath("build", *parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    monkeypatch.setattr(grids.papers, "get", lambda name: SimpleNamespace(Params=Params))
    monkeypatch.setattr(grids, "running", SimpleNamespace(plan=plan, Plan=running.Plan))
    monkeypatch.setattr(grids, "notebook", SimpleNamespace(
        read=lambda path: {}, code_hash=lambda content: "code"))  # fmt: skip
    monkeypatch.setattr(grids, "build_dir", build_dir)
    monkeypatch.setattr(grids, "project_root", lambda: tmp_path)
    monkeypatch.setattr(pools, "project_root", lambda: tmp_path)
    return asked


@pytest.fixture
def swept(planned: list[dict]) -> Swept:
    """Return what sweeps a grid with runs that are over in a moment."""

    def sweep(grid: object, **more: object) -> Path:
        return grids.sweep_to_folder("tiny", grid, workers=2, command=stub_run.COMMAND, **more)

    return sweep


def started(tmp_path: Path) -> int:
    log = tmp_path / "build" / "runs" / "tiny" / "runs.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "grid.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_values_of_a_grid_are_the_text_that_stands_there(tmp_path: Path) -> None:
    text = "rate: [1e-3, 012]\nword: no\nseed: !!str 1\nepochs: [null, '5', ~]\nmode: [on, 1:30]"
    assert grids.read(written(tmp_path, text)) == {
        "rate": ["1e-3", "012"], "word": ["no"], "seed": ["1"], "epochs": [None, "5", None],
        "mode": ["on", "1:30"],
    }  # fmt: skip


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), st.lists(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text(), min_size=1, max_size=3),
    min_size=1, max_size=4))  # fmt: skip
def test_what_yaml_writes_is_read(grid: dict[str, list]) -> None:
    text = yaml.safe_dump(grid)
    read = grids._checked(yaml.load(text, grids._Loader))
    assert list(read) == sorted(grid)
    for name, values in grid.items():
        for value, found in zip(values, read[name], strict=True):
            if isinstance(value, int | float):
                assert float(found.replace(".inf", "inf")) == float(value)
            else:
                assert found == value


GRIDS = {
    "nothing": (b"", "field: grid; found: nothing; expected: a mapping"),
    "a list": (b"[1, 2]", "found: list; expected: a mapping"),
    "a word": (b"seed", "found: str"),
    "an empty list": (b"seed: []", "field: seed; found: an empty list; expected: one value"),
    "no value": (b"seed: [1]\nepochs:\n", "field: line 2; found: epochs without a value"),
    "a list in a list": (b"seed: [[1]]", "field: seed; found: a list; expected: a list of single"),
    "a mapping in a list": (b"seed: [{a: 1}]", "found: a dict"),
    "a mapping": (b"seed: {a: 1}", "found: a dict"),
    "a key twice": (b"seed: 1\nepochs: 2\nseed: 3", "field: line 3; found: seed a second time"),
    "too many": (b"seed: [" + b"1," * 101 + b"]\nepochs: [" + b"1," * 100 + b"]",
                 "field: size; found: 10,100 combinations; expected: at most 10,000"),
    "too large": (b"#" * 1_000_001, "field: size; found: 1,000,001 bytes"),
    "no YAML": (b"seed: [1", "field: line 1; found: expected"),
    "a tab": (b"seed:\n\t- 1", "field: line 2"),
    "two documents": (b"seed: 1\n---\nseed: 2", "field: line 2; found: but found another document"),
    "code": (b"seed: !!python/object/apply:os.system [touch canary]", "could not determine"),
    "a date": (b"seed: !!timestamp 2026-01-02", "found: a date"),
    "no text": (b"seed: [\xff]", "field: text; found: byte 7 is none of UTF-8"),
    "a control code": (b"seed: \x07", "special characters are not allowed"),
    "depth": (b"seed: " + b"[" * 5000, "field: text; found: brackets too deep"),
}  # fmt: skip


@pytest.mark.parametrize("what", GRIDS)
def test_what_is_no_grid_is_one_message(tmp_path: Path, what: str) -> None:
    content, told = GRIDS[what]
    with pytest.raises(GridError, match=re.escape(told)) as raised:
        grids.read(written(tmp_path, content))
    text = str(raised.value)
    assert "grid.yaml" in text and "do: " in text and "\n" not in text
    assert isinstance(raised.value, ParameterError)
    assert not Path("canary").exists() and not (tmp_path / "canary").exists()


def test_a_grid_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"file: .*no\.yaml; .*do: make it"):
        grids.read(tmp_path / "no.yaml")
    with pytest.raises(DataNotFoundError):
        grids.read(tmp_path)


def test_a_grid_from_python_may_hold_arrays_and_ranges(planned: list[dict]) -> None:
    found = {"seed": range(2), "rate": np.linspace(0, 1, 2), "epochs": np.int64(3), "word": "a, b"}
    runs = grids.plans("tiny", found)
    assert [one.values for one in runs] == [
        {"seed": seed, "rate": rate, "epochs": 3, "word": "a, b"}
        for seed in (0, 1) for rate in (0.0, 1.0)
    ]  # fmt: skip
    with pytest.raises(GridError, match="field: seed; found: a set"):
        grids.plans("tiny", {"seed": {1, 2}})


def test_all_faults_are_one_message_before_anything_starts(swept: Swept, tmp_path: Path) -> None:
    wrong = {"sed": [1], "epochs": ["x", 0, 3], "rate": ["nan"], "seed": list(range(30))}
    with pytest.raises(ParameterError) as raised:
        swept(wrong)
    lines = str(raised.value).splitlines()
    assert lines[0] == "a sweep would not run:" and len(lines) == 5
    for told in ("did you mean seed", "found 'x'", "at least 1, found 0", "found 'nan'"):
        assert told in str(raised.value)
    assert started(tmp_path) == 0 and not (tmp_path / "build").exists()


def test_every_combination_is_checked(swept: Swept, planned: list[dict], tmp_path: Path) -> None:
    with pytest.raises(ParameterError) as raised:
        swept({"seed": list(range(30)), "word": ["here", "nowhere"]})
    assert len(planned) == 60
    lines = str(raised.value).splitlines()
    assert len(lines) == 1 + 20 + 1 and lines[-1].strip() == "... and 10 more"
    with pytest.raises(ParameterError, match=r"^nowhere is no word \(seed 3\)$"):
        swept({"seed": [3], "word": ["here", "nowhere"]})
    assert started(tmp_path) == 0


def test_the_same_run_is_made_once(
    swept: Swept, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = swept({"epochs": [5, None, "5", 2]})
    assert "2 of 4 combinations are the same run as another: made once." in capsys.readouterr().out
    assert started(tmp_path) == 2
    assert list(pd.read_csv(folder / "runs.csv")["epochs"]) == [5, 2]


def test_results_are_one_tidy_table(swept: Swept) -> None:
    folder = swept({"seed": [0, 1], "epochs": [1, 2], "word": "one value"})
    frame = pd.read_csv(folder / "results.csv")
    assert list(frame.columns) == [
        "swept_seed", "epochs", "word", *results.SCORE_COLUMNS, *grids.MORE
    ]
    assert len(frame) == 4 * 2 and not frame.duplicated().any()
    assert set(frame["tier"]) == {"simulated"} and set(frame["word"]) == {"one value"}
    assert (frame["swept_seed"] == frame["seed"]).all()
    balanced = frame[frame["metric"] == "balanced_accuracy"]
    inside = (balanced["low"] <= balanced["value"]) & (balanced["value"] <= balanced["high"])
    assert inside.all() and set(balanced["n_subjects"]) == {6} and set(balanced["chance"]) == {0.5}
    others = frame[frame["metric"] != "balanced_accuracy"]
    assert others[grids.MORE].isna().all(axis=None)


def test_runs_tell_what_they_took_and_where_they_lie(swept: Swept, tmp_path: Path) -> None:
    lines = pd.read_csv(swept({"seed": [0, 1]}) / "runs.csv")
    assert list(lines["swept_seed"]) == [0, 1] and set(lines["state"]) == {"done"}
    assert set(lines["seconds"]) == {1.5} and set(lines["peak_memory_mb"]) == {80}
    assert set(lines["attempts"]) == {1} and set(lines["where"]) == {"local"}
    assert all((tmp_path / folder / "scores.csv").is_file() for folder in lines["folder"])


def test_each_swept_parameter_has_a_figure(swept: Swept) -> None:
    folder = swept({"seed": [0, 1], "epochs": [1, 2], "rate": 0.5})
    assert {path.name for path in folder.iterdir()} == {
        "results.csv", "runs.csv", "figures.md", "seed.png", "epochs.png"
    }  # fmt: skip
    page = (folder / "figures.md").read_text()
    assert page.startswith("# wesad \\(simulated\\), scale smoke")
    assert page.count("](") == 2


def test_what_is_finished_is_not_made_again(
    swept: Swept, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    first = swept({"seed": [0, 1]})
    kept = {path.name: path.read_bytes() for path in first.iterdir()}
    assert swept({"seed": ["1", "0"]}) == first
    assert "2 runs, 2 finished before" in capsys.readouterr().out
    assert {path.name for path in first.iterdir()} == set(kept)
    swept({"seed": [0, 1]})
    assert {path.name: path.read_bytes() for path in first.iterdir()} == kept
    assert started(tmp_path) == 2
    more = swept({"seed": [0, 1, 2]})
    assert more != first and started(tmp_path) == 3


def test_a_failed_run_has_no_row_and_the_others_do(swept: Swept, tmp_path: Path) -> None:
    grid = {"seed": [0, 1], "mode": ["good", "fails", "killed"]}
    with pytest.raises(grids.SweepFailed) as raised:
        swept(grid)
    assert str(raised.value).startswith("4 of 6 runs failed. The others: ")
    told = str(raised.value).splitlines()
    assert len(told) == 4 and told[-1] == "The same command makes only these again."
    assert any("a cell of the test fails" in line and line.count("seed") == 2 for line in told)
    assert any("killed by SIGKILL" in line for line in told)
    folder = raised.value.folder
    assert set(pd.read_csv(folder / "results.csv")["mode"]) == {"good"}
    lines = pd.read_csv(folder / "runs.csv")
    assert list(lines["state"]) == ["done", "failed", "killed"] * 2
    assert lines.loc[lines["state"] != "done", "folder"].isna().all()
    assert list(lines["attempts"]) == [1, 1, 3] * 2
    assert "4 run(s) failed" in (folder / "figures.md").read_text()
    before = started(tmp_path)
    with pytest.raises(grids.SweepFailed):
        swept(grid)
    assert started(tmp_path) == before + 2 + 2 * 3


def test_a_sweep_of_which_nothing_is_left(swept: Swept) -> None:
    with pytest.raises(grids.SweepFailed, match="1 of 1 runs failed. There are no others.") as one:
        swept({"mode": "fails"})
    assert not (one.value.folder / "results.csv").exists()
    assert one.value.expected is False


def test_a_run_with_edited_scores_does_not_count(swept: Swept, tmp_path: Path) -> None:
    swept({"seed": [0, 1]})
    (edited, *_) = tmp_path.glob("build/runs/tiny/*/scores.csv")
    with edited.open("a") as stream:
        stream.write(edited.read_text().splitlines()[-1] + "\n")
    swept({"seed": [0, 1]})
    assert started(tmp_path) == 3


def test_workers_and_a_scheduler_do_not_go_together(swept: Swept) -> None:
    with pytest.raises(ParameterError, match="workers are those of the scheduler"):
        swept({"seed": [0]}, scheduler="tcp://127.0.0.1:1")


def test_from_python_there_is_a_frame(
    planned: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grids, "sweep_to_folder", lambda *given, **more: tmp_path)
    pd.DataFrame({"seed": [1]}).to_csv(tmp_path / "results.csv", index=False)
    assert list(grids.sweep("tiny", {"seed": [1]})["seed"]) == [1]


def test_the_grid_on_the_page_can_be_planned(root: Path) -> None:
    page = (root / "book" / "clusters.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n# grid.yaml\n(.*?)```", page, re.DOTALL)
    grid = grids._checked(yaml.load(text, grids._Loader))
    runs = grids.plans("hcmnet", {name: values[:1] for name, values in grid.items()})
    assert len(runs) == 1
    source = root / "notebooks" / "hcmnet.ipynb"
    assert runs[0].task.notebook == notebook.code_hash(notebook.read(source))
    assert replace(runs[0].plan).key == runs[0].task.key
