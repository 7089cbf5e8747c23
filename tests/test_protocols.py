"""Protocols: what a split keeps apart, and when it is refused."""

from __future__ import annotations

import numpy as np
import pytest
from builders import any_windows, folds_of, session, windows_for, windows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook import audit, protocols
from affectbook.errors import ProtocolError
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

NAMES = tuple(PROTOCOLS)
HONEST = tuple(name for name, protocol in PROTOCOLS.items() if not protocol.as_published)
quick = settings(max_examples=20, deadline=None)
every = pytest.mark.parametrize("name", NAMES)
honest = pytest.mark.parametrize("name", HONEST)


@every
@quick
@given(data=st.data())
def test_training_and_test_windows_are_apart(name, data) -> None:
    y, meta = data.draw(windows_for(name))
    for train, test in folds_of(name, y, meta):
        both = np.concatenate([train, test])
        assert len(train) and len(test) and len(set(both)) == len(both)
        assert both.min() >= 0 and both.max() < len(y)
        assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()


IN_PART = ("blocked_within_trial", "group_kfold_subject_and_stimulus")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in IN_PART])
@quick
@given(data=st.data())
def test_every_window_is_tested_once(name, data) -> None:
    y, meta = data.draw(windows_for(name))
    tested = np.concatenate([test for _, test in folds_of(name, y, meta)])
    assert sorted(tested) == list(range(len(y)))


