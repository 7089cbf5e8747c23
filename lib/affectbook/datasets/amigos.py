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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from affectbook import simulate
from affectbook.datasets import _matlab, _registry
from affectbook.datasets._amigos_file import (
    CELLS,
    COLUMNS,
    HIGH,
    LOW,
    N_VIDEOS,
    PARTS,
    RATINGS,
    SFREQ,
    START,
    TITLE,
    Trial,
    trials_of,
)
from affectbook.datasets._folders import mark_twin
from affectbook.datasets.card import Card
from affectbook.datasets.labels import high_low, quadrants
from affectbook.datasets.recording import Recording

BASELINE_S = START / SFREQ
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
# Tables of people, videos and annotations; the signals before they were prepared.
ALSO = ("*.xls", "*.xlsx", "*.ods", "*_xls/**", "*_ods/**", "Data_Original_*", "data_original/**")
_UNITS = {"eeg": "uV", "ecg": "a.u.", "gsr": "a.u."}
_N_SHORT = 16
_BASES = (Path(), Path("data_preprocessed"))
_ALL = range(N_VIDEOS)
_VIDEOS = {"short": _ALL[:_N_SHORT], "long": _ALL[_N_SHORT:], "all": _ALL}
MOST_BYTES = 2 * 10**9
_WHY = "those of the publisher are estimated to have 0.1 GB"
log = logging.getLogger(__name__)

CARD = Card(
    name="amigos",
    title=TITLE,
    tier="licensed",
    subjects=tuple(f"P{number:02d}" for number in range(1, 41)),
    trials_per_subject="16: each short video once, but for gaps; 4 long videos with videos=",
    channels=tuple(name for kind in CHANNELS.values() for name in kind),
    sfreq="128 Hz",
    unit="a.u. (ECG, GSR), uV (EEG)",
    label_rules=(
        *(high_low(rating, sign, 5) for rating in ("valence", "arousal") for sign in (">", ">=")),
        quadrants(">", 5),
        quadrants(">=", 5),
    ),
    licence="end-user licence agreement, to be signed; no redistribution",
    size="not found",
    obtain=(
        "sign the agreement at https://www.eecs.qmul.ac.uk/mmv/datasets/amigos/download.html and "
        "unpack the preprocessed files so that $AFFECTBOOK_DATA/amigos/Data_Preprocessed_P01.mat "
        "exists, with or without a folder data_preprocessed and a folder for each file"
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
        "The file states no unit: EEG is taken as uV, ECG and GSR are given as a.u.",
    ),
)


def _file(folder: Path, subject: str) -> Path:
    """Return the file of a subject, flat or in a folder of its own; copies differ."""
    name = f"Data_Preprocessed_{subject}"
    places = (base / own for base in _BASES for own in (f"{name}.mat", f"{name}/{name}.mat"))
    paths = [Path(folder) / place for place in places]
    return next((path for path in paths if path.is_file()), paths[0])


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
        ``"ecg"`` (2, in a.u.), ``"eeg"`` (14, in uV) or ``"gsr"`` (1, in a.u.).
    part
        ``"stimulus"``: what follows the baseline; ``"baseline"``: the 5 s before it.
    videos
        ``"short"`` (16), ``"long"`` (4) or ``"all"``.

    Raises
    ------
    ParameterError
        If there are no such channels, part or videos.
    DataError
        While reading, if too little memory is free for a file.
    DataFileError
        While reading, if a file is not what the card says.
    """
    known = {"channels": CHANNELS, "part": PARTS, "videos": _VIDEOS}
    for option, value in (("channels", channels), ("part", part), ("videos", videos)):
        if value not in known[option]:
            raise _registry.unknown(f"{option} of amigos", value, known[option])
    return _recordings(Path(folder), tuple(subjects), channels, part, _VIDEOS[videos])


_EMPTY, _GAPS = "without a recording, left out", "with gaps (NaN), left out"
_UNRATED = "without valence or arousal, in no class that needs it"


def _recordings(
    folder: Path, subjects: tuple[str, ...], kind: str, part: str, videos: Sequence[int]
) -> Iterator[Recording]:
    missing = {reason: Counter() for reason in (_EMPTY, _GAPS, _UNRATED)}
    for subject in subjects:
        path, asked = _file(folder, subject), (list(videos), kind, part)
        for found in _matlab.apart(trials_of, path, *asked, most=MOST_BYTES, why=_WHY):
            trial = Trial(*found)
            if trial.signal is None:
                missing[_GAPS if trial.gaps else _EMPTY][subject] += 1
                continue
            missing[_UNRATED][subject] += not {"valence", "arousal"} <= trial.ratings.keys()
            yield Recording(
                signal=trial.signal,
                sfreq=SFREQ,
                ch_names=CHANNELS[kind],
                unit=_UNITS[kind],
                subject=subject,
                session="1",
                trial=trial.name,
                ratings=trial.ratings,
                start_s=PARTS[part].start / SFREQ,
            )
    for reason, counts in missing.items():
        if counts.total():
            each = ", ".join(f"{subject} {count}" for subject, count in counts.items() if count)
            log.warning("AMIGOS: trials %s: %d (%s)", reason, counts.total(), each)


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
    for name, parts in zip(CELLS, (data, reports, external, ids), strict=True):
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
    chosen = CARD.first(subjects)
    dials = {"effect": effect, "fingerprint": fingerprint, "seed": seed}
    evoked = simulate.stimuli(N_VIDEOS, seed=seed)
    for index, subject in enumerate(chosen):
        states = [simulate.felt(one, index, trial, seed=seed) for trial, one in enumerate(evoked)]
        data = _simulated(index, states, seconds, dials)
        reports = [_report(state, index, trial, seed) for trial, state in enumerate(states)]
        external = [np.array([[1.0, *np.round(state, 3)]]) for state in states]
        if subject == _FAULTY:
            data[_GAP_IN][START + 100 : START + 228, COLUMNS["ecg"]] = np.nan
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
