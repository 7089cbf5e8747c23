"""eegmat: official EDF files and the compact file give the same recordings."""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from affectbook import datasets, simulate
from affectbook.datasets import _eegmat_files, eegmat
from affectbook.errors import DataFileError, DataNotFoundError, ParameterError
from affectbook.windows import make_windows

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
        write_edf(tmp_path / f"Subject{subject}_1.edf", 62, seed=1)
        write_edf(tmp_path / f"Subject{subject}_2.edf", 62, seed=2)
    assert datasets.subjects("eegmat", tmp_path) == ("00", "01", "02")
    found = eegmat.read(tmp_path, datasets.subjects("eegmat", tmp_path))
    recordings = {(r.subject, r.trial): r for r in found}
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
    with pytest.raises(DataNotFoundError, match=r"missing are 00, 01, .*do: complete"):
        datasets.load("eegmat", official)
    assert len(list(eegmat.read(official, ["07"]))) == 2
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
        ({"label": np.array([0.0, 1.0, 0.0, 1.0])}, "integers"),
        ({"subject": np.array([0.0, 0.0, 1.0, 1.0])}, "integers"),
        ({"subject": np.array(["0", "0", "1", "1"])}, "integers"),
        ({"ch_names": np.array(eegmat.EEG_NAMES[::-1])}, "A2-A1"),
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


def test_a_compact_file_that_declares_what_it_does_not_hold_is_one_message(tmp_path):
    """A shape of a TB, an array of objects, and zeros that unpack to more than any of the set."""
    path = tmp_path / "eegmat_60s.npz"
    write_compact(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def put(name: str, raw: bytes) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in {**members, name: raw}.items():
                archive.writestr(member, content)

    raw = members["ecg.npy"]
    objects = io.BytesIO()
    np.lib.format.write_array(objects, np.array([[{}]]), allow_pickle=True)
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "<i2", "fortran_order": False, "shape": (200, 10**6)}
    )
    for content, word in (
        (raw.replace(b"(4, 15360), ", b"(4, 9**19), "), "ValueError"),
        (raw.replace(b"(4, 15360)", b"(4, 99999)"), "which it has"),
        (raw.replace(b"(4, 15360), ", b"(4, -15360),"), "which it has"),
        (raw.replace(b"'<i2'", b"'<O8'"), "ecg"),
        (raw[:-2], "which it has"),
        (raw + b"xx", "which it has"),
        (objects.getvalue(), "an array of object"),
        (huge.getvalue() + bytes(10**8), "at most 100000000 bytes"),
        (huge.getvalue(), "which it has"),
    ):
        put("ecg.npy", content)
        with pytest.raises(DataFileError) as caught:
            list(eegmat.read(tmp_path, ["00"]))
        assert word in str(caught.value) and "eegmat_60s.npz" in str(caught.value), word
        assert caught.value.field == "ecg" and "\n" not in str(caught.value)
    assert path.stat().st_size < 10**6
    write_compact(path)
    assert len(list(eegmat.read(tmp_path, ["00"]))) == 2


EDF_FIELDS = {
    "n_records": slice(236, 244),
    "seconds": slice(244, 252),
    "n_signals": slice(252, 256),
    "header": slice(184, 192),
    "samples": slice(256 + 216 * 21 + 20 * 8, 256 + 216 * 21 + 21 * 8),  # of the ECG, the last
}


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("n_records", "99999999", "by the records that it counts"),
        ("n_records", "-1", "number of records"),
        ("n_records", "many", "number of records"),
        ("n_records", "", "number of records"),
        ("n_records", "6_2", "number of records"),
        ("n_signals", "9999", "by the signals that it counts"),
        ("n_signals", "-21", "number of signals"),
        ("n_signals", "lots", "number of signals"),
        ("n_signals", "0", "channels"),
        ("header", "99999999", "by the records that it counts"),
        ("header", "-5632", "length of the header"),
        ("samples", "99999999", "sampling rate"),
        ("samples", "1000", "1000 Hz"),
        ("samples", "250", "250 Hz"),
        ("samples", "0", "0 Hz"),
        ("samples", "-500", "samples per record"),
        ("samples", "fast", "samples per record"),
        ("seconds", "0.5", "1000 Hz"),
        ("seconds", "2", "250 Hz"),
        ("seconds", "0", "length of a record"),
        ("seconds", "-1", "length of a record"),
        ("seconds", "nan", "length of a record"),
        ("seconds", "1e999", "length of a record"),
        ("seconds", "1e-320", "sampling rate"),
        ("seconds", "long", "length of a record"),
    ],
)
def test_a_header_that_is_wrong_never_reaches_mne(official, monkeypatch, field, value, word):
    import mne

    path = official / "Subject07_1.edf"
    raw = bytearray(path.read_bytes())
    where = EDF_FIELDS[field]
    raw[where] = value.encode("ascii").ljust(where.stop - where.start)
    path.write_bytes(raw)
    monkeypatch.setattr(mne.io, "read_raw_edf", lambda *a, **k: pytest.fail("mne was called"))
    with pytest.raises(DataFileError) as caught:
        list(eegmat.read(official, ["07"]))
    error, message = caught.value, str(caught.value)
    assert word in message and "Subject07_1.edf" in message and "\n" not in message
    assert all((error.field, error.found, error.expected, error.do))


