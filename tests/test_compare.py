"""A run beside the book's own: what differs is said, the same is said once, and text is text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from finished_run import SHUFFLED, finish, rows_of

from affectbook import compare, results
from affectbook.errors import DataFileError

MODELS = {"hcmnet": 0.7, "majority": 0.5}
FIVE = MODELS | {"hrv_logistic": 0.65, "fingerprint": 0.55, "small_cnn": 0.6}
REAL = {"dataset": "eegmat", "tier": "open"}
HOSTILE = "<script>x</script> $y$ ](javascript:z) \x1b[31m & \"q\" '"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "N_BOOT", 100)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return finish(tmp_path / "build" / "executed" / "runs" / "hcmnet", rows_of(MODELS))


def run(tmp_path: Path, right: dict, given: dict | None = None, **context: object) -> Path:
    return finish(tmp_path / "0123456789ab", rows_of(right, **context), given)


def told(folder: Path, **more: object) -> None:
    path = folder / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def fits(text: str) -> bool:
    return all(len(line) <= 100 for line in text.splitlines()) and text.count("\n") < 25


def lines_of(text: str, word: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if word in line]


def test_the_book_s_own_run_differs_in_nothing(tmp_path: Path, own: Path) -> None:
    text = compare.text(run(tmp_path, MODELS), own)
    assert "all are the book's own" in text and "+0.0 [+0.0, +0.0]" in text
    assert "wesad (simulated)" in text and "simulated data decide none" in text
    assert "the same packages, processor, threads and code" in text
    assert fits(text)


def test_parameters_and_scores_that_differ_are_shown(tmp_path: Path, own: Path) -> None:
    better = run(tmp_path, MODELS | {"hcmnet": 0.8}, {"epochs": 7, "scale": "smoke"})
    text = compare.text(better, own)
    assert "scale smoke (book: teaching); epochs 7 (book: none)" in text
    (line,) = [one for one in lines_of(text, "hcmnet,") if "group_kfold_subject" in one]
    assert line == "hcmnet, pool_strides_8_8_2 group_kfold_subject 80.0 70.0 +10.0 [+10.0, +10.0]"
    assert "all are" not in text and fits(text)


def test_other_people_have_no_interval_of_a_difference(tmp_path: Path, own: Path) -> None:
    for number, (given, context) in enumerate((({"seed": 1}, {}), (REAL, REAL))):
        other = finish(tmp_path / f"run{number}", rows_of({"hcmnet": 0.8}, **context), given)
        text = compare.text(other, own)
        (line,) = [one for one in lines_of(text, "hcmnet,") if "group_kfold_subject" in one]
        assert line.endswith("80.0 70.0 +10.0")
        (missing,) = [one for one in lines_of(text, "majority") if "group_kfold_subject" in one]
        assert missing == "majority group_kfold_subject – 50.0 –"


def test_another_variant_and_another_protocol_find_their_partner(tmp_path: Path, own: Path) -> None:
    frame = compare._scores(
        compare._read(run(tmp_path, {"hcmnet": 0.8}, variant="published")), compare._read(own)
    )
    models = {*frame["model"]}
    assert "hcmnet, published against pool_strides_8_8_2" in models
    assert {"hcmnet, published against pool_strides_8_8_2, on coins", "majority"} < models
    on_coins = frame["model"].str.contains("on coins").tolist()
    assert on_coins == sorted(on_coins), "labels first, coins last"
    assert set(frame["protocol"]) == {"group_kfold_subject", SHUFFLED}


def test_verdicts_are_compared_where_live_rows_decide(tmp_path: Path) -> None:
    real = REAL | {"scale": "recorded"}
    own = finish(tmp_path / "own", rows_of({"hcmnet": 0.5, "hrv_logistic": 0.7}, **real), REAL)
    ours = run(tmp_path, {"hcmnet": 0.9, "hrv_logistic": 0.7}, REAL, **real)
    frame = dict(compare.parts(ours, own))["Claims"]
    line = frame.set_index("claim").loc["beats_hrv, eegmat"]
    assert line["run"].startswith("undecided, +20.0 points") and line["changed"] == "yes"
    assert line["book"].startswith("undecided, -20.0 points")
    assert fits(compare.text(ours, own))


def test_what_else_may_change_numbers_is_said(tmp_path: Path, own: Path) -> None:
    ours = run(tmp_path, MODELS)
    machine = json.loads((ours / "provenance.json").read_text())["machine"]
    told(ours, machine=machine | {"torch_threads": 8, "cores": 99}, packages={"torch": "3.0"},
         git={"commit": "f" * 40, "dirty": True}, code={"a.py": "1", "b.py": "2"})  # fmt: skip
    told(own, code={"a.py": "1"})
    text = compare.text(ours, own)
    code = "code ffffffffff with changes (book: 0123456789; 1 files that compute differ)"
    for word in ("threads 8 (book: 2)", "torch 3.0 (book: 2.13.0)", "numpy not there", code):
        assert word in " ".join(text.split())
    assert "99" not in text and fits(text)


def test_without_the_book_s_own_run_one_line_says_so(tmp_path: Path) -> None:
    ours, none = run(tmp_path, MODELS), tmp_path / "none"
    assert compare.text(ours, none) == compare.ABSENT and "make book makes it" in compare.ABSENT
    assert "make book makes it" in compare.html(ours, none)
    none.mkdir()
    assert compare.text(ours, none) == compare.ABSENT


def test_edited_scores_are_not_compared(tmp_path: Path, own: Path) -> None:
    ours = run(tmp_path, MODELS)
    path = ours / "scores.csv"
    path.write_text(path.read_text().replace("0.7", "0.9", 1))
    with pytest.raises(DataFileError, match="not what was recorded"):
        compare.text(ours, own)


def test_texts_of_a_run_are_no_markup_and_no_control_codes(tmp_path: Path, own: Path) -> None:
    ours = run(tmp_path, MODELS)
    parameters = json.loads((ours / "provenance.json").read_text())["parameters"]
    told(ours, parameters=parameters | {"label_rule": HOSTILE}, scan=HOSTILE)
    text, page = compare.text(ours, own), compare.html(ours, own)
    assert "\x1b" not in text + page and fits(text)
    soup = BeautifulSoup(page, "html.parser")
    assert not soup.find("script") and not soup.find("a")
    seen = HOSTILE.replace("\x1b", "\\x1b")
    assert seen in [cell.get_text() for cell in soup.find_all("td")]
    assert any(seen in paragraph.get_text() for paragraph in soup.find_all("p"))
    assert "mathjax_ignore" in soup.find("section")["class"], "a dollar is no maths"
    rows = soup.find_all("table")[-1].find_all("tr")
    assert len(rows) == 1 + 3 * len(MODELS), "the page has all rows"


def test_much_that_differs_still_fits(tmp_path: Path, own: Path) -> None:
    given = {"epochs": 7, "seed": 5, "scale": "smoke", "effect": 0.5, "fingerprint": 0.5,
             "subjects": 4, "variant": "pool_strides_8_8_2+one_attention_scale"}  # fmt: skip
    ours = run(tmp_path, FIVE, given, variant=given["variant"])
    told(ours, packages={f"package-{n}": "1.0" for n in range(30)})
    text = compare.text(ours, own)
    assert fits(text) and "... and 7 more on the page" in text and "... more on the page" in text
    assert "seed 5 (book: 0)" in " ".join(text.split())
