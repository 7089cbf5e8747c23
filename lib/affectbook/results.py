"""Score rows -> intervals over subjects, and their files. Nothing here needs data or torch."""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from affectbook import sealed
from affectbook.errors import DataFileError, ParameterError
from affectbook.files import project_root, write_atomic
from affectbook.scoring import (
    CONTEXT,
    METRICS,
    SCORE_COLUMNS,
    accuracy,
    balanced_accuracy,
    macro_f1,
    score_rows,
)

__all__ = ["CONTEXT", "METRICS", "SCORE_COLUMNS", "accuracy", "balanced_accuracy", "macro_f1",
           "score_rows"]  # fmt: skip
FEWEST_SUBJECTS = 5
N_BOOT = 4000


def overall(rows: pd.DataFrame, metric: str) -> float:
    """Return the score over all folds and subjects of one experiment."""
    return float(select(rows, fold="all", subject="all", metric=metric)["value"].mean())


def _by_seed(rows: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Return subjects, and confusion matrices ``(n_seeds, n_subjects, true, predicted)``.

    A seed that did not test a subject has zeros there.
    """
    cells = rows[rows["metric"].str.startswith("confusion[")]
    n_outputs = int(round(np.sqrt(cells["metric"].nunique())))
    order = [f"confusion[{t},{p}]" for t, p in np.ndindex(n_outputs, n_outputs)]
    seed, seeds = pd.factorize(cells["seed"], sort=True)
    subject, subjects = pd.factorize(cells["subject"], sort=True)
    shape = len(seeds), len(subjects), len(order)
    where = seed, subject, pd.Categorical(cells["metric"], order).codes
    counts = np.bincount(np.ravel_multi_index(where, shape), cells["value"], np.prod(shape))
    return [str(name) for name in subjects], counts.reshape(*shape[:2], n_outputs, n_outputs)


def confusions(rows: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Return subjects, and their confusion matrices ``(n_subjects, true, predicted)``.

    Several seeds of one experiment are added up. No score of coins is to be taken of that: each
    seed tosses its own, and the sum tells seeds with more heads from seeds with fewer.
    """
    subjects, tables = _by_seed(rows)
    return subjects, tables.sum(0)


def one_answer(rows: pd.DataFrame) -> tuple[int, int]:
    """Return how many subjects get one and the same answer for all windows, and of how many."""
    tables = confusions(rows)[1]
    return int(((tables.sum(1) > 0).sum(1) == 1).sum()), len(tables)


class Interval(NamedTuple):
    """A score and its 95 % interval; `low` and `high` are NaN with fewer than five subjects."""

    value: float
    low: float
    high: float
    n_subjects: int

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "–"
        text = f"{100 * self.value:.1f} %"
        if np.isnan(self.low):
            return f"{text} ({self.n_subjects} subjects: no interval)"
        return f"{text} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@lru_cache(maxsize=8)
def _draws(n_subjects: int, n_boot: int, seed: int) -> np.ndarray:
    """Return how often each subject is drawn ``(n_boot, n_subjects)``; not to be written to."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), n_boot)


def _mean_of_seeds(tables: np.ndarray, metric: str) -> np.ndarray:
    """Return the mean score of the seeds that tested anything.

    `tables` are ``(..., n_seeds, true, predicted)``; what is returned is ``(...)``.
    """
    tested = tables.any((-2, -1))
    scores = np.zeros(tested.shape)
    scores[tested] = METRICS[metric](tables[tested])
    return scores.mean(-1, where=tested)


def _bootstrap(metric: str, seed: int, *sides: np.ndarray) -> Interval:
    """Return the score of the first side, less that of the second one if there is one.

    Each side is ``(n_seeds, n_subjects, true, predicted)``, with the same subjects in one order.
    """
    n_subjects = sides[0].shape[1]
    if not n_subjects:
        return Interval(np.nan, np.nan, np.nan, 0)

    def score(draws: np.ndarray) -> np.ndarray:
        drawn = [np.tensordot(draws, tables, axes=(1, 1)) for tables in sides]
        scores = np.subtract.reduce([_mean_of_seeds(tables, metric) for tables in drawn])
        # The last bit, which the order of sums decides, must not decide a digit that is shown.
        return scores.round(12)

    value = float(score(np.ones((1, n_subjects)))[0])
    if n_subjects < FEWEST_SUBJECTS:
        return Interval(value, np.nan, np.nan, n_subjects)
    low, high = np.nanpercentile(score(_draws(n_subjects, N_BOOT, seed)), [2.5, 97.5])
    return Interval(value, float(low), float(high), n_subjects)


def interval(rows: pd.DataFrame, metric: str = "balanced_accuracy", seed: int = 0) -> Interval:
    """Bootstrap a score over subjects: windows of one subject are not independent.

    Subjects are drawn with replacement, once for all seeds; of each seed their confusion matrices
    are added up and the metric taken of the sum; then the mean over seeds. 2.5 and 97.5 percentiles
    of 4000 draws. Seeds are not added up before: on coins they differ in how many windows a class
    has, and a model with one answer would be told from chance by that alone.

    A seed is scored on the subjects that it tested, and each counts the same however many these
    are. In a draw that has none of its subjects it does not count.

    Parameters
    ----------
    rows
        Score rows of one experiment (any number of seeds).
    metric
        A key of `METRICS`.
    seed
        Of the bootstrap.
    """
    if rows.empty:
        return Interval(np.nan, np.nan, np.nan, 0)
    return _bootstrap(metric, seed, _by_seed(rows)[1])


def difference(
    left: pd.DataFrame, right: pd.DataFrame, metric: str = "balanced_accuracy", seed: int = 0
) -> Interval:
    """Bootstrap left minus right over the subjects that both have, paired by subject.

    Seeds are treated as in `interval`, each side's for itself: a subject is shared if any seed of
    either side tested it.
    """
    if left.empty or right.empty:
        return Interval(np.nan, np.nan, np.nan, 0)
    sides = [_by_seed(rows) for rows in (left, right)]
    shared = sorted(set(sides[0][0]) & set(sides[1][0]))
    own = [tables[:, [who.index(s) for s in shared]] for who, tables in sides]
    return _bootstrap(metric, seed, *own)


def select(rows: pd.DataFrame, **where: object) -> pd.DataFrame:
    """Return the rows with these values in these columns."""
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def write_rows(rows: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV, atomically; numbers have ten digits. A name in .gz is compressed."""

    def write(temporary: Path) -> None:
        text = rows.to_csv(index=False, float_format="%.10g").encode()
        # Neither a time nor the temporary name: the same rows give the same bytes.
        temporary.write_bytes(gzip.compress(text, mtime=0) if temporary.suffix == ".gz" else text)

    return write_atomic(Path(path), write)


def read_rows(path: Path) -> pd.DataFrame:
    """Read score rows, if they are those that were written.

    Raises
    ------
    DataFileError
        If the file does not have the columns of a score row, or its sum in the provenance beside
        it is another one; a recorded table without a sum is refused as well.
    """
    path = Path(path)
    if path.resolve().parent.parent == recorded_folder().resolve():
        sealed.require(path.parent)
    else:
        sealed.check(path)
    return _read(path)


def _read(path: Path) -> pd.DataFrame:
    text = dict.fromkeys(["fold", "subject", "run_key", "variant", "estimator"], str)
    rows = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"value": ["", "nan"]})
    if list(rows.columns) != SCORE_COLUMNS:
        raise DataFileError(
            "this is not a table of scores",
            file=path,
            field="columns",
            found=list(rows.columns),
            expected=SCORE_COLUMNS,
            do="record the run again with make record",
        )
    return rows


