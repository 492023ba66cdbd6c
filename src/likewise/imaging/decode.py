"""Decode an image file to pixels: the only place that handles the variety of real image files.

EXIF orientation is honoured, 16 bits become 8 by scale, CMYK and palettes become colour, colours of another profile
become sRGB, transparency lies on white, an animation gives its first frame, and a large JPEG is decoded at a fraction
of its size when a small image is wanted.
"""

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.imaging import jpeg
from likewise.imaging.headers import TURNED, grey_alpha, orientation, true_transparency
from likewise.imaging.resize import fit, is_quick, padded, stretched
from likewise.imaging.sizes import crop_box, inner_sides
from likewise.safety import bounds

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
    from PIL.ImageCms import ImageCmsProfile, ImageCmsTransform

__all__ = ["RULES", "Crop", "Head", "ImageSource", "ImageError", "check", "decode", "decoded", "decoder", "head"]

RULES = 2  # increase it when the same file gives other pixels than before: it is part of the key of cached images


class Crop(NamedTuple):
    """A part of an image file: left, top, right and bottom in pixels of the upright image."""

    path: Path
    box: tuple[int, int, int, int]


Shape = tuple[int, int, int]  # C, H, W
Box = tuple[int, int, int, int]
ImageSource = Path | bytes | Tensor | Crop  # a file, the bytes of one, uint8 [C,H,W], or a part of a file

GREY = {"1", "L", "LA", "La", "I", "F"}
# EXIF orientation -> what puts the image upright: rows and columns changed over or not, then the sides mirrored.
UPRIGHT = {2: (False, (1,)), 3: (False, (0, 1)), 4: (False, (0,))}
UPRIGHT |= {5: (True, ()), 6: (True, (1,)), 7: (True, (0, 1)), 8: (True, (0,))}


class ImageError(ValueError):
    """An image that cannot be read; the message is the reason."""


class Head(NamedTuple):
    """Channels and sides of the upright image, from the header of its file."""

    channels: int
    height: int
    width: int


def head(source: ImageSource) -> Head:
    """Channels (1 grey, 3 colour), height and width, from the first bytes of the file. Errors: ImageError."""
    if isinstance(source, Tensor):
        return Head(*source.shape)
    if isinstance(source, Crop):
        left, top, right, bottom = source.box
        return Head(head(source.path).channels, bottom - top, right - left)
    with _opened(source) as image:
        width, height = image.size
        sides = (width, height) if orientation(image) in TURNED else (height, width)
        return Head(1 if _is_grey(image) else 3, *sides)


def decode(
    source: ImageSource,
    shape: Shape | None = None,
    *,
    invert: bool = False,
    out: Tensor | None = None,
    mode: str = "stretch",
) -> Tensor:
    """uint8 [C,H,W], brought to `shape` if one is given (C is 1 or 3), else as the file has it. Errors: ImageError.

    Resizing averages over the pixels it merges (antialiased bilinear). mode: stretch | pad | crop, of images of another
    aspect (see sizes.FITS). invert: 255 minus the value. out: contiguous uint8 [C,H,W] of that shape, which gets the
    pixels and is returned.
    """
    pixels_CHW = _decode(source, shape, out, mode)
    if invert:
        return torch.sub(255, pixels_CHW, out=out)
    return pixels_CHW if out is None or pixels_CHW is out else out.copy_(pixels_CHW)


def _decode(source: ImageSource, shape: Shape | None, out: Tensor | None, mode: str) -> Tensor:
    """The pixels, in `out` where that saves a copy."""
    if isinstance(source, Tensor):
        return fit(source[None], shape, mode)[0] if shape else source
    file, box = source if isinstance(source, Crop) else (source, None)
    data = file if isinstance(file, bytes) else jpeg.whole(file)
    simple = jpeg.simple(data) if data and not (box and shape and shape[0] == 1) else None
    if simple:
        channels, height, width = shape or (simple.channels, 0, 0)
        pixels_HWC = jpeg.pixels(simple, channels, None if box or not shape else (width, height))
        if pixels_HWC is not None:
            return _finished(pixels_HWC.permute(2, 0, 1), shape, channels, box, out, mode)
    with _opened(data or file) as image:
        return _of_image(image, shape, box, fresh=True, out=out, mode=mode)


