"""Which records are older than their code, their parameters or their data: what has changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from affectbook import datasets, papers, params, results, sealed, sweeps
from affectbook.closure import code_hash
from affectbook.errors import (
    DataError,
    DataNotFoundError,
    LicenceError,
    ParameterError,
    RunError,
    shown,
)
from affectbook.experiments import told
from affectbook.files import project_root, write_text
from affectbook.scales import Cell

MARK, OTHER = "stale.json", "windows"


class Changes(NamedTuple):
    """What has changed since something was recorded.

    Attributes
    ----------
    code : dict
        Files whose code does something else, under the analysis that they decide; a reader's run
        has one analysis, "".
    parameters, data : list of str
        What else, in words.
    """

    code: dict[str, list[str]]
    parameters: list[str]
    data: list[str]

    def __bool__(self) -> bool:
        return any(self)

    def told(self) -> list[str]:
        """Return all of it as short texts, sorted."""
        files = {name for part in self.code.values() for name in part}
        return sorted({*files, *self.parameters, *self.data})


def changes(folder: Path, root: Path | None = None) -> Changes:
    """Return what has changed since a sweep or a run was recorded.

    Code counts if it decides a score, see `sweeps.computing_code`; comments and docstrings do not.
    Data count as far as `check` found them to differ where they were at hand.

    Parameters
    ----------
    folder
        Of the record.
    root
        The checkout; this one unless given.

    Raises
    ------
    DataFileError
        If the record is not what was recorded.
    """
    root = root or project_root()
    made = sealed.require(folder)
    if "sweep" not in made:
        code = _changed(made["code"], root)
        return Changes({"": code} if code else {}, _of_run(made), _marked(folder, "data"))
    code = {analysis: _changed(files, root) for analysis, files in made["code"].items()}
    known = today_of(made["paper"], made["sweep"])
    other = [f"parameters of {cell['key']}" for cell in made["cells"]
             if identity(cell) not in known]  # fmt: skip
    there = {cell["key"] for cell in made["cells"]}
    marked = there & set(_marked(folder, OTHER))
    data = [f"{OTHER} of {len(marked)} of {len(there)} cells"] if marked else []
    return Changes({name: files for name, files in code.items() if files}, other, data)


def stale(folder: Path, root: Path | None = None) -> list[str]:
    """Return `changes` as short texts: none, if the record is not stale."""
    return changes(folder, root).told()


def mark(folder: Path) -> None:
    """Note beside a record whether it was made on other data or windows than today's.

    Only data that are at hand can be looked at; what was noted of others stays.
    """
    made = sealed.require(folder)
    if "sweep" not in made:
        _mark_run(folder, made)
        return
    today, before = today_of(made["paper"], made["sweep"]), _marked(folder, OTHER)
    other = [
        cell["key"]
        for cell in made["cells"]
        if _on_other_windows(made, cell, today.get(identity(cell)), cell["key"] in before)
    ]
    if other != before:
        _write_mark(folder, OTHER, other)


def _on_other_windows(made: Mapping, recorded: Mapping, cell: Cell | None, before: bool) -> bool:
    """Return whether a recorded cell was made on other windows; `before` where none are here."""
    if cell is None:
        return before
    try:
        key = sweeps.key_under(made["paper"], cell, made["code"][recorded["analysis"]])
    except (DataNotFoundError, LicenceError):
        return before
    return key != recorded["key"]


def identity(cell: Cell | Mapping, paper: str = "") -> str:
    """Return what two cells share that are one cell: analysis, options, resolved parameters.

    Parameters
    ----------
    cell
        Of a sweep, or of a record; JSON, which holds a record, makes lists of tuples.
    paper
        Whose sweep it is, where it is of a sweep.
    """
    if isinstance(cell, Cell):
        setting = told(sweeps.setting_of(paper, cell))
        cell = {"analysis": cell.analysis, "options": cell.options, "parameters": setting}
    known = [cell["analysis"], dict(cell["options"]), told(cell["parameters"])]
    return json.dumps(known, sort_keys=True)


def today_of(paper: str, sweep: str) -> dict[str, Cell]:
    """Return the cells that a sweep has today by their `identity`; none if it is gone."""
    cells = getattr(papers.get(paper), "SWEEPS", {}).get(sweep, ())
    return {identity(cell, paper): cell for cell in cells}


def check(names: Iterable[str] = (), folder: Path | None = None) -> dict[str, list[str]]:
    """Return for each record what has changed since; all records unless named.

    Where data are at hand, records made on other ones are marked as such, so that the book says
    so on every machine.

    Raises
    ------
    RunError
        If there is no record of a name.
    DataFileError
        If a record is not what was recorded.
    """
    folder = folder or results.recorded_folder()
    there = [path.name for path in sealed.folders(folder)]
    wanted = list(names) or there
    if unknown := [name for name in wanted if name not in there]:
        raise RunError(f"no record {', '.join(unknown)}; there are: {', '.join(there)}")
    for name in wanted:
        sealed.require(folder / name)  # all of them before windows are cut
    for name in wanted:
        mark(folder / name)
    return {name: stale(folder / name) for name in wanted}


def _changed(code: Mapping[str, str], root: Path) -> list[str]:
    return [
        name
        for name, before in code.items()
        if not (root / name).is_file() or code_hash(root / name) != before
    ]


def _setting_of(made: Mapping) -> object:
    """Return what the parameters of a reader's run resolve to today.

    Raises
    ------
    ParameterError
        If they no longer do.
    """
    paper = papers.get(made["paper"])
    return paper.setting(params.parse(paper.Params, made["parameters"]))


def _of_run(made: Mapping) -> list[str]:
    """Return which choices of a reader's run its parameters no longer stand for."""
    try:
        now = json.loads(json.dumps(told(_setting_of(made))))
    except ParameterError as error:
        return [f"parameters: {shown(' '.join(str(error).split()))}"]
    before = told(made.get("setting", {}))
    return [
        shown(f"parameter {name}: {_value(before, name)} then, {_value(now, name)} now")
        for name in sorted({*before, *now})
        if before.get(name, KeyError) != now.get(name, KeyError)
    ]


def _value(setting: Mapping[str, object], name: str) -> object:
    return setting.get(name, "not there")


def _mark_run(folder: Path, made: Mapping) -> None:
    data = made.get("data") or {}
    if data.get("tier", "simulated") == "simulated":
        return
    try:
        setting = _setting_of(made)
        same = data["sha256"] in _hashes(setting)
    except (DataNotFoundError, LicenceError, ParameterError):
        return
    except DataError as error:
        found = [f"data of {data['dataset']}: {error.what}"]
    else:
        found = [] if same else [f"data of {data['dataset']}"]
    if found != _marked(folder, "data"):
        _write_mark(folder, "data", found)


def _hashes(setting: object) -> set[str]:
    """Return the hashes of the files of real data: of the subjects of a run, and of all."""
    folder = datasets.prepare(setting.dataset, setting.tier)
    subjects = datasets.subjects(setting.dataset, folder)
    parts = (subjects[: setting.subjects], None)
    return {datasets.content_hash(setting.dataset, folder, part) for part in parts}


def _marked(folder: Path, kind: str) -> list[str]:
    """Return what was noted of the data or windows of a record."""
    path = folder / MARK
    return json.loads(path.read_text(encoding="utf-8")).get(kind, []) if path.is_file() else []


def _write_mark(folder: Path, kind: str, found: list[str]) -> None:
    if found:
        write_text(folder / MARK, json.dumps({kind: found}, indent=1) + "\n")
    else:
        (folder / MARK).unlink(missing_ok=True)
