"""One run of a paper's notebook: checked, locked, resumed where it was killed, traceable."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from affectbook import (
    attempt,
    locks,
    notebook,
    papers,
    params,
    progress,
    provenance,
    runpage,
    sealed,
)
from affectbook.closure import closure, code_hash, digest
from affectbook.errors import AffectbookError, CacheError, ParameterError, RunError
from affectbook.files import project_root, write_text
from affectbook.pools import EXPECTED, FILES

RESULTS = ("scores.csv", "predictions.csv")
# A page holds its figures; with notebook and folds a run of a chapter takes about 40 MB.
ROOM = 100_000_000
# What only draws, renders, asks or keeps does not decide a score.
_DRAWINGS = sorted(Path(__file__).with_name("chapters").glob("[a-z]*.py"))
_NOT_COMPUTING = tuple(
    f"affectbook.{name}"
    for name in (
        "ablations", "again", "attempt", "bookbuild", "chapters", "claims", "compare",
        "confirming", "datasets._licence", "efficiency", "estimate", "execute", "figures",
        "folds", "grid_figures", "grids", "keeping", "locks", "pages", "pools", "progress",
        "provenance", "records", "running", "runpage", "runs", "sealed", "staleness", "summary",
        "sweeps", "wearable",
        *(f"chapters.{path.stem}" for path in _DRAWINGS),
    )
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """A run that could be started: everything that can be known before, checked.

    Attributes
    ----------
    paper : str
    parameters, setting : dict
        All parameters, and what they resolve to over the scale's preset.
    data : str or None
        Hash of real data; a twin is decided by parameters and code.
    key : str
        12 hexadecimal digits that stand for parameters, computing code and real data.
    folder : pathlib.Path
        Where the finished run lies.
    code : tuple of pathlib.Path
        The files that decide its scores.
    """

    paper: str
    parameters: dict[str, object]
    setting: dict[str, object]
    data: str | None
    key: str
    folder: Path
    code: tuple[Path, ...]

    @property
    def unfinished(self) -> Path:
        """Where it is made: no run until it has its name."""
        return self.folder.with_name(f".unfinished-{self.key}")

    @property
    def source(self) -> Path:
        """The notebook."""
        return project_root() / "notebooks" / f"{self.paper}.ipynb"


def plan(paper: str, given: Mapping[str, object]) -> Plan:
    """Check a run without starting anything.

    Parameters
    ----------
    paper
        A module of ``affectbook.papers``.
    given
        Parameters by name; text is read as the type of its parameter. The others keep their
        defaults.

    Raises
    ------
    ParameterError, DataNotFoundError, LicenceError
        If a parameter is wrong, real data are not there, or their licence was not accepted.
    """
    root, module = project_root(), papers.get(paper)
    parsed = params.parse(module.Params, given)
    setting = module.setting(parsed)
    data, code = _data_hash(setting), computing_code(root, paper)
    # None stands for what the scale says, and is the same run as that value by name.
    told = {name: getattr(setting, name, None) if value is None else value
            for name, value in asdict(parsed).items()}  # fmt: skip
    key = run_key(root, told, code, data)
    folder = root / "build" / "runs" / paper / key
    return Plan(paper, asdict(parsed), asdict(setting), data, key, folder, tuple(code))


def run(
    paper: str, given: Mapping[str, object], *, force: bool = False, timeout: int | None = None
) -> Path:
    """Run a paper's notebook with other parameters and return the folder of the run.

    A run with the same parameters, data, computing code and notebook code that finished before
    is not repeated; one that was interrupted goes on at the fold it was in; one that another
    process is making is waited for.

    Parameters
    ----------
    paper, given
        As `plan` takes them.
    force
        Run again from the start even if the same run has finished.
    timeout
        Seconds that a cell may take; None: as long as it needs.

    Raises
    ------
    ParameterError, DataNotFoundError, LicenceError
        Before anything is started: see `plan`.
    RunError
        If code, notebook or data were changed while it was made: its scores may be of either.
    CacheError
        If the folder of the run cannot be written, or its disk is too full.
    NotebookFailed
        If a cell fails, takes too long, or the kernel dies; finished folds are kept.
    """
    if timeout is not None and timeout < 1:
        raise ParameterError(f"--timeout takes 1 second or more, not {timeout}")
    planned = plan(paper, given)
    # Of whoever started this process: code or data of a worker may differ.
    if (expected := os.environ.get(EXPECTED, planned.key)) != planned.key:
        raise RunError(f"expected run {expected}, found {planned.key}")
    _require_room(planned.folder.parent)
    lock = planned.folder.with_name(f".{planned.key}.lock")
    with locks.alone(lock, f"run {planned.key}"):
        if not force and _finished(planned):
            attempt.tidy(planned.folder)
            print("This run has finished before; --force repeats it.")
            _write_page(planned.folder, paper)  # the book's own run may be another one now
            return planned.folder
        print(f"Running {paper}, run {planned.key} ...", flush=True)
        _make(planned, timeout, force)
    return planned.folder


def _make(planned: Plan, timeout: int | None, force: bool) -> None:
    """Execute the notebook, write what belongs to a run beside it, and give the folder its name."""
    target, code = planned.unfinished, _require_planned(planned)
    cells = notebook.code_hash(notebook.read(planned.source))
    failed = project_root() / "build" / "failed" / f"{planned.paper}-{planned.key}.ipynb"
    with attempt.attempt(target, planned.key, forced=force) as made:
        write_text(target / "parameters.json", json.dumps(planned.parameters, indent=1) + "\n")
        made.execute(planned.source, target / "notebook.ipynb", failed,
                                planned.parameters, timeout)  # fmt: skip
        _require_unchanged(planned, cells, code)
        require_results(target, planned.source)
        found = {"paper": planned.paper, "run_key": planned.key, "setting": planned.setting}
        root = project_root()
        write_provenance(root, target, planned.source, planned.parameters, planned.code, made,
                         found)  # fmt: skip
        _write_page(target, planned.paper)
        failed.unlink(missing_ok=True)
        attempt.finish(target, planned.folder)


def _require_planned(planned: Plan) -> dict[Path, str]:
    """Return what each file of a run does; refuse one that has been changed since it was planned.

    It may have waited for another process for long.
    """
    if plan(planned.paper, planned.parameters).key != planned.key:
        raise _changed(planned)
    return {path: code_hash(path) for path in planned.code}


def _require_unchanged(planned: Plan, cells: str, code: Mapping[Path, str]) -> None:
    """Refuse scores of which nobody can tell what made them: a kernel imports some code late.

    Comments may have been changed.
    """
    try:
        now = plan(planned.paper, planned.parameters)
        same = now.key == planned.key or (
            now.data == planned.data and {path: code_hash(path) for path in now.code} == code
        )
        if same and notebook.code_hash(notebook.read(planned.source)) == cells:
            return
    except (AffectbookError, OSError, SyntaxError, ValueError):
        pass
    # Under this key its folds would be taken up if the change is taken back.
    shutil.rmtree(planned.unfinished / progress.FOLDS, ignore_errors=True)
    raise _changed(planned)


def _changed(planned: Plan) -> RunError:
    return RunError(
        f"code, notebook or data were changed while run {planned.key} waited or was made: nobody "
        "could tell which of them its scores are of. Run it again; to work on meanwhile, take a "
        "second checkout (git worktree add)"
    )


def _write_page(folder: Path, paper: str) -> None:
    more = beside(folder, own_run(paper))
    runpage.write(folder / "notebook.ipynb", folder / "page.html", more)


def beside(run_folder: Path, own: Path, *, html: bool = True) -> str:
    """Return a run beside the book's own one, or that there is none."""
    if not own.is_dir():
        told = "The book's own run, to hold this one against, is not here: make book makes it."
        return f"<p>{told}</p>" if html else told
    from affectbook import compare

    return compare.html(run_folder, own) if html else compare.text(run_folder, own)


