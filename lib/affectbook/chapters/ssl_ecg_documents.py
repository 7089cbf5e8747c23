"""A diagram of which document tells what of the pretext of self-supervised ECG, and from whom."""

from __future__ import annotations

import re
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import text_to_path

from affectbook.chapters import ssl_ecg_tables
from affectbook.figures import WIDTH, Drawn

__all__ = ["documents"]

# Inches: a line of text, between boxes, inside a box, for the title, left and right of boxes.
_LINE, _GAP, _PAD, _TOP, _SIDE = 0.19, 0.5, 0.13, 0.36, 0.05
_MARK = re.compile(r"\[([A-Z](?:, [A-Z])*)\]")
# How each document came from the one before it, or, the first, from both papers.
_WAYS = ("code by the same authors", "ported to PyTorch, not all of it",
         "copied, changed, and reported on")  # fmt: skip
_WAY = {"fontsize": 10, "color": "0.3"}
_NAME, _SAID = FontProperties(weight="bold", size=10), FontProperties(size=10)
_CITED, _FOOT = FontProperties(style="italic", size=10), FontProperties(size=9)
_AGAINST = "contrastive"


class _Box(NamedTuple):
    name: list[str]
    said: list[str]
    cited: list[str]
    against: bool

    @property
    def high(self) -> float:
        return 2 * _PAD + _LINE * sum(map(len, (self.name, self.said, self.cited)))


def documents() -> Drawn:
    """Draw the way of the pretext through the documents: papers, code, port, student's report.

    The words are those of `ssl_ecg_tables.documents`, marks included; a line below says what the
    marks stand for.
    """
    table = ssl_ecg_tables.documents()
    papers, chain = table.iloc[:2], table.iloc[2:]
    half = (WIDTH - 2 * _SIDE - 0.2) / 2
    above = [_box(row, half) for _, row in papers.iloc[::-1].iterrows()]  # the earlier one first
    below = [_box(row, WIDTH - 2 * _SIDE) for _, row in chain.iterrows()]
    marks = _marks(table["the pretext in it"])
    foot = _wrapped(marks, WIDTH - 2 * _SIDE, _FOOT)
    highs = [max(box.high for box in above), *(box.high for box in below)]
    total = sum(highs) + _GAP * len(below) + 0.2 + _LINE * len(foot)
    fig = plt.figure(figsize=(WIDTH, total + _TOP + 0.08), layout="none")
    ax = fig.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(total + 0.08, -_TOP))  # in inches
    ax.axis("off")
    for box, left in zip(above, (_SIDE, _SIDE + half + 0.2), strict=True):
        _draw(ax, box, left, half, 0, highs[0])
        _arrow(ax, left + half / 2, highs[0])
    ax.text(WIDTH / 2, highs[0] + _GAP / 2, _WAYS[0], ha="center", va="center", **_WAY)
    y = highs[0] + _GAP
    for i, (box, high) in enumerate(zip(below, highs[1:], strict=True)):
        _draw(ax, box, _SIDE, WIDTH - 2 * _SIDE, y, high)
        if i + 1 < len(below):
            _arrow(ax, WIDTH / 2, y + high)
            ax.text(WIDTH / 2 + 0.12, y + high + _GAP / 2, _WAYS[i + 1], va="center", **_WAY)
        y += high + _GAP
    ax.text(_SIDE, total - _LINE * len(foot), "\n".join(foot), va="top", color="0.3",
            linespacing=1.35, fontproperties=_FOOT)  # fmt: skip
    title = "What each document says of the pretext"
    ax.text(WIDTH / 2, -_TOP / 2, title, ha="center", va="center", fontsize=12)
    told = "; ".join(f"{row['document']}: {row['the pretext in it']}, cite it for "
                     f"{row['cite it for']}" for _, row in table.iterrows())  # fmt: skip
    against = [" ".join(box.name) for box in below if box.against]
    return fig, (
        f"{title}, and what to cite it for. From the papers an arrow leads to the authors' code, "
        "from there to a port to PyTorch, from the port to a student's report. "
        f"{told}. In a dashed frame, because it tells of another pretext than the documents before "
        f"it: {', '.join(against)}. {marks}."
    )


def _box(row: pd.Series, wide: float) -> _Box:
    """Return a box of this width in inches with its lines."""
    said, cited = row["the pretext in it"], f"Cite it for {row['cite it for']}."
    inside = wide - 2 * _PAD
    lines = (_wrapped(row["document"], inside, _NAME), _wrapped(said, inside, _SAID),
             _wrapped(cited, inside, _CITED))  # fmt: skip
    return _Box(*lines, _AGAINST in said)


def _wrapped(text: str, inches: float, font: FontProperties) -> list[str]:
    """Return lines of a text that are no wider than so many inches, but for single words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        points = text_to_path.get_text_width_height_descent(longer, font, ismath=False)[0]
        if lines[-1] and points > 72 * inches:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _marks(cells: pd.Series) -> str:
    """Return what the marks in these cells stand for."""
    used = {mark for cell in cells for marks in _MARK.findall(cell) for mark in marks.split(", ")}
    told = ssl_ecg_tables.sources().set_index("mark")["source"]
    return "; ".join(f"[{mark}] {told[mark]}" for mark in sorted(used))


def _draw(ax: Axes, box: _Box, left: float, width: float, top: float, high: float) -> None:
    """Draw a box, its name in bold and its words below."""
    color, style = ("C3", "--") if box.against else ("C0", "-")
    look = {"facecolor": to_rgba(color, 0.12), "edgecolor": color, "lw": 1.6, "ls": style}
    shape = "round,pad=0,rounding_size=0.06"
    ax.add_patch(FancyBboxPatch((left, top), width, high, shape, **look))
    y = top + _PAD
    looks = ((box.name, _NAME, "0.15"), (box.said, _SAID, "0.15"), (box.cited, _CITED, "0.3"))
    for lines, font, dark in looks:
        for line in lines:
            ax.text(left + _PAD, y + _LINE / 2, line, va="center", color=dark, fontproperties=font)
            y += _LINE


def _arrow(ax: Axes, x: float, top: float) -> None:
    """Draw an arrow down from one box to the next."""
    look = {"arrowstyle": "-|>", "color": "0.3", "lw": 1.4}
    ax.annotate("", (x, top + _GAP), (x, top), arrowprops=look)
