"""What the overlap of windows is worth: chosen on inner folds, scored on outer ones."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from affectbook import results
from affectbook.chapters.shared import bars, need, require_one
from affectbook.chapters.split_scores import PROTOCOL_ORDER, classes_of, short_name
from affectbook.chapters.transformations import setting_of
from affectbook.claims import points
from affectbook.figures import WIDTH, Drawn, mark_leaks
from affectbook.overlap_scores import CHOICE, CHOSEN, CURVE, EQUAL_STEPS, INNER
from affectbook.results import Interval

__all__ = ["PUBLISHED", "choice_table", "curves", "scores", "split_figure"]
PUBLISHED = 0.75
"""The overlap of the paper."""
PAPER, SWEEP = "nmoe", "overlap"
_CURVE = r"(train|valid)\[(\d+)\]"
_VARIANT = rf"\+overlap_([0-9.]+|{CHOSEN})(\+{EQUAL_STEPS})?$"
_SERIES = {
    ("outer", False): ("outer test", {"fmt": "o-", "color": "C0"}),
    ("inner", False): ("inner validation", {"fmt": "s--", "color": "C1", "mfc": "white"}),
    ("outer", True): ("outer test, equal steps", {"fmt": "^:", "color": "C2"}),
}


def _own(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of overlaps, with columns base, at (text, or `CHOSEN`) and equal_steps."""
    found = rows["variant"].str.extract(_VARIANT)
    own = rows.assign(
        base=rows["variant"].str.replace(_VARIANT, "", regex=True), at=found[0],
        equal_steps=found[1].notna(),
    )  # fmt: skip
    own = own[found[0].notna()]
    require_one(own, "overlaps", "base", "target")
    return own


def _arms(own: pd.DataFrame) -> Iterator[tuple[str, bool, bool, pd.DataFrame]]:
    """Yield protocol, placebo and equal steps of the rows that belong together."""
    order = [*PROTOCOL_ORDER, *sorted(set(own["protocol"]) - set(PROTOCOL_ORDER))]
    for protocol in filter(set(own["protocol"]).__contains__, order):
        for (placebo, equal), part in results.select(own, protocol=protocol).groupby(
            ["placebo", "equal_steps"]
        ):
            yield protocol, bool(placebo), bool(equal), part


def scores(rows: pd.DataFrame, metric: str = "balanced_accuracy") -> pd.DataFrame:
    """Return the inner and the outer score of each overlap.

    Parameters
    ----------
    rows
        Score rows of `overlap_scores.choose` among others, of one data set, scale and variant; any
        number of seeds.
    metric
        A key of `results.METRICS`.

    Returns
    -------
    pandas.DataFrame
        protocol, placebo, equal_steps; level, ``"outer"`` or ``"inner"``; overlap (0 to below 1);
        value, low, high (0 to 1) and n_subjects; n_outputs.

    Raises
    ------
    ParameterError
        If the rows are of several experiments.
    """
    lines = []
    for protocol, placebo, equal, part in _arms(_own(rows)):
        arm = {"protocol": protocol, "placebo": placebo, "equal_steps": equal}
        part = part[(part["at"] != CHOSEN) & ~part["estimator"].isin([CURVE, CHOICE])]
        for inner, level in ((False, "outer"), (True, "inner")):
            of_level = part[(part["estimator"] == INNER) == inner]
            for overlap, own in of_level.groupby("overlap"):
                line = arm | {"level": level, "overlap": overlap}
                line |= results.interval(own, metric)._asdict()
                lines.append(line | {"n_outputs": classes_of(own)})
    columns = ["protocol", "placebo", "equal_steps", "level", "overlap", *Interval._fields,
               "n_outputs"]  # fmt: skip
    return pd.DataFrame(lines, columns=columns)