@every
@quick
@given(data=st.data())
def test_two_calls_give_the_same_folds(name, data) -> None:
    y, meta = data.draw(windows_for(name))
    first, second = folds_of(name, y, meta), folds_of(name, y, meta)
    for one, other in zip(first, second, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@honest
@quick
@given(data=st.data())
def test_honest_protocols_pass_the_audit(name, data) -> None:
    y, meta = data.draw(windows_for(name))
    for fold, (train, test) in enumerate(folds_of(name, y, meta)):
        # Without labels: whether a class is missing is up to the data, not to the protocol.
        audit.require(audit.audit(train, test, meta), PROTOCOLS[name], fold)


@every
@quick
@given(drawn=any_windows(subjects=3, windows=4))
def test_a_few_windows_are_split_or_refused_in_one_message(name, drawn) -> None:
    y, meta = drawn
    try:
        folds = list(protocols.get(name).split(y, meta))
    except ProtocolError as error:
        assert str(error).startswith(name.removesuffix("_transductive"))
        assert len(str(error).splitlines()) == 1
    else:
        assert folds


@every
def test_labels_of_another_length_are_refused(name) -> None:
    y, meta = session()
    with pytest.raises(ProtocolError, match="3 labels for 192 windows"):
        next(protocols.get(name).split(y[:3], meta))


def test_what_each_protocol_keeps_apart() -> None:
    y, meta = session()
    for name in ("leave_one_subject_out", "group_kfold_subject"):
        for train, test in folds_of(name, y, meta):
            assert not set(meta["subject"].iloc[train]) & set(meta["subject"].iloc[test])
    trials = trial_ids(meta)
    for name in ("leave_one_trial_out", "leave_one_segment_out"):
        for train, test in folds_of(name, y, meta):
            assert len(set(trials[test])) == 1 and trials[test[0]] not in trials[train]
    for train, test in folds_of("group_kfold_trial", y, meta):
        assert not set(trials[train]) & set(trials[test]) and len(set(trials[test])) > 1
    for name, column in (("group_kfold_stimulus", "trial"), ("leave_one_session_out", "session")):
        for train, test in folds_of(name, y, meta):
            assert not set(meta[column].iloc[train]) & set(meta[column].iloc[test])
            assert set(meta["subject"].iloc[train]) == set(meta["subject"].iloc[test])


def test_the_number_of_folds() -> None:
    y, meta = session()
    assert len(folds_of("leave_one_subject_out", y, meta)) == 4
    assert len(folds_of("group_kfold_subject", y, meta)) == 4, "no more folds than subjects"
    assert len(folds_of("group_kfold_subject", y, meta, n_splits=3)) == 3
    assert len(folds_of("leave_one_trial_out", y, meta)) == 32
    assert len(folds_of("leave_one_segment_out", y, meta)) == 32
    assert len(folds_of("group_kfold_trial", y, meta, n_splits=3)) == 3
    assert len(folds_of("group_kfold_stimulus", y, meta)) == 5
    assert len(folds_of("group_kfold_stimulus", y, meta, n_splits=99)) == 8, "as many as stimuli"
    assert len(folds_of("leave_one_session_out", y, meta)) == 4
    assert len(folds_of("group_kfold_subject_and_stimulus", y, meta)) == 4, "as many as subjects"
    assert len(folds_of("blocked_within_trial", y, meta)) == 1
    assert len(folds_of("shuffled_windows_as_published", y, meta)) == 10
    assert len(folds_of("within_trial_as_published", y, meta)) == 4 * 6, "no more than windows"


def test_one_segment_is_left_out_within_its_own_subject() -> None:
    y, meta = session()
    for train, test in folds_of("leave_one_segment_out", y, meta):
        assert set(meta["subject"].iloc[train]) == set(meta["subject"].iloc[test])


def test_leave_one_trial_out_trains_on_all_other_trials() -> None:
    y, meta = session()
    for train, test in folds_of("leave_one_trial_out", y, meta):
        assert len(train) + len(test) == len(y)


def test_another_seed_shuffles_otherwise() -> None:
    y, meta = session(subjects=8)
    for name in NAMES:
        if protocols.takes(name, "seed"):
            one, other = (folds_of(name, y, meta, seed=seed)[0][1] for seed in (1, 2))
            assert not np.array_equal(one, other), name


def test_within_trials_every_trial_is_on_both_sides() -> None:
    y, meta = session()
    trials = trial_ids(meta)
    for train, test in folds_of("within_trial_as_published", y, meta, n_splits=3):
        assert set(trials[train]) == set(trials[test]) and len(set(trials[test])) == 8


@quick
@given(
    drawn=any_windows(windows=20),
    test_share=st.sampled_from([0.2, 0.3, 0.5]),
    gap_s=st.sampled_from([0.0, 5.0, 10.0, 30.0]),
)
def test_blocks_are_later_and_a_gap_apart(drawn, test_share, gap_s) -> None:
    y, meta = drawn
    ((train, test),) = folds_of("blocked_within_trial", y, meta, test_share=test_share, gap_s=gap_s)
    side = np.full(len(meta), "purged", object)
    side[train], side[test] = "train", "test"
    for _, part in meta.assign(side=side).groupby(trial_ids(meta)):
        tested, trained = part[part["side"] == "test"], part[part["side"] == "train"]
        if len(tested) and len(trained):
            assert tested["start_s"].min() - trained["stop_s"].max() >= gap_s - 1e-9
        first, last = part["start_s"].min(), part["stop_s"].max()
        assert (tested["start_s"] >= last - test_share * (last - first)).all()


@pytest.mark.parametrize("name", ["leave_one_trial_out", "leave_one_segment_out"])
def test_one_trial_of_a_class_is_refused(name) -> None:
    y, meta = windows_of(
        [("S1", "a", 0, 5), ("S1", "b", 0, 5), ("S1", "c", 1, 5), ("S1", "d", 1, 5),
         ("S2", "a", 0, 5), ("S2", "b", 0, 5), ("S2", "c", 1, 5)]
    )  # fmt: skip
    with pytest.raises(ProtocolError, match="subject S2 has 1 trial of class 1") as error:
        next(protocols.get(name).split(y, meta))
    assert "below chance by construction" in str(error.value)
    assert "use group_kfold_subject" in str(error.value)


BY_SUBJECT = ("leave_one_subject_out", "group_kfold_subject", "group_kfold_subject_and_stimulus")


@pytest.mark.parametrize("name", BY_SUBJECT)
def test_one_subject_is_refused(name) -> None:
    y, meta = session(subjects=1)
    with pytest.raises(ProtocolError, match="needs two subjects, found one"):
        next(protocols.get(name).split(y, meta))


def test_too_few_windows_are_refused() -> None:
    y, meta = session(n_trials=1, n_windows=2, subjects=2)
    with pytest.raises(ProtocolError, match="8 windows"):
        next(protocols.get("shuffled_windows_as_published").split(y, meta))
    with pytest.raises(ProtocolError, match="a fold is empty"):
        next(protocols.get("blocked_within_trial").split(y, meta))
    one, meta_one = session(n_windows=1)
    with pytest.raises(ProtocolError, match="one window"):
        next(protocols.get("within_trial_as_published").split(one, meta_one))


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("group_kfold_subjects", "group_kfold_subject"),
        ("leave_one_subject", "leave_one_subject_out"),
        ("shuffled_windows", "shuffled_windows_as_published"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong, meant) -> None:
    with pytest.raises(ProtocolError, match=f"did you mean {meant}") as error:
        protocols.get(wrong)
    assert all(name in str(error.value) for name in NAMES)


def test_a_name_like_nothing_is_answered_with_all_names() -> None:
    with pytest.raises(ProtocolError) as error:
        protocols.get("xyz")
    assert "did you mean" not in str(error.value)
    assert all(name in str(error.value) for name in NAMES)


@every
def test_an_unknown_option_is_refused(name) -> None:
    with pytest.raises(ProtocolError, match="takes no option folds"):
        protocols.get(name, folds=3)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("group_kfold_subject", {"n_splits": 1}),
        ("shuffled_windows_as_published", {"n_splits": 0}),
        ("within_trial_as_published", {"n_splits": 1}),
        ("blocked_within_trial", {"test_share": 0.0}),
        ("blocked_within_trial", {"test_share": 1.0}),
        ("blocked_within_trial", {"gap_s": -1.0}),
    ],
)
def test_an_option_out_of_range_is_refused(name, wrong) -> None:
    with pytest.raises(ProtocolError, match=next(iter(wrong))):
        protocols.get(name, **wrong)


