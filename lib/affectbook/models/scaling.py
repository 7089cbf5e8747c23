"""Scaling of windows with statistics of the training windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.preprocessing import RobustScaler

from affectbook.errors import ParameterError

# These see each subject's windows, or each window, before a split: `evaluate` applies them.
BEFORE = ("per_subject", "per_subject_zscore", "per_window_zscore")
KINDS = ("per_index", "global", *BEFORE, "none")
_CENTRAL = 0.95


class WindowScaler(TransformerMixin, BaseEstimator):
    """Subtract the median and divide by the interquartile range, for windows ``(n, c, t)``.

    Parameters
    ----------
    kind
        ``"per_index"``: one median and range for each of the `t` samples, over all windows and
        leads together; what HCMNet's authors do. ``"global"``: one per lead, over all windows
        and samples. ``"per_subject"``, ``"per_subject_zscore"``, ``"per_window_zscore"``: nothing
        here, which sees no subjects; `evaluate` scales the windows first, see `of_subjects`.
        ``"none"``: leave the windows as they are.

    Attributes
    ----------
    center_, scale_
        Medians and ranges, ``(1, 1, t)`` or ``(1, c, 1)``; a range of zero counts as one.
    """

    def __init__(self, kind: str = "per_index") -> None:
        self.kind = kind

    def fit(self, X: np.ndarray, y: object = None) -> WindowScaler:
        """Learn the statistics from the windows `X`, which must be training windows only.

        Raises
        ------
        ParameterError
            If `kind` has an unknown value.
        """
        if self.kind not in KINDS:
            raise ParameterError(f"scaler kind must be one of {KINDS}, not {self.kind!r}")
        n_chans, n_times = X.shape[1:]
        if self.kind == "per_index":
            columns, shape = X.reshape(-1, n_times), (1, 1, n_times)
        elif self.kind == "global":
            columns, shape = X.transpose(0, 2, 1).reshape(-1, n_chans), (1, n_chans, 1)
        else:
            self.center_, self.scale_ = np.zeros((1, 1, 1)), np.ones((1, 1, 1))
            return self
        robust = RobustScaler().fit(columns)
        self.center_, self.scale_ = robust.center_.reshape(shape), robust.scale_.reshape(shape)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return the scaled windows as float32."""
        return ((X - self.center_) / self.scale_).astype(np.float32)


def by_subject(estimator: BaseEstimator) -> bool:
    """Return whether an estimator wants its windows scaled by themselves or by their subject."""
    return getattr(getattr(estimator, "scaler", None), "kind", "") in BEFORE


def of_subjects(
    X: np.ndarray, subjects: Sequence[str], kind: str = "per_subject"
) -> np.ndarray:
    """Scale each subject's windows, or each window, with statistics of its own.

    Uses no label, so a test subject may be scaled, too; but it takes all of the subject's windows,
    later ones as well, which a device in use would not have.

    Parameters
    ----------
    X
        ``(n_windows, n_chans, n_times)``; each lead is scaled by itself.
    subjects
        Subject of each window ``(n_windows,)``.
    kind
        ``"per_subject"``: less the median, over the interquartile range.
        ``"per_subject_zscore"``: less the mean, over the deviation of the central 95 % of the
        sorted samples, as the authors of self-supervised ECG do. ``"per_window_zscore"``: each
        window less its mean, over its deviation.

    Returns
    -------
    numpy.ndarray
        Scaled copy, float32.
    """
    if kind == "per_window_zscore":
        deviation = X.std(-1, keepdims=True)
        centred = X - X.mean(-1, keepdims=True)
        return (centred / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    scaled = np.empty(X.shape, np.float32)
    subjects = np.asarray(subjects)
    for subject in np.unique(subjects):
        own = subjects == subject
        if kind == "per_subject":
            scaled[own] = WindowScaler("global").fit(X[own]).transform(X[own])
        else:
            scaled[own] = trimmed_zscore(X[own])
    return scaled


def trimmed_zscore(X: np.ndarray) -> np.ndarray:
    """Subtract the mean of each lead and divide by the deviation of its central 95 % of samples.

    Parameters
    ----------
    X
        Windows of one subject ``(n_windows, n_chans, n_times)``.
    """
    ordered = np.sort(X.transpose(1, 0, 2).reshape(X.shape[1], -1).astype(np.float64), axis=1)
    cut = round(ordered.shape[1] * (1 - _CENTRAL) / 2)
    deviation = ordered[:, cut : ordered.shape[1] - cut].std(1)
    mean, deviation = ordered.mean(1), np.where(deviation > 0, deviation, 1)
    return ((X - mean[:, None]) / deviation[:, None]).astype(np.float32)
