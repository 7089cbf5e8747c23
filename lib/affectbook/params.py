"""Strict parameters: text or values in, a checked dataclass out, one message for all faults."""

from __future__ import annotations

import difflib
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import TypeVar

import pandas as pd

from affectbook.errors import ParameterError

P = TypeVar("P")

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_INT = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def parse(params: type[P], given: Mapping[str, object]) -> P:
    """Return `params` with the values `given`, read strictly.

    Parameters
    ----------
    params
        A frozen dataclass of int, float, str and bool fields, each with a default and perhaps
        ``| None``; ``metadata`` may hold ``help``, ``choices``, ``low`` and ``high``.
    given
        Values by name. Text is read as the type of its field: ``"none"`` as None where the field
        allows it, ``"true"`` and ``"false"`` as bool.

    Raises
    ------
    ParameterError
        One message that lists every unknown name and every value that does not fit.
    """
    return _parse(params, given, text=True)


def from_notebook(params: type[P], given: Mapping[str, object]) -> P:
    """Return `params` with the values that a notebook's variables have; other names are ignored.

    Parameters
    ----------
    given
        ``globals()`` of the notebook. Text stays text here: ``epochs = "5"`` is refused.

    Raises
    ------
    ParameterError
        If a parameter is missing or does not fit.
    """
    names = [field.name for field in fields(params)]
    missing = [name for name in names if name not in given]
    if missing:
        raise ParameterError(f"the parameters cell does not set: {', '.join(missing)}")
    return _parse(params, {name: given[name] for name in names}, text=False)


def table(params: type) -> pd.DataFrame:
    """Return what can be set, as rows ``name, type, default, meaning``."""
    rows = []
    for field in fields(params):
        default = "none" if field.default is None else str(field.default)
        rows.append((field.name, _spelt(_types(params)[field.name]), default, _meaning(field)))
    return pd.DataFrame(rows, columns=["name", "type", "default", "meaning"])


def _parse(params: type[P], given: Mapping[str, object], text: bool) -> P:
    known = {field.name: field for field in fields(params)}
    values, wrong = {}, []
    for name, value in given.items():
        try:
            if name not in known:
                raise ValueError(_unknown(name, known))
            values[name] = _value(known[name], _types(params)[name], value, text)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    if wrong:
        start = "a parameter is wrong" if len(wrong) == 1 else f"{len(wrong)} parameters are wrong"
        raise ParameterError("\n  ".join([f"{start}:", *wrong]))
    return params(**values)


def _unknown(name: str, known: Mapping[str, Field]) -> str:
    if not _NAME.fullmatch(name):
        return "not a name: small letters, digits and _ only"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    return f"unknown; {hint}"


def _value(field: Field, hint: object, value: object, text: bool) -> object:
    kinds = typing.get_args(hint) or (hint,)
    optional = types.NoneType in kinds
    kind = next(kind for kind in kinds if kind is not types.NoneType)
    if optional and (value is None or (text and value in ("none", "None"))):
        return None
    if text and isinstance(value, str):
        value = _from_text(kind, value)
    elif kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"expected {_spelt(hint)}, found {value!r}")
    return _allowed(field, value)


def _from_text(kind: type, text: str) -> object:
    """Return the value that `text` spells, or `text` itself, which then has the wrong type."""
    if kind is int and _INT.fullmatch(text):
        return int(text)
    if kind is float and _FLOAT.fullmatch(text):
        return float(text)
    if kind is bool and text in ("true", "false"):
        return text == "true"
    return text


def _allowed(field: Field, value: object) -> object:
    choices = field.metadata.get("choices")
    low, high = field.metadata.get("low"), field.metadata.get("high")
    if choices is not None and value not in choices:
        close = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"expected one of {', '.join(map(str, choices))}, found {value!r}{hint}")
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"expected {_range(low, high)}, found {value!r}")
    return value


def _range(low: object, high: object) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"


def _meaning(field: Field) -> str:
    parts = [field.metadata.get("help", "")]
    if (choices := field.metadata.get("choices")) is not None:
        parts.append("one of " + ", ".join(map(str, choices)))
    low, high = field.metadata.get("low"), field.metadata.get("high")
    if low is not None or high is not None:
        parts.append(_range(low, high))
    return "; ".join(part for part in parts if part)


def _types(params: type) -> dict[str, object]:
    hints = typing.get_type_hints(params)
    return {field.name: hints[field.name] for field in fields(params)}


def _spelt(hint: object) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("None", "none")
