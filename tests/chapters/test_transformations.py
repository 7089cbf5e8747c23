"""Figures of pretexts say what score rows say, beside what a head scores that learnt nothing."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from builders import CONTEXT, like_everyone, scores_of, spread_out
from legible import assert_legible, texts_of
from matplotlib.colors import to_hex

from affectbook import ablations, results
from affectbook.augment import NAMES, PUBLISHED
from affectbook.chapters import transformations
from affectbook.errors import DataError, ParameterError
from affectbook.papers.ssl_ecg import SWEEPS, VARIANTS
from affectbook.results import select
from affectbook.scoring import SCORE_COLUMNS

pytestmark = pytest.mark.usefixtures("drawing")
OWN = {"paper": "ssl_ecg", "estimator": "ssl_ecg"}
SUBJECT, SHUFFLED, TRANSDUCTIVE = (
    "group_kfold_subject", "shuffled_windows_as_published", "group_kfold_subject_transductive",
)  # fmt: skip
EMPTY = pd.DataFrame(columns=SCORE_COLUMNS)
RED = "#b3261e"


def head(task: str, f1: float, seed: int = 0, **context: object) -> pd.DataFrame:
    """Return rows of a head: two folds around `f1` and their mean, and the two other measures."""
    told = CONTEXT | OWN | context | {"estimator": f"pretext_{task}", "seed": seed}
    told |= {"subject": "all", "n_test_windows": 72, "n_test_trials": 72, "run_key": "a"}
    lines = [
        told | {"fold": fold, "metric": metric, "value": value + off}
        for metric, value in (("f1", f1), ("balanced_accuracy", 0.5 + f1 / 2.5),
                              ("accuracy", 6 / 7 + f1 / 8), ("auc", 0.6))
        for fold, off in (("0", -0.01), ("1", 0.01), ("all", 0.0))
    ]  # fmt: skip
    return pd.DataFrame(lines)[SCORE_COLUMNS]


def strengths() -> dict[str, float]:
    """Return an F1 for each variant of the difficulty sweep, each another one."""
    names = [cell.parameters["variant"] for cell in SWEEPS["difficulty"]
             if cell.analysis == "pretext"]  # fmt: skip
    return dict(zip(names, np.linspace(0.3, 0.99, len(names)), strict=True))


@cache
def harder() -> pd.DataFrame:
    """Return rows of all strengths, two seeds of the heads, and the random encoder."""
    own = OWN | {"scale": "difficulty"}
    parts = [scores_of(spread_out(8, 0.4, 0.62), variant="published+random_encoder", **own)]
    for variant, f1 in strengths().items():
        task = variant.split("+")[1].removeprefix("only_")
        for seed in (0, 1):
            parts.append(head(task, f1 + 0.01 * seed, seed, scale="difficulty", variant=variant))
        parts.append(scores_of(spread_out(8, 0.45, 0.4 + f1 / 2), variant=variant, **own))
    coins = {"variant": "published+only_noise", "placebo": True}
    return pd.concat([*parts, scores_of(like_everyone(8, 0.9), **own, **coins)], ignore_index=True)


ARMS = {
    ("in_fold", SUBJECT): 0.5, ("window_zscore", SUBJECT): 0.3, ("one_softmax", SUBJECT): 0.52,
    ("equal_alpha", SUBJECT): 0.55, ("relu", SUBJECT): 0.56, ("mean_pool", SUBJECT): 0.44,
    ("batch_norm", SUBJECT): 0.6, ("transductive", TRANSDUCTIVE): 0.57, ("in_fold", SHUFFLED): 0.7,
}  # fmt: skip


@cache
def pretexts() -> pd.DataFrame:
    """Return rows of seven heads of nine pretexts, the heads in another order than ours."""
    parts = [
        head(task, f1 + 0.03 * NAMES.index(task), variant=f"published+{part}", protocol=protocol)
        for (part, protocol), f1 in ARMS.items()
        for task in reversed(NAMES)
    ]
    score = scores_of(like_everyone(6, 0.6), variant="published+in_fold", **OWN)
    return pd.concat([*parts, score], ignore_index=True)


DRAW = {
    "difficulty": lambda: transformations.difficulty(harder(), "One at a time"),
    "head_figure": lambda: transformations.head_figure(pretexts(), "Heads"),
}
every = pytest.mark.parametrize("name", DRAW)


@every
def test_each_can_be_read_and_says_what_it_is_of(name, tmp_path) -> None:
    fig, alt = DRAW[name]()
    assert "\n" not in alt and alt.endswith(".") and "nan" not in alt
    assert "eegmat (real, open), scale" in alt and "new subjects" in alt
    assert round(100 * fig.get_size_inches()[0]) == 720
    assert_legible(fig)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig.savefig(tmp_path / "figure.png")


def test_every_public_function_that_draws_is_tested() -> None:
    drawing = {name for name, value in vars(transformations).items()
               if getattr(value, "__annotations__", {}).get("return") == "Drawn"}  # fmt: skip
    assert drawing == set(DRAW) and drawing <= set(transformations.__all__)


def test_strengths_and_versions_are_those_of_the_transformations() -> None:
    assert tuple(transformations.VERSIONS) == NAMES
    assert {option: one.published for option, one in transformations.STRENGTHS.items()} == vars(
        PUBLISHED
    )
    recorded = {part for cell in (*SWEEPS["ablations"], *SWEEPS["frozen"])
                for part in cell.parameters.get("variant", "published").split("+")}  # fmt: skip
    assert recorded - {"published"} <= set(transformations.PARTS) <= set(VARIANTS)


def test_every_strength_that_is_recorded_stands_in_its_place() -> None:
    table = transformations.difficulty_scores(harder())
    # The published time warp has two strengths.
    without_strength = {"in_fold", "only_negation", "only_inversion"}
    assert len(table) == len(set(strengths()) - {f"published+{o}" for o in without_strength}) + 1
    order = {option: list(part["amount"]) for option, part in table.groupby("strength")}
    assert order == {
        "snr_db": [30, 20, 15, 10, 5, 2], "factor": [1.01, 1.05, 1.1, 1.5, 2],
        "pieces": [2, 5, 10, 20, 40], "warp_pieces": [2, 5, 9, 20],
        "stretch": [1.01, 1.05, 1.1, 1.25],
    }  # fmt: skip
    assert table.groupby("strength")["published"].sum().eq(1).all()
    for option, variant, amount in (("snr_db", "published+only_noise", 15),
                                    ("stretch", "published+only_time_warp", 1.05),
                                    ("factor", "published+only_scaling+scale_2", 2)):  # fmt: skip
        (line,) = select(table, strength=option, amount=amount).itertuples()
        score = results.interval(select(harder(), variant=variant, placebo=False,
                                        estimator="ssl_ecg"))  # fmt: skip
        assert (line.value, line.low, line.high, line.n_subjects) == score
        assert line.f1 == pytest.approx(strengths()[variant] + 0.005)


def test_the_figure_of_strengths_says_the_scores_and_draws_them() -> None:
    fig, alt = DRAW["difficulty"]()
    table = transformations.difficulty_scores(harder())
    assert "2 seeds" not in alt and "1 seed" in alt
    for line in table.itertuples():
        told = f"{line.amount:g}{' (published)' if line.published else ''} F1 {line.f1:.2f}, "
        told += f"balanced accuracy {line.value:.2f} [{line.low:.2f}, {line.high:.2f}]"
        assert told in alt
    random = results.interval(select(harder(), variant="published+random_encoder"))
    assert "0.67 if it always says yes" in alt and "chance 0.50" in alt
    assert f"random encoder {random.value:.2f} [{random.low:.2f}, {random.high:.2f}]" in alt
    panels = fig.axes[:5]
    assert [[text.get_text() for text in ax.get_xticklabels()] for ax in panels] == [
        [f"{amount:g}" for amount in select(table, strength=option)["amount"]]
        for option in transformations.STRENGTHS
    ]
    for ax, option in zip(panels, transformations.STRENGTHS, strict=True):
        own = select(table, strength=option)
        lines = {line.get_label(): line.get_ydata() for line in ax.lines}
        assert list(lines["F1 of the head"]) == list(own["f1"])
        assert lines["F1 of always yes"][0] == pytest.approx(2 / 3)
        assert lines["chance"][0] == 0.5 and lines["random encoder"][0] == random.value
        (marked,) = [one for one in ax.patches if one.get_label() == "published strength"]
        middle = marked.get_x() + marked.get_width() / 2
        assert middle == pytest.approx(list(own["published"]).index(True))


def test_a_strength_that_was_not_recorded_is_said_to_be_missing() -> None:
    rows = harder()[~harder()["variant"].str.contains("scaling")]
    rows = rows[rows["variant"] != "published+random_encoder"]
    fig, alt = transformations.difficulty(rows, "x")
    assert "Scaling, factor: not recorded." in alt and "random encoder –" in alt
    assert "not recorded" in [text.get_text() for text in texts_of(fig)]


def test_a_head_of_always_yes_has_the_f1_that_is_drawn() -> None:
    truth = np.array([True, False])  # a window and its one version
    assert 2 * truth.sum() / (truth.sum() + len(truth)) == pytest.approx(2 / 3)


def test_scores_of_heads_stand_in_order_and_are_means_of_their_seeds() -> None:
    second = head("noise", 0.9, 1, variant="published+in_fold")
    coins = head("noise", 0.1, variant="published+in_fold", placebo=True)
    table = transformations.head_scores(pd.concat([pretexts(), second, coins]))
    assert list(table) == ["variant", "protocol", "head", "f1", "balanced_accuracy", "accuracy",
                           "n_seeds"]  # fmt: skip
    assert len(table) == 7 * len(ARMS)
    arms = table[["variant", "protocol"]].drop_duplicates().itertuples(index=False, name=None)
    assert list(arms) == [(f"published+{part}", protocol) for part, protocol in ARMS]
    for _, part in table.groupby(["variant", "protocol"]):
        assert tuple(part["head"]) == NAMES
    noise = select(table, variant="published+in_fold", protocol=SUBJECT, head="noise").iloc[0]
    assert noise["f1"] == pytest.approx((0.53 + 0.9) / 2) and noise["n_seeds"] == 2
    other = select(table, variant="published+relu", head="scaling").iloc[0]
    assert other["f1"] == pytest.approx(0.62) and other["n_seeds"] == 1


def test_the_figure_of_heads_draws_every_score_and_what_a_constant_head_has() -> None:
    fig, alt = DRAW["head_figure"]()
    table = transformations.head_scores(pretexts())
    for ax, (measure, floor) in zip(
        fig.axes, (("f1", 0), ("balanced_accuracy", 0.5), ("accuracy", 6 / 7)), strict=True
    ):
        marks = [y for line in ax.lines if line.get_marker() not in ("None", None, "")
                 for y in line.get_ydata()]  # fmt: skip
        assert sorted(marks) == pytest.approx(sorted(table[measure]))
        (line,) = [one for one in ax.lines if one.get_label() == "a head that always says no"]
        assert line.get_ydata()[0] == pytest.approx(floor)
    assert "F1 0, balanced accuracy 0.50 and accuracy 0.86" in alt
    own = select(table, variant="published+window_zscore")
    each = ", ".join(f"{' '.join(transformations._called(one).split())} {f1:.2f}"
                     for one, f1 in zip(own["head"], own["f1"], strict=True))  # fmt: skip
    assert f"Z-score of each window: F1 of {each}; means: F1 {own['f1'].mean():.2f}" in alt


def test_pretexts_under_protocols_that_leak_are_named_in_red() -> None:
    fig, alt = DRAW["head_figure"]()
    (legend,) = fig.legends
    red = [" ".join(text.get_text().split()) for text in legend.get_texts()
           if to_hex(text.get_color()) == RED]  # fmt: skip
    assert sorted(red) == [
        "pretrained on all windows, new subjects, transductive",
        "the published pretext, shuffled windows (as published)",
    ]
    assert len(legend.get_texts()) == len(ARMS) + 1
    assert "The published pretext: F1" in alt and f"{red[0]}: F1"[1:] in alt


def test_variants_with_other_heads_are_not_drawn_together() -> None:
    rows = pd.concat([pretexts(), head("noise", 0.7, variant="published+only_noise")])
    with pytest.raises(ParameterError, match=r"other heads than others \(noise; original, noise"):
        transformations.head_figure(rows, "x")
    alone = pd.concat([head("noise", 0.7, variant=f"published+only_noise{end}")
                       for end in ("", "+snr_2")])  # fmt: skip
    fig, alt = transformations.head_figure(alone, "x")
    assert "accuracy 0.50. Noise alone: F1 of noise 0.70" in alt and "Noise alone, snr 2: " in alt


@pytest.mark.parametrize("other", [{"dataset": "another"}, {"scale": "paper"}], ids=str)
def test_rows_of_two_experiments_are_refused(other) -> None:
    variant = "published+only_noise"
    more = [head("noise", 0.5, variant=variant, **other),
            scores_of(like_everyone(8, 0.5), variant=variant, **OWN | other)]  # fmt: skip
    for draw, rows in ((transformations.difficulty, harder()),
                       (transformations.head_figure, pretexts())):  # fmt: skip
        with pytest.raises(ParameterError, match=next(iter(other))):
            draw(pd.concat([rows, *more]), "x")


@pytest.mark.parametrize(
    ("draw", "rows", "sweep"),
    [
        (transformations.difficulty, lambda: EMPTY, "difficulty"),
        (transformations.difficulty, lambda: pretexts(), "difficulty"),
        (transformations.head_figure, lambda: EMPTY, "ablations"),
        (transformations.head_figure, lambda: scores_of(like_everyone(6, 0.5)), "ablations"),
    ],
)
def test_without_scores_one_message_says_what_makes_them(draw, rows, sweep) -> None:
    with pytest.raises(DataError, match=f"do: make sweep PAPER=ssl_ecg SWEEP={sweep}]"):
        draw(rows(), "x")


def test_pretexts_of_the_fold_are_compared_with_the_published_one_of_the_fold() -> None:
    shares = {"published": 0.9, "published+in_fold": 0.7, "published+relu": 0.6,
              "published+random_encoder": 0.5}  # fmt: skip
    rows = pd.concat([scores_of(like_everyone(6, right), variant=variant, **OWN)
                      for variant, right in shares.items()])  # fmt: skip
    other = scores_of(like_everyone(6, 0.6), estimator="hrv_logistic", variant="")
    named = transformations.of_fold(pd.concat([rows, other], ignore_index=True))
    assert set(select(named, estimator="hrv_logistic")["variant"]) == {""}
    own = select(named, estimator="ssl_ecg")
    table = ablations.table(own, "published+in_fold").set_index("part")
    assert table["difference"].round(6).to_dict() == pytest.approx(
        {"": np.nan, "relu": -0.1, "random_encoder": -0.2}, nan_ok=True
    )
    again = transformations.of_fold(named)
    pd.testing.assert_frame_equal(again, named)
