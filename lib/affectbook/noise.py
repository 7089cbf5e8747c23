"""Noise that electrodes pick up, added to windows of ECG at a given signal-to-noise ratio.

Three kinds, those of the recordings of the noise stress test: Moody, Muldrow & Mark 1984, "A noise
stress test for arrhythmia detectors", Computers in Cardiology 11:381-384. Ours are simulated, as in
Friesen et al. 1990, "A comparison of the noise sensitivity of nine QRS detection algorithms", IEEE
Trans Biomed Eng 37(1):85-98, doi 10.1109/10.43620. Constants without a source are ours.

A decibel is not the same everywhere. Here it compares the AC power (variance) of a window with that
of its noise, before any filter; the noise stress test takes the height of QRS complexes for the
signal.

The noise of window k depends on its kind, the seed and k: not on the other windows. Windows that
overlap get noise of their own, as if each were recorded anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.signal import butter, sosfilt, sosfiltfilt

from affectbook.errors import DataError, ParameterError

BREATHING_HZ = (0.15, 0.4)
"""Where breathing lies: the high-frequency band of heart rate variability, Task Force of ESC and
NASPE 1996, "Heart rate variability: standards of measurement", Circulation 93(5):1043-1065."""
MUSCLE_HZ = (20.0, 150.0)
"""From the corner that De Luca et al. 2010, "Filtering the surface EMG signal", J Biomech 43:1573,
recommend for muscles; the upper end is that of a diagnostic ECG (AHA 2007, Kligfield et al.)."""
MOTION_HZ = (0.5, 10.0)
"""Ours: the band of the QRS complex and below, above what a high-pass of 0.5 Hz takes away."""
KINDS = ("wander", "muscle", "motion")
NAMED = (
    rf"^(?:(?P<base>.*)\+)?(?P<kind>{'|'.join(KINDS)})_(?P<snr_db>-?[0-9.]+)_db"
    r"(?P<filtered>_filtered)?$"
)
"""What `named` writes, perhaps after a variant."""

_WAVES = 3  # of a breathing that is not regular
_BURST_S, _CONTRAST = 0.5, 4.0  # from knot to knot of the strength; how steep bursts begin
_EVENT_S = 1.0  # one movement falls at random into each so long a time
_RISE_S = (0.03, 0.15)  # so that a bump lasts 60 to 300 ms: as long as a QRS complex, or longer
_BUMPS = 0.75  # their share; the others are steps
_PERIODS = 5  # of the high-pass: after these, e^-12 is left of what a border does to order 4
_LOWEST_HZ = 0.5  # noise is made as long for any higher high-pass, so that it is the same noise
_TOGETHER = 128  # windows that are made at a time
_ORDER = 4  # of the filter of recordings: windows.condition_signal

Windows = int | Sequence[int]


def wander(windows: Windows, n_times: int, sfreq: float, *, seed: int = 0) -> np.ndarray:
    """Return the baseline's wander with breathing: waves of three rates within `BREATHING_HZ`.

    Parameters
    ----------
    windows
        How many, or their numbers: window 7 is the same with and without the others.
    n_times, sfreq
        Samples of a window; rate in Hz.
    seed
        0 or more.

    Returns
    -------
    numpy.ndarray
        ``(n_windows, n_times)``, of any size: `unit` scales it.
    """
    drawn = [rng.uniform(size=(2, _WAVES)) for rng in _generators("wander", windows, seed)]
    rates, phases = np.array(drawn).reshape(-1, 2, _WAVES).transpose(1, 2, 0)
    low, high = BREATHING_HZ
    turns = (low + (high - low) * rates)[..., None] * np.arange(n_times) / sfreq
    return np.cos(2 * np.pi * (turns + phases[..., None])).sum(0)


def muscle(windows: Windows, n_times: int, sfreq: float, *, seed: int = 0) -> np.ndarray:
    """Return the noise of muscles: white within `MUSCLE_HZ`, or up to Nyquist, in bursts.

    Its strength goes up and down about every second, from next to nothing to all of it.

    Parameters
    ----------
    windows, n_times, sfreq, seed
        As `wander` takes them.

    Returns
    -------
    numpy.ndarray
        ``(n_windows, n_times)``.

    Raises
    ------
    ParameterError
        If the rate has no such band.
    """
    low, high = MUSCLE_HZ
    if sfreq <= 2.2 * low:
        raise ParameterError(
            f"windows of {sfreq:g} Hz hold no noise of muscles, which begins at {low:g} Hz; take a "
            "higher rate"
        )
    n_knots, before = int(np.ceil(n_times / sfreq / _BURST_S)) + 2, round(sfreq)
    rngs = _generators("muscle", windows, seed)
    drawn = [(rng.standard_normal(n_knots), rng.standard_normal(n_times + before)) for rng in rngs]
    knots, white = (np.array([pair[i] for pair in drawn]) for i in (0, 1))
    edges = (low, high) if high < 0.45 * sfreq else low
    shape = "bandpass" if np.ndim(edges) else "highpass"
    sos = butter(_ORDER, edges, shape, fs=sfreq, output="sos")
    place = np.arange(n_times) / sfreq / _BURST_S
    left = place.astype(int)
    slow = knots[:, left] + (place - left) * (knots[:, left + 1] - knots[:, left])
    return sosfilt(sos, white, axis=-1)[:, before:] / (1 + np.exp(-_CONTRAST * slow))


def motion(windows: Windows, n_times: int, sfreq: float, *, seed: int = 0) -> np.ndarray:
    """Return what moving electrodes do: a bump or a step each second, within `MOTION_HZ`.

    It looks like a QRS complex or an ectopic beat, which is why the authors of the noise stress
    test call it the most troublesome kind. A step decays as behind the input of an amplifier.

    Parameters
    ----------
    windows, n_times, sfreq, seed
        As `wander` takes them.

    Returns
    -------
    numpy.ndarray
        ``(n_windows, n_times)``.

    Raises
    ------
    ParameterError
        If the rate has no such band.
    """
    low, high = MOTION_HZ
    if sfreq <= 2.2 * high:
        raise ParameterError(f"windows of {sfreq:g} Hz have no band from {low:g} to {high:g} Hz")
    before = round(4 / low * sfreq)
    n_events = int(np.ceil((before + n_times) / sfreq / _EVENT_S))
    rngs = _generators("motion", windows, seed)
    drawn = np.array([rng.uniform(size=(4, n_events)) for rng in rngs]).reshape(-1, 4, n_events)
    heights = np.array([rng.standard_normal(n_events) for rng in rngs]).reshape(-1, n_events)
    slope = np.zeros((len(heights), before + n_times))
    for i in range(n_events):
        at, rise, back, side = drawn[:, :, i].T
        start, rise_s = (i + at) * _EVENT_S, _RISE_S[0] + rise * (_RISE_S[1] - _RISE_S[0])
        height = (1 + np.abs(heights[:, i])) * np.where(side < 0.5, -1, 1)
        first = int(i * _EVENT_S * sfreq)
        part = slope[:, first : first + int((_EVENT_S + 2 * _RISE_S[1]) * sfreq) + 2]
        time = (first + np.arange(part.shape[1])) / sfreq
        part += _pulse(time, start, rise_s) * height[:, None]
        part -= _pulse(time, start + rise_s, rise_s) * (height * (back < _BUMPS))[:, None]
    sos = butter(2, MOTION_HZ, "bandpass", fs=sfreq, output="sos")
    return sosfilt(sos, slope.cumsum(-1), axis=-1)[:, before:]


def _pulse(time: np.ndarray, start: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Return half a sine wave for each start: the slope of a smooth step of height 1."""
    turn = (time - start[:, None]) / seconds[:, None]
    wave = np.where((turn >= 0) & (turn < 1), np.sin(np.pi * np.clip(turn, 0, 1)), 0)
    total = wave.sum(-1, keepdims=True)
    return np.divide(wave, total, out=np.zeros_like(wave), where=total > 0)


