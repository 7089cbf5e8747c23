"""Weights of a network: a safetensors file, which cannot carry code, and a JSON card beside it.

Published weights may also come as pickles of torch. Those are read as weights and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from affectbook.errors import CheckpointError, shown
from affectbook.files import sha256 as file_sha256
from affectbook.files import write_atomic

FORMAT = 1
SUFFIX = ".safetensors"
PICKLED = (".pt", ".pth", ".ckpt")
_STATES = ("state_dict", "model_state_dict", "model")
_FIELDS = {
    "format": int, "network": str, "constructor": dict | None, "made_by": dict, "tensors": dict,
    "weights_sha256": str, "card_sha256": str,
}  # fmt: skip
_LISTED, _LONGEST_NAME = 5, 100
_LARGEST_CARD = 2**24
_NOT_PLAIN = (
    "holds more than weights, is damaged, or its pickle is of another protocol than torch's 2 and 3"
)
_GLOBAL = re.compile(r"GLOBAL (\S+)")
# What is raised for tensors that cannot be written, or bytes that are no such file; KeyError: an
# unknown dtype; AssertionError: a shape that does not go with its bytes.
_UNREADABLE = (
    safetensors.SafetensorError, RuntimeError, ValueError, KeyError, TypeError, AssertionError,
    OverflowError, MemoryError, zipfile.BadZipFile, NotImplementedError,
)  # fmt: skip


def card_of(path: Path) -> Path:
    """Return where the card of a file of weights lies."""
    return Path(path).with_suffix(".json")


def save(
    module: nn.Module,
    path: Path,
    card: Mapping[str, object],
    *,
    constructor: Mapping[str, object] | None = None,
) -> Path:
    """Keep the weights and buffers of a network, all of them or nothing.

    Parameters
    ----------
    module
        The network.
    path
        Of the weights, with the suffix ``.safetensors``; `card_of` says where its card goes.
    card
        What made these weights: run key, seed, fold, ... What JSON has no form for is kept as text.
    constructor
        What the class of the network was called with, where that is known.

    Raises
    ------
    CheckpointError
        If the suffix is another one, a value is no dense tensor, or the files cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise _refused(path, f"weights are kept in files whose names end in {SUFFIX}")
    state = module.state_dict()
    try:
        tensors = {name: _plain(value) for name, value in state.items()}
        data = safetensors.torch.save(tensors)
    except _UNREADABLE as error:
        why = f"weights of {_class(module)} that cannot be kept: {_first_line(error)}"
        raise _refused(path, why) from None
    text = _render(
        {
            "format": FORMAT,
            "network": _class(module),
            "constructor": None if constructor is None else dict(constructor),
            "made_by": dict(card),
            "tensors": _described(tensors),
            "weights_sha256": hashlib.sha256(data).hexdigest(),
        }
    )

    def write_both(temporary: Path) -> None:
        # Both are whole on the disk before either gets its name.
        temporary.write_text(text, encoding="utf-8")
        write_atomic(path, lambda beside: beside.write_bytes(data))

    try:
        write_atomic(card_of(path), write_both)
    except OSError as error:
        raise _refused(path, f"could not be written: {error.strerror or error}") from None
    return path


def load(module: nn.Module, path: Path) -> dict[str, object]:
    """Load what `save` kept into a network of the same class, strictly.

    Parameters
    ----------
    module
        The network; changed in place, and not at all if anything is wrong.
    path
        Of the weights.

    Returns
    -------
    dict
        The card: format, network, constructor, made_by, tensors, weights_sha256, card_sha256.

    Raises
    ------
    CheckpointError
        One message: weights or card are missing, damaged or of another network, or names, shapes
        and dtypes differ, each of which is listed.
    """
    path = Path(path)
    data = _bytes_of(path)
    card = _read_card(card_of(path))
    found = hashlib.sha256(data).hexdigest()
    if found != card["weights_sha256"]:
        kind = "" if _is_safetensors(data) else ", and not a whole safetensors file"
        raise _refused(
            path,
            f"cut, damaged or replaced{kind}: its SHA-256 is {found}, its card says "
            f"{card['weights_sha256']}",
        )
    tensors = _parsed(path, data)
    if card["tensors"] != _described(tensors):
        raise _refused(path, f"{card_of(path).name} describes other weights than these")
    if card["network"] != _class(module):
        raise _refused(path, f"weights of {card['network']}, not of {_class(module)}")
    check_fit(module, tensors, path)
    module.load_state_dict(tensors)
    return card


