"""Convolutions of the published layers, through faster routes of plain PyTorch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def causal_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""Convolve each channel with its own taps, over the present and the past.

    .. math:: y_t = bias + \sum_{j=0}^{J-1} weight_{J-1-j}\; x_{t-j}

    Equal to ``nn.Conv1d(d, d, J, groups=d, padding=J - 1)`` cut to the length of its input, without
    its two transpositions: time stays in front of the channels.

    Parameters
    ----------
    x
        ``(b, l, d)``.
    weight
        Taps ``(d, J)``, the last one for the present.
    bias
        ``(d,)`` or None.
    """
    return _CausalDepthwise.apply(x, weight, bias)


class _CausalDepthwise(torch.autograd.Function):
    r"""The gradient of x is the same convolution backwards in time; that of a tap is one sum.

    .. math::
        \bar x_t = \sum_j weight_{J-1-j}\; \bar y_{t+j}, \qquad
        \overline{weight}_{J-1-j} = \sum_t \bar y_t\, x_{t-j}
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return _slide(F.pad(x, (0, 0, weight.shape[1] - 1, 0)), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        taps, length = weight.shape[1], x.shape[1]
        dx = _slide(F.pad(dy, (0, 0, 0, taps - 1)), weight.flip(1))
        dweight = [
            (dy[:, j:] * x[:, : length - j]).sum((0, 1))
            if j < length
            else weight.new_zeros(len(weight))
            for j in reversed(range(taps))
        ]
        return dx, torch.stack(dweight, 1), dy.sum((0, 1)) if ctx.has_bias else None


def _slide(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Slide taps ``(d, J)`` over ``(b, l + J - 1, d)``: an image of height 1, channels last."""
    image = x.transpose(1, 2).unsqueeze(2)  # b d 1 l
    y = F.conv2d(image, weight[:, None, None], bias, groups=len(weight))
    return y.squeeze(2).transpose(1, 2)


class WideConv1d(nn.Conv1d):
    """``nn.Conv1d`` for kernels of about 32 taps: the same numbers, as an image, channels last.

    On a CPU, oneDNN has a slow path for wide one-dimensional kernels over channels-first signals.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, padding
        As in ``nn.Conv1d``; zeros pad, and there is neither stride nor dilation nor groups.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(b, c, t)``."""
        image = x.unsqueeze(2).contiguous(memory_format=torch.channels_last)  # b c 1 t
        y = F.conv2d(image, self.weight.unsqueeze(2), self.bias, padding=(0, *self.padding))
        return y.squeeze(2).contiguous()
