"""Scaling of windows with statistics of the training windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.preprocessing import RobustScaler

from affectbook.errors import ParameterError

KINDS = ("per_index", "global", "per_subject", "none")


class WindowScaler(TransformerMixin, BaseEstimator):
    """Subtract the median and divide by the interquartile range, for windows ``(n, c, t)``.

    Parameters
    ----------
    kind
        ``"per_index"``: one median and range for each of the `t` samples, over all windows and
        leads together; what HCMNet's authors do. ``"global"``: one per lead, over all windows
        and samples. ``"per_subject"``: nothing here, which sees no subjects; `evaluate` scales
        each subject's windows first, see `of_subjects`. ``"none"``: leave the windows as they are.

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
    """Return whether an estimator wants its windows scaled subject by subject."""
    return getattr(getattr(estimator, "scaler", None), "kind", "") == "per_subject"


def of_subjects(X: np.ndarray, subjects: Sequence[str]) -> np.ndarray:
    """Subtract each subject's own median and divide by the subject's own interquartile range.

    Uses no label, so a test subject may be scaled, too; but it takes all of the subject's windows,
    later ones as well, which a device in use would not have.

    Parameters
    ----------
    X
        ``(n_windows, n_chans, n_times)``; each lead is scaled by itself.
    subjects
        Subject of each window ``(n_windows,)``.

    Returns
    -------
    numpy.ndarray
        Scaled copy, float32.
    """
    scaled = np.empty(X.shape, np.float32)
    subjects = np.asarray(subjects)
    for subject in np.unique(subjects):
        own = subjects == subject
        scaled[own] = WindowScaler("global").fit(X[own]).transform(X[own])
    return scaled
