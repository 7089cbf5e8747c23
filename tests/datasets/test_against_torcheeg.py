"""Our EEG and ratings of DREAMER, DEAP and SEED are those that torcheeg and LibEER read.

The twin of a set is read twice: by our reader, and by indexing the raw files as those two packages
do. Where torcheeg can be imported, its own functions read the same files as well. It asks for an
older SciPy than this project, so that it needs an environment of its own; these are the tests to
run there.
"""

from __future__ import annotations

import importlib
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from affectbook import datasets, files
from affectbook.datasets import _folders, deap, dreamer, seed
from affectbook.datasets.recording import Recording

BASELINE_S = 2
"""Of a trial of the twin of DREAMER."""


@pytest.fixture(scope="module")
def twins(tmp_path_factory) -> Path:
    """Return a folder with short twins of the three sets."""
    folder = tmp_path_factory.mktemp("twins")
    dreamer.make_twin(
        folder / "dreamer", subjects=2, baseline_s=BASELINE_S, stimulus_s=(2.0, 4.125)
    )
    deap.make_twin(folder / "deap", subjects=2, seconds=4.0)
    seed.make_twin(folder / "seed", subjects=1, seconds=1)
    return folder


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> None:
    """Let what DREAMER keeps land in an empty folder."""
    monkeypatch.setattr(files, "project_root", lambda: tmp_path)
    monkeypatch.setattr(_folders, "project_root", lambda: tmp_path)


@pytest.fixture
def torcheeg():
    """Return torcheeg's data sets, or skip the test."""
    try:
        return importlib.import_module("torcheeg.datasets")
    except Exception as error:  # a mixed environment may raise anything
        pytest.skip(f"torcheeg is not here to compare with: {type(error).__name__}: {error}")


def ours(name: str, folder: Path, **options: object) -> list[Recording]:
    return list(datasets.load(name, folder / name, channels="eeg", **options))


def same(recording: Recording, signal: np.ndarray) -> None:
    """Check that a recording is this signal ``(n_chans, n_times)``, in float32."""
    np.testing.assert_array_equal(recording.signal, np.asarray(signal).astype(np.float32))


def place(name: str, folder: Path) -> Path:
    """Return the folder that holds the files of the first subject."""
    module = {"deap": deap, "seed": seed}[name]
    return module.files_of(folder / name, module.CARD.subjects[0])[0].parent


