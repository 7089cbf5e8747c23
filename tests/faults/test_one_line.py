"""A message quotes what a file says: on one line, and without what a terminal would obey."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from faults.refusals import heard, read, refused, warnings_of
from faults.twins import FIRST, file_of

from affectbook.datasets import _pickles

Copy = Callable[..., Path]
EVIL = "S3\nTraceback\n\x1b[31mred"


def _wesad(folder: Path) -> None:
    path = folder / "S2" / "S2.pkl"
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    _pickles.dump_python2(content | {"subject": EVIL}, path)


def _dreamer(folder: Path) -> None:
    path = folder / "DREAMER.mat"
    content = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    content["DREAMER"][0, 0]["EEG_Electrodes"][0, 0] = np.array([EVIL])
    scipy.io.savemat(path, content)


def _eegmat(folder: Path) -> None:
    path = folder / "Subject00_1.edf"
    raw = bytearray(path.read_bytes())
    last = 256 + 16 * (int(raw[252:256]) - 1)
    raw[last : last + 16] = b"E\nC\x1b[31m ECG     "
    path.write_bytes(raw)


def _drivedb(folder: Path) -> None:
    path = folder / "drive05.hea"
    path.write_bytes(path.read_bytes().replace(b" ECG\r\n", b" E\x1b[31mG\r\n"))


def _swell(folder: Path) -> None:
    path = next(folder.rglob("*.csv"))
    path.write_text(
        re.sub(r"^(PP1,1,)[A-Z]", "\\1\x1b[31mX", path.read_text(), count=1, flags=re.M)
    )


def _mand(folder: Path) -> None:
    path = folder / "1" / "fear.txt"
    path.write_text(path.read_text().replace("ECG", "\x1b[31mE\x0bG", 1))


DAMAGES = {
    "wesad": _wesad, "dreamer": _dreamer, "eegmat": _eegmat, "drivedb": _drivedb,
    "swell": _swell, "mand": _mand,
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [n if n == "wesad" else pytest.param(n, marks=pytest.mark.faults) for n in DAMAGES],
)
def test_what_a_file_says_stays_on_one_line(name: str, copy: Copy):
    """Names that a file gives are in the message, their control characters are not."""
    folder = copy(name)
    assert read(name, folder, [FIRST[name]])
    DAMAGES[name](folder)
    refused(lambda: read(name, folder, [FIRST[name]]), folder=folder)


def test_a_folder_with_a_line_break_in_its_name(copy: Copy):
    """It works, and what is wrong below it is one line."""
    folder = copy("wesad", "new\nline")
    assert read("wesad", folder, ["S2"])
    file_of("wesad", folder).write_bytes(b"no pickle")
    refused(lambda: read("wesad", folder, ["S2"]), folder=folder)


def test_a_stray_with_a_line_break_in_its_name(copy: Copy):
    folder = copy("wesad")
    (folder / "a\nb\x1b[31m.txt").write_text("x")
    with heard() as records:
        assert read("wesad", folder, ["S2"])
    said = [line for line in warnings_of(records) if "ignored" in line]
    assert len(said) == 1
    assert said[0].isprintable(), said