_MAKERS: dict[str, Callable[..., np.ndarray]] = {
    "wander": wander, "muscle": muscle, "motion": motion,
}  # fmt: skip


def unit(
    kind: str, windows: Windows, n_times: int, sfreq: float, *, seed: int = 0,
    highpass: float | None = None,
) -> np.ndarray:  # fmt: skip
    """Return noise whose AC power in each window is 1 before the high-pass.

    It is made longer than the window on both sides, so that the filter sees no border; the filter
    is linear, so what it leaves of the noise is what it leaves of it in the sum with an ECG.

    Parameters
    ----------
    kind
        One of `KINDS`.
    windows, n_times, sfreq, seed
        As `wander` takes them.
    highpass
        Edge in Hz of the filter that recordings go through: Butterworth, order 4, zero phase.
        None: all noise stays.

    Returns
    -------
    numpy.ndarray
        ``(n_windows, n_times)`` float64.

    Raises
    ------
    ParameterError
        If there is no such kind, or no such noise at this rate.
    """
    if kind not in _MAKERS:
        raise ParameterError(f"no noise {kind!r}; there are {', '.join(KINDS)}")
    if not sfreq > 0 or n_times < 2 or seed < 0:
        raise ParameterError(f"no noise of {n_times} samples at {sfreq:g} Hz with seed {seed}; a "
                             "window has 2 samples or more, a seed is 0 or more")  # fmt: skip
    if highpass is not None and not 0 < highpass < sfreq / 2:
        raise ParameterError(f"a signal of {sfreq:g} Hz has no high-pass at {highpass} Hz")
    numbers = _numbers(windows)
    margin = int(np.ceil(_PERIODS * sfreq / min(highpass or _LOWEST_HZ, _LOWEST_HZ)))
    found = np.empty((len(numbers), n_times))
    for first in range(0, len(numbers), _TOGETHER):
        part = numbers[first : first + _TOGETHER]
        long = _MAKERS[kind](part, n_times + 2 * margin, sfreq, seed=seed)
        inside = long[:, margin : margin + n_times]
        size = inside.std(-1, keepdims=True)
        if highpass is not None:
            sos = butter(_ORDER, highpass, "highpass", fs=sfreq, output="sos")
            inside = sosfiltfilt(sos, long, axis=-1)[:, margin : margin + n_times]
        found[first : first + len(part)] = inside / size
    return found


