"""What several tests share: the checkout, and a tiny project to run things in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import remembered  # noqa: F401
from hypothesis import settings
from tiny_project import ROOT, TinyProject

from affectbook.files import project_root

# Takes more than a second to load, in every process; notebooks can be checked without it.
sys.modules.setdefault("rfc3987_syntax", None)
# An example may take long on a machine that does something else besides.
settings.register_profile("book", settings(), deadline=None)
settings.load_profile("book")


@pytest.fixture
def tiny(tmp_path: Path) -> TinyProject:
    """Return a fresh tiny project."""
    return TinyProject(tmp_path)


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    project = TinyProject(tmp_path_factory.mktemp("finished"))
    return project.root / "build", project.runs("run", "tiny", "-p", "seed", "5")


@pytest.fixture
def ran(
    tiny: TinyProject, _finished: tuple[Path, subprocess.CompletedProcess]
) -> subprocess.CompletedProcess[str]:
    """Return how a run of the tiny project with seed 5 ended, whose files lie under its build."""
    build, done = _finished
    assert done.returncode == 0, done.stderr
    shutil.copytree(build, tiny.root / "build")
    return done


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the checkout."""
    return ROOT


@pytest.fixture
def drawing() -> Iterator[None]:
    """Draw without a screen and in the book's theme; leave nothing open or set."""
    # Imported here, as the process that only hands tests out to workers draws nothing.
    import matplotlib
    import matplotlib.pyplot as plt

    from affectbook import figures

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
