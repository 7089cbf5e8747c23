"""Attempts at a run: what they take over, what they leave, and what they say meanwhile."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from affectbook import attempt, execute, progress
from affectbook.errors import CacheError, RunError

KEY = "0123456789ab"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / f".unfinished-{KEY}"


def keep_fold(folder: Path, number: int = 0) -> Path:
    path = folder / progress.FOLDS / "some key" / f"fold-{number:03d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


def interrupted(folder: Path, *, forced: bool = False, folds: int = 2) -> list[dict]:
    """Let an attempt be interrupted, and return the attempts that the next one finds."""
    with pytest.raises(KeyboardInterrupt), attempt.attempt(folder, KEY, forced=forced) as made:
        for number in range(folds):
            keep_fold(folder, number)
        raise KeyboardInterrupt
    return made.before


def test_its_kernel_knows_where_and_under_which_key(folder: Path) -> None:
    with attempt.attempt(folder, KEY):
        assert progress.folder() == folder and folder.is_dir()
        assert os.environ[attempt.KEY] == KEY
    assert progress.folder() is None and attempt.KEY not in os.environ
    with attempt.attempt(folder):
        assert attempt.KEY not in os.environ


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RunError])
def test_what_ends_before_a_fold_leaves_nothing(folder: Path, error: type) -> None:
    with pytest.raises(error), attempt.attempt(folder, KEY):
        (folder / "scores.csv").write_text("half")
        raise error
    assert not folder.exists() and progress.folder() is None


def test_what_has_a_fold_goes_on_with_it(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert interrupted(folder) == []
    assert capsys.readouterr().out == ""
    with attempt.attempt(folder, KEY) as made:
        assert len(made.before) == 1 and made.before[0]["started"]
        assert len(list(folder.rglob("fold-*.json"))) == 2
        attempts = made.usage()["attempts"]
    assert capsys.readouterr().out == (
        "Going on: 2 folds were finished before it was interrupted.\n"
    )
    assert [set(one) for one in attempts] == [{"started", "seconds"}, {"seconds"}]


def test_of_an_attempt_before_only_folds_count(folder: Path) -> None:
    """Not its tables, which this one might not write, nor what had no name yet."""
    interrupted(folder)
    left = ["scores.csv", "data.json", "notebook.ipynb", ".running-notebook.ipynb", ".x1.csv"]
    for name in left:
        (folder / name).write_text("of before")
    (folder / progress.FOLDS / "some key" / ".half.json").write_text("{")
    (folder / "weights").mkdir()
    (folder / "weights" / "fold-000.safetensors").write_text("of a fold that is kept")
    with attempt.attempt(folder, KEY):
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*")
                 if path.is_file()}  # fmt: skip
    assert there == {
        "attempts.json", "folds/some key/fold-000.json", "folds/some key/fold-001.json",
        "weights/fold-000.safetensors",
    }  # fmt: skip


def test_time_before_an_interruption_counts(folder: Path) -> None:
    """Up to the last file that it wrote: nobody knows more of a process that was killed."""
    interrupted(folder)
    begun = datetime.now(UTC) - timedelta(hours=2)
    told = [{"started": begun.isoformat(timespec="seconds"), "seconds": 0.0}]
    (folder / attempt.ATTEMPTS).write_text(json.dumps(told))
    for path in folder.rglob("*"):
        os.utime(path, (begun.timestamp() + 600, begun.timestamp() + 600))
    with attempt.attempt(folder, KEY) as made:
        assert made.before[0]["seconds"] == pytest.approx(600, abs=2)
        assert 600 <= made.seconds + 2 < 660


@pytest.mark.parametrize("content", ["", "[", "[]", "{}", "[1]", '[{"seconds": 1}]', "null",
                                     '[{"started": "x"}]', '[{"started": 3}]'])  # fmt: skip
def test_a_damaged_list_of_attempts_costs_no_fold(folder: Path, content: str) -> None:
    interrupted(folder)
    (folder / attempt.ATTEMPTS).write_text(content)
    with attempt.attempt(folder, KEY) as made:
        assert made.before == [] and len(list(folder.rglob("fold-*.json"))) == 2


def test_from_the_start_means_from_the_start_and_goes_on_too(folder: Path) -> None:
    interrupted(folder)
    assert interrupted(folder, forced=True, folds=1) == []
    assert len(list(folder.rglob("fold-*.json"))) == 1
    before = interrupted(folder, forced=True, folds=0)
    assert len(before) == 1 and before[0]["forced"]
    assert len(list(folder.rglob("fold-*.json"))) == 1
    (folder / attempt.ATTEMPTS).unlink()
    assert interrupted(folder, forced=True, folds=0) == []
    assert not folder.exists()


def test_a_finished_run_gets_its_name_and_loses_what_was_for_resuming(folder: Path) -> None:
    final = folder.with_name(KEY)
    for content in ("first", "second"):
        with attempt.attempt(folder, KEY):
            keep_fold(folder)
            (folder / progress.LOG).write_text("")
            (folder / "scores.csv").write_text(content)
            attempt.finish(folder, final)
        assert [path.name for path in final.iterdir()] == ["scores.csv"]
        assert (final / "scores.csv").read_text() == content
        assert [path.name for path in final.parent.iterdir()] == [KEY]


@pytest.mark.parametrize("stop_at", range(3))
def test_a_finish_that_is_killed_can_be_put_right(
    folder: Path, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of that name was there: at any rename, the new one is whole somewhere."""
    final, replace, calls = folder.with_name(KEY), Path.replace, []
    final.mkdir(parents=True)
    (final / "scores.csv").write_text("old")
    keep_fold(folder)
    (folder / "scores.csv").write_text("new")

    def killed(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) > stop_at:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        patch.setattr(attempt, "tidy", lambda _: killed(final, final))
        with pytest.raises(KeyboardInterrupt):
            attempt.finish(folder, final)
    if folder.exists():
        assert (folder / "scores.csv").read_text() == "new" and list(folder.rglob("fold-*.json"))
        attempt.finish(folder, final)
    else:
        attempt.tidy(final)
    assert (final / "scores.csv").read_text() == "new"
    assert [path.name for path in final.iterdir()] == ["scores.csv"]
    assert [path.name for path in final.parent.iterdir()] == [KEY]


