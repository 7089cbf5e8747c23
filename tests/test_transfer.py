"""Across populations: who is trained on, who is tested, and what adapting may see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from builders import windows_of
from sklearn.base import BaseEstimator, ClassifierMixin

from affectbook import datasets, results, sweeps, transfer
from affectbook.errors import ParameterError
from affectbook.experiments import Data, Experiment
from affectbook.models import reference
from affectbook.models.network import WindowNet
from affectbook.models.scaling import WindowScaler
from affectbook.models.small_cnn import SmallCNN
from affectbook.papers import hcmnet
from affectbook.scales import Cell

N_TIMES = 16
SEEN: list[tuple[str, np.ndarray]] = []
WESAD = datasets.card("wesad")
RULE = next(rule for rule in WESAD.label_rules if rule.name == "stress_binary")


class Watching(ClassifierMixin, BaseEstimator):
    """Notes the first sample of every window it is given, which says whose it is."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> Watching:
        SEEN.append(("fit", X[:, 0, 0].copy()))
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        SEEN.append(("predict", X[:, 0, 0].copy()))
        return np.zeros(len(X), int)


def network(setting: object, data: Data) -> WindowNet:
    return WindowNet(
        SmallCNN, module__n_chans=1, module__n_times=N_TIMES, module__n_outputs=data.n_outputs,
        max_epochs=1, batch_size=16, scaler=WindowScaler("per_index"),
    )  # fmt: skip


PAPER = SimpleNamespace(
    build=network,
    reference_models=lambda setting, data: {
        "majority": reference.majority(), "watching": Watching(),
    },
)  # fmt: skip


def made_up(names: str, offset: float, n_windows: int = 6) -> Data:
    """Return four trials of each subject; the first sample tells subject, trial and window."""
    trials = [(f"{names}{s}", f"t{t}", t % 2, n_windows) for s in range(4) for t in range(4)]
    y, meta = windows_of(trials)
    X = np.random.default_rng(0).standard_normal((len(y), 1, N_TIMES)).astype(np.float32)
    X[:, 0, 0] = offset + np.arange(len(y))
    return Data(X, y, meta, WESAD, RULE, f"made up {names}", Path(), 1.6)


@pytest.fixture
def experiment(monkeypatch) -> Experiment:
    SEEN.clear()
    setting = hcmnet.setting(hcmnet.Params(scale="smoke", label_rule="stress_binary"))
    monkeypatch.setattr(transfer, "load", lambda setting: made_up("B", 1000, 8))
    return Experiment(setting, made_up("A", 0))


TO = {"dataset": "drivedb", "tier": "open", "label_rule": "rest_drive"}


def overall(experiment: Experiment, **where: object):
    rows = results.select(experiment.table(), metric="balanced_accuracy", subject="all", fold="all")
    return results.select(rows, **where)


def test_one_population_is_trained_on_and_the_other_is_tested(experiment):
    transfer.transfer(PAPER, experiment, to=TO, references=("majority", "watching"), network=False)
    (_, fitted), (_, predicted) = SEEN
    assert fitted.max() < 1000 <= predicted.min()
    assert len(fitted) == 96 and len(predicted) == 128
    found = overall(experiment)
    assert set(found["dataset"]) == {"wesad to drivedb"}
    assert set(found["protocol"]) == {"across_populations"}
    assert list(found["n_test_windows"]) == [128, 128]
    assert set(experiment.predictions[0]["subject"]) == {"B0", "B1", "B2", "B3"}


