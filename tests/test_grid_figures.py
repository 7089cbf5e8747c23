"""Figures of a sweep: every run is a dot, every word of a parameter is text, alt texts say all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from affectbook import grid_figures
from affectbook.results import SCORE_COLUMNS

PROTOCOLS = ("group_kfold_subject", "shuffled_windows_as_published")
ESTIMATORS = ("hcmnet", "majority")
HOSTILE = "$x$ {a} \"b\" 'c'\n<script>alert(1)</script> ](javascript:alert(1)) | `d`"


@pytest.fixture(autouse=True)
def _drawing(drawing: None) -> Iterator[None]:
    yield


def frame_of(**swept: list) -> pd.DataFrame:
    """Return a sweep's table; scores are told apart by their numbers."""
    lines = []
    for number, values in enumerate(product(*swept.values())):
        given = dict(zip(swept, values, strict=True))
        for estimator, protocol, placebo in product(ESTIMATORS, PROTOCOLS, (False, True)):
            value = 0.3 + 0.01 * number + 0.2 * (estimator == "hcmnet")
            line = dict.fromkeys(SCORE_COLUMNS, "") | {
                "paper": "tiny", "estimator": estimator, "scale": "smoke", "dataset": "wesad",
                "tier": "simulated", "placebo": placebo, "protocol": protocol, "fold": "all",
                "subject": "all", "metric": "balanced_accuracy", "seed": 0, "run_key": f"{number}",
                "value": 0.9 if placebo else value, "low": value - 0.1, "high": value + 0.1,
                "n_subjects": 6, "chance": 0.5,
            }  # fmt: skip
            context = {name: own for name, own in given.items() if name in SCORE_COLUMNS}
            lines.append(line | context | {_column(name): own for name, own in given.items()})
            lines.append(lines[-1] | {"metric": "accuracy", "value": 0.99})
    return pd.DataFrame(lines)


def _column(name: str) -> str:
    return f"swept_{name}" if name in SCORE_COLUMNS else name


def dots(ax: plt.Axes) -> list[tuple[float, float]]:
    marked = [line for line in ax.lines if line.get_linestyle() == "None"]
    return [(x, y) for line in marked for x, y in zip(*line.get_data(), strict=True)]


def shown_panels(fig: plt.Figure) -> list[plt.Axes]:
    return [ax for ax in fig.axes if ax.axison]


def test_every_run_is_a_dot_under_its_protocol() -> None:
    frame = frame_of(epochs=[1, 5, 20], word=["a", "b"])
    fig, alt = grid_figures.draw(frame, "epochs", "epochs")
    panels = shown_panels(fig)
    assert [len(dots(ax)) for ax in panels] == [3 * 2 * 2] * 2
    for ax, protocol in zip(panels, PROTOCOLS, strict=True):
        own = frame[(frame["protocol"] == protocol) & (frame["metric"] == "balanced_accuracy")]
        expected = sorted(own[~own["placebo"].astype(bool)]["value"])
        assert np.allclose(sorted(y for _, y in dots(ax)), expected)
    title = fig.get_suptitle()
    assert title == "wesad (simulated), scale smoke: score against epochs"
    assert alt.startswith(title) and "majority class" in alt and "at 20" in alt


def test_numbers_stand_by_their_size_and_words_side_by_side() -> None:
    frame = frame_of(epochs=[20, 1, 5], word=["b", "a", "none"])
    (left, *_) = shown_panels(grid_figures.draw(frame, "epochs", "epochs")[0])
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["1", "5", "20"]
    assert list(left.get_xticks()) == [1, 5, 20]
    assert {round(x) for x, _ in dots(left)} == {1, 5, 20}
    (left, *_) = shown_panels(grid_figures.draw(frame, "word", "word")[0])
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["b", "a", "none"]
    assert list(left.get_xticks()) == [0, 1, 2]


