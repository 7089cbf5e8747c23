"""Runs beside one another and one after another: a lock, an orphan, `--force`, old tables."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from faults.stub_paper import CELLS, N_FOLDS, StubProject, gone_within, wait_for

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("until", ["", "page.html"], ids=["beside it", "after it"])
def test_a_kernel_that_outlives_its_driver_harms_nothing(
    until: str, whole: StubProject, tmp_path: Path
):
    """It goes on in the folder of the run, while or after the next command works there."""
    project = whole.copy(tmp_path / "project")
    last = project.runs_folder / whole.finished().name / until if until else ""
    first = project.run(
        at="in a later fold", how="SIGKILL", to="other", orphan="yes", until=str(last)
    )
    orphan = int(project.mark.read_text())
    try:
        again = project.run()
        assert first.returncode == -signal.SIGKILL
        assert not gone_within(orphan, 2), "it has ended after all"
        assert again.returncode == 0, again.stderr
        assert project.scores() == whole.scores() and project.left() == []
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_the_second_of_two_equal_runs_waits_and_another_does_not(
    whole: StubProject, tmp_path: Path
):
    project, go = whole.copy(tmp_path / "project"), tmp_path / "go"
    first = project.start("run", "tiny", at="in a later fold", how="nothing", until=str(go))
    wait_for(project.mark)
    second = project.start("run", "tiny")
    said = [second.stdout.readline()]
    assert said[0].startswith(f"Waiting for process {first.pid} on ") and "run " in said[0]
    other = project.run("-p", "seed", "1")
    assert other.returncode == 0 and "Waiting" not in other.stdout
    assert first.poll() is None and second.poll() is None
    go.touch()
    for process in (first, second):
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert "finished before" in out
    kept = {path.name for path in project.runs_folder.iterdir()}
    assert len(kept) == 2 and whole.finished().name in kept and project.left() == []
    assert len(project.trainings()) == len(set(project.trainings())) == 2 * N_FOLDS


def test_a_run_that_is_made_again_from_the_start_goes_on_too(whole: StubProject, tmp_path: Path):
    """`--force` after `--force` that was killed; `--force` after a run that was killed does not."""
    project = whole.copy(tmp_path / "project")
    ended = project.run(at="a fold written", how="SIGTERM", to="other", stay="3")
    assert ended.returncode == 143
    assert project.kept() == 2
    project.mark.unlink()
    killed = project.run("--force", at="in a later fold", how="SIGKILL", to="other", stay="3")
    assert killed.returncode == -signal.SIGKILL and project.kept() == 4
    assert "Going on" not in killed.stdout
    done = project.run("--force")
    assert done.returncode == 0 and "Going on: 4 folds" in done.stdout
    assert project.scores() == whole.scores() and project.left() == []
    assert len(project.trainings()) == 2 + N_FOLDS


def test_a_table_of_an_attempt_before_is_not_taken_for_one_of_this(
    whole: StubProject, tmp_path: Path
):
    """A notebook that keeps no scores any more leaves no run, though it was killed when it did."""
    project = whole.copy(tmp_path / "project")
    assert project.run(at="the page half rendered", how="SIGKILL").returncode == -signal.SIGKILL
    assert list(project.runs_folder.glob(".unfinished-*/scores.csv"))
    project.write_notebook(CELLS[:-1])
    done = project.run()
    assert done.returncode == 2 and "wrote no scores.csv and no predictions.csv" in done.stderr
    project.write_notebook(CELLS)
    assert project.run().returncode == 0 and project.scores() == whole.scores()
    assert len(project.trainings()) == N_FOLDS
