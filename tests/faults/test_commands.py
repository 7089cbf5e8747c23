"""What a user sees: one message on stderr, status 2, no traceback, and nothing kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faults.refusals import command, contents, printed, read, refused
from faults.test_folders import hdf5
from faults.twins import FIRST, MODULES, alter, file_of, real
from tiny_project import ROOT

from affectbook import datasets
from affectbook.datasets import deap, wesad

Copy = Callable[..., Path]
RUN = ("run", "hcmnet", "-p", "tier", "licensed", "-p", "dataset", "wesad")


def _runs() -> dict[str, tuple[int, int]]:
    folder = ROOT / "build" / "runs"
    return contents(folder) if folder.exists() else {}


@pytest.mark.faults
def test_check_data_of_a_damaged_file(copy: Copy):
    """The quick part: a truncated pickle. Its benign twin is the last test of this file."""
    folder = real(copy("wesad"))
    path = file_of("wesad", folder)
    path.write_bytes(path.read_bytes()[:5000])
    printed("check-data", "wesad", "--root", folder, words=("WESAD",))


@pytest.mark.faults
def test_run_on_data_that_are_not_there(tmp_path: Path):
    before = _runs()
    printed(*RUN, data=tmp_path, accept="wesad", words=("WESAD",))
    assert _runs() == before


@pytest.mark.faults
def test_run_on_a_set_that_lacks_subjects(copy: Copy):
    """Two of fifteen are there: what to do is said."""
    folder, before = real(copy("wesad")), _runs()
    said = printed(*RUN, data=folder.parent, accept="wesad", words=("S4", "S17"))
    assert "allow_missing" in said
    assert _runs() == before


@pytest.mark.faults
def test_run_without_a_licence_that_was_confirmed(copy: Copy):
    folder, before = real(copy("wesad")), _runs()
    printed(*RUN, data=folder.parent, words=("licence", "AFFECTBOOK_ACCEPT_LICENCE"))
    assert _runs() == before


def _truncated(folder: Path, name: str) -> None:
    path = file_of(name, folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _of_7_3(folder: Path, name: str) -> None:
    hdf5(file_of(name, folder))


def _labelled_10(folder: Path, name: str) -> None:
    import pickle

    path = file_of(name, folder)
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    labels = content["labels"].copy()
    labels[0, 0] = 10.0
    deap.write_subject(folder, "s01", content["data"], labels)
    (folder / "participant_ratings.csv").unlink(missing_ok=True)


def _of_volts(folder: Path, name: str) -> None:
    import pickle

    content = pickle.loads(file_of(name, folder).read_bytes(), encoding="latin1")
    ecg = content["signal"]["chest"]["ECG"][:, 0]
    wesad.write_subject(folder, "S2", ecg / 1000, content["label"])


def _with_nan(folder: Path, name: str) -> None:
    def change(signal: np.ndarray) -> np.ndarray:
        signal[0, 5] = np.nan
        return signal

    alter(name, folder, change)


def _gone(folder: Path, name: str) -> None:
    for path in MODULES[name].files_of(folder, FIRST[name]):
        path.unlink()


def _code(folder: Path, name: str) -> None:
    import os
    import pickle

    class Evil:
        def __reduce__(self) -> tuple:
            return os.system, (f"touch '{folder / 'canary'}'",)

    file_of(name, folder).write_bytes(pickle.dumps(Evil(), 2))


def _rate(folder: Path, name: str) -> None:
    path = folder / "mapping.toml"
    path.write_text(path.read_text().replace("sfreq = 256", "sfreq = -256"))


DAMAGES = [
    ("eegmat", _truncated), ("amigos", _of_7_3), ("deap", _labelled_10), ("wesad", _of_volts),
    ("swell", _with_nan), ("wesad", _gone), ("deap", _code), ("mand", _rate),
]  # fmt: skip


@pytest.mark.faults
@pytest.mark.parametrize(
    "name,damage", DAMAGES, ids=[f"{name}-{damage.__name__[1:]}" for name, damage in DAMAGES]
)
def test_check_data_prints_one_message(name: str, damage: Callable, copy: Copy):
    """Of a damaged twin, which needs no licence and no whole set."""
    folder = copy(name)
    damage(folder, name)
    before = contents(folder)
    printed("check-data", name, "--root", folder)
    assert contents(folder) == before


@pytest.mark.faults
@pytest.mark.parametrize("name", ["amigos", "eegmat"])
def test_check_data_of_the_benign_twin(name: str, copy: Copy):
    """Status 0 and a report of one screen."""
    folder = copy(name)
    done = command("check-data", name, "--root", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert 2 <= len(done.stdout.splitlines()) <= 40, done.stdout


@pytest.mark.faults
def test_check_data_of_nothing(tmp_path: Path):
    printed("check-data", "wesad", "--root", tmp_path, words=("WESAD",))


@pytest.mark.faults
@pytest.mark.parametrize("argv", [("check-data", "wesat"), ("data", "wesat")])
def test_a_set_that_is_none(argv: tuple[str, str]):
    done = command(*argv)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    assert "did you mean 'wesad'" in done.stderr


@pytest.mark.faults
def test_data_from_an_archive_that_climbs(tmp_path: Path):
    """`make data DATASET=eegmat ARCHIVE=...` of a zip with ../: one message, and nothing made."""
    import zipfile

    archive, to = tmp_path / "set.zip", tmp_path / "to" / "eegmat"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("../../evil.edf", b"x")
    printed("data", "eegmat", "--archive", archive, "--to", to)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["set.zip"]


@pytest.mark.faults
def test_a_mark_of_a_twin_that_is_damaged(copy: Copy):
    folder = copy("wesad")
    mark = folder / "TWIN.json"
    content = json.loads(mark.read_text())
    mark.write_text(json.dumps(content)[:-5])
    refused(lambda: read("wesad", folder), folder=folder, names="TWIN.json")
    mark.write_text(json.dumps(content))
    assert read("wesad", folder)


@pytest.mark.faults
def test_run_on_a_file_that_is_damaged(copy: Copy):
    """What the notebook finds while it reads ends as what is found before it starts."""
    folder, before = real(copy("wesad")), _runs()
    path = file_of("wesad", folder)
    path.write_bytes(path.read_bytes()[:5000])
    rest = ",".join(datasets.card("wesad").subjects[2:])
    said = printed(
        *RUN, "-p", "allow_missing", rest, "-p", "scale", "smoke", data=folder.parent,
        accept="wesad", words=("S2.pkl",),
    )  # fmt: skip
    assert "allow_missing" in said or "publisher" in said
    assert _runs() == before
