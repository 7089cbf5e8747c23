"""What it costs to run a notebook as a run, and how much of two cores two runs at a time use.

Claim: a run takes little longer than the code of its notebook in one plain Python script. The rest
is papermill, a kernel, the hash of the code, what the run writes down of where it comes from, its
page and the comparison with the book's own run. Runs of a sweep are processes that share nothing,
so that two at a time on two cores take little more than half the time of one after the other.

Goals: at most 10 s more for a notebook than for the script; for runs of about 30 s, two workers on
two cores reach at least 0.9 of the ideal, which is half the time of one worker.

Measured on a copy of the checkout, as a user would type it: `run` beside the script, `sweep` with
one worker beside `sweep` with two, in turn. Everything under build/ goes before each, so that data
are simulated anew each time; only the book's own run is there, to be compared with. Time is wall
time of the whole command, with everything that Python loads. One thread for each run. That script
and run have the same scores is asserted before anything is kept. The process is bound to two cores.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import harness
import machine
import nbformat
import pandas as pd

from affectbook.files import project_root

PAPER = "hcmnet"
SMALL = {"scale": "smoke", "subjects": 4, "epochs": 1}
SEEDS = 6
COPIED = ("lib", "notebooks", "results", "pyproject.toml", "requirements.in", "constraints.txt")
QUICK_CELLS = (
    "from affectbook import experiments, params\nfrom affectbook.papers import hcmnet",
    "setting = hcmnet.setting(params.from_notebook(hcmnet.Params, globals()))\n"
    "data = experiments.load(setting)\n"
    "experiment = experiments.Experiment(setting, data)\n"
    "experiment.add('majority', hcmnet.reference_models(setting, data)['majority'])",
    "folder = experiment.save()",
)


class Place:
    """A copy of the checkout."""

    def __init__(self, folder: Path, quick: bool) -> None:
        self.root, root = folder / "checkout", project_root()
        self.build, self.own = self.root / "build", folder / "own"
        # With its history, whose state provenance asks for.
        clone = ["git", "clone", "--quiet", "--shared", str(root), str(self.root)]
        if subprocess.run(clone, capture_output=True, check=False).returncode:
            self.root.mkdir()
        for name in COPIED:
            one, to = root / name, self.root / name
            if one.is_dir():
                shutil.copytree(one, to, dirs_exist_ok=True)
            else:
                shutil.copy2(one, to)
        self.notebook = self.root / "notebooks" / f"{PAPER}.ipynb"
        if quick:
            self._shorten()

    def _shorten(self) -> None:
        content = nbformat.read(self.notebook, 4)
        first = next(one for one in content.cells if one.cell_type == "code")
        content.cells = [first, *map(nbformat.v4.new_code_cell, QUICK_CELLS)]
        nbformat.write(content, self.notebook)

    def call(self, *command: str, **more: str) -> tuple[float, float]:
        """Run a command of Python to its end; return its wall and its CPU time in seconds."""
        one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        keep = {name: value for name, value in os.environ.items() if name[:10] != "AFFECTBOOK"}
        environment = keep | one | {"PYTHONPATH": str(self.root / "lib")} | more
        spent, started = _children_s(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, *command], cwd=self.root, env=environment, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
        return time.perf_counter() - started, _children_s() - spent

    def empty(self) -> None:
        """Leave nothing of what was built but the book's own run."""
        shutil.rmtree(self.build, ignore_errors=True)
        if self.own.is_dir():
            shutil.copytree(self.own, self.build / "executed" / "runs" / PAPER)

    def run(self) -> tuple[float, float]:
        """Run the notebook as a user does."""
        self.empty()
        given = [word for name, value in SMALL.items() for word in ("-p", name, str(value))]
        return self.call("-m", "affectbook.runs", "run", PAPER, *given)

    def script(self) -> tuple[float, float]:
        """Run the code of the notebook in one script."""
        self.empty()
        code = [one.source for one in nbformat.read(self.notebook, 4).cells
                if one.cell_type == "code"]  # fmt: skip
        given = "\n".join(f"{name} = {value!r}" for name, value in SMALL.items())
        path = self.notebook.with_name("script.py")
        path.write_text("\n".join([code[0], given, *code[1:]]), encoding="utf-8")
        folder = self.build / "script"
        folder.mkdir(parents=True)
        took = self.call(str(path), AFFECTBOOK_RUN_DIR=str(folder), AFFECTBOOK_RUN_KEY="script")
        path.unlink()
        return took

    def sweep(self, workers: int, seeds: int) -> tuple[float, float]:
        """Run a grid with so many workers."""
        self.empty()
        grid = self.root / "grid.yaml"
        grid.write_text(f"seed: {list(range(seeds))}\n" + "".join(
            f"{name}: {value}\n" for name, value in SMALL.items()))  # fmt: skip
        more = ("--grid", str(grid), "--workers", str(workers))
        return self.call("-m", "affectbook.runs", "sweep", PAPER, *more)

    def scores(self) -> pd.DataFrame:
        """Return the score rows of the one run or script that is there."""
        (path,) = [*self.build.glob("script/scores.csv"),
                   *self.build.glob(f"runs/{PAPER}/[!.]*/scores.csv")]  # fmt: skip
        return pd.read_csv(path).drop(columns="run_key")


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def take_turns(
    candidates: Mapping[str, Callable[[], tuple[float, float]]], rounds: int, fixed: Mapping
) -> list[dict[str, object]]:
    """Let candidates take turns, each round beginning with another; return one row each."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    names = list(candidates)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name].append(candidates[name]())
            print(f"  {name}: {found[name][-1][0]:.1f} s, CPU {found[name][-1][1]:.1f} s",
                  flush=True)  # fmt: skip
    walls = {name: statistics.median(wall for wall, _ in of) for name, of in found.items()}
    return [
        {
            "bench": "runs", **fixed, "candidate": name, "device": "cpu", "threads": 1,
            "rounds": rounds, "seconds": round(walls[name], 2),
            "cpu_seconds": round(statistics.median(cpu for _, cpu in of), 2),
            "ratio": round(walls[name] / walls[names[0]], 4),
            "spread": round((max(of)[0] - min(of)[0]) / walls[name], 3),
        }
        for name, of in found.items()
    ]  # fmt: skip


def one_notebook(place: Place, rounds: int) -> list[dict[str, object]]:
    """Measure a run beside the script, after both have been seen to compute the same."""
    place.script()
    expected = place.scores()
    place.run()
    if not place.scores().equals(expected):
        raise harness.DifferentError("the run has other scores than the script")
    (folder,) = place.build.glob(f"runs/{PAPER}/[!.]*")
    shutil.copytree(folder, place.own)
    return take_turns({"plain script": place.script, "make run": place.run}, rounds,
                      {"what": "one notebook", "runs": 1, "workers": 1})  # fmt: skip


def one_sweep(place: Place, rounds: int, seeds: int) -> list[dict[str, object]]:
    """Measure a sweep with one worker beside the same with two."""
    candidates = {f"{count} worker(s)": partial(place.sweep, count, seeds) for count in (1, 2)}
    rows = take_turns(candidates, rounds, {"what": "a sweep", "runs": seeds})
    return [row | {"workers": int(row["candidate"].split()[0])} for row in rows]


def main() -> None:
    """Measure, keep the rows and show what they say."""
    parser = argparse.ArgumentParser(prog="runs", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short notebook, in build/bench")
    quick = parser.parse_args().quick
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), quick)
        rows = one_notebook(place, 1 if quick else 3)
        rows += one_sweep(place, 1 if quick else 2, 2 if quick else SEEDS)
    rows = [row | machine.header("cpu") for row in rows]
    for row in rows:
        print("  " + ", ".join(f"{row[key]}" for key in ("what", "candidate", "seconds", "ratio")))
    kept = project_root() / ("build" if quick else "results") / "bench" / "runs.csv"
    harness.keep(rows, kept, list(rows[0]))
    print(f"Written: {kept.relative_to(project_root())}")


if __name__ == "__main__":
    main()
