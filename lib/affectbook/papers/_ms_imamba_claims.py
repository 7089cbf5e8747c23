"""What the paper on MS-iMamba claims, as far as it could be read, and what we ask besides."""

from __future__ import annotations

from affectbook.claims import CHANCE, Claim
from affectbook.papers._ms_imamba_channels import SETS, named

# Verdicts are on the paper's electrodes; other choices of channels are data sets of other names.
_FRONTAL = {"dataset": tuple(named(dataset) for dataset in SETS)}
_NETWORK = {"estimator": "ms_imamba", "variant": "declared"}
_OURS = _NETWORK | _FRONTAL
_ABSTRACT = "abstract"
_SUMMARY = "summary of the full text (no figures found)"
_QUESTION = "our question, not the paper's"
_FULL = ("recorded", "paper")
# The scale of the ablations decides on what had no time at a larger one.
_DECIDING = ("ablation", *_FULL)


def _number(name: str, dataset: str, label_rule: str, number: float, what: str) -> Claim:
    return Claim(
        name, f"Accuracy on {what} from four electrodes (dimension, setting, split, window: not "
        "stated in what we read)", _ABSTRACT, "accuracy", "shuffled_windows_as_published",
        named(dataset), label_rule, number, left=_NETWORK, stated=False,
    )  # fmt: skip


def _above(
    name: str, statement: str, left: object, right: object, source: str,
    scales: tuple[str, ...] = _FULL,
) -> Claim:  # fmt: skip
    metric = "balanced_accuracy"
    return Claim(name, statement, source, metric, left=left, right=right, scales=scales)


def _part(name: str, statement: str, part: str, source: str = _SUMMARY) -> Claim:
    changed = _OURS | {"variant": f"declared+{part}"}
    return _above(name, statement, _OURS, changed, source, _DECIDING)


def _beats(name: str, what: str, source: str, scales: tuple[str, ...] = _FULL) -> Claim:
    right = {"estimator": name, "variant": ""} | _FRONTAL
    return _above(f"beats_{name}", f"It is better than {what}", _OURS, right, source, scales)


PUBLISHED_CLAIMS = (
    _number("deap_accuracy", "deap", "valence > 5", 0.9486, "DEAP"),
    _number("dreamer_accuracy", "dreamer", "valence >= 3", 0.9494, "DREAMER"),
    _number("seed_accuracy", "seed", "negative_neutral_positive", 0.9136, "SEED"),
    _above(
        "across_people", "Inter-subject: it is above chance on people it was not trained on",
        _OURS, CHANCE, _SUMMARY,
    ),
    _above(
        "beats_de_svm", "No hand-made features are needed: raw EEG is better than differential "
        "entropy and a linear SVM", _OURS, {"estimator": "de_svm", "variant": ""} | _FRONTAL,
        "abstract (raw EEG signals)",
    ),
    _part(
        "inverted_helps", "The inverted embedding is better than the normal one",
        "embedding_normal",
    ),
    _part("mstb_helps", "The multi-scale block (MSTB) makes it better", "no_mstb"),
    _part("tsfb_helps", "The temporal-spatial block (TSFB) makes it better", "no_tsfb"),
    _above(
        "tsfb_matters_more", "Losing the TSFB hurts more than losing the MSTB",
        _OURS | {"variant": "declared+no_mstb"}, _OURS | {"variant": "declared+no_tsfb"}, _SUMMARY,
        _DECIDING,
    ),
    _part(
        "scan_beats_mlp", "The scan over four tokens is better than an MLP in its place", "mlp",
        _QUESTION,
    ),
    _part(
        "scan_beats_identity", "The scan over four tokens is better than nothing in its place",
        "identity", _QUESTION,
    ),
    _beats("timesnet", "TimesNet", _SUMMARY, _DECIDING),
    _beats("itransformer", "the iTransformer", _SUMMARY),
    _beats("dlinear", "DLinear", _SUMMARY),
    _beats("tcn", "a TCN", _SUMMARY, _DECIDING),
    _beats("eegnet", "EEGNet", _QUESTION),
    _beats("token_mlp", "an MLP as large on the same four electrodes", _QUESTION),
    _above(
        "all_beat_four", "All electrodes are better than the four frontal ones (then four do not "
        "suffice)", _OURS | {"dataset": named("eegmat", "all")},
        _OURS | {"dataset": named("eegmat")}, _QUESTION, _DECIDING,
    ),
)  # fmt: skip
