"""Runs that readers record: what is kept, what is refused, and that nothing else is copied."""

from __future__ import annotations

import gzip
import json
import platform
from pathlib import Path

import pytest
from finished_run import finish, rows_of

from affectbook import keeping, records, results, sealed, staleness
from affectbook.errors import DataFileError, DataNotFoundError, RunError
from affectbook.files import sha256

KEY = "0123456789ab"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(results, "project_root", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def run(root: Path) -> Path:
    return finish(root / "build" / "runs" / "hcmnet" / KEY, rows_of({"hcmnet": 0.7}))


def test_scores_predictions_and_provenance_are_kept_and_nothing_else(run: Path) -> None:
    kept = records.record_run(run, "mine")
    assert kept == results.recorded_folder() / "mine"
    assert {path.name for path in kept.iterdir()} == {
        "scores.csv.gz", "predictions.csv.gz", "provenance.json"
    }  # fmt: skip
    for table in keeping.TABLES:
        assert gzip.decompress((kept / f"{table}.gz").read_bytes()) == (run / table).read_bytes()
    told, before = sealed.require(kept), json.loads((run / "provenance.json").read_text())
    assert set(told["files"]) == {"scores.csv.gz", "predictions.csv.gz"}
    assert told | {"files": 0, "seal": 0} == before | {"files": 0, "seal": 0}
    assert set(results.readers("hcmnet")["record"]) == {"mine"} and results.recorded().empty


def test_the_same_run_is_recorded_again_byte_for_byte(run: Path) -> None:
    kept = records.record_run(run, "mine")
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    records.record_run(run, "mine")
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    (kept / "scores.csv.gz").write_bytes(b"edited")
    records.record_run(run, "mine")
    assert sealed.require(kept), "to record it again is what a damaged record is told to need"


def test_a_name_that_is_taken_is_refused(run: Path) -> None:
    records.record_run(run, "mine")
    other = finish(run.with_name("ba9876543210"), rows_of({"hcmnet": 0.8}), {"seed": 1})
    with pytest.raises(RunError, match=f"mine is the record of another run, {KEY}"):
        records.record_run(other, "mine")
    with pytest.raises(RunError, match="hcmnet_ablations is the name of a sweep's record"):
        records.record_run(other, "hcmnet_ablations")
    sealed.seal(results.recorded_folder() / "mine", {"sweep": "gone"})
    with pytest.raises(RunError, match="mine is the record of a sweep"):
        records.record_run(other, "mine")


@pytest.mark.parametrize(
    "name", ["", "../x", "a b", ".hidden", "-x", "a/b", "é", "a\n", "<b>", "x" * 61, "$x$"]
)
def test_a_name_that_is_not_plain_is_refused(run: Path, name: str) -> None:
    with pytest.raises(RunError, match="letters, digits, - and _ only"):
        records.record_run(run, name)
    assert not results.recorded_folder().exists()


@pytest.mark.parametrize("missing", ["scores.csv", "predictions.csv", "provenance.json"])
def test_a_run_that_has_not_finished_is_refused(run: Path, missing: str) -> None:
    (run / missing).unlink()
    with pytest.raises(RunError, match=f"no finished run.*{missing} not found"):
        records.record_run(run, "mine")
    assert not results.recorded_folder().exists()


def test_an_unfinished_folder_is_no_run(run: Path) -> None:
    with pytest.raises(RunError, match="no finished run"):
        records.record_run(run.rename(run.with_name(f".unfinished-{KEY}")), "mine")


def told(run: Path, **more: object) -> None:
    path = run / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_a_run_without_what_a_record_needs_is_refused(run: Path) -> None:
    before = json.loads((run / "provenance.json").read_text())
    for lacking in ("files", "setting", "run_key"):
        part = {key: value for key, value in before.items() if key != lacking}
        (run / "provenance.json").write_text(json.dumps(part))
        with pytest.raises(RunError, match=f"lacks {lacking}: make run makes"):
            records.record_run(run, "mine")


@pytest.mark.parametrize("table", ["scores.csv", "predictions.csv"])
def test_what_was_edited_before_it_is_recorded_is_refused(run: Path, table: str) -> None:
    text = (run / table).read_text()
    (run / table).write_text(text[:-2] + ("1" if text[-2] != "1" else "0") + "\n")
    with pytest.raises(DataFileError, match="run it again with --force") as error:
        records.record_run(run, "mine")
    assert Path(error.value.file).name == table
    assert not results.recorded_folder().exists()


def test_scores_of_another_run_are_refused(run: Path) -> None:
    results.write_rows(rows_of({"hcmnet": 0.9}).assign(run_key="other"), run / "scores.csv")
    told(run, files={table: sha256(run / table) for table in keeping.TABLES})
    with pytest.raises(DataFileError, match="scores of another run"):
        records.record_run(run, "mine")


# Spelt in two parts: no file of the book names a path of a machine.
PLACES = [
    "/" "home/me/data", "file:///" "var/data", "in /" "tmp/x", "C:\\data", "~/data",
    "a=/etc/passwd", "\\\\server\\share",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_what_names_a_path_of_this_machine_is_refused(run: Path, place: str) -> None:
    for more in ({"machine": {"cpu": place}}, {"attempts": [{"why": place}]}, {"x": {place: 1}}):
        before = (run / "provenance.json").read_text()
        told(run, **more)
        with pytest.raises(RunError, match="names a place of this machine"):
            records.record_run(run, "mine")
        (run / "provenance.json").write_text(before)
    results.write_rows(rows_of({"hcmnet": 0.5}).assign(label_rule=place), run / "scores.csv")
    told(run, files={table: sha256(run / table) for table in keeping.TABLES})
    with pytest.raises(RunError, match=r"scores.csv names a place"):
        records.record_run(run, "mine")


def test_what_names_this_machine_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "lab-7")
    told(run, attempts=[{"seconds": 1.0, "host": "lab-7.example"}])
    with pytest.raises(RunError, match="lab-7"):
        records.record_run(run, "mine")
    monkeypatch.setattr(platform, "node", lambda: "lab")
    records.record_run(run, "mine")


def test_what_a_run_of_this_book_says_of_itself_names_no_place(run: Path) -> None:
    from affectbook import provenance
    from affectbook.files import project_root

    root = project_root()
    code = [root / "lib" / "affectbook" / "results.py"]
    found = provenance.collect(root, {"seed": 0, "device": "cpu"}, code, 1.0)
    told(run, **{key: found[key] for key in ("git", "machine", "packages", "scan", "code")})
    kept = records.record_run(run, "mine")
    assert str(root) not in (kept / "provenance.json").read_text()


def test_a_reader_s_run_is_stale_by_code_parameters_and_data(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = records.record_run(run, "mine")
    assert records.check() == {"mine": []}
    made = sealed.require(kept)
    sealed.seal(kept, made | {"code": {"lib/affectbook/evaluate.py": "another"}})
    assert records.stale(kept) == ["lib/affectbook/evaluate.py"]
    sealed.seal(kept, made | {"setting": made["setting"] | {"epochs": 9, "gone": 1}})
    assert records.stale(kept) == [
        "parameter epochs: 9 then, 5 now", "parameter gone: 1 then, not there now"
    ]  # fmt: skip
    sealed.seal(kept, made | {"parameters": made["parameters"] | {"epoch": 9}})
    (only,) = records.stale(kept)
    assert only.startswith("parameters: a parameter is wrong: epoch: unknown; did you mean epochs?")


def test_a_reader_s_run_on_other_data_is_marked_where_they_are_at_hand(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"dataset": "eegmat", "tier": "open"}
    rows = rows_of({"hcmnet": 0.7}, dataset="eegmat", tier="open")
    kept = records.record_run(finish(run, rows, given), "mine")

    def absent(*_: object, **__: object) -> None:
        raise DataNotFoundError("no eegmat here")

    with monkeypatch.context() as patch:
        patch.setattr(staleness.datasets, "prepare", absent)
        assert records.check() == {"mine": []}
    monkeypatch.setattr(staleness, "_hashes", lambda setting: {"0" * 64})
    assert records.check() == {"mine": []}
    with monkeypatch.context() as patch:
        patch.setattr(staleness, "_hashes", lambda setting: {"1" * 64})
        assert records.check() == {"mine": ["data of eegmat"]}
        patch.setattr(staleness, "_hashes", absent)
        assert records.check() == {"mine": ["data of eegmat"]}, "the mark stays without the data"
    assert records.check() == {"mine": []}, "the data are those of then again"
    assert not (kept / records.MARK).exists()


def test_the_hash_of_data_is_that_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from affectbook.papers import hcmnet

    asked = []
    monkeypatch.setattr(staleness.datasets, "prepare", lambda *_: tmp_path)
    monkeypatch.setattr(staleness.datasets, "subjects", lambda *_: ["a", "b", "c", "d", "e"])
    monkeypatch.setattr(staleness.datasets, "content_hash", lambda *of: asked.append(of) or "1")
    four = hcmnet.Params(dataset="eegmat", tier="open", subjects=4)
    assert staleness._hashes(hcmnet.setting(four)) == {"1"}
    assert [of[2] for of in asked] == [["a", "b", "c", "d"], None]
