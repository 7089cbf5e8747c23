"""Training through the backbone: what each way of tuning moves, and what it leaves alone."""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections import OrderedDict
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from torch import Tensor, nn
from torch.nn import functional as F

from affectbook import embedding_store, files
from affectbook.encoders import EncoderNet
from affectbook.errors import CheckpointError, ParameterError
from affectbook.layer_embeddings import Backbone, LayerEmbeddings
from affectbook.models import checkpoint, nmoe_whole
from affectbook.models.ecg_fm import ECGFM
from affectbook.models.leads import LEAD_INPUTS
from affectbook.models.nmoe import GATES
from affectbook.models.nmoe_whole import ADAPTED, TUNINGS, WholeNMoE

L, H, N_TIMES = 3, 32, 160
SIZES = (("hidden", H), ("n_layers", L), ("n_heads", 2), ("ffn", 48), ("conv", 8))
MINI = (("hidden", 96), ("n_layers", 12), ("n_heads", 4), ("ffn", 384), ("conv", 64))
GROUPS = {"leads": "leads*", "adapters": "*lora_*", "backbone": "backbone*",
          "gate": "mixture.gate*", "head": "mixture.head*"}  # fmt: skip


def whole(tuning: str = "frozen", seed: int = 0, **given: object) -> WholeNMoE:
    torch.manual_seed(seed)
    told = {"n_times": N_TIMES, "n_outputs": 2, "sizes": SIZES, "widths": (6,), "rank": 2}
    return WholeNMoE(tuning=tuning, **told | given)


def net(tuning: str = "frozen", **given: object) -> EncoderNet:
    told = {
        "n_chans": 1, "n_times": N_TIMES, "n_outputs": 2, "sizes": SIZES, "widths": (6,), "rank": 2,
        "tuning": tuning,
    }  # fmt: skip
    module = {f"module__{name}": value for name, value in told.items()}
    defaults = {"encoder": None, "finetune": True, "max_epochs": 1, "batch_size": 6, "lr": 0.01}
    return EncoderNet(WholeNMoE, **module | defaults | given)


def windows(n: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 1, N_TIMES)).astype(np.float32)


