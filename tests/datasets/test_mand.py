"""manD 1.0: what was written through a mapping is read through it, whatever the mapping says."""

from __future__ import annotations

import json
import logging
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook import datasets, simulate
from affectbook.datasets import mand
from affectbook.errors import DataError, DataFileError, DataNotFoundError, ParameterError
from affectbook.windows import make_windows

N = 64
RULE = mand.CARD.label_rules[0]


def say(folder: Path, *dropped: str, **changes: object) -> None:
    """Write the template's mapping with other values."""
    content = tomllib.loads(mand.LAYOUT.template.read_text("utf-8")) | changes
    emotions = content.pop("emotions")
    lines = [f"{k} = {json.dumps(value)}" for k, value in content.items() if k not in dropped]
    lines += ["[emotions]", *(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in emotions.items())]
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "mapping.toml").write_text("\n".join(lines), encoding="utf-8")


def signals(seed: int = 0, n_times: int = N) -> dict[str, np.ndarray]:
    """Return (10, n_times) of each emotion: ECG in mV, EEG in uV."""
    rng = np.random.default_rng(seed)
    sizes = np.array([[0.5], *[[20.0]] * 9])
    return {name: sizes * rng.standard_normal((10, n_times)) for name in mand.EMOTIONS}


def written(folder: Path, *subjects: str) -> dict[str, np.ndarray]:
    """Write the same signals for each subject, as the mapping in the folder says."""
    for subject in subjects:
        mand.write_subject(folder, subject, signals())
    return signals()


def refused(folder: Path, *words: str, channels: str = "ecg") -> None:
    """Read, expect one DataFileError that holds the words."""
    with pytest.raises(DataFileError) as caught:
        list(datasets.load("mand", folder, ["1"], channels=channels))
    for word in ("manD 1.0", "do: ", *words):
        assert word in str(caught.value), (word, str(caught.value))
    assert "\n" not in str(caught.value)


def test_reads_what_it_wrote_through_the_template(tmp_path):
    mand.LAYOUT.copy_template(tmp_path)
    expected = written(tmp_path, "2", "10", "1")
    assert datasets.subjects("mand", tmp_path) == ("1", "2", "10")
    ecg, eeg = (list(datasets.load("mand", tmp_path, channels=kind)) for kind in ("ecg", "eeg"))
    assert [(r.subject, r.trial) for r in ecg] == [
        (subject, emotion) for subject in ("1", "2", "10") for emotion in mand.EMOTIONS
    ]
    for one, nine in zip(ecg, eeg, strict=True):
        assert one.condition == nine.condition == one.trial
        assert (one.ch_names, one.unit, one.sfreq) == (("ECG",), "mV", 256.0)
        assert (nine.ch_names, nine.unit, nine.sfreq) == (mand.EEG, "uV", 256.0)
        np.testing.assert_allclose(one.signal[0], expected[one.trial][0], atol=0.6e-4)
        np.testing.assert_allclose(nine.signal, expected[one.trial][1:], atol=0.6e-2)
    picked = next(iter(datasets.load("mand", tmp_path, channels=["F4", "F3"])))
    np.testing.assert_array_equal(picked.signal, eeg[0].signal[[6, 5]])


def test_the_written_file_is_plain_text(tmp_path):
    mand.LAYOUT.copy_template(tmp_path)
    written(tmp_path, "1")
    table = pd.read_csv(tmp_path / "1" / "fear.txt", sep="\t")
    assert tuple(table.columns) == ("ECG", *mand.EEG)
    np.testing.assert_allclose(table.to_numpy().T[0], signals()["fear"][0], atol=0.6e-4)
    assert (tmp_path / "1" / "fear.txt").read_text().count("\n") == 1 + N


NAMES = ["a", "B 2", "ecg (mV)", "é", *"cdefghij"]


