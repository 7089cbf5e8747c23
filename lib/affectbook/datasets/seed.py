"""SEED: EEG of 15 people who watched 15 film clips in each of three sessions.

Zheng and Lu 2015, "Investigating Critical Frequency Bands and Channels for EEG-Based Emotion
Recognition with Deep Neural Networks". A session of a subject is one MATLAB file with a matrix for
each clip; the labels of the clips are in ``label.mat``. Files are named by the number of the
subject (``1_20131027.mat``) or, in old releases, by person; a person's dates tell the number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affectbook import files, simulate
from affectbook.datasets import _matlab
from affectbook.datasets._folders import mark_twin
from affectbook.datasets._seed_clips import (
    CH_NAMES,
    CODES,
    KEY,
    LABELS,
    SFREQ,
    clip_of,
    conditions_of,
    keys_of,
)
from affectbook.datasets._seed_files import DATES, FOLDER, TITLE, place_of, sessions_in
from affectbook.datasets.card import Card, LabelRule
from affectbook.datasets.recording import Recording
from affectbook.errors import DataNotFoundError, ParameterError

CHANNELS = {"eeg": CH_NAMES}
ALSO = (
    "*.xlsx", "Preprocessed_EEG/label.mat", "ExtractedFeatures/**", "SEED_EEG/**",
    "SEED_RAW_EEG/**", "SEED_Multimodal/**", "SEED_stimulation/**", "label.mat",
)  # fmt: skip
ABSENT = {"ecg": "SEED has no ECG"}
MOST_BYTES = 2 * 10**9
_WHY = "the clips of a session are estimated to have 0.4 GB, and labels less"
log = logging.getLogger(__name__)

_SAME = {name: name for name in CODES.values()}
CARD = Card(
    name="seed",
    title=TITLE,
    tier="licensed",
    subjects=tuple(DATES),
    trials_per_subject="45: 15 film clips in each of 3 sessions, 5 of each class",
    channels=CH_NAMES,
    sfreq="200 Hz",
    unit="uV",
    label_rules=(
        LabelRule(
            "negative_neutral_positive",
            tuple(_SAME),
            _SAME,
            "what the clips were chosen to evoke, three classes",
        ),
        LabelRule(
            "negative_positive",
            ("negative", "positive"),
            {"negative": "negative", "positive": "positive"},
            "negative against positive; neutral clips are left out",
        ),
    ),
    licence="agreement with the BCMI laboratory (SJTU) for applicants of universities; no sharing",
    size="45 files of about 200 MB",
    obtain=(
        "apply at https://bcmi.sjtu.edu.cn/home/seed/index.html and unpack Preprocessed_EEG into "
        "$AFFECTBOOK_DATA/SEED"
    ),
    citation="zheng2015seed",
    trials=45,
    seconds=(185.0, 265.0),
    pitfalls=(
        "Labels are the class of the clip, not what the subject felt or reported.",
        "All sessions show the same 15 clips in the same order: a test on another session tests "
        "on stimuli, and places in a session, that training has seen.",
        "The usual split trains on a session's first 9 clips and tests on its last 6.",
        "String order puts eeg10 before eeg2: keys must be sorted by number.",
        "Clips have k * 200 + 1 samples; some readers drop the first one, this one keeps all.",
        "That the unit is uV is said by no page we saw.",
        "CB1 and CB2 are in no standard montage of MNE.",
        "The authors filtered to 0-75 Hz and sampled down to 200 Hz.",
    ),
)


def subjects_in(folder: Path) -> tuple[str, ...]:
    """Return the subjects with three files in the folder.

    Raises
    ------
    DataFileError
        If it cannot be decided whose a file is.
    """
    found = sessions_in(folder)
    return tuple(subject for subject in DATES if len(found.get(subject, ())) == 3)


def expected_in(folder: Path) -> tuple[str, ...]:
    """Return all 15: a copy that lacks one is an error unless the subjects are named."""
    return CARD.subjects


def files_of(folder: Path, subject: str) -> tuple[Path, ...]:
    """Return the three files of a subject and the labels.

    Raises
    ------
    DataNotFoundError
        If a session or the labels are not there.
    """
    place = place_of(folder)
    sessions, labels = sessions_in(folder).get(subject, ()), place / "label.mat"
    if len(sessions) != 3 or not labels.is_file():
        found = ", ".join(path.name for path in sessions) or "no session"
        raise DataNotFoundError(
            f"{TITLE}: files of subject {subject} are missing",
            file=place,
            field="file names",
            found=found + ("" if labels.is_file() else ", without label.mat"),
            expected=f"its sessions of {', '.join(DATES.get(subject, ()))}, and label.mat",
            do="complete the copy, or leave the subject out with subjects=",
        )
    return (*sessions, labels)


def read(folder: Path, subjects: Iterable[str]) -> Iterator[Recording]:
    """Yield one recording per clip: 62 channels, 200 Hz, uV; one clip in memory at a time.

    Sessions are numbered by date, trials as in the file: ``"1"`` to ``"15"``.

    Raises
    ------
    DataError
        If too little memory is free to read a file.
    DataFileError, DataNotFoundError
        If a file is missing or not what the card says.
    """
    people: dict[str, str] = {}
    for subject in subjects:
        *sessions, labels = files_of(folder, subject)
        conditions = _apart(conditions_of, labels)
        for session, path in enumerate(sessions, 1):
            keys = _apart(keys_of, path)
            _compare_person(path, subject, keys[0], people)
            for trial, key in enumerate(keys, 1):
                yield Recording(
                    signal=_apart(clip_of, path, key),
                    sfreq=SFREQ,
                    ch_names=CH_NAMES,
                    unit="uV",
                    subject=subject,
                    session=str(session),
                    trial=str(trial),
                    condition=conditions[trial - 1],
                )


def _apart(function: Callable, path: Path, *args: str) -> Any:
    """Return what a function finds in a file; one clip at a time is sent here."""
    return _matlab.apart(function, path, *args, most=MOST_BYTES, why=_WHY)


def _compare_person(path: Path, subject: str, key: str, people: dict[str, str]) -> None:
    """Warn where initials tell that a file is another subject's; `people` keeps those seen."""
    initials = KEY.fullmatch(key)[1]
    who = people.setdefault(initials, subject)
    own = next((known for known, one in people.items() if one == subject), initials)
    if who != subject or own != initials:
        other = f"as those of subject {who}" if who != subject else f"not {own}"
        log.warning("SEED: the matrices in %s are named %s..., %s", path.name, key[:20], other)


