"""Which of the records that a chapter shows are older than their code or windows."""

from __future__ import annotations

import pandas as pd

from affectbook import records, results


def stale_notes(rows: pd.DataFrame) -> list[str]:
    """Return one sentence if records among `rows` are stale, which names them; else none.

    Parameters
    ----------
    rows
        Score rows as `results.recorded` gives them.
    """
    folder = results.project_root() / "results" / "recorded"
    found = {name: records.stale(folder / name) for name in rows["record"].unique()}
    told = [f"`{name}` ({', '.join(old[:3])})" for name, old in found.items() if old]
    if not told:
        return []
    return [
        f"**Stale**: {', '.join(told)}. These were recorded before something that decides them was "
        "changed, so read what this chapter says of them as provisional; the list of recorded runs "
        "tells more."
    ]
