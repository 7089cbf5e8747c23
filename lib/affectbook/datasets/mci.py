"""HCMNet's private set: six emotions of 39 people, healthy or with mild cognitive impairment.

The set of the paper "A Transferable Hybrid Convolutional-Mamba Network for Cross-Population
Emotion Recognition From Wearable ECG" is not public. What is known of its layout was read from
the authors' code: one CSV file per person, whose rows are pieces of ECG. The rest is said by the
reader of the book in a mapping (`_mapping`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from affectbook import simulate
from affectbook.datasets import _mapping, _registry
from affectbook.datasets._folders import mark_twin
from affectbook.datasets.card import Card, LabelRule
from affectbook.datasets.recording import Recording

CHANNELS = {"ecg": ("ECG",)}
ALSO = ()
EMOTIONS = ("neutral", "sad", "angry", "happy", "boredom", "tension")
POPULATIONS = ("healthy", "mci")
"""By flag: 0 is a healthy control, 1 has mild cognitive impairment."""
STEP_V = 1e-7
"""What a twin's numbers are rounded to: 1e-4 mV."""

log = logging.getLogger(__name__)

_UNPLEASANT = ("sad", "angry", "boredom", "tension")
CARD = Card(
    name="mci",
    title="HCMNet's private set",
    tier="licensed",
    subjects=tuple(f"S{number}" for number in range(1, 40)),
    trials_per_subject="not found: one for each run of rows of one emotion",
    channels=("ECG",),
    sfreq="256 Hz by the name of a folder (unverified); the mapping decides",
    unit="mV, from the unit that the mapping names",
    label_rules=(
        LabelRule(
            "emotion",
            EMOTIONS,
            {name: name for name in EMOTIONS},
            "six emotions, as HCMNet's code numbers them",
        ),
        LabelRule(
            "neutral_tension",
            ("neutral", "tension"),
            {name: name for name in ("neutral", "tension")},
            "tension against neutral; the other four are left out",
        ),
        LabelRule(
            "pleasant_unpleasant",
            ("unpleasant", "pleasant"),
            {"happy": "pleasant", **dict.fromkeys(_UNPLEASANT, "unpleasant")},
            "our grouping: happy against sad, angry, boredom and tension; neutral is left out",
            target="valence",
        ),
    ),
    licence="private: no terms were found",
    size="not found",
    obtain=(
        "it is not public: ask the authors of HCMNet; then copy "
        "lib/affectbook/datasets/mci_mapping.toml into its folder as mapping.toml, and fill it in"
    ),
    citation="hcmnet2026",
    pitfalls=(
        "Unverified layout: this project has not seen the files; a mapping says how to read them.",
        "Not found: how many of the 39 have mild cognitive impairment (in the twin, all with an "
        "even number), the length of a row, whether rows overlap, their unit, how emotions were "
        "evoked.",
        "Rows of one emotion in a row are put together into one trial, as if nothing were missing "
        "between them.",
        "Rows that overlap give parts of one signal to training and test unless the mapping says "
        "so.",
        "Group and person go together: who somebody is tells the group as well.",
    ),
)
LAYOUT = _mapping.Layout(
    CARD.name,
    CARD.title,
    {
        "path": _mapping.pattern_key("subject"),
        **_mapping.TABLE,
        **dict.fromkeys(("flag_column", "emotion_column", "first_sample"), _mapping.WHOLE),
        "unit": _mapping.UNIT,
        "overlap": _mapping.SHARE,
        "emotions": _mapping.emotions_key(EMOTIONS, numbers=True),
    },
    sfreq=256.0,
)


def subjects_in(folder: Path) -> tuple[str, ...]:
    """Return the subjects S1 to S39 that the mapping finds."""
    return LAYOUT.subjects(folder, CARD.subjects)


def expected_in(folder: Path) -> tuple[str, ...]:
    """Return all 39: a copy that lacks one is an error unless the subjects are named."""
    return CARD.subjects


def files_of(folder: Path, subject: str) -> tuple[Path, ...]:
    """Return the mapping and the one file of a subject."""
    return folder / _mapping.MAPPING, _file(folder, LAYOUT.mapping(folder), subject)


def _file(folder: Path, mapping: dict, subject: str) -> Path:
    return Path(folder) / mapping["path"].format(subject=subject)


