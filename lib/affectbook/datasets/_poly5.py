"""Read and write TMSi Poly5 files (TMS32, ``.S00``), one channel of a file at a time.

No specification was at hand. The layout is what two published readers agree on: FieldTrip's
``read_tmsi_poly5.m``, after TMSi's ``tms_read.m``, and TMSi's own in Python. All is little-endian:

- a head of 217 bytes (version 2.03) or 218 (2.04: one more byte of text before the version);
- descriptions of 136 bytes, two for each channel: a 32-bit channel counts as two 16-bit signals;
- blocks: 86 bytes of head, then float32 samples, the channels of one instant side by side.

A stored number becomes a physical one by the ADC and unit limits of the channel's description.
"""

from __future__ import annotations

import stat
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from affectbook.errors import DataFileError

VERSIONS = {203: 31, 204: 32}
"""Version number to the bytes of text before it."""
AGAIN = "get the file again from the publisher and compare its size"
_BLOCK_HEAD = 86
_CLOCK = ("<i2", (7,))  # year, month, day, day of week, hour, minute, second
_DESCRIPTION = np.dtype(
    [
        ("name", "u1", (41,)),
        ("reserved", "V4"),
        ("unit", "u1", (11,)),
        ("unit_low", "<f4"),
        ("unit_high", "<f4"),
        ("adc_low", "<f4"),
        ("adc_high", "<f4"),
        ("index", "<i2"),
        ("cache_offset", "<i2"),
        ("reserved_2", "V60"),
    ]
)


def _head(version: int) -> np.dtype:
    """Return the head of a file of this version: 217 or 218 bytes."""
    return np.dtype(
        [
            ("text", "u1", (VERSIONS[version],)),
            ("version", "<i2"),
            ("measurement", "u1", (81,)),
            ("sfreq", "<i2"),
            ("storage_rate", "<i2"),
            ("storage_type", "u1"),
            ("n_signals", "<i2"),
            ("n_times", "<i4"),
            ("reserved", "V4"),
            ("start", *_CLOCK),
            ("n_blocks", "<i4"),
            ("block_times", "<u2"),
            ("block_bytes", "<u2"),
            ("compression", "<i2"),
            ("reserved_2", "V64"),
        ]
    )


def _block(n_times: int, n_chans: int) -> np.dtype:
    return np.dtype(
        [
            ("first", "<i4"),
            ("reserved", "V4"),
            ("clock", *_CLOCK),
            ("reserved_2", "V64"),
            ("samples", "<f4", (n_times, n_chans)),
        ]
    )


class Channel(NamedTuple):
    """What a file says about one channel."""

    name: str
    unit: str
    unit_low: float
    unit_high: float
    adc_low: float
    adc_high: float


class Header(NamedTuple):
    """The head of a file, checked against the size of the file.

    Attributes
    ----------
    version : int
        203 or 204.
    sfreq : float
        In Hz.
    channels : tuple of Channel
    start : datetime.datetime or None
        When the first block was recorded by the recorder's clock; None if it cannot be read.
    n_times : int
        Samples of a channel.
    offset : int
        Byte where the first block begins.
    n_blocks, block_times : int
        Blocks, and samples of a channel in each; the last one may be cut short.
    """

    version: int
    sfreq: float
    channels: tuple[Channel, ...]
    start: datetime | None
    n_times: int
    offset: int
    n_blocks: int
    block_times: int


def read_header(path: Path) -> Header:
    """Return what a file says about itself.

    Raises
    ------
    DataFileError
        If it cannot be read, is of another format, or holds less than it says.
    """
    try:
        told = Path(path).stat()
        if not (stat.S_ISREG(told.st_mode) or stat.S_ISDIR(told.st_mode)):
            raise _wrong(path, "its kind", "a pipe or a device", "a file")
        size = told.st_size
        with Path(path).open("rb") as stream:
            return _parse(path, stream, size)
    except OSError as error:
        found = f"{type(error).__name__}: {str(error)[:160]}"
        raise _wrong(path, "the whole file", found, "a file that can be read") from error


