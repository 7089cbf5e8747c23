"""A publisher's zip that is none: paths out of the folder, links, bombs."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.measured import peak
from faults.refusals import contents, refused

from affectbook.obtain import archives

MB = 2**20
MOST = 8 * MB


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder below another, so that what climbs out of it is seen."""
    made = tmp_path / "outer" / "data" / "set"
    made.mkdir(parents=True)
    return made


def _unpack(archive: Path, folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> list:
    return archives.unpack(archive, folder, wanted, MOST, echo=lambda line: None)


def _zip(path: Path, members: dict[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


def _link(name: str, to: str) -> dict[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return {info: to.encode()}


def _special(name: str, kind: int) -> dict[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o644) << 16
    return {info: b""}


GOOD = {"set/a.edf": b"a" * 1000, "set/sub/b.edf": b"b" * 10, "readme.txt": b"read"}
BAD = {
    "parent": {"../evil.edf": b"x"},
    "parent inside": {"set/../../evil.edf": b"x"},
    "parent at the end": {"set/..": b"x"},
    "absolute": {"/affectbook_evil.edf": b"x"},
    "two slashes": {"//affectbook_evil.edf": b"x"},
    "backslashes": {"..\\..\\evil.edf": b"x"},
    "drive": {"C:\\evil.edf": b"x"},
    "link": _link("set/link.edf", "/etc/passwd"),
    "link to a folder": _link("set/sub", "../../..") | {"set/sub/evil.edf": b"x"},
    "device": _special("set/device.edf", stat.S_IFCHR),
    "pipe": _special("set/pipe.edf", stat.S_IFIFO),
    "control": {"set/a\nb.edf": b"x"},
}


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "after good members"])
@pytest.mark.parametrize("bad", BAD)
def test_a_member_that_leaves_the_folder(bad: str, beside: bool, folder: Path, tmp_path: Path):
    """Refused before extraction: not a byte is written, within the folder or outside."""
    archive = _zip(tmp_path / "set.zip", (GOOD if beside else {}) | BAD[bad])
    before = contents(tmp_path)
    refused(lambda: _unpack(archive, folder), names="set.zip")
    assert contents(tmp_path) == before
    assert not Path("/affectbook_evil.edf").exists()
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_the_benign_archive_is_unpacked(folder: Path, tmp_path: Path):
    archive = _zip(tmp_path / "set.zip", GOOD)
    made = _unpack(archive, folder, lambda name: name.endswith(".edf"))
    assert sorted(path.name for path in made) == ["a.edf", "b.edf"]
    assert all(path.is_relative_to(folder) for path in made)
    assert {path.read_bytes() for path in made} == {b"a" * 1000, b"b" * 10}
    left = [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    assert not left


def test_a_bomb_that_declares_itself(folder: Path, tmp_path: Path):
    """16 MB in 16 kB, where 8 MB are the most: nothing is unpacked."""
    archive = _zip(tmp_path / "set.zip", {"set/a.edf": bytes(2 * MOST)})
    assert archive.stat().st_size < MOST // 100
    refused(lambda: _unpack(archive, folder), names="set.zip")
    assert not contents(folder)


@pytest.mark.faults
def test_a_bomb_of_many_members(folder: Path, tmp_path: Path):
    """None of them is large; together they are."""
    archive = _zip(tmp_path / "set.zip", {f"set/{n}.edf": bytes(MB) for n in range(20)})
    refused(lambda: _unpack(archive, folder), names="set.zip")
    assert not contents(folder)


def _lie(archive: Path, true: int, told: int) -> None:
    """Let both headers of a zip tell another unpacked size."""
    raw = archive.read_bytes()
    assert raw.count(struct.pack("<I", true)) >= 2
    archive.write_bytes(raw.replace(struct.pack("<I", true), struct.pack("<I", told)))


@pytest.mark.faults
def test_a_bomb_that_declares_a_small_size(folder: Path, tmp_path: Path):
    """The header says 1000 bytes, and 64 MB come: stopped, and nothing of it stays."""
    archive = _zip(tmp_path / "set.zip", {"set/a.edf": bytes(64 * MB + 1)})
    _lie(archive, 64 * MB + 1, 1000)
    with peak() as found:
        refused(lambda: _unpack(archive, folder), names="set.zip")
    assert not contents(folder)
    assert found.grown < 200 * MB


@pytest.mark.faults
def test_members_that_share_their_bytes(folder: Path, tmp_path: Path):
    """A zip whose directory names one member a thousand times, as in a bomb without nesting."""
    archive = _zip(tmp_path / "one.zip", {"a.edf": bytes(MB)})
    raw = archive.read_bytes()
    at = raw.index(b"PK\1\2")
    entry, end = raw[at : raw.index(b"PK\5\6")], raw[raw.index(b"PK\5\6") :]
    many = b"".join(entry.replace(b"a.edf", b"%05d" % n) for n in range(1000))
    end = end[:8] + struct.pack("<HHII", 1000, 1000, len(many), at) + end[20:]
    bomb = tmp_path / "set.zip"
    bomb.write_bytes(raw[:at] + many + end)
    refused(lambda: _unpack(bomb, folder), names="set.zip")
    assert not contents(folder)


@pytest.mark.faults
def test_two_members_of_one_name(folder: Path, tmp_path: Path):
    """Which of them is meant cannot be known; names that differ in capitals only are two files."""
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as made, pytest.warns(UserWarning, match="Duplicate"):
        made.writestr("set/a.edf", b"1")
        made.writestr("set/a.edf", b"2")
    refused(lambda: _unpack(archive, folder), names="set.zip")
    assert not contents(folder)


@pytest.mark.parametrize("cut", [0, 1, 30, 200, -1])
def test_a_zip_that_was_cut_short(cut: int, folder: Path, tmp_path: Path):
    archive = _zip(tmp_path / "set.zip", GOOD)
    archive.write_bytes(archive.read_bytes()[:cut])
    refused(lambda: _unpack(archive, folder), names="set.zip")
    assert not contents(folder)


@pytest.mark.faults
def test_a_flipped_byte_in_a_member(folder: Path, tmp_path: Path):
    """The check sum of the zip shows it; no file of that name is left, half or whole."""
    archive = _zip(tmp_path / "set.zip", {"set/a.edf": os.urandom(10_000)})
    raw = bytearray(archive.read_bytes())
    for at in range(100, 9_000, 900):
        raw[at] ^= 1
        archive.write_bytes(raw)
        refused(lambda: _unpack(archive, folder), names="set.zip")
        assert not contents(folder)
        raw[at] ^= 1


def test_a_zip_under_a_password(folder: Path, tmp_path: Path):
    archive = _zip(tmp_path / "set.zip", GOOD)
    raw = bytearray(archive.read_bytes())
    for mark, shift in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = raw.index(mark)
        raw[at + shift] |= 1
    archive.write_bytes(raw)
    refused(lambda: _unpack(archive, folder), names="set.zip")


def test_what_is_no_zip(folder: Path, tmp_path: Path):
    """The page that asks for a password, kept as a zip; and nothing at all."""
    page = tmp_path / "set.zip"
    page.write_bytes(b"<!doctype html><title>Sign in</title>")
    refused(lambda: _unpack(page, folder), names="set.zip")
    refused(lambda: _unpack(tmp_path / "missing.zip", folder), names="missing.zip")


def test_a_link_in_the_place_of_the_folder_is_not_followed_out(folder: Path, tmp_path: Path):
    """A link that lay in the folder before may not lead what is unpacked outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "set").symlink_to(outside)
    archive = _zip(tmp_path / "set.zip", GOOD)
    refused(lambda: _unpack(archive, folder))
    assert not contents(outside)
    (folder / "set").unlink()
    assert len(_unpack(archive, folder)) == len(GOOD)
