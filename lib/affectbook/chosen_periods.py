"""Which periods the multi-scale block chooses, window by window, kept as score rows."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from affectbook.experiments import Experiment
from affectbook.scoring import SCORE_COLUMNS
from affectbook.windows import trial_ids

ESTIMATOR, TOP_WEIGHT = "periods", "top_weight"
_CHOICE = re.compile(r"periods\[([\d,]+)\]")


def count(experiment: Experiment, k: int = 3) -> pd.DataFrame:
    """Return how many windows choose which `k` frequencies, as score rows; keep them, too.

    No network is trained: the choice depends on the windows alone. They are scaled with the mean
    and deviation of all of them.

    Parameters
    ----------
    experiment
        Its windows are counted.
    k
        Frequencies of a window.

    Returns
    -------
    pandas.DataFrame
        A row with the metric ``periods[5,4,6]`` for each choice, in cycles per window, strongest
        first; its value is a number of windows. One row ``top_weight``: the mean weight of the
        strongest under the softmax rule.
    """
    import torch

    from affectbook.models import periods
    from affectbook.models.eeg_scaling import EegScaler

    scaled = torch.as_tensor(EegScaler().fit(experiment.data.X).transform(experiment.data.X))
    amplitude = periods.amplitudes(scaled)
    frequencies = periods.chosen(amplitude, k)
    weight = periods.fusion_weights(amplitude, frequencies).amax(1).mean().item()
    choices, counts = np.unique(frequencies.numpy(), axis=0, return_counts=True)
    names = [f"periods[{','.join(map(str, choice))}]" for choice in choices.tolist()]
    table = pd.DataFrame({"metric": [*names, TOP_WEIGHT], "value": [*counts.tolist(), weight]})
    meta = experiment.data.meta
    context = experiment.context() | {
        "estimator": ESTIMATOR, "variant": f"k_{k}", "placebo": False, "fold": "all",
        "subject": "all", "seed": experiment.setting.seed, "n_test_windows": len(meta),
        "n_test_trials": len(np.unique(trial_ids(meta))),
    }  # fmt: skip
    rows = table.assign(**context)[SCORE_COLUMNS]
    experiment.rows.append(rows)
    return rows


def frequencies(rows: pd.DataFrame) -> np.ndarray:
    """Return the choices ``(n, k)`` that rows of `count` tell of, in cycles per window."""
    told = rows["metric"].str.extract(_CHOICE)[0].dropna()
    choices = [[int(one) for one in choice.split(",")] for choice in told]
    return np.repeat(np.array(choices), rows.loc[told.index, "value"].astype(int), axis=0)


def top_weight(rows: pd.DataFrame) -> float:
    """Return the mean weight of the strongest of the chosen frequencies, 0 to 1."""
    return float(rows.loc[rows["metric"] == TOP_WEIGHT, "value"].mean())