def own_run(paper: str) -> Path:
    """Return where the book's own run of a paper lies, once the book is built."""
    return project_root() / "build" / "executed" / "runs" / paper


def write_provenance(
    root: Path, folder: Path, source: Path, parameters: Mapping[str, object], code: Sequence[Path],
    made: attempt.Attempt, more: Mapping[str, object],
) -> None:  # fmt: skip
    """Write all that is needed to trace a run and to make it again beside its scores."""
    data = folder / "data.json"
    told = {
        **more,
        "notebook": notebook.code_hash(notebook.read(source)),
        "data": json.loads(data.read_text(encoding="utf-8")) if data.is_file() else None,
        **provenance.collect(root, parameters, code, made.seconds),
        **made.usage(),
    }
    data.unlink(missing_ok=True)
    sealed.seal(folder, told)


def run_key(
    root: Path, parameters: Mapping[str, object], code: Sequence[Path], data: str | None = None
) -> str:
    """Return 12 hexadecimal digits that stand for parameters, computing code and real data."""
    text = json.dumps([parameters, data, digest(code, root)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def computing_code(root: Path, paper: str) -> list[Path]:
    """Return the files that decide the scores of a paper's notebook: not figures, not pages."""
    code = notebook.code(notebook.read(root / "notebooks" / f"{paper}.ipynb"))
    start = f"{code}\nimport affectbook.papers.{paper}"
    return closure(start, root / "lib", leave_out=_NOT_COMPUTING)


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


def require_results(folder: Path, source: Path) -> None:
    """Refuse a notebook that ran, but kept no scores.

    Raises
    ------
    RunError
        If a table is missing.
    """
    missing = [name for name in RESULTS if not (folder / name).is_file()]
    if missing:
        raise RunError(f"{source.name} ran, but wrote no {' and no '.join(missing)}")


def _data_hash(setting: object) -> str | None:
    if getattr(setting, "tier", "simulated") == "simulated":
        return None
    from affectbook import datasets

    ask_licence(setting.dataset, setting.tier)
    folder = datasets.prepare(setting.dataset, setting.tier)
    chosen = datasets.subjects(setting.dataset, folder)[: setting.subjects]
    return datasets.content_hash(setting.dataset, folder, chosen)


def _finished(planned: Plan) -> bool:
    try:
        told = json.loads((planned.folder / "provenance.json").read_text(encoding="utf-8"))
        if not all((planned.folder / name).is_file() for name in FILES):
            return False
        return told["notebook"] == notebook.code_hash(notebook.read(planned.source))
    except (OSError, ValueError, KeyError, TypeError):
        return False  # it is made again, which puts right what was damaged


def _require_room(folder: Path) -> None:
    """Refuse before anything is trained what could not be kept afterwards."""
    base = next(path for path in (folder, *folder.parents) if path.is_dir())
    said = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        said = error.strerror or type(error).__name__
    free = shutil.disk_usage(base).free
    if said is None and free < ROOM:
        said = "too little room"
    if said is not None:
        raise CacheError(
            "the results of a run could not be kept",
            file=folder,
            field="the folder of runs",
            found=f"{said}; {free / 1e6:,.0f} MB are free",
            expected=f"a folder that may be written, with {ROOM / 1e6:,.0f} MB of room",
            do="free the disk or change the permissions, then run again; build may be a link to a "
            "folder on another disk",
        )
