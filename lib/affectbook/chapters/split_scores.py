"""What scores depend on how the windows were split: tables, from score rows alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from affectbook import results
from affectbook.chapters.shared import need, of_subjects, require_one
from affectbook.claims import DETERMINISTIC, points
from affectbook.figures import name_of
from affectbook.results import FEWEST_SUBJECTS, Interval

PAPER = "ms_imamba"
_EXPERIMENT = ("scale", "dataset", "tier", "effect", "label_rule", "seconds", "protocol")
_SHARE = r"\+?(?:([0-9.e-]+)_of_(subjects|trials))?"
RECORDED, VARIANTS, BUDGET = "recorded", "twin_variants", "budget"
"""Sweeps that make the rows, as messages name them unless told otherwise."""

SHORT = {
    "shuffled_windows_as_published": "shuffled\nwindows",
    "blocked_within_trial": "later in\nthe trial",
    "group_kfold_trial": "new\ntrials",
    "group_kfold_stimulus": "new\nstimuli",
    "leave_one_session_out": "a new\nsession",
    "group_kfold_subject_transductive": "new subjects,\nsignals seen",
    "leave_one_subject_out": "a new\nsubject",
    "group_kfold_subject": "new\nsubjects",
    "group_kfold_subject_and_stimulus": "new subjects\nand stimuli",
}
"""What an axis with all protocols on it calls them."""
PROTOCOL_ORDER = tuple(SHORT)
"""From what shares most with the training windows to what shares least."""

INTRA, INTER = "intra-subject", "inter-subject"
KINDS = {
    "shuffled_windows_as_published": INTRA,
    "blocked_within_trial": INTRA,
    "group_kfold_trial": INTRA,
    "group_kfold_stimulus": f"{INTRA}, new stimulus",
    "leave_one_session_out": INTRA,
    "group_kfold_subject_transductive": f"{INTER}, signals seen",
    "leave_one_subject_out": INTER,
    "group_kfold_subject": INTER,
    "group_kfold_subject_and_stimulus": INTER,
}
"""Which of the two settings of the MS-iMamba paper a protocol can stand for (its split unit was
not found)."""


def protocol_scores(
    rows: pd.DataFrame, predictions: pd.DataFrame, estimators: Sequence[str],
    metric: str = "balanced_accuracy",
) -> pd.DataFrame:  # fmt: skip
    """Return the score of each estimator under each protocol beside what luck and coins score.

    Parameters
    ----------
    rows
        Score rows of one data set at one scale, of one variant of each estimator; any number of
        seeds.
    predictions
        As `results.predictions` returns them, of the same variants; may be empty.
    estimators
        As the rows call them.
    metric
        A key of `results.METRICS`.

    Returns
    -------
    pandas.DataFrame
        protocol, in the order of `PROTOCOL_ORDER`, and estimator; value, low, high, n_subjects;
        luck_low and luck_high, of `results.permutation_band`; coins, the score on the placebo;
        n_outputs and coin_sides, the classes of both. NaN where there is none. Scores are 0 to 1.

    Raises
    ------
    ParameterError
        If the rows are of several experiments.
    """
    own = rows[rows["estimator"].isin(estimators) & rows["protocol"].isin(PROTOCOL_ORDER)]
    require_one_each(own, f"{metric} under protocols")
    lines = []
    for protocol in filter(set(own["protocol"]).__contains__, PROTOCOL_ORDER):
        for estimator in estimators:
            part = results.select(own, protocol=protocol, estimator=estimator)
            labels, coins = (results.select(part, placebo=kind) for kind in (False, True))
            if labels.empty:
                continue
            line = {"protocol": protocol, "estimator": estimator}
            line |= results.interval(labels, metric)._asdict()
            luck = _luck(predictions, labels.iloc[0], metric)
            line |= dict(zip(("luck_low", "luck_high"), luck, strict=True))
            line |= {"coins": results.interval(coins, metric).value}
            line |= {"n_outputs": classes_of(labels), "coin_sides": classes_of(coins)}
            lines.append(line)
    return pd.DataFrame(lines)


def require_one_each(rows: pd.DataFrame, what: str, *columns: str) -> None:
    """Refuse rows of several data sets, or of several variants of an estimator."""
    require_one(rows, what, *columns)
    for estimator, part in rows.groupby("estimator"):
        require_one(part, f"{what} of {estimator}", "variant")


def _luck(predictions: pd.DataFrame, line: pd.Series, metric: str) -> tuple[float, float]:
    """Return the permutation band of the predictions that the score rows of `line` are of."""
    if predictions.empty:
        return np.nan, np.nan
    where = {name: line[name] for name in ("estimator", "variant", "protocol", "placebo")}
    return results.permutation_band(results.select(predictions, **where), metric)


def classes_of(rows: pd.DataFrame) -> float:
    return np.nan if rows.empty else results.confusions(rows)[1].shape[-1]


def short_name(name: str) -> str:
    """Return the short name of a protocol on one line; a paper's own is called so."""
    published = " (as published)" if name.endswith("_as_published") else ""
    return " ".join(SHORT.get(name, name).split()) + published


