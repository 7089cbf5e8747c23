"""Small windows, predictions and score rows for tests, made from what a test wants to say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np
import pandas as pd
from hypothesis import assume
from hypothesis import strategies as st

from affectbook import protocols, results
from affectbook.errors import ProtocolError

Trial = tuple[str, str, int, int]
CONTEXT = {
    "paper": "hcmnet", "estimator": "hcmnet", "variant": "published", "scale": "recorded",
    "dataset": "eegmat", "tier": "open", "effect": 1.0, "placebo": False, "target": "condition",
    "label_rule": "rest_arithmetic", "seconds": 10.0, "overlap": 0.0,
    "protocol": "group_kfold_subject",
}  # fmt: skip


def windows_of(
    trials: Iterable[Trial], seconds: float = 10.0, overlap: float = 0.0
) -> tuple[np.ndarray, pd.DataFrame]:
    """Return ``y, meta`` of trials given as subject, trial, class and number of windows."""
    rows, labels = [], []
    for subject, trial, label, n_windows in trials:
        for window in range(n_windows):
            start_s = window * seconds * (1 - overlap)
            rows.append((subject, "1", trial, window, start_s, start_s + seconds))
            labels.append(label)
    columns = ["subject", "session", "trial", "window", "start_s", "stop_s"]
    return np.array(labels, np.int64), pd.DataFrame(rows, columns=columns)


def shuffled(y: np.ndarray, meta: pd.DataFrame, seed: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the same windows in another order, with an index that counts nothing."""
    order = np.random.default_rng(seed).permutation(len(y))
    return y[order], meta.iloc[order]


@st.composite
def any_windows(
    draw: st.DrawFn,
    subjects: int = 5,
    trials: tuple[int, int] = (1, 3),
    windows: int = 8,
    classes: int = 3,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Draw ``y, meta`` of up to so many subjects, windows of a trial and classes.

    `trials` are the fewest and most trials of a class that a subject has. Trials of two subjects
    may have the same name, windows may overlap, and rows stand in any order.
    """
    plan = [
        (f"S{subject}", f"{label}-{trial}", label, draw(st.integers(1, windows)))
        for subject in range(draw(st.integers(1, subjects)))
        for label in draw(st.sets(st.integers(0, classes - 1), min_size=1))
        for trial in range(draw(st.integers(*trials)))
    ]
    y, meta = windows_of(plan, overlap=draw(st.sampled_from([0.0, 0.5, 0.75])))
    return shuffled(y, meta, draw(st.integers(0, 9))) if draw(st.booleans()) else (y, meta)


@st.composite
def crossed(draw: st.DrawFn) -> tuple[np.ndarray, pd.DataFrame]:
    """Draw windows of subjects who all got the same stimuli, in any order."""
    subjects, classes, stimuli = (draw(st.integers(2, most)) for most in (5, 3, 4))
    plan = [
        (f"S{s}", f"{c}-{t}", c, draw(st.integers(1, 3)))
        for s in range(subjects)
        for c in range(classes)
        for t in range(stimuli)
    ]
    return shuffled(*windows_of(plan), draw(st.integers(0, 9)))


def in_sessions(drawn: tuple[np.ndarray, pd.DataFrame]) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the same windows, with a session for the n-th trials of all classes."""
    y, meta = drawn
    return y, meta.assign(session=meta["trial"].str[-1])


SEVERAL_TRIALS = ("leave_one_trial_out", "leave_one_segment_out", "group_kfold_trial",
                  "leave_one_session_out", "group_kfold_stimulus")  # fmt: skip


def windows_for(name: str) -> st.SearchStrategy:
    """Draw windows that the protocol rarely refuses."""
    if name == "group_kfold_subject_and_stimulus":
        return crossed()
    several = any_windows(subjects=4, trials=(2, 3) if name in SEVERAL_TRIALS else (1, 2))
    return several.map(in_sessions) if name == "leave_one_session_out" else several


def folds_of(name: str, y: np.ndarray, meta: pd.DataFrame, **options: float) -> list:
    """Return the folds, or give up the example where the protocol refuses it."""
    try:
        return list(protocols.get(name, **options).split(y, meta))
    except ProtocolError:
        assume(False)


def session(n_trials: int = 4, n_windows: int = 6, subjects: int = 4) -> tuple:
    """Return windows of subjects with so many trials of each of two classes, one a session."""
    drawn = windows_of(
        (f"S{s}", f"{label}-{t}", label, n_windows)
        for s in range(subjects)
        for label in (0, 1)
        for t in range(n_trials)
    )
    return in_sessions(drawn)


def predictions_of(
    tables: Mapping[str, Iterable[Iterable[int]]], trials_of: int = 1
) -> pd.DataFrame:
    """Return predictions whose confusion matrix ``(true, predicted)`` per subject is given.

    The windows of a subject are dealt out to so many trials; each subject is a fold.
    """
    rows = []
    for fold, (subject, table) in enumerate(tables.items()):
        cells = np.asarray(table)
        true, predicted = (
            np.repeat(axis.ravel(), cells.ravel()) for axis in np.indices(cells.shape)
        )
        for window, (t, p) in enumerate(zip(true, predicted, strict=True)):
            rows.append((fold, subject, "1", f"trial-{window % trials_of}", window, t, p))
    columns = ["fold", "subject", "session", "trial", "window", "y_true", "y_pred"]
    return pd.DataFrame(rows, columns=columns)


def scores_of(
    tables: Mapping[str, Iterable[Iterable[int]]], seed: int = 0, **context: object
) -> pd.DataFrame:
    """Return score rows of confusion matrices per subject; `context` replaces `CONTEXT`."""
    plain = tuple((who, tuple(map(tuple, np.asarray(table)))) for who, table in tables.items())
    rows = _scores_of(plain).assign(seed=seed, **CONTEXT | context)
    return rows[results.SCORE_COLUMNS]


@cache
def _scores_of(tables: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...]) -> pd.DataFrame:
    """Return score rows in one context: tests ask for the same matrices under many names."""
    return results.score_rows(
        predictions_of(dict(tables)), CONTEXT, n_outputs=len(tables[0][1]), seed=0
    )


def like_everyone(n_subjects: int, right: float, n_windows: int = 100) -> dict[str, np.ndarray]:
    """Return confusion matrices of two classes in which each subject has this share right."""
    hits = round(right * n_windows / 2)
    table = np.array([[hits, n_windows // 2 - hits], [n_windows // 2 - hits, hits]])
    return {f"S{subject:02d}": table for subject in range(n_subjects)}


def spread_out(
    n_subjects: int, low: float, high: float, n_windows: int = 100
) -> dict[str, np.ndarray]:
    """Return confusion matrices of subjects whose shares right go evenly from `low` to `high`."""
    shares = np.linspace(low, high, n_subjects)
    return {
        f"S{subject:02d}": like_everyone(1, share, n_windows)["S00"]
        for subject, share in enumerate(shares)
    }
