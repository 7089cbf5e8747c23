"""The scan of Mamba-2, twice: as its definition, and as matrix products, with its gradient.

Source: T. Dao and A. Gu, "Transformers are SSMs", ICML 2024; the recurrence is their eq. 2 with a
scalar decay per head, the chunks are their section 6. How decays are factored so that all heads
share three products, and the derivative, are derived in the docstring of :class:`_Chunks`; the page
*Scans as matrix products* of the book explains the idea with a figure.

Letters of the shapes::

    b  batch                        g  groups: heads of one group share B and C
    l  length (time steps)          k  heads of one group, h = g k
    c  chunks of the length         p  head dimension (channels of one head)
    q  step within a chunk, output  n  state dimension
    s  step within a chunk, source  z  all chunks and groups, b c g

Both functions take ``x (b, l, h, p)``, ``dt (b, l, h)`` (step sizes, >= 0), ``A (h,)`` (< 0),
``B, C (b, l, g, n)``, ``D (h,)`` and return ``y (b, l, h, p)`` of::

    state_t = exp(dt_t A) state_{t-1} + dt_t B_t x_t^T        y_t^T = C_t^T state_t + D x_t^T
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.autograd.function import once_differentiable

from affectbook.errors import ParameterError
from affectbook.models.products import bmm

# The decays of a chunk span exp(-range) .. 1, and its factors go up to exp(range / 2), which leaves
# room below the largest number, 1e38 or 1e308, for products with data and sums of them: in float32,
# for inputs and gradients between about 1e-12 and 1e10.
_RANGE = {torch.float32: 120.0, torch.float64: 1300.0}
_SMALLEST_SINGLE_CHUNK = 16  # below it, whole chunks in float64 are faster than small ones


def ssd_recurrence(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Scan step by step: the definition, slow, and what the fast scan is held against."""
    heads_per_group = x.shape[2] // B.shape[2]
    B = B.repeat_interleave(heads_per_group, dim=2)  # b l h n
    C = C.repeat_interleave(heads_per_group, dim=2)  # b l h n
    decay = torch.exp(dt * A)[..., None, None]  # b l h 1 1
    u = dt.unsqueeze(-1) * x  # b l h p
    state = x.new_zeros(*x.shape[:1], *x.shape[2:], B.shape[-1])  # b h p n
    y = []
    for decay_t, u_t, B_t, C_t in zip(*(t.unbind(1) for t in (decay, u, B, C)), strict=True):
        state = decay_t * state + u_t.unsqueeze(-1) * B_t.unsqueeze(-2)
        y.append((state * C_t.unsqueeze(-2)).sum(-1))  # b h p
    return torch.stack(y, dim=1) + D.unsqueeze(-1) * x


def ssd(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, chunk_size: int = 64
) -> Tensor:
    """Scan in chunks: matrix products inside a chunk, a short recurrence from chunk to chunk.

    Equal to :func:`ssd_recurrence` to rounding, in values and gradients, for any length and
    however strong the decay is. A value that is not finite spoils the whole of its chunk. It can be
    differentiated once, not twice. For the backward pass it keeps a few arrays of the size of `x`
    and one state per chunk; very strong decays make the chunks small, hence the states many.

    Parameters
    ----------
    x, dt, A, B, C, D
        As in the head of this module. Computed in float32 at least.
    chunk_size
        Steps of a chunk at most. The result does not depend on it, speed and memory do.

    Returns
    -------
    Tensor
        ``y (b, l, h, p)``, of the dtype of `x`.

    Raises
    ------
    ParameterError
        If shapes do not fit each other, or `chunk_size` is below 1.
    """
    _check(x, dt, A, B, C, D, chunk_size)
    with torch.autocast(x.device.type, enabled=False):
        return _ssd(x, dt, A, B, C, D, chunk_size)


def _check(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, chunk_size: int
) -> None:
    """Raise one ParameterError that names all shapes if they do not fit."""
    fits = x.ndim == 4 and B.ndim == 4 and chunk_size >= 1 and x.shape[1] >= 1
    if fits:
        batch, length, heads, _ = x.shape
        fits = (
            dt.shape == (batch, length, heads)
            and A.shape == D.shape == (heads,)
            and B.shape == C.shape
            and B.shape[:2] == (batch, length)
            and heads % B.shape[2] == 0
        )
    if not fits:
        shapes = {"x": x, "dt": dt, "A": A, "B": B, "C": C, "D": D}
        found = ", ".join(f"{name} {tuple(value.shape)}" for name, value in shapes.items())
        raise ParameterError(
            f"ssd: shapes do not fit: {found}, chunk_size {chunk_size}; expected x (b, l, h, p), "
            "dt (b, l, h), A and D (h,), B and C (b, l, g, n), one step or more, and heads that "
            "the groups divide"
        )


