"""What the chapter on self-supervised ECG draws of its networks, signals, features and sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from affectbook.chapters import blocks
from affectbook.chapters.blocks import END, LEFT, RIGHT, Block
from affectbook.chapters.ssl_ecg_documents import documents
from affectbook.chapters.ssl_ecg_features import embedding, pretext_curves
from affectbook.chapters.ssl_ecg_signals import best_threshold, scaling_separability, versions
from affectbook.errors import DataError
from affectbook.figures import WIDTH, Drawn

if TYPE_CHECKING:
    from torch import nn

    from affectbook.models.ssl_ecg import EmotionHead, Encoder, TransformationRecognition

__all__ = ["best_threshold", "block_diagram", "documents", "embedding", "pretext_curves",
           "scaling_separability", "versions"]  # fmt: skip


def block_diagram(
    network: TransformationRecognition, n_times: int, head: EmotionHead
) -> Drawn:
    """Draw encoder, pretext heads and emotion head, with shapes and weights as in the modules.

    Parameters
    ----------
    network
        With any choices.
    n_times
        Samples of a window.
    head
        On the features of the encoder.

    Raises
    ------
    DataError
        If a window would be empty.
    ParameterError
        If the encoder takes no windows of that length, or the head not these features.
    """
    if n_times < 1:
        raise DataError("there is no window to send through the network",
                        found=f"{n_times} samples")  # fmt: skip
    trunk = _trunk(network.encoder, n_times)
    width = network.encoder.n_features
    pretext = _head("pretext head", network.heads[0], width, "C1", len(network.heads))
    emotion = _head("emotion head", head, width, "C2")
    last = len(trunk) - 1
    rows = (last + 1, last + 2, last + 2.85)  # pretext heads, their logits, emotion head
    names = [task.replace("_", " ") for task in network.tasks]
    fig, ax = plt.subplots(figsize=(WIDTH, 0.9 + 0.72 * (rows[-1] + 1)))
    ax.set(xlim=(0, 10), ylim=(rows[-1] + 0.45, -0.95))
    ax.axis("off")
    blocks.head_columns(ax, -0.72)
    for y, block in (*enumerate((*trunk, pretext)), (rows[-1], emotion)):
        blocks.draw_block(ax, y, block)
    for y in range(last + 1):
        blocks.arrow(ax, y + 0.29, y + 0.71)
    _draw_outputs(ax, rows[1], names)
    _draw_sides(ax, last, rows[-1], blocks.count(network.encoder))
    both = blocks.count(network)
    title = f"Encoder and pretext heads: {both:,} weights; emotion head: {emotion.weights:,}"
    fig.suptitle(title, fontsize=12)
    told = "; ".join(block.words for block in (*trunk, pretext, emotion))
    return fig, (
        f"{title}. Blocks from top to bottom, with the shape of what leaves them: {told}. "
        f"The logits of the pretext are those of {', '.join(names)}. The encoder has "
        f"{blocks.count(network.encoder):,} weights. It learns with the pretext heads; under the "
        "emotion head it is frozen."
    )


def _trunk(encoder: Encoder, n_times: int) -> list[Block]:
    """Return the boxes from the window to the features."""
    from torch import nn

    n_chans = next(one for one in encoder.modules() if isinstance(one, nn.Conv1d)).in_channels
    shapes = blocks.shapes(encoder, n_chans, n_times)
    boxes = [Block("window", "ECG, z-score of the subject", blocks.times((n_chans, n_times)),
                   "leads × samples", 0)]  # fmt: skip
    for i, part in enumerate(encoder.blocks, 1):
        boxes.append(Block(*_does(i, part), blocks.times(shapes[part]), "filters × steps",
                           blocks.count(part)))  # fmt: skip
    pooled = {"max": "maximum", "mean": "mean"}[encoder.pooling]
    shape = blocks.times(shapes[encoder])
    return [*boxes, Block("features", f"{pooled} over time", shape, "features", 0)]


def _does(i: int, part: nn.Sequential) -> tuple[str, str]:
    """Return name and work of a block of the encoder, from its layers."""
    from torch import nn

    convs = [layer for layer in part if isinstance(layer, nn.Conv1d)]
    normed = any(isinstance(layer, nn.BatchNorm1d) for layer in part)
    words = [f"max pool {layer.kernel_size}, step {layer.stride}" for layer in part
             if isinstance(layer, nn.MaxPool1d)]  # fmt: skip
    words.append(f"each: {'batch norm, ' * normed}{_activation(part)}")
    return f"block {i}: {len(convs)} convolutions, kernel {convs[0].kernel_size[0]}", (
        "; ".join(words)
    )


def _activation(part: nn.Module) -> str:
    """Return the first activation in a module, in words."""
    from torch import nn

    for layer in part.modules():
        if isinstance(layer, nn.LeakyReLU):
            return f"leaky ReLU {layer.negative_slope:g}"
        if isinstance(layer, nn.ReLU):
            return "ReLU"
        if isinstance(layer, nn.Sigmoid):
            return "sigmoid"
    return ""


def _head(name: str, head: nn.Module, width: int, color: str, n_heads: int = 1) -> Block:
    """Return the box of heads of one kind; shape and weights are those of all of them together."""
    from torch import nn

    n_outputs = blocks.shapes(head, width)[head][0]
    inputs = [layer.in_features for layer in head.modules() if isinstance(layer, nn.Linear)]
    words = [" → ".join(map(str, [*inputs, n_outputs])), _activation(head)]
    dropped = next((layer.p for layer in head.modules() if isinstance(layer, nn.Dropout)), 0)
    words.append(f"dropout {dropped:g}" if dropped else "")
    name = f"{n_heads} {name}s" if n_heads > 1 else name
    return Block(name, "; ".join(filter(None, words)), str(n_heads * n_outputs), "logits",
                 n_heads * blocks.count(head), color)  # fmt: skip


def _draw_outputs(ax: Axes, y: float, names: list[str]) -> None:
    """Draw a small box for each logit of the pretext heads, and a line to it from theirs."""
    gap = 0.07
    wide = (END - LEFT + gap) / len(names) - gap
    for i, name in enumerate(names):
        left = LEFT + i * (wide + gap)
        middle = left + wide / 2
        blocks.box(ax, left, left + wide, y, "C1", 0.36)
        ax.text(middle, y, name, ha="center", va="center", fontsize=9)
        start = LEFT + (i + 0.5) / len(names) * (RIGHT - LEFT)
        ax.plot([start, middle], [y - 0.71, y - 0.18], color="0.3", lw=1, zorder=0)


def _draw_sides(ax: Axes, last: int, emotion: float, weights: int) -> None:
    """Draw the bracket round the encoder, and the way of its features to the emotion head."""
    x, top, bottom = LEFT - 0.22, 0.71, last + 0.29
    look = {"color": "0.3", "lw": 1.3}
    ax.plot([x + 0.1, x, x, x + 0.1], [top, top, bottom, bottom], **look)
    turned = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 9.5}
    ax.text(x - 0.1, (top + bottom) / 2, f"encoder: {weights:,} weights", color="0.3", **turned)
    ax.plot([x, x], [bottom, emotion], color="C2", lw=1.6, ls="--")
    arrow = {"arrowstyle": "-|>", "color": "C2", "lw": 1.6}
    ax.annotate("", (LEFT, emotion), (x, emotion), arrowprops=arrow)
    ax.text(x - 0.1, (bottom + emotion) / 2, "features, encoder frozen", color="0.15", **turned)
