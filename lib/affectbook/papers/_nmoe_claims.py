"""What the paper on ECG-EmotionNet claims, as far as it could be read, and what we ask.

N. Mansourian et al., arXiv 2503.01750. At hand were its abstract, and a public summary that says of
itself that gate and aggregation are inferred. Window, resampling, lead, split, rate, batch, loss,
seeds and the averaging of F1 were not found: no number can be reproduced under its own conditions.
"""

from __future__ import annotations

from affectbook.claims import CHANCE, Claim

NOISES = {"wander": "baseline wander", "muscle": "muscle noise", "motion": "motion"}
_ABSTRACT = "abstract"
_NUMBER = "secondary pages of the abstract, and a public summary"
_CONTROL = "our control, not the paper's"
_QUESTION = "our question, not the paper's"
# Where a backbone is trained, windows are fewer; the frozen one is compared on the same.
TUNED = ("tuning", "paper")
NOISY = ("noise", "paper")
PUBLISHED, LATER = "shuffled_windows_as_published", "blocked_within_trial"


def _ours(*parts: str) -> dict[str, str]:
    return {"estimator": "nmoe", "variant": "+".join(("published", *parts))}


def _number(metric: str, called: str, number: float) -> Claim:
    return Claim(
        f"mand_{metric}", f"{called} of five emotions of drivers on manD 1.0 (windows, lead, "
        "split: not found; ours: shuffled windows of 5 s, ECG-FM's own weights)", _NUMBER, metric,
        PUBLISHED, "mand:ECG", "emotion", number=number, left=_ours("ecg_fm"), stated=False,
    )  # fmt: skip


def _above(
    name: str, statement: str, left: object, right: object, source: str, **more: object
) -> Claim:
    return Claim(name, statement, source, "balanced_accuracy", left=left, right=right, **more)


def _in_noise(kind: str, called: str) -> Claim:
    return _above(
        f"robust_to_{kind}", f"Robust in noise ({called} of 10 dB in recordings of new people, "
        "before the high-pass): above chance", _ours(f"{kind}_10_db_filtered"), CHANCE,
        "a machine's summary: robust to noise (kind and amount: not found); abstract: robust "
        "generalizability", scales=NOISY,
    )  # fmt: skip


PUBLISHED_CLAIMS = (
    _number("accuracy", "Accuracy", 0.8245),
    _number("macro_f1", "F1 (averaging not stated; ours: macro)", 0.7711),
    _above(
        "gate_beats_last", "The gate over all layers is better than the last layer alone",
        _ours(), _ours("gate_last"),
        f"{_ABSTRACT}: +6 % accuracy and +7 % F1 over full fine-tuning, linear probing or low-rank "
        "adaptation (over which of them, and whether in points: not found)",
    ),
    _above(
        "gate_beats_uniform", "The gate is better than the plain mean of the layers",
        _ours(), _ours("gate_uniform"), f"{_QUESTION}; what a gate that learns nothing would do",
    ),
    _above(
        "dynamic_beats_static", "A gate that sees the window is better than one number per layer",
        _ours("gate_dynamic"), _ours(), f"{_QUESTION}; which of the two the paper has: not found",
    ),
    _above(
        "beats_fine_tuning", "Frozen with a gate is better than full fine-tuning",
        _ours(), _ours("full_fine_tuning"), f"{_ABSTRACT}: one of three other adaptations",
        scales=TUNED,
    ),
    _above(
        "beats_lora", "Frozen with a gate is better than low-rank adapters (LoRA)",
        _ours(), _ours("lora"), f"{_ABSTRACT}: one of three other adaptations", scales=TUNED,
    ),
    *(_in_noise(kind, called) for kind, called in NOISES.items()),
    _above(
        "across_people", "It is above chance on people it was not trained on", _ours(), CHANCE,
        _QUESTION,
    ),
    _above(
        "backbone_is_worth_it", "Pretraining is worth it: mini-ECG-FM is better than the same "
        "network with random weights, frozen as well", _ours(), _ours("random_mini"), _CONTROL,
    ),
    _above(
        "cmsc_is_worth_it", "Recognising recordings in pretraining (CMSC) helps new people",
        _ours(), _ours("mini_without_cmsc"), _QUESTION,
    ),
    _above(
        "beats_hrv", "Learnt features are better than heart rate and its variability", _ours(),
        {"estimator": "hrv_logistic", "variant": ""}, _CONTROL,
    ),
)  # fmt: skip
