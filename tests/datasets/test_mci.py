"""HCMNet's private set: rows of one emotion become trials, groups are known without signals."""

from __future__ import annotations

import json
import tomllib
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook import datasets, simulate
from affectbook.datasets import mci
from affectbook.errors import DataError, DataFileError, DataNotFoundError, ParameterError
from affectbook.papers import hcmnet
from affectbook.windows import make_windows

N = 8
EMOTIONS = ["sad", "sad", "happy", "sad", "neutral", "neutral"]
ROWS = np.random.default_rng(0).standard_normal((len(EMOTIONS), N))
RULES = {rule.name: rule for rule in mci.CARD.label_rules}


def say(folder: Path, **changes: object) -> None:
    """Write the template's mapping with other values."""
    content = tomllib.loads(mci.LAYOUT.template.read_text("utf-8")) | changes
    emotions = content.pop("emotions")
    lines = [f"{k} = {json.dumps(value)}" for k, value in content.items()]
    lines += ["[emotions]", *(f"{k} = {json.dumps(v)}" for k, v in emotions.items())]
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "mapping.toml").write_text("\n".join(lines), encoding="utf-8")


def written(folder: Path, **groups: str) -> None:
    """Write the same rows for each subject, who belongs to a group."""
    for subject, group in (groups or {"S1": "healthy"}).items():
        mci.write_subject(folder, subject, ROWS, EMOTIONS, group)


def refused(folder: Path, *words: str, **options: object) -> None:
    """Read, expect one DataFileError that holds the words."""
    with pytest.raises(DataFileError) as caught:
        list(datasets.load("mci", folder, ["S1"], **options))
    for word in ("HCMNet's private set", "do: ", *words):
        assert word in str(caught.value), (word, str(caught.value))
    assert "\n" not in str(caught.value)


def test_runs_of_rows_become_trials(tmp_path):
    mci.LAYOUT.copy_template(tmp_path)
    written(tmp_path)
    recordings = list(datasets.load("mci", tmp_path, ["S1"]))
    assert [r.trial for r in recordings] == ["sad-1", "happy-1", "sad-2", "neutral-1"]
    assert [r.condition for r in recordings] == ["sad", "happy", "sad", "neutral"]
    assert [r.start_s * 256 / N for r in recordings] == [0, 2, 3, 4]
    joined = np.concatenate([r.signal for r in recordings], axis=1)
    np.testing.assert_allclose(joined[0], ROWS.ravel(), atol=0.6e-4)
    first = recordings[0]
    assert (first.ch_names, first.unit, first.sfreq) == (("ECG",), "mV", 256.0)


def test_the_written_file_has_the_columns_of_the_authors_code(tmp_path):
    """Index, a column of unknown meaning, flag, emotion from 0 to 5, then samples."""
    mci.LAYOUT.copy_template(tmp_path)
    written(tmp_path, S39="mci")
    values = pd.read_csv(tmp_path / "S39.csv").to_numpy()
    assert values[:, 0].tolist() == list(range(len(ROWS)))
    assert values[:, 2].tolist() == [1] * len(ROWS)
    assert values[:, 3].tolist() == [1, 1, 3, 1, 0, 0]
    np.testing.assert_allclose(values[:, 4:], ROWS, atol=0.6e-4)


@st.composite
def mappings(draw: st.DrawFn) -> dict[str, object]:
    """Draw what a reader of the book might find in the files."""
    flag, emotion, first = sorted(draw(st.permutations(range(8)))[:3])
    codes = draw(st.permutations(range(9)))[: len(mci.EMOTIONS)]
    return {
        "path": draw(st.sampled_from(["{subject}.csv", "x/{subject}/ecg {subject}.txt"])),
        "delimiter": draw(st.sampled_from([",", ";", "\t", " ", "whitespace"])),
        "skip_rows": draw(st.integers(0, 2)),
        "header": False,
        "flag_column": flag,
        "emotion_column": emotion,
        "first_sample": first,
        "sfreq": draw(st.sampled_from([128, 256, 512.5])),
        "sfreq_differs": True,
        "unit": draw(st.sampled_from(["V", "mV", "uV"])),
        "overlap": draw(st.sampled_from([0, 0.25, 0.5, 0.75])),
        "emotions": {str(n): e for n, e in zip(codes, mci.EMOTIONS, strict=True)},
    }


