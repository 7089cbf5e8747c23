"""Made-up layers of a backbone for which it is known which gate is right.

Letters: n windows, l layers, h features.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from affectbook.models.nmoe import N_LAYERS, NMoE

_HIDDEN = 6
GATE_LR, LR = 0.1, 0.02


class Toy(NamedTuple):
    """Layers with labels.

    Attributes
    ----------
    x : torch.Tensor
        ``(n, l, h)``.
    y : torch.Tensor
        0 or 1, ``(n,)``.
    right : torch.Tensor
        The layer that tells the label, counted from 1, ``(n,)``.
    """

    x: Tensor
    y: Tensor
    right: Tensor


def one_layer_tells(layer: int, n: int = 400, seed: int = 0) -> Toy:
    """Return layers of which one, counted from 1, carries the label and the others are noise."""
    y = torch.arange(n) % 2
    x = _noise(seed, n, N_LAYERS, _HIDDEN)
    x[:, layer - 1, 0] += 3.0 * (2 * y - 1)
    return Toy(x, y, torch.full((n,), layer))


def by_window(one: int = 4, other: int = 9, n: int = 600, seed: int = 0) -> Toy:
    """Return layers of which one tells the label of some windows and the other that of the rest.

    Each says the opposite where the other is right, so that no fixed mixture is right about all
    windows. Which of the two it is stands in the last layer.
    """
    y, rng = torch.arange(n) % 2, np.random.default_rng(seed)
    second = torch.as_tensor(rng.random(n) < 0.5)
    x = 0.5 * _noise(seed + 1, n, N_LAYERS, _HIDDEN)
    for layer, tells in ((one, ~second), (other, second)):
        x[:, layer - 1, 0] += 2.0 * (2 * y - 1) * (2 * tells.float() - 1)
    x[:, -1, 1] += 3.0 * (2 * second.float() - 1)
    return Toy(x, y, torch.where(second, other, one))


def fitted(gate: str, toy: Toy, steps: int = 150, seed: int = 0) -> tuple[NMoE, float]:
    """Train gate and linear head on the first half; return them, and the accuracy on the second."""
    half = len(toy.y) // 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = NMoE(n_outputs=2, hidden=toy.x.shape[-1], gate=gate, widths=()).train()
    own = [{"params": found.head.parameters()},
           {"params": found.gate.parameters(), "lr": GATE_LR}]  # fmt: skip
    optimizer = torch.optim.Adam(own, lr=LR)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(found(toy.x[:half]), toy.y[:half]).backward()
        optimizer.step()
    with torch.no_grad():
        said = found.eval()(toy.x[half:]).argmax(1)
    return found, (said == toy.y[half:]).float().mean().item()


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape, np.float32))
