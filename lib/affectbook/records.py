"""Recorded sweeps: finished cells joined into tables, with what made them; and which are stale."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from affectbook import papers, results, sweeps
from affectbook.closure import code_hash
from affectbook.errors import RunError
from affectbook.files import project_root, write_text

_SAME = ("git", "machine", "packages", "scan")


def record(paper: str, name: str) -> tuple[Path, int, int]:
    """Keep what is done of a sweep under ``results/recorded/<paper>_<sweep>``.

    Returns
    -------
    tuple
        The folder, the number of cells in it, and the number the sweep has.

    Raises
    ------
    RunError
        If no cell of the sweep is done with the parameters, data and code of today.
    """
    cells = sweeps.chosen(paper, name, {})
    there = sweeps.folder_of(paper, name)
    done = [path for cell in cells if (path := there / sweeps.key(paper, cell)).is_dir()]
    if not done:
        raise RunError(
            f"no cell of the sweep {name} is done; make sweep PAPER={paper} SWEEP={name}"
        )
    target = project_root() / "results" / "recorded" / f"{paper}_{name}"
    for table in sweeps.TABLES:
        parts = [folder / table for folder in done if (folder / table).is_file()]
        frames = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in parts]
        if frames:
            results.write_rows(pd.concat(frames, ignore_index=True), target / f"{table}.gz")
    made = [json.loads((folder / "made.json").read_text(encoding="utf-8")) for folder in done]
    write_text(target / "provenance.json", json.dumps(_joined(paper, name, made), indent=1) + "\n")
    return target, len(done), len(cells)


def _joined(paper: str, name: str, made: list[dict]) -> dict[str, object]:
    """Return one provenance for many cells: what they share once, the rest cell by cell."""
    last = max(made, key=lambda one: one["finished"])
    cells = [
        {key: one[key] for key in ("key", "analysis", "options", "parameters", "finished")}
        | {"seconds": one["seconds"], "windows_sha256": one["data"]["sha256"],
           "commit": one["git"]["commit"], "dirty": one["git"]["dirty"]}
        for one in made
    ]  # fmt: skip
    code: dict[str, dict] = {}
    for one in made:
        code.setdefault(one["analysis"], {}).update(one["code"])
    return {
        "paper": paper,
        "sweep": name,
        "finished": last["finished"],
        "seconds": round(sum(one["seconds"] for one in made), 1),
        "data": {"windows": sorted({tuple(one["data"]["windows"]) for one in made})},
        **{key: last[key] for key in _SAME},
        "code": code,
        "cells": cells,
    }


def stale(folder: Path, root: Path | None = None) -> list[str]:
    """Return what has changed since a sweep was recorded: nothing, if it is not stale.

    Code counts if it decides a score, see `sweeps.computing_code`; comments and docstrings do not.
    The windows are not looked at: they need the data.

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
    return sorted(set(found))


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
    """Return for each record what has changed since; all records unless named."""
    folder = project_root() / "results" / "recorded"
    wanted = list(names) or sorted(path.parent.name for path in folder.glob("*/provenance.json"))
    return {name: stale(folder / name) for name in wanted}
