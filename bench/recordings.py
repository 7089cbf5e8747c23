"""From a subject's file to windows, and how long it takes to simulate what is in such files.

Reading: one WESAD pickle of full size, 5 s windows at 256 Hz. Simulating: the ECG of 30 people, 20
minutes each in five blocks, at 700 Hz.

Claim: reading, filtering and resampling each stretch of a recording once takes less memory than
what scripts do: unpickle the file, then filter and resample each window by itself, or the whole
session with all its gaps. It takes less time than the former and, with the start of the process
that it reads in, about as much as the latter. Simulating costs less than neurokit2's dynamical
model (both follow McSharry et al. 2003; neurokit2 integrates, ours writes the waves down).

Goals: for a subject of 4.2 million samples at 700 Hz about 2 s of CPU time and less than twice the
file's size in memory, and a tenth of that time for a second call, which finds the windows kept; 30
simulated people in 2 s of CPU time.

The file holds a simulated ECG, and noise in place of every other signal of a real one (chest:
acceleration, EMG, EDA, temperature, respiration; wrist: the like at lower rates), as Python 2 wrote
it. Candidates take turns; each round of each is a process of its own. Ours reads the file in a
second process, which is counted from its start to its end, though more subjects would share it.
Time is the CPU time of both. Memory is the highest resident memory (VmHWM) of both, added, above
that before the call, when the second does not run: an upper bound, since they need not be highest
at once, and share pages. The alternatives have one process and run `pickle.load`, which runs what a
file says; ours does not. Windows differ where a filter meets the edge of a window; that those of
whole sessions and ours agree but for the edges of stretches is asserted before anything is kept.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import harness
import machine
import neurokit2
import numpy as np
from scipy.signal import butter, resample_poly, sosfiltfilt

from affectbook import datasets, files, simulate, windows
from affectbook.datasets import _pickles, _sandbox, wesad
from affectbook.files import project_root

N_TIMES, QUICK = 4_255_300, 400_000
SECONDS, SFREQ = 5, 256
RULE = wesad.CARD.label_rules[0]
PARTS = ((1, 0.03, 0.25), (4, 0.28, 0.36), (3, 0.40, 0.47), (2, 0.55, 0.66), (4, 0.70, 0.77))


def write_session(folder: Path, n_times: int) -> Path:
    """Write a subject with every signal of a real one, at the real rates and types."""
    rng = np.random.default_rng(0)

    def noise(rate: float, n_chans: int = 1) -> np.ndarray:
        return rng.standard_normal((int(n_times * rate / wesad.SFREQ), n_chans))

    label = np.zeros(n_times, np.int32)
    for code, start, stop in PARTS:
        label[int(start * n_times) : int(stop * n_times)] = code
    ecg, _ = simulate.ecg_subject(0, [("baseline", n_times / wesad.SFREQ)], sfreq=wesad.SFREQ)
    chest = {"ECG": ecg[:, None], **{name: noise(700) for name in ("EMG", "EDA", "Resp")}}
    chest |= {"ACC": noise(700, 3), "Temp": noise(700).astype(np.float32)}
    wrist = {"ACC": noise(32, 3), "BVP": noise(64), "EDA": noise(4), "TEMP": noise(4)}
    content = {"signal": {"chest": chest, "wrist": wrist}, "label": label, "subject": "S2"}
    path = folder / "S2" / "S2.pkl"
    path.parent.mkdir(parents=True)
    _pickles.dump_python2(content, path)
    return path


def ours(path: Path) -> np.ndarray:
    """Cut windows as the book does, or find them kept."""
    recordings = datasets.load("wesad", path.parent.parent, ["S2"])
    return windows.make_windows(recordings, SECONDS, 0, SFREQ, label_rule=RULE).X


def _unpickled(path: Path) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return the ECG, and first and last sample of each stretch that the rule names."""
    with path.open("rb") as stream:
        content = pickle.load(stream, encoding="latin1")  # noqa: S301
    label, ecg = content["label"], content["signal"]["chest"]["ECG"][:, 0]
    edges = [0, *(np.flatnonzero(np.diff(label)) + 1), len(label)]
    pairs = zip(edges[:-1], edges[1:], strict=True)
    return ecg, [(a, b) for a, b in pairs if label[a] in (1, 2, 3)]


def _filtered(signal: np.ndarray) -> np.ndarray:
    sos = butter(4, 0.5, "highpass", fs=wesad.SFREQ, output="sos")
    return resample_poly(sosfiltfilt(sos, signal), SFREQ, int(wesad.SFREQ))


def each_window(path: Path) -> np.ndarray:
    """Cut first, then filter and resample each window."""
    ecg, stretches = _unpickled(path)
    size = int(SECONDS * wesad.SFREQ)
    found = [
        _filtered(ecg[start : start + size])
        for a, b in stretches
        for start in range(a, b - size + 1, size)
    ]
    return np.array(found, np.float32)[:, None]


def whole_session(path: Path) -> np.ndarray:
    """Filter and resample the whole session, then cut."""
    ecg, stretches = _unpickled(path)
    signal, ratio, size = _filtered(ecg), SFREQ / wesad.SFREQ, SECONDS * SFREQ
    found = [
        signal[start : start + size]
        for a, b in stretches
        for start in range(round(a * ratio), round(b * ratio) - size + 1, size)
    ]
    return np.array(found, np.float32)[:, None]


