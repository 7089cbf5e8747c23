"""DREAMER: the layout, the conversion that happens once, ratings, rules and the twin."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from tiny_dreamer import N_EEG, empty_project, person, write

from affectbook import cache, datasets
from affectbook.datasets import _dreamer_file, _matlab, _sandbox, dreamer
from affectbook.datasets.labels import LOWEST
from affectbook.datasets.recording import Recording
from affectbook.errors import DataError, DataFileError, DataNotFoundError, ParameterError
from affectbook.windows import make_windows


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    """Return an empty folder that stands for the project."""
    return empty_project(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """Return a folder with two tiny subjects, for tests that change nothing in it."""
    folder = tmp_path_factory.mktemp("DREAMER")
    write(folder, [person(0), person(1)])
    return folder


@pytest.mark.parametrize("kind", ["ecg", "eeg"])
@pytest.mark.parametrize("part", ["stimulus", "baseline"])
def test_what_is_written_is_read_in_float32(two, kind, part):
    recordings = list(datasets.load("dreamer", two, channels=kind, part=part))
    assert len(recordings) == 2 * 18
    for index, subject in enumerate(("S01", "S02")):
        wanted = person(index)
        own = [r for r in recordings if r.subject == subject]
        assert [r.trial for r in own] == [str(film) for film in range(1, 19)]
        for film, recording in enumerate(own):
            signal = wanted[kind if part == "stimulus" else f"{kind}_baseline"][film]
            np.testing.assert_array_equal(recording.signal, signal.astype(np.float32))
            assert recording.signal.flags.c_contiguous
            given_ = {name: recording.ratings[name] for name in dreamer.RATINGS}
            assert given_ == {name: wanted[name][film] for name in dreamer.RATINGS}
            for name in dreamer.RATINGS:
                assert recording.ratings[LOWEST.format(name)] == min(wanted[name])
            assert recording.session == "1" and recording.condition is None
            assert recording.start_s == 0 and recording.ch_names == dreamer.CHANNELS[kind]
    assert {r.sfreq for r in recordings} == {256.0 if kind == "ecg" else 128.0}
    assert {r.unit for r in recordings} == {"a.u." if kind == "ecg" else "uV"}


def test_ecg_is_the_default_and_channels_can_be_named(two):
    assert next(iter(datasets.load("dreamer", two))).ch_names == ("ECG1", "ECG2")
    one = next(iter(datasets.load("dreamer:F4,AF3", two)))
    np.testing.assert_array_equal(one.signal, person(0)["eeg"][0][[11, 0]].astype(np.float32))
    assert len(dreamer.CHANNELS["eeg"]) == len(set(dreamer.CHANNELS["eeg"])) == 14


@pytest.mark.parametrize("kind", ["ecg", "eeg"])
def test_the_last_seconds_of_a_stimulus(two, kind):
    whole = list(datasets.load("dreamer", two, channels=kind))
    cut = list(datasets.load("dreamer", two, channels=kind, last_s=0.25))
    longer = list(datasets.load("dreamer", two, channels=kind, last_s=60))
    n_times = round(0.25 * dreamer.SFREQ[kind])
    for all_, last, kept in zip(whole, cut, longer, strict=True):
        np.testing.assert_array_equal(last.signal, all_.signal[:, -n_times:])
        assert last.signal.shape[1] == n_times
        assert last.start_s == pytest.approx(all_.duration_s - 0.25)
        np.testing.assert_array_equal(kept.signal, all_.signal)
        assert kept.start_s == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"part": "stimuli"}, "part = 'stimuli'; it is one of stimulus, baseline"),
        ({"channels": "emg"}, "channels = 'emg'"),
        ({"last_s": 0}, "last_s = 0"),
        ({"last_s": -3.0}, "last_s"),
        ({"last_s": 0.001}, "last_s"),
        ({"last_s": float("nan")}, "last_s"),
        ({"last_s": float("inf")}, "last_s"),
        ({"last_s": 1.0, "part": "baseline"}, "part='stimulus'"),
    ],
)
def test_a_wrong_option_is_one_message_at_the_call(two, options, words):
    with pytest.raises(ParameterError, match=words):
        dreamer.read(two, ["S01"], **options)


def test_converted_once_for_all_calls_kinds_and_parts(two, monkeypatch, caplog):
    loads = []
    original = _sandbox.call
    monkeypatch.setattr(_sandbox, "call", lambda *a, **k: loads.append(a) or original(*a, **k))
    with caplog.at_level(logging.INFO, "affectbook"):
        for kind in ("ecg", "eeg", "ecg"):
            for part in ("stimulus", "baseline"):
                list(dreamer.read(two, ["S02"], channels=kind, part=part))
    assert [load[0] for load in loads] == [_dreamer_file.convert]
    told = [r.getMessage() for r in caplog.records if "is converted, once" in r.getMessage()]
    assert len(told) == 1 and "GB of memory at the peak" in told[0]


def test_nothing_is_converted_before_the_first_recording(two, project):
    dreamer.read(two, ["S01"])
    assert not (project / "build").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "ratings"])
def test_what_is_kept_is_made_again_when_damaged(two, project, damage):
    before = list(dreamer.read(two, ["S01"]))
    (kept,) = (project / "build" / "cache" / "dreamer").iterdir()
    victim = kept / ("ratings.json" if damage == "ratings" else "S01-ecg.npz")
    raw = bytearray(victim.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    victim.unlink()
    if damage != "delete":
        victim.write_bytes(raw[:-1] if damage == "cut" else raw)
    for old, new in zip(before, dreamer.read(two, ["S01"]), strict=True):
        np.testing.assert_array_equal(old.signal, new.signal)
        assert old.ratings == new.ratings
    assert cache.is_whole(kept)


def test_another_file_is_converted_anew(tmp_path, project):
    folder = tmp_path / "DREAMER"
    write(folder, [person(0)])
    assert len(list(dreamer.read(folder, ["S01"]))) == 18
    write(folder, [person(5)])
    first = next(dreamer.read(folder, ["S01"]))
    np.testing.assert_array_equal(first.signal, person(5)["ecg"][0].astype(np.float32))
    assert len(list((project / "build" / "cache" / "dreamer").iterdir())) == 2


def test_too_little_memory_is_one_message_before_the_file_is_loaded(two, project, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10))
    monkeypatch.setattr(_sandbox, "call", lambda *a, **k: pytest.fail("loaded"))
    with pytest.raises(DataError, match=r"too little memory.*DREAMER\.mat.*free.*do: "):
        next(dreamer.read(two, ["S01"]))
    assert not list((project / "build" / "cache" / "dreamer").iterdir())


def test_a_subject_is_freed_before_the_next_is_taken(two, tmp_path, monkeypatch):
    data, seen = [], []
    original = _matlab.load

    def load(*args):
        content = original(*args)
        data.append(content["DREAMER"][0, 0]["Data"])
        return content

    def lengths(*args):
        seen.append([cell is None for cell in data[0].flat])

    monkeypatch.setattr(_matlab, "load", load)
    monkeypatch.setattr(_dreamer_file, "_check_lengths", lengths)
    _dreamer_file.convert(two / "DREAMER.mat", tmp_path, ["S01", "S02"], 0)
    assert seen == [[True, False], [True, True]]


def plain(path: Path) -> np.ndarray:
    return scipy.io.loadmat(path)["DREAMER"]


def test_the_file_can_be_read_in_every_way_that_people_use(two):
    """Index the raw file as published readers of it do."""
    path, wanted = two / "DREAMER.mat", person(1)
    record = plain(path)[0, 0]["Data"][0, 1]
    loose = scipy.io.loadmat(path, struct_as_record=False, squeeze_me=True)["DREAMER"]
    dicts = scipy.io.loadmat(path, simplify_cells=True)["DREAMER"]
    for film in range(18):
        for kind in ("eeg", "ecg"):
            for part, name in (("stimuli", kind), ("baseline", f"{kind}_baseline")):
                samples = wanted[name][film].T
                ways = (
                    record[kind.upper()][0, 0][part][0, 0][film, 0],
                    getattr(getattr(loose.Data[1], kind.upper()), part)[film],
                    dicts["Data"][1][kind.upper()][part][film],
                )
                for found in ways:
                    np.testing.assert_array_equal(found, samples)
        for rating in dreamer.RATINGS:
            entry = f"Score{rating.capitalize()}"
            assert record[entry][0, 0][film, 0] == wanted[rating][film]
            assert getattr(loose.Data[1], entry)[film] == wanted[rating][film]
            assert dicts["Data"][1][entry][film] == wanted[rating][film]
    assert dicts["EEG_Electrodes"].tolist() == list(dreamer.CHANNELS["eeg"])
    assert (dicts["EEG_SamplingRate"], dicts["ECG_SamplingRate"]) == (128, 256)
    top = plain(path)[0, 0]
    assert top["Data"].shape == (1, 2) and top["EEG_Electrodes"].shape == (1, 14)
    assert record["EEG"][0, 0]["stimuli"][0, 0].shape == (18, 1)
    assert record["ScoreValence"][0, 0].shape == (18, 1)


RULES = {(rule.target, rule.name): rule for rule in dreamer.CARD.label_rules}


def rated(**ratings: float) -> Recording:
    return Recording(
        np.zeros((1, 1), np.float32), 1.0, ("x",), "a.u.", "S01", "1", "1", ratings=ratings
    )


def test_the_first_rule_of_each_target_is_that_of_the_published_code():
    first: dict[str, str] = {}
    for rule in dreamer.CARD.label_rules:
        first.setdefault(rule.target, rule.name)
    assert first == {"valence": "valence >= 3", "arousal": "arousal >= 3",
                     "dominance": "dominance >= 3", "quadrant": "quadrants >= 3"}  # fmt: skip
    assert len(RULES) == len(dreamer.CARD.label_rules) == 17


@pytest.mark.parametrize("target", ["valence", "arousal"])
@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("{} >= 3", [0, 0, 1, 1, 1]),
        ("{} > 3", [0, 0, 0, 1, 1]),
        ("{} in 3", [0, 1, 1, 2, 2]),
        ("{} in 5", [0, 1, 2, 3, 4]),
    ],
)
def test_rules_of_one_rating(target, name, classes):
    rule = RULES[target, name.format(target)]
    assert [rule.label(rated(**{target: r})) for r in (1, 2, 3, 4, 5)] == classes
    assert len(rule.classes) == max(classes) + 1
    assert rule.label(rated()) is None


@given(ratings=st.lists(st.integers(1, 5), min_size=18, max_size=18))
def test_the_shifted_rule_takes_off_the_lowest_that_a_subject_gave(ratings):
    rule = RULES["valence", "valence in 5, shifted as released"]
    for rating in ratings:
        recording = rated(valence=rating, **{LOWEST.format("valence"): min(ratings)})
        assert rule.label(recording) == rating - min(ratings)
    assert rule.label(rated(valence=3)) is None


def test_rules_of_two_ratings():
    at_least, more = RULES["quadrant", "quadrants >= 3"], RULES["quadrant", "quadrants > 3"]
    pairs = [(2, 2), (2, 4), (4, 2), (4, 4), (3, 3)]
    recordings = [rated(valence=v, arousal=a) for v, a in pairs]
    assert [at_least.label(r) for r in recordings] == [0, 1, 2, 3, 3]
    assert [more.label(r) for r in recordings] == [0, 1, 2, 3, 0]


def test_windows_carry_subject_trial_and_label(two):
    rule = RULES["arousal", "arousal >= 3"]
    recordings = datasets.load("dreamer", two)
    windows = make_windows(
        recordings, seconds=0.25, overlap=0.0, label_rule=rule, sfreq=256.0, band=(None, None)
    )
    assert windows.X.shape[1:] == (2, 64)
    assert set(windows.meta["subject"]) == {"S01", "S02"}
    for index, subject in enumerate(("S01", "S02")):
        wanted = person(index)
        for film in range(18):
            rows = (windows.meta["subject"] == subject) & (windows.meta["trial"] == str(film + 1))
            assert set(windows.y[rows]) == {int(wanted["arousal"][film] >= 3)}
            assert rows.sum() == (2 * (N_EEG + film)) // 64


def test_subjects_are_known_without_opening_the_file(tmp_path):
    (tmp_path / "DREAMER.mat").write_bytes(b"")
    assert dreamer.subjects_in(tmp_path) == dreamer.expected_in(tmp_path) == dreamer.CARD.subjects
    assert dreamer.files_of(tmp_path, "S07") == (tmp_path / "DREAMER.mat",)
    assert len(dreamer.CARD.subjects) == 23 and dreamer.CARD.subjects[-1] == "S23"
    assert dreamer.subjects_in(tmp_path / "nothing") == ()


def test_a_subject_that_is_not_there_is_one_message(two):
    assert datasets.subjects("dreamer", two) == ("S01", "S02")
    with pytest.raises(DataNotFoundError, match="S03"):
        datasets.load("dreamer", two, ["S03"])
    with pytest.raises(DataNotFoundError, match=r"S03.*S01 to S02"):
        next(dreamer.read(two, ["S03"]))


def test_no_file_is_one_message(tmp_path):
    with pytest.raises(DataFileError, match=r"DREAMER\.mat"):
        next(dreamer.read(tmp_path, ["S01"]))


SHORT = {"baseline_s": 1.0, "stimulus_s": (1.5, 2.5)}


def test_a_twin_has_all_films_and_whole_ratings(tmp_path):
    dreamer.make_twin(tmp_path, subjects=2, **SHORT)
    ecg, eeg = (list(datasets.load("dreamer", tmp_path, channels=k)) for k in ("ecg", "eeg"))
    assert len(ecg) == len(eeg) == 36
    for left, right in zip(ecg, eeg, strict=True):
        assert left.signal.shape[1] == 2 * right.signal.shape[1]
        assert (left.subject, left.trial, left.ratings) == (
            right.subject, right.trial, right.ratings)  # fmt: skip
        assert np.abs(left.signal).max() < 10
        assert 4000 < right.signal.min() and right.signal.max() < 4500
    first, second = eeg[:18], eeg[18:]
    assert len({r.signal.shape[1] for r in first}) == 18, "films differ in length"
    assert [r.signal.shape for r in first] == [r.signal.shape for r in second]
    assert {1.5, 2.5} <= {r.duration_s for r in first}
    for recording in datasets.load("dreamer", tmp_path, part="baseline"):
        assert recording.duration_s == 1.0
    for name in dreamer.RATINGS:
        assert {r.ratings[name] for r in ecg} <= {1, 2, 3, 4, 5}


def test_a_twin_is_the_same_every_time_and_no_subject_depends_on_the_others(tmp_path):
    plan = {"a": (1, 3), "b": (2, 3), "c": (1, 4), "d": (1, 3)}
    for name, (subjects, seed) in plan.items():
        dreamer.make_twin(tmp_path / name, subjects=subjects, seed=seed, **SHORT)
    raw = {name: (tmp_path / name / "DREAMER.mat").read_bytes() for name in plan}
    assert raw["a"] == raw["d"]
    signals = {
        (name, kind): next(dreamer.read(tmp_path / name, ["S01"], channels=kind)).signal
        for name in plan
        for kind in dreamer.CHANNELS
    }
    for kind in dreamer.CHANNELS:
        np.testing.assert_array_equal(signals["a", kind], signals["b", kind])
        assert not np.array_equal(signals["a", kind], signals["c", kind])


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_without_effect_signals_do_not_depend_on_what_is_felt(monkeypatch, effect):
    made = []
    for sign in (1, -1):
        state = dreamer.simulate.Affect(0.8 * sign, 0.8 * sign)
        monkeypatch.setattr(dreamer.simulate, "felt", lambda *a, state=state, **k: state)
        made.append(
            dreamer._simulated(0, [(1.0, 2.0)] * 18, effect=effect, fingerprint=1.0, seed=0)
        )
    for kind in ("ecg", "eeg"):
        same = all(map(np.array_equal, made[0][kind], made[1][kind]))
        assert same == (effect == 0)
    assert made[0]["valence"] != made[1]["valence"]


def test_a_subject_of_a_twin_is_small(tmp_path):
    dreamer.make_twin(tmp_path, subjects=1)
    path = tmp_path / "DREAMER.mat"
    assert path.stat().st_size < 4_000_000 and _matlab.declared_bytes(path) < 11_000_000
    durations = [r.duration_s for r in dreamer.read(tmp_path, ["S01"])]
    assert min(durations) == 20 and max(durations) == 30


@pytest.mark.parametrize("subjects", [0, 24, -1])
def test_a_twin_has_1_to_23_subjects(tmp_path, subjects):
    with pytest.raises(ParameterError, match="1 to 23"):
        dreamer.make_twin(tmp_path, subjects=subjects)


@pytest.mark.parametrize("lengths", [{"baseline_s": 0.0}, {"stimulus_s": (-1.0, 3.0)}])
def test_a_twin_without_samples_is_one_message(tmp_path, lengths):
    with pytest.raises(ParameterError, match="no sample"):
        dreamer.make_twin(tmp_path, subjects=1, **lengths)
    assert not list(tmp_path.glob("*.mat"))
