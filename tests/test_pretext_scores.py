"""Scores of pretexts: of test windows, beside the classifier's own, and whom features give away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from builders import windows_of

from affectbook import augment, datasets, experiments, pretext_scores, protocols, results
from affectbook.errors import ParameterError
from affectbook.experiments import Data, Experiment
from affectbook.models.pretexts import Transformations
from affectbook.papers import ssl_ecg
from affectbook.papers.ssl_ecg import Params
from affectbook.scoring import SCORE_COLUMNS

SFREQ, N_TIMES = 128.0, 32
MEASURES = {"f1", "balanced_accuracy", "accuracy", "auc"}
SOME = "published+only_noise"  # one head: all that a test of rows needs


def build(setting: experiments.Setting, data: Data) -> object:
    """Return the paper's classifier, whose head is trained for one epoch."""
    return ssl_ecg.build(setting, data).set_params(max_epochs=1)


PAPER = SimpleNamespace(build=build)


def experiment(
    variant: str = SOME, protocol: str = "group_kfold_subject", windows: int = 2,
    X: np.ndarray | None = None, **given: object,
) -> Experiment:  # fmt: skip
    """Return four people with two trials of noise each, one of either class."""
    setting = ssl_ecg.setting(Params(variant=variant, protocol=protocol, **given))
    setting = replace(setting, epochs=1, batch_size=8, n_splits=2)
    y, meta = windows_of(((f"S{s}", f"t{t}", t, windows) for s in range(4) for t in range(2)), 2.0)
    card = datasets.card(setting.dataset)
    rule = experiments.rule_of(card, setting.label_rule, setting.target)
    if X is None:
        X = np.random.default_rng(0).standard_normal((len(y), 1, N_TIMES)).astype(np.float32)
    data = Data(X, y, meta, card, rule, "noise", Path("nowhere"), SFREQ)
    return Experiment(setting, data)


# Pretexts of the fold.


def test_each_head_has_rows_of_each_fold_and_of_all() -> None:
    one = experiment("published+in_fold")
    found = pretext_scores.score(PAPER, one)
    assert list(found.columns) == SCORE_COLUMNS
    assert set(found["estimator"]) == {f"pretext_{name}" for name in augment.NAMES}
    assert set(found["metric"]) == MEASURES and set(found["fold"]) == {"0", "1", "all"}
    assert not found.duplicated(["estimator", "metric", "fold"]).any() and len(found) == 7 * 4 * 3
    assert found["value"].between(0, 1).all() and set(found["subject"]) == {"all"}
    keys = ["estimator", "metric"]
    folds, whole = found[found["fold"] != "all"], found[found["fold"] == "all"]
    mean = folds.groupby(keys)["value"].mean()
    pd.testing.assert_series_equal(whole.set_index(keys)["value"].sort_index(), mean.sort_index())
    assert set(folds["n_test_windows"]) == {8} and set(whole["n_test_windows"]) == {16}
    told = found[["paper", "variant", "protocol", "scale", "dataset", "tier", "placebo", "seed"]]
    assert told.drop_duplicates().to_numpy().tolist() == [
        ["ssl_ecg", "published+in_fold", "group_kfold_subject", "teaching", "dreamer:ECG1",
         "simulated", False, 0],
    ]  # fmt: skip


def test_the_classifier_s_own_rows_are_those_of_an_experiment() -> None:
    one, alone = experiment(), experiment()
    found = pretext_scores.score(PAPER, one)
    estimator = build(alone.setting, alone.data)
    alone.add("ssl_ecg", estimator, variant=alone.setting.variant)
    assert len(one.rows) == 2 and one.rows[1] is found
    pd.testing.assert_frame_equal(one.rows[0], alone.rows[0], check_exact=True)
    assert list(one.table().columns) == SCORE_COLUMNS
    overall = results.overall(one.table()[one.table()["estimator"] == "ssl_ecg"],
                              "balanced_accuracy")  # fmt: skip
    assert 0 <= overall <= 1


