"""NMoE: the layers of a frozen ECG foundation model as experts, and a gate that mixes them.

N. Mansourian, A. Mohammadi, M. O. Ahmad and M. N. S. Swamy, "ECG-EmotionNet: Nested Mixture of
Expert (NMoE) Adaptation of ECG-Foundation Model for Driver Emotion Recognition", arXiv 2503.01750,
2025. At hand were the abstract and a public summary that says of itself that gate and aggregation
are inferred; authors' code was not found. The backbone, ECG-FM, was read from its released code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from affectbook import protocols
from affectbook.claims import Claim, with_numbers
from affectbook.datasets import without
from affectbook.experiments import Data, Setting
from affectbook.papers._nmoe_checks import require_sense
from affectbook.papers._nmoe_claims import PUBLISHED_CLAIMS
from affectbook.papers._nmoe_released import MINI, RELEASED
from affectbook.papers._nmoe_sweeps import SWEEPS
from affectbook.papers._nmoe_variants import (
    BACKBONES,
    GATES,
    LAYERS,
    LEADS,
    VARIANTS,
    WHOLE,
    composed,
    network_options,
    training_options,
)
from affectbook.papers._setting import param, resolved
from affectbook.scales import Scale

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.base import BaseEstimator

    from affectbook.backbones import Lazy

__all__ = [
    "PUBLISHED_CLAIMS", "RELEASED", "SWEEPS", "VARIANTS", "WHOLE", "network_options",
    "training_options",
]  # fmt: skip

TITLE = "ECG-EmotionNet (NMoE)"
NETWORK = "affectbook.models.nmoe"
USES = (
    "affectbook.layer_embeddings", "affectbook.models.ecg_fm", "affectbook.models.leads",
    "affectbook.models.nmoe_whole",
)  # fmt: skip
HEADLINE = (
    "The paper says: a gate over all layers of a frozen ECG foundation model recognises drivers' "
    "emotions better than other adaptations. Our test: is it better than the last layer alone on "
    "new people?"
)
HEADLINE_CLAIM = "gate_beats_last"
# The network takes one lead; which one of two would be taken was not found.
DATASETS = {
    "mand": "mand:ECG", "dreamer": "dreamer:ECG1", "eegmat": "eegmat", "drivedb": "drivedb",
}  # fmt: skip
TARGETS = {"dreamer": "arousal"}
# Not found in the paper: ours. Gates of one number per layer need larger steps than a head to move
# at all in ten epochs; `gate_lr` of a variant has others.
LR, GATE_LR, TUNING_LR = 1e-3, 0.05, 1e-4

SCALES = {
    "smoke": Scale(
        4, 500, 5, 0.0, 2, 2, 1, 16, 1,
        "half a minute: 4 subjects, 2 windows a trial, one epoch; shows that it runs, says nothing",
    ),
    "teaching": Scale(
        10, 500, 5, 0.5, None, 5, 10, 32, 10,
        "about three minutes on two quiet cores: 10 subjects (39 as published), windows of 5 s "
        "that overlap by half (75 % as published), 5 folds and 10 epochs as published, the small "
        "backbone of this book",
    ),
    "recorded": Scale(
        None, 500, 5, 0.0, None, 5, 10, 32, 10,
        "seconds on one core for a gate on embeddings that are kept, ten minutes to make those of "
        "the full-size backbone: all windows of 5 s without overlap, 5 folds and 10 epochs as "
        "published",
    ),
    "unresampled": Scale(
        None, 256, 5, 0.0, None, 5, 10, 32, 10,
        "as recorded, at 256 Hz as a wearable has it: to a network that was pretrained at 500 Hz, "
        "hearts then beat about twice as fast",
    ),
    "drives": Scale(
        None, 500, 5, 0.0, 24, 2, 10, 32, 10,
        "as recorded, for drives of an hour: 24 windows of a stretch, 2 folds",
    ),
    "overlap": Scale(
        None, 500, 5, 0.0, None, 5, 10, 32, 10,
        "minutes on one core: as recorded, with windows that overlap by 0 to 90 %",
    ),
    "tuning": Scale(
        None, 500, 5, 0.0, 3, 3, 10, 16, 10,
        "five minutes on one core where the small backbone is trained: 3 windows of a trial, 3 "
        "folds, batches of 16",
    ),
    "noise": Scale(
        None, 500, 5, 0.0, 4, 3, 10, 32, 10,
        "minutes on one core: 4 windows of a trial, 3 folds; each test window 15 times",
    ),
    "paper": Scale(
        None, 500, 5, 0.75, None, 5, 10, 64, 10,
        "as published, with -p backbone ecg_fm: windows that overlap by 75 %, 5 folds, 10 epochs. "
        "Hours on two cores, minutes on a GPU",
    ),
}  # fmt: skip

DEVIATIONS = (
    "The default backbone is mini-ECG-FM: twelve layers as ECG-FM has, 1.45 million parameters "
    "(ECG-FM: 90 million), pretrained by this book on simulated people of twelve leads and 109 "
    "windows of open recordings. It is not ECG-FM. `-p backbone ecg_fm` takes the published "
    "weights, where they are; no score of this page was made with them.",
    "Its pretraining has 1,500 steps of 16 segments (ECG-FM: up to 200 epochs, 1,024 segments in a "
    "step), a learning rate ten times as high, Adam's defaults without weight decay, 64 codes in a "
    "group (320), a temperature that cools faster, no dropout, bfloat16, and CMSC from the sixth "
    "epoch on, among eight windows.",
    "The gate is a softmax over one number per layer; its equation was not found. `-p gate` has "
    "the other readings. The learning rate of its numbers is 0.05, that of a map and of the head "
    "0.001, since with larger steps a map chooses one layer for all windows; neither was found.",
    "The head is 256 and 64 units with batch norm, ReLU and dropout 0.2; widths, dropout and "
    "activation were not found.",
    "Windows have 5 s, ECG-FM's own length; theirs was not found. They are resampled from 256 to "
    "500 Hz, which ECG-FM was pretrained at; whether the authors did was not found.",
    "One lead stands in the place of lead II, zeros in the eleven others; how the authors fed one "
    "lead to twelve was not found. `-p lead` has other ways.",
    "A 0.5 Hz zero-phase high-pass of order 4; its edge was not found.",
    "Each window is scaled by itself, ECG-FM scales over the recording. With one lead this is "
    "nearly the same: the norm behind the first convolution takes scale and offset of a window "
    "away.",
    "Batches of 32 windows, cross-entropy without class weights, gradients clipped at norm 1, no "
    "schedule, the weights after the tenth epoch; what the authors did was not found.",
    "Recorded scores are of windows without overlap, live ones of windows that overlap by half (75 "
    "% as published), and all are balanced accuracies (accuracy, F1).",
    "manD was not at hand: its twin is simulated. Real recordings are those of eegmat and drivedb, "
    "where nobody was asked for an emotion.",
)


@dataclass(frozen=True)
class Params:
    """Parameters of ``notebooks/nmoe.ipynb``; None means "as the scale says"."""

    dataset: str = param("mand", "data set, with ECG", choices=tuple(DATASETS))
    tier: str = param(
        "simulated", "simulated, open or licensed", choices=("simulated", "open", "licensed")
    )
    target: str | None = param(
        None, "what is predicted; None: arousal where people rated it, else the condition",
        choices=("condition", "valence", "arousal", "dominance", "quadrant"),
    )  # fmt: skip
    label_rule: str | None = param(None, "trial to class; None: the card's first for the target")
    protocol: str = param(
        "group_kfold_subject", "the honest protocol", choices=tuple(protocols.PROTOCOLS)
    )
    backbone: str = param(
        "mini", "frozen: the small one of this book (with or without CMSC), random weights in its "
        "size or in that of ECG-FM, or the published file", choices=BACKBONES,
    )  # fmt: skip
    gate: str = param(
        "static", "how layers are weighed: one number each (softmax or raw), by the window's last "
        "layer or by all of them, by each token; or the last layer, or their mean", choices=GATES,
    )  # fmt: skip
    layers: str | None = param(None, "which layers are mixed; None: all", choices=LAYERS)
    lead: str = param("II", "where the one lead goes among twelve", choices=LEADS)
    subjects: int | None = param(None, "number of subjects", low=4)
    seconds: float | None = param(None, "length of a window in seconds", low=1.0, high=20.0)
    overlap: float | None = param(
        None, "share two neighbouring windows have in common", low=0.0, high=0.95
    )
    allow_missing: str = param("", "subjects to do without, such as 38,39")
    effect: float = param(
        1.0, "simulated only: how much conditions differ (0: not at all)", low=0.0, high=3.0
    )
    fingerprint: float = param(
        1.0, "simulated only: how recognisable subjects and trials are", low=0.0, high=3.0
    )
    variant: str = param("published", "of the method; several are joined by +")
    scale: str = param("teaching", "how much is run", choices=tuple(SCALES))
    epochs: int | None = param(None, "epochs of gate and head", low=1, high=200)
    seed: int = param(0, "of simulated data, coins, networks", low=0, high=4_000_000)
    device: str = param("cpu", "cpu or cuda", choices=("cpu", "cuda"))


def setting(params: Params) -> Setting:
    """Resolve parameters over their scale's preset.

    Raises
    ------
    ParameterError
        If the variant is unknown, or gate, layers, lead, backbone, data set, tier, label rule and
        protocol do not go together.
    """
    variant = composed(
        params.variant, params.backbone, params.gate, params.layers, params.lead
    )
    require_sense(params, network_options(variant))
    return resolved(
        "nmoe", params, SCALES, ("allow_missing", "backbone", "gate", "layers", "lead"),
        dataset=without(DATASETS[params.dataset], params.allow_missing), variant=variant,
        target=params.target or TARGETS.get(params.dataset, "condition"),
    )  # fmt: skip


def claims() -> list[Claim]:
    """Return the claims, with the numbers that readers have filled in."""
    return with_numbers(
        "nmoe", PUBLISHED_CLAIMS, Path(__file__).with_name("published_numbers.csv")
    )


def build(setting: Setting, data: Data, variant: str | None = None) -> BaseEstimator:
    """Return the unfitted classifier of a variant: gate and head on a frozen backbone.

    Its layers are computed once for each window and kept. Variants that train the backbone, or see
    through it, have it inside.

    Raises
    ------
    CheckpointError, DataNotFoundError
        When it is fitted, if the weights of the backbone are not there, or other ones.
    """
    from torch import optim

    from affectbook.layer_embeddings import LayerEmbeddings, LayerNet
    from affectbook.models.nmoe import NMoE
    from affectbook.models.scaling import WindowScaler

    variant = variant or setting.variant
    options = network_options(variant)
    gate_lr = training_options(variant).get("gate_lr", GATE_LR)
    if "tuning" in options:
        return _tuned(setting, data, options, gate_lr)
    own = ("gate", "context", "layers", "normalise", "widths")
    sizes = sizes_of(options)
    return LayerNet(
        NMoE,
        encoder=LayerEmbeddings(
            backbone_of(setting, variant), lead_input=options.get("lead_input", "lead_II"),
            device=setting.device, progress=True,
        ),
        **{f"module__{key}": options[key] for key in own if key in options},
        module__n_layers=sizes.get("n_layers", 12),
        module__hidden=sizes.get("hidden", 768),
        module__n_outputs=data.n_outputs,
        optimizer=optim.Adam,
        lr=LR,
        optimizer__param_groups=[("gate*", {"lr": gate_lr})],
        weight_decay=0.0,
        max_epochs=setting.epochs,
        batch_size=setting.batch_size,
        patience=None,
        checkpoint="last",
        scaler=WindowScaler("per_window_zscore"),
        seed=setting.seed,
        device=setting.device,
    )  # fmt: skip


def _tuned(
    setting: Setting, data: Data, options: dict[str, object], gate_lr: float
) -> BaseEstimator:
    """Return the unfitted classifier with the backbone inside."""
    from torch import optim

    from affectbook import pretrain
    from affectbook.encoders import EncoderNet
    from affectbook.models.nmoe_whole import WholeNMoE
    from affectbook.models.scaling import WindowScaler

    own = ("gate", "context", "layers", "normalise", "widths", "lead_input", "tuning")
    backbone = _released(options)
    weights = {"sizes": tuple(MINI.items())} if backbone is None else {
        "weights": str(pretrain.path_of(backbone)), "sha256": RELEASED[backbone],
    }  # fmt: skip
    return EncoderNet(
        WholeNMoE,
        finetune=True,
        **{f"module__{key}": options[key] for key in own if key in options},
        **{f"module__{key}": value for key, value in weights.items()},
        module__n_chans=data.X.shape[1],
        module__n_times=data.X.shape[2],
        module__n_outputs=data.n_outputs,
        optimizer=optim.Adam,
        lr=LR,
        optimizer__param_groups=[
            ("mixture.gate*", {"lr": gate_lr}), ("*lora_*", {"lr": LR}),
            ("backbone*", {"lr": TUNING_LR}),
        ],
        # A last batch of one window would have no batch norm.
        iterator_train__drop_last=len(data.X) > 4 * setting.batch_size,
        weight_decay=0.0,
        max_epochs=setting.epochs,
        batch_size=setting.batch_size,
        patience=None,
        checkpoint="last",
        scaler=WindowScaler("per_window_zscore"),
        seed=setting.seed,
        device=setting.device,
    )  # fmt: skip


def sizes_of(options: dict[str, object]) -> dict[str, int]:
    """Return the sizes of a variant's backbone as `ECGFM` takes them; of ECG-FM: none."""
    return {} if options.get("backbone") in ("random_full", "ecg_fm") else MINI


