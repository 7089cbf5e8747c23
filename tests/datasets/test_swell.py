"""SWELL-KW: blocks from Poly5 files, conditions from the table of minutes."""

from __future__ import annotations

import logging
import re
import struct
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from affectbook import datasets
from affectbook.datasets import _poly5, swell
from affectbook.datasets._swell_minutes import read_minutes, write_minutes
from affectbook.errors import DataFileError, DataNotFoundError, ParameterError
from affectbook.windows import make_windows

START = datetime(2012, 9, 18, 13, 16)
ORDER = ("T", "N", "I")
RULES = {rule.name: rule for rule in swell.CARD.label_rules}


def blocks_of(seconds: float = 2.0) -> np.ndarray:
    """Return three blocks of eight channels, ``(3, 8, n_times)``."""
    rng = np.random.default_rng(1)
    return 500 * rng.standard_normal((3, 8, round(2048 * seconds))).astype("f4")


def write(folder: Path, subject: str = "pp1", minutes: list | None = None, **options) -> np.ndarray:
    """Write a subject with blocks in the order T, N, I; return what is in them."""
    signals = blocks_of()
    for block, signal in zip(swell.BLOCKS, signals, strict=True):
        swell.write_block(folder, subject, block, signal, start=START, **options)
    default = [(subject, f"c{n}", code, START) for n, code in enumerate(ORDER, 1)]
    write_minutes(folder / swell.TABLE, default if minutes is None else minutes)
    return signals


def table(folder: Path, text: str) -> Path:
    path = folder / swell.TABLE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="latin-1")
    return path


def refused(folder: Path, *words: str, subject: str = "pp1", **options: object) -> None:
    with pytest.raises((DataFileError, DataNotFoundError)) as caught:
        list(swell.read(folder, [subject], **options))
    for word in words:
        assert word in str(caught.value), (word, str(caught.value))
    error = caught.value
    assert "\n" not in str(error)
    assert all((error.file, error.field, error.found, error.expected, error.do))


def test_reads_what_it_wrote(tmp_path):
    signals = write(tmp_path)
    recordings = list(datasets.load("swell", tmp_path, ["pp1"]))
    assert [r.trial for r in recordings] == ["c1", "c2", "c3"]
    assert [r.condition for r in recordings] == ["time pressure", "neutral", "interruptions"]
    for recording, signal in zip(recordings, signals, strict=True):
        # Stored in uV as float32, so that mV are right to a rounding of float32.
        np.testing.assert_allclose(recording.signal[0], signal[5] / 1000, rtol=1e-6)
        assert (recording.sfreq, recording.unit, recording.ch_names) == (2048.0, "mV", ("ECG",))
        assert (recording.subject, recording.session, recording.start_s) == ("pp1", "1", 0.0)
    filtered = list(datasets.load("swell", tmp_path, ["pp1"], heart="filtered"))
    np.testing.assert_allclose(filtered[2].signal[0], signals[2, 7] / 1000, rtol=1e-6)


def test_the_order_of_blocks_is_not_the_condition(tmp_path):
    """The same files under another table have other conditions."""
    write(tmp_path)
    write_minutes(
        tmp_path / swell.TABLE,
        [("pp1", f"c{n}", code, START) for n, code in enumerate("INT", 1)],
    )
    found = {r.trial: r.condition for r in swell.read(tmp_path, ["pp1"])}
    assert found == {"c1": "interruptions", "c2": "neutral", "c3": "time pressure"}


@pytest.mark.parametrize("trim_s", [0.0, 5.0, 60.0])
def test_relaxation_is_cut_out_of_a_block(tmp_path, trim_s, caplog):
    """Two minutes of relaxation, two of work and one of relaxation, in a block of 290 s."""
    codes = "RRNNR"
    minutes = [
        ("pp1", "c1", code, START + timedelta(minutes=minute)) for minute, code in enumerate(codes)
    ]
    write_minutes(tmp_path / swell.TABLE, minutes[::-1])
    ramp = np.zeros((8, 290 * 2048), "f4")
    ramp[5] = np.arange(290 * 2048) // 2048
    swell.write_block(tmp_path, "pp1", "c1", ramp, start=START)
    with caplog.at_level(logging.WARNING):
        found = list(swell.read(tmp_path, ["pp1"], trim_s=trim_s))
    expected = {
        "c1-relax": (0, 120 - trim_s),
        "c1": (120 + trim_s, 240 - trim_s),
        "c1-relax-2": (240 + trim_s, 290),
    }
    kept = {name: span for name, span in expected.items() if span[1] - span[0] > 0}
    assert [r.trial for r in found] == list(kept)
    for recording, (start, stop) in zip(found, kept.values(), strict=True):
        assert recording.condition == ("neutral" if recording.trial == "c1" else "relax")
        assert recording.start_s == start
        seconds = np.rint(1000 * recording.signal[0])
        assert (seconds[0], seconds[-1], len(seconds)) == (start, stop - 1, 2048 * (stop - start))
    assert ("less than 1 s" in caplog.text) == (len(kept) < 3)


