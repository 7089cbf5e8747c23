"""The command line of the book: ``python -m affectbook.runs book | run | sweep | data ...``."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from affectbook import bookbuild, keeping, papers, params, running
from affectbook.errors import AffectbookError, ParameterError, RunError, shown
from affectbook.execute import NotebookFailed
from affectbook.files import project_root, sha256

_RESUMES = ("data", "sweep", "book", "run")


class Terminated(KeyboardInterrupt):
    """The system, or whoever manages this machine, asked the process to end."""


def _run(arguments: argparse.Namespace, root: Path) -> None:
    if arguments.help:
        module = papers.get(arguments.paper)
        print(params.help_text(module.TITLE, module.Params))
        print("A value none stands for what the scale says. The scales:")
        for name, scale in module.SCALES.items():
            print(textwrap.fill(f"  {name}: {scale.meaning}", 100, subsequent_indent="    "))
        print("Also: --parameters FILE.json (values by name), --force (repeat a finished run),\n"
              "      --timeout SECONDS (of a cell)")  # fmt: skip
        return
    given = _given(arguments)
    folder = running.run(
        arguments.paper, given, force=arguments.force, timeout=arguments.timeout
    )
    print(running.headline(folder))
    print(running.beside(folder, running.own_run(arguments.paper), html=False))
    for what, name in (
        ("Page:  ", "page.html"), ("Scores:", "scores.csv"), ("Made by:", "provenance.json")
    ):  # fmt: skip
        print(f"{what:<9}{_short(folder / name, root)}")


def _given(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the parameters of a command: those of a file, and over them those named."""
    told: dict[str, object] = {}
    if arguments.parameters is not None:
        try:
            text = arguments.parameters.read_text(encoding="utf-8")
            told = json.loads(text, object_pairs_hook=_once)
            if not isinstance(told, dict):
                raise ValueError("not a mapping of names to values")
        except (OSError, ValueError) as error:
            raise ParameterError(
                f"--parameters takes a JSON file of names and values; {arguments.parameters}: "
                f"{error}"
            ) from error
    return told | _once(arguments.p)


def _once(pairs: Sequence[Sequence]) -> dict[str, object]:
    """Return names and values, none of which may be given twice."""
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ParameterError(f"a parameter is given twice: {shown(twice[0])}")
    return dict(pairs)


def _do_sweep(arguments: argparse.Namespace, root: Path) -> None:
    # These load torch and the data sets, which nothing else here needs.
    from affectbook import records, sweeps

    only = _once(getattr(arguments, "p", ()))
    if arguments.command == "check-stale":
        _tell_stale(records.check())
        return
    if arguments.command == "sweep" and not arguments.name:
        known = ", ".join(getattr(papers.get(arguments.paper), "SWEEPS", {}))
        raise ParameterError(f"a sweep takes a grid, GRID=grid.yaml, or a record's name: {known}")
    _ask_for_cells(sweeps, arguments.paper, arguments.name, only)
    if arguments.command == "sweep":
        if arguments.scheduler is not None or arguments.threads is not None:
            raise ParameterError("--scheduler and --threads are for a grid (GRID=), not for SWEEP=")
        workers = 1 if arguments.workers is None else arguments.workers
        folder = sweeps.run(arguments.paper, arguments.name, only, workers=workers)
        print(f"Cells: {_short(folder, root)}")
    elif arguments.command == "confirm":
        print(records.confirm(arguments.paper, arguments.name, arguments.cells))
    else:
        folder, done, of = records.record(arguments.paper, arguments.name)
        print(f"Recorded {done} of {of} cells: {_short(folder, root)}")


def _do_grid(arguments: argparse.Namespace, root: Path) -> None:
    from affectbook import grids

    if arguments.p or arguments.name:
        raise ParameterError("a grid names all its parameters in its file: no -p, and no sweep")
    folder = grids.sweep_to_folder(
        arguments.paper, arguments.grid, workers=arguments.workers, scheduler=arguments.scheduler,
        threads=1 if arguments.threads is None else arguments.threads,
    )  # fmt: skip
    print(f"Sweep: {_short(folder, root)}")


def _ask_for_cells(sweeps: ModuleType, paper: str, name: str, only: dict[str, str]) -> None:
    """Ask for the licences of all cells before the first one starts."""
    cells = sweeps.chosen(paper, name, only)
    settings = (one for cell in cells for one in sweeps.settings_of(paper, cell))
    for dataset, tier in dict.fromkeys((one.dataset, one.tier) for one in settings):
        running.ask_licence(dataset, tier)


