"""The Mamba and Mamba-2 layers in plain PyTorch, for any device.

Sources: A. Gu and T. Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023,
section 3 and fig. 3; T. Dao and A. Gu, "Transformers are SSMs", ICML 2024, section 7 and fig. 6.
Names, shapes and initial values of the weights are those of ``mamba_ssm.Mamba`` and ``Mamba2``, so
that theirs load; the constructors take the options of theirs that are named here. `Mamba2` reads
the weights of its submodules itself: a hook on one of these, or a wrapper round it, has no effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from affectbook.errors import ParameterError
from affectbook.models.convolutions import causal_depthwise
from affectbook.models.products import linear
from affectbook.models.scans import fused, selective_scan, ssd

BLOCK_STEPS = 1024
"""Time steps of a batch that a layer handles at once on a CPU: its arrays then fit the caches."""

KEPT_NUMBERS = 2**25
"""Numbers that `in_proj` may make of a batch, 128 MB, for all that follows to be kept as well."""


class Mamba(nn.Module):
    """Selective state-space layer with decays of its own for each channel and state (Mamba-1).

    Parameters
    ----------
    d_model
        Features of a token, ``d_model``.
    d_state
        State dimension of a channel, ``n``.
    d_conv
        Taps of the causal depth-wise convolution.
    expand
        Channels per feature: ``d = expand * d_model``.
    dt_rank
        Features from which the step sizes of all channels are made; ``"auto"`` takes one for every
        16 features of a token, rounded up.
    dt_min, dt_max
        Range of the initial step sizes, which are drawn log-uniformly.
    dt_init
        ``"random"`` draws the weights of the step sizes uniformly between plus and minus
        ``dt_scale / sqrt(dt_rank)``, ``"constant"`` sets all of them to the upper end.
    dt_scale
        Factor of those weights.
    dt_init_floor
        Smallest initial step size, whatever `dt_min` is.
    conv_bias
        Whether the convolution has a bias.
    bias
        Whether the projections into and out of the layer have one.
    backend
        ``"auto"``, ``"torch"`` or ``"fused"``, see :func:`affectbook.models.scans.fused.wanted`.

    Raises
    ------
    ParameterError
        If a size is below 1, a range is not one of positive numbers, or `dt_init` or `backend` is
        unknown; by `forward`, if tokens have another shape, or the fused kernels are asked for and
        are not there.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | str = "auto",
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init: str = "random",
        dt_scale: float = 1.0,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        fused.check(backend)
        _check_sizes("Mamba", d_model=d_model, d_state=d_state, d_conv=d_conv, expand=expand)
        dt_rank = math.ceil(d_model / 16) if dt_rank == "auto" else dt_rank
        _check_sizes("Mamba", dt_rank=dt_rank)
        _check_ranges("Mamba", dt_init_floor=(dt_init_floor,), dt_min_to_max=(dt_min, dt_max))
        d_inner = expand * d_model
        self.d_model, self.d_inner, self.d_state, self.dt_rank = d_model, d_inner, d_state, dt_rank
        self.backend = backend

        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=bias)
        self.conv1d = nn.Conv1d(
            d_inner, d_inner, d_conv, groups=d_inner, padding=d_conv - 1, bias=conv_bias
        )
        self.x_proj = nn.Linear(d_inner, dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(dt_rank, d_inner)
        with torch.no_grad():
            _draw_dt_weight(self.dt_proj.weight, dt_init, dt_scale / math.sqrt(dt_rank))
            self.dt_proj.bias.copy_(_initial_dt_bias(d_inner, dt_min, dt_max, dt_init_floor))
        self.A_log = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(d_inner, 1))  # d n
        self.D = nn.Parameter(torch.ones(d_inner))
        self.out_proj = nn.Linear(d_inner, d_model, bias=bias)
        # The published mark, for optimisers that look for it: decay would slow the dynamics down.
        self.A_log._no_weight_decay = self.D._no_weight_decay = True

    def forward(self, u: Tensor) -> Tensor:
        """Map tokens ``(b, l, d_model)`` to ``(b, l, d_model)``, each from itself and the past."""
        _check_tokens("Mamba", u, self.d_model)
        x, z = self.in_proj(u).chunk(2, dim=-1)  # b l d, both
        x = self.conv1d(x.transpose(1, 2))[..., : u.shape[1]].transpose(1, 2)
        x = F.silu(x)
        dt, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        delta = F.softplus(self.dt_proj(dt))  # b l d
        scan = fused.selective_scan if fused.wanted(self.backend, u) else selective_scan
        y = scan(x, delta, -self.A_log.exp(), B, C, self.D)
        return self.out_proj(y * F.silu(z))


