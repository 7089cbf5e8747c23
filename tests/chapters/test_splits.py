"""Figures and tables of scores that depend on the split: their numbers are those of `results`."""

from __future__ import annotations

import itertools
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from builders import like_everyone, predictions_of, scores_of, spread_out
from matplotlib.axis import Axis
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy.stats import wilcoxon

from affectbook import results
from affectbook.chapters import split_scores, splits
from affectbook.errors import DataError, ParameterError
from affectbook.figures import name_of
from affectbook.results import select

pytestmark = pytest.mark.usefixtures("drawing")
SHUFFLED, TRIAL, SUBJECT = (
    "shuffled_windows_as_published", "group_kfold_trial", "group_kfold_subject",
)  # fmt: skip
STIMULUS, SESSION = "group_kfold_stimulus", "leave_one_session_out"
SHARES = {
    ("ms_imamba", SHUFFLED): (0.9, 0.98), ("ms_imamba", TRIAL): (0.5, 0.7),
    ("ms_imamba", SUBJECT): (0.4, 0.66), ("ms_imamba", STIMULUS): (0.46, 0.7),
    ("ms_imamba", SESSION): (0.44, 0.7), ("de_svm", SHUFFLED): (0.8, 0.9),
    ("de_svm", TRIAL): (0.5, 0.76), ("de_svm", SUBJECT): (0.5, 0.64),
}  # fmt: skip
MODELS = ("ms_imamba", "de_svm")
PANELS = {"one": {"dataset": "deap"}, "two": {"dataset": "dreamer"}, "three": {"dataset": "seed"}}
NAMES = {"no_mstb": "no multi-scale block (MSTB)", "no_tsfb": "no fusion block (TSFB)",
         "never": "not recorded"}  # fmt: skip


def variant_of(estimator: str) -> str:
    return "declared" if estimator == "ms_imamba" else ""


@cache
def rows_of() -> pd.DataFrame:
    """Return scores under five protocols; on coins of one model under shuffled windows."""
    parts = [
        scores_of(spread_out(8, *share), estimator=who, variant=variant_of(who), protocol=protocol)
        for (who, protocol), share in SHARES.items()
    ]
    coins = {"estimator": "de_svm", "variant": "", "protocol": SHUFFLED, "placebo": True}
    return pd.concat([*parts, scores_of(like_everyone(8, 0.84), **coins)], ignore_index=True)


@cache
def predicted() -> pd.DataFrame:
    """Return predictions of the network, ten trials a subject, one label a trial."""
    parts = []
    for (who, protocol), share in SHARES.items():
        if who != "ms_imamba":
            continue
        own = predictions_of(spread_out(8, *share))
        trial = own["y_true"].astype(str) + "-" + (own["window"] % 5).astype(str)
        parts.append(own.assign(trial=trial, estimator=who, variant="declared", protocol=protocol,
                                placebo=False, run_key="a"))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


@cache
def variants() -> pd.DataFrame:
    """Return three variants on two seeds; the third data set has three classes and no `no_tsfb`."""
    parts = []
    for (dataset, lost), seed in itertools.product((("deap", 0.02), ("dreamer", 0.1)), (0, 1)):
        for part, less in (("", 0), ("+no_mstb", lost), ("+no_tsfb", 2 * lost), ("+k_1", 0.3)):
            who = {"estimator": "ms_imamba", "variant": f"declared{part}", "dataset": dataset}
            table = spread_out(8, 0.5 - less, 0.9 - less)
            parts.append(scores_of(table, seed, protocol=TRIAL, **who))
    three = {f"S{i}": [[8, i, 1], [2, 6, 2], [5, 0, 5 + i]] for i in range(6)}
    for part in ("", "+no_mstb"):
        parts.append(scores_of(three, estimator="ms_imamba", variant=f"declared{part}",
                               dataset="seed", protocol=SESSION))  # fmt: skip
    coins = {"variant": "declared", "dataset": "deap", "protocol": TRIAL, "placebo": True}
    parts.append(scores_of(like_everyone(8, 0.5), estimator="ms_imamba", **coins))
    return pd.concat(parts, ignore_index=True)


