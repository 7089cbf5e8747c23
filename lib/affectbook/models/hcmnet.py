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
from torch import Tensor, nn

from affectbook.errors import CheckpointError, ParameterError
from affectbook.models.bissm import BiLSTM, BiSSM
from affectbook.models.convolutions import WideConv1d
from affectbook.models.nlcca import NLCCA
from affectbook.models.ssm import Mamba2

FEATURES = 128
"""Channels after the convolutions, and the length of an embedding."""

KERNELS = (32, 16, 8)
"""Widths of the convolutions of the three blocks."""

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


class HCMNet(nn.Module):
    """HCMNet, exactly as published by default; every keyword is a switch of an ablation.

    Parameters
    ----------
    n_chans, n_times, n_outputs
        Leads, samples per window, classes. The weights do not depend on `n_times`.
    pool_strides
        Strides of the three max pools; ``(1, 1, 2)`` as published. ``(8, 8, 2)`` leaves about a
        64th of the time steps.
    kernels
        Widths of the convolutions of the three blocks.
    nlcca
        Branches of the attention block, ``"both"`` as published, ``"channel"`` or ``"temporal"``;
        ``False``: no attention block.
    scalar, shared_mix, nlcca_widths
        Of the attention block: see :class:`~affectbook.models.nlcca.NLCCA`.
    bissm
        ``"mamba2"`` as published, ``"lstm"``, or ``False``: nothing joins the time steps, and there
        is no residual round it.
    directions, pad_first, init
        Of the scans: see :class:`~affectbook.models.bissm.BiSSM`.
    head_relu
        Whether a ReLU stands between the last two linear layers; published: none.
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
        kernels: tuple[int, int, int] = KERNELS,
        nlcca: str | bool = "both",
        scalar: str = "sum",
        shared_mix: bool = True,
        nlcca_widths: tuple[int, ...] = (7, 11, 21),
        bissm: str | bool = "mamba2",
        directions: str = "both",
        pad_first: bool = True,
        init: str = "mamba_ssm",
        head_relu: bool = False,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if bissm not in ("mamba2", "lstm", False):
            raise ParameterError(f"bissm must be 'mamba2', 'lstm' or False, not {bissm!r}")
        check_length(n_times, pool_strides, kernels)
        self.cnn = nn.Sequential()
        for i, channels in enumerate(((n_chans, 32, 32), (32, 64, 64), (64, FEATURES))):
            block = ConvBlock(channels, kernels[i], _POOLS[i], pool_strides[i])
            self.cnn.add_module(f"block{i + 1}", block)
        of_nlcca = {"scalar": scalar, "shared": shared_mix, "widths": nlcca_widths}
        self.nlcca = NLCCA(FEATURES, branches=nlcca, **of_nlcca) if nlcca else None
        self.bissm = None
        if bissm == "mamba2":
            self.bissm = BiSSM(FEATURES, directions=directions, pad_first=pad_first, init=init)
        elif bissm == "lstm":
            self.bissm = BiLSTM(FEATURES)
        self.head = nn.Sequential()
        self.head.add_module("hidden", nn.Linear(FEATURES, 256))
        if head_relu:
            self.head.add_module("relu", nn.ReLU())
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


def steps_after_pools(
    n_times: int,
    pool_strides: tuple[int, ...] = (1, 1, 2),
    kernels: tuple[int, ...] = KERNELS,
) -> int:
    """Return the time steps that `n_times` samples leave for the attention and the scans.

    As published this is ``(n_times - 11) // 2``; zero or less means that the window is too short.
    """
    steps = n_times
    for convs, kernel, pool, stride in zip((2, 2, 1), kernels, _POOLS, pool_strides, strict=True):
        steps += convs * (1 - kernel % 2)  # an even kernel with padding k/2 adds a step
        steps = (steps - pool) // stride + 1
    return steps


def check_length(
    n_times: int,
    pool_strides: tuple[int, ...] = (1, 1, 2),
    kernels: tuple[int, ...] = KERNELS,
) -> None:
    """Raise a ParameterError that names the minimum if `n_times` leaves no time step."""
    if steps_after_pools(n_times, pool_strides, kernels) < 1:
        minimum = n_times
        while steps_after_pools(minimum, pool_strides, kernels) < 1:
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
        whole = isinstance(child, NLCCA | Mamba2 | BiLSTM) or not any(child.children())
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