def split_figure(rows: pd.DataFrame, title: str, metric: str = "balanced_accuracy") -> Drawn:
    """Draw outer and inner scores against the overlap: a column for each split, labels and coins.

    Parameters
    ----------
    rows, metric
        As `scores` takes them.
    title
        Says what is drawn; data set, tier, scale and seeds are added.

    Raises
    ------
    DataError
        If no overlap was recorded.
    ParameterError
        If the rows are of several experiments.
    """
    need(rows, title, SWEEP, PAPER)
    table = scores(rows, metric)
    need(table, title, SWEEP, PAPER)
    splits, kinds = list(table["protocol"].unique()), sorted(table["placebo"].unique())
    size = (max(WIDTH, 2.4 * len(splits)), 1.6 + 2.3 * len(kinds))
    fig, axes = plt.subplots(len(kinds), len(splits), figsize=size, sharex=True, sharey=True,
                             squeeze=False)  # fmt: skip
    words = []
    for placebo, line in zip(kinds, axes, strict=True):
        for protocol, ax in zip(splits, line, strict=True):
            part = results.select(table, protocol=protocol, placebo=placebo)
            words.append(_draw_split(ax, part, protocol, "coin flips" if placebo else "labels"))
        name = metric.replace("_", " ")
        line[0].set_ylabel(f"{'coin flips' if placebo else 'labels'}:\n{name} (0 to 1)")
    for protocol, ax in zip(splits, axes[0], strict=True):
        mark_leaks([ax.set_title(short_name(protocol).replace(" (", "\n("), fontsize=10.5)],
                   [protocol])  # fmt: skip
    axes[0, 0].set_ylim(0, 1.03)
    ticks = sorted({100 * one for one in table["overlap"]})
    for ax in axes[-1]:
        ax.set_xticks(ticks, [f"{one:g}" for one in ticks], fontsize=9)
        ax.set_xlabel("overlap (%)")
    where = setting_of(_own(rows))
    _finish(fig, axes, f"{title}\n{where}")
    return fig, (
        f"{title}: {where}. {metric.replace('_', ' ').capitalize()} on outer test windows and on "
        f"inner validation windows, with 95 % intervals over subjects, for each overlap; "
        f"{100 * PUBLISHED:g} % is published. {' '.join(words)}"
    )


def _draw_split(ax: Axes, part: pd.DataFrame, protocol: str, kind: str) -> str:
    """Draw one panel; return its numbers in words."""
    ax.axvline(100 * PUBLISHED, color="0.82", lw=7, zorder=0, label="published overlap")
    ax.grid(False, axis="x")
    if part.empty:
        ax.text(0.5, 0.5, "not recorded", ha="center", transform=ax.transAxes)
        return f"{short_name(protocol).capitalize()}, {kind}: not recorded."
    chance = 1 / part["n_outputs"].iloc[0]
    ax.axhline(chance, ls="--", color="0.35", lw=1.3, label="chance", zorder=1)
    told = []
    for i, ((level, equal), (label, look)) in enumerate(_SERIES.items()):
        own = results.select(part, level=level, equal_steps=equal).sort_values("overlap")
        if own.empty:
            continue
        lengths = bars(own["value"], own["low"], own["high"])
        ax.errorbar(100 * own["overlap"] + 1.3 * (i - 1), own["value"], lengths, ms=6, lw=1.5,
                    elinewidth=1.2, label=label, zorder=3, **look)  # fmt: skip
        told.append(f"{label} " + ", ".join(
            f"{_told(Interval(*line))} at {100 * overlap:g} %"
            for overlap, *line in own[["overlap", *Interval._fields]].itertuples(index=False)
        ))  # fmt: skip
    name = short_name(protocol)
    return f"{name[0].upper()}{name[1:]}, {kind}, chance {chance:.2f}: {'; '.join(told)}."


def _told(score: Interval) -> str:
    """Return a score from 0 to 1, with its interval."""
    text = f"{score.value:.2f}"
    return text if np.isnan(score.low) else f"{text} [{score.low:.2f}, {score.high:.2f}]"


def _finish(fig: Figure, axes: np.ndarray, title: str) -> None:
    """Set the title, and one legend for all panels."""
    found = {label: handle for ax in axes.flat
             for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}  # fmt: skip
    fig.legend(found.values(), found, loc="outside lower center", ncols=3, fontsize=9.5)
    fig.suptitle(title, fontsize=11)


