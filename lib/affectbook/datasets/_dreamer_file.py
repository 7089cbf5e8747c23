"""The one file of DREAMER: checked and taken apart by subject, and written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affectbook import files
from affectbook.datasets import _matlab
from affectbook.errors import DataFileError

TITLE = "DREAMER"
FILE = "DREAMER.mat"
FILMS = 18
CHANNELS = {
    "ecg": ("ECG1", "ECG2"),
    "eeg": ("AF3", "F7", "F3", "FC5", "T7", "P7", "O1", "O2", "P8", "T8", "FC6", "F4", "F8", "AF4"),
}  # fmt: skip
SFREQ = {"ecg": 256.0, "eeg": 128.0}
RATINGS = ("valence", "arousal", "dominance")
LOW, HIGH = 1, 5
PARTS = {"stimulus": "stimuli", "baseline": "baseline"}
"""What the file calls the parts of a trial."""


def convert(path: Path, made: Path, subjects: Sequence[str], least_s: float) -> None:
    """Take the file apart into a folder: signals by subject and kind, and everybody's ratings.

    ``S01-ecg.npz`` holds the arrays ``stimulus-1`` to ``baseline-18``, ``(n_chans, n_times)``;
    ``ratings.json`` holds a list by film, by rating, by subject. The signals are float32, as
    recordings have them. At the EEG's offset of 4200 that is exact to 0.0003, and whole numbers
    below 2**24 are kept as they are.

    Parameters
    ----------
    path
        The file. It is loaded whole; then one subject at a time is freed.
    made
        An empty folder.
    subjects
        Names of those who must be in the file, in its order.
    least_s
        How long each signal must be.

    Raises
    ------
    DataFileError
        If anything in the file is not as it should be.
    """
    content = _matlab.load(path, ("DREAMER",))
    _check_header(path, content, len(subjects))
    data = _matlab.value_at(content, path, "DREAMER", "Data")
    ratings = {}
    for index, subject in enumerate(subjects):
        record, where = data.flat[index], f"Data{{{index + 1}}}"
        data.flat[index] = None  # so that the arrays of this subject are freed before the next
        ratings[subject] = {name: _scores(path, record, where, name) for name in RATINGS}
        signals = {kind: _signals(path, record, where, kind, least_s) for kind in CHANNELS}
        _check_lengths(path, where, signals)
        for kind, trials in signals.items():
            np.savez(made / f"{subject}-{kind}.npz", **trials)
    files.write_text(made / "ratings.json", json.dumps(ratings))


def _check_header(path: Path, content: Mapping[str, Any], n_subjects: int) -> None:
    """Compare rates, counts and names of electrodes with the card."""
    data = _matlab.value_at(content, path, "DREAMER", "Data")
    if not (_is_cell(data) and data.size == n_subjects):
        raise _wrong(path, "Data", _what(data), f"a cell of {n_subjects}", "other subjects")
    numbers = {
        "noOfSubjects": n_subjects,
        "noOfVideoSequences": FILMS,
        "ECG_SamplingRate": SFREQ["ecg"],
        "EEG_SamplingRate": SFREQ["eeg"],
    }
    for name, number in numbers.items():
        found = _matlab.value_at(content, path, "DREAMER", name)
        if not (_numeric(found) and found.size == 1 and found.flat[0] == number):
            raise _wrong(path, name, _what(found), f"{number:g}", "not the number of the card")
    names = _matlab.value_at(content, path, "DREAMER", "EEG_Electrodes")
    found = tuple(map(_what, names.flat)) if _is_cell(names) else (_what(names),)
    if found != CHANNELS["eeg"]:
        expected = " ".join(CHANNELS["eeg"])
        raise _wrong(path, "EEG_Electrodes", " ".join(found)[:160], expected, "other electrodes")


def _scores(path: Path, record: object, where: str, name: str) -> list[float]:
    """Return one rating of a subject for each film."""
    entry = f"Score{name.capitalize()}"
    scores, field = _matlab.value_at(record, path, entry), f"{where}.{entry}"
    if not (_numeric(scores) and scores.size == FILMS):
        raise _wrong(path, field, _what(scores), f"{FILMS} numbers", "ratings are not as many")
    values = scores.reshape(-1).astype(float)
    bad = ~((values >= LOW) & (values <= HIGH) & (values == np.rint(values)))
    if bad.any():
        found = ", ".join(f"{value:g}" for value in values[bad][:5])
        raise _wrong(path, field, found, f"whole numbers {LOW} to {HIGH}", "ratings out of range")
    return values.tolist()


def _signals(
    path: Path, record: object, where: str, kind: str, least_s: float
) -> dict[str, np.ndarray]:
    """Return all signals of one kind of a subject: ``(n_chans, n_times)`` float32 by trial."""
    least, found = max(round(least_s * SFREQ[kind]), 1), {}
    for part, entry in PARTS.items():
        cells = _matlab.value_at(record, path, kind.upper(), entry)
        field = f"{where}.{kind.upper()}.{entry}"
        if not (_is_cell(cells) and cells.size == FILMS):
            raise _wrong(path, field, _what(cells), f"a cell of {FILMS}", "films are not as many")
        for film, samples in enumerate(cells.flat, start=1):
            one = f"{field}{{{film}}}"
            _check_samples(path, one, samples, len(CHANNELS[kind]), least)
            with np.errstate(over="ignore"):
                signal = np.ascontiguousarray(samples.T, np.float32)
            bad = int((~np.isfinite(signal)).sum())
            if bad:
                count = f"{bad} of {signal.size} samples"
                raise _wrong(path, one, count, "finite samples", "not all are numbers")
            found[f"{part}-{film}"] = signal
    return found


def _check_samples(path: Path, field: str, samples: object, n_chans: int, least: int) -> None:
    if not (_numeric(samples) and samples.ndim == 2 and samples.shape[1] == n_chans):
        raise _wrong(path, field, _what(samples), f"(M, {n_chans}) numbers", "wrong shape or type")
    if len(samples) < least:
        raise _wrong(path, field, f"{len(samples)} samples", f"at least {least}", "it is too short")


def _check_lengths(path: Path, where: str, signals: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Compare the times that ECG and EEG of one subject last."""
    for trial, eeg in signals["eeg"].items():
        ecg_s = signals["ecg"][trial].shape[1] / SFREQ["ecg"]
        eeg_s = eeg.shape[1] / SFREQ["eeg"]
        if abs(ecg_s - eeg_s) > 0.02 * eeg_s:
            found, expected = f"ECG {ecg_s:.2f} s, EEG {eeg_s:.2f} s", "the same within 2 %"
            field = f"{where} {trial}"
            raise _wrong(path, field, found, expected, "ECG and EEG do not last as long")


