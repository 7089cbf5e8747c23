"""The scan of Mamba-2, twice: as its definition and in chunks.

Source: T. Dao and A. Gu, "Transformers are SSMs", ICML 2024; the recurrence is their eq. 2 with a
scalar decay per head, the chunks are their section 6.

Letters of the shapes::

    b  batch                        g  groups: heads of one group share B and C
    l  length (time steps)          k  heads of one group, h = g k
    c  chunks of the length         p  head dimension (channels of one head)
    q  step within a chunk, output  n  state dimension
    s  step within a chunk, source  h  heads

Both functions take ``x (b, l, h, p)``, ``dt (b, l, h)`` (step sizes, >= 0), ``A (h,)`` (< 0),
``B, C (b, l, g, n)``, ``D (h,)`` and return ``y (b, l, h, p)`` of::

    state_t = exp(dt_t A) state_{t-1} + dt_t B_t x_t^T        y_t = C_t^T state_t + D x_t
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def ssd_recurrence(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Scan step by step: the definition, slow, and what every faster scan is held against."""
    heads_per_group = x.shape[2] // B.shape[2]
    B = B.repeat_interleave(heads_per_group, dim=2)  # b l h n
    C = C.repeat_interleave(heads_per_group, dim=2)  # b l h n
    decay = torch.exp(dt * A)  # b l h
    u = dt.unsqueeze(-1) * x  # b l h p
    state = x.new_zeros(*x.shape[:1], *x.shape[2:], B.shape[-1])  # b h p n
    y = []
    for t in range(x.shape[1]):
        state = decay[:, t, :, None, None] * state + u[:, t, :, :, None] * B[:, t, :, None, :]
        y.append((state * C[:, t, :, None, :]).sum(-1))  # b h p
    return torch.stack(y, dim=1) + D.unsqueeze(-1) * x


def ssd_chunked(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, chunk_size: int = 64
) -> Tensor:
    """Scan in chunks: matrix products inside a chunk, a short recurrence from chunk to chunk.

    Equal to :func:`ssd_recurrence` to rounding, in values and gradients, for any length and
    however strong the decay is.
    """
    length, ngroups = x.shape[1], B.shape[2]
    chunk_size = min(chunk_size, length)
    u = _chunks(dt.unsqueeze(-1) * x, chunk_size)  # b c s h p
    u = rearrange(u, "b c s (g k) p -> b c g k s p", g=ngroups)
    B = rearrange(_chunks(B, chunk_size), "b c s g n -> b c g s n")
    C = rearrange(_chunks(C, chunk_size), "b c q g n -> b c g q n")
    # Exponents reach -1000 within a chunk and are subtracted from each other: in float32 that
    # costs the last digits of y and most digits of the gradients of dt and A.
    exponent = _chunks(dt.double() * A.double(), chunk_size).cumsum(dim=2)  # b c q h
    exponent = rearrange(exponent, "b c q (g k) -> b c g k q", g=ngroups)

    y = _within_chunks(u, exponent, B, C) + _from_earlier_chunks(u, exponent, B, C)
    y = rearrange(y, "b c g k q p -> b (c q) (g k) p")[:, :length]
    return y + D.unsqueeze(-1) * x


def _chunks(t: Tensor, chunk_size: int) -> Tensor:
    """Cut ``(b, l, ...)`` into ``(b, c, chunk_size, ...)``; zeros fill the last chunk."""
    missing = -t.shape[1] % chunk_size
    if missing:
        t = F.pad(t, (0, 0) * (t.ndim - 2) + (0, missing))
    return t.unflatten(1, (-1, chunk_size))


def _within_chunks(u: Tensor, exponent: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return what the steps of a chunk contribute to later steps of the same chunk."""
    scores = C @ B.transpose(-1, -2)  # b c g q s, once for all heads of a group
    decay = exponent.unsqueeze(-1) - exponent.unsqueeze(-2)  # b c g k q s
    steps = decay.shape[-1]
    future = torch.ones(steps, steps, dtype=torch.bool, device=u.device).triu(1)  # q s
    # Masked before exp: the exponent of a future step is positive and would overflow, and
    # inf * 0 in the backward pass is NaN.
    decay = decay.masked_fill(future, -torch.inf).to(u.dtype).exp()
    return (scores.unsqueeze(3) * decay) @ u  # b c g k q p


def _from_earlier_chunks(u: Tensor, exponent: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return what all earlier chunks contribute, through the state at the chunk's start."""
    heads = u.shape[3]
    to_end = (exponent[..., -1:] - exponent).to(u.dtype).exp()  # b c g k s
    added = rearrange(to_end.unsqueeze(-1) * u, "b c g k s p -> b c g s (k p)")
    added = rearrange(B.transpose(-1, -2) @ added, "b c g n (k p) -> b c g n k p", k=heads)
    kept = exponent[..., -1].to(u.dtype).exp()[:, :, :, None, :, None]  # b c g 1 k 1

    state, states = torch.zeros_like(added[:, 0]), []  # b g n k p
    for kept_c, added_c in zip(kept.unbind(1), added.unbind(1), strict=True):
        states.append(state)
        state = kept_c * state + added_c
    y = C @ torch.stack(states, dim=1).flatten(-2)  # b c g q (k p)
    y = rearrange(y, "b c g q (k p) -> b c g k q p", k=heads)
    return exponent.to(u.dtype).exp().unsqueeze(-1) * y
