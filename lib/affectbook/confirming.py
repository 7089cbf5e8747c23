"""Records whose code has changed, though not what it computes: some cells are made again."""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from affectbook import provenance, results, sealed, sweeps
from affectbook.closure import code_hash
from affectbook.errors import RunError
from affectbook.files import build_dir, project_root
from affectbook.scales import Cell
from affectbook.staleness import changes, identity, today_of

# What tells rows apart, in all kinds of tables.
_PLACE = ("estimator", "fold", "subject", "session", "trial", "window", "epoch", "metric")
Pairs = dict[str, Cell]
"""The key of a recorded cell, and the cell of today's sweep that it belongs to."""


def confirm(paper: str, sweep: str, cells: int = 1) -> str:
    """Keep a record although its code has changed, if cells made again come out bit-equal.

    Of each analysis whose code has changed the cheapest cells are made again, in a folder that
    goes away. If their scores, predictions and training curves are, character by character, those
    that were recorded, the record gets the hashes of today's code, the keys that follow from them,
    and a note of what was made again; otherwise nothing is changed.

    Parameters
    ----------
    paper, sweep
        A module of ``affectbook.papers`` and a key of its ``SWEEPS``.
    cells
        How many of each analysis are made again.

    Returns
    -------
    str
        One line: what was done.

    Raises
    ------
    RunError
        If there is no such record, parameters or windows have changed as well, or a cell comes
        out otherwise: which one, and its first row that differs.
    DataNotFoundError
        If real data are not there: without them nothing can be made again.
    DataFileError
        If the record is not what was recorded.
    """
    if cells < 1:
        raise RunError(f"confirming takes 1 cell or more, not {cells}")
    sweeps.chosen(paper, sweep, {})
    target = results.recorded_folder() / f"{paper}_{sweep}"
    with sealed.locked(target):
        if not target.is_dir():
            raise RunError(f"no record {target.name}; make sweep and make record make it")
        told = sealed.require(target)
        found = changes(target)
        if found.parameters or found.data:
            other = ", ".join([*found.parameters, *found.data][:3])
            raise RunError(f"{target.name} is stale by more than its code: {other}; make it again")
        if not found.code:
            return f"{target.name} is as its code makes it: nothing to confirm"
        pairs = _paired(paper, told)
        again = _cheapest(told, tuple(found.code), cells)
        _require_equal(paper, target, told, {key: pairs[key] for key in again})
        _rewrite(paper, target, told, pairs, again, tuple(found.code))
    seconds = sum(cell["seconds"] for cell in told["cells"] if cell["key"] in again)
    return (
        f"{target.name}: code changed; {len(again)} of {len(told['cells'])} cells made again "
        f"({seconds:.0f} s when they were recorded): bit-equal"
    )


def _paired(paper: str, told: Mapping) -> Pairs:
    """Return today's cell of every recorded one: all but the code that makes them is the same."""
    today = today_of(paper, told["sweep"])
    pairs: Pairs = {}
    for one in told["cells"]:
        cell = today[identity(one)]
        if sweeps.key_under(paper, cell, told["code"][one["analysis"]]) != one["key"]:
            raise RunError(
                f"of cell {one['key']} ({cell}) more has changed than code: its windows, or what "
                "its variant means; make it again"
            )
        pairs[one["key"]] = cell
    return pairs


def _cheapest(told: Mapping, analyses: Sequence[str], cells: int) -> list[str]:
    """Return the keys of the cells of each analysis that took the shortest."""
    found = []
    for analysis in analyses:
        own = [one for one in told["cells"] if one["analysis"] == analysis]
        found += [one["key"] for one in sorted(own, key=lambda one: one["seconds"])[:cells]]
    return found


def _require_equal(paper: str, target: Path, told: Mapping, pairs: Pairs) -> None:
    """Make cells again and compare each with what was recorded of it."""
    threads = int(told["machine"]["torch_threads"])
    with tempfile.TemporaryDirectory(dir=build_dir("records"), prefix=".confirm-") as place:
        for key, cell in pairs.items():
            print(f"Making {key} again ({cell}) ...", flush=True)
            folder = Path(place) / sweeps.key(paper, cell)
            make_again(paper, cell, folder, threads)
            for table in sweeps.TABLES:
                if different := _difference(target / f"{table}.gz", folder / table, key):
                    raise RunError(
                        f"{target.name}: cell {key} ({cell}) comes out otherwise: {table}, "
                        f"{different}{_elsewhere(told)}. Nothing was changed; make the record again"
                    )


