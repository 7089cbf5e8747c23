"""eegmat: EEG and ECG of 36 people at rest and during mental arithmetic.

Zyma et al. 2019, "Electroencephalograms during Mental Arithmetic Task Performance", PhysioNet
eegmat 1.0.0. Two layouts give the same recordings, bit for bit: the official EDF files
(``Subject00_1.edf`` rest, ``Subject00_2.edf`` arithmetic) and the compact ``eegmat_60s.npz``.
Where a folder holds both, a subject in the compact file is read from it, and from EDF only if it
is not there. The writer of the EDF files, which makes the simulated twin, stands beside the reader.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.signal import resample_poly

from affectbook import files, simulate
from affectbook.datasets import _stretches
from affectbook.datasets._eegmat_files import EDF_SFREQ, TITLE, array_of, check_edf, read_edf, wrong
from affectbook.datasets._folders import mark_twin
from affectbook.datasets.card import Card, LabelRule
from affectbook.datasets.recording import Recording
from affectbook.errors import ParameterError

SECONDS = 60
STILL_S = 0.5
_EDGE = 11  # half the length of the resampler's filter, in samples that it gives out
CONDITIONS = ("rest", "arithmetic")
COMPACT = "eegmat_60s.npz"
STEPS = (-32768, 32767)  # what the compact file can hold; it cuts off there
ECG_NAME = "ECG ECG"
EEG_NAMES = (
    "Fp1", "Fp2", "F3", "F4", "F7", "F8", "T3", "T4", "C3", "C4", "T5", "T6", "P3", "P4",
    "O1", "O2", "Fz", "Cz", "Pz", "A2-A1",
)  # fmt: skip


class _Kind(NamedTuple):
    """How one kind of channel is kept: names, ratio to 500 Hz, and the step it is rounded to."""

    edf_names: tuple[str, ...]
    ch_names: tuple[str, ...]
    up: int
    down: int
    unit: str
    per_volt: float
    step: float

    @property
    def sfreq(self) -> float:
        return EDF_SFREQ * self.up / self.down


KINDS = {
    "ecg": _Kind((ECG_NAME,), ("ECG",), 64, 125, "mV", 1e6, 1e-3),
    "eeg": _Kind(tuple(f"EEG {n}" for n in EEG_NAMES), EEG_NAMES, 32, 125, "uV", 1e8, 1e-2),
}

CHANNELS = {name: kind.ch_names for name, kind in KINDS.items()}
ALSO = ("Subject??_?.edf", "subject-info.csv", "RECORDS")
CARD = Card(
    name="eegmat",
    title=TITLE,
    tier="open",
    subjects=tuple(f"{number:02d}" for number in range(36)),
    trials_per_subject="2: rest, then arithmetic",
    channels=("ECG", *EEG_NAMES),
    sfreq="500 Hz in EDF; read at 256 Hz (ECG) and 128 Hz (EEG)",
    unit="mV (ECG), uV (EEG)",
    label_rules=(
        LabelRule(
            "rest_arithmetic",
            CONDITIONS,
            {name: name for name in CONDITIONS},
            "rest against serial subtraction: workload and stress, not an emotion",
        ),
    ),
    licence="ODC-By 1.0: cite Zyma et al. 2019 and Goldberger et al. 2000",
    size="184 MB (EDF), 20 MB (compact file)",
    obtain=(
        "fetch it with `make data DATASET=eegmat`, from "
        "https://physionet.org/content/eegmat/1.0.0/ (no login)"
    ),
    citation="zyma2019eegmat",
    trials=2,
    pitfalls=(
        "Rest always comes first: order is confounded with condition.",
        "It is workload or stress, not a valence and not a self-report.",
        "The authors filtered to 0.5-45 Hz with a notch at 50 Hz and removed components by ICA.",
        "Electrodes have their old names: T3 T4 T5 T6 are T7 T8 P7 P8.",
        "Only the last 60 s of rest and the first 60 s of arithmetic are read.",
        "The last 2 s of rest are padding in all 36 people, zeros for the most part; the minute of "
        "arithmetic has none. A window that holds some tells its label. Such windows are left out.",
        "Four recordings of ECG show no heartbeats, 0.1 mV from peak to peak: 02 and 13 at rest, "
        "20 and 35 in arithmetic. Of these people the signal itself tells the condition.",
    ),
    seconds=(60.0, 60.0),
)


def _edf(folder: Path, subject: str) -> tuple[Path, Path]:
    return folder / f"Subject{subject}_1.edf", folder / f"Subject{subject}_2.edf"


def _in_compact(folder: Path) -> dict[tuple[str, str], int]:
    """Return the row of each subject and condition in the compact file; empty without one."""
    path = folder / COMPACT
    if not path.is_file():
        return {}
    stat = path.stat()
    return _rows(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=4)
def _rows(path: Path, changed_ns: int, size: int) -> dict[tuple[str, str], int]:
    number, label = array_of(path, "subject"), array_of(path, "label")
    whole = number.dtype.kind in "iu" and label.dtype.kind in "iu"
    same = whole and number.ndim == 1 and number.shape == label.shape
    if not same or not set(label.tolist()) <= {0, 1}:
        found = f"{label.shape} {label.dtype}, and subject {number.shape} {number.dtype}"
        raise wrong(path, "label", found, "integers 0 or 1 for each row of `subject`")
    pairs = zip(number.tolist(), label.tolist(), strict=True)
    rows = {(f"{n:02d}", CONDITIONS[code]): row for row, (n, code) in enumerate(pairs)}
    people = {subject for subject, _ in rows}
    if len(rows) != len(number) or len(rows) != 2 * len(people):
        found = f"{len(rows)} different of {len(number)} rows, {len(people)} subjects"
        raise wrong(path, "subject", found, "one rest and one arithmetic for each subject")
    return rows


def subjects_in(folder: Path) -> tuple[str, ...]:
    """Return the subjects in the compact file or with both EDF files."""
    compact = {subject for subject, _ in _in_compact(folder)}
    return tuple(
        subject
        for subject in CARD.subjects
        if subject in compact or all(path.is_file() for path in _edf(folder, subject))
    )


def expected_in(folder: Path) -> tuple[str, ...]:
    """Return all 36 for EDF files; what there is where the compact file is."""
    return subjects_in(folder) if (folder / COMPACT).is_file() else CARD.subjects


def files_of(folder: Path, subject: str) -> tuple[Path, ...]:
    """Return the files that a subject is read from."""
    if (subject, CONDITIONS[0]) in _in_compact(folder):
        return (folder / COMPACT,)
    return _edf(folder, subject)


def read(folder: Path, subjects: Iterable[str], *, channels: str = "ecg") -> Iterator[Recording]:
    """Yield the last 60 s of rest and the first 60 s of arithmetic of each subject.

    Both layouts hold the whole record resampled with `scipy.signal.resample_poly`, cut, and
    rounded to the step of the compact file, which cuts off EEG at 328 uV (35 samples of one
    channel, in subject 01). Their `start_s` is 0: the compact file does not say where its minute
    began.

    Parameters
    ----------
    folder, subjects
        Where, and who.
    channels
        ``"ecg"``: one channel in mV at 256 Hz, in steps of 1 uV; ``"eeg"``: 19 channels and the
        ear reference A2-A1 in uV at 128 Hz, in steps of 0.01 uV.

    Raises
    ------
    DataFileError
        If a file is not what the card says.
    """
    kind, rows, compact = KINDS[channels], _in_compact(folder), None
    for subject in subjects:
        if (subject, CONDITIONS[0]) not in rows:
            check_edf(_edf(folder, subject), subject, kind.edf_names)
        for number, condition in enumerate(CONDITIONS):
            if (subject, condition) in rows:
                if compact is None:
                    compact = _compact(folder / COMPACT, channels, len(rows))
                whole = compact[rows[subject, condition]]
            else:
                whole = _from_edf(_edf(folder, subject)[number], kind, condition)
            yield Recording(
                signal=(whole * kind.step).astype(np.float32),
                sfreq=kind.sfreq,
                ch_names=kind.ch_names,
                unit=kind.unit,
                subject=subject,
                session="1",
                trial=condition,
                condition=condition,
            )


def _compact(path: Path, channels: str, n_rows: int) -> np.ndarray:
    """Return ``(n_rows, n_chans, n_times)`` integers, in steps of the kind."""
    kind, stored = KINDS[channels], array_of(path, channels)
    shape = (n_rows, len(kind.ch_names), round(SECONDS * kind.sfreq))
    values = stored[:, None] if channels == "ecg" and stored.ndim == 2 else stored
    if values.shape != shape or values.dtype != np.int16:
        found = f"{stored.shape} {stored.dtype}"
        raise wrong(path, channels, found, f"int16, {shape} without axes of length 1")
    names = array_of(path, "ch_names", np.array(EEG_NAMES)).tolist()
    if names != list(EEG_NAMES):
        raise wrong(path, "ch_names", str(names)[:200], " ".join(EEG_NAMES))
    return values


def _from_edf(path: Path, kind: _Kind, condition: str) -> np.ndarray:
    """Return 60 s of one EDF file, ``(n_chans, n_times)`` in whole steps of the kind."""
    volts = read_edf(path, kind.edf_names)
    n_times = round(SECONDS * kind.sfreq)
    recorded = volts * kind.per_volt
    whole = resample_poly(recorded, kind.up, kind.down, axis=-1)
    _hold(whole, recorded, kind.up / kind.down)
    if whole.shape[-1] < n_times:
        found = f"{whole.shape[-1] / kind.sfreq:.1f} s"
        raise wrong(path, "length", found, f"{SECONDS} s or more")
    cut = whole[:, -n_times:] if condition == "rest" else whole[:, :n_times]
    return np.clip(np.rint(cut), *STEPS)


def _hold(resampled: np.ndarray, recorded: np.ndarray, ratio: float) -> None:
    """Keep a channel still where it stands still as recorded: resampled, it ripples by a step.

    `_EDGE` samples on each side stay as they are, where the resampler reaches beyond the stretch.
    """
    least = round(STILL_S * EDF_SFREQ)
    for row, out in zip(recorded, resampled, strict=True):
        for start, stop in _stretches.held(row, least):
            out[math.ceil(start * ratio) + _EDGE : math.floor(stop * ratio) - _EDGE] = row[start]


# What the two parts of the study do, in the words of the simulation.
_STATES = {"rest": "baseline", "arithmetic": "stress"}
_INFO = "Subject,Age,Gender,Recording year,Number of subtractions,Count quality"
_INFO_STREAM = 9006


def write_part(
    folder: Path, subject: str, condition: str, eeg: np.ndarray, ecg: np.ndarray
) -> Path:
    """Write rest or arithmetic of a subject as its official EDF file, in records of 1 s.

    Parameters
    ----------
    folder
        The folder of the set.
    subject, condition
        Such as ``"07"``, and one of `CONDITIONS`.
    eeg
        ``(20, n_times)`` in uV at 500 Hz, in the order of `EEG_NAMES`. A channel is kept in 65535
        steps from its smallest to its largest value.
    ecg
        ``(n_times,)`` in mV at 500 Hz.

    Raises
    ------
    ParameterError
        If the shapes do not agree, or the length is no whole number of seconds.
    """
    from edfio import Edf, EdfSignal, Patient

    n_times, per_s = len(ecg), round(EDF_SFREQ)
    if eeg.shape != (len(EEG_NAMES), n_times) or n_times == 0 or n_times % per_s:
        raise ParameterError(
            f"EEG {eeg.shape} and ECG {ecg.shape}; ({len(EEG_NAMES)}, n_times) and (n_times,) are "
            f"written, n_times in whole seconds of {per_s} samples"
        )
    names = [*KINDS["eeg"].edf_names, ECG_NAME]
    units = [KINDS["eeg"].unit] * len(EEG_NAMES) + [KINDS["ecg"].unit]
    signals = [
        EdfSignal(row, EDF_SFREQ, label=name, physical_dimension=unit)
        for row, name, unit in zip([*eeg, ecg], names, units, strict=True)
    ]
    edf = Edf(signals, patient=Patient(name=f"Subject{subject}"), data_record_duration=1)
    path = _edf(Path(folder), subject)[CONDITIONS.index(condition)]
    return files.write_atomic(path, edf.write)


def make_twin(
    folder: Path,
    *,
    subjects: int = 36,
    effect: float = 1.0,
    fingerprint: float = 1.0,
    seed: int = 0,
    seconds: int = 62,
) -> Path:
    """Write a simulated twin: the first `subjects` of the set, as official EDF files.

    Rest comes first for everybody, as in the study. Blinks are in it, which the authors removed,
    and its frequencies are not limited to 0.5-45 Hz. Ages and counts are made up, too.

    Parameters
    ----------
    folder
        Where to; a file there says that the data are simulated, and with which dials.
    subjects
        1 to 36. A subject does not depend on how many there are.
    effect, fingerprint, seed
        See `affectbook.simulate`.
    seconds
        Length of rest, and of arithmetic: 60 or more.

    Raises
    ------
    ParameterError
        If a dial is out of range.
    """
    chosen = CARD.first(subjects)
    if not (seconds >= SECONDS and seconds == int(seconds)):
        raise ParameterError(f"seconds = {seconds}; it is a whole number of {SECONDS} or more")
    dials = {"effect": effect, "fingerprint": fingerprint, "seed": seed}
    plan = [(_STATES[condition], seconds) for condition in CONDITIONS]
    info = [_INFO]
    for index, subject in enumerate(chosen):
        ecg, found = simulate.ecg_subject(index, plan, sfreq=EDF_SFREQ, **dials)
        eeg, _ = simulate.eeg_subject(index, plan, sfreq=EDF_SFREQ, ch_names=EEG_NAMES, **dials)
        for condition, (_, start_s, stop_s) in zip(CONDITIONS, found, strict=True):
            part = slice(round(start_s * EDF_SFREQ), round(stop_s * EDF_SFREQ))
            write_part(folder, subject, condition, eeg[:, part], ecg[part])
        info.append(_info(subject, np.random.default_rng([seed, index, _INFO_STREAM])))
    files.write_text(Path(folder) / "subject-info.csv", "\n".join([*info, ""]))
    mark_twin(folder, chosen, **dials)
    return Path(folder)


def _info(subject: str, rng: np.random.Generator) -> str:
    """Return a line of ``subject-info.csv``."""
    count = rng.uniform(5, 35)
    age, gender = rng.integers(18, 26), "FM"[rng.integers(2)]
    return f"Subject{subject},{age},{gender},2011,{count:.2f},{int(count > 12)}"
