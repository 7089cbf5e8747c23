"""DEAP: video order, no baseline in the stimulus, labels held to the publisher's table."""

from __future__ import annotations

import logging
import pickle
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook import datasets, windows
from affectbook.datasets import _folders, _matlab, _pickles, _sandbox, deap
from affectbook.datasets.recording import Recording
from affectbook.errors import AffectbookError, DataFileError, DataNotFoundError, ParameterError

N_TIMES = 384 + 16
PLACES = ("data_preprocessed_python/s01.dat", "s01.dat", "data_preprocessed_matlab/s01.mat",
          "s01.mat")  # fmt: skip
PYTHON = Path(PLACES[0])


def content(seed: int = 0, n_times: int = N_TIMES) -> dict[str, np.ndarray]:
    """Return data of noise and labels that say which trial and which column they are."""
    data = np.random.default_rng(seed).standard_normal((40, 40, n_times))
    labels = 1 + np.arange(40)[:, None] * 0.1 + np.array([0.0, 1.01, 2.02, 3.03])
    return {"data": data, "labels": labels}


def write(folder: Path, changed: dict, path: Path = PYTHON) -> Path:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    save = (
        _pickles.dump_python2
        if path.suffix == ".dat"
        else lambda c, p: _matlab.save(p, c, compress=False)
    )
    save({name: value for name, value in changed.items() if value is not None}, folder / path)
    return folder / path


def small(folder: Path) -> Path:
    """Mark a folder as a twin, so that trials of 4 s are not refused as cut short."""
    _folders.mark_twin(folder, ["s01"], effect=1, fingerprint=1, seed=0)
    return folder


def refused(folder: Path, *words: str) -> str:
    with pytest.raises(DataFileError) as caught:
        list(deap.read(folder, ["s01"]))
    message = str(caught.value)
    for word in words:
        assert word in message, (word, message)
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> Path:
    """Return a twin of three people with stimuli of 2 s; tests only read it."""
    return deap.make_twin(tmp_path_factory.mktemp("deap"), subjects=3, seconds=2.0)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("channels", "rows"), [("eeg", slice(32)), ("peripheral", slice(32, 40))])
@pytest.mark.parametrize(
    ("part", "cut"), [("stimulus", slice(384, None)), ("baseline", slice(384))]
)
def test_reads_what_was_written(tmp_path, place, channels, rows, part, cut):
    written = content()
    for other in PLACES[PLACES.index(place) + 1 :]:  # those that it comes before
        write(tmp_path, content(seed=1), Path(other))
    write(small(tmp_path), written, Path(place))
    assert deap.subjects_in(tmp_path) == ("s01",)
    assert deap.files_of(tmp_path, "s01") == (tmp_path / place,)
    recordings = list(datasets.load("deap", tmp_path, channels=channels, part=part))
    assert [r.trial for r in recordings] == [str(n) for n in range(1, 41)]
    for trial, recording in enumerate(recordings):
        expected = written["data"][trial, rows, cut].astype(np.float32)
        np.testing.assert_array_equal(recording.signal, expected)
        assert recording.ch_names == deap.CHANNELS[channels] and recording.sfreq == 128
        assert (recording.subject, recording.session) == ("s01", "1")
        assert recording.start_s == (3 if part == "stimulus" else 0)
        names = ("valence", "arousal", "dominance", "liking")
        assert dict(recording.ratings) == dict(
            zip(names, written["labels"][trial].tolist(), strict=True)
        )


def test_the_default_is_the_eeg_of_the_stimulus_and_units_are_told(tmp_path):
    write(small(tmp_path), content())
    first = next(iter(datasets.load("deap", tmp_path)))
    assert first.signal.shape == (32, N_TIMES - 384) and first.unit == "uV"
    pulse = next(iter(datasets.load("deap", tmp_path, channels=["Pleth"])))
    np.testing.assert_array_equal(pulse.signal[0], content()["data"][0, 38, 384:].astype("f4"))
    assert pulse.unit == "a.u."


def test_there_is_no_ecg_and_card_and_reader_say_so(tmp_path):
    write(small(tmp_path), content())
    with pytest.raises(ParameterError, match="^DEAP has no ECG; channel Pleth"):
        datasets.load("deap", tmp_path, channels="ecg")
    with pytest.raises(ParameterError, match="has no ECG"):
        deap.read(tmp_path, ["s01"], channels="ecg")
    assert deap.CARD.pitfalls[0].startswith("There is no ECG.") and "no ECG" in deap.__doc__
    with pytest.raises(ParameterError, match="part.*did you mean 'baseline'"):
        datasets.load("deap", tmp_path, part="base_line")


