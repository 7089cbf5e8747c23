"""What holds for every data set: finding, tiers, subjects, twins, hashes."""

from __future__ import annotations

import inspect
import json
import logging
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from affectbook import datasets, files, windows
from affectbook.datasets import _folders, _registry, wesad
from affectbook.errors import DataFileError, DataNotFoundError, LicenceError, ParameterError
from affectbook.windows import make_windows


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Return an empty folder that stands for the project, where nothing is found by chance."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "lib").symlink_to(files.project_root() / "lib")
    monkeypatch.setattr(files, "project_root", lambda: folder)
    monkeypatch.setattr(_folders, "project_root", lambda: folder)
    monkeypatch.delenv("AFFECTBOOK_DATA", raising=False)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def make_wesad(wesad_ecg, wesad_label):
    """Return a function that writes subjects of WESAD into a folder."""

    def make(folder: Path, *subjects: str) -> Path:
        for subject in subjects:
            wesad.write_subject(folder, subject, wesad_ecg, wesad_label)
        return folder

    return make


@pytest.fixture
def quick_twin(monkeypatch):
    """Make twins of half a minute."""
    original = wesad.make_twin
    monkeypatch.setattr(wesad, "make_twin", lambda *a, **k: original(*a, **k, minutes=0.5))


def test_the_sets_are_the_modules_with_a_card():
    modules = Path(datasets.__file__).parent.glob("[a-z]*.py")
    others = {"card", "labels", "recording"}
    assert set(datasets.names()) == {path.stem for path in modules} - others
    assert {"deap", "dreamer", "eegmat", "wesad"} <= set(datasets.names())


@pytest.mark.parametrize("name", datasets.names())
def test_cards_are_complete(name):
    card = datasets.card(name)
    assert card.name == name and card.tier in ("open", "licensed")
    for field in ("title", "sfreq", "unit", "licence", "size", "obtain", "citation"):
        assert getattr(card, field).strip(), field
    assert card.subjects and card.channels and card.pitfalls and card.label_rules
    assert len(set(card.subjects)) == len(card.subjects)
    keys = {(rule.target, rule.name) for rule in card.label_rules}
    assert len(keys) == len(card.label_rules) and all(rule.meaning for rule in card.label_rules)
    module = _registry.module(name)
    for part in ("subjects_in", "expected_in", "files_of", "read", "make_twin"):
        assert callable(getattr(module, part)), part
    named = {channel for kind in module.CHANNELS.values() for channel in kind}
    assert named and named <= set(card.channels), "a card names every channel that can be read"
    takes = inspect.signature(module.read).parameters.get("channels")
    assert (takes is not None) == (len(module.CHANNELS) > 1)
    if takes is not None:
        assert takes.default == next(iter(module.CHANNELS))


@pytest.mark.parametrize("wrong", ["wesat", "WESAD", "nothing", "", None, 3, ["wesad"]])
def test_an_unknown_name_is_one_message(wrong):
    with pytest.raises(ParameterError, match="unknown data set"):
        datasets.card(wrong)
    with pytest.raises(ParameterError, match="unknown data set"):
        datasets.load(wrong)


def test_the_nearest_name_is_offered():
    with pytest.raises(ParameterError, match="did you mean 'wesad'"):
        datasets.card("WESAT")


def test_an_unknown_option_is_one_message():
    with pytest.raises(ParameterError, match="did you mean 'trim_s'.*known: trim_s"):
        datasets.load("drivedb", trim=3)
    with pytest.raises(ParameterError, match="known: none"):
        datasets.load("wesad", chanels="eeg")


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("wesad", ("wesad", None, ())),
        ("eegmat:eeg", ("eegmat", "eeg", ())),
        ("eegmat:Fp2,Cz", ("eegmat", ("Fp2", "Cz"), ())),
        ("wesad:ECG", ("wesad", ("ECG",), ())),
        ("wesad without S7", ("wesad", None, ("S7",))),
        ("eegmat:Fp2,Cz without 03, 11", ("eegmat", ("Fp2", "Cz"), ("03", "11"))),
    ],
)
def test_a_data_set_may_be_named_with_channels_and_without_subjects(spec, parsed):
    assert _registry.parse(spec) == parsed
    assert datasets.card(spec) is datasets.card(parsed[0])


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("wesad:eeg", "did you mean 'ecg'.*known: ecg, ECG"),
        ("wesad:", "unknown channels of wesad"),
        ("eegmat:Fp1,ECG", "several kinds; read one kind after the other: ecg: ECG; eeg: Fp1"),
        ("eegmat:fp1", "did you mean 'Fp1'"),
        ("eegmat:Fp1,Fp9", "unknown channels.*'Fp1,Fp9'"),
        ("eggmat:eeg", "unknown data set 'eggmat'; did you mean 'eegmat'"),
    ],
)
def test_channels_that_are_not_there_are_one_message(spec, told):
    with pytest.raises(ParameterError, match=told):
        datasets.card(spec)


