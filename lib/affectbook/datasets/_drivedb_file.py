"""A record of drivedb: a header in text, and samples of 16 bits beside it.

After the WFDB manual (header(5), signal(5)), as far as the publisher's 18 headers go. What a header
declares is held against the size of the signal file before anything of it is read, and no file is
opened but the record's own. `wfdb` gives the same samples, which a test compares.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from affectbook.errors import DataFileError

TITLE = "drivedb"
ECG_GAIN = 1000.0
MOST = 32767
"""Largest sample; -32768 says that a sample is missing."""
# Frames per second, and samples of the ECG in a frame, of a usual record and of others.
FRAMES = (15.5, 32)
OTHER_FRAMES = {
    "drive03": (31.0, 16),
    "drive12": (15.5, 23),
    "drive15": (15.5, 31),
    "drive17a": (15.0, 32),
}
_MOST_TEXT = 2**16  # bytes; a published header has less than 500
_MOST_BYTES = 10**8  # the largest published record has 14 MB
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)
_SIGNED = re.compile(r"-?\d{1,9}", re.ASCII)
_DECIMAL = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
_FORMAT = re.compile(r"16(?:x(\d{1,4}))?", re.ASCII)
_GAIN = re.compile(r"(-?\d{1,9}(?:\.\d{1,9})?)(?:\((-?\d{1,9})\))?(?:/(\S{1,40}))?", re.ASCII)


class Signal(NamedTuple):
    """What a header says about a signal; a physical value is (sample - baseline) / gain."""

    name: str
    file: str
    per_frame: int
    gain: float
    baseline: int
    unit: str
    check_sum: int


class Header(NamedTuple):
    """What a header says; `frame_hz` are frames per second."""

    record: str
    frame_hz: float
    n_frames: int
    signals: tuple[Signal, ...]


def frames_of(record: str) -> tuple[float, int]:
    """Return frames per second of a published record, and samples of the ECG in each."""
    return OTHER_FRAMES.get(record, FRAMES)


def read_ecg(folder: Path, record: str) -> tuple[np.ndarray, float]:
    """Return the ECG ``(n_times,)`` float64 in mV of a record, and its rate in Hz.

    Raises
    ------
    DataFileError
        If header and signal do not agree with each other or with what is published.
    """
    path = Path(folder) / f"{record}.hea"
    try:
        header = _header(path)
        at = _ecg_of(path, header)
        samples = _samples(path, header, at)
    except OSError as error:
        found = f"{type(error).__name__}: {error.strerror or error}"
        raise wrong(path, "the record", found, "two files that can be read") from error
    signal = header.signals[at]
    if missing := int((samples == -MOST - 1).sum()):
        raise wrong(path, "ECG", f"{missing} missing samples", "none")
    total = int(samples.sum(dtype=np.int64))
    if (total - signal.check_sum) % 2**16:
        found, expected = f"{total % 2**16}", f"{signal.check_sum % 2**16}, modulo 65536"
        raise wrong(path.with_suffix(".dat"), "check sum of the ECG", found, expected)
    return samples / signal.gain, header.frame_hz * signal.per_frame


def _header(path: Path) -> Header:
    with path.open("rb") as stream:
        raw = stream.read(_MOST_TEXT + 1)
    if len(raw) > _MOST_TEXT:
        raise wrong(path, "size", f"more than {_MOST_TEXT} bytes", "a header of some lines")
    lines = [line.strip() for line in raw.decode("latin-1").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    words = lines[0].split() if lines else []
    if len(words) < 4:
        expected = "name, number of signals, frames per second and number of frames"
        raise wrong(path, "the first line", repr(" ".join(words))[:120], expected)
    _, n_signals, frame_hz, n_frames = words[:4]
    for field, word, kind in (
        ("number of signals", n_signals, _WHOLE),
        ("frames per second, which give the sampling rate", frame_hz, _DECIMAL),
        ("number of frames", n_frames, _WHOLE),
    ):
        if not kind.fullmatch(word) or not float(word) > 0:
            raise wrong(path, field, word[:80], "a number above 0")
    if int(n_signals) != len(lines) - 1:
        raise wrong(path, "number of signals", n_signals, f"{len(lines) - 1}, one a line below it")
    signals = tuple(_signal(path, line) for line in lines[1:])
    return Header(words[0], float(frame_hz), int(n_frames), signals)


def _signal(path: Path, line: str) -> Signal:
    words = line.split(None, 8)
    if len(words) < 9:
        expected = "file, format, gain, five numbers and a name"
        raise wrong(path, "the line of a signal", repr(line)[:120], expected)
    file, form, gain, *numbers, name = words
    form_told, gain_told = _FORMAT.fullmatch(form), _GAIN.fullmatch(gain)
    if form_told is None:
        raise wrong(path, f"format of {name[:40]}", form[:80], "16, or such as 16x32")
    if gain_told is None:
        raise wrong(path, f"gain of {name[:40]}", gain[:80], "a number")
    if not all(_SIGNED.fullmatch(word) for word in numbers):
        raise wrong(path, f"numbers of {name[:40]}", " ".join(numbers)[:120], "five numbers")
    zero, check_sum = int(numbers[1]), int(numbers[3])
    per_frame = int(form_told[1] or 1)
    if per_frame < 1:
        raise wrong(path, f"samples of {name[:40]} in a frame", "0", "at least 1")
    baseline = zero if gain_told[2] is None else int(gain_told[2])
    unit = gain_told[3] or "mV"  # where a header names no unit
    return Signal(name, file, per_frame, float(gain_told[1]), baseline, unit, check_sum)


def _ecg_of(path: Path, header: Header) -> int:
    """Return the place of the ECG, after holding its line against the published ones."""
    names = [signal.name for signal in header.signals]
    if names.count("ECG") != 1:
        raise wrong(path, "signals", ", ".join(names)[:120], "one ECG")
    ecg, record = header.signals[names.index("ECG")], path.stem
    own = f"{record}.dat"
    if (header.record, ecg.file) != (record, own):
        found = f"{header.record[:80]} with ECG in {ecg.file[:160]}"
        raise wrong(path, "record name", found, f"{record} with ECG in {own}")
    for signal in header.signals:
        if signal.file != own:
            raise wrong(path, f"file of {signal.name[:40]}", signal.file[:160], own)
    if ecg.unit != "mV":
        raise wrong(path, "unit of the ECG", ecg.unit, "mV")
    if (ecg.gain, ecg.baseline) != (ECG_GAIN, 0):
        found, expected = f"{ecg.gain:g}, zero at {ecg.baseline}", f"{ECG_GAIN:g}, zero at 0"
        raise wrong(path, "gain of the ECG", found, f"{expected}, as in each published header")
    frame_hz, per_frame = frames_of(record)
    if header.frame_hz * ecg.per_frame != frame_hz * per_frame:
        found = f"{header.frame_hz:g} x {ecg.per_frame} = {header.frame_hz * ecg.per_frame:g} Hz"
        expected = f"{frame_hz:g} x {per_frame} = {frame_hz * per_frame:g} Hz, as published"
        raise wrong(path, "sampling rate of the ECG", found, expected)
    return names.index("ECG")


def _samples(path: Path, header: Header, at: int) -> np.ndarray:
    """Return the stored samples ``(n_times,)`` int16 of a signal."""
    place = path.with_suffix(".dat")
    width = sum(signal.per_frame for signal in header.signals)
    needed, there = 2 * width * header.n_frames, place.stat().st_size
    if there < needed:
        expected = f"{needed}: {header.n_frames} frames of {width} samples of 2 bytes"
        raise wrong(place, "length", f"{there} bytes", expected)
    if needed > _MOST_BYTES:
        raise wrong(path, "number of frames", f"{needed} bytes", f"at most {_MOST_BYTES}")
    first = sum(signal.per_frame for signal in header.signals[:at])
    stored = np.fromfile(place, "<i2", width * header.n_frames).reshape(header.n_frames, width)
    return stored[:, first : first + header.signals[at].per_frame].ravel()


def wrong(path: Path, field: str, found: str, expected: str) -> DataFileError:
    """Return the error for a record that is not what its header or card says."""
    return DataFileError(
        f"{TITLE}: the record is not what its header or card says",
        file=path,
        field=field,
        found=found,
        expected=expected,
        do="get header and signal file again, or leave the record out with subjects=",
    )
