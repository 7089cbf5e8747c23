"""One flipped byte in a file whose sum was published: caught before anything is parsed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faults.refusals import cut, read, refused
from faults.twins import FIRST, MODULES, real

from affectbook import datasets
from affectbook.datasets import _published

Copy = Callable[..., Path]
OPEN = ("eegmat", "drivedb")


@pytest.fixture
def published(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[Path, list[Path]]]:
    """Return what makes a folder whose files count as the publisher's, and its files."""

    def make(name: str) -> tuple[Path, list[Path]]:
        folder = real(copy(name))
        found = MODULES[name].files_of(folder, FIRST[name])
        own = {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
               for p in found}  # fmt: skip
        monkeypatch.setattr(_published, "sums", lambda name: own)
        return folder, list(found)

    return make


def _flip(path: Path, at: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([byte ^ 1 << (at % 8)]))


def _nothing_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    import mne
    import wfdb

    def parsed(*args: object, **kwargs: object) -> None:
        pytest.fail("a parser was called before the sums were compared")

    monkeypatch.setattr(mne.io, "read_raw_edf", parsed)
    monkeypatch.setattr(wfdb, "rdheader", parsed)
    monkeypatch.setattr(wfdb, "rdrecord", parsed)


def _each_caught(name: str, folder: Path, files: list[Path], count: int) -> None:
    caught = 0
    for number in range(count):
        path = files[number % len(files)]
        places = np.linspace(0, path.stat().st_size - 1, -(-count // len(files))).astype(int)
        at = int(places[number // len(files)])
        _flip(path, at)
        refused(lambda: read(name, folder, [FIRST[name]]), "sha256", names=path.name)
        _flip(path, at)
        caught += 1
    assert caught == count


@pytest.mark.parametrize(
    ("name", "count"),
    [("eegmat", 4), *(pytest.param(name, 100, marks=pytest.mark.faults) for name in OPEN)],
)
def test_a_flipped_byte_is_caught_before_parsing(
    name: str, count: int, published: Callable, monkeypatch: pytest.MonkeyPatch
):
    """At 100 of 100 places over both files of a subject; the same files undamaged load."""
    folder, files = published(name)
    assert read(name, folder, [FIRST[name]])
    with monkeypatch.context() as patched:
        _nothing_parsed(patched)
        _each_caught(name, folder, files, count)
    assert read(name, folder, [FIRST[name]])


@pytest.mark.parametrize("name", OPEN)
def test_a_flipped_byte_makes_no_windows(name: str, published: Callable):
    """Nor is a window kept of before taken in the place of a damaged file."""
    folder, files = published(name)
    assert len(cut(name, folder, [FIRST[name]]).X)
    _flip(files[0], files[0].stat().st_size // 2)
    refused(lambda: cut(name, folder, [FIRST[name]]), "sha256", names=files[0].name)


@pytest.mark.faults
def test_a_sum_that_was_kept_is_not_believed_of_a_file_of_another_time(published: Callable):
    """The sum of a file is kept by size, time and inode: each of them alone makes it new."""
    folder, files = published("eegmat")
    path = files[0]
    stat = path.stat()
    hour_ago = stat.st_mtime_ns - 3600 * 10**9
    os.utime(path, ns=(hour_ago, hour_ago))
    assert read("eegmat", folder, ["00"])
    assert read("eegmat", folder, ["00"])
    _flip(path, 5000)
    os.utime(path, ns=(hour_ago - 10**9, hour_ago - 10**9))
    refused(lambda: read("eegmat", folder, ["00"]), "sha256", names=path.name)


@pytest.mark.faults
def test_a_damaged_file_put_in_place_with_the_same_time(published: Callable):
    """As rsync and cp -p do: size and time are those of the undamaged file."""
    folder, files = published("eegmat")
    path = files[0]
    hour_ago = path.stat().st_mtime_ns - 3600 * 10**9
    os.utime(path, ns=(hour_ago, hour_ago))
    assert read("eegmat", folder, ["00"])
    damaged = path.with_name("other")
    shutil.copy2(path, damaged)
    _flip(damaged, 5000)
    os.utime(damaged, ns=(hour_ago, hour_ago))
    damaged.replace(path)
    refused(lambda: read("eegmat", folder, ["00"]), "sha256", names=path.name)


@pytest.mark.parametrize("name", OPEN)
def test_the_published_sums_are_those_of_the_real_files(name: str, root: Path, tmp_path: Path):
    """Where real files lie beside the project: they load, and with one byte changed they do not."""
    there = root.parent / "shared" / "data" / name
    if not there.is_dir():
        pytest.skip(f"no real {name} beside the project")
    folder = tmp_path / "data" / name
    folder.mkdir(parents=True)
    for path in MODULES[name].files_of(there, FIRST[name]):
        shutil.copy(path, folder) if path.suffix != ".npz" else None
    if name == "eegmat":
        for path in there.glob("Subject00_*.edf"):
            shutil.copy(path, folder)
    assert datasets.load(name, folder, [FIRST[name]])
    assert read(name, folder, [FIRST[name]])
    for path in MODULES[name].files_of(folder, FIRST[name]):
        _flip(path, path.stat().st_size // 2)
        refused(lambda: read(name, folder, [FIRST[name]]), "sha256", names=path.name)
        _flip(path, path.stat().st_size // 2)
