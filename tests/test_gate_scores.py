"""Weights of gates: of each fold, as score rows, and back again as a table."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from builders import windows_of
from torch import Tensor, nn

from affectbook import datasets, embedding_store, files, gate_scores
from affectbook.errors import ParameterError
from affectbook.experiments import Data, Experiment
from affectbook.layer_embeddings import Backbone, LayerEmbeddings, LayerNet
from affectbook.models.nmoe import GATES
from affectbook.papers import ssl_ecg
from affectbook.papers.ssl_ecg import Params
from affectbook.scoring import SCORE_COLUMNS

N_LAYERS, N_TOKENS, HIDDEN = 3, 2, 4
CARRIER = 2


class Slices(nn.Module):
    """A backbone whose layers and tokens each are a slice of the window."""

    def layer_embeddings(self, x: Tensor) -> Tensor:
        return x[:, 0].unflatten(-1, (N_LAYERS, N_TOKENS, HIDDEN)).transpose(0, 1)

    def pooled(self, x: Tensor) -> Tensor:
        return self.layer_embeddings(x).mean(2)


def experiment(variant: str = "published", effect: float = 1.5, seed: int = 0) -> Experiment:
    """Return windows in which one layer carries the label, and the others noise."""
    rng = np.random.default_rng(0)
    y, meta = windows_of(((f"S{s}", f"t{t}", t, 5) for s in range(4) for t in range(2)), 5.0)
    X = rng.standard_normal((len(y), 1, N_LAYERS, N_TOKENS, HIDDEN))
    X[:, 0, CARRIER - 1, :, 0] += effect * (2 * y - 1)[:, None]
    card = datasets.card("eegmat")
    data = Data(X.reshape(len(y), 1, -1).astype(np.float32), y, meta, card, card.label_rules[0],
                "planted", Path("nowhere"), 500.0)  # fmt: skip
    setting = ssl_ecg.setting(Params(dataset="eegmat", tier="open", seed=seed))
    return Experiment(replace(setting, n_splits=2, variant=variant), data)


def paper(gate: str, epochs: int = 2) -> SimpleNamespace:
    def build(setting: object, data: Data) -> LayerNet:
        return LayerNet(
            encoder=LayerEmbeddings(Backbone(Slices()), lead_input=None), module__gate=gate,
            module__n_outputs=2, module__widths=(), max_epochs=epochs, batch_size=8, lr=0.02,
            optimizer=torch.optim.Adam, patience=None, checkpoint="last",
            optimizer__param_groups=[("gate*", {"lr": 0.1})],
        )  # fmt: skip

    return SimpleNamespace(build=build)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "project_root", lambda: tmp_path)
    monkeypatch.setattr(embedding_store, "_STORES", OrderedDict())


@pytest.mark.parametrize("gate", GATES)
def test_each_fold_has_a_weight_of_each_layer(gate) -> None:
    one = experiment()
    rows = gate_scores.weigh(paper(gate), one)
    assert list(rows.columns) == SCORE_COLUMNS and one.rows[1] is rows and len(one.rows) == 2
    assert set(rows["estimator"]) == {"gate_weight"} and set(rows["variant"]) == {"published"}
    assert set(rows["fold"]) == {"0", "1"} and set(rows["subject"]) == {"all"}
    layers = {f"{kind}layer_{k}" for k in range(1, 4) for kind in ("", "deviation_")}
    assert set(rows["metric"]) == layers and len(rows) == 12
    assert set(rows["n_test_windows"]) == {20} and set(rows["n_test_trials"]) == {4}
    table = gate_scores.weights(one.table())
    assert list(table) == [*gate_scores.KEYS, "weight", "deviation"] and len(table) == 6
    if gate != "raw":
        np.testing.assert_allclose(table.groupby("fold")["weight"].sum(), 1, atol=1e-6)
    looks = gate in ("dynamic", "token")
    assert (table["deviation"] > 0).all() if looks else (table["deviation"] == 0).all()


def test_the_mean_is_over_windows_and_tokens_and_the_deviation_over_windows() -> None:
    given = np.random.default_rng(0).random((7, N_LAYERS, 5))

    class Gated:
        def gate_weights(self, X: np.ndarray) -> np.ndarray:
            return given

    class One(Experiment):
        def add(self, *_: object, look: object, **__: object) -> None:
            look(0, Gated(), self.data.X)
            self.predictions.append(self.data.meta.assign(fold=0))

    one = experiment()
    rows = gate_scores.weigh(SimpleNamespace(build=lambda *_: Gated()), One(one.setting, one.data))
    table = gate_scores.weights(rows)
    np.testing.assert_allclose(table["weight"], given.mean((0, 2)))
    np.testing.assert_allclose(table["deviation"], given.mean(2).std(0))


def test_a_gate_that_learns_turns_to_the_layer_that_carries_the_label() -> None:
    rows = gate_scores.weigh(paper("static", epochs=30), experiment())
    weights = gate_scores.weights(rows).groupby("layer")["weight"].mean()
    assert weights.idxmax() == CARRIER and weights[CARRIER] > 0.5


def test_the_classifier_s_own_rows_are_those_of_an_experiment() -> None:
    one, alone = experiment(), experiment()
    gate_scores.weigh(paper("dynamic"), one)
    estimator = paper("dynamic").build(alone.setting, alone.data)
    alone.add(alone.setting.paper, estimator, variant="published")
    pd.testing.assert_frame_equal(one.rows[0], alone.rows[0], check_exact=True)


def test_of_coins_the_rows_say_so() -> None:
    one = experiment()
    rows = gate_scores.weigh(paper("static"), one, placebo=True)
    assert rows["placebo"].all() and one.rows[0]["placebo"].all()


def test_gates_seeds_and_folds_stay_apart_and_in_order() -> None:
    parts = [gate_scores.weigh(paper("uniform", 1), experiment(variant, seed=seed))
             for variant in ("b", "a") for seed in (1, 0)]  # fmt: skip
    table = gate_scores.weights(pd.concat(parts))
    assert table["gate"].unique().tolist() == ["b", "a"] and len(table) == 2 * 2 * 2 * 3
    one = table[table["gate"] == "b"]
    assert one[["seed", "fold", "layer"]].apply(tuple, axis=1).is_monotonic_increasing
    with pytest.raises(ParameterError, match="there twice"):
        gate_scores.weights(pd.concat([parts[0], parts[0]]))
    with pytest.raises(ParameterError, match="dataset"):
        gate_scores.weights(pd.concat([parts[0], parts[1].assign(dataset="another")]))
    assert gate_scores.weights(parts[0].iloc[:0]).empty


def test_what_has_no_gate_is_refused() -> None:
    one = experiment()
    with pytest.raises(ParameterError, match="published has no gate"):
        gate_scores.weigh(SimpleNamespace(build=lambda *_: object()), one)
    assert not one.rows
