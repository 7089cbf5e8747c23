"""Files of the corpora that are no data set: which there are, and how each format is read."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from affectbook.datasets import _folders, _matlab
from affectbook.errors import DataError, DataFileError, DataNotFoundError

_MOST = 50 * 10**6  # bytes; the largest of these files has 2 MB


class Source(NamedTuple):
    """A recording: its files, of which the first is read, and what was published about it.

    `read` is handed that path and this source, and returns ``(n_times,)`` in `unit`. `key` is the
    name of the lead or array; `n_times` the length of the whole file, 0 where it is not checked;
    `part` what is used of it.
    """

    subject: str
    files: tuple[str, ...]
    sfreq: float
    unit: str
    read: Callable[[Path, Source], np.ndarray]
    key: str
    n_times: int
    part: slice = slice(None)


class Corpus(NamedTuple):
    licence: str
    obtain: str
    sources: tuple[Source, ...]


def read(name: str) -> Iterator[tuple[Source, np.ndarray]]:
    """Yield each source of a corpus with its signal ``(n_times,)``.

    Raises
    ------
    DataNotFoundError
        If the folder, or a file in it, is not there.
    DataFileError
        If a file is not what was published.
    """
    corpus, folder = CORPORA[name], _folder(name)
    for source in corpus.sources:
        path, *_ = [file_in(folder, file, corpus.obtain) for file in source.files]
        try:
            for file in source.files:
                if (size := (folder / file).stat().st_size) > _MOST:
                    raise _wrong(folder / file, "size", f"{size} bytes", f"at most {_MOST}")
            ecg = source.read(path, source)
        except DataError:
            raise
        except Exception as error:  # what parses them raises many types on a damaged file
            found = " ".join(f"{type(error).__name__}: {error}"[:160].split())
            raise _wrong(path, "the whole file", found, "a file that can be read") from error
        if bad := int((~np.isfinite(ecg)).sum()):
            raise _wrong(path, "signal", f"{bad} samples that are not numbers", "finite samples")
        yield source, ecg


def _folder(name: str) -> Path:
    """Return the folder of a corpus, looked for where data sets are."""
    searched = []
    for base in [*_folders._given(), _folders._own()]:
        searched += _folders._named(base, name)
    for folder in searched:
        if folder.is_dir():
            return folder
    raise DataNotFoundError(
        f"no files of {name} were found",
        file=searched[0],
        field="folder",
        found=f"nothing in {', '.join(map(str, searched))}",
        expected=f"its files in one of them; ${_folders.VARIABLE} names the folder of all data",
        do=_advice(CORPORA[name].obtain),
    )


def file_in(folder: Path, file: str, obtain: str) -> Path:
    """Return a file of a corpus.

    Raises
    ------
    DataNotFoundError
        If it is not there; `obtain` says how to get it.
    """
    path = folder / file
    if not path.is_file():
        raise DataNotFoundError(
            "a file is missing",
            file=path,
            found="no such file",
            expected="every file of the corpus, so that its name always means the same signals",
            do=_advice(obtain),
        )
    return path


def _advice(obtain: str) -> str:
    return f"{obtain}; or leave the corpus out"


def _wrong(path: Path, field: str, found: str, expected: str) -> DataFileError:
    return DataFileError(
        "the file is not what was published",
        file=path,
        field=field,
        found=found,
        expected=expected,
        do="get the file again, or leave its corpus out",
    )


def _check(path: Path, field: str, found: object, expected: object) -> None:
    if found != expected:
        raise _wrong(path, field, str(found)[:160], str(expected))


def _of_csv(path: Path, source: Source) -> np.ndarray:
    values = pd.read_csv(path, usecols=[source.key])[source.key].to_numpy(np.float64)
    _check(path, f"rows of {source.key}", len(values), source.n_times)
    return values[source.part]


def _of_wfdb(path: Path, source: Source) -> np.ndarray:
    """Return one lead in mV, after holding header and samples against what was published."""
    import wfdb

    stem = str(path.with_suffix(""))
    header = wfdb.rdheader(stem)
    _check(path, "samples", (header.sig_len, float(header.fs)), (source.n_times, source.sfreq))
    _check(path, "leads", header.sig_name.count(source.key), 1)
    at = header.sig_name.index(source.key)
    _check(path, f"file of {source.key}", header.file_name[at], source.files[1])
    _check(path, f"unit of {source.key}", header.units[at], source.unit)
    record = wfdb.rdrecord(stem, channels=[at], physical=False)
    summed = int(record.d_signal.sum(dtype=np.int64))
    _check(path, "check sum, modulo 65536", summed % 2**16, record.checksum[0] % 2**16)
    return record.dac()[:, 0]


def _array(path: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo(f"{name}.npy").file_size
    if size > _MOST:
        raise _wrong(path, name, f"{size} bytes", f"at most {_MOST}")
    with np.load(path, allow_pickle=False) as content:
        return content[name]


def _of_scipy(path: Path, source: Source) -> np.ndarray:
    """Return mV: 200 steps each, from 1024."""
    stored = _array(path, source.key)
    _check(path, source.key, (stored.shape, stored.dtype.kind), ((source.n_times,), "u"))
    return (stored - 1024.0) / 200.0


def _of_nilspod(path: Path, source: Source) -> np.ndarray:
    """Return the logged phases; before them, electrodes are put on and the signal jumps."""
    stored, bounds = (_array(path, f"{key}_{source.key}") for key in ("ecg", "phase_bounds"))
    _check(path, "fs", int(_array(path, "fs")), int(source.sfreq))
    _check(path, "ecg", (stored.shape, stored.dtype.kind), ((source.n_times,), "i"))
    _check(path, "phase_bounds", (bounds.shape, bounds.dtype.kind), ((5,), "i"))
    if not (bounds[0] >= 0 and (np.diff(bounds) > 0).all() and bounds[-1] <= len(stored)):
        raise _wrong(path, "phase_bounds", str(bounds), f"rising, from 0 to {len(stored)}")
    return stored[bounds[0] : bounds[-1]]


def _of_matlab(path: Path, source: Source) -> np.ndarray:
    why = "a recording of 12 leads has less than 0.2 MB"
    return _matlab.apart(lead_of, path, source.key, source.sfreq, most=10**7, why=why)


_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def lead_of(path: Path, lead: str, sfreq: float) -> np.ndarray:
    """Return one lead ``(n_times,)`` of a recording of CODE-15 %; called in another process.

    Raises
    ------
    DataFileError
        If the file has not 12 leads of float32 at this rate, or another length than it says.
    """
    names = ("feats", "curr_sample_rate", "curr_sample_size")
    content = _matlab.load(path, names)
    feats, rate, size = (_matlab.value_at(content, path, name) for name in names)
    _check(path, "feats", (feats.ndim, len(feats), feats.dtype), (2, len(_LEADS), np.float32))
    _check(path, "curr_sample_rate", rate.ravel().tolist(), [sfreq])
    _check(path, "curr_sample_size", size.ravel().tolist(), [feats.shape[1]])
    return np.ascontiguousarray(feats[_LEADS.index(lead)])


def _neurokit(stem: str, sfreq: float, n_times: int, part: slice = slice(None)) -> Source:
    return Source(stem, (f"{stem}.csv",), sfreq, "as recorded", _of_csv, "ECG", n_times, part)


def _wfdb(record: str, samples: str, lead: str, sfreq: float, n_times: int) -> Source:
    files = (f"{record}.hea", f"{record}{samples}")
    return Source(record, files, sfreq, "mV", _of_wfdb, lead, n_times)


def _nilspod(person: str, n_times: int) -> Source:
    return Source(person, ("nilspod_ecg.npz",), 256.0, "counts", _of_nilspod, person, n_times)


_EXAMS = (
    "1238362", "1594286", "2657522", "270272", "2754228",
    "2969044", "358121", "438277", "795649", "975093",
)  # fmt: skip
# Subjects are files, where who was recorded is not published.
CORPORA = {
    "neurokit": Corpus(
        "MIT",
        "copy the CSV files from data/ of https://github.com/neuropsychology/NeuroKit",
        (
            _neurokit("bio_eventrelated_100hz", 100.0, 15_000),
            _neurokit("bio_resting_5min_100hz", 100.0, 30_000),
            _neurokit("bio_resting_8min_100hz", 100.0, 50_682, slice(2019, 50_025)),  # the rest
            _neurokit("ecg_1000hz", 1000.0, 50_000),
            _neurokit("ecg_3000hz", 3000.0, 50_000),
        ),
    ),
    "wfdb_samples": Corpus(
        "ODC-By 1.0",
        "copy the records 100, s0010_re and a103l from sample-data/ of "
        "https://github.com/MIT-LCP/wfdb-python",
        (
            _wfdb("100", ".dat", "MLII", 360.0, 650_000),
            _wfdb("s0010_re", ".dat", "ii", 1000.0, 38_400),
            _wfdb("a103l", ".mat", "II", 250.0, 82_500),
        ),
    ),
    "biopsykit": Corpus(
        "MIT",
        "read ecg_sample_Vp01.bin and Vp02.bin of example_data/ecg in "
        "https://github.com/mad-lab-fau/BioPsyKit with nilspodlib, and save ecg_Vp01, ecg_Vp02 "
        "(whole numbers), fs, phase_bounds_Vp01 and phase_bounds_Vp02 (from the log)",
        (_nilspod("Vp01", 157_790), _nilspod("Vp02", 120_626)),
    ),
    "scipy_ecg": Corpus(
        "ODC-By 1.0",
        "copy ecg.dat from https://github.com/scipy/dataset-ecg",
        (Source("208", ("ecg.dat",), 360.0, "mV", _of_scipy, "ecg", 108_000),),
    ),
    "code15_samples": Corpus(
        "CC BY 4.0",
        "copy the MATLAB files from data/code_15/org/ of https://github.com/bowang-lab/ECG-FM",
        tuple(
            Source(exam, (f"code_15_{exam}.mat",), 400.0, "as recorded", _of_matlab, "II", 0)
            for exam in _EXAMS
        ),
    ),
}