def test_clocks_that_disagree_are_reported(tmp_path, caplog):
    write(tmp_path, minutes=[("pp1", f"c{n}", "N", START + timedelta(hours=1)) for n in (1, 2, 3)])
    with caplog.at_level(logging.WARNING):
        assert len(list(swell.read(tmp_path, ["pp1"]))) == 3
    assert "2012-09-18 13:16:00 by the recorder" in caplog.text
    assert "2012-09-18 14:16:00 by the table" in caplog.text


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("pp10_8-10-2012-c2.S00", "c2"),
        ("pp10_8-10-2012_c2.s00", "c2"),
        ("pp10_c2.S00", "c2"),
        ("pp10_1-11-2012_c2_cont.S00", "c2-cont"),
        ("pp1_1-11-2012_c2.S00", None),
        ("pp10_8-10-2012_c4.S00", None),
        ("pp10_8-10-2012_c2.S01", None),
        ("pp10_8-10-2012_c2.S00.part", None),
        ("notes.txt", None),
    ],
)
def test_irregular_names(tmp_path, name, block):
    (tmp_path / name).write_bytes(b"")
    assert list(swell._recordings_of(tmp_path, "pp10")) == ([block] if block else [])


@pytest.mark.parametrize(
    "place",
    [
        ".",
        swell.MOBI,
        "0 - Raw Data/D - Physiology - raw data/Mobi signals _raw and filtered_",
    ],
)
def test_folders_of_different_copies(tmp_path, place):
    write(tmp_path / "made")
    folder = tmp_path / "copy"
    (folder / place).mkdir(parents=True)
    for path in (tmp_path / "made").rglob("*.S00"):
        path.rename(folder / place / path.name)
    (tmp_path / "made" / swell.TABLE).rename(folder / Path(swell.TABLE).name)
    assert datasets.find_root("swell", folder) == folder
    assert len(list(swell.read(folder, ["pp1"]))) == 3


def test_a_continued_block_is_its_own_trial(tmp_path):
    write(tmp_path, "pp23")
    (tmp_path / swell.MOBI / "pp23_18-9-2012_c2.S00").rename(
        tmp_path / swell.MOBI / "pp23_1-11-2012_c2_cont.S00"
    )
    assert [r.trial for r in swell.read(tmp_path, ["pp23"])] == ["c1", "c3"]
    found = {r.trial: r.condition for r in swell.read(tmp_path, ["pp23"], exclude=False)}
    assert found == {"c1": "time pressure", "c2-cont": "neutral", "c3": "interruptions"}


def test_the_published_list_of_exclusions(tmp_path, caplog):
    assert sum(len(blocks) for blocks in swell.EXCLUDED.values()) == 20
    assert set(swell.EXCLUDED) <= set(swell.CARD.subjects)
    write(tmp_path, "pp4")
    with caplog.at_level(logging.INFO):
        assert [r.trial for r in swell.read(tmp_path, ["pp4"])] == ["c3"]
    assert "2 files on the published list were left out" in caplog.text
    assert len(list(swell.read(tmp_path, ["pp4"], exclude=False))) == 3


@pytest.mark.parametrize(
    ("unit", "factor", "warned"),
    [
        ("\xb5Volt", 1e-3, False),
        ("uV", 1e-3, False),
        ("\xe6V", 1e-3, False),
        ("mVolt", 1.0, False),
        ("V", 1e3, False),
        ("\x80V", 1e-3, False),
        ("nV", 1e-6, False),
        ("", 1e-3, True),
    ],
)
def test_units(tmp_path, caplog, unit, factor, warned):
    signals = write(tmp_path, units=(unit,) * 8)
    with caplog.at_level(logging.WARNING):
        recordings = list(swell.read(tmp_path, ["pp1"]))
    np.testing.assert_allclose(recordings[0].signal[0], signals[0, 5] * factor, rtol=1e-6)
    assert ("taken for uV" in caplog.text) == warned


