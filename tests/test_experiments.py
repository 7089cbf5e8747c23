"""Experiments: data and evaluations of one setting, and the files they leave."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

from affectbook import datasets, experiments, files, folds, protocols, results
from affectbook.errors import DataNotFoundError, ParameterError, ProtocolError
from affectbook.experiments import Experiment, Setting, rule_of
from affectbook.papers import hcmnet

WESAD = datasets.card("wesad")


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    """Return the folder that stands for build/ in this module."""
    return tmp_path_factory.mktemp("build")


@pytest.fixture(autouse=True)
def elsewhere(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make twins and runs outside of the checkout."""

    def build_dir(*parts: str) -> Path:
        folder = build.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    for module in (files, experiments):
        monkeypatch.setattr(module, "build_dir", build_dir)
    for variable in ("AFFECTBOOK_RUN_DIR", "AFFECTBOOK_RUN_KEY", "AFFECTBOOK_DATA"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def setting() -> Setting:
    return hcmnet.setting(hcmnet.Params(scale="smoke", subjects=4))


@pytest.fixture
def experiment(setting: Setting) -> Experiment:
    return Experiment(setting, experiments.load(setting))


def test_the_twin_is_cut_as_the_setting_says(setting) -> None:
    data = experiments.load(setting)
    assert data.X.shape == (4 * 3 * 4, 1, 640) and data.X.dtype == np.float32
    assert data.sfreq == 128 and data.n_outputs == 3
    assert data.meta["subject"].nunique() == 4 and data.rule == WESAD.label_rules[0]
    assert data.where.startswith("tier: simulated") and "twin" in data.where
    assert "4 subjects" in data.where


def test_a_label_rule_can_be_chosen(setting) -> None:
    data = experiments.load(replace(setting, label_rule="stress_binary"))
    assert data.rule.name == "stress_binary" and data.n_outputs == 2 and set(data.y) == {0, 1}


def test_what_was_added_to_a_setting_is_told_only_where_it_is_used(setting) -> None:
    before = {name: value for name, value in asdict(setting).items() if name != "highpass"}
    assert experiments.told(setting) == before and setting.highpass == 0.5
    louder = replace(setting, highpass=4.0)
    assert experiments.told(louder) == before | {"highpass": 4.0}
    for one in (setting, louder):
        recorded = json.loads(json.dumps(asdict(one)))
        assert experiments.told(recorded) == experiments.told(one), "as a record keeps it"


def test_the_filter_of_the_setting_is_that_of_the_windows(setting) -> None:
    usual, other = experiments.load(setting), experiments.load(replace(setting, highpass=4.0))
    assert usual.X.shape == other.X.shape and usual.meta.equals(other.meta)
    power = [
        np.abs(np.fft.rfft(data.X[:, 0] - data.X[:, 0].mean(1, keepdims=True))) ** 2
        for data in (usual, other)
    ]
    low = slice(3, 10)  # 0.6 to 2 Hz in windows of 5 s
    assert power[1][:, low].sum() < 0.1 * power[0][:, low].sum()


def test_windows_of_some_trials_alone(setting) -> None:
    data = experiments.load(setting)
    meta = data.meta.set_axis(np.arange(len(data.y))[::-1])  # an index that is no position
    session = np.where(np.arange(len(data.y)) % 3 == 0, "1", "2")
    data = replace(data, meta=meta.assign(session=session))
    part = data.only(session="1", subject=meta["subject"].iloc[0])
    rows = np.flatnonzero((session == "1") & (meta["subject"] == meta["subject"].iloc[0]))
    assert np.array_equal(part.X, data.X[rows]) and np.array_equal(part.y, data.y[rows])
    assert part.meta.equals(data.meta.iloc[rows].reset_index(drop=True)) and len(rows) == 4
    assert part.content_hash() != data.content_hash() and "only session 1" in part.where
    assert data.only(session="1").X.shape[0] == 16


@pytest.mark.parametrize(("where", "said"), [
    ({"session": "4"}, "no window of wesad has session 4; there are session: 1"),
    ({"session": "1", "subject": "S99"}, "no window of wesad has session 1, subject S99"),
    ({"visit": "1"}, "windows have no column 'visit'; there are subject, session, trial"),
])  # fmt: skip
def test_no_windows_at_all_are_refused_in_one_message(setting, where, said) -> None:
    with pytest.raises(ParameterError, match=said) as error:
        experiments.load(setting).only(**where)
    assert len(str(error.value).splitlines()) == 1


def test_classes_are_counted(experiment) -> None:
    counts = experiment.data.counts()
    assert list(counts.index) == list(WESAD.label_rules[0].classes)
    assert (counts["windows"] == 16).all()
    assert (counts["trials"] == 4).all() and (counts["subjects"] == 4).all()


def test_the_same_setting_is_the_same_data_and_another_seed_is_not(setting) -> None:
    first, again = experiments.load(setting), experiments.load(setting)
    assert np.array_equal(first.X, again.X) and first.folder == again.folder
    assert not np.array_equal(first.X, experiments.load(replace(setting, seed=1)).X)


@pytest.mark.parametrize(("dataset", "tier"), [("eegmat", "open"), ("wesad", "licensed")])
def test_real_data_that_are_not_there_are_not_replaced(
    setting, dataset, tier, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    monkeypatch.setattr("affectbook.datasets._folders.project_root", lambda: tmp_path)
    with pytest.raises(DataNotFoundError):
        experiments.load(replace(setting, dataset=dataset, tier=tier))


def test_the_first_rule_of_a_card_is_the_default() -> None:
    assert rule_of(WESAD, None, "condition") is WESAD.label_rules[0]
    assert rule_of(WESAD, "stress_binary", "condition").name == "stress_binary"


@pytest.mark.parametrize(("name", "target"), [("stress", "condition"), (None, "valence"),
                                              ("stress_binary", "valence")])  # fmt: skip
def test_a_rule_that_is_not_there_is_answered_with_those_that_are(name, target) -> None:
    with pytest.raises(ParameterError, match="wesad has no label_rule") as error:
        rule_of(WESAD, name, target)
    assert all(rule.name in str(error.value) for rule in WESAD.label_rules)


def test_a_protocol_gets_the_folds_of_the_scale(setting) -> None:
    assert experiments.protocol_of(setting).options == {"n_splits": 2}
    assert experiments.protocol_of(setting, "leave_one_subject_out").options == {}
    with pytest.raises(ProtocolError):
        experiments.protocol_of(setting, "unheard_of")


@pytest.mark.parametrize(
    "wrong", [{"dataset": "wesat"}, {"tier": "open"}, {"label_rule": "x"}, {"target": "valence"}]
)
def test_a_setting_that_cannot_be_is_refused_without_data(setting, wrong) -> None:
    with pytest.raises(ParameterError):
        experiments.checked(replace(setting, **wrong))
    assert experiments.checked(setting) is setting


def test_an_evaluation_becomes_score_rows(experiment, monkeypatch) -> None:
    monkeypatch.setenv("AFFECTBOOK_RUN_KEY", "abc123")
    done = experiment.add("majority", DummyClassifier(), variant="v")
    rows = experiment.table()
    assert list(rows.columns) == results.SCORE_COLUMNS and rows.notna().all(axis=None)
    first = rows.iloc[0]
    assert (first["paper"], first["estimator"], first["variant"]) == ("hcmnet", "majority", "v")
    assert (first["dataset"], first["tier"], first["scale"]) == ("wesad", "simulated", "smoke")
    assert (first["label_rule"], first["protocol"]) == (
        WESAD.label_rules[0].name, "group_kfold_subject",
    )  # fmt: skip
    assert not first["placebo"] and first["run_key"] == "abc123"
    assert set(done.predictions["y_true"]) == {0, 1, 2}
    right = (done.predictions["y_true"] == done.predictions["y_pred"]).mean()
    assert results.overall(rows, "accuracy") == pytest.approx(right)


def test_evaluations_are_collected(experiment) -> None:
    for protocol in (None, "shuffled_windows_as_published"):
        for placebo in (False, True):
            experiment.add("majority", DummyClassifier(), protocol, placebo=placebo)
    keys = ["protocol", "placebo"]
    assert len(experiment.table()[keys].drop_duplicates()) == len(experiment.predictions) == 4
    placebo = results.select(experiment.table(), placebo=True)
    assert results.confusions(placebo)[1].shape[1:] == (2, 2), "a coin has two sides"


def test_a_ready_protocol_says_what_it_trains_on(experiment, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AFFECTBOOK_RUN_DIR", str(tmp_path))
    whole = experiments.protocol_of(experiment.setting)
    ready = [protocols.fewer(whole, share, "trials", 0) for share in (1, 0.5, 0.25)]
    for protocol in (None, *ready):
        experiment.add("majority", DummyClassifier(), protocol, variant="v")
        experiment.add("majority", DummyClassifier(), protocol)
    pairs = [(rows["variant"].iloc[0], rows["protocol"].iloc[0]) for rows in experiment.rows]
    variants = ["v", "", "v", "", "v+0.5_of_trials", "0.5_of_trials", "v+0.25_of_trials",
                "0.25_of_trials"]  # fmt: skip
    assert pairs == [(variant, "group_kfold_subject") for variant in variants]
    assert [rows["variant"].iloc[0] for rows in experiment.predictions] == variants
    kept = list((tmp_path / "folds").iterdir())
    assert len(kept) == 6, "folds of other shares are other folds; the whole one is kept once"


def test_the_placebo_tosses_a_coin_per_trial(experiment) -> None:
    protocol = protocols.get("group_kfold_subject")
    y, n_outputs = experiment.labels(protocol, placebo=False)
    assert y is experiment.data.y and n_outputs == 3
    coins, n_outputs = experiment.labels(protocol, placebo=True)
    assert n_outputs == 2 and set(coins) == {0, 1}
    by_trial = experiment.data.meta.assign(coin=coins).groupby(["subject", "trial"])["coin"]
    assert (by_trial.nunique() == 1).all()
    again, _ = experiment.labels(protocols.get("shuffled_windows_as_published"), placebo=True)
    assert np.array_equal(coins, again), "one coin for all protocols of a run"


def test_what_a_run_leaves_behind(experiment, tmp_path, monkeypatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("AFFECTBOOK_RUN_DIR", str(tmp_path / "run"))
    experiment.add("majority", DummyClassifier(), placebo=True)
    experiment.add("majority", DummyClassifier(), "shuffled_windows_as_published")
    folder = experiment.save()
    assert folder == tmp_path / "run"
    assert {path.name for path in folder.iterdir()} == {
        "scores.csv", "predictions.csv", "data.json", "folds", "progress.log",
    }  # fmt: skip
    assert len(list((folder / "folds").iterdir())) == 2, "one folder for each evaluation"
    back = results.read_rows(folder / "scores.csv")
    pd.testing.assert_frame_equal(back, experiment.table(), check_dtype=False, rtol=1e-9)
    predictions = pd.read_csv(folder / "predictions.csv")
    assert len(predictions) == 2 * len(experiment.data.y)
    assert set(predictions["protocol"]) == {"group_kfold_subject", "shuffled_windows_as_published"}
    kept = json.loads((folder / "data.json").read_text())
    assert kept["windows"] == list(experiment.data.X.shape)
    assert (kept["dataset"], kept["tier"]) == ("wesad", "simulated")
    assert kept["sha256"] == datasets.content_hash("wesad", experiment.data.folder)


def test_the_folds_of_every_model_of_the_chapter_can_be_kept(experiment) -> None:
    """A model without a key would be trained from the start after each interruption."""
    setting, data = experiment.setting, experiment.data
    models = hcmnet.reference_models(setting, data) | {"hcmnet": hcmnet.build(setting, data)}
    keys = {name: folds.key(model) for name, model in models.items()}
    assert None not in keys.values() and len(set(keys.values())) == len(keys)
    again = hcmnet.build(setting, data)
    assert folds.key(again) == keys["hcmnet"]
    assert folds.key(again.set_params(max_epochs=99)) != keys["hcmnet"]


def test_in_a_notebook_the_files_go_into_the_interactive_folder(experiment, build) -> None:
    experiment.add("majority", DummyClassifier())
    assert experiment.save() == build / "runs" / "hcmnet" / "interactive"


def test_rows_of_another_filter_are_of_other_data(setting) -> None:
    data = experiments.load(setting)
    usual, other = (
        Experiment(replace(setting, highpass=edge), data).context() for edge in (0.5, 4.0)
    )
    assert usual["dataset"] == setting.dataset
    assert other["dataset"] == f"{setting.dataset} above 4 Hz"
