from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from affectbook.errors import ParameterError
from affectbook.models import ssm
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
def test_layer_gradients_equal_those_of_the_recurrence(
    decay_per_chunk, ngroups, monkeypatch, relative_error
) -> None:
    torch.manual_seed(0)
    layer = Mamba2(32, d_state=16, headdim=16, ngroups=ngroups)
    with torch.no_grad():
        step = decay_per_chunk / (64 * layer.A_log.exp().max())
        layer.dt_bias.fill_(step + torch.log(-torch.expm1(-step)))
    exact = copy.deepcopy(layer).double()
    u = torch.randn(2, 150, 32, dtype=torch.float64, requires_grad=True)
    u_single = u.detach().float().requires_grad_()
    weights = torch.linspace(-1, 1, u.numel(), dtype=torch.float64).reshape(u.shape)

    y_single = layer(u_single)
    (y_single * weights).sum().backward()
    monkeypatch.setattr(ssm, "ssd_chunked", lambda *args: ssd_recurrence(*args[:6]))
    y = exact(u)
    (y * weights).sum().backward()

    assert relative_error(y_single, y) < 2e-5
    assert relative_error(u_single.grad, u.grad) < 2e-5
    expected = dict(exact.named_parameters())
    for name, parameter in layer.named_parameters():
        assert relative_error(parameter.grad, expected[name].grad) < 2e-5, name


def test_heads_must_divide() -> None:
    with pytest.raises(ParameterError, match="headdim 48"):
        Mamba2(64, headdim=48)
    with pytest.raises(ParameterError, match="ngroups 3"):
        Mamba2(64, headdim=32, ngroups=3)
