"""SEED: both generations of file names, numbers sorted as numbers, one clip at a time."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectbook import datasets
from affectbook.datasets import seed
from affectbook.errors import AffectbookError, DataFileError, DataNotFoundError, ParameterError
from affectbook.windows import make_windows

RULES = {rule.name: rule for rule in seed.CARD.label_rules}
PLACE = seed.FOLDER


def clips_of(number: int, n_times: int = 201) -> list[np.ndarray]:
    """Return 15 clips of noise, ``(62, n_times + 200 * (clip % 2))`` in uV."""
    rng = np.random.default_rng(number)
    return [20 * rng.standard_normal((62, n_times + 200 * (clip % 2))) for clip in range(15)]


def write(folder: Path, subject: str = "1", owner: str | None = None) -> list[list[np.ndarray]]:
    """Write the three sessions of a subject; return their clips."""
    sessions = [clips_of(3 * int(subject) + session) for session in range(3)]
    for date, clips in zip(seed.DATES[subject], sessions, strict=True):
        seed.write_session(folder, owner or subject, date, "djc", clips)
    seed.write_labels(folder)
    return sessions


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Return a folder with subject 1; not to be changed."""
    folder = tmp_path_factory.mktemp("seed")
    write(folder)
    return folder


@pytest.fixture
def copy(written, tmp_path) -> Path:
    """Return a folder with subject 1 that may be changed."""
    return shutil.copytree(written, tmp_path / "copy")


def refused(folder: Path, *words: str, subject: str = "1") -> None:
    with pytest.raises((DataFileError, DataNotFoundError)) as caught:
        list(seed.read(folder, [subject]))
    for word in words:
        assert word in str(caught.value), (word, str(caught.value))
    assert "\n" not in str(caught.value) and "do: " in str(caught.value)


def test_reads_what_it_wrote(tmp_path):
    sessions = write(tmp_path)
    recordings = list(datasets.load("seed", tmp_path, ["1"]))
    assert len(recordings) == 45
    names = [(r.session, r.trial) for r in recordings]
    assert names == [(str(s), str(t)) for s in (1, 2, 3) for t in range(1, 16)]
    for recording, clip in zip(recordings, sum(sessions, []), strict=True):
        np.testing.assert_array_equal(recording.signal, clip.astype("f4"))
        assert recording.signal.flags.c_contiguous and recording.ch_names == seed.CH_NAMES
        assert (recording.sfreq, recording.unit, recording.start_s) == (200.0, "uV", 0.0)
    conditions = [r.condition for r in recordings]
    assert conditions == [seed.CODES[code] for code in seed.LABELS] * 3
    picked = next(iter(datasets.load("seed", tmp_path, ["1"], channels=["CB2", "FP1"])))
    np.testing.assert_array_equal(picked.signal, recordings[0].signal[[61, 0]])


def test_the_card_holds_what_the_set_does():
    assert len(set(seed.CH_NAMES)) == 62 and seed.CH_NAMES[9] == "FZ"
    assert [seed.LABELS.count(code) for code in (-1, 0, 1)] == [5, 5, 5]
    assert len(seed.DATES) == 15 == len({frozenset(dates) for dates in seed.DATES.values()})
    assert all(list(dates) == sorted(dates) for dates in seed.DATES.values())
    assert seed.CARD.citation == "zheng2015seed" and seed.CARD.tier == "licensed"


def test_the_layout_is_the_official_one(written):
    """Read as torcheeg does: every file but two, keys with ``eeg``, time along axis 1."""
    skip = ("label.mat", "readme.txt")
    names = [name for name in os.listdir(written / PLACE) if name not in skip]
    assert sorted(names) == ["1_20131027.mat", "1_20131030.mat", "1_20131107.mat"]
    labels = scipy.io.loadmat(written / PLACE / "label.mat")["label"][0]
    assert labels.tolist() == list(seed.LABELS)
    for name in names:
        samples = scipy.io.loadmat(written / PLACE / name, verify_compressed_data_integrity=False)
        keys = [key for key in samples if "eeg" in key]
        assert sorted(keys) == sorted(f"djc_eeg{number}" for number in range(1, 16))
        assert {(samples[key].shape[0], samples[key].dtype.str) for key in keys} == {(62, "<f8")}


