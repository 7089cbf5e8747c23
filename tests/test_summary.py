"""The table of every chapter: each cell from the score rows it names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from builders import like_everyone, scores_of, spread_out

from affectbook import results, summary
from affectbook.claims import Claim
from affectbook.results import Interval

SHUFFLED = "shuffled_windows_as_published"
HONEST = "group_kfold_subject"


def run(n_subjects: int = 12, **context: object) -> pd.DataFrame:
    """Return the rows of one run: network and majority, honest and published, with placebo."""
    kinds = [
        (spread_out(n_subjects, 0.5, 0.74), {"protocol": HONEST}),
        (like_everyone(n_subjects, 0.94), {"protocol": SHUFFLED}),
        (like_everyone(n_subjects, 0.92), {"protocol": SHUFFLED, "placebo": True}),
        (like_everyone(n_subjects, 0.48), {"protocol": HONEST, "placebo": True}),
        (like_everyone(n_subjects, 0.5),
         {"protocol": HONEST, "estimator": "majority", "variant": ""}),
        (like_everyone(n_subjects, 0.4), {"protocol": HONEST, "variant": "no_bissm"}),
    ]  # fmt: skip
    parts = [scores_of(tables, **context | own) for tables, own in kinds]
    return pd.concat(parts, ignore_index=True)


def column(table: pd.DataFrame, position: int = 0) -> dict[str, str]:
    return dict(zip(table.iloc[:, 0], table.iloc[:, position + 1], strict=True))


def test_every_cell_comes_from_its_rows() -> None:
    table = summary.headline(run(), "hcmnet", variants=["published"])
    assert table.columns[1:].tolist() == ["eegmat, rest_arithmetic, open"]
    cells = column(table)
    assert cells["network"] == "published, 1 seed"
    assert cells["as published"] == "94.0 %"
    assert cells["placebo, as published"] == "92.0 % (chance 50 %)"
    assert cells["honest"].startswith("62.0 %") and HONEST in cells["honest"]
    assert cells["chance, majority"] == "50.0 %, 50.0 %"
    honest = results.select(run(), estimator="hcmnet", protocol=HONEST, placebo=False,
                            variant="published")  # fmt: skip
    score = results.interval(honest)
    assert cells["95 % interval"] == f"{100 * score.low:.1f} to {100 * score.high:.1f}"
    assert "samples" in cells["audit"] and cells["verdict"] == "above chance"


def test_there_is_a_column_per_data_set_and_no_ablation() -> None:
    rows = pd.concat([run(), run(dataset="wesad", tier="simulated")], ignore_index=True)
    table = summary.headline(rows, "hcmnet", variants=["published"])
    assert table.columns[1:].tolist() == [
        "eegmat, rest_arithmetic, open", "wesad, rest_arithmetic, simulated",
    ]  # fmt: skip
    assert "no_bissm" not in table.to_string()
    assert "no_bissm" in summary.headline(rows, "hcmnet").to_string()


def test_runs_are_kept_apart() -> None:
    rows = pd.concat(
        [run().assign(record="first"), run(n_subjects=5).assign(record="second")],
        ignore_index=True,
    )
    table = summary.headline(rows, "hcmnet", variants=["published"])
    assert [column(table, i)["verdict"] for i in (0, 1)] == [
        "above chance", "undecided (under 10 subjects)",
    ]  # fmt: skip


def test_what_was_not_run_is_a_dash() -> None:
    rows = results.select(run(), protocol=HONEST, estimator="hcmnet", placebo=False)
    cells = column(summary.headline(rows, "hcmnet"))
    assert cells["as published"] == cells["placebo, as published"] == "–"
    assert cells["chance, majority"] == "50.0 %, –" and "not run" in cells["audit"]


def test_a_few_subjects_have_no_interval() -> None:
    cells = column(summary.headline(run(n_subjects=3), "hcmnet"))
    assert cells["95 % interval"] == "3 subjects: none"
    assert cells["verdict"] == "undecided (under 10 subjects)"


def test_no_rows_are_an_empty_table() -> None:
    assert summary.headline(run().iloc[:0], "hcmnet").empty
    assert summary.headline(results.select(run(), protocol=SHUFFLED), "hcmnet").empty


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ({"number": None}, "not found"),
        ({"number": 0.9486}, "94.9 %"),
        ({"number": 0.9486, "dataset": "wesad"}, "did not use these data"),
        ({"number": 0.9486, "label_rule": "other"}, "did not use these data"),
    ],
)
def test_the_number_of_the_paper_stands_beside_ours(claim, said) -> None:
    where = {"dataset": "eegmat", "label_rule": "rest_arithmetic"}
    published = Claim("name", "statement", "source", **where | claim)
    assert column(summary.headline(run(), "hcmnet", [published]))["paper"] == said


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (Interval(0.6, 0.55, 0.65, 12), "above chance"),
        (Interval(0.4, 0.35, 0.45, 12), "below chance"),
        (Interval(0.52, 0.45, 0.6, 12), "not told from chance"),
        (Interval(0.52, 0.5, 0.6, 12), "not told from chance"),
        (Interval(0.9, 0.85, 0.95, 9), "undecided (under 10 subjects)"),
        (Interval(0.9, np.nan, np.nan, 2), "undecided (under 10 subjects)"),
    ],
)
def test_the_verdict_on_chance_follows_the_interval(score, said) -> None:
    assert summary.above_chance(score, 0.5) == said


def test_a_score_that_is_missing_is_a_dash() -> None:
    assert summary.percent(float("nan")) == "–" and summary.percent(0.6149) == "61.5 %"
