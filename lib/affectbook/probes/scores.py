"""Answers of probes -> score rows -> the table of stages. Nothing here needs data or torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.metrics import mean_absolute_error, r2_score

from affectbook import results
from affectbook.errors import ParameterError
from affectbook.windows import TRIAL

HRV_TARGETS = ("heart_rate", "rmssd", "sdnn")
"""What the ridge probes read: in 1/min, ms and ms."""

PROTOCOL = "group_kfold_subject"
PROTOCOL_OF_SUBJECTS = "later_in_trial_of_new_subjects"
PREFIX = "probe_after_"
MEAN, CHANCE = "mean", "chance"
"""Estimators that read nothing: the mean of the training windows; one over the subjects."""

_ROWS_OF_TABLE = {MEAN: "reference", CHANCE: "reference"} | {
    f"{PREFIX}{stage}": stage for stage in ("cnn", "nlcca", "bissm")
}
_NOT_SHARED = {"estimator", "variant", "protocol", "target"}


def score_rows(
    answers: pd.DataFrame, context: Mapping[str, object], *, n_outputs: int, seed: int
) -> pd.DataFrame:
    """Turn the answers of probes into score rows.

    Parameters
    ----------
    answers
        One row per test window, fold, estimator and target: estimator, target, fold, subject,
        session, trial, window, y_true, y_pred.
    context
        A value for each of `results.CONTEXT` but estimator, target and protocol.
    n_outputs
        Classes of the network's own target.
    seed
        Of the run.

    Returns
    -------
    pandas.DataFrame
        `results.SCORE_COLUMNS`. Of a target in `HRV_TARGETS`: ``r2`` and ``mae`` of each fold,
        ``mae`` of each subject, and with fold and subject "all" the mean over folds. Of the others
        what `results.score_rows` gives; the subject has two classes, wrong and right.
    """
    blocks = []
    for (estimator, target), part in answers.groupby(["estimator", "target"], sort=False):
        own = {**context, "estimator": estimator, "target": target, "protocol": PROTOCOL}
        if target in HRV_TARGETS:
            blocks.append(_frame(_of_values(part), own, seed))
        elif target == "subject":
            own["protocol"] = PROTOCOL_OF_SUBJECTS
            chance = estimator == CHANCE
            blocks.append(
                _frame(_of_chance(part), own, seed) if chance else _of_subjects(part, own, seed)
            )
        else:
            labels = part.astype({"y_true": int, "y_pred": int})
            blocks.append(results.score_rows(labels, own, n_outputs=n_outputs, seed=seed))
    return pd.concat(blocks, ignore_index=True)


def _of_values(answers: pd.DataFrame) -> list[dict[str, object]]:
    """Return the scores of a regression."""
    answers = answers.astype({"y_true": float, "y_pred": float})
    folds, subjects = [], []
    for fold, part in answers.groupby("fold"):
        true, predicted = part["y_true"], part["y_pred"]
        folds.append(_score(part, "mae", mean_absolute_error(true, predicted), fold=str(fold)))
        # Of equal values there is no variance to explain.
        if np.ptp(true) > 0:
            folds.append(_score(part, "r2", r2_score(true, predicted), fold=str(fold)))
    for subject, part in answers.groupby("subject"):
        error = mean_absolute_error(part["y_true"], part["y_pred"])
        subjects.append(_score(part, "mae", error, subject=subject))
    return [*folds, *subjects, *_means(folds)]


def _of_chance(answers: pd.DataFrame) -> list[dict[str, object]]:
    """Return the accuracy of guessing, which `y_pred` holds."""
    folds = [
        _score(part, "accuracy", float(part["y_pred"].iloc[0]), fold=str(fold))
        for fold, part in answers.groupby("fold")
    ]
    return [*folds, *_means(folds)]


def _of_subjects(answers: pd.DataFrame, context: Mapping[str, object], seed: int) -> pd.DataFrame:
    """Return the rows of the probe of subjects: one class, to be right, so the rest says no more.

    Confusion matrices of people would differ from fold to fold, and no interval could be drawn.
    """
    right = (answers["y_true"] == answers["y_pred"]).astype(int)
    rows = results.score_rows(
        answers.assign(y_true=1, y_pred=right), context, n_outputs=2, seed=seed
    )
    return rows[~rows["metric"].isin(["balanced_accuracy", "macro_f1"])]


def _score(
    answers: pd.DataFrame, metric: str, value: float, *, fold: str = "all", subject: str = "all"
) -> dict[str, object]:
    """Return one score with the windows and trials it comes from."""
    return {
        "fold": fold,
        "subject": subject,
        "metric": metric,
        "value": value,
        "n_test_windows": len(answers),
        "n_test_trials": len(answers[TRIAL].drop_duplicates()),
    }


def _means(scores: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return the mean over folds of each metric, with the sums of the counts."""
    whole = pd.DataFrame(scores).assign(fold="all", subject="all")
    how = {"value": "mean", "n_test_windows": "sum", "n_test_trials": "sum"}
    return whole.groupby(["fold", "subject", "metric"], as_index=False).agg(how).to_dict("records")


