"""Time candidates that compute the same thing, in turn and in one process; measure their memory.

A script hands `main` its cases. Each case is one shape with its candidates; the first candidate
is ours. Before anything is timed, every candidate has to give the output and the gradients of the
first. Each malloc mode runs in a process of its own, and so does each measurement of memory.

Variables: THREADS (1: CPU seconds are counted; with more, wall time) and DEVICE (cpu; with cuda,
wall time; untried by this project).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import machine
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from affectbook.files import project_root, write_atomic
from affectbook.models import products

THREADS = int(os.environ.get("THREADS", "1"))
DEVICE = os.environ.get("DEVICE", "cpu")
MALLOC = ("default", "reuse")
BOTH = ("forward", "forward+backward")
ENOUGH = 0.1  # seconds that one sample takes at least, by repeating what is shorter
_PEAK = "peak_mb"
_UNTOLD = """case device threads gemm_gflop_per_s gflop products spread rounds peak_mb
             trained_parameters""".split()


class DifferentError(AssertionError):
    """A candidate does not compute what ours computes, so that its time means nothing."""


@dataclass(frozen=True)
class Candidate:
    """One way to compute something.

    Parameters
    ----------
    forward
        Computes the output from tensors made before.
    leaves
        What a backward pass finds the gradients of, under names that all candidates share.
    step
        A whole training step, where that is timed.
    facts
        Columns of its rows that are counted, not timed.
    """

    forward: Callable[[], Tensor]
    leaves: Mapping[str, Tensor] = field(default_factory=dict)
    step: Callable[[], None] | None = None
    facts: Mapping[str, object] = field(default_factory=dict)

    def run(self, what: str) -> None:
        """Do one ``forward``, ``forward+backward`` or ``step``."""
        if what == "step":
            self.step()
        elif what == "forward":
            with torch.no_grad():
                self.forward()
        else:
            self.results()

    def results(self) -> dict[str, Tensor]:
        """Return the output and the gradients of its product with fixed random numbers."""
        y = self.forward()
        if not self.leaves:
            return {"output": y.detach()}
        found = torch.autograd.grad(y, list(self.leaves.values()), _direction(y))
        gradients = {f"gradient of {n}": g for n, g in zip(self.leaves, found, strict=True)}
        return {"output": y.detach()} | gradients


@dataclass(frozen=True)
class Case:
    """One shape, and who competes there.

    Parameters
    ----------
    shape
        Columns that say which case this is.
    build
        Makes the candidates; the first is ours.
    passes
        Which of ``forward``, ``forward+backward`` and ``step`` are timed.
    rounds
        How often everyone has a turn; ``--rounds`` has the last word.
    gflop
        Arithmetic of each pass, where it is held against the speed of matrix products.
    peak
        Measure the memory of the last pass.
    tolerance
        Largest error in an output or gradient, as a share of its largest number.
    """

    shape: Mapping[str, object]
    build: Callable[[], dict[str, Candidate]]
    passes: Sequence[str] = BOTH
    rounds: int = 5
    gflop: Mapping[str, float] = field(default_factory=dict)
    peak: bool = False
    tolerance: float = 1e-3


def check(candidates: Mapping[str, Candidate], tolerance: float) -> None:
    """Raise a DifferentError if a candidate's output or gradient is not that of the first."""
    expected, *others = ((name, one.results()) for name, one in candidates.items())
    for name, found in others:
        for what, want in expected[1].items():
            error = ((found[what] - want).abs().max() / want.abs().max()).item()
            if not error <= tolerance:  # NaN is an error too
                raise DifferentError(f"{name}: {what} differs by {error:.1e} of its largest number")