@pytest.mark.parametrize("cut", [0, 7, 255, 256, 3000, 5632, 6000, 500_000])
def test_a_truncated_edf_file_is_one_message(official, cut):
    path = official / "Subject07_2.edf"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataFileError, match="Subject07_2.edf"):
        list(eegmat.read(official, ["07"]))


@pytest.mark.parametrize("cut", [-1, -42_000, -420_000])
def test_a_rest_that_was_cut_short_does_not_give_its_wrong_minute(official, cut):
    path = official / "Subject07_1.edf"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataFileError, match="Subject07_1.edf; field: size"):
        list(eegmat.read(official, ["07"]))


def test_swapped_files_are_one_message(official):
    rest, arithmetic = eegmat._edf(official, "07")
    rest.rename(official / "other")
    arithmetic.rename(rest)
    (official / "other").rename(arithmetic)
    with pytest.raises(DataFileError, match="are the files swapped"):
        list(eegmat.read(official, ["07"]))


def test_files_that_name_another_subject_are_warned_of(real, tmp_path, caplog):
    for number in (1, 2):
        shutil.copy(real("eegmat") / f"Subject00_{number}.edf", tmp_path)
        shutil.copy(
            real("eegmat") / f"Subject00_{number}.edf", tmp_path / f"Subject05_{number}.edf"
        )
    list(eegmat.read(tmp_path, ["00"]))
    assert not caplog.records
    list(eegmat.read(tmp_path, ["05"]))
    assert [record.getMessage() for record in caplog.records] == [
        f"eegmat: Subject05_{number}.edf says that it is of subject 00" for number in (1, 2)
    ]


