from __future__ import annotations

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook.errors import ParameterError
from affectbook.models.scans import mamba1 as module
from affectbook.models.scans.mamba1 import NAMES, selective_recurrence, selective_scan

SIZES = {
    "batch": st.integers(1, 4),
    "length": st.integers(1, 300),
    "d": st.integers(1, 6),
    "n": st.integers(1, 16),
    "decay": st.sampled_from([None, 26, 84, 170, 290, 1200]),
    "seed": st.integers(0, 1000),
}


def random_inputs(
    batch: int, length: int, d: int, n: int, decay: float | None = None, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Float64 inputs that float32 can hold; `decay` is the largest sum of |delta A| in 64 steps."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    delta, A = torch.nn.functional.softplus(normal(batch, length, d) - 2), -torch.exp(normal(d, n))
    if decay is not None:
        A *= decay / max((part.sum(1).unsqueeze(-1) * -A).max() for part in delta.split(64, 1))
    values = (
        normal(batch, length, d),
        delta,
        A,
        normal(batch, length, n),
        normal(batch, length, n),
        normal(d),
    )
    return {name: value.double() for name, value in zip(NAMES, values, strict=True)}


def value_and_gradients(scan, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    inputs = {name: value.detach().requires_grad_() for name, value in inputs.items()}
    y = scan(*inputs.values())
    weights = torch.linspace(0.5, 1.5, y.numel()).reshape(y.shape)
    gradients = torch.autograd.grad(y, list(inputs.values()), weights.to(y.dtype))
    return {"y": y.detach()} | dict(zip(NAMES, gradients, strict=True))


def single(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.float() for name, value in inputs.items()}


def test_recurrence_is_the_definition_on_a_case_done_by_hand() -> None:
    # One channel, one state: h = 1 * 2 = 2, then h = exp(-2 * 0.5) * 2 + 2 * 3.
    u, delta = torch.tensor([2.0, 3.0]).reshape(1, 2, 1), torch.tensor([1.0, 2.0]).reshape(1, 2, 1)
    A, B, C = torch.tensor([[-0.5]]), torch.ones(1, 2, 1), torch.full((1, 2, 1), 5.0)
    y = selective_recurrence(u, delta, A, B, C, torch.tensor([10.0]))
    expected = torch.tensor([5 * 2 + 20, 5 * (2 * torch.e**-1 + 6) + 30])
    torch.testing.assert_close(y.flatten(), expected)


@settings(max_examples=100, deadline=None)
@given(**SIZES, chunk_size=st.sampled_from([1, 5, 16]), piece_size=st.sampled_from([1, 500, 2**18]))
def test_pieces_and_own_gradients_change_nothing(chunk_size, piece_size, **sizes) -> None:
    inputs = random_inputs(**sizes)
    expected = value_and_gradients(selective_recurrence, inputs)
    with mock.patch.multiple(module, CHUNK_SIZE=chunk_size, PIECE_SIZE=piece_size):
        found = value_and_gradients(selective_scan, inputs)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-10)


@settings(max_examples=100, deadline=None)
@given(**SIZES)
def test_single_precision_keeps_its_digits(**sizes) -> None:
    # Positive, because sums of both signs may vanish, and then no number of digits is enough.
    inputs = random_inputs(**sizes)
    inputs = {name: value if name == "A" else value.abs() for name, value in inputs.items()}
    expected = value_and_gradients(selective_recurrence, inputs)
    found = value_and_gradients(selective_scan, single(inputs))
    for name in expected:
        assert found[name].dtype == torch.float32
        # A gradient of e^-40 is all decay, and float32 rounds the 40: its digits have no meaning.
        scale = max(float(expected[name].abs().max()), 1e-3)
        assert (found[name] - expected[name]).abs().max() < 1e-6 * scale, name


@pytest.mark.parametrize("decay", [26, 84, 170, 290, 1200])
def test_strong_decay_keeps_float32_digits(decay, relative_error) -> None:
    inputs = random_inputs(4, 200, 32, 16, decay)
    expected = value_and_gradients(selective_recurrence, inputs)
    found = value_and_gradients(selective_scan, single(inputs))
    for name in expected:
        assert torch.isfinite(found[name]).all(), name
        assert relative_error(found[name], expected[name]) < 1e-6, name


def test_sums_over_many_pieces_keep_float32_digits(relative_error) -> None:
    inputs = random_inputs(1, 3000, 2, 2, seed=2)
    inputs = {name: value if name == "A" else value.abs() for name, value in inputs.items()}
    inputs["u"][:, ::2] = -inputs["u"][:, 1::2]  # dD nearly cancels: each product must be exact
    expected = value_and_gradients(selective_recurrence, inputs)
    with mock.patch.multiple(module, CHUNK_SIZE=1, PIECE_SIZE=1):
        found = value_and_gradients(selective_scan, single(inputs))
    assert relative_error(found["A"], expected["A"]) < 5e-7
    assert relative_error(found["D"], expected["D"]) < 1.2e-7  # one rounding


@pytest.mark.parametrize("step", [0.0, 1e4])
def test_steps_of_no_size_and_of_any_size_stay_finite(step) -> None:
    inputs = random_inputs(2, 40, 3, 4)
    inputs["delta"] = torch.full_like(inputs["delta"], step)
    expected = value_and_gradients(selective_recurrence, inputs)
    found = value_and_gradients(selective_scan, single(inputs))
    for name in expected:
        torch.testing.assert_close(found[name].double(), expected[name], rtol=1e-4, atol=1e-4)


def test_a_future_step_reaches_no_earlier_output() -> None:
    inputs = random_inputs(2, 40, 3, 4)
    before = selective_scan(*inputs.values())
    for name in ("u", "delta", "B", "C"):
        inputs[name][:, 21] += 1
    after = selective_scan(*inputs.values())
    assert torch.equal(before[:, :21], after[:, :21])
    assert not torch.equal(before[:, 21:], after[:, 21:])


def test_without_gradients_the_values_are_the_same() -> None:
    inputs = {name: value.requires_grad_() for name, value in random_inputs(2, 40, 3, 4).items()}
    with torch.no_grad():
        y = selective_scan(*inputs.values())
    assert not y.requires_grad
    assert torch.equal(y, selective_scan(*inputs.values()).detach())


@pytest.mark.parametrize("wanted", NAMES)
def test_each_gradient_comes_alone_and_is_left_out_alone(wanted) -> None:
    inputs = random_inputs(2, 20, 3, 4)
    expected = value_and_gradients(selective_recurrence, inputs)

    def gradients(names: set[str]) -> dict[str, torch.Tensor | None]:
        given = {name: t.clone().requires_grad_(name in names) for name, t in inputs.items()}
        y = selective_scan(*given.values())
        y.backward(torch.linspace(0.5, 1.5, y.numel()).reshape(y.shape).to(y.dtype))
        return {name: value.grad for name, value in given.items()}

    for names in ({wanted}, set(NAMES) - {wanted}):
        found = gradients(names)
        assert {name for name in NAMES if found[name] is not None} == names
        for name in names:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-10)


