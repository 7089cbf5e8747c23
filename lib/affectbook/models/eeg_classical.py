"""The usual reference model of EEG emotion recognition: differential entropy and a linear SVM."""

from __future__ import annotations

from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from affectbook.eeg_features import DifferentialEntropy


def de_svm(sfreq: float, seed: int = 0) -> BaseEstimator:
    """Differential entropy of five bands per channel, then a linear support vector machine.

    Windows are taken unscaled, ``(n, c, t)`` at `sfreq` Hz; classes weigh the same. The cost
    ``C = 0.01`` is fixed, so that nothing is tuned.
    """
    return make_pipeline(
        DifferentialEntropy(sfreq),
        StandardScaler(),
        LinearSVC(C=0.01, class_weight="balanced", dual="auto", max_iter=10_000, random_state=seed),
    )
