"""Encoders with and without pretraining side by side: figures and tables, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from affectbook import results
from affectbook.chapters.shared import bars, chance_line, need, require_one
from affectbook.chapters.split_scores import (
    INTER,
    KINDS,
    classes_of,
    efficiency_scores,
    score_of,
    short_name,
)
from affectbook.chapters.splits import protocol_bars
from affectbook.chapters.transformations import PAPER, setting_of
from affectbook.errors import DataError
from affectbook.figures import MARKS, WIDTH, Drawn, mark_leaks, name_of
from affectbook.pretext_scores import PROBE, PROBED_UNDER

__all__ = ["ARMS", "BUDGETED", "arms", "as_models", "budget", "subject_probe_table",
           "weights_table"]  # fmt: skip
PUBLISHED = "published"


def model_of(variant: str) -> str:
    """Return the name under which `as_models` has a variant of the network."""
    return f"{PAPER}:{variant}"


_FROZEN, _CONTRASTIVE, _RANDOM, _SCRATCH = (
    model_of(f"{PUBLISHED}{part}")
    for part in ("", "+contrastive+frozen", "+random_encoder", "+from_scratch")
)
ARMS = (
    _FROZEN, _CONTRASTIVE, _RANDOM, "hrv_logistic", _SCRATCH, "fingerprint", "majority",
    model_of(f"{PUBLISHED}+contrastive"), model_of(f"{PUBLISHED}+fine_tuned"),
    model_of(f"{PUBLISHED}+one_set"),
)  # fmt: skip
"""What is drawn side by side. What fewer sweeps have stands last, so that colours stay the same."""
BUDGETED = ARMS[:5]
WHO = {name: "new people" if kind == INTER else "known people" for name, kind in KINDS.items()}
"""Whom the test windows of a protocol are of."""
_BYTES = {"float32": 4, "int64": 8}
_SHARE = r"^(.*?)\+?([0-9.e-]+_of_(?:subjects|trials))?$"
_EXPERIMENT = ("scale", "dataset", "tier", "effect", "label_rule", "seconds", "protocol")
RECORDED, BUDGET, FROZEN = "recorded", "budget", "frozen"
"""Sweeps that make the rows, as messages name them."""


def as_models(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows in which each variant of the network is an estimator of its own.

    Parameters
    ----------
    rows
        Score rows, or predictions as `results.predictions` returns them; anything with columns
        estimator and variant. May be empty.

    Returns
    -------
    pandas.DataFrame
        The same, but that the network's rows have an estimator such as
        ``ssl_ecg:published+contrastive``, and as variant only the share of the subjects or trials
        that it was trained on: as reference models do. All else stays as it is.
    """
    if rows.empty:
        return rows
    own = rows["estimator"] == PAPER
    parts = rows["variant"].str.extract(_SHARE)
    return rows.assign(
        estimator=rows["estimator"].where(~own, model_of("") + parts[0]),
        variant=rows["variant"].where(~own, parts[1].fillna("")),
    )


def arms(
    rows: pd.DataFrame,
    title: str,
    metric: str = "balanced_accuracy",
    predictions: pd.DataFrame | None = None,
    sweep: str = RECORDED,
) -> Drawn:
    """Draw each way to an encoder, and the reference models, under each protocol.

    Parameters
    ----------
    rows
        Score rows of one experiment; of its models only `ARMS` are drawn.
    title
        Says what is drawn; data set, tier, scale and seeds are added.
    metric
        A key of `results.METRICS`.
    predictions
        As `results.predictions` returns them; where they are given, luck is drawn, too.
    sweep
        That makes the rows, for the message where there are none.

    Raises
    ------
    DataError
        If there are no scores.
    ParameterError
        If the rows are of several experiments.
    """
    models = as_models(rows)
    models = models[models["estimator"].isin(ARMS)]
    need(models, title, sweep, PAPER)
    guesses = pd.DataFrame() if predictions is None else as_models(predictions)
    fig, alt = protocol_bars(models, guesses, f"{title}\n{setting_of(models)}", estimators=ARMS,
                             metric=metric, kinds=WHO, sweep=sweep)  # fmt: skip
    return fig, alt.replace("\n", ", ", 1)


