"""Data sets: where they are, what they hold, and their recordings.

>>> from affectbook import datasets
>>> datasets.names()
('amigos', 'deap', 'dreamer', 'drivedb', 'eegmat', 'mand', 'mci', 'seed', 'swell', 'wesad')
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from affectbook import cache, files
from affectbook.closure import closure_of, code_hash
from affectbook.datasets import _folders, _licence, _plausible, _published, _registry
from affectbook.datasets._folders import find_root, readable
from affectbook.datasets._registry import names
from affectbook.datasets.card import Card, LabelRule, RatingRule
from affectbook.datasets.recording import Recording
from affectbook.errors import DataFileError, DataNotFoundError, ParameterError, shown

__all__ = [
    "Card", "LabelRule", "RatingRule", "Recording", "Recordings", "card", "channels", "check_tier",
    "code", "content_hash", "data_hashes", "describe", "find_root", "groups", "load", "names",
    "prepare", "subjects", "without",
]  # fmt: skip

TIERS = ("simulated", "open", "licensed")
log = logging.getLogger(__name__)


def card(name: str) -> Card:
    """Return the data card of a data set; channels after its name do not matter.

    Raises
    ------
    ParameterError
        If there is no such data set, or it has no such channels.
    """
    return _registry.card(_registry.parse(name).name)


class Recordings:
    """Recordings of a data set, read while they are iterated over.

    Attributes
    ----------
    name, folder, subjects, kind, channels, options
        What is read, resolved.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        subjects: tuple[str, ...],
        channels: str | Iterable[str] | None,
        options: dict[str, object],
    ) -> None:
        self.name, self.folder, self.subjects, self.options = name, folder, subjects, options
        self.kind, self.channels = _registry.kind_of(name, channels)
        self._read()  # so that what the reader checks at the call is checked now

    def _read(self) -> Iterator[Recording]:
        module = _registry.module(self.name)
        several = {"channels": self.kind} if len(module.CHANNELS) > 1 else {}
        return module.read(self.folder, self.subjects, **several, **self.options)

    def __iter__(self) -> Iterator[Recording]:
        module, real = _registry.module(self.name), _folders.twin_of(self.folder) is None
        with readable(self.name, self.folder):
            files = {subject: module.files_of(self.folder, subject) for subject in self.subjects}
            if real:
                read = sorted({file for each in files.values() for file in each})
                _published.check(self.name, self.folder, read)
            for recording in _plausible.checked(self._read(), self.kind, files):
                yield recording.pick(self.channels)

    def rule(self, name: str) -> LabelRule | RatingRule:
        """Return the label rule of this name.

        Raises
        ------
        ParameterError
            If the set has no such rule.
        """
        rules = {rule.name: rule for rule in _registry.card(self.name).label_rules}
        if name not in rules:
            raise _registry.unknown(f"label rule of {self.name}", name, rules)
        return rules[name]

    def identity(self) -> dict[str, object]:
        """Return all that the recordings depend on: files and code by their hashes, and choices."""
        return {
            "dataset": self.name,
            "code": code(self.name),
            "subjects": list(self.subjects),
            "channels": list(self.channels),
            "options": {name: repr(value) for name, value in sorted(self.options.items())},
            "files": data_hashes(self.name, self.folder, self.subjects),
        }


def load(
    name: str,
    root: str | Path | None = None,
    subjects: Iterable[str] | None = None,
    *,
    channels: str | Iterable[str] | None = None,
    allow_missing: Iterable[str] = (),
    **options: object,
) -> Recordings:
    """Return the recordings of a data set, read with one subject in memory at a time.

    What can be checked without reading signals is checked at the call, not at the first
    recording.

    Parameters
    ----------
    name
        The data set, one of `names`; ``"<name>:<channels>"`` names channels, too, and
        ``"<name> without <subject>,<subject>"`` subjects as `allow_missing` does.
    root
        Where it is; None searches (`find_root`).
    subjects
        Which subjects, as the set names them, in this order; None: all of them.
    channels
        A kind (``"ecg"``, ``"eeg"``) or names of channels of one kind; None: all of the first kind
        of the set.
    allow_missing
        Subjects to do without: they may be missing, and are not read if they are there.
    options
        What the reader of this set takes besides, such as ``trim_s=30`` for drivedb.

    Raises
    ------
    ParameterError
        If there is no such data set, option or channel, or `subjects` is not a list of names.
    DataNotFoundError
        If the data, or a subject of them, are not there.
    DataFileError
        While reading, if a file is not what its card says.
    """
    more = ",".join(_names_in(allow_missing, "allow_missing"))
    name, named, without = _registry.parse(_registry.joined(name, more))
    _registry.check_options(name, options)
    folder = find_root(name, root)
    channels = named if channels is None else channels
    if root is None and _folders.twin_of(folder) is not None:
        log.warning("%s: what was found is a simulated twin", card(name).title)
    chosen = _chosen(name, folder, subjects, without)
    if without:
        told = card(name).title, len(chosen), ", ".join(without)
        log.warning("%s: %d subjects are read, without %s", *told)
    _tell_strays(name, folder)
    return Recordings(name, folder, chosen, channels, options)