def _numeric(value: object) -> bool:
    # MATLAB packs whole numbers into small integers, whatever their type was.
    return isinstance(value, np.ndarray) and value.dtype.kind in "iuf"


def _is_cell(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == object


def _what(value: object) -> str:
    """Return type, shape and, where it is one number, value."""
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    if value.size == 1 and value.dtype.kind in "iufU":
        return str(value.flat[0])[:40]
    return f"{value.shape} {'cell' if value.dtype == object else value.dtype.name[:20]}"


def _wrong(path: Path, field: str, found: str, expected: str, what: str) -> DataFileError:
    return DataFileError(
        f"{TITLE}: {what}",
        file=path,
        field=field,
        found=found,
        expected=expected,
        do="get the file again from the publisher; all subjects are in it",
    )


def write_file(path: Path, people: Iterable[Mapping[str, Any]]) -> Path:
    """Write everybody as the official file.

    Parameters
    ----------
    path
        The file, ``DREAMER.mat``.
    people
        One mapping per subject: ``ecg``, ``eeg``, ``ecg_baseline`` and ``eeg_baseline``, each 18
        arrays ``(n_chans, n_times)``, and ``valence``, ``arousal``, ``dominance``, each 18 numbers.
    """
    data = [_person(person) for person in people]
    content = {
        "Data": _cell(data)[None],
        "EEG_SamplingRate": SFREQ["eeg"],
        "ECG_SamplingRate": SFREQ["ecg"],
        "EEG_Electrodes": _cell(CHANNELS["eeg"])[None],
        "noOfSubjects": float(len(data)),
        "noOfVideoSequences": float(FILMS),
        "Disclaimer": "written by affectbook",
        "Provider": "affectbook",
        "Version": "1.0",
        "Acknowledgement": "none",
    }
    return _matlab.save(path, {"DREAMER": content})


def _person(person: Mapping[str, Any]) -> dict[str, Any]:
    """Return the struct of one subject."""
    made: dict[str, Any] = {"Age": "30", "Gender": "female"}
    for kind in ("eeg", "ecg"):
        made[kind.upper()] = {
            "baseline": _cell(np.asarray(s).T for s in person[f"{kind}_baseline"])[:, None],
            "stimuli": _cell(np.asarray(s).T for s in person[kind])[:, None],
        }
    for name in RATINGS:
        made[f"Score{name.capitalize()}"] = np.asarray(person[name], float)[:, None]
    return made


def _cell(values: Iterable[object]) -> np.ndarray:
    values = list(values)
    cell = np.empty(len(values), object)
    for index, value in enumerate(values):  # arrays of one length would become one array
        cell[index] = value
    return cell
