"""Sets whose layout nobody could verify: a file ``mapping.toml`` beside the data says how they lie.

A commented template of it ships with this package. It is a complete mapping itself: that of the
simulated twin.
"""

from __future__ import annotations

import difflib
import glob
import itertools
import logging
import math
import re
import string
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from affectbook import files
from affectbook.datasets._folders import twin_of
from affectbook.errors import DataFileError, DataNotFoundError

MAPPING = "mapping.toml"
WHITESPACE = "whitespace"
VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6}
_MOST = 99_999
_TAIL = 2**16  # bytes, enough for the last two rows
_SUBJECT = r"(?!\.)[^/]+?"  # file systems keep files of their own whose names begin with a dot
log = logging.getLogger(__name__)


class Key(NamedTuple):
    """A key of a mapping: what it must hold, in words and as a test."""

    expected: str
    holds: Callable[[Any], bool]
    required: bool = True


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def is_column(value: object) -> bool:
    """Tell whether a value is a column: its name, or its number from 0."""
    return _is_whole(value) or (isinstance(value, str) and value.strip() == value != "")


def _is_delimiter(value: object) -> bool:
    one = isinstance(value, str) and len(value) == 1
    return value == WHITESPACE or (one and not value.isalnum() and value not in "+-._\"'\r\n")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


WHOLE = Key(f"a whole number from 0 to {_MOST}", _is_whole)
FLAG = Key("true or false", lambda value: isinstance(value, bool))
COLUMN = Key("a column: its number from 0, or its name in the header", is_column)
UNIT = Key(f"one of {', '.join(VOLTS)}", lambda value: isinstance(value, str) and value in VOLTS)
SHARE = Key("a number from 0 to below 1", lambda value: _is_number(value) and 0 <= value < 1)
TABLE = {
    "delimiter": Key(f'one character, or "{WHITESPACE}"', _is_delimiter),
    "skip_rows": WHOLE,
    "header": FLAG,
    "sfreq": Key("a number of Hz above 0", lambda value: _is_number(value) and value > 0),
    "sfreq_differs": FLAG._replace(required=False),
}


def pattern_key(*fields: str) -> Key:
    """Return the key of a path below the data folder, with one place for each field or more.

    It cannot leave the folder by ``..`` or from ``/``. A link in the folder may: a reader puts it
    there so that a large set can lie on another disk.
    """
    named = " and ".join(f"{{{field}}}" for field in fields)

    def holds(value: object) -> bool:
        if not isinstance(value, str) or "\\" in value or min(value, default=" ") < " ":
            return False
        if {"", ".", ".."} & set(value.split("/")):
            return False
        try:
            parts = list(string.Formatter().parse(value))
        except ValueError:
            return False
        plain = all(not spec and conversion is None for _, _, spec, conversion in parts)
        return plain and {field for _, field, _, _ in parts if field is not None} == set(fields)

    return Key(f"a path inside the folder, with / between folders and {named}", holds)


def emotions_key(emotions: Collection[str], *, numbers: bool = False) -> Key:
    """Return the key of a table of emotions, by their names or numbers in the files."""

    def holds(value: object) -> bool:
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            return False
        form = "0|[1-9][0-9]{0,3}" if numbers else r"(?!\.)[^/\0]+"
        ours = all(re.fullmatch(form, one) for one in value)
        return ours and set(value.values()) == set(emotions)

    what = "whole number" if numbers else "name"
    return Key(f"a {what} in the files for each of {', '.join(emotions)}, and no other", holds)


def naturally(names: Iterable[str]) -> tuple[str, ...]:
    """Return names in the order of their numbers: S2 before S10."""

    def parts(name: str) -> list[object]:
        pieces = re.split("([0-9]+)", name)
        return [int(piece) if at % 2 else piece for at, piece in enumerate(pieces)]

    return tuple(sorted(set(names), key=lambda name: (parts(name), name)))


