"""Multi-scale blocks of TimesNet's kind: periods from the spectrum, foldings, convolutions on them.

Sources: X. Zhou, D. Huang, X. Peng and L. Yin, "miMamba: EEG-based Emotion Recognition with
Multi-scale Inverted Mamba Models" (arXiv 2409.07589), the block MSTB, of which a summary was at
hand and no code; H. Wu et al., "TimesNet", ICLR 2023, section 3, which it follows step by step.

Letters of the shapes::

    b  windows of a batch           f  frequency bins without the constant, 1 .. l // 2
    c  channels (electrodes)        k  periods chosen for a window
    l  samples of a window          n  windows that share a period
    h, w  rows and columns of a folding: patches, and the samples of a patch
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from affectbook.errors import ParameterError

CHOICES = ("sample", "batch", "log_spaced")
WEIGHTS = ("softmax", "normalised", "equal")
ROUNDINGS = ("ceil", "floor")


def amplitudes(x: Tensor) -> Tensor:
    """Return the amplitude spectrum of windows ``(b, c, l)``: ``(b, f)``, mean of the channels.

    The constant is left out: its period would be infinite. Not normalised by the length, as in
    TimesNet.
    """
    return torch.fft.rfft(x, dim=-1).abs().mean(1)[:, 1:]


def chosen(amplitude: Tensor, k: int, choice: str = "sample") -> Tensor:
    """Return the `k` frequencies ``(b, k)``, in cycles per window, that scales are made of.

    Parameters
    ----------
    amplitude
        ``(b, f)``: `amplitudes`.
    k
        How many.
    choice
        ``"sample"``: each window's own strongest; ``"batch"``: the strongest of the batch's mean
        spectrum, TimesNet's rule, under which a prediction depends on the windows beside it;
        ``"log_spaced"``: 4, 8, 16, ... cycles, whatever the spectrum.

    Raises
    ------
    ParameterError
        If the spectrum has fewer bins than `k`, or `choice` is unknown.
    """
    windows, bins = amplitude.shape
    if not 1 <= k <= bins:
        raise ParameterError(f"k = {k} periods of {bins} frequencies; take 1 to {bins}")
    if choice == "sample":
        return amplitude.topk(k, dim=1).indices + 1
    if choice == "batch":
        common = amplitude.mean(0).topk(k).indices + 1
    elif choice == "log_spaced":
        common = (4 * 2 ** torch.arange(k, device=amplitude.device)).clamp(max=bins)
    else:
        raise ParameterError(f"periods must be one of {CHOICES}, not {choice!r}")
    return common.expand(windows, k)


def periods_of(length: int, frequencies: Tensor, rounding: str = "ceil") -> Tensor:
    """Return the patch sizes in samples of frequencies in cycles per window of `length` samples.

    ``"ceil"`` is the paper's rule, ``"floor"`` TimesNet's.

    Raises
    ------
    ParameterError
        If `rounding` is unknown.
    """
    if rounding not in ROUNDINGS:
        raise ParameterError(f"rounding must be one of {ROUNDINGS}, not {rounding!r}")
    return torch.div(
        length + frequencies - 1 if rounding == "ceil" else length,
        frequencies, rounding_mode="floor",
    )  # fmt: skip


def fusion_weights(amplitude: Tensor, frequencies: Tensor, rule: str = "softmax") -> Tensor:
    """Return how much each scale of each window counts, ``(b, k)``, summing to one.

    Parameters
    ----------
    amplitude, frequencies
        ``(b, f)`` and ``(b, k)``.
    rule
        ``"softmax"`` of the amplitudes, TimesNet's rule, which depends on the unit of the signal;
        ``"normalised"``, their shares, which do not; ``"equal"``.

    Raises
    ------
    ParameterError
        If `rule` is unknown.
    """
    own = amplitude.gather(1, frequencies - 1)
    if rule == "softmax":
        return own.softmax(1)
    if rule == "normalised":
        return own / own.sum(1, keepdim=True).clamp(min=torch.finfo(own.dtype).tiny)
    if rule == "equal":
        return torch.full_like(own, 1 / own.shape[1])
    raise ParameterError(f"weights must be one of {WEIGHTS}, not {rule!r}")


def fold(x: Tensor, period: int) -> Tensor:
    """Lay series ``(n, c, l)`` out as images ``(n, c, h, w)``: a row is one patch of `period`.

    Zeros fill the last row.
    """
    rows = -(-x.shape[-1] // period)
    return F.pad(x, (0, rows * period - x.shape[-1])).unflatten(-1, (rows, period))


def unfold(image: Tensor, length: int) -> Tensor:
    """Undo `fold`: images ``(n, c, h, w)`` to series ``(n, c, l)``."""
    return image.flatten(-2)[..., :length]


class Inception(nn.Module):
    """The mean of square convolutions of widths 1, 3, 5, ..., each with padding to the same size.

    A mean of convolutions is one convolution with the mean of their kernels, the smaller ones
    padded with zeros; that one is computed.

    Parameters
    ----------
    c_in, c_out
        Channels in and out.
    n_kernels
        How many widths; six go up to 11.
    """

    def __init__(self, c_in: int, c_out: int, n_kernels: int = 6) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 2 * i + 1, padding=i) for i in range(n_kernels)
        )

    def merged(self) -> tuple[Tensor, Tensor]:
        """Return weight ``(c_out, c_in, width, width)`` and bias of the one convolution."""
        widest = len(self.convs) - 1
        kernels = [F.pad(conv.weight, [widest - i] * 4) for i, conv in enumerate(self.convs)]
        return torch.stack(kernels).mean(0), torch.stack([c.bias for c in self.convs]).mean(0)

    def forward(self, image: Tensor, merged: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Convolve ``(n, c_in, h, w)`` to ``(n, c_out, h, w)``; `merged` saves merging again."""
        weight, bias = merged or self.merged()
        # Taps further out than the image is wide meet zeros only.
        outside = [max(0, weight.shape[-1] // 2 - (size - 1)) for size in image.shape[-2:]]
        rows, columns = (slice(cut, weight.shape[-1] - cut) for cut in outside)
        weight = weight[..., rows, columns]
        padding = [size // 2 for size in weight.shape[-2:]]
        image = image.contiguous(memory_format=torch.channels_last)
        return F.conv2d(image, weight, bias, padding=padding)


class MSTB(nn.Module):
    """Multi-scale temporal block: fold by the strongest periods, convolve, unfold, add up.

    For each window, with ``A`` its amplitude spectrum and ``f_1 .. f_k`` its strongest bins::

        p_i = ceil(l / f_i)      x_i = unfold(conv2(gelu(conv1(fold(x, p_i)))))
        x' = x + sum_i w_i x_i   w = softmax(A_f1 .. A_fk)

    Not found in what was at hand of the paper, and chosen here: k, whose spectrum decides, that
    the constant is left out, the weights, kernels, width, activation, and the residual. The kernels
    and the activation are TimesNet's.

    Parameters
    ----------
    n_chans
        Channels in and out, ``c``.
    hidden
        Channels between the two convolutions.
    k
        Periods of a window.
    periods, weights, rounding
        See `chosen`, `fusion_weights`, `periods_of`.
    n_kernels
        Widths of each `Inception`.

    Raises
    ------
    ParameterError
        If a switch has an unknown value; by `forward`, if a window has fewer than ``2 k`` samples.
    """

    def __init__(
        self,
        n_chans: int,
        *,
        hidden: int = 32,
        k: int = 3,
        periods: str = "sample",
        weights: str = "softmax",
        rounding: str = "ceil",
        n_kernels: int = 6,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("periods", periods, CHOICES), ("weights", weights, WEIGHTS),
            ("rounding", rounding, ROUNDINGS),
        ):  # fmt: skip
            if value not in known:
                raise ParameterError(f"{name} must be one of {known}, not {value!r}")
        self.k, self.periods, self.weights, self.rounding = k, periods, weights, rounding
        self.conv1 = Inception(n_chans, hidden, n_kernels)
        self.conv2 = Inception(hidden, n_chans, n_kernels)

    def forward(self, x: Tensor) -> Tensor:
        """Return windows ``(b, c, l)`` with what their foldings show added to them."""
        amplitude = amplitudes(x)  # b f
        frequencies = chosen(amplitude, self.k, self.periods)  # b k
        weights = fusion_weights(amplitude, frequencies, self.weights)  # b k
        periods = periods_of(x.shape[-1], frequencies, self.rounding)  # b k
        first, second = self.conv1.merged(), self.conv2.merged()
        mixed = torch.zeros_like(x)
        # All windows that share a period are one batch of images: as many products as periods.
        for period in periods.unique().tolist():
            here = periods == period  # b k
            own = here.any(1).nonzero()[:, 0]  # n
            image = self.conv1(fold(x[own], period), first)  # n hidden h w
            series = unfold(self.conv2(F.gelu(image), second), x.shape[-1])  # n c l
            share = (weights * here).sum(1)[own, None, None]  # n 1 1
            mixed = mixed.index_add(0, own, share * series)
        return x + mixed
