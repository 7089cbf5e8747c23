"""The file of one subject of DEAP, checked; without pandas, which reading it does not need."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from affectbook.datasets import _pickles, _refusal

TITLE = "DEAP"
wrong = functools.partial(_refusal.wrong, TITLE)
SFREQ = 128.0
RATINGS = ("valence", "arousal", "dominance", "liking")
N_TRIALS, N_CHANS, N_TIMES = 40, 40, 8064
N_BYTES = 8 * N_TRIALS * N_CHANS * N_TIMES
START = 384
"""Samples of baseline before a stimulus: 3 s."""
ROWS = {"eeg": slice(0, 32), "peripheral": slice(32, 40)}
PARTS = {"stimulus": slice(START, None), "baseline": slice(0, START)}


def signals_of(path: Path, twin: bool, kind: str, part: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Return signals by trial, each ``(n_chans, n_times)`` float32, and labels ``(40, 4)``.

    Parameters
    ----------
    path
        The pickle or MATLAB file.
    twin
        Whether it is simulated, so that trials may be shorter.
    kind, part
        Of `ROWS` and of `PARTS`.

    Raises
    ------
    DataFileError
        If the file is not what the card says.
    """
    data, labels = _arrays(path, twin)
    rows, cut = ROWS[kind], PARTS[part]
    return [data[n, rows, cut].astype(np.float32, order="C") for n in range(N_TRIALS)], labels


def _arrays(path: Path, twin: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return data ``(40, 40, n_times)``, checked, and labels ``(40, 4)`` of a subject."""
    if path.suffix == ".mat":
        from affectbook.datasets import _matlab

        content = _matlab.load(path, ("data", "labels"))
        data, labels = (np.asarray(_matlab.value_at(content, path, n)) for n in ("data", "labels"))
    else:
        if not twin and path.is_file() and path.stat().st_size < N_BYTES:
            found = f"{path.stat().st_size} bytes"
            expected = f"at least {N_BYTES} bytes, and about 1300 more"
            raise wrong(path, "size", found, expected, "the file was cut short or converted")
        content = _pickles.load_arrays(path)
        data, labels = (_pickles.array_at(content, path, n) for n in ("data", "labels"))
    n_times = max((START + 1, *data.shape[2:3])) if twin else N_TIMES
    if data.shape != (N_TRIALS, N_CHANS, n_times) or data.dtype.kind != "f":
        found, expected = f"{data.shape} {data.dtype}", f"({N_TRIALS}, {N_CHANS}, {n_times}) float"
        raise wrong(path, "data", found, expected, "wrong shape or type")
    with np.errstate(over="ignore"):  # trial by trial, for the sake of memory
        bad = sum(int((~np.isfinite(trial.astype(np.float32))).sum()) for trial in data)
    if bad:
        raise wrong(path, "data", f"{bad} of {data.size}", "finite samples", "not all are numbers")
    if labels.shape != (N_TRIALS, len(RATINGS)) or labels.dtype.kind not in "iuf":
        found, expected = f"{labels.shape} {labels.dtype}", f"({N_TRIALS}, {len(RATINGS)}) numbers"
        raise wrong(path, "labels", found, expected, "wrong shape or type")
    return data, labels.astype(float)  # MATLAB packs whole numbers into small integers