@dataclass(frozen=True)
class Layout:
    """How the files of one set are found and read: what its mapping must say.

    Attributes
    ----------
    name, title : str
        Of the data set.
    keys : dict of str to Key
    sfreq : float
        The rate in Hz that is told of the set.
    """

    name: str
    title: str
    keys: dict[str, Key]
    sfreq: float

    @property
    def template(self) -> Path:
        """The template of the mapping, which ships with this package."""
        return Path(__file__).with_name(f"{self.name}_mapping.toml")

    def mapping(self, folder: Path) -> dict[str, Any]:
        """Return what the mapping in a folder says, checked.

        Raises
        ------
        DataNotFoundError
            If there is none.
        DataFileError
            If it cannot be read, or a key is unknown, missing or wrong.
        """
        path = Path(folder) / MAPPING
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            raise self._unmapped(path) from None
        except (OSError, ValueError, RecursionError) as error:
            found = f"{type(error).__name__}: {str(error)[:160]}"
            raise self.wrong(path, "the whole file", found, "a file in TOML") from error
        for key in sorted([*content, *self.keys], key=self.keys.__contains__):  # unknown ones first
            if key not in self.keys:
                near = difflib.get_close_matches(key, self.keys, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise self.wrong(path, key, "a key that is unknown", ", ".join(self.keys) + hint)
            rule = self.keys[key]
            if key not in content and rule.required:
                raise self.wrong(path, key, "no such key", rule.expected)
            if key in content and not rule.holds(content[key]):
                raise self.wrong(path, key, repr(content[key])[:200], rule.expected)
        if content["sfreq"] != self.sfreq and not content.get("sfreq_differs"):
            expected = f"{self.sfreq:g} Hz, as told of the set, or sfreq_differs = true beside it"
            raise self.wrong(path, "sfreq", f"{content['sfreq']:g} Hz", expected)
        return content

    def _unmapped(self, path: Path) -> DataNotFoundError:
        return DataNotFoundError(
            f"{self.title}: nobody could verify the layout of this set; a mapping has to say it",
            file=path,
            field="the whole file",
            found="no such file",
            expected="a mapping: which files, which columns, which unit",
            do=f"copy {self.template} to this place, and fill it in as its comments say",
        )

    def subjects(self, folder: Path, known: Collection[str] | None = None) -> tuple[str, ...]:
        """Return the subjects that the mapping finds in a folder, of those `known`, sorted.

        A folder without a mapping holds none of them, unless it has the name of the set.

        Raises
        ------
        DataNotFoundError, DataFileError
            If the mapping finds nobody, or is not what `mapping` takes.
        """
        if not (folder / MAPPING).exists():
            if folder.name.lower() == self.name and any(folder.iterdir()):
                raise self._unmapped(folder / MAPPING)
            return ()
        mapping = self.mapping(folder)
        there = {fields["subject"] for fields, _ in self.find(folder, mapping)}
        if not there & set(there if known is None else known):
            who = f", {{subject}} one of {naturally(known)[0]} and so on" if known else ""
            raise DataNotFoundError(
                f"{self.title}: no file is where the mapping says",
                file=folder / MAPPING,
                field="path",
                found=f"subjects {', '.join(naturally(there)[:5]) or 'none'}",
                expected=f"files like {mapping['path']}{who}",
                do=f"mend path in {MAPPING}; {self.template} explains it",
            )
        return naturally(there if known is None else there & set(known))

    def find(self, folder: Path, mapping: dict[str, Any]) -> Iterator[tuple[dict[str, str], Path]]:
        """Yield what stands for each field of the mapping's path, and the file, sorted."""
        wild, expression, seen = "", "", set()
        choices = "|".join(map(re.escape, mapping["emotions"]))
        for literal, field, _, _ in string.Formatter().parse(mapping["path"]):
            wild, expression = wild + glob.escape(literal), expression + re.escape(literal)
            if field is None:
                continue
            once = f"(?P<{field}>{choices if field == 'emotion' else _SUBJECT})"
            wild += "" if wild.endswith("*") else "*"  # ** would walk through the whole folder
            expression += f"(?P={field})" if field in seen else once
            seen.add(field)
        for path in sorted(Path(folder).glob(wild)):
            match = re.fullmatch(expression, path.relative_to(folder).as_posix())
            if match and path.is_file():
                yield match.groupdict(), path

    def say_unverified(self, folder: Path, mapping: dict[str, Any]) -> None:
        """Log that nobody could verify how the set is read; of a twin it is known."""
        log.log(
            logging.WARNING if twin_of(folder) is None else logging.INFO,
            "%s: layout unverified, it is read as its %s says, which this project could not hold "
            "against the published files", self.title, MAPPING,
        )  # fmt: skip
        if mapping["sfreq"] != self.sfreq:
            log.warning(
                "%s: read at %g Hz, since %s says sfreq_differs; told of the set are %g Hz",
                self.title, mapping["sfreq"], MAPPING, self.sfreq,
            )  # fmt: skip

    def frame(
        self, path: Path, mapping: dict[str, Any], *, first_row: bool = False, **options: Any
    ) -> pd.DataFrame:
        """Return the table in a file, its columns numbered from 0; `options` are those of pandas.

        With `first_row` only the header, or the first row where there is none, as text.
        """
        skipped = mapping["skip_rows"] + (mapping["header"] and not first_row)
        options |= {"nrows": 1, "dtype": str} if first_row else {}
        delimiter = mapping["delimiter"]
        try:
            with np.errstate(over="ignore"):
                return pd.read_csv(
                    path,
                    sep=r"\s+" if delimiter == WHITESPACE else delimiter,
                    header=None,
                    skiprows=skipped,
                    skipinitialspace=True,
                    encoding_errors="replace",
                    **options,
                )
        except Exception as error:  # pandas raises many types on text that is no table
            found = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            raise self.wrong(path, "the table", found, "numbers in rows and columns") from error

    def columns(self, path: Path, mapping: dict[str, Any], key: str) -> np.ndarray:
        """Return ``(n_times, n_columns)`` float32: the columns that one key of the mapping names.

        Raises
        ------
        DataFileError
            If a column is not there, or does not hold a number in each row.
        """
        named = mapping[key] if isinstance(mapping[key], list) else [mapping[key]]
        top = [str(name).strip() for name in self.frame(path, mapping, first_row=True).iloc[0]]
        places = [self._place(path, key, column, top, mapping["header"]) for column in named]
        self._check_end(path, mapping)
        frame = self.frame(path, mapping, usecols=sorted(set(places)), dtype=np.float32)
        if missing := sorted(set(places) - set(frame.columns)):
            found = f"no column {', '.join(map(str, missing))} in the first row of numbers"
            expected = f"columns {', '.join(map(str, sorted(set(places))))}"
            raise self.wrong(path, key, found, expected)
        return self.numbers(path, key, frame[places])

    def _check_end(self, path: Path, mapping: dict[str, Any]) -> None:
        """Refuse a file that ends within a row: pandas looks at the columns wanted alone."""
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL))
            rows = stream.read().decode("utf-8", "replace").splitlines()[-2:]
        own = mapping["delimiter"]
        widths = [len(row.split(None if own == WHITESPACE else own)) for row in rows]
        if len(set(widths)) > 1 and rows[1].strip():
            found, expected = f"{widths[1]} columns", f"{widths[0]}, as in the row before"
            raise self.wrong(path, "the last row", found, expected)

    def _place(self, path: Path, key: str, column: str | int, top: list[str], header: bool) -> int:
        """Return the number of a column, of which the first row may hold the name."""
        if isinstance(column, int) and column < len(top):
            return column
        if header and top.count(column) == 1:
            return top.index(column)
        has = f"columns {' '.join(', '.join(top).split())[:160]}" if header else "no header"
        found = f"{len(top)} columns" if isinstance(column, int) else has
        raise self.wrong(path, key, found, f"one column {column!r}")

    def numbers(self, path: Path, field: str, frame: pd.DataFrame) -> np.ndarray:
        """Return a table of numbers as float32.

        Raises
        ------
        DataFileError
            If it is empty, or something in it is no finite number.
        """
        try:
            with np.errstate(over="ignore"):
                values = frame.to_numpy(np.float32)
        except (ValueError, TypeError) as error:
            found = str(error)[:160]
            raise self.wrong(path, field, found, "a number in each row and column") from error
        bad = int((~np.isfinite(values)).sum())
        if bad or not values.size:
            found = f"{bad} of {values.size} values are not finite numbers"
            raise self.wrong(path, field, found, "a number in each row and column")
        return values

    def wrong(self, path: Path, field: str, found: str, expected: str) -> DataFileError:
        """Return the error for a mapping, or for a file that does not agree with it."""
        what, other = "the file is not what its mapping says", "get the file again, or "
        if path.name == MAPPING:
            what, other = "the mapping is wrong", ""
        return DataFileError(
            f"{self.title}: {what}",
            file=path,
            field=field,
            found=found,
            expected=expected,
            do=f"{other}mend {MAPPING}: {self.template} explains each key",
        )

    def copy_template(self, folder: Path) -> dict[str, Any]:
        """Make the template the mapping of a folder, and return what it says."""
        files.write_text(Path(folder) / MAPPING, self.template.read_text(encoding="utf-8"))
        return self.mapping(folder)