def test_keys_are_sorted_by_number_whatever_their_order_and_prefix(copy):
    path = copy / PLACE / "1_20131030.mat"
    shuffled = [10, 2, 1, 15, 3, 14, 4, 13, 5, 12, 6, 11, 7, 9, 8]
    content = {f"w_w{number:02d}"[:2] + f"_eeg{number}": np.full((62, 201), float(number))
               for number in shuffled}  # fmt: skip
    scipy.io.savemat(path, content | {"other": np.ones(3), "eeg_note": np.ones(2)})
    found = [r.signal[0, 0] for r in seed.read(copy, ["1"]) if r.session == "2"]
    assert found == list(range(1, 16))


def test_a_session_that_is_there_twice_is_one_message(copy):
    path = copy / PLACE / "1_20131027.mat"
    shutil.copy(path, path.with_name("01_20131027.MAT"))
    words = ["01_20131027.MAT", "1_20131027.mat", "two files are one session"]
    with pytest.raises(DataFileError) as caught:
        datasets.load("seed", copy, ["1"])
    assert all(word in str(caught.value) for word in words)


def test_initials_that_tell_another_person_are_warned_of(copy, caplog):
    list(seed.read(copy, ["1"]))
    assert not caplog.records
    seed.write_session(copy, "1", "20131030", "ww", clips_of(0))
    list(seed.read(copy, ["1"]))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "SEED: the matrices in 1_20131030.mat are named ww_eeg1..., not djc"
    caplog.clear()
    for date in seed.DATES["2"]:
        seed.write_session(copy, "2", date, "ww", clips_of(0))
    list(seed.read(copy, ["2", "1"]))
    (line,) = [record.getMessage() for record in caplog.records]
    assert (
        line == "SEED: the matrices in 1_20131030.mat are named ww_eeg1..., as those of subject 2"
    )


@pytest.mark.parametrize("name", ["preprocessed_eeg", "Preprocessed_EEG"])
def test_the_folder_is_found_in_any_case(copy, name):
    (copy / PLACE).rename(copy / name)
    assert seed.subjects_in(copy) == ("1",) and len(list(seed.read(copy, ["1"]))) == 45


def test_files_directly_in_the_folder_and_stray_ones(copy):
    folder = (copy / PLACE).rename(copy / "SEED")
    for name in ("readme.txt", "1_20131027.mat.part", "._1_20131027.mat", "16_20131027.mat",
                 "someone_20200101.mat", "1_2013.mat", "channel-order.xlsx"):  # fmt: skip
        (folder / name).write_bytes(b"stray")
    assert seed.subjects_in(folder) == ("1",)
    assert len(list(seed.read(folder, ["1"]))) == 45
    names = [path.name for path in seed.files_of(folder, "1")]
    assert names == ["1_20131027.mat", "1_20131030.mat", "1_20131107.mat", "label.mat"]


@given(subject=st.sampled_from(sorted(seed.DATES)), named=st.booleans())
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_dates_tell_the_subject_and_the_session(tmp_path_factory, subject, named):
    folder = tmp_path_factory.mktemp("dates")
    owner = "DuJingCheng" if named else subject
    for date in reversed(seed.DATES[subject]):
        (folder / f"{owner}_{date}.mat").write_bytes(b"")
    assert seed.subjects_in(folder) == (subject,)
    (folder / "label.mat").write_bytes(b"")
    dates = [path.stem.split("_")[1] for path in seed.files_of(folder, subject)[:3]]
    assert tuple(dates) == seed.DATES[subject]


