"""AMIGOS: ECG, EEG and skin response of 40 people who rated 16 short and 4 long videos.

Miranda-Correa et al. 2021, "AMIGOS: A Dataset for Affect, Personality and Mood Research on
Individuals and Groups". Read is the preprocessed release: a subject is one MATLAB file with a
cell per video. A trial is named as its video is, by the id that stands in the file (``"4"``,
``"N1"``), so that a trial of the same name is the same video for everybody. What is missing or
holds gaps is left out, and one line of log says how many trials that were.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from affectbook import simulate
from affectbook.datasets import _matlab, _registry
from affectbook.datasets._folders import mark_twin
from affectbook.datasets.card import Card
from affectbook.datasets.labels import high_low, quadrants
from affectbook.datasets.recording import Recording
from affectbook.errors import DataFileError, ParameterError

SFREQ = 128.0
BASELINE_S = 5.0
LOW, HIGH = 1.0, 9.0
RATINGS = ("arousal", "valence", "dominance", "liking", "familiarity")
EXTERNAL = ("external valence", "external arousal")
N_REPORTED = len(RATINGS) + 7  # what follows are seven emotions, 0 or 1
VIDEO_IDS = (
    "4", "5", "9", "10", "13", "18", "19", "20", "23", "30", "31", "34", "36", "58", "80", "138",
    "N1", "P1", "B1", "U1",
)  # fmt: skip
CHANNELS = {
    "ecg": ("ECG-right", "ECG-left"),
    "eeg": (
        "AF3", "F7", "F3", "FC5", "T7", "P7", "O1", "O2", "P8", "T8", "FC6", "F4", "F8", "AF4",
    ),
    "gsr": ("GSR",),
}  # fmt: skip
_COLUMNS = {"eeg": slice(0, 14), "ecg": slice(14, 16), "gsr": slice(16, 17)}
_UNITS = {"eeg": "uV", "ecg": "as in the file", "gsr": "as in the file"}
_N_COLUMNS, _N_VIDEOS, _N_SHORT = 17, len(VIDEO_IDS), 16
_START = round(BASELINE_S * SFREQ)
_PARTS = {"stimulus": slice(_START, None), "baseline": slice(0, _START)}
_ALL = range(_N_VIDEOS)
_VIDEOS = {"short": _ALL[:_N_SHORT], "long": _ALL[_N_SHORT:], "all": _ALL}
_CELLS = ("joined_data", "labels_selfassessment", "labels_ext_annotation", "VideoIDs")
log = logging.getLogger(__name__)

CARD = Card(
    name="amigos",
    title="AMIGOS",
    tier="licensed",
    subjects=tuple(f"P{number:02d}" for number in range(1, 41)),
    trials_per_subject="16 short videos, which are read, and 4 long ones, which videos= asks for",
    channels=tuple(name for kind in CHANNELS.values() for name in kind),
    sfreq="128 Hz",
    unit="uV (EEG); ECG and GSR as in the file, where no unit is stated",
    label_rules=(
        *(high_low(rating, sign, 5) for rating in ("valence", "arousal") for sign in (">", ">=")),
        quadrants(">", 5),
        quadrants(">=", 5),
    ),
    licence="end-user licence agreement, to be signed; no redistribution",
    size="was not verified",
    obtain=(
        "sign the agreement at https://www.eecs.qmul.ac.uk/mmv/datasets/amigos/download.html and "
        "unpack the preprocessed files so that $AFFECTBOOK_DATA/amigos/Data_Preprocessed_P01.mat "
        "exists, or one folder of that name per file"
    ),
    citation="mirandacorrea2021amigos",
    pitfalls=(
        "Arousal stands before valence in the file, unlike in DEAP.",
        "Long videos are missing for P08, P24, P28 and P32; their cells are empty.",
        "Some recordings hold gaps (NaN). A trial with a gap in the channels and the part asked "
        "for is left out, counted in the log; nothing is filled in.",
        "torcheeg leaves out P09, P12, P21, P22, P23, P24 and P33 by default, so that its results "
        "are those of 33 people.",
        "The publisher filtered the EEG to 4-45 Hz with the common average as reference, and ECG "
        "and GSR below 60 Hz: that is a cut-off, not a sampling rate.",
        "A rating of exactly 5 is low under > 5 and high under >= 5.",
        "The first 5 s of each trial are baseline. They are a part of their own here, and never "
        "in the stimulus.",
        "Some saw the long videos in groups of four: these people are not independent.",
        "External valence and arousal are those of three annotators from -1 to 1, here the mean "
        "over segments of 20 s; they rate what a face shows, not what is felt.",
        "The seven basic emotions that subjects ticked are in the file, but are not read.",
        "Units of ECG and GSR were not verified.",
    ),
)


def _file(folder: Path, subject: str) -> Path:
    """Return the file of a subject, flat or in a folder of its own."""
    name = f"Data_Preprocessed_{subject}"
    flat, nested = Path(folder) / f"{name}.mat", Path(folder) / name / f"{name}.mat"
    return nested if nested.is_file() and not flat.is_file() else flat


def subjects_in(folder: Path) -> tuple[str, ...]:
    """Return the subjects whose file is in the folder."""
    return tuple(subject for subject in CARD.subjects if _file(folder, subject).is_file())


def expected_in(folder: Path) -> tuple[str, ...]:
    """Return all 40: a copy that lacks one is an error unless the subjects are named."""
    return CARD.subjects


def files_of(folder: Path, subject: str) -> tuple[Path, ...]:
    """Return the one file of a subject."""
    return (_file(folder, subject),)


def read(
    folder: Path,
    subjects: Iterable[str],
    *,
    channels: str = "ecg",
    part: str = "stimulus",
    videos: str = "short",
) -> Iterator[Recording]:
    """Return one recording per video, 128 Hz, with self-reports and the mean external annotation.

    Parameters
    ----------
    folder, subjects
        Where, and which subjects.
    channels
        ``"ecg"`` (2), ``"eeg"`` (14, in uV) or ``"gsr"`` (1).
    part
        ``"stimulus"``: what follows the baseline; ``"baseline"``: the 5 s before it.
    videos
        ``"short"`` (16), ``"long"`` (4) or ``"all"``.

    Raises
    ------
    ParameterError
        If there are no such channels, part or videos.
    DataFileError
        While reading, if a file is not what the card says.
    """
    known = {"channels": CHANNELS, "part": _PARTS, "videos": _VIDEOS}
    for option, value in (("channels", channels), ("part", part), ("videos", videos)):
        if value not in known[option]:
            raise _registry.unknown(f"{option} of amigos", value, known[option])
    return _recordings(Path(folder), tuple(subjects), channels, _PARTS[part], _VIDEOS[videos])


_EMPTY, _GAPS = "without a recording, left out", "with gaps (NaN), left out"
_UNRATED = "without valence or arousal, in no class that needs it"


def _recordings(
    folder: Path, subjects: tuple[str, ...], kind: str, cut: slice, videos: Sequence[int]
) -> Iterator[Recording]:
    missing = {reason: Counter() for reason in (_EMPTY, _GAPS, _UNRATED)}
    for subject in subjects:
        path = _file(folder, subject)
        cells = _cells(path)
        names = _names(path, cells)
        for video in videos:
            signal = _signal(path, cells["joined_data"][video], video, kind, cut)
            gaps = signal is not None and bool(np.isnan(signal).any())
            if signal is None or gaps:
                missing[_GAPS if gaps else _EMPTY][subject] += 1
                continue
            ratings = _ratings(path, cells, video)
            missing[_UNRATED][subject] += not {"valence", "arousal"} <= ratings.keys()
            yield Recording(
                signal=signal,
                sfreq=SFREQ,
                ch_names=CHANNELS[kind],
                unit=_UNITS[kind],
                subject=subject,
                session="1",
                trial=names[video],
                ratings=ratings,
                start_s=cut.start / SFREQ,
            )
        del cells  # or the next subject would be read while this one is still held
    for reason, counts in missing.items():
        if counts.total():
            each = ", ".join(f"{subject} {count}" for subject, count in counts.items() if count)
            log.warning("AMIGOS: trials %s: %d (%s)", reason, counts.total(), each)


def _cells(path: Path) -> dict[str, np.ndarray]:
    """Return the cells ``(20,)`` of a subject's file by name."""
    content = _matlab.load(path, _CELLS)
    cells = {}
    for name in _CELLS:
        cell = _matlab.value_at(content, path, name)
        if cell.shape != (1, _N_VIDEOS) or cell.dtype != object:
            found, expected = f"{cell.shape} {cell.dtype}", f"(1, {_N_VIDEOS}) cell"
            raise _wrong(path, name, found, expected, "not one cell per video")
        cells[name] = cell[0]
    return cells


