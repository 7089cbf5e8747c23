"""Sweeps of HCMNet: every evaluation whose scores the chapter shows as recorded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from affectbook.papers._hcmnet_variants import VARIANTS, WHOLE
from affectbook.scales import Cell, cells

_EEGMAT = {"dataset": "eegmat", "tier": "open"}
_SHUFFLED = "shuffled_windows_as_published"
# Of each trial of a new person, its first sixth, third and half.
_SHARES = (1 / 6, 1 / 3, 1 / 2)
_ABLATED = tuple(name for name in VARIANTS if name not in (*WHOLE, "fixed_epochs"))


def _recorded() -> Iterator[Cell]:
    """Yield the published network on eegmat; what matters most comes first."""
    own = _EEGMAT | {"scale": "recorded"}
    honest = ("group_kfold_subject", _SHUFFLED)
    for placebo in (False, True):
        names = ("majority", "hrv_logistic", "fingerprint")
        yield from cells("references", own, {"protocol": honest}, names=names, placebo=placebo)
    whole = own | {"variant": "published"}
    for seed in range(3):
        yield Cell("network", whole | {"seed": seed})
        yield Cell("network", own | {"variant": "published+no_bissm", "seed": seed})
        if seed == 0:
            yield Cell("network", whole | {"protocol": _SHUFFLED})
            yield Cell("network", whole | {"protocol": _SHUFFLED}, {"placebo": True})
    axes = {"seed": range(3), "protocol": honest}
    yield from cells("references", own, axes, names=("small_cnn",))
    yield from cells("references", own, {"protocol": honest}, names=("small_cnn",), placebo=True)
    for seed in (1, 2):
        yield Cell("network", whole | {"protocol": _SHUFFLED, "seed": seed})
    yield Cell("network", whole, {"placebo": True})


def _longer() -> Iterator[Cell]:
    """Yield the strided network, trained long enough to remember what it is shown."""
    own = _EEGMAT | {"scale": "longer", "variant": "pool_strides_8_8_2"}
    yield Cell("network", own | {"protocol": _SHUFFLED})
    yield Cell("network", own | {"protocol": _SHUFFLED}, {"placebo": True})
    yield Cell("network", own)
    names = ("majority", "hrv_logistic", "fingerprint")
    for protocol, placebo in product(("group_kfold_subject", _SHUFFLED), (False, True)):
        yield Cell("references", own | {"protocol": protocol}, {"names": names, "placebo": placebo})


def _drivedb() -> Iterator[Cell]:
    """Yield the strided network and its references on the two drivers, as far as they go."""
    own = {"dataset": "drivedb", "tier": "open", "scale": "longer", "variant": "pool_strides_8_8_2"}
    names = ("majority", "hrv_logistic", "fingerprint", "small_cnn")
    for protocol in ("leave_one_subject_out", "leave_one_segment_out", _SHUFFLED):
        setting = own | {"protocol": protocol}
        for placebo in (False, True):
            yield Cell("references", setting, {"names": names, "placebo": placebo})
            if protocol == _SHUFFLED or not placebo:
                yield Cell("network", setting, {"placebo": placebo})


def _ablations() -> Iterator[Cell]:
    """Yield what to compare with, then the strided network with one part changed, seed by seed."""
    strided = "pool_strides_8_8_2"
    variants = (strided, *(f"{strided}+{name}" for name in _ABLATED if name != "last_checkpoint"))
    own = _EEGMAT | {"scale": "ablation"}
    yield Cell("references", own, {"names": ("majority", "hrv_logistic")})
    yield from cells("references", own, {"seed": range(3)}, names=("small_cnn",))
    yield from cells("network", own, {"seed": range(3), "variant": variants})


def _scans() -> Iterator[Cell]:
    """Yield what can stand in for the scans where they have long sequences to read."""
    parts = ("", "+no_bissm", "+forward_only", "+backward_only", "+bilstm", "+unpadded")
    own = _EEGMAT | {"scale": "ablation", "seconds": 5.0}
    yield from cells(
        "network", own, {"seed": range(3), "variant": [f"published{p}" for p in parts]}
    )


def _checkpoints() -> Iterator[Cell]:
    """Yield one training judged by its best, its last and a fixed epoch."""
    parts = ("", "+last_checkpoint", "+fixed_epochs")
    own = _EEGMAT | {"scale": "checkpoints"}
    variants = [f"pool_strides_8_8_2{part}" for part in parts]
    yield from cells("network", own, {"seed": range(3), "variant": variants})


def _personalisation() -> Iterator[Cell]:
    """Yield the adaptation to new people, on their labels and on coins."""
    own = _EEGMAT | {"scale": "ablation"}
    for seed, choice, placebo in product(range(3), ("prefix", "random"), (False, True)):
        yield Cell("personalisation", own | {"seed": seed}, {"choice": choice, "placebo": placebo})


def _probes() -> Iterator[Cell]:
    """Yield what is inside the published network, trained and untrained."""
    own = _EEGMAT | {"scale": "ablation", "variant": "published"}
    for seed, trained in product(range(3), (True, False)):
        yield Cell("probe", own | {"seed": seed}, {"trained": trained})


def _twin() -> Iterator[Cell]:
    """Yield the live run's models on simulated windows, on their labels and on coins."""
    protocols = ("group_kfold_subject", _SHUFFLED)
    names = ("majority", "hrv_logistic", "fingerprint", "small_cnn")
    for protocol, placebo in product(protocols, (False, True)):
        own = {"scale": "teaching", "protocol": protocol}
        yield Cell("network", own, {"placebo": placebo})
        yield Cell("references", own, {"names": names, "placebo": placebo})