@settings(max_examples=40, deadline=None)
@given(said=mappings(), emotions=st.lists(st.sampled_from(mci.EMOTIONS), min_size=1, max_size=9))
def test_whatever_the_mapping_says_is_read_as_it_was_written(tmp_path_factory, said, emotions):
    """One signal, cut into rows that overlap as the mapping says, comes back run by run."""
    folder = tmp_path_factory.mktemp("mci")
    say(folder, **said)
    step = N - round(said["overlap"] * N)
    signal = np.random.default_rng(1).standard_normal(step * len(emotions) + N).round(4)
    starts = step * np.arange(len(emotions))
    rows = signal[starts[:, None] + np.arange(N)]
    mci.write_subject(folder, "S7", rows, emotions, "mci")
    assert mci.subjects_in(folder) == ("S7",)
    assert mci.populations(folder, ["S7"]) == {"S7": "mci"}
    recordings = list(datasets.load("mci", folder, ["S7"], population="mci"))
    runs = [(emotion, len(list(run))) for emotion, run in groupby(emotions)]
    assert [r.condition for r in recordings] == [emotion for emotion, _ in runs]
    assert len({r.trial for r in recordings}) == len(runs)
    row = 0
    for recording, (_, length) in zip(recordings, runs, strict=True):
        expected = signal[row * step : (row + length - 1) * step + N]
        np.testing.assert_allclose(recording.signal[0], expected, atol=0.6e-4)
        assert recording.start_s == row * step / said["sfreq"]
        row += length


@pytest.mark.parametrize("overlap", [0.125, 0.5])
def test_rows_that_do_not_overlap_as_said_are_one_message(tmp_path, overlap):
    say(tmp_path, overlap=overlap)
    written(tmp_path)
    refused(tmp_path, "S1.csv", "field: overlap", f"the last {round(overlap * N)} samples")


def test_a_population_is_chosen(tmp_path):
    mci.LAYOUT.copy_template(tmp_path)
    groups = {"S1": "mci", "S2": "healthy", "S10": "mci"}
    written(tmp_path, **groups)
    assert mci.subjects_in(tmp_path) == tuple(groups)
    assert mci.populations(tmp_path, groups) == groups

    def subjects(**options: str) -> list[str]:
        recordings = datasets.load("mci", tmp_path, list(groups), **options)
        return list(dict.fromkeys(r.subject for r in recordings))

    assert subjects() == subjects(population="all") == ["S1", "S2", "S10"]
    assert subjects(population="mci") == ["S1", "S10"]
    assert subjects(population="healthy") == ["S2"]
    with pytest.raises(ParameterError, match="did you mean 'healthy'"):
        datasets.load("mci", tmp_path, ["S1"], population="healty")


def test_groups_are_known_without_the_samples(tmp_path):
    mci.LAYOUT.copy_template(tmp_path)
    written(tmp_path, S1="mci")
    path = tmp_path / "S1.csv"
    path.write_text(path.read_text().replace(".", "broken"))
    assert mci.populations(tmp_path, ["S1"]) == {"S1": "mci"}
    assert list(datasets.load("mci", tmp_path, ["S1"], population="healthy")) == []
    refused(tmp_path, "samples", population="mci")


def test_each_load_says_that_the_layout_is_unverified(tmp_path, caplog):
    mci.LAYOUT.copy_template(tmp_path)
    written(tmp_path)
    recordings = datasets.load("mci", tmp_path, ["S1"])
    assert not caplog.records
    list(recordings)
    unverified, lacking = (record.getMessage() for record in caplog.records)
    assert unverified.startswith("HCMNet's private set: layout unverified")
    assert lacking.endswith("of 6 emotions, S1 has 3 (no angry, boredom, tension)")


def test_no_emotion_is_missed_where_all_are(tmp_path, caplog):
    folder = mci.make_twin(tmp_path, subjects=1, rows=1, seconds=1)
    list(datasets.load("mci", folder))
    assert "emotions" not in caplog.text


def test_label_rules():
    assert next(iter(RULES)) == "emotion" and RULES["emotion"].classes == mci.EMOTIONS
    assert RULES["emotion"].conditions == {name: name for name in mci.EMOTIONS}
    assert set(RULES["neutral_tension"].conditions) == {"neutral", "tension"}
    valence = RULES["pleasant_unpleasant"]
    assert valence.target == "valence" and "neutral" not in valence.conditions
    assert [e for e in mci.EMOTIONS if valence.conditions.get(e) == "pleasant"] == ["happy"]
    (claim,) = [c for c in hcmnet.PUBLISHED_CLAIMS if c.name == "mci_6_class"]
    assert (claim.dataset, claim.label_rule) == ("mci", "emotion")


def test_windows_of_a_twin_have_the_emotion_of_their_rows(tmp_path):
    mci.make_twin(tmp_path, subjects=2, rows=2, seconds=2)
    recordings = datasets.load("mci", tmp_path)
    windows = make_windows(recordings, 2.0, 0.0, 128, label_rule=RULES["emotion"])
    assert windows.X.shape == (2 * 6 * 2, 1, 256)
    named = [f"{mci.EMOTIONS[label]}-1" for label in windows.y]
    assert windows.meta["trial"].tolist() == named
    assert windows.meta["subject"].tolist() == ["S1"] * 12 + ["S2"] * 12
    valence = make_windows(recordings, 2.0, 0.0, 128, label_rule=RULES["pleasant_unpleasant"])
    assert np.bincount(valence.y).tolist() == [16, 4]


