"""Gates are trained many times faster on layers that are kept than through the backbone.

Claim: on a CPU, one step of training gate and head of `affectbook.models.nmoe.NMoE` (forward,
cross-entropy, backward, clipping at 1, Adam) on the kept layers of a frozen backbone takes less
time than the same step on the windows themselves, which go through the backbone without gradients
each time. An epoch is so many such steps, so that its ratio is that of a step; what it costs to
embed all windows once, about one epoch of the other, is in neither. Both take a batch at random out
of all windows. The backbone is ECG-FM in its small size: 12 layers of 128 features, random weights.

Goal, 32 windows of 12 leads and 2500 samples, one thread: 50 times as fast for each gate.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from harness import Candidate, Case, main
from torch import Tensor, nn

from affectbook.models.ecg_fm import ECGFM
from affectbook.models.nmoe import NMoE

N_OUTPUTS, N_CHANS, N_BATCHES = 5, 12, 4
SIZES = {"hidden": 128, "n_heads": 4, "ffn": 512, "conv": 64}
TINY = {"hidden": 32, "n_heads": 2, "ffn": 64, "conv": 16}
GATES = ("static", "dynamic")

Take = Callable[[Tensor], Tensor]


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, take: Take, labels: Tensor, batch: int
) -> None:
    """Train once on one batch, drawn from all windows."""
    drawn = torch.randperm(len(labels))[:batch]
    optimizer.zero_grad()
    F.cross_entropy(model(take(drawn)), labels[drawn]).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def logits(model: nn.Module, take: Take, batch: int) -> Tensor:
    """Return the logits in training mode; the same numbers are dropped for both."""
    torch.manual_seed(1)
    return model(take(torch.arange(batch)))


@torch.no_grad()
def through(backbone: ECGFM, windows: Tensor, drawn: Tensor) -> Tensor:
    """Return the pooled layers ``(b, 12, hidden)`` of the windows drawn."""
    return backbone.pooled(windows[drawn]).transpose(0, 1)


def ways(gate: str, batch: int, samples: int, sizes: dict[str, int]) -> dict[str, Candidate]:
    """Return both ways to the layers, under gates and heads with the same weights."""
    backbone, everyone = ECGFM(**sizes), torch.arange(N_BATCHES * batch)
    windows = torch.randn(len(everyone), N_CHANS, samples)
    kept = torch.cat([through(backbone, windows, drawn) for drawn in everyone.split(batch)])
    takes = {
        "ours": lambda drawn: kept[drawn],
        "through the backbone": partial(through, backbone, windows),
    }
    start = NMoE(n_outputs=N_OUTPUTS, hidden=sizes["hidden"], gate=gate).state_dict()
    candidates = {}
    for name, take in takes.items():
        model = NMoE(n_outputs=N_OUTPUTS, hidden=sizes["hidden"], gate=gate)
        model.load_state_dict(start)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
        train = partial(step, model, optimizer, take, everyone % N_OUTPUTS, batch)
        leaves = {f"{part} {i}": leaf for part, own in model.named_children()
                  for i, leaf in enumerate(own.parameters())}  # fmt: skip
        candidates[name] = Candidate(partial(logits, model, take, batch), leaves, train)
    return candidates


def cases(quick: bool) -> list[Case]:
    """Return both gates: with a tiny backbone, or that of the claim."""
    batch, samples, sizes = (4, 320, TINY) if quick else (32, 2500, SIZES)
    return [
        Case({"gate": gate, "batch": batch, "samples": samples},
             partial(ways, gate, batch, samples, sizes), ["step"], rounds=5)
        for gate in GATES
    ]  # fmt: skip


if __name__ == "__main__":
    main("nmoe_step", __doc__, cases)
