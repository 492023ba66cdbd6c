"""Decoded images kept on disk, so that the next run reads them instead of decoding: a folder for each set of them.

    <cache>/<key>/pixels      uint8 [N,C,H,W], row after row, as a memory map reads it
    <cache>/<key>/index.json  their shape, what each row was decoded from, its checksum, why images are missing, and a
                              checksum of all this

The key is computed from every file's path, length and times, and from every setting that changes a pixel. The contents
are not hashed: that would mean reading all files, which costs as much as the cache saves. ctime is included because
every write changes it, whereas programs can set mtime back. A file that has moved is decoded again; a file that stayed
while others were added is copied from the older entry.

Pixels in memory are written in the background, by a thread of low priority; streamed pixels are written as they are
decoded. An entry is written under a temporary name, synced to the disk and renamed, so that an entry is always
complete. Any number of processes may read, build and delete entries at once. The least recently used entries are
deleted when the limit is reached.
"""

import functools
import json
import os
import re
import shutil
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from likewise.data.background import settle
from likewise.data.options import LoadOptions, cache_home
from likewise.data.stored import Stored, checksums, discard, throw_away
from likewise.imaging.decode import RULES, Crop, ImageSource, decoder

__all__ = ["Entry", "Key", "Room", "find", "key_of", "limit", "reserve"]

WORTH = 8 << 20  # bytes of files; smaller sets are decoded in a second or two and are not cached
LIMIT = 20 << 30  # bytes, where LIKEWISE_CACHE_LIMIT does not say
SPARE = 1 << 30  # bytes of the disk that are left free
BUILDING = ".building-"
STALE = 24 * 3600  # seconds after which the unfinished entry of a killed process is deleted
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class Key(NamedTuple):
    """The key of a set of decoded images; `prints` has a fingerprint for each image."""

    name: str
    settings: str
    prints: tuple[str, ...]


class Entry(NamedTuple):
    """A whole set: the row of each image that could be read, and why each of the others could not."""

    folder: Path
    each: tuple[int, int, int]
    rows: dict[int, int]
    wrong: dict[int, str]
    prints: tuple[str, ...]
    sums: tuple[int, ...]  # of each row

    @property
    def stored(self) -> Stored:
        return Stored(self.folder / "pixels", self.each, tuple(self.rows.values()), self.sums)

    @property
    def size(self) -> int:
        """Bytes of the images that can be read."""
        return len(self.rows) * prod(self.each)


def key_of(sources: Sequence[ImageSource], options: LoadOptions, invert: bool) -> Key | None:
    """None for images that are not worth keeping: in memory already, or few. Errors: ValueError, see `limit`."""
    if not limit() or not all(isinstance(source, bytes | Path | Crop) for source in sources):
        return None
    prints, sizes = zip(*map(fingerprint, sources), strict=True) if sources else ((), ())
    if sum(sizes) < WORTH:
        return None
    settings = f"{RULES} {decoder()} {'inverted' if invert else 'plain'}"
    settings += f" {options.fit}" if options.fit != "stretch" else ""
    name = digest(f"{settings} {options.size} {options.channels}".encode(), *map(str.encode, prints))
    return Key(name, settings, prints)


def fingerprint(source: ImageSource) -> tuple[str, int]:
    """A fingerprint that changes with the image, and the length of the image in bytes."""
    assert isinstance(source, bytes | Path | Crop)
    if isinstance(source, Crop):
        whole, length = fingerprint(source.path)
        return digest(whole.encode(), str(source.box).encode()), length
    if isinstance(source, bytes):
        return digest(source), len(source)
    name = os.fsencode(os.path.abspath(source))
    try:
        stat = os.stat(source)
    except (OSError, ValueError):
        return digest(name, b"absent"), 0
    return digest(name, f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}".encode()), stat.st_size


def digest(*parts: bytes) -> str:
    hashed = blake2b(digest_size=16)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "little") + part)
    return hashed.hexdigest()


def limit() -> int:
    """Largest size of the cache in bytes: LIKEWISE_CACHE_LIMIT, such as 50GB; 0 disables it. Errors: ValueError."""
    text = os.environ.get("LIKEWISE_CACHE_LIMIT", "").strip()
    if not text:
        return LIMIT
    number = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text, re.IGNORECASE)
    if not number:
        raise ValueError(f"LIKEWISE_CACHE_LIMIT is a size such as 50GB or 500MB, or 0 for no cache; got {text!r}")
    return int(float(number[1]) * UNITS[number[2].upper()])


def find(key: Key) -> Entry | None:
    """The entry of a key, marked as used now; None without a complete one."""
    settle()
    folder = cache_home() / key.name
    entry = opened(folder, key.settings)
    if entry:
        with suppress(OSError):  # a cache that only others may write to is read all the same
            os.utime(folder / "index.json")
    return entry


def opened(folder: Path, settings: str) -> Entry | None:
    """The entry in a folder; None if there is none with these settings. A damaged entry is deleted."""
    try:
        content = (folder / "index.json").read_bytes()
    except OSError:
        return None
    try:
        index = json.loads(content)
        if index.pop("crc32") != zlib.crc32(json.dumps(index).encode()):
            raise ValueError("its index is damaged")
        entry = Entry(
            folder,
            tuple(index["each"]),
            {at: row for at, row in enumerate(index["rows"]) if row >= 0},
            {int(at): why for at, why in index["wrong"].items()},
            tuple(index["prints"]),
            tuple(index["sums"]),
        )
        if (folder / "pixels").stat().st_size != index["bytes"]:
            raise ValueError("its pixels are cut short")
        return entry if index["settings"] == settings else None
    except (FileNotFoundError, KeyError):  # deleted just now, or of an earlier version, which had no checksums
        return None
    except (OSError, ValueError, TypeError, AttributeError):
        discard(folder)
    return None


