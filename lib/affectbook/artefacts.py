"""Stretches in which a channel shows nothing: it stands still, or sits at its limits."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np

from affectbook.datasets import _stretches
from affectbook.datasets.recording import Recording
from affectbook.errors import DataError

RULES = ("drop", "refuse", "keep")
"""What may be done about windows that show nothing."""
STILL_S = 0.5
"""A channel that keeps one value for as long stands still: an electrode off, a signal held."""
LIMIT_SHARE = 0.1
"""Share of a window that is held at the lowest or highest value of the recording: saturated."""
MOST_NAMED = 8
log = logging.getLogger(__name__)


def still(signal: np.ndarray, sfreq: float) -> np.ndarray:
    """Tell where a channel keeps one value for `STILL_S` or longer.

    Parameters
    ----------
    signal
        ``(n_chans, n_times)``, as recorded: a filter would make a decay of it.
    sfreq
        In Hz.

    Returns
    -------
    numpy.ndarray
        ``(n_chans, n_times)`` bool.
    """
    least = max(2, round(STILL_S * sfreq))
    found = np.zeros(signal.shape, bool)
    for row, told in zip(signal, found, strict=True):
        for start, stop in _stretches.held(row, least):
            told[start:stop] = True
    return found


def unusable(signal: np.ndarray, sfreq: float, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Tell which windows of a recording show nothing in one of their channels.

    That is where a channel stands still for `STILL_S` of the recording and the window touches that
    stretch, or where `LIMIT_SHARE` of the window is held at the recording's lowest or highest value
    (the peaks of a wave touch them, too, but are not held there for three samples).

    Parameters
    ----------
    signal
        ``(n_chans, n_times)``, as recorded.
    sfreq
        In Hz.
    start, stop
        ``(n_windows,)`` first sample of each window, and the one after its last.

    Returns
    -------
    numpy.ndarray
        ``(n_windows,)`` bool.
    """
    return unusable_by_channel(signal, sfreq, start, stop).any(axis=0)


def unusable_by_channel(
    signal: np.ndarray, sfreq: float, start: np.ndarray, stop: np.ndarray
) -> np.ndarray:
    """Tell as `unusable` does, of each channel by itself: ``(n_chans, n_windows)`` bool."""
    bad = np.zeros((len(signal), len(start)), bool)
    for row, stands, told in zip(signal, still(signal, sfreq), bad, strict=True):
        if stands.any():
            told |= _counted(stands, start, stop) > 0
        limit = _held_at_limit(row)
        if len(start) and limit.sum() >= LIMIT_SHARE * (stop - start).min():
            told |= _counted(limit, start, stop) >= LIMIT_SHARE * (stop - start)
    return bad


def _held_at_limit(row: np.ndarray) -> np.ndarray:
    """Tell which samples lie on the lowest or highest value, three or more of them in a row."""
    at = (row == row.min()) | (row == row.max())
    middle = np.zeros(len(row), bool)
    middle[1:-1] = at[1:-1] & (row[1:-1] == row[:-2]) & (row[1:-1] == row[2:])
    held = middle.copy()
    held[:-1] |= middle[1:]
    held[1:] |= middle[:-1]
    return held


def _counted(mask: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Return how many samples of a mask lie in each window."""
    total = np.concatenate([[0], np.cumsum(mask)])
    return total[stop] - total[start]


class Faults:
    """Counts windows that show nothing, by subject.

    Parameters
    ----------
    rule
        One of `RULES`.
    """

    def __init__(self, rule: str) -> None:
        self._rule, self._bad, self._all = rule, Counter(), Counter()
        self._channels: dict[str, Counter[str]] = {}

    def count(self, recording: Recording, by_channel: np.ndarray) -> np.ndarray:
        """Return which windows of a recording show nothing in one of its channels; count them.

        Raises
        ------
        DataError
            If there are any, under the rule ``"refuse"``.
        """
        bad, subject = by_channel.any(axis=0), recording.subject
        self._all[subject] += len(bad)
        self._bad[subject] += int(bad.sum())
        counts = zip(recording.ch_names, by_channel.sum(axis=1).tolist(), strict=True)
        self._channels.setdefault(subject, Counter()).update(dict(counts))
        if self._rule == "refuse" and bad.any():
            raise self._error(subject, bad.sum(), len(bad), f", trial {recording.trial}")
        return bad

    def tell(self) -> None:
        """Say in one line how many there are.

        Raises
        ------
        DataError
            If nothing is left of a subject.
        """
        for subject, bad in self._bad.items():
            if bad and bad == self._all[subject]:
                raise self._error(subject, bad, bad)
        if bad := self._bad.total():
            each = {subject: count for subject, count in self._bad.items() if count}
            told = ", ".join(f"{subject} {count}" for subject, count in each.items())
            if len(each) > MOST_NAMED:
                told = f"{len(each)} subjects, {min(each.values())} to {max(each.values())} each"
            log.warning(
                "windows in which a channel stands still or sits at its limits, left out: "
                "%d of %d (%s)", bad, self._all.total(), told,
            )  # fmt: skip

    def _error(self, subject: str, bad: int, of: int, trial: str = "") -> DataError:
        channels = [(name, n) for name, n in self._channels[subject].most_common() if n]
        told = ", ".join(f"{name} in {n}" for name, n in channels[:MOST_NAMED])
        several = len(self._channels[subject]) > 1
        return DataError(
            "a channel stands still or sits at its limits",
            file=f"the recordings of subject {subject}{trial}",
            field=f"channels ({told})" if several else "signal",
            found=f"{bad} of {of} windows that show nothing",
            expected="a channel that moves",
            do=f"leave the subject out with allow_missing={subject}, "
            + ("read other channels, " if several else "") + "or repair the file",
        )  # fmt: skip