def efficiency_scores(
    rows: pd.DataFrame, base: str, metric: str = "balanced_accuracy",
    references: Sequence[str] = (),
) -> pd.DataFrame:  # fmt: skip
    """Return the scores of models that trained on a share of the subjects or trials.

    Parameters
    ----------
    rows, base, metric, references
        As `splits.data_efficiency` takes them.

    Returns
    -------
    pandas.DataFrame
        of, ``"subjects"`` or ``"trials"``; estimator, the network first; share, up to 1; value,
        low, high (0 to 1), n_subjects; n_outputs; dataset, tier and protocol, one of each for
        subjects and for trials.

    Raises
    ------
    ParameterError
        If the shares of subjects, or those of trials, are of several experiments.
    """
    own = results.select(rows, placebo=False).reset_index(drop=True)
    known = own["estimator"].isin(references)
    endings = own["variant"].where(known, own["variant"].str.removeprefix(base))
    own = own[(known | own["variant"].str.startswith(base)) & endings.str.fullmatch(_SHARE)]
    found = endings[own.index].str.extract(_SHARE)
    shares, of = pd.to_numeric(found[0]).fillna(1), found[1].where(found[1].notna(), "")
    own = own.assign(share=shares, of=of)
    lines = [line for of in ("subjects", "trials") for line in _shares(own, of, metric, references)]
    columns = ["of", "estimator", "share", *Interval._fields, "n_outputs", "dataset", "tier",
               "protocol"]  # fmt: skip
    return pd.DataFrame(lines, columns=columns)


def _shares(
    rows: pd.DataFrame, of: str, metric: str, references: Sequence[str]
) -> Iterator[dict[str, object]]:
    """Yield the scores by share of the subjects or of the trials."""
    less = results.select(rows, of=of)
    require_one(less, f"shares of {of}", "protocol", "target", "overlap")
    if less.empty:
        return
    where = {name: less[name].iloc[0] for name in _EXPERIMENT}
    less = pd.concat([less, results.select(rows, of="", **where)])
    networks = [name for name in less["estimator"].unique() if name not in references]
    for estimator in (*networks, *references):
        for share, part in results.select(less, estimator=estimator).groupby("share"):
            line = {"of": of, "estimator": estimator, "share": share, **where}
            line |= results.interval(part, metric)._asdict()
            yield line | {"n_outputs": classes_of(part)}


def model_table(
    rows: pd.DataFrame,
    estimators: Sequence[str],
    protocols: Sequence[str],
    metric: str = "balanced_accuracy",
    sweep: str = RECORDED,
) -> pd.DataFrame:
    """Return one line of text per estimator, with all its scores under each protocol.

    Parameters
    ----------
    rows, estimators, metric
        As `protocol_scores` takes them.
    protocols
        In the order of the columns.
    sweep
        That makes the rows, for the message where there are none.

    Returns
    -------
    pandas.DataFrame
        model; for each protocol the score with its interval and, where it was recorded, that on
        coin flips; under protocols that are not a paper's own also macro F1 and accuracy with
        intervals, and Cohen's kappa. Protocols without any score are left out.

    Raises
    ------
    DataError
        If there are no scores.
    ParameterError
        If the rows are of several experiments.
    """
    own = rows[rows["estimator"].isin(estimators) & rows["protocol"].isin(protocols)]
    need(own, "a table of models", sweep, PAPER)
    require_one_each(own, "a table of models")
    known = set(own["estimator"])
    lines = {name: {"model": name_of(name)} for name in estimators if name in known}
    for protocol in filter(set(own["protocol"]).__contains__, protocols):
        part = results.select(own, protocol=protocol)
        for name, line in lines.items():
            line |= _cells(results.select(part, estimator=name), protocol, metric,
                           coins=part["placebo"].any())  # fmt: skip
    return pd.DataFrame(lines.values())


def _cells(part: pd.DataFrame, protocol: str, metric: str, *, coins: bool) -> dict[str, str]:
    """Return the cells of one estimator under one protocol."""
    labels, name = results.select(part, placebo=False), short_name(protocol)
    cells = {name: str(results.interval(labels, metric))}
    if coins:
        flipped = results.select(part, placebo=True)
        cells[f"{name}: coin flips"] = str(results.interval(flipped, metric))
    if protocol.endswith("_as_published"):
        return cells
    for other, told in (("macro_f1", "macro F1"), ("accuracy", "accuracy")):
        if other != metric:
            cells[f"{name}: {told}"] = str(results.interval(labels, other))
    agreed = np.nan if labels.empty else kappa(results.confusions(labels)[1].sum(0))
    return cells | {f"{name}: Cohen's kappa": "–" if np.isnan(agreed) else f"{agreed:.2f}"}


