"""Small files that stand for huge ones, and files that are not what they are called: refused quickly, in one line."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from multiseg.datasets.base import image_header, image_size, read_image, read_json, read_mask, read_matlab
from multiseg.datasets.base import listing as listing_module
from multiseg.datasets.base.matlab import MAX_BYTES
from multiseg.errors import MultisegError
from multiseg.yaml_node import MAX_BYTES as MAX_YAML
from multiseg.yaml_node import read_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + inner] * 10)}]\n" for inner, name in zip("abcdefghi", "bcdefghij", strict=True)
)


def refused(read: Callable[[Path], object], path: Path) -> str:
    """The one line, within a second and a few megabytes."""
    started = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(MultisegError) as caught:
            read(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 5 and most < 2**25
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, extra: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 110))
    return b"\x89PNG\r\n\x1a\n" + header + extra + pixels + chunk(b"IEND", b"")


PACKED = zlib.compress(bytes(2**26), 9)

IMAGES = {
    "60000 × 60000 pixels": png(60000, 60000),
    "as many pixels as can be written": png(2**31 - 1, 2**31 - 1),
    "64 MB of text": png(10, 10, chunk(b"zTXt", b"a\0\0" + PACKED)),
    "64 MB of international text": png(10, 10, chunk(b"iTXt", b"a\0\1\0\0\0" + PACKED)),
    "64 MB of colour profile": png(10, 10, chunk(b"iCCP", b"a\0\0" + PACKED)),
    "PostScript, for which Pillow starts Ghostscript": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    ),
    "nothing": b"",
}


@pytest.mark.parametrize("content", IMAGES.values(), ids=IMAGES)
def test_images(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for read in (read_image, image_header, image_size, lambda file: read_mask(file, False)):
        refused(read, path)


@pytest.mark.parametrize("ending", ["jpg", "webp", "tif", "gif"])
def test_an_absurd_size_in_the_header_of_other_formats(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    Image.new("L", (60, 70)).save(path)
    data = path.read_bytes()
    old, new = {
        "jpg": (struct.pack(">HH", 70, 60), struct.pack(">HH", 65000, 65000)),
        "webp": (struct.pack("<HH", 60, 70), struct.pack("<HH", 16383, 16383)),
        "tif": (struct.pack("<HHII", 257, 4, 1, 70), struct.pack("<HHII", 257, 4, 1, 2**31)),
        "gif": (struct.pack("<HH", 60, 70), struct.pack("<HH", 65535, 65535)),
    }[ending]
    assert old in data
    path.write_bytes(data.replace(old, new))
    refused(read_image, path)


def test_of_an_animation_the_first_picture_is_read(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (9, 8), (50 * number, 0, 0)) for number in range(4)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], lossless=True)
    image = read_image(tmp_path / "a.webp")
    assert image.shape == (3, 8, 9) and int(image.max()) == 0


# MATLAB

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(array_class: int, shape: tuple[int, ...], name: bytes, body: bytes) -> bytes:
    flags = element(6, struct.pack("<II", array_class, 0))
    return element(14, flags + element(5, struct.pack(f"<{len(shape)}i", *shape)) + element(1, name) + body)


def nested(depth: int) -> bytes:
    """A cell in a cell in a cell …, of which each level but the first says that it is eight bytes long."""
    start = struct.pack("<II", 14, 8) + matrix(1, (1, 1), b"", b"")[8:]
    return element(14, matrix(1, (1, 1), b"S", b"")[8:] + start * depth)


MATLAB = {
    "two thousand million cells": matrix(1, (2**31 - 1, 1), b"S", b""),
    "more numbers than there are": matrix(9, (2**31 - 1, 2**31 - 1), b"S", element(2, bytes(100))),
    "a negative size": matrix(9, (-1, -100), b"S", element(2, bytes(100))),
    "a type of data that is none": matrix(9, (1, 100), b"S", element(0x2009, bytes(100))),
    "cells in cells, 100,000 deep": nested(100_000),
    "an object": matrix(3, (1, 1), b"S", b""),
    "packed zeros": element(15, zlib.compress(struct.pack("<II", 14, MAX_BYTES + 8) + bytes(2**20), 9)),
    "packed, and cut off": element(15, zlib.compress(matrix(9, (1, 100), b"S", element(2, bytes(100))))[:-20]),
    "packed nothing": element(15, b""),
}


@pytest.mark.parametrize("content", MATLAB.values(), ids=MATLAB)
def test_matlab_files(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(HEADER + content)
    refused(lambda path: read_matlab(path, "S"), tmp_path / "a.mat")


def test_what_matlab_files_are_made_of_here_is_sound(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(HEADER + matrix(9, (2, 3), b"S", element(2, bytes(range(6)))))
    assert read_matlab(tmp_path / "a.mat", "S").tolist() == [[0, 2, 4], [1, 3, 5]]


# YAML and JSON


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "a: &a [x, *a]\n",
        "a: &a {b: 1}\n" + "".join(f"{n}: {{<<: [{', '.join(['*a'] * 1000)}]}}\n" for n in range(1100)),
        "[" * 50_000,
        "- " * 50_000,
        "a: !!python/object/apply:os.system [true]\n",
        "a: !!int x\n",
        "a: 2001-02-31\n",
        "a: 1\na: 2\n",
        "\0",
        "x: " + "y" * MAX_YAML,
    ],
    ids=["laughs", "itself", "merges", "brackets", "dashes", "python", "int", "date", "twice", "NUL", "long"],
)
def test_yaml(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    refused(read_yaml, tmp_path / "a.yaml")


def test_aliases_may_repeat_what_is_small(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n")
    assert read_yaml(tmp_path / "a.yaml").value == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, "NaN,", ""])
def test_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    refused(read_json, tmp_path / "a.json")


def test_an_index_without_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_module, "MAX_INDEX_BYTES", 100)
    (tmp_path / "a.json").write_text(json.dumps(list(range(100))))
    refused(read_json, tmp_path / "a.json")
