"""Twelve simulated leads: what any ECG obeys, what the dials promise, and a published matrix."""

from __future__ import annotations

import neurokit2 as nk
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook import simulate
from affectbook.errors import ParameterError
from affectbook.simulate import leads
from affectbook.simulate.leads import LEADS, twelve_leads

SFREQ = 500.0
# The inverse of the matrix as it is published beside it, to three decimals (L. Edenbrandt and
# O. Pahlm, Journal of Electrocardiology 21, 1988): X, Y, Z of V1 to V6, I, II.
INVERSE = np.array(
    [
        [-0.172, -0.074, 0.122, 0.231, 0.239, 0.194, 0.156, -0.010],
        [0.057, -0.019, -0.106, -0.022, 0.041, 0.048, -0.227, 0.887],
        [-0.229, -0.310, -0.246, -0.063, 0.055, 0.108, 0.022, 0.102],
    ]
)


def peaks(lead: np.ndarray) -> np.ndarray:
    """Return the samples of R peaks, by neurokit2."""
    _, info = nk.ecg_peaks(nk.ecg_clean(lead, int(SFREQ)), int(SFREQ))
    return np.asarray(info["ECG_R_Peaks"])


def beat(subject: int, **dials: float) -> np.ndarray:
    """Return the mean of the beats of a minute, ``(12, 0.7 s)``, from 0.25 s before R on."""
    signal, _ = twelve_leads(subject, [(None, 60.0)], sfreq=SFREQ, **dials)
    found = peaks(signal[1])
    found = found[(found > 150) & (found < signal.shape[1] - 250)]
    mean = np.mean([signal[:, at - 125 : at + 225] for at in found], axis=0)
    return mean - np.median(mean, axis=1, keepdims=True)


def test_the_matrix_is_that_whose_inverse_is_published():
    inverse = np.linalg.pinv(leads._DOWER)
    np.testing.assert_allclose(inverse[:, [2, 3, 4, 5, 6, 7, 0, 1]], INVERSE, atol=1.5e-3)


@settings(max_examples=20, deadline=None)
@given(
    subject=st.integers(0, 10_000),
    seed=st.integers(0, 10_000),
    sfreq=st.sampled_from([100.0, 250.0, 256.0, 360.0, 500.0, 1000.0]),
    seconds=st.floats(0.5, 12.0),
    fingerprint=st.floats(0, 3),
    state=st.sampled_from([None, *simulate.CONDITIONS, simulate.Affect(0.3, -0.4)]),
)
def test_limb_leads_are_of_two_and_nothing_is_infinite(
    subject, seed, sfreq, seconds, fingerprint, state
):
    plan = [(state, seconds), (None, 1.0)]
    signal, blocks = twelve_leads(subject, plan, sfreq=sfreq, fingerprint=fingerprint, seed=seed)
    assert signal.shape == (12, round((seconds + 1) * sfreq)) and np.isfinite(signal).all()
    lead = dict(zip(LEADS, signal, strict=True))
    np.testing.assert_allclose(lead["II"], lead["I"] + lead["III"], atol=1e-12)
    np.testing.assert_allclose(lead["aVR"] + lead["aVL"] + lead["aVF"], 0, atol=1e-12)
    np.testing.assert_allclose(lead["aVR"], -(lead["I"] + lead["II"]) / 2, atol=1e-12)
    np.testing.assert_allclose(lead["aVL"], (lead["I"] - lead["III"]) / 2, atol=1e-12)
    np.testing.assert_allclose(lead["aVF"], (lead["II"] + lead["III"]) / 2, atol=1e-12)
    assert [name for name, *_ in blocks] == ([] if state is None else [state])