def budget(rows: pd.DataFrame, title: str, metric: str = "balanced_accuracy") -> Drawn:
    """Draw the score against the share of training trials whose labels are used.

    Parameters
    ----------
    rows
        Score rows; variants that end in ``0.1_of_trials`` used that share, and the same models on
        the same windows go on to all of them. Only `BUDGETED` are drawn.
    title
        Says what is drawn; data set, tier, scale, seeds and protocol are added.
    metric
        A key of `results.METRICS`.

    Raises
    ------
    DataError
        If nothing was trained on less than everything.
    ParameterError
        If the shares are of several experiments.
    """
    own = _budgeted(rows, title)
    table, counts = efficiency_scores(own, PUBLISHED, metric, BUDGETED), trials_kept(own)
    chance, name = 1 / classes_of(own), metric.replace("_", " ")
    fig, ax = plt.subplots(figsize=(WIDTH, 4.6))
    drawn = filter(set(table["estimator"]).__contains__, BUDGETED)
    words = [_draw_budget(ax, table, own, estimator, metric) for estimator in drawn]
    chance_line(ax, chance)
    ax.plot([], [], "o", ms=4, mfc="none", mec="0.3", label="a single seed")
    ax.set_xscale("log")
    shares = sorted(table["share"].unique())
    ticks = [f"{100 * one:g}" + (f"\n({counts[one]})" if counts else "") for one in shares]
    ax.set_xticks([100 * one for one in shares], ticks)
    ax.set_xticks([], minor=True)
    brackets = "in brackets: how many of each class, about" if counts else ""
    ax.set_xlabel(f"training trials whose labels are used (%)\n{brackets}".strip())
    ax.set_ylabel(f"{name} (%)")
    protocol = own["protocol"].iloc[0]
    where = f"{setting_of(own)}, {short_name(protocol)}"
    mark_leaks([fig.suptitle(f"{title}\n{where}", fontsize=11)], [protocol])
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    told = f"{', '.join(ticks)} {brackets and f'({brackets})'}".replace("\n", " ").strip()
    return fig, (
        f"{title}: {where}. {name[0].upper()}{name[1:]} with 95 % intervals over subjects against "
        f"the share of the training trials whose labels are used, in per cent: {told}. Chance "
        f"{100 * chance:.0f} %. {' '.join(words)}"
    )


def _budgeted(rows: pd.DataFrame, title: str) -> pd.DataFrame:
    """Return the rows of models on shares of the trials, and of the same on all of them."""
    models = results.select(as_models(rows), placebo=False)
    models = models[models["estimator"].isin(BUDGETED)]
    less = models[models["variant"].str.endswith("_of_trials")]
    need(less, title, BUDGET, PAPER)
    require_one(less, "shares of trials", "protocol", "target", "overlap")
    own = results.select(models, **{name: less[name].iloc[0] for name in _EXPERIMENT})
    return own[own["variant"].isin(["", *less["variant"]])]


def _draw_budget(
    ax: Axes, table: pd.DataFrame, rows: pd.DataFrame, estimator: str, metric: str
) -> str:
    """Draw one model against the share of labels; return its numbers in words."""
    i = BUDGETED.index(estimator)
    part = results.select(table, estimator=estimator).sort_values("share")
    value, low, high = (100 * part[name].to_numpy() for name in ("value", "low", "high"))
    # Side by side, on an axis on which steps are factors.
    x = 100 * part["share"].to_numpy() * 1.05 ** (i - (len(BUDGETED) - 1) / 2)
    ax.errorbar(x, value, bars(value, low, high), marker=MARKS[i], color=f"C{i}", ms=6.5, lw=1.5,
                elinewidth=1.1, capsize=2, ls=("-", "--", "-.", ":")[i % 4], zorder=3,
                label=name_of(estimator))  # fmt: skip
    told = []
    for place, line in zip(x, part.itertuples(), strict=True):
        variant = "" if line.share == 1 else f"{line.share:g}_of_trials"
        seeds = 100 * _of_seeds(rows, estimator, variant, metric)
        ax.plot(np.full(len(seeds), place), seeds, "o", ms=4, mfc="none", mec=f"C{i}", zorder=4)
        told.append(f"{100 * line.share:g} %: {score_of(line)}" + _range(seeds))
    name = name_of(estimator)
    return f"{name[0].upper()}{name[1:]}: {'; '.join(told)}."


def _of_seeds(rows: pd.DataFrame, estimator: str, variant: str, metric: str) -> np.ndarray:
    own = results.select(rows, estimator=estimator, variant=variant)
    return results.select(own, fold="all", subject="all", metric=metric)["value"].to_numpy()


def _range(seeds: np.ndarray) -> str:
    """Return lowest and highest of several single seeds, in words."""
    return f", seeds {seeds.min():.1f} to {seeds.max():.1f} %" if len(seeds) > 1 else ""


def trials_kept(rows: pd.DataFrame) -> dict[float, int]:
    """Return how many trials of each class a share of them is, about; 1 at least is kept.

    Parameters
    ----------
    rows
        Score rows of one experiment whose variants are those of `as_models`.

    Returns
    -------
    dict
        By share, 1 among them. Empty where windows of one trial are on both sides of the split:
        there, the scores do not tell how many trials were trained on.
    """
    first = rows[["estimator", "variant", "seed"]].iloc[0]
    one = results.select(rows, subject="all", metric="accuracy", **first)
    whole = one["fold"] == "all"
    tested, total = one.loc[~whole, "n_test_trials"], one.loc[whole, "n_test_trials"].item()
    if tested.sum() != total:
        return {}
    of_class = (total - tested.mean()) / classes_of(rows)
    shares = rows["variant"].str.extract(_SHARE)[1].dropna().str.partition("_")[0].astype(float)
    return {share: max(1, round(share * of_class)) for share in sorted({*shares, 1.0})}


