"""Copies that are not whole: another format, missing subjects, stray files, too few trials."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from faults.refusals import cut, hash_of, heard, read, refused, warnings_of
from faults.test_truncated import LAYOUTS
from faults.twins import FIRST, MODULES, SECOND, SETS, file_of, real

from affectbook import datasets
from affectbook.datasets import eegmat, wesad

Copy = Callable[..., Path]


def _quick(names: Iterable[str], quick: tuple[str, ...]) -> list:
    return [n if n in quick else pytest.param(n, marks=pytest.mark.faults) for n in names]


def hdf5(path: Path) -> None:
    """Write what MATLAB writes with -v7.3: a MATLAB header, then HDF5 from byte 512."""
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jun 16 10:21:46 2014 HDF5 "
    head = text + b"schema 1.00 ."
    superblock = (
        b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + struct.pack("<HHI", 4, 16, 0)
    )
    body = superblock + struct.pack("<QQQQ", 512, 2**64 - 1, 4096, 2**64 - 1) + bytes(4096)
    path.write_bytes(
        head.ljust(116) + bytes(8) + struct.pack("<HH", 0x0200, 0x4D49) + bytes(384) + body
    )


@pytest.mark.parametrize("layout", _quick(LAYOUTS, ("dreamer",)))
def test_matlab_7_3_is_named_with_what_to_do(layout: str, tmp_path: Path):
    """The message says 7.3, and how to save the file so that it can be read."""
    folder = tmp_path / "data" / layout
    path = LAYOUTS[layout](folder, True)
    assert read(layout, folder, [FIRST[layout]])
    hdf5(path)
    refused(
        lambda: read(layout, folder, [FIRST[layout]]), "7.3", "HDF5", "-v7", folder=folder,
        names=path.name,
    )  # fmt: skip


@pytest.mark.faults
def test_labels_of_seed_in_matlab_7_3(copy: Copy):
    folder = copy("seed")
    hdf5(folder / "Preprocessed_EEG" / "label.mat")
    refused(lambda: read("seed", folder, ["1"]), "7.3", "-v7", folder=folder, names="label.mat")


def test_hdf5_without_a_matlab_header(copy: Copy):
    folder = copy("amigos")
    path = file_of("amigos", folder)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(2048))
    refused(lambda: read("amigos", folder, ["P01"]), folder=folder, names=path.name)


def _without_second(name: str, folder: Path) -> None:
    """Delete the files of the second subject alone."""
    module = MODULES[name]
    own = set(module.files_of(folder, SECOND[name])) - set(module.files_of(folder, FIRST[name]))
    assert own
    for path in own:
        path.unlink()


ONE_EACH = tuple(name for name in SETS if name != "dreamer")


@pytest.mark.parametrize("name", _quick(ONE_EACH, ("wesad", "swell")))
def test_a_missing_subject(name: str, copy: Copy, caplog: pytest.LogCaptureFixture):
    """An error that lists it; without it, by `allow_missing`, the rest is read, and n is said."""
    folder = copy(name)
    assert {one.subject for one in read(name, folder)} == {FIRST[name], SECOND[name]}
    _without_second(name, folder)
    refused(lambda: read(name, folder), SECOND[name], "allow_missing", folder=folder)
    with heard() as records:
        rest = read(name, folder, allow_missing=[SECOND[name]])
    assert {one.subject for one in rest} == {FIRST[name]}
    said = [line for line in warnings_of(records) if "without" in line]
    assert len(said) == 1
    assert "1 subject" in said[0]
    assert SECOND[name] in said[0]
    for spec in (f"{name} without {SECOND[name]}",):
        assert datasets.subjects(spec, folder) == (FIRST[name],)


@pytest.mark.parametrize(
    "name", _quick(("wesad", "deap", "seed", "amigos", "swell", "mci", "eegmat"), ("amigos",))
)
def test_missing_subjects_of_what_claims_to_be_real(name: str, copy: Copy):
    """Without the mark of a twin, the card says who must be there; all who are not are listed."""
    folder = real(copy(name))
    everybody = datasets.card(name).subjects
    error = refused(lambda: datasets.load(name, folder), folder=folder)
    for subject in everybody[2:]:
        assert subject in str(error.found)
    rest = datasets.load(name, folder, allow_missing=everybody[2:])
    assert rest.subjects == (FIRST[name], SECOND[name])


def test_a_missing_subject_inside_the_file_of_dreamer(copy: Copy):
    folder = copy("dreamer")
    path = folder / "DREAMER.mat"
    content = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    content["DREAMER"][0, 0]["Data"] = content["DREAMER"][0, 0]["Data"][:, :1]
    scipy.io.savemat(path, content)
    refused(lambda: read("dreamer", folder), "2", folder=folder, names="DREAMER.mat")


def test_a_subject_that_is_nobody_cannot_be_missing(copy: Copy):
    folder = copy("wesad")
    with pytest.raises(Exception, match="S99"):
        read("wesad", folder, allow_missing=["S99"])


@pytest.mark.parametrize("name", _quick(SETS, ("wesad",)))
def test_stray_files_are_ignored_with_one_line(name: str, copy: Copy):
    """At the top and beside the data: the same windows, and one line that names them."""
    folder = copy(name)
    before = hash_of(cut(name, folder))
    with heard() as records:
        read(name, folder)
    assert not [line for line in warnings_of(records) if "ignored" in line], "a twin has no strays"
    beside = file_of(name, folder).parent
    for place in {folder, beside}:
        (place / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (place / "my notes.docx").write_bytes(b"PK\3\4")
        (place / f"._{file_of(name, folder).name}").write_bytes(b"\0\5\x16\7")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "other.txt").write_text("x")
    (folder / "readme.txt").write_text("not a recording")
    with heard() as records:
        after = cut(name, folder)
    said = [line for line in warnings_of(records) if "ignored" in line]
    assert len(said) == 1, said
    assert "my notes.docx" in said[0] or ".DS_Store" in said[0], said[0]
    assert hash_of(after) == before


STRANGE_NAMES = {
    "wesad": "S2/S2 (1).pkl", "deap": "data_preprocessed_python/Copy of s01.dat",
    "seed": "Preprocessed_EEG/1_20131027 (1).mat", "amigos": "Data_Preprocessed_P01 (1).mat",
    "dreamer": "DREAMER (1).mat", "eegmat": "Subject00_1 (1).edf", "drivedb": "drive05 (1).dat",
    "swell": None, "mand": "1/anger (1).txt", "mci": "S1 (1).csv",
}  # fmt: skip


@pytest.mark.faults
@pytest.mark.parametrize("name", [name for name, other in STRANGE_NAMES.items() if other])
def test_a_second_copy_under_another_name_is_a_stray(name: str, copy: Copy):
    """What browsers call a second download: ignored and told, and not read as somebody."""
    folder = copy(name)
    before = hash_of(cut(name, folder))
    other = folder / STRANGE_NAMES[name]
    other.write_bytes(file_of(name, folder).read_bytes())
    with heard() as records:
        after = cut(name, folder)
    assert hash_of(after) == before
    assert any(other.name in line for line in warnings_of(records) if "ignored" in line)


def _variables(path: Path) -> dict[str, np.ndarray]:
    return {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}


def _fewer_wesad(folder: Path) -> tuple[str, ...]:
    """One meditation instead of two: the second becomes transient."""
    import pickle

    content = pickle.loads((folder / "S2" / "S2.pkl").read_bytes(), encoding="latin1")
    label = content["label"].copy()
    edges = [0, *np.flatnonzero(np.diff(label)) + 1, len(label)]
    last = [(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True) if label[a] == 4][-1]
    label[slice(*last)] = 0
    wesad.write_subject(folder, "S2", content["signal"]["chest"]["ECG"][:, 0], label)
    return "meditation 1", "meditation 2"


def _fewer_deap(folder: Path) -> tuple[str, ...]:
    import pickle

    from affectbook.datasets import deap

    path = folder / "data_preprocessed_python" / "s01.dat"
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    deap.write_subject(folder, "s01", content["data"][:39], content["labels"][:39])
    return "39", "40"


def _fewer_dreamer(folder: Path) -> tuple[str, ...]:
    path = folder / "DREAMER.mat"
    content = _variables(path)
    ecg = content["DREAMER"][0, 0]["Data"][0, 0]["ECG"][0, 0]
    ecg["stimuli"][0, 0] = ecg["stimuli"][0, 0][:17]
    scipy.io.savemat(path, content)
    return "17", "18"


def _fewer_seed(folder: Path) -> tuple[str, ...]:
    path = folder / "Preprocessed_EEG" / "1_20131027.mat"
    content = _variables(path)
    scipy.io.savemat(path, dict(list(content.items())[:14]), do_compression=True)
    return "14", "15"


def _fewer_amigos(folder: Path) -> tuple[str, ...]:
    path = folder / "Data_Preprocessed_P01.mat"
    scipy.io.savemat(path, {name: cell[:, :19] for name, cell in _variables(path).items()})
    return "19", "20"


def _fewer_eegmat(folder: Path) -> tuple[str, ...]:
    (folder / "Subject00_2.edf").unlink()
    return ("00",)


def _fewer_drivedb(folder: Path) -> tuple[str, ...]:
    """The record ends in its sixth stretch of road."""
    import wfdb

    from affectbook.datasets import drivedb

    ecg = wfdb.rdrecord(str(folder / "drive05"), channels=[0], smooth_frames=False).e_p_signal[0]
    drivedb.write_record(folder, "drive05", ecg[: 496 * 60 * 60], frame_hz=15.5, per_frame=32)
    return ("3600",)


def _fewer_mand(folder: Path) -> tuple[str, ...]:
    (folder / "1" / "fear.txt").unlink()
    return "anger", "fear"


FEWER = {
    "wesad": _fewer_wesad, "deap": _fewer_deap, "dreamer": _fewer_dreamer, "seed": _fewer_seed,
    "amigos": _fewer_amigos, "eegmat": _fewer_eegmat, "drivedb": _fewer_drivedb,
    "mand": _fewer_mand,
}  # fmt: skip


@pytest.mark.parametrize("name", _quick(FEWER, ("wesad", "amigos")))
def test_fewer_trials_than_the_card_says(name: str, copy: Copy):
    """One trial less of one subject is an error that counts; the twin with all of them loads.

    How many trials HCMNet's private set has is not known: its card states no number.
    """
    folder = copy(name)
    assert read(name, folder, [FIRST[name]])
    counts = FEWER[name](folder)
    refused(lambda: read(name, folder), *counts, folder=folder)


def test_a_block_of_swell_that_is_in_the_table_alone(copy: Copy):
    """The card says up to 3 blocks, as published copies lack some: one is told, not refused."""
    folder = copy("swell")
    MODULES["swell"].files_of(folder, "pp1")[1].unlink()
    with heard() as records:
        assert len(read("swell", folder)) == 5
    said = [line for line in warnings_of(records) if "pp1" in line and "c2" in line]
    assert len(said) == 1, warnings_of(records)


def test_fewer_rows_in_the_compact_file_of_eegmat(tmp_path: Path):
    """A subject with rest only, in eegmat_60s.npz; its benign twin has both."""
    folder = tmp_path / "data" / "eegmat"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    whole = {
        "ecg": rng.integers(-300, 300, (4, 15360)).astype(np.int16),
        "eeg": rng.integers(-3000, 3000, (4, 20, 7680)).astype(np.int16),
        "subject": np.array([0, 0, 1, 1]),
        "label": np.array([0, 1, 0, 1]),
        "ch_names": np.array(eegmat.EEG_NAMES),
    }
    path = folder / "eegmat_60s.npz"
    eegmat.mark_twin(folder, ["00", "01"], effect=1.0, fingerprint=1.0, seed=0)
    np.savez(path, **whole)
    assert len(read("eegmat", folder)) == 4
    np.savez(path, **{k: v if k == "ch_names" else v[:3] for k, v in whole.items()})
    refused(lambda: read("eegmat", folder), "3", folder=folder, names=path.name)


def test_the_compact_file_of_eegmat_in_parts(tmp_path: Path):
    """Each array of it cut short, or of another type."""
    folder = tmp_path / "data" / "eegmat"
    folder.mkdir(parents=True)
    eegmat.mark_twin(folder, ["00"], effect=1.0, fingerprint=1.0, seed=0)
    whole = {
        "ecg": np.arange(2 * 15360).reshape(2, 15360).astype(np.int16) % 400,
        "subject": np.array([0, 0]),
        "label": np.array([0, 1]),
    }
    path = folder / "eegmat_60s.npz"
    for wrong in (whole["ecg"][:, :-1], whole["ecg"].astype(float), np.full((2, 15360), np.nan)):
        np.savez(path, **(whole | {"ecg": wrong}))
        refused(lambda: read("eegmat", folder), "ecg", folder=folder, names=path.name)
    np.savez(path, **whole)
    assert len(read("eegmat", folder)) == 2
