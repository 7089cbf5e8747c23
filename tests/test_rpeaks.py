"""Beats stay where they are when a recording is prepared, and what is lost is told."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectbook import datasets, rpeaks
from affectbook.datasets import dreamer, mand
from affectbook.datasets.recording import Recording
from affectbook.errors import DataError, ParameterError

LEAST = 0.99
TWINS = {"mand:ECG": mand, "dreamer:ECG1": dreamer}


def beating(
    seconds: float = 20.0, sfreq: float = 256.0, noise: float = 0.0, offset: float = 0.0
) -> Recording:
    """Return an ECG of 75 beats a minute: a QRS complex of 1 mV, a T wave, and wander."""
    time = np.arange(round(seconds * sfreq)) / sfreq
    beat = (time + 0.4) % 0.8 - 0.4
    ecg = np.exp(-0.5 * (beat / 0.012) ** 2) - 0.2 * np.exp(-0.5 * ((beat - 0.03) / 0.01) ** 2)
    ecg += 0.25 * np.exp(-0.5 * ((beat - 0.25) / 0.04) ** 2) + 0.3 * np.sin(0.4 * np.pi * time)
    ecg += noise * np.random.default_rng(0).standard_normal(len(time)) + offset
    return Recording(signal=ecg[None].astype(np.float32), sfreq=sfreq, ch_names=("ECG",),
                     unit="mV", subject="S", session="1", trial="t")  # fmt: skip


@cache
def found_in(name: str, root: object) -> list[rpeaks.Survival]:
    return rpeaks.survival(datasets.load(name, root))


# Data sets.


@pytest.fixture(scope="module", params=list(TWINS))
def twin(request, tmp_path_factory) -> list[Recording]:
    """Return the recordings of two simulated people."""
    name = request.param
    folder = TWINS[name].make_twin(tmp_path_factory.mktemp("twin"), subjects=2)
    return list(datasets.load(name, folder))


def test_peaks_of_twins_are_found_again(twin) -> None:
    found = rpeaks.survival(twin)
    assert len(found) == len(twin) and sum(len(one.before) for one in found) > 500
    assert rpeaks.share(found) >= LEAST
    assert sum(one.n_extra for one in found) <= 0.01 * sum(len(one.after) for one in found)
    assert rpeaks.table(found)["largest_ms"].max() < 2 * 1000 / 256, "two samples"


@pytest.mark.parametrize("name", ["eegmat", "drivedb"])
def test_peaks_of_real_recordings_are_found_again(name, real) -> None:
    found = found_in(name, real(name))
    table = rpeaks.table(found)
    assert table["peaks"].sum() > 5000 and rpeaks.share(found) >= LEAST
    moved = np.abs(np.concatenate([one.differences_ms for one in found]))
    assert table["median_ms"].max() < 2 and np.percentile(moved, 99) < 5


def test_where_peaks_of_a_real_recording_are_lost_it_is_the_rate_not_the_signal(real) -> None:
    # Four of the six show no QRS complex: which peaks are found there is chance.
    folder = real("eegmat")
    table = rpeaks.table(found_in("eegmat", folder))
    bad = table[table["share"] < LEAST]
    assert 0 < len(bad) <= len(table) / 10
    pairs = set(zip(bad["subject"], bad["trial"], strict=True))
    of_them = datasets.load("eegmat", folder, sorted(set(bad["subject"])))
    recordings = [one for one in of_them if (one.subject, one.trial) in pairs]
    steps = rpeaks.by_step(recordings).set_index("step")
    lost = steps["peaks"] - steps["again"]
    assert lost["z-score"] == 0 and lost["high-pass"] < lost["new rate"] <= lost["all"]


# What is counted.


@pytest.mark.parametrize("sfreq", [128.0, 250.0, 256.0, 496.0, 500.0])
def test_no_step_moves_a_clean_beat(sfreq) -> None:
    one = rpeaks.compared(beating(sfreq=sfreq))
    assert len(one.before) == len(one.after) >= 23 and one.n_found == len(one.before)
    assert np.abs(one.differences_ms).max() <= 1000 / sfreq + 1 and one.n_extra == 0
    steps = rpeaks.by_step([beating(sfreq=sfreq)])
    assert (steps["share"] == 1).all() and (steps["extra"] == 0).all()
    beats = np.round(one.after / 0.8)
    assert np.abs(one.after - 0.8 * beats).max() < 0.01


def test_prepared_is_filtered_resampled_and_scaled() -> None:
    recording = beating(offset=50.0)
    got = rpeaks.prepared(recording)
    assert got.shape == (10_000,) and abs(got.mean()) < 1e-6 and got.std() == pytest.approx(1)
    # Wander of 0.2 Hz is gone, but for the ends; beats, of 1.25 Hz, are there.
    inside = np.abs(np.fft.rfft(got[2500:7500]))
    assert inside[2] < 0.05 * inside[12:14].max()


def test_a_shift_is_seen_and_beyond_the_tolerance_a_peak_is_lost(monkeypatch) -> None:
    plain = rpeaks.condition_signal

    def late(recording: Recording, sfreq: float, band: rpeaks.Band) -> np.ndarray:
        return np.roll(plain(recording, sfreq, band), round(0.03 * sfreq), axis=-1)

    monkeypatch.setattr(rpeaks, "condition_signal", late)
    one = rpeaks.compared(beating())
    assert np.median(one.differences_ms) == pytest.approx(30, abs=2)
    assert one.n_found == 0 and one.n_extra == len(one.after) and rpeaks.share([one]) == 0
    assert rpeaks.share([rpeaks.compared(beating(), tolerance_ms=40)]) == 1


def test_a_signal_that_is_lost_has_no_peak_found_again(monkeypatch) -> None:
    nothing = np.zeros((1, 10_000), np.float32)
    monkeypatch.setattr(rpeaks, "condition_signal", lambda recording, sfreq, band: nothing)
    one = rpeaks.compared(beating())
    assert len(one.before) and not len(one.after) and np.isinf(one.differences_ms).all()
    line = rpeaks.table([one]).iloc[0]
    assert line["again"] == 0 and line["share"] == 0 and np.isnan(line["median_ms"])


@given(st.lists(st.floats(0, 100), max_size=20), st.lists(st.floats(0, 100), max_size=20))
def test_the_nearest_is_the_nearest(some, others) -> None:
    some, others = np.sort(some), np.sort(others)
    got = rpeaks._to_nearest(some, others)
    assert got.shape == some.shape
    for x, gap in zip(some, got, strict=True):
        nearest = np.abs(others - x).min() if len(others) else np.inf
        assert abs(gap) == nearest and (np.isinf(gap) or np.isclose(others, x + gap).any())


def test_only_the_first_channel_is_looked_at() -> None:
    one = beating()
    both = replace(one, signal=np.concatenate([one.signal, np.zeros_like(one.signal)]),
                   ch_names=("ECG", "EEG"))  # fmt: skip
    assert np.array_equal(rpeaks.compared(both).after, rpeaks.compared(one).after)


def test_a_stretch_that_stands_still_is_left_out_as_no_window_holds_it() -> None:
    one = beating(30, noise=0.005)
    dead = np.full((1, round(120 * one.sfreq)), -10, np.float32)
    found = rpeaks.compared(replace(one, signal=np.concatenate([dead, one.signal], axis=1)))
    assert found.seconds == pytest.approx(30, abs=0.1) and found.before.min() >= 120
    assert len(found.before) >= 35 and found.n_found == len(found.before)
    whole = replace(one, signal=np.concatenate([one.signal, dead], axis=1))
    assert len(rpeaks.compared(whole).before) >= 35


def test_what_is_too_short_for_a_window_has_no_peaks() -> None:
    one = rpeaks.compared(beating(3))
    assert one.seconds == 0 and not len(one.before) and not len(one.after)
    assert np.isnan(rpeaks.table([one])["share"].item())


# Tables and errors.


def test_a_table_begins_with_the_worst_and_adds_up() -> None:
    good, bad = rpeaks.compared(beating()), rpeaks.compared(beating(noise=1.0))
    table = rpeaks.table([good, replace(bad, trial="noisy")])
    assert table["trial"].tolist() == ["noisy", "t"] and table["share"].is_monotonic_increasing
    assert bad.n_found < len(bad.before), "or this test shows nothing"
    again, peaks = table["again"].sum(), table["peaks"].sum()
    assert rpeaks.share([good, bad]) == again / peaks


def test_nothing_to_compare_is_told() -> None:
    for recordings in ([], [beating(3)]):
        with pytest.raises(DataError, match="no R-peak to find again"):
            rpeaks.survival(recordings)
    with pytest.raises(ParameterError, match="a tolerance of 0 ms"):
        rpeaks.compared(beating(), tolerance_ms=0)
    broken = beating()
    broken.signal[0, 5] = np.nan
    with pytest.raises(DataError, match="not numbers"):
        rpeaks.compared(broken)
