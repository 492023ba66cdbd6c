"""Decode plain JPEGs with simplejpeg if it is installed: the same pixels as Pillow, faster; None for unusual files."""

import functools
import os
import stat
import struct
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from likewise.safety import bounds

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

__all__ = ["Jpeg", "of_image", "pixels", "simple", "simplejpeg", "whole"]

# the parts of a JPEG that say how its pixels are packed, and no more: JFIF's head, tables, and the frame
SEGMENTS = {b"\xe0", b"\xdb", b"\xc4", b"\xdd"} | (FRAMES := {b"\xc0", b"\xc1", b"\xc2"})
READING = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe is no reason to hang
MEMORY = 1 << 28  # bytes of a file that may be read whole
FRONT = 4096  # bytes of a file within which they are
REDUCED = (8, 4, 2)  # reductions that a JPEG decoder supports


class Jpeg(NamedTuple):
    """The bytes of a JPEG in grey or in colour (channels 1 or 3), and its sides as it lies in the file."""

    data: bytes
    channels: int
    height: int
    width: int


def of_image(image: "PillowImage") -> Jpeg | None:
    """The JPEG that Pillow has just opened; None for another format, or colours that are not those of sRGB."""
    plain = image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB") and "icc_profile" not in image.info
    file = getattr(image, "fp", None)
    if plain and file and simplejpeg():
        file.seek(0)
        return Jpeg(file.read(), 1 if image.mode == "L" else 3, *image.size[::-1])
    return None


def whole(path: Path) -> bytes | None:
    """The content of a JPEG file, read with few calls, since threads block at each; None for other or unusual files."""
    name = os.fspath(path)
    if not name.lower().endswith((".jpg", ".jpeg")) or not simplejpeg():
        return None
    with suppress(OSError, ValueError):
        file = os.open(name, READING)
        try:
            status = os.fstat(file)
            if stat.S_ISREG(status.st_mode) and status.st_size < MEMORY:
                data = os.read(file, status.st_size)
                return data if len(data) == status.st_size else None
        finally:
            os.close(file)
    return None


def simple(data: bytes) -> Jpeg | None:
    """A JPEG without profile, orientation or comment; None for others, which Pillow decodes.

    Opening a small JPEG with Pillow takes a tenth of its decoding time, with the interpreter lock held.
    """
    frame = _frame(data[:FRONT]) if simplejpeg() else None
    return frame and Jpeg(data, *frame)


def _frame(front: bytes) -> tuple[int, int, int] | None:
    """Of the first bytes of a JPEG: channels, height and width, where up to the pixels all segments are in SEGMENTS."""
    from PIL import Image

    at, frame = 2, None
    while front[at : at + 1] == b"\xff" and front[at + 1 : at + 2] in SEGMENTS:
        if front[at + 1 : at + 2] in FRAMES and len(front) > at + 9:
            frame = (front[at + 9], *struct.unpack_from(">HH", front, at + 5))
        at += 2 + int.from_bytes(front[at + 2 : at + 4], "big")
    if not frame or front[:2] != b"\xff\xd8" or front[at : at + 2] != b"\xff\xda":
        return None
    channels, height, width = frame
    bomb = height * width > min(bounds.IMAGE_SMALL, Image.MAX_IMAGE_PIXELS or bounds.IMAGE_SMALL)
    return frame if channels in (1, 3) and not bomb else None


def pixels(jpeg: Jpeg, channels: int, enough: tuple[int, int] | None) -> Tensor | None:
    """uint8 [H,W,C], the same as from Pillow; None if Pillow must decode the file.

    enough: width and height as they lie in the file, down to which it may be decoded at 1/2, 1/4 or 1/8.
    """
    data, _, height, width = jpeg
    library = simplejpeg()
    if library is None or min(width, height) < max(REDUCED):
        return None
    by = next((by for by in REDUCED if enough and by * enough[0] <= width and by * enough[1] <= height), 1)
    sides = -(-height // by), -(-width // by)
    with suppress(ValueError, RuntimeError):  # Pillow decides whether an unusual file can be read
        colours = "GRAY" if channels == 1 else "RGB"
        rows = library.decode_jpeg(data, colours, min_height=sides[0], min_width=sides[1])
        return torch.from_numpy(rows) if rows.shape[:2] == sides else None
    return None


@functools.cache
def simplejpeg() -> ModuleType | None:
    """The library of the extra `images`, or None."""
    try:
        import simplejpeg as library
    except ImportError:
        return None
    return library
