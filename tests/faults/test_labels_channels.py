"""Labels out of range, channels that are not those of the card, folds with one class."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from builders import windows_of
from faults.refusals import read, refused
from faults.twins import FIRST
from sklearn.base import BaseEstimator, ClassifierMixin

from affectbook import datasets, evaluate, protocols, windows
from affectbook.datasets import deap, eegmat, wesad
from affectbook.datasets.card import LabelRule
from affectbook.errors import AffectbookError

Copy = Callable[..., Path]


def _variables(path: Path) -> dict[str, np.ndarray]:
    return {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}


def _deap(folder: Path, value: float) -> str:
    path = folder / "data_preprocessed_python" / "s01.dat"
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    labels = content["labels"].copy()
    labels[6, 1] = value
    deap.write_subject(folder, "s01", content["data"], labels)
    (folder / "participant_ratings.csv").unlink(missing_ok=True)
    return path.name


def _dreamer(folder: Path, value: float) -> str:
    path = folder / "DREAMER.mat"
    content = _variables(path)
    content["DREAMER"][0, 0]["Data"][0, 0]["ScoreValence"][0, 0][6, 0] = value
    scipy.io.savemat(path, content)
    return path.name


def _wesad(folder: Path, value: float) -> str:
    path = folder / "S2" / "S2.pkl"
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    label = content["label"].copy()
    label[1234] = value
    wesad.write_subject(folder, "S2", content["signal"]["chest"]["ECG"][:, 0], label)
    return path.name


def _amigos(folder: Path, value: float) -> str:
    path = folder / "Data_Preprocessed_P01.mat"
    content = _variables(path)
    content["labels_selfassessment"][0, 6][0, 1] = value
    scipy.io.savemat(path, content)
    return path.name


def _amigos_external(folder: Path, value: float) -> str:
    path = folder / "Data_Preprocessed_P01.mat"
    content = _variables(path)
    content["labels_ext_annotation"][0, 6][0, 1] = value
    scipy.io.savemat(path, content)
    return path.name


def _seed(folder: Path, value: float) -> str:
    path = folder / "Preprocessed_EEG" / "label.mat"
    content = _variables(path)
    content["label"][0, 6] = value
    scipy.io.savemat(path, content)
    return path.name


def _swell(folder: Path, value: str) -> str:
    path = next(folder.rglob("*.csv"))
    lines = path.read_text().splitlines()
    words = lines[1].split(",")
    words[2] = value
    path.write_text("\n".join([lines[0], ",".join(words), *lines[2:]]) + "\n")
    return path.name


def _mci(folder: Path, value: float) -> str:
    path = folder / "S1.csv"
    lines = path.read_text().splitlines()
    words = lines[2].split(",")
    words[3] = str(value)
    path.write_text("\n".join([*lines[:2], ",".join(words), *lines[3:]]) + "\n")
    return path.name


def _eegmat(folder: Path, value: int) -> str:
    """The compact file of eegmat; EDF files have no label but their name."""
    for path in folder.glob("*.edf"):
        path.unlink()
    path = folder / "eegmat_60s.npz"
    rows = {"ecg": np.arange(30720).reshape(2, 15360).astype(np.int16) % 300}
    np.savez(path, **rows, subject=np.array([0, 0]), label=np.array([0, value]))
    return path.name


# Data set, what writes a label, a label that is none, one that is.
LABELS = [
    (_deap, "deap", 0.0, 1.0), (_deap, "deap", 10.0, 9.0), (_deap, "deap", np.nan, 5.0),
    (_dreamer, "dreamer", 6, 5), (_dreamer, "dreamer", 0, 1), (_dreamer, "dreamer", 2.5, 2),
    (_wesad, "wesad", 9, 7), (_wesad, "wesad", -1, 0),
    (_amigos, "amigos", 0.0, 1.0), (_amigos, "amigos", 10.0, 9.0),
    (_amigos_external, "amigos", 1.5, 1.0), (_amigos_external, "amigos", -2.0, -1.0),
    (_seed, "seed", 2, -1), (_seed, "seed", 0, -1),
    (_swell, "swell", "X", None), (_mci, "mci", 7, None), (_eegmat, "eegmat", 2, 1),
]  # fmt: skip
_IDS = [f"{name}-{put.__name__[1:]}-{bad}" for put, name, bad, _ in LABELS]


@pytest.mark.parametrize(
    "case",
    [
        case if case[1] in ("wesad", "dreamer") else pytest.param(case, marks=pytest.mark.faults)
        for case in LABELS
    ],
    ids=_IDS,
)
def test_a_label_out_of_range(case: tuple, copy: Copy):
    """The message has the value; the nearest label in range loads."""
    put, name, bad, good = case
    folder, only = copy(name), [FIRST[name]]
    names = put(folder, bad)
    value = f"{bad:g}" if isinstance(bad, float) else str(bad)
    refused(lambda: read(name, folder, only), value, folder=folder, names=names)
    if good is not None:
        put(folder, good)
        assert read(name, folder, only)


@pytest.mark.faults
def test_an_altered_label_of_deap_is_told_by_the_table_of_ratings(copy: Copy):
    """In range, but 9 - rating, as in the mirror: refused where participant_ratings.csv lies."""
    folder = copy("deap")
    path = folder / "data_preprocessed_python" / "s01.dat"
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    labels = content["labels"].copy()
    trial = int(np.argmax(labels[:, 0]))
    labels[trial, 0] = 9 - labels[trial, 0]
    deap.write_subject(folder, "s01", content["data"], labels)
    refused(lambda: read("deap", folder, ["s01"]), str(trial + 1), names="s01.dat")


def test_electrodes_of_dreamer_swapped(copy: Copy):
    folder = copy("dreamer")
    path = folder / "DREAMER.mat"
    content = _variables(path)
    names = content["DREAMER"][0, 0]["EEG_Electrodes"]
    names[0, [2, 3]] = names[0, [3, 2]]
    scipy.io.savemat(path, content)
    refused(
        lambda: read("dreamer", folder, ["S01"], channels="eeg"), "AF3 F7 FC5 F3", "AF3 F7 F3 FC5",
        folder=folder, names="DREAMER.mat",
    )  # fmt: skip
    names[0, [2, 3]] = names[0, [3, 2]]
    scipy.io.savemat(path, content)
    assert read("dreamer", folder, ["S01"], channels="eeg")


def test_channels_of_the_compact_file_of_eegmat_swapped(tmp_path: Path):
    folder = tmp_path / "data" / "eegmat"
    folder.mkdir(parents=True)
    eegmat.mark_twin(folder, ["00"], effect=1.0, fingerprint=1.0, seed=0)
    rng = np.random.default_rng(0)
    whole = {
        "eeg": rng.integers(-3000, 3000, (2, 20, 7680)).astype(np.int16),
        "subject": np.array([0, 0]),
        "label": np.array([0, 1]),
        "ch_names": np.array(eegmat.EEG_NAMES),
    }
    path, swapped = folder / "eegmat_60s.npz", whole["ch_names"].copy()
    np.savez(path, **whole)
    assert len(read("eegmat", folder, channels="eeg")) == 2
    swapped[[0, 1]] = swapped[[1, 0]]
    np.savez(path, **(whole | {"ch_names": swapped}))
    refused(
        lambda: read("eegmat", folder, channels="eeg"), "ch_names", "Fp2", folder=folder,
        names="eegmat_60s.npz",
    )  # fmt: skip


def _edf(folder: Path, order: list[int], rename: dict[int, str] | None = None) -> None:
    """Write rest of the first subject again with its signals in another order."""
    import edfio

    path = folder / "Subject00_1.edf"
    edf = edfio.read_edf(path)
    signals = [edf.signals[at] for at in order]
    for at, label in (rename or {}).items():
        signals[at].label = label
    edfio.Edf(signals, patient=edf.patient, data_record_duration=1).write(path)


@pytest.mark.parametrize("kind", ["ecg", "eeg"])
def test_channels_of_an_edf_file_in_another_order_load_the_same(kind: str, copy: Copy):
    """EDF names its channels: their order does not matter, their names do."""
    folder = copy("eegmat")
    before = read("eegmat", folder, ["00"], channels=kind)
    _edf(folder, [20, *range(19, -1, -1)])
    after = read("eegmat", folder, ["00"], channels=kind)
    for one, other in zip(before, after, strict=True):
        assert one.ch_names == other.ch_names
        assert np.array_equal(one.signal, other.signal)


def test_a_channel_of_an_edf_file_under_another_name_is_refused(copy: Copy):
    folder = copy("eegmat")
    _edf(folder, list(range(21)), {20: "EKG"})
    refused(lambda: read("eegmat", folder, ["00"]), "ECG ECG", folder=folder, names="Subject00_1")


@pytest.mark.faults
def test_two_channels_of_an_edf_file_under_one_name_are_refused(copy: Copy):
    """Which of them is meant cannot be known."""
    folder = copy("eegmat")
    _edf(folder, list(range(21)), {19: "ECG ECG"})
    refused(lambda: read("eegmat", folder, ["00"]), folder=folder, names="Subject00_1")


@pytest.mark.faults
def test_columns_of_mand_in_another_order_load_the_same(copy: Copy):
    """A mapping that names its columns finds them in the header, wherever they stand."""
    folder = copy("mand")
    before = read("mand", folder, ["1"])
    for path in (folder / "1").glob("*.txt"):
        rows = [line.split("\t") for line in path.read_text().splitlines()]
        path.write_text("".join("\t".join(row[::-1]) + "\n" for row in rows))
    for one, other in zip(before, read("mand", folder, ["1"]), strict=True):
        assert np.array_equal(one.signal, other.signal)
    path = folder / "1" / "fear.txt"
    path.write_text(path.read_text().replace("ECG", "EKG", 1))
    refused(lambda: read("mand", folder, ["1"]), "ECG", folder=folder, names="fear.txt")


class _Majority(ClassifierMixin, BaseEstimator):
    """Says the class it saw most: 100 % right where there is one class."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> _Majority:
        self.most_ = int(np.bincount(y).argmax())
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.full(len(X), self.most_)