def read_channel(path: Path, index: int, header: Header | None = None) -> np.ndarray:
    """Return one channel in the unit of its description, ``(n_times,)`` float32.

    The file is mapped into memory, so that the other channels take none.

    Parameters
    ----------
    path
        The file.
    index
        Position of the channel, from 0.
    header
        From `read_header`; None reads it.

    Raises
    ------
    DataFileError
        If the file or its description of the channel is damaged, or there is no such channel.
    """
    header = read_header(path) if header is None else header
    if not 0 <= index < len(header.channels):
        found = f"{len(header.channels)} channels"
        raise _wrong(path, "channels", found, f"a channel {index + 1}, counted from 1")
    channel = header.channels[index]
    gain = _gain(path, channel, index)
    signal = _stored(path, header, index)
    with np.errstate(over="ignore", invalid="ignore"):
        signal -= np.float32(channel.adc_low)
        signal *= np.float32(gain)
        signal += np.float32(channel.unit_low)
    bad = len(signal) - int(np.isfinite(signal).sum())
    if bad:
        found = f"{bad} of {len(signal)} samples are not numbers"
        raise _wrong(path, f"channel {index + 1}", found, "finite samples")
    return signal


def _stored(path: Path, header: Header, index: int) -> np.ndarray:
    """Return the stored numbers of a channel, a fresh array ``(n_times,)`` float32."""
    n_chans, per_block = len(header.channels), header.block_times
    block = _block(per_block, n_chans)
    size = Path(path).stat().st_size
    whole = min(header.n_blocks, (size - header.offset) // block.itemsize)
    pieces = []
    if whole:
        mapped = np.memmap(path, block, "r", header.offset, (whole,))
        pieces.append(mapped["samples"][:, :, index].reshape(-1))
    rest = header.n_times - whole * per_block
    if rest > 0:  # the last block, cut short
        at = header.offset + whole * block.itemsize + _BLOCK_HEAD
        tail = np.memmap(path, "<f4", "r", at, (rest, n_chans))
        pieces.append(tail[:, index])
    return np.concatenate(pieces)[: header.n_times].astype(np.float32, copy=False)


def _gain(path: Path, channel: Channel, index: int) -> float:
    """Return physical units per stored unit."""
    limits = channel[2:]
    span = channel.adc_high - channel.adc_low
    gain = (channel.unit_high - channel.unit_low) / span if span > 0 else 0.0
    if not (np.isfinite(limits).all() and np.isfinite(gain) and gain > 0):
        found = "unit {:g} to {:g}, ADC {:g} to {:g}".format(*limits)
        expected = "finite limits, the lower one first"
        raise _wrong(path, f"limits of channel {index + 1}", found, expected)
    return gain


def _parse(path: Path, stream: object, size: int) -> Header:
    raw = stream.read(_head(204).itemsize)
    version = next((v for v, at in VERSIONS.items() if raw[at : at + 2] == _i2(v)), None)
    if version is None or not raw.startswith(b"POLY SAMPLE FILE"):
        expected = "'POLY SAMPLE FILE' and version 203 or 204"
        raise _wrong(path, "its first bytes", repr(raw[:33]), expected)
    if size < _head(version).itemsize:
        raise _wrong(path, "size", f"{size} bytes", f"a head of {_head(version).itemsize}")
    head = np.frombuffer(raw, _head(version), 1)[0]
    n_signals, n_blocks = int(head["n_signals"]), int(head["n_blocks"])
    block_bytes, sfreq = int(head["block_bytes"]), int(head["sfreq"])
    _check_counts(path, n_signals, n_blocks, block_bytes, sfreq, int(head["compression"]))
    n_chans, offset = n_signals // 2, _head(version).itemsize + n_signals * _DESCRIPTION.itemsize
    block_times = block_bytes // (4 * n_chans)
    n_times = _length(path, size - offset, head, block_times, n_chans)
    stream.seek(_head(version).itemsize)
    described = np.frombuffer(stream.read(n_signals * _DESCRIPTION.itemsize), _DESCRIPTION)
    clock = np.frombuffer(stream.read(_BLOCK_HEAD), "<i2", 7, 8)
    channels = tuple(_channel(one) for one in described[::2])
    return Header(
        version, float(sfreq), channels, _when(clock), n_times, offset, n_blocks, block_times
    )


def _check_counts(
    path: Path, n_signals: int, n_blocks: int, block_bytes: int, sfreq: int, compression: int
) -> None:
    if sfreq <= 0:
        raise _wrong(path, "sampling rate", f"{sfreq} Hz", "more than 0")
    if n_signals < 2 or n_signals % 2:
        raise _wrong(path, "signals", str(n_signals), "an even number, two for each channel")
    if n_blocks < 1:
        raise _wrong(path, "blocks", str(n_blocks), "at least 1")
    if block_bytes == 0 or block_bytes % (2 * n_signals):
        expected = f"a multiple of {2 * n_signals}: {n_signals // 2} channels of 4 bytes"
        raise _wrong(path, "bytes of a block", str(block_bytes), expected)
    if compression:
        raise _wrong(path, "compression", str(compression), "0: samples that are not compressed")


def _length(path: Path, there: int, head: np.void, block_times: int, n_chans: int) -> int:
    """Return the samples of a channel, after checking that the file holds them.

    Parameters
    ----------
    path, head
        The file and its head.
    there
        Bytes from the first block to the end of the file.
    block_times, n_chans
        Shape of a block.
    """
    n_blocks, said = int(head["n_blocks"]), int(head["n_times"])
    before = (n_blocks - 1) * block_times
    in_last = said - before if before < said <= before + block_times else block_times
    full = n_blocks * (_BLOCK_HEAD + 4 * n_chans * block_times)
    least = full - 4 * n_chans * (block_times - in_last)
    if said < 0:
        raise _wrong(path, "samples of a channel", str(said), "more than 0")
    if there < least:
        expected = f"{least} of them for {n_blocks} blocks"
        raise _wrong(path, "size", f"{max(there, 0)} bytes of samples", expected)
    return before + in_last


def _i2(value: int) -> bytes:
    return value.to_bytes(2, "little")


def _channel(described: np.void) -> Channel:
    numbers = (described[key] for key in ("unit_low", "unit_high", "adc_low", "adc_high"))
    name = _text(described["name"]).strip().removeprefix("(Lo)").strip()
    return Channel(name, _text(described["unit"]).strip(), *map(float, numbers))


def _text(field: np.ndarray) -> str:
    """Return a text that stands behind its own length."""
    return bytes(field[1 : 1 + int(field[0])]).decode("latin-1").rstrip("\0")


def _when(clock: np.ndarray) -> datetime | None:
    year, month, day, _, hour, minute, second = clock.tolist()
    try:
        return datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None


def _wrong(path: Path, field: str, found: str, expected: str) -> DataFileError:
    return DataFileError(
        "the file is not a whole Poly5 file",
        file=path,
        field=field,
        found=found,
        expected=expected,
        do=AGAIN,
    )


def write(
    path: Path,
    signal: np.ndarray,
    *,
    sfreq: int,
    names: tuple[str, ...],
    units: tuple[str, ...],
    start: datetime,
    version: int = 203,
    block_times: int = 256,
) -> None:
    """Write channels as a Poly5 file; the last block is filled up with zeros.

    Parameters
    ----------
    path
        Where to.
    signal
        ``(n_chans, n_times)``, each channel in its own unit.
    sfreq
        In Hz.
    names, units
        One for each channel; latin-1, up to 34 and 10 characters.
    start
        When the first sample was taken.
    version
        203 or 204.
    block_times
        Samples of a channel in a block.
    """
    n_chans, n_times = signal.shape
    n_blocks = -(-n_times // block_times)
    head = np.zeros(1, _head(version))
    text = f"POLY SAMPLE FILEversion {version / 100:.2f}\r\n\x1a".encode()
    head["text"][0, : len(text)] = np.frombuffer(text, np.uint8)
    values = {"version": version, "sfreq": sfreq, "storage_rate": sfreq, "n_signals": 2 * n_chans}
    values |= {"n_times": n_times, "n_blocks": n_blocks, "block_times": block_times}
    values |= {"block_bytes": 4 * n_chans * block_times, "start": _clock(start)}
    for key, value in values.items():
        head[key] = value
    blocks = np.zeros(n_blocks, _block(block_times, n_chans))
    blocks["first"] = block_times * np.arange(n_blocks)
    blocks["clock"] = _clock(start)
    padded = np.zeros((n_blocks * block_times, n_chans), "<f4")
    padded[:n_times] = signal.T
    blocks["samples"] = padded.reshape(n_blocks, block_times, n_chans)
    with Path(path).open("wb") as stream:
        for part in (head, _described(names, units), blocks):
            stream.write(part.tobytes())


def _clock(when: datetime) -> list[int]:
    date = [when.year, when.month, when.day, when.isoweekday() % 7]
    return [*date, when.hour, when.minute, when.second]


def _described(names: tuple[str, ...], units: tuple[str, ...]) -> np.ndarray:
    """Return two descriptions for each channel; what is stored is what is meant."""
    described = np.zeros(2 * len(names), _DESCRIPTION)
    described["unit_high"] = described["adc_high"] = 1000.0
    described["index"] = np.arange(len(described))
    for position, (name, unit) in enumerate(zip(names, units, strict=True)):
        for half, row in enumerate(described[2 * position : 2 * position + 2]):
            for field, text in (("name", f"({'LH'[half]}{'oi'[half]}) {name}"), ("unit", unit)):
                raw = text.encode("latin-1")
                row[field][0] = len(raw)
                row[field][1 : 1 + len(raw)] = np.frombuffer(raw, np.uint8)
    return described
