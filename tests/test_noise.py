"""Noise has the power it is said to have, lies where it is said to lie, and can be made again."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import periodogram

from affectbook import noise
from affectbook.datasets.recording import Recording
from affectbook.errors import DataError, ParameterError
from affectbook.windows import condition_signal

SFREQ, N_TIMES = 128.0, 320
MAKERS = {"wander": noise.wander, "muscle": noise.muscle, "motion": noise.motion}
BANDS = {"wander": noise.BREATHING_HZ, "muscle": noise.MUSCLE_HZ, "motion": noise.MOTION_HZ}
kinds = pytest.mark.parametrize("kind", noise.KINDS)
few = settings(max_examples=15)


def windows(n: int = 4, seed: int = 0, offset: float = 0.0) -> np.ndarray:
    """Return windows of one lead of unlike size, on an offset."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.01, 5, (n, 1, 1))
    return (size * rng.standard_normal((n, 1, N_TIMES)) + offset).astype(np.float32)


def power(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64).var(-1)


# How much.


@kinds
@few
@given(snr_db=st.floats(-10, 40), seed=st.integers(0, 99), offset=st.floats(-3, 3))
def test_the_ratio_of_ac_powers_is_met_in_every_window(kind, snr_db, seed, offset) -> None:
    X = windows(3, seed, offset).astype(np.float64)
    got = noise.added(X, kind, snr_db, SFREQ, seed=seed)
    assert got.shape == X.shape
    np.testing.assert_allclose(10 * np.log10(power(X) / power(got - X)), snr_db, atol=1e-6)


@kinds
def test_windows_of_float32_stay_so(kind) -> None:
    X = windows()
    got = noise.added(X, kind, 10, SFREQ)
    assert got.dtype == np.float32
    np.testing.assert_allclose(10 * np.log10(power(X) / power(got - X)), 10, atol=1e-3)
    assert noise.added(np.ones((1, 1, 4), int), kind, 10, SFREQ).dtype == np.float32


@kinds
@pytest.mark.parametrize("highpass", [None, 0.5])
def test_an_infinite_ratio_returns_the_windows(kind, highpass) -> None:
    X = windows()
    got = noise.added(X, kind, np.inf, SFREQ, highpass=highpass)
    assert np.array_equal(got, X) and not np.shares_memory(got, X)


@kinds
def test_noise_at_one_ratio_is_that_at_another_times_a_factor(kind) -> None:
    X = windows().astype(np.float64)
    weak, strong = (noise.added(X, kind, one, SFREQ) - X for one in (20, 0))
    np.testing.assert_allclose(strong, 10 * weak, atol=1e-9)


@kinds
def test_where_nothing_moves_there_is_nothing_to_compare_noise_with(kind) -> None:
    X = np.full((2, 1, N_TIMES), 3, np.float32)
    assert np.array_equal(noise.added(X, kind, 0, SFREQ), X)


# Again.


@kinds
@few
@given(seed=st.integers(0, 2**40), chosen=st.lists(st.integers(0, 11), min_size=1, max_size=6))
def test_a_window_s_noise_depends_on_its_number_and_the_seed_alone(kind, seed, chosen) -> None:
    make, n_times = MAKERS[kind], 200
    everyone = make(12, n_times, SFREQ, seed=seed)
    assert everyone.shape == (12, n_times) and np.isfinite(everyone).all()
    np.testing.assert_allclose(make(chosen, n_times, SFREQ, seed=seed), everyone[chosen],
                               rtol=1e-12, atol=1e-12)  # fmt: skip
    assert not np.allclose(make(12, n_times, SFREQ, seed=seed + 1), everyone)


@kinds
def test_seeds_and_numbers_reproduce_what_was_added(kind, monkeypatch) -> None:
    X, how = windows(5), {"seed": 3, "highpass": 0.5}
    one = noise.added(X, kind, 10, SFREQ, **how)
    assert np.array_equal(one, noise.added(X, kind, 10, SFREQ, **how))
    monkeypatch.setattr(noise, "_TOGETHER", 2)
    np.testing.assert_allclose(noise.added(X, kind, 10, SFREQ, **how), one, rtol=1e-6)
    some = noise.added(X[[4, 1]], kind, 10, SFREQ, windows=[4, 1], **how)
    np.testing.assert_allclose(some, one[[4, 1]], rtol=1e-6)
    others = noise.added(np.repeat(X[:1], 2, 0), kind, 10, SFREQ)
    assert not np.allclose(*others), "each window has noise of its own"


# Where.


@kinds
@pytest.mark.parametrize("sfreq", [128.0, 500.0])
def test_the_spectrum_lies_where_it_is_said(kind, sfreq) -> None:
    low, high = BANDS[kind]
    made = MAKERS[kind](8, round(40 * sfreq), sfreq)
    hz, density = periodogram(made, sfreq, "hann")
    inside = (hz >= 0.95 * low) & (hz <= 1.05 * high)
    share = density[:, inside].sum() / density[:, hz > 0].sum()
    assert share > 0.85
    centre = (hz * density.sum(0)).sum() / density.sum()
    assert low < centre < min(high, sfreq / 2)


def test_muscles_work_in_bursts() -> None:
    made = noise.muscle(16, round(30 * SFREQ), SFREQ).reshape(16, -1, round(SFREQ / 4))
    strength = made.std(-1)
    quiet, loud = np.percentile(strength, [20, 80], axis=1)
    assert (loud > 4 * quiet).all()
    steady = np.random.default_rng(0).standard_normal(made.shape).std(-1)
    assert np.ptp(np.percentile(steady, [20, 80])) < 0.5, "as white noise is not"


