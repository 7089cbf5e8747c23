"""What shuffled folds share with training when windows overlap: computed, and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from affectbook import audit, protocols
from affectbook.chapters.overlaps import PUBLISHED
from affectbook.errors import ParameterError
from affectbook.figures import WIDTH, Drawn
from affectbook.overlap_scores import OVERLAPS

__all__ = ["Shared", "shared", "shared_figure", "simulated"]


class Shared(NamedTuple):
    """What of the test windows is trained on, 0 to 1.

    Attributes
    ----------
    windows : float
        Share of test windows that have samples in common with a training window.
    samples : float
        Share of a test window's samples that a training window has, too; mean of test windows.
    """

    windows: float
    samples: float


@dataclass(frozen=True)
class _Cut:
    """Recordings of one length, cut into windows: `step` and `n_times` in samples, `n` windows."""

    step: int
    n_times: int
    n: int

    @classmethod
    def of(cls, overlap: float, seconds: float, recording_s: float, sfreq: float) -> _Cut:
        n_times, length = round(seconds * sfreq), round(recording_s * sfreq)
        if not 0 <= overlap < 1 or not 0 < n_times <= length:
            raise ParameterError(
                f"no windows of {seconds:g} s with overlap {overlap:g} can be cut from recordings "
                f"of {recording_s:g} s at {sfreq:g} Hz"
            )
        step = max(1, round(n_times * (1 - overlap)))
        return cls(step, n_times, (length - n_times) // step + 1)

    def samples(self) -> np.ndarray:
        """Return which samples of a recording each window has ``(n, n_times)``."""
        return self.step * np.arange(self.n)[:, None] + np.arange(self.n_times)


def shared(
    overlap: float, seconds: float = 5.0, *, recording_s: float = 60.0, n_recordings: int = 1,
    n_splits: int = 5, sfreq: float = 500.0,
) -> Shared:  # fmt: skip
    """Return what shuffled folds share with training, in closed form.

    A window of a test fold of t among N windows has d others that share samples with it. That all
    of them are in its fold, and none in training, has the probability
    (t - 1)/(N - 1) · (t - 2)/(N - 2) · … with d factors: about one over the number of folds to the
    power of d. Far from the ends of a recording d is twice the number of steps that fit into a
    window; windows at an end have fewer. For a sample, d counts the other windows that have it.

    Parameters
    ----------
    overlap
        0 to below 1, of neighbouring windows.
    seconds, recording_s
        Length of windows and of recordings.
    n_recordings
        Whose windows are shuffled together.
    n_splits
        Folds.
    sfreq
        In Hz: a step is a whole number of samples.

    Raises
    ------
    ParameterError
        If no window can be cut so, or there are fewer windows than folds.
    """
    cut = _Cut.of(overlap, seconds, recording_s, sfreq)
    everything = cut.n * n_recordings
    if not 2 <= n_splits <= everything:
        raise ParameterError(f"{everything} windows cannot be shuffled into {n_splits} folds")
    each = np.arange(n_splits)
    folds = everything // n_splits + (each < everything % n_splits)
    reach, place = -(-cut.n_times // cut.step) - 1, np.arange(cut.n)
    neighbours = np.minimum(place, reach) + np.minimum(cut.n - 1 - place, reach)
    samples = cut.samples()
    others = np.bincount(samples.ravel())[samples] - 1
    taken = np.arange(1, max(neighbours.max(), others.max()) + 1)
    # Of d windows: a test fold of 1 has room for none of them.
    left = np.maximum(folds[:, None] - taken, 0) / np.maximum(everything - taken, 1)
    alone = np.hstack([np.ones((n_splits, 1)), np.cumprod(left, axis=1)])
    alone = folds @ alone / everything
    return Shared(1 - float(alone[neighbours].mean()), 1 - float(alone[others].mean()))


def simulated(
    overlap: float, seconds: float = 5.0, *, recording_s: float = 60.0, n_recordings: int = 1,
    n_splits: int = 5, sfreq: float = 500.0, seed: int = 0,
) -> Shared:  # fmt: skip
    """Return what `shared` does, counted by the audit in windows that the protocol has shuffled."""
    cut = _Cut.of(overlap, seconds, recording_s, sfreq)
    who, place = np.divmod(np.arange(cut.n * n_recordings), cut.n)
    start_s = place * cut.step / sfreq
    meta = pd.DataFrame({
        "subject": who.astype(str), "session": "1", "trial": "1", "window": place,
        "start_s": start_s, "stop_s": start_s + cut.n_times / sfreq,
    })  # fmt: skip
    samples = cut.samples()[place] + who[:, None] * (cut.samples().max() + 1)
    protocol = protocols.get("shuffled_windows_as_published", n_splits=n_splits, seed=seed)
    hits, covered = 0, 0.0
    for train, test in protocol.split(np.zeros(len(meta), int), meta):
        hits += audit.audit(train, test, meta).overlapping_windows
        known = np.zeros(samples.max() + 1, bool)
        known[samples[train]] = True
        covered += known[samples[test]].mean(1).sum()
    return Shared(hits / len(meta), float(covered / len(meta)))


def shared_figure(
    title: str, seconds: float = 5.0, *, overlaps: Sequence[float] = OVERLAPS,
    recording_s: float = 60.0, n_recordings: int = 40, n_splits: int = 5, sfreq: float = 100.0,
) -> Drawn:  # fmt: skip
    """Draw what shuffled folds share with training against the overlap, computed and counted.

    Parameters
    ----------
    title
        Says what is drawn.
    overlaps
        Where it is counted, too.
    seconds, recording_s, n_recordings, n_splits, sfreq
        As `shared` takes them.

    Raises
    ------
    ParameterError
        As `shared` does.
    """
    how = {"recording_s": recording_s, "n_recordings": n_recordings, "n_splits": n_splits,
           "sfreq": sfreq}  # fmt: skip
    grid = np.union1d(np.linspace(0, max(overlaps), 121), overlaps)
    lines = np.array([shared(one, seconds, **how) for one in grid])
    counted = np.array([simulated(one, seconds, **how) for one in overlaps])
    fig, ax = plt.subplots(figsize=(WIDTH, 3.5))
    ax.axvline(100 * PUBLISHED, color="0.82", lw=7, zorder=0, label="published overlap")
    for i, (name, mark) in enumerate((("windows with a shared sample", "o"),
                                      ("samples of a window", "s"))):  # fmt: skip
        ax.plot(100 * grid, 100 * lines[:, i], color=f"C{i}", lw=2, label=name)
        ax.plot(100 * np.array(overlaps), 100 * counted[:, i], mark, color=f"C{i}", ms=7,
                mfc="white", label=f"{name}, counted")  # fmt: skip
    ax.set(xlabel="overlap (%)", ylabel="of the test, also in training (%)", ylim=(-3, 104))
    ax.set_xticks(100 * np.array(overlaps))
    ax.legend(fontsize=9.5, loc="lower right")
    where = (f"windows of {seconds:g} s from {n_recordings} recordings of {recording_s:g} s, "
             f"{n_splits} shuffled folds")  # fmt: skip
    ax.set_title(f"{title}\n{where}", fontsize=11)
    told = "; ".join(
        f"{100 * overlap:g} % overlap: {100 * found.windows:.1f} % of the test windows, "
        f"{100 * found.samples:.1f} % of their samples"
        for overlap in overlaps for found in [shared(overlap, seconds, **how)]
    )  # fmt: skip
    gap = 100 * max(np.abs(np.array(shared(one, seconds, **how)) - count).max()
                    for one, count in zip(overlaps, counted, strict=True))  # fmt: skip
    return fig, (
        f"{title}: {where}. What a training window has, too: {told}. Counted in windows that were "
        f"shuffled once it is the same within {gap:.1f} points."
    )
