"""What a zip says that it holds, looked through before a byte of it is written."""

from __future__ import annotations

import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from affectbook.errors import DataFileError, DataNotFoundError
from affectbook.obtain._place import shown_size

MOST_MEMBERS = 100_000
_MOST_RATIO = 200  # signals shrink to a half or a tenth; zeros to a thousandth
_SMALL = 10**7  # bytes, below which nobody minds a ratio
_UNEVEN = 4  # how much larger than its share a member may be
_LONGEST = (255, 1024)  # bytes of a name and of a path
_SPECIAL = (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_BEGINNINGS = {b"PK\x03\x04": "a zip that was cut", b"Rar!": "a rar", b"7z\xbc\xaf": "a 7z",
               b"\x1f\x8b": "a gzip"}  # fmt: skip
NOTHING_WRITTEN = "nothing was written; get the archive again from the publisher"


@contextmanager
def opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip whose directory can be read.

    Raises
    ------
    DataNotFoundError
        If there is no such file.
    DataFileError
        If it is no zip, was cut, or may not be read.
    """
    try:
        zipped = zipfile.ZipFile(archive)
    except FileNotFoundError:
        raise DataNotFoundError(
            "there is no such archive",
            file=archive,
            field="ARCHIVE",
            found="no file",
            expected="the publisher's zip",
            do="name the file that you downloaded: ARCHIVE=/path/to/name.zip",
        ) from None
    except (OSError, zipfile.BadZipFile, struct.error, ValueError, NotImplementedError) as error:
        found = f"{_kind(archive)} ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        raise refusal(archive, "directory", found, "a whole zip") from error
    with zipped:
        yield zipped


def _kind(archive: Path) -> str:
    """Return what a file that is no zip may be, by how it begins."""
    try:
        with archive.open("rb") as stream:
            start = stream.read(4)
    except OSError:
        return "a file that cannot be read"
    return next((kind for sign, kind in _BEGINNINGS.items() if start.startswith(sign)), "no zip")


def refusal(archive: Path, field: str, found: str, expected: str) -> DataFileError:
    """Return the error for an archive that is not unpacked."""
    return DataFileError(
        "the archive is not unpacked",
        file=archive,
        field=field,
        found=found,
        expected=expected,
        do=f"{NOTHING_WRITTEN}, or unpack it yourself if you trust it",
    )


def files_in(zipped: zipfile.ZipFile, archive: Path) -> list[tuple[str, zipfile.ZipInfo]]:
    """Return the files of a zip by their names, each of which stays inside a folder.

    Raises
    ------
    DataFileError
        If any member is not a file or folder with such a name, or there are too many.
    """
    infos = zipped.infolist()
    if len(infos) > MOST_MEMBERS:
        raise refusal(archive, "members", f"{len(infos)}", f"at most {MOST_MEMBERS}")
    for info in infos:
        if fault := _fault(info):
            raise refusal(archive, _shown(info), fault, "a file or folder inside its folder")
    named = ((_plain(info.orig_filename), info) for info in infos if not info.is_dir())
    return [(name, info) for name, info in named if name]


def text(archive: Path, name: str) -> bytes:
    """Return a small member, or nothing where it is large or damaged."""
    with opened(archive) as zipped:
        info = dict(files_in(zipped, archive))[name]
        if info.file_size > _SMALL or info.flag_bits & 0x1:
            return b""
        try:
            return zipped.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError):
            return b""


def _fault(info: zipfile.ZipInfo) -> str | None:
    """Return what is wrong with the name or the kind of a member."""
    name = info.orig_filename
    parts = name.split("/")
    if not name or not info.filename:
        return "a member without a name"
    if any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in name):
        return "a name with control characters"
    if "\\" in name:
        return "a name with backslashes"
    if re.match(r"[A-Za-z]:", name):
        return "a name with a drive letter"
    if name.startswith("/"):
        return "an absolute path"
    if ".." in parts:
        return "a path that leaves its folder"
    bytes_of = [len(part.encode("utf-8", "surrogateescape")) for part in parts]
    if max(bytes_of) > _LONGEST[0] or sum(bytes_of) + len(parts) > _LONGEST[1]:
        return "a name that is too long"
    if stat.S_IFMT(info.external_attr >> 16) in _SPECIAL:
        return "a link or another special file"
    return None


def _plain(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _shown(info: zipfile.ZipInfo) -> str:
    """Return the name of a member so that it can be printed in one line."""
    return ascii(info.orig_filename)[1:-1][:80]


def check(archive: Path, chosen: dict[str, zipfile.ZipInfo], most_bytes: int) -> None:
    """Refuse members that cannot be unpacked, or say that they are larger than they can be.

    Parameters
    ----------
    archive
        Named in messages.
    chosen
        Members by the name that they get.
    most_bytes
        Of all of them together.

    Raises
    ------
    DataFileError
        Naming the first.
    """
    total = sum(info.file_size for info in chosen.values())
    if total > most_bytes:
        expected = f"at most {shown_size(most_bytes)}"
        raise refusal(archive, "size when unpacked", shown_size(total), expected)
    share = min(most_bytes, _UNEVEN * most_bytes // max(1, len(chosen)))
    for info in chosen.values():
        field = _shown(info)
        if info.flag_bits & 0x1:
            raise refusal(archive, field, "an encrypted file", "one without a password")
        if info.compress_type not in _METHODS:
            found = f"compressed by method {info.compress_type}"
            raise refusal(archive, field, found, "stored, deflate, bzip2 or lzma")
        if info.file_size > share:
            expected = f"at most {shown_size(share)} in one file"
            raise refusal(archive, field, shown_size(info.file_size), expected)
        if info.file_size > max(_SMALL, _MOST_RATIO * info.compress_size):
            found = f"{shown_size(info.file_size)} in {shown_size(info.compress_size)}"
            raise refusal(archive, field, found, f"at most {_MOST_RATIO} times its packed size")


def check_names(archive: Path, names: Iterable[str]) -> None:
    """Refuse names of which one would overwrite or enter another, on any file system.

    Raises
    ------
    DataFileError
        Naming both.
    """
    seen: dict[str, str] = {}
    for name in names:
        same = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        if same in seen:
            raise refusal(
                archive, ascii(name)[:90], f"also {ascii(seen[same])[:90]}", "one of both"
            )
        seen[same] = name
    for same, name in seen.items():
        parts = same.split("/")
        for depth in range(1, len(parts)):
            if (above := "/".join(parts[:depth])) in seen:
                found = f"{ascii(seen[above])[:90]}, a file, is the folder of another"
                raise refusal(archive, ascii(name)[:90], found, "a file or a folder")
