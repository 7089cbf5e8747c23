"""What is drawn of the layers of a backbone: their numbers, what they know, and what gates weigh.

Only the first needs embeddings; the others are drawn from score rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from affectbook import results
from affectbook.chapters.layer_gates import gate_table, gates, mean_weights
from affectbook.chapters.shared import LOWEST_R2, bars, need, require_one
from affectbook.chapters.transformations import setting_of
from affectbook.errors import DataError, ParameterError
from affectbook.figures import MARKS, WIDTH, Drawn
from affectbook.layer_probes import CONSTANT, LAYER, METRICS, interval
from affectbook.results import Interval

__all__ = ["NAMES", "distributions", "gate_table", "gates", "number_table", "probe_scores",
           "profile"]  # fmt: skip
PAPER, SWEEP = "nmoe", "layers"
NAMES = {
    "probe_emotion": "emotion", "probe_recording": "recording", "probe_subject": "subject",
    "probe_rate": "heart rate", "probe_variability": "log RMSSD",
    "probe_amplitude": "R-peak height", "probe_shape": "T over QRS",
}  # fmt: skip
"""What a figure calls each probe."""

_MOST_VALUES = 20_000  # of a layer are drawn; what is written is of all
_STEP = 0.07


def probe_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what each probe scores on each layer, with intervals over subjects.

    Parameters
    ----------
    rows
        Score rows, those of `layer_probes.probe` among them, of one backbone and data set; any
        number of seeds.

    Returns
    -------
    pandas.DataFrame
        probe, in the order of `NAMES`; placebo; layer, from 1, and 0 for the constant that stands
        for no layer; metric; value, low, high, n_subjects.

    Raises
    ------
    ParameterError
        If the rows are of several experiments or backbones.
    """
    own = rows[rows["estimator"].isin(METRICS)]
    parts = own["variant"].str.extract(rf"^(?P<base>.*)\+(?:{LAYER}(?P<layer>\d+)|{CONSTANT})$")
    own = own.assign(base=parts["base"], layer=parts["layer"].fillna(0).astype(int))
    require_one(own, "probes of layers", "base", "target")
    lines = []
    for (name, placebo, layer), part in own.groupby(["estimator", "placebo", "layer"]):
        require_one(part, f"the probe {name}", "protocol")
        told = {"probe": name, "placebo": placebo, "layer": layer, "metric": METRICS[name]}
        lines.append(told | interval(part)._asdict())
    columns = ["probe", "placebo", "layer", "metric", *Interval._fields]
    table = pd.DataFrame(lines, columns=columns)
    order = table["probe"].map(list(NAMES).index)
    places = table.assign(order=order).sort_values(["order", "placebo", "layer"]).index
    return table.loc[places].reset_index(drop=True)


def profile(rows: pd.DataFrame, title: str, weights: pd.DataFrame | None = None) -> Drawn:
    """Draw what each layer knows: who and what on the left, rhythm and beats on the right.

    Parameters
    ----------
    rows
        As `probe_scores` takes them.
    title
        Says which backbone; data set, tier, scale and seeds are added.
    weights
        Of one gate, as `gate_scores.weights` returns them: bars below, one mark for each fold and
        seed.

    Raises
    ------
    DataError
        If there are no probes.
    ParameterError
        If the rows are of several experiments or backbones, or the weights of several gates.
    """
    own = rows[rows["estimator"].isin(METRICS)]
    need(own, title, SWEEP, PAPER)
    table = probe_scores(own)
    heaviest = None if weights is None else mean_weights(weights)
    fig, upper, lower = _panels(heaviest is not None)
    kinds = {False: table[table["metric"] != "r2"], True: table[table["metric"] == "r2"]}
    words = []
    for ax, (beats, part) in zip(upper, kinds.items(), strict=True):
        names = [one for one in NAMES if one in set(part["probe"])]
        words += [_draw_probe(ax, part, name, i, len(names)) for i, name in enumerate(names)]
        _frame(ax, beats, table["layer"].max(), part)
    for ax in lower:
        _draw_weights(ax, weights, heaviest)
    where = setting_of(own)
    fig.suptitle(f"{title}\n{where}", fontsize=11)
    told = "" if heaviest is None else (
        f" Below, the mean weight that the gate gives each layer: {_listed(heaviest)}."
    )  # fmt: skip
    return fig, (
        f"{title}: {where}. What linear probes read from each layer. {' '.join(words)}{told}"
    )


