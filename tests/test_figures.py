"""Figures: each says in words what it draws, with the numbers that are in it."""

from __future__ import annotations

import base64
import re
import warnings
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from builders import like_everyone, scores_of, spread_out, windows_of
from matplotlib.figure import Figure

from affectbook import figures, protocols
from affectbook.errors import DataError

FOLDS = 3
HONEST, SHUFFLED = "group_kfold_subject", "shuffled_windows_as_published"


pytestmark = pytest.mark.usefixtures("drawing")


def pulse(rate: float = 60, seconds: float = 10, sfreq: float = 128) -> np.ndarray:
    time = np.arange(round(seconds * sfreq)) / sfreq
    away = (time - 0.4 + 30 / rate) % (60 / rate) - 30 / rate
    return (np.exp(-0.5 * (away / 0.012) ** 2) + 0.25 * np.exp(-0.5 * ((away - 0.25) / 0.04) ** 2)
            + 0.01 * np.random.default_rng(0).standard_normal(len(time)))  # fmt: skip


def history() -> pd.DataFrame:
    """Return curves of three folds whose mean falls from 1.20 to 0.40, and from 1.10 to 0.70."""
    rows = [
        {"epoch": epoch, "fold": fold, "train_loss": train + 0.1 * (fold - 1),
         "valid_loss": valid - 0.1 * (fold - 1)}
        for fold in range(FOLDS)
        for epoch, train, valid in ((1, 1.2, 1.1), (2, 0.8, 0.9), (3, 0.4, 0.7))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def ladder_rows() -> pd.DataFrame:
    shares = {
        ("hcmnet", HONEST, False): 0.62, ("hcmnet", SHUFFLED, False): 0.94,
        ("majority", HONEST, False): 0.5, ("majority", SHUFFLED, False): 0.5,
        ("hcmnet", HONEST, True): 0.48, ("hcmnet", SHUFFLED, True): 0.92,
    }  # fmt: skip
    parts = [
        scores_of(like_everyone(6, share), estimator=who, protocol=protocol, placebo=placebo)
        for (who, protocol, placebo), share in shares.items()
    ]
    return pd.concat(parts, ignore_index=True)


def ecg_window() -> figures.Drawn:
    return figures.ecg_window(pulse(), 128, "mV", "Subject S2, stress")


def split_map() -> figures.Drawn:
    y, meta = windows_of((f"S{s}", f"t{t}", t % 2, 5) for s in range(6) for t in range(4))
    return figures.split_map(
        meta, {name: next(protocols.get(name).split(y, meta)) for name in (HONEST, SHUFFLED)}
    )


def training_curves() -> figures.Drawn:
    return figures.training_curves(history())


def leakage_ladder() -> figures.Drawn:
    return figures.leakage_ladder(ladder_rows(), "eegmat, real ECG")


def confusion() -> figures.Drawn:
    rows = scores_of({"a": [[8, 2], [5, 5]], "b": [[7, 3], [4, 6]]})
    return figures.confusion(rows, ["rest", "arithmetic"], "HCMNet on new people")


def per_subject() -> figures.Drawn:
    parts = {
        "network": scores_of(spread_out(6, 0.6, 0.8)),
        "heart rate": scores_of(spread_out(6, 0.3, 0.7), estimator="hrv_logistic"),
    }
    return figures.per_subject(parts, "accuracy", "New people")


DRAW = {
    f.__name__: f
    for f in (ecg_window, split_map, training_curves, leakage_ladder, confusion, per_subject)
}
SAID = {
    "ecg_window": ["Subject S2, stress", "10 R-peaks", "60 beats a minute", "ms"],
    "split_map": ["new subjects", "0 %", "shuffled windows", "100 %"],
    "training_curves": ["3 folds", "training loss goes from 1.20 to 0.40",
                        "validation loss goes from 1.10 to 0.70"],
    "leakage_ladder": ["eegmat, real ECG", "HCMNet 62 %", "HCMNet 94 %", "majority class 50 %",
                       "coin flips: HCMNet 48 %", "coin flips: HCMNet 92 %"],
    "confusion": ["HCMNet on new people", "rest 75 %", "arithmetic 55 %"],
    "per_subject": ["New people", "network 70 %", "heart rate 50 %"],
}  # fmt: skip
LABELS = {
    "ecg_window": {"ECG (mV)", "RR interval (ms)", "heart rate\n(1/min)", "time in the window (s)"},
    "split_map": {"subject", "window of the subject"},
    "training_curves": {"epoch", "cross-entropy (nats)"},
    "leakage_ladder": {"balanced accuracy"},
    "confusion": {"predicted", "true", "% of the true class"},
    "per_subject": {"accuracy of each subject"},
}
every = pytest.mark.parametrize("name", DRAW)


@every
def test_each_returns_a_figure_and_its_words(name) -> None:
    fig, alt = DRAW[name]()
    assert isinstance(fig, Figure)
    assert len(alt.split()) >= 8 and "\n" not in alt and alt.endswith(".") and "nan" not in alt
    assert [words for words in SAID[name] if words not in alt] == []


@every
def test_axes_have_labels(name) -> None:
    fig, _ = DRAW[name]()
    found = {label for ax in fig.axes for label in (ax.get_xlabel(), ax.get_ylabel())} - {""}
    assert found == LABELS[name]


@every
def test_each_can_be_saved_without_a_warning(name, tmp_path) -> None:
    fig, _ = DRAW[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_every_public_function_that_draws_is_tested() -> None:
    drawing = {
        name
        for name, value in vars(figures).items()
        if getattr(value, "__annotations__", {}).get("return") == "Drawn"
    }
    assert drawing == set(DRAW)


def test_the_ecg_window_marks_the_beats() -> None:
    fig, _ = ecg_window()
    signal, marks = fig.axes[0].lines[:2]
    assert len(signal.get_xdata()) == 1280 and len(marks.get_xdata()) == 10
    assert np.allclose(marks.get_xdata(), 0.4 + np.arange(10), atol=0.03)
    assert np.allclose(fig.axes[1].lines[0].get_ydata(), 1000, atol=20)


def test_a_window_without_beats_is_drawn_and_said() -> None:
    _, alt = figures.ecg_window(np.zeros(1280, np.float32), 128, "mV", "Flat")
    assert "0 R-peaks" in alt and "mean no beats" in alt and "ms" not in alt


def test_the_split_map_has_a_row_per_subject_and_a_column_per_window() -> None:
    fig, _ = split_map()
    for ax in fig.axes:
        assert ax.images[0].get_array().shape == (6, 20)
    tested = fig.axes[0].images[0].get_array()
    assert all(len(set(row)) == 1 for row in np.asarray(tested)), "subjects are whole"


def test_one_split_is_enough_for_a_map() -> None:
    y, meta = windows_of([("S1", "a", 0, 9), ("S2", "a", 1, 9)])
    fig, _ = figures.split_map(meta, {HONEST: next(protocols.get(HONEST).split(y, meta))})
    assert len(fig.axes) == 1


def test_training_without_validation_has_one_curve() -> None:
    _, alt = figures.training_curves(history().assign(valid_loss=np.nan))
    assert "training loss" in alt and "validation" not in alt


def test_the_ladder_shows_chance_and_both_kinds_of_labels() -> None:
    fig, _ = leakage_ladder()
    assert [ax.get_title() for ax in fig.axes] == [
        "labels of the data set", "placebo: coin flips per trial",
    ]  # fmt: skip
    for ax in fig.axes:
        assert any(np.allclose(line.get_ydata(), 0.5) for line in ax.lines), "chance"
        names = [text.get_text() for text in ax.get_xticklabels()]
        assert names == [figures.name_of(HONEST), figures.name_of(SHUFFLED)]
    legend = {text.get_text() for text in fig.legends[0].texts}
    assert legend == {"HCMNet", "majority class", "chance"}


def test_protocols_that_leak_are_red() -> None:
    fig, _ = leakage_ladder()
    honest, leaking = (text.get_color() for text in fig.axes[0].get_xticklabels())
    assert leaking != honest


def test_the_numbers_of_a_ladder_are_those_of_the_rows() -> None:
    scores = figures.ladder_scores(ladder_rows())
    assert len(scores) == 6 and set(scores["chance"]) == {0.5} and set(scores["n_subjects"]) == {6}
    assert list(scores["value"]) == pytest.approx([0.62, 0.94, 0.5, 0.5, 0.48, 0.92])
    assert len(figures.read_ladder(scores)) == 4, "a sentence per protocol and kind of label"


def test_a_ladder_without_rows_is_one_message() -> None:
    with pytest.raises(DataError, match="no scores to draw"):
        figures.leakage_ladder(ladder_rows().iloc[:0], "eegmat")


def test_the_confusion_matrix_is_in_per_cent_of_the_true_class() -> None:
    fig, _ = confusion()
    cells = [text.get_text() for text in fig.axes[0].texts]
    assert cells == ["75", "25", "45", "55"]


def test_there_is_a_dot_per_subject() -> None:
    fig, _ = per_subject()
    assert sum(len(dots.get_offsets()) for dots in fig.axes[0].collections) == 12


def test_keys_without_a_name_are_shown_as_they_are() -> None:
    assert figures.name_of("hcmnet") == "HCMNet"
    assert figures.name_of("a_new_network") == "a_new_network"


@pytest.fixture
def displayed(monkeypatch) -> list[tuple]:
    """Return what is displayed: positional and keyword arguments."""
    calls: list[tuple] = []
    monkeypatch.setattr(figures, "display", lambda *args, **kwargs: calls.append((args, kwargs)))
    return calls


@every
def test_showing_carries_the_words_to_the_page(name, displayed) -> None:
    fig, alt = DRAW[name]()
    figures.show(fig, alt)
    (((data,), keywords),) = displayed
    assert keywords["metadata"]["affectbook"]["alt"] == alt
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["text/plain"] == alt and keywords["raw"]
    assert not plt.fignum_exists(fig.number), "closed, or the notebook would draw it twice"


@pytest.mark.parametrize("key", [None, "0123456789ab"])
def test_in_a_notebook_a_line_leads_to_what_made_the_figure(
    key, displayed, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(figures, "get_ipython", lambda: SimpleNamespace(kernel=None))
    monkeypatch.delenv("AFFECTBOOK_RUN_KEY", raising=False)
    if key:
        monkeypatch.setenv("AFFECTBOOK_RUN_KEY", key)
        monkeypatch.setenv("AFFECTBOOK_RUN_DIR", str(tmp_path))
    figures.show(*confusion())
    ((image,), _), ((line,), keywords) = displayed
    assert "image/png" in image and keywords == {"raw": True}
    assert 'href="#provenance"' in line["text/html"]
    assert "how this was made" in line["text/plain"].lower()
    assert (key or "How") in line["text/html"]


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])
def test_elsewhere_there_is_nothing_to_lead_to(shell, displayed, monkeypatch) -> None:
    monkeypatch.setattr(figures, "get_ipython", lambda: shell)
    figures.show(*confusion())
    assert len(displayed) == 1


@pytest.mark.parametrize("alt", ["", "   ", "a plot", "Figure 1: scores"])
def test_a_figure_without_words_is_not_shown(alt, displayed) -> None:
    with pytest.raises(ValueError, match="alt text"):
        figures.show(plt.figure(), alt)
    assert displayed == []


def test_a_table_is_escaped_and_has_no_index(displayed) -> None:
    frame = pd.DataFrame({"what": ["<b>", "x"], "score": [0.5, np.nan]}, index=[7, 8])
    figures.table(frame, "Scores")
    ((data,), _) = displayed[0]
    html = data["text/html"]
    assert "&lt;b&gt;" in html and "<b>" not in html and "–" in html
    assert "<caption>Scores</caption>" in html and ">7<" not in html
    assert "what" in data["text/plain"]


def test_sentences_become_markdown(displayed) -> None:
    figures.say("**One** sentence.")
    figures.say("First.", "Second.")
    one, two = (args[0].data for args, _ in displayed)
    assert one == "**One** sentence."
    assert re.findall(r"^- (\w+)\.$", two, re.MULTILINE) == ["First", "Second"]
