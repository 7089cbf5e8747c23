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
  tex: {inlineMath: [["$", "$"]]},
  options: {enableMenu: false, ignoreHtmlClass: "jp-Notebook", processHtmlClass: "math"}
};
</script>
<script>{{ resources.mathjax }}</script>
<style>
p.from { margin: 0 0 1em; font-size: 0.85em; }
.again { border: 1px solid #c8c8c8; border-radius: 4px; padding: 0.5em 1em; margin: 1em 0; }
.again pre { background: #f5f5f5; padding: 0.5em 0.8em; white-space: pre-wrap; user-select: all; }
.again :is(th, td) { text-align: left !important; vertical-align: top; white-space: normal; }
.again table { margin: 0.5em 0 !important; }
.again :is(p, details) { margin: 0.8em 0 0.3em; }
.again dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2em 1em; }
.again :is(dt, dd) { margin: 0; float: none; width: auto; }
.again dd { overflow-wrap: anywhere; }
.again summary { cursor: pointer; }
</style>
{%- endblock -%}
{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output">
{%- set width = output | get_metadata('width', 'image/png') %}
<img src="data:image/png;base64,{{ output.data['image/png'] }}"
     {%- if width %} width="{{ width | e }}"{% endif %}
     alt="{{ output.metadata.get('affectbook', {}).get('alt', '') | e }}">
</div>
{%- endblock -%}
"""
_AT_THE_END = '<div class="jp-RenderedHTMLCommon" style="padding: 0 90px 40px">{}</div>'
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
        extra_loaders=[DictLoader({"page.html.j2": _TEMPLATE})],
        template_file="page.html.j2",
        filters={"markdown2html": _rendered},
    )
    resources = {
        "mathjax": script.read_text(encoding="utf-8"),
        "metadata": {"name": target.parent.name},
    }
    html, _ = exporter.from_notebook_node(notebook, resources=resources)
    return write_text(target, html.replace("</main>", f"{_AT_THE_END.format(more)}</main>"))


def _rendered(markdown: str) -> str:
    """Return Markdown as HTML in which formulas are marked: a ``$`` anywhere else is a dollar."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return f'<span class="math">{super().inline_math(body)}</span>'

        def block_math(self, body: str) -> str:
            return f'<span class="math">{super().block_math(body)}</span>'

        def latex_environment(self, name: str, body: str) -> str:
            return f'<span class="math">{super().latex_environment(name, body)}</span>'

    return MarkdownWithMath(renderer=Renderer(escape=False)).render(markdown)


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