def read_card(path: Path) -> dict[str, object]:
    """Return the card of weights, without the weights: what `load` returns.

    Raises
    ------
    CheckpointError
        If the card is missing or damaged.
    """
    return _read_card(card_of(Path(path)))


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are not exactly those of a network.

    Raises
    ------
    CheckpointError
        One message that names the file and lists what is missing, unexpected, or of another shape
        or dtype.
    """
    state = module.state_dict()
    ours = {name: value for name, value in state.items() if _is_dense(value)}
    shared = [name for name in ours if name in tensors]
    problems = {
        "missing": [name for name in state if name not in shared],
        "unexpected": sorted(name for name in tensors if name not in ours),
        "of another shape": [
            f"{name} {tuple(tensors[name].shape)} instead of {tuple(ours[name].shape)}"
            for name in shared
            if tensors[name].shape != ours[name].shape
        ],
        "of another dtype": [
            f"{name} {_dtype(tensors[name])} instead of {_dtype(ours[name])}"
            for name in shared
            if tensors[name].dtype != ours[name].dtype
        ],
    }
    told = [f"{len(names)} {what}: {_listed(names)}" for what, names in problems.items() if names]
    if told:
        raise _refused(path, f"not the weights of this {_class(module)}; {'; '.join(told)}")


def load_state(path: Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of a published file, as dense tensors on the CPU; code in it does not run.

    Parameters
    ----------
    path
        A safetensors file, or a pickle of torch (``.pt``, ``.pth``, ``.ckpt``; its zip format or
        the one before). Of a pickle that holds more than weights, the part under ``state_dict``,
        ``model_state_dict`` or ``model``.
    sha256
        The sum that was published with the file. Nothing is parsed if it differs.

    Raises
    ------
    CheckpointError
        If the file is not there, differs from its sum, is damaged, carries code, or holds no
        weights.
    """
    path = Path(path)
    if path.suffix not in (SUFFIX, *PICKLED):
        known = ", ".join((SUFFIX, *PICKLED))
        raise _refused(path, f"no file of weights by its name; expected one of {known}")
    if path.suffix == SUFFIX:
        data = _bytes_of(path)
        _require_sum(path, hashlib.sha256(data).hexdigest(), sha256)
        return _parsed(path, data)
    _require_file(path)
    try:
        _require_sum(path, "" if sha256 is None else file_sha256(path), sha256)
        return _state_in(path, _unpickled(path))
    except OSError as error:
        raise _refused(path, f"could not be read: {error.strerror or error}") from None


def _unpickled(path: Path) -> object:
    """Read a pickle of torch with torch's own short list of what may be in it."""
    with path.open("rb") as stream:
        starts_as_zip = stream.read(2) == b"PK"
    if starts_as_zip or zipfile.is_zipfile(path):
        _require_stored(path)
    try:
        with warnings.catch_warnings():
            # About protocols of pickles other than the usual one: what is not weights is refused.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = _GLOBAL.search(str(error))
        what = f"carries more than weights: {named[1]}" if named else _NOT_PLAIN
        raise _refused(path, f"{what}; code in a file is never run") from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle makes its reader raise anything
        raise _refused(path, f"damaged, or no weights of torch: {_first_line(error)}") from None