def _names(path: Path, cells: Mapping[str, np.ndarray]) -> list[str]:
    """Return the id of each video, empty only where nothing was recorded."""
    names = []
    for video, (cell, data) in enumerate(zip(cells["VideoIDs"], cells["joined_data"], strict=True)):
        one = np.ravel(cell)
        name = str(one[0]).strip() if one.size == 1 and one.dtype.kind in "Uiu" else ""
        if one.size == 1 and one.dtype.kind == "f":
            name = f"{one[0]:g}"
        if not name and np.size(data) or name and name in names:
            found = repr(name or str(one.tolist())[:60])
            expected = "an id of its own for each video"
            field = f"VideoIDs, video {video + 1}"
            raise _wrong(path, field, found, expected, "a video has no name of its own")
        names.append(name)
    return names


def _signal(path: Path, cell: object, video: int, kind: str, cut: slice) -> np.ndarray | None:
    """Return channels of one kind ``(n_chans, n_times)`` float32, or None for an empty cell."""
    field = f"joined_data, video {video + 1}"
    data = _numbers(path, field, cell, _N_COLUMNS)
    if data is None:
        return None
    if len(data) <= _START:
        found, expected = f"{len(data)} samples", f"more than {_START}, which are baseline"
        raise _wrong(path, field, found, expected, "the trial is too short")
    with np.errstate(over="ignore"):
        signal = data[cut, _COLUMNS[kind]].T.astype(np.float32, order="C")
    if np.isinf(signal).any():
        found = f"{int(np.isinf(signal).sum())} of {signal.size} infinite"
        raise _wrong(path, field, found, "numbers, or NaN for gaps", "not all are numbers")
    return signal


