"""Gates and head of ECG-EmotionNet: sizes, what each gate mixes, and which layers it finds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from affectbook import layer_toys
from affectbook.errors import ParameterError
from affectbook.models.nmoe import CONTEXTS, GATES, Gate, NMoE

LEARNT = ("static", "raw", "dynamic", "token")
POOLED = tuple(kind for kind in GATES if kind != "token")
L, T, H = 12, 7, 8


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def embeddings(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stirred(module: nn.Module, seed: int = 1) -> nn.Module:
    """Return the module with other weights than it starts with, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return module.eval()


def model(gate: str = "static", hidden: int = H, **given: object) -> NMoE:
    torch.manual_seed(0)
    return NMoE(n_outputs=3, hidden=hidden, gate=gate, **{"widths": (6, 4)} | given).eval()


def one_hot(found: NMoE, layer: int) -> NMoE:
    """Return the model with a raw gate that takes one layer, counted from 1."""
    found.gate.scores.data = F.one_hot(torch.tensor(layer - 1), L).float()
    return found


# Sizes.


@pytest.mark.parametrize(
    ("kind", "context", "n"),
    [("last", "last", 0), ("uniform", "last", 0), ("static", "last", 12), ("raw", "last", 12),
     ("dynamic", "last", 9_228), ("dynamic", "all", 110_604), ("token", "last", 9_228),
     ("token", "all", 110_604)],
)  # fmt: skip
def test_gates_have_as_many_weights_as_the_readings_of_the_paper(kind, context, n) -> None:
    assert count(Gate(kind, context=context)) == n
    whole = NMoE(n_outputs=5, gate=kind, context=context)
    assert count(whole.gate) == n and count(whole) == n + 214_277


def test_the_head_is_768_256_64_5_with_two_batch_norms() -> None:
    head = NMoE(n_outputs=5).head
    assert count(head) == 214_277 == 769 * 256 + 512 + 257 * 64 + 128 + 65 * 5
    kinds = [type(layer) for layer in head]
    dense = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout]
    assert kinds == [*dense, *dense, nn.Linear]
    with torch.no_grad():
        assert NMoE(n_outputs=5).eval()(embeddings(2, 12, 768)).shape == (2, 5)


def test_one_layer_and_no_widths_are_a_linear_probe() -> None:
    probe = model("last", layers=(4,), widths=())
    x = embeddings(5, L, H)
    assert count(probe) == H * 3 + 3
    torch.testing.assert_close(probe(x), probe.head[0](x[:, 3]))


# What is mixed.


@pytest.mark.parametrize("layer", [1, 5, 12])
def test_a_weight_on_one_layer_returns_that_layer(layer) -> None:
    for x in (embeddings(4, L, H), embeddings(4, L, T, H)):
        assert torch.equal(one_hot(model("raw"), layer).mixed(x), x[:, layer - 1])


def test_last_is_the_last_layer_and_uniform_the_mean() -> None:
    for x in (embeddings(4, L, H), embeddings(4, L, T, H)):
        assert torch.equal(model("last").mixed(x), x[:, -1])
        torch.testing.assert_close(model("uniform").mixed(x), x.mean(1))


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("kind", LEARNT)
def test_gates_that_learn_start_as_the_uniform_mean_and_can_leave_it(kind, context) -> None:
    x, found = embeddings(4, L, T, H), model(kind, context=context)
    torch.testing.assert_close(found.weights(x).flatten(), torch.full((found.weights(x).numel(),),
                                                                      1 / 12))  # fmt: skip
    torch.testing.assert_close(found.mixed(x), x.mean(1))
    found.mixed(x).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in found.gate.parameters())


def test_only_raw_weights_do_not_sum_to_one() -> None:
    x = embeddings(4, L, T, H)
    for kind in GATES:
        sums = stirred(model(kind)).weights(x).sum(1)
        assert torch.allclose(sums, torch.ones_like(sums), atol=1e-6) == (kind != "raw")


def test_a_dynamic_gate_depends_on_the_window_and_a_static_one_does_not() -> None:
    x = embeddings(4, L, H)
    for kind, depends in (("static", False), ("raw", False), ("dynamic", True)):
        weights = stirred(model(kind)).weights(x)
        assert weights.shape == (4, L)
        assert torch.equal(weights[0], weights[1]) != depends


