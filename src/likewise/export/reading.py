"""Decodes image files to a model's input with numpy and Pillow only, by the rules of imaging/decode.py.

tests/export/test_export_reading.py compares the two; where training resizes with torch, a byte may differ by one.
"""

import io
import os
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from likewise.imaging.find import image_files as files
from likewise.imaging.headers import ORIENTATION, TURNED, grey_alpha, orientation, true_transparency
from likewise.imaging.sizes import crop_box, inner_sides
from likewise.safety import bounds

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
    from PIL.ImageCms import ImageCmsTransform

__all__ = ["files", "pixels", "sides", "smaller"]

# mode: (the profile's colours, the mode that sRGB comes out in)
PROFILED = {"RGB": ("RGB ", "RGB"), "RGBA": ("RGB ", "RGBA"), "CMYK": ("CMYK", "RGB"), "L": ("GRAY", "RGB")}


def pixels(path: str | os.PathLike, shape: tuple[int, int, int], fit: str = "stretch") -> np.ndarray:
    """uint8 `[H, W, C]` of the file, for a model's shape (C, H, W) and fit. Errors: ValueError naming the file."""
    from PIL import Image

    channels, height, width = shape
    try:
        with Image.open(path) as image:
            bounds.image_size(*image.size, os.stat(path).st_size)
            turn = orientation(image)
            grey = channels == 1 and "icc_profile" not in image.info
            image.draft("L" if grey else None, (height, width) if turn in TURNED else (width, height))
            upright = plain(image, "L" if channels == 1 else "RGB", turn)
    except Exception as error:  # decoders raise many exception types
        raise ValueError(f"cannot read {os.fspath(path)} as an image: {error}") from None
    if upright.size == (width, height):
        return np.asarray(upright).reshape(height, width, channels)
    if fit == "crop":
        top, left, high, wide = crop_box(upright.height, upright.width, (height, width))
        upright = upright.crop((left, top, left + wide, top + high))
    inside = inner_sides(upright.height, upright.width, (height, width)) if fit == "pad" else (height, width)
    if upright.size != inside[::-1]:
        upright = upright.resize(inside[::-1], Image.Resampling.BILINEAR)
    return padded(np.asarray(upright).reshape(*inside, channels), (height, width))


def padded(pixels_HWC: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """In the middle of these sides, with the lower median of each channel's border around."""
    height, width = pixels_HWC.shape[:2]
    if (height, width) == sides:
        return pixels_HWC
    inner = pixels_HWC[1:-1]
    edge = np.concatenate([pixels_HWC[0], pixels_HWC[-1], inner[:, 0], inner[:, -1]])
    whole = np.empty((*sides, pixels_HWC.shape[2]), np.uint8)
    whole[:] = np.sort(edge, axis=0)[(len(edge) - 1) // 2]
    top, left = (sides[0] - height) // 2, (sides[1] - width) // 2
    whole[top : top + height, left : left + width] = pixels_HWC
    return whole


def smaller(path: str | os.PathLike, side: int) -> "PillowImage":
    """The upright image in sRGB, at most `side` pixels long and wide. Errors: ValueError naming the file and why."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            bounds.image_size(*image.size, os.stat(path).st_size)
            turn = orientation(image)
            image.draft(None, (side, side))
            upright = plain(image, "RGB", turn)
            upright.thumbnail((side, side))
    except Exception as error:  # decoders raise many exception types
        raise ValueError(f"cannot read {os.fspath(path)} as an image: {error}") from None
    return upright


def sides(path: str | os.PathLike) -> tuple[int, int]:
    """Width and height as the file's header has them. Errors: ValueError naming the file and why."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except Exception as error:  # decoders raise many exception types
        raise ValueError(f"cannot read {os.fspath(path)} as an image: {error}") from None


def plain(image: "PillowImage", mode: str, turn: int) -> "PillowImage":
    """Convert to upright 8-bit sRGB, "L" or "RGB", transparent areas on white."""
    from PIL import Image, ImageOps

    profile = image.info.get("icc_profile")
    true_transparency(image)
    if image.mode == "F" or image.mode.startswith("I"):
        image = grey_alpha(image)
    if profile:
        image = srgb(image, profile)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert(mode)
    if turn == 1:
        return image
    image.getexif()[ORIENTATION] = turn
    return ImageOps.exif_transpose(image)


def srgb(image: "PillowImage", profile: bytes) -> "PillowImage":
    """Convert to sRGB if the profile is another one and fits the mode; otherwise return the image."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode == "P":
        image = image.convert("RGB")
    transform = to_srgb(profile, image.mode)
    if transform is None:
        return image
    managed = transform.apply(image)
    managed.info.pop("icc_profile", None)
    return managed


@lru_cache(maxsize=32)
def to_srgb(profile: bytes, mode: str) -> "ImageCmsTransform | None":
    from PIL import ImageCms

    kind, managed = PROFILED.get(mode, ("", ""))
    try:
        theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        described = (theirs.profile.profile_description or "").strip().lower()
        if theirs.profile.xcolor_space != kind or described.startswith("srgb"):
            return None
        return ImageCms.buildTransform(theirs, ImageCms.createProfile("sRGB"), mode, managed)
    except (ImageCms.PyCMSError, OSError):  # an invalid profile must not lose a valid image
        return None
