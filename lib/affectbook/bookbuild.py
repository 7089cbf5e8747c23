"""The book: execute the notebooks whose code or inputs changed, then render all pages."""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from affectbook import attempt, locks, notebook, papers, running, sealed
from affectbook.closure import closure, closure_of, digest
from affectbook.errors import RunError
from affectbook.execute import NotebookFailed
from affectbook.files import sha256, write_text

_PAGES = "affectbook.pages"


class BookFailed(RunError):
    """A notebook of the book failed, or a page could not be rendered."""


def build(root: Path) -> Path:
    """Bring the book in the checkout `root` up to date and return its first page.

    Raises
    ------
    BookFailed
        If a notebook failed or rendering gave a warning.
    """
    with locks.alone(root / "build" / ".lock", "this book"), attempt.one_message(root / "build"):
        for folder in sealed.folders(root / "results" / "recorded"):
            sealed.require(folder)
        executed = execute_changed(root)
        rendered = render(root)
    if not executed and not rendered:
        print("Nothing has changed since the book was built.")
    return root / "build" / "site" / "index.html"


def execute_changed(root: Path) -> list[str]:
    """Execute the notebooks whose digest changed; return the names of those that ran."""
    sources = sorted((root / "notebooks").glob("*.ipynb"))
    _forget_removed(root, sources)
    ran, failures = [], []
    for source in sources:
        try:
            if _bring_up_to_date(root, source):
                ran.append(source.stem)
        except NotebookFailed as failure:
            failures.append(str(failure))
    if failures:
        raise BookFailed("\n".join(failures))
    return ran


def notebook_digest(root: Path, source: Path) -> str:
    """Hash what the outputs of a notebook depend on.

    These are its code cells with their tags, the Python version, the code of this package that it
    imports, the pinned packages and what was recorded and measured; prose is not among them.
    """
    content = notebook.read(source)
    files = [
        *closure(notebook.code(content), root / "lib"),
        *_below(root, "results/recorded"),
        *_below(root, "results/bench"),
        *root.glob("constraints.txt"),
    ]
    return digest(files, root, notebook.code_hash(content), platform.python_version())


def render(root: Path) -> bool:
    """Render the pages into ``build/site`` unless none of their inputs changed.

    Returns
    -------
    bool
        Whether anything was rendered.

    Raises
    ------
    BookFailed
        If the pages could not be rendered without a warning; the site before stays.
    """
    site = root / "build" / "site"
    inputs = digest(sorted(_page_inputs(root)), root)
    kept = site / ".inputs"
    if kept.is_file() and kept.read_text() == inputs:
        return False
    print("Rendering the pages ...", flush=True)
    started = time.monotonic()
    if (root / "lib" / "affectbook" / "pages.py").is_file():
        importlib.import_module(_PAGES).write(root / "build" / "generated")
    fresh = root / "build" / ".rendering"
    shutil.rmtree(fresh, ignore_errors=True)
    _jupyter_book(root, fresh)
    shutil.rmtree(site, ignore_errors=True)
    os.replace(fresh / "_build" / "html", site)
    shutil.rmtree(fresh, ignore_errors=True)
    write_text(kept, inputs)
    print(f"Rendered the pages in {time.monotonic() - started:.0f} s")
    return True


def _bring_up_to_date(root: Path, source: Path) -> bool:
    output = root / "build" / "executed" / "notebooks" / source.name
    now = {"digest": notebook_digest(root, source), "source": sha256(source)}
    kept = notebook.read(output) if output.is_file() else {"metadata": {}}
    before = kept["metadata"].get("affectbook", {})
    if before.get("digest") == now["digest"]:
        if before["source"] != now["source"]:
            print(f"The prose of {source.name} has changed: its outputs are kept", flush=True)
            _write(output, _graft(notebook.read(source), kept), now)
        return False
    why = "it, or what it computes with, has changed" if before else "not executed yet"
    print(f"Executing {source.name} ({why}) ...", flush=True)
    started = time.monotonic()
    output.unlink(missing_ok=True)
    _execute(root, source, output)
    _write(output, notebook.read(output), now)
    print(f"Executed {source.name} in {time.monotonic() - started:.0f} s", flush=True)
    return True


def _execute(root: Path, source: Path, output: Path) -> None:
    """Execute a notebook of the book; its scores and their provenance are the book's own run.

    Folds of an attempt that was interrupted count as long as what computes them is the same.
    """
    name, failed = source.stem, root / "build" / "failed" / source.name
    values = asdict(papers.get(name).Params()) if name in papers.names() else {}
    code = running.computing_code(root, name)
    key = running.run_key(root, values, code)
    own = root / "build" / "executed" / "runs" / name
    unfinished = own.with_name(f".unfinished-{name}-{key}")
    for other in own.parent.glob(f".unfinished-{name}-*"):
        if other != unfinished:
            shutil.rmtree(other)
    with attempt.attempt(unfinished) as made:
        made.execute(source, output, failed)
        if running.run_key(root, values, running.computing_code(root, name)) != key:
            output.unlink()
            raise BookFailed(f"code was changed while {source.name} ran: make book again")
        failed.unlink(missing_ok=True)
        if (unfinished / running.RESULTS[0]).is_file():
            told = {"paper": name, "run_key": key}
            running.write_provenance(root, unfinished, source, values, code, made, told)
            attempt.finish(unfinished, own)


def _graft(source: dict, executed: dict) -> dict:
    """Put the outputs of an executed copy into its source, whose code cells are the same."""
    for cell, ran in zip(notebook.code_cells(source), notebook.code_cells(executed), strict=True):
        cell["outputs"], cell["execution_count"] = ran["outputs"], ran["execution_count"]
    return source


def _jupyter_book(root: Path, folder: Path) -> None:
    """Render with every warning an error; keep the log of a failure."""
    script = Path(sys.executable).with_name("jupyter-book")
    command = [str(script), "build", ".", "--path-output", str(folder)]
    done = subprocess.run(
        [*command, "--all", "-W", "--keep-going"],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    log = root / "build" / "failed" / "render.log"
    if done.returncode == 0:
        log.unlink(missing_ok=True)
        return
    write_text(log, done.stdout)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).splitlines()
    told = [line for line in lines if re.search(r"WARNING|ERROR|CRITICAL", line)] or lines[-3:]
    raise BookFailed(
        "\n".join([*told, f"The pages were not rendered. Whole log: {os.path.relpath(log)}"])
    )


def _page_inputs(root: Path) -> Iterator[Path]:
    yield from (root / "build" / "executed" / "notebooks").glob("*.ipynb")
    yield from _below(root, "book")
    yield from _below(root, "results/recorded")
    yield from _below(root, "results/bench")
    yield from closure_of(_PAGES, root / "lib")
    for pattern in ("_config.yml", "_toc.yml", "constraints.txt", "*.md", "CITATION.cff"):
        yield from root.glob(pattern)


def _below(root: Path, folder: str) -> Iterator[Path]:
    for path in sorted((root / folder).rglob("*")):
        hidden = any(part.startswith((".", "__")) for part in path.relative_to(root).parts)
        if path.is_file() and not hidden:
            yield path


def _forget_removed(root: Path, sources: list[Path]) -> None:
    names = {source.name for source in sources}
    for path in (root / "build" / "executed" / "notebooks").glob("*.ipynb"):
        if path.name not in names:
            path.unlink()


def _write(path: Path, content: dict, state: dict[str, str]) -> None:
    content["metadata"]["affectbook"] = state
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