def test_the_weights_of_a_dynamic_gate_are_the_softmax_of_its_map() -> None:
    x = embeddings(4, L, T, H)
    for context, seen in (("last", x.mean(2)[:, -1]), ("all", x.mean(2).flatten(1))):
        found = stirred(model("dynamic", context=context))
        expected = (seen @ found.gate.map.weight.T + found.gate.map.bias).softmax(1)
        torch.testing.assert_close(found.weights(x), expected)
        torch.testing.assert_close(found.weights(x.mean(2)), expected)


def test_a_gate_of_tokens_applies_its_map_to_each_of_them() -> None:
    x = embeddings(4, L, T, H)
    for context in CONTEXTS:
        found = stirred(model("token", context=context))
        single = stirred(model("dynamic", context=context))
        assert found.weights(x).shape == (4, L, T)
        for token in range(T):
            expected = single.weights(x[:, :, token])
            torch.testing.assert_close(found.weights(x)[:, :, token], expected)
            mixed = (expected[..., None] * x[:, :, token]).sum(1)
            torch.testing.assert_close(found.mixed(x)[:, token], mixed)


shapes = st.tuples(*(st.integers(1, most) for most in (4, 12, 40, 16)))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(POOLED), st.sampled_from(CONTEXTS), shapes, st.integers(0, 999),
       st.sampled_from([None, "zscore"]))  # fmt: skip
def test_gates_but_token_commute_with_the_mean_over_tokens(kind, context, shape, seed, norm):
    x = embeddings(*shape, seed=seed)
    found = NMoE(n_outputs=2, n_layers=shape[1], hidden=shape[3], gate=kind, context=context,
                 normalise=norm, widths=())  # fmt: skip
    stirred(found, seed + 1).learn_scale(embeddings(3, *shape[1:], seed=seed + 2))
    with torch.no_grad():
        before, after = found.mixed(x.mean(2)), found.mixed(x).mean(1)
    assert (before - after).abs().max() <= 1e-6 * max(1, before.abs().max())
    torch.testing.assert_close(found(x), found(x.mean(2)), atol=1e-4, rtol=1e-4)


def test_a_gate_of_tokens_does_not_commute_nor_do_layers_that_are_normed() -> None:
    x = embeddings(4, L, T, H)
    token = stirred(model("token"))
    shared = torch.einsum("bl,blh->bh", token.weights(x).mean(2), x.mean(2))
    assert (token.mixed(x).mean(1) - shared).abs().max() > 0.01
    normed = model("static", normalise="layer_norm")
    assert (normed.mixed(x).mean(1) - normed.mixed(x.mean(2))).abs().max() > 0.01


# Which layers, and at which scale.


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("layers", [(1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (2, 9), (12,)])
def test_of_a_subset_the_other_layers_have_no_weight_and_are_not_seen(kind, layers) -> None:
    x = embeddings(4, L, T, H)
    found = stirred(model(kind, layers=layers))
    index = [layer - 1 for layer in layers]
    others = [layer for layer in range(L) if layer not in index]
    weights = found.weights(x)
    assert weights.shape[:2] == (4, L) and not weights[:, others].any()
    changed = x.clone()
    changed[:, others] = torch.nan
    assert torch.equal(found(x), found(changed))
    if kind == "last":
        assert (weights[:, index[-1]] == 1).all()
    if kind == "uniform":
        torch.testing.assert_close(weights[:, index], torch.full((4, len(index)), 1 / len(index)))


def test_layer_norm_takes_each_embedding_by_itself() -> None:
    x = 5 + 3 * embeddings(4, L, H)
    found = one_hot(model("raw", normalise="layer_norm"), 3).mixed(x)
    torch.testing.assert_close(found.mean(1), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.std(1, correction=0), torch.ones(4), atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(300, L, H), (300, L, T, H)])
def test_zscore_takes_each_feature_of_each_layer_over_the_training_windows(shape) -> None:
    train = embeddings(*shape) * torch.logspace(-2, 2, L).reshape(L, *[1] * (len(shape) - 2)) + 9
    train[:, 4, ..., 2] = 0.1  # constant
    found = model("raw", normalise="zscore", layers=(2, 5, 12))
    found.learn_scale(train)
    axes = (0, 2) if len(shape) == 4 else (0,)
    wide = train[:, [1, 4, 11]].double()
    torch.testing.assert_close(found.mean, wide.mean(axes).float())
    deviation = wide.std(axes, correction=0)
    deviation[1, 2] = 1
    torch.testing.assert_close(found.deviation, deviation.float())
    found.gate.scores.data = torch.tensor([1.0, 0.0, 0.0])
    mixed = found.mixed(train)
    torch.testing.assert_close(mixed.flatten(0, -2).mean(0), torch.zeros(H), atol=1e-4, rtol=0)
    assert (found.weights(train).sum(1) == 1).all()


