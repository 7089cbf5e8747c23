"""Reference networks for EEG windows: EEGNet, a temporal convolutional network, and a plain MLP.

Written from the papers that each docstring names. The three that forecasters use are in
`series_reference`, models without a network in `eeg_classical`.

Letters of the shapes::

    b  windows of a batch           f  feature maps
    c  channels (electrodes)        h  hidden units
    t  samples of a window
"""

from __future__ import annotations

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from affectbook.errors import ParameterError

MS_IMAMBA_PARAMETERS = 324_698


def check_length(name: str, n_times: int, minimum: int) -> None:
    """Raise a ParameterError that names the minimum if windows are too short for a network."""
    if n_times < minimum:
        raise ParameterError(f"n_times {n_times} is too short for {name}: the minimum is {minimum}")


class EEGNet(nn.Module):
    """EEGNet-8,2: a filter bank in time, one spatial filter pair for each, a separable convolution.

    V. J. Lawhern et al., "EEGNet: a compact convolutional neural network for EEG-based
    brain-computer interfaces", Journal of Neural Engineering 15, 056013, 2018, table 2. As there:
    spatial filters of norm at most 1, a head of norm at most 0.25, which are enforced after every
    step of the optimiser (here: before the next use). Dropout is 0.5, which the paper takes within
    subjects; across subjects it takes 0.25. Ours: batch norm with PyTorch's momentum and epsilon,
    and a second kernel that follows the first, so that both span half a second at any rate.

    Parameters
    ----------
    n_chans, n_times, n_outputs
        Electrodes, samples per window (at least 32), classes.
    kernel
        Samples of the temporal filters: half the sampling rate, 64 at 128 Hz. The separable
        convolution, behind a pool of four, takes a quarter of it.
    n_filters, depth, n_maps
        ``F1``, ``D`` and ``F2`` of the paper.
    dropout
        Rate behind each pool.

    Raises
    ------
    ParameterError
        If `n_times` is under 32, which the pools would reduce to nothing, or `kernel` under 4.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        *,
        kernel: int = 64,
        n_filters: int = 8,
        depth: int = 2,
        n_maps: int = 16,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_length("EEGNet", n_times, 32)
        if kernel < 4:
            raise ParameterError(f"kernel must be at least 4 samples, not {kernel}")
        spatial = n_filters * depth
        self.filters = nn.Sequential(_same(kernel), _conv(1, n_filters, (1, kernel)),
                                     nn.BatchNorm2d(n_filters))  # fmt: skip
        self.spatial = _conv(n_filters, spatial, (n_chans, 1), groups=n_filters)
        self.pool1 = nn.Sequential(nn.BatchNorm2d(spatial), nn.ELU(), nn.AvgPool2d((1, 4)),
                                   nn.Dropout(dropout))  # fmt: skip
        self.separable = nn.Sequential(
            _same(kernel // 4),
            _conv(spatial, spatial, (1, kernel // 4), groups=spatial),
            _conv(spatial, n_maps, 1),
        )
        self.pool2 = nn.Sequential(nn.BatchNorm2d(n_maps), nn.ELU(), nn.AvgPool2d((1, 8)),
                                   nn.Dropout(dropout))  # fmt: skip
        self.logits = nn.Linear(n_maps * (n_times // 32), n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(b, n_outputs)`` of windows ``(b, n_chans, n_times)``."""
        _limit_norm(self.spatial, 1.0)
        _limit_norm(self.logits, 0.25)
        x = self.filters(x[:, None])  # b F1 c t
        x = self.pool1(self.spatial(x))  # b (D F1) 1 t/4
        x = self.pool2(self.separable(x))  # b F2 1 t/32
        return self.logits(x.flatten(1))


def _conv(c_in: int, c_out: int, kernel: int | tuple[int, int], groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, groups=groups, bias=False)  # batch norm follows each


def _same(kernel: int) -> nn.ZeroPad2d:
    """Pad time so that a convolution keeps its length; an even kernel has one zero more behind."""
    return nn.ZeroPad2d(((kernel - 1) // 2, kernel // 2, 0, 0))


@torch.no_grad()
def _limit_norm(layer: nn.Module, limit: float) -> None:
    """Scale each output's weights down to this norm, in place, where they exceed it."""
    weight = layer.weight
    norms = weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1))
    # The margin keeps rounding from moving weights again that are already at the limit.
    factor = torch.where(norms > limit * (1 + 1e-5), limit / norms, torch.ones_like(norms))
    weight.data.mul_(factor)