@cache
def budget() -> pd.DataFrame:
    """Return shares of subjects of one data set, and of trials of another with three classes."""
    three = {f"S{i}": [[6, 3, 1], [2, 6, 2], [2, i % 3, 5]] for i in range(6)}
    parts = []
    for who, plus in (("ms_imamba", "declared+"), ("de_svm", ""), ("eegnet", "+")):
        for share, value in ((0.1, 0.54), (0.25, 0.6), (0.5, 0.7)):
            variant = f"{plus}{share}_of_subjects"
            parts.append(scores_of(spread_out(6, value - 0.04, value + 0.04), estimator=who,
                                   variant=variant))  # fmt: skip
        parts.append(scores_of(like_everyone(6, 0.8), estimator=who, variant=variant_of(who)))
        twin = {"estimator": who, "dataset": "deap", "tier": "simulated", "protocol": TRIAL}
        parts += [scores_of(three, variant=variant, **twin)
                  for variant in (f"{plus}0.25_of_trials", variant_of(who))]  # fmt: skip
    other = {"estimator": "ms_imamba", "variant": "declared+no_mstb", "dataset": "another"}
    return pd.concat([*parts, scores_of(like_everyone(6, 0.9), **other)], ignore_index=True)


DRAW = {
    "protocol_bars": lambda: splits.protocol_bars(
        rows_of(), predicted(), "DEAP (simulated)", estimators=MODELS
    ),
    "subject_dots": lambda: splits.subject_dots(
        {who: select(rows_of(), estimator=who, protocol=TRIAL) for who in MODELS},
        (0.42, 0.6), 0.5, "New trials (simulated)",
    ),
    "variant_panels": lambda: splits.variant_panels(
        variants(), "declared", PANELS, "MS-iMamba (simulated)", NAMES
    ),
    "data_efficiency": lambda: splits.data_efficiency(
        budget(), "declared", "Less data", references=("de_svm", "eegnet")
    ),
}  # fmt: skip
every = pytest.mark.parametrize("name", DRAW)


