"""The files of eegmat, EDF and compact: what they declare is checked before any of it is read."""

from __future__ import annotations

import logging
import math
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from affectbook.errors import DataFileError

TITLE = "eegmat"
EDF_SFREQ = 500.0
MOST_EDF = 100 * 10**6
"""Bytes of an EDF file; those of the publisher have up to 4 MB."""
MOST_ARRAY = 100 * 10**6
"""Bytes of an array of the compact file; the EEG of 36 people has 22 MB."""
_MOST_ARRAYS = 100
log = logging.getLogger(__name__)


def array_of(path: Path, name: str, instead: np.ndarray | None = None) -> np.ndarray:
    """Return one array of the compact file, or `instead` where it may be missing.

    Raises
    ------
    DataFileError
        If it is missing, damaged, too large, or not of the size that the file says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            there = {info.filename: info for info in archive.infolist()[:_MOST_ARRAYS]}
            if instead is not None and f"{name}.npy" not in there:
                return instead
            _check_member(path, name, archive, there[f"{name}.npy"])
        with np.load(path, allow_pickle=False) as content:
            return content[name]
    except DataFileError:
        raise
    except Exception as error:  # a damaged zip raises what zipfile, zlib or NumPy please
        raise wrong(path, name, _said(error), "an array of the compact file") from error


def _check_member(path: Path, name: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Refuse an array that would take more memory than it has bytes, or than any of the set."""
    if info.file_size > MOST_ARRAY:
        raise wrong(path, name, f"{info.file_size} bytes", f"at most {MOST_ARRAY} bytes")
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0}  # fmt: skip
        shape, _, dtype = read[version](stream)
        if dtype.kind not in "biufU":
            raise wrong(path, name, f"an array of {dtype}"[:80], "an array of numbers or names")
        declared = stream.tell() + math.prod(shape) * dtype.itemsize
    if declared != info.file_size or min(shape, default=0) < 0:
        found = f"{shape} {dtype}, so {declared} bytes"
        raise wrong(path, name, found, f"{info.file_size} bytes, which it has")


def check_edf(paths: tuple[Path, Path], subject: str, ch_names: Sequence[str]) -> None:
    """Refuse files whose header is wrong, that are cut short or swapped.

    One line of log tells of a file that names somebody else.

    Parameters
    ----------
    paths
        Of rest and of arithmetic.
    subject
        Such as ``"07"``.
    ch_names
        Channels that will be read, as the header has them.

    Raises
    ------
    DataFileError
        If a file is not what the card says.
    """
    sizes = [_checked_size(path, subject, ch_names) for path in paths]
    if sizes[0] < sizes[1]:  # rest lasts 80 s or more, arithmetic 62 s
        found = f"{sizes[0]} bytes of rest, {sizes[1]} of arithmetic"
        raise wrong(paths[0], "size", found, "rest that is not shorter: are the files swapped?")


