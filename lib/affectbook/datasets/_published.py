"""What each file of an open set has to be: sums of SHA-256 that ship with this package.

They stand in one file for each set, ``<name>_sha256.txt``, in the format of pooch's registries:
lines of comment that say whose sums they are, then a file name and its sum on each line.

Those of eegmat are of a copy, and may not be the publisher's: of two files a public catalogue
names other sums as PhysioNet's (and of ``subject-info.csv`` the same one). So for such a set the
publisher's own list, where it lies beside the files, is taken as well.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path

from affectbook import cache
from affectbook.datasets import _registry
from affectbook.errors import DataFileError

LIST = "SHA256SUMS.txt"  # the list that PhysioNet puts beside the files of a set
OF_A_COPY = ("eegmat",)
_COMMENT = "#"
_LONGEST = 10**6  # bytes of a list


def sums(name: str) -> dict[str, str]:
    """Return the SHA-256 of each file of a set by its name inside the folder; empty without any."""
    lines = (line for line in _lines(name) if not line.startswith(_COMMENT))
    return dict(line.split() for line in lines)


def source(name: str) -> str:
    """Return one sentence: whose sums they are. Empty for a set without sums."""
    lines = (line for line in _lines(name) if line.startswith(_COMMENT))
    return " ".join(line.lstrip(f"{_COMMENT} ") for line in lines)


def accepted(name: str, folder: Path) -> dict[str, tuple[str, ...]]:
    """Return the sums that each file of a set may have: more than one only in a copy's list."""
    theirs = publishers(Path(folder) / LIST) if name in OF_A_COPY else {}
    return {
        file: tuple(dict.fromkeys([own, theirs.get(file, own)])) for file, own in sums(name).items()
    }


def publishers(path: Path) -> dict[str, str]:
    """Return what a publisher's list says, a sum and a file name on each line; empty without one.

    Raises
    ------
    OSError
        If it may not be read.
    """
    if not path.is_file() or path.stat().st_size > _LONGEST:
        return {}
    return parse(path.read_bytes())


def parse(content: bytes) -> dict[str, str]:
    """Return the sums in the text of a publisher's list; other lines are left out."""
    lines = re.findall(r"(?m)^([0-9a-f]{64})\s+\*?(\S.*?)\s*$", content.decode("utf-8", "replace"))
    return {file: digest for digest, file in lines}


@functools.cache
def _lines(name: str) -> tuple[str, ...]:
    path = Path(__file__).with_name(f"{name}_sha256.txt")
    if not path.is_file():
        return ()
    return tuple(filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())))


def check(name: str, folder: Path, files: Iterable[Path]) -> None:
    """Refuse a file whose content is not that of the list; files that are not in it pass.

    A file is read once and its sum kept (`cache.sha256`). One that is missing is left to the
    reader, who knows what it is for.

    Parameters
    ----------
    name
        The data set.
    folder
        The folder of its files.
    files
        Paths inside it.

    Raises
    ------
    DataFileError
        Naming the first file whose sum differs.
    OSError
        If a file may not be read.
    """
    folder = Path(folder)
    listed = accepted(name, folder)
    for path in files:
        path = Path(path)
        inside = path.relative_to(folder) if path.is_relative_to(folder) else path
        expected = listed.get(inside.as_posix())
        if expected is None or not path.is_file():
            continue
        found = cache.sha256(path)
        if found not in expected:
            raise DataFileError(
                f"{_registry.card(name).title}: the content of a file is not what was published",
                file=path,
                field="sha256",
                found=found,
                expected=f"{' or '.join(expected)}. {source(name)}",
                do=f"make data DATASET={name} fetches it again"
                + (f", with the publisher's {LIST}" if name in OF_A_COPY else ""),
            )
