"""A run beside the book's own one: parameters, scores, verdicts, and what else differs."""

from __future__ import annotations

import html as markup
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from affectbook import claims, papers, results, sealed
from affectbook.errors import shown

METRIC = "balanced_accuracy"
ABSENT = "The book's own run, to hold this one against, is not here: make book makes it."
_WIDTH, _CELL = 100, 29
# So many rows of each table are printed; the page has all of them.
_SCORES = "Balanced accuracy in per cent; intervals over people where both tested the same"
_PRINTED = {_SCORES: 8, "Claims": 2}
_LINES = 3
_DIFFER = "Parameters that differ"
_MACHINE = {"cpu": "processor", "gpu": "GPU", "torch_threads": "threads", "python": "Python"}
Part = tuple[str, "pd.DataFrame | str"]


class Run(NamedTuple):
    """One run: its provenance and its score rows."""

    told: Mapping
    rows: pd.DataFrame


def text(run_folder: Path, own_folder: Path) -> str:
    """Return a run beside the book's own, for a terminal: about 25 lines, 100 columns.

    Parameters
    ----------
    run_folder
        Holds scores and provenance of the run.
    own_folder
        ``build/executed/runs/<paper>``; if it holds no run, one line says so.

    Raises
    ------
    DataFileError
        If scores are not those that a run wrote.
    """
    lines: list[str] = []
    for title, part in parts(run_folder, own_folder):
        if title == _DIFFER:
            part = "; ".join(f"{row.parameter} {row.run} (book: {row.book})"
                             for row in part.itertuples())  # fmt: skip
        if isinstance(part, str):
            told = shown(f"{title}: {part}" if title else part)
            lines += textwrap.wrap(told, _WIDTH, subsequent_indent="  ", max_lines=_LINES,
                                   placeholder=" ... more on the page")  # fmt: skip
        else:
            lines += _printed(title, part)
    return "\n".join(lines)


def html(run_folder: Path, own_folder: Path) -> str:
    """Return the same for a page, whole; every text in it is escaped, and none of it is maths."""
    found = []
    for title, part in parts(run_folder, own_folder):
        if title:
            found.append(f"<h3>{markup.escape(title)}</h3>")
        if isinstance(part, str):
            found.append(f"<p>{markup.escape(shown(part))}</p>")
        else:
            found.append(part.map(shown).to_html(index=False, border=0, justify="left"))
    inside = "\n".join(found)
    return (
        '<section class="tex2jax_ignore mathjax_ignore">\n'
        f"<h2>This run beside the book's own</h2>\n{inside}\n</section>\n"
    )


def parts(run_folder: Path, own_folder: Path) -> list[Part]:
    """Return what `text` and `html` say: titles with a sentence or a table of texts each."""
    if not all((Path(own_folder) / name).is_file() for name in ("scores.csv", sealed.PROVENANCE)):
        return [("", ABSENT)]
    run, own = _read(Path(run_folder)), _read(Path(own_folder))
    data = f"this run is on {_data(run)}; the book's own is on {_data(own)}"
    return [
        ("Data", data),
        *_parameters(run, own),
        (_SCORES, _scores(run, own)),
        *_claims(run, own),
        *_made_with(run, own),
    ]


def _read(folder: Path) -> Run:
    return Run(sealed.glance(folder), results.read_rows(folder / "scores.csv"))


def _data(run: Run) -> str:
    """Return data sets and tiers of a run, and its scales; "simulated" is said."""
    pairs = run.rows[["dataset", "tier", "scale"]].drop_duplicates().itertuples(index=False)
    return "; ".join(f"{dataset} ({tier}), scale {scale}" for dataset, tier, scale in pairs)


def _parameters(run: Run, own: Run) -> list[Part]:
    ours, theirs = (one.told.get("parameters", {}) for one in (run, own))
    rows = [
        {"parameter": name, "run": _value(ours, name), "book": _value(theirs, name)}
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name, KeyError) != theirs.get(name, KeyError)
    ]
    if not rows:
        return [("Parameters", "all are the book's own")]
    return [(_DIFFER, pd.DataFrame(rows))]


def _value(told: Mapping, name: str) -> str:
    value = told.get(name, "not there")
    return "none" if value is None else str(value)


def _scores(run: Run, own: Run) -> pd.DataFrame:
    """Return one row per model, protocol and kind of labels that either run has."""
    ours, theirs = _evaluations(run.rows), _evaluations(own.rows)
    lines = []
    for key in sorted(dict.fromkeys([*ours, *theirs]), key=lambda key: key[2]):  # stable
        estimator, protocol, placebo = key
        for variants, left, right in _pairs(ours.get(key, {}), theirs.get(key, {})):
            named = f"{estimator}, {variants}" if variants else estimator
            lines.append({
                "model": f"{named}, on coins" if placebo else named,
                "protocol": protocol,
                "run": _percent(left),
                "book": _percent(right),
                "points [95 %]": _gap(run, own, left, right),
            })  # fmt: skip
    return pd.DataFrame(lines)


def _evaluations(rows: pd.DataFrame) -> dict[tuple[str, str, bool], dict[str, pd.DataFrame]]:
    """Return the rows of each variant of every model under every protocol, labels and coins."""
    found: dict[tuple[str, str, bool], dict[str, pd.DataFrame]] = {}
    keys = ["estimator", "protocol", "placebo", "variant"]
    for (estimator, protocol, placebo, variant), part in rows.groupby(keys, sort=False):
        found.setdefault((estimator, protocol, placebo in (True, "True")), {})[variant] = part
    return found


