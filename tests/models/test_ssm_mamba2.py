from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook.errors import ParameterError
from affectbook.models import products, ssm
from affectbook.models.scans import ssd_recurrence
from affectbook.models.ssm import Mamba2, RMSNormGated


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-6)])
def test_output_equals_the_published_layer(
    dtype, tolerance, published_state, reference, reference_input, relative_error
) -> None:
    layer = Mamba2(64, d_state=32, headdim=32).to(dtype)
    layer.load_state_dict(published_state("mamba2", dtype))
    found = layer(reference_input(2, 3, 77, 64).to(dtype))
    assert relative_error(found, reference("mamba2_y")) < tolerance


def test_parameters_have_the_published_names_and_shapes(published_state) -> None:
    found = {name: value.shape for name, value in Mamba2(64, 32, headdim=32).state_dict().items()}
    assert found == {name: value.shape for name, value in published_state("mamba2").items()}
    assert sum(p.numel() for p in Mamba2(256).parameters()) == 465_176


def test_initial_values_are_the_published_ones() -> None:
    layer = Mamba2(256, headdim=1)
    step = F.softplus(layer.dt_bias.detach())
    assert 0.00099 < step.min() < 0.0015 and 0.07 < step.max() < 0.101
    assert abs(step.log10().mean() + 2) < 0.2
    assert 1 <= layer.A_log.exp().min() < 1.5 and 15.5 < layer.A_log.exp().max() <= 16.001
    assert torch.equal(layer.D, torch.ones(512))


def test_norm_gates_before_it_normalises_each_group() -> None:
    y, z = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    gated = y * z * torch.sigmoid(z)
    halves = [
        half / (half.square().mean(-1, keepdim=True) + 1e-5).sqrt() for half in gated.split(4, -1)
    ]
    torch.testing.assert_close(RMSNormGated(8, ngroups=2)(y, z), torch.cat(halves, -1))


@pytest.mark.parametrize("decay_per_chunk", [26, 84, 170, 290, 1200])
@pytest.mark.parametrize("ngroups", [1, 2])
@pytest.mark.parametrize("library", products.LIBRARIES)
def test_layer_gradients_equal_those_of_the_recurrence(
    decay_per_chunk, ngroups, library, monkeypatch, relative_error
) -> None:
    monkeypatch.setenv(products.VARIABLE, library)
    torch.manual_seed(0)
    layer = Mamba2(32, d_state=16, headdim=16, ngroups=ngroups)
    with torch.no_grad():
        step = decay_per_chunk / (64 * layer.A_log.exp().max())
        layer.dt_bias.fill_(step + torch.log(-torch.expm1(-step)))
    exact = copy.deepcopy(layer).double()
    u = torch.randn(2, 150, 32, dtype=torch.float64, requires_grad=True)
    u_single = u.detach().float().requires_grad_()
    weights = torch.randn(u.shape, dtype=torch.float64)

    y_single = layer(u_single)
    (y_single * weights).sum().backward()
    monkeypatch.setattr(ssm, "ssd", lambda *args: ssd_recurrence(*args[:6]))
    y = exact(u)
    (y * weights).sum().backward()

    assert relative_error(y_single, y) < 2e-6
    assert relative_error(u_single.grad, u.grad) < 2e-6
    expected = dict(exact.named_parameters())
    for name, parameter in layer.named_parameters():
        # Of the two libraries, oneDNN rounds more.
        most = 5e-6 if library == "blas" else 1e-5
        bar = most if name in ("A_log", "dt_bias") else 2e-6
        assert relative_error(parameter.grad, expected[name].grad) < bar, name