def _frame(
    scores: list[dict[str, object]], context: Mapping[str, object], seed: int
) -> pd.DataFrame:
    rows = pd.DataFrame(scores).assign(**{"run_key": "", "seed": seed, **context})
    return rows[results.SCORE_COLUMNS]


def metric_of(target: str) -> str:
    """Return the metric that `table` shows of a target."""
    if target in HRV_TARGETS:
        return "r2"
    return "accuracy" if target == "subject" else "balanced_accuracy"


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what can be read after each stage.

    Parameters
    ----------
    rows
        Score rows of one experiment, any number of variants and seeds; other rows are left out.

    Returns
    -------
    pandas.DataFrame
        One row per variant and stage, before them the reference (the training mean, or chance);
        a column per target, "mean over seeds (lowest to highest fold)": R² of heart_rate, rmssd
        and sdnn, balanced accuracy of the network's target, accuracy of the subject. A dash where
        there is no score.

    Raises
    ------
    ParameterError
        If the rows come from more than one experiment, whose scores must not be averaged.
    """
    rows = rows[rows["estimator"].isin(_ROWS_OF_TABLE)]
    shared = [key for key in results.CONTEXT if key not in _NOT_SHARED]
    several = [key for key in shared if rows[key].nunique(dropna=False) > 1]
    if several:
        raise ParameterError(f"rows of probes differ in {', '.join(several)}: select one of each")
    rows = rows.assign(stage=rows["estimator"].map(_ROWS_OF_TABLE))
    targets = sorted(rows["target"].unique(), key=_order)
    lines = []
    for variant, part in rows.groupby("variant", sort=False):
        for stage in dict.fromkeys(_ROWS_OF_TABLE.values()):
            own = results.select(part, stage=stage)
            cells = {_heading(target): _cell(own, target) for target in targets}
            if len(own):
                lines.append({"variant": variant, "stage": stage} | cells)
    return pd.DataFrame(lines, columns=["variant", "stage", *map(_heading, targets)])


def _order(target: str) -> tuple[int, str]:
    order = (*HRV_TARGETS, "", "subject")  # the network's own target has any other name
    return order.index(target if target in order else ""), target


def _heading(target: str) -> str:
    names = {"r2": "R²", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
    return f"{target}, {names[metric_of(target)]}"


def _cell(rows: pd.DataFrame, target: str) -> str:
    own = results.select(rows, target=target, metric=metric_of(target), subject="all")
    if own.empty:
        return "–"
    folds, whole = own[own["fold"] != "all"]["value"], own[own["fold"] == "all"]["value"]
    return f"{whole.mean():.2f} ({folds.min():.2f} to {folds.max():.2f})"
