"""Ablations: differences are those of `results`, on the subjects and seeds that both sides have."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from builders import like_everyone, scores_of, spread_out

from affectbook import ablations, claims, results
from affectbook.errors import DataError, ParameterError

BASE = "pool_strides_8_8_2"
NUMBERS = {"value", "low", "high", "difference", "diff_low", "diff_high", "seed_low", "seed_high",
           "n_seeds", "n_subjects"}  # fmt: skip
NAMES = {"no_bissm": "no scans (BiSSM)"}


pytestmark = pytest.mark.usefixtures("drawing")


def variant(part: str, seed: int, low: float, high: float, n_subjects: int = 8) -> pd.DataFrame:
    name = f"{BASE}+{part}" if part else BASE
    return scores_of(spread_out(n_subjects, low, high), seed, variant=name)


@pytest.fixture
def rows() -> pd.DataFrame:
    """Return three seeds of the whole network, two of one ablation and four of another."""
    parts = [variant("", seed, 0.5 + 0.04 * seed**2, 0.9) for seed in range(3)]
    parts += [variant("no_bissm", seed, 0.44, 0.7 + 0.1 * seed) for seed in (0, 2)]
    parts += [variant("no_nlcca", seed, 0.6, 0.9 + 0.02 * seed) for seed in range(4)]
    return pd.concat(parts, ignore_index=True)


def of(rows: pd.DataFrame, part: str, *seeds: int) -> pd.DataFrame:
    name = f"{BASE}+{part}" if part else BASE
    return rows[(rows["variant"] == name) & rows["seed"].isin(seeds)]


def test_differences_are_those_of_the_seeds_that_both_have(rows) -> None:
    table = ablations.table(rows, BASE).set_index("part")
    for part, seeds in (("no_bissm", (0, 2)), ("no_nlcca", (0, 1, 2))):
        line = table.loc[part]
        gap = results.difference(of(rows, part, *seeds), of(rows, "", *seeds))
        found = line[["difference", "diff_low", "diff_high", "n_subjects"]]
        np.testing.assert_allclose(found.to_numpy(float), gap)
        own = results.interval(of(rows, part, *seeds))
        np.testing.assert_allclose(line[["value", "low", "high"]].to_numpy(float), own[:3])
        assert line["n_seeds"] == len(seeds)
    # What more seeds of one side alone would have given is another number.
    other = results.difference(of(rows, "no_bissm", 0, 2), of(rows, "", 0, 1, 2))
    assert table.loc["no_bissm", "difference"] != pytest.approx(other.value, abs=1e-4)


def test_the_range_of_single_seeds_is_theirs(rows) -> None:
    line = ablations.table(rows, BASE).set_index("part").loc["no_bissm"]
    singles = [
        results.difference(of(rows, "no_bissm", s), of(rows, "", s)).value for s in (0, 2)
    ]  # fmt: skip
    assert line["seed_differences"] == pytest.approx(singles)
    assert (line["seed_low"], line["seed_high"]) == pytest.approx((min(singles), max(singles)))
    assert line["seed_low"] < line["seed_high"]


def test_subjects_are_paired() -> None:
    """A loss that is the same for every subject has an interval without width."""
    rows = pd.concat([variant("", 0, 0.5, 0.9), variant("no_bissm", 0, 0.4, 0.8)])
    line = ablations.table(rows, BASE).iloc[1]
    assert line[["difference", "diff_low", "diff_high"]].tolist() == pytest.approx([-0.1] * 3)
    assert line["high"] - line["low"] > 0.1


def test_subjects_that_one_side_lacks_do_not_count() -> None:
    rows = pd.concat([variant("", 0, 0.5, 0.9, 9), variant("no_bissm", 0, 0.4, 0.8, 6)])
    assert list(ablations.table(rows, BASE)["n_subjects"]) == [9, 6]


def test_there_is_a_line_per_variant_in_the_order_of_the_rows(rows) -> None:
    other = scores_of(like_everyone(8, 0.9), variant="published+no_bissm")
    near = scores_of(like_everyone(8, 0.9), variant=f"{BASE}_and_more")
    table = ablations.table(pd.concat([other, near, rows]), BASE)
    assert list(table["part"]) == ["", "no_bissm", "no_nlcca"]
    assert list(table["variant"]) == [BASE, f"{BASE}+no_bissm", f"{BASE}+no_nlcca"]
    assert all(pd.api.types.is_numeric_dtype(table[name]) for name in NUMBERS)
    assert table.loc[0, ["difference", "seed_low"]].isna().all() and table.loc[0, "n_seeds"] == 3
    assert "command" not in table


def test_another_metric_gives_other_numbers() -> None:
    bilstm = scores_of(dict.fromkeys("abcdef", [[9, 1], [1, 1]]), variant=f"{BASE}+bilstm")
    whole = scores_of(dict.fromkeys("abcdef", [[9, 1], [0, 2]]), variant=BASE)
    gaps = {
        metric: ablations.table(pd.concat([whole, bilstm]), BASE, metric=metric)["difference"][1]
        for metric in ("accuracy", "balanced_accuracy")
    }
    assert gaps["accuracy"] == pytest.approx(-1 / 12)
    assert gaps["balanced_accuracy"] == pytest.approx(-1 / 4)


def test_a_variant_without_a_seed_in_common_has_no_numbers(rows) -> None:
    alone = pd.concat([of(rows, "", 0), of(rows, "no_nlcca", 3)])
    line = ablations.table(alone, BASE).iloc[1]
    assert line[["value", "difference", "seed_low"]].isna().all() and line["n_seeds"] == 0
    with pytest.raises(DataError, match="no differences to draw"):
        ablations.forest(ablations.table(alone, BASE), "eegmat")


def test_without_the_whole_network_the_message_names_its_command(rows) -> None:
    def command(name: str) -> str:
        return f'make sweep PAPER=hcmnet SWEEP=ablations ARGS="-p variant {name}"'

    for missing in (rows.iloc[:0], of(rows, "no_bissm", 0, 2)):
        with pytest.raises(DataError, match=f"SWEEP=ablations.*variant {BASE}"):
            ablations.table(missing, BASE, commands=command)
        with pytest.raises(DataError, match="do: make sweep"):
            ablations.table(missing, BASE)
    table = ablations.table(rows, BASE, commands=command)
    assert list(table["command"]) == [command(name) for name in table["variant"]]
    assert list(ablations.shown(table)["made by"]) == list(table["command"])


@pytest.mark.parametrize(
    "other", [{"dataset": "wesad"}, {"scale": "paper"}, {"placebo": True}, {"seconds": 5.0}]
)
def test_rows_of_two_experiments_are_refused(rows, other) -> None:
    with pytest.raises(ParameterError, match=next(iter(other))):
        ablations.table(pd.concat([rows, of(rows, "", 0).assign(**other)]), BASE)


def test_the_page_shows_the_numbers_as_text(rows) -> None:
    table = ablations.table(rows, BASE)
    shown = ablations.shown(table, NAMES)
    assert list(shown["what changed"]) == ["the whole network", "no scans (BiSSM)", "no nlcca"]
    gap = results.difference(of(rows, "no_bissm", 0, 2), of(rows, "", 0, 2))
    score = results.interval(of(rows, "", 0, 1, 2))
    told = claims.points(gap).replace(" points", "")
    assert list(shown["difference, points (95 % interval)"][:2]) == ["–", told]
    assert shown["balanced accuracy (95 % interval)"][0] == str(score)
    assert list(shown["seeds"]) == [3, 2, 3] and not shown.isna().any(axis=None)
    low, high = 100 * table.loc[1, ["seed_low", "seed_high"]]
    assert list(shown["single seeds"][:2]) == ["–", f"{low:+.1f} to {high:+.1f}"]


def test_only_keeps_the_parts_asked_for_in_their_order(rows) -> None:
    table = ablations.table(rows, BASE)
    kept = ablations.only(table, ["no_nlcca", "no_bissm"])
    assert list(kept["part"]) == ["", "no_nlcca", "no_bissm"]
    assert list(ablations.only(table, ["no_nlcca"])["part"]) == ["", "no_nlcca"]
    with pytest.raises(ParameterError, match="no ablation no_scalar; there are no_bissm, no_nlcca"):
        ablations.only(table, ["no_scalar", "no_nlcca"])


def test_the_forest_draws_a_bar_per_variant_and_a_mark_per_seed(rows) -> None:
    table = ablations.table(rows, BASE)
    fig, _ = ablations.forest(table, "HCMNet on eegmat", NAMES)
    (ax,) = fig.axes
    drawn = [bar.lines[0] for bar in ax.containers]
    assert [line.get_xdata()[0] for line in drawn] == pytest.approx(100 * table["difference"][1:])
    for bar, line in zip(ax.containers, table.iloc[1:].itertuples(), strict=True):
        (((left, _), (right, _)),) = bar.lines[2][0].get_segments()
        assert [left, right] == pytest.approx([100 * line.diff_low, 100 * line.diff_high])
    seeds = [line.get_xdata() for line in ax.lines if line.get_markerfacecolor() == "none"]
    assert [len(xs) for xs in seeds] == [2, 3]
    assert list(seeds[0]) == pytest.approx(100 * np.array(table["seed_differences"][1]))
    dashed = [line.get_xdata() for line in ax.lines if line.get_linestyle() == "--"]
    assert [list(xs) for xs in dashed] == [[0, 0]], "a line at zero"


def test_the_forest_has_its_words(rows, tmp_path) -> None:
    table = ablations.table(rows, BASE)
    fig, alt = ablations.forest(table, "HCMNet on eegmat", NAMES)
    (ax,) = fig.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["no scans (BiSSM)", "no nlcca"]
    assert ax.get_xlabel() == "balanced accuracy: difference to the whole network (points)"
    left, right = ax.texts
    assert "worse for the change" in left.get_text() and left.get_position()[0] < 0
    assert "better for it" in right.get_text() and right.get_position()[0] > 0
    assert fig.get_suptitle() == "HCMNet on eegmat\n8 subjects, 2 to 3 seeds"
    for line in table.iloc[1:].itertuples():
        gap = results.Interval(line.difference, line.diff_low, line.diff_high, line.n_subjects)
        assert claims.points(gap) in alt
    assert "\n" not in alt and alt.endswith(".") and "8 subjects, 2 to 3 seeds" in alt
    fig.savefig(tmp_path / "forest.png")


def test_under_five_subjects_the_forest_has_no_bar() -> None:
    rows = pd.concat([variant("", 0, 0.5, 0.9, 4), variant("no_bissm", 0, 0.4, 0.8, 4)])
    fig, alt = ablations.forest(ablations.table(rows, BASE), "drivedb")
    (((left, _), (right, _)),) = fig.axes[0].containers[0].lines[2][0].get_segments()
    assert left == right == pytest.approx(-10) and "nan" not in alt
    assert fig.get_suptitle() == "drivedb\n4 subjects, 1 seed"
    assert "points, seed by seed -10.0." in alt, "one seed has no range"
