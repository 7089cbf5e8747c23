"""Read a pickle of NumPy arrays without running anything that it says; write one of Python 2.

A pickle is a program. Here the few names that NumPy's own pickles call are answered by objects
of this module, which only note down bytes, shape and type; every other name is refused, and so
are the instructions that such files never need. An array is built from its note, after checking
it, when `array_at` asks for it. Files of Python 2 and of all protocols of Python 3, 0 to 5, are
read. What they can still ask for is memory and time: `apart` sets bounds to both.
"""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import struct
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from affectbook.datasets import _memory, _sandbox
from affectbook.errors import DataError, DataFileError

AGAIN = "get the file again from the publisher and compare its size"

# The pure-Python unpickler is a choice: its memo is a dict, while the compiled one reserves
# memory for whatever index a file names.
_BANNED = {"PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX",
           "NEXT_BUFFER", "READONLY_BUFFER"}  # fmt: skip
_LONG = 2**16  # no name is as long
_OPCODES = {ord(op.code) for op in pickletools.opcodes if op.proto <= 5 and op.name not in _BANNED}

PEAK = 4.0
"""Memory that reading may take, per byte of the file.

Measured in the layouts of WESAD and DEAP, signals of one kind returned as float32: 1.1 and 1.4 of
a file of Python 2 or of protocols 3 to 5, up to 2.1 and 3.0 of protocols 0 to 2. The rest is a
margin.
"""
BASE = 2**27
"""Memory that reading the smallest file may take."""
_SLOWEST = 4e6  # bytes a second
_BASE_S = 30.0


