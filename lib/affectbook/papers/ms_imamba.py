"""MS-iMamba: EEG of four frontal electrodes, foldings at several scales, a scan over electrodes.

X. Zhou, D. Huang, X. Peng and L. Yin, "miMamba: EEG-based Emotion Recognition with Multi-scale
Inverted Mamba Models", IEEE Transactions on Affective Computing, 2025; arXiv 2409.07589, whose
first version has another title. At hand were the abstract, the opening of the introduction, the
captions of the figures, and a summary of the full text without hyperparameters or tables. The
authors' code was not found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from affectbook.claims import Claim, with_numbers
from affectbook.datasets import without
from affectbook.experiments import Data, Setting
from affectbook.papers._ms_imamba_channels import FRONTAL, NAMES, SETS, blinking, named
from affectbook.papers._ms_imamba_claims import PUBLISHED_CLAIMS
from affectbook.papers._ms_imamba_sweeps import SWEEPS
from affectbook.papers._ms_imamba_variants import (
    ORDERS,
    VARIANTS,
    WHOLE,
    composed,
    network_options,
    training_options,
)
from affectbook.papers._setting import param, resolved
from affectbook.protocols import PROTOCOLS
from affectbook.scales import Scale

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["FRONTAL", "ORDERS", "PUBLISHED_CLAIMS", "SETS", "SWEEPS", "VARIANTS", "WHOLE",
           "blinking", "named", "network_options", "training_options"]  # fmt: skip

TITLE = "MS-iMamba"
NETWORK = "affectbook.models.ms_imamba"
# What `build` and `reference_models` take besides: their code decides scores, too.
USES = ("affectbook.models.eeg_scaling",)
REFERENCES = (
    "affectbook.models.eeg_scaling", "affectbook.models.eeg_classical",
    "affectbook.models.eeg_reference", "affectbook.models.series_reference",
)  # fmt: skip
HEADLINE = (
    "Above 90 % from raw EEG of four frontal electrodes, without hand-made features. Our test: is "
    "it better than band powers and a linear classifier on new people?"
)
HEADLINE_CLAIM = "beats_de_svm"
# What is predicted, where `target` is None; a data set with ratings has several.
TARGETS = {"deap": "arousal", "dreamer": "arousal", "seed": "condition", "eegmat": "condition"}
# Windows keep the rate of the data set, so that their lengths are those of the fact sheet.
_SFREQ = {"seed": 200.0}

SCALES = {
    "smoke": Scale(
        6, 128, 1, 0, 4, 2, 1, 64, 1,
        "a minute: 6 subjects, 4 windows a trial, one epoch; shows that it runs, says nothing",
    ),
    "teaching": Scale(
        12, 128, 1, 0, 10, 3, 4, 128, 4,
        "two to three minutes on two quiet cores: 12 subjects, up to 10 windows of 1 s a trial, 3 "
        "folds, 4 epochs, batch 128. The paper's numbers for all of these were not found",
    ),
    "ablation": Scale(
        None, 128, 1, 0, 20, 3, 8, 64, 3,
        "half a minute for most variants on one core: up to 20 windows of 1 s a trial, 3 folds, up "
        "to 8 epochs and 3 without progress, batch 64",
    ),
    "sessions": Scale(
        12, 128, 1, 0, 10, 3, 8, 32, 4,
        "a minute for a variant and a session: 12 subjects, up to 10 windows of 1 s a clip, 3 "
        "folds, up to 8 epochs, batch 32",
    ),
    "recorded": Scale(
        None, 128, 1, 0, None, 5, 15, 128, 5,
        "two to five minutes on one core for a protocol and a seed: all windows of 1 s, 5 folds, "
        "up to 15 epochs and 5 without progress (the declared reading allows 50), batch 128",
    ),
    "longer": Scale(
        None, 128, 1, 0, None, 5, 40, 128, 40,
        "ten minutes on one core for a protocol and a seed: as recorded, but 40 epochs",
    ),
    "paper": Scale(
        None, 128, 1, 0, None, 10, 50, 128, 10,
        "as much as the declared reading asks for: all windows of 1 s, 10 folds, 50 epochs, batch "
        "128. What the paper took was not found",
    ),
}  # fmt: skip

DEVIATIONS = (
    "The network is a declared reading: its widths, depths, kernels, activations, norms, residuals "
    "and dropout (none) are ours, because none of them was found. Each has a switch, or its name "
    "in the constructor.",
    "Windows of 1 s without overlap, z-scored per channel with the mean and deviation of the "
    "training windows; window length, overlap, normalisation, filter and the removal of the "
    "recording before the stimulus were not found.",
    "Adam with a learning rate of 0.001 and a weight decay of 0.0001, batch 128, gradients clipped "
    "at 1, a rate that drops tenfold after 15 epochs without progress; none of these was found.",
    "The weights of the best epoch on inner validation windows are kept. Under honest protocols "
    "these come from held-out subjects, trials, sessions or stimuli, never from the test windows.",
    "Models are trained on all subjects together, also where the test subject is known "
    "(intra-subject); whether the paper trains one model for each subject was not found.",
    "DREAMER has no FP1 and FP2, eegmat no AF3 and AF4. We take AF3, AF4, F3, F4 and Fp1, Fp2, F3, "
    "F4; which ones the paper takes was not found.",
    "The Non-stationary Transformer and the Informer, with which the paper compares, are not "
    "among our reference models; EEGNet, an MLP on the same tokens, and band powers are.",
    "The state takes up its input by the first-order rule of the published Mamba, not by the exact "
    "zero-order hold that the summary of the paper prints.",
)


@dataclass(frozen=True)
class Params:
    """Parameters of ``notebooks/ms_imamba.ipynb``; None means "as the scale says"."""

    dataset: str = param("deap", "data set, with EEG", choices=tuple(SETS))
    tier: str = param(
        "simulated", "simulated, open or licensed", choices=("simulated", "open", "licensed")
    )
    target: str | None = param(
        None, "what is predicted; None: arousal where people rated it, else the condition",
        choices=("condition", "valence", "arousal", "quadrant"),
    )  # fmt: skip
    label_rule: str | None = param(None, "trial to class; None: the card's first for the target")
    protocol: str = param("group_kfold_subject", "the honest protocol", choices=tuple(PROTOCOLS))
    channels: str = param(
        FRONTAL, f"electrodes: {', '.join(NAMES)}, or names joined by commas"
    )
    subjects: int | None = param(None, "number of subjects", low=4)
    seconds: float | None = param(None, "length of a window in seconds", low=0.5, high=30.0)
    overlap: float | None = param(
        None, "share two neighbouring windows have in common", low=0.0, high=0.95
    )
    highpass: float = param(0.5, "lower edge of the filter in Hz", low=0.1, high=40.0)
    allow_missing: str = param("", "subjects to do without, such as s07,s09")
    effect: float = param(
        3.0, "simulated only: how much conditions differ (0: not at all)", low=0.0, high=3.0
    )
    fingerprint: float = param(
        1.0, "simulated only: how recognisable subjects and trials are", low=0.0, high=3.0
    )
    variant: str = param("declared", "of the network; several are joined by +")
    embedding: str = param("R2", "what a token is", choices=("R1", "R2", "R3", "normal"))
    periods: str = param(
        "sample", "whose spectrum chooses the periods", choices=("sample", "batch", "log_spaced")
    )
    scale: str = param("teaching", "how much is run", choices=tuple(SCALES))
    epochs: int | None = param(None, "training epochs", low=1, high=500)
    seed: int = param(0, "of simulated data, coins, networks", low=0, high=4_000_000)
    device: str = param("cpu", "cpu or cuda", choices=("cpu", "cuda"))


def setting(params: Params) -> Setting:
    """Resolve parameters over their scale's preset.

    Raises
    ------
    ParameterError
        If the variant is unknown, or data set, channels, tier and label rule do not go together.
    """
    variant = composed(params.variant, params.embedding, params.periods)
    dataset = named(params.dataset, params.channels)
    training = training_options(variant)
    network_options(variant)
    if training.get("blinks"):
        blinking(dataset)
    return resolved(
        "ms_imamba", params, SCALES, ("allow_missing", "channels", "embedding", "periods"),
        dataset=without(dataset, params.allow_missing), variant=variant,
        target=params.target or TARGETS.get(params.dataset, "condition"),
        sfreq=_SFREQ.get(params.dataset),
    )  # fmt: skip


def claims() -> list[Claim]:
    """Return the claims, with the numbers that readers have filled in."""
    return with_numbers(
        "ms_imamba", PUBLISHED_CLAIMS, Path(__file__).with_name("published_numbers.csv")
    )


def build(setting: Setting, data: Data, variant: str | None = None) -> BaseEstimator:
    """Return the untrained MS-iMamba of a variant, as a scikit-learn estimator."""
    from affectbook.models.ms_imamba import MSiMamba

    variant = variant or setting.variant
    return _network(
        MSiMamba, setting, data, training_options(variant), **network_options(variant)
    )


def reference_models(setting: Setting, data: Data) -> dict[str, BaseEstimator]:
    """Return what MS-iMamba is compared with, on the same windows and trained the same way."""
    from affectbook.models import reference
    from affectbook.models.eeg_classical import de_svm
    from affectbook.models.eeg_reference import TCN, EEGNet, TokenMLP
    from affectbook.models.series_reference import DLinear, ITransformer, TimesNet

    networks = {
        "eegnet": (EEGNet, {"kernel": round(data.sfreq / 2)}),
        "token_mlp": (TokenMLP, {}),
        "dlinear": (DLinear, {}),
        "itransformer": (ITransformer, {}),
        "timesnet": (TimesNet, {}),
        "tcn": (TCN, {}),
    }
    return {
        "majority": reference.majority(),
        "fingerprint": reference.fingerprint(data.sfreq),
        "de_svm": de_svm(data.sfreq),
    } | {
        name: _network(module, setting, data, **options)
        for name, (module, options) in networks.items()
    }


def _network(
    module: type,
    setting: Setting,
    data: Data,
    training: Mapping[str, object] = MappingProxyType({}),
    **options: object,
) -> BaseEstimator:
    from torch.optim import Adam

    from affectbook.models.eeg_scaling import EegScaler
    from affectbook.models.network import WindowNet

    shape = {"n_chans": data.X.shape[1], "n_times": data.X.shape[2], "n_outputs": data.n_outputs}
    blinks = blinking(setting.dataset) if training.get("blinks") else ()
    return WindowNet(
        module,
        **{f"module__{name}": value for name, value in (shape | options).items()},
        optimizer=Adam,
        weight_decay=1e-4,
        max_epochs=setting.epochs,
        batch_size=setting.batch_size,
        patience=setting.patience,
        checkpoint=training.get("checkpoint", "best"),
        scaler=EegScaler(training.get("scaler", "zscore"), blinks, data.sfreq),
        seed=setting.seed,
        device=setting.device,
    )
