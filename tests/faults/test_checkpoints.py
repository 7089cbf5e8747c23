"""Weights that are cut, altered, of another network, or made to do harm."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from faults.measured import peak
from safetensors.torch import save_file
from torch import nn

from affectbook.errors import CheckpointError
from affectbook.files import sha256
from affectbook.models import checkpoint
from affectbook.models.small_cnn import SmallCNN

MB = 2**20
LONGEST = 800
every = pytest.mark.faults


class Small(nn.Module):
    """A network of few bytes, all of which can be damaged one by one."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.layer = nn.Linear(2, width)
        self.register_buffer("seen", torch.tensor(5))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return the weights of a small network, with their card."""
    torch.manual_seed(0)
    return checkpoint.save(Small(), tmp_path / "kept" / "w.safetensors", {"seed": 0, "fold": 1})


def state_of(module: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


def refused(act: Callable[[], object], path: Path, *words: str) -> str:
    """Check that an act ends in one plain message that names the file; return it."""
    with pytest.raises(CheckpointError) as caught:
        act()
    text = str(caught.value)
    assert text.isprintable(), f"more than one plain line: {text!r}"
    assert len(text.replace(str(path.parent), "")) <= LONGEST, text
    assert str(path.parent) in text and path.stem in text
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"
    return text


def not_loaded(path: Path, *words: str, module: nn.Module | None = None) -> str:
    """Check that weights are refused and the network keeps its own to the bit."""
    module = module or Small()
    before = state_of(module)
    text = refused(lambda: checkpoint.load(module, path), path, *words)
    assert state_of(module) == before
    return text


def with_card(path: Path, content: bytes, **changes: object) -> Path:
    """Put bytes in the place of weights and give them a card that agrees with their sum."""
    path.write_bytes(content)
    card = json.loads(checkpoint.card_of(path).read_text())
    del card["card_sha256"]
    card |= {"weights_sha256": sha256(path)} | changes
    checkpoint.card_of(path).write_text(checkpoint._render(card))
    return path


def places(path: Path, only: int | None) -> Iterator[int]:
    """Yield every position of a file, or so many from its first to its last byte."""
    size = path.stat().st_size
    few = only or size
    yield from sorted({i * (size - 1) // (few - 1) for i in range(few)})


def cut_everywhere(kept: Path, only: int | None) -> None:
    for path in (kept, checkpoint.card_of(kept)):
        whole = path.read_bytes()
        for size in places(path, only):
            path.write_bytes(whole[:size])
            words = ("damaged card",) if path.suffix == ".json" else ("cut, damaged", "SHA-256")
            not_loaded(kept, *words)
        path.write_bytes(whole)
    checkpoint.load(Small(), kept)


def test_a_few_cuts(kept: Path) -> None:
    cut_everywhere(kept, 7)


@every
def test_every_cut(kept: Path) -> None:
    cut_everywhere(kept, None)


def flip_everywhere(kept: Path, only: int | None, bits: tuple[int, ...]) -> None:
    for path in (kept, checkpoint.card_of(kept)):
        whole = path.read_bytes()
        for place in places(path, only):
            for bit in bits:
                altered = bytearray(whole)
                altered[place] ^= 1 << bit
                path.write_bytes(altered)
                words = ("damaged card",) if path.suffix == ".json" else ("SHA-256",)
                not_loaded(kept, *words)
        path.write_bytes(whole)
    checkpoint.load(Small(), kept)


def test_one_flipped_byte_in_a_few_places(kept: Path) -> None:
    flip_everywhere(kept, 12, (5,))


@every
def test_one_flipped_bit_everywhere(kept: Path) -> None:
    flip_everywhere(kept, None, (0, 5, 7))


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"card_sha256": 1}', b"1" * 9999],
    ids=lambda text: repr(text[:12]),
)
def test_a_card_that_is_none(text, kept: Path) -> None:
    checkpoint.card_of(kept).write_bytes(text)
    assert "w.json" in not_loaded(kept, "a damaged card")


def test_a_card_of_another_version_or_with_parts_missing(kept: Path) -> None:
    weights = kept.read_bytes()
    with_card(kept, weights, format=99)
    not_loaded(kept, "not a card of format 1")
    with_card(kept, weights, network=["a"])
    not_loaded(kept, "not a card of format 1; look at network")


def test_a_missing_card_and_a_card_without_weights(kept: Path) -> None:
    away = kept.with_name("away")
    checkpoint.card_of(kept).rename(away)
    not_loaded(kept, "w.json: the card of the weights expected here: there is no such file")
    away.rename(checkpoint.card_of(kept))
    kept.unlink()
    not_loaded(kept, "w.safetensors: weights expected here: there is no such file")


def test_a_card_that_is_a_memory_bomb(kept: Path) -> None:
    with checkpoint.card_of(kept).open("r+b") as stream:
        stream.truncate(4 * 2**30)
    with peak() as memory:
        not_loaded(kept, "w.json: too large")
    assert memory.grown < 100 * MB


def test_a_foreign_checkpoint(kept: Path, tmp_path: Path) -> None:
    other = checkpoint.save(SmallCNN(1, 64, 2), tmp_path / "other" / "w.safetensors", {})
    not_loaded(other, "models.small_cnn.SmallCNN", f"{Small.__module__}.Small")
    shutil.copyfile(other, kept)
    not_loaded(kept, "replaced: its SHA-256 is")
    shutil.copyfile(kept, tmp_path / "alone.safetensors")
    not_loaded(tmp_path / "alone.safetensors", "card of the weights expected here")


def test_a_card_that_speaks_of_other_tensors(kept: Path, tmp_path: Path) -> None:
    save_file({"layer.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with_card(kept, (tmp_path / "other.safetensors").read_bytes())
    not_loaded(kept, "w.json describes other weights than these")


def test_wrong_shapes_are_listed(kept: Path) -> None:
    text = not_loaded(kept, "2 of another shape", module=Small(3))
    assert "layer.bias (2,) instead of (3,)" in text
    assert "layer.weight (2, 2) instead of (3, 2)" in text


def test_mismatched_names_and_dtypes_are_listed(kept: Path) -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(4))
            self.register_buffer("seen", torch.tensor(5, dtype=torch.int32))

    module = Small()
    card = json.loads(checkpoint.card_of(kept).read_text())
    named = f"{Small.__module__}.{Small.__qualname__}"
    assert card["network"] != named
    with_card(kept, kept.read_bytes(), network=named)
    not_loaded(
        kept,
        "8 missing: layers.0.weight, layers.0.bias, layers.1.weight, layers.1.bias, "
        "layers.2.weight, and 3 more",
        "2 unexpected: layer.bias, layer.weight",
        "1 of another dtype: seen int64 instead of int32",
        module=module,
    )


def header(text: bytes, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if size is None else size) + text


def _entry(shape: list[int], offsets: list[int], dtype: str = "F32") -> bytes:
    return json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()


NO_SAFETENSORS = {
    "empty": b"",
    "text": b"these are no weights, but they are longer than eight bytes",
    "zeros": bytes(64),
    "absurd length of the header": header(b"{}", 2**63 + 1),
    "header longer than the file": header(_entry([1], [0, 4]), 2**20),
    "header of a gigabyte": header(b"{}", 2**30),
    "no json": header(b"{'w': 1}"),
    "deep json": header(b'{"w":' + b"[" * 100_000),
    "offsets beyond the file": header(_entry([2**30], [0, 2**32])) + bytes(16),
    "shape larger than its bytes": header(_entry([2**40], [0, 16])) + bytes(16),
    "shape that overflows": header(_entry([2**33, 2**33], [0, 16])) + bytes(16),
    "offsets backwards": header(_entry([4], [16, 0])) + bytes(16),
    "bytes that nothing speaks of": header(_entry([1], [0, 4])) + bytes(64),
    "unknown dtype": header(_entry([4], [0, 16], "X99")) + bytes(16),
    "a pickle": pickle.dumps({"w": [0.0] * 9}),
}


@pytest.mark.parametrize("what", NO_SAFETENSORS)
def test_what_is_no_safetensors_file(what, kept: Path) -> None:
    content = NO_SAFETENSORS[what]
    with peak() as memory:
        kept.write_bytes(content)
        not_loaded(kept, "cut, damaged or replaced, and not a whole safetensors file")
        # Also with a card that vouches for it, and where no card is asked for.
        with_card(kept, content)
        not_loaded(kept, "damaged, or no safetensors file")
        refused(lambda: checkpoint.load_state(kept), kept, "damaged, or no safetensors file")
    assert memory.grown < 100 * MB


def test_a_tensor_of_no_bytes_with_an_absurd_shape(kept: Path) -> None:
    with peak() as memory:
        with_card(kept, header(_entry([2**62, 0, 2**62], [0, 0])))
        not_loaded(kept)
    assert memory.grown < 100 * MB


class _Call:
    """Pickled, it calls a function with arguments when it is read."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def _gadgets(canary: Path) -> dict[str, object]:
    import builtins

    code = f"open({str(canary)!r}, 'w').close()"
    return {
        "os.system": _Call(os.system, f"touch '{canary}'"),
        "exec": _Call(builtins.exec, code),
        "eval": _Call(builtins.eval, code),
        "open": _Call(builtins.open, str(canary), "w"),
        "getattr": _Call(getattr, _Call(builtins.__import__, "os"), "system"),
        "torch.load": _Call(torch.load, str(canary), None, None),
    }


