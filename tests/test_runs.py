"""The driver: what runs again, what does not, and what a failure leaves behind."""

from __future__ import annotations

import fcntl
import json
import os
import re
from pathlib import Path

import pytest
from tiny_project import CELLS, ROOT, TinyProject

from affectbook import bookbuild, runs
from affectbook.bookbuild import BookFailed, execute_changed


def outputs(tiny: TinyProject) -> str:
    executed = tiny.root / "build" / "executed" / "notebooks" / "tiny.ipynb"
    content = json.loads(executed.read_text())
    return json.dumps([cell.get("outputs") for cell in content["cells"]])


@pytest.fixture(autouse=True)
def own_library(tiny: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tiny.root / "lib"))
    monkeypatch.delenv("AFFECTBOOK_RUN_DIR", raising=False)


def test_only_what_changed_runs_again(tiny: TinyProject) -> None:
    root = tiny.root
    assert execute_changed(root) == ["tiny"]
    assert "value 7" in outputs(tiny)
    assert execute_changed(root) == []

    os.utime(tiny.notebook)
    os.utime(tiny.core)
    (root / "lib" / "affectbook" / "unused.py").write_text("UNUSED = 2\n")
    assert execute_changed(root) == []

    tiny.write_notebook(CELLS, prose="# Tiny\n\nOther words.")
    assert execute_changed(root) == []
    executed = root / "build" / "executed" / "notebooks" / "tiny.ipynb"
    assert "Other words" in executed.read_text()
    assert "value 7" in outputs(tiny)

    tiny.core.write_text("VALUE = 8\n")
    assert execute_changed(root) == ["tiny"]
    assert "value 8" in outputs(tiny)


def test_a_failure_is_kept_and_never_taken_for_a_result(tiny: TinyProject) -> None:
    root = tiny.root
    tiny.write_notebook(["seed: int = 0", "print('so far')", "1 / 0"])
    for _ in range(2):
        with pytest.raises(BookFailed, match=r"cell \[3\]: ZeroDivisionError: division by zero"):
            execute_changed(root)
    assert not list((root / "build" / "executed" / "notebooks").iterdir())
    failed = root / "build" / "failed" / "tiny.ipynb"
    assert "so far" in failed.read_text()

    tiny.write_notebook(["seed: int = 0"])
    assert execute_changed(root) == ["tiny"]
    assert not failed.exists()


def test_a_dead_kernel_is_a_failure(tiny: TinyProject) -> None:
    tiny.write_notebook(["import os", "os._exit(9)"])
    with pytest.raises(BookFailed, match="[Kk]ernel died"):
        execute_changed(tiny.root)
    assert (tiny.root / "build" / "failed" / "tiny.ipynb").exists()


def test_the_executed_notebook_says_nothing_about_the_machine(tiny: TinyProject) -> None:
    execute_changed(tiny.root)
    executed = tiny.root / "build" / "executed" / "notebooks" / "tiny.ipynb"
    text = executed.read_text()
    assert "papermill" not in text
    assert str(tiny.root) not in text


def test_a_notebook_that_is_gone_leaves_the_book(tiny: TinyProject) -> None:
    execute_changed(tiny.root)
    tiny.notebook.unlink()
    assert execute_changed(tiny.root) == []
    assert not list((tiny.root / "build" / "executed" / "notebooks").iterdir())


