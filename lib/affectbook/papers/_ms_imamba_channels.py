"""Which electrodes of each data set a name stands for."""

from __future__ import annotations

from affectbook import datasets
from affectbook.errors import ParameterError

FRONTAL = "frontal"
# The paper names FP1, FP2, AF3 and AF4 by way of example. DREAMER has no FP1 and FP2, eegmat no AF3
# and AF4; which ones the paper takes there was not found, and these are the nearest.
SETS: dict[str, dict[str, str]] = {
    "deap": {
        FRONTAL: "Fp1,Fp2,AF3,AF4",
        "lateral": "AF3,AF4,F7,F8",
        "posterior": "P3,P4,O1,O2",
        "eight": "Fp1,Fp2,F3,F4,C3,C4,O1,O2",
        "all": "eeg",
    },
    "dreamer": {
        FRONTAL: "AF3,AF4,F3,F4",
        "lateral": "AF3,AF4,F7,F8",
        "posterior": "P7,P8,O1,O2",
        "eight": "AF3,AF4,F3,F4,T7,T8,O1,O2",
        "all": "eeg",
    },
    "seed": {
        FRONTAL: "FP1,FP2,AF3,AF4",
        "lateral": "AF3,AF4,F7,F8",
        "posterior": "P3,P4,O1,O2",
        "eight": "FP1,FP2,F3,F4,C3,C4,O1,O2",
        "all": "eeg",
    },
    "eegmat": {
        FRONTAL: "Fp1,Fp2,F3,F4",
        "lateral": "F3,F4,F7,F8",
        "posterior": "P3,P4,O1,O2",
        "eight": "Fp1,Fp2,F3,F4,C3,C4,O1,O2",
        # Without the channel A2-A1, a difference of two ears.
        "all": "Fp1,Fp2,F3,F4,F7,F8,T3,T4,C3,C4,T5,T6,P3,P4,O1,O2,Fz,Cz,Pz",
    },
}
NAMES = tuple(SETS["deap"])


def channels_of(dataset: str, channels: str = FRONTAL) -> str:
    """Return what the parameter `dataset` says after the colon for these channels.

    Parameters
    ----------
    dataset
        One of `SETS`.
    channels
        One of `NAMES`, or names of electrodes, joined by commas.

    Raises
    ------
    ParameterError
        If `channels` is empty.
    """
    if not channels.strip():
        raise ParameterError(
            f"channels is empty; name electrodes, joined by commas, or one of {', '.join(NAMES)}"
        )
    return SETS.get(dataset, {}).get(channels, channels)


def named(dataset: str, channels: str = FRONTAL) -> str:
    """Return the name of a data set with its channels, as score rows have it."""
    return f"{dataset}:{channels_of(dataset, channels)}"


def blinking(dataset: str) -> tuple[int, ...]:
    """Return the positions, among the channels of a data set's name, of those next to the eyes.

    Fp1 and Fp2 where they are, else AF3 and AF4.

    Raises
    ------
    ParameterError
        If it has neither pair.
    """
    name, _, picked = dataset.partition(" ")[0].partition(":")
    picked = datasets.channels(name).get(picked, picked.split(","))
    names = [one.lower() for one in picked]
    for pair in (("fp1", "fp2"), ("af3", "af4")):
        if all(one in names for one in pair):
            return tuple(names.index(one) for one in pair)
    raise ParameterError(
        f"blinks_regressed needs Fp1 and Fp2, or AF3 and AF4, among the channels of {dataset!r}"
    )
