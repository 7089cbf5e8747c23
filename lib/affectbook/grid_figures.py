"""What a sweep shows: one figure per swept parameter, with its words, and the page of them all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from affectbook import figures
from affectbook.errors import shown
from affectbook.figures import Drawn
from affectbook.files import write_atomic, write_text

METRIC = "balanced_accuracy"
PAGE = "figures.md"
_ACROSS, _SPREAD, _LONGEST = 3, 0.5, 60


def write(frame: pd.DataFrame, columns: Mapping[str, str], folder: Path, failed: int = 0) -> Path:
    """Draw the score against each parameter that has several values, and a page of the figures.

    Parameters
    ----------
    frame
        As `grids.sweep` returns it.
    columns
        Which column of it has the values of a parameter, by the parameter's name.
    folder
        For ``<parameter>.png`` and the page.
    failed
        Runs without a result, which the page has to mention.
    """
    lines = [f"# {_escaped(_head(frame))}\n"]
    if failed:
        lines.append(f"**{failed} run(s) failed** and are missing here; `runs.csv` says why.\n")
    swept = [name for name in columns if frame[columns[name]].nunique() > 1]
    if not swept or METRIC not in set(frame["metric"]):
        swept = []
        lines.append("No parameter has scores at more than one value: nothing is drawn.\n")
    for name in swept:
        fig, alt = draw(frame, name, columns[name])
        save = partial(fig.savefig, dpi=160, facecolor="white")
        write_atomic(folder / f"{name}.png", save)
        plt.close(fig)
        lines.append(f"## {name}\n\n![{_escaped(alt)}]({name}.png)\n")
    lines.append("The numbers: `results.csv`. What each run took and where it lies: `runs.csv`.\n")
    return write_text(folder / PAGE, "\n".join(lines))


def draw(frame: pd.DataFrame, parameter: str, column: str) -> Drawn:
    """Draw balanced accuracy against one parameter: a panel per protocol, a line per estimator.

    A line goes through the means of the runs at each value, and each run is a dot; where there is
    one run, its bar is the 95 % interval over subjects. Scores on coin flips are left out unless
    there are no others.

    Parameters
    ----------
    frame
        As `grids.sweep` returns it.
    parameter, column
        Its name, and the column of `frame` that has its values.
    """
    figures.theme()
    rows = _shown_rows(frame, parameter)
    # Every run may be scored under protocols of its own: then they are what is swept.
    panelled = parameter != "protocol"
    x = column if panelled else "protocol"
    protocols = list(rows["protocol"].unique()) if panelled else [""]
    across = min(len(protocols), _ACROSS)
    down = -(-len(protocols) // across)
    fig, grid = plt.subplots(
        down, across, figsize=(figures.WIDTH, 0.8 + 3.2 * down), sharey=True, squeeze=False
    )
    looks = _looks(rows)
    places = _places(rows[x])
    words = []
    for ax, protocol in zip(grid.flat, protocols, strict=False):
        part = rows[rows["protocol"] == protocol] if panelled else rows
        words += _panel(ax, part, x, places, looks)
        ax.set_xlabel(parameter)
        if panelled:
            figures.mark_leaks([ax.set_title(_plain(figures.name_of(protocol)))], [protocol])
    for ax in grid.flat[len(protocols) :]:
        ax.set_axis_off()
    for ax in grid[:, 0]:
        ax.set_ylabel(METRIC.replace("_", " "))
    title = f"{_head(rows)}: score against {parameter}"
    fig.suptitle(_plain(title))
    _legend(fig, grid)
    return fig, f"{title}. {'; '.join(words)}."


def _shown_rows(frame: pd.DataFrame, parameter: str) -> pd.DataFrame:
    """Return the rows of the metric that is drawn, with the name of each line in `series`.

    Scores of several data sets, label rules or variants are no runs of one thing: they are lines
    of their own, unless they are what is swept.
    """
    rows = frame[frame["metric"] == METRIC]
    labels = rows[~rows["placebo"].map(_is_true)]
    rows = labels if len(labels) else rows
    series = rows["estimator"].map(lambda name: figures.name_of(name).replace("\n", " "))
    alike = ["estimator"]
    for column in ("dataset", "tier", "target", "label_rule", "variant"):
        of_one = [*alike, "run_key", "protocol"] if parameter == column else alike
        if rows.groupby(of_one)[column].nunique().max() > 1:
            more = rows[column].astype(str)
            series = series.where(more == "", series + ", " + more)
        alike.append(column)
    return rows.assign(series=series)


def _is_true(value: object) -> bool:
    return str(value).lower() == "true"


def _looks(rows: pd.DataFrame) -> dict[str, dict[str, object]]:
    """Return colour and mark of each line, the same on all panels."""
    return {
        name: {"color": f"C{i % 10}", "marker": figures.MARKS[i % len(figures.MARKS)]}
        for i, name in enumerate(rows["series"].unique())
    }


def _places(values: pd.Series) -> dict[object, float]:
    """Return where each value stands: numbers by their size, others in the order they come in."""
    unique = list(values.unique())
    if _numeric(values):
        return {value: float(value) for value in unique}
    return {value: float(i) for i, value in enumerate(unique)}


def _numeric(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _panel(
    ax: Axes,
    rows: pd.DataFrame,
    x: str,
    places: Mapping[object, float],
    looks: Mapping[str, Mapping[str, object]],
) -> list[str]:
    """Draw one panel and return its lines in words."""
    words, step = [], _step(places)
    for i, (name, part) in enumerate(rows.groupby("series", sort=False)):
        aside = step * 0.06 * (i - (rows["series"].nunique() - 1) / 2)
        groups = [(value, own) for value, own in part.groupby(x, sort=False)]
        groups.sort(key=lambda one: places[one[0]])
        at = np.array([places[value] for value, _ in groups]) + aside
        means = [own["value"].mean() for _, own in groups]
        look = looks[name]
        ax.plot(at, means, color=look["color"], lw=1.4, alpha=0.8)
        ax.plot([], [], label=_plain(name), lw=1.4, ms=6, **look)
        for where, (_, own) in zip(at, groups, strict=True):
            ax.plot(np.full(len(own), where), own["value"], ls="", ms=6, alpha=0.75, **look)
            if len(own) == 1 and own["low"].notna().all():
                ax.vlines(where, own["low"], own["high"], color=look["color"], lw=1.2)
        told = ", ".join(
            f"{100 * mean:.0f} % at {shown(value)}"
            for (value, _), mean in zip(groups, means, strict=True)
        )
        protocol = " ".join(figures.name_of(part["protocol"].iloc[0]).split())
        words.append(f"{name}, {protocol}: {told}" if x != "protocol" else f"{name}: {told}")
    _axes(ax, rows, x, places)
    return words


def _axes(ax: Axes, rows: pd.DataFrame, x: str, places: Mapping[object, float]) -> None:
    """Set the ticks of a panel, and draw chance if all its scores have the same."""
    if _numeric(rows[x]):
        if len(places) <= 8:
            ax.set_xticks(sorted(places.values()), [f"{at:g}" for at in sorted(places.values())])
        low, high = min(places.values()), max(places.values())
        ax.set_xlim(low - _SPREAD * _step(places), high + _SPREAD * _step(places))
    else:
        labels = [_plain(_short(figures.name_of(str(value)))) for value in places]
        turned = {"rotation": 30, "ha": "right"} if max(map(len, labels)) > 12 else {}
        ax.set_xticks(list(places.values()), labels, fontsize=8, **turned)
        ax.set_xlim(-_SPREAD, len(places) - 1 + _SPREAD)
    chances = rows["chance"].dropna().unique()
    if len(chances) == 1:
        ax.axhline(chances[0], ls="--", color="0.35", lw=1.2, label="chance")
    ax.set_ylim(0, 1.03)


def _step(places: Mapping[object, float]) -> float:
    """Return the shortest distance between two values."""
    at = np.unique(list(places.values()))
    return float(np.diff(at).min()) if len(at) > 1 else 1.0


def _legend(fig: plt.Figure, grid: np.ndarray) -> None:
    found = {}
    for ax in grid.flat:
        handles, labels = ax.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    fig.legend(found.values(), found, loc="outside lower center", ncols=3, fontsize=8)


def _head(frame: pd.DataFrame) -> str:
    """Return data sets, tiers and scales: what a reader has to know before any score."""
    sets = frame[["dataset", "tier"]].drop_duplicates()
    told = ", ".join(f"{shown(dataset)} ({shown(tier)})" for dataset, tier in sets.to_numpy())
    scales = ", ".join(shown(scale) for scale in frame["scale"].unique())
    return f"{told}, scale {scales}"


def _short(text: str) -> str:
    text = "\n".join(shown(line) for line in text.split("\n"))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _plain(text: str) -> str:
    """Return text of which matplotlib makes no formula."""
    return text.replace("$", r"\$")


def _escaped(text: str) -> str:
    """Return text of which Markdown makes no markup."""
    return "".join(f"\\{one}" if one in r"\`*_{}[]()<>#!|$&~" else one for one in shown(text))