def _tell_strays(name: str, folder: Path) -> None:
    """Say in one line which files of a folder are no part of the set."""
    with readable(name, folder):
        strays = _folders.strays(name, folder)
    if strays:
        more = f" and {len(strays) - 5} more" if len(strays) > 5 else ""
        some = ", ".join(map(shown, strays[:5])) + more
        told = card(name).title, len(strays), some
        log.warning("%s: files that are no part of it are ignored: %d (%s)", *told)


def subjects(name: str, root: str | Path | None = None) -> tuple[str, ...]:
    """Return the subjects that `load` reads when none are named.

    Raises
    ------
    DataNotFoundError
        If one of them is not there.
    """
    name, _, without = _registry.parse(name)
    return _chosen(name, find_root(name, root), None, without)


def without(name: str, subjects: str) -> str:
    """Return the name of a data set without these subjects, given as text: ``"S7,S9"``.

    It stands for the set wherever one is named, also in score rows, which so tell what they are of.
    """
    return _registry.joined(name, ",".join(filter(None, map(str.strip, subjects.split(",")))))


def channels(name: str) -> dict[str, tuple[str, ...]]:
    """Return the names of the channels of each kind that a data set has; the default kind first."""
    return dict(_registry.module(_registry.parse(name).name).CHANNELS)


def groups(name: str, root: str | Path | None = None) -> dict[str, str]:
    """Return the group that each subject belongs to, in a set that has groups of people.

    Raises
    ------
    ParameterError
        If the set has none.
    """
    name, _, without = _registry.parse(name)
    folder, module = find_root(name, root), _registry.module(name)
    if not hasattr(module, "populations"):
        raise ParameterError(f"{name} does not tell groups of people apart")
    return module.populations(folder, _chosen(name, folder, None, without))


