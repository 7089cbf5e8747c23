"""What hundreds of tests ask for is computed once: the hash of a file of code.

Imported before anything else of the package, whose modules take the function by its name.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

from affectbook import closure


def once_per_content(compute: Callable[[Path], str]) -> Callable[[Path], str]:
    """Return a function that computes anew where a file has another content or another suffix."""
    kept: dict[tuple[str, bytes], str] = {}

    @functools.wraps(compute)
    def remembered(path: Path) -> str:
        key = path.suffix, hashlib.sha256(path.read_bytes()).digest()
        if key not in kept:
            kept[key] = compute(path)
        return kept[key]

    return remembered


closure.code_hash = once_per_content(closure.code_hash)
