"""Gates and backbones of NMoE side by side: figures and tables of score rows, without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from affectbook import benchmarks, results
from affectbook.chapters.shared import need
from affectbook.chapters.split_scores import INTER, KINDS
from affectbook.chapters.splits import protocol_bars
from affectbook.chapters.transformations import setting_of
from affectbook.errors import DataError
from affectbook.figures import MARKS, WIDTH, Drawn

PAPER, RECORDED = "nmoe", "recorded"
_RANDOM = "random_full"
ARMS = (
    "nmoe:published", "nmoe:published+gate_last", "nmoe:published+random_full",
    "nmoe:published+random_mini", "nmoe:published+mini_without_cmsc", "hrv_logistic",
    "fingerprint", "majority",
)  # fmt: skip
"""What is drawn side by side."""
WHO = {name: "new people" if kind == INTER else "known people" for name, kind in KINDS.items()}
GATES = {
    "gate_last": "G0 last layer", "gate_uniform": "G1 mean of the layers", "": "G2 softmax",
    "gate_raw": "G3 raw weights", "gate_dynamic": "G4 by the window's last layer",
    "gate_dynamic_all": "G4 by all its layers", "gate_token": "G5 by each token",
}  # fmt: skip
"""By part of a variant; the main reading has none."""
SHORT = {
    "gate_last": "G0 last", "gate_uniform": "G1 mean", "": "G2 softmax", "gate_raw": "G3 raw",
    "gate_dynamic": "G4 by window", "gate_dynamic_all": "G4, all layers",
    "gate_token": "G5 by token",
}  # fmt: skip
"""The same, above narrow panels."""
PARTS = {
    **{name: text for name, text in GATES.items() if name},
    **{f"layer_{k}": f"layer {k} alone" for k in range(1, 12)},
    "first_4": "layers 1 to 4", "middle_4": "layers 5 to 8", "last_4": "layers 9 to 12",
    "layer_norm": "each layer normalised", "layer_zscore": "each feature standardised",
    "linear_head": "linear head", "lead_I": "in the place of lead I",
    "lead_copied": "copied to twelve leads", "lead_learnt": "learnt lead weights",
    "random_mini": "random weights, same size", "random_full": "random weights, full size",
    "mini_without_cmsc": "pretrained without CMSC", "through_backbone": "seen through",
    "lora": "LoRA", "full_fine_tuning": "full fine-tuning",
}  # fmt: skip
"""What each part of a variant changes, in plain words."""
_TERMS = {
    "masked": "the masked feature found among 101",
    "other_segment": "the other half found among 64",
    "codes": "share of the codebook in use",
}  # fmt: skip
_MEASURED = {
    "published": benchmarks.OURS, "published+gate_last": benchmarks.OURS,
    "published+lora": benchmarks.ADAPTERS, "published+full_fine_tuning": benchmarks.ALL_WEIGHTS,
}  # fmt: skip
_LOSSES = {"contrast loss": "masked tokens", "cmsc loss": "CMSC"}


def as_models(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows in which each variant of the network is an estimator such as ``nmoe:published``.

    Anything with columns estimator and variant; may be empty.
    """
    own = rows["estimator"] == PAPER
    return rows.assign(
        estimator=rows["estimator"].where(~own, PAPER + ":" + rows["variant"]),
        variant=rows["variant"].where(~own, ""),
    )


def arms(rows: pd.DataFrame, title: str, metric: str = "balanced_accuracy") -> Drawn:
    """Draw the main reading, its controls and the reference models under each protocol.

    Parameters
    ----------
    rows
        Score rows of one experiment; of its models only `ARMS` are drawn.
    title
        Says what is drawn; data set, tier, scale and seeds are added.
    metric
        A key of `results.METRICS`.

    Raises
    ------
    DataError
        If there are no scores.
    ParameterError
        If the rows are of several experiments.
    """
    models = as_models(rows)
    models = models[models["estimator"].isin(ARMS)]
    need(models, title, RECORDED, PAPER)
    fig, alt = protocol_bars(models, pd.DataFrame(), f"{title}\n{setting_of(models)}",
                             estimators=ARMS, metric=metric, kinds=WHO, sweep=RECORDED)  # fmt: skip
    return fig, alt.replace("\n", ", ", 1)


def gate_scores(
    rows: pd.DataFrame, protocols: Mapping[str, str], metric: str = "balanced_accuracy"
) -> pd.DataFrame:
    """Return what each gate scores on each backbone, with labels and on coins, as text.

    Parameters
    ----------
    rows
        Score rows of one experiment.
    protocols
        What a column is called, by protocol.
    metric
        A key of `results.METRICS`.

    Raises
    ------
    DataError
        If there is no score of any gate.
    """
    lines = []
    for backbone, called in (("", "mini, pretrained"), (_RANDOM, "full size, random")):
        for gate, name in GATES.items():
            variant = "+".join(filter(None, ("published", backbone, gate)))
            own = results.select(rows, estimator=PAPER, variant=variant)
            if own.empty:
                continue
            line = {"backbone": called, "gate": name}
            for protocol, column in protocols.items():
                here = results.select(own, protocol=protocol)
                for placebo, what in ((False, "labels"), (True, "coins")):
                    part = results.select(here, placebo=placebo)
                    score = results.interval(part, metric) if len(part) else "–"
                    line[f"{column}, {what}"] = str(score)
            lines.append(line)
    need(pd.DataFrame(lines), "gates on each backbone", RECORDED, PAPER)
    return pd.DataFrame(lines)


