"""Overlaps: chosen on inner folds, scored on outer ones, and what shuffled windows make of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn
from torch.utils.data import DataLoader

from affectbook import audit, datasets, experiments, overlap_scores, protocols, results, windows
from affectbook.datasets.recording import Recording
from affectbook.errors import AuditError, ParameterError, ProtocolError
from affectbook.experiments import Data, Experiment, Setting
from affectbook.models.network import WindowNet
from affectbook.models.scaling import WindowScaler
from affectbook.overlap_scores import CHOICE, CHOSEN, CURVE, INNER, OVERLAPS, variant_of
from affectbook.results import select
from affectbook.scoring import SCORE_COLUMNS
from affectbook.watching import DrawnEpochs

SUBJECT, LATER, SHUFFLED = (
    "group_kfold_subject", "blocked_within_trial", "shuffled_windows_as_published",
)  # fmt: skip
SFREQ, SECONDS = 12.8, 5.0
N_TIMES = 64
RULE = experiments.rule_of(datasets.card("eegmat"), None, "condition")


@cache
def recordings(n_subjects: int, seconds: float, seed: int = 0) -> tuple[Recording, ...]:
    """Return noise: no subject, no recording and no condition has anything that the others lack.

    So windows share nothing with those of the same recording but the samples that they share.
    """
    rng, conditions = np.random.default_rng(seed), ("rest", "arithmetic")
    return tuple(
        Recording(rng.standard_normal((1, round(seconds * SFREQ))).astype(np.float32), SFREQ,
                  ("ECG",), "mV", f"S{s}", "1", condition, condition)
        for s in range(n_subjects) for condition in conditions
    )  # fmt: skip


def data_of(setting: Setting, n_subjects: int, seconds: float) -> Data:
    X, y, meta = windows.make_windows(
        recordings(n_subjects, seconds), setting.seconds, setting.overlap, setting.sfreq,
        label_rule=RULE, band=(None, None), faulty="keep",
    )  # fmt: skip
    card = datasets.card("eegmat")
    return Data(X, y, meta, card, RULE, "noise", Path("nowhere"), SFREQ)


def setting_of(protocol: str = SUBJECT, **given: object) -> Setting:
    plain = {
        "paper": "nmoe", "dataset": "eegmat", "tier": "open", "target": "condition",
        "label_rule": None, "protocol": protocol, "subjects": None, "seconds": SECONDS,
        "overlap": 0.75, "effect": 0.0, "fingerprint": 0.0, "variant": "published",
        "scale": "recorded", "sfreq": SFREQ, "per_trial": None, "n_splits": 3, "epochs": 3,
        "batch_size": 8, "patience": 0, "seed": 0, "device": "cpu",
    }  # fmt: skip
    return Setting(**plain | given)


def spectrum(X: np.ndarray) -> np.ndarray:
    return np.abs(np.fft.rfft(X[:, 0]))


def nearest(setting: Setting, data: Data) -> BaseEstimator:
    return make_pipeline(FunctionTransformer(spectrum), KNeighborsClassifier(1))


class Linear(nn.Module):
    """Batch norm, which refuses single windows, and one linear map."""

    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.norm, self.map = nn.BatchNorm1d(n_chans), nn.Linear(n_chans * n_times, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.map(self.norm(x).flatten(1))


class Net(WindowNet):
    """Takes no validation windows, as networks on frozen layers."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> Net:
        return super().fit(X, y)

    def get_iterator(self, dataset: object, training: bool = False) -> DataLoader:
        """Leave out a window that would be a batch of its own, as those networks do."""
        if not training or len(dataset) % self.batch_size != 1:
            return super().get_iterator(dataset, training)
        told = self.get_params_for("iterator_train") | {"batch_size": self.batch_size}
        return self.iterator_train(dataset, **told | {"drop_last": True})


def network(setting: Setting, data: Data) -> WindowNet:
    return Net(
        Linear, module__n_chans=1, module__n_times=N_TIMES, module__n_outputs=data.n_outputs,
        max_epochs=setting.epochs, batch_size=setting.batch_size, seed=setting.seed, lr=0.01,
        scaler=WindowScaler("per_window_zscore"),
    )  # fmt: skip