@pytest.mark.parametrize(
    ("name", "wanted", "told"),
    [
        ("deap", "ecg", "^DEAP has no ECG; channel Pleth shows the pulse; its.*eeg, peripheral$"),
        ("deap", "ECG", "^DEAP has no ECG"),
        ("deap", ["ecg"], "^DEAP has no ECG"),
        ("seed", "ecg", "^SEED has no ECG"),
        ("seed", "EEG9", "^unknown channels of seed"),
        ("wesad", "eeg", "^unknown channels of wesad"),
        ("wesad", 3, "^unknown channels of wesad"),
        ("wesad", [["ECG"]], "^unknown channels of wesad"),
    ],
)
def test_what_a_set_is_known_not_to_have_is_said(project, name, wanted, told):
    (project / "data").mkdir()
    with pytest.raises(ParameterError, match=told):
        _registry.kind_of(name, wanted)
    if isinstance(wanted, str):
        with pytest.raises(ParameterError, match=told):
            datasets.card(f"{name}:{wanted}")


def test_channels_come_in_the_order_asked_for(real):
    folder = real("eegmat")
    (whole, _), (two, _) = (
        datasets.load(name, folder, ["00"]) for name in ("eegmat:eeg", "eegmat:Cz,Fp1")
    )
    assert two.ch_names == ("Cz", "Fp1") and whole.ch_names[0] == "Fp1"
    at = [whole.ch_names.index(name) for name in two.ch_names]
    np.testing.assert_array_equal(two.signal, whole.signal[at])
    (same, _) = datasets.load("eegmat", folder, ["00"], channels=["Cz", "Fp1"])
    np.testing.assert_array_equal(same.signal, two.signal)
    line = datasets.describe("eegmat:Cz,Fp1", "open", folder)
    assert "36 subjects, channels Cz Fp1 |" in line


def test_recordings_can_be_read_twice_and_say_what_they_are(tmp_path, make_wesad):
    make_wesad(tmp_path, "S2", "S3")
    one = datasets.load("wesad", tmp_path, ["S2"])
    assert [r.trial for r in one] == [r.trial for r in one] and len(list(one)) == 5
    assert one.identity() == datasets.load("wesad", tmp_path, ["S2"]).identity()
    others = [
        datasets.load("wesad", tmp_path, ["S2", "S3"]).identity(),
        datasets.load("wesad", make_wesad(tmp_path / "copy", "S2"), ["S2"]).identity(),
    ]
    assert others[0] != one.identity() == others[1], "content, not place"


def test_data_not_found_lists_the_places_and_the_way_to_the_twin(project, monkeypatch):
    with pytest.raises(DataNotFoundError) as caught:
        datasets.find_root("wesad")
    assert str(project / "data" / "wesad") in str(caught.value)
    assert 'make run PAPER=hcmnet ARGS="-p dataset wesad -p tier simulated"' in str(caught.value)
    assert "$AFFECTBOOK_DATA is not set" in str(caught.value)
    monkeypatch.setenv("AFFECTBOOK_DATA", "elsewhere")
    with pytest.raises(DataNotFoundError) as caught:
        datasets.load("eegmat")
    for place in (project / "elsewhere" / "eegmat", project / "data" / "eegmat"):
        assert str(place) in str(caught.value)
    assert "-p dataset eegmat -p tier simulated" in str(caught.value)
    with pytest.raises(DataNotFoundError, match="-p dataset dreamer -p tier simulated -p target v"):
        datasets.load("dreamer")
    named = 'make run PAPER=ms_imamba ARGS="-p dataset deap -p tier simulated -p target valence"'
    with pytest.raises(DataNotFoundError, match=named):
        datasets.load("deap")
    assert "physionet.org" in str(caught.value)


