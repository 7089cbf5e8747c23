"""What HCMNet asks of a wearable: time and memory for one window at a time, on one thread.

Claim: the cost of HCMNet is linear in the length of the window, and it is efficient enough for
wearable devices. Beside it: the same network without its scans, with an LSTM in their place and
with pools that leave less to scan, the authors' small CNN, and heart rate variability with
logistic regression, R-peak detection included. A machine like this one is no wearable: what it can
show is how the cost grows, who costs less, and whether one thread keeps up with the signal.

Goals: an exponent between 0.9 and 1.1 of time and of arithmetic, over the three longest windows; a
10 s window in less than 10 s; nothing that costs less and is as accurate.

Everyone gets windows that no one has seen before, one at a time, and takes turns with all others,
so that other work on the machine hits all alike. Time is CPU time of the one thread
(`wall_p50_ms`, the time that passed, is larger where the machine was busy). Each call that is
timed follows one that is not, as in a device that does nothing else. Networks are untrained, since
weights do not change their time, and get the window as a tensor: the scaler is left out.

All is timed twice: with malloc as it is by default, and where it keeps the memory it was given
(`reuse`), as a device does that has no other programs. By default the arrays of a long window go
back to the system after each use, and tens of thousands of pages have to be fetched again.

Memory, with the default and in a fresh process each: by how much a second prediction lifts the
resident memory at most, in MB (`machine.peak_mb`). The program itself and a network's weights, 5 MB
of HCMNet's, are not in it. Below a megabyte it is not to be trusted.
`macs` is empty for heart rate variability, which has no products to count.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import count
from multiprocessing import get_context
from operator import itemgetter

import harness
import machine
import numpy as np
import torch
from torch import nn

from affectbook import costs, simulate, wearable
from affectbook.files import project_root
from affectbook.models.hcmnet import HCMNet
from affectbook.models.reference import hrv_logistic
from affectbook.models.small_cnn import SmallCNN
from affectbook.papers.hcmnet import network_options

SFREQ = 256
N_OUTPUTS = 3
VARIANTS = ("published", "published+no_bissm", "published+bilstm", "pool_strides_8_8_2")
COMPETITORS = [
    *(("hcmnet", variant) for variant in VARIANTS),
    ("small_cnn", ""),
    ("hrv_logistic", ""),
]
SECONDS = (2.5, 5.0, 10.0, 20.0, 40.0)
MINUTES = 10  # of signal, in which windows begin at ever new samples
FEWEST, MOST = 5, 30  # repetitions of a cell
BUDGET_S = 8.0  # CPU seconds of a cell, if that leaves the fewest


@dataclass(frozen=True)
class Cell:
    """One competitor at one length of window, in seconds."""

    estimator: str
    variant: str
    window_s: float

    @property
    def samples(self) -> int:
        """Samples of a window."""
        return round(self.window_s * SFREQ)

    def network(self) -> nn.Module:
        """Return the untrained network."""
        torch.manual_seed(0)
        if self.estimator == "small_cnn":
            return SmallCNN(1, self.samples, N_OUTPUTS).eval()
        return HCMNet(1, self.samples, N_OUTPUTS, **network_options(self.variant)).eval()

    def cost(self) -> dict[str, int | None]:
        """Return parameters and MACs; logistic regression: its coefficients, of four features."""
        if self.estimator == "hrv_logistic":
            return {"parameters": N_OUTPUTS * (4 + 1), "macs": None}
        module = self.network()
        return {
            "parameters": costs.parameters(module),
            "macs": costs.macs(module, 1, self.samples),
        }

    def prediction(self, signal: np.ndarray) -> Callable[[], object]:
        """Return what predicts the class of one window of `signal`, another one at each call."""
        windows = _windows(signal, self.samples)
        if self.estimator == "hrv_logistic":
            X = np.stack([next(windows) for _ in range(4 * N_OUTPUTS)])
            model = hrv_logistic(SFREQ).fit(X, np.arange(len(X)) % N_OUTPUTS)
            return lambda: model.predict(next(windows)[None])
        module = self.network()

        def predict() -> int:
            with torch.inference_mode():
                return module(torch.from_numpy(next(windows)[None])).argmax(-1).item()

        return predict


def _windows(signal: np.ndarray, samples: int) -> Iterator[np.ndarray]:
    """Yield windows ``(1, samples)`` that begin elsewhere each time: features are cached."""
    for number in count():
        # A prime step of about 3 s meets every sample once before it meets one again.
        start = (769 * number) % (signal.size - samples)
        yield signal[None, start : start + samples]


def _signal() -> np.ndarray:
    """Return a simulated ECG, scaled as the networks get it."""
    plan = [("baseline", 60.0 * MINUTES)]
    signal, _ = simulate.ecg_subject(0, plan, sfreq=SFREQ)
    return ((signal - signal.mean()) / signal.std()).astype(np.float32)


def times(
    cells: list[Cell], most: int, malloc: str
) -> tuple[float, dict[Cell, list[tuple[float, float]]]]:
    """Return GFLOP/s of this machine, and CPU and wall seconds of each cell's repetitions."""
    machine.set_malloc(malloc)
    torch.set_num_threads(1)
    signal, found = _signal(), {cell: [] for cell in cells}
    steps = {cell: cell.prediction(signal) for cell in cells}
    turns = []
    for cell, step in steps.items():
        step()
        once = 2 * _timed(step)[0]
        n = max(FEWEST, min(most, int(BUDGET_S / once)))
        # Few repetitions are spread over the whole time, like many.
        turns += [((k + 0.5) / n, cell) for k in range(n)]
    for _, cell in sorted(turns, key=itemgetter(0)):
        steps[cell]()
        found[cell].append(_timed(steps[cell]))
    return round(harness.gemm_rate(), 1), found


