"""Rhythm and beats of windows of which they are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectbook import beats, cache, features, files
from affectbook.errors import CacheError
from affectbook.simulate.ecg import ecg_subject

SFREQ = 500


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "project_root", lambda: tmp_path)


def ecg(rate: float, t: float = 0.3, s: float = 0.2) -> np.ndarray:
    """Return 5 s with beats of 1 mV at a steady rate, T waves and S waves of these heights."""
    time = np.arange(5 * SFREQ) / SFREQ
    away = (time - 0.3 + 30 / rate) % (60 / rate) - 30 / rate
    waves = ((1.0, 0.0, 0.01), (t, 0.25, 0.04), (-s, 0.035, 0.01))
    made = sum(height * np.exp(-0.5 * ((away - at) / wide) ** 2) for height, at, wide in waves)
    return made[None].astype(np.float32)


def test_rhythm_is_that_of_the_book_s_heart_rate_variability() -> None:
    signal, _ = ecg_subject(3, [("baseline", 15.0)], sfreq=SFREQ)
    X = signal.reshape(3, 1, -1).astype(np.float32)
    found, known = beats.measures(X, SFREQ), features.hrv(X, SFREQ)
    np.testing.assert_allclose(found["heart_rate"], known["heart_rate"])
    np.testing.assert_allclose(np.exp(found["log_rmssd"]), known["rmssd"])


def test_what_is_planted_is_measured_whatever_the_scale() -> None:
    plain = np.stack([ecg(70), ecg(90, t=0.5), ecg(70, t=0.1)])
    X = np.concatenate([plain, 5 * plain + 3])
    found = beats.measures(X, SFREQ)
    assert list(found) == list(beats.MEASURES)
    np.testing.assert_allclose(found[:3], found[3:], atol=0.02)
    assert found["heart_rate"].tolist()[:3] == pytest.approx([70, 90, 70], abs=1)
    assert found["t_ratio"].tolist()[:3] == pytest.approx([0.25, 0.42, 0.08], abs=0.03)
    heights = [(x.max() - np.median(x)) / x.std() for x in plain[:, 0]]
    assert found["r_height"].tolist()[:3] == pytest.approx(heights, abs=0.15)


def test_without_beats_there_is_nothing_to_measure() -> None:
    slow = ecg(70) * (np.arange(5 * SFREQ) < 2 * SFREQ)
    X = np.stack([np.zeros((1, 5 * SFREQ)), np.ones((1, 5 * SFREQ)), slow]).astype(np.float32)
    assert beats.measures(X, SFREQ).isna().all(axis=None)


def test_what_was_measured_is_read(monkeypatch) -> None:
    X = ecg(70)[None]
    first = beats.measures(X, SFREQ)
    monkeypatch.setattr(features, "r_peaks", lambda *_: pytest.fail("measured again"))
    np.testing.assert_array_equal(beats.measures(X.copy(), SFREQ), first)


def test_without_room_it_is_measured_for_this_run_alone(monkeypatch, caplog) -> None:
    def refuse(*_: object) -> None:
        raise CacheError("full", found="nothing is free")

    monkeypatch.setattr(cache, "folder", refuse)
    assert beats.measures(ecg(70)[None], SFREQ)["heart_rate"].item() == pytest.approx(70, abs=1)
    assert "could not be kept (nothing is free)" in caplog.text