def test_options_belong_to_the_copy() -> None:
    protocols.get("group_kfold_subject", n_splits=2)
    assert protocols.get("group_kfold_subject").options == {}
    assert protocols.takes("group_kfold_subject", "n_splits")
    assert not protocols.takes("leave_one_subject_out", "n_splits")


def test_published_names_say_so() -> None:
    for name, protocol in PROTOCOLS.items():
        assert name == protocol.name
        assert name.endswith("_as_published") == protocol.as_published
        assert protocol.generalises_to in (
            SUBJECT, TRIAL, LATER, STIMULUS, SESSION, SUBJECT_AND_STIMULUS,
        )  # fmt: skip
        assert protocol.leaks and protocol.needs


def test_the_table_has_every_protocol() -> None:
    assert tuple(protocols.table()["protocol"]) == NAMES
    assert protocols.table().notna().all(axis=None)


@every
@quick
@given(data=st.data(), seed=st.integers(0, 5))
def test_the_inner_split_stays_inside_training(name, data, seed) -> None:
    y, meta = data.draw(windows_for(name))
    protocol = protocols.get(name)
    for train, test in folds_of(name, y, meta)[:3]:
        inner = protocol.inner(y, meta, train, seed)
        if inner is None:
            continue
        fit, valid = inner
        assert len(fit) and len(valid)
        assert not set(fit) & set(valid)
        assert set(fit) | set(valid) <= set(train)
        assert not (set(fit) | set(valid)) & set(test)
        assert set(y[fit]) == set(y[train]), "training lost a class"


@honest
@quick
@given(data=st.data(), seed=st.integers(0, 5))
def test_the_inner_split_keeps_apart_what_the_protocol_does(name, data, seed) -> None:
    y, meta = data.draw(windows_for(name))
    protocol = protocols.get(name)
    claim = protocol.generalises_to
    claim = SUBJECT if claim == SUBJECT_AND_STIMULUS else claim
    for train, _ in folds_of(name, y, meta)[:3]:
        inner = protocol.inner(y, meta, train, seed)
        if inner is not None:
            assert audit.audit(*inner, meta).problems(claim) == []


@every
def test_the_inner_split_follows_its_seed(name) -> None:
    y, meta = session(subjects=8, n_windows=20)
    protocol = protocols.get(name)
    train, _ = next(protocol.split(y, meta))
    first, again, other = (protocol.inner(y, meta, train, seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (protocol.generalises_to == LATER)


def test_published_protocols_hold_out_a_tenth_of_the_windows() -> None:
    y, meta = session()
    protocol = protocols.get("shuffled_windows_as_published")
    train, _ = next(protocol.split(y, meta))
    fit, valid = protocol.inner(y, meta, train, 0)
    assert len(valid) == np.ceil(len(train) / 10) and len(fit) + len(valid) == len(train)
    assert abs(y[valid].mean() - 0.5) < 0.1


def test_published_protocols_hold_out_a_window_of_each_class_at_least() -> None:
    y, meta = windows_of(("S1", str(label), label, 8) for label in (0, 1, 2))
    protocol = protocols.get("within_trial_as_published", n_splits=3)
    for train, _ in protocol.split(y, meta):
        assert len(train) == 16, "a tenth are two windows for three classes"
        _, valid = protocol.inner(y, meta, train, 0)
        assert set(y[valid]) == {0, 1, 2}


def test_no_inner_split_where_a_class_would_lose_its_last_subject_or_trial() -> None:
    y, meta = windows_of(
        [("S1", "a", 0, 6), ("S1", "b", 1, 6), ("S2", "a", 0, 6), ("S3", "a", 0, 6)]
    )
    protocol = protocols.get("leave_one_subject_out")
    assert protocol.inner(y, meta, np.flatnonzero(meta["subject"] != "S2"), 0) is None
    assert protocol.inner(y, meta, np.flatnonzero(meta["subject"] != "S1"), 0) is not None
    y, meta = session(n_trials=2, subjects=1)
    protocol = protocols.get("leave_one_trial_out")
    for train, _ in protocol.split(y, meta):
        assert protocol.inner(y, meta, train, 0) is None


def test_no_inner_split_where_a_trial_is_too_short_for_a_second_one() -> None:
    y, meta = session(n_windows=6)
    protocol = protocols.get("blocked_within_trial")
    train, _ = next(protocol.split(y, meta))
    assert protocol.inner(y, meta, train, 0) is None
