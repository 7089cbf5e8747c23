"""Figures of layers: what they draw of made-up probes, embeddings and gates, and what they say."""

from __future__ import annotations

import warnings
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from builders import CONTEXT, like_everyone, scores_of, spread_out
from legible import assert_legible

from affectbook import layer_probes, results
from affectbook.chapters import layer_gates, layers, ssl_ecg
from affectbook.chapters.layers import NAMES
from affectbook.errors import DataError, ParameterError
from affectbook.figures import Drawn
from affectbook.layer_probes import BEATS, EMOTION, METRICS, RECORDING, SUBJECT

pytestmark = pytest.mark.usefixtures("drawing")

N_LAYERS, N_SUBJECTS = 12, 8
OWN = {"paper": "nmoe", "dataset": "mand:ECG", "tier": "simulated", "seconds": 5.0}
ENDINGS = ["constant", *(f"layer_{k}" for k in range(1, N_LAYERS + 1))]


def told(name: str, ending: str, **more: object) -> dict[str, object]:
    later = name in (RECORDING, SUBJECT)
    protocol = "blocked_within_trial" if later else "group_kfold_subject"
    return OWN | {"estimator": name, "variant": f"published+{ending}", "protocol": protocol} | more


def regression(name: str, ending: str, r2: float) -> pd.DataFrame:
    """Return rows of a regression whose R2 of all windows is this one."""
    n, spread = 10, np.arange(N_SUBJECTS) - (N_SUBJECTS - 1) / 2
    rows = [("all", "all", "r2", r2, n * N_SUBJECTS)]
    total = n * (spread**2).sum()
    for i, own in enumerate(spread):
        sums = ((1 - r2) * total / N_SUBJECTS, n * own, n * own**2)
        rows += [("all", f"S{i:02d}", metric, value, n)
                 for metric, value in zip(layer_probes._SUMS, sums, strict=True)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["fold", "subject", "metric", "value", "n_test_windows"])
    table = table.assign(n_test_trials=1, seed=0, run_key="", **CONTEXT | told(name, ending))
    return table[results.SCORE_COLUMNS]


@cache
def probed() -> pd.DataFrame:
    """Return rows in which emotion rises with depth, recordings fall, and R2 has a hump."""
    parts = []
    for k, ending in enumerate(ENDINGS):
        emotion = 0.5 + 0.02 * k
        parts += [scores_of(spread_out(N_SUBJECTS, emotion - 0.1, emotion + 0.1, 100),
                            **told(EMOTION, ending))]  # fmt: skip
        parts += [scores_of(like_everyone(N_SUBJECTS, 0.95 - 0.05 * k if k else 0.1),
                            **told(name, ending)) for name in (RECORDING, SUBJECT)]  # fmt: skip
        parts += [regression(name, ending, (0.9 - 0.1 * i - 0.02 * (k - 6) ** 2) if k else -0.05)
                  for i, name in enumerate(BEATS)]  # fmt: skip
    coins = [scores_of(like_everyone(N_SUBJECTS, 0.5), placebo=True, **told(EMOTION, ending))
             for ending in ENDINGS]  # fmt: skip
    return pd.concat([*parts, *coins], ignore_index=True)


@cache
def weighed() -> pd.DataFrame:
    """Return weights of three gates in two folds of three seeds."""
    rng, rows = np.random.default_rng(0), []
    for gate, strength in (("uniform", 0.0), ("static", 1.0), ("dynamic", 0.5)):
        for seed in range(3):
            for fold in "01":
                scores = strength * (np.arange(N_LAYERS) / 6 + 0.2 * rng.standard_normal(N_LAYERS))
                weights = np.exp(scores) / np.exp(scores).sum()
                deviation = 0.03 if gate == "dynamic" else 0.0
                rows += [(gate, "group_kfold_subject", False, seed, fold, k, value, deviation)
                         for k, value in enumerate(weights, 1)]  # fmt: skip
    columns = ["gate", "protocol", "placebo", "seed", "fold", "layer", "weight", "deviation"]
    return pd.DataFrame(rows, columns=columns)


@cache
def embeddings() -> dict[str, np.ndarray]:
    """Return two backbones: one whose layers deviate more and more, and one like the other."""
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((50, N_LAYERS, 16)).astype(np.float32)
    offsets = rng.standard_normal((1, N_LAYERS, 16)).astype(np.float32)
    return {"mini": Z * np.arange(1, N_LAYERS + 1)[:, None] + 2, "random": 0.1 * Z + offsets}


def one_gate() -> pd.DataFrame:
    return results.select(weighed(), gate="static")