class _Dtype:
    """The note of a dtype: a plain number type and its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        order, *structure = state[1:5]
        if order not in ("<", ">", "|", "=") or structure != [None] * 3:
            raise pickle.UnpicklingError("a dtype that is not a plain number")
        self.order = order

    def build(self) -> np.dtype:
        if not (isinstance(self.code, str) and re.fullmatch(r"[biuf]\d{1,2}", self.code)):
            raise pickle.UnpicklingError("a dtype that is not a plain number")
        return np.dtype(self.code).newbyteorder(self.order)


class _Array:
    """The note of an array: shape, dtype, order and bytes."""

    __slots__ = ("state",)

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def build(self) -> np.ndarray:
        _, shape, dtype, fortran, raw = self.state
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        if not (isinstance(dtype, _Dtype) and isinstance(raw, bytes)):
            raise pickle.UnpicklingError("an array that does not hold plain numbers")
        return np.frombuffer(raw, dtype.build()).reshape(shape, order="F" if fortran else "C")


class _Name:
    """What a name of NumPy stands for; without attributes, so that a pickle can change none."""

    __slots__ = ()


class _Reconstruct(_Name):
    __slots__ = ()

    def __call__(self, kind: object, shape: object, typecode: object) -> _Array:
        return _Array()


class _MakeDtype(_Name):
    __slots__ = ()

    def __call__(self, code: str, align: object = False, copy: object = False) -> _Dtype:
        return _Dtype(code)


class _Scalar(_Name):
    __slots__ = ()

    def __call__(self, dtype: _Dtype, raw: str | bytes) -> _Array:
        array = _Array()
        array.state = (1, (), dtype, False, raw)
        return array


class _FromBuffer(_Name):
    """Protocol 5 has this in place of `_Reconstruct` and the state that follows it."""

    __slots__ = ()

    def __call__(self, raw: bytes, dtype: _Dtype, shape: object, order: str) -> _Array:
        array = _Array()
        array.state = (1, shape, dtype, order == "F", raw)
        return array


class _Encode(_Name):
    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        return text.encode("latin1")


class _NoBytes(_Name):
    """Python 3 writes ``b""`` as a call in protocols 0 to 2."""

    __slots__ = ()

    def __call__(self) -> bytes:
        return b""


_ADMITTED = {
    "numpy.core.multiarray._reconstruct": _Reconstruct(),
    "numpy._core.multiarray._reconstruct": _Reconstruct(),
    "numpy.core.multiarray.scalar": _Scalar(),
    "numpy._core.multiarray.scalar": _Scalar(),
    "numpy.core.numeric._frombuffer": _FromBuffer(),
    "numpy._core.numeric._frombuffer": _FromBuffer(),
    "numpy.ndarray": _Name(),
    "numpy.dtype": _MakeDtype(),
    "_codecs.encode": _Encode(),
    "__builtin__.bytes": _NoBytes(),
    "builtins.bytes": _NoBytes(),
}


class _Bounded:
    """A file that refuses to read past its end, so that a length in it reserves no memory."""

    def __init__(self, stream: BufferedReader) -> None:
        self._stream, self._size = stream, os.fstat(stream.fileno()).st_size

    def read(self, size: int) -> bytes:
        if size < 0 or size > self._size - self._stream.tell():
            raise EOFError(f"{size} bytes wanted, {self._size - self._stream.tell()} left")
        return self._stream.read(size)

    def readline(self) -> bytes:
        return self._stream.readline()

    def rest(self) -> int:
        return self._size - self._stream.tell()


class _ArraysOnly(pickle._Unpickler):
    dispatch = {code: do for code, do in pickle._Unpickler.dispatch.items() if code in _OPCODES}

    def load_bytearray8(self) -> None:
        """Read as bytes: the inherited one reserves what the file says before it looks."""
        self.append(self.read(struct.unpack("<Q", self.read(8))[0]))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def _decode_string(self, value: bytes) -> str | bytes:
        """Leave the bytes of an array as they are: text of them would be a second copy."""
        return value if len(value) > _LONG else super()._decode_string(value)

    def find_class(self, module: str, name: str) -> _Name:
        try:
            return _ADMITTED[f"{module}.{name}"]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module[:60]}.{name[:60]}, which is not a NumPy array"
            ) from None


def apart(function: Callable, path: Path, *args: object, most: int, why: str) -> Any:
    """Return ``function(path, *args)``, which uses `load_arrays`, called in another process.

    Parameters
    ----------
    function
        As `_sandbox.call` takes it.
    path
        The file; it is not opened here.
    args
        What else the function takes.
    most
        Bytes that a file of this kind may have.
    why
        Where that number is from, for the message.

    Raises
    ------
    DataError
        If as much memory as the file has bytes is not free.
    DataFileError
        If the file is larger, or what `function` and `_sandbox.call` raise.
    """
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error
    if size > most:
        raise DataFileError(
            "the file is too large to be one of this set; it was not opened",
            file=path,
            field="size",
            found=f"{size} bytes",
            expected=f"at most {most} bytes: {why}",
            do=AGAIN,
        )
    free = _memory.free()
    if size > free:
        raise DataError(
            "too little memory is free to load the file",
            file=path,
            field="memory",
            found=f"{free / 1e9:.2f} GB free",
            expected=f"{size / 1e9:.2f} GB, for as long as the file is loaded",
            do="close other programs and run again, or use a larger machine",
        )
    memory, seconds = round(PEAK * size) + BASE, _BASE_S + size / _SLOWEST
    return _sandbox.call(function, path, *args, memory=memory, seconds=seconds, file=path)


def load_arrays(path: Path) -> Any:
    """Return what a pickle holds, with notes where its arrays are; `array_at` builds them.

    Raises
    ------
    DataFileError
        Whatever is wrong: cut short, longer than it should be, other names than NumPy's.
    """
    try:
        with Path(path).open("rb") as stream:
            bounded = _Bounded(stream)
            content = _ArraysOnly(bounded, encoding="latin1").load()
            rest = bounded.rest()
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise _unreadable(path, error) from error
    if rest:
        raise DataFileError(
            "the file goes on after its end",
            file=path,
            field="the end of the pickle",
            found=f"{rest} more bytes",
            expected="no byte after it",
            do=AGAIN,
        )
    return content


def _unreadable(path: Path, error: Exception) -> DataFileError:
    return DataFileError(
        "the file is not a pickle of NumPy arrays; nothing in it was run",
        file=path,
        field="the whole file",
        found=" ".join(f"{type(error).__name__}: {error}"[:160].split()),
        expected="a whole pickle that holds NumPy arrays only",
        do=AGAIN,
    )


def value_at(content: Any, path: Path, *keys: str) -> Any:
    """Return an entry of nested dicts.

    Raises
    ------
    DataFileError
        If a level is not a dict or lacks the key.
    """
    for depth, key in enumerate(keys):
        if not isinstance(content, dict) or key not in content:
            there = [k[:20] for k in content if isinstance(k, str)][:12] \
                if isinstance(content, dict) else [type(content).__name__]  # fmt: skip
            raise DataFileError(
                "an entry is missing",
                file=path,
                field=" / ".join(keys[: depth + 1]),
                found=" ".join(", ".join(there).split()) or "nothing",
                expected=key,
                do=AGAIN,
            )
        content = content[key]
    return content


def array_at(content: Any, path: Path, *keys: str) -> np.ndarray:
    """Return an array of nested dicts.

    Raises
    ------
    DataFileError
        If it is not there, or its bytes do not fit its shape and type.
    """
    note = value_at(content, path, *keys)
    try:
        if not isinstance(note, _Array):
            raise TypeError(f"a {type(note).__name__}")
        return note.build()
    except MemoryError:
        raise
    except Exception as error:  # a damaged note may hold anything in place of a shape or a type
        raise DataFileError(
            "an entry is not an array of numbers",
            file=path,
            field=" / ".join(keys),
            found=" ".join(f"{type(error).__name__}: {error}"[:160].split()),
            expected="an array whose bytes fit its shape and type",
            do=AGAIN,
        ) from error


class _Python2Pickler(pickle._Pickler):
    """Writes strings and bytes as Python 2 did: both are its ``str``."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_python2_str(self, text: str | bytes) -> None:
        raw = text.encode("latin1") if isinstance(text, str) else text
        short = len(raw) < 256
        length = struct.pack("<B" if short else "<i", len(raw))
        self.write((pickle.SHORT_BINSTRING if short else pickle.BINSTRING) + length + raw)
        self.memoize(text)

    def save_global(self, obj: object, name: str | None = None) -> None:
        name = name or obj.__qualname__
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode("ascii"))
        self.memoize(obj)

    dispatch[str] = dispatch[bytes] = save_python2_str
    dispatch[type] = save_global


def dump_python2(content: dict, path: Path) -> None:
    """Write nested dicts of arrays, with latin-1 names, as Python 2 wrote them (protocol 2)."""
    with Path(path).open("wb") as stream:
        _Python2Pickler(stream, 2).dump(content)
