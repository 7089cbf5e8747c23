"""Probes of layers: each finds what was planted, where it was planted, and nothing elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from builders import windows_of
from sklearn.metrics import r2_score
from torch import Tensor, nn

from affectbook import beats, datasets, embedding_store, experiments, files, layer_probes, results
from affectbook.errors import AuditError, ParameterError
from affectbook.experiments import Data, Experiment
from affectbook.layer_embeddings import Backbone, LayerEmbeddings
from affectbook.layer_probes import BEATS, EMOTION, METRICS, RECORDING, SUBJECT
from affectbook.models.scaling import WindowScaler
from affectbook.papers import ssl_ecg
from affectbook.papers.ssl_ecg import Params
from affectbook.scoring import SCORE_COLUMNS
from affectbook.windows import trial_ids

N_LAYERS, HIDDEN, N_SUBJECTS = 4, 12, 6
NOISE, LABEL, WHO, HEART = range(1, N_LAYERS + 1)
CONTENT = {EMOTION: LABEL, RECORDING: WHO, SUBJECT: WHO} | dict.fromkeys(BEATS, HEART)


class Slices(nn.Module):
    """A backbone whose layers each see a slice of the window, as it is."""

    def pooled(self, x: Tensor) -> Tensor:
        return x[:, 0].unflatten(-1, (N_LAYERS, HIDDEN)).transpose(0, 1)


def planted() -> tuple[Data, pd.DataFrame]:
    """Return windows whose slices carry one thing each, and their beats."""
    rng = np.random.default_rng(0)
    plan = [(f"S{s}", f"t{t}", t, 10) for s in range(N_SUBJECTS) for t in range(2)]
    y, meta = windows_of(plan, 5.0)
    recordings, n = trial_ids(meta), len(y)
    numbers = rng.standard_normal((n, len(BEATS)))
    X = 0.3 * rng.standard_normal((n, N_LAYERS, HIDDEN))
    X[:, LABEL - 1, 0] += 2 * y - 1
    X[np.arange(n), WHO - 1, recordings] += 2
    X[:, HEART - 1, : len(BEATS)] = numbers
    card = datasets.card("eegmat")
    rule = card.label_rules[0]
    X = X.reshape(n, 1, -1).astype(np.float32)
    return Data(X, y, meta, card, rule, "planted", Path("nowhere"), 500.0), pd.DataFrame(
        numbers, columns=list(BEATS.values())
    )


def paper(seen: tuple[str, ...] = (), **given: object) -> SimpleNamespace:
    encoder = LayerEmbeddings(Backbone(Slices(), seen), lead_input=None)
    told = {"encoder": encoder, "finetune": False, "scaler": WindowScaler("per_window_zscore")}
    estimator = SimpleNamespace(**told | given)
    return SimpleNamespace(build=lambda setting, data: estimator)


def experiment(data: Data | None = None, **changes: object) -> Experiment:
    setting = ssl_ecg.setting(Params(dataset="eegmat", tier="open"))
    return Experiment(replace(setting, n_splits=3, **changes), data or planted()[0])


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "project_root", lambda: tmp_path)
    monkeypatch.setattr(embedding_store, "_STORES", OrderedDict())


@cache
def _asked(missing: int, placebo: bool) -> tuple[pd.DataFrame, Experiment]:
    one, numbers = experiment(), planted()[1]
    numbers.iloc[:missing, 1] = np.nan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beats, "measures", lambda X, sfreq: numbers)
        return layer_probes.probe(paper(), one, placebo=placebo), one


def asked(missing: int = 0, placebo: bool = False) -> tuple[pd.DataFrame, Experiment]:
    """Return the rows of all probes of the planted windows, asked once for all tests."""
    return _asked(missing, placebo)


def score(rows: pd.DataFrame, name: str, ending: str) -> float:
    own = results.select(rows, estimator=name, variant=f"published+{ending}")
    return results.overall(own, METRICS[name])


@pytest.mark.parametrize("name", CONTENT)
def test_each_target_is_found_in_the_layer_that_carries_it(name) -> None:
    rows, _ = asked()
    scores = {k: score(rows, name, f"layer_{k}") for k in range(1, N_LAYERS + 1)}
    assert max(scores, key=scores.get) == CONTENT[name] and scores[CONTENT[name]] > 0.8
    least = {"r2": 0.1, "accuracy": 0.45, "balanced_accuracy": 0.65}[METRICS[name]]
    assert scores[NOISE] < least


def test_a_constant_scores_what_guessing_does() -> None:
    rows, one = asked()
    assert score(rows, EMOTION, "constant") == 0.5
    assert score(rows, RECORDING, "constant") == pytest.approx(1 / (2 * N_SUBJECTS))
    assert score(rows, SUBJECT, "constant") == pytest.approx(1 / N_SUBJECTS)
    assert all(-0.2 < score(rows, name, "constant") <= 0 for name in BEATS)


def test_rows_are_score_rows_of_every_probe_and_layer() -> None:
    rows, one = asked()
    assert list(rows.columns) == SCORE_COLUMNS and one.rows[-1] is rows
    endings = [f"published+layer_{k}" for k in range(1, N_LAYERS + 1)] + ["published+constant"]
    for name in METRICS:
        assert list(results.select(rows, estimator=name)["variant"].unique()) == endings
    assert not rows.duplicated(["estimator", "variant", "fold", "subject", "metric"]).any()
    protocols = rows.groupby("estimator")["protocol"].unique().str[0].to_dict()
    later = {RECORDING: "blocked_within_trial", SUBJECT: "blocked_within_trial"}
    new = dict.fromkeys([EMOTION, *BEATS, "beats"], "group_kfold_subject")
    assert protocols == new | later and not rows["placebo"].any()
    assert rows["value"].notna().all() and set(rows["dataset"]) == {"eegmat"}
    folds = results.select(rows, estimator="probe_rate", variant=endings[0], metric="r2")
    assert set(folds["fold"]) == {"0", "1", "2", "all"}


def test_intervals_are_those_of_the_scores() -> None:
    rows, _ = asked()
    for name in METRICS:
        own = results.select(rows, estimator=name, variant=f"published+layer_{CONTENT[name]}")
        found = layer_probes.interval(own)
        assert found.value == pytest.approx(results.overall(own, METRICS[name]))
        assert found.low <= found.value <= found.high and found.n_subjects == N_SUBJECTS
    few = own[own["subject"].isin(["S0", "S1", "all"])]
    assert np.isnan(layer_probes.interval(few).low)
    twice = layer_probes.interval(pd.concat([own, own.assign(seed=1)]))
    assert twice == pytest.approx(layer_probes.interval(own))
    assert np.isnan(layer_probes.interval(own[own["subject"] == "all"]).value)
    with pytest.raises(ParameterError, match="of one probe"):
        layer_probes.interval(rows)


def test_windows_without_beats_are_left_out_and_counted() -> None:
    rows, _ = asked(missing=7)
    (left_out,) = results.select(rows, estimator="beats")["value"]
    assert left_out == 7
    every = results.select(rows, fold="all", subject="all")
    windows = every.groupby("estimator")["n_test_windows"].max()
    n_windows = N_SUBJECTS * 2 * 10
    assert windows["probe_rate"] == windows["probe_shape"] == n_windows - 7
    assert windows[EMOTION] == n_windows > windows[RECORDING] == windows[SUBJECT]
    assert results.select(asked()[0], estimator="beats")["value"].tolist() == [0]


def test_without_any_beats_the_rest_is_asked(monkeypatch) -> None:
    nothing = planted()[1] * np.nan
    monkeypatch.setattr(beats, "measures", lambda X, sfreq: nothing)
    rows = layer_probes.probe(paper(), experiment())
    assert set(rows["estimator"]) == {EMOTION, RECORDING, SUBJECT, "beats"}


def test_of_coins_the_emotion_alone_is_asked_and_not_found() -> None:
    rows, _ = asked(placebo=True)
    assert set(rows["estimator"]) == {EMOTION} and rows["placebo"].all()
    assert score(rows, EMOTION, f"layer_{LABEL}") < 0.75


def test_layers_are_those_of_scaled_windows() -> None:
    one = experiment()
    layers, seen = layer_probes.embedded(paper(("S9",)), one)
    layers = dict(layers)
    X = one.data.X[:, 0]
    scaled = (X - X.mean(1, keepdims=True)) / X.std(1, keepdims=True)
    first = scaled.reshape(-1, N_LAYERS, HIDDEN)[:, 0]
    np.testing.assert_allclose(layers["layer_1"], first, atol=1e-5)
    assert list(layers)[-1] == "constant" and not layers["constant"].any() and seen == ("S9",)


def test_whom_pretraining_has_seen_is_nobody_new() -> None:
    with pytest.raises(AuditError, match="seen in pretraining"):
        layer_probes.probe(paper(("S0",)), experiment(), placebo=True)


@pytest.mark.parametrize("given", [{"encoder": None}, {"encoder": object()}, {"finetune": True}])
def test_what_has_no_frozen_layers_is_refused(given) -> None:
    one = experiment()
    with pytest.raises(ParameterError, match="no frozen encoder of layers"):
        layer_probes.probe(paper(**given), one)
    assert not one.rows


def test_each_target_has_the_penalty_that_suits_it() -> None:
    rng = np.random.default_rng(0)
    Z, groups = rng.standard_normal((120, 30)), np.repeat(np.arange(6), 20)
    told = np.column_stack([Z[:, 0], rng.standard_normal(120)])
    model = layer_probes.ridge(Z[:80], told[:80], groups[:80])
    strengths = model[-1].alpha
    assert strengths[0] < strengths[1] == layer_probes._ALPHAS[-1]
    assert r2_score(told[80:, 0], model.predict(Z[80:])[:, 0]) > 0.95
    alone = layer_probes.ridge(Z[:80], told[:80], np.zeros(80))
    assert set(alone[-1].alpha) == {layer_probes._ALPHAS[-1]}


def test_penalties_of_a_single_subject_come_from_recordings() -> None:
    data = planted()[0]
    train = np.flatnonzero(data.meta["subject"] == "S0")
    assert len(set(layer_probes._groups(data, train))) == 2
    assert set(layer_probes._groups(data, np.arange(30))) == {"S0", "S1"}


def test_scores_can_be_read_without_torch() -> None:
    code = "import sys, affectbook.layer_probes; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_fakes_are_what_the_encoder_takes() -> None:
    with torch.inference_mode():
        assert Slices().pooled(torch.zeros(2, 1, N_LAYERS * HIDDEN)).shape == (4, 2, 12)
    assert set(CONTENT) == set(METRICS)
    assert experiments.protocol_of(experiment().setting).name == "group_kfold_subject"