def windows_table(rows: pd.DataFrame, metric: str = "balanced_accuracy") -> pd.DataFrame:
    """Return the score of the main reading by length of windows and scale, as text.

    Parameters
    ----------
    rows
        Score rows of one data set under one protocol, with labels.
    metric
        A key of `results.METRICS`.

    Raises
    ------
    DataError
        If there are none.
    """
    own = results.select(rows, estimator=PAPER, variant="published", placebo=False)
    need(own, "lengths of windows", "ablations", PAPER)
    lines = [{"seconds": f"{seconds:g}", "scale": scale, "seeds": part["seed"].nunique(),
              metric.replace("_", " "): str(results.interval(part, metric))}
             for (seconds, scale), part in own.groupby(["seconds", "scale"])]  # fmt: skip
    return pd.DataFrame(lines)


def gate_name(variant: str) -> str:
    """Return what tables call the gate of a variant, and on which backbone if not the mini."""
    parts = variant.split("+")[1:]
    gate = GATES[next((part for part in parts if part in GATES), "")]
    backbone = [PARTS[part] for part in parts if part not in GATES]
    return ", ".join([gate, *backbone])


def short_gate_name(variant: str) -> str:
    """Return the same for narrow panels."""
    parts = variant.split("+")[1:]
    gate = SHORT[next((part for part in parts if part in GATES), "")]
    return ", ".join([gate, *(part.split("_")[0] for part in parts if part not in GATES)])


def probes_of(rows: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Return the rows of `layer_probes.probe` that are of one backbone."""
    return rows[rows["variant"].str.fullmatch(rf"{re.escape(variant)}\+(layer_\d+|constant)")
                | ((rows["variant"] == variant) & (rows["estimator"] == "beats"))]  # fmt: skip


def pretraining_curves(histories: Mapping[str, pd.DataFrame]) -> Drawn:
    """Draw losses and scores of pretraining on people it has not seen, epoch by epoch.

    Parameters
    ----------
    histories
        Of each set of weights, as their card keeps it; columns epoch and what `MaskedECG` scores.

    Raises
    ------
    DataError
        If there are none.
    """
    if not histories:
        raise DataError("there is no history of pretraining to draw")
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.4))
    words = []
    for i, (name, history) in enumerate(histories.items()):
        for ax, terms in zip(axes, (_LOSSES, _TERMS), strict=True):
            shown = [term for term in terms if term in history and not (
                     term == "other_segment" and "cmsc loss" not in history)]  # fmt: skip
            for j, term in enumerate(shown):
                ax.plot(history["epoch"], history[term], color=f"C{i}", marker=MARKS[j], ms=4,
                        ls=("-", "--", ":")[j], label=f"{name}: {terms[term]}")  # fmt: skip
                words.append(f"{name}, {terms[term]}: {history[term].iloc[0]:.2f} to "
                             f"{history[term].iloc[-1]:.2f}")  # fmt: skip
    axes[0].set(xlabel="epoch", ylabel="loss (nats)", title="what is minimised")
    axes[1].set(xlabel="epoch", ylabel="share", title="what is found", ylim=(0, None))
    for ax in axes:
        ax.legend(fontsize=7.5, loc="best")
    return fig, f"Pretraining on people it has not seen. {'; '.join(words)}."


def tuning_costs(measured: pd.DataFrame) -> pd.DataFrame:
    """Return what each way of tuning trains, and how long a step takes, by variant.

    Parameters
    ----------
    measured
        Rows of ``bench/nmoe_tuning.py``, with five outputs. Gate and head on kept layers stand for
        the last layer alone, too, which trains twelve numbers less.

    Returns
    -------
    pandas.DataFrame
        variant, weights, ms.

    Raises
    ------
    DataError
        If there are none.
    """
    if measured.empty:
        raise DataError("no step of training was measured", do="make bench BENCH=nmoe_tuning")
    of = measured[measured["device"] == "cpu"].drop_duplicates("candidate").set_index("candidate")
    lines = [(variant, int(of.loc[name, "trained_parameters"]), 1e3 * of.loc[name, "seconds"])
             for variant, name in _MEASURED.items() if name in of.index]  # fmt: skip
    return pd.DataFrame(lines, columns=["variant", "weights", "ms"])


def released_table(cards: Mapping[str, Mapping]) -> pd.DataFrame:
    """Return what released backbones are and have learnt from, a line of text each.

    Raises
    ------
    DataError
        If a card does not say what it has to.
    """
    lines = []
    for name, card in cards.items():
        try:
            made, recipe = card["made_by"], card["made_by"]["recipe"]
            licences = dict.fromkeys(line["licence"] for line in made["licences"])
            n_weights = sum(int(np.prod(one["shape"])) for one in card["tensors"].values())
            lines.append({
                "weights": name, "parameters": f"{n_weights:,}",
                "objective": ", ".join(["masked tokens", *["CMSC"] * recipe["cmsc"],
                                        *["lead masking"] * recipe["rlm"]]),
                "windows of 10 s": f"{made['windows']['number']:,}, of them "
                f"{made['windows']['simulated']:,} simulated",
                "subjects": f"{len(made['subjects']):,}",
                "steps": f"{made['history']['steps'][-1]:,}",
                "minutes, one core": f"{made['minutes']:g}",
                "kept": f"{2 * n_weights / 1e6:.1f} MB, half precision",
                "licences of recordings": "; ".join(licences),
            })  # fmt: skip
        except KeyError as error:
            raise DataError(f"the card of the weights {name} does not say what it has to",
                            field=error.args[0]) from error  # fmt: skip
    return pd.DataFrame(lines)
