"""What chapters draw of one window of EEG: how it is cut into tokens, how it is folded."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from affectbook.errors import DataError, ParameterError
from affectbook.figures import MARKS, WIDTH, Drawn

__all__ = ["foldings", "token_figure"]


def _check_window(x: np.ndarray, sfreq: float, ch_names: Sequence[str]) -> np.ndarray:
    """Return a window as an array; refuse one of another shape or with nothing in it."""
    x = np.asarray(x, dtype=float)
    if x.ndim != 2 or not x.size or len(ch_names) != len(x) or not sfreq > 0:
        raise DataError(
            "there is no window to draw", found=f"shape {x.shape} at {sfreq:g} Hz, "
            f"{len(ch_names)} names", expected="(n_chans, n_times) with a name for each channel",
        )  # fmt: skip
    if not np.isfinite(x).all():
        raise DataError("a window holds samples that are not numbers")
    return x


def _traces(ax: Axes, x: np.ndarray, sfreq: float, ch_names: Sequence[str], unit: str) -> None:
    """Draw the channels of a window one below the other; the label says how far apart."""
    swings = x - x.mean(1, keepdims=True)
    apart = 1.05 * np.ptp(x, axis=1).max() or 1.0
    decade = 10 ** np.floor(np.log10(apart))
    steps = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
    apart = next(step * decade for step in steps if step * decade >= 0.999 * apart)
    for y, trace in enumerate(swings / apart):
        ax.plot(np.arange(x.shape[1]) / sfreq, y - trace, color="0.15", lw=1.1, zorder=3)
    ax.set_yticks(range(len(x)), ch_names)
    ax.set(ylim=(len(x) - 0.4, -0.6), xlim=(-0.5 / sfreq, (x.shape[1] - 0.5) / sfreq))
    ax.set(xlabel="time (s)", ylabel=f"electrode (rows {apart:g} {unit} apart)")
    ax.yaxis.label.set_size(10)
    ax.grid(False)


def token_figure(x: np.ndarray, sfreq: float, ch_names: Sequence[str], patch: int = 16) -> Drawn:
    """Draw how the numbers of one window become tokens: by step, by electrode, by patch.

    The counterpart of figure 2 of the paper, the embedding that is not inverted against the
    inverted one; of the latter the two readings that cut differently (R1 and R2; R3).

    Parameters
    ----------
    x
        ``(c, t)``: one window.
    sfreq
        In Hz.
    ch_names
        Of the electrodes.
    patch
        Samples of a patch; zeros fill the last one.

    Raises
    ------
    DataError
        If there is no window, or it has no such shape.
    ParameterError
        If `patch` is no number of samples of the window.
    """
    x = _check_window(x, sfreq, ch_names)
    n_chans, n_times = x.shape
    if not 1 <= patch <= n_times:
        raise ParameterError(f"patch is {patch}; take 1 to {n_times} samples")
    spread = x.std(1, keepdims=True)
    scaled = (x - x.mean(1, keepdims=True)) / np.where(spread > 0, spread, 1)
    per_chan = -(-n_times // patch)
    padded = np.pad(scaled, ((0, 0), (0, per_chan * patch - n_times)))
    cuts = {
        "normal:\na token is a time step": (scaled.T, 1, True),
        "inverted (R1, R2):\na token is an electrode": (scaled, n_times, False),
        "inverted (R3):\na token is a patch": (
            padded.reshape(-1, patch), patch, False),
    }  # fmt: skip
    fig, axes = plt.subplots(2, 3, figsize=(WIDTH, 5.9), height_ratios=(1.15, 1))
    words = []
    for column, (title, (tokens, width, tall)) in enumerate(cuts.items()):
        above, below = axes[:, column]
        _traces(above, scaled, sfreq, ch_names, "SD")
        above.set_title(title, fontsize=10.5, pad=16)
        framed = _framed(len(tokens))
        _frame_signal(above, framed, len(tokens), width / sfreq, n_chans, tall, sfreq)
        image = _token_image(below, tokens, framed)
        words.append(f"{' '.join(title.split())}: {len(tokens)} tokens of {tokens.shape[1]}")
    fig.colorbar(image, ax=axes, shrink=0.4, anchor=(0, 0.12), label="z-score of the electrode")
    for ax in axes[0, 1:]:
        ax.tick_params(labelleft=False)
        ax.set_ylabel("")
    axes[1, 0].set_ylabel("token")
    title = f"One window, {n_chans} electrodes and {n_times} samples, cut into tokens"
    fig.suptitle(title, fontsize=12)
    return fig, (
        f"{title} in three ways. {'; '.join(words)} numbers. Above, frames on the traces show "
        "which numbers make a token: columns across all electrodes, whole rows, or pieces of "
        f"{1000 * patch / sfreq:.0f} ms of a row. Below, the same numbers as an image with a row "
        "per token; the numbered rows are those in the numbered frames."
    )


def _framed(n_tokens: int) -> list[int]:
    """Return the tokens that are framed and numbered: first, one in the middle, last."""
    return list(dict.fromkeys([0, round((n_tokens - 1) * 0.55), n_tokens - 1]))


def _frame_signal(
    ax: Axes, framed: Sequence[int], n_tokens: int, seconds: float, n_chans: int, tall: bool,
    sfreq: float,
) -> None:  # fmt: skip
    """Frame tokens on the traces: columns of a step if `tall`, else pieces of a row."""
    per_chan = 1 if tall else n_tokens // n_chans
    every = max(1, n_tokens // 16) if tall else 1  # thinner columns would run together
    height = n_chans - 0.06 if tall else 0.94
    for token in {*range(0, n_tokens, every), *framed}:
        row, place = (0, token) if tall else divmod(token, per_chan)
        corner = (place * seconds - 0.5 / sfreq, row - 0.47)
        thin = {"fill": False, "ec": "0.6", "lw": 0.7, "zorder": 2}
        ax.add_patch(Rectangle(corner, seconds, height, **thin))
        if token not in framed:
            continue
        color = f"C{framed.index(token)}"
        ax.add_patch(Rectangle(corner, seconds, height, fc=color, alpha=0.35, lw=0, zorder=1))
        ax.add_patch(Rectangle(corner, seconds, height, fill=False, ec=color, lw=2, zorder=4))
        look = {"color": color, "weight": "bold", "fontsize": 9.5, "zorder": 5,
                "path_effects": [withStroke(linewidth=2.5, foreground="white")]}  # fmt: skip
        if tall:
            look |= {"ha": "center", "va": "bottom", "xytext": (0, 2)}
        else:
            look |= {"ha": "left", "va": "bottom", "xytext": (2, 1)}
        end = (corner[0] + seconds / 2, corner[1]) if tall else (corner[0], corner[1] + height)
        ax.annotate(f"{token + 1}", end, textcoords="offset points", **look)


def _token_image(ax: Axes, tokens: np.ndarray, framed: Sequence[int]) -> object:
    """Draw tokens ``(l, n)`` as an image with a row per token, and mark those that are framed."""
    n_tokens, width = tokens.shape
    edges = (0.5, width + 0.5, n_tokens + 0.5, 0.5)
    look = {"cmap": "cividis", "vmin": -2.5, "vmax": 2.5, "interpolation": "nearest"}
    image = ax.imshow(tokens, extent=edges, aspect="auto", **look)
    ax.set_box_aspect(float(np.clip(np.sqrt(n_tokens / width), 0.42, 2.4)))
    for i, token in enumerate(framed):
        color = f"C{i}"
        ax.add_patch(Rectangle((0.5, token + 0.5), width, 1, fill=False, ec=color, lw=2.2))
    ax.set_yticks([token + 1 for token in framed])
    for label, color in zip(ax.get_yticklabels(), ("C0", "C1", "C2"), strict=False):
        label.set(color=color, weight="bold", fontsize=9.5)
    ax.set_xticks([1, width])
    ax.set_xlabel("number in the token")
    ax.set_title(f"{n_tokens} × {width}", fontsize=11)
    ax.grid(False)
    return image


def foldings(
    x: np.ndarray,
    sfreq: float,
    ch_names: Sequence[str],
    k: int = 3,
    rounding: str = "ceil",
    unit: str = "uV",
    title: str = "One window, its spectrum, its foldings",
    channel: int = 0,
) -> Drawn:
    """Draw one window, the frequencies chosen from its spectrum, and a folding for each of them.

    Parameters
    ----------
    x
        ``(c, t)``: one window.
    sfreq
        In Hz.
    ch_names
        Of the electrodes.
    k, rounding
        How many frequencies, and how their periods are rounded, see `models.periods`.
    unit, title
        Of the signal, and of the figure.
    channel
        Position of the electrode whose foldings are shown.

    Raises
    ------
    DataError
        If there is no window, or it has no such shape.
    ParameterError
        If `k`, `rounding` or `channel` is not one of those that there are.
    """
    import torch

    from affectbook.models import periods

    x = _check_window(x, sfreq, ch_names)
    if not 0 <= channel < len(x):
        raise ParameterError(f"channel is {channel}; there are {len(x)} electrodes, from 0 on")
    n_times = x.shape[1]
    amplitude = periods.amplitudes(torch.as_tensor(x)[None])
    frequencies = periods.chosen(amplitude, k)[0]
    sizes = periods.periods_of(n_times, frequencies, rounding).tolist()
    hertz = (frequencies * sfreq / n_times).tolist()
    unit = "µV" if unit == "uV" else unit
    fig = plt.figure(figsize=(WIDTH, 5.9))
    above, below = fig.subfigures(2, 1, height_ratios=(1, 1.12))
    left, right = above.subplots(1, 2)
    _traces(left, x, sfreq, ch_names, unit)
    left.set_title(f"{n_times} samples at {sfreq:g} Hz", fontsize=11)
    # A sine of amplitude 1 gives half the number of samples.
    _spectrum(right, 2 * amplitude[0].numpy() / n_times, sfreq / n_times, hertz, unit)
    _images(below.subplots(1, k, squeeze=False)[0], x[channel], hertz, sizes,
            f"{ch_names[channel]} ({unit})")  # fmt: skip
    fig.suptitle(title, fontsize=12)
    told = "; ".join(f"{hz:g} Hz, period {p} samples, image of {-(-n_times // p)} by {p}"
                     for hz, p in zip(hertz, sizes, strict=True))  # fmt: skip
    return fig, (
        f"{title}. {len(x)} electrodes, {n_times / sfreq:g} s at {sfreq:g} Hz; the mean amplitude "
        f"spectrum with its {k} highest bins marked; and {ch_names[channel]} laid out as images "
        f"with one period per row. From the strongest on: {told}. Longest over shortest period: "
        f"{max(sizes) / min(sizes):.2f}."
    )


def _spectrum(ax: Axes, amplitude: np.ndarray, step: float, hertz: list[float], unit: str) -> None:
    """Draw an amplitude spectrum without its constant, with the chosen bins marked."""
    grid = step * np.arange(1, len(amplitude) + 1)
    ax.plot(grid, amplitude, ".-", color="0.45", lw=1, ms=4)
    for i, hz in enumerate(hertz):
        look = {"color": f"C{i}", "ms": 10, "mec": "white", "zorder": 3}
        ax.plot(hz, amplitude[round(hz / step) - 1], MARKS[i % len(MARKS)], label=f"{hz:g} Hz",
                **look)  # fmt: skip
    ax.set(xlabel="frequency (Hz)", ylabel=f"amplitude ({unit})", ylim=(0, None))
    ax.set_title("mean spectrum of the electrodes", fontsize=11)
    ax.legend(fontsize=9.5, title=f"{len(hertz)} strongest", title_fontsize=9.5)


def _images(
    axes: Sequence[Axes], series: np.ndarray, hertz: list[float], sizes: list[int], label: str
) -> None:
    """Draw the foldings of one channel; zeros that fill the last row are hatched."""
    limit = np.abs(series).max() or 1.0
    for i, (ax, hz, width) in enumerate(zip(axes, hertz, sizes, strict=True)):
        rows = -(-len(series) // width)
        image = np.full(rows * width, np.nan)
        image[: len(series)] = series
        ax.set_facecolor("white")
        edges = (-0.5, width - 0.5, rows + 0.5, 0.5)
        look = {"cmap": "cividis", "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
        drawn = ax.imshow(image.reshape(rows, width), extent=edges, aspect="auto", **look)
        short = rows * width - len(series)
        if short:
            corner = (width - short - 0.5, rows - 0.5)
            ax.add_patch(Rectangle(corner, short, 1, fill=False, hatch="///", ec="0.5", lw=0))
        mark = "●■◆▲▼"[i] if i < 5 else ""
        ax.set_title(f"{mark} {hz:g} Hz: p = {width}\n{rows} × {width}", fontsize=10.5)
        ax.title.set_color(f"C{i}")
        ax.set_xlabel("sample in the patch")
        ax.set_yticks(range(1, rows + 1, max(1, rows // 6)))
        ax.grid(False)
    axes[0].set_ylabel("patch")
    axes[0].figure.colorbar(drawn, ax=list(axes), pad=0.02, label=label)
