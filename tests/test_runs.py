"""The driver: what runs again, what does not, and what a failure leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_dreamer import empty_project
from tiny_project import CELLS, ROOT, TinyProject
from tiny_terminal import on_a_terminal, typing

from affectbook import bookbuild, datasets, locks, running, runs
from affectbook.bookbuild import BookFailed, execute_changed
from affectbook.datasets import wesad
from affectbook.errors import RunError
from affectbook.papers import ssl_ecg
from affectbook.scales import Cell


def outputs(tiny: TinyProject) -> str:
    executed = tiny.root / "build" / "executed" / "notebooks" / "tiny.ipynb"
    content = json.loads(executed.read_text())
    return json.dumps([cell.get("outputs") for cell in content["cells"]])


@pytest.fixture(autouse=True)
def own_library(tiny: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tiny.root / "lib"))
    monkeypatch.delenv("AFFECTBOOK_RUN_DIR", raising=False)


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_book_command_fails_with_status_1(tiny: TinyProject) -> None:
    tiny.write_notebook(["1 / 0"])
    done = tiny.runs("book")
    assert done.returncode == 1
    assert "tiny failed in cell [1]: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_ends_with_page_scores_and_provenance(
    tiny: TinyProject, ran: subprocess.CompletedProcess[str]
) -> None:
    (folder,) = (tiny.root / "build" / "runs" / "tiny").iterdir()
    assert re.search(r"tiny +\d+ +12\.000", ran.stdout)
    assert f"build/runs/tiny/{folder.name}/page.html" in ran.stdout
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
        pytest.param(["tiny", "-p", "mode", "bad_data"], 2, "DataError: no such data",
                     marks=pytest.mark.slow),
        pytest.param(["tiny", "-p", "mode", "mute"], 2, "no scores.csv and no predictions.csv",
                     marks=pytest.mark.slow),
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


WRONG = {
    "unknown": (("epocs", "3"), "epocs: unknown; did you mean epochs?"),
    "text_for_a_count": (("epochs", "many"), "epochs: expected int | none, found 'many'"),
    "fraction_for_a_count": (("seed", "1.5"), "seed: expected int, found '1.5'"),
    "text_for_a_number": (("effect", "high"), "effect: expected float, found 'high'"),
    "truth_for_a_count": (("seed", "true"), "seed: expected int, found 'true'"),
    "list_for_a_number": (("effect", "[5, 10]"), "effect: expected float, found '[5, 10]'"),
    "out_of_range": (("overlap", "0.99"), "overlap: expected 0.0 to 0.95, found 0.99"),
    "not_a_choice": (("tier", "simulatd"), "found 'simulatd'; did you mean simulated?"),
    "not_a_number": (("effect", "nan"), "effect: expected float, found 'nan'"),
    "infinite": (("effect", "inf"), "effect: expected float, found 'inf'"),
    "code": (("seed = open('canary', 'w')\nseed", "1"), "not a name"),
}


@pytest.mark.parametrize(("pair", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_parameter_is_one_message_before_anything_starts(
    pair: tuple[str, str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("affectbook.execute.execute", refuse_to_start)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    by_file = here / "values.json"
    by_file.write_text(json.dumps(dict([pair])))
    for arguments in (["-p", *pair], ["--parameters", str(by_file)]):
        assert runs.main(["run", "hcmnet", *arguments]) == 2
        said = capsys.readouterr()
        assert told in said.err and said.out == "" and "Traceback" not in said.err
        assert len(said.err.splitlines()) == 2, "what is wrong, and the parameter"
    assert list(here.iterdir()) == [by_file], "no canary"


def test_values_of_a_file_keep_their_types_and_give_way_to_those_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_file = tmp_path / "values.json"
    for text, told in (("[1]", "not a mapping"), ("{", "Expecting"), (None, "No such file")):
        by_file.unlink(missing_ok=True) if text is None else by_file.write_text(text)
        assert runs.main(["run", "hcmnet", "--parameters", str(by_file)]) == 2
        said = capsys.readouterr()
        assert told in said.err and said.err.count("\n") == 1
    by_file.write_text(json.dumps({"epochs": 3, "effect": 0, "label_rule": None, "seed": 4}))
    arguments = runs._arguments(["run", "hcmnet", "--parameters", str(by_file), "-p", "seed", "5"])
    parameters = running.plan("hcmnet", runs._given(arguments)).parameters
    assert [parameters[name] for name in ("epochs", "effect", "label_rule", "seed")] == [
        3, 0.0, None, 5,
    ]  # fmt: skip


def test_real_data_are_looked_for_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    assert runs.main(["run", "hcmnet", "-p", "dataset", "wesad", "-p", "tier", "licensed"]) == 2
    told = capsys.readouterr()
    assert "Running" not in told.out
    assert "WESAD" in told.err and "simulated" in told.err


@pytest.fixture
def real_wesad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with one subject of WESAD and no mark of a twin; no kernel can start."""
    monkeypatch.delenv("AFFECTBOOK_ACCEPT_LICENCE", raising=False)
    empty_project(tmp_path, monkeypatch)
    folder = tmp_path / "Daten, größer" / "WESAD"
    signal, label = np.zeros(7000), np.repeat([0, 1, 2, 3, 4], 1400)
    wesad.write_subject(folder, "S2", signal, label)
    monkeypatch.setenv("AFFECTBOOK_DATA", str(folder.parent))
    return folder


