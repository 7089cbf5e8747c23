"""Simulated people to pretrain on: the ECG of data sets' twins, without their labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from affectbook import datasets
from affectbook.datasets.recording import Recording

TIER = "simulated"
LICENCE = "simulated by this project: nobody's recordings"


class Twin(NamedTuple):
    """A twin: the data set with its lead, and the seed of its people.

    Notebooks take seeds up to 4,000,000; those above are nobody a reader tests on.
    """

    dataset: str
    seed: int
    subjects: int = 12


TWINS: dict[str, Twin] = {
    "amigos_twin": Twin("amigos:ECG-right", 4_000_001),
    "dreamer_twin": Twin("dreamer:ECG1", 4_000_002),
    "swell_twin": Twin("swell", 4_000_003),
    "wesad_twin": Twin("wesad", 4_000_004),
}


def read(name: str) -> Iterator[Recording]:
    """Yield the recordings of a twin, which is made first if it is not there."""
    twin = TWINS[name]
    folder = datasets.prepare(twin.dataset, TIER, seed=twin.seed, subjects=twin.subjects)
    yield from datasets.load(twin.dataset, folder)


def named(name: str) -> str:
    """Return data set and tier, as the names of subjects to be tested have them."""
    return f"{TWINS[name].dataset.split(':')[0]}/{TIER}"
