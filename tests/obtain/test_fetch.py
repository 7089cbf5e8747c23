"""Fetching open sets from a server on this machine: whole, cut, changed, wrong and refused."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from tiny_server import Server

from affectbook import datasets, papers, params
from affectbook.datasets import _published
from affectbook.datasets._folders import mark_twin
from affectbook.errors import AffectbookError, DataError, DataFileError, DataNotFoundError
from affectbook.obtain import _download, _place, fetch
from affectbook.obtain._download import Patience

BIG = "drive05.dat"
CUT = 6 * _download._CHUNK


@pytest.fixture
def get(server: Server, quick: Patience, tmp_path: Path) -> Callable[..., list[str]]:
    """Fetch the server's files into ``drivedb``, and return the lines that were told."""

    def fetch_all(folder: Path = tmp_path / "drivedb", **options: object) -> list[str]:
        lines: list[str] = []
        told = {"registry": server.registry, "patience": quick, "echo": lines.append, **options}
        assert fetch.fetch("drivedb", folder, server.url, **told) == folder
        return lines

    return fetch_all


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(kind: type[DataError], call: Callable[[], object]) -> DataError:
    """Return the one message that a call ends in, with all its parts."""
    with pytest.raises(DataError) as caught:
        call()
    error = caught.value
    assert type(error) is kind, error
    parts = (error.file, error.field, error.found, error.expected, error.do)
    assert all(part is not None for part in parts), error
    assert "\n" not in str(error) and len(str(error)) < 900
    return error


