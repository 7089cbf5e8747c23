"""Mappings of unverified layouts: the templates, what finds files, and one message per fault."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectbook import datasets
from affectbook.datasets import _mapping, mand, mci
from affectbook.errors import DataFileError, DataNotFoundError

LAYOUTS = {"mand": mand.LAYOUT, "mci": mci.LAYOUT}
BOTH = pytest.mark.parametrize("name", LAYOUTS)


def say(name: str, folder: Path, *dropped: str, **changes: object) -> dict:
    """Write the template's mapping with other values, and return what it says."""
    content = tomllib.loads(LAYOUTS[name].template.read_text("utf-8")) | changes
    content = {key: value for key, value in content.items() if key not in dropped}
    emotions = content.pop("emotions", None)
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in content.items()]
    if isinstance(emotions, dict):
        lines += [
            "[emotions]",
            *(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in emotions.items()),
        ]
    elif emotions is not None:
        lines.append(f"emotions = {json.dumps(emotions)}")
    folder.mkdir(exist_ok=True)
    (folder / "mapping.toml").write_text("\n".join(lines), encoding="utf-8")
    return content


def refused(name: str, folder: Path, *words: str) -> None:
    """Check the mapping, expect one message that holds the words."""
    with pytest.raises(DataFileError) as caught:
        LAYOUTS[name].mapping(folder)
    message = str(caught.value)
    for word in ("mapping.toml", f"{name}_mapping.toml", "do: ", *words):
        assert word in message, (word, message)
    assert "\n" not in message


@BOTH
def test_the_template_is_a_complete_mapping_marked_unverified(name, tmp_path):
    layout = LAYOUTS[name]
    assert set(layout.copy_template(tmp_path)) == set(layout.keys)
    text = layout.template.read_text("utf-8")
    assert (tmp_path / "mapping.toml").read_text("utf-8") == text
    assert "UNVERIFIED" in text.splitlines()[0]
    assert "placeholders, not facts" in " ".join(text.replace("#", "").split())
    card = datasets.card(name)
    assert layout.template.name in card.obtain and layout.template.is_file()
    assert "Unverified layout" in card.pitfalls[0]
    for key in layout.keys:
        line = next(
            i for i, one in enumerate(text.splitlines()) if one.strip("[]").split()[:1] == [key]
        )
        assert any(before.startswith("#") for before in text.splitlines()[max(0, line - 5) : line])


@BOTH
@pytest.mark.parametrize("key", ["path", "delimiter", "sfreq", "header", "skip_rows", "emotions"])
def test_a_missing_key_is_one_message(name, key, tmp_path):
    say(name, tmp_path, key)
    refused(name, tmp_path, f"field: {key}; found: no such key")


@BOTH
def test_an_unknown_key_is_one_message(name, tmp_path):
    say(name, tmp_path, "delimiter", delimeter=",")
    refused(name, tmp_path, "field: delimeter; found: a key that is unknown", "'delimiter'?")


SHARED = [
    ("path", 3),
    ("path", "recordings.txt"),
    ("path", "/data/{subject}/{emotion}.txt"),
    ("path", "../{subject}/{emotion}.txt"),
    ("path", "{subject}//{emotion}.txt"),
    ("path", "{subject}\\{emotion}.txt"),
    ("path", "{subject}/{emotion}/{session}.txt"),
    ("path", "{subject:03}/{emotion}.txt"),
    ("path", "{subject!r}/{emotion}.txt"),
    ("path", "{subject}{/{emotion}.txt"),
    ("path", "{subject}/../../{emotion}.txt"),
    ("path", "..\\{subject}/{emotion}.txt"),
    ("path", "{subject}/{emotion}\0.txt"),
    ("path", ""),
    ("skip_rows", 10**18),
    ("sfreq_differs", "yes"),
    ("sfreq_differs", 1),
    ("path", "{}/{subject}/{emotion}.txt"),
    ("delimiter", ""),
    ("delimiter", ", "),
    ("delimiter", "x"),
    ("delimiter", "."),
    ("delimiter", 9),
    ("skip_rows", -1),
    ("skip_rows", 1.5),
    ("skip_rows", True),
    ("header", 1),
    ("header", "yes"),
    ("sfreq", 0),
    ("sfreq", -256),
    ("sfreq", "256"),
    ("sfreq", True),
    ("emotions", "all"),
    ("emotions", {}),
    ("emotions", {"0": 3}),
    ("emotions", {"0": "anger", "1": "boredom"}),
]
ONLY = [
    ("mand", "path", "{subject}.txt"),
    ("mand", "path", "{emotion}.txt"),
    ("mand", "ecg_column", ""),
    ("mand", "ecg_column", " ECG"),
    ("mand", "ecg_column", -1),
    ("mand", "ecg_column", 1.0),
    ("mand", "ecg_column", False),
    ("mand", "ecg_unit", "mv"),
    ("mand", "ecg_unit", ["mV"]),
    ("mand", "eeg_unit", "microvolt"),
    ("mand", "eeg_columns", 3),
    ("mand", "eeg_columns", ["POz"]),
    ("mand", "eeg_columns", [1, 2, 3, 4, 5, 6, 7, 8, 8]),
    ("mand", "eeg_columns", [1, 2, 3, 4, 5, 6, 7, 8, 8.5]),
    ("mand", "emotions", {name: name for name in ("anger", "fear", "neutral", "sadness")}),
    ("mand", "emotions", {name: name for name in (*mand.EMOTIONS, "boredom")}),
    ("mand", "emotions", {f"a/{name}": name for name in mand.EMOTIONS}),
    ("mand", "emotions", {**{name: name for name in mand.EMOTIONS}, "..": "anger"}),
    ("mand", "ecg_column", 10**18),
    ("mci", "path", "all.csv"),
    ("mci", "path", "{subject}/{emotion}.csv"),
    ("mci", "flag_column", "flag"),
    ("mci", "first_sample", -4),
    ("mci", "overlap", 1),
    ("mci", "overlap", -0.5),
    ("mci", "overlap", "half"),
    ("mci", "unit", None),
    ("mci", "emotions", {str(n): name for n, name in enumerate(mci.EMOTIONS[:5])}),
    ("mci", "emotions", {f"0{n}": name for n, name in enumerate(mci.EMOTIONS)}),
    ("mci", "emotions", {name: name for name in mci.EMOTIONS}),
]