def _ratings(path: Path, cells: Mapping[str, np.ndarray], video: int) -> dict[str, float]:
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


def _wrong(path: Path, field: str, found: str, expected: str, what: str) -> DataFileError:
    return DataFileError(
        f"{CARD.title}: {what}",
        file=path,
        field=field,
        found=found,
        expected=expected,
        do="get the file again from the publisher, or leave the subject out with subjects=",
    )


def write_subject(
    folder: Path,
    subject: str,
    data: Sequence[np.ndarray],
    reports: Sequence[np.ndarray],
    external: Sequence[np.ndarray],
    ids: Sequence[str] = VIDEO_IDS,
) -> Path:
    """Write a subject's official file, ``Data_Preprocessed_P01.mat``.

    Parameters
    ----------
    folder
        The folder of the set.
    subject
        Such as ``"P01"``.
    data
        Of each of 20 videos ``(n_times, 17)``: 14 EEG, ECG right, ECG left, GSR at 128 Hz, the
        first 5 s baseline; ``(0, 0)`` where there is no recording.
    reports
        Of each video ``(1, 12)``: `RATINGS`, then seven emotions; ``(1, 0)`` where it is missing.
    external
        Of each video ``(n_segments, 3)``: number, valence, arousal.
    ids
        Of each video its id.
    """
    cells = {}
    for name, parts in zip(_CELLS, (data, reports, external, ids), strict=True):
        cells[name] = np.empty((1, len(parts)), object)
        cells[name][0, :] = list(parts)
    path = Path(folder) / f"Data_Preprocessed_{subject}.mat"
    return _matlab.save(path, cells, compress=False)


