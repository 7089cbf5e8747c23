"""What chapters on EEG draw of electrodes: where they lie, and in which order they are scanned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from affectbook.errors import DataError, ParameterError
from affectbook.figures import MARKS, WIDTH, Drawn

__all__ = ["electrode_orders", "scalp_map"]

_OLD_NAMES = {"t3": "t7", "t4": "t8", "t5": "p7", "t6": "p8"}
_PER_ROW = 3
_MANY = 20  # so many names would lie on each other on a small head


def scalp_map(sets: Mapping[str, Sequence[str]], title: str) -> Drawn:
    """Draw where the electrodes of each set lie on the head, seen from above, the nose up.

    Parameters
    ----------
    sets
        Names of electrodes of the 10-05 system under the name of each set, in capitals or not; T3,
        T4, T5 and T6 are the old names of T7, T8, P7 and P8. Those of the other sets are drawn
        open.
    title
        Of the figure.

    Raises
    ------
    DataError
        If there is no set, or the place of none of its electrodes is known.
    """
    if not sets or not all(len(names) for names in sets.values()):
        raise DataError("there are no electrodes to draw", do="name some under each set")
    places = _places()
    everyone = {_key(name): name for names in sets.values() for name in names}
    for name, own in sets.items():
        if not any(_key(one) in places for one in own):
            raise DataError(f"{name}: no electrode has a known place", found=", ".join(own),
                            expected="names of the 10-05 system")  # fmt: skip
    n_rows = -(-len(sets) // _PER_ROW)
    size = (WIDTH, 0.6 + 2.55 * n_rows)
    fig, axes = plt.subplots(n_rows, min(_PER_ROW, len(sets)), figsize=size, squeeze=False)
    words = []
    for ax in axes.flat[len(sets) :]:
        ax.axis("off")
    for ax, (name, own) in zip(axes.flat, sets.items(), strict=False):
        used = {_key(one): one for one in own}
        spots = {used[key]: places[key] for key in used if key in places}
        _head(ax)
        rest = np.array([places[key] for key in everyone if key in places and key not in used])
        if len(rest):
            ax.plot(*rest.T, "o", mfc="white", mec="0.6", ms=4.5, zorder=2)
        named = len(own) <= _MANY
        look = {"color": "C0", "mec": "0.15", "ms": 8 if named else 6, "zorder": 3}
        ax.plot(*np.array(list(spots.values())).T, "o", **look)
        if named:
            _names(ax, spots)
        count = f"{len(used)}" if len(spots) == len(used) else f"{len(spots)} of {len(used)}"
        ax.set_title(f"{name} ({count})", fontsize=11)
        told = ", ".join(own) if named else f"{len(own)} electrodes, without their names"
        words.append(f"{name}: {told}")
    fig.suptitle(title, fontsize=12)
    lost = [name for key, name in everyone.items() if key not in places]
    missing = f" Of unknown place and not drawn: {', '.join(lost)}." if lost else ""
    return fig, (
        f"{title}: the head from above, the nose up, once for each set of electrodes. Filled are "
        f"{'; '.join(words)}.{missing}"
    )


def _key(name: str) -> str:
    key = name.strip().lower()
    return _OLD_NAMES.get(key, key)


def _places() -> dict[str, np.ndarray]:
    """Return where electrodes lie in the plane, by name in small letters: a head of radius 1.

    The angle from the vertex becomes the distance from the middle; as in the 10-20 system, the
    ring through Fpz, T7, T8 and Oz has 0.8 of the radius of the head.
    """
    import mne

    # One set of places under a new and an old name.
    known = set(mne.channels.get_builtin_montages())
    name = "colin27_1005" if "colin27_1005" in known else "standard_1005"
    points = mne.channels.make_standard_montage(name).get_positions()["ch_pos"]
    spots = np.array(list(points.values()))
    # The sphere through all: |p|² = 2 p·m + (r² - |m|²) is linear in the middle m.
    middle = np.linalg.lstsq(np.c_[2 * spots, np.ones(len(spots))], (spots**2).sum(1))[0][:3]
    x, y, z = (spots - middle).T
    angle = np.arctan2(np.hypot(x, y), z)
    flat = np.c_[x, y] * (angle / np.maximum(np.hypot(x, y), 1e-9))[:, None]
    found = dict(zip((name.lower() for name in points), flat, strict=True))
    ring = np.mean([np.hypot(*found[name]) for name in ("fpz", "t7", "t8", "oz")])
    return {name: 0.8 * spot / ring for name, spot in found.items()}


def _head(ax: Axes) -> None:
    """Draw the outline of a head from above, with nose and ears."""
    look = {"fill": False, "ec": "0.35", "lw": 1.3}
    ax.add_patch(Circle((0, 0), 1, **look))
    ax.plot([-0.13, 0, 0.13], [0.99, 1.14, 0.99], color="0.35", lw=1.3)
    for side in (-1, 1):
        turn = np.linspace(-np.pi / 2, np.pi / 2, 20)
        ax.plot(side * (1 + 0.07 * np.cos(turn)), 0.17 * np.sin(turn), color="0.35", lw=1.3)
    ax.set(xlim=(-1.2, 1.2), ylim=(-1.1, 1.2), aspect="equal")
    ax.axis("off")


def _names(ax: Axes, spots: Mapping[str, np.ndarray]) -> None:
    """Write the names of electrodes beside them, where there is room."""
    outline = [withStroke(linewidth=2.5, foreground="white")]
    taken = list(spots.values())
    for name, spot in spots.items():
        sides = spot + np.array([(0, -0.16), (0, 0.16), (-0.25, 0), (0.25, 0)])
        others = np.array([one for one in taken if one is not spot] or [(9, 9)])
        # A name is wider than it is high; 1 is just free.
        away = (np.abs(sides[:, None] - others) / (0.36, 0.13)).max(2).min(1)
        best = sides[np.argmax(np.minimum(away, 1))]
        taken.append(best)
        ax.text(*best, name, ha="center", va="center", fontsize=9, weight="bold", zorder=4,
                path_effects=outline)  # fmt: skip


def electrode_orders(
    scores: pd.DataFrame,
    names: Sequence[str],
    title: str,
    metric: str = "balanced_accuracy",
) -> Drawn:
    """Draw the score of every order in which electrodes are scanned, beside the luck of seeds.

    Parameters
    ----------
    scores
        A row per order and seed: order, positions in `names` as text ("0213"); seed; value, 0 to 1.
    names
        Of the electrodes, as they come: the default order is "0123".
    title, metric
        Of the figure; and what `value` is.

    Raises
    ------
    DataError
        If there are no scores, or none of the default order.
    ParameterError
        If an order is no permutation, or has two scores of one seed.
    """
    plain = "".join(map(str, range(len(names))))
    if scores.empty or plain not in set(scores["order"]):
        raise DataError(f"there are no scores of the order {plain!r} to draw for {title!r}",
                        do="give scores with the columns order, seed and value")  # fmt: skip
    wrong = [one for one in scores["order"].unique() if sorted(one) != list(plain)]
    if wrong or scores.duplicated(["order", "seed"]).any():
        raise ParameterError(f"each order of {plain} has one score of a seed; found {wrong} or two")
    table = 100 * scores.pivot(index="order", columns="seed", values="value")
    table = table.loc[table.mean(axis=1).sort_values(kind="stable").index]
    means, own = table.mean(axis=1), table.loc[plain].dropna()
    fig, ax = plt.subplots(figsize=(WIDTH, 4.9))
    band = f"default order: {len(own)} seed{'s' if len(own) > 1 else ''}"
    ax.axhspan(own.min(), own.max(), color="0.86", zorder=0, label=f"{band}, lowest to highest")
    for i, (seed, column) in enumerate(table.items()):
        look = {"color": f"C{i}", "ms": 5.5, "alpha": 0.8, "label": f"seed {seed}"}
        ax.plot(range(len(table)), column, MARKS[i % len(MARKS)], **look)
    ax.plot(range(len(table)), means, "_", color="0.1", ms=15, mew=2.5, label="mean of seeds")
    ax.set_xticks(range(len(table)), [_in_words(order, names) for order in table.index])
    ax.tick_params(axis="x", rotation=90, labelsize=9)
    ax.get_xticklabels()[list(table.index).index(plain)].set_weight("bold")
    ax.set(xlabel="order of the scan (bold: the default)", xlim=(-0.7, len(table) - 0.3))
    ax.set(ylabel=f"{metric.replace('_', ' ')} (%)", title=title)
    ax.grid(False, axis="x")
    fig.legend(loc="outside lower center", ncols=4, fontsize=9)
    best, worst = means.index[-1], means.index[0]
    return fig, (
        f"{title}: {len(table)} orders, {table.shape[1]} seeds, sorted by mean. Best: "
        f"{_in_words(best, names)}, {means[best]:.1f} %; worst: {_in_words(worst, names)}, "
        f"{means[worst]:.1f} %; default: {_in_words(plain, names)}, {means[plain]:.1f} %. "
        f"{_spreads(table)}"
    )


def _in_words(order: str, names: Sequence[str]) -> str:
    return " ".join(names[int(place)] for place in order)


def _spreads(table: pd.DataFrame) -> str:
    """Say how much scores differ between orders, and how much by the luck of seeds alone."""
    means = table.mean(axis=1)
    between = f"Means of orders lie {np.ptp(means):.1f} points apart"
    within = table.std(axis=1).dropna()
    if within.empty or len(table) < 2:
        return f"{between}; one score each does not tell order from luck."
    seed = float(np.sqrt((within**2).mean()))
    alone = seed / np.sqrt(table.count(axis=1).mean())
    return (
        f"{between}, with a standard deviation of {means.std():.2f} points; that of the seeds of "
        f"one order is {seed:.2f} points, which alone would give means one of {alone:.2f}."
    )
