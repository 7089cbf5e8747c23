"""Scaling of EEG windows, and removal of blinks, with statistics of the training windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from affectbook.errors import ParameterError

KINDS = ("zscore", "window", "raw")

_CHUNK = 2048


class BlinkRegression(TransformerMixin, BaseEstimator):
    """Subtract from each channel what it shares with the slow part of the frontal channels.

    For data without an electrooculogram: the mean of the frontal channels, freed of all above
    `highest_hz`, stands for it, and each channel's coefficient on it is the least squares one of
    all training windows together, with a line of its own for each window and channel. Brain
    activity that is slow and frontal goes with the blinks: a score that falls has not been shown to
    have come from the eyes.

    Parameters
    ----------
    frontal
        Indices of the channels next to the eyes, such as those of Fp1 and Fp2.
    sfreq
        Of the windows, in Hz.
    highest_hz
        Above it nothing is taken for a blink.

    Attributes
    ----------
    coef_
        ``(c,)``; zero throughout if the frontal channels are flat.
    """

    def __init__(self, frontal: Sequence[int], sfreq: float, highest_hz: float = 7.0) -> None:
        self.frontal = frontal
        self.sfreq = sfreq
        self.highest_hz = highest_hz

    def fit(self, X: np.ndarray, y: object = None) -> BlinkRegression:
        """Learn the coefficients from the windows `X` ``(n, c, t)``, training windows only.

        Raises
        ------
        ParameterError
            If `frontal` is empty or names a channel that the windows do not have.
        """
        n_chans = X.shape[1]
        if not len(self.frontal) or not all(0 <= i < n_chans for i in self.frontal):
            raise ParameterError(
                f"frontal must hold indices from 0 to {n_chans - 1}, not {self.frontal!r}"
            )
        shared, power = np.zeros(n_chans), 0.0
        for start in range(0, len(X), _CHUNK):
            part = X[start : start + _CHUNK]
            # Without their lines, which drift makes, not the eyes. Those of the channels drop out
            # of the products with a reference that has none.
            reference = _detrended(self._reference(part))
            shared += np.einsum("nt,nct->c", reference, part)
            power += float((reference**2).sum())
        self.coef_ = shared / power if power > 0 else shared * 0
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return the windows ``(n, c, t)`` without blinks, as float32."""
        cleaned = np.empty(X.shape, np.float32)
        for start in range(0, len(X), _CHUNK):
            part = X[start : start + _CHUNK]
            reference = self._reference(part)[:, None]  # n 1 t
            cleaned[start : start + _CHUNK] = part - self.coef_[:, None] * reference
        return cleaned

    def _reference(self, X: np.ndarray) -> np.ndarray:
        """Return what stands for the electrooculogram, ``(n, t)``."""
        frontal = X[:, list(self.frontal)].mean(1, dtype=float)
        frontal -= frontal.mean(1, keepdims=True)
        # The spectrum takes a window for a circle, in which a slope is a jump.
        level = _detrended(frontal)
        spectrum = np.fft.rfft(level)
        hz = np.arange(spectrum.shape[1]) * self.sfreq / X.shape[-1]
        spectrum[:, hz > self.highest_hz] = 0
        # A blink at the border of a window is largely a slope, so the line is put back.
        return np.fft.irfft(spectrum, X.shape[-1]) + frontal - level


def _detrended(series: np.ndarray) -> np.ndarray:
    """Return series ``(n, t)`` without the line that fits each best."""
    from scipy.signal import detrend  # takes a while to import

    return detrend(series, axis=-1)


class EegScaler(TransformerMixin, BaseEstimator):
    """Subtract the mean and divide by the standard deviation, for windows ``(n, c, t)``.

    Parameters
    ----------
    kind
        ``"zscore"``: one mean and deviation per channel, over all training windows and samples.
        ``"window"``: each window and channel by its own; nothing is learnt, and amplitudes, which
        tell people and recordings apart, are gone. ``"raw"``: leave the values as they are.
    blinks
        Indices of the frontal channels of a :class:`BlinkRegression` that comes first; none: no
        regression.
    sfreq
        In Hz; needed with `blinks`.

    Attributes
    ----------
    center_, scale_
        Means and deviations ``(1, c, 1)`` of ``"zscore"``; a deviation of zero counts as one.
    """

    def __init__(
        self, kind: str = "zscore", blinks: tuple[int, ...] = (), sfreq: float | None = None
    ) -> None:
        self.kind = kind
        self.blinks = blinks
        self.sfreq = sfreq

    def fit(self, X: np.ndarray, y: object = None) -> EegScaler:
        """Learn the statistics from the windows `X`, which must be training windows only.

        Raises
        ------
        ParameterError
            If `kind` has an unknown value, `blinks` names a channel that is not there, or there
            are `blinks` without a rate.
        """
        if self.kind not in KINDS:
            raise ParameterError(f"scaler kind must be one of {KINDS}, not {self.kind!r}")
        self.blinks_ = None
        if len(self.blinks):
            if self.sfreq is None:
                raise ParameterError("a scaler with blinks needs sfreq, the rate of the windows")
            self.blinks_ = BlinkRegression(self.blinks, self.sfreq).fit(X)
        if self.kind == "zscore":
            channels = np.moveaxis(self._without_blinks(X), 1, 0)
            # One channel at a time: in double precision all of them would not fit beside the rest.
            center = np.array([own.mean(dtype=float) for own in channels])
            scale = np.array([own.std(dtype=float) for own in channels])
            self.center_, self.scale_ = center[None, :, None], _usable(scale)[None, :, None]
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return the scaled windows as float32."""
        X = self._without_blinks(X)
        if self.kind == "zscore":
            X = (X - self.center_) / self.scale_
        elif self.kind == "window":
            X = X - X.mean(-1, keepdims=True, dtype=float)
            X = X / _usable(X.std(-1, keepdims=True))
        return np.asarray(X, np.float32)

    def _without_blinks(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(X, np.float32) if self.blinks_ is None else self.blinks_.transform(X)


def _usable(deviation: np.ndarray) -> np.ndarray:
    return np.where(deviation > 0, deviation, 1.0)
