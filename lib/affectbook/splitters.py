"""Splitters: index pairs of training and test windows, one function for each protocol.

What their folds promise stands in `protocols.PROTOCOLS`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, StratifiedKFold

from affectbook.errors import ProtocolError
from affectbook.windows import trial_ids

Split = tuple[np.ndarray, np.ndarray]


def leave_one_subject_out(y: np.ndarray, meta: pd.DataFrame) -> Iterator[Split]:
    _at_least_two_subjects("leave_one_subject_out", meta)
    return LeaveOneGroupOut().split(y, y, meta["subject"])


def group_kfold_subject(
    y: np.ndarray, meta: pd.DataFrame, n_splits: int = 5, seed: int = 42
) -> Iterator[Split]:
    _at_least_two_subjects("group_kfold_subject", meta)
    n_splits = min(n_splits, meta["subject"].nunique())
    return GroupKFold(n_splits, shuffle=True, random_state=seed).split(y, y, meta["subject"])


def _at_least_two_subjects(name: str, meta: pd.DataFrame) -> None:
    if meta["subject"].nunique() < 2:
        raise ProtocolError(f"{name}: needs two subjects, found one; load more subjects")


def _refuse_single_trials(name: str, y: np.ndarray, meta: pd.DataFrame) -> None:
    """Refuse when a subject has a class with one trial.

    Holding that trial out leaves the subject's fingerprint under the other classes only, so a
    network that recognises people scores below chance by construction.
    """
    trials = meta.assign(label=y, trial_id=trial_ids(meta))
    counts = trials.groupby(["subject", "label"])["trial_id"].nunique()
    if counts.min() < 2:
        subject, label = counts.idxmin()
        raise ProtocolError(
            f"{name}: subject {subject} has 1 trial of class {label}; it needs at least 2 "
            "per class and subject, else it scores below chance by construction; "
            "use group_kfold_subject"
        )


def leave_one_trial_out(y: np.ndarray, meta: pd.DataFrame) -> Iterator[Split]:
    _refuse_single_trials("leave_one_trial_out", y, meta)
    return LeaveOneGroupOut().split(y, y, trial_ids(meta))


def group_kfold_trial(
    y: np.ndarray, meta: pd.DataFrame, n_splits: int = 5, seed: int = 42
) -> Iterator[Split]:
    groups = trial_ids(meta)
    rows = pd.DataFrame({"subject": meta["subject"].to_numpy(), "label": y})
    trials = rows.groupby(groups).first()
    most = trials.value_counts().groupby("subject").max()
    if most.min() < 2:
        raise ProtocolError(
            f"group_kfold_trial: subject {most.idxmin()} has 1 trial of each class; it needs a "
            "class with 2 for each subject, else it scores below chance by construction; "
            "use group_kfold_subject"
        )
    # Trials of one class and subject, held out together, would leave training the other classes.
    return _each_fold(_dealt(trials, n_splits, seed)[groups])


def _dealt(strata: pd.DataFrame, n_splits: int, seed: int) -> np.ndarray:
    """Deal units, one a row, out to folds at random: of each stratum as many to each fold."""
    shuffled = np.random.default_rng(seed).random(len(strata))
    rows = strata.reset_index(drop=True).assign(shuffled=shuffled)
    folds = np.empty(len(strata), np.int64)
    folds[rows.sort_values(list(rows)).index] = np.arange(len(strata)) % n_splits
    return folds


def _each_fold(folds: np.ndarray) -> Iterator[Split]:
    for fold in np.unique(folds):
        yield np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)


def _stimulus_folds(
    name: str, y: np.ndarray, meta: pd.DataFrame, n_splits: int, seed: int
) -> np.ndarray:
    """Return the fold of each window by its stimulus; those of a class are spread over all."""
    stimuli = meta["trial"].to_numpy()
    counts = pd.crosstab(stimuli, np.asarray(y))
    n_stimuli = (counts > 0).sum()
    if n_stimuli.min() < 2:
        label = n_stimuli.idxmin()
        raise ProtocolError(
            f"{name}: class {label} has 1 stimulus, {counts[label].idxmax()}; it needs at least 2 "
            "per class, else nothing of the class is left to train on; use group_kfold_subject"
        )
    usual = counts.idxmax(axis=1).to_frame("label")
    return _dealt(usual, n_splits, seed)[counts.index.get_indexer(stimuli)]


def group_kfold_stimulus(
    y: np.ndarray, meta: pd.DataFrame, n_splits: int = 5, seed: int = 42
) -> Iterator[Split]:
    return _each_fold(_stimulus_folds("group_kfold_stimulus", y, meta, n_splits, seed))


def leave_one_session_out(y: np.ndarray, meta: pd.DataFrame) -> Iterator[Split]:
    if meta["session"].nunique() < 2:
        raise ProtocolError(
            "leave_one_session_out: needs two sessions, found one; use group_kfold_subject"
        )
    return LeaveOneGroupOut().split(y, y, meta["session"])


def group_kfold_subject_and_stimulus(
    y: np.ndarray, meta: pd.DataFrame, n_splits: int = 5, seed: int = 42
) -> Iterator[Split]:
    name = "group_kfold_subject_and_stimulus"
    _at_least_two_subjects(name, meta)
    n_splits = min(n_splits, meta["subject"].nunique(), meta["trial"].nunique())
    stimuli = _stimulus_folds(name, y, meta, n_splits, seed)
    # The same parts as those of the two protocols that it joins.
    for fold, (train, test) in enumerate(group_kfold_subject(y, meta, n_splits, seed)):
        yield train[stimuli[train] != fold], test[stimuli[test] == fold]


def _each_subject(meta: pd.DataFrame) -> Iterator[np.ndarray]:
    yield from meta.reset_index(drop=True).groupby("subject", sort=False).indices.values()


def leave_one_segment_out(y: np.ndarray, meta: pd.DataFrame) -> Iterator[Split]:
    _refuse_single_trials("leave_one_segment_out", y, meta)
    groups = trial_ids(meta)
    for own in _each_subject(meta):
        for train, test in LeaveOneGroupOut().split(own, own, groups[own]):
            yield own[train], own[test]


def blocked_within_trial(
    y: np.ndarray, meta: pd.DataFrame, test_share: float = 0.3, gap_s: float | None = None
) -> Iterator[Split]:
    trials = meta.groupby(trial_ids(meta))
    last = trials["stop_s"].transform("max").to_numpy()
    first = trials["start_s"].transform("min").to_numpy()
    border = last - test_share * (last - first)
    # Of short trials a gap of ten seconds would leave nothing to train on.
    gap = np.minimum(10.0, (last - first) / 6) if gap_s is None else gap_s
    test = np.flatnonzero(meta["start_s"].to_numpy() >= border)
    train = np.flatnonzero(meta["stop_s"].to_numpy() <= border - gap)
    yield train, test


def shuffled_windows(
    y: np.ndarray, meta: pd.DataFrame, n_splits: int = 10, seed: int = 42
) -> Iterator[Split]:
    if len(y) < n_splits:
        raise ProtocolError(
            f"shuffled_windows_as_published: {len(y)} windows for {n_splits} folds; "
            "cut shorter windows, load more subjects or ask for fewer folds"
        )
    return KFold(n_splits, shuffle=True, random_state=seed).split(y)


def within_trial(
    y: np.ndarray, meta: pd.DataFrame, n_splits: int = 10, seed: int = 42
) -> Iterator[Split]:
    groups = trial_ids(meta)
    for own in _each_subject(meta):
        n_windows = np.bincount(groups[own])
        n_splits_here = min(n_splits, n_windows[n_windows > 0].min())
        if n_splits_here < 2:
            raise ProtocolError("within_trial_as_published: a trial has one window; needs two")
        folds = StratifiedKFold(n_splits_here, shuffle=True, random_state=seed)
        for train, test in folds.split(own, groups[own]):
            yield own[train], own[test]