CANDIDATES: dict[str, Callable[[Path], np.ndarray]] = {
    "ours": ours,
    "ours, windows kept": ours,
    "each window by itself": each_window,
    "whole session": whole_session,
}


def measure(name: str, path: Path, place: Path) -> tuple[float, float, np.ndarray]:
    """Return CPU seconds, peak MB and a few windows of one call; nothing is kept from before."""
    files.project_root = lambda: place  # windows are kept in a place of this round's own
    if name == "ours, windows kept":
        ours(path)
    _sandbox.stop()
    ended, before = _ended_children(), machine.resident_mb()
    started = time.process_time()
    X = CANDIDATES[name](path)
    spent = time.process_time() - started
    highest = machine.highest_mb() + _highest_of_child_mb()
    _sandbox.stop()  # its CPU time is known once it has ended
    spent += _ended_children() - ended
    return spent, highest - before, X[len(X) // 8 :: len(X) // 4].copy()


def _ended_children() -> float:
    """Return the CPU seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _highest_of_child_mb() -> float:
    """Return the highest resident memory so far of the process that reads files, 0 without one."""
    if _sandbox._child is None:
        return 0.0
    text = Path(f"/proc/{_sandbox._child.pid}/status").read_text()
    return int(re.search(r"^VmHWM:\s*(\d+)", text, re.MULTILINE)[1]) * 1024 / 1e6


def rows_of(path: Path, rounds: int) -> list[dict[str, object]]:
    """Let candidates take turns, and return one row each."""
    found: dict[str, list] = {name: [] for name in CANDIDATES}
    fresh = {"mp_context": get_context("spawn"), "max_tasks_per_child": 1}
    with ProcessPoolExecutor(1, **fresh) as pool:
        for number in range(rounds):
            for name in list(CANDIDATES)[number % 2 :] + list(CANDIDATES)[: number % 2]:
                with tempfile.TemporaryDirectory(dir=path.parents[2]) as place:
                    (Path(place) / "lib").symlink_to(project_root() / "lib")
                    found[name].append(pool.submit(measure, name, path, Path(place)).result())
    ours_shown = found["ours"][0][2]
    for name, (first, *_) in found.items():
        alike = np.corrcoef(first[2].ravel(), ours_shown.ravel())[0, 1]
        if first[2].shape != ours_shown.shape or alike < (0.9 if "itself" in name else 0.99):
            raise harness.DifferentError(f"{name} has other windows: correlation {alike:.3f}")
    seconds = {name: statistics.median(one[0] for one in of) for name, of in found.items()}
    file_mb = path.stat().st_size / 1e6
    return [
        {
            "bench": "recordings", "candidate": name, "device": "cpu", "threads": 1,
            "file_mb": round(file_mb, 1), "rounds": rounds,
            "seconds": round(seconds[name], 4), "ratio": round(seconds[name] / seconds["ours"], 3),
            "spread": round(_spread([one[0] for one in of]), 3),
            "peak_mb": round(statistics.median(one[1] for one in of), 1),
        }
        for name, of in found.items()
    ]  # fmt: skip


def _three_people(simulate_one: Callable[[int], object]) -> float:
    started = time.process_time()
    for who in range(3):
        simulate_one(who)
    return 10 * (time.process_time() - started)


def simulated(minutes: float, rounds: int) -> list[dict[str, object]]:
    """Let the simulators take turns with three people; seconds are those of thirty."""
    plan = [("baseline", 60 * minutes / 5)] * 5

    def ours_of(who: int) -> object:
        return simulate.ecg_subject(who, plan, sfreq=wesad.SFREQ)

    def neurokit2_of(who: int) -> object:
        return neurokit2.ecg_simulate(
            duration=round(60 * minutes), sampling_rate=int(wesad.SFREQ), random_state=who
        )

    both = {"ours, simulating": ours_of, "neurokit2, simulating": neurokit2_of}
    found: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(rounds):
        for name, one in both.items():
            found[name].append(_three_people(one))
    own = statistics.median(found["ours, simulating"])
    return [
        {
            "bench": "recordings", "candidate": name, "device": "cpu", "threads": 1,
            "rounds": rounds, "seconds": round(statistics.median(of), 4),
            "ratio": round(statistics.median(of) / own, 3), "spread": round(_spread(of), 3),
        }
        for name, of in found.items()
    ]  # fmt: skip


def _spread(seconds: list[float]) -> float:
    return (max(seconds) - min(seconds)) / statistics.median(seconds)


def main() -> None:
    """Measure, keep the rows and show what they say."""
    parser = argparse.ArgumentParser(prog="recordings", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short session, kept in build/bench")
    quick = parser.parse_args().quick
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as place:
        path = write_session(Path(place) / "WESAD", QUICK if quick else N_TIMES)
        rows = rows_of(path, 2 if quick else 5)
    rows += simulated(1 if quick else 20, 2 if quick else 3)
    rows = [row | machine.header("cpu") for row in rows]
    for row in rows:
        print("  " + ", ".join(f"{row.get(key)}" for key in ("candidate", "seconds", "peak_mb")))
    kept = project_root() / ("build" if quick else "results") / "bench" / "recordings.csv"
    harness.keep(rows, kept, list(rows[0]))
    print(f"Written: {kept.relative_to(project_root())}")


if __name__ == "__main__":
    main()
