"""Windows of twelve leads: each lead is where it belongs, scaled by its recording alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from test_unlabelled import EXAMS, LONG_EXAMS, WFDB, steps, write_exam, write_scipy, write_wfdb

from affectbook import unlabelled
from affectbook.errors import DataFileError, DataNotFoundError, ParameterError
from affectbook.models import leads as for_networks
from affectbook.simulate.leads import LEADS
from affectbook.unlabelled import _plain, _twelve

STEM = "s0010_re"


def write_record(folder: Path, **changed: object) -> np.ndarray:
    """Write a record of twelve leads and three more; return the twelve in mV."""
    sfreq, n_times, *_, form, gain = WFDB[STEM]
    names = [*[name.lower() for name in LEADS], "vx", "vy", "vz"]
    signals = np.stack([steps(n_times, sfreq, 60 + lead) for lead in range(15)], axis=1)
    told = {"sig_name": names, "d_signal": signals, "units": ["mV"] * 15, "fmt": [form] * 15}
    told |= {"adc_gain": [float(gain)] * 15, "baseline": [7] * 15} | changed
    write_wfdb(folder, STEM, **told)
    return (signals[:, :12].T - 7) / gain


@pytest.fixture
def there(tmp_path, monkeypatch) -> Path:
    """Have corpora looked for in a folder that is empty."""
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    monkeypatch.setattr("affectbook.datasets._folders.project_root", lambda: tmp_path / "own")
    return tmp_path


@pytest.fixture
def exams(there) -> Path:
    """Write three exams, of which two are long enough, and have no others."""
    folder = there / "code15_samples"
    folder.mkdir()
    for number, exam in enumerate((*LONG_EXAMS[:2], EXAMS[-1])):
        write_exam(folder, exam, 100 + 12 * number)
    return folder


@pytest.fixture(autouse=True)
def fewer(monkeypatch) -> None:
    """Let CODE-15 % have three exams: each is read in a process of its own."""
    kept = (*LONG_EXAMS[:2], EXAMS[-1])
    corpus = _plain.CORPORA["code15_samples"]
    some = tuple(one for one in corpus.sources if one.subject in kept)
    monkeypatch.setitem(_plain.CORPORA, "code15_samples", corpus._replace(sources=some))


@pytest.fixture
def records(there) -> np.ndarray:
    """Write the three records; return the twelve leads of the one that has them."""
    folder = there / "wfdb_samples"
    folder.mkdir()
    for one in ("100", "a103l"):
        write_wfdb(folder, one)
    return write_record(folder)


def test_leads_have_one_order_everywhere():
    assert LEADS == for_networks.LEADS == _plain._LEADS


def test_twelve_leads_come_back_in_their_places(exams):
    found = _twelve.windows(["code15_samples"], sfreq=400)
    assert (found.X.dtype, found.X.shape) == (np.float32, (2, 12, 4000))
    assert found.subjects.tolist() == [f"code15_samples/open/{one}" for one in LONG_EXAMS[:2]]
    for window, exam in zip(found.X, LONG_EXAMS, strict=False):
        whole = scipy.io.loadmat(exams / f"code_15_{exam}.mat")["feats"][:, :4000]
        expected = (whole - whole.mean(1, keepdims=True)) / whole.std(1, keepdims=True)
        np.testing.assert_allclose(window, expected, atol=1e-4)


def test_one_lead_stands_in_the_place_of_the_second(records, there):
    found = _twelve.windows(["wfdb_samples"], sfreq=250, per_subject=3)
    names = [f"wfdb_samples/open/{one}" for one in (STEM, "100", "a103l")]
    assert found.subjects.tolist() == [name for name in names for _ in range(3)]
    shown = found.X.any(axis=2)
    assert shown[:3].all() and not shown[3:, [0, *range(2, 12)]].any() and shown[3:, 1].all()
    single = unlabelled.windows(["wfdb_samples"], seconds=10, sfreq=250, highpass=None)
    whole = single.X[single.subjects == names[1]][:, 0]
    spread = np.linspace(0, len(whole) - 1, 3).round().astype(int)
    np.testing.assert_allclose(found.X[3:6, 1], ((whole - whole.mean()) / whole.std())[spread],
                               atol=1e-3)  # fmt: skip


def test_windows_of_a_recording_are_scaled_together(records, there):
    found = _twelve.windows(["wfdb_samples"], sfreq=1000)
    own = found.X[found.subjects == f"wfdb_samples/open/{STEM}"]
    whole = records[:, :30_000]
    expected = (whole - whole.mean(1, keepdims=True)) / whole.std(1, keepdims=True)
    np.testing.assert_allclose(own, expected.reshape(12, 3, -1).transpose(1, 0, 2), atol=1e-4)
    assert np.ptp(own.mean(axis=2), axis=0).max() > 1e-4, "not each window by itself"


def test_a_corpus_without_twelve_leads_is_all_in_one_place(there):
    (there / "scipy_ecg").mkdir()
    write_scipy(there / "scipy_ecg")
    found = _twelve.windows(["scipy_ecg", "scipy_ecg"], seconds=5, sfreq=360, highpass=0.5)
    assert found.X.shape == (60, 12, 1800)
    assert found.X[:, 1].std() == pytest.approx(1, abs=1e-4)
    assert not found.X[:, [0, *range(2, 12)]].any()


def test_the_second_lead_is_not_the_only_one_that_is_checked(records, exams, there):
    path = there / "wfdb_samples" / f"{STEM}.dat"
    stored = np.fromfile(path, "<i2")
    stored[15 * 500 + 7] += 1  # of lead V2
    stored.tofile(path)
    with pytest.raises(DataFileError, match="check sum"):
        _twelve.windows(["wfdb_samples"])
    feats = np.stack([steps(4096, 400, lead) for lead in range(12)]).astype(np.float32)
    feats[9, 100] = np.nan
    write_exam(exams, LONG_EXAMS[0], feats=feats)
    with pytest.raises(DataFileError, match="1 samples that are not numbers"):
        _twelve.windows(["code15_samples"])


def test_what_is_not_there_is_told(there):
    with pytest.raises(DataNotFoundError, match="code15_samples"):
        _twelve.windows(["code15_samples"])
    with pytest.raises(ParameterError, match="unknown corpus"):
        _twelve.windows(["ptb"])
    with pytest.raises(ParameterError, match="per_subject = 0"):
        _twelve.windows(["scipy_ecg"], per_subject=0)


@given(
    gain=st.floats(1e-3, 1e3), offset=st.floats(-100, 100), seed=st.integers(0, 99),
    still=st.floats(-1e3, 1e3),
)  # fmt: skip
def test_scaling_undoes_gain_and_offset_and_a_still_lead_is_zero(gain, offset, seed, still):
    X = np.random.default_rng(seed).normal(size=(3, 2, 50))
    X[:, 1] = still
    changed = X.copy()
    changed[:, 0] = gain * X[:, 0] + offset
    found = _twelve.zscore(changed)
    np.testing.assert_allclose(found, _twelve.zscore(X), atol=1e-3)
    assert found.dtype == np.float32 and not found[:, 1].any()
    assert found[:, 0].mean() == pytest.approx(0, abs=1e-4)
    assert found[:, 0].std() == pytest.approx(1, abs=1e-4)


def test_the_real_files(real, monkeypatch):
    monkeypatch.undo()
    folder = real("wfdb_samples")
    monkeypatch.setenv("AFFECTBOOK_DATA", str(folder.parent))
    found = _twelve.windows(["wfdb_samples"], per_subject=3)
    own = found.X[found.subjects == f"wfdb_samples/open/{STEM}"]
    assert own.shape == (3, 12, 5000)
    # Whatever is scaled, lead III goes with II - I, and aVR against both.
    one, two, three, right = own.transpose(1, 0, 2).reshape(12, -1)[:4]
    assert np.corrcoef(one, right)[0, 1] < 0 and np.corrcoef(two, right)[0, 1] < 0
    left = np.linalg.lstsq(np.stack([one, two, np.ones_like(one)], 1), three, rcond=None)[1]
    assert left[0] < 0.01 * np.square(three).sum()
