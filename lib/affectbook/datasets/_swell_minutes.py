"""The minutes of SWELL-KW: which condition a block is, and where its relaxation lies.

The table of physiological features has a row for each minute: PP, C (the block; other tables of
the set call it Blok), Condition (N, T, I or R) and timestamp, beside the features.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from affectbook import files
from affectbook.errors import DataFileError

CONDITIONS = {"N": "neutral", "T": "time pressure", "I": "interruptions", "R": "relax"}
COLUMNS = ("PP", "C", "Condition", "timestamp")
MINUTE_S = 60.0
BLOCKS = ("c1", "c2", "c3")
# Files that a published pipeline leaves out, by subject and the end of their names.
EXCLUDED = {
    "pp3": ("c1",), "pp4": ("c1", "c2"), "pp8": ("c1", "c2", "c3"), "pp10": ("c2",),
    "pp11": ("c1", "c3"), "pp15": ("c2", "c3"), "pp16": ("c2",), "pp20": ("c1", "c2"),
    "pp22": ("c2", "c3"), "pp23": ("c2-cont",), "pp24": ("c3",), "pp25": ("c2", "c3"),
}  # fmt: skip
_NEVER_MADE = {"pp11": ("c2",)}  # as a published reader tells
_LATE = timedelta(minutes=2)
log = logging.getLogger(__name__)


def read_minutes(path: Path) -> pd.DataFrame:
    """Return a row for each minute: PP (``pp1``), C (``c1``), Condition and time.

    Raises
    ------
    DataFileError
        If the table cannot be read, lacks a column, or a row is not a minute of a block.
    """
    try:
        text = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").decode("latin-1")
        delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
        rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(row)]
    except (OSError, csv.Error) as error:
        found = f"{type(error).__name__}: {str(error)[:160]}"
        raise wrong(path, "the whole file", found, "a table", "it cannot be read") from error
    names = [name.strip() for name in rows[0]] if rows else []
    names = ["C" if name == "Blok" else name for name in names]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        found = ", ".join(names)[:200] or "none"
        raise wrong(path, "columns", found, ", ".join(missing), "columns are missing")
    places = [names.index(name) for name in COLUMNS]
    cells = [[row[at].strip() if at < len(row) else "" for at in places] for row in rows]
    table = pd.DataFrame(cells, columns=COLUMNS)
    table = table[~table["PP"].isin(["PP", ""])]  # headings stand inside the file, too
    return _checked(path, table)


def _checked(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    stamps = table["timestamp"].str.pad(18, "right", "0")
    time = pd.to_datetime(stamps, format="%Y%m%dT%H%M%S%f", errors="coerce")
    known = table["PP"].str.fullmatch(r"PP\d{1,2}") & table["C"].isin(["1", "2", "3"])
    known &= table["Condition"].isin(list(CONDITIONS)) & time.notna()
    if not known.all():
        found = ", ".join(table[~known].iloc[0])[:200]
        expected = "PP1 to PP25, 1 to 3, N T I or R, and a time such as 20120918T131600000"
        raise wrong(path, "a row", found, expected, "a row that is not a minute of a block")
    return table.assign(PP=table["PP"].str.lower(), C="c" + table["C"], time=time)


def lacking(table: pd.DataFrame, subject: str, recordings: Iterable[str]) -> str:
    """Return in words what a subject lacks: recordings of blocks, or a working condition.

    It is told, not refused: published copies lack some, and nobody has said which.

    Parameters
    ----------
    table
        From `read_minutes`.
    subject
        Such as ``"pp1"``.
    recordings
        Blocks that there are recordings of. Those that a published list leaves out, or that were
        never made, are not missed.
    """
    rows = table[table["PP"] == subject]
    known = {name[:2] for name in recordings}
    known.update(EXCLUDED.get(subject, ()), _NEVER_MADE.get(subject, ()))
    absent = [block for block in BLOCKS if block not in known]
    parts = [
        f"no recording of {block} (the table has {int((rows['C'] == block).sum())} of its minutes)"
        for block in absent
    ]
    worked = set(rows["Condition"])
    none = [name for code, name in CONDITIONS.items() if code not in ("R", *worked)]
    parts += [f"no minutes of {', '.join(none)} in the table"] if none else []
    return f"{subject}: {', '.join(parts)}" if parts else ""


def stretches_of(
    path: Path,
    table: pd.DataFrame,
    which: tuple[str, str],
    start: datetime | None,
    length_s: float,
    trim_s: float,
) -> list[tuple[str, float, float]]:
    """Return condition, start and end in seconds of the parts of a recording.

    Parameters
    ----------
    path, table
        The table of minutes. Its first minute of the block is taken for the first of the
        recording.
    which
        Subject and block; ``c2-cont`` is part of ``c2``.
    start
        When the recording began by its own clock; None if unknown.
    length_s
        Length of the recording.
    trim_s
        Taken off both sides of a border between two conditions.

    Raises
    ------
    DataFileError
        If the table has not just one working condition for the block.
    """
    subject, block = which
    rows = table[(table["PP"] == subject) & (table["C"] == block[:2])].sort_values("time")
    conditions, times = rows["Condition"].to_numpy(str), rows["time"].to_numpy()
    work = sorted(set(conditions.tolist()) - {"R"})
    if len(work) != 1:
        found = f"{subject} {block[:2]}: {', '.join(work) or 'no working condition'}"
        raise wrong(path, "Condition", found, "one of N, T, I", "a block is not one condition")
    if block.endswith("-cont"):  # the table does not say where a continued recording begins
        return [(CONDITIONS[work[0]], 0.0, length_s)]
    first_minute = pd.Timestamp(times[0])
    if start is not None and abs(first_minute - start) > _LATE:
        log.warning(
            "SWELL-KW: %s %s began at %s by the recorder and at %s by the table of minutes; its "
            "first minute is taken for the first of the recording",
            *(subject, block, start, first_minute),
        )
    begins = (times - times[0]) / np.timedelta64(1, "s")
    borders = [0, *(np.flatnonzero(conditions[1:] != conditions[:-1]) + 1), len(rows)]
    parts = []
    for first, last in zip(borders[:-1], borders[1:], strict=True):
        start_s = float(begins[first]) + (trim_s if first else 0.0)
        stop_s = float(begins[last - 1]) + MINUTE_S - (trim_s if last < len(rows) else 0.0)
        parts.append((CONDITIONS[conditions[first]], start_s, min(stop_s, length_s)))
    return parts


def write_minutes(path: Path, minutes: Iterable[tuple[str, str, str, datetime]]) -> Path:
    """Write a table of minutes; its features are all 999, which means missing.

    Parameters
    ----------
    path
        Where to.
    minutes
        Subject, block, condition (N, T, I or R) and time of each.
    """
    lines = [",".join((*COLUMNS, "HR", "RMSSD", "SCL"))]
    for subject, block, condition, time in minutes:
        row = (subject.upper(), block[1:], condition, f"{time:%Y%m%dT%H%M%S}000", *["999"] * 3)
        lines.append(",".join(row))
    return files.write_text(path, "\n".join([*lines, ""]))


def wrong(path: Path, field: str, found: str, expected: str, what: str) -> DataFileError:
    """Return the error for a file that is not what the card says."""
    return DataFileError(
        f"SWELL-KW: {what}",
        file=path,
        field=field,
        found=found,
        expected=expected,
        do="get the file again from the publisher, or leave the subject out with subjects=",
    )