def texts_of(fig: Figure) -> list[Text]:
    """Return all texts that can be seen: not those of ticks beyond the ends of an axis."""
    beyond = [
        label
        for axis in fig.findobj(Axis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    ]
    texts = [text for text in fig.findobj(Text) if text.get_visible() and text not in beyond]
    return [text for text in texts if text.get_text().strip()]


@every
def test_each_ends_its_words_and_is_as_wide_as_a_page(name, tmp_path) -> None:
    fig, alt = DRAW[name]()
    assert "\n" not in alt and alt.endswith(".") and "nan" not in alt
    assert round(100 * fig.get_size_inches()[0]) == 720
    assert all("(%)" in (ax.get_xlabel() or ax.get_ylabel() or "(%)") for ax in fig.axes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig.savefig(tmp_path / "figure.png")


@every
def test_no_text_is_too_small_or_lies_on_another(name) -> None:
    fig, _ = DRAW[name]()
    fig.canvas.draw()
    assert [text.get_text() for text in texts_of(fig) if text.get_fontsize() < 9] == []
    page = fig.bbox.padded(1)
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts_of(fig)]
    boxes = [(text, box) for text, box in boxes if box.width]
    assert [text for text, box in boxes if not page.fully_containsx(box.x0)] == []
    assert [text for text, box in boxes if not page.fully_containsx(box.x1)] == []
    # Lines above a name that leave room for another row of names are no text.
    boxes = [(text, box.from_extents(box.x0, box.y0, box.x1, box.y1 - box.height * leading(text)))
             for text, box in boxes]  # fmt: skip
    assert [(a, b) for (a, x), (b, y) in itertools.combinations(boxes, 2) if x.overlaps(y)] == []


def leading(text: str) -> float:
    """Return the share of the lines of a text that are empty and above the others."""
    lines = text.split("\n")
    return (len(lines) - len(text.lstrip("\n").split("\n"))) / len(lines)


def test_every_public_function_that_draws_is_tested() -> None:
    drawing = {name for name, value in vars(splits).items()
               if getattr(value, "__annotations__", {}).get("return") == "Drawn"}  # fmt: skip
    assert drawing == set(DRAW) and drawing <= set(splits.__all__)


def test_bars_say_score_luck_and_coins_as_results_compute_them() -> None:
    fig, alt = DRAW["protocol_bars"]()
    for (who, protocol), _ in SHARES.items():
        own = select(rows_of(), estimator=who, protocol=protocol, placebo=False)
        assert f"{name_of(who)} {results.interval(own)}" in alt
    low, high = results.permutation_band(select(predicted(), protocol=TRIAL))
    assert f", luck {100 * low:.1f} to {100 * high:.1f} %" in alt
    assert "coin flips 84.0 %" in alt and alt.count("coin flips") == 1


def test_groups_stand_from_what_leaks_most_to_what_leaks_least_and_say_their_kind() -> None:
    fig, alt = DRAW["protocol_bars"]()
    labels = fig.axes[0].get_xticklabels()
    assert [" ".join(label.get_text().split()) for label in labels] == [
        "shuffled windows (as published)", "new trials", "new stimuli", "a new session",
        "new subjects",
    ]  # fmt: skip
    reds = [to_hex(label.get_color()) == "#b3261e" for label in labels]
    assert reds == [True, False, False, False, False]
    kinds = [" ".join(text.get_text().split()) for text in texts_of(fig)
             if text.get_text().startswith("\n")]  # fmt: skip
    assert kinds == ["intra-subject", "intra-subject, new stimulus", "intra-subject",
                     "inter-subject"]  # fmt: skip
    assert "New stimuli, intra-subject, new stimulus: MS-iMamba" in alt
    assert "New subjects, inter-subject: MS-iMamba" in alt


def test_kinds_can_be_others() -> None:
    _, alt = splits.protocol_bars(rows_of(), pd.DataFrame(), "x", estimators=MODELS,
                                  kinds={SUBJECT: "other people"})  # fmt: skip
    assert "New subjects, other people: " in alt and "intra" not in alt and "luck" not in alt


def test_the_bars_have_the_heights_of_the_scores() -> None:
    fig, _ = DRAW["protocol_bars"]()
    table = splits.protocol_scores(rows_of(), predicted(), MODELS)
    drawn = sorted(round(bar.get_height(), 6) for bar in fig.axes[0].patches
                   if bar.get_y() == 0 and bar.get_height() > 0)  # fmt: skip
    assert drawn == sorted(round(100 * value, 6) for value in table["value"])
    (coins,) = select(table, estimator="de_svm", protocol=SHUFFLED)["coins"]
    marks = [y for line in fig.axes[0].lines if line.get_marker() == "D" for y in line.get_ydata()]
    assert [y for y in marks if not np.isnan(y)] == [pytest.approx(100 * coins)]


def test_coins_of_two_sides_beside_labels_of_three_classes_have_their_own_chance() -> None:
    three = {f"S{i}": [[8, 1, 1], [2, 6, 2], [5, 0, 5]] for i in range(5)}
    rows = pd.concat([scores_of(three), scores_of(like_everyone(5, 0.5), placebo=True)])
    _, alt = splits.protocol_bars(rows, pd.DataFrame(), "x", estimators=["hcmnet"])
    assert "chance 33 %, chance on coin flips 50 %." in alt


@pytest.mark.parametrize(
    "other", [{"variant": "declared+k_1"}, {"dataset": "another"}, {"scale": "paper"}], ids=str
)
def test_scores_of_two_experiments_are_refused(other) -> None:
    rows = pd.concat([rows_of(), scores_of(
        like_everyone(8, 0.5), **{"estimator": "ms_imamba", "variant": "declared"} | other
    )])  # fmt: skip
    for make in (
        lambda: splits.protocol_bars(rows, pd.DataFrame(), "x", estimators=MODELS),
        lambda: splits.model_table(rows, MODELS, [SUBJECT]),
        lambda: splits.paired_tests(rows, "ms_imamba", ["de_svm"], SUBJECT),
    ):
        with pytest.raises(ParameterError, match=next(iter(other))):
            make()


def test_dots_say_means_and_who_lies_above_luck() -> None:
    fig, alt = DRAW["subject_dots"]()
    own = select(rows_of(), estimator="ms_imamba", protocol=TRIAL, fold="all",
                 metric="balanced_accuracy").query("subject != 'all'")["value"]  # fmt: skip
    above = (own > 0.6).sum()
    assert 0 < above < 8
    assert f"ms_imamba: mean {100 * own.mean():.0f} %, {above} of 8 subjects above the band" in alt
    assert "luck gives 95 % of them 42 to 60 %" in alt and "chance at 50 %" in alt
    marks = [len(line.get_xdata()) for line in fig.axes[0].lines if line.get_marker() in "os"]
    assert marks == [8, 8]


def test_dots_need_no_band() -> None:
    _, alt = splits.subject_dots({"a": scores_of(like_everyone(4, 0.7))}, None, 0.5, "x")
    assert "luck" not in alt and "band" not in alt and "a: mean 70 %." in alt


def test_luck_of_one_subject_is_wider_than_that_of_all() -> None:
    own = select(predicted(), protocol=TRIAL)
    low, high = splits.subject_band(own)
    ends = [results.permutation_band(part) for _, part in own.groupby("subject")]
    assert (low, high) == pytest.approx(tuple(np.mean(ends, axis=0)))
    together = results.permutation_band(own)
    assert low < together[0] < together[1] < high
    assert splits.subject_band(pd.DataFrame()) is None


def test_panels_say_scores_and_paired_differences() -> None:
    fig, alt = DRAW["variant_panels"]()
    for name, where in PANELS.items():
        own = select(variants(), placebo=False, **where)
        whole, changed = (select(own, variant=f"declared{part}") for part in ("", "+no_mstb"))
        gap = results.difference(changed, whole)
        told = f"the whole network {results.interval(whole)}; no multi-scale block (MSTB) "
        told += f"{results.interval(changed)}, difference {100 * gap.value + 0:+.1f} "
        assert f"{name}, chance " in alt and told in alt
    assert "three, chance 33 %" in alt and "one, chance 50 %" in alt
    assert alt.count("no fusion block") == 2 and "k 1" not in alt and "not recorded" not in alt
    assert [len(ax.containers) for ax in fig.axes] == [3, 3, 2, 0]


def test_efficiency_goes_on_to_all_of_the_same_experiment() -> None:
    table = splits.efficiency_scores(budget(), "declared", references=("de_svm", "eegnet"))
    people, trials = (select(table, of=of) for of in ("subjects", "trials"))
    assert list(people["estimator"].unique()) == ["ms_imamba", "de_svm", "eegnet"]
    for who in ("ms_imamba", "de_svm", "eegnet"):
        assert list(select(people, estimator=who)["share"]) == [0.1, 0.25, 0.5, 1]
        assert list(select(trials, estimator=who)["share"]) == [0.25, 1]
    assert list(select(people, share=1.0)["value"]) == pytest.approx([0.8] * 3)
    assert set(people["dataset"]) == {"eegmat"} and set(trials["dataset"]) == {"deap"}
    least, own = (results.interval(select(budget(), estimator="eegnet", variant=variant))
                  for variant in ("+0.1_of_subjects", "+0.25_of_subjects"))  # fmt: skip
    _, alt = DRAW["data_efficiency"]()
    assert f"EEGNet 10 %: {least}, 25 %: {own}" in alt
    assert "By training subjects, eegmat (open), new subjects, chance 50 %" in alt
    assert "By training trials, deap (simulated), new trials, chance 33 %" in alt


def test_one_kind_of_share_is_enough() -> None:
    rows = budget()[~budget()["variant"].str.endswith("_of_trials")]
    fig, alt = splits.data_efficiency(rows, "declared", "x", references=("de_svm",))
    assert "By training trials: not recorded." in alt and "eegnet" not in alt
    assert "not recorded" in [text.get_text() for text in fig.axes[1].texts]


def test_shares_of_two_experiments_are_refused() -> None:
    other = scores_of(like_everyone(6, 0.5), estimator="ms_imamba", dataset="another",
                      variant="declared+0.1_of_subjects")  # fmt: skip
    with pytest.raises(ParameterError, match="shares of subjects differ in .*dataset"):
        splits.data_efficiency(pd.concat([budget(), other]), "declared", "x")


EMPTY = pd.DataFrame(columns=results.SCORE_COLUMNS)


@pytest.mark.parametrize(
    ("make", "sweep"),
    [
        (lambda: splits.protocol_bars(EMPTY, EMPTY, "x", estimators=MODELS), "recorded"),
        (lambda: splits.protocol_bars(rows_of(), EMPTY, "x", estimators=["a"], sweep="twin"),
         "twin"),
        (lambda: splits.subject_dots({"a": EMPTY}, None, 0.5, "x"), "recorded"),
        (lambda: splits.variant_panels(EMPTY, "declared", PANELS, "x", NAMES), "twin_variants"),
        (lambda: splits.variant_panels(variants(), "declared", {"a": {"dataset": "b"}}, "x", NAMES,
                                       sweep="sessions"), "sessions"),
        (lambda: splits.data_efficiency(EMPTY, "declared", "x"), "budget"),
        (lambda: splits.data_efficiency(rows_of(), "declared", "x"), "budget"),
        (lambda: splits.model_table(EMPTY, MODELS, [TRIAL]), "recorded"),
        (lambda: splits.paired_tests(rows_of(), "ms_imamba", ["de_svm"], SESSION), "recorded"),
    ],
)  # fmt: skip
def test_without_scores_one_message_says_what_makes_them(make, sweep) -> None:
    with pytest.raises(DataError, match=f"do: make sweep PAPER=ms_imamba SWEEP={sweep}]"):
        make()


def test_the_table_of_models_has_every_score() -> None:
    table = splits.model_table(rows_of(), MODELS, [SHUFFLED, TRIAL, "blocked_within_trial"])
    assert list(table) == [
        "model", "shuffled windows (as published)", "shuffled windows (as published): coin flips",
        "new trials", "new trials: macro F1", "new trials: accuracy", "new trials: Cohen's kappa",
    ]  # fmt: skip
    own = select(rows_of(), estimator="de_svm", protocol=TRIAL)
    line = table.set_index("model").loc[name_of("de_svm")]
    assert line["new trials"] == str(results.interval(own))
    assert line["new trials: macro F1"] == str(results.interval(own, "macro_f1"))
    assert line["new trials: accuracy"] == str(results.interval(own, "accuracy"))
    assert line["shuffled windows (as published): coin flips"] == "84.0 % [84.0, 84.0]"
    assert table["shuffled windows (as published): coin flips"][0] == "–"
    counts = results.confusions(own)[1].sum(0)
    # Both classes are as frequent: chance agrees on one half.
    agreed = np.trace(counts) / counts.sum()
    assert line["new trials: Cohen's kappa"] == f"{2 * agreed - 1:.2f}"


def test_kappa_is_that_of_the_textbook() -> None:
    # J. L. Fleiss' example: 35 of 50 agreed, 0.5 expected.
    assert split_scores.kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)
    assert np.isnan(split_scores.kappa(np.array([[50, 0], [0, 0]])))


