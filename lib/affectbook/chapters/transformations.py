"""How well transformations are recognised, and what that is worth: from score rows alone."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from affectbook import results
from affectbook.chapters.shared import bars, need, require_one
from affectbook.chapters.split_scores import classes_of, short_name
from affectbook.errors import ParameterError
from affectbook.figures import MARKS, WIDTH, Drawn, mark_leaks
from affectbook.papers.ssl_ecg import VARIANTS
from affectbook.pretext_scores import HEAD
from affectbook.results import Interval

__all__ = ["VERSIONS", "PARTS", "STRENGTHS", "difficulty", "difficulty_scores", "head_figure",
           "head_scores", "of_fold", "setting_of", "variant_name"]  # fmt: skip
PAPER = "ssl_ecg"
PUBLISHED, IN_FOLD, RANDOM = "published", "published+in_fold", "published+random_encoder"
DIFFICULTY, ABLATIONS = "difficulty", "ablations"
"""Sweeps that make the rows, as messages name them."""


class Strength(NamedTuple):
    """What can be varied: of which transformation, as published, and what an axis calls it.

    Strengths that are `falling` change a window less the larger they are.
    """

    task: str
    published: float
    label: str
    falling: bool = False


STRENGTHS = {
    "snr_db": Strength("noise", 15.0, "SNR (dB)", falling=True),
    "factor": Strength("scaling", 1.1, "factor"),
    "pieces": Strength("permutation", 20.0, "pieces"),
    "warp_pieces": Strength("time_warp", 9.0, "pieces"),
    "stretch": Strength("time_warp", 1.05, "stretch"),
}
VERSIONS = {
    "original": "original", "noise": "noise", "scaling": "scaling", "negation": "negation",
    "inversion": "time\nreversal", "permutation": "permu-\ntation", "time_warp": "time\nwarp",
}  # fmt: skip
"""The versions of a window in the order of the released code, as an axis calls them."""
MEASURES = {"f1": "F1", "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy"}
PARTS = {
    "one_set": "pretrained on one data set",
    "in_fold": "the published pretext", "transductive": "pretrained on all windows",
    "window_zscore": "z-score of each window", "one_softmax": "one softmax over all",
    "equal_alpha": "equal weights of heads", "relu": "ReLU (published: leaky)",
    "mean_pool": "mean pooling (published: max)", "batch_norm": "batch norm",
    "random_encoder": "random encoder", "from_scratch": "from scratch, with labels",
    "contrastive": "contrastive pretext", "frozen": "frozen", "fine_tuned": "fine-tuned",
    "head_dense_512x2": "head: two layers of 512", "head_dense_512x3": "head: three layers of 512",
    "head_dense_64x2": "head: two layers of 64", "head_linear": "head: linear",
    "block_1": "features of block 1", "block_2": "features of block 2",
    "only_noise": "noise alone", "only_scaling": "scaling alone",
    "only_negation": "negation alone", "only_inversion": "time reversal alone",
    "only_permutation": "permutation alone", "only_time_warp": "time warp alone",
}  # fmt: skip
"""What a part of a variant changes, in plain words."""


def variant_name(variant: str, names: Mapping[str, str] | None = None) -> str:
    """Return what a variant changes, in plain words."""
    names = PARTS if names is None else names
    parts = [part for part in variant.split("+") if part != PUBLISHED]
    return ", ".join(names.get(part, part.replace("_", " ")) for part in parts) or "as published"


def setting_of(rows: pd.DataFrame) -> str:
    """Return data set, tier, scale and number of seeds of the rows of one experiment."""
    first, n_seeds = rows.iloc[0], rows["seed"].nunique()
    tier = "simulated" if first["tier"] == "simulated" else f"real, {first['tier']}"
    seeds = f"{n_seeds} seed{'s' if n_seeds > 1 else ''}"
    return f"{first['dataset']} ({tier}), scale {first['scale']}, {seeds}"


def of_fold(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows in which each variant is named as a change of ``published+in_fold``.

    What pretrains in the fold is compared with the published pretext that does so, too: for
    `affectbook.ablations.table` with that base. Other variants of the network become its parts as
    well; the published one without a part, whose encoder is released, is left out.
    """
    own = rows["estimator"] == PAPER
    rows, own = rows[~own | (rows["variant"] != PUBLISHED)], own & (rows["variant"] != PUBLISHED)
    part = rows["variant"].str.removeprefix(IN_FOLD).str.removeprefix(PUBLISHED)
    return rows.assign(variant=rows["variant"].where(~own[rows.index], IN_FOLD + part))


