from __future__ import annotations

import numpy as np
import pytest

from affectbook.errors import ParameterError
from affectbook.models.scaling import WindowScaler


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
        WindowScaler("per_subject").fit(windows)
