"""What a store holds beside its items: a thumbnail of an image, and the answers to writes that may be repeated."""

import hashlib
import json
import time
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from likewise.gallery.store import Item, SqlStore
from likewise.safety import bounds

__all__ = ["Answered", "damaged", "drop_unused", "find_answer", "keep_answer", "put_thumbnails", "thumbnail"]

KEPT = 86_400.0  # seconds for which an answer is given again
ERASED = {"erased": "the answer was erased when a class was forgotten"}


class Answered(NamedTuple):
    """An answer that was given before."""

    digest: str  # of the request that it answered
    answer: dict[str, object]


def put_thumbnails(store: SqlStore, items: Iterable[Item]) -> None:
    """Store the thumbnails that items bring, inside a write transaction."""
    store.run_many(
        "INSERT INTO thumbnails (content, image, crc) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(item.content, item.thumbnail, zlib.crc32(item.thumbnail)) for item in items if item.thumbnail],
    )


def thumbnail(store: SqlStore, content: str) -> bytes:
    """The JPEG stored for an image; empty where there is none, or where it is damaged."""
    rows = store.run("SELECT image, crc FROM thumbnails WHERE content = ?", (content,))
    if not rows or not isinstance(rows[0][0], (bytes, memoryview)):
        return b""
    image = bytes(rows[0][0])
    return image if zlib.crc32(image) == rows[0][1] else b""


def with_thumbnail(store: SqlStore, contents: Iterable[str]) -> set[str]:
    """Those of some images that have a thumbnail."""
    wanted = list(dict.fromkeys(contents))
    contents_with_one: set[str] = set()
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        marks = ", ".join("?" * len(part))
        contents_with_one |= {
            row[0] for row in store.run(f"SELECT content FROM thumbnails WHERE content IN ({marks})", part)
        }
    return contents_with_one


def damaged(store: SqlStore) -> list[str]:
    """Contents whose thumbnail does not have its checksum."""
    rows = store.stream("SELECT content, image, crc FROM thumbnails ORDER BY content")
    return [
        str(content)
        for content, image, crc in rows
        if not isinstance(image, (bytes, memoryview)) or zlib.crc32(bytes(image)) != crc
    ]


def drop_unused(store: SqlStore) -> None:
    """Remove thumbnails and unfinished upgrades of images that are not enrolled, and what answers said."""
    for table in ("thumbnails", "renewed"):
        store.run(f"DELETE FROM {table} WHERE content NOT IN (SELECT content FROM items)")
    store.run("UPDATE requests SET answer = ?", (json.dumps(ERASED),))


def find_answer(store: SqlStore, key: str) -> Answered | None:
    """The answer to a write of this key, within a day of it."""
    rows = store.run("SELECT digest, answer FROM requests WHERE key = ? AND at > ?", (_hashed(key), time.time() - KEPT))
    return Answered(rows[0][0], bounds.parsed_json(rows[0][1], "a kept answer")) if rows else None


def keep_answer(store: SqlStore, key: str, digest: str, answer: dict[str, object]) -> None:
    """Keep the answer to a write, in its transaction."""
    now = time.time()
    store.run("DELETE FROM requests WHERE at <= ? OR key = ?", (now - KEPT, _hashed(key)))
    values = (_hashed(key), now, digest, json.dumps(answer, ensure_ascii=False))
    store.run("INSERT INTO requests (key, at, digest, answer) VALUES (?, ?, ?, ?)", values)


def _hashed(key: str) -> str:
    """A client's key may hold anything; its hash says nothing."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