def _transfer() -> Iterator[Cell]:
    """Yield training on one population and testing on the other, both ways, and within each."""
    own = {"scale": "transfer", "variant": "pool_strides_8_8_2"}
    rest_load = ({"dataset": "eegmat", "label_rule": "rest_arithmetic", "tier": "open"},
                 {"dataset": "drivedb", "label_rule": "rest_drive", "tier": "open"})  # fmt: skip
    names = ("majority", "hrv_logistic", "small_cnn")
    for seed, source, target in product(range(3), rest_load, rest_load):
        cell, to = own | source | {"seed": seed}, None if source == target else target
        models = {"references": names, "shares": () if to is None else _SHARES}
        yield Cell("transfer", cell, {"to": to, **models})
        if seed == 0:
            scaled = {"variant": "pool_strides_8_8_2+scaler_per_subject"}
            yield Cell("transfer", cell | scaled, {"to": to})
        if seed == 0 and to is not None:
            yield Cell("transfer", cell, {"to": to, **models, "placebo": True})
    for groups in product(("healthy", "mci"), repeat=2):
        cell = own | {"dataset": "mci", "label_rule": "emotion", "subjects": 20}
        models = {"references": names, "shares": _SHARES if len(set(groups)) == 2 else ()}
        yield Cell("transfer", cell, {"groups": groups, **models})


def _labels() -> Iterator[Cell]:
    """Yield the twin of DREAMER under each label rule, and with one lead for two."""
    own = {"scale": "ablation", "variant": "pool_strides_8_8_2", "dataset": "dreamer"}
    own |= {"subjects": 12}
    names = ("majority", "hrv_logistic")
    rules = [
        *product(
            ("valence", "arousal"), (">= 3", "> 3", "in 3", "in 5", "in 5, shifted as released")
        ),
        ("quadrants", ">= 3"),
        ("quadrants", "> 3"),
    ]
    for target, rule in rules:
        cell = own | {"target": target.removesuffix("s"), "label_rule": f"{target} {rule}"}
        yield Cell("references", cell, {"names": names})
        yield Cell("network", cell)
        if rule == ">= 3":
            yield Cell("network", cell | {"dataset": "dreamer:ECG1"})


SWEEPS: dict[str, tuple[Cell, ...]] = {
    "recorded": tuple(_recorded()),
    "longer": tuple(_longer()),
    "drivedb": tuple(_drivedb()),
    "ablations": tuple(_ablations()),
    "scans": tuple(_scans()),
    "checkpoints": tuple(_checkpoints()),
    "personalisation": tuple(_personalisation()),
    "probes": tuple(_probes()),
    "twin": tuple(_twin()),
    "transfer": tuple(_transfer()),
    "labels": tuple(_labels()),
}
