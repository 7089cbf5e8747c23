"""Simulated ECG with known answers: what states do to it, and how people differ.

A heart rate with slow (LF, 0.1 Hz) and respiratory (HF) variability gives a series of RR
intervals; along each beat five Gaussian waves P, Q, R, S, T are drawn, as in McSharry et al.
2003, "A dynamical model for generating synthetic electrocardiogram signals"; coloured noise with
baseline wander is added. A state is a named condition, or a place on the axes of valence and
arousal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from affectbook.errors import ParameterError
from affectbook.simulate.affect import Affect

State = str | Affect | None
MAX_DIAL = 3.0
WAVES = ("P", "Q", "R", "S", "T")
# Waves of a beat at 60 bpm: amplitude in mV, centre and width in seconds from the R peak.
_AMPLITUDE = np.array([0.12, -0.10, 1.10, -0.22, 0.30])
_CENTRE = np.array([-0.17, -0.028, 0.0, 0.030, 0.27])
_WIDTH = np.array([0.026, 0.009, 0.011, 0.010, 0.045])
# Spectrum of the noise: log amplitude density at knots in Hz; wander on the left.
_KNOTS_HZ = np.array([0.05, 0.15, 0.4, 1.0, 2.5, 5, 9, 14, 20, 27, 35, 45, 70, 350])
_NOISE = np.log([0.3, 0.15, 0.05, 0.01, 4e-3, 3e-3, 3e-3, 3e-3, 3e-3, 3e-3, 3e-3, 3e-3, 2e-3, 1e-3])


@dataclass(frozen=True)
class _Heart:
    """What one trial of one person is drawn from."""

    rate_bpm: float
    lf: float
    hf: float
    breath_hz: float
    log_gain: np.ndarray
    log_width: np.ndarray
    shift_s: np.ndarray
    noise: np.ndarray


@dataclass(frozen=True)
class _Change:
    """What a condition does at effect 1: bpm added, and natural logs of factors."""

    rate_bpm: float = 0.0
    lf: float = 0.0
    hf: float = 0.0
    p: float = 0.0
    t: float = 0.0


# That stress speeds the heart up and steadies it is what mental arithmetic does in eegmat (77 to
# 90 bpm, RMSSD 73 to 30 ms). The other signs and all sizes are choices, large enough to be
# learnt across people in spite of fingerprint 1.
_CHANGES = {
    "baseline": _Change(),
    "stress": _Change(rate_bpm=25.0, lf=-0.3, hf=-0.9, p=0.1, t=-0.9),
    "amusement": _Change(rate_bpm=8.0, lf=0.3, hf=0.4, p=0.6, t=0.8),
    "meditation": _Change(rate_bpm=-7.0, lf=-0.2, hf=0.5, t=0.1),
}
CONDITIONS = tuple(_CHANGES)
# The same for one unit of arousal and of valence: arousal speeds the heart up and steadies it as
# stress does; what valence does is a choice, and shows in the waves.
_OF_AROUSAL = _Change(rate_bpm=12.0, lf=-0.1, hf=-0.5, p=0.1, t=-0.35)
_OF_VALENCE = _Change(rate_bpm=-3.0, lf=0.2, hf=0.3, p=0.4, t=0.6)


@dataclass(frozen=True)
class Population:
    """How the hearts of a group of people differ from others'.

    Attributes
    ----------
    rate_bpm : float
        Added to the heart rate at rest.
    lf, hf : float
        Natural logs of factors on slow and respiratory variability.
    response : float
        Factor on what a state does to rate and variability; the waves respond as everybody's.
    """

    rate_bpm: float = 0.0
    lf: float = 0.0
    hf: float = 0.0
    response: float = 1.0


GENERAL = Population()
# Less variability and a blunted response, as autonomic ageing shows; the sizes are choices.
IMPAIRED = Population(rate_bpm=7.0, lf=-0.5, hf=-0.8, response=0.35)

_REST = _Heart(
    rate_bpm=68.0,
    lf=0.035,
    hf=0.03,
    breath_hz=0.25,
    log_gain=np.zeros(5),
    log_width=np.zeros(5),
    shift_s=np.zeros(5),
    noise=_NOISE,
)


def session_plan(
    subject_index: int,
    blocks: Sequence[tuple[State, float]],
    *,
    gap_s: float,
    seed: int = 0,
) -> list[tuple[State, float]]:
    """Return the blocks in the order of one subject, with a gap before, between and after them.

    Parameters
    ----------
    subject_index
        Orders differ between subjects, so that time does not give the condition away.
    blocks
        State and length in seconds of each block.
    gap_s
        Length of a gap in seconds; its state is None.
    seed
        Same seed, same order.
    """
    order = _rng(seed, subject_index, 0).permutation(len(blocks))
    plan: list[tuple[State, float]] = [(None, gap_s)]
    for position in order:
        plan += [blocks[position], (None, gap_s)]
    return plan


def ecg_subject(
    subject_index: int,
    plan: Sequence[tuple[State, float]],
    *,
    sfreq: float,
    effect: float = 1.0,
    fingerprint: float = 1.0,
    seed: int = 0,
    population: Population = GENERAL,
) -> tuple[np.ndarray, list[tuple[str | Affect, float, float]]]:
    """Return the ECG of one subject through a session.

    Parameters
    ----------
    subject_index
        Who; a subject does not depend on how many others are made.
    plan
        State (one of `CONDITIONS`, an `Affect`, None for a gap) and length in seconds, in order.
    sfreq
        Sampling rate in Hz.
    effect, fingerprint
        The two dials, 0 to 3.
    seed
        Same seed, same bytes.
    population
        The group that the subject belongs to.

    Returns
    -------
    signal : numpy.ndarray
        ``(n_times,)`` float64, in mV.
    blocks : list of tuple
        State, first and last second of each block; gaps are left out.

    Raises
    ------
    ParameterError
        If a dial is out of range or a condition is unknown.
    """
    _check(subject_index, plan, sfreq, effect, fingerprint, seed)
    person = _of(population, _person(_rng(seed, subject_index, 1), fingerprint))
    edges = np.rint(np.cumsum([0.0, *(seconds for _, seconds in plan)]) * sfreq).astype(int)
    pieces, blocks = [], []
    for position, (state, _) in enumerate(plan):
        rng = _rng(seed, subject_index, 2 + position)
        trial = _trial(rng, person, fingerprint)
        trial = _changed(trial, _change(state, population.response), effect)
        start, stop = edges[position : position + 2]
        pieces.append(_draw(rng, trial, int(stop - start), sfreq))
        if state is not None:
            blocks.append((state, start / sfreq, stop / sfreq))
    return np.concatenate(pieces), blocks


def second_lead(ecg: np.ndarray, subject_index: int, *, sfreq: float, seed: int = 0) -> np.ndarray:
    """Return another lead of the same heart: the waves turned, with noise of its own.

    Parameters
    ----------
    ecg
        ``(n_times,)`` in mV, from `ecg_subject`.
    subject_index, seed
        How far the heart's axis is turned is the subject's own.
    sfreq
        In Hz.

    Returns
    -------
    numpy.ndarray
        ``(n_times,)`` float64, in mV.
    """
    rng = _rng(seed, subject_index, _LEAD)
    gain, lag = rng.uniform(0.4, 0.8), round(rng.uniform(0.004, 0.016) * sfreq)
    # A lead seen from aside is smaller and in part a derivative of the first one.
    turned = gain * ecg + rng.uniform(-0.3, 0.3) * (ecg - np.roll(ecg, lag))
    return turned + _noise(rng, _NOISE, len(ecg), sfreq)


_LEAD = 9004


def _rng(seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, *stream])


def _check(
    subject_index: int,
    plan: Sequence[tuple[State, float]],
    sfreq: float,
    effect: float,
    fingerprint: float,
    seed: int,
) -> None:
    for name, dial in (("effect", effect), ("fingerprint", fingerprint)):
        if not 0.0 <= dial <= MAX_DIAL:
            raise ParameterError(f"{name} = {dial}; it goes from 0 to {MAX_DIAL:g}")
    if seed < 0 or subject_index < 0:
        raise ParameterError(f"seed {seed} and subject {subject_index} must not be negative")
    if not sfreq >= 100:
        raise ParameterError(f"sfreq = {sfreq} Hz; waves of an ECG need 100 Hz or more")
    if not plan:
        raise ParameterError("the plan is empty; it needs at least one block")
    for state, seconds in plan:
        if not (state is None or isinstance(state, Affect) or state in _CHANGES):
            known = ", ".join(CONDITIONS)
            raise ParameterError(f"unknown condition {state!r}; known: {known}, or an Affect")
        if not seconds * sfreq >= 1:
            raise ParameterError(f"a block of {seconds} s at {sfreq} Hz holds no sample")


def _person(rng: np.random.Generator, fingerprint: float) -> _Heart:
    """Draw a person: heart rate, its variability, waves, and noise of the electrodes."""
    draw = _Draw(rng, fingerprint)
    return replace(
        _REST,
        rate_bpm=_REST.rate_bpm + float(draw(6.0)),
        lf=_REST.lf * float(np.exp(draw(0.15))),
        hf=_REST.hf * float(np.exp(draw(0.15))),
        breath_hz=_REST.breath_hz * float(np.exp(draw(0.12))),
        log_gain=draw(0.15) + draw([0.12, 0.30, 0.10, 0.30, 0.10]),
        log_width=draw([0.10, 0.08, 0.08, 0.08, 0.10]),
        shift_s=draw([0.008, 0.002, 0.0, 0.002, 0.012]),
        noise=_REST.noise + draw(0.3) + draw(np.full(_NOISE.shape, 0.5)),
    )


def _trial(rng: np.random.Generator, person: _Heart, fingerprint: float) -> _Heart:
    """Draw what sets one trial of a person apart, whatever its condition."""
    draw = _Draw(rng, fingerprint)
    return replace(
        person,
        rate_bpm=person.rate_bpm + float(draw(2.0)),
        log_gain=person.log_gain + draw([0.06, 0.15, 0.05, 0.15, 0.05]),
        log_width=person.log_width + draw([0.04, 0.04, 0.04, 0.04, 0.04]),
        shift_s=person.shift_s + draw([0.004, 0.001, 0.0, 0.001, 0.005]),
        noise=person.noise + draw(0.2) + draw(np.full(_NOISE.shape, 0.6)),
    )


class _Draw:
    """Normal numbers of given spread, cut at two standard deviations, times the dial."""

    def __init__(self, rng: np.random.Generator, dial: float) -> None:
        self._rng, self._dial = rng, dial

    def __call__(self, spread: float | Sequence[float] | np.ndarray) -> np.ndarray:
        spread = np.asarray(spread)
        return self._dial * spread * np.clip(self._rng.standard_normal(spread.shape), -2.0, 2.0)


def _of(population: Population, person: _Heart) -> _Heart:
    """Return a person as one of a population."""
    return replace(
        person,
        rate_bpm=person.rate_bpm + population.rate_bpm,
        lf=person.lf * float(np.exp(population.lf)),
        hf=person.hf * float(np.exp(population.hf)),
    )


def _change(state: State, response: float) -> _Change:
    """Return what a state does at effect 1, rate and variability by the factor `response`."""
    if isinstance(state, Affect):
        parts = {
            name: state.arousal * getattr(_OF_AROUSAL, name)
            + state.valence * getattr(_OF_VALENCE, name)
            for name in ("rate_bpm", "lf", "hf", "p", "t")
        }
        change = _Change(**parts)
    else:
        change = _CHANGES[state or "baseline"]
    return replace(
        change,
        rate_bpm=response * change.rate_bpm,
        lf=response * change.lf,
        hf=response * change.hf,
    )


def _changed(trial: _Heart, change: _Change, effect: float) -> _Heart:
    """Let a state act on a trial."""
    return replace(
        trial,
        rate_bpm=trial.rate_bpm + effect * change.rate_bpm,
        lf=trial.lf * float(np.exp(effect * change.lf)),
        hf=trial.hf * float(np.exp(effect * change.hf)),
        log_gain=trial.log_gain + effect * np.array([change.p, 0.0, 0.0, 0.0, change.t]),
    )


def _draw(rng: np.random.Generator, trial: _Heart, n_times: int, sfreq: float) -> np.ndarray:
    """Draw the signal of a trial: beats and noise, ``(n_times,)`` in mV."""
    rr = _rr_series(rng, trial, n_times / sfreq)
    beats = np.cumsum(rr) - rr[0] * (1.0 + rng.random())
    time = np.arange(n_times) / sfreq
    phase = np.interp(time, beats, np.arange(len(beats)))
    # Waves move and widen with the square root of the RR interval, as the QT interval does.
    stretch = np.sqrt(np.interp(time, beats, rr))
    signal = _noise(rng, trial.noise, n_times, sfreq)
    amplitude, width = _AMPLITUDE * np.exp(trial.log_gain), _WIDTH * np.exp(trial.log_width)
    for height, centre, sigma in zip(amplitude, _CENTRE + trial.shift_s, width, strict=True):
        away = phase - centre / stretch
        away -= np.rint(away)
        away *= stretch
        away *= away
        away *= -0.5 / sigma**2
        signal += height * np.exp(away, out=away)
    return signal


def _rr_series(rng: np.random.Generator, trial: _Heart, seconds: float) -> np.ndarray:
    """Draw RR intervals in seconds, enough for `seconds`, with LF and HF variability."""
    rate_hz = max(trial.rate_bpm, 30.0) / 60.0
    n_beats = int(np.ceil(1.3 * seconds * rate_hz)) + 8
    hz = np.fft.rfftfreq(n_beats, 1.0 / rate_hz)
    change = np.zeros(n_beats)
    for spread, centre, width in ((trial.lf, 0.1, 0.03), (trial.hf, trial.breath_hz, 0.04)):
        shape = np.exp(-0.5 * ((hz - centre) / width) ** 2)
        shape[0] = 0.0
        shape *= np.sqrt(n_beats / (2.0 * max(np.sum(shape**2), 1e-12)))
        change += spread * np.fft.irfft(shape * np.fft.rfft(rng.standard_normal(n_beats)), n_beats)
    return np.clip(1.0 + change, 0.5, 1.5) / rate_hz


def _noise(
    rng: np.random.Generator, log_density: np.ndarray, n_times: int, sfreq: float
) -> np.ndarray:
    """Draw noise whose log amplitude density (mV per root Hz) is given at the knots."""
    n_fast = next_fast_len(n_times, real=True)
    hz = rfftfreq(n_fast, 1.0 / sfreq)
    hz[0] = hz[1]
    density = np.exp(np.interp(np.log(hz), np.log(_KNOTS_HZ), log_density))
    density[0] = 0.0
    white = rfft(rng.standard_normal(n_fast))
    return irfft(white * density * np.sqrt(sfreq / 2.0), n_fast)[:n_times]
