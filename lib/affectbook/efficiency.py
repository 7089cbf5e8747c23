"""Two verdicts on cost: whether it grows linearly, and whether it is worth paying on a wearable.

Nothing here is timed: `wearable` reads what was measured. `path` is everywhere the file of those
rows; None is the one that the book keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from affectbook import claims, figures
from affectbook.claims import NOTHING, Claim, Verdict
from affectbook.errors import ParameterError
from affectbook.results import Interval
from affectbook.wearable import LONGEST, MALLOC, WINDOW_S, exponents, measured, name_of, of_10_s

REFERENCES = ("hrv_logistic", "small_cnn")
LINEAR = (0.9, 1.1)
THIS_MACHINE = "this machine"

_NETWORK = {"estimator": "hcmnet", "variant": "published"}
LINEAR_CLAIM = Claim(
    "linear_in_length", "Its cost is linear in the length of the window", "abstract",
    metric="exponent", left=_NETWORK, right="proportion",
)  # fmt: skip
EFFICIENT_CLAIM = Claim(
    "efficient", "It is efficient for wearable IoT devices", "abstract",
    metric="balanced_accuracy", left=_NETWORK, right={"estimator": REFERENCES},
)  # fmt: skip


def verdicts(
    better: Mapping[str, Interval],
    dataset: str = "",
    variant: str = "published",
    n_seeds: int = claims.FEWEST_SEEDS,
    path: Path | None = None,
) -> list[Verdict]:
    """Return the verdicts of :func:`linear` and :func:`efficient`, for ``claims.table``."""
    return [linear(path), efficient(better, dataset, variant, n_seeds, path)]


def linear(path: Path | None = None) -> Verdict:
    """Decide on "its cost is linear in the length of the window", for the published network.

    The rule: the exponents of MACs and of the median of time over the three longest windows, with
    their 95 % intervals (see :func:`exponents`). If all intervals lie between 0.9 and 1.1, the
    claim holds on this machine. If that of MACs lies wholly below 0.9 or wholly above 1.1, or that
    of time does so whatever malloc does, it does not hold. Otherwise it is undecided: a verdict
    that hangs on how memory is handed out says nothing about the network.
    """
    name = name_of(*_NETWORK.values())
    growth = exponents(path)
    own = growth[(growth["network"] == name) & (growth["windows"] == LONGEST)]
    if own.empty:
        return Verdict(LINEAR_CLAIM, "untested", "", NOTHING, f"{name} was not measured")
    inside = (own["low"] > LINEAR[0]) & (own["high"] < LINEAR[1])
    outside = ((own["high"] < LINEAR[0]) | (own["low"] > LINEAR[1])).groupby(own["quantity"]).all()
    word = "holds on" if inside.all() else "does not hold on" if outside.any() else "undecided on"
    told = "; ".join(
        f"{row.quantity}{MALLOC[row.malloc]} {row.exponent:.2f} [{row.low:.2f}, {row.high:.2f}]"
        for row in own.sort_values(["quantity", "malloc"]).itertuples()
    )
    why = f"exponents from {own['from_s'].iloc[0]:g} to {own['to_s'].iloc[0]:g} s: {told}"
    return Verdict(LINEAR_CLAIM, word, THIS_MACHINE, NOTHING, why)


def efficient(
    better: Mapping[str, Interval],
    dataset: str = "",
    variant: str = "published",
    n_seeds: int = claims.FEWEST_SEEDS,
    path: Path | None = None,
) -> Verdict:
    """Decide on "efficient for wearable IoT devices".

    The rule, in this order, for a window of 10 s on one thread:

    1. If the 95th percentile of time is 10 s or more, the claim does not hold on this machine: it
       does not keep up with the signal.
    2. Only references that cost less time (median) count. If the network is less accurate than
       one of them, it does not hold on the data set; if it is more accurate than all of them, or
       none costs less, it holds.
    3. Otherwise it is undecided: more is paid, and not shown to buy anything. So it is where a
       cheaper reference was not compared. Without any comparison it is untested.

    More or less accurate is what the paired 95 % interval says, if it does not contain zero and
    rests on ten subjects and three seeds or more.

    Parameters
    ----------
    better
        Balanced accuracy under an honest protocol, HCMNet minus the reference and paired by
        subject, by the reference's name.
    dataset
        On which it was scored.
    variant
        Which HCMNet was scored, and so the one whose cost counts.
    n_seeds
        From how many seeds it was trained.

    Raises
    ------
    ParameterError
        If the variant or a name was not measured.
    """
    costs = of_10_s(measured(path)).set_index(["estimator", "variant"])
    known = [(name, "") for name in REFERENCES if (name, "") in costs.index]
    wrong = [name for name in better if (name, "") not in known]
    if ("hcmnet", variant) not in costs.index or wrong:
        raise ParameterError(
            f"no time of {', '.join(wrong) or variant!r} was measured; there are "
            f"{', '.join(filter(None, costs.index.map('/'.join)))}"
        )
    own = costs.loc[("hcmnet", variant)]
    why = f"{name_of('hcmnet', variant)}: {own['p50_ms']:.3g} ms (p95 {own['p95_ms']:.3g} ms) "
    why += f"for {WINDOW_S:g} s"
    if own["p95_ms"] >= 1000 * WINDOW_S:
        return Verdict(EFFICIENT_CLAIM, "does not hold on", THIS_MACHINE, NOTHING, why)
    cheaper = {name: costs.loc[(name, ""), "p50_ms"] for name, _ in known}
    cheaper = {name: ms for name, ms in cheaper.items() if ms < own["p50_ms"]}
    few_seeds = n_seeds < claims.FEWEST_SEEDS
    why += f"; {n_seeds} seed{'s' if n_seeds > 1 else ''}"
    return _weigh(better, cheaper, dataset, why, few_seeds)


def _weigh(
    better: Mapping[str, Interval],
    cheaper: Mapping[str, float],
    dataset: str,
    why: str,
    few_seeds: bool,
) -> Verdict:
    """Decide by what the cheaper references score; `cheaper` has their times in ms."""
    if not cheaper:
        why = f"{why}; no reference costs less"
        return Verdict(EFFICIENT_CLAIM, "holds on", THIS_MACHINE, NOTHING, why)
    if not better:
        why = f"{why}; no honest scores at hand"
        return Verdict(EFFICIENT_CLAIM, "untested", "", NOTHING, why)
    gaps = {name: better.get(name, NOTHING) for name in cheaper}
    enough = {
        name: gap.n_subjects >= claims.FEWEST_SUBJECTS and not few_seeds
        for name, gap in gaps.items()
    }
    worse = [name for name, gap in gaps.items() if enough[name] and gap.high < 0]
    unclear = [name for name, gap in gaps.items() if not (enough[name] and gap.low > 0)]
    word = "does not hold on" if worse else "undecided on" if unclear else "holds on"
    named = worse or unclear or list(gaps)
    told = [
        f"{figures.name_of(name)} takes {cheaper[name]:.3g} ms, HCMNet minus it: "
        + (claims.points(gaps[name]) if gaps[name].n_subjects else "not compared")
        for name in named
    ]
    return Verdict(EFFICIENT_CLAIM, word, dataset, gaps[named[0]], "; ".join([why, *told]))
