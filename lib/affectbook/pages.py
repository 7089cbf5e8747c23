"""Pages that numbers write: MyST fragments and a figure, from data cards and recorded scores."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from affectbook import (
    benchmarks,
    claims,
    data_page,
    figures,
    papers,
    protocols,
    results,
    scan_figure,
    summary,
)
from affectbook.chapters import readers, state
from affectbook.files import write_atomic, write_text
from affectbook.tables import Literal, literal, markdown

NO_RECORDS = "No results on real recordings have been recorded yet.\n"


def write(folder: Path) -> None:
    """Write every fragment that a page of the book includes into `folder`."""
    rows = results.recorded()
    fragments = {
        "papers.md": papers_table(rows),
        "placebo.md": placebo(rows, folder),
        data_page.FRAGMENT: data_page.fragment(folder),
        "protocols_table.md": protocols_table(),
        "recorded.md": records(rows),
        scan_figure.FRAGMENT: scan_figure.fragment(folder),
    }
    for name, parts in benchmarks.parts(folder).items():
        fragments[name] = "\n".join(p if isinstance(p, str) else markdown(p) for p in parts)
    for name, text in fragments.items():
        write_text(Path(folder) / name, text)


def protocols_table() -> str:
    """Return one line per protocol; the names of those that leak are marked."""
    frame = protocols.table()
    frame["protocol"] = [
        f"[{name}]{{.leaks}}" if protocols.leaky(name) else name
        for name in frame["protocol"]
    ]
    return markdown(frame)


def papers_table(rows: pd.DataFrame) -> str:
    """Return one line per paper: its claim, the honest score, the verdict, the link."""
    lines = []
    for name in papers.names():
        paper = papers.get(name)
        score, verdict = _honest(paper, results.select(rows, paper=name))
        link = f"[{paper.TITLE}](../notebooks/{name}.ipynb)"
        lines.append(f"| {link} | {paper.HEADLINE} | {score} | {verdict} |\n")
    head = "| paper | its claim, in our words | honest score, real ECG or EEG | verdict |\n"
    head += "|---|---|---|---|\n"
    return head + "".join(lines)


def _honest(paper: object, rows: pd.DataFrame) -> tuple[str, str]:
    """Return the paper's honest score on the real set with most people, and the verdict on it.

    Scales are not mixed: of several, the one with most people and then most seeds speaks.
    """
    (claim,) = [claim for claim in paper.claims() if claim.name == paper.HEADLINE_CLAIM]
    found = []
    for scale in claim.scales:
        own = results.select(rows, scale=scale)
        for verdict in claims.judge([claim], own):
            decided_on = results.select(own, dataset=verdict.dataset, placebo=False)
            network = claims.side(decided_on, {"protocol": claim.protocol, **claim.left})
            found.append((verdict.score.n_subjects, network["seed"].nunique(), scale, verdict))
    n_subjects, _, scale, verdict = max(found, key=lambda one: one[:2])
    if not n_subjects:
        return "not recorded yet", verdict.word
    decided_on = results.select(rows, scale=scale, dataset=verdict.dataset, placebo=False)
    network = claims.side(decided_on, {"protocol": claim.protocol, **claim.left})
    score = results.interval(network, claim.metric)
    chance = 1 / results.confusions(network)[1].shape[-1]
    label = claim.metric.replace("_", " ")
    made_by = f"{network['variant'].iloc[0]}, scale {scale}, {network['seed'].nunique()} seed(s)"
    who = f"{score.n_subjects} people of {verdict.dataset} never seen before"
    text = f"{score} {label} ({made_by}), {who}; "
    if not isinstance(claim.right, str):
        other = claims.side(decided_on, {"protocol": claim.protocol, **claim.right})
        name = figures.name_of(other["estimator"].iloc[0])
        text += f"{name} {results.interval(other, claim.metric)}; "
    return f"{text}chance {summary.percent(chance)}", f"{verdict.word} {verdict.dataset}"


def placebo(rows: pd.DataFrame, folder: Path) -> str:
    """Return figure, reading and table of all recorded placebos, real and simulated signals."""
    coins = _of_whole(rows[rows["placebo"].astype(bool)
                           & rows["protocol"].isin(protocols.PROTOCOLS)])  # fmt: skip
    if coins.empty:
        return NO_RECORDS
    for column in ("scale", "seconds"):  # neither scales nor lengths are mixed
        one = coins.groupby(["dataset", "tier", "protocol", "estimator", "variant"])[column]
        coins = coins[coins[column] == one.transform("first")]
    parts = [
        figures.ladder_scores(part).assign(dataset=dataset, tier=tier)
        for (dataset, tier), part in coins.groupby(["dataset", "tier"], sort=False)
    ]
    scores = pd.concat(parts, ignore_index=True)
    real = scores[scores["tier"] != "simulated"]
    drawn = real if len(real) else scores
    most = drawn.loc[drawn["n_subjects"].idxmax(), "dataset"]
    drawn = drawn[drawn["dataset"] == most]
    fig, alt = _draw_placebo(drawn, most)
    write_atomic(folder / "placebo.png", lambda path: fig.savefig(path, dpi=160, facecolor="white"))
    plt.close(fig)
    return (
        "Every recording got its label from a coin. There is nothing to learn, so a score that\n"
        "means something must be at chance. Where the set is real, the signals are real; only the\n"
        "labels are not.\n\n"
        f"```{{image}} ../build/generated/placebo.png\n:alt: {alt}\n:width: 640px\n```\n\n"
        + _read_placebo(drawn, most)
        + "\nThe same on every set at hand, real and simulated side by side: balanced accuracy,\n"
        "with the number of seeds in brackets; chance is 50 %.\n\n"
        + markdown(placebo_table(coins, scores))
    )


def _of_whole(coins: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of reference models and, of each paper, of its network as a whole.

    Neither what a sweep adds besides scores of test windows, nor what two records have in common.
    """
    scored = coins.loc[coins["metric"].str.startswith("confusion"), ["paper", "estimator"]]
    coins = coins[coins["estimator"].isin(scored["estimator"]) & (coins["estimator"] != "inner")]
    coins = coins.drop_duplicates([name for name in coins if name not in ("record", "run_key")])
    kept, by = [], ["paper", "dataset", "tier", "protocol"]
    for (paper, *_), part in coins.groupby(by, sort=False):
        own = part["estimator"] == paper
        there = set(part.loc[own, "variant"])
        whole = getattr(papers.get(paper), "WHOLE", ()) if own.any() else ()
        first = next((one for one in whole if one in there), None)
        kept.append(part[~own | (part["variant"] == first)])
    return pd.concat(kept) if kept else coins


