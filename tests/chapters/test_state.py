"""A chapter names the records it shows that are stale, and says nothing if none is."""

from __future__ import annotations

import html

import pandas as pd
import pytest

from affectbook.chapters import state

ROWS = pd.DataFrame({"record": ["a", "a", "b"]})


@pytest.mark.parametrize(
    ("old", "told"),
    [
        ({}, []),
        ({"b": ["windows of 2 of 7 cells"]}, ["`b` (windows of 2 of 7 cells)"]),
        ({"a": ["x.py"], "b": ["y.py", "z.py"]}, ["`a` (x.py)", "`b` (y.py, z.py)"]),
    ],
)
def test_stale_records_are_named(monkeypatch, old, told):
    monkeypatch.setattr(state.records, "stale", lambda folder: old.get(folder.name, []))
    notes = state.stale_notes(ROWS)
    assert len(notes) == bool(told)
    assert all(one in html.unescape(notes[0]) for one in told)
    assert not any("x.py" in note for note in notes), "a name of a file is no markup"
