"""Recordings -> windows: filter and resample each recording once, then cut it."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.signal import butter, resample_poly, sosfiltfilt

from affectbook import artefacts, cache
from affectbook.closure import code_hash
from affectbook.datasets.card import LabelRule, RatingRule
from affectbook.datasets.recording import Recording
from affectbook.errors import AffectbookError, CacheError, DataError, ParameterError
from affectbook.files import write_text

Band = tuple[float | None, float | None]
META_COLUMNS = ["subject", "session", "trial", "window", "start_s", "stop_s"]
TRIAL = ["subject", "session", "trial"]
LARGE = 2**28
"""Windows of more bytes than this stay on disk, and `X` is a memory map of them."""
log = logging.getLogger(__name__)


class Windows(NamedTuple):
    """Windows of a data set: the ``X, y, metadata`` of MOABB.

    Attributes
    ----------
    X : numpy.ndarray
        ``(n_windows, n_chans, n_times)`` float32; a read-only memory map where `LARGE`.
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


def _unusable(recording: Recording, starts: np.ndarray, plan: _Plan) -> np.ndarray:
    """Tell by channel which windows, by their first samples at the plan's rate, show nothing."""
    per_sample = recording.sfreq / plan.sfreq
    n_recorded = recording.signal.shape[1]
    first = np.minimum(np.floor(starts * per_sample).astype(int), n_recorded - 1)
    stop = np.minimum(np.ceil((starts + plan.n_times) * per_sample).astype(int), n_recorded)
    return artefacts.unusable_by_channel(recording.signal, recording.sfreq, first, stop)


def _spread(starts: np.ndarray, per_trial: int | None) -> np.ndarray:
    """Return at most so many of `starts`, evenly spread."""
    if per_trial is None or len(starts) <= per_trial:
        return starts
    return starts[np.linspace(0, len(starts) - 1, per_trial).round().astype(int)]


def _check_classes(y: np.ndarray, rule: LabelRule | RatingRule, dataset: str) -> None:
    """Refuse labels that are all alike: whatever is trained on them scores 100 %."""
    found = np.unique(y)
    if len(found) == 1 < len(rule.classes):
        raise DataError(
            "all windows are of one class",
            file=f"the recordings of {dataset} that were read",
            field=f"label rule {rule.name}",
            found=f"{rule.classes[found[0]]} in all of {len(y)} windows",
            expected=f"at least two of {', '.join(rule.classes)}",
            do="read more subjects or trials, or take another label rule",
        )


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


@dataclass(frozen=True)
class _Plan:
    """How recordings are cut: the arguments of `make_windows`, checked."""

    seconds: float
    overlap: float
    sfreq: float
    label_rule: LabelRule | RatingRule
    band: Band
    per_trial: int | None
    faulty: str

    def __post_init__(self) -> None:
        if self.faulty not in artefacts.RULES:
            known = ", ".join(artefacts.RULES)
            raise ParameterError(f"faulty = {self.faulty!r}; it is one of {known}")
        if not (
            round(self.seconds * self.sfreq) > 0
            and self.sfreq > 0
            and 0 <= self.overlap < 1
            and (self.per_trial is None or self.per_trial > 0)
        ):
            raise ParameterError(
                f"windows of {self.seconds} s with overlap {self.overlap} at {self.sfreq} Hz, "
                f"{self.per_trial or 'all'} of a trial, cannot be cut; seconds, sfreq and "
                "per_trial must be positive and 0 <= overlap < 1"
            )

    @property
    def n_times(self) -> int:
        return round(self.seconds * self.sfreq)

    @property
    def step(self) -> int:
        """Samples from one window to the next."""
        return max(1, round(self.n_times * (1 - self.overlap)))


def make_windows(
    recordings: Iterable[Recording],
    seconds: float,
    overlap: float,
    sfreq: float,
    *,
    label_rule: LabelRule | RatingRule | str,
    band: Band = (0.5, None),
    per_trial: int | None = None,
    faulty: str = "drop",
) -> Windows:
    """Cut recordings into labelled windows of equal length.

    Recordings that can say what they are, as those of `datasets.load` do, are cut once: their
    windows are kept under ``build/cache/windows``, by the content of the files they come from, the
    arguments and the code, and are cut again when damaged.

    Parameters
    ----------
    recordings
        Read one at a time; only their windows are kept.
    seconds, overlap
        Length of a window, and the share (0 to below 1) that two neighbours have in common.
    sfreq
        Rate of the windows in Hz.
    label_rule
        Turns a recording into a class id; recordings it leaves out are skipped. For recordings of
        `datasets.load` its name does.
    band
        Edges in Hz of the filter, applied once to each whole recording.
    per_trial
        Keep at most this many windows of a trial, evenly spread over those that can be used.
    faulty
        What to do about windows in which a channel stands still or sits at its limits
        (`artefacts.unusable`): ``"drop"`` them, counted in one warning; ``"refuse"`` the
        recordings; ``"keep"`` them.

    Raises
    ------
    ParameterError
        If `seconds`, `overlap`, `sfreq` or `per_trial` make no window, or `label_rule` names none.
    DataError
        If no recording gives a window, recordings differ in channels, a sample is not a number,
        nothing can be used of a subject, or all windows of a data set are of one class.
    """
    if isinstance(label_rule, str):
        if not hasattr(recordings, "rule"):
            raise ParameterError(
                f"label_rule {label_rule!r} is a name; hand over the rule itself, one of "
                "datasets.card(name).label_rules"
            )
        label_rule = recordings.rule(label_rule)
    plan = _Plan(seconds, overlap, sfreq, label_rule, band, per_trial, faulty)
    if not hasattr(recordings, "identity"):
        return _collected(recordings, plan)
    told = {
        "recordings": recordings.identity(),
        "plan": asdict(plan),
        "code": [code_hash(path) for path in _CODE],
    }
    try:
        found = _read(cache.folder(_KEPT, told, lambda folder: _write(recordings, plan, folder)))
    except CacheError as error:
        if _KEPT not in Path(error.file).as_posix():
            raise  # it is what the reader keeps, which would fail again
        log.warning("windows could not be kept (%s); they are cut for this run alone", error.found)
        found = _collected(recordings, plan)
    _check_classes(found.y, label_rule, recordings.name)
    return found


