"""The Mamba-1 layer in plain PyTorch, for any device.

Source: A. Gu and T. Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023,
section 3 and fig. 3. Parameter names, shapes and initialisation are those of ``mamba_ssm.Mamba``,
so that its weights load.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from affectbook.errors import ParameterError
from affectbook.models.selective_scan import selective_scan


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

    Raises
    ------
    ParameterError
        If a size is below 1, or `dt_init` is unknown.
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
    ) -> None:
        super().__init__()
        dt_rank = math.ceil(d_model / 16) if dt_rank == "auto" else dt_rank
        _check_sizes(
            d_model=d_model, d_state=d_state, d_conv=d_conv, expand=expand, dt_rank=dt_rank
        )
        d_inner = expand * d_model
        self.d_inner, self.d_state, self.dt_rank = d_inner, d_state, dt_rank

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
        # A mark of the published layer: decaying these two would pull the dynamics to a fixed pace.
        self.A_log._no_weight_decay = self.D._no_weight_decay = True

    def forward(self, u: Tensor) -> Tensor:
        """Map tokens ``(b, l, d_model)`` to ``(b, l, d_model)``, each from itself and the past."""
        x, z = self.in_proj(u).chunk(2, dim=-1)  # b l d, both
        x = self.conv1d(x.transpose(1, 2))[..., : u.shape[1]].transpose(1, 2)
        x = F.silu(x)
        dt, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        delta = F.softplus(self.dt_proj(dt))  # b l d
        y = selective_scan(x, delta, -self.A_log.exp(), B, C, self.D)
        return self.out_proj(y * F.silu(z))


def _check_sizes(**sizes: int) -> None:
    """Raise ParameterError for the first size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ParameterError(f"Mamba: {name} is {size}; give 1 or more")


def _draw_dt_weight(weight: Tensor, dt_init: str, bound: float) -> None:
    """Draw the weight of ``dt_proj`` such that the variance of its output is kept."""
    if dt_init == "random":
        weight.uniform_(-bound, bound)
    elif dt_init == "constant":
        weight.fill_(bound)
    else:
        raise ParameterError(f'Mamba: dt_init is "{dt_init}"; take "random" or "constant"')


def _initial_dt_bias(d_inner: int, dt_min: float, dt_max: float, floor: float) -> Tensor:
    """Return biases whose softplus is log-uniform in the range, and at least `floor`."""
    dt = torch.empty(d_inner).uniform_(math.log(dt_min), math.log(dt_max)).exp().clamp(min=floor)
    return dt + torch.log(-torch.expm1(-dt))
