"""What the papers on self-supervised ECG claim, as far as they could be read, and what we ask.

P. Sarkar and A. Etemad, IEEE Transactions on Affective Computing 13(3), 2022 ("the article") and
ICASSP 2020. At hand were both abstracts and the released code; no table of either was, so that
every number is "not found". What others report of re-runs is not the authors' and no claim here.
"""

from __future__ import annotations

from affectbook.claims import CHANCE, Claim
from affectbook.papers._ssl_ecg_variants import TASKS

# One lead of the sets that have two; which one the papers take was not found.
ONE_LEAD = {
    "amigos": "amigos:ECG-right", "dreamer": "dreamer:ECG1", "wesad": "wesad", "swell": "swell",
}  # fmt: skip
# Variants with the weakest and the strongest change of signals; the published one lies between.
EXTREMES = {
    "noise": ("snr_30", "snr_2"),
    "scaling": ("scale_1.01", "scale_2"),
    "permutation": ("pieces_2", "pieces_40"),
    "time_warp": ("stretch_1.01", "stretch_1.25"),
}
FEW = "0.1_of_trials"
SCALES = ("ablation", "recorded", "paper")
# What pretrains anew in every fold has a smaller scale besides.
SMALL = ("difficulty", *SCALES)
# Where a network from scratch is trained until its loss has fallen. At the scale recorded it gets
# six epochs, after which it has hardly left its first loss: that is no full supervision.
SUPERVISED = ("ablation", "paper")

_ARTICLE = "abstract of the article (2022)"
_ICASSP = "abstract of ICASSP 2020"
_CODE = "released code"
_REPORT = "our question: contrastive learning is a later report's, not the authors'"
_CONTROL = "our control, not the papers'"
_QUESTION = "our question, not the papers'"
_TWO = "2 classes (threshold: not found)"
# The released code takes F1 of the mean precision and the mean recall; ours is the mean of the
# classes' F1. Both are close where scores are high, and a score that differs refutes nothing.
_METRICS = {"accuracy": ("", "Accuracy"), "macro_f1": ("_f1", "Macro F1 (ours, not the code's)")}


def _ours(*parts: str) -> dict[str, str]:
    return {"estimator": "ssl_ecg", "variant": "+".join(("published", *parts))}


def _either(*sides: dict[str, str]) -> dict[str, object]:
    """Return a side with several variants: of the pairs with the other side, the first one run."""
    return {**sides[0], "variant": tuple(one["variant"] for one in sides)}


_PUBLISHED, _IN_FOLD = _ours(), _ours("in_fold")
_SUPERVISED = _ours("from_scratch")


def _number(name: str, what: str, dataset: str, label_rule: str, metric: str) -> Claim:
    """Return a number that nobody has found yet.

    The papers pretrain on training windows of four sets, of which `in_fold` has those of one.
    Thresholds, leads and the epoch that is reported were not found, so it is not `stated`.
    """
    suffix, called = _METRICS[metric]
    return Claim(
        f"{name}{suffix}", f"{called} on {what}",
        f"{_ARTICLE}: state of the art; split and window: {_CODE}", metric,
        "shuffled_windows_as_published", ONE_LEAD[dataset], label_rule, left=_IN_FOLD, stated=False,
    )  # fmt: skip


# SWELL's arousal and valence, and the many classes of AMIGOS, have no label rule in this book.
_NUMBERS = tuple(
    _number(name, what, dataset, rule, metric)
    for name, what, dataset, rule in (
        ("amigos_arousal", f"AMIGOS, arousal in {_TWO}", "amigos", "arousal > 5"),
        ("amigos_valence", f"AMIGOS, valence in {_TWO}", "amigos", "valence > 5"),
        ("dreamer_arousal", f"DREAMER, arousal in {_TWO}", "dreamer", "arousal >= 3"),
        ("dreamer_valence", f"DREAMER, valence in {_TWO}", "dreamer", "valence >= 3"),
        ("dreamer_arousal_5", "DREAMER, arousal in 5 classes", "dreamer", "arousal in 5"),
        ("dreamer_valence_5", "DREAMER, valence in 5 classes", "dreamer", "valence in 5"),
        ("wesad_affect", "WESAD, four affect states", "wesad",
         "baseline_stress_amusement_meditation"),
        ("swell_stress", "SWELL, three working conditions (the code's labels may be the order of "
         "the blocks)", "swell", "neutral_time_pressure_interruptions"),
    )
    for metric in _METRICS
)  # fmt: skip


