"""Fragments of the pages: from data cards and recorded scores, never from a text."""

from __future__ import annotations

import html
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from affectbook import (
    benchmarks,
    data_page,
    datasets,
    pages,
    papers,
    protocols,
    results,
    sealed,
    staleness,
    sweeps,
    tables,
)

CONTEXT = {
    "paper": "hcmnet", "scale": "recorded", "dataset": "eegmat", "tier": "open", "effect": 1.0,
    "target": "condition", "label_rule": "rest_arithmetic", "seconds": 10.0, "overlap": 0.0,
    "run_key": "abc",
}  # fmt: skip


def predictions(share: float) -> pd.DataFrame:
    """Return 12 subjects with 10 windows each, of which this share is predicted rightly."""
    rows = [
        (0, f"{s:02d}", "1", str(t), w, t, t if w < 5 * share else 1 - t)
        for s in range(12) for t in (0, 1) for w in range(5)
    ]  # fmt: skip
    columns = ["fold", "subject", "session", "trial", "window", "y_true", "y_pred"]
    return pd.DataFrame(rows, columns=columns)


@cache
def scores(share: float) -> pd.DataFrame:
    """Return the score rows of such predictions; many records hold the same."""
    context = CONTEXT | dict.fromkeys(("estimator", "variant", "protocol", "placebo"), "")
    return results.score_rows(predictions(share), context, n_outputs=2, seed=0)


def recorded_in(root: Path, share: float, scale: str = "recorded") -> None:
    """Record a run of HCMNet that is right so often, and leaks as shuffled windows do."""
    parts = []
    for estimator, variant in (("hcmnet", "pool_strides_8_8_2"), ("hrv_logistic", "")):
        for protocol, placebo, own in (
            ("group_kfold_subject", False, share if estimator == "hcmnet" else 0.6),
            ("shuffled_windows_as_published", False, 1.0),
            ("group_kfold_subject", True, 0.6),
            ("shuffled_windows_as_published", True, 1.0),
        ):
            context = CONTEXT | {
                "estimator": estimator, "variant": variant, "protocol": protocol,
                "placebo": placebo, "scale": scale,
            }  # fmt: skip
            rows = scores(own).assign(**context)[results.SCORE_COLUMNS]
            parts += [rows.assign(seed=seed) for seed in range(3)]
    folder = root / "results" / "recorded" / f"eegmat_{scale}"
    results.write_rows(pd.concat(parts), folder / "scores.csv")
    cell = {"key": "abc", "analysis": "network", "options": {}, "parameters": {}, "seconds": 600.0,
            "commit": "0123456789abcdef", "dirty": False}  # fmt: skip
    made = {
        "paper": "hcmnet", "sweep": "longer", "data": {"windows": [[120, 1, 1280]]},
        "seconds": 600.0, "git": {"commit": "0123456789abcdef", "dirty": False}, "code": {},
        "machine": {"cpu": "a | b", "torch_threads": 1}, "cells": [cell],
    }  # fmt: skip
    sealed.seal(folder, made)


HOSTILE = "<script>x</script> $y$ ](javascript:z) `w` | _v_"


def run_of_a_reader(root: Path, **told: object) -> None:
    """Record a run of HCMNet on a twin, whose parameters are texts that look like markup."""
    context = CONTEXT | {
        "estimator": "hcmnet", "variant": "published", "protocol": "group_kfold_subject",
        "placebo": False, "scale": "teaching", "tier": "simulated", "dataset": "wesad",
    }  # fmt: skip
    folder = root / "results" / "recorded" / "mine"
    rows = results.score_rows(predictions(0.9), context, n_outputs=2, seed=0)
    results.write_rows(rows, folder / "scores.csv.gz")
    made = {
        "paper": "hcmnet", "run_key": "0123456789ab", "setting": {}, "code": {},
        "parameters": {"epochs": 7, "label_rule": HOSTILE, "scale": "teaching"},
        "git": {"commit": "fedcba9876543210", "dirty": True}, "seconds": 1.0,
    }  # fmt: skip
    sealed.seal(folder, made | told)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(results, "project_root", lambda: tmp_path)
    monkeypatch.setattr(results, "N_BOOT", 200)
    monkeypatch.setattr(benchmarks, "project_root", lambda: tmp_path)
    monkeypatch.setattr(data_page, "_figure", lambda card, folder: "")  # see test_data_page.py
    return tmp_path


