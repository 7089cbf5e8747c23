"""Twins made once, a copy of one for each test, and an empty folder in the project's place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.refusals import cut, read
from faults.stub_paper import N_FOLDS, StubProject
from faults.twins import FIRST, MODULES, SMALL
from tiny_dreamer import empty_project

from affectbook.datasets.recording import Recording
from affectbook.windows import Windows

Copy = Callable[..., Path]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that stands for the project."""
    monkeypatch.delenv("AFFECTBOOK_ACCEPT_LICENCE", raising=False)
    return empty_project(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def twin(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("twins") / name
            MODULES[name].make_twin(made[name], subjects=2, **SMALL[name])
        return made[name]

    return twin


@pytest.fixture
def copy(_made: Callable[[str], Path], tmp_path: Path) -> Copy:
    """Return what copies the small twin of a set into a fresh folder."""

    def fresh(name: str, to: str = "data") -> Path:
        return Path(shutil.copytree(_made(name), tmp_path / to / name))

    return fresh


@pytest.fixture(scope="session")
def _known() -> dict[str, tuple[list[Recording], Windows]]:
    return {}


@pytest.fixture
def benign(
    _made: Callable[[str], Path], _known: dict[str, tuple[list[Recording], Windows]]
) -> Callable[[str], tuple[list[Recording], Windows]]:
    """Return what gives recordings and windows of the first subject of an undamaged twin."""

    def undamaged(name: str) -> tuple[list[Recording], Windows]:
        if name not in _known:
            folder, only = _made(name), [FIRST[name]]
            _known[name] = read(name, folder, only), cut(name, folder, only)
        return _known[name]

    return undamaged


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StubProject:
    """Return a project of the paper without torch, with a run that nothing interrupted."""
    project = StubProject(tmp_path_factory.mktemp("whole") / "project")
    done = project.run()
    assert done.returncode == 0, done.stderr
    assert len(set(project.trainings())) == N_FOLDS and not project.left()
    said = (project.finished() / "notebook.ipynb").read_text()
    assert "False" in said, "the kernel has loaded torch"
    return project
