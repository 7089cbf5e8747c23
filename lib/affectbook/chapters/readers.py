"""Runs that readers recorded, as a chapter and the list of recorded runs show them.

They stand beside the book's own records, are called the readers', and decide no claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import pandas as pd

from affectbook import figures, papers, results, summary
from affectbook.chapters import state
from affectbook.errors import ParameterError

COLUMNS = ["record", "parameters", "data", "network", "protocol", "balanced accuracy", "chance",
           "state", "code"]  # fmt: skip
CAPTION = "Readers' runs: recorded by readers with make record; they decide no claim"


def table(paper: str) -> pd.DataFrame:
    """Return the runs of a paper that readers recorded, one row for each network and protocol.

    Parameters
    ----------
    paper
        A module of ``affectbook.papers``.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`, as plain text, none of it escaped: name of the record; parameters that differ
        from their default; data set and tier; the paper's network in its variant; protocol;
        balanced accuracy on the labels with its interval over subjects; chance; whether the record
        is stale, and why; commit. No row if there is no such run.

    Raises
    ------
    DataFileError
        If a record is not what was recorded.
    """
    rows = results.readers(paper)
    lines: list[dict[str, str]] = []
    for name, part in rows.groupby("record"):
        told = results.provenance(str(name))
        same = {"record": str(name), "parameters": parameters(paper, told["parameters"]),
                "state": state.of(str(name)), "code": _commit(told)}  # fmt: skip
        own = results.select(part, estimator=paper, placebo=False)
        by = ["dataset", "tier", "variant", "protocol"]
        lines += [same | _line(key, group) for key, group in own.groupby(by, sort=False)]
        if own.empty:
            lines.append(dict.fromkeys(COLUMNS, "–") | same)
    return pd.DataFrame(lines, columns=COLUMNS)


def _line(key: tuple[str, str, str, str], rows: pd.DataFrame) -> dict[str, str]:
    dataset, tier, variant, protocol = key
    return {
        "data": f"{dataset}, {tier}",
        "network": variant or rows["estimator"].iloc[0],
        "protocol": protocol,
        "balanced accuracy": str(results.interval(rows)),
        "chance": summary.percent(1 / results.confusions(rows)[1].shape[-1]),
    }


def parameters(paper: str, given: Mapping[str, object]) -> str:
    """Return the parameters of a run that differ from their defaults, as ``epochs 5, seed 1``."""
    try:
        default = asdict(papers.get(paper).Params())
    except ParameterError:
        default = {}
    told = [f"{name} {value}" for name, value in given.items()
            if name not in default or default[name] != value]  # fmt: skip
    return ", ".join(told) or "all at their defaults"


def _commit(told: Mapping[str, Mapping]) -> str:
    commit = str(told.get("git", {}).get("commit") or "unknown")[:10]
    return f"{commit} changed" if told.get("git", {}).get("dirty") else commit


def show(paper: str) -> None:
    """Display the readers' runs of a paper; if there are none, how to add one."""
    runs = table(paper)
    if len(runs):
        figures.table(runs, CAPTION)
    else:
        figures.say(
            "No reader's run has been recorded here yet. To add yours: "
            f'`make run PAPER={paper} ARGS="-p seed 1"`, then '
            f"`make record RUN=build/runs/{paper}/<key> NAME=<name>`, then `make book`."
        )
