"""Windows of twelve leads, as ECG-FM takes them, of the corpora that `unlabelled.windows` reads.

Ten exams of CODE-15 % and one record of PTB have twelve leads; whatever has one lead has it in the
place of lead II, and zeros in all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from affectbook import unlabelled
from affectbook.datasets import _matlab
from affectbook.datasets.recording import Recording
from affectbook.errors import ParameterError
from affectbook.simulate.leads import LEADS
from affectbook.unlabelled import _plain
from affectbook.windows import make_windows

TWO = LEADS.index("II")
_EXAMS = "code15_samples"
"""All of them have twelve leads."""
_CLINICAL = {"wfdb_samples": ("s0010_re",), _EXAMS: _plain._EXAMS}
_TRIAL = ["subject", "session", "trial"]


def windows(
    names: Sequence[str],
    *,
    seconds: float = 10.0,
    sfreq: float = 500.0,
    per_subject: int | None = None,
    highpass: float | None = None,
) -> unlabelled.Unlabelled:
    """Return windows of twelve leads, without overlap, each lead of a recording scaled by itself.

    Recordings are resampled and cut as labelled ones are (`make_windows`), windows in which a lead
    shows nothing are dropped, and what is left of a recording is scaled (`zscore`). ECG-FM scales
    before it cuts, resamples linearly, and leaves nothing out.

    Parameters
    ----------
    names
        Corpora, of `unlabelled.corpora`; one that is named twice counts once.
    seconds, sfreq
        Length of a window, and its rate in Hz. The defaults are two segments of ECG-FM.
    per_subject
        At most so many windows of a subject, evenly spread over those that can be used.
    highpass
        Edge in Hz of the zero-phase filter; None: no filter, as ECG-FM has it.

    Returns
    -------
    Unlabelled
        ``(n_windows, 12, n_times)`` in the order of `LEADS`: what has twelve leads, then what has
        one, each in the order of `names`.

    Raises
    ------
    ParameterError, DataNotFoundError, DataError
        As `unlabelled.windows`.
    """
    if per_subject is not None and not (isinstance(per_subject, int) and per_subject > 0):
        raise ParameterError(f"per_subject = {per_subject!r}; a whole number above 0, or None")
    resolved, X, subjects = unlabelled._resolved(names), [], []
    for kind in (_with_twelve, _with_one):
        every = (one for name in resolved for one in kind(name))
        if (first := next(every, None)) is None:
            continue
        cut = make_windows(
            chain([first], every), seconds, 0.0, sfreq, label_rule=unlabelled._RULE,
            band=(highpass, None), faulty="drop",
        )  # fmt: skip
        of, scaled = cut.meta["subject"].to_numpy(str), np.empty_like(cut.X)
        for at in cut.meta.groupby(_TRIAL, sort=False).indices.values():
            scaled[at] = zscore(cut.X[at])
        kept = np.concatenate(
            [_some(np.flatnonzero(of == subject), per_subject) for subject in dict.fromkeys(of)]
        )
        X.append(_placed(scaled[kept]))
        subjects.append(of[kept])
    return unlabelled.Unlabelled(np.concatenate(X), np.concatenate(subjects))


def zscore(X: np.ndarray) -> np.ndarray:
    """Scale all windows of one recording: each lead to mean zero and deviation one.

    Parameters
    ----------
    X
        ``(n_windows, n_chans, n_times)``.

    Returns
    -------
    numpy.ndarray
        Scaled copy, float32; of a lead that keeps one value, zeros.
    """
    samples = X.astype(np.float64)
    scale = samples.std(axis=(0, 2), keepdims=True)
    still = np.ptp(samples, axis=(0, 2), keepdims=True) == 0
    samples -= samples.mean(axis=(0, 2), keepdims=True)
    return np.where(still, 0.0, samples / np.where(still, 1.0, scale)).astype(np.float32)


def _some(at: np.ndarray, most: int | None) -> np.ndarray:
    """Return at most so many of them, evenly spread."""
    n_kept = len(at) if most is None else min(most, len(at))
    return at[np.linspace(0, len(at) - 1, n_kept).round().astype(int)]


def _placed(X: np.ndarray) -> np.ndarray:
    """Return twelve leads of windows ``(n_windows, 12 or 1, n_times)``."""
    if X.shape[1] == len(LEADS):
        return X
    placed = np.zeros((len(X), len(LEADS), X.shape[2]), np.float32)
    placed[:, TWO] = X[:, 0]
    return placed


def _with_one(name: str) -> Iterator[Recording]:
    """Yield the recordings of a corpus that have no twelve leads."""
    clinical = {_full(name, subject) for subject in _CLINICAL.get(name, ())}
    if name != _EXAMS:
        yield from (one for one in unlabelled._recordings(name) if one.subject not in clinical)


def _with_twelve(name: str) -> Iterator[Recording]:
    """Yield the recordings of a corpus that have."""
    if name not in _CLINICAL:
        return
    folder = _plain._folder(name)
    # Lead II is read first, with all that is checked of a file.
    for source, two in _plain.read(name):
        if source.subject not in _CLINICAL[name]:
            continue
        path = folder / source.files[0]
        if source.read is _plain._of_matlab:
            why = "a recording of 12 leads has less than 0.2 MB"
            signal = _matlab.apart(leads_of, path, source.sfreq, most=10**7, why=why)
        else:
            signal = np.stack(
                [source.read(path, source._replace(key=lead.lower())) for lead in LEADS]
            )
        if bad := int((~np.isfinite(signal)).sum()):
            found = f"{bad} samples that are not numbers"
            raise _plain._wrong(path, "the other leads", found, "finite samples")
        one = unlabelled._recording(source.subject, two, source.sfreq, source.unit)
        yield replace(
            one, signal=np.ascontiguousarray(signal, np.float32), ch_names=LEADS,
            subject=_full(name, source.subject), condition=unlabelled._WHAT,
        )  # fmt: skip


def _full(name: str, subject: str) -> str:
    return f"{name}/{unlabelled.TIER}/{subject}"


def leads_of(path: Path, sfreq: float) -> np.ndarray:
    """Return the leads ``(12, n_times)`` of an exam of CODE-15 %; for a process of its own."""
    return np.stack([_plain.lead_of(path, lead, sfreq) for lead in LEADS])
