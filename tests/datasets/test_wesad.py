"""The WESAD reader and writer: official layout in, one clear message for anything else."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectbook.datasets import _pickles, wesad
from affectbook.errors import AffectbookError, DataFileError, ParameterError

N = 14000


def official(ecg: np.ndarray, label: np.ndarray, subject: str = "S2") -> dict:
    """Return the whole official content, all channels of chest and wrist."""
    chest = {name: np.zeros((len(ecg), 1)) for name in ("EMG", "EDA", "Resp")}
    chest |= {"ACC": np.zeros((len(ecg), 3)), "ECG": ecg[:, None]}
    chest["Temp"] = np.zeros((len(ecg), 1), np.float32)
    seconds = len(ecg) / 700
    wrist = {"ACC": np.zeros((round(32 * seconds), 3)), "BVP": np.ones((round(64 * seconds), 1))}
    wrist |= {name: np.zeros((round(4 * seconds), 1)) for name in ("EDA", "TEMP")}
    return {"signal": {"chest": chest, "wrist": wrist}, "label": label, "subject": subject}


def write(folder: Path, content: object, subject: str = "S2") -> Path:
    path = folder / subject / f"{subject}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    _pickles.dump_python2(content, path)
    return path


def refused(folder: Path, *words: str, subject: str = "S2") -> str:
    """Read a subject, expect one DataFileError that holds the words, return its message."""
    with pytest.raises(DataFileError) as caught:
        list(wesad.read(folder, [subject]))
    message = str(caught.value)
    for word in (f"{subject}.pkl", *words):
        assert word in message, (word, message)
    assert "\n" not in message
    return message


def test_reads_what_it_wrote(tmp_path, wesad_ecg, wesad_label):
    path = wesad.write_subject(tmp_path, "S2", wesad_ecg, wesad_label)
    assert path == tmp_path / "S2" / "S2.pkl"
    recordings = list(wesad.read(tmp_path, ["S2"]))
    trials = [recording.trial for recording in recordings]
    assert trials == ["baseline-1", "stress-1", "meditation-1", "amusement-1", "meditation-2"]
    for recording in recordings:
        start = round(recording.start_s * 700)
        stop = start + recording.signal.shape[1]
        code = {name: code for code, name in wesad.CODES.items()}[recording.condition]
        assert (wesad_label[start:stop] == code).all()
        assert wesad_label[start - 1] != code and wesad_label[stop : stop + 1] != code
        np.testing.assert_array_equal(recording.signal[0], wesad_ecg[start:stop].astype("f4"))
        assert (recording.sfreq, recording.unit, recording.ch_names) == (700.0, "mV", ("ECG",))
    assert sum(r.signal.shape[1] for r in recordings) == np.isin(wesad_label, [1, 2, 3, 4]).sum()


def test_the_written_file_is_a_python_2_pickle(tmp_path, wesad_ecg, wesad_label):
    path = wesad.write_subject(tmp_path, "S2", wesad_ecg, wesad_label)
    with pytest.raises(UnicodeDecodeError):
        pickle.loads(path.read_bytes())
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    np.testing.assert_array_equal(content["signal"]["chest"]["ECG"], wesad_ecg[:, None])
    np.testing.assert_array_equal(content["label"], wesad_label)
    assert content["label"].dtype == np.int32 and content["subject"] == "S2"
    assert path.stat().st_size < wesad_ecg.nbytes + wesad_label.nbytes + 600


def test_reads_the_whole_official_content(tmp_path, wesad_ecg, wesad_label):
    write(tmp_path, official(wesad_ecg, wesad_label))
    recordings = list(wesad.read(tmp_path, ["S2"]))
    assert len(recordings) == 5
    start = round(recordings[0].start_s * 700)
    np.testing.assert_array_equal(recordings[0].signal[0, :9], wesad_ecg[start:][:9].astype("f4"))


@pytest.mark.parametrize("protocol", range(6))
def test_reads_a_copy_saved_again_by_python_3(tmp_path, wesad_ecg, wesad_label, protocol):
    path = wesad.write_subject(tmp_path, "S2", wesad_ecg, wesad_label)
    before = list(wesad.read(tmp_path, ["S2"]))
    path.write_bytes(pickle.dumps(official(wesad_ecg, wesad_label), protocol))
    after = list(wesad.read(tmp_path, ["S2"]))
    for left, right in zip(before, after, strict=True):
        np.testing.assert_array_equal(left.signal, right.signal)


class Opens:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("place", ["instead", "inside", "as_array"])
def test_a_pickle_that_would_run_code_runs_nothing(
    tmp_path, wesad_ecg, wesad_label, protocol, place
):
    canary = tmp_path / "canary"
    content = official(wesad_ecg, wesad_label)
    if place == "instead":
        content = Opens(canary)
    elif place == "inside":
        content["note"] = Opens(canary)
    else:
        content["signal"]["chest"]["ECG"] = np.array([[Opens(canary)]], dtype=object)
    path = tmp_path / "S2" / "S2.pkl"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(content, protocol))
    refused(tmp_path, "nothing in it was run")
    assert not canary.exists()
    pickle.loads(path.read_bytes())
    assert canary.exists(), "the canary must be one that an ordinary load sets off"


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cnumpy\nndarray\n(K\x05tR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x02cnumpy\ndtype\nNU\x01xK\x01s\x86b.",
        b"\x80\x02cnumpy\ndtype\nN}U\x08__call__K\x01s\x86b.",
        b"\x80\x02\x82\x01.",
        b"Pname\n.",
        b"]r\xff\xff\xff\xff.",
        b"T\xff\xff\xff\x7f.",
        b"T\xff\xff\xff\xff.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x00.",
        b"\x96\xff\xff\xff\xff\xff\xff\xff\x00.",
        b"\x80\x63.",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"I1e9\n.",
        b"",
        b".",
        b"not a pickle",
        b"\x89HDF\r\n\x1a\n",
    ],
)
def test_hand_made_pickles_end_in_one_message(tmp_path, program):
    path = tmp_path / "S2" / "S2.pkl"
    path.parent.mkdir()
    path.write_bytes(program)
    refused(tmp_path)


def test_no_admitted_name_reserves_memory_for_a_shape_in_the_file(tmp_path):
    """Ask for 931 GiB through the admitted names only: it is noted, never built."""
    bomb = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
        b"(\x8a\x05\x00\x00\x00\x00\x1dtU\x01btR."
    )
    path = tmp_path / "S2" / "S2.pkl"
    path.parent.mkdir()
    path.write_bytes(bomb)
    refused(tmp_path, "an entry is missing")


@pytest.mark.faults
def test_every_truncation_is_one_message(tmp_path, wesad_ecg, wesad_label):
    path = write(tmp_path, official(wesad_ecg, wesad_label))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    cuts = {*range(0, 200), *range(len(whole) - 300, len(whole))}
    cuts |= set(rng.integers(0, len(whole), 100).tolist())
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        refused(tmp_path)
    path.write_bytes(whole + b"x")
    refused(tmp_path, "goes on after its end")


@pytest.mark.faults
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_flipped_byte_never_ends_in_another_error(tmp_path, wesad_ecg, wesad_label, data):
    path = write(tmp_path, official(wesad_ecg, wesad_label))
    whole = bytearray(path.read_bytes())
    head_or_anywhere = st.integers(0, 400) | st.integers(0, len(whole) - 1)
    tail = st.integers(len(whole) - 400, len(whole) - 1)
    for position in data.draw(st.lists(head_or_anywhere | tail, min_size=1, max_size=3)):
        whole[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        recordings = list(wesad.read(tmp_path, ["S2"]))
    except AffectbookError as error:
        assert "S2.pkl" in str(error)
    else:
        assert all(np.isfinite(r.signal).all() and r.condition for r in recordings)


@pytest.mark.faults
def test_every_byte_of_the_structure_may_be_wrong(tmp_path, wesad_ecg, wesad_label):
    """Flip each byte that is not signal, in three ways."""
    path = wesad.write_subject(tmp_path, "S2", wesad_ecg[:2800], wesad_label[::5])
    whole = path.read_bytes()
    inside = whole.index(wesad_ecg[:3].tobytes()), whole.index(wesad_label[::5][:400].tobytes())
    data = {*range(inside[0], inside[0] + 2800 * 8), *range(inside[1], inside[1] + 2800 * 4)}
    for position in sorted(set(range(len(whole))) - data):
        for flip in (0x01, 0x20, 0xFF):
            broken = bytearray(whole)
            broken[position] ^= flip
            path.write_bytes(broken)
            try:
                list(wesad.read(tmp_path, ["S2"]))
            except AffectbookError:
                continue


def without(*keys: str):
    def change(content: dict) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def replaced(value: object, *keys: str):
    def change(content: dict) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


ECG = ("signal", "chest", "ECG")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("label"), ["label", "missing"]),
        (without("subject"), ["subject", "missing"]),
        (without("signal"), ["signal", "missing"]),
        (without("signal", "chest"), ["signal / chest", "missing", "wrist"]),
        (without(*ECG), ["signal / chest / ECG", "missing", "Temp"]),
        (replaced("S3", "subject"), ["another subject", "found: S3", "expected: S2"]),
        (replaced(np.zeros(3), "subject"), ["another subject"]),
        (replaced({}, "signal"), ["signal / chest"]),
        (replaced(np.zeros(3), "signal"), ["signal / chest"]),
        (replaced(np.zeros(N), *ECG), ["(14000,)", "(N, 1)"]),
        (replaced(np.zeros((N, 2)), *ECG), ["(14000, 2)", "(N, 1)"]),
        (replaced(np.zeros((0, 1)), *ECG), ["(0, 1)", "(N, 1)"]),
        (replaced(np.zeros((N, 1), int), *ECG), ["int64", "float"]),
        (replaced("nothing", *ECG), ["not an array of numbers"]),
        (replaced(np.full((N, 1), np.nan), *ECG), ["14000 of 14000", "finite"]),
        (replaced(np.full((N, 1), 1e300), *ECG), ["14000 of 14000", "finite"]),
        (replaced(np.ones(N - 1, int), "label"), ["(13999,)", "(14000,)"]),
        (replaced(np.ones((N, 1), int), "label"), ["(14000, 1)", "(14000,)"]),
        (replaced(np.ones(N), "label"), ["float64", "integers"]),
        (replaced(np.full(N, 8), "label"), ["codes [8]", "codes 0 to 7"]),
        (replaced(np.full(N, -1), "label"), ["codes [-1]", "codes 0 to 7"]),
        (replaced(np.arange(N) % 3, "label"), ["codes [0, 1, 2]", "3 amusement, 4 meditation"]),
        (
            replaced(np.repeat([1, 2, 3, 0, 4], N // 5), "label"),
            ["lacks a trial", "found: meditation 1 times;", "meditation 2 times"],
        ),
        (replaced(np.tile([1, 2, 3, 4], N // 4), "label"), ["changes all the time", "13999"]),
        (replaced(np.zeros((64 * 18, 1)), "signal", "wrist", "BVP"), ["18.0 s", "20.0 s"]),
        (replaced(np.float64(3.0), "signal", "wrist", "BVP"), ["0.0 s", "20.0 s"]),
        (replaced(7, "signal", "wrist", "BVP"), ["not an array"]),
    ],
)
def test_wrong_content_is_one_message(tmp_path, wesad_ecg, wesad_label, change, words):
    content = official(wesad_ecg, wesad_label)
    change(content)
    write(tmp_path, content)
    assert "do: " in refused(tmp_path, *words)


def test_an_unreadable_file_is_one_message(tmp_path):
    (tmp_path / "S2" / "S2.pkl").mkdir(parents=True)
    refused(tmp_path, "IsADirectoryError")


def test_the_card_names_the_15_subjects():
    assert len(wesad.CARD.subjects) == 15
    assert not {"S1", "S12"} & set(wesad.CARD.subjects)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("baseline_stress_amusement", {"baseline": 0, "stress": 1, "amusement": 2}),
        (
            "baseline_stress_amusement_meditation",
            {"baseline": 0, "stress": 1, "amusement": 2, "meditation": 3},
        ),
        ("stress_binary", {"baseline": 0, "stress": 1, "amusement": 0}),
    ],
)
def test_label_rules(tmp_path, wesad_ecg, wesad_label, rule, expected):
    rules = {rule.name: rule for rule in wesad.CARD.label_rules}
    wesad.write_subject(tmp_path, "S2", wesad_ecg, wesad_label)
    for recording in wesad.read(tmp_path, ["S2"]):
        assert rules[rule].label(recording) == expected.get(recording.condition)
    assert wesad.CARD.label_rules[0].name == "baseline_stress_amusement"


def test_one_subject_is_in_memory_at_a_time(tmp_path, wesad_ecg, wesad_label):
    wesad.write_subject(tmp_path, "S2", wesad_ecg, wesad_label)
    wesad.write_subject(tmp_path, "S3", wesad_ecg, wesad_label)
    recordings = wesad.read(tmp_path, ["S2", "S3"])
    assert next(recordings).subject == "S2"
    (tmp_path / "S3" / "S3.pkl").write_bytes(b"")
    with pytest.raises(DataFileError, match="S3.pkl"):
        list(recordings)


def test_a_subject_of_a_twin_does_not_depend_on_how_many_there_are(tmp_path):
    wesad.make_twin(tmp_path / "a", subjects=1, seed=3, minutes=0.5)
    wesad.make_twin(tmp_path / "b", subjects=2, seed=3, minutes=0.5)
    wesad.make_twin(tmp_path / "c", subjects=1, seed=4, minutes=0.5)
    first = [(tmp_path / name / "S2" / "S2.pkl").read_bytes() for name in "abc"]
    assert first[0] == first[1] != first[2]
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["S2", "S3", "TWIN.json"]
    conditions = [r.condition for r in wesad.read(tmp_path / "a", ["S2"])]
    assert sorted(conditions) == ["amusement", "baseline", "meditation", "meditation", "stress"]


@pytest.mark.parametrize("subjects", [0, 16, -1])
def test_a_twin_has_1_to_15_subjects(tmp_path, subjects):
    with pytest.raises(ParameterError, match="1 to 15"):
        wesad.make_twin(tmp_path, subjects=subjects)


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch, wesad_ecg, wesad_label):
    def fail(content: dict, path: Path) -> None:
        io.FileIO(path, "w").write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(_pickles, "dump_python2", fail)
    with pytest.raises(OSError, match="disk full"):
        wesad.write_subject(tmp_path, "S2", wesad_ecg, wesad_label)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
