"""Do R-peaks survive the preparation? Found in recordings as read, and in what a network gets.

Preparation is a high-pass, a new rate, and a z-score. None of the three should move a beat. What a
detector finds is not only a matter of the signal, though: neurokit2's counts its kernels and the
length of QRS complexes in samples, so that at another rate it decides otherwise about doubtful
complexes. `by_step` tells which of the three costs how many peaks.

Stretches in which the channel stands still are left out, as `windows.make_windows` leaves out their
windows. A detector may find complexes in the rounding errors there, some of half a minute; and
since neurokit2 drops what is shorter than 0.4 of their mean length, it then misses all real ones:
after a z-score in single precision 154 of 155 in drivedb, drive05, 3-highway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from affectbook import artefacts
from affectbook.datasets.recording import Recording
from affectbook.errors import DataError, ParameterError
from affectbook.features import r_peaks
from affectbook.windows import Band, condition_signal

SFREQ = 500.0
BAND: Band = (0.5, None)
TOLERANCE_MS = 20.0
LEAST_S = 5.0
"""Shorter stretches between two that stand still are left out: no window fits."""


@dataclass(frozen=True)
class Survival:
    """Peaks of one recording, before and after.

    Attributes
    ----------
    subject, trial : str
    sfreq : float
        Rate of the recording in Hz.
    seconds : float
        How much of it shows something.
    before, after : numpy.ndarray
        Times of the peaks in seconds ``(n_before,)``, ``(n_after,)``.
    differences_ms : numpy.ndarray
        ``(n_before,)`` from each peak before to the nearest one after, in ms; later is positive,
        infinite if there is none.
    extra_ms : numpy.ndarray
        ``(n_after,)`` the same from each peak after to the nearest one before.
    tolerance_ms : float
        Within which a peak counts as found again.
    """

    subject: str
    trial: str
    sfreq: float
    seconds: float
    before: np.ndarray
    after: np.ndarray
    differences_ms: np.ndarray
    extra_ms: np.ndarray
    tolerance_ms: float

    @property
    def n_found(self) -> int:
        """How many peaks before were found again."""
        return int((np.abs(self.differences_ms) <= self.tolerance_ms).sum())

    @property
    def n_extra(self) -> int:
        """How many peaks after were not there before."""
        return int((np.abs(self.extra_ms) > self.tolerance_ms).sum())


def prepared(recording: Recording, sfreq: float = SFREQ, band: Band = BAND) -> np.ndarray:
    """Return the first channel as a network gets it: filtered, resampled, z-scored.

    The z-score is over the recording. That over each window differs from it by a factor and an
    offset, which move no peak.

    Returns
    -------
    numpy.ndarray
        ``(n_times,)`` float64.
    """
    return _zscored(condition_signal(_first(recording), sfreq, band)[0])


def compared(
    recording: Recording, *, sfreq: float = SFREQ, band: Band = BAND, zscore: bool = True,
    tolerance_ms: float = TOLERANCE_MS,
) -> Survival:  # fmt: skip
    """Find the R-peaks of a recording's first channel before and after preparation.

    Parameters
    ----------
    recording
        As read.
    sfreq, band
        Rate and edges in Hz, as `windows.make_windows` takes them.
    zscore
        Whether the signal is z-scored in the end.
    tolerance_ms
        Within which a peak counts as found again.

    Raises
    ------
    DataError
        If a sample is not a number.
    ParameterError
        If the tolerance is not above 0.
    """
    if not tolerance_ms > 0:
        raise ParameterError(f"a tolerance of {tolerance_ms} ms finds nothing; take one above 0")
    recording = _first(recording)
    signal = condition_signal(recording, sfreq, band)[0]
    signal = _zscored(signal) if zscore else signal
    spans = list(_moving(recording))
    before = _found(recording.signal[0].astype(np.float64), recording.sfreq, spans)
    after = _found(signal, sfreq, spans)
    return Survival(
        recording.subject, recording.trial, recording.sfreq,
        float(sum(stop - start for start, stop in spans)), before, after,
        1000 * _to_nearest(before, after), 1000 * _to_nearest(after, before), tolerance_ms,
    )  # fmt: skip


def survival(recordings: Iterable[Recording], **how: object) -> list[Survival]:
    """Return `compared` of each recording.

    Parameters
    ----------
    recordings
        Read one at a time.
    **how
        As `compared` takes it.

    Raises
    ------
    DataError
        If there is no recording, or no peak in any of them.
    """
    found = [compared(recording, **how) for recording in recordings]
    if not sum(len(one.before) for one in found):
        raise DataError("there is no R-peak to find again", found=f"{len(found)} recordings",
                        expected="recordings of ECG")  # fmt: skip
    return found


def share(found: Iterable[Survival]) -> float:
    """Return the share of all peaks that were found again (0 to 1)."""
    found = list(found)
    return sum(one.n_found for one in found) / sum(len(one.before) for one in found)


def table(found: Iterable[Survival]) -> pd.DataFrame:
    """Return a line for each recording, those with the smallest share first.

    Returns
    -------
    pandas.DataFrame
        subject, trial, sfreq (Hz), seconds, peaks (before), again, extra, share (0 to 1),
        median_ms and largest_ms (of those found again, without sign).
    """
    lines = []
    for one in found:
        kept = np.abs(one.differences_ms[np.abs(one.differences_ms) <= one.tolerance_ms])
        n_before = len(one.before)
        lines.append({
            "subject": one.subject, "trial": one.trial, "sfreq": one.sfreq,
            "seconds": one.seconds, "peaks": n_before, "again": one.n_found,
            "extra": one.n_extra, "share": one.n_found / n_before if n_before else np.nan,
            "median_ms": np.median(kept) if len(kept) else np.nan,
            "largest_ms": kept.max() if len(kept) else np.nan,
        })  # fmt: skip
    return pd.DataFrame(lines).sort_values("share", ignore_index=True, kind="stable")


def by_step(recordings: Iterable[Recording], sfreq: float = SFREQ, band: Band = BAND,
            tolerance_ms: float = TOLERANCE_MS) -> pd.DataFrame:  # fmt: skip
    """Return what each step of the preparation alone costs, and all of them.

    Returns
    -------
    pandas.DataFrame
        step, peaks (before), again, extra, share (0 to 1).
    """
    told = {"tolerance_ms": tolerance_ms}
    sums = {name: np.zeros(3, int) for name in ("high-pass", "new rate", "z-score", "all")}
    for recording in recordings:
        own = recording.sfreq
        steps = {
            "high-pass": {"sfreq": own, "band": band, "zscore": False},
            "new rate": {"sfreq": sfreq, "band": (None, None), "zscore": False},
            "z-score": {"sfreq": own, "band": (None, None), "zscore": True},
            "all": {"sfreq": sfreq, "band": band, "zscore": True},
        }
        for name, step in steps.items():
            one = compared(recording, **step, **told)
            sums[name] += len(one.before), one.n_found, one.n_extra
    lines = [{"step": name, "peaks": n, "again": again, "extra": extra,
              "share": again / n if n else np.nan}
             for name, (n, again, extra) in sums.items()]  # fmt: skip
    return pd.DataFrame(lines)


def _first(recording: Recording) -> Recording:
    return replace(recording, signal=recording.signal[:1], ch_names=recording.ch_names[:1])


def _zscored(signal: np.ndarray) -> np.ndarray:
    signal = signal.astype(np.float64)
    return (signal - signal.mean()) / (signal.std() or 1.0)


def _moving(recording: Recording) -> Iterator[tuple[float, float]]:
    """Yield where a recording does not stand still, in seconds."""
    moves = ~artefacts.still(recording.signal, recording.sfreq)[0]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], moves.astype(int), [0]])))
    for start, stop in edges.reshape(-1, 2) / recording.sfreq:
        if stop - start >= LEAST_S:
            yield float(start), float(stop)


def _found(
    signal: np.ndarray, sfreq: float, spans: Iterable[tuple[float, float]]
) -> np.ndarray:
    """Return the times of the R-peaks in seconds, looked for in each span by itself."""
    times = [np.empty(0)]
    for start, stop in spans:
        first = round(start * sfreq)
        times.append((first + r_peaks(signal[first : round(stop * sfreq)], sfreq)) / sfreq)
    return np.concatenate(times)


def _to_nearest(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how much later the nearest of the others is than each of some; both sorted."""
    if not len(others):
        return np.full(len(some), np.inf)
    place = np.searchsorted(others, some)
    gaps = np.stack([others[np.clip(place - one, 0, len(others) - 1)] - some for one in (0, 1)])
    return np.take_along_axis(gaps, np.abs(gaps).argmin(0)[None], 0)[0]
