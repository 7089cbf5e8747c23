"""Weights and inputs of the reference outputs, rebuilt from names and seeds."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

REFERENCE = Path(__file__).parents[1] / "reference"


def published_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the weight that the reference outputs were computed with."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    normal = rng.standard_normal(shape)
    if name.endswith("A_log"):
        return np.log(1 + 15 * rng.random(shape))
    if name.endswith(("dt_bias", "dt_proj.bias")):
        return 0.5 * normal - 3
    if name.endswith("running_var"):
        return 0.5 + rng.random(shape)
    if name.endswith("running_mean"):
        return 0.1 * normal
    if name.endswith("num_batches_tracked"):
        return np.array(7)
    if len(shape) > 1:
        return normal / np.sqrt(np.prod(shape[1:]))
    return 0.1 * normal if name.endswith("bias") else 1 + 0.1 * normal


@pytest.fixture
def published_state() -> Callable[..., dict[str, torch.Tensor]]:
    """Return a function from a network's key to its published state_dict."""
    shapes = json.loads((REFERENCE / "shapes.json").read_text())

    def state(network: str, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
        weights = {name: published_weight(name, shape) for name, shape in shapes[network].items()}
        return {name: torch.as_tensor(value).to(dtype) for name, value in weights.items()}

    return state


@pytest.fixture
def reference() -> Callable[[str], torch.Tensor]:
    """Return a function from a key to a reference output."""
    outputs = np.load(REFERENCE / "outputs.npz")
    return lambda key: torch.as_tensor(outputs[key])


@pytest.fixture
def reference_input() -> Callable[..., torch.Tensor]:
    """Return a function from seed and shape to a reference input."""
    return lambda seed, *shape: torch.as_tensor(np.random.default_rng(seed).standard_normal(shape))


@pytest.fixture
def relative_error() -> Callable[[torch.Tensor, torch.Tensor], float]:
    """Return a function: the largest error, relative to the largest value expected."""

    def error(found: torch.Tensor, expected: torch.Tensor) -> float:
        worst = (found.detach().double() - expected.detach()).abs().max()
        return float(worst / expected.detach().abs().max())

    return error
