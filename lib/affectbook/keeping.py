"""Runs that readers record: their scores and what made them, never signals or weights."""

from __future__ import annotations

import gzip
import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from affectbook import papers, results, sealed
from affectbook.errors import DataFileError, RunError, shown

TABLES = ("scores.csv", "predictions.csv")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
_NEEDED = ("paper", "run_key", "parameters", "setting", "code", "files")
_DO = "run it again with --force: what is recorded is not edited"
_OF_MACHINE = ("provenance.machine", "provenance.attempts", "provenance.git")
# A path of a machine, wherever it may stand in a text; "w/ Graphics" is none.
_PATH = re.compile(r"""(?:^|[\s"'=(,:;\[])(?:~?(?:/+[\w.+-]+){2}|~/|[A-Za-z]:\\|\\\\\w)""")


def record_run(folder: Path, name: str) -> Path:
    """Keep scores, predictions and provenance of a run under ``results/recorded/<name>``.

    The same run may be recorded again under its name.

    Parameters
    ----------
    folder
        ``build/runs/<paper>/<key>`` of a finished run.
    name
        Letters, digits, ``-`` and ``_``.

    Returns
    -------
    pathlib.Path
        The folder of the record.

    Raises
    ------
    RunError
        If the run has not finished, the name is not plain or is taken, or what would be kept
        names a place of this machine.
    DataFileError
        If scores or predictions are not those that the run wrote.
    """
    folder = Path(folder)
    told = _finished(folder)
    _require_name(name)
    target = results.recorded_folder() / name
    texts = {table: _read(folder / table) for table in TABLES}
    _require_own_rows(folder, told)
    _require_no_place(told, texts)
    with sealed.locked(target):
        _require_free(target, told)
        with sealed.replaced(target) as fresh:
            for table, text in texts.items():
                (fresh / f"{table}.gz").write_bytes(gzip.compress(text, mtime=0))
            sealed.seal(fresh, told)
    return target


def _finished(folder: Path) -> dict:
    """Return the provenance of a finished run."""
    missing = [file for file in (*TABLES, sealed.PROVENANCE) if not (folder / file).is_file()]
    if missing or folder.name.startswith("."):
        why = f": {', '.join(missing)} not found" if missing else ""
        raise RunError(f"no finished run in {folder}{why}")
    told = sealed.glance(folder)
    if lacking := [key for key in _NEEDED if key not in told]:
        raise RunError(
            f"the provenance of the run in {folder} lacks {', '.join(lacking)}: make run makes a "
            "run that can be recorded"
        )
    if "seal" in told:
        sealed.require(folder, do=_DO)
    return told


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise RunError(
            f"a record's name has letters, digits, - and _ only, up to 60, found {shown(name)!r}"
        )
    for paper in papers.names():
        if name in {f"{paper}_{sweep}" for sweep in getattr(papers.get(paper), "SWEEPS", {})}:
            raise RunError(f"{name} is the name of a sweep's record; choose another one")


def _require_free(target: Path, told: Mapping[str, object]) -> None:
    """Refuse the name of another record; the same run may take its own place."""
    if not target.exists():
        return
    before = sealed.glance(target)
    if "sweep" in before:
        raise RunError(f"{target.name} is the record of a sweep; choose another name")
    if before.get("run_key") != told["run_key"]:
        raise RunError(
            f"{target.name} is the record of another run, {shown(before.get('run_key'))}; choose "
            "another name, or remove its folder first"
        )


def _read(path: Path) -> bytes:
    """Return the bytes of a table, if they are those that the run wrote."""
    sealed.check(path, do=_DO)
    return path.read_bytes()


def _require_own_rows(folder: Path, told: Mapping[str, object]) -> None:
    rows = results.read_rows(folder / "scores.csv")
    keys = {*rows["run_key"].unique(), ""}
    if keys != {told["run_key"], ""} and keys != {""}:
        raise DataFileError(
            "these are the scores of another run", file=folder / "scores.csv", field="run_key",
            found=", ".join(sorted(filter(None, keys))), expected=told["run_key"],
            do=_DO,
        )  # fmt: skip


def _require_no_place(told: Mapping[str, object], texts: Mapping[str, bytes]) -> None:
    """Refuse what names a path or the name of this machine: what is recorded is made public."""
    host = re.compile(rf"(?<![\w.-]){re.escape(platform.node())}(?![\w-])") if _named() else None
    for where, text in _strings(told, "provenance"):
        if _PATH.search(text) or (
            host and where.startswith(_OF_MACHINE) and host.search(text)
        ):
            raise RunError(
                f"{shown(where)} names a place of this machine, {shown(text)!r}; what is recorded "
                "is made public"
            )
    for table, raw in texts.items():
        if found := _PATH.search(raw.decode("utf-8", "replace")):
            raise RunError(f"{table} names a place of this machine, {shown(found[0])!r}")


def _named() -> bool:
    return platform.node().lower() not in ("", "localhost", platform.system().lower())


def _strings(value: object, where: str) -> Iterator[tuple[str, str]]:
    """Yield every text in a provenance with the place where it stands."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _strings(str(name), f"a name in {where}")
            yield from _strings(part, f"{where}.{name}")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _strings(part, f"{where}[{number}]")