def test_channels_are_those_of_the_set():
    assert len(deap.CHANNELS["eeg"]) == 32 and len(deap.CHANNELS["peripheral"]) == 8
    assert deap.CHANNELS["eeg"][:3] == ("Fp1", "AF3", "F3")
    assert deap.CHANNELS["eeg"].index("Fp2") == 16 and deap.CHANNELS["eeg"][31] == "O2"
    assert len(set(deap.CARD.channels)) == 40
    assert deap.CARD.subjects[0] == "s01" and deap.CARD.subjects[-1] == "s32"


def test_the_written_file_is_the_official_one(tmp_path):
    """A Python 2 pickle, indexed as torcheeg and others do; 8 bytes a sample and about 1.3 kB."""
    written = content()
    path = deap.write_subject(tmp_path, "s01", written["data"], written["labels"])
    assert path == tmp_path / PYTHON
    with pytest.raises(UnicodeDecodeError):
        pickle.loads(path.read_bytes())
    raw = pickle.loads(path.read_bytes(), encoding="latin1")
    assert set(raw) == {"data", "labels"}
    assert raw["data"].shape == (40, 40, N_TIMES) and raw["data"].dtype == np.float64
    np.testing.assert_array_equal(raw["data"], written["data"])
    np.testing.assert_array_equal(raw["labels"], written["labels"])
    assert 1280 <= path.stat().st_size - written["data"].nbytes < 2000
    assert 8 * 40 * 40 * 8064 == 103_219_200 == deap.N_BYTES


@pytest.mark.parametrize("protocol", range(6))
def test_reads_a_copy_saved_again_by_python_3(tmp_path, protocol):
    path = write(small(tmp_path), content())
    path.write_bytes(pickle.dumps(content(), protocol))
    first = next(deap.read(tmp_path, ["s01"]))
    np.testing.assert_array_equal(first.signal, content()["data"][0, :32, 384:].astype("f4"))


def test_a_subject_is_held_once(tmp_path):
    """The peak of both processes is bounded, with the second subject read, too."""
    data = np.zeros((40, 40, 1600))
    for subject in ("s01", "s02"):
        path = deap.write_subject(small(tmp_path), subject, data, content()["labels"])
    del data
    _sandbox.stop()
    tracemalloc.start()
    try:
        assert sum(1 for _ in deap.read(tmp_path, ["s01", "s02"])) == 80
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = path.stat().st_size
    assert peak < 0.6 * size, "here are the EEG of one subject, half a float each, and no more"
    told = Path(f"/proc/{_sandbox._child.pid}/status").read_text()
    (there,) = (int(line.split()[1]) for line in told.splitlines() if line.startswith("VmHWM"))
    assert 1024 * there < 1.6 * size + 60e6, "there are the file and its EEG, beside Python"


def rated(valence: float, arousal: float) -> Recording:
    signal = np.zeros((32, 4), np.float32)
    ratings = {"valence": valence, "arousal": arousal, "dominance": 5.0, "liking": 5.0}
    return Recording(signal, 128.0, deap.CHANNELS["eeg"], "uV", "s01", "1", "1", ratings=ratings)


def test_label_rules_differ_at_exactly_five():
    rules = {rule.name: rule for rule in deap.CARD.label_rules}
    assert list(rules) == [
        "valence > 5", "valence >= 5", "arousal > 5", "arousal >= 5", "quadrants > 5",
        "quadrants >= 5",
    ]  # fmt: skip
    tie = rated(5.0, 5.0)
    assert [rule.label(tie) for rule in rules.values()] == [0, 1, 0, 1, 0, 3]
    assert rules["quadrants > 5"].label(rated(2.0, 7.0)) == 1
    assert rules["quadrants > 5"].label(rated(7.0, 2.0)) == 2


