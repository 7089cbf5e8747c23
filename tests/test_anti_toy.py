"""The live network is no toy: it learns what is there, and nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from affectbook import evaluate, experiments, results
from affectbook.audit import standard_error
from affectbook.experiments import Experiment
from affectbook.papers import hcmnet
from affectbook.windows import trial_ids

CHANCE = 1 / 3


def across_subjects(effect: float) -> tuple[float, float]:
    """Return HCMNet's balanced accuracy at scale teaching, and the standard error at chance."""
    setting = hcmnet.setting(hcmnet.Params(scale="teaching", effect=effect))
    experiment = Experiment(setting, experiments.load(setting))
    experiment.add("hcmnet", hcmnet.build(setting, experiment.data), variant=setting.variant)
    n_trials = len(np.unique(trial_ids(experiment.data.meta)))
    score = results.overall(experiment.table(), "balanced_accuracy")
    return score, standard_error(n_trials, CHANCE)


@pytest.mark.slow
def test_where_conditions_differ_the_network_learns_them_across_people() -> None:
    score, _ = across_subjects(effect=1.0)
    assert score > 0.8


@pytest.mark.slow
def test_where_conditions_are_alike_the_network_is_at_chance() -> None:
    score, error = across_subjects(effect=0.0)
    assert abs(score - CHANCE) <= 3 * error, (score, error)


def test_same_seed_same_bits_another_seed_differs() -> None:
    setting = hcmnet.setting(hcmnet.Params(scale="smoke"))
    data = experiments.load(setting)
    protocol = experiments.protocol_of(setting)

    def run(seed: int) -> evaluate.Evaluation:
        model = hcmnet.build(setting, data)
        return evaluate.evaluate(model, data.X, data.y, data.meta, protocol, seed=seed, folds=1)

    first, again, other = run(1), run(1), run(2)
    pd.testing.assert_frame_equal(first.predictions, again.predictions, check_exact=True)
    pd.testing.assert_frame_equal(first.histories, again.histories, check_exact=True)
    assert not first.predictions["y_pred"].equals(other.predictions["y_pred"])
    assert not first.histories["train_loss"].equals(other.histories["train_loss"])
