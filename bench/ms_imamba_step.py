"""A training step of MS-iMamba is several times faster than window by window with transformers.

Claim: on a CPU, one step (forward, cross-entropy, backward, clipping at 1, AdamW) of
`affectbook.models.ms_imamba.MSiMamba` takes less time than that of the same network with
transformers' MambaMixer and a loop over the windows and their own periods, six convolutions for
each Inception. A third network has our foldings and transformers' scan: what it takes beyond ours
is the scan's share of the lead.

Goal, 128 windows of four channels and 128 samples, one thread: 3 times as fast.
"""

from __future__ import annotations

from functools import partial

import torch
from harness import Candidate, Case, main
from hcmnet_step import step

from affectbook.models.ms_imamba import MSiMamba

N_CHANS, N_OUTPUTS = 4, 2


def networks(batch: int, samples: int, **sizes: int) -> dict[str, Candidate]:
    """Return our network and the others, with the same weights and windows."""
    from alternatives import scan_replaced, window_by_window  # here: it takes seconds to import

    ours = MSiMamba(N_CHANS, samples, N_OUTPUTS, **sizes)
    windows, labels = torch.randn(batch, N_CHANS, samples), torch.arange(batch) % N_OUTPUTS
    found = {
        "ours": ours,
        "transformers, window by window": window_by_window(scan_replaced(ours)),
        "transformers, our foldings": scan_replaced(ours),
    }
    candidates = {}
    for name, model in found.items():
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        train = partial(step, model, optimizer, windows, labels)
        weights = dict(model.named_parameters())
        candidates[name] = Candidate(partial(model, windows), weights, step=train)
    return candidates


def cases(quick: bool) -> list[Case]:
    """Return the shapes: a small one, or that of the claim."""
    batch, samples = (4, 32) if quick else (128, 128)
    sizes = {"d_model": 32, "hidden": 4} if quick else {}
    shape = {"batch": batch, "channels": N_CHANS, "samples": samples}
    build = partial(networks, batch, samples, **sizes)
    # Gradients are sums over the windows, in another order; logits differ by far less.
    tolerance = 1e-5 if quick else 1e-4
    return [Case(shape, build, ["step"], rounds=5, peak=not quick, tolerance=tolerance)]


if __name__ == "__main__":
    main("ms_imamba_step", __doc__, cases)
