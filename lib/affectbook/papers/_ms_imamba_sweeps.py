"""Sweeps of MS-iMamba: every evaluation whose scores the chapter shows as recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from affectbook.papers._ms_imamba_variants import ORDERS, VARIANTS
from affectbook.scales import Cell, cells

_EEGMAT = {"dataset": "eegmat", "tier": "open"}
_SHUFFLED, _SUBJECT = "shuffled_windows_as_published", "group_kfold_subject"
_TRIAL = "group_kfold_trial"
# eegmat has one recording of each class from a person: no protocol can hold out trials.
_SPLITS = (_SHUFFLED, "blocked_within_trial", _SUBJECT)
_NO_SEED = ("majority", "fingerprint", "de_svm")
_QUICK = ("eegnet", "token_mlp", "dlinear", "itransformer")
_SLOW = ("tcn", "timesnet")
_PARTS = ("no_mstb", "no_tsfb")
_SHARES = (0.1, 0.25, 0.5)


def _recorded() -> Iterator[Cell]:
    """Yield network and reference models on eegmat; what matters most comes first."""
    own = _EEGMAT | {"scale": "recorded"}
    yield from cells("references", own, {"protocol": _SPLITS}, names=_NO_SEED, placebo=False)
    # What one coin tells of 72 recordings is largely luck; these models take no time.
    coins = {"protocol": _SPLITS, "seed": range(10)}
    yield from cells("references", own, coins, names=_NO_SEED, placebo=True)
    for seed, protocol in product(range(3), _SPLITS):
        yield Cell("network", own | {"protocol": protocol, "seed": seed})
    for seed, name in product(range(3), _QUICK):
        yield Cell("references", own | {"seed": seed}, {"names": (name,)})
    for protocol in _SPLITS:
        yield Cell("network", own | {"protocol": protocol}, {"placebo": True})
        for placebo in (False, True):
            if protocol != _SUBJECT or placebo:
                options = {"names": _QUICK, "placebo": placebo}
                yield Cell("references", own | {"protocol": protocol}, options)
    for seed in (1, 2):
        yield Cell("network", own | {"seed": seed}, {"placebo": True})


def _ablations() -> Iterator[Cell]:
    """Yield the declared reading and its changes on eegmat, on new people."""
    own = _EEGMAT | {"scale": "ablation"}
    yield Cell("references", own, {"names": ("majority", "de_svm")})
    slow = ("embedding_normal", "embedding_R3")
    left_out = ("declared", "blinks_regressed", "last_checkpoint", *slow)
    networks = {"seed": range(3)}
    yield from cells("references", own, networks, names=(*_QUICK, *_SLOW))
    quick = [name for name in VARIANTS if not name.startswith("order_") and name not in left_out]
    yield from cells("network", own, {"seed": range(3), "variant": ["declared", *_joined(quick)]})
    yield from cells("network", own, {"seed": range(3), "variant": _joined(slow)})


def _joined(parts: Sequence[str]) -> list[str]:
    return [f"declared+{part}" for part in parts]


def _channels() -> Iterator[Cell]:
    """Yield other electrodes, and the frontal ones without slow activity or blinks, on eegmat."""
    own = _EEGMAT | {"scale": "ablation"}
    others = (
        {"channels": "posterior"}, {"channels": "eight"}, {"channels": "all"},
        {"highpass": 8.0}, {"channels": "posterior", "highpass": 8.0},
    )  # fmt: skip
    for other in others:
        yield Cell("references", own | other, {"names": ("majority", "de_svm")})
    for seed, other in product(range(3), others):
        yield Cell("network", own | other | {"seed": seed})
    yield from cells("network", own | {"variant": "declared+blinks_regressed"}, {"seed": range(3)})


def _lengths() -> Iterator[Cell]:
    """Yield windows of 2 and 3 s in place of 1 s, on eegmat."""
    for seconds in (2.0, 3.0):
        own = _EEGMAT | {"scale": "ablation", "seconds": seconds}
        yield Cell("references", own, {"names": ("majority", "de_svm")})
        yield from cells("network", own, {"seed": range(3)})


def _budget() -> Iterator[Cell]:
    """Yield less to train on: shares of the people of eegmat, of the trials of DEAP's twin."""
    real = _EEGMAT | {"scale": "recorded"}
    twin = {"scale": "teaching", "protocol": _TRIAL}
    # Another seed is another twin, and would be taken for other people of the same one.
    for own, of, seeds in ((real, "subjects", range(3)), (twin, "trials", range(1))):
        for share in _SHARES:
            less = {"share": share, "of": of}
            yield Cell("references", own, {"names": ("majority", "de_svm"), **less})
            for seed in seeds:
                yield Cell("references", own | {"seed": seed}, {"names": ("eegnet",), **less})
                yield Cell("network", own | {"seed": seed}, less)


