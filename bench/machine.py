"""What a measurement depends on: the machine, how memory is handed out, and how much is used."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import re
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from affectbook import provenance


def header(device: str) -> dict[str, object]:
    """Return when, where and with what a measurement is made; no name of a machine or path."""
    found = provenance.machine()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": found["cpu"],
        **_cpu_kind(),
        "cores": found["cores"],
        "gpu": found["gpu"] if device != "cpu" else None,
        "python": found["python"],
        **{name: _version(name) for name in ("torch", "transformers", "mambapy", "mamba_ssm")},
        "scan": provenance.scan(device),
    }


def has_glibc() -> bool:
    """Return whether the C library is glibc, whose malloc can be told to keep memory."""
    return platform.libc_ver()[0] == "glibc"


def set_malloc(mode: str) -> None:
    """Let glibc keep freed memory (``reuse``) instead of handing large pieces back each time."""
    if mode == "reuse":
        libc = ctypes.CDLL(None)
        trim_threshold, mmap_max = -1, -4
        if not (libc.mallopt(mmap_max, 0) and libc.mallopt(trim_threshold, 2**31 - 1)):
            raise OSError("mallopt was refused")


def peak_mb(run: Callable[[], None]) -> float:
    """Return by how much a second run lifts the process's resident memory at most, in MB.

    The kernel keeps the highest value itself (VmHWM), and is asked to begin anew before the run.
    """
    run()
    gc.collect()
    if has_glibc():
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) * 1024 / 1e6


def resident_mb() -> float:
    """Return the resident memory of this process in MB, and forget the highest so far."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS") * 1024 / 1e6


def highest_mb() -> float:
    """Return the highest resident memory since it was last forgotten, in MB."""
    return _status("VmHWM") * 1024 / 1e6


def can_measure_peaks() -> bool:
    """Return whether the kernel tells this process its highest use of memory."""
    return os.access("/proc/self/clear_refs", os.W_OK)


def _status(name: str) -> int:
    """Return a size from this process's status, in KiB."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{name}:\s*(\d+)", text, re.MULTILINE)[1])


def _cpu_kind() -> dict[str, object]:
    """Return family and model of the processor and its widest vector instructions, on Linux."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.is_file() else ""
    found = {key: re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
             for key, name in (("cpu_family", "cpu family"), ("cpu_model", "model"))}  # fmt: skip
    flags = set(re.findall(r"\b(avx2|avx512f|avx512_bf16|amx_tile)\b", text))
    kind = {key: match and match[1] for key, match in found.items()}
    return kind | {"vectors": " ".join(sorted(flags)) or None}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