def difficulty_scores(rows: pd.DataFrame, metric: str = "balanced_accuracy") -> pd.DataFrame:
    """Return what one transformation at a time scores at each strength.

    Parameters
    ----------
    rows
        Score rows of one experiment: of the heads and the classifier of ``published+only_<task>``,
        at the published strengths, and ``published+only_<task>+<strength>``, at others.
    metric
        Of the classifier; a key of `results.METRICS`.

    Returns
    -------
    pandas.DataFrame
        strength, a key of `STRENGTHS`; task; amount, growing with what is changed in a window;
        published; f1 of the head, mean over seeds; value, low, high (all 0 to 1) and n_subjects of
        the classifier. NaN where there is none.

    Raises
    ------
    ParameterError
        If the rows are of several experiments.
    """
    own, lines = results.select(rows, placebo=False), []
    for option, strength in STRENGTHS.items():
        alone = f"{PUBLISHED}+only_{strength.task}"
        amounts = {alone: strength.published}
        amounts |= {f"{alone}+{name}": float(change[option]) for name, change in VARIANTS.items()
                    if option in change}  # fmt: skip
        for variant in sorted(amounts, key=amounts.__getitem__, reverse=strength.falling):
            part = results.select(own, variant=variant)
            require_one(part, f"the strength {variant}", "protocol", "target")
            head = results.select(part, estimator=HEAD + strength.task)
            score = results.interval(results.select(part, estimator=PAPER), metric)
            line = {"strength": option, "task": strength.task, "amount": amounts[variant],
                    "published": variant == alone}  # fmt: skip
            line |= {"f1": results.overall(head, "f1")} | score._asdict()
            lines += [line] if len(part) else []
    columns = ["strength", "task", "amount", "published", "f1", *Interval._fields]
    return pd.DataFrame(lines, columns=columns)


def difficulty(rows: pd.DataFrame, title: str, metric: str = "balanced_accuracy") -> Drawn:
    """Draw how well a transformation is recognised, and what it is worth, against its strength.

    Parameters
    ----------
    rows, metric
        As `difficulty_scores` takes them; those of ``published+random_encoder`` are a line.
    title
        Says what is drawn; data set, tier, scale and seeds are added.

    Raises
    ------
    DataError
        If no strength was recorded.
    ParameterError
        If the rows are of several experiments.
    """
    need(rows, title, DIFFICULTY, PAPER)
    own = results.select(rows, placebo=False, estimator=PAPER)
    own = own[own["variant"].str.startswith(f"{PUBLISHED}+only_") | (own["variant"] == RANDOM)]
    table = difficulty_scores(rows, metric)
    need(table[table["value"].notna()], title, DIFFICULTY, PAPER)
    require_one(own, "strengths", "protocol", "target")
    chance, random = 1 / classes_of(own), results.interval(results.select(own, variant=RANDOM),
                                                           metric)  # fmt: skip
    fig, axes = plt.subplots(2, 3, figsize=(WIDTH, 5.2), sharey=True)
    words, name = [], metric.replace("_", " ")
    for ax, (option, strength) in zip(axes.flat, STRENGTHS.items(), strict=False):
        part = results.select(table, strength=option)
        _frame(ax, chance, random)
        words.append(_draw_strength(ax, part, strength, name))
    axes[0, 0].set(ylim=(0, 1.03), ylabel="score (0 to 1)")
    axes[1, 0].set_ylabel("score (0 to 1)")
    found = {label: handle for ax in axes.flat
             for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}  # fmt: skip
    axes[1, 2].axis("off")
    axes[1, 2].legend(found.values(), found, loc="center", fontsize=9)
    where = f"{setting_of(own)}, {short_name(own['protocol'].iloc[0])}"
    fig.suptitle(f"{title}\n{where}", fontsize=11)
    return fig, (
        f"{title}: {where}. Each encoder learnt one transformation alone. F1 of its head, which "
        f"is 0.67 if it always says yes, and {name} of the classifier with its 95 % interval over "
        f"subjects; chance {chance:.2f}, random encoder {_told(random)}. From the weakest to the "
        f"strongest change: {' '.join(words)}"
    )