class RMSNormGated(nn.Module):
    """Gate, then divide by the root mean square over each group of features, then scale.

    Parameters
    ----------
    d_inner
        Number of features, ``d``.
    ngroups
        Groups of features that are normalised separately.
    """

    eps = 1e-5

    def __init__(self, d_inner: int, ngroups: int = 1) -> None:
        super().__init__()
        self.ngroups = ngroups
        self.weight = nn.Parameter(torch.ones(d_inner))

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        """Normalise `y` gated by `z`, both ``(b, l, d)``."""
        gated = (y * F.silu(z)).unflatten(-1, (self.ngroups, -1))  # b l g (d/g)
        normed = F.rms_norm(gated, gated.shape[-1:], eps=self.eps)
        return normed.flatten(-2) * self.weight


class Mamba2(nn.Module):
    """Selective state-space layer with one scalar decay per head (Mamba-2).

    Parameters
    ----------
    d_model
        Features of a token, ``d_model``.
    d_state
        State dimension, ``n``.
    d_conv
        Taps of the causal depth-wise convolution.
    expand
        Inner features per feature: ``d_inner = expand * d_model``.
    headdim
        Features of a head, ``p``; there are ``h = d_inner / headdim`` heads.
    ngroups
        Groups of heads that share B and C, ``g``.
    A_init_range
        Range of the initial decay rates, ``-A``, which are drawn uniformly.
    dt_min, dt_max, dt_init_floor
        Range of the initial step sizes, which are drawn log-uniformly, and the smallest of them.
    bias, conv_bias
        Whether the projections, and the convolution, have one.
    chunk_size
        Steps the scan handles at once. The result does not depend on it, speed and memory do.
    backend
        ``"auto"``, ``"torch"`` or ``"fused"``, see :func:`affectbook.models.scans.fused.wanted`.

    Raises
    ------
    ParameterError
        If a size is below 1, a range is not one of positive numbers, heads do not divide the inner
        features, groups do not divide the heads, or `backend` is unknown; by `forward`, if tokens
        have another shape, or the fused kernels are asked for and are not there.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 128,
        d_conv: int = 4,
        *,
        expand: int = 2,
        headdim: int = 64,
        ngroups: int = 1,
        A_init_range: tuple[float, float] = (1, 16),
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init_floor: float = 1e-4,
        bias: bool = False,
        conv_bias: bool = True,
        chunk_size: int = 64,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        fused.check(backend)
        _check_sizes(
            "Mamba2",
            d_model=d_model,
            d_state=d_state,
            d_conv=d_conv,
            expand=expand,
            headdim=headdim,
            ngroups=ngroups,
            chunk_size=chunk_size,
        )
        _check_ranges("Mamba2", A_init_range=A_init_range, dt_min_to_max=(dt_min, dt_max))
        d_inner = expand * d_model
        if d_inner % headdim or (d_inner // headdim) % ngroups:
            raise ParameterError(
                f"Mamba2: headdim {headdim} must divide expand * d_model = {d_inner}, "
                f"and ngroups {ngroups} the number of heads"
            )
        self.d_model, self.d_inner, self.d_state = d_model, d_inner, d_state
        self.headdim = headdim
        self.nheads, self.ngroups, self.chunk_size = d_inner // headdim, ngroups, chunk_size
        self.backend = backend
        # What in_proj makes of a token, in this order: z, x, B, C, dt.
        self.widths = [d_inner, d_inner, ngroups * d_state, ngroups * d_state, self.nheads]
        d_xBC = sum(self.widths[1:4])

        self.in_proj = nn.Linear(d_model, sum(self.widths), bias=bias)
        self.conv1d = nn.Conv1d(
            d_xBC, d_xBC, d_conv, groups=d_xBC, padding=d_conv - 1, bias=conv_bias
        )
        self.dt_bias = nn.Parameter(_initial_dt_bias(self.nheads, dt_min, dt_max, dt_init_floor))
        self.A_log = nn.Parameter(torch.empty(self.nheads).uniform_(*A_init_range).log())
        self.D = nn.Parameter(torch.ones(self.nheads))
        self.norm = RMSNormGated(d_inner, ngroups)
        self.out_proj = nn.Linear(d_inner, d_model, bias=bias)
        # The published mark, for optimisers that look for it: decay would slow the dynamics down.
        for parameter in (self.dt_bias, self.A_log, self.D):
            parameter._no_weight_decay = True

    def forward(self, u: Tensor) -> Tensor:
        """Map tokens ``(b, l, d_model)`` to ``(b, l, d_model)``, each from itself and the past."""
        _check_tokens("Mamba2", u, self.d_model)
        scan = fused.ssd if fused.wanted(self.backend, u) else ssd
        # On a CPU most of the time of a large layer went into fetching new memory for its arrays:
        # blocks of the batch keep them small. Of a large batch, the arrays between the projections,
        # where the work is little and the arrays are many, are computed again in the backward pass
        # instead of being kept, which costs some time and saves memory.
        steps = u.shape[0] * u.shape[1]
        on_cpu = u.device.type == "cpu"
        again = on_cpu and torch.is_grad_enabled() and steps * sum(self.widths) > KEPT_NUMBERS
        steps = BLOCK_STEPS if on_cpu else steps
        weights = self.in_proj.weight.split(self.widths)
        outputs = []
        for block in u.split(max(1, steps // u.shape[1])):
            parts = self._project_in(block, weights)
            if again:
                y = checkpoint(
                    self._mix, scan, *parts, use_reentrant=False, preserve_rng_state=False
                )
            else:
                y = self._mix(scan, *parts)
            outputs.append(linear(y, self.out_proj.weight, self.out_proj.bias))
        return torch.cat(outputs)

    def _project_in(self, u: Tensor, weights: tuple[Tensor, ...]) -> list[Tensor]:
        """Return z, x, B, C and dt: one product each, because cutting a joint one copies it."""
        bias = self.in_proj.bias
        biases = [None] * len(weights) if bias is None else bias.split(self.widths)
        return [linear(u, w, b) for w, b in zip(weights, biases, strict=True)]

    def _mix(
        self, scan: Callable[..., Tensor], z: Tensor, x: Tensor, B: Tensor, C: Tensor, dt: Tensor
    ) -> Tensor:
        """Return what `out_proj` takes, ``(b, l, d_inner)``, from what `in_proj` gave."""
        x, B, C = self._convolve(x, B, C)
        y = scan(
            x.unflatten(-1, (self.nheads, self.headdim)),  # b l h p
            F.softplus(dt + self.dt_bias),  # b l h
            -self.A_log.exp(),  # h
            B.unflatten(-1, (self.ngroups, self.d_state)),  # b l g n
            C.unflatten(-1, (self.ngroups, self.d_state)),  # b l g n
            self.D,
            self.chunk_size,
        )
        return self.norm(y.flatten(-2), z)

    def _convolve(self, *parts: Tensor) -> list[Tensor]:
        """Convolve x, B and C, each ``(b, l, ...)``, with their share of the taps."""
        widths = self.widths[1:4]
        taps, bias = self.conv1d.weight.squeeze(1).split(widths), self.conv1d.bias
        biases = [None] * len(parts) if bias is None else bias.split(widths)
        return [F.silu(causal_depthwise(*part)) for part in zip(parts, taps, biases, strict=True)]


def _check_sizes(layer: str, **sizes: int) -> None:
    """Raise ParameterError for the first size that is no whole number above 0."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or size < 1:
            raise ParameterError(f"{layer}: {name} is {size!r}; give a whole number, 1 or more")


