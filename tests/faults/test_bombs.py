"""Files that are made to do harm: pickles that run code, and files that take all memory."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from faults.measured import peak
from faults.refusals import read, refused
from faults.twins import FIRST, real

Copy = Callable[..., Path]
MB = 2**20
MOST = 400 * MB
"""What a file of a few kB or MB may make this process and its children grow by."""
LAYOUTS = {
    "wesad": Path("S2/S2.pkl"),
    "deap": Path("data_preprocessed_python/s01.dat"),
}


class _Call:
    """Pickled, it calls a function with arguments when it is read."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


class _State:
    """Pickled, it is an array whose state is set by a call."""

    def __init__(self, call: _Call) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return np.core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), self.call


def _gadgets(canary: Path) -> dict[str, object]:
    import builtins
    import subprocess

    touch = f"touch '{canary}'"
    code = f"open({str(canary)!r}, 'w').close()"
    return {
        "os.system": _Call(os.system, touch),
        "exec": _Call(builtins.exec, code),
        "eval": _Call(builtins.eval, code),
        "Popen": _Call(subprocess.call, ["touch", str(canary)]),
        "open": _Call(builtins.open, str(canary), "w"),
        "import": _Call(builtins.__import__, "this"),
        "state": _State(_Call(os.system, touch)),
        "fromfile": _Call(np.fromfile, str(canary)),
        "numpy file": _Call(np.memmap, str(canary), "u1", "w+", 0, (8,)),
    }


def _content(path: Path) -> dict:
    return pickle.loads(path.read_bytes(), encoding="latin1")


def _inside(name: str, content: dict, evil: object, where: str) -> object:
    """Put an object in a place of the layout that a reader looks at."""
    if where == "whole":
        return evil
    if where == "beside":
        return content | {"more": evil}
    if name == "deap":
        return content | {"data": evil}
    chest = content["signal"]["chest"] | {"ECG": evil}
    return content | {"signal": content["signal"] | {"chest": chest}}


def _refused_and_silent(name: str, folder: Path, raw: bytes, canary: Path) -> None:
    path = folder / LAYOUTS[name]
    path.write_bytes(raw)
    refused(lambda: read(name, folder, [FIRST[name]]), folder=folder, names=path.name)
    assert not canary.exists(), "code in the file was run"


@pytest.mark.faults
@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_pickle_that_runs_code(name: str, protocol: int, copy: Copy, tmp_path: Path):
    """Every gadget at every place: refused, and the canary is not there."""
    folder, canary = copy(name), tmp_path / "canary"
    content = _content(folder / LAYOUTS[name])
    if name == "deap":  # small enough to be written some dozen times
        content = content | {"data": content["data"][:, :, :400].copy()}
    for evil in _gadgets(canary).values():
        for where in ("whole", "beside", "inside"):
            raw = pickle.dumps(_inside(name, content, evil, where), protocol)
            _refused_and_silent(name, folder, raw, canary)


@pytest.mark.parametrize("name", LAYOUTS)
def test_os_system_in_a_pickle(name: str, copy: Copy, tmp_path: Path):
    """The quick part: a pickle of protocol 2, as the publishers wrote theirs."""
    folder, canary = copy(name), tmp_path / "canary"
    evil = _Call(os.system, f"touch '{canary}'")
    os.system(f"touch '{canary}'")  # so that it is known to work
    assert canary.exists()
    canary.unlink()
    _refused_and_silent(name, folder, pickle.dumps(evil, 2), canary)
    assert read(name, copy(name, "benign"), [FIRST[name]])


@pytest.mark.faults
@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_benign_pickle_loads_at_each_protocol(name: str, protocol: int, copy: Copy):
    """Without a gadget the same content is read; protocol 5 is younger than both sets."""
    folder = copy(name)
    path = folder / LAYOUTS[name]
    before = read(name, folder, [FIRST[name]])
    content = _content(path)
    content = {k: np.ascontiguousarray(v) if isinstance(v, np.ndarray) else v
               for k, v in content.items()}  # fmt: skip
    path.write_bytes(pickle.dumps(content, protocol))
    for one, other in zip(before, read(name, folder, [FIRST[name]]), strict=True):
        assert np.array_equal(one.signal, other.signal)


