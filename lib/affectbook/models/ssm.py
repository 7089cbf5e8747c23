"""The Mamba-2 layer in plain PyTorch, for any device.

Source: T. Dao and A. Gu, "Transformers are SSMs", ICML 2024, section 7 and fig. 6. Parameter
names, shapes and initialisation are those of ``mamba_ssm.Mamba2``, so that its weights load.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from affectbook.errors import ParameterError
from affectbook.models.scans import ssd_chunked


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
    chunk_size
        Steps the scan handles at once. The result does not depend on it, speed and memory do.

    Raises
    ------
    ParameterError
        If heads do not divide the inner features, or groups the heads.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 128,
        d_conv: int = 4,
        expand: int = 2,
        headdim: int = 64,
        ngroups: int = 1,
        chunk_size: int = 64,
    ) -> None:
        super().__init__()
        d_inner = expand * d_model
        if d_inner % headdim or (d_inner // headdim) % ngroups:
            raise ParameterError(
                f"Mamba2: headdim {headdim} must divide expand * d_model = {d_inner}, "
                f"and ngroups {ngroups} the number of heads"
            )
        self.d_inner, self.d_state, self.headdim = d_inner, d_state, headdim
        self.nheads, self.ngroups, self.chunk_size = d_inner // headdim, ngroups, chunk_size
        d_xBC = d_inner + 2 * ngroups * d_state

        self.in_proj = nn.Linear(d_model, d_inner + d_xBC + self.nheads, bias=False)
        self.conv1d = nn.Conv1d(d_xBC, d_xBC, d_conv, groups=d_xBC, padding=d_conv - 1)
        self.dt_bias = nn.Parameter(_initial_dt_bias(self.nheads))
        self.A_log = nn.Parameter(torch.empty(self.nheads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(self.nheads))
        self.norm = RMSNormGated(d_inner, ngroups)
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        """Map tokens ``(b, l, d_model)`` to ``(b, l, d_model)``, each from itself and the past."""
        length, d_bc = u.shape[1], self.ngroups * self.d_state
        z, xBC, dt = self.in_proj(u).split(
            [self.d_inner, self.d_inner + 2 * d_bc, self.nheads], dim=-1
        )
        xBC = self.conv1d(xBC.transpose(1, 2))[..., :length].transpose(1, 2)
        x, B, C = F.silu(xBC).split([self.d_inner, d_bc, d_bc], dim=-1)
        y = ssd_chunked(
            x.unflatten(-1, (self.nheads, self.headdim)),  # b l h p
            F.softplus(dt + self.dt_bias),  # b l h
            -self.A_log.exp(),  # h
            B.unflatten(-1, (self.ngroups, self.d_state)),  # b l g n
            C.unflatten(-1, (self.ngroups, self.d_state)),  # b l g n
            self.D,
            self.chunk_size,
        )
        return self.out_proj(self.norm(y.flatten(-2), z))


def _initial_dt_bias(nheads: int, dt_min: float = 1e-3, dt_max: float = 1e-1) -> Tensor:
    """Return biases whose softplus is log-uniform between `dt_min` and `dt_max`."""
    dt = torch.empty(nheads).uniform_(math.log(dt_min), math.log(dt_max)).exp()
    return dt + torch.log(-torch.expm1(-dt))