def part(n_times: int = 31000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.normal(0, 20, (20, n_times)), rng.normal(0, 0.3, n_times)


def test_a_written_part_has_the_official_layout(tmp_path, real):
    import edfio
    import mne

    eegmat.write_part(tmp_path, "00", "rest", *part())
    path = tmp_path / "Subject00_1.edf"
    mine, theirs = edfio.read_edf(path), edfio.read_edf(real("eegmat") / path.name)
    for field in ("label", "physical_dimension", "digital_range", "samples_per_data_record"):
        both = [[getattr(s, field) for s in edf.signals] for edf in (mine, theirs)]
        assert both[0] == both[1], field
    assert mine.data_record_duration == theirs.data_record_duration == 1
    assert mine.num_data_records == 62
    raw = mne.io.read_raw_edf(path, verbose="ERROR")
    assert raw.info["sfreq"] == 500 and len(raw.ch_names) == 21 and raw.n_times == 31000
    assert not list(tmp_path.glob(".*"))


def test_what_is_written_is_read_within_a_step(tmp_path):
    eeg, ecg = part()
    eegmat.write_part(tmp_path, "07", "arithmetic", eeg, ecg)
    names = [*eegmat.KINDS["eeg"].edf_names, eegmat.ECG_NAME]
    volts = _eegmat_files.read_edf(tmp_path / "Subject07_2.edf", names)
    for row, scale, found in zip([*eeg, ecg], [1e6] * 20 + [1e3], volts, strict=True):
        step = np.ptp(row) / 65535
        np.testing.assert_allclose(found * scale, row, rtol=0, atol=1.01 * step)


def test_only_whole_seconds_of_all_channels_are_written(tmp_path):
    eeg, ecg = part()
    for wrong in ((eeg[:19], ecg), (eeg[:, :-1], ecg[:-1]), (eeg[:, :0], ecg[:0]), (eeg, ecg[:-1])):
        with pytest.raises(ParameterError, match="whole seconds"):
            eegmat.write_part(tmp_path, "07", "rest", *wrong)


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> Path:
    return eegmat.make_twin(tmp_path_factory.mktemp("eegmat") / "new", subjects=2, seed=5)


def test_a_twin_is_read_as_the_set_is(twin):
    assert {path.name for path in twin.iterdir()} == {*EDF, "subject-info.csv", "TWIN.json"}
    assert datasets.subjects("eegmat", twin) == ("00", "01")
    assert eegmat.expected_in(twin) == eegmat.CARD.subjects
    for kind, shape in (("ecg", (1, 15360)), ("eeg", (20, 7680))):
        recordings = list(datasets.load("eegmat", twin, channels=kind))
        assert [(r.subject, r.condition) for r in recordings] == [
            (subject, condition) for subject in ("00", "01") for condition in eegmat.CONDITIONS
        ]
        assert {r.signal.shape for r in recordings} == {shape}
    assert sum(path.stat().st_size for path in twin.iterdir()) < 2 * 3e6
    (rest, *_) = datasets.load("eegmat", twin, channels=["O1", "O2"])
    assert rest.signal.shape == (2, 7680) and 3 < rest.signal.std() < 60


def test_the_files_of_a_twin_hold_the_simulated_signals(twin):
    plan = [("baseline", 62), ("stress", 62)]
    ecg, _ = simulate.ecg_subject(1, plan, sfreq=500, seed=5)
    eeg, _ = simulate.eeg_subject(1, plan, sfreq=500, ch_names=eegmat.EEG_NAMES, seed=5)
    for number, seconds in ((1, slice(0, 31000)), (2, slice(31000, 62000))):
        path = twin / f"Subject01_{number}.edf"
        millivolt = _eegmat_files.read_edf(path, [eegmat.ECG_NAME])[0] * 1e3
        step = np.ptp(ecg[seconds]) / 65535
        np.testing.assert_allclose(millivolt, ecg[seconds], rtol=0, atol=1.01 * step)
        microvolt = _eegmat_files.read_edf(path, ["EEG O1"])[0] * 1e6
        expected = eeg[eegmat.EEG_NAMES.index("O1"), seconds]
        step = np.ptp(expected) / 65535
        np.testing.assert_allclose(microvolt, expected, rtol=0, atol=1.01 * step)


def test_windows_of_a_twin_have_the_labels_of_the_study(twin):
    (rule,) = eegmat.CARD.label_rules
    recordings = list(datasets.load("eegmat", twin, channels="eeg"))
    windows = make_windows(recordings, 10.0, 0.0, 128.0, label_rule=rule)
    assert windows.X.shape == (24, 20, 1280)
    assert windows.y.tolist() == ([0] * 6 + [1] * 6) * 2
    assert windows.meta["subject"].tolist() == ["00"] * 12 + ["01"] * 12
    assert windows.meta["trial"].tolist() == (["rest"] * 6 + ["arithmetic"] * 6) * 2


def test_the_table_of_subjects_has_the_official_columns(twin, real):
    with (twin / "subject-info.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (real("eegmat") / "subject-info.csv").open(newline="") as stream:
        assert csv.DictReader(stream).fieldnames == list(rows[0])
    assert [row["Subject"] for row in rows] == ["Subject00", "Subject01"]
    assert {row["Count quality"] for row in rows} <= {"0", "1"}


def test_a_twin_depends_on_dials_and_seed_alone(tmp_path, twin):
    def content(name: str, **dials: object) -> bytes:
        folder = eegmat.make_twin(tmp_path / name, **{"subjects": 1, "seed": 5, **dials})
        return b"".join((folder / one).read_bytes() for one in EDF[:2])

    assert content("a") == b"".join((twin / name).read_bytes() for name in EDF[:2])
    others = [content("b", seed=6), content("c", effect=0.5), content("d", fingerprint=0.0)]
    assert len({content("a"), *others}) == 4


def test_arithmetic_weakens_alpha_unless_effect_is_0(tmp_path):
    def alpha(recording: datasets.Recording) -> float:
        power = np.abs(np.fft.rfft(recording.signal[14:16])) ** 2
        return power[:, 480:780].mean()  # 8 to 13 Hz of 60 s

    for effect, low, high in ((0.0, 0.75, 1.33), (1.0, 0.0, 0.6)):
        dials = {"effect": effect, "fingerprint": 0.0}
        folder = eegmat.make_twin(tmp_path / str(effect), subjects=1, **dials)
        rest, task = datasets.load("eegmat", folder, channels="eeg")
        assert low < alpha(task) / alpha(rest) < high


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"subjects": 0}, "1 to 36"),
        ({"subjects": 37}, "1 to 36"),
        ({"seconds": 59}, "60 or more"),
        ({"seconds": 62.5}, "whole number"),
        ({"seconds": float("nan")}, "60 or more"),
        ({"effect": 4}, "effect"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_twin_out_of_range_is_one_message(tmp_path, wrong, word):
    with pytest.raises(ParameterError, match=word):
        eegmat.make_twin(tmp_path, **wrong)