def test_places_are_searched_in_order(project, tmp_path, monkeypatch, make_wesad):
    own = make_wesad(project / "data" / "wesad", "S2")
    assert datasets.find_root("wesad") == own
    shared = make_wesad(tmp_path / "shared" / "WESAD", "S3")
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path / "shared"))
    assert datasets.find_root("wesad") == shared
    assert datasets.find_root("wesad", own) == own
    assert datasets.find_root("wesad", project / "data") == own
    with pytest.raises(DataNotFoundError):
        datasets.find_root("wesad", tmp_path / "nowhere")


def test_a_relative_variable_also_counts_from_the_project(
    project, tmp_path, monkeypatch, make_wesad
):
    shared = make_wesad(tmp_path / "shared" / "WESAD", "S2")
    monkeypatch.setenv("AFFECTBOOK_DATA", "../shared")
    assert datasets.find_root("wesad") == shared
    (project / "notebooks" / "deep").mkdir(parents=True)
    monkeypatch.chdir(project / "notebooks" / "deep")
    assert datasets.find_root("wesad") == shared


def test_stray_files_do_no_harm(tmp_path, make_wesad):
    make_wesad(tmp_path, "S2")
    for stray in (".DS_Store", "wesad_readme.pdf", "S2/S2_quest.csv", "S99.pkl"):
        (tmp_path / stray).write_text("stray")
    (tmp_path / "S3").mkdir()
    assert len(list(datasets.load("wesad", tmp_path, ["S2"]))) == 5


def test_missing_subjects_are_listed_with_the_way_on(tmp_path, make_wesad):
    make_wesad(tmp_path, "S2", "S3")
    with pytest.raises(DataNotFoundError) as caught:
        datasets.load("wesad", tmp_path)
    assert "missing are S4, S5, S6" in str(caught.value)
    assert "allow_missing=S4,S5,S6" in caught.value.do
    with pytest.raises(DataNotFoundError, match="missing are S7, S12") as caught:
        datasets.load("wesad", tmp_path, ["S2", "S7", "S12"])
    assert "subjects=['S2', 'S3']" in caught.value.do
    with pytest.raises(DataNotFoundError, match="no subject"):
        datasets.load("wesad", tmp_path, [])
    with pytest.raises(ParameterError, match=r"did you mean subjects=\['S2'\]"):
        datasets.load("wesad", tmp_path, "S2")
    with pytest.raises(ParameterError, match="subjects is not a list"):
        datasets.load("wesad", tmp_path, 3)
    for wrong in ([2], [["S2"]], [None]):
        with pytest.raises(ParameterError, match="subjects are named by texts"):
            datasets.load("wesad", tmp_path, wrong)


def test_subjects_come_once_and_in_the_order_asked_for(tmp_path, make_wesad):
    make_wesad(tmp_path, "S2", "S3")
    order = [r.subject for r in datasets.load("wesad", tmp_path, ["S3", "S2", "S3"])]
    assert order == ["S3"] * 5 + ["S2"] * 5


def test_a_partial_copy_of_an_open_set_is_said_in_one_line(tmp_path, caplog, real):
    with caplog.at_level(logging.INFO, "affectbook.datasets"):
        datasets.load("drivedb", real("drivedb"))
    assert [record.getMessage() for record in caplog.records] == [
        "drivedb: a partial copy, read are drive05, drive06"
    ]


def test_a_twin_is_made_once_and_says_what_it_is(project, quick_twin):
    twin = datasets.prepare("wesad", "simulated", subjects=2, effect=0.5, seed=7)
    assert twin.parent == project / "build" / "twins" / "wesad"
    mark = json.loads((twin / "TWIN.json").read_text())
    assert mark == {
        "simulated": True,
        "effect": 0.5,
        "fingerprint": 1.0,
        "seed": 7,
        "subjects": ["S2", "S3"],
    }
    assert datasets.subjects("wesad", twin) == ("S2", "S3")
    assert len(list(datasets.load("wesad", twin))) == 10
    changed = (twin / "S2" / "S2.pkl").stat().st_mtime_ns
    assert datasets.prepare("wesad", "simulated", subjects=2, effect=0.5, seed=7) == twin
    assert (twin / "S2" / "S2.pkl").stat().st_mtime_ns == changed
    assert [path.name for path in twin.parent.iterdir()] == [twin.name]
    line = datasets.describe("wesad", "simulated", twin)
    assert line == (
        "tier: simulated | data: WESAD twin, 2 subjects, effect 0.5, fingerprint 1, seed 7"
        f" | folder: build/twins/wesad/{twin.name}"
    )


