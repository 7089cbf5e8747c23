"""NMoE as the chapter has it: variants, backbones, what is refused, claims, sweeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from affectbook import datasets, experiments, params, protocols, sweeps
from affectbook.analyses import ANALYSES
from affectbook.errors import DataNotFoundError, ParameterError
from affectbook.experiments import Data, Setting
from affectbook.layer_embeddings import LayerNet
from affectbook.models.ecg_fm import ECGFM
from affectbook.models.leads import TwelveLeads
from affectbook.models.nmoe_whole import WholeNMoE
from affectbook.models.scaling import of_subjects
from affectbook.papers import _nmoe_variants, nmoe
from affectbook.papers.nmoe import Params, network_options

each_sweep = pytest.mark.parametrize("sweep", nmoe.SWEEPS)
REAL = {"eegmat": "open", "drivedb": "open"}


def setting(**given: object) -> Setting:
    return nmoe.setting(Params(**given))


def noise(chosen: Setting, n_windows: int = 40) -> Data:
    """Return noise in the shape of a setting's windows, shortened."""
    card = datasets.card(chosen.dataset)
    rule = experiments.rule_of(card, chosen.label_rule, chosen.target)
    y = np.arange(n_windows) % len(rule.classes)
    meta = pd.DataFrame({"subject": [f"S{i % 4}" for i in range(n_windows)], "session": "1",
                         "trial": [f"t{i}" for i in y], "window": range(n_windows)})  # fmt: skip
    X = np.random.default_rng(0).standard_normal((n_windows, 1, 320)).astype(np.float32)
    return Data(X, y, meta, card, rule, "noise", Path("nowhere"), chosen.sfreq)


@pytest.mark.parametrize(
    ("given", "variant"),
    [
        ({}, "published"),
        ({"gate": "last"}, "published+gate_last"),
        ({"gate": "dynamic_all", "backbone": "random_mini"},
         "published+random_mini+gate_dynamic_all"),
        ({"backbone": "random_full"}, "published+random_full"),
        ({"layers": "last_4", "gate": "raw"}, "published+gate_raw+last_4"),
        ({"layers": "3"}, "published+layer_3"),
        ({"layers": "3", "gate": "last"}, "published+layer_3"),
        ({"layers": "12"}, "published+gate_last"),
        ({"lead": "copied"}, "published+lead_copied"),
        ({"lead": "learnt", "variant": "published+lora"}, "published+lora+lead_learnt"),
        ({"variant": "published+gate_last", "gate": "last"}, "published+gate_last"),
    ],
)  # fmt: skip
def test_what_parameters_ask_for_becomes_a_part_of_the_variant(given, variant) -> None:
    assert setting(**given).variant == variant


def test_parameters_of_the_notebook_switch_what_they_say() -> None:
    for backbone in _nmoe_variants.BACKBONES:
        assert network_options(setting(backbone=backbone).variant).get("backbone", "mini") \
            == backbone  # fmt: skip
    for gate in _nmoe_variants.GATES:
        found = network_options(setting(gate=gate).variant)
        assert found.get("gate", "static") + ("_all" if "context" in found else "") == gate
    for layers in _nmoe_variants.LAYERS[3:-1]:
        found = network_options(setting(layers=layers).variant)
        assert (found["layers"], found["gate"]) == ((int(layers),), "last")
    for lead in ("I", "copied", "learnt"):
        name = network_options(setting(lead=lead).variant)["lead_input"]
        assert name.removeprefix("lead_") == lead


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layers": "3", "gate": "raw"}, "nothing to weigh where -p layers 3"),
        ({"layers": "12", "gate": "token"}, "nothing to weigh"),
        ({"lead": "learnt", "backbone": "random_full"}, "90 million parameters is not offered"),
        ({"variant": "published+lora", "backbone": "ecg_fm"}, "is not offered"),
        ({"variant": "published+lora+layer_zscore"}, "layer_zscore learns means"),
        ({"variant": "published+gate_soft"}, "no variant 'gate_soft'"),
        ({"tier": "open"}, "of tier .licensed., not .open."),
    ],
)
def test_what_does_not_go_together_is_refused(given, words) -> None:
    with pytest.raises(ParameterError, match=words):
        setting(**given)


