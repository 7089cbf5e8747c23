"""Probes: they find what was planted, nothing where nothing was, and leave the network alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from builders import CONTEXT, windows_of

from affectbook import datasets, evaluate, experiments, features, probes, results
from affectbook.errors import ParameterError
from affectbook.experiments import Data, Experiment
from affectbook.models.hcmnet import HCMNet
from affectbook.models.network import WindowNet
from affectbook.models.scaling import WindowScaler
from affectbook.models.small_cnn import SmallCNN
from affectbook.papers import hcmnet
from affectbook.probes import anatomy

N_TIMES, SFREQ = 256, 128.0
SHORT = {"pool_strides": (8, 8, 2)}
WESAD = datasets.card("wesad")
RNG = np.random.default_rng(7)


def small(**switches: object) -> HCMNet:
    torch.manual_seed(0)
    return HCMNet(1, N_TIMES, 3, **SHORT | switches)


def noise(n_windows: int = 5, n_times: int = N_TIMES) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n_windows, 1, n_times)).astype(np.float32)


# --- stages -----------------------------------------------------------------------------------


def test_stages_are_what_the_network_makes_of_windows() -> None:
    module, X = small(), noise()
    found = probes.stages(module, X, batch_size=2)
    assert list(found) == list(probes.STAGES)
    assert {Z.shape for Z in found.values()} == {(5, 256)}
    with torch.no_grad():
        module.eval()
        cnn = module.cnn(torch.from_numpy(X))
        nlcca = module.nlcca(cnn)
        embedding = module.embed(torch.from_numpy(X)).numpy()
    for stage, y in (("cnn", cnn), ("nlcca", nlcca)):
        pooled = np.concatenate([y.amax(-1), y.mean(-1)], 1)
        np.testing.assert_allclose(found[stage], pooled, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["bissm"][:, :128], embedding, rtol=1e-4, atol=1e-5)


def test_the_network_is_left_as_it_is() -> None:
    module = small().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    probes.stages(module, noise())
    probes.receptive_field(module, 1280, "nlcca")
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert module.training and not any(part._forward_hooks for part in module.modules())
    assert any(isinstance(part, torch.nn.MaxPool1d) for part in module.modules())
    assert all(weight.requires_grad for weight in module.parameters())


@pytest.mark.parametrize(
    ("switches", "left"),
    [
        ({"nlcca": False}, ["cnn", "bissm"]),
        ({"bissm": False}, ["cnn", "nlcca"]),
        ({"nlcca": False, "bissm": False}, ["cnn"]),
    ],
)
def test_a_stage_that_a_variant_lacks_is_left_out(switches, left) -> None:
    assert list(probes.stages(small(**switches), noise())) == left


def test_stages_that_cannot_be_are_refused() -> None:
    with pytest.raises(ParameterError, match="SmallCNN is no HCMNet: it has no nlcca, bissm"):
        probes.stages(SmallCNN(1, N_TIMES, 3), noise())
    for wrong in (noise(0), noise()[0]):
        with pytest.raises(ParameterError, match="windows have the shape"):
            probes.stages(small(), wrong)

    class Other(HCMNet):
        def embed(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().embed(x)

    with pytest.raises(ParameterError, match="Other is not the maximum of its last stage"):
        probes.stages(Other(1, N_TIMES, 3, **SHORT), noise())


# --- receptive field --------------------------------------------------------------------------


def derived(pool_strides: tuple[int, ...]) -> int:
    """Return what a step after the CNN sees, by adding up widths times strides so far."""
    seen, jump = 1, 1
    for kernel, convs, pool, stride in zip(
        (32, 16, 8), (2, 2, 1), (8, 8, 4), pool_strides, strict=True
    ):
        seen += (convs * (kernel - 1) + pool - 1) * jump
        jump *= stride
    return seen


def test_the_published_strides_see_less_than_a_heart_beat() -> None:
    module = HCMNet(1, 400, 3)
    assert probes.receptive_field(module, 400, "cnn") == derived((1, 1, 2)) == 117
    assert probes.receptive_field(module, 400, "nlcca") == 165
    assert probes.receptive_field(module, 400, "bissm") == 400, "the scans see the whole window"


@pytest.mark.parametrize("pool_strides", [(8, 8, 2), (2, 2, 2)])
def test_what_is_measured_is_what_follows_from_the_strides(pool_strides) -> None:
    module = HCMNet(2, 2560, 3, pool_strides=pool_strides)
    assert probes.receptive_field(module, 2560, "cnn") == derived(pool_strides)


def test_channels_that_all_have_the_same_maximum_do_not_hide_what_is_seen() -> None:
    module = HCMNet(1, 400, 3)
    for part in module.cnn.modules():
        if isinstance(part, torch.nn.Conv1d):
            torch.nn.init.constant_(part.weight, 0.01)
            torch.nn.init.zeros_(part.bias)
    assert probes.receptive_field(module, 400, "cnn") == 117


def test_a_field_after_a_stage_that_is_not_there_is_refused() -> None:
    for module, after in ((small(nlcca=False), "nlcca"), (small(), "head")):
        with pytest.raises(ParameterError, match=f"no stage '{after}'"):
            probes.receptive_field(module, N_TIMES, after)


# --- gates ------------------------------------------------------------------------------------


def with_gate(weight: float, energy: float = 1.0) -> HCMNet:
    """Return a network whose gates are sigmoid(weight * energy), the energy being given."""
    module = small()
    torch.nn.init.zeros_(module.nlcca.gate.conv1.weight)
    torch.nn.init.zeros_(module.nlcca.gate.conv2.weight)
    module.nlcca.gate.conv2.weight.data[0, 0, 2] = weight
    # The last norm without weight gives its bias, and the pool after it the same.
    torch.nn.init.zeros_(module.cnn.block3.norm1.weight)
    torch.nn.init.constant_(module.cnn.block3.norm1.bias, (energy / 128) ** 0.5)
    return module


def test_gates_that_were_set_open_or_shut_are_called_so() -> None:
    weights = {0: 9.0, 1: -9.0, 2: 0.0, 3: 1.0}
    table = probes.gate_statistics(lambda seed: with_gate(weights[seed]), noise(), weights)
    assert table["seed"].tolist() == list(weights)
    np.testing.assert_allclose(table["energy"], 1.0, rtol=1e-5)
    expected = 1 / (1 + np.exp(-np.array(list(weights.values()))))
    np.testing.assert_allclose(table["gate"], expected, rtol=1e-4)
    assert table["open"].tolist() == [1, 0, 0, 0] and table["shut"].tolist() == [0, 1, 0, 0]
    assert table["verdict"].tolist() == ["open", "shut", "between", "between"]


def test_the_ends_of_the_channel_axis_are_left_out() -> None:
    module = with_gate(0.0)
    module.nlcca.gate.conv2.weight.data[:] = 2.0  # ten inside, six at the very end
    table = probes.gate_statistics(lambda _: module, noise(), [0])
    assert table["gate"].item() == pytest.approx(1 / (1 + np.exp(-10)), abs=1e-6)
    assert table["open"].item() == 1


def test_gates_depend_on_the_seed_and_on_nothing_else() -> None:
    state = torch.random.get_rng_state()
    first = probes.gate_statistics(lambda _: HCMNet(1, N_TIMES, 3, **SHORT), noise(), [3, 4])
    assert torch.equal(state, torch.random.get_rng_state())
    torch.rand(3)
    again = probes.gate_statistics(lambda _: HCMNet(1, N_TIMES, 3, **SHORT), noise(), [4, 3])
    pd.testing.assert_frame_equal(first, again[::-1].reset_index(drop=True))
    assert first["gate"].nunique() == 2


def test_gates_are_those_of_the_first_step_of_training_whatever_the_gain() -> None:
    tables = [
        probes.gate_statistics(lambda _: HCMNet(1, N_TIMES, 3, **SHORT), gain * noise(), [0])
        for gain in (1, 10)
    ]
    assert tables[0]["energy"].item() == pytest.approx(tables[1]["energy"].item(), rel=1e-3)


def test_without_gates_there_are_no_statistics() -> None:
    for build in (lambda _: small(nlcca=False), lambda _: SmallCNN(1, N_TIMES, 3)):
        with pytest.raises(ParameterError, match="no channel gate"):
            probes.gate_statistics(build, noise(), [0])


# --- probes -----------------------------------------------------------------------------------


def experiment(amplitude, n_subjects: int = 6, overlap: float = 0.0) -> Experiment:
    """Return windows of one pattern, each times what `amplitude` says of labels and meta."""
    trials = [(f"S{s}", f"t{k}", k, 4) for s in range(n_subjects) for k in range(3)]
    y, meta = windows_of(trials, seconds=N_TIMES / SFREQ, overlap=overlap)
    pattern = np.sin(np.arange(N_TIMES) / 9) + 1.5
    X = (amplitude(y, meta)[:, None, None] * pattern).astype(np.float32)
    rule = WESAD.label_rules[0]
    data = Data(X, y, meta, WESAD, rule, "tier: simulated", Path("nowhere"), SFREQ)
    return Experiment(hcmnet.setting(hcmnet.Params(scale="smoke")), data)


def network(**options: object) -> WindowNet:
    shape = {"n_chans": 1, "n_times": N_TIMES, "n_outputs": 3} | SHORT
    return WindowNet(
        HCMNet,
        **{f"module__{name}": value for name, value in (shape | options).items()},
        max_epochs=1,
        batch_size=16,
        scaler=WindowScaler("per_index"),
    )


def plant(monkeypatch: pytest.MonkeyPatch, values: np.ndarray, every: bool = False) -> None:
    """Let the heart rate be what a test says it is; every HRV target, or there are no others."""
    others = values if every else np.full(len(values), np.nan)
    table = pd.DataFrame(dict.fromkeys(features.HRV_COLUMNS, others)).assign(heart_rate=values)
    monkeypatch.setattr(features, "hrv", lambda X, sfreq: table)


def random(y: np.ndarray, meta: pd.DataFrame) -> np.ndarray:
    return np.random.default_rng(5).uniform(0.5, 2, len(y))


def whole(rows: pd.DataFrame, target: str, metric: str) -> pd.Series:
    """Return the scores over everything of one target, by estimator."""
    own = results.select(rows, target=target, metric=metric, fold="all", subject="all")
    return own.set_index("estimator")["value"]


def after(*names: str) -> list[str]:
    return [f"probe_after_{name}" for name in names]


def test_a_heart_rate_that_the_windows_carry_is_read(monkeypatch) -> None:
    made = experiment(random)
    amplitude = made.data.X[:, 0].mean(-1)
    plant(monkeypatch, 60 + 10 * amplitude, every=True)
    probes.probe(made, network(), variant="v", folds=1, trained=False)
    for target in probes.HRV_TARGETS:
        r2, mae = (whole(made.table(), target, metric) for metric in ("r2", "mae"))
        assert (r2[after(*probes.STAGES)] > 0.8).all(), r2
        assert r2["mean"] < 0.05
        assert (mae[after(*probes.STAGES)] < 0.5 * mae["mean"]).all(), mae


def test_a_heart_rate_that_they_do_not_carry_is_not_read(monkeypatch) -> None:
    made = experiment(random)
    plant(monkeypatch, np.random.default_rng(11).normal(70, 10, len(made.data.y)))
    probes.probe(made, network(), variant="v", folds=1, trained=False)
    r2 = whole(made.table(), "heart_rate", "r2")
    assert (r2 < 0.15).all(), r2


def test_the_target_is_read_where_it_is_and_only_there(monkeypatch) -> None:
    scores = []
    for amplitude in (lambda y, meta: 1.0 + y, random):
        made = experiment(amplitude)
        plant(monkeypatch, RNG.normal(70, 10, len(made.data.y)))
        probes.probe(made, network(), variant="v", folds=1, trained=False)
        own = whole(made.table(), "condition", "balanced_accuracy")
        assert sorted(own.index) == sorted(after(*probes.STAGES))
        scores.append(own)
    assert (scores[0] > 0.95).all() and (scores[1] < 0.6).all(), scores


def test_people_who_differ_are_told_apart_and_people_who_do_not_are_guessed(monkeypatch) -> None:
    def own(y: np.ndarray, meta: pd.DataFrame) -> np.ndarray:
        return 1 + 0.5 * meta["subject"].str[1:].astype(float).to_numpy()

    def alike(y: np.ndarray, meta: pd.DataFrame) -> np.ndarray:
        return 1 + 0.1 * meta["window"].to_numpy() + y

    found = []
    for amplitude in (own, alike):
        made = experiment(amplitude)
        plant(monkeypatch, RNG.normal(70, 10, len(made.data.y)))
        probes.probe(made, network(), variant="v", trained=False)
        rows = results.select(made.table(), target="subject")
        assert set(rows["protocol"]) == {probes.PROTOCOL_OF_SUBJECTS}
        found.append(rows)
    accuracy = [whole(rows, "subject", "accuracy") for rows in found]
    assert accuracy[0]["chance"] == pytest.approx(1 / 3), "three people are held out at a time"
    assert (accuracy[0][after("cnn")] > 0.95).all(), accuracy[0]
    np.testing.assert_allclose(accuracy[1], 1 / 3)


def test_intervals_over_subjects_can_be_drawn(monkeypatch) -> None:
    made = experiment(random)
    plant(monkeypatch, RNG.normal(70, 10, len(made.data.y)))
    probes.probe(made, network(), variant="v", trained=False)
    rows = made.table()
    for target, metric in (("condition", "balanced_accuracy"), ("subject", "accuracy")):
        parts = [results.select(rows, target=target, estimator=e) for e in after("cnn", "nlcca")]
        score = results.interval(parts[0], metric)
        assert score.n_subjects == 6 and score.low <= score.value <= score.high
        assert score.value == pytest.approx(whole(rows, target, metric)["probe_after_cnn"])
        assert results.difference(*parts, metric).n_subjects == 6
    errors = results.select(rows, target="heart_rate", metric="mae", estimator="mean", fold="all")
    assert sorted(errors["subject"]) == [*(f"S{i}" for i in range(6)), "all"]


def test_rows_are_those_of_any_evaluation(monkeypatch) -> None:
    made = experiment(random)
    heart_rate = 60 + RNG.normal(0, 1, len(made.data.y))
    heart_rate[:5] = np.nan
    plant(monkeypatch, heart_rate, every=True)
    probes.probe(made, network(nlcca=False), variant="v", trained=False)
    probes.probe(made, network(nlcca=False), variant="w", folds=1, trained=False)
    rows = made.table()
    assert list(rows.columns) == results.SCORE_COLUMNS and rows.notna().all(axis=None)
    assert rows["variant"].unique().tolist() == ["v+untrained", "w+untrained"]
    assert set(rows["estimator"]) == {"mean", "chance", *after("cnn", "bissm")}
    assert (rows["paper"] == "hcmnet").all() and (rows["seed"] == 0).all()
    assert not rows["placebo"].any()
    own = results.select(rows, variant="v+untrained", target="rmssd", metric="mae", subject="all")
    own = results.select(own, estimator="mean").set_index("fold")
    assert own.loc["all", "n_test_windows"] == 72 - 5, "windows without a value are left out"
    assert own.loc["all", "value"] == pytest.approx(own.loc[["0", "1"], "value"].mean())
    assert set(results.select(rows, variant="w+untrained")["fold"]) == {"0", "all"}
    with pytest.raises(ParameterError, match="folds must be 1 or more"):
        probes.probe(made, network(), variant="v", folds=0)


@pytest.mark.parametrize(("overlap", "per_trial"), [(0.0, 2), (0.5, 1)])
def test_later_windows_share_no_samples_with_earlier_ones(overlap, per_trial, monkeypatch) -> None:
    made = experiment(random, overlap=overlap)
    plant(monkeypatch, RNG.normal(70, 10, len(made.data.y)))
    probes.probe(made, network(), variant="v", folds=1, trained=False)
    rows = results.select(made.table(), target="subject", fold="0", metric="accuracy")
    assert len(rows) == 4 and (rows["n_test_windows"] == 9 * per_trial).all()


def test_one_new_person_cannot_be_mistaken_for_another(monkeypatch) -> None:
    made = experiment(random, n_subjects=2)
    plant(monkeypatch, RNG.normal(70, 10, len(made.data.y)))
    probes.probe(made, network(), variant="v", trained=False)
    assert "subject" not in set(made.table()["target"])
    assert len(results.select(made.table(), target="heart_rate", metric="r2", fold="1")) == 4


@pytest.fixture
def seen(monkeypatch) -> list[tuple[HCMNet, np.ndarray]]:
    """Return the list into which every network goes whose stages are asked for, with its input."""
    given: list[tuple[HCMNet, np.ndarray]] = []

    def spy(module: HCMNet, X: np.ndarray) -> dict[str, np.ndarray]:
        given.append((module, X))
        return {"cnn": X[:, 0, :2]}

    monkeypatch.setattr(anatomy, "stages", spy)
    return given


def test_the_network_is_the_one_that_an_evaluation_trains(seen, monkeypatch) -> None:
    made = experiment(random)
    plant(monkeypatch, RNG.normal(70, 10, len(made.data.y)))
    data, protocol = made.data, experiments.protocol_of(made.setting, probes.PROTOCOL)
    models, fit = [], WindowNet.fit

    def spy(model: WindowNet, X: np.ndarray, y: np.ndarray, valid=None) -> WindowNet:
        models.append(model)
        return fit(model, X, y, valid)

    monkeypatch.setattr(WindowNet, "fit", spy)
    probes.probe(made, network(), variant="v")
    evaluate.evaluate(network(), data.X, data.y, data.meta, protocol)
    assert made.table()["variant"].unique().tolist() == ["v"] and len(models) == 4
    for probed, evaluated in zip(models[:2], models[2:], strict=True):
        pairs = (model.module_.state_dict().values() for model in (probed, evaluated))
        assert all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))
        assert any(module is probed.module_ for module, _ in seen)
        assert np.isfinite(probed.history_frame()["valid_loss"]).all(), "it was not validated"
        pd.testing.assert_frame_equal(probed.history_frame(), evaluated.history_frame())


def test_the_untrained_network_is_the_one_that_training_starts_from(seen, monkeypatch) -> None:
    made = experiment(random)
    plant(monkeypatch, RNG.normal(70, 10, len(made.data.y)))
    probes.probe(made, network(), variant="v", trained=False)
    # AdamW moves nothing, by gradient or by decay, at a learning rate of zero.
    probes.probe(made, network().set_params(lr=0.0), variant="v")
    for fold in (0, 1):
        (start, X), (trained, same) = seen[fold], seen[fold + 2]
        np.testing.assert_array_equal(X, same)
        pairs = zip(start.parameters(), trained.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(seen[0][0].head.logits.weight, seen[1][0].head.logits.weight)


# --- table ------------------------------------------------------------------------------------


def score(estimator: str, target: str, metric: str, folds: list[float], seed: int = 0, **context):
    """Return the rows of one probe: each fold, and their mean."""
    lines = [(str(i), value) for i, value in enumerate(folds)] + [("all", np.mean(folds))]
    rows = pd.DataFrame(lines, columns=["fold", "value"])
    own = {"estimator": estimator, "target": target, "metric": metric, "subject": "all"}
    counts = {"n_test_windows": 9, "n_test_trials": 3, "run_key": "", "seed": seed}
    return rows.assign(**CONTEXT | own | counts | context)[results.SCORE_COLUMNS]


def test_the_table_has_a_row_per_stage_and_a_column_per_target(tmp_path) -> None:
    rows = pd.concat([
        score("hcmnet", "condition", "balanced_accuracy", [0.9, 0.9]),
        score("mean", "heart_rate", "r2", [-0.02, 0.0]),
        score("chance", "subject", "accuracy", [0.25, 0.25]),
        score("probe_after_nlcca", "subject", "accuracy", [0.5, 0.6]),
        score("probe_after_cnn", "subject", "accuracy", [0.7, 0.9]),
        score("probe_after_cnn", "heart_rate", "r2", [0.1, 0.3]),
        score("probe_after_cnn", "heart_rate", "r2", [0.2, 0.6], seed=1),
        score("probe_after_cnn", "heart_rate", "mae", [8.0, 9.0]),
        score("probe_after_cnn", "condition", "balanced_accuracy", [0.5, 0.7]),
    ])  # fmt: skip
    back = results.read_rows(results.write_rows(rows, tmp_path / "scores.csv"))
    table = probes.table(back)
    assert table.columns.tolist() == [
        "variant", "stage", "heart_rate, R²", "condition, balanced accuracy", "subject, accuracy",
    ]  # fmt: skip
    assert table.drop(columns="variant").to_numpy().tolist() == [
        ["reference", "-0.01 (-0.02 to 0.00)", "–", "0.25 (0.25 to 0.25)"],
        ["cnn", "0.30 (0.10 to 0.60)", "0.60 (0.50 to 0.70)", "0.80 (0.70 to 0.90)"],
        ["nlcca", "–", "–", "0.55 (0.50 to 0.60)"],
    ]
    other = back.assign(variant="other")
    assert probes.table(pd.concat([back, other]))["variant"].tolist() == (
        ["published"] * 3 + ["other"] * 3
    )


def test_two_experiments_are_not_averaged() -> None:
    rows = score("probe_after_cnn", "heart_rate", "r2", [0.1, 0.3])
    with pytest.raises(ParameterError, match="differ in dataset, tier"):
        probes.table(pd.concat([rows, rows.assign(dataset="wesad", tier="simulated")]))
    assert probes.table(rows[:0]).empty


def test_a_run_becomes_a_table(tmp_path, monkeypatch) -> None:
    made = experiment(random)
    plant(monkeypatch, RNG.normal(70, 10, len(made.data.y)), every=True)
    probes.probe(made, network(), variant="v", folds=1, trained=False)
    back = results.read_rows(results.write_rows(made.table(), tmp_path / "scores.csv"))
    table = probes.table(back)
    assert table["stage"].tolist() == ["reference", *probes.STAGES]
    assert [name.split(",")[0] for name in table.columns[2:]] == [
        *probes.HRV_TARGETS, "condition", "subject",
    ]  # fmt: skip
    assert (table.shape[1], (table == "–").to_numpy().sum()) == (7, 1), "only chance of a condition"
    pd.testing.assert_frame_equal(table, probes.table(made.table()))


def test_a_table_needs_no_torch() -> None:
    code = "import sys, affectbook.probes; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
