"""A server on this machine, patience for it, and real recordings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tiny_server import Server, serving

from affectbook.obtain._download import Patience


@pytest.fixture
def server() -> Iterator[Server]:
    """Return a server with three files of 300 kB, 2 kB and 10 bytes."""
    rng = np.random.default_rng(0)
    sizes = {"drive05.dat": 300_000, "drive05.hea": 2_000, "RECORDS": 10}
    with serving({name: rng.bytes(size) for name, size in sizes.items()}) as served:
        yield served


@pytest.fixture
def quick() -> Patience:
    """Return patience for a server on this machine."""
    return Patience(retries=2, wait_s=0.0, connect_s=2.0, read_s=2.0)