def recorded_folder() -> Path:
    """Return the folder that holds one folder for each record."""
    return project_root() / "results" / "recorded"


def recorded(paper: str | None = None, folder: Path | None = None) -> pd.DataFrame:
    """Return the score rows of the book's own records: those of sweeps.

    Their folder name is in column ``record``. Runs that readers recorded are not among them.

    Parameters
    ----------
    paper
        Only this paper's; None for all.
    folder
        ``results/recorded`` of the checkout unless given.

    Raises
    ------
    DataFileError
        If anything in any record is not what was recorded.
    """
    return _all(paper, folder, own=True)


def readers(paper: str | None = None, folder: Path | None = None) -> pd.DataFrame:
    """Return the score rows of the runs that readers recorded, otherwise as `recorded`."""
    return _all(paper, folder, own=False)


def _all(paper: str | None, folder: Path | None, own: bool) -> pd.DataFrame:
    parts = []
    for place in sealed.folders(folder or recorded_folder()):
        told = sealed.require(place)
        if ("sweep" in told) == own:
            # What has no sum, such as a scores.csv.xz, is no table of the record.
            parts += [_read(place / name).assign(record=place.name) for name in told["files"]
                      if name.startswith("scores.csv")]  # fmt: skip
    if not parts:
        return pd.DataFrame(columns=[*SCORE_COLUMNS, "record"])
    rows = pd.concat(parts, ignore_index=True)
    return rows if paper is None else select(rows, paper=paper)


