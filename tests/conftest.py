"""What several tests share: the checkout, and a tiny project to run things in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
from tiny_project import ROOT, TinyProject

from affectbook import figures


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
