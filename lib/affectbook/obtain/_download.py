"""One file over HTTP that goes on where it was cut.

What came so far lies beside the file as ``.NAME.part``, and in ``.NAME.part.version`` which
version of it the server had. The rest is asked for with ``Range`` and ``If-Range`` (RFC 9110,
13.1.5 and 14.2), so that pieces of two versions are never joined.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import requests

from affectbook import __version__
from affectbook.errors import DataError, DataFileError, DataNotFoundError
from affectbook.obtain._place import AGAIN, shown_size
from affectbook.obtain._progress import Progress

_CHUNK = 2**14  # bytes; a cut loses less than one of these
_MOST_BYTES = 2**30  # no file of an open set comes near
_TRY_AGAIN = (408, 425, 429)  # besides 500 and above
_NEVER_RETRIED = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.TooManyRedirects,
)


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes
    ----------
    retries : int
        How often in a row nothing new may come before a download is given up.
    wait_s : float
        Pause before the first retry; it doubles with each.
    connect_s, read_s : float
        Until a connection is there, and until the next bytes come.
    """

    retries: int = 4
    wait_s: float = 1.0
    connect_s: float = 10.0
    read_s: float = 60.0


class _Interrupted(Exception):
    """An answer that another request may mend."""


class Downloads:
    """Downloads from one server, one after the other.

    Parameters
    ----------
    patience
        How long it is waited for.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience, self._reached = patience, False
        self._session = requests.Session()
        # Lengths and ranges count the bytes of the file, not those of a compressed answer.
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.headers["User-Agent"] = f"affectbook/{__version__}"

    def __enter__(self) -> Downloads:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def size(self, url: str) -> int | None:
        """Return the size of a file in bytes, or None where the server does not tell.

        Raises
        ------
        DataError
            If the server cannot be reached.
        """
        failures = 0
        while True:
            try:
                with self._ask("HEAD", url) as answer:
                    told = answer.headers.get("Content-Length", "")
                    return int(told) if answer.ok and told.isdigit() else None
            except requests.RequestException as error:
                failures += 1
                self._wait(failures, url, error)

    def complete(self, url: str, part: Path, progress: Progress) -> None:
        """Fetch what is missing of a part, however often the connection is cut.

        Parameters
        ----------
        url
            Of the file.
        part
            What there is of it, if anything.
        progress
            Is told about each byte.

        Raises
        ------
        DataError
            If the server cannot be reached, refuses or lacks the file, or gives nothing new
            for too long. The part stays.
        OSError
            If the part cannot be written.
        """
        failures, most = 0, _size(part)
        while True:
            try:
                self._continue(url, part, progress)
                return
            except (_Interrupted, requests.RequestException) as error:
                failures = 1 if _size(part) > most else failures + 1
                most = max(most, _size(part))
                self._wait(failures, url, error)

    def _ask(self, method: str, url: str, headers: dict[str, str] | None = None):
        waits = (self._patience.connect_s, self._patience.read_s)
        answer = self._session.request(
            method, url, headers=headers, stream=True, timeout=waits, allow_redirects=True
        )
        self._reached = True
        _check_way(url, answer)
        return answer

    def _wait(self, failures: int, url: str, error: Exception) -> None:
        """Pause before another request, or give up: sooner if the server never answered."""
        most = self._patience.retries if self._reached else min(1, self._patience.retries)
        if failures > most or isinstance(error, _NEVER_RETRIED):
            raise DataError(
                "the download was cut" if self._reached else "the server cannot be reached",
                file=url,
                field="connection",
                found=_reason(error),
                expected="the whole file" if self._reached else "an answer",
                do=f"check the network and its proxy, then {AGAIN}",
            ) from error
        time.sleep(self._patience.wait_s * 2 ** (failures - 1))

    def _continue(self, url: str, part: Path, progress: Progress) -> None:
        """Append what one request gives to a part, or start it again."""
        have, version = _size(part), _version(part)
        if have and not version:
            have = _discard(part, progress)
        headers = {"Range": f"bytes={have}-", "If-Range": version} if have else None
        with self._ask("GET", url, headers) as answer:
            if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                if answer.headers.get("Content-Range", "").endswith(f"/{have}"):
                    return
                _discard(part, progress)
                raise _Interrupted("the server has less of the file than was fetched before")
            _check_status(url, answer)
            if answer.status_code == HTTPStatus.PARTIAL_CONTENT:
                if not (have and _fits(answer, have, version)):
                    _discard(part, progress)
                    raise _Interrupted("the server sent another piece than the one asked for")
            elif have:
                have = _discard(part, progress)
            length = answer.headers.get("Content-Length", "")
            total = have + int(length) if length.isdigit() else None
            _check_size(url, total)
            if not have:
                _version_file(part).write_text(_validator(answer), encoding="latin-1")
            self._append(url, answer, part, progress)
        if total is not None and _size(part) < total:
            raise _Interrupted(f"{_size(part)} of {total} bytes came")

    def _append(self, url: str, answer: requests.Response, part: Path, progress: Progress) -> None:
        with part.open("ab") as stream:
            for chunk in answer.iter_content(_CHUNK):
                stream.write(chunk)
                progress.bytes(len(chunk))
                _check_size(url, stream.tell())


def remove(part: Path) -> None:
    """Delete a part and what is noted about it."""
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Return where what came of a file is kept until it is whole."""
    return path.with_name(f".{path.name}.part")


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _version(part: Path) -> str:
    """Return which version of a file the part belongs to; empty where nobody knows."""
    try:
        return _version_file(part).read_text(encoding="latin-1").strip()
    except FileNotFoundError:
        return ""


