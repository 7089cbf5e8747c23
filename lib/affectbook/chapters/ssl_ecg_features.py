"""What the chapter on self-supervised ECG draws of pretexts while they train, and of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from affectbook.errors import DataError, ParameterError
from affectbook.figures import MARKS, WIDTH, Drawn

__all__ = ["embedding", "pretext_curves"]

_MEASURES = {"f1": "F1 of each head", "accuracy": "accuracy: other view found"}
_ORIGINAL = "original"  # is shown with every task, so that a head has something to say no to
_MOST_IN_A_LEGEND = 12
_PERPLEXITY = 30.0


def pretext_curves(
    histories: Mapping[str, pd.DataFrame], n_watched: int | None = None
) -> Drawn:
    """Draw how well each head of a pretext does against epochs, a panel for each encoder.

    Parameters
    ----------
    histories
        Of each encoder, as `pretrain.pretrain` returns them or a card holds them: epoch, loss, and
        columns ``f1 <head>`` or ``accuracy other_view``.
    n_watched
        Windows on which two views were looked for; draws chance, one view of all others.

    Raises
    ------
    DataError
        If there is no history, or one without epochs or scores.
    """
    if not histories:
        raise DataError("there are no histories of pretexts to draw")
    scores = {name: _scores(name, history) for name, history in histories.items()}
    heads = list(dict.fromkeys(head for wanted in _MEASURES for measure, table in scores.values()
                               if measure == wanted for head in table))  # fmt: skip
    columns = min(2, len(scores))
    rows = -(-len(scores) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, 1.2 + 2.9 * rows), squeeze=False,
                             sharey=True)  # fmt: skip
    words, handles = [], {}
    for ax, (name, (measure, table)) in zip(axes.flat, scores.items(), strict=False):
        chance = _chance(measure, list(table), n_watched)
        _draw_heads(ax, table, heads, measure, chance)
        ax.set_title(name, fontsize=11)
        found = zip(*ax.get_legend_handles_labels(), strict=True)
        handles |= {label: handle for handle, label in found}
        words.append(_read_heads(name, measure, table, histories[name], chance))
    for ax in axes.flat[len(scores) :]:
        ax.remove()
    fig.legend(handles.values(), handles, loc="outside lower center", ncols=4, fontsize=9.5)
    return fig, f"Pretext against epoch, on people it has not seen. {' '.join(words)}"


def _scores(name: str, history: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Return the measure of a history and its scores: a row for each epoch, a column per head."""
    for measure in _MEASURES:
        columns = [column for column in history if str(column).startswith(f"{measure} ")]
        if columns and len(history) and "epoch" in history:
            table = history.set_index("epoch")[columns]
            return measure, table.rename(columns=lambda column: column.split(" ", 1)[1])
    raise DataError(
        f"there are no scores of the pretext in the history of {name!r}",
        found=", ".join(map(str, history)) or "no columns",
        expected="epoch, and f1 <head> or accuracy other_view",
    )


def _chance(measure: str, heads: list[str], n_watched: int | None) -> tuple[float, str] | None:
    """Return what is reached without looking, and how."""
    if measure == "accuracy":
        return None if n_watched is None else (1 / (2 * n_watched - 1), "chance")
    # One version of n is the head's own: precision 1/n, recall 1.
    return 2 / (len({_ORIGINAL, *heads}) + 1), "always yes"


