"""Sweeps of self-supervised ECG: every evaluation whose scores the chapter shows as recorded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from affectbook.papers._ssl_ecg_variants import DIFFICULTY, TASKS
from affectbook.scales import Cell, cells

# The live run of the chapter.
_TWIN = {"scale": "teaching", "effect": 1.0}
_EEGMAT = {"dataset": "eegmat", "tier": "open", "effect": 1.0}
_DRIVEDB = {"dataset": "drivedb", "tier": "open", "effect": 1.0}
_SHUFFLED, _SUBJECT = "shuffled_windows_as_published", "group_kfold_subject"
_TRIAL, _LATER = "group_kfold_trial", "blocked_within_trial"
_REFERENCES = ("majority", "hrv_logistic", "fingerprint")
_FROZEN = ("published", "published+random_encoder", "published+contrastive+frozen")
# DREAMER's twin has an encoder of one data set beside that of three.
_OF_TWINS = (*_FROZEN, "published+one_set")
_TRAINED = ("published+from_scratch", "published+contrastive")
_SUPERVISED = 40
_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5)
# Which strength belongs to which transformation.
_OF = {
    "snr": "noise", "scale": "scaling", "pieces": "permutation", "warp_pieces": "time_warp",
    "stretch": "time_warp",
}  # fmt: skip


def _recorded() -> Iterator[Cell]:
    """Yield both pretexts, supervision, random weights and HRV on eegmat."""
    own = _EEGMAT | {"scale": "recorded"}
    # eegmat has one recording of each class from a person: no protocol can hold out trials.
    splits = (_SUBJECT, _SHUFFLED, _LATER)
    for placebo in (False, True):
        yield from cells("references", own, {"protocol": splits, "seed": range(3)},
                         names=_REFERENCES, placebo=placebo)  # fmt: skip
        axes = {"protocol": splits, "variant": _FROZEN, "seed": range(3)}
        yield from cells("network", own, axes, placebo=placebo)
    for seed, protocol in product(range(3), (_SUBJECT, _SHUFFLED)):
        for variant in _TRAINED:
            yield Cell("network", own | {"protocol": protocol, "variant": variant, "seed": seed})
    for variant, protocol in product(_TRAINED, (_SUBJECT, _SHUFFLED)):
        cell = own | {"protocol": protocol, "variant": variant}
        yield Cell("network", cell, {"placebo": True})
    for seed in range(3):
        yield Cell("network", own | {"variant": "published+fine_tuned", "seed": seed})


def _frozen() -> Iterator[Cell]:
    """Yield heads, depths and sources of the frozen encoder, and who can be recognised in it."""
    own = _EEGMAT | {"scale": "recorded"}
    others = ("head_dense_512x3", "head_dense_64x2", "head_linear", "block_1", "block_2")
    yield from cells("network", own, {"variant": [f"published+{one}" for one in others],
                                      "seed": range(3)})  # fmt: skip
    yield from cells("subject_probe", own, {"variant": _FROZEN, "seed": range(3)})


def _drives() -> Iterator[Cell]:
    """Yield the same on drivedb: two drivers, rest, city and highway."""
    own = _DRIVEDB | {"scale": "drives"}
    splits = (_SUBJECT, _TRIAL, _SHUFFLED)
    # The coins of seed 1 give all stretches of one driver the same side.
    for placebo, seeds in ((False, (0, 1, 2)), (True, (0, 2, 3))):
        yield from cells("references", own, {"protocol": splits, "seed": seeds},
                         names=_REFERENCES, placebo=placebo)  # fmt: skip
        axes = {"protocol": splits, "variant": _FROZEN, "seed": seeds}
        yield from cells("network", own, axes, placebo=placebo)
    for seed, variant, protocol in product(range(3), _TRAINED, (_SUBJECT, _SHUFFLED)):
        yield Cell("network", own | {"protocol": protocol, "variant": variant, "seed": seed})
    for variant in _TRAINED:
        yield Cell("network", own | {"variant": variant}, {"placebo": True})


def _budget() -> Iterator[Cell]:
    """Yield fewer labelled trials to train on, on eegmat."""
    own = _EEGMAT | {"scale": "recorded"}
    for share in _SHARES:
        less = {"share": share, "of": "trials"}
        yield from cells("references", own, {"seed": range(3)}, names=_REFERENCES[:2], **less)
        yield from cells("network", own, {"variant": _FROZEN, "seed": range(3)}, **less)
    for seed, share in product(range(3), (0.1, 0.25, 0.5)):
        less = {"share": share, "of": "trials"}
        yield Cell("network", own | {"variant": _TRAINED[0], "seed": seed}, less)


def _twin() -> Iterator[Cell]:
    """Yield four ways to split, on DREAMER's twin at the scale of the live run."""
    splits = (_SUBJECT, _SHUFFLED, _TRIAL, "group_kfold_subject_and_stimulus")
    for protocol, placebo in product(splits, (False, True)):
        own = _TWIN | {"protocol": protocol}
        yield Cell("references", own, {"names": _REFERENCES, "placebo": placebo})
        yield from cells("network", own, {"variant": _OF_TWINS}, placebo=placebo)
    for protocol in (_SUBJECT, _SHUFFLED):
        own = _TWIN | {"protocol": protocol}
        yield Cell("network", own | {"variant": _TRAINED[0]})
    columns = {"target": ("valence", "dominance"), "variant": ("published",)}
    yield from cells("network", _TWIN, columns)


def _ablations() -> Iterator[Cell]:
    """Yield pretexts trained on the training windows of each fold of eegmat, one change each.

    Beside them the same network trained with labels for `_SUPERVISED` epochs, by which its
    training loss has fallen.
    """
    own = _EEGMAT | {"scale": "ablation"}
    yield Cell("references", own, {"names": _REFERENCES[:2]})
    # Pretraining in the fold differs by 17 points between the first three seeds.
    seeds = {"seed": range(5)}
    yield from cells("network", own | {"variant": "published+random_encoder"}, seeds)
    supervised = own | {"variant": "published+from_scratch", "epochs": _SUPERVISED}
    yield from cells("network", supervised, seeds)
    yield from cells("pretext", own | {"variant": "published+in_fold"}, seeds)
    changes = ("window_zscore", "one_softmax", "equal_alpha", "relu", "mean_pool", "batch_norm")
    for change in changes:
        yield Cell("pretext", own | {"variant": f"published+{change}"})
    transductive = {"protocol": "group_kfold_subject_transductive"}
    yield Cell("pretext", own | transductive | {"variant": "published+transductive"})
    yield Cell("pretext", own | {"protocol": _SHUFFLED, "variant": "published+in_fold"})


def _difficulty() -> Iterator[Cell]:
    """Yield one transformation at a time, at the published and at other strengths, on eegmat."""
    own = _EEGMAT | {"scale": "difficulty"}
    yield Cell("references", own, {"names": _REFERENCES[:2]})
    yield Cell("network", own | {"variant": "published+random_encoder"})
    for name in ("in_fold", *(f"only_{task}" for task in TASKS)):
        yield Cell("pretext", own | {"variant": f"published+{name}"})
    for name in DIFFICULTY:
        task = _OF[name.rpartition("_")[0]]
        yield Cell("pretext", own | {"variant": f"published+only_{task}+{name}"})


SWEEPS: dict[str, tuple[Cell, ...]] = {
    "recorded": tuple(_recorded()),
    "frozen": tuple(_frozen()),
    "drives": tuple(_drives()),
    "budget": tuple(_budget()),
    "twin": tuple(_twin()),
    "ablations": tuple(_ablations()),
    "difficulty": tuple(_difficulty()),
}
