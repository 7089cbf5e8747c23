"""Settings of self-supervised ECG, windows in their shape, and what weights have seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from builders import windows_of

from affectbook import datasets, experiments
from affectbook.experiments import Data, Setting
from affectbook.papers import _ssl_ecg_weights, ssl_ecg
from affectbook.papers.ssl_ecg import Params
from affectbook.unlabelled import CORPORA, PLAIN

REAL = {"eegmat": "open", "drivedb": "open"}


def setting(**given: object) -> Setting:
    return ssl_ecg.setting(Params(**given))


def noise(chosen: Setting, n: int = 4) -> Data:
    """Return windows of noise in the shape of a setting."""
    card = datasets.card(chosen.dataset)
    rule = experiments.rule_of(card, chosen.label_rule, chosen.target)
    y, meta = windows_of(((f"S{s}", f"t{s}", s % 2, 1) for s in range(n)), chosen.seconds)
    shape = (n, 1, round(chosen.seconds * chosen.sfreq))
    X = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return Data(X, y, meta, card, rule, "noise", Path("nowhere"), chosen.sfreq)


def built(variant: str | None = None, **given: object) -> dict[str, object]:
    """Return the parameters of the classifier of a setting."""
    chosen = setting(**given)
    return ssl_ecg.build(chosen, noise(chosen), variant).get_params()


def corpora(name: str) -> set[str]:
    """Return what weights were pretrained on, by their recipe."""
    found = _ssl_ecg_weights.RECIPES[name].corpora
    return {one for corpus in found for one in (CORPORA if corpus == PLAIN else (corpus,))}
