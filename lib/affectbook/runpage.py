"""One executed notebook as one HTML file that needs no network."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

from affectbook.files import write_text

_MATHJAX = "sphinx-mathjax-offline/static/mathjax/tex-svg.js"
# The exporter's own page, less the scripts it would fetch, plus MathJax and alt texts.
_TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js_requirejs -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}
<script>
window.MathJax = {
  tex: {inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]]},
  options: {enableMenu: false}
};
</script>
<script>{{ resources.mathjax }}</script>
{%- endblock -%}
{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output">
<img src="data:image/png;base64,{{ output.data['image/png'] }}"
     alt="{{ output.metadata.get('affectbook', {}).get('alt', '') | e }}">
</div>
{%- endblock -%}
"""
_OPENING = re.compile(r"^(`{3,}|:{3,})\{[\w:-]+\}[ \t]*(.*)\n(?:[ \t]*:[\w-]+:.*\n)*", re.MULTILINE)
_ROLE = re.compile(r"\{[\w:-]+\}`([^`]*)`")
_TO_THE_BOOK = re.compile(r"\[([^\]]*)\]\(\.\./[^)\s]*\)")


def write(executed: Path, target: Path, more: str = "") -> Path:
    """Write an executed notebook as a page; maths is drawn by a script inside the page.

    Parameters
    ----------
    executed, target
        The notebook, and where its page goes.
    more
        HTML for the end of the page.
    """
    import nbformat
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    notebook = nbformat.read(executed, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = plain(cell.source)
    script = Path(distribution("sphinx-mathjax-offline").locate_file(_MATHJAX))
    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"page.html.j2": _TEMPLATE})], template_file="page.html.j2"
    )
    resources = {
        "mathjax": script.read_text(encoding="utf-8"),
        "metadata": {"name": target.parent.name},
    }
    html, _ = exporter.from_notebook_node(notebook, resources=resources)
    return write_text(target, html.replace("</main>", f"{more}</main>"))


def plain(markdown: str) -> str:
    """Return MyST prose as Markdown that any viewer shows.

    Directives lose their fences, and links to pages of the book, which is elsewhere, their targets.
    """
    closings: list[str] = []

    def opened(match: re.Match) -> str:
        closings.append(match[1])
        return f"**{match[2]}**\n\n" if match[2] else "\n"

    text = _OPENING.sub(opened, markdown)
    for fence in closings:
        text = re.sub(rf"^{fence}[ \t]*\n?$", "", text, count=1, flags=re.MULTILINE)
    return _TO_THE_BOOK.sub(r"\1 (in the book)", _ROLE.sub(r"\1", text))