@pytest.mark.parametrize(("name", "wrong"), [("gate", "softmax"), ("backbone", "ecgfm"),
                                             ("layers", "13"), ("lead", "V1")])  # fmt: skip
def test_a_parameter_of_another_value_is_answered_with_those_there_are(name, wrong) -> None:
    with pytest.raises(ParameterError, match=name):
        params.from_notebook(Params, vars(Params()) | {name: wrong})


def test_every_set_has_one_lead_at_the_rate_of_the_backbone() -> None:
    for name, dataset in nmoe.DATASETS.items():
        for tier in ("simulated", REAL.get(name, "licensed")):
            chosen = setting(dataset=name, tier=tier)
            assert (chosen.dataset, chosen.sfreq, chosen.seconds) == (dataset, 500, 5)
    assert setting().target == "condition" and setting(dataset="dreamer").target == "arousal"
    rule = experiments.rule_of(datasets.card("mand"), None, "condition")
    assert len(rule.classes) == 5


def test_the_published_recipe() -> None:
    chosen = setting(scale="paper", protocol="shuffled_windows_as_published")
    assert (chosen.overlap, chosen.n_splits, chosen.epochs) == (0.75, 5, 10)
    net = nmoe.build(chosen, noise(chosen))
    assert net.optimizer is torch.optim.Adam and net.patience is None
    assert isinstance(net, LayerNet) and not net.finetune
    assert protocols.get(chosen.protocol).as_published


def test_tiers_of_backbones() -> None:
    mini, full = setting(), setting(backbone="random_full")
    module = nmoe.backbone_of(mini).module
    assert sum(p.numel() for p in module.parameters()) == 1_448_832
    assert not any(p.requires_grad for p in module.parameters()) and not module.training
    assert nmoe.sizes_of(network_options(full.variant)) == {}, "as published"
    seeds = [nmoe.backbone_of(setting(backbone="random_mini", seed=s)).identity() for s in (0, 1)]
    assert seeds[0] != seeds[1]
    assert seeds[0] == nmoe.backbone_of(setting(backbone="random_mini")).identity()


def test_what_a_backbone_is_goes_into_the_keys_of_sweeps() -> None:
    told = {name: nmoe.weights_of(setting(backbone=name)) for name in _nmoe_variants.BACKBONES}
    assert len(set(told.values())) == len(told)
    for name in ("mini", "mini_without_cmsc"):
        assert told[name] == (f"nmoe_{name}", nmoe.RELEASED[f"nmoe_{name}"])
    assert told["ecg_fm"][1].startswith("4d0142bc")


