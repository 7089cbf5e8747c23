"""Recordings -> windows: filter and resample each recording once, then cut it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.signal import butter, resample_poly, sosfiltfilt

from affectbook.datasets.card import LabelRule
from affectbook.datasets.recording import Recording
from affectbook.errors import DataError, ParameterError
from affectbook.files import write_atomic

Band = tuple[float | None, float | None]
META_COLUMNS = ["subject", "session", "trial", "window", "start_s", "stop_s"]
TRIAL = ["subject", "session", "trial"]
log = logging.getLogger(__name__)


class Windows(NamedTuple):
    """Windows of a data set: the ``X, y, metadata`` of MOABB.

    Attributes
    ----------
    X : numpy.ndarray
        ``(n_windows, n_chans, n_times)`` float32, a memory map where `out` was given.
    y : numpy.ndarray
        ``(n_windows,)`` int64, class ids of the label rule.
    meta : pandas.DataFrame
        One row per window: subject, session, trial, window (position in its trial), and
        start_s, stop_s in seconds from the beginning of the trial.
    """

    X: np.ndarray
    y: np.ndarray
    meta: pd.DataFrame


def condition_signal(recording: Recording, sfreq: float, band: Band) -> np.ndarray:
    """Filter a whole recording, then resample it.

    Parameters
    ----------
    recording
        Signal ``(n_chans, n_times)`` at its own rate.
    sfreq
        Rate wanted, in Hz.
    band
        Lower and upper edge in Hz of a zero-phase Butterworth filter of order 4; None leaves
        that side open (the resampler has its own anti-alias filter).

    Returns
    -------
    numpy.ndarray
        ``(n_chans, n_times')`` float32.

    Raises
    ------
    DataError
        If a sample is not finite.
    ParameterError
        If the recording's rate has no such band.
    """
    where = f"subject {recording.subject}, trial {recording.trial}"
    bad = int((~np.isfinite(recording.signal)).sum())
    if bad:
        raise DataError(
            "the signal holds samples that are not numbers",
            field=where,
            found=f"{bad} of {recording.signal.size}",
            expected="finite samples",
            do="leave the subject out with subjects=, or repair the file",
        )
    signal = _filtered(recording.signal.astype(np.float64), recording.sfreq, band)
    ratio = _ratio(recording, sfreq)
    if ratio != 1:
        signal = resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1)
    return signal.astype(np.float32)


def _filtered(signal: np.ndarray, sfreq: float, band: Band) -> np.ndarray:
    """Return a signal ``(n_chans, n_times)`` filtered to a band in Hz."""
    low, high = band
    edges = [edge for edge in band if edge is not None]
    if not edges:
        return signal
    if not all(0 < edge < sfreq / 2 for edge in edges) or edges != sorted(set(edges)):
        raise ParameterError(f"a signal of {sfreq:g} Hz has no band from {low} to {high} Hz")
    kind = "highpass" if high is None else "lowpass" if low is None else "bandpass"
    sos = butter(4, edges if len(edges) > 1 else edges[0], kind, fs=sfreq, output="sos")
    return sosfiltfilt(sos, signal, axis=-1)


def _ratio(recording: Recording, sfreq: float) -> Fraction:
    """Return samples wanted per sample recorded."""
    return Fraction(sfreq / recording.sfreq).limit_denominator(2000)


def _cut(
    signal: np.ndarray, n_times: int, step: int, per_trial: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return windows ``(n, n_chans, n_times)`` of one signal, and their first samples."""
    starts = np.arange(0, signal.shape[1] - n_times + 1, step)
    if per_trial is not None and len(starts) > per_trial:
        starts = starts[np.linspace(0, len(starts) - 1, per_trial).round().astype(int)]
    view = np.lib.stride_tricks.sliding_window_view(signal, n_times, axis=1)
    return view[:, starts].transpose(1, 0, 2), starts


def _describe(recording: Recording, starts: np.ndarray, n_times: int, sfreq: float) -> pd.DataFrame:
    """Return the rows of `meta` for the windows of one recording."""
    return pd.DataFrame(
        {
            "subject": recording.subject,
            "session": recording.session,
            "trial": recording.trial,
            "window": np.arange(len(starts)),
            "start_s": starts / sfreq,
            "stop_s": (starts + n_times) / sfreq,
        }
    )


def make_windows(
    recordings: Iterable[Recording],
    seconds: float,
    overlap: float,
    sfreq: float,
    *,
    label_rule: LabelRule,
    band: Band = (0.5, None),
    per_trial: int | None = None,
    out: Path | None = None,
) -> Windows:
    """Cut recordings into labelled windows of equal length.

    Parameters
    ----------
    recordings
        Read one at a time; only their windows are kept.
    seconds, overlap
        Length of a window, and the share (0 to below 1) that two neighbours have in common.
    sfreq
        Rate of the windows in Hz.
    label_rule
        Turns a recording into a class id; recordings it leaves out are skipped.
    band
        Edges in Hz of the filter, applied once to each whole recording.
    per_trial
        Keep at most this many windows of a trial, evenly spread over it.
    out
        File to stream the windows into, whole or not at all; `X` is then a read-only memory map
        of it.

    Raises
    ------
    ParameterError
        If `seconds`, `overlap`, `sfreq` or `per_trial` make no window.
    DataError
        If no recording gives a window, or recordings differ in channels.
    """
    n_times, step = _lengths(seconds, overlap, sfreq, per_trial)
    labels, rows = [], []

    def pieces() -> Iterator[np.ndarray]:
        for recording, label in _usable(recordings, label_rule, n_times, sfreq):
            signal = condition_signal(recording, sfreq, band)
            piece, starts = _cut(signal, n_times, step, per_trial)
            labels.append(np.full(len(starts), label, np.int64))
            rows.append(_describe(recording, starts, n_times, sfreq))
            yield np.ascontiguousarray(piece)

    if out is None:
        X = np.concatenate(list(pieces()))
    else:
        write_atomic(Path(out), lambda path: _stream(pieces(), path))
        X = np.memmap(out, np.float32, "r").reshape(sum(map(len, rows)), -1, n_times)
    return Windows(X, np.concatenate(labels), pd.concat(rows, ignore_index=True)[META_COLUMNS])


def _lengths(
    seconds: float, overlap: float, sfreq: float, per_trial: int | None
) -> tuple[int, int]:
    """Return the samples of a window, and those from one window to the next."""
    n_times = round(seconds * sfreq)
    if not (
        n_times > 0 and sfreq > 0 and 0 <= overlap < 1 and (per_trial is None or per_trial > 0)
    ):
        raise ParameterError(
            f"windows of {seconds} s with overlap {overlap} at {sfreq} Hz, {per_trial or 'all'} of "
            "a trial, cannot be cut; seconds, sfreq and per_trial must be positive and "
            "0 <= overlap < 1"
        )
    return n_times, max(1, round(n_times * (1 - overlap)))


def _usable(
    recordings: Iterable[Recording], rule: LabelRule, n_times: int, sfreq: float
) -> Iterator[tuple[Recording, int]]:
    """Yield the recordings that give windows, with their class ids; at the end, say what did not.

    Raises
    ------
    DataError
        If recordings differ in channels, or none gives a window.
    """
    ch_names, n_used, n_short = None, 0, 0
    for recording in recordings:
        label = rule.label(recording)
        if label is None:
            continue
        ch_names = ch_names or recording.ch_names
        if recording.ch_names != ch_names:
            raise DataError(
                "recordings differ in channels",
                field=f"subject {recording.subject}, trial {recording.trial}",
                found=recording.ch_names,
                expected=ch_names,
            )
        if math.ceil(recording.signal.shape[1] * _ratio(recording, sfreq)) < n_times:
            n_short += 1
            continue
        n_used += 1
        yield recording, label
    seconds = n_times / sfreq
    if not n_used:
        raise DataError(
            "no recording gives a window",
            field=f"label rule {rule.name}, windows of {seconds:g} s",
            found=f"{n_short} recordings, all too short" if n_short else "no recording it names",
            expected=rule.reads,
        )
    if n_short:
        log.warning("recordings shorter than one window of %g s, left out: %d", seconds, n_short)


def _stream(pieces: Iterable[np.ndarray], path: Path) -> None:
    """Write arrays one after another into a file."""
    with path.open("wb") as stream:
        for piece in pieces:
            stream.write(piece.tobytes())


def trial_ids(meta: pd.DataFrame) -> np.ndarray:
    """Return one integer per trial ``(n_windows,)``: windows of one trial share it."""
    return meta.groupby(TRIAL, sort=False).ngroup().to_numpy()
