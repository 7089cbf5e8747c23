"""What several tests share: the checkout, and a tiny project to run things in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
from tiny_project import ROOT, TinyProject

from affectbook import figures
from affectbook.files import project_root


@pytest.fixture
def tiny(tmp_path: Path) -> TinyProject:
    """Return a fresh tiny project."""
    return TinyProject(tmp_path)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the checkout."""
    return ROOT


@pytest.fixture
def drawing() -> Iterator[None]:
    """Draw without a screen and in the book's theme; leave nothing open or set."""
    matplotlib.use("agg")
    with matplotlib.rc_context():
        figures.theme()
        yield
    plt.close("all")


@pytest.fixture
def real() -> Callable[[str], Path]:
    """Return the folder of a real data set, or skip the test."""

    def find(name: str) -> Path:
        places = [os.environ.get("AFFECTBOOK_DATA"), project_root().parent / "shared" / "data"]
        for place in filter(None, places):
            base = Path(place) if Path(place).is_absolute() else project_root() / place
            if (base / name).is_dir():
                return base / name
        pytest.skip(f"no real {name} in $AFFECTBOOK_DATA or beside the project")

    return find
