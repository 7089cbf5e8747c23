"""manD 1.0: five induced emotions of drivers in a simulator, ECG and nine EEG channels.

Dargahi Nobari and Bertram 2024, "A multimodal driver monitoring benchmark dataset for driver
modeling in assisted driving automation". How the files lie could not be verified: the reader of
the book says it in a mapping (`_mapping`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from affectbook import simulate
from affectbook.datasets import _mapping
from affectbook.datasets._folders import mark_twin
from affectbook.datasets.card import Card, LabelRule
from affectbook.datasets.recording import Recording

EEG = ("POz", "Fz", "Cz", "C3", "C4", "F3", "F4", "P3", "P4")
CHANNELS = {"ecg": ("ECG",), "eeg": EEG}
# Which files belong to it is not known; signals, videos and pictures are of these kinds.
ALSO = tuple(f"{'*/' * depth}*.{end}" for depth in range(4) for end in ("txt", "mp4", "png"))
EMOTIONS = ("anger", "fear", "neutral", "sadness", "surprise")

CARD = Card(
    name="mand",
    title="manD 1.0",
    tier="licensed",
    subjects=tuple(str(number) for number in range(1, 40)),
    trials_per_subject="5: one driving scenario for each emotion (unverified)",
    channels=("ECG", *EEG),
    sfreq="256 Hz after synchronisation (second-hand); the mapping decides",
    unit="mV (ECG), uV (EEG), from the unit that the mapping names",
    label_rules=(
        LabelRule(
            "emotion",
            EMOTIONS,
            {name: name for name in EMOTIONS},
            "the emotion that the scenario was built to induce, not what the driver reported",
        ),
    ),
    licence="not found: read the terms where you download it, and treat it as licensed until then",
    size="not found",
    obtain=(
        "download manD 1.0 from Harvard Dataverse (see "
        "https://doi.org/10.1038/s41597-024-03137-y), copy "
        "lib/affectbook/datasets/mand_mapping.toml into its folder as mapping.toml, and fill it in"
    ),
    citation="dargahi2024mand",
    trials=5,
    pitfalls=(
        "Unverified layout: this project has not seen the files; a mapping says how to read them.",
        "Second-hand facts: 39 of 50 drivers usable, 11 left out for motion sickness; 256 Hz; the "
        "names of the five emotions. Real names of subjects are unknown: 1 to 39 are the twin's.",
        "One scenario per emotion: emotion is weather, traffic and task as well, and leaving "
        "drivers out does not separate them.",
        "One recording per emotion and driver: a left-out recording takes its class with it.",
        "The label is the scenario. Whether drivers felt the emotion is another question.",
    ),
)
LAYOUT = _mapping.Layout(
    CARD.name,
    CARD.title,
    {
        "path": _mapping.pattern_key("subject", "emotion"),
        **_mapping.TABLE,
        "ecg_column": _mapping.COLUMN,
        "ecg_unit": _mapping.UNIT,
        "eeg_columns": _mapping.Key(
            f"nine different columns: {', '.join(EEG)}",
            lambda value: (
                isinstance(value, list)
                and all(map(_mapping.is_column, value))
                and len(set(value)) == len(value) == len(EEG)
            ),
            required=False,
        ),
        "eeg_unit": _mapping.UNIT,
        "emotions": _mapping.emotions_key(EMOTIONS),
    },
    sfreq=256.0,
)


def subjects_in(folder: Path) -> tuple[str, ...]:
    """Return the subjects that the mapping finds."""
    return LAYOUT.subjects(folder)


expected_in = subjects_in


def files_of(folder: Path, subject: str) -> tuple[Path, ...]:
    """Return the mapping and the recordings of a subject."""
    found = LAYOUT.find(folder, LAYOUT.mapping(folder))
    return folder / _mapping.MAPPING, *(path for at, path in found if at["subject"] == subject)


def read(folder: Path, subjects: Iterable[str], *, channels: str = "ecg") -> Iterator[Recording]:
    """Return one recording per subject and emotion: ``"ecg"`` in mV or ``"eeg"`` in uV.

    A file that ends early, at the end of a row, cannot be told from a whole one.

    Raises
    ------
    DataNotFoundError
        If there is no mapping.
    DataFileError
        If the mapping is wrong; while reading, if a file does not agree with it.
    """
    mapping = LAYOUT.mapping(folder)
    if channels == "eeg" and "eeg_columns" not in mapping:
        wanted = f"{LAYOUT.keys['eeg_columns'].expected}, to read EEG"
        raise LAYOUT.wrong(folder / _mapping.MAPPING, "eeg_columns", "no such key", wanted)
    return _recordings(folder, mapping, tuple(subjects), channels)


def _recordings(
    folder: Path, mapping: dict, subjects: tuple[str, ...], channels: str
) -> Iterator[Recording]:
    LAYOUT.say_unverified(folder, mapping)
    key, unit = ("ecg_column", "mV") if channels == "ecg" else ("eeg_columns", "uV")
    scale = _mapping.factor(mapping[f"{channels}_unit"], unit)
    for subject in subjects:
        for emotion, path in _files(folder, mapping, subject).items():
            signal = LAYOUT.columns(path, mapping, key).T
            yield Recording(
                signal=signal * scale,
                sfreq=float(mapping["sfreq"]),
                ch_names=CHANNELS[channels],
                unit=unit,
                subject=subject,
                session="1",
                trial=emotion,
                condition=emotion,
            )


def _files(folder: Path, mapping: dict, subject: str) -> dict[str, Path]:
    """Return the file of each emotion of a subject: each of the five, and once."""
    there = [(at, path) for at, path in LAYOUT.find(folder, mapping) if at["subject"] == subject]
    names = sorted(mapping["emotions"][at["emotion"]] for at, _ in there)
    if names != sorted(EMOTIONS):
        found = f"subject {subject} has {', '.join(names) or 'none'} ({len(names)} files)"
        each = f"{len(EMOTIONS)} files, one each for {', '.join(EMOTIONS)}"
        expected = f"{each}, or the subject left out of subjects="
        raise LAYOUT.wrong(folder, "path", found, expected)
    files = {mapping["emotions"][at["emotion"]]: path for at, path in there}
    return {emotion: files[emotion] for emotion in EMOTIONS}


def write_subject(folder: Path, subject: str, signals: Mapping[str, np.ndarray]) -> None:
    """Write the recordings of a subject in the layout of the mapping in the folder.

    Numbers are rounded to 0.1 uV of ECG and 0.01 uV of EEG. Columns that the mapping does not name
    hold zeros.

    Parameters
    ----------
    folder, subject
        The folder of the set, which holds the mapping, and whose recordings.
    signals
        Emotion to ``(10, n_times)``: ECG in mV and nine channels of EEG in uV.
    """
    mapping = LAYOUT.mapping(folder)
    eeg = mapping.get("eeg_columns", [])
    columns = [mapping["ecg_column"], *eeg]
    units = [("mV", mapping["ecg_unit"], 1e-7), *[("uV", mapping["eeg_unit"], 1e-8)] * len(eeg)]
    scale = np.array([[_mapping.VOLTS[own] / _mapping.VOLTS[unit]] for own, unit, _ in units])
    formats = [_mapping.number_format(unit, step_v) for _, unit, step_v in units]
    names = {emotion: name for name, emotion in mapping["emotions"].items()}
    for emotion, signal in signals.items():
        path = Path(folder) / mapping["path"].format(subject=subject, emotion=names[emotion])
        values = signal[: len(columns)] * scale
        _mapping.write_columns(path, mapping, columns, values, formats)


STATES = dict(zip(EMOTIONS, ("angry", "fearful", "neutral", "sad", "surprised"), strict=True))


def make_twin(
    folder: Path,
    *,
    subjects: int = 15,
    effect: float = 1.0,
    fingerprint: float = 1.0,
    seed: int = 0,
    seconds: float = 60.0,
) -> Path:
    """Write a simulated twin: subjects 1, 2 and so on, in the layout of the template.

    Parameters
    ----------
    folder
        Where to; a file there says that the data are simulated, and with which dials.
    subjects
        1 to 39. A subject does not depend on how many there are.
    effect, fingerprint, seed
        See `affectbook.simulate`.
    seconds
        Length of a recording.

    Raises
    ------
    ParameterError
        If a dial is out of range.
    """
    chosen = CARD.first(subjects)
    sfreq = float(LAYOUT.copy_template(folder)["sfreq"])
    dials = {"effect": effect, "fingerprint": fingerprint, "seed": seed}
    plan = [(simulate.EMOTIONS[STATES[emotion]], seconds) for emotion in EMOTIONS]
    for index, subject in enumerate(chosen):
        ecg, found = simulate.ecg_subject(index, plan, sfreq=sfreq, **dials)
        eeg, _ = simulate.eeg_subject(index, plan, sfreq=sfreq, ch_names=EEG, **dials)
        both = np.vstack([ecg[None], eeg])
        cuts = [(round(start * sfreq), round(stop * sfreq)) for _, start, stop in found]
        cut = {name: both[:, slice(*at)] for name, at in zip(EMOTIONS, cuts, strict=True)}
        write_subject(folder, subject, cut)
    mark_twin(folder, chosen, **dials)
    return Path(folder)