def known(key: Key, each: tuple[int, int, int]) -> dict[str, tuple[Stored, int]]:
    """By fingerprint: the place of images of this set that another entry holds decoded in the same way."""
    wanted, decoded = set(key.prints), {}
    for folder in entries():
        entry = opened(folder, key.settings)
        if entry and entry.each == each:
            stored = entry.stored
            for place, at in enumerate(entry.rows):
                if entry.prints[at] in wanted:
                    decoded[entry.prints[at]] = stored, place
    return decoded


def entries() -> list[Path]:
    """The folders of the entries, the least recently used first."""
    with suppress(OSError):
        return sorted((p for p in cache_home().iterdir() if re.fullmatch("[0-9a-f]{32}", p.name)), key=last_used)
    return []


def last_used(folder: Path) -> float:
    with suppress(OSError):
        return (folder / "index.json").stat().st_mtime
    return 0.0


class Room:
    """An entry that is being written. Any thread may `put`; `close` gives it its name, `leave` throws it away."""

    def __init__(self, folder: Path, key: Key, each: tuple[int, int, int]):
        self.folder, self.key, self.each = folder, key, each
        self.file = (folder / "pixels").open("wb", buffering=0)
        self.alone = threading.Lock()
        self.failed: OSError | None = None
        self.sums: dict[int, int] = {}

    def put(self, row: int, pixels: np.ndarray) -> None:
        """An image [C,H,W], or several [B,C,H,W] from that row on. `close` will say if the disk is full."""
        whole = np.ascontiguousarray(pixels).reshape(-1, *self.each)
        sums, unwritten = checksums(whole), whole.reshape(-1).data
        with self.alone:
            if self.failed or self.file.closed:
                return
            self.sums |= {row + i: value for i, value in enumerate(sums)}
            try:
                self.file.seek(row * prod(self.each))
                while unwritten:
                    unwritten = unwritten[self.file.write(unwritten) :]
            except OSError as error:
                self.failed = error

    def close(self, rows: dict[int, int], wrong: dict[int, str]) -> Entry:
        """rows: the row of each image that could be read; wrong: why each other could not. Errors: OSError."""
        if self.failed:
            raise self.failed
        size = (1 + max(rows.values(), default=-1)) * prod(self.each)
        sums = tuple(self.sums[row] for row in rows.values())
        index = {
            "settings": self.key.settings,
            "each": self.each,
            "bytes": size,
            "rows": [rows.get(at, -1) for at in range(len(self.key.prints))],
            "wrong": wrong,
            "prints": self.key.prints,
            "sums": sums,
        }
        index["crc32"] = zlib.crc32(json.dumps(index).encode())
        self.file.truncate(size)
        os.fsync(self.file.fileno())
        self.file.close()
        with (self.folder / "index.json").open("w", encoding="utf-8") as file:
            json.dump(index, file)
            file.flush()
            os.fsync(file.fileno())
        named = self.folder.with_name(self.key.name)
        try:
            self.folder.rename(named)
        except OSError:
            if not opened(named, self.key.settings):  # there is one, and it is not whole
                throw_away(named)
                self.folder.rename(named)
            else:  # another process was quicker and wrote the same content
                throw_away(self.folder)
        return Entry(named, self.each, rows, wrong, self.key.prints, sums)

    def leave(self) -> None:
        with self.alone:
            self.file.close()
        throw_away(self.folder)


def reserve(key: Key, count: int, each: tuple[int, int, int], options: LoadOptions) -> Room | None:
    """Reserve space for this many images, deleting old entries if needed; without space, warn once and return None."""
    home, size, most = cache_home(), count * prod(each), limit()
    try:
        if size > most:
            why = f"they take {gb(size)} and LIKEWISE_CACHE_LIMIT is {gb(most)}; raise it"
        else:
            home.mkdir(parents=True, exist_ok=True)
            evict(most - size)
            if (free := shutil.disk_usage(home).free) >= size + SPARE:
                return Room(Path(tempfile.mkdtemp(prefix=f"{key.name}{BUILDING}", dir=home)), key, each)
            why = f"they take {gb(size)}, and the disk of {home} has {gb(free)} free; set LIKEWISE_CACHE to another"
    except OSError as error:
        why = unwritable(error)
    without(why, options)
    return None


def unwritable(error: OSError) -> str:
    return f"{cache_home()} cannot be written ({error.strerror}); set LIKEWISE_CACHE to a folder that can be"


def gb(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"


def without(why: str, options: LoadOptions) -> None:
    """Warn once that images are not cached."""
    sentence = f"decoded images are not cached: {why}, or set LIKEWISE_CACHE_LIMIT=0 to turn the cache off"
    if sentence not in said():
        said().add(sentence)
        options.say(sentence)


@functools.cache
def said() -> set[str]:
    """Messages already emitted by this process."""
    return set()


def evict(most: int) -> None:
    """Delete leftovers of killed processes, then the least recently used entries, down to `most` bytes."""
    for left in leftovers():
        throw_away(left)
    sizes = {folder: weight(folder) for folder in entries()}
    total = sum(sizes.values())
    for folder, size in sizes.items():
        if total <= most:
            return
        throw_away(folder)
        total -= size


def leftovers() -> Iterator[Path]:
    for path in cache_home().iterdir():
        with suppress(OSError):
            if BUILDING in path.name and time.time() - (path / "pixels").stat().st_mtime > STALE:
                yield path


def weight(folder: Path) -> int:
    """Size of its files in bytes."""
    with suppress(OSError):
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0