def _checked_size(path: Path, subject: str, ch_names: Sequence[str]) -> int:
    """Return the size of an EDF file, which must be that of the records that its header counts.

    MNE would reserve what a header says, and would read what is there of a file that was cut
    short and take its end for that of rest.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(256)
            n_signals = _count(path, "number of signals", head[252:256])
            if len(head) + 256 * n_signals > size:
                expected = f"{256 * (n_signals + 1)} bytes or more, by the signals that it counts"
                raise wrong(path, "size", f"{size} bytes", expected)
            labels, per_record = _signals(path, stream, n_signals)
            _check_limits(path, stream, labels, ch_names)
    except OSError as error:
        raise wrong(path, "the whole file", _said(error), "a file that may be read") from error
    _check_rates(path, head, dict(zip(labels, per_record, strict=True)), ch_names)
    begin = _count(path, "length of the header", head[184:192])
    n_records = _count(path, "number of records", head[236:244])
    expected = begin + n_records * 2 * sum(per_record)
    if size != expected or size > MOST_EDF:
        told = f"{expected} bytes, by the records that it counts, and at most {MOST_EDF}"
        raise wrong(path, "size", f"{size} bytes", told)
    named = re.search(rb"Subject(\d+)", head[8:88])
    if named and int(named[1]) != int(subject):
        log.warning("eegmat: %s says that it is of subject %02d", path.name, int(named[1]))
    return size


def _signals(path: Path, stream: BinaryIO, n_signals: int) -> tuple[list[str], list[int]]:
    """Return label and samples per record of each signal."""
    labels = [stream.read(16).decode("latin1").strip() for _ in range(n_signals)]
    stream.seek(256 + 216 * n_signals)  # behind the other descriptions of the signals
    return labels, [_count(path, "samples per record", stream.read(8)) for _ in range(n_signals)]


def _check_limits(
    path: Path, stream: BinaryIO, labels: Sequence[str], ch_names: Sequence[str]
) -> None:
    """Refuse a channel whose physical limits are not two numbers: MNE would read another scale."""
    stream.seek(256 + 104 * len(labels))  # behind labels, transducers and units
    low, high = ([stream.read(8).decode("latin1").strip() for _ in labels] for _ in range(2))
    for label, least, most in zip(labels, low, high, strict=True):
        try:
            apart = float(least) != float(most) and math.isfinite(float(least) - float(most))
        except ValueError:
            apart = False
        if label in ch_names and not apart:
            found = f"{least!r} and {most!r} in {label}"
            raise wrong(path, "physical limits", found, "two different numbers")


def _check_rates(
    path: Path, head: bytes, per_record: dict[str, int], ch_names: Sequence[str]
) -> None:
    """Refuse another sampling rate than that of the set, and a file without the channels."""
    missing = [name for name in ch_names if name not in per_record]
    if missing:
        found = ", ".join(per_record)[:200] or "none"
        raise wrong(path, "channels", found, ", ".join(missing))
    told = head[244:252].decode("latin1").strip()
    try:
        seconds = float(told) if re.fullmatch(r"[0-9.+eE-]+", told) else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise wrong(path, "length of a record", repr(told), "a number of seconds above 0")
    for name in ch_names:
        sfreq = per_record[name] / seconds
        if sfreq != EDF_SFREQ:
            found = f"{sfreq:g} Hz in {name}"
            raise wrong(path, "sampling rate", found, f"{EDF_SFREQ:g} Hz")


def _count(path: Path, field: str, raw: bytes) -> int:
    """Return a field of the header that is a whole number without a sign."""
    text = raw.decode("latin1").strip()
    if not (text.isascii() and text.isdigit()):
        raise wrong(path, f"the header: {field}", repr(text), "a whole number, 0 or more")
    return int(text)


def read_edf(path: Path, ch_names: Sequence[str]) -> np.ndarray:
    """Return ``(n_chans, n_times)`` in volt at 500 Hz, of a file that `check_edf` let pass."""
    import mne

    try:
        raw = mne.io.read_raw_edf(path, preload=False, verbose="ERROR")
        missing = [name for name in ch_names if name not in raw.ch_names]
        sfreq = float(raw.info["sfreq"])
        volts = None if missing or sfreq != EDF_SFREQ else raw.get_data(picks=list(ch_names))
    except Exception as error:  # mne raises many types on a damaged header
        expected = "an EDF file that mne can read"
        raise wrong(path, "the whole file", _said(error), expected) from error
    if missing:
        raise wrong(path, "channels", ", ".join(raw.ch_names)[:200], ", ".join(missing))
    if volts is None:
        raise wrong(path, "sampling rate", f"{sfreq:g} Hz", f"{EDF_SFREQ:g} Hz")
    if not np.isfinite(volts).all():
        raise wrong(path, "signal", "samples that are not numbers", "finite samples")
    return volts


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}"[:160].split())


def wrong(path: Path, field: str, found: str, expected: str) -> DataFileError:
    """Return the error for a file that is not what the card says."""
    return DataFileError(
        f"{TITLE}: the file is not what its card says",
        file=path,
        field=field,
        found=found,
        expected=expected,
        do="get the file again, or leave the subject out with subjects=",
    )
