"""Read MATLAB files of version 5 to 7, whatever is wrong with them, in one message."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io

from affectbook.errors import DataFileError

AGAIN = "get the file again from the publisher and compare its size"


def load(path: Path, variables: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Return variables of a file as `scipy.io.loadmat` gives them, structs as records.

    Parameters
    ----------
    path
        The file.
    variables
        Which ones; None: all. One that is not there is missing from the answer.

    Raises
    ------
    DataFileError
        If the file cannot be read.
    """
    try:
        return scipy.io.loadmat(path, variable_names=variables)
    except NotImplementedError as error:
        raise DataFileError(
            "a MATLAB file of version 7.3, which is another format (HDF5)",
            file=path,
            expected="version 5 to 7, as the publisher's files are",
            do="get the file again from the publisher, or save it in MATLAB with -v7",
        ) from error
    except Exception as error:  # a damaged file may raise anything
        raise DataFileError(
            "the file is not a MATLAB file that can be read",
            file=path,
            found=f"{type(error).__name__}: {str(error)[:160]}",
            expected="a whole MATLAB file of version 5 to 7",
            do=AGAIN,
        ) from error
