"""What every paper of the book has to have; a new one is tested by being there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from builders import windows_of

from affectbook import claims, datasets, papers, params, protocols, results
from affectbook.datasets import _registry
from affectbook.errors import ParameterError
from affectbook.experiments import Data, Setting, rule_of
from affectbook.models.network import WindowNet
from affectbook.scales import Scale

SFREQ, LONGEST = 128.0, 2.0
# Parameters that become a part of the setting's `dataset`, and of its `variant`; a budget of labels
# is handed to the protocol by the notebook, and is told after the variant in score rows.
IN_DATASET = {"allow_missing", "channels"}
IN_VARIANT = {
    "embedding", "periods", "pretext", "head", "finetune", "pretraining", "backbone", "gate",
    "layers", "lead",
}  # fmt: skip
NOT_IN_SETTING = IN_DATASET | IN_VARIANT | {"label_budget"}
# A variant that is trained for as long as the setting says, on all training windows, with nothing
# selected; the others hold windows back.
TRAINED = {"ssl_ecg": "published+from_scratch", "nmoe": "published"}
# Variants that say by name what the first one does by default, on the default data; or that begin
# as it does, and differ once they are trained.
SAME = {"ssl_ecg": {"frozen", "head_dense_512x3"}, "nmoe": {"gate_raw"}}
# What stands after a variant in score rows: what a network was calibrated with, a share of what it
# could have been trained on, and what was added to the windows it is tested on.
AFTER_VARIANT = (
    r"(\+\d+_(windows|steps)|\+[0-9.]+_of_(subjects|trials)"
    r"|\+(wander|muscle|motion)_\d+_db(_filtered)?)+$"
)
every = pytest.mark.parametrize("name", papers.names())
# Analyses that split the windows of a new subject once more.
BESIDE = (
    "personalised_prefix", "personalised_random", "later_in_trial_of_new_subjects",
    "across_populations",
)  # fmt: skip


@pytest.fixture
def paper(name: str) -> ModuleType:
    return papers.get(name)


@pytest.fixture
def setting(paper: ModuleType) -> Setting:
    return replace(paper.setting(paper.Params()), epochs=1, batch_size=8)


@pytest.fixture
def data(setting: Setting) -> Data:
    """Noise in the shape of the paper's default data, in windows that are short."""
    card, seconds = datasets.card(setting.dataset), min(setting.seconds, LONGEST)
    rule = rule_of(card, setting.label_rule, setting.target)
    y, meta = windows_of(
        ((f"S{s}", f"t{t}", t, 2) for s in range(4) for t in range(len(rule.classes))), seconds
    )
    name, channels, _ = _registry.parse(setting.dataset)
    n_chans = len(_registry.kind_of(name, channels)[1])
    shape = (len(y), n_chans, round(seconds * SFREQ))
    X = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return Data(X, y, meta, card, rule, "noise", Path("nowhere"), SFREQ)


def base(paper: ModuleType) -> str:
    """Return the variant that the others change: the first."""
    return next(iter(paper.VARIANTS))


def names_of(paper: ModuleType) -> set[str]:
    """Return the names of the paper's parameters."""
    return {field.name for field in fields(paper.Params)}


def allowed_of(paper: ModuleType, name: str) -> tuple[str, ...]:
    """Return the values that a parameter may have."""
    return {field.name: field for field in fields(paper.Params)}[name].metadata["choices"]


def built(paper: ModuleType, setting: Setting, data: Data, variant: str) -> WindowNet:
    """Return the untrained network of a variant; pretrained weights would come with a fit."""
    net = paper.build(setting, data, variant)
    net.fitted_encoder_ = None
    net.initialize()
    if hasattr(net.module_, "learn_scale"):
        net.module_.learn_scale(shown(net, 8))
    return net


def shown(net: WindowNet, n_windows: int) -> torch.Tensor:
    """Return noise in the shape that the network takes: windows, features, or layers of tokens."""
    shape = net.get_params_for("module")
    sizes = [shape.get("n_chans", shape.get("n_layers")), shape.get("n_times", shape.get("hidden"))]
    if shape.get("gate") == "token" and "n_layers" in shape:
        sizes.insert(1, 3)
    noise = np.random.default_rng(0).standard_normal((n_windows, *sizes))
    return torch.as_tensor(noise, dtype=torch.float32)


@pytest.fixture
def variants(paper: ModuleType) -> list[str]:
    return [*paper.VARIANTS, "+".join(list(paper.VARIANTS)[:2])]


def test_there_is_a_paper() -> None:
    assert {"hcmnet", "ms_imamba", "nmoe", "ssl_ecg"} <= set(papers.names())
    assert papers.names() == tuple(sorted(papers.names()))


