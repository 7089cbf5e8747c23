"""The figure of the page on scans: the weights of one head, and one chunk of them taken apart.

NumPy does: pages are made without torch. That these numbers are those of the scans is tested.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from affectbook import figures
from affectbook.files import write_atomic

FRAGMENT = "scan_figure.md"
LENGTH, CHUNK, STATES, SEED = 24, 8, 3, 3
SHOWN = 1
"""The chunk that is taken apart, counted from 0."""
INSIDE, THROUGH = "#00795a", "#d55e00"
_NAMES = {INSIDE: "green", THROUGH: "orange"}
_ALT = (
    "Above, the {length} by {length} weights of one head: zero above the diagonal, fading to the "
    "left of it. {chunks} blocks of {size} by {size} along the diagonal have a {inside} outline: "
    "sources inside the chunk, with a dot on each step's own. The {past} blocks below them have a "
    "dashed {through} outline: sources that come through the state. Below, block {shown} without "
    "its diagonal equals a column fall, from {fall[0]:.1f} down to {fall[1]:.1f}, times the square "
    "G below its diagonal, times a row rise, from {rise[0]:.1f} up to {rise[1]:.1f}."
)


class Head(NamedTuple):
    """What the weights of one head are made of, for one sequence."""

    dt: np.ndarray  # l
    A: float
    B: np.ndarray  # l n
    C: np.ndarray  # l n


def example() -> Head:
    """Return a head with slowly changing, related B and C, and decays that one can still see."""
    rng = np.random.default_rng(SEED)
    noise = rng.standard_normal((2, LENGTH + 4, STATES))
    one, other = np.lib.stride_tricks.sliding_window_view(noise, 5, axis=1).mean(-1)  # l n
    B, C = (t / np.linalg.norm(t, axis=1, keepdims=True) for t in (one, one + other / 2))
    return Head(dt=rng.uniform(0.06, 0.26, LENGTH), A=-1.0, B=B, C=C)


def weights(head: Head) -> np.ndarray:
    """Return ``exp(cum_q - cum_s) (C_q . B_s)`` for s <= q, else 0; ``(l, l)``."""
    cum = np.cumsum(head.dt * head.A)
    return np.tril(np.exp(np.minimum(cum[:, None] - cum, 0)) * (head.C @ head.B.T))


def taken_apart(head: Head, chunk: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return fall ``(q,)``, G ``(q, s)`` and rise ``(s,)`` of one chunk, as the fast scan does.

    Their product is the chunk's block of :func:`weights` without its diagonal.
    """
    steps = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
    cum = np.cumsum(head.dt[steps] * head.A)
    mid = (cum[0] + cum[-1]) / 2
    G = np.tril(head.C[steps] @ head.B[steps].T, -1)
    return np.exp(cum - mid), G, np.exp(mid - cum)


def fragment(folder: Path) -> str:
    """Draw the figure into `folder` and return the Markdown that shows it."""
    fig, alt = draw(example())
    path = folder / "scan_figure.png"
    write_atomic(path, lambda to: fig.savefig(to, dpi=160, facecolor="white"))
    plt.close(fig)
    look = ":width: 720px\n:class: mb-4"
    return f"```{{image}} ../build/generated/scan_figure.png\n:alt: {alt}\n{look}\n```\n"


def draw(head: Head) -> figures.Drawn:
    """Draw all weights of `head` above, and below them the block of one chunk as a product."""
    figures.theme()
    W, parts = weights(head), taken_apart(head, SHOWN)
    look = {"cmap": "RdBu_r", "vmin": -abs(W).max(), "vmax": abs(W).max()}
    fig = plt.figure(figsize=(figures.WIDTH, 6.9))
    above, below = fig.subfigures(2, 1, height_ratios=(4.6, 2.4))
    _draw_all(above.subplots(), W, look)
    _draw_parts(below, W, parts, look)
    fall, _, rise = parts
    chunks = len(W) // CHUNK
    words = _ALT.format(
        length=len(W), size=CHUNK, chunks=chunks, past=chunks * (chunks - 1) // 2,
        inside=_NAMES[INSIDE], through=_NAMES[THROUGH], shown=SHOWN + 1,
        fall=fall[[0, -1]], rise=rise[[0, -1]],
    )  # fmt: skip
    return fig, words


