"""A notebook file as JSON: its code cells, their text and tags."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

_MAGIC = re.compile(r"^\s*[%!].*$", re.MULTILINE)


def read(path: Path) -> dict:
    """Return the notebook in a file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def code_cells(notebook: dict) -> list[dict]:
    """Return the code cells, in order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def text(cell: dict) -> str:
    """Return a cell's text, which a file may hold as lines or as one string."""
    return "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    """Return a cell's tags, sorted."""
    return sorted(cell["metadata"].get("tags", []))


def code(notebook: dict) -> str:
    """Return all code cells as one Python source, without magics and shell lines."""
    return _MAGIC.sub("", "\n".join(text(cell) for cell in code_cells(notebook)))


def code_hash(notebook: dict) -> str:
    """Hash the code cells with their tags; prose and outputs do not count."""
    cells = [(text(cell), tags(cell)) for cell in code_cells(notebook)]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()