def subject_probe_table(
    rows: pd.DataFrame, metric: str = "balanced_accuracy", protocol: str = "group_kfold_subject"
) -> pd.DataFrame:
    """Return how well each encoder's features tell subjects apart, and what they say of a label.

    Parameters
    ----------
    rows
        Score rows of ``probe_subject``, and of the classifiers on the same encoders at the same
        scale, which may be of another sweep.
    metric, protocol
        Of the classifiers.

    Returns
    -------
    pandas.DataFrame
        A line of text for each encoder: how often the subject of a later window is recognised, the
        mean of the seeds with the lowest and the highest; what guessing among the subjects scores;
        the score on the label with its interval; and chance.

    Raises
    ------
    DataError
        If no subject was looked for.
    ParameterError
        If the rows are of several experiments.
    """
    probed = results.select(rows, estimator=PROBE, metric="accuracy", fold="all")
    need(probed, "a table of recognised subjects", FROZEN, PAPER)
    require_one(probed, "recognised subjects", "protocol")
    same = {name: probed[name].iloc[0] for name in _EXPERIMENT[:-1]}
    scored = results.select(rows, estimator=PAPER, placebo=False, protocol=protocol, **same)
    require_one(scored, "classifiers", "target")
    what = probed["target"].iloc[0]
    lines = []
    for variant, part in probed.groupby("variant", sort=False):
        seeds = 100 * results.select(part, subject="all")["value"].to_numpy()
        label = results.select(scored, variant=variant)
        n_subjects = part.loc[part["subject"] != "all", "subject"].nunique()
        lines.append({
            "encoder": name_of(model_of(str(variant))),
            f"subject, {short_name(PROBED_UNDER)}: accuracy":
                f"{seeds.mean():.1f} %" + _range(seeds).replace(", seeds", "; seeds"),
            f"chance of {n_subjects}": f"{100 / n_subjects:.1f} %",
            f"{what}, {short_name(protocol)}: {metric.replace('_', ' ')}":
                str(results.interval(label, metric)),
            "chance": "–" if label.empty else f"{100 / classes_of(label):.1f} %",
        })  # fmt: skip
    return pd.DataFrame(lines)


def weights_table(cards: Mapping[str, Mapping]) -> pd.DataFrame:
    """Return what released encoders are, and what each has learnt from.

    Parameters
    ----------
    cards
        As `affectbook.pretrain.keep` writes them beside the weights, by name.

    Returns
    -------
    pandas.DataFrame
        A line of text for each: weights, pretext, corpora, subjects, windows, epochs, precision,
        score of the pretext after the last epoch on people it has not seen, minutes, size and
        licences.

    Raises
    ------
    DataError
        If a card does not say one of these.
    """
    lines = []
    for name, card in cards.items():
        try:
            lines.append({"weights": name} | dict(_of_card(card)))
        except KeyError as error:
            raise DataError(f"the card of the weights {name} does not say what it has to",
                            field=error.args[0]) from error  # fmt: skip
    return pd.DataFrame(lines)


def _of_card(card: Mapping) -> Iterator[tuple[str, str]]:
    """Yield name and text of each cell of a card."""
    made = card["made_by"]
    recipe, licences = made["recipe"], {}
    for line in made["licences"]:
        licences.setdefault(line["licence"], []).append(line["corpus"])
    n_bytes = sum(int(np.prod(one["shape"])) * _BYTES[one["dtype"]]
                  for one in card["tensors"].values())  # fmt: skip
    yield "pretext", recipe["pretext"]
    yield "corpora", ", ".join(recipe["corpora"])
    yield "subjects", f"{len(made['subjects'])}"
    yield "windows", f"{made['windows']['number']:,}"
    yield "epochs", f"{recipe['epochs']}"
    yield "precision", recipe["precision"]
    yield "pretext after the last epoch", f"{_last(made['history'])}, on {recipe['watched']}"
    yield "minutes", f"{made['minutes']:g}"
    yield "size", f"{n_bytes / 1e6:.2f} MB"
    yield "licences", "; ".join(f"{one}: {', '.join(of)}" for one, of in licences.items())


def _last(history: Mapping[str, Sequence[float]]) -> str:
    """Return the mean F1 of the heads after the last epoch; of other pretexts the accuracy."""
    for measure, called in (("f1 ", "mean F1"), ("accuracy ", "accuracy")):
        ends = [curve[-1] for name, curve in history.items() if name.startswith(measure)]
        if ends:
            return f"{called} {np.mean(ends):.2f}"
    return "–"
