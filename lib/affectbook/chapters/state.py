"""Which of the records that a chapter shows are older than their code, parameters or data."""

from __future__ import annotations

import pandas as pd

from affectbook import records, results
from affectbook.tables import literal

_SHOWN = 3


def stale_notes(rows: pd.DataFrame) -> list[str]:
    """Return one sentence in Markdown if records among `rows` are stale, which names them.

    Parameters
    ----------
    rows
        Score rows as `results.recorded` gives them.

    Returns
    -------
    list of str
        None if no record is stale.
    """
    folder = results.recorded_folder()
    found = {name: records.stale(folder / name) for name in rows["record"].unique()}
    told = [f"`{name}` ({literal(_some(old))})" for name, old in found.items() if old]
    if not told:
        return []
    return [
        f"**Stale**: {', '.join(told)}. These were recorded before something that decides them was "
        "changed, so read what this chapter says of them as provisional; the list of recorded runs "
        "tells more."
    ]


def of(record: str) -> str:
    """Return the state of one record as plain text: up to date, confirmed, or stale and why."""
    if old := records.stale(results.recorded_folder() / record):
        return f"stale: {_some(old)}"
    confirmed = results.provenance(record).get("confirmed", [])
    if not confirmed:
        return "up to date"
    last = confirmed[-1]
    return (
        f"up to date; code changed since; {len(last['cells'])} of {last['of']} cells made again: "
        "bit-equal"
    )


def _some(old: list[str]) -> str:
    more = f" and {len(old) - _SHOWN} more" if len(old) > _SHOWN else ""
    return ", ".join(old[:_SHOWN]) + more