@st.composite
def mappings(draw: st.DrawFn) -> dict[str, object]:
    """Draw what a reader of the book might find in the files."""
    header = draw(st.booleans())
    spaced = [name for name in NAMES if " " not in name]
    delimiter = draw(st.sampled_from([",", ";", "\t", "|", " ", "whitespace"]))
    names = spaced if delimiter in (" ", "whitespace") else NAMES
    columns = draw(st.permutations(range(13)).map(lambda numbers: numbers[:10]))
    if header:
        columns = [
            draw(st.sampled_from([name, number]))
            for name, number in zip(names, columns, strict=False)
        ]
    path = ["{subject}/{emotion}.txt", "x/{emotion}/P{subject}.dat", "{subject}_{emotion}_x"]
    emotions = draw(st.permutations(mand.EMOTIONS))
    return {
        "path": draw(st.sampled_from(path)),
        "delimiter": delimiter,
        "skip_rows": draw(st.integers(0, 3)),
        "header": header,
        "ecg_column": columns[0],
        "eeg_columns": columns[1:],
        "ecg_unit": draw(st.sampled_from(["V", "mV", "uV"])),
        "eeg_unit": draw(st.sampled_from(["V", "mV", "uV"])),
        "sfreq": draw(st.sampled_from([128, 256, 512.5])),
        "sfreq_differs": True,
        "emotions": {f"s{n}" if draw(st.booleans()) else e: e for n, e in enumerate(emotions)},
    }


@pytest.mark.faults
@settings(max_examples=30, deadline=None)
@given(said=mappings())
def test_whatever_the_mapping_says_is_read_as_it_was_written(tmp_path_factory, said):
    folder = tmp_path_factory.mktemp("mand")
    say(folder, **said)
    written(folder, "7", "07", "11")
    assert mand.subjects_in(folder) == mand.expected_in(folder) == ("07", "7", "11")
    for kind, rows, error in (("ecg", slice(0, 1), 0.6e-4), ("eeg", slice(1, 10), 0.6e-2)):
        recordings = list(datasets.load("mand", folder, ["7"], channels=kind))
        assert [r.trial for r in recordings] == list(mand.EMOTIONS)
        for recording in recordings:
            assert recording.sfreq == said["sfreq"]
            np.testing.assert_allclose(
                recording.signal, signals()[recording.trial][rows], atol=error
            )


def test_without_eeg_columns_the_ecg_can_be_read(tmp_path):
    say(tmp_path, "eeg_columns", ecg_column=3)
    written(tmp_path, "1")
    first = next(iter(datasets.load("mand", tmp_path)))
    np.testing.assert_allclose(first.signal[0], signals()["anger"][0], atol=0.6e-4)
    with pytest.raises(DataFileError, match="field: eeg_columns; found: no such key.*to read EEG"):
        datasets.load("mand", tmp_path, channels="eeg")


def test_a_mapping_counts_among_the_files_read(tmp_path):
    mand.LAYOUT.copy_template(tmp_path)
    written(tmp_path, "1")
    hashes = datasets.data_hashes("mand", tmp_path, ["1"])
    assert set(hashes) == {"mapping.toml", *(f"1/{emotion}.txt" for emotion in mand.EMOTIONS)}


def test_each_load_says_that_the_layout_is_unverified(tmp_path, caplog):
    mand.LAYOUT.copy_template(tmp_path)
    written(tmp_path, "1", "2")
    recordings = datasets.load("mand", tmp_path)
    assert not caplog.records
    list(recordings)
    (record,) = caplog.records
    assert record.getMessage().startswith("manD 1.0: layout unverified")
    assert record.levelno == logging.WARNING


def test_five_classes_by_scenario(tmp_path):
    assert RULE.classes == mand.EMOTIONS and RULE.target == "condition"
    mand.make_twin(tmp_path, subjects=2, seconds=3)
    recordings = datasets.load("mand", tmp_path)
    windows = make_windows(recordings, 1.0, 0.0, 128, label_rule=RULE)
    assert windows.X.shape == (2 * 5 * 3, 1, 128)
    named = np.array(mand.EMOTIONS)[windows.y]
    np.testing.assert_array_equal(windows.meta["trial"], named)
    assert windows.meta["subject"].tolist() == ["1"] * 15 + ["2"] * 15
    other = replace(next(iter(recordings)), condition="boredom")
    assert RULE.label(other) is None
    assert any("weather" in pitfall and "task" in pitfall for pitfall in mand.CARD.pitfalls)


