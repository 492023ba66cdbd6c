"""Images that clients send: bounded, recognised by their bytes, under names of our own, gone after the answer.

A client's file name, content type, path or URL is never used.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fastapi import UploadFile

from likewise.safety import bounds
from likewise.serve.problems import ProblemError
from likewise.serve.settings import Limits

__all__ = ["KINDS", "kind_of", "saved"]

KINDS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif"}
ACCEPTED = "JPEG, PNG, WebP, GIF, BMP or TIFF"


@contextmanager
def saved(uploads: Sequence[UploadFile], limits: Limits) -> Iterator[list[Path]]:
    """The files of some uploads, for the time of a request. Errors: Problem 400, 413 or 415."""
    if not uploads:
        raise ProblemError(400, "there is no image; send one or more files in the field `image`")
    if len(uploads) > limits.images:
        raise ProblemError(
            413, f"a request takes {limits.images} images, and this one has {len(uploads)}; send several"
        )
    folder = Path(tempfile.mkdtemp(prefix="likewise-"))
    try:
        yield [_save(upload, folder, i, limits) for i, upload in enumerate(uploads)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _save(upload: UploadFile, folder: Path, i: int, limits: Limits) -> Path:
    which = f"image {i + 1}"
    length = upload.size or 0
    if not length:
        raise ProblemError(400, f"{which} is empty")
    if length > limits.image_bytes:
        raise ProblemError(
            413,
            f"{which} is {bounds.human(length)} long, and at most {bounds.human(limits.image_bytes)} are accepted; "
            "make it smaller",
        )
    path = folder / f"{i:03}{KINDS[kind_of(upload.file, which, length, limits)]}"
    upload.file.seek(0)
    with path.open("xb") as file:
        shutil.copyfileobj(upload.file, file)
    return path


def kind_of(file: BinaryIO, which: str, length: int, limits: Limits) -> str:
    """The format that the bytes have. Errors: Problem 415 for no image, 413 for one of too many pixels."""
    from PIL import Image

    file.seek(0)
    try:
        with Image.open(file, formats=tuple(KINDS)) as image:
            kind, (width, height) = image.format, image.size
        bounds.image_size(width, height, length)
    except Image.DecompressionBombError:
        raise ProblemError(413, f"{which} has too many pixels; at most {limits.image_pixels:,} are accepted") from None
    except Exception as error:  # decoders raise many exception types
        if isinstance(error, ValueError) and "announces" in str(error):
            raise ProblemError(413, f"{which}: {error}") from None
        raise ProblemError(415, f"{which} is no image that can be read; send {ACCEPTED}") from None
    if width * height > limits.image_pixels:
        raise ProblemError(
            413,
            f"{which} has {width:,} x {height:,} pixels, and at most {limits.image_pixels:,} are accepted; "
            "make it smaller",
        )
    return str(kind)