def _draw_heads(
    ax: Axes, table: pd.DataFrame, heads: list[str], measure: str,
    chance: tuple[float, str] | None,
) -> None:  # fmt: skip
    """Draw a line for each head, each with the colour and mark it has in all panels."""
    every = max(1, len(table) // 8)
    for head in table:
        i = heads.index(head)
        mark = MARKS[i % len(MARKS)]
        look = {"marker": mark, "ms": 12 if mark == "*" else 7, "lw": 1.6, "color": f"C{i}",
                "markevery": (i % every, every), "mec": "white", "mew": 0.5}  # fmt: skip
        ax.plot(table.index, table[head], label=head.replace("_", " "), **look)
    if chance is not None:
        style = {"always yes": "--", "chance": ":"}[chance[1]]
        label = "a head that always says yes" if chance[1] == "always yes" else chance[1]
        ax.axhline(chance[0], ls=style, color="0.35", lw=1.4, label=label, zorder=1)
    ax.set(xlabel="epoch", ylabel=_MEASURES[measure], ylim=(-0.03, 1.03))
    ax.yaxis.label.set_size(10)
    ax.tick_params(labelleft=True)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _read_heads(
    name: str, measure: str, table: pd.DataFrame, history: pd.DataFrame,
    chance: tuple[float, str] | None,
) -> str:  # fmt: skip
    """Return the scores after the last epoch in words, and where the loss began and ended."""
    last = ", ".join(f"{head.replace('_', ' ')} {value:.2f}"
                     for head, value in table.iloc[-1].items())  # fmt: skip
    told = f"{name}, {measure.replace('f1', 'F1')} after epoch {table.index[-1]:g}: {last}"
    if chance is not None:
        kind = "a head that always says yes" if measure == "f1" else "chance"
        told += f"; {kind} {chance[0]:.2g}"
    if "loss" in history:
        losses = history["loss"]
        told += f"; loss from {losses.iloc[0]:.3g} to {losses.iloc[-1]:.3g}"
    return f"{told}."


def embedding(
    features: np.ndarray,
    subjects: Sequence[str],
    labels: Sequence[int],
    classes: Sequence[str],
    seed: int = 0,
) -> Drawn:
    """Draw features in two dimensions, coloured by subject and coloured by class.

    t-SNE of standardised features; places near each other were near each other before, but
    distances across the picture mean nothing. The silhouettes are those of the features
    themselves, not of the picture.

    Parameters
    ----------
    features
        ``(n, f)``.
    subjects, labels
        Of each window ``(n,)``; a label is a position in `classes`.
    classes
        Names of the classes.
    seed
        Of t-SNE.

    Raises
    ------
    DataError
        If there are fewer than five windows, or values that are not finite.
    ParameterError
        If subjects or labels are not one of each window, or there are not two of each.
    """
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    features = np.asarray(features, dtype=np.float64)
    kinds = _kinds(features, subjects, labels, classes)
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    scaled = StandardScaler().fit_transform(features)
    places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(scaled)
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 5.2), sharex=True, sharey=True)
    words = []
    for ax, (kind, names) in zip(axes, kinds.items(), strict=True):
        value = _silhouette(scaled, names)
        _draw_kind(ax, places, names, _order(names, classes))
        ax.set_title(f"by {kind}\nsilhouette {value:.2f}", fontsize=11)
        ax.set_xlabel("t-SNE 1 (no unit)")
        words.append(f"by {kind} ({len(set(names))}): {value:.2f}")
    axes[0].set_ylabel("t-SNE 2 (no unit)")
    title = f"{len(features)} windows, {features.shape[1]} features each"
    fig.suptitle(title, fontsize=12)
    return fig, (
        f"{title}, laid out by t-SNE with perplexity {perplexity:.3g}, coloured by subject and by "
        "emotion. Silhouette of the features themselves, 1 where kinds are apart, 0 where they "
        f"are mixed, below 0 where windows lie nearer to another kind: {'; '.join(words)}."
    )


def _kinds(
    features: np.ndarray, subjects: Sequence[str], labels: Sequence[int], classes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the names of subject and class of each window; refuse what cannot be laid out."""
    if features.ndim != 2 or len(features) < 5 or not features.shape[1]:
        raise DataError("there are no windows to lay out", found=f"shape {features.shape}",
                        expected="(n, f), five windows or more")  # fmt: skip
    if not np.isfinite(features).all():
        raise DataError("features hold values that are not numbers")
    codes = np.asarray(labels)
    if len(codes) != len(features) or len(subjects) != len(features):
        raise ParameterError(f"{len(features)} windows have {len(subjects)} subjects and "
                             f"{len(codes)} labels; each has one")  # fmt: skip
    if codes.min() < 0 or codes.max() >= len(classes):
        raise ParameterError(f"labels go from {codes.min()} to {codes.max()}; there are "
                             f"{len(classes)} classes")  # fmt: skip
    kinds = {"subject": np.asarray(subjects, dtype=str),
             "emotion": np.asarray(classes, dtype=str)[codes]}  # fmt: skip
    for kind, names in kinds.items():
        if not 2 <= len(set(names)) < len(features):
            raise ParameterError(f"a silhouette by {kind} takes two of them or more, and fewer "
                                 f"than windows; there are {len(set(names))}")  # fmt: skip
    return kinds


def _order(names: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Return the names that occur: classes in their order, subjects by the alphabet."""
    found = set(names)
    return [name for name in classes if name in found] if found <= set(classes) else sorted(found)


def _silhouette(features: np.ndarray, names: np.ndarray) -> float:
    from sklearn.metrics import silhouette_score

    # Of -0.001 the picture would say -0.00.
    return round(float(silhouette_score(features, names)), 2) + 0.0


def _draw_kind(ax: Axes, places: np.ndarray, names: np.ndarray, order: list[str]) -> None:
    """Draw a mark for each window; colour and mark together are those of one kind only."""
    for i, name in enumerate(order):
        own = names == name
        mark = MARKS[(i + i // 10) % len(MARKS)]
        look = {"marker": mark, "color": f"C{i % 10}", "s": 60 if mark == "*" else 28}
        ax.scatter(*places[own].T, label=name, alpha=0.75, linewidths=0.4, edgecolors="white",
                   **look)  # fmt: skip
    ax.set_xticks([])
    ax.set_yticks([])
    if len(order) <= _MOST_IN_A_LEGEND:
        ax.legend(ncols=min(4, len(order)), loc="upper center", bbox_to_anchor=(0.5, -0.07),
                  fontsize=9.5, handletextpad=0.1, columnspacing=0.8)  # fmt: skip
    else:
        ax.text(0.5, -0.1, f"{len(order)}, each with a colour and mark of its own", ha="center",
                va="top", fontsize=9.5, transform=ax.transAxes)  # fmt: skip
