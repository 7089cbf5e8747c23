"""Figures of NMoE: what they draw, what they refuse, what their words say."""

from __future__ import annotations

import re
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from builders import scores_of, spread_out
from hypothesis import given, settings
from hypothesis import strategies as st
from legible import assert_legible
from matplotlib.patches import FancyBboxPatch

from affectbook import results
from affectbook.chapters import nmoe, nmoe_leads
from affectbook.errors import DataError, ParameterError
from affectbook.models.ecg_fm import ECGFM
from affectbook.models.leads import LEAD_INPUTS, LEADS, TwelveLeads
from affectbook.models.nmoe import GATES, NMoE
from affectbook.scoring import SCORE_COLUMNS

pytestmark = pytest.mark.usefixtures("drawing")

SFREQ, N_TIMES = 500, 320
TINY = {"hidden": 32, "n_layers": 4, "n_heads": 2, "ffn": 48, "conv": 8}
VARIANTS = {"published": 0.6, "published+lora": 0.63, "published+full_fine_tuning": 0.55}
COSTS = pd.DataFrame({
    "variant": [*VARIANTS, "published+nobody_ran"], "weights": [1012, 2500, 1_450_000, 7],
    "ms": [2.5, 310.0, np.nan, 1.0],
})  # fmt: skip


def backbone(**sizes: int) -> ECGFM:
    torch.manual_seed(0)
    return ECGFM(**TINY | sizes)


def network(gate: str = "static", **given: object) -> NMoE:
    torch.manual_seed(0)
    return NMoE(**{"n_outputs": 5, "n_layers": 4, "hidden": 32, "gate": gate} | given)


def beats() -> np.ndarray:
    """Return a window (1, t) that is silent but for three peaks."""
    time = np.arange(N_TIMES)
    return sum(np.exp(-0.02 * (time - at) ** 2) for at in (50, 150, 260))[None]


