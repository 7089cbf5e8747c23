"""Variants of MS-iMamba: what each ablation changes in the declared reading or in its training."""

from __future__ import annotations

from itertools import permutations

from affectbook.papers._variants import options

ORDERS = tuple("".join(map(str, one)) for one in permutations(range(4)))
"""All orders of four electrodes, as positions in their named order: ``"0123"`` and 23 others."""

# In the order of the ablation's table. Each is a change to the declared reading.
VARIANTS: dict[str, dict[str, object]] = {
    "declared": {},
    "no_mstb": {"mstb": 0},
    "no_tsfb": {"tsfb": False},
    "embedding_normal": {"embedding": "normal"},
    "embedding_R1": {"embedding": "R1"},
    "embedding_R3": {"embedding": "R3"},
    "attention": {"mixer": "attention"},
    "mlp": {"mixer": "mlp"},
    "identity": {"mixer": "identity"},
    "backward": {"direction": "backward"},
    "bidirectional": {"direction": "both"},
    "narrow": {"d_conv": 2, "expand": 1},
    "k_1": {"k": 1},
    "k_2": {"k": 2},
    "k_5": {"k": 5},
    "weights_normalised": {"weights": "normalised"},
    "weights_equal": {"weights": "equal"},
    "floor": {"rounding": "floor"},
    "periods_batch": {"periods": "batch"},
    "periods_log_spaced": {"periods": "log_spaced"},
    "scaler_window": {"scaler": "window"},
    "scaler_raw": {"scaler": "raw"},
    "blinks_regressed": {"blinks": True},
    "last_checkpoint": {"checkpoint": "last"},
    **{f"order_{one}": {"order": tuple(map(int, one))} for one in ORDERS[1:]},
}
WHOLE = ("declared",)
_TRAINING = ("scaler", "blinks", "checkpoint")


def network_options(variant: str) -> dict[str, object]:
    """Return the constructor options of a variant, such as ``"declared+no_mstb"``.

    Raises
    ------
    ParameterError
        If a part of the name is unknown.
    """
    return {key: value for key, value in options(VARIANTS, variant).items() if key not in _TRAINING}


def training_options(variant: str) -> dict[str, object]:
    """Return what a variant changes in the training: scaler, removal of blinks, checkpoint."""
    return {key: value for key, value in options(VARIANTS, variant).items() if key in _TRAINING}


def composed(variant: str, embedding: str, periods: str) -> str:
    """Return a variant with the embedding and the rule of periods that parameters ask for.

    The declared ones, ``"R2"`` and ``"sample"``, add nothing.
    """
    added = [f"embedding_{embedding}"] if embedding != "R2" else []
    added += [f"periods_{periods}"] if periods != "sample" else []
    return "+".join([variant, *(one for one in added if one not in variant.split("+"))])
