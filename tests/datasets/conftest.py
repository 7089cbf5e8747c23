"""Where the tests find real recordings, and tiny files in the official layouts."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def wesad_label() -> np.ndarray:
    """Return 20 s of label codes: every condition, meditation twice, codes to be ignored."""
    codes = [0, 1, 1, 0, 2, 5, 4, 6, 3, 3, 7, 4, 0]
    return np.repeat(codes, 1077)[:14000].astype(np.int32)


@pytest.fixture
def wesad_ecg() -> np.ndarray:
    """Return 20 s of noise in mV."""
    return np.random.default_rng(0).standard_normal(14000)
