"""Predictions -> score rows: what is kept of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

CONTEXT = [
    "paper", "estimator", "variant", "scale", "dataset", "tier", "effect", "placebo", "target",
    "label_rule", "seconds", "overlap", "protocol",
]  # fmt: skip
SCORE_COLUMNS = [
    *CONTEXT, "fold", "seed", "subject", "metric", "value", "n_test_windows", "n_test_trials",
    "run_key",
]  # fmt: skip


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of right answers, from confusion matrices ``(..., true, predicted)``."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that occur (also called UAR)."""
    recall = _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1))
    return np.nanmean(recall, axis=-1)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that occur or were predicted."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    f1 = _ratio(2 * hits, confusion.sum(-1) + confusion.sum(-2))
    return np.nanmean(f1, axis=-1)


METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}


def _confusions(predictions: pd.DataFrame, by: list[str], n_outputs: int) -> pd.DataFrame:
    """Return one row per group: keys, confusion ``(n_outputs, n_outputs)``, counts."""
    rows = []
    for key, part in predictions.groupby(by, sort=True):
        table = np.zeros((n_outputs, n_outputs), int)
        np.add.at(table, (part["y_true"], part["y_pred"]), 1)
        n_trials = len(part[["subject", "session", "trial"]].drop_duplicates())
        rows.append((*key, table, len(part), n_trials))
    return pd.DataFrame(rows, columns=[*by, "confusion", "n_test_windows", "n_test_trials"])


def score_rows(
    predictions: pd.DataFrame, context: Mapping[str, object], *, n_outputs: int, seed: int
) -> pd.DataFrame:
    """Turn predictions into tidy score rows.

    Parameters
    ----------
    predictions
        As `evaluate.evaluate` gives them.
    context
        A value for each of `CONTEXT`.
    n_outputs
        Number of classes.
    seed
        Of the run.

    Returns
    -------
    pandas.DataFrame
        `SCORE_COLUMNS`. The three `METRICS` for each fold (subject "all"), for each subject (fold
        "all") and for everything (both "all"); and the counts ``confusion[true,predicted]`` of each
        subject, from which intervals are drawn.
    """
    everything = predictions.assign(everyone="all", whole="all")
    blocks = []
    for fold, subject in (("fold", "everyone"), ("whole", "subject"), ("whole", "everyone")):
        groups = _confusions(
            everything.assign(f=everything[fold], s=everything[subject]), ["f", "s"], n_outputs
        )
        groups = groups.rename(columns={"f": "fold", "s": "who"})
        stack = np.stack(groups["confusion"])
        values = {name: metric(stack) for name, metric in METRICS.items()}
        if subject == "subject":
            cells = np.ndindex(n_outputs, n_outputs)
            values |= {f"confusion[{t},{p}]": stack[:, t, p] for t, p in cells}
        wide = groups.drop(columns="confusion").assign(**values)
        keys = ["fold", "who", "n_test_windows", "n_test_trials"]
        blocks.append(wide.melt(keys, var_name="metric", value_name="value"))
    rows = pd.concat(blocks, ignore_index=True).rename(columns={"who": "subject"})
    rows["fold"] = rows["fold"].astype(str)
    return rows.assign(**{"run_key": "", "seed": seed, **context})[SCORE_COLUMNS]
