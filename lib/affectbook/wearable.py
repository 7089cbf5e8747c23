"""Would it run on a wearable? What ``bench/wearable.py`` measured.

Nothing here needs torch, and nothing is timed: the rows were measured before. A time is CPU time of
one thread for one window, with malloc as it is by default unless `malloc` says "reuse": then freed
memory is kept, as on a device without other programs. `path` is everywhere the file of those rows;
None is the one that the book keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from affectbook import figures
from affectbook.errors import DataError, DataFileError, DataNotFoundError
from affectbook.files import project_root

COLUMNS = (
    "estimator", "variant", "window_s", "samples", "parameters", "macs", "repetitions", "p50_ms",
    "p95_ms", "peak_mb", "malloc", "cpu_ms", "date", "cpu",
)  # fmt: skip
EXPONENTS = "network quantity malloc windows from_s to_s exponent low high".split()
SCORES = ("estimator", "variant", "value", "low", "high")
WINDOW_S = 10.0
N_BOOT = 4000
DEFAULT, REUSE = "default", "reuse"
ALL, LONGEST = "all", "three longest"
MALLOC = {"": "", DEFAULT: ", default malloc", REUSE: ", malloc keeps memory"}


def measured(path: Path | None = None) -> pd.DataFrame:
    """Return the measured rows, one per network, length of window and malloc.

    Returns
    -------
    pandas.DataFrame
        The columns of the file, and first of all `network`, a name to show. `window_s` is in
        seconds; `p50_ms`, `p95_ms` in ms; `peak_mb` in MB. `cpu_ms`, in ms, is the array of all
        `repetitions`. `macs` is NaN where there are no products to count, `peak_mb` where it was
        not measured again.

    Raises
    ------
    DataNotFoundError
        If there is no such file.
    DataFileError
        If a column is missing, a number is none, a time is not positive, repetitions are lost, or
        a network has the same window twice.
    """
    path = path or project_root() / "results" / "bench" / "wearable.csv"
    again = "make bench BENCH=wearable"
    if not path.is_file():
        raise DataNotFoundError("nothing was measured yet", file=path.name, do=again)
    rows = pd.read_csv(path, dtype={"variant": str, "cpu_ms": str}, keep_default_na=False,
                       na_values={"macs": [""], "peak_mb": [""]})  # fmt: skip
    missing = [column for column in COLUMNS if column not in rows]
    if missing:
        raise DataFileError(
            "these are not measurements of wearables", file=path.name, field="columns",
            found=list(rows.columns), expected=f"also {', '.join(missing)}", do=again,
        )  # fmt: skip
    for field, found, expected in _faults(rows):
        raise DataFileError(
            "a measurement is wrong", file=path.name, field=field, found=found, expected=expected,
            do=again,
        )  # fmt: skip
    rows["cpu_ms"] = [np.array(text.split(), float) for text in rows["cpu_ms"]]
    names = [name_of(*key) for key in zip(rows["estimator"], rows["variant"], strict=True)]
    rows.insert(0, "network", names)
    return rows


def _faults(rows: pd.DataFrame) -> Iterator[tuple[str, object, str]]:
    """Yield what is wrong in a file with the right columns: field, what was found, expected."""
    for column in COLUMNS[2:10]:
        numbers = pd.to_numeric(rows[column], errors="coerce")
        good = numbers > 0
        if column in ("macs", "peak_mb"):
            good |= rows[column].isna() | (numbers == 0)
        bad = rows[column][~good]
        if len(bad):
            yield column, bad.iloc[0], "a number above zero"
    for text, count in zip(rows["cpu_ms"], rows["repetitions"], strict=True):
        times = pd.to_numeric(pd.Series(text.split(), dtype=str), errors="coerce")
        if len(times) != count or not (times > 0).all():
            yield "cpu_ms", text[:60], f"{count} times above zero"
    twice = rows[rows.duplicated(["estimator", "variant", "window_s", "malloc"])]
    if len(twice):
        one = twice.iloc[0]
        yield "window_s", f"{one['estimator']} {one['variant']} twice", "each window once"


def name_of(estimator: str, variant: str) -> str:
    """Return how tables and figures call a network."""
    name = figures.name_of(estimator)
    return f"{name}, {variant}" if variant else name


def table(path: Path | None = None) -> pd.DataFrame:
    """Return what one window of 10 s costs, one row per network.

    Returns
    -------
    pandas.DataFrame
        Parameters, million MACs, memory of a prediction at its peak, median and 95th percentile of
        time, and the median as a share of the 10 s.
    """
    rows = of_10_s(measured(path))
    return pd.DataFrame(
        {
            "network": rows["network"],
            "parameters": rows["parameters"],
            "million MACs": (rows["macs"] / 1e6).round(1),
            "peak memory (MB)": rows["peak_mb"],
            "p50 (ms)": rows["p50_ms"],
            "p95 (ms)": rows["p95_ms"],
            "share of real time (%)": (rows["p50_ms"] / WINDOW_S / 10).round(3),
        }
    ).reset_index(drop=True)


def of_10_s(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a window of 10 s, with the default malloc."""
    return rows[(rows["window_s"] == WINDOW_S) & (rows["malloc"] == DEFAULT)]


