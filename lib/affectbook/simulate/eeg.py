"""Simulated EEG with known answers: what states do to it, and how people differ.

White noise, alike at electrodes that are near each other, is shaped in the frequency domain: a
background that falls with frequency, an alpha rhythm at the back, a theta rhythm at the frontal
midline. Blinks are added. A state is a place on the axes of valence and arousal, or one of the
named conditions of the simulated ECG.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.fft import irfft, next_fast_len, rfftfreq

from affectbook.errors import ParameterError
from affectbook.simulate.affect import Affect
from affectbook.simulate.ecg import State, _check, _Draw, _rng

# Where the named conditions of the ECG lie; a gap is as the baseline.
_AFFECTS = {
    "baseline": Affect(0.0, 0.0),
    "stress": Affect(-0.5, 0.9),
    "amusement": Affect(0.8, 0.4),
    "meditation": Affect(0.3, -0.8),
}
_MIDDLE, _INNER = ("z", "1", "2"), ("z", *"123456")
_OUTER, _ALL = (*"789", "10"), ("z", *"123456789", "10")
# Rows of the 10-10 system: place from back (-1) to front (1), step to the side per electrode, and
# the numbers that there are. Odd ones are left, even ones right, z is the midline.
_ROWS = {
    "fp": (0.95, 0.31, _MIDDLE),
    "af": (0.74, 0.17, _ALL),
    "f": (0.5, 0.2, _ALL),
    "fc": (0.25, 0.235, _INNER),
    "ft": (0.25, 0.235, _OUTER),
    "c": (0.0, 0.25, _INNER),
    "t": (0.0, 0.25, _OUTER),
    "cp": (-0.25, 0.235, _INNER),
    "tp": (-0.25, 0.235, _OUTER),
    "p": (-0.5, 0.2, _ALL),
    "po": (-0.74, 0.17, _ALL),
    "o": (-0.95, 0.31, _MIDDLE),
    "i": (-1.1, 0.35, _MIDDLE),
    "cb": (-0.95, 0.5, ("1", "2")),
    "a": (-0.05, 1.15, ("1", "2")),
    "m": (-0.2, 1.1, ("1", "2")),
}
_OLD = {"t3": "t7", "t4": "t8", "t5": "p7", "t6": "p8"}
_EARS = ("a", "m")
_NAME = re.compile(r"([a-z]{1,2})(z|[1-9]|10)")

# Correlation of neighbours: reach of the kernel (the head has radius 1), and an electrode's own.
_REACH, _OWN = 0.35, 0.2
# The background at knots in Hz: log amplitude density in uV per root Hz; power falls as 1/f.
_KNOTS_HZ = np.array([0.5, 1.0, 2.0, 4.0, 7.0, 10.0, 14.0, 20.0, 30.0, 45.0, 100.0])
_BACKGROUND = -0.5 * np.log(_KNOTS_HZ / 10.0)
_ALPHA_HZ, _ALPHA_WIDTH, _ALPHA_LIMITS = 10.0, 1.0, (8.5, 12.0)
_THETA_HZ, _THETA_WIDTH = 5.8, 0.7
# Power density at the peak of a rhythm, in uV^2 / Hz, where it is strongest.
_ALPHA_PEAK, _THETA_PEAK = 12.0, 5.0
_BLINK_S, _BLINK_UV, _BLINKS_PER_S = 0.3, 100.0, 15.0 / 60.0

# What a state does at effect 1, in natural logs of power for one unit of arousal or valence. The
# directions are the field's usual findings: alpha falls with arousal; with positive valence the
# left front is the more active side, so that alpha there is lower than on the right (Davidson
# 1992), and theta at the frontal midline is stronger (Sammler et al. 2007, on pleasant music).
# All sizes are choices, large enough to be learnt across people in spite of fingerprint 1.
_ALPHA_OF_AROUSAL = -1.0
_ASYMMETRY_OF_VALENCE = 1.6
_THETA_OF_VALENCE = 0.8

# Own streams of the generator, apart from those of ECG and labels.
_STREAM = 9005


@dataclass(frozen=True)
class _Head:
    """What one trial of one person is drawn from.

    Powers of rhythms are natural logs of factors; `log_gain` is one per electrode, in amplitude.
    """

    background: np.ndarray
    log_gain: np.ndarray
    alpha_hz: float
    log_alpha: np.ndarray
    log_theta: np.ndarray
    log_blink: float
    blinks_per_s: float


@dataclass(frozen=True)
class _Montage:
    """Electrodes behind the channels: a channel is one of them, or the difference of two.

    Attributes
    ----------
    x, y : numpy.ndarray
        ``(n_electrodes,)``: left (-1) to right (1), back (-1) to front (1).
    gain : numpy.ndarray
        ``(n_electrodes,)``: ears see less of the brain.
    mixing : numpy.ndarray
        ``(n_electrodes, n_electrodes)``: makes white noise alike at neighbours, each of unit
        variance.
    plus, minus : tuple of int
        Electrode of each channel; and what is taken off, or -1.
    """

    x: np.ndarray
    y: np.ndarray
    gain: np.ndarray
    mixing: np.ndarray
    plus: tuple[int, ...]
    minus: tuple[int, ...]


def eeg_subject(
    subject_index: int,
    plan: Sequence[tuple[State, float]],
    *,
    sfreq: float,
    ch_names: Sequence[str],
    effect: float = 1.0,
    fingerprint: float = 1.0,
    seed: int = 0,
) -> tuple[np.ndarray, list[tuple[str | Affect, float, float]]]:
    """Return the EEG of one subject through a session.

    Parameters
    ----------
    subject_index
        Who; a subject does not depend on how many others are made.
    plan
        State (an `Affect`, one of `affectbook.simulate.CONDITIONS`, None for a gap) and length
        in seconds, in order.
    sfreq
        Sampling rate in Hz.
    ch_names
        Electrodes of the 10-10 system in any case, with the old names T3 T4 T5 T6, the ears A1
        A2 M1 M2, and CB1 CB2; or a difference such as ``"A2-A1"``. They are drawn together: of
        other names other signals are made.
    effect, fingerprint
        The two dials, 0 to 3.
    seed
        Same seed, same bytes.

    Returns
    -------
    signal : numpy.ndarray
        ``(n_chans, n_times)`` float64, in uV.
    blocks : list of tuple
        State, first and last second of each block; gaps are left out.

    Raises
    ------
    ParameterError
        If a dial is out of range or a condition or an electrode is unknown.
    """
    if not sfreq >= 100:
        raise ParameterError(f"sfreq = {sfreq} Hz; the simulated EEG needs 100 Hz or more")
    _check(subject_index, plan, sfreq, effect, fingerprint, seed)
    if isinstance(ch_names, str) or not ch_names:
        raise ParameterError(f"ch_names = {ch_names!r}; it is a list of one electrode or more")
    montage = _montage(tuple(ch_names))
    person = _person(_rng(seed, subject_index, _STREAM, 0), montage, fingerprint)
    edges = np.rint(np.cumsum([0.0, *(seconds for _, seconds in plan)]) * sfreq).astype(int)
    signal, blocks = np.empty((len(ch_names), edges[-1])), []
    for position, (state, _) in enumerate(plan):
        rng = _rng(seed, subject_index, _STREAM, 1 + position)
        trial = _changed(_trial(rng, person, fingerprint), _affect(state), montage, effect)
        start, stop = edges[position : position + 2]
        if stop > start:  # a block of one sample may be rounded away
            signal[:, start:stop] = _draw(rng, trial, montage, int(stop - start), sfreq)
        if state is not None:
            blocks.append((state, start / sfreq, stop / sfreq))
    return signal, blocks


def _affect(state: State) -> Affect:
    return state if isinstance(state, Affect) else _AFFECTS[state or "baseline"]


@functools.lru_cache(maxsize=16)
def _montage(ch_names: tuple[str, ...]) -> _Montage:
    """Return the electrodes behind the channels."""
    pairs = [str(name).split("-") for name in ch_names]
    names = [
        _electrode(part, of) for of, pair in zip(ch_names, pairs, strict=True) for part in pair
    ]
    first = np.cumsum([0, *(len(pair) for pair in pairs)])[:-1].tolist()
    if any(len(pair) > 2 for pair in pairs):
        raise ParameterError(f"a channel is at most a difference of two electrodes: {ch_names}")
    x, y = np.array([_place(*name) for name in names]).T
    apart = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    alike = (1 - _OWN) * np.exp(-0.5 * apart / _REACH**2) + _OWN * np.eye(len(x))
    # The symmetric root is the one that does not depend on the signs of eigenvectors.
    size, vectors = np.linalg.eigh(alike)
    return _Montage(
        x=x,
        y=y,
        gain=np.array([0.35 if row in _EARS else 1.0 for row, _ in names]),
        mixing=(vectors * np.sqrt(np.maximum(size, 0.0))) @ vectors.T,
        plus=tuple(first),
        minus=tuple(
            at + 1 if len(pair) == 2 else -1 for at, pair in zip(first, pairs, strict=True)
        ),
    )


def _electrode(name: str, channel: str) -> tuple[str, str]:
    """Return row and number of an electrode."""
    lower = name.strip().lower()
    found = _NAME.fullmatch(_OLD.get(lower, lower))
    if found is None or found[1] not in _ROWS or found[2] not in _ROWS[found[1]][2]:
        raise ParameterError(
            f"unknown electrode {channel!r}; known are names of the 10-10 system such as Fp1, FCz, "
            "P8, the old T3 T4 T5 T6, A1 A2 M1 M2, CB1 CB2, and differences such as A2-A1"
        )
    return found[1], found[2]


def _place(row: str, number: str) -> tuple[float, float]:
    """Return how far right and how far to the front an electrode lies."""
    front, step, _ = _ROWS[row]
    if number == "z":
        return 0.0, front
    # The outer numbers 7 to 10 of T, FT and TP go on where 5 and 6 of C, FC and CP end.
    steps = (int(number) + 1) // 2
    return (1 if int(number) % 2 == 0 else -1) * step * steps, front


def _person(rng: np.random.Generator, montage: _Montage, fingerprint: float) -> _Head:
    """Draw a person: spectrum, rhythms, gains of electrodes, and blinks."""
    draw, n = _Draw(rng, fingerprint), len(montage.x)
    return _Head(
        background=_BACKGROUND + draw(0.15) + draw(np.full(_KNOTS_HZ.shape, 0.15)),
        log_gain=np.log(montage.gain) + draw(np.full(n, 0.15)),
        alpha_hz=_ALPHA_HZ + float(draw(0.6)),
        log_alpha=draw(0.35) + draw(np.full(n, 0.1)),
        log_theta=draw(0.25) + draw(np.full(n, 0.1)),
        log_blink=float(draw(0.15)),
        blinks_per_s=_BLINKS_PER_S * float(np.exp(draw(0.35))),
    )


def _trial(rng: np.random.Generator, person: _Head, fingerprint: float) -> _Head:
    """Draw what sets one trial of a person apart, whatever its state."""
    draw, n = _Draw(rng, fingerprint), len(person.log_gain)
    return replace(
        person,
        background=person.background + draw(0.05) + draw(np.full(_KNOTS_HZ.shape, 0.1)),
        log_gain=person.log_gain + draw(np.full(n, 0.08)),
        alpha_hz=person.alpha_hz + float(draw(0.1)),
        log_alpha=person.log_alpha + draw(0.15) + draw(np.full(n, 0.08)),
        log_theta=person.log_theta + draw(0.15) + draw(np.full(n, 0.08)),
    )


def _changed(trial: _Head, state: Affect, montage: _Montage, effect: float) -> _Head:
    """Let a state act on a trial. It leaves background and blinks alone."""
    right_front = montage.x * np.clip(montage.y, 0.0, 1.0)
    alpha = _ALPHA_OF_AROUSAL * state.arousal + _ASYMMETRY_OF_VALENCE * state.valence * right_front
    return replace(
        trial,
        log_alpha=trial.log_alpha + effect * alpha,
        log_theta=trial.log_theta + effect * _THETA_OF_VALENCE * state.valence,
    )


def _draw(
    rng: np.random.Generator, trial: _Head, montage: _Montage, n_times: int, sfreq: float
) -> np.ndarray:
    """Draw the signal of a trial, ``(n_chans, n_times)`` in uV."""
    n_fast = next_fast_len(n_times, real=True)
    hz = rfftfreq(n_fast, 1.0 / sfreq)
    # White noise is white in the frequency domain, too, where it is drawn: real, imaginary.
    white = rng.standard_normal((len(montage.x), 2 * len(hz)))
    spectrum = (montage.mixing @ white).view(np.complex128)
    spectrum *= _density(trial, montage, hz) * np.sqrt(n_fast * sfreq / 4.0)
    signal = irfft(spectrum, n_fast, overwrite_x=True)[:, :n_times]
    blinks = _blinks(rng, trial, n_times, sfreq)
    seen = np.exp(np.minimum(montage.y - 0.95, 0.0) / 0.25) * np.exp(trial.log_gain)
    near = np.flatnonzero(seen > 1e-3)
    signal[near] += seen[near, None] * blinks
    channels = signal[list(montage.plus)]
    for channel, electrode in enumerate(montage.minus):
        if electrode >= 0:
            channels[channel] -= signal[electrode]
    return channels


def _density(trial: _Head, montage: _Montage, hz: np.ndarray) -> np.ndarray:
    """Return the amplitude density ``(n_electrodes, n_hz)`` in uV per root Hz."""
    slow = np.maximum(hz, _KNOTS_HZ[0])
    background = np.exp(2 * np.interp(np.log(slow), np.log(_KNOTS_HZ), trial.background))
    centre = float(np.clip(trial.alpha_hz, *_ALPHA_LIMITS))
    alpha = _ALPHA_PEAK * np.exp(-0.5 * ((hz - centre) / _ALPHA_WIDTH) ** 2)
    theta = _THETA_PEAK * np.exp(-0.5 * ((hz - _THETA_HZ) / _THETA_WIDTH) ** 2)
    at_back = (0.65 - 0.35 * np.clip(montage.y, -1.0, 1.0)) ** 2
    at_midline = np.exp(-0.5 * (montage.x**2 + (montage.y - 0.5) ** 2) / 0.3**2)
    shares = np.stack(
        [
            np.ones_like(at_back),
            at_back * np.exp(trial.log_alpha),
            at_midline * np.exp(trial.log_theta),
        ]
    )
    shares *= np.exp(2 * trial.log_gain)
    power = shares.T @ np.stack([background, alpha, theta])
    power[:, 0] = 0.0
    return np.sqrt(power, out=power)


def _blinks(rng: np.random.Generator, trial: _Head, n_times: int, sfreq: float) -> np.ndarray:
    """Draw blinks as the frontal pole sees them, ``(n_times,)`` in uV."""
    pulses = np.zeros(n_times)
    count = rng.poisson(trial.blinks_per_s * n_times / sfreq)
    heights = _BLINK_UV * np.exp(trial.log_blink) * rng.uniform(0.8, 1.2, count)
    np.add.at(pulses, rng.integers(0, n_times, count), heights)
    shape = np.hanning(round(_BLINK_S * sfreq) + 2)[1:-1]
    return np.convolve(pulses, shape)[len(shape) // 2 :][:n_times]
