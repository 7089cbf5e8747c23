"""The scan of Mamba-1, twice: as its definition, and fast with a backward pass of its own.

Source: A. Gu and T. Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023,
eq. 2-4 and algorithm 2. As in the published implementation, the state decays by the exact
``exp(delta_t A)`` and takes up its input by the first-order ``delta_t B_t``.

Letters of the shapes::

    b  batch                        d  channels, each with its own step sizes and decays
    l  length (time steps)          n  state dimension of a channel
    c  chunks of the length

Both functions take ``u (b, l, d)``, ``delta (b, l, d)`` (step sizes, >= 0), ``A (d, n)`` (< 0),
``B, C (b, l, n)``, ``D (d,)`` and return ``y (b, l, d)`` of, channel by channel::

    state_t = exp(delta_t A) state_{t-1} + delta_t u_t B_t        y_t = C_t^T state_t + D u_t
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from affectbook.errors import ParameterError

NAMES = ("u", "delta", "A", "B", "C", "D")
SHARED = ("A", "D")  # by all steps of all sequences
# Least number of steps from one kept state to the next: with 16, and n = 16, the kept states take
# as much memory as u does.
CHUNK_SIZE = 16
# Numbers in the states of a piece. Measured from 2**15 to 2**19 on one core: smaller pieces show
# Python's own time, larger ones gain little and leave the cache of smaller machines.
PIECE_SIZE = 2**18


def selective_recurrence(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> Tensor:
    """Scan step by step: the definition, slow, and what the fast scan is held against."""
    decay = torch.exp(delta.unsqueeze(-1) * A)  # b l d n
    added = (delta * u).unsqueeze(-1) * B.unsqueeze(2)  # b l d n
    state = torch.zeros_like(added[:, 0])  # b d n
    y = []
    for decay_t, added_t, C_t in zip(decay.unbind(1), added.unbind(1), C.unbind(1), strict=True):
        state = decay_t * state + added_t
        y.append((state * C_t.unsqueeze(1)).sum(-1))  # b d
    return torch.stack(y, dim=1) + D * u


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Scan in pieces small enough for the cache, and differentiate by hand-written equations.

    Equal to :func:`selective_recurrence` to rounding, in values and gradients, for any length and
    however strong the decay is. It can be differentiated once, not twice.

    Parameters
    ----------
    u, delta, A, B, C, D
        As in the head of this module. Computed in float32 at least.

    Returns
    -------
    Tensor
        ``y (b, l, d)``, of the dtype of `u`.

    Raises
    ------
    ParameterError
        If shapes do not fit each other.
    """
    _check(u, delta, A, B, C, D)
    working = torch.promote_types(u.dtype, torch.float32)
    with torch.autocast(u.device.type, enabled=False):
        return _SelectiveScan.apply(*(t.to(working) for t in (u, delta, A, B, C, D))).to(u.dtype)