def embeddings() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return embeddings of six windows, and those of three changes of known size."""
    rng = np.random.default_rng(0)
    one = rng.standard_normal((6, 4, 400))
    own = rng.standard_normal(one.shape)
    return one, {"nothing": one, "little": one + 0.01 * own, "other windows": one[::-1]}


def rows(**where: object) -> pd.DataFrame:
    own = {"paper": "nmoe", "estimator": "nmoe", "protocol": "group_kfold_subject"} | where
    return pd.concat([scores_of(spread_out(8, right - 0.1, right + 0.1, 40), 0,
                                **own | {"variant": variant})
                      for variant, right in VARIANTS.items()])  # fmt: skip


DRAW = {
    "data_flow": lambda: nmoe.data_flow(backbone(), network(), N_TIMES),
    "zero_filled": lambda: nmoe.zero_filled(beats(), SFREQ),
    "surviving_leads": nmoe.surviving_leads,
    "scale_invariance": lambda: nmoe.scale_invariance(*embeddings()),
    "tuning": lambda: nmoe.tuning(rows(), COSTS, "What is trained"),
}
SAID = {
    "data_flow": ["1 by 320 (leads × samples)", "in the place of lead II, eleven of zeros): 12 by",
                  "4 convolutions, kernel 2, step 2", "8 by 20 (filters", "4 by 20 by 32 (layers",
                  "mean over tokens (computed once, and kept): 4 by 32", "4 weights; head (32 → 256"
                  " → 64 → 5; batch norm, ReLU; dropout 0.2): 5 (logits)", "mixed: 1, 2, 3, 4."],
    "zero_filled": ["320 samples at 500 Hz", "11 of 12 rows are zero, the signal is in II;",
                    "copied to all twelve: 0 of 12 rows are zero"],
    "surviving_leads": ["12 leads", "probability 0.5", "0: 0.024 %, 1: 0.29 %", "6: 23 %",
                        "None or one is left in 0.32 %", "6 on the mean"],
    "scale_invariance": ["6 windows, 4 layers", "nothing: 0 to 0;", "little: 0.00"],
    "tuning": ["new subjects", "frozen, gate, 1,012 weights, 2.5 ms a step: ", "LoRA, 2,500 weigh",
               "full fine-tuning, 1,450,000 weights: ", "Chance 50 %."],
}  # fmt: skip
LABELS = {
    "data_flow": set(),
    "zero_filled": {"time (s)", "lead; rows are 1.1 apart\n(deviations of the window)"},
    "surviving_leads": {"leads of 12 that are not zeroed", "windows of pretraining (%)"},
    "scale_invariance": {"distance to the window as it was (distance between two windows = 1)"},
    "tuning": {"weights that are trained", "balanced accuracy (%)"},
}
every = pytest.mark.parametrize("name", DRAW)


@every
def test_each_says_its_numbers_labels_its_axes_and_can_be_read(name, tmp_path) -> None:
    fig, alt = DRAW[name]()
    assert "\n" not in alt and alt.endswith(".") and "nan" not in alt
    assert [words for words in SAID[name] if words not in alt] == []
    labels = {label for ax in fig.axes for label in (ax.get_xlabel(), ax.get_ylabel())}
    assert labels - {""} == LABELS[name]
    assert round(100 * fig.get_size_inches()[0]) == 720
    assert_legible(fig)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig.savefig(tmp_path / "figure.png")


def test_every_public_function_is_tested() -> None:
    assert set(nmoe.__all__) == set(DRAW)
    assert set(nmoe_leads.__all__) <= set(nmoe.__all__)


REFUSED = {
    "no samples": (DataError, lambda: nmoe.data_flow(backbone(), network(), 0)),
    "too short": (ParameterError, lambda: nmoe.data_flow(backbone(), network(), 15)),
    "other layers": (ParameterError, lambda: nmoe.data_flow(backbone(n_layers=3), network(), 99)),
    "other features": (ParameterError, lambda: nmoe.data_flow(backbone(hidden=64), network(), 99)),
    "another lead": (ParameterError, lambda: nmoe.data_flow(backbone(), network(), 99, "V1")),
    "two leads": (DataError, lambda: nmoe.zero_filled(np.zeros((2, 9)), SFREQ)),
    "no window": (DataError, lambda: nmoe.zero_filled(np.zeros((1, 0)), SFREQ)),
    "no numbers": (DataError, lambda: nmoe.zero_filled(np.full((1, 9), np.nan), SFREQ)),
    "no leads": (ParameterError, lambda: nmoe.surviving_leads(0)),
    "certain": (ParameterError, lambda: nmoe.surviving_leads(12, 1.0)),
    "no change": (DataError, lambda: nmoe.scale_invariance(embeddings()[0], {})),
    "one window": (DataError, lambda: nmoe.scale_invariance(np.ones((1, 2, 3)), {"a": 0})),
    "equal windows": (DataError, lambda: nmoe.scale_invariance(np.ones((2, 2, 3)), {"a": 0})),
    "shape": (DataError, lambda: nmoe.scale_invariance(embeddings()[0], {"a": np.ones(3)})),
    "no rows": (DataError, lambda: nmoe.tuning(pd.DataFrame(columns=SCORE_COLUMNS), COSTS, "t")),
    "no costs": (DataError, lambda: nmoe.tuning(rows(), COSTS.iloc[3:], "title")),
    "coins only": (DataError, lambda: nmoe.tuning(rows(placebo=True), COSTS, "title")),
    "two splits": (ParameterError, lambda: nmoe.tuning(
        pd.concat([rows(), rows(protocol="blocked_within_trial")]), COSTS, "title")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_drawn_is_refused_before_there_is_a_figure(name) -> None:
    kind, draw = REFUSED[name]
    plt.close("all")
    with pytest.raises(kind):
        draw()
    assert not plt.get_fignums()


def numbers(alt: str) -> tuple[int, int, list[int]]:
    """Return weights that are frozen, those that are trained, and those of each box."""
    frozen, trained = re.search(r"([\d,]+) weights frozen, ([\d,]+) trained", alt).groups()
    found = [one.replace(",", "") for one in re.findall(r"([\d,]+) weights[;.]", alt)]
    return int(frozen.replace(",", "")), int(trained.replace(",", "")), list(map(int, found))


def count(*modules: torch.nn.Module) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


@pytest.mark.parametrize("lead", LEAD_INPUTS)
@pytest.mark.parametrize("gate", GATES)
def test_boxes_hold_all_weights_and_those_that_are_trained_are_told_apart(gate, lead) -> None:
    below, above = backbone(), network(gate, widths=(6,))
    fig, alt = nmoe.data_flow(below, above, N_TIMES, lead)
    frozen, trained, boxes = numbers(alt)
    assert frozen == count(below) and trained == count(above, TwelveLeads(lead))
    assert sum(boxes) == frozen + trained and len(boxes) == 9
    turned = [text.get_text() for text in fig.axes[0].texts if text.get_rotation() == 90]
    assert turned == [f"frozen: {frozen:,} weights", f"trained: {count(above):,}"]
    tokens = "gate (softmax of a map of each token): 20 by 32 (tokens × features)"
    assert (tokens in alt) == (gate == "token")
    order = alt.index("mean over tokens") > alt.index(f"{gate} gate")
    assert order == (gate == "token"), "tokens are weighed before they are pooled"


def test_the_published_sizes_are_drawn_without_being_computed() -> None:
    with torch.device("meta"):
        whole = ECGFM()
    fig, alt = nmoe.data_flow(whole, NMoE(n_outputs=5))
    assert numbers(alt)[:2] == (90_373_248, 214_289)
    assert "12 by 156 by 768 (layers × tokens × features)" in alt
    assert_legible(fig)


def test_only_layers_that_are_mixed_have_a_line_and_words_stay_in_their_boxes() -> None:
    above = network(layers=(3, 4), normalise="layer_norm", widths=())
    fig, alt = nmoe.data_flow(backbone(), above, N_TIMES)
    ax = fig.axes[0]
    fig.canvas.draw()
    assert "mixed: 3, 4." in alt and "layer norm of each; softmax" in alt and "(32 → 5): 5" in alt
    assert sum(line.get_linewidth() == 1 for line in ax.lines) == 2
    frames = [patch.get_window_extent() for patch in ax.patches
              if isinstance(patch, FancyBboxPatch)]  # fmt: skip
    assert len(frames) == 9 + 4
    for text in ax.texts:
        words = text.get_window_extent().padded(-1)
        for frame in frames:
            inside = frame.contains(*words.p0) and frame.contains(*words.p1)
            assert inside or not frame.overlaps(words), text.get_text()


def test_modules_are_left_as_they_were() -> None:
    below, above = backbone(), network()
    above.train()
    before = {name: value.clone() for name, value in above.state_dict().items()}
    nmoe.data_flow(below, above, N_TIMES)
    assert above.training and not below.training
    assert all(torch.equal(value, before[name]) for name, value in above.state_dict().items())
    assert not [1 for module in (below, above) for part in module.modules() if part._forward_hooks]


def test_rows_are_what_the_network_gets() -> None:
    fig, _ = DRAW["zero_filled"]()
    for ax, way in zip(fig.axes, ("lead_II", "copied"), strict=True):
        drawn = np.stack([line.get_ydata() for line in ax.lines])
        rows_at = np.arange(len(LEADS))[:, None] * -drawn[-1, 0] / (len(LEADS) - 1)
        expected = TwelveLeads(way)(torch.as_tensor(beats())[None])[0].numpy()
        np.testing.assert_allclose(drawn + rows_at, expected, atol=1e-5)
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == list(LEADS)


@given(n_leads=st.integers(1, 15), zeroed=st.floats(0.05, 0.95))
@settings(max_examples=10)
def test_bars_are_a_distribution_with_its_mean(n_leads, zeroed) -> None:
    fig, _ = nmoe.surviving_leads(n_leads, zeroed)
    shares = np.array([bar.get_height() for bar in fig.axes[0].patches])
    plt.close(fig)
    assert len(shares) == n_leads + 1 and shares.sum() == pytest.approx(100)
    assert shares @ np.arange(n_leads + 1) == pytest.approx(100 * n_leads * (1 - zeroed))


def test_none_and_one_are_marked() -> None:
    fig, _ = nmoe.surviving_leads()
    bars = fig.axes[0].patches
    assert [bar.get_height() for bar in bars[:2]] == pytest.approx([100 / 4096, 1200 / 4096])
    looks = [(bar.get_facecolor(), bar.get_hatch()) for bar in bars]
    assert len({looks[0], looks[1], *looks[2:]}) == 3 and len(set(looks[2:])) == 1


def test_distances_are_in_units_of_the_distance_between_windows() -> None:
    fig, alt = DRAW["scale_invariance"]()
    told = dict(re.findall(r"(nothing|little|other windows): ([\d.e-]+) to", alt))
    assert told["nothing"] == "0" and float(told["other windows"]) == pytest.approx(1, abs=0.1)
    # Two independent windows are farther apart by the root of two.
    assert float(told["little"]) == pytest.approx(0.01 / np.sqrt(2), rel=0.1)
    marks = fig.axes[0].lines
    assert [len(line.get_xdata()) for line in marks[1:6:2]] == [4, 4, 4]


def test_an_offset_of_one_lead_is_gone_and_its_size_but_for_the_epsilon() -> None:
    below, leads = backbone(), TwelveLeads()
    rng = np.random.default_rng(0)
    x = torch.as_tensor(np.cumsum(rng.standard_normal((3, 1, N_TIMES)), -1)).float()
    x = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)

    def seen(windows: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            return below.pooled(leads(windows)).transpose(0, 1).numpy()

    def told() -> dict[str, float]:
        changed = {"shifted": seen(x + 3), "smaller": seen(0.01 * x)}
        alt = nmoe.scale_invariance(seen(x), changed)[1]
        return {name: float(re.search(rf"{name}: \S+ to (\S+)[;.]", alt)[1]) for name in changed}

    assert told()["shifted"] < 1e-4 and told()["smaller"] > 0.01
    next(one for one in below.modules() if isinstance(one, torch.nn.GroupNorm)).eps = 1e-12
    assert max(told().values()) < 1e-3


def test_scores_are_intervals_of_the_variants_that_have_costs() -> None:
    fig, alt = DRAW["tuning"]()
    ax = fig.axes[0]
    drawn = [container.lines[0].get_ydata()[0] for container in ax.containers]
    expected = [100 * results.interval(results.select(rows(), variant=one)).value
                for one in VARIANTS]  # fmt: skip
    assert drawn == pytest.approx(expected) and "nobody" not in alt
    places = [container.lines[0].get_xdata()[0] for container in ax.containers]
    assert places == pytest.approx(COSTS["weights"][:3], rel=0.06) and ax.get_xscale() == "log"
    assert "1,450,000 weights, " not in alt, "nobody measured its step"
    looks = {(one.lines[0].get_color(), one.lines[0].get_marker()) for one in ax.containers}
    assert len(looks) == 3
