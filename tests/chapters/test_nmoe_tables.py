"""Tables of facts on NMoE: no gap, a mark on every claim, and true of the code."""

from __future__ import annotations

import inspect
import re

import pandas as pd
import pytest
import torch
from tiny_project import ROOT

from affectbook.chapters import nmoe_tables as tables
from affectbook.layer_embeddings import LayerEmbeddings
from affectbook.models import nmoe
from affectbook.models.ecg_fm import ECGFM, ECGFMPretraining
from affectbook.models.leads import LEAD_INPUTS
from affectbook.obtain.weights import PUBLISHED
from affectbook.papers import nmoe as paper

MARKS = re.compile(r"\[([A-Z](?:, [A-Z])*)\]")
CLAIMS = {
    tables.not_found: ["stated", "here"],
    tables.component_map: ["told"],
    tables.limitations: ["done here"],
}
each = pytest.mark.parametrize("table", CLAIMS, ids=lambda table: table.__name__)
MINI = (96, 12, 4, 384, 64)


def row(frame: pd.DataFrame, name: str) -> pd.Series:
    (found,) = [one for _, one in frame.iterrows() if one.iloc[0] == name]
    return found


def marks_of(texts: object) -> set[str]:
    return {mark for text in texts for marks in MARKS.findall(text) for mark in marks.split(", ")}


def count(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def empty(*sizes: int) -> ECGFM:
    """Return an encoder without values."""
    with torch.device("meta"):
        return ECGFM(*sizes)


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
    assert marks_of(table().to_numpy().ravel()) <= known


def test_every_source_is_used_and_can_be_found() -> None:
    used = {mark for table in CLAIMS for mark in marks_of(table().to_numpy().ravel())}
    frame = tables.sources()
    assert used == set(frame["mark"])
    assert frame["where"].str.contains(r"https://|^lib/").all()
    assert frame.loc[frame["mark"] == "H", "where"].item().endswith(PUBLISHED["ecg_fm"].repository)


def test_what_is_done_here_is_told_from_this_book_s_code_and_nothing_else() -> None:
    here = [*tables.not_found()["here"], *tables.limitations()["done here"]]
    assert marks_of(here) == {"B"}
    assert "B" not in marks_of(tables.not_found()["stated"])


def test_each_open_choice_says_what_was_not_found() -> None:
    frame = tables.not_found()
    open_ones = frame["stated"].map(lambda cell: "N" in marks_of([cell]))
    assert frame.loc[~open_ones, "choice"].tolist() == ["layers of ECG-FM"]
    assert frame.loc[open_ones, "stated"].str.contains(r"not found\s\[N\]").all()


def test_limitations_are_of_the_paper_of_this_book_or_of_both() -> None:
    frame = tables.limitations()
    assert frame["whose"].value_counts().to_dict() == {"paper": 7, "this book": 5, "both": 2}
    own = frame["whose"] == "this book"
    assert frame.loc[own, "why"].map(lambda cell: marks_of([cell]) & {"B", "M"}).map(bool).all()
    assert frame.loc[~own, "why"].map(lambda cell: bool(marks_of([cell]))).all()


def test_every_component_is_where_it_is_said_and_its_test_is_there() -> None:
    for _, one in tables.component_map().iterrows():
        path, name = one["in this book"].split(": ")
        assert re.search(rf"^class {name}\b", (ROOT / path).read_text("utf-8"), re.MULTILINE)
        path, name = one["test"].split(": ")
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), name


def test_numbers_of_weights_are_those_of_the_modules() -> None:
    whole, mini = empty(), empty(*MINI)
    with torch.device("meta"):
        pretraining = ECGFMPretraining(empty())
    head = nmoe.NMoE(n_outputs=5).head
    maps = [nmoe.Gate("dynamic", context=context) for context in nmoe.CONTEXTS]
    frame = tables.component_map().set_index("component")["checked by"]
    assert f"{count(whole):,} weights" in frame["ECG-FM, Base"]
    assert f"{count(pretraining):,} weights" in frame["what only its pretraining has"]
    assert f"{count(head):,} weights" in frame["dense head"]
    n_static = count(nmoe.Gate())
    assert frame["gate"].startswith(f"0, {n_static}, {count(maps[0]):,} or {count(maps[1]):,} ")
    limits = tables.limitations().set_index("limitation")["why"]
    share = f"{100 * count(mini) / count(whole):.1f} %"
    assert f"12 layers, {count(mini):,} weights, {share}" in limits["mini is not ECG-FM"]
    assert f"{count(whole):,}" in limits["a random backbone of full size"]
    assert f"{count(whole):,}" in row(tables.not_found(), "layers of ECG-FM")["here"]
    size = tables.component_map().set_index("component")["told"]["its published weights"]
    assert f"{PUBLISHED['ecg_fm'].n_bytes:,} bytes" in size


def test_defaults_are_as_the_column_here_says() -> None:
    frame = tables.not_found()
    gate = row(frame, "equation of the gate")["here"]
    default = inspect.signature(nmoe.Gate).parameters["kind"].default
    assert gate.startswith(f"{default}:") and all(name in gate for name in nmoe.GATES)
    dense = row(frame, "dense layers")["here"]
    widths = "-".join(map(str, (nmoe.HIDDEN, *nmoe.WIDTHS, 5)))
    assert widths in dense and f"dropout {nmoe.DROPOUT:g}" in dense
    lead = row(frame, "one lead for twelve")["here"]
    assert LayerEmbeddings().lead_input == "lead_II" and "in the place of lead II" in lead
    assert set(LEAD_INPUTS) - {"lead_II"} <= set(re.findall(r"\w+", lead))
    training, scale = row(frame, "training")["here"], paper.SCALES["recorded"]
    assert f"{paper.LR:g} for the head and {paper.GATE_LR:g} for the gate" in training
    assert f"batches of {scale.batch_size}, {scale.epochs} epochs" in training
    tokens = empty(32, 1, 2, 48, 8).to_empty(device="cpu")(torch.zeros(1, 12, 2500)).shape[1]
    assert f"2500 samples, {tokens} tokens" in row(frame, "resampling")["here"]
