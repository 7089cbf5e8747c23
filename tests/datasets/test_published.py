"""Sums of open sets: every file of the list, whose they are, and one wrong byte."""

from __future__ import annotations

import hashlib
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pooch
import pytest

from affectbook import datasets
from affectbook.datasets import _published, _registry
from affectbook.errors import DataFileError
from affectbook.files import project_root

OPEN = ("drivedb", "eegmat")


def test_every_open_set_has_sums_and_no_other() -> None:
    assert {name for name in datasets.names() if _published.sums(name)} == set(OPEN)
    assert {name for name in datasets.names() if datasets.card(name).tier == "open"} == set(OPEN)


@pytest.mark.parametrize("name", OPEN)
def test_the_list_names_every_file_that_the_reader_needs(name: str, tmp_path: Path) -> None:
    listed = _published.sums(name)
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in listed.values())
    assert len(set(listed.values())) == len(listed)
    for subject in datasets.card(name).subjects:
        for path in _registry.module(name).files_of(tmp_path, subject):
            assert path.relative_to(tmp_path).as_posix() in listed


@pytest.mark.parametrize("name", OPEN)
def test_pooch_reads_the_same_list(name: str, tmp_path: Path) -> None:
    pup = pooch.create(path=tmp_path, base_url="http://localhost/")
    pup.load_registry(Path(_published.__file__).with_name(f"{name}_sha256.txt"))
    assert pup.registry == _published.sums(name)


def test_whose_sums_they_are_is_said() -> None:
    assert "those of a public copy" in _published.source("eegmat")
    assert "since no list of the publisher's was at hand" in _published.source("eegmat")
    assert "the publisher's" in _published.source("drivedb")
    assert "copy" not in _published.source("drivedb")
    assert _published.source("wesad") == "" and _published.sums("wesad") == {}


def test_the_lists_ship_with_the_package() -> None:
    shipped = tomllib.loads((project_root() / "pyproject.toml").read_text(encoding="utf-8"))
    assert "*.txt" in shipped["tool"]["setuptools"]["package-data"]["*"]


@pytest.mark.parametrize(
    ("name", "file"), [("drivedb", "drive05.hea"), ("eegmat", "Subject00_2.edf")]
)
def test_a_changed_byte_is_found_and_the_real_file_passes(
    name: str, file: str, real: Callable[[str], Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copy(real(name) / file, tmp_path))
    _published.check(name, tmp_path, [copy])
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    with pytest.raises(DataFileError) as caught:
        _published.check(name, tmp_path, [copy])
    error = caught.value
    assert error.file == copy and error.field == "sha256"
    assert error.found != _published.sums(name)[file]
    assert error.expected.startswith(_published.sums(name)[file])
    assert _published.source(name) in error.expected
    assert error.do.startswith(f"make data DATASET={name} fetches it again")
    assert "\n" not in str(error)


def test_files_that_are_not_in_the_list_or_not_there_pass(tmp_path: Path) -> None:
    (tmp_path / "eegmat_60s.npz").write_bytes(b"x")
    there = [tmp_path / "eegmat_60s.npz", tmp_path / "Subject00_1.edf"]
    _published.check("eegmat", tmp_path, there)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "Subject00_1.edf").write_bytes(b"x")
    _published.check("eegmat", tmp_path, [tmp_path / "deeper" / "Subject00_1.edf"])
    _published.check("wesad", tmp_path, [tmp_path / "S2" / "S2.pkl"])


def test_the_publishers_list_counts_where_ours_is_of_a_copy(tmp_path: Path) -> None:
    file = tmp_path / "Subject00_1.edf"
    file.write_bytes(b"the publisher's")
    digest = hashlib.sha256(b"the publisher's").hexdigest()
    with pytest.raises(DataFileError):
        _published.check("eegmat", tmp_path, [file])
    (tmp_path / "SHA256SUMS.txt").write_text(f"{'0' * 64} RECORDS\n{digest}  {file.name}\nx\n")
    _published.check("eegmat", tmp_path, [file])
    file.write_bytes(b"altered")
    with pytest.raises(DataFileError, match=f"{_published.sums('eegmat')[file.name]} or {digest}"):
        _published.check("eegmat", tmp_path, [file])
    # Where ours is the publisher's, a list in the folder can change nothing.
    file = tmp_path / "drive05.hea"
    file.write_bytes(b"other")
    digest = hashlib.sha256(b"other").hexdigest()
    (tmp_path / "SHA256SUMS.txt").write_text(f"{digest} drive05.hea\n")
    with pytest.raises(DataFileError):
        _published.check("drivedb", tmp_path, [file])


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"x" * 2_000_000, b"0" * 64])
def test_a_list_that_is_none_is_no_list(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS.txt").write_bytes(content)
    assert _published.publishers(tmp_path / "SHA256SUMS.txt") == {}
    accepted = _published.accepted("eegmat", tmp_path)
    assert {file: (own,) for file, own in _published.sums("eegmat").items()} == accepted
