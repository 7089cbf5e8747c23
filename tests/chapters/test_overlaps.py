"""Figures of overlaps say what score rows say: chosen on inner folds, scored on outer ones."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from builders import CONTEXT, scores_of, spread_out
from hypothesis import given, settings
from hypothesis import strategies as st
from legible import assert_legible, texts_of
from matplotlib.colors import to_hex

from affectbook import results
from affectbook.chapters import overlap_shares, overlaps
from affectbook.chapters.overlap_shares import shared, simulated
from affectbook.errors import DataError, ParameterError
from affectbook.overlap_scores import CHOICE, CHOSEN, CURVE, INNER, OVERLAPS, variant_of
from affectbook.results import select
from affectbook.scoring import SCORE_COLUMNS

pytestmark = pytest.mark.usefixtures("drawing")
SUBJECT, LATER, SHUFFLED = (
    "group_kfold_subject", "blocked_within_trial", "shuffled_windows_as_published",
)  # fmt: skip
OWN = {"paper": "nmoe", "seconds": 5.0}
EMPTY = pd.DataFrame(columns=SCORE_COLUMNS)
RED = "#b3261e"


def level(protocol: str, placebo: bool, overlap: float) -> float:
    """Return what an overlap scores on outer tests, another one each."""
    if protocol == SHUFFLED:
        return 0.55 + 0.45 * overlap
    return 0.5 if placebo else {LATER: 0.72, SUBJECT: 0.6}[protocol] + 0.05 * overlap


def told_of(lines: dict[str, float], fold: str, **context: object) -> pd.DataFrame:
    rest = {"subject": "all", "n_test_windows": 96, "n_test_trials": 8, "run_key": "a", "seed": 0}
    rows = [CONTEXT | OWN | rest | context | {"fold": fold, "metric": metric, "value": value}
            for metric, value in lines.items()]  # fmt: skip
    return pd.DataFrame(rows)[SCORE_COLUMNS]


def arm(protocol: str, placebo: bool = False, equal: bool = False) -> list[pd.DataFrame]:
    """Return the rows of five overlaps, of which 90 % is chosen in one fold and 50 % in two."""
    own, parts = OWN | {"protocol": protocol, "placebo": placebo}, []
    for overlap in (*OVERLAPS, CHOSEN):
        at = 0.5 if overlap == CHOSEN else overlap
        right = level(protocol, placebo, at) - 0.1 * equal
        where = own | {"variant": variant_of("published", overlap, equal), "overlap": at}
        for estimator, value in (("nmoe", right), (INNER, min(right + 0.08, 1))):
            tables = spread_out(8, value - 0.04, min(value + 0.04, 1))
            parts.append(scores_of(tables, estimator=estimator, **where))
        for fold in "012":
            if overlap == CHOSEN:
                said = {"overlap": 0.9 if fold == "1" else 0.5}
                parts.append(told_of(said, fold, **where | {"estimator": CHOICE}))
                continue
            said = {f"{name}[{epoch}]": min(right + 0.02 * epoch * gain + 0.01 * int(fold), 1)
                    for name, gain in (("train", 2), ("valid", 1)) for epoch in (1, 2, 3)}
            parts.append(told_of(said, fold, **where | {"estimator": CURVE}))
    return parts


@cache
def rows() -> pd.DataFrame:
    parts = [part for protocol in (SUBJECT, SHUFFLED, LATER) for part in arm(protocol)]
    parts += [part for protocol in (SUBJECT, SHUFFLED) for part in arm(protocol, placebo=True)]
    parts += arm(SUBJECT, equal=True)
    others = scores_of(spread_out(8, 0.1, 0.2), **OWN, estimator="nmoe")
    return pd.concat([*parts, others], ignore_index=True)


DRAW = {
    "split_figure": lambda: overlaps.split_figure(rows(), "Overlaps"),
    "curves": lambda: overlaps.curves(rows(), "Curves"),
    "shared_figure": lambda: overlap_shares.shared_figure("Shared", sfreq=20.0),
}


@pytest.mark.parametrize("name", DRAW)
def test_each_can_be_read_and_says_what_it_is_of(name, tmp_path) -> None:
    fig, alt = DRAW[name]()
    assert "\n" not in alt and alt.endswith(".") and "nan" not in alt
    assert round(100 * fig.get_size_inches()[0]) == 720
    assert_legible(fig)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig.savefig(tmp_path / "figure.png")


def test_every_public_function_that_draws_is_tested() -> None:
    drawing = {name for module in (overlaps, overlap_shares) for name, value in vars(module).items()
               if getattr(value, "__annotations__", {}).get("return") == "Drawn"}  # fmt: skip
    assert drawing == set(DRAW)


# Scores.


def test_scores_are_intervals_over_subjects_of_each_overlap_and_level() -> None:
    table = overlaps.scores(rows())
    assert len(table) == (3 + 2 + 1) * 2 * 5 and set(table["n_outputs"]) == {2}
    assert list(table["protocol"].unique()) == [SHUFFLED, LATER, SUBJECT]
    line = select(table, protocol=LATER, placebo=False, level="inner", overlap=0.75).iloc[0]
    part = select(rows(), protocol=LATER, placebo=False, estimator=INNER,
                  variant="published+overlap_75")  # fmt: skip
    assert results.Interval(*line[["value", "low", "high", "n_subjects"]]) == results.interval(part)


def test_a_figure_draws_each_series_where_its_scores_are_and_names_leaks_in_red() -> None:
    fig, alt = overlaps.split_figure(rows(), "Overlaps")
    assert len(fig.axes) == 6
    titles = {ax.get_title(): to_hex(ax.title.get_color()) for ax in fig.axes[:3]}
    assert list(titles) == ["shuffled windows\n(as published)", "later in the trial",
                            "new subjects"]  # fmt: skip
    assert list(titles.values())[0] == RED and RED not in list(titles.values())[1:]
    table = overlaps.scores(rows())
    for ax, protocol in zip(fig.axes[:3], (SHUFFLED, LATER, SUBJECT), strict=True):
        outer = select(table, protocol=protocol, placebo=False, equal_steps=False, level="outer")
        drawn = {one.get_label(): one.lines[0].get_ydata() for one in ax.containers}
        np.testing.assert_allclose(drawn["outer test"].astype(float), outer["value"])
        assert ("outer test, equal steps" in drawn) == (protocol == SUBJECT)
        marked = [one for one in ax.lines if one.get_label() == "published overlap"]
        assert marked[0].get_xdata()[0] == 75
    outer = select(table, protocol=SUBJECT, placebo=True, level="outer", overlap=0.75).iloc[0]
    assert "New subjects, coin flips, chance 0.50: outer test" in alt
    assert f"{outer['value']:.2f} [{outer['low']:.2f}, {outer['high']:.2f}] at 75 %" in alt
    assert "eegmat (real, open), scale" in alt and "75 % is published" in alt


def test_without_coins_there_is_one_line_of_panels_and_what_is_missing_is_said() -> None:
    own = select(rows(), placebo=False)
    fig, alt = overlaps.split_figure(own, "Overlaps")
    assert len(fig.axes) == 3 and "coin" not in alt
    fig, _ = overlaps.split_figure(rows(), "Overlaps")
    assert [text.get_text() for text in texts_of(fig)].count("not recorded") == 1


def test_curves_are_means_of_folds_and_their_gap_is_said() -> None:
    fig, alt = overlaps.curves(rows(), "Curves")
    assert len(fig.axes) == 15
    ax = fig.axes[5 + 3]
    drawn = {one.get_label(): one.get_ydata() for one in ax.lines}
    right = level(LATER, False, 0.75) + 0.01
    np.testing.assert_allclose(drawn["training"], right + 0.04 * np.arange(1, 4))
    np.testing.assert_allclose(drawn["validation"], right + 0.02 * np.arange(1, 4))
    assert f"75 % training {right + 0.12:.2f}, validation {right + 0.06:.2f}, gap 0.06" in alt
    assert fig.axes[3].get_title() == "75 %\n(published)"
    coins, steps = (overlaps.curves(rows(), "C", **{one: True})[1]
                    for one in ("placebo", "equal_steps"))  # fmt: skip
    assert "coin flips" in coins and "equal steps" in steps and "Later" not in steps


def test_the_table_says_what_was_chosen_and_what_the_choice_is_worth() -> None:
    table = overlaps.choice_table(rows())
    assert len(table) == 6 and set(table["chosen (folds)"]) == {"50 %: 2, 90 %: 1"}
    line = table[(table["split"] == "new subjects") & (table["labels"] == "labels")
                 & (table["training"] == "equal epochs")].iloc[0]  # fmt: skip
    part = select(rows(), protocol=SUBJECT, placebo=False)
    inner, best, at75, none = (
        select(part, estimator=name, variant=variant_of("published", at))
        for name, at in ((INNER, CHOSEN), ("nmoe", CHOSEN), ("nmoe", 0.75), ("nmoe", 0.0))
    )
    assert line["inner score"] == str(results.interval(inner))
    assert line["outer score"] == str(results.interval(best))
    for column, left, right in (("optimism (inner − outer)", inner, best),
                                ("choice − 75 %", best, at75), ("75 % − 0 %", at75, none)):
        gap = results.difference(left, right)
        assert line[column].startswith(f"{100 * gap.value:+.1f} points [")
    less = overlaps.choice_table(rows()[rows()["variant"] != "published+overlap_75"])
    assert set(less[less["training"] == "equal epochs"]["75 % − 0 %"]) == {"–"}


@pytest.mark.parametrize("draw", [
    lambda own: overlaps.split_figure(own, "X"), lambda own: overlaps.curves(own, "X"),
    overlaps.choice_table,
])  # fmt: skip
def test_nothing_recorded_or_two_experiments_are_refused(draw) -> None:
    plain = scores_of(spread_out(8, 0.1, 0.2), **OWN, estimator="nmoe")
    for none in (EMPTY, plain):
        with pytest.raises(DataError, match="there are no scores") as error:
            draw(none)
        assert "make sweep PAPER=nmoe SWEEP=overlap" in str(error.value)
    two = pd.concat([rows(), rows().assign(dataset="drivedb")])
    with pytest.raises(ParameterError, match="differ in .'dataset'"):
        draw(two)


# What shuffled folds share.


def test_without_overlap_nothing_is_shared_and_half_shares_by_hand() -> None:
    assert shared(0.0) == (0, 0) == simulated(0.0)
    # Three windows in three folds: the others are always trained on.
    three = {"seconds": 2.0, "recording_s": 4.0, "n_splits": 3}
    for found in (shared(0.5, **three), simulated(0.5, **three)):
        assert found == pytest.approx((1, 2 / 3))
    # Four windows in two folds of two: an end has one neighbour, in its fold one time of three.
    four = shared(0.5, seconds=2.0, recording_s=5.0, n_splits=2)
    assert four.windows == pytest.approx((2 / 3 + 1) / 2)


def test_far_from_the_ends_all_neighbours_must_be_in_the_fold() -> None:
    long = {"recording_s": 5000.0, "sfreq": 4.0}
    for overlap, others in ((0.25, 2), (0.5, 2), (0.75, 6)):
        assert shared(overlap, **long).windows == pytest.approx(1 - 0.2**others, abs=2e-3)
    assert shared(0.25, **long).samples == pytest.approx(0.5 * 0.8, abs=2e-3)
    assert shared(0.5, **long).samples == pytest.approx(0.8, abs=2e-3)
    assert shared(0.75, **long).samples == pytest.approx(1 - 0.2**3, abs=2e-3)


@settings(max_examples=20)
@given(
    overlap=st.sampled_from(OVERLAPS), n_recordings=st.integers(1, 3), n_splits=st.integers(2, 6),
    seconds=st.sampled_from([2.5, 5.0]), recording_s=st.sampled_from([30.0, 41.0]),
)  # fmt: skip
def test_what_is_computed_is_the_mean_of_what_is_counted(overlap, n_recordings, n_splits, seconds,
                                                         recording_s) -> None:  # fmt: skip
    how = {"overlap": overlap, "seconds": seconds, "recording_s": recording_s, "sfreq": 8.0,
           "n_recordings": n_recordings, "n_splits": n_splits}  # fmt: skip
    counted = np.array([simulated(**how, seed=seed) for seed in range(8)])
    error = counted.std(0) / np.sqrt(8) + 0.01
    assert (np.abs(counted.mean(0) - shared(**how)) < 5 * error).all()


@pytest.mark.parametrize(
    "given", [{"overlap": 1.0}, {"overlap": 0.5, "seconds": 70.0},
              {"overlap": 0.0, "n_splits": 13}, {"overlap": 0.0, "n_splits": 1}]
)  # fmt: skip
def test_what_cannot_be_cut_or_shuffled_is_refused(given) -> None:
    with pytest.raises(ParameterError, match="cannot be|can be"):
        shared(**given)
