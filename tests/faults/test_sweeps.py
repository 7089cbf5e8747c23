"""Sweeps that lose workers, runs and their driver: N of N results, each once, the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
from faults.stub_paper import INJECTED, StubProject

pytestmark = pytest.mark.faults
SEEDS = (0, 1, 2, 3)
_PATIENCE_S = 240
_DASK = [sys.executable, "-m", "distributed.cli"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> StubProject:
    return StubProject(tmp_path_factory.mktemp("made") / "project")


@pytest.fixture(scope="module")
def undisturbed(made: StubProject, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the tables of a sweep that nothing happened to, by their place."""
    project = made.copy(tmp_path_factory.mktemp("undisturbed") / "project")
    started = sweep(project)
    _, told = started.communicate(timeout=_PATIENCE_S)
    assert started.returncode == 0, told
    return tables(project)


def sweep(
    project: StubProject, *more: str, seeds: tuple[int, ...] = SEEDS
) -> subprocess.Popen[str]:
    grid = project.root / "grid.yaml"
    grid.write_text(f"seed: {list(seeds)}\n")
    return project.start("sweep", "tiny", "--grid", str(grid), *more)


def tables(project: StubProject) -> dict[str, bytes]:
    """Return scores and predictions of all finished runs, and the table of the sweep."""
    build = project.root / "build"
    found = [*build.glob("runs/tiny/[!.]*/*.csv"), *build.glob("sweeps/tiny/grid-*/results.csv")]
    return {path.relative_to(build).as_posix(): path.read_bytes() for path in found}


def runs_of(project: StubProject) -> pd.DataFrame:
    (path,) = project.root.glob("build/sweeps/tiny/grid-*/runs.csv")
    return pd.read_csv(path)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def each_once(project: StubProject, undisturbed: dict[str, bytes]) -> None:
    assert tables(project) == undisturbed
    lines = runs_of(project)
    assert sorted(lines["swept_seed"]) == list(SEEDS) and set(lines["state"]) == {"done"}
    assert lines["key"].is_unique
    (results,) = project.root.glob("build/sweeps/tiny/grid-*/results.csv")
    assert not pd.read_csv(results).duplicated().any()
    hidden = [path.name for path in project.runs_folder.iterdir() if path.name.startswith(".")]
    assert not [name for name in hidden if not name.endswith(".lock")], hidden


@pytest.fixture
def cluster(made: StubProject, tmp_path: Path) -> Iterator[tuple[str, list]]:
    """Return the address of a scheduler and its three workers, each in a checkout of its own."""
    running, told = [], tmp_path / "scheduler.json"
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    own = ["--host", "127.0.0.1", "--no-dashboard"]
    try:
        running.append(subprocess.Popen(
            [*_DASK[:-1], f"{_DASK[-1]}.dask_scheduler", *own, "--port", "0",
             "--scheduler-file", str(told)], cwd=tmp_path, **quiet))  # fmt: skip
        workers = []
        for number in range(3):
            project = made.copy(tmp_path / f"worker-{number}")
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join([str(project.root / "lib"), str(INJECTED)]),
                "STUB_LOG": str(project.log), "FAULT_MARK": str(project.mark),
            }  # fmt: skip
            workers.append((project, subprocess.Popen(
                [*_DASK[:-1], f"{_DASK[-1]}.dask_worker", "--scheduler-file", str(told), *own,
                 "--no-nanny", "--nthreads", "1", "--local-directory", str(tmp_path / "scratch")],
                cwd=project.root, env=environment, **quiet)))  # fmt: skip
            running.append(workers[-1][1])
        until(told.exists)
        yield json.loads(told.read_text())["address"], workers
    finally:
        for process in running:
            process.kill()
            process.wait()


def test_a_worker_killed_in_a_run_loses_nothing_and_repeats_nothing(
    made: StubProject, undisturbed: dict[str, bytes], cluster: tuple, tmp_path: Path
) -> None:
    address, workers = cluster
    driver = made.copy(tmp_path / "driver")
    started = sweep(driver, "--scheduler", address)
    # All three have a run that trains, so that none of them is spared by chance.
    until(lambda: all(project.trainings("begun") for project, _ in workers))
    lost, process = workers[1]
    process.kill()
    _, told = started.communicate(timeout=_PATIENCE_S)
    assert started.returncode == 0, told
    each_once(driver, undisturbed)
    assert not driver.trainings("begun"), "the driver sends runs and makes none"
    assert len(set(runs_of(driver)["where"])) == 2
    until(lambda: not [one for one in psutil.process_iter(["cwd"])
                       if str(one.info["cwd"]).startswith(str(lost.root))])  # fmt: skip


def test_a_worker_with_other_code_is_told(
    made: StubProject, cluster: tuple, tmp_path: Path
) -> None:
    address, workers = cluster
    for project, _ in workers:
        guess = project.root / "lib" / "affectbook" / "guess.py"
        guess.write_text(guess.read_text() + "\nOTHER = 1\n")
    driver = made.copy(tmp_path / "driver")
    started = sweep(driver, "--scheduler", address, seeds=(0,))
    _, told = started.communicate(timeout=_PATIENCE_S)
    assert started.returncode == 1
    assert "1 of 1 runs failed. There are no others." in told
    assert "the worker's code or data differ: expected run " in told
    assert "Traceback" not in told
    assert tables(driver) == {}


def test_a_killed_run_and_a_killed_driver_lose_nothing(
    made: StubProject, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    project = made.copy(tmp_path / "project")
    first = sweep(project, "--workers", "2")
    until(lambda: len(list(project.runs_folder.glob("[!.]*"))) >= 1)
    first.send_signal(signal.SIGTERM)
    _, told = first.communicate(timeout=_PATIENCE_S)
    assert first.returncode == 143
    assert "the same command goes on" in told and "Traceback" not in told
    before = {path: path.stat().st_ino for path in project.runs_folder.glob("[!.]*")}

    begun = len(project.trainings("begun"))
    second = sweep(project, "--workers", "2")
    until(lambda: len(project.trainings("begun")) > begun)
    run_of(second.pid).kill()
    out, told = second.communicate(timeout=_PATIENCE_S)
    assert second.returncode == 0, told
    each_once(project, undisturbed)
    assert f"{len(SEEDS)} runs, {len(before)} finished before" in out
    assert all(path.stat().st_ino == inode for path, inode in before.items())
    assert runs_of(project)["attempts"].max() >= 2


def run_of(driver: int) -> psutil.Process:
    """Return the process of a run that a driver waits for."""
    return next(one for one in psutil.Process(driver).children() if "run" in one.cmdline())
