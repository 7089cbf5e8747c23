"""Recorded results: finished cells of a sweep joined into tables, with what made them.

What readers record of their runs is in `keeping`, what is stale in `staleness`, and records that
are confirmed after a change of code in `confirming`; all of it can be called from here.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from affectbook import results, sealed, sweeps
from affectbook.confirming import confirm
from affectbook.errors import DataFileError, RunError
from affectbook.keeping import record_run
from affectbook.staleness import MARK, changes, check, mark, stale

__all__ = ["MARK", "changes", "check", "confirm", "mark", "record", "record_run", "stale"]
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
    DataFileError
        If cells would stay of a record that is not what was recorded, or a table of a cell is not
        what was written.
    """
    keys = [sweeps.key(paper, cell) for cell in sweeps.chosen(paper, name, {})]
    there = sweeps.folder_of(paper, name)
    target = results.recorded_folder() / f"{paper}_{name}"
    made = {key: _made(there / key) for key in keys if (there / key).is_dir()}
    if not made:
        raise RunError(
            f"no cell of the sweep {name} is done; make sweep PAPER={paper} SWEEP={name}"
        )
    with sealed.locked(target):
        before = _before(target, every=set(keys) <= set(made))
        stay = {cell["key"]: cell for cell in before.get("cells", [])
                if cell["key"] in keys and cell["key"] not in made}  # fmt: skip
        with sealed.replaced(target) as fresh:
            for table in sweeps.TABLES:
                frames = _kept(target / f"{table}.gz", [key for key in keys if key in stay])
                frames += [_text(there / key / table).assign(run_key=key)
                           for key in made if (there / key / table).is_file()]  # fmt: skip
                _join(frames, keys, fresh / f"{table}.gz")
            cells = [stay[key] if key in stay else _cell(made[key])
                     for key in keys if key in {*stay, *made}]  # fmt: skip
            sealed.seal(fresh, _joined(paper, name, cells, list(made.values()), before))
    return target, len(cells), len(keys)


def _before(target: Path, every: bool) -> dict:
    """Return the provenance of what was recorded before; a damaged record counts as none.

    Unless cells of it would have to stay: `every` says that all cells were made again.
    """
    told = sealed.glance(target)
    if told and "sweep" not in told:
        raise RunError(
            f"{target.name} is the record of a reader's run; record that under another name first"
        )
    try:
        return sealed.require(target) if target.is_dir() else {}
    except DataFileError:
        if every:
            return {}
        raise


def _join(frames: list[pd.DataFrame], keys: list[str], path: Path) -> None:
    """Write tables as one, in the order of the sweep, whatever was made when."""
    if frames:
        joined = pd.concat(frames, ignore_index=True)
        order = joined["run_key"].map(keys.index).sort_values(kind="stable").index
        results.write_rows(joined.loc[order], path)


def _text(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _made(folder: Path) -> dict:
    """Return the provenance of a finished cell, whose tables are those that were written."""
    told = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    for table, expected in told.get("files", {}).items():
        do = "remove its folder and make the cell again; tables of a cell are not edited"
        sealed.require_sum(folder / table, expected, do)
    return told


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
    stayed = {cell["key"] for cell in cells} - {one["key"] for one in made}
    confirmed = before.get("confirmed", []) if stayed else []
    return {
        "paper": paper,
        "sweep": name,
        "finished": last["finished"],
        "seconds": round(sum(cell["seconds"] for cell in cells), 1),
        "data": {"windows": sorted({tuple(cell["windows"]) for cell in cells})},
        **{key: last[key] for key in _SAME},
        "code": {key: code[key] for key in sorted({cell["analysis"] for cell in cells})},
        "cells": cells,
        **({"confirmed": confirmed} if confirmed else {}),
    }
