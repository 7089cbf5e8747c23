"""Small twins of the ten sets, and one signal of each changed in its official file.

What damages a file here is written against the published layout, not with the code under test,
wherever that takes a few lines only.
"""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.io
import wfdb

from affectbook.datasets import (
    _poly5,
    amigos,
    deap,
    dreamer,
    drivedb,
    eegmat,
    mand,
    mci,
    seed,
    swell,
    wesad,
)  # fmt: skip

MODULES = {
    "amigos": amigos, "deap": deap, "dreamer": dreamer, "drivedb": drivedb, "eegmat": eegmat,
    "mand": mand, "mci": mci, "seed": seed, "swell": swell, "wesad": wesad,
}  # fmt: skip
SETS = tuple(MODULES)
SMALL = {
    "amigos": {"seconds": 5.0},
    "deap": {"seconds": 4.0},
    "dreamer": {"baseline_s": 1.0, "stimulus_s": (4.0, 5.0)},
    "drivedb": {},
    "eegmat": {},
    "mand": {"seconds": 10.0},
    "mci": {"rows": 2, "seconds": 5.0},
    "seed": {"seconds": 3},
    "swell": {"seconds": 6.0},
    "wesad": {"minutes": 1.0},
}  # fmt: skip
FIRST = {
    "amigos": "P01", "deap": "s01", "dreamer": "S01", "drivedb": "drive05", "eegmat": "00",
    "mand": "1", "mci": "S1", "seed": "1", "swell": "pp1", "wesad": "S2",
}  # fmt: skip
SECOND = {
    "amigos": "P02", "deap": "s02", "dreamer": "S02", "drivedb": "drive06", "eegmat": "01",
    "mand": "2", "mci": "S2", "seed": "2", "swell": "pp2", "wesad": "S3",
}  # fmt: skip

Change = Callable[[np.ndarray], np.ndarray]


def real(folder: Path) -> Path:
    """Take the mark of a twin away, so that the folder counts as real data."""
    (folder / "TWIN.json").unlink()
    return folder


def file_of(name: str, folder: Path) -> Path:
    """Return the first file with signals of the first subject."""
    found = MODULES[name].files_of(folder, FIRST[name])
    return next(path for path in found if path.suffix not in (".hea", ".toml"))


def alter(name: str, folder: Path, change: Change, trial: int = 1) -> Path:
    """Change the signal of one recording of the first subject in its file, and return the file.

    Parameters
    ----------
    name, folder
        Of the set.
    change
        Takes ``(n_chans, n_times)`` in the file's own unit at its own rate; returns another.
    trial
        Which recording, from 0, in the order of reading.
    """
    return globals()[f"_{name}"](folder, change, trial)


def _wesad(folder: Path, change: Change, trial: int) -> Path:
    path = folder / "S2" / "S2.pkl"
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    ecg, label = content["signal"]["chest"]["ECG"].copy(), content["label"]
    edges = [0, *np.flatnonzero(np.diff(label)) + 1, len(label)]
    parts = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True) if 0 < label[a] < 5]
    ecg[parts[trial]] = change(ecg[parts[trial]].T.copy()).T
    return wesad.write_subject(folder, "S2", ecg[:, 0], label)


def _deap(folder: Path, change: Change, trial: int) -> Path:
    path = folder / "data_preprocessed_python" / "s01.dat"
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    data = content["data"].copy()
    data[trial, :32, 384:] = change(data[trial, :32, 384:].copy())
    return deap.write_subject(folder, "s01", data, content["labels"])


def _variables(path: Path) -> dict[str, np.ndarray]:
    return {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}


def _seed(folder: Path, change: Change, trial: int) -> Path:
    path = folder / "Preprocessed_EEG" / "1_20131027.mat"
    content = _variables(path)
    key = next(key for key in content if key.endswith(f"_eeg{trial + 1}"))
    content[key] = change(content[key])
    scipy.io.savemat(path, content, do_compression=True)
    return path


def _amigos(folder: Path, change: Change, trial: int) -> Path:
    path = folder / "Data_Preprocessed_P01.mat"
    content = _variables(path)
    data = content["joined_data"][0, trial]
    data[640:, 14:16] = change(data[640:, 14:16].T.copy()).T
    scipy.io.savemat(path, content)
    return path