def test_the_book_command_fails_with_status_1(tiny: TinyProject) -> None:
    tiny.write_notebook(["1 / 0"])
    done = tiny.runs("book")
    assert done.returncode == 1
    assert "tiny failed in cell [1]: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_ends_with_page_scores_and_provenance(tiny: TinyProject) -> None:
    done = tiny.runs("run", "tiny", "-p", "seed", "5")
    assert done.returncode == 0, done.stderr
    (folder,) = (tiny.root / "build" / "runs" / "tiny").iterdir()
    assert re.search(r"tiny +12\.000", done.stdout)
    assert f"build/runs/tiny/{folder.name}/page.html" in done.stdout
    kept = json.loads((folder / "provenance.json").read_text())
    assert kept["parameters"] == {"seed": 5, "mode": "good"}
    assert kept["run_key"] == folder.name
    assert "lib/affectbook/core.py" in kept["code"]
    assert {"commit", "dirty"} <= set(kept["git"])
    assert kept["packages"]["papermill"]
    page = (folder / "page.html").read_text()
    assert "value 12" in page
    assert 'src="http' not in page

    again = tiny.runs("run", "tiny", "-p", "seed", "05")
    assert "finished before" in again.stdout
    tiny.core.write_text("VALUE = 8\n")
    changed = tiny.runs("run", "tiny", "-p", "seed", "5")
    assert "finished before" not in changed.stdout
    assert len(list((tiny.root / "build" / "runs" / "tiny").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["tiny", "-p", "sede", "1"], 2, "did you mean seed?"),
        (["tiny", "-p", "seed", "x"], 2, "expected int, found 'x'"),
        (["tini"], 2, "tiny"),
        ([], 2, "tiny"),
        (["tiny", "-p", "mode", "broken"], 1, "ZeroDivisionError: a cell of the test fails"),
        (["tiny", "-p", "mode", "bad_data"], 2, "DataError: no such data"),
        (["tiny", "-p", "mode", "mute"], 2, "no scores.csv and no predictions.csv"),
    ],
)
def test_a_run_that_cannot_be_leaves_nothing(
    tiny: TinyProject, arguments: list[str], status: int, told: str
) -> None:
    done = tiny.runs("run", *arguments)
    assert done.returncode == status
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    kept = tiny.root / "build" / "runs" / "tiny"
    assert not kept.exists() or not list(kept.iterdir())


def test_real_data_are_looked_for_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    assert runs.main(["run", "hcmnet", "-p", "dataset", "wesad", "-p", "tier", "licensed"]) == 2
    told = capsys.readouterr()
    assert "Running" not in told.out
    assert "WESAD" in told.err and "simulated" in told.err


def test_a_record_is_a_finished_run_under_a_plain_name(tiny: TinyProject) -> None:
    empty = tiny.runs("record", "nowhere", "first")
    assert empty.returncode == 2
    assert "scores.csv" in empty.stderr
    tiny.runs("run", "tiny")
    (folder,) = (tiny.root / "build" / "runs" / "tiny").iterdir()
    assert tiny.runs("record", str(folder), "../x").returncode == 2
    assert tiny.runs("record", str(folder), "first").returncode == 0
    kept = tiny.root / "results" / "recorded" / "first"
    assert {path.name for path in kept.iterdir()} == {
        "scores.csv", "predictions.csv", "provenance.json",
    }  # fmt: skip


def test_the_run_key_stands_for_parameters_and_computing_code(root: Path) -> None:
    code = runs.computing_code(root, "hcmnet")
    names = {path.name for path in code}
    assert {"evaluate.py", "protocols.py", "ssm.py"} <= names
    assert not {"figures.py", "pages.py", "runs.py"} & names
    one = runs.run_key(root, {"seed": 0, "epochs": None}, code)
    assert one == runs.run_key(root, {"epochs": None, "seed": 0}, code)
    assert one != runs.run_key(root, {"seed": 1, "epochs": None}, code)
    assert one != runs.run_key(root, {"seed": 0, "epochs": None}, code, data="0123")
    assert len(one) == 12


def test_nothing_is_rendered_when_no_page_changed(
    tiny: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = []

    def pretend(root: Path, folder: Path) -> None:
        rendered.append(root)
        (folder / "_build" / "html").mkdir(parents=True)

    monkeypatch.setattr(bookbuild, "_jupyter_book", pretend)
    page = tiny.root / "book" / "index.md"
    page.parent.mkdir()
    page.write_text("# One")
    assert bookbuild.render(tiny.root)
    assert not bookbuild.render(tiny.root)
    page.write_text("# Two")
    assert bookbuild.render(tiny.root)
    assert len(rendered) == 2


def test_two_builds_of_one_book_wait_for_each_other(tiny: TinyProject) -> None:
    lock = tiny.root / "build" / ".lock"
    lock.parent.mkdir()
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = tiny.start("book")
        assert second.stdout.readline().startswith("Waiting for another process")
        assert second.poll() is None
    second.communicate()
    assert (tiny.root / "build" / "executed" / "notebooks" / "tiny.ipynb").exists()


def test_machinery_of_the_tiny_project_is_the_project_s_own() -> None:
    assert runs.__file__ == str(ROOT / "lib" / "affectbook" / "runs.py")
