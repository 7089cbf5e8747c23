"""Personalisation: later windows of a new subject, and what adapting to earlier ones is worth."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from builders import scores_of, shuffled, windows_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from affectbook import datasets, evaluate, protocols, results
from affectbook import personalise as personal
from affectbook.audit import audit
from affectbook.errors import AuditError, ParameterError
from affectbook.experiments import Data, Experiment
from affectbook.models.network import WindowNet
from affectbook.models.scaling import WindowScaler
from affectbook.models.small_cnn import SmallCNN
from affectbook.papers import hcmnet
from affectbook.windows import trial_ids

N_TIMES = 16
FEW = {"variant": "published", "budgets": (1, 2), "steps": (1, 2)}
ANY_CHOICE = pytest.mark.parametrize("choice", personal.CHOICES)
WESAD = datasets.card("wesad")


def network(module: type[nn.Module] = SmallCNN, **options: object) -> WindowNet:
    shape = {"module__n_chans": 1, "module__n_times": N_TIMES, "module__n_outputs": 2}
    training = {"max_epochs": 1, "batch_size": 16, "scaler": WindowScaler("per_index")}
    return WindowNet(module, **shape | training | options)


@pytest.fixture
def experiment() -> Experiment:
    """Six subjects with four trials of six windows; each trial has a waveform of its own."""
    rng = np.random.default_rng(0)
    y, meta = windows_of((f"S{s}", f"t{t}", t % 2, 6) for s in range(6) for t in range(4))
    waveforms = rng.standard_normal((24, 1, N_TIMES))
    X = waveforms[trial_ids(meta)] + 0.1 * rng.standard_normal((len(y), 1, N_TIMES))
    rule = next(rule for rule in WESAD.label_rules if rule.name == "stress_binary")
    setting = hcmnet.setting(hcmnet.Params(scale="smoke", label_rule="stress_binary"))
    data = Data(X.astype(np.float32), y, meta, WESAD, rule, "made up", Path(), 1.6)
    return Experiment(setting, data)


@pytest.fixture
def net(experiment) -> WindowNet:
    """A network trained on all but the last subject."""
    return network().fit(experiment.data.X[:-24], experiment.data.y[:-24])


@pytest.fixture
def adapted(experiment, net) -> Callable[..., tuple[nn.Module, dict[int, np.ndarray]]]:
    """Adapt to two windows of each trial of the last subject, and predict all of them."""
    X, y = experiment.data.X[-24:], experiment.data.y[-24:]
    early = experiment.data.meta["window"].to_numpy()[-24:] < 2

    def adapt(method: str, steps: tuple[int, ...] = (1, 3), **options: object) -> tuple:
        return personal.adapt(net, method, X[early], y[early], X, steps=steps, **options)

    return adapt


def weights(module: nn.Module, part: str = "") -> dict[str, torch.Tensor]:
    return {k: v.detach() for k, v in module.named_parameters() if k.startswith(part)}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in right) and len(left) == len(right)


@st.composite
def one_of_two(draw: st.DrawFn) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Draw ``y, meta`` of two subjects in any order, and the windows of the first."""
    n_windows = st.integers(8, 14)
    plan = [
        (f"S{subject}", f"t{trial}", trial % 2, draw(n_windows))
        for subject in range(2)
        for trial in range(draw(st.integers(1, 3)))
    ]
    y, meta = windows_of(plan, overlap=draw(st.sampled_from([0.0, 0.5, 0.75])))
    y, meta = shuffled(y, meta, draw(st.integers(0, 9)))
    return y, meta, np.flatnonzero(meta["subject"] == "S0")


def all_budgets(y, meta, own, choice: str, seed: int = 0) -> list[personal.Pair]:
    """Return the pairs of 1, 2, ... windows a trial, up to the budget that is refused."""
    pairs = []
    while True:
        try:
            pairs.append(personal.calibration(meta, y, own, len(pairs) + 1, choice, seed))
        except ParameterError:
            return pairs


