"""Ablations: what each changed part of a network costs, from score rows alone.

Every variant is compared with the whole network on the same subjects and the same seeds, so that
neither the people nor the luck of a seed is taken for an effect.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from affectbook import claims, figures, results
from affectbook.errors import DataError, ParameterError
from affectbook.figures import Drawn
from affectbook.results import Interval

SCORE = ["value", "low", "high"]
DIFFERENCE = ["difference", "diff_low", "diff_high"]
COLUMNS = ["variant", "part", "metric", *SCORE, *DIFFERENCE, "seed_low", "seed_high", "n_seeds",
           "n_subjects", "seed_differences"]  # fmt: skip
WHOLE = "the whole network"
_COMMAND = "make sweep PAPER=... SWEEP=ablations"


def table(
    rows: pd.DataFrame,
    base: str,
    *,
    metric: str = "balanced_accuracy",
    commands: Callable[[str], str] | None = None,
) -> pd.DataFrame:
    """Compare every variant of a network with the whole one, paired by subject and by seed.

    All numbers of a line are of the seeds that `base` has too.

    Parameters
    ----------
    rows
        Score rows of one network on one data set, under one protocol, at one scale. Variants whose
        names are neither `base` nor begin with ``base+`` are left out.
    base
        The variant that the others change one part of.
    metric
        A key of `results.METRICS`.
    commands
        Returns the command that makes the rows of a variant.

    Returns
    -------
    pandas.DataFrame
        One line per variant, in the order of first appearance: variant; part, what comes after
        ``base+``; metric; value, low and high of the score (0 to 1); difference to `base` with
        diff_low and diff_high; the lowest and highest difference of a single seed, seed_low and
        seed_high, and all of them, a tuple, in seed_differences; n_seeds and n_subjects; and
        command, where `commands` is given. The line of `base` has no differences: NaN. Nor has a
        variant without a seed in common with `base` any number.

    Raises
    ------
    DataError
        If there are no rows of `base`.
    ParameterError
        If the rows are of several experiments.
    """
    own = rows[(rows["variant"] == base) | rows["variant"].str.startswith(f"{base}+")]
    whole = results.select(own, variant=base)
    if whole.empty:
        raise DataError(
            f"there are no scores of {base!r} to compare with",
            do=commands(base) if commands else _COMMAND,
        )
    shared = [name for name in results.CONTEXT if name != "variant"]
    mixed = [name for name in shared if own[name].nunique(dropna=False) > 1]
    if mixed:
        raise ParameterError(f"these rows of ablations differ in {mixed}: select one of each")
    lines = [
        _line(part, None if variant == base else whole, metric)
        | {"variant": variant, "part": variant.removeprefix(base).removeprefix("+")}
        | ({"command": commands(variant)} if commands else {})
        for variant, part in own.groupby("variant", sort=False)
    ]
    return pd.DataFrame(lines, columns=[*COLUMNS, *(["command"] if commands else [])])


def _line(part: pd.DataFrame, whole: pd.DataFrame | None, metric: str) -> dict[str, object]:
    """Return the numbers of one variant; of the whole network itself where `whole` is None."""
    gap, singles = Interval(np.nan, np.nan, np.nan, 0), ()
    if whole is not None:
        part = part[part["seed"].isin(whole["seed"])]
        whole = whole[whole["seed"].isin(part["seed"])]
        gap = results.difference(part, whole, metric)
        pairs = [
            [results.select(one, seed=seed) for one in (part, whole)]
            for seed in sorted(part["seed"].unique())
        ]
        singles = tuple(results.difference(*pair, metric).value for pair in pairs)
    score = results.interval(part, metric)
    return {
        "metric": metric,
        **dict(zip(SCORE, score, strict=False)),
        **dict(zip(DIFFERENCE, gap, strict=False)),
        "seed_low": min(singles, default=np.nan),
        "seed_high": max(singles, default=np.nan),
        "n_seeds": part["seed"].nunique(),
        "n_subjects": score.n_subjects if whole is None else gap.n_subjects,
        "seed_differences": singles,
    }


def only(table: pd.DataFrame, parts: Collection[str]) -> pd.DataFrame:
    """Return the lines of these parts, in the order of `parts`, after that of the whole network.

    Raises
    ------
    ParameterError
        If a part is not in the table.
    """
    missing = sorted(set(parts) - set(table["part"]))
    if missing:
        known = ", ".join(filter(None, table["part"]))
        raise ParameterError(f"no ablation {', '.join(missing)}; there are {known}")
    order = ["", *parts]
    kept = table[table["part"].isin(order)]
    return kept.sort_values("part", key=lambda part: part.map(order.index), kind="stable")


def shown(table: pd.DataFrame, names: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return the table as text for the page; `names` says in plain words what a part changes."""
    metric = _metric_of(table)
    lines = [
        {
            "what changed": _name(line.part, names),
            f"{metric} (95 % interval)": str(_score(line)),
            "difference, points (95 % interval)": _points(_gap(line)).replace(" points", ""),
            "single seeds": _single_seeds(line),
            "seeds": line.n_seeds,
        }
        | ({"made by": line.command} if "command" in table else {})
        for line in table.itertuples(index=False)
    ]
    return pd.DataFrame(lines)


