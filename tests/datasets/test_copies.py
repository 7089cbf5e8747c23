"""Copies of real folders: what may be wrong with them, and layouts that hold the same."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest

from affectbook import cache, datasets
from affectbook.datasets import _folders, _matlab, _pickles, _registry, deap, eegmat, seed, wesad
from affectbook.errors import AffectbookError, DataFileError

SHORT = {
    "amigos": {"seconds": 1.0},
    "deap": {"seconds": 1.0},
    "dreamer": {"baseline_s": 1.0, "stimulus_s": (1.0, 2.0)},
    "drivedb": {},
    "eegmat": {},
    "mand": {"seconds": 2.0},
    "mci": {"rows": 1, "seconds": 2.0},
    "seed": {"seconds": 1},
    "swell": {"seconds": 2.0},
    "wesad": {"minutes": 0.3},
}
PYTHON, MATLAB = Path("data_preprocessed_python/s01.dat"), Path("s01.mat")
FIELDS = ("subject", "session", "trial", "condition", "ratings", "ch_names", "sfreq", "unit")


@pytest.fixture(scope="module")
def twin_of(tmp_path_factory):
    """Return a function that gives the folder of a small twin of two; not to be changed."""

    @functools.cache
    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp("a folder, größer [1]") / name
        return _registry.module(name).make_twin(folder, subjects=2, **SHORT[name])

    return make


def content(name: str, folder: Path) -> list[tuple]:
    """Return all that is read of the first subject of a twin."""
    return [
        (one.signal.tobytes(), *(getattr(one, field) for field in FIELDS))
        for one in datasets.load(name, folder, datasets.subjects(name, folder)[:1])
    ]


def same(left: datasets.Recordings, right: datasets.Recordings) -> None:
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a.signal, b.signal)
        assert a.signal.dtype == b.signal.dtype and a.signal.dtype.isnative
        for field in FIELDS:
            assert getattr(a, field) == getattr(b, field), field


@pytest.mark.parametrize("name", datasets.names())
def test_stray_files_a_link_and_a_read_only_folder_change_nothing(twin_of, tmp_path, name):
    twin = twin_of(name)
    expected = content(name, twin)
    copy = shutil.copytree(twin, tmp_path / "copy")
    first = _registry.module(name).files_of(copy, datasets.subjects(name, copy)[0])[-1]
    for folder in [copy, *(path for path in copy.rglob("*") if path.is_dir())]:
        for stray in (".DS_Store", "Thumbs.db", "desktop.ini", "all.zip", f"._{first.name}"):
            (folder / stray).write_bytes(b"\0stray")
        (folder / "__MACOSX").mkdir()
        folder.chmod(0o555)
    (tmp_path / "link").symlink_to(copy)
    try:
        assert content(name, tmp_path / "link") == expected
    finally:
        for folder in [copy, *(path for path in copy.rglob("*") if path.is_dir())]:
            folder.chmod(0o755)


@pytest.mark.parametrize("damage", ["empty", "cut", "one byte less", "page", "folder", "loop"])
@pytest.mark.parametrize("name", datasets.names())
def test_a_damaged_file_is_one_message(twin_of, tmp_path, name, damage):
    copy = shutil.copytree(twin_of(name), tmp_path / "copy")
    files = _registry.module(name).files_of(copy, datasets.subjects(name, copy)[0])
    path = max(files, key=lambda file: file.stat().st_size)  # a signal, not a table beside it
    whole = path.read_bytes()
    new = {
        "empty": b"",
        # Text that ends with a row cannot be told from whole text; it is cut within a row.
        "cut": whole[: len(whole) // 2].rpartition(b"," if name == "mci" else b"\t")[0],
        "one byte less": whole[:-1],
        "page": b"<html>Not found</html>\n" * 400,
    }
    path.unlink()
    if damage in new:
        path.write_bytes(new[damage])
    elif damage == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.name)
    try:
        found = content(name, copy)
    except AffectbookError as error:
        assert "\n" not in str(error) and "do: " in str(error)
    else:
        assert damage == "one byte less" and found == content(name, twin_of(name))


def test_the_same_file_twice_is_one_message(tmp_path):
    for subject in ("00", "01"):
        for number in (1, 2):
            name = f"Subject{subject}_{number}.edf"
            (tmp_path / name).write_bytes(b"signal of 00" + bytes([number]))
    with pytest.raises(DataFileError, match="Subject01_1.edf; found: the content of Subject00_1"):
        datasets.content_hash("eegmat", tmp_path, ["00", "01"])
    assert len(datasets.data_hashes("eegmat", tmp_path, ["01"])) == 2


@pytest.mark.parametrize("where", ["is_file", "iterdir", "sha256"])
def test_what_may_not_be_read_is_one_message(tmp_path, wesad_ecg, wesad_label, monkeypatch, where):
    wesad.write_subject(tmp_path, "S2", wesad_ecg, wesad_label)

    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied", "S2.pkl")

    monkeypatch.setattr(cache if where == "sha256" else Path, where, refuse)
    with pytest.raises(DataFileError, match="WESAD: the system refuses a file .*Permission denied"):
        datasets.load("wesad", tmp_path, ["S2"]).identity()


def test_a_condition_too_often_is_warned_of(tmp_path, wesad_ecg, wesad_label, caplog):
    wesad.write_subject(tmp_path, "S2", wesad_ecg, wesad_label)
    list(wesad.read(tmp_path, ["S2"]))
    assert not caplog.records
    wesad_label[100], wesad_label[1200] = 2, 0
    wesad.write_subject(tmp_path, "S2", wesad_ecg, wesad_label)
    list(wesad.read(tmp_path, ["S2"]))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "WESAD: S2 has baseline 2 times, stress 2 times, unlike what the card says"


@pytest.mark.parametrize(
    "change",
    [
        lambda ecg, label: (ecg.astype(">f8"), label.astype(">i4")),
        lambda ecg, label: (np.asfortranarray(ecg), label.astype(np.int8)),
        lambda ecg, label: (ecg.astype("f4"), label.astype("u1")),
    ],
)
def test_other_forms_of_wesad_are_read_alike(tmp_path, wesad_ecg, wesad_label, change):
    ecg = wesad_ecg.astype("f4").astype(float)
    for place, arrays in (("one", (ecg[:, None], wesad_label)), ("two", None)):
        ecg_there, label = arrays or change(ecg[:, None], wesad_label)
        path = tmp_path / place / "S2" / "S2.pkl"
        path.parent.mkdir(parents=True)
        signal = {"chest": {"ECG": ecg_there, "Temp": ecg_there}, "wrist": {}}
        told = {"signal": signal, "label": label, "subject": "S2", "more": {}}
        _pickles.dump_python2(told, path)
    same(*(datasets.load("wesad", tmp_path / place, ["S2"]) for place in ("one", "two")))


@pytest.mark.parametrize("path", [PYTHON, MATLAB], ids=["pickle", "matlab"])
@pytest.mark.parametrize("form", ["whole labels", "big-endian", "Fortran order", "extra keys"])
def test_other_forms_of_deap_are_read_alike(tmp_path, path, form):
    rng = np.random.default_rng(0)
    written = {
        "data": rng.standard_normal((40, 40, 400)),
        "labels": rng.integers(1, 10, (40, 4)) * 1.0,
    }
    changed = {
        "whole labels": {"labels": written["labels"].astype(np.uint8)},
        "big-endian": {name: array.astype(">f8") for name, array in written.items()},
        "Fortran order": {name: np.asfortranarray(array) for name, array in written.items()},
        "extra keys": {"notes": np.arange(3.0)},
    }[form]
    for place, arrays in (("one", written), ("two", written | changed)):
        _folders.mark_twin(tmp_path / place, ["s01"], effect=1, fingerprint=1, seed=0)
        write_deap(tmp_path / place / path, arrays)
    same(*(datasets.load("deap", tmp_path / place) for place in ("one", "two")))


def write_deap(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".dat":
        _pickles.dump_python2(arrays, path)
    else:
        _matlab.save(path, arrays, compress=False)


@pytest.mark.parametrize("channels", ["eeg", "peripheral"])
def test_python_and_matlab_files_of_deap_give_the_same(twin_of, tmp_path, channels):
    twin = twin_of("deap")
    raw = _pickles.load_arrays(twin / PYTHON)
    arrays = {n: _pickles.array_at(raw, twin / PYTHON, n) for n in ("data", "labels")}
    write_deap(tmp_path / MATLAB, arrays)
    for file in (deap.TABLE, _folders.TWIN_FILE):
        shutil.copy(twin / file, tmp_path)
    both = (datasets.load("deap", place, ["s01"], channels=channels) for place in (twin, tmp_path))
    same(*both)


def test_both_generations_of_names_of_seed_give_the_same(twin_of, tmp_path):
    old = seed.make_twin(tmp_path, subjects=2, naming="person", **SHORT["seed"])
    same(*(datasets.load("seed", place) for place in (twin_of("seed"), old)))


@pytest.mark.parametrize("channels", ["ecg", "eeg"])
def test_edf_and_compact_file_of_eegmat_give_the_same(twin_of, tmp_path, channels):
    twin, rows = twin_of("eegmat"), {"subject": [0, 0, 1, 1], "label": [0, 1, 0, 1]}
    for name, kind in eegmat.KINDS.items():
        signals = np.stack([one.signal for one in eegmat.read(twin, ["00", "01"], channels=name)])
        whole = np.rint(signals.astype(float) / kind.step).astype(np.int16)
        rows[name] = whole[:, 0] if name == "ecg" else whole
    np.savez(tmp_path / eegmat.COMPACT, **rows, ch_names=np.array(eegmat.EEG_NAMES))
    both = (datasets.load("eegmat", place, channels=channels) for place in (twin, tmp_path))
    same(*both)