def factor(unit: str, wanted: str) -> np.float32:
    """Return by what values in one unit are multiplied to be in another."""
    return np.float32(VOLTS[unit] / VOLTS[wanted])


def number_format(unit: str, step_v: float) -> str:
    """Return the format of a number in a unit, written in steps of `step_v` volt."""
    return f"%.{max(0, round(math.log10(VOLTS[unit] / step_v)))}f"


def write_columns(
    path: Path,
    mapping: dict[str, Any],
    columns: Sequence[str | int],
    values: np.ndarray,
    formats: Sequence[str],
) -> Path:
    """Write ``(n_columns, n_rows)`` values at named or numbered columns; others hold zeros."""
    free = (number for number in itertools.count() if number not in columns)
    places = [column if isinstance(column, int) else next(free) for column in columns]
    table = np.zeros((values.shape[1], max(places) + 1))
    table[:, places] = values.T
    names = [f"other{number}" for number in range(table.shape[1])]
    written = ["%d"] * len(names)
    for place, column, number in zip(places, columns, formats, strict=True):
        names[place], written[place] = str(column), number
    return write_table(path, mapping, names, table, written)


def write_table(
    path: Path,
    mapping: dict[str, Any],
    names: Sequence[str],
    values: np.ndarray,
    formats: Sequence[str],
) -> Path:
    """Write ``(n_rows, n_columns)`` values as text in the layout of a mapping."""
    delimiter = " " if mapping["delimiter"] == WHITESPACE else mapping["delimiter"]
    top = ["not data"] * mapping["skip_rows"] + [delimiter.join(names)] * mapping["header"]
    return files.write_atomic(
        path,
        lambda temporary: np.savetxt(
            temporary, values, formats, delimiter, header="\n".join(top), comments=""
        ),
    )
