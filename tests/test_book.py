"""The built book: it opens without a network, and every figure says what it shows."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup
from tiny_project import ROOT

from affectbook import bookbuild

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import executed_notebooks  # noqa: E402 - an extension of Sphinx, not of this package

sys.path.pop(0)

pytestmark = pytest.mark.xdist_group("book")  # one worker builds it
FETCHED = re.compile(r"^(https?:)?//")


@pytest.fixture(scope="module")
def site() -> Path:
    return bookbuild.build(ROOT).parent


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, BeautifulSoup]:
    found = {}
    for path in sorted(site.rglob("*.html")):
        name = path.relative_to(site).as_posix()
        if not name.startswith("_static/"):
            found[name] = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    return found


def output(alt: str | None) -> dict:
    metadata = {"affectbook": {"alt": alt}} if alt else {}
    return {"output_type": "display_data", "data": {"image/png": ""}, "metadata": metadata}


def test_alt_texts_go_where_the_renderer_looks() -> None:
    cell = {"metadata": {"mystnb": {"image": {"width": "50%"}}}, "outputs": [output("A walk.")]}
    executed_notebooks.describe_images(cell)
    assert cell["metadata"]["mystnb"]["image"] == {"width": "50%", "alt": "A walk."}
    plain = {"metadata": {}, "outputs": [output(None)]}
    executed_notebooks.describe_images(plain)
    assert plain["metadata"] == {}
    executed_notebooks.describe_images({"metadata": {}})


def test_the_executed_copy_takes_the_place_of_the_source(tmp_path: Path) -> None:
    class App:
        srcdir = tmp_path

        class env:
            note_dependency = staticmethod(lambda path: None)

    executed = tmp_path / "build" / "executed" / "notebooks" / "x.ipynb"
    executed.parent.mkdir(parents=True)
    executed.write_text(json.dumps({"cells": [{"metadata": {}, "outputs": [output("A.")]}]}))
    source = ["bare"]
    executed_notebooks.swap(App, "book/x", source)
    assert source == ["bare"]
    executed_notebooks.swap(App, "notebooks/x", source)
    assert json.loads(source[0])["cells"][0]["metadata"]["mystnb"]["image"]["alt"] == "A."


def test_every_chapter_and_every_page_of_prose_is_in_the_contents() -> None:
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = [page["file"] for part in contents["parts"] for page in part["chapters"]]
    there = [
        path.relative_to(ROOT).with_suffix("").as_posix()
        for folder, kind in (("book", "*.md"), ("notebooks", "*.ipynb"))
        for path in (ROOT / folder).glob(kind)
    ]
    assert sorted([contents["root"], *listed]) == sorted(there)


@pytest.mark.slow
def test_the_start_page_opens(site: Path, pages: dict[str, BeautifulSoup]) -> None:
    refresh = pages["index.html"].find("meta", attrs={"http-equiv": "Refresh"})
    target = refresh["content"].split("url=")[1]
    assert (site / target).is_file()


@pytest.mark.slow
def test_every_notebook_shows_its_outputs(pages: dict[str, BeautifulSoup]) -> None:
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        page = pages[f"notebooks/{path.stem}.html"]
        assert page.select("div.cell_output"), path.name
        assert not page.select("div.cell_output .traceback"), path.name


@pytest.mark.slow
def test_no_page_fetches_anything(pages: dict[str, BeautifulSoup]) -> None:
    for name, page in pages.items():
        for tag, attribute in (
            ("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"),
        ):  # fmt: skip
            for found in page.find_all(tag, **{attribute: FETCHED}):
                assert tag == "link" and found.get("rel") == ["canonical"], f"{name}: {found}"


@pytest.mark.slow
def test_no_style_sheet_fetches_anything(site: Path) -> None:
    for path in site.rglob("*.css"):
        fetched = re.findall(r"(?:url\(|@import\s+)[\"']?https?://[^\"')]+", path.read_text())
        assert not fetched, f"{path.name}: {fetched}"


@pytest.mark.slow
def test_maths_is_drawn_by_the_book_s_own_script(
    site: Path, pages: dict[str, BeautifulSoup]
) -> None:
    assert (site / "_static" / "mathjax" / "tex-chtml.js").is_file()
    fonts = site / "_static" / "mathjax" / "output" / "chtml" / "fonts" / "woff-v2"
    assert list(fonts.glob("*.woff"))
    with_maths = [page for page in pages.values() if page.select(".math")]
    assert with_maths
    for page in with_maths:
        assert any("mathjax/tex-chtml.js" in tag["src"] for tag in page.select("script[src]"))


@pytest.mark.slow
def test_every_figure_says_what_it_shows(pages: dict[str, BeautifulSoup]) -> None:
    for name, page in pages.items():
        for image in page.select("article img"):
            assert image.get("alt", "").strip(), f"{name}: {image.get('src')}"


@pytest.mark.slow
def test_links_within_the_book_lead_somewhere(site: Path, pages: dict[str, BeautifulSoup]) -> None:
    for name, page in pages.items():
        for link in page.select("article a[href]"):
            target = link["href"].split("#")[0].split("?")[0]
            if target and not re.match(r"[a-z]+:", target):
                assert ((site / name).parent / target).resolve().exists(), f"{name}: {target}"


@pytest.mark.slow
def test_pages_do_not_say_where_they_were_made(pages: dict[str, BeautifulSoup]) -> None:
    for name, page in pages.items():
        assert str(ROOT) not in page.get_text(), name


@pytest.mark.slow
def test_nothing_is_done_twice(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bookbuild.build(ROOT)
    assert capsys.readouterr().out == "Nothing has changed since the book was built.\n"


@pytest.mark.slow
def test_the_chapter_on_hcmnet_has_its_figures_and_tables(pages: dict[str, BeautifulSoup]) -> None:
    page = pages["notebooks/hcmnet.html"]
    alts = [image["alt"] for image in page.select("article img")]
    for words in (
        "weights. Blocks from top to bottom",  # F1
        "shuffled windows (as published), coin flips: ",  # F2
        "one mark per subject",  # F3
        "Gates of 40 untrained networks",  # F4
        "no scalar in the gate",  # F5
        "backward scan only",  # F6
        "two heart beats at 256 Hz",  # F7
        "three epochs marked",  # F8
        "On coin flips: not adapted",  # F9
        "4 classes (simulated)",  # F10
        "probes after each stage",
        "time of one window on one thread",
    ):
        assert any(words in alt for alt in alts), words
    captions = " ".join(caption.get_text() for caption in page.select("caption"))
    assert all(name in captions for name in ("T0.", "T1.", "T2."))
    text = page.get_text()
    assert 'SWEEP=ablations ARGS="-p variant pool_strides_8_8_2+no_nlcca"' in text
