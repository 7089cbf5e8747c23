"""Transformations of windows: the six of self-supervised ECG, over a whole batch at once.

P. Sarkar and A. Etemad, "Self-Supervised ECG Representation Learning for Emotion Recognition",
IEEE Transactions on Affective Computing 13(3), 2022, doi 10.1109/TAFFC.2020.3014842; strengths and
roundings as in the authors' released code, which is not copied here.

Letters: b windows, c channels, t samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from affectbook.errors import ParameterError

ORIGINAL = "original"
NAMES = (ORIGINAL, "noise", "scaling", "negation", "inversion", "permutation", "time_warp")
"""The seven versions of a window, in the order of the released code; the first is the window."""


@dataclass(frozen=True)
class Strengths:
    """How strongly windows are transformed; the defaults are the published ones.

    Attributes
    ----------
    snr_db : float
        Signal-to-noise ratio of the white noise in dB.
    factor : float
        Of the scaling.
    pieces : int
        Of equal length that the permutation shuffles.
    warp_pieces : int
        That the time warp stretches or squeezes.
    stretch : float
        Of the longer pieces; the others are squeezed by its inverse.
    """

    snr_db: float = 15.0
    factor: float = 1.1
    pieces: int = 20
    warp_pieces: int = 9
    stretch: float = 1.05


PUBLISHED = Strengths()


def add_noise(x: Tensor, snr_db: float, generator: torch.Generator) -> Tensor:
    """Add white Gaussian noise ``snr_db`` below the mean square of each window ``(b, c, t)``."""
    rms = x.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    return torch.addcmul(x, noise, rms, value=10 ** (-snr_db / 20))


def scale(x: Tensor, factor: float) -> Tensor:
    """Multiply by a factor."""
    return x * factor


def negate(x: Tensor) -> Tensor:
    """Turn windows upside down."""
    return -x


def invert(x: Tensor) -> Tensor:
    """Turn time round."""
    return x.flip(-1)


def permute(x: Tensor, pieces: int, generator: torch.Generator) -> Tensor:
    """Shuffle pieces of equal length, each window in an order of its own.

    Where `pieces` does not divide the window, the samples that are left stay at its end.

    Raises
    ------
    ParameterError
        If there is not a sample for each piece.
    """
    n_windows, n_chans, n_times = x.shape
    length = n_times // pieces if pieces > 0 else 0
    if length < 1:
        raise ParameterError(f"a window of {n_times} samples has no {pieces} pieces to permute")
    own = draw_orders(n_windows, pieces, generator)[:, None]
    first = torch.arange(0, n_windows * n_chans * pieces, pieces).view(n_windows, n_chans, 1)
    index = (first + own).flatten().to(x.device)
    whole, rest = x.split([pieces * length, n_times - pieces * length], -1)
    shuffled = whole.reshape(-1, length).index_select(0, index).view_as(whole)
    return torch.cat([shuffled, rest], -1) if rest.shape[-1] else shuffled


def draw_orders(n_windows: int, pieces: int, generator: torch.Generator) -> Tensor:
    """Return an order of the pieces for each window ``(b, pieces)``."""
    return torch.rand(n_windows, pieces, generator=generator).argsort(1)


def warped_lengths(n_times: int, pieces: int, stretch: float) -> tuple[int, int, int, int]:
    """Return what a time warp makes of a window of so many samples.

    Returns
    -------
    piece, longer, shorter, total : int
        Samples of a piece before, of a stretched and of a squeezed piece, and of all together; a
        window of 2560 samples gives 284, 299, 271 and 2579.

    Raises
    ------
    ParameterError
        If pieces are shorter than two samples, before or after, `stretch` is below 1, or what
        comes out is shorter than the window, so that it could not be cropped to it.
    """
    piece = n_times // pieces if pieces > 0 else 0
    if piece < 2 or not 1 <= stretch <= piece / 2:
        raise ParameterError(
            f"a window of {n_times} samples cannot be warped in {pieces} pieces by {stretch}; a "
            "piece has two samples or more, also when squeezed, and is stretched by 1 or more"
        )
    # Of 284 x 1.05 the released code makes 299 samples, of 284 / 1.05 it makes 271.
    longer, shorter = math.ceil(piece * stretch - 1e-9), math.ceil(piece / stretch - 1e-9)
    n_longer = _stretched(pieces)
    total = n_longer * longer + (pieces - n_longer) * shorter
    if total < n_times:
        raise ParameterError(
            f"warped in {pieces} pieces by {stretch}, {n_times} samples become {total}, which "
            "cannot be cropped to the window"
        )
    return piece, longer, shorter, total


def _stretched(pieces: int) -> int:
    """Return how many pieces are stretched: 5 of 9, and half of an even number."""
    return (pieces + 1) // 2


def draw_warps(
    n_windows: int, pieces: int, n_starts: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return which pieces of each window are stretched, and where it is cropped.

    Returns
    -------
    stretched, starts : torch.Tensor
        ``(b, pieces)``, true where a piece is stretched, and ``(b, 1)``, from 0 to `n_starts` - 1.
    """
    ranks = torch.rand(n_windows, pieces, generator=generator).argsort(1).argsort(1)
    starts = torch.randint(n_starts, (n_windows, 1), generator=generator)
    return ranks < _stretched(pieces), starts