def test_all_15_people_are_told_apart(tmp_path):
    for number, dates in enumerate(seed.DATES.values()):
        for date in dates:
            (tmp_path / f"person{chr(ord('a') + number)}_{date}.mat").write_bytes(b"")
    assert seed.subjects_in(tmp_path) == seed.CARD.subjects


def test_whose_files_they_are_may_be_undecidable(tmp_path):
    for date in ("20131027", "20131030"):
        (tmp_path / f"dujingcheng_{date}.mat").write_bytes(b"")
    (tmp_path / "label.mat").write_bytes(b"")
    refused(tmp_path, "dujingcheng on 20131027, 20131030", "1 and 7", "cannot be decided")
    (tmp_path / "dujingcheng_20131106.mat").write_bytes(b"")
    assert seed.subjects_in(tmp_path) == ("7",)
    for date in seed.DATES["7"]:
        (tmp_path / f"7_{date}.mat").write_bytes(b"")
    refused(tmp_path, "two owners are one subject", "7_20131027.mat", "dujingcheng", subject="7")


def test_missing_files_are_named(copy):
    (copy / PLACE / "label.mat").unlink()
    refused(copy, "without label.mat")
    with pytest.raises(DataNotFoundError, match="label.mat"):
        datasets.content_hash("seed", copy, ["1"])
    seed.write_labels(copy)
    (copy / PLACE / "1_20131030.mat").unlink()
    assert seed.subjects_in(copy) == ()
    refused(copy, "subject 1", "1_20131027.mat, 1_20131107.mat", "20131030")
    refused(copy, "subject 9", "no session", subject="9")


def test_all_15_are_expected(written):
    with pytest.raises(DataNotFoundError, match="missing are 2, 3"):
        datasets.load("seed", written)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"labels": np.ones((1, 15))}, ["label", "missing"]),
        ({"label": "none"}, ["label", "missing"]),
        ({"label": np.array([seed.LABELS])[:, :14]}, ["(1, 14)"]),
        ({"label": np.array([seed.LABELS]).T}, ["(15, 1)"]),
        ({"label": -np.array([seed.LABELS])}, ["(1, 15): -1 0 1"]),
        ({"label": np.array([seed.LABELS]) + 1}, ["(1, 15): 2 1 0"]),
        ({"label": np.full((1, 15), np.nan)}, ["nan"]),
    ],
)
def test_wrong_labels_are_one_message(copy, content, words):
    scipy.io.savemat(copy / PLACE / "label.mat", content)
    refused(copy, "label.mat", *words)


def clip(value: object, number: int = 3):
    return lambda content: content | {f"djc_eeg{number}": value}


def without(number: int):
    return lambda content: {k: v for k, v in content.items() if k != f"djc_eeg{number}"}


GAP = np.zeros((62, 201))
GAP[5, 7] = np.nan


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without(15), ["variables", "djc_eeg14", "_eeg15"]),
        (without(1), ["variables"]),
        (clip(np.zeros((62, 201)), 16), ["variables", "djc_eeg16"]),
        (lambda content: content | {"ww_eeg3": np.zeros((62, 201))}, ["variables", "ww_eeg3"]),
        (lambda content: {"nothing": np.ones(3)}, ["variables", "found: nothing"]),
        (clip(np.zeros((61, 201))), ["djc_eeg3", "(61, 201)"]),
        (clip(np.zeros((201, 62))), ["djc_eeg3", "(201, 62)"]),
        (clip(np.zeros((62, 199))), ["djc_eeg3", "(62, 199)"]),
        (clip(np.zeros((62, 201, 2))), ["djc_eeg3", "(62, 201, 2)"]),
        (clip(np.zeros(0)), ["djc_eeg3"]),
        (clip("text"), ["djc_eeg3"]),
        (clip({"a": 1}), ["djc_eeg3"]),
        (clip(np.array(["x" * 201] * 62)), ["djc_eeg3"]),
        (clip(np.zeros((62, 201), complex)), ["djc_eeg3", "complex"]),
        (clip(np.full((62, 201), "x", object)), ["djc_eeg3"]),
        (clip(GAP), ["djc_eeg3", "1 of 12462 samples"]),
        (clip(np.full((62, 201), 1e300)), ["djc_eeg3", "12462 of 12462"]),
    ],
)
def test_wrong_sessions_are_one_message(copy, change, words):
    path = copy / PLACE / "1_20131030.mat"
    content = {f"djc_eeg{n}": value for n, value in enumerate(clips_of(0), 1)}
    scipy.io.savemat(path, change(content))
    refused(copy, path.name, *words)