@pytest.mark.faults
@pytest.mark.parametrize("name", LAYOUTS)
def test_opcodes_that_reach_out(name: str, copy: Copy, tmp_path: Path):
    """Persistent ids, extensions, instances: hand-written, since no pickler writes them."""
    folder, canary = copy(name), tmp_path / "canary"
    touch = f"touch '{canary}'".encode()
    for raw in (
        b"(S'" + touch.replace(b"'", b"\\'") + b"'\nios\nsystem\n.",
        b"(cos\nsystem\nS'" + touch.replace(b"'", b"\\'") + b"'\no.",
        b"Pid\n.", b"\x80\x02\x82\x01.", b"\x80\x04\x8c\x02os\x8c\x06system\x93X" +
        struct.pack("<I", len(touch)) + touch + b"\x85R.",
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"cnumpy.core.multiarray\n__dict__\n.",
    ):  # fmt: skip
        _refused_and_silent(name, folder, raw, canary)


def _dtype() -> bytes:
    return b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"


def _asks_for(shape: int) -> bytes:
    """Return some 100 bytes, allowed names only, that ask NumPy for an array of this length."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(L%dL\ntS'd'\ntR." % shape
    )  # fmt: skip


def _copies(times: int, size: int) -> bytes:
    """Return a pickle that encodes one text over and over, and keeps each result."""
    text = b"X" + struct.pack("<I", size) + b"a" * size + b"q\x01"
    encode = b"c_codecs\nencode\nq\x00"
    head = b"\x80\x02" + text + b"0" + encode + b"0" + b"U\x06latin1q\x020" + b"]("
    return head + b"h\x00h\x01h\x02\x86R" * times + b"e."


def _scalars(times: int, size: int) -> bytes:
    """Return a pickle that makes scalars of one text over and over."""
    text = b"T" + struct.pack("<i", size) + b"a" * size + b"q\x01"
    scalar = b"cnumpy.core.multiarray\nscalar\nq\x00"
    head = b"\x80\x02" + text + b"0" + scalar + b"0" + _dtype() + b"q\x020" + b"]("
    return head + b"h\x00h\x02h\x01\x86R" * times + b"e."


def _doubled(depth: int) -> bytes:
    """Return lists of lists of lists: 2 ** depth of them for who walks through all."""
    return b"\x80\x02]q\x00" + b"]q\x01(h\x00h\x00eq\x00" * depth + b"."


def _as_key(depth: int) -> bytes:
    """Return a dict whose key is tuples of tuples, which takes 2 ** depth steps to hash."""
    return b"\x80\x02}NNq\x000" + b"h\x00h\x00\x86q\x000" * depth + b"h\x00Ns."


BOMBS = {
    "an array of 931 GiB": lambda: _asks_for(125_000_000_000),
    "a text encoded 40000 times": lambda: _copies(40_000, 400_000),
    "a text encoded 4000 times, 8 MB": lambda: _copies(4_000, 8_000_000),
    "scalars of one text": lambda: _scalars(40_000, 60_000),
    "lists of lists": lambda: _doubled(64),
    "a key of tuples": lambda: _as_key(40),
    "a memo of 2**31": lambda: b"\x80\x02]r\xff\xff\xff\x7f.",
    "a string of 2 GB that is not there": lambda: b"\x80\x02T\xff\xff\xff\x7faaaa.",
    "bytes of 2**60": lambda: b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"aaaa.",
    "a frame of 2**60": lambda: b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"aaaa.",
    "a number of 2 GB": lambda: b"\x80\x02\x8b\xff\xff\xff\x7faaaa.",
    "500000 marks": lambda: b"(" * 500_000 + b".",
    "nested tuples": lambda: b"\x80\x02N" + b"\x85" * 500_000 + b".",
}
QUICK = ("an array of 931 GiB", "a memo of 2**31")


@pytest.mark.parametrize(
    "bomb", [one if one in QUICK else pytest.param(one, marks=pytest.mark.faults) for one in BOMBS]
)
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_pickle_of_allowed_names_that_takes_memory(name: str, bomb: str, copy: Copy):
    """Refused; neither this process nor one that it started grows by more than `MOST`."""
    folder = copy(name)
    path = folder / LAYOUTS[name]
    path.write_bytes(BOMBS[bomb]())
    size = path.stat().st_size
    with peak() as found:
        refused(lambda: read(name, folder, [FIRST[name]]), folder=folder, names=path.name)
    assert found.grown < MOST + 4 * size, f"{found.grown / MB:.0f} MB for {size} bytes"


def test_the_process_outlives_a_bomb(copy: Copy):
    """After a bomb the same process reads the benign twin, and no child is left behind running."""
    folder, benign = copy("wesad"), copy("wesad", "benign")
    (folder / LAYOUTS["wesad"]).write_bytes(_copies(4_000, 1_000_000))
    for _ in range(2):
        refused(lambda: read("wesad", folder, ["S2"]), folder=folder, names="S2.pkl")
        assert read("wesad", benign, ["S2"])
    children = psutil.Process().children(recursive=True)
    assert len(children) <= 1, children


def _zeros(n_bytes: int, head: bytes) -> bytes:
    """Return a zlib stream of `head` and so many zeros: one block, over and over."""
    once = 16 * MB

    def raw(content: bytes, level: int) -> bytes:
        squeeze = zlib.compressobj(level, wbits=-15)
        return squeeze.compress(content) + squeeze.flush(zlib.Z_FULL_FLUSH)

    total = zlib.adler32(head)
    low, high = total & 0xFFFF, total >> 16
    times = n_bytes // once
    high = (high + low * times * once) % 65521  # zeros add nothing to the lower half
    end = b"\3\0" + struct.pack(">I", high << 16 | low)
    return b"\x78\x01" + raw(head, 1) + times * raw(bytes(once), 9) + end


def _matlab_bomb(variable: str, n_bytes: int) -> bytes:
    """Return a file of version 5 with one compressed variable of doubles, all 0."""
    columns = n_bytes // 8 // 64
    padded = variable.encode().ljust(-(-len(variable) // 8) * 8, b"\0")
    inner = struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, 64, columns)
    inner += struct.pack("<II", 1, len(variable)) + padded
    inner += struct.pack("<II", 9, n_bytes % 2**32)
    size = len(inner) + columns * 64 * 8
    packed = _zeros(n_bytes, struct.pack("<II", 14, size) + inner)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    return head + struct.pack("<II", 15, len(packed)) + packed


MATLAB = {
    "seed": ("Preprocessed_EEG/1_20131027.mat", "pa_eeg1"),
    "amigos": ("Data_Preprocessed_P01.mat", "joined_data"),
    "dreamer": ("DREAMER.mat", "DREAMER"),
    "deap": ("data_preprocessed_matlab/s01.mat", "data"),
}


@pytest.mark.faults
@pytest.mark.parametrize("name", MATLAB)
def test_a_matlab_file_that_unpacks_to_gigabytes(name: str, copy: Copy):
    """3 GiB of zeros in 3 MB: refused by what its header declares, before memory is taken.

    DREAMER unpacks to gigabytes itself, and the 4 GiB that a header can declare are no more than
    it may have: it is parsed, and refused for what it holds. Here 512 MiB stand for them.
    """
    folder = copy(name)
    path = folder / MATLAB[name][0]
    if name == "deap":
        (folder / LAYOUTS["deap"]).unlink()
        path.parent.mkdir()
    n_bytes = 512 * MB if name == "dreamer" else 3 * 2**30
    path.write_bytes(_matlab_bomb(MATLAB[name][1], n_bytes))
    assert path.stat().st_size < 20 * MB
    with peak() as found:
        refused(lambda: read(name, folder, [FIRST[name]]), folder=folder, names=path.name)
    most = n_bytes + MOST if name == "dreamer" else 2 * MOST
    assert found.grown < most, f"{found.grown / MB:.0f} MB"


@pytest.mark.faults
def test_a_compact_file_that_unpacks_to_gigabytes(copy: Copy):
    """The zip of eegmat_60s.npz holds an array of 1 GB."""
    import io
    import zipfile

    folder = copy("eegmat")
    path = folder / "eegmat_60s.npz"
    head = io.BytesIO()
    shape = (2**30 // 2 // 15360, 15360)
    described = {"descr": "<i2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, described)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        with made.open("ecg.npy", "w", force_zip64=True) as stream:
            stream.write(head.getvalue())
            for _ in range(2**30 // (16 * MB)):
                stream.write(bytes(16 * MB))
        for name, values in (("subject", [0, 0]), ("label", [0, 1])):
            with made.open(f"{name}.npy", "w") as stream:
                np.save(stream, np.array(values))
    with peak() as found:
        refused(lambda: read("eegmat", folder, ["00"]), folder=folder, names=path.name)
    assert found.grown < 2 * MOST, f"{found.grown / MB:.0f} MB"


@pytest.mark.faults
def test_a_real_copy_with_a_pickle_of_another_size(copy: Copy):
    """What claims to be real DEAP must have the publisher's size: a small file is refused."""
    folder = real(copy("deap"))
    refused(lambda: read("deap", folder, ["s01"]), "103219200", folder=folder, names="s01.dat")