def test_each_dial_and_the_code_give_another_twin(project, quick_twin, monkeypatch, tmp_path):
    dials = [{}, {"effect": 0}, {"fingerprint": 0}, {"seed": 1}, {"subjects": 2}]
    folders = [datasets.prepare("wesad", "simulated", **{"subjects": 1, **d}) for d in dials]
    monkeypatch.setattr(datasets, "code_hash", lambda path: f"other {path.name}")
    folders.append(datasets.prepare("wesad", "simulated", subjects=1))
    assert len(set(folders)) == 6
    hashes = {datasets.content_hash("wesad", folder) for folder in folders}
    assert len(hashes) == 5, "only the last has the signals of the first"
    monkeypatch.undo()


@pytest.mark.parametrize("damage", ["subject", "mark", "broken mark"])
def test_a_damaged_twin_is_made_again(project, quick_twin, damage):
    twin = datasets.prepare("wesad", "simulated", subjects=1)
    before = datasets.content_hash("wesad", twin)
    file = twin / ("S2/S2.pkl" if damage == "subject" else "TWIN.json")
    file.unlink()
    if damage == "broken mark":
        file.write_text("{")
        with pytest.raises(DataFileError, match="TWIN.json"):
            datasets.load("wesad", twin)
    assert datasets.prepare("wesad", "simulated", subjects=1) == twin
    assert datasets.content_hash("wesad", twin) == before


def test_a_twin_that_fails_leaves_nothing(project, monkeypatch):
    def fail(folder: Path, **dials: object) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(wesad, "make_twin", fail)
    with pytest.raises(KeyboardInterrupt):
        datasets.prepare("wesad", "simulated")
    assert not list((project / "build" / "twins" / "wesad").iterdir())


def test_two_that_make_the_same_twin_share_it(project, quick_twin, monkeypatch):
    quick, made = wesad.make_twin, []

    def overtaken(folder: Path, **dials: object) -> None:
        quick(folder, **dials)
        monkeypatch.setattr(wesad, "make_twin", quick)
        made.append(datasets.prepare("wesad", "simulated", subjects=1))

    monkeypatch.setattr(wesad, "make_twin", overtaken)
    assert [datasets.prepare("wesad", "simulated", subjects=1)] == made
    assert list(made[0].parent.iterdir()) == made


@pytest.mark.parametrize("dial", [{"effect": -1}, {"effect": float("nan")}, {"fingerprint": 3.5}])
def test_a_dial_out_of_range_is_one_message(project, dial):
    with pytest.raises(ParameterError, match=next(iter(dial))):
        datasets.prepare("wesad", "simulated", **dial)
    assert not list((project / "build" / "twins" / "wesad").iterdir())


def test_no_tier_stands_in_for_another(project, tmp_path, quick_twin, make_wesad, monkeypatch):
    with pytest.raises(DataNotFoundError, match="no files of WESAD"):
        datasets.prepare("wesad", "licensed")
    twin = datasets.prepare("wesad", "simulated", subjects=1)
    with pytest.raises(DataNotFoundError, match="holds a simulated twin"):
        datasets.prepare("wesad", "licensed", root=twin)
    real = make_wesad(tmp_path / "real", "S2")
    with pytest.raises(LicenceError, match="was not confirmed"):
        datasets.prepare("wesad", "licensed", root=real)
    monkeypatch.setenv("AFFECTBOOK_ACCEPT_LICENCE", "wesad")
    assert datasets.prepare("wesad", "licensed", root=real) == real
    with pytest.raises(ParameterError, match="leave it out"):
        datasets.prepare("wesad", "simulated", root=real)
    with pytest.raises(ParameterError, match="'licensed', not 'open'"):
        datasets.prepare("wesad", "open", root=real)
    with pytest.raises(ParameterError, match="'open', not 'licensed'"):
        datasets.prepare("eegmat", "licensed")
    with pytest.raises(ParameterError, match="did you mean 'simulated'"):
        datasets.prepare("wesad", "simulate")


