"""The table of readers' runs: what was run, by which code, how well, and whether it is stale."""

from __future__ import annotations

import html
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from finished_run import SHUFFLED, finish, rows_of

from affectbook import figures, records, results, sealed
from affectbook.chapters import readers, state

HOSTILE = "<script>x</script> ](javascript:z) `w` | _v_"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(results, "project_root", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def kept(root: Path) -> Path:
    given = {"epochs": 7, "seed": 2}
    rows = rows_of({"hcmnet": 0.7, "hrv_logistic": 0.6})
    return records.record_run(finish(root / "0123456789ab", rows, given), "mine")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    out: list[str] = []
    monkeypatch.setattr(figures, "display", lambda data, raw=False: out.append(
        data["text/html"] if raw else data.data))  # fmt: skip
    return out


def test_each_network_under_each_protocol_has_its_row(kept: Path) -> None:
    table = readers.table("hcmnet")
    assert list(table.columns) == readers.COLUMNS
    assert list(table["protocol"]) == ["group_kfold_subject", SHUFFLED]
    first = table.iloc[0].to_dict()
    assert first == {
        "record": "mine", "parameters": "epochs 7, seed 2", "data": "wesad, simulated",
        "network": "pool_strides_8_8_2", "protocol": "group_kfold_subject",
        "balanced accuracy": "70.0 % [70.0, 70.0]", "chance": "50.0 %", "state": "up to date",
        "code": "0123456789",
    }  # fmt: skip


def test_a_stale_run_says_what_has_changed(kept: Path) -> None:
    told = sealed.require(kept)
    sealed.seal(kept, told | {"code": {f"{n}.py": "0" for n in "abcde"}})
    assert set(readers.table("hcmnet")["state"]) == {"stale: a.py, b.py, c.py and 2 more"}
    assert state.of("mine").startswith("stale")


def test_defaults_and_code_with_changes_are_said(root: Path) -> None:
    run = finish(root / "0123456789ab", rows_of({"hcmnet": 0.7}), git={"commit": None, "dirty": 1})
    records.record_run(run, "mine")
    first = readers.table("hcmnet").iloc[0]
    assert first["parameters"] == "all at their defaults" and first["code"] == "unknown changed"


def test_a_run_without_the_paper_s_network_is_listed(root: Path) -> None:
    run = finish(root / "0123456789ab", rows_of({"majority": 0.5}))
    records.record_run(run, "mine")
    (line,) = readers.table("hcmnet").to_dict("records")
    assert line["record"] == "mine" and line["balanced accuracy"] == "–"


def test_nothing_recorded_is_an_empty_table_and_one_sentence(root: Path, shown: list[str]) -> None:
    assert readers.table("hcmnet").empty
    readers.show("hcmnet")
    (said,) = shown
    assert "make run PAPER=hcmnet" in said and "make record RUN=build/runs/hcmnet/<key>" in said


def test_the_table_says_whose_it_is_and_shows_text_as_text(kept: Path, shown: list[str]) -> None:
    told = sealed.require(kept)
    sealed.seal(kept, told | {"parameters": told["parameters"] | {"label_rule": HOSTILE}})
    readers.show("hcmnet")
    (page,) = shown
    soup = BeautifulSoup(page, "html.parser")
    assert "Readers' runs" in html.unescape(str(soup.find("caption")))
    assert not soup.find("script") and not soup.find("a")
    cells = [cell.get_text() for cell in soup.find_all("td")]
    assert any(HOSTILE in cell for cell in cells) and "wesad, simulated" in cells
