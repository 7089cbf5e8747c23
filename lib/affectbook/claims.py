"""Claims of a paper as rows of data, and the rule that decides on them.

No sentence of a chapter overrules the rule that stands here. Neither simulated data nor runs of a
scale that a claim does not name decide it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from affectbook import results
from affectbook.errors import DataFileError
from affectbook.results import Interval

WIDEST_HALF_WIDTH = 0.05
FEWEST_SUBJECTS = 10
FEWEST_SEEDS = 3
CHANCE = "chance"
DECIDING_SCALES = ("recorded", "paper")
# These give the same answer whatever the seed.
DETERMINISTIC = ("majority", "hrv_logistic", "fingerprint", "de_svm")
NUMBER_COLUMNS = ["paper", "claim", "value", "table", "page", "entered_by"]
Side = Mapping[str, object]


@dataclass(frozen=True)
class Claim:
    """One thing that a paper says.

    Attributes
    ----------
    name : str
        Key of the claim, unique within its paper.
    statement : str
        What the paper says, in our words.
    source : str
        Where it says so.
    dataset, label_rule, metric : str
        What a numeric claim speaks about; `dataset` is empty for a directional claim, which is
        tested on every real data set at hand.
    protocol : str or tuple of str
        The paper's own for a number; honest ones for a direction, of which the first that was
        run on a data set counts.
    number : float or None
        The published score, 0 to 1; None is "not found".
    left, right : mapping or ``"chance"``
        The two sides of a directional claim, left > right, as values of score-row columns. A side
        that does not name `placebo` means the labels of the data set.
    scales : tuple of str
        Scales whose rows decide the claim; each is judged by itself.
    stated : bool
        Whether what was read of the paper says how its number was made: split, window, label. If
        not, another score than the paper's refutes nothing.
    """

    name: str
    statement: str
    source: str
    metric: str = "accuracy"
    protocol: str | tuple[str, ...] = ("group_kfold_subject", "leave_one_subject_out")
    dataset: str = ""
    label_rule: str = ""
    number: float | None = None
    left: Side | str = field(default_factory=dict)
    right: Side | str = field(default_factory=dict)
    scales: tuple[str, ...] = DECIDING_SCALES
    stated: bool = True

    @property
    def directional(self) -> bool:
        """Whether the claim is left > right, not a number."""
        return bool(self.right)


@dataclass(frozen=True)
class Verdict:
    """What code decides on a claim.

    Attributes
    ----------
    claim : Claim
    word : str
        reproduced, not reproduced, inconclusive, not comparable, untested; holds on, does not
        hold on, undecided on.
    dataset : str
        Which data it was decided on; empty where none.
    score : Interval
        Ours, or left minus right.
    why : str
        One sentence.
    """

    claim: Claim
    word: str
    dataset: str
    score: Interval
    why: str


NOTHING = Interval(np.nan, np.nan, np.nan, 0)


def judge_number(claim: Claim, rows: pd.DataFrame) -> Verdict:
    """Decide on a published number.

    The number must lie inside our 95 % interval, made under the paper's own protocol on the same
    real data; under ten subjects or a half-width over five points decide nothing.
    """
    if claim.number is None:
        return Verdict(
            claim, "not comparable", claim.dataset, NOTHING, "the paper's number: not found"
        )
    own = results.select(
        rows[rows["scale"].isin(claim.scales)],
        dataset=claim.dataset, label_rule=claim.label_rule, protocol=claim.protocol,
        placebo=False, **claim.left,
    )  # fmt: skip
    if own.empty:
        return Verdict(
            claim, "untested", claim.dataset, NOTHING, f"no real {claim.dataset} at hand"
        )
    score = results.interval(own, claim.metric)
    if score.n_subjects < FEWEST_SUBJECTS or not score.half_width <= WIDEST_HALF_WIDTH:
        why = f"{score.n_subjects} subjects, half-width {100 * score.half_width:.1f} points"
        return Verdict(claim, "inconclusive", claim.dataset, score, why)
    inside = score.low <= claim.number <= score.high
    why = f"{100 * claim.number:.1f} % lies {'inside' if inside else 'outside'} ours, {score}"
    if not (inside or claim.stated):
        why += "; how the paper's was made is not stated in what we read"
        return Verdict(claim, "not comparable", claim.dataset, score, why)
    return Verdict(claim, "reproduced" if inside else "not reproduced", claim.dataset, score, why)


def side(rows: pd.DataFrame, where: Side) -> pd.DataFrame:
    """Return the rows of one side; a tuple of values means the first that was run."""
    where = where if "placebo" in where or "estimator" not in where else {"placebo": False, **where}
    for column, wanted in where.items():
        options = wanted if isinstance(wanted, tuple) else (wanted,)
        matches = (rows[rows[column] == option] for option in options)
        rows = next((match for match in matches if not match.empty), rows.iloc[:0])
    return rows


def _gap(left: pd.DataFrame | str, right: pd.DataFrame | str, metric: str) -> Interval:
    """Return left minus right, where one side may be chance."""
    if isinstance(left, str):
        gap = _gap(right, left, metric)
        return Interval(-gap.value, -gap.high, -gap.low, gap.n_subjects)
    if isinstance(right, str):
        if left.empty:
            return NOTHING
        score = results.interval(left, metric)
        chance = 1 / results.confusions(left)[1].shape[-1]
        return Interval(
            score.value - chance, score.low - chance, score.high - chance, score.n_subjects
        )
    return results.difference(left, right, metric)


def _paired(
    rows: pd.DataFrame, left: Side | str, right: Side | str
) -> tuple[pd.DataFrame | str, pd.DataFrame | str]:
    """Return the rows of both sides; where both name variants, of the first pair that was run."""
    if isinstance(left, str) or isinstance(right, str):
        found = [one if isinstance(one, str) else side(rows, one) for one in (left, right)]
        return found[0], found[1]
    variants = [one.get("variant", ()) for one in (left, right)]
    pairs = [(left, right)]
    if all(isinstance(names, tuple) and names for names in variants):
        pairs = [
            ({**left, "variant": a}, {**right, "variant": b})
            for a, b in zip(*variants, strict=True)
        ]
    tried = [_same_seeds(side(rows, a), side(rows, b)) for a, b in pairs]
    return next((pair for pair in tried if len(pair[0]) and len(pair[1])), tried[-1])


def _same_seeds(left: pd.DataFrame, right: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both sides with the seeds they share, unless one of them depends on no seed."""
    if any(one["estimator"].isin(DETERMINISTIC).all() for one in (left, right)):
        return left, right
    shared = set(left["seed"]) & set(right["seed"])
    return left[left["seed"].isin(shared)], right[right["seed"].isin(shared)]


