"""One set of versions, whichever way it is installed."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import (
    PackageNotFoundError,
    packages_distributions,
    requires,
    version,
)
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from affectbook import notebook

CONDA = re.compile(r"[a-z0-9][a-z0-9._-]*(=[0-9][0-9a-z.]*)?")
ASKED_FOR = {
    "jupyterlab", "jupyter-book", "papermill", "torch", "matplotlib", "seaborn", "neurokit2",
    "pandas",
}  # fmt: skip


def requirements(path: Path) -> dict[str, Requirement]:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    found = [Requirement(line) for line in lines if line]
    return {canonicalize_name(one.name): one for one in found}


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, str]:
    found = requirements(root / "constraints.txt")
    return {name: str(one.specifier).removeprefix("==") for name, one in found.items()}


@pytest.fixture(scope="module")
def conda(root: Path) -> dict:
    return yaml.safe_load((root / "environment.yml").read_text())


def test_every_pin_is_one_version_and_every_dependency_is_pinned(
    root: Path, pins: dict[str, str]
) -> None:
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", pin) for pin in pins.values())
    for name, wanted in requirements(root / "requirements.in").items():
        assert wanted.specifier.contains(pins[name]), wanted


def test_what_is_installed_is_what_is_pinned(pins: dict[str, str]) -> None:
    found = {}
    for name in pins:
        try:
            found[name] = version(name).split("+")[0]
        except PackageNotFoundError:
            continue
    assert found == {name: pins[name] for name in found}


def test_the_pins_close_over_what_the_dependencies_need(root: Path, pins: dict[str, str]) -> None:
    todo, seen = list(requirements(root / "requirements.in")), set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for text in requires(name) or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                todo.append(canonicalize_name(needed.name))
    cuda = {name for name in seen if name.startswith(("nvidia-", "cuda-")) or name == "triton"}
    assert seen - cuda <= set(pins)


def test_every_import_is_a_dependency_that_is_named(root: Path) -> None:
    own = {"affectbook", *(path.stem for path in (root / "tests").glob("*.py"))}
    own |= {path.stem for path in (root / "book" / "_ext").glob("*.py")} | {"faults"}
    sources = {
        path: path.read_text(encoding="utf-8")
        for folder in ("lib", "tests", "book/_ext")
        for path in (root / folder).rglob("*.py")
    } | {path: notebook.code(notebook.read(path)) for path in root.glob("notebooks/*.ipynb")}
    named = set(requirements(root / "requirements.in"))
    distributions = packages_distributions()
    for path, source in sources.items():
        for module in imported(source) - own - sys.stdlib_module_names:
            names = {canonicalize_name(name) for name in distributions.get(module, [module])}
            assert names & named, f"{path.name} imports {module}"


def imported(source: str) -> set[str]:
    """Return the top-level modules that Python code imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_conda_brings_python_and_pip_only(conda: dict) -> None:
    lines = [line for line in conda["dependencies"] if isinstance(line, str)]
    assert lines == ["python=3.11", "pip"]
    assert all(CONDA.fullmatch(line) for line in lines)


def test_conda_s_pip_installs_the_pinned_set(conda: dict, pins: dict[str, str]) -> None:
    (lines,) = [line["pip"] for line in conda["dependencies"] if isinstance(line, dict)]
    assert lines[:2] == ["-c constraints.txt", "-r requirements.in"]
    assert lines[-1] == "-e ."
    shown = {one.name: str(one.specifier) for one in map(Requirement, lines[2:-1])}
    assert shown == {name: f"=={pins[name]}" for name in ASKED_FOR}


def test_mamba_ssm_is_optional_and_says_how(root: Path) -> None:
    command = "pip install --no-build-isolation --no-cache-dir -r requirements-gpu.txt"
    (wanted,) = requirements(root / "requirements-gpu.txt").values()
    for name in ("environment.yml", "requirements-gpu.txt"):
        text = (root / name).read_text()
        assert "pip install torch==2.10.0" in text
        assert command in text
    assert f"# - {wanted}" in (root / "environment.yml").read_text()
    assert "mamba-ssm" not in requirements(root / "constraints.txt")


def test_no_file_of_the_set_names_an_index(root: Path) -> None:
    for name in ("requirements.in", "constraints.txt", "requirements-gpu.txt", "environment.yml"):
        assert not re.search(r"://|--index|--find-links|\+cpu", (root / name).read_text()), name


def test_the_package_brings_its_tables(root: Path) -> None:
    text = (root / "pyproject.toml").read_text()
    assert '"*" = ["*.csv", "*.toml", "*.txt"]' in text


def test_caches_of_tools_are_no_pages(root: Path) -> None:
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    assert ".*" in config["exclude_patterns"], "pytest leaves a README.md in .pytest_cache"