def _require_stored(path: Path) -> None:
    """Refuse a zip whose members unpack to more than the file: torch compresses none."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except _UNREADABLE as error:
        raise _refused(path, f"a damaged zip file: {_first_line(error)}") from None
    packed = any(one.compress_type != zipfile.ZIP_STORED for one in members)
    if packed or sum(one.file_size for one in members) > path.stat().st_size:
        raise _refused(path, "its members unpack to more than the file; torch compresses none")


def _state_in(path: Path, content: object) -> dict[str, Tensor]:
    """Return the dictionary of tensors that was saved, or that lies one level down."""
    inner = [content[key] for key in _STATES if key in content] if _is_dict(content) else []
    for state in (content, *inner):
        if _is_dict(state) and state and all(_is_dense(value) for value in state.values()):
            # Steps of size zero let a short file stand for an array of any size.
            for name, value in state.items():
                if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                    raise _refused(path, f"{_short(name)} claims more numbers than the file holds")
            return {name: value.detach() for name, value in state.items()}
    found = f"a dictionary of {_listed(content)}" if _is_dict(content) else type(content).__name__
    raise _refused(path, f"holds no dictionary of weights; found {found}")


def _parsed(path: Path, data: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except _UNREADABLE as error:
        raise _refused(path, f"damaged, or no safetensors file: {_first_line(error)}") from None


def _is_safetensors(data: bytes) -> bool:
    try:
        safetensors.deserialize(data)
    except _UNREADABLE:
        return False
    return True


def _read_card(path: Path) -> dict[str, object]:
    """Return a card that is to the byte what `save` wrote."""
    data = _bytes_of(path, "the card of the weights", _LARGEST_CARD)
    damaged = _refused(path, "a damaged card: it is not to the byte what was written")
    try:
        card = json.loads(data)
        if not isinstance(card, dict) or card.pop("card_sha256") != _sum_of(card):
            raise damaged
        whole = _render(card).encode() == data
    except (ValueError, KeyError, RecursionError, TypeError):
        raise damaged from None
    if not whole:
        raise damaged
    card = json.loads(data)
    wrong = [key for key, kind in _FIELDS.items() if not isinstance(card.get(key), kind)]
    if wrong or card["format"] != FORMAT:
        raise _refused(path, f"not a card of format {FORMAT}; look at {_listed(wrong or _FIELDS)}")
    return card


def _render(card: dict[str, object]) -> str:
    """Return the text of a card with its own sum at the end."""
    plain = json.loads(json.dumps(card, default=str))
    return json.dumps({**plain, "card_sha256": _sum_of(plain)}, indent=1) + "\n"


def _sum_of(card: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(card).encode()).hexdigest()


def _bytes_of(path: Path, what: str = "weights", most: int | None = None) -> bytes:
    _require_file(path, what)
    try:
        if most is not None and path.stat().st_size > most:
            raise _refused(path, f"too large for {what}: more than {most} bytes")
        return path.read_bytes()
    except OSError as error:
        raise _refused(path, f"could not be read: {error.strerror or error}") from None


def _require_file(path: Path, what: str = "weights") -> None:
    if not path.is_file():
        raise _refused(path, f"{what} expected here: there is no such file")


def _require_sum(path: Path, found: str, expected: str | None) -> None:
    if expected is not None and found != expected.lower():
        raise _refused(path, f"its SHA-256 is {found}; published was {expected}")


def _plain(value: object) -> Tensor:
    if not _is_dense(value):
        raise TypeError(f"{type(value).__name__} is no dense tensor")
    # A copy each: tensors that share memory are two files' worth to safetensors.
    return value.detach().cpu().contiguous().clone()


def _is_dense(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized


def _is_dict(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _described(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, object]]:
    return {
        name: {"shape": list(tensors[name].shape), "dtype": _dtype(tensors[name])}
        for name in sorted(tensors)
    }


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _class(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _listed(names: Iterable[object]) -> str:
    """Return the first names, and how many more there are."""
    names = list(names)
    more = [f"and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return ", ".join([*map(_short, names[:_LISTED]), *more])


def _short(name: object) -> str:
    text = str(name)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [""]
    return _short(lines[0] or type(error).__name__)


def _refused(path: Path, what: str) -> CheckpointError:
    return CheckpointError(shown(f"{path}: {what}"))