def chosen(
    monkeypatch: pytest.MonkeyPatch, build: object = nearest, n_subjects: int = 6,
    seconds: float = 40.0, setting: Setting | None = None, **options: object,
) -> tuple[pd.DataFrame, Experiment]:  # fmt: skip
    """Return the rows of overlaps that recordings of noise were cut at."""
    setting = setting or setting_of()
    monkeypatch.setattr(experiments, "load", lambda one: data_of(one, n_subjects, seconds))
    experiment = Experiment(setting, data_of(setting, n_subjects, seconds))
    rows = overlap_scores.choose(SimpleNamespace(build=build), experiment, **options)
    return rows, experiment


def score(rows: pd.DataFrame, overlap: float | str, estimator: str = "nmoe") -> float:
    own = select(rows, estimator=estimator, variant=variant_of("published", overlap))
    return results.overall(own, "balanced_accuracy")


# What a chapter will say of overlaps.


@pytest.mark.parametrize("protocol", [SHUFFLED, LATER, SUBJECT])
def test_on_coins_overlap_pays_where_windows_are_shuffled_and_nowhere_else(
    monkeypatch, protocol
) -> None:
    setting = setting_of(protocol, n_splits=5)
    rows, _ = chosen(monkeypatch, n_subjects=10, setting=setting, placebo=True)
    found = [score(rows, overlap) for overlap in OVERLAPS]
    error = audit.standard_error(20)
    if protocol == SHUFFLED:
        # Noise that is not shared says nothing; what is shared has the coin that belongs to it.
        assert abs(found[0] - 0.5) < error
        assert found[2:] == sorted(found[2:]) and found[3] > 0.7 and found[4] > 0.95
        assert score(rows, CHOSEN) == pytest.approx(found[4], abs=0.01)
    else:
        assert np.abs(np.array(found) - 0.5).max() < 3 * error and found[4] - found[0] < 0.1
    assert abs(score(rows, CHOSEN, INNER) - score(rows, CHOSEN)) < 2 * error


# What is trained on, and what is tested.


class Spy(ClassifierMixin, BaseEstimator):
    """Remembers the windows it sees, which name themselves; says what an overlap is told to be."""

    seen: list = []

    def __init__(self, overlap: float = 0.0, right: float = 0.0, seed: int = 0) -> None:
        self.overlap, self.right, self.seed = overlap, right, seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> Spy:
        self.known_, self.tests_ = X[:, 0, 0], []
        self.seen.append((self.overlap, self.seed, self.known_, self.tests_))
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        self.tests_.append(X[:, 0, 0])
        return np.zeros(len(X), int)


@pytest.mark.parametrize("protocol", [SHUFFLED, LATER, SUBJECT])
def test_all_overlaps_are_tested_on_the_same_windows_unless_these_are_shuffled(
    monkeypatch, protocol
) -> None:
    monkeypatch.setattr(Spy, "seen", [])
    chosen(monkeypatch, lambda setting, data: Spy(setting.overlap), overlaps=(0.0, 0.5),
           setting=setting_of(protocol))  # fmt: skip
    plain, half = ([one[1:] for one in Spy.seen if one[0] == o] for o in (0.0, 0.5))
    everything = {o: data_of(setting_of(overlap=o), 6, 40.0).X[:, 0, 0] for o in (0.0, 0.5)}
    assert len(plain) == len(half) == (2 if protocol == LATER else 12), "inner and outer folds"
    for (seed, few, tests), (same, more, others) in zip(plain, half, strict=True):
        assert seed == same
        assert len(more) > len(few) and not set(tests[0]) & set(few)
        if protocol == SHUFFLED:
            continue
        # Noise: no two windows begin with the same number.
        assert set(few) < set(more) <= set(everything[0.5])
        np.testing.assert_array_equal(tests[0], others[0])
        assert set(tests[0]) <= set(everything[0.0])
    # The outer test comes with the last training of each fold; all are tested once.
    if protocol == SUBJECT:
        outer = np.concatenate([tests[0] for _, _, tests in half[3::4]])
        assert sorted(outer) == sorted(everything[0.0])
    if protocol == SHUFFLED:
        outer = np.concatenate([tests[0] for _, _, tests in half[3::4]])
        assert sorted(outer) == sorted(everything[0.5])


