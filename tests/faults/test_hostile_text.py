"""What a reader writes into a parameter comes back as it was, and is text wherever it is shown."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_project import ROOT, TinyProject

from affectbook import runpage, tables

FRAGMENTS = (
    "'", '"', "`", "``", "$x$", "$$x$$", "\\", "\\\\", "\\(x\\)", "\\begin{a}x\\end{a}", "\n", "\t",
    "#", "%", "*", "**", "_", "~~", "|", "\\|", "&", "&lt;", "&#36;", "<", ">", "{", "}", "{{ x }}",
    "{raw}`x`", "{cite}`x`", ":::{note}", "```{note}", "[", "]", "](javascript:alert(1))",
    "![x](x)", "[x][y]", "[^1]", "[]{.a}", "<script>alert(1)</script>", "<img src=x onerror=y>",
    "<!--", "<https://example.org>", "https://example.org", "1. ", "- ", "+ ", "> ", "# ", "---",
    "===", "- [ ] x", "term\n: x", "(x)=", "%%", "\x00", "\x1b[31m", "\u202e", "\xa0", "ü",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=6).map("".join)
ALL = "".join(FRAGMENTS)
PAPER = '''"""A paper with a note."""

from __future__ import annotations

from dataclasses import dataclass, field

TITLE = "Tiny"


@dataclass(frozen=True)
class Params:
    """What can be set."""

    seed: int = field(default=0, metadata={"help": "of nothing", "low": 0})
    note: str = field(default="", metadata={"help": "of the reader"})


def setting(params: Params) -> Params:
    """Return the parameters."""
    return params
'''
CELLS = (
    "seed: int = 0\nnote: str = ''",
    "import os\nfrom pathlib import Path\nimport pandas as pd\n"
    "from IPython.display import HTML, Markdown, display\n"
    "from affectbook import again, params, results, tables\nfrom affectbook.papers import tiny\n"
    "given = params.from_notebook(tiny.Params, globals())\nframe = pd.DataFrame({'note': [note]})",
    "print(note)\ndisplay(Markdown(f'Said: {tables.literal(note)}'))\n"
    "display(Markdown(tables.markdown(frame.map(tables.literal))))\ndisplay(HTML(frame.to_html()))",
    "again.box('tiny', tiny.Params, vars(given), minutes='seconds', facts={'note': note})",
    "folder = Path(os.environ['AFFECTBOOK_RUN_DIR'])\n"
    "row = dict.fromkeys(results.SCORE_COLUMNS, '') | {'estimator': 'tiny', 'fold': 'all',\n"
    "    'subject': 'all', 'metric': 'balanced_accuracy', 'value': seed}\n"
    "results.write_rows(pd.DataFrame([row]), folder / 'scores.csv')\n"
    "(folder / 'predictions.csv').write_text('y_true,y_pred\\n0,1\\n')\n"
    "(folder / 'note.txt').write_bytes(note.encode())",
)  # fmt: skip
NOTE = (
    "it's \"quoted\"\n`ls` {braces} {{ x }} $x$ $$y$$ $HOME \\n \\\\ # % | & "
    "<script>alert(1)</script>[x](javascript:alert(1)) </pre></main> ü 日本"
)
HARMLESS = "a\nb"


def in_the_book(markdown: str) -> BeautifulSoup:
    """Render as the book does: by its MyST parser, which comes with jupyter-book."""
    core = importlib.import_module("docutils.core")
    parser = importlib.import_module("myst_parser.parsers.docutils_").Parser()
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    overrides = {
        "myst_enable_extensions": config["parse"]["myst_enable_extensions"],
        "myst_suppress_warnings": ["myst"], "report_level": 5, "halt_level": 5,
    }  # fmt: skip
    parts = core.publish_parts(
        markdown, parser=parser, writer_name="html5", settings_overrides=overrides
    )
    return BeautifulSoup(parts["html_body"], "html.parser")


def on_a_run_s_page(markdown: str) -> BeautifulSoup:
    return BeautifulSoup(runpage._rendered(markdown), "html.parser")


each_page = pytest.mark.parametrize("render", [in_the_book, on_a_run_s_page])


def seen(text: str) -> list[str]:
    """Return the words that a page has to show of a text."""
    broken = text.replace("\r", " ").replace("\n", " ").replace("\t", " ")
    return tables.shown(broken).split()


@each_page
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
@example(text=ALL)
@example(text=NOTE)
def test_a_literal_is_its_text_and_nothing_else(render, text: str) -> None:
    page = render(f"Said: {tables.literal(text)} .")
    assert {tag.name for tag in page.find_all(True)} <= {"main", "p"}
    assert page.get_text().split()[1:-1] == seen(text)


@each_page
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
@example(text=ALL)
def test_a_literal_begins_no_block(render, text: str) -> None:
    page = render(f"{tables.literal(text)}\n")
    assert {tag.name for tag in page.find_all(True)} <= {"main", "p"}
    assert page.get_text().split() == seen(text)


TABLE = {"main", "table", "colgroup", "col", "thead", "tbody", "tr", "th", "td", "p"}


@each_page
@settings(max_examples=60, deadline=None)
@given(first=TEXTS, second=TEXTS)
@example(first=ALL, second=NOTE)
def test_cells_hold_literals(render, first: str, second: str) -> None:
    frame = pd.DataFrame({"a": [tables.literal(first)], "b": [tables.literal(second)]})
    page = render(tables.markdown(frame))
    assert {tag.name for tag in page.find_all(True)} <= TABLE
    cells = [cell.get_text().split() for cell in page.select("tbody td")]
    assert cells == [seen(first), seen(second)]


@each_page
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
@example(text=ALL)
@example(text=NOTE)
@example(text="\\begin{a}x\\end{a}")
def test_a_cell_that_is_no_literal_brings_no_code_all_the_same(render, text: str) -> None:
    page = render(tables.markdown(pd.DataFrame({"a": [f"x {text}"], "b": ["y"]})))
    assert not page.select("script, img, iframe, [onerror], .math")
    assert not [link for link in page.select("a[href]") if "javascript" in link["href"]]


def test_the_book_s_own_marks_in_cells_stay_marks() -> None:
    own = ["`code`", "**stale**: x", "[name]{.leaks}", "x < 3 & y"]
    page = in_the_book(tables.markdown(pd.DataFrame({"a": own})))
    assert page.select_one(".literal").get_text() == "code" and page.strong.get_text() == "stale"
    assert page.select_one(".leaks").get_text() == "name"
    assert page.select("td")[-1].get_text() == "x < 3 & y"
    mixed = tables.Literal(f"**old** {tables.literal('**new**')}")
    page = in_the_book(tables.markdown(pd.DataFrame({"a": [mixed]})))
    assert page.select_one("td").get_text() == "old **new**"
    linked = tables.markdown(pd.DataFrame({"a": ["[x](#y)"]}), escaped=False)
    assert "[x](#y)" in linked and "](#y)" not in tables.markdown(pd.DataFrame({"a": ["[x](#y)"]}))


def run_with(tiny: TinyProject, note: str) -> tuple[Path, BeautifulSoup]:
    """Return the folder and the page of a run with a note."""
    done = tiny.runs("run", "tiny", "-p", "note", note)
    assert done.returncode == 0, done.stderr
    runs = (tiny.root / "build" / "runs" / "tiny").glob("[0-9a-f]*")
    folders = [one for one in runs if one.is_dir()]
    (folder,) = [one for one in folders if (one / "note.txt").read_bytes() == note.encode()]
    return folder, BeautifulSoup((folder / "page.html").read_text(encoding="utf-8"), "html.parser")


@pytest.mark.faults
def test_a_hostile_note_comes_back_and_is_text(tiny: TinyProject) -> None:
    (tiny.root / "lib" / "affectbook" / "papers" / "tiny.py").write_text(PAPER)
    for name in ("again.py", "tables.py"):
        source = ROOT / "lib" / "affectbook" / name
        (tiny.root / "lib" / "affectbook" / name).write_bytes(source.read_bytes())
    tiny.write_notebook(list(CELLS))
    _, harmless = run_with(tiny, HARMLESS)
    folder, page = run_with(tiny, NOTE)
    kept = json.loads((folder / "parameters.json").read_text(encoding="utf-8"))
    made = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert kept["note"] == made["parameters"]["note"] == NOTE
    assert len(page.select("script")) == len(harmless.select("script"))
    shown, expected = ([tag.name for tag in one.select(".jp-OutputArea *")]
                       for one in (page, harmless))  # fmt: skip
    assert shown == expected
    assert not page.select('a[href^="javascript"]')
    assert not page.select(".jp-OutputArea .math"), "MathJax looks nowhere else"
    assert page.select_one(".jp-OutputArea-output pre").get_text().strip() == NOTE
    assert page.select_one(".jp-OutputArea-output p").get_text().split()[1:] == seen(NOTE)
    cells = [cell.get_text() for cell in page.select("main td") if "quoted" in cell.get_text()]
    spelt_by_pandas = NOTE.replace("\n", "\\n")
    assert [cells[0].split(), cells[1]] == [seen(NOTE), spelt_by_pandas]
    assert NOTE in page.select_one(".again dl").get_text()