class Started(RunError):
    """A kernel, or a sweep, would have started."""


def refuse_to_start(*_: object, **__: object) -> None:
    raise Started("it starts")


MISSING = ",".join(wesad.CARD.subjects[1:])
LICENSED_RUN = ("-p", "dataset", "wesad", "-p", "tier", "licensed", "-p", "allow_missing", MISSING)


@pytest.mark.parametrize("command", [("run", "hcmnet", *LICENSED_RUN), ("sweep", "hcmnet", "tiny")])
def test_licensed_data_are_closed_before_anything_starts(
    real_wesad: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
) -> None:
    monkeypatch.setattr("affectbook.execute.execute", refuse_to_start)
    monkeypatch.setattr("affectbook.sweeps.run", refuse_to_start)
    cell = Cell("references", {"dataset": "wesad", "tier": "licensed"})
    monkeypatch.setattr("affectbook.papers.hcmnet.SWEEPS", {"tiny": [cell]})
    assert runs.main(command) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert told.err.startswith("the licence of WESAD was not confirmed for this folder [file: ")
    assert "found: no confirmation; " in told.err and "ACCEPT_LICENCE=wesad" in told.err

    monkeypatch.setenv("AFFECTBOOK_ACCEPT_LICENCE", "WESAD")
    assert runs.main(command) == 2
    assert capsys.readouterr().err.endswith("it starts\n")


LICENSED_PAPER = '''"""A paper on licensed data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Params:
    """What `run` looks at before a kernel starts."""

    dataset: str = "wesad without MISSING"
    tier: str = "licensed"
    subjects: int | None = None


def setting(params: Params) -> Params:
    """Return the parameters."""
    return params
'''


