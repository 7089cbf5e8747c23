"""Which transformation of a window can be read off a frozen feature, by people it never saw."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from affectbook import augment
from affectbook.encoders import PretrainedEncoder


def read(
    encoder: PretrainedEncoder, train: np.ndarray, test: np.ndarray, seed: int = 0
) -> pd.DataFrame:
    """Train one linear model for each version on the features, and test it on other windows.

    Parameters
    ----------
    encoder
        Fitted.
    train, test
        Windows ``(n, c, t)``, scaled; those of the test should be of other subjects.
    seed
        Of the transformations.

    Returns
    -------
    pandas.DataFrame
        One row per version: head, f1 (of the positive class), balanced_accuracy, accuracy (6/7 for
        a model that always says no), auc.
    """
    generator, names = torch.Generator().manual_seed(seed), np.array(augment.NAMES)
    features = []
    for X in (train, test):
        made = augment.versions(torch.as_tensor(np.asarray(X, np.float32)), generator)
        features.append(np.concatenate([encoder.transform(one.numpy()) for one in made]))
    rows = []
    for name in names:
        is_train, is_test = (np.repeat(names == name, len(X)) for X in (train, test))
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        model.fit(features[0], is_train)
        score = model.decision_function(features[1])
        rows.append(
            {
                "head": name,
                "f1": f1_score(is_test, score > 0, zero_division=0.0),
                "balanced_accuracy": balanced_accuracy_score(is_test, score > 0),
                "accuracy": accuracy_score(is_test, score > 0),
                "auc": roc_auc_score(is_test, score),
            }
        )
    return pd.DataFrame(rows)
