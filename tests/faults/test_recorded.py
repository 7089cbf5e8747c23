"""Recorded scores that were edited by hand: refused by whatever shows, lists or keeps them."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.refusals import refused
from finished_run import finish, rows_of
from tiny_project import ROOT

from affectbook import pages, records, results
from affectbook.chapters import readers
from affectbook.errors import RunError

every = pytest.mark.faults
RECORD = "hcmnet_twin"
Fault = Callable[[Path], object]


@pytest.fixture
def recorded(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of a record of the book, beside a copy of one of a reader."""
    monkeypatch.setattr(results, "project_root", lambda: project)
    folder = project / "results" / "recorded"
    shutil.copytree(ROOT / "results" / "recorded" / RECORD, folder / RECORD)
    records.record_run(finish(project / "0123456789ab", rows_of({"hcmnet": 0.7})), "mine")
    return folder


def edited(path: Path, before: str = "", after: str = "") -> None:
    """Change the last digit of a table, or what is named, and pack it again as it was."""
    packed = path.suffix == ".gz"
    text = (gzip.decompress(path.read_bytes()) if packed else path.read_bytes()).decode()
    if before:
        changed = text.replace(before, after, 1)
    else:
        at = max(i for i, one in enumerate(text) if one.isdigit())
        changed = text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]
    assert changed != text
    raw = changed.encode()
    path.write_bytes(gzip.compress(raw, mtime=0) if packed else raw)


def told(folder: Path, change: Callable[[dict], dict]) -> None:
    path = folder / "provenance.json"
    path.write_text(json.dumps(change(json.loads(path.read_text())), indent=1))


def _scale(made: dict) -> dict:
    made["cells"][0]["parameters"]["scale"] = "paper"
    return made


def _sum_of_edited(folder: Path) -> None:
    """Edit a table and write its new sum into the provenance, too."""
    from affectbook.files import sha256

    edited(folder / "scores.csv.gz")
    told(folder, lambda made: made | {
        "files": made["files"] | {"scores.csv.gz": sha256(folder / "scores.csv.gz")}})  # fmt: skip


FAULTS: dict[str, tuple[str, Fault]] = {
    "one digit of a score": ("scores.csv.gz", lambda at: edited(at / "scores.csv.gz")),
    "one digit of a prediction": (
        "predictions.csv.gz", lambda at: edited(at / "predictions.csv.gz")),
    "one digit of a training curve": (
        "histories.csv.gz", lambda at: edited(at / "histories.csv.gz")),
    "a table cut short": (
        "scores.csv.gz", lambda at: (at / "scores.csv.gz").write_bytes(
            (at / "scores.csv.gz").read_bytes()[:-9])),
    "a table missing": ("scores.csv.gz", lambda at: (at / "scores.csv.gz").unlink()),
    "a training curve missing": ("histories.csv.gz", lambda at: (at / "histories.csv.gz").unlink()),
    "a table more": ("scores.csv", lambda at: (at / "scores.csv").write_text("value\n1\n")),
    "packed in another way": (
        "scores.csv.gz", lambda at: (at / "scores.csv.gz").write_bytes(
            gzip.compress(gzip.decompress((at / "scores.csv.gz").read_bytes()), 1, mtime=0))),
    "the time it took": ("provenance.json", lambda at: told(at, lambda m: m | {"seconds": 1.0})),
    "the parameters of a cell": ("provenance.json", lambda at: told(at, _scale)),
    "a table and its sum": ("provenance.json", _sum_of_edited),
    "no sums": ("provenance.json", lambda at: told(
        at, lambda m: {k: v for k, v in m.items() if k not in ("files", "seal")})),
    "no seal": ("provenance.json", lambda at: told(
        at, lambda m: {k: v for k, v in m.items() if k != "seal"})),
    "no provenance": ("provenance.json", lambda at: (at / "provenance.json").unlink()),
    "half a provenance": ("provenance.json", lambda at: (at / "provenance.json").write_text("{")),
}  # fmt: skip
READERS: dict[str, Callable[[Path], object]] = {
    "the pages of the book": lambda folder: pages.write(folder.parents[1] / "out"),
    "the chapter's scores": lambda folder: results.recorded("hcmnet"),
    "the readers' runs": lambda folder: readers.table("hcmnet"),
    "training curves": lambda folder: results.histories(RECORD),
    "how it was made": lambda folder: results.provenance(RECORD),
    "one table": lambda folder: results.read_rows(folder / RECORD / "scores.csv.gz"),
    "check-stale": lambda folder: records.check(),
}