def _pretrain(arguments: argparse.Namespace, root: Path) -> None:
    """Make released weights again, and say whether they are those; without a name, list them."""
    paper, name = papers.get(arguments.paper), arguments.name
    if not hasattr(paper, "pretrain"):
        able = ", ".join(one for one in papers.names() if hasattr(papers.get(one), "pretrain"))
        raise ParameterError(f"{arguments.paper} has no weights that are pretrained: only {able}")
    if not name:
        print(paper.weights().to_string(index=False))
        return
    path = paper.pretrain(name)
    found, known = sha256(path), paper.RELEASED.get(name)
    print(f"Weights: {_short(path, root)}\nSHA-256: {found}")
    if found == known:
        print("These are the released weights, bit for bit.")
        return
    table = f"lib/affectbook/papers/_{arguments.paper}_released.py"
    print(f"Released: {known or 'none of this name'}")
    print(f"To use them, put this sum into {table}; scores of other weights have to be made again.")
    if known:
        print("To have the released ones back: git checkout results/weights. Runs refuse others.")


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
    from affectbook.obtain import weights

    if arguments.name.lower() in weights.PUBLISHED:
        _do_weights(arguments)
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


def _do_weights(arguments: argparse.Namespace) -> None:
    """Say where published weights come from, or whether those that are here are they."""
    from affectbook.obtain import weights

    name, given = arguments.name.lower(), vars(arguments)
    if any(given.get(option) for option in ("archive", "to", "root")):
        raise ParameterError(
            f"{name} is a file of weights, put where it belongs by hand: make data DATASET={name} "
            "says where; DATA=<folder> names another folder of all data"
        )
    check = arguments.command == "check-data"
    print(weights.check(name) if check else weights.instructions(name))


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


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m affectbook.runs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("book", help="execute what changed and render the book")
    one = commands.add_parser("run", help="run a paper with other parameters", add_help=False)
    _add_paper(one)
    one.add_argument("-h", "--help", action="store_true", help="list the paper's parameters")
    one.add_argument("--parameters", type=Path, help="a JSON file of names and values")
    one.add_argument("--force", action="store_true", help="repeat a run that has finished")
    one.add_argument("--timeout", type=int, help="seconds that a cell may take")
    many = commands.add_parser("sweep", help="many runs, or the recorded scores of a paper")
    _add_paper(many)
    many.add_argument("name", nargs="?", default="", help="a key of its SWEEPS")
    many.add_argument("--grid", type=Path, help="a YAML file: parameter to list of values")
    many.add_argument("--workers", type=int, help="processes at a time")
    many.add_argument("--threads", type=int, help="threads of each run of a grid, 1 unless given")
    many.add_argument("--scheduler", help="address of a Dask scheduler, for a grid")
    for name, what in (
        ("record-sweep", "keep the finished cells of a sweep"),
        ("confirm", "make some cells of a record again with today's code"),
    ):
        keep = commands.add_parser(name, help=what)
        keep.add_argument("paper", help="a module of affectbook.papers")
        keep.add_argument("name", help="a key of its SWEEPS")
        keep.add_argument("--cells", type=int, default=1, help="of each analysis")
    keep = commands.add_parser("record", help="keep the scores of a run in the repository")
    keep.add_argument("run", type=Path, help="the folder of the run")
    keep.add_argument("name", help="the name to keep it under")
    encoder = commands.add_parser("pretrain", help="make the released weights of a paper again")
    encoder.add_argument("paper", nargs="?", default="", help="a module of affectbook.papers")
    encoder.add_argument("name", nargs="?", default="", help="of the weights; none: list them")
    commands.add_parser("check-stale", help="say which recorded scores are older than their code")
    _add_data(commands)
    return parser.parse_args(argv)


def _add_paper(command: argparse.ArgumentParser) -> None:
    command.add_argument("paper", nargs="?", default="", help="a module of affectbook.papers")
    command.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))


def _add_data(commands: argparse._SubParsersAction) -> None:
    get = commands.add_parser("data", help="get a data set; without a name, list them")
    get.add_argument("name", nargs="?", default="", help="a module of affectbook.datasets")
    get.add_argument("--archive", type=Path, help="the publisher's zip, got by hand")
    get.add_argument("--to", type=Path, help="the folder for its files")
    look = commands.add_parser("check-data", help="say whether a data set is complete")
    look.add_argument("name", nargs="?", default="", help="a module of affectbook.datasets")
    look.add_argument("--root", type=Path, help="the folder that holds it")


def _do(arguments: argparse.Namespace) -> None:
    root = project_root()
    if arguments.command == "book":
        print(f"The book: {_short(bookbuild.build(root), root)}")
    elif arguments.command == "sweep" and arguments.grid is not None:
        _do_grid(arguments, root)
    elif arguments.command in ("sweep", "record-sweep", "confirm", "check-stale"):
        _do_sweep(arguments, root)
    elif arguments.command in ("data", "check-data"):
        _do_data(arguments)
    elif arguments.command == "pretrain":
        _pretrain(arguments, root)
    elif arguments.command == "record":
        print(f"Recorded: {_short(keeping.record_run(arguments.run, arguments.name), root)}")
    else:
        _run(arguments, root)


def _terminated(*_: object) -> None:
    raise Terminated


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 1 if a notebook failed, 2 for bad input.

    130 if it was interrupted, 143 if it was asked to end.
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
    except KeyboardInterrupt as end:
        # What the kernel was asked last is never answered, and would be reported with a traceback.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        resumes = "; the same command goes on where it was" * (arguments.command in _RESUMES)
        print(f"Interrupted{resumes}.", file=sys.stderr)
        return 143 if isinstance(end, Terminated) else 130
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(main())