class CausalBlock(nn.Module):
    """Two dilated convolutions that see the past only, each with ReLU and dropout; a residual."""

    def __init__(self, c_in: int, c_out: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.conv1 = weight_norm(nn.Conv1d(c_in, c_out, kernel, dilation=dilation))
        self.conv2 = weight_norm(nn.Conv1d(c_out, c_out, kernel, dilation=dilation))
        self.dropout = nn.Dropout(dropout)
        self.match = nn.Identity() if c_in == c_out else nn.Conv1d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(b, c_out, t)`` for ``(b, c_in, t)``."""
        y = self.dropout(F.relu(self.conv1(F.pad(x, (self.past, 0)))))  # b f t
        y = self.dropout(F.relu(self.conv2(F.pad(y, (self.past, 0)))))  # b f t
        return F.relu(y + self.match(x))


class TCN(nn.Module):
    """Temporal convolutional network: causal convolutions whose dilation doubles level by level.

    S. Bai, J. Z. Kolter and V. Koltun, "An Empirical Evaluation of Generic Convolutional and
    Recurrent Networks for Sequence Modeling", arXiv 1803.01271, 2018, section 3. Size and
    dropout depend on the task there; the defaults see 181 samples, the last one included. Ours: the
    class is read off the last time step. Simplified: dropout drops single values, not whole feature
    maps as in the paper.

    A fitted network cannot be pickled, which PyTorch's weight norm refuses; its state can be saved.

    Parameters
    ----------
    n_chans, n_times, n_outputs
        Electrodes, samples per window, classes. The weights do not depend on `n_times`.
    levels, width, kernel, dropout
        Blocks, feature maps of each, samples of a convolution, rate behind each convolution.

    Raises
    ------
    ParameterError
        If `n_times` is under 1.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        *,
        levels: int = 4,
        width: int = 25,
        kernel: int = 7,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_length("TCN", n_times, 1)
        self.blocks = nn.Sequential(
            *(
                CausalBlock(width if level else n_chans, width, kernel, 2**level, dropout)
                for level in range(levels)
            )
        )
        self.logits = nn.Linear(width, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(b, n_outputs)`` of windows ``(b, n_chans, n_times)``."""
        return self.logits(self.blocks(x)[..., -1])  # b f t -> b f -> b n_outputs


class TokenMLP(nn.Module):
    """An MLP on everything that a scan over electrodes sees, with about as many weights.

    No paper's: with four tokens a state-space scan has little to do that two linear layers could
    not, and this is the test of it.

    Parameters
    ----------
    n_chans, n_times, n_outputs
        Electrodes, samples per window, classes.
    hidden
        Units of the two hidden layers; None: as many as come closest to `n_parameters`.
    n_parameters
        Weights to come close to; by default those of MS-iMamba in its declared reading, with four
        electrodes, 128 samples and two classes.

    Raises
    ------
    ParameterError
        If `n_times` is under 1, or `n_parameters` too few for a single hidden unit.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        *,
        hidden: int | None = None,
        n_parameters: int = MS_IMAMBA_PARAMETERS,
    ) -> None:
        super().__init__()
        check_length("TokenMLP", n_times, 1)
        n_in = n_chans * n_times
        if hidden is None:
            hidden = hidden_units(n_in, n_outputs, n_parameters)
        self.layers = nn.Sequential(
            nn.Flatten(),  # b (c t)
            nn.Linear(n_in, hidden),
            nn.GELU(),  # b h
            nn.Linear(hidden, hidden),
            nn.GELU(),  # b h
            nn.Linear(hidden, n_outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(b, n_outputs)`` of windows ``(b, n_chans, n_times)``."""
        return self.layers(x)


def hidden_units(n_in: int, n_outputs: int, n_parameters: int) -> int:
    """Return the units of two hidden layers that bring an MLP closest to so many weights.

    With h units it has ``h^2 + h (n_in + 2 + n_outputs) + n_outputs`` of them.

    Raises
    ------
    ParameterError
        If even one unit has more than twice as many weights as wanted.
    """
    slope = n_in + 2 + n_outputs
    exact = (-slope + sqrt(max(0, slope**2 + 4 * (n_parameters - n_outputs)))) / 2
    if exact < 0.5:
        raise ParameterError(
            f"an MLP on {n_in} inputs cannot have as few as {n_parameters} parameters"
        )
    around = {max(1, int(exact)), int(exact) + 1}
    return min(around, key=lambda h: abs(h * h + h * slope + n_outputs - n_parameters))
