"""Figures of training on one population and testing on another."""

from __future__ import annotations

import pandas as pd
import pytest
from builders import like_everyone, scores_of

from affectbook import results
from affectbook.chapters import populations
from affectbook.errors import DataError
from affectbook.transfer import ACROSS, ADAPTED

pytestmark = pytest.mark.usefixtures("drawing")
STRIDED = "pool_strides_8_8_2"


def crossed() -> pd.DataFrame:
    """Return scores within one population and across two, with adapting and its placebo."""
    parts = []
    for estimator, variant, own, other in (
        ("hcmnet", STRIDED, 0.7, 0.56), ("hcmnet", f"{STRIDED}+scaler_per_subject", 0.76, 0.6),
        ("hrv_logistic", "", 0.68, 0.66), ("majority", "", 0.5, 0.5),
    ):  # fmt: skip
        told = {"estimator": estimator, "variant": variant, "scale": "transfer"}
        parts += [
            scores_of(like_everyone(12, own), dataset="a to a", **told),
            scores_of(like_everyone(2, other), dataset="a to b", protocol=ACROSS, **told),
        ]
    parts.append(scores_of(like_everyone(2, 0.6), dataset="a to b", protocol=ACROSS, placebo=True,
                           estimator="hrv_logistic", variant="", scale="transfer"))  # fmt: skip
    for share, value, placebo in ((0, 0.56, False), (17, 0.6, False), (50, 0.8, False),
                                  (0, 0.5, True), (50, 0.78, True)):  # fmt: skip
        parts.append(scores_of(
            like_everyone(12, value), dataset="a to b", protocol=ADAPTED, placebo=placebo,
            estimator="hcmnet_fine_tuned", variant=f"{STRIDED}+{share}_percent",
        ))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_scores_are_told_apart_by_populations_and_model():
    table = populations.scores(crossed())
    coins = table[table["placebo"]]
    assert list(coins["value"]) == [0.6]
    table = table[~table["placebo"]]
    assert len(table) == 6, "the majority class is a line, not a model"
    across = table[table["across"]].set_index("model")["value"]
    assert across.to_dict() == pytest.approx(
        {"HCMNet": 0.56, "HCMNet, own scale per subject": 0.6, "HRV + logistic regression": 0.66},
        abs=0.011,
    )
    assert set(table["n_seeds"]) == {1} and set(table["n_subjects"]) == {2, 12}


def test_adapting_is_read_by_share():
    table = populations.adapted(crossed())
    own = results.select(table, placebo=False).set_index("percent")["value"]
    assert list(own.index) == [0, 17, 50] and own[50] == pytest.approx(0.8, abs=0.011)
    assert len(results.select(table, placebo=True)) == 2


def test_the_words_say_what_the_figure_shows(drawing):
    fig, alt = populations.figure(crossed(), "a and b (simulated)", chance=0.5)
    left, right = fig.axes
    assert [label.get_text() for label in left.get_yticklabels()] == [
        "a →\na\n(12 people tested)", "a →\nb\n(2 people tested)",
    ]  # fmt: skip
    assert "HCMNet: a to a 70 %, a to b 56 %." in alt
    assert "a to b, labels (1 seed): from 56 to 80 %." in alt
    assert "a to b, coin flips (1 seed): from 50 to 78 %." in alt
    assert "On coin flips, HRV + logistic regression, a to b: 60 %." in alt
    assert left.get_xlabel() and right.get_xlabel()


def test_a_figure_of_nothing_is_refused():
    with pytest.raises(DataError, match="SWEEP=transfer"):
        populations.figure(crossed().iloc[:0], "nothing", chance=0.5)


def test_groups_of_one_set_go_by_their_own_names():
    assert populations._sides("mci healthy to mci mci") == ("healthy", "mci")
    assert populations._sides("eegmat to drivedb") == ("eegmat", "drivedb")
