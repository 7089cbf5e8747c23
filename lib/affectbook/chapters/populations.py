"""Figures of training on one population and testing on another, from the rows of `transfer`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from affectbook import results
from affectbook.chapters.shared import LOOKS, bars, chance_line, need
from affectbook.figures import MARKS, WIDTH, Drawn, name_of, theme
from affectbook.transfer import ACROSS, ADAPTED

_SCALED = "+scaler_per_subject"
MODELS = {
    ("hcmnet", ""): "HCMNet",
    ("hcmnet", _SCALED): "HCMNet, own scale per subject",
    ("hrv_logistic", ""): name_of("hrv_logistic"),
    ("small_cnn", ""): name_of("small_cnn"),
}
"""Estimator and ending of its variant, and what a figure calls them."""
WITHIN = "group_kfold_subject"


def scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the score on new subjects of each model, pair of populations and kind of labels.

    Parameters
    ----------
    rows
        Score rows of `affectbook.transfer.transfer`.

    Returns
    -------
    pandas.DataFrame
        populations, across, model, placebo; value, low, high, n_subjects, n_seeds.
    """
    rows = rows[rows["protocol"].isin([ACROSS, WITHIN])]
    ending = rows["variant"].str.extract(r"(\+scaler_per_subject)$")[0].fillna("")
    rows = rows.assign(ending=ending)
    lines = []
    for (dataset, placebo, estimator, end), part in rows.groupby(
        ["dataset", "placebo", "estimator", "ending"], sort=False
    ):
        if (estimator, end) in MODELS:
            line = {"populations": dataset, "across": (part["protocol"] == ACROSS).all()}
            line |= {"model": MODELS[estimator, end], "placebo": placebo}
            line |= results.interval(part)._asdict() | {"n_seeds": part["seed"].nunique()}
            lines.append(line)
    return pd.DataFrame(lines)