@pytest.mark.parametrize("suffix", [".pt", pytest.param(".ckpt", marks=every)])
@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("beside", [False, True])
def test_a_pickle_of_torch_that_carries_code(suffix, form, protocol, beside, tmp_path) -> None:
    canary, path = tmp_path / "canary", tmp_path / f"w{suffix}"
    for evil in _gadgets(canary).values():
        content = {"state_dict": {"w": torch.zeros(2)}, "more": evil} if beside else evil
        if form == "bare":
            path.write_bytes(pickle.dumps(evil, protocol))
        else:
            new = form == "zip"
            torch.save(
                content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new
            )
        words = ("carries more than weights: ",) if protocol < 4 else ("holds more than weights",)
        refused(
            lambda: checkpoint.load_state(path), path, *words, "code in a file is never run"
        )
        assert not canary.exists()


def test_the_canary_dies_where_code_is_run(tmp_path: Path) -> None:
    """The gadgets work: what keeps them from doing so is how the file is read."""
    canary, path = tmp_path / "canary", tmp_path / "w.pt"
    torch.save(_Call(os.system, f"touch '{canary}'"), path)
    torch.load(path, weights_only=False)
    assert canary.exists()


def cut_pickles(tmp_path: Path, legacy: bool, only: int | None) -> None:
    path = tmp_path / "w.pt"
    torch.save(Small().state_dict(), path, _use_new_zipfile_serialization=not legacy)
    whole, published = path.read_bytes(), sha256(path)
    for size in places(path, only):
        path.write_bytes(whole[:size])
        refused(lambda: checkpoint.load_state(path), path)
        refused(lambda: checkpoint.load_state(path, sha256=published), path, "published was")
    path.write_bytes(whole)
    assert len(checkpoint.load_state(path, sha256=published)) == 3