# What is missing in the set is missing in its twin; the second person has one fault of each kind.
_NO_LONG_VIDEOS = ("P08", "P24", "P28", "P32")
_FAULTY, _GAP_IN, _NOT_RATED, _NOT_THERE = "P02", 4, 9, 19


def make_twin(
    folder: Path,
    *,
    subjects: int = 40,
    effect: float = 1.0,
    fingerprint: float = 1.0,
    seed: int = 0,
    seconds: float = 10.0,
) -> Path:
    """Write a simulated twin: the first `subjects` of the set, in its official layout.

    As in the set, P08, P24, P28 and P32 lack the long videos. P02 has one trial with a gap (video
    5), one without a self-report (video 10) and one empty cell (video 20). ECG and EEG are
    simulated, GSR is noise, the seven emotions are all 0. Nothing is filtered.

    Parameters
    ----------
    folder
        Where to; a file there says that the data are simulated, and with which dials.
    subjects
        1 to 40. A subject does not depend on how many there are.
    effect, fingerprint, seed
        See `affectbook.simulate`.
    seconds
        Length of each stimulus, long videos too; 5 s of baseline come before it, as in the set.

    Raises
    ------
    ParameterError
        If a dial is out of range.
    """
    if not 1 <= subjects <= len(CARD.subjects):
        raise ParameterError(f"subjects = {subjects}, but {CARD.title} has 1 to 40 to offer")
    dials = {"effect": effect, "fingerprint": fingerprint, "seed": seed}
    chosen = CARD.subjects[:subjects]
    evoked = simulate.stimuli(_N_VIDEOS, seed=seed)
    for index, subject in enumerate(chosen):
        states = [simulate.felt(one, index, trial, seed=seed) for trial, one in enumerate(evoked)]
        data = _simulated(index, states, seconds, dials)
        reports = [_report(state, index, trial, seed) for trial, state in enumerate(states)]
        external = [np.array([[1.0, *np.round(state, 3)]]) for state in states]
        if subject == _FAULTY:
            data[_GAP_IN][_START + 100 : _START + 228, _COLUMNS["ecg"]] = np.nan
            data[_NOT_THERE], reports[_NOT_RATED] = np.empty((0, 0)), np.empty((1, 0))
        for video in _VIDEOS["long"] if subject in _NO_LONG_VIDEOS else ():
            data[video] = reports[video] = np.empty((0, 0))
        write_subject(folder, subject, data, reports, external)
    mark_twin(folder, chosen, **dials)
    return Path(folder)


def _report(state: simulate.Affect, index: int, trial: int, seed: int) -> np.ndarray:
    """Return a self-report as the file holds it, ``(1, 12)``."""
    report = simulate.self_report(state, RATINGS, LOW, HIGH, index, trial, seed=seed)
    return np.array([[*(round(report[name], 2) for name in RATINGS), *[0.0] * 7]])


def _simulated(
    index: int, states: Sequence[simulate.Affect], seconds: float, dials: dict[str, float]
) -> list[np.ndarray]:
    """Return the signals of each trial, ``(n_times, 17)``."""
    seconds = round(seconds * SFREQ) / SFREQ
    plan = [block for state in states for block in ((None, BASELINE_S), (state, seconds))]
    dials = {"sfreq": SFREQ, **dials}
    eeg, _ = simulate.eeg_subject(index, plan, ch_names=CHANNELS["eeg"], **dials)
    ecg, _ = simulate.ecg_subject(index, plan, **dials)
    seed = int(dials["seed"])
    other = simulate.second_lead(ecg, index, sfreq=SFREQ, seed=seed)
    gsr = np.random.default_rng([seed, index, 9104]).standard_normal(len(ecg))
    return np.split(np.vstack([eeg, ecg, other, gsr]).T.copy(), len(states))
