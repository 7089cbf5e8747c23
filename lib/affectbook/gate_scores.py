"""What a gate has become in each fold: the weight that it gives each layer, as score rows."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from affectbook.errors import ParameterError
from affectbook.experiments import Experiment
from affectbook.scoring import SCORE_COLUMNS
from affectbook.windows import TRIAL

GATE = "gate_weight"
LAYER, DEVIATION = "layer_", "deviation_layer_"
KEYS = ["gate", "protocol", "placebo", "seed", "fold", "layer"]
_ONE = ("paper", "scale", "dataset", "tier", "effect", "label_rule", "seconds", "target")


def weigh(paper: ModuleType, experiment: Experiment, *, placebo: bool = False) -> pd.DataFrame:
    """Evaluate a variant with a gate, and keep what the gate of each fold weighs the layers by.

    Parameters
    ----------
    paper
        Module with `build`, whose estimator has ``gate_weights`` when it is fitted, as
        `layer_embeddings.LayerNet`.
    experiment
        Gets the rows: those of the classifier, and of estimator ``gate_weight`` for each fold and
        layer k ``layer_<k>``, the mean weight over test windows, and ``deviation_layer_<k>``, the
        standard deviation over them, 0 of a gate that does not look at the window. A gate that
        weighs tokens counts with the mean over the tokens of a window.
    placebo
        Replace the labels by coins tossed per trial.

    Returns
    -------
    pandas.DataFrame
        The rows of the gate.

    Raises
    ------
    ParameterError
        If the estimator has no gate.
    """
    setting, found = experiment.setting, []
    estimator = paper.build(setting, experiment.data)
    if not hasattr(estimator, "gate_weights"):
        raise ParameterError(f"{setting.variant} has no gate to look at")

    def look(fold: int, model: BaseEstimator, X: np.ndarray) -> None:
        weights = np.asarray(model.gate_weights(X), np.float64)
        weights = weights.mean(2) if weights.ndim == 3 else weights
        for metric, values in ((LAYER, weights.mean(0)), (DEVIATION, weights.std(0))):
            found.extend((str(fold), f"{metric}{k}", value, len(weights))
                         for k, value in enumerate(values, 1))  # fmt: skip

    experiment.add(setting.paper, estimator, variant=setting.variant, placebo=placebo, look=look)
    rows = pd.DataFrame(found, columns=["fold", "metric", "value", "n_test_windows"])
    tested = experiment.predictions[-1][["fold", *TRIAL]].astype({"fold": str}).drop_duplicates()
    rows["n_test_trials"] = rows["fold"].map(tested.groupby("fold").size())
    told = experiment.context() | {
        "estimator": GATE, "variant": setting.variant, "placebo": placebo,
        "protocol": setting.protocol, "seed": setting.seed, "subject": "all",
    }  # fmt: skip
    rows = rows.assign(**told)[SCORE_COLUMNS]
    experiment.rows.append(rows)
    return rows


def weights(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the weights of gates, a row for each layer.

    Parameters
    ----------
    rows
        Score rows, those of `weigh` among them, of one data set at one scale.

    Returns
    -------
    pandas.DataFrame
        `KEYS`, of which gate is the variant, fold a text and layer counts from 1; weight, the mean
        over the test windows of the fold; deviation, over them. Empty without such rows.

    Raises
    ------
    ParameterError
        If the rows are of several experiments.
    """
    own = rows[rows["estimator"] == GATE]
    if mixed := [name for name in _ONE if own[name].nunique() > 1]:
        raise ParameterError(f"these weights of gates differ in {mixed}: select one of each")
    parts = own["metric"].str.extract(rf"^(?P<kind>{DEVIATION}|{LAYER})(?P<layer>\d+)$")
    kind = parts["kind"].map({LAYER: "weight", DEVIATION: "deviation"})
    own = own.assign(gate=own["variant"], kind=kind, layer=parts["layer"].astype(int))
    if own.duplicated([*KEYS, "kind"]).any():
        raise ParameterError("weights of a gate are there twice: select one run of each seed")
    wide = own.pivot(index=KEYS, columns="kind", values="value")
    order = {gate: place for place, gate in enumerate(own["gate"].unique())}
    wide = wide.reindex(columns=["weight", "deviation"]).reset_index().rename_axis(columns=None)
    return wide.sort_values(
        KEYS, key=lambda column: column.map(order) if column.name == "gate" else column
    ).reset_index(drop=True)
