"""Images on disk, decoded once, in threads: into memory if they fit, otherwise streamed; both use the cache."""

import functools
import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from math import prod
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from likewise.data import background, cache
from likewise.data.cache import Entry, Key, Room
from likewise.data.options import LoadOptions
from likewise.data.stored import Stored
from likewise.imaging.decode import Crop, Head, ImageError, ImageSource, check, decode, head
from likewise.imaging.resize import fit

__all__ = ["Files", "common_shape", "conform", "read", "together"]

CHUNK = 16  # most images per task: with single small images, threads would mostly wait for tasks
LARGEST = 512  # longest side if no size is requested

Shape = tuple[int, int, int]  # C, H, W
Progress = Callable[[int, int], None] | None
Item = TypeVar("Item")
Result = TypeVar("Result")


class Cached(NamedTuple):
    """An image that an older entry of the cache holds."""

    source: ImageSource
    stored: Stored
    place: int


@dataclass(frozen=True)
class Files:
    """A lazy sequence of images: `files[indices]` reads those and no other, uint8 [B,C,H,W].

    `stored` images come from the cache; others are decoded. Can be pickled and works after a fork, since no file stays
    open.
    """

    sources: tuple[ImageSource, ...]
    each: Shape
    invert: bool = False
    stored: Stored | None = None
    fit: str = "stretch"

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[N,C,H,W], as the tensor of all of them would have it."""
        return (len(self), *self.each)

    def take(self, indices: Sequence[int]) -> "Files":
        """The images at these indices, not yet read."""
        stored = self.stored and self.stored.take(indices)
        return Files(tuple(self.sources[i] for i in indices), self.each, self.invert, stored, self.fit)

    def __getitem__(self, indices: Tensor | Sequence[int]) -> Tensor:
        """Errors: ValueError naming an image that broke after it was listed."""
        rows = torch.as_tensor(indices, dtype=torch.int64).tolist()
        if self.stored:
            with suppress(OSError):
                return torch.from_numpy(self.stored[rows])
        pixels = _empty(len(rows), self.each)
        wrong = _fill(pixels, [self.sources[i] for i in rows], self.each, self.invert, self.fit)
        for row, why in wrong.items():
            raise ValueError(
                f"{_called(self.sources[rows[row]])} could be read when it was listed and cannot now: {why}"
            )
        return pixels


def read(
    sources: Sequence[ImageSource], options: LoadOptions, *, invert: bool = False
) -> tuple[Tensor | Files, dict[int, str]]:
    """The pixels of the readable images, and the reason for each of the others by its index.

    The pixels are a uint8 tensor [N,C,H,W] if that fits in `options.memory`, otherwise Files. Images decoded earlier
    are taken from the cache (see cache.py); newly decoded ones are added to it.
    """
    with _silent(), torch.inference_mode(False):
        key = cache.key_of(sources, options, invert)
        if key and (entry := cache.find(key)):
            with suppress(OSError):  # deleted by another process just now
                return _from(entry, sources, options, invert), entry.wrong
        return _decoded(sources, options, invert, key)


@contextmanager
def _silent() -> Iterator[None]:
    """Silence Pillow's warnings about unusual images: they are decoded, or listed with the reason."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _from(entry: Entry, sources: Sequence[ImageSource], options: LoadOptions, invert: bool) -> Tensor | Files:
    """Errors: OSError when the entry was deleted."""
    if entry.size <= options.memory:
        return torch.from_numpy(entry.stored.all())
    return Files(tuple(sources[at] for at in entry.rows), entry.each, invert, entry.stored, options.fit)


