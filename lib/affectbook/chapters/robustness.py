"""What stays of a signal, and of a score: noise on windows, and R-peaks after preparation.

Score rows are those of `affectbook.noise_scores`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from affectbook import noise, results, rpeaks
from affectbook.chapters.shared import bars, chance_line, need, require_one
from affectbook.chapters.split_scores import classes_of, short_name
from affectbook.datasets.recording import Recording
from affectbook.errors import DataError
from affectbook.figures import MARKS, WIDTH, Drawn, mark_leaks, name_of

__all__ = ["KINDS", "against_noise", "arms_in", "noise_table", "noisy_window", "peaks_kept"]
KINDS = {
    "wander": "baseline wander",
    "muscle": "muscles",
    "motion": "moving electrodes",
}
"""How figures call the kinds of noise."""
Arms = Mapping[str, tuple[str, str]]
SWEEP = "noise"
_CLEAN = np.inf
_GAP_DB = 10.0  # from the weakest noise to the place of clean windows
_COLUMNS = ["value", "low", "high", "n_subjects"]


def arms_in(rows: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Return estimator and variant of whatever was scored in noise, under a name to show."""
    read = rows["variant"].astype(str).str.extract(noise.NAMED)
    noisy = read["kind"].notna()
    found = dict.fromkeys(zip(rows["estimator"][noisy], read["base"][noisy].fillna(""),
                              strict=True))  # fmt: skip
    return {", ".join(filter(None, (name_of(name), base))): (name, base) for name, base in found}


def noise_table(
    rows: pd.DataFrame, arms: Arms | None = None, *, filtered: bool = False,
    metric: str = "balanced_accuracy",
) -> pd.DataFrame:  # fmt: skip
    """Return the score of each arm on clean windows and in each noise, and what is lost.

    Parameters
    ----------
    rows
        Score rows of one experiment, any number of seeds.
    arms
        Estimator and variant without noise of each arm, under a name to show; all that were scored
        in noise unless given.
    filtered
        Whether the noise went through the high-pass, or came after it.
    metric
        A key of `results.METRICS`.

    Returns
    -------
    pandas.DataFrame
        arm, kind, snr_db (infinite: clean, once for each kind), value, low and high (0 to 1),
        n_subjects, and noisy minus clean, paired over subjects: lost, lost_low, lost_high.

    Raises
    ------
    DataError
        If an arm has no scores in such noise, or none on clean windows.
    ParameterError
        If the rows are of several experiments.
    """
    lines = []
    for arm, (clean, noisy) in _of_arms(rows, arms, filtered).items():
        first = _line(arm, "", _CLEAN, clean, clean, metric)
        for kind in (one for one in KINDS if one in set(noisy["kind"])):
            lines.append(first | {"kind": kind})
            parts = results.select(noisy, kind=kind).groupby("snr_db")
            for snr_db, part in sorted(parts, key=lambda pair: -pair[0]):
                lines.append(_line(arm, kind, snr_db, part, clean, metric))
    return pd.DataFrame(lines)


