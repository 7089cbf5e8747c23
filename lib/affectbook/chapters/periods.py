"""What chapters show of the periods that windows choose: does multi-scale happen?"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from affectbook.errors import DataError
from affectbook.figures import WIDTH, Drawn

__all__ = ["period_histogram", "period_table"]

THETA = (4.0, 8.0)
"""Hz, both included: where most of a spectrum lies that falls with frequency from 4 Hz on."""
_HATCHES = ("", "//", "..", "xx")
_RANKS = ("strongest", "second", "third")
_SHARE = "choices from 4 to 8 Hz (share)"
_NARROW = "periods within a factor of 2 (share of windows)"
_DIFFERENT = "different periods (mean of windows)"


def period_table(
    frequencies_by_name: Mapping[str, np.ndarray],
    sfreq: float,
    n_times: int,
    weights_by_name: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Return which periods the windows of each data set choose: does multi-scale happen?

    Parameters
    ----------
    frequencies_by_name
        ``(n, k)`` chosen frequencies in cycles per window under each name, the strongest first, as
        `models.periods.chosen` returns them.
    sfreq, n_times
        Of all windows, in Hz and samples.
    weights_by_name
        ``(n, k)`` weights of the scales, where they are known.

    Returns
    -------
    pandas.DataFrame
        A row per data set: median frequency in Hz of each of the first three ranks; share (0 to 1)
        of all choices that lie from 4 to 8 Hz; share of windows whose longest period is less than
        twice their shortest one, before rounding; mean number of different periods of a window
        after rounding up; mean of the largest weight.

    Raises
    ------
    DataError
        If there is no data set, or one has no windows.
    """
    lines = []
    for name, cycles in _checked(frequencies_by_name, n_times).items():
        hertz = cycles * sfreq / n_times
        sizes = np.sort(-(-n_times // cycles), axis=1)
        line = {"data set": name, "windows": len(cycles)}
        for i in range(min(len(_RANKS), cycles.shape[1])):
            line[f"{_RANKS[i]} (median Hz)"] = float(np.median(hertz[:, i]))
        line[_SHARE] = float(((hertz >= THETA[0]) & (hertz <= THETA[1])).mean())
        line[_NARROW] = float((cycles.max(1) < 2 * cycles.min(1)).mean())
        line[_DIFFERENT] = float(1 + (np.diff(sizes, axis=1) > 0).sum(1).mean())
        if weights_by_name is not None:
            weights = weights_by_name.get(name)
            top = np.nan if weights is None else float(np.max(weights, axis=1).mean())
            line["largest weight (mean)"] = top
        lines.append(line)
    return pd.DataFrame(lines)


def _checked(frequencies_by_name: Mapping[str, np.ndarray], n_times: int) -> dict[str, np.ndarray]:
    """Return chosen frequencies as whole numbers ``(n, k)``; refuse what cannot be some."""
    checked = {name: np.asarray(cycles) for name, cycles in frequencies_by_name.items()}
    if not checked:
        raise DataError("there are no chosen periods to show", do="name a data set")
    for name, cycles in checked.items():
        if cycles.ndim != 2 or not cycles.size:
            raise DataError(f"{name}: there are no chosen periods to show",
                            found=f"shape {cycles.shape}", expected="(n_windows, k)")  # fmt: skip
        if cycles.min() < 1 or cycles.max() > n_times // 2:
            raise DataError(f"{name}: frequencies are in cycles per window",
                            found=f"{cycles.min()} to {cycles.max()}",
                            expected=f"1 to {n_times // 2}")  # fmt: skip
    return {name: cycles.astype(int) for name, cycles in checked.items()}


def period_histogram(
    frequencies_by_name: Mapping[str, np.ndarray], sfreq: float, n_times: int, title: str
) -> Drawn:
    """Draw which share of the windows of each data set chooses each frequency.

    Parameters
    ----------
    frequencies_by_name, sfreq, n_times
        As of `period_table`.
    title
        Of the figure.

    Raises
    ------
    DataError
        If there is no data set, or one has no windows.
    """
    checked = _checked(frequencies_by_name, n_times)
    told = period_table(checked, sfreq, n_times)
    step = sfreq / n_times
    last = max(cycles.max() for cycles in checked.values()) * step + step
    size = (WIDTH, 1.7 + 1.45 * len(checked))
    fig, axes = plt.subplots(len(checked), 1, figsize=size, sharex=True, squeeze=False)
    for ax, (name, cycles) in zip(axes[:, 0], checked.items(), strict=True):
        _ranks(ax, cycles, step)
        label = "4 to 8 Hz"
        ax.axvspan(THETA[0] - step / 2, THETA[1] + step / 2, color="0.9", lw=0, zorder=0,
                   label=label)  # fmt: skip
        ax.set_ylim(0, 1.3 * ax.get_ylim()[1])
        ax.text(0.995, 0.95, f"{name} ({len(cycles):,} windows)", fontsize=10.5, ha="right",
                va="top", transform=ax.transAxes)  # fmt: skip
        ax.set_xlim(0, last)
        ax.grid(False, axis="x")
    axes[-1, 0].set_xlabel("frequency (Hz)")
    fig.supylabel("share of windows (%)", fontsize=11)
    _period_axis(axes[0, 0], sfreq, last)
    handles = {label: handle for ax in axes[:, 0] for handle, label
               in zip(*ax.get_legend_handles_labels(), strict=True)}  # fmt: skip
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=9.5)
    fig.suptitle(title, fontsize=12)
    words = [
        f"{row['data set']}: {100 * row[_SHARE]:.0f} % of all choices lie between 4 and 8 Hz, a "
        f"window has {row[_DIFFERENT]:.1f} different periods on average, and in "
        f"{100 * row[_NARROW]:.0f} % of {row['windows']:,} windows they lie within a factor of two"
        for row in told.to_dict("records")
    ]
    return fig, f"{title}: share of windows that choose each frequency. {'; '.join(words)}."


def _ranks(ax: Axes, cycles: np.ndarray, step: float) -> None:
    """Stack the shares of windows whose strongest, second, ... choice a frequency is."""
    bins = np.arange(1, cycles.max() + 1)
    bottom = np.zeros(len(bins))
    for i, column in enumerate(cycles.T):
        share = 100 * (column[:, None] == bins).mean(0)
        label = _RANKS[i] if i < len(_RANKS) else f"rank {i + 1}"
        look = {"color": f"C{i}", "hatch": _HATCHES[i % len(_HATCHES)], "ec": "white", "lw": 0.4}
        ax.bar(bins * step, share, 0.86 * step, bottom, label=label, **look)
        bottom += share


def _period_axis(ax: Axes, sfreq: float, last: float) -> None:
    """Add an axis above with the period in samples, with marks that are apart from each other."""
    ticks: dict[str, float] = {}
    for hertz in (1, 2, 3, 4, 6, 8, 10, 13, 16, 20, 25, 30, 35, 40, 45, 50, 60, 80, 100):
        label, apart = f"{np.ceil(sfreq / hertz):.0f}", 0.045 * last
        if hertz <= last and hertz - max(ticks.values(), default=-last) >= apart:
            ticks.setdefault(label, hertz)
    above = ax.secondary_xaxis("top")
    above.set_xticks(list(ticks.values()), list(ticks), fontsize=9.5)
    above.set_xlabel("period (samples, rounded up)", fontsize=10.5)
