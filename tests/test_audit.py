"""The audit counts what a split leaks; the placebo has nothing in it to learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from builders import any_windows, shuffled, windows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook.audit import Audit, audit, placebo_labels, require, standard_error
from affectbook.errors import AuditError
from affectbook.protocols import (
    LATER,
    PROTOCOLS,
    SESSION,
    STIMULUS,
    SUBJECT,
    SUBJECT_AND_STIMULUS,
    TRIAL,
)
from affectbook.windows import trial_ids

CLEAN = Audit(0, 0, 0, 0, 0, 0, ())
HONEST = {name: protocol for name, protocol in PROTOCOLS.items() if not protocol.as_published}
PUBLISHED = {name: protocol for name, protocol in PROTOCOLS.items() if protocol.as_published}


@pytest.fixture
def two_people() -> tuple[np.ndarray, pd.DataFrame]:
    """Two subjects with two trials of four windows each: 0-3, 4-7 and 8-11, 12-15."""
    return windows_of([("S1", "a", 0, 4), ("S1", "b", 1, 4), ("S2", "a", 0, 4), ("S2", "b", 1, 4)])


def test_nothing_shared_is_clean(two_people) -> None:
    y, meta = two_people
    assert audit(np.arange(8), np.arange(8, 16), meta, y) == Audit(**vars(CLEAN)
                                                                   | {"shared_stimuli": 2})
    meta["trial"] = meta["subject"] + meta["trial"]
    assert audit(np.arange(8), np.arange(8, 16), meta, y) == CLEAN


def test_shared_stimuli_are_trials_of_one_name_whoever_had_them(two_people) -> None:
    _, meta = two_people
    assert audit(np.arange(4), np.arange(8, 16), meta).shared_stimuli == 1
    assert audit(np.arange(4), np.arange(12, 16), meta).shared_stimuli == 0
    assert audit(np.arange(4), np.arange(4, 8), meta).shared_stimuli == 0


def test_shared_sessions_are_those_of_one_subject(two_people) -> None:
    _, meta = two_people
    assert audit(np.arange(8), np.arange(8, 16), meta).shared_sessions == 0
    assert audit(np.r_[0:4, 8:12], np.r_[4:8, 12:16], meta).shared_sessions == 2
    meta["session"] = np.where(meta["trial"] == "a", "1", "2")
    assert audit(np.r_[0:4, 8:12], np.r_[4:8, 12:16], meta).shared_sessions == 0


def test_shared_subjects_and_trials_are_counted(two_people) -> None:
    y, meta = two_people
    same_subject = audit(np.arange(4), np.arange(4, 8), meta)
    assert (same_subject.shared_subjects, same_subject.shared_trials) == (1, 0)
    same_trials = audit(np.array([0, 1, 8, 9]), np.array([2, 3, 10, 11]), meta)
    assert (same_trials.shared_subjects, same_trials.shared_trials) == (2, 2)


def test_trials_of_one_name_are_not_shared_between_subjects(two_people) -> None:
    _, meta = two_people
    assert audit(np.arange(4), np.arange(8, 12), meta).shared_trials == 0


def test_overlapping_samples_are_counted() -> None:
    _, meta = windows_of([("S1", "a", 0, 6)], overlap=0.5)
    assert audit(np.array([0, 1, 2]), np.array([3, 4, 5]), meta).overlapping_windows == 1
    assert audit(np.array([0, 2, 4]), np.array([1, 3, 5]), meta).overlapping_windows == 3
    assert audit(np.array([0]), np.array([2, 3]), meta).overlapping_windows == 0, "they only touch"


@pytest.mark.parametrize("name", ["fitted_on", "selected_on"])
def test_test_windows_that_were_looked_at_are_counted(two_people, name) -> None:
    _, meta = two_people
    report = audit(np.arange(8), np.arange(8, 16), meta, **{name: np.array([0, 1, 8, 9, 9, 10])})
    found = {"fitted_on": report.fitted_on_test, "selected_on": report.selected_on_test}
    assert found.pop(name) == 3 and set(found.values()) == {0}


def test_subjects_of_pretraining_are_counted(two_people) -> None:
    _, meta = two_people
    split = (np.arange(8), np.arange(8, 16), meta)
    assert audit(*split, pretrained_on=["S1", "S7"]).pretrained_subjects == 0
    assert audit(*split, pretrained_on=["S2", "S2", "S7"]).pretrained_subjects == 1


def test_classes_that_training_never_saw_are_named(two_people) -> None:
    y, meta = two_people
    report = audit(np.arange(4), np.arange(8, 16), meta, y)
    assert report.missing_classes == (1,)
    assert audit(np.arange(4), np.arange(8, 12), meta, y).missing_classes == ()
    assert audit(np.arange(4), np.arange(8, 16), meta).missing_classes == (), "without labels"


def _overlapping_one_by_one(train: np.ndarray, test: np.ndarray, meta: pd.DataFrame) -> int:
    trials, start, stop = trial_ids(meta), meta["start_s"].to_numpy(), meta["stop_s"].to_numpy()
    return sum(
        any(
            trials[i] == trials[j] and min(stop[i], stop[j]) - max(start[i], start[j]) > 1e-3
            for j in train
        )
        for i in test
    )


@settings(max_examples=80, deadline=None)
@given(
    trials=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    seconds=st.sampled_from([0.5, 2.0, 10.0]),
    overlap=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    sides=st.integers(0, 2**16),
)
def test_overlaps_agree_with_looking_at_every_pair(trials, seconds, overlap, sides) -> None:
    plan = [(f"S{i // 2}", f"t{i}", 0, n) for i, n in enumerate(trials)]
    _, meta = shuffled(*windows_of(plan, seconds, overlap), seed=sides)
    side = np.random.default_rng(sides).integers(0, 3, len(meta))  # 2: on neither side
    train, test = np.flatnonzero(side == 0), np.flatnonzero(side == 1)
    found = audit(train, test, meta).overlapping_windows
    assert found == _overlapping_one_by_one(train, test, meta)


def test_windows_of_other_lengths_in_one_trial() -> None:
    _, meta = windows_of([("S1", "a", 0, 4)])
    meta[["start_s", "stop_s"]] = [[0.0, 100.0], [10.0, 20.0], [50.0, 60.0], [100.0, 110.0]]
    assert audit(np.array([0]), np.array([1, 2, 3]), meta).overlapping_windows == 2
    assert audit(np.array([1, 2, 3]), np.array([0]), meta).overlapping_windows == 1


NEW_SUBJECT = {SUBJECT, SUBJECT_AND_STIMULUS}
EARLIER = {SUBJECT, TRIAL, STIMULUS, SESSION, SUBJECT_AND_STIMULUS}
ALL = EARLIER | {LATER}
LEAKS = {
    "shared_subjects": (3, NEW_SUBJECT, "subjects on both sides: 3"),
    "shared_trials": (4, EARLIER, "trials on both sides: 4"),
    "overlapping_windows": (5, ALL, "test windows with training samples: 5"),
    "fitted_on_test": (6, ALL, "test windows used to fit statistics: 6"),
    "selected_on_test": (7, ALL, "test windows used for selection: 7"),
    "pretrained_subjects": (8, NEW_SUBJECT, "test subjects seen in pretraining: 8"),
    "missing_classes": ((1, 2), ALL, "classes missing in training: (1, 2)"),
    "shared_stimuli": (9, {STIMULUS, SUBJECT_AND_STIMULUS}, "stimuli on both sides: 9"),
    "shared_sessions": (10, {SESSION}, "sessions on both sides: 10"),
}


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("protocol", HONEST.values(), ids=list(HONEST))
def test_an_honest_protocol_may_not_leak_what_it_claims(protocol, leak) -> None:
    found, matters_to, words = LEAKS[leak]
    report = Audit(**(vars(CLEAN) | {leak: found}))
    allowed = leak == "pretrained_subjects" and protocol.transductive
    if protocol.generalises_to in matters_to and not allowed:
        with pytest.raises(AuditError) as error:
            require(report, protocol, 3)
        assert words in str(error.value)
        assert protocol.name in str(error.value) and "fold 3" in str(error.value)
        assert protocol.generalises_to in str(error.value)
    else:
        require(report, protocol)


@pytest.mark.parametrize("protocol", PUBLISHED.values(), ids=list(PUBLISHED))
def test_a_published_protocol_is_let_through_with_all_its_leaks(protocol) -> None:
    worst = Audit(**{leak: found for leak, (found, *_) in LEAKS.items()})
    require(worst, protocol)
    assert worst.problems(protocol.generalises_to)


def test_the_placebo_is_one_toss_per_trial() -> None:
    _, meta = windows_of((f"S{s}", f"t{t}", 0, 5) for s in range(4) for t in range(6))
    coins = placebo_labels(meta, 0)
    assert coins.dtype == np.int64 and coins.shape == (len(meta),)
    assert (pd.Series(coins).groupby(trial_ids(meta)).nunique() == 1).all()
    assert np.array_equal(coins, placebo_labels(meta, 0))
    assert any(not np.array_equal(coins, placebo_labels(meta, seed)) for seed in (1, 2, 3))


@settings(max_examples=40, deadline=None)
@given(drawn=any_windows(), seed=st.integers(0, 20), per_subject=st.integers(0, 2))
def test_the_placebo_has_both_sides_or_is_refused(drawn, seed, per_subject) -> None:
    _, meta = drawn
    trials = meta.assign(trial_id=trial_ids(meta)).drop_duplicates("trial_id")
    fewest = trials["subject"].value_counts().min()
    if len(trials) < 4 or fewest < 2 * per_subject:
        with pytest.raises(AuditError, match=f"found {len(trials)}"):
            placebo_labels(meta, seed, per_subject)
        return
    coins = placebo_labels(meta, seed, per_subject)
    sides = pd.DataFrame(
        {"coin": coins, "trial": trial_ids(meta), "subject": meta["subject"].values}
    )
    tossed = sides.drop_duplicates("trial")
    assert min((tossed["coin"] == side).sum() for side in (0, 1)) >= 2
    for _, own in tossed.groupby("subject"):
        assert min((own["coin"] == side).sum() for side in (0, 1)) >= per_subject


def test_the_coin_is_fair() -> None:
    _, meta = windows_of((f"S{s}", f"t{t}", 0, 1) for s in range(10) for t in range(4))
    heads = np.mean([placebo_labels(meta, seed).mean() for seed in range(200)])
    assert abs(heads - 0.5) < 4 * standard_error(200 * 40)


def test_the_placebo_does_not_look_at_labels_or_names() -> None:
    _, meta = windows_of((f"S{s}", f"t{t}", t % 2, 3) for s in range(6) for t in range(4))
    renamed = meta.assign(subject=meta["subject"].str.replace("S", "P"))
    assert np.array_equal(placebo_labels(meta, 5), placebo_labels(renamed, 5))


def test_the_standard_error_is_that_of_a_share() -> None:
    assert standard_error(100) == pytest.approx(0.05)
    assert standard_error(45, 1 / 3) == pytest.approx(np.sqrt(2 / 9 / 45))
    draws = np.random.default_rng(0).random((20_000, 50)) < 0.3
    assert standard_error(50, 0.3) == pytest.approx(draws.mean(1).std(), rel=0.03)


def test_many_subjects_with_few_trials_get_their_coins_at_once() -> None:
    rows = [(f"S{s}", "1", str(t), 0, 0.0, 10.0) for s in range(200) for t in range(4)]
    columns = ["subject", "session", "trial", "window", "start_s", "stop_s"]
    meta = pd.DataFrame(rows, columns=columns)
    coins = placebo_labels(meta, 0, per_subject=2)
    assert set(pd.Series(coins).groupby(meta["subject"]).sum()) == {2}
