"""Simulated ECG of twelve leads: the same waves, each along its own direction in the body.

The heart is one dipole in three dimensions. Each wave of a beat pulls it along a direction, as a
Gaussian in time (R. Sameni et al., "Multichannel ECG and Noise Modeling: Application to Maternal
and Fetal ECG Signals", EURASIP Journal on Advances in Signal Processing, 2007, doi
10.1155/2007/43407); a matrix makes eight leads of the dipole (G. E. Dower et al., "On deriving the
electrocardiogram from vectorcardiographic leads", Clinical Cardiology 3, 1980, doi
10.1002/clc.1980.3.2.87), and the other four follow from two of them. Rhythm, waves and states are
those of `affectbook.simulate.ecg`. Directions, and how people differ in them, are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from affectbook.simulate import ecg
from affectbook.simulate.affect import Affect
from affectbook.simulate.ecg import GENERAL, Population, State

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
# Of I, II, V1 to V6: what a dipole (to the left, down, to the back; in mV) gives.
_DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
# Where the dipole points at the peaks of P, Q, R, S, T, in mV. The septum is first, to the right
# and to the front; the base is last, to the back. From V1 to V5 the R wave grows.
_MOMENTS = np.array(
    [
        [0.06, 0.09, -0.02],
        [-0.12, -0.04, -0.18],
        [0.85, 0.75, 0.35],
        [-0.12, -0.16, 0.34],
        [0.22, 0.20, -0.17],
    ]
)
# The same eight leads, of noise at RA, LA, LL, C1 to C6; the chest is measured against the mean
# of the limbs.
_ELECTRODES = np.zeros((8, 9))
_ELECTRODES[0, :2] = -1.0, 1.0
_ELECTRODES[1, [0, 2]] = -1.0, 1.0
_ELECTRODES[2:, :3] = -1.0 / 3.0
_ELECTRODES[2:, 3:] = np.eye(6)
# A lead is a difference of two electrodes, and as noisy as the one lead of `ecg_subject`.
_HALF = -0.5 * np.log(2.0)
# Own streams of the generator: nobody here is a person of `ecg_subject`.
_STREAM = 9006


@dataclass(frozen=True)
class _Body:
    """What one trial of one person is drawn from.

    `moments` is ``(5, 3)`` in mV, `torso` ``(8, 3)``, `log_noise` ``(9,)`` in logs of amplitude.
    """

    heart: ecg._Heart
    moments: np.ndarray
    torso: np.ndarray
    log_noise: np.ndarray


def twelve_leads(
    subject_index: int,
    plan: Sequence[tuple[State, float]],
    *,
    sfreq: float,
    effect: float = 1.0,
    fingerprint: float = 1.0,
    seed: int = 0,
    population: Population = GENERAL,
) -> tuple[np.ndarray, list[tuple[str | Affect, float, float]]]:
    """Return the ECG of twelve leads of one subject through a session.

    Noise is drawn at the electrodes, so that III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2
    and aVF = II - I / 2 hold for all of the signal.

    Parameters
    ----------
    subject_index
        Who; a subject does not depend on how many others are made, and is nobody whom
        `ecg_subject` makes of the same number and seed.
    plan
        State (one of `CONDITIONS`, an `Affect`, None for a gap) and length in seconds, in order.
    sfreq
        Sampling rate in Hz.
    effect, fingerprint
        The two dials, 0 to 3. The heart's place in the body, the directions of its waves, the
        body around it and the electrodes are part of the fingerprint.
    seed
        Same seed, same bytes.
    population
        The group that the subject belongs to.

    Returns
    -------
    signal : numpy.ndarray
        ``(12, n_times)`` float64, in mV, in the order of `LEADS`.
    blocks : list of tuple
        State, first and last second of each block; gaps are left out.

    Raises
    ------
    ParameterError
        If a dial is out of range or a condition is unknown.
    """
    ecg._check(subject_index, plan, sfreq, effect, fingerprint, seed)
    person = _person(ecg._rng(seed, subject_index, _STREAM, 0), fingerprint, population)
    edges = np.rint(np.cumsum([0.0, *(seconds for _, seconds in plan)]) * sfreq).astype(int)
    signal, blocks = np.empty((len(LEADS), edges[-1])), []
    for position, (state, _) in enumerate(plan):
        rng = ecg._rng(seed, subject_index, _STREAM, 1 + position)
        trial = _trial(rng, person, fingerprint)
        change = ecg._change(state, population.response)
        trial = replace(trial, heart=ecg._changed(trial.heart, change, effect))
        start, stop = edges[position : position + 2]
        if stop > start:  # a block of one sample may be rounded away
            signal[:, start:stop] = _draw(rng, trial, int(stop - start), sfreq)
        if state is not None:
            blocks.append((state, start / sfreq, stop / sfreq))
    return signal, blocks


def _person(rng: np.random.Generator, fingerprint: float, population: Population) -> _Body:
    """Draw a person: the heart, how it lies, and the body and electrodes around it."""
    heart = ecg._of(population, ecg._person(rng, fingerprint))
    draw = ecg._Draw(rng, fingerprint)
    size = np.linalg.norm(_MOMENTS, axis=1, keepdims=True)
    return _Body(
        heart,
        _turned(_MOMENTS + size * draw(np.full(_MOMENTS.shape, 0.15)), draw([0.2, 0.2, 0.2])),
        _DOWER + draw(np.full(_DOWER.shape, 0.08)),
        _HALF + draw(np.full(9, 0.3)),
    )


def _trial(rng: np.random.Generator, person: _Body, fingerprint: float) -> _Body:
    """Draw what sets one trial of a person apart: the heart lies a little differently, too."""
    heart = ecg._trial(rng, person.heart, fingerprint)
    draw = ecg._Draw(rng, fingerprint)
    return replace(person, heart=heart, moments=_turned(person.moments, draw([0.04, 0.04, 0.04])))


def _turned(moments: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Return directions ``(5, 3)`` turned about a vector, by its length in radians."""
    return Rotation.from_rotvec(vector).apply(moments)


