"""What the chapter on MS-iMamba draws of its network, its signals and its electrodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch

from affectbook.chapters.dependencies import (
    dependencies,
    dependency_matrix,
    electrode_dependencies,
)
from affectbook.chapters.eeg_leak import PARTS, channel_table, code_table, leak_growth
from affectbook.chapters.eeg_windows import foldings, token_figure
from affectbook.chapters.electrodes import electrode_orders, scalp_map
from affectbook.chapters.periods import period_histogram, period_table
from affectbook.errors import DataError, ParameterError
from affectbook.figures import WIDTH, Drawn

if TYPE_CHECKING:
    from torch import Tensor, nn

    from affectbook.models.ms_imamba import Embedding, Layer, MSiMamba
    from affectbook.models.periods import MSTB

__all__ = ["PARTS", "block_diagram", "channel_table", "code_table", "dependencies",
           "dependency_matrix", "electrode_dependencies", "electrode_orders", "foldings",
           "leak_growth", "period_histogram", "period_table", "scalp_map",
           "token_figure"]  # fmt: skip

_LEFT, _RIGHT, _SHAPE, _END = 0.75, 6.1, 6.75, 9.95  # in the units of the diagram, 10 wide
_SIGNAL, _TOKENS = "electrodes × samples", "tokens × features"
_SPECTRUM, _SUM = "spectrum", "unfold, weigh, add up"


class Block(NamedTuple):
    """A box of the diagram: name, what it does, output shape and its unit, number of weights."""

    name: str
    does: str
    shape: str
    unit: str
    weights: int
    around: str = ""  # neighbours with the same word have one residual round all of them
    color: str = "C0"


def block_diagram(model: MSiMamba, n_chans: int, n_times: int) -> Drawn:
    """Draw the blocks of an MS-iMamba with shapes and weights, as they are in the module itself.

    The counterpart of figure 1 of the paper. Shapes are those of one window that goes through.

    Parameters
    ----------
    model
        With any switches.
    n_chans, n_times
        Electrodes and samples of a window that it takes.

    Raises
    ------
    DataError
        If a window would be empty.
    ParameterError
        If the network takes no windows of that shape.
    """
    if min(n_chans, n_times) < 1:
        raise DataError("there is no window to send through the network",
                        found=f"{n_chans} electrodes, {n_times} samples")  # fmt: skip
    blocks = _blocks(model, _shapes(model, n_chans, n_times), n_chans, n_times)
    total = sum(parameter.numel() for parameter in model.parameters())
    fig, ax = plt.subplots(figsize=(WIDTH, 0.9 + 0.7 * len(blocks)))
    ax.set(xlim=(0, 10), ylim=(len(blocks) - 0.45, -0.95))
    ax.axis("off")
    for x, align, text in ((_SHAPE, "left", "shape"), (_END, "right", "weights")):
        ax.text(x, -0.72, text, ha=align, va="center", fontsize=10.5, weight="bold")
    for y, block in enumerate(blocks):
        _draw_block(ax, y, block, y == len(blocks) - 1)
    _draw_residuals(ax, blocks)
    branches = _draw_branches(ax, blocks)
    title = f"MS-iMamba: {total:,} weights"
    fig.suptitle(title, fontsize=13)
    words = [f"{block.name} ({block.does}): "
             f"{f'{block.shape} ({block.unit})'.replace(' × ', ' by ')}, {block.weights:,} weights"
             for block in blocks]  # fmt: skip
    groups = list(dict.fromkeys(block.around for block in blocks if block.around))
    branch = (" How much each scale counts in the sum follows from the amplitudes of the spectrum."
              if branches else "")  # fmt: skip
    return fig, (
        f"{title}. Blocks from top to bottom, with the shape of what leaves them: "
        f"{'; '.join(words)}. Residuals go round {', '.join(groups) or 'none'}.{branch}"
    )


def _shapes(model: MSiMamba, n_chans: int, n_times: int) -> dict[nn.Module, tuple[int, ...]]:
    """Return the shape, without the batch, of what leaves each module for one random window."""
    import torch

    found: dict[nn.Module, tuple[int, ...]] = {}

    def note(module: nn.Module, _: object, out: Tensor) -> None:
        if isinstance(out, torch.Tensor):
            found[module] = tuple(out.shape[1:])

    own = next(model.parameters())
    drawn = torch.Generator().manual_seed(0)
    window = torch.randn(1, n_chans, n_times, generator=drawn).to(own)
    hooks = [module.register_forward_hook(note) for module in model.modules()]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(window)
    except RuntimeError as error:
        raise ParameterError(f"the network takes no windows of {n_chans} electrodes and {n_times} "
                             "samples") from error  # fmt: skip
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return found


def _count(module: nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() for p in module.parameters())


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _blocks(
    model: MSiMamba, shapes: dict[nn.Module, tuple[int, ...]], n_chans: int, n_times: int
) -> list[Block]:
    """Return the boxes from top to bottom."""
    blocks = [Block("window", "EEG, scaled", _times((n_chans, n_times)), _SIGNAL, 0)]
    for i, scales in enumerate(model.mstb, 1):
        around = "MSTB" if len(model.mstb) == 1 else f"MSTB {i}"
        blocks += _scales(scales, shapes, n_times, around)
    joined = _times((n_chans * n_times,))
    if model.tsfb is not None:
        tokens = model.tsfb.embedding
        name = "embedding" if tokens.kind == "normal" else "inverted embedding"
        blocks.append(Block(name, _embedded(tokens), _times(shapes[tokens]), _TOKENS,
                            _count(tokens), color="C4"))  # fmt: skip
        for i, layer in enumerate(model.tsfb.layers, 1):
            around = f"layer {i}" if layer.mixer is not None else ""
            blocks.append(Block(f"layer {i}", _mixed(layer), _times(shapes[layer]), _TOKENS,
                                _count(layer), around, "C1"))  # fmt: skip
        norm = model.tsfb.norm
        blocks.append(Block("norm", "of each token", _times(shapes[norm]), _TOKENS, _count(norm)))
        joined = _times((tokens.n_tokens * tokens.d_model,))
    told = "tokens one after the other" if model.tsfb is not None else "electrode by electrode"
    blocks.append(Block("flatten", told, joined, "features", 0))
    classes = _times(shapes[model.head])
    return [*blocks, Block("classes", "linear", classes, "logits", _count(model.head))]


def _scales(
    mstb: MSTB, shapes: dict[nn.Module, tuple[int, ...]], n_times: int, around: str
) -> list[Block]:
    """Return the boxes of a multi-scale temporal block."""
    n_chans, hidden = shapes[mstb][0], shapes[mstb.conv1][0]
    chosen = {"sample": "the strongest", "batch": "the strongest of the batch",
              "log_spaced": "4, 8, 16, ... cycles"}[mstb.periods]  # fmt: skip
    widths = [conv.kernel_size[0] for conv in mstb.conv1.convs]
    kernels = f"square kernels {widths[0]} to {widths[-1]}, mean of {len(widths)}"
    low, high = ("⌈", "⌉") if mstb.rounding == "ceil" else ("⌊", "⌋")
    image = f"{mstb.k} of {{}} × h × p"
    unit = "rows h, columns p"
    boxes = [
        (f"{around}: {_SPECTRUM}", f"amplitudes → {mstb.k} periods: {chosen}",
         f"{mstb.k} periods p", "samples", 0),
        ("fold", f"a row is a patch: p = {low}{n_times} / f{high}, h = ⌈{n_times} / p⌉",
         image.format(n_chans), unit, 0),
        ("inception 1", f"{kernels}; GELU", image.format(hidden), unit, _count(mstb.conv1)),
        ("inception 2", kernels, image.format(n_chans), unit, _count(mstb.conv2)),
        (_SUM, f"cut to {n_times} samples; {mstb.weights} weights", _times(shapes[mstb]), _SIGNAL,
         0),
    ]  # fmt: skip
    return [Block(*box, around, "C2") for box in boxes]


def _embedded(tokens: Embedding) -> str:
    """Return what the embedding does."""
    does = {
        "R1": "a token is an electrode, as it is (R1)",
        "R2": "a token is an electrode; linear (R2)",
        "R3": f"a token is {tokens.patch} samples; linear (R3)",
        "normal": "a token is a time step; linear",
    }[tokens.kind]
    if tokens.order is not None:
        return f"order {' '.join(map(str, tokens.order))}; {does}"
    return does if tokens.kind == "normal" else f"transpose; {does}"


def _mixed(layer: Layer) -> str:
    """Return what a layer does."""
    kind = type(layer.mixer).__name__
    if kind == "Scan":
        both = layer.mixer.forwards is not None and layer.mixer.backwards is not None
        way = "both directions" if both else "forward" if layer.mixer.forwards else "backward"
        return f"norm, Mamba over the tokens ({way})"
    names = {"Attention": "norm, attention over the tokens",
             "TokenMixer": "norm, hidden layer over all tokens"}  # fmt: skip
    return names.get(kind, "nothing: tokens as they are")


def _draw_block(ax: Axes, y: int, block: Block, last: bool) -> None:
    """Draw one box with its numbers, and the arrow to the next."""
    look = {"facecolor": to_rgba(block.color, 0.16), "edgecolor": block.color, "lw": 1.5}
    style = "round,pad=0,rounding_size=0.08"
    ax.add_patch(FancyBboxPatch((_LEFT, y - 0.29), _RIGHT - _LEFT, 0.58, style, **look))
    middle = (_LEFT + _RIGHT) / 2
    ax.text(middle, y - 0.12, block.name, ha="center", va="center", fontsize=10.5, weight="bold")
    ax.text(middle, y + 0.14, block.does, ha="center", va="center", fontsize=9.5)
    if not last:
        ends = {"xy": (middle, y + 0.71), "xytext": (middle, y + 0.29)}
        ax.annotate("", **ends, arrowprops={"arrowstyle": "-|>", "color": "0.3", "lw": 1.3})
    ax.text(_SHAPE, y - 0.1, block.shape, va="center", fontsize=11)
    ax.text(_SHAPE, y + 0.16, block.unit, va="center", fontsize=9, color="0.35")
    weights = f"{block.weights:,}" if block.weights else "–"
    ax.text(_END, y - 0.1, weights, ha="right", va="center", fontsize=11)


def _draw_residuals(ax: Axes, blocks: list[Block]) -> None:
    """Draw the line round each group of blocks that is added to what comes out of it."""
    groups: dict[str, list[int]] = {}
    for y, block in enumerate(blocks):
        if block.around:
            groups.setdefault(block.around, []).append(y)
    middle, side = (_LEFT + _RIGHT) / 2, _LEFT - 0.3
    for rows in groups.values():
        # A new line leaves below the sum of the one before.
        top, bottom = rows[0] - 0.37, rows[-1] + 0.42
        look = {"color": "0.3", "lw": 1.3, "zorder": 0}
        ax.plot([middle, side, side, middle], [top, top, bottom, bottom], **look)
        plus = {"boxstyle": "circle,pad=0.05", "fc": "white", "ec": "0.3"}
        ax.text(middle, bottom, "+", ha="center", va="center", fontsize=9, bbox=plus, zorder=3)
        turned = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 9.5, "color": "0.3"}
        ax.text(side - 0.08, (top + bottom) / 2, "residual", **turned)


def _draw_branches(ax: Axes, blocks: list[Block]) -> bool:
    """Draw the way of the amplitudes from each spectrum to the sum of its scales, if there is one.

    Returns
    -------
    bool
        Whether there is one: scales that count the same need none.
    """
    side, drawn = _RIGHT + 0.22, False
    for start, block in enumerate(blocks):
        if not block.name.endswith(_SPECTRUM):
            continue
        end = next(y for y in range(start, len(blocks)) if blocks[y].name == _SUM)
        if blocks[end].does.endswith("equal weights"):
            continue
        drawn = True
        ax.plot([_RIGHT, side, side], [start, start, end], color="C3", lw=1.3, ls="--")
        arrow = {"arrowstyle": "-|>", "color": "C3", "lw": 1.3, "ls": "--"}
        ax.annotate("", (_RIGHT, end), (side, end), arrowprops=arrow)
        ax.text(side + 0.06, (start + end) / 2, "amplitudes", rotation=90, ha="left",
                va="center", fontsize=9, color="C3")  # fmt: skip
    return drawn