def _ssd(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, chunk_size: int
) -> Tensor:
    """Scan what has been checked."""
    batch, length, groups, given = x.shape[0], x.shape[1], B.shape[2], x.dtype
    # Exponents reach -1000 within a chunk and are subtracted from each other: in float32 that
    # costs the last digits of y and most digits of the gradients of dt and A.
    a = dt.double() * A.double()  # b l h
    working = torch.promote_types(given, torch.float32)
    size, dtype = _plan(a, min(chunk_size, length), working)
    x, dt, B, C, D = (t.to(dtype) for t in (x, dt, B, C, D))
    x = _by_chunk(x, size, groups)  # z q k p
    dt = _by_chunk(dt.unsqueeze(-1), size, groups)  # z q k 1
    a = _by_chunk(a.unsqueeze(-1), size, groups)  # z q k 1
    B, C = (_by_chunk(t, size, groups).squeeze(2) for t in (B, C))  # z q n

    y = _Chunks.apply(x, dt, a, B, C, batch, groups)  # z q k p
    own = (B * C).sum(-1)[..., None, None] * dt  # z q k 1, a step's own source: it meets no decay
    own = own + D.view(groups, 1, -1, 1).repeat(len(x) // groups, 1, 1, 1)
    y = rearrange(y + own * x, "(b c g) q k p -> b (c q) (g k) p", b=batch, g=groups)
    return y[:, :length].to(given)


def _plan(a: Tensor, size: int, dtype: torch.dtype) -> tuple[int, torch.dtype]:
    """Return the chunk size and the precision in which the factors of all decays can be held.

    Half the chunk where decays ``exp(a)`` are too strong for float32; where it would get fewer than
    16 steps, float64; where these are too many for float64 as well, half the chunk again. A chunk
    of one step has no decay inside. The decay into its first step does not count: where it makes
    exp(mid) zero, what it should have kept of the state is below 1e-11 of it.
    """
    for precision in dict.fromkeys((dtype, torch.float64)):
        smallest = 1 if precision is torch.float64 else min(size, _SMALLEST_SINGLE_CHUNK)
        steps = size
        while steps >= smallest:
            spans = _cut(a, steps)[:, :, 1:].abs().sum(2)
            # A NaN stays one, but must not hide how strong the decays of other windows are.
            if not (spans > _RANGE[precision]).any():
                return steps, precision
            steps //= 2
    raise AssertionError("a chunk of one step spans nothing")


def _cut(t: Tensor, size: int) -> Tensor:
    """Cut ``(b, l, ...)`` into ``(b, c, q, ...)``; zeros fill the last chunk."""
    missing = -t.shape[1] % size
    if missing:
        t = F.pad(t, (0, 0) * (t.ndim - 2) + (0, missing))
    return t.unflatten(1, (-1, size))


def _by_chunk(t: Tensor, size: int, groups: int) -> Tensor:
    """Sort ``b l (g k) p`` into ``(b c g) q k p``: with one group a view, if no step is missing."""
    return rearrange(_cut(t, size), "b c q (g k) p -> (b c g) q k p", g=groups)


class _Chunks(torch.autograd.Function):
    """The outputs of all chunks without the steps' own sources, and the derivative.

    The equations are those of one chunk and one head: q and s are its steps, Q is the last one.
    With ``cum_q = a_1 + ... + a_q`` for ``a_j = dt_j A``, and ``mid`` half way between the first
    and the last of them, the decay from step s to step q has a factor of q and a factor of s::

        exp(cum_q - cum_s) = fall_q rise_s,  fall_q = exp(cum_q - mid),  rise_s = exp(mid - cum_s)

    **Forward.** From the state H at the chunk's start::

        u_s  = rise_s dt_s x_s                        s (k p)    (1)
        G_qs = C_q . B_s   for s < q, else 0          q s        (2)
        S    = exp(mid) H                             n (k p)    (3)
        Z    = C S                                    q (k p)    (4)
        Y    = G u + Z                                q (k p)    (5)
        y_q  = fall_q Y_q                             q (k p)    (6)
        H'   = exp(cum_Q - mid) (S + B^T u)           n (k p)    (7), the next chunk's H

    Heads differ in u, S and fall, not in G, B and C: each product serves all heads of a group.
    (States stand as n x p here, so that heads lie side by side; `ssd_recurrence` has p x n.)

    **Backward.** Write ``dx`` for the derivative of the loss by ``x``; ``dy`` is given. From (6),
    then from (4), (5), (7) and (3), from the last chunk to the first::

        dY_q  = fall_q dy_q                           q (k p)    (8)
        V     = exp(cum_Q - mid) dH'                  n (k p)    (9), the derivative by S + B^T u
        dS    = C^T dY + V                            n (k p)    (10)
        dH    = exp(mid) dS                           n (k p)    (11)

    Then each chunk for itself, from (5) and (7), (2) and (1)::

        R_qs  = dY_q . u_s   for s < q, else 0        k q s      (12), one head's share of dG
        dG    = R summed over heads                   q s        (13)
        dC    = dG B + dY S^T                         q n        (14)
        dB    = dG^T C + u V^T                        s n        (15)
        W     = B V                                   s (k p)    (16)
        du    = G^T dY + W                            s (k p)    (17)
        dx_s  = rise_s dt_s du_s                      s (k p)    (18)
        ddt_s = rise_s (du_s . x_s)                   s k        (19), as far as dt_s x_s goes

    All heads at once would give dG, but (20) needs R of each.

    The exponents: ``mid`` cancels in all products, so it counts as a constant. ``cum_q`` stands in
    fall_q, with a minus sign in rise_q, and ``cum_Q`` in (7). An exponential is its own derivative,
    so the exponent of a factor gets the product it enters times the derivative by that product. For
    the decay between two steps that is ``P_qs = G_qs R_qs``; what (7) adds for Q stands in (21)::

        dcum_q = sum_s P_qs - sum_s P_sq
                 + dY_q . Z_q - u_q . W_q             q k        (20), dots are sums over p
        da_j   = dcum_j + ... + dcum_Q + S' . dS'     q k        (21), next chunk's S', over n p

    S . dS is the effect of a common factor on all that came before the chunk, so it equals
    ``dcum_1 + ... + dcum_Q + S' . dS'``, and (21) may as well be counted from the chunk's start::

        da_j   = S . dS - dcum_1 - ... - dcum_{j-1}   q k        (22)

    Both (20) and (21) are small differences of large numbers. Four things keep their digits: a
    step's own source, which adds the same to both sides, is left out of G (:func:`ssd` adds it);
    a pair of steps enters dcum_q and, with a minus sign, dcum_s as the same number P_qs, which (21)
    cancels; these sums are float64; and a step counts from the end of the chunk that is nearer.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, a: Tensor, B: Tensor, C: Tensor, batch: int, groups: int
    ) -> Tensor:
        cum = a.cumsum(1)  # z q k 1
        mid = (cum[:, :1] + cum[:, -1:]) / 2  # z 1 k 1
        fall, rise = (cum - mid).exp().to(x.dtype), (mid - cum).exp().to(x.dtype)  # z q k 1
        enter, leave = mid.exp().to(x.dtype), fall[:, -1:]  # z 1 k 1
        u = (x * (rise * dt)).flatten(2)  # (1)
        G = bmm(C, B.mT).tril_(-1)  # (2)
        S = _forward_states(bmm(B.mT, u), enter, leave, batch, groups)  # (3), (7)
        Z = bmm(C, S)  # (4)
        Y = bmm(G, u, plus=Z)  # (5)
        ctx.save_for_backward(x, dt, B, C, fall, rise, enter, u, G, S, Z)
        ctx.batch, ctx.groups = batch, groups
        return Y.view_as(x) * fall  # (6)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, dt, B, C, fall, rise, enter, u, G, S, Z = ctx.saved_tensors
        dY = (dy * fall).flatten(2)  # (8)
        dS, V = _backward_states(
            bmm(C.mT, dY), enter, fall[:, -1:], ctx.batch, ctx.groups
        )  # (9-11)
        R = _pairs(_heads(dY, x), _heads(u, x))  # (12)
        dG = R.sum(1)  # (13)
        dC = bmm(dY, S.mT, plus=bmm(dG, B))  # (14)
        dB = bmm(u, V.mT, plus=bmm(dG.mT, C))  # (15)
        W = bmm(B, V)  # (16)
        du = bmm(G.mT, dY, plus=W).view_as(x)  # (17)
        dx = du * (rise * dt)  # (18)
        ddt = (du * x).sum(-1, keepdim=True) * rise  # (19)

        P = R.mul_(G.unsqueeze(1))  # z k q s
        dcum = (_sum(P, 3) - _sum(P, 2)).mT.unsqueeze(3)  # (20), z q k 1
        dcum += _sum(_heads(dY * Z, x), 3, keepdim=True) - _sum(_heads(u * W, x), 3, keepdim=True)
        at_start = _sum(_heads((S * dS).sum(1, keepdim=True), x), 3, keepdim=True)  # z 1 k 1
        da = _exponents(dcum, at_start, ctx.batch, ctx.groups)
        return dx, ddt, da, dB, dC, None, None


def _sum(t: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    return t.sum(dim, keepdim=keepdim, dtype=torch.float64)


def _pairs(dY: Tensor, u: Tensor) -> Tensor:
    """Return ``dY_q . u_s`` of each head (z k q s) for ``s < q``, else 0, from z q k p."""
    heads = dY.shape[2]
    dY, u = (rearrange(t, "z q k p -> (z k) q p") for t in (dY, u))
    return bmm(dY, u.mT).tril_(-1).unflatten(0, (-1, heads))


def _exponents(dcum: Tensor, at_start: Tensor, batch: int, groups: int) -> Tensor:
    """Return the gradient of a (z q k 1), by (21) and (22)."""
    at_end = at_start.unflatten(0, (batch, -1, groups)).roll(-1, 1)
    at_end[:, -1] = 0
    half = dcum.shape[1] // 2
    from_start = at_start - dcum.cumsum(1)[:, :half] + dcum[:, :half]
    to_end = at_end.flatten(0, 2) + dcum[:, half:].flip(1).cumsum(1).flip(1)
    return torch.cat([from_start, to_end], 1)


def _heads(t: Tensor, x: Tensor) -> Tensor:
    """Split the last dimension of ``z . (k p)`` into the heads and channels of `x` (z q k p)."""
    return t.unflatten(-1, x.shape[2:])


def _forward_states(added: Tensor, enter: Tensor, leave: Tensor, batch: int, groups: int) -> Tensor:
    """Return S of all chunks (z n e), (3) and (7); `added` is ``B^T u``, e = (k p)."""
    added, enter, leave = _chunk_by_chunk(added, enter, leave, batch, groups)
    S = torch.empty_like(added)
    H = torch.zeros_like(added[:, 0])  # b g n e
    for c in range(added.shape[1]):
        torch.mul(H, enter[:, c], out=S[:, c])
        H = (S[:, c] + added[:, c]).mul_(leave[:, c])
    return S.flatten(0, 2)


def _backward_states(
    read: Tensor, enter: Tensor, leave: Tensor, batch: int, groups: int
) -> tuple[Tensor, Tensor]:
    """Return the gradient of S and V of all chunks (z n e), (9) to (11), from ``C^T dY``."""
    dS, enter, leave = _chunk_by_chunk(read, enter, leave, batch, groups)
    V = torch.empty_like(dS)
    dH = torch.zeros_like(dS[:, 0])  # b g n e
    for c in reversed(range(dS.shape[1])):
        torch.mul(dH, leave[:, c], out=V[:, c])
        dS[:, c] += V[:, c]
        dH = dS[:, c] * enter[:, c]
    return dS.flatten(0, 2), V.flatten(0, 2)


def _chunk_by_chunk(
    states: Tensor, enter: Tensor, leave: Tensor, batch: int, groups: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the chunks out of z: states ``b c g n e``; factors, one per head, ``b c g 1 e``."""
    channels = states.shape[-1] // enter.shape[2]
    enter, leave = (t.expand(-1, -1, -1, channels).flatten(2) for t in (enter, leave))
    return tuple(t.unflatten(0, (batch, -1, groups)) for t in (states, enter, leave))
