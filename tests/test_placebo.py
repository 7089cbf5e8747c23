"""The placebo: on coin flips, honest protocols score chance and leaking ones do not."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.pipeline import Pipeline

from affectbook import datasets, evaluate, protocols, simulate, windows
from affectbook.audit import placebo_labels, standard_error
from affectbook.datasets import deap, wesad
from affectbook.datasets import eegmat as eegmat_set
from affectbook.datasets.recording import Recording
from affectbook.files import project_root
from affectbook.models import reference
from affectbook.models.eeg_classical import de_svm
from affectbook.windows import Windows, trial_ids

SFREQ = 128.0
N_COINS = 5
NEW_SUBJECT = ("leave_one_subject_out", "group_kfold_subject")
NEW_TRIAL = ("leave_one_trial_out", "leave_one_segment_out", "group_kfold_trial")
NEW_FILM = (
    "group_kfold_stimulus", "leave_one_session_out", "group_kfold_subject_and_stimulus",
)  # fmt: skip
MODELS = {
    "fingerprint": reference.fingerprint(SFREQ),
    "hrv_logistic": reference.hrv_logistic(SFREQ),
    "de_svm": de_svm(SFREQ),
}
KNOWN: dict[tuple[int, str], tuple[np.ndarray, np.ndarray]] = {}
"""Windows, kept so that no others get their id, and features."""
each_of_eeg = pytest.mark.parametrize("model", ["fingerprint", "de_svm"])


def each_model_under(names: tuple[str, ...]) -> pytest.MarkDecorator:
    """Return pairs of model and protocol; one fit for each person or trial and coin is slow."""
    pairs = [
        pytest.param(model, name, marks=pytest.mark.slow)
        if model == "hrv_logistic" and name.startswith("leave_one_")
        else (model, name)
        for name in names
        for model in ("fingerprint", "hrv_logistic")
    ]
    return pytest.mark.parametrize(("model", "protocol"), pairs)


def cut(name: str, folder: Path) -> Windows:
    """Return windows of 10 s of a data set."""
    rule = datasets.card(name).label_rules[0]
    return windows.make_windows(datasets.load(name, folder), 10, 0, SFREQ, label_rule=rule)


def twin(folder: Path, effect: float) -> Windows:
    """Return twelve people with one trial per condition, read from WESAD's layout."""
    wesad.make_twin(folder, subjects=12, minutes=8, effect=effect, fingerprint=1.0)
    return cut("wesad", folder)


def long_sessions(folder: Path) -> Windows:
    """Return four people with ten trials of 60 s each, half of them under stress."""
    blocks = [(condition, 60.0) for condition in ("baseline", "stress") for _ in range(5)]
    recordings = []
    for subject in range(4):
        plan = simulate.session_plan(subject, blocks, gap_s=2.0)
        signal, found = simulate.ecg_subject(subject, plan, sfreq=256.0)
        for trial, (condition, start_s, stop_s) in enumerate(found):
            piece = signal[None, round(start_s * 256) : round(stop_s * 256)].astype(np.float32)
            where = (f"S{subject}", "1", f"trial-{trial}", condition)
            recordings.append(Recording(piece, 256.0, ("ECG",), "mV", *where))
    rule = wesad.CARD.label_rules[0]
    return windows.make_windows(recordings, 10, 0, SFREQ, label_rule=rule)


def eegmat(folder: Path) -> Windows:
    """Return the real ECG of 36 people, two trials each."""
    places = [os.environ.get("AFFECTBOOK_DATA"), project_root().parent / "shared" / "data"]
    for place in filter(None, places):
        real = project_root() / place / "eegmat"
        if real.is_dir():
            return cut("eegmat", real)
    pytest.skip("no real eegmat in $AFFECTBOOK_DATA or beside the project")


SETS = {
    "twin, effect 0": partial(twin, effect=0.0),
    "twin, effect 1": partial(twin, effect=1.0),
    "long sessions": long_sessions,
    "eegmat": eegmat,
}


