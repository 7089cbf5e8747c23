"""Differential entropy of signals whose variance in each band is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from affectbook import eeg_features
from affectbook.eeg_features import BANDS, DifferentialEntropy, band_variance, differential_entropy
from affectbook.errors import ParameterError


@pytest.mark.parametrize(("sfreq", "n_times"), [(128.0, 512), (200.0, 800), (128.0, 513)])
def test_white_noise_has_the_variance_of_each_bands_width(sfreq, n_times) -> None:
    deviation = 3.0
    X = deviation * np.random.default_rng(0).standard_normal((1500, 2, n_times))
    found = band_variance(X, sfreq).mean((0, 1))
    bins = [np.sum((hz := np.arange(n_times // 2) * sfreq / n_times) >= low) - np.sum(hz >= high)
            for low, high in BANDS.values()]  # fmt: skip
    expected = deviation**2 * 2 * np.array(bins) / n_times
    np.testing.assert_allclose(found, expected, rtol=0.02)


@pytest.mark.parametrize("n_times", [64, 65])
def test_all_bins_together_have_the_variance_of_the_window_under_its_taper(n_times) -> None:
    X = np.random.default_rng(0).standard_normal((5, 1, n_times))
    weight = np.sin(np.pi * np.arange(n_times) / n_times) ** 4
    centred = X - X.mean(-1, keepdims=True)
    expected = (weight * centred**2).sum(-1) / weight.sum()
    np.testing.assert_allclose(band_variance(X, 64.0, {"all": (0, 33)})[..., 0], expected)


def test_a_sine_is_in_its_band_and_has_half_its_amplitude_squared() -> None:
    time = np.arange(512) / 128
    X = (5 * np.sin(2 * np.pi * 10.3 * time + 1) + 40)[None, None]
    found = dict(zip(BANDS, band_variance(X, 128.0)[0, 0], strict=True))
    assert found["alpha"] == pytest.approx(12.5, rel=0.01)
    assert max(value for band, value in found.items() if band != "alpha") < 0.01 * found["alpha"]


def test_entropy_is_that_of_a_gaussian_of_this_variance() -> None:
    X = np.random.default_rng(0).standard_normal((4, 3, 128))
    expected = 0.5 * np.log(2 * np.pi * np.e * band_variance(X, 128.0))
    np.testing.assert_allclose(differential_entropy(X, 128.0), expected.reshape(4, 15))
    louder = differential_entropy(10 * X, 128.0)
    np.testing.assert_allclose(louder - differential_entropy(X, 128.0), np.log(10))


def test_bands_of_a_channel_stand_side_by_side() -> None:
    X = np.random.default_rng(0).standard_normal((2, 2, 128))
    alone = differential_entropy(X[:, 1:], 128.0)
    np.testing.assert_allclose(differential_entropy(X, 128.0)[:, 5:], alone, rtol=1e-12)


def test_an_offset_is_no_slow_wave() -> None:
    X = np.random.default_rng(0).standard_normal((2, 1, 128))
    np.testing.assert_allclose(band_variance(X + 1000, 128.0), band_variance(X, 128.0))


def test_bands_share_no_bin_and_leave_no_gap() -> None:
    X = np.random.default_rng(0).standard_normal((2, 1, 384))
    total = band_variance(X, 128.0, {"all": (1, 45)})[..., 0]
    np.testing.assert_allclose(band_variance(X, 128.0).sum(-1), total)


def test_windows_are_independent_of_their_chunk(monkeypatch) -> None:
    X = np.random.default_rng(0).standard_normal((7, 2, 128)).astype(np.float32)
    whole = differential_entropy(X, 128.0)
    monkeypatch.setattr(eeg_features, "_CHUNK", 3)
    np.testing.assert_allclose(differential_entropy(X, 128.0), whole, rtol=1e-12)


def test_a_flat_channel_is_finite() -> None:
    assert np.isfinite(differential_entropy(np.full((2, 1, 128), 7.0), 128.0)).all()


@pytest.mark.parametrize(("n_times", "sfreq", "band"), [(32, 128.0, "beta"), (128, 64.0, "gamma")])
def test_a_band_without_a_bin_is_refused_by_name(n_times, sfreq, band) -> None:
    bands = {"beta": (14, 15)} if band == "beta" else {"gamma": (33, 45)}
    with pytest.raises(ParameterError, match=f"band {band}"):
        differential_entropy(np.zeros((1, 1, n_times)), sfreq, bands)


def test_the_transformer_learns_nothing_and_can_be_cloned() -> None:
    X = np.random.default_rng(0).standard_normal((3, 2, 128))
    transformer = DifferentialEntropy(128.0)
    elsewhere = clone(transformer).fit(X[:1]).transform(X)
    assert elsewhere.shape == (3, 10)
    assert np.array_equal(transformer.transform(X), elsewhere)
