"""A wrong unit is refused by a thousand or a million in both directions; a wild trial is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook.datasets import _plausible
from affectbook.datasets.recording import Recording
from affectbook.errors import DataFileError

FILES = {"S1": (Path("head"), Path("S1.dat")), "S2": (Path("head"), Path("S2.dat"))}


def recording(scale: float, unit: str = "mV", subject: str = "S1", trial: str = "1") -> Recording:
    times = np.arange(30 * 64) / 64
    signal = (scale * np.sin(2 * np.pi * times) / 2).astype(np.float32)[None]
    return Recording(signal, 64.0, ("C",), unit, subject, "1", trial)


def read(*recordings: Recording, kind: str = "ecg") -> int:
    return len(list(_plausible.checked(recordings, kind, FILES)))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(_plausible.RANGES)),
    share=st.floats(0.001, 0.999),
    factor=st.sampled_from([1e-6, 1e-3, 1e3, 1e6]),
)
def test_no_amplitude_of_a_body_passes_with_a_wrong_prefix(kind, share, factor):
    name, unit = kind
    low, high = _plausible.RANGES[kind]
    amplitude = low * (high / low) ** share
    assert read(recording(amplitude, unit), kind=name) == 1
    with pytest.raises(DataFileError, match="cannot be that of a body"):
        read(recording(amplitude * factor, unit), kind=name)


@pytest.mark.parametrize(
    ("factor", "looks"), [(1e-3, "look like V"), (1e3, "look like uV"), (1e6, "look like nV")]
)
def test_the_message_names_the_file_the_subject_and_the_unit_that_it_looks_like(factor, looks):
    with pytest.raises(DataFileError) as caught:
        read(recording(1.2), recording(1.2 * factor, subject="S2"))
    error = caught.value
    assert (error.file, error.field) == (Path("S2.dat"), "unit of subject S2")
    assert looks in error.expected and error.do and f"{1.2 * factor:.3g} mV" in error.found


def test_one_wild_or_dead_trial_does_not_decide():
    calm = [recording(1.0, trial=str(number)) for number in range(3)]
    assert read(*calm, recording(5000.0, trial="3")) == 4
    assert read(*calm, recording(0.0, trial="3")) == 4


def test_what_has_no_unit_of_voltage_or_is_too_short_is_not_judged():
    assert read(recording(1e6, "a.u.")) == 1
    assert read(recording(1e6), kind="gsr") == 1
    short = recording(1e6)
    short = Recording(short.signal[:, :600], 64.0, ("C",), "mV", "S1", "1", "1")
    assert read(short) == 1