def interleave(
    steps: Mapping[str, Callable[[], None]], rounds: int, clock: Callable[[], float] | None = None
) -> dict[str, list[float]]:
    """Time the steps in turn: each round begins with another one, after a round of warm-up."""
    clock = clock or _clock
    names = list(steps)
    repeats = {name: _repeats(steps[name], clock) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            gc.collect()
            started = clock()
            for _ in range(repeats[name]):
                steps[name]()
            seconds[name].append((clock() - started) / repeats[name])
    return seconds


def gemm_rate(size: int = 2048) -> float:
    """Return GFLOP/s of the faster of two routes to a float32 matrix product."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    image = a.t().reshape(1, size, size, 1).contiguous(memory_format=torch.channels_last)
    kernel = b.reshape(size, size, 1, 1)
    routes = {"mm": partial(torch.mm, a, b), "conv2d": partial(F.conv2d, image, kernel)}
    with torch.no_grad():
        times = interleave(routes, rounds=3)
    return 2e-9 * size**3 / min(min(seconds) for seconds in times.values())


def main(name: str, claim: str, cases: Callable[[bool], list[Case]]) -> pd.DataFrame | None:
    """Measure all cases, show and keep their rows, return them; None in a process it started."""
    parser = argparse.ArgumentParser(prog=name, description=claim.splitlines()[0])
    parser.add_argument("--rounds", type=int, help="turns of each candidate")
    parser.add_argument("--quick", action="store_true", help="small shapes, kept in build/bench")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    todo = cases(arguments.quick)
    torch.set_num_threads(THREADS)
    if DEVICE != "cpu":
        torch.set_default_device(DEVICE)
    if arguments.work:
        _work(
            json.loads(arguments.work), todo, arguments.rounds or (1 if arguments.quick else None)
        )
        return
    head = machine.header(DEVICE)
    print(f"{name}: {claim.splitlines()[0]}")
    print(", ".join(f"{key} {value}" for key, value in head.items() if value is not None))
    columns = list(dict.fromkeys(key for case in todo for key in case.shape))
    rows = [{"bench": name, **row, **head} for row in _collect(todo)]
    folder = project_root() / ("build" if arguments.quick else "results") / "bench"
    keep(rows, folder / f"{name}.csv", ["bench", *columns])
    print(f"Written: {folder.relative_to(project_root())}/{name}.csv", flush=True)
    return pd.DataFrame(rows)


def keep(rows: list[dict[str, object]], path: Path, first: list[str]) -> None:
    """Write rows; those measured before on another device or with other threads stay."""
    frame = pd.DataFrame(rows)
    if path.is_file():
        before, keys = pd.read_csv(path), ["device", "threads"]
        measured = set(frame[keys].itertuples(index=False, name=None))
        others = [key not in measured for key in before[keys].itertuples(index=False, name=None)]
        frame = pd.concat([frame, before[others]]) if any(others) else frame
    ordered = frame[first + [column for column in frame if column not in first]]
    write_atomic(path, lambda temporary: ordered.to_csv(temporary, index=False))


def _collect(todo: list[Case]) -> list[dict[str, object]]:
    """Start the processes that measure, and return their rows."""
    rows = []
    for mode in MALLOC:
        if mode == "reuse" and (DEVICE != "cpu" or not machine.has_glibc()):
            print("Malloc mode reuse: left out, it needs glibc and a CPU")
            continue
        for row in _measure({"malloc": mode}):
            _tell(row)
            rows.append(row)
    for row in rows:
        number = row.pop("case")
        wanted = todo[number].peak and machine.can_measure_peaks() and DEVICE == "cpu"
        if wanted and (row["pass"], row["malloc"]) == (todo[number].passes[-1], "default"):
            job = {"malloc": "default", "peak": number, "candidate": row["candidate"]}
            row |= next(_measure(job))
            print(f"  {row['candidate']}: {row[_PEAK]:.0f} MB more at its peak", flush=True)
    return rows


def _measure(job: Mapping[str, object]) -> Iterator[dict[str, object]]:
    """Run this script again in a fresh process and yield the rows it prints."""
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(THREADS))
    command = [sys.executable, *sys.argv, "--work", json.dumps(job)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as worker:
        for line in worker.stdout:
            yield json.loads(line)
    if worker.returncode:
        raise SystemExit(f"{sys.argv[0]} failed in {job}")


def _work(job: Mapping[str, object], todo: list[Case], rounds: int) -> None:
    """Do in this process what `_measure` asked for; a row is one line of JSON."""
    machine.set_malloc(job["malloc"])
    if "peak" in job:
        case = todo[job["peak"]]
        run = partial(_build(case)[job["candidate"]].run, case.passes[-1])
        print(json.dumps({_PEAK: round(machine.peak_mb(run), 1)}), flush=True)
        return
    rate = round(gemm_rate(), 1)
    for number, case in enumerate(todo):
        candidates = _build(case)
        check(candidates, case.tolerance)
        fixed = {"case": number, **case.shape, "device": DEVICE, "malloc": job["malloc"]}
        fixed |= {"threads": THREADS, "gemm_gflop_per_s": rate}
        for what in case.passes:
            steps = {name: partial(one.run, what) for name, one in candidates.items()}
            for row in _rows(interleave(steps, rounds or case.rounds)):
                more = {"pass": what, "gflop": case.gflop.get(what)}
                more["products"] = products.library()
                facts = candidates[row["candidate"]].facts
                print(json.dumps(fixed | more | row | facts), flush=True)


def _build(case: Case) -> dict[str, Candidate]:
    torch.manual_seed(0)
    return case.build()


def _rows(times: Mapping[str, list[float]]) -> Iterator[dict[str, object]]:
    """Yield one row per candidate; `ratio` is how many times as long as ours it takes."""
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    ours = next(iter(medians.values()))
    for name, seconds in times.items():
        spread = (max(seconds) - min(seconds)) / medians[name]
        yield {
            "candidate": name,
            "seconds": float(f"{medians[name]:.4g}"),
            "spread": round(spread, 3),
            "rounds": len(seconds),
            "ratio": float(f"{medians[name] / ours:.4g}"),
            _PEAK: None,
        }


def _tell(row: Mapping[str, object]) -> None:
    parts = {key: value for key, value in row.items() if key not in _UNTOLD}
    milliseconds, ratio = 1000 * parts.pop("seconds"), parts.pop("ratio")
    where = " ".join(f"{key} {value}" for key, value in parts.items() if key != "candidate")
    name = parts["candidate"]
    print(f"  {where:<70} {name:<24} {milliseconds:>9.1f} ms {ratio:>7.2f} x", flush=True)


def _repeats(step: Callable[[], None], clock: Callable[[], float]) -> int:
    """Warm a step up and return how often it has to be repeated to be timed well."""
    for _ in range(2):
        started = clock()
        step()
        once = clock() - started
        if once >= ENOUGH:
            return 1
    return max(1, min(100, round(ENOUGH / once))) if once > 0 else 1


def _clock() -> float:
    if DEVICE != "cpu":
        torch.cuda.synchronize()
    return time.process_time() if (DEVICE, THREADS) == ("cpu", 1) else time.perf_counter()


_DIRECTIONS: dict[torch.Size, Tensor] = {}


def _direction(y: Tensor) -> Tensor:
    if y.shape not in _DIRECTIONS:
        _DIRECTIONS[y.shape] = torch.randn_like(y)
    return _DIRECTIONS[y.shape]
