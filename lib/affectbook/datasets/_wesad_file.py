"""The file of one subject of WESAD: checked, and cut where the condition changes."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import numpy as np

from affectbook.datasets import _pickles, _refusal

TITLE = "WESAD"
_wrong = functools.partial(_refusal.wrong, TITLE)
SFREQ = 700.0
BVP_SFREQ = 64.0
CODES = {1: "baseline", 2: "stress", 3: "amusement", 4: "meditation"}
LAST_CODE = 7
TIMES = {"baseline": 1, "stress": 1, "amusement": 1, "meditation": 2}
_MOST_CHANGES = 10_000


def stretches(path: Path, subject: str) -> list[tuple[int, int, np.ndarray]]:
    """Return the uninterrupted stretches of the conditions in a subject's file.

    Parameters
    ----------
    path
        The file.
    subject
        Whose it must be, such as ``"S2"``.

    Returns
    -------
    list of tuple
        Code, first sample at 700 Hz, and chest ECG ``(n_times,)`` float32 in mV.

    Raises
    ------
    DataFileError
        If the file is not what the card says.
    """
    ecg, label = _arrays(path, subject)
    edges = np.flatnonzero(np.diff(label)) + 1
    if len(edges) > _MOST_CHANGES:
        found, expected = f"{len(edges)} changes", f"some tens, at most {_MOST_CHANGES}"
        raise _wrong(path, "label", found, expected, "the label changes all the time")
    pairs = zip([0, *edges.tolist()], [*edges.tolist(), len(label)], strict=True)
    found = [(int(label[a]), a, b) for a, b in pairs if int(label[a]) in CODES]
    _check_count(path, Counter(CODES[code] for code, _, _ in found))
    return [(code, a, ecg[a:b].astype(np.float32)) for code, a, b in found]


def _check_count(path: Path, found: Counter[str]) -> None:
    """Refuse a file that lacks a trial of a condition."""
    fewer = [f"{name} {found[name]} times" for name, times in TIMES.items() if found[name] < times]
    if fewer:
        expected = ", ".join(f"{name} {times} times" for name, times in TIMES.items())
        raise _wrong(path, "label", ", ".join(fewer), expected, "a condition lacks a trial")


def _arrays(path: Path, subject: str) -> tuple[np.ndarray, np.ndarray]:
    """Return chest ECG ``(N,)`` in mV and label ``(N,)`` of a subject, checked."""
    content = _pickles.load_arrays(path)
    name = _pickles.value_at(content, path, "subject")
    if name != subject:
        raise _wrong(path, "subject", str(name)[:40], subject, "the file holds another subject")
    ecg = _pickles.array_at(content, path, "signal", "chest", "ECG")
    label = _pickles.array_at(content, path, "label")
    _check_ecg(path, ecg)
    _check_label(path, label, len(ecg))
    wrist = _pickles.value_at(content, path, "signal", "wrist")
    if isinstance(wrist, dict) and "BVP" in wrist:
        bvp = _pickles.array_at(content, path, "signal", "wrist", "BVP")
        _check_bvp(path, bvp, len(ecg))
    return ecg[:, 0], label


def _check_ecg(path: Path, ecg: np.ndarray) -> None:
    if ecg.ndim != 2 or ecg.shape[1] != 1 or len(ecg) == 0 or ecg.dtype.kind != "f":
        found = f"{ecg.shape} {ecg.dtype}"
        raise _wrong(path, "signal / chest / ECG", found, "(N, 1) float", "wrong shape or type")
    with np.errstate(over="ignore"):
        bad = int((~np.isfinite(ecg.astype(np.float32))).sum())
    if bad:
        found = f"{bad} of {len(ecg)} samples"
        raise _wrong(path, "signal / chest / ECG", found, "finite mV", "not all are numbers")


def _check_label(path: Path, label: np.ndarray, n_times: int) -> None:
    if label.shape != (n_times,) or label.dtype.kind not in "iu":
        found = f"{label.shape} {label.dtype}"
        raise _wrong(path, "label", found, f"({n_times},) integers", "label and ECG do not agree")
    codes = set(np.unique(label).tolist())
    if not codes <= set(range(LAST_CODE + 1)):
        strange = sorted(codes - set(range(LAST_CODE + 1)))[:5]
        raise _wrong(path, "label", f"codes {strange}", f"codes 0 to {LAST_CODE}", "unknown codes")
    if not set(CODES) <= codes:
        missing = ", ".join(f"{code} {CODES[code]}" for code in sorted(set(CODES) - codes))
        found = f"codes {sorted(codes)}"
        raise _wrong(path, "label", found, f"also {missing}", "codes are missing")


def _check_bvp(path: Path, bvp: np.ndarray, n_times: int) -> None:
    wrist_s = (len(bvp) if bvp.ndim else 0) / BVP_SFREQ
    if abs(wrist_s - n_times / SFREQ) > 1.0:
        found, expected = f"{wrist_s:.1f} s", f"{n_times / SFREQ:.1f} s, as the chest"
        raise _wrong(path, "signal / wrist / BVP", found, expected, "wrist and chest do not agree")
