"""DEAP: EEG and peripheral signals of 32 people who rated 40 music videos.

Koelstra et al. 2012, "DEAP: A Database for Emotion Analysis Using Physiological Signals". Read is
the preprocessed release: a subject is one Python 2 pickle ``s01.dat`` (or one ``s01.mat`` with the
same two arrays) of 40 videos, each 3 s of baseline and 60 s of stimulus. **DEAP has no ECG**; the
nearest to it is the plethysmograph, the peripheral channel ``Pleth``. Where the publisher's
``participant_ratings.csv`` lies beside the data, labels are compared with it, since a public
mirror has altered ones.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from affectbook import files, simulate
from affectbook.datasets import _matlab, _pickles, _registry
from affectbook.datasets._deap_file import (
    N_BYTES,
    N_CHANS,
    N_TRIALS,
    PARTS,
    RATINGS,
    ROWS,
    SFREQ,
    START,
    TITLE,
    signals_of,
    wrong,
)
from affectbook.datasets._deap_table import (
    MIRROR,
    TABLE,
    compare,
    reported,
    table_of,
    write_ratings,
)
from affectbook.datasets._folders import mark_twin, twin_of
from affectbook.datasets.card import Card
from affectbook.datasets.labels import high_low, quadrants
from affectbook.datasets.recording import Recording

BASELINE_S = START / SFREQ
LOW, HIGH = 1.0, 9.0
CHANNELS = {
    "eeg": (
        "Fp1", "AF3", "F3", "F7", "FC5", "FC1", "C3", "T7", "CP5", "CP1", "P3", "P7", "PO3", "O1",
        "Oz", "Pz", "Fp2", "AF4", "Fz", "F4", "F8", "FC6", "FC2", "Cz", "C4", "T8", "CP6", "CP2",
        "P4", "P8", "PO4", "O2",
    ),
    "peripheral": ("hEOG", "vEOG", "zEMG", "tEMG", "GSR", "Resp", "Pleth", "Temp"),
}  # fmt: skip
# Both forms of the signals, the original ones, and tables beside them.
ALSO = (
    "data_preprocessed_python/s??.dat", "data_preprocessed_matlab/s??.mat", "s??.dat", "s??.mat",
    "data_original/**", "face_video/**", "metadata*/**", "participant_*.*", "online_ratings.*",
    "video_list.*", "audio_features/**",
)  # fmt: skip
ABSENT = {"ecg": "DEAP has no ECG; channel Pleth shows the pulse"}
_UNITS = {"eeg": "uV", "peripheral": "a.u."}
_PYTHON, _MATLAB = "data_preprocessed_python/{}.dat", "data_preprocessed_matlab/{}.mat"
_PLACES = (_PYTHON, "{}.dat", _MATLAB, "{}.mat")
MOST_BYTES = 6 * N_BYTES
_WHY = (
    f"those of the publisher have {N_BYTES} and some more, and other protocols of pickle take more"
)
log = logging.getLogger(__name__)

CARD = Card(
    name="deap",
    title=TITLE,
    tier="licensed",
    subjects=tuple(f"s{number:02d}" for number in range(1, 33)),
    trials_per_subject="40: each music video once, in the order of their ids, not as presented",
    channels=tuple(name for kind in CHANNELS.values() for name in kind),
    sfreq="128 Hz (recorded at 512 Hz)",
    unit="uV (EEG), a.u. (peripheral)",
    label_rules=(
        *(high_low(rating, sign, 5) for rating in ("valence", "arousal") for sign in (">", ">=")),
        quadrants(">", 5),
        quadrants(">=", 5),
    ),
    licence="end-user licence agreement, signed by permanent academic staff; no redistribution",
    size="3.3 GB (preprocessed, Python)",
    obtain=(
        "sign the agreement at https://www.eecs.qmul.ac.uk/mmv/datasets/deap/download.html and "
        "unpack data_preprocessed_python.zip so that "
        "$AFFECTBOOK_DATA/deap/data_preprocessed_python/s01.dat exists; put "
        "participant_ratings.csv (of metadata_csv.zip) beside that folder"
    ),
    citation="koelstra2012deap",
    trials=40,
    seconds=(60.0, 60.0),
    pitfalls=(
        "There is no ECG. The plethysmograph (Pleth) shows the pulse; it is not an ECG.",
        "The file states no unit: EEG is taken as uV, peripheral channels are given as a.u., each "
        "on a scale of its own.",
        "The publisher already filtered the EEG to 4-45 Hz, removed eye movements and took the "
        "common average as reference: nothing below 4 Hz is left.",
        "A mirror on Kaggle has 9 - rating for valence and arousal in 439 trials, an audit found: "
        "all of them trials with both ratings above 5. Labels are compared with "
        "participant_ratings.csv where it is there.",
        "A rating of exactly 5 is low under > 5 and high under >= 5.",
        "Trials are joined with other tables by Experiment_id; Trial is the order of presentation.",
        "Whether the 3 s of baseline are subtracted differs between papers. They are a part of "
        "their own here, and never in the stimulus.",
        "Familiarity is in participant_ratings.csv only, without subjects 2, 15 and 23, and is "
        "not read.",
    ),
)


def _file(folder: Path, subject: str) -> Path:
    """Return the file of a subject, whichever layout is there."""
    places = [Path(folder) / place.format(subject) for place in _PLACES]
    return next((path for path in places if path.is_file()), places[0])


def subjects_in(folder: Path) -> tuple[str, ...]:
    """Return the subjects whose file is in the folder."""
    return tuple(subject for subject in CARD.subjects if _file(folder, subject).is_file())


def expected_in(folder: Path) -> tuple[str, ...]:
    """Return all 32: a copy that lacks one is an error unless the subjects are named."""
    return CARD.subjects


def files_of(folder: Path, subject: str) -> tuple[Path, ...]:
    """Return the file of a subject, and the table of ratings where it is inside the folder."""
    table = table_of(folder)
    inside = table is not None and table.is_relative_to(folder)
    return (_file(folder, subject), table) if inside else (_file(folder, subject),)


def read(
    folder: Path, subjects: Iterable[str], *, channels: str = "eeg", part: str = "stimulus"
) -> Iterator[Recording]:
    """Return one recording per video: 128 Hz, with ratings of valence, arousal, dominance, liking.

    Parameters
    ----------
    folder, subjects
        Where, and which subjects.
    channels
        ``"eeg"`` (32, in uV) or ``"peripheral"`` (8, in a.u.: the file states no units).
    part
        ``"stimulus"``: what follows the baseline, 60 s; ``"baseline"``: the 3 s before it.

    Raises
    ------
    ParameterError
        If there are no such channels (there is no ECG) or no such part.
    DataError
        While reading, if too little memory is free for a file.
    DataFileError
        While reading, if a file is not what the card says, or its labels are not those of
        ``participant_ratings.csv``.
    """
    if channels not in CHANNELS:
        _registry.kind_of(CARD.name, channels)  # says what there is not
        raise _registry.unknown("kind of channels of deap", channels, CHANNELS)
    if part not in PARTS:
        raise _registry.unknown("part of a trial", part, PARTS)
    return _recordings(Path(folder), tuple(subjects), channels, part)


def _recordings(
    folder: Path, subjects: tuple[str, ...], kind: str, part: str
) -> Iterator[Recording]:
    path, twin = table_of(folder), twin_of(folder) is not None
    table = None if path is None else reported(path)
    if table is None:
        log.warning("DEAP: labels could not be compared, there is no %s; %s", TABLE, MIRROR)
    for subject in subjects:
        file = _file(folder, subject)
        apart = _matlab.apart if file.suffix == ".mat" else _pickles.apart
        signals, labels = apart(signals_of, file, twin, kind, part, most=MOST_BYTES, why=_WHY)
        if table is not None:
            compare(file, subject, labels, table, path)
        _check_labels(file, labels)
        for trial, signal in enumerate(signals):
            yield Recording(
                signal=signal,
                sfreq=SFREQ,
                ch_names=CHANNELS[kind],
                unit=_UNITS[kind],
                subject=subject,
                session="1",
                trial=str(trial + 1),
                ratings=dict(zip(RATINGS, labels[trial].tolist(), strict=True)),
                start_s=PARTS[part].start / SFREQ,
            )
        del signals, signal  # or the next subject would be read while this one is still held


def _check_labels(path: Path, labels: np.ndarray) -> None:
    outside = ~((labels >= LOW) & (labels <= HIGH))
    if outside.any():
        trial, column = np.argwhere(outside)[0]
        found = f"{labels[trial, column]:g} for {RATINGS[column]} of trial {trial + 1}"
        expected = f"ratings from {LOW:g} to {HIGH:g}; {MIRROR}"
        raise wrong(path, "labels", found, expected, "a rating is out of range")


def write_subject(folder: Path, subject: str, data: np.ndarray, labels: np.ndarray) -> Path:
    """Write data and labels as a subject's official pickle.

    Parameters
    ----------
    folder
        The folder of the set; the file is ``data_preprocessed_python/s01.dat`` in it.
    subject
        Such as ``"s01"``.
    data
        ``(40, 40, n_times)``: trial, channel (32 EEG, 8 peripheral), sample at 128 Hz.
    labels
        ``(40, 4)``: valence, arousal, dominance, liking, 1 to 9.
    """
    content = {"labels": labels.astype(np.float64), "data": data.astype(np.float64, copy=False)}
    path = Path(folder) / _PYTHON.format(subject)
    return files.write_atomic(path, lambda made: _pickles.dump_python2(content, made))


_ORDER = 9103
_NO_FAMILIARITY = ("s02", "s15", "s23")


def make_twin(
    folder: Path,
    *,
    subjects: int = 32,
    effect: float = 1.0,
    fingerprint: float = 1.0,
    seed: int = 0,
    seconds: float = 9.0,
) -> Path:
    """Write a simulated twin: the first `subjects` of the set, in its official layout.

    EEG is simulated, Pleth is the pulse of a simulated heart, the other peripheral channels are
    noise. Nothing is filtered, unlike the publisher's files.

    Parameters
    ----------
    folder
        Where to; a file there says that the data are simulated, and with which dials.
    subjects
        1 to 32. A subject's file does not depend on how many there are.
    effect, fingerprint, seed
        See `affectbook.simulate`.
    seconds
        Length of each stimulus; 3 s of baseline come before it, as in the set.

    Raises
    ------
    ParameterError
        If a dial is out of range.
    """
    chosen = CARD.first(subjects)
    dials = {"effect": effect, "fingerprint": fingerprint, "seed": seed}
    told = []
    for index, subject in enumerate(chosen):
        order = np.random.default_rng([seed, index, _ORDER]).permutation(N_TRIALS)
        states, labels, familiarity = _felt(index, seed)
        shown = _simulated(index, [states[video] for video in order], seconds, dials)
        write_subject(folder, subject, shown[np.argsort(order)], labels)
        known = np.full(N_TRIALS, np.nan) if subject in _NO_FAMILIARITY else familiarity
        told.append((labels, order, known))
    write_ratings(folder, chosen, *zip(*told, strict=True))
    mark_twin(folder, chosen, **dials)
    return Path(folder)


def _felt(index: int, seed: int) -> tuple[list[simulate.Affect], np.ndarray, np.ndarray]:
    """Return what a subject feels at each video, its ratings ``(40, 4)`` and familiarity."""
    evoked = simulate.stimuli(N_TRIALS, seed=seed)
    states = [simulate.felt(one, index, trial, seed=seed) for trial, one in enumerate(evoked)]

    def rated(names: tuple[str, ...], low: float, high: float, whole: bool) -> np.ndarray:
        reports = [
            simulate.self_report(state, names, low, high, index, trial, whole=whole, seed=seed)
            for trial, state in enumerate(states)
        ]
        return np.array([[report[name] for name in names] for report in reports])

    labels = np.round(rated(RATINGS, LOW, HIGH, False), 2)
    return states, labels, rated(("familiarity",), 1, 5, True)[:, 0]


def _simulated(
    index: int, states: list[simulate.Affect], seconds: float, dials: dict[str, float]
) -> np.ndarray:
    """Return the signals of a session ``(40, 40, n_times)``: trial as shown, channel, sample."""
    seconds = round(seconds * SFREQ) / SFREQ
    plan = [block for state in states for block in ((None, BASELINE_S), (state, seconds))]
    dials = {"sfreq": SFREQ, **dials}
    eeg, _ = simulate.eeg_subject(index, plan, ch_names=CHANNELS["eeg"], **dials)
    ecg, _ = simulate.ecg_subject(index, plan, **dials)
    rows = np.empty((N_CHANS, len(ecg)))
    rows[ROWS["eeg"]] = eeg
    rng = np.random.default_rng([int(dials["seed"]), index, _ORDER, 1])
    rows[ROWS["peripheral"]] = rng.standard_normal((8, len(ecg)))
    pulse = gaussian_filter1d(np.roll(ecg**2, round(0.25 * SFREQ)), 0.08 * SFREQ)
    rows[32 + CHANNELS["peripheral"].index("Pleth")] = pulse
    return rows.reshape(N_CHANS, N_TRIALS, -1).transpose(1, 0, 2)