def toy(n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Return noise, and slow waves in noise: what tells them apart is no mean of a window."""
    y = np.arange(n) % 2
    wave = np.sin(np.arange(N_TIMES) / 4 + np.arange(n)[:, None])
    return windows(n) + (2 * y[:, None] * wave)[:, None].astype(np.float32), y


def logits(module: nn.Module, x: np.ndarray) -> Tensor:
    with torch.no_grad():
        return module.eval()(torch.as_tensor(x))


def moved(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    """Return the names of parameters that are other numbers than before."""
    after = dict(module.named_parameters())
    assert list(before) == list(after)
    return {name for name, value in after.items() if not torch.equal(before[name], value)}


def parameters(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(7)
    model = ECGFM(**dict(SIZES))
    return checkpoint.save(model, tmp_path / "b.safetensors", {}, constructor=model.sizes)


# What it computes.


@pytest.mark.parametrize("gate", GATES)
def test_frozen_it_is_the_gate_on_the_layers_that_are_kept(
    gate: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "project_root", lambda: tmp_path)
    monkeypatch.setattr(embedding_store, "_STORES", OrderedDict())
    found = whole(weights=weights, sizes=(), gate=gate).eval()
    for one in found.mixture.parameters():  # gates start as the mean of the layers
        nn.init.normal_(one)
    kept = LayerEmbeddings(Backbone(ECGFM.from_checkpoint(weights))).fit()
    x = windows(5)
    layers = kept.tokens(x) if gate == "token" else kept.transform(x)
    expected = logits(found.mixture, layers)
    assert expected.std() > 0.01
    torch.testing.assert_close(logits(found, x), expected)


@pytest.mark.parametrize("lead_input", LEAD_INPUTS)
def test_the_backbone_gets_the_leads_that_are_asked_for(lead_input: str) -> None:
    found, x = whole(lead_input=lead_input).eval(), torch.as_tensor(windows(4))
    slots = {"lead_I": [0], "copied": range(12)}.get(lead_input, [1])
    twelve = torch.zeros(4, 12, N_TIMES)
    twelve[:, list(slots)] = x
    with torch.no_grad():
        expected = found.mixture(found.backbone.pooled(twelve).transpose(0, 1))
    torch.testing.assert_close(logits(found, x), expected)


@settings(max_examples=6, deadline=None)
@given(st.sampled_from(["lora", "full"]), st.sampled_from(GATES), st.sampled_from(LEAD_INPUTS),
       st.integers(1, 5), st.integers(0, 99))  # fmt: skip
def test_all_ways_of_tuning_begin_with_the_same_logits(tuning, gate, lead_input, rank, seed):
    told = {"gate": gate, "lead_input": lead_input, "rank": rank, "seed": seed}
    x = windows(3, seed)
    assert torch.equal(logits(whole(tuning, **told), x), logits(whole("frozen", **told), x))


def test_adapters_begin_as_zero_and_then_count_by_alpha_over_rank() -> None:
    found, x = whole("lora", rank=2, alpha=6.0), torch.randn(4, H)
    query = found.backbone.network.encoder.layers[0].attention.q_proj
    down, up = query.lora_A["default"].weight, query.lora_B["default"].weight
    assert not up.any() and down.abs().min() > 0
    nn.init.normal_(up)
    with torch.no_grad():
        torch.testing.assert_close(query(x), query.base_layer(x) + 6 / 2 * x @ down.T @ up.T)


def test_queries_and_values_of_every_layer_have_adapters() -> None:
    names = {name for name, one in whole("lora").backbone.named_parameters() if one.requires_grad}
    assert len(names) == L * len(ADAPTED) * 2
    for layer in range(L):
        for projection in ADAPTED:
            start = f"network.encoder.layers.{layer}.attention.{projection}.lora_"
            assert sum(name.startswith(start) for name in names) == 2


def test_the_seed_decides_about_all_that_is_random() -> None:
    x = windows(4)
    for tuning in TUNINGS:
        one, same, other = (whole(tuning, seed) for seed in (3, 3, 4))
        assert not moved(parameters(one), same)
        assert not torch.equal(logits(one, x), logits(other, x))
    lora = [one for name, one in whole("lora", 3).named_parameters() if "lora_A" in name]
    assert not torch.equal(lora[0], lora[2])


# What is trained.


def test_parameters_are_counted_by_part() -> None:
    head, none = (H + 1) * 6 + 12 + 7 * 2, {"leads": 0, "backbone": 0, "adapters": 0}
    assert whole().trainable() == none | {"gate": L, "head": head}
    assert whole(gate="last", lead_input="learnt").trainable() == none | {
        "leads": 12, "gate": 0, "head": head}  # fmt: skip
    lora = whole("lora", rank=4).trainable()
    assert lora == none | {"adapters": L * 2 * 4 * 2 * H, "gate": L, "head": head}
    full = whole("full").trainable()
    everything = sum(one.numel() for one in ECGFM(**dict(SIZES)).parameters())
    assert full == none | {"backbone": everything, "gate": L, "head": head}


def test_the_small_backbone_of_the_book_has_its_parameters() -> None:
    told = {"n_times": 2500, "n_outputs": 5, "sizes": MINI}
    assert WholeNMoE(**told, tuning="full").trainable()["backbone"] == 1_448_832
    lora = WholeNMoE(**told, tuning="lora").trainable()
    assert lora["adapters"] == 12 * 2 * 8 * 2 * 96 == 36_864 and lora["backbone"] == 0


@pytest.mark.parametrize("lead_input", ["lead_II", "learnt"])
@pytest.mark.parametrize("gate", ["static", "token"])
@pytest.mark.parametrize("tuning", TUNINGS)
def test_training_moves_what_it_should_and_nothing_else(tuning, gate, lead_input) -> None:
    told = {"module__gate": gate, "module__lead_input": lead_input}
    x, y = toy(12)
    start = net(tuning, lr=0.0, **told).fit(x, y).module_
    found = net(tuning, max_epochs=3, **told).fit(x, y).module_
    expected = {name for name, one in found.named_parameters() if one.requires_grad}
    # A shift of all keys is a shift of all scores of a token, which the softmax takes out.
    without = {name for name in expected if "k_proj.bias" in name}
    assert moved(parameters(start), found) | without == expected
    parts = {"backbone", "mixture"} if tuning != "frozen" else {"mixture"}
    parts |= {"leads"} if lead_input == "learnt" else set()
    assert {name.split(".")[0] for name in expected} == parts
    if tuning == "lora":
        assert all("lora_" in name for name in expected if name.startswith("backbone"))


@pytest.mark.parametrize("tuning", TUNINGS)
def test_only_a_frozen_backbone_stays_in_evaluation_mode(tuning: str) -> None:
    sizes = (*SIZES, ("dropout", 0.5))
    found, x = whole(tuning, sizes=sizes).train(), torch.as_tensor(windows(4))
    frozen = tuning == "frozen"
    assert found.training and found.mixture.training and found.backbone.training != frozen
    assert any(one.training for one in found.backbone.modules()) != frozen
    with torch.no_grad():
        assert torch.equal(found.embeddings(x), found.embeddings(x)) == frozen
        assert torch.equal(found.eval().embeddings(x), found.embeddings(x))
    assert not any(one.training for one in found.modules())


@pytest.mark.parametrize("lead_input", ["lead_II", "learnt"])
def test_learnt_leads_get_their_gradient_through_a_frozen_backbone(lead_input: str) -> None:
    found = whole(lead_input=lead_input)
    assert found.embeddings(torch.as_tensor(windows(4))).requires_grad == (lead_input == "learnt")
    F.cross_entropy(found(torch.as_tensor(windows(4))), torch.tensor([0, 1, 0, 1])).backward()
    assert all(one.grad is None for one in found.backbone.parameters())
    if lead_input == "learnt":
        assert found.leads.factors.grad.abs().sum() > 0


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_some_steps_through_the_backbone_reduce_the_loss(tuning: str) -> None:
    x, y = map(torch.as_tensor, toy(16))
    found = whole(tuning, dropout=0.0, rank=4)
    # Gate and head stay as they are, so that it is the backbone that learns.
    own = [one for one in found.backbone.parameters() if one.requires_grad]
    optimizer, losses = torch.optim.Adam(own, lr=0.01), []
    for _ in range(15):
        optimizer.zero_grad()
        losses.append(F.cross_entropy(found(x), y))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


# As an estimator.


@pytest.mark.parametrize("tuning", TUNINGS)
def test_it_is_an_estimator_that_can_be_cloned_and_repeated(tuning: str, weights: Path) -> None:
    told = {"module__weights": weights, "module__sizes": (), "seed": 5}
    x, y = toy(12)
    model = net(tuning, **told)
    first, second = clone(model).fit(x, y), clone(clone(model)).fit(x, y)
    assert clone(first).get_params()["module__tuning"] == tuning
    found = first.predict_proba(x)
    assert np.array_equal(found, second.predict_proba(x)) and found.shape == (12, 2)
    assert len(first.history_frame()) == 1 and set(first.predict(x)) <= {0, 1}


def test_each_part_can_take_steps_of_its_own() -> None:
    rates = dict(zip(GROUPS, (0.1, 0.2, 0.3, 0.4, 0.5), strict=True))
    groups = [(pattern, {"lr": rates[part]}) for part, pattern in GROUPS.items()]
    told = {"module__lead_input": "learnt", "optimizer__param_groups": groups, "lr": 9.0}
    model = clone(net("lora", **told)).initialize()
    found = {id(one): group["lr"] for group in model.optimizer_.param_groups
             for one in group["params"]}  # fmt: skip
    for name, one in model.module_.named_parameters():
        part = next(part for part, pattern in GROUPS.items() if fnmatch(name, pattern))
        assert found[id(one)] == rates[part] and name.split(".")[0] in ("leads", "backbone",
                                                                        "mixture")  # fmt: skip
    counted = dict.fromkeys(GROUPS, 0)
    for name, one in model.module_.named_parameters():
        part = next(part for part, pattern in GROUPS.items() if fnmatch(name, pattern))
        counted[part] += one.numel() if one.requires_grad else 0
    assert counted == model.module_.trainable()


def test_a_rate_of_zero_for_one_pattern_holds_that_part_still() -> None:
    x, y = toy(12)
    groups = [("mixture.gate*", {"lr": 0.05}), ("backbone*", {"lr": 0.0})]
    start = net("full", lr=0.0).fit(x, y).module_
    found = net("full", optimizer__param_groups=groups).fit(x, y).module_
    names = moved(parameters(start), found)
    assert {name.rsplit(".", 1)[0][:12] for name in names} == {"mixture.gate", "mixture.head"}


def test_a_window_that_is_left_over_is_one_message() -> None:
    x, y = toy(13)
    with pytest.raises(ParameterError, match="batch of one window.*drop_last=True"):
        net().fit(x, y)
    net(iterator_train__drop_last=True).fit(x, y)
    net(module__widths=(), module__gate="last").fit(x, y)
    assert net().fit(x[:12], y[:12]).predict(x[:1]).shape == (1,)


def test_weights_are_kept_and_read_again() -> None:
    x, y = toy(12)
    for tuning in TUNINGS:
        found = net(tuning).fit(x, y).module_
        again = whole(tuning, seed=9)
        again.load_state_dict(copy.deepcopy(found.state_dict()))
        assert torch.equal(logits(again, x), logits(found, x))


# What is refused.


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tuning": "prompt"}, "no tuning 'prompt'; there are frozen, lora, full"),
        ({"rank": 0}, "rank of 1 or more, a whole number, not 0"),
        ({"rank": 1.5}, "not 1.5"),
        ({"rank": True}, "not True"),
        ({"alpha": 0.0}, "alpha above 0, not 0.0"),
        ({"alpha": float("nan")}, "alpha above 0, not nan"),
        ({"normalise": "zscore"}, "'zscore' takes mean and deviation of embeddings that are kept"),
        ({"normalise": "batch"}, "no normalisation 'batch'"),
        ({"gate": "soft"}, "no gate 'soft'"),
        ({"layers": (4,)}, r"layers \(4,\) cannot be mixed; expected some of 1 to 3"),
        ({"lead_input": None}, "lead_input must be one of lead_II, .*, not None"),
        ({"n_chans": 2}, "windows of 2 channels and 160 samples .* one lead"),
        ({"n_times": 15}, "1 channels and 15 samples .* 16 samples or more"),
        ({"sizes": (("width", 3),)}, "none of an ECG-FM; expected pairs"),
        ({"sizes": (("hidden",),)}, "none of an ECG-FM; expected pairs"),
        ({"sizes": (*SIZES, ("n_chans", 3))}, "takes 3 leads, and 12 are made of one"),
        ({"sizes": (("hidden", 33),)}, "no ECG-FM with hidden 33"),
        ({"sha256": "0" * 64}, "sum of a file"),
        ({"weights": "x.safetensors"}, "x.safetensors says what its sizes are"),
    ],
)
def test_what_cannot_be_is_one_message(given: dict[str, object], words: str) -> None:
    with pytest.raises(ParameterError, match=words) as error:
        whole(**given)
    assert "\n" not in str(error.value)


def test_weights_that_are_not_those_that_are_meant_are_refused(weights: Path) -> None:
    with pytest.raises(CheckpointError, match="c.json: .* there is no such file"):
        whole(weights=weights.with_name("c.safetensors"), sizes=())
    with pytest.raises(CheckpointError, match="its SHA-256 is .*; published was 000"):
        whole(weights=weights, sha256="0" * 64, sizes=())


def test_windows_of_another_shape_are_one_message() -> None:
    with pytest.raises(ParameterError, match=r"\(b, 1, t\) of a single lead expected"):
        whole()(torch.zeros(2, 12, N_TIMES))
    with pytest.raises(ParameterError, match="windows have the shape"):
        net().fit(windows(4)[..., :100], np.arange(4) % 2)


def test_the_library_of_adapters_is_loaded_where_there_are_adapters(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)  # who imports it now, fails
    spec = importlib.util.spec_from_file_location("read_again", nmoe_whole.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for tuning in ("frozen", "full"):
        module.WholeNMoE(n_times=N_TIMES, n_outputs=2, sizes=SIZES, tuning=tuning)
    with pytest.raises(ImportError, match="peft"):
        module.WholeNMoE(n_times=N_TIMES, n_outputs=2, sizes=SIZES, tuning="lora")