def _timed(step: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    step()
    return time.process_time() - cpu, time.perf_counter() - wall


def peak(cell: Cell) -> float:
    """Return the memory of one prediction in MB."""
    torch.set_num_threads(1)
    return round(machine.peak_mb(cell.prediction(_signal())), 1)


def row(cell: Cell, seconds: list[tuple[float, float]], **more: object) -> dict[str, object]:
    """Return the row of a cell; `cpu_ms` keeps every repetition, in the order it was made."""
    cpu, wall = 1000 * np.array(seconds).T
    p50, p95 = np.percentile(cpu, [50, 95])
    return {
        "bench": "wearable",
        **vars(cell),
        "samples": cell.samples,
        "device": "cpu",
        "threads": 1,
        **cell.cost(),
        "repetitions": len(cpu),
        "p50_ms": _digits(p50),
        "p95_ms": _digits(p95),
        "wall_p50_ms": _digits(np.median(wall)),
        **more,
        "cpu_ms": " ".join(f"{value:.4g}" for value in cpu),
    }


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def main() -> None:
    """Measure every cell, keep the rows and show what they say."""
    parser = argparse.ArgumentParser(prog="wearable", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short windows, kept in build/bench")
    quick = parser.parse_args().quick
    cells = [Cell(*one, seconds) for seconds in SECONDS for one in COMPETITORS]
    cells = [cell for cell in cells if not quick or cell.window_s <= 10]
    # Read by the processes that measure, before they load anything.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    head, rows = machine.header("cpu"), []
    fresh = {"mp_context": get_context("spawn"), "max_tasks_per_child": 1}
    with ProcessPoolExecutor(1, **fresh) as pool:
        for malloc in harness.MALLOC[: 1 + machine.has_glibc()]:
            work = pool.submit(times, cells, FEWEST if quick else MOST, malloc)
            rate, found = work.result()
            for cell, seconds in found.items():
                wanted = malloc == "default" and machine.can_measure_peaks()
                peak_mb = pool.submit(peak, cell).result() if wanted else None
                more = {"malloc": malloc, "gemm_gflop_per_s": rate, "peak_mb": peak_mb}
                rows.append(row(cell, seconds, **more) | head)
                told = ("estimator", "variant", "window_s", "malloc", "p50_ms", "peak_mb")
                print("  " + ", ".join(f"{rows[-1][key]}" for key in told), flush=True)
    path = project_root() / ("build" if quick else "results") / "bench" / "wearable.csv"
    harness.keep(rows, path, list(rows[0]))
    print(f"Written: {path.relative_to(project_root())}")
    for table in (wearable.table(path), wearable.exponents(path)):
        print(table.to_string(index=False))


if __name__ == "__main__":
    main()
