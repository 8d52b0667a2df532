"""MATLAB files to arrays.

SciPy reads such files, too, but only those that one can trust: it looks up the types of data in a table of C without
bounds, descends as deep as a file says, and makes as many cells. A flipped bit, or 184 bytes of malice, end the process
or keep it busy for minutes (seen with SciPy 1.17). What a mask needs of the format is little, and is here.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multiseg.errors import MultisegError

#: A variable that is larger unpacked, in bytes, is refused: masks of published datasets have less than a thousandth.
MAX_BYTES = 2**28

#: Matrices may lie in cells and structures up to this depth; a mask in a field of a structure is one deep.
_MAX_DEPTH = 8

#: Data types and array classes of "MAT-File Format" (MathWorks), level 5, tables 1-1 and 1-3.
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CELL, _STRUCT, _CHAR, _SPARSE = 1, 2, 4, 5
_ORDERS: dict[bytes, Literal["little", "big"]] = {b"IM": "little", b"MI": "big"}
_NUMBERS = dict(enumerate(("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"), 6))


#: A matrix of numbers, the fields of a structure, or None for anything else.
_Value: TypeAlias = "NDArray[Any] | dict[str, _Value] | None"


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
    name = variable if field is None else f"{variable}.{field}"
    if not path.is_file():
        raise MultisegError(f"{path} does not exist.")
    try:
        matrix = _variable(variable, path.read_bytes())
        if field is not None:
            matrix = (matrix if isinstance(matrix, dict) else {})[field]
    except NotImplementedError:
        raise MultisegError(f"{path} is a MATLAB file of version 7.3, expected version 5 to 7.") from None
    except KeyError:
        raise MultisegError(f"{path} has no matrix '{name}'.") from None
    except (ValueError, zlib.error) as error:
        raise MultisegError(f"{path} cannot be decoded as a MATLAB file: {error}") from None
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2:
        raise MultisegError(f"{path}: '{name}' is no matrix of numbers.")
    with np.errstate(invalid="ignore"):
        ids = matrix.astype(np.int32) if matrix.dtype.kind == "f" else matrix
    if (ids != matrix).any():
        raise MultisegError(f"{path}: '{name}' holds fractions, but ids are expected.")
    return ids


def _variable(variable: str, data: bytes) -> _Value:
    """The variable of that name.

    Raises:
        KeyError: there is none.
        NotImplementedError: the file has version 7.3.
        ValueError, zlib.error: the file is damaged or absurdly large.
    """
    order: Literal["little", "big"] | None = _ORDERS.get(data[126:128])
    if order is None:
        raise ValueError("it has no header of a MATLAB file")
    if data[125 if order == "little" else 124] == 2:
        raise NotImplementedError
    file = _Reader(data, order, 128)
    while file.place + 8 <= len(data):
        start = file.place
        part = file.element()
        if part.kind == _COMPRESSED:
            file.place = part.stop  # the one element that is not filled up to eight bytes
            element = _Reader(_unpacked(data[part.start : part.stop], order), order)
        else:
            element = _Reader(data[start : part.stop], order)
        if element.name() == variable.encode():
            return element.matrix()
    raise KeyError(variable)


def _unpacked(packed: bytes, order: Literal["little", "big"]) -> bytes:
    stream = zlib.decompressobj()
    tag = stream.decompress(packed, 8)
    size = _Reader(tag, order).number(4)
    content = stream.decompress(stream.unconsumed_tail, size) if 0 < size <= MAX_BYTES else b""
    if len(content) < size:
        raise ValueError(f"a variable of {size:,} bytes is cut off, or larger than the {MAX_BYTES:,} that are allowed")
    return tag + content


class _Part(NamedTuple):
    """A data element: its type, and where its data lie."""

    kind: int
    start: int
    stop: int


class _Reader:
    """Goes through data elements one by one.

    Args:
        data: of the file, or of one unpacked variable.
        order: of bytes.
        place: where to begin.
    """

    def __init__(self, data: bytes, order: Literal["little", "big"], place: int = 0) -> None:
        self.data, self.order, self.place = data, order, place

    def number(self, start: int) -> int:
        return int.from_bytes(self.data[start : start + 4], self.order)

    def element(self) -> _Part:
        """Steps over a data element.

        Raises:
            ValueError: there is none.
        """
        start = self.place
        kind, size = self.number(start), self.number(start + 4)
        if kind >> 16:  # of at most four bytes, which stand in the place of the size
            part = _Part(kind & 0xFFFF, start + 4, start + 4 + (kind >> 16))
            self.place = start + 8
        else:
            part = _Part(kind, start + 8, start + 8 + size)
            self.place = part.stop + -size % 8
        if part.stop > len(self.data) or part.start > len(self.data):
            raise ValueError("it ends too early")
        return part

    def name(self) -> bytes:
        """Of the variable that begins here."""
        place, self.place = self.place, self.place + 8
        for _ in range(2):  # flags and size
            self.element()
        part = self.element()
        self.place = place
        return self.data[part.start : part.stop]

    def array(self) -> NDArray[Any]:
        """The numbers of a data element.

        Raises:
            ValueError: its type is none of numbers.
        """
        part = self.element()
        if part.kind not in _TYPES:
            raise ValueError(f"it has data of type {part.kind}, expected numbers")
        kind = np.dtype(_TYPES[part.kind]).newbyteorder("<" if self.order == "little" else ">")
        return np.frombuffer(self.data[part.start : part.stop], kind)

    def matrix(self, depth: int = 0) -> _Value:
        """Steps over a matrix; None where it is neither of numbers nor one structure.

        Raises:
            ValueError: it is damaged, nested too deeply, or claims to have more in it than it has.
        """
        if depth > _MAX_DEPTH:
            raise ValueError(f"matrices are nested more than {_MAX_DEPTH} deep")
        if self.number(self.place) != _MATRIX:
            raise ValueError("it has something else where a matrix is expected")
        is_empty = not self.number(self.place + 4)
        self.place += 8
        if is_empty:  # nothing follows
            return None
        flags = self.number(self.element().start)
        array_class, is_complex = flags & 255, flags >> 11 & 1
        shape = [int(length) for length in self.array()]
        count = math.prod(shape)
        self.element()  # the name
        if array_class in (_CELL, _STRUCT):
            names = self._field_names() if array_class == _STRUCT else [""]
            if count < 0 or count * len(names) > len(self.data) // 8:
                raise ValueError(f"{count * len(names):,} matrices do not fit into it")
            values = [self.matrix(depth + 1) for _ in range(count * len(names))]
            return dict(zip(names, values, strict=True)) if array_class == _STRUCT and count == 1 else None
        if array_class in _NUMBERS:
            numbers = self.array()
            if is_complex:
                self.element()
            if min(shape, default=0) < 0 or count != numbers.size:
                raise ValueError(f"it has {numbers.size:,} numbers for a matrix of {'×'.join(map(str, shape))}")
            # numbers are kept in fewer bytes than the class has where they fit
            return numbers.astype(_NUMBERS[array_class]).reshape(shape, order="F")
        if array_class not in (_CHAR, _SPARSE):
            raise ValueError("it holds an object or a function, expected numbers")
        for _ in range((3 if array_class == _SPARSE else 1) + is_complex):
            self.element()
        return None

    def _field_names(self) -> list[str]:
        length = max(1, self.number(self.element().start))
        part = self.element()
        names = self.data[part.start : part.stop]
        return [names[i : i + length].split(b"\0")[0].decode("latin-1") for i in range(0, len(names), length)]
