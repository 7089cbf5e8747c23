"""Score rows and intervals: metrics as scikit-learn has them, subjects as the unit."""

from __future__ import annotations

import io
import json
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import CONTEXT, like_everyone, predictions_of, scores_of, spread_out
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from affectbook import files, results, sealed
from affectbook.errors import DataFileError, ParameterError

GOLDEN = """\
fold,subject,metric,value,n_test_windows,n_test_trials
0,all,accuracy,0.75,4,2
0,all,balanced_accuracy,0.75,4,2
0,all,macro_f1,0.7333333333,4,2
1,all,accuracy,0.5,2,1
1,all,balanced_accuracy,0.5,2,1
1,all,macro_f1,0.3333333333,2,1
all,00,accuracy,0.75,4,2
all,00,balanced_accuracy,0.75,4,2
all,00,"confusion[0,0]",2,4,2
all,00,"confusion[0,1]",0,4,2
all,00,"confusion[1,0]",1,4,2
all,00,"confusion[1,1]",1,4,2
all,00,macro_f1,0.7333333333,4,2
all,01,accuracy,0.5,2,1
all,01,balanced_accuracy,0.5,2,1
all,01,"confusion[0,0]",1,2,1
all,01,"confusion[0,1]",1,2,1
all,01,"confusion[1,0]",0,2,1
all,01,"confusion[1,1]",0,2,1
all,01,macro_f1,0.3333333333,2,1
all,all,accuracy,0.6666666667,6,3
all,all,balanced_accuracy,0.625,6,3
all,all,macro_f1,0.625,6,3
"""


def answers(n_outputs: int = 4, most: int = 40) -> st.SearchStrategy:
    label = st.integers(0, n_outputs - 1)
    return st.lists(st.tuples(label, label), min_size=1, max_size=most)


@settings(max_examples=150, deadline=None)
@given(pairs=answers())
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_metrics_are_those_of_scikit_learn(pairs) -> None:
    true, predicted = np.array(pairs).T
    table = confusion_matrix(true, predicted, labels=range(4))
    assert results.accuracy(table) == pytest.approx(accuracy_score(true, predicted))
    assert results.balanced_accuracy(table) == pytest.approx(
        balanced_accuracy_score(true, predicted)
    )
    assert results.macro_f1(table) == pytest.approx(f1_score(true, predicted, average="macro"))


@settings(max_examples=30, deadline=None)
@given(tables=arrays(int, (5, 3, 3), elements=st.integers(1, 9)))
def test_metrics_take_many_tables_at_once(tables) -> None:
    for metric in results.METRICS.values():
        assert np.allclose(metric(tables), [metric(table) for table in tables])


def test_a_metric_of_nothing_is_not_a_number() -> None:
    assert np.isnan(results.accuracy(np.zeros((2, 2), int)))


@settings(max_examples=40, deadline=None)
@given(pairs=answers(3), data=st.data())
def test_score_rows_agree_with_the_predictions(pairs, data) -> None:
    true, predicted = np.array(pairs).T
    frame = pd.DataFrame(
        {
            "fold": data.draw(arrays(int, len(pairs), elements=st.integers(0, 2))),
            "subject": data.draw(arrays(int, len(pairs), elements=st.integers(0, 3))).astype(str),
            "session": "1",
            "trial": data.draw(arrays(int, len(pairs), elements=st.integers(0, 2))).astype(str),
            "window": range(len(pairs)),
            "y_true": true,
            "y_pred": predicted,
        }
    )
    rows = results.score_rows(frame, CONTEXT, n_outputs=3, seed=0)
    accuracies = rows[rows["metric"] == "accuracy"].set_index(["fold", "subject"])
    right = frame["y_true"] == frame["y_pred"]
    assert accuracies.loc[("all", "all"), "value"] == pytest.approx(right.mean())
    for subject, part in frame.groupby("subject"):
        row = accuracies.loc[("all", subject)]
        assert row["value"] == pytest.approx(right[part.index].mean())
        assert row["n_test_windows"] == len(part)
        assert row["n_test_trials"] == part["trial"].nunique()
    for fold, part in frame.groupby("fold"):
        assert accuracies.loc[(str(fold), "all"), "value"] == pytest.approx(
            right[part.index].mean()
        )
    subjects, tables = results.confusions(rows)
    assert subjects == sorted(frame["subject"].unique())
    assert np.array_equal(tables.sum(0), confusion_matrix(true, predicted, labels=range(3)))


