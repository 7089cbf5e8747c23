"""The Makefile and the workflow: every target is explained, and one command checks everything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

VARIABLES = ("MAKE", "DATA", "ARCHIVE", "AFFECTBOOK")


def make(root: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(VARIABLES)}
    return subprocess.run(
        ["make", *arguments], cwd=root, env=clean | more, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.fixture
def called(root: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Return what calls make with a python that only tells how it was called."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$AFFECTBOOK_DATA" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "venv" / ".stamp").touch()

    def call(*arguments: str, **more: str) -> list[str]:
        done = make(root, *arguments, f"VENV={tmp_path / 'venv'}", **more)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return call


def targets(root: Path) -> set[str]:
    found = re.findall(r"^([a-z][a-z-]*):(?!=)", (root / "Makefile").read_text(), re.MULTILINE)
    return set(found)


def test_help_lists_every_target(root: Path) -> None:
    done = make(root, "help")
    listed = set(re.findall(r"^  ([a-z-]+) +\S", done.stdout, re.MULTILINE))
    assert done.returncode == 0
    assert listed == targets(root)
    assert {"book", "test", "lab", "run", "record", "clean", "env", "help"} <= listed


def test_help_lists_every_variable(root: Path) -> None:
    there = re.findall(r"^([A-Z_]+) \?=", (root / "Makefile").read_text(), re.MULTILINE)
    listed = make(root, "help").stdout.partition("Variables:")[2]
    assert there and set(there) == set(re.findall(r"\b[A-Z_]{3,}\b", listed))


COMMANDS = {
    "run": ("PAPER=hcmnet",),
    "sweep": ("PAPER=hcmnet", "SWEEP=ablations"),
    "record": ("PAPER=hcmnet", "SWEEP=ablations"),
    "data": ("DATASET=eegmat",),
    "check-data": ("DATASET=eegmat",),
    "pretrain": ("PAPER=ssl_ecg",),
}
FOLDERS = ("/data", "/Meine Daten, größer/it's $HOME", '/with "quotes"', "~/data", "~me/data")


@pytest.mark.parametrize("target", COMMANDS)
def test_data_names_the_folder_of_the_data_sets(root: Path, called, target: str) -> None:
    assert called(target, *COMMANDS[target])[0] == ""
    assert called(target, *COMMANDS[target], AFFECTBOOK_DATA="kept")[0] == "kept"
    folder = "/Meine Daten, größer/it's $HOME"
    told = called(target, *COMMANDS[target], f"DATA={folder}", AFFECTBOOK_DATA="other")
    assert told[0] == folder and told[1:4] == ["-m", "affectbook.runs", told[3]]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_path_comes_through_as_it_is(called, folder: str) -> None:
    assert called("data", f"DATA={folder}")[0] == folder
    assert called("data", DATA=folder)[0] == folder


@pytest.mark.parametrize("folder", ["my_data", "meine Daten", "../größer"])
def test_a_relative_path_starts_where_make_is_called(root: Path, called, folder: str) -> None:
    assert called("check-data", f"DATA={folder}")[0] == f"{root}/{folder}"


@pytest.mark.parametrize("archive", ["WESAD.zip", "/Meine Daten/it's $HOME.zip", 'a "b".zip'])
def test_the_archive_comes_through_as_it_is(called, archive: str) -> None:
    expected = ["-m", "affectbook.runs", "data", "wesad"]
    assert called("data", "DATASET=wesad")[1:] == expected
    given = called("data", "DATASET=wesad", f"ARCHIVE={archive}")
    assert given[1:] == [*expected, "--archive", archive]


def test_weights_are_made_by_name_or_listed(called) -> None:
    expected = ["-m", "affectbook.runs", "pretrain", "ssl_ecg"]
    assert called("pretrain", "PAPER=ssl_ecg")[1:] == expected
    assert called("pretrain", "PAPER=ssl_ecg", "WEIGHTS=tiny")[1:] == [*expected, "tiny"]


def test_fault_injections_have_a_target_of_their_own(called) -> None:
    pytest_ = ["-m", "pytest", "-q", "-m"]
    assert called("faults")[1:] == [
        *pytest_, "faults", "", *pytest_, "not faults", "tests/faults",
    ]  # fmt: skip
    assert called("faults", "TESTS=tests/test_cache.py")[1:] == [
        *pytest_, "faults", "tests/test_cache.py",
    ]  # fmt: skip


def test_a_whole_suite_runs_on_all_cores_and_one_file_in_one_process(called) -> None:
    workers = ["-n", "logical", "--maxprocesses", "4", "--dist"]
    for target, marks, way in (("test-slow", "slow", "loadgroup"),
                               ("test", "not slow and not faults", "loadfile")):  # fmt: skip
        alone = ("-o", "lint", "-o", "notebooks") if target == "test" else ()
        whole = called(target, *alone)
        assert whole[-11:] == ["-m", "pytest", "-q", *workers, way, "-m", marks]
        one = called(target, *alone, "TESTS=tests/test_cache.py")
        assert one[-6:] == ["-m", "pytest", "-q", "-m", marks, "tests/test_cache.py"]


def test_every_target_is_phony(root: Path) -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (root / "Makefile").read_text(), re.MULTILINE)
    assert set(phony.split()) == targets(root)


def test_plain_make_is_help(root: Path) -> None:
    assert make(root).stdout == make(root, "help").stdout


def test_another_python_is_refused_before_anything_is_made(root: Path, tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for name in ("Makefile", "constraints.txt", "requirements.in", "pyproject.toml"):
        shutil.copy(root / name, tmp_path)
    done = make(tmp_path, "book", f"PYTHON={old}")
    assert done.returncode != 0
    assert "needs Python 3.11" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_torch_comes_from_the_named_index(root: Path) -> None:
    arguments = ("-n", "-W", "constraints.txt", "env")
    named = make(root, *arguments, "TORCH_INDEX=https://example.org/cpu").stdout
    assert '--index-url "https://example.org/cpu" torch' in named
    assert "--index-url" not in make(root, *arguments, "TORCH_INDEX=").stdout


def test_the_workflow_calls_what_a_developer_calls(root: Path) -> None:
    workflow = yaml.safe_load((root / ".github" / "workflows" / "book.yml").read_text())
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    steps = build["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["bash .ci/run"]
    kept = next(step for step in steps if "upload-artifact" in step.get("uses", ""))
    assert kept["if"] == "always()"
    assert kept["with"]["path"].split() == ["build/executed", "build/failed"]
    site = next(step for step in steps if "upload-pages" in step.get("uses", ""))
    assert site["with"]["path"] == "build/site"
    assert site["if"] == publish["if"] == "github.ref == 'refs/heads/main'"
    assert build["env"]["TORCH_INDEX"] == "${{ vars.TORCH_INDEX }}"


def test_continuous_integration_tests_then_builds(root: Path) -> None:
    script = root / ".ci" / "run"
    lines = script.read_text().splitlines()
    assert os.access(script, os.X_OK)
    assert [line for line in lines if line.startswith("make ")] == [
        "make test", "make test-slow", "make faults", "make book",
    ]  # fmt: skip


def test_the_repository_s_address_is_written_in_one_place(root: Path) -> None:
    address = yaml.safe_load((root / "_config.yml").read_text())["repository"]["url"]
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    name = address.removeprefix("https://")
    others = ("_config.yml", "README.md", "CITATION.cff")
    for file in files:
        path = root / file
        if file in others or path.suffix not in {".md", ".yml", ".cff", ".toml", ".py", ".ipynb"}:
            continue
        assert name not in path.read_text(encoding="utf-8"), file
    for file in ("README.md", "CITATION.cff"):
        for found in re.findall(r"github\.com/[\w.-]+/affectbook\b", (root / file).read_text()):
            assert found == name, file
