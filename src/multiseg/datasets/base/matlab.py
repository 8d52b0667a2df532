"""MATLAB files to arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiseg.errors import MultisegError


def read_matlab(path: Path, variable: str, field: str | None = None) -> NDArray[Any]:
    """A matrix of ids from a MATLAB file of version 5 to 7 (7.3 is another format).

    Args:
        path: the file.
        variable: the name of the matrix, or of a structure that holds it.
        field: the name of the matrix in the structure.

    Shape: (H, W), any integer type.

    Raises:
        MultisegError: the file is missing, damaged or of another version, or has no such matrix.
    """
    from scipy.io import loadmat  # a tenth of a second that only some datasets need

    name = variable if field is None else f"{variable}.{field}"
    if not path.is_file():
        raise MultisegError(f"{path} does not exist.")
    try:
        found = loadmat(path, variable_names=(variable,))  # type: ignore[no-untyped-call]
    except NotImplementedError:
        raise MultisegError(f"{path} is a MATLAB file of version 7.3, expected version 5 to 7.") from None
    except Exception as error:  # on damaged bytes the decoder raises whatever comes of them
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MultisegError(f"{path} cannot be decoded as a MATLAB file: {reason}") from None
    matrix = found.get(variable)
    if field is not None:
        fields = getattr(matrix, "dtype", np.dtype(int)).names or ()
        matrix = matrix[field].item() if field in fields and matrix.size == 1 else None
    if matrix is None:
        raise MultisegError(f"{path} has no matrix '{name}'.")
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind not in "iuf":
        raise MultisegError(f"{path}: '{name}' is no matrix of numbers.")
    with np.errstate(invalid="ignore"):
        ids = matrix.astype(np.int32) if matrix.dtype.kind == "f" else matrix
    if (ids != matrix).any():
        raise MultisegError(f"{path}: '{name}' holds fractions, but ids are expected.")
    return ids