def kappa(table: np.ndarray) -> float:
    """Return Cohen's kappa of a confusion matrix ``(true, predicted)``.

    J. Cohen, "A coefficient of agreement for nominal scales", 1960: how far right answers exceed
    those of answers drawn at random with the same frequencies; NaN where these are always right.
    """
    total = table.sum()
    right = np.trace(table) / total
    expected = table.sum(0) @ table.sum(1) / total**2
    return float((right - expected) / (1 - expected)) if expected < 1 else np.nan


def paired_tests(
    rows: pd.DataFrame,
    left: str,
    rights: Sequence[str],
    protocol: str,
    metric: str = "balanced_accuracy",
    sweep: str = RECORDED,
) -> pd.DataFrame:
    """Compare one estimator with others on the same subjects, and correct for their number.

    Only seeds that both have count, but for models without a seed.

    Parameters
    ----------
    rows, metric
        As `protocol_scores` takes them.
    left, rights
        Estimators, as the rows call them.
    protocol
        Its rows are taken.
    sweep
        That makes the rows, for the message where there are none.

    Returns
    -------
    pandas.DataFrame
        left, right; value, low, high (0 to 1) and n_subjects of `results.difference`, left minus
        right; p of Wilcoxon's signed-rank test over subjects' scores (two-sided, mean over seeds),
        NaN with fewer than five of them; and p_holm, corrected by Holm's method over all `rights`.

    Raises
    ------
    DataError
        If an estimator has no scores, or no seed in common with `left`.
    ParameterError
        If the rows are of several experiments.
    """
    own = results.select(rows, protocol=protocol, placebo=False)
    own = own[own["estimator"].isin([left, *rights])]
    require_one_each(own, "paired tests")
    lines = []
    for right in rights:
        sides = [results.select(own, estimator=name) for name in (left, right)]
        for name, side in zip((left, right), sides, strict=True):
            need(side, f"{name} under {protocol}", sweep, PAPER)
        sides = _of_common_seeds(*sides, sweep)
        line = {"left": left, "right": right} | results.difference(*sides, metric)._asdict()
        lines.append(line | {"p": _wilcoxon(*(of_subjects(side, metric) for side in sides))})
    table = pd.DataFrame(lines)
    return table.assign(p_holm=holm(table["p"].to_numpy()))


def shown_tests(table: pd.DataFrame) -> pd.DataFrame:
    """Return what `paired_tests` returned as text for the page."""
    lines = []
    for line in table.itertuples():
        gap = Interval(line.value, line.low, line.high, line.n_subjects)
        lines.append({
            "compared": f"{name_of(line.left)} − {name_of(line.right)}",
            "difference (95 % interval)": points(gap), "subjects": line.n_subjects,
            "p (Wilcoxon)": _p(line.p), "p (after Holm)": _p(line.p_holm),
        })  # fmt: skip
    return pd.DataFrame(lines)


def _p(value: float) -> str:
    return "–" if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _of_common_seeds(
    left: pd.DataFrame, right: pd.DataFrame, sweep: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the seeds that both have; those of a model without a seed as they are."""
    sides = (left, right)
    if any(side["estimator"].isin(DETERMINISTIC).all() for side in sides):
        return sides
    seeds = set(left["seed"]) & set(right["seed"])
    for side in (sides := tuple(side[side["seed"].isin(seeds)] for side in sides)):
        need(side, "two models without a seed in common", sweep, PAPER)
    return sides


def _wilcoxon(left: pd.Series, right: pd.Series) -> float:
    """Return the two-sided p over the subjects that both have."""
    # Means over seeds that are equal but for their last bits count as ties.
    gaps = (left - right).dropna().round(9)
    if len(gaps) < FEWEST_SUBJECTS:
        return np.nan
    return float(wilcoxon(gaps).pvalue) if gaps.any() else 1.0


def holm(p: np.ndarray) -> np.ndarray:
    """Return p values corrected for their number; those that are NaN do not count.

    S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    order = np.argsort(p)[: np.sum(~np.isnan(p))]
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.maximum.accumulate((len(order) - np.arange(len(order))) * p[order])
    return np.minimum(corrected, 1)


def score_of(line: tuple) -> Interval:
    """Return the score of a line with value, low, high and n_subjects."""
    return Interval(line.value, line.low, line.high, line.n_subjects)
