"""Variants of HCMNet: what each ablation changes in the network or in its training."""

from __future__ import annotations

from affectbook.papers._variants import options

# In the order of the ablation's table. Each is a change to the published network or its training.
VARIANTS: dict[str, dict[str, object]] = {
    "published": {},
    "pool_strides_8_8_2": {"pool_strides": (8, 8, 2)},
    "one_kernel_width": {"kernels": (16, 16, 16)},
    "no_nlcca": {"nlcca": False},
    "channel_branch_only": {"nlcca": "channel"},
    "temporal_branch_only": {"nlcca": "temporal"},
    "no_scalar": {"scalar": "none"},
    "scalar_normalised": {"scalar": "mean"},
    "projection_unshared": {"shared_mix": False},
    "one_attention_scale": {"nlcca_widths": ()},
    "no_bissm": {"bissm": False},
    "forward_only": {"directions": "forward"},
    "backward_only": {"directions": "backward"},
    "bilstm": {"bissm": "lstm"},
    "unpadded": {"pad_first": False},
    "rewritten_init": {"init": "rewritten"},
    "relu_in_head": {"head_relu": True},
    "scaler_global": {"scaler": "global"},
    "scaler_per_subject": {"scaler": "per_subject"},
    "last_checkpoint": {"checkpoint": "last"},
    "fixed_epochs": {"checkpoint": "last", "patience": None},
}
WHOLE = ("published", "pool_strides_8_8_2")
_TRAINING = ("scaler", "checkpoint", "patience")


def network_options(variant: str) -> dict[str, object]:
    """Return the constructor options of a variant, such as ``"pool_strides_8_8_2+no_bissm"``.

    Raises
    ------
    ParameterError
        If a part of the name is unknown.
    """
    return {key: value for key, value in options(VARIANTS, variant).items() if key not in _TRAINING}


def training_options(variant: str) -> dict[str, object]:
    """Return what a variant changes in the training: scaler, checkpoint, patience."""
    return {key: value for key, value in options(VARIANTS, variant).items() if key in _TRAINING}


def whole(variant: str) -> str:
    """Return the network that a variant is an ablation of."""
    return "+".join(part for part in variant.split("+") if part in WHOLE) or WHOLE[0]