def read(folder: Path, subjects: Iterable[str], *, population: str = "all") -> Iterator[Recording]:
    """Return one recording per run of rows of one emotion: ECG in mV.

    Trials are numbered per emotion: ``sad-1``, ``sad-2``.

    Parameters
    ----------
    folder, subjects
        Where, and who.
    population
        ``"healthy"`` or ``"mci"``: only subjects of that group; ``"all"``: both.

    Raises
    ------
    ParameterError
        If there is no such population.
    DataNotFoundError
        If there is no mapping.
    DataFileError
        If the mapping is wrong; while reading, if a file does not agree with it.
    """
    if population not in ("all", *POPULATIONS):
        raise _registry.unknown("population", population, ("all", *POPULATIONS))
    return _recordings(folder, _checked(folder), tuple(subjects), population)


def _checked(folder: Path) -> dict:
    """Return the mapping, whose columns must not get into each other's way."""
    mapping = LAYOUT.mapping(folder)
    flag, emotion, first = (mapping[k] for k in ("flag_column", "emotion_column", "first_sample"))
    if flag == emotion or first <= max(flag, emotion):
        found = f"flag_column {flag}, emotion_column {emotion}, first_sample {first}"
        wanted = "two columns, both before the first sample"
        raise LAYOUT.wrong(Path(folder) / _mapping.MAPPING, "first_sample", found, wanted)
    return mapping


def _recordings(
    folder: Path, mapping: dict, subjects: tuple[str, ...], population: str
) -> Iterator[Recording]:
    LAYOUT.say_unverified(folder, mapping)
    lacking: list[str] = []
    for subject in subjects:
        path = _file(folder, mapping, subject)
        if population != "all" and _population(path, mapping) != population:
            continue
        emotions, rows = _rows(path, mapping)
        repeated = round(mapping["overlap"] * rows.shape[1])
        count = dict.fromkeys(EMOTIONS, 0)
        edges = np.flatnonzero(emotions[1:] != emotions[:-1]) + 1
        for start, stop in zip([0, *edges], [*edges, len(rows)], strict=True):
            emotion = str(emotions[start])
            count[emotion] += 1
            yield Recording(
                signal=_joined(path, rows[start:stop], repeated)[None],
                sfreq=float(mapping["sfreq"]),
                ch_names=("ECG",),
                unit="mV",
                subject=subject,
                session="1",
                trial=f"{emotion}-{count[emotion]}",
                condition=emotion,
                start_s=float(start * (rows.shape[1] - repeated) / mapping["sfreq"]),
            )
        if none := [emotion for emotion in EMOTIONS if not count[emotion]]:
            lacking.append(f"{subject} has {len(EMOTIONS) - len(none)} (no {', '.join(none)})")
    if lacking:
        log.warning("%s: of %d emotions, %s", LAYOUT.title, len(EMOTIONS), "; ".join(lacking))


def _joined(path: Path, rows: np.ndarray, repeated: int) -> np.ndarray:
    """Return rows ``(n_rows, n)`` as one signal ``(n_times,)``, without what they repeat."""
    if not np.array_equal(rows[1:, :repeated], rows[:-1, rows.shape[1] - repeated :]):
        found = f"rows that do not begin with the last {repeated} samples of the row before"
        raise LAYOUT.wrong(path, "overlap", found, "the overlap that the mapping names")
    return np.concatenate([rows[0], rows[1:, repeated:].ravel()])