def test_one_run_has_its_interval_and_several_have_none() -> None:
    one, several = frame_of(epochs=[1, 5]), frame_of(epochs=[1, 5], word=["a", "b"])
    for frame, bars in ((one, 2 * len(ESTIMATORS)), (several, 0)):
        for ax in shown_panels(grid_figures.draw(frame, "epochs", "epochs")[0]):
            assert sum(len(part.get_segments()) for part in ax.collections) == bars
    unknown = one.assign(low=np.nan, high=np.nan, chance=np.nan)
    for ax in shown_panels(grid_figures.draw(unknown, "epochs", "epochs")[0]):
        assert not ax.collections and len(dots(ax)) == 4


def test_a_line_goes_through_the_means() -> None:
    frame = frame_of(epochs=[1, 5], word=["a", "b"])
    (left, *_) = shown_panels(grid_figures.draw(frame, "epochs", "epochs")[0])
    lines = [line for line in left.lines if line.get_linestyle() == "-" and len(line.get_xdata())]
    means = [list(line.get_ydata()) for line in lines]
    assert np.allclose(means, [[0.505, 0.525], [0.305, 0.325]])


def test_data_sets_are_lines_of_their_own_unless_swept() -> None:
    frame = frame_of(dataset=["wesad", "eegmat"], epochs=[1, 5])
    _, alt = grid_figures.draw(frame, "epochs", "epochs")
    assert "HCMNet, wesad, " in alt and "HCMNet, eegmat, " in alt
    fig, alt = grid_figures.draw(frame, "dataset", "swept_dataset")
    assert "HCMNet, wesad" not in alt and "at eegmat" in alt
    assert fig.get_suptitle().startswith("wesad (simulated), eegmat (simulated)")


def test_swept_protocols_are_those_of_the_scores() -> None:
    frame = frame_of(epochs=[1]).assign(swept_protocol="group_kfold_subject")
    frame = pd.concat([frame, frame.assign(protocol="leave_one_subject_out", run_key="1",
                                           swept_protocol="leave_one_subject_out")])  # fmt: skip
    fig, _ = grid_figures.draw(frame, "protocol", "swept_protocol")
    (ax,) = shown_panels(fig)
    assert len(ax.get_xticks()) == 3


def test_coin_flips_are_drawn_only_where_there_is_nothing_else() -> None:
    frame = frame_of(epochs=[1, 5])
    coins = frame[frame["placebo"].astype(bool)]
    (left, *_) = shown_panels(grid_figures.draw(coins, "epochs", "epochs")[0])
    assert {y for _, y in dots(left)} == {0.9}


def test_words_of_a_parameter_are_text_and_no_markup(tmp_path: Path) -> None:
    frame = frame_of(word=[HOSTILE, "plain"])
    page = grid_figures.write(frame, {"word": "word"}, tmp_path).read_text()
    assert (tmp_path / "word.png").stat().st_size > 1000
    assert page.count("\n![") == 1 and re.findall(r"(?<!\\)\]\(([^)]*)\)", page) == ["word.png"]
    assert "<script>" not in page and not re.search(r"(?<!\\)<", page)
    fig, alt = grid_figures.draw(frame, "word", "word")
    fig.canvas.draw()  # a formula that is none would fail here
    assert HOSTILE.partition("\n")[0] in alt and "\\n<script>" in alt


def test_the_page_says_what_is_missing(tmp_path: Path) -> None:
    frame = frame_of(epochs=[1, 5])
    page = grid_figures.write(frame, {"epochs": "epochs"}, tmp_path, failed=2).read_text()
    assert "**2 run(s) failed**" in page and "simulated" in page.splitlines()[0]
    only = frame[frame["epochs"] == 1]
    page = grid_figures.write(only, {"epochs": "epochs"}, tmp_path / "one").read_text()
    assert "nothing is drawn" in page and not list((tmp_path / "one").glob("*.png"))
    other = frame[frame["metric"] == "accuracy"]
    page = grid_figures.write(other, {"epochs": "epochs"}, tmp_path).read_text()
    assert "nothing is drawn" in page
