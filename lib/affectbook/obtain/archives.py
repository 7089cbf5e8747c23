"""Unpack a publisher's zip so that it can do no harm: all of what is wanted, or nothing."""

from __future__ import annotations

import lzma
import os
import shutil
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

from affectbook import files
from affectbook.datasets import _folders, _published, _registry
from affectbook.errors import DataError, DataFileError, DataNotFoundError
from affectbook.obtain import _members
from affectbook.obtain._members import NOTHING_WRITTEN, refusal
from affectbook.obtain._place import (
    check_room,
    filling,
    next_steps,
    place,
    shown_size,
    writing,
)
from affectbook.obtain._progress import Progress
from affectbook.obtain.fetch import files_in_words

# Far above what each set has when unpacked, far below what fills a disk.
_MOST_BYTES = {
    "amigos": 20 * 10**9, "deap": 8 * 10**9, "dreamer": 5 * 10**9, "drivedb": 3 * 10**8,
    "eegmat": 5 * 10**8, "mand": 200 * 10**9, "mci": 20 * 10**9, "seed": 30 * 10**9,
    "swell": 30 * 10**9, "wesad": 25 * 10**9,
}  # fmt: skip
_DEEPEST = 3  # folders above the files of a set
_MOST_TOPS = 100  # folders of one depth that are looked into, those with most files first
_CHUNK = 2**20
_UNPACKING = ".unpacking-"


def unpack(
    archive: Path,
    folder: Path,
    wanted: Callable[[str], bool],
    most_bytes: int,
    echo: Callable[[str], object] = print,
    *,
    strip: str = "",
    sums: Mapping[str, Collection[str]] | None = None,
) -> list[Path]:
    """Unpack some files of a zip into a folder: each of them, or none.

    All that the zip says about itself is checked before a byte is written. The files are unpacked
    beside their places and counted, and get their names when the last one is whole. Nothing that
    is there is overwritten: a file with the same content stays, another one is an error.

    Parameters
    ----------
    archive
        The zip.
    folder
        Where its files go; made if it is missing.
    wanted
        Tells by its name, with ``/`` between folders, whether a file is unpacked.
    most_bytes
        Of all of them when unpacked.
    echo
        Takes lines of text.
    strip
        A leading folder, with a ``/`` at its end, that is taken off the names.
    sums
        SHA-256 that some of the files may have, by the names that they get.

    Returns
    -------
    list of pathlib.Path
        The files that were wanted, in the order of the zip.

    Raises
    ------
    DataNotFoundError
        If there is no such archive.
    DataError
        If it is no zip, was cut or damaged, has a member that is not a plain file inside its
        folder, is encrypted or larger than it can be, if a sum differs, another file is in the
        way, or the disk has no room. Then the folder is as it was.
    """
    archive, folder = Path(archive), Path(folder)
    with _members.opened(archive) as zipped:
        chosen = [
            (name.removeprefix(strip), info)
            for name, info in _members.files_in(zipped, archive)
            if wanted(name)
        ]
        _members.check_names(archive, [name for name, _ in chosen])
        infos = dict(chosen)
        _members.check(archive, infos, most_bytes)
        with writing(folder), filling(archive.name, folder):
            missing = {name: info for name, info in infos.items()
                       if not _is_there(archive, folder, folder / name, info)}  # fmt: skip
            total = sum(info.file_size for info in missing.values())
            check_room(archive.name, folder, total)
            echo(f"{archive.name}: {len(missing)} of {len(infos)} files are unpacked "
                 f"({shown_size(total)})")  # fmt: skip
            with Progress(archive.name, len(missing), total, echo) as progress:
                _unpack(archive, zipped, folder, missing, sums or {}, progress)
    return [folder / name for name in infos]


