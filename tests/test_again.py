"""The box "Run this again": its commands give the values back, and no value becomes markup."""

from __future__ import annotations

import ast
import json
import os
import shlex
import subprocess
from dataclasses import dataclass, field, fields
from pathlib import Path

import papermill.cli
import pytest
import yaml
from bs4 import BeautifulSoup
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_project import ROOT

from affectbook import again, papers, params


@dataclass(frozen=True)
class Params:
    """One field of each kind, and a note that may hold anything."""

    note: str = field(default="", metadata={"help": "<b>any</b> text"})
    rule: str | None = None
    rate: float = field(default=1.0, metadata={"low": -10, "high": 10})
    epochs: int | None = None
    placebo: bool = False
    seed: int = 0


VISIBLE = (
    "'", '"', "`", "$x$", "$$", "$(x)", "${x}", "\\", "\\\\", "\t", "#", "%", "!", ";", "|", "&",
    "~", "*", "-", "--", "=", " ", "{", "}", "{{ x }}", "<script>alert(1)</script>", "ü", "日本",
    "\U0001f600", "](javascript:alert(1))", "</code></pre><img src=x onerror=alert(1)>", "&lt;",
    "END", "none", "True", "3", "1e-3",
)  # fmt: skip
INVISIBLE = ("\n", "\r", "\x00", "\x1b", "\u202e", "\xa0", "\u2028")
CHARACTERS = st.characters(exclude_categories=["C", "Zs", "Zl", "Zp"])


def joined(*fragments: str) -> st.SearchStrategy[str]:
    parts = st.sampled_from(fragments) | st.text(CHARACTERS, max_size=3)
    return st.lists(parts, max_size=6).map("".join)


def values_of(texts: st.SearchStrategy[str]) -> st.SearchStrategy[dict]:
    others = {
        "rule": st.none() | texts.filter(lambda text: text not in ("none", "None")),
        "rate": st.floats(-10, 10),
        "epochs": st.none() | st.integers(1, 10**9),
        "placebo": st.booleans(),
        "seed": st.integers(),
    }
    return st.fixed_dictionaries({"note": texts}, optional=others)


TEXTS = joined(*VISIBLE) | joined(*VISIBLE, *INVISIBLE)
VALUES = values_of(TEXTS)
PLAIN = {"note": "it's $x$ \"q\" `ls` \\ # % ! {y} <b> ü", "rate": -0.5, "epochs": None}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of an environment whose python tells how it was called."""
    folder = tmp_path_factory.mktemp("venv")
    (folder / "bin").mkdir()
    python = folder / "bin" / "python"
    python.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    python.chmod(0o755)
    (folder / ".stamp").touch()
    return folder


def shell(command: str, venv: Path, folder: Path) -> list[str]:
    """Return what a command that was copied from the page calls python with."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "DATA", "AFFECT"))}
    env = clean | {"VENV": str(venv), "PATH": f"{venv / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=env, capture_output=True, check=True
    )
    return done.stdout.decode().split("\0")[:-1]


def read(arguments: list[str]) -> Params:
    """Return the parameters that options name, or the file that they name."""
    start = ["-m", "affectbook.runs", "run", "hcmnet"]
    assert arguments[:4] == start
    if "--parameters" in arguments:
        return params.parse(Params, json.loads(Path(arguments[5]).read_text()))
    flags, names, values = arguments[4::3], arguments[5::3], arguments[6::3]
    assert set(flags) <= {"-p"}
    # What argparse takes for an option would not get here.
    assert not any(value.startswith("-") and not value[1:2].strip("-").isdigit()
                   and value[1:2] != "." for value in values)  # fmt: skip
    return params.parse(Params, dict(zip(names, values, strict=True)))


@settings(max_examples=60, deadline=None)
@given(values_of(joined(*VISIBLE).map(lambda text: f"x{text}")))
@example(PLAIN)
def test_what_make_hands_on_is_what_was_meant(told: Path, values: dict) -> None:
    command = again.make_command("hcmnet", values)
    if command is None:  # such as -1e-05
        assert "e" in str(values["rate"]) and values["rate"] < 0
        return
    assert read(shell(command, told, ROOT)) == Params(**values)