def _draw_all(ax: Axes, W: np.ndarray, look: dict) -> None:
    """Draw the weights of all steps, with an outline round each block."""
    image = _heat(ax, W, look, np.triu(np.ones_like(W), 1))
    for q in range(0, len(W), CHUNK):
        for s in range(0, q + 1, CHUNK):
            _outline(ax, (s, q), INSIDE if q == s else THROUGH, inset=0.1)
    own = np.arange(len(W)) + 0.5
    dot = {"ls": "", "marker": "o", "ms": 4, "mfc": "white", "mec": "0.15", "mew": 0.8}
    ax.plot(own, own, zorder=4, **dot)
    ends = [1, *range(CHUNK, len(W) + 1, CHUNK)]
    ax.set_xticks([end - 0.5 for end in ends], ends)
    ax.set_yticks([end - 0.5 for end in ends], ends)
    ax.set(xlabel="source, step $s$", ylabel="output, step $q$")
    ax.set_title(r"(a) all weights: $\mathrm{decay}(q, s)\;(C_q \cdot B_s)$", loc="left")
    names = {INSIDE: "inside a chunk: $G\\,u$", THROUGH: "through the state: $C\\,S$"}
    marks = [Patch(fill=False, **_frame(color), label=name) for color, name in names.items()]
    marks.append(Line2D([], [], label="a step's own source", **dot))
    ax.legend(handles=marks, loc="upper right", frameon=False)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.7, aspect=18, label="weight")
    bar.outline.set_visible(False)


def _draw_parts(below: plt.Figure, W: np.ndarray, parts: tuple, look: dict) -> None:
    """Draw block = column x square x row, with the numbers of the column and the row."""
    fall, G, rise = parts
    steps = slice(SHOWN * CHUNK, (SHOWN + 1) * CHUNK)
    empty = np.triu(np.ones_like(G))
    axes = below.subplots(1, 7, width_ratios=(8, 0.8, 1.7, 0.8, 8, 0.8, 8.8))
    for ax, sign in zip(axes[1::2], "=××", strict=True):
        ax.axis("off")
        ax.text(0.5, 0.5, sign, ha="center", va="center", fontsize=15, transform=ax.transAxes)
    _heat(axes[0], np.tril(W[steps, steps], -1), look, empty)
    _outline(axes[0], (0, 0), INSIDE)
    _heat(axes[4], G, look, empty)
    for ax, factor in ((axes[2], fall[:, None]), (axes[6], rise[None])):
        _heat(ax, factor, {"cmap": "Greys", "vmin": 0, "vmax": 2 * factor.max()})
        for (q, s), value in np.ndenumerate(factor):
            ax.text(s + 0.5, q + 0.5, f"{value:.1f}", ha="center", va="center", fontsize=8)
    titles = ("block", "$\\mathrm{fall}_q$", "$G_{qs} = C_q \\cdot B_s$",
              "$\\mathrm{rise}_s$")  # fmt: skip
    for ax, title in zip(axes[::2], titles, strict=True):
        ax.set_title(title, fontsize=11)
        ax.set(xticks=[], yticks=[])
    below.suptitle(
        f"(b) the green block of chunk {SHOWN + 1}, without its diagonal",
        x=0.01, ha="left", fontsize=plt.rcParams["axes.titlesize"],
    )  # fmt: skip


def _heat(ax: Axes, values: np.ndarray, look: dict, empty: np.ndarray | None = None) -> object:
    """Draw square cells, the first step on top; those that are `empty` stay white."""
    shown = values if empty is None else np.ma.array(values, mask=empty.astype(bool))
    image = ax.pcolormesh(shown, edgecolors="white", linewidth=0.4, **look)
    ax.set_aspect("equal")
    ax.invert_yaxis()
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return image


def _outline(ax: Axes, corner: tuple[int, int], color: str, inset: float = 0.0) -> None:
    """Draw a frame round a block, or a little within it where it has neighbours."""
    x, y, size = corner[0] + inset, corner[1] + inset, CHUNK - 2 * inset
    box = Rectangle((x, y), size, size, fill=False, zorder=3, clip_on=False, **_frame(color))
    ax.add_patch(box)


def _frame(color: str) -> dict:
    return {"edgecolor": color, "lw": 2.2, "ls": "-" if color == INSIDE else (0, (4, 1))}
