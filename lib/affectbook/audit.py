"""What a split leaks, and the placebo that shows what leaking is worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from affectbook.errors import AuditError
from affectbook.protocols import (
    LATER,
    SESSION,
    STIMULUS,
    SUBJECT,
    SUBJECT_AND_STIMULUS,
    Protocol,
)
from affectbook.windows import trial_ids

_NEW_SUBJECT, _NEW_STIMULUS = (SUBJECT, SUBJECT_AND_STIMULUS), (STIMULUS, SUBJECT_AND_STIMULUS)


@dataclass(frozen=True)
class Audit:
    """Counts of what test windows share with everything that was learnt from.

    Attributes
    ----------
    shared_subjects, shared_trials : int
        Subjects and trials with windows on both sides.
    overlapping_windows : int
        Test windows that have samples in common with a training window.
    fitted_on_test, selected_on_test : int
        Test windows that statistics were fitted on, or that chose a checkpoint or a setting.
    pretrained_subjects : int
        Test subjects that pretraining saw.
    missing_classes : tuple of int
        Classes of the test windows that training never saw.
    shared_stimuli : int
        Names of trials on both sides: the video or task, where all subjects get the same.
    shared_sessions : int
        Sessions of a subject with windows on both sides.
    """

    shared_subjects: int
    shared_trials: int
    overlapping_windows: int
    fitted_on_test: int
    selected_on_test: int
    pretrained_subjects: int
    missing_classes: tuple[int, ...]
    shared_stimuli: int = 0
    shared_sessions: int = 0

    def problems(self, generalises_to: str, transductive: bool = False) -> list[str]:
        """Return what speaks against a claim: what a protocol generalises to.

        Where it is transductive, pretraining may have seen the test subjects.
        """
        checks = [
            (
                self.shared_subjects and generalises_to in _NEW_SUBJECT,
                "subjects on both sides",
                self.shared_subjects,
            ),
            (
                self.shared_trials and generalises_to != LATER,
                "trials on both sides",
                self.shared_trials,
            ),
            (
                self.shared_stimuli and generalises_to in _NEW_STIMULUS,
                "stimuli on both sides",
                self.shared_stimuli,
            ),
            (
                self.shared_sessions and generalises_to == SESSION,
                "sessions on both sides",
                self.shared_sessions,
            ),
            (
                self.overlapping_windows,
                "test windows with training samples",
                self.overlapping_windows,
            ),
            (self.fitted_on_test, "test windows used to fit statistics", self.fitted_on_test),
            (self.selected_on_test, "test windows used for selection", self.selected_on_test),
            (
                self.pretrained_subjects and generalises_to in _NEW_SUBJECT and not transductive,
                "test subjects seen in pretraining",
                self.pretrained_subjects,
            ),
            (bool(self.missing_classes), "classes missing in training", self.missing_classes),
        ]
        return [f"{what}: {found}" for wrong, what, found in checks if wrong]


def _overlapping(train: np.ndarray, test: np.ndarray, meta: pd.DataFrame) -> int:
    """Count test windows whose time span meets that of a training window of the same trial."""
    groups = trial_ids(meta)
    start, stop = meta["start_s"].to_numpy(), meta["stop_s"].to_numpy()
    # One time axis for all trials: each trial is shifted past the end of the one before.
    offset = groups * (stop.max() + 1.0)
    begin = np.sort((start + offset)[train])
    end = np.sort((stop + offset)[train])
    eps = 1e-6
    begun = np.searchsorted(begin, (stop + offset)[test] - eps, side="left")
    ended = np.searchsorted(end, (start + offset)[test] + eps, side="right")
    return int((begun > ended).sum())


def audit(
    train: np.ndarray,
    test: np.ndarray,
    meta: pd.DataFrame,
    y: np.ndarray | None = None,
    *,
    fitted_on: np.ndarray | None = None,
    selected_on: np.ndarray | None = None,
    pretrained_on: Iterable[str] = (),
) -> Audit:
    """Report what a split leaks.

    Parameters
    ----------
    train, test
        Indices of windows.
    meta
        One row per window, as `windows.make_windows` gives it.
    y
        Labels ``(n_windows,)``; without them missing classes are not looked for.
    fitted_on, selected_on
        Windows that scalers were fitted on, and windows that chose a checkpoint or a setting.
    pretrained_on
        Subjects that pretraining saw.
    """
    train, test = np.asarray(train), np.asarray(test)
    subjects, trials = meta["subject"].to_numpy(), trial_ids(meta)
    stimuli, sessions = meta["trial"].to_numpy(), meta.groupby(["subject", "session"]).ngroup()
    nothing = np.empty(0, int)
    missing = (
        () if y is None else tuple(sorted(set(np.asarray(y)[test]) - set(np.asarray(y)[train])))
    )
    return Audit(
        shared_subjects=len(np.intersect1d(subjects[train], subjects[test])),
        shared_trials=len(np.intersect1d(trials[train], trials[test])),
        overlapping_windows=_overlapping(train, test, meta),
        fitted_on_test=len(np.intersect1d(nothing if fitted_on is None else fitted_on, test)),
        selected_on_test=len(np.intersect1d(nothing if selected_on is None else selected_on, test)),
        pretrained_subjects=len(set(pretrained_on) & set(subjects[test])),
        missing_classes=tuple(int(label) for label in missing),
        shared_stimuli=len(np.intersect1d(stimuli[train], stimuli[test])),
        shared_sessions=len(np.intersect1d(sessions.to_numpy()[train], sessions.to_numpy()[test])),
    )


def table(reports: Mapping[str, Audit]) -> pd.DataFrame:
    """Return the counts of several audits side by side, one column each."""
    counts = {
        name: {key.replace("_", " "): value for key, value in vars(report).items()}
        for name, report in reports.items()
    }
    frame = pd.DataFrame(counts).map(lambda value: value if value != () else 0)
    return frame.reset_index(names="one fold")


def require(report: Audit, protocol: Protocol, fold: int | str = "?") -> None:
    """Stop when an honest protocol does not keep its promise.

    Raises
    ------
    AuditError
        If `report` speaks against what `protocol` generalises to. Published protocols are let
        through: their leaks are shown instead.
    """
    problems = report.problems(protocol.generalises_to, protocol.transductive)
    if problems and not protocol.as_published:
        raise AuditError(
            f"{protocol.name} claims to generalise to {protocol.generalises_to}, "
            f"but fold {fold} has " + "; ".join(problems)
        )


def placebo_labels(meta: pd.DataFrame, seed: int, per_subject: int = 0) -> np.ndarray:
    """Toss a fair coin per trial: labels ``(n_windows,)`` with nothing in them to learn.

    The signals keep their fingerprints, so a model can still recognise subjects and trials. The
    tosses are repeated until both sides came up at least twice, as protocols need both classes.

    Parameters
    ----------
    meta
        One row per window.
    seed
        Of the coin.
    per_subject
        Trials of either side that each subject must have, for protocols within one subject.

    Raises
    ------
    AuditError
        With fewer trials than that takes.
    """
    trials = trial_ids(meta)
    owner = meta.groupby(trials)["subject"].first()
    n_trials, fewest = len(owner), int(owner.value_counts().min())
    if n_trials < 4 or fewest < 2 * per_subject:
        raise AuditError(
            f"a placebo needs 4 trials, and {2 * per_subject} of each subject; "
            f"found {n_trials}, and a subject with {fewest}"
        )
    rng = np.random.default_rng([seed, n_trials])
    subjects = owner.groupby(owner.to_numpy()).indices.values()
    coins = np.zeros(n_trials, np.int64)
    while not 2 <= coins.sum() <= n_trials - 2:
        # Subject by subject: tossing for all at once would hardly ever suit many of them.
        for own in subjects:
            coins[own] = _toss(rng, len(own), per_subject)
    return coins[trials]


def _toss(rng: np.random.Generator, n_coins: int, fewest: int) -> np.ndarray:
    """Toss coins until either side has come up often enough."""
    while True:
        coins = rng.integers(0, 2, n_coins)
        if fewest <= coins.sum() <= n_coins - fewest:
            return coins


def standard_error(n_trials: int, chance: float = 0.5) -> float:
    """Standard error of an accuracy over `n_trials` independent trials at chance."""
    return float(np.sqrt(chance * (1 - chance) / n_trials))