def cells(change):
    """Return a change of the cells of a file; the first row are names."""

    def changed(text: str) -> str:
        table = [row.split(",") for row in text.splitlines()]
        change(table)
        return "\n".join(",".join(row) for row in table) + "\n"

    return changed


def put(row: int, column: int, value: str):
    return cells(lambda table: table[row].__setitem__(column, value))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "", ["the table", "EmptyDataError"]),
        (lambda text: text.split("\n")[0], ["the table", "EmptyDataError"]),
        (lambda text: text[: text.index("\n") + 20], ["columns under 12 names"]),
        (put(1, 2, "1"), ["flag_column", "[0.0, 1.0]"]),
        (put(1, 2, "nan"), ["flag_column", "1 of 6"]),
        (put(6, 2, "no"), ["flag_column", "could not convert"]),
        (put(2, 3, "6"), ["emotion_column", "numbers [6.0]"]),
        (put(2, 3, "-1"), ["emotion_column", "numbers [-1.0]"]),
        (put(2, 3, "1.5"), ["emotion_column", "numbers [1.5]"]),
        (put(2, 3, ""), ["emotion_column", "1 of 6"]),
        (put(2, 3, "sad"), ["emotion_column", "could not convert"]),
        (put(3, 4, ""), ["samples", "1 of 48"]),
        (put(3, 11, "inf"), ["samples", "1 of 48"]),
        (put(3, 11, "1e300"), ["samples", "1 of 48"]),
        (put(3, 7, "x"), ["samples", "could not convert"]),
        (cells(lambda table: table[3].append("0.1")), ["the table", "ParserError"]),
        (cells(lambda table: table[3].pop()), ["samples", "1 of 48"]),
        (cells(lambda table: [row.append("") for row in table]), ["samples", "6 of 54"]),
        (cells(lambda table: [row.__delitem__(slice(4, 99)) for row in table]),
         ["columns", "4 columns under 4 names"]),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_message(tmp_path, change, words):
    mci.LAYOUT.copy_template(tmp_path)
    written(tmp_path)
    path = tmp_path / "S1.csv"
    path.write_text(change(path.read_text()))
    refused(tmp_path, "S1.csv", *words)


def test_what_stands_in_other_columns_does_not_matter(tmp_path):
    mci.LAYOUT.copy_template(tmp_path)
    written(tmp_path)
    path = tmp_path / "S1.csv"
    for row, value in enumerate(["", "S1", "nan", "2024-01-01", "1", "é"], start=1):
        path.write_text(put(row, 1, value)(path.read_text("utf-8")), encoding="utf-8")
    joined = np.concatenate([r.signal[0] for r in datasets.load("mci", tmp_path, ["S1"])])
    np.testing.assert_allclose(joined, ROWS.ravel(), atol=0.6e-4)


@pytest.mark.parametrize("value", ["1", "2", "", "x"])
def test_a_flag_that_names_no_group_is_one_message(tmp_path, value):
    mci.LAYOUT.copy_template(tmp_path)
    written(tmp_path)
    path = tmp_path / "S1.csv"
    path.write_text(put(4, 2, value)(path.read_text()))
    with pytest.raises(DataFileError, match=r"S1.csv; field: flag_column"):
        mci.populations(tmp_path, ["S1"])
    refused(tmp_path, "field: flag_column", population="mci")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"first_sample": 3}, ["mapping.toml", "both before the first sample"]),
        ({"emotion_column": 2}, ["mapping.toml", "two columns"]),
        ({"flag_column": 9}, ["mapping.toml", "flag_column 9"]),
        ({"first_sample": 12}, ["S1.csv", "12 columns under 12", "more than 12"]),
        ({"header": False}, ["S1.csv", "flag_column", "could not convert"]),
        ({"delimiter": ";"}, ["S1.csv", "field: columns", "1 columns"]),
        ({"flag_column": 3, "emotion_column": 2}, ["S1.csv", "flag_column"]),
    ],
)
def test_a_mapping_that_files_contradict_is_one_message(tmp_path, changes, words):
    mci.LAYOUT.copy_template(tmp_path)
    written(tmp_path)
    say(tmp_path, **changes)
    refused(tmp_path, *words)


