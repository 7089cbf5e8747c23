"""A checkout small enough to run whole in a test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MACHINERY = (
    "__init__", "attempt", "bookbuild", "closure", "errors", "execute", "files", "keeping",
    "locks", "notebook", "papers/__init__", "params", "pools", "progress", "provenance", "results",
    "running", "runpage", "runs", "scoring", "sealed", "models/__init__",
    "models/products", "models/scans/__init__", "models/scans/fused", "models/scans/mamba1",
    "models/scans/mamba2",
)  # fmt: skip
PAPER = '''"""A paper small enough for a test."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Params:
    """Two parameters."""

    seed: int = field(default=0, metadata={"help": "of nothing", "low": 0})
    mode: str = field(default="good", metadata={"choices": ("good", "broken", "bad_data", "mute")})


def setting(params: Params) -> Params:
    """Return the parameters."""
    return params
'''
CELLS = (
    "seed: int = 0\nmode: str = 'good'",
    "from affectbook.core import VALUE\nfrom affectbook.errors import DataError",
    "print('value', VALUE + seed)",
    "if mode == 'broken':\n    raise ZeroDivisionError('a cell of the test fails')\n"
    "if mode == 'bad_data':\n    raise DataError('no such data')",
    "import os\nfrom pathlib import Path\nimport pandas as pd\nfrom affectbook import results\n"
    "folder = os.environ.get('AFFECTBOOK_RUN_DIR')\n"
    "if folder and mode != 'mute':\n"
    "    row = dict.fromkeys(results.SCORE_COLUMNS, '') | {'estimator': 'tiny', 'fold': 'all',\n"
    "        'subject': 'all', 'metric': 'balanced_accuracy', 'value': VALUE + seed}\n"
    "    results.write_rows(pd.DataFrame([row]), Path(folder, 'scores.csv'))\n"
    "    Path(folder, 'predictions.csv').write_text('y_true,y_pred\\n0,1\\n')",
)  # fmt: skip


class TinyProject:
    """A checkout with the project's own machinery, one notebook and one module it imports."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notebook = root / "notebooks" / "tiny.ipynb"
        self.core = root / "lib" / "affectbook" / "core.py"
        for name in MACHINERY:
            target = (root / "lib" / "affectbook" / name).with_suffix(".py")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT.joinpath("lib", "affectbook", name).with_suffix(".py"), target)
        (root / "lib" / "affectbook" / "papers" / "tiny.py").write_text(PAPER)
        (root / "lib" / "affectbook" / "unused.py").write_text("UNUSED = 1\n")
        # Takes more than a second to load; who checks notebooks with it does without.
        (root / "lib" / "rfc3987_syntax.py").write_text("raise ImportError\n")
        self.core.write_text("VALUE = 7\n")
        for name in ("pyproject.toml", "requirements.in", "constraints.txt"):
            shutil.copy(ROOT / name, root)
        self.write_notebook(list(CELLS))

    def write_notebook(self, cells: Sequence[str], prose: str = "# Tiny\n\nWith $x^2$.") -> None:
        """Write the notebook; its first code cell holds the parameters."""
        content = [{"cell_type": "markdown", "id": "prose", "metadata": {}, "source": prose}]
        for number, source in enumerate(cells):
            metadata = {"tags": ["parameters"]} if number == 0 else {}
            cell = {"cell_type": "code", "execution_count": None, "id": f"c{number}"}
            content.append(cell | {"metadata": metadata, "outputs": [], "source": source})
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        whole = {"cells": content, "metadata": {"kernelspec": kernel}}
        self.notebook.parent.mkdir(exist_ok=True)
        self.notebook.write_text(json.dumps(whole | {"nbformat": 4, "nbformat_minor": 5}))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``python -m affectbook.runs`` in this project."""
        return subprocess.Popen(
            [sys.executable, "-m", "affectbook.runs", *arguments],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": str(self.root / "lib"), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def runs(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        started = self.start(*arguments)
        out, err = started.communicate()
        return subprocess.CompletedProcess(started.args, started.returncode, out, err)
