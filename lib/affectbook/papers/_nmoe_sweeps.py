"""Sweeps of NMoE: every evaluation whose scores the chapter shows as recorded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from affectbook.papers._nmoe_claims import NOISES
from affectbook.scales import Cell, cells

_TWIN = {"dataset": "mand", "scale": "teaching", "effect": 1.0}
_EEGMAT = {"dataset": "eegmat", "tier": "open", "effect": 1.0}
_DRIVEDB = {"dataset": "drivedb", "tier": "open", "effect": 1.0}
_SHUFFLED, _SUBJECT = "shuffled_windows_as_published", "group_kfold_subject"
_TRIAL, _LATER = "group_kfold_trial", "blocked_within_trial"
_REFERENCES = ("majority", "hrv_logistic", "fingerprint")
_GATES = ("gate_last", "gate_uniform", "gate_raw", "gate_dynamic", "gate_dynamic_all")
_RANDOM = "random_full"
_OTHERS = ("random_mini", "mini_without_cmsc")
_SNRS = (30.0, 20.0, 10.0, 5.0, 0.0)


def _name(*parts: str) -> str:
    return "+".join(("published", *parts))


_OF_MINI = (_name(), *(_name(gate) for gate in _GATES))
_OF_RANDOM = (_name(_RANDOM), *(_name(_RANDOM, gate) for gate in _GATES))


def _splits(
    own: dict[str, object], splits: tuple[str, ...], seeds: tuple[int, ...] = (0, 1, 2)
) -> Iterator[Cell]:
    """Yield gates on both backbones under every split, with labels and with coins.

    The gate that weighs tokens is run once on coins, and on the mini only: its embeddings are 156
    times as large as those of the others.
    """
    for placebo in (False, True):
        yield from cells("references", own, {"protocol": splits, "seed": seeds},
                         names=_REFERENCES, placebo=placebo)  # fmt: skip
        axes = {"seed": seeds, "protocol": splits}
        yield from cells("network", own, axes | {"variant": (*_OF_MINI, *map(_name, _OTHERS))},
                         placebo=placebo)  # fmt: skip
        yield from cells("network", own, axes | {"variant": _OF_RANDOM}, placebo=placebo)
    token = own | {"variant": _name("gate_token")}
    yield from cells("network", token, {"protocol": splits[:1], "seed": seeds})
    yield from cells("network", token, {"protocol": splits}, placebo=True)


def _recorded() -> Iterator[Cell]:
    """Yield eegmat: everything under three splits; two more seeds of what is claimed."""
    own = _EEGMAT | {"scale": "recorded"}
    # eegmat has one recording of each class from a person: no protocol can hold out trials.
    yield from _splits(own, (_SUBJECT, _SHUFFLED, _LATER))
    claimed = (*_OF_MINI[:3], _name("gate_dynamic"), *map(_name, _OTHERS))
    yield from cells("network", own, {"seed": (3, 4), "variant": claimed})


def _drives() -> Iterator[Cell]:
    """Yield drivedb: two drivers, rest, city and highway."""
    # The coins of seed 1 give all stretches of one driver the same side.
    yield from _splits(_DRIVEDB | {"scale": "drives"}, (_SUBJECT, _TRIAL, _SHUFFLED), (0, 2, 3))


def _layers() -> Iterator[Cell]:
    """Yield what each layer knows, of three backbones, and the weights that gates come to."""
    for own in (_EEGMAT | {"scale": "recorded"}, _DRIVEDB | {"scale": "drives"}):
        variants = (_name(), *map(_name, _OTHERS), _name(_RANDOM))
        yield from cells("layers", own, {"variant": variants})
    own, gates = _EEGMAT | {"scale": "recorded"}, ("gate_raw", "gate_dynamic")
    variants = (_name(), *map(_name, gates))
    yield from cells("gates", own, {"seed": range(5), "variant": variants})
    yield from cells("gates", own, {"seed": range(3), "variant": (_name(_RANDOM),)})
    yield from cells("gates", own, {"seed": range(5)}, placebo=True)


def _overlap() -> Iterator[Cell]:
    """Yield overlaps from 0 to 90 %, chosen on the inner split and scored on the outer."""
    own = _EEGMAT | {"scale": "overlap"}
    for seed, protocol in product(range(2), (_SHUFFLED, _SUBJECT)):
        yield Cell("overlap", own | {"protocol": protocol, "seed": seed})
    yield Cell("overlap", own | {"protocol": _LATER})
    for protocol in (_SHUFFLED, _SUBJECT, _LATER):
        yield Cell("overlap", own | {"protocol": protocol}, {"placebo": True})
    for protocol in (_SHUFFLED, _SUBJECT):
        yield Cell("overlap", own | {"protocol": protocol}, {"equal_steps": True})


def _tuning() -> Iterator[Cell]:
    """Yield frozen, low-rank adapters and full fine-tuning of the mini."""
    own = _EEGMAT | {"scale": "tuning"}
    frozen, tuned = (_name(), _name("gate_last")), (_name("full_fine_tuning"), _name("lora"))
    for seed in range(3):
        yield from cells("network", own, {"protocol": (_SUBJECT, _SHUFFLED), "variant": frozen,
                                          "seed": (seed,)})  # fmt: skip
        yield from cells("network", own, {"variant": tuned, "seed": (seed,)})
    yield Cell("network", own | {"variant": _name("lead_learnt")})
    for variant in (*frozen, tuned[0]):
        yield Cell("network", own | {"protocol": _SHUFFLED, "variant": variant}, {"placebo": True})


def _noise() -> Iterator[Cell]:
    """Yield windows of new people with noise added, after training on clean ones."""
    own = _EEGMAT | {"scale": "noise"}
    told = {"kinds": tuple(NOISES), "snrs": _SNRS, "filtered": (True,)}
    yield from cells("noise", own, {"variant": (_name(), _name("gate_last")), "seed": range(3)},
                     **told)  # fmt: skip
    yield Cell("noise", own, told | {"network": False, "references": ("hrv_logistic",)})


def _ablations() -> Iterator[Cell]:
    """Yield one change each, on new people of eegmat."""
    own = _EEGMAT | {"scale": "recorded"}
    changes = (
        *(f"layer_{k}" for k in range(1, 12)), "first_4", "middle_4", "last_4", "layer_norm",
        "layer_zscore", "linear_head", "lead_I", "lead_copied",
    )  # fmt: skip
    for seed in range(3):
        yield from cells("network", own, {"seed": (seed,), "variant": list(map(_name, changes))})
        for seconds in (2.5, 10.0):
            yield Cell("network", own | {"seconds": seconds, "seed": seed})
        yield Cell("network", own | {"scale": "unresampled", "seed": seed})


def _twin() -> Iterator[Cell]:
    """Yield manD's twin at the scale of the live run, under four splits."""
    splits = (_SUBJECT, _SHUFFLED, _LATER)
    for protocol, placebo in product(splits, (False, True)):
        own = _TWIN | {"protocol": protocol}
        yield Cell("references", own, {"names": _REFERENCES, "placebo": placebo})
        variants = (_name(), _name("gate_last"), _name("random_mini"))
        yield from cells("network", own, {"variant": variants}, placebo=placebo)
    whole = _TWIN | {"overlap": 0.75, "protocol": _SHUFFLED}
    yield Cell("network", whole)
    dreamer = {"dataset": "dreamer", "scale": "teaching", "effect": 1.0, "overlap": 0.0}
    for protocol in (_SUBJECT, _SHUFFLED):
        yield Cell("network", dreamer | {"protocol": protocol})
        yield Cell("references", dreamer | {"protocol": protocol}, {"names": _REFERENCES})


SWEEPS: dict[str, tuple[Cell, ...]] = {
    "recorded": tuple(_recorded()),
    "drives": tuple(_drives()),
    "layers": tuple(_layers()),
    "overlap": tuple(_overlap()),
    "tuning": tuple(_tuning()),
    "noise": tuple(_noise()),
    "ablations": tuple(_ablations()),
    "twin": tuple(_twin()),
}
