"""Pretexts that a fold trains, scored on people it has not seen; and whom the features give away.

All of it as score rows, so that figures can be drawn without torch.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from affectbook import evaluate, protocols
from affectbook.errors import ParameterError
from affectbook.experiments import Experiment
from affectbook.models import scaling
from affectbook.models.pretexts import Transformations
from affectbook.scoring import SCORE_COLUMNS
from affectbook.windows import TRIAL, trial_ids

HEAD, PROBE = "pretext_", "probe_subject"
PROBED_UNDER = "blocked_within_trial"


def score(paper: ModuleType, experiment: Experiment, *, placebo: bool = False) -> pd.DataFrame:
    """Evaluate a variant whose encoder each fold pretrains, and score its pretext on test windows.

    Parameters
    ----------
    paper
        Module with `build`.
    experiment
        Gets the rows: those of the classifier, and for each head of the pretext (estimator
        ``pretext_<head>``) f1 of the positive class, balanced accuracy, accuracy and auc of each
        fold and, as their mean, of all (fold "all").
    placebo
        Replace the labels by coins tossed per trial; the pretext sees none.

    Returns
    -------
    pandas.DataFrame
        The rows of the heads.

    Raises
    ------
    ParameterError
        If the variant pretrains nothing in the fold.
    """
    tables = []

    def look(fold: int, model: object, X: np.ndarray) -> None:
        encoder = model.fitted_encoder_
        if getattr(encoder, "network_", None) is None:
            raise ParameterError(
                f"{experiment.setting.variant} pretrains nothing in the fold: there is no pretext "
                "to score"
            )
        scores = (encoder.pretext or Transformations()).scores(encoder.network_, X)
        tables.append(scores.assign(fold=str(fold), n_test_windows=len(X)))

    setting = experiment.setting
    estimator = paper.build(setting, experiment.data)
    experiment.add(setting.paper, estimator, variant=setting.variant, placebo=placebo, look=look)
    long = pd.concat(tables).drop(columns=["chance"], errors="ignore").melt(
        ["head", "fold", "n_test_windows"], var_name="metric", value_name="value"
    )  # fmt: skip
    whole = long.groupby(["head", "metric"], as_index=False, sort=False).agg(
        value=("value", "mean"), n_test_windows=("n_test_windows", "sum")
    )
    rows = pd.concat([long, whole.assign(fold="all")], ignore_index=True)
    tested = experiment.predictions[-1][["fold", *TRIAL]].astype({"fold": str}).drop_duplicates()
    n_trials = tested.groupby("fold").size().to_dict() | {"all": len(tested)}
    rows["n_test_trials"] = rows["fold"].map(n_trials)
    return _kept(experiment, rows.assign(estimator=HEAD + rows["head"], subject="all"),
                 setting.protocol, placebo)  # fmt: skip


def probe_subjects(paper: ModuleType, experiment: Experiment) -> pd.DataFrame:
    """Tell from the frozen feature whose window it is: trained on earlier, tested on later windows.

    Parameters
    ----------
    paper
        Module with `build`; the variant's encoder must not be pretrained in the fold.
    experiment
        Gets the rows: estimator ``probe_subject``, accuracy of each subject and of all.

    Returns
    -------
    pandas.DataFrame
        The rows.

    Raises
    ------
    ParameterError
        If the encoder is trained with labels, or pretrained in the fold.
    """
    setting, data = experiment.setting, experiment.data
    estimator = paper.build(setting, data)
    encoder = getattr(estimator, "encoder", None)
    if encoder is None or estimator.finetune or encoder.source in ("fold", "transductive"):
        raise ParameterError(f"{setting.variant} has no frozen encoder that is the same in all "
                             "folds")  # fmt: skip
    subjects, trials = data.meta["subject"].to_numpy(), trial_ids(data.meta)
    X = scaling.of_subjects(data.X, subjects, estimator.scaler.kind)
    encoder = evaluate.seeded(encoder, evaluate.fold_seed(setting.seed, 0)).fit(X)
    features, found = encoder.transform(X), []
    for train, test in protocols.get(PROBED_UNDER).split(data.y, data.meta):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        said = model.fit(features[train], subjects[train]).predict(features[test])
        right = {"subject": subjects[test], "right": said == subjects[test], "trial": trials[test]}
        found.append(pd.DataFrame(right))
    hits = pd.concat(found)
    counts = {"value": ("right", "mean"), "n_test_windows": ("right", "size"),
              "n_test_trials": ("trial", "nunique")}  # fmt: skip
    each = hits.groupby("subject").agg(**counts).reset_index()
    everyone = hits.assign(subject="all").groupby("subject").agg(**counts).reset_index()
    rows = pd.concat([each, everyone], ignore_index=True)
    return _kept(experiment, rows.assign(estimator=PROBE, metric="accuracy", fold="all"),
                 PROBED_UNDER, False)  # fmt: skip


def _kept(
    experiment: Experiment, rows: pd.DataFrame, protocol: str, placebo: bool
) -> pd.DataFrame:
    """Return rows with all columns of score rows, and add them to the experiment."""
    told = experiment.context() | {
        "variant": experiment.setting.variant, "protocol": protocol, "placebo": placebo,
        "seed": experiment.setting.seed,
    }  # fmt: skip
    rows = rows.assign(**{name: value for name, value in told.items() if name != "estimator"})
    rows = rows[SCORE_COLUMNS].reset_index(drop=True)
    experiment.rows.append(rows)
    return rows
