"""The measurements: equal work is compared, arithmetic is counted, pages follow the rows."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_project import ROOT

from affectbook import benchmarks, data_page, files, pages
from affectbook import results as recorded

BENCH = ROOT / "bench"
SCRIPTS = sorted(benchmarks.SHAPES)
ALL = sorted([*SCRIPTS, "wearable"])  # shown by its chapter, not by the page of measurements
HEADER = {
    "date": "2026-01-02", "cpu": "a processor", "cpu_family": 25, "cpu_model": 1, "vectors": "avx2",
    "cores": 2, "gpu": None, "python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0",
    "mambapy": None, "mamba_ssm": None, "scan": "this package",
}  # fmt: skip


def script(name: str) -> ModuleType:
    """Import a file of ``bench/``, whose files import each other by their bare names."""
    sys.path.insert(0, str(BENCH))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCH))


harness = script("harness")


def candidate(factor: float, gradient: float = 1.0) -> object:
    """Return a candidate that multiplies; its gradient can be made wrong."""
    x = torch.arange(1.0, 5.0, requires_grad=True)
    return harness.Candidate(
        lambda: factor * (gradient * x + (1 - gradient) * x.detach()), {"x": x}
    )


def row(**values: object) -> dict[str, object]:
    known = {
        "bench": "mamba2", "batch": 32, "length": 1024, "device": "cpu", "malloc": "default",
        "threads": 1, "gemm_gflop_per_s": 100.0, "pass": "forward+backward", "gflop": 50.0,
        "candidate": "ours", "seconds": 1.0, "spread": 0.01, "rounds": 3, "ratio": 1.0,
        "peak_mb": 100.0,
    }  # fmt: skip
    return known | HEADER | values


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (benchmarks, recorded):  # no score is recorded: none is judged for other pages
        monkeypatch.setattr(module, "project_root", lambda: tmp_path)
    monkeypatch.setattr(data_page, "_figure", lambda card, folder: "")  # see test_data_page.py
    folder = tmp_path / "results" / "bench"
    folder.mkdir(parents=True)
    return folder


def fragments(folder: Path) -> dict[str, str]:
    pages.write(folder)
    return {path.name: path.read_text() for path in folder.glob("bench_*.md")}


@pytest.mark.parametrize("name", ALL)
def test_every_script_says_what_it_claims(name: str) -> None:
    text = ast.get_docstring(ast.parse((BENCH / f"{name}.py").read_text()))
    assert re.search(r"^Claim: \S", text, re.MULTILINE)
    assert re.search(r"^Goals?\b.*:|^Goals?, ", text, re.MULTILINE)


def test_make_runs_every_script() -> None:
    helpers = {"harness", "machine", "alternatives"}
    assert {path.stem for path in BENCH.glob("*.py")} - helpers == set(ALL)
    (named,) = re.findall(r"^BENCH \?= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(named.split()) == ALL


def test_the_alternatives_are_pinned_and_the_book_does_without() -> None:
    lines = (BENCH / "requirements.txt").read_text().splitlines()
    pinned = [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]
    assert all(re.fullmatch(r"[a-z]+==[0-9.]+", line) for line in pinned)
    book = (ROOT / "requirements.in").read_text()
    assert not any(re.search(rf"^{line.split('==')[0]}\b", book, re.MULTILINE) for line in pinned)


@pytest.mark.slow
def test_each_round_begins_with_another_candidate() -> None:
    order: list[str] = []
    steps = {name: partial(order.append, name) for name in "abc"}
    ticks = iter(range(1000))
    times = harness.interleave(steps, rounds=4, clock=lambda: float(next(ticks)))
    assert "".join(order[-12:]) == "abcbcacababc"
    assert times == {name: [1.0] * 4 for name in "abc"}


def test_what_is_short_is_repeated() -> None:
    now = [0.0]

    def step() -> None:
        now[0] += 0.01

    times = harness.interleave({"a": step}, rounds=1, clock=lambda: now[0])
    assert times["a"] == [pytest.approx(0.01)]
    assert now[0] == pytest.approx(0.01 * (2 + 10))


def test_equal_candidates_pass() -> None:
    harness.check({"ours": candidate(2.0), "theirs": candidate(2.0 + 1e-6)}, 1e-3)


@pytest.mark.parametrize(
    ("other", "what"),
    [(candidate(2.1), "output"), (candidate(2.0, 0.5), "gradient of x"),
     (candidate(float("nan")), "output")],
)  # fmt: skip
def test_a_candidate_that_computes_something_else_is_refused(other: object, what: str) -> None:
    with pytest.raises(harness.DifferentError, match=f"theirs: {what} differs"):
        harness.check({"ours": candidate(2.0), "theirs": other}, 1e-3)


def test_rows_say_how_many_times_as_long_as_ours() -> None:
    ours, theirs = harness._rows({"ours": [1.0, 2.0, 1.5], "theirs": [6.0, 6.0, 6.0]})
    assert (ours["ratio"], ours["spread"]) == (1.0, pytest.approx(0.667))
    assert (theirs["ratio"], theirs["seconds"]) == (4.0, 6.0)


def test_rows_of_other_threads_stay(tmp_path: Path) -> None:
    path, first = tmp_path / "mamba2.csv", ["bench", "batch", "length"]
    harness.keep([row(seconds=1.0)], path, first)
    harness.keep([row(threads=2, seconds=2.0)], path, first)
    harness.keep([row(seconds=3.0)], path, first)
    kept = pd.read_csv(path)
    assert dict(zip(kept["threads"], kept["seconds"], strict=True)) == {1: 3.0, 2: 2.0}
    assert list(kept.columns[:3]) == first


def test_the_process_that_reads_files_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not script("machine").can_measure_peaks():
        pytest.skip("the kernel does not tell a process its highest use of memory")
    recordings = script("recordings")

    def start_it(path: Path) -> np.ndarray:
        recordings._sandbox._started(path)
        return np.zeros(8)

    monkeypatch.setitem(recordings.CANDIDATES, "starts it", start_it)
    monkeypatch.setattr(files, "project_root", files.project_root)  # `measure` has its own
    recordings._sandbox.stop()  # what other tests started ends before it is counted
    ended = recordings._ended_children()
    spent, peak_mb, _ = recordings.measure("starts it", tmp_path / "S2.pkl", tmp_path)
    assert recordings._sandbox._child is None
    assert spent >= recordings._ended_children() - ended > 0
    assert peak_mb > 15  # Python and NumPy alone


def test_the_arithmetic_of_a_layer_is_counted() -> None:
    count = script("mamba2").flops_per_token()
    assert count == {"forward": 1_271_808, "forward+backward": 3_952_640}
    small = script("mamba2").flops_per_token(d_model=1, d_state=1, headdim=1, d_conv=1, chunk=1)
    projections, conv, within, states = 2 * 1 * (4 + 2 + 2) + 2 * 2, 2 * 4, 2 + 4, 4
    assert small["forward"] == projections + conv + within + 2 * states


@given(st.floats(-3, 3), st.floats(0.001, 1000))
def test_the_exponent_of_a_power_is_found(power: float, factor: float) -> None:
    sizes = np.array([64, 128, 256, 1024])
    assert benchmarks.exponent(sizes, factor * sizes**power) == pytest.approx(power, abs=1e-6)


def test_what_was_not_measured_says_so(results: Path) -> None:
    found = fragments(results.parent)
    for name in SCRIPTS:
        assert found[f"bench_{name}.md"] == f"Not measured yet: `make bench BENCH={name}`.\n"
    assert found["bench_goals.md"].count("not measured yet") == len(benchmarks.GOALS)
    assert "yes" not in found["bench_goals.md"]


def test_the_page_follows_the_rows(results: Path) -> None:
    other = "transformers, chunk 64"
    pd.DataFrame([
        row(), row(candidate=other, seconds=5.5, ratio=5.5, peak_mb=250.0),
        row(malloc="reuse"), row(malloc="reuse", candidate=other, seconds=2.0, ratio=2.0),
        row(threads=2), row(threads=2, candidate=other, ratio=9.9),
    ]).to_csv(results / "mamba2.csv", index=False)  # fmt: skip
    found = fragments(results.parent)
    table = found["bench_mamba2.md"]
    assert (
        f"| 32 x 1024 | forward+backward | {other} | 5.5 x | 2.0 x | 2.5 x | *not run* |" in table
    )
    assert "2026-01-02, a processor (family 25, model 1, avx2)" in table
    goals = {line.split(" | ")[0][2:]: line for line in found["bench_goals.md"].splitlines()}
    layer = "Mamba-2 layer, 32 x 1024, "
    assert "| at least 5 x | 5.5 x | yes | *not run* |" in goals[layer + "beside transformers"]
    assert "| at least 2.8 x | 2 x | no |" in goals[layer + "the same where malloc keeps memory"]
    assert "| at most 0.33 x | 0.4 x | no |" in goals[layer + "peak memory beside transformers'"]
    arithmetic = goals[layer + "time over its arithmetic at best"]
    assert "| at most 2 x | 2 x | yes |" in arithmetic


def test_windows_per_second_are_shown(results: Path) -> None:
    step = {"bench": "hcmnet_step", "samples": 1280, "pass": "step", "gflop": None}
    rows = [row(**step, seconds=2.0), row(**step, candidate="x", seconds=8.0, ratio=4.0)]
    pd.DataFrame(rows).drop(columns="length").to_csv(results / "hcmnet_step.csv", index=False)
    found = fragments(results.parent)
    assert "| ours, 1280 samples | 16.0 |  | *not run* |" in found["bench_hcmnet_step.md"]
    assert "| x, 1280 samples | 4.0 |  | *not run* |" in found["bench_hcmnet_step.md"]
    assert "windows per second | at least 15 | 16 | yes" in found["bench_goals.md"]


def test_a_step_of_ms_imamba_is_held_against_windows_one_by_one(results: Path) -> None:
    shape = {"bench": "ms_imamba_step", "batch": 128, "channels": 4, "samples": 128}
    step = shape | {"pass": "step", "gflop": None}
    loop, scan = "transformers, window by window", "transformers, our foldings"
    rows = [
        row(**step, seconds=0.5), row(**step, candidate=loop, seconds=1.25, ratio=2.5),
        row(**step, candidate=scan, seconds=2.0, ratio=4.0),
        row(**step | {"batch": 4}, candidate=loop, ratio=1.5),
        row(**step, malloc="reuse", candidate=loop, ratio=1.5),
    ]  # fmt: skip
    pd.DataFrame(rows).drop(columns="length").to_csv(results / "ms_imamba_step.csv", index=False)
    found = fragments(results.parent)
    assert f"| 128 x 4 x 128 | step | {loop} | 2.5 x | 1.5 x |" in found["bench_ms_imamba_step.md"]
    assert "| ours, 128 samples | 256.0 |" in found["bench_ms_imamba_step.md"]
    assert "window by window | at least 3 x | 2.5 x | no" in found["bench_goals.md"]


def test_gates_on_what_is_kept_are_held_against_the_backbone(results: Path) -> None:
    shape = {"bench": "nmoe_step", "batch": 32, "samples": 2500, "pass": "step"}
    rows = [
        row(**shape, gate=gate, candidate=name, ratio=ratio, seconds=0.01 * ratio)
        for gate, times in (("static", 60.0), ("dynamic", 40.0))
        for name, ratio in (("ours", 1.0), (benchmarks.THROUGH, times))
    ]
    pd.DataFrame(rows).drop(columns="length").to_csv(results / "nmoe_step.csv", index=False)
    found = fragments(results.parent)
    table = found["bench_nmoe_step.md"]
    assert "| static x 32 x 2500 | step | through the backbone | 60.0 x |" in table
    assert "| through the backbone, dynamic, 2500 samples | 80.0 |" in table
    assert "one through the backbone | at least 50 x | 40 x | no" in found["bench_goals.md"]


def test_ways_to_tune_a_backbone_are_held_against_one_that_trains_all_of_it(results: Path) -> None:
    shape = {"bench": "nmoe_tuning", "batch": 16, "samples": 2500, "pass": "step"}
    ways = {"ours": (0.01, 41_000), benchmarks.THROUGH: (0.3, 41_000),
            benchmarks.ADAPTERS: (0.9, 78_000),
            benchmarks.ALL_WEIGHTS: (1.0, 1_490_000)}  # fmt: skip
    rows = [
        row(**shape, malloc=malloc, candidate=name, seconds=times * seconds,
            ratio=seconds / 0.01, **{benchmarks.TRAINED: count})
        for malloc, times in (("default", 1), ("reuse", 0.5))
        for name, (seconds, count) in ways.items()
    ]  # fmt: skip
    pd.DataFrame(rows).drop(columns="length").to_csv(results / "nmoe_tuning.csv", index=False)
    found = fragments(results.parent)
    table = found["bench_nmoe_tuning.md"]
    assert f"| 16 x 2500 | step | {benchmarks.ADAPTERS} | 90.0 x | 90.0 x | 1.0 x |" in table
    assert f"| {benchmarks.ADAPTERS} | 78,000 | 5.2% |" in table
    assert "| ours | 41,000 | 2.8% |" in table
    goals = found["bench_goals.md"]
    for way, judged in ((benchmarks.THROUGH, "0.4 x | 0.3 x | yes"),
                        (benchmarks.ADAPTERS, "0.8 x | 0.9 x | no")):  # fmt: skip
        assert f"NMoE {way}, beside one with all weights trained | at most {judged}" in goals


def test_ways_to_tune_a_backbone_begin_alike_and_train_more_and_more() -> None:
    (case,) = script("nmoe_tuning").cases(quick=True)
    ways = harness._build(case)
    names = ["ours", benchmarks.THROUGH, benchmarks.ADAPTERS, benchmarks.ALL_WEIGHTS]
    assert list(ways) == names
    harness.check(ways, case.tolerance)
    counts = [way.facts[benchmarks.TRAINED] for way in ways.values()]
    assert counts[0] == counts[1] < counts[2] < counts[3]
    for way in ways.values():
        way.run("step")


def test_transformations_are_held_against_a_loop_over_windows(results: Path) -> None:
    shape = {"bench": "transformations", "batch": 128, "samples": 2560, "pass": "step"}
    rows = [
        row(**shape, version=version, candidate=name, ratio=ratio)
        for version, times in (("all seven", 19.0), ("noise", 4.0))
        for name, ratio in (("ours", 1.0), (benchmarks.IN_NUMPY, times))
    ]
    pd.DataFrame(rows).drop(columns="length").to_csv(results / "transformations.csv", index=False)
    found = fragments(results.parent)
    line = "| noise x 128 x 2560 | step | NumPy, window by window | 4.0 x |"
    assert line in found["bench_transformations.md"]
    assert "NumPy, window by window | at least 20 x | 19 x | no" in found["bench_goals.md"]


def test_a_loop_over_windows_makes_the_same_versions() -> None:
    module = script("transformations")
    cases = module.cases(quick=True)
    assert [case.shape["version"] for case in cases] == ["all seven", *module.ONE]
    for case in cases:
        ways = harness._build(case)
        assert list(ways) == ["ours", benchmarks.ONE_BY_ONE, benchmarks.IN_NUMPY]
        harness.check(ways, case.tolerance)
        for way in ways.values():
            way.run("step")


def test_a_gpu_has_its_column(results: Path) -> None:
    gpu = {"device": "cuda", "gpu": "a card"}
    rows = [row(), row(candidate="x", ratio=2.0), row(**gpu), row(**gpu, candidate="x", ratio=3.0)]
    pd.DataFrame(rows).to_csv(results / "mamba2.csv", index=False)
    table = fragments(results.parent)["bench_mamba2.md"]
    assert "| x | 2.0 x |  | 1.0 x | 3.0 x |" in table
    assert "a card" in table


def test_growth_is_drawn_and_fitted(results: Path) -> None:
    shape = {"bench": "growth", "states": 16, "batch": 1, "vary": "length", "gflop": None}
    rows = [
        row(**shape, layer=layer, length=length, malloc=malloc, candidate=name,
            seconds=1e-4 * length**power)
        for layer in ("mamba", "mamba2") for length in (64, 128, 256)
        for malloc in ("default", "reuse") for name, power in (("ours", 1), ("a loop", 2))
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(results / "growth.csv", index=False)
    text = fragments(results.parent)["bench_growth.md"]
    assert "| length, 64 to 256 | a loop | 2.00 | 2.00 | 2.00 | *not run* |" in text
    assert ":alt: Time against length" in text
    assert "ours: exponent 1.00" in text
    assert (results.parent / "growth.png").stat().st_size > 1000


def test_alternatives_compute_what_ours_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("transformers", "mambapy"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not in this environment: `make bench` has one with it")
    monkeypatch.syspath_prepend(str(BENCH))
    for name in set(SCRIPTS) - {"recordings", "runs"}:  # compares in every run what it measures
        for case in script(name).cases(quick=True):
            harness.check(harness._build(case), case.tolerance)
