"""drivedb: ECG of car drivers at rest, on the highway and in the city.

Healey and Picard 2005, PhysioNet drivedb 1.0.0. The road is the label. Its times come from a
published table of durations, shifted so that they agree with the driver's marker presses; they
ship with this package (``drivedb_segments.csv``) for the two records where that could be checked.
The writer of records, which makes the simulated twin, stands beside the reader.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from affectbook import simulate
from affectbook.datasets._drivedb_file import ECG_GAIN, MOST, TITLE, frames_of, read_ecg, wrong
from affectbook.datasets._folders import mark_twin
from affectbook.datasets.card import Card, LabelRule
from affectbook.datasets.recording import Recording
from affectbook.errors import ParameterError

SEGMENTS = Path(__file__).with_name("drivedb_segments.csv")
TRIM_S = 60.0
CONDITIONS = ("rest", "highway", "city")
CHANNELS = {"ecg": ("ECG",)}
# Headers in a folder of their own and segments.csv lie beside copies of a few records.
ALSO = (
    "drive[01]?.hea", "drive[01]?.dat", "drive17[ab].hea", "drive17[ab].dat", "RECORDS",
    "headers/drive*.hea", "segments.csv",
)  # fmt: skip

CARD = Card(
    name="drivedb",
    title=TITLE,
    tier="open",
    subjects=(*(f"drive{number:02d}" for number in range(1, 17)), "drive17a", "drive17b"),
    trials_per_subject="7: stretches of road (drive05, drive06); other records have no labels",
    channels=("ECG",),
    sfreq="from each header: 496 Hz in most; drive12 356.5 Hz, drive15 480.5 Hz, drive17a 480 Hz",
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
        "fetch it with `make data DATASET=drivedb`, from "
        "https://physionet.org/content/drivedb/1.0.0/ (no login)"
    ),
    citation="healey2005drivedb",
    trials=7,
    pitfalls=(
        "Labels are roads, not self-reports; none of the drivers rated anything.",
        "Only drive05 and drive06 have labels here: two people.",
        "drive17a and drive17b are two records of one drive. By their headers, drive13 and drive14 "
        "hold the same ECG: as many samples, and the same sum.",
        "Order and time of day are confounded with the road.",
        "The published table's clock starts at the first marker press, not at sample 0.",
        "5.9 % of the ECG samples of drive05 lie beyond 5 mV. For 219 s of its first highway "
        "stretch the ECG sits at -10 mV; windows there are left out.",
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
    """Return the labelled records of which a file is there; others are read when they are named."""
    begun = (one for one in _table() if any(path.is_file() for path in files_of(folder, one)))
    return tuple(sorted(begun))


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
        ecg, sfreq = read_ecg(folder, subject)
        segments, end_s = _segments(subject, trim_s), len(ecg) / sfreq
        within = [segment.stop_s is None or segment.stop_s <= end_s for segment in segments]
        if not all(within):
            late = segments[within.index(False)]
            found = f"{end_s:.1f} s, with {sum(within)} of {len(within)} stretches"
            expected = f"all of them; {late.trial} needs at least {late.stop_s:.1f} s"
            raise wrong(folder / f"{subject}.hea", "length", found, expected)
        for segment in segments:
            stop_s = end_s if segment.stop_s is None else segment.stop_s
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


class _Signal(NamedTuple):
    """A signal beside the ECG in a usual record: samples per frame, gain, unit."""

    name: str
    per_frame: int
    gain: float
    unit: str


_BESIDE = (
    _Signal("EMG", 1, 1000, "mV"),
    _Signal("foot GSR", 2, 1000, "mV"),
    _Signal("hand GSR", 2, 1000, "mV"),
    _Signal("HR", 1, 1, "bpm"),
    _Signal("marker", 1, 100, "mV"),
    _Signal("RESP", 2, 100, "mV"),
)
# Rest low, highway medium, city high: as the study means its roads. The places are choices.
_STATES = {
    "rest": "baseline",
    "highway": simulate.Affect(-0.1, 0.5),
    "city": simulate.Affect(-0.4, 1.0),
}


def write_record(
    folder: Path, record: str, ecg: np.ndarray, *, frame_hz: float, per_frame: int
) -> None:
    """Write a record of seven signals in format 16, as the publisher does.

    Signals other than the ECG only hold their places: they rise from 0 in steps.

    Parameters
    ----------
    folder, record
        Where, and its name, such as ``"drive05"``.
    ecg
        ``(n_times,)`` in mV; kept in steps of 1 uV, and what does not fill a frame is left out.
    frame_hz, per_frame
        Frames per second, and samples of the ECG in each: their product is its rate.

    Raises
    ------
    ParameterError
        If the ECG does not fill a frame.
    """
    import wfdb

    n_frames = len(ecg) // per_frame
    if n_frames == 0 or ecg.ndim != 1:
        raise ParameterError(f"an ECG {ecg.shape}; (n_times,) of {per_frame} or more is written")
    whole = np.clip(np.rint(ecg[: n_frames * per_frame] * ECG_GAIN), -MOST, MOST)
    beside = [np.arange(n_frames * one.per_frame) % 1000 for one in _BESIDE]
    wfdb.wrsamp(
        record,
        fs=frame_hz,
        units=["mV", *(one.unit for one in _BESIDE)],
        sig_name=["ECG", *(one.name for one in _BESIDE)],
        e_d_signal=[whole.astype(np.int64), *beside],
        samps_per_frame=[per_frame, *(one.per_frame for one in _BESIDE)],
        fmt=["16"] * (1 + len(_BESIDE)),
        adc_gain=[ECG_GAIN, *(float(one.gain) for one in _BESIDE)],
        baseline=[0] * (1 + len(_BESIDE)),
        write_dir=str(folder),
    )
    header = Path(folder) / f"{record}.hea"
    header.write_bytes(header.read_bytes().replace(b"\n", b"\r\n"))


def make_twin(
    folder: Path,
    *,
    subjects: int = 2,
    effect: float = 1.0,
    fingerprint: float = 1.0,
    seed: int = 0,
    unlabelled_s: float = 60.0,
) -> Path:
    """Write a simulated twin in the official layout, each record at its own rate.

    The two labelled records, drive05 and drive06, come first and have their full length, since
    the table of stretches has the times of the real ones; only they are read by default. More
    subjects are records without labels, in the card's order.

    Parameters
    ----------
    folder
        Where to; a file there says that the data are simulated, and with which dials.
    subjects
        1 to 18, of which at most 2 are labelled. A record does not depend on how many there are.
    effect, fingerprint, seed
        See `affectbook.simulate`.
    unlabelled_s
        Length of a record without labels, in seconds.

    Raises
    ------
    ParameterError
        If a dial is out of range.
    """
    n_records = len(CARD.first(subjects))
    dials = {"effect": effect, "fingerprint": fingerprint, "seed": seed}
    Path(folder).mkdir(parents=True, exist_ok=True)
    records = sorted(CARD.subjects, key=lambda record: record not in _table())[:n_records]
    for record in records:
        frame_hz, per_frame = frames_of(record)
        plan = _plan(record) or [(None, unlabelled_s)]
        ecg, _ = simulate.ecg_subject(
            CARD.subjects.index(record), plan, sfreq=frame_hz * per_frame, **dials
        )
        write_record(folder, record, ecg, frame_hz=frame_hz, per_frame=per_frame)
    mark_twin(folder, [record for record in records if record in _table()], **dials)
    return Path(folder)


_AROUND_S = 30.0


def _plan(record: str) -> list[tuple[simulate.Affect | str | None, float]]:
    """Return what happens in a labelled record, from sample 0 until after the last stretch."""
    stretches = _table().get(record, [])
    plan = [(_STATES[one.condition], one.stop_s - one.start_s) for one in stretches]
    return [(None, stretches[0].start_s), *plan, (None, _AROUND_S)] if plan else []
