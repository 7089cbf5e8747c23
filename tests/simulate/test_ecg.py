"""Simulated ECG: what the two dials promise."""

from __future__ import annotations

import neurokit2 as nk
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from affectbook import simulate
from affectbook.errors import ParameterError
from affectbook.simulate import ecg

SFREQ = 256.0
SECONDS = 10
BLOCKS = [("baseline", 120.0), ("stress", 120.0), ("amusement", 120.0)]


def trials(n_subjects: int, **dials: float) -> list[tuple[int, str, np.ndarray]]:
    """Return subject, condition and signal of each trial."""
    found = []
    for subject in range(n_subjects):
        plan = simulate.session_plan(subject, BLOCKS, gap_s=5.0)
        signal, blocks = simulate.ecg_subject(subject, plan, sfreq=SFREQ, **dials)
        for condition, start_s, stop_s in blocks:
            piece = signal[round(start_s * SFREQ) : round(stop_s * SFREQ)]
            found.append((subject, condition, piece))
    return found


def cut(
    found: list[tuple[int, str, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return windows of 10 s, and the subject, condition and trial of each."""
    n_times = round(SECONDS * SFREQ)
    X = [signal[: len(signal) // n_times * n_times].reshape(-1, n_times) for *_, signal in found]
    counts = [len(windows) for windows in X]
    subject = np.repeat([s for s, *_ in found], counts)
    condition = np.repeat([c for _, c, _ in found], counts)
    return np.concatenate(X), subject, condition, np.repeat(np.arange(len(found)), counts)


def rate_and_t_wave(window: np.ndarray) -> tuple[float, float]:
    """Return heart rate in bpm, and the log height of T over R."""
    clean = nk.signal_filter(window, SFREQ, lowcut=0.5, highcut=40)
    peaks, _ = find_peaks(
        clean, height=0.5 * np.percentile(clean, 99.5), distance=round(0.35 * SFREQ)
    )
    whole = peaks[(peaks > 0.1 * SFREQ) & (peaks < len(clean) - 0.45 * SFREQ)]
    after = np.mean([clean[p + round(0.15 * SFREQ) : p + round(0.4 * SFREQ)] for p in whole], 0)
    t_wave = (after.max() - np.median(clean)) / np.median(clean[whole])
    return 60 * SFREQ / np.median(np.diff(peaks)), np.log(max(t_wave, 1e-3))


def across_subjects(effect: float) -> float:
    """Return the balanced accuracy of heart rate and T wave on people not trained on."""
    X, subject, condition, _ = cut(trials(15, effect=effect, fingerprint=1.0))
    features = np.array([rate_and_t_wave(window) for window in X])
    model = make_pipeline(StandardScaler(), LogisticRegression())
    found = cross_val_predict(model, features, condition, groups=subject, cv=LeaveOneGroupOut())
    return balanced_accuracy_score(condition, found)


def recognised(fingerprint: float) -> float:
    """Return how often the nearest other window, in log amplitude spectra, is of the same trial."""
    X, _, _, trial = cut(trials(15, effect=0.0, fingerprint=fingerprint))
    spectra = np.log(np.abs(np.fft.rfft(X * np.hanning(X.shape[1])))[:, 1:] + 1e-9)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    found = cross_val_predict(KNeighborsClassifier(1), spectra, trial, cv=folds)
    return float(np.mean(found == trial))


def test_effect_is_learnt_across_subjects_in_spite_of_the_fingerprint():
    assert across_subjects(1.0) > 0.9


def test_without_effect_there_is_nothing_to_learn():
    # Windows of a trial are alike: 45 trials count, not 540 windows, so that three standard
    # errors around one third are 3 * sqrt(1/3 * 2/3 / 45).
    assert abs(across_subjects(0.0) - 1 / 3) < 0.21


def test_the_fingerprint_gives_single_trials_away_without_any_effect():
    assert recognised(1.0) > 0.9


def test_without_fingerprint_no_trial_is_recognised():
    assert recognised(0.0) < 0.06, "chance is one of 45"


def heart(condition: str, **dials: float) -> tuple[float, float]:
    """Return mean heart rate in bpm and RMSSD in ms over ten people, by neurokit2."""
    rates, rmssd = [], []
    for subject in range(10):
        signal, _ = simulate.ecg_subject(subject, [(condition, 120.0)], sfreq=SFREQ, **dials)
        _, info = nk.ecg_peaks(nk.ecg_clean(signal, SFREQ), SFREQ)
        rr = np.diff(info["ECG_R_Peaks"]) / SFREQ
        rates.append(60 / rr.mean())
        rmssd.append(1000 * np.sqrt(np.mean(np.diff(rr) ** 2)))
    return float(np.mean(rates)), float(np.median(rmssd))


def test_conditions_change_heart_rate_and_variability_as_stated():
    found = {name: heart(name, fingerprint=0.0) for name in simulate.CONDITIONS}
    rate = {name: value for name, (value, _) in found.items()}
    rmssd = {name: value for name, (_, value) in found.items()}
    assert rate["baseline"] == pytest.approx(68, abs=1.5)
    assert rate["stress"] - rate["baseline"] == pytest.approx(25, abs=2)
    assert rate["amusement"] - rate["baseline"] == pytest.approx(8, abs=2)
    assert rate["meditation"] < rate["baseline"] - 4
    assert rmssd["stress"] < 0.6 * rmssd["baseline"] < rmssd["baseline"] < rmssd["amusement"]


def test_at_effect_0_a_condition_does_not_change_a_single_sample():
    signals = [
        simulate.ecg_subject(3, [(name, 20.0)], sfreq=SFREQ, effect=0.0)[0]
        for name in simulate.CONDITIONS
    ]
    for signal in signals[1:]:
        np.testing.assert_array_equal(signal, signals[0])


def test_at_fingerprint_0_all_are_drawn_from_the_same():
    zero = [ecg._person(ecg._rng(0, subject, 1), 0.0) for subject in range(5)]
    for person in zero:
        assert person.rate_bpm == ecg._REST.rate_bpm
        np.testing.assert_array_equal(person.noise, ecg._REST.noise)
        np.testing.assert_array_equal(person.log_gain, 0.0)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    subject=st.integers(0, 40),
    effect=st.floats(0, 3),
    fingerprint=st.floats(0, 3),
    seconds=st.floats(0.5, 30),
    sfreq=st.sampled_from([100.0, 128.0, 360.0, 496.5, 700.0]),
)
def test_any_dials_give_finite_millivolts_twice_the_same(
    seed, subject, effect, fingerprint, seconds, sfreq
):
    plan = [(None, 1.0), ("stress", seconds), (None, 0.5), ("meditation", 2.0)]
    dials = {"sfreq": sfreq, "effect": effect, "fingerprint": fingerprint, "seed": seed}
    signal, blocks = simulate.ecg_subject(subject, plan, **dials)
    again, _ = simulate.ecg_subject(subject, plan, **dials)
    assert signal.tobytes() == again.tobytes()
    assert len(signal) == round((3.5 + seconds) * sfreq)
    assert np.isfinite(signal).all() and np.abs(signal).max() < 300
    assert [name for name, *_ in blocks] == ["stress", "meditation"]
    assert blocks[0][1] == pytest.approx(1.0, abs=1 / sfreq)
    assert blocks[0][2] == pytest.approx(1.0 + seconds, abs=1 / sfreq)


def test_subjects_and_seeds_differ():
    plan = [("baseline", 5.0)]
    signals = {
        simulate.ecg_subject(subject, plan, sfreq=SFREQ, seed=seed)[0].tobytes()
        for subject in range(3)
        for seed in range(3)
    }
    assert len(signals) == 9


def test_the_order_of_conditions_differs_between_subjects():
    plans = [simulate.session_plan(subject, BLOCKS, gap_s=5.0) for subject in range(15)]
    assert all(sorted(p for p in plan if p[0]) == sorted(BLOCKS) for plan in plans)
    assert all([c for c, _ in plan][::2] == [None] * 4 for plan in plans)
    first = [plan[1][0] for plan in plans]
    assert {first.count(name) for name, _ in BLOCKS} <= set(range(1, 11))
    assert plans[2] == simulate.session_plan(2, BLOCKS, gap_s=5.0)
    assert plans != [simulate.session_plan(s, BLOCKS, gap_s=5.0, seed=1) for s in range(15)]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"effect": -0.1}, "effect"),
        ({"effect": float("nan")}, "effect"),
        ({"fingerprint": 4.0}, "fingerprint"),
        ({"seed": -1}, "seed"),
        ({"subject_index": -1}, "subject"),
        ({"sfreq": 50.0}, "100 Hz"),
        ({"sfreq": float("nan")}, "100 Hz"),
        ({"plan": [("fear", 10.0)]}, "'fear'"),
        ({"plan": [("stress", 0.0)]}, "no sample"),
        ({"plan": [("stress", float("nan"))]}, "no sample"),
        ({"plan": []}, "empty"),
    ],
)
def test_wrong_input_is_one_message(wrong, word):
    given_ = {"subject_index": 0, "plan": [("stress", 10.0)], "sfreq": SFREQ} | wrong
    with pytest.raises(ParameterError, match=word):
        simulate.ecg_subject(**given_)
