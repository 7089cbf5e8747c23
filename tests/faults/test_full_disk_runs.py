"""Runs on a disk that fills up or may not be written: one message, and finished folds are kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.stub_paper import N_FOLDS, StubProject

pytestmark = pytest.mark.faults
MB = 1_000_000


def require_one_message(done: subprocess.CompletedProcess[str]) -> None:
    """Check that a command failed with one message, which may name a second file on a line."""
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 or len(lines) == 2 and lines[1].startswith(("Kept", "Nothing")), lines
    assert "Page:" not in done.stdout


def require_recovery(project: StubProject, whole: StubProject, kept: int) -> None:
    """Check that the same command succeeds now, and trains no fold that was kept."""
    assert not list(project.runs_folder.glob("[!.]*")), "what failed looks like a run"
    before = project.trainings()
    done = project.run()
    assert done.returncode == 0, done.stderr
    assert (f"Going on: {kept} folds" in done.stdout) == (kept > 0)
    assert project.scores() == whole.scores() and project.left() == []
    trained = project.trainings()
    assert len(set(trained)) == N_FOLDS and len(trained) <= N_FOLDS + 1
    assert len(trained) - len(before) == N_FOLDS - kept


@pytest.mark.parametrize(
    ("limit", "kept", "says"),
    [
        (0, 0, "the results of a run could not be kept"),
        (2_000, 0, "the results of a run could not be kept"),
        (4_200, N_FOLDS, "it could not be written"),
        (12_000, N_FOLDS, "File too large"),
        (MB, N_FOLDS, "the results of a run could not be kept"),
    ],
    ids=["nothing", "the trial", "the notebook", "the scores", "the page"],
)
def test_no_file_may_grow_beyond(
    limit: int, kept: int, says: str, whole: StubProject, tmp_path: Path
):
    project = whole.copy(tmp_path / "project")
    done = project.run(limit=limit)
    require_one_message(done)
    assert says in done.stderr and project.kept() == kept
    require_recovery(project, whole, kept)


@pytest.mark.parametrize(
    ("point", "kept", "says"),
    [
        ("before a fold is written", 1, "leave_one_subject_out, fold 2"),
        ("scores half written", N_FOLDS, "File too large"),
        ("provenance half written", N_FOLDS, "the results of a run could not be kept"),
        ("the page half rendered", N_FOLDS, "the results of a run could not be kept"),
    ],
)
def test_the_disk_is_full_from_a_point_on(
    point: str, kept: int, says: str, whole: StubProject, tmp_path: Path
):
    project = whole.copy(tmp_path / "project")
    done = project.run(at=point, how="no room in a file")
    require_one_message(done)
    assert says in done.stderr and "same command" in done.stderr and project.kept() == kept
    require_recovery(project, whole, kept)


@pytest.fixture
def small_disk(whole: StubProject, tmp_path: Path) -> Iterator[StubProject]:
    """Return a project whose build folder is a disk of its own, of 120 MB."""
    project = whole.copy(tmp_path / "project")
    build = project.root / "build"
    build.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=120m", "none", str(build)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk of its own takes the rights to mount one")
    yield project
    subprocess.run(["umount", "--lazy", str(build)], check=True)


def test_a_disk_fills_up_in_a_fold(small_disk: StubProject, whole: StubProject):
    done = small_disk.run(at="in a later fold", how="full")
    require_one_message(done)
    assert "No space left on device" in done.stderr and "same command" in done.stderr
    assert shutil.disk_usage(small_disk.root / "build").free <= 4096 and small_disk.kept() == 4

    again = small_disk.run()
    require_one_message(again)
    assert "0 MB are free" in again.stderr and "Running" not in again.stdout
    assert small_disk.kept() == 4
    (small_disk.root / "build" / "ballast").unlink()
    require_recovery(small_disk, whole, 4)


def refused_at_once(project: StubProject, *says: str, **how: str) -> None:
    """Check that a run is refused in one message before a kernel could start."""
    started = time.monotonic()
    done = project.run(**how)
    assert time.monotonic() - started < 60
    require_one_message(done)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "Running" not in done.stdout and not project.trainings("begun")
    for one in says:
        assert one in done.stderr, done.stderr


def test_too_little_room_is_told_before_anything_starts(whole: StubProject, tmp_path: Path):
    project = whole.copy(tmp_path / "project")
    refused_at_once(project, "too little room; 5 MB are free", "100 MB of room", room=str(5 * MB))
    require_recovery(project, whole, 0)


@pytest.mark.parametrize("what", ["build", "build/runs", "build/runs/tiny"])
def test_a_file_in_the_place_of_a_folder(what: str, whole: StubProject, tmp_path: Path):
    project = whole.copy(tmp_path / "project")
    place = project.root / what
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("not a folder")
    refused_at_once(project, "the results of a run could not be kept")
    place.unlink()
    require_recovery(project, whole, 0)


@pytest.mark.parametrize("what", ["build", "build/runs/tiny"])
def test_a_folder_that_may_not_be_written(what: str, whole: StubProject, tmp_path: Path):
    """Nobody may write into it, not even root: it is a disk that is mounted read-only."""
    project = whole.copy(tmp_path / "project")
    place = project.root / what
    place.mkdir(parents=True)
    place.chmod(0o555)
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "none", str(place)]
    root = os.geteuid() == 0
    if root and subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("root may write everywhere, but may not mount")
    try:
        refused_at_once(project, "the results of a run could not be kept")
    finally:
        if root:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
        place.chmod(0o755)
    require_recovery(project, whole, 0)