def _panels(with_weights: bool) -> tuple[Figure, np.ndarray, np.ndarray]:
    if not with_weights:
        fig, upper = plt.subplots(1, 2, figsize=(WIDTH, 5.0))
        return fig, upper, np.empty(0)
    fig, (upper, lower) = plt.subplots(2, 2, figsize=(WIDTH, 6.4), height_ratios=(3, 1),
                                       sharex="col")  # fmt: skip
    return fig, upper, lower


def _draw_probe(ax: Axes, table: pd.DataFrame, name: str, i: int, n: int) -> str:
    """Draw one probe over the layers, with what it scores on a constant; return it in words."""
    own = results.select(table, probe=name)
    labels = results.select(own, placebo=False)
    constant, color = labels[labels["layer"] == 0]["value"], f"C{i}"
    called, words = NAMES[name], []
    for placebo, part in own[own["layer"] > 0].groupby("placebo"):
        values, lows, highs = (part[one].clip(lower=LOWEST_R2) for one in ("value", "low", "high"))
        x = part["layer"] + _STEP * (i - (n - 1) / 2) + (0.5 * _STEP if placebo else 0)
        look = {"marker": MARKS[i], "color": color, "ms": 6, "lw": 1.5, "elinewidth": 0.9}
        look |= {"ls": "--", "mfc": "white"} if placebo else {"ls": "-"}
        label = f"{called}, coin flips" if placebo else _label(name)
        ax.errorbar(x, values, bars(values, lows, highs), label=label, zorder=3, **look)
        words.append(f"{label}: {_scores(part)}")
    if len(constant) and METRICS[name] != "r2":
        ax.axhline(constant.item(), ls=":", color=color, lw=1.6, zorder=1)
        words[0] += f"; chance {constant.item():.2f}"
    elif len(constant):
        words[0] += f"; without a layer {constant.item():.2f}"
    text = "; ".join(words)
    return f"{text[0].upper()}{text[1:]}."


def _label(name: str) -> str:
    metric = "" if METRICS[name] == "r2" else f", {METRICS[name].replace('_', ' ')}"
    return f"{NAMES[name]}{metric}"


def _scores(part: pd.DataFrame) -> str:
    """Return first, best and last layer in words."""
    best = part.loc[part["value"].idxmax()]
    ends = [part.iloc[0], best, part.iloc[-1]]
    told = []
    for line in ends:
        what = f"layer {line['layer']}{' (best)' if line['layer'] == best['layer'] else ''}"
        said = f"{line['value']:.2f}"
        if not np.isnan(line["low"]):
            said += f" [{line['low']:.2f}, {line['high']:.2f}]"
        told.append(f"{what} {said}")
    return ", ".join(dict.fromkeys(told))


def _frame(ax: Axes, beats: bool, n_layers: int, part: pd.DataFrame) -> None:
    """Draw what the lines of a panel are to be held against, and its axes."""
    if beats:
        ax.axhline(0, ls="--", color="0.35", lw=1.3, label="mean of the training windows", zorder=1)
        low = max(LOWEST_R2, min(0.0, part["value"].min(), part["low"].min())) - 0.06
        ax.set(ylabel="R² on new subjects (1: perfect)", title="rhythm and beats", ylim=(low, 1.03))
        if (part["value"] < LOWEST_R2).any():
            ax.text(0.6, LOWEST_R2, f"marks at {LOWEST_R2:g}: there or below", fontsize=9)
    else:
        ax.plot([], [], ls=":", color="0.35", lw=1.6, label="chance, in the same colour")
        ax.set(ylabel="score (0 to 1)", title="what, and who", ylim=(0, 1.03))
    ax.set_xticks(range(1, n_layers + 1))
    ax.set(xlim=(0.4, n_layers + 0.6), xlabel="layer")
    ax.tick_params(labelsize=9, labelbottom=True)
    ax.grid(False, axis="x")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=9)


def _draw_weights(ax: Axes, weights: pd.DataFrame, means: pd.Series) -> None:
    ax.bar(means.index, means, color="0.75", width=0.7, label="mean")
    ax.plot(weights["layer"], weights["weight"], ".", color="0.25", ms=4, label="fold and seed")
    ax.axhline(1 / len(means), ls="--", color="0.35", lw=1.2)
    ax.set(xlabel="layer", ylabel="weight of the gate")
    ax.tick_params(labelsize=9)
    ax.grid(False, axis="x")


def _listed(values: pd.Series) -> str:
    return ", ".join(f"{layer}: {value:.2f}" for layer, value in values.items())


