"""Decoded images in a file of the cache, row after row, each compared with its checksum as it is read."""

import shutil
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from likewise.data.options import on_stderr

__all__ = ["DamagedError", "Stored", "checksums", "discard", "mapped", "throw_away"]


class DamagedError(OSError):
    """The content differs from what was written."""


@dataclass(frozen=True)
class Stored:
    """Some rows of an entry, as a memory map gives them: `stored[places]` is uint8 [B,C,H,W]. Holds no file open."""

    path: Path
    each: tuple[int, int, int]
    rows: tuple[int, ...]
    sums: tuple[int, ...]  # CRC-32 of each of these rows

    def take(self, indices: Sequence[int]) -> "Stored":
        rows, sums = (tuple(values[i] for i in indices) for values in (self.rows, self.sums))
        return Stored(self.path, self.each, rows, sums)

    def __getitem__(self, indices: Sequence[int]) -> np.ndarray:
        """Errors: OSError when the entry was deleted; DamagedError, which deletes it."""
        pixels = np.take(mapped(self.path, self.each), [self.rows[i] for i in indices], axis=0)
        return self.checked(pixels, [self.sums[i] for i in indices])

    def all(self) -> np.ndarray:
        """Every row, in memory; read from front to back where they follow one another. Errors: as for some."""
        if self.rows != tuple(range(len(self.rows))):
            return self[range(len(self.rows))]
        size = len(self.rows) * prod(self.each)
        pixels = np.fromfile(self.path, np.uint8, size)
        if len(pixels) < size:
            raise OSError(f"{self.path} was cut short")
        return self.checked(pixels.reshape(-1, *self.each), self.sums)

    def checked(self, pixels: np.ndarray, sums: Sequence[int]) -> np.ndarray:
        if checksums(pixels) != list(sums):
            discard(self.path.parent)
            raise DamagedError(f"{self.path} is damaged")
        return pixels


def checksums(pixels: np.ndarray) -> list[int]:
    """Of each image of [B,C,H,W]."""
    return [zlib.crc32(image) for image in np.ascontiguousarray(pixels)]


def mapped(path: Path, each: tuple[int, int, int]) -> np.ndarray:
    """All rows of a file of pixels, read-only. Errors: OSError."""
    count = path.stat().st_size // prod(each)
    if not count:
        raise OSError(f"{path} was cut short")
    return np.memmap(path, np.uint8, "r", shape=(count, *each))


def discard(folder: Path) -> None:
    """Throw a damaged entry away, and say so, once."""
    if (folder / "index.json").exists():
        on_stderr(f"{folder} is damaged: its content is not what was saved; its images are decoded again")
    throw_away(folder)


def throw_away(folder: Path) -> None:
    """The index first: without it nobody takes the rest for an entry. What is mapped elsewhere stays readable there."""
    with suppress(OSError):
        (folder / "index.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