def _released(options: dict[str, object]) -> str | None:
    """Return the name of the released weights of a variant, if it takes any."""
    name = f"nmoe_{options.get('backbone', 'mini')}"
    return name if name in RELEASED else None


def backbone_of(setting: Setting, variant: str | None = None) -> Lazy:
    """Return the frozen backbone of a variant; weights are read when they are needed."""
    from affectbook import backbones

    options = network_options(variant or setting.variant)
    name, sizes = options.get("backbone", "mini"), tuple(sizes_of(options).items())
    if (released := _released(options)) is not None:
        return backbones.get(released, sha256=RELEASED[released])
    return backbones.get(name, sizes, seed=setting.seed)


def weights_of(setting: Setting, variant: str | None = None) -> tuple[str, ...]:
    """Return what a variant's backbone is: released or published weights, or random ones.

    Sweeps have it in their keys: other weights, other scores.
    """
    options = network_options(variant or setting.variant)
    if (released := _released(options)) is not None:
        return released, RELEASED[released]
    if options["backbone"] == "ecg_fm":
        from affectbook.obtain.weights import PUBLISHED

        return "ecg_fm", PUBLISHED["ecg_fm"].sha256
    return options["backbone"], str(sorted(sizes_of(options).items()))


def weights() -> pd.DataFrame:
    """Return the weights that `pretrain` makes, and of what: a row each."""
    from affectbook.papers import _nmoe_weights

    return _nmoe_weights.table()


def pretrain(name: str) -> Path:
    """Make released weights by their recipe, and return where they lie.

    Raises
    ------
    ParameterError
        If there is no such recipe.
    DataNotFoundError
        If recordings that they are made of are not there.
    """
    from affectbook.papers import _nmoe_weights

    return _nmoe_weights.make(name)


def reference_models(setting: Setting, data: Data) -> dict[str, BaseEstimator]:
    """Return what the gate is compared with, and what recognises recordings by themselves."""
    from affectbook.models import reference

    return {
        "majority": reference.majority(),
        "hrv_logistic": reference.hrv_logistic(data.sfreq),
        "fingerprint": reference.fingerprint(data.sfreq),
    }
