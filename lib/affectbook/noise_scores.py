"""Robust in noise: models that were trained on clean windows, scored on noisy copies of the test's.

A model is trained once for each fold. Noise falls on windows as they were before any scaling, and
scaling then sees it, as it would on a wearable; the same window gets the same noise under every
estimator, seed and fold (only its size changes), so that arms can be compared window by window.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from types import ModuleType

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from affectbook import noise, scoring
from affectbook.errors import ParameterError
from affectbook.evaluate import PREDICTION_COLUMNS
from affectbook.experiments import Data, Experiment, protocol_of
from affectbook.models import scaling

SNRS = (30.0, 20.0, 10.0, 5.0, 0.0)


def score(
    paper: ModuleType,
    experiment: Experiment,
    *,
    kinds: Sequence[str] = noise.KINDS,
    snrs: Sequence[float] = SNRS,
    filtered: Sequence[bool] = (False, True),
    network: bool = True,
    references: Sequence[str] = (),
    noise_seed: int = 0,
    placebo: bool = False,
) -> pd.DataFrame:
    """Evaluate the paper's network, and reference models, on clean and on noisy test windows.

    Parameters
    ----------
    paper
        Module with `build` and, where there are references, `reference_models`.
    experiment
        Gets the rows on clean windows, as an evaluation without noise has them, and those of each
        kind and ratio. Their variant ends in ``+muscle_10_db`` (of reference models, which have no
        variant, it is ``muscle_10_db``), and in ``_filtered`` where the noise went through the
        setting's high-pass. Of noisy windows no predictions are kept: they would be many.
    kinds, snrs
        Of `noise.KINDS`; in decibel, as `noise.added` has them.
    filtered
        Whether noise goes through the high-pass that recordings went through. True: it was there
        when the ECG was recorded. False: it came after the filter, or there was none.
    network, references
        Whether to evaluate the network, and names of reference models to evaluate, too.
    noise_seed
        Of the noise; the same for all seeds of a training, so that layers of a frozen backbone
        are computed once for each noisy window.
    placebo
        Replace the labels by coins tossed per trial.

    Returns
    -------
    pandas.DataFrame
        The rows on noisy windows.

    Raises
    ------
    ParameterError
        Before anything is trained: if there is no such noise, or no such reference model.
    DataError
        If windows have several leads.
    """
    levels = [(kind, bool(one)) for kind in kinds for one in dict.fromkeys(filtered)]
    if not levels or not snrs or not (network or references):
        raise ParameterError(
            "nothing to score: name kinds, snrs, filtered, and the network or references"
        )
    setting, data = experiment.setting, experiment.data
    for kind in kinds:
        made = noise.unit(kind, 1, data.X.shape[2], data.sfreq, highpass=setting.highpass)
        for snr_db in snrs:
            noise.mixed(data.X[:1], made, snr_db)
    arms = [(setting.paper, setting.variant, paper.build(setting, data))] if network else []
    known = paper.reference_models(setting, data) if references else {}
    if unknown := [name for name in references if name not in known]:
        raise ParameterError(f"no reference model {unknown[0]!r}; there are {', '.join(known)}")
    arms += [(name, "", known[name]) for name in references]
    found = [
        _scored(experiment, *arm, levels, tuple(snrs), noise_seed, placebo) for arm in arms
    ]
    return pd.concat(found, ignore_index=True)


def _scored(
    experiment: Experiment, name: str, variant: str, estimator: BaseEstimator,
    levels: Sequence[tuple[str, bool]], snrs: Sequence[float], noise_seed: int, placebo: bool,
) -> pd.DataFrame:  # fmt: skip
    """Evaluate one estimator; add its rows on clean windows and on noisy ones, return the last."""
    setting, data = experiment.setting, experiment.data
    protocol = protocol_of(setting)
    y, n_outputs = experiment.labels(protocol, placebo)
    splits = list(protocol.split(y, data.meta))
    found = defaultdict(list)

    def look(fold: int, model: BaseEstimator, X: np.ndarray) -> None:
        test = splits[fold][1]
        answers = data.meta.iloc[test].assign(fold=fold, y_true=y[test])
        for kind, filtered in levels:
            made = noise.unit(kind, test, data.X.shape[2], data.sfreq, seed=noise_seed,
                              highpass=setting.highpass if filtered else None)  # fmt: skip
            for snr_db in snrs:
                noisy = _scaled(model, data, test, noise.mixed(data.X[test], made, snr_db))
                told = answers.assign(y_pred=model.predict(noisy))[PREDICTION_COLUMNS]
                found[noise.named(kind, snr_db, filtered)].append(told)

    experiment.add(name, estimator, protocol, variant=variant, placebo=placebo, look=look)
    tables = []
    for ending, parts in found.items():
        context = experiment.context() | {
            "estimator": name, "variant": "+".join(filter(None, (variant, ending))),
            "protocol": protocol.name, "placebo": placebo,
        }  # fmt: skip
        table = pd.concat(parts, ignore_index=True)
        tables.append(
            scoring.score_rows(table, context, n_outputs=n_outputs, seed=setting.seed)
        )
    experiment.rows += tables
    return pd.concat(tables, ignore_index=True)


def _scaled(
    model: BaseEstimator, data: Data, test: np.ndarray, noisy: np.ndarray
) -> np.ndarray:
    """Return noisy test windows scaled as `evaluate.evaluate` scales all windows before a split.

    Where a subject's windows share their statistics, those of training windows are clean.
    """
    if not scaling.by_subject(model):
        return noisy
    subjects, kind = data.meta["subject"].to_numpy(), model.scaler.kind
    own = np.flatnonzero(np.isin(subjects, subjects[test]))
    place = np.searchsorted(own, test)
    X = np.array(data.X[own])
    X[place] = noisy
    return scaling.of_subjects(X, subjects[own], kind)[place]
