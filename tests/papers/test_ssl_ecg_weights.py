"""Released weights of self-supervised ECG: what they have seen, and how they are made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from ssl_ecg_settings import REAL, built, corpora, noise, setting

from affectbook import augment, datasets, encoders, experiments, files, pretrain, unlabelled
from affectbook.errors import ParameterError
from affectbook.models import checkpoint, scaling
from affectbook.models.pretexts import Transformations
from affectbook.papers import _ssl_ecg_released, _ssl_ecg_weights, ssl_ecg
from affectbook.unlabelled import Unlabelled


@pytest.mark.parametrize("dataset", ssl_ecg.DATASETS)
@pytest.mark.parametrize("pretext", ["transformations", "contrastive"])
@pytest.mark.parametrize("tier", ["simulated", "real"])
def test_released_weights_have_not_seen_the_data_set(dataset, pretext, tier) -> None:
    tier = tier if tier == "simulated" else REAL.get(dataset, "licensed")
    chosen = setting(dataset=dataset, tier=tier, pretext=pretext)
    name, sha256 = ssl_ecg.weights_of(chosen)
    recipe = _ssl_ecg_weights.RECIPES[name]
    assert not {dataset, f"{dataset}_twin"} & corpora(name) and recipe.pretext == pretext
    assert sha256 == ssl_ecg.RELEASED.get(name, "")
    encoder = ssl_ecg.build(chosen, noise(chosen)).encoder
    assert (encoder.source, encoder.sha256) == (name, sha256 or None)
    assert (encoder.dataset, encoder.tier) == (dataset, tier)
    assert dict(encoder.options) == recipe.encoder


@pytest.mark.parametrize("part", ["from_scratch", "random_encoder", "in_fold", "transductive",
                                  "only_noise", "contrastive_loss", "relu"])  # fmt: skip
def test_what_is_trained_elsewhere_uses_no_released_weights(part) -> None:
    assert ssl_ecg.weights_of(setting(), f"published+{part}") == ()


def test_a_random_encoder_is_taken_from_no_file() -> None:
    assert built(pretext="random")["encoder__source"] == "random"
    assert built("published+random_encoder+relu")["encoder__source"] == "random"


def test_recipes_watch_people_they_do_not_train_on() -> None:
    for name, recipe in _ssl_ecg_weights.RECIPES.items():
        assert recipe.watched in {*REAL, "dreamer_twin"} and recipe.watched not in corpora(name)
        assert name.startswith(f"ssl_ecg_{recipe.pretext}_")
        left_out = name.partition("_without_")[2]
        assert left_out in ("", recipe.watched)
        assert recipe.encoder == (
            {"batch_norm": True, "activation": "relu"} if recipe.pretext == "contrastive" else {}
        )


def test_the_weights_that_lie_here_are_those_that_are_named() -> None:
    assert set(ssl_ecg.RELEASED) <= set(_ssl_ecg_weights.RECIPES)
    for name, sha256 in ssl_ecg.RELEASED.items():
        path = pretrain.path_of(name)
        assert files.sha256(path) == sha256, name
        card, recipe = checkpoint.read_card(path), _ssl_ecg_weights.RECIPES[name]
        subjects = [one.split("/") for one in card["made_by"]["subjects"]]
        seen = {corpus for corpus, _, _ in subjects}
        own = {corpus.removesuffix("_twin") for corpus in corpora(name)}
        assert seen == own and recipe.watched.removesuffix("_twin") not in seen
        for corpus, tier, subject in subjects:
            known = datasets.card(corpus).subjects if corpus in datasets.names() else (subject,)
            expected = "simulated" if "_of_" in name else "open"
            assert subject in known and tier == expected, "as windows to be tested are named"
        assert card["made_by"]["windows"]["sfreq"] == 256


@pytest.mark.slow
def test_the_pretext_is_recognised_on_simulated_people_who_were_in_no_pretraining() -> None:
    """The default run: people of DREAMER's twin; heads that learnt on three other twins."""
    data = experiments.load(setting())
    of = data.meta["subject"].to_numpy(str)
    scaled = scaling.of_subjects(data.X, of, "per_subject_zscore")[::9]
    table = Transformations().scores(ssl_ecg.with_heads(), scaled).set_index("head")
    assert list(table.index) == list(augment.NAMES)
    assert (table.loc[["negation", "inversion"], "f1"] > 0.9).all(), table
    assert (table.loc[["original", "scaling"], "f1"] < 0.5).all(), "hardly to be told apart"