def decoded(image: "PillowImage", shape: Shape | None = None, mode: str = "stretch") -> Tensor:
    """The same of an image that Pillow has opened. Errors: ImageError."""
    return _of_image(image, shape, mode=mode)


def _of_image(
    image: "PillowImage",
    shape: Shape | None,
    box: Box | None = None,
    *,
    fresh: bool = False,
    out: Tensor | None = None,
    mode: str,
) -> Tensor:
    """The part in the box. fresh: Pillow has only just opened it, so that it still matches its file."""
    turn = orientation(image)
    channels, height, width = shape or (1 if _is_grey(image) else 3, 0, 0)
    # the sides that are enough, as the file has them
    enough = None if box or not shape else (height, width) if turn in TURNED else (width, height)
    quick = fresh and not (box and channels == 1)  # the brightness that a JPEG holds is not that of a whole one to 1
    plain = jpeg.of_image(image) if quick else None
    pixels_HWC = jpeg.pixels(plain, channels, enough) if plain else None
    if pixels_HWC is None:
        pixels_HWC = _pixels(image, channels, enough)
    return _finished(_upright(pixels_HWC, turn).permute(2, 0, 1), shape, channels, box, out, mode)


def _finished(
    pixels_CHW: Tensor, shape: Shape | None, channels: int, box: Box | None, out: Tensor | None, mode: str
) -> Tensor:
    pixels_CHW = _cropped(pixels_CHW, box) if box else pixels_CHW
    _, high, wide = shape or pixels_CHW.shape
    height, width = pixels_CHW.shape[1:]
    same = (height, width) == (high, wide)
    if mode == "pad" and not same:
        inside = inner_sides(height, width, (high, wide))
        return padded(stretched(pixels_CHW, [*inside])[:channels], (high, wide))
    if mode == "crop" and not same:
        top, left, height, width = crop_box(height, width, (high, wide))
        pixels_CHW = pixels_CHW[:, top : top + height, left : left + width]
    if len(pixels_CHW) == channels:
        return stretched(pixels_CHW, [high, wide], out)
    return stretched(pixels_CHW, [high, wide])[:channels]


def _pixels(image: "PillowImage", channels: int, enough: tuple[int, int] | None) -> Tensor:
    """uint8 [H,W,C] as Pillow decodes them; C is 4 for colour where its own memory is lent, the last one empty."""
    if enough:
        # decoding a JPEG at 1/2, 1/4 or 1/8, or its brightness alone, costs a fraction of decoding it whole
        brightness = channels == 1 and "icc_profile" not in image.info
        image.draft("L" if brightness else None, enough)
    plain = _plain(image, "L" if channels == 1 else "RGB")
    plain.load()
    if hasattr(plain, "__arrow_c_array__"):
        import pyarrow

        with suppress(ValueError):  # a large image's rows lie apart
            lent = pyarrow.array(plain)
            return torch.from_dlpack(lent if channels == 1 else lent.flatten()).view(*plain.size[::-1], -1)
    return torch.from_numpy(np.array(plain)).view(*plain.size[::-1], -1)