def test_inner_windows_are_training_windows_of_other_subjects(monkeypatch) -> None:
    monkeypatch.setattr(Spy, "seen", [])
    chosen(monkeypatch, lambda setting, data: Spy(setting.overlap), overlaps=(0.5,))
    data = {o: data_of(setting_of(overlap=o), 6, 40.0) for o in (0.0, 0.5)}
    who = {value: subject for one in data.values()
           for value, subject in zip(one.X[:, 0, 0], one.meta["subject"], strict=True)}  # fmt: skip
    for start in range(0, len(Spy.seen), 4):
        fold = Spy.seen[start : start + 4]
        outer = {who[one] for one in fold[3][2]}
        held = [{who[one] for one in tests[0]} for _, _, _, tests in fold[:3]]
        assert set.union(*held) == outer and sum(map(len, held)) == len(outer)
        for (_, _, fit, _), valid in zip(fold[:3], held, strict=True):
            assert {who[one] for one in fit} == outer - valid


@pytest.mark.parametrize(("which", "where"), [(1, "fold 0"), (2, "fold 0, inner 0")])
def test_a_split_that_leaks_is_refused_also_an_inner_one(monkeypatch, which, where) -> None:
    plain, calls = protocols.PROTOCOLS[SUBJECT], []

    def leaking(y: np.ndarray, meta: pd.DataFrame, n_splits: int = 5) -> Iterator:
        calls.append(len(y))
        same = np.arange(len(y))
        yield from [(same, same)] if len(calls) == which else plain.splitter(y, meta, n_splits)

    monkeypatch.setitem(protocols.PROTOCOLS, SUBJECT, replace(plain, splitter=leaking))
    with pytest.raises(AuditError, match=f"but {where} has subjects on both sides"):
        chosen(monkeypatch, overlaps=(0.0, 0.5))


def test_subjects_that_a_network_was_pretrained_on_are_not_tested(monkeypatch) -> None:
    class Knows(Spy):
        pretrained_subjects_ = ("S3",)

    with pytest.raises(AuditError, match="test subjects seen in pretraining: 1"):
        chosen(monkeypatch, lambda setting, data: Knows(), overlaps=(0.0,))


# Rows.


def test_rows_have_all_columns_and_their_names(monkeypatch) -> None:
    rows, experiment = chosen(monkeypatch, network, overlaps=(0.75, 0.0), inner_folds=2)
    assert list(rows.columns) == SCORE_COLUMNS and len(experiment.rows) == 1
    assert experiment.rows[0] is rows and rows["value"].notna().all()
    assert not rows.duplicated(["estimator", "variant", "fold", "subject", "metric"]).any()
    for estimator in ("nmoe", INNER):
        own = select(rows, estimator=estimator, fold="all", metric="balanced_accuracy")
        told = select(own, subject="all").set_index("variant")["overlap"].to_dict()
        assert told == {"published+overlap_0": 0.0, "published+overlap_75": 0.75,
                        "published+overlap_chosen": 0.75}  # fmt: skip
        assert set(own["subject"]) == {"all", *(f"S{i}" for i in range(6))}
    inner = select(rows, estimator=INNER, variant="published+overlap_75", subject="all")
    assert set(inner["fold"]) == {"0", "1", "2", "all"}
    assert {"inner_train", "inner_steps"} < set(select(inner, fold="1")["metric"])
    curve = select(rows, estimator=CURVE, variant="published+overlap_75", fold="2")
    assert curve["metric"].tolist() == [f"{one}[{e}]" for one in ("train", "valid")
                                        for e in (1, 2, 3)]  # fmt: skip
    last = select(curve, metric="train[3]")["value"].item()
    assert last == select(inner, fold="2", metric="inner_train")["value"].item()
    assert (select(rows, estimator="nmoe", subject="S1")["n_test_windows"] == 16).all()
    interval = results.interval(select(rows, estimator=INNER, variant="published+overlap_0"))
    assert interval.low < interval.high and interval.n_subjects == 6
    told = pd.concat(experiment.predictions)
    assert set(told["variant"]) == {"published+overlap_0", "published+overlap_75"}