def test_heads_lie_beside_the_encoder_they_were_trained_with() -> None:
    name, sha256 = _ssl_ecg_released.HEADS
    assert files.sha256(pretrain.path_of(name)) == sha256
    encoder, _ = encoders.released(name.removesuffix(_ssl_ecg_weights.WITH_HEADS))
    for ours, theirs in zip(ssl_ecg.with_heads().encoder.parameters(), encoder.parameters(),
                            strict=True):  # fmt: skip
        assert torch.equal(ours, theirs)


@pytest.fixture
def tiny_corpora(tmp_path, monkeypatch) -> None:
    """Let every corpus be noise of six subjects, and the project an empty folder."""

    def windows(names: tuple[str, ...], **_: object) -> Unlabelled:
        X = np.random.default_rng(0).standard_normal((6, 1, 32)).astype(np.float32)
        return Unlabelled(X, np.array([f"{names[0]}/open/S{i}" for i in range(6)]))

    monkeypatch.setattr(unlabelled, "windows", windows)
    monkeypatch.setattr(unlabelled, "describe", lambda names: pd.DataFrame({"corpus": names}))
    monkeypatch.setattr(pretrain, "project_root", lambda: tmp_path)


@pytest.mark.parametrize("pretext", ["transformations", "contrastive"])
def test_weights_are_made_by_their_recipe(tiny_corpora, monkeypatch, capsys, pretext) -> None:
    name = f"ssl_ecg_{pretext}_without_eegmat"
    short = replace(_ssl_ecg_weights.RECIPES[name], epochs=2, batch_size=4)
    monkeypatch.setattr(_ssl_ecg_weights, "RECIPES", {name: short})
    before = ssl_ecg.weights().iloc[0]
    assert before["size"] == "not here" and "of a subject" in before["windows"]
    path = ssl_ecg.pretrain(name)
    assert path == pretrain.path_of(name)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{name}: reading drivedb, plain; eegmat is watched"
    assert told[1] == f"{name}: 6 windows of 6 subjects, 2 epochs"
    assert [line.split(" after ")[0] for line in told[2:]] == ["epoch 1", "epoch 2"]
    _, card = encoders.released(name, files.sha256(path))
    made_by = card["made_by"]
    assert card["constructor"] == {"n_chans": 1} | short.encoder
    assert made_by["subjects"] == [f"drivedb/open/S{i}" for i in range(6)]
    assert made_by["recipe"]["pretext"] == pretext and made_by["recipe"]["epochs"] == 2
    measures = [f"f1 {task}" for task in augment.NAMES]
    measures = measures if pretext == "transformations" else ["accuracy other_view"]
    assert list(made_by["history"]) == ["epoch", "steps", "loss", *measures]
    assert made_by["windows"]["sfreq"] == 256 and made_by["licences"] == [
        {"corpus": "drivedb"}, {"corpus": "plain"}]  # fmt: skip
    after = ssl_ecg.weights().iloc[0]
    assert after["windows"] == "6 of 6 subjects" and after["size"] == "1.3 MB"
    sums = {files.sha256(ssl_ecg.pretrain(name)), files.sha256(path)}
    assert len(sums) == 1, "the same bytes again"


def test_weights_without_a_recipe_are_refused() -> None:
    with pytest.raises(ParameterError, match="no recipe for weights 'any'; there are ssl_ecg_"):
        ssl_ecg.pretrain("any")
    assert ssl_ecg.weights()["weights"].tolist() == list(_ssl_ecg_weights.RECIPES)