def placebo_table(coins: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per protocol and model, a column per data set: its score on coin flips."""
    seeds = coins.groupby(["dataset", "tier", "protocol", "estimator", "variant"])["seed"].nunique()
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in scores.itertuples(index=False):
        key = (f"`{row.protocol}`", figures.name_of(row.estimator))
        kind = "simulated" if row.tier == "simulated" else "real"
        n_seeds = seeds[row.dataset, row.tier, row.protocol, row.estimator, row.variant]
        told = f"{summary.percent(row.value)} ({n_seeds})"
        lines.setdefault(key, {})[f"{row.dataset}, {kind}"] = told
    columns = list(dict.fromkeys(name for line in lines.values() for name in line))
    table = [
        {"split": protocol, "model": model} | {name: line.get(name, "–") for name in columns}
        for (protocol, model), line in sorted(lines.items(), key=lambda item: _order(*item[0]))
    ]
    return pd.DataFrame(table)


def _order(protocol: str, model: str) -> tuple[bool, str, str]:
    """Sort what leaks behind what does not."""
    return protocols.leaky(protocol.strip("`")), protocol, model


def _draw_placebo(scores: pd.DataFrame, dataset: str) -> figures.Drawn:
    figures.theme()
    names, estimators = list(scores["protocol"].unique()), list(scores["estimator"].unique())
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 0.8 + 1.1 * len(names)))
    for i, estimator in enumerate(estimators):
        own = scores[scores["estimator"] == estimator]
        y = own["protocol"].map(names.index) + 0.13 * (i - (len(estimators) - 1) / 2)
        bars = np.nan_to_num(np.abs(own[["low", "high"]].T.to_numpy() - own["value"].to_numpy()))
        look = {"fmt": figures.MARKS[i % len(figures.MARKS)], "color": f"C{i}", "capsize": 2}
        ax.errorbar(
            100 * own["value"], y, xerr=100 * bars, label=figures.name_of(estimator), **look
        )
    ax.axvline(50, ls="--", color="0.35", label="chance")
    ax.set_yticks(range(len(names)), map(figures.name_of, names))
    figures.mark_leaks(ax.get_yticklabels(), names)
    ax.set(
        xlabel="balanced accuracy on coin flips (%)", xlim=(0, 103), ylim=(len(names) - 0.5, -0.5)
    )
    ax.set_title(f"{dataset}: real signals, coin-flip labels")
    fig.legend(loc="outside lower center", ncols=3, fontsize=8)
    return fig, f"Scores on coin flips. {'; '.join(figures.read_ladder(scores))}."


def _read_placebo(scores: pd.DataFrame, dataset: str) -> str:
    """Return the highest score on nothing under published and under honest protocols, in words."""
    leaky = scores["protocol"].map(protocols.leaky).astype(bool)
    sentences = []
    for part, kind in ((scores[leaky], "as papers publish it"), (scores[~leaky], "honestly")):
        if len(part):
            top = part.loc[part["value"].idxmax()]
            who = figures.name_of(top["estimator"])
            protocol = f"`{top['protocol']}`"
            sentences.append(
                f"Split {kind} ({protocol}), at best **{summary.percent(top['value'])}** ({who})"
            )
    return f"On {dataset}: " + ". ".join(sentences) + ". Bars are 95 % intervals over people.\n"


def _bullets(title: str, lines: Iterable[str]) -> str:
    return f"{title}:\n\n" + "".join(f"- {html.escape(line, quote=False)}\n" for line in lines)


def records(rows: pd.DataFrame) -> str:
    """Return the book's own records, and those of readers in a table of their own.

    The first has one column per record: what it was, what made it, whether it is stale.
    """
    if rows.empty:
        return NO_RECORDS + "\n" + _readers()
    lines = [_record(name, part, results.provenance(name)) for name, part in rows.groupby("record")]
    scales = rows[["paper", "scale"]].drop_duplicates().itertuples(index=False)
    meanings = [f"{paper}, `{name}`: {_meaning(paper, name)}." for paper, name in scales]
    side_by_side = pd.DataFrame(lines).set_index("record").T.reset_index(names="record")
    own = markdown(side_by_side) + "\n" + _bullets("What the scales mean", meanings)
    return f"{own}\n{_readers()}"


def _readers() -> str:
    """Return the runs that readers recorded, each text of theirs as it is written."""
    found = [readers.table(paper) for paper in papers.names()]
    runs = pd.concat(found, ignore_index=True)
    if runs.empty:
        return "**Readers' runs**: none has been recorded here yet.\n"
    return f"**{readers.CAPTION}.**\n\n{markdown(runs.map(literal))}"


def _record(name: str, part: pd.DataFrame, made: dict) -> dict[str, str]:
    cells = made["cells"]
    commits = {str(cell["commit"])[:10] for cell in cells}
    changed = any(cell["dirty"] for cell in cells)
    pairs = part[["dataset", "tier"]].drop_duplicates().itertuples(index=False)
    again = f"make sweep PAPER={made['paper']} SWEEP={made['sweep']}"
    told = state.of(name)
    if told.startswith("stale: "):
        told = Literal(f"**stale**: changed since are {literal(told.removeprefix('stale: '))}")
    return {
        "record": f"`{name}`",
        "data": "; ".join(", ".join(one) for one in pairs),
        "protocols": ", ".join(part["protocol"].unique()),
        "scale": ", ".join(part["scale"].unique()),
        "seeds": ", ".join(str(seed) for seed in sorted(part["seed"].unique())),
        "evaluations": str(part["run_key"].nunique()),
        "windows": "; ".join(" x ".join(map(str, size)) for size in made["data"]["windows"]),
        "made by": f"`{again}`",
        "code": ", ".join(f"`{commit}`" for commit in sorted(commits))
        + (" changed" if changed else ""),
        "state": told,
        "machine": literal(_machine(made["machine"])),
        "minutes": f"{made['seconds'] / 60:.0f}",
    }


def _meaning(paper: str, scale: str) -> str:
    return papers.get(paper).SCALES[scale].meaning


def _machine(machine: dict) -> str:
    return f"{machine['cpu']}, {machine['torch_threads']} thread(s)"
