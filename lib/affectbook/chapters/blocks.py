"""Diagrams of networks: boxes from top to bottom, with shapes and weights read from the modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch

from affectbook.errors import ParameterError

if TYPE_CHECKING:
    from torch import Tensor, nn

LEFT, RIGHT, SHAPE, END = 0.75, 6.1, 6.75, 9.95  # in the units of the diagram, 10 wide
MIDDLE = (LEFT + RIGHT) / 2
ARROW = {"arrowstyle": "-|>", "color": "0.3", "lw": 1.3}


class Block(NamedTuple):
    """A box of a diagram: name, what it does, output shape and its unit, number of weights."""

    name: str
    does: str
    shape: str
    unit: str
    weights: int
    color: str = "C0"

    @property
    def words(self) -> str:
        """What is written in and beside the box, read aloud."""
        shape = self.shape.replace(" × ", " by ")
        return f"{self.name} ({self.does}): {shape} ({self.unit}), {self.weights:,} weights"


def shapes(module: nn.Module, *size: int) -> dict[nn.Module, tuple[int, ...]]:
    """Return the shape, without the batch, of what leaves each part of a module.

    Parameters
    ----------
    module
        In any mode, which it keeps.
    size
        Of one random input, without the batch.

    Raises
    ------
    ParameterError
        If the module takes nothing of that size.
    """
    import torch

    found: dict[nn.Module, tuple[int, ...]] = {}

    def note(part: nn.Module, _: object, out: Tensor) -> None:
        if isinstance(out, torch.Tensor):
            found[part] = tuple(out.shape[1:])

    own = next(module.parameters())
    drawn = torch.Generator().manual_seed(0)
    x = torch.randn(1, *size, generator=drawn).to(own)
    hooks = [part.register_forward_hook(note) for part in module.modules()]
    modes = {part: part.training for part in module.modules()}
    try:
        with torch.no_grad():
            module.eval()(x)
    except RuntimeError as error:
        raise ParameterError(
            f"the {type(module).__name__} takes nothing of {times(size)}"
        ) from error
    finally:
        for part, mode in modes.items():
            part.training = mode
        for hook in hooks:
            hook.remove()
    return found


def count(module: nn.Module | None) -> int:
    """Return the number of weights, biases among them."""
    return 0 if module is None else sum(weight.numel() for weight in module.parameters())


def times(shape: tuple[int, ...]) -> str:
    """Return how a shape is written: "32 × 2560"."""
    return " × ".join(map(str, shape))


def head_columns(ax: Axes, y: float) -> None:
    """Write over the numbers beside the boxes what they are."""
    for x, align, text in ((SHAPE, "left", "shape"), (END, "right", "weights")):
        ax.text(x, y, text, ha=align, va="center", fontsize=10.5, weight="bold")


def box(ax: Axes, left: float, right: float, y: float, color: str, high: float = 0.58) -> None:
    """Draw an empty box round the height `y`."""
    look = {"facecolor": to_rgba(color, 0.16), "edgecolor": color, "lw": 1.5}
    style = "round,pad=0,rounding_size=0.08"
    ax.add_patch(FancyBboxPatch((left, y - high / 2), right - left, high, style, **look))


def draw_block(ax: Axes, y: float, block: Block) -> None:
    """Draw one box with its numbers beside it."""
    box(ax, LEFT, RIGHT, y, block.color)
    ax.text(MIDDLE, y - 0.12, block.name, ha="center", va="center", fontsize=10.5, weight="bold")
    ax.text(MIDDLE, y + 0.14, block.does, ha="center", va="center", fontsize=9.5)
    numbers(ax, y, block)


def numbers(ax: Axes, y: float, block: Block) -> None:
    """Write shape, unit and weights of a block at the height `y`."""
    ax.text(SHAPE, y - 0.1, block.shape, va="center", fontsize=11)
    ax.text(SHAPE, y + 0.16, block.unit, va="center", fontsize=9, color="0.35")
    weights = f"{block.weights:,}" if block.weights else "–"
    ax.text(END, y - 0.1, weights, ha="right", va="center", fontsize=11)


def arrow(ax: Axes, top: float, bottom: float, x: float = MIDDLE) -> None:
    """Draw an arrow from one box down to the next."""
    ax.annotate("", (x, bottom), (x, top), arrowprops=ARROW)
