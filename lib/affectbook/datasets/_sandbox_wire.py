"""What the process that reads files and the one that asks it send to each other.

A message is a mark, a length, a head in JSON, and the bytes of the arrays that the head lists.
Nothing in it can name a function or a class: whatever the other side sends, unpacking it makes
numbers, texts, lists, dicts and arrays.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

MARK = b"affbook1"
PREFIX = struct.Struct("<8sQ")
HEAD_MOST = 2**24
"""Bytes of a head; one of a file's labels and names has some thousands."""
_DTYPE = re.compile(r"[<>|=][biuf]\d{1,2}")


def pack(value: object, arrays: list[np.ndarray]) -> object:
    """Return a value as JSON can say it; arrays are appended to `arrays`.

    Raises
    ------
    TypeError
        If something in it is neither a number, text, path, list, tuple, dict nor plain array.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return value.item()
    if isinstance(value, Path):
        return {"path": str(value)}
    if type(value) is list:
        return [pack(one, arrays) for one in value]
    if isinstance(value, tuple):
        return {"tuple": [pack(one, arrays) for one in value]}
    if type(value) is dict:
        return {"dict": [[pack(key, arrays), pack(one, arrays)] for key, one in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        arrays.append(value)
        return {"array": len(arrays) - 1}
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def unpack(value: object, arrays: Sequence[np.ndarray] = ()) -> object:
    """Return what `pack` was given.

    Raises
    ------
    Exception
        Of any kind, if `pack` did not make it.
    """
    if isinstance(value, list):
        return [unpack(one, arrays) for one in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "path":
        return Path(content)
    if kind == "tuple":
        return tuple(unpack(content, arrays))
    if kind == "dict":
        return {unpack(key, arrays): unpack(one, arrays) for key, one in content}
    return arrays[{"array": content}[kind]]


def send(handle: int, head: dict[str, object], arrays: Sequence[np.ndarray] = ()) -> None:
    """Write a message to a file descriptor."""
    listed = [[array.dtype.str, list(array.shape)] for array in arrays]
    text = json.dumps({**head, "arrays": listed}).encode("ascii")
    write(handle, PREFIX.pack(MARK, len(text)) + text)
    for array in arrays:
        write(handle, flat(np.ascontiguousarray(array)))


def write(handle: int, content: bytes | memoryview) -> None:
    """Write all bytes to a file descriptor."""
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


def receive(fill: Callable[[memoryview], None], most: int) -> tuple[dict, list[np.ndarray]]:
    """Return head and arrays of a message; its bytes go straight into the arrays.

    Parameters
    ----------
    fill
        Fills a buffer with the next bytes.
    most
        Bytes that the arrays may take together.

    Raises
    ------
    ValueError
        If it is not a message, or a larger one. Nothing is reserved before that is known.
    """
    mark, size = PREFIX.unpack(_filled(fill, PREFIX.size))
    if mark != MARK or size > HEAD_MOST:
        raise ValueError("no message, or one with a head of more than 16 MB")
    head = json.loads(_filled(fill, size))
    listed, total = [], 0
    for dtype, shape in head["arrays"]:
        if not (_DTYPE.fullmatch(dtype) and all(type(n) is int and n >= 0 for n in shape)):
            raise ValueError("an array that does not hold plain numbers")
        listed.append((np.dtype(dtype), shape))
        total += math.prod(shape) * listed[-1][0].itemsize
    if total > most:
        raise ValueError(f"arrays of {total} bytes, {most} are allowed")
    arrays = [np.empty(shape, dtype) for dtype, shape in listed]
    for array in arrays:
        fill(flat(array))
    return head, arrays


def _filled(fill: Callable[[memoryview], None], size: int) -> bytearray:
    content = bytearray(size)
    fill(memoryview(content))
    return content


def flat(array: np.ndarray) -> memoryview:
    """Return the bytes of a contiguous array."""
    return memoryview(array.reshape(-1).view(np.uint8))
