"""The one message for a file that is not what its card says."""

from __future__ import annotations

from pathlib import Path

from affectbook.errors import DataFileError


def wrong(
    title: str, path: Path, field: str, found: str, expected: str, what: str
) -> DataFileError:
    """Return the error for a file of one subject of the set with this title."""
    return DataFileError(
        f"{title}: {what}",
        file=path,
        field=field,
        found=found,
        expected=expected,
        do="get the file again from the publisher, or leave the subject out with subjects=",
    )
