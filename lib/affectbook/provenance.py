"""Where a result comes from: commit, packages, parameters, machine, time, hashes."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from affectbook.closure import code_hash


def collect(
    root: Path, parameters: Mapping[str, object], code: Iterable[Path], seconds: float
) -> dict[str, object]:
    """Return what is needed to trace a result and to make it again.

    Parameters
    ----------
    root
        The checkout.
    parameters
        Resolved parameters of the run.
    code
        The files that computed the result; what they do is hashed, one by one.
    seconds
        Wall time.
    """
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "parameters": dict(parameters),
        "seed": parameters.get("seed"),
        "git": git(root),
        "machine": machine(),
        "scan": scan(str(parameters.get("device", "cpu"))) + _products(),
        "packages": packages(root),
        "code": {path.relative_to(root).as_posix(): code_hash(path) for path in code},
    }


def line(root: Path, device: str = "cpu") -> str:
    """Return one line for a page: commit, Python, torch and numpy, processor, threads, scan.

    Parameters
    ----------
    root
        The checkout.
    device
        Where the networks ran; on a CUDA device the scans may be those of mamba-ssm.
    """
    state, where, versions = git(root), machine(), packages(root)
    commit = (state["commit"] or "unknown")[:10] + (" with changes" if state["dirty"] else "")
    return (
        f"code {commit}; Python {where['python']}, torch {versions['torch']}, "
        f"numpy {versions['numpy']}; {where['gpu'] or where['cpu']}, "
        f"{where['torch_threads']} threads; scans by {scan(device)}{_products()}"
    )


def facts(root: Path, device: str = "cpu") -> dict[str, str]:
    """Return what a result comes from, as names and values for a page.

    Parameters
    ----------
    root, device
        As `line` takes them.
    """
    state, where = git(root), machine()
    versions = packages(root)
    memory = psutil.Process().memory_info().rss / 1e6
    return {
        "code": (state["commit"] or "unknown") + (", with changes" if state["dirty"] else ""),
        "processor": f"{where['gpu'] or where['cpu']}, {where['torch_threads']} of "
        f"{where['cores']} threads, {where['memory_gb']} GB of memory; {where['system']}",
        "scans": scan(device) + _products(),
        "memory of this kernel": f"{memory:.0f} MB so far",
        "packages": ", ".join(
            [f"Python {where['python']}", *(f"{name} {one}" for name, one in versions.items())]
        ),
    }


def scan(device: str) -> str:
    """Return what computes the Mamba layers on a device: torch, or mamba-ssm and its version."""
    from affectbook.models.scans import fused

    return fused.name(device)


def _products() -> str:
    """Return which library did the matrix products of the scans, if it was not torch's BLAS."""
    if not os.environ.get("AFFECTBOOK_PRODUCTS"):
        return ""
    from affectbook.models import products

    return "" if products.library() == products.LIBRARIES[0] else ", products by oneDNN"


def git(root: Path) -> dict[str, object]:
    """Return the commit of a checkout and whether files differ from it.

    New files count where code is, not beside it, as the grid of a reader.
    """

    def ask(*command: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *command], cwd=root, capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    changed = ask("status", "--porcelain", "--untracked-files=no")
    new = ask("ls-files", "--others", "--exclude-standard", "--", "lib", "notebooks")
    dirty = None if changed is None else bool(changed or new)
    return {"commit": ask("rev-parse", "HEAD"), "dirty": dirty}


def machine() -> dict[str, object]:
    """Return what the time of a run depends on."""
    import torch

    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def packages(root: Path) -> dict[str, str]:
    """Return the versions of the packages that the project names in ``requirements.in``."""
    lines = (root / "requirements.in").read_text(encoding="utf-8").splitlines()
    names = [match[0] for line in lines if (match := re.match(r"[A-Za-z0-9._-]+", line))]
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        match = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        if match:
            return match[1]
    return platform.processor() or "unknown"
