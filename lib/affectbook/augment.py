"""Transformations of windows: the six of self-supervised ECG, over a whole batch at once.

P. Sarkar and A. Etemad, "Self-Supervised ECG Representation Learning for Emotion Recognition",
IEEE Transactions on Affective Computing 13(3), 2022, doi 10.1109/TAFFC.2020.3014842; strengths and
roundings as in the authors' released code, which is not copied here.

Letters: b windows, c channels, t samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return x + rms * 10 ** (-snr_db / 20) * noise


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
    n_windows, _, n_times = x.shape
    length = n_times // pieces if pieces > 0 else 0
    if length < 1:
        raise ParameterError(f"a window of {n_times} samples has no {pieces} pieces to permute")
    order = torch.rand(n_windows, pieces, generator=generator).argsort(1)
    index = (order[:, :, None] * length + torch.arange(length)).flatten(1)
    rest = torch.arange(pieces * length, n_times).expand(n_windows, -1)
    index = torch.cat([index, rest], 1)
    return x.gather(-1, index[:, None].expand_as(x))


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
        If pieces are shorter than two samples, `stretch` is below 1, or what comes out is shorter
        than the window, so that it could not be cropped to it.
    """
    piece = n_times // pieces if pieces > 0 else 0
    if piece < 2 or not stretch >= 1:
        raise ParameterError(
            f"a window of {n_times} samples cannot be warped in {pieces} pieces by {stretch}; a "
            "piece has two samples or more, and is stretched by 1 or more"
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
    """Return how many pieces are stretched: 5 of 9."""
    return pieces // 2 + 1


def warp(x: Tensor, pieces: int, stretch: float, generator: torch.Generator) -> Tensor:
    """Stretch more than half of the pieces, squeeze the others, and crop at a random start.

    Which pieces are stretched is drawn for each window. Within a piece samples are interpolated
    linearly; what does not fill a piece at the end of the window is left out.

    Raises
    ------
    ParameterError
        As `warped_lengths`.
    """
    n_windows, _, n_times = x.shape
    piece, longer, shorter, total = warped_lengths(n_times, pieces, stretch)
    ranks = torch.rand(n_windows, pieces, generator=generator).argsort(1).argsort(1)
    lengths = torch.where(ranks < _stretched(pieces), longer, shorter)
    # As in the released code, the last of the possible starts is never drawn.
    starts = torch.randint(max(1, total - n_times), (n_windows, 1), generator=generator)
    stops = lengths.cumsum(1)
    at = starts + torch.arange(n_times)
    own = torch.searchsorted(stops, at, right=True)
    length = lengths.gather(1, own)
    inside = (at - (stops.gather(1, own) - length)) * (piece - 1) / (length - 1)
    left = inside.floor().long().clamp_(max=piece - 2)
    share = (inside - left).to(x.dtype)[:, None]
    index = (own * piece + left)[:, None].expand_as(x)
    return x.gather(-1, index) * (1 - share) + x.gather(-1, index + 1) * share


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
    return torch.stack([transform(name, x, generator, strengths) for name in NAMES])


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
