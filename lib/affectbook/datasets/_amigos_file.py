"""The file of one subject of AMIGOS: its cells, checked."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from affectbook.datasets import _matlab, _refusal

TITLE = "AMIGOS"
_wrong = functools.partial(_refusal.wrong, TITLE)
SFREQ = 128.0
START = 640
"""Samples of baseline before a stimulus."""
PARTS = {"stimulus": slice(START, None), "baseline": slice(0, START)}
N_VIDEOS, N_COLUMNS = 20, 17
COLUMNS = {"eeg": slice(0, 14), "ecg": slice(14, 16), "gsr": slice(16, 17)}
CELLS = ("joined_data", "labels_selfassessment", "labels_ext_annotation", "VideoIDs")
LOW, HIGH = 1.0, 9.0
RATINGS = ("arousal", "valence", "dominance", "liking", "familiarity")
EXTERNAL = ("external valence", "external arousal")
N_REPORTED = len(RATINGS) + 7  # what follows are seven emotions, 0 or 1


class Trial(NamedTuple):
    """What was found of one video."""

    name: str
    signal: np.ndarray | None
    """``(n_chans, n_times)`` float32; None for an empty cell."""
    gaps: bool
    ratings: dict[str, float]


def trials_of(path: Path, videos: Sequence[int], kind: str, part: str) -> list[tuple]:
    """Return some videos of a subject, with channels of one kind.

    Parameters
    ----------
    path
        The file.
    videos
        Their places in it, from 0.
    kind, part
        Of `COLUMNS` and of `PARTS`.

    Returns
    -------
    list of tuple
        The fields of a `Trial` for each; one with gaps comes without its signal, and neither it
        nor an empty one has ratings.

    Raises
    ------
    DataFileError
        If the file is not what the card says.
    """
    cells = cells_of(path)
    names = names_of(path, cells)
    found = []
    for video in videos:
        signal = signal_of(path, cells["joined_data"][video], video, kind, PARTS[part])
        gaps = signal is not None and bool(np.isnan(signal).any())
        usable = signal is not None and not gaps
        ratings = ratings_of(path, cells, video) if usable else {}
        found.append((names[video], signal if usable else None, gaps, ratings))
    return found


def cells_of(path: Path) -> dict[str, np.ndarray]:
    """Return the cells ``(20,)`` of a subject's file by name."""
    content = _matlab.load(path, CELLS)
    cells = {}
    for name in CELLS:
        cell = _matlab.value_at(content, path, name)
        if cell.shape != (1, N_VIDEOS) or cell.dtype != object:
            found, expected = f"{cell.shape} {cell.dtype}", f"(1, {N_VIDEOS}) cell"
            raise _wrong(path, name, found, expected, "not one cell per video")
        cells[name] = cell[0]
    return cells


def names_of(path: Path, cells: Mapping[str, np.ndarray]) -> list[str]:
    """Return the id of each video, empty only where nothing was recorded."""
    names = []
    for video, (cell, data) in enumerate(zip(cells["VideoIDs"], cells["joined_data"], strict=True)):
        one = np.ravel(cell)
        name = str(one[0]).strip() if one.size == 1 and one.dtype.kind in "Uiu" else ""
        if one.size == 1 and one.dtype.kind == "f":
            name = f"{one[0]:g}"
        # What stands for a video that was not recorded does not matter, such as 0 for each.
        if np.size(data) and (not name or name in names):
            found = repr(name or str(one.tolist())[:60])
            expected = "an id of its own for each video"
            field = f"VideoIDs, video {video + 1}"
            raise _wrong(path, field, found, expected, "a video has no name of its own")
        names.append(name)
    return names


def signal_of(path: Path, cell: object, video: int, kind: str, cut: slice) -> np.ndarray | None:
    """Return channels of one kind ``(n_chans, n_times)`` float32, or None for an empty cell."""
    field = f"joined_data, video {video + 1}"
    data = _numbers(path, field, cell, N_COLUMNS)
    if data is None:
        return None
    if len(data) <= START:
        found, expected = f"{len(data)} samples", f"more than {START}, which are baseline"
        raise _wrong(path, field, found, expected, "the trial is too short")
    with np.errstate(over="ignore"):
        signal = data[cut, COLUMNS[kind]].T.astype(np.float32, order="C")
    if np.isinf(signal).any():
        found = f"{int(np.isinf(signal).sum())} of {signal.size} infinite"
        raise _wrong(path, field, found, "numbers, or NaN for gaps", "not all are numbers")
    return signal


def ratings_of(path: Path, cells: Mapping[str, np.ndarray], video: int) -> dict[str, float]:
    """Return self-reports and mean external annotations of one trial; missing ones are left out."""
    field = f"labels_selfassessment, video {video + 1}"
    ratings = {}
    report = _numbers(path, field, cells["labels_selfassessment"][video], N_REPORTED)
    if report is not None:
        if len(report) != 1:
            raise _wrong(path, field, f"{report.shape}", f"(1, {N_REPORTED})", "wrong shape")
        ratings |= _in_range(path, field, RATINGS, report[0], LOW, HIGH)
    field = f"labels_ext_annotation, video {video + 1}"
    segments = _numbers(path, field, cells["labels_ext_annotation"][video], 3)
    if segments is not None:
        for segment in segments:
            _in_range(path, field, EXTERNAL, segment[1:], -1.0, 1.0)
        ratings |= _in_range(path, field, EXTERNAL, segments[:, 1:].mean(axis=0), -1.0, 1.0)
    return ratings


def _in_range(
    path: Path, field: str, names: Sequence[str], values: np.ndarray, low: float, high: float
) -> dict[str, float]:
    """Return values by name without those that are NaN, all of them checked."""
    there = {name: float(x) for name, x in zip(names, values, strict=False) if not np.isnan(x)}
    for name, value in there.items():
        if not low <= value <= high:
            expected = f"from {low:g} to {high:g}"
            raise _wrong(path, field, f"{name} {value:g}", expected, "a label is out of range")
    return there


def _numbers(path: Path, field: str, cell: object, n_columns: int) -> np.ndarray | None:
    """Return a cell ``(n, n_columns)`` of numbers, or None if it is empty."""
    if not isinstance(cell, np.ndarray) or cell.dtype.kind not in "fiu":
        found = f"{type(cell).__name__} of {getattr(cell, 'dtype', 'no type')}"
        raise _wrong(path, field, found, "an array of numbers", "not numbers")
    if not cell.size:
        return None
    if cell.ndim != 2 or cell.shape[1] != n_columns:
        raise _wrong(path, field, f"{cell.shape}", f"(n, {n_columns})", "wrong shape")
    return cell
