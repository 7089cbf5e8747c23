"""Names of variants: parts of a table joined by ``+``, such as ``"published+no_bissm"``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from affectbook.errors import ParameterError

Table = Mapping[str, Mapping[str, object]]


def options(table: Table, variant: str) -> dict[str, object]:
    """Return what a variant changes, by name of option; of two parts the later one counts.

    Raises
    ------
    ParameterError
        If a part of the name is not in the table.
    """
    found: dict[str, object] = {}
    for part in variant.split("+"):
        if part not in table:
            near = difflib.get_close_matches(part, table, 1)
            hint = f"did you mean {near[0]}? T" if near else "t"
            raise ParameterError(
                f"no variant {part!r}; {hint}here are {', '.join(table)}, joined by +"
            )
        found |= table[part]
    return found
