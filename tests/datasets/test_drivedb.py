"""drivedb: rates from headers, stretches from the table that ships with the package."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from affectbook import datasets, simulate
from affectbook.datasets import _published, drivedb
from affectbook.datasets._drivedb_file import frames_of
from affectbook.errors import DataFileError, DataNotFoundError, ParameterError
from affectbook.windows import make_windows


@pytest.fixture(autouse=True)
def no_sums(monkeypatch):
    """Leave out the published sums, which no record written here can have."""
    monkeypatch.setattr(_published, "check", lambda *_: None)


def write_record(
    folder: Path,
    name: str,
    seconds: float,
    frame_hz: float | None = None,
    per_frame: int | None = None,
    signal: str = "ECG",
    unit: str = "mV",
) -> np.ndarray:
    """Write a two-signal record with CRLF header as the publisher does; return the ECG in mV."""
    own = frames_of(name)
    frame_hz, per_frame = frame_hz or own[0], per_frame or own[1]
    frames = int(seconds * frame_hz)
    rng = np.random.default_rng(5)
    ecg = rng.integers(-900, 900, (frames, per_frame)).astype("<i2")
    other = np.full((frames, 1), 7, "<i2")
    np.hstack([other, ecg]).tofile(folder / f"{name}.dat")
    lines = [
        f"{name} 2 {frame_hz:g} {frames}",
        f"{name}.dat 16 100 16 0 7 0 0 marker",
        f"{name}.dat 16x{per_frame} 1000{'' if unit == 'mV' else '/' + unit} 16 0 {ecg[0, 0]} "
        f"{ecg.sum(dtype=np.int16)} 0 {signal}",
    ]
    (folder / f"{name}.hea").write_bytes("\r\n".join([*lines, ""]).encode("ascii"))
    return ecg.ravel() / 1000


def test_the_table_holds_seven_stretches_of_two_records():
    table = drivedb._table()
    assert {name: len(rows) for name, rows in table.items()} == {"drive05": 7, "drive06": 7}
    for rows in table.values():
        conditions = [row.condition for row in rows]
        assert conditions == ["rest", "city", "highway", "city", "highway", "city", "rest"]
        assert [row.trial for row in rows][:2] == ["1-rest", "2-city"]
        assert all(a.stop_s == b.start_s for a, b in zip(rows, rows[1:], strict=False))


@pytest.mark.parametrize(
    ("record", "frame_hz", "per_frame", "sfreq"),
    [
        ("drive01", 15.5, 32, 496.0),
        ("drive17a", 15.0, 32, 480.0),
        ("drive12", 15.5, 23, 356.5),
        ("drive15", 15.5, 31, 480.5),
        ("drive03", 31, 16, 496),
        ("drive03", 15.5, 32, 496),
    ],
)
def test_the_rate_is_that_of_the_record(tmp_path, record, frame_hz, per_frame, sfreq):
    ecg = write_record(tmp_path, record, 20, frame_hz, per_frame)
    (recording,) = drivedb.read(tmp_path, [record])
    assert recording.sfreq == sfreq
    assert (recording.condition, recording.trial) == (None, "1-unlabelled")
    np.testing.assert_array_equal(recording.signal[0], ecg.astype(np.float32))


@pytest.mark.parametrize("trim_s", [0.0, 60.0])
def test_stretches_are_cut_at_the_table_and_trimmed(tmp_path, trim_s):
    ecg = write_record(tmp_path, "drive05", 5030)
    recordings = list(datasets.load("drivedb", tmp_path, trim_s=trim_s))
    assert len(recordings) == 7
    for recording, row in zip(recordings, drivedb._table()["drive05"], strict=True):
        start, stop = round((row.start_s + trim_s) * 496), round((row.stop_s - trim_s) * 496)
        np.testing.assert_array_equal(recording.signal[0], ecg[start:stop].astype(np.float32))
        assert recording.start_s == start / 496
    default = list(datasets.load("drivedb", tmp_path))
    assert (default[0].signal.shape == recordings[0].signal.shape) == (trim_s == 60.0)


@pytest.mark.parametrize("trim_s", [-1.0, 181.8, float("nan"), float("inf")])
def test_a_trim_that_leaves_nothing_is_refused(tmp_path, trim_s):
    write_record(tmp_path, "drive05", 10)
    with pytest.raises(ParameterError, match="half the shortest stretch"):
        datasets.load("drivedb", tmp_path, trim_s=trim_s)


def test_labelled_records_are_read_unless_others_are_named(tmp_path):
    write_record(tmp_path, "drive17a", 10)
    with pytest.raises(DataNotFoundError, match=r"subjects=\['drive17a'\]"):
        datasets.load("drivedb", tmp_path)
    write_record(tmp_path, "drive06", 4900)
    assert datasets.subjects("drivedb", tmp_path) == ("drive06",)
    assert {r.subject for r in datasets.load("drivedb", tmp_path)} == {"drive06"}
    assert {r.subject for r in datasets.load("drivedb", tmp_path, ["drive17a"])} == {"drive17a"}
    with pytest.raises(DataNotFoundError, match="missing are drive05"):
        datasets.load("drivedb", tmp_path, ["drive05", "drive06"])


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"signal": "EMG"}, "marker, EMG"),
        ({"unit": "uV"}, "uV"),
        ({"seconds": 100}, "941.4 s"),
    ],
)
def test_a_wrong_record_is_one_message(tmp_path, changed, word):
    write_record(tmp_path, "drive05", **{"seconds": 5030, **changed})
    with pytest.raises(DataFileError) as caught:
        list(datasets.load("drivedb", tmp_path, trim_s=0.0))
    assert word in str(caught.value) and "drive05" in str(caught.value)


@pytest.mark.parametrize("suffix", [".hea", ".dat"])
def test_a_truncated_record_is_one_message(tmp_path, suffix):
    write_record(tmp_path, "drive12", 20)
    path = tmp_path / f"drive12{suffix}"
    whole = path.read_bytes()
    for cut in np.linspace(0, len(whole) - 8, 25).astype(int):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataFileError, match="drive12"), warnings.catch_warnings():
            warnings.simplefilter("error")
            list(drivedb.read(tmp_path, ["drive12"]))


def test_missing_samples_are_one_message(tmp_path):
    write_record(tmp_path, "drive12", 20)
    values = np.fromfile(tmp_path / "drive12.dat", "<i2")
    values[100] = -32768
    values.tofile(tmp_path / "drive12.dat")
    with pytest.raises(DataFileError, match="1 missing samples"):
        list(drivedb.read(tmp_path, ["drive12"]))


def test_damage_that_keeps_the_length_shows_in_the_check_sum(tmp_path):
    write_record(tmp_path, "drive12", 20)
    values = np.fromfile(tmp_path / "drive12.dat", "<i2")
    values[100] += 1
    values.tofile(tmp_path / "drive12.dat")
    with pytest.raises(DataFileError, match="drive12.dat; field: check sum of the ECG"):
        list(drivedb.read(tmp_path, ["drive12"]))


@pytest.mark.parametrize("files", [[".hea"], [".hea", ".dat"]])
def test_files_of_another_record_are_one_message(tmp_path, files):
    for record in ("drive11", "drive12"):
        write_record(tmp_path, record, 20)
    for suffix in files:
        (tmp_path / f"drive11{suffix}").replace(tmp_path / f"drive12{suffix}")
    write_record(tmp_path, "drive11", 20)
    with pytest.raises(DataFileError, match="record name; found: drive11 .*expected: drive12 "):
        list(drivedb.read(tmp_path, ["drive12"]))


def test_the_headers_of_drive13_and_drive14_show_one_ecg(real):
    texts = [
        (real("drivedb") / "headers" / f"{name}.hea").read_text().replace(name, "")
        for name in ("drive13", "drive14")
    ]
    both = set(texts[0].splitlines()) & set(texts[1].splitlines())
    assert len(both) == 6 and any(line.endswith("ECG") for line in both)


def test_label_rules():
    rules = {rule.name: rule for rule in drivedb.CARD.label_rules}
    assert rules["rest_highway_city"].classes == ("rest", "highway", "city")
    assert rules["rest_drive"].conditions == {"rest": "rest", "highway": "drive", "city": "drive"}


def test_the_real_records(real):
    recordings = list(datasets.load("drivedb", real("drivedb")))
    assert [r.subject for r in recordings] == ["drive05"] * 7 + ["drive06"] * 7
    assert {r.sfreq for r in recordings} == {496.0}
    (first,) = datasets.load("drivedb", real("drivedb"), ["drive17a"])
    assert first.sfreq == 480.0 and first.condition is None
    assert first.duration_s == pytest.approx(29.0 * 60, abs=6)


def test_a_written_record_has_the_official_layout(tmp_path, real):
    import wfdb

    ecg = np.random.default_rng(0).normal(0, 0.5, 500)
    drivedb.write_record(tmp_path, "drive05", ecg, frame_hz=15.5, per_frame=32)
    mine = wfdb.rdheader(str(tmp_path / "drive05"))
    theirs = wfdb.rdheader(str(real("drivedb") / "drive05"))
    for field in ("sig_name", "samps_per_frame", "fmt", "units", "fs", "n_sig", "adc_gain"):
        left, right = getattr(mine, field), getattr(theirs, field)
        if field == "units":  # the publisher names no unit where it is mV
            right = ["mV" if unit in ("", None) else unit for unit in right]
        assert left == right, field
    assert mine.sig_len == 15 and mine.baseline == [0] * 7
    for folder in (tmp_path, real("drivedb")):
        header = (folder / "drive05.hea").read_bytes()
        assert header.count(b"\r\n") == header.count(b"\n") == 8
    record = wfdb.rdrecord(str(tmp_path / "drive05"), smooth_frames=False)
    assert [len(one) for one in record.e_p_signal] == [15 * 32, 15, 30, 30, 15, 15, 30]


@pytest.mark.parametrize("record", ["drive01", "drive03", "drive12", "drive17a"])
def test_what_is_written_is_read_within_a_step(tmp_path, record):
    frame_hz, per_frame = frames_of(record)
    ecg = np.random.default_rng(0).normal(0, 0.5, 10 * per_frame + 5)
    ecg[3:5] = 100, -100
    drivedb.write_record(tmp_path, record, ecg, frame_hz=frame_hz, per_frame=per_frame)
    (recording,) = drivedb.read(tmp_path, [record])
    assert recording.sfreq == frame_hz * per_frame
    expected = np.clip(ecg[:-5], -32.767, 32.767)
    np.testing.assert_allclose(recording.signal[0], expected, rtol=0, atol=0.000502)


@pytest.mark.parametrize("ecg", [np.zeros(31), np.zeros((2, 64))])
def test_an_ecg_that_fills_no_frame_is_not_written(tmp_path, ecg):
    with pytest.raises(ParameterError, match="32 or more"):
        drivedb.write_record(tmp_path, "drive05", ecg, frame_hz=15.5, per_frame=32)


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> Path:
    return drivedb.make_twin(tmp_path_factory.mktemp("drivedb") / "new", subjects=2, seed=5)


def test_a_twin_is_read_as_the_set_is(twin):
    assert datasets.subjects("drivedb", twin) == ("drive05", "drive06")
    recordings = list(datasets.load("drivedb", twin))
    assert [r.subject for r in recordings] == ["drive05"] * 7 + ["drive06"] * 7
    for subject in ("drive05", "drive06"):
        found = [(r.trial, r.condition) for r in recordings if r.subject == subject]
        assert found == [(row.trial, row.condition) for row in drivedb._table()[subject]]
    assert {r.sfreq for r in recordings} == {496.0}
    assert sum(path.stat().st_size for path in twin.iterdir()) < 2 * 7e6


def test_stretches_of_a_twin_are_where_the_table_says(twin):
    rows = drivedb._table()["drive06"]
    plan = [(None, rows[0].start_s)]
    plan += [(drivedb._STATES[row.condition], row.stop_s - row.start_s) for row in rows]
    ecg, blocks = simulate.ecg_subject(5, [*plan, (None, 30)], sfreq=496, seed=5)
    recordings = list(datasets.load("drivedb", twin, ["drive06"], trim_s=0.0))
    for recording, row, (_, start_s, stop_s) in zip(recordings, rows, blocks, strict=True):
        assert (start_s, stop_s) == pytest.approx((row.start_s, row.stop_s), abs=1 / 496)
        start = round(recording.start_s * 496)
        expected = ecg[start : start + recording.signal.shape[1]]
        np.testing.assert_allclose(recording.signal[0], expected, rtol=0, atol=0.000502)


def test_windows_of_a_twin_have_the_labels_of_the_road(twin):
    rule = drivedb.CARD.label_rules[0]
    recordings = list(datasets.load("drivedb", twin, ["drive05"]))
    windows = make_windows(recordings, 30.0, 0.0, 128.0, label_rule=rule)
    for trial, y in zip(windows.meta["trial"], windows.y, strict=True):
        assert rule.classes[y] == trial.split("-")[1]
    assert set(windows.y.tolist()) == {0, 1, 2}


def test_more_than_two_are_records_without_labels(tmp_path):
    folder = drivedb.make_twin(tmp_path, subjects=18, unlabelled_s=5.0)
    assert drivedb.subjects_in(folder) == drivedb.CARD.subjects
    assert datasets.subjects("drivedb", folder) == ("drive05", "drive06"), "only they have labels"
    others = [name for name in drivedb.CARD.subjects if name not in ("drive05", "drive06")]
    recordings = list(datasets.load("drivedb", folder, others))
    assert [r.subject for r in recordings] == others
    assert {r.condition for r in recordings} == {None}
    assert all(r.duration_s == pytest.approx(5.0, abs=0.1) for r in recordings)
    rates = {r.subject: r.sfreq for r in recordings}
    assert rates["drive17a"] == 480 and rates["drive12"] == 356.5 and rates["drive15"] == 480.5
    assert rates["drive03"] == rates["drive01"] == 496


def test_rates_of_a_twin_are_those_of_the_real_headers(real):
    import wfdb

    for name in drivedb.CARD.subjects:
        header = wfdb.rdheader(str(real("drivedb") / "headers" / name))
        per_frame = header.samps_per_frame[header.sig_name.index("ECG")]
        assert frames_of(name) == (header.fs, per_frame), name


@pytest.fixture
def short_table(monkeypatch):
    """Make the labelled records short."""
    rows = [drivedb._Segment(f"{n}-{c}", c, 2.0 + 20 * n, 22.0 + 20 * n) for n, c in
            enumerate(drivedb.CONDITIONS)]  # fmt: skip
    monkeypatch.setattr(drivedb, "_table", lambda: {"drive05": rows, "drive06": rows})


def test_a_twin_depends_on_dials_and_seed_alone(tmp_path, short_table):
    def content(name: str, **dials: object) -> bytes:
        folder = drivedb.make_twin(tmp_path / name, **{"subjects": 1, **dials})
        return (folder / "drive05.dat").read_bytes()

    assert content("a") == content("a") == content("b", subjects=3)
    others = [content("c", seed=6), content("d", effect=0.5), content("e", fingerprint=0.0)]
    assert len({content("a"), *others}) == 4


def test_at_effect_0_the_road_changes_no_sample(tmp_path, short_table, monkeypatch):
    contents = set()
    for state in ("baseline", "stress"):
        monkeypatch.setattr(drivedb, "_STATES", dict.fromkeys(drivedb.CONDITIONS, state))
        folder = drivedb.make_twin(tmp_path / state, subjects=1, effect=0.0)
        contents.add((folder / "drive05.dat").read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"subjects": 0}, "1 to 18"),
        ({"subjects": 19}, "1 to 18"),
        ({"effect": -1}, "effect"),
        ({"seed": -1}, "seed"),
        ({"subjects": 3, "unlabelled_s": 0}, "no sample"),
        ({"subjects": 3, "unlabelled_s": 0.05}, "32 or more"),
    ],
)
def test_a_twin_out_of_range_is_one_message(tmp_path, short_table, wrong, word):
    with pytest.raises(ParameterError, match=word):
        drivedb.make_twin(tmp_path, **wrong)


def test_half_of_a_labelled_record_is_a_missing_subject(tmp_path, short_table):
    drivedb.make_twin(tmp_path, subjects=2)
    (tmp_path / "TWIN.json").unlink()
    assert datasets.subjects("drivedb", tmp_path) == ("drive05", "drive06")
    (tmp_path / "drive06.hea").unlink()
    with pytest.raises(DataNotFoundError, match="missing are drive06"):
        datasets.load("drivedb", tmp_path)
    (tmp_path / "drive06.dat").unlink()
    assert datasets.subjects("drivedb", tmp_path) == ("drive05",), "a partial copy may lack it"