def test_subjects_may_be_done_without_and_the_data_say_so(tmp_path, make_wesad, caplog):
    make_wesad(tmp_path, "S2", "S3", "S4")
    others = [one for one in datasets.card("wesad").subjects if one not in ("S2", "S4")]
    named = datasets.without("wesad", ", ".join(others))
    with caplog.at_level("WARNING", "affectbook"):
        found = {one.subject for one in datasets.load(named, tmp_path)}
    assert found == {"S2", "S4"}, "S3 is there, but was to be done without"
    assert "WESAD: 2 subjects are read, without" in caplog.text
    assert "2 subjects (without S3, S5," in datasets.describe(named, "licensed", tmp_path)
    assert datasets.subjects(named, tmp_path) == ("S2", "S4")
    assert set(datasets.data_hashes(named, tmp_path)) == {"S2/S2.pkl", "S4/S4.pkl"}
    same = datasets.load("wesad", tmp_path, allow_missing=others)
    assert same.subjects == ("S2", "S4")
    with pytest.raises(ParameterError, match="unknown subject of wesad 'S1'"):
        datasets.load("wesad", tmp_path, allow_missing=["S1"])
    with pytest.raises(ParameterError, match="allow_missing is not a list"):
        datasets.load("wesad", tmp_path, allow_missing="S7")
    with pytest.raises(DataNotFoundError, match="no subject to read"):
        datasets.load("wesad", tmp_path, ["S2"], allow_missing=["S2"])


def test_a_twin_without_its_mark_is_refused(project, monkeypatch):
    monkeypatch.setattr(wesad, "make_twin", lambda folder, **dials: (folder / "file").touch())
    with pytest.raises(ParameterError, match="left no mark"):
        datasets.prepare("wesad", "simulated")
    assert not list((project / "build" / "twins" / "wesad").iterdir())


def test_a_twin_that_is_found_where_data_are_looked_for_is_told(project, quick_twin, caplog):
    twin = datasets.prepare("wesad", "simulated", subjects=1)
    (project / "data").mkdir()
    twin.rename(project / "data" / "wesad")
    datasets.load("wesad")
    assert "WESAD: what was found is a simulated twin" in caplog.text
    caplog.clear()
    datasets.load("wesad", project / "data" / "wesad")
    assert not caplog.text, "whoever names the folder knows"


def test_an_unverified_layout_stands_in_the_first_line(project):
    twin = datasets.prepare("mand", "simulated", subjects=1)
    assert "unverified" not in datasets.describe("mand", "simulated", twin)
    (twin / "TWIN.json").unlink()
    assert ", layout unverified |" in datasets.describe("mand", "licensed", twin)


def test_a_rule_is_found_by_its_name(project, quick_twin):
    twin = datasets.prepare("wesad", "simulated", subjects=1)
    recordings = datasets.load("wesad", twin)
    assert recordings.rule("stress_binary") is wesad.CARD.label_rules[2]
    named, given = (
        windows.make_windows(recordings, 1, 0, 128, label_rule=rule)
        for rule in ("stress_binary", wesad.CARD.label_rules[2])
    )
    assert set(named.y) == {0, 1} and np.array_equal(named.y, given.y)
    with pytest.raises(ParameterError, match="did you mean 'stress_binary'"):
        windows.make_windows(recordings, 1, 0, 128, label_rule="stress_binry")
    with pytest.raises(ParameterError, match="hand over the rule itself"):
        windows.make_windows(list(recordings), 1, 0, 128, label_rule="stress_binary")


def test_windows_follow_the_code_that_reads(project, quick_twin, monkeypatch):
    recordings = datasets.load("wesad", datasets.prepare("wesad", "simulated", subjects=1))
    before = recordings.identity()
    monkeypatch.setattr(datasets, "code_hash", lambda path: f"other {path.name}")
    assert recordings.identity() != before


def test_the_code_of_a_set_is_its_own():
    own = datasets.code("wesad")
    assert {"affectbook/datasets/wesad.py", "affectbook/datasets/_pickles.py",
            "affectbook/simulate/ecg.py"} <= set(own)  # fmt: skip
    assert "affectbook/datasets/eegmat.py" not in own
    assert "affectbook/datasets/drivedb_segments.csv" in datasets.code("drivedb")


