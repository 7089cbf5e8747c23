"""Gates and backbones side by side: what is drawn is what the rows say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from affectbook import benchmarks, results, scoring
from affectbook.chapters import nmoe_scores
from affectbook.errors import DataError
from affectbook.papers import nmoe

SPLITS = {"group_kfold_subject": "new people", "shuffled_windows_as_published": "shuffled"}


def rows_of(variant: str, protocol: str, right: float, placebo: bool = False) -> pd.DataFrame:
    """Return score rows of 12 people with 20 windows each, a share of them right."""
    rng = np.random.default_rng(int(100 * right))
    y = np.tile(np.arange(2), 120)
    said = np.where(rng.random(240) < right, y, 1 - y)
    predictions = pd.DataFrame({
        "fold": 0, "subject": np.repeat([f"S{i}" for i in range(12)], 20), "session": "1",
        "trial": np.tile(np.repeat(["a", "b"], 10), 12), "window": np.arange(240),
        "y_true": y, "y_pred": said,
    })  # fmt: skip
    context = dict.fromkeys(scoring.CONTEXT, "") | {
        "paper": "nmoe", "estimator": "nmoe", "variant": variant, "scale": "recorded",
        "dataset": "eegmat", "tier": "open", "effect": 1.0, "placebo": placebo, "seconds": 5.0,
        "target": "condition", "label_rule": "rest_arithmetic", "overlap": 0.0,
        "protocol": protocol,
    }  # fmt: skip
    return scoring.score_rows(predictions, context, n_outputs=2, seed=0)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    made = [
        rows_of(variant, protocol, right, placebo)
        for variant, right in (("published", 0.7), ("published+gate_last", 0.6),
                               ("published+random_full", 0.8))
        for protocol in SPLITS
        for placebo in (False, True)
    ]  # fmt: skip
    return pd.concat(made, ignore_index=True)


def test_variants_become_models_of_their_own(rows) -> None:
    found = nmoe_scores.as_models(rows)
    assert set(found["estimator"]) <= set(nmoe_scores.ARMS) and set(found["variant"]) == {""}
    assert nmoe_scores.as_models(rows.iloc[:0]).empty


def test_arms_are_drawn_with_what_they_score(rows) -> None:
    fig, alt = nmoe_scores.arms(rows, "eegmat")
    score = results.interval(results.select(
        rows, variant="published", protocol="group_kfold_subject", placebo=False
    ))  # fmt: skip
    assert fig.axes and "gate, mini-ECG-FM" in alt and f"{100 * score.value:.0f}" in alt


def test_the_table_of_gates_has_a_line_for_each_that_was_run(rows) -> None:
    table = nmoe_scores.gate_scores(rows, SPLITS)
    assert table["gate"].tolist() == ["G0 last layer", "G2 softmax", "G2 softmax"]
    assert table["backbone"].tolist() == ["mini, pretrained"] * 2 + ["full size, random"]
    own = results.select(rows, variant="published", protocol="group_kfold_subject", placebo=False)
    assert table.loc[1, "new people, labels"] == str(results.interval(own))
    assert not (table == "–").any().any()


def test_what_was_not_run_is_a_dash_and_nothing_at_all_an_error(rows) -> None:
    some = results.select(rows, placebo=False)
    assert (nmoe_scores.gate_scores(some, SPLITS)["shuffled, coins"] == "–").all()
    with pytest.raises(DataError, match="make sweep PAPER=nmoe SWEEP=recorded"):
        nmoe_scores.gate_scores(rows.iloc[:0], SPLITS)
    with pytest.raises(DataError, match="no scores"):
        nmoe_scores.arms(rows.iloc[:0], "nothing")


def test_lengths_of_windows_are_lines_of_their_own(rows) -> None:
    own = results.select(rows, protocol="group_kfold_subject")
    both = pd.concat([own, own.assign(seconds=10.0)])
    table = nmoe_scores.windows_table(both)
    assert table["seconds"].tolist() == ["5", "10"] and table["seeds"].tolist() == [1, 1]
    assert table["balanced accuracy"].nunique() == 1
    with pytest.raises(DataError, match="SWEEP=ablations"):
        nmoe_scores.windows_table(own.iloc[:0])


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        ("published", "G2 softmax"),
        ("published+gate_token", "G5 by each token"),
        ("published+random_full", "G2 softmax, random weights, full size"),
        ("published+random_full+gate_last", "G0 last layer, random weights, full size"),
    ],
)
def test_gates_have_names(variant, name) -> None:
    assert nmoe_scores.gate_name(variant) == name
    short = nmoe_scores.short_gate_name(variant)
    assert short[:2] == name[:2] and len(short) < 20 and ("random" in short) == ("random" in name)


def test_probes_of_a_backbone_are_not_those_of_another() -> None:
    rows = pd.DataFrame({
        "variant": ["published+layer_1", "published+layer_12", "published+constant", "published",
                    "published", "published+random_full+layer_1"],
        "estimator": ["probe_rate"] * 3 + ["beats", "nmoe", "probe_rate"],
    })  # fmt: skip
    assert nmoe_scores.probes_of(rows, "published").index.tolist() == [0, 1, 2, 3]
    assert nmoe_scores.probes_of(rows, "published+random_full").index.tolist() == [5]


def test_costs_of_tuning_are_those_that_were_measured() -> None:
    measured = pd.DataFrame({
        "device": "cpu", "candidate": [benchmarks.OURS, benchmarks.ADAPTERS],
        "trained_parameters": [42_257, 79_121], "seconds": [0.004, 0.7],
    })  # fmt: skip
    costs = nmoe_scores.tuning_costs(measured).set_index("variant")
    assert costs.loc["published", "weights"] == costs.loc["published+gate_last", "weights"]
    assert costs.loc["published+lora", "ms"] == 700 and len(costs) == 3
    kept = nmoe_scores.tuning_costs(benchmarks.rows("nmoe_tuning"))
    assert len(kept) == 4 and kept["ms"].notna().all(), "as it was measured here"
    with pytest.raises(DataError, match="BENCH=nmoe_tuning"):
        nmoe_scores.tuning_costs(pd.DataFrame())


def test_every_variant_has_words() -> None:
    parts = set(nmoe.VARIANTS) - {"published", "ecg_fm"}
    assert parts <= set(nmoe_scores.PARTS) and "ecg_fm" in nmoe.VARIANTS


def test_curves_of_pretraining_are_those_of_the_cards() -> None:
    history = pd.DataFrame({"epoch": [1, 2], "contrast loss": [4.6, 4.1], "cmsc loss": [4.2, 3.9],
                            "masked": [0.01, 0.05], "other_segment": [0.02, 0.15],
                            "codes": [0.9, 0.6]})  # fmt: skip
    fig, alt = nmoe_scores.pretraining_curves(
        {"mini": history, "without": history.drop(columns="cmsc loss")}
    )
    assert "mini, CMSC: 4.20 to 3.90" in alt and "without, masked tokens: 4.60 to 4.10" in alt
    assert "without, the other half" not in alt, "it was not trained for that"
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in fig.axes)
    with pytest.raises(DataError):
        nmoe_scores.pretraining_curves({})


def test_cards_are_told_in_a_table_and_a_poor_one_is_refused() -> None:
    card = {
        "tensors": {"a": {"shape": [10, 2], "dtype": "float16"}},
        "made_by": {
            "recipe": {"cmsc": False, "rlm": True}, "minutes": 3.0, "subjects": ["a/b/c"],
            "windows": {"number": 7, "simulated": 4}, "history": {"steps": [5, 1500]},
            "licences": [{"licence": "CC BY"}, {"licence": "CC BY"}],
        },
    }  # fmt: skip
    (line,) = nmoe_scores.released_table({"mini": card}).to_dict("records")
    assert line["objective"] == "masked tokens, lead masking" and line["steps"] == "1,500"
    assert line["licences of recordings"] == "CC BY" and line["parameters"] == "20"
    with pytest.raises(DataError, match="does not say"):
        nmoe_scores.released_table({"mini": {"made_by": {"recipe": {}}}})