def test_movements_are_rare_and_large() -> None:
    made = noise.motion(16, round(30 * SFREQ), SFREQ)
    scaled = made / made.std(-1, keepdims=True)
    assert (np.abs(scaled).max(-1) > 3.5).all() and np.median(np.abs(scaled)) < 0.6


# After the high-pass.


def test_a_high_pass_takes_wander_away_and_leaves_the_rest() -> None:
    left = {kind: power(noise.unit(kind, 32, N_TIMES, SFREQ, highpass=0.5)) for kind in noise.KINDS}
    assert np.median(left["wander"]) < 0.01 and left["wander"].max() < 0.1
    assert 0.5 < np.median(left["motion"]) < 1
    np.testing.assert_allclose(left["muscle"], 1, atol=1e-3)


@kinds
def test_filtered_noise_is_the_same_noise_through_the_filter_of_recordings(kind) -> None:
    # A recording that holds the window's noise and what came before and after it.
    seconds = 10
    margin, highpass = round(seconds * SFREQ), 0.5
    long = MAKERS[kind](2, N_TIMES + 2 * margin, SFREQ, seed=5)
    plain, filtered = (noise.unit(kind, 2, N_TIMES, SFREQ, seed=5, highpass=one)
                       for one in (None, highpass))  # fmt: skip
    scale = long[:, margin:-margin].std(-1, keepdims=True)
    np.testing.assert_allclose(long[:, margin:-margin] / scale, plain)
    for row, size, own in zip(long, scale, filtered, strict=True):
        signal = row[None].astype(np.float32)
        recording = Recording(signal=signal, sfreq=SFREQ, ch_names=("ECG",), unit="mV",
                              subject="S", session="1", trial="t", condition="rest")  # fmt: skip
        after = condition_signal(recording, SFREQ, (highpass, None))[0, margin:-margin]
        np.testing.assert_allclose(after / size, own, atol=1e-4)


@kinds
def test_the_filter_of_a_sum_is_the_sum_of_the_filtered(kind) -> None:
    # Borders do not matter: with twice the margin the middle is the same.
    from scipy.signal import butter, sosfiltfilt

    sos = butter(4, 0.5, "highpass", fs=SFREQ, output="sos")
    margin = round(10 * SFREQ)
    long = MAKERS[kind](1, N_TIMES + 4 * margin, SFREQ)[0]
    wide, narrow = (sosfiltfilt(sos, part) for part in (long, long[margin:-margin]))
    middle = narrow[margin:-margin]
    np.testing.assert_allclose(wide[2 * margin : -2 * margin], middle, atol=0.01 * long.std())


# Refused.


@pytest.mark.parametrize(("given", "message"), [
    ({"kind": "hum"}, "no noise 'hum'; there are wander, muscle, motion"),
    ({"snr_db": float("nan")}, "a ratio of nan dB"),
    ({"snr_db": -np.inf}, "a ratio of -inf dB"),
    ({"highpass": 64.0}, "128 Hz has no high-pass at 64.0 Hz"),
    ({"highpass": 0.0}, "has no high-pass"),
    ({"seed": -1}, "a seed is 0 or more"),
    ({"sfreq": 0.0}, "at 0 Hz"),
    ({"sfreq": 40.0}, "take a higher rate"),
    ({"kind": "motion", "sfreq": 20.0}, "have no band from 0.5 to 10 Hz"),
])  # fmt: skip
def test_noise_that_cannot_be_is_refused(given, message) -> None:
    told = {"kind": "muscle", "snr_db": 10.0, "sfreq": SFREQ} | given
    with pytest.raises(ParameterError, match=re.escape(message)):
        noise.added(windows(), told.pop("kind"), told.pop("snr_db"), told.pop("sfreq"), **told)


@pytest.mark.parametrize("X", [
    np.zeros((2, 8)), np.zeros((2, 2, 8)), np.full((1, 1, 8), np.nan), np.full((1, 1, 8), np.inf),
], ids=["2-D", "two leads", "nan", "infinite"])  # fmt: skip
def test_windows_that_are_none_are_refused(X) -> None:
    with pytest.raises(DataError):
        noise.added(X, "wander", 10, SFREQ)


def test_a_window_of_one_sample_has_no_ac_power() -> None:
    with pytest.raises(ParameterError, match="2 samples or more"):
        noise.added(np.zeros((1, 1, 1)), "wander", 10, SFREQ)


# What it is called.


@kinds
@pytest.mark.parametrize("base", [None, "published", "published+last_4_db"])
@given(snr_db=st.sampled_from([30, 10.0, 2.5, 0, -6]), filtered=st.booleans())
def test_a_name_can_be_read_again(kind, base, snr_db, filtered) -> None:
    name = "+".join(filter(None, (base, noise.named(kind, snr_db, filtered))))
    found = re.match(noise.NAMED, name)
    assert found["base"] == base and found["kind"] == kind
    assert float(found["snr_db"]) == snr_db and bool(found["filtered"]) == filtered


def test_other_variants_are_not_read_as_noise() -> None:
    for name in ("", "published", "published+muscle", "wander_10", "published+wander_10_dbs"):
        assert not re.match(noise.NAMED, name)
