"""The command line of the book: ``python -m affectbook.runs book | run | sweep | data ...``."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from affectbook import bookbuild, notebook, papers, params, provenance, runpage
from affectbook.closure import closure, digest
from affectbook.errors import AffectbookError, ParameterError, RunError
from affectbook.execute import NotebookFailed, execute
from affectbook.files import project_root, write_text

RESULTS = ("scores.csv", "predictions.csv")
_RESUMES = ("data", "sweep", "book")
# What only draws, renders or asks does not decide a score.
_NOT_COMPUTING = tuple(
    f"affectbook.{name}"
    for name in (
        "ablations", "bookbuild", "chapters", "chapters.hcmnet", "chapters.shared", "claims",
        "datasets._licence", "efficiency", "figures", "pages", "provenance", "runpage", "runs",
        "summary", "wearable",
    )
)  # fmt: skip


def run(paper: str, given: dict[str, str], *, force: bool = False) -> Path:
    """Run a paper's notebook with other parameters and return the folder of the run.

    A run with the same parameters, data, computing code and notebook code that finished before
    is not repeated.

    Parameters
    ----------
    paper
        A module of ``affectbook.papers``.
    given
        Parameters by name, as text; the others keep their defaults.
    force
        Run again even if the same run has finished.

    Raises
    ------
    ParameterError, DataNotFoundError, LicenceError
        Before anything is started, if a parameter is wrong, real data are not there, or their
        licence was not accepted.
    NotebookFailed
        If a cell fails; nothing is left among the runs.
    """
    root = project_root()
    parameters, data = _checked(paper, given)
    source = root / "notebooks" / f"{paper}.ipynb"
    code = computing_code(root, paper)
    key = run_key(root, parameters, code, data)
    folder = root / "build" / "runs" / paper / key
    if not force and _finished(folder, source):
        print("This run has finished before; --force repeats it.")
        return folder
    print(f"Running {paper}, run {key} ...", flush=True)
    with _Unfinished(folder, key) as unfinished:
        started = time.monotonic()
        failed = root / "build" / "failed" / f"{paper}-{key}.ipynb"
        executed = execute(source, unfinished / "notebook.ipynb", failed, parameters)
        _require_results(unfinished, source)
        seconds = time.monotonic() - started
        found = {
            "paper": paper,
            "run_key": key,
            "notebook": notebook.code_hash(notebook.read(source)),
            "data": _data(unfinished),
        } | provenance.collect(root, parameters, code, seconds)
        write_text(unfinished / "provenance.json", json.dumps(found, indent=1) + "\n")
        runpage.write(executed, unfinished / "page.html")
    return folder


def run_key(
    root: Path, parameters: dict[str, object], code: Sequence[Path], data: str | None = None
) -> str:
    """Return 12 hexadecimal digits that stand for parameters, computing code and real data."""
    text = json.dumps([parameters, data, digest(code, root)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def computing_code(root: Path, paper: str) -> list[Path]:
    """Return the files that decide the scores of a paper's notebook: not figures, not pages."""
    code = notebook.code(notebook.read(root / "notebooks" / f"{paper}.ipynb"))
    start = f"{code}\nimport affectbook.papers.{paper}"
    return closure(start, root / "lib", leave_out=_NOT_COMPUTING)


def record(run_folder: Path, name: str) -> Path:
    """Keep the scores, predictions and provenance of a run under ``results/recorded/<name>``.

    Raises
    ------
    RunError
        If the run has not finished, or `name` is no plain name.
    """
    files = (*RESULTS, "provenance.json")
    missing = [file for file in files if not (run_folder / file).is_file()]
    if missing:
        raise RunError(f"no finished run in {run_folder}: {', '.join(missing)} not found")
    if not name.replace("_", "").replace("-", "").isalnum():
        raise RunError(f"a record's name has letters, digits, - and _ only, found {name!r}")
    target = project_root() / "results" / "recorded" / name
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(run_folder / file, target / file)
    return target


