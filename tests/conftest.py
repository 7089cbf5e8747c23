"""What several tests share: the checkout, and a tiny project to run things in."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_project import ROOT, TinyProject


@pytest.fixture
def tiny(tmp_path: Path) -> TinyProject:
    """Return a fresh tiny project."""
    return TinyProject(tmp_path)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the checkout."""
    return ROOT