@pytest.mark.slow
def test_a_confirmed_licence_reaches_the_kernel(tiny: TinyProject, real_wesad: Path) -> None:
    """The driver asks once; the kernel, another process, reads what the driver has kept."""
    lib = tiny.root / "lib" / "affectbook"
    shutil.copytree(ROOT / "lib" / "affectbook", lib, dirs_exist_ok=True)
    (lib / "papers" / "tiny.py").write_text(LICENSED_PAPER.replace("MISSING", MISSING))
    opening = "from affectbook import datasets\ndatasets.prepare(dataset, tier)"
    start = "dataset: str = ''\ntier: str = ''\nsubjects: int | None = None"
    tiny.write_notebook([start, opening, "mode, seed = 'good', 0", CELLS[1], CELLS[4]])
    kept = tiny.root / "data" / "licences.json"

    refused = tiny.runs("run", "tiny")
    assert refused.returncode == 2 and refused.stdout == "" and refused.stderr.count("\n") == 1

    def run(answer: str, **how: float) -> tuple[int, str]:
        command = [sys.executable, "-m", "affectbook.runs", "run", "tiny", "--force"]
        return on_a_terminal(command, typing(answer), folder=tiny.root, **how)

    status, shown = run("no\n")
    assert status == 2 and "was not accepted" in shown and not kept.exists()
    status, shown = run("\x03", again_s=1.0)
    assert status == 130 and "Interrupted" in shown and "Traceback" not in shown
    assert "Running" not in shown and not kept.exists()
    status, shown = run("wesad\n")
    assert status == 0, shown
    assert shown.index("(or yes)") < shown.index("Running tiny") and kept.is_file()
    status, shown = run("nobody asks\n")
    assert status == 0 and "(or yes)" not in shown

    shutil.rmtree(kept.parent)
    kept.parent.write_text("a file where the folder would be")
    status, shown = run("wesad\n")
    assert status == 0 and "holds for this run only" in shown


