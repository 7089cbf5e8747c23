"""Matrix products through one of torch's two CPU libraries: its BLAS, or oneDNN.

On a CPU, torch hands ``F.linear`` and ``torch.bmm`` to its BLAS (mostly MKL), and convolutions
to oneDNN. On some processors one of them runs at less than half the speed of the other, on others
it is the reverse. A convolution of width one *is* a matrix product, so plain PyTorch has both ways.
The BLAS is taken unless ``AFFECTBOOK_PRODUCTS=onednn`` stands in the environment. Results differ by
rounding, which a training makes larger; so the choice is never made by timing, which would come
out one way today and the other tomorrow.
"""

from __future__ import annotations

import os

import torch
import torch.nn.functional as F
from torch import Tensor

from affectbook.errors import ParameterError

LIBRARIES = ("blas", "onednn")
VARIABLE = "AFFECTBOOK_PRODUCTS"


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias`` for ``x (b, l, i)``, ``weight (o, i)``: ``(b, l, o)``."""
    if _may_choose(x) and library() == "onednn":
        return _linear_by_convolution(x, weight, bias)
    return F.linear(x, weight, bias)


def bmm(a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
    """Return ``a @ b + plus`` for ``a (z, i, j)``, ``b (z, j, k)``, ``plus (z, i, k)``."""
    if _may_choose(a) and library() == "onednn":
        product = _bmm_by_convolution(a, b)
        return product if plus is None else product.add_(plus)
    return torch.bmm(a, b) if plus is None else torch.baddbmm(plus, a, b)


def library() -> str:
    """Return which of :data:`LIBRARIES` does the products.

    Raises
    ------
    ParameterError
        If the environment variable asks for another library.
    """
    asked = os.environ.get(VARIABLE) or LIBRARIES[0]
    if asked not in LIBRARIES:
        raise ParameterError(f"{VARIABLE} must be one of {LIBRARIES}, not {asked!r}")
    return asked


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

