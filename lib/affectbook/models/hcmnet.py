"""HCMNet: a convolutional front end, an attention block and two Mamba-2 scans.

Source: "A Transferable Hybrid Convolutional-Mamba Network for Cross-Population Emotion
Recognition From Wearable ECG", IEEE Internet of Things Journal, 2026,
doi 10.1109/JIOT.2026.3651586, and the code its authors published.

Letters of the shapes::

    b  batch          c  channels (128 after the front end)
    t  samples        l  time steps after the front end     d  model dimension of the scans (256)

Nothing differs from the published network unless a switch of :class:`HCMNet` is set. What looks
odd is theirs and is kept: even kernels lengthen the sequence by one, the 1x1 convolution of the
attention is applied twice, the backward scan starts in the zero padding, and no non-linearity
stands between the last two linear layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from affectbook.errors import CheckpointError, ParameterError
from affectbook.models.convolutions import WideConv1d
from affectbook.models.ssm import Mamba2

FEATURES = 128
"""Channels after the convolutions, and the length of an embedding."""

_POOLS = (8, 8, 4)  # widths of the three max pools
_PUBLISHED_NAMES = {
    "layer1.0.": "cnn.block1.conv1.",
    "layer1.1.": "cnn.block1.norm1.",
    "layer1.3.": "cnn.block1.conv2.",
    "layer1.4.": "cnn.block1.norm2.",
    "layer2.0.": "cnn.block2.conv1.",
    "layer2.1.": "cnn.block2.norm1.",
    "layer2.3.": "cnn.block2.conv2.",
    "layer2.4.": "cnn.block2.norm2.",
    "layer3.0.": "cnn.block3.conv1.",
    "layer3.1.": "cnn.block3.norm1.",
    "nlcca.ca.conv.": "nlcca.gate.conv1.",
    "nlcca.ca.conv_end.": "nlcca.gate.conv2.",
    "nlcca.dconv5.": "nlcca.first.",
    "nlcca.dconv7.": "nlcca.scales.0.",
    "nlcca.dconv11.": "nlcca.scales.1.",
    "nlcca.dconv21.": "nlcca.scales.2.",
    "nlcca.conv.": "nlcca.mix.",
    "mamba2.fc_in.": "bissm.enter.",
    "mamba2.mamba2_for.": "bissm.forward_scan.",
    "mamba2.mamba2_back.": "bissm.backward_scan.",
    "mamba2.fc_out.": "bissm.leave.",
    "fc1.": "head.hidden.",
    "fc2.": "head.logits.",
}


class ConvBlock(nn.Sequential):
    """One or two convolutions with batch norm and LeakyReLU 0.01, then a max pool."""

    def __init__(self, channels: tuple[int, ...], kernel: int, pool: int, stride: int) -> None:
        super().__init__()
        for i, (c_in, c_out) in enumerate(pairwise(channels), start=1):
            self.add_module(f"conv{i}", _convolution(c_in, c_out, kernel))
            self.add_module(f"norm{i}", nn.BatchNorm1d(c_out))
            self.add_module(f"act{i}", nn.LeakyReLU(0.01))
        self.pool = nn.MaxPool1d(pool, stride)


def _convolution(c_in: int, c_out: int, kernel: int) -> nn.Conv1d:
    # Of the five convolutions only the one over 32 channels gains from the other route.
    kind = WideConv1d if kernel >= 32 and c_in >= 32 else nn.Conv1d
    return kind(c_in, c_out, kernel, padding=kernel // 2)


class ChannelGate(nn.Module):
    """One gate in (0, 1) per channel, from the channel means and their energy."""

    def __init__(self, kernel: int = 5) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)
        self.conv2 = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Gate `x` ``(b, c, l)``."""
        mean = x.mean(-1, keepdim=True).transpose(1, 2)  # b 1 c
        energy = mean.square().sum(-1, keepdim=True)  # b 1 1, the same number for all channels
        gate = torch.sigmoid(self.conv2(self.conv1(mean) + energy))  # b 1 c
        return x * gate.transpose(1, 2)


