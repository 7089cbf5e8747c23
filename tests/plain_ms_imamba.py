"""MS-iMamba as its definition reads: one window, one period, one token, one step at a time.

It takes the weights of our modules and uses nothing else of them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def inception(module: nn.Module, image: Tensor) -> Tensor:
    """Return the mean of the convolutions of `module`, each computed by itself."""
    found = [
        F.conv2d(image, conv.weight, conv.bias, padding=conv.weight.shape[-1] // 2)
        for conv in module.convs
    ]
    return sum(found) / len(found)


def block(module: nn.Module, x: Tensor) -> Tensor:
    """Return what an MSTB makes of windows ``(b, c, l)``, window by window, period by period."""
    length = x.shape[-1]
    spectra = []  # of each window, from 1 cycle on
    for window in x:
        spectra.append(sum(torch.fft.rfft(channel).abs() for channel in window)[1:] / len(window))
    found = []
    for window, spectrum in zip(x, spectra, strict=True):
        if module.periods == "log_spaced":
            cycles = [min(4 * 2**i, len(spectrum)) for i in range(module.k)]
        else:
            decides = spectrum if module.periods == "sample" else sum(spectra) / len(spectra)
            ranked = sorted(range(len(spectrum)), key=lambda f: -decides[f].item())  # noqa: B023
            cycles = [f + 1 for f in ranked[: module.k]]
        own = torch.stack([spectrum[f - 1] for f in cycles])
        shares = {"softmax": own.exp() / own.exp().sum(), "normalised": own / own.sum()}
        weights = shares.get(module.weights, torch.full_like(own, 1 / len(cycles)))
        mixed = window
        for weight, f in zip(weights, cycles, strict=True):
            period = math.ceil(length / f) if module.rounding == "ceil" else length // f
            rows = math.ceil(length / period)
            image = window.new_zeros(1, len(window), rows * period)
            image[0, :, :length] = window
            image = image.reshape(1, len(window), rows, period)
            image = inception(module.conv2, F.gelu(inception(module.conv1, image)))
            mixed = mixed + weight * image.reshape(len(window), -1)[:, :length]
        found.append(mixed)
    return torch.stack(found)


def mamba(layer: nn.Module, u: Tensor) -> Tensor:
    """Return what a Mamba makes of the tokens of one window ``(l, d_model)``, in the order given.

    The equations of A. Gu and T. Dao, 2023, section 3, one token after the other.
    """
    d_inner, d_state = layer.A_log.shape
    taps = layer.conv1d.weight[:, 0]  # d j, the last tap for the present
    rank = layer.dt_proj.weight.shape[1]
    state = u.new_zeros(d_inner, d_state)
    past = [u.new_zeros(d_inner)] * taps.shape[1]
    found = []
    for token in u:
        x, gate = (layer.in_proj.weight @ token).split(d_inner)
        past = [*past[1:], x]
        x = F.silu(sum(taps[:, j] * past[j] for j in range(len(past))) + layer.conv1d.bias)
        dt, B, C = (layer.x_proj.weight @ x).split([rank, d_state, d_state])
        dt = F.softplus(layer.dt_proj.weight @ dt + layer.dt_proj.bias)
        decay = (-dt[:, None] * layer.A_log.exp()).exp()
        state = decay * state + dt[:, None] * B[None] * x[:, None]
        found.append(layer.out_proj.weight @ ((state @ C + layer.D * x) * F.silu(gate)))
    return torch.stack(found)


def network(model: nn.Module, x: Tensor) -> Tensor:
    """Return the logits of the declared reading of MS-iMamba, with the weights of `model`."""
    for module in model.mstb:
        x = block(module, x)
    logits = []
    for window in x:
        tokens = F.linear(window, *model.tsfb.embedding.linear.parameters())  # c d_model
        for layer in model.tsfb.layers:
            tokens = tokens + mamba(layer.mixer.forwards, _normed(layer.norm, tokens))
        tokens = _normed(model.tsfb.norm, tokens)
        logits.append(F.linear(tokens.flatten(), *model.head.parameters()))
    return torch.stack(logits)


def _normed(norm: nn.Module, tokens: Tensor) -> Tensor:
    centred = tokens - tokens.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return centred / deviation * norm.weight + norm.bias
