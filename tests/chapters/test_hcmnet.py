"""Figures of the chapter on HCMNet: what they draw, what they refuse, what their words say."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from builders import CONTEXT, like_everyone, scores_of, spread_out

from affectbook import personalise, probes, results
from affectbook.chapters import hcmnet, shared
from affectbook.errors import DataError, ParameterError
from affectbook.models.hcmnet import HCMNet
from affectbook.papers._hcmnet_variants import VARIANTS, WHOLE
from affectbook.results import SCORE_COLUMNS, Interval

STRIDED = {"pool_strides": (8, 8, 2)}
SFREQ = 256


pytestmark = pytest.mark.usefixtures("drawing")


def pulse() -> np.ndarray:
    """Return ten seconds of sharp beats, 0.8 s apart."""
    away = (np.arange(10 * SFREQ) / SFREQ) % 0.8 - 0.4
    return np.exp(-0.5 * (away / 0.012) ** 2) + 0.2 * np.exp(-0.5 * ((away - 0.25) / 0.04) ** 2)


def gates() -> pd.DataFrame:
    """Return six seeds as `probes.gate_statistics` does: two open, one shut, three between."""
    verdicts = ["open", "shut", "between", "open", "between", "between"]
    gate = np.array([1, 0, 0.4, 1, 0.41, 0.7])
    table = pd.DataFrame({"seed": range(6), "energy": [30.5, 28, 27, 29, 26.5, 28], "gate": gate})
    return table.assign(open=gate == 1, shut=gate == 0, verdict=verdicts)


def history() -> pd.DataFrame:
    epochs, losses = np.arange(1, 8), (1.0, 0.7, 0.5, 0.6, 0.9, 0.4, 0.8)
    curves = {"epoch": epochs, "train_loss": 1 / epochs, "valid_loss": losses}
    return pd.DataFrame(curves).assign(fold=2)


TESTED = {"best": 0.61, "last": 0.58, "fixed": 0.57}
SCORES = {key: Interval(score, score - 0.06, score + 0.06, 36) for key, score in TESTED.items()}


def curves() -> pd.DataFrame:
    """Return curves as `personalise.curves` does; each value tells where it comes from."""
    lines = []
    gains = {"fine_tuned": 0.003, "head_only": 0.001, "from_scratch": 0.002}
    for choice, placebo in product(("prefix", "random"), (False, True)):
        off = 0.05 * (choice == "random") - 0.1 * placebo
        lines.append(("unadapted", choice, placebo, 0, 0, 0.5 + off))
        for k in (1, 2, 3):
            lines.append(("batch_norm", choice, placebo, k, 0, 0.51 + 0.01 * k + off))
            lines += [(method, choice, placebo, k, s, 0.55 + 0.02 * k + gain * s + off)
                      for s, (method, gain) in product((1, 5, 20), gains.items())]  # fmt: skip
    columns = ["estimator", "choice", "placebo", "windows", "steps", "value"]
    table = pd.DataFrame(lines, columns=columns)
    return table.assign(
        estimator="hcmnet_" + table["estimator"], seconds_per_trial=10.0 * table["windows"],
        low=table["value"] - 0.04, high=table["value"] + 0.05, n_subjects=36, n_seeds=3,
    )  # fmt: skip


def probe_rows() -> pd.DataFrame:
    """Return rows as `probes.probe` adds them: R² of the stages 0.3, 0.4 and 0.5 when trained."""
    parts, lines = [], []
    kinds = [(target, "r2", 0.3) for target in shared.HRV] + [("subject", "accuracy", 0.6)]
    for untrained in (False, True):
        variant = "published" + "+untrained" * untrained
        for k, stage in enumerate(shared.STAGES):
            for target, metric, start in kinds:  # of the last one the chance is known
                own = {"estimator": stage, "variant": variant, "target": target, "metric": metric}
                value = start + 0.1 * k - 0.2 * untrained
                lines += [own | {"fold": fold, "value": value + add}
                          for fold, add in (("0", -0.1), ("1", 0.1), ("all", 0.0))]  # fmt: skip
            parts.append(scores_of(like_everyone(2, 0.7 + 0.02 * k - 0.1 * untrained),
                                   estimator=stage, variant=variant))  # fmt: skip
        lines.append(own | {"estimator": "chance", "fold": "all", "value": 0.125})
    rest = {"subject": "all", "seed": 0, "n_test_windows": 4, "n_test_trials": 2, "run_key": ""}
    rows = pd.DataFrame([CONTEXT | rest | line for line in lines])[SCORE_COLUMNS]
    return pd.concat([rows, *parts], ignore_index=True)


STRIPS = {"network": scores_of(spread_out(6, 0.6, 0.8)),
          "heart rate\n(four numbers)": scores_of(spread_out(6, 0.3, 0.9))}  # fmt: skip
ONE_SIDE = {"S06": [[9, 0], [0, 0]], "S07": [[0, 9], [0, 0]]}  # these say nothing on the band
COINS = scores_of(spread_out(6, 0.4, 0.6) | ONE_SIDE, placebo=True)
FIELDS = {"convolutions": 117, "with NLCCA": 165}
BEATS = (pulse(), SFREQ, FIELDS)
CLASSES = {
    "three": (scores_of({"a": [[8, 1, 1], [2, 6, 2], [5, 0, 5]]}), ["rest", "city", "highway"]),
    "four": (scores_of({"a": np.full((4, 4), 5) + 5 * np.eye(4, dtype=int)}), list("abcd")),
}
DRAW = {
    "block_diagram": lambda: hcmnet.block_diagram(1, 640, 3, STRIDED),
    "gate_histogram": lambda: hcmnet.gate_histogram(gates(), "Six seeds"),
    "receptive_field_ruler": lambda: hcmnet.receptive_field_ruler(*BEATS, "Subject S3", "mV"),
    "checkpoint_curve": lambda: hcmnet.checkpoint_curve(history(), SCORES, "HCMNet", patience=2),
    "personalisation_curves": lambda: hcmnet.personalisation_curves(curves(), "HCMNet"),
    "subject_strips": lambda: hcmnet.subject_strips(STRIPS, COINS, "People"),
    "confusions": lambda: hcmnet.confusions(CLASSES),
    "probe_figure": lambda: hcmnet.probe_figure(probe_rows(), "HCMNet"),
}
SAID = {
    "block_diagram": ["1,250,941 weights", "Mamba-2 (read left to right): 256 by 64, 465,176",
                      "NLCCA (channel gate; depth-wise widths 5, 7, 11, 21): 128 by 4, 22,666",
                      "Residuals go round NLCCA and BiSSM"],
    "gate_histogram": ["6 seeds", "1 shut, 3 between, 2 open", "26.5 and 30.5"],
    "receptive_field_ruler": ["Subject S3", "256 Hz", "117 samples or 457 ms, 0.57 of it",
                              "165 samples or 645 ms, 0.81 of it"],
    "checkpoint_curve": ["best validation loss: epoch 3, validation loss 0.50, test score 61.0 %",
                         "last, as released: epoch 5, validation loss 0.90, test score 58.0 %",
                         "fixed number of epochs: epoch 7", "[51.0, 63.0]"],
    "personalisation_curves": ["first windows of each trial", "30 s of each trial and 20 steps",
                               "labels: not adapted 50.0 % [46.0, 55.0]; all weights 67.0 %",
                               "head only 63.0 %", "batch norm only, no labels 54.0 %",
                               "coin flips: not adapted 40.0 %", "from scratch 55.0 %"],
    "subject_strips": ["band of 40 to 60 % in which 95 % of 6", "network: mean 70 %, 6 of 6",
                       "heart rate (four numbers): mean 60 %, 3 of 6 subjects above the band"],
    "confusions": ["three: rest 80 %, city 60 %, highway 50 %", "four: a 40 %, b 40 %"],
    "probe_figure": ["heart rate, trained: CNN 0.30 (0.20 to 0.40), NLCCA 0.40",
                     "SDNN, untrained: CNN 0.10", "subject, accuracy, trained: CNN 0.60",
                     "condition, balanced accuracy, trained: CNN 0.70", "chance, subject: 0.12",
                     "chance, condition: 0.50"],
}  # fmt: skip
SCORE = "balanced accuracy (%)"
LABELS = {
    "block_diagram": set(),
    "gate_histogram": {"mean gate (0 shut, 1 open)", "seeds", "mean gate", "scalar s (no unit)"},
    "receptive_field_ruler": {"ECG (mV)", "time after the first R-peak (ms)"},
    "checkpoint_curve": {"epoch", "cross-entropy (nats)", "checkpoint", SCORE},
    "personalisation_curves": {SCORE, "labelled signal of each trial (s)", "gradient steps"},
    "subject_strips": {"balanced accuracy of each subject (%)"},
    "confusions": {"predicted", "true", "% of the true class"},
    "probe_figure": {"R² (1: perfect, 0: the mean)", "accuracy, balanced accuracy (0 to 1)",
                     "probe after"},
}  # fmt: skip
every = pytest.mark.parametrize("name", DRAW)


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


def test_every_public_function_that_draws_is_tested() -> None:
    drawing = {
        name
        for module in (shared, hcmnet)
        for name, value in vars(module).items()
        if getattr(value, "__annotations__", {}).get("return") == "Drawn"
    }
    assert drawing == set(DRAW) == {name for name in hcmnet.__all__ if name.islower()}


@pytest.mark.parametrize(
    ("draw", "command"),
    [
        (lambda: hcmnet.subject_strips({}, results.recorded("none"), "x"), "recorded"),
        (lambda: hcmnet.confusions({"x": (probe_rows().iloc[:0], ["a"])}), "recorded"),
        (lambda: hcmnet.checkpoint_curve(history().iloc[:0], SCORES, "x"), "checkpoints"),
        (lambda: hcmnet.personalisation_curves(curves(), "x", "none"), "personalisation"),
        (lambda: hcmnet.probe_figure(scores_of(like_everyone(2, 0.5)), "x"), "probes"),
    ],
)
def test_without_rows_one_message_says_what_records_them(draw, command) -> None:
    with pytest.raises(DataError, match=f"for 'x.*do: make sweep PAPER=hcmnet SWEEP={command}"):
        draw()


def test_without_seeds_or_beats_one_message_says_what_to_do() -> None:
    with pytest.raises(DataError, match="gate_statistics"):
        hcmnet.gate_histogram(gates().iloc[:0], "x")
    with pytest.raises(DataError, match="three R-peaks"):
        hcmnet.receptive_field_ruler(np.zeros(1280), SFREQ, FIELDS, "flat")


def test_nothing_loads_torch_before_it_is_needed() -> None:
    modules = "affectbook.ablations, affectbook.chapters.hcmnet"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_ablation_has_plain_words() -> None:
    assert set(hcmnet.PARTS) == set(VARIANTS) - set(WHOLE)
    assert len(set(hcmnet.PARTS.values())) == len(hcmnet.PARTS)
    assert not [words for words in hcmnet.PARTS.values() if "_" in words or len(words) > 25]


def told(options: dict[str, object]) -> tuple[str, int]:
    """Return the alt text, and the sum of all weights it names of blocks."""
    alt = hcmnet.block_diagram(1, 640, 3, options)[1]
    counts = re.findall(r"([\d,]+) weights", alt)
    return alt, sum(int(count.replace(",", "")) for count in counts[1:])


OPTIONS = [{}, {"nlcca": False}, {"nlcca": "channel"}, {"bissm": False}, {"bissm": "lstm"},
           {"directions": "backward"}, {"pad_first": False}, {"head_relu": True}]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_blocks_hold_all_weights_of_the_network(options) -> None:
    total = sum(p.numel() for p in HCMNet(1, 640, 3, **STRIDED, **options).parameters())
    alt, blocks = told(STRIDED | options)
    assert blocks == total and f"HCMNet: {total:,} weights" in alt


def test_the_diagram_has_the_shapes_and_leaves_out_what_a_variant_lacks() -> None:
    alt, _ = told({})
    shapes = ("1 by 640", "32 by 635", "64 by 630", "128 by 314", "256 by 320")
    assert [shape for shape in shapes if f": {shape}, " not in alt] == []
    assert "zeros appended" in alt and "cut to 314 steps" in alt
    alt, _ = told(STRIDED | {"nlcca": False, "bissm": False})
    assert "Mamba" not in alt and "NLCCA" not in alt and "Residuals go round none" in alt
    alt, _ = told(STRIDED | {"directions": "forward", "pad_first": False})
    assert "left to right" in alt and "right to left" not in alt
    assert "zeros" not in alt and "cut to" not in alt and "sum" not in alt


def test_the_two_scans_stand_side_by_side() -> None:
    texts = DRAW["block_diagram"]()[0].axes[0].texts
    (left, y), (right, other) = (t.get_position() for t in texts if t.get_text() == "Mamba-2")
    assert left < right and y == other
    assert [t.get_text() for t in texts].count("+") == 2, "two residuals end"


def test_the_histogram_counts_every_seed_once() -> None:
    fig, _ = DRAW["gate_histogram"]()
    shut, between, opened = ([bar.get_height() for bar in b] for b in fig.axes[0].containers)
    assert (shut[0], sum(shut), sum(between), opened[-1], sum(opened)) == (1, 1, 3, 2, 2)
    assert [len(line.get_xdata()) for line in fig.axes[1].lines] == [1, 3, 2]


def test_the_tables_are_those_that_other_modules_make() -> None:
    found = probes.gate_statistics(
        lambda _: HCMNet(1, 256, 3, **STRIDED), np.ones((2, 1, 256)), [0]
    )
    assert list(gates()) == list(found)
    assert set(curves()) == set(personalise.curves(results.recorded("none")))
    assert set(shared.METHODS) == set(personalise.METHODS)
    assert set(shared.CHOICES) == set(personalise.CHOICES)
    assert tuple(shared.HRV) == probes.HRV_TARGETS
    assert [name.removeprefix("probe_after_") for name in shared.STAGES] == list(probes.STAGES)


def test_the_ruler_lies_under_two_beats() -> None:
    fig, _ = DRAW["receptive_field_ruler"]()
    above, below = fig.axes
    times, peaks = (line.get_xdata() for line in above.lines[:2])
    assert peaks == pytest.approx([0, 800, 1600], abs=10)
    assert times.min() < 0 and times.max() > peaks[-1]
    widths = [bar.get_width() for bar in below.patches]
    assert widths == pytest.approx([peaks[1], 1000 * 117 / SFREQ, 1000 * 165 / SFREQ])
    assert "117 samples, 457 ms" in [text.get_text() for text in below.texts]


def test_what_sees_more_than_is_drawn_goes_on() -> None:
    fig, alt = hcmnet.receptive_field_ruler(pulse(), SFREQ, {"convolutions": 1000}, "S3")
    _, bar = fig.axes[1].patches
    assert bar.get_width() == pytest.approx(fig.axes[1].get_xlim()[1])
    assert fig.axes[1].texts[1].get_text() == "1000 samples, 3906 ms, goes on →"
    assert "1000 samples or 3906 ms, 4.90 of it" in alt


def test_the_checkpoints_are_those_of_early_stopping() -> None:
    """The loss that falls again after the stop is not seen by the training that stopped."""
    fig, _ = DRAW["checkpoint_curve"]()
    marks = [line for line in fig.axes[0].lines if line.get_linestyle() == "None"]
    found = [(int(mark.get_xdata()[0]), float(mark.get_ydata()[0])) for mark in marks]
    assert found == [(3, 0.5), (5, 0.9), (7, 0.8)]
    assert len({mark.get_marker() for mark in marks}) == 3
    drawn = [bar.lines[0].get_ydata()[0] for bar in fig.axes[1].containers]
    assert drawn == pytest.approx([61, 58, 57])


def test_without_early_stopping_last_and_fixed_are_one_epoch() -> None:
    fig, alt = hcmnet.checkpoint_curve(history(), {"best": SCORES["best"]}, "x")
    assert "best validation loss: epoch 6" in alt and "as released: epoch 7" in alt
    sizes = [m.get_markersize() for m in fig.axes[0].lines if m.get_linestyle() == "None"]
    assert sizes[1] > sizes[2], "or one would hide the other"
    assert alt.count("test score") == 1


@pytest.mark.parametrize("change", [{"fold": range(7)}, {"valid_loss": np.nan}], ids=str)
def test_a_history_of_something_else_is_refused(change) -> None:
    with pytest.raises(ParameterError, match="one fold"):
        hcmnet.checkpoint_curve(history().assign(**change), SCORES, "x")
    with pytest.raises(ParameterError, match="released"):
        hcmnet.checkpoint_curve(history(), {"released": SCORES["last"]}, "x")


def drawn_of(ax: plt.Axes, label: str) -> np.ndarray:
    handles, labels = ax.get_legend_handles_labels()
    return np.round(handles[labels.index(label)].lines[0].get_ydata().astype(float), 6)


def test_curves_run_over_signal_and_over_steps() -> None:
    fig, _ = DRAW["personalisation_curves"]()
    signal, coins, steps, _ = fig.axes
    assert list(drawn_of(signal, "all weights")) == [63, 65, 67], "at 20 steps"
    assert list(drawn_of(steps, "all weights")) == [61.3, 62.5, 67], "at 3 windows"
    assert list(drawn_of(coins, "head only")) == [49, 51, 53]
    assert list(drawn_of(steps, "batch norm only, no labels")) == [54], "no step of training"
    ticks = [[t.get_text() for t in ax.get_xticklabels()] for ax in (signal, steps)]
    assert ticks == [["10", "20", "30"], ["0", "1", "5", "20"]]


def test_every_panel_has_chance_and_the_network_as_it_was() -> None:
    fig, _ = hcmnet.personalisation_curves(curves(), "x", "random", chance=1 / 3)
    for ax, chance, before in zip(fig.axes, (1 / 3, 0.5) * 2, (55, 45) * 2, strict=True):
        handles, labels = ax.get_legend_handles_labels()
        lines = {label: h for h, label in zip(handles, labels, strict=True)}
        assert lines["chance"].get_ydata()[0] == pytest.approx(100 * chance)
        assert lines["not adapted"].get_ydata()[0] == pytest.approx(before)
    assert len({bar.lines[0].get_marker() for bar in fig.axes[0].containers}) == 4
    assert "random windows" in fig.get_suptitle()
    fig, alt = hcmnet.personalisation_curves(curves().query("not placebo"), "x")
    assert "On coin flips: not recorded." in alt
    assert [t.get_text() for t in fig.axes[1].texts] == ["not recorded"]


def test_there_is_a_mark_per_subject_over_the_band_of_the_coins() -> None:
    (ax,) = DRAW["subject_strips"]()[0].axes
    marks = [line for line in ax.lines if len(line.get_xdata()) == 6]
    assert len(marks) == len({line.get_marker() for line in marks}) == 2
    assert list(marks[0].get_xdata()) == pytest.approx([60, 64, 68, 72, 76, 80])
    low, high = ax.patches[0].get_x() + np.array([0, ax.patches[0].get_width()])
    assert [low, high] == pytest.approx(np.percentile([40, 44, 48, 52, 56, 60], [2.5, 97.5]))


def test_strips_are_of_the_seeds_that_all_have() -> None:
    rows = pd.concat([scores_of(like_everyone(6, 0.6), 0), scores_of(like_everyone(6, 0.9), 1)])
    coins = pd.concat([COINS, scores_of(like_everyone(6, 0.1), 2, placebo=True)])
    hrv = scores_of(like_everyone(6, 0.7), 5, estimator="hrv_logistic")
    _, alt = hcmnet.subject_strips({"network": rows, "heart": hrv}, coins, "x")
    assert "network: mean 60 %" in alt and "heart: mean 70 %" in alt, "its seed changes nothing"
    assert "band of 40 to 60 %" in alt and "mean of 1 seed," in alt
    with pytest.raises(DataError, match="x: no seed is in all"):
        hcmnet.subject_strips({"network": rows.query("seed == 1")}, coins, "x")
    with pytest.raises(DataError, match="no subject has coins of both sides"):
        hcmnet.subject_strips({"network": rows}, scores_of(ONE_SIDE, placebo=True), "x")


def test_confusions_stand_side_by_side_in_per_cent() -> None:
    three, four, _ = DRAW["confusions"]()[0].axes
    assert [text.get_text() for text in three.texts] == "80 10 10 20 60 20 50 0 50".split()
    assert len(four.texts) == 16
    assert [text.get_text() for text in three.get_yticklabels()] == ["rest", "city", "highway"]


def test_probes_are_drawn_trained_and_untrained() -> None:
    fig, _ = DRAW["probe_figure"]()
    left, right = fig.axes
    assert [bar.has_yerr for bar in left.containers] == [True] * 6
    assert list(drawn_of(left, "RMSSD")) == pytest.approx([0.3, 0.4, 0.5])
    untrained = [b.lines[0] for b in left.containers if b.lines[0].get_markerfacecolor() == "white"]
    assert [list(line.get_ydata()) for line in untrained] == [pytest.approx([0.1, 0.2, 0.3])] * 3
    assert list(drawn_of(right, "subject, accuracy")) == pytest.approx([0.6, 0.7, 0.8])
    chances = [line.get_ydata()[0] for line in right.lines if "chance" in line.get_label()]
    assert chances == [0.125, 0.5]


def test_probes_are_of_one_experiment_and_stay_in_the_panel() -> None:
    rows = probe_rows()
    with pytest.raises(ParameterError, match="dataset"):
        hcmnet.probe_figure(pd.concat([rows, rows.assign(dataset="wesad")]), "x")
    rows.loc[(rows["target"] == "sdnn") & (rows["metric"] == "r2"), "value"] -= 7
    fig, alt = hcmnet.probe_figure(rows, "x")
    assert list(drawn_of(fig.axes[0], "SDNN")) == [-1, -1, -1]
    assert "there or below" in fig.axes[0].texts[0].get_text()
    assert "SDNN, trained: CNN -6.70" in alt, "the words have the number"