@given(one_of_two(), st.sampled_from(personal.CHOICES), st.integers(0, 9))
def test_calibration_is_disjoint_from_a_test_set_that_stays_the_same(found, choice, seed) -> None:
    y, meta, own = found
    pairs = all_budgets(*found, choice, seed)
    trials = trial_ids(meta)
    of_trial = pd.Series(trials[own]).value_counts().sort_index()
    smaller: set[int] = set()
    for budget, (chosen, tested) in enumerate(pairs, 1):
        assert np.array_equal(tested, pairs[0][1]), "one test set for all budgets"
        assert set(chosen) | set(tested) <= set(own) and not set(chosen) & set(tested)
        held = pd.Series(trials[tested]).value_counts().sort_index()
        assert held.equals(of_trial - of_trial // 2)
        assert np.array_equal(np.bincount(trials[chosen])[of_trial.index], [budget] * len(held))
        assert audit(chosen, tested, meta, y).overlapping_windows == 0
        assert smaller <= set(chosen), "few windows are among more of them"
        smaller = set(chosen)
    if np.diff(np.sort(meta["start_s"].unique())).min() == 10:
        assert len(pairs) == of_trial.min() // 2, "windows that do not overlap can all be used"


@given(one_of_two())
def test_a_prefix_is_the_beginning_and_is_over_before_the_test_begins(found) -> None:
    y, meta, own = found
    pairs, trials = all_budgets(*found, "prefix"), trial_ids(meta)
    assert pairs
    for budget, pair in enumerate(pairs, 1):
        for trial in np.unique(trials[own]):
            first, later = (meta.iloc[part[trials[part] == trial]] for part in pair)
            assert sorted(first["window"]) == list(range(budget))
            assert first["stop_s"].max() <= later["start_s"].min()


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_random_windows_depend_on_seed_and_name_only(seed, order) -> None:
    y, meta = windows_of((f"S{s}", f"t{t}", t, 20) for s in range(2) for t in range(2))
    pair = personal.calibration(meta, y, np.arange(40), 3, "random", seed)
    mixed = np.random.default_rng(order).permutation(len(y))
    own = np.flatnonzero(mixed < 40)
    again = personal.calibration(meta.iloc[mixed], y[mixed], own, 3, "random", seed)
    assert [set(mixed[part]) for part in again] == [set(part) for part in pair]
    other = personal.calibration(meta, y, np.arange(40), 3, "random", seed + 1)
    assert not np.array_equal(pair[1], other[1])
    neighbour = personal.calibration(meta, y, np.arange(40, 80), 3, "random", seed)
    assert not np.array_equal(pair[1], neighbour[1] - 40)


@ANY_CHOICE
def test_a_trial_that_is_too_short_for_a_budget_is_named(choice) -> None:
    y, meta = windows_of([("S1", "long", 0, 8), ("S1", "short", 1, 5)])
    assert len(personal.calibration(meta, y, np.arange(13), 2, choice, 0)[0]) == 4
    with pytest.raises(ParameterError, match="5 windows of subject S1, trial short .* 2 of the"):
        personal.calibration(meta, y, np.arange(13), 3, choice, 0)


def test_windows_that_reach_into_the_later_half_do_not_calibrate() -> None:
    y, meta = windows_of([("S1", "a", 0, 8), ("S1", "b", 1, 8)], overlap=0.5)
    assert len(personal.calibration(meta, y, np.arange(16), 3, "prefix", 0)[0]) == 6
    with pytest.raises(ParameterError, match="3 of the others"):
        personal.calibration(meta, y, np.arange(16), 4, "prefix", 0)


@pytest.mark.parametrize(
    ("choice", "budget", "n_own"), [("suffix", 1, 8), ("prefix", 0, 8), ("random", 1, 16)]
)
def test_a_calibration_that_means_nothing_is_refused(choice, budget, n_own) -> None:
    y, meta = windows_of([("S1", "a", 0, 8), ("S2", "a", 1, 8)])
    with pytest.raises(ParameterError, match="of one subject"):
        personal.calibration(meta, y, np.arange(n_own), budget, choice, 0)


def test_every_pair_is_audited(monkeypatch) -> None:
    y, meta = windows_of([("S1", "a", 0, 8), ("S1", "b", 1, 8)], overlap=0.5)
    monkeypatch.setattr(personal, "_meet", lambda meta, some, others: np.zeros(len(some), bool))
    with pytest.raises(AuditError, match="personalised_prefix: subject S1 .* training samples: 2"):
        personal.calibration(meta, y, np.arange(16), 4, "prefix", 0)


def test_fine_tuning_changes_weights_and_leaves_the_statistics(net, adapted) -> None:
    module, predictions = adapted("fine_tuned")
    assert set(predictions) == {1, 3} and predictions[3].shape == (24,)
    for part in ("cnn", "head"):
        assert not same(weights(module, part), weights(net.module_, part))
    assert same(dict(module.named_buffers()), dict(net.module_.named_buffers()))


def test_only_the_head_is_trained(net, adapted) -> None:
    module, predictions = adapted("head_only")
    assert set(predictions) == {1, 3}
    assert same(weights(module, "cnn"), weights(net.module_, "cnn"))
    assert same(dict(module.named_buffers()), dict(net.module_.named_buffers()))
    assert not same(weights(module, "head"), weights(net.module_, "head"))


def test_statistics_are_estimated_without_labels_and_weights_stay(experiment, net, adapted) -> None:
    module, predictions = adapted("batch_norm")
    assert set(predictions) == {0} and same(weights(module), weights(net.module_))
    early = net.get_dataset(experiment.data.X[-24:][np.tile([1, 1, 0, 0, 0, 0], 4) == 1]).X
    scratch, _ = adapted("from_scratch")
    for one in (module, scratch):
        first = one.cnn.conv1(torch.as_tensor(early)).detach().mean((0, 2))
        assert torch.allclose(one.cnn.norm1.running_mean, first, atol=1e-5)
        assert not torch.allclose(net.module_.cnn.norm1.running_mean, first, atol=1e-3)


def test_from_scratch_knows_nothing_of_the_trained_weights(net, adapted) -> None:
    module, predictions = adapted("from_scratch", seed=5)
    assert set(predictions) == {1, 3}
    torch.nn.init.zeros_(net.module_.cnn.conv1.weight)
    again, same_predictions = adapted("from_scratch", seed=5)
    assert same(weights(module), weights(again)) and weights(module, "cnn.conv1")
    assert all(np.array_equal(predictions[k], same_predictions[k]) for k in predictions)
    assert not same(weights(module), weights(adapted("from_scratch", seed=6)[0]))


@pytest.mark.parametrize("method", personal.METHODS)
def test_adapting_changes_neither_the_network_nor_the_random_state(net, adapted, method) -> None:
    before, state = copy.deepcopy(net.module_.state_dict()), torch.get_rng_state()
    adapted(method)
    assert same(net.module_.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("method", ["fine_tuned", "head_only", "from_scratch"])
def test_steps_are_read_off_one_adaptation(adapted, method) -> None:
    module, predictions = adapted(method, steps=(1, 2, 4))
    alone, last = adapted(method, steps=(4,))
    assert same(weights(module), weights(alone)) and np.array_equal(predictions[4], last[4])


def test_the_learning_rate_is_used(adapted) -> None:
    slow, fast = (adapted("fine_tuned", lr=lr)[0] for lr in (1e-4, 1e-2))
    assert not same(weights(slow), weights(fast))


class Plain(nn.Module):
    """A network without normalisation, embedding and head."""

    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(n_chans * n_times, n_outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.mark.parametrize(
    ("method", "message"),
    [("batch_norm", "normalisation"), ("head_only", "embed and head"), ("magic", "must be one of")],
)
def test_a_method_that_finds_nothing_to_adapt_is_refused(experiment, method, message) -> None:
    X, y = experiment.data.X[:8], experiment.data.y[:8]
    net = network(Plain).fit(X, y)
    with pytest.raises(ParameterError, match=message):
        personal.adapt(net, method, X, y, X, steps=(1,))


@ANY_CHOICE
def test_every_method_is_scored_on_the_same_windows(experiment, choice) -> None:
    personal.personalise(experiment, network(), choice=choice, **FEW)
    rows = experiment.table()
    assert list(rows.columns) == results.SCORE_COLUMNS and rows.notna().all(axis=None)
    assert set(rows["protocol"]) == {f"personalised_{choice}"} and not rows["placebo"].any()
    assert set(rows["label_rule"]) == {"stress_binary"}
    found = {(e, v) for e, v in rows[["estimator", "variant"]].itertuples(index=False)}
    stepping = ["hcmnet_fine_tuned", "hcmnet_from_scratch", "hcmnet_head_only"]
    assert found == {("hcmnet_unadapted", "published")} | {
        ("hcmnet_batch_norm", f"published+{k}_windows+0_steps") for k in (1, 2)
    } | {(e, f"published+{k}_windows+{s}_steps") for e in stepping for k in (1, 2) for s in (1, 2)}
    windows = [set(zip(p["subject"], p["trial"], p["window"])) for p in experiment.predictions]  # noqa: B905
    assert len(windows) == 15 and all(part == windows[0] for part in windows)
    assert len(windows[0]) == 6 * 4 * 3
    assert choice == "random" or {window for *_, window in windows[0]} == {3, 4, 5}


@pytest.mark.parametrize("placebo", [False, True])
def test_unadapted_is_the_network_that_evaluate_trains(experiment, placebo) -> None:
    options = FEW | {"budgets": (1,), "methods": ("batch_norm",)}
    personal.personalise(experiment, network(), placebo=placebo, **options)
    data, seed = experiment.data, experiment.setting.seed
    y = personal.placebo_labels(data.meta, seed, 1) if placebo else data.y
    protocol = protocols.get("group_kfold_subject", n_splits=experiment.setting.n_splits)
    expected = evaluate.evaluate(network(), data.X, y, data.meta, protocol, seed=seed).predictions
    keys = ["fold", "subject", "trial", "window"]
    both = experiment.predictions[0].merge(expected, on=keys, suffixes=("", "_expected"))
    assert len(both) == 6 * 4 * 3
    assert both["y_pred"].equals(both["y_pred_expected"])
    assert both["y_true"].equals(both["y_true_expected"])


def test_the_same_seed_gives_the_same_rows_and_another_does_not(experiment) -> None:
    tables = []
    for seed in (0, 0, 1):
        one = Experiment(replace(experiment.setting, seed=seed), experiment.data)
        personal.personalise(one, network(), choice="random", folds=1, **FEW)
        tables.append(one.table().drop(columns="seed"))
    assert tables[0].equals(tables[1]) and not tables[0].equals(tables[2])


def test_the_placebo_replaces_the_labels_and_finds_the_recording(experiment) -> None:
    """Each trial has a waveform of its own, so that a coin is learnt from its first windows."""
    options = {"methods": ("fine_tuned",), "steps": (40,), "budgets": (3,), "lr": 1e-2}
    experiment.setting = replace(experiment.setting, seed=1)  # coins tossed freely: one-sided
    personal.personalise(experiment, network(), variant="published", placebo=True, **options)
    assert all(part["placebo"].all() for part in experiment.rows + experiment.predictions)
    per_trial = experiment.predictions[0].groupby(["subject", "trial"])["y_true"]
    assert (per_trial.nunique() == 1).all()
    coins = per_trial.first()
    assert (coins.groupby("subject").nunique() == 2).all(), "both sides in each subject"
    assert not (coins == [int(trial[1:]) % 2 for _, trial in coins.index]).all()
    scores = personal.curves(experiment.table()).set_index("estimator")["value"]
    assert scores["hcmnet_unadapted"] < 0.75 < 0.9 < scores["hcmnet_fine_tuned"]


def test_folds_can_be_left_out(experiment) -> None:
    personal.personalise(experiment, network(), folds=1, **FEW)
    assert {fold for part in experiment.predictions for fold in part["fold"]} == {0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"budgets": (4,)}, {"budgets": (0,)}, {"budgets": ()}, {"steps": (0, 1)}, {"steps": ()},
        {"methods": ("tuned",)}, {"methods": ()}, {"folds": 0}, {"choice": "suffix"},
        {"estimator": SmallCNN(1, N_TIMES, 2)},
        {"estimator": network(scaler=WindowScaler("per_subject"))},
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_before_anything_is_trained(
    experiment, wrong, monkeypatch
) -> None:
    monkeypatch.setattr(personal, "_base", lambda *_: pytest.fail("a network was trained"))
    options = FEW | {"estimator": network()} | wrong
    with pytest.raises(ParameterError):
        personal.personalise(experiment, options.pop("estimator"), **options)
    assert not experiment.rows and not experiment.predictions


def test_curves_are_read_back_from_a_file(experiment, tmp_path) -> None:
    for placebo in (False, True):
        personal.personalise(experiment, network(), placebo=placebo, **FEW)
    experiment.rows.append(scores_of({"S0": [[1, 0], [0, 1]]}, estimator="hcmnet"))
    path = results.write_rows(experiment.table(), tmp_path / "scores.csv")
    curves = personal.curves(results.read_rows(path))
    assert len(curves) == len(experiment.predictions) == 2 * 15
    assert set(curves["choice"]) == {"prefix"} and (curves["n_subjects"] == 6).all()
    assert not curves.isna().any(axis=None) and (curves["low"] <= curves["high"]).all()
    assert (curves["seconds_per_trial"] == 5 * curves["windows"]).all(), "windows of 5 s"
    for line in curves.itertuples():
        where = {"estimator": line.estimator, "placebo": line.placebo}
        if line.windows:
            where["variant"] = f"published+{line.windows}_windows+{line.steps}_steps"
        rows = results.select(experiment.table(), **where)
        assert line.value == results.interval(rows).value
    unadapted = results.select(curves, estimator="hcmnet_unadapted", windows=0, steps=0)
    assert len(unadapted) == 2


def personal_rows(seed: int = 0, **context: object) -> pd.DataFrame:
    tables = {f"S{s}": [[3, 1], [seed, 4]] for s in range(5)}
    names = {
        "estimator": "hcmnet_fine_tuned", "protocol": "personalised_random",
        "variant": "published+2_windows+5_steps",
    }  # fmt: skip
    return scores_of(tables, seed=seed, **names | context)


def test_seeds_are_averaged_in_one_row() -> None:
    alone = [personal.curves(personal_rows(seed))["value"][0] for seed in (0, 2)]
    curves = personal.curves(pd.concat([personal_rows(0), personal_rows(2)]))
    assert len(curves) == 1
    line = curves.iloc[0]
    assert (line["windows"], line["steps"], line["n_seeds"]) == (2, 5, 2)
    assert line["value"] == pytest.approx(sum(alone) / 2) and alone[0] != alone[1]
    assert personal.curves(personal_rows(), "accuracy")["value"][0] == pytest.approx(7 / 8)


@pytest.mark.parametrize(
    "other",
    [{"dataset": "wesad"}, {"variant": "pool_strides_8_8_2+2_windows+5_steps"}, {"tier": "x"}],
)
def test_curves_of_two_experiments_are_not_mixed(other) -> None:
    with pytest.raises(ParameterError, match="one experiment"):
        personal.curves(pd.concat([personal_rows(), personal_rows(1, **other)]))


def test_without_rows_there_is_an_empty_table() -> None:
    curves = personal.curves(scores_of({"S0": [[1, 0], [0, 1]]}))
    assert curves.empty and "seconds_per_trial" in curves


def test_curves_need_no_torch() -> None:
    code = "import sys, affectbook.personalise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