def _draw(rng: np.random.Generator, trial: _Body, n_times: int, sfreq: float) -> np.ndarray:
    """Draw the signal of a trial: beats and noise, ``(12, n_times)`` in mV."""
    heart = trial.heart
    waves = np.exp(heart.log_gain)[:, None] * _waves(rng, heart, n_times, sfreq)
    noise = np.stack(
        [ecg._noise(rng, heart.noise + gain, n_times, sfreq) for gain in trial.log_noise]
    )
    return _all(trial.torso @ (trial.moments.T @ waves) + _ELECTRODES @ noise)


def _waves(rng: np.random.Generator, heart: ecg._Heart, n_times: int, sfreq: float) -> np.ndarray:
    """Return the course of each wave in time, ``(5, n_times)``, 1 at its peaks."""
    rr = ecg._rr_series(rng, heart, n_times / sfreq)
    beats = np.cumsum(rr) - rr[0] * (1.0 + rng.random())
    time = np.arange(n_times) / sfreq
    phase = np.interp(time, beats, np.arange(len(beats)))
    # Waves move and widen with the square root of the RR interval, as the QT interval does.
    stretch = np.sqrt(np.interp(time, beats, rr))
    away = phase - (ecg._CENTRE + heart.shift_s)[:, None] / stretch
    away -= np.rint(away)
    away *= stretch / (ecg._WIDTH * np.exp(heart.log_width))[:, None]
    return np.exp(-0.5 * away * away)


def _all(eight: np.ndarray) -> np.ndarray:
    """Return twelve leads of I, II and V1 to V6, ``(8, n_times)``."""
    one, two, chest = eight[0], eight[1], eight[2:]
    return np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2, *chest])