def adapted(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the score on the later half of each trial, by the share adapted to.

    Returns
    -------
    pandas.DataFrame
        populations, placebo, percent; value, low, high, n_subjects, n_seeds.
    """
    rows = rows[rows["protocol"] == ADAPTED]
    percent = rows["variant"].str.extract(r"\+(\d+)_percent$")[0].astype(float)
    lines = []
    for (dataset, placebo, share), part in rows.assign(percent=percent).groupby(
        ["dataset", "placebo", "percent"], sort=False
    ):
        line = {"populations": dataset, "placebo": placebo, "percent": share}
        line |= results.interval(part)._asdict() | {"n_seeds": part["seed"].nunique()}
        lines.append(line)
    return pd.DataFrame(lines)


def figure(rows: pd.DataFrame, title: str, chance: float) -> Drawn:
    """Draw who was trained on whom and tested on whom, and what adapting to the tested adds.

    Parameters
    ----------
    rows
        Score rows of `affectbook.transfer.transfer` between populations with the same classes.
    title
        Says labels, tier and scale.
    chance
        Of these labels, 0 to 1; that of coins is a half.

    Raises
    ------
    DataError
        If there are no scores.
    """
    need(rows, title, "transfer")
    theme()
    table, later = scores(rows), adapted(rows)
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH, 4.6), width_ratios=(1.35, 1), sharey=False
    )
    words = _draw_pairs(left, table[~table["placebo"]], chance)
    words += _draw_coins(left, table)
    words += _draw_adapting(right, later, chance)
    fig.suptitle(title, fontsize=11)
    handles = {label: handle for ax in (left, right)
               for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}  # fmt: skip
    fig.legend(handles.values(), handles, loc="outside lower center", ncols=2, fontsize=8)
    return fig, f"{title}. {' '.join(words)}"


def _sides(pair: str) -> tuple[str, str]:
    """Return the names of both populations, without a set's name where its groups tell enough."""
    trained, _, tested = pair.partition(" to ")
    return (trained, tested) if " " not in trained else (trained.split()[1], tested.split()[1])


def _label(pair: str, part: pd.DataFrame) -> str:
    """Return populations and how many people are tested, over three lines."""
    trained, tested = _sides(pair)
    return f"{trained} →\n{tested}\n({part['n_subjects'].max()} people tested)"


def _draw_pairs(ax: Axes, table: pd.DataFrame, chance: float) -> list[str]:
    """Draw one line per pair of populations, those within one population first."""
    table = table.sort_values(["across"], kind="stable")
    pairs, words = list(table["populations"].unique()), []
    models = [name for name in MODELS.values() if name in set(table["model"])]
    for row, model in enumerate(models):
        own, i = results.select(table, model=model), _number(model)
        y = own["populations"].map(pairs.index) + 0.15 * (row - (len(models) - 1) / 2)
        error = bars(100 * own["value"], 100 * own["low"], 100 * own["high"])
        error[:, own["low"].isna().to_numpy()] = 0
        ax.errorbar(100 * own["value"], y, xerr=error, fmt=MARKS[i], color=f"C{i}", ms=5,
                    capsize=2, label=model)  # fmt: skip
        told = (
            f"{' to '.join(_sides(pair))} {100 * value:.0f} %"
            for pair, value in zip(own["populations"], own["value"], strict=True)
        )
        words.append(f"{model}: {', '.join(told)}.")
    ax.axvline(100 * chance, ls="--", color="0.35", lw=1.3, label="chance")
    labels = [_label(pair, results.select(table, populations=pair)) for pair in pairs]
    ax.set_yticks(range(len(pairs)), labels, fontsize=8)
    ax.set(ylim=(len(pairs) - 0.5, -0.5), xlim=(0, 100), xlabel="balanced accuracy (%)")
    ax.set_title("trained on → tested on", fontsize=10)
    return words


def _number(model: str) -> int:
    """Return the number of a model's mark and colour."""
    (key,) = (key for key, name in MODELS.items() if name == model)
    return 1 if key[1] else LOOKS[key[0]]


def _draw_coins(ax: Axes, table: pd.DataFrame) -> list[str]:
    """Draw what was scored on coin flips as open marks on the same lines."""
    pairs = [text.get_text() for text in ax.get_yticklabels()]
    words = []
    for (pair, model), own in table[table["placebo"]].groupby(["populations", "model"], sort=False):
        (line,) = (i for i, label in enumerate(pairs) if label == _label(pair, own))
        look = {"marker": MARKS[_number(model)], "color": f"C{_number(model)}", "mfc": "white"}
        label = None if words else "the same marks, open: coin flips (1 seed)"
        ax.plot(100 * own["value"], [line + 0.38] * len(own), ls="", ms=5, label=label, **look)
        words.append(f"On coin flips, {model}, {pair}: {100 * own['value'].iloc[0]:.0f} %.")
    return words


def _draw_adapting(ax: Axes, later: pd.DataFrame, chance: float) -> list[str]:
    """Draw the score on later windows against the share of each trial adapted to."""
    words, pairs = [], list(later["populations"].unique()) if len(later) else []
    for i, pair in enumerate(pairs):
        for placebo in (False, True):
            own = results.select(later, populations=pair, placebo=placebo).sort_values("percent")
            if own.empty:
                continue
            kind = "coin flips" if placebo else "labels"
            n_seeds = int(own["n_seeds"].max())
            name = f"{' to '.join(_sides(pair))}, {kind} ({n_seeds} seed{'s' * (n_seeds > 1)})"
            look = {"ls": ":" if placebo else "-", "marker": MARKS[i], "color": f"C{i + 4}",
                    "mfc": "white" if placebo else f"C{i + 4}"}  # fmt: skip
            ax.plot(own["percent"], 100 * own["value"], label=name, **look)
            ax.fill_between(own["percent"], 100 * own["low"], 100 * own["high"], alpha=0.12,
                            color=f"C{i + 4}", lw=0)  # fmt: skip
            first, last = 100 * own["value"].iloc[0], 100 * own["value"].iloc[-1]
            words.append(f"{name}: from {first:.0f} to {last:.0f} %.")
    chance_line(ax, chance)
    ax.set(ylim=(0, 100), xlabel="windows adapted to (%)", ylabel="balanced accuracy (%)")
    ax.set_title("tested on the later half", fontsize=10)
    return words
