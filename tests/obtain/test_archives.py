"""Zips: what would leave the folder, fill the disk or overwrite is refused before it is written."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectbook import datasets
from affectbook.datasets import _published
from affectbook.errors import DataError, DataFileError, DataNotFoundError
from affectbook.obtain import _members, archives

MOST = 10**6
BODY = np.random.default_rng(0).bytes(5000)


def made(path: Path, members: dict[str | zipfile.ZipInfo, bytes], **options: object) -> Path:
    with zipfile.ZipFile(path, "w", **options) as zipped:
        for name, body in members.items():
            zipped.writestr(name, body)
    return path


def unpack(archive: Path, folder: Path, **options: object) -> list[str]:
    told = {"wanted": lambda _: True, "most_bytes": MOST, "echo": lambda _: None, **options}
    wanted, most = told.pop("wanted"), told.pop("most_bytes")
    paths = archives.unpack(archive, folder, wanted, most, **told)
    return [path.relative_to(folder).as_posix() for path in paths]


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(
    archive: Path, folder: Path, kind: type[DataError] = DataFileError, **options: object
) -> DataError:
    """Return the one message of a refusal, which leaves nothing anywhere."""
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(DataError) as caught:
        unpack(archive, folder, **options)
    error = caught.value
    assert type(error) is kind, error
    parts = (error.file, error.field, error.found, error.expected, error.do)
    assert all(part is not None for part in parts), error
    assert "\n" not in str(error) and str(error).isprintable()
    assert sorted(folder.parent.rglob("*")) == before
    return error


def test_what_is_wanted_is_unpacked_and_nothing_else(tmp_path: Path) -> None:
    members = {"WESAD/": b"", "WESAD/S2/S2.pkl": BODY, "WESAD/S2/x.txt": b"x", "./S3.pkl": b"3"}
    archive = made(tmp_path / "a.zip", members, compression=zipfile.ZIP_DEFLATED)
    folder = tmp_path / "new" / "wesad"
    names = unpack(archive, folder, wanted=lambda n: n.endswith(".pkl"), strip="WESAD/")
    assert names == ["S2/S2.pkl", "S3.pkl"]
    assert files_below(folder) == {"S2/S2.pkl": BODY, "S3.pkl": b"3"}
    assert sorted(path.name for path in folder.iterdir()) == ["S2", "S3.pkl"]


@pytest.mark.parametrize(
    "name",
    [
        "../out.pkl", "a/../../out.pkl", "..", "/etc/out.pkl", "C:/out.pkl", "c:out.pkl",
        "..\\out.pkl", "a\\b.pkl", "a\nb.pkl", "a\x1b[2J.pkl", "a" * 300, "d/" * 600 + "x",
    ],
)  # fmt: skip
def test_a_name_that_is_no_place_inside_the_folder(name: str, tmp_path: Path) -> None:
    for wanted in (lambda _: True, lambda n: n == "S2.pkl"):
        archive = made(tmp_path / "a.zip", {"S2.pkl": BODY, name: b"x"})
        refused(archive, tmp_path / "wesad", wanted=wanted)
    made(archive, {"S2.pkl": BODY, "a/b..c/..d.pkl": b"x"})
    assert len(unpack(archive, tmp_path / "wesad")) == 2


def test_a_name_that_ends_early(tmp_path: Path) -> None:
    """What follows a zero byte is cut off by some readers, and not by others."""
    archive = made(tmp_path / "a.zip", {"S2.pklX.exe": BODY})
    archive.write_bytes(archive.read_bytes().replace(b"pklX", b"pkl\0"))
    assert "control" in refused(archive, tmp_path / "wesad").found


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_other_special_members(kind: int, tmp_path: Path) -> None:
    special = zipfile.ZipInfo("S2")
    special.create_system, special.external_attr = 3, (kind | 0o777) << 16
    archive = made(tmp_path / "a.zip", {special: b"/etc", "S2/S2.pkl": BODY})
    assert "link" in refused(archive, tmp_path / "wesad").found
    plain = zipfile.ZipInfo("S2.pkl")
    plain.create_system, plain.external_attr = 3, (stat.S_IFREG | 0o4777) << 16
    unpack(made(archive, {plain: BODY}), tmp_path / "wesad")
    assert (tmp_path / "wesad" / "S2.pkl").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize(
    "names",
    [("S2.pkl", "S2.pkl"), ("S2.pkl", "s2.PKL"), ("é.pkl", "e\u0301.pkl"), ("S2", "S2/S2.pkl"),
     ("S2/S2.pkl", "s2"), ("a/./b", "a/b")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_collide_on_some_file_system(names: tuple[str, str], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        for name in names:
            zipped.writestr(name, BODY)
    refused(tmp_path / "a.zip", tmp_path / "wesad")
    first = unpack(tmp_path / "a.zip", tmp_path / "x", wanted=lambda n: n == "S3.pkl")
    assert first == []


def test_bombs_that_say_what_they_are(tmp_path: Path) -> None:
    zeros = {"S2.pkl": bytes(20 * 10**6)}
    archive = made(tmp_path / "a.zip", zeros, compression=zipfile.ZIP_DEFLATED)
    assert "size" in refused(archive, tmp_path / "wesad").field
    error = refused(archive, tmp_path / "wesad", most_bytes=10**9)
    assert "times its packed size" in error.expected
    many = {f"{number}.pkl": bytes(1000) for number in range(100)} | {"big.pkl": bytes(60_000)}
    made(archive, many)
    assert "in one file" in refused(archive, tmp_path / "wesad").expected
    made(archive, {"S2.pkl": BODY * 10}, compression=zipfile.ZIP_DEFLATED)
    unpack(archive, tmp_path / "wesad")


def lying(path: Path, body: bytes, size: int) -> Path:
    """Write a zip whose directory says another size than its member has."""
    made(path, {"S2.pkl": body}, compression=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    struct.pack_into("<I", content, at + 24, size)
    struct.pack_into("<I", content, 22, size)
    path.write_bytes(content)
    return path


def test_a_bomb_that_says_it_is_small_writes_no_more_than_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    opened = Path.open

    def watched(path: Path, mode: str = "r", *given: object, **named: object) -> object:
        stream = opened(path, mode, *given, **named)
        return _Watched(stream, written) if mode == "wb" else stream

    archive = lying(tmp_path / "a.zip", bytes(20 * 10**6), 100)
    monkeypatch.setattr(Path, "open", watched)
    refused(archive, tmp_path / "wesad")
    assert sum(written) <= 100


class _Watched:
    """A stream that notes how much is written."""

    def __init__(self, stream, written: list[int]) -> None:
        self._stream, self._written = stream, written

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def tell(self) -> int:
        return self._stream.tell()

    def write(self, content: bytes) -> int:
        self._written.append(len(content))
        return self._stream.write(content)


def test_a_member_that_says_it_is_larger_than_it_is(tmp_path: Path) -> None:
    refused(lying(tmp_path / "a.zip", BODY, 6000), tmp_path / "wesad")


def test_an_encrypted_member(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", {"S2.pkl": BODY, "S3.pkl": BODY})
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    assert "encrypted" in refused(archive, tmp_path / "wesad").found
    assert unpack(archive, tmp_path / "wesad", wanted=lambda n: n == "S3.pkl") == ["S3.pkl"]


def test_a_method_that_python_cannot_unpack(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", {"S2.pkl": BODY})
    content = bytearray(archive.read_bytes())
    struct.pack_into("<H", content, content.index(b"PK\x01\x02") + 10, 9)  # deflate64
    archive.write_bytes(content)
    assert "method 9" in refused(archive, tmp_path / "wesad").found


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_zip_that_was_cut(share: float, tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", {f"S{n}.pkl": BODY for n in range(9)})
    archive.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size)])
    error = refused(archive, tmp_path / "wesad")
    assert ("was cut" in error.found) == (share > 0)


@pytest.mark.parametrize("start", [b"Rar!\x1a\x07", b"hello", b"\x1f\x8b\x08"])
def test_a_file_that_is_no_zip(start: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(start + bytes(100))
    refused(tmp_path / "a.zip", tmp_path / "wesad")
    refused(tmp_path, tmp_path / "wesad")
    refused(tmp_path / "none.zip", tmp_path / "wesad", DataNotFoundError)


@pytest.mark.parametrize("at", [60, 3000, 8000])
def test_a_flipped_bit_leaves_nothing(at: int, tmp_path: Path) -> None:
    archive = made(
        tmp_path / "a.zip", {"S2.pkl": BODY, "S3.pkl": BODY}, compression=zipfile.ZIP_DEFLATED
    )
    content = bytearray(archive.read_bytes())
    content[at] ^= 1
    archive.write_bytes(content)
    refused(archive, tmp_path / "wesad")


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = made(tmp_path / "a.zip", {f"{n}": b"" for n in range(11)})
    unpack(archive, tmp_path / "x")
    monkeypatch.setattr(_members, "MOST_MEMBERS", 10)
    assert refused(archive, tmp_path / "wesad").field == "members"


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = made(tmp_path / "a.zip", {"S2.pkl": BODY})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4999))
    assert refused(archive, tmp_path / "wesad").field == "free space"


def test_what_is_there_stays(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", {"S2/S2.pkl": BODY, "S3/S3.pkl": b"3"})
    folder = tmp_path / "wesad"
    unpack(archive, folder, wanted=lambda n: n == "S2/S2.pkl")
    before = (folder / "S2" / "S2.pkl").stat().st_ino
    assert len(unpack(archive, folder)) == 2
    assert (folder / "S2" / "S2.pkl").stat().st_ino == before
    (folder / "S3" / "S3.pkl").write_bytes(b"4")
    (folder / "S2" / "S2.pkl").unlink()
    refused(archive, folder)
    assert files_below(folder) == {"S3/S3.pkl": b"4"}


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    archive, folder = made(tmp_path / "a.zip", {"S2/S2.pkl": BODY}), tmp_path / "wesad"
    for inside in (tmp_path / "outside", folder / "inside"):
        inside.mkdir(parents=True)
    (folder / "S2").symlink_to(tmp_path / "outside")
    assert refused(archive, folder).field == "link"
    (folder / "S2").unlink()
    (folder / "S2").symlink_to("inside")
    (tmp_path / "link").symlink_to(folder)
    unpack(archive, tmp_path / "link")
    assert (folder / "inside" / "S2.pkl").read_bytes() == BODY


def test_a_fault_at_the_last_name_takes_back_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = made(tmp_path / "a.zip", {"S2/S2.pkl": BODY, "S3/S3.pkl": b"3"})
    folder = tmp_path / "wesad"
    folder.mkdir()
    rename = Path.rename

    def broken(path: Path, target: Path) -> Path:
        if target.name == "S3.pkl":
            raise OSError(28, "No space left on device", str(target))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", broken)
    assert "No space left" in refused(archive, folder).found
    assert list(folder.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "wesad" / ".unpacking-1"
    left.mkdir(parents=True)
    (left / "0").write_bytes(b"x")
    unpack(made(tmp_path / "a.zip", {"S2.pkl": BODY}), tmp_path / "wesad")
    assert files_below(tmp_path / "wesad") == {"S2.pkl": BODY}


def test_a_sum_that_differs_leaves_nothing(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", {"S2.pkl": BODY})
    assert "sha256" in refused(archive, tmp_path / "wesad", sums={"S2.pkl": ("0" * 64,)}).field


NAMES = st.text(st.sampled_from("a./\\:C\x00é \u202e~"), min_size=1, max_size=12) | st.text(
    min_size=1, max_size=20
)


@given(names=st.lists(NAMES, min_size=1, max_size=4))
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_any_name_ends_inside_the_folder_or_is_refused(names: list[str], tmp_path: Path) -> None:
    place = tmp_path / "deep" / "deeper" / "set"
    shutil.rmtree(tmp_path / "deep", ignore_errors=True)
    place.mkdir(parents=True)
    archive = tmp_path / "a.zip"
    try:
        with zipfile.ZipFile(archive, "w") as zipped:
            for name in names:
                zipped.writestr(zipfile.ZipInfo(name), b"x")
    except (UnicodeEncodeError, ValueError):
        return
    try:
        archives.unpack(archive, place, lambda _: True, MOST, lambda _: None)
    except DataFileError as error:
        assert str(error).isprintable()
        assert list(place.iterdir()) == []
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and path != archive]
    assert all(path.is_relative_to(place) for path in outside)
    assert [path.name for path in tmp_path.iterdir()] in ([["deep", "a.zip"], ["a.zip", "deep"]])


@pytest.mark.parametrize("top", ["", "WESAD/", "copy/WESAD/"])
def test_a_folder_around_the_files_does_not_matter(
    top: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path / "data"))
    subjects = datasets.card("wesad").subjects
    members = {f"{top}{s}/{s}.pkl": s.encode() for s in subjects}
    members |= {f"{top}{s}/{s}_quest.csv": b"q" for s in subjects} | {f"{top}readme.pdf": b"r"}
    archive, lines = made(tmp_path / "WESAD.zip", members), []
    folder = archives.for_dataset("wesad", archive, echo=lines.append)
    assert folder == tmp_path / "data" / "wesad"
    assert files_below(folder) == {f"{s}/{s}.pkl": s.encode() for s in subjects}
    assert f"15 of 15 subjects are there: {folder}" in lines


@pytest.mark.parametrize(
    ("name", "members", "top"),
    [
        ("deap", ["data_preprocessed_python/s01.dat", "data_preprocessed_python/s32.dat"], ""),
        ("deap", ["metadata_csv/participant_ratings.csv"], ""),
        ("seed", ["Preprocessed_EEG/1_20131027.mat", "Preprocessed_EEG/1_20131030.mat",
                  "Preprocessed_EEG/1_20131107.mat", "Preprocessed_EEG/label.mat"], "SEED/"),
        ("amigos", ["Data_Preprocessed_P01/Data_Preprocessed_P01.mat"], "data_preprocessed/"),
        ("dreamer", ["DREAMER.mat"], ""),
        ("swell", ["0 - Raw data/D - Physiology - raw data/Mobi signals (raw and filtered)/"
                   "pp1_18-9-2012_c1.S00"], "dans/"),
        ("swell", ["3 - Feature dataset/per sensor/"
                   "D - Physiology features (HR_HRV_SCL - final).csv"], ""),
    ],
)  # fmt: skip
def test_the_reader_says_which_files_are_needed(
    name: str, members: list[str], top: str, tmp_path: Path
) -> None:
    archive = made(
        tmp_path / "a.zip",
        {top + one: one.encode() for one in members} | {f"{top}more/readme.txt": b"x"},
    )
    folder = archives.for_dataset(name, archive, tmp_path / name, echo=lambda _: None)
    assert {path.split("/")[-1] for path in files_below(folder)} == {
        one.split("/")[-1] for one in members
    }


def test_sets_that_come_in_several_zips(tmp_path: Path) -> None:
    quiet = {"folder": tmp_path / "deap", "echo": lambda _: None}
    python = "data_preprocessed_python"
    for first in ("s01", "s02"):
        archive = made(tmp_path / f"{first}.zip", {f"{python}/{first}.dat": first.encode()})
        archives.for_dataset("deap", archive, **quiet)
    table = made(tmp_path / "t.zip", {"metadata_csv/participant_ratings.csv": b"t"})
    archives.for_dataset("deap", table, **quiet)
    assert len(files_below(tmp_path / "deap")) == 3


def test_a_zip_of_another_set_is_refused(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", {"S2/S2.pkl": BODY, "inner.zip": b"PK"})
    with pytest.raises(DataFileError, match="nothing of DEAP") as caught:
        archives.for_dataset("deap", archive, tmp_path / "deap", echo=lambda _: None)
    error = caught.value
    assert all((error.file, error.field, error.found, error.expected, error.do))
    assert not (tmp_path / "deap").exists()


def test_an_archive_of_many_folders_is_not_searched_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking into one takes some milliseconds, and a wrong archive may have 100 000 of them."""
    tops: list[str] = []
    look = archives._needed
    monkeypatch.setattr(archives, "_MOST_TOPS", 3)
    monkeypatch.setattr(
        archives, "_needed", lambda *asked: (tops.append(asked[2]), look(*asked))[1]
    )
    many = {f"d{number}/a/b/x.txt": b"" for number in range(50)}
    archive = made(tmp_path / "a.zip", many)
    with pytest.raises(DataFileError, match="nothing of WESAD"):
        archives.for_dataset("wesad", archive, tmp_path / "wesad", echo=lambda _: None)
    assert len(tops) == 1 + 3 * 3
    archive = made(tmp_path / "b.zip", many | {"z/S2/S2.pkl": BODY, "z/S2/S2_quest.csv": b""})
    folder = archives.for_dataset("wesad", archive, tmp_path / "wesad", echo=lambda _: None)
    assert (folder / "S2" / "S2.pkl").read_bytes() == BODY