def curves(
    rows: pd.DataFrame, title: str, *, placebo: bool = False, equal_steps: bool = False
) -> Drawn:
    """Draw training and validation scores of the inner split over epochs: a panel for each overlap.

    Parameters
    ----------
    rows
        As `scores` takes them; a line of panels for each protocol.
    title
        Says what is drawn; data set, tier, scale and seeds are added.
    placebo, equal_steps
        Which rows.

    Raises
    ------
    DataError
        If no curve was recorded.
    ParameterError
        If the rows are of several experiments.
    """
    own = _own(rows) if len(rows) else rows.assign(equal_steps=[])
    own = results.select(own, estimator=CURVE, placebo=placebo, equal_steps=equal_steps)
    need(own, title, SWEEP, PAPER)
    found = own["metric"].str.extract(_CURVE)
    own = own.assign(curve=found[0], epoch=found[1].astype(int))
    overlaps = sorted(own["overlap"].unique())
    splits = [protocol for protocol, *_ in _arms(own)]
    size = (WIDTH, 1.3 + 1.75 * len(splits))
    fig, axes = plt.subplots(len(splits), len(overlaps), figsize=size, sharex=True, sharey=True,
                             squeeze=False)  # fmt: skip
    words = []
    for protocol, line in zip(splits, axes, strict=True):
        ends = []
        for overlap, ax in zip(overlaps, line, strict=True):
            part = results.select(own, protocol=protocol, overlap=overlap)
            ends.append(f"{100 * overlap:g} % {_draw_curves(ax, part)}")
        mark_leaks([line[0].set_ylabel(short_name(protocol).replace(" (", "\n("), fontsize=9.5)],
                   [protocol])  # fmt: skip
        name = short_name(protocol)
        words.append(f"{name[0].upper()}{name[1:]}: {'; '.join(ends)}.")
    for overlap, ax in zip(overlaps, axes[0], strict=True):
        published = "\n(published)" if overlap == PUBLISHED else "\n"
        ax.set_title(f"{100 * overlap:g} %{published}", fontsize=10)
    axes[0, 0].set_ylim(0, 1.03)
    axes[0, 0].xaxis.get_major_locator().set_params(integer=True, nbins=3)
    axes[-1, len(overlaps) // 2].set_xlabel("epoch", fontsize=10.5)
    fig.supylabel("balanced accuracy (0 to 1)", fontsize=10.5)
    kind = "coin flips" if placebo else "labels"
    where = f"{setting_of(own)}, {kind}{', equal steps' * equal_steps}"
    _finish(fig, axes, f"{title}\n{where}")
    return fig, (
        f"{title}: {where}. Balanced accuracy of the inner split over {own['epoch'].max()} epochs, "
        "mean of folds and seeds, band from the lowest to the highest fold; after the last epoch, "
        f"by overlap: {' '.join(words)}"
    )


def _draw_curves(ax: Axes, part: pd.DataFrame) -> str:
    """Draw the curves of one overlap; return where they end."""
    ax.tick_params(labelsize=9)
    ends = []
    for curve, label, look in (("train", "training", {"color": "C3", "ls": "--"}),
                               ("valid", "validation", {"color": "C0"})):  # fmt: skip
        epochs = results.select(part, curve=curve).groupby("epoch")["value"]
        own = epochs.agg(["mean", "min", "max"])
        if own.empty:
            return "not recorded"
        ax.plot(own.index, own["mean"], lw=2, label=label, **look)
        ax.fill_between(own.index, own["min"], own["max"], color=look["color"], alpha=0.15, lw=0)
        ends.append(own["mean"].iloc[-1])
    train, valid = ends
    return f"training {train:.2f}, validation {valid:.2f}, gap {train - valid:.2f}"


def choice_table(rows: pd.DataFrame, metric: str = "balanced_accuracy") -> pd.DataFrame:
    """Return as text what the inner folds chose, and what the choice is worth on outer windows.

    Parameters
    ----------
    rows, metric
        As `scores` takes them.

    Returns
    -------
    pandas.DataFrame
        split; labels, or coin flips; training, as long as epochs say or of equal steps; how many
        outer folds chose each overlap; inner and outer score of the choice; their difference, the
        optimism; and on outer windows, that of the choice from the published overlap and of the
        published one from none. 95 % intervals over subjects, differences paired by subject.

    Raises
    ------
    DataError
        If nothing was chosen.
    ParameterError
        If the rows are of several experiments.
    """
    need(rows, "a table of overlaps", SWEEP, PAPER)
    lines = []
    for protocol, placebo, equal, part in _arms(_own(rows)):
        counts = results.select(part, estimator=CHOICE)["value"].value_counts().sort_index()
        if counts.empty:
            continue
        inner = results.select(part, estimator=INNER, at=CHOSEN)
        outer = part[~part["estimator"].isin([INNER, CURVE, CHOICE])]
        best, published, none = (
            results.select(outer, at=at) for at in (CHOSEN, f"{100 * PUBLISHED:g}", "0")
        )
        lines.append({
            "split": short_name(protocol), "labels": "coin flips" if placebo else "labels",
            "training": "equal steps" if equal else "equal epochs",
            "chosen (folds)": ", ".join(f"{100 * at:g} %: {n}" for at, n in counts.items()),
            "inner score": str(results.interval(inner, metric)),
            "outer score": str(results.interval(best, metric)),
            "optimism (inner − outer)": _gap(inner, best, metric),
            f"choice − {100 * PUBLISHED:g} %": _gap(best, published, metric),
            f"{100 * PUBLISHED:g} % − 0 %": _gap(published, none, metric),
        })  # fmt: skip
    table = pd.DataFrame(lines)
    need(table, "a table of overlaps", SWEEP, PAPER)
    return table


def _gap(left: pd.DataFrame, right: pd.DataFrame, metric: str) -> str:
    return "–" if left.empty or right.empty else points(results.difference(left, right, metric))
