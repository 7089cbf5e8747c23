"""What a simulated trial feels like: valence and arousal, and what a subject reports of them.

The axes are those of Russell 1980, "A circumplex model of affect". Places of emotions on them and
the spread of reports are choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from affectbook.errors import ParameterError


class Affect(NamedTuple):
    """A state on the two axes, each from -1 to 1."""

    valence: float
    arousal: float


EMOTIONS = {
    "neutral": Affect(0.0, 0.0),
    "happy": Affect(0.9, 0.4),
    "angry": Affect(-0.6, 0.8),
    "tense": Affect(-0.3, 0.9),
    "sad": Affect(-0.8, -0.3),
    "bored": Affect(-0.3, -0.8),
    "relaxed": Affect(0.5, -0.7),
    "fearful": Affect(-0.9, 0.7),
    "surprised": Affect(0.4, 0.9),
}
"""Where emotions lie; data sets name theirs in their own words."""

# What a reported dimension takes from valence and arousal, and how much else is in it.
_REPORTED = {
    "valence": (1.0, 0.0, 0.12),
    "arousal": (0.0, 1.0, 0.12),
    "dominance": (0.4, -0.2, 0.4),
    "liking": (0.7, 0.1, 0.35),
    "familiarity": (0.0, 0.0, 0.6),
}
_QUADRANTS = ((1, 1), (-1, 1), (1, -1), (-1, -1))
# Own streams of the generator, apart from those of the signals.
_STIMULI, _FELT, _REPORT, _STYLE = 9001, 9002, 9003, 9005


def stimuli(n_trials: int, *, seed: int = 0) -> tuple[Affect, ...]:
    """Return what each stimulus is made to evoke, the same for everybody, even over quadrants."""
    rng = np.random.default_rng([seed, _STIMULI])
    sizes = rng.uniform(0.3, 1.0, (n_trials, 2))
    signs = np.array([_QUADRANTS[trial % 4] for trial in rng.permutation(n_trials)])
    return tuple(Affect(*pair) for pair in (sizes * signs.reshape(sizes.shape)).tolist())


def felt(stimulus: Affect, subject_index: int, trial_index: int, *, seed: int = 0) -> Affect:
    """Return what one subject feels at a stimulus: nearly what it was made to evoke."""
    rng = np.random.default_rng([seed, subject_index, _FELT, trial_index])
    own = np.array(stimulus) + 0.25 * np.clip(rng.standard_normal(2), -2, 2)
    return Affect(*np.clip(own, -1.0, 1.0).tolist())


def self_report(
    state: Affect,
    dimensions: Sequence[str],
    low: float,
    high: float,
    subject_index: int,
    trial_index: int,
    *,
    whole: bool = False,
    seed: int = 0,
) -> dict[str, float]:
    """Return how a subject rates a state.

    People use a scale in their own ways: some never touch its ends, some lean to one side. That is
    drawn once for each subject and dimension.

    Parameters
    ----------
    state
        What is felt: `felt`.
    dimensions
        Of valence, arousal, dominance, liking, familiarity.
    low, high
        Ends of the rating scale.
    subject_index, trial_index, seed
        Whose report of what; same numbers, same report.
    whole
        Round to whole numbers.

    Raises
    ------
    ParameterError
        If a dimension is unknown.
    """
    unknown = [name for name in dimensions if name not in _REPORTED]
    if unknown:
        raise ParameterError(f"unknown dimensions {unknown}; known: {', '.join(_REPORTED)}")
    styles = _styles(subject_index, seed)
    rng = np.random.default_rng([seed, subject_index, _REPORT, trial_index])
    noise = dict(zip(_REPORTED, rng.standard_normal(len(_REPORTED)).tolist(), strict=True))
    report = {}
    for name in dimensions:
        of_valence, of_arousal, spread = _REPORTED[name]
        place = of_valence * state.valence + of_arousal * state.arousal + spread * noise[name]
        width, lean = styles[name]
        place = width * float(np.clip(place, -1, 1)) + lean * (1 - width)
        value = low + (high - low) * (place + 1) / 2
        report[name] = float(round(value)) if whole else value
    return report


def _styles(subject_index: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return how much of the scale a subject uses, and where, from -1 to 1, by dimension."""
    rng = np.random.default_rng([seed, subject_index, _STYLE])
    drawn = rng.uniform((0.55, -1.0), (1.0, 1.0), (len(_REPORTED), 2))
    return dict(zip(_REPORTED, map(tuple, drawn.tolist()), strict=True))
