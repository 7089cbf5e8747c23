"""Estimator + protocol -> one prediction per test window."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone

from affectbook.audit import audit, require
from affectbook.errors import ProtocolError
from affectbook.folds import Fold, Kept
from affectbook.models import scaling
from affectbook.protocols import Protocol
from affectbook.windows import TRIAL

Look = Callable[[int, BaseEstimator, np.ndarray], None]
PREDICTION_COLUMNS = ["fold", *TRIAL, "window", "y_true", "y_pred"]


class Evaluation(NamedTuple):
    """What an evaluation leaves behind.

    Attributes
    ----------
    predictions : pandas.DataFrame
        One row per test window and fold: fold, subject, session, trial, window, y_true, y_pred.
    audits : pandas.DataFrame
        One row per fold: the counts of `audit.Audit`.
    histories : pandas.DataFrame
        Training curves of networks, with a column fold; empty for other estimators.
    """

    predictions: pd.DataFrame
    audits: pd.DataFrame
    histories: pd.DataFrame


def seeded(estimator: BaseEstimator, seed: int) -> BaseEstimator:
    """Return a fresh copy of an estimator with each of its seeds set."""
    copy = clone(estimator)
    names = [n for n in copy.get_params() if n.split("__")[-1] in ("seed", "random_state")]
    return copy.set_params(**dict.fromkeys(names, seed))


def fold_seed(seed: int, fold: int) -> int:
    """Return the seed of one fold: no fold of one seed starts as a fold of another seed does."""
    return 1000 * seed + fold


def _fit_fold(
    estimator: BaseEstimator, X: np.ndarray, y: np.ndarray, inner: tuple | None, train: np.ndarray,
    unlabelled: np.ndarray | None = None,
) -> tuple[BaseEstimator, np.ndarray, np.ndarray | None]:  # fmt: skip
    """Fit on one fold; return the estimator, the windows it was fitted on, and selected on."""
    if unlabelled is not None:
        return estimator.fit(X[train], y[train], unlabelled=X[unlabelled]), train, None
    if "valid" not in inspect.signature(estimator.fit).parameters:
        return estimator.fit(X[train], y[train]), train, None
    if inner is None:
        return estimator.fit(X[train], y[train], valid=None), train, None
    fit, valid = inner
    return estimator.fit(X[fit], y[fit], valid=(X[valid], y[valid])), fit, valid


def _fold(
    estimator: BaseEstimator,
    X: np.ndarray,
    y: np.ndarray,
    meta: pd.DataFrame,
    protocol: Protocol,
    split: tuple[np.ndarray, np.ndarray],
    fold: int,
    seed: int,
    look: Look | None,
) -> Fold:
    """Train and test a fresh copy of an estimator on one fold, and audit it."""
    train, test = split
    model, inner = seeded(estimator, seed), None
    if "valid" in inspect.signature(model.fit).parameters:
        inner = protocol.inner(y, meta, train, seed)
    also = protocol.transductive and "unlabelled" in inspect.signature(model.fit).parameters
    unlabelled = np.union1d(train, test) if also else None
    model, fitted_on, selected_on = _fit_fold(model, X, y, inner, train, unlabelled)
    pretrained_on = set(getattr(model, "pretrained_subjects_", ()))
    if getattr(model, "saw_unlabelled_", False):
        pretrained_on |= set(meta["subject"].iloc[unlabelled])
    report = audit(
        train, test, meta, y,
        fitted_on=fitted_on, selected_on=selected_on, pretrained_on=pretrained_on,
    )  # fmt: skip
    require(report, protocol, fold)
    if look is not None:
        look(fold, model, X[test])
    history = model.history_frame() if hasattr(model, "history_frame") else None
    return Fold(model.predict(X[test]), report, history)


def evaluate(
    estimator: BaseEstimator,
    X: np.ndarray,
    y: np.ndarray,
    meta: pd.DataFrame,
    protocol: Protocol,
    *,
    seed: int = 0,
    folds: int | None = None,
    kept: Kept | None = None,
    look: Look | None = None,
) -> Evaluation:
    """Train and test an estimator under a protocol.

    Each fold starts from a fresh copy. An estimator whose ``fit`` takes ``valid`` gets an inner
    split made at the protocol's own level; scalers belong to the estimator and see training
    windows only. Every fold is audited, and an honest protocol that leaks is an error. Subjects
    that an encoder was pretrained on are read from the fitted estimator
    (``pretrained_subjects_``); where the protocol is transductive, an estimator whose ``fit`` takes
    ``unlabelled`` gets all windows, those of the test, too, without labels.

    Parameters
    ----------
    estimator
        Any scikit-learn classifier over ``(n_windows, n_chans, n_times)``.
    X, y, meta
        As `windows.make_windows` gives them; `y` may be a placebo.
    protocol
        From `protocols.get`.
    seed
        Of the estimator and of the inner split, one for each fold: `fold_seed`.
    folds
        Run only the first so many folds.
    kept
        Where finished folds are kept; those that are there are not made again.
    look
        Called with the number, the fitted estimator and the test windows of each fold. Finished
        folds cannot be looked at again: none is kept then.

    Raises
    ------
    AuditError
        If an honest protocol leaks.
    ProtocolError
        If the protocol cannot split these windows. An exception inside a fold is not caught.
    CacheError
        If a finished fold cannot be kept.
    """
    predictions, audits, histories = [], [], []
    if scaling.by_subject(estimator):
        X = scaling.of_subjects(X, meta["subject"], estimator.scaler.kind)
    splits = list(islice(protocol.split(y, meta), folds))
    kept = None if look is not None else kept
    for fold, (train, test) in enumerate(splits):
        if kept is not None:
            kept.begin(fold, len(splits))
        done = None if kept is None else kept.read(fold, train, test)
        if done is None:
            own = fold_seed(seed, fold)
            done = _fold(estimator, X, y, meta, protocol, (train, test), fold, own, look)
            done = done if kept is None else kept.write(fold, train, test, done)
        audits.append({"fold": fold, **vars(done.audit)})
        rows = meta.iloc[test][[*TRIAL, "window"]].copy()
        rows.insert(0, "fold", fold)
        predictions.append(rows.assign(y_true=y[test], y_pred=done.y_pred))
        if done.history is not None:
            histories.append(done.history.assign(fold=fold))
    if not predictions:
        raise ProtocolError(f"{protocol.name} gave no fold; {protocol.needs}")
    return Evaluation(
        pd.concat(predictions, ignore_index=True)[PREDICTION_COLUMNS],
        pd.DataFrame(audits),
        pd.concat(histories, ignore_index=True) if histories else pd.DataFrame(),
    )