def exponents(path: Path | None = None) -> pd.DataFrame:
    """Return how cost grows with the length of the window: 1 is in proportion, 0 not at all.

    The exponent is the slope of a line through log cost against log length, fitted by least
    squares. For the median of time, the interval is a bootstrap over the repetitions of each
    window: it says how sure the timing is. For MACs, which are counted without error, it is the
    t interval of the slope: it says how far the counts are from one power of the length.

    Returns
    -------
    pandas.DataFrame
        network; quantity, "MACs" or "time"; malloc, empty for MACs; windows, "all" or "three
        longest"; from_s and to_s, their shortest and longest in seconds; exponent, and low and high
        of its 95 % interval.
    """
    found = []
    for (network, malloc), part in measured(path).groupby(["network", "malloc"], sort=False):
        ordered = part.sort_values("window_s")
        for windows, own in ((ALL, ordered), (LONGEST, ordered.tail(3))):
            lengths = own["window_s"].to_numpy(float)
            span = (windows, lengths.min(), lengths.max())
            fit = _time_exponent(lengths, list(own["cpu_ms"]))
            found.append((network, "time", malloc, *span, *fit))
            if malloc == DEFAULT and own["macs"].notna().all():
                fit = _count_exponent(lengths, own["macs"].to_numpy(float))
                found.append((network, "MACs", "", *span, *fit))
    return pd.DataFrame(found, columns=EXPONENTS)


