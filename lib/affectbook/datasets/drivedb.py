"""drivedb: ECG of car drivers at rest, on the highway and in the city.

Healey and Picard 2005, PhysioNet drivedb 1.0.0. The road is the label. Its times come from a
published table of durations, shifted so that they agree with the driver's marker presses; they
ship with this package (``drivedb_segments.csv``) for the two records where that could be checked.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from affectbook.datasets.card import Card, LabelRule
from affectbook.datasets.recording import Recording
from affectbook.errors import DataFileError, ParameterError

SEGMENTS = Path(__file__).with_name("drivedb_segments.csv")
TRIM_S = 60.0
CONDITIONS = ("rest", "highway", "city")
CHANNELS = {"ecg": ("ECG",)}

CARD = Card(
    name="drivedb",
    title="drivedb",
    tier="open",
    subjects=(*(f"drive{number:02d}" for number in range(1, 17)), "drive17a", "drive17b"),
    trials_per_subject="7 stretches of road (drive05, drive06); no labels in the other records",
    channels=("ECG",),
    sfreq="from each header: 496 Hz in most records, 480 Hz in drive17a, 356.5 Hz in drive12",
    unit="mV",
    label_rules=(
        LabelRule(
            "rest_highway_city",
            CONDITIONS,
            {name: name for name in CONDITIONS},
            "the road: rest low, highway medium, city high stress by design of the study",
        ),
        LabelRule(
            "rest_drive",
            ("rest", "drive"),
            {"rest": "rest", "highway": "drive", "city": "drive"},
            "rest against driving on any road",
        ),
    ),
    licence="ODC-By 1.0: cite Healey and Picard 2005 and Goldberger et al. 2000",
    size="114 MB",
    obtain=(
        "download https://physionet.org/content/drivedb/1.0.0/ (no login) into "
        "$AFFECTBOOK_DATA/drivedb"
    ),
    citation="healey2005drivedb",
    pitfalls=(
        "Labels are roads, not self-reports; none of the drivers rated anything.",
        "Only drive05 and drive06 have labels here: two people.",
        "Order and time of day are confounded with the road.",
        "The published table's clock starts at the first marker press, not at sample 0.",
        "5.9 % of the ECG samples of drive05 lie beyond 5 mV.",
        "Read with default settings, the ECG is averaged down to the frame rate.",
    ),
)


class _Segment(NamedTuple):
    """A stretch of one record; `stop_s` None is its end."""

    trial: str
    condition: str | None
    start_s: float
    stop_s: float | None


@functools.cache
def _table() -> dict[str, list[_Segment]]:
    """Return the labelled stretches of each record, in order."""
    table: dict[str, list[_Segment]] = {}
    with SEGMENTS.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            rows = table.setdefault(row["record"], [])
            trial = f"{len(rows) + 1}-{row['condition']}"
            rows.append(
                _Segment(trial, row["condition"], float(row["start_s"]), float(row["end_s"]))
            )
    return table


def subjects_in(folder: Path) -> tuple[str, ...]:
    """Return the records whose header and signal are in the folder."""
    return tuple(
        subject
        for subject in CARD.subjects
        if all(path.is_file() for path in files_of(folder, subject))
    )


def expected_in(folder: Path) -> tuple[str, ...]:
    """Return the labelled records that are there; the others are read when they are named."""
    return tuple(subject for subject in subjects_in(folder) if subject in _table())


def files_of(folder: Path, subject: str) -> tuple[Path, ...]:
    """Return header and signal file of a record."""
    return folder / f"{subject}.hea", folder / f"{subject}.dat"


def read(folder: Path, subjects: Iterable[str], *, trim_s: float = TRIM_S) -> Iterator[Recording]:
    """Return one recording per stretch of road: ECG in mV at the record's own rate.

    A record without labels gives one recording of its whole length, with condition None.

    Parameters
    ----------
    folder, subjects
        Where, and which records.
    trim_s
        Seconds taken off both ends of a labelled stretch, since a border is only known
        approximately.

    Raises
    ------
    ParameterError
        If `trim_s` is negative, or leaves nothing of a stretch.
    DataFileError
        While reading, if a record is not what the card says.
    """
    subjects = tuple(subjects)
    stretches = [s for subject in subjects for s in _table().get(subject, [])]
    shortest = min((s.stop_s - s.start_s for s in stretches), default=np.inf)
    if not 0 <= trim_s < shortest / 2:
        raise ParameterError(
            f"trim_s = {trim_s}; from 0 to less than {shortest / 2:g}, half the shortest stretch"
        )
    return _recordings(folder, subjects, trim_s)


def _recordings(folder: Path, subjects: Iterable[str], trim_s: float) -> Iterator[Recording]:
    for subject in subjects:
        ecg, sfreq = _ecg(folder, subject)
        for segment in _segments(subject, trim_s):
            end_s = len(ecg) / sfreq
            stop_s = end_s if segment.stop_s is None else segment.stop_s
            if stop_s > end_s:
                found, expected = f"{end_s:.1f} s", f"at least {stop_s:.1f} s ({segment.trial})"
                raise _wrong(folder / f"{subject}.hea", "length", found, expected)
            start, stop = round(segment.start_s * sfreq), round(stop_s * sfreq)
            yield Recording(
                signal=ecg[None, start:stop].astype(np.float32),
                sfreq=sfreq,
                ch_names=("ECG",),
                unit="mV",
                subject=subject,
                session="1",
                trial=segment.trial,
                condition=segment.condition,
                start_s=start / sfreq,
            )


def _segments(subject: str, trim_s: float) -> list[_Segment]:
    """Return the stretches of a record without their borders."""
    if subject not in _table():
        return [_Segment("1-unlabelled", None, 0.0, None)]
    return [
        segment._replace(start_s=segment.start_s + trim_s, stop_s=segment.stop_s - trim_s)
        for segment in _table()[subject]
    ]


def _ecg(folder: Path, subject: str) -> tuple[np.ndarray, float]:
    """Return the ECG ``(n_times,)`` in mV of a record, and its rate in Hz."""
    import wfdb

    path, name = folder / f"{subject}.hea", str(folder / subject)
    try:
        header = wfdb.rdheader(name)
        channels = list(header.sig_name or [])
        at = channels.index("ECG") if "ECG" in channels else None
        record = None if at is None else wfdb.rdrecord(name, channels=[at], smooth_frames=False)
    except Exception as error:  # wfdb raises many types on a damaged header or signal
        found = f"{type(error).__name__}: {str(error)[:160]}"
        raise _wrong(path, "the record", found, "a record that wfdb can read") from error
    if record is None:
        raise _wrong(path, "signals", ", ".join(map(str, channels))[:120], "ECG")
    per_frame = header.samps_per_frame[at]
    ecg = record.e_p_signal[0]
    if header.units[at] != "mV":
        raise _wrong(path, "unit of the ECG", str(header.units[at]), "mV")
    if len(ecg) != header.sig_len * per_frame:
        raise _wrong(path, "length", f"{len(ecg)} samples", f"{header.sig_len * per_frame}")
    if not np.isfinite(ecg).all():
        raise _wrong(path, "ECG", f"{(~np.isfinite(ecg)).sum()} missing samples", "none")
    return ecg, float(header.fs) * per_frame


def _wrong(path: Path, field: str, found: str, expected: str) -> DataFileError:
    return DataFileError(
        f"{CARD.title}: the record is not what its header or card says",
        file=path,
        field=field,
        found=found,
        expected=expected,
        do="get header and signal file again, or leave the record out with subjects=",
    )