@pytest.mark.parametrize("unit", ["bpm", "Ohm", "uS", "kV", "uuV", "m", "u\nV"])
def test_a_unit_that_is_no_voltage_is_one_message(tmp_path, unit):
    write(tmp_path, units=(unit,) * 8)
    refused(tmp_path, "unit of the ECG", f"found: {unit!r} in channel 'heart raw'", "V, mV, uV")


def test_fewer_blocks_or_conditions_are_told_in_one_line(tmp_path, caplog):
    write(tmp_path)
    (tmp_path / swell.MOBI / "pp1_18-9-2012_c2.S00").unlink()
    assert len(list(swell.read(tmp_path, ["pp1"]))) == 2
    write_minutes(tmp_path / swell.TABLE, [("pp1", "c1", "T", START), ("pp1", "c3", "N", START)])
    assert len(list(swell.read(tmp_path, ["pp1"]))) == 2
    told = "SWELL-KW: fewer than 3 blocks or conditions: pp1: no recording of c2"
    assert [record.getMessage() for record in caplog.records] == [
        f"{told} (the table has 1 of its minutes)",
        f"{told} (the table has 0 of its minutes), no minutes of interruptions in the table",
    ]


@pytest.mark.parametrize(("subject", "block"), [("pp11", "c2"), ("pp20", "c1"), ("pp23", "c2")])
def test_what_the_published_set_lacks_is_not_missed(tmp_path, caplog, subject, block):
    write(tmp_path, subject)
    path = tmp_path / swell.MOBI / f"{subject}_18-9-2012_{block}.S00"
    if subject == "pp23":
        path.rename(path.with_name("pp23_1-11-2012_c2_cont.S00"))
    else:
        path.unlink()
    assert len(list(swell.read(tmp_path, [subject], exclude=False))) == 3 - (subject != "pp23")
    assert not caplog.records


@pytest.mark.parametrize("sfreq", [4096, 1024, 0, -2048])
def test_a_rate_that_is_not_the_published_one_is_one_message(tmp_path, sfreq):
    write(tmp_path)
    raw = bytearray(block_path(tmp_path).read_bytes())
    struct.pack_into("<h", raw, 114, sfreq)
    block_path(tmp_path).write_bytes(raw)
    refused(tmp_path, "sampling rate", f"{sfreq} Hz")


def test_a_recording_without_end_is_not_read(tmp_path, monkeypatch):
    """The file is as long as its head says, since all but its first bytes is a hole."""
    write(tmp_path)
    raw = bytearray(block_path(tmp_path).read_bytes())
    blocks = 10**6
    struct.pack_into("<i", raw, 121, 256 * blocks)
    struct.pack_into("<i", raw, 143, blocks)
    block_path(tmp_path).write_bytes(raw)
    with block_path(tmp_path).open("ab") as stream:
        stream.truncate(217 + 16 * 136 + blocks * (86 + 256 * 32))
    monkeypatch.setattr(_poly5, "read_channel", None)
    refused(tmp_path, "length", "125000 s", "at most 14400 s")