def test_every_truncation_is_one_message(copy):
    path = copy / PLACE / "1_20131027.mat"
    small = {f"a_eeg{n}": np.full((62, 200), float(n)) for n in range(1, 16)}
    for packed in (False, True):
        scipy.io.savemat(path, small, do_compression=packed)
        whole = path.read_bytes()
        assert len(list(seed.read(copy, ["1"]))) == 45
        cuts = {0, 1, 100, 127, 128, 130, 136, *np.linspace(140, len(whole) - 1, 25).astype(int)}
        for cut in sorted(cuts):
            path.write_bytes(whole[:cut])
            refused(copy, path.name)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    refused(copy, path.name)


@pytest.mark.parametrize("name", ["label.mat", "1_20131027.mat"])
def test_more_than_a_session_of_the_set_has_is_one_message(copy, monkeypatch, name):
    monkeypatch.setattr(seed, "MOST_BYTES", 10 if name == "label.mat" else 10**5)
    refused(copy, name, "too large to be one of this set", "a session are estimated")


@pytest.mark.parametrize("position", [144, 160, 164])
def test_a_wrong_byte_of_an_unpacked_session_is_one_message(copy, position):
    """SciPy writes sessions that are not compressed, so that no check sum shows it."""
    path = copy / PLACE / "1_20131027.mat"
    scipy.io.savemat(path, {f"a_eeg{n}": np.full((62, 200), float(n)) for n in range(1, 16)})
    broken = bytearray(path.read_bytes())
    broken[position] ^= 0x04
    path.write_bytes(broken)
    refused(copy, path.name)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_flipped_byte_never_ends_in_another_error(copy, data):
    path = copy / PLACE / "1_20131027.mat"
    if not (copy / "whole.mat").exists():
        small = {f"a_eeg{n}": np.full((62, 200), float(n)) for n in range(1, 16)}
        scipy.io.savemat(copy / "whole.mat", small, do_compression=True)
    whole = bytearray((copy / "whole.mat").read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=2)):
        whole[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        found = next(iter(seed.read(copy, ["1"])))
    except AffectbookError as error:
        assert path.name in str(error)
    else:
        assert found.signal.shape[0] == 62 and np.isfinite(found.signal).all()


def test_one_clip_is_in_memory_at_a_time(copy):
    path = copy / PLACE / "1_20131027.mat"
    large = np.zeros((62, 4001))
    scipy.io.savemat(path, {f"a_eeg{n}": large + n for n in range(1, 16)}, do_compression=True)
    tracemalloc.start()
    for recording in seed.read(copy, ["1"]):
        assert recording.signal.shape[1] in (4001, 201, 401)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * large.nbytes


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("negative_neutral_positive", {-1: 0, 0: 1, 1: 2}),
        ("negative_positive", {-1: 0, 1: 1}),
    ],
)
def test_windows_have_the_labels_of_their_clips(written, rule, expected):
    recordings = list(seed.read(written, ["1"]))
    windows = make_windows(recordings, 1.0, 0.0, 200.0, label_rule=RULES[rule])
    codes = [seed.LABELS[int(trial) - 1] for trial in windows.meta["trial"]]
    assert windows.y.tolist() == [expected[code] for code in codes]
    assert windows.X.shape[1:] == (62, 200)
    counts = [1 + clip % 2 for clip in range(15) if seed.LABELS[clip] in expected]
    assert len(windows.y) == 3 * sum(counts)
    assert set(windows.meta["session"]) == {"1", "2", "3"}
    assert seed.CARD.label_rules[0].name == "negative_neutral_positive"


