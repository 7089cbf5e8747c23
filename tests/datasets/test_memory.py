"""Free memory: that of the machine, or what a container's limit leaves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from affectbook.datasets import _memory

HUGE = 9223372036854771712


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Return a function that writes the files of a group, seen from this process."""
    monkeypatch.setattr(_memory, "_GROUPS", tmp_path / "fs")
    monkeypatch.setattr(_memory, "_OWN", tmp_path / "own")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**10))
    (tmp_path / "own").write_text("4:memory:/box/inner\n1:cpu,cpuacct:/\n0::/box/inner\n")

    def write(
        version: int, place: str, most: object, used: int, back: int = 0, twice: int = 0
    ) -> None:
        folder, limit, use, given = _memory._LAYOUTS["" if version == 2 else "memory"]
        where: Path = tmp_path / "fs" / folder / place
        where.mkdir(parents=True, exist_ok=True)
        (where / limit).write_text(f"{most}\n")
        (where / use).write_text(f"{used}\n")
        parts = f"{given[0]} {back}\n{given[1]} {twice}\n"
        (where / "memory.stat").write_text(f"anon 5\n{parts}other 1\n")

    return write


def test_the_machine_alone(group, tmp_path):
    assert _memory.free() == 10**10
    (tmp_path / "own").unlink()
    assert _memory.free() == 10**10


@pytest.mark.parametrize("version", [1, 2])
def test_the_smallest_limit_of_all_groups_above_holds(group, version):
    group(version, "box/inner", HUGE if version == 1 else "max", 10)
    assert _memory.free() == 10**10
    group(version, "box", 3000, 1000, back=300)
    assert _memory.free() == 2300
    group(version, "box/inner", 900, 1000)
    assert _memory.free() == 0


@pytest.mark.parametrize("version", [1, 2])
def test_what_files_take_in_memory_is_free(group, version):
    """Else a set that was read twice in a container would be refused the third time."""
    group(version, "box", 3000, 2900, back=300, twice=2500)
    assert _memory.free() == 2900
    group(version, "box", 3000, 2700, back=300, twice=2500)  # the two numbers are read in turn
    assert _memory.free() == 3000


@pytest.mark.parametrize("version", [1, 2])
def test_in_a_container_only_the_top_is_there(group, version):
    group(version, "", 5000, 1000)
    assert _memory.free() == 4000


def test_a_limit_that_cannot_be_read_is_none(group, tmp_path):
    group(2, "", "many", 3)
    assert _memory.free() == 10**10
    (tmp_path / "fs" / "memory.max").unlink()
    assert _memory.free() == 10**10


def test_here_some_memory_is_free():
    assert 0 < _memory.free() <= psutil.virtual_memory().total
