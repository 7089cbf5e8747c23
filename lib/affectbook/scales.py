"""How much of a paper's experiment is run: presets, and the cells of its sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product


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


@dataclass(frozen=True)
class Cell:
    """One evaluation of a sweep.

    Attributes
    ----------
    analysis : str
        A key of `affectbook.analyses.ANALYSES`.
    parameters : mapping
        Parameters of the paper's notebook; the others keep their defaults.
    options : mapping
        Of the analysis.
    """

    analysis: str
    parameters: Mapping[str, object]
    options: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        told = {**self.parameters, **self.options}
        return f"{self.analysis}: " + ", ".join(f"{key} {value}" for key, value in told.items())


def cells(
    analysis: str, parameters: Mapping[str, object], axes: Mapping[str, Sequence], **options: object
) -> tuple[Cell, ...]:
    """Return one cell for each combination of the axes' values, the first axis slowest."""
    return tuple(
        Cell(analysis, dict(parameters) | dict(zip(axes, values, strict=True)), options)
        for values in product(*axes.values())
    )
