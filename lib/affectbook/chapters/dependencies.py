"""What a token can know of the others: the mean absolute Jacobian of a network, and its drawing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.image import AxesImage

from affectbook.errors import DataError, ParameterError
from affectbook.figures import WIDTH, Drawn

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from affectbook.models.ms_imamba import MSiMamba

__all__ = ["dependencies", "dependency_matrix", "electrode_dependencies"]

_FEATURES = 16  # of a token, drawn anew for each input: four inputs take a second
_LOWEST = 0.1  # per cent of the largest entry, the darkest colour
_WRITTEN = 10  # tokens up to which a cell has room for its number


def dependencies(
    layers: nn.Module, n_tokens: int, d_model: int, seed: int = 0, n_inputs: int = 4
) -> np.ndarray:
    """Return how much each token that comes out changes with each that goes in.

    With ``y = layers(x)``, entry ``(i, j)`` is the mean of ``|d y[i, p] / d x[j, q]|`` over normal
    random inputs, all features q and, for each input, 16 random features p; in double precision and
    as in use (no dropout). What a causal scan cannot see is 0 exactly.

    Parameters
    ----------
    layers
        Maps tokens ``(b, l, d)`` to tokens ``(b, l, d)``, each window for itself.
    n_tokens, d_model
        ``l`` and ``d``.
    seed, n_inputs
        Of the random inputs, and how many.

    Returns
    -------
    numpy.ndarray
        ``(l, l)``.

    Raises
    ------
    ParameterError
        If a size is below 1.
    """
    import torch

    if min(n_tokens, d_model, n_inputs) < 1:
        raise ParameterError(f"n_tokens {n_tokens}, d_model {d_model} and n_inputs {n_inputs} "
                             "must be 1 or more")  # fmt: skip
    drawn = torch.Generator().manual_seed(seed)
    x = torch.randn(n_inputs, n_tokens, d_model, generator=drawn, dtype=torch.float64)
    return _mean_jacobian(_double(layers), x, drawn)


def electrode_dependencies(model: MSiMamba, x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return how much each token before the head changes with each electrode of a window.

    Parameters
    ----------
    model
        Tokens are what `MSiMamba.tokens` returns; multi-scale blocks come before them, and mix
        electrodes.
    x
        ``(n, c, t)``: windows as the network takes them, scaled. A few are enough.
    seed
        Of the features that are looked at, 16 of each window.

    Returns
    -------
    numpy.ndarray
        ``(l, c)``: mean absolute derivative, over windows, features of the token and samples.

    Raises
    ------
    DataError
        If there are no windows.
    """
    import torch

    windows = torch.as_tensor(np.asarray(x, dtype=float))
    if windows.ndim != 3 or not windows.numel():
        raise DataError("there are no windows to differentiate at",
                        found=f"shape {tuple(windows.shape)}", expected="(n, c, t)")  # fmt: skip
    drawn = torch.Generator().manual_seed(seed)
    return _mean_jacobian(_double(model).tokens, windows, drawn)


def _double(module: nn.Module) -> nn.Module:
    """Return a copy in double precision that is not trained."""
    return copy.deepcopy(module).cpu().double().eval().requires_grad_(False)


def _mean_jacobian(network: Callable[[Tensor], Tensor], x: Tensor, drawn: Generator) -> np.ndarray:
    """Return the mean absolute Jacobian of tokens ``(l, d)`` by rows of inputs ``(m, e)``.

    A window is copied once for each feature of a token that is looked at: one backward pass then
    gives the derivatives of all of them.
    """
    import torch

    with torch.no_grad():
        n_tokens, width = network(x[:1]).shape[1:]
    total = torch.zeros(n_tokens, x.shape[1], dtype=x.dtype)
    n_features = min(width, _FEATURES)
    for window in x:
        features = torch.randperm(width, generator=drawn)[:n_features]
        copies = window.repeat(n_features, 1, 1).requires_grad_()
        # Each copy gives one feature, its own.
        picked = network(copies)[torch.arange(n_features), :, features].sum(0)
        for i, token in enumerate(picked):
            more = i < n_tokens - 1
            (gradient,) = torch.autograd.grad(token, copies, retain_graph=more)
            total[i] += gradient.abs().mean(-1).sum(0)
    return (total / (len(x) * n_features)).numpy()


