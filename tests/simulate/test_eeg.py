"""Simulated EEG: what states, people and the two dials do to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import welch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from affectbook import simulate
from affectbook.errors import ParameterError
from affectbook.simulate import Affect, eeg

SFREQ = 128.0
EPOC = ("AF3", "F7", "F3", "FC5", "T7", "P7", "O1", "O2", "P8", "T8", "FC6", "F4", "F8", "AF4")
FEW = ("Fp1", "F3", "F4", "Fz", "Cz", "T3", "Pz", "O1", "O2", "A2-A1")
ALPHA, THETA, BETA = (8, 13), (4, 7), (14, 30)


def one(state: object, subject: int = 0, seconds: float = 60.0, **dials: object) -> np.ndarray:
    dials = {"sfreq": SFREQ, "ch_names": FEW} | dials
    return simulate.eeg_subject(subject, [(state, seconds)], **dials)[0]


def log_power(signal: np.ndarray, band: tuple[float, float], sfreq: float = SFREQ) -> np.ndarray:
    """Return the log of the mean power density of each channel in a band."""
    hz, power = welch(signal, sfreq, nperseg=round(2 * sfreq))
    return np.log(power[:, (hz >= band[0]) & (hz <= band[1])].mean(1))


def mean_power(state: object, band: tuple[float, float]) -> dict[str, float]:
    """Return the log power of each channel, the mean of 8 people."""
    powers = [log_power(one(state, subject), band) for subject in range(8)]
    return dict(zip(FEW, np.mean(powers, 0).tolist(), strict=True))


def test_alpha_is_a_rhythm_at_the_back_that_falls_with_arousal():
    calm, wild = mean_power(Affect(0, -1), ALPHA), mean_power(Affect(0, 1), ALPHA)
    for name in ("Pz", "O1", "O2"):
        assert calm[name] > wild[name] + 0.8, name
    assert calm["O1"] > calm["Cz"] + 0.3 > calm["F3"] + 0.3
    beta = [mean_power(Affect(0, arousal), BETA)["O1"] for arousal in (-1, 1)]
    assert beta[0] == pytest.approx(beta[1], abs=0.05), "the background has no state"


def test_frontal_alpha_is_lower_on_the_left_when_valence_is_high():
    good, bad = mean_power(Affect(1, 0), ALPHA), mean_power(Affect(-1, 0), ALPHA)
    side = {name: state["F4"] - state["F3"] for name, state in (("good", good), ("bad", bad))}
    assert side["good"] > 0.15 and side["bad"] < -0.15
    assert good["O2"] - good["O1"] == pytest.approx(bad["O2"] - bad["O1"], abs=0.05)
    assert good["O1"] == pytest.approx(bad["O1"], abs=0.05)


def test_theta_at_the_frontal_midline_rises_with_valence():
    good, bad = mean_power(Affect(1, 0), THETA), mean_power(Affect(-1, 0), THETA)
    assert good["Fz"] > bad["Fz"] + 0.4
    assert good["Fz"] - bad["Fz"] > good["F3"] - bad["F3"] > good["O1"] - bad["O1"] - 0.02
    assert good["O1"] == pytest.approx(bad["O1"], abs=0.05)


def test_the_background_falls_as_one_over_f():
    powers = []
    for subject in range(8):
        hz, power = welch(one(None, subject, 120, sfreq=200.0, ch_names=["Cz"]), 200.0, nperseg=800)
        powers.append(np.log(power[0]))
    clear = ((hz > 1.5) & (hz < 4)) | ((hz > 14) & (hz < 45))
    slope = np.polyfit(np.log(hz[clear]), np.mean(powers, 0)[clear], 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.15)


def test_neighbours_are_alike():
    names = ("C3", "C1", "C4", "O2")
    alike = np.corrcoef(one(None, seconds=120, ch_names=names, fingerprint=0.0))[0]
    assert alike[1] > 0.5 > alike[2] + 0.3 and abs(alike[3]) < 0.3


def test_the_ear_reference_is_the_difference_of_two_small_signals():
    signal = one(None, ch_names=("A1", "A2", "A2-A1", "Cz"), fingerprint=0.0)
    assert 0.2 < signal[2].std() / signal[3].std() < 0.8
    assert signal[0].std() < 0.6 * signal[3].std()


def blinks(signal: np.ndarray, sfreq: float = SFREQ) -> np.ndarray:
    """Return the samples at which the frontal pole exceeds 60 uV, the first of each blink."""
    above = np.flatnonzero(signal > 60)
    return above[np.diff(above, prepend=-np.inf) > 0.3 * sfreq]


def test_blinks_belong_to_the_frontal_pole_and_to_the_person():
    counts = {
        (subject, state): len(blinks(one(state, subject, 120, ch_names=["Fp1"])[0])) / 2
        for subject in range(8)
        for state in (None, Affect(0.9, 0.9), Affect(-0.9, -0.9))
    }
    rates = [counts[subject, None] for subject in range(8)]
    assert 9 < np.mean(rates) < 21 and max(rates) - min(rates) > 4
    assert rates == [counts[subject, Affect(0.9, 0.9)] for subject in range(8)]
    names = ("Fp1", "AF3", "F3", "Cz", "O1")
    signal = one(None, 0, 240, ch_names=names, fingerprint=0.0)
    at = blinks(signal[0])
    at = at[(at > 64) & (at < signal.shape[1] - 64)]
    heights = np.mean([signal[:, k : k + 20].max(1) - np.median(signal, 1) for k in at], 0)
    assert 85 < heights[0] < 135
    assert heights[0] > heights[1] + 20 and heights[1] > heights[2] + 10
    mean = np.mean([signal[:, k - 60 : k + 60] for k in at], 0)
    width_s = np.sum(mean[0] > mean[0].max() / 2) / SFREQ
    assert width_s == pytest.approx(0.15, abs=0.06), "half height of 0.3 s"
    assert np.ptp(mean[3]) < 15 and np.ptp(mean[4]) < 15


def test_at_effect_0_a_state_does_not_change_a_single_sample():
    states = [None, "stress", *simulate.EMOTIONS.values()]
    signals = {one(state, 3, 5.0, effect=0.0).tobytes() for state in states}
    assert len(signals) == 1
    assert len({one(state, 3, 5.0).tobytes() for state in states}) == len(states) - 1, "None: calm"


def test_named_conditions_are_places_on_the_axes():
    np.testing.assert_array_equal(one(None), one("baseline"))
    np.testing.assert_array_equal(one("baseline"), one(Affect(0, 0)))
    assert set(eeg._AFFECTS) == set(simulate.CONDITIONS)
    assert eeg._AFFECTS["stress"].arousal > 0.5 > -0.5 > eeg._AFFECTS["meditation"].arousal


def test_at_fingerprint_0_all_are_drawn_from_the_same():
    montage = eeg._montage(FEW)
    people = [eeg._person(eeg._rng(0, subject), montage, 0.0) for subject in range(4)]
    trials = [eeg._trial(eeg._rng(1, subject), people[subject], 0.0) for subject in range(4)]
    for one_ in (*people, *trials):
        for name, value in vars(people[0]).items():
            np.testing.assert_array_equal(getattr(one_, name), value, err_msg=name)
    np.testing.assert_array_equal(people[0].background, eeg._BACKGROUND)
    assert len({one(None, subject, 2.0, fingerprint=0.0).tobytes() for subject in range(4)}) == 4


def recognised(fingerprint: float) -> float:
    """Return how often the most similar other trial, by log powers, is of the same person."""
    plan = [(None, 15.0)] * 3
    X = []
    for subject in range(12):
        dials = {"sfreq": SFREQ, "ch_names": EPOC, "fingerprint": fingerprint}
        signal, _ = simulate.eeg_subject(subject, plan, **dials)
        bands = (THETA, ALPHA, BETA, (30, 45))
        X += [
            np.concatenate([log_power(piece, band) for band in bands])
            for piece in np.split(signal, 3, axis=1)
        ]
    apart = np.linalg.norm(np.array(X)[:, None] - np.array(X), axis=-1)
    np.fill_diagonal(apart, np.inf)
    return float(np.mean(apart.argmin(1) // 3 == np.arange(36) // 3))


def test_the_fingerprint_gives_people_away_and_without_it_none_is_recognised():
    assert recognised(1.0) > 0.8
    assert recognised(0.0) < 0.25, "chance is 2 of 35"


def right_about(axis: str, effect: float) -> float:
    """Return the share of trials of people not trained on that are told apart, high from low."""
    X, y, subjects = [], [], []
    stimuli = simulate.stimuli(16)
    for subject in range(10):
        plan = [(simulate.felt(one_, subject, k), 12.0) for k, one_ in enumerate(stimuli)]
        dials = {"sfreq": SFREQ, "ch_names": EPOC, "effect": effect}
        signal, blocks = simulate.eeg_subject(subject, plan, **dials)
        for (_, start_s, stop_s), stimulus in zip(blocks, stimuli, strict=True):
            piece = signal[:, round(start_s * SFREQ) : round(stop_s * SFREQ)]
            X.append(np.concatenate([log_power(piece, band) for band in (THETA, ALPHA, BETA)]))
            y.append(getattr(stimulus, axis) > 0)
            subjects.append(subject)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    found = cross_val_predict(model, np.array(X), y, groups=subjects, cv=LeaveOneGroupOut())
    return float(np.mean(found == np.array(y)))


@pytest.mark.parametrize("axis", ["arousal", "valence"])
def test_effect_is_learnt_across_subjects_and_without_it_there_is_nothing_to_learn(axis):
    assert right_about(axis, 1.0) > 0.75
    assert abs(right_about(axis, 0.0) - 0.5) < 0.13, "three standard errors of 160 trials"


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    subject=st.integers(0, 40),
    effect=st.floats(0, 3),
    fingerprint=st.floats(0, 3),
    sfreq=st.sampled_from([100.0, 128.0, 256.5, 500.0]),
    plan=st.lists(
        st.tuples(
            st.one_of(
                st.none(),
                st.sampled_from(simulate.CONDITIONS),
                st.builds(Affect, st.floats(-1, 1), st.floats(-1, 1)),
            ),
            st.floats(0.05, 6),
        ),
        min_size=1,
        max_size=3,
    ),
    ch_names=st.lists(st.sampled_from([*EPOC, *FEW]), min_size=1, max_size=6, unique=True),
)
def test_any_plan_gives_finite_microvolts_twice_the_same(
    seed, subject, effect, fingerprint, sfreq, plan, ch_names
):
    dials = {"sfreq": sfreq, "effect": effect, "fingerprint": fingerprint, "seed": seed}
    signal, blocks = simulate.eeg_subject(subject, plan, ch_names=ch_names, **dials)
    again, _ = simulate.eeg_subject(subject, plan, ch_names=ch_names, **dials)
    assert signal.tobytes() == again.tobytes() and signal.dtype == np.float64
    ecg, ecg_blocks = simulate.ecg_subject(subject, plan, **dials)
    assert signal.shape == (len(ch_names), len(ecg)) and blocks == ecg_blocks
    assert np.isfinite(signal).all() and np.abs(signal).max() < 5000


def test_subjects_seeds_and_positions_differ_and_do_not_hang_on_each_other():
    signals = {
        one("stress", subject, 2.0, seed=seed).tobytes() for subject in (0, 1) for seed in (0, 1)
    }
    assert len(signals) == 4
    dials = {"sfreq": SFREQ, "ch_names": FEW}
    twice, _ = simulate.eeg_subject(0, [("stress", 2.0), ("stress", 2.0)], **dials)
    first, second = np.split(twice, 2, axis=1)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, one("stress", 0, 2.0))


def test_a_block_that_rounds_to_no_sample_is_none():
    plan = [(None, 1.5 / SFREQ), ("stress", 1.0 / SFREQ), (None, 1.0)]
    signal, blocks = simulate.eeg_subject(0, plan, sfreq=SFREQ, ch_names=FEW)
    assert signal.shape == (len(FEW), 130) and np.isfinite(signal).all()
    assert blocks == [("stress", 2 / SFREQ, 2 / SFREQ)]


def test_streams_are_apart_from_each_other():
    # NumPy takes [1, 2] and [1, 2, 0] for the same seed: a person's stream must not end there.
    person, trial = eeg._rng(0, 1, eeg._STREAM, 0), eeg._rng(0, 1, eeg._STREAM, 1)
    assert person.random() != trial.random()


@pytest.mark.parametrize(
    ("left", "right"),
    [("FP1", "Fp1"), ("FCZ", "FCz"), ("T3", "T7"), ("T4", "T8"), ("T5", "P7"), ("T6", "p8")],
)
def test_a_place_has_several_names(left, right):
    np.testing.assert_array_equal(one(None, ch_names=[left]), one(None, ch_names=[right]))


def test_names_give_places():
    def place(name: str) -> tuple[float, float]:
        return eeg._place(*eeg._electrode(name, name))

    assert place("C5")[0] < place("C3")[0] < place("C1")[0] < place("Cz")[0] == 0 < place("C2")[0]
    fronts = [
        place(name)[1] for name in ("FPZ", "AFz", "Fz", "FCz", "Cz", "CPz", "Pz", "POz", "Oz")
    ]
    assert fronts == sorted(fronts, reverse=True) and fronts[4] == 0
    assert place("T7")[0] < place("C5")[0] and place("F9")[0] < place("F7")[0]
    for left, right in (("F3", "F4"), ("CB1", "CB2"), ("PO7", "PO8"), ("A1", "A2"), ("T9", "T10")):
        assert place(left) == (-place(right)[0], place(right)[1])
        assert place(left)[0] < 0


@pytest.mark.parametrize(
    "name",
    ["X1", "ECG", "", "F", "F0", "F11", "F12", "T1", "C7", "FT1", "FT78", "Fp3", "Az", "CBz",
     "A2-A1-Cz", "A2-", "-", "A2-X", "C03", "EEG Fp1", "F٣", 3, None],
)  # fmt: skip
def test_an_unknown_electrode_is_one_message(name):
    with pytest.raises(ParameterError, match="unknown electrode|at most a difference"):
        one(None, ch_names=["Cz", name])


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"effect": -0.1}, "effect"),
        ({"effect": float("nan")}, "effect"),
        ({"fingerprint": 4.0}, "fingerprint"),
        ({"seed": -1}, "seed"),
        ({"subject_index": -1}, "subject"),
        ({"sfreq": 50.0}, "EEG needs 100 Hz"),
        ({"sfreq": float("nan")}, "EEG needs 100 Hz"),
        ({"plan": [("fear", 10.0)]}, "'fear'"),
        ({"plan": [("stress", 0.0)]}, "no sample"),
        ({"plan": []}, "empty"),
        ({"ch_names": []}, "list of one electrode"),
        ({"ch_names": "Cz"}, "list of one electrode"),
    ],
)
def test_wrong_input_is_one_message(wrong, word):
    given_ = {"subject_index": 0, "plan": [("stress", 1.0)], "sfreq": SFREQ, "ch_names": FEW}
    with pytest.raises(ParameterError, match=word):
        simulate.eeg_subject(**(given_ | wrong))
