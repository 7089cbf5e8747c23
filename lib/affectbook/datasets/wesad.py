"""WESAD: stress and amusement in 15 people, chest ECG at 700 Hz.

Schmidt et al. 2018, "Introducing WESAD, a Multimodal Dataset for Wearable Stress and Affect
Detection". A subject is one Python 2 pickle, ``S2/S2.pkl``; nothing else is read. The writer of
the same layout, which makes the simulated twin, stands beside the reader.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from affectbook import files, simulate
from affectbook.datasets import _pickles
from affectbook.datasets._folders import mark_twin
from affectbook.datasets._wesad_file import CODES, SFREQ, TIMES, TITLE, stretches
from affectbook.datasets.card import Card, LabelRule
from affectbook.datasets.recording import Recording

CHANNELS = {"ecg": ("ECG",)}
ALSO = (
    "wesad_readme.pdf", "S*/S*_readme.txt", "S*/S*_quest.csv", "S*/S*_respiban.txt",
    "S*/S*_E4_Data.zip", "S*/S*_E4_Data/**",
)  # fmt: skip
MOST_BYTES = 4 * 10**9
_WHY = "those of the publisher have about 1 GB, and other protocols of pickle take more"
log = logging.getLogger(__name__)

_SAME = {name: name for name in CODES.values()}
_AFFECT = ("baseline", "stress", "amusement")
CARD = Card(
    name="wesad",
    title=TITLE,
    tier="licensed",
    subjects=tuple(f"S{number}" for number in range(2, 18) if number != 12),
    trials_per_subject="5: baseline, stress and amusement once, meditation twice",
    channels=("ECG",),
    sfreq="700 Hz",
    unit="mV",
    label_rules=(
        LabelRule(
            "baseline_stress_amusement",
            _AFFECT,
            {name: name for name in _AFFECT},
            "three conditions of the study; meditation is left out",
        ),
        LabelRule(
            "baseline_stress_amusement_meditation",
            tuple(_SAME),
            _SAME,
            "all four conditions; the two meditations are one class",
        ),
        LabelRule(
            "stress_binary",
            ("no stress", "stress"),
            {"baseline": "no stress", "amusement": "no stress", "stress": "stress"},
            "stress against baseline and amusement; meditation is left out",
        ),
    ),
    licence=(
        "The authors' page: scientific, non-commercial use with credit. CC BY 4.0 at UCI is not "
        "confirmed. Treat it as non-commercial, without redistribution."
    ),
    size="2.5 GB zip, about 17 GB unpacked",
    obtain=(
        "download WESAD.zip from https://ubi29.informatik.uni-siegen.de/usi/data_wesad.html after "
        "reading its terms, and unpack it so that $AFFECTBOOK_DATA/WESAD/S2/S2.pkl exists"
    ),
    citation="schmidt2018wesad",
    trials=5,
    seconds=(300.0, 1400.0),
    pitfalls=(
        "One trial per condition: within a subject, a left-out trial takes its class with it.",
        "Baseline is about twice as long as stress, and stress longer than amusement.",
        "700 Hz needs a low-pass filter before it is decimated.",
        "Scaling over a whole file lets the test part leak into training.",
        "Whether meditation counts as no stress differs between papers.",
        "The files are Python pickles, which can run code: they are read without running any.",
    ),
)


def _file(folder: Path, subject: str) -> Path:
    return folder / subject / f"{subject}.pkl"


def subjects_in(folder: Path) -> tuple[str, ...]:
    """Return the subjects whose pickle is in the folder."""
    return tuple(subject for subject in CARD.subjects if _file(folder, subject).is_file())


def expected_in(folder: Path) -> tuple[str, ...]:
    """Return all 15: a copy that lacks one is an error unless the subjects are named."""
    return CARD.subjects


def files_of(folder: Path, subject: str) -> tuple[Path, ...]:
    """Return the one file of a subject."""
    return (_file(folder, subject),)


def read(folder: Path, subjects: Iterable[str]) -> Iterator[Recording]:
    """Yield one recording per uninterrupted stretch of a condition: chest ECG, 700 Hz, mV.

    Trials are numbered per condition: ``stress-1``, ``meditation-1``, ``meditation-2``.

    Raises
    ------
    DataError
        If too little memory is free to read a file.
    DataFileError
        If a file is not what the card says.
    """
    for subject in subjects:
        path = _file(Path(folder), subject)
        found = _pickles.apart(stretches, path, subject, most=MOST_BYTES, why=_WHY)
        _warn_of_more(subject, [code for code, _, _ in found])
        count = dict.fromkeys(CODES, 0)
        for code, start, ecg in found:
            count[code] += 1
            yield Recording(
                signal=ecg[None],
                sfreq=SFREQ,
                ch_names=("ECG",),
                unit="mV",
                subject=subject,
                session="1",
                trial=f"{CODES[code]}-{count[code]}",
                condition=CODES[code],
                start_s=start / SFREQ,
            )


def _warn_of_more(subject: str, codes: Sequence[int]) -> None:
    """Warn of conditions that a subject has more often than the card says."""
    times = ((CODES[code], codes.count(code)) for code in CODES)
    more = [f"{name} {count} times" for name, count in times if count > TIMES[name]]
    if more:
        log.warning("WESAD: %s has %s, unlike what the card says", subject, ", ".join(more))


def write_subject(folder: Path, subject: str, ecg: np.ndarray, label: np.ndarray) -> Path:
    """Write chest ECG and labels as a subject's official pickle.

    Parameters
    ----------
    folder
        The folder of the set; the file is ``S2/S2.pkl`` in it.
    subject
        Such as ``"S2"``.
    ecg
        ``(N,)`` in mV.
    label
        ``(N,)`` codes 0 to 7.
    """
    content = {
        "signal": {"chest": {"ECG": ecg.astype(np.float64)[:, None]}, "wrist": {}},
        "label": label.astype(np.int32),
        "subject": subject,
    }
    return files.write_atomic(
        _file(Path(folder), subject), lambda temporary: _pickles.dump_python2(content, temporary)
    )


# Shares of the recorded time, about as long beside each other as in the study.
_SHARES = {"baseline": (0.36,), "stress": (0.2,), "amusement": (0.14,), "meditation": (0.12, 0.12)}
_GAPS = 6


def make_twin(
    folder: Path,
    *,
    subjects: int = 15,
    effect: float = 1.0,
    fingerprint: float = 1.0,
    seed: int = 0,
    minutes: float = 20.0,
) -> Path:
    """Write a simulated twin: the first `subjects` of the set, in its official layout.

    Parameters
    ----------
    folder
        Where to; a file there says that the data are simulated, and with which dials.
    subjects
        1 to 15. A subject does not depend on how many there are.
    effect, fingerprint, seed
        See `affectbook.simulate`.
    minutes
        Length of a subject's recording, gaps between the conditions included.

    Raises
    ------
    ParameterError
        If a dial is out of range.
    """
    chosen = CARD.first(subjects)
    blocks = [(name, 60 * minutes * share) for name, all_ in _SHARES.items() for share in all_]
    gap_s = (60 * minutes - sum(seconds for _, seconds in blocks)) / _GAPS
    for index, subject in enumerate(chosen):
        plan = simulate.session_plan(index, blocks, gap_s=gap_s, seed=seed)
        ecg, found = simulate.ecg_subject(
            index, plan, sfreq=SFREQ, effect=effect, fingerprint=fingerprint, seed=seed
        )
        label = np.zeros(len(ecg), np.int32)
        for condition, start_s, stop_s in found:
            code = next(code for code, name in CODES.items() if name == condition)
            label[round(start_s * SFREQ) : round(stop_s * SFREQ)] = code
        write_subject(folder, subject, ecg, label)
    dials = {"effect": effect, "fingerprint": fingerprint, "seed": seed}
    mark_twin(folder, chosen, **dials)
    return Path(folder)
