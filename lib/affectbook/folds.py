"""Finished folds of an evaluation, kept one by one: a run that was killed goes on at its fold.

Nothing here decides a score. A fold is taken from its file only if split, data, labels, estimator
and whatever rounds a number are those of today; else it is made again.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from affectbook import progress
from affectbook.audit import Audit
from affectbook.errors import CacheError
from affectbook.files import write_text

_ROUNDING = ("numpy", "scipy", "scikit-learn", "pandas", "torch", "skorch", "neurokit2",
             "mamba-ssm", "causal-conv1d")  # fmt: skip
# By these libraries are told how many threads to take, which code, and how exact to be.
_TOLD = ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS",
         "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "OPENBLAS_CORETYPE",
         "NPY_DISABLE_CPU_FEATURES", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE")


class Fold(NamedTuple):
    """What a fold leaves behind.

    Attributes
    ----------
    y_pred : numpy.ndarray
        Class ids ``(n_test,)``.
    audit : affectbook.audit.Audit
    history : pandas.DataFrame or None
        Training curve, of networks.
    """

    y_pred: np.ndarray
    audit: Audit
    history: pd.DataFrame | None


@dataclass(frozen=True)
class Kept:
    """The folds of one evaluation inside the folder of a run.

    Attributes
    ----------
    run : pathlib.Path
        Folder of the run.
    key : str
        Stands for everything that the predictions depend on but split and machine: `key`.
    what : str
        How the evaluation is called on the terminal: "hcmnet, group_kfold_subject".
    """

    run: Path
    key: str
    what: str

    def begin(self, fold: int, of: int) -> None:
        """Note that a fold, counted from 0, begins."""
        progress.step(f"{self.what}: fold {fold + 1} of {of}")

    def read(self, fold: int, train: np.ndarray, test: np.ndarray) -> Fold | None:
        """Return a fold that was finished before on this split and machine; None if none was."""
        path = self._path(fold)
        if not path.is_file():
            return None
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if _sum(told) != told.pop("sum"):
                raise ValueError("its sum differs")
            found = _restored(told)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            progress.say(f"{self.what}: what is kept of fold {fold + 1} is damaged "
                         f"({type(error).__name__}); it is made again")  # fmt: skip
            return None
        if told["split"] != _split(train, test):
            return None
        if told["machine"] != machine():
            now, then = machine(), told["machine"]
            other = ", ".join(f"{k} {then.get(k)}, now {now[k]}" for k in now if
                              then.get(k) != now[k])  # fmt: skip
            progress.say(f"{self.what}: fold {fold + 1} was made with {other}; it is made again")
            return None
        return found

    def write(self, fold: int, train: np.ndarray, test: np.ndarray, done: Fold) -> Fold:
        """Keep a finished fold, whole or not at all, and return it as `read` would.

        Raises
        ------
        CacheError
            If it cannot be written; the folds before it are there.
        """
        told = {
            "what": self.what, "fold": fold, "split": _split(train, test), "machine": machine(),
            "y_pred": np.asarray(done.y_pred).tolist(), "audit": vars(done.audit),
            "history": None if done.history is None else done.history.to_dict("list"),
        }  # fmt: skip
        told = json.loads(json.dumps(told))
        path = self._path(fold)
        try:
            if not self.run.is_dir():
                raise FileNotFoundError(None, "the folder of the run is gone")
            write_text(path, json.dumps(told | {"sum": _sum(told)}))
        except OSError as error:
            raise CacheError(
                "a finished fold could not be kept",
                file=path,
                field=f"{self.what}, fold {fold + 1}",
                found=error.strerror or type(error).__name__,
                expected="a folder that may be written, with room on its disk",
                do="free the disk and run the same command again: it goes on at this fold",
            ) from error
        return _restored(told)

    def _path(self, fold: int) -> Path:
        return self.run / progress.FOLDS / self.key / f"fold-{fold:03d}.json"


def key(*told: object) -> str | None:
    """Return 16 hexadecimal digits for settings, arrays, classes and estimators; else None.

    None means that something cannot be told from another of its kind, such as a lambda, so that
    nothing may be kept under its name.
    """
    try:
        text = json.dumps([_described(one) for one in told], sort_keys=True)
    except TypeError:
        return None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def machine() -> dict[str, str]:
    """Return what rounds numbers: processor, threads, libraries.

    Equal here means equal bits, but for graphics cards.
    """
    packages = ", ".join(f"{name} {_version(name)}" for name in _ROUNDING)
    cores = (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    threads = os.environ.get("OMP_NUM_THREADS") or str(cores)
    told = {name: os.environ.get(name) for name in _TOLD}
    return {
        "processor": _processor(),
        "graphics cards": _graphics_cards(),
        "threads": threads,
        "environment": ", ".join(f"{name}={value}" for name, value in told.items()
                                 if value and value != threads) or "plain",  # fmt: skip
        "products": os.environ.get("AFFECTBOOK_PRODUCTS") or "blas",
        "python": platform.python_version(),
        "packages": packages,
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _processor() -> str:
    """Return the processor's name with a hash of its abilities: libraries choose code by these."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    found = dict(re.findall(r"^(model name|flags|Features)\s*:\s*(.+)$", text, re.MULTILINE))
    name = found.get("model name") or platform.processor() or platform.machine()
    flags = " ".join(sorted(found.get("flags", found.get("Features", "")).split()))
    return f"{name} ({hashlib.sha256(flags.encode()).hexdigest()[:8]})"