def test_dreamer_by_plain_indexing(twins):
    data = scipy.io.loadmat(twins / "dreamer" / "DREAMER.mat")["DREAMER"][0, 0]["Data"]
    pairs = zip(ours("dreamer", twins), ours("dreamer", twins, part="baseline"), strict=True)
    for number, (stimulus, baseline) in enumerate(pairs):
        person, film = data[0, number // 18], number % 18
        same(stimulus, person["EEG"][0, 0]["stimuli"][0, 0][film, 0].T)
        same(baseline, person["EEG"][0, 0]["baseline"][0, 0][film, 0].T)
        for rating in ("valence", "arousal", "dominance"):
            score = person[f"Score{rating.capitalize()}"][0, 0][film, 0]
            assert stimulus.ratings[rating] == score
    assert number + 1 == 2 * 18


def test_deap_by_plain_indexing(twins):
    recordings = iter(ours("deap", twins))
    baselines = iter(ours("deap", twins, part="baseline"))
    for name in ("s01.dat", "s02.dat"):
        with (place("deap", twins) / name).open("rb") as stream:
            content = pickle.load(stream, encoding="latin1")
        for trial in range(40):
            recording = next(recordings)
            same(recording, content["data"][trial, :32, 384:])
            same(next(baselines), content["data"][trial, :32, :384])
            ratings = [recording.ratings[r] for r in ("valence", "arousal", "dominance", "liking")]
            assert ratings == content["labels"][trial].tolist()
    assert next(recordings, None) is None


def test_seed_by_plain_indexing(twins):
    folder = place("seed", twins)
    labels = scipy.io.loadmat(folder / "label.mat")["label"][0]
    recordings = iter(datasets.load("seed", twins / "seed"))
    for path in sorted(folder.glob("*_*.mat"), key=lambda path: path.stem.split("_")[1]):
        content = scipy.io.loadmat(path)
        keys = sorted(
            (key for key in content if re.search(r"_eeg\d+$", key)),
            key=lambda key: int(key.rpartition("_eeg")[2]),
        )
        for key, label in zip(keys, labels, strict=True):
            recording = next(recordings)
            same(recording, content[key])
            assert recording.condition == {-1: "negative", 0: "neutral", 1: "positive"}[label]
    assert next(recordings, None) is None


def trials(records: Iterator[dict]) -> list[dict]:
    """Return what torcheeg gives of each trial: its signal, its baseline and what it says."""
    found, baselines = [], {}
    for record in records:
        if "info" in record:
            info = record["info"]
            baseline = baselines.get(info.get("baseline_id"))
            found.append({**info, "signal": record["eeg"], "baseline": baseline})
        else:
            baselines[record["key"]] = record["eeg"]
    return found


def of_a_second(recording: Recording, n_times: int = 128) -> np.ndarray:
    """Return the mean second of a baseline, as torcheeg has it."""
    signal = recording.signal.astype(float)
    return signal.reshape(len(signal), -1, n_times).mean(axis=1)


def test_dreamer_by_torcheeg(twins, torcheeg):
    path = twins / "dreamer" / "DREAMER.mat"
    theirs = [
        trial
        for number in range(2)
        for trial in trials(
            torcheeg.DREAMERDataset.process_record(
                number, mat_path=str(path), chunk_size=0, num_baseline=BASELINE_S
            )
        )
    ]
    stimuli, baselines = ours("dreamer", twins), ours("dreamer", twins, part="baseline")
    for trial, stimulus, baseline in zip(theirs, stimuli, baselines, strict=True):
        same(stimulus, trial["signal"])
        np.testing.assert_allclose(of_a_second(baseline), trial["baseline"], rtol=1e-6)
        assert stimulus.subject == f"S{trial['subject_id'] + 1:02d}"
        assert stimulus.trial == str(trial["trial_id"] + 1)
        for rating in ("valence", "arousal", "dominance"):
            assert stimulus.ratings[rating] == trial[rating]


def test_deap_by_torcheeg(twins, torcheeg):
    theirs = [
        trial
        for name in ("s01.dat", "s02.dat")
        for trial in trials(
            torcheeg.DEAPDataset.process_record(
                name, root_path=str(place("deap", twins)), chunk_size=0
            )
        )
    ]
    stimuli, baselines = ours("deap", twins), ours("deap", twins, part="baseline")
    for trial, stimulus, baseline in zip(theirs, stimuli, baselines, strict=True):
        same(stimulus, trial["signal"])
        np.testing.assert_allclose(of_a_second(baseline), trial["baseline"], rtol=1e-4, atol=1e-4)
        assert f"{stimulus.subject}.dat" == trial["subject_id"]
        assert stimulus.trial == str(trial["trial_id"] + 1)
        for rating in ("valence", "arousal", "dominance", "liking"):
            assert stimulus.ratings[rating] == trial[rating]


def test_seed_by_torcheeg(twins, torcheeg):
    folder = place("seed", twins)
    recordings = list(datasets.load("seed", twins / "seed"))
    dates = {"1": "20131027", "2": "20131030", "3": "20131107"}
    theirs = {}
    for date in dates.values():
        records = torcheeg.SEEDDataset.process_record(
            f"1_{date}.mat", root_path=str(folder), chunk_size=0
        )
        for trial in trials(records):
            theirs[str(trial["date"]), trial["trial_id"].rpartition("_eeg")[2]] = trial
    assert len(theirs) == len(recordings) == 45
    for recording in recordings:
        trial = theirs[dates[recording.session], recording.trial]
        same(recording, trial["signal"])
        assert str(trial["subject_id"]) == recording.subject
        names = {-1: "negative", 0: "neutral", 1: "positive"}
        assert names[trial["emotion"]] == recording.condition
