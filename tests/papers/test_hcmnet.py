"""HCMNet as the paper has it: claims, presets, and how it is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectbook import claims, params
from affectbook.errors import DataFileError, ParameterError
from affectbook.papers import hcmnet

NUMBERS = ("wesad_3_class", "wesad_4_class", "dreamer_valence", "dreamer_arousal", "mci_6_class")


def test_no_number_of_the_paper_was_found_yet_or_its_place_is_named() -> None:
    table = Path(hcmnet.__file__).with_name("published_numbers.csv")
    lines = table.read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join(claims.NUMBER_COLUMNS)
    filled = {line.split(",")[1] for line in lines[1:] if line.startswith("hcmnet,")}
    for claim in hcmnet.claims():
        if not claim.directional:
            assert (claim.number is not None) == (claim.name in filled)


def test_numbers_are_asked_under_the_protocol_of_the_paper() -> None:
    found = {claim.name: claim for claim in hcmnet.PUBLISHED_CLAIMS if not claim.directional}
    assert tuple(found) == NUMBERS
    for claim in found.values():
        assert claim.protocol == "shuffled_windows_as_published" and claim.metric == "accuracy"
        assert claim.left == {"estimator": "hcmnet", "variant": "published"}


def test_a_number_that_a_reader_adds_reaches_its_claim(tmp_path: Path) -> None:
    path = tmp_path / "published_numbers.csv"
    path.write_text(
        ",".join(claims.NUMBER_COLUMNS) + "\nhcmnet,wesad_3_class,94.86,II,5,A. Reader\n"
    )
    found = {c.name: c for c in claims.with_numbers("hcmnet", hcmnet.PUBLISHED_CLAIMS, path)}
    assert found["wesad_3_class"].number == pytest.approx(0.9486)
    assert found["wesad_4_class"].number is None
    path.write_text(path.read_text().replace("wesad_3_class", "beats_hrv"))
    with pytest.raises(DataFileError, match="no numeric claim"):
        claims.with_numbers("hcmnet", hcmnet.PUBLISHED_CLAIMS, path)


def test_what_each_variant_switches() -> None:
    assert hcmnet.network_options("published") == {}
    assert hcmnet.network_options("pool_strides_8_8_2+no_bissm") == {
        "pool_strides": (8, 8, 2),
        "bissm": False,
    }
    assert hcmnet.network_options("no_nlcca") == {"nlcca": False}


def test_the_paper_scale_is_that_of_the_paper() -> None:
    paper = hcmnet.SCALES["paper"]
    assert (paper.n_splits, paper.epochs, paper.batch_size, paper.patience) == (10, 500, 256, 50)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epochs": "0"}, "epochs"), ({"overlap": "1"}, "overlap"), ({"scale": "large"}, "scale"),
        ({"protocol": "shuffled"}, "protocol"), ({"subjects": "1"}, "subjects"),
        ({"seconds": "0.5"}, "seconds"), ({"datset": "wesad"}, "did you mean dataset"),
        ({"seed": "-1"}, "seed"), ({"effect": "4"}, "effect"),
    ],
)  # fmt: skip
def test_parameters_out_of_range_are_refused(given, words) -> None:
    with pytest.raises(ParameterError, match=words):
        params.parse(hcmnet.Params, given)
