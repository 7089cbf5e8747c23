"""eegmat: official EDF files and the compact file give the same recordings."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from affectbook import datasets
from affectbook.datasets import eegmat
from affectbook.errors import DataFileError, DataNotFoundError, ParameterError

NAMES = [f"EEG {name}" for name in eegmat.EEG_NAMES] + ["ECG ECG"]
EDF = [f"Subject{subject}_{part}.edf" for subject in ("00", "01") for part in (1, 2)]


def write_edf(
    path: Path, seconds: int, seed: int = 0, sfreq: int = 500, names: list[str] = NAMES
) -> np.ndarray:
    """Write noise as EDF in records of 1 s; return the digital values ``(n_chans, n_times)``."""
    n = len(names)
    rng = np.random.default_rng(seed)
    values = rng.integers(-20000, 20000, (n, seconds * sfreq)).astype("<i2")

    def fields(width: int, *texts: object) -> bytes:
        return b"".join(str(text).encode("ascii").ljust(width) for text in texts)

    head = fields(8, 0) + fields(80, "X X X X", "Startdate X X X X") + fields(8, "01.01.11")
    head += fields(8, "00.00.00", 256 * (n + 1)) + fields(44, "") + fields(8, seconds, 1)
    head += fields(4, n) + fields(16, *names) + fields(80, *[""] * n)
    head += fields(8, *["mV" if name.startswith("ECG") else "uV" for name in names])
    head += fields(8, *[-32.768] * n) + fields(8, *[32.767] * n)
    head += fields(8, *[-32768] * n) + fields(8, *[32767] * n)
    head += fields(80, *[""] * n) + fields(8, *[sfreq] * n) + fields(32, *[""] * n)
    records = values.reshape(n, seconds, sfreq).transpose(1, 0, 2)
    path.write_bytes(head + records.tobytes())
    return values


def write_compact(path: Path, **changed: object) -> dict[str, np.ndarray]:
    """Write a compact file of two people; an array given as None is left out."""
    rng = np.random.default_rng(1)
    content = {
        "ecg": rng.integers(-900, 900, (4, 15360)).astype(np.int16),
        "eeg": rng.integers(-900, 900, (4, 20, 7680)).astype(np.int16),
        "subject": np.array([0, 0, 1, 1]),
        "label": np.array([0, 1, 0, 1]),
    }
    content.update(changed)
    content = {name: array for name, array in content.items() if array is not None}
    np.savez_compressed(path, **content)
    return content


def same(left: list[datasets.Recording], right: list[datasets.Recording]) -> None:
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a.signal, b.signal)
        for name in ("sfreq", "ch_names", "unit", "subject", "session", "trial", "condition"):
            assert getattr(a, name) == getattr(b, name), name
        assert a.start_s == b.start_s


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """Return a folder with the EDF files of one made-up subject 07."""
    folder = tmp_path / "official"
    folder.mkdir()
    write_edf(folder / "Subject07_1.edf", 80, seed=1)
    write_edf(folder / "Subject07_2.edf", 62, seed=2)
    return folder


@pytest.mark.parametrize("channels", ["ecg", "eeg"])
def test_real_edf_and_compact_file_give_the_same_recordings(real, tmp_path, channels):
    source = real("eegmat")
    for name in EDF:
        shutil.copy(source / name, tmp_path / name)
    edf = list(datasets.load("eegmat", tmp_path, ["00", "01"], channels=channels))
    assert datasets.data_hashes("eegmat", tmp_path, ["00", "01"]).keys() == set(EDF)
    compact = list(datasets.load("eegmat", source, ["00", "01"], channels=channels))
    assert list(datasets.data_hashes("eegmat", source, ["00", "01"])) == ["eegmat_60s.npz"]
    same(edf, compact)
    stored = np.load(source / "eegmat_60s.npz", allow_pickle=False)[channels]
    for row, recording in enumerate(compact):
        step = {"ecg": 1e-3, "eeg": 1e-2}[channels]
        back = np.rint(recording.signal.astype(np.float64) / step)
        np.testing.assert_array_equal(back.reshape(stored[row].shape), stored[row])


def test_the_real_compact_file_holds_36_people_twice(real):
    recordings = list(datasets.load("eegmat", real("eegmat")))
    assert len(recordings) == 72
    assert [r.condition for r in recordings] == ["rest", "arithmetic"] * 36
    assert {r.signal.shape for r in recordings} == {(1, 15360)}
    assert 0.05 < np.median([r.signal.std() for r in recordings]) < 1.0, "not in mV"


def test_last_minute_of_rest_and_first_of_arithmetic(official):
    from scipy.signal import resample_poly

    rest, task = eegmat.read(official, ["07"])
    for recording, name, cut in ((rest, "_1", slice(-15360, None)), (task, "_2", slice(15360))):
        values = write_edf(official / "again.edf", 80 if name == "_1" else 62, int(name[1]))
        millivolt = values[-1].astype(np.float64) * 1e-3
        expected = resample_poly(millivolt, 64, 125)[cut]
        np.testing.assert_allclose(recording.signal[0], expected, atol=0.000502, rtol=0)
    assert (rest.sfreq, rest.unit, rest.condition, rest.trial) == (256.0, "mV", "rest", "rest")


def test_eeg_channels(official):
    rest, _ = eegmat.read(official, ["07"], channels="eeg")
    assert rest.signal.shape == (20, 7680) and rest.unit == "uV" and rest.sfreq == 128.0
    assert rest.ch_names[0] == "Fp1" and rest.ch_names[-1] == "A2-A1"
    assert 1 < rest.signal.std() < 30
    with pytest.raises(ParameterError, match="did you mean 'eeg'"):
        datasets.load("eegmat", official, ["07"], channels="eg")


def test_the_compact_file_is_used_where_it_holds_the_subject(tmp_path):
    content = write_compact(tmp_path / "eegmat_60s.npz")
    for subject in ("01", "02"):
        write_edf(tmp_path / f"Subject{subject}_1.edf", 62)
        write_edf(tmp_path / f"Subject{subject}_2.edf", 62)
    assert datasets.subjects("eegmat", tmp_path) == ("00", "01", "02")
    recordings = {(r.subject, r.trial): r for r in datasets.load("eegmat", tmp_path)}
    assert len(recordings) == 6
    for row, key in ((0, ("00", "rest")), (3, ("01", "arithmetic"))):
        expected = (content["ecg"][row] * 1e-3).astype(np.float32)
        np.testing.assert_array_equal(recordings[key].signal[0], expected)
    assert list(datasets.data_hashes("eegmat", tmp_path)) == [
        "Subject02_1.edf",
        "Subject02_2.edf",
        "eegmat_60s.npz",
    ]


def test_edf_files_alone_must_be_complete_unless_subjects_are_named(official):
    with pytest.raises(DataNotFoundError, match=r"00, 01, .*subjects=\['07'\]"):
        datasets.load("eegmat", official)
    assert len(list(datasets.load("eegmat", official, ["07"]))) == 2
    (official / "Subject07_2.edf").unlink()
    with pytest.raises(DataNotFoundError, match="no files of eegmat"):
        datasets.load("eegmat", official, ["07"])


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"ecg": None}, "ecg"),
        ({"label": None}, "label"),
        ({"subject": None}, "subject"),
        ({"ecg": np.zeros((4, 15360))}, "float64"),
        ({"ecg": np.zeros((4, 15359), np.int16)}, "15359"),
        ({"ecg": np.zeros((3, 15360), np.int16)}, "(3, 15360)"),
        ({"ecg": np.array(None)}, "ecg"),
        ({"label": np.array([0, 1, 0, 2])}, "0 or 1"),
        ({"label": np.array([0, 1, 0])}, "0 or 1"),
        ({"label": np.array([0, 1, 0, 0])}, "one rest and one arithmetic"),
        ({"subject": np.array([0, 0, 1, 2])}, "one rest and one arithmetic"),
    ],
)
def test_a_wrong_compact_file_is_one_message(tmp_path, changed, word):
    write_compact(tmp_path / "eegmat_60s.npz", **changed)
    with pytest.raises(DataFileError) as caught:
        list(datasets.load("eegmat", tmp_path, ["00"]))
    assert word in str(caught.value) and "eegmat_60s.npz" in str(caught.value)


def test_a_damaged_compact_file_is_one_message(tmp_path):
    path = tmp_path / "eegmat_60s.npz"
    write_compact(path)
    whole = path.read_bytes()
    for cut in np.random.default_rng(0).integers(0, len(whole), 40):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataFileError, match="eegmat_60s.npz"):
            list(datasets.load("eegmat", tmp_path, ["00"]))
    at = whole.index(b"ecg.npy") + 2000
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 8]) + whole[at + 1 :])
    with pytest.raises(DataFileError, match="ecg"):
        list(datasets.load("eegmat", tmp_path, ["00"]))


@pytest.mark.parametrize(
    ("edf", "word"),
    [
        ({"seconds": 59}, "59.0 s"),
        ({"seconds": 62, "sfreq": 250}, "250 Hz"),
        ({"seconds": 62, "names": NAMES[:-1]}, "ECG ECG"),
    ],
)
def test_a_wrong_edf_file_is_one_message(official, edf, word):
    write_edf(official / "Subject07_2.edf", **edf)
    with pytest.raises(DataFileError) as caught:
        list(eegmat.read(official, ["07"]))
    assert word in str(caught.value) and "Subject07_2.edf" in str(caught.value)


@pytest.mark.parametrize("cut", [0, 7, 255, 256, 3000, 5632, 6000, 500_000])
def test_a_truncated_edf_file_is_one_message(official, cut):
    path = official / "Subject07_2.edf"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataFileError, match="Subject07_2.edf"):
        list(eegmat.read(official, ["07"]))
