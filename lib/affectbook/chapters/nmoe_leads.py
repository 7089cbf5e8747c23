"""What the chapter on NMoE draws of leads: one among twelve, how many survive, and its scale.

How one lead was fed to ECG-FM was not found (N. Mansourian et al., arXiv 2503.01750). Random lead
masking: J. Oh et al., "Lead-agnostic Self-supervised Learning for Local and Global Representations
of Electrocardiogram", CHIL 2022, arXiv 2203.06889.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import comb

import matplotlib.pyplot as plt
import numpy as np

from affectbook.errors import DataError, ParameterError
from affectbook.figures import MARKS, WIDTH, Drawn

__all__ = ["scale_invariance", "surviving_leads", "zero_filled"]

_ZERO = 1e-8  # what is left of it, or less, is drawn here: float32 has seven digits
_WAYS = {"lead_II": "zeros but for lead II", "copied": "copied to all twelve"}


def zero_filled(window: np.ndarray, sfreq: float, unit: str = "deviations of the window") -> Drawn:
    """Draw one lead as a network of twelve leads gets it: among zeros, and copied.

    Parameters
    ----------
    window
        ``(1, t)``: one lead.
    sfreq
        In Hz.
    unit
        Of the signal.

    Raises
    ------
    DataError
        If there is no window of one lead, or it holds values that are not finite.
    """
    import torch

    from affectbook.models.leads import LEADS, TwelveLeads

    window = np.asarray(window, dtype=np.float32)
    if window.ndim != 2 or len(window) != 1 or not window.size or not sfreq > 0:
        found = f"shape {window.shape} at {sfreq:g} Hz"
        raise DataError("there is no window of one lead", found=found, expected="(1, n_times)")
    if not np.isfinite(window).all():
        raise DataError("a window holds samples that are not numbers")
    made = {way: TwelveLeads(way)(torch.as_tensor(window)[None])[0].numpy() for way in _WAYS}
    step = 1.05 * float(np.ptp(window)) or 1.0
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 5.4), sharex=True, sharey=True)
    time = np.arange(window.shape[1]) / sfreq
    told = []
    for ax, (way, leads) in zip(axes, made.items(), strict=True):
        silent = ~leads.any(1)
        for row, (lead, flat) in enumerate(zip(leads, silent, strict=True)):
            look = {"color": "0.55", "lw": 1.1} if flat else {"color": "C0", "lw": 0.9}
            ax.plot(time, lead - row * step, **look)
        ax.set_title(_WAYS[way], fontsize=11)
        ax.set_xlabel("time (s)")
        ax.grid(False, axis="y")
        named = [name for name, flat in zip(LEADS, silent, strict=True) if not flat]
        told.append(f"{_WAYS[way]}: {silent.sum()} of {len(leads)} rows are zero, "
                    f"the signal is in {', '.join(named)}")  # fmt: skip
    axes[0].set_yticks([-row * step for row in range(len(LEADS))], LEADS)
    axes[0].set_xlim(0, window.shape[1] / sfreq)
    axes[0].set_ylabel(f"lead; rows are {step:.2g} apart\n({unit})")
    title = f"One lead for a network of twelve: {window.shape[1]} samples at {sfreq:g} Hz"
    fig.suptitle(title, fontsize=12)
    return fig, f"{title}, twelve rows from I to V6, drawn twice. {'; '.join(told)}."


def surviving_leads(n_leads: int = 12, zeroed: float = 0.5) -> Drawn:
    """Draw how probable each number of leads is that random lead masking leaves.

    Parameters
    ----------
    n_leads
        Leads of the recording.
    zeroed
        Probability of each lead, by itself, to be set to zero.

    Raises
    ------
    ParameterError
        If there is no lead, or zeroing is certain or impossible.
    """
    if n_leads < 1 or not 0 < zeroed < 1:
        raise ParameterError(f"{n_leads} leads, zeroed with {zeroed:g}, leave nothing to chance")
    counts = np.arange(n_leads + 1)
    shares = np.array([comb(n_leads, k) * (1 - zeroed) ** k * zeroed ** (n_leads - k)
                       for k in counts])  # fmt: skip
    fig, ax = plt.subplots(figsize=(WIDTH, 3.9))
    marked = {0: ("C3", "//", "none: nothing to be seen"), 1: ("C1", "\\\\", "one: as deployed")}
    for k, share in zip(counts, 100 * shares, strict=True):
        color, hatch, label = marked.get(k, ("C0", "", None))
        ax.bar(k, share, color=color, hatch=hatch, edgecolor="white", label=label)
        ax.text(k, share, f"{share:.2g}", ha="center", va="bottom", fontsize=9.5,
                weight="bold" if k in marked else "normal")  # fmt: skip
    ax.set_xticks(counts)
    ax.set(xlabel=f"leads of {n_leads} that are not zeroed", ylabel="windows of pretraining (%)")
    ax.set_title(f"Random lead masking: each lead zeroed with probability {zeroed:g}")
    ax.grid(False, axis="x")
    ax.legend(loc="upper right")
    least = shares[:2] if n_leads > 1 else shares
    told = ", ".join(f"{k}: {100 * share:.2g} %" for k, share in zip(counts, shares, strict=True))
    return fig, (
        f"Random lead masking of {n_leads} leads, each zeroed with probability {zeroed:g}: how "
        f"many are left, and how often. {told}. None or one is left in {100 * least.sum():.2g} % "
        f"of windows, {shares @ counts:g} on the mean."
    )


def scale_invariance(reference: np.ndarray, changed: Mapping[str, np.ndarray]) -> Drawn:
    """Draw how far embeddings move when the lead is scaled or shifted, against other windows.

    Behind the first convolution, which has no bias, a group norm takes mean and deviation of each
    channel away. With one lead, an offset of the window is gone with it, and so is its size, but
    for the small number under the root (1e-5): a channel that hardly deviates is not brought to
    deviation 1. What is left is measured here; the distance between two windows is the unit.

    Parameters
    ----------
    reference
        Embeddings of windows as they are ``(n, l, h)``, as `LayerEmbeddings` makes them.
    changed
        By what was done to the windows, such as ``"× 10"``: embeddings of the same shape.

    Raises
    ------
    DataError
        If there are not two windows that differ, nothing was changed, or shapes differ.
    """
    reference = np.asarray(reference, np.float64)
    if reference.ndim != 3 or len(reference) < 2 or not changed:
        found = f"shape {reference.shape}, {len(changed)} changes"
        raise DataError("there are no embeddings to compare", found=found, expected="(n, l, h)")
    # Over pairs of windows, the squared distance is twice the variance.
    apart = np.sqrt(2 * reference.var(0, ddof=1).sum(-1))
    if not (apart > 0).all():
        raise DataError("windows have one and the same embedding: there is no unit")
    moved = {}
    for name, other in changed.items():
        if np.shape(other) != reference.shape:
            raise DataError(f"embeddings of {name!r} have another shape", found=np.shape(other),
                            expected=reference.shape)  # fmt: skip
        moved[name] = np.sqrt(np.square(other - reference).sum(-1).mean(0)) / apart
    fig, ax = plt.subplots(figsize=(WIDTH, 1.9 + 0.42 * len(moved)))
    for y, far in enumerate(moved.values()):
        low, high = np.maximum([far.min(), far.max()], _ZERO)
        ax.plot([low, high], [y, y], color=f"C{y % 10}", lw=3, alpha=0.4, solid_capstyle="round")
        ax.plot(np.maximum(far, _ZERO), np.full(len(far), y), MARKS[y % len(MARKS)],
                color=f"C{y % 10}", ms=6)  # fmt: skip
    ax.axvline(1, ls="--", color="0.35", lw=1.3, label="as far as another window")
    ax.set_xscale("log")
    largest = max(far.max() for far in moved.values())
    ax.set(xlim=(_ZERO / 2, 4 * max(1.0, largest)), ylim=(len(moved) - 0.5, -0.5))
    ax.set_yticks(range(len(moved)), list(moved))
    ax.set_xlabel("distance to the window as it was (distance between two windows = 1)")
    n, n_layers = reference.shape[:2]
    title = f"What scale and offset of one lead change: {n} windows, {n_layers} layers"
    fig.suptitle(title, fontsize=12)
    fig.legend(loc="outside lower center", fontsize=9)
    told = "; ".join(f"{name}: {far.min():.2g} to {far.max():.2g}" for name, far in moved.items())
    return fig, (
        f"{title}, one mark for each layer. Distance between embeddings of a window before and "
        f"after, in distances between two windows, smallest to largest layer: {told}."
    )
