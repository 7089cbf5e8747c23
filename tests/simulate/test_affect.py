"""What simulated trials evoke, what is felt, and what is reported."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook import simulate
from affectbook.errors import ParameterError

DIMENSIONS = ("valence", "arousal", "dominance", "liking", "familiarity")


def quadrant(state: simulate.Affect) -> tuple[bool, bool]:
    return state.valence > 0, state.arousal > 0


@settings(max_examples=40, deadline=None)
@given(n_trials=st.integers(0, 90), seed=st.integers(0, 2**31))
def test_stimuli_are_even_over_quadrants_and_the_same_for_everybody(n_trials, seed):
    found = simulate.stimuli(n_trials, seed=seed)
    assert len(found) == n_trials and found == simulate.stimuli(n_trials, seed=seed)
    counts = [sum(quadrant(one) == q for one in found) for q in {*map(quadrant, found)}]
    assert not counts or max(counts) - min(counts) <= 1 and len(counts) == min(4, n_trials)
    assert all(0.3 <= abs(value) <= 1 for one in found for value in one)


def test_the_order_of_quadrants_is_not_always_the_same():
    orders = {tuple(map(quadrant, simulate.stimuli(8, seed=seed))) for seed in range(10)}
    assert len(orders) > 5


@settings(max_examples=40, deadline=None)
@given(
    stimulus=st.builds(simulate.Affect, st.floats(-1, 1), st.floats(-1, 1)),
    subject=st.integers(0, 50),
    trial=st.integers(0, 50),
)
def test_what_is_felt_is_near_what_was_to_be_evoked(stimulus, subject, trial):
    state = simulate.felt(stimulus, subject, trial)
    assert state == simulate.felt(stimulus, subject, trial)
    for own, meant in zip(state, stimulus, strict=True):
        assert abs(own) <= 1 and abs(own - meant) <= 0.5 + 1e-9


def test_people_and_trials_feel_differently():
    calm = simulate.Affect(0.0, 0.0)
    states = {simulate.felt(calm, subject, trial) for subject in range(4) for trial in range(4)}
    assert len(states) == 16


@settings(max_examples=60, deadline=None)
@given(
    state=st.builds(simulate.Affect, st.floats(-1, 1), st.floats(-1, 1)),
    scale=st.sampled_from([(1, 9), (1, 5), (0, 100), (-3, 3)]),
    whole=st.booleans(),
    subject=st.integers(0, 50),
    trial=st.integers(0, 50),
)
def test_a_report_lies_on_the_scale(state, scale, whole, subject, trial):
    report = simulate.self_report(state, DIMENSIONS, *scale, subject, trial, whole=whole)
    assert tuple(report) == DIMENSIONS
    assert report == simulate.self_report(state, DIMENSIONS, *scale, subject, trial, whole=whole)
    for value in report.values():
        assert isinstance(value, float) and scale[0] <= value <= scale[1]
        assert not whole or value == round(value)
    alone = simulate.self_report(state, ["arousal"], *scale, subject, trial, whole=whole)
    assert alone == {"arousal": report["arousal"]}, "it does not depend on what else is asked for"


def test_reports_go_with_what_is_felt():
    states, reports = [], []
    for subject in range(20):
        for trial, stimulus in enumerate(simulate.stimuli(16)):
            state = simulate.felt(stimulus, subject, trial)
            states.append(state)
            reports.append(simulate.self_report(state, DIMENSIONS, 1, 9, subject, trial))
    told = {name: [report[name] for report in reports] for name in DIMENSIONS}
    valence, arousal = np.array(states).T
    assert np.corrcoef(told["valence"], valence)[0, 1] > 0.9
    assert np.corrcoef(told["arousal"], arousal)[0, 1] > 0.9
    assert abs(np.corrcoef(told["valence"], arousal)[0, 1]) < 0.2
    assert 0.5 < np.corrcoef(told["liking"], valence)[0, 1] < 0.95
    assert 0.2 < np.corrcoef(told["dominance"], valence)[0, 1] < 0.8
    assert abs(np.corrcoef(told["familiarity"], valence)[0, 1]) < 0.2


def test_an_unknown_dimension_is_one_message():
    with pytest.raises(ParameterError, match=r"\['anger'\]; known: valence"):
        simulate.self_report(simulate.Affect(0, 0), ["valence", "anger"], 1, 9, 0, 0)


def test_emotions_lie_on_the_axes():
    assert all(abs(value) <= 1 for state in simulate.EMOTIONS.values() for value in state)
    assert len(set(simulate.EMOTIONS.values())) == len(simulate.EMOTIONS)
    assert simulate.EMOTIONS["neutral"] == simulate.Affect(0.0, 0.0)
