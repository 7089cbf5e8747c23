"""Read MATLAB files of version 5 to 7, whatever is wrong with them, in one message; write them."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import scipy.io

from affectbook import files
from affectbook.datasets import _memory, _sandbox
from affectbook.errors import DataError, DataFileError

AGAIN = "get the file again from the publisher and compare its size"

PEAK = 1.15
"""Memory that `load` takes at its peak, per byte that `declared_bytes` counts.

Measured with a compressed file in the structure of DREAMER: 6 subjects, 18 stimuli of 65 to 393 s
each, float64. It declares 577 MB. Loading it raised the largest resident memory of a process by
1.01 times as much; with one subject at a time made float32 and freed, it was 1.10 times. The rest
is a margin.
"""

BASE = 2**27
"""Memory that reading the smallest file may take."""
_SLOWEST = 4e6  # bytes a second
_BASE_S = 30.0
_MOST_VARIABLES = 10_000
_HEADER, _TAG = 128, 8
_MATRIX, _COMPRESSED = 14, 15


def apart(function: Callable, path: Path, *args: object, most: int, why: str) -> Any:
    """Return ``function(path, *args)``, which uses `load`, called in another process.

    Parameters
    ----------
    function
        As `_sandbox.call` takes it.
    path
        The file; only its headers are read here.
    args
        What else the function takes.
    most
        Bytes that the variables of such a file may hold (`declared_bytes`).
    why
        Where that number is from, for the message.

    Raises
    ------
    DataError
        If too little memory is free.
    DataFileError
        If the variables hold more, or what `declared_bytes`, `function` and `_sandbox.call` raise.
    """
    declared = declared_bytes(path)
    if declared > most:
        raise DataFileError(
            "the file is too large to be one of this set; it was not loaded",
            file=path,
            field="the sizes of its variables",
            found=f"{declared} bytes",
            expected=f"at most {most} bytes: {why}",
            do=AGAIN,
        )
    check_memory(path)
    memory, seconds = 2 * declared + BASE, _BASE_S + declared / _SLOWEST
    return _sandbox.call(function, path, *args, memory=memory, seconds=seconds, file=path)


def load(path: Path, variables: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Return variables of a file as `scipy.io.loadmat` gives them, structs as records.

    Damage to a compressed variable shows in its check sum. One that is not compressed has none:
    numbers may be wrong, and a wrong byte in the structure of nested variables can crash SciPy or
    keep it busy for ever. So this is for functions that `apart` calls.

    Parameters
    ----------
    path
        The file.
    variables
        Which ones; None: all. One that is not there is missing from the answer.

    Raises
    ------
    DataFileError
        If the file cannot be read.
    """
    try:
        with warnings.catch_warnings():
            # A variable that SciPy cannot read it warns of, and gives as a text that says why.
            warnings.simplefilter("ignore")
            content = scipy.io.loadmat(path, variable_names=variables)
    except MemoryError:
        raise
    except NotImplementedError as error:
        raise _too_new(path) from error
    except Exception as error:  # a damaged file may raise anything
        raise _unreadable(path, _said(error)) from error
    for name, value in content.items():
        if isinstance(value, str) and not name.startswith("__"):
            raise _unreadable(path, " ".join(f"{name}: {value}"[:160].split()))
    return content


def _too_new(path: Path) -> DataFileError:
    return DataFileError(
        "a MATLAB file of version 7.3, which is another format (HDF5)",
        file=path,
        field="the header",
        found="version 7.3",
        expected="version 5 to 7, as the publisher's files are",
        do="get the file again from the publisher, or save it in MATLAB with -v7",
    )


def _unreadable(path: Path, found: str) -> DataFileError:
    return DataFileError(
        "the file is not a MATLAB file that can be read",
        file=path,
        field="the whole file",
        found=found,
        expected="a whole MATLAB file of version 5 to 7",
        do=AGAIN,
    )


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}"[:160].split())


