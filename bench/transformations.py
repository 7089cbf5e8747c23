"""The versions of a batch of windows are made several times faster at once than one by one.

Claim: on a CPU, `affectbook.augment.versions` makes the seven versions of a batch (the window, with
noise, scaled, negated, inverted, permuted and warped in time) in less time than a loop that calls
it for one window after the other, and than a loop in NumPy, which cuts, shuffles and interpolates
(np.interp) one window after the other. The three that draw random numbers are timed by themselves
as well. What is compared before has the same draws; what is timed draws for itself, as in training.

Goal, 128 windows of one lead and 2560 samples, one thread: 20 times as fast as either loop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import numpy as np
import torch
from harness import Candidate, Case, main
from torch import Tensor

from affectbook import augment
from affectbook.augment import PUBLISHED

SEVEN = "all seven"
N_CHANS = 1
PIECES, WARP_PIECES, STRETCH = PUBLISHED.pieces, PUBLISHED.warp_pieces, PUBLISHED.stretch


class Drawn:
    """Draws of a batch that were made before, handed out window by window."""

    def __init__(self, name: str, x: Tensor, seed: int) -> None:
        generator, n_windows = torch.Generator().manual_seed(seed), len(x)
        if name in (SEVEN, "noise"):
            self.noises = iter(torch.randn(x.shape, generator=generator).numpy())
        if name in (SEVEN, "permutation"):
            self.orders = iter(augment.draw_orders(n_windows, PIECES, generator).numpy())
        if name in (SEVEN, "time_warp"):
            n_starts = _n_starts(x.shape[-1])
            warps = augment.draw_warps(n_windows, WARP_PIECES, n_starts, generator)
            self.warps = zip(*(part.numpy() for part in warps), strict=True)

    def noise(self, shape: tuple[int, int]) -> np.ndarray:
        """Return white Gaussian noise ``(c, t)``."""
        return next(self.noises)

    def order(self) -> np.ndarray:
        """Return an order of the pieces."""
        return next(self.orders)

    def warp(self, n_times: int) -> tuple[np.ndarray, int]:
        """Return which pieces are stretched, and where to crop."""
        stretched, start = next(self.warps)
        return stretched, start.item()


class Drawing:
    """Draws made when they are needed, as a loop in NumPy makes them."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def noise(self, shape: tuple[int, int]) -> np.ndarray:
        """Return white Gaussian noise ``(c, t)``."""
        return self.rng.standard_normal(shape, dtype=np.float32)

    def order(self) -> np.ndarray:
        """Return an order of the pieces."""
        return self.rng.permutation(PIECES)

    def warp(self, n_times: int) -> tuple[np.ndarray, int]:
        """Return which pieces are stretched, and where to crop."""
        stretched = self.rng.permutation(WARP_PIECES) < WARP_PIECES // 2 + 1
        return stretched, self.rng.integers(_n_starts(n_times))


def _n_starts(n_times: int) -> int:
    return augment.warped_lengths(n_times, WARP_PIECES, STRETCH)[-1] - n_times


def noisy(window: np.ndarray, draws: Drawn | Drawing) -> np.ndarray:
    """Return one window ``(c, t)`` with noise."""
    rms = np.sqrt(np.mean(window**2))
    return window + rms * 10 ** (-PUBLISHED.snr_db / 20) * draws.noise(window.shape)


def permuted(window: np.ndarray, draws: Drawn | Drawing) -> np.ndarray:
    """Return one window ``(c, t)`` with its pieces in another order."""
    size = window.shape[-1] // PIECES
    cut = [window[:, piece * size : (piece + 1) * size] for piece in draws.order()]
    return np.concatenate([*cut, window[:, PIECES * size :]], -1)


def warped(window: np.ndarray, draws: Drawn | Drawing) -> np.ndarray:
    """Return one window ``(c, t)`` warped in time, piece by piece."""
    n_times = window.shape[-1]
    size, longer, shorter, _ = augment.warped_lengths(n_times, WARP_PIECES, STRETCH)
    stretched, start = draws.warp(n_times)
    found, own = [], np.arange(size)
    for piece, is_longer in enumerate(stretched):
        at = np.linspace(0, size - 1, longer if is_longer else shorter)
        part = window[:, piece * size : (piece + 1) * size]
        found.append([np.interp(at, own, channel) for channel in part])
    return np.concatenate(found, -1)[:, start : start + n_times]


ONE = {"noise": noisy, "permutation": permuted, "time_warp": warped}


def window_by_window(name: str, x: np.ndarray, draws: Drawn | Drawing) -> Tensor:
    """Return one version ``(b, c, t)``, or all seven of them, made in a loop."""
    if name in ONE:
        made = np.empty_like(x)
        for number, window in enumerate(x):
            made[number] = ONE[name](window, draws)
        return torch.from_numpy(made)
    made = np.empty((len(augment.NAMES), *x.shape), x.dtype)
    for number, window in enumerate(x):
        made[0, number] = window
        made[1, number] = noisy(window, draws)
        made[2, number] = PUBLISHED.factor * window
        made[3, number] = -window
        made[4, number] = window[:, ::-1]
        made[5, number] = permuted(window, draws)
        made[6, number] = warped(window, draws)
    return torch.from_numpy(made)


def called_for_each(made: Callable[..., Tensor], x: Tensor, generator: torch.Generator) -> Tensor:
    """Return versions ``(..., b, c, t)`` that `augment` makes of one window after the other."""
    return torch.cat([made(window, generator) for window in x.split(1)], -3)


def with_draws(made: Callable[..., Tensor], x: Tensor, draws: Drawn) -> Tensor:
    """Return the same, with draws that were made before in place of those of `augment`."""

    def warp(*_: object) -> tuple[Tensor, Tensor]:
        stretched, start = next(draws.warps)
        return torch.from_numpy(stretched)[None], torch.from_numpy(start)[None]

    with (
        patch.object(torch, "randn", lambda *_, **__: torch.from_numpy(next(draws.noises))[None]),
        patch.object(augment, "draw_orders", lambda *_: torch.from_numpy(next(draws.orders))[None]),
        patch.object(augment, "draw_warps", warp),
    ):
        return called_for_each(made, x, torch.Generator())


def ways(name: str, batch: int, samples: int) -> dict[str, Candidate]:
    """Return the batch at once and both loops, on the same windows."""
    x, generator = torch.randn(batch, N_CHANS, samples), torch.Generator().manual_seed(0)
    windows, draws = x.numpy(), Drawing()
    at_once = augment.versions if name == SEVEN else partial(augment.transform, name)
    return {
        "ours": Candidate(
            lambda: at_once(x, torch.Generator().manual_seed(1)), step=lambda: at_once(x, generator)
        ),
        "ours, window by window": Candidate(
            lambda: with_draws(at_once, x, Drawn(name, x, 1)),
            step=lambda: called_for_each(at_once, x, generator),
        ),
        "NumPy, window by window": Candidate(
            lambda: window_by_window(name, windows, Drawn(name, x, 1)),
            step=lambda: window_by_window(name, windows, draws),
        ),
    }


def cases(quick: bool) -> list[Case]:
    """Return what is made: of a small batch, or of that of the claim."""
    batch, samples = (4, 200) if quick else (128, 2560)
    found = []
    for name in (SEVEN, *ONE):
        shape = {"version": name, "batch": batch, "samples": samples}
        build = partial(ways, name, batch, samples)
        found.append(Case(shape, build, ["step"], rounds=9, tolerance=1e-5))
    return found


if __name__ == "__main__":
    main("transformations", __doc__, cases)
