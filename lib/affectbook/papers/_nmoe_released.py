"""Backbones of the chapter on NMoE: sizes, and released weights with their SHA-256."""

from __future__ import annotations

MINI = {"hidden": 96, "n_layers": 12, "n_heads": 4, "ffn": 384, "conv": 64}
"""As `ECGFM` takes them: 1,448,832 parameters."""
RELEASED: dict[str, str] = {
    "nmoe_mini":
        "4f9dae7fe04c214e141426526ba151939106fbfc601c994dde9e90a176934636",
    "nmoe_mini_without_cmsc":
        "d262a4b6436455934608786e5759b78ac5fce44293947f9e6d52f670ded48fc8",
}  # fmt: skip
