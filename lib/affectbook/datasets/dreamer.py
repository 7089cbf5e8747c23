"""DREAMER: ECG and EEG of 23 people at 18 films, with their ratings.

Katsigiannis and Ramzan 2018, "DREAMER: A Database for Emotion Recognition Through EEG and ECG
Signals From Wireless Low-cost Off-the-Shelf Devices". Everybody is in one file, ``DREAMER.mat``,
which has to be loaded whole. That is done once: the signals of each subject are kept under
``build/`` and read from there. The writer of the same layout stands beside the reader.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from affectbook import cache, simulate
from affectbook.datasets import _matlab
from affectbook.datasets._dreamer_file import (
    CHANNELS,
    FILE,
    FILMS,
    HIGH,
    LOW,
    PARTS,
    RATINGS,
    SFREQ,
    TITLE,
    convert,
    write_file,
)
from affectbook.datasets._folders import mark_twin, twin_of
from affectbook.datasets.card import Card
from affectbook.datasets.labels import LOWEST, RatingRule, high_low, levels, quadrants
from affectbook.datasets.recording import Recording
from affectbook.errors import DataFileError, DataNotFoundError, ParameterError

UNIT = {"ecg": "a.u.", "eeg": "uV"}
ALSO = ()
SHORTEST_S = 60.0
"""Every baseline and every film is longer; in a twin they may be shorter."""
MOST_BYTES = 8 * 10**9
_WHY = "23 people with 18 films and baselines are estimated to have 2 GB"
# Raise it when what is kept under build/ changes.
_LAYOUT = 1
log = logging.getLogger(__name__)


def _rules(rating: str) -> tuple[RatingRule, ...]:
    """Return the rules for one rating, that of the published code of HCMNet first."""
    five = levels(rating, (2, 3, 4, 5), "each rating is a class")
    shifted = RatingRule(
        f"{rating} in 5, shifted as released",
        five.classes,
        {rating: (1, 2, 3, 4)},
        "the rating minus the lowest that the subject gave, as HCMNet's published code has it",
        rating,
        shifted=True,
    )
    three = levels(rating, (2, 4), "below 2, 2 to 3, 4 and above")
    return high_low(rating, ">=", 3), high_low(rating, ">", 3), three, five, shifted


CARD = Card(
    name="dreamer",
    title=TITLE,
    tier="licensed",
    subjects=tuple(f"S{number:02d}" for number in range(1, 24)),
    trials_per_subject="18: each film once",
    channels=(*CHANNELS["ecg"], *CHANNELS["eeg"]),
    sfreq="ECG 256 Hz, EEG 128 Hz",
    unit="a.u. (ECG), uV (EEG)",
    label_rules=(
        *_rules("valence"),
        *_rules("arousal"),
        *_rules("dominance"),
        quadrants(">=", 3),
        quadrants(">", 3),
    ),
    licence="an end-user licence agreement, on request at Zenodo; no redistribution",
    size="one file, size not found; over 2 GB of memory while it is converted, once",
    obtain=(
        "ask for access at https://zenodo.org/records/546113 and put the file at "
        "$AFFECTBOOK_DATA/DREAMER/DREAMER.mat"
    ),
    citation="katsigiannis2018dreamer",
    trials=18,
    seconds=(65.0, 393.0),
    pitfalls=(
        "Films differ in length; many studies keep the last 60 s (last_s=60), others the whole.",
        "ECG and EEG have different rates: equal numbers of samples are not equal times.",
        "A rating of 3, the middle, is high in some studies (>= 3) and low in others (> 3).",
        "With >= 3 as high the classes are very uneven.",
        "The five classes of HCMNet's published code are shifted for who never gave a 1.",
        "The EEG is said to sit on a large offset, near 4200 (unverified): take the mean off.",
        "The file seems to state no unit (unverified): EEG is taken as uV, ECG is given as a.u.",
        "The two leads of the ECG are called ECG1 and ECG2 here, by their column; which leads they "
        "are was not found in the file (unverified).",
        "Windows of one film in training and test share the film, the moment and the label.",
        "The file must be loaded whole; a machine needs over 2 GB free for that, once.",
    ),
)


def _file(folder: Path) -> Path:
    return Path(folder) / FILE


def subjects_in(folder: Path) -> tuple[str, ...]:
    """Return all 23 where the file is, or those of a twin; the file itself is not opened."""
    if not _file(folder).is_file():
        return ()
    twin = twin_of(folder)
    return tuple(s for s in CARD.subjects if twin is None or s in twin["subjects"])


def expected_in(folder: Path) -> tuple[str, ...]:
    """Return all 23, which are in one file."""
    return CARD.subjects


def files_of(folder: Path, subject: str) -> tuple[Path, ...]:
    """Return the file, the same one for everybody."""
    return (_file(folder),)


def read(
    folder: Path,
    subjects: Iterable[str],
    *,
    channels: str = "ecg",
    part: str = "stimulus",
    last_s: float | None = None,
) -> Iterator[Recording]:
    """Return one recording per film: two leads of ECG at 256 Hz, or 14 channels of EEG at 128 Hz.

    The first recording ever read converts the file, which needs over 2 GB of memory, once.

    Parameters
    ----------
    folder, subjects
        Where, and who.
    channels
        ``"ecg"`` or ``"eeg"``.
    part
        ``"stimulus"``, or ``"baseline"``: the neutral clip before each film.
    last_s
        Keep only the last seconds of a stimulus; a shorter one is kept whole. None keeps all.

    Raises
    ------
    ParameterError
        If there is no such part or kind of channels, or `last_s` is not above 0.
    DataError
        While reading, if too little memory is free to convert the file.
    DataFileError
        While reading, if the file is not what the card says.
    """
    for name, value, known in (("part", part, PARTS), ("channels", channels, CHANNELS)):
        if value not in known:
            raise ParameterError(f"{name} = {value!r}; it is one of {', '.join(known)}")
    if last_s is not None and part != "stimulus":
        raise ParameterError("last_s is for part='stimulus'; leave it out")
    if last_s is not None and not 1 / SFREQ[channels] <= last_s < math.inf:
        raise ParameterError(f"last_s = {last_s}; a length in seconds above 0, or None")
    return _recordings(Path(folder), tuple(subjects), channels, part, last_s)


def _recordings(
    folder: Path, subjects: Iterable[str], kind: str, part: str, last_s: float | None
) -> Iterator[Recording]:
    kept, sfreq = _converted(folder), SFREQ[kind]
    ratings = json.loads((kept / "ratings.json").read_text(encoding="utf-8"))
    for subject in subjects:
        if subject not in ratings:
            there = f"{next(iter(ratings))} to {[*ratings][-1]}"
            raise DataNotFoundError(
                f"{CARD.title} lacks a subject",
                file=_file(folder),
                field="subjects",
                found=f"{subject} is asked for",
                expected=there,
                do="name subjects that are there with subjects=",
            )
        given = ratings[subject]
        lowest = {LOWEST.format(name): min(values) for name, values in given.items()}
        with np.load(kept / f"{subject}-{kind}.npz") as trials:
            for film in range(FILMS):
                signal = trials[f"{part}-{film + 1}"]
                start = 0 if last_s is None else max(signal.shape[1] - round(last_s * sfreq), 0)
                yield Recording(
                    signal=np.ascontiguousarray(signal[:, start:]),
                    sfreq=sfreq,
                    ch_names=CHANNELS[kind],
                    unit=UNIT[kind],
                    subject=subject,
                    session="1",
                    trial=str(film + 1),
                    ratings={name: values[film] for name, values in given.items()} | lowest,
                    start_s=start / sfreq,
                )


def _converted(folder: Path) -> Path:
    """Return the folder with what the file holds (see `convert`), made now unless it is there."""
    path, twin = _file(folder), twin_of(folder)
    subjects = [s for s in CARD.subjects if twin is None or s in twin["subjects"]]
    told: dict[str, object] = {"twin": twin is not None, "subjects": subjects, "layout": _LAYOUT}
    try:
        told["sha256"] = cache.sha256(path)
    except OSError as error:
        raise DataFileError(
            f"{TITLE}: the file cannot be read",
            file=path,
            field="the whole file",
            found=f"{type(error).__name__}: {error.strerror or error}",
            expected="a file that may be read",
            do="change its permissions, or get it again from the publisher",
        ) from error

    def make(made: Path) -> None:
        peak = _matlab.check_memory(path) / 1e9
        # Of real data it takes so long that a reader should see why.
        level = logging.INFO if twin else logging.WARNING
        log.log(level, "DREAMER: %s is converted, once: %.2f GB of memory at the peak", FILE, peak)
        least_s = 0 if twin else SHORTEST_S
        _matlab.apart(convert, path, made, subjects, least_s, most=MOST_BYTES, why=_WHY)

    return cache.folder("cache/dreamer", told, make)


_EEG_OFFSET = 4200.0
# Values are rounded to steps, as those of a converter are; powers of two, so that float32 is exact.
_STEP = {"ecg": 2.0**-9, "eeg": 0.5}


def make_twin(
    folder: Path,
    *,
    subjects: int = 23,
    effect: float = 1.0,
    fingerprint: float = 1.0,
    seed: int = 0,
    baseline_s: float = 4.0,
    stimulus_s: tuple[float, float] = (20.0, 30.0),
) -> Path:
    """Write a simulated twin: the first `subjects` of the set, in its official layout.

    Parameters
    ----------
    folder
        Where to; a file there says that the data are simulated, and with which dials.
    subjects
        1 to 23. A subject does not depend on how many there are.
    effect, fingerprint, seed
        See `affectbook.simulate`.
    baseline_s
        Length of the clip before each film.
    stimulus_s
        Length of the shortest and of the longest film; no two are alike.

    Raises
    ------
    ParameterError
        If a dial is out of range.
    """
    chosen = CARD.first(subjects)
    order = 7 * np.arange(FILMS) % FILMS
    # Whole samples of the slower signal, so that both signals last equally long.
    seconds = np.rint(np.linspace(*stimulus_s, FILMS)[order] * SFREQ["eeg"]) / SFREQ["eeg"]
    lengths = [(round(baseline_s * SFREQ["eeg"]) / SFREQ["eeg"], s) for s in seconds.tolist()]
    dials = {"effect": effect, "fingerprint": fingerprint, "seed": seed}
    write_file(_file(folder), (_simulated(index, lengths, **dials) for index in range(subjects)))
    mark_twin(folder, chosen, **dials)
    return Path(folder)


def _simulated(
    index: int, lengths: list[tuple[float, float]], *, effect: float, fingerprint: float, seed: int
) -> dict[str, Any]:
    """Return one subject as `write_file` takes it; `lengths` are those of baseline and film."""
    dials = {"effect": effect, "fingerprint": fingerprint, "seed": seed}
    states = [
        simulate.felt(film, index, trial, seed=seed)
        for trial, film in enumerate(simulate.stimuli(FILMS, seed=seed))
    ]
    plan = []
    for (baseline_s, film_s), state in zip(lengths, states, strict=True):
        plan += [(None, baseline_s), (state, film_s)]
    ecg, _ = simulate.ecg_subject(index, plan, sfreq=SFREQ["ecg"], **dials)
    ecg = np.stack([ecg, simulate.second_lead(ecg, index, sfreq=SFREQ["ecg"], seed=seed)])
    eeg, _ = simulate.eeg_subject(
        index, plan, sfreq=SFREQ["eeg"], ch_names=CHANNELS["eeg"], **dials
    )
    person: dict[str, Any] = {}
    for kind, signal in (("ecg", ecg), ("eeg", eeg + _EEG_OFFSET)):
        edges = np.rint(np.cumsum([s for _, s in plan[:-1]]) * SFREQ[kind]).astype(int)
        pieces = np.split(np.rint(signal / _STEP[kind]) * _STEP[kind], edges, axis=1)
        person |= {f"{kind}_baseline": pieces[::2], kind: pieces[1::2]}
    reports = [
        simulate.self_report(state, RATINGS, LOW, HIGH, index, trial, whole=True, seed=seed)
        for trial, state in enumerate(states)
    ]
    return person | {name: [report[name] for report in reports] for name in RATINGS}