@cache
def compared() -> pd.DataFrame:
    """Return three seeds of the network, one of the others; the fingerprint equals the network."""
    rng = np.random.default_rng(0)
    parts = []
    for who, right, seeds in (("ms_imamba", 0.6, 3), ("eegnet", 0.55, 2), ("de_svm", 0.52, 1),
                              ("same", 0.6, 3)):  # fmt: skip
        for seed in range(seeds):
            luck = rng if who != "same" else np.random.default_rng(0)
            tables = {}
            for subject in range(9):
                hits = luck.binomial(50, right, 2) if who != "same" else [30 + subject] * 2
                tables[f"S{subject}"] = [[hits[0], 50 - hits[0]], [50 - hits[1], hits[1]]]
            parts.append(scores_of(tables, seed, estimator=who, variant="", protocol=TRIAL))
    return pd.concat(parts, ignore_index=True)


def test_paired_tests_take_the_seeds_that_both_have() -> None:
    rows = compared()
    table = splits.paired_tests(rows, "ms_imamba", ["eegnet", "de_svm"], TRIAL).set_index("right")
    network, eegnet, svm = (
        select(rows, estimator=who) for who in ("ms_imamba", "eegnet", "de_svm")
    )
    both = network[network["seed"] < 2]
    gap = results.difference(both, eegnet)
    assert tuple(table.loc["eegnet", ["value", "low", "high", "n_subjects"]]) == tuple(gap)
    assert table.loc["de_svm", "value"] == results.difference(network, svm).value

    def subjects(part: pd.DataFrame) -> pd.Series:
        own = select(part, fold="all", metric="balanced_accuracy").query("subject != 'all'")
        return own.groupby("subject")["value"].mean()

    assert table.loc["eegnet", "p"] == pytest.approx(
        wilcoxon((100 * (subjects(both) - subjects(eegnet))).round(9)).pvalue
    )


