"""The box "Run this again": commands for a page's own parameters, what can be set, what made it."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import fields
from html import escape
from urllib.parse import quote

from IPython.display import display

from affectbook import params, progress
from affectbook.files import project_root

ANCHOR = "provenance"
KEY = "AFFECTBOOK_RUN_KEY"
_NUMBER = re.compile(r"-?(\d+|\d*\.\d+)")
_BY_HAND = (
    "Checks names, types and ranges before it starts, keeps page, scores and provenance, and goes "
    "on where it was if it is interrupted."
)
_IN_FILE = "A value holds what no command line carries as it is, so it goes through a file."
_NOT_BY_MAKE = "A value holds a line break, which make cannot hand on, so here is what make calls."
_PAPERMILL = (
    "papermill itself neither checks names before it starts nor stops code in them; the notebook's "
    "first cell does check."
)
_NOT_BY_PAPERMILL = "A value holds what no command line carries as it is: use the form above."


def box(
    paper: str,
    kind: type,
    given: Mapping[str, object],
    *,
    minutes: str,
    facts: Mapping[str, str],
) -> None:
    """Display how to run this page again with its own or other parameters, and what made it.

    Parameters
    ----------
    paper
        A module of ``affectbook.papers``, and the name of its notebook.
    kind
        Its `Params`.
    given
        The parameters of this page; what is missing has its default.
    minutes
        How long a run takes, in words.
    facts
        Where the results come from, by name: see `provenance.facts`.
    """
    changed = {name: value for name, value in given.items() if value != _defaults(kind).get(name)}
    values = changed or suggestion(kind)
    told = _differs(changed, values)
    forms = _forms(paper, values)
    parts = [f"<p>{told}</p>", *(_shown(*form) for form in forms)]
    parts.append(f"<p><strong>Time.</strong> {escape(minutes)}</p>")
    parts.append(f"<details><summary>What can be set</summary>{_table(kind)}</details>")
    parts.append(_made(facts))
    text = "\n\n".join([*(f"{name}:\n{command}" for name, _, command in forms if command),
                        *(f"{name}: {value}" for name, value in facts.items())])  # fmt: skip
    # Neither the book nor the page of a run draws maths in here: what stands here is said exactly.
    page = "\n".join(['<div class="again mathjax_ignore tex2jax_ignore">', *parts, "</div>"])
    display({"text/html": page, "text/plain": text}, raw=True)


def trace() -> dict[str, str]:
    """Return the line under a figure that leads to the box, as HTML and as text."""
    key = _key()
    words = f"run {key}: how this was made" if key else "How this was made"
    link = f'<p class="from"><a href="#{ANCHOR}">{escape(words)}</a></p>'
    return {"text/html": link, "text/plain": f"{words}: at the end"}


def suggestion(kind: type) -> dict[str, object]:
    """Return one change to show where nothing differs from the defaults: another seed, if any."""
    defaults = _defaults(kind)
    if type(defaults.get("seed")) is int:
        return {"seed": defaults["seed"] + 1}
    for field in fields(kind):
        others = [one for one in field.metadata.get("choices", ()) if one != field.default]
        if others:
            return {field.name: others[0]}
    return {}


def make_command(paper: str, values: Mapping[str, object]) -> str | None:
    """Return ``make run`` with these values; None if one cannot go through make."""
    if not _options_hold(values) or any("\n" in _text(value) for value in values.values()):
        return None
    arguments = _options(values).replace("$", "$$")
    # What a shell would change between double quotes, ! in an interactive one included.
    plain = not any(mark in arguments for mark in '"$`\\!')
    return f"make run PAPER={paper} ARGS=" + (f'"{arguments}"' if plain else shlex.quote(arguments))


def runs_command(paper: str, values: Mapping[str, object]) -> str:
    """Return the command that ``make run`` calls; with a file where a value needs one."""
    command = f"python -m affectbook.runs run {paper}"
    if _options_hold(values):
        return f"{command} {_options(values)}".strip()
    file = json.dumps(dict(values))
    return f"cat > parameters.json <<'END'\n{file}\nEND\n{command} --parameters parameters.json"


def papermill_command(paper: str, values: Mapping[str, object]) -> str | None:
    """Return raw papermill with these values; None if one cannot be written on a command line."""
    if not all(_is_plain(_text(value)) for value in values.values()):
        return None
    given = [
        f"-r {name} {shlex.quote(value)}" if isinstance(value, str) else f"-p {name} {value!r}"
        for name, value in values.items()
    ]
    return " ".join([f"papermill notebooks/{paper}.ipynb out.ipynb --cwd notebooks", *given])


def assignments(values: Mapping[str, object]) -> str:
    """Return the lines of the parameters cell that these values change."""
    return "\n".join(f"{name} = {_code(value)}" for name, value in values.items())


def colab(paper: str) -> tuple[str, str] | None:
    """Return the notebook's address in Colab and the cell to run there first.

    None where ``_config.yml`` names no repository on GitHub, which is all that Colab opens.
    """
    import yaml

    config = project_root() / "_config.yml"
    where = yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else {}
    repository = where.get("repository", {})
    url, branch = str(repository.get("url", "")).rstrip("/"), str(repository.get("branch", "main"))
    name = url.removeprefix("https://github.com/")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return None
    path = f"{name}/blob/{quote(branch)}/notebooks/{paper}.ipynb"
    # The package is found without a restart once its .pth file has been read.
    setup = (
        f"!git clone --depth 1 --branch {shlex.quote(branch)} {url} book\n"
        "!pip install -q -c book/constraints.txt -r book/requirements.in -e book\n"
        "import site; site.addsitedir(site.getsitepackages()[0])"
    )
    return f"https://colab.research.google.com/github/{path}", setup


def _forms(paper: str, values: Mapping[str, object]) -> list[tuple[str, str, str]]:
    """Return name, explanation as HTML and command of each way to run the page again."""
    by_make, by_papermill = make_command(paper, values), papermill_command(paper, values)
    reason = "" if by_make else f" {_NOT_BY_MAKE if _options_hold(values) else _IN_FILE}"
    active = "" if by_make else " Activate <code>.venv</code> first."
    forms = [
        (
            "make" if by_make else "The command line",
            f"In the project's folder. {_BY_HAND}{reason}{active}",
            by_make or runs_command(paper, values),
        ),
        (
            "papermill",
            f"{_PAPERMILL[0].upper()}{_PAPERMILL[1:]}" if by_papermill else _NOT_BY_PAPERMILL,
            by_papermill or "",
        ),
        (
            "JupyterLab",
            f"<code>make lab</code>, open <code>notebooks/{escape(paper)}.ipynb</code>, edit the "
            "cell tagged <code>parameters</code>, and run all cells:",
            assignments(values),
        ),
    ]
    if online := colab(paper):
        address, setup = online
        told = (
            f'<a href="{escape(address)}">Open the notebook there</a>, run this cell first, then '
            "edit the cell tagged <code>parameters</code>. Not tried; it needs Python 3.11."
        )
        forms.append(("Colab", told, setup))
    return forms


def _defaults(kind: type) -> dict[str, object]:
    return {field.name: field.default for field in fields(kind)}


def _differs(changed: Mapping[str, object], values: Mapping[str, object]) -> str:
    """Return a sentence on what the commands set, and why."""
    lines = (escape(f"{name} = {_code(value)}") for name, value in values.items())
    pairs = ", ".join(f"<code>{line}</code>" for line in lines)
    if changed:
        return f"This page was made with {pairs}; all else has its default."
    return f"This page was made with the defaults. As an example, the commands set {pairs}."


def _shown(name: str, told: str, command: str) -> str:
    # Two classes that the book's theme knows: its colours of code, and its button that copies.
    code = f'<div class="highlight"><pre><code>{escape(command)}</code></pre></div>'
    return f"<p><strong>{escape(name)}.</strong> {told}</p>" + (code if command else "")


def _table(kind: type) -> str:
    """Return what can be set; no class of data frames, which the dark theme puts on white."""
    told = params.table(kind)
    head = "".join(f"<th>{escape(name)}</th>" for name in told.columns)
    rows = []
    for row in told.itertuples(index=False):
        exact = (f"<code>{escape(one)}</code>" for one in (row.name, row.type, row.default))
        rows.append("".join(f"<td>{one}</td>" for one in (*exact, *map(escape, row[3:]))))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _made(facts: Mapping[str, str]) -> str:
    """Return the facts as a list; in a run, with a link to all that was kept of it."""
    lines = [f"<dt>{escape(name)}</dt><dd>{escape(str(one))}</dd>" for name, one in facts.items()]
    if key := _key():
        kept = '; the rest is in <a href="provenance.json">provenance.json</a>'
        lines.insert(0, f"<dt>run</dt><dd><code>{escape(key)}</code>{kept}</dd>")
    title = f'<p><a id="{ANCHOR}"></a><strong>How this was made.</strong></p>'
    return f"{title}<dl>{''.join(lines)}</dl>"


def _key() -> str | None:
    """Return the key of the run that this kernel belongs to; None outside a run."""
    return os.environ.get(KEY) if progress.folder() else None


def _options(values: Mapping[str, object]) -> str:
    return " ".join(f"-p {name} {shlex.quote(_text(one))}" for name, one in values.items())


def _options_hold(values: Mapping[str, object]) -> bool:
    """Return whether every value can follow an option: it is no option itself, and plain text."""
    texts: Iterable[str] = [_text(value) for value in values.values()]
    return all(
        _is_plain(text) and (not text.startswith("-") or _NUMBER.fullmatch(text)) for text in texts
    )


def _is_plain(text: str) -> bool:
    """Return whether a text can be copied from a page as it is: nothing in it is invisible."""
    return all(one.isprintable() or one in "\n\t" for one in text)


def _text(value: object) -> str:
    """Return a value as `params.parse` reads it from a command line."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else repr(value)


def _code(value: object) -> str:
    """Return a value as Python, in characters that can be seen."""
    return repr(value) if repr(value).isprintable() else ascii(value)
