"""What more than one chapter can draw: people, personalisation, probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from affectbook import results
from affectbook.claims import DETERMINISTIC
from affectbook.errors import DataError, ParameterError
from affectbook.figures import MARKS, WIDTH, Drawn
from affectbook.results import Interval

METHODS = {
    "fine_tuned": "all weights",
    "head_only": "head only",
    "batch_norm": "batch norm only, no labels",
    "from_scratch": "from scratch",
}
CHOICES = {
    "prefix": "first windows of each trial",
    "random": "random windows of each trial",
}

STAGES = {"probe_after_cnn": "CNN", "probe_after_nlcca": "NLCCA", "probe_after_bissm": "BiSSM"}
HRV = {"heart_rate": "heart rate", "rmssd": "RMSSD", "sdnn": "SDNN"}
LOOKS = {"hcmnet": 0, "hrv_logistic": 2, "small_cnn": 3}
"""Number of mark and colour that an estimator keeps from figure to figure."""
LOWEST_R2 = -1.0
"""Below this a probe is worse than the mean by far, and how far says nothing more."""
_ONE_EXPERIMENT = ("paper", "scale", "dataset", "tier", "effect", "label_rule", "seconds")


def need(table: pd.DataFrame, title: str, sweep: str, paper: str = "hcmnet") -> None:
    """Refuse to draw a figure with nothing on it.

    Raises
    ------
    DataError
        If `table` is empty; it names the sweep that makes the rows.
    """
    if table.empty:
        command = f"make sweep PAPER={paper} SWEEP={sweep}"
        raise DataError(f"there are no scores to draw for {title!r}", do=command)


def require_one(rows: pd.DataFrame, what: str, *columns: str) -> None:
    """Refuse rows of several experiments: data, scale and labels are one, and these `columns`.

    Raises
    ------
    ParameterError
        If they differ; `what` says of what they are.
    """
    mixed = [name for name in (*_ONE_EXPERIMENT, *columns) if rows[name].nunique() > 1]
    if mixed:
        raise ParameterError(f"these rows of {what} differ in {mixed}: select one of each")


def bars(values: object, lows: object, highs: object) -> np.ndarray:
    """Return the lengths ``(2, n)`` of error bars below and above `values`; none for NaN."""
    ends = np.array([lows, highs], dtype=float).reshape(2, -1)
    return np.nan_to_num(np.abs(ends - np.ravel(np.asarray(values, dtype=float))))


def chance_line(ax: Axes, chance: float) -> None:
    """Draw chance (0 to 1) across an axis in per cent."""
    ax.axhline(100 * chance, ls="--", color="0.35", lw=1.3, label="chance", zorder=1)


def subject_strips(
    rows_by_name: Mapping[str, pd.DataFrame],
    placebo: pd.DataFrame,
    title: str,
    metric: str = "balanced_accuracy",
) -> Drawn:
    """Draw one mark per subject for each experiment, over what subjects score on coin flips.

    Parameters
    ----------
    rows_by_name
        Score rows of one experiment under each label.
    placebo
        Score rows on coins. Only seeds that all of them have are drawn, but for models without a
        seed: a mean over more seeds leaves the band for the reason alone that it varies less. The
        band is of subjects whose coins came down on both sides: with one side only, whoever gives
        one answer to all windows scores 0 or 1.
    title, metric
        Of the figure; and a key of `results.METRICS`.

    Raises
    ------
    DataError
        If an experiment or the placebo has no rows, they have no seed in common, or no subject's
        coins came down on both sides.
    """
    need(placebo, title, "recorded")
    seeds = set(placebo["seed"])
    for name, rows in rows_by_name.items():
        need(rows, f"{title}: {name}", "recorded")
        if not rows["estimator"].isin(DETERMINISTIC).all():
            seeds &= set(rows["seed"])
    placebo = placebo[placebo["seed"].isin(seeds)]
    need(placebo, f"{title}: no seed is in all of it", "recorded")
    coins = of_subjects(_with_all_classes(placebo), metric)
    low, high = np.percentile(coins, [2.5, 97.5])
    band = f"coin flips: 2.5 to 97.5 percentile of {len(coins)} subjects with both sides"
    scores = {}
    for name, rows in rows_by_name.items():
        free = rows["estimator"].isin(DETERMINISTIC)
        scores[name] = of_subjects(rows[free | rows["seed"].isin(seeds)], metric)
    fig, words = strips(scores, title, metric, (low, high), band)
    n_seeds = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
    return fig, (
        f"{title}: one mark per subject, mean of {n_seeds}, over the band of {low:.0f} to "
        f"{high:.0f} % in which 95 % of {len(coins)} subjects lie on coin flips. "
        f"{'; '.join(words)}."
    )


def strips(
    scores: Mapping[str, Sequence[float]],
    title: str,
    metric: str,
    band: tuple[float, float] | None = None,
    band_label: str = "",
    chance: float | None = None,
) -> tuple[Figure, list[str]]:
    """Draw one mark per subject in a line for each name, and the mean; all numbers in per cent.

    Returns
    -------
    tuple of matplotlib.figure.Figure and list of str
        The second says of each name its mean and how many subjects lie above the band.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 1.7 + 0.62 * len(scores)))
    if band is not None:
        ax.axvspan(*band, color="0.87", lw=0, label=band_label, zorder=0)
    if chance is not None:
        ax.axvline(chance, ls="--", color="0.35", lw=1.3, label="chance", zorder=1)
    scatter = np.random.default_rng(0)
    words = []
    for y, (name, own) in enumerate(scores.items()):
        own = np.asarray(own)
        heights = y + scatter.uniform(-0.24, 0.24, len(own))
        ax.plot(own, heights, MARKS[y % len(MARKS)], color=f"C{y}", alpha=0.75, ms=6)
        ax.plot([own.mean()], [y], "|", ms=30, mew=3, color="0.1")
        told = f"{' '.join(name.split())}: mean {own.mean():.0f} %"
        if band is not None:
            told += f", {(own > band[1]).sum()} of {len(own)} subjects above the band"
        words.append(told)
    ax.set_yticks(range(len(scores)), list(scores))
    ax.set(xlim=(-3, 103), ylim=(len(scores) - 0.5, -0.5), title=title)
    ax.set_xlabel(f"{metric.replace('_', ' ')} of each subject (%)")
    ax.grid(False, axis="y")
    ax.plot([], [], "|", ms=12, mew=3, color="0.1", label="mean")
    fig.legend(loc="outside lower center", ncols=2, fontsize=9)
    return fig, words


