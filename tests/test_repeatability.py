"""Which digits come again: two processes, whatever they drew before, give the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import random, sys
import numpy as np, pandas as pd, torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn
from affectbook import evaluate, protocols
from affectbook.models.network import WindowNet


class Noisy(nn.Module):
    '''Draws from every source of random numbers while it trains.'''

    def __init__(self, n_chans, n_times, n_outputs):
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(n_times, n_outputs))

    def forward(self, x):
        if self.training:
            x = x + random.gauss(0, 0.1) + np.random.normal(0, 0.1) + 0.1 * torch.randn_like(x)
        return self.head(x)


drawn = int(sys.argv[1])
random.seed(drawn), np.random.seed(drawn), torch.manual_seed(drawn)
rng = np.random.default_rng(0)
subject, trial, window = (part.ravel() for part in np.indices((6, 4, 5)))
y = trial % 2
X = (rng.normal(size=(len(y), 1, 40)) + 0.3 * y[:, None, None]).astype(np.float32)
meta = pd.DataFrame({"subject": [f"S{s}" for s in subject], "session": "1",
                     "trial": [f"t{t}" for t in trial], "window": window,
                     "start_s": 10.0 * window, "stop_s": 10.0 * window + 10})
net = WindowNet(Noisy, module__n_chans=1, module__n_times=40, module__n_outputs=2,
                max_epochs=2, batch_size=8)
forest = make_pipeline(FunctionTransformer(lambda x: x.reshape(len(x), -1)),
                       RandomForestClassifier(5, max_features=5))
for name in ("group_kfold_subject",):
    for estimator in (net, forest):
        for seed in (0, int(sys.argv[2])):
            done = evaluate.evaluate(estimator, X, y, meta, protocols.get(name), seed=seed, folds=2)
            print(done.predictions.to_csv(index=False))
            print(done.histories.to_csv(index=False))
"""


def output(drawn: int, seed: int = 1) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(drawn), str(seed)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_one_seed_decides_everything_that_is_drawn() -> None:
    once = output(drawn=1)
    assert "train_loss" in once and "group_kfold" not in once
    assert output(drawn=2) == once, "what was drawn before must not count"
    assert output(drawn=1, seed=2) != once, "another seed is another training"
