"""Image files in folders: one list of suffixes and one walk, for training, `embed`, `predict` and an exported model.

A file without a suffix is an image if its first bytes say so. Needs neither torch nor numpy, so that an exported model
reads the very files that training read.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["JUNK", "SUFFIXES", "Found", "image_files", "images_below", "is_image_name", "joined", "legible", "natural"]

SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".pgm"),
    *(".ppm", ".pbm", ".pnm", ".jp2", ".avif", ".heic", ".heif", ".tga", ".ico"),
}
# The first bytes of JPEG, PNG, GIF, TIFF and BMP files; WebP and others are recognised in `_begins_as_image`.
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"BM")
JUNK = {"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "lost+found", "system volume information"}

Skip = Callable[[str, str], None]  # name of the skipped file, reason


class Found(NamedTuple):
    """An image file and the names of the folders it lies in, from the top."""

    path: Path
    folders: tuple[str, ...]


def image_files(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """The files given, and the image files in the folders given. Errors: ValueError for one that is not there."""
    files: list[Path] = []
    skipped: list[str] = []
    for path in map(Path, paths):
        if not path.exists():
            raise ValueError(f"there is no file {legible(path)}; give images or folders of images")
        if path.is_dir():
            files += (image.path for image in images_below(path, lambda name, why: skipped.append(f"{name}: {why}")))
        else:
            files.append(path)
    if not files:
        example = f" ({skipped[0]})" if skipped else ""
        raise ValueError(
            f"the given folders contain no images{example}; image files end in .png, .jpg, .pgm and the like"
        )
    return files


def images_below(top: Path, skip: Skip) -> Iterator[Found]:
    """Every image file below a folder, in natural order; links are followed, except into loops.

    Hidden files and files of operating systems are ignored; `skip` is called with the name of anything that looks like
    an image but is not one, or of a folder that cannot be opened, and with the reason.
    """
    yield from _walk(top, (), (os.path.realpath(top),), skip)


def _walk(here: Path, folders: tuple[str, ...], above: tuple[str, ...], skip: Skip) -> Iterator[Found]:
    try:
        entries = sorted(os.scandir(here), key=lambda entry: natural(entry.name))
    except OSError as error:
        skip(joined(folders), f"the folder cannot be opened: {error.strerror}")
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name.casefold() in JUNK:
            continue
        if _is_folder(entry):
            real, inside = os.path.realpath(entry.path), 0
            if real not in above:
                for image in _walk(Path(entry.path), (*folders, entry.name), (*above, real), skip):
                    yield image
                    inside += 1
            if is_image_name(entry.name) and not inside:
                skip(joined((*folders, entry.name)), "a folder, not an image")
        elif is_image_name(entry.name) or ("." not in entry.name and _begins_as_image(entry)):
            if _is_file(entry):
                yield Found(Path(entry.path), folders)
            else:
                skip(joined((*folders, entry.name)), "a link that leads nowhere, or no regular file")


def is_image_name(name: str | os.PathLike) -> bool:
    """Whether a file name ends as images do, in whatever case."""
    return Path(name).suffix.lower() in SUFFIXES


def _begins_as_image(entry: os.DirEntry) -> bool:
    """By the first bytes of a regular file, such as a download without a suffix."""
    if not _is_file(entry):
        return False
    try:
        with open(entry.path, "rb") as file:
            first = file.read(12)
    except OSError:
        return False
    return first.startswith(MAGIC) or (first[:4] == b"RIFF" and first[8:] == b"WEBP")


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def joined(parts: Sequence[str]) -> str:
    """The name, below the top, of what lies at these names of folders and file."""
    return legible("/".join(parts)) if parts else "."


def natural(text: str) -> tuple[list[tuple[int, str]], str]:
    """A sorting key by which s2 comes before s10: the longer of two numbers is the larger."""
    parts = re.split(r"0*([0-9]+)", text)
    return [(len(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)], text


def legible(name: str | os.PathLike) -> str:
    """A file name as text that can be written anywhere: bytes that are not UTF-8 are spelled out as \\xff."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
