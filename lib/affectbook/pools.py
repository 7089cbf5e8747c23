"""Where the runs of a sweep go: processes of this machine, or the workers of a Dask cluster.

Each run is a process of its own, here as there: runs share nothing but the disk, the end of one is
the end of no other, and a run that was killed is started again and goes on at its fold.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from affectbook import progress
from affectbook.errors import ParameterError, RunError, shown
from affectbook.files import project_root, sha256

COMMAND = ("{python}", "-m", "affectbook.runs", "run", "{paper}", "--parameters", "{parameters}")
"""What runs a task; the words in braces are filled in where it runs."""
FILES = ("scores.csv", "predictions.csv", "parameters.json", "provenance.json", "page.html",
         "notebook.ipynb")  # fmt: skip
ATTEMPTS = 3
REACH_S = 10
EXPECTED = "AFFECTBOOK_EXPECTED_KEY"
DONE, FAILED, KILLED = "done", "failed", "killed"
# Interrupted, killed and terminated, as a shell or the command line of a run says it.
_KILLED = tuple(128 + one for one in (signal.SIGINT, signal.SIGKILL, signal.SIGTERM))
_PATIENCE_S, _POLL_S, _TOLD = 20, 0.5, 2000
# On Linux the system ends a run whose driver or worker is gone, in whatever way that went.
_WITH_PARENT = (
    "import ctypes, os, sys\n"
    "getattr(ctypes.CDLL(None), 'prctl', lambda *_: 0)(1, 15)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


class Killed(Exception):
    """The process of a run was killed: it can be started again, here or on another worker."""


@dataclass(frozen=True)
class Task:
    """One run to make.

    Attributes
    ----------
    paper, key : str
        They name its folder below ``build/runs``; the key is that of the run.
    name : str
        What tells it from the other runs, for messages: ``epochs 5, seed 1``.
    parameters : mapping
        Values that JSON can hold.
    folder : pathlib.Path
        Where the driver has the finished run.
    notebook : str or None
        Hash of the notebook's code, which the key leaves out; None if any will do.
    """

    paper: str
    name: str
    key: str
    parameters: Mapping[str, object]
    folder: Path
    notebook: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a task: `state` is done, failed or killed, `where` it ran last."""

    task: Task
    state: str
    attempts: int
    where: str
    message: str = ""


