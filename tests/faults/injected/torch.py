"""As much of torch as a provenance asks for: the paper of these tests trains nothing with it."""

from __future__ import annotations

from types import SimpleNamespace

cuda = SimpleNamespace(is_available=lambda: False)


def get_num_threads() -> int:
    """Return one."""
    return 1
