"""A picture file into pixels: the one place that knows what files in the wild look like.

EXIF orientation is honoured, 16 bits become 8 by scale, CMYK and palettes become colour, transparency lies on white, an
animation gives its first frame, and a large JPEG is decoded at a fraction of its size when a small picture is wanted.
"""

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Head", "Picture", "PictureError", "check", "decode", "fit", "head"]

Picture = Path | bytes | Tensor  # a file, the bytes of one, or uint8 [C,H,W]

ORIENTATION = 0x0112  # the EXIF tag
GREY = {"1", "L", "LA", "La", "I", "F"}
# EXIF orientation -> what puts the picture upright, by the name Pillow gives it.
UPRIGHT = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"} | {
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


class PictureError(ValueError):
    """A picture that cannot be read; the message is the reason."""


class Head(NamedTuple):
    """What a file says of its picture before it is decoded; upright."""

    channels: int
    height: int
    width: int


def head(picture: Path | bytes) -> Head:
    """Channels (1 grey, 3 colour), height and width, from the first bytes of the file. Errors: PictureError."""
    with _opened(picture) as image:
        width, height = image.size
        sides = (width, height) if _orientation(image) >= 5 else (height, width)
        return Head(1 if _is_grey(image) else 3, *sides)


def decode(picture: Picture, shape: tuple[int, int, int] | None = None, *, invert: bool = False) -> Tensor:
    """uint8 [C,H,W], stretched to `shape` if one is given (C is 1 or 3), else as the file has it. Errors: PictureError.

    Stretching averages over the pixels it merges (antialiased bilinear). invert: 255 minus the value.
    """
    if isinstance(picture, Tensor):
        pixels_CHW = fit(picture[None], shape)[0] if shape else picture
        return 255 - pixels_CHW if invert else pixels_CHW
    with _opened(picture) as image:
        turn = _orientation(image)
        channels, height, width = shape or (1 if _is_grey(image) else 3, 0, 0)
        if shape:
            # decoding a JPEG at 1/2, 1/4 or 1/8, or its brightness alone, costs a fraction of decoding it whole
            image.draft("L" if channels == 1 else None, (height, width) if turn >= 5 else (width, height))
        plain = _upright(_plain(image, "L" if channels == 1 else "RGB"), turn)
        if shape and plain.size != (width, height):
            plain = plain.resize((width, height), _pillow().Resampling.BILINEAR)
        pixels = np.array(plain).reshape(plain.height, plain.width, channels).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(255 - pixels if invert else pixels))


def fit(pixels_NCHW: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Pixels in another size and colour, by the rules of `decode`."""
    channels, *sides = shape
    if channels == 1 and pixels_NCHW.shape[1] == 3:
        luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        grey = (pixels_NCHW * luma).sum(1, keepdim=True)
        pixels_NCHW = grey if pixels_NCHW.is_floating_point() else grey.round().to(pixels_NCHW.dtype)
    elif channels == 3 and pixels_NCHW.shape[1] == 1:
        pixels_NCHW = pixels_NCHW.repeat(1, 3, 1, 1)
    if list(pixels_NCHW.shape[2:]) == sides:
        return pixels_NCHW
    return F.interpolate(pixels_NCHW, sides, mode="bilinear", antialias=True)


def check(picture: Path | bytes) -> None:
    """Find out, without decoding where the format allows it, that `decode` will not fail. Errors: PictureError."""
    if not _ends_well(picture):
        decode(picture)


def _ends_well(picture: Path | bytes) -> bool:
    """Whether a PNG's checksums are right or a JPEG ends in its marker; False for what only decoding tells."""
    with _opened(picture) as image:
        if image.format == "JPEG":
            return _tail(picture).endswith(b"\xff\xd9")
        if image.format == "PNG":
            with suppress(Exception):
                image.verify()
                return True
    return False


@functools.cache
def _pillow() -> Any:
    """Pillow with all its formats; left to itself it loads the rarer ones on demand, and threads race for it."""
    from PIL import Image

    Image.init()
    return Image


@contextmanager
def _opened(picture: Path | bytes) -> Iterator[Any]:
    """The picture as Pillow opens it; whatever goes wrong inside the block becomes a PictureError with the reason."""
    try:
        with _pillow().open(io.BytesIO(picture) if isinstance(picture, bytes) else _regular(picture)) as image:
            yield image
    except (PictureError, MemoryError):
        raise
    # decoders meet bytes that nobody foresaw, and fail in every way there is: struct.error, SyntaxError, IndexError ...
    except Exception as error:
        raise PictureError(_reason(picture, error)) from None


def _regular(path: Path) -> Path:
    """The path of a file that opening cannot hang on. Errors: PictureError."""
    if not path.is_file():
        raise PictureError(
            "a folder, not a picture" if path.is_dir() else "not a regular file" if path.exists() else "no such file"
        )
    return path


def _reason(picture: Path | bytes, error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if not isinstance(error, UnidentifiedImageError):
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    return "not a picture in any format that Pillow reads" if _tail(picture) else "the file is empty, or zeros"


def _tail(picture: Path | bytes, size: int = 64) -> bytes:
    """The last bytes, without the zeros that some cameras pad a file with."""
    if isinstance(picture, bytes):
        return picture[-size:].rstrip(b"\0")
    with picture.open("rb") as file:
        file.seek(-min(size, picture.stat().st_size), io.SEEK_END)
        return file.read().rstrip(b"\0")


def _orientation(image: Any) -> int:
    """EXIF orientation, 1 (upright) where there is none or it is nonsense. Pillow turns a TIFF upright by itself."""
    if "exif" not in image.info:
        return 1
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # broken metadata is no reason to lose a good picture
        return 1


def _upright(image: Any, orientation: int) -> Any:
    if orientation not in UPRIGHT:
        return image
    return image.transpose(_pillow().Transpose[UPRIGHT[orientation]])


def _is_grey(image: Any) -> bool:
    """By the file's mode; a palette is grey when all its colours are."""
    if image.mode == "P" and image.palette is not None:
        colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
        return bool((colours == colours[:, :1]).all())
    return image.mode in GREY or image.mode.startswith("I;16")


def _plain(image: Any, mode: str) -> Any:
    """The picture in 8 bits, "L" or "RGB", what is transparent on white."""
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = _pillow().alpha_composite(_pillow().new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _eight_bits(image: Any) -> Any:
    """0..65535 to 0..255, rounded. Errors: PictureError for numbers that have no agreed range."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise PictureError(
            "its numbers are neither 8 nor 16 bits a pixel, so black and white are unknown; save it as 8 or 16 bits"
        )
    return _pillow().fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