@pytest.mark.faults
def test_a_file_cut_anywhere_never_ends_in_another_error(tmp_path):
    mci.LAYOUT.copy_template(tmp_path)
    written(tmp_path)
    path = tmp_path / "S1.csv"
    whole = path.read_bytes()
    for cut in range(0, len(whole) - 1, 2):
        path.write_bytes(whole[:cut])
        try:
            recordings = list(datasets.load("mci", tmp_path, ["S1"]))
        except DataFileError as error:
            assert "S1.csv" in str(error)
        else:
            n_rows = whole[:cut].rstrip(b"\n").count(b"\n")
            assert sum(r.signal.shape[1] for r in recordings) == n_rows * N


@pytest.mark.faults
@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_flipped_byte_never_ends_in_another_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("mci")
    mci.LAYOUT.copy_template(folder)
    written(folder)
    path = folder / "S1.csv"
    whole = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        whole[place] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        recordings = list(datasets.load("mci", folder, ["S1"]))
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert all(np.isfinite(r.signal).all() for r in recordings)


def test_all_39_are_expected_and_others_ignored(tmp_path):
    mci.LAYOUT.copy_template(tmp_path)
    (tmp_path / "README.csv").write_text("stray")
    with pytest.raises(DataNotFoundError, match="subjects README.*one of S1 and so on"):
        mci.subjects_in(tmp_path)
    written(tmp_path, S10="mci", S2="mci")
    assert mci.subjects_in(tmp_path) == ("S2", "S10")
    assert mci.expected_in(tmp_path) == mci.CARD.subjects and len(mci.CARD.subjects) == 39
    with pytest.raises(DataNotFoundError, match="missing are S1, S3"):
        datasets.load("mci", tmp_path)
    hashes = datasets.data_hashes("mci", tmp_path, ["S2"])
    assert set(hashes) == {"mapping.toml", "S2.csv"}


def test_a_subject_of_a_twin_does_not_depend_on_how_many_there_are(tmp_path):
    short = {"rows": 1, "seconds": 2}
    mci.make_twin(tmp_path / "a", subjects=1, seed=3, **short)
    mci.make_twin(tmp_path / "b", subjects=3, seed=3, **short)
    mci.make_twin(tmp_path / "c", subjects=1, seed=4, **short)
    first = [(tmp_path / name / "S1.csv").read_bytes() for name in "abc"]
    assert first[0] == first[1] != first[2]
    there = ("S1", "S2", "S3")
    assert datasets.subjects("mci", tmp_path / "b") == there
    groups = mci.populations(tmp_path / "b", there)
    assert groups == {"S1": "healthy", "S2": "mci", "S3": "healthy"}
    names = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert names == ["S1.csv", "S2.csv", "S3.csv", "TWIN.json", "mapping.toml"]


def test_the_twins_samples_are_those_simulated_to_a_ten_thousandth_of_a_millivolt(tmp_path):
    mci.make_twin(tmp_path, subjects=2, rows=2, seconds=3)
    recordings = list(datasets.load("mci", tmp_path, ["S2"]))
    order = simulate.session_plan(1, [(e, 6.0) for e in mci.EMOTIONS], gap_s=5.0, seed=0)
    plan = [(name and simulate.EMOTIONS[mci.STATES[name]], seconds) for name, seconds in order]
    ecg, found = simulate.ecg_subject(1, plan, sfreq=256, population=simulate.IMPAIRED)
    assert [r.condition for r in recordings] == [name for name, _ in order if name]
    for recording, (_, start_s, stop_s) in zip(recordings, found, strict=True):
        expected = ecg[round(start_s * 256) : round(stop_s * 256)]
        np.testing.assert_allclose(recording.signal[0], expected, atol=0.51e-4)


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_only_an_effect_makes_signals_depend_on_the_emotion(tmp_path, monkeypatch, effect):
    dials = {"subjects": 1, "rows": 1, "seconds": 2, "effect": effect}
    mci.make_twin(tmp_path / "a", **dials)
    monkeypatch.setattr(mci, "STATES", dict.fromkeys(mci.EMOTIONS, "bored"))
    mci.make_twin(tmp_path / "b", **dials)
    files = [(tmp_path / name / "S1.csv").read_bytes() for name in "ab"]
    assert (files[0] == files[1]) == (effect == 0.0)


def test_a_subject_of_a_twin_is_small(tmp_path):
    mci.make_twin(tmp_path, subjects=1)
    assert (tmp_path / "S1.csv").stat().st_size < 5e6
    recordings = list(datasets.load("mci", tmp_path))
    assert sorted(r.trial for r in recordings) == sorted(f"{e}-1" for e in mci.EMOTIONS)
    assert {r.duration_s for r in recordings} == {60.0}


@pytest.mark.parametrize("subjects", [0, 40, -1])
def test_a_twin_has_1_to_39_subjects(tmp_path, subjects):
    with pytest.raises(ParameterError, match="1 to 39"):
        mci.make_twin(tmp_path, subjects=subjects)