class NLCCA(nn.Module):
    """Channel gate, then a temporal map from depth-wise convolutions of four widths."""

    def __init__(self, channels: int = FEATURES) -> None:
        super().__init__()

        def depthwise(kernel: int) -> nn.Conv1d:
            return nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)

        self.gate = ChannelGate()
        self.first = depthwise(5)
        self.scales = nn.ModuleList(depthwise(kernel) for kernel in (7, 11, 21))
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, c, l)`` to ``(b, c, l)``; the residual is inside."""
        gated = self.gate(x)
        local = self.first(gated)
        temporal = local + sum(conv(local) for conv in self.scales)
        return x + self.mix(self.mix(temporal) * gated)


class BiSSM(nn.Module):
    """A forward and a backward Mamba-2 scan with separate weights, summed.

    Parameters
    ----------
    channels
        Features before and after.
    directions
        ``"both"`` as published, or ``"forward"``.
    """

    pad_to = 64  # the published code pads the length to a multiple of its chunk size

    def __init__(self, channels: int = FEATURES, directions: str = "both") -> None:
        super().__init__()
        if directions not in ("both", "forward"):
            raise ParameterError(f"directions must be 'both' or 'forward', not {directions!r}")
        d_model = 2 * channels
        self.enter = nn.Linear(channels, d_model, bias=False)
        self.forward_scan = Mamba2(d_model, chunk_size=self.pad_to)
        self.backward_scan = (
            Mamba2(d_model, chunk_size=self.pad_to) if directions == "both" else None
        )
        self.leave = nn.Linear(d_model, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, c, l)`` to ``(b, c, l)``; no residual."""
        length = x.shape[-1]
        tokens = F.pad(x, (0, -length % self.pad_to)).transpose(1, 2)  # b l c
        tokens = self.enter(tokens)  # b l d
        y = self.forward_scan(tokens)
        if self.backward_scan is not None:
            # Flipped with its padding: the convolution has a bias, so the padded steps fill the
            # state before the first real step arrives.
            y = y + self.backward_scan(tokens.flip(1)).flip(1)
        return self.leave(y)[:, :length].transpose(1, 2)


class HCMNet(nn.Module):
    """HCMNet, exactly as published by default.

    Parameters
    ----------
    n_chans, n_times, n_outputs
        Leads, samples per window, classes. The weights do not depend on `n_times`.
    pool_strides
        Strides of the three max pools; ``(1, 1, 2)`` as published. ``(8, 8, 2)`` leaves about a
        64th of the time steps.
    nlcca
        ``"full"`` as published, or ``False``: no attention block.
    bissm
        ``False``: no scans, and no residual round them.
    directions
        ``"both"`` as published, or ``"forward"``: no backward scan.
    dropout
        Rate before the last linear layer.

    Raises
    ------
    ParameterError
        If `n_times` is too short for the pools, or a switch has an unknown value.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        *,
        pool_strides: tuple[int, int, int] = (1, 1, 2),
        nlcca: str | bool = "full",
        bissm: bool = True,
        directions: str = "both",
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if nlcca not in ("full", False):
            raise ParameterError(f"nlcca must be 'full' or False, not {nlcca!r}")
        check_length(n_times, pool_strides)
        self.cnn = nn.Sequential()
        plans = (((n_chans, 32, 32), 32), ((32, 64, 64), 16), ((64, FEATURES), 8))
        for i, (channels, kernel) in enumerate(plans):
            block = ConvBlock(channels, kernel, _POOLS[i], pool_strides[i])
            self.cnn.add_module(f"block{i + 1}", block)
        self.nlcca = NLCCA() if nlcca else None
        self.bissm = BiSSM(directions=directions) if bissm else None
        self.head = nn.Sequential()
        self.head.add_module("hidden", nn.Linear(FEATURES, 256))
        self.head.add_module("dropout", nn.Dropout(dropout))
        self.head.add_module("logits", nn.Linear(256, n_outputs))

    def embed(self, x: Tensor) -> Tensor:
        """Return 128 features ``(b, c)``, maxima over time, of windows ``(b, n_chans, t)``."""
        x = self.cnn(x)  # b c l
        if self.nlcca is not None:
            x = self.nlcca(x)
        if self.bissm is not None:
            x = x + self.bissm(x)
        return x.amax(-1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(b, n_outputs)`` of windows ``(b, n_chans, t)``."""
        return self.head(self.embed(x))


