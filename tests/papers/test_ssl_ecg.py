"""Self-supervised ECG as the chapter has it: variants, heads, weights, what is refused, sweeps."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from ssl_ecg_settings import REAL, built, corpora, noise, setting

from affectbook import (
    augment,
    datasets,
    experiments,
    params,
    protocols,
    sweeps,
)
from affectbook.analyses import ANALYSES
from affectbook.encoders import PublishedLoss
from affectbook.errors import ParameterError
from affectbook.models.pretexts import Contrastive, Transformations
from affectbook.papers import _ssl_ecg_variants, ssl_ecg
from affectbook.papers.ssl_ecg import Params, network_options, training_options
from affectbook.scales import Cell

HONEST, TRANSDUCTIVE = "group_kfold_subject", "group_kfold_subject_transductive"
each_sweep = pytest.mark.parametrize("sweep", ssl_ecg.SWEEPS)


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
        ({"variant": "published+one_set", "pretraining": "fold"}, "names released weights"),
        ({"variant": "published+one_set", "pretext": "contrastive"}, "names released weights"),
        ({"variant": "published+one_set", "dataset": "wesad"}, "for -p dataset dreamer"),
        ({"epochs": 5}, "heads always get 200 epochs"),
        ({"epochs": 5, "pretext": "random"}, "would change nothing"),
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
    as_released = {"source", "weights", "optimizer", "pooled"}
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
