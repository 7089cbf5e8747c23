"""Figures of self-supervised ECG: what they draw, what they refuse, what their words say."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from affectbook.augment import NAMES, PUBLISHED, Strengths
from affectbook.chapters import (
    blocks,
    ssl_ecg,
    ssl_ecg_documents,
    ssl_ecg_features,
    ssl_ecg_signals,
    ssl_ecg_tables,
)
from affectbook.errors import DataError, ParameterError
from affectbook.models.ssl_ecg import EmotionHead, TransformationRecognition
from affectbook.simulate.ecg import ecg_subject

pytestmark = pytest.mark.usefixtures("drawing")

SFREQ, N_TIMES = 256, 2560


def ecg(n_subjects: int = 3, n_windows: int = 8) -> tuple[np.ndarray, list[str]]:
    """Return simulated windows in mV, and whose they are."""
    plan = [("baseline", 10.0 * n_windows)]
    heart = [ecg_subject(i, plan, sfreq=SFREQ)[0] for i in range(n_subjects)]
    X = np.concatenate([one.reshape(-1, 1, N_TIMES) for one in heart]).astype(np.float32)
    return X, np.repeat([f"S{i}" for i in range(n_subjects)], n_windows).tolist()


def network(**options: object) -> TransformationRecognition:
    torch.manual_seed(0)
    return TransformationRecognition(**options)


def recognition(n_epochs: int = 30) -> pd.DataFrame:
    """Return a history in which the head in place i ends at 0.1 + 0.1 i, from half of that."""
    rise = np.linspace(0.5, 1, n_epochs)
    heads = {f"f1 {name}": (0.1 + 0.1 * i) * rise for i, name in enumerate(NAMES)}
    epochs = np.arange(1, n_epochs + 1)
    return pd.DataFrame({"epoch": epochs, "steps": 9 * epochs, "loss": 0.41 / epochs, **heads})


def contrast() -> pd.DataFrame:
    return pd.DataFrame({"epoch": [1, 2, 3], "steps": [5, 10, 15], "loss": [4.0, 2.0, 1.5],
                         "accuracy other_view": [0.1, 0.4, 0.7]})  # fmt: skip


def features() -> tuple[np.ndarray, list[str], list[int]]:
    """Return features of 24 windows: four subjects far apart, two classes mixed."""
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(4), 6)
    x = 20 * np.eye(4)[subjects] + rng.standard_normal((24, 4))
    return x, [f"S{one}" for one in subjects], [0, 1] * 12


def laid_out(**changes: object) -> ssl_ecg.Drawn:
    x, subjects, labels = features()
    options = {"features": x, "subjects": subjects, "labels": labels, "classes": ["low", "high"]}
    return ssl_ecg.embedding(**(options | changes))


HISTORIES = {"published": recognition(), "contrastive": contrast()}
DRAW = {
    "versions": lambda: ssl_ecg.versions(ecg(1, 1)[0][0], SFREQ, "mV"),
    "block_diagram": lambda: ssl_ecg.block_diagram(network(), N_TIMES, EmotionHead(1, 128, 2)),
    "scaling_separability": lambda: ssl_ecg.scaling_separability(*ecg()),
    "pretext_curves": lambda: ssl_ecg.pretext_curves(HISTORIES, 64),
    "embedding": laid_out,
    "documents": ssl_ecg.documents,
}
SAID = {
    "versions": ["2560 samples at 256 Hz", "noise: white, 15 dB below", "scaling: × 1.1 (1.10, 1.0",
                 "negation: × −1 (1.00, -1.00)", "time reversed", "20 pieces of 128 samples (0.5 s",
                 "9 pieces of 284 samples; 5 × 1.05 = 299, 4 ÷ 1.05 = 271; 2560 of 2579 kept"],
    "block_diagram": ["561,223 weights; emotion head: 592,386", "1 by 2560 (leads",
                      "32 by 2560 (filters × steps), 33,856 weights", "64 by 1277", "128 by 635",
                      "2 convolutions, kernel 16 (max pool 8, step 2; each: leaky ReLU 0.2)",
                      "7 pretext heads (128 → 128 → 128 → 1; leaky ReLU 0.2; dropout 0.6): 7 (logi",
                      "128 → 512 → 512 → 512 → 2; ReLU; dropout 0.2", "maximum over time",
                      "those of original, noise, scaling, negation, inversion, permutation, time w",
                      "The encoder has 329,152 weights.", "it is frozen"],
    "scaling_separability": ["24 windows of 3 subjects", "more than 50.0 %", "then the factor: me"],
    "pretext_curves": ["published, F1 after epoch 30: original 0.10, noise 0.20", "time warp 0.70;",
                       "always says yes 0.25", "loss from 0.41 to 0.0137", "contrastive, accuracy "
                       "after epoch 3: other view 0.70; chance 0.0079; loss from 4 to 1.5."],
    "embedding": ["24 windows, 4 features each", "perplexity 7.67", "by subject (4): 0.",
                  "by emotion (2): -0."],
    "documents": ["binary cross-entropy, Adam [C, G], cite it for what was computed",
                  "In a dashed frame", "before it: student's course report, 2024.",
                  "[A] abstract of a paper;"],
}  # fmt: skip
NO_UNIT = {"t-SNE 1 (no unit)", "t-SNE 2 (no unit)"}
LABELS = {
    "versions": {"time (s)"},
    "block_diagram": set(),
    "scaling_separability": {"windows (%)", "RMS of a window, in the deviations it was divided by"},
    "pretext_curves": {"epoch", "F1 of each head", "accuracy: other view found"},
    "embedding": NO_UNIT,
    "documents": set(),
}
every = pytest.mark.parametrize("name", DRAW)


def texts_of(fig: plt.Figure) -> list[Text]:
    """Return all words of a figure but those at ticks, which are there without being drawn."""
    found = [*fig.texts, *(text for legend in fig.legends for text in legend.get_texts())]
    for ax in fig.axes:
        legend = ax.get_legend()
        # A title on the left is not `ax.title`.
        found += [*ax.texts, ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label]
        found += legend.get_texts() if legend else []
    return [text for text in found if text.get_text().strip() and text.get_visible()]


@every
def test_each_says_its_numbers_labels_its_axes_and_can_be_saved(name, tmp_path) -> None:
    fig, alt = DRAW[name]()
    assert "\n" not in alt and alt.endswith(".") and "nan" not in alt
    assert [words for words in SAID[name] if words not in alt] == []
    labels = {label for ax in fig.axes for label in (ax.get_xlabel(), ax.get_ylabel())}
    assert labels - {""} == LABELS[name]
    assert round(100 * fig.get_size_inches()[0]) == 720
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig.savefig(tmp_path / "figure.png")


@every
def test_words_are_large_enough_on_the_figure_and_not_on_each_other(name) -> None:
    fig, _ = DRAW[name]()
    fig.canvas.draw()
    texts = texts_of(fig)
    ticks = [label for ax in fig.axes for label in (*ax.get_xticklabels(), *ax.get_yticklabels())
             if ax.axison]  # fmt: skip
    assert min(text.get_fontsize() for text in [*texts, *ticks]) >= 9
    boxes = [text.get_window_extent() for text in texts]
    edge = fig.bbox.padded(1)
    outside = [text.get_text() for text, box in zip(texts, boxes, strict=True)
               if not (edge.contains(*box.p0) and edge.contains(*box.p1))]  # fmt: skip
    assert outside == []
    boxes = [box.padded(-1.5) for box in boxes]
    over = [(texts[i].get_text(), texts[j].get_text()) for i, one in enumerate(boxes)
            for j in range(i) if one.overlaps(boxes[j])]  # fmt: skip
    assert over == []


@pytest.mark.parametrize("name", ["block_diagram", "documents"])
def test_no_words_cross_the_edge_of_a_box(name) -> None:
    fig, _ = DRAW[name]()
    fig.canvas.draw()
    ax = fig.axes[0]
    frames = [patch.get_window_extent() for patch in ax.patches
              if isinstance(patch, FancyBboxPatch)]  # fmt: skip
    assert len(frames) > 4
    for text in ax.texts:
        words = text.get_window_extent().padded(-1)
        for frame in frames:
            inside = frame.contains(*words.p0) and frame.contains(*words.p1)
            assert inside or not frame.overlaps(words), text.get_text()


def test_every_public_function_that_draws_is_tested() -> None:
    modules = (ssl_ecg_documents, ssl_ecg_features, ssl_ecg_signals, ssl_ecg)
    drawing = {name for module in modules for name, value in vars(module).items()
               if getattr(value, "__annotations__", {}).get("return") == "Drawn"
               and value.__module__ == module.__name__}  # fmt: skip
    assert drawing == set(DRAW)
    assert {name for module in modules[:-1] for name in module.__all__} <= set(ssl_ecg.__all__)


EMPTY = {
    "versions": lambda: ssl_ecg.versions(np.zeros((1, 0)), SFREQ, "mV"),
    "block_diagram": lambda: ssl_ecg.block_diagram(network(), 0, EmotionHead(1, 128, 2)),
    "scaling_separability": lambda: ssl_ecg.scaling_separability(np.zeros((0, 1, 64)), []),
    "pretext_curves": lambda: ssl_ecg.pretext_curves({}),
    "no scores": lambda: ssl_ecg.pretext_curves({"one": contrast()[["epoch", "loss"]]}),
    "no epochs": lambda: ssl_ecg.pretext_curves({"one": contrast().iloc[:0]}),
    "embedding": lambda: laid_out(features=np.zeros((0, 4)), subjects=[], labels=[]),
}


@pytest.mark.parametrize("name", EMPTY)
def test_of_nothing_there_is_one_message_and_no_figure(name) -> None:
    plt.close("all")
    with pytest.raises(DataError, match="there (is|are) no "):
        EMPTY[name]()
    assert not plt.get_fignums()


WRONG = {
    "two leads": lambda: ssl_ecg.versions(np.zeros((2, 99)), SFREQ, "mV"),
    "not a number": lambda: ssl_ecg.versions(np.full((1, 99), np.nan), SFREQ, "mV"),
    "too short to warp": lambda: ssl_ecg.versions(np.ones((1, 21)), SFREQ, "mV"),
    "no pieces": lambda: ssl_ecg.versions(np.ones((1, 99)), SFREQ, "mV", 0, Strengths(pieces=0)),
    "a window too short": lambda: ssl_ecg.block_diagram(network(), 9, EmotionHead(1, 128, 2)),
    "another feature": lambda: ssl_ecg.block_diagram(network(), 99, EmotionHead(1, 64, 2)),
    "factor": lambda: ssl_ecg.scaling_separability(*ecg(2, 1), factor=0),
    "a subject missing": lambda: ssl_ecg.scaling_separability(ecg(2, 1)[0], ["S0"]),
    "features": lambda: laid_out(features=features()[0] * np.nan),
    "one subject": lambda: laid_out(subjects=["S0"] * 24),
    "one class": lambda: laid_out(labels=[1] * 24),
    "no such class": lambda: laid_out(labels=[0, 2] * 12),
    "a label missing": lambda: laid_out(labels=[0] * 23),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_drawn_is_refused_before_there_is_a_figure(name) -> None:
    plt.close("all")
    with pytest.raises((DataError, ParameterError)):
        WRONG[name]()
    assert not plt.get_fignums()


def test_nothing_loads_torch_or_scikit_learn_s_layouts_before_they_are_needed() -> None:
    loaded = "[name for name in ('torch', 'sklearn.manifold') if name in sys.modules]"
    code = f"import sys, affectbook.chapters.ssl_ecg; print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_versions_are_those_of_the_pretext_over_the_window() -> None:
    window = ecg(1, 1)[0][0]
    fig, _ = ssl_ecg.versions(window, SFREQ, "mV")
    rows = [ax.lines for ax in fig.axes[::2]]  # the window itself lies behind all but itself
    drawn = {name: np.asarray(lines[bool(i)].get_ydata())
             for i, (name, lines) in enumerate(zip(NAMES, rows, strict=True))}  # fmt: skip
    x = window[0].astype(float)
    np.testing.assert_array_equal(drawn["original"], x)
    np.testing.assert_allclose(drawn["scaling"], 1.1 * x)
    np.testing.assert_array_equal(drawn["negation"], -x)
    np.testing.assert_array_equal(drawn["inversion"], x[::-1])
    np.testing.assert_array_equal(np.sort(drawn["permutation"]), np.sort(x))
    noise = np.square(drawn["noise"] - x).mean() / np.square(x).mean()
    assert 10 * np.log10(noise) == pytest.approx(-15, abs=0.5)
    for lines in rows[1:]:
        np.testing.assert_array_equal(lines[0].get_ydata(), x)


def test_all_versions_are_drawn_to_one_scale() -> None:
    fig, _ = DRAW["versions"]()
    fig.canvas.draw()
    scales = [ax.bbox.height / np.ptp(ax.get_ylim()) for ax in fig.axes]
    assert max(scales) / min(scales) < 1.02
    low, high = fig.axes[6].get_ylim()
    assert low == pytest.approx(-high), "negation has room for both"


def test_titles_follow_strengths_and_length_and_seeds_change_what_is_drawn() -> None:
    window = ecg(1, 1)[0][0, :, :1000]
    strengths = Strengths(snr_db=3, factor=2, pieces=3, warp_pieces=4, stretch=1.25)
    fig, alt = ssl_ecg.versions(window, 100, "SD", strengths=strengths)
    told = ["1000 samples at 100 Hz", "white, 3 dB", "× 2 (2.00", "1000 of 1026 kept",
            "3 pieces of 333 samples (3.33 s), shuffled, the last 1 stay",
            "4 pieces of 250 samples; 2 × 1.25 = 313, 2 ÷ 1.25 = 200;"]  # fmt: skip
    assert [words for words in told if words not in alt] == []
    assert fig.get_supylabel() == "ECG (SD)"
    titles = " ".join(ax.get_title(loc="left") for ax in fig.axes)
    assert "2 × 1.25 = 313" in titles and "× 2" in titles
    same = [ssl_ecg.versions(window, 100, "SD", seed, PUBLISHED)[1] for seed in (0, 0, 1)]
    assert same[0] == same[1] != same[2]


OPTIONS = [{}, {"tasks": ("noise",)}, {"tasks": NAMES[:3]}, {"single_head": True},
           {"batch_norm": True}, {"activation": "relu"}, {"pooling": "mean"}, {"n_blocks": 1},
           {"n_chans": 2}]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_blocks_hold_all_weights_of_the_networks(options) -> None:
    pretext = network(**options)
    head = EmotionHead(1, pretext.encoder.n_features, 4, head="dense_64x2")
    alt = ssl_ecg.block_diagram(pretext, 100, head)[1]
    both, *boxes, encoder = (int(n.replace(",", "")) for n in re.findall(r"([\d,]+) weights", alt))
    assert both == sum(boxes[:-1]) == sum(weight.numel() for weight in pretext.parameters())
    assert boxes[-1] == sum(weight.numel() for weight in head.parameters())
    assert encoder == sum(weight.numel() for weight in pretext.encoder.parameters())
    assert "sigmoid): 4 (logits)" in alt


def test_the_diagram_says_what_the_modules_are() -> None:
    head = EmotionHead(1, 64, 3, head="linear")
    options = {"single_head": True, "batch_norm": True, "activation": "relu", "pooling": "mean"}
    fig, alt = ssl_ecg.block_diagram(network(n_blocks=2, **options), 1280, head)
    told = ["(each: batch norm, ReLU)", "mean over time", "pretext head (64 → 128 → 128 → 7",
            "emotion head (64 → 3): 3 (logits), 195 weights"]  # fmt: skip
    assert [words for words in told if words not in alt] == []
    assert "block 3" not in alt and "2 pretext" not in alt
    words = {text.get_text() for text in fig.axes[0].texts}
    assert {name.replace("_", " ") for name in NAMES} <= words
    assert "features, encoder frozen" in words


def test_the_diagram_leaves_the_networks_as_they_were() -> None:
    pretext, head = network(), EmotionHead(1, 128, 2)
    pretext.train()
    pretext.encoder.eval()
    ssl_ecg.block_diagram(pretext, 100, head)
    with pytest.raises(ParameterError, match="Encoder takes nothing of 1 × 9"):
        blocks.shapes(pretext.encoder, 1, 9)
    assert pretext.training and not pretext.encoder.training and head.training
    assert not [1 for part in pretext.modules() if part._forward_hooks]


def test_the_best_threshold_by_hand() -> None:
    best = ssl_ecg.best_threshold
    assert best(np.array([1.0, 2, 3]), np.array([4.0, 5, 6])) == (3.5, 1.0)
    assert best(np.array([4.0, 5, 6]), np.array([1.0, 2, 3])) == (3.5, 1.0), "either way round"
    assert best(np.array([1.0, 2, 5]), np.array([4.0, 6, 7])) == (3.0, 5 / 6)
    threshold, accuracy = best(np.array([1.0, 1.0]), np.array([1.00001, 1.0]))
    assert np.isnan(threshold) and accuracy == 0.5, "equal to four decimals"
    assert best(np.array([1.0]), np.array([1.0, 1, 1]))[1] == 0.75


def test_no_threshold_beats_the_best_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        lower, higher = rng.integers(0, 9, 12) / 4, rng.integers(2, 11, 9) / 4
        tried = [(np.sum(lower < cut) + np.sum(higher >= cut)) / 21
                 for cut in np.arange(-1, 4, 0.1)]  # fmt: skip
        accuracy = ssl_ecg.best_threshold(lower, higher)[1]
        assert accuracy == pytest.approx(max(*tried, *(1 - np.array(tried))))


def test_a_z_score_of_each_window_hides_the_factor_and_one_of_the_subject_does_not() -> None:
    X, subjects = ecg()
    wide = ssl_ecg.scaling_separability(X, subjects, factor=3)[1]
    shares = [float(share) for share in re.findall(r"([\d.]+) %", wide)]
    assert shares[0] > 95 and shares[1] == 50
    fig, alt = ssl_ecg.scaling_separability(X, subjects)
    shares = [float(share) for share in re.findall(r"([\d.]+) %", alt)]
    assert 50 < shares[0] < 95 and shares[1] == 50
    one, other = (float(n) for n in re.search(r"medians ([\d.]+) and ([\d.]+)", alt).groups())
    assert other / one == pytest.approx(1.1, abs=0.02)
    above, below = fig.axes
    assert len(above.lines) == 1 and not below.lines, "a threshold where there is one"
    heights = [patch.get_height() for patch in below.patches if hasattr(patch, "get_height")]
    assert sorted(heights)[-1] == pytest.approx(100) and len(np.flatnonzero(heights)) == 1


def test_the_curves_are_the_histories() -> None:
    fig, _ = DRAW["pretext_curves"]()
    recognised, found = fig.axes
    lines = {line.get_label(): line for line in recognised.lines}
    for name in NAMES:
        column = recognition()[f"f1 {name}"]
        np.testing.assert_array_equal(lines[name.replace("_", " ")].get_ydata(), column)
    looks = {(line.get_color(), line.get_marker()) for line in lines.values()}
    assert len(looks) == 8, "seven heads and one that always says yes"
    np.testing.assert_array_equal(found.lines[0].get_ydata(), [0.1, 0.4, 0.7])
    assert found.lines[1].get_ydata()[0] == pytest.approx(1 / 127)


def test_a_head_looks_the_same_whatever_is_drawn_before_it() -> None:
    looks = []
    for histories in (HISTORIES, dict(reversed(HISTORIES.items()))):
        fig, _ = ssl_ecg.pretext_curves(histories)
        looks.append({line.get_label(): (line.get_color(), line.get_marker())
                      for ax in fig.axes for line in ax.lines})  # fmt: skip
    assert looks[0] == looks[1] and {"original", "other view"} <= set(looks[0])


def test_always_saying_yes_follows_how_many_versions_are_shown() -> None:
    def told(*heads: str) -> str:
        kept = ["epoch", "loss", *(f"f1 {head}" for head in heads)]
        return ssl_ecg.pretext_curves({"one": recognition()[kept]})[1]

    assert "always says yes 0.67" in told("noise"), "one of two: precision 0.5, recall 1"
    assert "always says yes 0.67" in told("original", "noise")
    assert "always says yes 0.5;" in told("noise", "scaling")
    assert "chance" not in ssl_ecg.pretext_curves({"one": contrast()})[1]


def test_one_encoder_and_three_have_a_panel_each() -> None:
    for n in (1, 3):
        fig, alt = ssl_ecg.pretext_curves({f"encoder {i}": recognition(4) for i in range(n)})
        assert [ax.get_title() for ax in fig.axes] == [f"encoder {i}" for i in range(n)]
        assert alt.count("after epoch 4") == n


def test_silhouettes_tell_what_is_apart_from_what_is_mixed() -> None:
    fig, alt = laid_out()
    values = [float(one) for one in re.findall(r"\): (-?[\d.]+\d)", alt)]
    assert values[0] > 0.7 and abs(values[1]) < 0.1
    for ax, value in zip(fig.axes, values, strict=True):
        assert f"silhouette {value:.2f}" in ax.get_title()
    assert alt == laid_out()[1]
    places = [np.concatenate([c.get_offsets() for c in ax.collections]) for ax in fig.axes]
    assert places[0].shape == (24, 2)
    np.testing.assert_array_equal(*(np.sort(one, 0) for one in places))


def test_many_subjects_have_a_look_each_and_no_legend() -> None:
    x, _, labels = features()
    fig, _ = laid_out(features=np.concatenate([x, x + 0.01]), labels=labels * 2,
                      subjects=[f"S{i % 23:02d}" for i in range(48)])  # fmt: skip
    by_subject, by_class = fig.axes
    assert by_subject.get_legend() is None and "23, each" in by_subject.texts[0].get_text()
    looks = {(tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes())
             for c in by_subject.collections}  # fmt: skip
    assert len(looks) == 23
    assert [text.get_text() for text in by_class.get_legend().get_texts()] == ["low", "high"]


def test_the_diagram_of_documents_has_the_words_of_the_table_and_explains_its_marks() -> None:
    fig, alt = ssl_ecg.documents()
    drawn = " ".join(" ".join(text.get_text() for text in fig.axes[0].texts).split())
    table = ssl_ecg_tables.documents()
    for _, row in table.iterrows():
        assert row["document"] in drawn and row["the pretext in it"] in drawn
        assert f"Cite it for {row['cite it for']}." in drawn
        assert row["document"] in alt and row["the pretext in it"] in alt
    sources = ssl_ecg_tables.sources().set_index("mark")["source"]
    for mark in "ACGPRS":
        assert f"[{mark}] {sources[mark]}" in drawn
    dashed = [patch for patch in fig.axes[0].patches
              if isinstance(patch, FancyBboxPatch) and patch.get_linestyle() == "--"]  # fmt: skip
    assert len(dashed) == 1