def _of_arms(
    rows: pd.DataFrame, arms: Arms | None, filtered: bool
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Return for each arm its rows on clean windows, and those in noise with kind and ratio."""
    title = _where(filtered)
    rows = results.select(rows, placebo=False).reset_index(drop=True)
    read = rows["variant"].astype(str).str.extract(noise.NAMED)
    rows = rows.assign(kind=read["kind"], snr_db=read["snr_db"].astype(float),
                       base=read["base"].fillna(""), filtered=read["filtered"].notna())  # fmt: skip
    arms, found = arms_in(rows) if arms is None else arms, {}
    need(rows[rows["kind"].notna()], title, SWEEP, "nmoe")
    for arm, (estimator, variant) in arms.items():
        own = results.select(rows, estimator=estimator)
        clean = own[own["kind"].isna() & (own["variant"] == variant)]
        noisy = own[own["kind"].notna() & (own["base"] == variant) & (own["filtered"] == filtered)]
        need(clean, f"{arm}, clean", SWEEP, "nmoe")
        need(noisy, f"{arm}, {title}", SWEEP, "nmoe")
        found[arm] = clean, noisy
    everything = pd.concat([part for pair in found.values() for part in pair])
    require_one(everything, "noise", "protocol", "target")
    return found


def _line(
    arm: str, kind: str, snr_db: float, part: pd.DataFrame, clean: pd.DataFrame, metric: str
) -> dict[str, object]:
    told = dict(zip(_COLUMNS, results.interval(part, metric), strict=True))
    lost = results.difference(part, clean, metric)
    return {"arm": arm, "kind": kind, "snr_db": snr_db} | told | {
        "lost": lost.value, "lost_low": lost.low, "lost_high": lost.high,
    }  # fmt: skip


def against_noise(
    rows: pd.DataFrame, title: str, arms: Arms | None = None, *, filtered: bool = False,
    metric: str = "balanced_accuracy",
) -> Drawn:  # fmt: skip
    """Draw the score against the signal-to-noise ratio, one panel for each kind of noise.

    Parameters
    ----------
    rows, arms, filtered, metric
        As `noise_table` takes them.
    title
        Says what is drawn, on which data and of which tier.

    Raises
    ------
    DataError, ParameterError
        Those of `noise_table`.
    """
    table = noise_table(rows, arms, filtered=filtered, metric=metric)
    drawn = list(dict.fromkeys(table["arm"]))
    kinds = [kind for kind in KINDS if kind in set(table["kind"])]
    clean, _ = next(iter(_of_arms(rows, arms, filtered).values()))
    chance, protocol = 1 / classes_of(clean), str(clean["protocol"].iloc[0])
    fig, axes = plt.subplots(1, len(kinds), figsize=(WIDTH, 4.3), sharey=True, squeeze=False)
    words = []
    for ax, kind in zip(axes[0], kinds, strict=True):
        part = results.select(table, kind=kind)
        told = [_draw_arm(ax, i, results.select(part, arm=arm)) for i, arm in enumerate(drawn)]
        words.append(f"{KINDS[kind].capitalize()}: {'; '.join(filter(None, told))}.")
        chance_line(ax, chance)
        _name_ratios(ax, part["snr_db"])
        ax.set_title(KINDS[kind], fontsize=11)
    name = metric.replace("_", " ")
    axes[0, 0].set_ylabel(f"{name} (%)")
    axes[0, len(kinds) // 2].set_xlabel("signal-to-noise ratio (dB)")
    where = f"{_where(filtered)}, {short_name(protocol)}"
    mark_leaks([fig.suptitle(f"{title}\n{where}", fontsize=11)], [protocol])
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center",
               ncols=min(3, len(drawn) + 1), fontsize=9)  # fmt: skip
    return fig, (
        f"{title}: {where}. {name[0].upper()}{name[1:]} with 95 % intervals over subjects against "
        f"the signal-to-noise ratio; chance {100 * chance:.0f} %. {' '.join(words)}"
    )


def _where(filtered: bool) -> str:
    return f"noise {'before' if filtered else 'added after'} the high-pass"


def _draw_arm(ax: Axes, i: int, own: pd.DataFrame) -> str:
    """Draw one arm in one panel; return its scores in words."""
    if own.empty:
        return ""
    value, low, high = (100 * own[name].to_numpy() for name in ("value", "low", "high"))
    x = _places(own["snr_db"]) + 0.5 * (i - 1)
    look = {"marker": MARKS[i % len(MARKS)], "color": f"C{i}", "ms": 5.5, "elinewidth": 1.1,
            "capsize": 2, "ls": ("-", "--", "-.", ":")[i % 4], "lw": 1.5, "zorder": 3}  # fmt: skip
    ax.errorbar(x, value, bars(value, low, high), label=own["arm"].iloc[0], **look)
    told = ", ".join(f"{_ratio(line.snr_db)} {100 * line.value:.1f} %" for line in own.itertuples())
    last = own.iloc[-1]
    gap = f"{100 * last['lost']:+.1f}"
    if not np.isnan(last["lost_low"]):
        gap += f" [{100 * last['lost_low']:+.1f}, {100 * last['lost_high']:+.1f}]"
    gap = gap.replace("-", "−")
    return f"{last['arm']}: {told} (from clean to {_ratio(last['snr_db'])} {gap} points)"


def _places(snr_db: pd.Series) -> np.ndarray:
    """Return where ratios are drawn: clean windows beyond the weakest noise."""
    ratios = snr_db.to_numpy(dtype=float)
    finite = ratios[np.isfinite(ratios)]
    return np.where(np.isfinite(ratios), ratios, finite.max() + _GAP_DB)


def _name_ratios(ax: Axes, snr_db: pd.Series) -> None:
    ratios = snr_db.drop_duplicates()
    places = _places(ratios)
    ax.set_xticks(places, [f"{one:g}" if np.isfinite(one) else "clean" for one in ratios],
                  fontsize=9)  # fmt: skip
    ax.set_xlim(places.max() + 3, places.min() - 2)


def _ratio(snr_db: float) -> str:
    return f"{snr_db:g} dB" if np.isfinite(snr_db) else "clean"


def noisy_window(
    window: np.ndarray, sfreq: float, unit: str, *, snr_db: float = 10.0, seed: int = 0,
    highpass: float | None = None,
) -> Drawn:  # fmt: skip
    """Draw one window as it is and with each kind of noise.

    Parameters
    ----------
    window
        ``(1, t)``: one lead.
    sfreq
        In Hz.
    unit
        Of the signal: ``"mV"``, or ``"standard deviations"``.
    snr_db, seed, highpass
        As `noise.added` takes them.

    Raises
    ------
    DataError
        If there is no window of one lead, or it holds values that are not finite.
    ParameterError
        If there is no such noise at this rate.
    """
    window = np.asarray(window, dtype=np.float64)
    if window.ndim != 2:
        raise DataError("there is no window of one lead", found=f"shape {window.shape}",
                        expected="(1, n_times)")  # fmt: skip
    made = {kind: noise.added(window[None], kind, snr_db, sfreq, seed=seed, highpass=highpass)[0, 0]
            for kind in KINDS}  # fmt: skip
    clean, time = window[0], np.arange(window.shape[1]) / sfreq
    fig, axes = plt.subplots(1 + len(made), 1, figsize=(WIDTH, 6.6), sharex=True, sharey=True)
    axes[0].plot(time, clean, color="0.2", lw=0.9)
    axes[0].set_title("clean", fontsize=10, loc="left", pad=3)
    told = []
    for i, (ax, (kind, x)) in enumerate(zip(axes[1:], made.items(), strict=True)):
        ax.plot(time, clean, color="0.65", lw=1.6, label="clean")
        ax.plot(time, x, color=f"C{i}", lw=0.9)
        left = (x - clean).std() / (clean.std() or 1.0)
        ax.set_title(f"{KINDS[kind]}: noise of {left:.2g} times the window's deviation",
                     fontsize=10, loc="left", pad=3)  # fmt: skip
        told.append(f"{KINDS[kind]} {left:.2g}, correlation with the clean window "
                    f"{np.corrcoef(x, clean)[0, 1] if clean.std() else 0:.2f}")  # fmt: skip
    axes[-1].set(xlabel="time (s)", xlim=(0, len(clean) / sfreq))
    fig.supylabel(f"ECG ({unit})", fontsize=10.5)
    after = f", through a high-pass of {highpass:g} Hz" if highpass else ""
    title = f"One window and three kinds of noise at {snr_db:g} dB{after}"
    fig.suptitle(title, fontsize=12)
    return fig, (
        f"{title}: {len(clean) / sfreq:g} s at {sfreq:g} Hz, the clean window in grey behind the "
        f"others. Noise as a multiple of the window's deviation: {'; '.join(told)}."
    )


def peaks_kept(
    recording: Recording, found: Sequence[rpeaks.Survival], title: str, *, start_s: float = 0.0,
    seconds: float = 8.0,
) -> Drawn:  # fmt: skip
    """Draw a piece of a recording before and after preparation, and how far its peaks moved.

    Parameters
    ----------
    recording
        One of those that were compared.
    found
        Of `rpeaks.survival`, with its defaults.
    title
        Says data set and tier.
    start_s, seconds
        Which piece.

    Raises
    ------
    DataError
        If the recording is not among those that were compared, or no peak was.
    """
    own = [one for one in found
           if (one.subject, one.trial) == (recording.subject, recording.trial)]  # fmt: skip
    if not own:
        raise DataError("this recording was not compared", found=f"subject {recording.subject}, "
                        f"trial {recording.trial}", expected="one of those in `found`")  # fmt: skip
    fig, axes = plt.subplots(3, 1, figsize=(WIDTH, 6.4), height_ratios=[1, 1, 1.1])
    axes[1].sharex(axes[0])
    sides = (
        (recording.signal[0], recording.sfreq, own[0].before, "v", "C3",
         f"as read: {recording.sfreq:g} Hz", f"ECG ({recording.unit})"),
        (rpeaks.prepared(recording), rpeaks.SFREQ, own[0].after, "^", "C2",
         f"prepared: high-pass {rpeaks.BAND[0]:g} Hz, {rpeaks.SFREQ:g} Hz, z-score",
         "ECG (deviations)"),
    )  # fmt: skip
    for ax, (x, sfreq, times, mark, colour, name, label) in zip(axes[:2], sides, strict=True):
        piece = slice(round(start_s * sfreq), round((start_s + seconds) * sfreq))
        ax.plot(np.arange(len(x))[piece] / sfreq, x[piece], lw=0.9, color="C0")
        inside = times[(times >= start_s) & (times < start_s + seconds)]
        at = np.clip(np.round(inside * sfreq).astype(int), 0, len(x) - 1)
        ax.plot(inside, x[at], mark, color=colour, ms=6, label=f"{len(inside)} R-peaks")
        ax.set_ylabel(label)
        ax.set_title(name, fontsize=10, loc="left", pad=3)
        ax.margins(y=0.2)
        ax.legend(loc="upper right", fontsize=9)
    axes[0].tick_params(labelbottom=False)
    axes[1].set(xlabel="time (s)", xlim=(start_s, start_s + seconds))
    words = _draw_moves(axes[2], found)
    fig.align_ylabels()
    fig.suptitle(title, fontsize=12)
    return fig, (
        f"{title}: {seconds:g} s of subject {recording.subject}, trial {recording.trial}, as read "
        f"and prepared, with R-peaks; in all of this recording {len(own[0].before)} before and "
        f"{len(own[0].after)} after. {words}"
    )


def _draw_moves(ax: Axes, found: Sequence[rpeaks.Survival]) -> str:
    """Draw a histogram of how far peaks moved; return it in words."""
    moved = np.concatenate([one.differences_ms for one in found])
    if not len(moved):
        raise DataError("there is no R-peak to draw", expected="recordings of ECG")
    tolerance, extra = found[0].tolerance_ms, sum(one.n_extra for one in found)
    kept = moved[np.abs(moved) <= tolerance]
    edge = min(tolerance, max(2.0, np.ceil(np.abs(kept).max()))) if len(kept) else tolerance
    width = 1000 / rpeaks.SFREQ / 4
    bins = np.arange(-edge - width / 2, edge + width, width)
    ax.hist(kept, bins, weights=np.full(len(kept), 100 / len(moved)), color="C0", alpha=0.8)
    ax.axvline(0, color="0.35", ls="--", lw=1.2)
    ax.set(xlabel="peak after minus peak before (ms)", ylabel="peaks (%)")
    n_peaks = f"{len(moved)} R-peak{'s' if len(moved) != 1 else ''} of {len(found)} recording"
    told = f"{n_peaks}{'s' if len(found) != 1 else ''}: {100 * len(kept) / len(moved):.2f} %"
    rest = f"{len(moved) - len(kept)} not found again, {extra} new"
    ax.set_title(f"{told} within {tolerance:g} ms; {rest}", fontsize=10, loc="left", pad=3)
    spread = ""
    if len(kept):
        spread = (f" Those within move by {np.median(np.abs(kept)):.1f} ms in the median and by "
                  f"{np.abs(kept).max():.1f} ms at most.")  # fmt: skip
    return f"Below, {told} are found again within {tolerance:g} ms; {rest}.{spread}"
