"""The selective scan of Mamba is faster on a CPU than a loop, and than a parallel scan.

Claim: on a CPU, `affectbook.models.scans.selective_scan` computes what the loop inside
transformers' MambaMixer and the parallel scan of mambapy compute, output and gradients, in less
time, from 4 steps to 1024. Only scans are timed, on the same tensors: the layers round them have
the same projections and the same convolution.

Goals, forward and backward, 16 states, one thread: against the loop 1.7 times as fast at 4 steps,
2.5 times at 14, 4 times at 32 and 62; against mambapy twice at 14 to 62 steps, 3.5 times from 256.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from harness import Candidate, Case, main

from affectbook.models.scans import selective_recurrence, selective_scan

SHAPES = [(32, 128, 4), (32, 128, 14), (32, 256, 32), (32, 256, 62), (8, 256, 256), (1, 256, 1024)]


def scan_of(batch: int, channels: int, length: int, d_state: int) -> dict[str, Candidate]:
    """Return our scan and the alternatives on the same tensors."""
    from alternatives import loop, loop_with_mambapy, pscan  # here: it takes seconds to import

    tensors = {
        "u": torch.randn(batch, length, channels),
        "delta": F.softplus(torch.randn(batch, length, channels) - 4),
        "A": -torch.arange(1.0, d_state + 1).repeat(channels, 1),
        "B": torch.randn(batch, length, d_state),
        "C": torch.randn(batch, length, d_state),
        "D": torch.ones(channels),
    }
    for tensor in tensors.values():
        tensor.requires_grad_()
    found = {
        "ours": selective_scan,
        "transformers, loop": loop,
        "transformers, mambapy": loop_with_mambapy,
        "mambapy": pscan,
        "step by step": selective_recurrence,
    }
    return {
        name: Candidate(partial(scan, *tensors.values()), tensors) for name, scan in found.items()
    }


def cases(quick: bool) -> list[Case]:
    """Return the shapes: small ones, or those of the claim."""
    found = []
    for batch, channels, length in [(4, 32, 14)] if quick else SHAPES:
        shape = {"batch": batch, "channels": channels, "length": length}
        build = partial(scan_of, batch, channels, length, d_state=16)
        # A backward pass through the loop takes time as the square of the length.
        found.append(Case(shape, build, rounds=5 if length < 256 else 3))
    return found


if __name__ == "__main__":
    main("mamba", __doc__, cases)
