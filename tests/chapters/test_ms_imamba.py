"""Figures of the chapter on MS-iMamba: what they draw, what they refuse, what their words say."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from itertools import permutations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from affectbook.chapters import dependencies, eeg_windows, electrodes, ms_imamba, periods
from affectbook.errors import DataError, ParameterError
from affectbook.models.ms_imamba import MSiMamba
from affectbook.models.periods import amplitudes, chosen

pytestmark = pytest.mark.usefixtures("drawing")

NAMES, SFREQ, N_TIMES = ["Fp1", "Fp2", "F3", "F4"], 64, 64
SMALL = {"hidden": 2, "d_model": 8, "d_state": 2}


def network(**options: object) -> MSiMamba:
    torch.manual_seed(0)
    return MSiMamba(4, N_TIMES, 2, **(SMALL | options))


def window() -> np.ndarray:
    """Return a second at four electrodes: 10 Hz, weaker 4 Hz, weakest 13 Hz, another phase each."""
    t = np.arange(N_TIMES) / SFREQ
    waves = ((10, 20), (4, 12), (13, 6))
    return np.array([sum(a * np.sin(2 * np.pi * (f * t + c / 5)) for f, a in waves)
                     for c in range(4)])  # fmt: skip


def scores() -> pd.DataFrame:
    """Return three seeds of each order: "3210" is best, "0132" worst; seeds are 1 point apart."""
    rows = [(order, seed, 0.6 + 0.1 * (order == "3210") - 0.1 * (order == "0132") + 0.01 * seed)
            for order in map("".join, permutations("0123")) for seed in (0, 1, 2)]  # fmt: skip
    return pd.DataFrame(rows, columns=["order", "seed", "value"])


CYCLES = {
    "low": np.array([[6, 5, 4]] * 3 + [[4, 8, 20]]),  # 11 of 12 choices are of 4 to 8 Hz
    "high": np.array([[60, 50, 40], [30, 10, 2]]),  # periods of 3, 3 and 4 samples; of 5, 13, 64
}
SETS = {
    "frontal": ["FP1", "fp2", "F3", "F4"],
    "old names": ["T3", "T4", "T5", "T6"],
    "all": ["Fp1", "Fp2", "F3", "F4", "T7", "T8", "P7", "P8", "Cz", "CB1"],
}
CAUSAL = np.array([[4.0, 0, 0, 0], [2, 4, 0, 0], [1, 1, 4, 0], [1, 1, 1, 4]])
BOTH = {"forward": CAUSAL, "by electrode": np.ones((2, 4))}
DRAW = {
    "block_diagram": lambda: ms_imamba.block_diagram(network(), 4, N_TIMES),
    "token_figure": lambda: ms_imamba.token_figure(window(), SFREQ, NAMES, patch=10),
    "foldings": lambda: ms_imamba.foldings(window(), SFREQ, NAMES, title="A window", channel=2),
    "period_histogram": lambda: ms_imamba.period_histogram(CYCLES, 128, 128, "Two sets"),
    "scalp_map": lambda: ms_imamba.scalp_map(SETS, "Sets of one data set"),
    "dependency_matrix": lambda: ms_imamba.dependency_matrix(BOTH, NAMES, "Layers"),
    "electrode_orders": lambda: ms_imamba.electrode_orders(scores(), NAMES, "Orders"),
}
SAID = {
    "block_diagram": ["3 of 4 by h by p", "p = ⌈64 / f⌉", "softmax weights", "transpose; a token",
                      "4 by 8 (tokens by features)", "Mamba over the tokens (forward)",
                      "32 (features)", "Residuals go round MSTB, layer 1, layer 2.", "amplitudes"],
    "token_figure": ["4 electrodes and 64 samples", "time step: 64 tokens of 4",
                     "an electrode: 4 tokens of 64", "a patch: 28 tokens of 10", "156 ms"],
    "foldings": ["A window. 4 electrodes, 1 s at 64 Hz", "10 Hz, period 7 samples, image of 10 by",
                 "4 Hz, period 16 samples, image of 4 by 16; 13 Hz, period 5 samples", "3 highest",
                 "F3 laid out", "shortest period: 3.20"],
    "period_histogram": ["low: 92 % of all choices lie between 4 and 8 Hz, a window has 3.0 diff",
                         "in 75 % of 4 windows", "high: 0 %", "2.5 different", "50 % of 2 windows"],
    "scalp_map": ["frontal: FP1, fp2, F3, F4", "old names: T3, T4, T5, T6", "not drawn: CB1."],
    "dependency_matrix": ["forward: 6 of 16 cells are exactly 0 (Fp1 3, Fp2 2, F3 1 of 4); the "
                          "largest beside the diagonal is 50.0 %",
                          "by electrode: 0 of 8 cells are exactly 0."],
    "electrode_orders": ["24 orders, 3 seeds", "Best: F4 F3 Fp2 Fp1, 71.0 %; worst: Fp1 Fp2 F4 F3, "
                         "51.0 %; default: Fp1 Fp2 F3 F4, 61.0 %", "20.0 points apart",
                         "seeds of one order is 1.00 points", "means one of 0.58"],
}  # fmt: skip
TIME, ROWS = "time (s)", "sample in the patch"
LABELS = {
    "block_diagram": set(),
    "token_figure": {TIME, "electrode (rows 5 SD apart)", "token", "number in the token",
                     "z-score of the electrode"},
    "foldings": {TIME, "electrode (rows 80 µV apart)", "frequency (Hz)", "amplitude (µV)", "patch",
                 ROWS, "F3 (µV)"},
    "period_histogram": {"frequency (Hz)"},
    "scalp_map": set(),
    "dependency_matrix": {"token out", "in",
                          "mean absolute derivative, % of the largest (0, white: exactly none)"},
    "electrode_orders": {"order of the scan (bold: the default)", "balanced accuracy (%)"},
}  # fmt: skip
every = pytest.mark.parametrize("name", DRAW)


def texts_of(fig: plt.Figure) -> list[Text]:
    """Return all words of a figure but those at ticks, which are there without being drawn."""
    found = [*fig.texts, *(text for legend in fig.legends for text in legend.get_texts())]
    for ax in fig.axes:
        legend = ax.get_legend()
        found += [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label]
        found += legend.get_texts() if legend else []
    return [text for text in found if text.get_text().strip()]


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


def test_every_public_function_that_draws_is_tested() -> None:
    modules = (dependencies, eeg_windows, electrodes, periods, ms_imamba)
    drawing = {name for module in modules for name, value in vars(module).items()
               if getattr(value, "__annotations__", {}).get("return") == "Drawn"
               and value.__module__ == module.__name__}  # fmt: skip
    assert drawing == set(DRAW)
    assert {name for module in modules[:-1] for name in module.__all__} <= set(ms_imamba.__all__)


EMPTY = {
    "block_diagram": lambda: ms_imamba.block_diagram(network(), 4, 0),
    "token_figure": lambda: ms_imamba.token_figure(np.zeros((0, 64)), SFREQ, []),
    "foldings": lambda: ms_imamba.foldings(np.zeros((4, 0)), SFREQ, NAMES),
    "period_histogram": lambda: ms_imamba.period_histogram({"x": np.zeros((0, 3))}, 128, 128, ""),
    "period_table": lambda: ms_imamba.period_table({}, 128, 128),
    "scalp_map": lambda: ms_imamba.scalp_map({"none": []}, "x"),
    "dependency_matrix": lambda: ms_imamba.dependency_matrix({}, NAMES, "x"),
    "electrode_dependencies": lambda: ms_imamba.electrode_dependencies(
        network(), np.zeros((0, 4, N_TIMES))),
    "electrode_orders": lambda: ms_imamba.electrode_orders(scores().iloc[:0], NAMES, "x"),
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_of_nothing_there_is_one_message_and_no_figure(name) -> None:
    plt.close("all")
    with pytest.raises(DataError, match="there (is|are) no "):
        EMPTY[name]()
    assert not plt.get_fignums()


def test_nothing_loads_torch_or_mne_before_it_is_needed() -> None:
    loaded = "[name for name in ('torch', 'mne') if name in sys.modules]"
    code = f"import sys, affectbook.chapters.ms_imamba; print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


OPTIONS = [{}, {"mstb": 0}, {"mstb": 2}, {"tsfb": False}, {"mstb": 0, "tsfb": False},
           {"embedding": "R1"}, {"embedding": "R3"}, {"embedding": "normal"}, {"k": 1},
           {"mixer": "attention"}, {"mixer": "mlp"}, {"mixer": "identity"}, {"n_layers": 3},
           {"direction": "both"}, {"order": (3, 2, 1, 0)}, {"rounding": "floor"}]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_blocks_hold_all_weights_of_the_network(options) -> None:
    model = network(**options)
    alt = ms_imamba.block_diagram(model, 4, N_TIMES)[1]
    total, *blocks = (int(n.replace(",", "")) for n in re.findall(r"([\d,]+) weights", alt))
    assert total == sum(blocks) == sum(weight.numel() for weight in model.parameters())


def test_the_declared_reading_has_the_shapes_and_weights_of_its_docstring() -> None:
    alt = ms_imamba.block_diagram(MSiMamba(4, 128, 2), 4, 128)[1]
    told = ["324,698 weights", "3 of 32 by h by p", "16,512 weights", "116,736 weights",
            "512 (features)", "2 (logits), 1,026 weights"]  # fmt: skip
    assert [words for words in told if words not in alt] == []


def test_the_diagram_leaves_out_what_a_variant_lacks() -> None:
    def told(**options: object) -> str:
        return ms_imamba.block_diagram(network(**options), 4, N_TIMES)[1]

    alt = told(mstb=0, mixer="identity")
    assert "MSTB" not in alt and "inception" not in alt and "Residuals go round none." in alt
    alt = told(tsfb=False)
    assert "layer 1" not in alt and "tokens" not in alt and "256 (features)" in alt
    assert "amplitudes of the spectrum" not in told(weights="equal")
    assert "⌊64 / f⌋, h = ⌈64 / p⌉" in told(rounding="floor")
    assert "transpose" not in told(embedding="normal") and "time step" in told(embedding="normal")
    assert "(backward)" in told(direction="backward")
    assert "order 3 2 1 0; a token is an electrode" in told(order=(3, 2, 1, 0))


def test_the_diagram_refuses_other_windows_and_leaves_the_network_as_it_was() -> None:
    model = network().train()
    with pytest.raises(ParameterError, match="no windows of 4 electrodes and 50 samples"):
        ms_imamba.block_diagram(model, 4, 50)
    assert model.training
    assert not [1 for module in model.modules() if module._forward_hooks]


def test_as_many_tokens_are_framed_as_there_are() -> None:
    fig, _ = DRAW["token_figure"]()
    steps, rows, patches = fig.axes[:3]
    thin = [[p for p in ax.patches if isinstance(p, Rectangle) and 0 < p.get_linewidth() < 1]
            for ax in (steps, rows, patches)]  # fmt: skip
    assert [len(found) for found in thin] == [18, 4, 28]
    assert {round(p.get_width(), 4) for p in thin[0]} == {round(1 / SFREQ, 4)}
    assert {round(p.get_width(), 4) for p in thin[2]} == {round(10 / SFREQ, 4)}
    assert [t.get_text() for t in rows.texts] == ["1", "3", "4"]
    shapes = [image.get_array().shape for ax in fig.axes[3:6] for image in ax.images]
    assert shapes == [(64, 4), (4, 64), (28, 10)]


def test_the_foldings_are_those_of_the_network() -> None:
    x = window()
    fig, _ = DRAW["foldings"]()
    images = [ax.images[0].get_array() for ax in fig.axes if ax.images]
    assert [image.shape for image in images] == [(10, 7), (4, 16), (13, 5)]
    for image in images:
        flat = np.ma.filled(image, np.nan).ravel()
        np.testing.assert_allclose(flat[:N_TIMES], x[2])
        assert np.isnan(flat[N_TIMES:]).all()
    marked = [line.get_xdata()[0] for line in fig.axes[1].lines if len(line.get_xdata()) == 1]
    wanted = chosen(amplitudes(torch.as_tensor(x)[None]), 3)[0].tolist()
    assert marked == wanted == [10, 4, 13]
    peak = fig.axes[1].lines[0].get_ydata()[9]
    assert peak == pytest.approx(20), "the amplitude of the sine, in the unit of the signal"


def test_floor_gives_other_foldings_and_what_is_not_there_is_refused() -> None:
    alt = ms_imamba.foldings(window(), SFREQ, NAMES, k=1, rounding="floor")[1]
    assert "10 Hz, period 6 samples, image of 11 by 6." in alt
    for options in ({"channel": 4}, {"k": 99}, {"rounding": "up"}):
        with pytest.raises(ParameterError):
            ms_imamba.foldings(window(), SFREQ, NAMES, **options)
    with pytest.raises(ParameterError, match="patch is 65"):
        ms_imamba.token_figure(window(), SFREQ, NAMES, patch=65)
    with pytest.raises(DataError, match="not numbers"):
        ms_imamba.token_figure(window() * np.nan, SFREQ, NAMES)


def test_the_table_of_periods_counts_by_hand() -> None:
    weights = {"low": np.array([[0.5, 0.3, 0.2]] * 3 + [[0.9, 0.1, 0.0]])}
    low, high = ms_imamba.period_table(CYCLES, 128, 128, weights).to_dict("records")
    assert low["windows"] == 4 and low["strongest (median Hz)"] == 6
    assert (low["second (median Hz)"], low["third (median Hz)"]) == (5, 4)
    assert low["choices from 4 to 8 Hz (share)"] == pytest.approx(11 / 12)
    assert low["periods within a factor of 2 (share of windows)"] == 0.75
    assert low["different periods (mean of windows)"] == 3
    assert low["largest weight (mean)"] == pytest.approx(0.6)
    assert high["different periods (mean of windows)"] == 2.5, "3, 3 and 4 samples; 5, 13 and 64"
    assert np.isnan(high["largest weight (mean)"])
    assert "largest weight (mean)" not in ms_imamba.period_table(CYCLES, 128, 128)
    (twice,) = ms_imamba.period_table({"x": np.array([[8, 4]])}, 256, 256).to_dict("records")
    assert twice["periods within a factor of 2 (share of windows)"] == 0, "8 is just twice 4"
    (slow,) = ms_imamba.period_table({"x": np.array([[8, 4]])}, 128, 256).to_dict("records")
    assert slow["strongest (median Hz)"] == 4, "a window of two seconds"


@pytest.mark.parametrize("cycles", [[[0, 1, 2]], [[1, 2, 65]], [1, 2, 3]], ids=str)
def test_what_are_no_cycles_per_window_is_refused(cycles) -> None:
    with pytest.raises(DataError, match="x: "):
        ms_imamba.period_table({"x": np.array(cycles)}, 128, 128)


def test_each_bar_is_the_share_of_windows_that_choose_it() -> None:
    fig, _ = DRAW["period_histogram"]()
    strongest, second, third = fig.axes[0].containers
    heights = {round(b.get_x() + b.get_width() / 2): b.get_height() for b in strongest}
    assert heights[6] == 75 and heights[4] == 25 and heights[5] == 0
    tops = {round(b.get_x() + b.get_width() / 2): b.get_y() + b.get_height() for b in third}
    assert tops[4] == 100, "all choose 4 Hz, first or third" and len(second)
    assert len({bar[0].get_hatch() for bar in fig.axes[0].containers}) == 3


def test_electrodes_lie_where_the_10_20_system_has_them() -> None:
    places = electrodes._places()
    assert np.hypot(*places["cz"]) < 0.1
    assert places["fpz"][1] == pytest.approx(0.8, abs=0.1) and abs(places["fpz"][0]) < 0.05
    assert places["t7"][0] == pytest.approx(-0.8, abs=0.1) and places["oz"][1] < -0.7
    assert places["f3"][0] < 0 < places["f4"][0] and places["f3"][1] > 0 > places["p3"][1]


def test_used_electrodes_are_filled_and_named_and_the_others_open() -> None:
    fig, _ = DRAW["scalp_map"]()
    frontal, old, everyone = fig.axes
    places = electrodes._places()
    for ax, names, rest in ((frontal, ["Fp1", "Fp2", "F3", "F4"], 5),
                            (old, ["T7", "T8", "P7", "P8"], 5)):  # fmt: skip
        opened, filled = (line for line in ax.lines if line.get_marker() == "o")
        assert len(opened.get_xdata()) == rest and opened.get_markerfacecolor() == "white"
        wanted = np.array([places[name.lower()] for name in names])
        np.testing.assert_allclose(np.c_[filled.get_data()], wanted)
    assert [t.get_text() for t in old.texts] == ["T3", "T4", "T5", "T6"]
    assert (old.get_title(), everyone.get_title()) == ("old names (4)", "all (9 of 10)")
    assert len([line for line in everyone.lines if line.get_marker() == "o"]) == 1


def test_a_large_set_has_no_names_and_an_unknown_one_is_refused() -> None:
    many = [name for name in electrodes._places() if not name.startswith(("a", "m"))][:40]
    fig, alt = ms_imamba.scalp_map({"many": many}, "x")
    assert not fig.axes[0].texts and "many: 40 electrodes, without their names" in alt
    with pytest.raises(DataError, match="ears: no electrode has a known place .found: A2-A1"):
        ms_imamba.scalp_map({"ears": ["A2-A1"]}, "x")


@pytest.mark.parametrize(
    ("options", "sees"),
    [
        ({}, np.tril(np.ones((4, 4)))),
        ({"direction": "backward"}, np.triu(np.ones((4, 4)))),
        ({"direction": "both"}, np.ones((4, 4))),
        ({"mixer": "attention"}, np.ones((4, 4))),
        ({"mixer": "identity"}, np.eye(4)),
    ],
    ids=str,
)
def test_what_a_token_sees_of_the_others_is_exact(options, sees) -> None:
    found = ms_imamba.dependencies(network(**options).tsfb.layers, 4, 8)
    np.testing.assert_array_equal(found != 0, sees)


def test_the_first_electrode_is_alone_unless_the_mstb_mixes_before() -> None:
    x = window()[None] / 15
    alone = ms_imamba.electrode_dependencies(network(mstb=0), x)
    assert alone.shape == (4, 4) and (alone[0, 1:] == 0.0).all() and alone[0, 0] > 0
    assert (ms_imamba.electrode_dependencies(network(), x) > 0).all()
    turned = ms_imamba.electrode_dependencies(network(mstb=0, order=(3, 2, 1, 0)), x)
    assert turned[0, 3] > 0 and (turned[0, :3] == 0).all(), "the first token is the last electrode"
    assert ms_imamba.electrode_dependencies(network(tsfb=False), x).shape == (4, 4)
    patches = ms_imamba.electrode_dependencies(network(embedding="R3", mstb=0), x)
    np.testing.assert_array_equal(patches != 0, np.repeat(np.tril(np.ones((4, 4))), 4, 0))


def test_a_linear_layer_depends_as_its_matrix_says() -> None:
    mixing = torch.tensor([[1.0, -2.0], [0.0, 3.0]], dtype=torch.float64)

    class Linear(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.einsum("ij,bjd->bid", mixing, x)

    found = ms_imamba.dependencies(Linear(), 2, 5)
    np.testing.assert_allclose(found, mixing.abs() / 5)  # one feature of five, the same one
    again = network().tsfb.layers.train()
    first, second = (ms_imamba.dependencies(again, 4, 8, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert again.training and next(again.parameters()).dtype == torch.float32
    with pytest.raises(ParameterError, match="d_model 0"):
        ms_imamba.dependencies(again, 4, 0)


def test_the_jacobian_is_that_of_autograd() -> None:
    layers = network().tsfb.layers.double()
    x = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = torch.autograd.functional.jacobian(layers, x)[0, :, :, 0].abs().mean((1, 3))
    found = ms_imamba.dependencies(layers, 4, 8, n_inputs=1)  # all 8 features: less than 16
    np.testing.assert_allclose(found, wanted)


def test_exact_zeros_have_a_0_in_their_cell_and_small_numbers_do_not() -> None:
    matrix = np.array([[1.0, 0.0], [1e-6, 0.5]])
    fig, _ = ms_imamba.dependency_matrix({"x": matrix}, ["a", "b"], "x")
    assert [text.get_text() for text in fig.axes[0].texts] == ["100", "0", "<.1", "50"]
    np.testing.assert_array_equal(fig.axes[0].images[0].get_array().mask, matrix == 0)
    large = ms_imamba.dependency_matrix({"x": np.eye(32)}, ["a"], "x")[0].axes[0]
    assert not large.texts and large.get_xticklabels()[-1].get_text() == "32"
    for bad in (np.zeros((2, 2)), np.full((2, 2), np.nan), np.ones(4)):
        with pytest.raises(DataError, match="x: this is no matrix"):
            ms_imamba.dependency_matrix({"x": bad}, ["a", "b"], "x")


def test_orders_are_sorted_and_the_band_is_that_of_the_default() -> None:
    fig, _ = DRAW["electrode_orders"]()
    (ax,) = fig.axes
    *seeds, means = ax.lines
    assert [len(line.get_xdata()) for line in seeds] == [24] * 3
    assert len({line.get_marker() for line in seeds}) == 3
    assert (np.diff(means.get_ydata()) >= 0).all()
    band = ax.patches[0]
    assert [band.get_y(), band.get_y() + band.get_height()] == pytest.approx([60, 62])
    labels = [label for label in ax.get_xticklabels() if label.get_weight() == "bold"]
    assert [label.get_text() for label in labels] == ["Fp1 Fp2 F3 F4"]


def test_orders_that_are_none_are_refused_and_one_seed_says_so() -> None:
    table = scores()
    for wrong in (table.assign(order=table["order"].replace("3210", "3211")),
                  pd.concat([table, table])):  # fmt: skip
        with pytest.raises(ParameterError, match="one score of a seed"):
            ms_imamba.electrode_orders(wrong, NAMES, "x")
    with pytest.raises(DataError, match="'0123'"):
        ms_imamba.electrode_orders(table.query("order != '0123'"), NAMES, "x")
    alt = ms_imamba.electrode_orders(table.query("seed == 0"), NAMES, "x")[1]
    assert "one score each does not tell order from luck" in alt and "nan" not in alt