def _graphics_cards() -> str:
    """Return the names of NVIDIA's cards and their driver, without a library that asks them."""
    driver = Path("/proc/driver/nvidia")
    cards = [path.read_text(encoding="utf-8", errors="replace")
             for path in sorted(driver.glob("gpus/*/information"))]  # fmt: skip
    names = [found[1].strip() for text in cards if (found := re.search(r"Model:(.*)", text))]
    version = driver / "version"
    told = version.read_text(encoding="utf-8", errors="replace") if version.is_file() else ""
    number = re.search(r"\d+\.\d+(\.\d+)?", told)
    return ", ".join([*names, *([f"driver {number[0]}"] if number else [])]) or "none"


def _described(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [str(value.dtype), list(value.shape), digest]
    if isinstance(value, set | frozenset):
        return sorted(_described(one) for one in value)
    if isinstance(value, Mapping):
        return {str(name): _described(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_described(one) for one in value]
    if hasattr(value, "get_params") and not isinstance(value, type):
        own = value.get_params(deep=False)
        return [_name(type(value)), {name: _described(one) for name, one in own.items()}]
    if isinstance(value, type) or callable(value):
        return _name(value)
    raise TypeError(f"{type(value).__name__} has no description")


def _name(value: object) -> str:
    name = getattr(value, "__qualname__", "<")
    # The code of a notebook is in no key.
    if "<" in name or inspect.ismethod(value) or value.__module__ in (None, "__main__"):
        raise TypeError(f"{name} has no name of its own")
    return f"{value.__module__}.{name}"


def _split(train: np.ndarray, test: np.ndarray) -> str:
    told = b"".join(np.asarray(part, np.int64).tobytes() + b"|" for part in (train, test))
    return hashlib.sha256(told).hexdigest()


def _sum(told: Mapping[str, object]) -> str:
    text = json.dumps({name: one for name, one in told.items() if name != "sum"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _restored(told: Mapping) -> Fold:
    audit = dict(told["audit"])
    if audit.keys() != Audit.__dataclass_fields__.keys():
        raise ValueError("its audit counted other things")  # 0 would stand for what nobody counted
    audit["missing_classes"] = tuple(audit["missing_classes"])
    history = None if told["history"] is None else pd.DataFrame(told["history"])
    return Fold(np.array(told["y_pred"], np.int64), Audit(**audit), history)
