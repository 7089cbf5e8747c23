"""A ruler of what a network can see, laid over a real signal."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from affectbook.errors import DataError
from affectbook.features import r_peaks
from affectbook.figures import WIDTH, Drawn


def receptive_field_ruler(
    x: np.ndarray,
    sfreq: float,
    fields: Mapping[str, int],
    title: str,
    unit: str = "arbitrary unit",
) -> Drawn:
    """Draw two heart beats, and below them how much of them each stage sees.

    Parameters
    ----------
    x
        One lead ``(n_times,)``.
    sfreq
        In Hz.
    fields
        Samples that each stage sees, as `probes.receptive_field` measures them.
    title, unit
        Whose ECG this is; and of `x`.

    Raises
    ------
    DataError
        If there are fewer than three R-peaks.
    """
    peaks = r_peaks(x, sfreq)
    if len(peaks) < 3:
        raise DataError("two heart beats need three R-peaks", found=f"{len(peaks)} R-peaks",
                        do="take another window")  # fmt: skip
    first = (len(peaks) - 3) // 2  # the middle ones: at the edges of a window peaks are missed
    start, second, third = peaks[first : first + 3]
    rr_ms = 1000 * (second - start) / sfreq
    times = 1000 * (np.arange(len(x)) - start) / sfreq
    right = 1000 * (third - start) / sfreq + 0.2 * rr_ms
    shown = (times >= -0.2 * rr_ms) & (times <= right)
    fig, (above, below) = plt.subplots(
        2, 1, figsize=(WIDTH, 3.4 + 0.45 * len(fields)), sharex=True,
        height_ratios=(3, 1 + len(fields)),
    )  # fmt: skip
    above.plot(times[shown], x[shown], color="C0", lw=1.5)
    marks = np.array([start, second, third])
    above.plot(times[marks], x[marks], "v", color="C3", ms=8, label="R-peak")
    above.set(ylabel=f"ECG ({unit})", title=title)
    above.margins(y=0.3)
    above.legend(loc="upper center", bbox_to_anchor=(0.71, 1.0))  # between two beats
    lengths = {"RR interval": (rr_ms, "")}
    lengths |= {name: (1000 * n / sfreq, f"{n} samples, ") for name, n in fields.items()}
    for y, (ms, samples) in enumerate(lengths.values()):
        _ruler(below, y, ms, right, f"{samples}{ms:.0f} ms")
    for ax in (above, below):
        ax.axvline(0, color="0.5", lw=1, ls=":")
        ax.axvline(rr_ms, color="0.5", lw=1, ls=":")
    below.set_yticks(range(len(lengths)), list(lengths))
    below.set(ylim=(len(lengths) - 0.4, -0.6), xlim=(-0.2 * rr_ms, right))
    below.set(xlabel="time after the first R-peak (ms)")
    below.grid(False, axis="y")
    told = "; ".join(
        f"{name} {n} samples or {1000 * n / sfreq:.0f} ms, {1000 * n / sfreq / rr_ms:.2f} of it"
        for name, n in fields.items()
    )
    return fig, (
        f"{title}: two heart beats at {sfreq:g} Hz. The RR interval is {rr_ms:.0f} ms. What each "
        f"stage sees: {told}."
    )


def _ruler(ax: Axes, y: int, ms: float, right: float, text: str) -> None:
    """Draw one length with its text, the RR interval in grey; it may go on beyond the `right`."""
    look = {"color": "0.55" if y == 0 else f"C{y}", "hatch": ("", "//", "..")[min(y, 2)]}
    ax.barh(y, min(ms, right), 0.62, edgecolor="white", **look)
    box = {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.9}
    place = ms if ms < 0.6 * right else 0
    text = f"{text}, goes on →" if ms > right else text
    ax.text(place + 0.015 * right, y, text, va="center", fontsize=10, bbox=box)