def test_same_seed_same_bytes_and_no_other():
    plan = [("stress", 5.0), (None, 3.0)]
    one, again, other, seeded = (
        twelve_leads(subject, plan, sfreq=SFREQ, seed=seed)[0]
        for subject, seed in ((4, 1), (4, 1), (5, 1), (4, 2))
    )
    np.testing.assert_array_equal(one, again)
    assert not np.isclose(one, other).all(axis=1).any()
    assert not np.isclose(one, seeded).all(axis=1).any()
    # What comes later changes nothing before it.
    short, _ = twelve_leads(4, plan[:1], sfreq=SFREQ, seed=1)
    np.testing.assert_array_equal(short, one[:, : short.shape[1]])


def test_subjects_are_none_of_those_with_one_lead():
    twelve, _ = twelve_leads(3, [(None, 60.0)], sfreq=SFREQ)
    single, _ = simulate.ecg_subject(3, [(None, 60.0)], sfreq=SFREQ)
    correlations = [np.corrcoef(lead, single)[0, 1] for lead in twelve]
    assert np.max(np.abs(correlations)) < 0.5


def test_all_leads_show_the_same_beats():
    for subject in range(3):
        signal, _ = twelve_leads(subject, [(None, 60.0)], sfreq=SFREQ)
        two, four, five = (peaks(signal[LEADS.index(name)]) for name in ("II", "V4", "V5"))
        for found in (four, five):
            apart = np.abs(two[:, None] - found).min(axis=1)
            assert np.mean(apart < 0.03 * SFREQ) > 0.9 and 50 <= len(found) <= 100


@pytest.mark.parametrize("fingerprint", [0.0, 1.0])
def test_without_noise_twelve_leads_are_one_dipole_in_three_dimensions(fingerprint, monkeypatch):
    monkeypatch.setattr(leads.ecg, "_noise", lambda rng, density, n_times, sfreq: np.zeros(n_times))
    signal, _ = twelve_leads(1, [(None, 5.0)], sfreq=SFREQ, fingerprint=fingerprint)
    assert np.linalg.matrix_rank(signal, tol=1e-6) == 3


def test_a_beat_looks_as_the_textbook_has_it():
    for subject in range(6):
        lead = dict(zip(LEADS, beat(subject), strict=True))
        at = slice(75, 175)
        assert lead["II"][at].max() > 0.4 and lead["aVR"][at].min() < -0.3
        assert -lead["V1"][at].min() > lead["V1"][at].max(), "S is the larger one in V1"
        assert lead["V5"][at].max() > -lead["V5"][at].min(), "R is the larger one in V5"
        assert lead["V5"][at].max() > lead["V2"][at].max() and lead["V5"][at].max() < 3.0
        assert lead["II"][200:300].max() > 0.05 and lead["V3"][200:300].max() > 0.1, "T is upright"


def likeness(**dials: float) -> float:
    """Return the mean correlation of the beats of different people, all leads at once."""
    beats = np.corrcoef([beat(subject, **dials).ravel() for subject in range(5)])
    return float(beats[np.triu_indices(5, 1)].mean())


def test_the_fingerprint_sets_people_apart():
    assert likeness(fingerprint=0.0) > 0.99 > 0.97 > likeness(fingerprint=1.0)


def test_a_state_acts_on_all_leads_as_on_one():
    def rate(condition: str, effect: float) -> float:
        signal, _ = twelve_leads(0, [(condition, 60.0)], sfreq=SFREQ, effect=effect, fingerprint=0)
        return 60 * SFREQ / np.diff(peaks(signal[10])).mean()

    assert rate("stress", 1.0) - rate("baseline", 1.0) == pytest.approx(25, abs=3)
    assert rate("stress", 0.0) == pytest.approx(rate("baseline", 0.0))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"fingerprint": 4.0}, "fingerprint"),
        ({"effect": -1.0}, "effect"),
        ({"sfreq": 50.0}, "100 Hz"),
        ({"plan": [("joy", 5.0)]}, "unknown condition"),
        ({"plan": []}, "empty"),
        ({"seed": -1}, "negative"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments, word):
    given_ = {"plan": [(None, 5.0)], "sfreq": SFREQ} | arguments
    with pytest.raises(ParameterError, match=word):
        twelve_leads(0, given_.pop("plan"), **given_)
