"""Sums beside recorded tables: whatever is changed afterwards is refused, and only that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectbook import sealed
from affectbook.errors import DataFileError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "recorded" / "mine"
    folder.mkdir(parents=True)
    (folder / "scores.csv.gz").write_bytes(b"scores")
    (folder / "predictions.csv.gz").write_bytes(b"predictions")
    sealed.seal(folder, {"sweep": "x", "cells": [1, 2.5, ("a",)]})
    return folder


def refused(record: Path) -> DataFileError:
    with pytest.raises(DataFileError) as error:
        sealed.require(record)
    assert "git checkout -- results/recorded/mine" in error.value.do
    return error.value


def test_what_was_recorded_is_read_back(record: Path) -> None:
    told = sealed.require(record)
    assert told["cells"] == [1, 2.5, ["a"]] and set(told["files"]) == {
        "scores.csv.gz", "predictions.csv.gz"
    }  # fmt: skip
    sealed.seal(record, told)
    assert sealed.require(record) == told
    (record / "stale.json").write_text("{}")
    assert sealed.require(record) == told, "a mark is no table"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(told=st.dictionaries(st.text(), VALUES, max_size=4))
def test_whatever_a_provenance_says_can_be_sealed(record: Path, told: dict) -> None:
    sealed.seal(record, told)
    found = sealed.require(record)
    own = {name: value for name, value in told.items() if name not in ("files", "seal")}
    assert {name: found[name] for name in own} == json.loads(json.dumps(own))


def test_the_layout_of_a_provenance_is_free(record: Path) -> None:
    path = record / "provenance.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(told.items())), indent=4))
    assert sealed.require(record) == told


@pytest.mark.parametrize(
    ("fault", "named", "word"),
    [
        (lambda at: (at / "scores.csv.gz").write_bytes(b"scorez"), "scores.csv.gz", "SHA-256"),
        (lambda at: (at / "scores.csv.gz").unlink(), "scores.csv.gz", "no such file"),
        (lambda at: (at / "more.csv").write_text("a"), "more.csv", "it was not recorded"),
        (lambda at: (at / "provenance.json").unlink(), "provenance.json", "no such file"),
        (lambda at: (at / "provenance.json").write_text("{"), "provenance.json", "no JSON"),
        (lambda at: (at / "provenance.json").write_text("[]"), "provenance.json", "list"),
        (lambda at: (at / "provenance.json").write_text("{}"), "provenance.json", "no seal"),
    ],
    ids=["changed", "missing", "one more", "no provenance", "cut", "no object", "no seal"],
)
def test_faults_are_named(record: Path, fault, named: str, word: str) -> None:
    fault(record)
    error = refused(record)
    assert Path(error.file).name == named and word in str(error)


def test_no_part_of_a_provenance_can_be_changed(record: Path) -> None:
    path = record / "provenance.json"
    told = json.loads(path.read_text())
    for changed in (
        told | {"sweep": "y"}, told | {"new": 1}, {k: v for k, v in told.items() if k != "cells"},
        told | {"files": {}}, told | {"seal": "0" * 64},
    ):  # fmt: skip
        path.write_text(json.dumps(changed))
        refused(record)


def test_records_are_found_whole_or_not(record: Path) -> None:
    base = record.parent
    for name in (".fresh-mine", "empty", "bare"):
        (base / name).mkdir()
    (base / "bare" / "scores.csv").write_text("")
    (base / "a file").write_text("")
    assert [path.name for path in sealed.folders(base)] == ["bare", "mine"]
    assert sealed.folders(base / "nowhere") == []


def test_what_fails_while_a_record_is_replaced_changes_nothing(record: Path) -> None:
    before = {path.name: path.read_bytes() for path in record.iterdir()}
    with pytest.raises(ZeroDivisionError), sealed.replaced(record) as fresh:
        (fresh / "scores.csv").write_text("half")
        raise ZeroDivisionError
    assert {path.name: path.read_bytes() for path in record.iterdir()} == before
    assert [path.name for path in record.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize("one_step", [True, False])
def test_a_record_is_replaced_whole(record: Path, one_step: bool, monkeypatch) -> None:
    if not one_step:
        monkeypatch.setattr(sealed, "_exchanged", lambda *paths: False)
    with sealed.locked(record), sealed.replaced(record) as fresh:
        (fresh / "scores.csv").write_text("new")
        sealed.seal(fresh, {"which": "new"})
    assert set(sealed.require(record)["files"]) == {"scores.csv"}
    assert [path.name for path in record.parent.iterdir()] == ["mine"]


def test_a_table_of_a_run_is_held_against_its_sums(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("1")
    sealed.check(path)
    (tmp_path / "provenance.json").write_text(json.dumps({"paper": "x"}))
    sealed.check(path)
    (tmp_path / "provenance.json").write_text(json.dumps({"files": {"scores.csv": "0"}}))
    with pytest.raises(DataFileError, match="run it again with --force"):
        sealed.check(path)
    (tmp_path / "provenance.json").write_text(json.dumps({"files": {}}))
    with pytest.raises(DataFileError, match="was not recorded"):
        sealed.check(path)
