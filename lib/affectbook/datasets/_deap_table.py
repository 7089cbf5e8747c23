"""The ratings of DEAP as the publisher's table has them, ``participant_ratings.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from affectbook import files
from affectbook.datasets._deap_file import N_TRIALS, RATINGS, wrong

TABLE = "participant_ratings.csv"
MIRROR = "a public mirror is known to have 9 - rating in place of some ratings"
_ROUNDING = 0.011  # the table has two decimals


def table_of(folder: Path) -> Path | None:
    """Return the publisher's table of ratings, where one lies in the folder or beside it."""
    names = (TABLE, f"metadata_csv/{TABLE}")
    places = [base / name for base in (Path(folder), Path(folder).parent) for name in names]
    return next((path for path in places if path.is_file()), None)


def reported(path: Path) -> dict[str, np.ndarray]:
    """Return what the table says by subject, ``(40, 4)`` in the order of the videos' ids."""
    columns = [name.capitalize() for name in RATINGS]
    try:
        table = pd.read_csv(path, usecols=["Participant_id", "Experiment_id", *columns])
        table = table.astype(float).sort_values("Experiment_id")
    except Exception as error:  # a damaged table may raise anything
        found = f"{type(error).__name__}: {str(error)[:160]}".replace("\n", " ")
        expected = f"numbers in Participant_id, Experiment_id, {', '.join(columns)}"
        raise wrong(path, "columns", found, expected, "the table cannot be read") from error
    by_subject = {}
    for number, rows in table.groupby("Participant_id"):
        if rows["Experiment_id"].tolist() != list(range(1, N_TRIALS + 1)):
            found = f"{len(rows)} rows, {rows['Experiment_id'].nunique()} different ids"
            field, expected = f"Participant_id {number:g}", f"Experiment_id 1 to {N_TRIALS}, once"
            raise wrong(path, field, found, expected, "rows are missing or double")
        by_subject[f"s{number:02.0f}"] = rows[columns].to_numpy()
    return by_subject


def compare(
    path: Path, subject: str, labels: np.ndarray, table: dict[str, np.ndarray], told: Path
) -> None:
    """Refuse labels that differ from the publisher's table."""
    if subject not in table:
        field = f"Participant_id {int(subject[1:])}"
        raise wrong(told, field, "no row", f"{N_TRIALS} rows", "the table lacks a subject")
    differ = ~(np.abs(labels - table[subject]) <= _ROUNDING).all(axis=1)
    if differ.any():
        first = int(np.flatnonzero(differ)[0])
        there = np.round(labels[first], 2).tolist()
        found = f"{differ.sum()} of {N_TRIALS} trials differ, first trial {first + 1}: {there}"
        expected = f"{table[subject][first].tolist()}, as {told.name} has it; {MIRROR}"
        raise wrong(path, "labels", found, expected, "labels are not those of the publisher")


def write_ratings(
    folder: Path,
    subjects: Sequence[str],
    labels: Sequence[np.ndarray],
    orders: Sequence[np.ndarray],
    familiarity: Sequence[np.ndarray],
) -> Path:
    """Write the publisher's table of ratings, ``participant_ratings.csv``.

    Parameters
    ----------
    folder
        The folder of the set.
    subjects
        Such as ``("s01", "s02")``.
    labels
        Of each subject ``(40, 4)``: valence, arousal, dominance, liking, in the order of the
        videos' ids.
    orders
        Of each subject ``(40,)``: index of the video shown first, second and so on.
    familiarity
        Of each subject ``(40,)``, in the order of the videos' ids; NaN is left empty.
    """
    tables = []
    for subject, rated, order, known in zip(subjects, labels, orders, familiarity, strict=True):
        table = pd.DataFrame(rated[order], columns=[name.capitalize() for name in RATINGS])
        table.insert(0, "Participant_id", int(subject[1:]))
        table.insert(1, "Trial", np.arange(1, N_TRIALS + 1))
        table.insert(2, "Experiment_id", order + 1)
        table.insert(3, "Start_time", np.arange(N_TRIALS) * 70_000_000)  # microseconds
        table["Familiarity"] = known[order]
        tables.append(table)
    return files.write_text(Path(folder) / TABLE, pd.concat(tables).to_csv(index=False))