def cores() -> int:
    """Return how many processors this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def local(
    tasks: Sequence[Task],
    workers: int | None = None,
    *,
    threads: int = 1,
    command: Sequence[str] = COMMAND,
) -> list[Outcome]:
    """Make runs in processes of this machine, and return what became of each.

    Parameters
    ----------
    tasks
        Each is started again, up to three times in all, if its process is killed.
    workers
        Runs at once; as many as there are cores for `threads` unless given.
    threads
        Of each run.
    command
        What runs a task, see `COMMAND`.

    Raises
    ------
    ParameterError
        If there would be no worker or no thread.
    """
    _at_least_one("threads", threads)
    workers = max(1, cores() // threads) if workers is None else workers
    _at_least_one("workers", workers)
    stop, bar = threading.Event(), progress.Ended(len(tasks))
    pool = ThreadPoolExecutor(workers)
    with bar:
        try:
            running = [pool.submit(_local, task, command, threads, stop) for task in tasks]
            return [_shown(bar, done.result()) for done in as_completed(running)]
        finally:
            # Each thread ends the process it waits for.
            stop.set()
            pool.shutdown(cancel_futures=True)


def dask(
    tasks: Sequence[Task], scheduler: str, *, threads: int = 1, command: Sequence[str] = COMMAND
) -> list[Outcome]:
    """Make runs on the workers of a Dask cluster, fetch their files, and tell what became of each.

    Parameters
    ----------
    tasks
        Each is repeated elsewhere if its worker is lost, or if its process is killed.
    scheduler
        Its address, such as ``tcp://10.0.0.1:8786``.
    threads, command
        As for `local`.

    Raises
    ------
    RunError
        If nobody answers at the address within ten seconds.
    """
    from distributed import as_completed as arriving

    _at_least_one("threads", threads)
    if not tasks:
        return []
    bar, sweep = progress.Ended(len(tasks)), uuid.uuid4().hex[:8]
    with _reached(scheduler) as client, bar:
        running = {}
        for task in tasks:
            how = {"key": f"run-{task.key}-{sweep}", "pure": False, "retries": ATTEMPTS - 1}
            running[client.submit(_remote, task, tuple(command), threads, **how)] = task
        try:
            ended = arriving(list(running), loop=client.loop)
            return [_shown(bar, _fetched(running.pop(one), one)) for one in ended]
        finally:
            client.cancel(list(running))


def _shown(bar: progress.Ended, outcome: Outcome) -> Outcome:
    bar.tell(outcome.task.name, outcome.state, good=outcome.state == DONE)
    return outcome


@contextmanager
def _reached(scheduler: str) -> Iterator[object]:
    """Connect to a scheduler, and say so if it has nobody to work for it yet."""
    from distributed import Client

    try:
        # In a thread of its own: a notebook has an event loop already.
        with ThreadPoolExecutor(1) as beside:
            who = beside.submit(asyncio.run, _who_answers(scheduler)).result()
        if who.get("type") != "Scheduler":
            raise ValueError(f"found a {shown(who.get('type'))}")
    except Exception as error:
        told = shown(error).rstrip(".") or f"nobody within {REACH_S} s"
        raise RunError(
            f"no scheduler of Dask answers at {shown(scheduler)!r}: {told}. Start one with "
            "`dask scheduler`, and give the address that it prints"
        ) from None
    # What it logs when a scheduler goes is a traceback; here that is an outcome of each run.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    with Client(scheduler, timeout=REACH_S, set_as_default=False) as client:
        if not who["workers"]:
            print(f"The scheduler at {scheduler} has no worker yet: waiting ...", flush=True)
        yield client


async def _who_answers(scheduler: str) -> dict:
    from distributed import rpc

    async def ask() -> dict:
        async with rpc(scheduler) as there:
            return await there.identity()

    # A client that cannot connect would leave tracebacks behind.
    return await asyncio.wait_for(ask(), REACH_S)


def _fetched(task: Task, future: object) -> Outcome:
    """Keep the files of a run that a worker made, or tell why there are none."""
    try:
        found = future.result()
    except Exception as error:
        kind = type(error).__name__
        told = shown(" ".join(str(error).split())) or kind
        if kind == "FutureCancelledError":
            told = "the scheduler has gone, or has given the run up"
        lost = kind in ("Killed", "KilledWorker", "FutureCancelledError")
        return Outcome(task, KILLED if lost else FAILED, ATTEMPTS, "cluster", told)
    finally:
        future.release()
    state, message = found["state"], found["message"]
    if state == DONE:
        message = keep(task, found["files"])
    return Outcome(task, FAILED if message else state, found["attempts"], found["where"], message)


def keep(task: Task, files: Mapping[str, bytes]) -> str:
    """Write the files of a run into its folder, all or none; return why not, if they are not its.

    The run stays if it is there: another driver, or a disk shared with the worker, was first.
    """
    if missing := [name for name in FILES if name not in files]:
        return f"the worker sent no {', no '.join(missing)}"
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=task.folder.parent, prefix=f".fetched-{task.key}-") as own:
        fresh = Path(own, "run")
        fresh.mkdir()
        for name in FILES:
            (fresh / name).write_bytes(files[name])
        if wrong := why_not(task, fresh):
            return f"the worker's code or data differ: {wrong}"
        try:
            if task.folder.exists() and why_not(task, task.folder):
                task.folder.replace(Path(own, "old"))
            fresh.replace(task.folder)
        except OSError:
            if why_not(task, task.folder):
                raise
    return ""


def why_not(task: Task, folder: Path) -> str:
    """Return why a folder is not the finished run of a task; nothing if it is."""
    try:
        made = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        if made["run_key"] != task.key:
            return f"expected run {task.key}, found {shown(made['run_key'])}"
        if task.notebook not in (None, made["notebook"]):
            return "it was made by another version of the notebook"
        for name, expected in made.get("files", {}).items():
            if name in FILES and sha256(folder / name) != expected:
                return f"{name} is not what the run wrote"
    except FileNotFoundError:
        return f"expected run {task.key}, found none"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its provenance cannot be read ({shown(error)})"
    return ""


def _remote(task: Task, command: Sequence[str], threads: int) -> dict[str, object]:
    """Make a run on a worker, and return its files: there need be no disk in common."""
    from distributed import get_worker

    worker = get_worker()
    own = worker.state.tasks.get(worker.get_current_task())
    folder = project_root() / "build" / "runs" / task.paper / task.key
    found = {"where": worker.address, "attempts": 1, "files": {}}

    def given_up() -> bool:
        return own is not None and own.state == "cancelled"

    status, told = _child(task, command, threads, given_up)
    if _was_killed(status):
        raise Killed(_how(status, told))
    if status == 0 and not (wrong := why_not(task, folder)):
        files = {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
        return found | {"state": DONE, "message": "", "files": files}
    told = told or f"exit status {status}" if status else wrong
    if not status or told.startswith("expected run "):
        told = f"the worker's code or data differ: {told}"
    return found | {"state": FAILED, "message": told}


def _local(task: Task, command: Sequence[str], threads: int, stop: threading.Event) -> Outcome:
    """Make a run in a process of this machine."""
    attempt, status, told = 0, -signal.SIGTERM, ""
    while _was_killed(status) and attempt < ATTEMPTS and not stop.is_set():
        attempt += 1
        status, told = _child(task, command, threads, stop.is_set)
    if _was_killed(status):
        return Outcome(task, KILLED, attempt, "local", _how(status, told))
    wrong = told or f"exit status {status}" if status else why_not(task, task.folder)
    if wrong and not status:
        wrong += ". Did code or data change while the sweep ran? make run with --force repeats it"
    return Outcome(task, FAILED if wrong else DONE, attempt, "local", wrong)


def _child(
    task: Task, command: Sequence[str], threads: int, stopped: Callable[[], bool]
) -> tuple[int, str]:
    """Run the process of a task to its end, and return its exit status and what it complained of.

    Its output goes to files: a pipe would stay open as long as a kernel that it left behind.
    """
    with tempfile.TemporaryDirectory(prefix="affectbook-") as own:
        parameters = Path(own, "parameters.json")
        parameters.write_text(json.dumps(dict(task.parameters)), encoding="utf-8")
        words = {"python": sys.executable, "paper": task.paper, "parameters": str(parameters)}
        with Path(own, "out").open("wb") as out, Path(own, "err").open("wb") as err:
            child = subprocess.Popen(
                [sys.executable, "-c", _WITH_PARENT, *(part.format(**words) for part in command)],
                cwd=project_root(), env=_environment(task, threads), stdin=subprocess.DEVNULL,
                stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip
            status = _ended(child, stopped)
        texts = [Path(own, name).read_text("utf-8", "replace").strip() for name in ("err", "out")]
    return status, _complaint(*texts)


def _complaint(err: str, out: str) -> str:
    """Return what a process said last: its errors, of a traceback the last line."""
    told = err or out.rpartition("\n")[2]
    if "Traceback (most recent call last)" in told:
        told = told.rpartition("\n")[2]
    return told if len(told) <= _TOLD else f"... {told[-_TOLD:]}"


def _environment(task: Task, threads: int) -> dict[str, str]:
    """Return the environment of a run: its threads, and nothing of a run that started the sweep."""
    own = {name: value for name, value in os.environ.items()
           if name not in ("AFFECTBOOK_RUN_DIR", "AFFECTBOOK_RUN_KEY")}  # fmt: skip
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    own |= dict.fromkeys(counts, str(threads))
    return own | {"AFFECTBOOK_QUIET": "1", EXPECTED: task.key}


def _ended(child: subprocess.Popen, stopped: Callable[[], bool]) -> int:
    """Wait for a process, or end it when that is asked for; return its exit status."""
    asked = None
    while True:
        try:
            return child.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            if asked is None and stopped():
                child.terminate()
                asked = time.monotonic()
            elif asked is not None and time.monotonic() - asked > _PATIENCE_S:
                os.killpg(child.pid, signal.SIGKILL)


def _was_killed(status: int) -> bool:
    return status < 0 or status in _KILLED


def _how(status: int, told: str) -> str:
    number = -status if status < 0 else status - 128
    hint = "; did memory run out? Fewer workers need less" if number == signal.SIGKILL else ""
    last = f" ({told.splitlines()[-1]})" if told else ""
    return f"killed by {signal.Signals(number).name}{hint}{last}"


def _at_least_one(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ParameterError(f"{name}: expected at least 1, found {value!r}")