@pytest.fixture(scope="module")
def twins(tmp_path_factory) -> Path:
    """Return the folder of two twins of one to three seconds per clip."""
    folder = tmp_path_factory.mktemp("twins")
    seed.make_twin(folder / "two", subjects=2, seconds=1)
    seed.make_twin(folder / "people", subjects=1, seconds=1, naming="person")
    return folder


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Return a function that gives the clips of a twin's first subject, unwritten."""

    def make(**options: object) -> list[np.ndarray]:
        kept: list[np.ndarray] = []
        monkeypatch.setattr(seed, "write_session", lambda *given: kept.extend(given[-1]))
        seed.make_twin(tmp_path, subjects=1, seconds=1, **options)
        return kept

    return make


def test_the_twin(twins):
    recordings = list(datasets.load("seed", twins / "two"))
    assert [r.subject for r in recordings] == ["1"] * 45 + ["2"] * 45
    assert {r.signal.shape[1] for r in recordings} == {201, 401, 601}
    assert len({r.signal.tobytes() for r in recordings}) == 90
    names = [path.name for path in seed.files_of(twins / "two", "1")]
    assert names == [*(f"1_{date}.mat" for date in seed.DATES["1"]), "label.mat"]


def test_a_subject_depends_neither_on_how_many_there_are_nor_on_its_name(twins):
    assert datasets.subjects("seed", twins / "people") == ("1",)
    names = [path.name for path in seed.files_of(twins / "people", "1")]
    assert names == [*(f"persona_{date}.mat" for date in seed.DATES["1"]), "label.mat"]
    for date in seed.DATES["1"]:
        left, right = (twins / place / seed.FOLDER for place in ("two", "people"))
        by_number, by_person = left / f"1_{date}.mat", right / f"persona_{date}.mat"
        assert by_number.read_bytes() == by_person.read_bytes()


def test_the_dials_of_the_twin(made, monkeypatch):
    plain, still = made(), made(effect=0.0)
    for other in (still, made(seed=1), made(fingerprint=0.0)):
        assert not any(np.array_equal(a, b) for a, b in zip(plain, other, strict=True))
    turned = {name: seed.STATES["positive"] for name in seed.STATES}
    monkeypatch.setattr(seed, "STATES", turned)
    for before, options, same in ((still, {"effect": 0.0}, True), (plain, {}, False)):
        pairs = list(zip(before, made(**options), strict=True))
        negative = [pair for pair, code in zip(pairs, seed.LABELS * 3, strict=True) if code == -1]
        assert all(np.array_equal(a, b) == same for a, b in negative) and len(negative) == 15


def test_a_subject_of_a_twin_is_small(twins):
    size = sum(path.stat().st_size for path in seed.files_of(twins / "people", "1"))
    short, usual = (sum(seconds for _, seconds in seed._plan(0, n, 0)) for n in (1, 6))
    assert size * usual / short < 10e6


@pytest.mark.parametrize("subjects", [0, 16, -1])
def test_a_twin_has_1_to_15_subjects(tmp_path, subjects):
    with pytest.raises(ParameterError, match="1 to 15"):
        seed.make_twin(tmp_path, subjects=subjects)


@pytest.mark.parametrize("options", [{"naming": "initials"}, {"seconds": 0}])
def test_wrong_options_of_a_twin(tmp_path, options):
    with pytest.raises(ParameterError, match=next(iter(options))):
        seed.make_twin(tmp_path, subjects=1, **options)