def _above(
    name: str, statement: str, left: object, right: object, source: str,
    scales: tuple[str, ...] = SCALES,
) -> Claim:  # fmt: skip
    metric = "balanced_accuracy"
    return Claim(name, statement, source, metric, left=left, right=right, scales=scales)


def _more_than(task: str) -> Claim:
    return _above(
        f"many_beat_only_{task}",
        f"Many tasks are better than one: all transformations against {task.replace('_', ' ')} "
        "alone", _either(_IN_FOLD, _IN_FOLD),
        _either(_ours("in_fold", f"only_{task}"), _ours(f"only_{task}")),
        f"{_ARTICLE}: the impact of several tasks in place of one (direction: our reading)", SMALL,
    )  # fmt: skip


def _between(task: str, variant: str, end: str) -> Claim:
    """Return a claim on one strength, among all tasks or, where that was not run, of one alone."""
    alone, amount = f"only_{task}", variant.replace("_", " ")
    return _above(
        f"{task}_not_{end}",
        f"Difficulty has an optimum: the published strength of {task.replace('_', ' ')} is better "
        f"than the {end} ({amount})", _either(_IN_FOLD, _ours(alone)),
        _either(_ours("in_fold", variant), _ours(alone, variant)),
        f"{_ARTICLE}: an optimum of difficulty; strength: {_CODE}; the other one: ours", SMALL,
    )  # fmt: skip


PUBLISHED_CLAIMS = (
    *_NUMBERS,
    _above(
        "beats_supervised", "Self-supervision beats full supervision: a frozen pretrained encoder "
        "is better than the same network trained from scratch", _either(_PUBLISHED, _IN_FOLD),
        _either(_SUPERVISED, _SUPERVISED),
        f"{_ARTICLE}: considerably better; {_ICASSP}: equal or better", SUPERVISED,
    ),
    _above(
        "contrastive_beats_supervised", "A contrastive pretext beats full supervision as well: "
        "pretrained and fine-tuned as a later report describes it, it is better than trained from "
        "scratch", _ours("contrastive"), _SUPERVISED, _REPORT, SUPERVISED,
    ),
    _above(
        "few_labels_beat_all", "Fewer labels suffice (strict reading): with the labels of a tenth "
        "of the trials it is better than trained from scratch with all of them", _ours(FEW),
        _SUPERVISED, f"{_ICASSP}: significantly less data (how little: not found)", SUPERVISED,
    ),
    _above(
        "few_labels_beat_as_few", "Fewer labels suffice (weak reading): with the labels of a tenth "
        "of the trials it is better than trained from scratch on as few", _ours(FEW),
        _ours("from_scratch", FEW), f"{_ICASSP}: significantly less data (how little: not found)",
        SUPERVISED,
    ),
    *map(_more_than, TASKS),
    *(
        _between(task, variant, end)
        for task, variants in EXTREMES.items()
        for variant, end in zip(variants, ("weakest", "strongest"), strict=True)
    ),
    _above(
        "fine_tuning_helps", "Fine-tuning the whole network is better than a frozen encoder",
        _ours("fine_tuned"), _PUBLISHED, f"{_CODE}: a tip of its README",
    ),
    _above(
        "pretraining_is_worth_it", "What is learnt carries over to other data sets: a pretrained "
        "encoder is better than a random one, frozen as well", _PUBLISHED, _ours("random_encoder"),
        f"{_CONTROL}; that features generalise across data sets: {_ARTICLE}",
    ),
    _above(
        "across_people", "It is above chance on people it was not trained on", _PUBLISHED, CHANCE,
        _QUESTION,
    ),
    _above(
        "beats_hrv", "Learnt features are better than heart rate variability", _PUBLISHED,
        {"estimator": "hrv_logistic", "variant": ""},
        f"{_ARTICLE}: state of the art",
    ),
)  # fmt: skip