def _frame(ax: Axes, chance: float, random: Interval) -> None:
    """Draw what a panel is to be held against."""
    # Of a window and its one version, half are positive.
    ax.axhline(2 / 3, ls=":", color="C0", lw=1.6, label="F1 of always yes", zorder=1)
    ax.axhline(chance, ls="--", color="0.35", lw=1.3, label="chance", zorder=1)
    if not np.isnan(random.value):
        ax.axhline(random.value, ls="-.", color="C2", lw=1.6, label="random encoder", zorder=1)
    if not np.isnan(random.low):
        ax.axhspan(random.low, random.high, color="C2", alpha=0.13, lw=0, zorder=0)


def _draw_strength(ax: Axes, part: pd.DataFrame, strength: Strength, name: str) -> str:
    """Draw one panel; return its numbers in words."""
    called = _called(strength.task)
    ax.set_title(called, fontsize=10.5)
    ax.set_xlabel(strength.label)
    ax.grid(False, axis="x")
    if part.empty:
        ax.set_xticks([])
        ax.text(0.5, 0.15, "not recorded", ha="center", transform=ax.transAxes)
        return f"{called.capitalize()}, {strength.label}: not recorded."
    x = np.arange(len(part))
    ax.plot(x, part["f1"], "o-", color="C0", ms=6, lw=1.5, label="F1 of the head", zorder=3)
    ax.errorbar(x, part["value"], bars(part["value"], part["low"], part["high"]), fmt="s",
                color="C1", ms=6, lw=1.5, capsize=2, label=f"{name}\nof the classifier",
                zorder=4)  # fmt: skip
    for place in x[part["published"].to_numpy()]:
        ax.axvspan(place - 0.4, place + 0.4, color="0.85", lw=0, label="published strength",
                   zorder=0)  # fmt: skip
    ax.set_xticks(x, [f"{amount:g}" for amount in part["amount"]], fontsize=9)
    ax.set_xlim(-0.5, len(part) - 0.5)
    told = "; ".join(
        f"{line.amount:g}{' (published)' if line.published else ''} F1 {_number(line.f1)}, "
        f"{name} {_told(Interval(line.value, line.low, line.high, line.n_subjects))}"
        for line in part.itertuples()
    )
    return f"{called.capitalize()}, {strength.label}: {told}."


def _called(task: str) -> str:
    """Return the name of a version on one line."""
    return " ".join(VERSIONS.get(task, task).replace("-\n", "").split())


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def _told(score: Interval) -> str:
    """Return a score from 0 to 1, with its interval."""
    text = _number(score.value)
    return text if np.isnan(score.low) else f"{text} [{score.low:.2f}, {score.high:.2f}]"