@pytest.mark.parametrize("unknown", ["hcmnets", "", "published_numbers", "os"])
def test_an_unknown_paper_is_answered_with_those_there_are(unknown) -> None:
    with pytest.raises(ParameterError) as error:
        papers.get(unknown)
    assert all(name in str(error.value) for name in papers.names())


@every
def test_a_paper_says_what_it_is(paper) -> None:
    assert paper.__doc__ and paper.TITLE and paper.HEADLINE and not paper.HEADLINE.endswith(".")
    assert paper.DEVIATIONS and all(line.endswith(".") for line in paper.DEVIATIONS)
    assert [name for name, change in paper.VARIANTS.items() if not change] == [base(paper)]


@every
def test_parameters_have_a_default_and_a_meaning(paper) -> None:
    assert is_dataclass(paper.Params)
    parsed = params.parse(paper.Params, {})
    assert parsed == paper.Params()
    assert params.from_notebook(paper.Params, vars(parsed)) == parsed, "defaults pass the checks"
    assert all(field.metadata.get("help") for field in fields(paper.Params))
    names = names_of(paper)
    assert {"dataset", "tier", "protocol", "variant", "scale", "seed", "device"} <= names
    assert names <= {field.name for field in fields(Setting)} | NOT_IN_SETTING
    with pytest.raises(FrozenInstanceError):
        parsed.seed = 1


@every
def test_scales_are_complete(paper) -> None:
    assert {"smoke", "teaching", "recorded", "paper"} <= set(paper.SCALES)
    for scale in paper.SCALES.values():
        assert isinstance(scale, Scale) and scale.meaning
        assert scale.sfreq > 0 and scale.seconds > 0 and 0 <= scale.overlap < 1
        assert scale.n_splits >= 2 and min(scale.epochs, scale.batch_size, scale.patience) >= 1
    epochs = {name: scale.epochs for name, scale in paper.SCALES.items()}
    assert epochs["smoke"] == min(epochs.values()) and epochs["paper"] == max(epochs.values())
    assert paper.SCALES["paper"].subjects is None and paper.SCALES["paper"].per_trial is None


@every
@pytest.mark.parametrize("scale", ["smoke", "teaching", "recorded", "paper"])
def test_a_setting_takes_what_is_not_given_from_its_scale(name, paper, scale) -> None:
    preset, chosen = paper.SCALES[scale], paper.setting(paper.Params(scale=scale))
    assert chosen.paper == name and chosen.scale == scale
    for field in fields(Scale):
        if field.name != "meaning":
            assert getattr(chosen, field.name) == getattr(preset, field.name)
    for field in fields(paper.Params):
        given = getattr(paper.Params(scale=scale), field.name)
        if given is None or field.name in NOT_IN_SETTING:
            continue
        found = getattr(chosen, field.name)
        if field.name == "dataset" and ":" not in given:
            found = _registry.parse(found).name
        assert found == given


@every
def test_what_is_given_replaces_the_scale(name, paper) -> None:
    given = {"subjects": 4, "seconds": 5.0, "overlap": 0.0, "epochs": 2, "seed": 7}
    chosen = paper.setting(paper.Params(**given, variant=TRAINED.get(name, paper.Params().variant)))
    assert {name: getattr(chosen, name) for name in given} == given


@every
def test_subjects_to_do_without_become_part_of_the_name_of_the_data(paper) -> None:
    name = _registry.parse(paper.Params().dataset).name
    channel, one, two = datasets.card(name).channels[0], *datasets.card(name).subjects[-2:]
    ways = [{"dataset": name}]
    if "channels" in names_of(paper):
        ways.append({"dataset": name, "channels": channel})
    elif f"{name}:{channel}" in allowed_of(paper, "dataset"):
        ways.append({"dataset": f"{name}:{channel}"})
    for given in ways:
        whole = paper.setting(paper.Params(**given)).dataset
        for allowed in (f"{one}, {two}", f"{one},{two}"):
            chosen = paper.setting(paper.Params(**given, allow_missing=allowed))
            assert chosen.dataset == f"{whole} without {one},{two}"
    with pytest.raises(ParameterError, match=f"unknown subject of {name} 'S1'"):
        paper.setting(paper.Params(dataset=name, allow_missing="S1"))


@every
def test_what_does_not_go_together_is_refused_before_a_run(paper) -> None:
    for wrong in ({"label_rule": "none of this name"}, {"variant": "unheard_of"},
                  {"tier": "licensed", "dataset": "eegmat"}):  # fmt: skip
        with pytest.raises(ParameterError):
            paper.setting(paper.Params(**wrong))


