"""Which licences were confirmed, and for which folder; without that, licensed data stay closed."""

from __future__ import annotations

import datetime
import fcntl
import functools
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from affectbook import files
from affectbook.datasets import _folders, _registry
from affectbook.errors import LicenceError

VARIABLE = "AFFECTBOOK_ACCEPT_LICENCE"
# What could not be kept has to reach the kernel, which is another process.
_THIS_RUN = "AFFECTBOOK_LICENCES_OF_THIS_RUN"
_KEYS = ("set", "folder", "licence")
_DAMAGED = (OSError, ValueError, RecursionError)
log = logging.getLogger(__name__)


def kept_in() -> Path:
    """Return the file that keeps confirmations: outside the data, which may be read-only."""
    return files.project_root() / "data" / "licences.json"


def require(name: str, folder: Path) -> None:
    """Refuse a licensed data set whose licence was not confirmed for this folder.

    Raises
    ------
    LicenceError
        If it was not, or the text of the licence has changed since.
    ParameterError
        If ``$AFFECTBOOK_ACCEPT_LICENCE`` names what is no data set.
    """
    if confirmed(name, folder):
        return
    card, new = _registry.card(name), _confirmation(name, folder)
    older = [one for one in _all() if (one["set"], one["folder"]) == (name, new["folder"])]
    raise LicenceError(
        f"the licence of {card.title} was not confirmed for this folder",
        file=folder,
        field="licence",
        found="a confirmation of an older text" if older else "no confirmation",
        expected=f"that you accept it: {card.licence}",
        do=f"start `make run` on a terminal, which asks once, or set {VARIABLE}={name}",
    )


def confirmed(name: str, folder: Path) -> bool:
    """Tell whether nothing has to be confirmed (any more) before this folder is read.

    Raises
    ------
    ParameterError
        If ``$AFFECTBOOK_ACCEPT_LICENCE`` names what is no data set.
    """
    folder = Path(folder)
    if _registry.card(name).tier != "licensed" or _folders.twin_of(folder) is not None:
        return True
    if name in _accepted():
        return True
    wanted = _confirmation(name, folder)
    return any(all(one[key] == wanted[key] for key in _KEYS) for one in _all())


def confirm(name: str, folder: Path) -> None:
    """Keep that the licence was accepted for a folder; where that fails, for this run only."""
    new = _confirmation(name, folder) | {"date": datetime.date.today().isoformat()}
    try:
        _keep(new)
    except OSError as error:
        log.warning(
            "%s: the confirmation holds for this run only, since data/%s cannot be written (%s)",
            _registry.card(name).title, kept_in().name, error.strerror or error,
        )  # fmt: skip
        os.environ[_THIS_RUN] = json.dumps([*_of_this_run(), new])


def _confirmation(name: str, folder: Path) -> dict[str, str]:
    # realpath, unlike Path.resolve, takes a loop of links as it is.
    text = _registry.card(name).licence
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"set": name, "folder": os.path.realpath(folder), "licence": digest}


def _accepted() -> set[str]:
    """Return the data sets that the environment names."""
    listed = [one.strip() for one in os.environ.get(VARIABLE, "").split(",")]
    for one in filter(None, listed):
        if one.lower() not in _registry.names():
            raise _registry.unknown(f"data set in ${VARIABLE}", one, _registry.names())
    return {one.lower() for one in listed}


def _all() -> list[dict[str, str]]:
    return [*_kept(), *_of_this_run()]


def _kept() -> list[dict[str, str]]:
    """Return the confirmations that are kept; of a damaged file none."""
    place = kept_in()
    try:
        return _read(place)
    except _DAMAGED as error:
        _warn_once(place, f"{type(error).__name__}: {error}")
        return []


@functools.cache
def _warn_once(place: Path, why: str) -> None:
    log.warning("data/%s cannot be read, so no licence is confirmed (%s)", place.name, why)


def _read(place: Path) -> list[dict[str, str]]:
    try:
        return _parsed(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []


def _of_this_run() -> list[dict[str, str]]:
    try:
        return _parsed(os.environ.get(_THIS_RUN, "[]"))
    except _DAMAGED:
        return []


def _parsed(text: str) -> list[dict[str, str]]:
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError("not a list of confirmations")
    for one in found:
        if not (isinstance(one, dict) and all(isinstance(one.get(key), str) for key in _KEYS)):
            raise ValueError(f"no confirmation with {', '.join(_KEYS)}")
    return found


def _keep(new: dict[str, str]) -> None:
    place = kept_in()
    with _alone(place.parent):
        try:
            before = _read(place)
        except _DAMAGED:
            before = []
            _set_aside(place)
        others = [one for one in before if any(one[key] != new[key] for key in ("set", "folder"))]
        files.write_text(place, json.dumps([*others, new], indent=1) + "\n")


def _set_aside(place: Path) -> None:
    """Rename a damaged file: what a reader may still want of it is not overwritten."""
    number = 1
    while (aside := place.with_name(f"{place.stem}.damaged-{number}{place.suffix}")).exists():
        number += 1
    place.rename(aside)
    log.warning("data/%s is damaged; it is kept as data/%s", place.name, aside.name)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time read, add and write."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network drives have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