def _rows(path: Path, mapping: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return the emotions ``(n_rows,)`` by name, and the samples ``(n_rows, n)`` in mV."""
    first, frame = mapping["first_sample"], LAYOUT.frame(path, mapping, low_memory=False)
    top = LAYOUT.frame(path, mapping, first_row=True) if mapping["header"] else frame
    if not first < frame.shape[1] == top.shape[1]:
        found = f"{frame.shape[1]} columns under {top.shape[1]} names"
        raise LAYOUT.wrong(path, "columns", found, f"equally many, and more than {first}")
    samples = LAYOUT.numbers(path, "samples", frame.loc[:, first:])
    _group(path, mapping, frame)
    codes = LAYOUT.numbers(path, "emotion_column", frame[mapping["emotion_column"]]).tolist()
    names = {float(code): emotion for code, emotion in mapping["emotions"].items()}
    strange = sorted(set(codes) - set(names))
    if strange:
        found, expected = f"numbers {strange[:5]}", f"one of {', '.join(mapping['emotions'])}"
        raise LAYOUT.wrong(path, "emotion_column", found, expected)
    scale = _mapping.factor(mapping["unit"], "mV")
    return np.array([names[code] for code in codes]), samples * scale


def _group(path: Path, mapping: dict, frame: pd.DataFrame) -> str:
    """Return the group that the flags of a table name, the same in every row."""
    flags = LAYOUT.numbers(path, "flag_column", frame[mapping["flag_column"]])
    values = np.unique(flags).tolist()
    if values not in ([0.0], [1.0]):
        raise LAYOUT.wrong(path, "flag_column", f"{values[:5]}", "0 in every row, or 1 in every")
    return POPULATIONS[int(values[0])]


def _population(path: Path, mapping: dict) -> str:
    return _group(path, mapping, LAYOUT.frame(path, mapping, usecols=[mapping["flag_column"]]))


def populations(folder: Path, subjects: Iterable[str]) -> dict[str, str]:
    """Return the group of each subject, ``"healthy"`` or ``"mci"``; samples are not read.

    Raises
    ------
    DataNotFoundError
        If there is no mapping.
    DataFileError
        If a file does not name one group.
    """
    mapping = _checked(folder)
    return {subject: _population(_file(folder, mapping, subject), mapping) for subject in subjects}


def write_subject(
    folder: Path, subject: str, rows: np.ndarray, emotions: Sequence[str], population: str
) -> Path:
    """Write the file of a subject in the layout of the mapping in the folder.

    Samples are rounded to 1e-4 mV. Columns before the first sample that the mapping does not name
    hold zeros, but for the first one, the index of the row.

    Parameters
    ----------
    folder, subject
        The folder of the set, which holds the mapping, and whose file.
    rows
        ``(n_rows, n)`` in mV, as they are to lie in the file.
    emotions
        Of each row.
    population
        ``"healthy"`` or ``"mci"``.
    """
    mapping = _checked(folder)
    first, n = mapping["first_sample"], rows.shape[1]
    codes = {emotion: int(code) for code, emotion in mapping["emotions"].items()}
    values = np.zeros((len(rows), first + n))
    values[:, 0] = np.arange(len(rows))
    values[:, mapping["flag_column"]] = POPULATIONS.index(population)
    values[:, mapping["emotion_column"]] = [codes[emotion] for emotion in emotions]
    values[:, first:] = rows * (_mapping.VOLTS["mV"] / _mapping.VOLTS[mapping["unit"]])
    names = [f"column {number}" for number in range(first)] + [str(at) for at in range(n)]
    formats = ["%d"] * first + [_mapping.number_format(mapping["unit"], STEP_V)] * n
    return _mapping.write_table(_file(folder, mapping, subject), mapping, names, values, formats)


STATES = dict(zip(EMOTIONS, ("neutral", "sad", "angry", "happy", "bored", "tense"), strict=True))
_GAP_S = 5.0


def make_twin(
    folder: Path,
    *,
    subjects: int = 15,
    effect: float = 1.0,
    fingerprint: float = 1.0,
    seed: int = 0,
    rows: int = 6,
    seconds: float = 10.0,
) -> Path:
    """Write a simulated twin: the first `subjects` of the set, in the layout of the template.

    It is a choice that S1, S3 and so on are healthy, and S2, S4 and so on impaired.

    Parameters
    ----------
    folder
        Where to; a file there says that the data are simulated, and with which dials.
    subjects
        1 to 39. A subject does not depend on how many there are.
    effect, fingerprint, seed
        See `affectbook.simulate`.
    rows, seconds
        Rows per emotion, and length of one.

    Raises
    ------
    ParameterError
        If a dial is out of range.
    """
    chosen = CARD.first(subjects)
    sfreq = float(LAYOUT.copy_template(folder)["sfreq"])
    dials = {"effect": effect, "fingerprint": fingerprint, "seed": seed}
    blocks = [(emotion, rows * seconds) for emotion in EMOTIONS]
    for index, subject in enumerate(chosen):
        order = simulate.session_plan(index, blocks, gap_s=_GAP_S, seed=seed)
        plan = [(name and simulate.EMOTIONS[STATES[name]], length) for name, length in order]
        group = index % len(POPULATIONS)
        population = (simulate.GENERAL, simulate.IMPAIRED)[group]
        ecg, found = simulate.ecg_subject(index, plan, sfreq=sfreq, population=population, **dials)
        starts = [round(start * sfreq) for _, start, _ in found]
        n = round(seconds * sfreq)
        pieces = [ecg[start : start + rows * n].reshape(rows, n) for start in starts]
        emotions = np.repeat([name for name, _ in order if name], rows)
        write_subject(folder, subject, np.concatenate(pieces), emotions, POPULATIONS[group])
    mark_twin(folder, chosen, **dials)
    return Path(folder)
