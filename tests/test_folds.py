"""Finished folds: read back equal, and taken only if nothing that made them has changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from affectbook import folds, progress
from affectbook.audit import Audit
from affectbook.errors import CacheError
from affectbook.folds import Fold, Kept

TRAIN, TEST = np.arange(8), np.arange(8, 12)
CURVE = pd.DataFrame({"epoch": [1, 2], "train_loss": [0.1 + 0.2, 1 / 3], "best": [False, True]})
DONE = Fold(np.array([0, 1, 2, 1]), Audit(1, 2, 3, 4, 5, 6, (0, 2)), CURVE)
KEY = "0123456789abcdef"


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path, KEY, "net, leave_one_subject_out")


def file_of(kept: Kept, fold: int = 0) -> Path:
    return kept.run / progress.FOLDS / kept.key / f"fold-{fold:03d}.json"


def same(one: Fold, other: Fold) -> bool:
    """Return whether two folds are equal to the last bit, their types included."""
    if (one.history is None) != (other.history is None):
        return False
    if one.history is not None:
        pd.testing.assert_frame_equal(one.history, other.history, check_exact=True)
    equal = np.array_equal(one.y_pred, other.y_pred) and one.y_pred.dtype == other.y_pred.dtype
    return equal and one.audit == other.audit


NUMBERS = st.one_of(
    st.lists(st.floats(width=64), min_size=1, max_size=5),
    st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5),
    st.lists(st.floats(width=32), min_size=1, max_size=5).map(lambda one: np.float32(one)),
    st.lists(st.text(st.characters(codec="utf-8"), max_size=5), min_size=1, max_size=5),
)
HISTORIES = st.none() | NUMBERS.map(lambda one: pd.DataFrame({"epoch": range(len(one)), "x": one}))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    y_pred=st.lists(st.integers(0, 9), min_size=1, max_size=9),
    counts=st.tuples(*[st.integers(0, 10**6)] * 6),
    missing=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    history=HISTORIES,
    dtype=st.sampled_from([np.int64, np.int32, np.uint8]),
)
def test_a_fold_read_is_the_fold_written(
    kept: Kept, y_pred: list, counts: tuple, missing: tuple, history: pd.DataFrame | None,
    dtype: type,
) -> None:  # fmt: skip
    done = Fold(np.array(y_pred, dtype), Audit(*counts, missing), history)
    used = kept.write(0, TRAIN, TEST, done)
    read = kept.read(0, TRAIN, TEST)
    assert same(read, used), "a run that went on would go on from other numbers"
    assert np.array_equal(read.y_pred, y_pred) and read.audit == done.audit
    if history is not None:
        expected = [float(one) if isinstance(one, np.float32) else one for one in history["x"]]
        assert [*map(repr, read.history["x"].tolist())] == [*map(repr, expected)]


def test_a_fold_whose_audit_counted_other_things_is_made_again(
    kept: Kept, capsys: pytest.CaptureFixture
) -> None:
    kept.write(0, TRAIN, TEST, DONE)
    told = json.loads(file_of(kept).read_text())
    del told["audit"]["shared_stimuli"]
    file_of(kept).write_text(json.dumps(told | {"sum": folds._sum(told)}))
    assert kept.read(0, TRAIN, TEST) is None
    assert "it is made again" in capsys.readouterr().out


def test_a_fold_that_was_not_made_is_none(kept: Kept) -> None:
    assert kept.read(0, TRAIN, TEST) is None
    kept.write(1, TRAIN, TEST, DONE)
    assert kept.read(0, TRAIN, TEST) is None and same(kept.read(1, TRAIN, TEST), DONE)


def test_every_prefix_is_refused(kept: Kept, capsys: pytest.CaptureFixture) -> None:
    kept.write(0, TRAIN, TEST, DONE)
    whole = file_of(kept).read_bytes()
    for stop in range(len(whole)):
        file_of(kept).write_bytes(whole[:stop])
        assert kept.read(0, TRAIN, TEST) is None, f"{stop} of {len(whole)} bytes were believed"
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(whole)
    assert all("fold 1 is damaged" in one and "it is made again" in one for one in said)


def test_no_changed_byte_gives_another_fold(kept: Kept) -> None:
    """Each byte, as two other ones; what is read all the same is the fold that was written."""
    kept.write(0, TRAIN, TEST, DONE)
    whole = file_of(kept).read_bytes()
    for place in range(len(whole)):
        for flip in (1, 0x20):
            changed = bytearray(whole)
            changed[place] ^= flip
            file_of(kept).write_bytes(changed)
            read = kept.read(0, TRAIN, TEST)
            assert read is None or same(read, DONE), f"byte {place}"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(
        st.sampled_from(["sum", "audit", "y_pred", "history", "split", "machine"]), deeper,
        max_size=6), max_leaves=8).map(lambda one: json.dumps(one).encode()))  # fmt: skip
def test_any_other_content_is_refused(kept: Kept, content: bytes) -> None:
    file_of(kept).parent.mkdir(parents=True, exist_ok=True)
    file_of(kept).write_bytes(content)
    assert kept.read(0, TRAIN, TEST) is None


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (TRAIN[:-1], TEST), (TRAIN, TEST[:-1]), (TRAIN[::-1], TEST), (TEST, TRAIN),
        (np.arange(9), np.arange(9, 12)), (TRAIN, TEST + 1),
    ],
)  # fmt: skip
def test_another_split_is_made_again(kept: Kept, train: np.ndarray, test: np.ndarray) -> None:
    kept.write(0, TRAIN, TEST, DONE)
    assert kept.read(0, train, test) is None
    assert same(kept.read(0, TRAIN.astype(np.int32), TEST), DONE)


@pytest.mark.parametrize("what", folds.machine())
def test_another_machine_makes_it_again(
    kept: Kept, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    kept.write(0, TRAIN, TEST, DONE)
    own = folds.machine()
    monkeypatch.setattr(folds, "machine", lambda: own | {what: "another"})
    assert kept.read(0, TRAIN, TEST) is None
    said = capsys.readouterr().out
    assert f"{what} {own[what]}, now another" in said and said.count("\n") == 1


@pytest.mark.parametrize(("name", "value"), [("OMP_NUM_THREADS", "7"),
                                            ("AFFECTBOOK_PRODUCTS", "onednn"),
                                            ("MKL_NUM_THREADS", "7"),
                                            ("ATEN_CPU_CAPABILITY", "default")])  # fmt: skip
def test_threads_and_products_belong_to_a_machine(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = folds.machine.__wrapped__()
    monkeypatch.setenv(name, value)
    assert folds.machine.__wrapped__() != before


def test_another_key_is_another_fold(kept: Kept) -> None:
    kept.write(0, TRAIN, TEST, DONE)
    assert Kept(kept.run, "f" * 16, kept.what).read(0, TRAIN, TEST) is None


def test_where_it_is_stands_in_the_log(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(progress.DIR, str(kept.run))
    kept.begin(1, 3)
    assert progress.last_step(kept.run) == "net, leave_one_subject_out: fold 2 of 3"


@pytest.mark.parametrize("how", ["a file in its place", "the run is gone"])
def test_a_fold_that_cannot_be_kept_is_one_message(kept: Kept, how: str) -> None:
    if how == "the run is gone":
        kept = Kept(kept.run / "gone", KEY, kept.what)
    else:
        (kept.run / progress.FOLDS).write_text("")
    with pytest.raises(CacheError, match="net, leave_one_subject_out, fold 3") as caught:
        kept.write(2, TRAIN, TEST, DONE)
    assert "same command" in caught.value.do and not (kept.run / "gone").exists()


class Guess(BaseEstimator):
    def __init__(self, depth: object = 1, options: object = None) -> None:
        self.depth, self.options = depth, options


class Other(Guess):
    pass


def double(x: float) -> float:
    return 2 * x


ESTIMATORS: dict[str, Callable[[], object]] = {
    "plain": Guess,
    "another class": Other,
    "another number": lambda: Guess(2),
    "a float": lambda: Guess(1.0),
    "a bool": lambda: Guess(True),
    "text": lambda: Guess("1"),
    "an array": lambda: Guess(np.arange(3)),
    "another type of array": lambda: Guess(np.arange(3, dtype=np.float64)),
    "another shape": lambda: Guess(np.arange(3)[None]),
    "a mapping": lambda: Guess(options={"a": 1}),
    "another mapping": lambda: Guess(options={"a": 2}),
    "an estimator inside": lambda: Guess(Guess(3)),
    "another one inside": lambda: Guess(Other(3)),
    "a function": lambda: Guess(double),
    "a class": lambda: Guess(Other),
    "a pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "another step": lambda: make_pipeline(StandardScaler(with_mean=False), LogisticRegression()),
    "another model": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.5)),
    "a forest": lambda: RandomForestClassifier(n_estimators=3),
    "nan": lambda: Guess(float("nan")),
}


def test_whatever_differs_has_another_key() -> None:
    keys = {name: folds.key("net", make(), np.zeros(3)) for name, make in ESTIMATORS.items()}
    assert None not in keys.values() and len(set(keys.values())) == len(keys)
    assert keys == {n: folds.key("net", make(), np.zeros(3)) for n, make in ESTIMATORS.items()}


@pytest.mark.parametrize("other", [("net2", 1, np.zeros(3)), ("net", 2, np.zeros(3)),
                                   ("net", 1, np.ones(3)), ("net", 1), (1, "net", np.zeros(3)),
                                   ("net", 1, np.zeros(4))])  # fmt: skip
def test_another_label_number_or_order_has_another_key(other: tuple) -> None:
    assert folds.key("net", 1, np.zeros(3)) != folds.key(*other)


def local() -> Callable:
    def inner(x: float) -> float:
        return x

    return inner


@pytest.mark.parametrize(
    "nameless",
    [
        lambda x: x, partial(double, 1), local(), Guess(1).get_params, object(), {1, "a"},
        Path("there"), np.random.default_rng(0), np.array([object()]), np.array(["a"], object),
        1j, b"bytes", iter(()),
    ],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_what_cannot_be_told_from_its_kind_has_no_key(nameless: object) -> None:
    """Nothing is kept under it: it could be taken for another."""
    assert folds.key(nameless) is None
    assert folds.key("net", Guess(options={"deep": [nameless]})) is None
    assert folds.key(make_pipeline(FunctionTransformer(double), Guess(nameless))) is None


def test_what_a_notebook_defines_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code may change from one attempt to the next, and is in no key."""
    monkeypatch.setattr(Guess, "__module__", "__main__")
    monkeypatch.setattr(double, "__module__", "__main__")
    assert folds.key(Guess()) is None and folds.key(double) is None and folds.key(Guess) is None


def test_numbers_of_numpy_are_numbers() -> None:
    assert folds.key(np.float64(0.5), np.int64(3)) == folds.key(0.5, 3)


def test_a_key_is_the_same_in_another_process() -> None:
    """As the order of a set of text is not: a key holds from one run to the next."""
    code = (
        "from affectbook import folds\nfrom sklearn.linear_model import LogisticRegression\n"
        "told = 'net', {'b': 1, 'a': (2.5, None)}, {'x', 'y', 'z'}, LogisticRegression(C=0.5)\n"
    )
    here: dict[str, object] = {}
    exec(code, here)
    there = subprocess.run(
        [sys.executable, "-c", f"{code}print(folds.key(*told))"],
        env=os.environ | {"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert there.stdout.strip() == folds.key(*here["told"])