def test_rows_are_those_that_were_written_down() -> None:
    frame = predictions_of({"00": [[2, 0], [1, 1]], "01": [[1, 1], [0, 0]]}, trials_of=2)
    frame.loc[frame["subject"] == "01", "trial"] = "trial-0"
    rows = results.score_rows(frame, CONTEXT, n_outputs=2, seed=3)
    order = ["fold", "subject", "metric"]
    golden = pd.read_csv(io.StringIO(GOLDEN), dtype={"fold": str, "subject": str})
    found = rows[golden.columns].sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(found, golden.sort_values(order, ignore_index=True), atol=1e-9)


def test_rows_are_complete() -> None:
    rows = scores_of(like_everyone(3, 0.7), seed=4, variant="")
    assert list(rows.columns) == results.SCORE_COLUMNS
    assert set(rows.columns) == {*CONTEXT, "fold", "seed", "subject", "metric", "value",
                                 "n_test_windows", "n_test_trials", "run_key"}  # fmt: skip
    assert rows.notna().all(axis=None) and set(rows["seed"]) == {4}
    assert all((rows[name] == value).all() for name, value in (CONTEXT | {"variant": ""}).items())
    keys = ["fold", "subject", "metric"]
    assert not rows.duplicated(keys).any()
    assert set(rows["metric"]) == {*results.METRICS} | {
        f"confusion[{t},{p}]" for t in (0, 1) for p in (0, 1)
    }


def test_the_context_has_to_be_complete() -> None:
    context = {name: value for name, value in CONTEXT.items() if name != "tier"}
    with pytest.raises(KeyError, match="tier"):
        results.score_rows(predictions_of(like_everyone(2, 0.5)), context, n_outputs=2, seed=0)


def test_the_overall_score_is_that_of_all_windows() -> None:
    rows = scores_of({"a": [[9, 1], [0, 0]], "b": [[0, 0], [5, 5]]})
    assert results.overall(rows, "accuracy") == pytest.approx(0.7)
    assert results.overall(rows, "balanced_accuracy") == pytest.approx(0.7)
    assert np.isnan(results.overall(results.select(rows, paper="none"), "accuracy"))


@settings(max_examples=30, deadline=None)
@given(
    tables=st.lists(arrays(int, (2, 2), elements=st.integers(0, 9)), min_size=5, max_size=12),
    metric=st.sampled_from(list(results.METRICS)),
)
def test_an_interval_holds_its_value_mostly_and_stays_between_0_and_1(tables, metric) -> None:
    tables = {f"S{i:02d}": table + np.eye(2, dtype=int) for i, table in enumerate(tables)}
    score = results.interval(scores_of(tables), metric)
    assert 0 <= score.low <= score.high <= 1 and score.n_subjects == len(tables)
    assert score.value == pytest.approx(results.METRICS[metric](np.sum(list(tables.values()), 0)))
    assert score.low - 0.02 <= score.value <= score.high + 0.02


def test_an_interval_shrinks_with_more_subjects() -> None:
    widths = [results.interval(scores_of(spread_out(n, 0.4, 0.9))).half_width for n in (6, 24, 96)]
    assert widths[0] > 1.5 * widths[1] > 2.25 * widths[2] > 0


def test_an_interval_is_that_of_the_mean_of_subjects() -> None:
    tables = spread_out(40, 0.3, 0.9)
    score = results.interval(scores_of(tables), "accuracy")
    shares = np.linspace(0.3, 0.9, 40)
    assert score.half_width == pytest.approx(1.96 * shares.std() / np.sqrt(40), rel=0.1)


def test_people_who_are_alike_leave_no_doubt() -> None:
    score = results.interval(scores_of(like_everyone(8, 0.7)))
    assert score.low == score.high == score.value == pytest.approx(0.7)


def test_more_windows_of_the_same_people_are_no_more_people() -> None:
    once, tenfold = (results.interval(scores_of(spread_out(8, 0.4, 0.9, n))) for n in (100, 1000))
    assert tenfold.half_width == pytest.approx(once.half_width, rel=0.03)
    assert tenfold.n_subjects == 8