def head_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how well each head of a pretext tells its version from the others, on new windows.

    Parameters
    ----------
    rows
        Score rows of heads among others, of one data set at one scale.

    Returns
    -------
    pandas.DataFrame
        variant; protocol; head, in the order of `VERSIONS`; f1 of the positive class,
        balanced_accuracy and accuracy (0 to 1), mean over folds and seeds; n_seeds.

    Raises
    ------
    ParameterError
        If the rows are of several experiments.
    """
    own = rows[rows["estimator"].str.startswith(HEAD) & rows["metric"].isin(MEASURES)]
    own = results.select(own, fold="all", subject="all", placebo=False)
    require_one(own, "heads")
    own = own.assign(head=own["estimator"].str.removeprefix(HEAD))
    arm, keys = ["variant", "protocol"], ["variant", "protocol", "head"]
    table = own.pivot_table("value", keys, "metric", sort=False).reindex(columns=[*MEASURES])
    seeds = own.groupby(keys)["seed"].nunique().rename("n_seeds")
    table = table.join(seeds).reset_index().rename_axis(columns=None)
    arms = list(own[arm].drop_duplicates().itertuples(index=False, name=None))
    places = [[*VERSIONS].index(one) if one in VERSIONS else len(VERSIONS) for one in table["head"]]
    order = pd.DataFrame({
        "arm": [arms.index(one) for one in table[arm].itertuples(index=False, name=None)],
        "head": places,
    })  # fmt: skip
    return table.loc[order.sort_values(["arm", "head"], kind="stable").index].reset_index(drop=True)


def head_figure(rows: pd.DataFrame, title: str, names: Mapping[str, str] | None = None) -> Drawn:
    """Draw the scores of each head for several variants, beside what always saying no scores.

    Parameters
    ----------
    rows
        As `head_scores` takes them; all variants have the same heads. Those of protocols that leak
        are named in red.
    title
        Says what is drawn; data set, tier, scale and seeds are added.
    names
        What a part of a variant changes; `PARTS` unless given.

    Raises
    ------
    DataError
        If there are no heads.
    ParameterError
        If the rows are of several experiments, or variants have other heads than others.
    """
    need(rows, title, ABLATIONS, PAPER)
    table = head_scores(rows)
    need(table, title, ABLATIONS, PAPER)
    arms, heads = _arms(table, PARTS if names is None else names), list(table["head"].unique())
    # Each head is shown every version of a window, one of which is its own.
    floors = {"f1": 0.0, "balanced_accuracy": 0.5, "accuracy": 1 - 1 / len({*heads, "original"})}
    fig, axes = plt.subplots(3, 1, figsize=(WIDTH, 7.6), sharex=True, sharey=True)
    for ax, measure in zip(axes, MEASURES, strict=True):
        _draw_heads(ax, table, measure, floors[measure], arms)
    axes[-1].set_xticks(range(len(heads)), [VERSIONS.get(one, one) for one in heads], fontsize=9.5)
    first = table["protocol"].iloc[0]
    where = f"{setting_of(rows[rows['estimator'].str.startswith(HEAD)])}, {_split(first)}"
    fig.suptitle(f"{title}\n{where}", fontsize=11)
    legend = fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2,
                        fontsize=9)  # fmt: skip
    mark_leaks(legend.get_texts(), [*(protocol for _, protocol in arms), ""])
    words = [
        f"{label[0].upper()}{label[1:]}: {_read_heads(_of_arm(table, arm))}."
        for arm, label in arms.items()
    ]
    return fig, (
        f"{title}: {where}. How well each head tells its version of a window from the others; one "
        f"that always says no has F1 0, balanced accuracy 0.50 and accuracy "
        f"{floors['accuracy']:.2f}. {' '.join(words)}"
    )


def _draw_heads(
    ax: Axes, table: pd.DataFrame, measure: str, floor: float, arms: Mapping[tuple[str, str], str]
) -> None:
    """Draw one measure of all heads, variants side by side, and what always saying no scores."""
    n_heads = table["head"].nunique()
    for i, (arm, label) in enumerate(arms.items()):
        x = np.arange(n_heads) + 0.84 * ((i + 0.5) / len(arms) - 0.5)
        ax.plot(x, _of_arm(table, arm)[measure], MARKS[i % len(MARKS)], color=f"C{i}", ms=6,
                label=textwrap.fill(label, 44), zorder=3)  # fmt: skip
    ax.axhline(floor, ls="--", color="0.35", lw=1.6, zorder=2, label="a head that always says no")
    for edge in range(1, n_heads):
        ax.axvline(edge - 0.5, color="0.85", lw=1, zorder=0)
    ax.grid(False, axis="x")
    ax.set(ylabel=f"{MEASURES[measure]}\n(0 to 1)", ylim=(-0.05, 1.06), xlim=(-0.5, n_heads - 0.5))


def _of_arm(table: pd.DataFrame, arm: tuple[str, str]) -> pd.DataFrame:
    return results.select(table, variant=arm[0], protocol=arm[1])


def _arms(table: pd.DataFrame, names: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Return what each variant is called, with its protocol where that is not the first one's."""
    arms, heads, first = {}, set(), table["protocol"].iloc[0]
    for (variant, protocol), part in table.groupby(["variant", "protocol"], sort=False):
        ending = "" if protocol == first else f", {_split(protocol)}"
        arms[variant, protocol] = variant_name(variant, names) + ending
        heads.add(tuple(part["head"]))
    if len(heads) > 1:
        found = "; ".join(", ".join(one) for one in sorted(heads))
        raise ParameterError(f"these variants have other heads than others ({found}): select one")
    return arms


def _split(protocol: str) -> str:
    """Return a protocol's short name."""
    transductive = protocol.endswith("_transductive")
    told = short_name(protocol.removesuffix("_transductive"))
    return f"{told}, transductive" if transductive else told


def _read_heads(part: pd.DataFrame) -> str:
    """Return the scores of one variant in words."""
    each = ", ".join(f"{_called(line.head)} {_number(line.f1)}" for line in part.itertuples())
    means = ", ".join(f"{name} {_number(part[measure].mean())}"
                      for measure, name in MEASURES.items())  # fmt: skip
    return f"F1 of {each}; means: {means}"