def _validator(answer: requests.Response) -> str:
    """Return what names the version of an answer and may stand in If-Range, or nothing."""
    tag = answer.headers.get("ETag", "").strip()
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified", "").strip()


def _fits(answer: requests.Response, have: int, version: str) -> bool:
    """Tell whether a piece begins where the part ends and is of the same version."""
    begins = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    same = version in (answer.headers.get("ETag"), answer.headers.get("Last-Modified"))
    silent = not answer.headers.get("ETag") and not answer.headers.get("Last-Modified")
    return begins is not None and int(begins[1]) == have and (same or silent)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _discard(part: Path, progress: Progress) -> int:
    """Delete a part that cannot be gone on with; return what is left of it: nothing."""
    progress.bytes(-_size(part))
    remove(part)
    return 0


def _check_way(url: str, answer: requests.Response) -> None:
    """Refuse an answer that came without TLS where TLS was asked for: a list of sums needs it."""
    way = [one.url for one in (*answer.history, answer)]
    open_ = [one for one in way if not one.lower().startswith("https:")]
    if not (url.lower().startswith("https:") and open_):
        return
    answer.close()
    raise DataError(
        "the server leads to an address that is not protected",
        file=url,
        field="redirection",
        found=open_[0][:200],
        expected="https all the way",
        do=f"check whether this network asks for a login first; then {AGAIN}",
    )


def _check_status(url: str, answer: requests.Response) -> None:
    """Refuse an answer that is no file; one that may get better is raised as a cut."""
    code = answer.status_code
    if code in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        return
    found = f"{code} {answer.reason or ''}".strip()
    if code >= HTTPStatus.INTERNAL_SERVER_ERROR or code in _TRY_AGAIN:
        raise _Interrupted(f"the server answers {found}")
    gone = code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
    error = DataNotFoundError if gone else DataError
    raise error(
        "the server does not have a file" if gone else "the server refuses a file",
        file=url,
        field="HTTP status",
        found=found,
        expected="200 OK",
        do=f"look at the page of the data set whether it has moved or is closed; else {AGAIN}",
    )


def _check_size(url: str, size: int | None) -> None:
    if size is not None and size > _MOST_BYTES:
        raise DataFileError(
            "the server sends more than any file of the set can be",
            file=url,
            field="size",
            found=f"at least {shown_size(size)}",
            expected=f"at most {shown_size(_MOST_BYTES)}",
            do="look at the page of the data set whether it has moved",
        )


def _reason(error: Exception) -> str:
    """Return what went wrong in one short line, without the machinery around it."""
    inner = getattr(error.args[0], "reason", error) if error.args else error
    text = re.sub(r"^\w*HTTPS?Connection(Pool)?\([^)]*\): ", "", " ".join(str(inner).split()))
    return (text or type(error).__name__)[:200]
