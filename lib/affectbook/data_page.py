"""What the page on data shows of each set: its card, and one recording of its simulated twin."""

from __future__ import annotations

import html
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from affectbook import datasets, figures
from affectbook.files import write_atomic
from affectbook.tables import markdown

FRAGMENT = "datasets.md"
SECONDS = 6.0
DRAWN = ("ecg", "eeg")
MOST = 6
"""Channels drawn of one kind."""


def fragment(folder: Path) -> str:
    """Draw one recording of each set into `folder`; return overview and cards in Markdown."""
    cards = [datasets.card(name) for name in datasets.names()]
    parts = [overview(cards)]
    for card in cards:
        heading = f"(data-{card.name})=\n### {card.title}"
        parts.append(f"{heading}\n\n{_figure(card, folder)}\n{_facts(card)}")
    return "\n".join(parts)


def overview(cards: Iterable[datasets.Card]) -> str:
    """Return one line per data set: what it holds, how many people, and who may have it."""
    lines = [
        {
            "set": f"[{card.title}](#data-{card.name})",
            "in parameters": f"`{card.name}`",
            "subjects": len(card.subjects),
            "signals": ", ".join(kinds_of(card.name)),
            "labels": ", ".join(dict.fromkeys(rule.target for rule in card.label_rules)),
            "tier": card.tier,
        }
        for card in cards
    ]
    return markdown(pd.DataFrame(lines), escaped=False)


def kinds_of(name: str) -> list[str]:
    """Return the kinds of channels of a set, with their numbers, such as ``EEG 14``."""
    channels = datasets.channels(name)
    words = {"ecg": "ECG", "eeg": "EEG", "gsr": "GSR"}
    return [f"{words.get(kind, kind)} {len(names)}" for kind, names in channels.items()]


def _facts(card: datasets.Card) -> str:
    facts = {
        "name in parameters": f"`{card.name}`",
        "tier": card.tier,
        "subjects": f"{len(card.subjects)} ({card.subjects[0]} to {card.subjects[-1]})",
        "trials": card.trials_per_subject,
        "channels": ", ".join(card.channels),
        "sampling rate": card.sfreq,
        "unit": card.unit,
        "licence": card.licence,
        "size": card.size,
        "how to obtain": card.obtain,
        "source": f"{{cite}}`{card.citation}`",
    }
    table = markdown(pd.DataFrame(facts.items(), columns=["", " "]))
    rules = [
        {"label rule": f"`{rule.name}`", "target": rule.target,
         "classes": "; ".join(rule.classes), "meaning": html.escape(rule.meaning, quote=False)}
        for rule in card.label_rules
    ]  # fmt: skip
    pitfalls = "".join(f"- {html.escape(line, quote=False)}\n" for line in card.pitfalls)
    return f"{table}\n{markdown(pd.DataFrame(rules), escaped=False)}\nPitfalls:\n\n{pitfalls}"


def _figure(card: datasets.Card, folder: Path) -> str:
    """Draw one recording into a file and return the Markdown that shows it."""
    fig, alt = draw(card)
    path = Path(folder) / f"data_{card.name}.png"
    write_atomic(path, lambda to: fig.savefig(to, dpi=130, facecolor="white"))
    plt.close(fig)
    look = ":width: 720px\n:class: mb-4"
    return f"```{{image}} ../build/generated/{path.name}\n:alt: {alt}\n{look}\n```\n"


def draw(card: datasets.Card) -> figures.Drawn:
    """Draw the beginning of one recording of a set's twin, each kind of channels in a panel."""
    figures.theme()
    folder = datasets.prepare(card.name, "simulated", subjects=1)
    kinds = [kind for kind in datasets.channels(card.name) if kind in DRAWN]
    found = [_first(card.name, folder, kind) for kind in kinds]
    heights = [max(min(len(one.ch_names), MOST), 2) + 1 for one in found]
    fig, axes = plt.subplots(
        len(kinds), 1, figsize=(figures.WIDTH, 0.7 + 0.42 * sum(heights)), squeeze=False,
        height_ratios=heights, sharex=True,
    )  # fmt: skip
    told = []
    for ax, recording, kind in zip(axes[:, 0], found, kinds, strict=True):
        shown = _spread(recording.ch_names)
        _traces(ax, recording.pick(shown))
        told.append(f"{kind}, {recording.unit}, {recording.sfreq:g} Hz: {', '.join(shown)}")
    first = found[0]
    label = first.condition or ", ".join(
        f"{name} {value:.2g}" for name, value in islice(first.ratings.items(), 2)
    )
    title = f"{card.title} twin (simulated): subject {first.subject}, trial {first.trial}, {label}"
    axes[0, 0].set_title(title, loc="left", fontsize=10)
    axes[-1, 0].set(xlabel="time in the trial (s)", xlim=(0, 1.09 * SECONDS))
    return fig, f"{title}. The first {SECONDS:g} seconds of {'; '.join(told)}."


def _first(name: str, folder: Path, kind: str) -> datasets.Recording:
    """Return the first recording with a label that is long enough to be drawn."""
    recordings = datasets.load(name, folder, datasets.subjects(name, folder)[:1], channels=kind)
    return next(r for r in recordings if r.duration_s >= SECONDS and (r.condition or r.ratings))


def _spread(ch_names: tuple[str, ...]) -> list[str]:
    """Return a few channels, evenly spread over all of them."""
    at = np.unique(np.linspace(0, len(ch_names) - 1, min(MOST, len(ch_names))).round().astype(int))
    return [ch_names[i] for i in at]


def _traces(ax: plt.Axes, recording: datasets.Recording) -> None:
    """Draw channels above each other, each with its own zero, and a bar that gives the scale."""
    n_times = round(SECONDS * recording.sfreq)
    signal = recording.signal[:, :n_times].astype(float)
    signal = signal - np.median(signal, axis=1, keepdims=True)
    height = max(float(np.percentile(np.ptp(signal, axis=1), 75)), 1e-9)
    offsets = -height * np.arange(len(signal))
    ax.plot(np.arange(n_times) / recording.sfreq, (signal + offsets[:, None]).T, lw=0.7, color="C0")
    ax.set_yticks(offsets, recording.ch_names, fontsize=8)
    bar, at = float(f"{height / 2:.1g}"), 1.015 * SECONDS
    ax.plot([at, at], [offsets[-1], offsets[-1] + bar], lw=2.5, color="C3")
    ax.text(1.01 * at, offsets[-1] + bar / 2, f"{bar:g}\n{recording.unit}", va="center", fontsize=8,
            color="C3")  # fmt: skip
    ax.grid(axis="y", visible=False)
