"""SWELL-KW: office work of 25 people, neutral, under time pressure and with interruptions.

Koldijk et al. 2014, "The SWELL Knowledge Work Dataset for Stress and User Modeling Research". A
block of a session is one Poly5 recording of a Mobi (``pp1_18-9-2012_c1.S00``). Its name says which
block it is, not which condition; that is in the table of physiological features, minute by minute.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import butter, sosfiltfilt

from affectbook import files, simulate
from affectbook.datasets import _poly5
from affectbook.datasets._folders import mark_twin
from affectbook.datasets._swell_minutes import (
    BLOCKS,
    CONDITIONS,
    EXCLUDED,
    lacking,
    read_minutes,
    stretches_of,
    write_minutes,
    wrong,
)
from affectbook.datasets.card import Card, LabelRule
from affectbook.datasets.recording import Recording
from affectbook.errors import DataNotFoundError, ParameterError

SFREQ = 2048.0
CHANNELS = {"ecg": ("ECG",)}
ALSO = (
    "0 - Raw data/[!D]*/**", "0 - Raw data/D - Physiology - raw data/[!M]*/**",
    "0 - Raw data/D - Physiology - raw data/Mobi signals*/*.S00", "[12] - */**",
    "3 - Feature dataset/*.*", "3 - Feature dataset/per sensor/*.*",
)  # fmt: skip
HEART = {"raw": 5, "filtered": 7}
"""Positions of the heart in a file, from 0."""
TRIM_S = 60.0
MOBI = "0 - Raw data/D - Physiology - raw data/Mobi signals (raw and filtered)"
TABLE = "3 - Feature dataset/per sensor/D - Physiology features (HR_HRV_SCL - final).csv"
_LONGEST_S = 4 * 3600.0  # a block has about 45 minutes
_STRESS = {"neutral": "no stress", "time pressure": "stress", "interruptions": "stress"}
_NAME = re.compile(r"pp(\d{1,2})[_-](?:.*[_-])?c([1-3])(_cont)?\.s00", re.IGNORECASE)
# The states of a twin, and how its files look; dates of the published list of files, others
# made up: day and month of 2012.
STATES = {
    "N": simulate.Affect(0.2, -0.2),
    "T": simulate.Affect(0.1, 0.9),
    "I": simulate.Affect(-0.8, 0.7),
}
NAMES = ("a", "b", "c", "d", "e", "heart raw", "skin raw", "heart filtered")
UNITS = ("mVolt",) * 2 + ("",) * 3 + ("\xb5Volt", "mVolt", "\xb5Volt")
DATES = (
    (18, 9), (20, 9), (24, 9), (25, 9), (26, 9), (27, 9), (2, 10), (4, 10), (4, 10), (8, 10),
    (9, 10), (10, 10), (11, 10), (11, 10), (15, 10), (15, 10), (22, 10), (23, 10), (25, 10),
    (29, 10), (30, 10), (1, 11), (1, 11), (5, 11), (7, 11),
)  # fmt: skip
_ORDER = 9101
log = logging.getLogger(__name__)

CARD = Card(
    name="swell",
    title="SWELL-KW",
    tier="licensed",
    subjects=tuple(f"pp{number}" for number in range(1, 26)),
    trials_per_subject=(
        "up to 3: a block each, and its minutes of relaxation; 20 files are left out by default"
    ),
    channels=("ECG",),
    sfreq="2048 Hz",
    unit="mV",
    label_rules=(
        LabelRule(
            "neutral_time_pressure_interruptions",
            tuple(_STRESS),
            {name: name for name in _STRESS},
            "the three working conditions; relaxation is left out",
        ),
        LabelRule(
            "stress_binary",
            ("no stress", "stress"),
            _STRESS,
            "time pressure and interruptions against neutral; relaxation is left out",
        ),
    ),
    licence="CC BY-NC-SA 4.0, as others quote the publisher: non-commercial, share alike",
    size="not found; 45 minutes in 8 channels are about 180 MB",
    obtain=(
        "log in at https://doi.org/10.17026/dans-x55-69zp (DANS) and put the folders "
        f"'{MOBI}' and '{TABLE}' into $AFFECTBOOK_DATA/swell"
    ),
    citation="koldijk2014swell",
    pitfalls=(
        "c1 to c3 is the order of the blocks, not the condition: that is in the table of features.",
        "The authors tell of three times six minutes of relaxation for each subject. They lie "
        "inside the blocks, and are cut out by the table's minutes.",
        "The table's first minute is taken for the first of the recording, as published readers "
        "do. Nobody has shown that it is, so a minute is cut off on both sides of each border.",
        "Others report that time pressure was set from the time the neutral block took: if so, "
        "order and condition are confounded.",
        "Which channel is the ECG is not documented. Channel 6 is read, as one published pipeline "
        "does, which also says which files to leave out; the authors' own script reads channel 8, "
        "which it calls preprocessed (heart='filtered'). Not verified on the files.",
        "pp8 is left out altogether; with exclude=False all files are read.",
        "HRV tables on the web hold overlapping windows: random splits of them leak.",
    ),
)


def _mobi(folder: Path) -> Path:
    """Return the folder of the recordings; copies differ in brackets and capitals."""
    found = sorted(folder.glob("0 - Raw [dD]ata/D - Physiology - raw data/Mobi signals?*raw*"))
    return found[0] if found else folder


def _recordings_of(folder: Path, subject: str) -> dict[str, Path]:
    """Return the recordings of a subject by block: ``c1``, ``c2``, also ``c2-cont``.

    Raises
    ------
    DataFileError
        If two files are the same block.
    """
    place, found = _mobi(folder), {}
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match is None or f"pp{int(match[1])}" != subject:
            continue
        block = f"c{match[2]}" + ("-cont" if match[3] else "")
        if block in found:
            expected = f"one file; {found[block].name} is the same block"
            raise wrong(path, "name", path.name, expected, "two files are one block")
        found[block] = path
    return dict(sorted(found.items()))


def _table_path(folder: Path) -> Path:
    """Return the table of features, comma- or tab-separated.

    Raises
    ------
    DataNotFoundError
        If it is not there.
    """
    name = Path(TABLE).stem
    places = [*sorted(folder.glob("3 - Feature [dD]ataset/per sensor")), folder]
    for path in (place / f"{name}{end}" for place in places for end in (".csv", ".tab")):
        if path.is_file():
            return path
    raise DataNotFoundError(
        f"{CARD.title}: the conditions of the blocks are not there",
        file=folder / TABLE,
        field="the table of minutes",
        found="no such file",
        expected="a table with the columns PP, C (the block), Condition and timestamp",
        do=f"download '{TABLE}' of the data set into {folder}",
    )


def subjects_in(folder: Path) -> tuple[str, ...]:
    """Return the subjects with a recording in the folder."""
    return tuple(subject for subject in CARD.subjects if _recordings_of(folder, subject))


def expected_in(folder: Path) -> tuple[str, ...]:
    """Return all 25: a copy that lacks one is an error unless the subjects are named."""
    return CARD.subjects


def files_of(folder: Path, subject: str) -> tuple[Path, ...]:
    """Return the recordings of a subject and the table of conditions."""
    return (*_recordings_of(folder, subject).values(), _table_path(folder))


def read(
    folder: Path,
    subjects: Iterable[str],
    *,
    exclude: bool = True,
    heart: str = "raw",
    trim_s: float = TRIM_S,
) -> Iterator[Recording]:
    """Return one recording per block, and one per relaxation in it: ECG, 2048 Hz, mV.

    Trials are the blocks, ``c1`` to ``c3``; their relaxations are ``c1-relax`` and so on. A
    channel whose unit the file does not give is taken for uV, as the authors' script takes all,
    with a warning. One more warning names subjects with fewer than three blocks or conditions.

    Parameters
    ----------
    folder, subjects
        Where, and who.
    exclude
        Leave out the files in `EXCLUDED`.
    heart
        ``"raw"``: channel 6; ``"filtered"``: channel 8. See the pitfalls of the card.
    trim_s
        Seconds taken off both sides of a border between relaxation and work.

    Raises
    ------
    ParameterError
        If `heart` is unknown or `trim_s` negative.
    DataFileError, DataNotFoundError
        While reading, if a file is not what the card says, or the table of conditions is missing.
    """
    if heart not in HEART:
        raise ParameterError(f"heart = {heart!r}; known: {', '.join(HEART)}")
    if not 0 <= trim_s < np.inf:
        raise ParameterError(f"trim_s = {trim_s}; it must be 0 or more")
    return _read(folder, tuple(subjects), exclude, HEART[heart], trim_s)


def _read(
    folder: Path, subjects: tuple[str, ...], exclude: bool, channel: int, trim_s: float
) -> Iterator[Recording]:
    table, left_out, fewer = read_minutes(_table_path(folder)), 0, []
    for subject in subjects:
        recordings = _recordings_of(folder, subject)
        fewer.append(lacking(table, subject, recordings))
        for block, path in recordings.items():
            if exclude and block in EXCLUDED.get(subject, ()):
                left_out += 1
                continue
            yield from _block(folder, table, path, (subject, block), channel, trim_s)
    if any(fewer):
        told = "; ".join(filter(None, fewer))
        log.warning("SWELL-KW: fewer than 3 blocks or conditions: %s", told)
    if left_out:
        log.info("SWELL-KW: %d files on the published list were left out (exclude=True)", left_out)


def _block(
    folder: Path,
    table: pd.DataFrame,
    path: Path,
    which: tuple[str, str],
    channel: int,
    trim_s: float,
) -> Iterator[Recording]:
    """Yield the stretches of one file."""
    subject, block = which
    header = _checked_header(path)
    length_s, where = header.n_times / SFREQ, _table_path(folder)
    stretches = stretches_of(where, table, which, header.start, length_s, trim_s)
    ecg = _poly5.read_channel(path, channel, header)
    ecg *= np.float32(_millivolt(path, header.channels[channel]))
    seen: dict[str, int] = {}
    for condition, start_s, stop_s in stretches:
        name = block if condition != CONDITIONS["R"] else f"{block}-relax"
        seen[name] = seen.get(name, 0) + 1
        start, stop = round(start_s * SFREQ), round(min(stop_s * SFREQ, header.n_times))
        if stop - start < SFREQ:
            log.warning(
                "SWELL-KW: %s holds less than 1 s of %s; it is left out", path.name, condition
            )
            continue
        yield Recording(
            signal=ecg[None, start:stop],
            sfreq=SFREQ,
            ch_names=CHANNELS["ecg"],
            unit="mV",
            subject=subject,
            session="1",
            trial=name if seen[name] == 1 else f"{name}-{seen[name]}",
            condition=condition,
            start_s=start / SFREQ,
        )


def _millivolt(path: Path, channel: _poly5.Channel) -> float:
    """Return mV per unit of a channel.

    Raises
    ------
    DataFileError
        If the file names a unit, but none of voltage.
    """
    # Code pages differ in where the letter mu is.
    unit = re.sub("^[^ -~]", "u", channel.unit.lower().replace("olt", "").strip())
    known = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "nv": 1e-6, "": 1e-3}
    if unit not in known:
        found = f"{channel.unit!r} in channel {channel.name!r}"
        raise wrong(path, "unit of the ECG", found, "V, mV, uV or nV", "a wrong unit")
    if not unit:
        log.warning("SWELL-KW: %s: the ECG has no unit and is taken for uV", path.name)
    return known[unit]


def _checked_header(path: Path) -> _poly5.Header:
    header = _poly5.read_header(path)
    if header.sfreq != SFREQ:
        raise wrong(path, "sampling rate", f"{header.sfreq:g} Hz", f"{SFREQ:g} Hz", "wrong rate")
    if header.n_times > _LONGEST_S * SFREQ:
        found, expected = f"{header.n_times / SFREQ:.0f} s", f"at most {_LONGEST_S:.0f} s"
        raise wrong(path, "length", found, expected, "a recording without end")
    return header


def write_block(
    folder: Path,
    subject: str,
    block: str,
    signal: np.ndarray,
    *,
    start: datetime,
    names: tuple[str, ...] = NAMES,
    units: tuple[str, ...] = UNITS,
) -> Path:
    """Write the recording of one block.

    Parameters
    ----------
    folder
        The folder of the set; the file is in its folder of Mobi signals, under the irregular name
        that pp10 has there, where it is that of pp10.
    subject, block
        Such as ``"pp1"`` and ``"c1"``.
    signal
        ``(n_chans, n_times)`` at 2048 Hz, each channel in its own unit.
    start
        When it began; the date is in the file's name.
    names, units
        One for each channel.
    """
    dash = "-" if subject == "pp10" else "_"
    name = f"{subject}_{start.day}-{start.month}-{start.year}{dash}{block}.S00"
    options = {"sfreq": round(SFREQ), "names": names, "units": units, "start": start}
    return files.write_atomic(
        Path(folder) / MOBI / name, lambda path: _poly5.write(path, signal, **options)
    )


def make_twin(
    folder: Path,
    *,
    subjects: int = 25,
    effect: float = 1.0,
    fingerprint: float = 1.0,
    seed: int = 0,
    seconds: float = 20.0,
) -> Path:
    """Write a simulated twin: the first `subjects` of the set, in its official layout.

    Its blocks hold work only, without relaxation, and their order is drawn anew for each subject.
    Dates that the published list of files does not tell are made up, as are names of channels;
    all but the two channels of the heart are zero.

    Parameters
    ----------
    folder
        Where to; a file there says that the data are simulated, and with which dials.
    subjects
        1 to 25. A subject does not depend on how many there are.
    effect, fingerprint, seed
        See `affectbook.simulate`.
    seconds
        Length of a block.

    Raises
    ------
    ParameterError
        If a dial is out of range.
    """
    chosen = CARD.first(subjects)
    minutes = []
    lowpass = butter(2, 40.0, fs=SFREQ, output="sos")
    for index, subject in enumerate(chosen):
        order = np.random.default_rng([seed, index, _ORDER]).permutation(list(STATES)).tolist()
        plan = [(STATES[code], seconds) for code in order]
        ecg, blocks = simulate.ecg_subject(
            index, plan, sfreq=SFREQ, effect=effect, fingerprint=fingerprint, seed=seed
        )
        day, month = DATES[index]
        for number, (code, (_, start_s, stop_s)) in enumerate(zip(order, blocks, strict=True)):
            start = datetime(2012, month, day, 10 + number)
            piece = 1000 * ecg[round(start_s * SFREQ) : round(stop_s * SFREQ)]
            signal = np.zeros((len(NAMES), len(piece)), np.float32)
            signal[HEART["raw"]] = piece
            signal[HEART["filtered"]] = sosfiltfilt(lowpass, piece)
            write_block(folder, subject, BLOCKS[number], signal, start=start)
            stamps = (start + timedelta(minutes=m) for m in range(math.ceil(seconds / 60)))
            minutes += [(subject, BLOCKS[number], code, stamp) for stamp in stamps]
    write_minutes(Path(folder) / TABLE, minutes)
    mark_twin(folder, chosen, effect=effect, fingerprint=fingerprint, seed=seed)
    return Path(folder)
