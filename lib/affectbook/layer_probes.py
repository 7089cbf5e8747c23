"""What linear models read from each layer of a frozen backbone: emotion, recording, rhythm, beats.

The layers share everything but their numbers: windows, splits, models, penalties. The same models
are also given a constant in the place of a layer; what they score on it is chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from affectbook import beats, evaluate, protocols, results, scoring
from affectbook.audit import audit, require
from affectbook.errors import ParameterError
from affectbook.experiments import Data, Experiment, protocol_of
from affectbook.models import scaling
from affectbook.results import Interval
from affectbook.scoring import SCORE_COLUMNS
from affectbook.windows import TRIAL, trial_ids

EMOTION, RECORDING, SUBJECT = "probe_emotion", "probe_recording", "probe_subject"
BEATS = {
    "probe_rate": "heart_rate", "probe_variability": "log_rmssd",
    "probe_amplitude": "r_height", "probe_shape": "t_ratio",
}  # fmt: skip
"""Regressions: what each reads, of `beats.MEASURES`."""

METRICS = {
    EMOTION: "balanced_accuracy",
    RECORDING: "accuracy",
    SUBJECT: "accuracy",
} | dict.fromkeys(BEATS, "r2")
LAYER, CONSTANT = "layer_", "constant"
PEOPLE, LATER = "group_kfold_subject", "blocked_within_trial"
COUNTED, LEFT_OUT = "beats", "windows_left_out"

_C = 0.01  # of logistic regression; from 0.01 to 1 scores hardly change, below they fall
_ALPHAS = (1.0, 10.0, 100.0, 1e3, 1e4)
_INNER = 3
_SUMS = ("squared_error", "sum", "sum_of_squares")


def probe(paper: ModuleType, experiment: Experiment, *, placebo: bool = False) -> pd.DataFrame:
    """Ask linear models what each layer knows.

    Logistic regressions of standardised features name the emotion of a window under the setting's
    protocol, and, trained on earlier and tested on later windows of each recording, its recording
    and its subject. Ridge regressions, whose penalty people held back from training choose for each
    number, tell four numbers of the beats of new people.

    Parameters
    ----------
    paper
        Module with `build`, whose estimator has a frozen ``encoder`` of layers, as
        `layer_embeddings.LayerEmbeddings`, and a ``scaler``.
    experiment
        Gets the rows. Variants end in ``+layer_1`` to ``+layer_12``, and ``+constant``. Estimators
        are ``probe_emotion`` with all that `scoring.score_rows` gives; ``probe_recording`` and
        ``probe_subject``: accuracy, and confusions of wrong (0) and right (1) of each subject;
        those of `BEATS`: r2 of each fold and, of all test windows against their mean, of all, and
        of each subject the sums that `interval` takes. Estimator ``beats`` counts
        ``windows_left_out`` of the latter, since beats could not be measured.
    placebo
        Only the emotion is asked for, and labels are coins tossed per trial.

    Returns
    -------
    pandas.DataFrame
        The rows.

    Raises
    ------
    ParameterError
        If the estimator has no frozen encoder of layers.
    AuditError
        If a split leaks, or pretraining has seen subjects who are to be new.
    """
    layers, seen = embedded(paper, experiment)
    data, parts = experiment.data, []
    measured = None if placebo else beats.measures(data.X, data.sfreq)
    for ending, Z in layers:
        variant = f"{experiment.setting.variant}+{ending}"
        parts.append(_emotion(experiment, Z, variant, seen, placebo))
        if not placebo:
            parts += _identities(experiment, Z, variant)
            parts += _beats(experiment, Z, variant, measured, seen)
    if not placebo:
        left_out = int(measured.isna().any(axis=1).sum())
        told = {"fold": "all", "subject": "all", "metric": LEFT_OUT, "value": left_out}
        parts.append(_rows(experiment, [told | _counts(data.meta)], COUNTED,
                           experiment.setting.variant, PEOPLE))  # fmt: skip
    rows = pd.concat(parts, ignore_index=True)
    experiment.rows.append(rows)
    return rows


def embedded(
    paper: ModuleType, experiment: Experiment
) -> tuple[Iterator[tuple[str, np.ndarray]], tuple[str, ...]]:
    """Return endings of variants, each with features of all windows; and subjects already seen.

    Features are ``(n_windows, h)`` of each layer and, last, ``(n_windows, 1)`` of zeros.

    Raises
    ------
    ParameterError
        As `probe`.
    """
    setting, data = experiment.setting, experiment.data
    estimator = paper.build(setting, data)
    encoder = getattr(estimator, "encoder", None)
    if encoder is None or estimator.finetune or not hasattr(encoder, "backbone"):
        raise ParameterError(f"{setting.variant} has no frozen encoder of layers to probe")
    X, kind = data.X, getattr(estimator.scaler, "kind", "none")
    if kind in scaling.BEFORE:
        X = scaling.of_subjects(X, data.meta["subject"].to_numpy(), kind)
    encoder = evaluate.seeded(encoder, evaluate.fold_seed(setting.seed, 0)).fit(X)
    Z = encoder.transform(X)
    named = [(f"{LAYER}{k + 1}", Z[:, k]) for k in range(Z.shape[1])]
    return iter([*named, (CONSTANT, np.zeros((len(Z), 1)))]), tuple(encoder.subjects_)


class LinearProbe(ClassifierMixin, BaseEstimator):
    """Logistic regression of standardised features ``(n, h)``.

    Parameters
    ----------
    seen
        Subjects that the features were pretrained on, for the audit.
    """

    def __init__(self, seen: tuple[str, ...] = ()) -> None:
        self.seen = seen

    def fit(self, X: np.ndarray, y: np.ndarray) -> LinearProbe:
        """Fit scaler and model; ``pretrained_subjects_`` are those that were seen."""
        self.pretrained_subjects_ = self.seen
        model = LogisticRegression(C=_C, max_iter=1000)
        self.model_ = make_pipeline(StandardScaler(), model).fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return a class for each row of features."""
        return self.model_.predict(X)