def _chosen(
    name: str, folder: Path, asked: Iterable[str] | None, without: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return the subjects to read, after checking that each of them is in the folder."""
    module = _registry.module(name)
    with readable(name, folder):
        there, twin = module.subjects_in(folder), _folders.twin_of(folder)
        wanted = tuple(twin["subjects"]) if twin else module.expected_in(folder)
    if asked is not None:
        wanted = _names_in(asked, "subjects")
    elif not twin and len(wanted) < len(module.CARD.subjects):
        log.info("%s: a partial copy, read are %s", module.CARD.title, ", ".join(wanted) or "none")
    wanted = tuple(subject for subject in wanted if subject not in without)
    missing = [subject for subject in wanted if subject not in there]
    if missing or not wanted:
        raise DataNotFoundError(
            f"{module.CARD.title} lacks subjects" if missing else "no subject to read",
            file=folder,
            field="subjects",
            found=f"missing are {', '.join(map(str, missing)) or 'all'}",
            expected=", ".join(map(str, wanted)) or "at least one subject by name",
            do=f"complete the copy, or name subjects that are there: subjects={list(there)}"
            if asked is not None or not missing
            else f"complete the copy, or do without them: allow_missing={','.join(missing)}",
        )
    return wanted


def _names_in(asked: Iterable[str], option: str) -> tuple[str, ...]:
    """Return the subjects that an option names, each once."""
    if isinstance(asked, str) or not isinstance(asked, Iterable):
        raise ParameterError(f"{option} is not a list; did you mean {option}=[{str(asked)!r}]?")
    names = list(asked)
    if not all(isinstance(one, str) for one in names):
        meant = [str(one) for one in names]
        raise ParameterError(f"subjects are named by texts; did you mean {option}={meant}?")
    return tuple(dict.fromkeys(names))


def check_tier(name: str, tier: str) -> None:
    """Refuse a tier that a data set does not have, without looking for any file.

    Raises
    ------
    ParameterError
        If there is no such tier, or it is not that of the set.
    """
    own = card(name).tier
    if tier not in TIERS:
        raise _registry.unknown("tier", tier, TIERS)
    if tier not in ("simulated", own):
        raise ParameterError(f"{name} is of tier {own!r}, not {tier!r}; ask for tier={own!r}")


def prepare(
    name: str,
    tier: str,
    *,
    root: str | Path | None = None,
    effect: float = 1.0,
    fingerprint: float = 1.0,
    seed: int = 0,
    subjects: int = 15,
) -> Path:
    """Return the folder with the data of one tier; never that of another tier.

    Parameters
    ----------
    name, tier
        The data set, and ``"simulated"``, ``"open"`` or ``"licensed"``.
    root
        Where real data are (`find_root`).
    effect, fingerprint, seed, subjects
        The dials of a twin and its number of subjects; real data have none.

    Returns
    -------
    pathlib.Path
        For ``"simulated"`` the twin, made now unless one with the same dials is there that was
        made by the same code.

    Raises
    ------
    ParameterError
        If the tier is not that of the set.
    DataNotFoundError
        If real data are not there, or are a twin.
    """
    name = _registry.parse(name).name
    check_tier(name, tier)
    if tier == "simulated":
        if root is not None:
            raise ParameterError("root names real data; with tier 'simulated' leave it out")
        return _twin(name, effect=effect, fingerprint=fingerprint, seed=seed, subjects=subjects)
    folder = find_root(name, root)
    if _folders.twin_of(folder) is not None:
        raise DataNotFoundError(
            f"tier {tier!r} asks for real data, but the folder holds a simulated twin",
            file=folder,
            do=f"point ${_folders.VARIABLE} to the real data, or ask for tier='simulated'",
        )
    _licence.require(name, folder)
    return folder


def _twin(name: str, *, subjects: int, seed: int, effect: float, fingerprint: float) -> Path:
    """Return the folder of a twin, made whole or not at all."""
    module = _registry.module(name)
    dials = {"effect": float(effect), "fingerprint": float(fingerprint)}
    dials |= {"subjects": int(subjects), "seed": int(seed)}

    def make(folder: Path) -> None:
        module.make_twin(folder, **dials)
        if _folders.twin_of(folder) is None:
            raise ParameterError(f"make_twin of {name} left no mark; end it with mark_twin()")

    return cache.folder(f"twins/{name}", {**dials, "code": code(name)}, make)


def code(name: str) -> dict[str, str]:
    """Return a hash of each file of this package that reads or writes a data set."""
    lib = files.project_root() / "lib"
    # The sandbox imports whatever it is asked to; what that is, its callers import themselves.
    others = ("datasets", "datasets._registry", "datasets._sandbox_child", "cache")
    others = tuple(f"affectbook.{name}" for name in others)
    found = closure_of(f"affectbook.datasets.{name}", lib, leave_out=others)
    return {path.relative_to(lib).as_posix(): code_hash(path) for path in found}


def describe(name: str, tier: str, path: str | Path) -> str:
    """Return the first line of log and page: tier, data and folder.

    A path outside the project is shortened, so that no path of this machine is printed.
    """
    name, channels, without = _registry.parse(name)
    module, folder = _registry.module(name), find_root(name, path)
    twin = _folders.twin_of(folder)
    expected = twin["subjects"] if twin else module.expected_in(folder)
    count = len(set(expected) & set(module.subjects_in(folder)) - set(without))
    data = f"{module.CARD.title}{' twin' if twin else ''}, {count} subject{'s' * (count != 1)}"
    if without:
        data += f" (without {', '.join(without)})"
    if channels:
        data += f", channels {channels if isinstance(channels, str) else ' '.join(channels)}"
    if twin:
        data += "".join(f", {key} {twin[key]:g}" for key in ("effect", "fingerprint", "seed"))
    elif hasattr(module, "LAYOUT"):
        data += ", layout unverified"
    return f"tier: {tier} | data: {data} | folder: {_folders.shown(name, folder)}"


def data_hashes(
    name: str, path: str | Path, subjects: Iterable[str] | None = None
) -> dict[str, str]:
    """Return the SHA-256 of each file that `load` reads, by its name inside the data folder.

    Raises
    ------
    DataFileError
        If two files are the same byte for byte, as where a copy went wrong.
    """
    name, _, without = _registry.parse(name)
    folder = find_root(name, path)
    module = _registry.module(name)
    chosen, hashes = _chosen(name, folder, subjects, without), {}
    with readable(name, folder):
        read = sorted({file for subject in chosen for file in module.files_of(folder, subject)})
        for file in read:
            hashes[file.relative_to(folder).as_posix()] = cache.sha256(file)
    seen: dict[str, str] = {}
    for file, digest in hashes.items():
        if seen.setdefault(digest, file) != file:
            raise DataFileError(
                f"{module.CARD.title}: two files are the same, byte for byte",
                file=folder / file,
                found=f"the content of {seen[digest]}",
                expected="a recording of its own in each file",
                do="get both files again, or leave one subject out with subjects=",
            )
    return hashes


def content_hash(name: str, path: str | Path, subjects: Iterable[str] | None = None) -> str:
    """Return one SHA-256 over the names and contents of the files that `load` reads."""
    lines = [f"{digest}  {file}\n" for file, digest in data_hashes(name, path, subjects).items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