def test_published_weights_that_are_not_there_end_in_one_message(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    chosen = setting(backbone="ecg_fm")
    data = noise(chosen)
    with pytest.raises(DataNotFoundError, match="make data DATASET=ecg_fm"):
        nmoe.build(chosen, data).fit(data.X, data.y)


def test_the_kind_of_a_variant_decides_what_is_built() -> None:
    for variant, tuning in (("published", None), ("published+through_backbone", "frozen"),
                            ("published+lora", "lora"), ("published+full_fine_tuning", "full"),
                            ("published+lead_learnt", "frozen")):  # fmt: skip
        chosen = setting(variant=variant)
        net = nmoe.build(chosen, noise(chosen))
        assert (net.module is WholeNMoE) == (tuning is not None)
        if tuning:
            assert net.get_params_for("module")["tuning"] == tuning


def test_seen_through_the_backbone_a_gate_is_what_it_is_on_kept_layers() -> None:
    """The same seed begins with the same gate and head, on the same layers."""
    chosen = setting(epochs=1, variant="published")
    data = noise(chosen, 24)
    kept, through = (nmoe.build(chosen, data, variant).set_params(lr=1e-30).fit(data.X, data.y)
                     for variant in ("published", "published+through_backbone"))  # fmt: skip
    with torch.no_grad():
        one = through.module_.eval().embeddings(torch.as_tensor(data.X)).numpy()
    assert np.allclose(one, kept.fitted_encoder_.transform(data.X), atol=1e-4)


@pytest.mark.parametrize("lead_input", ["lead_II", "copied"])
def test_with_one_lead_it_makes_no_difference_how_far_a_z_score_reaches(lead_input) -> None:
    """The norm behind the first convolution takes scale and offset of a window away."""
    rng = np.random.default_rng(0)
    size, offset = rng.uniform(0.5, 2, (6, 1, 1)), rng.normal(0, 3, (6, 1, 1))
    X = size * rng.standard_normal((6, 1, 320)) + offset
    X = X.astype(np.float32)
    recording = (X - X.mean()) / X.std()
    window = of_subjects(X, np.zeros(6), "per_window_zscore")
    assert not np.allclose(recording, window, atol=0.1)
    torch.manual_seed(0)
    module, leads = ECGFM(**nmoe.MINI), TwelveLeads(lead_input)
    with torch.no_grad():
        one, other = (module.pooled(leads(torch.as_tensor(x))) for x in (recording, window))
    # Not to the last digit: the norm adds 1e-5 to a variance, which is not scaled with the window.
    apart = (one[:, :, None] - one[:, None]).norm(dim=-1).sum((1, 2)) / (6 * 5)  # of two windows
    assert ((one - other).norm(dim=-1).mean(1) < 0.1 * apart).all()
    offset = module.pooled(leads(torch.as_tensor(window + 3)))
    assert torch.allclose(offset, other, atol=1e-4)


def test_numbers_of_the_paper_are_quoted_with_what_is_not_stated() -> None:
    numbers = {one.name: one for one in nmoe.claims() if one.number is not None}
    assert {name: one.number for name, one in numbers.items()} == {
        "mand_accuracy": 0.8245, "mand_macro_f1": 0.7711,
    }  # fmt: skip
    assert all(not one.stated and one.dataset == "mand:ECG" for one in numbers.values())
    assert {"gate_beats_last", "beats_fine_tuning", "robust_to_motion"} <= {
        one.name for one in nmoe.claims()
    }


@each_sweep
def test_cells_of_sweeps_are_settings_and_analyses_that_exist(sweep) -> None:
    cells = nmoe.SWEEPS[sweep]
    assert len(set(map(str, cells))) == len(cells)
    for cell in cells:
        chosen = sweeps.setting_of("nmoe", cell)
        assert cell.analysis in ANALYSES and chosen.paper == "nmoe"
        assert not protocols.get(chosen.protocol).transductive


def test_real_sweeps_have_what_a_verdict_needs() -> None:
    for sweep in ("recorded", "drives"):
        asked = {(cell.parameters.get("variant"), cell.options.get("placebo", False),
                  cell.parameters["protocol"], cell.parameters["seed"])
                 for cell in nmoe.SWEEPS[sweep]
                 if cell.analysis == "network" and "protocol" in cell.parameters
                 and "seed" in cell.parameters}  # fmt: skip
        for variant in ("published", "published+gate_last", "published+random_full"):
            for protocol in ("group_kfold_subject", "shuffled_windows_as_published"):
                for placebo in (False, True):
                    here = [one for one in asked if one[:3] == (variant, placebo, protocol)]
                    assert len(here) >= 3


def test_a_map_takes_smaller_steps_than_numbers() -> None:
    for variant, expected in (("published", 0.05), ("published+gate_raw", 0.05),
                              ("published+gate_dynamic", 1e-3), ("published+gate_token", 1e-3),
                              ("published+lora+gate_dynamic", 1e-3)):  # fmt: skip
        chosen = setting(variant=variant)
        groups = nmoe.build(chosen, noise(chosen)).optimizer__param_groups
        assert dict(groups)[next(name for name, _ in groups if "gate" in name)]["lr"] == expected
