"""AMIGOS: arousal before valence, empty cells and gaps left out and counted, trials by video."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectbook import datasets, windows
from affectbook.datasets import _matlab, amigos
from affectbook.datasets.recording import Recording
from affectbook.errors import DataFileError, DataNotFoundError, ParameterError

FILE = "Data_Preprocessed_P01.mat"
EXTERNAL = ("external valence", "external arousal")
NOTHING, NO_REPORT = np.empty((0, 0)), np.empty((1, 0))


def content() -> dict[str, list]:
    """Return 20 videos of noise, each of its own length, and labels that say which they are."""
    rng = np.random.default_rng(0)
    report = np.array([[2.0, 3.0, 4.0, 5.0, 6.0, 0, 0, 1, 0, 0, 0, 0]])
    return {
        "data": [rng.standard_normal((640 + 20 + video, 17)) for video in range(20)],
        "reports": [report + [[0.1 * video] * 5 + [0.0] * 7] for video in range(20)],
        "external": [np.array([[1, -0.5, 0.02 * v], [2, 0.1, 0.02 * v]]) for v in range(20)],
        "ids": list(amigos.VIDEO_IDS),
    }


def write(folder: Path, subject: str = "P01", **changed: object) -> Path:
    """Write a subject; ``name=(video, value)`` replaces one cell, a list all of them."""
    cells = content()
    for name, value in changed.items():
        if isinstance(value, tuple):
            cells[name][value[0]] = value[1]
        else:
            cells[name] = value
    return amigos.write_subject(folder, subject, *cells.values())


def read(folder: Path, *subjects: str, **options: str) -> list[Recording]:
    return list(amigos.read(folder, subjects or ("P01",), **options))


def refused(folder: Path, *words: str) -> str:
    with pytest.raises(DataFileError) as caught:
        read(folder, videos="all")
    message = str(caught.value)
    for word in (FILE, *words):
        assert word in message, (word, message)
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> Path:
    """Return a twin of two people with stimuli of 2 s; tests only read it."""
    return amigos.make_twin(tmp_path_factory.mktemp("amigos"), subjects=2, seconds=2.0)


@pytest.mark.parametrize(
    ("channels", "columns", "unit"),
    [
        ("eeg", slice(14), "uV"),
        ("ecg", slice(14, 16), "a.u."),
        ("gsr", slice(16, 17), "a.u."),
    ],
)
@pytest.mark.parametrize(
    ("part", "cut"), [("stimulus", slice(640, None)), ("baseline", slice(640))]
)
@pytest.mark.parametrize(
    ("videos", "which"), [("short", range(16)), ("long", range(16, 20)), ("all", range(20))]
)
def test_reads_what_was_written(tmp_path, channels, columns, unit, part, cut, videos, which):
    write(tmp_path)
    options = {"channels": channels, "part": part, "videos": videos}
    recordings = list(datasets.load("amigos", tmp_path, ["P01"], **options))
    assert [r.trial for r in recordings] == [amigos.VIDEO_IDS[video] for video in which]
    cells = content()
    for video, recording in zip(which, recordings, strict=True):
        expected = cells["data"][video][cut, columns].T.astype(np.float32)
        np.testing.assert_array_equal(recording.signal, expected)
        assert recording.ch_names == amigos.CHANNELS[channels]
        assert (recording.sfreq, recording.unit) == (128.0, unit)
        assert (recording.subject, recording.session) == ("P01", "1")
        assert recording.start_s == (5 if part == "stimulus" else 0)


@pytest.mark.parametrize("inside", ["", "data_preprocessed"])
@pytest.mark.parametrize("own", ["", "Data_Preprocessed_P01"])
def test_copies_in_folders_are_read_alike(tmp_path, inside, own):
    path = write(tmp_path / "flat")
    place = tmp_path / "set" / inside / own / FILE
    place.parent.mkdir(parents=True, exist_ok=True)
    path.rename(place)
    assert amigos.subjects_in(tmp_path / "set") == ("P01",)
    assert amigos.files_of(tmp_path / "set", "P01") == (place,)
    assert len(list(datasets.load("amigos", tmp_path / "set", ["P01"]))) == 16


def test_arousal_comes_first_in_the_file(tmp_path):
    write(tmp_path)
    first = read(tmp_path)[0].ratings
    assert dict(first) == {
        "arousal": 2.0, "valence": 3.0, "dominance": 4.0, "liking": 5.0, "familiarity": 6.0,
        "external valence": pytest.approx(-0.2), "external arousal": 0.0,
    }  # fmt: skip


def test_the_default_is_the_ecg_of_short_videos_without_baseline(tmp_path):
    write(tmp_path)
    recordings = list(datasets.load("amigos", tmp_path, ["P01"]))
    assert len(recordings) == 16 and recordings[0].signal.shape == (2, 20)
    assert recordings[0].ch_names == ("ECG-right", "ECG-left")
    (left, *_) = datasets.load("amigos", tmp_path, ["P01"], channels=["ECG-left"])
    np.testing.assert_array_equal(left.signal[0], content()["data"][0][640:, 15].astype("f4"))


@pytest.mark.parametrize(
    ("option", "near"), [({"part": "base"}, "baseline"), ({"videos": "longs"}, "long")]
)
def test_an_unknown_option_value_is_refused_at_the_call(tmp_path, option, near):
    write(tmp_path)
    with pytest.raises(ParameterError, match=f"of amigos.*did you mean '{near}'"):
        datasets.load("amigos", tmp_path, ["P01"], **option)
    with pytest.raises(ParameterError, match="channels of amigos"):
        amigos.read(tmp_path, ["P01"], channels="ppg")


@pytest.mark.parametrize("nested", [False, True])
def test_files_lie_flat_or_in_a_folder_each(tmp_path, nested):
    path = write(tmp_path)
    if nested:
        (tmp_path / path.stem).mkdir()
        path = path.rename(tmp_path / path.stem / path.name)
    assert amigos.subjects_in(tmp_path) == ("P01",)
    assert amigos.files_of(tmp_path, "P01") == (path,)
    assert len(read(tmp_path)) == 16
    with pytest.raises(DataNotFoundError, match=r"missing are P02, .*do: complete"):
        datasets.load("amigos", tmp_path)


def test_the_written_file_is_the_official_one(tmp_path):
    """Four cells of 1 x 20, time by channel, indexed as torcheeg and others do."""
    raw = scipy.io.loadmat(write(tmp_path, data=(19, NOTHING), reports=(19, NO_REPORT)))
    names = {"joined_data", "labels_selfassessment", "labels_ext_annotation", "VideoIDs"}
    assert {name for name in raw if not name.startswith("__")} == names
    assert all(raw[name].shape == (1, 20) and raw[name].dtype == object for name in names)
    np.testing.assert_array_equal(raw["joined_data"][0][3], content()["data"][3])
    assert raw["joined_data"][0, 19].shape == (0, 0)
    assert raw["labels_selfassessment"][0, 19].shape == (1, 0)
    arousal, valence, *_ = raw["labels_selfassessment"][0][0][0]
    assert (arousal, valence) == (2.0, 3.0)
    assert raw["labels_ext_annotation"][0, 0].shape == (2, 3)
    assert [one.item() for one in raw["VideoIDs"][0]] == list(amigos.VIDEO_IDS)
    assert raw["VideoIDs"][0, 16].shape == (1,)


def test_trials_go_by_the_ids_in_the_file_not_by_their_place(tmp_path):
    ids = [*reversed(amigos.VIDEO_IDS[:16]), *amigos.VIDEO_IDS[16:]]
    write(tmp_path, ids=ids)
    assert [r.trial for r in read(tmp_path, videos="all")] == ids
    write(tmp_path, ids=[np.array([[float(n)]]) for n in range(1, 21)])
    assert [r.trial for r in read(tmp_path)] == [str(n) for n in range(1, 17)]


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == amigos.__name__]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    empty=st.sets(st.integers(0, 19), max_size=6),
    gaps=st.dictionaries(st.integers(0, 19), st.integers(0, 16), max_size=6),
)
def test_what_is_missing_is_left_out_and_counted(tmp_path, caplog, empty, gaps):
    """Whatever cells are empty, and whatever channels have gaps in whatever videos."""
    caplog.clear()
    cells = content()
    for video, column in gaps.items():
        cells["data"][video][645:650, column] = np.nan
    for video in empty:
        cells["data"][video] = NOTHING
    write(tmp_path, **cells)
    for kind, columns in (("ecg", range(14, 16)), ("eeg", range(14)), ("gsr", range(16, 17))):
        caplog.clear()
        there = read(tmp_path, channels=kind, videos="all")
        cut = {video for video, column in gaps.items() if column in columns} - empty
        left = [v for n, v in enumerate(amigos.VIDEO_IDS) if n not in empty | cut]
        assert [r.trial for r in there] == left
        assert all(np.isfinite(r.signal).all() for r in there)
        lines = said(caplog)
        assert len(lines) == bool(empty) + bool(cut)
        assert not empty or f"without a recording, left out: {len(empty)} (P01 " in lines[0]
        assert not cut or f"with gaps (NaN), left out: {len(cut)} (P01 " in lines[-1]


def test_a_gap_counts_only_in_the_part_that_is_read(tmp_path, caplog):
    holed = content()["data"][2]
    holed[100:110, 14] = np.nan
    write(tmp_path, data=(2, holed))
    assert len(read(tmp_path)) == 16 and not said(caplog)
    assert len(read(tmp_path, part="baseline")) == 15
    assert said(caplog) == ["AMIGOS: trials with gaps (NaN), left out: 1 (P01 1)"]


def test_long_videos_that_are_missing_are_no_matter_to_short_ones(tmp_path, caplog):
    for subject in ("P08", "P24"):
        write(tmp_path, subject, data=[*content()["data"][:16], *[NOTHING] * 4], ids=[
            *amigos.VIDEO_IDS[:16], *[NO_REPORT] * 4])  # fmt: skip
    assert len(read(tmp_path, "P08", "P24")) == 32 and not said(caplog)
    assert not read(tmp_path, "P08", "P24", videos="long")
    assert said(caplog) == ["AMIGOS: trials without a recording, left out: 8 (P08 4, P24 4)"]


def test_a_missing_self_report_leaves_the_rating_out(tmp_path, caplog):
    reports = content()["reports"]
    reports[0], reports[1] = NO_REPORT, NOTHING
    reports[2][0, 1] = np.nan
    write(tmp_path, reports=reports, external=(3, NO_REPORT))
    ratings = [r.ratings for r in read(tmp_path)]
    assert ratings[0].keys() == ratings[1].keys() == set(EXTERNAL)
    assert "valence" not in ratings[2] and ratings[2]["arousal"] == pytest.approx(2.2)
    assert not set(EXTERNAL) & ratings[3].keys()
    assert said(caplog) == [
        "AMIGOS: trials without valence or arousal, in no class that needs it: 3 (P01 3)"
    ]
    rules = {rule.name: rule for rule in amigos.CARD.label_rules}
    labels = [rules["valence > 5"].label(r) for r in read(tmp_path)]
    assert labels[:4] == [None, None, None, 0]
    assert [rules["arousal > 5"].label(r) for r in read(tmp_path)][:3] == [None, None, 0]


def test_label_rules_differ_at_exactly_five(tmp_path):
    rules = {rule.name: rule for rule in amigos.CARD.label_rules}
    assert list(rules) == [
        "valence > 5", "valence >= 5", "arousal > 5", "arousal >= 5", "quadrants > 5",
        "quadrants >= 5",
    ]  # fmt: skip
    report = np.array([[5.0, 5.0, 1, 1, 1, *[0] * 7]])
    mixed = np.array([[7.0, 2.0, 1, 1, 1, *[0] * 7]])
    write(tmp_path, reports=[report, mixed, *content()["reports"][2:]])
    tie, aroused = read(tmp_path)[:2]
    assert [rule.label(tie) for rule in rules.values()] == [0, 1, 0, 1, 0, 3]
    assert rules["valence > 5"].label(aroused) == 0 and rules["arousal > 5"].label(aroused) == 1
    assert rules["quadrants > 5"].label(aroused) == 1


DATA, REPORT = content()["data"][5], content()["reports"][5]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data": content()["data"][:19]}, ["joined_data", "(1, 19)", "(1, 20)"]),
        ({"reports": content()["reports"] * 2}, ["labels_selfassessment", "(1, 40)"]),
        ({"external": content()["external"][:3]}, ["labels_ext_annotation", "(1, 3)"]),
        ({"ids": ["4"] * 21}, ["VideoIDs", "(1, 21)"]),
        ({"data": (5, DATA[:, :16])}, ["joined_data, video 6", "(665, 16)", "(n, 17)"]),
        ({"data": (5, DATA.T)}, ["joined_data, video 6", "(17, 665)", "(n, 17)"]),
        ({"data": (5, DATA[:, :, None])}, ["joined_data, video 6", "wrong shape"]),
        ({"data": (5, DATA[:640])}, ["joined_data, video 6", "640 samples", "more than 640"]),
        ({"data": (5, "nothing")}, ["joined_data, video 6", "not numbers"]),
        ({"data": (5, {"a": 1.0})}, ["joined_data, video 6", "not numbers"]),
        ({"data": (5, DATA * 1j)}, ["joined_data, video 6", "complex"]),
        ({"data": (5, np.full_like(DATA, np.inf))}, ["joined_data, video 6", "50 of 50 inf"]),
        ({"data": (5, np.full_like(DATA, -1e300))}, ["joined_data, video 6", "50 of 50 inf"]),
        ({"reports": (5, REPORT[:, :11])}, ["labels_selfassessment, video 6", "(1, 11)"]),
        ({"reports": (5, np.vstack([REPORT] * 2))}, ["labels_selfassessment, video 6", "(2, 12)"]),
        ({"reports": (5, REPORT * 4)}, ["labels_selfassessment, video 6", "arousal 10", "1 to 9"]),
        ({"reports": (5, REPORT * 0.3)}, ["labels_selfassessment, video 6", "arousal 0.75"]),
        ({"external": (5, np.ones((2, 2)))}, ["labels_ext_annotation, video 6", "(2, 2)"]),
        ({"external": (5, np.array([[1, 2.0, -2.0]]))}, ["external valence 2", "-1 to 1"]),
        ({"external": (5, np.array([[1, 0.0, 3], [2, 0, -3]]))}, ["external arousal 3"]),
        ({"ids": (5, "4")}, ["VideoIDs, video 6", "'4'", "of its own"]),
        ({"ids": (5, NOTHING)}, ["VideoIDs, video 6", "[]"]),
        ({"ids": (5, {"a": 1.0})}, ["VideoIDs, video 6"]),
    ],
)  # fmt: skip
def test_wrong_content_is_one_message(tmp_path, changed, words):
    write(tmp_path, **changed)
    assert "do: " in refused(tmp_path, *words)


def test_videos_that_were_not_recorded_may_share_a_name(tmp_path):
    cells = content()
    data = [*cells["data"][:16], *[NOTHING] * 4]
    write(tmp_path, data=data, ids=[*amigos.VIDEO_IDS[:16], *[0.0] * 4])
    assert [one.trial for one in read(tmp_path, videos="all")] == list(amigos.VIDEO_IDS[:16])


@pytest.mark.parametrize("name", amigos.CELLS)
@pytest.mark.parametrize("value", [None, np.ones((1, 20)), "text", np.empty((1, 20), "S1")])
def test_a_variable_that_is_no_cell_is_one_message(tmp_path, name, value):
    path = write(tmp_path)
    raw = {key: value for key, value in scipy.io.loadmat(path).items() if key in amigos.CELLS}
    del raw[name]
    _matlab.save(path, raw | ({} if value is None else {name: value}))
    refused(tmp_path, name, "missing" if value is None else "(1, 20) cell")


@pytest.mark.faults
def test_every_truncation_is_one_message(tmp_path):
    path = write(tmp_path)
    whole = path.read_bytes()
    cuts = {0, 1, 127, 128, 130, 200, len(whole) - 1, len(whole) - 100}
    cuts |= set(np.random.default_rng(0).integers(0, len(whole), 25).tolist())
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        refused(tmp_path)
    path.unlink()
    refused(tmp_path)


@pytest.mark.parametrize(("position", "flip"), [(144, 4), (240, 1), (240, 255)])
def test_a_byte_that_crashes_scipy_is_one_message(tmp_path, position, flip):
    path = write(tmp_path)
    broken = bytearray(path.read_bytes())
    broken[position] ^= flip
    path.write_bytes(broken)
    assert "do: " in refused(tmp_path)
    write(tmp_path)
    assert len(read(tmp_path)) == 16


def test_more_than_a_subject_of_the_set_has_is_one_message(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setattr(amigos, "MOST_BYTES", 10**6)
    refused(tmp_path, "too large to be one of this set", "at most 1000000 bytes", "0.1 GB", "do: ")


def test_one_subject_is_in_memory_at_a_time(tmp_path):
    write(tmp_path, "P01")
    write(tmp_path, "P02").write_bytes(b"")
    recordings = amigos.read(tmp_path, ["P01", "P02"])
    assert next(recordings).subject == "P01"
    with pytest.raises(DataFileError, match="P02.mat"):
        list(recordings)


def test_windows_of_the_twin_carry_label_subject_and_trial(twin):
    rule = amigos.CARD.label_rules[0]
    recordings = list(datasets.load("amigos", twin, videos="all"))
    X, y, meta = windows.make_windows(recordings, 1.0, 0.0, 128.0, label_rule=rule)
    # 20 trials of the first person; of the second 20 less an empty one, a gap, and no self-report.
    assert X.shape == (2 * 37, 2, 128) and set(y.tolist()) == {0, 1}
    valence = {(r.subject, r.trial): r.ratings.get("valence") for r in recordings}
    told = [valence[key] > 5 for key in zip(meta["subject"], meta["trial"], strict=True)]
    np.testing.assert_array_equal(y, told)
    trials = meta.groupby("subject")["trial"].agg(set)
    assert trials["P01"] == set(amigos.VIDEO_IDS)
    assert trials["P01"] - trials["P02"] == {"13", "30", "U1"}


def test_the_twin_has_the_faults_of_the_set(twin, caplog):
    raw = scipy.io.loadmat(twin / "Data_Preprocessed_P02.mat")
    assert raw["joined_data"][0, 19].shape == (0, 0)
    assert raw["labels_selfassessment"][0, 9].shape == (1, 0)
    gaps = [int(np.isnan(cell).any(axis=1).sum()) for cell in raw["joined_data"][0]]
    assert gaps == [0] * 4 + [128] + [0] * 15
    assert len(list(datasets.load("amigos", twin, videos="all"))) == 38
    assert said(caplog) == [
        "AMIGOS: trials without a recording, left out: 1 (P02 1)",
        "AMIGOS: trials with gaps (NaN), left out: 1 (P02 1)",
        "AMIGOS: trials without valence or arousal, in no class that needs it: 1 (P02 1)",
    ]
    assert len(read(twin, "P02", channels="eeg")) == 16
    assert sum(path.stat().st_size for path in twin.iterdir()) < 2 * 20 * 900 * 17 * 8 + 20_000


def test_p08_of_the_twin_lacks_the_long_videos(tmp_path):
    amigos.make_twin(tmp_path, subjects=8, seconds=0.25)
    assert len(read(tmp_path, "P07", videos="all")) == 20
    assert len(read(tmp_path, "P08", videos="all")) == 16


def test_a_subject_of_a_twin_does_not_depend_on_how_many_there_are(twin, tmp_path):
    again = amigos.make_twin(tmp_path / "a", subjects=1, seconds=2.0)
    other = amigos.make_twin(tmp_path / "b", subjects=1, seconds=2.0, seed=1)
    first = [(folder / FILE).read_bytes() for folder in (twin, again, other)]
    assert first[0] == first[1] != first[2]


@pytest.mark.parametrize("channels", ["ecg", "eeg", "gsr"])
def test_dials_of_the_twin(twin, tmp_path, monkeypatch, channels):
    """Without an effect signals do not know what is felt; with one they do."""
    still = [amigos.make_twin(tmp_path / "a", subjects=1, seconds=2.0, effect=0.0)]
    felt = amigos.simulate.felt
    monkeypatch.setattr(
        amigos.simulate,
        "felt",
        lambda *a, **k: amigos.simulate.Affect(*(-x for x in felt(*a, **k))),
    )
    still.append(amigos.make_twin(tmp_path / "b", subjects=1, seconds=2.0, effect=0.0))
    moved = amigos.make_twin(tmp_path / "c", subjects=1, seconds=2.0)
    read_all = [read(at, channels=channels) for at in (*still, twin, moved)]
    signals = [np.stack([r.signal for r in recordings]) for recordings in read_all]
    np.testing.assert_array_equal(signals[0], signals[1])
    assert np.array_equal(signals[2], signals[3]) == (channels == "gsr")
    ratings = [[r.ratings["valence"] for r in recordings] for recordings in read_all[:2]]
    assert np.corrcoef(*ratings)[0, 1] < -0.5


@pytest.mark.parametrize("wrong", [{"subjects": 0}, {"subjects": 41}, {"seconds": 0.0}])
def test_a_twin_out_of_range_is_refused(tmp_path, wrong):
    with pytest.raises(ParameterError, match="1 to 40|holds no sample"):
        amigos.make_twin(tmp_path, **{"subjects": 1, **wrong})


def test_what_is_said_is_a_warning(twin, caplog):
    with caplog.at_level(logging.WARNING):
        read(twin, "P02")
    assert {record.levelname for record in caplog.records} == {"WARNING"}
