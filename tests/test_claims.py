"""Verdicts: each word by the written rule, and numbers that readers fill in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import like_everyone, spread_out
from builders import scores_of as scores_of_one_seed

from affectbook import claims, results
from affectbook.claims import CHANCE, Claim
from affectbook.errors import DataFileError

SHUFFLED = "shuffled_windows_as_published"
NUMBER = Claim(
    "accuracy", "Accuracy on eegmat", "Table 2", "accuracy", SHUFFLED, "eegmat", "rest_arithmetic",
    number=0.70, left={"estimator": "hcmnet", "variant": "published"},
)  # fmt: skip
NETWORK = {"estimator": "hcmnet", "variant": ("published", "pool_strides_8_8_2")}
BETTER = Claim(
    "better", "Better than a small CNN", "abstract", "balanced_accuracy", left=NETWORK,
    right={"estimator": "small_cnn"},
)  # fmt: skip
ABOVE = Claim("above", "Above chance", "abstract", "balanced_accuracy", left=NETWORK, right=CHANCE)
BELOW = Claim("below", "Below chance", "abstract", "balanced_accuracy", left=CHANCE, right=NETWORK)
NARROW = spread_out(12, 0.66, 0.74)  # 70 %, interval about 1 point to either side
WIDE = spread_out(12, 0.45, 0.95)


def scores_of(tables: dict, seeds: range = range(3), **context: object) -> pd.DataFrame:
    """Return score rows of three seeds that agree, as few as decide anything."""
    parts = [scores_of_one_seed(tables, seed=seed, **context) for seed in seeds]
    return pd.concat(parts, ignore_index=True)


def published(tables: dict, **context: object) -> pd.DataFrame:
    return scores_of(tables, **{"protocol": SHUFFLED} | context)


def both(network: dict, cnn: dict, **context: object) -> pd.DataFrame:
    """Return rows of the network and of the small CNN."""
    other = {"estimator": "small_cnn", "variant": ""}
    return pd.concat(
        [scores_of(network, **context), scores_of(cnn, **context | other)], ignore_index=True
    )


def the_verdict(claim: Claim, rows: pd.DataFrame) -> claims.Verdict:
    (verdict,) = claims.judge([claim], rows)
    return verdict


def with_number(number: float | None) -> Claim:
    return Claim(**vars(NUMBER) | {"number": number})


def test_a_number_inside_our_interval_is_reproduced() -> None:
    verdict = the_verdict(NUMBER, published(NARROW))
    assert verdict.word == "reproduced" and verdict.dataset == "eegmat"
    assert verdict.score.low <= 0.7 <= verdict.score.high and "inside" in verdict.why


@pytest.mark.parametrize("number", [0.6, 0.8, 0.95])
def test_a_number_outside_our_interval_is_not_reproduced(number) -> None:
    verdict = the_verdict(with_number(number), published(NARROW))
    assert verdict.word == "not reproduced" and "outside" in verdict.why


def test_the_edges_of_the_interval_are_inside() -> None:
    score = results.interval(published(NARROW), "accuracy")
    for edge, beyond in ((score.low, -1e-9), (score.high, 1e-9)):
        assert the_verdict(with_number(edge), published(NARROW)).word == "reproduced"
        assert the_verdict(with_number(edge + beyond), published(NARROW)).word == "not reproduced"


def test_an_interval_that_is_too_wide_is_inconclusive() -> None:
    verdict = the_verdict(NUMBER, published(WIDE))
    assert verdict.score.half_width > claims.WIDEST_HALF_WIDTH == 0.05
    assert verdict.word == "inconclusive" and "half-width" in verdict.why
    assert the_verdict(with_number(0.1), published(WIDE)).word == "inconclusive"


@pytest.mark.parametrize(("n_subjects", "word"), [(3, "inconclusive"), (9, "inconclusive"),
                                                  (10, "reproduced")])  # fmt: skip
def test_under_ten_subjects_are_inconclusive(n_subjects, word) -> None:
    verdict = the_verdict(NUMBER, published(like_everyone(n_subjects, 0.7)))
    assert verdict.word == word and verdict.score.n_subjects == n_subjects


def test_a_number_that_was_not_found_is_not_comparable() -> None:
    verdict = the_verdict(with_number(None), published(NARROW))
    assert verdict.word == "not comparable" and "not found" in verdict.why
    assert the_verdict(with_number(None), published(NARROW).iloc[:0]).word == "not comparable"


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"dataset": "drivedb"}, {"label_rule": "another"}, {"protocol": "group_kfold_subject"},
        {"placebo": True}, {"variant": "pool_strides_8_8_2"}, {"estimator": "small_cnn"},
        {"tier": "simulated"},
    ],
    ids=lambda where: next(iter(where)),
)  # fmt: skip
def test_scores_of_something_else_leave_a_number_untested(elsewhere) -> None:
    verdict = the_verdict(NUMBER, published(NARROW, **elsewhere))
    assert verdict.word == "untested" and verdict.score.n_subjects == 0


def test_a_number_is_judged_by_its_own_metric() -> None:
    lopsided = {f"S{i:02d}": [[90, 0], [10, 0]] for i in range(12)}
    rows = published(lopsided)
    assert the_verdict(with_number(0.9), rows).word == "reproduced"
    balanced = Claim(**vars(NUMBER) | {"number": 0.5, "metric": "balanced_accuracy"})
    assert the_verdict(balanced, rows).word == "reproduced"


@pytest.mark.parametrize(
    ("network", "cnn", "word"),
    [
        (spread_out(12, 0.7, 0.9), spread_out(12, 0.6, 0.8), "holds on"),
        (spread_out(12, 0.6, 0.8), spread_out(12, 0.7, 0.9), "does not hold on"),
        (spread_out(12, 0.6, 0.8), spread_out(12, 0.8, 0.6), "undecided on"),
        (spread_out(12, 0.6, 0.8), spread_out(12, 0.6, 0.8), "undecided on"),
        (like_everyone(9, 0.9), like_everyone(9, 0.5), "undecided on"),
        (like_everyone(10, 0.9), like_everyone(10, 0.5), "holds on"),
        (like_everyone(10, 0.5), like_everyone(10, 0.9), "does not hold on"),
    ],
    ids=["better", "worse", "crossing", "equal", "nine people", "ten people", "ten people, worse"],
)
def test_a_direction_is_decided_by_the_paired_interval(network, cnn, word) -> None:
    verdict = the_verdict(BETTER, both(network, cnn))
    assert verdict.word == word and verdict.dataset == "eegmat"
    assert f"{verdict.score.n_subjects} subjects" in verdict.why


@pytest.mark.parametrize(
    ("share", "above", "below"),
    [(0.8, "holds on", "does not hold on"), (0.3, "does not hold on", "holds on")],
)
def test_chance_may_stand_on_either_side(share, above, below) -> None:
    rows = scores_of(spread_out(12, share - 0.1, share + 0.1))
    assert the_verdict(ABOVE, rows).word == above
    assert the_verdict(BELOW, rows).word == below
    one, other = the_verdict(ABOVE, rows).score, the_verdict(BELOW, rows).score
    assert one.value == pytest.approx(share - 0.5)
    assert (other.value, other.low, other.high) == pytest.approx((-one.value, -one.high, -one.low))


def test_a_score_at_chance_is_undecided_on_both_sides() -> None:
    rows = scores_of(spread_out(12, 0.3, 0.7))
    assert {the_verdict(claim, rows).word for claim in (ABOVE, BELOW)} == {"undecided on"}


def test_chance_is_one_over_the_number_of_classes() -> None:
    table = np.array([[40, 30, 30], [30, 40, 30], [30, 30, 40]])
    rows = scores_of({f"S{i:02d}": table for i in range(12)})
    assert the_verdict(ABOVE, rows).score.value == pytest.approx(0.4 - 1 / 3)


def test_a_direction_needs_both_sides() -> None:
    alone = scores_of(spread_out(12, 0.7, 0.9))
    verdict = the_verdict(BETTER, alone)
    assert (verdict.word, verdict.dataset) == ("untested", "")
    strangers = both(like_everyone(12, 0.9), {f"P{i}": t for i, t in enumerate(NARROW.values())})
    assert the_verdict(BETTER, strangers).word == "untested"
    assert the_verdict(ABOVE, alone.iloc[:0]).word == "untested"
    assert the_verdict(BELOW, alone.iloc[:0]).word == "untested"


def test_a_direction_is_decided_on_each_data_set() -> None:
    rows = pd.concat(
        [
            both(spread_out(12, 0.7, 0.9), spread_out(12, 0.6, 0.8)),
            both(spread_out(12, 0.6, 0.8), spread_out(12, 0.7, 0.9), dataset="wesad"),
            both(like_everyone(2, 0.9), like_everyone(2, 0.8), dataset="drivedb"),
        ],
        ignore_index=True,
    )
    found = {verdict.dataset: verdict.word for verdict in claims.judge([BETTER], rows)}
    assert found == {
        "drivedb": "undecided on", "eegmat": "holds on", "wesad": "does not hold on",
    }  # fmt: skip


def test_two_label_rules_of_one_data_set_are_judged_apart() -> None:
    three = np.array([[20, 40, 40], [40, 20, 40], [40, 40, 20]])
    rows = pd.concat(
        [
            scores_of(spread_out(12, 0.7, 0.9), label_rule="two classes"),
            scores_of({f"S{i:02d}": three for i in range(12)}, label_rule="three classes"),
        ],
        ignore_index=True,
    )
    verdicts = claims.judge([ABOVE], rows)
    assert {v.word: round(v.score.value, 3) for v in verdicts} == {
        "holds on": 0.3, "does not hold on": round(0.2 - 1 / 3, 3),
    }  # fmt: skip
    assert all(v.dataset == "eegmat" for v in verdicts)
    assert [v.why.split(", ")[-1] for v in verdicts] == ["three classes", "two classes"]


@pytest.mark.parametrize("elsewhere", [{"placebo": True}, {"tier": "simulated"},
                                       {"protocol": SHUFFLED}])  # fmt: skip
def test_placebo_simulation_and_leaks_decide_no_direction(elsewhere) -> None:
    rows = both(spread_out(12, 0.7, 0.9), spread_out(12, 0.6, 0.8), **elsewhere)
    assert {v.word for v in claims.judge([BETTER, ABOVE, BELOW], rows)} == {"untested"}


def test_simulated_rows_do_not_mix_with_real_ones() -> None:
    real, simulated = published(NARROW), published(spread_out(12, 0.9, 0.98), tier="simulated")
    mixed = pd.concat([simulated, real], ignore_index=True)
    assert the_verdict(NUMBER, mixed) == the_verdict(NUMBER, real)


def test_a_tuple_means_the_first_that_was_run() -> None:
    small = both(spread_out(12, 0.4, 0.6), NARROW, variant="pool_strides_8_8_2")
    assert the_verdict(BETTER, small).word == "does not hold on"
    whole = scores_of(spread_out(12, 0.8, 0.9), variant="published")
    assert the_verdict(BETTER, pd.concat([small, whole])).word == "holds on"


def test_a_direction_takes_the_first_honest_protocol_that_was_run_and_names_it() -> None:
    one = both(spread_out(12, 0.7, 0.9), NARROW, protocol="leave_one_subject_out")
    assert "leave_one_subject_out" in the_verdict(BETTER, one).why
    two = pd.concat([one, both(spread_out(12, 0.4, 0.6), NARROW)], ignore_index=True)
    verdict = the_verdict(BETTER, two)
    assert verdict.word == "does not hold on" and "group_kfold_subject" in verdict.why


def test_the_table_has_a_line_for_every_verdict() -> None:
    rows = pd.concat([published(NARROW), both(NARROW, WIDE)], ignore_index=True)
    table = claims.table(claims.judge([NUMBER, with_number(None), BETTER], rows))
    assert len(table) == 3 and table.notna().all(axis=None)
    text = table.to_string()
    for words in ("reproduced", "70.00 %", "not found", "not comparable", "Table 2"):
        assert words in text
    assert table["verdict"].iloc[2].endswith("on eegmat")


def test_points_are_written_with_their_sign() -> None:
    assert claims.points(results.Interval(0.05, -0.01, 0.11, 12)) == "+5.0 points [-1.0, +11.0]"
    assert claims.points(results.Interval(-0.05, np.nan, np.nan, 3)) == "-5.0 points"


HEAD = "paper,claim,value,table,page,entered_by\n"


@pytest.fixture
def filled_in(tmp_path: Path):
    """Return a function: the claims after these lines were filled in."""

    def fill(*lines: str, head: str = HEAD) -> list[Claim]:
        path = tmp_path / "published_numbers.csv"
        path.write_text(head + "".join(f"{line}\n" for line in lines), encoding="utf-8")
        return claims.with_numbers("hcmnet", [with_number(None), BETTER], path)

    return fill


def test_a_number_that_is_filled_in_changes_the_verdict(filled_in) -> None:
    rows = published(NARROW)
    before, _ = filled_in()
    inside, same = filled_in("hcmnet,accuracy,70.4,II,5,A. Reader")
    outside, _ = filled_in("hcmnet,accuracy,94.86,,7,")
    assert [the_verdict(claim, rows).word for claim in (before, inside, outside)] == [
        "not comparable", "reproduced", "not reproduced",
    ]  # fmt: skip
    assert inside.number == pytest.approx(0.704) and same == BETTER
    assert inside.source == "table II, page 5 (entered by A. Reader)"
    assert outside.source == "page 7"
    assert the_verdict(outside, rows.iloc[:0]).word == "untested"


def test_lines_of_other_papers_are_left_to_them(filled_in) -> None:
    assert filled_in("ms_imamba,whatever,70,II,5,me")[0].number is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hcmnet,acuracy,70,II,5,me", ["no numeric claim", "acuracy", "accuracy"]),
        ("hcmnet,better,70,II,5,me", ["no numeric claim", "better"]),
        ("hcmnet,accuracy,0.70,II,5,me", ["not a percentage", "0.70", "above 1"]),
        ("hcmnet,accuracy,170,II,5,me", ["not a percentage", "170"]),
        ("hcmnet,accuracy,-70,II,5,me", ["not a percentage", "-70"]),
        ("hcmnet,accuracy,,II,5,me", ["not a percentage"]),
        ("hcmnet,accuracy,nan,II,5,me", ["not a percentage", "nan"]),
        ("hcmnet,accuracy,seventy,II,5,me", ["not a percentage", "seventy"]),
        ("hcmnet,accuracy,70 %,II,5,me", ["not a percentage", "70 %"]),
        ("hcmnet,accuracy,70,,,me", ["table or page"]),
        ("hcmnet,accuracy,94,86,II,5,me", ["line 2", "7 fields", "6"]),
        ("hcmnet,accuracy,70,II,5", ["line 2", "5 fields", "6"]),
    ],
)
def test_a_bad_line_is_one_message(filled_in, line, words) -> None:
    with pytest.raises(DataFileError) as error:
        filled_in(line)
    text = str(error.value)
    assert all(word in text for word in ["published_numbers.csv", *words])
    assert len(text.splitlines()) == 1


def test_a_claim_is_filled_in_once(filled_in) -> None:
    with pytest.raises(DataFileError, match="twice") as error:
        filled_in("hcmnet,accuracy,70,II,5,me", "hcmnet,accuracy,71,III,6,you")
    assert "accuracy" in str(error.value)


@pytest.mark.parametrize("head", ["", "paper,claim,value,table,page\n", "claim,paper,value\n"])
def test_other_columns_are_one_message(filled_in, head) -> None:
    with pytest.raises(DataFileError, match="columns") as error:
        filled_in(head=head)
    assert "entered_by" in str(error.value)


@pytest.mark.parametrize("scale", ["smoke", "teaching"])
def test_a_small_scale_decides_nothing(scale) -> None:
    assert the_verdict(NUMBER, published(NARROW, scale=scale)).word == "untested"
    rows = both(spread_out(12, 0.7, 0.9), spread_out(12, 0.6, 0.8), scale=scale)
    assert the_verdict(BETTER, rows).word == "untested"


def test_an_ablation_is_compared_with_its_own_whole() -> None:
    without = {"estimator": "hcmnet", "variant": ("published+less", "pool_strides_8_8_2+less")}
    claim = Claim("helps", "A part helps", "abstract", left=NETWORK, right=without)
    shares = {
        "published": (0.4, 0.5),
        "pool_strides_8_8_2": (0.7, 0.9),
        "pool_strides_8_8_2+less": (0.6, 0.8),
    }
    rows = [scores_of(spread_out(12, *own), variant=name) for name, own in shares.items()]
    assert the_verdict(claim, pd.concat(rows, ignore_index=True)).word == "holds on"
    rows.append(scores_of(spread_out(12, 0.5, 0.6), variant="published+less"))
    assert the_verdict(claim, pd.concat(rows, ignore_index=True)).word == "does not hold on"
    assert the_verdict(claim, rows[0]).word == "untested"


def test_two_seeds_of_a_network_decide_nothing() -> None:
    better, worse = spread_out(12, 0.7, 0.9), spread_out(12, 0.4, 0.6)
    for n_seeds, word in ((1, "undecided on"), (2, "undecided on"), (3, "holds on")):
        verdict = the_verdict(BETTER, both(better, worse, seeds=range(n_seeds)))
        assert verdict.word == word
        assert f"{n_seeds} seed{'s' if n_seeds > 1 else ''}," in verdict.why


def test_only_the_seeds_that_both_sides_have_are_compared() -> None:
    network = scores_of(spread_out(12, 0.7, 0.9), seeds=range(5))
    cnn = scores_of(spread_out(12, 0.4, 0.6), seeds=range(2, 4), estimator="small_cnn", variant="")
    verdict = the_verdict(BETTER, pd.concat([network, cnn], ignore_index=True))
    assert verdict.word == "undecided on" and "2 seeds" in verdict.why
    lone = scores_of(spread_out(12, 0.4, 0.6), seeds=range(7, 8), estimator="small_cnn", variant="")
    assert the_verdict(BETTER, pd.concat([network, lone])).word == "untested"


@pytest.mark.parametrize("estimator", ["hrv_logistic", "de_svm"])
def test_a_model_that_depends_on_no_seed_needs_but_one(estimator) -> None:
    claim = Claim(**vars(BETTER) | {"right": {"estimator": estimator}})
    plain = scores_of(spread_out(12, 0.4, 0.6), seeds=range(1), estimator=estimator, variant="")
    for n_seeds, word in ((2, "undecided on"), (3, "holds on")):
        network = scores_of(spread_out(12, 0.7, 0.9), seeds=range(n_seeds))
        assert the_verdict(claim, pd.concat([network, plain], ignore_index=True)).word == word
    alone = Claim(**vars(BETTER) | {"left": {"estimator": estimator}, "right": CHANCE})
    verdict = the_verdict(alone, scores_of(spread_out(12, 0.7, 0.9), seeds=range(1),
                                           estimator=estimator, variant=""))  # fmt: skip
    assert verdict.word == "holds on" and "no seed in it" in verdict.why


def test_each_scale_is_judged_by_itself_and_only_those_the_claim_names() -> None:
    rows = pd.concat(
        [
            both(spread_out(12, 0.7, 0.9), spread_out(12, 0.4, 0.6), scale="recorded"),
            both(spread_out(12, 0.4, 0.6), spread_out(12, 0.7, 0.9), scale="ablation"),
        ]
    )
    verdict = the_verdict(BETTER, rows)
    assert verdict.word == "holds on" and verdict.why.endswith("scale recorded, 10 s, published")
    wider = Claim(**vars(BETTER) | {"scales": ("recorded", "ablation")})
    found = claims.judge([wider], rows)
    words = {one.why.split("scale ")[1].split(",")[0]: one.word for one in found}
    assert words == {"recorded": "holds on", "ablation": "does not hold on"}


def test_a_side_may_be_the_placebo() -> None:
    control = Claim(**vars(BETTER) | {"right": {**NETWORK, "placebo": True}})
    rows = pd.concat(
        [scores_of(spread_out(12, 0.7, 0.9)), scores_of(spread_out(12, 0.4, 0.6), placebo=True)]
    )
    assert the_verdict(control, rows).word == "holds on"
    assert the_verdict(ABOVE, rows).score.value == pytest.approx(0.3)


def test_windows_of_another_length_are_not_mixed_in() -> None:
    rows = pd.concat(
        [
            both(spread_out(12, 0.7, 0.9), spread_out(12, 0.4, 0.6)),
            both(spread_out(12, 0.4, 0.6), spread_out(12, 0.7, 0.9), seconds=5.0),
        ]
    )
    words = {one.why.split(" s,")[0].split()[-1]: one.word for one in claims.judge([BETTER], rows)}
    assert words == {"10": "holds on", "5": "does not hold on"}


def test_two_choices_of_channels_of_one_set_are_compared_person_by_person() -> None:
    network = {"estimator": "hcmnet", "variant": "published"}
    four, all_of_them = ({**network, "dataset": f"eegmat:{one}"} for one in ("Fp1,Fp2", "eeg"))
    claim = replace(BETTER, left=all_of_them, right=four)
    parts = [
        scores_of(like_everyone(12, right), **network, dataset=f"eegmat:{name}")
        for name, right in (("Fp1,Fp2", 0.6), ("eeg", 0.8), ("P3,P4", 0.99))
    ]
    (verdict,) = claims.judge([claim], pd.concat(parts))
    assert (verdict.word, verdict.dataset) == ("holds on", "eegmat")
    assert verdict.score.value == pytest.approx(0.2) and verdict.score.n_subjects == 12
    (alone,) = claims.judge([claim], parts[0])
    assert alone.word == "untested"


def test_a_number_whose_making_is_not_stated_can_be_met_but_not_missed() -> None:
    rows = published(NARROW)
    far, near = (replace(NUMBER, number=number, stated=False) for number in (0.95, 0.70))
    verdict = the_verdict(far, rows)
    assert verdict.word == "not comparable" and "not stated" in verdict.why
    assert the_verdict(replace(far, stated=True), rows).word == "not reproduced"
    assert the_verdict(near, rows).word == "reproduced"
