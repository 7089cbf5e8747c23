"""Every notebook is a chapter: parameters first, short cells, no outputs, runs in a bare kernel."""

from __future__ import annotations

import ast
import importlib
import json
import re
import statistics
import typing
from dataclasses import fields
from pathlib import Path

import papermill
import pytest
from tiny_project import ROOT

from affectbook import notebook

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAPERS = {path.stem for path in (ROOT / "lib" / "affectbook" / "papers").glob("[a-z]*.py")}
DRAWS = re.compile(r"\b(figures\.(?!theme)|sns\.|ax\.|plt\.subplots)")

each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
each_paper = pytest.mark.parametrize(
    "path", [path for path in PATHS if path.stem in PAPERS], ids=lambda path: path.stem
)


def parameters_cell(content: dict) -> dict:
    (cell,) = [c for c in notebook.code_cells(content) if "parameters" in notebook.tags(c)]
    return cell


def test_every_paper_has_a_notebook() -> None:
    assert {path.stem for path in PATHS} >= PAPERS


@each
def test_committed_without_outputs(path: Path) -> None:
    for cell in notebook.code_cells(notebook.read(path)):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@each_paper
def test_the_parameters_cell_is_the_paper_s_params(path: Path) -> None:
    cell = parameters_cell(notebook.read(path))
    params = importlib.import_module(f"affectbook.papers.{path.stem}").Params
    hints = typing.get_type_hints(params)
    expected = {one.name: (_spelt(hints[one.name]), one.default) for one in fields(params)}
    defaults = {}
    for line in ast.parse(notebook.text(cell)).body:
        target = line.target if isinstance(line, ast.AnnAssign) else line.targets[0]
        defaults[target.id] = ast.literal_eval(line.value)
    # papermill reads names, types and help by patterns of its own; it must see the same.
    seen = papermill.inspect_notebook(str(path))
    found = {name: (seen[name]["inferred_type_name"], defaults[name]) for name in defaults}
    assert found == expected
    assert list(found) == list(expected)
    assert all(parameter["help"] for parameter in seen.values())


def _spelt(hint: object) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace(" ", "")


@each_paper
def test_a_chapter_checks_its_parameters_first_and_ends_with_how_to_run_it_again(
    path: Path,
) -> None:
    texts = [notebook.text(cell) for cell in notebook.code_cells(notebook.read(path))]
    first = next(i for i, text in enumerate(texts) if "params.from_notebook(" in text)
    assert first == 1, "raw papermill stops at a wrong name in the cell after the parameters"
    order = [
        next(i for i, text in enumerate(texts) if call in text)
        for call in ("estimate.tell(", "readers.show(", "experiment.save()", "again.box(")
    ]
    assert order == sorted(order)
    fits = next(i for i, text in enumerate(texts) if "experiment.add(" in text)
    assert order[0] <= fits, "how long it takes is said before anything is trained"


@each
def test_cells_are_few_and_short(path: Path) -> None:
    cells = notebook.code_cells(notebook.read(path))
    shown = [cell for cell in cells if "solution" not in notebook.tags(cell)]
    assert len(shown) <= 38
    assert statistics.median(len(notebook.text(cell).splitlines()) for cell in cells) <= 8


@each
def test_no_cell_imports_and_draws(path: Path) -> None:
    for cell in notebook.code_cells(notebook.read(path)):
        text = notebook.text(cell)
        imports = re.search(r"^\s*(import|from)\s(?!__future__)", text, re.MULTILINE)
        assert not (imports and DRAWS.search(text)), text


@each
def test_code_parses_without_magics(path: Path) -> None:
    for cell in notebook.code_cells(notebook.read(path)):
        ast.parse(notebook.text(cell))


TRAINING = {"ms_imamba"}
"""Whose solutions train for seconds."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.stem in TRAINING else [], id=path.stem)
        for path in PATHS
        if path.stem in PAPERS
    ],
)
def test_hidden_solutions_hold(path: Path) -> None:
    """Solutions are cells of their own; they need the parameters, the imports, and no results."""
    cells = notebook.code_cells(notebook.read(path))
    solutions = [cell for cell in cells if "solution" in notebook.tags(cell)]
    assert len(solutions) >= 2
    assert all("assert " in notebook.text(cell) for cell in solutions)
    names: dict[str, object] = {}
    for cell in [*cells[:2], *solutions]:
        exec(compile(notebook.text(cell), path.name, "exec"), names)


@pytest.mark.slow
@each
def test_runs_from_top_to_bottom_in_a_bare_kernel(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("AFFECTBOOK_RUN_DIR", str(tmp_path))
    content = nbformat.reads(json.dumps(notebook.read(path)), as_version=4)
    for cell in content.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = re.sub(r'^(scale: str =) "\w+"', r'\1 "smoke"', cell.source, flags=re.M)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(content, timeout=900, kernel_name="python3", resources=where).execute()
    assert all(cell.execution_count for cell in content.cells if cell.cell_type == "code")