def _check_ranges(layer: str, **ranges: tuple[float, ...]) -> None:
    """Raise ParameterError for the first range that does not run upwards from above 0."""
    for name, limits in ranges.items():
        if not 0 < limits[0] <= limits[-1] < math.inf:
            raise ParameterError(
                f"{layer}: {name} is {limits}; give positive numbers, the smaller one first"
            )


def _check_tokens(layer: str, u: Tensor, d_model: int) -> None:
    """Raise ParameterError unless `u` is ``(b, l, d_model)``, with one window and step or more."""
    shape = tuple(u.shape)
    if len(shape) != 3 or shape[-1] != d_model or 0 in shape:
        raise ParameterError(
            f"{layer}: tokens have the shape {shape}; give (b, l, {d_model}), none of them 0"
        )


def _draw_dt_weight(weight: Tensor, dt_init: str, bound: float) -> None:
    """Draw the weight of ``dt_proj`` such that the variance of its output is kept."""
    if dt_init == "random":
        weight.uniform_(-bound, bound)
    elif dt_init == "constant":
        weight.fill_(bound)
    else:
        raise ParameterError(f'Mamba: dt_init is "{dt_init}"; take "random" or "constant"')


def _initial_dt_bias(count: int, dt_min: float, dt_max: float, floor: float) -> Tensor:
    """Return biases whose softplus is log-uniform in the range, and at least `floor`."""
    dt = torch.empty(count).uniform_(math.log(dt_min), math.log(dt_max)).exp().clamp(min=floor)
    return dt + torch.log(-torch.expm1(-dt))
