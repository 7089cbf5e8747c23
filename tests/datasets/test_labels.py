"""Label rules: every rating on the right side of every edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectbook.datasets.labels import LOWEST, LabelRule, RatingRule, high_low, levels, quadrants
from affectbook.datasets.recording import Recording


def recording(condition: str | None = None, **ratings: float) -> Recording:
    signal = np.zeros((1, 4), np.float32)
    return Recording(signal, 1.0, ("ECG",), "mV", "S1", "1", "1", condition, ratings)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (high_low("valence", ">=", 3), [0, 0, 1, 1, 1]),
        (high_low("valence", ">", 3), [0, 0, 0, 1, 1]),
        (levels("valence", (2, 4), ""), [0, 1, 1, 2, 2]),
        (levels("valence", (2, 3, 4, 5), ""), [0, 1, 2, 3, 4]),
    ],
)
def test_whole_ratings_of_one_to_five(rule, expected):
    found = [rule.label(recording(valence=value)) for value in (1, 2, 3, 4, 5)]
    assert found == expected and len(rule.classes) == max(expected) + 1


def test_quadrants_are_numbered_as_published():
    rule = quadrants(">=", 3)
    ends = [(1, 1), (1, 5), (5, 1), (5, 5)]
    assert [rule.label(recording(valence=v, arousal=a)) for v, a in ends] == [0, 1, 2, 3]
    assert rule.classes[1] == "low valence, high arousal" and rule.target == "quadrant"
    assert rule.label(recording(valence=3, arousal=3)) == 3
    assert quadrants(">", 3).label(recording(valence=3, arousal=3)) == 0


def test_the_shift_takes_the_lowest_off():
    shifted = RatingRule(
        "shifted", tuple("12345"), {"valence": (1, 2, 3, 4)}, "", "valence", shifted=True
    )
    lowest = {LOWEST.format("valence"): 2.0}
    assert [shifted.label(recording(valence=v, **lowest)) for v in (2, 3, 4, 5)] == [0, 1, 2, 3]
    assert shifted.label(recording(valence=4)) is None, "without the lowest nothing is known"


@given(
    st.lists(st.floats(1, 9), min_size=1, max_size=4, unique=True).map(sorted),
    st.floats(1, 9), st.booleans(),
)  # fmt: skip
def test_a_class_counts_the_edges_below(edges, value, closed):
    classes = tuple(map(str, range(len(edges) + 1)))
    rule = RatingRule("any", classes, {"valence": tuple(edges)}, "", "valence", closed)
    label = rule.label(recording(valence=value))
    assert label == sum(value >= e if closed else value > e for e in edges)
    assert rule.classes[label] == str(label)


@given(st.floats(1, 9), st.floats(1, 9))
def test_the_relations_differ_at_the_threshold_only(value, threshold):
    both = [high_low("arousal", relation, threshold) for relation in (">", ">=")]
    labels = [rule.label(recording(arousal=value)) for rule in both]
    assert (labels[0] != labels[1]) == (value == threshold)


def test_a_missing_rating_is_left_out():
    rule = quadrants(">", 5)
    assert rule.label(recording(valence=7)) is None
    assert rule.label(recording(valence=7, arousal=float("nan"))) is None
    assert rule.reads == "ratings ['arousal', 'valence']"


def test_names_say_what_is_done():
    rule = high_low("valence", ">=", 4.5)
    assert (rule.name, rule.target) == ("valence >= 4.5", "valence")
    assert "at least 4.5" in rule.meaning and "more than" in high_low("valence", ">", 3).meaning
    assert levels("arousal", (2, 4), "").name == "arousal in 3"


def test_a_condition_that_is_not_listed_is_left_out():
    rule = LabelRule("two", ("calm", "tense"), {"rest": "calm", "exam": "tense"}, "")
    labels = [rule.label(recording(name)) for name in ("rest", "exam", "lunch", None)]
    assert labels == [0, 1, None, None] and rule.reads == "conditions ['exam', 'rest']"
