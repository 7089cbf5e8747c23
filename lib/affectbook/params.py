"""Strict parameters: text or values in, a checked dataclass out, one message for all faults."""

from __future__ import annotations

import ast
import difflib
import math
import re
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import Field, fields
from itertools import zip_longest
from typing import NoReturn, TypeVar

import pandas as pd

from affectbook.errors import ParameterError, shown

P = TypeVar("P")

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_INT = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NONE = ("none", "None")
_WIDTH, _WIDEST_COLUMN = 100, 24
_PAPERMILL = "# Parameters"
"""What papermill writes on top of the cell that it puts behind the parameters cell."""


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
    """Return `params` with the values that a notebook's variables have.

    papermill sets whatever name it is given and runs on. So what the parameters cell and the cell
    that papermill writes behind it have set must all be parameters; other variables are ignored.

    Parameters
    ----------
    given
        ``globals()`` of the notebook. Text stays text here: ``epochs = "5"`` is refused.

    Raises
    ------
    ParameterError
        If a parameter is missing, misspelt or does not fit.
    """
    known = {field.name: field for field in fields(params)}
    strange = [name for name in _set_before(given.get("In"), known) if name not in known]
    if strange:
        _refuse({name: _unknown(name, known) for name in strange})
    missing = [name for name in known if name not in given]
    if missing:
        raise ParameterError(f"the parameters cell does not set: {', '.join(missing)}")
    return _parse(params, {name: given[name] for name in known}, text=False)


def table(params: type) -> pd.DataFrame:
    """Return what can be set, as rows ``name, type, default, allowed, meaning`` of text."""
    rows = []
    for field in fields(params):
        hint = _types(params)[field.name]
        meaning = field.metadata.get("help", "")
        rows.append((field.name, _spelt(hint), spelt(field.default), _limits(field), meaning))
    return pd.DataFrame(rows, columns=["name", "type", "default", "allowed", "meaning"])


def help_text(title: str, params: type) -> str:
    """Return what can be set as aligned text for a terminal, at most 100 columns wide."""
    told = table(params)
    told["meaning"] = [
        "\n".join(filter(None, pair))
        for pair in zip(told["meaning"], told.pop("allowed"), strict=True)
    ]
    rows = [tuple(told.columns), *told.itertuples(index=False, name=None)]
    widths = [
        min(max(len(row[column]) for row in rows), _WIDEST_COLUMN)
        for column in range(told.shape[1] - 1)
    ]
    widths.append(_WIDTH - sum(widths) - 2 * len(widths) - 2)
    lines = [f"{title}: what can be set, each with -p NAME VALUE", ""]
    for row in rows:
        columns = [_wrapped(text, width) for text, width in zip(row, widths, strict=True)]
        for parts in zip_longest(*columns, fillvalue=""):
            padded = (part.ljust(width) for part, width in zip(parts, widths, strict=True))
            lines.append(f"  {'  '.join(padded)}".rstrip())
    return "\n".join(lines) + "\n"