@settings(max_examples=25, deadline=None)
@given(valence=st.floats(1, 9), arousal=st.floats(1, 9))
def test_a_quadrant_is_two_halves(valence, arousal):
    rules = {rule.name: rule for rule in deap.CARD.label_rules}
    one = rated(valence, arousal)
    for sign in (">", ">="):
        halves = [rules[f"{name} {sign} 5"].label(one) for name in ("valence", "arousal")]
        assert rules[f"quadrants {sign} 5"].label(one) == 2 * halves[0] + halves[1]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": None}, ["labels", "missing", "data"]),
        ({"data": None}, ["data", "missing", "labels"]),
        ({"data": np.zeros((39, 40, N_TIMES))}, ["(39, 40, 400)", "(40, 40, "]),
        ({"data": np.zeros((40, 32, N_TIMES))}, ["(40, 32, 400)", "(40, 40, "]),
        ({"data": np.zeros((40, 40))}, ["(40, 40)", "(40, 40, "]),
        ({"data": np.zeros((40, 40, 384))}, ["(40, 40, 384)", "385"]),
        ({"data": np.zeros((40, 40, N_TIMES), np.int16)}, ["int16", "float"]),
        ({"data": np.full((40, 40, N_TIMES), np.nan)}, ["640000 of 640000", "finite"]),
        ({"data": np.full((40, 40, N_TIMES), 1e300)}, ["640000 of 640000", "finite"]),
        (
            {"data": np.where(np.arange(640000) == 7, np.nan, 0).reshape(40, 40, -1)},
            ["1 of 640000"],
        ),
        ({"labels": np.full((40, 3), 5.0)}, ["(40, 3)", "(40, 4)"]),
        ({"labels": np.full((39, 4), 5.0)}, ["(39, 4)", "(40, 4)"]),
        ({"labels": np.full((40, 4), 5 + 1j)}, ["labels"]),
        ({"labels": np.full((40, 4), 0.4)}, ["0.4 for valence of trial 1", "9 - rating"]),
        ({"labels": np.full((40, 4), 9.2)}, ["9.2 for valence of trial 1", "1 to 9"]),
        ({"labels": np.full((40, 4), np.nan)}, ["nan for valence of trial 1"]),
    ],
)
@pytest.mark.parametrize("path", [PYTHON, Path("s01.mat")], ids=["pickle", "matlab"])
def test_wrong_content_is_one_message(tmp_path, path, changed, words):
    write(small(tmp_path), content() | changed, path)
    assert "do: " in refused(tmp_path, path.name, *words)


def test_a_real_file_must_be_as_large_and_as_long_as_the_set_says(tmp_path):
    path = write(tmp_path, content())
    n_bytes = path.stat().st_size
    refused(tmp_path, f"{n_bytes} bytes", "at least 103219200", "cut short")
    moved = tmp_path / "matlab"
    write(moved, content(), Path("s01.mat"))
    refused(moved, "(40, 40, 400)", "(40, 40, 8064)")


@pytest.mark.parametrize("path", [PYTHON, Path("s01.mat")], ids=["pickle", "matlab"])
def test_more_than_a_subject_of_the_set_has_is_one_message(tmp_path, monkeypatch, path):
    write(small(tmp_path), content(), path)
    monkeypatch.setattr(deap, "MOST_BYTES", 10**6)
    refused(tmp_path, path.name, "too large to be one of this set", "at most 1000000", "do: ")


@pytest.mark.faults
@pytest.mark.parametrize("path", [PYTHON, Path("s01.mat")], ids=["pickle", "matlab"])
def test_every_truncation_is_one_message(tmp_path, path):
    path = write(small(tmp_path), content(n_times=400), path)
    whole = path.read_bytes()
    cuts = {0, 1, 130, 200, 400, len(whole) - 1, len(whole) - 1000}
    cuts |= set(np.random.default_rng(0).integers(0, len(whole), 15).tolist())
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        refused(tmp_path, path.name)


@pytest.mark.faults
def test_a_flipped_byte_never_ends_in_another_error(tmp_path):
    path = write(small(tmp_path), content(n_times=385))
    whole = path.read_bytes()
    inside = whole.index(content(n_times=385)["data"][0, 0, :3].tobytes())
    for position in [*range(0, inside), *range(len(whole) - 300, len(whole))][::3]:
        broken = bytearray(whole)
        broken[position] ^= 0x21
        path.write_bytes(broken)
        try:
            list(deap.read(tmp_path, ["s01"]))
        except AffectbookError as error:
            assert "s01.dat" in str(error)


def table_of(labels: np.ndarray, seed: int = 5, folder: Path | None = None) -> pd.DataFrame:
    """Return the publisher's table for one subject, in an order of presentation."""
    order = np.random.default_rng(seed).permutation(40)
    path = deap.write_ratings(folder, ["s01"], [labels], [order], [np.full(40, np.nan)])
    return pd.read_csv(path)


