"""Small windows, predictions and score rows for tests, made from what a test wants to say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from affectbook import results

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
    n_outputs = len(next(iter(tables.values())))
    return results.score_rows(
        predictions_of(tables), CONTEXT | context, n_outputs=n_outputs, seed=seed
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
