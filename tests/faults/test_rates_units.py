"""Rates and units that are not those of the card, where a file or a mapping states them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from faults.refusals import read, refused
from faults.twins import FIRST, alter, real

from affectbook.datasets import _published

Copy = Callable[..., Path]
RATES = ("x2", "/2", "zero", "negative", "text")


def _told(rate: float, fault: str) -> float | str:
    """Return what stands in a file in the place of a rate."""
    return {
        "x2": 2 * rate, "/2": rate / 2, "zero": 0.0, "negative": -rate, "text": "fast",
    }[fault]  # fmt: skip


def _eegmat(folder: Path, fault: str) -> str:
    """The seconds that a record lasts: half of them is twice the rate."""
    path = folder / "Subject00_1.edf"
    raw = bytearray(path.read_bytes())
    told = {"x2": "0.5", "/2": "2", "zero": "0", "negative": "-1", "text": "fast"}[fault]
    raw[244:252] = f"{told:8}".encode()
    path.write_bytes(raw)
    return path.name


def _drivedb(folder: Path, fault: str) -> str:
    path = folder / "drive05.hea"
    first, _, rest = path.read_bytes().partition(b"\r\n")
    words = first.split()
    words[2] = str(_told(15.5, fault)).encode()
    path.write_bytes(b" ".join(words) + b"\r\n" + rest)
    return "drive05"


def _dreamer(folder: Path, fault: str) -> str:
    path = folder / "DREAMER.mat"
    content = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    content["DREAMER"][0, 0]["ECG_SamplingRate"] = np.array([[_told(256.0, fault)]])
    scipy.io.savemat(path, content)
    return path.name


def _swell(folder: Path, fault: str) -> str:
    """Two bytes behind 31 of text, 2 of version and 81 of a name; no text can stand in them."""
    path = next(folder.rglob("pp1_*c1.S00"))
    raw = bytearray(path.read_bytes())
    raw[114:116] = int(_told(2048, fault)).to_bytes(2, "little", signed=True)
    path.write_bytes(raw)
    return path.name


def _mapping(folder: Path, fault: str) -> str:
    path = folder / "mapping.toml"
    told = _told(256, fault)
    line = f'sfreq = "{told} Hz"' if fault == "text" else f"sfreq = {told}"
    path.write_text(re.sub(r"(?m)^sfreq = .*$", line, path.read_text()))
    return "mapping.toml" if fault not in ("x2", "/2") else ""


STATED = {
    "eegmat": _eegmat, "drivedb": _drivedb, "dreamer": _dreamer, "swell": _swell,
    "mand": _mapping, "mci": _mapping,
}  # fmt: skip


def _marked(names: tuple[str, ...], quick: str) -> list:
    return [n if n == quick else pytest.param(n, marks=pytest.mark.faults) for n in names]


@pytest.mark.parametrize("fault", RATES)
@pytest.mark.parametrize("name", _marked(tuple(STATED), "swell"))
def test_a_wrong_sampling_rate(name: str, fault: str, copy: Copy):
    """Twice, half, none, below none, and a word; the rate of the card loads."""
    if (name, fault) == ("swell", "text"):
        pytest.skip("the head of a Poly5 file has two bytes for a number there")
    folder = copy(name)
    assert read(name, folder, [FIRST[name]])
    names = STATED[name](folder, fault)
    refused(lambda: read(name, folder, [FIRST[name]]), folder=folder, names=names)


FACTORS = (1e3, 1e6, 1e-3, 1e-6)


def _scale_all(name: str, folder: Path, factor: float) -> None:
    for trial in range(len(read(name, folder, [FIRST[name]]))):
        alter(name, folder, lambda signal: signal * factor, trial)


def _scale_seed(name: str, folder: Path, factor: float) -> None:
    for path in folder.rglob("1_*.mat"):
        content = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
        scipy.io.savemat(path, {key: clip * factor for key, clip in content.items()})


def _scale_eegmat(name: str, folder: Path, factor: float) -> None:
    """Change the unit that the header names for the ECG, or its limits by 1e6."""
    for path in folder.glob("Subject00_*.edf"):
        raw = bytearray(path.read_bytes())
        n_signals = int(raw[252:256])
        last = 8 * (n_signals - 1)
        dimension = 256 + n_signals * 96 + last
        if factor == 1e6:
            for limit in (dimension + 8 * n_signals, dimension + 16 * n_signals):
                raw[limit : limit + 8] = f"{float(raw[limit : limit + 8]) * factor:8.0f}".encode()
        else:
            unit = {1e3: "V", 1e-3: "uV", 1e-6: "nV"}[factor]
            raw[dimension : dimension + 8] = f"{unit:8}".encode()
        path.write_bytes(raw)


def _scale_drivedb(name: str, folder: Path, factor: float) -> None:
    """Change the gain, in steps per mV, that the header names for the ECG."""
    path = folder / "drive05.hea"
    raw = path.read_bytes()
    changed = re.sub(rb"(?m)^(\S+ 16x32 )1000(\.0)?", rb"\g<1>%g" % (1000 / factor), raw, count=1)
    assert changed != raw
    path.write_bytes(changed)


def _scale_mapping(name: str, folder: Path, factor: float) -> None:
    """Change the unit in the mapping, or by 1e6 the numbers."""
    if factor in (1e6, 1e-6):
        return _scale_all(name, folder, factor)
    path = folder / "mapping.toml"
    key, unit = "ecg_unit" if name == "mand" else "unit", "V" if factor > 1 else "uV"
    text = re.sub(rf'(?m)^{key} = "mV"$', f'{key} = "{unit}"', path.read_text())
    assert text != path.read_text()
    path.write_text(text)
    return None


UNITS = {
    "wesad": _scale_all, "eegmat": _scale_eegmat, "drivedb": _scale_drivedb,
    "mand": _scale_mapping, "mci": _scale_mapping, "swell": _scale_all, "seed": _scale_seed,
}  # fmt: skip


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", _marked(tuple(UNITS), "wesad"))
def test_a_wrong_unit(name: str, factor: float, copy: Copy, monkeypatch: pytest.MonkeyPatch):
    """Volt in the place of mV or uV, and the other way round, in what claims to be real."""
    # Whoever scales a published file has changed its sum: what is asked here is what comes next.
    monkeypatch.setattr(_published, "sums", lambda name: {})
    folder = real(copy(name))
    assert read(name, folder, [FIRST[name]]), "the benign twin"
    UNITS[name](name, folder, factor)
    refused(lambda: read(name, folder, [FIRST[name]]), FIRST[name], folder=folder)


@pytest.mark.faults
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", ["amigos", "deap", "dreamer"])
def test_a_wrong_unit_of_eeg(name: str, factor: float, copy: Copy):
    """EEG in volt or mV where uV are meant, in sets whose files do not state a unit."""
    import pickle

    from affectbook.datasets import deap

    folder = copy(name)
    only = [FIRST[name]]
    assert read(name, folder, only, channels="eeg"), "the benign twin"
    if name == "deap":
        path = folder / "data_preprocessed_python" / "s01.dat"
        content = pickle.loads(path.read_bytes(), encoding="latin1")
        deap.write_subject(folder, "s01", content["data"] * factor, content["labels"])
    else:
        path = folder / ("DREAMER.mat" if name == "dreamer" else "Data_Preprocessed_P01.mat")
        content = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
        if name == "dreamer":
            person = content["DREAMER"][0, 0]["Data"][0, 0]["EEG"][0, 0]
            cells = [person["stimuli"][0, 0][:, 0]]
        else:
            cells = [content["joined_data"][0]]
            real(folder)
        for cell in cells:
            for at in range(len(cell)):
                cell[at] = cell[at] * factor
        scipy.io.savemat(path, content)
    refused(lambda: read(name, folder, only, channels="eeg"), FIRST[name], folder=folder)