def test_what_a_disk_says_is_one_message(folder: Path) -> None:
    with pytest.raises(CacheError, match="the results of a run could not be kept") as caught:
        with attempt.attempt(folder, KEY):
            keep_fold(folder)
            raise OSError(28, "No space left on device", "page.html")
    assert caught.value.found == "No space left on device" and caught.value.file == "page.html"
    assert "same command" in caught.value.do and list(folder.rglob("fold-*.json"))
    shutil.rmtree(folder.parent)
    folder.parent.write_text("not a folder")
    with pytest.raises(CacheError), attempt.attempt(folder, KEY):
        pytest.fail("it was begun")


def test_a_better_message_is_kept(folder: Path) -> None:
    with pytest.raises(CacheError, match="^of a fold$"), attempt.attempt(folder, KEY):
        raise CacheError("of a fold")


def test_it_shows_what_is_said_and_tells_a_failure_where_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    told = []

    def fail(*given: object) -> None:
        where = given[-1]
        told.append(where())
        progress.step("net, group_kfold_subject: fold 2 of 3")
        with (folder / progress.LOG).open("a") as log:
            log.write("! it may take long\n")
        told.append(where())
        raise RunError

    monkeypatch.setattr(execute, "execute", fail)
    monkeypatch.delenv(attempt.QUIET, raising=False)
    with pytest.raises(RunError), attempt.attempt(folder, KEY) as made:
        made.execute(Path("a"), Path("b"), Path("c"))
    assert told[0] == "" and "net, group_kfold_subject: fold 2 of 3" in told[1]
    assert told[1].endswith("The same command goes on there.")
    assert capsys.readouterr().out == "it may take long\n"


def test_it_says_nothing_where_it_is_one_of_many(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv(attempt.QUIET, "1")
    monkeypatch.setattr(
        execute, "execute", lambda *_: (folder / progress.LOG).write_text("! aloud\n")
    )
    with attempt.attempt(folder, KEY) as made:
        made.execute(Path("a"), Path("b"), Path("c"))
    assert capsys.readouterr().out == ""


def test_memory_and_time_of_its_processes_are_counted(folder: Path) -> None:
    with attempt.attempt(folder, KEY) as made:
        used = made.usage()
    assert used["cpu_seconds"] >= 0 and used["peak_memory_mb"] >= 0
    assert used["attempts"] == [{"seconds": used["attempts"][0]["seconds"]}]
