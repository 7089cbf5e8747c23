"""Published weights: where they come from, and whether the file that is here is the right one.

>>> from affectbook.obtain import weights
>>> print(weights.instructions("ecg_fm"))  # doctest: +SKIP

Weights are no data set: they have no subjects, no twin and no reader. They lie where data sets do,
and ``make data`` and ``make check-data`` know their names.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from affectbook import cache, files
from affectbook.datasets import _folders
from affectbook.errors import DataFileError, DataNotFoundError
from affectbook.obtain._place import shown_size, writing


@dataclass(frozen=True)
class Published:
    """A file of weights that others published.

    Attributes
    ----------
    name, title : str
        Of the folder that it lies in, and in sentences.
    repository, file : str
        Where it is on the Hugging Face model hub.
    n_bytes : int
        Its size.
    sha256 : str
        Its sum.
    licence, trained_on : str
        What may be done with it, and which recordings it was trained on.
    """

    name: str
    title: str
    repository: str
    file: str
    n_bytes: int
    sha256: str
    licence: str
    trained_on: str


PUBLISHED = {
    "ecg_fm": Published(
        name="ecg_fm",
        title="ECG-FM, pretrained, Base",
        repository="wanglab/ecg-fm-preprint",
        file="mimic_iv_ecg_physionet_pretrained.pt",
        n_bytes=1_090_825_421,
        sha256="4d0142bcb485eb9f0c7845e0c19ff3463f6ae9d0e458eab69136efe90ceb9b7e",
        licence="MIT",
        trained_on="MIMIC-IV-ECG 1.0 and PhysioNet/CinC 2021",
    )
}


def place(name: str) -> Path:
    """Return where the file of weights is, or else would be looked for first.

    Raises
    ------
    DataFileError
        If a folder may not be read.
    """
    with writing(files.project_root() / "data", "the system refuses the folder of the data"):
        searched = _searched(name)
        return next(filter(Path.is_file, searched), searched[0])


def find(name: str) -> Path:
    """Return the file of weights; `check` says whether it is the published one.

    Raises
    ------
    DataNotFoundError
        With the places searched, and how to get it.
    """
    found, one = place(name), PUBLISHED[name]
    if found.is_file():
        return found
    raise DataNotFoundError(
        f"no weights of {one.title} were found",
        file=found,
        field="weights",
        found=f"nothing at {', '.join(map(str, _searched(name)))}",
        expected=f"{one.file}, {shown_size(one.n_bytes)}",
        do=f"make data DATASET={name} says where it comes from and where it goes",
    )


def _searched(name: str) -> list[Path]:
    bases = [*_folders._given(), _folders._own()]
    folders = [folder for base in bases for folder in _folders._named(base, name)]
    return [folder / PUBLISHED[name].file for folder in folders]


def check(name: str) -> str:
    """Say that the file of weights is the published one.

    Raises
    ------
    DataNotFoundError
        If it is not there.
    DataFileError
        If it was cut, is another one, or may not be read.
    """
    path, one = find(name), PUBLISHED[name]
    with writing(path, "the weights cannot be read"):
        size = path.stat().st_size
        if size != one.n_bytes:
            raise _wrong(name, path, "size", f"{size} bytes", f"{one.n_bytes} bytes")
        found = cache.sha256(path)
    if found != one.sha256:
        raise _wrong(name, path, "sha256", found, one.sha256)
    return f"{one.title}: the published file, {shown_size(size)}, SHA-256 {found}: {path}"


def _wrong(name: str, path: Path, field: str, found: str, expected: str) -> DataFileError:
    return DataFileError(
        f"{PUBLISHED[name].title}: not the published file",
        file=path,
        field=field,
        found=found,
        expected=expected,
        do=f"get it again: make data DATASET={name} says how",
    )


def instructions(name: str) -> str:
    """Return where weights come from, and how they are put in their place."""
    one, path = PUBLISHED[name], place(name)
    folder = shlex.quote(str(path.parent))
    there = " (there is a file of this name)" if path.is_file() else ""
    fields = {
        "File": f"{one.file}, {shown_size(one.n_bytes)} ({one.n_bytes} bytes)",
        "From": f"the Hugging Face model hub, repository {one.repository}",
        "Licence": one.licence,
        "Trained": f"on {one.trained_on}",
        "SHA-256": one.sha256,
        "Place": f"{path}{there}",
        "Get it": f".venv/bin/hf download {one.repository} {one.file} --local-dir {folder}",
        "Or": "download it in a browser and move it to that place; the .yaml beside it is not read",
        "Check": f"make check-data DATASET={name}",
    }
    first = f"{one.title}: weights, not recordings. They are not fetched for you."
    return "\n".join([first, *(f"  {label:<9}{text}" for label, text in fields.items())])
