"""The wearable's costs: the file is checked, exponents are found, the figure has words."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from tiny_project import ROOT

from affectbook import costs, features, wearable
from affectbook.errors import DataError, DataFileError, DataNotFoundError
from affectbook.models.small_cnn import SmallCNN

SECONDS = (2.5, 5.0, 10.0, 20.0, 40.0)
BASE = {  # ms of a window of 10 s
    ("hcmnet", "published"): 80.0, ("hcmnet", "pool_strides_8_8_2"): 2.0,
    ("small_cnn", ""): 1.0, ("hrv_logistic", ""): 3.0,
}  # fmt: skip


def planted(
    folder: Path,
    power: float = 1.0,
    *,
    reuse: float | None = None,
    of_macs: float = 1.0,
    noise: float = 0.0,
    base: dict[tuple[str, str], float] | None = None,
) -> Path:
    """Write rows whose time and MACs are powers of the length; noise is a share, up and down."""
    rows = []
    powers = {"default": power, "reuse": power if reuse is None else reuse}
    for (estimator, variant), ms in (BASE | (base or {})).items():
        for malloc, own in powers.items():
            for seconds in SECONDS:
                times = ms * (seconds / 10) ** own * (1 + noise * np.linspace(-1, 1, 11))
                rows.append({
                    "estimator": estimator, "variant": variant, "window_s": seconds,
                    "samples": round(256 * seconds), "parameters": 10, "repetitions": 11,
                    "macs": None if estimator == "hrv_logistic" else 1e8 * seconds**of_macs,
                    "p50_ms": np.median(times), "p95_ms": np.percentile(times, 95),
                    "peak_mb": 5.0 if malloc == "default" else None, "malloc": malloc,
                    "cpu_ms": " ".join(map(repr, times.tolist())), "date": "2026-01-02",
                    "cpu": "a processor",
                })  # fmt: skip
    path = folder / "wearable.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def spoiled(path: Path, column: str, value: object) -> Path:
    rows = pd.read_csv(path, dtype=object)
    rows.loc[2, column] = value
    rows.to_csv(path, index=False)
    return path


def bench() -> ModuleType:
    """Import the script of ``bench/``, whose files import each other by their bare names."""
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        return importlib.import_module("wearable")
    finally:
        sys.path.remove(str(ROOT / "bench"))


script = bench()


def test_the_committed_rows_are_whole() -> None:
    rows = wearable.measured()
    assert set(zip(rows["estimator"], rows["variant"], strict=True)) == set(script.COMPETITORS)
    assert sorted(rows["window_s"].unique()) == list(SECONDS)
    for row in rows.itertuples():
        assert row.p50_ms == pytest.approx(np.median(row.cpu_ms), rel=2e-3)
        assert row.p95_ms == pytest.approx(np.percentile(row.cpu_ms, 95), rel=2e-3)
    assert (rows["macs"].isna() == (rows["estimator"] == "hrv_logistic")).all()


def test_the_committed_counts_are_those_of_the_code() -> None:
    rows = wearable.measured()
    for cell in (script.Cell("hcmnet", "published", 10.0), script.Cell("small_cnn", "", 10.0)):
        own = rows[(rows["estimator"] == cell.estimator) & (rows["variant"] == cell.variant)]
        own = own[own["window_s"] == 10.0].iloc[0]
        assert {key: own[key] for key in ("parameters", "macs")} == cell.cost()


def test_the_table_is_about_ten_seconds() -> None:
    table = wearable.table()
    assert len(table) == len(script.COMPETITORS)
    assert table["network"].is_unique
    assert not table.drop(columns="million MACs").isna().any(axis=None)
    shares = 100 * table["p50 (ms)"] / 10_000
    np.testing.assert_allclose(table["share of real time (%)"], shares, atol=6e-4)


def test_nothing_measured_says_how(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="make bench BENCH=wearable"):
        wearable.measured(tmp_path / "wearable.csv")


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = planted(tmp_path)
    pd.read_csv(path).drop(columns=["p95_ms", "macs"]).to_csv(path, index=False)
    with pytest.raises(DataFileError, match=r"wearable.csv; field: columns.*also macs, p95_ms"):
        wearable.measured(path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("p50_ms", "soon", "field: p50_ms; found: soon"),
        ("p50_ms", 0, "field: p50_ms; found: 0"),
        ("p95_ms", "", "field: p95_ms"),
        ("macs", "many", "field: macs; found: many"),
        ("repetitions", 12, "expected: 12 times above zero"),
        ("cpu_ms", "1 2 x", "field: cpu_ms; found: 1 2 x"),
        ("window_s", 5.0, "hcmnet published twice"),
    ],
)
def test_a_wrong_number_is_refused(
    tmp_path: Path, column: str, value: object, message: str
) -> None:
    with pytest.raises(DataFileError, match=message):
        wearable.measured(spoiled(planted(tmp_path), column, value))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 1.7])
def test_a_planted_exponent_is_found(tmp_path: Path, power: float) -> None:
    growth = wearable.exponents(planted(tmp_path, power, of_macs=1 - power / 2))
    time, counts = (growth[growth["quantity"] == one] for one in ("time", "MACs"))
    for found, wanted in ((time, power), (counts, 1 - power / 2)):
        np.testing.assert_allclose(found["exponent"], wanted, atol=1e-6)
        np.testing.assert_allclose(found[["low", "high"]], wanted, atol=1e-6)
    assert not counts["network"].str.contains("HRV").any()
    spans = growth.groupby("windows")[["from_s", "to_s"]].agg(["min", "max"])
    assert list(spans.loc["three longest"]) == [10, 10, 40, 40]
    assert list(spans.loc["all"]) == [2.5, 2.5, 40, 40]


def test_an_interval_is_as_wide_as_the_noise(tmp_path: Path) -> None:
    widths = []
    for noise in (0.05, 0.2):
        growth = wearable.exponents(planted(tmp_path, noise=noise))
        own = growth[(growth["quantity"] == "time") & (growth["windows"] == "three longest")]
        assert ((own["low"] < 1) & (own["high"] > 1)).all()
        widths.append((own["high"] - own["low"]).min())
    assert widths[1] > 2 * widths[0] > 0


def scores(**columns: object) -> pd.DataFrame:
    rows = pd.DataFrame({
        "estimator": ["hcmnet", "small_cnn", "majority"],
        "variant": ["published", "", ""], "value": [0.61, 0.57, 0.33],
        "low": [0.55, np.nan, 0.33], "high": [0.66, np.nan, 0.33],
    })  # fmt: skip
    return rows.assign(**columns)


def test_the_figure_has_units_and_its_words_have_numbers(tmp_path: Path) -> None:
    fig, alt = wearable.figure(scores(), planted(tmp_path, 1.2, reuse=1.0))
    left, right = fig.axes
    assert "(s)" in left.get_xlabel() and "(ms)" in left.get_ylabel()
    assert "(ms)" in right.get_xlabel() and right.get_ylabel() == "balanced accuracy"
    labels = [text.get_text() for text in fig.legends[0].get_texts()]
    assert "HCMNet, published: 1.20 (1.00)" in labels and "real time" in labels
    assert "HCMNet, published: 1.20 (1.00), 80 ms" in alt
    assert "HCMNet, published 61 % [55, 66] in 80 ms" in alt
    assert "small CNN 57 % in 1 ms" in alt
    assert "majority" not in alt
    marked = [line for line in left.lines if line.get_marker() not in ("None", None)]
    assert len({line.get_marker() for line in marked}) == len(BASE)
    plt.close(fig)


def test_without_scores_the_figure_says_so(tmp_path: Path) -> None:
    for none in (None, scores().iloc[2:]):
        fig, alt = wearable.figure(none, planted(tmp_path))
        assert alt.endswith("Right: no scores yet.")
        plt.close(fig)
    with pytest.raises(DataError, match="low"):
        wearable.figure(scores().drop(columns="low"), planted(tmp_path))
    plt.close("all")


def test_the_script_says_what_it_claims() -> None:
    text = ast.get_docstring(ast.parse((ROOT / "bench" / "wearable.py").read_text()))
    assert re.search(r"^Claim: \S", text, re.MULTILINE)
    assert re.search(r"^Goals, |^Goals: ", text, re.MULTILINE)
    (named,) = re.findall(r"^BENCH \?= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "wearable" in named.split()


def test_every_prediction_gets_a_window_that_no_one_has_seen() -> None:
    signal = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    predict = script.Cell("hrv_logistic", "", 2.5).prediction(signal)
    before = features._hrv_of.cache_info().misses
    for _ in range(4):
        predict()
    assert features._hrv_of.cache_info().misses == before + 4


def test_cells_take_turns_and_keep_every_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(script.harness, "gemm_rate", lambda: 1.0)
    cells = [script.Cell("small_cnn", "", 2.5), script.Cell("hcmnet", "pool_strides_8_8_2", 2.5)]
    try:
        _, found = script.times(cells, 5, "default")
    finally:
        torch.set_num_threads(threads)
    row = script.row(cells[0], found[cells[0]], malloc="default", peak_mb=1.0)
    assert row["repetitions"] == len(row["cpu_ms"].split()) == 5
    assert row["macs"] == costs.macs(SmallCNN(1, 640, 3), 1, 640)
    assert {*wearable.COLUMNS} - {*row} == {"date", "cpu"}
