"""Recordings without emotion labels: single leads of ECG to pretrain an encoder on.

Each corpus is a fixed list of files, so that its name always means the same signals. None of them
is a data set of `affectbook.datasets`: there are no labels, cards or twins. Of the two that are
one there, eegmat and drivedb, the labels are not used, and subjects keep their names, so that an
audit can tell whether pretraining has seen a test subject. Beside them stand twins of data sets:
simulated people, with seeds of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from affectbook import datasets
from affectbook.datasets import _drivedb_file, _folders, _published, _registry
from affectbook.datasets.card import LabelRule
from affectbook.datasets.recording import Recording
from affectbook.errors import ParameterError
from affectbook.unlabelled import _plain, _twins
from affectbook.unlabelled._plain import CORPORA
from affectbook.unlabelled._twins import TWINS
from affectbook.windows import make_windows

__all__ = ["Unlabelled", "corpora", "describe", "trimmed_zscore", "windows"]

TIER = "open"
PLAIN = "plain"
"""Stands for all corpora that `affectbook.datasets` does not know."""
CENTRAL = 0.95
"""Share of the sorted samples whose standard deviation is the scale of a subject."""
DRIVES = ("drive05", "drive06", "drive17a", "drive17b")
_WHAT = "ecg"
_RULE = LabelRule("unlabelled", (_WHAT,), {_WHAT: _WHAT}, "no label: every recording is taken")


class Unlabelled(NamedTuple):
    """Windows without labels.

    Attributes
    ----------
    X : numpy.ndarray
        ``(n_windows, 1, n_times)`` float32, without unit: each subject has been scaled by itself.
    subjects : numpy.ndarray
        ``(n_windows,)`` texts, ``"<corpus>/<tier>/<subject>"``.
    """

    X: np.ndarray
    subjects: np.ndarray


def corpora() -> tuple[str, ...]:
    """Return the names that `windows` takes; ``"plain"`` stands for those between it and twins."""
    return ("eegmat", "drivedb", PLAIN, *CORPORA, *TWINS)


def windows(
    names: Sequence[str],
    *,
    seconds: float,
    sfreq: float,
    per_subject: int | None = None,
    highpass: float | None = 0.5,
) -> Unlabelled:
    """Return windows of one lead, without overlap, each subject scaled by itself.

    Recordings are filtered, resampled and cut as labelled ones are (`make_windows`), and windows
    that show nothing are dropped. Then all that is left of a subject is scaled
    (`trimmed_zscore`), whether it is returned or not. Recordings shorter than a window give none.

    Parameters
    ----------
    names
        Corpora, of `corpora`; one that is named twice counts once.
    seconds, sfreq
        Length of a window, and its rate in Hz.
    per_subject
        At most so many windows of a subject, evenly spread over those that can be used.
    highpass
        Edge in Hz of the zero-phase filter; None: no filter.

    Returns
    -------
    Unlabelled
        In the order of `names`, of subjects in their corpus, and of time.

    Raises
    ------
    ParameterError
        If there is no such corpus, or no such window can be cut.
    DataNotFoundError
        If the folder of a corpus, or a file of it, is not there.
    DataError
        If a file is not what was published, no recording gives a window, or nothing can be used
        of a subject.
    """
    if per_subject is not None and not (isinstance(per_subject, int) and per_subject > 0):
        raise ParameterError(f"per_subject = {per_subject!r}; a whole number above 0, or None")
    every = (recording for name in _resolved(names) for recording in _recordings(name))
    cut = make_windows(
        every, seconds, 0.0, sfreq, label_rule=_RULE, band=(highpass, None), faulty="drop"
    )
    X, of = [], cut.meta["subject"].to_numpy(str)
    subjects = []
    for subject in dict.fromkeys(of.tolist()):
        scaled = trimmed_zscore(cut.X[of == subject])
        n_kept = len(scaled) if per_subject is None else min(per_subject, len(scaled))
        X.append(scaled[np.linspace(0, len(scaled) - 1, n_kept).round().astype(int)])
        subjects += [subject] * n_kept
    return Unlabelled(np.concatenate(X), np.array(subjects))


def trimmed_zscore(X: np.ndarray) -> np.ndarray:
    """Scale the windows of one subject: by the mean, and by a deviation that peaks do not move.

    The deviation is that of the central 95 % of the sorted samples, as the published code of
    self-supervised ECG has it. It is smaller than that of all samples, so that the result has a
    deviation above 1, the more so the higher the QRS complexes are.

    Parameters
    ----------
    X
        ``(n_windows, n_chans, n_times)`` of one subject; each lead is scaled by itself.

    Returns
    -------
    numpy.ndarray
        Scaled copy, float32; a lead with a deviation of zero is only shifted.
    """
    samples = np.sort(X.transpose(1, 0, 2).reshape(X.shape[1], -1).astype(np.float64), axis=1)
    left_out = int(samples.shape[1] * (1 - CENTRAL) / 2)
    scale = samples[:, left_out : samples.shape[1] - left_out].std(axis=1)
    scale[scale == 0] = 1.0
    return ((X - samples.mean(axis=1)[:, None]) / scale[:, None]).astype(np.float32)


def describe(names: Sequence[str], *, seconds: float = 10.0, sfreq: float = 256.0) -> pd.DataFrame:
    """Return what each corpus gives, one row each: ``"plain"`` becomes several.

    Columns are corpus, subjects (of whom there is a window), recordings, minutes (of all
    recordings), windows (of `seconds`, those that can be used) and licence.

    Raises
    ------
    ParameterError, DataNotFoundError, DataError
        As `windows`.
    """
    rows = []
    for name in _resolved(names):
        lengths = [recording.duration_s for recording in _recordings(name)]
        found = windows([name], seconds=seconds, sfreq=sfreq)
        rows.append(
            {
                "corpus": name,
                "subjects": len(np.unique(found.subjects)),
                "recordings": len(lengths),
                "minutes": sum(lengths) / 60,
                "windows": len(found.X),
                "licence": _licence(name),
            }
        )
    return pd.DataFrame(rows)


def _resolved(names: Sequence[str]) -> list[str]:
    """Return the corpora that are meant, each once."""
    if isinstance(names, str) or not list(names):
        raise ParameterError(f"names = {names!r}; it is a list of some of {', '.join(corpora())}")
    found: list[str] = []
    for name in names:
        if name not in corpora():
            raise _registry.unknown("corpus", name, corpora())
        found += list(CORPORA) if name == PLAIN else [name]
    return list(dict.fromkeys(found))


def _licence(name: str) -> str:
    if name in TWINS:
        return _twins.LICENCE
    return CORPORA[name].licence if name in CORPORA else datasets.card(name).licence.split(":")[0]


def _recordings(name: str) -> Iterator[Recording]:
    """Yield the recordings of a corpus, with one channel of one name, under their full names."""
    read = {"eegmat": _eegmat, "drivedb": _drivedb}.get(name)
    corpus = _twins.named(name) if name in TWINS else f"{name}/{TIER}"
    for one in _twins.read(name) if name in TWINS else read() if read else _others(name):
        yield replace(one, subject=f"{corpus}/{one.subject}", condition=_WHAT, ch_names=("ECG",))


def _eegmat() -> Iterator[Recording]:
    yield from datasets.load("eegmat", datasets.prepare("eegmat", TIER), channels="ecg")


def _drivedb() -> Iterator[Recording]:
    """Yield whole drives, of which the data set cuts labelled stretches."""
    folder, obtain = datasets.prepare("drivedb", TIER), datasets.card("drivedb").obtain
    for drive in DRIVES:
        paths = [_plain.file_in(folder, f"{drive}{end}", obtain) for end in (".hea", ".dat")]
        with _folders.readable("drivedb", folder):
            _published.check("drivedb", folder, paths)
        ecg, sfreq = _drivedb_file.read_ecg(folder, drive)
        yield _recording(drive, ecg, sfreq, "mV")


def _others(name: str) -> Iterator[Recording]:
    for source, ecg in _plain.read(name):
        yield _recording(source.subject, ecg, source.sfreq, source.unit)


def _recording(subject: str, ecg: np.ndarray, sfreq: float, unit: str) -> Recording:
    signal = np.ascontiguousarray(ecg, np.float32)[None]
    return Recording(signal, sfreq, ("ECG",), unit, subject, session="1", trial="1-unlabelled")