def judge_direction(claim: Claim, rows: pd.DataFrame) -> list[Verdict]:
    """Decide on left > right, on each real data set that has both sides under the protocol.

    Where a data set was scored under several label rules or scales, or with windows of several
    lengths, each gets its own verdict.
    """
    verdicts = []
    rows = rows[rows["scale"].isin(claim.scales)]
    rows, *wanted = _of_one_set(claim, rows)
    n_rules = rows.groupby("dataset")["label_rule"].nunique()
    same = ["dataset", "label_rule", "scale", "seconds", "overlap"]
    for (dataset, rule, scale, seconds, _), everything in rows.groupby(same, sort=True):
        own = side(everything, {"protocol": claim.protocol})
        sides = _paired(own, *wanted)
        gap = _gap(*sides, claim.metric)
        if gap.n_subjects == 0:
            continue
        n_seeds = _seeds(sides)
        why = f"{points(gap)}, {gap.n_subjects} subjects, {_told(n_seeds)}"
        why += f"{own['protocol'].iloc[0]}, scale {scale}, {seconds:g} s{_variants(sides)}"
        why += f", {rule}" if n_rules[dataset] > 1 else ""
        verdicts.append(Verdict(claim, _word(gap, n_seeds), str(dataset), gap, why))
    return verdicts or [
        Verdict(claim, "untested", "", NOTHING, "no real data with both sides at hand")
    ]


def _of_one_set(
    claim: Claim, rows: pd.DataFrame
) -> tuple[pd.DataFrame, Side | str, Side | str]:
    """Return the rows and both sides of a claim, ready to be grouped by data set.

    Sides that name two selections of channels, such as ``eegmat:Fp1,Fp2`` and ``eegmat:eeg``, are
    compared as one set; what they name then stands in the column ``selection``.
    """
    sides = claim.left, claim.right
    named = {one.get("dataset") for one in sides if not isinstance(one, str)}
    if not (len(named) == 2 and all(isinstance(one, str) for one in named)):
        return rows, *sides
    rows = rows.assign(selection=rows["dataset"], dataset=rows["dataset"].str.split(":").str[0])
    left, right = (
        {"selection" if key == "dataset" else key: value for key, value in one.items()}
        for one in sides
    )
    return rows, left, right


def _word(gap: Interval, n_seeds: int | None) -> str:
    """Return the verdict on a difference: few subjects or few seeds decide nothing."""
    few = gap.n_subjects < FEWEST_SUBJECTS or (n_seeds is not None and n_seeds < FEWEST_SEEDS)
    if few or not (gap.low > 0 or gap.high < 0):
        return "undecided on"
    return "holds on" if gap.low > 0 else "does not hold on"


def _seeds(sides: Sequence[pd.DataFrame | str]) -> int | None:
    """Return the fewest seeds of any side; None where no side depends on a seed."""
    counts = [
        rows["seed"].nunique()
        for rows in sides
        if not isinstance(rows, str) and not rows["estimator"].isin(DETERMINISTIC).all()
    ]
    return min(counts, default=None)