def test_a_model_against_itself_differs_by_nothing() -> None:
    rows = compared()
    twin = select(rows, estimator="same").assign(estimator="twin")
    table = splits.paired_tests(pd.concat([rows, twin]), "same", ["twin"], TRIAL)
    assert (table["value"][0], table["p"][0], table["p_holm"][0]) == (0, 1, 1)


def test_models_without_a_seed_in_common_are_not_compared() -> None:
    rows = compared()
    rows = rows[(rows["estimator"] != "eegnet") | (rows["seed"] == 1)]
    rows = rows[(rows["estimator"] != "same") | (rows["seed"] == 2)]
    with pytest.raises(DataError, match="without a seed in common"):
        splits.paired_tests(rows, "eegnet", ["same"], TRIAL)


def test_four_subjects_are_too_few_for_a_test() -> None:
    rows = compared()
    rows = rows[rows["subject"].isin(["all", "S0", "S1", "S2", "S3"])]
    table = splits.paired_tests(rows, "ms_imamba", ["eegnet"], TRIAL)
    assert np.isnan(table["p"][0]) and np.isnan(table["p_holm"][0])
    assert splits.shown_tests(table)["p (Wilcoxon)"][0] == "–"


def test_holm_by_hand() -> None:
    # 0.01 x 4; 0.02 x 3; 0.03 x 2 is no less than the one before; 0.5 x 1.
    assert split_scores.holm(np.array([0.03, 0.01, 0.5, 0.02])) == pytest.approx(
        [0.06, 0.04, 0.5, 0.06]
    )
    assert split_scores.holm(np.array([0.9, 0.8])) == pytest.approx([1, 1])
    with_none = split_scores.holm(np.array([0.04, np.nan, 0.03]))
    assert with_none[[0, 2]] == pytest.approx([0.06, 0.06]) and np.isnan(with_none[1])


def test_tests_are_shown_in_points() -> None:
    table = splits.paired_tests(compared(), "ms_imamba", ["eegnet", "de_svm"], TRIAL)
    shown = splits.shown_tests(table)
    assert list(shown["compared"]) == ["MS-iMamba − EEGNet", f"MS-iMamba − {name_of('de_svm')}"]
    assert shown["difference (95 % interval)"][0].startswith(
        f"{100 * table['value'][0]:+.1f} point"
    )
    assert shown["p (after Holm)"][1] == split_scores._p(table["p_holm"][1])
    assert split_scores._p(0.0004) == "< 0.001"
