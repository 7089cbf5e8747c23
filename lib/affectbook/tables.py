"""Tables as the pages of the book show them, and texts that come from elsewhere."""

from __future__ import annotations

import html
import re
import string

import pandas as pd

from affectbook.errors import shown

# Whatever Markdown, MyST or a viewer's own extension could take for a mark, but not what stands
# in plain sentences. As character references: these never are structure, wherever they stand.
_MARKS = str.maketrans(
    {mark: f"&#{ord(mark)};" for mark in string.punctuation if mark not in ",;'\"?/"}
)


class Literal(str):
    """Markdown that shows one text as it is written; `markdown` puts it into a cell as it is."""

    __slots__ = ()


def literal(text: object) -> Literal:
    """Return Markdown that shows a text as it is: what a reader wrote, or a file, is no markup.

    In a table, a sentence of `figures.say` or a page. Line breaks and tabs become spaces, and
    control codes are spelt out. Beside markup, in one cell: ``Literal(f"**old** {literal(x)}")``.

    Parameters
    ----------
    text
        Anything; its ``str`` is shown.
    """
    words = re.sub(r"[ \t\r\n]+", " ", str(text)).strip(" ")
    return Literal(shown(words).translate(_MARKS))


def markdown(frame: pd.DataFrame, escaped: bool = True) -> str:
    """Return a table in Markdown.

    Parameters
    ----------
    frame
        Its index is not shown. Cells hold the book's own words, in which `code`, bold and roles
        are markup; what readers or files say goes through `literal` first.
    escaped
        Whether what could bring code or a link from elsewhere into the page, or be taken for
        maths, is shown as it is written; False lets cells hold links.
    """
    lines = [list(frame.columns), ["---"] * frame.shape[1], *frame.to_numpy().tolist()]
    return "".join(f"| {' | '.join(_cell(one, escaped) for one in line)} |\n" for line in lines)


def _cell(value: object, escaped: bool) -> str:
    if isinstance(value, Literal):
        return value
    text = str(value)
    if escaped:
        text = html.escape(text, quote=False).replace("$", "&#36;").replace("{{", "{&#123;")
        text = re.sub(r"\](?=[(\[:])", "&#93;", text)
        text = re.sub(r"\\(?=begin\b)", "&#92;", text)  # nbconvert takes it for maths
    return re.sub(r"\s*[\r\n]+\s*", " ", text.replace("|", "\\|"))
