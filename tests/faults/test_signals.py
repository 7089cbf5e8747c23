"""Signals that hold nothing: samples that are not numbers, channels that stand still or saturate.

The rules of the ten sets: AMIGOS, whose files hold gaps by design, leaves out a trial with NaN and
counts it; every other set refuses the file, and says how many samples are not numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faults.refusals import cut, hash_of, heard, nothing_half_made, read, refused, warnings_of
from faults.twins import FIRST, SECOND, SETS, Change, alter

from affectbook import datasets
from affectbook.datasets.recording import Recording
from affectbook.windows import TRIAL, Windows

LEFT_OUT = ("amigos",)
# EDF holds whole numbers between two limits: nothing in it can be NaN but the limits themselves.
HOLD_NAN = tuple(name for name in SETS if name != "eegmat")
QUICK = ("wesad", "amigos")


def _marked(names: tuple[str, ...], quick: tuple[str, ...] = QUICK) -> list:
    return [n if n in quick else pytest.param(n, marks=pytest.mark.faults) for n in names]


def one_sample(value: float) -> Change:
    """Return what puts a value into one sample of the first channel."""

    def change(signal: np.ndarray) -> np.ndarray:
        signal[0, signal.shape[1] // 2] = value
        return signal

    return change


def whole_channel(value: float) -> Change:
    """Return what puts a value into all samples of the first channel."""

    def change(signal: np.ndarray) -> np.ndarray:
        signal[0] = value
        return signal

    return change


def trial_of(name: str, recordings: list[Recording]) -> int:
    """Return the position of a recording, not the first, that has a class."""
    rule = datasets.card(name).label_rules[0]
    return next(at for at in range(1, len(recordings)) if rule.label(recordings[at]) is not None)


@pytest.mark.parametrize(
    ("value", "change"),
    [(np.nan, "sample"), (np.nan, "channel"), (-np.inf, "sample"), (np.inf, "channel")],
)
@pytest.mark.parametrize("name", _marked(HOLD_NAN))
def test_samples_that_are_not_numbers(
    name: str,
    value: float,
    change: str,
    copy: Callable[..., Path],
    benign: Callable[[str], tuple[list[Recording], Windows]],
):
    """They never reach a window: the file is refused, or the trial left out, with a count."""
    if name == "drivedb" and np.isinf(value):
        pytest.skip("format 16 has one code, for a missing sample")
    folder, only = copy(name), [FIRST[name]]
    recordings, before = benign(name)
    n_times = recordings[1].signal.shape[1]
    alter(name, folder, (one_sample if change == "sample" else whole_channel)(value))
    if name in LEFT_OUT and np.isnan(value):
        with heard() as records:
            after = cut(name, folder, only)
        said = [line for line in warnings_of(records) if "gaps" in line]
        assert len(said) == 1
        assert f"1 ({FIRST[name]} 1)" in said[0]
        assert np.isfinite(after.X).all()
        trials = (len(made.meta.drop_duplicates(TRIAL)) for made in (before, after))
        assert next(trials) - next(trials) == 1
        return
    error = refused(lambda: read(name, folder, only), folder=folder)
    expected = 1 if change == "sample" else n_times
    counts = {int(number) for number in re.findall(r"\d+", str(error.found))}
    assert counts & {expected, 2 * expected}, f"{expected} samples, but found: {error.found}"
    refused(lambda: cut(name, folder, only))  # nor does it become a window by another way
    nothing_half_made()
    if name != "dreamer":  # all of whose subjects are in one file
        assert read(name, folder, [SECOND[name]])


def test_the_benign_twin_of_nan_loads_with_other_numbers(copy):
    """What rewrites a file here does not damage it: a sample replaced by its neighbour is read."""

    def change(signal: np.ndarray) -> np.ndarray:
        signal[0, 10] = signal[0, 11]
        return signal

    for name in QUICK:
        folder = copy(name)
        alter(name, folder, change)
        assert read(name, folder, [FIRST[name]])


@pytest.mark.faults
@pytest.mark.parametrize("name", SETS)
def test_a_rewritten_file_is_the_same(name: str, copy: Callable[..., Path], benign):
    """The benign twin of every damage in this folder: rewritten unchanged, a file loads."""
    folder, before = copy(name), benign(name)[1]
    alter(name, folder, lambda signal: signal)
    after = cut(name, folder, [FIRST[name]])
    assert np.allclose(after.X, before.X, atol=2e-3 * np.abs(before.X).max())
    assert after.meta.equals(before.meta)


@pytest.mark.parametrize("text", ["nan", "inf", "", "same"])
def test_eegmat_with_limits_that_are_not_numbers(text: str, copy: Callable[..., Path]):
    """The physical limits of the ECG in an EDF file scale every sample."""
    folder = copy("eegmat")
    path = folder / "Subject00_1.edf"
    raw = bytearray(path.read_bytes())
    n_signals = int(raw[252:256])
    at = 256 + n_signals * (16 + 80 + 8 + 8) + 8 * (n_signals - 1)  # maximum of the last
    minimum = bytes(raw[at - 8 * n_signals : at - 8 * n_signals + 8])
    raw[at : at + 8] = minimum if text == "same" else f"{text:8}".encode()
    path.write_bytes(raw)
    refused(lambda: read("eegmat", folder, ["00"]), folder=folder, names="Subject00_1.edf")
    assert read("eegmat", folder, ["01"])


def held(value: Callable[[np.ndarray], float], sfreq: float, channel: int = 0) -> Change:
    """Return what holds a channel at a value from 1.2 to 2.7 s."""

    def change(signal: np.ndarray) -> np.ndarray:
        part = slice(round(1.2 * sfreq), round(2.7 * sfreq))
        signal[channel, part] = value(signal[channel])
        return signal

    return change


def in_bursts(sfreq: float) -> Change:
    """Return what clips a channel for 0.2 s out of every 0.4 s, from 1.1 to 2.9 s."""

    def change(signal: np.ndarray) -> np.ndarray:
        top = np.abs(signal[0]).max() * 1.5
        for start in (1.1, 1.5, 2.1, 2.5):
            signal[0, round(start * sfreq) : round((start + 0.2) * sfreq)] = top
        return signal

    return change


def _native(name: str, recording: Recording) -> float:
    return 500.0 if name == "eegmat" else recording.sfreq  # what is read of it was resampled


FAULTS = {
    "flat at zero": lambda sfreq: held(lambda row: 0.0, sfreq),
    "flat at its mean": lambda sfreq: held(lambda row: float(np.float32(row.mean())), sfreq),
    "at its upper limit": lambda sfreq: held(lambda row: row.max() * 1.4, sfreq),
    "clipped in bursts": in_bursts,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", _marked(SETS, ("wesad",)))
def test_windows_of_a_channel_that_stands_still_are_left_out(
    name: str,
    fault: str,
    copy: Callable[..., Path],
    benign: Callable[[str], tuple[list[Recording], Windows]],
):
    """Two windows of one trial, counted exactly, and no other window changes its place."""
    if (name, fault) == ("eegmat", "clipped in bursts"):
        pytest.skip("its EDF is resampled while it is read, which hides where short bursts began")
    folder, only = copy(name), [FIRST[name]]
    recordings, before = benign(name)
    trial = trial_of(name, recordings)
    recording = recordings[trial]
    alter(name, folder, FAULTS[fault](_native(name, recording)), trial)
    with heard() as records:
        after = cut(name, folder, only)
    key = ["subject", "session", "trial", "window"]
    lost = set(before.meta[["trial", "session", "start_s"]].itertuples(index=False, name=None))
    lost -= set(after.meta[["trial", "session", "start_s"]].itertuples(index=False, name=None))
    assert lost == {(recording.trial, recording.session, start) for start in (1.0, 2.0)}, fault
    said = [line for line in warnings_of(records) if "stand" in line or "limit" in line]
    assert len(said) == 1, warnings_of(records)
    assert f"{FIRST[name]} 2" in said[0], said[0]
    assert f"2 of {len(before.X)}" in said[0], said[0]
    assert not after.meta.duplicated(key).any()
    assert np.isfinite(after.X).all()


@pytest.mark.faults
@pytest.mark.parametrize("name", SETS)
def test_a_benign_twin_loses_no_window(name: str, copy: Callable[..., Path]):
    """Nothing stands still in the small twin: no window is left out, no word is said of it."""
    folder = copy(name)
    with heard() as records:
        kept = cut(name, folder, [FIRST[name]], faulty="drop")
    everything = cut(name, folder, [FIRST[name]], faulty="keep")
    assert hash_of(kept) == hash_of(everything)
    assert not [line for line in warnings_of(records) if "stand" in line or "limit" in line]


@pytest.mark.parametrize("name", _marked(("amigos", "deap", "dreamer", "seed"), ()))
def test_one_flat_channel_of_several_is_enough(
    name: str,
    copy: Callable[..., Path],
    benign: Callable[[str], tuple[list[Recording], Windows]],
):
    folder, only = copy(name), [FIRST[name]]
    recordings, before = benign(name)
    trial = trial_of(name, recordings)
    sfreq = _native(name, recordings[trial])
    alter(name, folder, held(lambda row: 0.0, sfreq, channel=1), trial)
    with heard() as records:
        after = cut(name, folder, only)
    assert len(before.X) - len(after.X) == 2
    assert any(f"{FIRST[name]} 2" in line for line in warnings_of(records))
    refused(lambda: cut(name, folder, only, faulty="refuse"), FIRST[name], "2 of ")


@pytest.mark.parametrize("name", _marked(("wesad", "swell", "mand", "eegmat", "mci", "amigos")))
def test_a_subject_of_whom_nothing_is_left_is_one_message(name: str, copy: Callable[..., Path]):
    """All its trials stand still: one message that names it, and the other subject loads."""
    folder, both = copy(name), [FIRST[name], SECOND[name]]
    for trial in range(len(read(name, folder, both[:1]))):
        alter(name, folder, lambda signal: np.full_like(signal, 0.25), trial)
    refused(lambda: cut(name, folder, both), FIRST[name])
    nothing_half_made()
    assert len(cut(name, folder, both[1:]).X)