DRAW = {
    "profile": lambda: layers.profile(probed(), "Probes of the mini", one_gate()),
    "profile without a gate": lambda: layers.profile(probed(), "Probes of the mini"),
    "distributions": lambda: layers.distributions(embeddings(), "Layers of 50 windows"),
    "distributions of one": lambda: layers.distributions({"mini": embeddings()["mini"]}, "Layers"),
    "gates": lambda: layers.gates(weighed(), "Gates on the mini, twin of manD, new subjects"),
    "gates of one": lambda: layers.gates(one_gate(), "Gates", {"static": "softmax"}),
}
SAID = {
    "profile": [
        "mand:ECG (simulated), scale recorded, 1 seed",
        "Emotion, balanced accuracy: layer 1 0.52 [", "layer 12 (best) 0.74 [",
        "chance 0.50; emotion, coin flips: layer 1 (best) 0.50 [0.50, 0.50]",
        "Recording, accuracy: layer 1 (best) 0.90 [0.90, 0.90]", "chance 0.10.",
        "Heart rate: layer 1 0.40 [", "layer 6 (best) 0.90 [", "without a layer -0.05.",
        "the mean weight that the gate gives each layer: 1: 0.0",
    ],
    "profile without a gate": ["T over QRS: layer 1 0.10 ["],
    "distributions": ["mini, 50 windows × 12 layers × 16 features: layer 1 2, 1, 1; layer 2 ",
                      "random, 50 windows × 12 layers × 16 features: layer 1 "],
    "distributions of one": ["layer 12 2.3, 12, 12."],
    "gates": ["one mark for each fold and seed, beside equal weights of 0.083",
              "uniform, 6 runs: all weights equal.",
              "static, 6 runs: heaviest is layer 12", "deviation over windows 0.03"],
    "gates of one": ["softmax, 6 runs"],
}  # fmt: skip
every = pytest.mark.parametrize("name", DRAW)


@cache
def drawn(name: str) -> Drawn:
    return DRAW[name]()


@every
def test_each_can_be_read_and_says_what_it_is_of(name, tmp_path) -> None:
    fig, alt = drawn(name)
    assert "\n" not in alt and alt.endswith(".") and "nan" not in alt
    assert [words for words in SAID[name] if words not in alt] == []
    assert round(100 * fig.get_size_inches()[0]) == 720
    assert_legible(fig)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig.savefig(tmp_path / "figure.png")


def test_every_public_function_that_draws_is_tested() -> None:
    drawing = {name for module in (layers, layer_gates) for name, value in vars(module).items()
               if getattr(value, "__annotations__", {}).get("return") == "Drawn"
               and value.__module__ == module.__name__}  # fmt: skip
    assert drawing == {name.split()[0] for name in DRAW} <= set(layers.__all__)


def test_probes_have_names_and_their_scores_are_those_of_the_rows() -> None:
    assert list(NAMES) == list(METRICS)
    table = layers.probe_scores(probed())
    assert table["probe"].unique().tolist() == list(NAMES) and len(table) == (7 + 1) * 13
    own = table[(table["probe"] == EMOTION) & ~table["placebo"]]
    assert own["layer"].tolist() == list(range(13))
    variant = results.select(probed(), estimator=EMOTION, variant="published+layer_3",
                             placebo=False)  # fmt: skip
    known = results.interval(variant)
    assert tuple(own.set_index("layer").loc[3, ["value", "low", "high", "n_subjects"]]) == known
    rate = table[(table["probe"] == "probe_rate") & (table["layer"] == 6)]
    assert rate["value"].item() == pytest.approx(0.9)


def test_lines_are_the_scores_and_chance_has_the_colour_of_its_probe() -> None:
    fig, _ = drawn("profile without a gate")
    left, right = fig.axes
    table = layers.probe_scores(probed())
    lines = {line.get_color(): line for line in left.lines if line.get_linestyle() == ":"}
    for i, name in enumerate((EMOTION, RECORDING, SUBJECT)):
        own = table[(table["probe"] == name) & (table["layer"] == 0) & ~table["placebo"]]
        assert lines[f"C{i}"].get_ydata()[0] == own["value"].item()
    for box, name in zip(right.containers, BEATS, strict=True):
        own = table[(table["probe"] == name) & (table["layer"] > 0)]
        values = np.asarray(box.lines[0].get_ydata(), float)
        np.testing.assert_allclose(values, own["value"].astype(float).clip(lower=-1))


def test_what_is_far_below_the_mean_is_drawn_at_the_edge_and_said() -> None:
    rows = pd.concat([regression("probe_rate", ending, -9.0) for ending in ENDINGS])
    fig, alt = layers.profile(rows, "x")
    assert "marks at -1: there or below" in [text.get_text() for text in fig.axes[1].texts]
    assert "layer 12 -9.00" in alt and fig.axes[1].get_ylim()[0] > -1.2
    assert_legible(fig)


