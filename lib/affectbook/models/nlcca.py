"""NLCCA: the attention block of HCMNet, with the switches of its ablations.

Source: the code that HCMNet's authors published. Comments in an older version of it (December
2025) keep three variants, which are very likely those of the paper's ablation. Letters of the
shapes: ``b`` batch, ``c`` channels, ``l`` time steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from affectbook.errors import ParameterError

BRANCHES = ("both", "channel", "temporal")
SCALARS = ("sum", "mean", "none")


class ChannelGate(nn.Module):
    """One gate in (0, 1) per channel, from the channel means and their energy.

    Parameters
    ----------
    scalar
        What is added to every channel: ``"sum"``, the energy of the channel means, as published;
        ``"mean"``, the same divided by the number of channels; ``"none"``.
    kernel
        Width of the two convolutions over channels.

    Raises
    ------
    ParameterError
        If `scalar` is unknown.
    """

    def __init__(self, scalar: str = "sum", kernel: int = 5) -> None:
        super().__init__()
        if scalar not in SCALARS:
            raise ParameterError(f"the scalar must be one of {SCALARS}, not {scalar!r}")
        self.scalar = scalar
        self.conv1 = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)
        self.conv2 = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def energy(self, mean: Tensor) -> Tensor:
        """Return the scalar of each window ``(b, 1, 1)`` from its channel means ``(b, 1, c)``."""
        energy = mean.square().sum(-1, keepdim=True)  # the same number for all channels
        return energy / mean.shape[-1] if self.scalar == "mean" else energy

    def gate(self, x: Tensor) -> Tensor:
        """Return the gates ``(b, 1, c)`` of `x` ``(b, c, l)``."""
        mean = x.mean(-1, keepdim=True).transpose(1, 2)  # b 1 c
        hidden = self.conv1(mean)
        if self.scalar != "none":
            hidden = hidden + self.energy(mean)
        return torch.sigmoid(self.conv2(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Gate `x` ``(b, c, l)``."""
        return x * self.gate(x).transpose(1, 2)


class NLCCA(nn.Module):
    """Channel gate, then a temporal map from depth-wise convolutions of four widths.

    Parameters
    ----------
    channels
        Features before and after.
    branches
        ``"both"`` as published; ``"channel"``: the gated input is added and no more;
        ``"temporal"``: nothing is gated.
    scalar
        See :class:`ChannelGate`.
    shared
        Whether the 1x1 convolution that is applied twice has the same weights both times, as
        published.
    widths
        Depth-wise convolutions beside the first one, of width 5; none of them leaves one scale.

    Raises
    ------
    ParameterError
        If a switch has an unknown value.
    """

    def __init__(
        self,
        channels: int = 128,
        *,
        branches: str = "both",
        scalar: str = "sum",
        shared: bool = True,
        widths: tuple[int, ...] = (7, 11, 21),
    ) -> None:
        super().__init__()
        if branches not in BRANCHES:
            raise ParameterError(f"branches of nlcca must be one of {BRANCHES}, not {branches!r}")

        def depthwise(kernel: int) -> nn.Conv1d:
            return nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)

        self.gate = None if branches == "temporal" else ChannelGate(scalar)
        self.temporal = branches != "channel"
        if self.temporal:
            self.first = depthwise(5)
            self.scales = nn.ModuleList(depthwise(kernel) for kernel in widths)
            self.mix = nn.Conv1d(channels, channels, 1)
            self.second_mix = None if shared else nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, c, l)`` to ``(b, c, l)``; the residual is inside."""
        gated = x if self.gate is None else self.gate(x)
        if not self.temporal:
            return x + gated
        local = self.first(gated)
        temporal = local + sum(conv(local) for conv in self.scales)
        mix = self.mix if self.second_mix is None else self.second_mix
        # Without a gate the older code leaves out the product as well: x + P(P(m)).
        weighed = self.mix(temporal) if self.gate is None else self.mix(temporal) * gated
        return x + mix(weighed)
