"""Is an overlap of windows good, or fitted to validation? Chosen on inner, scored on outer folds.

An overlap is a choice like any other: it is made on an inner split of the training windows, at the
level of the protocol, and what was chosen is scored on windows that had no part in it. Where people
or parts of trials are held out, tests are windows without overlap, the same ones for all overlaps.
Published protocols shuffle the windows of each overlap and test on them, too: that is what leaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import confusion_matrix

from affectbook import audit, evaluate, experiments, progress, protocols, scoring
from affectbook.errors import ParameterError, ProtocolError
from affectbook.evaluate import PREDICTION_COLUMNS
from affectbook.experiments import Data, Experiment
from affectbook.models import scaling
from affectbook.protocols import Protocol
from affectbook.splitters import Split
from affectbook.windows import TRIAL

OVERLAPS = (0.0, 0.25, 0.5, 0.75, 0.9)
INNER, CURVE, CHOICE = "inner", "inner_curve", "overlap_choice"
"""Estimators of rows: scores of the inner split, after each epoch of it, and what was chosen."""
INNER_TRAIN, INNER_STEPS, OVERLAP = "inner_train", "inner_steps", "overlap"
CHOSEN, EQUAL_STEPS = "chosen", "equal_steps"
_INNER_OF = {"leave_one_subject_out": "group_kfold_subject"}


def variant_of(variant: str, overlap: float | str, equal_steps: bool = False) -> str:
    """Return how rows call a variant that is trained at an overlap (0 to below 1), or `CHOSEN`."""
    told = overlap if isinstance(overlap, str) else f"{100 * overlap:g}"
    return f"{variant}+overlap_{told}" + f"+{EQUAL_STEPS}" * equal_steps


def choose(
    paper: ModuleType, experiment: Experiment, *, overlaps: Sequence[float] = OVERLAPS,
    placebo: bool = False, equal_steps: bool = False, inner_folds: int = 3,
) -> pd.DataFrame:  # fmt: skip
    """Score each overlap on inner and outer folds, and the one that the inner folds choose.

    Parameters
    ----------
    paper
        Module with `build`.
    experiment
        Its setting is cut at each overlap, with all windows of a trial; gets the rows, and the
        predictions of the outer folds.
    overlaps
        0 to below 1.
    placebo
        Replace the labels by coins tossed per trial, the same ones for all overlaps.
    equal_steps
        More overlap makes more windows, and more gradient steps in as many epochs. Give all
        overlaps the steps that the windows without overlap take: an epoch is then a draw of as many
        windows.
    inner_folds
        At most so many, of the same protocol.

    Returns
    -------
    pandas.DataFrame
        Rows of the estimator itself in the variants ``+overlap_75`` and so on, and
        ``+overlap_chosen``; of estimator ``inner``, in the same variants, scores on the inner
        validation windows and, as metrics ``inner_train`` and ``inner_steps``, on the windows
        trained on and the gradient steps (mean of the inner folds); of ``inner_curve``, metrics
        ``train[3]`` and ``valid[3]``: balanced accuracy after so many epochs, of networks; of
        ``overlap_choice`` the metric ``overlap`` of each fold. Variants end in ``+equal_steps``
        where steps are. Column overlap is that of the training windows, of what was chosen that of
        the setting.

    Raises
    ------
    ParameterError
        If a trial's windows are capped, the protocol is transductive, or equal steps are asked of
        what takes none.
    ProtocolError
        If the windows cannot be split, or a fold has none of an overlap.
    AuditError
        If a split of an honest protocol leaks, an inner one too.
    """
    setting, protocol = experiment.setting, experiments.protocol_of(experiment.setting)
    if setting.per_trial is not None or protocol.transductive or not overlaps:
        raise ParameterError(
            f"overlaps {overlaps} under {protocol.name} with per_trial {setting.per_trial}: needs "
            "an overlap, a protocol that is not transductive, and all windows of a trial, as more "
            "overlap makes no more of them where they are capped"
        )
    pool = _Pool.of(experiment, protocol, overlaps, placebo)
    plans = {one: list(_plan(protocol, pool, one, inner_folds)) for one in pool.data}
    made = {
        one: _Overlap(paper, experiment, protocol, pool, one, plans, equal_steps).score()
        for one in sorted(overlaps)
    }
    return _kept(experiment, protocol, pool, made, placebo, equal_steps)


@dataclass(frozen=True)
class _Pool:
    """Windows of all overlaps under one another: a split of all of them holds for each.

    Attributes
    ----------
    data : dict of float to Data
        The windows of each overlap, without overlap first.
    first : dict of float to int
        Where they begin.
    meta, y, overlap
        Of all ``(n_windows,)``.
    n_outputs : int
    """

    data: dict[float, Data]
    first: dict[float, int]
    meta: pd.DataFrame
    y: np.ndarray
    overlap: np.ndarray
    n_outputs: int

    @classmethod
    def of(
        cls, experiment: Experiment, protocol: Protocol, overlaps: Sequence[float], placebo: bool
    ) -> _Pool:
        """Cut the recordings of an experiment at each overlap, and toss its coins once."""
        data = {
            one: experiments.load(replace(experiment.setting, overlap=one))
            for one in sorted({0.0, *overlaps})
        }
        sizes = [len(one.y) for one in data.values()]
        meta = pd.concat([one.meta for one in data.values()], ignore_index=True)
        y = np.concatenate([one.y for one in data.values()])
        # Of these data only labels and meta are asked for.
        told = replace(experiment, data=replace(experiment.data, y=y, meta=meta))
        y, n_outputs = told.labels(protocol, placebo)
        first = dict(zip(data, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        return cls(data, first, meta, y, np.repeat(list(data), sizes), n_outputs)

    def at(self, rows: np.ndarray, overlap: float) -> np.ndarray:
        """Return those rows that are windows of an overlap."""
        return rows[self.overlap[rows] == overlap]

    def own(self, rows: np.ndarray, overlap: float) -> np.ndarray:
        """Return what rows of an overlap are called among its windows."""
        return rows - self.first[overlap]


class _Fold(NamedTuple):
    """Rows of the pool for one overlap: outer training and test, and inner pairs."""

    train: np.ndarray
    test: np.ndarray
    inner: list[Split]


def _plan(protocol: Protocol, pool: _Pool, overlap: float, inner_folds: int) -> Iterator[_Fold]:
    """Yield the folds of an overlap.

    The windows of all overlaps are split together, so that the same subjects, and the same parts of
    trials, are held out for each; then those of the overlap are trained on, and those without
    overlap are tested. A published protocol splits the windows of each overlap by themselves.
    """
    everything, tested = np.arange(len(pool.y)), 0.0
    if protocol.as_published:
        everything, tested = pool.at(everything, overlap), overlap

    def split(by: Protocol, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Split]]:
        for train, test in by.split(pool.y[rows], pool.meta.iloc[rows]):
            pair = pool.at(rows[train], overlap), pool.at(rows[test], tested)
            if not all(map(len, pair)):
                raise ProtocolError(
                    f"{protocol.name}: a fold has {len(pair[0])} training windows with overlap "
                    f"{overlap:g} and {len(pair[1])} others; take shorter windows"
                )
            yield rows[train], pair

    name = _INNER_OF.get(protocol.name, protocol.name)
    options = {"n_splits": inner_folds} if protocols.takes(name, "n_splits") else {}
    within = protocols.get(name, **protocol.options | options)
    for train, pair in split(protocol, everything):
        inner = [one for _, one in islice(split(within, train), inner_folds)]
        if not inner:
            raise ProtocolError(f"{name} splits no training windows once more; {within.needs}")
        yield _Fold(*pair, inner)


class _Made(NamedTuple):
    """What one overlap leaves behind: predictions of both levels, and rows (fold, metric, ...)."""

    outer: pd.DataFrame
    inner: pd.DataFrame
    told: pd.DataFrame


class _Overlap:
    """Trains and scores one overlap in all folds."""

    def __init__(
        self, paper: ModuleType, experiment: Experiment, protocol: Protocol, pool: _Pool,
        overlap: float, plans: Mapping[float, list[_Fold]], equal_steps: bool,
    ) -> None:  # fmt: skip
        setting = replace(experiment.setting, overlap=overlap)
        estimator = paper.build(setting, pool.data[overlap])
        known = estimator.get_params()
        if equal_steps and "iterator_train" not in known:
            raise ParameterError(f"{setting.paper} takes no gradient steps that could be equal")
        if "module__n_outputs" in known:
            estimator = clone(estimator).set_params(module__n_outputs=pool.n_outputs)
        self.estimator, self.is_net = estimator, "iterator_train" in known
        self.setting, self.protocol, self.pool, self.overlap = setting, protocol, pool, overlap
        self.plan, self.budget = plans[overlap], plans[0.0] if equal_steps else None
        self.scaled = {one: _scaled(estimator, pool.data[one]) for one in {0.0, overlap}}

    def score(self) -> _Made:
        """Train and score every fold, outer and inner, and audit each."""
        outer, inner, told = [], [], []
        for number, fold in enumerate(self.plan):
            progress.step(f"{self.setting.paper}, overlap {self.overlap:g}: fold {number + 1} of "
                          f"{len(self.plan)}")  # fmt: skip
            rows, lines = self._inner(number, fold)
            inner.append(rows)
            told.append(lines.assign(fold=number))
            limit = None if self.budget is None else len(self.budget[number].train)
            model, _ = self._trained(fold.train, number, limit)
            self._audit((fold.train, fold.test), number, model, fold.inner)
            outer.append(self._said(model, fold.test, number))
        return _Made(*(pd.concat(one, ignore_index=True) for one in (outer, inner, told)))

    def _inner(self, number: int, fold: _Fold) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return predictions of the inner validation windows, and rows of training."""
        said, lines = [], []
        for i, (fit, valid) in enumerate(fold.inner):
            limit = None if self.budget is None else len(self.budget[number].inner[i][0])
            model, watch = self._trained(fit, number, limit, valid)
            self._audit((fit, valid), f"{number}, inner {i}", model)
            said.append(self._said(model, valid, number))
            known = self._said(model, fit, number)
            told = {INNER_TRAIN: _balanced(known, self.pool.n_outputs)}
            if watch is not None:
                told[INNER_STEPS] = watch.n_steps_
                for name, curve in (("train", watch.train_), ("valid", watch.valid_)):
                    told |= {f"{name}[{epoch}]": value for epoch, value in enumerate(curve, 1)}
            counts = len(fit), len(known[TRIAL].drop_duplicates())
            lines += [(metric, value, *counts) for metric, value in told.items()]
        columns = ["metric", "value", "n_test_windows", "n_test_trials"]
        table = pd.DataFrame(lines, columns=columns).groupby("metric", sort=False)
        told = table.agg({"value": "mean", "n_test_windows": "sum", "n_test_trials": "max"})
        return pd.concat(said), told.reset_index()

    def _trained(
        self, rows: np.ndarray, number: int, limit: int | None, watched: np.ndarray | None = None
    ) -> tuple[BaseEstimator, object | None]:
        """Train a fresh copy on rows of the pool, in epochs of no more than `limit` windows."""
        model = evaluate.seeded(self.estimator, evaluate.fold_seed(self.setting.seed, number))
        watch = None
        if self.is_net:
            from affectbook.watching import DrawnEpochs, Watch

            if limit is not None and self.overlap:
                steps = len(model.get_iterator(range(limit), training=True))
                size = {"n_windows": limit, "n_steps": steps}
                model.set_params(iterator_train=DrawnEpochs)
                model.set_params(**{f"iterator_train__{key}": one for key, one in size.items()})
            if watched is not None:
                watch = Watch(self._windows(watched), self.pool.y[watched], self.pool.n_outputs)
                model.set_params(callbacks=[*(model.callbacks or []), ("watch", watch)])
        y = self.pool.y[self.pool.overlap == self.overlap]
        own = self.pool.own(rows, self.overlap)
        model, *_ = evaluate._fit_fold(model, self.scaled[self.overlap], y, None, own)
        return model, watch

    def _windows(self, rows: np.ndarray) -> np.ndarray:
        overlap = self.pool.overlap[rows[0]]
        return self.scaled[overlap][self.pool.own(rows, overlap)]

    def _said(self, model: BaseEstimator, rows: np.ndarray, number: int) -> pd.DataFrame:
        """Return predictions as `evaluate` does."""
        told = self.pool.meta.iloc[rows].assign(
            fold=number, y_true=self.pool.y[rows], y_pred=model.predict(self._windows(rows))
        )
        return told[PREDICTION_COLUMNS]

    def _audit(
        self, split: Split, fold: int | str, model: BaseEstimator, inner: Sequence[Split] = ()
    ) -> None:
        """Stop where an honest split leaks; an inner one may lack a class that is rare."""
        selected = np.concatenate([valid for _, valid in inner]) if inner else None
        report = audit.audit(
            *split, self.pool.meta, self.pool.y if inner else None, fitted_on=split[0],
            selected_on=selected, pretrained_on=getattr(model, "pretrained_subjects_", ()),
        )  # fmt: skip
        audit.require(report, self.protocol, fold)


