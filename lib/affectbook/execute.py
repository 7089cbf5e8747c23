"""Run one notebook from top to bottom with papermill; keep all of the result or the failure."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from affectbook import errors
from affectbook.errors import RunError, shown

# Kernels inherit this, unless the reader has set it. Between two parallel operations OpenMP's
# threads wait by spinning. Where something else runs on one of the cores they spin for each other,
# and a training step on two threads took five times as long as with a short spin; on a quiet
# machine the short spin costs a little.
_ENVIRONMENT = {"GOMP_SPINCOUNT": "10000"}

# Cells report errors as messages; what the kernel itself logs (unencrypted TCP on one machine,
# an interrupt while it shuts down) is noise.
_QUIET = ["--IPKernelApp.log_level=50"]
# As Python, NumPy and torch call it.
_NO_MEMORY = ("MemoryError", "OutOfMemoryError")
# Of what a kernel that died had written: bytes that are looked at, characters that are told.
_LOOKED_AT, _TOLD = 20_000, 200


class NotebookFailed(RunError):
    """A cell of a notebook failed; the notebook up to there is kept.

    Attributes
    ----------
    expected
        The cell raised one of the package's own errors: the input was wrong, not the code.
    """

    def __init__(self, told: str, kept: Path | None, expected: bool) -> None:
        self.expected = expected
        where = f"Kept up to there: {os.path.relpath(kept)}" if kept else "Nothing could be kept."
        super().__init__(f"{told}\n{where}")


def execute(
    source: Path,
    output: Path,
    failed: Path,
    parameters: Mapping[str, object] | None = None,
    timeout: int | None = None,
    where: Callable[[], str] = str,
) -> Path:
    """Run the notebook `source` in its own folder and write the executed copy to `output`.

    Parameters
    ----------
    source
        The notebook without outputs.
    output
        Where the executed notebook goes, once every cell has run.
    failed
        Where the notebook goes instead if a cell fails.
    parameters
        Replaces the values of the cell tagged ``parameters``.
    timeout
        Seconds that a cell may take; None: as long as it needs.
    where
        Called if the kernel dies, a cell takes too long or a disk is full: returns a sentence that
        says where the run was and how it goes on.

    Raises
    ------
    NotebookFailed
        If a cell raises or takes too long, the kernel dies, or the copy cannot be written.
    """
    running = output.parent / f".running-{output.name}"
    with _own_output() as own:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            _papermill(source, running, dict(parameters or {}), timeout, own)
            _forget_machine(running)
            os.replace(running, output)
        except (*_failures(), OSError) as error:
            told, expected = _explain(source.stem, error, where(), own)
            raise NotebookFailed(told, _kept(source, running, failed), expected) from error
        finally:
            running.unlink(missing_ok=True)
    return output


@contextmanager
def _own_output() -> Iterator[int]:
    """Give a file without a name, for what a kernel writes to its own output and error output.

    What cells print does not come there, but what the interpreter and libraries say as a kernel
    starts, dies or ends, such as an assertion of its message queue that fails in its last moment:
    on the reader's terminal it would stand beside our messages and mean nothing.
    """
    try:
        file = tempfile.TemporaryFile(buffering=0)
    except OSError:
        yield subprocess.DEVNULL
        return
    with file:
        yield file.fileno()


def _last_words(own: int) -> str:
    """Return the line in which a kernel that died said why, or nothing."""
    if own == subprocess.DEVNULL:
        return ""
    # The kernel's own place in the file stays where it is.
    end = os.fstat(own).st_size
    text = os.pread(own, _LOOKED_AT, max(0, end - _LOOKED_AT)).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # What ends the interpreter is told first, and then where it was; else the last line counts.
    fatal = [line for line in lines if line.startswith("Fatal Python error")]
    return shown((fatal or lines or [""])[-1])[:_TOLD]


def _quoted(own: int) -> str:
    said = _last_words(own)
    return f', its last line was "{said}"' if said else ""


def _kernels(own: int) -> type:
    """Return what starts a kernel whose own output goes into a file."""
    from jupyter_client.manager import AsyncKernelManager

    class Kernels(AsyncKernelManager):
        async def start_kernel(self, **more: object) -> None:
            await super().start_kernel(stdout=own, stderr=own, **more)

    return Kernels


def _papermill(
    source: Path, output: Path, parameters: dict[str, object], timeout: int | None, own: int
) -> None:
    import papermill

    # Frozen standard-library modules only matter to a debugger; this keeps its warning quiet.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    # What it logs as an error is raised as well.
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    papermill.execute_notebook(
        source,
        output,
        parameters,
        kernel_name="python3",
        cwd=source.parent,
        progress_bar=sys.stderr.isatty(),
        request_save_on_cell_execute=False,
        execution_timeout=timeout,
        extra_arguments=_QUIET,
        kernel_manager_class=_kernels(own),
    )


def _failures() -> tuple[type[Exception], ...]:
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    # A RuntimeError: the kernel died, or gave no sign, while it started.
    return (PapermillExecutionError, CellExecutionError, CellTimeoutError, DeadKernelError,
            RuntimeError)  # fmt: skip


def _kept(source: Path, running: Path, failed: Path) -> Path | None:
    """Keep a failed notebook, if the disk lets us."""
    try:
        failed.parent.mkdir(parents=True, exist_ok=True)
        if running.exists():
            os.replace(running, failed)
        else:
            shutil.copyfile(source, failed)
    except OSError:
        return None
    return failed


def _explain(name: str, error: Exception, where: str, own: int) -> tuple[str, bool]:
    """Return one message, and whether the cell raised one of the package's own errors."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    if getattr(error, "ename", None) is not None:
        return _explain_cell(name, error, where)
    if isinstance(error, DeadKernelError):
        why = f"the kernel died{_quoted(own)}. {where} Most often the system ends a kernel that "
        why += f"takes more memory than there is{_memory()}"
    elif isinstance(error, CellTimeoutError):
        why = f"a cell took longer than it may (--timeout). {where}"
    elif isinstance(error, OSError):
        why = f"it could not be written ({error.strerror or type(error).__name__}). {where}"
    else:
        why = (f"{error}".strip().splitlines() or [type(error).__name__])[-1]
        why += f"{_quoted(own)}. {where}"
    return f"{name} failed: {' '.join(why.split())}", False


def _explain_cell(name: str, error: Exception, where: str) -> tuple[str, bool]:
    """Return the same for what a cell raised."""
    known = getattr(errors, error.ename, None)
    expected = isinstance(known, type) and issubclass(known, errors.AffectbookError)
    line = f"{error.ename}: {error.evalue}".strip(": ")
    line = line if expected else line.splitlines()[-1]
    told = f"{name} failed in cell [{error.exec_count}]: {line}"
    if expected:
        return told, True
    if error.ename.endswith(_NO_MEMORY) or "allocate memory" in error.evalue:
        told += f". It took more memory than there is{_memory()}"
    return f"{told}. {where}" if where else told, False


def _memory() -> str:
    import psutil

    memory = psutil.virtual_memory()
    return (
        f" ({memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB are free now): a smaller "
        "scale, shorter windows or fewer subjects take less"
    )


def _forget_machine(notebook: Path) -> None:
    """Drop papermill's paths and times: the executed notebook is shown to readers."""
    import nbformat

    content = nbformat.read(notebook, as_version=4)
    content.metadata.pop("papermill", None)
    for cell in content.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
    nbformat.write(content, notebook)
