from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook.errors import ParameterError
from affectbook.models import ssm
from affectbook.models.scans.mamba1 import selective_recurrence
from affectbook.models.ssm import Mamba


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-6)])
def test_output_equals_the_published_layer(
    dtype, tolerance, published_state, reference, reference_input, relative_error
) -> None:
    layer = Mamba(64).to(dtype)
    layer.load_state_dict(published_state("mamba", dtype))
    found = layer(reference_input(3, 3, 14, 64).to(dtype))
    assert found.dtype == dtype
    assert relative_error(found, reference("mamba_y")) < tolerance


def test_parameters_have_the_published_names_and_shapes(published_state) -> None:
    found = {name: value.shape for name, value in Mamba(64).state_dict().items()}
    assert found == {name: value.shape for name, value in published_state("mamba").items()}


def test_biases_are_where_they_are_asked_for() -> None:
    names = Mamba(16, conv_bias=False, bias=True).state_dict().keys()
    assert {"in_proj.bias", "out_proj.bias", "dt_proj.bias"} <= names
    assert not {"conv1d.bias", "x_proj.bias"} & names


def test_initial_values_are_the_published_ones() -> None:
    layer = Mamba(256)
    step = F.softplus(layer.dt_proj.bias.detach())
    assert 0.00099 < step.min() < 0.0015 and 0.07 < step.max() < 0.101
    assert abs(step.log10().mean() + 2) < 0.2
    torch.testing.assert_close(layer.A_log.exp(), torch.arange(1.0, 17).expand(512, 16))
    assert torch.equal(layer.D, torch.ones(512))
    assert layer.dt_rank == 16
    assert 0.24 < layer.dt_proj.weight.abs().max() <= 0.25
    assert layer.A_log._no_weight_decay and layer.D._no_weight_decay


def test_initial_steps_follow_the_parameters() -> None:
    layer = Mamba(20, dt_init="constant", dt_scale=3.0, dt_min=1e-6, dt_max=1e-5)
    assert layer.dt_rank == 2
    torch.testing.assert_close(layer.dt_proj.weight, torch.full((40, 2), 3 / 2**0.5))
    step = F.softplus(layer.dt_proj.bias)
    torch.testing.assert_close(step, torch.full((40,), 1e-4), rtol=1e-3, atol=0)


@pytest.mark.parametrize("decay_per_64_steps", [26, 84, 170, 290, 1200])
def test_layer_gradients_equal_those_of_the_recurrence(
    decay_per_64_steps, monkeypatch, relative_error
) -> None:
    torch.manual_seed(0)
    layer = Mamba(32)
    with torch.no_grad():
        step = torch.tensor(decay_per_64_steps / (64 * 16))
        layer.dt_proj.bias.fill_(step + torch.log(-torch.expm1(-step)))
    exact = copy.deepcopy(layer).double()
    u_single = torch.randn(2, 150, 32, requires_grad=True)
    u = u_single.detach().double().requires_grad_()
    weights = torch.linspace(-1, 1, u.numel()).reshape(u.shape)

    y_single = layer(u_single)
    y_single.backward(weights)
    monkeypatch.setattr(ssm, "selective_scan", selective_recurrence)
    y = exact(u)
    y.backward(weights.double())

    assert relative_error(y_single, y) < 2e-6
    assert relative_error(u_single.grad, u.grad) < 2e-6
    expected = dict(exact.named_parameters())
    for name, parameter in layer.named_parameters():
        bar = 5e-6 if name in ("A_log", "dt_proj.bias") else 2e-6
        assert relative_error(parameter.grad, expected[name].grad) < bar, name


@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(1, 4),
    length=st.integers(1, 100),
    d_conv=st.integers(1, 5),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_a_token_sees_itself_and_the_past(batch, length, d_conv, dtype) -> None:
    layer = Mamba(6, d_state=3, d_conv=d_conv, expand=1).to(dtype)
    u = torch.randn(batch, length, 6, dtype=dtype)
    changed = length // 2
    with torch.no_grad():
        before = layer(u)
        u[:, changed] += 1
        after = layer(u)
    assert before.shape == u.shape and before.dtype == dtype
    torch.testing.assert_close(before[:, :changed], after[:, :changed])
    assert not torch.allclose(before[:, changed], after[:, changed])


@pytest.mark.parametrize(
    ("name", "value"),
    [("d_model", 0), ("d_state", 0), ("d_conv", 0), ("expand", 0), ("dt_rank", 0)],
)
def test_a_size_below_one_is_refused(name, value) -> None:
    with pytest.raises(ParameterError, match=f"{name} is {value}"):
        Mamba(**({"d_model": 16} | {name: value}))


def test_an_unknown_start_of_the_step_sizes_is_refused() -> None:
    with pytest.raises(ParameterError, match='"uniform"'):
        Mamba(16, dt_init="uniform")