def make_again(paper: str, cell: Cell, folder: Path, threads: int) -> None:
    """Evaluate a cell in a process of its own, with as many threads as it was recorded with."""
    with _environment(OMP_NUM_THREADS=str(threads)):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context, initializer=sweeps.stop_with_parent) as pool:
            pool.submit(sweeps.evaluate, paper, cell, folder).result()


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def _difference(recorded: Path, again: Path, key: str) -> str:
    """Return the first row of a cell that is not as it was recorded, in words; "" if none."""
    rows = _text(recorded)
    before = rows[rows["run_key"] == key] if "run_key" in rows else rows
    now = _text(again)
    columns = list(dict.fromkeys([*before, *now]))
    # Of several analyses in one table, each leaves the columns of the others empty.
    before, now = (
        part.reindex(columns=columns, fill_value="").drop(columns="run_key", errors="ignore")
        .reset_index(drop=True)
        for part in (before, now)
    )  # fmt: skip
    for row in range(min(len(before), len(now))):
        one, other = before.loc[row], now.loc[row]
        if wrong := [name for name in before if one[name] != other[name]]:
            parts = [f"{name} {one[name]!r} recorded, {other[name]!r} now" for name in wrong[:3]]
            where = [f"{name} {one[name]}" for name in _PLACE if name in before and one[name]]
            return f"row {row + 1} ({', '.join(where)}): {'; '.join(parts)}"
    if len(before) != len(now):
        return f"{len(before)} rows recorded, {len(now)} now"
    return ""


def _text(path: Path) -> pd.DataFrame:
    there = path.is_file()
    return pd.read_csv(path, dtype=str, keep_default_na=False) if there else pd.DataFrame()


def _elsewhere(told: Mapping) -> str:
    """Return what else than the code differs from when it was recorded, and may be the reason."""
    machine, packages = provenance.machine(), provenance.packages(project_root())
    parts = [f"{name} {told['packages'].get(name)} then, {packages.get(name)} now"
             for name in ("torch", "numpy", "scikit-learn", "scipy", "pandas")
             if told["packages"].get(name) != packages.get(name)]  # fmt: skip
    if told["machine"]["cpu"] != machine["cpu"]:
        parts.append(f"{told['machine']['cpu']} then, {machine['cpu']} now")
    return f" (this may be the reason: {'; '.join(parts)})" if parts else ""


def _rewrite(
    paper: str, target: Path, told: Mapping, pairs: Pairs, again: Sequence[str],
    analyses: Sequence[str],
) -> None:  # fmt: skip
    """Replace a record by one with today's hashes of code, and the keys that follow from them."""
    root, made = project_root(), json.loads(json.dumps(told))
    renamed = {key: sweeps.key(paper, cell) for key, cell in pairs.items()}
    one_of = {cell.analysis: cell for cell in pairs.values()}
    for analysis in analyses:
        files = sweeps.computing_code(root, paper, one_of[analysis])
        made["code"][analysis] = {path.relative_to(root).as_posix(): code_hash(path)
                                  for path in files}  # fmt: skip
    for cell in made["cells"]:
        cell["key"] = renamed[cell["key"]]
    earlier = [one | {"cells": [renamed.get(key, key) for key in one["cells"]]}
               for one in made.get("confirmed", [])]  # fmt: skip
    note = {"finished": datetime.now(UTC).isoformat(timespec="seconds")} | provenance.git(root)
    note |= {"cells": [renamed[key] for key in again], "of": len(pairs)}
    made["confirmed"] = [*earlier, note]
    with sealed.replaced(target) as fresh:
        for table in sweeps.TABLES:
            if (target / f"{table}.gz").is_file():
                rows = _text(target / f"{table}.gz")
                rows = rows.assign(run_key=rows["run_key"].map(renamed))
                results.write_rows(rows, fresh / f"{table}.gz")
        sealed.seal(fresh, made)
