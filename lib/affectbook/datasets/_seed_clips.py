"""What the files of SEED hold: labels, and a matrix for each clip; checked."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import scipy.io

from affectbook.datasets import _matlab
from affectbook.datasets._seed_files import wrong

SFREQ = 200.0
CODES = {-1: "negative", 0: "neutral", 1: "positive"}
LABELS = (1, 0, -1, -1, 0, 1, -1, 0, 1, 1, 0, -1, 0, 1, -1)
"""Label of each clip; the same in every session."""
CH_NAMES = tuple(
    "FP1 FPZ FP2 AF3 AF4 F7 F5 F3 F1 FZ F2 F4 F6 F8 FT7 FC5 FC3 FC1 FCZ FC2 FC4 FC6 FT8 T7 C5 C3 "
    "C1 CZ C2 C4 C6 T8 TP7 CP5 CP3 CP1 CPZ CP2 CP4 CP6 TP8 P7 P5 P3 P1 PZ P2 P4 P6 P8 PO7 PO5 PO3 "
    "POZ PO4 PO6 PO8 CB1 O1 OZ O2 CB2".split()
)
KEY = re.compile(r"(.*)_eeg(\d+)")
_SHORTEST = round(SFREQ)  # samples; less than a second cannot be a clip


def conditions_of(path: Path) -> list[str]:
    """Return the condition of each clip, after comparing the file with the known labels."""
    label = _matlab.load(path, ["label"]).get("label")
    expected = f"(1, 15): {' '.join(map(str, LABELS))}"
    if not isinstance(label, np.ndarray) or label.dtype.kind not in "iuf":
        raise wrong(path, "label", "no numbers", expected, "the labels are missing")
    if label.shape != (1, len(LABELS)) or not np.array_equal(label[0], LABELS):
        found = f"{label.shape}: {' '.join(f'{value:g}' for value in label.flat[:20])}"
        raise wrong(path, "label", found, expected, "the labels are not those of SEED")
    return [CODES[code] for code in LABELS]


def keys_of(path: Path) -> list[str]:
    """Return the names of the 15 matrices of a file in the order of the clips.

    Raises
    ------
    DataFileError
        If there are other matrices than 15 of 62 channels.
    """
    _matlab.load(path, [])  # what is wrong with the whole file is said by this
    try:
        listed = scipy.io.whosmat(path)
    except Exception as error:  # a damaged file may raise anything
        found = f"{type(error).__name__}: {str(error)[:160]}"
        raise wrong(path, "variables", found, "15 of them", "it cannot be read") from error
    matches = [(match, shape) for name, shape, _ in listed if (match := KEY.fullmatch(name))]
    numbers = sorted(int(match[2]) for match, _ in matches)
    if numbers != list(range(1, len(LABELS) + 1)):
        found = ", ".join(name for name, _, _ in listed)[:200] or "none"
        raise wrong(path, "variables", found, "..._eeg1 to ..._eeg15", "clips do not add up")
    for match, shape in matches:
        if len(shape) != 2 or shape[0] != len(CH_NAMES) or shape[1] < _SHORTEST:
            expected = f"({len(CH_NAMES)}, n_times), n_times at least {_SHORTEST}"
            raise wrong(path, match[0], str(shape), expected, "a clip has another shape")
    return [match[0] for match, _ in sorted(matches, key=lambda pair: int(pair[0][2]))]


def clip_of(path: Path, key: str) -> np.ndarray:
    """Return one matrix, ``(62, n_times)`` float32, without reading the others."""
    clip = _matlab.load(path, [key]).get(key)
    if not isinstance(clip, np.ndarray) or clip.dtype.kind not in "fiu":
        found = f"{getattr(clip, 'dtype', type(clip).__name__)}"
        raise wrong(path, key, found, "real numbers", "a clip is not a matrix of numbers")
    with np.errstate(over="ignore"):
        signal = clip.astype(np.float32, order="C")
    bad = signal.size - int(np.isfinite(signal).sum())
    if signal.ndim != 2 or bad:
        found = f"{bad} of {signal.size} samples are not numbers"
        raise wrong(path, key, found, "finite uV", "a clip has gaps")
    return signal