def warp(x: Tensor, pieces: int, stretch: float, generator: torch.Generator) -> Tensor:
    """Stretch half of the pieces, and the odd one, squeeze the others, and crop at a random start.

    Which pieces are stretched is drawn for each window. Within a piece samples are interpolated
    linearly; what does not fill a piece at the end of the window is left out.

    Raises
    ------
    ParameterError
        As `warped_lengths`.
    """
    n_windows, _, n_times = x.shape
    piece, longer, shorter, total = warped_lengths(n_times, pieces, stretch)
    # As in the released code, the last of the possible starts is never drawn.
    stretched, starts = draw_warps(n_windows, pieces, max(1, total - n_times), generator)
    left, share = _sources(piece, pieces, longer, shorter)
    rows = _rows(stretched, starts, n_times, longer, shorter)
    index = left.index_select(0, rows).to(x.device).view(n_windows, 1, n_times)
    share = share.to(x).index_select(0, rows.to(x.device)).view(n_windows, 1, n_times)
    before, after = (part.gather(-1, index.expand_as(x)) for part in (x, x[..., 1:]))
    return torch.lerp(before, after, share)


def _sources(piece: int, pieces: int, longer: int, shorter: int) -> tuple[Tensor, Tensor]:
    """Return where samples of warped pieces come from, a row of each piece after the other.

    A row holds the piece stretched, then the piece squeezed: the sample to the left, counted in
    the window, and the share of the one that follows it.
    """
    inside = torch.cat(
        [torch.linspace(0, piece - 1, length, dtype=torch.float64) for length in (longer, shorter)]
    )
    left = inside.floor().long().clamp_(max=piece - 2)
    first = torch.arange(0, pieces * piece, piece)[:, None]
    return (first + left).flatten(), (inside - left).repeat(pieces)


def _rows(
    stretched: Tensor, starts: Tensor, n_times: int, longer: int, shorter: int
) -> Tensor:
    """Return the entries of `_sources` that make up the windows, one after the other ``(b t)``.

    Parameters
    ----------
    stretched
        Which pieces are, ``(b, pieces)``; the others are squeezed.
    starts
        Of the windows among what comes out, ``(b, 1)``.
    n_times, longer, shorter
        Samples of a window, of a stretched and of a squeezed piece.
    """
    n_windows, pieces = stretched.shape
    lengths = torch.where(stretched, longer, shorter)
    stops = lengths.cumsum(1) - starts
    source = torch.arange(pieces) * (longer + shorter) + torch.where(stretched, 0, longer)
    shift = source - (stops - lengths) - n_times * torch.arange(n_windows)[:, None]
    stops = stops.clamp_(0, n_times)
    counts = torch.diff(stops, dim=1, prepend=torch.zeros_like(starts))
    # Within a piece entries follow one another. NumPy repeats several times as fast as torch.
    repeated = np.repeat(shift.numpy().ravel(), counts.numpy().ravel())
    return torch.arange(len(repeated)).add_(torch.from_numpy(repeated))


def versions(
    x: Tensor, generator: torch.Generator, strengths: Strengths = PUBLISHED
) -> Tensor:
    """Return the seven versions of each window, in the order of `NAMES`.

    Parameters
    ----------
    x
        Windows ``(b, c, t)``.
    generator
        Draws noise, orders and pieces.
    strengths
        Of the transformations.

    Returns
    -------
    torch.Tensor
        ``(7, b, c, t)``.

    Raises
    ------
    ParameterError
        If windows are too short for the pieces.
    """
    made = x.new_empty(len(NAMES), *x.shape)
    for name, version in zip(NAMES, made, strict=True):
        version.copy_(transform(name, x, generator, strengths))
    return made


def transform(
    name: str, x: Tensor, generator: torch.Generator, strengths: Strengths = PUBLISHED
) -> Tensor:
    """Return one version, a key of `NAMES`, of each window ``(b, c, t)``.

    Raises
    ------
    ParameterError
        If there is no such transformation, or windows are too short for the pieces.
    """
    if name == ORIGINAL:
        return x
    if name == "noise":
        return add_noise(x, strengths.snr_db, generator)
    if name == "scaling":
        return scale(x, strengths.factor)
    if name == "negation":
        return negate(x)
    if name == "inversion":
        return invert(x)
    if name == "permutation":
        return permute(x, strengths.pieces, generator)
    if name == "time_warp":
        return warp(x, strengths.warp_pieces, strengths.stretch, generator)
    raise ParameterError(f"no transformation {name!r}; there are {', '.join(NAMES)}")
