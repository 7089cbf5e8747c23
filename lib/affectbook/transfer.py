"""Across populations: train on the people of one, test on those of the other, then adapt.

Two data sets, or two groups of one set. The rows of such an evaluation say ``"A to B"`` where
others name a data set; ``"A to A"`` is the same on new people of one population.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone

from affectbook import audit, datasets, evaluate, scoring
from affectbook.errors import ParameterError
from affectbook.evaluate import PREDICTION_COLUMNS, fold_seed, seeded
from affectbook.experiments import Data, Experiment, checked, load
from affectbook.personalise import adapt, calibration
from affectbook.protocols import SUBJECT, Protocol, Split, get

ACROSS = "across_populations"
ADAPTED = "later_half_of_new_subjects"
SHARES = (1 / 6, 1 / 3, 1 / 2)
STEPS = 20


def transfer(
    paper: ModuleType,
    experiment: Experiment,
    *,
    to: Mapping[str, object] | None = None,
    groups: tuple[str, str] | None = None,
    references: Sequence[str] = (),
    network: bool = True,
    shares: Sequence[float] = (),
    placebo: bool = False,
) -> None:
    """Train on one population, test on another, and keep the scores.

    Parameters
    ----------
    paper, experiment
        The paper whose network is trained, in the setting's variant, and the windows of the
        population to train on.
    to
        What of the setting differs for the population to test on, such as ``{"dataset":
        "drivedb", "label_rule": "rest_drive"}``; None: the same.
    groups
        Names of the group to train on and of the one to test on, in a set that has groups.
    references
        Names of reference models to evaluate, too.
    network
        Whether to evaluate the network.
    shares
        Parts of each trial of a test subject to adapt the network to, its beginning; tested on the
        later half. Where there are none, nothing is adapted.
    placebo
        Replace the labels by coins tossed per trial.

    Raises
    ------
    ParameterError
        If the populations' windows do not fit together, or a set has no such groups.
    """
    data, trained, tested, name = populations(experiment, to, groups)
    seed = experiment.setting.seed
    coins = audit.placebo_labels(data.meta, seed, per_subject=1) if placebo else None
    both = (data.y, data.n_outputs) if coins is None else (coins, 2)
    protocol = _protocol(data.meta, trained, tested, experiment.setting.n_splits)
    joined = Experiment(experiment.setting, data)
    context = joined.context() | {"dataset": name, "protocol": protocol.name, "placebo": placebo}
    models = paper.reference_models(experiment.setting, data)
    found = [
        (key, "", None, _predictions(models[key], data, both, protocol, seed)) for key in references
    ]
    if network:
        net, own = paper.build(experiment.setting, data), experiment.setting.paper
        if shares:
            found += _adapted(own, net, data, both, protocol, shares, seed)
        else:
            found += [(own, "", None, _predictions(net, data, both, protocol, seed))]
    for estimator, ending, later, table in found:
        of_network = estimator.startswith(experiment.setting.paper)
        told = {"estimator": estimator, "protocol": later or protocol.name,
                "variant": experiment.setting.variant + ending if of_network else ""}  # fmt: skip
        _keep(experiment, context | told, table, both[1])


def populations(
    experiment: Experiment, to: Mapping[str, object] | None, groups: tuple[str, str] | None
) -> tuple[Data, np.ndarray, np.ndarray, str]:
    """Return the windows of both populations, the subjects of either, and ``"A to B"``.

    Raises
    ------
    ParameterError
        If they do not fit together, or a set has no such groups.
    """
    data, dataset = experiment.data, experiment.setting.dataset
    if groups is not None:
        member = datasets.groups(dataset, data.folder)
        sides = [
            np.array([one for one in data.meta["subject"].unique() if member[one] == group])
            for group in groups
        ]
        if not all(map(len, sides)):
            known = ", ".join(sorted(set(member.values())))
            raise ParameterError(f"{dataset} has no subjects of {groups}; its groups are {known}")
        return data, *sides, " to ".join(f"{dataset} {group}" for group in groups)
    own = data.meta["subject"].unique()
    if to is None:
        return data, own, own, f"{dataset} to {dataset}"
    other = load(checked(replace(experiment.setting, **to)))
    if other.X.shape[1:] != data.X.shape[1:] or other.n_outputs != data.n_outputs:
        raise ParameterError(
            f"windows {data.X.shape[1:]} of {data.n_outputs} classes and {other.X.shape[1:]} of "
            f"{other.n_outputs} do not fit together; take the same channels, rate and seconds"
        )
    both = replace(
        data,
        X=np.concatenate([data.X, other.X]),
        y=np.concatenate([data.y, other.y]),
        meta=pd.concat([data.meta, other.meta], ignore_index=True),
        where=f"{data.where}; {other.where}",
    )
    return both, own, other.meta["subject"].unique(), f"{dataset} to {to['dataset']}"


def _protocol(
    meta: pd.DataFrame, trained: np.ndarray, tested: np.ndarray, n_splits: int
) -> Protocol:
    """Return the split: one fold from population to population, or folds of people within one."""
    within = get("group_kfold_subject", n_splits=min(n_splits, len(tested)))

    def split(y: np.ndarray, rows: pd.DataFrame) -> Iterator[Split]:
        at = {name: np.flatnonzero(rows["subject"].isin(who)) for name, who in
              (("train", trained), ("test", tested))}  # fmt: skip
        if not set(trained) & set(tested):
            yield at["train"], at["test"]
            return
        own = at["test"]
        for fit, test in within.split(np.asarray(y)[own], rows.iloc[own]):
            yield own[fit], own[test]

    name = within.name if set(trained) & set(tested) else ACROSS
    return Protocol(name, SUBJECT, False, "nothing", "two populations", split)


def _predictions(
    model: BaseEstimator, data: Data, labels: tuple, protocol: Protocol, seed: int
) -> pd.DataFrame:
    y, n_outputs = labels
    return evaluate.evaluate(
        _with_outputs(model, n_outputs), data.X, y, data.meta, protocol, seed=seed
    ).predictions


def _with_outputs(model: BaseEstimator, n_outputs: int) -> BaseEstimator:
    """Return an estimator for so many classes: coins have two, whatever the data have."""
    if "module__n_outputs" not in model.get_params():
        return model
    return clone(model).set_params(module__n_outputs=n_outputs)


def _adapted(
    name: str,
    net: BaseEstimator,
    data: Data,
    labels: tuple,
    protocol: Protocol,
    shares: Sequence[float],
    seed: int,
) -> list[tuple[str, str, str | None, pd.DataFrame]]:
    """Train the network once a fold, as `evaluate.evaluate` does, then adapt it to each subject.

    Returns
    -------
    list of tuple
        Estimator, ending of the variant, protocol where it is another one, and predictions: on all
        test windows, and on the later half of each trial before and after adapting.
    """
    y, n_outputs = labels
    found: dict[tuple[str, str, str | None], list[pd.DataFrame]] = {}
    subjects = data.meta["subject"].to_numpy()

    def keep(key: tuple, rows: np.ndarray, predicted: np.ndarray, fold: int) -> None:
        table = data.meta.iloc[rows].assign(fold=fold, y_true=y[rows], y_pred=predicted)
        found.setdefault(key, []).append(table[PREDICTION_COLUMNS])

    for fold, (train, test) in enumerate(protocol.split(y, data.meta)):
        own_seed = fold_seed(seed, fold)
        fit, valid = protocol.inner(y, data.meta, train, own_seed) or (train, None)
        report = audit.audit(train, test, data.meta, y, fitted_on=fit, selected_on=valid)
        audit.require(report, protocol, fold)
        held = None if valid is None else (data.X[valid], y[valid])
        model = seeded(_with_outputs(net, n_outputs), own_seed)
        model.fit(data.X[fit], y[fit], valid=held)
        keep((name, "", None), test, model.predict(data.X[test]), fold)
        for _, own in pd.Series(test).groupby(subjects[test]):
            for method, ending, rows, predicted in _answers(
                model, data, y, own.to_numpy(), shares, own_seed
            ):
                keep((f"{name}_{method}", ending, ADAPTED), rows, predicted, fold)
    return [(*key, pd.concat(tables, ignore_index=True)) for key, tables in found.items()]


def _answers(
    net: BaseEstimator,
    data: Data,
    y: np.ndarray,
    own: np.ndarray,
    shares: Sequence[float],
    seed: int,
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Yield method, ending of the variant, test windows and predictions for one subject."""
    shortest = int(data.meta.iloc[own].groupby(["session", "trial"]).size().min())
    for number, share in enumerate(shares):
        windows = max(1, round(share * shortest))
        chosen, test = calibration(data.meta, y, own, windows, "prefix", seed)
        if number == 0:
            yield "unadapted", "+0_percent", test, net.predict(data.X[test])
        how = {"steps": [STEPS], "seed": seed}
        _, after = adapt(net, "fine_tuned", data.X[chosen], y[chosen], data.X[test], **how)
        yield "fine_tuned", f"+{round(100 * share)}_percent", test, after[STEPS]


def _keep(
    experiment: Experiment, context: Mapping[str, object], table: pd.DataFrame, n_outputs: int
) -> None:
    rows = scoring.score_rows(table, context, n_outputs=n_outputs, seed=experiment.setting.seed)
    experiment.rows.append(rows)
    keys = ("estimator", "variant", "protocol", "placebo", "dataset")
    experiment.predictions.append(table.assign(**{key: context[key] for key in keys}))