def _with_all_classes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of those subjects, seed by seed, of whom every class was tested."""
    kept = []
    for _, part in rows.groupby("seed"):
        subjects, tables = results.confusions(part)
        whole = np.array(subjects)[(tables.sum(2) > 0).all(1)]
        kept.append(part[part["subject"].isin(whole)])
    kept = pd.concat(kept)
    need(kept, "the placebo: no subject has coins of both sides", "recorded")
    return kept


def of_subjects(rows: pd.DataFrame, metric: str) -> pd.Series:
    """Return the score of each subject in per cent, the mean of its seeds."""
    own = results.select(rows, fold="all", metric=metric)
    return 100 * own[own["subject"] != "all"].groupby("subject")["value"].mean()


def personalisation_curves(
    curves: pd.DataFrame,
    title: str,
    choice: str = "prefix",
    chance: float = 0.5,
    metric: str = "balanced_accuracy",
) -> Drawn:
    """Draw the score on new subjects against labelled signal and training, beside coin flips.

    Parameters
    ----------
    curves
        As `personalise.curves` returns them.
    title
        Says network, data and tier.
    choice
        Which calibration windows: ``"prefix"`` or ``"random"``. Both in one figure would be ten
        curves with their intervals in a panel.
    chance
        Of the labels (0 to 1); that of the coins is a half.
    metric
        That of `curves`.

    Raises
    ------
    DataError
        If there are no curves of this choice.
    """
    own = results.select(curves, choice=choice)
    title = f"{title}: {CHOICES.get(choice, choice)}"
    need(own, title, "personalisation")
    own = own.assign(method=own["estimator"].str.extract(f"_({'|'.join(METHODS)}|unadapted)$")[0])
    fig, axes = plt.subplots(2, 2, figsize=(WIDTH, 6.6), sharey=True, sharex="row")
    words = []
    for (above, below), placebo in zip(axes.T, (False, True), strict=True):
        part = results.select(own, placebo=placebo)
        most = part.groupby("estimator")[["windows", "steps"]].transform("max")
        longest, fullest = part["steps"] == most["steps"], part["windows"] == most["windows"]
        _draw_curves(above, part[longest], "seconds_per_trial", own)
        _draw_curves(below, part[fullest], "steps", own)
        words.append(_read_curves(part[longest & fullest], placebo))
        for ax in (above, below):
            chance_line(ax, 0.5 if placebo else chance)
        above.set_title("placebo: coin flips per trial" if placebo else "labels of the data set")
    for ax, x in zip(axes.T.flat, ("labelled signal of each trial (s)", "gradient steps") * 2,
                     strict=True):  # fmt: skip
        ax.set_xlabel(x)
    for ax in axes[:, 0]:
        ax.set_ylabel(f"{metric.replace('_', ' ')} (%)")
    fig.suptitle(title, fontsize=12)
    handles = {label: handle for ax in axes.flat
               for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}  # fmt: skip
    fig.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize=9)
    end = f"{own['seconds_per_trial'].max():g} s of each trial and {own['steps'].max()} steps"
    return fig, f"{title}. Curves end at {end}. {' '.join(words)}"


def _draw_curves(ax: Axes, part: pd.DataFrame, x: str, everything: pd.DataFrame) -> None:
    """Draw the methods against `x`, with a line and a band for the network as it was."""
    ticks = sorted(everything.loc[everything["method"] != "unadapted", x].unique())
    for i, (method, label) in enumerate(METHODS.items()):
        own = results.select(part, method=method).sort_values(x)
        if own.empty:
            continue
        values, lows, highs = (100 * own[name].to_numpy() for name in ("value", "low", "high"))
        places = np.array([ticks.index(one) for one in own[x]]) + 0.1 * (i - 1.5)
        look = {"marker": MARKS[i], "color": f"C{i}", "ms": 6, "lw": 1.6, "elinewidth": 1}
        ax.errorbar(places, values, bars(values, lows, highs), label=label, zorder=3, **look)
    for before in results.select(part, method="unadapted").itertuples():
        ax.axhline(100 * before.value, color="0.15", lw=1.6, ls="-.", label="not adapted")
        ax.axhspan(100 * before.low, 100 * before.high, color="0.5", alpha=0.15, lw=0, zorder=0)
    ax.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
    ax.set_xlim(-0.5, len(ticks) - 0.5)
    if part.empty:
        ax.text(0.5, 0.6, "not recorded", ha="center", transform=ax.transAxes)


def _read_curves(part: pd.DataFrame, placebo: bool) -> str:
    """Return where the curves end, in words."""
    names = {"unadapted": "not adapted"} | METHODS
    told = [
        f"{names[line.method]} {Interval(line.value, line.low, line.high, line.n_subjects)}"
        for method in names
        for line in results.select(part, method=method).itertuples()
    ]
    return f"On {'coin flips' if placebo else 'the labels'}: {'; '.join(told) or 'not recorded'}."


def probe_figure(rows: pd.DataFrame, title: str) -> Drawn:
    """Draw what linear probes read after each stage, of the trained and the untrained network.

    Parameters
    ----------
    rows
        Score rows of `probes.probe`, any number of seeds; variants end in ``+untrained`` where the
        network was not trained.
    title
        Says network and data.

    Raises
    ------
    DataError
        If there are no probes among the rows.
    ParameterError
        If the rows are of several experiments.
    """
    own = rows[rows["estimator"].isin(STAGES)]
    need(own, title, "probes")
    require_one(own, "probes")
    labels = [name for name in own["target"].unique() if name not in (*HRV, "subject")]
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 5.4))
    words = [_draw_probe(left, own, i, target, "r2", name)
             for i, (target, name) in enumerate(HRV.items())]  # fmt: skip
    left.axhline(0, ls="--", color="0.35", lw=1.3, label="mean of the training windows")
    kinds = [("subject", "accuracy"), *((name, "balanced_accuracy") for name in labels)]
    for i, (target, metric) in enumerate(kinds, len(HRV)):
        words.append(_draw_probe(right, own, i, target, metric, _kind(target, metric)))
    for style, (name, chance) in zip(("--", ":", "-."), _chances(rows, labels), strict=False):
        right.axhline(chance, ls=style, color="0.35", lw=1.3, label=f"chance, {name}")
        words.append(f"chance, {name}: {chance:.2f}")
    left.set_ylim(max(left.get_ylim()[0], LOWEST_R2 - 0.05), 1.05)
    if (results.select(own, metric="r2", fold="all")["value"] < LOWEST_R2).any():
        left.text(-0.4, LOWEST_R2, f"marks at {LOWEST_R2:g}: there or below", fontsize=9)
    left.set(ylabel="R² (1: perfect, 0: the mean)", title="heart rate variability")
    right.set(
        ylabel="accuracy, balanced accuracy (0 to 1)", title="subject and label", ylim=(0, 1.03)
    )
    for ax in (left, right):
        ax.set_xticks(range(len(STAGES)), STAGES.values())
        ax.set(xlim=(-0.5, len(STAGES) - 0.5), xlabel="probe after")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=9)
    fig.suptitle(f"{title}\nfilled marks: trained; open marks: untrained", fontsize=11)
    told = "; ".join(filter(None, words))
    return fig, f"{title}: probes after each stage, with lowest and highest fold. {told}."


def _kind(target: str, metric: str) -> str:
    return f"{target}, {metric.replace('_', ' ')}"


def _draw_probe(ax: Axes, rows: pd.DataFrame, i: int, target: str, metric: str, name: str) -> str:
    """Draw one target after every stage, trained and untrained; return the scores in words."""
    own = results.select(rows, target=target, metric=metric, subject="all")
    told = []
    for untrained, part in own.groupby(own["variant"].str.endswith("+untrained")):
        whole = results.select(part, fold="all").groupby("estimator")["value"].mean()
        whole = whole.reindex([stage for stage in STAGES if stage in whole])
        folds = part[part["fold"] != "all"].groupby("estimator")["value"].agg(["min", "max"])
        ends = folds.reindex(whole.index).T.to_numpy()
        places = [list(STAGES).index(stage) for stage in whole.index]
        places = np.array(places) + 0.09 * (i % len(HRV) - 1) + (0.045 if untrained else 0)
        look = {"marker": MARKS[i], "color": f"C{i}", "ms": 7, "lw": 1.5, "elinewidth": 1}
        look |= {"ls": "--", "mfc": "white"} if untrained else {"ls": "-", "label": name}
        drawn, ends_drawn = whole.clip(LOWEST_R2), ends.clip(LOWEST_R2)
        ax.errorbar(places, drawn, bars(drawn, *ends_drawn), **look)
        scores = [
            f"{STAGES[stage]} {value:.2f} ({low:.2f} to {high:.2f})"
            for stage, value, low, high in zip(whole.index, whole, *ends, strict=True)
        ]
        told.append(f"{name}, {'un' * untrained}trained: {', '.join(scores)}")
    return "; ".join(told)


def _chances(rows: pd.DataFrame, labels: Sequence[str]) -> list[tuple[str, float]]:
    """Return what guessing scores: recorded for subjects, one over the classes of a label."""
    guessed = results.select(rows, estimator="chance", target="subject", fold="all", subject="all")
    found = [("subject", float(guessed["value"].mean()))] if len(guessed) else []
    for name in labels:
        own = results.select(rows[rows["estimator"].isin(STAGES)], target=name)
        found.append((name, 1 / results.confusions(own)[1].shape[-1]))
    return found
