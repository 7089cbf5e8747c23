"""Splitters of new trials, stimuli and sessions; and protocols that train on less."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from builders import any_windows, crossed, folds_of, session, windows_for, windows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook import audit, protocols
from affectbook.errors import ProtocolError
from affectbook.protocols import PROTOCOLS
from affectbook.windows import trial_ids

quick = settings(max_examples=15, deadline=None)
ON_NEW_STIMULI = ("group_kfold_stimulus", "group_kfold_subject_and_stimulus")


def of_eegmat(subjects: int = 4) -> tuple[np.ndarray, pd.DataFrame]:
    """Return one rest and one task of each subject: what the trial is called is its class."""
    return windows_of(
        (f"S{s}", name, label, 3)
        for s in range(subjects)
        for label, name in enumerate(("rest", "arithmetic"))
    )


def test_trials_are_dealt_out_evenly_of_each_class_of_each_subject() -> None:
    y, meta = session(n_trials=5)
    for train, test in folds_of("group_kfold_trial", y, meta, n_splits=5):
        for side, n_trials in ((train, 4), (test, 1)):
            own = meta.iloc[side].assign(label=y[side])
            assert set(own.groupby(["subject", "label"])["trial"].nunique()) == {n_trials}


@quick
@given(drawn=any_windows(subjects=4, trials=(1, 4)), n_splits=st.integers(2, 6))
def test_folds_of_trials_differ_by_one_trial_at_most(drawn, n_splits) -> None:
    y, meta = drawn
    trials = trial_ids(meta)
    found = folds_of("group_kfold_trial", y, meta, n_splits=n_splits)
    sizes = [len(set(trials[test])) for _, test in found]
    assert max(sizes) - min(sizes) <= 1 and len(sizes) == min(n_splits, trials.max() + 1)


def test_stimuli_are_dealt_out_evenly_of_each_class() -> None:
    y, meta = session(n_trials=4)
    for _, test in folds_of("group_kfold_stimulus", y, meta, n_splits=4):
        assert sorted(meta["trial"].iloc[test].str[0].groupby(y[test]).nunique()) == [1, 1]
        assert set(meta["subject"].iloc[test]) == set(meta["subject"])


def test_new_subjects_at_new_stimuli_are_the_parts_of_both_protocols() -> None:
    y, meta = session(subjects=8)
    subject, stimulus, both = (
        folds_of(f"group_kfold_{name}", y, meta, n_splits=4)
        for name in ("subject", "stimulus", "subject_and_stimulus")
    )
    for (known, new), (seen, unseen), (train, test) in zip(subject, stimulus, both, strict=True):
        assert set(train) == set(known) & set(seen) and set(test) == set(new) & set(unseen)


@quick
@given(drawn=crossed())
def test_every_subject_is_tested_once_on_stimuli_and_people_nobody_trained_on(drawn) -> None:
    y, meta = drawn
    tested = []
    for train, test in folds_of("group_kfold_subject_and_stimulus", y, meta):
        for column in ("subject", "trial"):
            assert not set(meta[column].iloc[train]) & set(meta[column].iloc[test])
        tested += sorted(set(meta["subject"].iloc[test]))
    assert sorted(tested) == sorted(set(meta["subject"]))


def test_trials_of_which_no_two_are_of_a_class_are_refused() -> None:
    y, meta = of_eegmat()
    with pytest.raises(ProtocolError, match="subject S0 has 1 trial of each class") as error:
        next(protocols.get("group_kfold_trial").split(y, meta))
    assert "below chance by construction" in str(error.value)
    y, meta = windows_of([("S1", "a", 0, 5), ("S1", "b", 0, 5), ("S1", "c", 1, 5)])
    assert folds_of("group_kfold_trial", y, meta), "leave_one_trial_out would refuse it"


@pytest.mark.parametrize("name", ON_NEW_STIMULI)
def test_a_class_with_one_stimulus_is_refused(name) -> None:
    with pytest.raises(ProtocolError, match="class 0 has 1 stimulus, rest; it needs at least 2"):
        next(protocols.get(name).split(*of_eegmat()))
    y, meta = windows_of((f"S{s}", "film", s % 2, 3) for s in range(4))
    with pytest.raises(ProtocolError, match="class 0 has 1 stimulus, film"):
        next(protocols.get(name).split(y, meta))


def test_one_session_is_refused() -> None:
    with pytest.raises(ProtocolError, match="needs two sessions, found one"):
        next(protocols.get("leave_one_session_out").split(*of_eegmat()))


SHARES = st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.75, 0.99])
OF = pytest.mark.parametrize("of", ["subjects", "trials"])


@OF
@pytest.mark.parametrize("name", PROTOCOLS)
@settings(max_examples=6, deadline=None)
@given(data=st.data(), share=SHARES, seed=st.integers(0, 5))
def test_fewer_training_windows_keep_the_tests_and_every_class(name, of, data, share, seed) -> None:
    y, meta = data.draw(windows_for(name))
    groups = meta["subject"].to_numpy() if of == "subjects" else trial_ids(meta)
    whole, thinned = protocols.get(name), protocols.fewer(protocols.get(name), share, of, seed)
    pairs = zip(folds_of(name, y, meta), thinned.split(y, meta), strict=True)
    for (train, test), (fewer, same) in pairs:
        assert np.array_equal(test, same) and set(fewer) <= set(train)
        assert set(y[fewer]) == set(y[train])
        left_out = set(train) - set(fewer)
        assert not {groups[i] for i in left_out} & set(groups[fewer]), "whole ones are left out"
    first, again = ([train for train, _ in thinned.split(y, meta)] for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert thinned.thinned == f"{share}_of_{of}" and whole.thinned == ""


@OF
@quick
@given(drawn=any_windows(subjects=6), shares=st.tuples(SHARES, SHARES), seed=st.integers(0, 5))
def test_a_smaller_share_is_part_of_a_larger_one(of, drawn, shares, seed) -> None:
    y, meta = drawn
    name = "group_kfold_subject"
    folds_of(name, y, meta)
    less, more = (
        [train for train, _ in protocols.fewer(protocols.get(name), share, of, seed).split(y, meta)]
        for share in sorted(shares)
    )
    assert all(set(one) <= set(other) for one, other in zip(less, more, strict=True))


def test_the_share_is_that_of_the_trials_of_each_class_or_of_the_subjects() -> None:
    y, meta = session(n_trials=10, subjects=8)
    y = np.where(meta["trial"].isin(["1-8", "1-9"]), 2, y)  # a class with few trials
    honest = protocols.get("group_kfold_subject", n_splits=4)
    for train, _ in protocols.fewer(honest, 0.25, "trials", 0).split(y, meta):
        counts = meta.iloc[train].groupby(y[train])[["subject", "trial"]]
        assert list(counts.value_counts().groupby(level=0).size()) == [15, 12, 3]
    for train, _ in protocols.fewer(honest, 0.5, "subjects", 0).split(y, meta):
        assert meta["subject"].iloc[train].nunique() == 3
    one, other = (
        next(protocols.fewer(honest, 0.5, "subjects", seed).split(y, meta))[0] for seed in (0, 1)
    )
    assert not np.array_equal(one, other)


def test_folds_and_inner_splits_of_fewer_windows() -> None:
    y, meta = session(n_trials=10, subjects=10)
    for name in ("group_kfold_subject", "group_kfold_trial", "blocked_within_trial"):
        options = {"gap_s": 0.0, "test_share": 0.4} if name == "blocked_within_trial" else {}
        thinned = protocols.fewer(protocols.get(name, **options), 0.5, "subjects", 0)
        for train, _ in thinned.split(y, meta):
            fit, valid = thinned.inner(y, meta, train, 0)
            assert set(fit) | set(valid) <= set(train)
            assert audit.audit(fit, valid, meta, y).problems(thinned.generalises_to) == []


def test_all_of_it_is_the_protocol_itself_and_other_shares_are_refused() -> None:
    protocol = protocols.get("group_kfold_trial")
    assert protocols.fewer(protocol, 1, "trials", 0) is protocol
    for share, of in ((0.0, "trials"), (1.5, "trials"), (-0.5, "subjects"), (0.5, "windows")):
        with pytest.raises(ProtocolError, match="above 0 and up to 1 of subjects or trials"):
            protocols.fewer(protocol, share, of, 0)
