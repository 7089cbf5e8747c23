"""Transformations of windows: what each keeps, how strong it is, and the time warp spelt out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from affectbook import augment
from affectbook.augment import NAMES, Strengths
from affectbook.errors import ParameterError

SHAPES = ((4, 1, 2560), (3, 2, 1280), (1, 2, 1283))
SEEDS = st.integers(0, 2**32)


def drawing(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=drawing(seed), dtype=dtype)


def ramps(n_windows: int, n_times: int = 2560) -> Tensor:
    """Return windows whose samples are their own numbers, so that a sample tells its origin."""
    return torch.arange(n_times, dtype=torch.float64).expand(n_windows, 1, -1).contiguous()


def plain_warp(
    window: np.ndarray, stretched: np.ndarray, start: int, stretch: float
) -> np.ndarray:
    """Return one window ``(c, t)`` warped, piece by piece."""
    n_times, pieces = window.shape[-1], len(stretched)
    piece = n_times // pieces
    found = []
    for number, longer in enumerate(stretched):
        part = window[:, number * piece : (number + 1) * piece]
        length = np.ceil(piece * stretch - 1e-9) if longer else np.ceil(piece / stretch - 1e-9)
        at = np.linspace(0, piece - 1, int(length))
        found.append([np.interp(at, np.arange(piece), channel) for channel in part])
    return np.concatenate(found, -1)[:, start : start + n_times]


@pytest.mark.parametrize("shape", SHAPES)
def test_versions_are_those_of_the_names_in_their_order(shape) -> None:
    x = windows(*shape)
    before, together, apart = x.clone(), drawing(5), drawing(5)
    found = augment.versions(x, together)
    assert NAMES == (
        "original", "noise", "scaling", "negation", "inversion", "permutation", "time_warp",
    )  # fmt: skip
    assert found.shape == (7, *shape) and found.dtype == x.dtype
    for name, version in zip(NAMES, found, strict=True):
        assert torch.equal(version, augment.transform(name, x, apart))
    assert torch.equal(x, before)
    original, noisy, scaled, negated, inverted, permuted, warped = found
    assert torch.equal(original, x)
    assert torch.equal(scaled, x * 1.1)
    assert torch.equal(negated, -x)
    assert torch.equal(inverted, torch.stack([x[..., -1 - t] for t in range(shape[-1])], -1))
    for changed in (noisy, permuted, warped):
        assert not (changed == x).all(-1).any()


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from(SHAPES), st.sampled_from([torch.float32, torch.float64]))
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(seed, shape, dtype) -> None:
    x = windows(*shape, dtype=dtype)
    once, again, other = (augment.versions(x, drawing(s)) for s in (seed, seed, seed + 1))
    assert once.dtype == dtype
    assert once.numpy().tobytes() == again.numpy().tobytes()
    for number in (1, 5, 6):
        assert not torch.equal(once[number], other[number])


@pytest.mark.parametrize("name", ["noise", "permutation", "time_warp"])
def test_windows_draw_for_themselves(name) -> None:
    same = windows(1, 1, 2560).expand(6, -1, -1).contiguous()
    found = augment.transform(name, same, drawing())
    for one in range(6):
        for other in range(one):
            assert not torch.equal(found[one], found[other])
    others = same.clone()
    others[1:] = windows(5, 1, 2560, seed=1)
    assert torch.equal(augment.transform(name, others, drawing())[0], found[0])


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.floats(-5, 30), st.integers(1, 3))
def test_noise_has_the_ratio_asked_for_in_each_window(seed, snr_db, n_chans) -> None:
    x = windows(4, n_chans, 2560, dtype=torch.float64)
    x *= torch.tensor([0.01, 1.0, 30.0, 500.0], dtype=torch.float64)[:, None, None]
    noise = augment.add_noise(x, snr_db, drawing(seed)) - x
    power = x.square().mean((1, 2)) / noise.square().mean((1, 2))
    assert power.log10().mul(10) == pytest.approx([snr_db] * 4, abs=0.7)  # 5 standard errors


def test_all_channels_of_a_window_have_the_same_noise_which_is_white_and_gaussian() -> None:
    x = windows(40, 2, 2560, dtype=torch.float64) * torch.tensor([[1.0], [7.0]])
    noise = augment.add_noise(x, 15.0, drawing()) - x
    expected = (25 * 10**-1.5) ** 0.5
    assert noise.std((0, 2)) == pytest.approx([expected] * 2, rel=0.02)
    unit = noise / expected
    assert unit.mean().abs() < 0.01
    assert unit.pow(4).mean() == pytest.approx(3, abs=0.1)
    assert (unit[..., 1:] * unit[..., :-1]).mean().abs() < 0.02
    assert (unit[:, 0] * unit[:, 1]).mean().abs() < 0.02
    assert (unit[1:] * unit[:-1]).mean().abs() < 0.02


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from(SHAPES))
def test_negation_and_inversion_undo_themselves(seed, shape) -> None:
    x = windows(*shape, seed=seed)
    for turn in (augment.negate, augment.invert):
        assert not torch.equal(turn(x), x)
        assert torch.equal(turn(turn(x)), x)
    assert torch.equal(augment.negate(augment.invert(x)), augment.invert(augment.negate(x)))


def test_scaling_is_exactly_that() -> None:
    x = windows(2, 1, 2560)
    found = augment.transform("scaling", x, drawing()).numpy()
    np.testing.assert_array_equal(found, x.numpy() * np.float32(1.1))


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 3), st.integers(1, 400), st.integers(1, 40))
def test_a_permutation_moves_whole_pieces_and_loses_nothing(seed, n_chans, n_times, pieces) -> None:
    assume(pieces <= n_times)
    x = ramps(5, n_times) + 1000 * torch.arange(n_chans)[:, None]
    found, length = augment.permute(x, pieces, drawing(seed)), n_times // pieces
    assert torch.equal(found.sort(-1).values, x)
    assert torch.equal(found[..., pieces * length :], x[..., pieces * length :])
    shuffled = found[..., : pieces * length].unflatten(-1, (pieces, length))
    assert (shuffled[..., 0] % 1000 % length == 0).all()
    assert (shuffled.diff(dim=-1) == 1).all()
    assert torch.equal(found - 1000 * torch.arange(n_chans)[:, None], found[:, :1].expand_as(x))


def test_twenty_pieces_of_128_samples_go_anywhere() -> None:
    found = augment.transform("permutation", ramps(600), drawing())
    firsts = found.unflatten(-1, (20, 128))[:, 0, :, 0] / 128
    counts = torch.stack([torch.bincount(column.long(), minlength=20) for column in firsts.T])
    assert ((counts > 8) & (counts < 60)).all()  # 30 are expected


def test_a_window_of_2560_samples_is_warped_to_2579() -> None:
    assert augment.warped_lengths(2560, 9, 1.05) == (284, 299, 271, 2579)
    assert 5 * 299 + 4 * 271 == 2579


def test_five_of_nine_pieces_are_stretched_and_all_nineteen_crops_are_reached() -> None:
    found = augment.transform("time_warp", ramps(1000), drawing())[:, 0].numpy()
    piece = np.floor(found / 284 + 1e-9).astype(int)
    counts = np.stack([(piece == number).sum(1) for number in range(9)], 1)
    slopes = np.stack([found[:, 1] - found[:, 0], found[:, -1] - found[:, -2]], 1)
    stretched = counts == 299
    stretched[:, [0, 8]] = slopes < 1  # these two are cropped, so that their length tells nothing
    assert set(np.unique(counts[:, 1:8])) == {271, 299}
    assert slopes == pytest.approx(np.where(stretched[:, [0, 8]], 283 / 298, 283 / 270))
    assert (stretched.sum(1) == 5).all()
    assert stretched.mean(0) == pytest.approx([5 / 9] * 9, abs=0.08)
    starts = np.rint(found[:, 0] / slopes[:, 0]).astype(int)
    assert (np.bincount(starts, minlength=19) > 20).all() and starts.max() == 18
    assert len(np.unique(stretched @ 2 ** np.arange(9))) == 126  # all there are
    assert np.corrcoef(starts, stretched[:, 0])[0, 1] == pytest.approx(0, abs=0.15)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 3), st.integers(20, 700), st.integers(1, 20), st.floats(1, 2))
def test_the_warp_is_that_of_a_loop_over_windows(seed, n_chans, n_times, pieces, stretch) -> None:
    try:
        *_, total = augment.warped_lengths(n_times, pieces, stretch)
    except ParameterError:
        assume(False)
    x = windows(3, n_chans, n_times, seed=seed)
    found = augment.warp(x, pieces, stretch, drawing(seed))
    stretched, starts = augment.draw_warps(3, pieces, max(1, total - n_times), drawing(seed))
    expected = [
        plain_warp(window, own.numpy(), start.item(), stretch)
        for window, own, start in zip(x.double().numpy(), stretched, starts, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_published_warps_are_those_of_the_loop(shape) -> None:
    x = windows(*shape)
    found = augment.transform("time_warp", x, drawing(3))
    *_, total = augment.warped_lengths(shape[-1], 9, 1.05)
    stretched, starts = augment.draw_warps(len(x), 9, total - shape[-1], drawing(3))
    for window, own, start, warped in zip(x, stretched, starts, found, strict=True):
        expected = plain_warp(window.double().numpy(), own.numpy(), start.item(), 1.05)
        np.testing.assert_allclose(warped, expected, rtol=0, atol=1e-5)


def test_a_warp_that_changes_no_length_changes_nothing() -> None:
    x = windows(3, 2, 900)
    assert torch.equal(augment.warp(x, 9, 1.0, drawing()), x)


@pytest.mark.parametrize("pieces", [0, -3, 2561])
def test_more_pieces_than_samples_are_refused(pieces) -> None:
    with pytest.raises(ParameterError, match=f"2560 samples has no {pieces} pieces to permute"):
        augment.permute(windows(1, 1, 2560), pieces, drawing())


@pytest.mark.parametrize(
    ("pieces", "stretch"),
    [(0, 1.05), (-9, 1.05), (1281, 1.05), (9, 0.95), (9, float("nan")), (9, float("inf")),
     (9, 200.0), (9, 0.0), (9, -1.05)],
)  # fmt: skip
def test_a_warp_that_cannot_be_is_refused(pieces, stretch) -> None:
    with pytest.raises(ParameterError, match=f"warped in {pieces} pieces by {stretch}; a piece"):
        augment.warp(windows(1, 1, 2560), pieces, stretch, drawing())


def test_what_is_too_short_to_be_cropped_is_refused() -> None:
    with pytest.raises(ParameterError, match="2560 samples become 2556, which cannot be cropped"):
        augment.warped_lengths(2560, 9, 1.0)
    assert augment.warped_lengths(2556, 9, 1.0) == (284, 284, 284, 2556)


def test_strengths_reach_their_transformation_and_an_unknown_name_is_refused() -> None:
    x = ramps(2) + 1
    own = Strengths(snr_db=40.0, factor=3.0, pieces=2, warp_pieces=3, stretch=1.5)
    found = dict(zip(NAMES, augment.versions(x, drawing(), own), strict=True))
    assert (found["noise"] - x).std() / x.square().mean().sqrt() == pytest.approx(0.01, rel=0.1)
    assert torch.equal(found["scaling"], 3 * x)
    assert set(found["permutation"][:, 0, 0].tolist()) <= {1.0, 1281.0}
    generator = drawing()
    for name in ("noise", "permutation"):
        augment.transform(name, x, generator, own)
    assert torch.equal(found["time_warp"], augment.warp(x, 3, 1.5, generator))
    with pytest.raises(ParameterError, match="no transformation 'shift'; there are original, noi"):
        augment.transform("shift", x, generator)
    with pytest.raises(ParameterError, match="19 samples has no 20 pieces"):
        augment.versions(windows(1, 1, 19), generator)
