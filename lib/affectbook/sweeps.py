"""Sweeps: many evaluations of one paper, each kept as soon as it is done, recorded together."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from functools import lru_cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import pandas as pd

from affectbook import attempt, locks, papers, params, progress, provenance, results
from affectbook.analyses import ANALYSES
from affectbook.closure import closure, code_hash
from affectbook.errors import ParameterError, RunError
from affectbook.experiments import Data, Experiment, Setting, checked, load, told
from affectbook.files import build_dir, project_root, sha256, write_text
from affectbook.scales import Cell

TABLES = ("scores.csv", "predictions.csv", "histories.csv")
# The code that decides a score: what these analyses start from, and whatever that imports, ...
_COMPUTING = {
    "network": ("experiments", "models.network", "models.scaling"),
    "references": ("experiments", "models.network", "models.reference", "models.small_cnn"),
    "personalisation": ("experiments", "models.network", "models.scaling", "personalise"),
    "probe": ("experiments", "models.network", "models.scaling", "probes"),
    "transfer": ("experiments", "models.network", "models.reference", "models.small_cnn",
                 "transfer"),
    "pretext": ("experiments", "models.network", "models.scaling", "pretext_scores"),
    "subject_probe": ("experiments", "models.network", "models.scaling", "pretext_scores"),
    "layers": ("experiments", "models.network", "models.scaling", "layer_probes"),
    "gates": ("experiments", "models.network", "models.scaling", "gate_scores"),
    "overlap": ("experiments", "models.network", "models.scaling", "overlap_scores"),
    "noise": ("experiments", "models.network", "models.reference", "models.small_cnn",
              "models.scaling", "noise_scores"),
    "periods": ("experiments", "chosen_periods", "models.periods", "models.eeg_scaling"),
}  # fmt: skip
# ... but for what decides nothing, and for what makes the windows: their content is hashed itself.
_NOT_COMPUTING = tuple(
    f"affectbook.{name}"
    for name in (
        "datasets", "errors", "files", "folds", "progress", "results", "scales", "simulate",
        "windows",
    )
)


def run(paper: str, name: str, only: Mapping[str, str] | None = None, *, workers: int = 1) -> Path:
    """Evaluate the cells of a sweep that are not done yet; return the folder of all of them.

    A cell is kept when it is finished, whole or not at all, and is not repeated unless its
    parameters, its data or the code that computes it have changed.

    Parameters
    ----------
    paper, name
        A module of ``affectbook.papers`` and a key of its ``SWEEPS``.
    only
        Parameters that restrict the sweep to the cells that have these values, as text.
    workers
        Processes; each uses one thread.

    Raises
    ------
    ParameterError
        If there is no such sweep, no cell has these values, or there is no worker.
    DataNotFoundError
        If real data are not there.
    RunError
        If a worker died; what is finished is kept.
    """
    if workers < 1:
        raise ParameterError(f"a sweep needs 1 worker or more, not {workers}")
    todo = chosen(paper, name, only or {})
    folder = folder_of(paper, name)
    keys = [key(paper, cell) for cell in todo]
    print(f"Sweep {name} of {paper}: {len(todo)} cells, {workers} process(es)", flush=True)
    missing = []
    for cell, own in zip(todo, keys, strict=True):
        if (folder / own).is_dir():
            attempt.tidy(folder / own)
        else:
            missing.append((cell, folder / own))
    print(f"{len(todo) - len(missing)} done before", flush=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    started = time.monotonic()
    for i, (cell, seconds) in enumerate(_evaluated(paper, missing, workers), 1):
        left = (time.monotonic() - started) / i * (len(missing) - i)
        print(f"[{i}/{len(missing)}] {cell}: {seconds:.0f} s; about {left / 60:.0f} min left",
              flush=True)  # fmt: skip
    return folder


def folder_of(paper: str, name: str) -> Path:
    """Return the folder that holds the finished cells of a sweep, one folder each."""
    return build_dir("sweeps", paper, name)


def _evaluated(
    paper: str, missing: Sequence[tuple[Cell, Path]], workers: int
) -> Iterator[tuple[Cell, float]]:
    """Yield each cell when it is done, with the seconds it took."""
    # Spawned processes read the number of threads; this one has loaded its libraries already.
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=stop_with_parent) as pool:
        running = {pool.submit(evaluate, paper, *one): one[0] for one in missing}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BaseException as error:
            # Else this process would wait at its end for the cells that have begun: hours.
            begun = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in begun if isinstance(error, KeyboardInterrupt) else ():
                worker.terminate()
            if isinstance(error, BrokenProcessPool):
                raise RunError(
                    "a worker of the sweep died; most often the system ends a process that takes "
                    "more memory than there is: take fewer workers. What is finished is kept: the "
                    "same command goes on at its folds"
                ) from error
            raise


def stop_with_parent() -> None:
    """End this process when the one that started it is gone, in whatever way it ended."""
    # Else an interrupt, which a terminal sends to all processes, ends in a traceback of each.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def watch() -> None:
        parent_process().join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def evaluate(paper: str, cell: Cell, folder: Path) -> float:
    """Evaluate one cell into a folder of its own; return the seconds it took.

    Folds that were finished before the cell was interrupted are not trained again, nor is a cell
    that another process has made meanwhile.
    """
    started = time.monotonic()
    unfinished = folder.with_name(f".unfinished-{folder.name}")
    lock = folder.with_name(f".{folder.name}.lock")
    with locks.alone(lock, f"cell {folder.name}") as waited, attempt.one_message(folder):
        if waited and folder.is_dir():
            return time.monotonic() - started
        unfinished.mkdir(exist_ok=True)
        attempt.clear(unfinished)
        os.environ |= {"AFFECTBOOK_RUN_KEY": folder.name, progress.DIR: str(unfinished)}
        try:
            setting = setting_of(paper, cell)
            experiment = Experiment(setting, load(setting))
            ANALYSES[cell.analysis](papers.get(paper), experiment, **cell.options)
        finally:
            del os.environ[progress.DIR]
            if not (unfinished / progress.FOLDS).is_dir():
                shutil.rmtree(unfinished)
        seconds = time.monotonic() - started
        unfinished.mkdir(exist_ok=True)
        _write_cell(unfinished, paper, cell, experiment, folder.name, seconds)
        attempt.finish(unfinished, folder)
    return seconds


def _write_cell(
    target: Path, paper: str, cell: Cell, experiment: Experiment, own: str, seconds: float
) -> None:
    """Write tables and provenance of a finished cell."""
    for table, frames in zip(
        TABLES, (experiment.rows, experiment.predictions, experiment.histories), strict=True
    ):
        if frames:
            results.write_rows(pd.concat(frames, ignore_index=True), target / table)
    data = {
        "dataset": experiment.setting.dataset,
        "tier": experiment.setting.tier,
        "sha256": experiment.data.content_hash(),
        "windows": list(experiment.data.X.shape),
    }
    root = project_root()
    made = provenance.collect(
        root, told(experiment.setting), computing_code(root, paper, cell), seconds
    )
    head = {"key": own, "analysis": cell.analysis, "options": dict(cell.options)}
    head |= {"files": {table: sha256(target / table) for table in TABLES
                       if (target / table).is_file()}}  # fmt: skip
    write_text(target / "made.json", json.dumps(head | {"data": data} | made, indent=1) + "\n")


def chosen(paper: str, name: str, only: Mapping[str, str]) -> list[Cell]:
    """Return the cells of a sweep that have these values."""
    module = papers.get(paper)
    sweeps = getattr(module, "SWEEPS", {})
    if name not in sweeps:
        raise ParameterError(f"{paper} has no sweep {name!r}; it has {', '.join(sweeps) or 'none'}")
    values = asdict(params.parse(module.Params, only))
    found = [
        cell
        for cell in sweeps[name]
        if all(asdict(module.Params(**cell.parameters))[key] == values[key] for key in only)
    ]
    if not found:
        wanted = ", ".join(f"{key} {value}" for key, value in only.items())
        there = "; ".join(
            f"{key}: {', '.join(dict.fromkeys(_spelt(paper, cell, key) for cell in sweeps[name]))}"
            for key in only
        )
        raise ParameterError(f"no cell of the sweep {name} has {wanted}; there are {there}")
    return found


def _spelt(paper: str, cell: Cell, key: str) -> str:
    return str(getattr(papers.get(paper).Params(**cell.parameters), key))


def key(paper: str, cell: Cell) -> str:
    """Return 12 hexadecimal digits for the parameters, windows and code of a cell."""
    root = project_root()
    files = computing_code(root, paper, cell)
    return key_under(
        paper, cell, {path.relative_to(root).as_posix(): code_hash(path) for path in files}
    )


def key_under(paper: str, cell: Cell, code: Mapping[str, str]) -> str:
    """Return `key` of a cell as it would be if its code had these hashes.

    A record whose keys come out so differs from today's in its code alone.

    Parameters
    ----------
    code
        Hashes by file name, as a record keeps them.

    Raises
    ------
    DataNotFoundError, LicenceError
        If its windows cannot be made here.
    """
    setting = setting_of(paper, cell)
    known = [cell.analysis, told(setting), dict(cell.options), _resolved(paper, setting)]
    settings = settings_of(paper, cell)
    windows = [_loaded(_windows_of(one)).content_hash() for one in settings]
    text = json.dumps([*known, *windows, dict(code)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def setting_of(paper: str, cell: Cell) -> Setting:
    """Return the resolved setting of a cell."""
    module = papers.get(paper)
    return module.setting(module.Params(**cell.parameters))


def settings_of(paper: str, cell: Cell) -> list[Setting]:
    """Return the settings of all windows that a cell uses: its own, and those it tests on."""
    setting, other = setting_of(paper, cell), cell.options.get("to")
    return [setting] if other is None else [setting, checked(replace(setting, **other))]


def _windows_of(setting: Setting) -> Setting:
    """Return a setting with the same windows for all that differ in nothing these depend on."""
    seed = setting.seed if setting.tier == "simulated" else 0
    same = {"variant": "", "protocol": "", "epochs": 0, "batch_size": 0, "patience": 0}
    return replace(setting, **same, scale="", n_splits=0, seed=seed)


@lru_cache(maxsize=4)
def _loaded(setting: Setting) -> Data:
    return load(setting)


def _resolved(paper: str, setting: Setting) -> list[object]:
    """Return what the paper's own file says of a variant: the file itself is not hashed."""
    module = papers.get(paper)
    told = [one(setting.variant) for one in (module.network_options, module.training_options)]
    weights = getattr(module, "weights_of", lambda _: ())(setting)
    return [*told, list(weights)] if weights else told


def computing_code(root: Path, paper: str, cell: Cell) -> list[Path]:
    """Return the files that decide the scores of a cell, given its windows.

    The paper's own file, which holds claims and prose, is not among them; what it says of a
    variant is part of the key by itself. Modules with reference models of its own it names in
    ``REFERENCES``, and what else its network takes in ``USES``.
    """
    modules = [f"affectbook.{name}" for name in _COMPUTING[cell.analysis]]
    if "models.reference" in _COMPUTING[cell.analysis]:
        modules += getattr(papers.get(paper), "REFERENCES", ())
    if cell.analysis != "references":
        modules += [papers.get(paper).NETWORK, *getattr(papers.get(paper), "USES", ())]
    start = "\n".join(f"import {module}" for module in modules)
    found = closure(start, root / "lib", leave_out=_NOT_COMPUTING)
    return [path for path in found if path.suffix == ".py" and path.parent.name != "datasets"]