def test_without_records_every_fragment_says_so(root: Path) -> None:
    pages.write(root / "out")
    names = {"papers.md", "placebo.md", "datasets.md", "protocols_table.md", "recorded.md"}
    names |= {f"bench_{name}.md" for name in ("goals", *benchmarks.SHAPES)}
    names |= {"scan_figure.md", "scan_figure.png"}
    assert {path.name for path in (root / "out").iterdir()} == names
    assert "not recorded yet" in (root / "out" / "papers.md").read_text()
    assert pages.NO_RECORDS in (root / "out" / "placebo.md").read_text()


def test_score_and_verdict_follow_the_records(root: Path) -> None:
    recorded_in(root, 0.8)
    pages.write(root / "out")
    line = (root / "out" / "papers.md").read_text()
    assert "80.0 %" in line
    assert "HRV + logistic regression 60.0 %" in line
    assert "12 people of eegmat" in line
    assert "holds on eegmat" in line
    recorded_in(root, 0.2)
    pages.write(root / "out")
    assert "does not hold on eegmat" in (root / "out" / "papers.md").read_text()


def test_scales_are_not_mixed(root: Path) -> None:
    recorded_in(root, 0.8)
    recorded_in(root, 0.2, "paper")
    pages.write(root / "out")
    line = (root / "out" / "papers.md").read_text()
    assert "80.0 %" in line and "scale recorded, 3 seed(s)" in line and "50.0 % [" not in line


def test_the_placebo_shows_its_numbers_and_has_words(root: Path) -> None:
    recorded_in(root, 0.8)
    pages.write(root / "out")
    text = (root / "out" / "placebo.md").read_text()
    assert "**100.0 %**" in text
    assert "**60.0 %**" in text
    assert ":alt: Scores on coin flips" in text
    assert (root / "out" / "placebo.png").stat().st_size > 1000


def test_records_name_code_and_machine_and_escape_them(root: Path) -> None:
    recorded_in(root, 0.8)
    pages.write(root / "out")
    text = (root / "out" / "recorded.md").read_text()
    assert "`0123456789`" in text
    assert "a | b" not in text and "a | b, 1 thread(s)" in html.unescape(text)


def test_runs_of_readers_stand_in_a_table_of_their_own_and_decide_nothing(root: Path) -> None:
    run_of_a_reader(root)
    text = pages.records(results.recorded())
    assert pages.NO_RECORDS in text and "Readers' runs" in text
    assert "not recorded yet" in pages.papers_table(results.recorded())
    recorded_in(root, 0.8)
    own, theirs = pages.records(results.recorded()).split("**Readers' runs")
    assert "mine" not in own and "mine" in theirs and "eegmat" not in theirs
    assert "fedcba9876 changed" in theirs and "wesad, simulated" in theirs
    assert "80.0 %" in pages.papers_table(results.recorded())


def test_what_a_reader_wrote_is_text(root: Path) -> None:
    run_of_a_reader(root)
    text = pages.records(results.recorded())
    for mark in ("<script", "$y$", "](", "`w`", "_v_"):
        assert mark not in text
    assert HOSTILE in html.unescape(text)


def test_a_confirmed_record_says_how_much_of_it_was_made_again(root: Path) -> None:
    recorded_in(root, 0.8)
    folder = root / "results" / "recorded" / "eegmat_recorded"
    note = {"finished": "2026-01-01", "commit": "1", "dirty": False, "cells": ["a", "b"], "of": 7}
    (cell,) = sealed.require(folder)["cells"]
    today = next(iter(staleness.today_of("hcmnet", "longer").values()))
    cell |= {"analysis": today.analysis, "options": today.options}
    cell["parameters"] = asdict(sweeps.setting_of("hcmnet", today))
    sealed.seal(folder, sealed.require(folder) | {"confirmed": [note], "cells": [cell]})
    text = pages.records(results.recorded())
    assert "code changed since; 2 of 7 cells made again: bit-equal" in text


def test_every_paper_set_and_protocol_has_its_line(root: Path) -> None:
    pages.write(root / "out")
    line = (root / "out" / "papers.md").read_text()
    assert all(f"../notebooks/{name}.ipynb" in line for name in papers.names())
    cards = (root / "out" / "datasets.md").read_text()
    assert all(f"### {datasets.card(name).title}" in cards for name in datasets.names())
    table = (root / "out" / "protocols_table.md").read_text()
    assert all(name in table for name in protocols.PROTOCOLS)


def test_a_cell_cannot_bring_markup() -> None:
    text = tables.markdown(pd.DataFrame({"a": ["<script>", "x|y", np.nan]}))
    assert "<script>" not in text
    assert "x\\|y" in text
