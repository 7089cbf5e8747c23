from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import detrend
from sklearn.base import clone

from affectbook.errors import ParameterError
from affectbook.models import eeg_scaling
from affectbook.models.eeg_scaling import BlinkRegression, EegScaler

SFREQ = 128.0
LEAK = np.array([1.0, 0.9, 0.4, 0.1])


def blinks(n: int, seed: int, n_times: int = 256) -> np.ndarray:
    """Return ``(n, t)``: one slow bump of 100 uV in each window or across its border."""
    centre = np.random.default_rng(seed).uniform(-0.1, 2.1, (n, 1))
    away = np.arange(n_times)[None] / SFREQ - centre
    return 100 * np.exp(-0.5 * (away / 0.1) ** 2)


@pytest.fixture
def brain() -> np.ndarray:
    """EEG of 5 uV without blinks: alternately sines of 10 Hz and of 20 Hz, on some offset."""
    rng = np.random.default_rng(0)
    hz = np.where(np.arange(60) % 2, 10, 20)[:, None, None]
    phase = rng.uniform(0, 2 * np.pi, (60, 4, 1))
    offset = 50 * rng.standard_normal((60, 4, 1))
    return 5 * np.sin(2 * np.pi * hz * np.arange(256) / SFREQ + phase) + offset


def test_a_blink_leaves_every_channel_and_the_rest_stays(brain) -> None:
    added = LEAK[:, None] * blinks(60, 1)[:, None]
    X = (brain + added).astype(np.float32)
    regression = BlinkRegression((0, 1), SFREQ).fit(X[:40])
    cleaned = regression.transform(X[40:])
    assert cleaned.dtype == np.float32 and cleaned.shape == (20, 4, 256)
    left = (cleaned - brain[40:]).var(-1)
    assert (left < 0.1 * added[40:].var(-1)).all(), "over 90 % of the variance"
    np.testing.assert_allclose(regression.coef_, LEAK / LEAK[:2].mean(), rtol=0.05)
    # Another line in each window and channel, in training, too, teaches nothing.
    drift = np.random.default_rng(2).normal(0, 30, (60, 4, 1)) * np.linspace(-1, 1, 256)
    np.testing.assert_allclose(
        BlinkRegression((0, 1), SFREQ).fit((X + drift)[:40]).coef_, regression.coef_, rtol=1e-4
    )


def test_coefficients_are_those_of_least_squares(brain) -> None:
    X = brain + LEAK[:, None] * blinks(60, 1)[:, None]
    # One column for the reference, two for the line of each of three windows.
    X = X[:3]
    found = BlinkRegression((0,), SFREQ).fit(X)
    lines = np.kron(np.eye(3), np.stack([np.ones(256), np.arange(256)], 1))
    columns = np.hstack([found._reference(X).reshape(-1, 1), lines])
    for channel in range(4):
        expected = np.linalg.lstsq(columns, X[:, channel].ravel(), rcond=None)[0][0]
        assert found.coef_[channel] == pytest.approx(expected, rel=1e-6)


def test_chunks_change_nothing(brain, monkeypatch) -> None:
    whole = BlinkRegression((0, 1), SFREQ).fit(brain)
    monkeypatch.setattr(eeg_scaling, "_CHUNK", 7)
    parts = BlinkRegression((0, 1), SFREQ).fit(brain)
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-9)
    np.testing.assert_allclose(parts.transform(brain), whole.transform(brain), rtol=1e-5, atol=1e-4)


def test_what_is_removed_is_slow(brain) -> None:
    X = brain + LEAK[:, None] * blinks(60, 1)[:, None]
    removed = X - BlinkRegression((0,), SFREQ).fit(X).transform(X)
    power = np.abs(np.fft.rfft(detrend(removed, axis=-1))) ** 2
    assert power[..., 15:].max() < 1e-2 * power[..., :15].max(), "7 Hz is bin 14"


def test_flat_frontal_channels_remove_nothing() -> None:
    X = np.random.default_rng(0).standard_normal((5, 3, 128)).astype(np.float32)
    X[:, 0] = 0
    regression = BlinkRegression((0,), SFREQ).fit(X)
    assert not regression.coef_.any()
    np.testing.assert_array_equal(regression.transform(X), X)


@pytest.mark.parametrize("frontal", [(), (0, 4), (-1,)])
def test_channels_that_are_not_there_are_refused(brain, frontal) -> None:
    with pytest.raises(ParameterError, match="from 0 to 3"):
        BlinkRegression(frontal, SFREQ).fit(brain)


def test_zscore_has_one_mean_and_deviation_per_channel(brain) -> None:
    X = brain.astype(np.float32)
    X[:, 3] = 0.1
    scaled = EegScaler().fit_transform(X)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean((0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled[:, :3].std((0, 2)), 1, rtol=1e-5)
    assert not scaled[:, 3].any(), "a deviation of zero counts as one"


@pytest.mark.parametrize("blinks_at", [(), (0, 1)])
@pytest.mark.parametrize("kind", ["zscore", "window", "raw"])
def test_only_training_windows_teach(brain, kind, blinks_at) -> None:
    X = (brain + LEAK[:, None] * blinks(60, 1)[:, None]).astype(np.float32)
    scaler = EegScaler(kind, blinks_at, SFREQ).fit(X[:40])
    assert scaler.kind == kind
    alone = scaler.transform(X[40:41])
    # A chunk of another size may be summed in another order.
    np.testing.assert_allclose(scaler.transform(X[40:])[:1], alone, rtol=1e-5, atol=1e-4)
    again = clone(scaler).fit(X[:40]).transform(X[40:41])
    np.testing.assert_array_equal(again, alone)
    other = clone(scaler).fit(3 * X[:40] + 1000 * (np.arange(40) % 3)[:, None, None] * X[:40] ** 0)
    learns = kind == "zscore"
    assert np.allclose(other.transform(X[40:41]), alone, rtol=1e-3, atol=1e-2) != learns


def test_window_scales_each_channel_of_each_window(brain) -> None:
    X = brain.astype(np.float32)
    X[0, 0] = 0.1
    scaled = EegScaler("window").fit_transform(X)
    np.testing.assert_allclose(scaled.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(-1).ravel()[1:], 1, rtol=1e-5)
    assert not scaled[0, 0].any()
    np.testing.assert_allclose(EegScaler("window").fit(X).transform(9 * X), scaled, atol=1e-5)


def test_raw_changes_nothing(brain) -> None:
    X = brain.astype(np.float32)
    np.testing.assert_array_equal(EegScaler("raw").fit_transform(X), X)


def test_blinks_are_removed_before_scaling(brain) -> None:
    X = (brain + LEAK[:, None] * blinks(60, 1)[:, None]).astype(np.float32)
    found = EegScaler("zscore", (0, 1), SFREQ).fit(X).transform(X)
    expected = EegScaler().fit_transform(BlinkRegression((0, 1), SFREQ).fit(X).transform(X))
    np.testing.assert_array_equal(found, expected)


def test_what_a_scaler_cannot_be_is_refused(brain) -> None:
    with pytest.raises(ParameterError, match="zscore"):
        EegScaler("robust").fit(brain)
    with pytest.raises(ParameterError, match="sfreq"):
        EegScaler(blinks=(0,)).fit(brain)
