from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook.models.scans import ssd_chunked, ssd_recurrence

NAMES = ("x", "dt", "A", "B", "C", "D")


def random_inputs(
    length: int, ngroups: int = 1, heads_per_group: int = 2, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Float64 inputs with requires_grad, of a size at which the recurrence is quick."""
    batch, headdim, d_state = 2, 3, 4
    heads = ngroups * heads_per_group
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    inputs = {
        "x": normal(batch, length, heads, headdim),
        "dt": torch.nn.functional.softplus(normal(batch, length, heads) - 2),
        "A": -torch.exp(normal(heads)),
        "B": normal(batch, length, ngroups, d_state),
        "C": normal(batch, length, ngroups, d_state),
        "D": normal(heads),
    }
    return {name: value.requires_grad_() for name, value in inputs.items()}


def value_and_gradients(scan, inputs: dict[str, torch.Tensor], **kwargs) -> dict[str, torch.Tensor]:
    y = scan(*inputs.values(), **kwargs)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape).to(y.dtype)
    gradients = torch.autograd.grad((y * weights).sum(), list(inputs.values()))
    return {"y": y.detach()} | dict(zip(NAMES, gradients, strict=True))


def test_recurrence_is_the_definition_on_a_case_done_by_hand() -> None:
    # One channel, one state: h = (1 * 2) = 2, then h = exp(-1) * 2 + 1 * 3.
    x = torch.tensor([2.0, 3.0], dtype=torch.float64).reshape(1, 2, 1, 1)
    one = torch.ones(1, 2, 1, 1, dtype=torch.float64)
    a, d = torch.tensor([-1.0], dtype=torch.float64), torch.tensor([10.0], dtype=torch.float64)
    y = ssd_recurrence(x, one[..., 0], a, one, one, d)
    expected = torch.tensor([2 + 20, 2 * torch.e**-1 + 3 + 30], dtype=torch.float64)
    torch.testing.assert_close(y.flatten(), expected)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 40),
    ngroups=st.integers(1, 3),
    heads_per_group=st.integers(1, 3),
    chunk_size=st.sampled_from([1, 2, 7, 16, 64]),
    seed=st.integers(0, 1000),
)
def test_chunks_change_nothing(length, ngroups, heads_per_group, chunk_size, seed) -> None:
    inputs = random_inputs(length, ngroups, heads_per_group, seed)
    expected = value_and_gradients(ssd_recurrence, inputs)
    found = value_and_gradients(ssd_chunked, inputs, chunk_size=chunk_size)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("decay_per_chunk", [26, 84, 170, 290, 1200])
@pytest.mark.parametrize("length", [64, 200])
def test_strong_decay_keeps_float32_digits(decay_per_chunk, length, relative_error) -> None:
    inputs = random_inputs(length)
    with torch.no_grad():
        chunks = (inputs["dt"] * inputs["A"]).abs().split(64, dim=1)
        inputs["A"] *= decay_per_chunk / max(chunk.sum(1).max() for chunk in chunks)
    expected = value_and_gradients(ssd_recurrence, inputs)
    single = {name: value.detach().float().requires_grad_() for name, value in inputs.items()}
    found = value_and_gradients(ssd_chunked, single)
    for name in expected:
        assert found[name].dtype == torch.float32
        assert torch.isfinite(found[name]).all(), name
        assert relative_error(found[name], expected[name]) < 2e-5, name


def test_a_future_step_reaches_no_earlier_output() -> None:
    inputs = {name: value.detach() for name, value in random_inputs(20).items()}
    before = ssd_chunked(*inputs.values(), chunk_size=8)
    inputs["x"][:, 13] += 1
    after = ssd_chunked(*inputs.values(), chunk_size=8)
    assert torch.equal(before[:, :13], after[:, :13])
    assert not torch.equal(before[:, 13:], after[:, 13:])
