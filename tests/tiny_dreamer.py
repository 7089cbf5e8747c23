"""Tiny files of DREAMER in the official layout, and a folder that stands for the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectbook import files
from affectbook.datasets import _folders, dreamer

N_EEG = 64
"""Samples of a tiny signal at 128 Hz; every film adds one."""


def empty_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let an empty folder stand for the project, so that what is kept lands there."""
    folder = folder / "project"
    folder.mkdir()
    monkeypatch.setattr(files, "project_root", lambda: folder)
    monkeypatch.setattr(_folders, "project_root", lambda: folder)
    monkeypatch.delenv("AFFECTBOOK_DATA", raising=False)
    return folder


def person(seed: int, n_eeg: int = N_EEG) -> dict[str, list]:
    """Return one subject with signals that only float64 holds, and ratings 1 to 5."""
    rng = np.random.default_rng(seed)

    def signals(kind: str, n_times: int) -> list[np.ndarray]:
        n_times *= 2 if kind == "ecg" else 1
        n_chans = len(dreamer.CHANNELS[kind])
        step = 2 if kind == "ecg" else 1
        return [rng.standard_normal((n_chans, n_times + step * film)) for film in range(18)]

    made = {kind: signals(kind, n_eeg) for kind in ("ecg", "eeg")}
    made |= {f"{kind}_baseline": signals(kind, n_eeg // 2) for kind in ("ecg", "eeg")}
    return made | {name: rng.integers(1, 6, 18).tolist() for name in dreamer.RATINGS}


def write(folder: Path, people: list[dict], *, twin: bool = True) -> Path:
    """Write a file; only a twin may hold fewer than 23, and shorter ones."""
    path = dreamer.write_file(folder / "DREAMER.mat", people)
    if twin:
        names = dreamer.CARD.subjects[: len(people)]
        _folders.mark_twin(folder, names, effect=1.0, fingerprint=1.0, seed=0)
    return path