def _scaled(estimator: BaseEstimator, data: Data) -> np.ndarray:
    """Return windows as `evaluate` scales them before it splits them."""
    if not scaling.by_subject(estimator):
        return data.X
    return scaling.of_subjects(data.X, data.meta["subject"], estimator.scaler.kind)


def _balanced(predictions: pd.DataFrame, n_outputs: int) -> float:
    true, said = predictions["y_true"], predictions["y_pred"]
    table = confusion_matrix(true, said, labels=range(n_outputs))
    return float(scoring.balanced_accuracy(table))


def _choices(made: Mapping[float, _Made], n_outputs: int) -> dict[int, float]:
    """Return the overlap that the inner folds of each outer fold choose; the smallest if equal."""
    scores = pd.DataFrame({
        overlap: {fold: _balanced(part, n_outputs) for fold, part in one.inner.groupby("fold")}
        for overlap, one in made.items()
    })  # fmt: skip
    return scores.idxmax(axis=1).to_dict()


def _kept(
    experiment: Experiment, protocol: Protocol, pool: _Pool, made: Mapping[float, _Made],
    placebo: bool, equal_steps: bool,
) -> pd.DataFrame:  # fmt: skip
    """Return all rows, and add them and the outer predictions to the experiment."""
    setting, choices = experiment.setting, _choices(made, pool.n_outputs)
    context = experiment.context() | {
        "protocol": protocol.name, "placebo": placebo, "seed": setting.seed, "subject": "all",
    }  # fmt: skip
    blocks = []
    for overlap, one in made.items():
        variant = variant_of(setting.variant, overlap, equal_steps)
        told = context | {"overlap": overlap, "variant": variant}
        blocks += _rows(one, told, pool.n_outputs)
        keys = {key: told[key] for key in ("variant", "protocol", "placebo")}
        experiment.predictions.append(one.outer.assign(estimator=setting.paper, **keys))
    best, told = _picked(made, choices), context.copy()
    told["variant"] = variant_of(setting.variant, CHOSEN, equal_steps)
    blocks += _rows(best, told, pool.n_outputs)[:-1]
    tested = best.outer.groupby("fold")
    choice = pd.DataFrame({
        "value": choices, "n_test_windows": tested.size(),
        "n_test_trials": tested[TRIAL].apply(lambda part: len(part.drop_duplicates())),
    })  # fmt: skip
    choice = choice.rename_axis("fold").reset_index().astype({"fold": str})
    choice = choice.assign(**told | {"estimator": CHOICE, "metric": OVERLAP})
    rows = pd.concat([*blocks, choice[scoring.SCORE_COLUMNS]], ignore_index=True)
    experiment.rows.append(rows)
    return rows