def test_heads_are_scored_on_the_windows_of_the_test_and_by_the_network_of_the_fold(
    monkeypatch,
) -> None:
    given, plain = [], Transformations.scores

    def spy(self: Transformations, network: object, X: np.ndarray, seed: int = 0) -> pd.DataFrame:
        given.append((X, plain(self, network, X, seed)))
        return given[-1][1]

    monkeypatch.setattr(Transformations, "scores", spy)
    one = experiment("published+only_noise+window_zscore", protocol="shuffled_windows_as_published")
    found = pretext_scores.score(PAPER, one)
    splits = list(protocols.get(one.setting.protocol, n_splits=2).split(one.data.y, one.data.meta))
    scaled = one.data.X - one.data.X.mean(-1, keepdims=True)
    scaled /= one.data.X.std(-1, keepdims=True)
    for (_, test), (X, table), fold in zip(splits, given, "01", strict=True):
        np.testing.assert_allclose(X, scaled[test], atol=1e-5)
        own = found[found["fold"] == fold].set_index("metric")["value"]
        assert own.to_dict() == {name: table[name].item() for name in MEASURES}


def test_a_contrastive_pretext_has_one_row_of_each_fold() -> None:
    found = pretext_scores.score(PAPER, experiment("published+contrastive_loss"))
    assert set(found["estimator"]) == {"pretext_other_view"}
    assert found["metric"].tolist() == ["accuracy"] * 3


def test_without_labels_to_learn_the_pretext_is_the_same() -> None:
    coins, real = (pretext_scores.score(PAPER, experiment(), placebo=one) for one in (True, False))
    assert coins["placebo"].all() and not real["placebo"].any()
    pd.testing.assert_frame_equal(coins.drop(columns="placebo"), real.drop(columns="placebo"))


def test_pretraining_on_all_windows_is_told_in_its_rows() -> None:
    protocol = "group_kfold_subject_transductive"
    found = pretext_scores.score(PAPER, experiment("published+transductive+only_noise+transductive",
                                                   protocol))  # fmt: skip
    assert set(found["protocol"]) == {protocol} and protocols.leaky(protocol)


@pytest.mark.parametrize("variant", ["published+random_encoder", "published+from_scratch"])
def test_a_variant_without_a_pretext_of_the_fold_is_refused(variant) -> None:
    one = experiment(variant)
    with pytest.raises(ParameterError, match="pretrains nothing in the fold") as error:
        pretext_scores.score(PAPER, one)
    assert str(error.value).startswith(variant) and not one.rows


# Whom features give away.


def beating(found: Data) -> np.ndarray:
    """Return windows in which each person has a rhythm of their own."""
    rhythm = found.meta["subject"].str[1:].astype(int).to_numpy() + 1
    phase = np.random.default_rng(0).uniform(0, 6, len(rhythm))
    time = np.arange(N_TIMES) / N_TIMES
    made = np.sin(2 * np.pi * 3 * rhythm[:, None] * time + phase[:, None])
    return made[:, None].astype(np.float32)


def probed(rhythms: bool, **given: object) -> pd.DataFrame:
    one = experiment("published+random_encoder", windows=10, **given)
    X = beating(one.data) if rhythms else None
    one = experiment("published+random_encoder", windows=10, X=X, **given)
    found = pretext_scores.probe_subjects(PAPER, one)
    assert len(one.rows) == 1 and one.rows[0] is found
    return found


def test_a_rhythm_of_their_own_gives_people_away() -> None:
    found = probed(rhythms=True)
    assert list(found.columns) == SCORE_COLUMNS
    assert found["subject"].tolist() == ["S0", "S1", "S2", "S3", "all"]
    assert set(found["estimator"]) == {"probe_subject"} and set(found["metric"]) == {"accuracy"}
    assert set(found["protocol"]) == {"blocked_within_trial"} and set(found["fold"]) == {"all"}
    assert set(found["variant"]) == {"published+random_encoder"}
    each, (everyone,) = found["value"][:4], found["value"][4:]
    assert everyone > 0.9
    windows = found["n_test_windows"]
    assert everyone == pytest.approx(np.average(each, weights=windows[:4]))
    assert windows.iloc[4] == windows[:4].sum() < 80, "earlier windows are learnt from"


def test_noise_gives_nobody_away() -> None:
    assert probed(rhythms=False)["value"].iloc[-1] < 0.6
    pd.testing.assert_frame_equal(probed(rhythms=False), probed(rhythms=False))


@pytest.mark.parametrize("part", ["from_scratch", "fine_tuned", "in_fold", "contrastive"])
def test_an_encoder_that_folds_do_not_share_is_not_probed(part) -> None:
    with pytest.raises(ParameterError, match="no frozen encoder that is the same in all folds"):
        pretext_scores.probe_subjects(PAPER, experiment(f"published+{part}"))