@settings(max_examples=150, deadline=None)
@given(VALUES)
@example(PLAIN)
def test_a_command_without_a_file_is_split_as_it_was_meant(values: dict) -> None:
    command = again.runs_command("hcmnet", values)
    if "--parameters" not in command:
        assert read(shlex.split(command)[1:]) == Params(**values)


@pytest.mark.parametrize(
    "note", ["-x", "--force", "a\x00b", "\x1b[31m", "\u202eevil", "END\rEND", "'\xa0'", "-\n'$x$"]
)
def test_what_no_option_holds_goes_through_a_file(
    told: Path, note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert again.make_command("hcmnet", {"note": note}) is None
    command = again.runs_command("hcmnet", {"note": note, "epochs": None})
    assert all(line.isprintable() for line in command.splitlines())
    assert read(shell(command, told, tmp_path)) == Params(note=note)


@settings(max_examples=150, deadline=None)
@given(VALUES)
@example(PLAIN)
@example({"note": "-x"})
def test_papermill_sets_the_very_values(values: dict) -> None:
    command = again.papermill_command("hcmnet", values)
    if command is None:
        assert not "".join(str(value) for value in values.values()).isprintable()
        return
    name, *arguments = shlex.split(command)
    read = papermill.cli.papermill.make_context(name, arguments).params
    assert (read["notebook_path"], read["cwd"]) == ("notebooks/hcmnet.ipynb", "notebooks")
    typed = {key: papermill.cli._resolve_type(value) for key, value in read["parameters"]}
    found = typed | dict(read["parameters_raw"])
    assert found == values and {k: type(v) for k, v in found.items()} == {
        k: type(v) for k, v in values.items()
    }


@given(VALUES)
def test_the_lines_of_the_cell_are_the_values_in_python(values: dict) -> None:
    lines = again.assignments(values).split("\n")
    assert all(line.isprintable() for line in lines)
    found = {line.partition(" = ")[0]: ast.literal_eval(line.partition(" = ")[2]) for line in lines}
    assert found == values


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Return what is displayed, outside a run unless the test says otherwise."""
    bundles: list[dict] = []
    monkeypatch.setattr(again, "display", lambda data, raw: bundles.append(data))
    for name in ("AFFECTBOOK_RUN_DIR", again.KEY):
        monkeypatch.delenv(name, raising=False)
    return bundles


def box(shown: list[dict], values: dict, kind: type = Params, **more: object) -> BeautifulSoup:
    said = {"minutes": "two minutes", "facts": {"seed": "0"}} | more
    again.box("hcmnet", kind, values, **said)
    return BeautifulSoup(shown[-1]["text/html"], "html.parser")


def tags(page: BeautifulSoup) -> list[tuple]:
    return [(tag.name, sorted(tag.attrs)) for tag in page.find_all(True)]


def like(text: str) -> str:
    """Return a harmless text that is shown in the same forms."""
    if not all(one.isprintable() or one in "\n\t" for one in text):
        return "\x1b"
    if text.startswith("-") and not again._NUMBER.fullmatch(text):
        return "-x"
    return "a\nb" if "\n" in text else "x"


@settings(deadline=None)
@given(TEXTS.filter(bool))
def test_no_value_becomes_markup(text: str) -> None:
    bundles: list[dict] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(again, "display", lambda data, raw: bundles.append(data))
        more = {"minutes": text, "facts": {text: text}}
        page = box(bundles, {"note": text}, **more)
        harmless = box(bundles, {"note": like(text)}, minutes="x", facts={"x": "x"})
    assert tags(page) == tags(harmless)
    assert {tag.name for tag in page.find_all(True)} <= {
        "a", "code", "dd", "details", "div", "dl", "dt", "p", "pre", "strong", "summary", "table",
        "tbody", "td", "th", "thead", "tr",
    }  # fmt: skip
    codes = [code.get_text() for code in page.select("pre code")]
    command = again.make_command("hcmnet", {"note": text})
    assert codes[0] == (command or again.runs_command("hcmnet", {"note": text}))
    assert again.assignments({"note": text}) in codes
    assert "mathjax_ignore" in page.div["class"], "$x$ stays text"


def test_the_box_shows_what_differs_from_the_defaults(shown: list[dict]) -> None:
    page = box(shown, {"note": "", "seed": 3, "epochs": 5})
    codes = [code.get_text() for code in page.select("pre code")]
    assert codes[:3] == [
        'make run PAPER=hcmnet ARGS="-p seed 3 -p epochs 5"',
        "papermill notebooks/hcmnet.ipynb out.ipynb --cwd notebooks -p seed 3 -p epochs 5",
        "seed = 3\nepochs = 5",
    ]
    text = page.get_text()
    assert "This page was made with seed = 3, epochs = 5; all else" in text
    assert "two minutes" in text and "Not tried" in text
    assert "neither checks names before it starts nor stops code" in text
    assert all(code in shown[0]["text/plain"] for code in codes[:3])
    assert "seed: 0" in shown[0]["text/plain"]


def test_with_the_defaults_the_box_suggests_a_change(shown: list[dict]) -> None:
    page = box(shown, {})
    assert 'ARGS="-p seed 1"' in page.get_text() and "the commands set seed = 1" in page.get_text()


def test_a_suggestion_is_a_value_that_is_allowed() -> None:
    @dataclass(frozen=True)
    class NoSeed:
        mode: str = field(default="a", metadata={"choices": ("a", "b")})

    @dataclass(frozen=True)
    class Nothing:
        note: str = ""

    assert again.suggestion(NoSeed) == {"mode": "b"} and again.suggestion(Nothing) == {}
    for name in papers.names():
        kind = papers.get(name).Params
        params.parse(kind, again.suggestion(kind))


def test_a_value_that_make_cannot_hand_on_is_said(shown: list[dict]) -> None:
    for note in ("a\nb", "-x", "\x1b"):
        page = box(shown, {"note": note})
        first = page.select_one("pre code").get_text()
        assert first == again.runs_command("hcmnet", {"note": note})
        assert "A value holds" in page.get_text() and "make run" not in page.get_text()


@pytest.mark.parametrize("name", papers.names())
def test_the_table_in_the_box_is_that_of_the_parameters(shown: list[dict], name: str) -> None:
    kind = papers.get(name).Params
    page = box(shown, {}, kind)
    rows = [[cell.get_text() for cell in row.select("td")] for row in page.select("tbody tr")]
    assert rows == params.table(kind).to_numpy().tolist()
    assert len(rows) == len(fields(kind))


def test_in_a_run_the_box_leads_to_all_that_was_kept(
    shown: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = box(shown, {})
    assert page.select_one("a#provenance") and not page.select('a[href="provenance.json"]')
    assert again.trace()["text/html"] == (
        '<p class="from"><a href="#provenance">How this was made</a></p>'
    )
    monkeypatch.setenv("AFFECTBOOK_RUN_DIR", str(tmp_path))
    assert not box(shown, {}).select('a[href="provenance.json"]'), "the book's own run has no key"
    monkeypatch.setenv(again.KEY, "abc<b>")
    page = box(shown, {})
    assert page.select('a[href="provenance.json"]') and "abc<b>" in page.dl.get_text()
    line = BeautifulSoup(again.trace()["text/html"], "html.parser")
    assert line.get_text() == "run abc<b>: how this was made" and line.a["href"] == "#provenance"


def test_colab_opens_the_notebook_of_the_repository(shown: list[dict]) -> None:
    address, setup = again.colab("hcmnet")
    where = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
    name = where["url"].removeprefix("https://github.com/")
    assert address == (
        f"https://colab.research.google.com/github/{name}/blob/{where['branch']}"
        "/notebooks/hcmnet.ipynb"
    )
    assert len(setup.splitlines()) == 3 and f" {where['url']} " in setup
    for file in ("constraints.txt", "requirements.in"):
        assert f"book/{file}" in setup and (ROOT / file).is_file()
    assert [link["href"] for link in box(shown, {}).select("a[href]")] == [address]


@pytest.mark.parametrize(
    "config",
    [None, "title: x", "repository: {url: 'https://example.org/a/b'}",
     "repository: {url: 'https://github.com/a/b?<script>'}", "repository: {url: 'javascript:x'}"],
)  # fmt: skip
def test_without_a_repository_on_github_there_is_no_colab(
    config: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "project_root", lambda: tmp_path)
    if config is not None:
        (tmp_path / "_config.yml").write_text(config)
    assert again.colab("hcmnet") is None
