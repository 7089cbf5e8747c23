"""Sweeps that are killed in a fold of a cell: the same command goes on there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from faults.stub_paper import StubProject, gone_within

pytestmark = pytest.mark.faults
N_FOLDS, N_CELLS = 6, 2
"""Six folds in either of two cells."""
PAPER = '''"""A paper that guesses in two cells of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

from affectbook.scales import cells

TITLE, NETWORK = "Guessing", "affectbook.guess"
SWEEPS = {"small": cells("network", {}, {"seed": (0, 1)})}


@dataclass(frozen=True)
class Params:
    """What can be set."""

    seed: int = 0


def setting(params: Params):
    """Return the same small setting for each seed."""
    from affectbook.experiments import Setting

    return Setting(
        paper="swept", dataset="wesad", tier="simulated", target="condition", label_rule=None,
        protocol="shuffled_windows_as_published", subjects=2, seconds=1.0, overlap=0.0, effect=1.0,
        fingerprint=1.0, variant="", scale="smoke", sfreq=16.0, per_trial=4, n_splits=6,
        epochs=3, batch_size=1, patience=1, seed=params.seed, device="cpu")


def build(setting, data):
    """Return the estimator."""
    from affectbook.guess import Guess

    return Guess(setting.epochs)


def network_options(variant: str) -> dict:
    """Return none."""
    return {}


training_options = network_options
'''


@pytest.fixture(scope="module")
def swept(whole: StubProject, tmp_path_factory: pytest.TempPathFactory) -> StubProject:
    """Return a project with a finished sweep."""
    project = whole.copy(tmp_path_factory.mktemp("swept") / "project")
    (project.root / "lib" / "affectbook" / "papers" / "swept.py").write_text(PAPER)
    done = sweep(project)
    assert done.returncode == 0, done.stderr
    assert len(set(project.trainings())) == N_FOLDS * N_CELLS
    return project


def sweep(project: StubProject, **fault: str) -> subprocess.CompletedProcess[str]:
    """Run the sweep to its end."""
    started = project.start("sweep", "swept", "small", "--workers", "1", **fault)
    out, err = started.communicate(timeout=300)
    return subprocess.CompletedProcess(started.args, started.returncode, out, err)


def tables(project: StubProject) -> dict[str, bytes]:
    """Return the tables of the finished cells by the cells' keys."""
    folder = project.root / "build" / "sweeps" / "swept" / "small"
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.glob("[!.]*/*.csv")}  # fmt: skip


@pytest.mark.parametrize(
    ("point", "how", "to", "trained"),
    [
        ("in a later fold", "SIGKILL", "self", 4),
        ("in a later fold", "SIGKILL", "other", 4),
        ("in a later fold", "SIGTERM", "other", 4),
        ("in a later fold", "SIGINT", "other", 4),
        ("a fold half written", "SIGKILL", "self", 1),
        ("scores half written", "SIGKILL", "self", N_FOLDS),
    ],
)
def test_it_goes_on_at_the_fold(
    point: str, how: str, to: str, trained: int, swept: StubProject, tmp_path: Path
):
    project = swept.copy(tmp_path / "project")
    first = sweep(project, at=point, how=how, to=to, stay="3" if to == "other" else "0")
    assert first.returncode != 0 and project.mark.exists()
    assert gone_within(int(project.mark.read_text()), 15)
    assert not tables(project)
    assert len(project.trainings()) == trained + (point == "a fold half written")
    again = sweep(project)
    assert again.returncode == 0, again.stderr
    assert tables(project) == tables(swept)
    twice = len(project.trainings()) - N_FOLDS * N_CELLS
    assert twice == (point == "a fold half written"), "a fold that was kept was trained again"
    assert [one for one in project.left() if "cache" not in one and "twins" not in one] == []


def test_a_worker_that_dies_is_one_message(swept: StubProject, tmp_path: Path):
    project = swept.copy(tmp_path / "project")
    done = sweep(project, at="in a later fold", how="SIGKILL")
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr and "same command" in done.stderr