def _decoded(
    sources: Sequence[ImageSource], options: LoadOptions, invert: bool, key: Key | None
) -> tuple[Tensor | Files, dict[int, str]]:
    # the headers give the common shape; a given shape makes reading them unnecessary
    heads, wrong = ({}, {}) if options.sides and options.channels else _each(head, sources)
    good = [i for i in range(len(sources)) if i not in wrong]
    if not good:
        return torch.empty((0, 1, 1, 1), dtype=torch.uint8), wrong
    shape = common_shape([heads[i] for i in good if heads], options)
    chosen = [sources[i] for i in good]
    pixels = _empty(len(good), shape) if len(good) * prod(shape) <= options.memory else None
    room = cache.reserve(key, len(good), shape, options) if key else None
    try:
        reading = _sources(chosen, [room.key.prints[i] for i in good], room.key, shape) if room else chosen
        place = room if pixels is None else pixels
        if place is None:
            late = _each(partial(check, shape=shape, mode=options.fit), chosen, options.progress)[1]
        else:
            late = _fill(place, reading, shape, invert, options.fit, options.progress)
    except BaseException:
        if room:
            room.leave()
        raise
    readable = [row for row in range(len(good)) if row not in late]
    wrong |= {good[row]: why for row, why in late.items()}
    if pixels is None:
        stored = _closed(room, {good[row]: row for row in readable}, wrong, options) if room else None
        return Files(tuple(chosen[row] for row in readable), shape, invert, stored, options.fit), wrong
    pixels = pixels[readable] if late else pixels
    if room:
        rows = {good[row]: place for place, row in enumerate(readable)}
        background.behind(partial(_written, room, pixels, pixels._version, rows, dict(wrong), options))
    return pixels, wrong


def _sources(
    sources: Sequence[ImageSource], prints: Sequence[str], key: Key, shape: Shape
) -> Sequence[ImageSource | Cached]:
    """The images, or their place in older entries of the cache."""
    known = cache.known(key, shape)
    return [Cached(p, *known[print_]) if print_ in known else p for p, print_ in zip(sources, prints, strict=True)]


def _empty(count: int, shape: Shape) -> Tensor:
    """Uninitialised pixels; from numpy, which uses large memory pages: small ones cost more than a copy."""
    with torch.inference_mode(False):
        return torch.from_numpy(np.empty((count, *shape), np.uint8))


def _written(
    room: Room, pixels: Tensor, version: int, rows: dict[int, int], wrong: dict[int, str], options: LoadOptions
) -> None:
    """Write pixels in memory to the cache, unless their owner changes them meanwhile."""
    room.put(0, pixels.numpy())
    if pixels._version == version:  # torch counts changes, through any view
        _closed(room, rows, wrong, options)
    else:
        room.leave()


def _closed(room: Room, rows: dict[int, int], wrong: dict[int, str], options: LoadOptions) -> Stored | None:
    try:
        return room.close(rows, wrong).stored
    except OSError as error:
        room.leave()
        cache.without(cache.unwritable(error), options)
        return None


def common_shape(heads: Sequence[Head], options: LoadOptions) -> tuple[int, int, int]:
    """(C, H, W) that all images are brought to.

    Where no size is asked for, the sides that at least half of the images have, or else a square as wide as the
    median image's shorter side; never longer than 512 pixels. Where no channels are, those that most images have.
    """
    channels = options.channels or Counter(h.channels for h in heads).most_common(1)[0][0]
    if options.sides:
        return channels, *options.sides
    (sides, count), *_ = Counter((h.height, h.width) for h in heads).most_common(1)
    if 2 * count < len(heads):
        sides = (int(np.median([min(h.height, h.width) for h in heads])),) * 2
    shrink = min(1.0, LARGEST / max(sides))
    return channels, max(1, round(sides[0] * shrink)), max(1, round(sides[1] * shrink))


