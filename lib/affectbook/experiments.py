"""Windows of a data set, and every evaluation made on them, collected as score rows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone

from affectbook import (
    audit,
    datasets,
    evaluate,
    folds,
    progress,
    protocols,
    results,
    scoring,
    windows,
)
from affectbook.datasets.card import Card, LabelRule
from affectbook.errors import ParameterError
from affectbook.files import build_dir, write_text

# Protocols that train within one subject need both sides of the placebo's coin in each of them.
_COINS_PER_SUBJECT = {
    "leave_one_trial_out": 2,
    "group_kfold_trial": 2,
    "leave_one_segment_out": 2,
    "within_trial_as_published": 1,
}


@dataclass(frozen=True)
class Setting:
    """Every choice that decides a score, resolved: parameters over the scale's preset.

    The names are those of the columns of a score row where they appear there. What has a default
    was added when scores had been recorded without it: `told`.

    Attributes
    ----------
    highpass : float
        Lower edge in Hz of the filter that whole recordings go through.
    """

    paper: str
    dataset: str
    tier: str
    target: str
    label_rule: str | None
    protocol: str
    subjects: int | None
    seconds: float
    overlap: float
    effect: float
    fingerprint: float
    variant: str
    scale: str
    sfreq: float
    per_trial: int | None
    n_splits: int
    epochs: int
    batch_size: int
    patience: int
    seed: int
    device: str
    highpass: float = 0.5


_ADDED = {one.name: one.default for one in fields(Setting) if one.default is not MISSING}


def told(setting: Setting | Mapping[str, object]) -> dict[str, object]:
    """Return a setting as keys and records tell it: without what was added, unless it was used.

    Parameters
    ----------
    setting
        A setting, or what was recorded of one.
    """
    values = dict(setting) if isinstance(setting, Mapping) else asdict(setting)
    return {
        name: value
        for name, value in values.items()
        if name not in _ADDED or value != _ADDED[name]
    }


@dataclass(frozen=True)
class Data:
    """Windows with everything a page has to say about where they come from.

    Attributes
    ----------
    X, y, meta
        As `windows.make_windows` gives them.
    card, rule
        Data card and label rule in force.
    where : str
        The line "tier, data, folder" that opens every log and page.
    folder : pathlib.Path
    sfreq : float
    """

    X: np.ndarray
    y: np.ndarray
    meta: pd.DataFrame
    card: Card
    rule: LabelRule
    where: str
    folder: Path
    sfreq: float

    @property
    def n_outputs(self) -> int:
        """Number of classes."""
        return len(self.rule.classes)

    def content_hash(self) -> str:
        """Return a SHA-256 of windows, labels and `meta`: all that a score is computed from."""
        return self._content_hash

    @cached_property
    def _content_hash(self) -> str:
        total = hashlib.sha256(np.ascontiguousarray(self.X).tobytes())
        total.update(self.y.tobytes())
        total.update(self.meta.to_csv(index=False, float_format="%.6f").encode())
        return total.hexdigest()

    def only(self, **where: object) -> Data:
        """Return the windows whose columns of `meta` have these values: ``only(session="1")``.

        Raises
        ------
        ParameterError
            If `meta` has no such column, or no window has these values.
        """
        if unknown := [name for name in where if name not in self.meta]:
            raise ParameterError(
                f"windows have no column {unknown[0]!r}; there are {', '.join(self.meta)}"
            )
        rows = results.select(self.meta.reset_index(drop=True), **where).index.to_numpy()
        wanted = ", ".join(f"{name} {value}" for name, value in where.items())
        if not len(rows):
            there = "; ".join(f"{name}: {', '.join(map(str, self.meta[name].unique()[:20]))}"
                              for name in where)  # fmt: skip
            raise ParameterError(f"no window of {self.card.name} has {wanted}; there are {there}")
        meta = self.meta.iloc[rows].reset_index(drop=True)
        origin = f"{self.where}, only {wanted}"
        return replace(self, X=self.X[rows], y=self.y[rows], meta=meta, where=origin)

    def counts(self) -> pd.DataFrame:
        """Windows, trials and subjects of each class."""
        names = np.array(self.rule.classes)[self.y]
        table = self.meta.assign(condition=names, trial_id=windows.trial_ids(self.meta))
        counts = table.groupby("condition").agg(
            windows=("window", "size"),
            trials=("trial_id", "nunique"),
            subjects=("subject", "nunique"),
        )
        return counts.reindex(self.rule.classes)


def rule_of(card: Card, name: str | None, target: str) -> LabelRule:
    """Return the label rule of this name, or the card's first one for a target.

    Raises
    ------
    ParameterError
        If the card has no such rule.
    """
    for rule in card.label_rules:
        if rule.target == target and name in (None, rule.name):
            return rule
    known = ", ".join(f"{rule.name} (target {rule.target})" for rule in card.label_rules)
    raise ParameterError(
        f"{card.name} has no label_rule {name!r} for target {target!r}; it has {known}"
    )


def checked(setting: Setting) -> Setting:
    """Return `setting` if data set, tier, label rule and protocol go together.

    Needs no data, so that a run can be refused before it starts.

    Raises
    ------
    ParameterError, ProtocolError
        If they do not.
    """
    datasets.check_tier(setting.dataset, setting.tier)
    rule_of(datasets.card(setting.dataset), setting.label_rule, setting.target)
    protocols.get(setting.protocol)
    return setting


def load(setting: Setting) -> Data:
    """Find or make the data, and cut them into windows.

    Raises
    ------
    DataNotFoundError
        If the tier asks for data that are not there; no other tier takes their place.
    """
    card = datasets.card(setting.dataset)
    rule = rule_of(card, setting.label_rule, setting.target)
    folder = datasets.prepare(
        setting.dataset,
        setting.tier,
        effect=setting.effect,
        fingerprint=setting.fingerprint,
        seed=setting.seed,
        subjects=setting.subjects or len(card.subjects),
    )
    available = datasets.subjects(setting.dataset, folder)
    chosen = available[: setting.subjects]
    X, y, meta = windows.make_windows(
        datasets.load(setting.dataset, folder, chosen),
        setting.seconds,
        setting.overlap,
        setting.sfreq,
        label_rule=rule,
        band=(setting.highpass, None),
        per_trial=setting.per_trial,
    )
    where = datasets.describe(setting.dataset, setting.tier, folder)
    return Data(X, y, meta, card, rule, where, folder, setting.sfreq)


def protocol_of(setting: Setting, name: str | None = None) -> protocols.Protocol:
    """Return a protocol with the scale's number of folds, where it takes one."""
    name = name or setting.protocol
    options = {"n_splits": setting.n_splits} if protocols.takes(name, "n_splits") else {}
    return protocols.get(name, **options)


