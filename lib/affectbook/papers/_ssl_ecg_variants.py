"""Variants of self-supervised ECG: pretexts, where they are trained, heads, and ablations."""

from __future__ import annotations

from affectbook.papers._variants import options

# As augment.NAMES has them, without the original; that module needs torch.
TASKS = ("noise", "scaling", "negation", "inversion", "permutation", "time_warp")
_DIFFICULTY = {
    "snr": ("snr_db", (2, 5, 10, 20, 30)),
    "scale": ("factor", (1.01, 1.05, 1.5, 2.0)),
    "pieces": ("pieces", (2, 5, 10, 40)),
    "warp_pieces": ("warp_pieces", (2, 5, 20)),
    "stretch": ("stretch", (1.01, 1.1, 1.25)),
}
DIFFICULTY = {
    f"{short}_{value:g}": {name: float(value) if name in ("snr_db", "factor", "stretch") else value}
    for short, (name, values) in _DIFFICULTY.items()
    for value in values
}
"""By name of the variant: one strength that differs from the published one."""
HEADS = ("dense_512x2", "dense_512x3", "dense_64x2", "linear")

# The first is the published method; each of the others is a change, joined by +.
VARIANTS: dict[str, dict[str, object]] = {
    "published": {},
    # The later description, as a whole: pretext, encoder, classification layer, optimiser.
    "contrastive": {
        "pretext": "contrastive", "batch_norm": True, "activation": "relu", "head": "linear",
        "finetune": True, "optimizer": "sgd",
    },
    "contrastive_loss": {"pretext": "contrastive", "source": "fold"},
    "from_scratch": {"pretext": "none", "finetune": True},
    "random_encoder": {"pretext": "random"},
    "fine_tuned": {"finetune": True},
    "frozen": {"finetune": False},
    **{f"head_{name}": {"head": name} for name in HEADS},
    "one_set": {"pooled": False},
    "in_fold": {"source": "fold"},
    "transductive": {"source": "transductive"},
    "equal_alpha": {"alpha": "equal", "source": "fold"},
    "one_softmax": {"single_head": True, "source": "fold"},
    **{f"only_{name}": {"tasks": (name,), "source": "fold"} for name in TASKS},
    "relu": {"activation": "relu", "source": "fold"},
    "batch_norm": {"batch_norm": True, "source": "fold"},
    "mean_pool": {"pooling": "mean", "source": "fold"},
    "block_1": {"n_blocks": 1},
    "block_2": {"n_blocks": 2},
    "window_zscore": {"scaler": "per_window_zscore", "standardised": True, "source": "fold"},
    **{name: {**change, "source": "fold"} for name, change in DIFFICULTY.items()},
}  # fmt: skip
WHOLE = ("published", "published+contrastive")
_NETWORK = ("pretext", "batch_norm", "activation", "pooling", "n_blocks", "head", "finetune")


def network_options(variant: str) -> dict[str, object]:
    """Return what a variant changes in the networks, such as ``"published+relu"``.

    Raises
    ------
    ParameterError
        If a part of the name is unknown.
    """
    return {key: value for key, value in options(VARIANTS, variant).items() if key in _NETWORK}


def training_options(variant: str) -> dict[str, object]:
    """Return what a variant changes in the training: source, optimiser, scaler, strengths."""
    return {key: value for key, value in options(VARIANTS, variant).items() if key not in _NETWORK}


def composed(
    variant: str, pretext: str, head: str | None, finetune: bool | None, pretraining: str
) -> str:
    """Return a variant with what the notebook's parameters ask for.

    The published pretext, the head and the training that go with it, and released weights of other
    data add nothing.
    """
    added = {
        "transformations": [], "contrastive": ["contrastive"], "none": ["from_scratch"],
        "random": ["random_encoder"],
    }[pretext]  # fmt: skip
    added += [f"head_{head}"] if head is not None else []
    added += [] if finetune is None else ["fine_tuned" if finetune else "frozen"]
    added += {"other": [], "fold": ["in_fold"], "transductive": ["transductive"]}[pretraining]
    return "+".join([variant, *(one for one in added if one not in variant.split("+"))])