def test_every_file_comes_whole_and_a_second_run_asks_for_nothing(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    lines = get()
    assert content_of(tmp_path / "drivedb") == server.contents
    assert server.sent == sum(map(len, server.contents.values()))
    assert "make check-data DATASET=drivedb" in "\n".join(lines)
    assert f"DATA={tmp_path}" in lines[-1] and "-p dataset drivedb -p tier open" in lines[-1]
    server.requests.clear()
    assert any("3 files" in line for line in get())
    assert server.requests == []


@pytest.mark.parametrize("after", [16_384, 100_000, 299_999])
def test_a_cut_connection_goes_on_with_the_bytes_that_are_missing(
    after: int, server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    server.cut_after = [after]
    get()
    assert content_of(tmp_path / "drivedb") == server.contents
    kept = after // _download._CHUNK * _download._CHUNK
    assert server.sent == sum(map(len, server.contents.values())) + after - kept
    assert (BIG, f"bytes={kept}-") in server.gets


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    server.cut_after, server.answers = [CUT], [server.contents[BIG], 503, 503, 503]
    error = refused(DataError, get)
    assert "503" in error.found and "goes on where it stopped" in error.do
    there = tmp_path / "drivedb"
    assert not (there / BIG).exists() and (there / f".{BIG}.part").stat().st_size == CUT
    server.sent = 0
    lines = get()
    assert server.sent == sum(map(len, server.contents.values())) - CUT
    assert content_of(there) == server.contents
    assert any("98.3 kB of it are there" in line for line in lines)


def test_files_that_are_whole_stay_when_a_later_one_fails(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    server.answers = [server.contents[BIG], 404]
    refused(DataNotFoundError, get)
    assert (tmp_path / "drivedb" / BIG).read_bytes() == server.contents[BIG]
    server.requests.clear()
    get()
    assert [name for name, _ in server.gets] == ["drive05.hea", "RECORDS"]


def test_without_ranges_a_file_starts_again(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    server.ranges, server.cut_after = False, [100_000]
    get()
    assert content_of(tmp_path / "drivedb") == server.contents
    assert server.sent == sum(map(len, server.contents.values())) + 100_000


def test_without_a_version_a_part_is_not_gone_on_with(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    server.tags, server.cut_after = False, [100_000]
    get()
    assert content_of(tmp_path / "drivedb") == server.contents
    assert all(part is None for _, part in server.gets)


def test_pieces_of_two_versions_are_not_joined(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    # The first version is cut; then the server has another one under the same name.
    server.answers, server.cut_after = [bytes(300_000)], [CUT]
    get()
    assert content_of(tmp_path / "drivedb") == server.contents
    assert server.gets.count((BIG, f"bytes={CUT}-")) == 1
    assert [name for name, _ in server.gets].count(BIG) == 2


@pytest.mark.parametrize("size", [300_000, 400_000])
def test_a_part_that_ends_where_the_file_does_or_later_is_settled(
    size: int, server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    """The server answers 416: there is nothing after the part, which is wrong."""
    part = tmp_path / "drivedb" / f".{BIG}.part"
    part.parent.mkdir()
    part.write_bytes(bytes(size))
    tag = f'"{hashlib.md5(server.contents[BIG]).hexdigest()}"'
    part.with_name(f"{part.name}.version").write_text(tag)
    get()
    assert content_of(tmp_path / "drivedb") == server.contents


def test_a_part_that_is_whole_is_not_fetched(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    part = tmp_path / "drivedb" / f".{BIG}.part"
    part.parent.mkdir()
    part.write_bytes(server.contents[BIG])
    get()
    assert BIG not in [name for name, _ in server.gets]
    assert content_of(tmp_path / "drivedb") == server.contents


def test_a_wrong_byte_once_is_fetched_again(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    server.answers = [b"x" + server.contents[BIG][1:]]
    lines = get()
    assert content_of(tmp_path / "drivedb") == server.contents
    assert any("once more" in line for line in lines)


def test_a_wrong_byte_twice_is_refused_and_nothing_of_it_stays(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    right, wrong = server.registry, b"x" + server.contents[BIG][1:]
    server.contents[BIG] = wrong
    error = refused(DataFileError, lambda: get(registry=right))
    assert error.field == "sha256" and right[BIG] in error.expected
    assert server.registry[BIG] in error.found and error.file == server.url + BIG
    assert "the publisher's" in error.expected
    assert not (tmp_path / "drivedb").exists()


def test_a_wrong_file_is_kept_until_the_right_one_is_there(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    old = tmp_path / "drivedb" / BIG
    old.parent.mkdir()
    old.write_bytes(b"mine")
    server.answers = [500, 500, 500]
    refused(DataError, get)
    assert old.read_bytes() == b"mine"
    lines = get()
    assert any(BIG in line and "kept until" in line for line in lines)
    assert content_of(tmp_path / "drivedb") == server.contents


@pytest.mark.parametrize(
    ("status", "kind"), [(404, DataNotFoundError), (410, DataNotFoundError), (403, DataError)]
)
def test_a_refusal_is_told_at_once(
    status: int, kind: type[DataError], server: Server, get: Callable[..., list[str]],
    tmp_path: Path,
) -> None:  # fmt: skip
    server.answers = [status] * 9
    error = refused(kind, get)
    assert error.found.startswith(str(status)) and error.field == "HTTP status"
    assert len(server.gets) == 1 and not (tmp_path / "drivedb").exists()


def test_an_answer_without_tls_is_refused_where_tls_was_asked_for(
    server: Server, quick: Patience, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = requests.Session.request

    def led_astray(session: object, method: str, url: str, **options: object) -> object:
        answer = ask(session, method, url.replace("https:", "http:"), **options)
        hop = SimpleNamespace(url=url)
        return SimpleNamespace(**vars(answer) | {"history": [hop], "close": answer.close})

    monkeypatch.setattr(requests.Session, "request", led_astray)
    address = server.url.replace("http:", "https:")
    options = {"registry": server.registry, "patience": quick}
    error = refused(DataError, lambda: fetch.fetch("drivedb", tmp_path / "x", address, **options))
    assert error.field == "redirection" and error.found.startswith("http://")
    assert not (tmp_path / "x").exists()


def test_errors_of_the_server_that_pass_are_waited_out(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    server.answers = [500, 429]
    get()
    assert content_of(tmp_path / "drivedb") == server.contents


def test_a_server_that_never_answers_ends_in_one_message(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    server.stalls = True
    error = refused(DataError, lambda: get(patience=Patience(1, 0.0, 0.2, 0.2)))
    assert "timed out" in error.found.lower() and not (tmp_path / "drivedb").exists()


def test_no_server_ends_in_one_message(server: Server, quick: Patience, tmp_path: Path) -> None:
    options = {"registry": server.registry, "patience": quick}
    address = "http://127.0.0.1:9/"
    error = refused(DataError, lambda: fetch.fetch("drivedb", tmp_path / "x", address, **options))
    assert "refused" in error.found and not (tmp_path / "x").exists()


def test_without_sizes_files_are_counted(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    server.heads = server.lengths = False
    lines = get()
    assert content_of(tmp_path / "drivedb") == server.contents
    assert any("3 of 3 files" in line for line in lines)


def test_a_cut_that_no_length_tells_is_found_by_the_sum(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    server.lengths, server.cut_after = False, [1000]
    get()
    assert content_of(tmp_path / "drivedb") == server.contents


def test_plain_lines_are_few(server: Server, get: Callable[..., list[str]]) -> None:
    assert len(get()) < 20


def test_a_server_that_sends_no_end_is_stopped(
    server: Server, get: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_download, "_MOST_BYTES", 200_000)
    assert refused(DataFileError, get).field == "size"
    server.heads = server.lengths = False
    assert refused(DataFileError, get).field == "size"


def test_a_disk_without_room_is_refused_before_the_first_byte(
    server: Server, get: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=302_009))
    error = refused(DataFileError, get)
    assert error.field == "free space" and server.gets == []
    assert not (tmp_path / "drivedb").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=302_010))
    get()


def test_a_disk_that_fills_up_ends_in_one_message(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "drivedb").mkdir()
    (tmp_path / "drivedb" / f".{BIG}.part").symlink_to("/dev/full")
    error = refused(DataFileError, get)
    assert "No space left" in error.found and "goes on where it stopped" in error.do
    assert not (tmp_path / "drivedb" / BIG).exists()


def test_a_file_in_place_of_the_folder_is_refused(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "drivedb").write_text("mine")
    refused(DataFileError, get)
    assert (tmp_path / "drivedb").read_text() == "mine" and server.requests == []


def test_a_folder_in_place_of_a_file_is_refused(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "drivedb" / BIG).mkdir(parents=True)
    refused(DataFileError, get)
    assert server.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_refused(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "drivedb").mkdir(mode=0o500)
    refused(DataFileError, get)
    assert server.requests == []


def test_a_folder_that_another_process_fills_is_refused(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "drivedb").mkdir()
    handle = os.open(tmp_path / "drivedb", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert refused(DataError, get).field == "lock"
    os.close(handle)
    get()


def test_a_twin_is_not_mixed_with_real_files(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    mark_twin(tmp_path / "drivedb", ["drive05"], effect=1.0, fingerprint=1.0, seed=0)
    refused(DataError, get)
    assert server.requests == []


def test_a_path_with_spaces_and_other_letters(
    server: Server, get: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "Émotions et données 数据" / "drivedb"
    lines = get(folder)
    assert content_of(folder) == server.contents
    assert f"DATA='{folder.parent}'" in lines[-1]


def test_a_copy_under_other_capitals_is_filled(
    server: Server, quick: Patience, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    (tmp_path / "DriveDB").mkdir()
    options = {"registry": server.registry, "patience": quick}
    assert fetch.fetch("drivedb", None, server.url, **options) == tmp_path / "DriveDB"
    assert content_of(tmp_path / "DriveDB") == server.contents
    assert _place.place("drivedb", tmp_path) == tmp_path / "DriveDB"


def test_where_a_set_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AFFECTBOOK_DATA", raising=False)
    monkeypatch.setattr(_place.files, "project_root", lambda: tmp_path)
    assert _place.place("eegmat") == tmp_path / "data" / "eegmat"
    assert _place.place("eegmat", tmp_path / "mine") == tmp_path / "mine"
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path / "all"))
    assert _place.place("eegmat") == tmp_path / "all" / "eegmat"
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path / "EEGMAT"))
    assert _place.place("eegmat") == tmp_path / "EEGMAT"
    assert _place.place("wesad") == tmp_path / "EEGMAT" / "wesad"
    flat = tmp_path / "flat"
    flat.mkdir()
    for end in ("hea", "dat"):
        (flat / f"drive05.{end}").touch()
    monkeypatch.setenv("AFFECTBOOK_DATA", str(flat))
    assert _place.place("drivedb") == flat
    assert _place.place("eegmat") == flat / "eegmat"


def test_a_licensed_set_is_not_fetched(tmp_path: Path) -> None:
    error = refused(DataError, lambda: fetch.fetch("wesad", tmp_path / "wesad"))
    assert error.field == "licence" and not (tmp_path / "wesad").exists()
    with pytest.raises(AffectbookError, match="eegmat"):
        fetch.fetch("eegmatt", tmp_path)


def test_a_real_file_comes_as_it_was_published(
    server: Server, quick: Patience, real: Callable[[str], Path], tmp_path: Path
) -> None:
    names = ("drive05.dat", "drive05.hea")
    server.contents = {name: (real("drivedb") / name).read_bytes() for name in names}
    server.cut_after = [100 * _download._CHUNK] * 3
    listed = {name: _published.sums("drivedb")[name] for name in names}
    options = {"registry": listed, "patience": quick, "echo": lambda _: None}
    folder = fetch.fetch("drivedb", tmp_path / "drivedb", server.url, **options)
    assert server.sent == sum(map(len, server.contents.values()))
    _published.check("drivedb", folder, folder.iterdir())
    trials = [recording.trial for recording in datasets.load("drivedb", folder)]
    assert len(trials) == 7


@pytest.fixture
def copied(server: Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return what eegmat is at the server, and let the book have sums of something else."""
    server.contents = {"Subject00_1.edf": b"theirs 1", "Subject00_2.edf": b"theirs 2"}
    ours = dict.fromkeys(server.contents, "0" * 64)
    monkeypatch.setattr(_published, "sums", lambda _: ours)
    return dict(server.contents)


def test_sums_of_a_copy_give_way_to_the_publishers_list(
    server: Server, quick: Patience, copied: dict[str, bytes], tmp_path: Path
) -> None:
    lines: list[str] = []
    list_ = "".join(f"{digest} {name}\n" for name, digest in server.registry.items())
    server.contents["SHA256SUMS.txt"] = list_.encode()
    told = {"patience": quick, "echo": lines.append}
    folder = fetch.fetch("eegmat", tmp_path / "eegmat", server.url, **told)
    assert content_of(folder) == server.contents
    assert any("2 of 2 files, 0 of them with the sums of this book" in line for line in lines)
    _published.check("eegmat", folder, folder.iterdir())
    server.requests.clear()
    fetch.fetch("eegmat", tmp_path / "eegmat", server.url, **told)
    assert server.requests == []


@pytest.mark.parametrize("list_", [None, b"<html>welcome</html>"])
def test_sums_of_a_copy_hold_where_the_publisher_has_no_list(
    list_: bytes | None, server: Server, quick: Patience, copied: dict[str, bytes], tmp_path: Path
) -> None:
    if list_:
        server.contents["SHA256SUMS.txt"] = list_
    call = {"patience": quick, "echo": lambda _: None}
    error = refused(
        DataFileError, lambda: fetch.fetch("eegmat", tmp_path / "eegmat", server.url, **call)
    )
    assert error.field == "sha256" and "copy" in error.expected
    assert not (tmp_path / "eegmat").exists()


LICENSED = tuple(name for name in datasets.names() if datasets.card(name).tier == "licensed")


@pytest.mark.parametrize("name", LICENSED)
def test_instructions_fit_a_screen_and_name_what_can_be_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    text = fetch.instructions(name)
    words = " ".join(text.split())
    assert len(text.splitlines()) <= 15
    card = datasets.card(name)
    for part in (card.licence, card.size, f"make check-data DATASET={name}"):
        assert part in words
    assert str(tmp_path / name) in words and f"AFFECTBOOK_ACCEPT_LICENCE={name}" in words
    assert ("mapping.toml" in words) == (name in ("mand", "mci"))
    assert "There" not in text


@pytest.mark.parametrize("name", datasets.names())
def test_the_command_that_is_named_is_one_that_a_chapter_takes(name: str, tmp_path: Path) -> None:
    _, run = _place.next_steps(name, tmp_path / name)
    words = dict(word.split("=", 1) for word in shlex.split(run) if "=" in word)
    assert words["DATA"] == str(tmp_path)
    paper, given = papers.get(words["PAPER"]), shlex.split(words["ARGS"])
    assert set(given[::3]) == {"-p"}
    chosen = paper.setting(
        params.parse(paper.Params, dict(zip(given[1::3], given[2::3], strict=True)))
    )
    assert datasets.card(chosen.dataset).name == name and chosen.tier == datasets.card(name).tier


def test_instructions_say_where_the_data_are_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECTBOOK_DATA", str(tmp_path))
    (tmp_path / "WESAD" / "S2").mkdir(parents=True)
    (tmp_path / "WESAD" / "S2" / "S2.pkl").touch()
    text = fetch.instructions("wesad")
    assert f"1 of 15 subjects are in {tmp_path / 'WESAD'}" in text
    assert "ARCHIVE=/path/to/WESAD.zip" in text
    assert "is open" in fetch.instructions("eegmat")