def _slopes(lengths: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Return the slope of log cost ``(..., windows)`` against log length ``(windows,)``."""
    x = np.log(lengths) - np.log(lengths).mean()
    return np.log(costs) @ x / (x @ x)


def _time_exponent(lengths: np.ndarray, times: list[np.ndarray]) -> tuple[float, float, float]:
    rng = np.random.default_rng(0)
    draws = [np.median(rng.choice(own, (N_BOOT, own.size)), axis=1) for own in times]
    low, high = np.percentile(_slopes(lengths, np.stack(draws, axis=1)), [2.5, 97.5])
    medians = np.array([np.median(own) for own in times])
    return float(_slopes(lengths, medians)), float(low), float(high)


def _count_exponent(lengths: np.ndarray, macs: np.ndarray) -> tuple[float, float, float]:
    fit = stats.linregress(np.log(lengths), np.log(macs))
    half = stats.t.ppf(0.975, len(lengths) - 2) * fit.stderr
    return float(fit.slope), float(fit.slope - half), float(fit.slope + half)


def figure(scores: pd.DataFrame | None = None, path: Path | None = None) -> figures.Drawn:
    """Draw time against the length of the window, and honest scores against time.

    Parameters
    ----------
    scores
        Balanced accuracy of one data set under an honest protocol, with its interval: columns
        estimator, variant, value, low, high; 0 to 1. Rows of what was not timed are left out.
        Without any, the second panel says so.

    Raises
    ------
    DataError
        If a column of `scores` is missing.
    """
    figures.theme()
    rows, growth = measured(path), exponents(path)
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 5.0))
    looks = {
        network: {"color": f"C{i}", "marker": figures.MARKS[i], "ms": 6}
        for i, network in enumerate(rows["network"].unique())
    }
    words = _draw_growth(axes[0], rows, growth, looks)
    more = _draw_scores(axes[1], rows, scores, looks)
    handles, labels = axes[0].get_legend_handles_labels()
    title = "exponent over the three longest windows (dashed: where malloc keeps memory)"
    where = {"loc": "outside lower center", "ncols": 2, "fontsize": 8}
    fig.legend(handles, labels, title=title, title_fontsize=8, **where)
    return fig, f"{words} {more}"


def _draw_growth(
    ax: Axes, rows: pd.DataFrame, growth: pd.DataFrame, looks: Mapping[str, Mapping[str, object]]
) -> str:
    """Draw the median of time against the length of the window; return its words."""
    growth = growth[(growth["quantity"] == "time") & (growth["windows"] == LONGEST)]
    slopes = growth.set_index(["network", "malloc"])["exponent"]
    words = []
    for (network, malloc), own in rows.sort_values("window_s").groupby(
        ["network", "malloc"], sort=False
    ):
        look = {"ls": "--", "lw": 1.2, "alpha": 0.7}
        if malloc == DEFAULT:
            label = f"{network}: {slopes[network, malloc]:.2f}"
            if (network, REUSE) in slopes:
                label += f" ({slopes[network, REUSE]:.2f})"
            look = {"lw": 1.6, "label": label}
            words.append(f"{label}, {of_10_s(own)['p50_ms'].iloc[0]:.3g} ms")
        ax.plot(own["window_s"], own["p50_ms"], **looks[network], **look)
    seconds = np.sort(rows["window_s"].unique())
    ax.plot(seconds, 1000 * seconds, ":", color="0.2", lw=1.8, label="real time")
    ax.set(xscale="log", yscale="log", xlabel="length of the window (s)")
    ax.set(ylabel="CPU time of one window (ms)", title="Cost and length")
    ax.set_xticks(seconds, [f"{one:g}" for one in seconds])
    ax.minorticks_off()
    ratio = (1000 * rows["window_s"] / rows["p50_ms"]).min()
    text = "Left: time of one window on one thread against its length, both logarithmic. Exponents "
    text += "over the three longest windows (in brackets: where malloc keeps memory), and time of "
    text += f"{WINDOW_S:g} s: {'; '.join(words)}. "
    return text + f"Real time is at least {ratio:.0f} times as long."


def _draw_scores(
    ax: Axes,
    rows: pd.DataFrame,
    scores: pd.DataFrame | None,
    looks: Mapping[str, Mapping[str, object]],
) -> str:
    """Draw scores with their intervals against the time of a window of 10 s; return its words."""
    ax.set(xscale="log", xlabel=f"CPU time of a window of {WINDOW_S:g} s (ms)")
    ax.set(ylabel="balanced accuracy", title="Accuracy and cost")
    both = of_10_s(rows)
    if scores is not None:
        missing = [column for column in SCORES if column not in scores]
        if missing:
            raise DataError("the scores cannot be drawn", field="columns", expected=missing)
        known = scores.assign(variant=scores["variant"].fillna(""))[list(SCORES)]
        both = both.merge(known, on=["estimator", "variant"])
    if scores is None or both.empty:
        ax.text(0.5, 0.5, "no scores yet", transform=ax.transAxes, ha="center", color="0.35")
        return "Right: no scores yet."
    words = []
    for row in both.itertuples(index=False):
        bars = np.nan_to_num([[row.value - row.low], [row.high - row.value]])
        look = {**looks[row.network], "ms": 7, "capsize": 2, "lw": 1.2}
        ax.errorbar(row.p50_ms, row.value, bars, **look)
        span = "" if np.isnan(row.low) else f" [{100 * row.low:.0f}, {100 * row.high:.0f}]"
        words.append(f"{row.network} {100 * row.value:.0f} %{span} in {row.p50_ms:.3g} ms")
    return f"Right: balanced accuracy against the time of {WINDOW_S:g} s: {'; '.join(words)}."
