"""The files of SEED: whose they are, by their names."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from affectbook.datasets import _refusal

TITLE = "SEED"
wrong = functools.partial(_refusal.wrong, TITLE)
FOLDER = "Preprocessed_EEG"
# Dates of the three sessions of each subject, in order.
DATES = {
    "1": ("20131027", "20131030", "20131107"),
    "2": ("20140404", "20140413", "20140419"),
    "3": ("20140603", "20140611", "20140629"),
    "4": ("20140621", "20140702", "20140705"),
    "5": ("20140411", "20140418", "20140506"),
    "6": ("20130712", "20131016", "20131113"),
    "7": ("20131027", "20131030", "20131106"),
    "8": ("20140511", "20140514", "20140521"),
    "9": ("20140620", "20140627", "20140704"),
    "10": ("20131130", "20131204", "20131211"),
    "11": ("20140618", "20140625", "20140630"),
    "12": ("20131127", "20131201", "20131207"),
    "13": ("20140527", "20140603", "20140610"),
    "14": ("20140601", "20140615", "20140627"),
    "15": ("20130709", "20131016", "20131105"),
}
_FILE = re.compile(r"(\d{1,2}|[a-z]+)_(\d{8})\.mat", re.IGNORECASE)
log = logging.getLogger(__name__)


def place_of(folder: Path) -> Path:
    """Return the folder of the MATLAB files; copies differ in capitals."""
    there = sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []
    inner = [path for path in there if path.name.lower() == FOLDER.lower() and path.is_dir()]
    return inner[0] if inner else Path(folder)


def sessions_in(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return the files of each subject in the order of the sessions; stray files are ignored.

    Raises
    ------
    DataFileError
        If it cannot be decided whose a file is.
    """
    place, owners = place_of(folder), {}
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if match := _FILE.fullmatch(path.name):
            owner = str(int(match[1])) if match[1].isdigit() else match[1].lower()
            dated = owners.setdefault(owner, {})
            if match[2] in dated:
                expected = f"one file; {dated[match[2]].name} is the same session"
                raise wrong(path, "file name", path.name, expected, "two files are one session")
            dated[match[2]] = path
    found: dict[str, tuple[Path, ...]] = {}
    for owner, dated in owners.items():
        subject = owner if owner.isdigit() else _subject_of(place, owner, dated)
        if subject not in DATES:
            continue
        if subject in found:
            names = ", ".join(path.name for path in (found[subject][0], *dated.values()))
            expected = f"one set of files for subject {subject}"
            raise wrong(place, "file names", names, expected, "two owners are one subject")
        found[subject] = tuple(dated[date] for date in sorted(dated))
    return found


def _subject_of(place: Path, person: str, dated: Mapping[str, Path]) -> str | None:
    """Return the subject with a person's dates; None for files that are none of SEED's.

    Several subjects share dates: only all three tell them apart.
    """
    possible = [subject for subject, dates in DATES.items() if set(dated) <= set(dates)]
    if len(possible) > 1:
        raise wrong(
            place,
            "file names",
            f"{person} on {', '.join(sorted(dated))}",
            f"all three dates, for subjects {' and '.join(possible)} share these",
            "it cannot be decided which subject a person is",
        )
    if not possible:
        log.info("SEED: files of %r have dates of no subject; they are ignored", person)
    return possible[0] if possible else None
