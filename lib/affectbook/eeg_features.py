"""EEG windows -> differential entropy of frequency bands."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from affectbook.errors import ParameterError

# Zheng and Lu (2015) have 1-3, 4-7, 8-13, 14-30 and 31-50 Hz. With windows of a second, whose bins
# are whole hertz, these are the same bins, but that gamma ends at 45 Hz, where the preprocessed
# release of DEAP was cut; and longer windows leave no gap between bands.
BANDS: Mapping[str, tuple[float, float]] = {
    "delta": (1, 4), "theta": (4, 8), "alpha": (8, 14), "beta": (14, 31), "gamma": (31, 45),
}  # fmt: skip

_CHUNK = 2048


def band_variance(
    X: np.ndarray, sfreq: float, bands: Mapping[str, tuple[float, float]] = BANDS
) -> np.ndarray:
    """Return the variance of each channel in each band, from one periodogram per window.

    Parameters
    ----------
    X
        ``(n, c, t)``.
    sfreq
        In Hz.
    bands
        Name -> lowest frequency, which belongs to the band, and highest, which does not; in Hz.

    Returns
    -------
    numpy.ndarray
        ``(n, c, n_bands)``, in the unit of the signal squared. White noise of variance ``s^2`` has
        ``2 s^2 m / t`` on average, where `m` is the number of bins in the band; the lowest bin
        loses a sixth of it with the mean of the window.

    Raises
    ------
    ParameterError
        If a band has no bin: the window is too short for it, or it lies above ``sfreq / 2``.
    """
    n_times = X.shape[-1]
    hz = np.arange(n_times // 2 + 1) * sfreq / n_times  # exact where a band begins
    inside = np.stack([(hz >= low) & (hz < high) for low, high in bands.values()], axis=1)
    for name, has_bins in zip(bands, inside.any(0), strict=True):
        if not has_bins:
            low, high = bands[name]
            raise ParameterError(
                f"no frequency of windows of {n_times} samples at {sfreq:g} Hz lies in the band "
                f"{name}, {low:g} to {high:g} Hz; take longer windows or leave the band out"
            )
    taper = np.hanning(n_times + 1)[:-1]  # periodic: its spectrum has three bins
    # Each bin but the first, and the last of an even number, stands for a negative one as well.
    both = np.full((len(hz), 1), 2)
    both[0] = 1
    if n_times % 2 == 0:
        both[-1] = 1
    to_variance = inside * both / (n_times * (taper**2).sum())  # f n_bands
    variance = np.empty((*X.shape[:2], len(bands)))
    for start in range(0, len(X), _CHUNK):
        here = slice(start, start + _CHUNK)
        centred = X[here] - X[here].mean(-1, keepdims=True, dtype=float)
        variance[here] = np.abs(np.fft.rfft(centred * taper)) ** 2 @ to_variance
    return variance


def differential_entropy(
    X: np.ndarray, sfreq: float, bands: Mapping[str, tuple[float, float]] = BANDS
) -> np.ndarray:
    """Return the differential entropy of each channel in each band, taken for Gaussian.

    ``0.5 log(2 pi e variance)``: R.-N. Duan, J.-Y. Zhu and B.-L. Lu, "Differential entropy feature
    for EEG-based emotion classification", NER 2013; the variance is that of `band_variance`.

    Parameters
    ----------
    X, sfreq, bands
        See `band_variance`.

    Returns
    -------
    numpy.ndarray
        ``(n, c * n_bands)``, channel by channel, the bands of a channel side by side. A channel
        that is flat has a low, finite value.

    Raises
    ------
    ParameterError
        If a band has no bin.
    """
    variance = np.maximum(band_variance(X, sfreq, bands), np.finfo(np.float32).tiny)
    return (0.5 * np.log(2 * np.pi * np.e * variance)).reshape(len(X), -1)


class DifferentialEntropy(TransformerMixin, BaseEstimator):
    """`differential_entropy` in the usual bands as a transformer; nothing is learnt from data."""

    def __init__(self, sfreq: float) -> None:
        self.sfreq = sfreq

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> DifferentialEntropy:
        """Return self."""
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return ``(n_windows, n_chans * 5)``."""
        return differential_entropy(X, self.sfreq)

    def __sklearn_is_fitted__(self) -> bool:
        return True