def forest(table: pd.DataFrame, title: str, names: Mapping[str, str] | None = None) -> Drawn:
    """Draw what each change costs: the difference with its interval, and every single seed.

    Parameters
    ----------
    table
        As `table` returns it.
    title
        Says network, data set and tier; numbers of subjects and seeds are added.
    names
        What a part changes, in plain words.

    Raises
    ------
    DataError
        If no variant has a difference.
    """
    lines = table[table["difference"].notna()].reset_index(drop=True)
    if lines.empty:
        raise DataError(f"there are no differences to draw for {title!r}", do=_COMMAND)
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 1.75 + 0.42 * len(lines)))
    for y, line in enumerate(lines.itertuples(index=False)):
        gap, seeds = 100 * np.array(_gap(line)[:3]), 100 * np.array(line.seed_differences)
        bar = np.nan_to_num(np.abs(gap[1:, None] - gap[0]))
        look = {"fmt": "D", "ms": 6.5, "lw": 2.2, "capsize": 4, "color": "C0"}
        label = "" if y else "all seeds, 95 % interval over subjects"
        ax.errorbar(gap[0], y, xerr=bar, label=label, zorder=3, **look)
        look = {"marker": "o", "ms": 4.5, "mfc": "none", "mec": "0.3", "mew": 1.1, "ls": ""}
        # Below the bar, or the marks of seeds that agree would lie hidden under it.
        ax.plot(seeds, np.full(len(seeds), y + 0.3), label="" if y else "a single seed", **look)
    _frame(ax, lines, names)
    counts = f"{_range(lines['n_subjects'], 'subject')}, {_range(lines['n_seeds'], 'seed')}"
    fig.suptitle(f"{title}\n{counts}", fontsize=11)
    fig.legend(loc="outside lower center", ncols=2, fontsize=9)
    told = "; ".join(
        f"{_name(line.part, names)} {_points(_gap(line))}, seed by seed {_single_seeds(line)}"
        for line in lines.itertuples(index=False)
    )
    return fig, (
        f"{title} ({counts}). Difference in {_metric_of(table)} to the whole network, with its "
        f"interval over subjects: {told}."
    )


def _frame(ax: Axes, lines: pd.DataFrame, names: Mapping[str, str] | None) -> None:
    """Draw zero, and label the axes of a forest plot."""
    ax.axvline(0, ls="--", color="0.35", lw=1.3)
    ax.set_yticks(range(len(lines)), [_name(part, names) for part in lines["part"]], fontsize=10)
    ax.set(ylim=(len(lines) - 0.4, -0.6), ylabel="")
    widest = max(abs(edge) for edge in ax.get_xlim())
    ax.set_xlim(-widest, widest)
    ax.set_xlabel(f"{_metric_of(lines)}: difference to {WHOLE} (points)")
    ax.grid(False, axis="y")
    sides = ((-0.02, "right", "← worse for the change"), (0.02, "left", "better for it →"))
    for x, side, text in sides:
        ax.text(x * widest, -0.65, text, ha=side, va="bottom", fontsize=9, color="0.25")


def _metric_of(table: pd.DataFrame) -> str:
    return str(table["metric"].iloc[0]).replace("_", " ")


def _name(part: str, names: Mapping[str, str] | None) -> str:
    return (names or {}).get(part, part.replace("_", " ")) if part else WHOLE


def _score(line: tuple) -> Interval:
    return Interval(line.value, line.low, line.high, line.n_subjects)


def _gap(line: tuple) -> Interval:
    return Interval(line.difference, line.diff_low, line.diff_high, line.n_subjects)


def _points(gap: Interval) -> str:
    return "–" if np.isnan(gap.value) else claims.points(gap)


def _single_seeds(line: tuple) -> str:
    """Return the lowest and the highest difference of a single seed, in points."""
    # Adding zero takes the sign off a rounded -0.0.
    ends = (round(100 * end, 1) + 0.0 for end in (line.seed_low, line.seed_high))
    texts = [f"{end:+.1f}" for end in ends if not np.isnan(end)]
    return " to ".join(texts[: len(line.seed_differences)]) or "–"


def _range(counts: pd.Series, what: str) -> str:
    """Return "36 subjects", or "2 to 3 seeds" where lines differ."""
    low, high = counts.min(), counts.max()
    text = str(high) if low == high else f"{low} to {high}"
    return f"{text} {what}{'' if high == 1 else 's'}"
