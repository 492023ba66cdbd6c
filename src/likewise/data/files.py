"""Pictures on disk, read in threads: decoded once into memory where they fit, else streamed batch by batch."""

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from likewise.data.decode import Head, Picture, PictureError, check, decode, fit, head
from likewise.data.want import Want

__all__ = ["Files", "common_shape", "conform", "read"]

CHUNK = 32  # pictures a task: a thread that is handed single small pictures spends its time being handed them
LARGEST = 512  # longest side, where no size was asked for


@dataclass(frozen=True)
class Files:
    """A lazy sequence of pictures: `files[indices]` decodes those and no other, uint8 [B,C,H,W].

    Pickles, and works after a fork; holds no file open.
    """

    pictures: tuple[Picture, ...]
    each: tuple[int, int, int]  # C, H, W
    invert: bool = False

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[N,C,H,W], as the tensor of all of them would have it."""
        return (len(self), *self.each)

    def take(self, indices: Sequence[int]) -> "Files":
        """The pictures at these places, still undecoded."""
        return Files(tuple(self.pictures[i] for i in indices), self.each, self.invert)

    def __getitem__(self, indices: Tensor | Sequence[int]) -> Tensor:
        """Errors: ValueError naming a picture that broke after it was listed."""
        rows = torch.as_tensor(indices, dtype=torch.int64).tolist()
        pixels = torch.empty((len(rows), *self.each), dtype=torch.uint8)
        wrong = _fill(pixels, [self.pictures[i] for i in rows], self.invert, chunk=1)
        for row, why in wrong.items():
            raise ValueError(
                f"{_called(self.pictures[rows[row]])} could be read when it was listed and cannot now: {why}"
            )
        return pixels


def read(pictures: Sequence[Picture], want: Want, *, invert: bool = False) -> tuple[Tensor | Files, dict[int, str]]:
    """The pixels of the pictures that can be read, and why each of the others cannot, by its place.

    The pixels are a uint8 tensor [N,C,H,W] when that fits in `want.memory` and Files when it does not.
    """
    # the heads tell the common shape; where that is given they need not be read
    heads, wrong = ([], {}) if want.size and want.channels else _each(head, pictures)
    good = [i for i in range(len(pictures)) if i not in wrong]
    if not good:
        return torch.empty((0, 1, 1, 1), dtype=torch.uint8), wrong
    shape = common_shape([heads[i] for i in good if heads], want)
    held = len(good) * prod(shape) <= want.memory
    pixels = torch.empty((len(good) if held else 0, *shape), dtype=torch.uint8)
    chosen = [pictures[i] for i in good]
    late = _fill(pixels, chosen, invert, want.progress) if held else _each(check, chosen, want.progress)[1]
    kept = [row for row in range(len(good)) if row not in late]
    wrong |= {good[row]: why for row, why in late.items()}
    if held:
        return pixels[kept] if late else pixels, wrong
    return Files(tuple(chosen[row] for row in kept), shape, invert), wrong


def common_shape(heads: Sequence[Head], want: Want) -> tuple[int, int, int]:
    """(C, H, W) that all pictures are brought to.

    Where no size is asked for, the sides that at least half of the pictures have, or else a square as wide as the
    median picture's shorter side; never longer than 512 pixels. Where no channels are, those that most pictures have.
    """
    channels = want.channels or Counter(h.channels for h in heads).most_common(1)[0][0]
    if want.size:
        return channels, want.size, want.size
    (sides, count), *_ = Counter((h.height, h.width) for h in heads).most_common(1)
    if 2 * count < len(heads):
        sides = (int(np.median([min(h.height, h.width) for h in heads])),) * 2
    shrink = min(1.0, LARGEST / max(sides))
    return channels, max(1, round(sides[0] * shrink)), max(1, round(sides[1] * shrink))


def conform(pixels: Tensor, want: Want) -> Tensor | Files:
    """Pixels in memory [N,C,H,W] in the size and colour that are wanted, batch by batch where all would be too much.

    Errors: ValueError for feature rows, which have neither.
    """
    if pixels.ndim != 4:
        if want.size or want.channels:
            raise ValueError(
                f"size and channels are of pictures, and these are rows {list(pixels.shape[1:])}; leave both 0"
            )
        return pixels
    channels, height, width = pixels.shape[1:]
    shape = (want.channels or channels, want.size or height, want.size or width)
    if pixels.dtype == torch.uint8 and len(pixels) * prod(shape) > max(want.memory, pixels.numel()):
        return Files(tuple(pixels), shape)
    return fit(pixels, shape)


def _fill(
    pixels: Tensor,
    pictures: Sequence[Picture],
    invert: bool,
    progress: Callable[[int, int], None] | None = None,
    chunk: int = CHUNK,
) -> dict[int, str]:
    """Decode every picture into its row of `pixels`; the reasons of those that cannot be read."""
    _, channels, height, width = pixels.shape
    rows = pixels.numpy()

    def put(row: int) -> None:
        # a numpy copy: torch would start its own threads in each of ours
        rows[row] = decode(pictures[row], (channels, height, width), invert=invert).numpy()

    return _each(put, range(len(pictures)), progress, chunk)[1]


def _each(
    do: Callable[[Any], Any],
    items: Sequence[Any],
    progress: Callable[[int, int], None] | None = None,
    chunk: int = CHUNK,
) -> tuple[list[Any], dict[int, str]]:
    """`do` of every item, in threads, and the reason for every item that is PictureError."""
    results: list[Any] = []
    wrong: dict[int, str] = {}
    for result in _spread(do, items, chunk):
        if isinstance(result, PictureError):
            wrong[len(results)] = str(result)
        results.append(result)
        if progress and (len(results) % chunk == 0 or len(results) == len(items)):
            progress(len(results), len(items))
    return results, wrong


def _spread(do: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> Iterator[Any]:
    def some(start: int) -> list[Any]:
        return [_tried(do, item) for item in items[start : start + chunk]]

    for part in _pool().map(some, range(0, len(items), chunk)):
        yield from part


def _tried(do: Callable[[Any], Any], item: Any) -> Any:
    try:
        return do(item)
    except PictureError as broken:
        return broken


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """One pool for the process: Pillow lets go of the interpreter while it decodes."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="likewise-read")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork; a child makes its own pool
    os.register_at_fork(after_in_child=_pool.cache_clear)


def _called(picture: Picture) -> str:
    return str(picture) if isinstance(picture, Path) else "a picture in memory"
