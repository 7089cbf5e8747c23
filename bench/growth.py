"""The time of both layers grows in proportion to length and batch, and slower with states.

Claim: on a CPU, forward and backward, the scan of Mamba and the layer of Mamba-2 take time in
proportion to the length of the sequence and to the batch. The exponent is the slope of a line
through log time against log size, fitted by least squares; every point of it is kept.

Goal: an exponent of at most 1.1 with length, Mamba from 64 to 1024 steps, Mamba-2 from 64 to 2048.
"""

from __future__ import annotations

from functools import partial

import torch
from harness import Candidate, Case, main
from mamba import scan_of

from affectbook.models.ssm import Mamba2

CHANNELS, D_MODEL = 128, 256
FIXED = {"mamba": {"batch": 1, "length": 256, "states": 16},
         "mamba2": {"batch": 4, "length": 256, "states": 128}}  # fmt: skip
VARIED = {
    "mamba": {
        "length": (64, 128, 256, 512, 1024),
        "batch": (1, 2, 4, 8, 16),
        "states": (4, 8, 16, 32, 64),
    },
    "mamba2": {
        "length": (64, 128, 256, 512, 1024, 2048),
        "batch": (1, 2, 4, 8, 16),
        "states": (16, 32, 64, 128, 256),
    },
}


def scans_at(vary: str, batch: int, length: int, states: int) -> dict[str, Candidate]:
    """Return the selective scans; the loop, which is slow, takes part only where length varies."""
    names = ("ours", "mambapy", *(["transformers, loop"] if vary == "length" else []))
    found = scan_of(batch, CHANNELS, length, states)
    return {name: found[name] for name in names}


def layers_at(batch: int, length: int, states: int) -> dict[str, Candidate]:
    """Return our Mamba-2 layer and that of transformers."""
    from alternatives import mixer  # here: it takes seconds to import

    ours = Mamba2(D_MODEL, d_state=states)
    u = torch.randn(batch, length, D_MODEL, requires_grad=True)
    found = {"ours": ours, "transformers, chunk 64": mixer(ours, 64)}
    return {
        name: Candidate(partial(layer, u), {"input": u, **dict(layer.named_parameters())})
        for name, layer in found.items()
    }


def cases(quick: bool) -> list[Case]:
    """Return one case per layer, varied size and value; quickly, two lengths of each layer."""
    found = []
    for layer, varied in VARIED.items():
        for vary, values in list(varied.items())[: 1 if quick else None]:
            for value in values[:2] if quick else values:
                sizes = FIXED[layer] | {vary: value}
                build = partial(
                    layers_at if layer == "mamba2" else partial(scans_at, vary), **sizes
                )
                shape = {"layer": layer, "vary": vary, **sizes}
                found.append(Case(shape, partial(build, **sizes), ["forward+backward"], rounds=3))
    return found


if __name__ == "__main__":
    rows = main("growth", __doc__, cases)
    if rows is not None:
        from affectbook import benchmarks

        print(benchmarks.growth(rows).to_string(index=False))
