"""Recorded sweeps: what is done is joined and kept; what its code no longer makes is stale."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from test_sweeps import MAJORITY, SHUFFLED, elsewhere  # noqa: F401

from affectbook import records, results, sealed, staleness, sweeps, windows
from affectbook.errors import DataFileError, DataNotFoundError, RunError
from affectbook.papers import hcmnet

ROOT = Path(records.__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(results, "project_root", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def recorded(root: Path) -> Path:
    sweeps.run("hcmnet", "tiny")
    folder, done, of = records.record("hcmnet", "tiny")
    assert (done, of) == (2, 2) and folder == root / "results" / "recorded" / "hcmnet_tiny"
    return folder


def test_all_cells_are_in_one_table(recorded: Path) -> None:
    rows = results.recorded("hcmnet", recorded.parent)
    assert set(rows["seed"]) == {0, 1} and set(rows["record"]) == {"hcmnet_tiny"}
    assert results.overall(results.select(rows, seed=0), "accuracy") == pytest.approx(1 / 3)
    assert len(pd.read_csv(recorded / "predictions.csv.gz")) == 2 * 36
    made = json.loads((recorded / "provenance.json").read_text())
    assert len(made["cells"]) == 2 and made["data"]["windows"] == [[36, 1, 640]]
    assert {cell["parameters"]["seed"] for cell in made["cells"]} == {0, 1}


def test_the_same_cells_are_recorded_byte_for_byte(recorded: Path) -> None:
    before = (recorded / "scores.csv.gz").read_bytes()
    records.record("hcmnet", "tiny")
    assert (recorded / "scores.csv.gz").read_bytes() == before


def test_what_is_not_done_is_counted_and_nothing_is_an_error(root: Path) -> None:
    with pytest.raises(RunError, match="no cell of the sweep tiny is done; make sweep"):
        records.record("hcmnet", "tiny")
    assert not (root / "results").exists()
    sweeps.run("hcmnet", "tiny", {"seed": "1"})
    assert records.record("hcmnet", "tiny")[1:] == (1, 2)


def test_cells_recorded_before_stay_until_they_are_made_again(recorded: Path) -> None:
    before = (recorded / "scores.csv.gz").read_bytes()
    told = json.loads((recorded / "provenance.json").read_text())
    shutil.rmtree(sweeps.folder_of("hcmnet", "tiny"))
    sweeps.run("hcmnet", "tiny", {"seed": "1"})
    assert records.record("hcmnet", "tiny")[1:] == (2, 2)
    assert (recorded / "scores.csv.gz").read_bytes() == before
    again = json.loads((recorded / "provenance.json").read_text())
    assert [cell["key"] for cell in again["cells"]] == [cell["key"] for cell in told["cells"]]
    assert again["code"] == told["code"] and again["data"] == told["data"]


def test_a_cell_that_would_come_out_otherwise_today_does_not_stay(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hcmnet.VARIANTS, "pool_strides_8_8_2", {"pool_strides": (8, 8, 4)})
    sweeps.run("hcmnet", "tiny", {"seed": "1"})
    assert records.record("hcmnet", "tiny")[1:] == (1, 2)
    assert set(results.recorded("hcmnet", recorded.parent)["seed"]) == {1}


def test_a_record_of_today_is_not_stale(recorded: Path) -> None:
    assert records.stale(recorded, ROOT) == []
    assert records.check() == {"hcmnet_tiny": records.stale(recorded)}


def checkout(tmp_path: Path) -> Path:
    copy = tmp_path / "checkout"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lib", copy / "lib", ignore=ignore)
    return copy


def test_code_that_does_something_else_makes_it_stale(recorded: Path, tmp_path: Path) -> None:
    copy = checkout(tmp_path)
    path = copy / "lib" / "affectbook" / "evaluate.py"
    path.write_text(path.read_text() + "\n# A comment.\n")
    assert records.stale(recorded, copy) == []
    path.write_text(path.read_text().replace("1000 * seed", "999 * seed"))
    assert records.stale(recorded, copy) == ["lib/affectbook/evaluate.py"]
    path.unlink()
    assert records.stale(recorded, copy) == ["lib/affectbook/evaluate.py"]


def test_a_cell_the_sweep_no_longer_has_makes_it_stale(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hcmnet.SWEEPS, "tiny", (MAJORITY,))
    assert records.stale(recorded, ROOT) == [f"parameters of {sweeps.key('hcmnet', SHUFFLED)}"]


def test_a_record_made_on_other_windows_is_marked_and_stays_marked_without_the_data(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = windows.make_windows

    def shorter(*args: object, **options: object) -> windows.Windows:
        X, y, meta = cut(*args, **options)
        return windows.Windows(X[:-1], y[:-1], meta[:-1])

    records.mark(recorded)
    assert records.stale(recorded, ROOT) == [] and not (recorded / records.MARK).exists()
    sweeps._loaded.cache_clear()
    monkeypatch.setattr(windows, "make_windows", shorter)
    records.mark(recorded)
    assert records.stale(recorded, ROOT) == ["windows of 2 of 2 cells"]
    sweeps._loaded.cache_clear()

    def absent(setting: object) -> None:
        raise DataNotFoundError("no data here")

    monkeypatch.setattr(sweeps, "load", absent)
    records.mark(recorded)
    assert records.stale(recorded, ROOT) == ["windows of 2 of 2 cells"], "the mark stays"
    sweeps._loaded.cache_clear()


def test_recording_again_takes_the_mark_away(recorded: Path) -> None:
    made = json.loads((recorded / "provenance.json").read_text())
    told = {"windows": [made["cells"][0]["key"], "of a cell that is gone"]}
    (recorded / records.MARK).write_text(json.dumps(told))
    assert records.stale(recorded, ROOT) == ["windows of 1 of 2 cells"]
    records.record("hcmnet", "tiny")
    assert records.stale(recorded, ROOT) == [] and not (recorded / records.MARK).exists()


def test_a_record_is_sealed_and_nothing_half_made_is_beside_it(recorded: Path) -> None:
    told = sealed.require(recorded)
    assert set(told["files"]) == {"predictions.csv.gz", "scores.csv.gz"}
    assert [path.name for path in recorded.parent.iterdir()] == ["hcmnet_tiny"]


def edit(path: Path, before: str, after: str) -> None:
    """Change a recorded table by hand, as somebody who packs it again would."""
    text = gzip.decompress(path.read_bytes()).decode()
    assert before in text
    path.write_bytes(gzip.compress(text.replace(before, after, 1).encode(), mtime=0))


def test_cells_of_an_edited_record_do_not_stay(recorded: Path) -> None:
    edit(recorded / "scores.csv.gz", "0.3333333333", "0.9333333333")
    shutil.rmtree(sweeps.folder_of("hcmnet", "tiny"))
    sweeps.run("hcmnet", "tiny", {"seed": "1"})
    with pytest.raises(DataFileError, match="not what was recorded"):
        records.record("hcmnet", "tiny")
    sweeps.run("hcmnet", "tiny")
    records.record("hcmnet", "tiny")
    assert results.overall(results.select(results.recorded(), seed=0), "accuracy") < 0.4


def test_an_edited_cell_is_not_recorded(recorded: Path) -> None:
    before = (recorded / "scores.csv.gz").read_bytes()
    table = next(sweeps.folder_of("hcmnet", "tiny").glob("*/scores.csv"))
    table.write_text(table.read_text().replace("0.3333333333", "0.9333333333", 1))
    with pytest.raises(DataFileError, match="make the cell again"):
        records.record("hcmnet", "tiny")
    assert (recorded / "scores.csv.gz").read_bytes() == before


def test_the_same_options_and_windows_give_the_same_key_under_the_same_code(recorded: Path) -> None:
    told = sealed.require(recorded)
    today = staleness.today_of("hcmnet", "tiny")
    for one in told["cells"]:
        cell = today[staleness.identity(one)]
        code = told["code"]["references"]
        assert sweeps.key_under("hcmnet", cell, code) == sweeps.key("hcmnet", cell) == one["key"]
        assert sweeps.key_under("hcmnet", cell, code | {"x.py": "0"}) != one["key"]


def test_other_windows_are_told_from_other_code(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staleness, "code_hash", lambda path: "0")
    records.mark(recorded)
    found = records.changes(recorded, ROOT)
    assert set(found.code) == {"references"} and not found.data and not found.parameters


def test_a_record_nobody_has_is_named_with_those_there_are(recorded: Path) -> None:
    with pytest.raises(RunError, match="no record tinny; there are: hcmnet_tiny"):
        records.check(["tinny"])
