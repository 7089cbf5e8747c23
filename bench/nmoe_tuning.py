"""What it costs to train through a backbone: frozen, with adapters, or all of it.

Claim: on a CPU, one step of training `affectbook.models.nmoe_whole.WholeNMoE` (forward,
cross-entropy, backward, clipping at 1, Adam on what is trained) takes least time where the layers
of a frozen backbone are kept, more through the frozen backbone, more with adapters (LoRA, rank 8,
on queries and values), and most if all weights are trained. All four begin with the same logits and
the same gradients of gate and head. How many parameters each trains is in its rows. What it costs
to embed all windows once is in none. Each takes a batch at random out of all windows. The backbone
is ECG-FM in the size that this book pretrains: 12 layers of 96 features, 1.45 M parameters, here
with random weights.

Goals, 16 windows of one lead and 2500 samples, one thread: a step through the frozen backbone takes
at most 0.4 times, one with adapters at most 0.8 times as long as one that trains all. By arithmetic
it would be a third and two thirds: forward, gradients of tokens, and gradients of weights are equal
parts, of which the first has one and the second two.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from harness import Candidate, Case, main
from torch import Tensor, nn

from affectbook import benchmarks
from affectbook.models.nmoe_whole import FROZEN, FULL, LORA, WholeNMoE

N_OUTPUTS, N_BATCHES = 5, 4
SIZES = {"hidden": 96, "n_layers": 12, "n_heads": 4, "ffn": 384, "conv": 64}
TINY = {"hidden": 32, "n_layers": 3, "n_heads": 2, "ffn": 64, "conv": 16}
TUNED = {benchmarks.THROUGH: FROZEN, benchmarks.ADAPTERS: LORA, benchmarks.ALL_WEIGHTS: FULL}

Take = Callable[[Tensor], Tensor]


def whole(tuning: str, samples: int, sizes: dict[str, int]) -> WholeNMoE:
    """Return the network, with the same weights for each way of tuning."""
    torch.manual_seed(0)
    told = {"n_times": samples, "n_outputs": N_OUTPUTS, "sizes": tuple(sizes.items())}
    return WholeNMoE(tuning=tuning, **told)


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, take: Take, labels: Tensor, batch: int
) -> None:
    """Train once on one batch, drawn from all windows."""
    drawn = torch.randperm(len(labels))[:batch]
    optimizer.zero_grad()
    F.cross_entropy(model(take(drawn)), labels[drawn]).backward()
    nn.utils.clip_grad_norm_([one for one in model.parameters() if one.requires_grad], 1.0)
    optimizer.step()


def logits(model: nn.Module, take: Take, batch: int) -> Tensor:
    """Return the logits in training mode; the same numbers are dropped for all."""
    torch.manual_seed(1)
    return model(take(torch.arange(batch)))


def ways(batch: int, samples: int, sizes: dict[str, int]) -> dict[str, Candidate]:
    """Return the gate on what is kept, and the three ways through the backbone."""
    windows = torch.randn(N_BATCHES * batch, 1, samples)
    frozen = whole(FROZEN, samples, sizes).eval()
    with torch.no_grad():
        kept = torch.cat([frozen.embeddings(part) for part in windows.split(batch)])
    models = {benchmarks.OURS: (frozen.mixture.train(), kept.__getitem__)}
    models |= {name: (whole(tuning, samples, sizes), windows.__getitem__)
               for name, tuning in TUNED.items()}  # fmt: skip
    labels, candidates = torch.arange(len(windows)) % N_OUTPUTS, {}
    for name, (model, take) in models.items():
        trained = [one for one in model.parameters() if one.requires_grad]
        train = partial(step, model, torch.optim.Adam(trained, lr=1e-4), take, labels, batch)
        leaves = dict(getattr(model, "mixture", model).named_parameters())
        counted = {benchmarks.TRAINED: sum(one.numel() for one in trained)}
        candidates[name] = Candidate(partial(logits, model, take, batch), leaves, train, counted)
    return candidates


def cases(quick: bool) -> list[Case]:
    """Return the one shape: with a tiny backbone, or that of the claim."""
    batch, samples, sizes = (4, 320, TINY) if quick else (16, 2500, SIZES)
    build = partial(ways, batch, samples, sizes)
    return [Case({"batch": batch, "samples": samples}, build, ["step"], rounds=5)]


if __name__ == "__main__":
    main("nmoe_tuning", __doc__, cases)
