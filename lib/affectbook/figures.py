"""What two chapters draw. Every function returns the figure and its words: the alt text."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython import get_ipython
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from matplotlib.text import Text

from affectbook import again, protocols, results
from affectbook.errors import DataError
from affectbook.features import r_peaks

Drawn = tuple[Figure, str]
WIDTH = 7.2
MARKS = ("o", "s", "D", "^", "v", "P", "X", "*")
_NAMES = {
    "hcmnet": "HCMNet",
    "small_cnn": "small CNN",
    "hrv_logistic": "HRV + logistic regression",
    "fingerprint": "fingerprint",
    "majority": "majority class",
    "ms_imamba": "MS-iMamba",
    "de_svm": "band powers + linear SVM",
    "eegnet": "EEGNet",
    "token_mlp": "MLP on the same electrodes",
    "dlinear": "DLinear",
    "itransformer": "iTransformer",
    "timesnet": "TimesNet",
    "tcn": "TCN",
    "ssl_ecg": "self-supervised ECG",
    "ssl_ecg:published": "transformations, frozen",
    "ssl_ecg:published+fine_tuned": "transformations, fine-tuned",
    "ssl_ecg:published+contrastive": "contrastive, fine-tuned",
    "ssl_ecg:published+contrastive+frozen": "contrastive, frozen",
    "ssl_ecg:published+one_set": "one data set, frozen",
    "ssl_ecg:published+random_encoder": "random encoder, frozen",
    "ssl_ecg:published+from_scratch": "from scratch, with labels",
    "nmoe": "NMoE",
    "nmoe:published": "gate, mini-ECG-FM",
    "nmoe:published+gate_last": "last layer, mini-ECG-FM",
    "nmoe:published+random_full": "gate, random weights, full size",
    "nmoe:published+random_mini": "gate, random weights, mini",
    "nmoe:published+mini_without_cmsc": "gate, mini without CMSC",
    "group_kfold_subject": "new subjects\n(group_kfold_subject)",
    "leave_one_subject_out": "a new subject\n(leave_one_subject_out)",
    "group_kfold_subject_transductive": "new subjects, transductive\n"
    "(their signals in pretraining)",
    "group_kfold_subject_and_stimulus": "new subjects, new stimuli\n"
    "(group_kfold_subject_and_stimulus)",
    "group_kfold_stimulus": "new stimuli\n(group_kfold_stimulus)",
    "leave_one_session_out": "a new session\n(leave_one_session_out)",
    "group_kfold_trial": "new trials\n(group_kfold_trial)",
    "leave_one_segment_out": "a new segment\n(leave_one_segment_out)",
    "leave_one_trial_out": "a new trial\n(leave_one_trial_out)",
    "blocked_within_trial": "later in the trial\n(blocked_within_trial)",
    "shuffled_windows_as_published": "shuffled windows\n(as published)",
    "within_trial_as_published": "within trials\n(as published)",
}


def name_of(key: str) -> str:
    """Return how a figure calls an estimator or a protocol."""
    return _NAMES.get(key, key)


def mark_leaks(labels: Sequence[Text], names: Sequence[str]) -> None:
    """Set the labels of protocols that leak in red."""
    for label, name in zip(labels, names, strict=True):
        if protocols.leaky(name):
            label.set_color("#b3261e")


def theme() -> None:
    """Set the one look of all figures: colour-blind safe, readable on a phone."""
    sns.set_theme("notebook", "whitegrid", "colorblind", font_scale=0.95)
    plt.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.6),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.alpha": 0.5,
        }
    )


def show(fig: Figure, alt: str) -> None:
    """Display a figure with its alt text, for the notebook and for the page.

    In a notebook, a line below it leads to what made it: the box of `again.box`.

    Parameters
    ----------
    fig
        Closed afterwards.
    alt
        What a reader who cannot see the figure has to know: what is drawn, and what it shows.

    Raises
    ------
    ValueError
        If `alt` is too short to say anything.
    """
    if len(alt.split()) < 5:
        raise ValueError(f"the alt text {alt!r} does not say what the figure shows")
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=160, facecolor="white")
    plt.close(fig)
    png = base64.b64encode(buffer.getvalue()).decode()
    width = round(fig.get_size_inches()[0] * 100)
    metadata = {"image/png": {"width": width, "alt": alt}, "affectbook": {"alt": alt}}
    display({"image/png": png, "text/plain": alt}, raw=True, metadata=metadata)
    if hasattr(get_ipython(), "kernel"):
        display(again.trace(), raw=True)


def say(*sentences: str) -> None:
    """Display sentences whose numbers were computed; several become a list.

    They are Markdown: what a reader or a file says in them goes through `tables.literal`.
    """
    display(Markdown(sentences[0] if len(sentences) == 1 else "- " + "\n- ".join(sentences)))


def table(frame: pd.DataFrame, caption: str = "") -> None:
    """Display a table without its index; the text of its cells is escaped."""
    text = frame.to_html(index=False, border=0, na_rep="–", justify="left")
    if caption:
        text = text.replace("<thead>", f"<caption>{html.escape(caption)}</caption><thead>", 1)
    display({"text/html": text, "text/plain": frame.to_string(index=False)}, raw=True)


def ecg_window(x: np.ndarray, sfreq: float, unit: str, title: str) -> Drawn:
    """Draw one window: the ECG with its R-peaks, and heart rate from the RR intervals.

    Parameters
    ----------
    x
        ``(n_times,)``.
    sfreq
        In Hz.
    unit, title
        Of the signal, and of the figure.
    """
    peaks = r_peaks(x, sfreq)
    times, rr_ms = np.arange(len(x)) / sfreq, np.diff(peaks) / sfreq * 1000
    fig, axes = plt.subplots(3, 1, figsize=(WIDTH, 5.4), sharex=True, height_ratios=[2, 1, 1])
    axes[0].plot(times, x, lw=0.9, color="C0")
    axes[0].plot(peaks / sfreq, x[peaks], "v", color="C3", ms=6, label="R-peak")
    axes[0].set(ylabel=f"ECG ({unit})", title=title)
    axes[0].margins(y=0.25)
    axes[0].legend(loc="upper right")
    axes[1].plot(peaks[1:] / sfreq, rr_ms, "o-", color="C2")
    axes[1].set(ylabel="RR interval (ms)")
    axes[2].step(peaks[1:] / sfreq, 60_000 / rr_ms, where="pre", color="C1")
    axes[2].set(ylabel="heart rate\n(1/min)", xlabel="time in the window (s)")
    fig.align_ylabels()
    rate = f"{60_000 / rr_ms.mean():.0f}" if len(rr_ms) else "no"
    alt = f"{title}: ECG of one window, {len(peaks)} R-peaks, mean {rate} beats a minute."
    if len(rr_ms):
        alt += f" RR intervals lie between {rr_ms.min():.0f} and {rr_ms.max():.0f} ms."
    return fig, alt


def split_map(meta: pd.DataFrame, splits: Mapping[str, tuple]) -> Drawn:
    """Draw, for one fold of each protocol, which windows of each subject are tested.

    Parameters
    ----------
    meta
        One row per window.
    splits
        ``(train, test)`` of one fold under the name of its protocol.
    """
    place = meta.groupby("subject", sort=False).cumcount()
    subjects = meta["subject"].unique()
    row = meta["subject"].map({subject: i for i, subject in enumerate(subjects)})
    fig, axes = plt.subplots(
        1, len(splits), figsize=(WIDTH, 0.9 + 0.17 * len(subjects)), sharey=True
    )
    words = []
    for ax, (name, (train, test)) in zip(np.atleast_1d(axes), splits.items(), strict=True):
        image = np.full((len(subjects), place.max() + 1), np.nan)
        image[row.to_numpy()[train], place.to_numpy()[train]] = 0.0
        image[row.to_numpy()[test], place.to_numpy()[test]] = 1.0
        ax.imshow(
            image, aspect="auto", cmap="cividis", vmin=-0.2, vmax=1.1, interpolation="nearest"
        )
        ax.set(xlabel="window of the subject")
        mark_leaks([ax.set_title(name_of(name))], [name])
        ax.set_yticks(range(len(subjects)), subjects, fontsize=7)
        ax.grid(False)
        both = meta["subject"].iloc[test].isin(meta["subject"].iloc[train]).mean()
        words.append(f"{' '.join(name_of(name).split())}: {100 * both:.0f} %")
    np.atleast_1d(axes)[0].set_ylabel("subject")
    alt = "One fold of each protocol, training windows dark, test windows bright. Test windows "
    return fig, f"{alt}whose subject is also trained on: {'; '.join(words)}."


def training_curves(history: pd.DataFrame) -> Drawn:
    """Draw training and validation loss against epochs, one thin line per fold and the mean."""
    long = history.melt(["epoch", "fold"], ["train_loss", "valid_loss"], "curve", "loss").dropna()
    long["curve"] = long["curve"].map({"train_loss": "training", "valid_loss": "validation"})
    fig, ax = plt.subplots()
    look = {"x": "epoch", "y": "loss", "hue": "curve", "style": "curve", "ax": ax}
    sns.lineplot(long, units="fold", estimator=None, alpha=0.35, lw=1, legend=False, **look)
    sns.lineplot(long, errorbar=None, lw=2.4, **look)
    ax.set(xlabel="epoch", ylabel="cross-entropy (nats)")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(title="")
    mean = long.groupby(["curve", "epoch"])["loss"].mean()
    parts = [f"{curve} loss goes from {mean[curve].iloc[0]:.2f} to {mean[curve].iloc[-1]:.2f}"
             for curve in mean.index.levels[0]]  # fmt: skip
    return fig, f"Loss against epoch, mean of {long['fold'].nunique()} folds: " + "; ".join(
        parts
    ) + "."


def ladder_scores(rows: pd.DataFrame, metric: str = "balanced_accuracy") -> pd.DataFrame:
    """Return one row per estimator, protocol and placebo, with its interval over subjects."""
    keys = ["protocol", "placebo", "estimator", "variant"]
    scores = []
    for key, part in rows.groupby(keys, sort=False):
        score = results.interval(part, metric)
        n_outputs = results.confusions(part)[1].shape[-1]
        scores.append((*key, *score, 1 / n_outputs))
    columns = [*keys, "value", "low", "high", "n_subjects", "chance"]
    return pd.DataFrame(scores, columns=columns)


def leakage_ladder(rows: pd.DataFrame, title: str, metric: str = "balanced_accuracy") -> Drawn:
    """Draw every estimator under every protocol, on the labels and on coin flips.

    Parameters
    ----------
    rows
        Score rows of one data set.
    title
        Says data set and tier.
    metric
        A key of `results.METRICS`.

    Raises
    ------
    DataError
        If there are no rows.
    """
    if rows.empty:
        raise DataError(
            f"there are no scores to draw for {title!r}", do="make record RUN=... NAME=..."
        )
    scores = ladder_scores(rows, metric)
    protocols = list(scores["protocol"].unique())
    estimators = list(scores["estimator"].unique())
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 4.1), sharey=True)
    for ax, placebo in zip(axes, (False, True), strict=True):
        part = scores[scores["placebo"] == placebo]
        for i, estimator in enumerate(estimators):
            own = part[part["estimator"] == estimator]
            x = own["protocol"].map(protocols.index) + 0.13 * (i - (len(estimators) - 1) / 2)
            bars = np.abs(own[["low", "high"]].T.to_numpy() - own["value"].to_numpy())
            look = {"fmt": MARKS[i % len(MARKS)], "color": f"C{i}", "ms": 6, "capsize": 2}
            label = name_of(estimator)
            ax.errorbar(x, own["value"], np.nan_to_num(bars), lw=1.2, label=label, **look)
        chance = part["chance"].iloc[0] if len(part) else np.nan
        ax.axhline(chance, ls="--", color="0.35", lw=1.2, label="chance")
        ax.set_xticks(range(len(protocols)), map(name_of, protocols), fontsize=8)
        mark_leaks(ax.get_xticklabels(), protocols)
        ax.set(xlim=(-0.5, len(protocols) - 0.5), ylim=(0, 1.03))
        ax.set_title("placebo: coin flips per trial" if placebo else "labels of the data set")
    axes[0].set_ylabel(metric.replace("_", " "))
    fig.suptitle(title)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    return fig, f"{title}. {'; '.join(read_ladder(scores))}."


def read_ladder(scores: pd.DataFrame) -> list[str]:
    """Return the scores of a ladder in words, one sentence per protocol and kind of label."""
    sentences = []
    for (protocol, placebo), part in scores.groupby(["protocol", "placebo"], sort=False):
        best = ", ".join(
            f"{name_of(row.estimator)} {100 * row.value:.0f} %"
            for row in part.itertuples(index=False)
        )
        kind = "coin flips" if placebo else "the labels"
        sentences.append(f"{' '.join(name_of(protocol).split())}, {kind}: {best}")
    return sentences


def confusion(rows: pd.DataFrame, classes: Sequence[str], title: str) -> Drawn:
    """Draw the confusion matrix of one experiment, in per cent of each true class."""
    counts = results.confusions(rows)[1].sum(0)
    shares = 100 * counts / counts.sum(1, keepdims=True)
    fig, ax = plt.subplots(figsize=(4.6, 3.8))
    look = {"cmap": "cividis", "vmin": 0, "vmax": 100, "square": True}
    names = {"xticklabels": classes, "yticklabels": classes}
    bar = {"label": "% of the true class"}
    sns.heatmap(shares, annot=True, fmt=".0f", cbar_kws=bar, ax=ax, **look, **names)
    ax.set(xlabel="predicted", ylabel="true", title=title)
    recalls = ", ".join(
        f"{name} {share:.0f} %" for name, share in zip(classes, np.diag(shares), strict=True)
    )
    return fig, f"{title}: confusion matrix. Windows of each class that are recognised: {recalls}."


def per_subject(parts: Mapping[str, pd.DataFrame], metric: str, title: str) -> Drawn:
    """Draw one dot per subject for each experiment, and the line of the mean.

    Parameters
    ----------
    parts
        Score rows of one experiment under each label.
    """
    rows = [
        results.select(part, fold="all", metric=metric).assign(what=what)
        for what, part in parts.items()
    ]
    long = pd.concat(rows, ignore_index=True).query("subject != 'all'")
    fig, ax = plt.subplots(figsize=(WIDTH, 0.9 + 0.55 * len(parts)))
    sns.stripplot(
        long, x="value", y="what", hue="what", jitter=0.22, alpha=0.75, legend=False, ax=ax
    )
    means = long.groupby("what", sort=False)["value"].mean()
    ax.plot(means.to_numpy(), range(len(means)), "|", ms=22, mew=2.5, color="0.15")
    ax.set(
        xlabel=f"{metric.replace('_', ' ')} of each subject",
        ylabel="",
        title=title,
        xlim=(-0.03, 1.03),
    )
    words = ", ".join(f"{what} {100 * mean:.0f} %" for what, mean in means.items())
    return fig, f"{title}: one dot per subject. Means: {words}."
