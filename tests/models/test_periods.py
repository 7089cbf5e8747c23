"""Periods, foldings and the block that is made of them, beside a loop over windows and periods."""

from __future__ import annotations

import math

import plain_ms_imamba as plain
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook.errors import ParameterError
from affectbook.models.periods import (
    CHOICES,
    MSTB,
    ROUNDINGS,
    WEIGHTS,
    Inception,
    amplitudes,
    chosen,
    fold,
    fusion_weights,
    periods_of,
    unfold,
)

BANDS = (4, 6, 8, 10, 13, 20, 45)  # Hz
SEEDS = st.integers(0, 2**16)


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype)


def tone(hertz: float, sfreq: int, n_chans: int = 4) -> torch.Tensor:
    """Return one second of a sine of amplitude 1 in all channels."""
    t = torch.arange(sfreq, dtype=torch.float64) / sfreq
    return torch.sin(2 * math.pi * hertz * t).expand(1, n_chans, sfreq)


def built(cls: type, *args: object, seed: int = 0, **switches: object) -> torch.nn.Module:
    torch.manual_seed(seed)
    return cls(*args, **switches).double()


def test_the_block_has_the_declared_number_of_weights() -> None:
    taps = sum(width**2 for width in (1, 3, 5, 7, 9, 11))
    expected = (taps * 4 * 32 + 6 * 32) + (taps * 32 * 4 + 6 * 4)
    assert expected == 73_432
    assert sum(weight.numel() for weight in MSTB(4).parameters()) == expected


@pytest.mark.parametrize(
    ("sfreq", "rounding", "expected"),
    [(128, "ceil", [32, 22, 16, 13, 10, 7, 3]), (128, "floor", [32, 21, 16, 12, 9, 6, 2]),
     (200, "ceil", [50, 34, 25, 20, 16, 10, 5]), (200, "floor", [50, 33, 25, 20, 15, 10, 4])],
)  # fmt: skip
def test_periods_of_tones_in_one_second(sfreq, rounding, expected) -> None:
    spectra = torch.cat([amplitudes(tone(hertz, sfreq)) for hertz in BANDS])
    assert periods_of(sfreq, chosen(spectra, 1), rounding).flatten().tolist() == expected


