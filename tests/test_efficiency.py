"""The verdicts on cost follow their rules, at their borders."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_wearable import planted

from affectbook import claims, efficiency
from affectbook.errors import ParameterError
from affectbook.results import Interval

BETTER, WORSE = Interval(0.05, 0.01, 0.09, 15), Interval(-0.05, -0.09, -0.01, 15)
UNCLEAR = Interval(0.01, -0.03, 0.05, 15)
FEW = WORSE._replace(n_subjects=9)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({}, "holds on"),
        ({"power": 1.09}, "holds on"),
        ({"power": 1.11}, "does not hold on"),
        ({"power": 0.91}, "holds on"),
        ({"power": 0.89}, "does not hold on"),
        ({"power": 1.2, "reuse": 1.0}, "undecided on"),
        ({"power": 1.0, "reuse": 1.2}, "undecided on"),
        ({"noise": 0.5}, "undecided on"),
        ({"of_macs": 1.2}, "does not hold on"),
        ({"of_macs": 0.8}, "does not hold on"),
    ],
)
def test_linear_by_its_rule(tmp_path: Path, given: dict[str, float], word: str) -> None:
    verdict = efficiency.linear(planted(tmp_path, **given))
    assert (verdict.word, verdict.dataset) == (word, "this machine")
    shown = f"time, default malloc {given.get('power', 1.0):.2f} ["
    assert shown in verdict.why
    assert f"MACs {given.get('of_macs', 1.0):.2f} [" in verdict.why


@pytest.mark.parametrize(
    ("better", "word", "named"),
    [
        ({"small_cnn": BETTER, "hrv_logistic": BETTER}, "holds on", "small CNN"),
        ({"small_cnn": BETTER, "hrv_logistic": WORSE}, "does not hold on", "HRV"),
        ({"small_cnn": UNCLEAR, "hrv_logistic": WORSE}, "does not hold on", "HRV"),
        ({"small_cnn": BETTER, "hrv_logistic": UNCLEAR}, "undecided on", "HRV"),
        ({"small_cnn": BETTER}, "undecided on", "not compared"),
        ({"small_cnn": WORSE}, "does not hold on", "-5.0 points"),
        ({"small_cnn": BETTER, "hrv_logistic": Interval(0.1, 0.0, 0.2, 15)}, "undecided on", "HRV"),
        ({"small_cnn": BETTER, "hrv_logistic": Interval(-0.1, -0.2, 0, 15)}, "undecided on", "HRV"),
        ({"small_cnn": BETTER, "hrv_logistic": FEW}, "undecided on", "HRV"),
    ],
)  # fmt: skip
def test_efficient_by_its_rule(
    tmp_path: Path, better: dict[str, Interval], word: str, named: str
) -> None:
    verdict = efficiency.efficient(better, "wesad", path=planted(tmp_path))
    assert (verdict.word, verdict.dataset) == (word, "wesad")
    assert named in verdict.why
    assert "80 ms" in verdict.why


def test_two_seeds_leave_efficient_undecided(tmp_path: Path) -> None:
    both = {"small_cnn": WORSE, "hrv_logistic": WORSE}
    path = planted(tmp_path)
    words = [efficiency.efficient(both, "wesad", n_seeds=n, path=path).word for n in (2, 3)]
    assert words == ["undecided on", "does not hold on"]


def test_without_scores_it_is_untested(tmp_path: Path) -> None:
    verdict = efficiency.efficient({}, path=planted(tmp_path))
    assert (verdict.word, verdict.dataset) == ("untested", "")


def test_what_is_slower_than_the_signal_does_not_hold(tmp_path: Path) -> None:
    slow = planted(tmp_path, base={("hcmnet", "published"): 10_000.0})
    verdict = efficiency.efficient(
        {"small_cnn": BETTER, "hrv_logistic": BETTER}, "wesad", path=slow
    )
    assert (verdict.word, verdict.dataset) == ("does not hold on", "this machine")
    path = planted(tmp_path, base={("hcmnet", "published"): 9_999.0})
    assert efficiency.efficient({"small_cnn": WORSE}, "wesad", path=path).dataset == "wesad"


def test_a_dearer_reference_does_not_count(tmp_path: Path) -> None:
    both = {"small_cnn": BETTER, "hrv_logistic": WORSE}
    path = planted(tmp_path)
    assert efficiency.efficient(both, "wesad", "pool_strides_8_8_2", path=path).word == "holds on"
    assert efficiency.efficient(both, "wesad", "published", path=path).word == "does not hold on"
    alone = planted(tmp_path, base={("hcmnet", "published"): 0.5})
    verdict = efficiency.efficient({"hrv_logistic": WORSE}, "wesad", path=alone)
    assert (verdict.word, verdict.dataset) == ("holds on", "this machine")


@pytest.mark.parametrize(
    ("better", "variant"), [({"fingerprint": BETTER}, "published"), ({}, "no_such")]
)
def test_what_was_not_measured_is_refused(
    tmp_path: Path, better: dict[str, Interval], variant: str
) -> None:
    with pytest.raises(ParameterError, match="was measured; there are hcmnet/published"):
        efficiency.efficient(better, "wesad", variant, path=planted(tmp_path))


def test_verdicts_stand_in_the_table_of_claims(tmp_path: Path) -> None:
    found = efficiency.verdicts({"small_cnn": WORSE}, "wesad", path=planted(tmp_path))
    table = claims.table(found)
    assert list(table["verdict"]) == ["holds on this machine", "does not hold on wesad"]
    assert list(table["paper"]) == ["a direction; abstract"] * 2