def test_the_best_on_inner_folds_is_chosen_whatever_the_outer_ones_say(monkeypatch) -> None:
    class Told(Spy):
        """Right in a share of the windows of inner tests, and always wrong in outer ones."""

        def predict(self, X: np.ndarray) -> np.ndarray:
            inner, labels = len(self.known_) < full[self.overlap], label_of(X)
            wrong = np.arange(len(X)) >= self.right * len(X)
            return labels ^ wrong if inner else 1 - labels

    truth = {value: label for o in (0.0, 0.5, 0.75)
             for one in [data_of(setting_of(overlap=o), 6, 40.0)]
             for value, label in zip(one.X[:, 0, 0], one.y, strict=True)}  # fmt: skip
    full = {o: 4 * 2 * n for o, n in ((0.0, 8), (0.5, 15), (0.75, 29))}

    def label_of(X: np.ndarray) -> np.ndarray:
        return np.array([truth[one] for one in X[:, 0, 0]])

    best = {0.0: 0.5, 0.5: 0.9, 0.75: 0.9}
    rows, _ = chosen(monkeypatch, lambda one, data: Told(one.overlap, best[one.overlap]),
                     overlaps=(0.75, 0.5, 0.0))  # fmt: skip
    picked = select(rows, estimator=CHOICE)
    assert picked["metric"].tolist() == ["overlap"] * 3 and picked["fold"].tolist() == list("012")
    assert picked["value"].tolist() == [0.5] * 3, "of equals the one with fewer windows"
    assert set(picked["variant"]) == {"published+overlap_chosen"}
    for estimator in ("nmoe", INNER):
        assert score(rows, CHOSEN, estimator) == score(rows, 0.5, estimator)
    assert score(rows, 0.5, INNER) > 0.8 and score(rows, CHOSEN) == 0


def test_coins_are_those_of_other_analyses_and_the_same_for_all_overlaps(monkeypatch) -> None:
    rows, experiment = chosen(monkeypatch, placebo=True, overlaps=(0.0, 0.5, 0.9))
    assert rows["placebo"].all()
    alone = data_of(setting_of(overlap=0.0), 6, 40.0)
    coins = audit.placebo_labels(alone.meta, 0)
    told = alone.meta.assign(coin=coins).groupby(["subject", "trial"])["coin"].first()
    for table in experiment.predictions:
        own = table.groupby(["subject", "trial"])["y_true"].agg(["min", "max"])
        assert (own["min"] == told).all() and (own["max"] == told).all()


# Training.


def test_a_network_that_is_watched_learns_what_it_would_have_learnt(monkeypatch) -> None:
    how = {"setting": setting_of(n_splits=2), "overlaps": (0.5,), "inner_folds": 2}
    rows, _ = chosen(monkeypatch, network, **how)
    monkeypatch.setattr("affectbook.watching.Watch.on_epoch_end", lambda self, net, **_: None)
    unwatched, _ = chosen(monkeypatch, network, **how)
    scores = rows[rows["estimator"] != CURVE].reset_index(drop=True)
    pd.testing.assert_frame_equal(scores, unwatched)
    assert len(rows) - len(unwatched) == 2 * 6, "two curves of three epochs in each fold"


