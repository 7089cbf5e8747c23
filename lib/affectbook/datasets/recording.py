"""The recording: one stimulus, one label, one piece of signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from affectbook.errors import DataError


@dataclass(frozen=True)
class Recording:
    """One trial of one subject, as read from a data set.

    Attributes
    ----------
    signal : numpy.ndarray
        ``(n_chans, n_times)`` float32, in `unit`.
    sfreq : float
        Sampling rate in Hz.
    ch_names : tuple of str
        One name per row of `signal`.
    unit : str
        Physical unit of `signal`, such as ``"mV"``.
    subject, session, trial : str
        As the data set names them.
    condition : str or None
        The experimental condition, where the set labels by condition.
    ratings : mapping of str to float
        Self-reports, where the set has them, on the set's own scale; and, where a label rule
        needs it, the lowest that the subject gave to any trial (`labels.LOWEST`).
    start_s : float
        Where the trial begins in the file it was cut from, in seconds.
    """

    signal: np.ndarray
    sfreq: float
    ch_names: tuple[str, ...]
    unit: str
    subject: str
    session: str
    trial: str
    condition: str | None = None
    ratings: Mapping[str, float] = field(default_factory=dict)
    start_s: float = 0.0

    def __post_init__(self) -> None:
        where = f"subject {self.subject}, trial {self.trial}"
        if self.signal.ndim != 2 or self.signal.shape[0] != len(self.ch_names):
            raise DataError(
                "the signal does not have one row per channel",
                field=where,
                found=self.signal.shape,
                expected=f"({len(self.ch_names)}, n_times)",
            )
        if self.signal.dtype != np.float32:
            raise DataError("the signal is not float32", field=where, found=self.signal.dtype)
        if not (np.isfinite(self.sfreq) and self.sfreq > 0):
            raise DataError(
                "the sampling rate is not a positive number of Hz", field=where, found=self.sfreq
            )

    @property
    def duration_s(self) -> float:
        """Length of the trial in seconds."""
        return self.signal.shape[1] / self.sfreq

    def pick(self, ch_names: Sequence[str]) -> Recording:
        """Return the recording with these channels only, in this order."""
        if tuple(ch_names) == self.ch_names:
            return self
        rows = [self.ch_names.index(name) for name in ch_names]
        return replace(self, signal=self.signal[rows], ch_names=tuple(ch_names))
