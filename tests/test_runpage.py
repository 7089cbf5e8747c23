"""The page of a run: one file, no network, alt texts, prose that any viewer shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from affectbook import runpage

PNG = "iVBORw0KGgo="  # what it decodes to does not matter here
MYST = """# One {term}`ECG`

:::{warning}
Only {cite:p}`kapoor2023`.
:::

````{exercise} Two
:label: two
:class: dropdown

```python
x = 1
```
````

After.
"""


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (MYST, ["# One ECG", "Only kapoor2023.", "**Two**", "```python\nx = 1\n```", "After."]),
        ("plain `code` and\n\n```python\n{x: 1}\n```", ["plain `code`", "```python\n{x: 1}\n```"]),
    ],
)
def test_directives_lose_their_fences_and_code_keeps_them(source: str, found: list[str]) -> None:
    text = runpage.plain(source)
    for part in found:
        assert part in text
    assert not any(mark in text for mark in (":::", "````", ":label:", "{term}", "{exercise}"))


def test_the_page_needs_no_network_and_describes_its_figures(tmp_path: Path) -> None:
    alt = 'A "walk" of <100> steps'
    figure = {"output_type": "display_data", "data": {"image/png": PNG}}
    figure["metadata"] = {"affectbook": {"alt": alt}, "image/png": {"width": 720}}
    code = {"cell_type": "code", "id": "b", "execution_count": 1, "source": "draw()"}
    cells = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "With $x^2$."},
        code | {"metadata": {}, "outputs": [figure]},
    ]
    executed = tmp_path / "notebook.ipynb"
    whole = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    executed.write_text(json.dumps(whole))
    page = runpage.write(executed, tmp_path / "page.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(page, "html.parser")
    assert [image["alt"] for image in soup.select("img")] == [alt]
    assert soup.img["width"] == "720"
    assert [formula.get_text() for formula in soup.select(".math")] == ["$x^2$"]
    assert not soup.select("script[src], link[href]")
    assert "MathJax" in page


def test_links_to_the_book_which_is_elsewhere_are_words() -> None:
    text = runpage.plain("A [protocol](../book/protocols.md) and [one](https://example.org/a).")
    assert text == "A protocol (in the book) and [one](https://example.org/a)."


@pytest.mark.parametrize(
    ("source", "formulas"),
    [
        ("With $x^2$ and $y$.", ["$x^2$", "$y$"]),
        ("$$h_t = a$$", ["$$h_t = a$$"]),
        ("\\begin{align}a\\end{align}", ["\\begin{align}a\\end{align}"]),
        ("3 \\$ and \\$4, `$x$`, &#36;x&#36;", []),
    ],
)
def test_a_dollar_outside_a_formula_is_a_dollar(source: str, formulas: list[str]) -> None:
    page = BeautifulSoup(runpage._rendered(source), "html.parser")
    assert [formula.get_text() for formula in page.select(".math")] == formulas


def test_mathjax_looks_at_formulas_alone() -> None:
    """Whatever a cell printed or a reader wrote stays text, also between two dollars."""
    assert 'ignoreHtmlClass: "jp-Notebook", processHtmlClass: "math"' in runpage._TEMPLATE
