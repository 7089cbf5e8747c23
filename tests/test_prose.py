"""What is written: no address or path of a machine, no citation or link into nothing."""

from __future__ import annotations

import importlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from pybtex.database import BibliographyData, parse_file

ROOT = Path(__file__).resolve().parents[1]
# Spelt in two parts, so that this file does not name what it forbids.
REGISTRIES = [
    ".".join(parts)
    for parts in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("download.pytorch", "org"),
        ("anaconda", "org"),
        ("registry.npmjs", "org"),
        ("crates", "io"),
        ("deb.debian", "org"),
    ]
]
MACHINE_PATH = re.compile(r"(?<![\w.~$*}\-])/(?:work|opt|root|tmp|home)\b(?![-.]\w)")
CITE = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FRONT_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def _texts(*patterns: str) -> dict[str, str]:
    """Return the text files that git tracks, by name; binary files are left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, check=True
    )
    names = listed.stdout.decode().rstrip("\0").split("\0")
    files = {name: (ROOT / name).read_bytes() for name in names if (ROOT / name).is_file()}
    return {name: raw.decode("utf-8") for name, raw in files.items() if b"\0" not in raw}


def _lines(texts: dict[str, str], pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.fixture(scope="module")
def references() -> BibliographyData:
    return parse_file(ROOT / "book" / "references.bib")


def test_no_file_names_a_package_registry() -> None:
    hosts = re.compile("|".join(map(re.escape, REGISTRIES)), re.IGNORECASE)
    assert _lines(_texts(), hosts) == []


def test_no_file_names_a_path_of_a_machine() -> None:
    assert _lines(_texts(), MACHINE_PATH) == []


@pytest.mark.parametrize("folder", ["work", "opt", "root", "tmp", "home"])
@pytest.mark.parametrize("text", ["/{}", "see /{}/data.", "file:///{}/x", '"/{}/wheels"', "(/{})"])
def test_a_path_of_a_machine_is_seen(text: str, folder: str) -> None:
    assert MACHINE_PATH.search(text.format(folder))


@pytest.mark.parametrize("text", ["rest/work", "https://a.b/work/x", "~/work", "$HOME/tmp", "/hom"])
def test_other_slashes_are_let_through(text: str) -> None:
    assert not MACHINE_PATH.search(text)


def test_every_citation_is_in_the_bibliography(references: BibliographyData) -> None:
    pages = _texts("*.md", "notebooks/*.ipynb", "lib/*.py")
    cited = {
        key.strip()
        for text in pages.values()
        for keys in CITE.findall(text)
        for key in keys.split(",")
    }
    cards = _texts("lib/affectbook/datasets/*.py")
    cited |= {key for text in cards.values() for key in re.findall(r'citation="([^"]+)"', text)}
    assert cited, "no page cites anything"
    assert cited <= set(references.entries)


def test_every_reference_can_be_cited(references: BibliographyData) -> None:
    for key, entry in references.entries.items():
        assert re.fullmatch(r"[a-z]+\d{4}[a-z0-9]*", key), key
        assert {"title", "year"} <= set(entry.fields), key
        assert entry.persons.get("author"), key
        assert "TODO" not in str(entry.fields), key


def test_the_citation_file_has_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version"} <= set(citation)
    if "version" in project["project"]:
        version = project["project"]["version"]
    else:
        where = project["tool"]["setuptools"]["dynamic"]["version"]["attr"]
        module, _, name = where.rpartition(".")
        version = getattr(importlib.import_module(module), name)
    assert str(citation["version"]) == version
    assert citation["license"] == project["project"]["license"]["text"]


@pytest.mark.parametrize("page", FRONT_PAGES)
def test_links_of_the_front_pages_lead_somewhere(page: str) -> None:
    targets = LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    inside = [target.partition("#")[0] for target in targets if "://" not in target]
    assert [path for path in inside if path and not (ROOT / path).exists()] == []


def test_the_readme_links_to_headings_that_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in LINK.findall(readme):
        path, _, anchor = target.partition("#")
        if anchor and "://" not in target:
            text = (ROOT / path).read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
            assert anchor in anchors, target


def test_make_targets_in_prose_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    pages = _texts("*.md")
    named = {
        (name, target)
        for name, text in pages.items()
        for target in re.findall(r"(?:`|^|\$ |my_data |folder> )make ([a-z-]+)", text, re.MULTILINE)
    }
    assert named, "no page names a target"
    assert {(name, target) for name, target in named if target not in targets} == set()


@pytest.mark.parametrize(
    ("word", "instead"), [(r"\bparticipants?\b", "subject"), ("LOSO", "leave_one_subject_out")]
)
def test_words_that_the_code_avoids(word: str, instead: str) -> None:
    found = _lines(_texts("lib/*.py"), re.compile(word, re.IGNORECASE))
    assert found == [], f"write {instead}"
