"""Named ways to split windows into training and test, and what each generalises to.

A protocol sees labels and `meta`, never signals, and yields index pairs.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    StratifiedKFold,
    train_test_split,
)

from affectbook.errors import ProtocolError
from affectbook.windows import trial_ids

Split = tuple[np.ndarray, np.ndarray]
Splitter = Callable[..., Iterator[Split]]
SUBJECT, TRIAL, LATER = "a new subject", "a new trial", "later in the trial"


@dataclass(frozen=True)
class Protocol:
    """A named splitter.

    Attributes
    ----------
    name : str
        As the parameter `protocol` spells it.
    generalises_to : str
        ``"a new subject"``, ``"a new trial"`` or ``"later in the trial"``: what a score under it
        speaks about. A protocol that ends in ``_as_published`` claims what its paper claims.
    as_published : bool
        Kept because papers use it, although it leaks.
    leaks : str
        What the test windows share with the training windows, in words.
    needs : str
        The fewest subjects or trials it works on, in words.
    options : dict
        Passed on to the splitter (n_splits, seed, gap_s, ...).
    """

    name: str
    generalises_to: str
    as_published: bool
    leaks: str
    needs: str
    splitter: Splitter = field(repr=False)
    options: dict = field(default_factory=dict)

    def split(self, y: np.ndarray, meta: pd.DataFrame) -> Iterator[Split]:
        """Yield ``(train, test)`` index arrays; two calls give the same splits.

        Raises
        ------
        ProtocolError
            If there are too few subjects, trials or windows for this protocol.
        """
        y = np.asarray(y)
        if len(y) != len(meta):
            raise ProtocolError(f"{self.name}: {len(y)} labels for {len(meta)} windows")
        for train, test in self.splitter(y, meta, **self.options):
            if len(train) == 0 or len(test) == 0:
                raise ProtocolError(f"{self.name}: a fold is empty; {self.needs}")
            yield np.sort(train), np.sort(test)

    def inner(
        self, y: np.ndarray, meta: pd.DataFrame, train: np.ndarray, seed: int
    ) -> Split | None:
        """Split the training windows once more, for early stopping, at the protocol's own level.

        Published protocols hold out 10 % of the windows, stratified, and at least one of each
        class. The others hold out whole subjects or trials, or the later part of each trial.

        Returns
        -------
        tuple of numpy.ndarray or None
            ``(fit, valid)`` indices into all windows, or None where a class would lose its last
            window, subject or trial.
        """
        labels, rows = np.asarray(y)[train], meta.iloc[train]
        if self.as_published:
            return _stratified_tenth(labels, train, seed)
        if self.generalises_to == LATER:
            splits = _blocked_within_trial(labels, rows, **self.options)
        else:
            by_subject = self.generalises_to == SUBJECT
            groups = rows["subject"].to_numpy() if by_subject else trial_ids(rows)
            splits = _stratified_groups(labels, groups, seed)
        for fit, valid in splits:
            if set(labels[fit]) == set(labels) and len(valid):
                return train[fit], train[valid]
        return None


def _stratified_tenth(labels: np.ndarray, train: np.ndarray, seed: int) -> Split | None:
    counts = np.unique(labels, return_counts=True)[1]
    n_valid = max(math.ceil(0.1 * len(train)), len(counts))
    if counts.min() < 2 or len(train) - n_valid < len(counts):
        return None
    fit, valid = train_test_split(train, test_size=n_valid, random_state=seed, stratify=labels)
    return np.sort(fit), np.sort(valid)


def _stratified_groups(labels: np.ndarray, groups: np.ndarray, seed: int) -> Iterator[Split]:
    per_class = [len(np.unique(groups[labels == label])) for label in np.unique(labels)]
    if min(per_class) < 2:
        return iter(())
    folds = StratifiedGroupKFold(min(5, *per_class), shuffle=True, random_state=seed)
    return folds.split(labels, labels, groups)


def _leave_one_subject_out(y: np.ndarray, meta: pd.DataFrame) -> Iterator[Split]:
    _at_least_two_subjects("leave_one_subject_out", meta)
    return LeaveOneGroupOut().split(y, y, meta["subject"])


def _group_kfold_subject(
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


def _leave_one_trial_out(y: np.ndarray, meta: pd.DataFrame) -> Iterator[Split]:
    _refuse_single_trials("leave_one_trial_out", y, meta)
    return LeaveOneGroupOut().split(y, y, trial_ids(meta))


def _each_subject(meta: pd.DataFrame) -> Iterator[np.ndarray]:
    yield from meta.reset_index(drop=True).groupby("subject", sort=False).indices.values()


def _leave_one_segment_out(y: np.ndarray, meta: pd.DataFrame) -> Iterator[Split]:
    _refuse_single_trials("leave_one_segment_out", y, meta)
    groups = trial_ids(meta)
    for own in _each_subject(meta):
        for train, test in LeaveOneGroupOut().split(own, own, groups[own]):
            yield own[train], own[test]


def _blocked_within_trial(
    y: np.ndarray, meta: pd.DataFrame, test_share: float = 0.3, gap_s: float = 10.0
) -> Iterator[Split]:
    trials = meta.groupby(trial_ids(meta))
    last = trials["stop_s"].transform("max").to_numpy()
    first = trials["start_s"].transform("min").to_numpy()
    border = last - test_share * (last - first)
    test = np.flatnonzero(meta["start_s"].to_numpy() >= border)
    train = np.flatnonzero(meta["stop_s"].to_numpy() <= border - gap_s)
    yield train, test


def _shuffled_windows(
    y: np.ndarray, meta: pd.DataFrame, n_splits: int = 10, seed: int = 42
) -> Iterator[Split]:
    if len(y) < n_splits:
        raise ProtocolError(
            f"shuffled_windows_as_published: {len(y)} windows for {n_splits} folds; "
            "cut shorter windows, load more subjects or ask for fewer folds"
        )
    return KFold(n_splits, shuffle=True, random_state=seed).split(y)


def _within_trial(
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


_TRIAL_NEEDS = "two trials per class and subject"
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in [
        Protocol(
            "leave_one_subject_out",
            SUBJECT,
            False,
            "nothing",
            "two subjects",
            _leave_one_subject_out,
        ),
        Protocol(
            "group_kfold_subject", SUBJECT, False, "nothing", "two subjects", _group_kfold_subject
        ),
        Protocol(
            "leave_one_trial_out", TRIAL, False, "the subject", _TRIAL_NEEDS, _leave_one_trial_out
        ),
        Protocol(
            "leave_one_segment_out",
            TRIAL,
            False,
            "the subject (a model of one subject is meant)",
            _TRIAL_NEEDS,
            _leave_one_segment_out,
        ),
        Protocol(
            "blocked_within_trial",
            LATER,
            False,
            "the subject, and the trial with its label",
            "trials of several windows",
            _blocked_within_trial,
        ),
        Protocol(
            "shuffled_windows_as_published",
            SUBJECT,
            True,
            "subjects, trials with their labels and, with overlap, samples",
            "as many windows as folds",
            _shuffled_windows,
        ),
        Protocol(
            "within_trial_as_published",
            TRIAL,
            True,
            "the subject, every trial with its label and, with overlap, samples",
            "two windows per trial",
            _within_trial,
        ),
    ]
}


_IN_RANGE: dict[str, Callable[[float], bool]] = {
    "n_splits": lambda value: value >= 2,
    "seed": lambda value: value >= 0,
    "test_share": lambda value: 0 < value < 1,
    "gap_s": lambda value: value >= 0,
}


def get(name: str, **options: float) -> Protocol:
    """Return a protocol by name.

    Parameters
    ----------
    name
        A key of `PROTOCOLS`.
    **options
        Passed on to its splitter: n_splits and seed where it shuffles or groups, gap_s and
        test_share for ``blocked_within_trial``.

    Raises
    ------
    ProtocolError
        If there is no such protocol, it takes no such option, or not with this value.
    """
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ProtocolError(f"no protocol {name!r}{hint} (there are {', '.join(PROTOCOLS)})")
    protocol = PROTOCOLS[name]
    code = protocol.splitter.__code__
    allowed = set(code.co_varnames[2 : code.co_argcount])
    if not set(options) <= allowed:
        wrong = ", ".join(sorted(set(options) - allowed))
        raise ProtocolError(
            f"{name} takes no option {wrong} (it takes {sorted(allowed) or 'none'})"
        )
    wrong = [f"{name} {value}" for name, value in options.items() if not _IN_RANGE[name](value)]
    if wrong:
        raise ProtocolError(f"{protocol.name} cannot be cut with {', '.join(wrong)}")
    return replace(protocol, options=options)


def takes(name: str, option: str) -> bool:
    """Return whether a protocol has an option of this name."""
    code = get(name).splitter.__code__
    return option in code.co_varnames[2 : code.co_argcount]


def table() -> pd.DataFrame:
    """Return one row per protocol: name, generalises to, shares with training, needs."""
    rows = [
        (p.name, ("read as: " if p.as_published else "") + p.generalises_to, p.leaks, p.needs)
        for p in PROTOCOLS.values()
    ]
    columns = ["protocol", "generalises to", "test shares with training", "needs"]
    return pd.DataFrame(rows, columns=columns)