def test_windows_of_one_subject_counted_again_are_not_another_subject() -> None:
    tables = spread_out(8, 0.4, 0.9)
    again = tables | {"S00": 10 * tables["S00"]}
    assert results.interval(scores_of(again)).n_subjects == 8
    assert results.interval(scores_of(again)).value < results.interval(scores_of(tables)).value


def test_seeds_of_one_experiment_are_one_set_of_subjects() -> None:
    low, high = (scores_of(like_everyone(6, right), seed=i) for i, right in enumerate((0.6, 0.8)))
    both = results.interval(pd.concat([low, high]))
    assert both.n_subjects == 6 and both.value == pytest.approx(0.7)


WHO = ("S0", "S1", "S2", "S3", "S4")


@st.composite
def tables_of_seeds(draw: st.DrawFn, alike: bool) -> list[dict[str, np.ndarray]]:
    """Draw a confusion matrix per subject for each of some seeds.

    If `alike`, all seeds test the same windows, as they do with the labels of a data set; if not,
    each has its own, and lacks some subjects, but for the first.
    """
    counts = arrays(int, (len(WHO), 2), elements=st.integers(1, 9))
    n_windows, found = draw(counts), []
    for seed in range(draw(st.integers(1, 3))):
        n_windows = n_windows if alike else draw(counts)
        hits = draw(arrays(int, (len(WHO), 2), elements=st.integers(0, 9))) % (n_windows + 1)
        tables = [[[h, n - h], [m - g, g]] for (n, m), (h, g) in zip(n_windows, hits, strict=True)]
        kept = WHO if alike or not seed else draw(st.sets(st.sampled_from(WHO), min_size=1))
        found.append({who: np.array(t) for who, t in zip(WHO, tables, strict=True) if who in kept})
    return found


def rows_of_seeds(seeds: list[dict[str, np.ndarray]], **context: object) -> pd.DataFrame:
    return pd.concat([scores_of(tables, seed=i, **context) for i, tables in enumerate(seeds)])


@settings(max_examples=12, deadline=None)
@given(seeds=tables_of_seeds(alike=True), others=tables_of_seeds(alike=True),
       metric=st.sampled_from(["accuracy", "balanced_accuracy"]))  # fmt: skip
def test_on_labels_the_mean_of_seeds_is_the_score_of_their_sum(seeds, others, metric) -> None:
    rows = [rows_of_seeds(one) for one in (seeds, others)]
    added = [scores_of({w: sum(t[w] for t in one) for w in WHO}) for one in (seeds, others)]
    for function, n_sides in ((results.interval, 1), (results.difference, 2)):
        apart, together = (function(*sides[:n_sides], metric) for sides in (rows, added))
        assert apart == pytest.approx(together, abs=2e-12)


@settings(max_examples=20, deadline=None)
@given(seeds=tables_of_seeds(alike=False), metric=st.sampled_from(list(results.METRICS)))
def test_a_score_is_the_mean_of_its_seeds_whoever_they_tested(seeds, metric) -> None:
    rows = rows_of_seeds(seeds, placebo=True)
    score = results.interval(rows, metric)
    assert score.value == pytest.approx(results.overall(rows, metric))
    assert score.n_subjects == len(WHO) and 0 <= score.low <= score.high <= 1


@settings(max_examples=15, deadline=None)
@given(heads=arrays(int, (3, len(WHO)), elements=st.integers(1, 9)), one=st.integers(0, 7))
def test_one_answer_is_at_chance_on_the_coins_of_any_seeds(heads, one) -> None:
    seeds = []
    for seed, own in enumerate(heads):
        table = np.zeros((len(WHO), 2, 2), int)
        table[:, :, one >> seed & 1] = np.column_stack([own, 10 - own])
        seeds.append(dict(zip(WHO, table, strict=True)))
    rows = rows_of_seeds(seeds, estimator="majority", placebo=True)
    assert results.interval(rows)[:3] == (0.5, 0.5, 0.5)
    assert str(results.interval(rows)) == "50.0 % [50.0, 50.0]"
    part = results.select(rows, seed=0)
    assert results.difference(rows, part)[:3] == results.difference(part, rows)[:3] == (0, 0, 0)