def test_labels_that_agree_with_the_table_are_read_in_video_order(tmp_path, caplog):
    written = content()
    write(small(tmp_path), written)
    table = table_of(np.round(written["labels"], 2), folder=tmp_path)
    assert list(table.columns) == [
        "Participant_id", "Trial", "Experiment_id", "Start_time", "Valence", "Arousal",
        "Dominance", "Liking", "Familiarity",
    ]  # fmt: skip
    assert (table["Trial"] != table["Experiment_id"]).any()
    recordings = list(deap.read(tmp_path, ["s01"]))
    by_video = table.set_index("Experiment_id")
    for recording in recordings:
        assert recording.ratings["valence"] == pytest.approx(
            by_video.loc[int(recording.trial), "Valence"], abs=0.006
        )
    assert not caplog.records


@pytest.mark.parametrize(
    ("folder", "place"),
    [("", ""), ("", "metadata_csv"), ("data_preprocessed_python", ""),
     ("data_preprocessed_python", "metadata_csv")],
)  # fmt: skip
def test_altered_labels_are_refused_wherever_the_table_lies(tmp_path, folder, place):
    """As the mirror has them: 9 - rating for valence and arousal where both are above 5."""
    true = np.round(np.random.default_rng(2).uniform(1, 9, (40, 4)), 2)
    both_high = (true[:, :2] > 5).all(axis=1)
    altered = true.copy()
    altered[both_high, :2] = 9 - altered[both_high, :2]
    write(small(tmp_path), {"data": content()["data"], "labels": altered})
    small(tmp_path / "data_preprocessed_python")
    table_of(true, folder=tmp_path / place)
    message = refused(
        tmp_path / folder, f"{both_high.sum()} of 40 trials differ", "s01.dat", "mirror", "9 - r"
    )
    assert str(true[np.flatnonzero(both_high)[0], 0]) in message
    (tmp_path / place / deap.TABLE).unlink()
    altered = np.clip(altered, 1, 9)
    write(tmp_path, {"data": content()["data"], "labels": altered})
    assert len(list(deap.read(tmp_path / folder, ["s01"]))) == 40


def test_without_the_table_one_line_says_that_labels_were_not_compared(tmp_path, caplog):
    for subject in ("s01", "s02"):
        write(small(tmp_path), content(), Path(f"{subject}.dat"))
    with caplog.at_level(logging.INFO, "affectbook"):
        recordings = datasets.load("deap", tmp_path, ["s01", "s02"])
        assert not caplog.records
        list(recordings)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "could not be compared" in line and deap.TABLE in line and "mirror" in line


def test_the_table_counts_as_data_where_it_is_inside_the_folder(twin):
    inside = datasets.data_hashes("deap", twin, ["s01"])
    assert list(inside) == ["data_preprocessed_python/s01.dat", "participant_ratings.csv"]
    beside = datasets.data_hashes("deap", twin / "data_preprocessed_python", ["s01"])
    assert list(beside) == ["s01.dat"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="Valence"), ["Valence", "cannot be read"]),
        (lambda t: t.assign(Valence="high"), ["ValueError", "numbers in Participant_id"]),
        (lambda t: t.iloc[:-1], ["39 rows", "1 to 40"]),
        (lambda t: t.assign(Experiment_id=t["Trial"].clip(upper=39)), ["39 different"]),
        (lambda t: t.assign(Participant_id=2), ["lacks a subject", "Participant_id 1"]),
        (lambda t: t.iloc[:0], ["lacks a subject"]),
        (
            lambda t: t.mask((t["Experiment_id"] == 7) & (t["Trial"] > 0)).fillna(
                {"Participant_id": 1, "Experiment_id": 7}
            ),
            ["1 of 40 trials differ, first trial 7"],
        ),
    ],
)
def test_a_wrong_table_is_one_message(tmp_path, change, words):
    write(small(tmp_path), content())
    table = table_of(content()["labels"], folder=tmp_path)
    change(table).to_csv(tmp_path / deap.TABLE, index=False)
    refused(tmp_path, deap.TABLE, *words)


def test_a_table_that_is_none_is_one_message(tmp_path):
    write(small(tmp_path), content())
    (tmp_path / deap.TABLE).write_bytes(b"\xff\x00\n\x00")
    refused(tmp_path, deap.TABLE, "cannot be read")


def test_a_missing_subject_is_named(tmp_path):
    write(tmp_path, content(), Path("s01.dat"))
    with pytest.raises(DataNotFoundError, match=r"missing are s02, .*do: complete"):
        datasets.load("deap", tmp_path)