def _is_there(archive: Path, folder: Path, path: Path, info: zipfile.ZipInfo) -> bool:
    """Tell whether a member is in its place already; another file there is an error."""
    place, inside = path.parent.resolve(), folder.resolve()
    if not place.is_relative_to(inside):
        raise DataFileError(
            "a link in the folder leads out of it",
            file=path.parent,
            field="link",
            found=place,
            expected=f"a folder inside {inside}",
            do="nothing was written; unpack it there yourself, or choose another folder",
        )
    if not os.path.lexists(path):
        return False
    if path.is_file() and path.stat().st_size == info.file_size and _crc(path) == info.CRC:
        return True
    raise DataFileError(
        "another file is where one of the archive should go",
        file=path,
        field="content",
        found=shown_size(path.stat().st_size) if path.is_file() else "no plain file",
        expected=f"nothing, or the {shown_size(info.file_size)} of {archive.name}",
        do="nothing was written; move that file away, or choose another folder with DATA=<folder>",
    )


def _crc(path: Path) -> int:
    sum_so_far = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            sum_so_far = zlib.crc32(chunk, sum_so_far)
    return sum_so_far


def _unpack(
    archive: Path, zipped: zipfile.ZipFile, folder: Path, missing: Mapping[str, zipfile.ZipInfo],
    sums: Mapping[str, Collection[str]], progress: Progress,
) -> None:  # fmt: skip
    for left in folder.glob(f"{_UNPACKING}*"):  # of a process that was killed; the folder is locked
        shutil.rmtree(left)
    beside = Path(tempfile.mkdtemp(prefix=_UNPACKING, dir=folder))
    try:
        for number, (name, info) in enumerate(missing.items()):
            _extract(archive, zipped, info, beside / str(number), progress)
            progress.file()
            found, expected = files.sha256(beside / str(number)), sums.get(name)
            if expected is not None and found not in expected:
                raise refusal(archive, f"sha256 of {name}", found, " or ".join(expected))
        _put(folder, {folder / name: beside / str(n) for n, name in enumerate(missing)})
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _extract(
    archive: Path, zipped: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, progress: Progress
) -> None:
    """Unpack one member, whatever its size is said to be, up to that size."""
    try:
        with zipped.open(info) as packed, path.open("wb") as stream:
            while chunk := packed.read(_CHUNK):
                if stream.tell() + len(chunk) > info.file_size:
                    raise zipfile.BadZipFile("more bytes than the directory says")
                stream.write(chunk)
                progress.bytes(len(chunk))
        if path.stat().st_size != info.file_size:
            raise zipfile.BadZipFile("fewer bytes than the directory says")
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError,
            NotImplementedError, ValueError, OSError) as error:  # fmt: skip
        if isinstance(error, OSError) and error.errno is not None:
            raise
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise DataFileError(
            "a file of the archive is damaged",
            file=archive,
            field=ascii(info.filename)[1:-1][:80],
            found=found,
            expected=f"{shown_size(info.file_size)} with the right sum",
            do=NOTHING_WRITTEN,
        ) from error


def _put(folder: Path, made: Mapping[Path, Path]) -> None:
    """Give files their names; take all of them back if one cannot get it."""
    put: list[Path] = []
    folders: list[Path] = []
    try:
        for path, source in made.items():
            new = [one for one in path.relative_to(folder).parents if not (folder / one).exists()]
            for one in reversed(new):
                (folder / one).mkdir()
                folders.append(folder / one)
            source.rename(path)
            put.append(path)
    except BaseException:
        for path in put:
            path.unlink()
        for one in reversed(folders):
            with suppress(OSError):
                one.rmdir()
        raise


