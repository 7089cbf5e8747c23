"""One file per paper: parameters, claims, variants, deviations. Papers are found by listing."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from affectbook.errors import ParameterError


def names() -> tuple[str, ...]:
    """Return the papers of this book, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


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
