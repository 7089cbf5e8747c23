"""Folders: with names of all letters, read-only, and on a disk that is full."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults.refusals import (
    contents,
    cut,
    hash_of,
    heard,
    nothing_half_made,
    read,
    refused,
    warnings_of,
)
from faults.twins import FIRST, MODULES, SETS, SMALL, file_of

from affectbook import datasets, files
from affectbook.datasets import _folders
from affectbook.errors import CacheError, DataFileError

Copy = Callable[..., Path]
QUICK = ("wesad", "mci")
STRANGE = "Übung mit Leerzeichen/データ (1) 50% [of] {all}; #2 & 'x' $HOME"


IN_A_PROCESS = ("amigos", "deap", "dreamer", "seed", "wesad")
"""Sets whose files are read in a process of its own, which keeps the rights it began with."""


def _marked(names: tuple[str, ...], quick: tuple[str, ...] = QUICK) -> list:
    return [n if n in quick else pytest.param(n, marks=pytest.mark.faults) for n in names]


@pytest.mark.parametrize("name", _marked(SETS))
def test_a_path_with_spaces_and_other_letters(name: str, copy: Copy):
    """It works: the same windows as under a plain name, found by name and made there, too."""
    plain, strange = copy(name), copy(name, STRANGE)
    expected = hash_of(cut(name, plain, [FIRST[name]]))
    assert hash_of(cut(name, strange, [FIRST[name]])) == expected
    assert datasets.find_root(name, strange.parent) == strange
    assert datasets.data_hashes(name, strange) == datasets.data_hashes(name, plain)
    made = strange.parent / "made" / name
    MODULES[name].make_twin(made, subjects=1, **SMALL[name])
    assert hash_of(cut(name, made, [FIRST[name]])) == expected


@pytest.mark.faults
@pytest.mark.parametrize("name", SETS)
def test_what_is_wrong_under_such_a_path_is_one_message(name: str, copy: Copy):
    folder = copy(name, STRANGE)
    path = file_of(name, folder)
    path.write_bytes(path.read_bytes()[:100])
    refused(lambda: read(name, folder, [FIRST[name]]), "データ", folder=folder)


@contextmanager
def without_rights() -> Iterator[None]:
    """Be nobody for a while, if this is root, for whom no file is read-only."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def anywhere() -> Iterator[Path]:
    """Return a folder that everybody may enter: pytest's own is closed to others."""
    made = Path(tempfile.mkdtemp(prefix="affectbook-faults-"))
    made.chmod(0o755)
    yield made
    for path in made.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(made)


@pytest.fixture
def read_only(
    anywhere: Path, copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[Path, Path]]:
    """Return what gives data, and a project whose build folder may not be written."""

    def make(name: str) -> tuple[Path, Path]:
        data = Path(shutil.copytree(copy(name), anywhere / "data" / name))
        project = anywhere / "project"
        (project / "build").mkdir(parents=True)
        (project / "build").chmod(0o555)
        for module in (files, _folders):
            monkeypatch.setattr(module, "project_root", lambda: project)
        return data, project

    return make


def _without_keeping(name: str, data: Path, expected: str) -> None:
    """Check that windows come without being kept, and one line says so, or that one error does."""
    try:
        with heard() as records:
            made = cut(name, data, [FIRST[name]])
    except (CacheError, DataFileError):  # DREAMER, which is read from what is kept of it
        refused(lambda: cut(name, data, [FIRST[name]]), folder=data)
        assert name == "dreamer"
    else:
        said = [line for line in warnings_of(records) if "windows could not be kept" in line]
        assert len(said) == 1, warnings_of(records)
        assert hash_of(made) == expected
    nothing_half_made()


@pytest.mark.parametrize("name", _marked(("wesad", "dreamer", "seed")))
def test_a_cache_that_is_read_only(name: str, read_only: Callable, benign: Callable):
    """One message or one line, and nothing is left; once it may be written, nothing is said."""
    expected = hash_of(benign(name)[1])
    data, project = read_only(name)
    with without_rights():
        _without_keeping(name, data, expected)
    assert not contents(project)
    (project / "build").chmod(0o777)
    with without_rights():
        assert len(cut(name, data, [FIRST[name]]).X)


@pytest.mark.parametrize("name", _marked(SETS, ("wesad",)))
def test_data_that_are_read_only(name: str, read_only: Callable, benign: Callable):
    """Nothing is ever written beside the data: a read-only copy works."""
    benign(name)  # starts the process that reads files, which nobody might not start
    data, project = read_only(name)
    (project / "build").chmod(0o777)
    for path in [data, *data.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = contents(data)
    with without_rights():
        assert len(cut(name, data, [FIRST[name]]).X)
    assert contents(data) == before


@pytest.mark.parametrize("name", _marked(SETS, ("mci",)))
def test_a_file_that_may_not_be_read(name: str, read_only: Callable):
    if os.geteuid() == 0 and name in IN_A_PROCESS:
        pytest.skip("for root, and the process it has started, no file is closed")
    data, project = read_only(name)
    (project / "build").chmod(0o777)
    path = file_of(name, data)
    path.chmod(0)
    with without_rights():
        refused(lambda: read(name, data, [FIRST[name]]), names=path.stem)
    path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    with without_rights():
        assert read(name, data, [FIRST[name]])


@contextmanager
def files_up_to(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes: a write fails in its middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("most", [0, 64, 2_000])
@pytest.mark.parametrize("name", _marked(("wesad", "dreamer", "amigos")))
def test_a_disk_that_is_full_while_windows_are_kept(
    name: str, most: int, copy: Copy, benign: Callable
):
    """One message or one line, and no half a folder; with room the same call works."""
    folder, expected = copy(name), hash_of(benign(name)[1])
    build = files.project_root() / "build"
    shutil.rmtree(build, ignore_errors=True)
    with files_up_to(most):
        _without_keeping(name, folder, expected)
    assert not list((build / "cache" / "windows").glob("*")) if build.exists() else True
    nothing_half_made()
    assert len(cut(name, folder, [FIRST[name]]).X)


@pytest.mark.parametrize("name", _marked(SETS, ("mci",)))
def test_a_disk_that_is_full_while_a_twin_is_made(name: str):
    """`prepare` gives one message, and what it made is no twin for anybody."""
    with files_up_to(1_000):
        refused(lambda: datasets.prepare(name, "simulated", subjects=1))
    nothing_half_made()
    twins = files.project_root() / "build" / "twins" / name
    assert not list(twins.glob("*")) if twins.exists() else True


@pytest.mark.faults
def test_a_damaged_cache_is_made_again(copy: Copy):
    """A kept window file cut short, or one byte changed in it, is not believed."""
    folder = copy("wesad")
    before = hash_of(cut("wesad", folder, ["S2"]))
    for damage in ("cut", "flip", "gone"):
        kept = next((files.project_root() / "build" / "cache" / "windows").rglob("X.f32"))
        raw = bytearray(kept.read_bytes())
        if damage == "cut":
            kept.write_bytes(raw[:-4])
        elif damage == "flip":
            raw[100] ^= 1
            kept.write_bytes(raw)
        else:
            kept.unlink()
        assert hash_of(cut("wesad", folder, ["S2"])) == before
    nothing_half_made()


@pytest.mark.faults
@pytest.mark.parametrize("name", ["wesad", "dreamer"])
def test_build_is_a_file(name: str, copy: Copy, benign: Callable):
    folder, expected = copy(name), hash_of(benign(name)[1])
    build = files.project_root() / "build"
    shutil.rmtree(build, ignore_errors=True)
    build.write_text("not a folder")
    _without_keeping(name, folder, expected)
