"""Matrix products through whichever of torch's two CPU libraries is faster on this machine.

On a CPU, torch hands ``F.linear`` and ``torch.bmm`` to its BLAS (mostly MKL), and convolutions
to oneDNN. On some processors one of them runs at less than half the speed of the other, on others
it is the reverse. A convolution of width one *is* a matrix product, so plain PyTorch has both ways.
The BLAS is taken unless the convolution wins clearly; both are timed once in a process, at the
first product. Results differ by rounding only. ``AFFECTBOOK_PRODUCTS=blas`` or ``=onednn`` in the
environment decides without timing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from affectbook.errors import ParameterError

LIBRARIES = ("blas", "onednn")
VARIABLE = "AFFECTBOOK_PRODUCTS"
_CHOSEN: dict[str, str] = {}  # kind of product to library, for the life of the process
_CLEARLY = 1.3  # a smaller gain is within the noise of the timing, which must come out the same way


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias`` for ``x (b, l, i)``, ``weight (o, i)``: ``(b, l, o)``."""
    if _may_choose(x) and library("linear") == "onednn":
        return _linear_by_convolution(x, weight, bias)
    return F.linear(x, weight, bias)


def bmm(a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
    """Return ``a @ b + plus`` for ``a (z, i, j)``, ``b (z, j, k)``, ``plus (z, i, k)``."""
    if _may_choose(a) and library("bmm") == "onednn":
        product = _bmm_by_convolution(a, b)
        return product if plus is None else product.add_(plus)
    return torch.bmm(a, b) if plus is None else torch.baddbmm(plus, a, b)


def library(kind: str) -> str:
    """Return which of :data:`LIBRARIES` does products of a kind, ``"linear"`` or ``"bmm"``.

    Raises
    ------
    ParameterError
        If the environment variable asks for another library.
    """
    if kind not in _CHOSEN:
        asked = os.environ.get(VARIABLE) or None
        if asked is not None and asked not in LIBRARIES:
            raise ParameterError(f"{VARIABLE} must be one of {LIBRARIES}, not {asked!r}")
        _CHOSEN[kind] = asked or _faster(kind)
    return _CHOSEN[kind]


def _faster(kind: str) -> str:
    """Time both libraries on a product as large as those of a Mamba-2 layer."""
    if not torch.backends.mkldnn.is_available():
        return "blas"
    if kind == "linear":
        shapes, ways = ((1, 1024, 256), (1024, 256)), (F.linear, _linear_by_convolution)
    else:
        shapes, ways = ((16, 64, 128), (16, 128, 512)), (torch.bmm, _bmm_by_convolution)
    operands = tuple(torch.ones(shape, dtype=torch.float32, device="cpu") for shape in shapes)
    with torch.autocast("cpu", enabled=False):
        by_blas, by_convolution = _best_times(ways, operands)
    return "onednn" if by_blas > _CLEARLY * by_convolution else "blas"


def chosen() -> dict[str, str]:
    """Return what :func:`library` decided in this process: kind of product to library."""
    return dict(_CHOSEN)


def _may_choose(x: Tensor) -> bool:
    """Return whether there are two ways: oneDNN has float32 on the CPU only."""
    return x.device.type == "cpu" and x.dtype == torch.float32


def _linear_by_convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    # (b, l, i) is an image of height l and width 1 with its channels last: nothing is copied.
    image = x.transpose(1, 2).unsqueeze(-1)  # b i l 1
    return F.conv2d(image, weight[:, :, None, None], bias).squeeze(-1).transpose(1, 2)


def _bmm_by_convolution(a: Tensor, b: Tensor) -> Tensor:
    # Each of the z groups of channels has its own weights: those of group z are a[z].
    z, i, j = a.shape
    k = b.shape[2]
    return F.conv1d(b.reshape(1, z * j, k), a.reshape(z * i, j, 1), groups=z).view(z, i, k)


def _best_times(
    ways: tuple[Callable[[Tensor, Tensor], Tensor], ...], operands: tuple[Tensor, Tensor]
) -> list[float]:
    """Return the shortest of five times of each way, taken in turns."""
    times: list[list[float]] = [[] for _ in ways]
    with torch.no_grad():
        for _ in range(6):
            for way, own in zip(ways, times, strict=True):
                start = time.perf_counter()
                way(*operands)
                own.append(time.perf_counter() - start)
    return [min(own[1:]) for own in times]
