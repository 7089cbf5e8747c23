"""Scores against how much there was to train on."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from affectbook import results
from affectbook.chapters.shared import bars, chance_line, need
from affectbook.chapters.split_scores import (
    BUDGET,
    PAPER,
    efficiency_scores,
    score_of,
    short_name,
)
from affectbook.figures import MARKS, WIDTH, Drawn, name_of


def data_efficiency(
    rows: pd.DataFrame,
    base: str,
    title: str,
    metric: str = "balanced_accuracy",
    references: Sequence[str] = (),
) -> Drawn:
    """Draw the score against the share of training subjects, and against that of their trials.

    Parameters
    ----------
    rows
        Score rows. Variants that end in ``0.25_of_subjects`` or ``0.25_of_trials`` trained on that
        share. Shares of subjects and shares of trials may be of two experiments, which the panels
        name; each is continued by what trained on everything there.
    base
        The network's variant on all of them; its shares are ``base+0.25_of_subjects``.
    title
        Says whose scores these are; the panels name data set, tier and protocol.
    metric
        A key of `results.METRICS`.
    references
        Estimators besides the network; their variant on all training windows is empty.

    Raises
    ------
    DataError
        If nothing was trained on less than everything.
    ParameterError
        If the rows are of several experiments.
    """
    need(rows, title, BUDGET, PAPER)
    table = efficiency_scores(rows, base, metric, references)
    need(table[table["share"] < 1], title, BUDGET, PAPER)
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 4.3), sharey=True)
    words = []
    for ax, of in zip(axes, ("subjects", "trials"), strict=True):
        own = results.select(table, of=of)
        words.append(_draw_efficiency(ax, own, list(table["estimator"].unique()), of))
    axes[0].set_ylabel(f"{metric.replace('_', ' ')} (%)")
    fig.suptitle(title, fontsize=12)
    handles = {label: handle for ax in axes
               for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}  # fmt: skip
    fig.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize=9)
    return fig, (
        f"{title}: {metric.replace('_', ' ')} with 95 % intervals over subjects against how much "
        f"was trained on. {' '.join(words)}"
    )


def _draw_efficiency(ax: Axes, own: pd.DataFrame, estimators: Sequence[str], of: str) -> str:
    """Draw one panel; return its numbers in words."""
    ax.set(xlabel=f"training {of} used (%)")
    ax.grid(False, axis="x")
    if own.empty:
        ax.set_xticks([])
        ax.text(0.5, 0.5, "not recorded", ha="center", transform=ax.transAxes)
        return f"By training {of}: not recorded."
    ticks, told = sorted(own["share"].unique()), []
    for i, estimator in enumerate(estimators):
        part = results.select(own, estimator=estimator).sort_values("share")
        value, low, high = (100 * part[name].to_numpy() for name in ("value", "low", "high"))
        x = part["share"].map(ticks.index) + 0.1 * (i - (len(estimators) - 1) / 2)
        ax.errorbar(x, value, bars(value, low, high), marker=MARKS[i % len(MARKS)],
                    color=f"C{i}", ms=6, lw=1.6, elinewidth=1.1, capsize=2, zorder=3,
                    ls=("-", "--", "-.", ":")[i % 4], label=name_of(estimator))  # fmt: skip
        scores = (f"{100 * line.share:g} %: {score_of(line)}" for line in part.itertuples())
        told.append(f"{name_of(estimator)} {', '.join(scores)}")
    first, chance = own.iloc[0], 1 / own["n_outputs"].max()
    chance_line(ax, chance)
    ax.set_xticks(range(len(ticks)), [f"{100 * tick:g}" for tick in ticks])
    ax.set_xlim(-0.5, len(ticks) - 0.5)
    where = f"{first['dataset']} ({first['tier']}), {short_name(first['protocol'])}"
    ax.set_title(textwrap.fill(where, 40), fontsize=10)
    return f"By training {of}, {where}, chance {100 * chance:.0f} %: {'; '.join(told)}."
