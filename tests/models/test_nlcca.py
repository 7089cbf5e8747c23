"""The attention block and its switches, against the formulas of the published code."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from affectbook.errors import ParameterError
from affectbook.models.nlcca import NLCCA, ChannelGate

C, L = 128, 40


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, C, L, generator=torch.Generator().manual_seed(0))


def temporal_map(block: NLCCA, x: torch.Tensor) -> torch.Tensor:
    u = block.first(x)
    return u + block.scales[0](u) + block.scales[1](u) + block.scales[2](u)


def test_the_published_block_is_its_formula(x) -> None:
    block = NLCCA().eval()
    gated = x * block.gate.gate(x).transpose(1, 2)
    expected = x + block.mix(block.mix(temporal_map(block, gated)) * gated)
    assert torch.allclose(block(x), expected, atol=1e-6)
    assert parameters(block) == 22_666


def test_the_channel_branch_alone_adds_the_gated_input(x) -> None:
    block = NLCCA(branches="channel")
    assert torch.allclose(block(x), x + x * block.gate.gate(x).transpose(1, 2))
    assert parameters(block) == 10


def test_the_temporal_branch_alone_gates_nothing(x) -> None:
    block = NLCCA(branches="temporal")
    assert torch.allclose(block(x), x + block.mix(block.mix(temporal_map(block, x))), atol=1e-6)
    assert parameters(block) == 22_656


def test_an_unshared_projection_has_weights_of_its_own(x) -> None:
    torch.manual_seed(0)
    block = NLCCA(shared=False)
    assert parameters(block) == 22_666 + C * C + C
    torch.nn.init.zeros_(block.second_mix.weight)
    torch.nn.init.zeros_(block.second_mix.bias)
    assert torch.equal(block(x), x)


def test_one_scale_keeps_the_first_convolution_only(x) -> None:
    block = NLCCA(widths=())
    gated = block.gate(x)
    assert torch.allclose(block(x), x + block.mix(block.mix(block.first(gated)) * gated), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.01, 10), seed=st.integers(0, 2**16))
def test_the_scalar_shifts_all_interior_gates_alike(scale: float, seed: int) -> None:
    torch.manual_seed(seed)
    x = scale * torch.randn(1, C, 8, dtype=torch.float64)
    published, without = ChannelGate().double(), ChannelGate("none").double()
    without.load_state_dict(published.state_dict())
    mean = x.mean(-1, keepdim=True).transpose(1, 2)
    logits = published.conv2(published.conv1(mean) + published.energy(mean))
    bare = without.conv2(without.conv1(mean))
    shift = (logits - bare)[0, 0, 2:-2]
    expected = (mean.square().sum() * published.conv2.weight.sum()).expand(C - 4)
    assert torch.allclose(shift, expected, rtol=1e-6, atol=1e-9)
    assert torch.allclose(without.gate(x), torch.sigmoid(bare))


def test_the_normalised_scalar_is_the_mean_energy(x) -> None:
    gate = ChannelGate("mean")
    mean = x.mean(-1, keepdim=True).transpose(1, 2)
    assert torch.allclose(gate.energy(mean)[:, 0, 0], F.mse_loss(
        mean, torch.zeros_like(mean), reduction="none").mean((1, 2)))  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [{"branches": "neither"}, {"scalar": "half"}], ids=["branches", "scalar"]
)
def test_unknown_switches_are_refused(wrong) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        NLCCA(**wrong)