@pytest.mark.parametrize("kept_numbers", [0, 10**9])
def test_blocks_of_the_batch_change_nothing(kept_numbers, monkeypatch) -> None:
    monkeypatch.setattr(ssm, "KEPT_NUMBERS", kept_numbers)
    torch.manual_seed(0)
    layer = Mamba2(16, d_state=8, headdim=8).double()
    u = torch.randn(5, 20, 16, dtype=torch.float64)

    def outcome(steps: int) -> list[torch.Tensor]:
        monkeypatch.setattr(ssm, "BLOCK_STEPS", steps)
        layer.zero_grad()
        y = layer(u)
        y.square().sum().backward()
        return [y.detach(), *(parameter.grad.clone() for parameter in layer.parameters())]

    for whole, in_blocks in zip(outcome(1000), outcome(40), strict=True):
        torch.testing.assert_close(in_blocks, whole, rtol=1e-10, atol=1e-12)


def test_nothing_is_kept_where_no_gradient_is_wanted() -> None:
    layer = Mamba2(16, d_state=8, headdim=8)
    with torch.no_grad():
        y = layer(torch.randn(3, 20, 16))
    assert not y.requires_grad
    frozen = layer.requires_grad_(False)(torch.randn(3, 20, 16))
    assert not frozen.requires_grad


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 4),
    length=st.integers(1, 150),
    d_conv=st.integers(1, 5),
    ngroups=st.integers(1, 2),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_a_token_sees_itself_and_the_past(batch, length, d_conv, ngroups, dtype) -> None:
    layer = Mamba2(8, d_state=3, d_conv=d_conv, headdim=4, ngroups=ngroups).to(dtype)
    u = torch.randn(batch, length, 8, dtype=dtype)
    changed = length // 2
    with torch.no_grad():
        before = layer(u)
        u[:, changed] += 1
        after = layer(u)
    assert before.shape == u.shape and before.dtype == dtype
    torch.testing.assert_close(before[:, :changed], after[:, :changed])
    assert not torch.equal(before[:, changed], after[:, changed])


def test_biases_are_where_they_are_asked_for() -> None:
    layer = Mamba2(16, headdim=16, bias=True, conv_bias=False)
    names = layer.state_dict().keys()
    assert {"in_proj.bias", "out_proj.bias"} <= names and "conv1d.bias" not in names
    with torch.no_grad():
        layer.out_proj.bias += 1
        higher = layer(torch.zeros(1, 3, 16))
        layer.out_proj.bias -= 1
        torch.testing.assert_close(higher, layer(torch.zeros(1, 3, 16)) + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d_state": 0}, "d_state is 0"),
        ({"expand": 1.5}, "expand is 1.5; give a whole number"),
        ({"A_init_range": (-1, 1)}, r"A_init_range is \(-1, 1\)"),
        ({"A_init_range": (16, 1)}, "the smaller one first"),
        ({"dt_min": 0}, "dt_min_to_max"),
    ],
)
def test_impossible_options_are_refused(options, message) -> None:
    with pytest.raises(ParameterError, match=message):
        Mamba2(64, **options)


@pytest.mark.parametrize("layer", [ssm.Mamba(16), Mamba2(16, headdim=16)])
@pytest.mark.parametrize("shape", [(5, 16), (2, 5, 15), (0, 5, 16), (2, 0, 16), (16,)])
def test_tokens_of_another_shape_are_refused(layer, shape) -> None:
    with pytest.raises(ParameterError, match=r"tokens have the shape .* \(b, l, 16\)"):
        layer(torch.zeros(shape))


@pytest.mark.parametrize("layer", [ssm.Mamba(16), Mamba2(16, headdim=16)])
def test_autocast_keeps_the_scan_in_float32(layer) -> None:
    u = torch.randn(2, 30, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(u)
    torch.testing.assert_close(found.float(), layer(u), rtol=0.05, atol=0.05)


def test_heads_must_divide() -> None:
    with pytest.raises(ParameterError, match="headdim 48"):
        Mamba2(64, headdim=48)
    with pytest.raises(ParameterError, match="ngroups 3"):
        Mamba2(64, headdim=32, ngroups=3)
