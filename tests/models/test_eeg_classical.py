from __future__ import annotations

import warnings

import numpy as np
from sklearn.base import clone

from affectbook.models.eeg_classical import de_svm


def alpha(n: int, strong: np.ndarray, seed: int) -> np.ndarray:
    """Return windows ``(n, 4, 128)`` of noise, with a 10 Hz rhythm in those that are strong."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (n, 4, 1))
    rhythm = np.sin(2 * np.pi * 10 * np.arange(128) / 128 + phase)
    return rng.standard_normal((n, 4, 128)) + 0.5 * strong[:, None, None] * rhythm


def test_learns_a_rhythm_from_few_windows_of_one_class_and_many_of_the_other() -> None:
    y = (np.arange(200) % 20 == 0).astype(int)
    model = clone(de_svm(128.0, seed=3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(alpha(200, y, 0), y)
    truth = np.arange(100) % 2
    found = model.predict(alpha(100, truth, 1))
    assert (found == truth).mean() > 0.8
    assert 0.35 < found.mean() < 0.65, "the rare class weighs as much as the other"
    assert model[-1].random_state == 3


def test_finds_nothing_in_labels_that_mean_nothing() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((400, 4, 128)), rng.integers(0, 2, 400)
    score = (de_svm(128.0).fit(X[:200], y[:200]).predict(X[200:]) == y[200:]).mean()
    assert 0.38 < score < 0.62
