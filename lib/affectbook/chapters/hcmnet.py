"""What only the chapter on HCMNet draws. Every function returns the figure and its alt text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch

from affectbook import results
from affectbook.chapters.receptive_fields import receptive_field_ruler
from affectbook.chapters.shared import (
    bars,
    need,
    personalisation_curves,
    probe_figure,
    subject_strips,
)
from affectbook.errors import DataError, ParameterError
from affectbook.figures import MARKS, WIDTH, Drawn
from affectbook.results import Interval

if TYPE_CHECKING:
    from affectbook.models.hcmnet import HCMNet

__all__ = ["PARTS", "block_diagram", "checkpoint_curve", "confusions", "gate_histogram",
           "personalisation_curves", "probe_figure", "receptive_field_ruler",
           "subject_strips"]  # fmt: skip

PARTS = {
    "one_kernel_width": "one kernel width (16)",
    "no_nlcca": "no attention (NLCCA)",
    "channel_branch_only": "channel branch only",
    "temporal_branch_only": "temporal branch only",
    "no_scalar": "no scalar in the gate",
    "scalar_normalised": "scalar / channels",
    "projection_unshared": "two projections, not one",
    "one_attention_scale": "one attention scale",
    "no_bissm": "no scans (BiSSM)",
    "forward_only": "forward scan only",
    "backward_only": "backward scan only",
    "bilstm": "LSTM in place of scans",
    "unpadded": "no zeros appended",
    "rewritten_init": "scans start as rewritten",
    "relu_in_head": "ReLU in the head",
    "scaler_global": "one scale for all times",
    "scaler_per_subject": "own scale per subject",
    "last_checkpoint": "last checkpoint",
    "fixed_epochs": "fixed number of epochs",
}
"""What each ablation changes, in plain words."""

CHECKPOINTS = {
    "best": "best validation loss",
    "last": "last, as released",
    "fixed": "fixed number of epochs",
}
GATES = ("shut", "between", "open")
_LEFT, _RIGHT = 1.0, 6.5  # of the boxes, in the units of the diagram


class Block(NamedTuple):
    """A box of the diagram: name, what it does, output shape, number of weights, residual."""

    name: str
    does: str
    shape: str
    weights: int
    around: str = ""  # blocks with the same word have one residual round all of them


def block_diagram(
    n_chans: int, n_times: int, n_outputs: int, options: Mapping[str, object]
) -> Drawn:
    """Draw the blocks of an HCMNet with shapes and weights, as they are in the module itself.

    Parameters
    ----------
    n_chans, n_times, n_outputs
        Leads and samples of a window, and classes.
    options
        Switches of :class:`~affectbook.models.hcmnet.HCMNet`.

    Raises
    ------
    ParameterError
        If a switch has an unknown value, or the window is too short.
    """
    from affectbook.models.hcmnet import HCMNet, describe

    model = HCMNet(n_chans, n_times, n_outputs, **options)
    levels = _levels(model, describe(model, n_chans, n_times), (n_chans, n_times))
    total = sum(parameter.numel() for parameter in model.parameters())
    fig, ax = plt.subplots(figsize=(WIDTH, 0.9 + 0.74 * len(levels)))
    ax.set(xlim=(0, 10), ylim=(len(levels) - 0.45, -0.95))
    ax.axis("off")
    for x, align, text in ((6.75, "left", "channels × steps"), (9.95, "right", "weights")):
        ax.text(x, -0.72, text, ha=align, va="center", fontsize=11, weight="bold")
    for y, (level, following) in enumerate(zip(levels, [*levels[1:], []], strict=True)):
        _draw_level(ax, y, level, following)
    _draw_residuals(ax, levels)
    title = f"HCMNet: {total:,} weights"
    fig.suptitle(title, fontsize=13)
    words = [f"{block.name} ({block.does}): {block.shape.replace(' × ', ' by ')}, "
             f"{block.weights:,} weights" for level in levels for block in level]  # fmt: skip
    return fig, (
        f"{title}. Blocks from top to bottom, with channels by steps of their output: "
        f"{'; '.join(words)}. Residuals go round "
        f"{' and '.join(dict.fromkeys(b.around for b in sum(levels, []) if b.around)) or 'none'}."
    )


def _levels(model: HCMNet, layers: pd.DataFrame, window: tuple[int, int]) -> list[list[Block]]:
    """Return the rows of the diagram from top to bottom; scans stand side by side in one."""
    names = layers["layer"].str.replace(r" \(\w+\)$", "", regex=True)

    def block(prefix: str, name: str, does: str, around: str = "") -> Block:
        own = layers[names.str.startswith(prefix)]
        sizes = own["output shape"].iloc[-1].split(" x ")
        # Inside BiSSM steps come before features.
        sizes = sizes[::-1] if prefix.startswith("bissm.") else sizes
        return Block(name, does, " × ".join(sizes), int(own["parameters"].sum()), around)

    levels = [[Block("window", "ECG, scaled", " × ".join(map(str, window)), 0)]]
    levels += [[block(f"cnn.{key}.", f"convolutions {i}", _convolutions(part))]
               for i, (key, part) in enumerate(model.cnn.named_children(), 1)]  # fmt: skip
    if model.nlcca is not None:
        levels.append([block("nlcca", "NLCCA", _attention(model), "NLCCA")])
    steps = levels[-1][0].shape.split(" × ")[-1]
    if (names == "bissm").any():
        levels.append([block("bissm", "LSTM", "both directions, in place of the scans", "LSTM")])
    elif model.bissm is not None:
        levels += _scans(model, names, steps, block)
    features = model.head.hidden.in_features
    levels.append([Block("maximum over time", "one number per channel", str(features), 0)])
    relu = "ReLU, " if hasattr(model.head, "relu") else ""
    dropout = f"linear, {relu}dropout {model.head.dropout.p:g}"
    levels.append([block("head.hidden", "hidden layer", dropout)])
    return [*levels, [block("head.logits", "classes", "linear")]]


def _scans(
    model: HCMNet, names: pd.Series, steps: str, block: Callable[..., Block]
) -> list[list[Block]]:
    """Return the rows of BiSSM."""
    does = {"bissm.forward_scan": "read left to right", "bissm.backward_scan": "right to left"}
    middle = [block(key, "Mamba-2", told, "BiSSM") for key, told in does.items()
              if (names == key).any()]  # fmt: skip
    enter, leave = "linear", "linear" if len(middle) == 1 else "sum, linear"
    if model.bissm.pad_first:
        enter, leave = f"zeros appended, {enter}", f"{leave}, cut to {steps} steps"
    return [
        [block("bissm.enter", "BiSSM: into the scans", enter, "BiSSM")],
        middle,
        [block("bissm.leave", "BiSSM: out of the scans", leave, "BiSSM")],
    ]


def _convolutions(part: object) -> str:
    """Return what a block of convolutions does."""
    convs = [layer for name, layer in part.named_children() if name.startswith("conv")]
    pool = f"max pool {part.pool.kernel_size}, stride {part.pool.stride}"
    return f"{len(convs)} × width {convs[0].kernel_size[0]}; {pool}"


def _attention(model: HCMNet) -> str:
    """Return what the attention block does."""
    does = ["channel gate"] if model.nlcca.gate is not None else []
    if model.nlcca.temporal:
        layers = (model.nlcca.first, *model.nlcca.scales)
        widths = ", ".join(str(layer.kernel_size[0]) for layer in layers)
        does.append(f"depth-wise widths {widths}")
    return "; ".join(does)


def _middles(n_boxes: int) -> tuple[float, list[float]]:
    """Return the width of the boxes of a row, and where their middles are."""
    width = (_RIGHT - _LEFT - 0.2 * (n_boxes - 1)) / n_boxes
    return width, [_LEFT + i * (width + 0.2) + width / 2 for i in range(n_boxes)]


def _draw_level(ax: Axes, y: int, level: list[Block], following: list[Block]) -> None:
    """Draw the boxes of one row with their numbers, and the arrows to the next row."""
    width, middles = _middles(len(level))
    color = {"BiSSM": "C1", "LSTM": "C1", "NLCCA": "C2"}.get(level[0].around, "C0")
    for block, x in zip(level, middles, strict=True):
        look = {"facecolor": to_rgba(color, 0.16), "edgecolor": color, "lw": 1.5}
        style = "round,pad=0,rounding_size=0.08"
        ax.add_patch(FancyBboxPatch((x - width / 2, y - 0.29), width, 0.58, style, **look))
        ax.text(x, y - 0.12, block.name, ha="center", va="center", fontsize=11, weight="bold")
        ax.text(x, y + 0.14, block.does, ha="center", va="center", fontsize=9.5)
    for x in _middles(max(len(level), len(following)))[1] if following else ():
        ends = {"xy": (x, y + 0.71), "xytext": (x, y + 0.29)}
        ax.annotate("", **ends, arrowprops={"arrowstyle": "-|>", "color": "0.3", "lw": 1.3})
    count = f"{len(level)} × " if len(level) > 1 else ""
    weights = f"{count}{level[0].weights:,}" if level[0].weights else "–"
    ax.text(6.75, y, level[0].shape, va="center", fontsize=11)
    ax.text(9.95, y, weights, ha="right", va="center", fontsize=11)


def _draw_residuals(ax: Axes, levels: list[list[Block]]) -> None:
    """Draw the line round each group of blocks that is added to what comes out of it."""
    groups: dict[str, list[int]] = {}
    for y, level in enumerate(levels):
        if level[0].around:
            groups.setdefault(level[0].around, []).append(y)
    for rows in groups.values():
        # A new line leaves below the sum of the one before.
        top, bottom, side = rows[0] - 0.38, rows[-1] + 0.42, _LEFT - 0.4
        middle = (_LEFT + _RIGHT) / 2
        look = {"color": "0.3", "lw": 1.3, "zorder": 0}
        ax.plot([middle, side, side, middle], [top, top, bottom, bottom], **look)
        plus = {"boxstyle": "circle,pad=0.05", "fc": "white", "ec": "0.3"}
        ax.text(middle, bottom, "+", ha="center", va="center", fontsize=8, bbox=plus, zorder=3)
        turned = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 9.5, "color": "0.3"}
        ax.text(side - 0.1, (top + bottom) / 2, "residual", **turned)


def gate_histogram(stats: pd.DataFrame, title: str) -> Drawn:
    """Draw how often an untrained channel gate is open or shut for good, and its energy.

    Parameters
    ----------
    stats
        As `probes.gate_statistics` returns it: seed; energy; gate, the mean gate (0 to 1); open
        and shut, the shares of gates above 0.999 and below 0.001; verdict.
    title
        Says network and data.

    Raises
    ------
    DataError
        If there are no seeds.
    """
    if stats.empty:
        raise DataError("there are no gates to draw", do="give probes.gate_statistics some seeds")
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.9), width_ratios=(1.5, 1))
    counts = stats["verdict"].value_counts().reindex(GATES, fill_value=0)
    edges, bottom = np.linspace(0, 1, 21), np.zeros(20)
    for i, (verdict, hatch) in enumerate(zip(GATES, ("//", "..", ""), strict=True)):
        own = results.select(stats, verdict=verdict)
        height = np.histogram(own["gate"], edges)[0]
        look = {"color": f"C{i}", "hatch": hatch, "edgecolor": "white", "align": "edge"}
        label = f"{verdict} ({counts[verdict]})"
        left.bar(edges[:-1], height, 0.05, bottom, label=label, **look)
        right.plot(own["gate"], own["energy"], MARKS[i], color=f"C{i}", ms=6, alpha=0.75)
        bottom += height
    left.set(xlabel="mean gate (0 shut, 1 open)", ylabel="seeds", xlim=(-0.02, 1.02))
    left.set_ylim(0, 1.08 * bottom.max())
    left.yaxis.get_major_locator().set_params(integer=True)
    right.set(xlabel="mean gate", ylabel="scalar s (no unit)", xlim=(-0.08, 1.08))
    fig.suptitle(title, fontsize=12)
    fig.legend(loc="outside lower center", ncols=3, fontsize=10)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in GATES)
    low, high = stats["energy"].min(), stats["energy"].max()
    return fig, (
        f"{title}: histogram of the mean gate over {len(stats)} seeds, and the scalar against it. "
        f"With all gates below 0.001, neither, or above 0.999: {told} seeds. The scalar lies "
        f"between {low:.1f} and {high:.1f}."
    )


def checkpoint_curve(
    history: pd.DataFrame,
    scores: Mapping[str, Interval],
    title: str,
    patience: int | None = None,
    metric: str = "balanced_accuracy",
) -> Drawn:
    """Draw where three checkpoints of one training lie on its loss, and what each scores.

    Parameters
    ----------
    history
        Of one fold, as long as it was trained: epoch, train_loss, valid_loss, fold.
    scores
        Test score under ``"best"``, ``"last"`` and ``"fixed"``, or some of these.
    title
        Says network and data.
    patience
        Epochs without a better validation loss after which the released code stops, and tests what
        it has then; None: it trains to the end of `history`.
    metric
        Of the scores.

    Raises
    ------
    DataError
        If there is no history.
    ParameterError
        If the history is of several folds or has no validation loss, or a score has another name.
    """
    need(history, title, "checkpoints")
    if history["fold"].nunique() != 1 or history["valid_loss"].isna().any():
        raise ParameterError("the curve of checkpoints needs the validation losses of one fold")
    if not scores or not set(scores) <= set(CHECKPOINTS):
        raise ParameterError(f"scores are of {list(CHECKPOINTS)}, not of {list(scores)}")
    epochs = _epochs(history, patience)
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 4.2), width_ratios=(2.1, 1))
    for column, name, look in (("train_loss", "training", ":"), ("valid_loss", "validation", "-")):
        left.plot(history["epoch"], history[column], look, color="0.35", lw=1.8, label=name)
    words = [_draw_checkpoint(left, right, i, epochs, history, scores) for i in range(len(epochs))]
    left.set(xlabel="epoch", ylabel="cross-entropy (nats)", title="one fold")
    left.xaxis.get_major_locator().set_params(integer=True)
    right.set_xticks(range(len(epochs)), list(epochs))
    right.set(xlim=(-0.6, len(epochs) - 0.4), title="all test subjects")
    right.set(xlabel="checkpoint", ylabel=f"{metric.replace('_', ' ')} (%)")
    fig.suptitle(title, fontsize=12)
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return fig, f"{title}: loss against epoch of one fold, three epochs marked. {'; '.join(words)}."


def _draw_checkpoint(
    left: Axes, right: Axes, i: int, epochs: Mapping[str, int], history: pd.DataFrame,
    scores: Mapping[str, Interval],
) -> str:  # fmt: skip
    """Mark one checkpoint on the loss and draw its score; return both in words."""
    key, epoch = list(epochs.items())[i]
    loss = history.set_index("epoch")["valid_loss"][epoch]
    later = list(epochs.values())[i + 1 :].count(epoch)  # or the last mark would hide this one
    look = {"marker": MARKS[i], "color": f"C{i}", "ls": "", "mec": "white"}
    label = f"{CHECKPOINTS[key]} ({epoch})"
    left.plot(epoch, loss, label=label, zorder=3, ms=10 + 6 * later, **look)
    told = f"{CHECKPOINTS[key]}: epoch {epoch}, validation loss {loss:.2f}"
    if key not in scores:
        return told
    value, *ends = 100 * np.array(scores[key][:3])
    right.errorbar(i, value, bars(value, *ends), capsize=4, lw=2, ms=10, **look)
    return f"{told}, test score {scores[key]}"


def _epochs(history: pd.DataFrame, patience: int | None) -> dict[str, int]:
    """Return the epoch of each checkpoint, as early stopping counts them."""
    epochs, losses = history["epoch"].to_numpy(), history["valid_loss"].to_numpy()
    best = stop = 0
    for stop, loss in enumerate(losses):
        if loss < losses[best]:
            best = stop
        if patience is not None and stop - best >= patience:
            break
    return {"best": int(epochs[best]), "last": int(epochs[stop]), "fixed": int(epochs[-1])}


def confusions(rows_by_title: Mapping[str, tuple[pd.DataFrame, Sequence[str]]]) -> Drawn:
    """Draw confusion matrices side by side, in per cent of each true class.

    Parameters
    ----------
    rows_by_title
        Score rows of one experiment, and the names of its classes, under each title.

    Raises
    ------
    DataError
        If an experiment has no rows.
    """
    for title, (rows, _) in rows_by_title.items():
        need(rows, title, "recorded")
    fig, axes = plt.subplots(1, len(rows_by_title), figsize=(WIDTH, 3.6), squeeze=False)
    words = []
    for ax, (title, (rows, classes)) in zip(axes[0], rows_by_title.items(), strict=True):
        counts = results.confusions(rows)[1].sum(0)
        shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
        look = {"cmap": "cividis", "vmin": 0, "vmax": 100, "square": True, "cbar": False}
        names = {"xticklabels": classes, "yticklabels": classes}
        sns.heatmap(shares, annot=True, fmt=".0f", annot_kws={"size": 12}, ax=ax, **look, **names)
        ax.set(xlabel="predicted", ylabel="true", title=title)
        ax.set_xticks(ax.get_xticks(), classes, rotation=35, ha="right", rotation_mode="anchor")
        ax.tick_params(axis="y", rotation=0)
        recalls = zip(classes, np.diag(shares), strict=True)
        words.append(f"{title}: " + ", ".join(f"{name} {share:.0f} %" for name, share in recalls))
    bar = fig.colorbar(axes[0][-1].collections[0], ax=axes, shrink=0.75, pad=0.02)
    bar.set_label("% of the true class")
    told = "; ".join(words)
    return fig, f"Confusion matrices. Windows of each class that are recognised, {told}."
