"""What others run on a CPU for the same layers: transformers, mambapy, and the plain definition.

transformers takes the kernels of mamba-ssm where they can be imported, also for tensors on a CPU,
where they fail; so this module refuses to measure a CPU beside them.
"""

from __future__ import annotations

import copy
import importlib.util
from functools import partial

import torch
import torch.nn.functional as F
from harness import DEVICE
from torch import Tensor, nn

from affectbook.models import periods
from affectbook.models.scans import ssd_recurrence
from affectbook.models.ssm import Mamba

try:
    from mambapy.mamba import MambaBlock
    from transformers import Mamba2Config, MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer, mamba_selective_scan
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer
    from transformers.utils import logging
except ImportError as missing:
    raise SystemExit(f"{missing.name} is not installed: run this by `make bench`") from missing
if DEVICE == "cpu" and importlib.util.find_spec("mamba_ssm"):
    raise SystemExit("mamba_ssm is installed, and transformers would use it: use `make bench`")
logging.set_verbosity_error()  # it warns that these are its slower paths, which is what we want


def mixer(layer: nn.Module, chunk_size: int) -> Mamba2Mixer:
    """Return transformers' Mamba-2 layer with the sizes and weights of ours."""
    config = Mamba2Config(
        hidden_size=layer.in_proj.in_features,
        num_heads=layer.nheads,
        head_dim=layer.headdim,
        state_size=layer.d_state,
        n_groups=layer.ngroups,
        conv_kernel=layer.conv1d.weight.shape[-1],
        expand=layer.d_inner // layer.in_proj.in_features,
        chunk_size=chunk_size,
        num_hidden_layers=1,
    )
    theirs = Mamba2Mixer(config, layer_idx=0)
    theirs.load_state_dict(layer.state_dict())
    return theirs


def mixer1(layer: Mamba) -> MambaMixer:
    """Return transformers' Mamba layer with the sizes and weights of ours."""
    config = MambaConfig(
        hidden_size=layer.d_model,
        state_size=layer.d_state,
        conv_kernel=layer.conv1d.weight.shape[-1],
        expand=layer.d_inner // layer.d_model,
        time_step_rank=layer.dt_rank,
        num_hidden_layers=1,
    )
    theirs = MambaMixer(config, layer_idx=0)
    theirs.load_state_dict(layer.state_dict())
    return theirs


class StepByStep(nn.Module):
    """A Mamba-2 layer with the weights of ours whose scan is the definition, left to autograd."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        for name, part in (*layer.named_children(), *layer.named_parameters(recurse=False)):
            setattr(self, name, copy.deepcopy(part))
        self.sizes = (layer.d_inner, layer.ngroups, layer.d_state, layer.nheads)

    def forward(self, u: Tensor) -> Tensor:
        """Map tokens ``(b, l, d_model)`` to ``(b, l, d_model)``."""
        d_inner, ngroups, d_state, nheads = self.sizes
        d_bc, taps = ngroups * d_state, self.conv1d.weight
        z, xBC, dt = F.linear(u, self.in_proj.weight).split(
            [d_inner, d_inner + 2 * d_bc, nheads], dim=-1
        )
        padded = F.pad(xBC.transpose(1, 2), (taps.shape[-1] - 1, 0))
        xBC = F.silu(F.conv1d(padded, taps, self.conv1d.bias, groups=taps.shape[0]))
        x, B, C = xBC.transpose(1, 2).split([d_inner, d_bc, d_bc], dim=-1)
        y = ssd_recurrence(
            x.unflatten(-1, (nheads, -1)),
            F.softplus(dt + self.dt_bias),
            -self.A_log.exp(),
            B.unflatten(-1, (ngroups, d_state)),
            C.unflatten(-1, (ngroups, d_state)),
            self.D,
        )
        gated = (y.flatten(-2) * F.silu(z)).unflatten(-1, (ngroups, -1))
        normed = F.rms_norm(gated, gated.shape[-1:], eps=1e-5).flatten(-2)
        return F.linear(normed * self.norm.weight, self.out_proj.weight)


def loop(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Scan by the loop inside transformers' MambaMixer, which has time last."""
    return _transformers(u, delta, A, B, C, D, use_mambapy=False)


def loop_with_mambapy(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> Tensor:
    """Scan as transformers' MambaMixer does where its switch ``use_mambapy`` is set."""
    return _transformers(u, delta, A, B, C, D, use_mambapy=True)


def _transformers(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, use_mambapy: bool
) -> Tensor:
    u, delta, B, C = (t.transpose(1, 2) for t in (u, delta, B, C))
    return mamba_selective_scan(u, delta, A, B, C, D=D, use_mambapy=use_mambapy).transpose(1, 2)


pscan = partial(MambaBlock.selective_scan, None)
"""Scan as a layer of mambapy does, by its parallel scan; the method uses nothing of its layer."""


def published_layers(model: nn.Module, chunk_size: int = 64) -> nn.Module:
    """Return an HCMNet with the same weights, plain convolutions and transformers' Mamba-2."""
    theirs = copy.deepcopy(model)
    theirs.bissm.forward_scan = mixer(model.bissm.forward_scan, chunk_size)
    theirs.bissm.backward_scan = mixer(model.bissm.backward_scan, chunk_size)
    for parent in list(theirs.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv1d) and type(child) is not nn.Conv1d:
                setattr(parent, name, _plain(child))
    return theirs


def _plain(conv: nn.Conv1d) -> nn.Conv1d:
    plain = nn.Conv1d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        conv.bias is not None,
        conv.padding_mode,
    )
    plain.load_state_dict(conv.state_dict())
    return plain


def scan_replaced(model: nn.Module) -> nn.Module:
    """Return an MS-iMamba with the same weights and transformers' Mamba."""
    theirs = copy.deepcopy(model)
    for parent in list(theirs.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Mamba):
                setattr(parent, name, mixer1(child))
    return theirs


def window_by_window(model: nn.Module) -> nn.Module:
    """Return an MS-iMamba with the same weights whose foldings are made one after the other."""
    theirs = copy.deepcopy(model)
    theirs.mstb = nn.Sequential(*(WindowByWindow(block) for block in theirs.mstb))
    return theirs


class WindowByWindow(nn.Module):
    """An MSTB as it reads: a loop over windows and their periods, each kernel a convolution."""

    def __init__(self, block: periods.MSTB) -> None:
        super().__init__()
        self.conv1, self.conv2 = block.conv1, block.conv2
        self.switches = (block.k, block.periods, block.weights, block.rounding)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows ``(b, c, l)`` to windows."""
        k, choice, rule, rounding = self.switches
        amplitude = periods.amplitudes(x)
        frequencies = periods.chosen(amplitude, k, choice)
        weights = periods.fusion_weights(amplitude, frequencies, rule)
        own = periods.periods_of(x.shape[-1], frequencies, rounding).tolist()
        found = []
        for window, shares, lengths in zip(x, weights, own, strict=True):
            mixed = window
            for share, period in zip(shares, lengths, strict=True):
                image = _inception(self.conv1, periods.fold(window[None], period))
                image = _inception(self.conv2, F.gelu(image))
                mixed = mixed + share * periods.unfold(image, x.shape[-1])[0]
            found.append(mixed)
        return torch.stack(found)


def _inception(module: periods.Inception, image: Tensor) -> Tensor:
    return torch.stack([conv(image) for conv in module.convs]).mean(0)