def _cropped(pixels_CHW: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """The part in the box; black where the box is beyond the image."""
    left, top, right, bottom = box
    height, width = pixels_CHW.shape[1:]
    return F.pad(pixels_CHW, (-left, right - width, -top, bottom - height))


def decoder() -> str:
    """Name and version of the decoder; another one may give pixels that differ by 1 of 255."""
    import PIL

    library = jpeg.simplejpeg()
    turbo = f" + simplejpeg {library.__version__}" if library else ""
    return f"Pillow {PIL.__version__}{turbo}{' + torch' * is_quick()}"


def check(source: ImageSource, shape: Shape | None = None, mode: str = "stretch") -> None:
    """Check that `decode` works, by decoding: checksums and end markers say nothing about compressed content.

    shape: the shape that will be decoded, which may need only a fraction of the file. Errors: ImageError.
    """
    decode(source, shape, mode=mode)


@functools.cache
def _pillow() -> ModuleType:
    """Pillow with all formats loaded; by default it loads rare ones on demand, which is a race between threads."""
    from PIL import Image

    Image.init()
    return Image


@contextmanager
def _opened(source: Path | bytes) -> Iterator["PillowImage"]:
    """The image as Pillow opens it; any error inside the block becomes an ImageError with the reason."""
    try:
        # the file is opened here, since Pillow leaves one open whose first bytes it cannot read
        file = io.BytesIO(source) if isinstance(source, bytes) else _regular(source).open("rb")
        with file:
            length = file.seek(0, io.SEEK_END)
            file.seek(0)
            # trying a JPEG's 20 bytes in every other format first costs a tenth of decoding it
            formats = ("JPEG",) if file.read(3) == b"\xff\xd8\xff" else None
            file.seek(0)
            with _pillow().open(file, formats=formats) as image:
                width, height = image.size
                bounds.image_size(width, height, length)
                yield image
    except (ImageError, MemoryError):
        raise
    # on damaged files decoders raise any exception: struct.error, SyntaxError, IndexError ...
    except Exception as error:
        raise ImageError(_reason(source, error)) from None


def _regular(path: Path) -> Path:
    """The path of a file that opening cannot hang on. Errors: ImageError."""
    if not path.is_file():
        raise ImageError(
            "a folder, not an image" if path.is_dir() else "not a regular file" if path.exists() else "no such file"
        )
    if path.stat().st_size > bounds.IMAGE_FILE:
        raise ImageError(f"it is longer than {bounds.human(bounds.IMAGE_FILE)}")
    return path


def _reason(source: Path | bytes, error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if not isinstance(error, UnidentifiedImageError):
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    return "not an image in any format that Pillow reads" if _tail(source) else "the file is empty, or zeros"


def _tail(source: Path | bytes, size: int = 64) -> bytes:
    """The last bytes, without the zeros that some cameras pad a file with."""
    if isinstance(source, bytes):
        return source[-size:].rstrip(b"\0")
    with source.open("rb") as file:
        file.seek(-min(size, source.stat().st_size), io.SEEK_END)
        return file.read().rstrip(b"\0")


def _upright(pixels_HWC: Tensor, orientation: int) -> Tensor:
    changed_over, mirrored = UPRIGHT.get(orientation, (False, ()))
    pixels_HWC = pixels_HWC.transpose(0, 1) if changed_over else pixels_HWC
    return pixels_HWC.flip(mirrored) if mirrored else pixels_HWC


def _is_grey(image: "PillowImage") -> bool:
    """By the file's mode; a palette is grey when all its colours are."""
    if image.mode == "P" and image.palette is not None:
        colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
        return bool((colours == colours[:, :1]).all())
    return image.mode in GREY or image.mode.startswith("I;16")


def _plain(image: "PillowImage", mode: str) -> "PillowImage":
    """The image in 8 bits and sRGB, "L" or "RGB", transparent areas on white."""
    profile = image.info.get("icc_profile")
    true_transparency(image)
    if image.mode == "F" or image.mode.startswith("I"):
        try:
            image = grey_alpha(image)
        except ValueError as error:
            raise ImageError(str(error)) from None
    if profile:
        image = _srgb(image, profile)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = _pillow().alpha_composite(_pillow().new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def _srgb(image: "PillowImage", profile: bytes) -> "PillowImage":
    """Convert to sRGB if the profile is another one and fits the mode; otherwise return the image."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode == "P":
        image = image.convert("RGB")
    transform = _to_srgb(profile, image.mode)
    if transform is None:
        return image
    managed = transform.apply(image)
    managed.info.pop("icc_profile", None)
    return managed


@functools.lru_cache(maxsize=32)
def _to_srgb(profile: bytes, mode: str) -> "ImageCmsTransform | None":
    """The transform from a profile to sRGB for images of a mode; None for sRGB itself and profiles of other modes."""
    from PIL import ImageCms

    kinds = {"RGB": ("RGB ", "RGB"), "RGBA": ("RGB ", "RGBA"), "CMYK": ("CMYK", "RGB"), "L": ("GRAY", "RGB")}
    kind, managed = kinds.get(mode, ("", ""))
    try:
        theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if theirs.profile.xcolor_space != kind or _description(theirs).startswith("srgb"):
            return None
        return ImageCms.buildTransform(theirs, ImageCms.createProfile("sRGB"), mode, managed)
    except (ImageCms.PyCMSError, OSError):  # a broken profile is no reason to lose a good image
        return None


def _description(profile: "ImageCmsProfile") -> str:
    return (profile.profile.profile_description or "").strip().lower()
