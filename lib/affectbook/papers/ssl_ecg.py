"""Self-supervised ECG: an encoder that learns without labels, and heads that recognise emotion.

P. Sarkar and A. Etemad, "Self-Supervised ECG Representation Learning for Emotion Recognition",
IEEE Transactions on Affective Computing 13(3), 1541-1554, 2022, doi 10.1109/TAFFC.2020.3014842,
and ICASSP 2020, 3217-3221. At hand were the authors' released code and graph and both abstracts;
every number of the papers' bodies is "not found".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from affectbook import protocols
from affectbook.claims import Claim, with_numbers
from affectbook.datasets import without
from affectbook.experiments import Data, Setting
from affectbook.papers._setting import param, resolved
from affectbook.papers._ssl_ecg_checks import require_sense
from affectbook.papers._ssl_ecg_claims import PUBLISHED_CLAIMS
from affectbook.papers._ssl_ecg_released import HEADS as RELEASED_HEADS
from affectbook.papers._ssl_ecg_released import RELEASED, released_for
from affectbook.papers._ssl_ecg_sweeps import SWEEPS
from affectbook.papers._ssl_ecg_variants import (
    HEADS,
    VARIANTS,
    WHOLE,
    composed,
    network_options,
    training_options,
)
from affectbook.scales import Scale

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.base import BaseEstimator

    from affectbook.encoders import PretrainedEncoder
    from affectbook.models.ssl_ecg import TransformationRecognition

__all__ = [
    "PUBLISHED_CLAIMS", "RELEASED", "SWEEPS", "VARIANTS", "WHOLE", "network_options",
    "training_options",
]  # fmt: skip

TITLE = "Self-supervised ECG"
NETWORK = "affectbook.models.ssl_ecg"
USES = ("affectbook.encoders", "affectbook.models.pretexts")
HEADLINE = (
    "Recognising transformations teaches a network about emotions, better than labels alone. Our "
    "test: is it better than the same network trained from scratch on new people?"
)
HEADLINE_CLAIM = "beats_supervised"
# The network takes one lead; which one of two the paper took was not found.
DATASETS = {
    "dreamer": "dreamer:ECG1", "wesad": "wesad", "amigos": "amigos:ECG-right", "swell": "swell",
    "eegmat": "eegmat", "drivedb": "drivedb",
}  # fmt: skip
TARGETS = {"dreamer": "arousal", "amigos": "arousal"}
PRETEXTS = ("transformations", "contrastive", "none", "random")
PRETRAINING = ("other", "fold", "transductive")
# The emotion head of the released code by data set, its L2 penalty and dropout; two layers
# elsewhere.
_THREE_LAYERS = {"dreamer": (1e-4, 0.2), "amigos": (0.0, 0.4)}
HEAD_EPOCHS, HEAD_BATCH = 200, 128

SCALES = {
    "smoke": Scale(
        6, 256, 10, 0, 2, 2, 1, 16, 1,
        "a minute: 6 subjects, 2 windows a trial, one epoch; shows that it runs, says nothing",
    ),
    "teaching": Scale(
        12, 256, 10, 0, 2, 3, 3, 16, 3,
        "about three minutes on two quiet cores: 12 subjects, 2 windows of 10 s a trial, 3 folds "
        "(10 as published), an encoder pretrained for 10 epochs (100) on other data",
    ),
    "ablation": Scale(
        None, 128, 10, 0, 2, 2, 8, 4, 8,
        "three minutes for each variant on one core: 2 windows of 10 s a trial at 128 Hz (256 as "
        "published), 2 folds, 8 epochs of pretraining in the fold with batches of 4 windows",
    ),
    "difficulty": Scale(
        None, 128, 10, 0, 2, 2, 12, 4, 12,
        "a minute for each strength on one core: as ablation, with one transformation at a time "
        "and 12 epochs",
    ),
    "recorded": Scale(
        None, 256, 10, 0, 4, 3, 6, 16, 6,
        "seconds on one core for a frozen encoder and a protocol, two minutes for a trained one: 4 "
        "windows of 10 s a trial, 3 folds (10 as published), an encoder pretrained for 10 epochs "
        "(100) on other data; 6 epochs where it is trained with labels",
    ),
    "drives": Scale(
        None, 256, 10, 0, 24, 2, 6, 16, 6,
        "as recorded, for drives of an hour: 24 windows of a stretch, 2 folds",
    ),
    "paper": Scale(
        None, 256, 10, 0, None, 10, 100, 128, 100,
        "as published, with -p pretraining fold: all windows of 10 s, 10 folds, 100 epochs of "
        "pretraining with batches of 128 windows. Days on two cores",
    ),
}  # fmt: skip

DEVIATIONS = (
    "The encoder is pretrained on other data sets, by default, so that no fold can have seen its "
    "test subjects: for DREAMER's twin on the twins of the three other data sets of the paper, for "
    "other twins and real recordings on real ones. As published, it is pretrained on the training "
    "windows of four data sets at once, whose subjects are in the test, too.",
    "Ten epochs of pretraining with batches of 8 windows, contrastive 16 (100 and 128 as "
    "published), in bfloat16 for the released weights; in the fold as the scale says.",
    "A 0.5 Hz zero-phase high-pass of order 4 in place of 0.8 Hz, whose order was not found.",
    "Ratings are binarised; the released code keeps five classes on DREAMER, and the threshold of "
    "the binary results was not found. `label_rule` chooses.",
    "The mean and deviation of a subject are over all of that subject's windows; as released they "
    "are those of the last listed recording alone.",
    "One lead of two is used on DREAMER and AMIGOS; which one, or both, was not found.",
    "Heads are trained once, for 200 epochs, after a number of pretext epochs fixed before; as "
    "released they are trained and tested after each of 100 epochs.",
    "Networks trained from scratch or fine-tuned get the epochs of the scale (from scratch, 40 in "
    "the sweep of ablations), all training windows and no selection; the authors' fully supervised "
    "network was not found.",
    "Gradients of heads and of networks that are trained with labels are clipped at norm 1; those "
    "of the pretext are not, as released.",
    "The contrastive pretext is another person's description, without temperature, projection, "
    "batch, augmentations or learning rate; these are ours.",
)


@dataclass(frozen=True)
class Params:
    """Parameters of ``notebooks/ssl_ecg.ipynb``; None means "as the scale says"."""

    dataset: str = param("dreamer", "data set, with ECG", choices=tuple(DATASETS))
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
    pretext: str = param(
        "transformations", "what the encoder learns without labels; none: it is trained with "
        "labels from scratch; random: not at all", choices=PRETEXTS,
    )  # fmt: skip
    head: str | None = param(
        None, "on top of the encoder; None: as the document of the pretext says", choices=HEADS
    )
    finetune: bool | None = param(
        None, "train the encoder with labels, too; None: as the document of the pretext says"
    )
    label_budget: float = param(
        1.0, "share of the training trials whose labels are used", low=0.01, high=1.0
    )
    pretraining: str = param(
        "other", "where the encoder is pretrained: on other data, on the training windows of each "
        "fold, or on all windows (transductive)", choices=PRETRAINING,
    )  # fmt: skip
    subjects: int | None = param(None, "number of subjects", low=4)
    seconds: float | None = param(None, "length of a window in seconds", low=2.0, high=60.0)
    overlap: float | None = param(
        None, "share two neighbouring windows have in common", low=0.0, high=0.95
    )
    allow_missing: str = param("", "subjects to do without, such as S07,S09")
    effect: float = param(
        1.0, "simulated only: how much conditions differ (0: not at all)", low=0.0, high=3.0
    )
    fingerprint: float = param(
        1.0, "simulated only: how recognisable subjects and trials are", low=0.0, high=3.0
    )
    variant: str = param("published", "of the method; several are joined by +")
    scale: str = param("teaching", "how much is run", choices=tuple(SCALES))
    epochs: int | None = param(None, "epochs of whatever trains an encoder", low=1, high=500)
    seed: int = param(0, "of simulated data, coins, networks", low=0, high=4_000_000)
    device: str = param("cpu", "cpu or cuda", choices=("cpu", "cuda"))


def setting(params: Params) -> Setting:
    """Resolve parameters over their scale's preset.

    Raises
    ------
    ParameterError
        If the variant is unknown, or data set, tier, label rule, protocol and pretraining do not
        go together.
    """
    variant = composed(
        params.variant, params.pretext, params.head, params.finetune, params.pretraining
    )
    require_sense(params, network_options(variant) | training_options(variant))
    return resolved(
        "ssl_ecg", params, SCALES,
        ("allow_missing", "pretext", "head", "finetune", "label_budget", "pretraining"),
        dataset=without(DATASETS[params.dataset], params.allow_missing), variant=variant,
        target=params.target or TARGETS.get(params.dataset, "condition"),
    )  # fmt: skip


def claims() -> list[Claim]:
    """Return the claims, with the numbers that readers have filled in."""
    return with_numbers(
        "ssl_ecg", PUBLISHED_CLAIMS, Path(__file__).with_name("published_numbers.csv")
    )


def build(setting: Setting, data: Data, variant: str | None = None) -> BaseEstimator:
    """Return the unfitted classifier of a variant: encoder and emotion head.

    Frozen, the head is trained for 200 epochs with batches of 128, as released; fine-tuned or from
    scratch, the whole network is trained for the epochs of the setting.
    """
    from torch import optim

    from affectbook.encoders import EncoderNet, PublishedLoss
    from affectbook.models.scaling import WindowScaler
    from affectbook.models.ssl_ecg import BLOCKS, EmotionHead, EmotionNet

    variant = variant or setting.variant
    network, training = network_options(variant), training_options(variant)
    name = _set_of(setting)
    decay, dropout = _THREE_LAYERS.get(name, (0.0, None))
    head = network.get("head", "dense_512x3" if name in _THREE_LAYERS else "dense_512x2")
    finetune = network.get("finetune", False)
    if finetune:
        shape = {"n_chans": data.X.shape[1], "n_times": data.X.shape[2]}
        shape |= _encoder_options(network)
    else:
        shape = {"n_chans": 1, "n_times": BLOCKS[network.get("n_blocks", 3) - 1][0]}
    shape |= {"n_outputs": data.n_outputs, "head": head}
    shape |= {"dropout": dropout} if head == "dense_512x3" else {}
    sgd = training.get("optimizer") == "sgd"
    return EncoderNet(
        EmotionNet if finetune else EmotionHead,
        **{f"module__{key}": value for key, value in shape.items()},
        encoder=_encoder(setting, data, variant),
        finetune=finetune,
        criterion=PublishedLoss,
        optimizer=optim.SGD if sgd else optim.Adam,
        lr=1e-2 if sgd else 1e-3,
        **({"optimizer__momentum": 0.9} if sgd else {}),
        weight_decay=decay if head == "dense_512x3" else 0.0,
        max_epochs=setting.epochs if finetune else HEAD_EPOCHS,
        batch_size=setting.batch_size if finetune else HEAD_BATCH,
        patience=None,
        checkpoint="last",
        scaler=WindowScaler(training.get("scaler", "per_subject_zscore")),
        seed=setting.seed,
        device=setting.device,
    )


def weights_of(setting: Setting, variant: str | None = None) -> tuple[str, ...]:
    """Return name and SHA-256 of the released weights that a setting uses; nothing if it uses none.

    Sweeps have them in their keys: other weights, other scores.
    """
    variant = variant or setting.variant
    pretext = network_options(variant).get("pretext", "transformations")
    training = training_options(variant)
    if pretext in ("none", "random") or training.get("source"):
        return ()
    pooled = training.get("pooled", True)
    name = released_for(pretext, _set_of(setting), setting.tier, pooled)
    return name, RELEASED[name]


def _set_of(setting: Setting) -> str:
    """Return the data set of a setting without its lead and whatever else stands behind it."""
    return setting.dataset.split(":")[0].split()[0]


def _encoder(setting: Setting, data: Data, variant: str) -> PretrainedEncoder | None:
    """Return the unfitted encoder of a variant; None if it is trained from scratch."""
    from affectbook.encoders import RANDOM, PretrainedEncoder

    network, training = network_options(variant), training_options(variant)
    pretext = network.get("pretext", "transformations")
    if pretext == "none":
        return None
    source, sha256 = weights_of(setting, variant) or (training.get("source", RANDOM), None)
    return PretrainedEncoder(
        RANDOM if pretext == "random" else source,
        sha256=sha256,
        pretext=pretext_of(variant),
        options=tuple(_encoder_options(network).items()),
        n_blocks=network.get("n_blocks", 3),
        dataset=_set_of(setting),
        tier=setting.tier,
        sfreq=data.sfreq,
        epochs=setting.epochs,
        batch_size=setting.batch_size,
        seed=setting.seed,
        device=setting.device,
    )


def _encoder_options(network: dict[str, object]) -> dict[str, object]:
    """Return what a variant changes in the encoder itself."""
    return {key: network[key] for key in ("activation", "batch_norm", "pooling") if key in network}


def weights() -> pd.DataFrame:
    """Return the weights that `pretrain` makes, and of what: a row each."""
    from affectbook.papers import _ssl_ecg_weights

    return _ssl_ecg_weights.table()


def with_heads() -> TransformationRecognition:
    """Return the network of the published pretext with its heads, pretrained on three twins.

    Raises
    ------
    CheckpointError
        If its weights are not there, or not those that were released.
    """
    from affectbook.papers import _ssl_ecg_weights

    return _ssl_ecg_weights.with_heads(*RELEASED_HEADS)


def pretrain(name: str) -> Path:
    """Make released weights by their recipe, and return where they lie.

    Raises
    ------
    ParameterError
        If there is no such recipe.
    DataNotFoundError
        If recordings that they are made of are not there.
    """
    from affectbook.papers import _ssl_ecg_weights

    return _ssl_ecg_weights.make(name)


def pretext_of(variant: str) -> BaseEstimator:
    """Return the pretext of a variant, with its strengths, tasks and weights."""
    from affectbook.models.pretexts import Contrastive, Transformations

    pretext = network_options(variant).get("pretext", "transformations")
    kind = Contrastive if pretext == "contrastive" else Transformations
    known = kind().get_params()
    return kind(**{key: one for key, one in training_options(variant).items() if key in known})


def reference_models(setting: Setting, data: Data) -> dict[str, BaseEstimator]:
    """Return what the encoder is compared with, and what recognises recordings by themselves."""
    from affectbook.models import reference

    return {
        "majority": reference.majority(),
        "hrv_logistic": reference.hrv_logistic(data.sfreq),
        "fingerprint": reference.fingerprint(data.sfreq),
    }
