"""Reference models: what a network has to beat, and what a fingerprint alone can do."""

from __future__ import annotations

from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from affectbook.features import HrvFeatures, SpectrumFeatures


def majority() -> BaseEstimator:
    """Always answer the most frequent class of the training windows."""
    return DummyClassifier(strategy="most_frequent")


def hrv_logistic(sfreq: float, seed: int = 0) -> BaseEstimator:
    """Heart rate and its variability (neurokit2), then logistic regression.

    Classes weigh the same; a window without beats takes the median of the training windows.
    """
    return make_pipeline(
        HrvFeatures(sfreq),
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(class_weight="balanced", max_iter=1000, random_state=seed),
    )


def fingerprint(sfreq: float) -> BaseEstimator:
    """Spectrum, then the nearest training window: it recognises recordings, not feelings.

    Deliberately without any idea of emotion. What it scores above chance on coin-flip labels is
    what a protocol gives away.
    """
    return make_pipeline(
        SpectrumFeatures(sfreq), StandardScaler(), KNeighborsClassifier(n_neighbors=1)
    )
