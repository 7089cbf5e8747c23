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
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from affectbook import splitters
from affectbook.errors import ProtocolError
from affectbook.splitters import Split
from affectbook.windows import trial_ids

Splitter = Callable[..., Iterator[Split]]
SUBJECT, TRIAL, LATER = "a new subject", "a new trial", "later in the trial"
STIMULUS, SESSION = "a new stimulus", "a new session"
SUBJECT_AND_STIMULUS = "a new subject at a new stimulus"
# What the inner split holds out, as a column of `meta`; trials where nothing is said.
_INNER = {
    SUBJECT: "subject", SUBJECT_AND_STIMULUS: "subject", STIMULUS: "trial", SESSION: "session",
}  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """A named splitter.

    Attributes
    ----------
    name : str
        As the parameter `protocol` spells it.
    generalises_to : str
        What a score under it speaks about: `SUBJECT`, `TRIAL`, `STIMULUS`, `SESSION`, `LATER` or
        `SUBJECT_AND_STIMULUS`. A protocol that ends in ``_as_published`` claims what its paper
        claims.
    as_published : bool
        Kept because papers use it, although it leaks.
    leaks : str
        What the test windows share with the training windows, in words.
    needs : str
        The fewest subjects or trials it works on, in words.
    options : dict
        Passed on to the splitter (n_splits, seed, gap_s, ...).
    transductive : bool
        Pretraining may see the signals of test windows, without their labels.
    thinned : str
        Which part of the training windows is used, as `fewer` calls it: ``"0.25_of_trials"``.
        Empty for all of them.
    """

    name: str
    generalises_to: str
    as_published: bool
    leaks: str
    needs: str
    splitter: Splitter = field(repr=False)
    options: dict = field(default_factory=dict)
    thinned: str = ""
    transductive: bool = False

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
        class. The others hold out whole subjects, sessions, stimuli or trials, or the later part
        of each trial; new subjects at new stimuli, which would leave little, hold out subjects.

        Returns
        -------
        tuple of numpy.ndarray or None
            ``(fit, valid)`` indices into all windows, or None where a class would lose its last
            window, subject, session, stimulus or trial.
        """
        labels, rows = np.asarray(y)[train], meta.iloc[train]
        if self.as_published:
            return _stratified_tenth(labels, train, seed)
        if self.generalises_to == LATER:
            splits = splitters.blocked_within_trial(labels, rows, **self.options)
        else:
            held = _INNER.get(self.generalises_to)
            groups = trial_ids(rows) if held is None else rows[held].to_numpy()
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


_TRIAL_NEEDS = "two trials per class and subject"
_SAME_FOR_ALL = "stimuli, where all subjects get the same"
_KNOWN = "the subject, and stimuli, where they are repeated"
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in [
        Protocol(
            "leave_one_subject_out", SUBJECT, False, _SAME_FOR_ALL, "two subjects",
            splitters.leave_one_subject_out,
        ),
        Protocol(
            "group_kfold_subject", SUBJECT, False, _SAME_FOR_ALL, "two subjects",
            splitters.group_kfold_subject,
        ),
        Protocol(
            "group_kfold_subject_transductive", SUBJECT, False,
            "the signals of the test subjects, unlabelled, in pretraining", "two subjects",
            splitters.group_kfold_subject, transductive=True,
        ),
        Protocol(
            "group_kfold_subject_and_stimulus", SUBJECT_AND_STIMULUS, False, "nothing",
            "two subjects, and two stimuli per class", splitters.group_kfold_subject_and_stimulus,
        ),
        Protocol(
            "group_kfold_stimulus", STIMULUS, False, "the subject", "two stimuli per class",
            splitters.group_kfold_stimulus,
        ),
        Protocol(
            "leave_one_session_out", SESSION, False, _KNOWN, "two sessions",
            splitters.leave_one_session_out,
        ),
        Protocol(
            "leave_one_trial_out", TRIAL, False, _KNOWN, _TRIAL_NEEDS,
            splitters.leave_one_trial_out,
        ),
        Protocol(
            "group_kfold_trial", TRIAL, False, _KNOWN,
            "two trials of a class from each subject", splitters.group_kfold_trial,
        ),
        Protocol(
            "leave_one_segment_out", TRIAL, False,
            "the subject (a model of one subject is meant)", _TRIAL_NEEDS,
            splitters.leave_one_segment_out,
        ),
        Protocol(
            "blocked_within_trial", LATER, False, "the subject, and the trial with its label",
            "trials of several windows", splitters.blocked_within_trial,
        ),
        Protocol(
            "shuffled_windows_as_published", SUBJECT, True,
            "subjects, trials with their labels and, with overlap, samples",
            "as many windows as folds", splitters.shuffled_windows,
        ),
        Protocol(
            "within_trial_as_published", TRIAL, True,
            "the subject, every trial with its label and, with overlap, samples",
            "two windows per trial", splitters.within_trial,
        ),
    ]
}  # fmt: skip


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
        Passed on to its splitter: n_splits and seed where it shuffles or groups, test_share
        and gap_s for ``blocked_within_trial`` (0.3 of a trial; 10 s, or a sixth of a trial if that
        is less).

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


def leaky(name: str) -> bool:
    """Return whether a protocol is shown in red: a published one, or a transductive one."""
    protocol = PROTOCOLS.get(name)
    return protocol is not None and (protocol.as_published or protocol.transductive)


def takes(name: str, option: str) -> bool:
    """Return whether a protocol has an option of this name."""
    code = get(name).splitter.__code__
    return option in code.co_varnames[2 : code.co_argcount]


def fewer(protocol: Protocol, share: float, of: str, seed: int) -> Protocol:
    """Return a protocol that trains on a part of the subjects or trials, with the same tests.

    Each fold draws its own, and with one seed a smaller share is part of a larger one.

    Parameters
    ----------
    protocol
        From `get`.
    share
        Of the training subjects or trials, above 0 and up to 1; 1 is the protocol itself.
    of
        ``"subjects"``, or ``"trials"``, which are drawn from each class. At least one of each
        class is kept, even if that is more than the share.
    seed
        Of the draw.

    Raises
    ------
    ProtocolError
        If `share` or `of` cannot be.
    """
    if of not in ("subjects", "trials") or not 0 < share <= 1:
        raise ProtocolError(
            f"{protocol.name} cannot train on a share {share} of {of!r}; it is a share above 0 and "
            "up to 1 of subjects or trials"
        )
    if share == 1:
        return protocol

    def split(y: np.ndarray, meta: pd.DataFrame, **options: float) -> Iterator[Split]:
        groups = meta["subject"].to_numpy() if of == "subjects" else trial_ids(meta)
        for fold, (train, test) in enumerate(protocol.splitter(y, meta, **options)):
            strata = np.zeros(len(train), int) if of == "subjects" else y[train]
            rng = np.random.default_rng([seed, fold])
            yield train[_drawn(groups[train], strata, y[train], share, rng)], test

    return replace(protocol, splitter=split, thinned=f"{share:g}_of_{of}")


def _drawn(
    groups: np.ndarray,
    strata: np.ndarray,
    labels: np.ndarray,
    share: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Tell which windows belong to a random share of the groups of each stratum."""
    units, first, own = np.unique(groups, return_index=True, return_inverse=True)
    order = rng.permutation(len(units))
    chosen = np.zeros(len(units), bool)
    for stratum in np.unique(strata):
        members = order[strata[first][order] == stratum]
        chosen[members[: max(1, round(share * len(members)))]] = True
    for label in np.unique(labels):
        having = np.isin(order, own[labels == label])
        if not chosen[order[having]].any():
            chosen[order[having][0]] = True
    return chosen[own]


def table() -> pd.DataFrame:
    """Return one row per protocol: name, generalises to, shares with training, needs."""
    rows = [
        (p.name, ("read as: " if leaky(p.name) else "") + p.generalises_to, p.leaks, p.needs)
        for p in PROTOCOLS.values()
    ]
    columns = ["protocol", "generalises to", "test shares with training", "needs"]
    return pd.DataFrame(rows, columns=columns)