def test_no_path_of_this_machine_is_shown(project, tmp_path, monkeypatch, make_wesad):
    outside = make_wesad(tmp_path / "some" / "where" / "WESAD", "S2")
    line = datasets.describe("wesad", "licensed", outside)
    assert line == "tier: licensed | data: WESAD, 1 subject | folder: where/WESAD"
    monkeypatch.setenv("AFFECTBOOK_DATA", str(outside.parent))
    line = datasets.describe("wesad", "licensed", outside)
    assert line.endswith("| folder: $AFFECTBOOK_DATA/wesad")
    inside = make_wesad(project / "data" / "wesad", "S2")
    assert datasets.describe("wesad", "licensed", inside).endswith("| folder: data/wesad")


def test_hashes_cover_what_is_read(tmp_path, make_wesad):
    make_wesad(tmp_path, "S2", "S3")
    (tmp_path / "stray.txt").write_text("stray")
    hashes = datasets.data_hashes("wesad", tmp_path, ["S2"])
    assert hashes == {"S2/S2.pkl": files.sha256(tmp_path / "S2" / "S2.pkl")}
    one = datasets.content_hash("wesad", tmp_path, ["S2"])
    both = datasets.content_hash("wesad", tmp_path, ["S2", "S3"])
    assert one != both == datasets.content_hash("wesad", tmp_path, ["S3", "S2"])
    wesad.write_subject(tmp_path, "S2", np.zeros(14000), np.arange(14000) % 5)
    assert datasets.content_hash("wesad", tmp_path, ["S2"]) != one


# Trials in a twin of two people, where the card gives no number for all: of P02, one has a gap.
TRIALS = {
    "amigos": {"P01": 16, "P02": 15},
    "mci": {"S1": 6, "S2": 6},
    "swell": {"pp1": 3, "pp2": 3},
}


def by_hand(rule: datasets.LabelRule | datasets.RatingRule, one: datasets.Recording) -> int | None:
    """Return the class that the words of a rule give to a recording."""
    if isinstance(rule, datasets.LabelRule):
        told = rule.conditions.get(one.condition)
        return None if told is None else rule.classes.index(told)
    rating, relation, threshold = rule.name.split()
    if rating not in one.ratings:
        return None
    value = one.ratings[rating]
    return int(value > float(threshold) or (relation == ">=" and value == float(threshold)))


@pytest.mark.parametrize("name", [
    # 62 channels of a whole session take as long as all others together.
    pytest.param(name, marks=pytest.mark.slow) if name == "seed" else name
    for name in datasets.names()
])  # fmt: skip
def test_a_twin_of_each_set_becomes_windows(project, name):
    card, sfreq = datasets.card(name), 64
    twin = datasets.prepare(name, "simulated", subjects=2)
    recordings = datasets.load(name, twin)
    marked = json.loads((twin / "TWIN.json").read_text())["subjects"]
    assert recordings.subjects == tuple(marked) and len(marked) == 2 < len(card.subjects)
    ch_names = next(iter(datasets.channels(name).values()))
    trials, labels, lengths = Counter(), {}, {}
    for one in recordings:
        trials[one.subject] += 1
        assert one.ch_names == ch_names and set(ch_names) <= set(card.channels)
        assert one.unit in card.unit and f"{one.sfreq:g}" in card.sfreq
        key = (one.subject, one.session, one.trial)
        assert key not in lengths, "no two trials have the same name"
        labels[key] = by_hand(card.label_rules[0], one)
        lengths[key] = math.ceil(one.signal.shape[1] * sfreq / one.sfreq)
    assert (card.trials is None) == (name in TRIALS)
    assert trials == TRIALS.get(name, dict.fromkeys(marked, card.trials))
    X, y, meta = make_windows(recordings, 2.0, 0.0, sfreq, label_rule=card.label_rules[0])
    assert X.shape[1:] == (len(ch_names), 2 * sfreq) and np.isfinite(X).all() and X.std() > 0
    found = meta.assign(y=y).groupby(["subject", "session", "trial"])["y"].agg(["unique", "size"])
    kept = {key: label for key, label in labels.items() if label is not None}
    assert {key: list(row["unique"]) for key, row in found.iterrows()} == {
        key: [label] for key, label in kept.items()
    }
    assert found["size"].to_dict() == {key: lengths[key] // (2 * sfreq) for key in kept}
    left_out = {key for key, label in labels.items() if label is None}
    assert all("meditation" in key[2] or key[0] == "P02" for key in left_out), "said by the rule"
