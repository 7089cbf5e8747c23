"""Recordings without labels: what is written comes back, scaled by subject; faults are told."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
import wfdb
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import butter, sosfiltfilt

from affectbook import datasets, papers, params, unlabelled
from affectbook.datasets import _published, drivedb, eegmat
from affectbook.errors import DataError, DataFileError, DataNotFoundError, ParameterError
from affectbook.unlabelled import TWINS, _plain, _twins

PLAIN = ("neurokit", "wfdb_samples", "biopsykit", "scipy_ecg", "code15_samples")
CSV = {"bio_eventrelated_100hz": (100, 15_000), "bio_resting_5min_100hz": (100, 30_000),
       "bio_resting_8min_100hz": (100, 50_682), "ecg_1000hz": (1000, 50_000),
       "ecg_3000hz": (3000, 50_000)}  # fmt: skip
WFDB = {"100": (360, 650_000, ["MLII", "V5"], ["mV"] * 2, "212", 200),
        "s0010_re": (1000, 38_400, ["i", "ii", "vx"], ["mV"] * 3, "16", 2000),
        "a103l": (250, 82_500, ["II", "V", "PLETH"], ["mV", "mV", "NU"], "16", 2000)}  # fmt: skip
PHASES = {"Vp01": (157_790, [3583, 20223, 48383, 121343, 155903]),
          "Vp02": (120_626, [1791, 17151, 49151, 81151, 114431])}  # fmt: skip
LONG_EXAMS = ("1594286", "270272", "2969044", "975093")
EXAMS = (*LONG_EXAMS, "1238362", "2657522", "2754228", "358121", "438277", "795649")
TEN = {"seconds": 10, "sfreq": 256}


def steps(n_times: int, sfreq: float, seed: int) -> np.ndarray:
    """Return ``(n_times,)`` whole numbers: a peak of 200 every second, and some noise."""
    beats = np.exp(-0.5 * ((np.arange(n_times) / sfreq % 1 - 0.5) / 0.02) ** 2)
    return np.rint(200 * beats + np.random.default_rng(seed).normal(0, 10, n_times)).astype(int)


def write_neurokit(folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for seed, (stem, (sfreq, n_times)) in enumerate(CSV.items()):
        ecg = steps(n_times, sfreq, seed) / 1000
        pd.DataFrame({"RSP": 1.0, "ECG": ecg}).to_csv(folder / f"{stem}.csv", index=False)
        found[stem] = ecg
    found["bio_resting_8min_100hz"] = found["bio_resting_8min_100hz"][2019:50025]
    return found


def write_wfdb(folder: Path, record: str, **changed: object) -> np.ndarray:
    """Write a record, in its own format; return its lead in mV."""
    sfreq, n_times, names, units, form, gain = WFDB[record]
    signals = np.stack([steps(n_times, sfreq, 10 + i) for i in range(len(names))], axis=1)
    told = {"fs": sfreq, "units": units, "sig_name": names, "d_signal": signals}
    told |= {"fmt": [form] * len(names), "adc_gain": [float(gain)] * len(names)}
    told |= {"baseline": [7] * len(names)} | changed
    wfdb.wrsamp(record, write_dir=str(folder), **told)
    if record == "a103l":  # the samples are a MATLAB file, whose header WFDB skips
        (folder / "a103l.mat").write_bytes(bytes(24) + (folder / "a103l.dat").read_bytes())
        (folder / "a103l.dat").unlink()
        header = (folder / "a103l.hea").read_text().replace("a103l.dat 16", "a103l.mat 16+24")
        (folder / "a103l.hea").write_text(header)
    lead = {"100": "MLII", "s0010_re": "ii", "a103l": "II"}[record]
    return (signals[:, names.index(lead)] - 7) / gain


def write_biopsykit(folder: Path, **changed: object) -> dict[str, np.ndarray]:
    arrays: dict[str, object] = {"fs": np.int32(256)}
    for seed, (person, (n_times, bounds)) in enumerate(PHASES.items()):
        arrays[f"ecg_{person}"] = steps(n_times, 256, 20 + seed).astype(np.int32)
        arrays[f"ecg_{person}"][:50] = 40_000  # before the first phase
        arrays[f"phase_bounds_{person}"] = np.array(bounds, np.int32)
    np.savez(folder / "nilspod_ecg.npz", **(arrays | changed))
    return {one: arrays[f"ecg_{one}"][b[0] : b[-1]] for one, (_, b) in PHASES.items()}


def write_scipy(folder: Path, stored: np.ndarray | None = None) -> dict[str, np.ndarray]:
    stored = 1024 + steps(108_000, 360, 30) if stored is None else stored
    with (folder / "ecg.dat").open("wb") as stream:
        np.savez_compressed(stream, ecg=stored.astype(np.uint16))
    return {"208": (stored - 1024) / 200}


def write_exam(folder: Path, exam: str, seed: int = 40, **changed: object) -> np.ndarray:
    n_times = 4096 if exam in LONG_EXAMS else 2934
    feats = np.stack([steps(n_times, 400, seed + lead) for lead in range(12)]).astype(np.float32)
    told = {"feats": feats, "curr_sample_rate": 400, "curr_sample_size": n_times, "idx": 5}
    scipy.io.savemat(folder / f"code_15_{exam}.mat", told | changed)
    return feats[1]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, dict[str, dict[str, np.ndarray]]]:
    """Return a folder with all corpora that are no data set, and the signals in it."""
    base = tmp_path_factory.mktemp("data")
    folders = {name: base / name for name in PLAIN}
    for folder in folders.values():
        folder.mkdir()
    signals = {
        "neurokit": write_neurokit(folders["neurokit"]),
        "wfdb_samples": {one: write_wfdb(folders["wfdb_samples"], one) for one in WFDB},
        "biopsykit": write_biopsykit(folders["biopsykit"]),
        "scipy_ecg": write_scipy(folders["scipy_ecg"]),
        "code15_samples": {
            exam: write_exam(folders["code15_samples"], exam, 40 + 12 * number)
            for number, exam in enumerate(EXAMS)
        },
    }
    return base, signals


@pytest.fixture(autouse=True)
def there(written, monkeypatch) -> Path:
    """Have them looked for there; leave out the published sums, which no file written here has."""
    monkeypatch.setenv("AFFECTBOOK_DATA", str(written[0]))
    monkeypatch.setattr(_published, "check", lambda *_: None)
    return written[0]


@pytest.fixture
def alone(there, tmp_path, monkeypatch):
    """Return a function that copies a corpus to where it can be damaged."""

    def copy(name: str) -> Path:
        monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
        return Path(shutil.copytree(there / name, tmp_path / name))

    return copy


def test_no_corpus_but_eegmat_and_drivedb_is_a_data_set():
    assert unlabelled.corpora() == ("eegmat", "drivedb", "plain", *PLAIN, *TWINS)
    assert not {*PLAIN, *TWINS} & set(datasets.names())


@pytest.fixture
def few_simulated(monkeypatch) -> None:
    few = {name: twin._replace(subjects=2) for name, twin in TWINS.items()}
    monkeypatch.setattr(_twins, "TWINS", few)


@pytest.mark.parametrize("name", ["amigos_twin", "dreamer_twin"])
def test_simulated_people_keep_the_names_that_a_test_has(few_simulated, name):
    found = unlabelled.windows([name], **TEN, per_subject=3)
    dataset = name.removesuffix("_twin")
    known = [f"{dataset}/simulated/{one}" for one in datasets.card(dataset).subjects[:2]]
    assert found.subjects.tolist() == [one for one in known for _ in range(3)]
    assert found.X.shape == (6, 1, 2560)


def test_simulated_people_of_a_corpus_are_nobody_that_a_reader_can_simulate():
    """Parameter `seed` of notebooks ends below them, and no two twins share one."""
    seeds = [twin.seed for twin in TWINS.values()]
    assert len(set(seeds)) == len(seeds)
    for one in papers.names():
        with pytest.raises(ParameterError, match="seed"):
            params.parse(papers.get(one).Params, {"seed": str(min(seeds))})


@pytest.mark.parametrize("name", PLAIN)
def test_what_was_written_comes_back(written, name):
    read = {recording.subject: recording for recording in unlabelled._recordings(name)}
    signals = written[1][name]
    assert set(read) == {f"{name}/open/{subject}" for subject in signals}
    for subject, signal in signals.items():
        found = read[f"{name}/open/{subject}"]
        np.testing.assert_allclose(found.signal[0], signal, rtol=1e-6, atol=1e-6)
        if name in ("neurokit", "wfdb_samples"):
            assert found.sfreq == (CSV | WFDB)[subject][0]


def test_rates_that_no_file_tells():
    rates = {name: {one.sfreq for one in unlabelled._recordings(name)} for name in PLAIN[2:]}
    assert rates == {"biopsykit": {256.0}, "scipy_ecg": {360.0}, "code15_samples": {400.0}}


def test_windows_of_all_plain_corpora(written):
    found = unlabelled.windows(["plain"], **TEN)
    assert (found.X.dtype, found.X.shape[1:]) == (np.float32, (1, 2560))
    counts = dict(zip(*np.unique(found.subjects, return_counts=True), strict=True))
    seconds = {"neurokit": [150, 300, 480.06, 50, 16.7], "wfdb_samples": [1805.6, 38.4, 330],
               "biopsykit": [595, 440], "scipy_ecg": [300]}  # fmt: skip
    expected = {
        f"{name}/open/{subject}": int(length // 10)
        for name, lengths in seconds.items()
        for subject, length in zip(written[1][name], lengths, strict=True)
    }
    # The others last 7.3 s.
    expected |= {f"code15_samples/open/{exam}": 1 for exam in LONG_EXAMS}
    assert counts == expected
    corpus = pd.Series(found.subjects).str.split("/").str[0]
    assert tuple(corpus.unique()) == PLAIN


def test_a_window_is_its_piece_of_the_filtered_signal_scaled_by_all_of_it(written):
    signal = written[1]["scipy_ecg"]["208"]
    filtered = sosfiltfilt(butter(4, 0.5, "highpass", fs=360, output="sos"), signal)
    central = np.sort(filtered)[2700:-2700]
    expected = (filtered - filtered.mean()) / central.std()
    found = unlabelled.windows(["scipy_ecg"], seconds=10, sfreq=360)
    np.testing.assert_allclose(found.X[:, 0], expected.reshape(30, 3600), atol=1e-3)
    raw = unlabelled.windows(["scipy_ecg"], seconds=10, sfreq=360, highpass=None)
    expected = (signal - signal.mean()) / np.sort(signal)[2700:-2700].std()
    np.testing.assert_allclose(raw.X[:, 0], expected.reshape(30, 3600), atol=1e-3)


def test_each_subject_is_scaled_by_itself():
    found = unlabelled.windows(["neurokit", "wfdb_samples", "biopsykit"], **TEN)
    for subject in np.unique(found.subjects):
        own = found.X[found.subjects == subject]
        np.testing.assert_allclose(own, unlabelled.trimmed_zscore(own), atol=1e-4)


def test_at_most_so_many_windows_of_a_subject_evenly_spread():
    every, some = (unlabelled.windows(["biopsykit"], **TEN, per_subject=n) for n in (None, 4))
    one = unlabelled.windows(["scipy_ecg", "code15_samples"], **TEN, per_subject=4)
    for subject in ("biopsykit/open/Vp01", "biopsykit/open/Vp02"):
        own = every.X[every.subjects == subject]
        spread = np.linspace(0, len(own) - 1, 4).round().astype(int)
        np.testing.assert_array_equal(some.X[some.subjects == subject], own[spread])
    assert one.subjects.tolist() == ["scipy_ecg/open/208"] * 4 + [
        f"code15_samples/open/{exam}" for exam in sorted(LONG_EXAMS)
    ]


def test_windows_that_show_nothing_are_left_out(alone, caplog):
    stored = 1024 + steps(108_000, 360, 30)
    stored[3600 * 3 + 1800 : 3600 * 5 - 100] = 1000
    write_scipy(alone("scipy_ecg"), stored)
    found = unlabelled.windows(["scipy_ecg"], **TEN)
    assert len(found.X) == 28 and "left out: 2 of 30" in caplog.text


def test_a_corpus_counts_once_in_the_order_named():
    found = unlabelled.windows(["scipy_ecg", "code15_samples", "scipy_ecg"], **TEN)
    assert [one.split("/")[0] for one in found.subjects] == ["scipy_ecg"] * 30 + [
        "code15_samples"
    ] * 4


@pytest.mark.parametrize(
    ("names", "options", "word"),
    [
        ("plain", TEN, "it is a list"),
        ([], TEN, "it is a list"),
        (["neurokti"], TEN, "did you mean 'neurokit'"),
        (["dreamer"], TEN, "unknown corpus"),
        (["scipy_ecg"], TEN | {"per_subject": 0}, "per_subject = 0"),
        (["scipy_ecg"], TEN | {"per_subject": 1.5}, "per_subject = 1.5"),
        (["scipy_ecg"], TEN | {"seconds": 0}, "seconds, sfreq"),
        (["scipy_ecg"], TEN | {"highpass": 200}, "no band"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(names, options, word):
    with pytest.raises(ParameterError, match=word):
        unlabelled.windows(names, **options)


def test_where_no_recording_is_long_enough_the_message_says_so():
    with pytest.raises(DataError, match="all too short"):
        unlabelled.windows(["code15_samples"], seconds=30, sfreq=256)


def test_the_scale_by_hand():
    samples = np.arange(200.0)
    samples[-3:] = 1e6, -1e6, 1e5  # 5 samples are left out on each side
    kept = np.sort(samples)[5:195]
    found = unlabelled.trimmed_zscore(samples.reshape(2, 1, 100))
    np.testing.assert_allclose(
        found, ((samples - samples.mean()) / kept.std()).reshape(2, 1, 100), rtol=1e-6
    )
    assert found.dtype == np.float32


@given(gain=st.floats(1e-3, 1e3), offset=st.floats(-100, 100), seed=st.integers(0, 99))
def test_scaling_undoes_gain_and_offset_of_each_lead(gain, offset, seed):
    X = np.random.default_rng(seed).normal(size=(3, 2, 50))
    changed = X.copy()
    changed[:, 1] = gain * X[:, 1] + offset
    expected = unlabelled.trimmed_zscore(X)
    np.testing.assert_allclose(unlabelled.trimmed_zscore(changed), expected, atol=1e-3)
    np.testing.assert_array_equal(unlabelled.trimmed_zscore(X), expected)  # X is as it was


def test_a_lead_that_stands_still_is_only_shifted():
    assert not unlabelled.trimmed_zscore(np.full((2, 1, 40), 3.0, np.float32)).any()


@pytest.mark.parametrize("name", [*PLAIN, "eegmat", "drivedb"])
def test_a_missing_folder_is_told_with_what_to_do(name, tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    monkeypatch.setattr("affectbook.datasets._folders.project_root", lambda: tmp_path / "own")
    with pytest.raises(DataNotFoundError) as caught:
        unlabelled.windows([name], **TEN)
    assert name in str(caught.value) and "https://" in caught.value.do


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("neurokit", "ecg_3000hz.csv"), ("wfdb_samples", "s0010_re.dat"),
        ("wfdb_samples", "a103l.hea"), ("biopsykit", "nilspod_ecg.npz"), ("scipy_ecg", "ecg.dat"),
        ("code15_samples", "code_15_438277.mat"),
    ],
)  # fmt: skip
def test_a_missing_or_cut_file_is_named(alone, name, file):
    path = alone(name) / file
    whole = path.read_bytes()
    for n_kept in (0, 30, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:n_kept])
        with pytest.raises(DataFileError, match=path.stem):
            unlabelled.windows([name], **TEN)
    path.unlink()
    with pytest.raises(DataNotFoundError, match=file) as caught:
        unlabelled.windows([name], **TEN)
    assert "https://" in caught.value.do


def rewritten(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (["RSP,ECG"], ["RSP,EDA"], "ECG"),
        (["1.0,0"], ["1.0,x"], "could not convert"),
        ([], ["1.0,0.1"], "50001"),
        (["1.0,0"], [], "49999"),
        (["1.0,0"], ["1.0,"], "1 samples that are not numbers"),
    ],
)
def test_wrong_content_of_a_csv_file(alone, old, new, word):
    path = alone("neurokit") / "ecg_3000hz.csv"
    lines = path.read_text().splitlines()
    at = next((i for i, line in enumerate(lines) if old and line.startswith(old[0])), len(lines))
    lines[at : at + len(old)] = new
    path.write_text("\n".join([*lines, ""]))
    with pytest.raises(DataFileError, match=word):
        list(_plain.read("neurokit"))


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("V5", "MLII", "leads"), ("MLII", "V1", "leads"), (" 360 ", " 250 ", "samples"),
        ("650000", "649999", "samples"), ("100.dat", "s0010_re.dat", "file of MLII"),
        ("200.0(7)/mV", "200.0(7)/uV", "unit of MLII"),
    ],
)  # fmt: skip
def test_a_header_that_says_something_else(alone, old, new, word):
    rewritten(alone("wfdb_samples") / "100.hea", old, new)
    with pytest.raises(DataFileError, match=word):
        list(_plain.read("wfdb_samples"))


def test_damage_that_keeps_the_length_of_a_record_shows_in_its_check_sum(alone):
    path = alone("wfdb_samples") / "s0010_re.dat"
    stored = np.fromfile(path, "<i2")
    stored[3 * 500 + 1] += 1  # of lead ii
    stored.tofile(path)
    with pytest.raises(DataFileError, match="check sum"):
        list(_plain.read("wfdb_samples"))


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"fs": np.int32(512)}, "fs"),
        ({"ecg_Vp02": np.zeros(120_626)}, "ecg"),
        ({"ecg_Vp02": np.zeros(120_625, np.int32)}, "ecg"),
        ({"phase_bounds_Vp01": np.array([0, 5, 4, 9, 10])}, "rising"),
        ({"phase_bounds_Vp01": np.array([0, 5, 6, 9, 157_791])}, "rising"),
        ({"phase_bounds_Vp01": np.array([0, 5])}, "phase_bounds"),
        ({"ecg_Vp01": np.array([{}], object)}, "ValueError"),
    ],
)
def test_wrong_arrays_of_the_two_people(tmp_path, monkeypatch, changed, word):
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    (tmp_path / "biopsykit").mkdir()
    write_biopsykit(tmp_path / "biopsykit", **changed)
    with pytest.raises(DataFileError, match=word):
        list(_plain.read("biopsykit"))


def test_an_array_too_large_is_not_read(alone, monkeypatch):
    folder = alone("scipy_ecg")
    monkeypatch.setattr(_plain, "_MOST", (folder / "ecg.dat").stat().st_size)
    with pytest.raises(DataFileError, match="at most"):
        list(_plain.read("scipy_ecg"))
    monkeypatch.setattr(_plain, "_MOST", 1000)
    with pytest.raises(DataFileError, match="size"):
        list(_plain.read("scipy_ecg"))


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"feats": np.zeros((11, 4096), np.float32)}, "feats"),
        ({"feats": np.zeros((12, 4096))}, "feats"),
        ({"curr_sample_rate": 500}, "curr_sample_rate"),
        ({"curr_sample_size": 4095}, "curr_sample_size"),
        ({"feats": np.full((12, 4096), np.nan, np.float32)}, "not numbers"),
    ],
)
def test_a_wrong_exam(alone, changed, word):
    write_exam(alone("code15_samples"), "1594286", **changed)
    with pytest.raises(DataFileError, match=word):
        list(_plain.read("code15_samples"))


@pytest.fixture
def drives(tmp_path, monkeypatch) -> dict[str, np.ndarray]:
    """Write short drives in the official format; return their ECG in mV."""
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    (tmp_path / "drivedb").mkdir()
    found = {}
    for seed, drive in enumerate(("drive05", "drive06", "drive17a", "drive17b", "drive01")):
        frame_hz, per_frame = (15.0, 32) if drive == "drive17a" else (15.5, 32)
        ecg = steps(round(60 * frame_hz * per_frame), frame_hz * per_frame, seed) / 1000
        drivedb.write_record(
            tmp_path / "drivedb", drive, ecg, frame_hz=frame_hz, per_frame=per_frame
        )
        found[drive] = ecg
    return found


def test_drives_are_read_whole_the_four_and_no_other(drives):
    read = {one.subject: one for one in unlabelled._recordings("drivedb")}
    assert list(read) == [f"drivedb/open/{one}" for one in unlabelled.DRIVES]
    assert "drivedb/open/drive01" not in read and set(unlabelled.DRIVES) < set(drives)
    for drive in unlabelled.DRIVES:
        found = read[f"drivedb/open/{drive}"]
        np.testing.assert_allclose(found.signal[0], drives[drive], atol=1e-6)
    found = unlabelled.windows(["drivedb"], **TEN)
    assert np.unique(found.subjects, return_counts=True)[1].tolist() == [6] * 4


def test_a_missing_drive_is_named(drives, tmp_path):
    (tmp_path / "drivedb" / "drive17b.dat").unlink()
    with pytest.raises(DataNotFoundError, match=r"drive17b\.dat"):
        unlabelled.windows(["drivedb"], **TEN)


def test_subjects_of_eegmat_have_their_names_in_the_data_set(tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    (tmp_path / "eegmat").mkdir()
    ecg = np.stack([steps(15_360, 256, seed) for seed in range(4)]).astype(np.int16)
    np.savez(
        tmp_path / "eegmat" / eegmat.COMPACT, ecg=ecg, subject=[3, 3, 11, 11], label=[0, 1, 0, 1]
    )
    found = unlabelled.windows(["eegmat"], **TEN)
    assert found.subjects.tolist() == ["eegmat/open/03"] * 12 + ["eegmat/open/11"] * 12
    names = datasets.subjects("eegmat", tmp_path / "eegmat")
    assert {one.rpartition("/")[2] for one in found.subjects} == set(names)


@pytest.mark.parametrize("name", ["eegmat", "drivedb"])
def test_a_simulated_twin_is_no_material(name, tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    module = datasets._registry.module(name)
    module.make_twin(tmp_path / name, subjects=1)
    with pytest.raises(DataNotFoundError, match="simulated twin"):
        unlabelled.windows([name], **TEN)


def test_what_each_corpus_gives():
    table = unlabelled.describe(["scipy_ecg", "code15_samples"])
    assert table.columns.tolist() == [
        "corpus", "subjects", "recordings", "minutes", "windows", "licence"
    ]  # fmt: skip
    assert table.drop(columns="minutes").to_numpy().tolist() == [
        ["scipy_ecg", 1, 1, 30, "ODC-By 1.0"], ["code15_samples", 4, 10, 4, "CC BY 4.0"]
    ]  # fmt: skip
    assert table["minutes"].tolist() == pytest.approx([5.0, (4 * 4096 + 6 * 2934) / 400 / 60])


def test_the_real_files(real, monkeypatch):
    monkeypatch.undo()
    folders = [real(name) for name in ("eegmat", "drivedb", *PLAIN)]
    monkeypatch.setenv("AFFECTBOOK_DATA", os.path.commonpath(folders))
    table = unlabelled.describe(["eegmat", "drivedb", "plain"]).set_index("corpus")
    assert table["windows"].to_dict() == {
        "eegmat": 396, "drivedb": 1284, "neurokit": 99, "wfdb_samples": 216, "biopsykit": 103,
        "scipy_ecg": 30, "code15_samples": 4,
    }  # fmt: skip
    assert table["subjects"].tolist() == [36, 4, 5, 3, 2, 1, 4]
    assert set(table["licence"]) == {"ODC-By 1.0", "MIT", "CC BY 4.0"}