def headline(folder: Path, metric: str = "balanced_accuracy") -> str:
    """Return one line per evaluation of a run: on what, under which protocol, what, how well."""
    import pandas as pd

    from affectbook import results

    rows = results.read_rows(folder / "scores.csv")
    by = ["dataset", "tier", "protocol", "placebo", "estimator", "variant"]
    scores = [
        (*key, len({*part["subject"]} - {"all"}), results.overall(part, metric))
        for key, part in rows.groupby(by, sort=False)
    ]
    table = pd.DataFrame(scores, columns=[*by, "subjects", metric])
    return table.to_string(index=False, float_format="{:.3f}".format)


class _Unfinished:
    """A folder that becomes `folder` when all went well, and nothing otherwise."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.path = folder, folder.with_name(f".running-{key}")
        self.environment = {"AFFECTBOOK_RUN_DIR": str(self.path), "AFFECTBOOK_RUN_KEY": key}

    def __enter__(self) -> Path:
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        os.environ.update(self.environment)
        return self.path

    def __exit__(self, kind: type | None, *_: object) -> None:
        for name in self.environment:
            os.environ.pop(name, None)
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.path.replace(self.folder)
        shutil.rmtree(self.path, ignore_errors=True)


def _checked(paper: str, given: dict[str, str]) -> tuple[dict[str, object], str | None]:
    """Return the resolved parameters and the hash of the data, checked before anything starts."""
    module = papers.get(paper)
    parsed = params.parse(module.Params, given)
    return asdict(parsed), _data_hash(module.setting(parsed))


def _data_hash(setting: object) -> str | None:
    """Return the hash of real data; a twin is decided by parameters and code."""
    if getattr(setting, "tier", "simulated") == "simulated":
        return None
    from affectbook import datasets

    ask_licence(setting.dataset, setting.tier)
    folder = datasets.prepare(setting.dataset, setting.tier)
    chosen = datasets.subjects(setting.dataset, folder)[: setting.subjects]
    return datasets.content_hash(setting.dataset, folder, chosen)


def ask_licence(dataset: str, tier: str) -> None:
    """Ask for what `datasets.prepare` refuses without: here there may be a terminal.

    Raises
    ------
    LicenceError
        If the licence of licensed data was not accepted.
    """
    if tier != "licensed":
        return
    from affectbook import datasets
    from affectbook.obtain import licence

    datasets.check_tier(dataset, tier)
    name = datasets.card(dataset).name
    licence.ask(name, datasets.find_root(name))


def _finished(folder: Path, source: Path) -> bool:
    kept = folder / "provenance.json"
    return kept.is_file() and json.loads(kept.read_text())["notebook"] == notebook.code_hash(
        notebook.read(source)
    )


def _require_results(folder: Path, source: Path) -> None:
    missing = [name for name in RESULTS if not (folder / name).is_file()]
    if missing:
        raise RunError(f"{source.name} ran, but wrote no {' and no '.join(missing)}")


def _data(folder: Path) -> object:
    path = folder / "data.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m affectbook.runs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("book", help="execute what changed and render the book")
    one = commands.add_parser("run", help="run a paper with other parameters")
    one.add_argument("paper", nargs="?", default="", help="a module of affectbook.papers")
    one.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    one.add_argument("--force", action="store_true", help="repeat a run that has finished")
    many = commands.add_parser("sweep", help="make the recorded scores of a paper, cell by cell")
    many.add_argument("paper", nargs="?", default="", help="a module of affectbook.papers")
    many.add_argument("name", nargs="?", default="", help="a key of its SWEEPS")
    many.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    many.add_argument("--workers", type=int, default=1, help="processes, one thread each")
    keep = commands.add_parser("record", help="keep the scores of a run in the repository")
    keep.add_argument("run", help="the folder of the run")
    keep.add_argument("name", help="the name to keep it under")
    keep = commands.add_parser("record-sweep", help="keep the finished cells of a sweep")
    keep.add_argument("paper", help="a module of affectbook.papers")
    keep.add_argument("name", help="a key of its SWEEPS")
    commands.add_parser("check-stale", help="say which recorded scores are older than their code")
    get = commands.add_parser("data", help="get a data set; without a name, list them")
    get.add_argument("name", nargs="?", default="", help="a module of affectbook.datasets")
    get.add_argument("--archive", type=Path, help="the publisher's zip, got by hand")
    get.add_argument("--to", type=Path, help="the folder for its files")
    look = commands.add_parser("check-data", help="say whether a data set is complete")
    look.add_argument("name", nargs="?", default="", help="a module of affectbook.datasets")
    look.add_argument("--root", type=Path, help="the folder that holds it")
    return parser.parse_args(argv)


def _do(arguments: argparse.Namespace) -> None:
    root = project_root()
    if arguments.command == "book":
        print(f"The book: {_short(bookbuild.build(root), root)}")
    elif arguments.command in ("sweep", "record-sweep", "check-stale"):
        _do_sweep(arguments, root)
    elif arguments.command in ("data", "check-data"):
        _do_data(arguments)
    elif arguments.command == "record":
        print(f"Recorded: {_short(record(Path(arguments.run), arguments.name), root)}")
    else:
        folder = run(arguments.paper, dict(arguments.p), force=arguments.force)
        print(headline(folder))
        print(f"Page:   {_short(folder / 'page.html', root)}")
        print(f"Scores: {_short(folder / 'scores.csv', root)}")


def _do_sweep(arguments: argparse.Namespace, root: Path) -> None:
    # These load torch and the data sets, which nothing else here needs.
    from affectbook import records, sweeps

    if arguments.command != "check-stale":
        only = dict(getattr(arguments, "p", ()))
        _ask_for_cells(sweeps, arguments.paper, arguments.name, only)
    if arguments.command == "sweep":
        folder = sweeps.run(arguments.paper, arguments.name, only, workers=arguments.workers)
        print(f"Cells: {_short(folder, root)}")
    elif arguments.command == "record-sweep":
        folder, done, of = records.record(arguments.paper, arguments.name)
        print(f"Recorded {done} of {of} cells: {_short(folder, root)}")
    else:
        _tell_stale(records.check())


def _ask_for_cells(sweeps: ModuleType, paper: str, name: str, only: dict[str, str]) -> None:
    """Ask for the licences of all cells before the first one starts."""
    cells = sweeps.chosen(paper, name, only)
    settings = (one for cell in cells for one in sweeps.settings_of(paper, cell))
    for dataset, tier in dict.fromkeys((one.dataset, one.tier) for one in settings):
        ask_licence(dataset, tier)


def _do_data(arguments: argparse.Namespace) -> None:
    from affectbook import datasets

    if not arguments.name:
        print("name      tier      here  size")
        for name in datasets.names():
            card = datasets.card(name)
            size = f"size {card.size}" if card.size.startswith("not found") else card.size
            print(f"{name:<8}  {card.tier:<8}  {_is_here(name):<4}  {size}")
        if arguments.command == "check-data":
            raise ParameterError(
                "check-data takes the name of a data set: make check-data DATASET=wesad"
            )
        return
    name = datasets.card(arguments.name.lower()).name
    if arguments.command == "check-data":
        from affectbook.obtain import check

        print(check.check(name, arguments.root))
        return
    from affectbook.obtain import archives, fetch

    if arguments.archive:
        archives.for_dataset(name, arguments.archive, arguments.to)
    elif datasets.card(name).tier == "open":
        fetch.fetch(name, arguments.to)
    else:
        print(fetch.instructions(name))


def _is_here(name: str) -> str:
    from affectbook import datasets

    try:
        return "yes" if datasets.find_root(name) else ""
    except AffectbookError:
        return "no"


def _tell_stale(found: dict[str, list[str]]) -> None:
    """Print one line per record; stop with an error if one is stale."""
    for name, changed in found.items():
        print(f"{name}: {'stale: ' + ', '.join(changed) if changed else 'as its code makes it'}")
    old = [name for name, changed in found.items() if changed]
    if old:
        raise RunError(f"{len(old)} of {len(found)} records are stale: make them again")


def _short(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 1 if a notebook failed, 2 for bad input.

    130 if it was interrupted.
    """
    arguments = _arguments(argv)
    try:
        _do(arguments)
    except (bookbuild.BookFailed, NotebookFailed) as failure:
        print(failure, file=sys.stderr)
        return 2 if getattr(failure, "expected", False) else 1
    except AffectbookError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # What the kernel was asked last is never answered, and would be reported with a traceback.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        resumes = "; the same command goes on where it was" * (arguments.command in _RESUMES)
        print(f"Interrupted{resumes}.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