def mixed(X: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Return windows ``(n, 1, t)`` with noise of `unit` ``(n, t)`` at a signal-to-noise ratio.

    Parameters
    ----------
    X, noise
        Before any scaling.
    snr_db
        In decibel; infinity: none. A window in which nothing moves stays as it is.

    Returns
    -------
    numpy.ndarray
        ``(n, 1, t)``, float32 unless windows are float64.

    Raises
    ------
    DataError
        If windows have several leads or hold values that are not finite.
    ParameterError
        If the ratio is no number.
    """
    X = np.asarray(X)
    if X.ndim != 3 or X.shape[1] != 1 or noise.shape != (len(X), X.shape[2]):
        raise DataError("noise is added to windows of one lead", expected="(n, 1, n_times)",
                        found=f"{X.shape}, and noise {noise.shape}")  # fmt: skip
    if not np.isfinite(X).all():
        raise DataError("a window holds samples that are not numbers")
    if np.isnan(snr_db) or snr_db == -np.inf:
        raise ParameterError(f"a ratio of {snr_db} dB is none; take a number, or infinity")
    size = X.std(-1, keepdims=True, dtype=np.float64) * 10 ** (-snr_db / 20)
    kind = np.float64 if X.dtype == np.float64 else np.float32
    return (X + size * noise[:, None]).astype(kind)


def added(
    X: np.ndarray, kind: str, snr_db: float, sfreq: float, *, seed: int = 0,
    highpass: float | None = None, windows: Sequence[int] | None = None,
) -> np.ndarray:  # fmt: skip
    """Return windows with noise of one kind.

    Parameters
    ----------
    X
        ``(n, 1, t)``, before any scaling.
    kind
        One of `KINDS`.
    snr_db
        AC power of each window over that of its noise before the high-pass, in decibel.
    sfreq
        In Hz.
    seed, highpass
        As `unit` takes them.
    windows
        Their numbers ``(n,)``; 0 to n - 1 unless given.

    Returns
    -------
    numpy.ndarray
        ``(n, 1, t)``.

    Raises
    ------
    DataError, ParameterError
        Those of `unit` and `mixed`.
    """
    X = np.asarray(X)
    if X.ndim != 3:
        raise DataError("noise is added to windows of one lead", expected="(n, 1, n_times)",
                        found=f"{X.shape}")  # fmt: skip
    numbers = len(X) if windows is None else windows
    made = unit(kind, numbers, X.shape[2], sfreq, seed=seed, highpass=highpass)
    return mixed(X, made, snr_db)


def named(kind: str, snr_db: float, filtered: bool = False) -> str:
    """Return how score rows call noise: ``motion_10_db``, after a high-pass ``..._filtered``."""
    return f"{kind}_{snr_db:g}_db" + "_filtered" * filtered


def _numbers(windows: Windows) -> np.ndarray:
    return np.arange(windows) if np.ndim(windows) == 0 else np.asarray(windows)


def _generators(kind: str, windows: Windows, seed: int) -> list[np.random.Generator]:
    own = KINDS.index(kind)
    return [np.random.default_rng([seed, own, int(k)]) for k in _numbers(windows)]
