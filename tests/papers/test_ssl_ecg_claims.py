"""What the chapter on self-supervised ECG asks: numbers nobody found, directions with a control."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace

import pandas as pd
import pytest
from builders import scores_of, spread_out

from affectbook import augment, claims, datasets, protocols
from affectbook.papers import _ssl_ecg_claims as own

CLAIMS = {claim.name: claim for claim in own.PUBLISHED_CLAIMS}
NUMBERS = {name: claim for name, claim in CLAIMS.items() if not claim.directional}
DIRECTIONS = {name: claim for name, claim in CLAIMS.items() if claim.directional}
SUPERVISED, FEW = "published+from_scratch", "published+0.1_of_trials"


def rows_of(variant: str, low: float, high: float, **context: object) -> pd.DataFrame:
    """Return score rows of three seeds of a variant on 12 people."""
    given = {"paper": "ssl_ecg", "estimator": "ssl_ecg", "variant": variant} | context
    parts = [scores_of(spread_out(12, low, high), seed=seed, **given) for seed in range(3)]
    return pd.concat(parts, ignore_index=True)


def words(*parts: pd.DataFrame) -> dict[str, str]:
    """Return the verdicts that are not untested or not comparable, by claim."""
    rows = pd.concat(parts, ignore_index=True)
    found = claims.judge(own.PUBLISHED_CLAIMS, rows)
    decided = [one for one in found if one.word not in ("untested", "not comparable")]
    return {one.claim.name: one.word for one in decided}


def test_names_are_unique() -> None:
    assert len(CLAIMS) == len(own.PUBLISHED_CLAIMS)


def test_every_set_and_target_of_the_papers_that_has_a_label_rule_has_its_numbers() -> None:
    asked = {(c.dataset.split(":")[0], c.label_rule.split()[0], c.metric) for c in NUMBERS.values()}
    conditions = {"wesad": "baseline_stress_amusement_meditation",
                  "swell": "neutral_time_pressure_interruptions"}  # fmt: skip
    assert asked == {
        (dataset, target, metric)
        for dataset in ("amigos", "dreamer", "wesad", "swell")
        for target in ((conditions[dataset],) if dataset in conditions else ("arousal", "valence"))
        for metric in ("accuracy", "macro_f1")
    }


@pytest.mark.parametrize("claim", NUMBERS.values(), ids=NUMBERS)
def test_a_number_is_not_found_and_asked_as_published(claim) -> None:
    assert claim.number is None and not claim.stated
    assert claim.protocol == "shuffled_windows_as_published"
    assert claim.left == {"estimator": "ssl_ecg", "variant": "published+in_fold"}
    assert claim.label_rule in {rule.name for rule in datasets.card(claim.dataset).label_rules}


@pytest.mark.parametrize("name", ["dreamer_arousal_5", "swell_stress_f1"])
def test_a_number_without_data_is_untested_and_another_score_refutes_nothing(name) -> None:
    claim = CLAIMS[name]
    found = replace(claim, number=0.9)
    assert claims.judge_number(found, rows_of("published", 0.5, 0.5)).word == "untested"
    as_published = {"dataset": claim.dataset, "label_rule": claim.label_rule,
                    "protocol": claim.protocol}  # fmt: skip
    lower = rows_of("published+in_fold", 0.5, 0.5, **as_published)
    assert claims.judge_number(found, lower).word == "not comparable"
    alike = rows_of("published+in_fold", 0.9, 0.9, **as_published)
    assert claims.judge_number(found, alike).word == "reproduced"


def test_windows_have_one_lead_where_there_are_two() -> None:
    for dataset, one_lead in own.ONE_LEAD.items():
        two = [name for name in datasets.card(dataset).channels if name.startswith("ECG")]
        assert (len(two) == 2) == (one_lead != dataset)
        assert one_lead in (dataset, *(f"{dataset}:{lead}" for lead in two))
    assert {claim.dataset for claim in NUMBERS.values()} == set(own.ONE_LEAD.values())


@pytest.mark.parametrize("claim", DIRECTIONS.values(), ids=DIRECTIONS)
def test_a_direction_is_asked_of_new_people(claim) -> None:
    in_fold = claim.name.startswith("many_beat_") or "_not_" in claim.name
    small = ("difficulty",) if in_fold else ()
    supervised = SUPERVISED in str(claim.right)
    assert claim.scales == (*small, "ablation", *(() if supervised else ("recorded",)), "paper")
    for protocol in map(protocols.get, claim.protocol):
        assert protocol.generalises_to == protocols.SUBJECT
        assert protocol.leaks == protocols.get("group_kfold_subject").leaks


def test_every_task_alone_is_compared_with_all() -> None:
    assert own.TASKS == augment.NAMES[1:]
    for task in own.TASKS:
        claim = CLAIMS[f"many_beat_only_{task}"]
        assert set(claim.left["variant"]) == {"published+in_fold"}
        alone = (f"published+in_fold+only_{task}", f"published+only_{task}")
        assert claim.right["variant"] == alone


@pytest.mark.parametrize(
    ("task", "strength"),
    [("noise", "snr_db"), ("scaling", "factor"), ("permutation", "pieces"),
     ("time_warp", "stretch")],
)  # fmt: skip
def test_the_published_strength_lies_between_the_two_it_is_compared_with(task, strength) -> None:
    assert strength in {field.name for field in fields(augment.Strengths)}
    ends = [CLAIMS[f"{task}_not_{end}"] for end in ("weakest", "strongest")]
    for claim in ends:
        for left, right in zip(claim.left["variant"], claim.right["variant"], strict=True):
            assert right.rpartition("+")[0] == left, "one strength differs, and nothing else"
    of_all, alone = ([float(claim.right["variant"][i].rpartition("_")[2]) for claim in ends]
                     for i in (0, 1))  # fmt: skip
    assert of_all == alone
    weakest, strongest = of_all
    published = getattr(augment.PUBLISHED, strength)
    assert min(weakest, strongest) < published < max(weakest, strongest)
    # Decibels of signal over noise: the more, the less is added.
    assert (weakest < strongest) == (strength != "snr_db")


def test_only_what_the_abstracts_and_the_code_say_is_the_authors() -> None:
    ours = {name for name, claim in CLAIMS.items() if claim.source.startswith("our ")}
    assert ours == {"contrastive_beats_supervised", "pretraining_is_worth_it", "across_people"}
    for name in CLAIMS.keys() - ours:
        assert CLAIMS[name].source.startswith(("abstract of ", "released code"))


@pytest.mark.parametrize(
    ("left", "right", "decides"),
    [
        ("published", SUPERVISED, "beats_supervised"),
        ("published+contrastive", SUPERVISED, "contrastive_beats_supervised"),
        (FEW, SUPERVISED, "few_labels_beat_all"),
        (FEW, f"{SUPERVISED}+0.1_of_trials", "few_labels_beat_as_few"),
        ("published", "published+random_encoder", "pretraining_is_worth_it"),
        ("published+fine_tuned", "published", "fine_tuning_helps"),
        ("published+in_fold", "published+in_fold+only_noise", "many_beat_only_noise"),
        ("published+in_fold", "published+only_time_warp", "many_beat_only_time_warp"),
        ("published+in_fold", "published+in_fold+snr_30", "noise_not_weakest"),
        ("published+only_permutation", "published+only_permutation+pieces_40",
         "permutation_not_strongest"),
    ],
)  # fmt: skip
def test_a_direction_is_decided_by_its_two_variants(left, right, decides) -> None:
    scale = "ablation" if right.startswith(SUPERVISED) else "recorded"
    found = words(rows_of(left, 0.7, 0.8, scale=scale), rows_of(right, 0.5, 0.6, scale=scale))
    found.pop("across_people", None)
    assert found == {decides: "holds on"}


def test_supervision_may_win() -> None:
    parts = ("published+in_fold", 0.5, 0.6), (SUPERVISED, 0.7, 0.8)
    found = words(*(rows_of(*one, scale="ablation") for one in parts))
    assert found["beats_supervised"] == "does not hold on"
    found = words(*(rows_of(*one, scale="recorded") for one in parts))
    assert "beats_supervised" not in found, "six epochs are no full supervision"


def test_heart_rate_variability_and_chance_are_beaten_or_not() -> None:
    hrv = rows_of("", 0.6, 0.65, estimator="hrv_logistic")
    assert words(rows_of("published", 0.7, 0.8), hrv) == {
        "across_people": "holds on", "beats_hrv": "holds on",
    }  # fmt: skip
    assert words(rows_of("published", 0.3, 0.4), hrv) == {
        "across_people": "does not hold on", "beats_hrv": "does not hold on",
    }  # fmt: skip


@pytest.mark.parametrize("elsewhere", [{"tier": "simulated"}, {"placebo": True},
                                       {"scale": "teaching"},
                                       {"protocol": "group_kfold_subject_transductive"}],
                         ids=lambda where: next(iter(where)))  # fmt: skip
def test_simulated_data_coins_and_transduction_decide_nothing(elsewhere) -> None:
    parts = [rows_of(variant, low, low + 0.1, **elsewhere)
             for variant, low in (("published", 0.7), (SUPERVISED, 0.5))]  # fmt: skip
    assert words(*parts) == {}


def test_claims_need_no_torch() -> None:
    code = "import sys, affectbook.papers._ssl_ecg_claims; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
