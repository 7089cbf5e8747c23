"""Whether signals can be what they say they are: the amplitude of a heart or a brain, in its unit.

A wrong unit is wrong for a whole file, by a factor of a thousand or more. So one number for each
subject decides, and a loose electrode or a trial full of movement does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from affectbook.datasets.recording import Recording
from affectbook.errors import DataFileError

BLOCK_S = 2.0
"""A block holds a heart beat at any rate above 30 a minute, and waves from 0.5 Hz on."""
LEAST_BLOCKS = 5
RANGES = {("ecg", "mV"): (0.02, 10.0), ("eeg", "uV"): (2.0, 1000.0)}
"""Lowest and highest amplitude by kind and unit: the median, over blocks and channels, of peak to
peak. They are less than a factor of 1000 apart, so that a wrong prefix cannot stay within. On the
real recordings at hand the ECG lies from 0.08 to 1.7 mV (eegmat, drivedb) and the EEG from 30 to
84 uV (eegmat), trial by trial."""
_PREFIXES = {1e-9: "nV", 1e-6: "uV", 1e-3: "mV", 1.0: "V"}


def checked(
    recordings: Iterable[Recording], kind: str, files: Mapping[str, tuple[Path, ...]]
) -> Iterator[Recording]:
    """Yield recordings as they come; after the last one of a subject, check its amplitude.

    Parameters
    ----------
    recordings
        Those of one subject after the other.
    kind
        Of their channels, such as ``"ecg"``; kinds or units without a range are not checked.
    files
        The files of each subject, for the message.

    Raises
    ------
    DataFileError
        If the amplitude of a subject cannot be that of its kind in its unit.
    """
    subject, unit, found = None, "", []
    for recording in recordings:
        if recording.subject != subject:
            _check(subject, kind, unit, found, files)
            subject, unit, found = recording.subject, recording.unit, []
        if (kind, unit) in RANGES:
            found.append(amplitudes(recording.signal, recording.sfreq))
        yield recording
    _check(subject, kind, unit, found, files)


def amplitudes(signal: np.ndarray, sfreq: float) -> np.ndarray:
    """Return peak to peak of each block of `BLOCK_S` and channel, without those that stand still.

    Parameters
    ----------
    signal
        ``(n_chans, n_times)``.
    sfreq
        In Hz.
    """
    size = max(1, round(BLOCK_S * sfreq))
    n_blocks = signal.shape[1] // size
    blocks = signal[:, : n_blocks * size].reshape(len(signal), n_blocks, size)
    found = np.ptp(blocks, axis=2).ravel()
    return found[found > 0]


def _check(
    subject: str | None,
    kind: str,
    unit: str,
    found: list[np.ndarray],
    files: Mapping[str, tuple[Path, ...]],
) -> None:
    all_ = np.concatenate(found) if found else np.empty(0)
    if len(all_) < LEAST_BLOCKS:
        return
    typical, (low, high) = float(np.median(all_)), RANGES[kind, unit]
    if low <= typical <= high:
        return
    raise DataFileError(
        f"the amplitude of the {kind.upper()} cannot be that of a body",
        file=files[subject][-1] if subject in files else None,
        field=f"unit of subject {subject}",
        found=f"{typical:.3g} {unit} peak to peak in {BLOCK_S:g} s, the median",
        expected=f"{low:g} to {high:g} {unit}{_hint(typical, low, high, unit)}",
        do="mend the unit or the gain in the file or its mapping, or get the file again",
    )


def _hint(typical: float, low: float, high: float, unit: str) -> str:
    """Return which unit the numbers look like, if one of them would do."""
    own = next(scale for scale, name in _PREFIXES.items() if name == unit)
    for scale, name in _PREFIXES.items():
        if low <= typical * scale / own <= high:
            return f"; the numbers look like {name}"
    return ""