def conform(pixels: Tensor, options: LoadOptions) -> Tensor | Files:
    """Pixels in memory [N,C,H,W] in the size and colour that are wanted, batch by batch where all would be too much.

    Errors: ValueError for feature rows, which have neither.
    """
    if pixels.ndim != 4:
        if options.sides or options.channels:
            raise ValueError(
                f"size and channels are of images, and these are {'signals' if pixels.ndim == 3 else 'rows'} "
                f"{list(pixels.shape[1:])}; leave both 0"
            )
        return pixels
    channels, height, width = pixels.shape[1:]
    shape = (options.channels or channels, *(options.sides or (height, width)))
    if pixels.dtype == torch.uint8 and len(pixels) * prod(shape) > max(options.memory, pixels.numel()):
        return Files(tuple(pixels), shape, fit=options.fit)
    return fit(pixels, shape, options.fit)


def _fill(
    place: Tensor | Room,
    sources: Sequence[ImageSource | Cached],
    shape: Shape,
    invert: bool,
    mode: str,
    progress: Progress = None,
) -> dict[int, str]:
    """Decode every image (or copy it from the cache) into its row; returns the reasons of those that cannot be read."""

    def one(row: int) -> None:
        if isinstance(place, Room):
            place.put(row, _one(sources[row], shape, invert, mode).numpy())
        else:
            _one(sources[row], shape, invert, mode, place[row])

    return _each(one, range(len(sources)), progress)[1]


def _one(source: ImageSource | Cached, shape: Shape, invert: bool, mode: str, out: Tensor | None = None) -> Tensor:
    if isinstance(source, Cached):
        with suppress(OSError):
            pixels = torch.from_numpy(source.stored[[source.place]])[0]
            return pixels if out is None else out.copy_(pixels)
        source = source.source
    return decode(source, shape, invert=invert, out=out, mode=mode)


def _each(
    do: Callable[[Item], Result], items: Sequence[Item], progress: Progress = None
) -> tuple[dict[int, Result], dict[int, str]]:
    """`do(item)` for every item, in threads: the results, and the reasons of each ImageError, by the item's place."""
    results: dict[int, Result] = {}
    wrong: dict[int, str] = {}
    for done, result in enumerate(_spread(do, items), start=1):
        if isinstance(result, ImageError):
            wrong[done - 1] = str(result)
        else:
            results[done - 1] = result
        if progress and (done % CHUNK == 0 or done == len(items)):
            progress(done, len(items))
    return results, wrong


def _spread(do: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result | ImageError]:
    """The results in order; the threads start at once."""
    chunk = max(1, min(CHUNK, len(items) // (4 * (os.cpu_count() or 1))))

    def some(start: int) -> list[Result | ImageError]:
        return [_tried(do, item) for item in items[start : start + chunk]]

    return chain.from_iterable(_pool().map(some, range(0, len(items), chunk)))


def together(do: Callable[[Item], None], items: Sequence[Item]) -> None:
    """Call `do` for every item, in as many threads as torch has here, each with one of torch's own."""
    threads = max(1, min(torch.get_num_threads(), len(items)))

    def some(first: int) -> None:
        for item in items[first::threads]:
            do(item)

    if threads > 1:
        list(_pool().map(some, range(threads)))
    else:
        some(0)


def _tried(do: Callable[[Item], Result], item: Item) -> Result | ImageError:
    try:
        return do(item)
    except ImageError as broken:
        return broken


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """One pool for the process: decoders release the interpreter lock. Its threads run torch with one thread each."""
    threads, torchs = os.cpu_count() or 1, torch.get_num_threads()
    all_there = threading.Barrier(threads + 1)

    def started() -> None:
        torch.get_num_threads()  # the first call in a thread takes over the process's number
        torch.set_num_threads(1)  # of this thread, and of those that come after
        all_there.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="likewise-read", initializer=started)
    for _ in range(threads):
        pool.submit(int)
    all_there.wait()
    torch.set_num_threads(torchs)
    return pool


if hasattr(os, "register_at_fork"):  # threads do not survive a fork; a child makes its own pool
    os.register_at_fork(after_in_child=_pool.cache_clear)


def _called(source: ImageSource) -> str:
    path = source.path if isinstance(source, Crop) else source
    return str(path) if isinstance(path, Path) else "an image in memory"