@pytest.fixture(scope="module", params=SETS)
def people(request, tmp_path_factory) -> Windows:
    return SETS[request.param](tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def many_trials(tmp_path_factory) -> Windows:
    return long_sessions(tmp_path_factory.mktemp("data"))


def features_of(X: np.ndarray, model: str) -> np.ndarray:
    """Return the features of a model; they learn nothing, so once is enough for each windows."""
    key = id(X), model
    if key not in KNOWN:
        KNOWN[key] = X, MODELS[model][0].transform(X)
    return KNOWN[key][1]


def on_coins(found: Windows, model: str, protocol: str) -> tuple[float, float]:
    """Return accuracy on coin flips, mean over the coins, and its standard error.

    Each coin tosses every trial anew, so there are as many independent tosses as trials times
    coins; windows of one trial are no tosses of their own.
    """
    estimator: Pipeline = MODELS[model]
    features = features_of(found.X, model)
    per_subject = 2 if protocol in NEW_TRIAL else 0
    right = []
    for coin in range(N_COINS):
        labels = placebo_labels(found.meta, coin, per_subject)
        splitter = protocols.get(protocol)
        done = evaluate.evaluate(estimator[1:], features, labels, found.meta, splitter, seed=coin)
        right.append((done.predictions["y_true"] == done.predictions["y_pred"]).mean())
    n_trials = len(np.unique(trial_ids(found.meta)))
    return float(np.mean(right)), standard_error(n_trials * N_COINS)


def is_at_chance(score: float, error: float) -> bool:
    return abs(score - 0.5) <= 3 * error


@each_model_under(NEW_SUBJECT)
def test_new_subjects_are_at_chance(people, model, protocol) -> None:
    score, error = on_coins(people, model, protocol)
    assert is_at_chance(score, error), (score, error)


@each_model_under(NEW_TRIAL)
def test_new_trials_are_at_chance(many_trials, model, protocol) -> None:
    score, error = on_coins(many_trials, model, protocol)
    assert is_at_chance(score, error), (score, error)


@each_model_under(NEW_FILM)
def test_new_stimuli_and_sessions_are_at_chance(many_trials, model, protocol) -> None:
    sessions = np.where(many_trials.meta["trial"].str[-1] < "5", "1", "2")
    found = many_trials._replace(meta=many_trials.meta.assign(session=sessions))
    score, error = on_coins(found, model, protocol)
    if protocol == "group_kfold_subject_and_stimulus":
        error *= 2  # four people in four folds: a quarter of the trials is tested
    assert is_at_chance(score, error), (score, error)


def test_shuffled_windows_score_high_on_nothing(people) -> None:
    score, _ = on_coins(people, "fingerprint", "shuffled_windows_as_published")
    assert score > 0.9


def test_later_in_the_trial_knows_the_label_of_the_trial(people) -> None:
    score, error = on_coins(people, "fingerprint", "blocked_within_trial")
    assert score > 0.75 and not is_at_chance(score, error)


def eeg_windows(name: str, folder: Path, channels: str, per_trial: int | None) -> Windows:
    """Return windows of 1 s of four electrodes, as the chapter on MS-iMamba cuts them."""
    rule = datasets.card(name).label_rules[0]
    recordings = datasets.load(name, folder, channels=channels.split(","))
    return windows.make_windows(
        recordings, 1, 0, SFREQ, label_rule=rule, band=(0.5, None), per_trial=per_trial
    )


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Windows:
    """Return six people at forty videos each, in DEAP's layout."""
    folder = tmp_path_factory.mktemp("data") / "deap"
    deap.make_twin(folder, subjects=6, effect=0.0, fingerprint=1.0, seed=0)
    return eeg_windows("deap", folder, "Fp1,Fp2,AF3,AF4", 6)


@pytest.fixture(scope="module")
def two_recordings(tmp_path_factory) -> Windows:
    """Return twelve people with one recording of each class, in eegmat's layout."""
    folder = tmp_path_factory.mktemp("data") / "eegmat"
    eegmat_set.make_twin(folder, subjects=12, effect=0.0, fingerprint=1.0, seed=0)
    return eeg_windows("eegmat", folder, "Fp1,Fp2,F3,F4", None)


@each_of_eeg
@pytest.mark.parametrize("protocol", [*NEW_SUBJECT, "group_kfold_trial", "group_kfold_stimulus"])
def test_eeg_of_new_subjects_trials_and_stimuli_is_at_chance(videos, model, protocol) -> None:
    score, error = on_coins(videos, model, protocol)
    assert is_at_chance(score, error), (score, error)


@each_of_eeg
def test_eeg_of_a_recording_tells_its_coin(two_recordings, model) -> None:
    for protocol in ("shuffled_windows_as_published", "blocked_within_trial"):
        score, error = on_coins(two_recordings, model, protocol)
        assert score > 0.6 and not is_at_chance(score, error), (protocol, score, error)
    assert is_at_chance(*on_coins(two_recordings, model, "group_kfold_subject"))
