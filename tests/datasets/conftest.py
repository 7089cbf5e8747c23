"""Where the tests find real recordings, and tiny files in the official layouts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affectbook.files import project_root


@pytest.fixture
def real() -> Callable[[str], Path]:
    """Return the folder of a real data set, or skip the test."""

    def find(name: str) -> Path:
        places = [os.environ.get("AFFECTBOOK_DATA"), project_root().parent / "shared" / "data"]
        for place in filter(None, places):
            base = Path(place) if Path(place).is_absolute() else project_root() / place
            if (base / name).is_dir():
                return base / name
        pytest.skip(f"no real {name} in $AFFECTBOOK_DATA or beside the project")

    return find


@pytest.fixture
def wesad_label() -> np.ndarray:
    """Return 20 s of label codes: every condition, meditation twice, codes to be ignored."""
    codes = [0, 1, 1, 0, 2, 5, 4, 6, 3, 3, 7, 4, 0]
    return np.repeat(codes, 1077)[:14000].astype(np.int32)


@pytest.fixture
def wesad_ecg() -> np.ndarray:
    """Return 20 s of noise in mV."""
    return np.random.default_rng(0).standard_normal(14000)