def test_the_layout_in_memory_does_not_matter() -> None:
    inputs = random_inputs(3, 40, 4, 5)
    inputs["u"][:] = inputs["u"][:1]
    expected = value_and_gradients(selective_recurrence, inputs)
    turned = {
        name: value.transpose(0, -1).contiguous().transpose(0, -1) for name, value in inputs.items()
    }
    turned["u"] = inputs["u"][:1].expand(3, -1, -1)
    found = value_and_gradients(selective_scan, turned)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-10)
    # The gradient that comes back from a sum is one number, expanded.
    given = [value.requires_grad_() for value in inputs.values()]
    summed = [
        torch.autograd.grad(scan(*given).sum(), given)
        for scan in (selective_scan, selective_recurrence)
    ]
    torch.testing.assert_close(*summed, rtol=1e-10, atol=1e-10)


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    given = [value.requires_grad_() for value in random_inputs(1, 3, 2, 2).values()]
    loss = selective_scan(*given).square().sum()
    (gradient,) = torch.autograd.grad(loss, given[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_shapes_that_do_not_fit_are_refused() -> None:
    u, A, B, D = torch.randn(2, 5, 3), -torch.rand(3, 4), torch.randn(2, 5, 4), torch.ones(3)
    for wrong in (
        (u, u[:, :4], A, B, B, D),
        (u, u[..., :1], A, B, B, D),
        (u, u, A, B[..., :3], B, D),
        (u, u, A, B, B, D[:2]),
    ):
        with pytest.raises(ParameterError, match="shapes do not fit: u"):
            selective_scan(*wrong)


def test_half_precision_is_computed_in_float32() -> None:
    torch.manual_seed(0)
    u = torch.randn(1, 500, 2).bfloat16()
    delta, A = torch.full((1, 500, 2), 0.001), -torch.rand(2, 16)
    B, C, D = torch.randn(1, 500, 16), torch.randn(1, 500, 16), torch.ones(2)
    found = selective_scan(u, delta, A, B, C, D)
    assert found.dtype == torch.bfloat16
    expected = selective_recurrence(u.float(), delta, A, B, C, D)
    torch.testing.assert_close(found, expected.bfloat16())