def number_table(embeddings: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return shape, mean and deviation of each layer's embedding.

    Parameters
    ----------
    embeddings
        ``(n_windows, n_layers, h)`` of each backbone.

    Returns
    -------
    pandas.DataFrame
        backbone; layer, from 1; windows; features; mean and deviation of all its values;
        between_windows, the deviation of a feature over windows, root of the mean square over
        features; lowest and highest value. No units.

    Raises
    ------
    DataError
        If there are no embeddings, or values that are not finite.
    ParameterError
        If they have another shape.
    """
    if not embeddings:
        raise DataError("there are no embeddings to describe")
    lines = []
    for name, Z in embeddings.items():
        Z = np.asarray(Z)
        if Z.ndim != 3 or not Z.size:
            raise ParameterError(f"embeddings of {name} have the shape {Z.shape}; expected "
                                 "(n_windows, n_layers, features)")  # fmt: skip
        for k in range(Z.shape[1]):
            own = Z[:, k].astype(np.float64)
            if not np.isfinite(own).all():
                raise DataError(f"embeddings of {name} hold values that are not numbers")
            lines.append((name, k + 1, *own.shape, own.mean(), own.std(),
                          np.sqrt(own.var(0).mean()), own.min(), own.max()))  # fmt: skip
    columns = ["backbone", "layer", "windows", "features", "mean", "deviation", "between_windows",
               "lowest", "highest"]  # fmt: skip
    return pd.DataFrame(lines, columns=columns)


def distributions(embeddings: Mapping[str, np.ndarray], title: str, seed: int = 0) -> Drawn:
    """Draw the values of each layer's embedding, a column for each backbone.

    Above, how values are distributed: boxes that hold a half, a quarter, an eighth of them, to both
    sides of the median. Below, mean and deviation.

    Parameters
    ----------
    embeddings
        As `number_table` takes them; one or two.
    title
        Says of which windows.
    seed
        Of the values that are drawn, 20,000 of each layer; what is written is of all.

    Raises
    ------
    DataError, ParameterError
        As `number_table`; or if there are more than two.
    """
    table = number_table(embeddings)
    if len(embeddings) > 2:
        raise ParameterError(f"one or two backbones stand side by side, not {len(embeddings)}")
    fig, axes = plt.subplots(2, len(embeddings), figsize=(WIDTH, 6.2), squeeze=False,
                             sharex="col", height_ratios=(1.5, 1))  # fmt: skip
    words, rng = [], np.random.default_rng(seed)
    for (above, below), (name, Z) in zip(axes.T, embeddings.items(), strict=True):
        own = results.select(table, backbone=name)
        _draw_values(above, np.asarray(Z), rng)
        _draw_moments(below, own)
        first = own.iloc[0]
        shape = f"{first['windows']} windows × {len(own)} layers × {first['features']} features"
        above.set_title(f"{name}\n{shape}", fontsize=10)
        words.append(f"{name}, {shape}: {_moments(own)}")
    axes[0, 0].set_ylabel("value (no unit)")
    axes[1, 0].set_ylabel("of a layer's values (no unit)")
    fig.suptitle(title, fontsize=12)
    handles, labels = axes[1, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
    return fig, (
        f"{title}: distribution of the values of each layer's embedding, and below it mean, "
        f"deviation, and deviation between windows. {' '.join(words)}"
    )


def _draw_values(ax: Axes, Z: np.ndarray, rng: np.random.Generator) -> None:
    parts = []
    for k in range(Z.shape[1]):
        values = Z[:, k].ravel()
        if len(values) > _MOST_VALUES:
            values = values[rng.choice(len(values), _MOST_VALUES, replace=False)]
        parts.append(pd.DataFrame({"layer": k + 1, "value": values}))
    sns.boxenplot(pd.concat(parts), x="layer", y="value", color="C0", showfliers=False, ax=ax,
                  linewidth=0.5)  # fmt: skip
    ax.set(xlabel="", ylabel="")
    ax.tick_params(labelsize=9)


def _draw_moments(ax: Axes, table: pd.DataFrame) -> None:
    places = table["layer"] - 1  # boxes stand at 0, 1, ...
    looks = {"mean": "mean", "deviation": "deviation",
             "between_windows": "deviation of a feature between windows"}  # fmt: skip
    for i, (column, label) in enumerate(looks.items()):
        ax.plot(places, table[column], marker=MARKS[i], color=f"C{i}", ms=5, lw=1.4, label=label)
    ax.set_xlabel("layer")
    ax.tick_params(labelsize=9)
    ax.grid(False, axis="x")


def _moments(table: pd.DataFrame) -> str:
    """Return mean and deviations of each layer in words."""
    told = "; ".join(
        f"layer {line.layer} {line.mean:.2g}, {line.deviation:.2g}, {line.between_windows:.2g}"
        for line in table.itertuples()
    )
    return f"{told}."
