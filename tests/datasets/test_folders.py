"""Where data are looked for, which files are no part of a set, and folders with any name."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from affectbook import datasets, files
from affectbook.datasets import _folders, _registry, mand, wesad
from affectbook.errors import CacheError, DataFileError, DataNotFoundError
from affectbook.windows import make_windows

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
MORE = ["Thumbs.db", "__MACOSX/", "notes"]
# Files that a publisher's copy holds beside those that are read.
BESIDE = {
    "amigos": ["Participant_PANAS.xlsx", "metadata_xls/Video_List.xls"],
    "deap": ["participant_questionnaire.xls", "data_original/s01.bdf", "s02.dat"],
    "dreamer": ["readme_v1.0.2.txt"],
    "drivedb": ["RECORDS", "drive11.hea", "headers/drive11.hea", "SHA256SUMS.txt"],
    "eegmat": ["RECORDS", "Subject35_2.edf", "subject-info.csv"],
    "mand": ["video/1/fear.mp4", "2/face.png"],
    "mci": ["README"],
    "seed": ["channel-order.xlsx", "Preprocessed_EEG/readme.txt", "ExtractedFeatures/a/b.mat"],
    "swell": ["0 - Raw data/A - Video/a/b.avi", "2 - Interpreted data/all.csv"],
    "wesad": ["wesad_readme.pdf", "S2/S2_quest.csv", "S2/S2_E4_Data/ACC.csv"],
}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Return an empty folder with an unusual name that stands for the project."""
    folder = tmp_path / "größer, mit [1] Blank \u4e2d"
    folder.mkdir()
    (folder / "lib").symlink_to(files.project_root() / "lib")
    monkeypatch.setattr(files, "project_root", lambda: folder)
    monkeypatch.setattr(_folders, "project_root", lambda: folder)
    monkeypatch.delenv("AFFECTBOOK_DATA", raising=False)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def short(monkeypatch):
    """Make twins of a few seconds."""

    def shorten(name: str) -> None:
        module = _registry.module(name)
        original = module.make_twin
        monkeypatch.setattr(module, "make_twin", lambda *a, **k: original(*a, **(k | SHORT[name])))

    return shorten


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists():
            (folder / name).write_bytes(b"0")


@pytest.mark.parametrize("name", datasets.names())
def test_each_twin_in_a_folder_with_any_name_and_what_is_stray_in_it(project, short, name):
    short(name)
    folder = datasets.prepare(name, "simulated", subjects=1)
    assert folder.is_relative_to(project / "build" / "twins" / name)
    assert next(iter(datasets.load(name, folder))).signal.size
    assert _folders.strays(name, folder) == []
    put(folder, *BESIDE[name])
    assert _folders.strays(name, folder) == []
    put(
        folder,
        ".DS_Store",
        "Thumbs.db",
        "notes",
        "__MACOSX/deep/one",
        "__MACOSX/deep/two",
        ".git/HEAD",
    )
    place = datasets.load(name, folder).folder
    assert _folders.strays(name, place) == [".DS_Store", ".git/", *MORE]
    read = _registry.module(name).files_of(folder, datasets.subjects(name, folder)[0])[0]
    put(read.parent, f"._{read.name}", f"{read.name}.part")
    for second in (f"{read.stem} (1){read.suffix}", f"Copy of {read.name}"):
        put(read.parent, second)
        assert any(path.endswith(second) for path in _folders.strays(name, place)), second
        (read.parent / second).unlink()
    inner = [path for path in _folders.strays(name, place) if read.name in path]
    above = read.parent.relative_to(folder).as_posix() + "/" if read.parent != folder else ""
    assert inner == [f"{above}._{read.name}", f"{above}{read.name}.part"]


def test_strays_are_sorted_and_other_subjects_files_are_told(tmp_path):
    wesad.make_twin(tmp_path, subjects=1, minutes=0.3)
    put(tmp_path, "S99.pkl", "S2/b.txt", "S2/a.txt", "S3/S3_quest.csv", "S3/S2.pkl")
    assert _folders.strays("wesad", tmp_path) == ["S2/a.txt", "S2/b.txt", "S3/S2.pkl", "S99.pkl"]


def test_a_tree_beside_the_data_is_not_walked_through(tmp_path, monkeypatch):
    wesad.make_twin(tmp_path, subjects=1, minutes=0.3)
    put(tmp_path, "backup/a/b/c", "S2/S2_E4_Data/deep/one", "S2/more/one")
    entered, scan = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: (entered.append(str(place)), scan(place))[1])
    assert _folders.strays("wesad", tmp_path) == ["S2/more/", "backup/"]
    assert {Path(place) for place in entered} == {tmp_path, tmp_path / "S2"}


def test_a_loop_of_links_ends(tmp_path):
    mand.make_twin(tmp_path, subjects=1, seconds=1)
    (tmp_path / "1" / "loop").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert "gone" in _folders.strays("mand", tmp_path)


@pytest.mark.parametrize("name", ["eegmat", "drivedb"])
def test_copies_of_open_sets_have_no_strays(real, name):
    assert _folders.strays(name, real(name)) == []