def _check(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> None:
    """Raise one ParameterError that names all shapes if they do not fit."""
    fits = u.ndim == 3 and A.ndim == 2 and u.shape[1] >= 1
    if fits:
        batch, length, channels = u.shape
        fits = (
            delta.shape == u.shape
            and A.shape[0] == channels
            and D.shape == (channels,)
            and B.shape == C.shape == (batch, length, A.shape[1])
        )
    if not fits:
        found = ", ".join(
            f"{name} {tuple(value.shape)}"
            for name, value in zip(NAMES, (u, delta, A, B, C, D), strict=True)
        )
        raise ParameterError(
            f"selective_scan: shapes do not fit: {found}; expected u and delta (b, l, d), "
            "A (d, n), B and C (b, l, n), D (d,), and one step or more"
        )


class _Piece(NamedTuple):
    """What the scan needs to know for some rows of the batch and some steps of the length."""

    u: Tensor  # b l d
    delta: Tensor  # b l d
    A: Tensor  # n d
    B: Tensor  # b l n
    C: Tensor  # b l n
    D: Tensor  # d
    start: Tensor  # b n d, the state before the first step


class _SelectiveScan(torch.autograd.Function):
    """The scan and its derivative.

    Autograd would keep several arrays ``(b, l, d, n)``, and fetching them from memory costs more
    than computing them. So the batch is cut into rows and the length into chunks; a piece (some
    rows, one chunk) computes all that has the size of the states in arrays that the next piece
    uses again. Only the state before each chunk is kept, from which the backward pass computes
    the others a second time.

    The equations, for one sequence and with products element by element. Inside the pieces a
    state is ``(n, d)``, not ``(d, n)``, because the long axis should be the innermost one::

        decay_t = exp(delta_t A)                          n d
        v_t     = delta_t u_t                             d
        state_t = decay_t state_{t-1} + B_t v_t           n d
        y_t     = sum_n C_t state_t + D u_t               d

    Write ``dx`` for the derivative of the loss by ``x``; ``dy`` is given. A state reaches the loss
    through the output of its own step and through the next state, hence backwards in time::

        dstate_t = C_t dy_t + decay_{t+1} dstate_{t+1}    n d    (1), 0 after the last step

    Everything else is local to a step. From ``y_t`` and from ``B_t v_t``::

        dC_t = sum_d state_t dy_t                         n      (2)
        dB_t = sum_d dstate_t v_t                         n      (3)
        dv_t = sum_n B_t dstate_t                         d      (4)

    ``decay_t`` multiplies ``state_{t-1}``, and an exponential is its own derivative; so, for its
    exponent ``e_t = delta_t A``::

        de_t = dstate_t state_{t-1} decay_t               n d    (5)

    ``delta_t`` stands in ``e_t`` and ``v_t``, ``u_t`` in ``v_t`` and ``D u_t``, and ``A`` and ``D``
    in each step of each sequence::

        ddelta_t = sum_n A de_t + u_t dv_t                d      (6)
        dA       = sum_{b,t} delta_t de_t                 n d    (7)
        du_t     = delta_t dv_t + D dy_t                  d      (8)
        dD       = sum_{b,t} u_t dy_t                     d      (9)

    No step divides, and no exponent is positive: nothing overflows, however strong the decay.
    """

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
    ) -> Tensor:
        """Return y ``(b, l, d)``; keep the inputs and the state before each chunk."""
        rows_of_batch, chunks, size = _cut(u, A)
        A_nd = A.t().contiguous()
        starts = u.new_zeros(len(chunks) + 1, u.shape[0], *A_nd.shape)  # c+1 b n d
        y = torch.empty_like(u)
        room = u.new_empty(2, size)
        for rows in rows_of_batch:
            for c, steps in enumerate(chunks):
                at = rows, steps
                piece = _Piece(u[at], delta[at], A_nd, B[at], C[at], D, starts[c, rows])
                decay, states = _arrays(room, piece)
                _fill_states(decay, states, piece)
                y[at] = _sum_over_n(piece.C, states).addcmul_(D, piece.u)
                starts[c + 1, rows] = states[:, -1]
        ctx.save_for_backward(u, delta, A, B, C, D, starts)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives by u, delta, A, B, C and D; None for those not needed."""
        u, delta, A, B, C, D, starts = ctx.saved_tensors
        rows_of_batch, chunks, size = _cut(u, A)
        A_nd = A.t().contiguous()
        gradients = _zero_gradients(ctx.needs_input_grad, u, delta, A_nd, B, C, D)
        room = u.new_empty(3, size)
        for rows in rows_of_batch:
            from_later = torch.zeros_like(starts[0, rows])  # b n d
            for c, steps in reversed(list(enumerate(chunks))):
                at = rows, steps
                piece = _Piece(u[at], delta[at], A_nd, B[at], C[at], D, starts[c, rows])
                decay, states, dstate = _arrays(room, piece)
                _fill_states(decay, states, piece)
                _fill_dstate(dstate, decay, piece, dy[at], from_later)
                from_later = decay[:, 0] * dstate[:, 0]
                here = {name: t if name in SHARED else t[at] for name, t in gradients.items()}
                _fill_gradients(here, piece, dy[at], decay, states, dstate)
        if "A" in gradients:
            gradients["A"] = gradients["A"].t().to(A.dtype)
        if "D" in gradients:
            gradients["D"] = gradients["D"].to(D.dtype)
        return tuple(gradients.get(name) for name in NAMES)


def _fill_states(decay: Tensor, states: Tensor, piece: _Piece) -> None:
    """Fill `decay` and `states`, both ``(b, l, n, d)``, by the recurrence."""
    torch.mul(piece.delta.unsqueeze(2), piece.A, out=decay).exp_()
    v = piece.delta * piece.u  # b l d
    torch.mul(piece.B.unsqueeze(3), v.unsqueeze(2), out=states)  # to which the past is added
    before = piece.start  # b n d
    for decay_t, state_t in zip(decay.unbind(1), states.unbind(1), strict=True):
        before = state_t.addcmul_(decay_t, before)


def _fill_dstate(
    dstate: Tensor, decay: Tensor, piece: _Piece, dy: Tensor, from_later: Tensor
) -> None:
    """Fill `dstate` ``(b, l, n, d)`` by (1), given what later chunks add to its last step."""
    torch.mul(piece.C.unsqueeze(3), dy.unsqueeze(2), out=dstate)
    decays, dstates = decay.unbind(1), dstate.unbind(1)
    dstates[-1].add_(from_later)
    for t in reversed(range(len(dstates) - 1)):
        dstates[t].addcmul_(decays[t + 1], dstates[t + 1])


def _fill_gradients(
    here: dict[str, Tensor],
    piece: _Piece,
    dy: Tensor,
    decay: Tensor,
    states: Tensor,
    dstate: Tensor,
) -> None:
    """Fill the gradients of this piece by (2) to (9), those of A and D by adding to them.

    `decay` and `dstate` are overwritten.
    """
    if "C" in here:
        here["C"].copy_(_sum_over_d(states, dy))  # (2)
    if "B" in here:
        here["B"].copy_(_sum_over_d(dstate, piece.delta * piece.u))  # (3)
    dv = _sum_over_n(piece.B, dstate)  # b l d, (4)
    if "u" in here:
        here["u"].copy_(torch.addcmul(piece.delta * dv, piece.D, dy))  # (8)
    if "D" in here:
        here["D"] += (piece.u.double() * dy).sum((0, 1))  # (9)
    if "delta" not in here and "A" not in here:
        return
    de = dstate.mul_(decay)  # b l n d, (5)
    de[:, 0] *= piece.start
    de[:, 1:] *= states[:, :-1]
    product = decay  # its place, that is: the decay is not needed any more
    if "delta" in here:
        torch.mul(de, piece.A, out=product)
        here["delta"].copy_(product.sum(2).addcmul_(piece.u, dv))  # (6)
    if "A" in here:
        torch.mul(de, piece.delta.unsqueeze(2), out=product)
        here["A"] += product.sum((0, 1))  # (7)


def _sum_over_n(weights: Tensor, states: Tensor) -> Tensor:
    """Sum ``(b, l, n, d)`` with weights ``(b, l, n)``; returns ``(b, l, d)``."""
    return (weights.unsqueeze(2) @ states).squeeze(2)


def _sum_over_d(states: Tensor, weights: Tensor) -> Tensor:
    """Sum ``(b, l, n, d)`` with weights ``(b, l, d)``; returns ``(b, l, n)``."""
    # Row times transposed matrix: matrix times column took 8 times as long on a CPU.
    return (weights.unsqueeze(2) @ states.transpose(2, 3)).squeeze(2)


def _zero_gradients(needed: tuple[bool, ...], *inputs: Tensor) -> dict[str, Tensor]:
    """Return zeros like those inputs of which the gradient is needed, by name."""
    # A and D collect one sum from each piece: in float32, each addition would cost digits.
    return {
        name: torch.zeros_like(t, dtype=torch.float64 if name in SHARED else t.dtype)
        for name, t, is_needed in zip(NAMES, inputs, needed, strict=True)
        if is_needed
    }


def _cut(u: Tensor, A: Tensor) -> tuple[list[slice], list[slice], int]:
    """Return the pieces' rows of the batch, their steps, and the numbers in the states of one."""
    batch, length, _ = u.shape
    # A small batch leaves room for more steps, and longer chunks are fewer.
    steps = max(CHUNK_SIZE, PIECE_SIZE // (max(batch, 1) * A.numel()))
    steps = max(1, min(steps, length))
    rows = max(1, min(PIECE_SIZE // (steps * A.numel()), batch))
    rows_of_batch = [slice(b, b + rows) for b in range(0, batch, rows)]
    chunks = [slice(t, t + steps) for t in range(0, length, steps)]
    return rows_of_batch, chunks, rows * steps * A.numel()


def _arrays(room: Tensor, piece: _Piece) -> list[Tensor]:
    """Return the arrays of `room`, each shaped as the states of this piece, ``(b, l, n, d)``."""
    shape = (*piece.u.shape[:2], *piece.A.shape)
    return [memory[: math.prod(shape)].view(shape) for memory in room]