def test_a_seed_of_other_subjects_counts_as_much_as_one_of_many() -> None:
    many, strangers = like_everyone(6, 0.6), {"P0": like_everyone(1, 0.8)["S00"]}
    both = results.interval(rows_of_seeds([many, strangers]))
    assert both.n_subjects == 7 and both.value == pytest.approx(0.7)
    # A draw without P0 has no second seed, and nearly every other one has both.
    assert (both.low, both.high) == pytest.approx((0.6, 0.7))
    gap = results.difference(rows_of_seeds([many, strangers]), scores_of(many | strangers))
    assert gap.n_subjects == 7 and gap.value == pytest.approx(0.7 - (6 * 0.6 + 0.8) / 7)
    known = results.difference(rows_of_seeds([many, strangers]), scores_of(many))
    assert known.n_subjects == 6 and known[:3] == (0, 0, 0), "what nobody shares does not count"


def test_an_interval_can_be_drawn_again() -> None:
    rows = scores_of(spread_out(9, 0.4, 0.9))
    assert results.interval(rows) == results.interval(rows)
    assert results.interval(rows, seed=1) != results.interval(rows, seed=2)
    assert results.interval(rows) == results.interval(rows.sample(frac=1, random_state=0))


@pytest.mark.parametrize("n_subjects", [1, 4])
def test_a_few_subjects_have_no_interval(n_subjects) -> None:
    score = results.interval(scores_of(like_everyone(n_subjects, 0.7)))
    assert score.value == pytest.approx(0.7) and score.n_subjects == n_subjects
    assert np.isnan([score.low, score.high, score.half_width]).all()
    assert str(score) == f"70.0 % ({n_subjects} subjects: no interval)"


def test_no_rows_have_no_score() -> None:
    nothing = results.interval(scores_of(like_everyone(3, 0.7)).iloc[:0])
    assert np.isnan(nothing.value) and nothing.n_subjects == 0 and str(nothing) == "–"


def test_an_interval_reads_as_per_cent() -> None:
    assert str(results.Interval(0.756, 0.7, 0.8123, 12)) == "75.6 % [70.0, 81.2]"


def test_a_difference_is_paired_by_subject() -> None:
    left, right = (scores_of(spread_out(12, low, low + 0.4)) for low in (0.5, 0.4))
    gap = results.difference(left, right)
    assert gap.value == pytest.approx(0.1) and gap.n_subjects == 12
    # People differ a lot, but every one of them by the same from left to right.
    assert gap.half_width < 0.01 < results.interval(left).half_width


def test_a_difference_with_a_shuffled_partner_is_wide() -> None:
    up, down = (spread_out(12, *ends) for ends in ((0.5, 0.9), (0.9, 0.5)))
    gap = results.difference(scores_of(up), scores_of(down))
    assert gap.value == pytest.approx(0.0) and gap.half_width > 0.1


def test_a_difference_has_two_signs() -> None:
    left, right = scores_of(spread_out(9, 0.5, 0.9)), scores_of(spread_out(9, 0.6, 0.7))
    one, other = results.difference(left, right), results.difference(right, left)
    assert one.value == pytest.approx(-other.value)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert results.difference(left, left)[:3] == (0, 0, 0)


def test_a_difference_is_over_the_subjects_of_both() -> None:
    tables = like_everyone(9, 0.8)
    fewer = {subject: table for subject, table in tables.items() if subject > "S02"}
    assert results.difference(scores_of(tables), scores_of(fewer)).n_subjects == 6
    few = results.difference(scores_of(tables), scores_of(like_everyone(3, 0.5)))
    assert few.n_subjects == 3 and few.value == pytest.approx(0.3) and np.isnan(few.low)
    strangers = {f"P{i}": table for i, table in enumerate(tables.values())}
    none = results.difference(scores_of(tables), scores_of(strangers))
    assert none.n_subjects == 0 and np.isnan(none.value)
    assert results.difference(scores_of(tables), scores_of(tables).iloc[:0]).n_subjects == 0


