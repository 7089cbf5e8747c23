"""Scores in noise: one training, noise before scaling, and rows like those of any evaluation."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from builders import windows_of
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from affectbook import datasets, experiments, noise, noise_scores, results
from affectbook.errors import DataError, ParameterError
from affectbook.experiments import Data, Experiment
from affectbook.models import scaling
from affectbook.models.scaling import WindowScaler
from affectbook.papers import ssl_ecg
from affectbook.papers.ssl_ecg import Params
from affectbook.scoring import SCORE_COLUMNS

SFREQ, N_TIMES = 128.0, 320
BY_SUBJECT, LATER = "group_kfold_subject", "blocked_within_trial"


class Sign(ClassifierMixin, BaseEstimator):
    """Tells windows by the sign of their sum, and remembers what it was shown."""

    fitted: list[np.ndarray] = []
    shown: list[np.ndarray] = []

    def __init__(self, scaler: object = None, random_state: int = 0) -> None:
        self.scaler = scaler
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray) -> Sign:
        self.classes_ = np.unique(y)
        self.fitted.append(X)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        self.shown.append(np.array(X))
        return (X.sum((1, 2)) > 0).astype(int)


@pytest.fixture(autouse=True)
def forgetful() -> None:
    Sign.fitted.clear()
    Sign.shown.clear()


def quick() -> BaseEstimator:
    """Return a classifier of how much of a window is fast."""
    return make_pipeline(FunctionTransformer(_speeds), StandardScaler(), LogisticRegression())


def _speeds(X: np.ndarray) -> np.ndarray:
    fast, slow = np.diff(X[:, 0], axis=-1), X[:, 0]
    return np.log(fast.std(-1, keepdims=True) / slow.std(-1, keepdims=True))


def paper(estimator: BaseEstimator) -> SimpleNamespace:
    return SimpleNamespace(
        build=lambda setting, data: estimator,
        reference_models=lambda setting, data: {"quick": quick(), "sign": Sign()},
    )


def experiment(protocol: str = BY_SUBJECT, X: np.ndarray | None = None, **given) -> Experiment:
    """Return four people with two trials of six windows; those of one are fast, those of one not.

    Signals have a size and an offset of their own in each person.
    """
    setting = ssl_ecg.setting(Params(variant="published", protocol=protocol))
    setting = replace(setting, n_splits=2, **given)
    y, meta = windows_of(((f"S{s}", f"t{t}", t, 6) for s in range(4) for t in range(2)), 2.5)
    card = datasets.card(setting.dataset)
    rule = experiments.rule_of(card, setting.label_rule, setting.target)
    if X is None:
        rng, time = np.random.default_rng(0), np.arange(N_TIMES) / SFREQ
        person = meta["subject"].str[1:].astype(float).to_numpy()[:, None]
        phase = rng.uniform(0, 6, (len(y), 2, 1))
        slow, fast = (np.sin(2 * np.pi * hz * time + phase[:, i]) for i, hz in enumerate((3, 30)))
        X = (1 + person) * (slow + 0.3 * y[:, None] * fast) + 0.2 * person
        X = X[:, None].astype(np.float32)
    data = Data(X, y, meta, card, rule, "waves", Path("nowhere"), SFREQ)
    return Experiment(setting, data)


def splits_of(one: Experiment) -> list:
    return list(experiments.protocol_of(one.setting).split(one.data.y, one.data.meta))


def balanced(rows: pd.DataFrame, variant: str) -> float:
    return results.overall(results.select(rows, variant=variant), "balanced_accuracy")


# Rows.


def test_rows_are_those_of_an_evaluation_one_set_for_each_kind_and_ratio() -> None:
    one, alone = experiment(), experiment()
    found = noise_scores.score(paper(quick()), one, kinds=("muscle", "wander"), snrs=(20, 2.5))
    alone.add("ssl_ecg", quick(), variant="published")
    assert list(found.columns) == SCORE_COLUMNS and len(one.predictions) == 1
    pd.testing.assert_frame_equal(one.rows[0], alone.rows[0], check_exact=True)
    pd.testing.assert_frame_equal(pd.concat(one.rows[1:], ignore_index=True), found)
    assert found["variant"].unique().tolist() == [
        "published+muscle_20_db", "published+muscle_2.5_db", "published+muscle_20_db_filtered",
        "published+muscle_2.5_db_filtered", "published+wander_20_db", "published+wander_2.5_db",
        "published+wander_20_db_filtered", "published+wander_2.5_db_filtered",
    ]  # fmt: skip
    for variant, part in found.groupby("variant"):
        assert re.match(noise.NAMED, str(variant))["base"] == "published"
        other = ["variant", "value"]
        pd.testing.assert_frame_equal(part.drop(columns=other).reset_index(drop=True),
                                      one.rows[0].drop(columns=other))  # fmt: skip
        subjects, tables = results.confusions(part)
        assert subjects == ["S0", "S1", "S2", "S3"] and (tables.sum((1, 2)) == 12).all()


def test_reference_models_have_rows_of_their_own() -> None:
    one = experiment()
    found = noise_scores.score(paper(Sign()), one, kinds=("motion",), snrs=(0,), filtered=(True,),
                               references=("quick",))  # fmt: skip
    told = found[["estimator", "variant"]].drop_duplicates().to_numpy().tolist()
    assert told == [["ssl_ecg", "published+motion_0_db_filtered"],
                    ["quick", "motion_0_db_filtered"]]  # fmt: skip
    clean = one.table()[~one.table()["variant"].str.contains("_db")]
    assert clean[["estimator", "variant"]].drop_duplicates().to_numpy().tolist() == [
        ["ssl_ecg", "published"], ["quick", ""],
    ]  # fmt: skip
    only = noise_scores.score(paper(Sign()), experiment(), kinds=("motion",), snrs=(0,),
                              filtered=(True,), references=("quick",), network=False)  # fmt: skip
    pd.testing.assert_frame_equal(
        only, results.select(found, estimator="quick").reset_index(drop=True)
    )


def test_coins_are_the_labels_of_noisy_windows_too() -> None:
    one = experiment()
    found = noise_scores.score(paper(quick()), one, kinds=("muscle",), snrs=(40,), placebo=True)
    assert found["placebo"].all() and one.rows[0]["placebo"].all()
    cells = [results.confusions(rows)[1].sum(2) for rows in (one.rows[0], found)]
    assert np.array_equal(2 * cells[0], cells[1]), "filtered and not: each window twice"
    assert balanced(one.rows[0], "published") < 0.9


# What a model sees.


@pytest.mark.parametrize("protocol", [BY_SUBJECT, LATER])
@pytest.mark.parametrize("kind", [None, *scaling.BEFORE])
def test_a_model_is_trained_once_on_clean_windows_and_sees_scaled_noisy_ones(
    kind, protocol
) -> None:
    scaler = WindowScaler(kind) if kind else None
    one = experiment(protocol, highpass=0.7)
    noise_scores.score(paper(Sign(scaler)), one, kinds=("motion",), snrs=(10, 0), noise_seed=4)
    splits, subjects, shown = splits_of(one), one.data.meta["subject"].to_numpy(), iter(Sign.shown)

    def scaled(X: np.ndarray) -> np.ndarray:
        return X if kind is None else scaling.of_subjects(X, subjects, kind)

    assert len(Sign.fitted) == len(splits) and len(Sign.shown) == 5 * len(splits)
    for (train, test), fitted in zip(splits, Sign.fitted, strict=True):
        assert np.array_equal(fitted, scaled(one.data.X)[train])
        for highpass in (None, 0.7):
            for snr_db in (10, 0):
                X = one.data.X.copy()
                X[test] = noise.added(X[test], "motion", snr_db, SFREQ, seed=4, windows=test,
                                      highpass=highpass)  # fmt: skip
                np.testing.assert_allclose(next(shown), scaled(X)[test], rtol=1e-5, atol=1e-5)
        assert np.array_equal(next(shown), scaled(one.data.X)[test]), "evaluate's own prediction"


@pytest.mark.parametrize("kind", [None, *scaling.BEFORE])
def test_without_noise_a_model_answers_as_on_clean_windows(kind) -> None:
    one = experiment(LATER)
    found = noise_scores.score(paper(Sign(WindowScaler(kind) if kind else None)), one,
                               kinds=("wander",), snrs=(np.inf,), filtered=(False,))  # fmt: skip
    assert np.array_equal(found["value"], one.rows[0]["value"], equal_nan=True)


def test_all_estimators_seeds_and_folds_hear_the_same_noise() -> None:
    for seed in (0, 1):
        noise_scores.score(paper(Sign()), experiment(seed=seed), kinds=("muscle",), snrs=(0,),
                           filtered=(False,), references=("sign",))  # fmt: skip
    noisy = Sign.shown[::2]
    assert len(noisy) == 8
    for fold in (0, 1):
        first = noisy[fold]
        assert all(np.array_equal(first, other) for other in noisy[fold::2])
    noise_scores.score(paper(Sign()), experiment(), kinds=("muscle",), snrs=(0,),
                       filtered=(False,), noise_seed=1)  # fmt: skip
    assert not np.allclose(Sign.shown[16], noisy[0])


def test_scores_fall_where_noise_hides_what_was_learnt_and_nowhere_else() -> None:
    found = noise_scores.score(paper(quick()), experiment(), snrs=(40, 0))
    assert balanced(found, "published+muscle_40_db") > 0.95
    assert balanced(found, "published+muscle_0_db") < 0.6, "all windows look fast"
    assert balanced(found, "published+wander_0_db_filtered") > 0.95, "the filter took it away"


# Refused, before anything is trained.


@pytest.mark.parametrize(("given", "message"), [
    ({"kinds": ("hum",)}, "no noise 'hum'"),
    ({"kinds": ()}, "nothing to score"),
    ({"snrs": ()}, "nothing to score"),
    ({"filtered": ()}, "nothing to score"),
    ({"network": False}, "nothing to score"),
    ({"snrs": (10, float("nan"))}, "a ratio of nan dB"),
    ({"references": ("forest",)}, "no reference model 'forest'; there are quick, sign"),
])  # fmt: skip
def test_what_cannot_be_scored_is_refused(given, message) -> None:
    one = experiment()
    with pytest.raises(ParameterError, match=re.escape(message)):
        noise_scores.score(paper(Sign()), one, **given)
    assert not one.rows and not Sign.fitted


def test_windows_of_several_leads_are_refused() -> None:
    one = experiment(X=np.ones((48, 2, N_TIMES), np.float32))
    with pytest.raises(DataError, match="one lead"):
        noise_scores.score(paper(Sign()), one)
    assert not Sign.fitted