def test_within_a_population_people_are_new_all_the_same(experiment):
    transfer.transfer(PAPER, experiment, references=("watching",), network=False)
    assert len(SEEN) == 4, "two folds"
    for (_, fitted), (_, predicted) in zip(SEEN[::2], SEEN[1::2], strict=True):
        assert not set(fitted // 24) & set(predicted // 24), "24 windows are a subject"
    assert overall(experiment)["dataset"].item() == "wesad to wesad"
    assert overall(experiment)["protocol"].item() == "group_kfold_subject"


def test_groups_of_one_set_are_populations(experiment, monkeypatch):
    member = dict(zip(("A0", "A1", "A2", "A3"), ("old", "young", "old", "young"), strict=True))
    monkeypatch.setattr(datasets, "groups", lambda name, root: member)
    transfer.transfer(
        PAPER, experiment, groups=("old", "young"), references=("watching",), network=False
    )
    (_, fitted), (_, predicted) = SEEN
    assert set(fitted // 24) == {0, 2} and set(predicted // 24) == {1, 3}
    assert overall(experiment)["dataset"].item() == "wesad old to wesad young"
    with pytest.raises(ParameterError, match="no subjects of.*its groups are old, young"):
        transfer.transfer(PAPER, experiment, groups=("old", "middling"))


def test_a_set_without_groups_says_so(experiment):
    experiment.setting = replace(experiment.setting, dataset="eegmat")
    experiment.data = replace(experiment.data, folder=datasets.prepare("eegmat", "simulated",
                                                                       subjects=1))  # fmt: skip
    with pytest.raises(ParameterError, match="eegmat does not tell groups"):
        transfer.transfer(PAPER, experiment, groups=("old", "young"))


def test_windows_that_do_not_fit_are_refused(experiment, monkeypatch):
    longer = made_up("B", 0)
    longer = replace(longer, X=np.concatenate([longer.X, longer.X], axis=2))
    monkeypatch.setattr(transfer, "load", lambda setting: longer)
    with pytest.raises(ParameterError, match=r"windows \(1, 16\).*\(1, 32\).*do not fit together"):
        transfer.transfer(PAPER, experiment, to=TO)


def test_coins_are_tossed_for_both_populations(experiment):
    transfer.transfer(PAPER, experiment, to=TO, shares=(0.5,), placebo=True)
    assert experiment.table()["placebo"].all()
    table = experiment.predictions[0]
    sides = table.groupby(["subject", "trial"])["y_true"].agg(["nunique", "first"])
    assert (sides["nunique"] == 1).all() and set(sides["first"]) == {0, 1}
    assert (sides["first"].groupby("subject").sum().between(1, 3)).all()


def test_adapting_sees_the_beginning_and_is_tested_on_the_later_half(experiment, monkeypatch):
    adapted = []

    def noted(net, method, X, y, X_test, **how):
        adapted.append((X[:, 0, 0].copy(), X_test[:, 0, 0].copy()))
        return None, {transfer.STEPS: np.zeros(len(X_test), int)}

    monkeypatch.setattr(transfer, "adapt", noted)
    transfer.transfer(PAPER, experiment, to=TO, shares=(1 / 8, 1 / 2))
    assert len(adapted) == 4 * 2
    for number, (chosen, tested) in enumerate(adapted):
        assert (
            chosen.min() >= 1000 and len(set(chosen // 1)) == len(chosen) == 4 * (1, 4)[number % 2]
        )
        assert ((chosen - 1000) % 8 < 4).all() and ((tested - 1000) % 8 >= 4).all()
    found = overall(experiment, protocol="later_half_of_new_subjects").set_index("variant")
    strided = experiment.setting.variant
    assert list(found.index) == [f"{strided}+{share}_percent" for share in (0, 12, 50)]
    assert list(found["estimator"]) == ["hcmnet_unadapted", *["hcmnet_fine_tuned"] * 2]
    assert (found["n_test_windows"] == 64).all()


def test_adapting_changes_nothing_of_what_was_scored_before(experiment):
    for to in (TO, None):
        tables = []
        for shares in ((), (0.5,)):
            one = Experiment(experiment.setting, experiment.data)
            transfer.transfer(PAPER, one, to=to, shares=shares)
            own = one.table()
            tables.append(own[own["estimator"] == "hcmnet"].reset_index(drop=True))
        assert tables[0].equals(tables[1])


def test_same_seed_same_rows(experiment):
    tables = []
    for _ in range(2):
        one = Experiment(experiment.setting, experiment.data)
        transfer.transfer(PAPER, one, to=TO, shares=(0.5,))
        tables.append(one.table())
    assert tables[0].equals(tables[1])


def test_a_sweep_knows_the_windows_of_both(monkeypatch):
    smoke = {"dataset": "eegmat", "tier": "open", "scale": "smoke"}
    settings = sweeps.settings_of("hcmnet", Cell("transfer", smoke, {"to": TO}))
    assert [one.dataset for one in settings] == ["eegmat", "drivedb"]
    assert settings[1].seconds == settings[0].seconds and settings[1].label_rule == "rest_drive"
    assert len(sweeps.settings_of("hcmnet", Cell("transfer", smoke, {"to": None}))) == 1
    hashes = {"eegmat": "one", "drivedb": "two"}
    loaded = lambda setting: SimpleNamespace(content_hash=lambda: hashes[setting.dataset])  # noqa: E731
    monkeypatch.setattr(sweeps, "_loaded", loaded)
    keys = []
    for hashes["drivedb"] in ("two", "three"):
        keys.append(sweeps.key("hcmnet", Cell("transfer", smoke, {"to": TO})))
    assert keys[0] != keys[1]