def test_rows_survive_writing_and_reading(tmp_path: Path) -> None:
    rows = pd.concat(
        [
            scores_of(spread_out(5, 0.4, 0.9), variant="", placebo=True, run_key="0012e4"),
            scores_of({"01": [[1, 2], [3, 4]]}, variant="published", effect=0.0, overlap=0.5),
        ],
        ignore_index=True,
    )
    back = results.read_rows(results.write_rows(rows, tmp_path / "new" / "scores.csv"))
    pd.testing.assert_frame_equal(back, rows, check_dtype=False, rtol=1e-9)
    assert back["placebo"].dtype == bool
    assert set(back["subject"]) == set(rows["subject"]) and set(back["run_key"]) == {"0012e4", ""}
    assert results.interval(results.select(back, run_key="")) == results.interval(
        results.select(rows, run_key="")
    )


def test_what_is_read_is_written_with_the_same_bytes(tmp_path: Path) -> None:
    first = results.write_rows(scores_of(spread_out(5, 0.4, 0.9)), tmp_path / "first.csv")
    second = results.write_rows(results.read_rows(first), tmp_path / "second.csv")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "wrong", [lambda rows: rows.drop(columns="tier"), lambda rows: rows.assign(extra=1),
              lambda rows: rows[sorted(rows)]],
    ids=["one missing", "one more", "another order"],
)  # fmt: skip
def test_another_table_is_refused(tmp_path: Path, wrong) -> None:
    path = tmp_path / "scores.csv"
    wrong(scores_of(like_everyone(2, 0.5))).to_csv(path, index=False)
    with pytest.raises(DataFileError, match="not a table of scores") as error:
        results.read_rows(path)
    assert "scores.csv" in str(error.value) and "make record" in str(error.value)


def test_recorded_runs_are_read_with_their_names(tmp_path: Path) -> None:
    assert results.recorded(folder=tmp_path).empty
    assert list(results.recorded(folder=tmp_path).columns) == [*results.SCORE_COLUMNS, "record"]
    for name, paper in (("b-run", "hcmnet"), ("a-run", "other")):
        rows = scores_of(like_everyone(2, 0.5), paper=paper)
        results.write_rows(rows, tmp_path / name / "scores.csv")
        sealed.seal(tmp_path / name, {"who": name, "sweep": "x"})
    rows = results.recorded(folder=tmp_path)
    assert list(rows["record"].unique()) == ["a-run", "b-run"]
    assert set(results.recorded("hcmnet", tmp_path)["record"]) == {"b-run"}
    assert results.provenance("a-run", tmp_path)["who"] == "a-run"


def test_runs_of_readers_are_no_records_of_the_book(tmp_path: Path) -> None:
    for name, told in (("own", {"sweep": "x"}), ("reader", {"run_key": "0123"})):
        results.write_rows(scores_of(like_everyone(2, 0.5)), tmp_path / name / "scores.csv.gz")
        sealed.seal(tmp_path / name, told)
    assert set(results.recorded(folder=tmp_path)["record"]) == {"own"}
    assert set(results.readers("hcmnet", tmp_path)["record"]) == {"reader"}
    assert results.readers("other", tmp_path).empty


def test_scores_that_a_run_did_not_write_are_refused(tmp_path: Path) -> None:
    path = results.write_rows(scores_of(like_everyone(2, 0.5)), tmp_path / "scores.csv")
    assert len(results.read_rows(path)), "a run that has not finished has no sums yet"
    sums = {"files": {"scores.csv": files.sha256(path)}}
    (tmp_path / "provenance.json").write_text(json.dumps(sums))
    assert len(results.read_rows(path))
    path.write_text(path.read_text().replace("0.5", "0.9", 1))
    with pytest.raises(DataFileError, match="not what was recorded.*run it again with --force"):
        results.read_rows(path)


def test_a_recorded_table_without_a_sum_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "project_root", lambda: tmp_path)
    folder = results.recorded_folder() / "mine"
    path = results.write_rows(scores_of(like_everyone(2, 0.5)), folder / "scores.csv.gz")
    reads = (lambda: results.read_rows(path), results.recorded, results.readers,
             lambda: results.histories("mine"), lambda: results.provenance("mine"))  # fmt: skip
    for read in reads:
        with pytest.raises(DataFileError, match="git checkout -- results/recorded/mine"):
            read()
    sealed.seal(folder, {"sweep": "x"})
    whole = len(results.read_rows(path))
    pd.read_csv(path).to_csv(folder / "scores.csv.xz", index=False)
    assert whole == len(results.recorded())


