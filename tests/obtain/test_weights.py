from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from affectbook import datasets, runs
from affectbook.errors import DataFileError, DataNotFoundError
from affectbook.obtain import weights

CONTENT = b"weights " * 100


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of all data; what is published is small."""
    small = dataclasses.replace(
        weights.PUBLISHED["ecg_fm"],
        n_bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )
    monkeypatch.setitem(weights.PUBLISHED, "ecg_fm", small)
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def put(folder: Path, content: bytes = CONTENT) -> Path:
    path = folder / weights.PUBLISHED["ecg_fm"].file
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_weights_have_no_name_of_a_data_set() -> None:
    assert not set(weights.PUBLISHED) & set(datasets.names())
    for name, one in weights.PUBLISHED.items():
        assert one.name == name == name.lower()
        assert len(bytes.fromhex(one.sha256)) == 32 and one.n_bytes > 0


def test_the_published_encoder_is_as_large_as_its_weights_and_two_moments() -> None:
    # 90,883,072 parameters, each of four bytes three times, and little else.
    assert 0 < weights.PUBLISHED["ecg_fm"].n_bytes - 12 * 90_883_072 < 1_000_000


@pytest.mark.parametrize("name", ["ecg_fm", "ECG_FM"])
def test_data_says_where_weights_come_from_and_where_they_go(
    name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path / "all data"))
    assert runs.main(["data", name]) == 0
    told, one = capsys.readouterr().out, weights.PUBLISHED["ecg_fm"]
    path = tmp_path / "all data" / "ecg_fm" / one.file
    for fact in (one.repository, one.file, one.sha256, str(one.n_bytes), "MIT", str(path)):
        assert fact in told
    assert f"--local-dir '{path.parent}'" in told
    assert "make check-data DATASET=ecg_fm" in told and "there is a file" not in told
    assert not path.parent.parent.exists()


def test_what_is_in_its_place_is_found_and_checked(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(data / "ECG_FM")
    assert weights.find("ecg_fm") == path
    assert runs.main(["check-data", "ecg_fm"]) == 0
    told = capsys.readouterr().out
    assert "the published file" in told and str(path) in told
    assert runs.main(["data", "ecg_fm"]) == 0
    assert f"{path} (there is a file of this name)" in capsys.readouterr().out


def test_what_is_not_there_is_one_message(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataNotFoundError) as error:
        weights.find("ecg_fm")
    assert str(data / "ecg_fm") in str(error.value)
    assert "make data DATASET=ecg_fm" in str(error.value)
    assert runs.main(["check-data", "ecg_fm"]) == 2
    told = capsys.readouterr()
    assert not told.out and told.err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "field"), [(CONTENT[:-1], "size"), (b"X" + CONTENT[1:], "sha256"), (b"", "size")]
)
def test_another_file_is_refused(data: Path, content: bytes, field: str) -> None:
    path = put(data / "ecg_fm", content)
    with pytest.raises(DataFileError, match="not the published file") as error:
        weights.check("ecg_fm")
    assert error.value.field == field and str(path) in str(error.value)


@pytest.mark.parametrize(
    "command",
    [["data", "--archive", "w.zip"], ["data", "--to", "there"], ["check-data", "--root", "there"]],
)
def test_what_goes_for_data_sets_alone_is_refused(
    data: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert runs.main([command[0], "ecg_fm", *command[1:]]) == 2
    told = capsys.readouterr()
    assert not told.out and "put where it belongs by hand" in told.err
