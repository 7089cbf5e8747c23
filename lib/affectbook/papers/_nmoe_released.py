"""Backbones of the chapter on NMoE: sizes, and released weights with their SHA-256."""

from __future__ import annotations

MINI = {"hidden": 96, "n_layers": 12, "n_heads": 4, "ffn": 384, "conv": 64}
"""As `ECGFM` takes them: 1,448,832 parameters."""
RELEASED: dict[str, str] = {
    "nmoe_mini":
        "ec9bff89668a92af4e24c69c95292bca9101488f47ca232db08c4db1c3fedf38",
    "nmoe_mini_without_cmsc":
        "8d6cc99243dae014c1cf8c82e074bde3a5e3e942d135c15e337206d9141a63fe",
}  # fmt: skip
