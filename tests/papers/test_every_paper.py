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
from affectbook.errors import ParameterError
from affectbook.experiments import Data, Setting
from affectbook.scales import Scale

SFREQ, SECONDS = 128.0, 2
# Parameters that become a part of the setting's `dataset`.
IN_DATASET = {"allow_missing"}
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
    """Noise in the shape of the paper's default data."""
    card = datasets.card(setting.dataset)
    rule = card.label_rules[0]
    y, meta = windows_of(
        ((f"S{s}", f"t{t}", t, 2) for s in range(4) for t in range(len(rule.classes))), SECONDS
    )
    shape = (len(y), 1, round(SECONDS * SFREQ))
    X = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return Data(X, y, meta, card, rule, "noise", Path("nowhere"), SFREQ)


@pytest.fixture
def variants(paper: ModuleType) -> list[str]:
    return [*paper.VARIANTS, "+".join(list(paper.VARIANTS)[:2])]


def test_there_is_a_paper() -> None:
    assert "hcmnet" in papers.names() and papers.names() == tuple(sorted(papers.names()))


@pytest.mark.parametrize("unknown", ["hcmnets", "", "published_numbers", "os"])
def test_an_unknown_paper_is_answered_with_those_there_are(unknown) -> None:
    with pytest.raises(ParameterError) as error:
        papers.get(unknown)
    assert all(name in str(error.value) for name in papers.names())


@every
def test_a_paper_says_what_it_is(paper) -> None:
    assert paper.__doc__ and paper.TITLE and paper.HEADLINE and not paper.HEADLINE.endswith(".")
    assert paper.DEVIATIONS and all(line.endswith(".") for line in paper.DEVIATIONS)
    assert "published" in paper.VARIANTS and paper.VARIANTS["published"] == {}


@every
def test_parameters_have_a_default_and_a_meaning(paper) -> None:
    assert is_dataclass(paper.Params)
    parsed = params.parse(paper.Params, {})
    assert parsed == paper.Params()
    assert params.from_notebook(paper.Params, vars(parsed)) == parsed, "defaults pass the checks"
    assert all(field.metadata.get("help") for field in fields(paper.Params))
    names = {field.name for field in fields(paper.Params)}
    assert {"dataset", "tier", "protocol", "variant", "scale", "seed", "device"} <= names
    assert names <= {field.name for field in fields(Setting)} | IN_DATASET
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
        if given is not None and field.name not in IN_DATASET:
            assert getattr(chosen, field.name) == given


@every
def test_what_is_given_replaces_the_scale(paper) -> None:
    given = {"subjects": 4, "seconds": 5.0, "overlap": 0.0, "epochs": 2, "seed": 7}
    chosen = paper.setting(paper.Params(**given))
    assert {name: getattr(chosen, name) for name in given} == given


@every
def test_subjects_to_do_without_become_part_of_the_name_of_the_data(paper) -> None:
    for dataset, allowed in (("wesad", "S7, S9"), ("wesad:ECG", "S7,S9")):
        chosen = paper.setting(paper.Params(dataset=dataset, allow_missing=allowed))
        assert chosen.dataset == f"{dataset} without S7,S9"
    with pytest.raises(ParameterError, match="unknown subject of wesad 'S1'"):
        paper.setting(paper.Params(dataset="wesad", allow_missing="S1"))


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
        for wanted in [side["variant"] for side in sides if "variant" in side]:
            for variant in (wanted,) if isinstance(wanted, str) else wanted:
                # What a network was calibrated with stands after its variant.
                paper.network_options(re.sub(r"(\+\d+_(windows|steps))+$", "", variant))
        if claim.dataset in datasets.names():
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
        model = paper.build(setting, data, variant).initialize()
        with torch.no_grad():
            logits = model.module_.eval()(torch.as_tensor(data.X[:2]))
        assert logits.shape == (2, data.n_outputs) and logits.isfinite().all(), variant


@every
def test_variants_are_different_networks(setting, data, paper) -> None:
    def outline(variant: str) -> tuple:
        net = paper.build(setting, data, variant).initialize()
        torch.manual_seed(0)
        x = torch.randn(1, *data.X.shape[1:])
        with torch.no_grad():
            answer = net.module_.eval()(x)[0, 0].item()
        trained = (net.scaler.kind, net.checkpoint, net.patience)
        return sum(p.numel() for p in net.module_.parameters()), answer, trained

    assert len({outline(variant) for variant in paper.VARIANTS}) == len(paper.VARIANTS)


@every
def test_parts_of_a_variant_are_joined(paper) -> None:
    first, second = (name for name in list(paper.VARIANTS)[1:3])
    both = paper.network_options(f"{first}+{second}")
    assert both == paper.VARIANTS[first] | paper.VARIANTS[second]


@every
@pytest.mark.parametrize("wrong", ["", "published+", "publshed", "published,without", "PUBLISHED"])
def test_an_unknown_variant_is_answered_with_those_there_are(paper, wrong) -> None:
    with pytest.raises(ParameterError, match="no variant") as error:
        paper.network_options(wrong)
    assert all(variant in str(error.value) for variant in paper.VARIANTS)


@every
def test_the_estimator_is_the_setting(setting, data, paper) -> None:
    model = paper.build(replace(setting, epochs=3, batch_size=5, patience=2, seed=11), data)
    found = (model.max_epochs, model.batch_size, model.patience, model.seed)
    assert found == (3, 5, 2, 11) and model.device == "cpu" and model.scaler is not None


@every
def test_every_estimator_learns_and_answers(setting, data, paper) -> None:
    everything: dict[str, Callable] = paper.reference_models(setting, data)
    assert "majority" in everything and "fingerprint" in everything
    for who, model in (everything | {"network": paper.build(setting, data)}).items():
        predicted = model.fit(data.X, data.y).predict(data.X[:5])
        assert predicted.shape == (5,) and set(predicted) <= set(range(data.n_outputs)), who