def rows_of(folder: Path, change) -> None:
    """Change the rows of text of subject 1's fear."""
    path = folder / "1" / "fear.txt"
    rows = path.read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join(change(rows)), encoding="utf-8")


def at(row: int, text: str):
    return lambda rows: [*rows[:row], text, *rows[row + 1 :]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: [], ["fear.txt", "EmptyDataError"]),
        (lambda rows: rows[:1], ["fear.txt", "EmptyDataError"]),
        (at(0, "EKG\t" + "\t".join(mand.EEG)), ["ecg_column", "EKG, POz", "'ECG'"]),
        (at(0, "ECG\tECG"), ["ecg_column", "columns ECG, ECG", "one column 'ECG'"]),
        (at(5, "\t" * 9), ["ecg_column", "1 of 64 values"]),
        (at(5, "nan" + "\t0" * 9), ["ecg_column", "1 of 64 values"]),
        (at(5, "inf" + "\t0" * 9), ["ecg_column", "1 of 64 values"]),
        (at(5, "1e300" + "\t0" * 9), ["ecg_column", "1 of 64 values"]),
        (at(5, "0,5" + "\t0" * 9), ["the table", "ValueError"]),
        (at(5, "overload" + "\t0" * 9), ["the table", "ValueError"]),
        (lambda rows: [row.replace("\t", ",") for row in rows], ["ecg_column", "ECG,POz"]),
    ],
)
def test_a_wrong_file_is_one_message(tmp_path, change, words):
    mand.LAYOUT.copy_template(tmp_path)
    written(tmp_path, "1")
    rows_of(tmp_path, change)
    refused(tmp_path, *words)


@pytest.mark.parametrize(
    ("changes", "channels", "words"),
    [
        ({"ecg_column": 10}, "ecg", ["ecg_column", "10 columns", "one column 10"]),
        ({"header": False}, "ecg", ["ecg_column", "no header", "one column 'ECG'"]),
        ({"header": False, "ecg_column": 0}, "ecg", ["the table", "ValueError"]),
        ({"skip_rows": 1}, "ecg", ["ecg_column", "one column 'ECG'"]),
        ({"skip_rows": 99}, "ecg", ["the table", "EmptyDataError"]),
        ({"eeg_columns": [*mand.EEG[:8], "Pz"]}, "eeg", ["eeg_columns", "one column 'Pz'"]),
        ({"delimiter": ";"}, "eeg", ["eeg_columns", "one column 'POz'"]),
    ],
)
def test_a_mapping_that_files_contradict_is_one_message(tmp_path, changes, channels, words):
    mand.LAYOUT.copy_template(tmp_path)
    written(tmp_path, "1")
    say(tmp_path, **changes)
    refused(tmp_path, *words, channels=channels)


@pytest.mark.faults
@pytest.mark.parametrize("channels", ["ecg", "eeg"])
def test_a_file_cut_anywhere_never_ends_in_another_error(tmp_path, channels):
    mand.LAYOUT.copy_template(tmp_path)
    written(tmp_path, "1")
    path = tmp_path / "1" / "anger.txt"
    whole = path.read_bytes()
    (full, *_) = datasets.load("mand", tmp_path, channels=channels)
    for cut in [*range(60), *range(60, len(whole), 97)]:
        path.write_bytes(whole[:cut])
        try:
            (first, *_) = datasets.load("mand", tmp_path, channels=channels)
        except DataFileError as error:
            assert "anger.txt" in str(error)
        else:
            n_times = first.signal.shape[1]
            assert n_times == whole[:cut].rstrip(b"\n").count(b"\n")
            np.testing.assert_array_equal(first.signal[:, :-1], full.signal[:, : n_times - 1])


@pytest.mark.faults
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_flipped_byte_never_ends_in_another_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("mand")
    mand.LAYOUT.copy_template(folder)
    mand.write_subject(folder, "1", signals(n_times=5))
    path = folder / "1" / "anger.txt"
    whole = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        whole[place] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    for channels in ("ecg", "eeg"):
        try:
            recordings = list(datasets.load("mand", folder, channels=channels))
        except DataError as error:
            assert "\n" not in str(error)
        else:
            assert all(np.isfinite(r.signal).all() for r in recordings)


