"""What the chapter on NMoE draws of its networks: from lead to logits, and what is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from affectbook import results
from affectbook.chapters import blocks
from affectbook.chapters.blocks import LEFT, MIDDLE, RIGHT, Block
from affectbook.chapters.nmoe_leads import scale_invariance, surviving_leads, zero_filled
from affectbook.chapters.shared import bars, chance_line, need, require_one
from affectbook.chapters.split_scores import classes_of, short_name
from affectbook.chapters.transformations import setting_of
from affectbook.errors import DataError, ParameterError
from affectbook.figures import MARKS, WIDTH, Drawn, mark_leaks

if TYPE_CHECKING:
    from affectbook.models.ecg_fm import ECGFM
    from affectbook.models.nmoe import NMoE

__all__ = ["data_flow", "scale_invariance", "surviving_leads", "tuning", "zero_filled"]

PAPER, TUNING = "nmoe", "tuning"
_LEADS = {
    "lead_II": "in the place of lead II, eleven of zeros",
    "lead_I": "in the place of lead I, eleven of zeros",
    "copied": "the same in all of them", "learnt": "twelve factors, learnt",
}  # fmt: skip
_GATES = {
    "last": "the last layer alone", "uniform": "mean of the layers",
    "static": "softmax of one number per layer", "raw": "one number per layer",
    "dynamic": "softmax of a map of the window", "token": "softmax of a map of each token",
}  # fmt: skip
_NORMS = {"layer_norm": "layer norm of each; ", "zscore": "z-score of each; "}
_FROZEN, _TRAINED = "C0", "C1"
_ADAPTED = {
    "published": "frozen, gate", "published+gate_last": "frozen, last layer",
    "published+lora": "LoRA", "published+full_fine_tuning": "full fine-tuning",
}  # fmt: skip


def data_flow(
    backbone: ECGFM, network: NMoE, n_times: int = 2500, lead_input: str = "lead_II"
) -> Drawn:
    """Draw the way from one lead to the logits, with shapes and weights as in the modules.

    Parameters
    ----------
    backbone
        Any sizes; on the device ``"meta"`` nothing is computed.
    network
        Gate and head on its layers.
    n_times
        Samples of a window.
    lead_input
        As `leads.TwelveLeads`.

    Raises
    ------
    DataError
        If a window would be empty.
    ParameterError
        If the backbone takes no windows of that length, or the gate not these layers.
    """
    if n_times < 1:
        raise DataError("there is no window to send through the network",
                        found=f"{n_times} samples")  # fmt: skip
    below, layers = _backbone(backbone, n_times, lead_input)
    above = _mixture(network, layers.shape)
    n_below = len(below)
    heights = [*range(n_below), n_below + 0.2, *(n_below + 1.45 + i for i in range(len(above)))]
    fig, ax = plt.subplots(figsize=(WIDTH, 0.9 + 0.72 * (heights[-1] + 1)))
    ax.set(xlim=(0, 10), ylim=(heights[-1] + 0.45, -0.95))
    ax.axis("off")
    blocks.head_columns(ax, -0.72)
    for y, block in zip(heights, (*below, None, *above), strict=True):
        if block is not None:
            blocks.draw_block(ax, y, block)
    for y, lower in zip(heights[:n_below], heights[1:], strict=False):
        blocks.arrow(ax, y + 0.29, lower - (0.49 if lower == heights[n_below] else 0.29))
    _draw_layers(ax, heights[n_below], layers, network, heights[n_below + 1])
    for y, lower in zip(heights[n_below + 1 :], heights[n_below + 2 :], strict=False):
        blocks.arrow(ax, y + 0.29, lower - 0.29)
    frozen, trained = blocks.count(backbone), blocks.count(network)
    first = next(y for y, one in zip(heights[n_below + 1 :], above, strict=True)
                 if one.color == _TRAINED)  # fmt: skip
    _bracket(ax, 1.71, heights[n_below] + 0.49, f"frozen: {frozen:,} weights", _FROZEN)
    _bracket(ax, first - 0.29, heights[-1] + 0.29, f"trained: {trained:,}", _TRAINED)
    trained += below[1].weights
    title = f"From one lead to logits: {frozen:,} weights frozen, {trained:,} trained"
    fig.suptitle(title, fontsize=12)
    told = "; ".join(block.words for block in (*below, layers, *above))
    return fig, (
        f"{title}. Blocks from top to bottom, with the shape of what leaves them: {told}. Layers "
        f"that are mixed: {', '.join(str(one + 1) for one in network.chosen)}."
    )


def _backbone(backbone: ECGFM, n_times: int, lead_input: str) -> tuple[list[Block], Block]:
    """Return the boxes below the layers, and that of the layers."""
    from affectbook.models.leads import LEADS, TwelveLeads

    leads = TwelveLeads(lead_input)
    found = blocks.shapes(backbone, len(LEADS), n_times)
    network = backbone.network
    convs, projection, encoder = (network.feature_extractor, network.feature_projection,
                                  network.encoder)  # fmt: skip
    first, position = convs.conv_layers[0].conv, encoder.pos_conv_embed.conv
    shape = blocks.times
    below = [
        Block("one lead", "a window of ECG, z-score of its own", shape((1, n_times)),
              "leads × samples", 0),
        Block("twelve leads", _LEADS[lead_input], shape((len(LEADS), n_times)), "leads × samples",
              blocks.count(leads), _TRAINED if blocks.count(leads) else _FROZEN),
        Block(f"{len(convs.conv_layers)} convolutions, kernel {first.kernel_size[0]}, "
              f"step {first.stride[0]}", "group norm after the first; each: GELU",
              shape(found[convs]), "filters × tokens", blocks.count(convs)),
        Block("projection", "layer norm; linear", shape(found[projection.projection]),
              "tokens × features", blocks.count(projection)),
        Block(f"convolution for positions, kernel {position.kernel_size[0]}",
              f"{position.groups} groups; GELU; added; layer norm",
              shape(found[encoder.layer_norm]), "tokens × features",
              blocks.count(encoder.pos_conv_embed) + blocks.count(encoder.layer_norm)),
    ]  # fmt: skip
    each = {found[layer] for layer in encoder.layers}
    if len(each) != 1:
        raise ParameterError(f"layers of the backbone have several shapes: {sorted(each)}")
    n_layers = len(encoder.layers)
    return below, Block(f"{n_layers} layers, each contains those before", "attention",
                        shape((n_layers, *each.pop())), "layers × tokens × features",
                        blocks.count(encoder.layers))  # fmt: skip


def _mixture(network: NMoE, shape: str) -> list[Block]:
    """Return the boxes above the layers, whose shape is given."""
    import torch
    from torch import nn

    n_layers, n_tokens, hidden = map(int, shape.split(" × "))
    by_token = network.gate.kind == "token"
    size = (n_layers, n_tokens, hidden) if by_token else (n_layers, hidden)
    own = next(network.parameters())
    with torch.no_grad():
        mixture = tuple(network.mixed(torch.zeros(1, *size).to(own)).shape[1:])
    logits = blocks.shapes(network.head, hidden)[network.head]
    gate = Block(f"{network.gate.kind} gate",
                 _NORMS.get(network.normalise, "") + _GATES[network.gate.kind],
                 blocks.times(mixture), "tokens × features" if by_token else "features",
                 blocks.count(network.gate), _TRAINED)  # fmt: skip
    pooled = (hidden,) if by_token else size
    mean = Block("mean over tokens", "for each window" if by_token else "computed once, and kept",
                 blocks.times(pooled), "features" if by_token else "layers × features",
                 0, _TRAINED if by_token else _FROZEN)  # fmt: skip
    dense = [layer.in_features for layer in network.head if isinstance(layer, nn.Linear)]
    words = [" → ".join(map(str, [*dense, *logits]))]
    if len(dense) > 1:
        dropped = next(layer.p for layer in network.head if isinstance(layer, nn.Dropout))
        words += ["batch norm, ReLU", f"dropout {dropped:g}"]
    head = Block("head", "; ".join(words), blocks.times(logits), "logits",
                 blocks.count(network.head), _TRAINED)  # fmt: skip
    return [gate, mean, head] if by_token else [mean, gate, head]


def _draw_layers(ax: Axes, y: float, block: Block, network: NMoE, lower: float) -> None:
    """Draw the layers side by side in one box, and a line down from each that is mixed."""
    blocks.box(ax, LEFT, RIGHT, y, block.color, 0.98)
    ax.text(MIDDLE, y - 0.3, block.name, ha="center", va="center", fontsize=10.5, weight="bold")
    blocks.numbers(ax, y, block)
    n_layers, gap = network.n_layers, 0.08
    wide = (RIGHT - LEFT - 0.3 + gap) / n_layers - gap
    for i in range(n_layers):
        left = LEFT + 0.15 + i * (wide + gap)
        middle = left + wide / 2
        mixed = i in network.chosen
        blocks.box(ax, left, left + wide, y + 0.17, _TRAINED if mixed else "0.6", 0.36)
        if n_layers <= 12 or i in (0, n_layers - 1):
            ax.text(middle, y + 0.17, str(i + 1), ha="center", va="center", fontsize=9)
        if mixed:
            ax.plot([middle, MIDDLE + 0.55 * (middle - MIDDLE)], [y + 0.49, lower - 0.29],
                    color="0.3", lw=1, zorder=0)  # fmt: skip


def _bracket(ax: Axes, top: float, bottom: float, words: str, color: str) -> None:
    """Draw a bracket on the left of some boxes, and words beside it."""
    x = LEFT - 0.22
    ax.plot([x + 0.1, x, x, x + 0.1], [top, top, bottom, bottom], color=color, lw=1.6)
    ax.text(x - 0.1, (top + bottom) / 2, words, rotation=90, ha="right", va="center",
            fontsize=9.5)  # fmt: skip


def tuning(
    rows: pd.DataFrame, costs: pd.DataFrame, title: str, metric: str = "balanced_accuracy"
) -> Drawn:
    """Draw the score against the weights that are trained: frozen, adapters, all of them.

    Parameters
    ----------
    rows
        Score rows of one experiment under one protocol; of the network's variants only those of
        `costs` are drawn, and no coins.
    costs
        A row for each variant: ``variant``, ``weights`` that are trained, and ``ms`` of a step of
        training, NaN where nobody measured it.
    title
        Says what is drawn; data set, tier, scale, seeds and protocol are added.
    metric
        A key of `results.METRICS`.

    Raises
    ------
    DataError
        If no variant has both scores and costs.
    ParameterError
        If the rows are of several experiments.
    """
    own = results.select(rows, estimator=PAPER, placebo=False)
    own = own[own["variant"].isin(costs["variant"])]
    need(own, title, TUNING, PAPER)
    require_one(own, "what is trained", "protocol", "target", "overlap")
    fig, ax = plt.subplots(figsize=(WIDTH, 4.4))
    told, drawn = [], costs[costs["variant"].isin(own["variant"])]
    for i, cost in enumerate(drawn.itertuples()):
        score = results.interval(results.select(own, variant=cost.variant), metric)
        value, low, high = 100 * np.array(score[:3])
        name = _ADAPTED.get(cost.variant, cost.variant)
        step = "" if np.isnan(cost.ms) else f", {cost.ms:.3g} ms a step"
        # Side by side, on an axis on which steps are factors.
        place = cost.weights * 1.05 ** (i - (len(drawn) - 1) / 2)
        ax.errorbar(place, value, bars(value, low, high), marker=MARKS[i % len(MARKS)],
                    ls="none", color=f"C{i % 10}", ms=8, lw=1.5, capsize=3,
                    label=f"{name}: {cost.weights:,} weights{step}")  # fmt: skip
        told.append(f"{name}, {cost.weights:,} weights{step}: {score}")
    chance = 1 / classes_of(own)
    chance_line(ax, chance)
    ax.set_xscale("log")
    ax.margins(x=0.15)
    ax.set(xlabel="weights that are trained", ylabel=f"{metric.replace('_', ' ')} (%)")
    protocol = own["protocol"].iloc[0]
    where = f"{setting_of(own)}, {short_name(protocol)}"
    mark_leaks([fig.suptitle(f"{title}\n{where}", fontsize=11)], [protocol])
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=1, fontsize=9)
    return fig, (
        f"{title}: {where}. {metric.replace('_', ' ').capitalize()} with 95 % intervals over "
        f"subjects against the weights that are trained: {'; '.join(told)}. Chance "
        f"{100 * chance:.0f} %."
    )
