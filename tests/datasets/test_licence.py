"""Confirmed licences: for which folder and text, where they are kept, and what damage does."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_dreamer import empty_project
from tiny_project import ROOT

from affectbook import datasets, files
from affectbook.datasets import _folders, _licence, wesad
from affectbook.errors import DataFileError, LicenceError, ParameterError

LICENSED = [name for name in datasets.names() if datasets.card(name).tier == "licensed"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty project in which nothing is confirmed."""
    monkeypatch.delenv(_licence.VARIABLE, raising=False)
    # Set and taken back: so that what a test puts there is gone after it.
    monkeypatch.setenv(_licence._THIS_RUN, "[]")
    return empty_project(tmp_path, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with real data, as far as anyone can tell."""
    place = tmp_path / "Größe, mit Leerzeichen" / "wesad"
    place.mkdir(parents=True)
    return place


def kept(project: Path) -> list[dict[str, str]]:
    return json.loads((project / "data" / "licences.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", LICENSED)
def test_a_licensed_set_is_closed_until_it_is_confirmed(project, folder, name):
    with pytest.raises(LicenceError) as refused:
        _licence.require(name, folder)
    message = str(refused.value)
    for part in ("file", "field", "found", "expected", "do"):
        assert getattr(refused.value, part) is not None and f"{part}: " in message, part
    assert "\n" not in message and f"AFFECTBOOK_ACCEPT_LICENCE={name}" in message
    assert datasets.card(name).licence in message
    assert not (project / "data").exists(), "asking leaves nothing behind"
    _licence.confirm(name, folder)
    _licence.require(name, folder)


def test_open_sets_and_twins_need_nothing(project, folder):
    for name in set(datasets.names()) - set(LICENSED):
        _licence.require(name, folder)
    _folders.mark_twin(folder, ["S2"], effect=1, fingerprint=1, seed=0)
    _licence.require("wesad", folder)
    for damaged in ("{}", "[" * 100_000):
        (folder / "TWIN.json").write_text(damaged)
        with pytest.raises(DataFileError, match="mark of a simulated twin"):
            _licence.require("wesad", folder)


def test_a_confirmation_is_for_one_set_in_one_folder(project, folder, tmp_path, monkeypatch):
    _licence.confirm("wesad", folder)
    assert not _licence.confirmed("dreamer", folder)
    assert not _licence.confirmed("wesad", folder.parent)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder.parent)
    assert _licence.confirmed("wesad", tmp_path / "link"), "the same folder by another name"
    assert _licence.confirmed("wesad", Path("wesad"))
    (one,) = kept(project)
    assert set(one) == {"set", "folder", "licence", "date"} and one["folder"] == str(folder)
    assert not list(folder.iterdir()), "nothing is written beside the data"


@pytest.mark.parametrize("odd", [b"caf\xe9", b"a\nb", b'"\\'], ids=["latin-1", "line", "quotes"])
def test_any_path_can_be_confirmed(project, tmp_path, odd):
    folder = tmp_path / os.fsdecode(odd)
    folder.mkdir()
    _licence.confirm("wesad", folder)
    _licence.require("wesad", folder)
    with pytest.raises(LicenceError):
        _licence.require("wesad", tmp_path)


def test_several_confirmations_stand_side_by_side(project, folder, tmp_path):
    for name in ("wesad", "dreamer", "wesad"):
        _licence.confirm(name, folder)
        _licence.confirm(name, tmp_path)
    assert len(kept(project)) == 4
    assert [path.name for path in (project / "data").iterdir()] == ["licences.json"]


def test_confirmations_at_the_same_time_are_all_kept(project, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: _licence.confirm("wesad", tmp_path / str(one)), range(24)))
    assert len(kept(project)) == 24


def test_a_changed_text_is_asked_again(project, folder, monkeypatch):
    _licence.confirm("wesad", folder)
    changed = replace(wesad.CARD, licence=wesad.CARD.licence + " Never on Sundays.")
    monkeypatch.setattr(wesad, "CARD", changed)
    with pytest.raises(LicenceError, match="found: a confirmation of an older text.*Sundays"):
        _licence.require("wesad", folder)
    _licence.confirm("wesad", folder)
    _licence.require("wesad", folder)
    assert len(kept(project)) == 1


@pytest.mark.parametrize("value", ["wesad", "WESAD", " deap , Wesad,"])
def test_the_variable_accepts_and_is_not_kept(project, folder, monkeypatch, value):
    monkeypatch.setenv("AFFECTBOOK_ACCEPT_LICENCE", value)
    _licence.require("wesad", folder)
    with pytest.raises(LicenceError):
        _licence.require("seed", folder)
    assert not (project / "data").exists()


def test_an_unknown_name_in_the_variable_is_an_error(project, folder, monkeypatch):
    for value in ("wesda", "wesad,wesda"):
        monkeypatch.setenv("AFFECTBOOK_ACCEPT_LICENCE", value)
        with pytest.raises(ParameterError, match="ACCEPT_LICENCE 'wesda'; did you mean 'wesad'?"):
            _licence.require("wesad", folder)
    monkeypatch.setenv("AFFECTBOOK_ACCEPT_LICENCE", ",")
    with pytest.raises(LicenceError):
        _licence.require("wesad", folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"{}", b"[1]", b'[{"set": "wesad"}]', b"\xff\xfe", b"[" * 100_000, b"null"],
    ids=["empty", "cut", "object", "number", "incomplete", "no text", "deep", "null"],
)
def test_a_damaged_file_confirms_nothing_and_is_kept(project, folder, caplog, content):
    place = project / "data" / "licences.json"
    files.write_atomic(place, lambda path: path.write_bytes(content))
    for _ in range(3):
        with pytest.raises(LicenceError):
            _licence.require("wesad", folder)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "data/licences.json cannot be read" in line and "\n" not in line
    assert place.read_bytes() == content, "nothing is lost by looking"
    caplog.clear()
    _licence.confirm("wesad", folder)
    _licence.require("wesad", folder)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "kept as data/licences.damaged-1.json" in line
    assert (project / "data" / "licences.damaged-1.json").read_bytes() == content
    place.write_bytes(b"again")
    _licence.confirm("wesad", folder)
    assert (project / "data" / "licences.damaged-2.json").read_bytes() == b"again"


def test_the_variable_stands_above_a_damaged_file(project, folder, caplog, monkeypatch):
    files.write_text(project / "data" / "licences.json", "{")
    monkeypatch.setenv("AFFECTBOOK_ACCEPT_LICENCE", "wesad")
    _licence.require("wesad", folder)
    assert not caplog.records


@settings(max_examples=40)
@given(content=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_content_is_taken_for_a_confirmation(content):
    logging.disable()
    try:
        with tempfile.TemporaryDirectory() as name, patch.dict(os.environ):
            os.environ.pop(_licence.VARIABLE, None)
            project = Path(name)
            place = project / "data" / "licences.json"
            files.write_atomic(place, lambda path: path.write_bytes(content))
            with patch.object(files, "project_root", lambda: project):
                assert not _licence.confirmed("wesad", project)
                _licence.confirm("wesad", project)
                assert _licence.confirmed("wesad", project)
            left = [path.read_bytes() for path in place.parent.iterdir()]
        assert content in left or json.loads(content) == [], "what was there is never lost"
    finally:
        logging.disable(logging.NOTSET)


def test_more_fields_than_these_are_no_damage(project, folder):
    _licence.confirm("wesad", folder)
    place = project / "data" / "licences.json"
    place.write_text(json.dumps([one | {"by": "me"} for one in kept(project)]))
    _licence.require("wesad", folder)
    _licence.confirm("seed", folder)
    assert [one.get("by") for one in kept(project)] == ["me", None]


def test_where_nothing_can_be_kept_it_holds_for_this_run(project, folder, tmp_path, caplog):
    (project / "data").write_text("a file where the folder would be")
    _licence.confirm("wesad", folder)
    (line,) = [one for one in map(str, caplog.messages) if "cannot be written" in one]
    assert "WESAD: the confirmation holds for this run only" in line
    _licence.require("wesad", folder)
    _licence.confirm("dreamer", folder)
    _licence.require("wesad", folder)
    with pytest.raises(LicenceError):
        _licence.require("wesad", tmp_path)
    assert (project / "data").read_text() == "a file where the folder would be"
    question = (
        "import sys; from affectbook.datasets import _licence; _licence.require(*sys.argv[1:])"
    )
    command = [sys.executable, "-c", question, "wesad", str(folder)]
    assert subprocess.run(command, check=False).returncode == 0, "the kernel knows it, too"


@pytest.mark.parametrize("value", ["", "{", "[1]", "null"])
def test_a_broken_environment_confirms_nothing(project, folder, monkeypatch, value):
    monkeypatch.setenv(_licence._THIS_RUN, value)
    with pytest.raises(LicenceError):
        _licence.require("wesad", folder)


def test_what_is_kept_is_out_of_git_and_of_make_clean(root: Path):
    place = _licence.kept_in()
    assert place == ROOT / "data" / "licences.json"
    ignored = subprocess.run(["git", "check-ignore", "-q", place], cwd=root, check=False)
    assert ignored.returncode == 0
    (recipe,) = [
        line
        for line in (root / "Makefile").read_text().splitlines()
        if line.startswith("\t@rm -rf")
    ]
    assert recipe == "\t@rm -rf build"


def test_the_refusal_does_not_depend_on_what_is_loaded(
    project, folder, monkeypatch, wesad_ecg, wesad_label, capfd
):
    """JupyterLab and raw papermill come by `prepare`, not by the driver that asks."""
    wesad.write_subject(folder, "S2", wesad_ecg, wesad_label)
    monkeypatch.setenv("AFFECTBOOK_DATA", str(folder.parent))
    script = "from affectbook import datasets; datasets.prepare('wesad', 'licensed')"
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, check=False).returncode == 1
    assert "LicenceError: the licence of WESAD was not confirmed" in capfd.readouterr().err
    monkeypatch.setenv("AFFECTBOOK_ACCEPT_LICENCE", "wesad")
    assert subprocess.run(command, check=False).returncode == 0
