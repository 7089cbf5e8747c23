"""Tables of facts on self-supervised ECG: no gap, a mark on every claim, and true of the code."""

from __future__ import annotations

import re

import pandas as pd
import pytest
import torch

from affectbook.augment import NAMES
from affectbook.chapters import ssl_ecg_tables as tables
from affectbook.models.ssl_ecg import HEADS, Encoder, TransformationRecognition
from affectbook.papers._ssl_ecg_variants import VARIANTS, network_options, training_options

MARKS = re.compile(r"\[([A-Z](?:, [A-Z])*)\]")
CLAIMS = {
    tables.contradictions: ["text", "released code", "here"],
    tables.defects: ["as released", "intended", "what it changes", "changes a number here"],
    tables.documents: ["the pretext in it"],
}
each = pytest.mark.parametrize("table", CLAIMS, ids=lambda table: table.__name__)


def row(frame: pd.DataFrame, name: str) -> pd.Series:
    (found,) = [one for _, one in frame.iterrows() if one.iloc[0] == name]
    return found


@pytest.mark.parametrize("table", [*CLAIMS, tables.sources], ids=lambda table: table.__name__)
def test_no_cell_is_empty_and_no_row_is_twice(table: object) -> None:
    frame = table()
    assert len(frame) and frame.map(lambda cell: isinstance(cell, str) and cell == cell.strip()
                                    and bool(cell)).all(axis=None)  # fmt: skip
    assert frame.iloc[:, 0].is_unique
    assert not frame.apply(lambda column: column.str.contains("participant", case=False)).any(
        axis=None
    )


@each
def test_every_claim_ends_in_the_mark_of_a_source(table: object) -> None:
    known = set(tables.sources()["mark"])
    for cell in table()[CLAIMS[table]].to_numpy().ravel():
        assert re.search(r"\[[A-Z](, [A-Z])*\]$", cell), cell
        used = {mark for marks in MARKS.findall(cell) for mark in marks.split(", ")}
        assert used <= known, cell


def test_every_source_is_used_and_can_be_found() -> None:
    text = " ".join(" ".join(table().to_numpy().ravel()) for table in CLAIMS)
    used = {mark for marks in MARKS.findall(text) for mark in marks.split(", ")}
    assert used == set(tables.sources()["mark"])
    assert tables.sources()["where"].str.contains(r"https://|^lib/").all()


def test_what_is_done_here_is_told_from_this_book_s_code_and_nothing_else() -> None:
    here = [*tables.contradictions()["here"], *tables.defects()["changes a number here"]]
    assert {mark for cell in here for mark in MARKS.findall(cell)} == {"B"}
    other = [tables.contradictions()["text"], tables.contradictions()["released code"]]
    assert not pd.concat(other).str.contains("[B]", regex=False).any()


def test_there_are_six_numbered_defects_with_a_verdict_each() -> None:
    frame = tables.defects()
    assert [name.partition(".")[0] for name in frame["defect"]] == list("123456")
    assert frame["changes a number here"].str.match(r"(no|yes): ").all()


def test_there_are_five_documents_and_only_one_says_contrastive() -> None:
    frame = tables.documents()
    assert len(frame) == 5
    says = frame[frame["the pretext in it"].str.contains("contrastive")]
    assert says["document"].tolist() == ["student's course report, 2024"]


def test_the_networks_are_as_the_column_here_says() -> None:
    frame, network = tables.contradictions(), TransformationRecognition()
    assert row(frame, "tasks")["here"].startswith("seven") and len(network.heads) == len(NAMES) == 7
    assert row(frame, "batch norm")["here"].startswith("none")
    layers = list(Encoder().modules())
    assert not any(isinstance(one, torch.nn.BatchNorm1d) for one in layers)
    slopes = {one.negative_slope for one in layers if isinstance(one, torch.nn.LeakyReLU)}
    assert slopes == {float(re.search(r"slope ([\d.]+)", row(frame, "activation")["here"])[1])}
    named = re.findall(r"dense_\w+|linear", row(frame, "emotion head")["here"])
    assert named and set(named) == set(HEADS) - {"dense_512x3"}
    assert HEADS["dense_512x3"][:2] == (3, 512)


def test_the_variants_that_are_named_exist_and_change_what_is_said() -> None:
    frame = tables.contradictions()
    text = " ".join(frame["here"])
    assert "published+contrastive" in text
    assert {"from_scratch", "fine_tuned"} <= set(VARIANTS) & set(re.findall(r"\w+", text))
    drift = network_options("published+contrastive") | training_options("published+contrastive")
    assert drift["pretext"] == "contrastive" and drift["batch_norm"]
    assert drift["optimizer"].upper() in row(frame, "optimiser")["here"]
    ablations = [training_options(f"published+{name}") | network_options(f"published+{name}")
                 for name in ("equal_alpha", "one_softmax", "relu", "batch_norm")]  # fmt: skip
    assert [one["source"] for one in ablations] == ["fold"] * 4