def spelt(value: object) -> str:
    """Return a value as it is written on a command line and in a table."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else '""'


def _wrapped(text: str, width: int) -> list[str]:
    return [part for line in text.splitlines() for part in textwrap.wrap(line, width)]


def _parse(params: type[P], given: Mapping[str, object], text: bool) -> P:
    known = {field.name: field for field in fields(params)}
    values, wrong = {}, {}
    for name, value in given.items():
        try:
            if name not in known:
                raise ValueError(_unknown(name, known))
            values[name] = _value(known[name], _types(params)[name], value, text)
        except ValueError as error:
            wrong[name] = str(error)
    if wrong:
        _refuse(wrong)
    return params(**values)


def _refuse(wrong: Mapping[str, str]) -> NoReturn:
    start = "a parameter is wrong" if len(wrong) == 1 else f"{len(wrong)} parameters are wrong"
    told = [f"{_short(shown(name))}: {what}" for name, what in wrong.items()]
    raise ParameterError("\n  ".join([f"{start}:", *told]))


def _unknown(name: object, known: Mapping[str, Field]) -> str:
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        return "not a name: small letters, digits and _ only"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    return f"unknown; {hint}"


def _value(field: Field, hint: object, value: object, text: bool) -> object:
    kinds = typing.get_args(hint) or (hint,)
    optional = types.NoneType in kinds
    kind = next(kind for kind in kinds if kind is not types.NoneType)
    if optional and (value is None or (text and value in _NONE)):
        return None
    found = value
    if text and isinstance(value, str):
        value = _from_text(kind, value)
    elif kind is float and type(value) is int:
        value = _as_float(value)
    problem = _problem(kind, value, optional and not text)
    if problem is not None:
        raise ValueError(f"expected {_spelt(hint)}, found {_quoted(found)}{problem}")
    return _allowed(field, value)


def _problem(kind: type, value: object, none_is_no_text: bool) -> str | None:
    """Return what to add to the message if a value is not of its kind; None if it is."""
    if isinstance(value, str) and none_is_no_text and value in _NONE:
        return "; write None without quotes"
    if type(value) is not kind:
        fits = isinstance(value, str) and type(_from_text(kind, value)) is kind
        return "; write it without quotes" if fits else ""
    if kind is float and not math.isfinite(value):
        return ": not a finite number"
    if kind is str and not value.isascii() and value != value.encode(errors="ignore").decode():
        return ": half a character, which no file can hold"
    return None


def _from_text(kind: type, text: str) -> object:
    """Return the value that `text` spells, or `text` itself, which then has the wrong type."""
    if kind is int and _INT.fullmatch(text):
        try:
            return int(text)
        except ValueError:  # thousands of digits
            return text
    if kind is float and _FLOAT.fullmatch(text):
        return float(text)
    if kind is bool and text in ("true", "false"):
        return text == "true"
    return text


def _as_float(value: int) -> object:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _allowed(field: Field, value: object) -> object:
    choices = field.metadata.get("choices")
    low, high = field.metadata.get("low"), field.metadata.get("high")
    if choices is not None and value not in choices:
        close = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"expected one of {', '.join(map(str, choices))}, found {_quoted(value)}{hint}"
        )
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"expected {_range(low, high)}, found {_quoted(value)}")
    return value


def _quoted(value: object) -> str:
    """Return a value as code, on one line of bearable length."""
    try:
        return _short(shown(repr(value)))
    except ValueError:  # an int of thousands of digits has no text
        return f"one {type(value).__name__} too long to be shown"


def _short(text: str) -> str:
    return text if len(text) <= 90 else f"{text[:80]}... ({len(text)} characters)"


def _range(low: object, high: object) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"


def _limits(field: Field) -> str:
    if (choices := field.metadata.get("choices")) is not None:
        return "one of " + ", ".join(map(str, choices))
    if isinstance(field.default, bool):
        return "true or false"
    low, high = field.metadata.get("low"), field.metadata.get("high")
    return _range(low, high) if low is not None or high is not None else ""


def _types(params: type) -> dict[str, object]:
    hints = typing.get_type_hints(params)
    return {field.name: hints[field.name] for field in fields(params)}


def _spelt(hint: object) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("None", "none")


def _set_before(history: object, known: Iterable[str]) -> list[str]:
    """Return the names that the cells above the one that runs have set as parameters.

    Parameters
    ----------
    history
        ``In``, IPython's list of the cells that ran, this one last.

    Notes
    -----
    In JupyterLab a cell can run again once it is mended, so of papermill's cell and of the
    reader's own only the latest counts, and nothing that ran before a whole parameters cell.
    """
    cells = [str(cell) for cell in history] if isinstance(history, list) else []
    if cells and _set_in(cells[-1]) is None and not cells[-1].startswith(_PAPERMILL):
        cells.pop()
    found: dict[bool, set[str]] = {}
    for cell in reversed(cells):
        by_papermill = cell.startswith(_PAPERMILL)
        names = _set_in(cell, strict=not by_papermill)
        if names is None:
            break
        if by_papermill or not names.isdisjoint(known):
            found.setdefault(by_papermill, names)
        if names.issuperset(known):
            break
    return sorted(set().union(*found.values()))


def _set_in(cell: str, strict: bool = True) -> set[str] | None:
    """Return the names that a cell sets; None, if strict, where it does anything else."""
    try:
        body = ast.parse(cell).body
    except (SyntaxError, ValueError):
        return None
    names = set()
    for line in body:
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        plain = all(isinstance(target, ast.Name) for target in targets)
        if plain and isinstance(line, ast.Assign | ast.AnnAssign) and _is_value(line.value, strict):
            names.update(target.id for target in targets)
        elif strict:
            return None
    return names


def _is_value(node: ast.expr | None, strict: bool) -> bool:
    """Return whether code is a plain value, as papermill writes it: also ``float('nan')``."""
    if node is None or not strict:
        return not strict
    if isinstance(node, ast.Call):
        return getattr(node.func, "id", "") == "float" and not node.keywords
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return False
    return True
