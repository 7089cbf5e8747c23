"""Imports run one way: a module may use what stands below it, never what stands above."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

# From the leaves up. A new module has to be placed here; below it is all it may import.
LAYERS = (
    {"errors", "files", "params", "cache", "scales", "notebook", "closure", "tables", "progress",
     "locks", "sealed", "pools"},
    {"datasets", "simulate"},
    {"artefacts"},
    {"windows", "features", "eeg_features", "augment", "noise", "rpeaks", "beats"},
    {"unlabelled"},
    {"splitters", "protocols", "audit", "scoring"},
    {"folds"},
    {"models", "pretrain", "encoders", "embedding_store", "layer_embeddings", "layer_toys",
     "watching", "evaluate", "costs"},
    {"obtain", "again"},
    {"results", "claims"},
    {"experiments", "summary", "personalise", "probes", "transfer", "chosen_periods",
     "backbones", "pretext_scores", "overlap_scores", "transformation_probe",
     "noise_scores", "layer_probes", "gate_scores"},
    {"figures"},
    {"ablations", "wearable", "efficiency", "grid_figures"},
    {"papers", "analyses"},
    {"execute", "provenance", "runpage", "estimate", "compare", "keeping"},
    {"attempt", "sweeps"},
    {"staleness"},
    {"confirming"},
    {"records", "running"},
    {"grids"},
    {"pages", "benchmarks", "scan_figure", "data_page", "chapters"},
    {"bookbuild"},
    {"runs"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
LIB = Path(__file__).resolve().parents[1] / "lib" / "affectbook"
MODULES = sorted(path for path in LIB.rglob("*.py") if path != LIB / "__init__.py")


def group(path: Path) -> str:
    return path.relative_to(LIB).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """Return the groups of this package that a module imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("affectbook.")}
    return found - {"__version__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(LIB).as_posix())
def test_a_module_imports_only_what_stands_below_it(path: Path) -> None:
    own = group(path)
    assert own in LEVEL, f"{own} is new: place it in LAYERS"
    above = {name for name in imported(path) if name != own and LEVEL[name] > LEVEL[own]}
    assert not above, f"{own} imports {above}, which stand above it"


def test_modules_of_one_layer_import_each_other_in_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        graph.setdefault(group(path), set()).update(imported(path) - {group(path)})
    assert list(TopologicalSorter(graph).static_order())
