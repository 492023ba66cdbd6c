"""Pictures on disk, decoded once, in threads: into memory where they fit, and into the cache, which else streams."""

import functools
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from likewise.data import cache
from likewise.data.cache import Entry, Key, Room, Stored
from likewise.data.want import Want
from likewise.decode import Crop, Head, Picture, PictureError, check, decode, fit, head

__all__ = ["Files", "common_shape", "conform", "read"]

CHUNK = 32  # pictures a task: a thread that is handed single small pictures spends its time being handed them
LARGEST = 512  # longest side, where no size was asked for
PIECE = 64 << 20  # bytes decoded before they are written, which goes on beside the next ones

Shape = tuple[int, int, int]  # C, H, W
Progress = Callable[[int, int], None] | None


class Kept(NamedTuple):
    """A picture that an older entry of the cache has."""

    picture: Picture
    stored: Stored
    place: int


@dataclass(frozen=True)
class Files:
    """A lazy sequence of pictures: `files[indices]` reads those and no other, uint8 [B,C,H,W].

    They come from the cache where they are `stored`, and are decoded where not, or no longer. Pickles, and works after
    a fork; holds no file open.
    """

    pictures: tuple[Picture, ...]
    each: Shape
    invert: bool = False
    stored: Stored | None = None

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[N,C,H,W], as the tensor of all of them would have it."""
        return (len(self), *self.each)

    def take(self, indices: Sequence[int]) -> "Files":
        """The pictures at these places, still unread."""
        stored = self.stored and self.stored.take(indices)
        return Files(tuple(self.pictures[i] for i in indices), self.each, self.invert, stored)

    def __getitem__(self, indices: Tensor | Sequence[int]) -> Tensor:
        """Errors: ValueError naming a picture that broke after it was listed."""
        rows = torch.as_tensor(indices, dtype=torch.int64).tolist()
        if self.stored:
            with suppress(OSError):
                return torch.from_numpy(self.stored[rows])
        pixels = torch.empty((len(rows), *self.each), dtype=torch.uint8)
        wrong = _fill(pixels, [self.pictures[i] for i in rows], self.invert, chunk=1)
        for row, why in wrong.items():
            raise ValueError(
                f"{_called(self.pictures[rows[row]])} could be read when it was listed and cannot now: {why}"
            )
        return pixels


def read(pictures: Sequence[Picture], want: Want, *, invert: bool = False) -> tuple[Tensor | Files, dict[int, str]]:
    """The pixels of the pictures that can be read, and why each of the others cannot, by its place.

    The pixels are a uint8 tensor [N,C,H,W] when that fits in `want.memory` and Files when it does not. What was decoded
    by an earlier call is taken from the cache (see cache.py), and what is decoded now is left there.
    """
    with _silent():
        key = cache.key_of(pictures, want, invert)
        if key and (entry := cache.find(key)):
            with suppress(OSError):  # thrown away by another process just now
                return _from(entry, pictures, want, invert), entry.wrong
        return _decoded(pictures, want, invert, key)


@contextmanager
def _silent() -> Iterator[None]:
    """What Pillow has to say of odd pictures is no news to a user: they are decoded, or listed with the reason."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _from(entry: Entry, pictures: Sequence[Picture], want: Want, invert: bool) -> Tensor | Files:
    """Errors: OSError when the entry was thrown away."""
    if entry.size <= want.memory:
        return torch.from_numpy(entry.stored[range(len(entry.rows))])
    return Files(tuple(pictures[at] for at in entry.rows), entry.each, invert, entry.stored)