def test_recorded_rows_and_those_of_a_run_are_one_table() -> None:
    run = scores_of(like_everyone(2, 0.5)).assign(record="this run")
    nothing = pd.DataFrame(columns=run.columns)
    assert len(results.merge(run, run)) == 2 * len(run)
    for merged in (results.merge(nothing, run), results.merge(run, nothing)):
        pd.testing.assert_frame_equal(merged, run)
    assert results.merge(nothing, nothing).empty


def test_rows_are_selected_by_value() -> None:
    rows = scores_of(like_everyone(2, 0.5))
    assert len(results.select(rows)) == len(rows)
    one = results.select(rows, subject="S01", metric="accuracy")
    assert len(one) == 1 and results.select(rows, paper="none").empty


def test_one_answer_counts_subjects_who_always_get_the_same() -> None:
    tables = {"S0": [[5, 0], [5, 0]], "S1": [[4, 1], [2, 3]], "S2": [[0, 5], [0, 5]]}
    assert results.one_answer(scores_of(tables)) == (2, 3)


def test_compressed_rows_are_read_back_and_are_the_same_bytes_every_time(tmp_path) -> None:
    rows = scores_of(like_everyone(3, 0.7))
    first = results.write_rows(rows, tmp_path / "a" / "scores.csv.gz")
    again = results.write_rows(rows, tmp_path / "b" / "scores.csv.gz")
    assert first.read_bytes() == again.read_bytes()
    for name in ("a", "b"):
        sealed.seal(tmp_path / name, {"sweep": name})
    read = results.recorded(folder=tmp_path)
    assert set(read["record"]) == {"a", "b"} and len(read) == 2 * len(rows)
    assert results.overall(read, "accuracy") == pytest.approx(0.7, abs=0.02)


def test_training_curves_of_a_record_are_read_and_may_be_missing(tmp_path) -> None:
    curves = pd.DataFrame({"epoch": [1, 2], "train_loss": [0.5, 0.25]})
    results.write_rows(curves, tmp_path / "long" / "histories.csv.gz")
    sealed.seal(tmp_path / "long", {"sweep": "x"})
    pd.testing.assert_frame_equal(results.histories("long", tmp_path), curves)
    assert results.histories("short", tmp_path).empty


def test_predictions_of_a_record_say_what_they_are_of(tmp_path: Path) -> None:
    tables = {"01": [[4, 1], [2, 3]], "02": [[1, 4], [0, 5]]}
    scores, answers = [], []
    for key, dataset in (("a1", "eegmat"), ("b2", "drivedb")):
        context = CONTEXT | {"dataset": dataset, "variant": "", "run_key": key}
        own = predictions_of(tables)
        scores.append(results.score_rows(own, context, n_outputs=2, seed=len(scores)))
        names = {name: context[name] for name in results._EXPERIMENT}
        answers.append(own.assign(**names, dataset="" if len(answers) else dataset))
    for frames, name in ((scores, "scores"), (answers, "predictions")):
        results.write_rows(pd.concat(frames), tmp_path / "mine" / f"{name}.csv.gz")
    sealed.seal(tmp_path / "mine", {"sweep": "x"})
    found = results.predictions("mine", tmp_path)
    assert set(found["subject"]) == {"01", "02"} and set(found["variant"]) == {""}
    told = found[["run_key", "dataset", "seed", "tier"]].drop_duplicates().to_numpy().tolist()
    assert told == [["a1", "eegmat", 0, "open"], ["b2", "drivedb", 1, "open"]]
    assert np.array_equal(found["y_pred"], pd.concat(answers)["y_pred"])
    assert results.predictions("no such record", tmp_path).empty
    (tmp_path / "mine" / "predictions.csv.gz").write_bytes(b"other")
    with pytest.raises(DataFileError):
        results.predictions("mine", tmp_path)


def test_every_record_of_the_book_has_its_predictions_read() -> None:
    rows = results.recorded()
    for record in ("hcmnet_twin", "hcmnet_transfer"):
        found = results.predictions(record)
        own = results.select(rows, record=record)
        assert len(found) and found.notna().all(axis=None)
        assert set(found["run_key"]) == set(own["run_key"])
        assert set(found["dataset"]) == set(own["dataset"])