def test_what_deviates_is_told_apart() -> None:
    table = layers.number_table(embeddings())
    assert len(table) == 2 * N_LAYERS
    mini, other = (results.select(table, backbone=name) for name in ("mini", "random"))
    np.testing.assert_allclose(mini["deviation"], mini["layer"], rtol=0.1)
    np.testing.assert_allclose(mini["mean"], 2, atol=1.5)
    # Features of the other differ from each other, and hardly from window to window.
    np.testing.assert_allclose(other["between_windows"], 0.1, rtol=0.1)
    assert (other["deviation"] > 3 * other["between_windows"]).all()
    Z = embeddings()["random"]
    assert other["lowest"].tolist() == Z.min((0, 2)).tolist()
    assert set(other["windows"]) == {50} and set(other["features"]) == {16}


def test_many_values_are_drawn_in_part_and_described_whole(monkeypatch) -> None:
    whole = layers.distributions(embeddings(), "x")[1]
    monkeypatch.setattr(layers, "_MOST_VALUES", 100)
    assert layers.distributions(embeddings(), "x")[1] == whole


def test_distances_from_equal_weights_by_hand() -> None:
    rows = {"one": [[0, 0, 0, 1], [0, 0, 0, 1]], "equal": [[0.25] * 4] * 2,
            "apart": [[1, 0, 0, 0], [0, 0.5, 0.5, 0]], "raw": [[-1, 0, 1, 2.0]]}  # fmt: skip
    weights = pd.DataFrame([
        (gate, 0, str(fold), k, value)
        for gate, runs in rows.items() for fold, run in enumerate(runs)
        for k, value in enumerate(run, 1)
    ], columns=["gate", "seed", "fold", "layer", "weight"])  # fmt: skip
    table = layers.gate_table(weights, {"raw": "numbers"}).set_index("gate")
    assert table.loc["one", ["heaviest", "weight", "from_uniform", "entropy", "between_runs",
                             "correlation"]].tolist() == pytest.approx([4, 1, 0.75, 0, 0, 1])
    assert table.loc["equal", ["from_uniform", "entropy", "between_runs"]].tolist() == [0, 1, 0]
    assert np.isnan(table.loc["equal", "correlation"]) and pd.isna(table.loc["equal", "heaviest"])
    apart = table.loc["apart", ["from_uniform", "entropy", "between_runs"]].tolist()
    assert apart == pytest.approx([0.625, 0.25, 1])
    numbers = table.loc["numbers"]
    assert pd.isna(numbers["entropy"]) and pd.isna(numbers["between_runs"])
    assert numbers["from_uniform"] == pytest.approx(2) and table["over_windows"].isna().all()
    fig, alt = layers.gates(weights, "Gates")
    assert "nan" not in alt and len(fig.axes) == 4


def test_gates_with_two_weights_of_one_layer_are_refused() -> None:
    twice = pd.concat([weighed(), weighed().assign(protocol="another")])
    for refuse in (layers.gate_table, lambda rows: layers.gates(rows, "x")):
        plt.close("all")
        with pytest.raises(ParameterError, match="two weights of a layer"):
            refuse(twice)
        assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: layers.profile(probed().iloc[:0], "x"), DataError, "SWEEP=layers"),
        (lambda: layers.gates(weighed().iloc[:0], "x"), DataError, "SWEEP=layers"),
        (lambda: layers.distributions({}, "x"), DataError, "there are no embeddings"),
        (lambda: layers.distributions({"a": np.zeros((3, 4))}, "x"), ParameterError, "shape"),
        (lambda: layers.distributions({"a": np.full((3, 4, 2), np.nan)}, "x"), DataError,
         "not numbers"),
        (lambda: layers.distributions(dict.fromkeys("abc", np.ones((3, 4, 2))), "x"),
         ParameterError, "side by side"),
        (lambda: layers.profile(probed(), "x", weighed()), ParameterError, "of one gate"),
        (lambda: layers.profile(pd.concat([probed(), probed().assign(dataset="b")]), "x"),
         ParameterError, "dataset"),
        (lambda: layers.profile(pd.concat([probed(), probed().assign(
            variant="published+random_mini+layer_1")]), "x"), ParameterError, "base"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused_before_there_is_a_figure(make, error, words) -> None:
    plt.close("all")
    with pytest.raises(error, match=words):
        make()
    assert not plt.get_fignums()


def test_one_layer_can_be_laid_out_as_features_are() -> None:
    Z = embeddings()["mini"][:24, 4]
    subjects = np.repeat([f"S{i}" for i in range(4)], 6)
    fig, alt = ssl_ecg.embedding(Z, subjects, [0, 1] * 12, ["low", "high"])
    assert alt.startswith("24 windows, 16 features each") and len(fig.axes) == 2