def test_a_layer_of_large_numbers_outweighs_the_others_unless_it_is_normalised() -> None:
    x = embeddings(200, L, H)
    x[:, 6] *= 50
    share = {}
    for normalise in (None, "layer_norm", "zscore"):
        found = model("uniform", normalise=normalise)
        found.learn_scale(x)
        mixed = found.mixed(x)
        share[normalise] = torch.corrcoef(torch.stack([mixed[:, 0], x[:, 6, 0]]))[0, 1].item()
    assert share[None] > 0.99
    assert share["layer_norm"] < 0.6 and share["zscore"] < 0.6


def test_scale_is_kept_with_the_weights() -> None:
    x, found = embeddings(9, L, H), model(normalise="zscore")
    found.learn_scale(x)
    again = model(normalise="zscore")
    again.load_state_dict(found.state_dict())
    assert torch.equal(again(x), found(x))


# What is refused.


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"gate": "soft"}, "no gate 'soft' that sees 'last'; there are last, uniform, static"),
        ({"context": "first"}, "'first'; .* last or all"),
        ({"layers": ()}, r"layers \(\) cannot be mixed; expected some of 1 to 12"),
        ({"layers": (0, 1)}, "cannot be mixed"),
        ({"layers": (12, 13)}, "cannot be mixed"),
        ({"layers": (3, 2)}, "ascending"),
        ({"layers": (2, 2)}, "ascending"),
        ({"normalise": "batch"}, "no normalisation 'batch'; there are None, layer_norm, zscore"),
    ],
)
def test_unknown_choices_are_one_message(given, words) -> None:
    with pytest.raises(ParameterError, match=words) as error:
        NMoE(n_outputs=2, **given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(4, H), (4, 11, H), (4, L, H + 1), (4, L, T, H, 1)])
def test_embeddings_of_another_shape_are_one_message(shape) -> None:
    with pytest.raises(ParameterError, match=r"embeddings have the shape .* expected \(b, 12, 8\)"):
        model()(embeddings(*shape))


def test_what_cannot_be_computed_is_said() -> None:
    with pytest.raises(ParameterError, match=r"cannot work on pooled embeddings \(2, 12, 8\)"):
        model("token")(embeddings(2, L, H))
    with pytest.raises(ParameterError, match="call learn_scale"):
        model(normalise="zscore")(embeddings(2, L, H))


# Toy data: which gate finds what there is to find.


def trained(gate: str, x: Tensor, y: Tensor) -> NMoE:
    """Train gate and linear head on all windows at once."""
    found, _ = layer_toys.fitted(gate, layer_toys.Toy(x.repeat(2, 1, 1, 1), y.repeat(2), y))
    return found


@torch.no_grad()
def accuracy(found: NMoE, x: Tensor, y: Tensor) -> float:
    return (found(x).argmax(1) == y).float().mean().item()


def test_a_gate_of_tokens_finds_what_the_mean_over_tokens_hides() -> None:
    y, n_tokens = torch.arange(400) % 2, 8
    # Half of the tokens, in any order: the means over tokens of what follows are zero.
    order = embeddings(400, n_tokens, seed=2).argsort(1)
    loud = (order < n_tokens // 2).float() * 2 - 1
    x = 0.3 * embeddings(400, L, n_tokens, H, seed=3)
    x[:, 2, :, 0] += 2 * (2 * y - 1)[:, None] * loud
    x[:, -1, :, 1] += 3 * loud
    scores = {}
    for gate in ("dynamic", "token"):
        found = trained(gate, x[:200], y[:200])
        scores[gate] = accuracy(found, x[200:], y[200:])
    assert scores["token"] > 0.9 and scores["dynamic"] < 0.7


@pytest.mark.parametrize("kind", GATES)
def test_every_weight_of_gate_and_head_is_trained(kind) -> None:
    found = model(kind).train()
    x = embeddings(6, L, T, H)
    F.cross_entropy(found(x), torch.arange(6) % 3).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in found.gate.parameters())
    assert all(parameter.grad is not None for parameter in found.head.parameters())
