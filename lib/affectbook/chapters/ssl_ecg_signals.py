"""What the chapter on self-supervised ECG draws of windows: their versions, and what scaling hides.

P. Sarkar and A. Etemad, "Self-Supervised ECG Representation Learning for Emotion Recognition",
IEEE Transactions on Affective Computing 13(3), 2022, doi 10.1109/TAFFC.2020.3014842.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from affectbook.errors import DataError, ParameterError
from affectbook.figures import WIDTH, Drawn
from affectbook.models.scaling import of_subjects

if TYPE_CHECKING:
    from affectbook.augment import Strengths

__all__ = ["best_threshold", "scaling_separability", "versions"]

_DECIMALS = 4  # of an RMS in deviations; below that, float32 rounds


def versions(
    window: np.ndarray,
    sfreq: float,
    unit: str,
    seed: int = 0,
    strengths: Strengths | None = None,
) -> Drawn:
    """Draw the seven versions of one window, each over the window as it was.

    Parameters
    ----------
    window
        ``(1, t)``: one lead.
    sfreq
        In Hz.
    unit
        Of the signal.
    seed
        Of noise, order and warp.
    strengths
        Of the transformations; None: as published.

    Raises
    ------
    DataError
        If there is no window of one lead, or it holds values that are not finite.
    ParameterError
        If it is too short for the pieces.
    """
    import torch

    from affectbook import augment

    window = np.asarray(window, dtype=np.float64)
    if window.ndim != 2 or len(window) != 1 or not window.size or not sfreq > 0:
        found = f"shape {window.shape} at {sfreq:g} Hz"
        raise DataError("there is no window of one lead", found=found, expected="(1, n_times)")
    if not np.isfinite(window).all():
        raise DataError("a window holds samples that are not numbers")
    strengths = augment.PUBLISHED if strengths is None else strengths
    generator = torch.Generator().manual_seed(seed)
    made = augment.versions(torch.as_tensor(window)[None], generator, strengths)[:, 0, 0].numpy()
    titles = _titles(window.shape[1], sfreq, strengths)
    fig = _draw_versions(dict(zip(titles, made, strict=True)), sfreq, titles, strengths.pieces)
    fig.supylabel(f"ECG ({unit})", fontsize=10.5)
    title = f"Seven versions of one window: {window.shape[1]} samples at {sfreq:g} Hz"
    fig.suptitle(title, fontsize=12)
    beat = "{:.2f} to {:.2f} s".format(*_beat(made[0], sfreq))
    told = [f"{named} ({_read(x, made[0])})"
            for x, named in zip(made, titles.values(), strict=True)]  # fmt: skip
    return fig, (
        f"{title}, the window as it was faint behind the others; "
        f"on the right {beat} again, round the largest sample. From top to bottom, with the RMS "
        f"over that of the window and the correlation with it: {'; '.join(told)}."
    )


def _draw_versions(
    made: dict[str, np.ndarray], sfreq: float, titles: dict[str, str], pieces: int
) -> Figure:
    """Draw a row for each version, all to one scale, with the time round the largest beat again."""
    original = next(iter(made.values()))
    n_times = len(original)
    limits = {name: _limits(made, name) for name in made}
    spans = [high - low for low, high in limits.values()]
    fig, rows = plt.subplots(len(made), 2, figsize=(WIDTH, 9.2), sharex="col",
                             height_ratios=spans, width_ratios=(3.2, 1))  # fmt: skip
    beat = _beat(original, sfreq)
    for i, (axes, (name, x)) in enumerate(zip(rows, made.items(), strict=True)):
        for ax in axes:
            if i:
                ax.plot(np.arange(n_times) / sfreq, original, color="0.7", lw=1.8,
                        label="as it was")  # fmt: skip
            look = {"color": "C0" if i else "0.3", "lw": 0.9, "label": "version"}
            ax.plot(np.arange(n_times) / sfreq, x, **look)
            ax.set_ylim(limits[name])
        axes[0].set_title(f"{i}  {titles[name]}", fontsize=10, loc="left", pad=3)
        axes[0].axvspan(*beat, color="C1", alpha=0.2, lw=0, label="drawn again on the right")
        axes[1].tick_params(labelleft=False)
    for ax in rows[list(made).index("permutation")]:
        for edge in np.arange(1, pieces) * (n_times // pieces) / sfreq:
            ax.axvline(edge, color="0.35", lw=0.8, ls=":", zorder=0)
    rows[-1, 0].set(xlim=(0, n_times / sfreq), xlabel="time (s)")
    rows[-1, 1].set(xlim=beat, xlabel="time (s)")
    # The first one would stand beside the last of the column on the left.
    clear = beat[0] + 0.2 * (beat[1] - beat[0])
    rows[-1, 1].set_xticks([tick for tick in MaxNLocator(4).tick_values(*beat)
                            if clear < tick <= beat[1]])  # fmt: skip
    handles, labels = rows[-1, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9.5)
    return fig


def _limits(made: dict[str, np.ndarray], name: str) -> tuple[float, float]:
    """Return what of the axis a version takes; all but negation take the same."""
    alone = "negation"
    some = [x for key, x in made.items() if key != alone]
    if name == alone:
        some = [made[alone], next(iter(made.values()))]
    low, high = min(x.min() for x in some), max(x.max() for x in some)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _beat(original: np.ndarray, sfreq: float) -> tuple[float, float]:
    """Return half a second round the largest sample, or all of a shorter window."""
    seconds = len(original) / sfreq
    wide = min(0.5, seconds)
    middle = np.abs(original - np.median(original)).argmax() / sfreq
    start = float(np.clip(middle - wide / 2, 0, seconds - wide))
    return start, start + wide


def _titles(n_times: int, sfreq: float, strengths: Strengths) -> dict[str, str]:
    """Return the exact parameters of each version, in words."""
    from affectbook import augment

    pieces, length = strengths.pieces, n_times // strengths.pieces
    left = n_times - pieces * length
    piece, longer, shorter, total = augment.warped_lengths(
        n_times, strengths.warp_pieces, strengths.stretch
    )
    # Of those that are stretched and those that are squeezed the total says how many.
    n_longer = (total - strengths.warp_pieces * shorter) // max(1, longer - shorter)
    rest = f", the last {left} stay" if left else ""
    return {
        "original": "original",
        "noise": f"noise: white, {strengths.snr_db:g} dB below the mean square of the window",
        "scaling": f"scaling: × {strengths.factor:g}",
        "negation": "negation: × −1",
        "inversion": "inversion: time reversed",
        "permutation": f"permutation: {pieces} pieces of {length} samples "
        f"({length / sfreq:g} s), shuffled{rest}",
        "time_warp": f"time warp: {strengths.warp_pieces} pieces of {piece} samples; {n_longer} × "
        f"{strengths.stretch:g} = {longer}, {strengths.warp_pieces - n_longer} ÷ "
        f"{strengths.stretch:g} = {shorter}; {n_times} of {total} kept",
    }


def _read(x: np.ndarray, original: np.ndarray) -> str:
    """Return RMS over that of the original, and correlation with it, in words."""
    ratio = _rms(x) / (_rms(original) or 1.0)
    flat = min(x.std(), original.std()) == 0
    together = 0.0 if flat else np.corrcoef(x, original)[0, 1]
    return f"{ratio:.2f}, {together:.2f}"


def _rms(x: np.ndarray) -> np.ndarray:
    """Return the root mean square over all axes but the first of windows, or of one signal."""
    axes = tuple(range(1, x.ndim)) or None
    return np.sqrt(np.square(x, dtype=np.float64).mean(axes))


def best_threshold(lower: np.ndarray, higher: np.ndarray) -> tuple[float, float]:
    """Return where a threshold tells two kinds of numbers apart best, and how well.

    Parameters
    ----------
    lower, higher
        ``(n,)`` each; either may be the larger one. They count as equal to four decimals.

    Returns
    -------
    threshold, accuracy : float
        NaN and the share of the more frequent kind, if no threshold does better than that.
    """
    values = np.round(np.concatenate([lower, higher]), _DECIMALS)
    order = np.argsort(values, kind="stable")
    values, kinds = values[order], np.repeat([-1, 1], [len(lower), len(higher)])[order]
    # With k numbers below the threshold called lower: those that are, and higher ones above.
    right = len(higher) - np.cumsum(kinds)
    cuts = np.flatnonzero(np.diff(values) > 0)
    n, common = len(values), max(len(lower), len(higher))
    either = np.maximum(right[cuts], n - right[cuts])
    if not len(cuts) or either.max() <= common:
        return float("nan"), common / n
    best = cuts[either.argmax()]
    return float(values[best : best + 2].mean()), float(either.max() / n)


def scaling_separability(
    X: np.ndarray, subjects: Sequence[str], factor: float = 1.1
) -> Drawn:
    """Draw the size of windows and of scaled windows, as a network sees it after a z-score.

    Above, each subject has one mean and one deviation, and the factor comes after them, as in the
    released code. Below, each version of each window has its own, after the factor.

    Parameters
    ----------
    X
        Windows ``(n, 1, t)``, filtered and not scaled.
    subjects
        Subject of each window ``(n,)``.
    factor
        Of the scaling.

    Raises
    ------
    DataError
        If there are no windows of one lead with a subject each.
    ParameterError
        If the factor is not above 0.
    """
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 3 or not X.size or X.shape[1] != 1 or len(subjects) != len(X):
        raise DataError("there are no windows to draw", expected="(n, 1, n_times), n subjects",
                        found=f"shape {X.shape}, {len(subjects)} subjects")  # fmt: skip
    if not factor > 0:
        raise ParameterError(f"factor is {factor}; take one above 0")
    own = of_subjects(X, subjects, "per_subject_zscore")
    alone = of_subjects(X, subjects, "per_window_zscore")
    pairs = {
        "z-score per subject, then the factor": (own, factor * own),
        "the factor, then a z-score per window": (
            alone, of_subjects(factor * X, subjects, "per_window_zscore")),
    }  # fmt: skip
    sizes = {name: (_rms(one), _rms(two)) for name, (one, two) in pairs.items()}
    fig, axes = plt.subplots(2, 1, figsize=(WIDTH, 5.4), sharex=True)
    bins = _bins(np.concatenate([size for pair in sizes.values() for size in pair]))
    told = [_draw_sizes(ax, name, *pair, factor, bins)
            for ax, (name, pair) in zip(axes, sizes.items(), strict=True)]  # fmt: skip
    axes[1].set_xlabel("RMS of a window, in the deviations it was divided by")
    apart = np.abs(np.subtract(*pairs["the factor, then a z-score per window"])).max()
    same = f"differ by {apart:.0e} at most, by rounding" if apart else "are the same numbers"
    title = f"Can × {factor:g} be seen?"
    fig.suptitle(f"{title} {len(X)} windows of {len(set(subjects))} subjects", fontsize=12)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9.5)
    return fig, (
        f"{title} Histograms of the RMS of {len(X)} windows of {len(set(subjects))} subjects and "
        f"of the same windows times {factor:g}. {' '.join(told)} There the two versions of a "
        f"window {same}."
    )


def _bins(sizes: np.ndarray) -> np.ndarray:
    """Return edges of bins over the central 99 % of sizes and over 1, the middle of one of them."""
    low, high = np.percentile(sizes, [0.5, 99.5])
    width = max((high - low) / 25, 0.01)
    below, above = np.ceil((1 - low) / width + 1), np.ceil((high - 1) / width + 1)
    return 1 + width * (np.arange(-max(below, 1), max(above, 1) + 1) - 0.5)


def _draw_sizes(
    ax: Axes, name: str, original: np.ndarray, scaled: np.ndarray, factor: float, bins: np.ndarray
) -> str:
    """Draw two histograms and the best threshold; return them in words."""
    shown = [np.clip(sizes, bins[0], bins[-1]) for sizes in (original, scaled)]
    share = np.full(len(original), 100 / len(original))
    ax.hist(shown[0], bins, weights=share, color="C0", alpha=0.45, label="original")
    look = {"histtype": "step", "color": "C3", "lw": 1.6, "hatch": "///"}
    ax.hist(shown[1], bins, weights=share, label=f"× {factor:g}", **look)
    threshold, accuracy = best_threshold(original, scaled)
    line = {"ls": "--", "color": "0.15", "lw": 1.6, "label": "best threshold"}
    verdict = f"best threshold: {100 * accuracy:.1f} % right"
    if np.isnan(threshold):
        verdict = f"no threshold is right in more than {100 * accuracy:.1f} %"
    else:
        ax.axvline(threshold, **line)
    ax.set_title(f"{name}\n{verdict}", fontsize=11)
    ax.set_ylabel("windows (%)")
    at = "" if np.isnan(threshold) else f" at {threshold:.2f}"
    middle = f"medians {np.median(original):.2f} and {np.median(scaled):.2f}"
    return f"{name[0].upper()}{name[1:]}: {middle}; {verdict}{at}."
