"""What a run says: to the terminal, to its log, and to who asks where it died."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectbook import progress

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(progress.DIR, str(tmp_path))
    return tmp_path


def test_outside_a_run_a_line_is_only_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for unset in (lambda: monkeypatch.delenv(progress.DIR, raising=False),
                  lambda: monkeypatch.setenv(progress.DIR, "")):  # fmt: skip
        unset()
        assert progress.folder() is None
        progress.say("aloud")
        progress.step("quietly")
        assert capsys.readouterr().out == "aloud\n"


def test_the_driver_shows_what_was_said_and_knows_the_last_step(
    run: Path, capsys: pytest.CaptureFixture
) -> None:
    assert progress.lines(run) == ([], 0) and progress.last_step(run) is None
    progress.say("it may take long")
    assert progress.last_step(run) is None
    progress.step("net, group_kfold_subject: fold 1 of 3")
    progress.step("net, group_kfold_subject: fold 2 of 3")
    progress.say("slower than thought")
    assert progress.last_step(run) == "net, group_kfold_subject: fold 2 of 3"
    found, _ = progress.lines(run)
    assert [text for shown, text in found if shown] == ["it may take long", "slower than thought"]
    assert capsys.readouterr().out == "it may take long\nslower than thought\n"


def test_lines_are_read_once_and_only_whole(run: Path) -> None:
    progress.step("one")
    found, position = progress.lines(run)
    assert found == [(False, "one")]
    with (run / progress.LOG).open("ab") as log:
        log.write("! hälf".encode()[:-3])
    assert progress.lines(run, position) == ([], position)
    with (run / progress.LOG).open("ab") as log:
        log.write("! hälf\n".encode()[-4:])
    assert progress.lines(run, position)[0] == [(True, "hälf")]


@given(said=st.lists(st.tuples(st.booleans(), TEXT), max_size=6))
def test_each_thing_said_is_one_line_whatever_is_in_it(
    said: list[tuple[bool, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(progress.DIR, str(run))
        for aloud, text in said:
            (progress.say if aloud else progress.step)(text)
    found, position = progress.lines(run)
    assert found == [(aloud, " ".join(text.splitlines())) for aloud, text in said]
    assert progress.lines(run, position) == ([], position)


def test_a_log_that_cannot_be_written_stops_no_work(run: Path) -> None:
    (run / progress.LOG).mkdir()
    progress.step("one")
    assert progress.lines(run) == ([], 0)


def test_a_folder_that_is_gone_is_not_made_again(run: Path) -> None:
    run.rmdir()
    progress.step("one")
    assert not run.exists() and progress.last_step(run) is None
