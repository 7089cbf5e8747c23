"""Label rules: how the condition or the ratings of a recording become a class, never implied."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from affectbook.datasets.recording import Recording

LOWEST = "lowest {}"
"""Key of `Recording.ratings` for the lowest rating that a subject gave to any trial."""


@dataclass(frozen=True)
class LabelRule:
    """How the condition of a recording becomes a class.

    Attributes
    ----------
    name : str
        As the parameter `label_rule` spells it.
    classes : tuple of str
        Class names; a class id is a position in this tuple.
    conditions : mapping of str to str
        Condition to class name; a condition that is not listed is left out.
    meaning : str
        One line for the page.
    """

    name: str
    classes: tuple[str, ...]
    conditions: Mapping[str, str]
    meaning: str
    target: str = "condition"

    @property
    def reads(self) -> str:
        """What of a recording the rule reads, in words."""
        return f"conditions {sorted(self.conditions)}"

    def label(self, recording: Recording) -> int | None:
        """Return the class id of a recording, or None where the rule leaves it out."""
        name = self.conditions.get(recording.condition or "")
        return None if name is None else self.classes.index(name)


@dataclass(frozen=True)
class RatingRule:
    """How self-reports become a class: each rating is cut at edges, and the cuts are combined.

    Attributes
    ----------
    name, classes, meaning, target
        As of `LabelRule`. With two ratings the first one counts most: of low and high valence and
        arousal the classes are low-low, low-high, high-low, high-high.
    edges : mapping of str to tuple of float
        Rating to its edges, rising; n edges make n + 1 parts.
    closed : bool
        Whether an edge belongs to the part above it: True is "at least", False "more than".
    shifted : bool
        Whether the lowest rating that the subject gave to any trial is first taken off: what
        published code of HCMNet does in five classes, by mistake.
    """

    name: str
    classes: tuple[str, ...]
    edges: Mapping[str, tuple[float, ...]]
    meaning: str
    target: str
    closed: bool = True
    shifted: bool = False

    @property
    def reads(self) -> str:
        """What of a recording the rule reads, in words."""
        return f"ratings {sorted(self.edges)}"

    def label(self, recording: Recording) -> int | None:
        """Return the class id of a recording, or None where it lacks a rating."""
        label = 0
        for rating, edges in self.edges.items():
            value = recording.ratings.get(rating, math.nan)
            if self.shifted:
                value -= recording.ratings.get(LOWEST.format(rating), math.nan)
            if math.isnan(value):
                return None
            part = sum(value >= edge if self.closed else value > edge for edge in edges)
            label = label * (len(edges) + 1) + part
        return label


_WORDS = {">": "more than", ">=": "at least"}


def high_low(rating: str, relation: str, threshold: float) -> RatingRule:
    """Return the rule of two classes, low and high, such as ``valence > 3``.

    Parameters
    ----------
    rating
        A key of `Recording.ratings`, and the target.
    relation
        ``">"`` or ``">="``: they differ for every trial rated exactly `threshold`.
    threshold
        On the scale of the set.
    """
    return RatingRule(
        f"{rating} {relation} {threshold:g}",
        ("low", "high"),
        {rating: (threshold,)},
        f"high is {_WORDS[relation]} {threshold:g}",
        rating,
        closed=relation == ">=",
    )


def quadrants(relation: str, threshold: float) -> RatingRule:
    """Return the rule of four classes: low and high valence by low and high arousal."""
    return RatingRule(
        f"quadrants {relation} {threshold:g}",
        tuple(f"{v} valence, {a} arousal" for v, a in product(("low", "high"), repeat=2)),
        {"valence": (threshold,), "arousal": (threshold,)},
        f"high is {_WORDS[relation]} {threshold:g} on both axes",
        "quadrant",
        closed=relation == ">=",
    )


def levels(rating: str, edges: tuple[float, ...], meaning: str) -> RatingRule:
    """Return the rule that cuts a rating at several edges; an edge belongs to the part above it."""
    classes = tuple(f"level {number}" for number in range(1, len(edges) + 2))
    name = f"{rating} in {len(classes)}"
    return RatingRule(name, classes, {rating: edges}, meaning, rating)
