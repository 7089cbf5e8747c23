"""Choices of periods: every window is counted once, and what was counted can be read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from builders import windows_of

from affectbook import chosen_periods, datasets
from affectbook.experiments import Data, Experiment
from affectbook.models import periods
from affectbook.models.eeg_scaling import EegScaler
from affectbook.papers import ms_imamba
from affectbook.scoring import SCORE_COLUMNS

RHYTHMS_HZ = (10, 20, 32)


@pytest.fixture
def experiment() -> Experiment:
    """Return 40 windows of three rhythms in noise, whose strongest is 10 Hz in every window."""
    setting = ms_imamba.setting(ms_imamba.Params(scale="smoke"))
    card = datasets.card(setting.dataset)
    y, meta = windows_of(((f"S{s}", f"t{t}", t, 10) for s in range(2) for t in range(2)), 1.0)
    times = np.arange(128) / 128
    X = 0.1 * np.random.default_rng(0).standard_normal((len(y), 4, 128))
    for size, hz in zip((3.0, 2.0, 1.0), RHYTHMS_HZ, strict=True):
        X += size * np.sin(2 * np.pi * hz * times)
    rule = card.label_rules[0]
    data = Data(X.astype(np.float32), y, meta, card, rule, "noise", Path("nowhere"), 128.0)
    return Experiment(setting, data)


def test_all_windows_are_counted_with_the_frequencies_in_their_order(experiment) -> None:
    rows = chosen_periods.count(experiment)
    assert list(rows.columns) == SCORE_COLUMNS and experiment.rows == [rows]
    assert rows["metric"].tolist() == ["periods[10,20,32]", chosen_periods.TOP_WEIGHT]
    assert rows["value"].iloc[0] == 40 and rows["n_test_trials"].unique().tolist() == [4]
    assert rows["estimator"].unique().tolist() == [chosen_periods.ESTIMATOR]
    assert (chosen_periods.frequencies(rows) == np.array(RHYTHMS_HZ)).all()


def test_what_is_read_back_is_what_the_block_chooses(experiment) -> None:
    noise = np.random.default_rng(1).standard_normal(experiment.data.X.shape)
    experiment.data.X[:] = noise
    rows = chosen_periods.count(experiment, k=2)
    scaled = torch.as_tensor(EegScaler().fit(experiment.data.X).transform(experiment.data.X))
    amplitude = periods.amplitudes(scaled)
    expected = periods.chosen(amplitude, 2)
    found = pd.DataFrame(chosen_periods.frequencies(rows)).value_counts()
    assert found.equals(pd.DataFrame(expected.numpy()).value_counts())
    weight = periods.fusion_weights(amplitude, expected).amax(1).mean().item()
    assert chosen_periods.top_weight(rows) == pytest.approx(weight)
