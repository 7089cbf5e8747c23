"""Windows: how many, where they start, and what is done to the signal before it is cut."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook import files, windows
from affectbook.datasets.card import LabelRule
from affectbook.datasets.recording import Recording
from affectbook.errors import CacheError, DataError, ParameterError

RULE = LabelRule("calm_stress", ("calm", "stress"), {"calm": "calm", "stress": "stress"}, "two")
OPEN = (None, None)
SFREQ = 128.0


def recording(
    signal: np.ndarray, sfreq: float = 128.0, condition: str = "calm", **where: object
) -> Recording:
    signal = np.atleast_2d(signal).astype(np.float32)
    names = {"subject": "S2", "session": "1", "trial": f"{condition}-1"}
    ch_names = where.pop("ch_names", tuple(f"ch{i}" for i in range(len(signal))))
    return Recording(signal, sfreq, ch_names, "mV", condition=condition, **(names | where))


def noise(seconds: float, sfreq: float = 128.0, n_chans: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n_chans, round(seconds * sfreq)))


def make(*recordings: Recording, seconds: float = 10, overlap: float = 0, **kwargs: object):
    kwargs = {"sfreq": 128.0, "label_rule": RULE} | kwargs
    return windows.make_windows(recordings, seconds, overlap, **kwargs)


@settings(max_examples=60, deadline=None)
@given(
    n_times=st.integers(40, 3000),
    seconds=st.floats(0.5, 8),
    overlap=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9]),
    sfreq=st.sampled_from([16.0, 32.0, 50.0]),
)
def test_counts_and_times_follow_the_formula(n_times, seconds, overlap, sfreq) -> None:
    signal = noise(n_times / sfreq, sfreq)
    size = round(seconds * sfreq)
    step = max(1, round(size * (1 - overlap)))
    expected = (n_times - size) // step + 1
    if expected < 1:
        with pytest.raises(DataError, match="no recording gives a window"):
            make(recording(signal, sfreq), seconds=seconds, overlap=overlap, sfreq=sfreq)
        return
    X, y, meta = make(
        recording(signal, sfreq), seconds=seconds, overlap=overlap, sfreq=sfreq, band=OPEN
    )
    starts = np.arange(expected) * step
    assert X.shape == (expected, 1, size) and len(y) == len(meta) == expected
    assert np.allclose(meta["start_s"], starts / sfreq)
    assert np.allclose(meta["stop_s"] - meta["start_s"], size / sfreq)
    assert list(meta["window"]) == list(range(expected))
    assert all(np.array_equal(x, signal[:, a : a + size].astype(np.float32))
               for x, a in zip(X, starts, strict=True))  # fmt: skip


def test_types_and_columns() -> None:
    X, y, meta = make(recording(noise(30, n_chans=2)))
    assert X.dtype == np.float32 and y.dtype == np.int64 and X.flags.c_contiguous
    assert list(meta.columns) == windows.META_COLUMNS
    assert list(meta.index) == [0, 1, 2]


def test_every_window_knows_its_recording_and_its_class() -> None:
    X, y, meta = make(
        recording(noise(20, seed=1), subject="S2"),
        recording(noise(30, seed=2), condition="stress", subject="S2"),
        recording(noise(10, seed=3), condition="stress", subject="S3", session="2"),
    )
    assert list(y) == [0, 0, 1, 1, 1, 1]
    assert list(meta["subject"]) == ["S2"] * 5 + ["S3"]
    assert list(meta["session"]) == ["1"] * 5 + ["2"]
    assert list(meta["trial"]) == ["calm-1"] * 2 + ["stress-1"] * 4
    assert list(meta["window"]) == [0, 1, 0, 1, 2, 0]
    assert list(windows.trial_ids(meta)) == [0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("band", [(0.5, None), (None, 30.0), (0.5, 40.0)])
def test_a_recording_is_filtered_whole_and_once(band) -> None:
    one = recording(noise(61, 256.0, n_chans=2) + 3.0, 256.0)
    whole = windows.condition_signal(one, 128.0, band)
    X, _, meta = make(one, overlap=0.5, band=band)
    for x, start_s in zip(X, meta["start_s"], strict=True):
        start = round(start_s * 128)
        assert np.array_equal(x, whole[:, start : start + 1280])
    alone = windows.condition_signal(recording(one.signal[:, :2560], 256.0), 128.0, band)
    assert not np.allclose(X[0], alone, atol=1e-4), "a window filtered alone differs at its edges"


def test_the_filter_takes_drift_away_and_moves_nothing() -> None:
    time = np.arange(60 * 128) / 128
    bump = np.exp(-0.5 * ((time - 30) / 0.01) ** 2)
    X, _, _ = make(recording(bump + 5 + 0.2 * time), seconds=60)
    assert np.argmax(X[0, 0]) == np.argmax(bump)
    assert abs(np.median(X[0, 0])) < 0.05


@pytest.mark.parametrize("sfreq", [700.0, 496.0, 480.0, 256.0])
@pytest.mark.parametrize("hz", [2.0, 11.0, 40.0])
def test_resampling_keeps_a_sine_within_the_band(sfreq, hz) -> None:
    sine = np.sin(2 * np.pi * hz * np.arange(round(30 * sfreq)) / sfreq + 0.3)
    X, _, _ = make(recording(sine, sfreq), seconds=30)
    expected = np.sin(2 * np.pi * hz * np.arange(30 * 128) / 128 + 0.3)
    # The high-pass rings for some seconds where the recording begins and ends.
    assert np.abs(X[0, 0] - expected)[640:-640].max() < 0.01


@pytest.mark.parametrize("sfreq", [700.0, 496.0, 480.0, 256.0])
def test_resampling_folds_nothing_back(sfreq) -> None:
    sine = np.sin(2 * np.pi * 100 * np.arange(round(30 * sfreq)) / sfreq)
    X, _, _ = make(recording(sine, sfreq), seconds=30)
    assert np.abs(X[0, 0, 640:-640]).max() < 0.01


@settings(max_examples=30, deadline=None)
@given(n_windows=st.integers(1, 40), per_trial=st.integers(1, 20))
def test_windows_kept_of_a_trial_are_spread_over_it(n_windows, per_trial) -> None:
    _, _, meta = make(
        recording(noise(n_windows, 32.0), 32.0), seconds=1, sfreq=32.0, per_trial=per_trial
    )
    starts = meta["start_s"].to_numpy()
    assert len(starts) == min(n_windows, per_trial)
    assert list(meta["window"]) == list(range(len(starts)))
    assert starts[0] == 0 and len(set(starts)) == len(starts)
    if len(starts) > 1:
        assert starts[-1] == n_windows - 1
        assert np.ptp(np.diff(starts)) <= 1


class Known(list):
    """Recordings that can say what they are, and count how often they are read."""

    name, read = "a", 0

    def __iter__(self):
        self.read += 1
        return super().__iter__()

    def identity(self) -> dict:
        return {"name": self.name}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(files, "project_root", lambda: tmp_path)
    return tmp_path / "build" / "cache" / "windows"


def known(*recordings, **how) -> windows.Windows:
    how = {"seconds": 10, "overlap": 0, "sfreq": SFREQ, "label_rule": RULE} | how
    return windows.make_windows(*recordings, **how)


def same(one: windows.Windows, other: windows.Windows) -> bool:
    pd.testing.assert_frame_equal(one.meta, other.meta, check_exact=True)
    return np.array_equal(one.X, other.X) and np.array_equal(one.y, other.y)


def both() -> Known:
    odd = recording(noise(45.3, seed=2), subject="007", trial="NA", condition="stress")
    return Known([recording(noise(25, seed=1)), odd])


def test_known_recordings_are_cut_once(project) -> None:
    data = both()
    first, second = known(data, overlap=0.7), known(data, overlap=0.7)
    assert data.read == 1 and same(first, second)
    assert same(first, known(list(data), overlap=0.7)), "and as recordings nobody knows are"
    assert second.X.dtype == np.float32 and second.X.flags.writeable
    assert second.y.dtype == np.int64 and set(second.meta["subject"]) == {"S2", "007"}


@pytest.mark.parametrize(
    "change", [{"seconds": 9}, {"overlap": 0.1}, {"sfreq": 100}, {"per_trial": 1},
               {"band": (1, None)}, {"label_rule": replace(RULE, name="other")}],
)  # fmt: skip
def test_other_arguments_are_other_windows(project, change) -> None:
    data = both()
    known(data)
    known(data, **change)
    assert data.read == 2 and len(list(project.iterdir())) == 2


def test_other_recordings_or_code_are_other_windows(project, monkeypatch) -> None:
    data, other = both(), both()
    other.name = "b"
    known(data)
    known(other)
    monkeypatch.setattr(windows, "code_hash", lambda path: "changed")
    known(data)
    assert (data.read, other.read) == (2, 1)


@pytest.mark.parametrize("file", ["X.f32", "y.npy", "meta.csv", "told.json", "MANIFEST.json"])
@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_damaged_windows_are_cut_again(project, file, how) -> None:
    data = both()
    before = known(data)
    (folder,) = project.iterdir()
    raw = bytearray((folder / file).read_bytes())
    raw[len(raw) // 3] ^= 1
    if how == "gone":
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(raw if how == "flip" else raw[:-5])
    after = known(data)
    assert same(before, after)
    assert data.read == 2 or (file, how) == ("MANIFEST.json", "flip"), "a key is no content"
    assert [path.name for path in project.iterdir()] == [folder.name]


def test_large_windows_stay_on_disk(project, monkeypatch) -> None:
    monkeypatch.setattr(windows, "LARGE", 1000)
    data = both()
    for _ in range(2):
        mapped = known(data)
        assert isinstance(mapped.X, np.memmap) and not mapped.X.flags.writeable
        assert same(mapped, known(list(data)))


def test_what_was_left_out_is_said_each_time(project, caplog) -> None:
    other = recording(noise(20), trial="other", condition="stress")
    data = Known([recording(noise(3), trial="short"), recording(noise(20)), other])
    for _ in range(2):
        caplog.clear()
        known(data)
        assert caplog.text.count("left out: 1") == 1
    assert data.read == 1


def test_it_is_said_as_well_where_nobody_has_set_logging_up(project, monkeypatch) -> None:
    other = recording(noise(20), trial="other", condition="stress")
    data = Known([recording(noise(3), trial="short"), recording(noise(20)), other])
    heard: list[str] = []
    last = logging.Handler()
    last.emit = lambda record: heard.append(record.getMessage())
    monkeypatch.setattr(logging, "lastResort", last)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    for times in (1, 2):
        known(data)
        assert len(heard) == times and "left out: 1" in heard[-1]


def test_what_was_said_before_a_failure_is_said(project, caplog) -> None:
    short, bad = recording(noise(3), trial="short"), recording(np.full(2560, np.nan))
    log = logging.getLogger("affectbook.reader")

    class Telling(Known):
        def __iter__(self):
            log.warning("one thing")
            yield from super().__iter__()

    with pytest.raises(DataError):
        known(Telling([short, bad]))
    assert caplog.text.count("one thing") == 1
    assert logging.getLogger("affectbook").propagate


def test_a_data_set_of_one_class_is_refused(project) -> None:
    alike = Known([recording(noise(20)), recording(noise(20), subject="S3")])
    with pytest.raises(DataError) as caught:
        known(alike)
    error = caught.value
    assert error.found == "calm in all of 4 windows" and "at least two of" in error.expected
    assert all((error.file, error.field, error.do))
    assert len(known(list(alike)).X) == 4, "recordings at hand may be whatever they are"


def test_a_failure_leaves_nothing(project) -> None:
    with pytest.raises(DataError):
        known(Known([recording(noise(20)), recording(np.full(2560, np.nan), condition="stress")]))
    assert not list(project.iterdir())


def test_without_a_place_to_keep_them_windows_are_cut_all_the_same(project, monkeypatch, caplog):
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    data = both()
    before = known(list(data))
    monkeypatch.setattr(windows, "_write", full)
    assert same(known(data), before) and "could not be kept (No space left" in caplog.text
    assert not list(project.iterdir())


def test_what_a_reader_cannot_keep_is_not_tried_twice(project, monkeypatch):
    calls = []

    def full(*_: object) -> None:
        calls.append(1)
        raise CacheError("full", file=project.with_name("dreamer"), found="no space")

    monkeypatch.setattr(windows, "_write", full)
    with pytest.raises(CacheError, match="cache/dreamer"):
        known(both())
    assert len(calls) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(bad) -> None:
    signal = noise(20)
    signal[0, 7] = bad
    with pytest.raises(DataError) as error:
        make(recording(signal, subject="S9"))
    assert "subject S9, trial calm-1" in str(error.value)
    assert "1 of 2560" in str(error.value) and "finite samples" in str(error.value)


def test_recordings_with_other_channels_are_refused() -> None:
    with pytest.raises(DataError, match="differ in channels") as error:
        make(
            recording(noise(20), ch_names=("ECG",)),
            recording(noise(20), ch_names=("BVP",), subject="S3"),
        )
    assert "subject S3" in str(error.value) and "BVP" in str(error.value)


def test_the_rule_leaves_conditions_out() -> None:
    _, y, meta = make(
        recording(noise(20)),
        recording(noise(20), condition="meditation"),
        recording(noise(20), condition="stress"),
    )
    assert set(meta["trial"]) == {"calm-1", "stress-1"} and set(y) == {0, 1}


def test_what_the_rule_leaves_out_is_not_looked_at() -> None:
    broken = recording(np.full(2560, np.nan), condition="meditation", ch_names=("BVP",))
    assert len(make(broken, recording(noise(20))).y) == 2


def test_no_window_is_an_error_that_says_why() -> None:
    with pytest.raises(DataError, match="2 recordings, all too short"):
        make(recording(noise(3)), recording(noise(9)))
    with pytest.raises(DataError, match="no recording it names"):
        make(recording(noise(30), condition="meditation"))
    with pytest.raises(DataError, match="no recording gives a window"):
        make()


@pytest.mark.parametrize("n_times", [1, 2, 9, 1279])
def test_short_recordings_are_left_out_with_one_warning(n_times, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        _, _, meta = make(recording(np.ones(n_times), trial="cut off"), recording(noise(20)))
    assert set(meta["trial"]) == {"calm-1"}
    assert "one window of 10 s, left out: 1" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0}, {"seconds": -1}, {"seconds": 0.001}, {"overlap": 1.0}, {"overlap": -0.1},
        {"sfreq": 0.0}, {"per_trial": 0}, {"per_trial": -3},
    ],
)  # fmt: skip
def test_windows_that_cannot_be_cut_are_refused(wrong) -> None:
    with pytest.raises(ParameterError, match="cannot be cut"):
        make(recording(noise(20)), **wrong)


@pytest.mark.parametrize("band", [(0.5, 64.0), (40.0, 0.5), (0.0, None), (None, 200.0)])
def test_a_band_that_no_filter_has_is_refused(band) -> None:
    with pytest.raises(ParameterError, match="band"):
        make(recording(noise(20)), band=band)


@settings(max_examples=50, deadline=None)
@given(n_times=st.integers(1, 4000), sfreq=st.sampled_from([700.0, 496.0, 480.0, 256.0, 128.0]))
def test_any_length_gives_windows_or_one_message(n_times, sfreq) -> None:
    try:
        X, _, meta = make(recording(noise(n_times / sfreq, sfreq), sfreq), seconds=1)
    except DataError as error:
        assert "too short" in str(error) and n_times < sfreq
    else:
        assert n_times > 0.99 * sfreq and X.shape[1:] == (1, 128) and len(X) == len(meta)
