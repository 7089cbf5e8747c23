"""Windows -> features: heart rate variability, and the amplitude spectrum."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

HRV_COLUMNS = ("heart_rate", "sdnn", "rmssd", "pnn50")


def r_peaks(ecg: np.ndarray, sfreq: float) -> np.ndarray:
    """Return the sample indices of the R-peaks of one lead.

    Parameters
    ----------
    ecg
        ``(n_times,)``.
    sfreq
        In Hz.

    Returns
    -------
    numpy.ndarray
        Empty where neurokit2 finds none.
    """
    import neurokit2 as nk  # takes over a second to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its advice about short records, once per window
        cleaned = nk.ecg_clean(ecg, sampling_rate=sfreq)
        try:
            _, info = nk.ecg_peaks(cleaned, sampling_rate=sfreq)
        except (ValueError, IndexError, ZeroDivisionError):
            # neurokit2 raises these on a window without a single QRS complex.
            return np.empty(0, int)
    return np.asarray(info["ECG_R_Peaks"], int)


@lru_cache(maxsize=100_000)
def _hrv_of(window: bytes, sfreq: float) -> tuple[float, ...]:
    """Return the `HRV_COLUMNS` of one window; cached, since folds share windows."""
    rr_ms = np.diff(r_peaks(np.frombuffer(window, np.float32), sfreq)) / sfreq * 1000
    rr_ms = rr_ms[(rr_ms > 270) & (rr_ms < 2000)]
    if len(rr_ms) < 3:
        return (np.nan,) * len(HRV_COLUMNS)
    steps = np.diff(rr_ms)
    return (
        60_000 / rr_ms.mean(),
        rr_ms.std(ddof=1),
        float(np.sqrt((steps**2).mean())),
        float((np.abs(steps) > 50).mean()),
    )


def hrv(X: np.ndarray, sfreq: float) -> pd.DataFrame:
    """Heart rate and time-domain variability of each window, from neurokit2's R-peaks.

    Parameters
    ----------
    X
        ``(n_windows, n_chans, n_times)``; the first channel is used.
    sfreq
        In Hz.

    Returns
    -------
    pandas.DataFrame
        heart_rate (1/min), sdnn (ms), rmssd (ms), pnn50 (0 to 1); NaN where a window has fewer
        than three RR intervals between 270 and 2000 ms (30 to 220 beats a minute).
    """
    rows = [_hrv_of(np.ascontiguousarray(x[0], np.float32).tobytes(), float(sfreq)) for x in X]
    return pd.DataFrame(rows, columns=HRV_COLUMNS, dtype=float)


class HrvFeatures(TransformerMixin, BaseEstimator):
    """`hrv` as a scikit-learn transformer; nothing is learnt from data."""

    def __init__(self, sfreq: float) -> None:
        self.sfreq = sfreq

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> HrvFeatures:
        """Return self."""
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return ``(n_windows, 4)``."""
        return hrv(X, self.sfreq).to_numpy()

    def __sklearn_is_fitted__(self) -> bool:
        return True


class SpectrumFeatures(TransformerMixin, BaseEstimator):
    """Log amplitude spectrum of each window: what a recording looks like, whatever its label.

    It is blind to where in the beat a window starts, so windows of one recording lie close
    together: a fingerprint.
    """

    def __init__(self, sfreq: float, highest_hz: float = 45.0) -> None:
        self.sfreq = sfreq
        self.highest_hz = highest_hz

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> SpectrumFeatures:
        """Return self."""
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return ``(n_windows, n_chans * n_bins)``: bins of 0.5 Hz up to `highest_hz`."""
        from scipy.signal import welch

        n_times = X.shape[-1]
        per_segment = min(n_times, round(2 * self.sfreq))
        hz, power = welch(X, self.sfreq, nperseg=per_segment, axis=-1)
        power = power[..., (hz > 0) & (hz <= self.highest_hz)]
        return np.log(power + 1e-12).reshape(len(X), -1)

    def __sklearn_is_fitted__(self) -> bool:
        return True
