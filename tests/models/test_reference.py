"""Reference models: estimators like any other, which learn what their name says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone

from affectbook.models import reference

SFREQ = 64.0
MODELS: dict[str, Callable[[], BaseEstimator]] = {
    "majority": reference.majority,
    "hrv_logistic": lambda: reference.hrv_logistic(SFREQ),
    "fingerprint": lambda: reference.fingerprint(SFREQ),
}
every = pytest.mark.parametrize("name", MODELS)


@pytest.fixture
def noise() -> tuple[np.ndarray, np.ndarray]:
    """Thirty windows of noise, twenty of them of class 2."""
    X = np.random.default_rng(0).standard_normal((30, 1, 640)).astype(np.float32)
    return X, np.repeat([0, 2], [10, 20])


@every
def test_each_is_an_estimator_of_windows(name, noise) -> None:
    X, y = noise
    fitted = clone(MODELS[name]()).fit(X, y)
    predicted = fitted.predict(X[:7])
    assert predicted.shape == (7,) and set(predicted) <= {0, 2}
    assert np.array_equal(predicted, clone(MODELS[name]()).fit(X, y).predict(X[:7]))


@every
def test_each_is_made_afresh(name) -> None:
    assert MODELS[name]() is not MODELS[name]()


def test_the_majority_is_that_of_the_training_windows(noise) -> None:
    X, y = noise
    assert set(reference.majority().fit(X, y).predict(X)) == {2}
    assert set(reference.majority().fit(X[:14], y[:14]).predict(X)) == {0}


def test_the_fingerprint_knows_a_recording_again() -> None:
    rng = np.random.default_rng(0)

    def recording(hum_hz: float, n_windows: int) -> np.ndarray:
        phase = rng.uniform(0, 2 * np.pi, (n_windows, 1, 1)) + np.arange(640) / SFREQ * 2 * np.pi
        return np.sin(hum_hz * phase) + rng.standard_normal((n_windows, 1, 640))

    hums, coins = (5, 8, 11, 14, 17, 20), np.array([0, 1, 1, 0, 1, 0])
    train = np.concatenate([recording(hum, 10) for hum in hums])
    test = np.concatenate([recording(hum, 10) for hum in hums])
    model = reference.fingerprint(SFREQ).fit(train, np.repeat(coins, 10))
    assert (model.predict(test) == np.repeat(coins, 10)).mean() > 0.9


def test_hrv_logistic_outlives_windows_without_a_beat() -> None:
    X = np.zeros((12, 1, 640), np.float32)
    y = np.arange(12) % 2
    assert set(reference.hrv_logistic(SFREQ).fit(X, y).predict(X)) <= {0, 1}


def test_hrv_logistic_tells_slow_hearts_from_fast_ones() -> None:
    time = np.arange(round(10 * 128)) / 128
    rng = np.random.default_rng(0)

    def heart(rate: float) -> np.ndarray:
        beats = rng.uniform(0, 60 / rate) + np.arange(30) * 60 / rate
        waves = np.exp(-0.5 * ((time[:, None] - beats) / 0.012) ** 2)
        return waves.sum(1) + 0.01 * rng.standard_normal(len(time))

    rates = np.r_[rng.uniform(50, 65, 12), rng.uniform(85, 110, 12)]
    X = np.stack([heart(rate) for rate in rates]).astype(np.float32)[:, None]
    y = np.repeat([0, 1], 12)
    model = reference.hrv_logistic(128.0).fit(X[::2], y[::2])
    assert (model.predict(X[1::2]) == y[1::2]).all()
