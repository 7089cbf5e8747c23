"""Features: heart rate and variability of a known heart, and a spectrum blind to the phase."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from affectbook import features

SFREQ = 256.0


def ecg(beats_s: np.ndarray, seconds: float, sfreq: float = SFREQ, seed: int = 0) -> np.ndarray:
    """Return an ECG in mV with its R-peaks at these seconds: P, QRS and T waves, a little noise."""
    time = np.arange(round(seconds * sfreq)) / sfreq
    signal = 0.01 * np.random.default_rng(seed).standard_normal(len(time))
    waves = ((-0.16, 0.12, 0.025), (-0.03, -0.12, 0.01), (0, 1.1, 0.011), (0.03, -0.2, 0.01),
             (0.25, 0.3, 0.045))  # fmt: skip
    for centre, height, width in waves:
        away = time[:, None] - beats_s[None] - centre
        signal += (height * np.exp(-0.5 * (away / width) ** 2)).sum(1)
    return signal.astype(np.float32)


def beats(rate: float, seconds: float, swing_ms: float = 0.0) -> np.ndarray:
    """Return the seconds of beats whose RR intervals are long and short by turns."""
    rr = 60 / rate + swing_ms / 2000 * (-1) ** np.arange(round(seconds * rate / 60))
    return 0.3 + np.cumsum(rr)


@pytest.mark.parametrize("sfreq", [128.0, 256.0, 700.0])
@pytest.mark.parametrize("rate", [48, 72, 110])
def test_heart_rate_of_a_known_heart(rate, sfreq) -> None:
    X = ecg(beats(rate, 35), 30, sfreq)[None, None]
    assert features.hrv(X, sfreq)["heart_rate"][0] == pytest.approx(rate, abs=2)


@pytest.mark.parametrize("swing_ms", [0, 40, 120])
def test_variability_of_a_known_heart(swing_ms) -> None:
    X = ecg(beats(70, 65, swing_ms), 60)[None, None]
    row = features.hrv(X, SFREQ).iloc[0]
    # Intervals by turns long and short: each step is the swing, each deviation half of it.
    assert row["rmssd"] == pytest.approx(swing_ms, abs=8)
    assert row["sdnn"] == pytest.approx(swing_ms / 2, abs=5)
    assert row["pnn50"] == pytest.approx(float(swing_ms > 50), abs=0.05)


def test_one_row_per_window_from_its_first_channel() -> None:
    slow, fast = ecg(beats(60, 15), 10), ecg(beats(90, 15), 10)
    table = features.hrv(np.stack([[slow, fast], [fast, slow]]), SFREQ)
    assert tuple(table.columns) == features.HRV_COLUMNS
    assert table["heart_rate"].to_numpy() == pytest.approx([60, 90], abs=2)


@pytest.mark.parametrize(
    "window",
    [
        np.zeros(2560), np.full(2560, 3.0), np.linspace(0, 1, 2560), np.eye(1, 2560, 1280)[0],
        1e-9 * np.random.default_rng(0).standard_normal(2560), np.zeros(256),
    ],
    ids=["zero", "constant", "ramp", "one spike", "next to nothing", "one second"],
)  # fmt: skip
def test_a_window_without_a_heart_gives_no_number_and_no_exception(window) -> None:
    table = features.hrv(window.astype(np.float32)[None, None], SFREQ)
    assert table.shape == (1, 4)
    if not window.any() or np.ptp(window) == 0:
        assert table.isna().all(axis=None)


def test_a_window_with_two_beats_gives_no_number() -> None:
    X = ecg(np.array([1.0, 2.0]), 3)[None, None]
    assert features.hrv(X, SFREQ).isna().all(axis=None)


def test_r_peaks_are_where_the_beats_are() -> None:
    seconds = beats(75, 20)
    found = features.r_peaks(ecg(seconds, 20), SFREQ) / SFREQ
    inside = seconds[(seconds > 0.5) & (seconds < 19.5)]
    assert np.abs(inside[:, None] - found[None]).min(1).max() < 0.02


def test_values_do_not_depend_on_what_else_is_computed() -> None:
    X = np.stack([ecg(beats(rate, 15), 10)[None] for rate in (55, 80, 105)])
    together = features.hrv(X, SFREQ)
    assert all(together.iloc[[i]].equals(features.hrv(X[[i]], SFREQ).set_axis([i])) for i in (2, 0))


def test_transformers_learn_nothing_and_can_be_cloned() -> None:
    X = np.stack([ecg(beats(rate, 15), 10)[None] for rate in (55, 80)])
    for transformer in (features.HrvFeatures(SFREQ), features.SpectrumFeatures(SFREQ)):
        fitted_elsewhere = clone(transformer).fit(X[:1]).transform(X)
        assert np.array_equal(transformer.transform(X), fitted_elsewhere)


def test_the_spectrum_is_blind_to_where_in_the_beat_a_window_starts() -> None:
    spectrum = features.SpectrumFeatures(SFREQ)
    heart, other = (ecg(beats(rate, 15), 10) for rate in (60, 75))
    heart = heart + 0.05 * np.random.default_rng(1).standard_normal(len(heart)).astype(np.float32)
    shifts = [np.roll(heart, shift) for shift in (0, 97, 640, 1501)]
    points = spectrum.transform(np.stack([*shifts, other])[:, None])
    among_shifts = max(np.linalg.norm(points[0] - point) for point in points[1:4])
    assert among_shifts < 0.5 * np.linalg.norm(points[0] - points[4])


def test_the_spectrum_has_bins_of_half_a_hertz_for_each_channel() -> None:
    X = np.random.default_rng(0).standard_normal((3, 2, 2560))
    assert features.SpectrumFeatures(SFREQ, highest_hz=40).transform(X).shape == (3, 2 * 80)
    sine = np.sin(2 * np.pi * 10 * np.arange(2560) / SFREQ)[None, None]
    assert np.argmax(features.SpectrumFeatures(SFREQ).transform(sine)[0]) == 19, "10 Hz"


def test_a_flat_signal_has_a_finite_spectrum() -> None:
    assert np.isfinite(features.SpectrumFeatures(SFREQ).transform(np.zeros((1, 1, 2560)))).all()