def _variants(sides: Sequence[pd.DataFrame | str]) -> str:
    """Return which variants of a network were compared, as far as they have names."""
    names = [rows["variant"].iloc[0] for rows in sides if not isinstance(rows, str)]
    told = list(dict.fromkeys(filter(None, names)))
    return f", {' against '.join(told)}" if told else ""


def _told(n_seeds: int | None) -> str:
    if n_seeds is None:
        return "no seed in it, "
    return f"{n_seeds} seed{'s' if n_seeds > 1 else ''}, "


def points(gap: Interval) -> str:
    """Return a difference of scores in points, with its interval where it has one."""
    # Adding zero takes the sign off a rounded -0.0.
    value, low, high = (f"{round(100 * part, 1) + 0.0:+.1f}" for part in gap[:3])
    return f"{value} points" if np.isnan(gap.low) else f"{value} points [{low}, {high}]"


def judge(claims: Sequence[Claim], rows: pd.DataFrame) -> list[Verdict]:
    """Decide on every claim from score rows.

    Rows of simulated data, and of scales that do not decide a claim, are left out first.
    """
    real = rows[rows["tier"] != "simulated"]
    verdicts: list[Verdict] = []
    for claim in claims:
        if claim.directional:
            verdicts += judge_direction(claim, real)
        else:
            verdicts.append(judge_number(claim, real))
    return verdicts


def table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return verdicts as a table for the page: claim, paper, verdict, why."""
    rows = [
        {
            "claim": verdict.claim.statement,
            "paper": _published(verdict.claim),
            "verdict": f"{verdict.word} {verdict.dataset}".strip()
            if verdict.claim.directional
            else verdict.word,
            "why": verdict.why,
        }
        for verdict in verdicts
    ]
    return pd.DataFrame(rows)


def _published(claim: Claim) -> str:
    """Return what the paper says, and where."""
    if claim.directional:
        return f"a direction; {claim.source}"
    number = "not found" if claim.number is None else f"{100 * claim.number:.2f} %"
    return f"{number}; {claim.source}"


def with_numbers(paper: str, claims: Sequence[Claim], path: Path) -> list[Claim]:
    """Fill in the numbers that readers found: one row per claim in a CSV file.

    Parameters
    ----------
    paper
        Only its rows are used.
    claims
        The paper's claims; numeric ones may get a number.
    path
        Columns paper, claim, value (per cent), table, page, entered_by.

    Raises
    ------
    DataFileError
        If a column is missing, a line has more or fewer fields, a claim is unknown or filled in
        twice, a value is no percentage, or table and page are both empty.
    """
    known, filled = {claim.name: claim for claim in claims}, set()
    for row in _lines(path):
        if row["paper"] != paper:
            continue
        if row["claim"] in filled:
            raise DataFileError("a claim is filled in twice", file=path.name, field=row["claim"])
        known[row["claim"]] = _filled(row, known, path)
        filled.add(row["claim"])
    return list(known.values())


def _lines(path: Path) -> Iterator[dict[str, str]]:
    """Yield the lines of the table of published numbers.

    pandas would take a line with one field too many, as a decimal comma makes it, for another one.
    """
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        columns = next(reader, [])
        if columns != NUMBER_COLUMNS:
            raise DataFileError(
                "the table of published numbers has other columns",
                file=path.name, found=columns, expected=NUMBER_COLUMNS,
            )  # fmt: skip
        for fields in filter(None, reader):
            if len(fields) != len(columns):
                raise DataFileError(
                    "a line of the table of published numbers does not fit its columns",
                    file=path.name, field=f"line {reader.line_num}", found=f"{len(fields)} fields",
                    expected=f"{len(columns)}, and a decimal point, not a comma",
                )  # fmt: skip
            yield dict(zip(columns, fields, strict=True))


def _filled(row: Mapping[str, str], known: Mapping[str, Claim], path: Path) -> Claim:
    """Return the claim of one row with its number and source."""
    if row["claim"] not in known or known[row["claim"]].directional:
        numeric = [name for name, claim in known.items() if not claim.directional]
        raise DataFileError(
            "no numeric claim of this name", file=path.name, field="claim", found=row["claim"],
            expected=numeric,
        )  # fmt: skip
    try:
        percent = float(row["value"])
    except ValueError:
        percent = np.nan
    if not 1 < percent <= 100:
        raise DataFileError(
            "a published value is not a percentage", file=path.name, field=f"{row['claim']}, value",
            found=row["value"], expected="per cent, above 1 and up to 100, such as 94.86",
        )  # fmt: skip
    if not (row["table"] or row["page"]):
        raise DataFileError(
            "a published value needs its table or page", file=path.name, field=row["claim"],
            do="say where in the paper the number stands",
        )  # fmt: skip
    where = ", ".join(f"{key} {row[key]}" for key in ("table", "page") if row[key])
    by = f" (entered by {row['entered_by']})" if row["entered_by"] else ""
    claim = known[row["claim"]]
    return replace(claim, number=percent / 100, source=f"{where}{by}")
