"""Variants of NMoE: backbones, gates, layers, leads, and how much is trained."""

from __future__ import annotations

from affectbook.papers._variants import options

N_LAYERS = 12
GATES = ("last", "uniform", "static", "raw", "dynamic", "dynamic_all", "token")
BACKBONES = ("mini", "mini_without_cmsc", "random_mini", "random_full", "ecg_fm")
LEADS = ("II", "I", "copied", "learnt")
SUBSETS = {"first_4": (1, 2, 3, 4), "middle_4": (5, 6, 7, 8), "last_4": (9, 10, 11, 12)}
LAYERS = (*SUBSETS, *map(str, range(1, N_LAYERS + 1)))

# The first is our main reading of the paper, on mini-ECG-FM; each of the others is a change.
VARIANTS: dict[str, dict[str, object]] = {
    "published": {},
    **{f"gate_{name}": {"gate": name} for name in ("last", "uniform", "raw")},
    # A map has a weight for each feature, and saturates with the steps that a number needs.
    "gate_dynamic": {"gate": "dynamic", "gate_lr": 1e-3},
    "gate_dynamic_all": {"gate": "dynamic", "context": "all", "gate_lr": 1e-3},
    "gate_token": {"gate": "token", "gate_lr": 1e-3},
    **{name: {"layers": chosen} for name, chosen in SUBSETS.items()},
    # The last of all layers is the gate's own choice.
    **{f"layer_{k}": {"layers": (k,), "gate": "last"} for k in range(1, N_LAYERS)},
    "layer_norm": {"normalise": "layer_norm"},
    "layer_zscore": {"normalise": "zscore"},
    "linear_head": {"widths": ()},
    "lead_I": {"lead_input": "lead_I"},
    "lead_copied": {"lead_input": "copied"},
    "lead_learnt": {"lead_input": "learnt", "tuning": "frozen"},
    **{name: {"backbone": name} for name in BACKBONES[1:]},
    "through_backbone": {"tuning": "frozen"},
    "lora": {"tuning": "lora"},
    "full_fine_tuning": {"tuning": "full"},
}
WHOLE = ("published", "published+random_full")
_NETWORK = (
    "backbone", "gate", "context", "layers", "normalise", "widths", "lead_input", "tuning",
)  # fmt: skip


def network_options(variant: str) -> dict[str, object]:
    """Return what a variant changes in the networks, such as ``"published+gate_last"``.

    Raises
    ------
    ParameterError
        If a part of the name is unknown.
    """
    return {key: value for key, value in options(VARIANTS, variant).items() if key in _NETWORK}


def training_options(variant: str) -> dict[str, object]:
    """Return what a variant changes in the training: the learning rate of the gate."""
    return {key: value for key, value in options(VARIANTS, variant).items() if key not in _NETWORK}


def composed(variant: str, backbone: str, gate: str, layers: str | None, lead: str) -> str:
    """Return a variant with what the notebook's parameters ask for; defaults add nothing."""
    added = [] if backbone == "mini" else [backbone]
    if layers is None or layers in SUBSETS:
        added += [] if gate == "static" else [f"gate_{gate}"]
        added += [] if layers is None else [layers]
    else:
        added.append("gate_last" if layers == str(N_LAYERS) else f"layer_{layers}")
    added += [] if lead == "II" else [f"lead_{lead}"]
    return "+".join([variant, *(one for one in added if one not in variant.split("+"))])
