"""What gates weigh the layers of a backbone by: how far from equal, how alike from run to run."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from affectbook.chapters.shared import need
from affectbook.errors import ParameterError
from affectbook.figures import WIDTH, Drawn

__all__ = ["gate_table", "gates", "mean_weights"]
PAPER, SWEEP = "nmoe", "layers"
_RUN = ["seed", "fold"]
_EQUAL = 1e-6  # weights that differ by less: they are of float32


def gate_table(weights: pd.DataFrame, names: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return how far the weights of each gate are from equal ones, and how much runs agree.

    Parameters
    ----------
    weights
        As `gate_scores.weights` returns them: gate, seed, fold, layer, weight and, where a gate
        looks at the window, deviation.
    names
        What a gate is called; as it is unless given.

    Returns
    -------
    pandas.DataFrame
        gate; runs, its folds times seeds; heaviest, the layer of the largest mean weight, none
        where all are equal, and weight, that mean; from_uniform, the total variation from equal
        weights, half the sum of absolute differences (0: equal, towards 1: one layer alone), mean
        of runs; entropy over that of equal weights (1: equal), mean of runs, NaN where a weight is
        negative or weights do not sum to 1; between_runs, the mean total variation of two runs,
        and correlation, the mean correlation of two, NaN where weights are all equal or there is
        one run; over_windows, the deviation of a weight over the test windows, mean of runs and
        layers, NaN if not known.

    Raises
    ------
    ParameterError
        If a gate has two weights of a layer in one fold and seed: these are of several experiments.
    """
    lines = []
    for gate, part in weights.groupby("gate", sort=False):
        runs = _runs(part)
        means, uniform = runs.mean(0), 1 / runs.shape[1]
        pairs = list(combinations(runs, 2))
        apart = [np.abs(one - other).sum() / 2 for one, other in pairs]
        alike = [np.corrcoef(one, other)[0, 1] for one, other in pairs
                 if min(np.ptp(one), np.ptp(other)) > _EQUAL]  # fmt: skip
        over = part["deviation"].mean() if "deviation" in part else np.nan
        lines.append({
            "gate": (names or {}).get(gate, gate), "runs": len(runs),
            "heaviest": int(means.argmax()) + 1 if np.ptp(means) > _EQUAL else pd.NA,
            "weight": means.max(),
            "from_uniform": (np.abs(runs - uniform).sum(1) / 2).mean(), "entropy": _entropy(runs),
            "between_runs": np.mean(apart) if apart else np.nan,
            "correlation": np.mean(alike) if alike else np.nan, "over_windows": over,
        })  # fmt: skip
    columns = ["gate", "runs", "heaviest", "weight", "from_uniform", "entropy", "between_runs",
               "correlation", "over_windows"]  # fmt: skip
    return pd.DataFrame(lines, columns=columns).astype({"heaviest": "Int64"})


def _runs(part: pd.DataFrame) -> np.ndarray:
    """Return the weights of one gate ``(n_runs, n_layers)``."""
    if part.duplicated([*_RUN, "layer"]).any():
        raise ParameterError(
            f"gate {part['gate'].iloc[0]} has two weights of a layer in one fold and seed: select "
            "one protocol, data set and kind of labels"
        )
    return part.pivot(index=_RUN, columns="layer", values="weight").to_numpy()


def _entropy(runs: np.ndarray) -> float:
    """Return the mean entropy of runs, as a share of that of equal weights."""
    if runs.min() < 0 or not np.allclose(runs.sum(1), 1, atol=1e-4):
        return np.nan
    logs = np.log(runs, out=np.zeros_like(runs), where=runs > 0)
    # Of one layer alone it is -0.0.
    return float((-(runs * logs).sum(1) / np.log(runs.shape[1])).mean()) + 0.0


def mean_weights(weights: pd.DataFrame) -> pd.Series:
    """Return the mean weight of each layer of one gate, over folds and seeds.

    Raises
    ------
    ParameterError
        If there are several gates or experiments, or none.
    """
    if weights["gate"].nunique() != 1:
        raise ParameterError(f"weights of one gate expected, not of {weights['gate'].nunique()}")
    _runs(weights)
    return weights.groupby("layer")["weight"].mean()


def gates(weights: pd.DataFrame, title: str, names: Mapping[str, str] | None = None) -> Drawn:
    """Draw the weight of each layer in each fold and seed, a panel for each gate.

    Parameters
    ----------
    weights, names
        As `gate_table` takes them.
    title
        Says backbone, data set, tier and protocol.

    Raises
    ------
    DataError
        If there are no weights.
    ParameterError
        As `gate_table`.
    """
    need(weights, title, SWEEP, PAPER)
    table = gate_table(weights, names)
    columns = min(3, len(table))
    rows = -(-len(table) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, 1.1 + 2.7 * rows), squeeze=False,
                             sharey=True)  # fmt: skip
    words = []
    parts = weights.groupby("gate", sort=False)
    for ax, (_, part), line in zip(axes.flat, parts, table.itertuples(), strict=False):
        _draw_gate(ax, part)
        ax.set_title(line.gate, fontsize=10.5)
        words.append(_told(line, part))
    for ax in axes.flat[len(table) :]:
        ax.remove()
    for ax in axes[:, 0]:
        ax.set_ylabel("weight (no unit)")
    fig.suptitle(title, fontsize=12)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    n_layers = weights["layer"].nunique()
    return fig, (
        f"{title}: weight of each of {n_layers} layers, one mark for each fold and seed, beside "
        f"equal weights of {1 / n_layers:.3f}. {' '.join(words)}"
    )


def _draw_gate(ax: Axes, part: pd.DataFrame) -> None:
    means = part.groupby("layer")["weight"].mean()
    places = np.arange(len(means))  # where seaborn puts them
    sns.stripplot(part, x="layer", y="weight", color="C0", size=4, alpha=0.6, jitter=0.2, ax=ax,
                  legend=False)  # fmt: skip
    ax.plot([], [], "o", color="C0", ms=4, label="fold and seed")
    over = part.groupby("layer")["deviation"].mean() if "deviation" in part else 0 * means
    over = over.fillna(0)
    ax.errorbar(places, means, over if over.any() else None, fmt="_", color="0.1", ms=13, mew=2.2,
                lw=1.2, label="mean; bar: deviation over windows", zorder=4)  # fmt: skip
    ax.axhline(1 / len(means), ls="--", color="C1", lw=1.5, label="equal weights", zorder=1)
    every = 2 if len(means) > 8 else 1
    ax.set_xticks(places[::every], means.index[::every])
    ax.set(xlabel="layer", ylabel="")
    ax.tick_params(labelsize=9, labelleft=True)
    ax.grid(False, axis="x")


def _told(line: tuple, part: pd.DataFrame) -> str:
    """Return one gate in words."""
    said = f"{line.gate}, {line.runs} runs: "
    if pd.isna(line.heaviest):
        return f"{said}all weights equal."
    said += f"heaviest is layer {line.heaviest} with {line.weight:.2f}, "
    said += f"total variation from equal {line.from_uniform:.2f}"
    for name, value in (("between two runs", line.between_runs),
                        ("correlation of two runs", line.correlation),
                        ("deviation over windows", line.over_windows)):  # fmt: skip
        said += "" if np.isnan(value) else f", {name} {value:.2f}"
    means = part.groupby("layer")["weight"].mean()
    return f"{said}; means {', '.join(f'{value:.2f}' for value in means)}."