_CODE = (Path(__file__), Path(artefacts.__file__))
_KEPT = "cache/windows"
_X, _Y, _META, _TOLD = "X.f32", "y.npy", "meta.csv", "told.json"


def _collected(recordings: Iterable[Recording], plan: _Plan) -> Windows:
    """Return windows cut in memory."""
    pieces = []
    y, meta = _each(recordings, plan, pieces.append)
    return Windows(np.concatenate(pieces), y, meta)


def _each(
    recordings: Iterable[Recording], plan: _Plan, keep: Callable[[np.ndarray], None]
) -> tuple[np.ndarray, pd.DataFrame]:
    """Hand the windows of one recording after the other to `keep`; return ``y`` and ``meta``."""
    labels, rows, faults = [], [], artefacts.Faults(plan.faulty)
    for recording, label in _usable(recordings, plan):
        signal = condition_signal(recording, plan.sfreq, plan.band)
        starts = np.arange(0, signal.shape[1] - plan.n_times + 1, plan.step)
        if plan.faulty != "keep":
            starts = starts[~faults.count(recording, _unusable(recording, starts, plan))]
        starts = _spread(starts, plan.per_trial)
        labels.append(np.full(len(starts), label, np.int64))
        rows.append(_describe(recording, starts, plan.n_times, plan.sfreq))
        view = np.lib.stride_tricks.sliding_window_view(signal, plan.n_times, axis=1)
        keep(np.ascontiguousarray(view[:, starts].transpose(1, 0, 2)))
    faults.tell()
    return np.concatenate(labels), pd.concat(rows, ignore_index=True)[META_COLUMNS]


class _Heard(logging.Handler):
    """Keeps what is logged, so that it is said again when the windows are used again."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.name, record.levelno, record.getMessage()))


def _write(recordings: Iterable[Recording], plan: _Plan, folder: Path) -> None:
    """Write windows into a folder, those of one recording in memory at a time."""
    shape, heard, package = [], _Heard(), logging.getLogger("affectbook")
    # Nothing is passed on now, and everything is said once when the windows are handed out: where
    # nobody has set logging up, Python prints a line only if no handler has heard it.
    before = package.handlers, package.propagate
    package.handlers, package.propagate = [heard], False
    try:
        with (folder / _X).open("wb") as stream:

            def keep(piece: np.ndarray) -> None:
                shape[:] = [sum(shape[:1]) + len(piece), *piece.shape[1:]]
                stream.write(piece.data)

            y, meta = _each(recordings, plan, keep)
    finally:
        package.handlers, package.propagate = before
        if isinstance(sys.exception(), AffectbookError):
            _say_again(heard.lines)
    np.save(folder / _Y, y)
    meta.to_csv(folder / _META, index=False)
    write_text(folder / _TOLD, json.dumps({"shape": shape, "log": heard.lines}))


def _say_again(lines: Iterable[Sequence]) -> None:
    for name, level, line in lines:
        logging.getLogger(name).log(level, line)


def _read(folder: Path) -> Windows:
    """Return what `_write` wrote, and say what there was to say when it was cut."""
    told = json.loads((folder / _TOLD).read_text(encoding="utf-8"))
    _say_again(told["log"])
    X = np.memmap(folder / _X, np.float32, "r", shape=tuple(told["shape"]))
    meta = pd.read_csv(
        folder / _META,
        dtype=dict.fromkeys(TRIAL, str),
        float_precision="round_trip",
        keep_default_na=False,
    )
    return Windows(X if X.nbytes > LARGE else np.array(X), np.load(folder / _Y), meta)


def _usable(recordings: Iterable[Recording], plan: _Plan) -> Iterator[tuple[Recording, int]]:
    """Yield the recordings that give windows, with their class ids; at the end, say what did not.

    Raises
    ------
    DataError
        If recordings differ in channels, or none gives a window.
    """
    ch_names, n_used, n_short = None, 0, 0
    for recording in recordings:
        label = plan.label_rule.label(recording)
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
        if math.ceil(recording.signal.shape[1] * _ratio(recording, plan.sfreq)) < plan.n_times:
            n_short += 1
            continue
        n_used += 1
        yield recording, label
    seconds = plan.n_times / plan.sfreq
    if not n_used:
        raise DataError(
            "no recording gives a window",
            field=f"label rule {plan.label_rule.name}, windows of {seconds:g} s",
            found=f"{n_short} recordings, all too short" if n_short else "no recording it names",
            expected=plan.label_rule.reads,
        )
    if n_short:
        log.warning("recordings shorter than one window of %g s, left out: %d", seconds, n_short)


def trial_ids(meta: pd.DataFrame) -> np.ndarray:
    """Return one integer per trial ``(n_windows,)``: windows of one trial share it."""
    return meta.groupby(TRIAL, sort=False).ngroup().to_numpy()
