"""Fetch the open data sets, and say how the licensed ones are got.

>>> from affectbook.obtain import fetch
>>> fetch.fetch("eegmat")  # doctest: +SKIP
>>> print(fetch.instructions("wesad"))  # doctest: +SKIP
"""

from __future__ import annotations

import logging
import os
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pooch

from affectbook import cache, files
from affectbook.datasets import _folders, _licence, _published, _registry
from affectbook.errors import DataError, DataFileError, DataNotFoundError
from affectbook.obtain._download import Downloads, Patience, part_of, remove
from affectbook.obtain._place import (
    AGAIN,
    check_room,
    filling,
    next_steps,
    place,
    shown_size,
    writing,
)
from affectbook.obtain._progress import Progress

BASE_URLS = {
    "drivedb": "https://physionet.org/files/drivedb/1.0.0/",
    "eegmat": "https://physionet.org/files/eegmat/1.0.0/",
}
_WIDTH = 100
_AS_IT_IS = ("There", "Folder", "Unpack", "Accept", "Check", "Run")


def fetch(
    name: str,
    folder: Path | None = None,
    base_url: str | None = None,
    echo: Callable[[str], object] = print,
    *,
    registry: Mapping[str, str] | None = None,
    patience: Patience | None = None,
) -> Path:
    """Fetch an open data set, each file against its SHA-256; go on where it stopped before.

    A file has its name only when its sum is right. Until then it is a part beside it, with which
    the same call goes on. A file that is there with another content is kept until then, too.

    Parameters
    ----------
    name
        ``"eegmat"`` or ``"drivedb"``.
    folder
        The folder for its files (`_place.place`); None: where the book looks for them.
    base_url
        The address of the files; None: PhysioNet's.
    echo
        Takes lines of text.
    registry
        Sums by file name; None: those that ship with this package.
    patience
        How long a server is waited for.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    DataError
        If the set is not open, the folder cannot be filled, the server cannot be reached or
        lacks a file, or what it sends is not what was published.
    """
    folder, listed = place(name, folder), dict(registry or _published.sums(name))
    if not listed or not (base_url or name in BASE_URLS):
        raise _not_open(name, folder)
    pup = pooch.create(folder, base_url or BASE_URLS[name], registry=listed)
    with writing(folder), filling(_registry.card(name).title, folder):
        known = {file: (own,) for file, own in listed.items()}
        known = known if registry else _published.accepted(name, folder)
        missing = _missing(folder, known, echo)
        if missing:
            with Downloads(patience or Patience()) as downloads:
                if name in _published.OF_A_COPY and not registry:
                    pup.registry |= _publishers(name, pup, downloads, echo)
                _fetch_files(name, pup, missing, downloads, echo)
        n_bytes = sum((folder / file).stat().st_size for file in listed)
    echo(f"{len(listed)} files, {shown_size(n_bytes)}, each with the right sum: {folder}")
    for line in next_steps(name, folder):
        echo(line)
    return folder


def _not_open(name: str, folder: Path) -> DataError:
    card = _registry.card(name)
    return DataError(
        f"{card.title} cannot be fetched for you",
        file=folder,
        field="licence",
        found=card.licence,
        expected=f"an open set: {', '.join(BASE_URLS)}",
        do=f"{card.obtain}; make data DATASET={name} says more",
    )


def _publishers(
    name: str, pup: pooch.Pooch, downloads: Downloads, echo: Callable
) -> dict[str, str]:
    """Return what the publisher's own list says of the files, and keep it beside them.

    Without one, the sums that ship with this package are all there is.
    """
    target = Path(pup.abspath) / _published.LIST
    part, ours = part_of(target), dict(pup.registry)
    remove(part)
    try:
        with Progress(name, 1, None, echo, shown=False) as progress:
            downloads.complete(f"{pup.base_url}{_published.LIST}", part, progress)
    except DataNotFoundError:
        return {}
    theirs = {file: sum_ for file, sum_ in _published.publishers(part).items() if file in ours}
    if theirs:
        os.replace(part, target)
        same = sum(ours[file] == sum_ for file, sum_ in theirs.items())
        echo(f"{name}: the publisher's list names {len(theirs)} of {len(ours)} files, {same} of "
             "them with the sums of this book")  # fmt: skip
    remove(part)
    return theirs


def _missing(folder: Path, known: Mapping[str, Sequence[str]], echo: Callable) -> list[str]:
    """Return the files that are not there, or are there with another content."""
    missing = []
    for file, expected in known.items():
        path = folder / file
        if path.exists() and cache.sha256(path) in expected:
            remove(part_of(path))
            continue
        if path.exists():
            echo(f"{file}: its sum is wrong; it is kept until the right one is there")
        missing.append(file)
    return missing


