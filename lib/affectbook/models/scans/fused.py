"""The kernels of mamba-ssm, where they and a CUDA device are present.

They are an extra (``requirements-gpu.txt``): the package cannot be imported without CUDA. The
functions take and return what their namesakes in plain PyTorch do.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor

from affectbook.errors import ParameterError

BACKENDS = ("auto", "torch", "fused")


def wanted(backend: str, x: Tensor) -> bool:
    """Return whether a layer should hand `x` to the fused kernels.

    Parameters
    ----------
    backend
        ``"torch"``: plain PyTorch. ``"fused"``: the kernels of mamba-ssm. ``"auto"``: these where
        they are present and `x` is a float32 tensor on a CUDA device, else plain PyTorch.
    x
        Input of the layer.

    Raises
    ------
    ParameterError
        If `backend` has another value, or asks for kernels that cannot be used; the message says
        why.
    """
    check(backend)
    if backend == "torch":
        return False
    reason = missing()
    if reason is None and x.device.type != "cuda":
        reason = f"the tokens are on the device {x.device.type!r}, the kernels need CUDA"
    if reason is None and x.dtype != torch.float32:
        reason = f"the tokens are {x.dtype}, the kernels take float32"
    if backend == "fused" and reason is not None:
        raise ParameterError(f'backend "fused": {reason}; take "auto" or "torch"')
    return reason is None


def check(backend: str) -> None:
    """Raise a ParameterError if `backend` is none of :data:`BACKENDS`."""
    if backend not in BACKENDS:
        raise ParameterError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")


@cache
def missing() -> str | None:
    """Return why the kernels cannot be used on this machine, or None if they can."""
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    try:
        import_module("mamba_ssm.ops.triton.ssd_combined")
        import_module("mamba_ssm.ops.selective_scan_interface")
    except Exception as error:  # a half-built package fails in many ways, and none is ours
        return f"mamba-ssm cannot be imported ({type(error).__name__}: {error})"
    return None


def name(device: str) -> str:
    """Return the scan that ``backend="auto"`` takes on a device: torch, or mamba-ssm's version."""
    if not device.startswith("cuda") or missing() is not None:
        return "torch"
    try:
        return f"mamba-ssm {version('mamba-ssm')}"
    except PackageNotFoundError:
        return "mamba-ssm of unknown version"


def ssd(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, chunk_size: int = 64
) -> Tensor:
    """Scan of Mamba-2 by mamba-ssm; arguments as :func:`affectbook.models.scans.ssd`."""
    kernels = import_module("mamba_ssm.ops.triton.ssd_combined")
    return kernels.mamba_chunk_scan_combined(x, dt, A, B, C, chunk_size, D=D)


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Scan of Mamba-1 by mamba-ssm; as :func:`affectbook.models.scans.selective_scan`."""
    kernels = import_module("mamba_ssm.ops.selective_scan_interface")
    u, delta, B, C = (t.transpose(1, 2).contiguous() for t in (u, delta, B, C))  # time comes last
    return kernels.selective_scan_fn(u, delta, A, B, C, D).transpose(1, 2)