def test_a_set_with_a_mapping_needs_it_first(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", {"top/S1.csv": b"x", "top/notes.txt": b"x"})
    folder, quiet = tmp_path / "mci", lambda _: None
    with pytest.raises(DataNotFoundError, match="mapping"):
        archives.for_dataset("mci", archive, folder, echo=quiet)
    folder.mkdir()
    shutil.copy(Path(datasets.__file__).with_name("mci_mapping.toml"), folder / "mapping.toml")
    archives.for_dataset("mci", archive, folder, echo=quiet)
    assert set(files_below(folder)) == {"mapping.toml", "S1.csv"}


def test_an_open_set_is_held_against_its_sums(real: Callable[[str], Path], tmp_path: Path) -> None:
    names = ("drive05.hea", "drive05.dat", "drive06.hea", "drive06.dat")
    top = "stress-recognition-in-automobile-drivers-1.0.0/"
    whole = {top + name: (real("drivedb") / name).read_bytes() for name in names}
    archive, quiet = made(tmp_path / "a.zip", {**whole, f"{top}index.html": b"x"}), lambda _: None
    folder = archives.for_dataset("drivedb", archive, tmp_path / "drivedb", echo=quiet)
    assert set(files_below(folder)) == set(names)
    _published.check("drivedb", folder, folder.iterdir())
    assert len(list(datasets.load("drivedb", folder))) == 14
    made(archive, {**whole, f"{top}drive06.hea": b"x" + whole[f"{top}drive06.hea"][1:]})
    shutil.rmtree(folder)
    with pytest.raises(DataFileError, match="sha256"):
        archives.for_dataset("drivedb", archive, tmp_path / "drivedb", echo=quiet)
    assert not folder.exists()


def test_the_list_in_a_publishers_zip_counts_where_ours_is_of_a_copy(tmp_path: Path) -> None:
    top, digest = "eeg-1.0.0/", hashlib.sha256(b"theirs").hexdigest()
    members = {f"{top}Subject00_{n}.edf": b"theirs" for n in (1, 2)}
    archive, quiet = made(tmp_path / "a.zip", members), lambda _: None
    with pytest.raises(DataFileError, match="sha256"):
        archives.for_dataset("eegmat", archive, tmp_path / "eegmat", echo=quiet)
    assert not (tmp_path / "eegmat").exists()
    lines = "".join(f"{digest} Subject00_{n}.edf\n" for n in (1, 2))
    made(archive, {**members, f"{top}SHA256SUMS.txt": lines.encode()})
    folder = archives.for_dataset("eegmat", archive, tmp_path / "eegmat", echo=quiet)
    assert set(files_below(folder)) == {"Subject00_1.edf", "Subject00_2.edf", "SHA256SUMS.txt"}
    _published.check("eegmat", folder, folder.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_an_archive_that_may_not_be_read(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", {"S2.pkl": BODY})
    archive.chmod(0)
    refused(archive, tmp_path / "wesad")
