"""Image and mask files to arrays."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image

from multiseg.errors import MultisegError
from multiseg.label_space import pack_colors

#: Of the files that count as images, the usual one first; case does not matter.
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".ppm")

#: Formats of Pillow that are decoded, whatever a file is called. Not all it knows: for some it starts other programs
#: (Ghostscript for EPS).
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF")

#: Larger images are refused as decompression bombs (Pillow's own limit, applied to every decoder).
MAX_PIXELS = 178_956_970

#: Orientations by which rows and columns change places (EXIF 2.3, tag Orientation).
SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True)
class StoredFile:
    """An image or mask that is no file of its own, but lies in a shard. It is opened and named as a path is.

    Args:
        path: what it is called in messages.
        data: its bytes.
    """

    path: str
    data: bytes

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    def open(self, mode: str = "rb") -> BytesIO:
        return BytesIO(self.data)

    def read_bytes(self) -> bytes:
        return self.data


#: What can be decoded.
Source = Path | StoredFile

#: Top, bottom, left and right of a part of an image, in pixels, as in `image[..., top:bottom, left:right]`.
Box = tuple[int, int, int, int]


class ColoredMaskError(MultisegError):
    """A mask holds colours where ids are expected."""


def pack_color(color: tuple[int, int, int]) -> int:
    """The raw id of one colour, as `pack_colors` gives it for a mask."""
    return int(pack_colors(np.array(color, np.uint8)))


class StoredImage:
    """An image whose pixels are still in its file, so that whoever wants a part of it need not decode all.

    Args:
        path: of the file, or the file itself out of a shard, of which the header is read.

    Attributes:
        shape: (3, H, W), turned as the file's EXIF says.

    Raises:
        MultisegError: the file is missing, is no image, or is absurdly large.
    """

    def __init__(self, path: Source) -> None:
        self.path = path
        with _opened(path) as file:
            orientation = _orientation(file)
            size = (file.width, file.height) if orientation in SIDEWAYS else (file.height, file.width)
            self._turned = orientation != 1
            self._is_jpeg = file.format in ("JPEG", "MPO")
        self.shape = torch.Size((3, *size))

    def read(self, box: Box | None = None) -> tv_tensors.Image:
        """The image as RGB. Sixteen bits a channel become eight; transparency is dropped.

        Args:
            box: only this part, the same as `image[..., top:bottom, left:right]`. Of a PNG file the rows below it are
                then not decoded, nor is damage in them noticed.

        Shape: (3, H, W) uint8.

        Raises:
            MultisegError: the file cannot be decoded.
        """
        if not self._is_jpeg:
            with _opened(self.path) as file:
                # only where something is to turn: it copies else, too
                picture = ImageOps.exif_transpose(file) if self._turned else file
                if box:
                    top, bottom, left, right = box
                    _decode_rows(picture, bottom)
                    picture = picture.crop((left, top, right, bottom))
                return _pixels(picture)
        # Two to three times as fast as Pillow. Only for JPEG: torchvision's PNG decoder is hardly faster, decodes every
        # row, and a damaged file can end the process (torchvision 0.29: "bad adaptive filter value", a segmentation
        # fault).
        try:
            own = self.path
            source = str(own) if isinstance(own, Path) else torch.frombuffer(bytearray(own.data), dtype=torch.uint8)
            image = decode_image(source, mode=ImageReadMode.RGB, apply_exif_orientation=True)
        except RuntimeError:
            # its own message begins with a path of the machine that torchvision was built on
            reason = "damaged or truncated JPEG data"
            raise MultisegError(f"{self.path} cannot be decoded as an image: {reason}") from None
        if box:
            top, bottom, left, right = box
            image = image[:, top:bottom, left:right]
        return tv_tensors.Image(image)


def read_image(path: Source) -> tv_tensors.Image:
    """An image as RGB, turned as its EXIF says. Shape: (3, H, W) uint8.

    Sixteen bits a channel become eight; transparency is dropped.

    Raises:
        MultisegError: the file is missing, cannot be decoded, or is absurdly large.
    """
    return StoredImage(path).read()


def _decode_rows(picture: Image.Image, number: int) -> None:
    """Leaves out all rows of a PNG file but the first ones: they come from top to bottom, and Pillow's decoder is done
    where its tile ends.
    """
    if not isinstance(picture, ImageFile.ImageFile) or picture.format != "PNG" or len(picture.tile) != 1:
        return
    if not picture.info.get("interlace"):
        codec, _, *rest = picture.tile[0]
        picture.tile = [(codec, (0, 0, picture.width, number), *rest)]  # type: ignore[list-item]  # its own is private


def _pixels(picture: Image.Image) -> tv_tensors.Image:
    if picture.mode in ("I", "F"):
        raise ValueError("it has 32 bits a pixel, expected 8 or 16 a channel")
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    rgb = picture if picture.mode == "RGB" else picture.convert("RGB")  # where nothing is to convert, it copies
    # like torchvision's JPEG decoder, channels last in memory
    return tv_tensors.Image(torch.from_numpy(np.array(rgb)).permute(2, 0, 1))


def read_mask(path: Source, as_colors: bool) -> NDArray[Any]:
    """The raw ids of a mask file.

    Args:
        path: PNG (or any lossless format): 8-bit or 16-bit grey, palette (the indices are the ids), or RGB.
        as_colors: pixels are colours and leave packed by `pack_colors`.

    Shape: (H, W) uint8, uint16 or int32.

    Raises:
        MultisegError: the file is missing, cannot be decoded, or (as `ColoredMaskError`) holds colours where ids are
            expected.
    """
    with _opened(path) as file:
        if as_colors:
            # `pack_colors` at a fraction of its time: four bytes a pixel, of which the last is padding
            rgb = file if file.mode == "RGB" else file.convert("RGB")
            return np.asarray(rgb.convert("RGBX")).view("<i4")[..., 0] & 0xFFFFFF
        raw = np.asarray(file)
        if raw.ndim == 3:
            grey = raw[..., 0]
            if file.mode not in ("LA", "PA") and (raw[..., :3] != grey[..., None]).any():
                raise ColoredMaskError(f"{path} holds colours, but ids are expected.")
            return np.ascontiguousarray(grey)  # a grey mask saved as RGB or with transparency
        if raw.dtype.kind in "iu":
            return raw
        if raw.dtype.kind == "b":
            return raw.astype(np.uint8)
        raise ValueError("its pixels are no integers")


def image_size(path: Source, turned: bool = True) -> tuple[int, int]:
    """Height and width, read from the header alone.

    Args:
        path: an image or a mask.
        turned: as its EXIF says, like `read_image`; false for a mask, which is never turned.

    Raises:
        MultisegError: the file is missing or is no image.
    """
    with _opened(path) as file:
        width, height = file.size
        return (width, height) if turned and _orientation(file) in SIDEWAYS else (height, width)


@dataclass(frozen=True)
class ImageHeader:
    """What a file says of itself before its pixels.

    Args:
        size: height and width as stored.
        format: as Pillow calls it, such as "JPEG".
        mode: as Pillow calls it, such as "L" for grey, "P" for palette, "RGB" or "CMYK".
        bits: of a channel, 8 or 16 (32 counts as 16, less than 8 as 8); colours have 8 in every mode of Pillow's.
        orientation: by which `read_image` turns or mirrors it, 1 to 8; 1 is as stored.
    """

    size: tuple[int, int]
    format: str
    mode: str
    bits: int
    orientation: int


def image_header(path: Source) -> ImageHeader:
    """
    Raises:
        MultisegError: the file is missing or is no image.
    """
    with _opened(path) as file:
        layout = file.tile[0].args if file.tile else None
        stored = layout if isinstance(layout, str) else str(layout[0]) if layout else file.mode
        bits = 16 if stored.endswith((";16B", ";16L", ";16N")) or file.mode.startswith(("I", "F")) else 8
        return ImageHeader((file.height, file.width), file.format or "", file.mode, bits, _orientation(file))


def _orientation(file: ImageFile.ImageFile) -> int:
    if file.format == "PNG" and "exif" not in file.info and file.fp is not None and not _has_late_exif(file.fp):
        # PNG's own `getexif` would decode all pixels to see whether a tag follows them
        return int(Image.Image.getexif(file).get(0x0112, 1))
    return int(file.getexif().get(0x0112, 1))


def _has_late_exif(file: IO[bytes]) -> bool:
    """Whether a PNG has EXIF data anywhere (PNG specification, third edition, 11.3.4.5); its pixels are skipped."""
    before = file.tell()
    try:
        file.seek(8)
        while len(start := file.read(8)) == 8:
            if start[4:] == b"eXIf":
                return True
            file.seek(int.from_bytes(start[:4], "big") + 4, 1)
        return False
    finally:
        file.seek(before)


@contextmanager
def _opened(path: Source) -> Iterator[ImageFile.ImageFile]:
    """A file opened by Pillow, its pixels counted first; whatever goes wrong inside is a `MultisegError` naming it."""
    try:
        with Image.open(path if isinstance(path, Path) else path.open(), formats=IMAGE_FORMATS) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ValueError(f"{file.width * file.height:,} pixels, more than {MAX_PIXELS:,} are refused")
            yield file
    except FileNotFoundError:
        raise MultisegError(f"{path} does not exist.") from None
    except _DECODE_ERRORS as error:
        raise _undecodable(path, error) from None


#: What Pillow raises on damaged files.
_DECODE_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError),
    *(
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        ZeroDivisionError,
        MemoryError,
        NotImplementedError,
    ),
)


def _undecodable(path: Source, error: Exception) -> MultisegError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return MultisegError(f"{path} cannot be decoded as an image: {reason}")
