"""What label rules do to the same trials: how many fall into each class, and what scores follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from affectbook import results
from affectbook.chapters.shared import LOOKS, bars
from affectbook.datasets import Card, LabelRule, RatingRule, Recording
from affectbook.figures import MARKS, WIDTH, Drawn, name_of, theme

Rule = LabelRule | RatingRule


def classes_of(recordings: Iterable[Recording], rules: Sequence[Rule]) -> pd.DataFrame:
    """Return the class id that each rule gives to each trial; NaN where it leaves the trial out.

    Parameters
    ----------
    recordings
        Read once, one at a time.
    rules
        One column each, by name.
    """
    lines = [
        {"subject": r.subject, "trial": r.trial} | {rule.name: rule.label(r) for rule in rules}
        for r in recordings
    ]
    return pd.DataFrame(lines)


def disagreement(classes: pd.DataFrame, one: str, other: str) -> float:
    """Return the share of trials that two rules put into classes of different number."""
    both = classes[[one, other]].dropna()
    return float((both[one] != both[other]).mean())


def figure(
    classes: pd.DataFrame, rules: Sequence[Rule], rows: pd.DataFrame, card: Card, tier: str
) -> Drawn:
    """Draw the share of trials in each class under each rule, and the scores that were recorded.

    Parameters
    ----------
    classes, rules
        As `classes_of` returns them.
    rows
        Score rows of new subjects under these rules; none draws the shares alone.
    card, tier
        For the title.
    """
    theme()
    rules = [rule for rule in rules if rule.name in classes]
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH, 0.33 * len(rules) + 2.0), sharey=True, width_ratios=(1.2, 1)
    )
    words = _draw_shares(left, classes, rules)
    words += _draw_scores(right, rows, rules)
    left.set_yticks(range(len(rules)), [f"{rule.name}" for rule in rules], fontsize=8)
    left.set_ylim(len(rules) - 0.5, -0.5)
    left.set_title("lowest class on the left", fontsize=10)
    seeds = ", ".join(str(seed) for seed in sorted(rows["seed"].unique())) if len(rows) else ""
    right.set_title(f"new people (recorded, seed {seeds})" if seeds else "no scores", fontsize=10)
    fig.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    title = f"{card.title} ({tier}): {len(classes)} trials under {len(rules)} label rules"
    fig.suptitle(title, fontsize=11)
    return fig, f"{title}. {' '.join(words)}"


def _draw_shares(ax: Axes, classes: pd.DataFrame, rules: Sequence[Rule]) -> list[str]:
    words = []
    for row, rule in enumerate(rules):
        n_classes = len(rule.classes)
        counts = classes[rule.name].value_counts().reindex(range(n_classes), fill_value=0)
        shares = 100 * counts.to_numpy() / counts.sum()
        starts = np.cumsum(shares) - shares
        for share, start, colour in zip(
            shares, starts, sns.color_palette("cividis", n_classes), strict=True
        ):
            ax.barh(row, share, left=start, color=colour, edgecolor="white", height=0.75)
        words.append(f"{rule.name}: {', '.join(f'{share:.0f} %' for share in shares)}.")
    ax.set(xlim=(0, 100), xlabel="trials in each class (%)")
    ax.grid(axis="y", visible=False)
    return words


def _draw_scores(ax: Axes, rows: pd.DataFrame, rules: Sequence[Rule]) -> list[str]:
    """Draw the models' scores beside chance, which depends on the number of classes."""
    words = []
    for row, rule in enumerate(rules):
        chance = 100 / len(rule.classes)
        ax.plot([chance, chance], [row - 0.4, row + 0.4], color="0.35", ls="--", lw=1.3,
                label=None if row else "chance")  # fmt: skip
    for number, estimator in enumerate(rows["estimator"].unique() if len(rows) else ()):
        i = LOOKS.get(estimator, number)
        own = results.select(rows, estimator=estimator)
        found = [(row, results.interval(results.select(own, label_rule=rule.name)))
                 for row, rule in enumerate(rules)]  # fmt: skip
        found = [(row, score) for row, score in found if score.n_subjects]
        y = np.array([row for row, _ in found]) + 0.18 * (number - 0.5)
        value = [100 * score.value for _, score in found]
        error = bars(value, *([100 * getattr(score, end) for _, score in found]
                              for end in ("low", "high")))  # fmt: skip
        ax.errorbar(value, y, xerr=error, fmt=MARKS[i], color=f"C{i}", ms=5, capsize=2,
                    label=name_of(estimator))  # fmt: skip
        told = (f"{rules[row].name} {score.value:.0%}" for row, score in found)
        words.append(f"{name_of(estimator)}: {', '.join(told)}.")
    ax.set(xlim=(0, 100), xlabel="balanced accuracy (%)")
    ax.grid(axis="y", visible=False)
    return words
