"""Recorded sweeps: finished cells joined into tables, with what made them; and which are stale."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from affectbook import papers, results, sweeps
from affectbook.closure import code_hash
from affectbook.errors import DataNotFoundError, LicenceError, RunError
from affectbook.files import project_root, write_text

MARK, OTHER = "stale.json", "windows"
_SAME = ("git", "machine", "packages", "scan")


def record(paper: str, name: str) -> tuple[Path, int, int]:
    """Keep what is done of a sweep under ``results/recorded/<paper>_<sweep>``.

    Cells that were recorded before, and would come out the same today, stay.

    Returns
    -------
    tuple
        The folder, the number of cells in it, and the number the sweep has.

    Raises
    ------
    RunError
        If no cell of the sweep is done with the parameters, data and code of today.
    """
    keys = [sweeps.key(paper, cell) for cell in sweeps.chosen(paper, name, {})]
    there = sweeps.folder_of(paper, name)
    target = project_root() / "results" / "recorded" / f"{paper}_{name}"
    made = {key: _made(there / key) for key in keys if (there / key).is_dir()}
    if not made:
        raise RunError(
            f"no cell of the sweep {name} is done; make sweep PAPER={paper} SWEEP={name}"
        )
    before = {cell["key"]: cell for cell in _before(target)}
    kept = [key for key in keys if key in before and key not in made]
    for table in sweeps.TABLES:
        frames = _kept(target / f"{table}.gz", kept)
        for key in made:
            if (there / key / table).is_file():
                frames.append(_text(there / key / table).assign(run_key=key))
        if frames:
            joined = pd.concat(frames, ignore_index=True)
            # In the order of the sweep, whatever was made when.
            order = joined["run_key"].map(keys.index).sort_values(kind="stable").index
            results.write_rows(joined.loc[order], target / f"{table}.gz")
        else:
            (target / f"{table}.gz").unlink(missing_ok=True)
    cells = [before[key] if key in kept else _cell(made[key]) for key in keys if key in
             {*kept, *made}]  # fmt: skip
    told = _joined(paper, name, cells, list(made.values()), _provenance(target))
    write_text(target / "provenance.json", json.dumps(told, indent=1) + "\n")
    (target / MARK).unlink(missing_ok=True)
    return target, len(cells), len(keys)


def _text(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _made(folder: Path) -> dict:
    return json.loads((folder / "made.json").read_text(encoding="utf-8"))


def _provenance(target: Path) -> dict:
    path = target / "provenance.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _before(target: Path) -> list[dict]:
    return _provenance(target).get("cells", [])


def _kept(path: Path, keys: list[str]) -> list[pd.DataFrame]:
    """Return the rows of a recorded table that belong to these cells."""
    if not (keys and path.is_file()):
        return []
    rows = _text(path)
    return [rows[rows["run_key"].isin(keys)]]


def _cell(made: dict) -> dict:
    """Return what the record keeps of the provenance of one cell."""
    same = ("key", "analysis", "options", "parameters", "finished", "seconds")
    return {key: made[key] for key in same} | {
        "windows": made["data"]["windows"],
        "windows_sha256": made["data"]["sha256"],
        "commit": made["git"]["commit"],
        "dirty": made["git"]["dirty"],
    }


def _joined(
    paper: str, name: str, cells: list[dict], made: list[dict], before: dict
) -> dict[str, object]:
    """Return one provenance for many cells: what they share once, the rest cell by cell."""
    last = max(made, key=lambda one: one["finished"])
    code: dict[str, dict] = dict(before.get("code", {}))
    for one in made:
        # A cell that stayed has the same key, and so the same code, as it would have today.
        code[one["analysis"]] = one["code"]
    return {
        "paper": paper,
        "sweep": name,
        "finished": last["finished"],
        "seconds": round(sum(cell["seconds"] for cell in cells), 1),
        "data": {"windows": sorted({tuple(cell["windows"]) for cell in cells})},
        **{key: last[key] for key in _SAME},
        "code": {key: code[key] for key in sorted({cell["analysis"] for cell in cells})},
        "cells": cells,
    }


def stale(folder: Path, root: Path | None = None) -> list[str]:
    """Return what has changed since a sweep was recorded: nothing, if it is not stale.

    Code counts if it decides a score, see `sweeps.computing_code`; comments and docstrings do not.
    Windows need the data: those that `check` found to differ, where the data were at hand, count.

    Parameters
    ----------
    folder
        Of the record.
    root
        The checkout; this one unless given.
    """
    root = root or project_root()
    made = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    if "sweep" not in made:
        return _changed(made["code"], root)
    found: list[str] = []
    for code in made["code"].values():
        found += _changed(code, root)
    known = _settings_now(made)
    found += [
        f"parameters of {cell['key']}"
        for cell in made["cells"]
        if json.dumps(cell["parameters"], sort_keys=True) not in known
    ]
    there = {cell["key"] for cell in made["cells"]}
    if other := there & set(_marked(folder)):
        found.append(f"{OTHER} of {len(other)} of {len(there)} cells")
    return sorted(set(found))


def _marked(folder: Path) -> list[str]:
    """Return the keys of cells whose windows were found to be others than when they were made."""
    path = folder / MARK
    return json.loads(path.read_text(encoding="utf-8"))["windows"] if path.is_file() else []


def mark(folder: Path, root: Path | None = None) -> None:
    """Note beside a record which of its cells were made on other windows than today's.

    Only cells whose data are at hand can be looked at; what was noted of others stays.
    """
    made = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    if "sweep" not in made or [one for one in stale(folder, root) if not one.startswith(OTHER)]:
        return
    today, absent = set(), []
    for cell in papers.get(made["paper"]).SWEEPS[made["sweep"]]:
        try:
            today.add(sweeps.key(made["paper"], cell))
        except (DataNotFoundError, LicenceError):
            setting = sweeps.setting_of(made["paper"], cell)
            absent.append(json.dumps(asdict(setting), sort_keys=True))
    before = _marked(folder)
    other = [
        cell["key"]
        for cell in made["cells"]
        if cell["key"] in before
        or (cell["key"] not in today
            and json.dumps(cell["parameters"], sort_keys=True) not in absent)
    ]  # fmt: skip
    if other != before:
        write_text(folder / MARK, json.dumps({"windows": other}, indent=1) + "\n")


def _changed(code: Mapping[str, str], root: Path) -> list[str]:
    return [
        name
        for name, before in code.items()
        if not (root / name).is_file() or code_hash(root / name) != before
    ]


def _settings_now(made: Mapping[str, str]) -> set[str]:
    """Return the settings of the sweep's cells as they resolve today."""
    cells = getattr(papers.get(made["paper"]), "SWEEPS", {}).get(made["sweep"], ())
    settings = (asdict(sweeps.setting_of(made["paper"], cell)) for cell in cells)
    return {json.dumps(setting, sort_keys=True) for setting in settings}


def check(names: Iterable[str] = ()) -> dict[str, list[str]]:
    """Return for each record what has changed since; all records unless named.

    Where data are at hand, records made on other windows are marked as such, so that the book says
    so on every machine.
    """
    folder = project_root() / "results" / "recorded"
    wanted = list(names) or sorted(path.parent.name for path in folder.glob("*/provenance.json"))
    for name in wanted:
        mark(folder / name)
    return {name: stale(folder / name) for name in wanted}