def test_without_overlap_it_is_the_evaluation_of_other_analyses(monkeypatch) -> None:
    setting = setting_of(overlap=0.0, n_splits=2)
    rows, _ = chosen(monkeypatch, network, setting=setting, overlaps=(0.0,), inner_folds=2)
    alone = Experiment(setting, data_of(setting, 6, 40.0))
    alone.add("nmoe", network(setting, alone.data), variant="published")
    own = select(rows, estimator="nmoe", variant="published+overlap_0").reset_index(drop=True)
    pd.testing.assert_frame_equal(own.drop(columns="variant"),
                                  alone.table().drop(columns="variant"))  # fmt: skip


@pytest.mark.parametrize(("protocol", "batch_size"), [(SHUFFLED, 8), (LATER, 5), (SUBJECT, 5)])
def test_equal_steps_are_equal_and_others_are_not(monkeypatch, protocol, batch_size) -> None:
    setting = setting_of(protocol, batch_size=batch_size, n_splits=2, epochs=2)
    steps = []
    for equal in (False, True):
        rows, _ = chosen(monkeypatch, network, setting=setting, overlaps=(0.0, 0.75),
                         equal_steps=equal, inner_folds=2, n_subjects=4)  # fmt: skip
        assert rows["variant"].str.endswith("+equal_steps").all() == equal
        told = select(rows, estimator=INNER, metric="inner_steps")
        told = told[~told["variant"].str.contains(CHOSEN)]
        steps.append(told.pivot(index="fold", columns="overlap", values="value"))
    assert (steps[0].diff(axis=1).iloc[:, 1:] > 0).all(axis=None)
    assert (steps[1].nunique(axis=1) == 1).all()
    pd.testing.assert_series_equal(steps[0][0.0], steps[1][0.0])


def test_an_epoch_is_a_draw_of_so_many_windows_in_so_many_batches() -> None:
    data = torch.arange(20)
    for n_windows, n_steps, batches in (
        (8, 2, [4, 4]), (9, 2, [4, 4]), (9, 3, [4, 4, 1]), (10, 3, [4, 4, 2]),
    ):  # fmt: skip
        size = {"n_windows": n_windows, "n_steps": n_steps, "batch_size": 4}
        made = DrawnEpochs(data, **size, shuffle=True, drop_last=True)
        drawn = [list(made) for _ in range(2)]
        assert len(made) == len(batches)
        assert [[len(one) for one in epoch] for epoch in drawn] == [batches] * 2
        first, second = (torch.cat(epoch).tolist() for epoch in drawn)
        assert len(set(first)) == len(first) and first != second


# What is refused.


@pytest.mark.parametrize(
    ("given", "options", "told"),
    [
        ({"per_trial": 4}, {}, "all windows of a trial"),
        ({"protocol": "group_kfold_subject_transductive"}, {}, "not transductive"),
        ({}, {"overlaps": ()}, "needs an overlap"),
        ({}, {"equal_steps": True}, "takes no gradient steps"),
    ],
)
def test_what_cannot_be_compared_is_refused(monkeypatch, given, options, told) -> None:
    with pytest.raises(ParameterError, match=told):
        chosen(monkeypatch, setting=setting_of(**given), **options)


def test_trials_too_short_to_be_split_twice_are_refused(monkeypatch) -> None:
    with pytest.raises(ProtocolError):
        chosen(monkeypatch, seconds=10.0, setting=setting_of(LATER))


def test_the_last_subject_to_train_on_cannot_be_held_out(monkeypatch) -> None:
    with pytest.raises(ProtocolError, match="two subjects"):
        chosen(monkeypatch, n_subjects=2, setting=setting_of("leave_one_subject_out"))


def test_a_copy_of_the_estimator_is_trained_and_it_is_left_alone(monkeypatch) -> None:
    made = []

    def build(setting: Setting, data: Data) -> WindowNet:
        made.append(network(setting, data))
        return made[-1]

    chosen(monkeypatch, build, overlaps=(0.0, 0.5), equal_steps=True, inner_folds=2,
           setting=setting_of(n_splits=2, epochs=1))  # fmt: skip
    assert [one.callbacks for one in made] == [None, None]
    assert not any(one.initialized_ for one in map(clone, made))