@pytest.mark.parametrize(
    ("name", "key", "value"), [(name, *case) for name in LAYOUTS for case in SHARED] + ONLY
)
def test_a_wrong_value_is_one_message_with_its_key(name, key, value, tmp_path):
    if value is None:
        value = "None"
    say(name, tmp_path, **{key: value})
    refused(name, tmp_path, f"field: {key}; found: ", LAYOUTS[name].keys[key].expected)


@BOTH
@pytest.mark.parametrize(
    "text",
    [b"path = ", b"path", b"a = 1\na = 2", b"\xff\xfe", b"sfreq = nan", b"a = " + b"[" * 10_000],
    ids=range(6),
)
def test_a_mapping_that_cannot_be_read_is_one_message(name, text, tmp_path):
    (tmp_path / "mapping.toml").write_bytes(text)
    refused(name, tmp_path)


@BOTH
@pytest.mark.parametrize("sfreq", ["nan", "inf"])
def test_a_rate_is_finite(name, sfreq, tmp_path):
    text = LAYOUTS[name].template.read_text("utf-8")
    (tmp_path / "mapping.toml").write_text(text.replace("sfreq = 256", f"sfreq = {sfreq}"))
    refused(name, tmp_path, "field: sfreq")


@BOTH
@pytest.mark.parametrize("sfreq", [512, 128, 128.0, 255.9])
def test_another_rate_than_told_has_to_be_meant(name, sfreq, tmp_path, caplog):
    say(name, tmp_path, sfreq=sfreq)
    refused(name, tmp_path, f"field: sfreq; found: {sfreq:g} Hz", "256 Hz, as told of the set")
    say(name, tmp_path, "sfreq_differs", sfreq=sfreq)
    refused(name, tmp_path, "or sfreq_differs = true beside it")
    say(name, tmp_path, sfreq=sfreq, sfreq_differs=True)
    mapping = LAYOUTS[name].mapping(tmp_path)
    assert mapping["sfreq"] == sfreq
    LAYOUTS[name].say_unverified(tmp_path, mapping)
    assert f"read at {sfreq:g} Hz" in caplog.records[-1].getMessage()


@BOTH
def test_the_told_rate_needs_no_word(name, tmp_path, caplog):
    say(name, tmp_path, "sfreq_differs", sfreq=256.0)
    LAYOUTS[name].say_unverified(tmp_path, LAYOUTS[name].mapping(tmp_path))
    assert len(caplog.records) == 1 and "sfreq_differs" not in caplog.text


@pytest.mark.parametrize("path", ["{subject}{emotion}.txt", "{subject}{emotion}/x.txt"])
def test_fields_side_by_side_do_not_search_all_folders(path, tmp_path):
    say("mand", tmp_path, path=path)
    mapping = mand.LAYOUT.mapping(tmp_path)
    for place in ("7fear", "deep/7fear"):
        file = tmp_path / path.replace("{subject}{emotion}", place)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1")
    ((fields, _),) = mand.LAYOUT.find(tmp_path, mapping)
    assert fields == {"subject": "7", "emotion": "fear"}


def test_a_link_to_another_disk_is_followed(tmp_path):
    folder = mand.make_twin(tmp_path / "mand", subjects=1, seconds=1)
    (folder / "1").rename(tmp_path / "elsewhere")
    (folder / "1").symlink_to(tmp_path / "elsewhere")
    assert len(list(datasets.load("mand", folder))) == 5


