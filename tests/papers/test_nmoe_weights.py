"""Released backbones of NMoE: whom they have seen, and how they are made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from affectbook import datasets, files, pretrain, unlabelled
from affectbook.errors import CheckpointError, ParameterError
from affectbook.models import checkpoint
from affectbook.models.ecg_fm import ECGFM
from affectbook.models.masked_ecg import adjacent, halves
from affectbook.papers import _nmoe_weights, nmoe
from affectbook.papers._nmoe_released import MINI
from affectbook.papers._nmoe_weights import RECIPES, Recipe

TINY = {"hidden": 32, "n_layers": 2, "n_heads": 2, "ffn": 32, "conv": 8}


@pytest.mark.parametrize("name", nmoe.RELEASED)
def test_the_weights_that_lie_here_are_those_that_are_named(name) -> None:
    path = pretrain.path_of(name)
    assert files.sha256(path) == nmoe.RELEASED[name]
    assert path.stat().st_size < 3.2e6, "half precision, small enough to be committed"
    card, recipe = checkpoint.read_card(path), RECIPES[name]
    made_by = card["made_by"]
    told = {key: tuple(value) if isinstance(value, list) else value
            for key, value in made_by["recipe"].items()}  # fmt: skip
    assert Recipe(**told) == recipe and card["constructor"] == MINI | {"n_chans": 12}
    assert made_by["objective"]["cmsc"] == recipe.cmsc and made_by["licences"]
    history = pd.DataFrame(made_by["history"])
    assert list(history["epoch"]) == list(range(1, recipe.epochs + 1))
    assert history["steps"].is_monotonic_increasing


@pytest.mark.parametrize("name", nmoe.RELEASED)
def test_released_weights_have_seen_nobody_of_a_data_set(name) -> None:
    subjects = checkpoint.read_card(pretrain.path_of(name))["made_by"]["subjects"]
    corpora = {one.split("/")[0] for one in subjects}
    assert not corpora & set(datasets.names()) and "twelve_leads" in corpora
    assert corpora - {"twelve_leads"} <= set(unlabelled.CORPORA)
    assert nmoe.backbone_of(nmoe.setting(nmoe.Params())).subjects == ()


@pytest.mark.parametrize("name", nmoe.RELEASED)
def test_released_weights_load_in_float32_and_answer(name) -> None:
    model = ECGFM.from_checkpoint(pretrain.path_of(name), sha256=nmoe.RELEASED[name])
    assert sum(p.numel() for p in model.parameters()) == 1_448_832
    assert {p.dtype for p in model.parameters()} == {torch.float32} and not model.training
    with torch.no_grad():
        pooled = model.pooled(torch.randn(2, 12, 320))
    assert pooled.shape == (12, 2, 96) and pooled.isfinite().all()
    with pytest.raises(CheckpointError, match="SHA-256"):
        ECGFM.from_checkpoint(pretrain.path_of(name), sha256="0" * 64)


def test_cmsc_has_taught_it_which_halves_belong_together() -> None:
    """On people it has not seen: the loss of CMSC, beside that without it and at random."""
    X, _ = _nmoe_weights.simulated(1000, 16, seed=5)
    found = {}
    for name in (*nmoe.RELEASED, "random"):
        torch.manual_seed(0)
        model = ECGFM(**MINI) if name == "random" else ECGFM.from_checkpoint(pretrain.path_of(name))
        with torch.no_grad():
            found[name] = adjacent(model.pooled(halves(torch.as_tensor(X)))[-1], 0.1).item()
    assert found.pop("nmoe_mini") < min(*found.values(), np.log(len(X))) - 0.5, found


def test_simulated_people_are_scaled_distinct_and_reproducible() -> None:
    (X, subjects), (again, _) = (_nmoe_weights.simulated(3, 2, seed=1) for _ in range(2))
    assert X.shape == (8, 12, 5000) and X.dtype == np.float32 and np.array_equal(X, again)
    assert np.allclose(X.mean(-1), 0, atol=1e-3) and np.allclose(X.std(-1), 1, atol=1e-2)
    assert subjects == ["twelve_leads/simulated/3"] * 4 + ["twelve_leads/simulated/4"] * 4
    other, _ = _nmoe_weights.simulated(5, 2, seed=1)
    assert not np.allclose(X, other)


def test_a_recipe_is_carried_out(monkeypatch, tmp_path, capsys) -> None:
    recipe = Recipe(people=4, batch_size=4, epochs=2, alone=1, codes=8, precision="float32")
    X, subjects = _nmoe_weights.simulated(0, 4, seed=0)
    monkeypatch.setattr(_nmoe_weights, "RECIPES", {"nmoe_mini": recipe})
    monkeypatch.setattr(_nmoe_weights, "MINI", TINY)
    monkeypatch.setattr(_nmoe_weights, "_WATCHED", 2)
    monkeypatch.setattr(
        _nmoe_weights, "_windows",
        lambda _: unlabelled.Unlabelled(X[..., :1280], np.array(subjects)),
    )  # fmt: skip
    monkeypatch.setattr(_nmoe_weights.unlabelled, "describe", lambda _: pd.DataFrame())
    monkeypatch.setattr(pretrain, "folder", lambda: tmp_path)
    path = nmoe.pretrain("nmoe_mini")
    card = checkpoint.read_card(path)
    history = pd.DataFrame(card["made_by"]["history"])
    assert history["epoch"].tolist() == [1, 2] and history["steps"].tolist() == [4, 8]
    assert {"masked", "other_segment", "contrast loss", "cmsc loss"} <= set(history)
    assert len(card["made_by"]["subjects"]) == 4
    assert "epoch 2 after" in capsys.readouterr().out
    assert ECGFM.from_checkpoint(path).sizes == TINY | {"n_chans": 12}


def test_without_cmsc_the_recipe_is_the_same_but_for_it() -> None:
    whole, less = RECIPES["nmoe_mini"], RECIPES["nmoe_mini_without_cmsc"]
    assert replace(less, cmsc=True, alone=whole.alone) == whole


def test_an_unknown_recipe_is_answered_with_those_there_are() -> None:
    with pytest.raises(ParameterError, match="nmoe_mini_without_cmsc"):
        nmoe.pretrain("nmoe_maxi")


def test_the_table_of_recipes_says_what_is_here() -> None:
    table = nmoe.weights()
    assert table["weights"].tolist() == list(RECIPES)
    assert table["size"].str.fullmatch(r"\d\.\d MB").all()
    assert "CMSC" in table["learns from"][0] and "CMSC" not in table["learns from"][1]