def ridge(Z: np.ndarray, targets: np.ndarray, groups: np.ndarray) -> BaseEstimator:
    """Return ridge regression of several targets, each with the penalty that groups choose for it.

    Parameters
    ----------
    Z, targets
        Features ``(n, h)`` and what they shall tell ``(n, m)``.
    groups
        Of each window ``(n,)``; each is told by what the others taught. Windows of one group are
        alike, and would choose too weak a penalty if they were left out one by one. Of a single
        group nothing can be chosen: the strongest one is taken.
    """
    n_groups, best = len(np.unique(groups)), np.full(targets.shape[1], _ALPHAS[-1])
    if n_groups > 1:
        inner = GroupKFold(min(_INNER, n_groups))
        errors = [
            np.square(cross_val_predict(make_pipeline(StandardScaler(), Ridge(alpha)), Z, targets,
                                        groups=groups, cv=inner) - targets).mean(0)
            for alpha in _ALPHAS
        ]  # fmt: skip
        best = np.array(_ALPHAS)[np.argmin(errors, axis=0)]
    return make_pipeline(StandardScaler(), Ridge(best)).fit(Z, targets)


def _emotion(
    experiment: Experiment, Z: np.ndarray, variant: str, seen: tuple[str, ...], placebo: bool
) -> pd.DataFrame:
    protocol, seed = protocol_of(experiment.setting), experiment.setting.seed
    y, n_outputs = experiment.labels(protocol, placebo)
    done = evaluate.evaluate(LinearProbe(seen), Z, y, experiment.data.meta, protocol, seed=seed)
    context = _context(experiment, EMOTION, variant, protocol.name) | {"placebo": placebo}
    return scoring.score_rows(done.predictions, context, n_outputs=n_outputs, seed=seed)


def _identities(experiment: Experiment, Z: np.ndarray, variant: str) -> Iterator[pd.DataFrame]:
    """Yield the rows of recording and subject, which share one split."""
    data = experiment.data
    subjects, recordings = data.meta["subject"].to_numpy(), trial_ids(data.meta)
    protocol = protocols.get(LATER)
    ((train, test),) = protocol.split(data.y, data.meta)
    # A recording of which nothing is left to train on cannot be told.
    test = test[np.isin(recordings[test], recordings[train])]
    require(audit(train, test, data.meta, fitted_on=train), protocol, 0)
    for name, whose in ((RECORDING, recordings), (SUBJECT, subjects)):
        said = LinearProbe().fit(Z[train], whose[train]).predict(Z[test])
        told = data.meta.iloc[test][[*TRIAL, "window"]]
        told = told.assign(fold=0, y_true=1, y_pred=(said == whose[test]).astype(int))
        rows = scoring.score_rows(told, _context(experiment, name, variant, LATER), n_outputs=2,
                                  seed=experiment.setting.seed)  # fmt: skip
        # To be right is the only class, so that accuracy says it all.
        yield rows[~rows["metric"].isin(["balanced_accuracy", "macro_f1"])]


def _beats(
    experiment: Experiment, Z: np.ndarray, variant: str, measured: pd.DataFrame,
    seen: tuple[str, ...],
) -> Iterator[pd.DataFrame]:  # fmt: skip
    """Yield the rows of all regressions; of windows without beats nothing is learnt or asked."""
    data, found = experiment.data, measured.notna().all(axis=1).to_numpy()
    if not found.any():
        return
    targets, answers = measured[list(BEATS.values())].to_numpy(), []
    protocol = protocol_of(experiment.setting, PEOPLE)
    for fold, (train, test) in enumerate(protocol.split(data.y, data.meta)):
        train, test = train[found[train]], test[found[test]]
        require(audit(train, test, data.meta, fitted_on=train, pretrained_on=seen), protocol, fold)
        if len(train) and len(test):
            model = ridge(Z[train], targets[train], _groups(data, train))
            answers.append((fold, test, model.predict(Z[test])))
    for column, name in enumerate(BEATS if answers else ()):
        scores = _of_values(data.meta, [(fold, test, targets[test, column], said[:, column])
                                        for fold, test, said in answers])  # fmt: skip
        yield _rows(experiment, scores, name, variant, PEOPLE)


