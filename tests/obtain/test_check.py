"""A folder is held against its card: one screen, then one message if anything is wrong."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affectbook import datasets, runs
from affectbook.datasets import _folders, _published, deap, dreamer, eegmat, wesad
from affectbook.errors import DataFileError, DataNotFoundError
from affectbook.obtain import check

Told = Callable[..., tuple[list[str], DataFileError | None]]
SCREEN = 30


@pytest.fixture(scope="module")
def twins(tmp_path_factory) -> dict[str, Path]:
    """Return a twin of two subjects of three sets."""
    base = tmp_path_factory.mktemp("twins")
    made = {
        "wesad": wesad.make_twin(base / "wesad", subjects=2, minutes=2),
        "deap": deap.make_twin(base / "deap", subjects=2, seconds=4),
        "eegmat": eegmat.make_twin(base / "eegmat", subjects=2, seconds=60),
    }
    return made


@pytest.fixture
def copy(twins, tmp_path) -> Callable[[str], Path]:
    """Return a copy of a twin in a folder whose name has a space and letters beyond ASCII."""

    def make(name: str, real: bool = False) -> Path:
        folder = tmp_path / f"Messung für {name}"
        shutil.copytree(twins[name], folder)
        if real:
            (folder / _folders.TWIN_FILE).unlink()
        return folder

    return make


def told(name: str, folder: Path) -> tuple[list[str], DataFileError | None]:
    lines: list[str] = []
    try:
        lines.append(check.check(name, folder, lines.append))
    except DataFileError as error:
        assert "\n" not in str(error) and all((error.file, error.field, error.found, error.do))
        return lines, error
    return lines, None


@pytest.mark.parametrize("name", ["wesad", "deap", "eegmat"])
def test_a_benign_folder_is_as_the_card_says_in_one_screen(copy, name):
    lines, error = told(name, copy(name))
    assert error is None and lines[-1].endswith("is as the card says.")
    assert "simulated twin" in lines[0] and len(lines) < SCREEN
    text = "\n".join(lines)
    assert f"2 of {len(datasets.card(name).subjects)}" in text
    for kind, names in datasets.channels(name).items():
        assert names and f"rate         {kind}" in text


def test_what_is_not_there_is_said_and_how_to_do_without(copy, monkeypatch):
    monkeypatch.setattr(wesad, "CARD", dataclasses.replace(wesad.CARD, seconds=None))
    folder = copy("wesad", real=True)
    lines, error = told("wesad", folder)
    missing = [
        subject for subject in datasets.card("wesad").subjects if subject not in ("S2", "S3")
    ]
    assert f"  {', '.join(missing)}: no files" in lines
    assert error.do.endswith(f"-p allow_missing {','.join(missing)}")
    assert "fetches" not in error.do, "licensed sets are never fetched"


def test_a_damaged_file_is_one_line_and_the_others_are_read(copy):
    folder = copy("deap")
    path = folder / "data_preprocessed_python" / "s02.dat"
    path.write_bytes(path.read_bytes()[:-100])
    lines, error = told("deap", folder)
    wrong = lines[lines.index("Missing or wrong:") + 1 :]
    assert len(wrong) == 1 and wrong[0].startswith("  s02: ") and "s02.dat" in wrong[0]
    assert error.do.endswith("allow_missing s02")
    assert any("eeg 40" in line for line in lines), "the other subject was read"


def test_one_fault_of_many_subjects_is_one_line(copy):
    folder = copy("wesad")
    for subject in ("S2", "S3"):
        ecg = np.random.default_rng(0).standard_normal(42_000) * 1e3
        wesad.write_subject(folder, subject, ecg, np.repeat([1, 2, 3, 4, 0, 4], 7000))
    lines, error = told("wesad", folder)
    wrong = lines[lines.index("Missing or wrong:") + 1 :]
    assert all("unit of subject" in line and "look like uV" in line for line in wrong)
    assert "allow_missing" not in error.do, "nobody would be left"


def test_all_who_have_a_fault_are_advised_to_be_left_out_and_nobody_else(copy, monkeypatch):
    """Also where a line has no room for all of them, and a number in it looks like a subject."""
    there = eegmat.CARD.subjects

    def subject(name: str, folder: Path, subject: str, real: bool) -> tuple[check.Seen, list[str]]:
        return check.Seen(), ["trials last 20 to 28 s (expected 60 s)"] if subject < "10" else []

    monkeypatch.setattr(eegmat, "subjects_in", lambda folder: there)
    monkeypatch.setattr(check, "_subject", subject)
    lines, error = told("eegmat", copy("eegmat"))
    assert "  00, 01, 02, 03, 04, 05, 06, 07 ...: trials last 20 to 28 s (expected 60 s)" in lines
    assert error.do.endswith(f"-p allow_missing {','.join(there[:10])}")


def test_one_damaged_file_of_everybody_is_read_once(tmp_path, monkeypatch):
    """Each attempt to convert the real one takes minutes, and it holds 23 people."""
    folder = dreamer.make_twin(
        tmp_path / "dreamer", subjects=3, baseline_s=1.0, stimulus_s=(1.0, 2.0)
    )
    path = folder / "DREAMER.mat"
    path.write_bytes(path.read_bytes()[:-100])
    asked, ask = [], check._subject
    monkeypatch.setattr(check, "_subject", lambda *a, **b: (asked.append(a), ask(*a, **b))[1])
    lines, error = told("dreamer", folder)
    wrong = lines[lines.index("Missing or wrong:") + 1 :]
    assert len(asked) == 1 and len(wrong) == 1 and wrong[0].startswith("  S01, S02, S03: ")
    assert "allow_missing" not in error.do


def test_an_altered_file_of_an_open_set_is_told_by_its_sum(copy, monkeypatch):
    folder = copy("eegmat", real=True)
    names = [path.name for path in folder.glob("*.edf")]
    sums = {name: (check.cache.sha256(folder / name), "1") for name in names}
    sums["Subject09_1.edf"] = ("0",)
    monkeypatch.setattr(_published, "accepted", lambda name, folder: sums)
    path = folder / "Subject01_2.edf"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    lines, error = told("eegmat", folder)
    assert any("3 of 4 files are as listed, 1 of the list are not here" in line for line in lines)
    assert any("Subject01_2.edf: not the listed SHA-256" in line for line in lines)
    assert "make data DATASET=eegmat" in error.do


def test_where_a_channel_stands_still_is_told_by_class(copy):
    folder = copy("wesad")
    ecg = np.random.default_rng(0).standard_normal(42_000)
    ecg[7_700:10_500] = -10.0  # 4 s of stress
    wesad.write_subject(folder, "S2", ecg, np.repeat([1, 2, 3, 4, 0, 4], 7000))
    lines, _ = told("wesad", folder)
    assert any("a channel stands still: stress 4.0 s;" in line for line in lines)


def test_strays_and_notes_of_the_reader_are_shown(copy):
    folder = copy("deap", real=False)
    (folder / "participant_ratings.csv").unlink()
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "notes.docx").write_bytes(b"x")
    lines, error = told("deap", folder)
    assert error is None
    assert any("2 files that are no part of it: .DS_Store, notes.docx" in line for line in lines)
    assert any(line.startswith("  note") and "could not be compared" in line for line in lines)


def test_trials_of_another_length_than_published_ask_for_the_rate(copy, monkeypatch):
    folder = copy("wesad", real=True)
    card = dataclasses.replace(wesad.CARD, seconds=(300.0, 1300.0), subjects=("S2", "S3"))
    monkeypatch.setattr(wesad, "CARD", card)
    lines, error = told("wesad", folder)
    assert error and any("is the sampling rate the published one?" in line for line in lines)


@pytest.mark.parametrize(("factor", "fine"), [(1, True), (0.25, False)])
def test_a_heart_rate_that_nobody_has_asks_for_the_rate(copy, monkeypatch, factor, fine):
    monkeypatch.setattr(wesad, "SFREQ", 700.0 * factor)
    lines, error = told("wesad", copy("wesad"))
    assert (error is None) is fine
    assert any("the sampling rate the published one?" in line for line in lines) is not fine


@pytest.mark.parametrize(("factor", "fine"), [(1, True), (2, False), (0.5, False)])
def test_several_subjects_tell_twice_and_half_the_rate(tmp_path, monkeypatch, factor, fine):
    wesad.make_twin(tmp_path, subjects=4, minutes=3)
    monkeypatch.setattr(wesad, "SFREQ", 700.0 * factor)
    lines, error = told("wesad", tmp_path)
    assert (error is None) is fine, lines
    assert fine or any("the sampling rate the published one?" in line for line in lines)


def test_what_has_no_beats_is_no_ecg():
    assert list(check._beating([np.nan, np.nan], (35, 180)))
    assert not list(check._beating([], (35, 180)))


def test_fewer_trials_than_the_card_says_are_counted(copy, monkeypatch):
    card = dataclasses.replace(deap.CARD, trials=41)
    monkeypatch.setattr(deap, "CARD", card)
    lines, error = told("deap", copy("deap"))
    assert error
    assert any(
        "s01, s02: fewer trials than the card says (found 40, expected 41)" in line
        for line in lines
    )


def test_no_folder_is_the_message_of_every_command(tmp_path):
    with pytest.raises(DataNotFoundError, match="no files of DEAP"):
        check.check("deap", tmp_path)


def test_the_command_prints_the_screen_then_one_message(copy, capsys):
    folder = copy("wesad")
    assert runs.main(["check-data", "wesad", "--root", str(folder)]) == 0
    assert "as the card says" in capsys.readouterr().out
    (folder / "S3" / "S3.pkl").unlink()
    assert runs.main(["check-data", "wesad", "--root", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert "S3: no files" in out and err.count("\n") == 1 and "Traceback" not in err