def merge(recorded: pd.DataFrame, run: pd.DataFrame) -> pd.DataFrame:
    """Return recorded rows and those of a run under one another; both may be empty."""
    # An empty table has no types, and would take those of the other one away.
    parts = [part for part in (recorded, run) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else run


def provenance(record: str, folder: Path | None = None) -> dict:
    """Return what is known of how a recorded run was made.

    Raises
    ------
    DataFileError
        If the record is not what was recorded.
    """
    return sealed.require((folder or recorded_folder()) / record)


def histories(record: str, folder: Path | None = None) -> pd.DataFrame:
    """Return the training curves of a recorded sweep; none if it has none.

    Raises
    ------
    DataFileError
        If the record is not what was recorded.
    """
    place = (folder or recorded_folder()) / record
    path = place / "histories.csv.gz"
    if place.is_dir():
        sealed.require(place)
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


_EXPERIMENT = ["run_key", "estimator", "variant", "protocol", "placebo"]
_ITS_CONTEXT = ["dataset", "tier", "scale", "target", "label_rule", "seconds", "seed"]


def predictions(record: str, folder: Path | None = None) -> pd.DataFrame:
    """Return the predictions of a record, one row per test window and fold; none if it has none.

    Columns are fold, subject, session, trial, window, y_true, y_pred, those that tell one
    experiment of the record from another (run_key, estimator, variant, protocol, placebo), and what
    its scores say of it besides: dataset, tier, scale, target, label_rule, seconds, seed.

    Raises
    ------
    DataFileError
        If the record is not what was recorded.
    """
    place = (folder or recorded_folder()) / record
    path = place / "predictions.csv.gz"
    if place.is_dir():
        sealed.require(place)
    if not path.is_file():
        return pd.DataFrame()
    text = ["subject", "session", "trial", "estimator", "variant", "run_key"]
    rows = pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False)
    context = _read(place / "scores.csv.gz")[_EXPERIMENT + _ITS_CONTEXT].drop_duplicates()
    # Analyses that name the data set of their predictions leave it empty for the others.
    rows = rows.drop(columns=_ITS_CONTEXT, errors="ignore")
    return rows.merge(context, "left", _EXPERIMENT, validate="many_to_one")


def permutation_band(
    predictions: pd.DataFrame, metric: str = "balanced_accuracy", n: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return what luck does with these predictions: 2.5 and 97.5 percentiles of the score.

    True labels are permuted among the trials of each subject; the windows of a trial keep one
    label, as they do not count for themselves. Several seeds of one experiment, told apart by
    their run_key, get the same permutation each, and their scores are averaged. Where a stimulus
    has one label for everybody, subjects err alike, and luck can do more than this.

    Parameters
    ----------
    predictions
        Of one experiment, with columns subject, session, trial, y_true, y_pred and, of several
        seeds, run_key.
    metric
        A key of `METRICS`.
    n
        Permutations.
    seed
        Of the permutations.

    Returns
    -------
    tuple of float
        NaN for both where nothing was predicted.

    Raises
    ------
    ParameterError
        If a trial has two labels: these are predictions of several experiments.
    """
    if predictions.empty:
        return np.nan, np.nan
    n_outputs = int(predictions[["y_true", "y_pred"]].max().max()) + 1
    runs = predictions.groupby("run_key") if "run_key" in predictions else [("", predictions)]
    tables = np.stack([_permuted(rows, n_outputs, n, seed) for _, rows in runs], axis=1)
    low, high = np.nanpercentile(_mean_of_seeds(tables, metric), [2.5, 97.5])
    return float(low), float(high)


def _permuted(rows: pd.DataFrame, n_outputs: int, n: int, seed: int) -> np.ndarray:
    """Return the confusion matrices ``(n, true, predicted)`` of a run under permuted labels."""
    # Sorted by subject, so that the trials of one stand together.
    trials = rows.groupby(["subject", "session", "trial"], sort=True)
    labels, own = trials["y_true"].agg(["first", "nunique"]), trials.ngroup().to_numpy()
    if labels["nunique"].max() > 1:
        raise ParameterError(
            f"trial {' '.join(map(str, labels['nunique'].idxmax()))} (subject, session, trial) has "
            "two labels: these are predictions of several experiments; select one"
        )
    true, size = labels["first"].to_numpy(), len(labels) * n_outputs
    answers = np.bincount(own * n_outputs + rows["y_pred"].to_numpy(), minlength=size)
    subjects = pd.factorize(labels.index.get_level_values("subject"))[0]
    # Each draw lies between the number of its subject and the next one: sorting stays within.
    drawn = subjects + np.random.default_rng(seed).random((n, len(true)))
    permuted, answers = true[np.argsort(drawn, axis=1)], answers.reshape(-1, n_outputs)
    return np.stack([(permuted == label) @ answers for label in range(n_outputs)], axis=1)
