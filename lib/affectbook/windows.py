"""Recordings -> windows: filter and resample each recording once, then cut it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.signal import butter, resample_poly, sosfiltfilt

from affectbook.datasets.card import LabelRule
from affectbook.datasets.recording import Recording
from affectbook.errors import DataError, ParameterError

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


def condition_signal(
    recording: Recording, sfreq: float, band: tuple[float | None, float | None]
) -> np.ndarray:
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
    signal = recording.signal.astype(np.float64)
    low, high = band
    if low is not None or high is not None:
        kind = "highpass" if high is None else "lowpass" if low is None else "bandpass"
        edges = [edge for edge in band if edge is not None]
        sos = butter(
            4, edges if len(edges) > 1 else edges[0], kind, fs=recording.sfreq, output="sos"
        )
        signal = sosfiltfilt(sos, signal, axis=-1)
    ratio = Fraction(sfreq / recording.sfreq).limit_denominator(2000)
    if ratio != 1:
        signal = resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1)
    return signal.astype(np.float32)


def _cut(
    signal: np.ndarray, n_times: int, step: int, per_trial: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return windows ``(n, n_chans, n_times)`` of one signal, and their first samples."""
    starts = np.arange(0, signal.shape[1] - n_times + 1, step)
    if per_trial is not None and len(starts) > per_trial:
        starts = starts[np.linspace(0, len(starts) - 1, per_trial).round().astype(int)]
    if len(starts) == 0:
        return np.empty((0, signal.shape[0], n_times), np.float32), starts
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
    band: tuple[float | None, float | None] = (0.5, None),
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
        File to stream the windows into; `X` is then a read-only memory map of it.

    Raises
    ------
    ParameterError
        If `seconds`, `overlap` or `sfreq` make no window.
    DataError
        If no recording gives a window, or recordings differ in channels.
    """
    if not (seconds > 0 and sfreq > 0 and 0 <= overlap < 1):
        raise ParameterError(
            f"windows of {seconds} s with overlap {overlap} at {sfreq} Hz cannot be cut; "
            "seconds and sfreq must be positive and 0 <= overlap < 1"
        )
    n_times = round(seconds * sfreq)
    step = max(1, round(n_times * (1 - overlap)))
    pieces, labels, rows, ch_names, short = [], [], [], None, 0
    stream = None if out is None else Path(out).open("wb")
    for recording in recordings:
        label = label_rule.label(recording)
        if label is None:
            continue
        if recording.ch_names != (ch_names := ch_names or recording.ch_names):
            raise DataError(
                "recordings differ in channels",
                field=f"subject {recording.subject}, trial {recording.trial}",
                found=recording.ch_names,
                expected=ch_names,
            )
        piece, starts = _cut(condition_signal(recording, sfreq, band), n_times, step, per_trial)
        short += len(starts) == 0
        if stream is None:
            pieces.append(np.ascontiguousarray(piece))
        else:
            stream.write(np.ascontiguousarray(piece).tobytes())
        labels.append(np.full(len(starts), label, np.int64))
        rows.append(_describe(recording, starts, n_times, sfreq))
    if stream is not None:
        stream.close()
    if not labels or sum(map(len, labels)) == 0:
        raise DataError(
            "no recording gives a window",
            field=f"label rule {label_rule.name}, windows of {seconds} s",
            found=f"{short} recordings, all too short" if short else "no recording the rule names",
            expected=f"conditions {sorted(label_rule.conditions)}",
        )
    if short:
        log.warning(
            "%d recordings are shorter than one window of %g s and give none", short, seconds
        )
    meta = pd.concat(rows, ignore_index=True)[META_COLUMNS]
    shape = (len(meta), len(ch_names), n_times)
    X = np.concatenate(pieces) if out is None else np.memmap(out, np.float32, "r", shape=shape)
    return Windows(X, np.concatenate(labels), meta)


def trial_ids(meta: pd.DataFrame) -> np.ndarray:
    """Return one integer per trial ``(n_windows,)``: windows of one trial share it."""
    return meta.groupby(TRIAL, sort=False).ngroup().to_numpy()
