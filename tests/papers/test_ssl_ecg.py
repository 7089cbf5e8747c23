"""Self-supervised ECG as the chapter has it: variants, heads, weights, what is refused, sweeps."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from builders import windows_of

from affectbook import (
    augment,
    datasets,
    encoders,
    experiments,
    files,
    params,
    pretrain,
    protocols,
    sweeps,
    unlabelled,
)
from affectbook.analyses import ANALYSES
from affectbook.encoders import PublishedLoss
from affectbook.errors import ParameterError
from affectbook.experiments import Data, Setting
from affectbook.models import checkpoint
from affectbook.models.pretexts import Contrastive, Transformations
from affectbook.papers import _ssl_ecg_variants, _ssl_ecg_weights, ssl_ecg
from affectbook.papers.ssl_ecg import Params, network_options, training_options
from affectbook.scales import Cell
from affectbook.unlabelled import CORPORA, PLAIN, Unlabelled

HONEST, TRANSDUCTIVE = "group_kfold_subject", "group_kfold_subject_transductive"
REAL = {"eegmat": "open", "drivedb": "open"}
each_sweep = pytest.mark.parametrize("sweep", ssl_ecg.SWEEPS)


def setting(**given: object) -> Setting:
    return ssl_ecg.setting(Params(**given))


def noise(chosen: Setting, n: int = 4) -> Data:
    """Return windows of noise in the shape of a setting."""
    card = datasets.card(chosen.dataset)
    rule = experiments.rule_of(card, chosen.label_rule, chosen.target)
    y, meta = windows_of(((f"S{s}", f"t{s}", s % 2, 1) for s in range(n)), chosen.seconds)
    shape = (n, 1, round(chosen.seconds * chosen.sfreq))
    X = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return Data(X, y, meta, card, rule, "noise", Path("nowhere"), chosen.sfreq)


def built(variant: str | None = None, **given: object) -> dict[str, object]:
    """Return the parameters of the classifier of a setting."""
    chosen = setting(**given)
    return ssl_ecg.build(chosen, noise(chosen), variant).get_params()


# What parameters become.


@pytest.mark.parametrize(
    ("given", "variant"),
    [
        ({}, "published"),
        ({"pretext": "contrastive"}, "published+contrastive"),
        ({"pretext": "contrastive", "finetune": False}, "published+contrastive+frozen"),
        ({"pretext": "contrastive", "head": "dense_64x2", "pretraining": "fold"},
         "published+contrastive+head_dense_64x2+in_fold"),
        ({"pretext": "none"}, "published+from_scratch"),
        ({"pretext": "none", "finetune": True}, "published+from_scratch+fine_tuned"),
        ({"pretext": "random"}, "published+random_encoder"),
        ({"finetune": True}, "published+fine_tuned"),
        ({"pretraining": "fold"}, "published+in_fold"),
        ({"pretraining": "fold", "variant": "published+in_fold"}, "published+in_fold"),
        ({"pretraining": "transductive", "protocol": TRANSDUCTIVE}, "published+transductive"),
        ({"head": "linear"}, "published+head_linear"),
        ({"variant": "published+snr_30"}, "published+snr_30"),
        ({"label_budget": 0.1}, "published"),
    ],
)  # fmt: skip
def test_what_parameters_ask_for_becomes_a_part_of_the_variant(given, variant) -> None:
    assert setting(**given).variant == variant


def test_parameters_of_the_notebook_switch_what_they_say() -> None:
    for head in _ssl_ecg_variants.HEADS:
        assert network_options(setting(head=head).variant)["head"] == head
    for finetune in (True, False):
        for pretext in ("transformations", "contrastive"):
            chosen = setting(pretext=pretext, finetune=finetune)
            assert network_options(chosen.variant)["finetune"] is finetune
    for pretext in ssl_ecg.PRETEXTS:
        found = network_options(setting(pretext=pretext).variant)
        assert found.get("pretext", "transformations") == pretext
    for place in ("fold", "transductive"):
        chosen = setting(pretraining=place, protocol=TRANSDUCTIVE)
        assert training_options(chosen.variant)["source"] == place


def test_names_of_tasks_and_strengths_are_those_of_the_transformations() -> None:
    assert _ssl_ecg_variants.TASKS == augment.NAMES[1:]
    strengths = vars(augment.PUBLISHED)
    for name, change in _ssl_ecg_variants.DIFFICULTY.items():
        ((strength, value),) = change.items()
        assert name.rpartition("_")[2] == f"{value:g}" and value != strengths[strength]
        assert type(value) is type(strengths[strength])


def test_every_set_has_one_lead_and_a_target() -> None:
    for name, dataset in ssl_ecg.DATASETS.items():
        tier = REAL.get(name, "licensed")
        for chosen in (setting(dataset=name), setting(dataset=name, tier=tier)):
            assert chosen.dataset == dataset and chosen.sfreq == 256
            rule = experiments.rule_of(datasets.card(dataset), None, chosen.target)
            rated = name in ("dreamer", "amigos")
            assert chosen.target == rule.target == ("arousal" if rated else "condition")


def test_a_setting_of_licensed_recordings_needs_none_of_them(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    chosen = setting(
        dataset="dreamer", tier="licensed", target="valence", label_rule="valence in 5",
        scale="paper", pretraining="fold", allow_missing="S07",
    )  # fmt: skip
    assert (chosen.tier, chosen.dataset) == ("licensed", "dreamer:ECG1 without S07")
    assert (chosen.target, chosen.label_rule) == ("valence", "valence in 5")
    assert (chosen.epochs, chosen.batch_size, chosen.n_splits) == (100, 128, 10)
    assert chosen.subjects is None and chosen.per_trial is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pretraining": "transductive"}, f"take -p protocol {TRANSDUCTIVE}"),
        ({"variant": "published+transductive"}, f"{HONEST} does not allow"),
        ({"pretraining": "transductive", "protocol": "shuffled_windows_as_published"},
         "shuffled_windows_as_published does not allow"),
        ({"pretext": "none", "finetune": False}, "nothing to freeze; take -p pretext random"),
        ({"variant": "published+from_scratch+frozen"}, "nothing to freeze"),
        ({"pretext": "random", "pretraining": "fold"}, "leave -p pretraining fold out"),
        ({"pretext": "none", "pretraining": "transductive", "protocol": TRANSDUCTIVE},
         "pretext none pretrains nothing"),
        ({"variant": "published+block_1+fine_tuned"}, "features of a frozen encoder"),
        ({"variant": "published+block_2", "pretext": "none"}, "features of a frozen encoder"),
        ({"variant": "published+only_noise", "pretext": "contrastive"}, "tasks of the variant"),
        ({"variant": "published+snr_2", "pretext": "random"}, "snr_db of the variant"),
        ({"variant": "published+equal_alpha+one_softmax"}, "one softmax has no weights"),
        ({"label_budget": 0.5, "pretraining": "fold"}, "would lose the windows"),
        ({"variant": "published+one_softmax+only_noise"}, "nothing to tell apart"),
        ({"variant": "published+only_nose"}, "did you mean only_noise"),
        ({"dataset": "eegmat", "tier": "licensed"}, "ask for tier='open'"),
        ({"dataset": "wesad", "target": "valence"}, "wesad has no label_rule"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_before_anything_runs(given, words) -> None:
    with pytest.raises(ParameterError, match=words) as error:
        setting(**given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dataset": "deap"}, "dataset"), ({"pretext": "simclr"}, "pretext"),
        ({"head": "dense"}, "head"), ({"finetune": "perhaps"}, "finetune"),
        ({"label_budget": "0"}, "label_budget"), ({"label_budget": "1.5"}, "label_budget"),
        ({"pretraining": "others"}, "did you mean other"), ({"seconds": "1"}, "seconds"),
        ({"pretex": "none"}, "did you mean pretext"),
    ],
)  # fmt: skip
def test_parameters_out_of_range_are_refused(given, words) -> None:
    with pytest.raises(ParameterError, match=words):
        params.parse(Params, given)


# What is built.


@pytest.mark.parametrize(
    ("dataset", "head", "decay", "dropout"),
    [
        ("dreamer", "dense_512x3", 1e-4, 0.2), ("amigos", "dense_512x3", 0.0, 0.4),
        ("wesad", "dense_512x2", 0.0, None), ("swell", "dense_512x2", 0.0, None),
        ("eegmat", "dense_512x2", 0.0, None),
    ],
)  # fmt: skip
def test_the_head_is_the_released_one_of_the_set(dataset, head, decay, dropout) -> None:
    found = built(dataset=dataset)
    assert (found["module__head"], found["weight_decay"]) == (head, decay)
    assert found.get("module__dropout") == dropout
    assert (found["max_epochs"], found["batch_size"], found["lr"]) == (200, 128, 1e-3)
    assert found["optimizer"] is torch.optim.Adam and found["criterion"] is PublishedLoss
    assert (found["patience"], found["checkpoint"]) == (None, "last"), "nothing is selected"
    assert (found["module__n_chans"], found["module__n_times"]) == (1, 128)
    assert found["scaler"].kind == "per_subject_zscore" and not found["finetune"]
    other = built(dataset=dataset, head="linear")
    assert (other["module__head"], other["weight_decay"]) == ("linear", 0.0)
    assert "module__dropout" not in other


def test_a_trained_network_has_the_epochs_of_the_setting_and_the_same_head() -> None:
    for pretext, finetune in (("none", None), ("transformations", True)):
        found = built(dataset="wesad", pretext=pretext, finetune=finetune, epochs=7)
        assert (found["max_epochs"], found["batch_size"]) == (7, 16)
        assert found["module__head"] == "dense_512x2" and found["finetune"]
        assert found["module__n_times"] == 2560 and found["module__n_outputs"] == 3
        assert found["patience"] is None
        assert (found["encoder"] is None) == (pretext == "none")


def test_the_contrastive_pretext_comes_as_its_description_has_it() -> None:
    found = built(pretext="contrastive")
    assert found["optimizer"] is torch.optim.SGD and found["optimizer__momentum"] == 0.9
    assert found["lr"] == 1e-2 and found["module__head"] == "linear" and found["finetune"]
    assert found["module__batch_norm"] and found["module__activation"] == "relu"
    assert isinstance(found["encoder"].pretext, Contrastive)
    alone = built("published+contrastive_loss")
    assert isinstance(alone["encoder"].pretext, Contrastive) and not alone["encoder"].options
    assert alone["optimizer"] is torch.optim.Adam and not alone["finetune"]


@pytest.mark.parametrize(("part", "width"), [("block_1", 32), ("block_2", 64), ("in_fold", 128)])
def test_features_of_fewer_blocks_are_shorter(part, width) -> None:
    found = built(f"published+{part}")
    assert found["module__n_times"] == width
    assert found["encoder__n_blocks"] == {32: 1, 64: 2, 128: 3}[width]


def test_variants_reach_the_pretext() -> None:
    def pretext(part: str) -> dict[str, object]:
        found = ssl_ecg.pretext_of(f"published+{part}")
        plain = Transformations().get_params()
        return {key: one for key, one in found.get_params().items() if one != plain[key]}

    assert pretext("in_fold") == {}
    assert pretext("equal_alpha") == {"alpha": "equal"}
    assert pretext("one_softmax") == {"single_head": True}
    for task in _ssl_ecg_variants.TASKS:
        assert pretext(f"only_{task}") == {"tasks": (task,)}
    for name, change in _ssl_ecg_variants.DIFFICULTY.items():
        assert pretext(name) == change
        assert pretext(f"only_noise+{name}") == change | {"tasks": ("noise",)}
    assert ssl_ecg.pretext_of("published+contrastive+scale_2").factor == 2


def test_every_change_of_the_pretext_or_the_encoder_is_pretrained_in_the_fold() -> None:
    """No released weights were made with it."""
    as_released = {"source", "weights", "optimizer"}
    for name, change in ssl_ecg.VARIANTS.items():
        of_training = set(training_options(name)) - as_released
        of_encoder = {"batch_norm", "activation", "pooling"} & set(change)
        if (of_training or of_encoder) and name != "contrastive":
            assert change["source"] == "fold", name


@pytest.mark.parametrize("place", ["fold", "transductive"])
def test_pretraining_in_the_fold_has_the_epochs_of_the_setting(place) -> None:
    found = built(pretraining=place, protocol=TRANSDUCTIVE, epochs=7, scale="ablation", seed=3)
    assert found["encoder__source"] == place and found["encoder__sha256"] is None
    assert (found["encoder__epochs"], found["encoder__batch_size"]) == (7, 4)
    assert found["encoder__seed"] == found["seed"] == 3
    assert found["encoder__sfreq"] == 128


# Which released weights.


def corpora(name: str) -> set[str]:
    """Return what weights were pretrained on, by their recipe."""
    found = _ssl_ecg_weights.RECIPES[name].corpora
    return {one for corpus in found for one in (CORPORA if corpus == PLAIN else (corpus,))}


@pytest.mark.parametrize("dataset", ssl_ecg.DATASETS)
@pytest.mark.parametrize("pretext", ["transformations", "contrastive"])
@pytest.mark.parametrize("tier", ["simulated", "real"])
def test_released_weights_have_not_seen_the_data_set(dataset, pretext, tier) -> None:
    tier = tier if tier == "simulated" else REAL.get(dataset, "licensed")
    chosen = setting(dataset=dataset, tier=tier, pretext=pretext)
    name, sha256 = ssl_ecg.weights_of(chosen)
    recipe = _ssl_ecg_weights.RECIPES[name]
    assert dataset not in corpora(name) and recipe.pretext == pretext
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
        assert recipe.watched in REAL and recipe.watched not in corpora(name)
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
        assert seen == corpora(name) and recipe.watched not in seen
        for corpus, tier, subject in subjects:
            known = datasets.card(corpus).subjects if corpus in datasets.names() else (subject,)
            assert subject in known and tier == "open", "as windows to be tested are named"
        assert card["made_by"]["windows"]["sfreq"] == 256


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


# Sweeps.


@each_sweep
def test_every_cell_of_a_sweep_resolves(sweep) -> None:
    cells = ssl_ecg.SWEEPS[sweep]
    names, identities = ssl_ecg.reference_models(setting(), noise(setting())), set()
    for cell in cells:
        parsed = params.parse(Params, cell.parameters)
        assert parsed == Params(**cell.parameters), "its values are among the choices"
        chosen = sweeps.setting_of("ssl_ecg", cell)
        assert cell.analysis in ANALYSES and set(cell.options.get("names", ())) <= set(names)
        assert protocols.get(chosen.protocol)
        assert chosen.tier == REAL.get(chosen.dataset, "simulated")
        network_options(chosen.variant)
        identities.add((cell.analysis, repr(chosen), repr(sorted(cell.options.items()))))
    assert len(identities) == len(cells), "no cell is made twice"


@each_sweep
def test_released_weights_of_a_cell_fit_its_windows_and_saw_none_of_its_people(sweep) -> None:
    for cell in ssl_ecg.SWEEPS[sweep]:
        chosen = sweeps.setting_of("ssl_ecg", cell)
        if cell.analysis in ("network", "subject_probe") and ssl_ecg.weights_of(chosen):
            name, _ = ssl_ecg.weights_of(chosen)
            assert chosen.dataset not in corpora(name) and chosen.sfreq == 256


@each_sweep
def test_pretexts_are_scored_where_a_fold_trains_one_and_probed_where_none_does(sweep) -> None:
    for cell in ssl_ecg.SWEEPS[sweep]:
        chosen = sweeps.setting_of("ssl_ecg", cell)
        own = network_options(chosen.variant) | training_options(chosen.variant)
        trained = own.get("source") in ("fold", "transductive")
        if cell.analysis in ("pretext", "subject_probe"):
            assert trained == (cell.analysis == "pretext"), chosen.variant
            assert not own.get("finetune")


def test_no_cell_asks_for_trials_of_eegmat_held_out() -> None:
    for cells in ssl_ecg.SWEEPS.values():
        for cell in cells:
            chosen = sweeps.setting_of("ssl_ecg", cell)
            if chosen.dataset == "eegmat":
                assert protocols.get(chosen.protocol).generalises_to != protocols.TRIAL


def as_recorded(cell: Cell) -> str:
    """Return the variant that the score rows of a cell will have."""
    share = cell.options.get("share")
    less = "" if share is None else f"+{share:g}_of_{cell.options['of']}"
    return sweeps.setting_of("ssl_ecg", cell).variant + less


def test_every_claim_on_variants_has_cells_that_decide_it() -> None:
    run = {as_recorded(cell) for cells in ssl_ecg.SWEEPS.values() for cell in cells}
    for claim in ssl_ecg.claims():
        for side in (claim.left, claim.right):
            if claim.directional and not isinstance(side, str) and side.get("variant"):
                wanted = side["variant"]
                assert {wanted} & run if isinstance(wanted, str) else set(wanted) & run, claim.name


# Without torch.


def test_tables_and_verdicts_of_the_paper_need_no_torch() -> None:
    code = (
        "import sys; from affectbook.papers import ssl_ecg as paper; paper.claims(); "
        "paper.setting(paper.Params(pretext='contrastive')); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_paper_scale_is_that_of_the_paper() -> None:
    paper = ssl_ecg.SCALES["paper"]
    assert (paper.sfreq, paper.seconds, paper.overlap) == (256, 10, 0)
    assert (paper.n_splits, paper.epochs, paper.batch_size) == (10, 100, 128)