def _fetch_files(
    name: str, pup: pooch.Pooch, missing: list[str], downloads: Downloads, echo: Callable
) -> None:
    # Its own lines, one for each file, would break the bar.
    pooch.get_logger().setLevel(logging.WARNING)
    parts = {file: part_of(Path(pup.abspath) / file) for file in missing}
    there = {file: part.stat().st_size for file, part in parts.items() if part.exists()}
    sizes = [downloads.size(pup.get_url(file)) for file in missing]
    total, done = None if None in sizes else sum(sizes), sum(there.values())
    check_room(_registry.card(name).title, Path(pup.abspath), max(0, (total or 0) - done))
    going_on = f", {shown_size(done)} of it are there" if there else ""
    size = f" ({shown_size(total)}{going_on})" if total is not None else ""
    echo(f"{name}: {len(missing)} of {len(pup.registry)} files are fetched{size}")
    with Progress(name, len(missing), total, echo, done) as progress:
        for file in missing:
            _fetch_file(name, pup, file, downloads, progress)
            progress.file()


def _fetch_file(
    name: str, pup: pooch.Pooch, file: str, downloads: Downloads, progress: Progress
) -> None:
    """Fetch a file, and once more from its start if its sum is wrong.

    Pooch compares the sum again and gives the file its name. It comes into a part first, since
    pooch would delete what an interruption leaves.
    """
    url, expected = pup.get_url(file), pup.registry[file]
    part = part_of(Path(pup.abspath) / file)
    part.parent.mkdir(parents=True, exist_ok=True)
    for last in (False, True):
        if not (part.is_file() and files.sha256(part) == expected):
            downloads.complete(url, part, progress)
        found = files.sha256(part)
        if found == expected:
            break
        size = part.stat().st_size
        progress.bytes(-size)
        remove(part)
        if last:
            raise DataFileError(
                f"{_registry.card(name).title}: what the server sends is not what was published",
                file=url,
                field="sha256",
                found=f"{found} ({size} bytes), twice",
                expected=f"{expected}. {_published.source(name)}",
                do=f"check the network, then {AGAIN}; if it stays so, look whether the publisher "
                f"has a new version: {pup.base_url}{_published.LIST}",
            )
        progress.say(f"{file}: its sum is wrong; it is fetched once more from its start")
    pup.fetch(file, downloader=lambda _, target, __: os.replace(part, target))
    remove(part)


def instructions(name: str) -> str:
    """Return how a licensed data set is got: what to sign, where it goes, what to do then.

    Raises
    ------
    ParameterError
        If there is no such data set.
    DataFileError
        If the folder for it may not be read.
    """
    card, folder = _registry.card(name), place(name)
    if name in BASE_URLS:
        return f"{card.title} is open: make data DATASET={name} fetches it into {folder}"
    check, run = (line.partition(":")[2].strip() for line in next_steps(name, folder))
    fields = {
        "There": _there(name),
        "Licence": card.licence,
        "Get it": card.obtain,
        "Size": card.size,
        "Folder": str(folder),
        "Files": files_in_words(name),
        "Unpack": _unpack(name),
        "Accept": f"{_licence.VARIABLE}={name} accepts the licence without a question",
        "Check": check,
        "Run": run,
    }
    first = f"{card.title} needs a licence, so you have to get it yourself."
    return "\n".join([first, *(_field(*field) for field in fields.items() if field[1])])


def _field(label: str, text: str) -> str:
    """Return a field of the instructions; what is typed or copied stays on one line."""
    if label in _AS_IT_IS:
        return f"  {label:<9}{text}"
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"  {label:<9}",
        subsequent_indent=" " * 11,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _there(name: str) -> str:
    """Return where real data are already and of how many subjects; empty if they are nowhere."""
    try:
        folder = _folders.find_root(name)
        if _folders.twin_of(folder) is not None:
            return ""
        count = len(_registry.module(name).subjects_in(folder))
    except DataError:
        return ""
    return f"{count} of {len(_registry.card(name).subjects)} subjects are in {folder}"


def files_in_words(name: str) -> str:
    """Return which files have to be in the folder, as the reader of the set would look for them."""
    module, subjects = _registry.module(name), _registry.card(name).subjects
    if hasattr(module, "LAYOUT"):
        template = module.LAYOUT.template.name
        return f"mapping.toml, which is a copy of {template} that you fill in, and what it names"
    empty = Path("/no/such/folder")
    try:
        ends = [module.files_of(empty, subject) for subject in (subjects[0], subjects[-1])]
        names = list(dict.fromkeys(p.relative_to(empty).as_posix() for end in ends for p in end))
    except DataNotFoundError as error:  # for readers that look which of several names is there
        there = Path(error.file)
        inside = there.relative_to(empty).as_posix()
        of_one = f"of subject {subjects[0]}, {error.expected}"
        names = [f"{inside}, and recordings" if there != empty else of_one]
    return " to ".join(names) + (f" ({len(subjects)} subjects)" if len(subjects) > 1 else "")


def _unpack(name: str) -> str:
    """Return how the publisher's archive is unpacked, where there is one."""
    obtain = _registry.card(name).obtain
    if "unpack" not in obtain:
        return ""
    zips = re.findall(r"[\w-]+\.zip", obtain) or ["name.zip"]
    return f"make data DATASET={name} ARCHIVE=/path/to/{zips[0]}"
