"""The figure of the page on scans, and what that page prints: both belong to the real scans."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from affectbook import scan_figure
from affectbook.models.scans import mamba2, ssd, ssd_recurrence

ROOT = Path(__file__).resolve().parents[1]
CHUNK = scan_figure.CHUNK


@pytest.fixture
def head() -> scan_figure.Head:
    return scan_figure.example()


def test_the_three_factors_multiply_to_each_block_on_the_diagonal(head: scan_figure.Head) -> None:
    weights = scan_figure.weights(head)
    for chunk in range(len(weights) // CHUNK):
        fall, G, rise = scan_figure.taken_apart(head, chunk)
        steps = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        block = np.tril(weights[steps, steps], -1)
        np.testing.assert_allclose(fall[:, None] * G * rise, block, rtol=0, atol=1e-14)
        assert np.isclose(fall[0] * fall[-1], 1)  # mid is half way


@pytest.mark.parametrize("scan", [ssd_recurrence, lambda *args: ssd(*args, chunk_size=CHUNK)])
def test_the_blocks_add_up_to_the_scan(head: scan_figure.Head, scan) -> None:
    x, D = np.random.default_rng(0).standard_normal((scan_figure.LENGTH, 2)), 0.5
    weights, sources = scan_figure.weights(head), head.dt[:, None] * x
    y = D * x
    starts = range(0, len(weights), CHUNK)
    for q, s in ((q, s) for q in starts for s in starts if s <= q):
        y[q : q + CHUNK] += weights[q : q + CHUNK, s : s + CHUNK] @ sources[s : s + CHUNK]
    B, C = (torch.as_tensor(t)[None, :, None] for t in (head.B, head.C))
    A, D = (torch.tensor([t], dtype=torch.float64) for t in (head.A, D))
    expected = scan(
        torch.as_tensor(x)[None, :, None], torch.as_tensor(head.dt)[None, :, None], A, B, C, D
    )
    np.testing.assert_allclose(y, expected[0, :, 0].numpy(), rtol=0, atol=1e-12)


def test_the_fragment_shows_the_figure_and_says_what_is_on_it(tmp_path: Path) -> None:
    text = scan_figure.fragment(tmp_path)
    (alt,) = re.findall(r"^:alt: (.+)$", text, re.MULTILINE)
    assert "24 by 24" in alt
    assert "through the state" in alt
    assert "build/generated/scan_figure.png" in text
    assert (tmp_path / "scan_figure.png").stat().st_size > 1000


def test_the_page_numbers_the_equations_as_the_code_does() -> None:
    page = (ROOT / "book" / "scans.md").read_text(encoding="utf-8")
    name = r"^ *((?:d|\\mathrm d)?[A-Za-z]'?)[\w{}]*"
    on_page = re.findall(name + r" &= .+ && \((\d+)\)", page, re.MULTILINE)
    in_code = re.findall(name + r" *= .+?\((\d+)\)", mamba2._Chunks.__doc__, re.MULTILINE)
    assert len(on_page) > 9
    assert {(left.replace("\\mathrm ", ""), number) for left, number in on_page} <= set(in_code)
    assert f"equations (1) to ({max(int(number) for _, number in in_code)})" in page


def test_the_example_of_the_page_runs_and_prints_what_it_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (ROOT / "book" / "scans.md").read_text(encoding="utf-8")
    ((code, said),) = re.findall(r"```python\n(.+?)```\n.*?```text\n(.+?)```", page, re.DOTALL)
    with torch.random.fork_rng():
        exec(code, {})
    errors = re.compile(r"[\d.]+e-\d+")
    printed = capsys.readouterr().out
    assert errors.sub("", printed) == errors.sub("", said)
    # Rounding differs from machine to machine.
    assert max(map(float, errors.findall(printed))) < 2e-6