def steps_after_pools(n_times: int, pool_strides: tuple[int, ...] = (1, 1, 2)) -> int:
    """Return the time steps that `n_times` samples leave for the attention and the scans.

    As published this is ``(n_times - 11) // 2``; zero or less means that the window is too short.
    """
    steps = n_times
    for convs, pool, stride in zip((2, 2, 1), _POOLS, pool_strides, strict=True):
        steps = (steps + convs - pool) // stride + 1
    return steps


def check_length(n_times: int, pool_strides: tuple[int, ...] = (1, 1, 2)) -> None:
    """Raise a ParameterError that names the minimum if `n_times` leaves no time step."""
    if steps_after_pools(n_times, pool_strides) < 1:
        minimum = n_times
        while steps_after_pools(minimum, pool_strides) < 1:
            minimum += 1
        raise ParameterError(
            f"n_times {n_times} is too short for HCMNet with pool_strides {pool_strides}: "
            f"the minimum is {minimum} samples"
        )


def describe(model: nn.Module, n_chans: int, n_times: int) -> pd.DataFrame:
    """Return one row per layer in the order of computation: layer, output shape, parameters.

    Parameters
    ----------
    model
        Any network for windows; the attention and each scan of HCMNet are one row.
    n_chans, n_times
        Leads and samples of the one window that is sent through. Shapes leave out the batch.
    """
    rows: list[tuple[str, str, int]] = []

    def note(name: str, layer: nn.Module) -> None:
        def hook(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            shape = " x ".join(str(size) for size in output.shape[1:])
            count = sum(parameter.numel() for parameter in layer.parameters())
            rows.append((f"{name} ({type(layer).__name__})", shape, count))

        handles.append(layer.register_forward_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for name, layer in _layers(model):
        note(name, layer)
    training = model.training
    parameter = next(model.parameters())
    try:
        with torch.no_grad():
            model.eval()(parameter.new_zeros(1, n_chans, n_times))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return pd.DataFrame(rows, columns=["layer", "output shape", "parameters"])


def _layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers worth a row, with their names; NLCCA and Mamba2 are not taken apart."""
    for name, child in module.named_children():
        whole = isinstance(child, NLCCA | Mamba2) or not any(child.children())
        if not whole:
            yield from _layers(child, f"{prefix}{name}.")
        elif not isinstance(child, nn.ReLU | nn.LeakyReLU | nn.Dropout):
            yield f"{prefix}{name}", child


def load_published(model: HCMNet, state_dict: Mapping[str, Tensor]) -> HCMNet:
    """Load weights that carry the parameter names of the authors' code, strictly.

    Parameters
    ----------
    model
        An HCMNet with the published layers; changed in place and returned.
    state_dict
        Published parameter and buffer names, such as ``layer1.0.weight``, with their tensors.

    Raises
    ------
    CheckpointError
        One message with all names that are missing, unexpected, or of another shape.
    """
    ours = model.state_dict()
    theirs = {_published_name(name): name for name in ours}
    missing = sorted(set(theirs) - set(state_dict))
    unexpected = sorted(set(state_dict) - set(theirs))
    mismatched = [
        f"{name} {tuple(state_dict[name].shape)} instead of {tuple(ours[own].shape)}"
        for name, own in theirs.items()
        if name in state_dict and state_dict[name].shape != ours[own].shape
    ]
    problems = {"missing": missing, "unexpected": unexpected, "other shape": mismatched}
    found = [f"{what}: {', '.join(names)}" for what, names in problems.items() if names]
    if found:
        raise CheckpointError(f"these are not the weights of this HCMNet; {'; '.join(found)}")
    model.load_state_dict({own: state_dict[name] for name, own in theirs.items()})
    return model


def _published_name(own: str) -> str:
    """Return the name that the authors' code gives to a parameter of ours."""
    for published, ours in _PUBLISHED_NAMES.items():
        if own.startswith(ours):
            return published + own.removeprefix(ours)
    raise CheckpointError(f"{own} has no counterpart in the published network")
