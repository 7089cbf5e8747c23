"""Evaluation: a fresh estimator per fold that sees training windows only, and no silent failure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from builders import windows_of
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from affectbook import protocols
from affectbook.errors import AuditError, ProtocolError
from affectbook.evaluate import PREDICTION_COLUMNS, evaluate, fold_seed, seeded
from affectbook.models.network import HISTORY, WindowNet
from affectbook.models.scaling import WindowScaler
from affectbook.protocols import Protocol
from affectbook.windows import trial_ids

Found = tuple[np.ndarray, np.ndarray, pd.DataFrame]


@pytest.fixture
def found() -> Found:
    """Six subjects with four trials, two a session; a window's samples are its own number."""
    y, meta = windows_of((f"S{s}", f"t{t}", t % 2, 4) for s in range(6) for t in range(4))
    meta["session"] = np.where(meta["trial"] < "t2", "1", "2")
    X = np.arange(len(y), dtype=np.float32)[:, None, None] * np.ones((1, 1, 8), np.float32)
    return X, y, meta


class Recorder(ClassifierMixin, BaseEstimator):
    """Remembers which windows it was shown, in a log that all its copies share."""

    log: list[dict] = []

    def __init__(self, seed: int = 0, fails_at: int | None = None) -> None:
        self.seed = seed
        self.fails_at = fails_at

    def fit(self, X: np.ndarray, y: np.ndarray) -> Recorder:
        assert not hasattr(self, "classes_"), "fitted before"
        if self.fails_at == len(self.log):
            raise ZeroDivisionError("this fold cannot be fitted")
        self.classes_ = np.unique(y)
        self.log.append({"seed": self.seed, "fit": set(X[:, 0, 0].astype(int))})
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        self.log[-1]["tested"] = set(X[:, 0, 0].astype(int))
        return np.zeros(len(X), int)


class ValidRecorder(Recorder):
    """Takes validation windows besides."""

    def fit(self, X: np.ndarray, y: np.ndarray, valid: tuple | None = None) -> ValidRecorder:
        super().fit(X, y)
        self.log[-1]["valid"] = None if valid is None else set(valid[0][:, 0, 0].astype(int))
        return self


@pytest.fixture(autouse=True)
def log() -> list[dict]:
    Recorder.log.clear()
    return Recorder.log


