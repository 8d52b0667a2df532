"""MATLAB files to arrays.

SciPy decodes them, but trusts what they say of themselves: a file of a hundred bytes can claim two thousand million
cells, which takes minutes, and one of matrices nested 100,000 deep ends the process. So SciPy is given only the one
variable that is wanted, unpacked up to a limit, after its structure was walked through here.
"""

from __future__ import annotations

import io
import math
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multiseg.errors import MultisegError

#: A variable that is larger unpacked, in bytes, is refused: masks of published datasets have less than a thousandth.
MAX_BYTES = 2**28

#: Matrices may lie in cells and structures up to this depth; a mask in a field of a structure is one deep.
_MAX_DEPTH = 8

#: Data types and array classes of "MAT-File Format" (MathWorks, level 5), tables 1-1 and 1-3.
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR, _SPARSE, _NUMBERS = 1, 2, 4, 5, range(6, 16)


def read_matlab(path: Path, variable: str, field: str | None = None) -> NDArray[Any]:
    """A matrix of ids from a MATLAB file of version 5 to 7 (7.3 is another format).

    Args:
        path: the file.
        variable: the name of the matrix, or of a structure that holds it.
        field: the name of the matrix in the structure.

    Shape: (H, W), any integer type.

    Raises:
        MultisegError: the file is missing, damaged, absurdly large or of another version, or has no such matrix.
    """
    from scipy.io import loadmat  # a tenth of a second that only some datasets need

    name = variable if field is None else f"{variable}.{field}"
    if not path.is_file():
        raise MultisegError(f"{path} does not exist.")
    try:
        content = _only(variable, path.read_bytes())
        found = {} if content is None else loadmat(io.BytesIO(content))  # type: ignore[no-untyped-call]
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


def _only(variable: str, data: bytes) -> bytes | None:
    """A file with one variable of a file, unpacked and found to be sound; None where there is none of that name.

    Raises:
        NotImplementedError: the file has version 7.3.
        ValueError: it is damaged or absurdly large.
    """
    order = {b"IM": "little", b"MI": "big"}.get(data[126:128])
    if order is None or len(data) < 128:
        raise ValueError("it has no header of a MATLAB file")
    if data[125 if order == "little" else 124] == 2:
        raise NotImplementedError
    place = 128
    while place + 8 <= len(data):
        file = _Walk(data, order, place)
        part = file.element()
        place = part.stop if part.kind == _COMPRESSED else file.place
        packed = part.kind == _COMPRESSED
        element = _unpacked(data[part.start : part.stop], order) if packed else data[part.start - 8 : place]
        if _Walk(element, order).name() == variable.encode():
            _Walk(element, order).matrix()
            return data[:128] + element
    return None


def _unpacked(packed: bytes, order: str) -> bytes:
    stream = zlib.decompressobj()
    tag = stream.decompress(packed, 8)
    size = _Walk(tag, order).number(4)
    content = stream.decompress(stream.unconsumed_tail, size) if 0 < size <= MAX_BYTES else b""
    if len(content) < size:
        raise ValueError(f"a variable of {size:,} bytes is cut off, or larger than the {MAX_BYTES:,} that are allowed")
    return tag + content


class _Part(NamedTuple):
    kind: int
    start: int
    stop: int


class _Walk:
    """Goes through a variable in the order in which SciPy reads it, which does not look at the sizes of matrices."""

    def __init__(self, data: bytes, order: str, place: int = 0) -> None:
        self.data, self.order, self.place = data, order, place

    def number(self, start: int, size: int = 4) -> int:
        return int.from_bytes(self.data[start : start + size], self.order)  # type: ignore[arg-type]

    def element(self) -> _Part:
        """Steps over a data element."""
        start = self.place
        kind, size = self.number(start), self.number(start + 4)
        if kind >> 16:  # of at most four bytes, in the place of the size
            part = _Part(kind & 0xFFFF, start + 4, start + 4 + (kind >> 16))
            self.place = start + 8
        else:
            part = _Part(kind, start + 8, start + 8 + size)
            self.place = part.stop + -size % 8
        if self.place <= start or part.stop > len(self.data):
            raise ValueError("it ends too early")
        return part

    def name(self) -> bytes:
        self.place = 8
        for _ in range(2):  # flags and size
            self.element()
        part = self.element()
        return self.data[part.start : part.stop]

    def matrix(self, depth: int = 0) -> None:
        """
        Raises:
            ValueError: it is damaged, nested too deeply, or claims to have more in it than it has.
        """
        if depth > _MAX_DEPTH:
            raise ValueError(f"matrices are nested more than {_MAX_DEPTH} deep")
        kind, size = self.number(self.place), self.number(self.place + 4)
        if kind != _MATRIX:
            raise ValueError("it holds something other than matrices")
        self.place += 8
        if not size:  # an empty one has nothing else
            return
        flags = self.number(self.element().start)
        dims = self.element()
        count = math.prod(self.number(start) for start in range(dims.start, dims.stop, 4))
        self.element()  # the name
        array_class, is_complex = flags & 255, flags >> 11 & 1
        if array_class in (_CELL, _STRUCT):
            if array_class == _STRUCT:
                length, names = self.element(), self.element()
                count *= (names.stop - names.start) // max(1, self.number(length.start))
            if count > len(self.data) // 8:
                raise ValueError(f"{count:,} matrices do not fit into it")
            for _ in range(count):
                self.matrix(depth + 1)
        elif array_class in (_CHAR, _SPARSE, *_NUMBERS):
            for _ in range((3 if array_class == _SPARSE else 1) + is_complex):
                self.element()
        else:
            raise ValueError("it holds an object or a function, expected numbers")