@BOTH
def test_a_mapping_may_be_saved_by_other_editors(name, tmp_path):
    layout = LAYOUTS[name]
    text = layout.template.read_text("utf-8").replace("\n", "\r\n").encode("utf-8-sig")
    (tmp_path / "mapping.toml").write_bytes(text)
    assert layout.mapping(tmp_path) == tomllib.loads(layout.template.read_text("utf-8"))


@BOTH
def test_a_missing_mapping_says_where_the_template_is(name, tmp_path, monkeypatch):
    folder = tmp_path / name.upper()
    folder.mkdir()
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    module = {"mand": mand, "mci": mci}[name]
    assert module.subjects_in(folder) == ()
    (folder / "somebody.txt").write_text("1,2,3")
    template = str(LAYOUTS[name].template)
    for look in (
        lambda: datasets.find_root(name),
        lambda: datasets.load(name, folder),
        lambda: module.read(folder, ["S1"]),
        lambda: module.files_of(folder, "S1"),
    ):
        with pytest.raises(DataNotFoundError) as caught:
            look()
        assert f"copy {template}" in str(caught.value) and "fill it in" in str(caught.value)
        assert "\n" not in str(caught.value)
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert module.subjects_in(other) == ()
    with pytest.raises(DataNotFoundError, match=f"{name}_mapping.toml"):
        datasets.find_root(name, other)


@BOTH
def test_a_mapping_that_finds_nobody_is_one_message(name, tmp_path):
    LAYOUTS[name].copy_template(tmp_path)
    for look in (lambda: datasets.find_root(name, tmp_path), lambda: datasets.load(name, tmp_path)):
        with pytest.raises(DataNotFoundError, match=r"field: path; .* files like \{subject\}"):
            look()


def test_the_other_sets_mapping_is_one_message(tmp_path):
    mci.LAYOUT.copy_template(tmp_path)
    refused("mand", tmp_path, "flag_column")


@pytest.mark.parametrize(
    ("pattern", "file", "fields"),
    [
        ("{subject}/{emotion}.txt", "7/a.txt", ("7", "anger")),
        ("{subject}/{emotion}.txt", "7/b.txt", None),
        ("{subject}/{emotion}.txt", "7/a.csv", None),
        ("{subject}/{emotion}.txt", "7/x/a.txt", None),
        ("{subject}/{emotion}.txt", "._7/a.txt", None),
        ("P{subject}_{emotion}.txt", "P07_very_sad.txt", ("07", "sadness")),
        ("P{subject}_{emotion}.txt", "P_1_very_sad.txt", ("_1", "sadness")),
        ("{emotion}/{subject}/{subject}_{emotion}.txt", "a/x1/x1_a.txt", ("x1", "anger")),
        ("{emotion}/{subject}/{subject}_{emotion}.txt", "a/x1/x2_a.txt", None),
        ("{emotion}/{subject}/{subject}_{emotion}.txt", "a/x1/x1_c.txt", None),
        ("data [1]/*{subject}?{emotion}", "data [1]/*3?c", ("3", "fear")),
        ("data [1]/*{subject}?{emotion}", "data 1/*3?c", None),
        ("{{{subject}}}.{emotion}", "{3}.c", ("3", "fear")),
    ],
)
def test_what_a_pattern_finds(pattern, file, fields, tmp_path):
    emotions = {"a": "anger", "c": "fear", "very_sad": "sadness", "sad": "sadness"}
    emotions |= {name: name for name in mand.EMOTIONS}
    say("mand", tmp_path, path=pattern, emotions=emotions)
    mapping = mand.LAYOUT.mapping(tmp_path)
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1")
    found = [
        (at["subject"], emotions[at["emotion"]]) for at, _ in mand.LAYOUT.find(tmp_path, mapping)
    ]
    assert found == ([fields] if fields else [])


@given(st.lists(st.text("aS01 29", max_size=5)), st.lists(st.integers(0, 10**6), max_size=9))
def test_names_are_sorted_by_their_numbers(names, numbers):
    assert _mapping.naturally(reversed(names)) == _mapping.naturally(names)
    assert set(_mapping.naturally(names)) == set(names)
    expected = tuple(f"S{number}" for number in sorted(set(numbers)))
    assert _mapping.naturally(f"S{number}" for number in numbers) == expected


@pytest.mark.parametrize(("unit", "wanted", "by"), [("V", "mV", 1e3), ("uV", "mV", 1e-3)])
def test_units(unit, wanted, by):
    assert _mapping.factor(unit, wanted) == np.float32(by)
    assert _mapping.factor(wanted, wanted) == 1
    assert _mapping.number_format("V", 1e-7) == "%.7f"
    assert _mapping.number_format("mV", 1e-7) == "%.4f"
    assert _mapping.number_format("uV", 1e-7) == "%.1f"
