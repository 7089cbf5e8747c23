"""The Mamba-2 layer trains several times faster than transformers' PyTorch path, in less memory.

Claim: on a CPU, `affectbook.models.ssm.Mamba2` computes what transformers' Mamba2Mixer computes
with the same weights, output and gradients, in less time and memory.

Goals, forward and backward, d_model 256, d_state 128, headdim 64, one thread, against transformers
in chunks of 64: 5 times as fast at 32 x 1024 (2.8 times where malloc keeps memory), 3 times at
32 x 256; at most a third of its memory at 32 x 1024; at most twice the time that the layer's
arithmetic takes at the speed of the machine's fastest matrix product.
"""

from __future__ import annotations

from functools import partial

import torch
from harness import Candidate, Case, main

from affectbook.models.ssm import Mamba2

D_MODEL, D_STATE, HEADDIM, CHUNK = 256, 128, 64, 64


def flops_per_token(
    d_model: int = D_MODEL,
    d_state: int = D_STATE,
    expand: int = 2,
    headdim: int = HEADDIM,
    ngroups: int = 1,
    d_conv: int = 4,
    chunk: int = CHUNK,
) -> dict[str, int]:
    """Return the floating-point operations of a layer's matrix products, per token.

    A product of ``(m, k)`` and ``(k, n)`` counts ``2 m k n``. The backward pass has two products
    for each one of the forward pass, and computes the convolution and the chunks' states again.
    """
    d_inner, d_bc = expand * d_model, ngroups * d_state
    conv = 2 * d_conv * (d_inner + 2 * d_bc)
    states = 2 * d_state * d_inner
    projections = 2 * d_model * (2 * d_inner + 2 * d_bc + d_inner // headdim)
    projections += 2 * d_inner * d_model
    within = 2 * chunk * d_bc + 2 * chunk * d_inner
    forward = projections + conv + within + 2 * states
    return {"forward": forward, "forward+backward": 3 * forward + conv + states}


def layers(batch: int, length: int, step_by_step: bool = False) -> dict[str, Candidate]:
    """Return our layer and the alternatives, all with the same weights and tokens."""
    from alternatives import StepByStep, mixer  # here: it takes seconds to import

    ours = Mamba2(D_MODEL, d_state=D_STATE, headdim=HEADDIM, chunk_size=CHUNK)
    u = torch.randn(batch, length, D_MODEL, requires_grad=True)
    found = {"ours": ours, f"transformers, chunk {CHUNK}": mixer(ours, CHUNK)}
    if step_by_step:
        found["step by step"] = StepByStep(ours)
    else:
        found["transformers, chunk 256"] = mixer(ours, 256)
    return {
        name: Candidate(partial(layer, u), {"input": u, **dict(layer.named_parameters())})
        for name, layer in found.items()
    }


def cases(quick: bool) -> list[Case]:
    """Return the shapes: small ones, or those of the claim."""
    shapes = [(2, 256)] if quick else [(32, 256), (32, 1024), (8, 2048)]
    found = []
    for batch, length in shapes:
        count = flops_per_token()
        gflop = {name: flops * batch * length / 1e9 for name, flops in count.items()}
        build = partial(layers, batch, length)
        peak = (batch, length) == (32, 1024)
        shape = {"batch": batch, "length": length}
        rounds = 5 if batch * length < 10_000 else 3
        found.append(Case(shape, build, rounds=rounds, gflop=gflop, peak=peak))
    # Autograd keeps a state of 262 kB per token for it, several times over: small sizes only.
    slow = {"batch": 2, "length": 64}
    found.append(Case(slow, partial(layers, 2, 64, step_by_step=True)))
    return found


if __name__ == "__main__":
    main("mamba2", __doc__, cases)
