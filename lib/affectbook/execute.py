"""Run one notebook from top to bottom with papermill; keep all of the result or the failure."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from affectbook import errors
from affectbook.errors import RunError

# Kernels inherit this, unless the reader has set it. Between two parallel operations OpenMP's
# threads wait by spinning. Where something else runs on one of the cores they spin for each other,
# and a training step on two threads took five times as long as with a short spin; on a quiet
# machine the short spin costs a little.
_ENVIRONMENT = {"GOMP_SPINCOUNT": "10000"}

# Cells report errors as messages; what the kernel itself logs (unencrypted TCP on one machine,
# an interrupt while it shuts down) is noise.
_QUIET = ["--IPKernelApp.log_level=50"]


class NotebookFailed(RunError):
    """A cell of a notebook failed; the notebook up to there is kept.

    Attributes
    ----------
    expected
        The cell raised one of the package's own errors: the input was wrong, not the code.
    """

    def __init__(self, name: str, where: str, line: str, kept: Path, expected: bool) -> None:
        self.expected = expected
        super().__init__(
            f"{name} failed in {where}: {line}\nKept up to there: {os.path.relpath(kept)}"
        )


def execute(
    source: Path, output: Path, failed: Path, parameters: Mapping[str, object] | None = None
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

    Raises
    ------
    NotebookFailed
        If a cell raises or the kernel dies.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    running = output.parent / f".running-{output.name}"
    try:
        _papermill(source, running, dict(parameters or {}))
        _forget_machine(running)
        os.replace(running, output)
    except _failures() as error:
        failed.parent.mkdir(parents=True, exist_ok=True)
        if running.exists():
            os.replace(running, failed)
        else:
            shutil.copyfile(source, failed)
        raise _explain(source.stem, error, failed) from error
    finally:
        running.unlink(missing_ok=True)
    return output


def _papermill(source: Path, output: Path, parameters: dict[str, object]) -> None:
    import papermill

    # Frozen standard-library modules only matter to a debugger; this keeps its warning quiet.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
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
        extra_arguments=_QUIET,
    )


def _failures() -> tuple[type[Exception], ...]:
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    return PapermillExecutionError, CellExecutionError, CellTimeoutError, DeadKernelError


def _explain(name: str, error: Exception, kept: Path) -> NotebookFailed:
    ename, cell = getattr(error, "ename", None), getattr(error, "exec_count", None)
    known = getattr(errors, ename, None) if ename else None
    expected = isinstance(known, type) and issubclass(known, errors.AffectbookError)
    if ename is None:
        line = f"{error}".strip().splitlines()[-1] if f"{error}".strip() else "the kernel died"
        return NotebookFailed(name, "a cell", line, kept, False)
    line = f"{ename}: {error.evalue}".strip()
    line = line if expected else line.splitlines()[-1]
    return NotebookFailed(name, f"cell [{cell}]", line, kept, expected)


def _forget_machine(notebook: Path) -> None:
    """Drop papermill's paths and times: the executed notebook is shown to readers."""
    import nbformat

    content = nbformat.read(notebook, as_version=4)
    content.metadata.pop("papermill", None)
    for cell in content.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
    nbformat.write(content, notebook)