def _groups(data: Data, train: np.ndarray) -> np.ndarray:
    """Return whose training windows are; of a single subject, of which recording."""
    subjects = data.meta["subject"].to_numpy()[train]
    return subjects if len(np.unique(subjects)) > 1 else trial_ids(data.meta)[train]


def _of_values(meta: pd.DataFrame, answers: list[tuple]) -> list[dict[str, object]]:
    """Return the scores of a regression from fold, test windows, true values and predictions."""
    rows = []
    for fold, test, true, said in answers:
        if np.ptp(true) > 0:
            told = {"fold": str(fold), "subject": "all", "metric": "r2"}
            rows.append(told | {"value": r2_score(true, said)} | _counts(meta.iloc[test]))
    _, test, true, said = (np.concatenate([np.atleast_1d(one) for one in part])
                           for part in zip(*answers, strict=True))  # fmt: skip
    sums = np.stack([(true - said) ** 2, true, true**2])
    if np.ptp(true) > 0:
        told = {"fold": "all", "subject": "all", "metric": "r2", "value": r2_score(true, said)}
        rows.append(told | _counts(meta.iloc[test]))
    subjects = meta["subject"].to_numpy()[test]
    for subject in np.unique(subjects):
        own = subjects == subject
        told = {"fold": "all", "subject": subject} | _counts(meta.iloc[test[own]])
        rows += [told | {"metric": metric, "value": value}
                 for metric, value in zip(_SUMS, sums[:, own].sum(1), strict=True)]  # fmt: skip
    return rows


def _counts(meta: pd.DataFrame) -> dict[str, int]:
    return {"n_test_windows": len(meta), "n_test_trials": len(meta[TRIAL].drop_duplicates())}


def _context(
    experiment: Experiment, estimator: str, variant: str, protocol: str
) -> dict[str, object]:
    told = {"estimator": estimator, "variant": variant, "protocol": protocol, "placebo": False}
    return experiment.context() | told


def _rows(
    experiment: Experiment, scores: list[dict[str, object]], estimator: str, variant: str,
    protocol: str,
) -> pd.DataFrame:  # fmt: skip
    told = _context(experiment, estimator, variant, protocol) | {"seed": experiment.setting.seed}
    return pd.DataFrame(scores).assign(**told)[SCORE_COLUMNS]


def interval(rows: pd.DataFrame, seed: int = 0) -> Interval:
    """Bootstrap a probe's score over subjects, as `results.interval`; of regressions R2, too.

    R2 is that of all test windows against their own mean, so that the mean of the training windows
    scores a little below 0. Subjects are drawn with replacement, and their sums added up.

    Parameters
    ----------
    rows
        Score rows of one probe of one layer (any number of seeds).
    seed
        Of the bootstrap.

    Raises
    ------
    ParameterError
        If they are rows of more than one probe, or of none.
    """
    names = set(rows["estimator"])
    if len(names) != 1 or not names <= set(METRICS):
        raise ParameterError(f"an interval is that of one probe, not of {sorted(names)}")
    metric = METRICS[names.pop()]
    if metric != "r2":
        return results.interval(rows, metric, seed)
    own = rows[rows["metric"].isin(_SUMS) & (rows["fold"] == "all")]
    wide = own.pivot_table(index="subject", columns="metric", values="value", aggfunc="sum")
    if wide.empty:
        return Interval(np.nan, np.nan, np.nan, 0)
    counts = results.select(own, metric=_SUMS[0]).groupby("subject")["n_test_windows"].sum()
    sums = np.column_stack([counts.reindex(wide.index), wide[list(_SUMS)]]).astype(float)
    value, n_subjects = float(_r2(sums.sum(0))), len(sums)
    if n_subjects < results.FEWEST_SUBJECTS:
        return Interval(value, np.nan, np.nan, n_subjects)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), results.N_BOOT)
    low, high = np.nanpercentile(_r2(draws @ sums), [2.5, 97.5])
    return Interval(value, float(low), float(high), n_subjects)


def _r2(sums: np.ndarray) -> np.ndarray:
    """Return R2 of count, squared error, sum and sum of squares ``(..., 4)``."""
    count, error, total, squares = np.moveaxis(sums, -1, 0)
    return 1 - error / (squares - total**2 / count)