@every
def test_claims_are_complete(paper) -> None:
    found = paper.claims()
    names = [claim.name for claim in found]
    assert len(set(names)) == len(names) and paper.HEADLINE_CLAIM in names
    for claim in found:
        assert claim.name.isidentifier() and claim.statement and claim.source
        assert claim.metric in ("accuracy", "balanced_accuracy", "macro_f1")
        taken = claim.protocol if isinstance(claim.protocol, tuple) else (claim.protocol,)
        assert taken and set(taken) <= {*protocols.PROTOCOLS, *BESIDE}
        assert claim.number is None or 0 < claim.number <= 1
        assert bool(claim.dataset) != claim.directional, "a number is of a data set"
        if claim.directional:
            assert claim.left and claim.right and claim.left != claim.right
            own = set(taken) & set(protocols.PROTOCOLS)
            assert not any(protocols.get(protocol).as_published for protocol in own)


@every
def test_claims_name_variants_and_label_rules_that_exist(paper) -> None:
    for claim in paper.claims():
        sides = [side for side in (claim.left, claim.right) if not isinstance(side, str)]
        # Reference models that train on everything have no variant: theirs is "".
        for wanted in filter(None, [side.get("variant") for side in sides]):
            for variant in (wanted,) if isinstance(wanted, str) else wanted:
                paper.network_options(re.sub(AFTER_VARIANT, "", variant))
        if claim.dataset:
            rules = {rule.name for rule in datasets.card(claim.dataset).label_rules}
            assert claim.label_rule in rules


@every
def test_without_real_data_no_claim_is_decided(paper) -> None:
    verdicts = claims.judge(paper.claims(), results.recorded(folder=Path("no such folder")))
    assert len(verdicts) == len(paper.claims())
    assert {verdict.word for verdict in verdicts} <= {"not comparable", "untested"}


@every
def test_every_variant_builds_and_answers(setting, data, paper, variants) -> None:
    for variant in variants:
        model = built(paper, setting, data, variant)
        with torch.no_grad():
            logits = model.module_.eval()(shown(model, 2))
        assert logits.shape == (2, data.n_outputs) and logits.isfinite().all(), variant


@every
def test_variants_are_different_networks(name, setting, data, paper) -> None:
    def outline(variant: str) -> tuple:
        torch.manual_seed(0)
        net = built(paper, setting, data, variant)
        x = shown(net, 4)  # several, since what is chosen for a batch is one thing alone
        with torch.no_grad():
            answer = tuple(net.module_.eval()(x).flatten().tolist())
        trained = (str(net.scaler.get_params()), net.checkpoint, net.patience)
        encoder = getattr(net, "encoder", None)
        pretrained = "" if encoder is None else str(encoder.get_params())
        weights = list(net.module_.parameters())
        counts = [sum(p.numel() for p in weights if p.requires_grad >= least) for least in (0, 1)]
        return *counts, answer, trained, pretrained

    outlines = {variant: outline(variant) for variant in paper.VARIANTS}
    first, same = outlines[base(paper)], SAME.get(name, set())
    assert outline(base(paper)) == first, "nothing but the variant makes a difference"
    assert {variant for variant, one in outlines.items() if one == first} == same | {base(paper)}
    others = set(paper.VARIANTS) - same
    assert len({outlines[variant] for variant in others}) == len(others)


@every
def test_parts_of_a_variant_are_joined(paper) -> None:
    first, second = (name for name in list(paper.VARIANTS)[1:3])
    name = f"{first}+{second}"
    both = paper.network_options(name) | paper.training_options(name)
    assert both == paper.VARIANTS[first] | paper.VARIANTS[second]


@every
@pytest.mark.parametrize("wrong", ["", "{}+", "{}+{}x", "no_such", "{},without", "UPPER"])
def test_an_unknown_variant_is_answered_with_those_there_are(paper, wrong) -> None:
    own = base(paper)
    wrong = own.upper() if wrong == "UPPER" else wrong.format(own, own)
    with pytest.raises(ParameterError, match="no variant") as error:
        paper.network_options(wrong)
    assert all(variant in str(error.value) for variant in paper.VARIANTS)
    with pytest.raises(ParameterError, match=f"did you mean {own}"):
        paper.network_options(own[:3] + own[4:])


@every
def test_the_estimator_is_the_setting(name, setting, data, paper) -> None:
    chosen = replace(setting, epochs=3, batch_size=5, patience=2, seed=11)
    model = paper.build(chosen, data, TRAINED.get(name, base(paper)))
    assert (model.max_epochs, model.batch_size, model.seed) == (3, 5, 11)
    assert model.patience == (None if name in TRAINED else 2)
    assert model.device == "cpu" and model.scaler is not None


@every
def test_every_estimator_learns_and_answers(name, setting, data, paper) -> None:
    everything: dict[str, Callable] = paper.reference_models(setting, data)
    assert "majority" in everything and "fingerprint" in everything
    network = paper.build(setting, data, TRAINED.get(name, base(paper)))
    for who, model in (everything | {"network": network}).items():
        predicted = model.fit(data.X, data.y).predict(data.X[:5])
        assert predicted.shape == (5,) and set(predicted) <= set(range(data.n_outputs)), who