def _dreamer(folder: Path, change: Change, trial: int) -> Path:
    path = folder / "DREAMER.mat"
    content = _variables(path)
    stimuli = content["DREAMER"][0, 0]["Data"][0, 0]["ECG"][0, 0]["stimuli"][0, 0]
    stimuli[trial, 0] = change(stimuli[trial, 0].T.copy()).T
    scipy.io.savemat(path, content, do_compression=True)
    return path


def _eegmat(folder: Path, change: Change, trial: int) -> Path:
    """Change the ECG of one EDF file; `trial` 1 is arithmetic, whose first 60 s are read."""
    import edfio

    path = folder / f"Subject00_{trial + 1}.edf"
    edf = edfio.read_edf(path)
    rows = [signal.data for signal in edf.signals]
    ecg = change(rows[-1][None].copy())[0]
    condition = eegmat.CONDITIONS[trial]
    return eegmat.write_part(folder, "00", condition, np.array(rows[:-1]), ecg)


def _drivedb(folder: Path, change: Change, trial: int) -> Path:
    """Change a stretch of road; what is not finite becomes the code of a missing sample."""
    record = wfdb.rdrecord(str(folder / "drive05"), channels=[0], smooth_frames=False)
    ecg, sfreq = record.e_p_signal[0], 15.5 * 32
    with drivedb.SEGMENTS.open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["record"] == "drive05"]
    start, stop = (float(rows[trial][key]) for key in ("start_s", "end_s"))
    part = slice(round((start + 60) * sfreq), round((stop - 60) * sfreq))
    ecg[part] = change(ecg[None, part].copy())[0]
    missing = ~np.isfinite(ecg)
    drivedb.write_record(folder, "drive05", np.nan_to_num(ecg), frame_hz=15.5, per_frame=32)
    if missing.any():
        path = folder / "drive05.dat"
        frames = np.fromfile(path, "<i2").reshape(-1, 41)
        own = frames[:, :32].reshape(-1)
        own[missing] = -32768
        frames[:, :32] = own.reshape(-1, 32)
        frames.tofile(path)
        _set_sum(folder / "drive05.hea", int(own.astype(np.int64).sum()))
    return folder / "drive05.dat"


def _set_sum(header: Path, total: int) -> None:
    """Write the check sum of the first signal into a header."""
    lines = header.read_bytes().split(b"\r\n")
    words = lines[1].split()
    words[6] = str((total + 2**15) % 2**16 - 2**15).encode()
    lines[1] = b" ".join(words)
    header.write_bytes(b"\r\n".join(lines))


def _swell(folder: Path, change: Change, trial: int) -> Path:
    path = swell.files_of(folder, "pp1")[trial]
    header = _poly5.read_header(path)
    rows = np.array([_poly5.read_channel(path, at) for at in range(len(header.channels))])
    rows[5] = change(rows[5:6].copy())[0]
    names, units = zip(*((one.name, one.unit) for one in header.channels), strict=True)
    _poly5.write(path, rows, sfreq=2048, names=names, units=units, start=header.start)
    return path


def _mand(folder: Path, change: Change, trial: int) -> Path:
    path = folder / "1" / f"{mand.EMOTIONS[trial]}.txt"
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    at = rows[0].index("ECG")
    changed = change(np.array([[float(row[at]) for row in rows[1:]]]))[0]
    for row, value in zip(rows[1:], changed, strict=True):
        row[at] = f"{value:.6f}"
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path


def _mci(folder: Path, change: Change, trial: int) -> Path:
    path = folder / "S1.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    codes = [row[3] for row in rows[1:]]
    edges = [0, *(i for i in range(1, len(codes)) if codes[i] != codes[i - 1]), len(codes)]
    own = rows[1 + edges[trial] : 1 + edges[trial + 1]]
    whole = np.array([[float(cell) for row in own for cell in row[4:]]])
    for row, values in zip(own, np.split(change(whole)[0], len(own)), strict=True):
        row[4:] = [f"{value:.6f}" for value in values]
    path.write_text("".join(",".join(row) + "\n" for row in rows))
    return path
