"""Presets: how much of a paper's experiment is run, and how long that takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """One preset. A parameter of the notebook that is not None replaces its value.

    Attributes
    ----------
    subjects : int or None
        Subjects loaded; None for all.
    sfreq : float
        Rate of the windows in Hz.
    seconds, overlap : float
        Length of a window, and the share two neighbours have in common.
    per_trial : int or None
        Windows kept of a trial, evenly spread; None for all.
    n_splits : int
        Folds of the protocols that take a number of folds.
    epochs, batch_size, patience : int
        Of training; `patience` counts epochs without a better validation loss.
    meaning : str
        One line for the page: what is smaller than in the paper, and how long it takes.
    """

    subjects: int | None
    sfreq: float
    seconds: float
    overlap: float
    per_trial: int | None
    n_splits: int
    epochs: int
    batch_size: int
    patience: int
    meaning: str