@pytest.mark.parametrize("legacy", [False, True])
def test_a_few_cuts_of_a_pickle_of_torch(legacy, tmp_path: Path) -> None:
    cut_pickles(tmp_path, legacy, 9)


@every
@pytest.mark.parametrize("legacy", [False, True])
def test_every_cut_of_a_pickle_of_torch(legacy, tmp_path: Path) -> None:
    cut_pickles(tmp_path, legacy, None)


@every
@pytest.mark.parametrize("legacy", [False, True])
def test_no_flipped_byte_of_a_pickle_of_torch_is_more_than_a_message(legacy, tmp_path) -> None:
    """Without a published sum a changed number cannot be told; nothing worse may come of it."""
    path = tmp_path / "w.pt"
    torch.save(Small().state_dict(), path, _use_new_zipfile_serialization=not legacy)
    whole, published = path.read_bytes(), sha256(path)
    for place in range(len(whole)):
        altered = bytearray(whole)
        altered[place] ^= 0xFF
        path.write_bytes(altered)
        refused(lambda: checkpoint.load_state(path, sha256=published), path, "published was")
        try:
            checkpoint.load_state(path)
        except CheckpointError as error:
            assert str(error).isprintable()


def test_a_tensor_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"w": torch.zeros(1).expand(2**20, 2**20)}, path)
    assert path.stat().st_size < MB
    with peak() as memory:
        refused(lambda: checkpoint.load_state(path), path, "claims more numbers than the file")
    assert memory.grown < 100 * MB


def test_a_pickle_of_torch_that_unpacks_to_more_than_the_file(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain.pt", tmp_path / "w.pt"
    torch.save({"w": torch.zeros(4)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as to:
        for member in source.infolist():
            bomb = member.filename.endswith("data/0")
            to.writestr(member.filename, bytes(64 * MB) if bomb else source.read(member))
    assert path.stat().st_size < MB
    with peak() as memory:
        refused(lambda: checkpoint.load_state(path), path, "its members unpack to more")
    assert memory.grown < 50 * MB


def test_a_legacy_pickle_whose_storage_is_said_to_be_huge(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"w": torch.zeros(5)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    # The size of the storage stands in the pickle as K and one byte; J takes four, \x8a more.
    place = whole.index(b"cpuq") + whole[whole.index(b"cpuq") :].index(b"K\x05")
    for size in (b"J\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"J\xff\xff\xff\xff"):
        path.write_bytes(whole[:place] + size + whole[place + 2 :])
        with peak() as memory:
            refused(lambda: checkpoint.load_state(path), path)
        assert memory.grown < 100 * MB


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 and no more", b"text that is no pickle", bytes(64), b"\x80\x02."]
)
@pytest.mark.parametrize("suffix", checkpoint.PICKLED)
def test_what_is_no_pickle_of_torch(content, suffix, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    refused(lambda: checkpoint.load_state(path), path)