@st.composite
def trials_predicted(draw: st.DrawFn) -> pd.DataFrame:
    """Draw predictions of a few subjects with a few trials of a few windows."""
    label, rows = st.integers(0, 2), []
    for subject in range(draw(st.integers(1, 3))):
        for trial in range(draw(st.integers(1, 3))):
            true = draw(label)
            for window, answer in enumerate(draw(st.lists(label, min_size=1, max_size=3))):
                rows.append((0, f"S{subject}", "1", f"t{trial}", window, true, answer))
    return pd.DataFrame(rows, columns=list(predictions_of({"S": [[1]]})))


def every_permutation(found: pd.DataFrame, metric: str) -> set[float]:
    """Return the scores of all ways to permute labels among the trials of each subject."""
    trials = found.groupby(["subject", "trial"])["y_true"].first()
    own = [list(permutations(part)) for _, part in trials.groupby("subject")]
    scores = set()
    for choice in product(*own):
        labels = dict(zip(trials.index, (one for part in choice for one in part), strict=True))
        true = [labels[key] for key in zip(found["subject"], found["trial"], strict=True)]
        table = np.bincount(3 * np.array(true) + found["y_pred"], minlength=9).reshape(3, 3)
        scores.add(round(float(results.METRICS[metric](table)), 9))
    return scores


@settings(max_examples=40, deadline=None)
@given(found=trials_predicted(), metric=st.sampled_from(sorted(results.METRICS)))
def test_the_band_is_that_of_all_permutations_within_subjects(found, metric) -> None:
    possible = every_permutation(found, metric)
    low, high = results.permutation_band(found, metric, n=400)
    assert min(possible) - 1e-9 <= low <= high <= max(possible) + 1e-9
    one = {round(results.permutation_band(found, metric, 1, seed)[0], 9) for seed in range(20)}
    assert one <= possible, "one permutation is one of them"


@settings(max_examples=40, deadline=None)
@given(found=trials_predicted(), seed=st.integers(0, 9))
def test_the_band_depends_on_no_order_and_on_no_repetition(found, seed) -> None:
    band = results.permutation_band(found, seed=seed)
    assert results.permutation_band(found.sample(frac=1, random_state=seed), seed=seed) == band
    runs = pd.concat([found.assign(run_key=key) for key in "ab"])
    assert results.permutation_band(runs, seed=seed) == band
    assert results.permutation_band(found.assign(subject="P" + found["subject"]), seed=seed) == band


def test_the_band_of_luck_holds_a_lucky_score_and_not_a_good_one() -> None:
    rng, rows = np.random.default_rng(0), []
    for s, t in product(range(20), range(8)):
        rows += [(0, f"S{s}", "1", f"t{t}", w, t % 2, rng.integers(2)) for w in range(5)]
    lucky = pd.DataFrame(rows, columns=list(predictions_of({"S": [[1]]})))
    low, high = results.permutation_band(lucky)
    assert 0.42 < low < 0.5 < high < 0.58
    flat = lucky.assign(y_pred=lucky["trial"].str[1:].astype(int) % 2)  # trials, not windows, count
    wide = results.permutation_band(flat)
    assert wide[1] - wide[0] > 1.8 * (high - low) and wide[1] < 1
    constant = results.permutation_band(lucky.assign(y_pred=1))
    assert constant == (0.5, 0.5)


def test_the_coins_of_each_seed_are_permuted_on_their_own() -> None:
    one = predictions_of({"S0": [[3, 0], [0, 3]]}, trials_of=6)
    one["trial"] = [f"t{i}" for i in range(6)]
    both = pd.concat([one.assign(run_key="a"), one.assign(run_key="b", y_true=1 - one["y_true"])])
    low, high = results.permutation_band(both)
    assert (low, high) == (0.5, 0.5), "what one seed wins, the other one loses"
    tables = {"a": [[0, 4], [0, 2]], "b": [[2, 0], [4, 0]]}  # each has one answer, not the same
    runs = [predictions_of({"S0": t}, trials_of=6).assign(run_key=k) for k, t in tables.items()]
    assert results.permutation_band(pd.concat(runs)) == (0.5, 0.5), "their sum would be a third"
    with pytest.raises(ParameterError, match=r"trial S0 1 t0 .* two labels.*select one"):
        results.permutation_band(both.drop(columns="run_key"))
    assert np.isnan(results.permutation_band(one.iloc[:0])).all()