@given(length=st.integers(2, 2000), data=st.data())
def test_periods_are_those_of_exact_arithmetic(length, data) -> None:
    f = data.draw(st.integers(1, length // 2))
    assert periods_of(length, torch.tensor([[f]]), "ceil").item() == -(-length // f)
    assert periods_of(length, torch.tensor([[f]]), "floor").item() == length // f


def test_an_amplitude_is_that_of_the_tone_and_the_mean_of_the_channels() -> None:
    x = torch.cat([2 * tone(10, 128, 1), 6 * tone(10, 128, 1)], dim=1)
    found = amplitudes(x)
    assert found.shape == (1, 64)
    expected = torch.zeros(1, 64, dtype=torch.float64)
    expected[0, 9] = (2 + 6) / 2 * 128 / 2  # bins begin at one cycle
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-9)


@given(offset=st.floats(-1e4, 1e4), seed=SEEDS, length=st.integers(2, 64))
def test_the_constant_of_a_channel_is_ignored(offset, seed, length) -> None:
    x = normal(seed, 2, 3, length)
    torch.testing.assert_close(amplitudes(x + offset), amplitudes(x), rtol=1e-6, atol=1e-8)


def test_a_tone_is_chosen_beside_a_large_constant() -> None:
    assert chosen(amplitudes(tone(13, 128) + 1000), 1).tolist() == [[13]]


def test_each_window_has_its_own_periods_or_all_have_one_set() -> None:
    x = torch.cat([3 * tone(6, 128) + tone(20, 128), 2 * tone(20, 128) + tone(9, 128)])
    spectra = amplitudes(x)
    assert chosen(spectra, 2, "sample").tolist() == [[6, 20], [20, 9]]
    assert chosen(spectra, 2, "batch").tolist() == [[6, 20], [6, 20]]  # 3 and 3; 9 Hz has 1
    assert chosen(spectra, 3, "log_spaced").tolist() == [[4, 8, 16], [4, 8, 16]]
    assert chosen(spectra[:, :10], 3, "log_spaced").tolist() == [[4, 8, 10], [4, 8, 10]]


@given(rule=st.sampled_from(WEIGHTS), seed=SEEDS, k=st.integers(1, 6), unit=st.floats(1e-3, 1e2))
def test_weights_sum_to_one(rule, seed, k, unit) -> None:
    spectra = amplitudes(unit * normal(seed, 5, 3, 32))
    weights = fusion_weights(spectra, chosen(spectra, k), rule)
    assert weights.shape == (5, k) and (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(5, dtype=torch.float64))


def test_only_the_softmax_depends_on_the_unit() -> None:
    x = normal(0, 64, 4, 128) / 8
    top = {}
    for rule in WEIGHTS:
        for unit in (1, 10, 100):
            spectra = amplitudes(unit * x)
            top[rule, unit] = fusion_weights(spectra, chosen(spectra, 3), rule)[:, 0]
    assert (top["softmax", 10] > top["softmax", 1]).all()
    assert top["softmax", 1].mean() < 0.5 and top["softmax", 100].mean() > 0.95  # in effect k = 1
    torch.testing.assert_close(top["normalised", 100], top["normalised", 1])
    assert (top["normalised", 1] > 1 / 3).all()
    torch.testing.assert_close(top["equal", 1], torch.full((64,), 1 / 3, dtype=torch.float64))


@given(length=st.integers(1, 100), period=st.integers(1, 120), seed=SEEDS)
def test_unfolding_undoes_folding(length, period, seed) -> None:
    x = normal(seed, 2, 3, length)
    image = fold(x, period)
    assert image.shape == (2, 3, math.ceil(length / period), period)
    assert torch.equal(unfold(image, length), x)
    for row in range(image.shape[2]):  # a row is one patch
        patch = x[..., row * period : (row + 1) * period]
        assert torch.equal(image[:, :, row, : patch.shape[-1]], patch)
    filled = image.flatten(-2)[..., length:]
    assert torch.equal(filled, torch.zeros_like(filled))


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 14), width=st.integers(1, 14), n_kernels=st.integers(1, 6), seed=SEEDS)
def test_inception_is_the_mean_of_its_convolutions(height, width, n_kernels, seed) -> None:
    module = built(Inception, 2, 3, n_kernels, seed=seed)
    image = normal(seed, 2, 2, height, width).requires_grad_()
    leaves = [image, *module.parameters()]
    found, expected = module(image), plain.inception(module, image)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    direction = normal(seed + 1, *found.shape)
    for ours, theirs in zip(
        torch.autograd.grad(found, leaves, direction),
        torch.autograd.grad(expected, leaves, direction),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_merged_weights_may_be_handed_over() -> None:
    module, image = built(Inception, 2, 3), normal(0, 2, 2, 5, 20)
    assert torch.equal(module(image, module.merged()), module(image))


@settings(max_examples=30, deadline=None)
@given(
    n_chans=st.integers(1, 5), k=st.integers(1, 4), more=st.integers(0, 40),
    periods=st.sampled_from(CHOICES), weights=st.sampled_from(WEIGHTS),
    rounding=st.sampled_from(ROUNDINGS), seed=SEEDS,
)  # fmt: skip
def test_the_block_equals_a_loop(n_chans, k, more, periods, weights, rounding, seed) -> None:
    switches = {"periods": periods, "weights": weights, "rounding": rounding}
    block = built(MSTB, n_chans, hidden=3, n_kernels=4, k=k, seed=seed, **switches)
    x = normal(seed, 4, n_chans, 2 * k + more).requires_grad_()
    found, expected = block(x), plain.block(block, x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    leaves, direction = [x, *block.parameters()], normal(seed + 1, *x.shape)
    for ours, theirs in zip(
        torch.autograd.grad(found, leaves, direction),
        torch.autograd.grad(expected, leaves, direction),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("length", [128, 200])
def test_the_whole_block_equals_a_loop_in_single_precision(length, relative_error) -> None:
    torch.manual_seed(0)
    block, x = MSTB(4), normal(1, 8, 4, length, dtype=torch.float32)
    with torch.no_grad():
        for weight in block.parameters():
            weight.mul_(4)  # as drawn, foldings add a hundredth of the window only
    expected = plain.block(block, x)
    assert relative_error(expected, x) > 0.2
    assert relative_error(block(x), expected) < 1e-5


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, length=st.integers(6, 70), weights=st.sampled_from(WEIGHTS))
def test_a_window_is_treated_alike_in_any_batch(seed, length, weights) -> None:
    block = built(MSTB, 3, hidden=4, n_kernels=3, weights=weights, seed=seed)
    x = normal(seed, 9, 3, length)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    together = block(x)
    alone = torch.cat([block(window[None]) for window in x])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(block(x[order]), together[order], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_silence_has_finite_values_and_gradients(weights) -> None:
    block = built(MSTB, 2, hidden=4, weights=weights)
    x = torch.zeros(3, 2, 32, dtype=torch.float64, requires_grad=True)
    found = block(x)
    found.sum().backward()
    assert found.isfinite().all() and x.grad.isfinite().all()


@pytest.mark.parametrize("switch", ["periods", "weights", "rounding"])
def test_an_unknown_rule_is_refused(switch) -> None:
    with pytest.raises(ParameterError, match=f"{switch} must be one of .*, not 'median'"):
        MSTB(4, **{switch: "median"})
    spectra = amplitudes(normal(0, 2, 3, 32))
    calls = {
        "periods": lambda: chosen(spectra, 2, "median"),
        "weights": lambda: fusion_weights(spectra, chosen(spectra, 2), "median"),
        "rounding": lambda: periods_of(32, chosen(spectra, 2), "median"),
    }
    with pytest.raises(ParameterError, match=f"{switch} must be one of .*, not 'median'"):
        calls[switch]()


@pytest.mark.parametrize("k", [-1, 0, 17])
@pytest.mark.parametrize("choice", CHOICES)
def test_more_periods_than_frequencies_are_refused(k, choice) -> None:
    with pytest.raises(ParameterError, match=f"k = {k} periods of 16 frequencies; take 1 to 16"):
        chosen(amplitudes(normal(0, 2, 3, 32)), k, choice)
