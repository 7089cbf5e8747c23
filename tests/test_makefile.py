"""The Makefile and the workflow: every target is explained, and one command checks everything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import yaml


def make(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=root, env=clean, capture_output=True, text=True, check=False
    )


def targets(root: Path) -> set[str]:
    found = re.findall(r"^([a-z][a-z-]*):(?!=)", (root / "Makefile").read_text(), re.MULTILINE)
    return set(found)


def test_help_lists_every_target(root: Path) -> None:
    done = make(root, "help")
    listed = set(re.findall(r"^  ([a-z-]+) +\S", done.stdout, re.MULTILINE))
    assert done.returncode == 0
    assert listed == targets(root)
    assert {"book", "test", "lab", "run", "record", "clean", "env", "help"} <= listed


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
        "make test", "make test-slow", "make book",
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
