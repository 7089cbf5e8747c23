"""Files that end early: no cut of a MATLAB file, at whatever byte, returns data."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from faults.refusals import read, refused
from faults.twins import FIRST, SETS, file_of, real
from tiny_dreamer import person, write

from affectbook.datasets import amigos, deap, seed

CUTS, FEWER = 400, 120
"""Points where a file is cut that is compressed as the set's twin is; and the other way."""


def _dreamer(folder: Path, compress: bool) -> Path:
    path = write(folder, [person(0, 16)])
    return path if compress else _packed(path, False)


def _packed(path: Path, compress: bool) -> Path:
    content = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    scipy.io.savemat(path, content, do_compression=compress)
    return path


def _deap(folder: Path, compress: bool) -> Path:
    rng = np.random.default_rng(0)
    path = folder / "data_preprocessed_matlab" / "s01.mat"
    path.parent.mkdir(parents=True)
    data = np.zeros((40, 40, 400))
    data[:] = rng.integers(-9, 9, (40, 40, 400))
    content = {"data": data, "labels": np.round(rng.uniform(1, 9, (40, 4)), 2)}
    scipy.io.savemat(path, content, do_compression=compress)
    deap.mark_twin(folder, ["s01"], effect=1.0, fingerprint=1.0, seed=0)
    return path


def _seed(folder: Path, compress: bool) -> Path:
    rng = np.random.default_rng(0)
    for date in ("20131027", "20131030", "20131107"):
        clips = [30.0 * rng.standard_normal((62, 201)).round(1) for _ in range(15)]
        seed.write_session(folder, "1", date, "pa", clips)
    seed.write_labels(folder)
    seed.mark_twin(folder, ["1"], effect=1.0, fingerprint=1.0, seed=0)
    return _packed(folder / "Preprocessed_EEG" / "1_20131027.mat", compress)


def _amigos(folder: Path, compress: bool) -> Path:
    rng = np.random.default_rng(0)
    data = [rng.standard_normal((660 + at, 17)) for at in range(20)]
    reports = [np.array([[5.0] * 5 + [0.0] * 7])] * 20
    path = amigos.write_subject(folder, "P01", data, reports, [np.array([[1.0, 0.1, 0.2]])] * 20)
    amigos.mark_twin(folder, ["P01"], effect=1.0, fingerprint=1.0, seed=0)
    return _packed(path, True) if compress else path


LAYOUTS = {"dreamer": _dreamer, "deap": _deap, "seed": _seed, "amigos": _amigos}


def boundaries(raw: bytes) -> list[int]:
    """Return where the elements of a MATLAB file begin and end, those inside others, too."""
    found: list[int] = []

    def walk(at: int, stop: int, depth: int) -> None:
        while at + 8 <= stop:
            kind, size = struct.unpack("<II", raw[at : at + 8])
            short = kind >> 16
            after = at + 8 if short else at + 8 + size + (-size % 8 if kind != 15 else 0)
            if kind & 0xFFFF not in range(1, 19) or after > stop:
                return
            found.extend((at, at + 8, after))
            if kind == 14 and depth < 4:
                walk(at + 8, after, depth + 1)
            at = after

    walk(128, len(raw), 0)
    return sorted({at for at in found if at < len(raw)})


def cuts_of(raw: bytes, count: int) -> list[int]:
    """Return where to cut: borders of elements and bytes beside them, then evenly over the file."""
    at_borders = boundaries(raw)
    top = [at for at in at_borders[:: max(1, 3 * len(at_borders) // (2 * count))]]
    near = {max(0, at + shift) for at in top for shift in (-1, 0, 1)}
    head = {0, 1, 100, 124, 126, 127, 128, 129, 132, 136, len(raw) - 1, len(raw) - 8}
    even = np.linspace(0, len(raw) - 1, count).astype(int).tolist()
    # The header, all borders taken, then what is still missing of the even ones.
    chosen = sorted(head | near)
    for at in even[:: max(1, len(even) // max(1, count - len(chosen)))]:
        chosen.append(at)
    return sorted({at for at in chosen if 0 <= at < len(raw)})


@pytest.fixture(params=list(LAYOUTS))
def layout(request: pytest.FixtureRequest) -> str:
    return request.param


def _refuse_each(name: str, folder: Path, path: Path, cuts: list[int]) -> None:
    whole, wrong = path.read_bytes(), []
    for cut in cuts:
        path.write_bytes(whole[:cut])
        try:
            refused(lambda: read(name, folder, [FIRST[name]]), folder=folder, names=path.stem)
        except BaseException as error:  # pytest's own "did not raise" is no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            wrong.append((cut, f"{type(error).__name__}: {error}"[:300]))
    assert not wrong, f"{len(wrong)} of {len(cuts)} cuts of {len(whole)} bytes: {wrong[:5]}"
    path.write_bytes(whole)
    assert read(name, folder, [FIRST[name]])


@pytest.mark.parametrize("compress", [True, False], ids=["compressed", "plain"])
@pytest.mark.faults
def test_no_cut_returns_data(layout, compress, tmp_path):
    """At 400 points, borders of elements and of nested ones among them."""
    folder = tmp_path / "data" / layout
    path = LAYOUTS[layout](folder, compress)
    wanted = CUTS if compress is not (layout == "amigos") else FEWER
    cuts = cuts_of(path.read_bytes(), wanted)
    assert len(cuts) >= wanted
    _refuse_each(layout, folder, path, cuts)


def test_a_few_cuts_of_each_layout(layout, tmp_path):
    """The quick part: the header, the first two variables, and the last byte."""
    folder = tmp_path / "data" / layout
    path = LAYOUTS[layout](folder, True)
    raw = path.read_bytes()
    borders = boundaries(raw)
    cuts = {0, 127, 128, *borders[1:3], *borders[-2:], len(raw) // 2, len(raw) - 1}
    _refuse_each(layout, folder, path, sorted(cuts))


@pytest.mark.faults
@pytest.mark.parametrize("name", sorted({*SETS} - {"dreamer", "seed", "amigos"}))
def test_no_cut_of_any_other_format_returns_data(name: str, copy: Callable[..., Path]):
    """At 40 points, 20 of a text: pickles, EDF, WFDB, Poly5 and tables of text."""
    folder = copy(name)
    path = file_of(name, folder)
    size = path.stat().st_size
    text = name in ("mand", "mci")
    cuts = {0, 1, size - 1, size - 2, *np.linspace(2, size - 5, 16 if text else 37).astype(int)}
    if text:
        # A text that ends in the last column of a row cannot be told from a whole one.
        cuts = {at for at in cuts if not _in_last_column(path.read_bytes(), at)}
    _refuse_each(name, folder, path, sorted(map(int, cuts)))


def _in_last_column(raw: bytes, at: int) -> bool:
    """Tell whether a text cut here has as many columns in its last row as in the others."""
    separator = b"\t" if b"\t" in raw else b","
    last = raw[:at].rpartition(b"\n")[2]
    return at > 0 and last.count(separator) in (0, raw.partition(b"\n")[0].count(separator))


@pytest.mark.faults
@pytest.mark.parametrize("name", ["wesad", "seed", "amigos", "swell"])
def test_what_claims_to_be_real_is_refused_too(name: str, copy: Callable[..., Path]):
    """Without the mark of a twin a set is real data, and cut in half it is refused."""
    folder = real(copy(name))
    assert read(name, folder, [FIRST[name]])
    path = file_of(name, folder)
    _refuse_each(name, folder, path, [path.stat().st_size // 2])