class TinyNet(nn.Module):
    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(n_chans * n_times, 8), nn.Dropout(0.3), nn.Linear(8, n_outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def net(X: np.ndarray, **kwargs: object) -> WindowNet:
    shape = {"module__n_chans": 1, "module__n_times": X.shape[2], "module__n_outputs": 2}
    settings = {"max_epochs": 2, "batch_size": 16, "scaler": WindowScaler("global")}
    return WindowNet(TinyNet, **shape | settings | kwargs)


@pytest.mark.parametrize("estimator", [Recorder(), ValidRecorder()], ids=["plain", "validates"])
@pytest.mark.parametrize("name", protocols.PROTOCOLS)
def test_a_fresh_copy_sees_training_windows_only(found, log, name, estimator) -> None:
    X, y, meta = found
    protocol = protocols.get(name, **({"gap_s": 0.0} if name == "blocked_within_trial" else {}))
    evaluate(estimator, X, y, meta, protocol, seed=5)
    assert not hasattr(estimator, "classes_"), "the estimator given is left alone"
    for fold, (train, test) in enumerate(protocol.split(y, meta)):
        seen, valid = log[fold]["fit"], log[fold].get("valid")
        assert log[fold]["tested"] == set(test) and log[fold]["seed"] == fold_seed(5, fold)
        assert seen | (valid or set()) <= set(train) and not seen & (valid or set())
        assert seen == set(train) or valid
    assert len(log) == fold + 1


def test_folds_of_different_seeds_never_share_a_seed() -> None:
    seeds = [fold_seed(seed, fold) for seed in range(20) for fold in range(60)]
    assert len(set(seeds)) == len(seeds)


def test_validation_windows_come_from_other_subjects_or_trials(found, log) -> None:
    X, y, meta = found
    subjects, trials = meta["subject"].to_numpy(), trial_ids(meta)
    for name, groups in (("group_kfold_subject", subjects), ("leave_one_trial_out", trials)):
        log.clear()
        evaluate(ValidRecorder(), X, y, meta, protocols.get(name), folds=2)
        for fold in log:
            assert fold["valid"]
            assert not set(groups[list(fold["fit"])]) & set(groups[list(fold["valid"])])


def test_without_an_inner_split_all_training_windows_are_fitted(log) -> None:
    y, meta = windows_of(
        [("S1", "a", 0, 4), ("S1", "b", 1, 4), ("S2", "a", 0, 4), ("S2", "b", 1, 4)]
    )
    X = np.arange(16, dtype=np.float32)[:, None, None]
    evaluate(ValidRecorder(), X, y, meta, protocols.get("leave_one_subject_out"))
    assert [fold["valid"] for fold in log] == [None, None]
    assert [len(fold["fit"]) for fold in log] == [8, 8]


def test_predictions_name_every_test_window(found) -> None:
    X, y, meta = found
    done = evaluate(DummyClassifier(), X, y, meta, protocols.get("group_kfold_subject", n_splits=3))
    table = done.predictions
    assert list(table.columns) == PREDICTION_COLUMNS and len(table) == len(y)
    back = meta.assign(label=y).merge(table, on=["subject", "session", "trial", "window"])
    assert len(back) == len(y) and (back["label"] == back["y_true"]).all()
    assert table.groupby("subject")["fold"].nunique().max() == 1
    assert list(done.audits["fold"]) == [0, 1, 2] and done.histories.empty
    assert done.audits[["shared_subjects", "overlapping_windows"]].to_numpy().sum() == 0


def test_rows_in_any_order_are_the_same_windows(found) -> None:
    X, y, meta = found
    order = np.random.default_rng(0).permutation(len(y))
    model = make_pipeline(FunctionTransformer(np.squeeze), StandardScaler(), LogisticRegression())
    keys = ["subject", "session", "trial", "window"]
    tables = [
        evaluate(model, X[i], y[i], meta.iloc[i], protocols.get("leave_one_subject_out"))
        .predictions.sort_values(keys, ignore_index=True)
        .drop(columns="fold")
        for i in (np.arange(len(y)), order)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_published_leaks_are_counted_not_refused(found) -> None:
    X, y, meta = found
    done = evaluate(
        DummyClassifier(), X, y, meta, protocols.get("shuffled_windows_as_published", n_splits=3)
    )
    assert (done.audits["shared_subjects"] == 6).all() and (done.audits["shared_trials"] > 0).all()


@dataclass(frozen=True)
class SelectsOnTest(Protocol):
    """Hands out test windows for early stopping."""

    def inner(self, y: np.ndarray, meta: pd.DataFrame, train: np.ndarray, seed: int) -> tuple:
        return train, np.setdiff1d(np.arange(len(y)), train)


@dataclass(frozen=True)
class FitsOnTest(Protocol):
    """Hands out test windows to be fitted on."""

    def inner(self, y: np.ndarray, meta: pd.DataFrame, train: np.ndarray, seed: int) -> tuple:
        return np.arange(len(y)), train


@pytest.mark.parametrize(
    ("cheat", "words"),
    [
        (SelectsOnTest, "test windows used for selection: 16"),
        (FitsOnTest, "test windows used to fit statistics: 16"),
    ],
)
def test_peeking_at_test_windows_is_an_audit_error(found, cheat, words) -> None:
    X, y, meta = found
    peeks = cheat(**vars(protocols.get("leave_one_subject_out")))
    with pytest.raises(AuditError, match=words):
        evaluate(ValidRecorder(), X, y, meta, peeks)


def test_an_honest_name_on_a_leaking_split_is_an_audit_error(found) -> None:
    X, y, meta = found
    leaks = protocols.get("shuffled_windows_as_published")
    claims_more = Protocol(**vars(leaks) | {"name": "group_kfold_subject", "as_published": False})
    with pytest.raises(AuditError, match="group_kfold_subject claims .* subjects on both sides"):
        evaluate(DummyClassifier(), X, y, meta, claims_more)


def test_a_fold_that_fails_stops_everything(found, log) -> None:
    X, y, meta = found
    with pytest.raises(ZeroDivisionError, match="cannot be fitted"):
        evaluate(Recorder(fails_at=2), X, y, meta, protocols.get("leave_one_subject_out"))
    assert len(log) == 2


def test_only_the_first_folds(found) -> None:
    X, y, meta = found
    protocol = protocols.get("leave_one_subject_out")
    done = evaluate(DummyClassifier(), X, y, meta, protocol, folds=2)
    assert set(done.predictions["fold"]) == {0, 1}
    whole = evaluate(DummyClassifier(), X, y, meta, protocol).predictions
    pd.testing.assert_frame_equal(done.predictions, whole[whole["fold"] < 2])


def test_no_fold_is_an_error(found) -> None:
    X, y, meta = found
    with pytest.raises(ProtocolError, match="gave no fold"):
        evaluate(DummyClassifier(), X, y, meta, protocols.get("leave_one_subject_out"), folds=0)


def test_training_curves_have_a_row_per_fold_and_epoch(found) -> None:
    X, y, meta = found
    done = evaluate(net(X), X, y, meta, protocols.get("group_kfold_subject", n_splits=3))
    assert list(done.histories.columns) == [*HISTORY, "fold"]
    assert list(done.histories["fold"]) == [0, 0, 1, 1, 2, 2]
    assert list(done.histories["epoch"]) == [1, 2] * 3
    assert done.histories[["train_loss", "valid_loss"]].notna().all(axis=None)


def test_the_scaler_of_a_network_sees_training_windows_only(found) -> None:
    X, y, meta = found
    X = X.copy()
    X[meta["subject"] == "S5"] = 1e6

    class Checks(WindowScaler):
        def fit(self, X: np.ndarray, y: object = None) -> WindowScaler:
            Recorder.log.append({"largest": X.max()})
            return super().fit(X, y)

    evaluate(net(X, scaler=Checks("global")), X, y, meta, protocols.get("leave_one_subject_out"))
    assert Recorder.log[5]["largest"] < 1e6, "the fold that tests S5"
    assert max(fold["largest"] for fold in Recorder.log) == 1e6


def test_every_seed_of_an_estimator_is_set() -> None:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(random_state=1))
    assert seeded(pipeline, 7).get_params()["logisticregression__random_state"] == 7
    assert pipeline.get_params()["logisticregression__random_state"] == 1
    assert seeded(Recorder(), 7).seed == 7
    assert seeded(StandardScaler(), 7).get_params() == StandardScaler().get_params()


def test_same_seed_same_bits_another_seed_differs(found) -> None:
    X, y, meta = found
    X = X + np.random.default_rng(0).standard_normal(X.shape).astype(np.float32)
    protocol = protocols.get("leave_one_subject_out")
    first, again, other = (
        evaluate(net(X, max_epochs=3), X, y, meta, protocol, seed=seed) for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(first.predictions, again.predictions, check_exact=True)
    pd.testing.assert_frame_equal(first.histories, again.histories, check_exact=True)
    assert not first.histories.equals(other.histories)
