"""What every figure has to pass: no text is too small, cut off or on top of another."""

from __future__ import annotations

import itertools

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text


def texts_of(fig: Figure) -> list[Text]:
    """Return all texts that can be seen: not those of ticks beyond the ends of an axis."""
    beyond = [
        label
        for axis in fig.findobj(Axis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    ]
    texts = [text for text in fig.findobj(Text) if text.get_visible() and text not in beyond]
    return [text for text in texts if text.get_text().strip()]


def assert_legible(fig: Figure) -> None:
    """Assert that texts have 9 points or more, lie on the page, and not on one another."""
    fig.canvas.draw()
    texts, page = texts_of(fig), fig.bbox.padded(1)
    assert texts and [text.get_text() for text in texts if text.get_fontsize() < 9] == []
    boxes = []
    for text in texts:
        box, words = text.get_window_extent(), text.get_text()
        if box.width:
            # Empty lines above a name, which leave room for another row of names, are no text.
            empty = len(words) - len(words.lstrip("\n"))
            y1 = box.y1 - box.height * empty / (words.count("\n") + 1)
            boxes.append((words, box.from_extents(box.x0, box.y0, box.x1, y1)))
    assert [words for words, box in boxes if not page.fully_contains(box.x0, box.y0)] == []
    assert [words for words, box in boxes if not page.fully_contains(box.x1, box.y1)] == []
    assert [(a, b) for (a, x), (b, y) in itertools.combinations(boxes, 2) if x.overlaps(y)] == []