def _pairs(
    ours: Mapping[str, pd.DataFrame], theirs: Mapping[str, pd.DataFrame]
) -> Iterator[tuple[str, pd.DataFrame | None, pd.DataFrame | None]]:
    """Yield the variants that belong together: those of one name, and the one that is left."""
    both = [name for name in ours if name in theirs]
    for name in both:
        yield name, ours[name], theirs[name]
    left, right = ([name for name in one if name not in both] for one in (ours, theirs))
    if len(left) == len(right) == 1:
        yield f"{left[0]} against {right[0]}", ours[left[0]], theirs[right[0]]
        return
    for name in left:
        yield name, ours[name], None
    for name in right:
        yield name, None, theirs[name]


def _percent(rows: pd.DataFrame | None) -> str:
    return "–" if rows is None else f"{100 * results.overall(rows, METRIC):.1f}"


def _gap(run: Run, own: Run, left: pd.DataFrame | None, right: pd.DataFrame | None) -> str:
    """Return the difference in points, with its interval where both tested the same people."""
    if left is None or right is None:
        return "–"
    if _same_people(run, own, left, right):
        gap = results.difference(left, right, METRIC)
        if gap.n_subjects and not np.isnan(gap.low):
            value, low, high = (f"{round(100 * part, 1) + 0.0:+.1f}" for part in gap[:3])
            return f"{value} [{low}, {high}]"
    value = results.overall(left, METRIC) - results.overall(right, METRIC)
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def _same_people(run: Run, own: Run, left: pd.DataFrame, right: pd.DataFrame) -> bool:
    """Return whether subjects of one name are one person, who did the same task."""
    for rows in (left, right):
        if not rows["metric"].str.startswith("confusion[").any():
            return False
    same = ["dataset", "tier", "target", "label_rule"]
    if not left[same].drop_duplicates().reset_index(drop=True).equals(
        right[same].drop_duplicates().reset_index(drop=True)
    ):  # fmt: skip
        return False
    # People of a twin come from the seed.
    return "simulated" not in {*left["tier"]} or run.told.get("seed") == own.told.get("seed")


def _claims(run: Run, own: Run) -> list[Part]:
    """Return the verdicts that the rows of either run decide by themselves."""
    paper = papers.get(run.told["paper"])
    of = getattr(paper, "claims", list)()
    ours, theirs = (_decided(of, one.rows) for one in (run, own))
    if not ours and not theirs:
        simulated = {*run.rows["tier"]} == {"simulated"}
        why = "simulated data decide none" if simulated else "that takes other scales or rows"
        return [("Claims", f"neither run decides one by itself: {why}")]
    rows = [
        {"claim": name, "run": ours.get(name, "–"), "book": theirs.get(name, "–"),
         "changed": "yes" if ours.get(name) != theirs.get(name) else ""}
        for name in dict.fromkeys([*ours, *theirs])
    ]  # fmt: skip
    rows.sort(key=lambda row: not row["changed"])
    return [("Claims", pd.DataFrame(rows))]


def _decided(of: Sequence[claims.Claim], rows: pd.DataFrame) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for verdict in claims.judge(of, rows):
        if verdict.score.n_subjects:
            directional = verdict.claim.directional
            score = claims.points(verdict.score) if directional else str(verdict.score)
            words = found.setdefault(f"{verdict.claim.name}, {verdict.dataset}", [])
            words.append(f"{verdict.word.removesuffix(' on')}, {score}")
    return {name: "; ".join(words) for name, words in found.items()}


def _made_with(run: Run, own: Run) -> list[Part]:
    """Return what may change numbers as well: packages, processor, threads, code."""
    told = []
    for part, names in (("machine", _MACHINE), ("packages", {})):
        ours, theirs = run.told.get(part, {}), own.told.get(part, {})
        for name in names or dict.fromkeys([*ours, *theirs]):
            if ours.get(name) != theirs.get(name):
                told.append(f"{names.get(name, name)} {_value(ours, name)} "
                            f"(book: {_value(theirs, name)})")  # fmt: skip
    if run.told.get("scan") != own.told.get("scan"):
        told.append(f"scans by {run.told.get('scan')} (book: {own.told.get('scan')})")
    if (ours := _commit(run)) != (theirs := _commit(own)):
        files = _other_code(run, own)
        computes = f"{files} files that compute differ" if files else "what computes is the same"
        told.append(f"code {ours} (book: {theirs}; {computes})")
    if not told:
        return [("Made with", "the same packages, processor, threads and code")]
    return [("Made with, which may change numbers, too", "; ".join(told))]


def _commit(run: Run) -> str:
    git = run.told.get("git", {})
    return f"{str(git.get('commit'))[:10]}{' with changes' if git.get('dirty') else ''}"


def _other_code(run: Run, own: Run) -> int:
    ours, theirs = run.told.get("code", {}), own.told.get("code", {})
    return sum(ours.get(name) != theirs.get(name) for name in {*ours, *theirs})


def _printed(title: str, frame: pd.DataFrame) -> list[str]:
    """Return a table as lines that fit; what is too long for a cell ends in dots."""
    most = _PRINTED[title]
    rows = [[*frame.columns], *frame.head(most).astype(str).to_numpy().tolist()]
    rows = [[_cut(shown(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(frame.shape[1])]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in rows]  # fmt: skip
    more = [f"  ... and {len(frame) - most} more on the page"] if len(frame) > most else []
    return [f"{title}:", *(f"  {line}" for line in lines), *more]


def _cut(cell: str) -> str:
    return cell if len(cell) <= _CELL else f"{cell[: _CELL - 1]}…"