def _rows(one: _Made, context: Mapping[str, object], n_outputs: int) -> list[pd.DataFrame]:
    """Return the rows of one overlap: outer, inner, told of training, and curves."""
    tables = {context["paper"]: one.outer, INNER: one.inner}
    # What is scored says of whom itself.
    plain = {name: value for name, value in context.items() if name not in ("subject", "seed")}
    found = [
        scoring.score_rows(table, plain | {"estimator": name}, n_outputs=n_outputs,
                           seed=context["seed"])
        for name, table in tables.items()
    ]  # fmt: skip
    told = one.told.astype({"fold": str})
    curve = told["metric"].str.contains("[", regex=False)
    for name, part in ((INNER, told[~curve]), (CURVE, told[curve])):
        found.append(part.assign(**context | {"estimator": name})[scoring.SCORE_COLUMNS])
    return found


def _picked(made: Mapping[float, _Made], choices: Mapping[int, float]) -> _Made:
    """Return of each fold what the overlap left behind that was chosen in it."""

    def of(what: str) -> pd.DataFrame:
        return pd.concat(
            [getattr(made[overlap], what).query("fold == @fold")
             for fold, overlap in choices.items()],
            ignore_index=True,
        )  # fmt: skip

    return _Made(*map(of, _Made._fields))