HEADING = "PP,C,Condition,timestamp,HR,RMSSD,SCL,,"
ROWS = [f"PP1,{n},{code},20120918T131600000,999,999,80.1,," for n, code in enumerate(ORDER, 1)]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join([HEADING, *ROWS]),
        "\r\n".join([HEADING, ROWS[0], HEADING, *ROWS[1:], ",,,,,,,,", ""]),
        "\xef\xbb\xbf" + "\n".join([HEADING, *ROWS]),
        "\n".join([HEADING.replace(",C,", ",Blok,"), *ROWS]),
        "\n".join([HEADING, *(f"{row}broken, twice,\xb5" for row in ROWS)]),
        "\n".join([HEADING, *(row.replace("131600000", "1316") for row in ROWS)]),
        "\n".join([HEADING, *ROWS]).replace(",", "\t"),
    ],
)
def test_tables_of_different_copies(tmp_path, text):
    write(tmp_path)
    table(tmp_path, text)
    found = read_minutes(tmp_path / swell.TABLE)
    assert found["C"].tolist() == ["c1", "c2", "c3"] and found["Condition"].tolist() == [*ORDER]
    assert len(list(swell.read(tmp_path, ["pp1"]))) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["columns", "PP, C, Condition, timestamp"]),
        ("PP,C,timestamp\nPP1,1,20120918T1316\n", ["columns", "expected: Condition"]),
        (f"{HEADING}\nPP1,4,N,20120918T1316,1,1,1,,", ["a row", "PP1, 4, N"]),
        (f"{HEADING}\nPP1,1,X,20120918T1316,1,1,1,,", ["a row", "PP1, 1, X"]),
        (f"{HEADING}\nPP1,1,N,yesterday,1,1,1,,", ["a row", "yesterday"]),
        (f"{HEADING}\nP1,1,N,20120918T1316,1,1,1,,", ["a row", "P1, 1, N"]),
        (f"{HEADING}\nPP1", ["a row"]),
        (f'{HEADING}\n"PP1,1', ["a row"]),
        (f"{HEADING}\n{ROWS[1]}", ["pp1 c1: no working condition"]),
        (f"{HEADING}\n{ROWS[0]}\n{ROWS[0].replace('T,', 'N,')}", ["pp1 c1: N, T", "one of"]),
        (f"{HEADING}\n{ROWS[0].replace(',T,', ',R,')}", ["pp1 c1: no working condition"]),
    ],
)
def test_a_wrong_table_is_one_message(tmp_path, text, words):
    write(tmp_path)
    table(tmp_path, text)
    refused(tmp_path, "HR_HRV_SCL", *words)


def test_a_missing_table_says_which_and_where(tmp_path):
    write(tmp_path)
    (tmp_path / swell.TABLE).unlink()
    refused(tmp_path, swell.TABLE, "PP, C (the block), Condition")
    with pytest.raises(DataNotFoundError, match="HR_HRV_SCL"):
        datasets.content_hash("swell", tmp_path, ["pp1"])


def block_path(folder: Path) -> Path:
    return folder / swell.MOBI / "pp1_18-9-2012_c1.S00"


def test_wrong_recordings_are_one_message(tmp_path):
    write(tmp_path)
    path = block_path(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20000])
    refused(tmp_path, path.name, "bytes of samples")
    path.write_bytes(b"")
    refused(tmp_path, path.name, "POLY SAMPLE FILE")
    names, units = ("a",) * 8, ("uV",) * 8
    signal = blocks_of()[0]
    options = {"names": names, "units": units, "start": START}
    _poly5.write(path, signal, sfreq=1024, **options)
    refused(tmp_path, path.name, "1024 Hz", "2048 Hz")
    signal[5, 7] = np.nan
    _poly5.write(path, signal, sfreq=2048, **options)
    refused(tmp_path, path.name, "channel 6", "1 of 4096")
    assert len(list(swell.read(tmp_path, ["pp1"], heart="filtered"))) == 3
    few = options | {"names": names[:5], "units": units[:5]}
    _poly5.write(path, signal[:5], sfreq=2048, **few)
    refused(tmp_path, path.name, "5 channels", "channel 6")
    path.write_bytes(whole)
    (path.parent / "pp1_19-9-2012-c1.S00").write_bytes(whole)
    refused(tmp_path, "pp1_19-9-2012-c1.S00", "pp1_18-9-2012_c1.S00", "the same block")


@pytest.mark.parametrize(
    "options", [{"heart": "left"}, {"trim_s": -1.0}, {"trim_s": np.nan}, {"trim_s": np.inf}]
)
def test_wrong_options_are_refused_at_the_call(tmp_path, options):
    write(tmp_path)
    with pytest.raises(ParameterError, match=next(iter(options))):
        datasets.load("swell", tmp_path, ["pp1"], **options)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "neutral_time_pressure_interruptions",
            {"neutral": 0, "time pressure": 1, "interruptions": 2},
        ),
        ("stress_binary", {"neutral": 0, "time pressure": 1, "interruptions": 1}),
    ],
)
def test_windows_have_the_labels_of_their_blocks(tmp_path, rule, expected):
    write(tmp_path)
    recordings = list(swell.read(tmp_path, ["pp1"]))
    windows = make_windows(recordings, 0.5, 0.0, 256.0, label_rule=RULES[rule])
    assert windows.X.shape == (12, 1, 128)
    condition = {r.trial: r.condition for r in recordings}
    for label, trial in zip(windows.y, windows.meta["trial"], strict=True):
        assert label == expected[condition[trial]]
    assert "relax" not in RULES[rule].conditions
    assert swell.CARD.label_rules[0].name == "neutral_time_pressure_interruptions"


