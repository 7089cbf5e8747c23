"""Embeddings of windows that were made once: on the disk, found by the content of each window."""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from affectbook import cache, files, locks
from affectbook.errors import CacheError
from affectbook.windows import LARGE

_KEPT = "cache/layer_embeddings"
_WINDOWS, _EMBEDDINGS = "windows.npy", "embeddings.npy"
_STORES_KEPT = 2
log = logging.getLogger(__name__)


class Store:
    """Embeddings by the content of their windows: those on the disk, and those that found no room.

    Parameters
    ----------
    told
        All that they depend on, but for the windows.
    """

    def __init__(self, told: dict[str, object]) -> None:
        self.told, self.kind = told, f"{_KEPT}/{cache.key(told)}"
        self.rows: dict[bytes, tuple[int, int]] = {}
        self.parts: list[np.ndarray] = []
        self.read: set[str] = set()
        self.n_bytes = 0

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Return the positions of windows without an embedding, each window once."""
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        return sorted(i for key, i in first.items() if key not in self.rows)

    @contextmanager
    def alone(self, keys: Sequence[bytes]) -> Iterator[list[int]]:
        """Be the only process that makes embeddings of this kind, while some are `missing`.

        What this and other processes have kept is read before, and again after having waited.
        """
        self._look()
        with ExitStack() as stack:
            try:
                if self.missing(keys):
                    stack.enter_context(locks.alone(self._folder() / ".lock", "embeddings"))
                    self._look()
            except CacheError:
                pass  # where no lock can be made, nobody keeps anything
            yield self.missing(keys)

    def add(self, keys: list[bytes], made: np.ndarray) -> None:
        """Keep embeddings on the disk; for this process alone if that cannot be."""

        def write(folder: Path) -> None:
            np.save(folder / _WINDOWS, np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32))
            np.save(folder / _EMBEDDINGS, made)

        windows = hashlib.sha256(b"".join(keys)).hexdigest()
        try:
            place = cache.folder(self.kind, self.told | {"windows": windows}, write,
                                 room=made.nbytes)  # fmt: skip
        except CacheError as error:
            log.warning("embeddings of layers could not be kept (%s); they are made for this "
                        "process alone", error.found)  # fmt: skip
            self._append(keys, made)
        else:
            self._take(place)

    def gather(self, keys: Sequence[bytes]) -> np.ndarray:
        """Return the embeddings of windows, in their order."""
        found = room_for((len(keys), *self.parts[0].shape[1:]))
        for i, key in enumerate(keys):
            part, row = self.rows[key]
            found[i] = self.parts[part][row]
        return found

    def _look(self) -> None:
        for place in sorted(self._folder().glob("[!.]*")):
            if place.name not in self.read and cache.is_whole(place):
                self._take(place)

    def _folder(self) -> Path:
        return files.project_root().joinpath("build", *self.kind.split("/"))

    def _take(self, place: Path) -> None:
        path = place / _EMBEDDINGS
        in_memory = self.n_bytes + path.stat().st_size <= LARGE
        keys = [key.tobytes() for key in np.load(place / _WINDOWS)]
        self._append(keys, np.load(path, mmap_mode=None if in_memory else "r"))
        self.read.add(place.name)

    def _append(self, keys: list[bytes], made: np.ndarray) -> None:
        self.rows |= {key: (len(self.parts), row) for row, key in enumerate(keys)}
        self.parts.append(made)
        self.n_bytes += made.nbytes


_STORES: OrderedDict[str, Store] = OrderedDict()


def of(told: dict[str, object]) -> Store:
    """Return the store of this process for what its embeddings depend on."""
    name = f"{files.project_root()} {cache.key(told)}"
    found = _STORES.setdefault(name, Store(told))
    _STORES.move_to_end(name)
    while len(_STORES) > _STORES_KEPT:
        _STORES.popitem(last=False)
    return found


def room_for(shape: tuple[int, ...]) -> np.ndarray:
    """Return room for float32: in memory, or where `LARGE` on the disk, in a file without a name.

    Raises
    ------
    CacheError
        If the disk has not that much room.
    """
    n_bytes = 4 * math.prod(shape)
    if n_bytes <= LARGE:
        return np.empty(shape, np.float32)
    folder = files.build_dir("cache")
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise CacheError(
            "too little room for the embeddings of layers", file=folder,
            found=f"{free / 1e6:,.0f} MB are free", expected=f"{n_bytes / 1e6:,.0f} MB",
            do="free the disk, take fewer windows, or a gate that works on pooled layers",
        )  # fmt: skip
    with tempfile.TemporaryFile(dir=folder) as stream:
        return np.memmap(stream, np.float32, "w+", shape=shape)
