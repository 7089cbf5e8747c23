"""One error tree: whatever is wrong with data, parameters or a split ends in one clear message."""

from __future__ import annotations


def shown(value: object) -> str:
    """Return text in which line breaks and control codes, as files may hold, are spelt out."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in str(value))


class AffectbookError(Exception):
    """Base of every error that this package raises on purpose."""


class ParameterError(AffectbookError):
    """A parameter has an unknown name, a wrong type or a value out of range."""


class CheckpointError(AffectbookError):
    """Weights do not belong to the network they are loaded into."""


class DataError(AffectbookError):
    """Something is wrong with data.

    The message names the file, the field, what was found, what was expected and what to do;
    parts that do not apply are left out.

    Parameters
    ----------
    what
        One sentence: what is wrong.
    file, field, found, expected
        Where it is wrong and how.
    do
        What the reader can do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        file: object = None,
        field: object = None,
        found: object = None,
        expected: object = None,
        do: str | None = None,
    ) -> None:
        what = shown(what)
        self.what, self.file, self.field = what, file, field
        self.found, self.expected, self.do = found, expected, do
        parts = {"file": file, "field": field, "found": found, "expected": expected, "do": do}
        told = {name: shown(part) for name, part in parts.items() if part is not None}
        details = "; ".join(f"{name}: {part}" for name, part in told.items())
        super().__init__(f"{what} [{details}]" if details else what)


class DataNotFoundError(DataError):
    """A data set, or a subject of it, is not where it was looked for."""


class DataFileError(DataError):
    """A file is there, but it is not what its data card says."""


class CacheError(DataError, OSError):
    """A folder under ``build/`` could not be made: a full disk, or one that is not to be written.

    It is an OSError as well, so that who can go on without what is kept needs no new branch.
    """


class LicenceError(DataError):
    """The licence of a data set was not confirmed for the folder that holds it."""


class ProtocolError(AffectbookError):
    """A protocol cannot be applied to these trials."""


class AuditError(ProtocolError):
    """A split leaks what its protocol claims to generalise to."""


class RunError(AffectbookError):
    """A notebook could not be run or a run could not be kept."""
