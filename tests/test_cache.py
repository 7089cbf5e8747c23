"""Folders that are made once, and sums of files that are read once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from affectbook import cache, files


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(files, "project_root", lambda: tmp_path)
    return tmp_path


def write(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "one").write_text("one")
    (folder / "two").write_text("two")


def test_a_folder_is_made_once(project):
    made = []
    for _ in range(3):
        place = cache.folder("cache/kind", {"a": 1}, lambda folder: (made.append(1), write(folder)))
    assert made == [1] and place.parent == project / "build" / "cache" / "kind"
    assert (place / "deep" / "one").read_text() == "one"
    assert json.loads((place / "MANIFEST.json").read_text())["from"] == {"a": 1}
    assert cache.folder("cache/kind", {"a": 2}, write) != place


@pytest.mark.parametrize("damage", ["flip", "shorter", "gone", "manifest", "not a list"])
def test_a_damaged_folder_is_made_again(project, damage, caplog):
    place = cache.folder("kind", 1, write)
    if damage == "flip":
        (place / "two").write_text("tvo")
    elif damage == "shorter":
        (place / "two").write_text("t")
    elif damage == "gone":
        (place / "deep" / "one").unlink()
    else:
        (place / "MANIFEST.json").write_text("{" if damage == "manifest" else "[]")
    assert not cache.is_whole(place)
    assert cache.folder("kind", 1, write) == place and cache.is_whole(place)
    assert "is damaged; it is made again" in caplog.text
    assert (place / "two").read_text() == "two"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_what_fails_leaves_nothing(project, error):
    def fail(folder: Path) -> None:
        write(folder)
        raise error("in the middle")

    with pytest.raises(error):
        cache.folder("kind", 1, fail)
    assert not list((project / "build" / "kind").iterdir())


def test_two_that_make_the_same_share_it(project):
    def overtaken(folder: Path) -> None:
        write(folder)
        cache.folder("kind", 1, write)

    place = cache.folder("kind", 1, overtaken)
    assert cache.is_whole(place) and list(place.parent.iterdir()) == [place]


def test_a_key_is_of_the_content_not_of_the_order():
    assert cache.key({"a": 1, "b": [1.5, None]}) == cache.key({"b": [1.5, None], "a": 1})
    assert cache.key({"a": 1}) != cache.key({"a": "1"})


def old(path: Path) -> None:
    """Let a file look as if it had been there for an hour."""
    an_hour_ago = path.stat().st_mtime - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))


def test_an_unchanged_file_is_read_once(project, monkeypatch):
    path, read = project / "signal", []
    path.write_bytes(b"signal")
    old(path)
    whole = files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: (read.append(path), whole(path))[1])
    assert cache.sha256(path) == cache.sha256(path) == whole(path)
    assert len(read) == 1
    path.write_bytes(b"singal")
    assert cache.sha256(path) == whole(path)
    old(path)
    assert cache.sha256(path) == whole(path)


def test_a_file_that_has_just_changed_is_not_trusted(project):
    path = project / "signal"
    for content in (b"one", b"two", b"six"):
        path.write_bytes(content)
        os.utime(path)
        assert cache.sha256(path) == files.sha256(path)


def test_a_note_that_cannot_be_read_or_written_does_no_harm(project, monkeypatch):
    path = project / "signal"
    path.write_bytes(b"signal")
    old(path)
    expected = cache.sha256(path)
    (note,) = (project / "build" / "cache" / "sums").iterdir()
    for broken in ("", "{", "[]", "null", '{"seen": 3}'):
        note.write_text(broken)
        assert cache.sha256(path) == expected

    def read_only(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(files, "write_text", read_only)
    note.unlink()
    assert cache.sha256(path) == expected
