"""Parameter sweeps: a grid of values, one run for each combination, one table and its figures."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from affectbook import grid_figures, notebook, papers, params, pools, results, running
from affectbook.errors import (
    AffectbookError,
    DataFileError,
    DataNotFoundError,
    ParameterError,
    shown,
)
from affectbook.execute import NotebookFailed
from affectbook.files import build_dir, project_root
from affectbook.pools import Outcome, Task

MOST_RUNS, MOST_BYTES = 10_000, 1_000_000
METRIC = "balanced_accuracy"
MORE = ["low", "high", "n_subjects", "chance"]
_EXAMPLE = "name: [value, value], one parameter a line, such as seed: [0, 1, 2]"
_TOLD = 20


class GridError(DataFileError, ParameterError):
    """A grid is not a mapping of parameters to lists of values."""


class SweepFailed(NotebookFailed):
    """Runs of a sweep failed; those that did not are in its `folder`."""

    def __init__(self, told: str, folder: Path) -> None:
        self.folder = folder
        super(NotebookFailed, self).__init__(told)
        self.expected = False


@dataclass(frozen=True)
class Run:
    """One run of a sweep: what was asked for by name, and its plan."""

    values: dict[str, object]
    plan: running.Plan
    task: Task


def read(path: Path) -> dict[str, list]:
    """Read a grid: YAML that maps parameters to lists of values; one value counts as a list.

    All values but null are text, which `params.parse` reads as it reads the command line: in YAML
    itself ``1e-3`` would be text, ``012`` ten and ``no`` false.

    Raises
    ------
    DataNotFoundError
        If there is no such file.
    GridError
        If it is no such mapping, a parameter stands there twice, a list is empty or holds anything
        but values, or there are more than 10,000 combinations.
    """
    path = Path(path)
    if not path.is_file():
        raise DataNotFoundError("the grid of a sweep is not there", file=path, expected="a file",
                                do="make it: a line is " + _EXAMPLE)  # fmt: skip
    try:
        raw = path.read_bytes()
        if len(raw) > MOST_BYTES:
            raise _wrong(path, "size", f"{len(raw):,} bytes", f"at most {MOST_BYTES:,} bytes")
        content = yaml.load(raw.decode("utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise _wrong(path, "file", error.strerror, "a file that may be read") from error
    except UnicodeDecodeError as error:
        found = f"byte {error.start} is none of UTF-8"
        raise _wrong(path, "text", found, "text in UTF-8") from error
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        field = f"line {mark.line + 1}" if mark else "text"
        found = getattr(error, "problem", None) or getattr(error, "reason", None)
        raise _wrong(path, field, found or "brackets too deep", "YAML") from error
    return _checked(content, path)


class _Loader(yaml.SafeLoader):
    """Leaves numbers and words as the text they are, and takes no key twice."""

    yaml_implicit_resolvers = {
        first: [one for one in own if one[0].endswith((":null", ":merge"))]
        for first, own in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [one.value for one, _ in node.value if isinstance(one, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            mark = [one.start_mark for one, _ in node.value if one.value == twice[0]][1]
            raise yaml.MarkedYAMLError(problem=f"{twice[0]} a second time", problem_mark=mark)
        for key, value in node.value:
            if isinstance(value, yaml.ScalarNode) and (value.value, value.style) == ("", None):
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value} without a value", problem_mark=value.start_mark
                )
        return super().construct_mapping(node, deep)


def _checked(content: object, path: Path | None = None) -> dict[str, list]:
    """Return a grid as lists of values, or say what is wrong with it."""
    if not isinstance(content, Mapping) or not content:
        found = "nothing" if content is None or content == {} else type(content).__name__
        raise _wrong(path, "grid", found, "a mapping")
    grid = {}
    for name, values in content.items():
        values = values.tolist() if isinstance(values, np.ndarray | np.generic) else values
        if isinstance(values, Sequence) and not isinstance(values, str | bytes):
            grid[name] = list(values)
        else:
            grid[name] = [values]
        if not isinstance(name, str):
            raise _wrong(path, name, f"a name that is {type(name).__name__}", "text")
        if not grid[name]:
            raise _wrong(path, name, "an empty list", "one value or more")
        grid[name] = [one.item() if isinstance(one, np.generic) else one for one in grid[name]]
        for one in grid[name]:
            if one is not None and not isinstance(one, bool | int | float | str):
                raise _wrong(path, name, f"a {type(one).__name__}", "a list of single values")
    combinations = math.prod(map(len, grid.values()))
    if combinations > MOST_RUNS:
        raise _wrong(path, "size", f"{combinations:,} combinations", f"at most {MOST_RUNS:,}",
                     "make several grids of it")  # fmt: skip
    return grid


def _wrong(path: Path | None, field: object, found: object, expected: str,
           do: str = f"write {_EXAMPLE}") -> GridError:  # fmt: skip
    return GridError("a sweep cannot be read off this grid", file=path, field=field, found=found,
                     expected=expected, do=do)  # fmt: skip


def plans(paper: str, grid: Path | str | Mapping[str, object]) -> list[Run]:
    """Return the runs of a grid, all of them checked; those that are the same run once.

    Raises
    ------
    ParameterError
        One message for all that is wrong in any combination.
    AffectbookError
        As `read` and `running.plan` do.
    """
    found = read(Path(grid)) if isinstance(grid, str | Path) else _checked(grid)
    module = papers.get(paper)
    alone = [{name: value} for name, values in found.items() for value in values]
    _all(alone, lambda given: params.parse(module.Params, given))
    given = [dict(zip(found, values, strict=True)) for values in product(*found.values())]
    if len(given) > 100:
        print(f"Checking {len(given)} combinations ...", flush=True)
    planned = _all(given, lambda one: running.plan(paper, one))
    runs: dict[str, Run] = {}
    code = notebook.code_hash(notebook.read(planned[0].source))
    told = [name for name, values in found.items() if len(values) > 1] or list(found)
    for plan in planned:
        values = {name: _resolved(plan, name) for name in found}
        name = ", ".join(f"{one} {shown(values[one])}" for one in told)
        task = Task(paper, name, plan.key, plan.parameters, plan.folder, code)
        runs.setdefault(plan.key, Run(values, plan, task))
    if same := len(planned) - len(runs):
        print(f"{same} of {len(planned)} combinations are the same run as another: made once.")
    return list(runs.values())


def _all(given: Sequence[Mapping], check: Callable[[Mapping], object]) -> list:
    """Return what `check` gives for each, or raise one error with all different faults."""
    found, faults = [], {}
    for one in given:
        try:
            found.append(check(one))
        except AffectbookError as error:
            faults.setdefault(str(error), error)
    if len(faults) == 1:
        raise next(iter(faults.values()))
    if faults:
        listed = [told.removeprefix("a parameter is wrong:").strip() for told in faults]
        raise ParameterError("\n  ".join(["a sweep would not run:", *_first(listed)]))
    return found


def _resolved(plan: running.Plan, name: str) -> object:
    """Return the value of a parameter; where it is None, what the scale makes of it."""
    value = plan.parameters[name]
    return plan.setting.get(name) if value is None else value


def sweep(paper: str, grid: Path | str | Mapping[str, Sequence], *, workers: int | None = None,
          threads: int = 1, scheduler: str | None = None) -> pd.DataFrame:  # fmt: skip
    """Run every combination of a grid and return one table of scores.

    Parameters
    ----------
    paper, grid, workers, threads, scheduler
        As for `sweep_to_folder`.

    Returns
    -------
    pandas.DataFrame
        One row per run, estimator, protocol, kind of label and metric, over all folds and
        subjects. First the parameters of the grid, those that are also columns of scores as
        ``swept_<name>``; then `results.SCORE_COLUMNS`; then, for balanced accuracy, the 95 %
        interval over subjects from `low` to `high`, their number and chance.
    """
    folder = sweep_to_folder(paper, grid, workers=workers, threads=threads, scheduler=scheduler)
    return pd.read_csv(folder / "results.csv")


def sweep_to_folder(
    paper: str,
    grid: Path | str | Mapping[str, Sequence],
    *,
    workers: int | None = None,
    threads: int = 1,
    scheduler: str | None = None,
    command: Sequence[str] = pools.COMMAND,
) -> Path:
    """Run every combination of a grid that is not finished; return the folder of the results.

    Parameters
    ----------
    paper
        A module of ``affectbook.papers``.
    grid
        Parameters and their values, or a YAML file of them, see `read`.
    workers
        Runs at once on this machine; as many as it has cores for unless given.
    threads
        Of each run.
    scheduler
        Address of a Dask scheduler, to whose workers the runs go instead.
    command
        What runs a task, see `pools.COMMAND`.

    Returns
    -------
    pathlib.Path
        With ``results.csv``, ``runs.csv``, ``figures.md`` and a PNG per swept parameter.

    Raises
    ------
    AffectbookError
        Before anything starts, as `plans` and the pool do.
    SweepFailed
        After all others have finished, if a run failed.
    """
    if scheduler is not None and workers is not None:
        raise ParameterError("workers are those of the scheduler: name one of the two")
    runs = plans(paper, grid)
    folder = build_dir("sweeps", paper, f"grid-{_hash(runs)}")
    missing = [run.task for run in runs if pools.why_not(run.task, run.task.folder)]
    print(f"Sweep of {paper}: {len(runs)} runs, {len(runs) - len(missing)} finished before.",
          flush=True)  # fmt: skip
    if other := _with_other_threads(runs, missing, threads):
        print(f"{other} of them were made with other threads than {threads}, and rounded in "
              "another way (column threads of runs.csv); make run with --force makes them again.",
              flush=True)  # fmt: skip
    if scheduler is not None:
        ended = pools.dask(missing, scheduler, threads=threads, command=command)
    else:
        ended = pools.local(missing, workers, threads=threads, command=command)
    return _kept(folder, runs, {one.task.key: one for one in ended})


def _hash(runs: Sequence[Run]) -> str:
    """Return 12 hexadecimal digits for the runs of a sweep, in whatever order they are asked."""
    keys = json.dumps([sorted(runs[0].values), sorted(run.task.key for run in runs)])
    return hashlib.sha256(keys.encode()).hexdigest()[:12]


def _with_other_threads(runs: Sequence[Run], missing: Sequence[Task], threads: int) -> int:
    """Return how many of the runs that were finished before had another number of threads."""
    keys = {task.key for task in missing}
    found = (_made(run) for run in runs if run.task.key not in keys)
    return sum(made.get("machine", {}).get("torch_threads", threads) != threads for made in found)


def _made(run: Run) -> dict:
    return json.loads((run.task.folder / "provenance.json").read_text(encoding="utf-8"))


def _kept(folder: Path, runs: Sequence[Run], ended: Mapping[str, Outcome]) -> Path:
    """Write the tables and the figures of a sweep; raise if a run has no result."""
    failed = [one for one in ended.values() if one.state != pools.DONE]
    lost = {one.task.key for one in failed}
    done = [run for run in runs if run.task.key not in lost]
    where = _where_before(folder) | {one.task.key: one.where for one in ended.values()}
    lines = [_line(run, ended.get(run.task.key), where) for run in runs]
    results.write_rows(pd.DataFrame(lines), folder / "runs.csv")
    if done:
        frame = pd.concat([_scores(run) for run in done], ignore_index=True)
        results.write_rows(frame, folder / "results.csv")
        columns = {one: _column(one) for one in runs[0].values}
        grid_figures.write(frame, columns, folder, len(failed))
    if failed:
        raise SweepFailed(_told(failed, len(runs), folder if done else None), folder)
    return folder


def _told(failed: Sequence[Outcome], of: int, folder: Path | None) -> str:
    """Return which runs failed and why, runs of one message together."""
    why: dict[str, list[str]] = {}
    for one in failed:
        why.setdefault(one.message or one.state, []).append(one.task.name)
    lines = [f"{'; '.join(_first(names))}: {message}" for message, names in why.items()]
    others = f"The others: {os.path.relpath(folder)}" if folder else "There are no others."
    head = f"{len(failed)} of {of} runs failed. {others}"
    return "\n  ".join([head, *_first(lines)]) + "\nThe same command makes only these again."


def _first(texts: Sequence[str]) -> list[str]:
    more = len(texts) - _TOLD
    return [*texts[:_TOLD], f"... and {more} more"] if more > 0 else list(texts)


def _where_before(folder: Path) -> dict[str, str]:
    """Return where runs that are not made again were made, as the last sweep wrote it."""
    try:
        before = pd.read_csv(folder / "runs.csv", dtype=str, keep_default_na=False)
        return dict(zip(before["key"], before["where"], strict=True))
    except (OSError, KeyError, ValueError):
        return {}


def _line(run: Run, outcome: Outcome | None, where: Mapping[str, str]) -> dict[str, object]:
    """Return the line of a run in ``runs.csv``: what it took, or why it failed."""
    own, key = run.task.folder, run.task.key
    line = {_column(name): value for name, value in run.values.items()}
    line |= {"key": key, "state": outcome.state if outcome else pools.DONE}
    line |= dict.fromkeys(
        ("folder", "seconds", "cpu_seconds", "peak_memory_mb", "threads", "attempts")
    )
    line |= {"where": where.get(key, "before"), "message": outcome.message if outcome else ""}
    if line["state"] != pools.DONE:
        return line | {"attempts": outcome.attempts}
    made = _made(run)
    line["threads"] = made.get("machine", {}).get("torch_threads")
    line |= {name: made.get(name) for name in ("seconds", "cpu_seconds", "peak_memory_mb")}
    line["attempts"] = max(len(made.get("attempts", ())), outcome.attempts if outcome else 1)
    return line | {"folder": os.path.relpath(own, project_root())}


def _column(name: str) -> str:
    return f"swept_{name}" if name in results.SCORE_COLUMNS else name


def _scores(run: Run) -> pd.DataFrame:
    """Return the scores of a run over all folds and subjects, with their intervals."""
    rows = results.read_rows(run.task.folder / "scores.csv")
    parts = []
    by = [*results.CONTEXT, "seed", "run_key"]
    for _, part in rows.groupby(by, sort=False, dropna=False):
        own = results.select(part, fold="all", subject="all").copy()
        own[MORE] = np.nan
        if part["metric"].str.startswith("confusion[").any():
            n_outputs = results.confusions(part)[1].shape[-1]
            found = results.interval(part, METRIC)
            own.loc[own["metric"] == METRIC, MORE] = [*found[1:], 1 / n_outputs]
        parts.append(own)
    values = {_column(name): "none" if value is None else value
              for name, value in run.values.items()}  # fmt: skip
    return pd.concat(parts, ignore_index=True).assign(**values)[[*values, *rows.columns, *MORE]]
