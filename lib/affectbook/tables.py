"""Tables as the pages of the book show them."""

from __future__ import annotations

import html

import pandas as pd


def markdown(frame: pd.DataFrame, escaped: bool = True) -> str:
    """Return a table in Markdown.

    Parameters
    ----------
    frame
        Its index is not shown.
    escaped
        Whether what could be read as markup in a cell is shown as it is written; False lets cells
        hold links.
    """

    def cell(value: object) -> str:
        text = html.escape(str(value), quote=False) if escaped else str(value)
        return text.replace("|", "\\|").replace("\n", " ")

    lines = [list(frame.columns), ["---"] * frame.shape[1], *frame.to_numpy().tolist()]
    return "".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines)