def dependency_matrix(
    matrices: Mapping[str, np.ndarray], names: Sequence[str], title: str
) -> Drawn:
    """Draw dependencies side by side, in per cent of the largest entry of each.

    Parameters
    ----------
    matrices
        Under each name, ``(l, l)`` as `dependencies` returns it or ``(l, c)`` as
        `electrode_dependencies` does.
    names
        Of tokens and electrodes; a side of another length is numbered.
    title
        Of the figure.

    Raises
    ------
    DataError
        If there is no matrix, or one is of zeros only or holds what is not a number.
    """
    checked = {name: np.asarray(matrix, dtype=float) for name, matrix in matrices.items()}
    if not checked or not len(names):
        raise DataError(f"there are no dependencies to draw for {title!r}", do="name a matrix")
    for name, matrix in checked.items():
        if matrix.ndim != 2 or not np.isfinite(matrix).all() or not (matrix > 0).any():
            raise DataError(f"{name}: this is no matrix of dependencies",
                            found=f"shape {matrix.shape}", expected="(l, l) or (l, c)")  # fmt: skip
    columns = len(checked) if len(checked) <= 4 else -(-len(checked) // 2)
    n_rows = -(-len(checked) // columns)
    size = (WIDTH, 1.25 + n_rows * (0.45 + 6.4 / columns))
    fig, axes = plt.subplots(n_rows, columns, figsize=size, squeeze=False)
    for ax in axes.flat[len(checked) :]:
        ax.axis("off")
    for ax, (name, matrix) in zip(axes.flat, checked.items(), strict=False):
        image = _draw_matrix(ax, 100 * matrix / matrix.max(), names)
        ax.set_title(name, fontsize=11)
    for ax in axes[:, 0]:
        ax.set_ylabel("token out")
    bar = fig.colorbar(image, ax=axes, location="bottom", shrink=0.6, aspect=35, pad=0.03)
    label = "mean absolute derivative, % of the largest (0, white: exactly none)"
    bar.set_label(label, fontsize=10)
    bar.set_ticks([0.1, 1, 10, 100], labels=["≤ 0.1", "1", "10", "100"])
    fig.suptitle(title, fontsize=12)
    words = [_in_words(name, matrix, names) for name, matrix in checked.items()]
    return fig, (
        f"{title}: how much each token that comes out (rows) changes with what goes in (columns). "
        f"{'; '.join(words)}."
    )


def _draw_matrix(ax: Axes, percent: np.ndarray, names: Sequence[str]) -> AxesImage:
    """Draw one matrix; where it is exactly 0, the cell is white with a 0 in it."""
    shown = np.ma.masked_equal(percent, 0)
    image = ax.imshow(shown, cmap="cividis", norm=LogNorm(_LOWEST, 100))
    ax.set_aspect("equal" if percent.shape[0] == percent.shape[1] else "auto")
    if max(percent.shape) <= _WRITTEN:
        for (i, j), value in np.ndenumerate(percent):
            text = "0" if value == 0 else f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"
            dark = 0 < value < 5  # of the colours, which are logarithmic
            look = {"color": "white" if dark else "black", "fontsize": 9.5}
            ax.text(j, i, "<.1" if text == "0.0" else text, ha="center", va="center",
                    weight="bold" if value == 0 else "normal", **look)  # fmt: skip
    for axis, length in ((ax.yaxis, percent.shape[0]), (ax.xaxis, percent.shape[1])):
        if length == len(names):
            axis.set_ticks(range(length), names, fontsize=9.5)
        else:
            spots = np.unique(np.linspace(0, length - 1, min(length, 5)).round().astype(int))
            axis.set_ticks(spots, [str(spot + 1) for spot in spots], fontsize=9.5)
    ax.tick_params(axis="x", rotation=90 if percent.shape[1] > 4 else 0)
    ax.set_xlabel("in")
    ax.grid(False)
    return image


def _in_words(name: str, matrix: np.ndarray, names: Sequence[str]) -> str:
    """Say which cells are exactly 0, and how large the others beside the diagonal are."""
    zeros = (matrix == 0).sum(1)
    told = f"{' '.join(name.split())}: {zeros.sum()} of {matrix.size} cells are exactly 0"
    if len(matrix) <= _WRITTEN and zeros.any():
        rows = names if len(matrix) == len(names) else [f"token {i + 1}" for i in range(len(zeros))]
        each = ", ".join(f"{row} {n}" for row, n in zip(rows, zeros, strict=True) if n)
        told += f" ({each} of {matrix.shape[1]})"
    if matrix.shape[0] != matrix.shape[1]:
        return told
    beside = matrix[~np.eye(len(matrix), dtype=bool)]
    if not beside.size:
        return told
    share = 100 * beside.max() / matrix.max()
    return f"{told}; the largest beside the diagonal is {share:.1f} % of the largest of all"
