"""Stretches of a signal that keep one value."""

from __future__ import annotations

import numpy as np


def held(row: np.ndarray, least: int) -> list[tuple[int, int]]:
    """Return first sample and end of each stretch of `least` samples or more that are all equal.

    Parameters
    ----------
    row
        ``(n_times,)``.
    least
        Two or more.
    """
    # Such a stretch holds two neighbours of this coarser grid: rarely are any two equal, and only
    # then every sample is looked at.
    coarse = row[:: max(1, least // 2)]
    if not (coarse[1:] == coarse[:-1]).any():
        return []
    edges = np.flatnonzero(row[1:] != row[:-1]) + 1
    bounds = np.concatenate([[0], edges, [len(row)]])
    long = np.flatnonzero(np.diff(bounds) >= least)
    return [(int(bounds[one]), int(bounds[one + 1])) for one in long]