def test_a_place_that_may_not_be_listed_is_one_message(tmp_path, monkeypatch):
    wesad.make_twin(tmp_path, subjects=1, minutes=0.3)

    def refuse(place: object) -> None:
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataFileError) as caught:
        _folders.strays("wesad", tmp_path)
    whole(caught.value, "Permission denied")


def whole(error: Exception, *words: str) -> None:
    """Check that an error has all its parts, in one line."""
    assert all((error.file, error.field, error.found, error.expected, error.do))
    assert "\n" not in str(error) and all(word in str(error) for word in words), str(error)


@pytest.mark.parametrize("relative", [False, True])
def test_the_variable_may_name_the_folder_of_the_set_itself(project, monkeypatch, relative):
    own = wesad.make_twin(project / "my copy", subjects=1, minutes=0.3)
    kept = wesad.make_twin(project / "data" / "wesad", subjects=1, minutes=0.3)
    assert datasets.find_root("wesad") == kept
    monkeypatch.setenv("AFFECTBOOK_DATA", "my copy" if relative else str(own))
    assert datasets.find_root("wesad") == own, "before the project's own folder"
    assert _folders.shown("wesad", own) == "my copy"
    inner = wesad.make_twin(own / "WESAD", subjects=1, minutes=0.3)
    assert datasets.find_root("wesad") == inner, "a folder with the set's name comes first"
    with pytest.raises(DataNotFoundError) as caught:
        datasets.find_root("drivedb")
    whole(caught.value, f"nothing in {own / 'drivedb'}, {own}, ", "or that of this one")


def test_a_folder_outside_the_project_is_shown_by_the_variable(project, monkeypatch, tmp_path):
    own = wesad.make_twin(tmp_path / "elsewhere", subjects=1, minutes=0.3)
    monkeypatch.setenv("AFFECTBOOK_DATA", str(own))
    assert _folders.shown("wesad", datasets.find_root("wesad")) == "$AFFECTBOOK_DATA"
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    assert _folders.shown("wesad", own) == "$AFFECTBOOK_DATA/wesad"


def test_the_projects_own_folder_is_no_data_set_itself(project):
    wesad.make_twin(project / "data", subjects=1, minutes=0.3)
    with pytest.raises(DataNotFoundError):
        datasets.find_root("wesad")


def test_a_folder_with_the_name_of_another_set_is_not_looked_into(project, monkeypatch):
    """Both sets have a mapping, and each would refuse that of the other."""
    monkeypatch.setenv("AFFECTBOOK_DATA", str(mand.make_twin(project / "manD", subjects=1)))
    assert datasets.find_root("mand").name == "manD"
    with pytest.raises(DataNotFoundError, match="no files of HCMNet's private set"):
        datasets.find_root("mci")


@pytest.mark.parametrize("place", ["build", "build/twins", "build/twins/wesad"])
def test_a_twin_that_cannot_be_kept_is_one_message(project, place):
    put(project, place)
    with pytest.raises(CacheError) as caught:
        datasets.prepare("wesad", "simulated", subjects=1)
    whole(caught.value, "build", "are free", "free the disk or change the permissions")
    assert (project / place).read_bytes() == b"0"


@pytest.mark.parametrize("name", ["wesad", "dreamer"])
def test_without_room_windows_are_cut_and_a_conversion_is_one_message(project, short, caplog, name):
    short(name)
    twin = datasets.prepare(name, "simulated", subjects=1)
    place = project / "build" / "cache"
    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    place.exists() and place.rmdir()
    put(project, "build/cache")
    recordings = datasets.load(name, twin)
    rule = recordings.rule(datasets.card(name).label_rules[0].name)
    if name == "wesad":
        assert len(make_windows(recordings, 1.0, 0.0, 128.0, label_rule=rule).y)
        assert "windows could not be kept" in caplog.text
        assert caplog.text.count("sums of files could not be kept") <= 1
        return
    with pytest.raises(CacheError) as caught:
        list(recordings)
    whole(caught.value, "build", "are free")


SCRIPT = """
import resource, signal, sys
from pathlib import Path
from affectbook import datasets, files
from affectbook.datasets import _folders, drivedb
from affectbook.errors import CacheError
folder = Path(sys.argv[1])
files.project_root = _folders.project_root = lambda: folder
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
try:
    datasets.prepare("drivedb", "simulated", subjects=1)
except CacheError as error:
    parts = (error.file, error.field, error.found, error.expected, error.do)
    print(all(parts), "\\n" not in str(error), error.found)
print([path.name for path in (folder / "build" / "twins" / "drivedb").iterdir()])
"""


def test_a_twin_larger_than_a_file_may_be_is_one_message_and_leaves_nothing(project):
    """The limit of the system stops a real writer in the middle of a file."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(project)],
        capture_output=True, text=True, check=True, cwd=project, timeout=120,
    )  # fmt: skip
    told, left = done.stdout.splitlines()
    assert told.startswith("True True ") and "MB are free" in told
    assert left == "[]" and "Traceback" not in done.stderr
