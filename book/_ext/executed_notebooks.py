"""Show the executed copy of a notebook on the page of its source, with the figures' alt texts."""

from __future__ import annotations

import json
from pathlib import Path


def swap(app, docname: str, source: list[str]) -> None:
    """Replace the source of ``notebooks/x`` by ``build/executed/notebooks/x.ipynb``."""
    path = Path(app.srcdir, "build", "executed", f"{docname}.ipynb")
    if docname.startswith("notebooks/") and path.exists():
        app.env.note_dependency(str(path))
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            describe_images(cell)
        source[0] = json.dumps(notebook)


def describe_images(cell: dict) -> None:
    """Copy the alt texts of a cell's outputs to where myst-nb looks: the cell's metadata."""
    outputs = cell.get("outputs", [])
    texts = [output.get("metadata", {}).get("affectbook", {}).get("alt") for output in outputs]
    if any(texts):
        image = cell["metadata"].setdefault("mystnb", {}).setdefault("image", {})
        image.setdefault("alt", " ".join(text for text in texts if text))


def setup(app) -> dict[str, bool]:
    """Register the extension."""
    app.connect("source-read", swap)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