def _longer() -> Iterator[Cell]:
    """Yield 40 epochs and the last weights: does the network come to remember recordings?"""
    own = _EEGMAT | {"scale": "longer", "variant": "declared+last_checkpoint"}
    for placebo in (False, True):
        yield Cell("network", own | {"protocol": _SHUFFLED}, {"placebo": placebo})
    yield Cell("network", own)


def _twin() -> Iterator[Cell]:
    """Yield all the ways to split, on DEAP's twin at the scale of the live run."""
    splits = (_SHUFFLED, "blocked_within_trial", _TRIAL, "group_kfold_stimulus", _SUBJECT,
              "group_kfold_subject_and_stimulus")  # fmt: skip
    for protocol, placebo in product(splits, (False, True)):
        own = {"scale": "teaching", "protocol": protocol}
        yield Cell("references", own, {"names": _NO_SEED, "placebo": placebo})
        yield Cell("network", own, {"placebo": placebo})
    for protocol in splits:
        own = {"scale": "teaching", "protocol": protocol}
        yield Cell("references", own, {"names": _QUICK})


def _twin_variants() -> Iterator[Cell]:
    """Yield the variants on twins: the paper's two figures, and all others on DEAP's."""
    own = {"scale": "teaching"}
    for protocol, dataset in product((_TRIAL, _SUBJECT), ("deap", "dreamer")):
        cell = own | {"dataset": dataset, "protocol": protocol}
        yield from cells("network", cell, {"variant": ["declared", *_joined(_PARTS)]})
    rest = ("embedding_R1", "embedding_R3", "attention", "mlp", "identity", "bidirectional", "k_1",
            "k_2", "k_5", "weights_normalised", "weights_equal", "floor", "periods_batch",
            "periods_log_spaced")  # fmt: skip
    yield from cells("network", own, {"variant": _joined(rest)})
    normal = {"variant": "declared+embedding_normal"}
    for dataset, protocol in product(("deap", "dreamer"), (_SUBJECT, _TRIAL)):
        yield Cell("network", own | normal | {"dataset": dataset, "protocol": protocol})


def _leak() -> Iterator[Cell]:
    """Yield what shuffling is worth as windows grow longer and electrodes more, on eegmat."""
    names = ("fingerprint", "de_svm")
    for placebo, channels in product((False, True), ("frontal", "eight", "all")):
        own = _EEGMAT | {"scale": "recorded", "channels": channels}
        axes = {"seconds": (1.0, 3.0, 10.0), "protocol": (_SHUFFLED, _SUBJECT)}
        yield from cells("references", own, axes, names=names, placebo=placebo)


def _periods() -> Iterator[Cell]:
    """Yield which periods the windows of each data set choose; nothing is trained."""
    yield Cell("periods", _EEGMAT | {"scale": "recorded"})
    yield from cells("periods", {"scale": "teaching"}, {"dataset": ("deap", "dreamer", "seed")})


def _orders() -> Iterator[Cell]:
    """Yield all orders of the four electrodes but the first, which `_ablations` has, on eegmat."""
    own = _EEGMAT | {"scale": "ablation"}
    yield from cells("network", own, {"variant": _joined([f"order_{one}" for one in ORDERS[1:]])})


def _sessions() -> Iterator[Cell]:
    """Yield the paper's four session modes, on SEED's twin."""
    own = {"scale": "sessions", "dataset": "seed"}
    variants = ["declared", *_joined(_PARTS)]
    for session in ("1", "2", "3"):
        cell = own | {"protocol": _TRIAL}
        yield Cell("references", cell, {"names": ("majority", "de_svm"), "session": session})
        yield from cells("network", cell, {"variant": variants}, session=session)
    across = own | {"protocol": "leave_one_session_out"}
    yield Cell("references", across, {"names": ("majority", "de_svm")})
    yield from cells("network", across, {"variant": variants})


SWEEPS: dict[str, tuple[Cell, ...]] = {
    "recorded": tuple(_recorded()),
    "ablations": tuple(_ablations()),
    "channels": tuple(_channels()),
    "lengths": tuple(_lengths()),
    "budget": tuple(_budget()),
    "longer": tuple(_longer()),
    "twin": tuple(_twin()),
    "twin_variants": tuple(_twin_variants()),
    "orders": tuple(_orders()),
    "periods": tuple(_periods()),
    "leak": tuple(_leak()),
    "sessions": tuple(_sessions()),
}
