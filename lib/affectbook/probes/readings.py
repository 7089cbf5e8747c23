"""A network of each fold, and what linear models read from its stages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from affectbook import audit, evaluate, features
from affectbook.errors import ParameterError
from affectbook.experiments import Data, Experiment, protocol_of
from affectbook.probes import anatomy, scores
from affectbook.protocols import Protocol
from affectbook.windows import TRIAL, trial_ids

_ALPHAS = np.logspace(-1, 6, 8)


def probe(
    experiment: Experiment,
    estimator: BaseEstimator,
    *,
    variant: str,
    folds: int | None = None,
    trained: bool = True,
) -> None:
    """Train a network as `evaluate.evaluate` does, read its stages, and add the score rows.

    Each fold of ``group_kfold_subject`` has its own network, and after each stage its probes:

    - heart rate (1/min), RMSSD and SDNN (ms) of a window, as `features.hrv` finds them, by ridge
      regression; the reference predicts the mean of the training windows;
    - the network's own target, by logistic regression;
    - the subject, among those that this network has never seen: logistic regression learns from
      the first half of each of their trials, and is tested on the second. The reference guesses.

    Probes of the first two kinds learn from windows that the network was trained on, where its
    features may differ from those of new people: they may read less than there is. So may all of
    them because they are linear.

    Parameters
    ----------
    experiment
        Its windows are read; its score rows grow, as `scores.score_rows` describes them.
    estimator
        A :class:`~affectbook.models.network.WindowNet` of an HCMNet.
    variant
        As score rows call it; ``+untrained`` is added where `trained` is False.
    folds
        Only the first so many; None for all.
    trained
        False: keep the initial weights, to see what a network passes on before it has learnt.

    Raises
    ------
    ParameterError
        If `folds` is less than one, or the network is no HCMNet.
    AuditError
        If the split leaks.
    """
    if folds is not None and folds < 1:
        raise ParameterError(f"folds must be 1 or more, or None for all of them, not {folds}")
    data, setting = experiment.data, experiment.setting
    protocol = protocol_of(setting, scores.PROTOCOL)
    hrv = features.hrv(data.X, data.sfreq)
    answers = []
    for number, (train, test) in enumerate(islice(protocol.split(data.y, data.meta), folds)):
        fold = _Fold(number, data, hrv, setting.target, train, test)
        network = fold.network(estimator, protocol, setting.seed + number, trained)
        X = data.X if network.scaler_ is None else network.scaler_.transform(data.X)
        answers += fold.references()
        for stage, Z in anatomy.stages(network.module_, X).items():
            answers += fold.answers(f"{scores.PREFIX}{stage}", Z)
    named = variant if trained else f"{variant}+untrained"
    rows = scores.score_rows(
        pd.concat(answers, ignore_index=True),
        experiment.context() | {"variant": named, "placebo": False},
        n_outputs=data.n_outputs,
        seed=setting.seed,
    )
    experiment.rows.append(rows)


@dataclass(frozen=True)
class _Fold:
    """One split into training and test windows, and the probes made in it.

    `hrv` has one row per window; features ``Z`` are ``(n_windows, n_features)``, of all windows.
    """

    number: int
    data: Data
    hrv: pd.DataFrame
    target: str
    train: np.ndarray
    test: np.ndarray

    def network(
        self, estimator: BaseEstimator, protocol: Protocol, seed: int, trained: bool
    ) -> BaseEstimator:
        """Return the network that `evaluate.evaluate` has in this fold, or what it starts from."""
        X, y, meta = self.data.X, self.data.y, self.data.meta
        model = evaluate.seeded(estimator, seed)
        inner = protocol.inner(y, meta, self.train, seed)
        fit, selected = (self.train, None) if inner is None else inner
        report = audit.audit(self.train, self.test, meta, y, fitted_on=fit, selected_on=selected)
        audit.require(report, protocol, self.number)
        if trained:
            valid = None if selected is None else (X[selected], y[selected])
            return model.fit(X[fit], y[fit], valid=valid)
        with anatomy.seeded(seed):
            model.initialize()
        model.scaler_ = None if model.scaler is None else clone(model.scaler).fit(X[fit])
        return model

    def references(self) -> list[pd.DataFrame]:
        """Return the answers of those that see no features."""
        answers = list(self._hrv(scores.MEAN, None))
        first, later = self._halves()
        n_subjects = self.data.meta["subject"].iloc[first].nunique()
        if n_subjects > 1 and len(later):
            guess = np.full(len(later), 1 / n_subjects)
            answers.append(self._answers(scores.CHANCE, "subject", later, guess, guess))
        return answers

    def answers(self, name: str, Z: np.ndarray) -> list[pd.DataFrame]:
        """Return the answers of all probes of one stage, under the name of its estimator."""
        subjects = self.data.meta["subject"].to_numpy()
        split = self.train, self.test
        answers = [*self._hrv(name, Z), self._class(name, self.target, Z, self.data.y, split)]
        first, later = self._halves()
        if len(np.unique(subjects[first])) > 1 and len(later):
            answers.append(self._class(name, "subject", Z, subjects, (first, later)))
        return answers

    def _hrv(self, name: str, Z: np.ndarray | None) -> Iterator[pd.DataFrame]:
        """Yield the answers of ridge regression, or of the training mean where `Z` is None."""
        subjects = self.data.meta["subject"].to_numpy()
        for target in scores.HRV_TARGETS:
            y = self.hrv[target].to_numpy()
            train, test = (part[np.isfinite(y[part])] for part in (self.train, self.test))
            if not len(train) or not len(test):
                continue
            model = DummyRegressor() if Z is None else _ridge(subjects[train])
            given = np.zeros((len(y), 1)) if Z is None else Z
            predicted = model.fit(given[train], y[train]).predict(given[test])
            yield self._answers(name, target, test, y[test], predicted)

    def _class(
        self, name: str, target: str, Z: np.ndarray, y: np.ndarray, split: tuple[np.ndarray, ...]
    ) -> pd.DataFrame:
        """Return the answers of a logistic regression in which classes weigh the same."""
        train, test = split
        logistic = LogisticRegression(class_weight="balanced", max_iter=2000)
        model = make_pipeline(StandardScaler(), logistic).fit(Z[train], y[train])
        return self._answers(name, target, test, y[test], model.predict(Z[test]))

    def _answers(
        self, name: str, target: str, test: np.ndarray, true: np.ndarray, predicted: np.ndarray
    ) -> pd.DataFrame:
        rows = self.data.meta.iloc[test][[*TRIAL, "window"]]
        return rows.assign(
            estimator=name, target=target, fold=self.number, y_true=true, y_pred=predicted
        )

    def _halves(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the test windows of the first half of their trial, and those that come after it.

        A window of the second half that has samples in common with the first is of neither.
        """
        meta = self.data.meta.iloc[self.test].reset_index(drop=True)
        trials = trial_ids(meta)
        rank = meta.groupby(trials)["start_s"].rank(method="first")
        first = rank <= np.ceil(rank.groupby(trials).transform("max") / 2)
        border = meta["stop_s"].where(first).groupby(trials).transform("max")
        later = ~first & (meta["start_s"] >= border - 1e-6)
        return self.test[first.to_numpy()], self.test[later.to_numpy()]


def _ridge(subjects: np.ndarray) -> BaseEstimator:
    """Return ridge regression for training windows ``(n_windows,)`` of these subjects."""
    n_splits = min(5, len(np.unique(subjects)))
    # Windows of one subject are alike: left out one by one they would favour a weak penalty.
    folds = list(GroupKFold(n_splits).split(subjects, groups=subjects)) if n_splits > 1 else None
    ridge = RidgeCV(_ALPHAS, cv=folds, scoring="neg_mean_squared_error")
    return make_pipeline(StandardScaler(), ridge)
