"""The table that every chapter has: the paper's protocol beside the honest one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from affectbook import claims, protocols, results
from affectbook.claims import Claim

KEYS = ["dataset", "label_rule", "tier", "variant", "scale", "record"]


def headline(
    rows: pd.DataFrame,
    estimator: str,
    published: Sequence[Claim] = (),
    metric: str = "balanced_accuracy",
    variants: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return one column per experiment of a paper's network.

    Parameters
    ----------
    rows
        Score rows, recorded or of this run.
    estimator
        The network's name in them.
    published
        Claims of the paper, for its numbers on the same data and label rule.
    metric
        A key of `results.METRICS`.
    variants
        Only these variants of the network; ablations are left out so. All unless given.

    Returns
    -------
    pandas.DataFrame
        Rows: dataset, target and tier; the paper's number; ours as published and under each honest
        protocol with its interval; chance and majority; the placebo; what the audit says; and
        whether the honest score is above chance.
    """
    rows = rows if "record" in rows else rows.assign(record="")
    own = results.select(rows, estimator=estimator, placebo=False)
    own = own if variants is None else own[own["variant"].isin(variants)]
    lines = []
    for key, part in own.groupby(KEYS, sort=False):
        where = dict(zip(KEYS, key, strict=True))
        same = {key: where[key] for key in KEYS if key != "variant"}
        around = results.select(rows, **same)
        leaky = part[part["protocol"].str.endswith("_as_published")]
        for name in part["protocol"].unique():
            if not protocols.leaky(name):
                line = _line(where, name, part, leaky, around, metric)
                lines.append(line | {"paper": paper_says(published, where)})
    table = pd.DataFrame(lines).set_index("data, target, tier") if lines else pd.DataFrame()
    return table.T.reset_index(names="data, target, tier").rename_axis(columns=None)


def _line(
    where: dict[str, str],
    name: str,
    part: pd.DataFrame,
    leaky: pd.DataFrame,
    around: pd.DataFrame,
    metric: str,
) -> dict[str, str]:
    """Return one line of `headline`: one network on one data set under one honest protocol."""
    honest = results.select(part, protocol=name)
    majority = results.select(around, protocol=name, placebo=False, estimator="majority")
    placebo = results.select(
        around[around["protocol"].str.endswith("_as_published")],
        placebo=True, estimator=part["estimator"].iloc[0], variant=where["variant"],
    )  # fmt: skip
    score = results.interval(honest, metric)
    chance = 1 / results.confusions(honest)[1].shape[-1]
    return {
        "data, target, tier": f"{where['dataset']}, {where['label_rule']}, {where['tier']}",
        "network": f"{where['variant']}, {_seeds(honest)}",
        "paper": "",
        "as published": percent(results.interval(leaky, metric).value) if len(leaky) else "–",
        "placebo, as published": _on_coins(placebo, metric),
        "honest": f"{percent(score.value)} ({name})",
        "95 % interval": _span(score),
        "chance, majority": f"{percent(chance)}, {percent(results.overall(majority, metric))}",
        "audit": "honest: passed; as published: " + _leaks(leaky),
        "verdict": above_chance(score, chance),
    }


def _seeds(rows: pd.DataFrame) -> str:
    count = rows["seed"].nunique()
    return f"{count} seed{'s' if count > 1 else ''}"


def paper_says(published: Sequence[Claim], where: Mapping[str, str]) -> str:
    """Return the paper's number on a data set, "not found", or that it did not use the set."""
    own = [
        claim
        for claim in published
        if claim.dataset == where["dataset"] and claim.label_rule == where["label_rule"]
    ]
    if not own:
        return "did not use these data"
    return ", ".join("not found" if c.number is None else percent(c.number) for c in own)


def percent(value: float) -> str:
    """Return a score in per cent, or a dash."""
    return "–" if pd.isna(value) else f"{100 * value:.1f} %"


def _on_coins(placebo: pd.DataFrame, metric: str) -> str:
    """Return a score on coin flips with their chance, which is not that of the labels."""
    return f"{percent(results.overall(placebo, metric))} (chance 50 %)" if len(placebo) else "–"


def _span(score: results.Interval) -> str:
    if pd.isna(score.low):
        return f"{score.n_subjects} subjects: none"
    return f"{100 * score.low:.1f} to {100 * score.high:.1f}"


def _leaks(leaky: pd.DataFrame) -> str:
    names = leaky["protocol"].unique()
    return "; ".join(f"shares {protocols.get(name).leaks}" for name in names) or "not run"


def above_chance(score: results.Interval, chance: float) -> str:
    """Return whether an honest score is above chance, by the rule of `claims`."""
    if score.n_subjects < claims.FEWEST_SUBJECTS:
        return "undecided (under 10 subjects)"
    if score.low > chance:
        return "above chance"
    return "below chance" if score.high < chance else "not told from chance"