def test_a_first_row_that_is_cut_is_one_message(tmp_path):
    mand.LAYOUT.copy_template(tmp_path)
    mand.write_subject(tmp_path, "1", signals(n_times=5))
    path = tmp_path / "1" / "anger.txt"
    lines = path.read_bytes().split(b"\n")
    cut = lines[1][: len(lines[1]) // 2].rstrip(b"-.0123456789").rstrip()
    path.write_bytes(b"\n".join([lines[0], cut, lines[1][len(cut) :].strip(), *lines[2:]]))
    with pytest.raises(DataFileError, match="anger.txt"):
        list(datasets.load("mand", tmp_path, channels="eeg"))


def test_each_subject_has_each_emotion_once(tmp_path):
    mand.LAYOUT.copy_template(tmp_path)
    written(tmp_path, "1", "2")
    (tmp_path / "1" / "fear.txt").unlink()
    refused(
        tmp_path, "subject 1 has anger, neutral, sadness, surprise (4 files)", "5 files, one each"
    )
    assert len(list(datasets.load("mand", tmp_path, ["2"]))) == 5
    say(tmp_path, emotions={**{name: name for name in mand.EMOTIONS}, "Anger": "anger"})
    (tmp_path / "1" / "Anger.txt").write_text("twice")
    refused(tmp_path, "subject 1 has anger, anger, neutral")
    with pytest.raises(DataNotFoundError, match="missing are 3"):
        datasets.load("mand", tmp_path, ["3"])


def test_stray_files_do_no_harm(tmp_path):
    mand.LAYOUT.copy_template(tmp_path)
    written(tmp_path, "1")
    for stray in ("README.txt", "1/face.mp4", "1/notes.txt", "._1"):
        (tmp_path / stray).write_text("stray")
    assert datasets.subjects("mand", tmp_path) == ("1",)
    assert len(list(datasets.load("mand", tmp_path))) == 5


def bytes_of(folder: Path, subject: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / subject).iterdir())}


def test_a_subject_of_a_twin_does_not_depend_on_how_many_there_are(tmp_path):
    mand.make_twin(tmp_path / "a", subjects=1, seed=3, seconds=2)
    mand.make_twin(tmp_path / "b", subjects=2, seed=3, seconds=2)
    mand.make_twin(tmp_path / "c", subjects=1, seed=4, seconds=2)
    first = [bytes_of(tmp_path / name, "1") for name in "abc"]
    assert first[0] == first[1] != first[2]
    assert bytes_of(tmp_path / "b", "2") != first[0]
    names = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert names == ["1", "2", "TWIN.json", "mapping.toml"]
    assert datasets.subjects("mand", tmp_path / "b") == ("1", "2")
    assert "manD 1.0 twin, 2 subjects" in datasets.describe("mand", "simulated", tmp_path / "b")


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_only_an_effect_makes_signals_depend_on_the_emotion(tmp_path, monkeypatch, effect):
    dials = {"subjects": 1, "seconds": 2, "effect": effect}
    mand.make_twin(tmp_path / "a", **dials)
    monkeypatch.setattr(mand, "STATES", dict.fromkeys(mand.EMOTIONS, "bored"))
    mand.make_twin(tmp_path / "b", **dials)
    same = bytes_of(tmp_path / "a", "1") == bytes_of(tmp_path / "b", "1")
    assert same == (effect == 0.0)


def test_a_twin_is_small_and_its_size_is_as_the_card_says(tmp_path):
    mand.make_twin(tmp_path, subjects=1)
    recordings = list(datasets.load("mand", tmp_path))
    assert [r.duration_s for r in recordings] == [60.0] * 5
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 10e6
    assert set(mand.STATES.values()) <= set(simulate.EMOTIONS)
    assert len(mand.CARD.subjects) == 39


@pytest.mark.parametrize("subjects", [0, 40, -1])
def test_a_twin_has_1_to_39_subjects(tmp_path, subjects):
    with pytest.raises(ParameterError, match="1 to 39"):
        mand.make_twin(tmp_path, subjects=subjects)
