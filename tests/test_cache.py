"""Folders that are made once, and sums of files that are read once."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from affectbook import cache, files
from affectbook.errors import CacheError


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


def unusable(kind: str = "kind", make=write, **options: object) -> CacheError:
    """Return the error of a folder that cannot be kept; it has all its parts and one line."""
    with pytest.raises(CacheError) as caught:
        cache.folder(kind, 1, make, **options)
    error = caught.value
    assert all((error.file, error.field, error.found, error.expected, error.do))
    assert "\n" not in str(error) and "are free" in error.found
    return error


@pytest.mark.parametrize("place", ["build", "build/kind", "build/kind/deep"])
def test_a_file_where_a_folder_should_be_is_one_message(project, place):
    path = project / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")
    error = unusable("kind/deep")
    assert str(project / "build" / "kind" / "deep") in str(error)
    assert error.found.startswith(("File exists", "Not a directory"))
    assert path.read_text() == "in the way"


@pytest.mark.parametrize("link", [False, True])
def test_a_file_or_link_in_the_place_of_a_folder_is_replaced(project, link):
    place = cache.folder("kind", 1, write)
    elsewhere = place.rename(project / "elsewhere")
    if link:
        (elsewhere / "two").write_text("tvo")
        place.symlink_to(elsewhere)
    else:
        place.write_text("a file")
    assert cache.folder("kind", 1, write) == place and cache.is_whole(place)
    assert not place.is_symlink() and elsewhere.is_dir()


FULL = [OSError(errno.ENOSPC, "No space left on device"), OSError("10 requested and 0 written")]


@pytest.mark.parametrize("error", FULL)
def test_a_full_disk_is_one_message_and_leaves_nothing(project, error):
    def fill(folder: Path) -> None:
        write(folder)
        raise error

    found = unusable(make=fill).found
    assert (error.strerror or str(error)) in found
    assert not list((project / "build" / "kind").iterdir())


def test_a_device_that_takes_no_byte_is_one_message(project):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")

    def fill(folder: Path) -> None:
        (folder / "one").symlink_to("/dev/full")
        (folder / "one").write_text("one")

    assert "No space left on device" in unusable(make=fill).found


def test_a_disk_that_fills_up_under_the_list_of_files_leaves_nothing(project, monkeypatch):
    def full(*_: object) -> None:
        raise FULL[0]

    monkeypatch.setattr(files, "write_text", full)
    assert "No space left" in unusable().found
    assert not list((project / "build" / "kind").iterdir())


def test_room_is_looked_for_before_work_begins(project):
    def never(folder: Path) -> None:
        raise AssertionError

    error = unusable(make=never, room=10**18)
    assert "too little room" in error.found
    assert "1,000,000,000,000 MB of room" in error.expected
    assert cache.is_whole(cache.folder("kind", 1, write, room=1))


def test_what_is_kept_already_needs_no_room(project, monkeypatch):
    place = cache.folder("kind", 1, write)
    monkeypatch.setattr(cache, "_check_room", None)
    assert cache.folder("kind", 1, write, room=10**18) == place


@pytest.mark.skipif(os.getuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written_is_one_message(project):
    (project / "build" / "kind").mkdir(parents=True)
    (project / "build" / "kind").chmod(0o555)
    assert "Permission denied" in unusable().found
    (project / "build" / "kind").chmod(0o755)


def test_an_error_about_what_is_read_is_not_taken_for_one_of_the_cache(project):
    def read(folder: Path) -> None:
        (project / "signal").read_bytes()

    with pytest.raises(FileNotFoundError) as caught:
        cache.folder("kind", 1, read)
    assert not isinstance(caught.value, CacheError)


def test_a_folder_within_a_folder_tells_its_own_error(project):
    def inner(folder: Path) -> None:
        cache.folder("other", 2, write, room=10**18)

    assert unusable(make=inner).file == project / "build" / "other"


def test_sums_that_cannot_be_kept_are_said_once(project, caplog):
    (project / "build").write_text("in the way")
    for name in ("one", "two"):
        (project / name).write_text(name)
        old(project / name)
        assert cache.sha256(project / name) == files.sha256(project / name)
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "could not be kept" in record.getMessage()
