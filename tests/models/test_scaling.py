from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from affectbook.errors import ParameterError
from affectbook.models.scaling import WindowScaler, by_subject, of_subjects


@pytest.fixture
def windows() -> np.ndarray:
    scale = np.array([1.0, 100.0]).reshape(1, 2, 1)
    return (np.random.default_rng(0).normal(5, scale, (50, 2, 8))).astype(np.float32)


def test_per_index_pools_the_leads_as_rows(windows) -> None:
    rows = np.concatenate([windows[:, 0], windows[:, 1]])
    upper, lower = np.percentile(rows, [75, 25], axis=0)
    expected = (windows - np.median(rows, axis=0)) / (upper - lower)
    found = WindowScaler("per_index").fit_transform(windows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_global_has_one_statistic_per_lead(windows) -> None:
    found = WindowScaler("global").fit_transform(windows)
    for lead in (0, 1):
        values = found[:, lead].ravel()
        assert abs(np.median(values)) < 1e-6
        assert abs(np.subtract(*np.percentile(values, [75, 25])) - 1) < 1e-6


def test_none_changes_nothing(windows) -> None:
    np.testing.assert_array_equal(WindowScaler("none").fit_transform(windows), windows)


def test_constant_samples_do_not_divide_by_zero() -> None:
    assert np.isfinite(WindowScaler("per_index").fit_transform(np.ones((4, 1, 3)))).all()


def test_unknown_kind_is_refused(windows) -> None:
    with pytest.raises(ParameterError, match="per_index"):
        WindowScaler("per_person").fit(windows)


def test_each_subject_gets_its_own_median_and_range() -> None:
    rng = np.random.default_rng(0)
    subjects = np.repeat(["a", "b"], 20)
    X = rng.standard_normal((40, 2, 50)) * np.where(subjects == "a", 1, 7)[:, None, None] + 3
    scaled = of_subjects(X, subjects)
    assert scaled.dtype == np.float32 and scaled.shape == X.shape
    for subject in "ab":
        own = scaled[subjects == subject]
        assert np.allclose(np.median(own, axis=(0, 2)), 0, atol=1e-6)
        low, high = np.percentile(own, [25, 75], axis=(0, 2))
        assert np.allclose(high - low, 1, atol=1e-5)
    assert np.array_equal(of_subjects(X[::-1], subjects[::-1])[::-1], scaled)


def test_windows_scaled_by_subject_are_left_alone_by_the_scaler_itself() -> None:
    X = np.random.default_rng(0).standard_normal((4, 1, 8)).astype(np.float32)
    assert np.array_equal(WindowScaler("per_subject").fit_transform(X), X)
    assert by_subject(SimpleNamespace(scaler=WindowScaler("per_subject")))
    assert not by_subject(SimpleNamespace(scaler=WindowScaler())) and not by_subject(object())
