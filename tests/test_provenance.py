"""Where a result comes from."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

from affectbook import files, provenance
from affectbook.models import products
from affectbook.models.scans import fused


def repository(folder: Path) -> Path:
    """Make a repository with one commit."""
    (folder / "requirements.in").write_text("torch\nnumpy>=2  # arrays\nnot-installed-anywhere\n")
    for command in (
        ["init", "-q"], ["add", "-A"],
        ["-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "one"],
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def test_the_line_names_code_packages_and_machine(tmp_path: Path) -> None:
    root = repository(tmp_path)
    commit = provenance.git(root)["commit"]
    line = provenance.line(root)
    assert commit[:10] in line and "with changes" not in line
    assert f"torch {version('torch')}" in line and f"numpy {version('numpy')}" in line
    (root / "grid.yaml").write_text("")
    assert "with changes" not in provenance.line(root), "a reader's own file computes nothing"
    (root / "lib").mkdir(exist_ok=True)
    (root / "lib" / "new.py").write_text("")
    assert "with changes" in provenance.line(root)


def test_the_scan_is_named(tmp_path: Path, monkeypatch) -> None:
    root = repository(tmp_path)
    monkeypatch.delenv(products.VARIABLE, raising=False)
    assert provenance.line(root).endswith("scans by torch")
    assert provenance.collect(root, {"device": "cpu"}, [], 1.0)["scan"] == "torch"
    monkeypatch.setattr(fused, "missing", lambda: None)
    monkeypatch.setattr(fused, "version", lambda package: "2.3.2")
    assert provenance.line(root, "cuda").endswith("scans by mamba-ssm 2.3.2")
    assert provenance.collect(root, {"device": "cuda"}, [], 1.0)["scan"] == "mamba-ssm 2.3.2"
    monkeypatch.setenv(products.VARIABLE, "onednn")
    assert provenance.line(root).endswith("scans by torch, products by oneDNN")
    assert provenance.collect(root, {}, [], 1.0)["scan"] == "torch, products by oneDNN"


def test_packages_are_those_the_project_names_and_that_are_there(tmp_path: Path) -> None:
    assert set(provenance.packages(repository(tmp_path))) == {"torch", "numpy"}


def test_outside_a_repository_nothing_is_made_up(tmp_path: Path) -> None:
    assert provenance.git(tmp_path) == {"commit": None, "dirty": None}


def test_code_is_hashed_file_by_file(tmp_path: Path) -> None:
    root = repository(tmp_path)
    found = provenance.collect(root, {"seed": 3}, [root / "requirements.in"], 1.25)
    assert found["code"] == {"requirements.in": files.sha256(root / "requirements.in")}
    assert found["seed"] == 3 and found["git"]["dirty"] is False


def test_facts_are_names_and_values_for_a_page(tmp_path: Path) -> None:
    root = repository(tmp_path)
    found = provenance.facts(root)
    assert list(found) == ["code", "processor", "scans", "memory of this kernel", "packages"]
    assert provenance.git(root)["commit"] in found["code"] and "changes" not in found["code"]
    assert f"torch {version('torch')}" in found["packages"]
    assert str(root) not in " ".join(found.values())