def write_session(
    folder: Path, owner: str, date: str, prefix: str, clips: Sequence[np.ndarray]
) -> Path:
    """Write the file of one session.

    Parameters
    ----------
    folder
        The folder of the set; the file is in ``Preprocessed_EEG`` in it.
    owner
        Number of the subject, or, in old releases, name of the person.
    date
        Such as ``"20131027"``.
    prefix
        Of the matrices' names; initials of the person.
    clips
        15 arrays ``(62, n_times)`` in uV.
    """
    numbered = {f"{prefix}_eeg{number}": clip for number, clip in enumerate(clips, 1)}
    doubles = {key: np.asarray(clip, np.float64) for key, clip in numbered.items()}
    return _matlab.save(Path(folder) / FOLDER / f"{owner}_{date}.mat", doubles)


def write_labels(folder: Path) -> Path:
    """Write ``label.mat``."""
    label = np.array([LABELS], np.int16)
    return _matlab.save(Path(folder) / FOLDER / "label.mat", {"label": label})


STATES = {
    "negative": simulate.Affect(-0.8, 0.4),
    "neutral": simulate.Affect(0.0, -0.4),
    "positive": simulate.Affect(0.8, 0.3),
}
"""What the clips of a twin are made to evoke."""
# The step of a twin's samples in uV. Doubles of few binary places pack well; the noise of an
# electrode is larger.
_STEP = 0.5


def make_twin(
    folder: Path,
    *,
    subjects: int = 15,
    effect: float = 1.0,
    fingerprint: float = 1.0,
    seed: int = 0,
    seconds: int = 6,
    naming: str = "number",
) -> Path:
    """Write a simulated twin: the first `subjects` of the set, in its official layout.

    Dates are the real ones. ``channel-order.xlsx``, which nothing here reads, is not written.

    Parameters
    ----------
    folder
        Where to; a file there says that the data are simulated, and with which dials.
    subjects
        1 to 15. A subject does not depend on how many there are.
    effect, fingerprint, seed
        See `affectbook.simulate`.
    seconds
        Length of the shortest clip; one in three is a second longer, and one two. A clip has one
        sample more than its seconds, as in the set.
    naming
        ``"number"``, or ``"person"`` as in old releases, with made-up names.

    Raises
    ------
    ParameterError
        If a dial is out of range or there is no such naming.
    """
    chosen = CARD.first(subjects)
    if naming not in ("number", "person") or seconds < 1:
        raise ParameterError(
            f"naming = {naming!r}, seconds = {seconds}; naming is 'number' or 'person', and "
            "seconds at least 1"
        )
    for index, subject in enumerate(chosen):
        letter = chr(ord("a") + index)
        owner = subject if naming == "number" else f"person{letter}"
        plan = _plan(index, seconds, seed)
        eeg, blocks = simulate.eeg_subject(
            index,
            plan,
            sfreq=SFREQ,
            ch_names=CH_NAMES,
            effect=effect,
            fingerprint=fingerprint,
            seed=seed,
        )
        eeg = _STEP * np.rint(eeg / _STEP)
        edges = [(round(start * SFREQ), round(stop * SFREQ)) for _, start, stop in blocks]
        clips = [eeg[:, start:stop] for start, stop in edges]
        for session, date in enumerate(DATES[subject]):
            own = clips[session * len(LABELS) : (session + 1) * len(LABELS)]
            write_session(folder, owner, date, f"p{letter}", own)
    write_labels(folder)
    files.write_text(Path(folder) / FOLDER / "readme.txt", "Simulated; see TWIN.json above.\n")
    mark_twin(folder, chosen, effect=effect, fingerprint=fingerprint, seed=seed)
    return Path(folder)


def _plan(index: int, seconds: int, seed: int) -> list[tuple[simulate.Affect, float]]:
    """Return state and length of the 45 clips that a subject sees, the same 15 three times."""
    plan = []
    for trial in range(3 * len(LABELS)):
        clip = trial % len(LABELS)
        state = simulate.felt(STATES[CODES[LABELS[clip]]], index, trial, seed=seed)
        plan.append((state, seconds + clip % 3 + 1 / SFREQ))
    return plan