def test_an_edited_score_is_refused_by_all_that_read_it(recorded: Path) -> None:
    edited(recorded / RECORD / "scores.csv.gz")
    for read in READERS.values():
        refused(lambda read=read: read(recorded), "is not what was recorded", "git checkout -- "
                f"results/recorded/{RECORD}", "make record", folder=recorded,
                names=f"{RECORD}/scores.csv.gz")  # fmt: skip
    assert not (recorded.parents[1] / "out").exists(), "no page is written"


@every
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_one_message_from_every_reader(
    recorded: Path, fault: str, reader: str
) -> None:
    named, damage = FAULTS[fault]
    damage(recorded / RECORD)
    refused(lambda: READERS[reader](recorded), "git checkout", folder=recorded,
            names=f"{RECORD}/{named}")  # fmt: skip


@every
@pytest.mark.parametrize("reader", READERS)
def test_undamaged_records_are_read(recorded: Path, reader: str) -> None:
    READERS[reader](recorded)


@every
@pytest.mark.parametrize("table", ["scores.csv.gz", "predictions.csv.gz"])
def test_an_edited_run_of_a_reader_is_refused(recorded: Path, table: str) -> None:
    edited(recorded / "mine" / table)
    for read in (results.readers, results.recorded, lambda: readers.table("hcmnet"), records.check):
        refused(read, "results/recorded/mine", folder=recorded, names=f"mine/{table}")


@every
@pytest.mark.parametrize("table", ["scores.csv", "predictions.csv"])
def test_a_run_edited_before_it_is_recorded_is_refused(recorded: Path, table: str) -> None:
    run = finish(recorded.parents[1] / "aaaaaaaaaaaa", rows_of({"hcmnet": 0.6}), {"seed": 1})
    edited(run / table)
    refused(lambda: records.record_run(run, "theirs"), "--force", folder=recorded, names=table)
    assert not (recorded / "theirs").exists()


@every
def test_a_record_is_not_overwritten_by_another_run(recorded: Path) -> None:
    run = finish(recorded.parents[1] / "aaaaaaaaaaaa", rows_of({"hcmnet": 0.6}), {"seed": 1})
    for name in ("mine", RECORD, "../mine", "mine/.."):
        with pytest.raises(RunError):
            records.record_run(run, name)
    assert set(results.readers()["run_key"]) == {"0123456789ab"}


@every
@pytest.mark.parametrize("command", ["book", "check-stale"])
def test_a_command_ends_with_one_message(tmp_path: Path, command: str) -> None:
    copy = tmp_path / "checkout"
    leave = shutil.ignore_patterns("__pycache__")
    for name in ("lib", "results"):
        shutil.copytree(ROOT / name, copy / name, ignore=leave)
    for name in ("pyproject.toml", "requirements.in", "constraints.txt"):
        shutil.copy(ROOT / name, copy)
    edited(copy / "results" / "recorded" / RECORD / "scores.csv.gz")
    done = subprocess.run(
        [sys.executable, "-m", "affectbook.runs", command], cwd=copy, capture_output=True,
        env=os.environ | {"PYTHONPATH": str(copy / "lib"), "OMP_NUM_THREADS": "1"}, text=True,
        stdin=subprocess.DEVNULL, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len([line for line in done.stderr.splitlines() if "do: " in line]) == 1, done.stderr
    assert f"git checkout -- results/recorded/{RECORD}" in done.stderr
    assert not (copy / "build" / "site").exists()