def for_dataset(
    name: str,
    archive: Path,
    folder: Path | None = None,
    echo: Callable[[str], object] = print,
) -> Path:
    """Unpack what the reader of a data set needs of a publisher's zip into the set's folder.

    Which files these are its reader says, shown their names as empty files together with what is
    in the folder already. So a set may come in several zips, and a folder around its files does
    not matter.

    Parameters
    ----------
    name
        The data set.
    archive
        The zip.
    folder
        The folder for its files (`_place.place`); None: where the book looks for them.
    echo
        Takes lines of text.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    DataError
        As `unpack`, or if the zip has nothing of the set, or files of an open set are not those
        that were published.
    """
    archive, folder = Path(archive).expanduser(), place(name, folder)
    card, module = _registry.card(name), _registry.module(name)
    with _members.opened(archive) as zipped:
        names = [member for member, _ in _members.files_in(zipped, archive)]
    with writing(folder):
        strip, wanted = wanted_of(name, names, folder)
    if not wanted:
        raise DataFileError(
            f"the archive holds nothing of {card.title} that is read",
            file=archive,
            field="members",
            found=", ".join(map(ascii, names[:4]))[:160] or "none",
            expected=files_in_words(name),
            do="name another archive, or one of those inside it, or unpack it yourself",
        )
    sums, list_ = _published.accepted(name, folder), strip + _published.LIST
    if name in _published.OF_A_COPY and list_ in names:
        wanted |= {list_}
        theirs = _published.parse(_members.text(archive, list_))
        sums = {file: (*own, theirs.get(file, own[0])) for file, own in sums.items()}
    most = _MOST_BYTES.get(name, 20 * 10**9)
    paths = unpack(archive, folder, wanted.__contains__, most, echo, strip=strip, sums=sums)
    _published.check(name, folder, paths)
    echo(f"{len(module.subjects_in(folder))} of {len(card.subjects)} subjects are there: {folder}")
    for line in next_steps(name, folder):
        echo(line)
    return folder


def wanted_of(name: str, names: list[str], folder: Path) -> tuple[str, frozenset[str]]:
    """Return the leading folder of a set's files in an archive, and the files that it needs.

    Parameters
    ----------
    name
        The data set.
    names
        Of all files in the archive.
    folder
        The folder of the set, for what is in it already.

    Raises
    ------
    DataNotFoundError
        If a mapping has to say which files, and there is none.
    """
    module = _registry.module(name)
    if hasattr(module, "LAYOUT"):
        module.LAYOUT.mapping(folder)
    best, needed = "", frozenset()
    for depth in range(_DEEPEST + 1):
        parts = [one.split("/") for one in names]
        tops = Counter("/".join([*one[:depth], ""]) for one in parts if len(one) > depth)
        for top, count in tops.most_common(_MOST_TOPS):
            if count > len(needed):  # else it cannot hold more than what was found above
                found = _needed(name, names, top, folder)
                best, needed = (top, found) if len(found) > len(needed) else (best, needed)
    return best, needed


def _needed(name: str, names: list[str], top: str, folder: Path) -> frozenset[str]:
    """Return which files below `top` the reader of a set would read."""
    inside = {one.removeprefix(top) for one in names if one.startswith(top)}
    if sums := _published.sums(name):
        return frozenset(top + one for one in inside & set(sums))
    module = _registry.module(name)
    with tempfile.TemporaryDirectory() as temporary:
        empty = Path(temporary) / "set"
        empty.mkdir()
        there = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
        for one in (*inside, *there):
            if Path(one).name != _folders.TWIN_FILE:
                with suppress(OSError):  # a file here, a folder there: not both can be read
                    (empty / one).parent.mkdir(parents=True, exist_ok=True)
                    (empty / one).touch()
        if hasattr(module, "LAYOUT"):
            shutil.copy(folder / "mapping.toml", empty)
        read = set()
        for subject in _subjects(name, empty):
            read |= _read(name, empty, subject)
    return frozenset(top + one for one in inside & read)


def _subjects(name: str, empty: Path) -> tuple[str, ...]:
    there: tuple[str, ...] = ()
    with suppress(DataError):
        there = _registry.module(name).subjects_in(empty)
    return tuple(dict.fromkeys([*_registry.card(name).subjects, *there]))


def _read(name: str, empty: Path, subject: str) -> set[str]:
    """Return the names of a subject's files; what is missing beside them may come later."""
    for _ in range(2):
        try:
            paths = _registry.module(name).files_of(empty, subject)
            return {path.relative_to(empty).as_posix() for path in paths}
        except DataNotFoundError as error:
            missing = Path(str(error.file))
            if missing.exists() or not missing.is_relative_to(empty) or not missing.suffix:
                break
            missing.parent.mkdir(parents=True, exist_ok=True)
            missing.touch()
        except DataError:
            break
    return set()