def test_the_twin(tmp_path):
    for name, options in {"a": {}, "b": {"subjects": 2}, "c": {"seed": 1}}.items():
        swell.make_twin(tmp_path / name, **({"subjects": 1, "seconds": 2.0} | options))
    files = [
        {p.name: p.read_bytes() for p in sorted((tmp_path / name).rglob("pp1_*.S00"))}
        for name in "abc"
    ]
    assert list(files[0]) == [f"pp1_18-9-2012_{block}.S00" for block in swell.BLOCKS]
    assert files[0] == files[1] and files[0] != files[2]
    found = list(datasets.load("swell", tmp_path / "b"))
    assert [r.trial for r in found] == ["c1", "c2", "c3"] * 2
    assert {r.duration_s for r in found} == {2.0}
    for subject in ("pp1", "pp2"):
        conditions = sorted(r.condition for r in found if r.subject == subject)
        assert conditions == ["interruptions", "neutral", "time pressure"]


def test_a_subject_of_a_twin_is_small_and_orders_differ(tmp_path):
    swell.make_twin(tmp_path, subjects=10)
    for subject in swell.CARD.subjects[:10]:
        assert sum(p.stat().st_size for p in swell.files_of(tmp_path, subject)) < 10e6
    minutes = read_minutes(tmp_path / swell.TABLE)
    orders = {tuple(rows["Condition"]) for _, rows in minutes.groupby("PP")}
    assert len(orders) > 2 and {frozenset(order) for order in orders} == {frozenset("NTI")}
    assert (tmp_path / swell.MOBI / "pp10_8-10-2012-c2.S00").is_file()


def test_without_effect_the_state_changes_nothing(tmp_path, monkeypatch):
    """Orders of conditions are drawn apart from signals: with effect 0, only the table differs."""
    options = {"subjects": 1, "seconds": 2.0}
    for effect in (0.0, 1.0):
        swell.make_twin(tmp_path / f"{effect}", effect=effect, **options)
    turned = dict(zip("NTI", (swell.STATES[code] for code in "TIN"), strict=True))
    monkeypatch.setattr(swell, "STATES", turned)
    for effect in (0.0, 1.0):
        swell.make_twin(tmp_path / f"turned {effect}", effect=effect, **options)
        pairs = zip(
            swell.read(tmp_path / f"{effect}", ["pp1"]),
            swell.read(tmp_path / f"turned {effect}", ["pp1"]),
            strict=True,
        )
        same = [np.array_equal(left.signal, right.signal) for left, right in pairs]
        assert all(same) if effect == 0 else not any(same)


def test_stress_speeds_the_twin_up(tmp_path):
    swell.make_twin(tmp_path, subjects=3, fingerprint=0.0, effect=2.0)
    beats = {}
    for recording in datasets.load("swell", tmp_path, ["pp1", "pp2"]):
        peaks = recording.signal[0] > 0.6 * recording.signal[0].max()
        n_beats = int(np.count_nonzero(peaks[1:] & ~peaks[:-1]))
        beats[recording.subject, recording.condition] = n_beats
    for subject in ("pp1", "pp2"):
        assert beats[subject, "time pressure"] > beats[subject, "neutral"]


@pytest.mark.parametrize("subjects", [0, 26, -1])
def test_a_twin_has_1_to_25_subjects(tmp_path, subjects):
    with pytest.raises(ParameterError, match="1 to 25"):
        swell.make_twin(tmp_path, subjects=subjects)


def test_the_card():
    assert len(swell.CARD.subjects) == 25 == len(swell.DATES)
    assert all(re.fullmatch(r"pp\d+", subject) for subject in swell.CARD.subjects)
    assert swell.CARD.citation == "koldijk2014swell" and swell.CARD.tier == "licensed"


def test_a_missing_subject_is_named(tmp_path):
    write(tmp_path)
    with pytest.raises(DataNotFoundError, match="missing are pp2, pp3"):
        datasets.load("swell", tmp_path)
    assert datasets.load("swell", tmp_path, ["pp1"]).subjects == ("pp1",)