HONEST = ("leave_one_subject_out", "group_kfold_subject")
PUBLISHED = ("shuffled_windows_as_published", "within_trial_as_published")


def _evaluate(trials: list[tuple[str, str, int, int]], protocol: str) -> evaluate.Evaluation:
    y, meta = windows_of(trials)
    X = np.zeros((len(y), 1, 8), np.float32)
    return evaluate.evaluate(_Majority(), X, y, meta, protocols.get(protocol))


@pytest.mark.parametrize("protocol", HONEST)
def test_a_class_that_one_subject_alone_has(protocol: str):
    """Its fold trains on one class: an error that names the fold, not a score of 100 %."""
    trials = [(f"S{n}", "a", 0, 4) for n in range(4)] + [("S0", "b", 1, 4)]
    with pytest.raises(AffectbookError) as caught:
        _evaluate(trials, protocol)
    assert "fold" in str(caught.value)
    both = [(f"S{n}", t, label, 4) for n in range(4) for t, label in (("a", 0), ("b", 1))]
    assert len(_evaluate(both, protocol).predictions)


def test_one_class_everywhere_is_refused_before_any_fold(copy: Copy):
    """A rule that leaves one class: no class is missing in any fold, and nothing is to be told."""
    folder, card = copy("wesad"), wesad.CARD
    only = LabelRule("only", ("a", "b"), {"baseline": "a", "other": "b"}, "one class here")
    error = refused(lambda: windows.make_windows(
        datasets.load("wesad", folder), 5, 0, 128, label_rule=only))  # fmt: skip
    assert "one class" in error.what and "only" in error.field
    assert len(windows.make_windows(
        datasets.load("wesad", folder), 5, 0, 128, label_rule=card.label_rules[0]).X)  # fmt: skip
