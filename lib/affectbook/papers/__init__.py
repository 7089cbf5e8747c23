"""One file per paper: parameters, claims, variants, deviations. Papers are found by listing.

A file that starts with an underscore belongs to the paper it names and is none by itself.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from affectbook.errors import ParameterError


def names() -> tuple[str, ...]:
    """Return the papers of this book, sorted."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def get(name: str) -> ModuleType:
    """Return the module of a paper.

    Raises
    ------
    ParameterError
        If there is no such paper.
    """
    if name not in names():
        raise ParameterError(f"no paper {name!r}; there are: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")