def _decoded(
    pictures: Sequence[Picture], want: Want, invert: bool, key: Key | None
) -> tuple[Tensor | Files, dict[int, str]]:
    # the heads tell the common shape; where that is given they need not be read
    heads, wrong = ([], {}) if want.size and want.channels else _each(head, pictures)
    good = [i for i in range(len(pictures)) if i not in wrong]
    if not good:
        return torch.empty((0, 1, 1, 1), dtype=torch.uint8), wrong
    shape = common_shape([heads[i] for i in good if heads], want)
    held = len(good) * prod(shape) <= want.memory
    pixels = torch.empty((len(good) if held else 0, *shape), dtype=torch.uint8)
    chosen = [pictures[i] for i in good]
    room = cache.reserve(key, len(good), shape, want) if key else None
    if room:
        known = cache.known(room.key, shape)
        prints = room.key.prints
        sources = [Kept(pictures[i], *known[prints[i]]) if prints[i] in known else pictures[i] for i in good]
        late, room = _kept(sources, shape, invert, want, room, pixels if held else None)
    elif held:
        late = _fill(pixels, chosen, invert, want.progress)
    else:
        late = _each(check, chosen, want.progress)[1]
    kept = [row for row in range(len(good)) if row not in late]
    wrong |= {good[row]: why for row, why in late.items()}
    stored = _closed(room, {good[row]: row for row in kept}, wrong, want) if room else None
    if held:
        return pixels[kept] if late else pixels, wrong
    return Files(tuple(chosen[row] for row in kept), shape, invert, stored), wrong


def _kept(
    sources: Sequence[Any], shape: Shape, invert: bool, want: Want, room: Room, pixels: Tensor | None
) -> tuple[dict[int, str], Room | None]:
    """Decode piece by piece, each written to the cache beside the next; into `pixels` too, where they are held.

    Gives the reasons of those that cannot be read, and the room, or None when it could not be written.
    """
    step, writing = max(CHUNK, PIECE // prod(shape)), Written(room, want)
    wrong: dict[int, str] = {}
    try:
        for start in range(0, len(sources), step):
            some = sources[start : start + step]
            piece = torch.empty((len(some), *shape), dtype=torch.uint8) if pixels is None else pixels[start:][:step]
            late = _fill(piece, some, invert, _shifted(want.progress, start, len(sources)))
            wrong |= {start + row: why for row, why in late.items()}
            writing.append(piece.numpy())
        return wrong, room if writing.finished() else None
    except BaseException:
        writing.finished()
        room.leave()
        raise


class Written:
    """Pieces on their way to the cache in a thread of their own, one at a time; the first that fails is the last."""

    def __init__(self, room: Room, want: Want):
        self.room, self.want, self.failed = room, want, False
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="likewise-write")
        self.under_way: Future | None = None

    def append(self, piece: np.ndarray) -> None:
        self.wait()
        if not self.failed:
            self.under_way = self.thread.submit(self.room.append, piece)

    def wait(self) -> None:
        under_way, self.under_way = self.under_way, None
        try:
            if under_way:
                under_way.result()
        except OSError as error:
            self.failed = True
            self.room.leave()
            cache.without(cache.unwritable(error), self.want)

    def finished(self) -> bool:
        """Whether all was written."""
        self.wait()
        self.thread.shutdown()
        return not self.failed


def _closed(room: Room, rows: dict[int, int], wrong: dict[int, str], want: Want) -> Stored | None:
    try:
        return room.close(rows, wrong).stored
    except OSError as error:
        room.leave()
        cache.without(cache.unwritable(error), want)
        return None


def _shifted(progress: Progress, start: int, total: int) -> Progress:
    return progress and (lambda done, _: progress(start + done, total))


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
    pictures: Sequence[Picture | Kept],
    invert: bool,
    progress: Progress = None,
    chunk: int = CHUNK,
) -> dict[int, str]:
    """Decode every picture (or copy it from where it lies decoded) into its row of `pixels`; why some cannot be."""
    _, channels, height, width = pixels.shape
    rows = pixels.numpy()

    def put(row: int) -> None:
        # a numpy copy: torch would start its own threads in each of ours
        rows[row] = _one(pictures[row], (channels, height, width), invert)

    return _each(put, range(len(pictures)), progress, chunk)[1]


def _one(picture: Picture | Kept, shape: Shape, invert: bool) -> np.ndarray:
    if isinstance(picture, Kept):
        with suppress(OSError):
            return picture.stored[[picture.place]][0]
        picture = picture.picture
    return decode(picture, shape, invert=invert).numpy()


def _each(
    do: Callable[[Any], Any],
    items: Sequence[Any],
    progress: Progress = None,
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
    path = picture.path if isinstance(picture, Crop) else picture
    return str(path) if isinstance(path, Path) else "a picture in memory"
