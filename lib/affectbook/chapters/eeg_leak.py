"""What shuffling is worth as windows grow and electrodes more; and small tables of the chapter."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from affectbook import results
from affectbook.chapters.shared import bars, need
from affectbook.figures import MARKS, WIDTH, Drawn, name_of
from affectbook.files import project_root

PAPER, SHUFFLED, NEW = "ms_imamba", "shuffled_windows_as_published", "group_kfold_subject"
PARTS = {
    "no_mstb": "no foldings (MSTB)",
    "no_tsfb": "no scan (TSFB)",
    "embedding_normal": "not inverted: token = step",
    "embedding_R1": "R1: token = samples",
    "embedding_R3": "R3: token = patch",
    "attention": "attention for the scan",
    "mlp": "MLP for the scan",
    "identity": "nothing for the scan",
    "backward": "backward scan",
    "bidirectional": "scans in both directions",
    "narrow": "narrow Mamba (K 2, expand 1)",
    "k_1": "1 period",
    "k_2": "2 periods",
    "k_5": "5 periods",
    "weights_normalised": "weights: shares",
    "weights_equal": "weights: equal",
    "floor": "periods rounded down",
    "periods_batch": "periods of the batch",
    "periods_log_spaced": "periods fixed: 4, 8, 16 Hz",
    "scaler_window": "each window scaled alone",
    "scaler_raw": "not scaled",
    "blinks_regressed": "blinks regressed",
    "last_checkpoint": "last checkpoint",
}
"""What each ablation changes, in plain words."""


def code_table(steps: Mapping[str, Callable]) -> pd.DataFrame:
    """Return where the code of each step of the method stands: file and line, read live."""
    root, lines = project_root(), []
    for step, code in steps.items():
        path = Path(inspect.getsourcefile(code)).resolve().relative_to(root.resolve())
        line = inspect.getsourcelines(code)[1]
        lines.append({"step": step, "code": code.__qualname__, "file": path.as_posix(),
                      "line": line})  # fmt: skip
    return pd.DataFrame(lines)


def channels_of(dataset: str) -> str:
    """Return what of a data set's name says which electrodes, and how they were filtered."""
    return dataset.partition(":")[2].replace(",", " ") or dataset


def channel_table(rows: pd.DataFrame, metric: str = "balanced_accuracy") -> pd.DataFrame:
    """Return the score of every model on every choice of electrodes, one line each.

    Parameters
    ----------
    rows
        Score rows of one protocol and scale; the data set's name tells electrodes and filter.

    Raises
    ------
    DataError
        If there are no rows.
    """
    need(rows, "electrodes", "channels", PAPER)
    rows = rows[rows["estimator"] != "majority"]
    lines = []
    for dataset, here in rows.groupby("dataset", sort=False):
        for (estimator, variant), part in here.groupby(["estimator", "variant"], sort=False):
            changed = variant.partition("+")[2]
            lines.append({
                "electrodes": channels_of(dataset),
                "model": name_of(estimator) + (f", {PARTS.get(changed, changed)}" * bool(changed)),
                f"{metric.replace('_', ' ')} (95 % interval)": str(results.interval(part, metric)),
                "seeds": part["seed"].nunique(),
            })  # fmt: skip
    return pd.DataFrame(lines)


def leak_growth(rows: pd.DataFrame, title: str, metric: str = "balanced_accuracy") -> Drawn:
    """Draw scores against the length of a window, for each choice of electrodes.

    Parameters
    ----------
    rows
        Score rows of reference models on labels and coins, shuffled and on new people, of windows
        of several lengths.
    title
        Says data set and tier.

    Raises
    ------
    DataError
        If there are no rows.
    """
    need(rows, title, "leak", PAPER)
    estimators = list(rows["estimator"].unique())
    views = [(SHUFFLED, True), (SHUFFLED, False), (NEW, False)]
    names = ["shuffled windows,\ncoin flips", "shuffled windows,\nlabels", "new people,\nlabels"]
    fig, axes = plt.subplots(
        len(estimators), 3, figsize=(WIDTH, 2.5 * len(estimators) + 0.6), sharex=True, sharey=True,
        squeeze=False,
    )  # fmt: skip
    words = []
    for line, estimator in zip(axes, estimators, strict=True):
        for ax, (protocol, placebo), name in zip(line, views, names, strict=True):
            own = results.select(rows, estimator=estimator, protocol=protocol, placebo=placebo)
            told = _draw_growth(ax, own, metric)
            if estimator == estimators[0]:
                ax.set_title(name, fontsize=10, color="#b3261e" if protocol == SHUFFLED else "0.1")
            words.append(f"{name_of(estimator)}, {' '.join(name.split())}: {told}")
        line[0].set_ylabel(f"{name_of(estimator)}\n{metric.replace('_', ' ')} (%)", fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("length of a window (s)")
    fig.suptitle(title, fontsize=11)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9)
    return fig, f"{title}. {'; '.join(words)}."


def _draw_growth(ax: Axes, rows: pd.DataFrame, metric: str) -> str:
    """Draw one line for each choice of electrodes; return where it starts and ends, in words."""
    lengths = sorted(rows["seconds"].unique())
    told = []
    for i, (dataset, part) in enumerate(rows.groupby("dataset", sort=False)):
        scores = [results.interval(results.select(part, seconds=one), metric) for one in lengths]
        values, lows, highs = (
            [100 * getattr(one, end) for one in scores] for end in ("value", "low", "high")
        )
        count = len(channels_of(dataset).split())
        look = {"marker": MARKS[i], "color": f"C{i}", "ms": 6, "lw": 1.6, "elinewidth": 1}
        ax.errorbar(range(len(lengths)), values, bars(values, lows, highs),
                    label=f"{count} electrodes", **look)  # fmt: skip
        told.append(f"{count} electrodes {values[0]:.0f} % at {lengths[0]:g} s, "
                    f"{values[-1]:.0f} % at {lengths[-1]:g} s")  # fmt: skip
    ax.axhline(50, ls="--", color="0.35", lw=1.2, label="chance")
    ax.set_xticks(range(len(lengths)), [f"{one:g}" for one in lengths])
    ax.set(ylim=(28, 103), xlim=(-0.4, len(lengths) - 0.6))
    return ", ".join(told)