@dataclass
class Experiment:
    """Evaluations on one set of windows, collected.

    Attributes
    ----------
    setting, data
        What they have in common.
    rows, predictions, histories : list of pandas.DataFrame
        Score rows, predictions and training curves so far.
    """

    setting: Setting
    data: Data
    rows: list[pd.DataFrame] = field(default_factory=list)
    predictions: list[pd.DataFrame] = field(default_factory=list)
    histories: list[pd.DataFrame] = field(default_factory=list)

    def labels(self, protocol: protocols.Protocol, placebo: bool) -> tuple[np.ndarray, int]:
        """Return labels and number of classes: the data's, or coins tossed per trial."""
        if not placebo:
            return self.data.y, self.data.n_outputs
        coins = audit.placebo_labels(
            self.data.meta, self.setting.seed, _COINS_PER_SUBJECT.get(protocol.name, 0)
        )
        return coins, 2

    def add(
        self,
        name: str,
        estimator: BaseEstimator,
        protocol: str | protocols.Protocol | None = None,
        *,
        variant: str = "",
        placebo: bool = False,
        look: evaluate.Look | None = None,
    ) -> evaluate.Evaluation:
        """Evaluate one estimator under one protocol, and keep its score rows.

        Parameters
        ----------
        name, variant
            As score rows call the estimator; after the variant they say ``+0.25_of_trials`` where
            the protocol trains on so few: `protocols.fewer`.
        estimator
            Any scikit-learn classifier over windows.
        protocol
            A name, or the protocol itself; the setting's own unless given.
        placebo
            Replace the labels by coin flips per trial.
        look
            As `evaluate.evaluate` takes it.
        """
        ready = isinstance(protocol, protocols.Protocol)
        splitter = protocol if ready else protocol_of(self.setting, protocol)
        variant = "+".join(filter(None, (variant, splitter.thinned)))
        y, n_outputs = self.labels(splitter, placebo)
        if "module__n_outputs" in estimator.get_params():
            estimator = clone(estimator).set_params(module__n_outputs=n_outputs)
        done = evaluate.evaluate(
            estimator,
            self.data.X,
            y,
            self.data.meta,
            splitter,
            seed=self.setting.seed,
            kept=self._kept(name, estimator, splitter, variant, y),
            look=look,
        )
        context = self.context() | {
            "estimator": name,
            "variant": variant,
            "protocol": splitter.name,
            "placebo": placebo,
        }
        rows = scoring.score_rows(
            done.predictions, context, n_outputs=n_outputs, seed=self.setting.seed
        )
        self.rows.append(rows)
        keys = {key: context[key] for key in ("estimator", "variant", "protocol", "placebo")}
        self.predictions.append(done.predictions.assign(**keys))
        if len(done.histories):
            self.histories.append(done.histories.assign(**keys, seed=self.setting.seed))
        return done

    def _kept(
        self,
        name: str,
        estimator: BaseEstimator,
        protocol: protocols.Protocol,
        variant: str,
        y: np.ndarray,
    ) -> folds.Kept | None:
        """Return where the folds of an evaluation are kept: inside a run only, which has a key."""
        run = progress.folder()
        known = (name, variant, estimator, protocol.name, told(self.setting), y)
        key = folds.key(*known, self.data.content_hash()) if run else None
        what = ", ".join(part for part in (name, variant, protocol.name) if part)
        return folds.Kept(run, key, what) if key else None

    def context(self) -> dict[str, object]:
        """Return what all score rows of these windows have in common."""
        context = {name: getattr(self.setting, name, None) for name in scoring.CONTEXT}
        context["label_rule"] = self.data.rule.name
        if "highpass" in told(self.setting):
            # Other signals are other data: no table may take the ones for the others.
            context["dataset"] += f" above {self.setting.highpass:g} Hz"
        context["run_key"] = os.environ.get("AFFECTBOOK_RUN_KEY", "")
        return context

    def table(self) -> pd.DataFrame:
        """Return all score rows so far."""
        return pd.concat(self.rows, ignore_index=True)

    def save(self) -> Path:
        """Write scores, predictions and hashes of the data into the folder of this run.

        `runs` names the folder; in JupyterLab it is ``build/runs/<paper>/interactive``.
        """
        folder = progress.folder() or build_dir("runs", self.setting.paper, "interactive")
        results.write_rows(self.table(), folder / "scores.csv")
        results.write_rows(
            pd.concat(self.predictions, ignore_index=True), folder / "predictions.csv"
        )
        hashes = {
            "dataset": self.setting.dataset,
            "tier": self.setting.tier,
            "sha256": datasets.content_hash(self.setting.dataset, self.data.folder),
            "windows": list(self.data.X.shape),
        }
        write_text(folder / "data.json", json.dumps(hashes, indent=1) + "\n")
        return folder
