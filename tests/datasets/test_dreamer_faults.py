"""DREAMER: whatever is wrong with the file ends in one message, and nothing is kept."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from tiny_dreamer import N_EEG, empty_project, person, write

from affectbook import files
from affectbook.datasets import _folders, _matlab, dreamer
from affectbook.errors import DataFileError


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    """Return an empty folder that stands for the project."""
    return empty_project(tmp_path, monkeypatch)


def refused(folder: Path, *words: str) -> None:
    """Check that reading ends in one message with these words, and that nothing is kept."""
    with pytest.raises(DataFileError) as caught:
        list(dreamer.read(folder, ["S01"]))
    for word in (*words, "DREAMER.mat", "do: "):
        assert word in str(caught.value), str(caught.value)
    assert not list(files.build_dir("cache", "dreamer").iterdir())


def test_real_data_have_23_subjects(tmp_path):
    write(tmp_path, [person(0), person(1)], twin=False)
    refused(tmp_path, "(1, 2) cell", "a cell of 23")


def test_real_data_last_a_minute_or_more(tmp_path, monkeypatch, caplog):
    tiny = person(0)
    write(tmp_path, [tiny] * 23, twin=False)
    refused(tmp_path, "Data{1}.ECG.stimuli{1}", "128 samples", "at least 15360", "too short")
    monkeypatch.setattr(dreamer, "SHORTEST_S", 0.2)
    with caplog.at_level(logging.WARNING, "affectbook"):
        assert len(list(dreamer.read(tmp_path, dreamer.CARD.subjects))) == 23 * 18
    assert "is converted, once" in caplog.text, "of real data this is told by default"


def test_a_mark_of_other_subjects_is_one_message(tmp_path):
    write(tmp_path, [person(0)])
    names = dreamer.CARD.subjects[:2]
    _folders.mark_twin(tmp_path, names, effect=1.0, fingerprint=1.0, seed=0)
    refused(tmp_path, "(1, 1) cell", "a cell of 2")


def test_a_truncated_file_is_one_message(tmp_path):
    path = write(tmp_path, [person(0)])
    whole = path.read_bytes()
    for cut in (0, 1, 127, 128, 131, 136, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        refused(tmp_path)


@pytest.mark.parametrize("position", [644, 660])
def test_a_byte_that_crashes_scipy_is_one_message(tmp_path, position):
    """The official file is compressed, and its check sum would show it; a copy need not be."""
    path = write(tmp_path, [person(0)])
    top = _dicts(scipy.io.loadmat(path)["DREAMER"])
    _matlab.save(path, {"DREAMER": top}, compress=False)
    broken = bytearray(path.read_bytes())
    broken[position] ^= 0x01
    path.write_bytes(broken)
    refused(tmp_path)


def test_more_than_the_set_has_is_one_message(tmp_path, monkeypatch):
    write(tmp_path, [person(0)])
    monkeypatch.setattr(dreamer, "MOST_BYTES", 1000)
    refused(tmp_path, "too large to be one of this set", "23 people")


def test_whole_numbers_packed_as_matlab_packs_them_are_read(tmp_path):
    """MATLAB writes doubles that are whole numbers as small integers."""
    one = person(0)
    one["ecg"] = [np.full((2, 2 * N_EEG), 2000 + film, np.uint16) for film in range(18)]
    one["eeg"] = [np.full((14, N_EEG), -film, np.int8) for film in range(18)]
    path = write(tmp_path, [one])
    changed(path, lambda top: put(top, np.full((18, 1), 3, np.uint8), "ScoreValence"))
    recordings = list(dreamer.read(tmp_path, ["S01"]))
    assert [r.signal[0, 0] for r in recordings] == [2000 + film for film in range(18)]
    assert {r.ratings["valence"] for r in recordings} == {3.0}


def changed(path: Path, change) -> None:
    """Read a file as dicts and cells, change it, and write it again."""
    content = _dicts(scipy.io.loadmat(path)["DREAMER"])
    change(content)
    _matlab.save(path, {"DREAMER": content})


def _dicts(value: np.ndarray) -> object:
    if value.dtype.names:
        return {name: _dicts(value[0, 0][name]) for name in value.dtype.names}
    if value.dtype == object:
        cell = np.empty(value.shape, object)
        for at in np.ndindex(value.shape):
            cell[at] = _dicts(value[at])
        return cell
    return value


def put(top: dict, value: object, *keys: str) -> None:
    """Set an entry of the first subject; None takes it out."""
    inner = top["Data"][0, 0]
    for key in keys[:-1]:
        inner = inner[key]
    if value is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value


def subject(value: object, *keys: str):
    return lambda top: put(top, value, *keys)


def top(value: object, key: str):
    return lambda content: content.update({key: value}) if value is not None \
        else content.pop(key)  # fmt: skip


def sample(value: object, kind: str, entry: str = "stimuli"):
    def change(content: dict) -> None:
        content["Data"][0, 0][kind][entry][3, 0] = value

    return change


def scores(**at: float):
    values = np.full((18, 1), 3.0)
    for film, value in at.items():
        values[int(film[1:]), 0] = value
    return values


SEVENTEEN = np.full((17, 1), 0.0).astype(object)
HOLE = np.full((2 * N_EEG, 2), np.nan)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (top(None, "Data"), ["DREAMER / Data", "missing", "EEG_SamplingRate"]),
        (top(np.zeros(3), "Data"), ["(1, 3) float64", "a cell of 1"]),
        (top(64.0, "EEG_SamplingRate"), ["EEG_SamplingRate", "found: 64", "expected: 128"]),
        (top(512.0, "ECG_SamplingRate"), ["ECG_SamplingRate", "found: 512", "expected: 256"]),
        (top("fast", "ECG_SamplingRate"), ["ECG_SamplingRate", "found: fast"]),
        (top(None, "ECG_SamplingRate"), ["ECG_SamplingRate", "missing"]),
        (top(17.0, "noOfVideoSequences"), ["noOfVideoSequences", "expected: 18"]),
        (top(2.0, "noOfSubjects"), ["noOfSubjects", "found: 2", "expected: 1"]),
        (top("AF3", "EEG_Electrodes"), ["EEG_Electrodes", "found: AF3", "expected: AF3 F7"]),
        (subject(None, "ECG"), ["ECG", "missing", "ScoreValence"]),
        (subject(7.0, "ECG"), ["ECG / stimuli", "missing"]),
        (subject(None, "EEG", "baseline"), ["EEG / baseline", "missing", "stimuli"]),
        (subject(np.zeros((18, 4)), "ECG", "stimuli"), ["Data{1}.ECG.stimuli", "a cell of 18"]),
        (subject(SEVENTEEN, "EEG", "stimuli"), ["(17, 1) cell", "a cell of 18"]),
        (sample(np.zeros((N_EEG, 13)), "EEG"), ["EEG.stimuli{4}", "(64, 13)", "(M, 14)"]),
        (sample(np.zeros((14, N_EEG)), "EEG"), ["EEG.stimuli{4}", "(14, 64)", "(M, 14)"]),
        (sample(np.zeros((2 * N_EEG, 1)), "ECG", "baseline"), ["ECG.baseline{4}", "(M, 2)"]),
        (sample("text", "ECG"), ["ECG.stimuli{4}", "found: text"]),
        (sample(np.zeros((0, 2)), "ECG"), ["ECG.stimuli{4}", "0 samples", "at least 1"]),
        (sample(np.zeros((N_EEG, 2)) + 1j, "ECG"), ["ECG.stimuli{4}", "complex128"]),
        (sample(HOLE, "ECG"), ["ECG.stimuli{4}", "256 of 256", "finite"]),
        (sample(HOLE + 1e300, "ECG"), ["256 of 256"]),
        (sample(np.full((2 * N_EEG, 2), 1e300), "ECG"), ["256 of 256"]),
        (sample(np.zeros((N_EEG, 2)), "ECG"), ["stimulus-4", "ECG 0.25 s, EEG 0.52 s", "2 %"]),
        (subject(scores(f2=6), "ScoreValence"), ["Data{1}.ScoreValence", "found: 6", "1 to 5"]),
        (subject(scores(f2=0), "ScoreArousal"), ["Data{1}.ScoreArousal", "found: 0"]),
        (subject(scores(f2=2.5), "ScoreDominance"), ["ScoreDominance", "found: 2.5"]),
        (subject(scores(f2=np.nan), "ScoreArousal"), ["ScoreArousal", "found: nan"]),
        (subject(scores()[:17], "ScoreValence"), ["ScoreValence", "(17, 1)", "18 numbers"]),
        (subject("three", "ScoreValence"), ["ScoreValence", "found: three"]),
        (subject(None, "ScoreValence"), ["ScoreValence", "missing"]),
    ],
)
def test_wrong_content_is_one_message(tmp_path, change, words):
    path = write(tmp_path, [person(0, n_eeg=N_EEG)])
    changed(path, change)
    refused(tmp_path, *words)


def test_electrodes_in_another_order_are_one_message(tmp_path):
    path = write(tmp_path, [person(0)])

    def swap(content: dict) -> None:
        names = content["EEG_Electrodes"]
        names[0, [0, 13]] = names[0, [13, 0]]

    changed(path, swap)
    refused(tmp_path, "found: AF4 F7", "expected: AF3 F7")


def test_another_variable_is_one_message(tmp_path):
    path = write(tmp_path, [person(0)])
    _matlab.save(path, {"other": np.zeros(3)})
    refused(tmp_path, "field: DREAMER", "missing")