def test_windows_of_the_twin_carry_label_subject_and_trial(twin):
    rule = deap.CARD.label_rules[0]
    recordings = list(datasets.load("deap", twin))
    assert len(recordings) == 120
    X, y, meta = windows.make_windows(recordings, 1.0, 0.0, 128.0, label_rule=rule)
    assert X.shape == (240, 32, 128) and set(y.tolist()) == {0, 1}
    valence = {(r.subject, r.trial): r.ratings["valence"] for r in recordings}
    told = [valence[key] > 5 for key in zip(meta["subject"], meta["trial"], strict=True)]
    np.testing.assert_array_equal(y, told)
    assert set(meta["subject"]) == {"s01", "s02", "s03"}
    assert set(meta["trial"]) == {str(n) for n in range(1, 41)}


def test_the_twin_is_the_official_layout(twin, tmp_path):
    names = sorted(p.relative_to(twin).as_posix() for p in twin.rglob("*") if p.is_file())
    assert names == ["TWIN.json", *(f"data_preprocessed_python/s0{n}.dat" for n in (1, 2, 3)),
                     "participant_ratings.csv"]  # fmt: skip
    raw = pickle.loads((twin / PYTHON).read_bytes(), encoding="latin1")
    assert raw["data"].shape == (40, 40, 640)
    table = pd.read_csv(twin / deap.TABLE)
    assert len(table) == 120 and (table["Trial"] != table["Experiment_id"]).mean() > 0.8
    known = table.groupby("Participant_id")["Familiarity"].count()
    assert known.tolist() == [40, 0, 40] and set(table["Familiarity"].dropna()) <= set(range(1, 6))
    assert not np.array_equal(table["Experiment_id"][:40], table["Experiment_id"][40:80])
    # The altered copy of a twin is refused, too.
    changed = tmp_path / "changed"
    shutil.copytree(twin, changed)
    raw["labels"][3, :2] = np.where(raw["labels"][3, :2] < 5, 8.5, 1.5)
    write(changed, raw)
    refused(changed, "1 of 40 trials differ, first trial 4")


def test_a_subject_of_a_twin_does_not_depend_on_how_many_there_are(twin, tmp_path):
    again = deap.make_twin(tmp_path / "a", subjects=1, seconds=2.0)
    other = deap.make_twin(tmp_path / "b", subjects=1, seconds=2.0, seed=1)
    first = [(folder / PYTHON).read_bytes() for folder in (twin, again, other)]
    assert first[0] == first[1] != first[2]


def test_dials_of_the_twin(twin, tmp_path, monkeypatch):
    """Without an effect signals do not know what is felt; with one they do."""
    still = [deap.make_twin(tmp_path / "a", subjects=1, seconds=2.0, effect=0.0)]
    felt = deap.simulate.felt
    monkeypatch.setattr(
        deap.simulate, "felt", lambda *a, **k: deap.simulate.Affect(*(-x for x in felt(*a, **k)))
    )
    still.append(deap.make_twin(tmp_path / "b", subjects=1, seconds=2.0, effect=0.0))
    moved = deap.make_twin(tmp_path / "c", subjects=1, seconds=2.0)
    signals = [[r.signal for r in deap.read(at, ["s01"])] for at in (*still, twin, moved)]
    np.testing.assert_array_equal(signals[0], signals[1])
    assert not np.array_equal(signals[2], signals[3])
    ratings = [[r.ratings["valence"] for r in deap.read(at, ["s01"])] for at in still]
    assert np.corrcoef(*ratings)[0, 1] < -0.5
    pulses = [[r.signal[6] for r in deap.read(at, ["s01"], channels="peripheral")] for at in still]
    np.testing.assert_array_equal(*pulses)


def test_the_pulse_of_the_twin_beats(twin):
    """Most of the power of Pleth lies where hearts beat, 0.7 to 3 Hz, and its multiples."""
    pulse = next(iter(datasets.load("deap", twin, ["s01"], channels=["Pleth"]))).signal[0]
    power = np.abs(np.fft.rfft(pulse - pulse.mean())) ** 2
    assert power[: 2 * 6 + 1].sum() > 0.8 * power.sum()


@pytest.mark.parametrize("subjects", [0, 33, -1])
def test_a_twin_has_1_to_32_subjects(tmp_path, subjects):
    with pytest.raises(ParameterError, match="1 to 32"):
        deap.make_twin(tmp_path, subjects=subjects)
