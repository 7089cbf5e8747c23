"""Figures of scores that depend on how the windows were split, from score rows alone."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from affectbook import ablations, results
from affectbook.chapters.data_efficiency import data_efficiency
from affectbook.chapters.shared import bars, need, of_subjects, strips
from affectbook.chapters.split_scores import (
    KINDS,
    PAPER,
    PROTOCOL_ORDER,
    RECORDED,
    SHORT,
    VARIANTS,
    classes_of,
    efficiency_scores,
    model_table,
    paired_tests,
    protocol_scores,
    score_of,
    short_name,
    shown_tests,
)
from affectbook.figures import MARKS, WIDTH, Drawn, mark_leaks, name_of

__all__ = ["KINDS", "PROTOCOL_ORDER", "data_efficiency", "efficiency_scores", "model_table",
           "paired_tests", "protocol_bars", "protocol_scores", "shown_tests", "subject_band",
           "subject_dots", "variant_panels"]  # fmt: skip
_HATCHES = ("", "//", "..", "\\\\", "xx", "--", "oo", "++")
_PUBLISHED = ("", "\n(as published)")
_LETTERS = 100  # that fit below the axis
_SLOT = 0.86  # of the room of a protocol that its bars take


def protocol_bars(
    rows: pd.DataFrame,
    predictions: pd.DataFrame,
    title: str,
    *,
    estimators: Sequence[str],
    metric: str = "balanced_accuracy",
    kinds: Mapping[str, str] | None = None,
    sweep: str = RECORDED,
) -> Drawn:
    """Draw what each estimator scores under each protocol, beside chance, luck and coin flips.

    Parameters
    ----------
    rows, predictions, estimators, metric
        As `protocol_scores` takes them.
    title
        Says data set, labels and tier.
    kinds
        Which setting of the paper each protocol can stand for; `KINDS` unless given.
    sweep
        That makes the rows, for the message where there are none.

    Raises
    ------
    DataError
        If there are no scores.
    ParameterError
        If the rows are of several experiments.
    """
    need(rows, title, sweep, PAPER)
    table = protocol_scores(rows, predictions, estimators, metric)
    need(table, title, sweep, PAPER)
    kinds = KINDS if kinds is None else kinds
    protocols = list(table["protocol"].unique())
    fig, ax = plt.subplots(figsize=(WIDTH, 5.4))
    drawn = [name for name in estimators if name in set(table["estimator"])]
    for i, estimator in enumerate(drawn):
        own = results.select(table, estimator=estimator)
        x = own["protocol"].map(protocols.index) + _SLOT * ((i + 0.5) / len(drawn) - 0.5)
        _draw_bars(ax, i, x.to_numpy(), own, _SLOT / len(drawn))
    chances = _chances(table)
    for style, (label, chance) in zip(("--", ":"), chances.items(), strict=False):
        ax.axhline(100 * chance, ls=style, color="0.2", lw=1.3, label=label, zorder=4)
    _name_groups(ax, protocols, kinds)
    ax.set(ylim=(0, 101), ylabel=f"{metric.replace('_', ' ')} (%)")
    fig.suptitle(title, fontsize=12)
    fig.legend(*_legend(ax, drawn, table), loc="outside lower center", ncols=3, fontsize=9)
    words = [_read_protocol(name, results.select(table, protocol=name), kinds)
             for name in protocols]  # fmt: skip
    guessed = ", ".join(f"{label} {100 * chance:.0f} %" for label, chance in chances.items())
    return fig, (
        f"{title}: bars of {metric.replace('_', ' ')} with 95 % intervals over subjects, one group "
        f"per protocol; {guessed}. {' '.join(words)}"
    )


def _chances(table: pd.DataFrame) -> dict[str, float]:
    """Return what guessing scores; that of coins only where it differs."""
    labels, coins = table["n_outputs"].max(), table["coin_sides"].max()
    other = {} if np.isnan(coins) or coins == labels else {"chance on coin flips": 1 / coins}
    return {"chance": 1 / labels} | other


def _draw_bars(ax: Axes, i: int, x: np.ndarray, own: pd.DataFrame, width: float) -> None:
    """Draw the bars of one estimator, luck behind them and coin flips upon them."""
    value, low, high, coins = (100 * own[name] for name in ("value", "low", "high", "coins"))
    luck = 100 * own[["luck_low", "luck_high"]].to_numpy()
    # Wider than the bar, which would hide it.
    ax.bar(x, luck[:, 1] - luck[:, 0], width, luck[:, 0], color="0.6", lw=0, zorder=2)
    look = {"color": f"C{i}", "hatch": _HATCHES[i % len(_HATCHES)], "edgecolor": "white"}
    ax.bar(x, value, 0.56 * width, lw=0, zorder=3, **look)
    ax.errorbar(x, value, bars(value, low, high), fmt="none", ecolor="0.1", elinewidth=1.3,
                capsize=2, zorder=5)  # fmt: skip
    ax.plot(x, coins, "D", mfc="white", mec="0.1", ms=5, zorder=6)


def _name_groups(ax: Axes, protocols: Sequence[str], kinds: Mapping[str, str]) -> None:
    """Write the protocols below the axis, and below them which setting of the paper they are."""
    labels = [f"{SHORT[name]}{_PUBLISHED[name.endswith('_as_published')]}" for name in protocols]
    ax.set_xticks(range(len(protocols)), labels, fontsize=9)
    mark_leaks(ax.get_xticklabels(), protocols)
    ax.set_xlim(-0.5, len(protocols) - 0.5)
    ax.grid(False, axis="x")
    told = [kinds.get(name, "") for name in protocols]
    edges = [0, *(i for i in range(1, len(told)) if told[i] != told[i - 1]), len(told)]
    above, middles, names = 2 + max(label.count("\n") for label in labels), [], []
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        middles.append((start + stop - 1) / 2)
        fitting = int(_LETTERS * (stop - start) / len(protocols))
        names.append("\n" * above + textwrap.fill(told[start], fitting))
    below = ax.secondary_xaxis(location=0)
    below.set_xticks(middles, names, fontsize=9)
    below.tick_params("x", length=0)
    lines = 1 + max(name.count("\n") for name in names)
    between = ax.secondary_xaxis(location=0)
    between.set_xticks([edge - 0.5 for edge in edges], [""] * len(edges))
    between.tick_params("x", length=6 + 11.5 * lines, width=1, color="0.6")


def _legend(ax: Axes, drawn: Sequence[str], table: pd.DataFrame) -> tuple[list, list[str]]:
    """Return the handles of a legend and their names: only of what is in the figure."""
    handles = [
        Patch(facecolor=f"C{i}", hatch=_HATCHES[i % len(_HATCHES)], edgecolor="white", lw=0)
        for i in range(len(drawn))
    ]
    names = [name_of(name) for name in drawn]
    lines, labels = ax.get_legend_handles_labels()
    handles, names = handles + lines, names + labels
    if table["luck_low"].notna().any():
        handles.append(Patch(color="0.6"))
        names.append("luck: labels permuted")
    if table["coins"].notna().any():
        handles += ax.plot([], [], "D", mfc="white", mec="0.1", ms=5)
        names.append("the same on coin flips")
    return handles, names


def _read_protocol(name: str, part: pd.DataFrame, kinds: Mapping[str, str]) -> str:
    """Return the scores under one protocol in words."""
    told = []
    for line in part.itertuples():
        text = f"{name_of(line.estimator)} {score_of(line)}"
        if not np.isnan(line.luck_low):
            text += f", luck {100 * line.luck_low:.1f} to {100 * line.luck_high:.1f} %"
        if not np.isnan(line.coins):
            text += f", coin flips {100 * line.coins:.1f} %"
        told.append(text)
    kind = f", {kinds[name]}" if kinds.get(name) else ""
    return f"{short_name(name).capitalize()}{kind}: {'; '.join(told)}."


def subject_band(
    predictions: pd.DataFrame, metric: str = "balanced_accuracy"
) -> tuple[float, float] | None:
    """Return between what luck leaves 95 % of the scores of one subject (0 to 1).

    Means over subjects of the ends of each one's own `results.permutation_band`: that of all
    subjects together is narrower. None where nothing was predicted.
    """
    if predictions.empty:
        return None
    own = [results.permutation_band(part, metric) for _, part in predictions.groupby("subject")]
    low, high = np.mean(own, axis=0)
    return float(low), float(high)


def subject_dots(
    rows_by_name: Mapping[str, pd.DataFrame],
    band: tuple[float, float] | None,
    chance: float,
    title: str,
    metric: str = "balanced_accuracy",
    sweep: str = RECORDED,
) -> Drawn:
    """Draw one mark per subject for each experiment, and the mean, over what luck scores.

    Parameters
    ----------
    rows_by_name
        Score rows of one experiment under each label; a subject's score is the mean of its seeds.
    band
        What luck leaves of one subject, 0 to 1, as `subject_band` returns it.
    chance
        0 to 1.
    title, metric
        Of the figure; and a key of `results.METRICS`.
    sweep
        That makes the rows, for the message where there are none.

    Raises
    ------
    DataError
        If an experiment has no rows.
    """
    for name, rows in rows_by_name.items():
        need(rows, f"{title}: {name}", sweep, PAPER)
    scores = {name: of_subjects(rows, metric) for name, rows in rows_by_name.items()}
    ends = None if band is None else (100 * band[0], 100 * band[1])
    label = "luck: labels permuted among the trials of a subject"
    fig, words = strips(scores, title, metric, ends, label, 100 * chance)
    luck = f"; luck gives 95 % of them {ends[0]:.0f} to {ends[1]:.0f} %" if ends else ""
    return fig, (
        f"{title}: {metric.replace('_', ' ')}, one mark per subject, chance at "
        f"{100 * chance:.0f} %{luck}. {'; '.join(words)}."
    )


def variant_panels(
    rows: pd.DataFrame,
    base: str,
    panels: Mapping[str, Mapping[str, object]],
    title: str,
    names: Mapping[str, str],
    metric: str = "balanced_accuracy",
    sweep: str = VARIANTS,
) -> Drawn:
    """Draw the whole network and some of its variants on several data, a panel for each.

    Parameters
    ----------
    rows
        Score rows of the network under one protocol.
    base
        The variant that the others change one part of.
    panels
        Values of score-row columns that pick the rows of a panel, under its title.
    title
        Says network, protocol and tier.
    names
        What each part changes, in plain words; in the order of the lines, and only these.
    metric
        A key of `results.METRICS`.
    sweep
        That makes the rows, for the message where there are none.

    Raises
    ------
    DataError
        If a panel has no rows of `base`.
    ParameterError
        If the rows of a panel are of several experiments.
    """
    need(rows, title, sweep, PAPER)
    tables = {}
    for name, where in panels.items():
        own = results.select(rows, placebo=False, **where)
        need(results.select(own, variant=base), f"{title}, {name}", sweep, PAPER)
        tables[name] = _of_panel(own, base, names, metric)
    parts = ["", *(part for part in names if any((t["part"] == part).any() for t, _ in
                                                  tables.values()))]  # fmt: skip
    n_cols = min(2, len(panels))
    n_rows = -(-len(panels) // n_cols)
    fig, axes = plt.subplots(
        n_rows, n_cols, figsize=(WIDTH, 1.0 + n_rows * (0.9 + 0.55 * len(parts))), sharex=True,
        sharey=True, squeeze=False,
    )  # fmt: skip
    drawn = zip(axes.flat, tables.items(), strict=False)
    words = [_draw_panel(ax, name, table, parts, names, chance)
             for ax, (name, (table, chance)) in drawn]  # fmt: skip
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    for ax in axes.flat[max(0, len(panels) - n_cols) : len(panels)]:
        ax.set_xlabel(f"{metric.replace('_', ' ')} (%)")
        ax.tick_params("x", labelbottom=True)
    fig.suptitle(f"{title}\ntext: difference to {ablations.WHOLE}, points [95 % interval]",
                 fontsize=11)  # fmt: skip
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2,
               fontsize=9)  # fmt: skip
    return fig, (
        f"{title}: {metric.replace('_', ' ')} with 95 % intervals over subjects, and the paired "
        f"difference to {ablations.WHOLE}. {' '.join(words)}"
    )


def _of_panel(
    own: pd.DataFrame, base: str, names: Mapping[str, str], metric: str
) -> tuple[pd.DataFrame, float]:
    """Return the lines of a panel, that of the whole network first, and its chance."""
    whole = results.select(own, variant=base)
    own = own[own["estimator"] == whole["estimator"].iloc[0]]
    lines = ablations.table(own, base, metric=metric)
    lines = lines[lines["value"].notna()]
    lines = ablations.only(lines, [part for part in names if part in set(lines["part"])])
    return lines, 1 / classes_of(whole)


def _draw_panel(
    ax: Axes, name: str, table: pd.DataFrame, parts: Sequence[str], names: Mapping[str, str],
    chance: float,
) -> str:  # fmt: skip
    """Draw the lines of one panel; return them in words."""
    told = []
    for line, text in zip(table.itertuples(), ablations.shown(table, names).to_numpy(),
                          strict=True):  # fmt: skip
        y, (words, score, gap) = parts.index(line.part), text[:3]
        value, low, high = 100 * line.value, 100 * line.low, 100 * line.high
        i = y % len(MARKS)
        ax.errorbar(value, y, xerr=bars(value, low, high), fmt=MARKS[i], color=f"C{i}", ms=7,
                    capsize=3, lw=1.8, zorder=3)  # fmt: skip
        if line.part:
            box = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.85}
            ax.text(0.98, y + 0.36, gap, transform=ax.get_yaxis_transform(), ha="right",
                    va="center", fontsize=9, bbox=box)  # fmt: skip
        told.append(f"{words} {score}" + (f", difference {gap}" if line.part else ""))
    ax.axvline(100 * chance, ls="--", color="0.35", lw=1.3, label="chance", zorder=1)
    labels = [names.get(part, part) if part else ablations.WHOLE for part in parts]
    ax.set_yticks(range(len(parts)), [textwrap.fill(label, 20) for label in labels], fontsize=9.5)
    ax.set(ylim=(len(parts) - 0.4, -0.6))
    ax.set_title(name, fontsize=10.5)
    ax.grid(False, axis="y")
    return f"{name}, chance {100 * chance:.0f} %: {'; '.join(told)}."