def declared_bytes(path: Path) -> int:
    """Return how many bytes the variables of a file hold once unpacked, by their headers.

    Only the headers are read: of a compressed variable a few bytes are unpacked, for they give
    its size.

    Raises
    ------
    DataFileError
        If the file is not of version 5 to 7, or ends before a variable does.
    """
    try:
        with Path(path).open("rb") as stream:
            return _declared(stream, Path(path))
    except (OSError, struct.error, zlib.error) as error:
        raise _unreadable(path, _said(error)) from error


def _declared(stream: BinaryIO, path: Path) -> int:
    """Return the sum over the variables of an open file."""
    header = stream.read(_HEADER)
    order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
    if order is None:
        raise _unreadable(path, f"a file of {path.stat().st_size} bytes that begins otherwise")
    if struct.unpack(f"{order}H", header[124:126])[0] == 0x0200:
        raise _too_new(path)
    size, total, count = path.stat().st_size, 0, 0
    while stream.tell() < size:
        count += 1
        if count > _MOST_VARIABLES:
            raise _unreadable(path, f"more than {_MOST_VARIABLES} variables")
        kind, n_bytes = struct.unpack(f"{order}II", stream.read(_TAG))
        after = stream.tell() + n_bytes
        if after > size:
            raise _unreadable(path, f"{after - size} bytes are missing at its end")
        if kind == _COMPRESSED:
            inner = zlib.decompressobj().decompress(stream.read(min(n_bytes, 256)), _TAG)
            kind, n_bytes = struct.unpack(f"{order}II", inner)
        if kind != _MATRIX:
            raise _unreadable(path, f"an element of type {kind} where a variable should begin")
        total += n_bytes
        stream.seek(after)
    return total


def needed_bytes(path: Path) -> int:
    """Return the memory that `load` takes at its peak, about.

    Raises
    ------
    DataFileError
        As `declared_bytes`.
    """
    return round(PEAK * declared_bytes(path))


def check_memory(path: Path) -> int:
    """Return `needed_bytes` of a file, after checking that as much is free.

    Raises
    ------
    DataError
        If it is not: before anything is read.
    DataFileError
        As `declared_bytes`.
    """
    needed, free = needed_bytes(path), _memory.free()
    if needed > free:
        raise DataError(
            "too little memory is free to load the file",
            file=path,
            field="memory",
            found=f"{free / 1e9:.2f} GB free",
            expected=f"{needed / 1e9:.2f} GB, for as long as the file is loaded",
            do="close other programs and run again, or do it once on a larger machine",
        )
    return needed


def value_at(content: Any, path: Path, *names: str) -> Any:
    """Return an entry of nested 1 x 1 structs, the outermost being what `load` returned.

    Raises
    ------
    DataFileError
        If a level is not a struct or lacks the name.
    """
    for depth, name in enumerate(names):
        if isinstance(content, Mapping):
            there = [key for key in content if not key.startswith("__")]
        else:
            one = isinstance(content, np.ndarray) and content.size == 1
            content = content.flat[0] if one else content
            there = list(getattr(getattr(content, "dtype", None), "names", None) or ())
        if name not in there:
            raise DataFileError(
                "an entry is missing",
                file=path,
                field=" / ".join(names[: depth + 1]),
                found=", ".join(there[:12])[:160] or type(content).__name__,
                expected=name,
                do=AGAIN,
            )
        content = content[name]
    return content


def save(path: Path, variables: Mapping[str, object], *, compress: bool = True) -> Path:
    """Write a file of version 5, whole or not at all; the same variables give the same bytes.

    Parameters
    ----------
    path
        The file; its folder is made if it is missing.
    variables
        As `scipy.io.savemat` takes them: a dict is a struct, an array of objects a cell.
    compress
        As MATLAB does from version 7 on.
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            scipy.io.savemat(stream, dict(variables), do_compression=compress)
            # SciPy writes the time of day here.
            stream.seek(0)
            stream.write(b"MATLAB 5.0 MAT-file".ljust(116))

    return files.write_atomic(Path(path), write)
