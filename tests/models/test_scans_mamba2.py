from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook.errors import ParameterError
from affectbook.models.scans import mamba2, ssd, ssd_recurrence

NAMES = ("x", "dt", "A", "B", "C", "D")


def random_inputs(
    length: int,
    ngroups: int = 1,
    heads_per_group: int = 2,
    seed: int = 0,
    batch: int = 2,
    headdim: int = 3,
    d_state: int = 4,
) -> dict[str, torch.Tensor]:
    """Float64 inputs with requires_grad, of a size at which the recurrence is quick."""
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


def with_decay(inputs: dict[str, torch.Tensor], per_chunk: float) -> None:
    """Scale A until the decays of the chunk of 64 steps that has most of them add up to a sum."""
    with torch.no_grad():
        chunks = (inputs["dt"] * inputs["A"]).abs().split(64, dim=1)
        inputs["A"] *= per_chunk / max(chunk.sum(1).max() for chunk in chunks)


def value_and_gradients(scan, inputs: dict[str, torch.Tensor], **kwargs) -> dict[str, torch.Tensor]:
    y = scan(*inputs.values(), **kwargs)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
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


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 300),
    ngroups=st.integers(1, 3),
    heads_per_group=st.integers(1, 3),
    chunk_size=st.sampled_from([1, 2, 7, 16, 64]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 1000),
)
def test_chunks_change_nothing(length, ngroups, heads_per_group, chunk_size, dtype, seed) -> None:
    inputs = random_inputs(length, ngroups, heads_per_group, seed)
    expected = value_and_gradients(ssd_recurrence, inputs)
    given_ = {name: value.detach().to(dtype).requires_grad_() for name, value in inputs.items()}
    found = value_and_gradients(ssd, given_, chunk_size=chunk_size)
    for name in expected:
        assert found[name].dtype == dtype
        # In float32 the gradient of A, a sum of both signs over all steps, loses most.
        tolerance = 1e-10 if dtype == torch.float64 else 3e-4 if name == "A" else 2e-5
        scale = max(1.0, float(expected[name].abs().max()))
        torch.testing.assert_close(
            found[name].double(), expected[name], rtol=0, atol=tolerance * scale
        )


@pytest.mark.parametrize("decay_per_chunk", [26, 84, 170, 290, 1200, 5000])
@pytest.mark.parametrize("length", [64, 200])
def test_strong_decay_keeps_float32_digits(decay_per_chunk, length, relative_error) -> None:
    inputs = random_inputs(length, batch=3, headdim=16, d_state=32)
    with_decay(inputs, decay_per_chunk)
    expected = value_and_gradients(ssd_recurrence, inputs)
    single = {name: value.detach().float().requires_grad_() for name, value in inputs.items()}
    found = value_and_gradients(ssd, single)
    for name in expected:
        assert found[name].dtype == torch.float32
        assert torch.isfinite(found[name]).all(), name
        # The gradient of A is a sum of both signs over all steps, and small beside its terms here.
        assert relative_error(found[name], expected[name]) < (3e-5 if name == "A" else 1e-6), name


def test_the_plan_takes_smaller_chunks_before_it_takes_more_digits() -> None:
    def plan(decay_per_step: float, dtype: torch.dtype = torch.float32) -> tuple:
        return mamba2._plan(torch.full((1, 640, 1), -decay_per_step).double(), 64, dtype)

    assert plan(1.8) == (64, torch.float32)
    assert plan(3.0) == (32, torch.float32)
    assert plan(7.0) == (16, torch.float32)
    assert plan(18.0) == (64, torch.float64)
    assert plan(100.0) == (8, torch.float64)
    assert plan(1e6) == (1, torch.float64)
    assert plan(1.8, torch.float64) == (64, torch.float64)


def test_a_short_sequence_is_one_chunk() -> None:
    assert mamba2._plan(-torch.ones(2, 5, 1).double(), 5, torch.float32) == (5, torch.float32)


def test_a_value_that_is_no_number_reaches_the_output() -> None:
    inputs = {name: value.detach() for name, value in random_inputs(20).items()}
    inputs["dt"][1] *= 100  # so strong that these decays need a plan of their own
    inputs["dt"][0, 3, 0] = torch.nan
    y = ssd(*(value.float() for value in inputs.values()))
    assert torch.isnan(y[0, 3:, 0]).all()
    assert torch.isfinite(y[1]).all()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("B", lambda t: t[:, :15]),
        ("C", lambda t: t[..., :2]),
        ("dt", lambda t: t[:, :15]),
        ("A", lambda t: t[:1]),
        ("x", lambda t: t[:, :0]),
        ("B", lambda t: t[:, :, 0]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, change) -> None:
    inputs = {key: value.detach() for key, value in random_inputs(20).items()}
    inputs[name] = change(inputs[name])
    with pytest.raises(ParameterError, match=rf"shapes do not fit: x .*{name} \("):
        ssd(*inputs.values())


def test_a_chunk_has_a_step() -> None:
    with pytest.raises(ParameterError, match="chunk_size 0"):
        ssd(*random_inputs(20).values(), chunk_size=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype) -> None:
    inputs = {name: value.detach() for name, value in random_inputs(100).items()}
    half = inputs["x"].to(dtype)
    found = ssd(half, *list(inputs.values())[1:])
    expected = ssd_recurrence(half.double(), *list(inputs.values())[1:])
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected.to(dtype))


def test_it_is_differentiated_once() -> None:
    inputs = random_inputs(20)
    (gradient,) = torch.autograd.grad(
        ssd(*inputs.values()).square().sum(), inputs["x"], create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_inputs_need_not_be_contiguous_nor_differentiable(relative_error) -> None:
    inputs = {name: value.detach() for name, value in random_inputs(70, ngroups=2).items()}
    expected = ssd(*inputs.values(), chunk_size=16)
    strided = {
        name: value.unsqueeze(-1).repeat_interleave(2, -1)[..., 0] for name, value in inputs.items()
    }
    assert not any(value.is_contiguous() for value in strided.values())
    strided["x"].requires_grad_()
    found = ssd(*strided.values(), chunk_size=16)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), strided["x"])
    assert torch.isfinite(gradient).all()


def test_a_future_step_reaches_no_earlier_output() -> None:
    inputs = {name: value.detach() for name, value in random_inputs(20).items()}
    before = ssd(*inputs.values(), chunk_size=8)
    inputs["x"][:, 13] += 1
    after = ssd(*inputs.values(), chunk_size=8)
    assert torch.equal(before[:, :13], after[:, :13])
    assert not torch.equal(before[:, 13:], after[:, 13:])
