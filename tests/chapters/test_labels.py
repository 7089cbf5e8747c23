"""Figures of label rules: shares of trials, and the scores that follow."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from builders import like_everyone, scores_of

from affectbook import datasets
from affectbook.chapters import labels
from affectbook.datasets import Recording
from affectbook.datasets.labels import high_low, levels

pytestmark = pytest.mark.usefixtures("drawing")
RULES = (high_low("valence", ">=", 3), high_low("valence", ">", 3), levels("valence", (2, 4), "3"))


def rated(*values: float) -> list[Recording]:
    signal = np.zeros((1, 4), np.float32)
    return [Recording(signal, 1.0, ("ECG",), "mV", "S1", "1", str(i), ratings={"valence": value})
            for i, value in enumerate(values)]  # fmt: skip


def test_every_rule_has_its_column():
    classes = labels.classes_of(rated(1, 3, 3, 5), RULES)
    assert classes[[rule.name for rule in RULES]].to_numpy().tolist() == [
        [0, 0, 0], [1, 0, 1], [1, 0, 1], [1, 1, 2],
    ]  # fmt: skip
    assert labels.disagreement(classes, "valence >= 3", "valence > 3") == 0.5


def test_trials_that_a_rule_leaves_out_count_for_none():
    classes = labels.classes_of(rated(1, float("nan"), 5), RULES)
    assert classes["valence > 3"].isna().sum() == 1
    assert labels.disagreement(classes, "valence >= 3", "valence > 3") == 0


def test_the_words_say_what_the_figure_shows(drawing):
    rows = [
        scores_of(like_everyone(12, share), estimator=estimator, label_rule=rule.name)
        for estimator, share in (("hrv_logistic", 0.6), ("hcmnet", 0.7)) for rule in RULES[:2]
    ]  # fmt: skip
    classes = labels.classes_of(rated(1, 3, 3, 5), RULES)
    card = datasets.card("dreamer")
    fig, alt = labels.figure(classes, RULES, pd.concat(rows), card, "simulated")
    assert alt.startswith("DREAMER (simulated): 4 trials under 3 label rules.")
    assert "valence >= 3: 25 %, 75 %." in alt and "valence in 3: 25 %, 50 %, 25 %." in alt
    assert "HCMNet: valence >= 3 70%, valence > 3 70%." in alt
    assert all(ax.get_xlabel() for ax in fig.axes)


def test_without_scores_the_shares_are_drawn_alone(drawing):
    classes = labels.classes_of(rated(1, 5), RULES)
    fig, alt = labels.figure(classes, RULES, pd.DataFrame(columns=["estimator"]),
                             datasets.card("dreamer"), "simulated")  # fmt: skip
    assert "valence > 3: 50 %, 50 %." in alt and "HCMNet" not in alt