def test_a_simulated_run_and_a_sweep_without_licensed_cells_are_not_asked(
    real_wesad: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("affectbook.execute.execute", refuse_to_start)
    monkeypatch.setattr("affectbook.sweeps.run", refuse_to_start)
    monkeypatch.setattr("affectbook.obtain.licence.ask", pytest.fail)
    for command in (["run", "hcmnet", "-p", "dataset", "wesad"], ["sweep", "hcmnet", "ablations"]):
        runs.main([*command, "--force"] if command[0] == "run" else command)
        assert capsys.readouterr().err.endswith("it starts\n")


def test_data_lists_the_sets_and_checks_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert runs.main(["data"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *datasets.names()]
    assert re.search(r"^eegmat +open +\w+ +184 MB", "\n".join(lines), re.MULTILINE)
    assert runs.main(["check-data"]) == 2
    told = capsys.readouterr()
    assert told.out.splitlines() == lines and told.err.count("\n") == 1
    for command in ("data", "check-data"):
        assert runs.main([command, "wesat"]) == 2
        told = capsys.readouterr()
        assert "unknown data set 'wesat'; did you mean 'wesad'?" in told.err and not told.out


def test_data_fetches_unpacks_or_says_how(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    calls = []
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path / "data"))
    for place in ("fetch.fetch", "archives.for_dataset", "check.check"):
        monkeypatch.setattr(
            f"affectbook.obtain.{place}", lambda *given, p=place: calls.append((p, *given))
        )
    assert runs.main(["data", "eegmat"]) == 0
    assert runs.main(["data", "eegmat", "--to", "there"]) == 0
    assert runs.main(["data", "wesad", "--archive", "a b.zip"]) == 0
    assert runs.main(["check-data", "wesad", "--root", "there"]) == 0
    assert calls == [
        ("fetch.fetch", "eegmat", None),
        ("fetch.fetch", "eegmat", Path("there")),
        ("archives.for_dataset", "wesad", Path("a b.zip"), None),
        ("check.check", "wesad", Path("there")),
    ]
    capsys.readouterr()
    assert runs.main(["data", "wesad"]) == 0
    assert "WESAD needs a licence" in capsys.readouterr().out and len(calls) == 4
    assert not (tmp_path / "data").exists()


def test_an_archive_that_is_not_there_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "WESAD.zip"
    assert runs.main(["data", "wesad", "--archive", str(archive), "--to", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "WESAD.zip" in told.err


def test_weights_are_listed_with_what_goes_into_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert runs.main(["pretrain", "ssl_ecg"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["weights", "pretrained", "on", "windows", "epochs", "minutes", "size"]
    told = dict(line.split(maxsplit=1) for line in lines)
    assert set(ssl_ecg.RELEASED) <= set(told)
    line = r"drivedb, plain +\d+ of 19 subjects +10 +\d+ +1\.3 MB"
    assert re.fullmatch(line, told["ssl_ecg_contrastive_without_eegmat"])
    assert all(told[name].endswith(" MB") for name in ssl_ecg.RELEASED)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "no paper ''; there are"), (["ssl_eeg"], "no paper 'ssl_eeg'"),
        (["hcmnet"], "hcmnet has no weights that are pretrained: only nmoe, ssl_ecg"),
        (["hcmnet", "any"], "hcmnet has no weights"),
        (["ssl_ecg", "nothing"], "no recipe for weights 'nothing'; there are ssl_ecg_"),
    ],
)  # fmt: skip
def test_weights_that_cannot_be_made_are_one_message(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runs.main(["pretrain", *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(told) and said.err.count("\n") == 1 and said.out == ""


def test_weights_end_with_their_place_and_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.safetensors"

    def make(name: str) -> Path:
        print("epoch 1")
        path.write_text(name)
        return path

    monkeypatch.setattr(ssl_ecg, "pretrain", make)
    monkeypatch.setattr(runs, "project_root", lambda: tmp_path)
    found = hashlib.sha256(b"tiny").hexdigest()
    shared = ["epoch 1", "Weights: tiny.safetensors", f"SHA-256: {found}"]
    for released, then in (
        ({"tiny": found}, ["These are the released weights, bit for bit."]),
        ({"tiny": "0" * 64}, [f"Released: {'0' * 64}", "To use them", "To have the released"]),
        ({}, ["Released: none of this name", "To use them"]),
    ):
        monkeypatch.setattr(ssl_ecg, "RELEASED", released)
        assert runs.main(["pretrain", "ssl_ecg", "tiny"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[:3] == shared and len(lines) == 3 + len(then)
        assert all(line.startswith(one) for line, one in zip(lines[3:], then, strict=True))
        if released.get("tiny") != found:
            (table,) = re.findall(r"lib/affectbook/papers/\w+\.py", "\n".join(lines))
            assert "RELEASED" in (ROOT / table).read_text()


def test_an_interrupt_is_one_line_and_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("affectbook.obtain.fetch.fetch", interrupt)
    assert runs.main(["data", "eegmat"]) == 130
    told = capsys.readouterr()
    assert told.err == "Interrupted; the same command goes on where it was.\n"
    monkeypatch.setattr("affectbook.obtain.check.check", interrupt)
    monkeypatch.setattr(ssl_ecg, "pretrain", interrupt)
    for command in (["check-data", "eegmat"], ["pretrain", "ssl_ecg", "tiny"]):
        assert runs.main(command) == 130
        assert capsys.readouterr().err == "Interrupted.\n"


@pytest.mark.slow
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
        "scores.csv.gz", "predictions.csv.gz", "provenance.json",
    }  # fmt: skip


def test_the_run_key_stands_for_parameters_and_computing_code(root: Path) -> None:
    code = running.computing_code(root, "hcmnet")
    names = {path.name for path in code}
    assert {"evaluate.py", "protocols.py", "ssm.py"} <= names
    assert not {"figures.py", "pages.py", "runs.py"} & names
    one = running.run_key(root, {"seed": 0, "epochs": None}, code)
    assert one == running.run_key(root, {"epochs": None, "seed": 0}, code)
    assert one != running.run_key(root, {"seed": 1, "epochs": None}, code)
    assert one != running.run_key(root, {"seed": 0, "epochs": None}, code, data="0123")
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


@pytest.mark.slow
def test_two_builds_of_one_book_wait_for_each_other(tiny: TinyProject) -> None:
    with locks.alone(tiny.root / "build" / ".lock", "this book"):
        second = tiny.start("book")
        told = second.stdout.readline()
        assert told.startswith(f"Waiting for process {os.getpid()} on ") and "this book" in told
        assert second.poll() is None
    second.communicate()
    assert (tiny.root / "build" / "executed" / "notebooks" / "tiny.ipynb").exists()


def test_machinery_of_the_tiny_project_is_the_project_s_own() -> None:
    assert runs.__file__ == str(ROOT / "lib" / "affectbook" / "runs.py")
