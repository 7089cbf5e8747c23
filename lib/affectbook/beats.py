"""Rhythm and shape of the beats of short windows: what a probe of an ECG network can be asked for.

Of windows of 5 s. Heart rate is firm there. RMSSD of four to eight intervals says little about a
person, but is a number of the window, and that is all a probe is asked about; its logarithm is
taken, as it is skewed. Of the shape two numbers were chosen that need no wave to be delineated, and
that windows of one real recording share: see `measures`.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from affectbook import cache, features
from affectbook.closure import code_hash
from affectbook.errors import CacheError

MEASURES = ("heart_rate", "log_rmssd", "r_height", "t_ratio")
"""In 1/min; log of ms; deviations of the window; and without a unit."""

_SHORTEST_MS, _LONGEST_MS, _FEWEST = 270, 2000, 3  # of RR intervals, as `features.hrv`
_LEAST_MS = 1.0  # steps of half a sample at 500 Hz: below, the logarithm is that of rounding
_BEFORE, _AFTER, _QRS = 0.25, 0.42, 0.1  # s around the R-peak
_T_FROM, _T_TO, _T_SHARE = 0.12, 0.4, 0.65  # s after it, and no later than this share of an RR
_KEPT, _FILE = "cache/beats", "measures.npy"
log = logging.getLogger(__name__)


def measures(X: np.ndarray, sfreq: float) -> pd.DataFrame:
    """Measure rhythm and beats of each window, from neurokit2's R-peaks.

    What was measured before is read, under ``build/cache/beats``: finding peaks takes some 20 ms a
    window.

    Parameters
    ----------
    X
        ``(n_windows, n_chans, n_times)``; the first channel is used. How windows are scaled does
        not matter.
    sfreq
        In Hz.

    Returns
    -------
    pandas.DataFrame
        `MEASURES`: heart_rate (1/min); log_rmssd, the natural logarithm of RMSSD in ms; r_height,
        the R-peak of the median beat above its median, in standard deviations of the window;
        t_ratio, the highest value where the T wave is expected above the same median, over the
        height of the QRS complex from lowest to highest. All four are NaN where a window has fewer
        than three RR intervals of 30 to 220 beats a minute, or fewer than two whole beats.
    """
    X = np.asarray(X)
    told = {
        "windows": hashlib.sha256(np.ascontiguousarray(X[:, 0], np.float32).data).hexdigest(),
        "n_times": X.shape[-1], "sfreq": float(sfreq),
        "code": [code_hash(Path(one)) for one in (__file__, features.__file__)],
    }  # fmt: skip

    def made() -> np.ndarray:
        return np.array([_of(window, sfreq) for window in X[:, 0]])

    try:
        place = cache.folder(_KEPT, told, lambda folder: np.save(folder / _FILE, made()))
        found = np.load(place / _FILE)
    except CacheError as error:
        log.warning("what was measured of beats could not be kept (%s)", error.found)
        found = made()
    return pd.DataFrame(found, columns=MEASURES)


def _of(window: np.ndarray, sfreq: float) -> tuple[float, ...]:
    """Return the `MEASURES` of one window ``(n_times,)``."""
    peaks = features.r_peaks(window, sfreq)
    rr_ms = np.diff(peaks) / sfreq * 1000
    rr_ms = rr_ms[(rr_ms > _SHORTEST_MS) & (rr_ms < _LONGEST_MS)]
    before, after, qrs = (round(sfreq * seconds) for seconds in (_BEFORE, _AFTER, _QRS))
    whole = peaks[(peaks >= before) & (peaks + after <= len(window))]
    if len(rr_ms) < _FEWEST or len(whole) < 2 or not window.std() > 0:
        return (np.nan,) * len(MEASURES)
    scaled = (window.astype(np.float64) - window.mean()) / window.std()
    beat = np.median([scaled[peak - before : peak + after] for peak in whole], axis=0)
    beat -= np.median(beat)
    complex_ = beat[before - qrs : before + qrs]
    last = min(_T_TO, _T_SHARE * rr_ms.mean() / 1000)
    t_wave = beat[before + round(_T_FROM * sfreq) : before + round(last * sfreq) + 1]
    rmssd = np.sqrt(np.square(np.diff(rr_ms)).mean())
    return (60_000 / rr_ms.mean(), np.log(max(rmssd, _LEAST_MS)), beat[before],
            t_wave.max() / np.ptp(complex_))  # fmt: skip
