"""What a gallery holds, and the statements that SQLite and PostgreSQL share.

The store is the truth; every index is made from it. Rows carry a checksum of ours, since SQLite has none. Statements
are written once, with `?` for values; a store adds how to connect, its column types, and how to erase for good.
"""

import json
import time
import zlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from likewise.gallery.texts import LONGEST_NAME, LONGEST_TEXT, storable
from likewise.gallery.transactions import Transactions
from likewise.safety import bounds

__all__ = [
    "LARGEST_DIM", "LONGEST_TEXT", "DamagedError", "Item", "LostError", "Negative", "Row",
    "SqlStore", "Step", "StoreError", "Version", "checksum",
]  # fmt: skip

LARGEST_DIM = 65_536
BATCH = 2000
BY_ID = 500  # ids in one statement


class StoreError(ValueError):
    """The store failed on the way: a full disk, a lost connection."""

    exit_code = 1


class LostError(StoreError):
    """The connection to the store was lost."""


class DamagedError(StoreError):
    """What the store holds is not what was written."""


@dataclass(frozen=True)
class Item:
    """One enrolled image, or vector."""

    id: str
    content: str  # SHA-256 of the file's bytes, or of the vector's
    label: str
    vector: np.ndarray  # float32 [D]
    group: str = ""
    path: str = ""
    metadata: dict[str, object] = field(default_factory=dict)
    look: bytes = b""  # perceptual hash of the image, 32 bytes; empty where there was none
    thumbnail: bytes = b""  # JPEG; empty where none is stored


class Row(NamedTuple):
    """An item as it is scanned: metadata still as text."""

    seq: int
    id: str
    content: str
    label: str
    group: str
    path: str
    metadata: str
    look: bytes
    vector: bytes  # float32, little endian


class Negative(NamedTuple):
    """A query image, and the class (or single item) that it is not."""

    content: str
    look: bytes
    vector: bytes
    label: str  # empty where an item is meant
    item: str


class Step(NamedTuple):
    """A curation step with what undoes it."""

    seq: int
    verb: str
    undo: bounds.Fields


class Version(NamedTuple):
    """Changes with every write; `edits` only with those that change or remove rows, so additions are read alone."""

    revision: int
    edits: int


COLUMNS = "seq, id, content, label, grp, path, metadata, look, vector"
DROPPED = "(forgotten)"


class SqlStore(Transactions):
    """The contract of both stores, which tests run over each. `sqlite` and `postgres` say how to run a statement."""

    largest_dim = LARGEST_DIM
    beyond = ""  # where what was erased may be left, out of the store's reach
    path: Path | None = None  # the file that it is

    @abstractmethod
    def run(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:
        """Run one statement; its rows."""

    def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> list[list[tuple]]:
        """Run one statement with the values of each row; what each returns."""
        return [self.run(statement, row) for row in rows]

    @abstractmethod
    def stream(self, statement: str, values: Sequence[object] = ()) -> Iterator[tuple]:
        """Rows of a large result, without holding all."""

    def vector_in(self, vector: np.ndarray) -> bytes:
        return vector.astype("<f4").tobytes()

    def vector_out(self, value: object) -> bytes:
        return _binary(value)

    @abstractmethod
    def erase(self) -> bool:
        """Leave nothing of what was deleted in the files; False where another process kept it from that."""

    @abstractmethod
    def discard(self) -> None:
        """Remove the gallery that was just created, and close."""

    @abstractmethod
    def close(self) -> None: ...

    # reading

    def meta(self) -> dict[str, object]:
        """What the gallery says of itself. Errors: DamagedError."""
        try:
            return {
                key: bounds.parsed_json(value, key, object) for key, value in self.run("SELECT key, value FROM meta")
            }
        except ValueError as error:
            raise DamagedError(f"{self.url}: the table meta is damaged ({error}); restore an export") from None

    def set_meta(self, **values: object) -> None:
        """Write keys; None removes one."""
        for key, value in values.items():
            self.run("DELETE FROM meta WHERE key = ?", (key,))
            if value is not None:
                self.run("INSERT INTO meta (key, value) VALUES (?, ?)", (key, json.dumps(value)))

    def version(self) -> Version:
        rows = dict(self.run("SELECT key, value FROM meta WHERE key IN ('revision', 'edits')"))
        return Version(int(rows.get("revision", 0)), int(rows.get("edits", 0)))

    def count(self) -> int:
        return int(self.run("SELECT count(*) FROM items")[0][0])

    def scan(self, after: int = 0) -> Iterator[Row]:
        """Items in the order they were enrolled, from behind a seq. Errors: DamagedError naming the item."""
        statement = f"SELECT {COLUMNS}, crc FROM items WHERE seq > ? ORDER BY seq"
        for *values, crc in self.stream(statement, (after,)):
            row = self._row(values)
            if checksum(row) != crc:
                raise DamagedError(f"{self.url}: item {row.id!r} is damaged: its checksum differs; restore an export")
            yield row

    def damaged(self) -> list[str]:
        """Ids whose row does not have its checksum."""
        rows = self.stream(f"SELECT {COLUMNS}, crc FROM items ORDER BY seq")
        return [str(values[1]) for *values, crc in rows if checksum(self._row(values)) != crc]

    def _row(self, values: list[Any]) -> Row:  # Any: columns as the driver gives them
        seq, id_, content, label, group, path, metadata, look, vector = values
        return Row(seq, id_, content, label, group, path, metadata, _binary(look), self.vector_out(vector))

    def find(self, column: str, values: Iterable[str]) -> dict[str, Row]:
        """Items by `id` or `content`."""
        wanted, by_value = list(dict.fromkeys(values)), {}
        for start in range(0, len(wanted), BY_ID):
            part = wanted[start : start + BY_ID]
            marks = ", ".join("?" * len(part))
            for row in self.run(f"SELECT {COLUMNS} FROM items WHERE {column} IN ({marks})", part):
                read = self._row(list(row))
                by_value[getattr(read, column)] = read
        return by_value

    # writing, inside `begin`

    def put(self, items: Sequence[Item]) -> list[str]:
        """Add items whose id and content are both new; the ids that were added. Errors: ValueError, see `storable`."""
        rows = [_row_of(item) for item in items]
        answers = self.run_many(
            "INSERT INTO items (id, content, label, grp, path, metadata, look, vector, crc) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING seq",
            [(*row[1:8], self.vector_in(item.vector), checksum(row)) for row, item in zip(rows, items, strict=True)],
        )
        added = [row.id for row, new in zip(rows, answers, strict=True) if new]
        if added:
            self.touch(edit=False)
        return added

    def touch(self, *, edit: bool = True) -> None:
        """A new version."""
        version = self.version()
        self.set_meta(revision=version.revision + 1, edits=version.edits + edit)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove items."""
        seqs = [row.seq for row in self.find("id", ids).values()]
        self.run_many("DELETE FROM items WHERE seq = ?", [(seq,) for seq in seqs])
        if seqs:
            self.touch()
        return len(seqs)

    def relabel(self, ids: Sequence[str], label: str) -> int:
        """Move items to a class."""
        storable(label, "a label", LONGEST_NAME)
        rows = self.find("id", ids).values()
        values = [(label, checksum(row._replace(label=label)), row.seq) for row in rows]
        self.run_many("UPDATE items SET label = ?, crc = ? WHERE seq = ?", values)
        if rows:
            self.touch()
        return len(rows)

    def add_negative(self, negative: Negative) -> bool:
        """Whether it is a new one."""
        added = self.run(
            "INSERT INTO negatives (content, look, vector, label, item) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING "
            "RETURNING seq",
            tuple(negative),
        )
        self.touch()
        return bool(added)

    def negatives(self) -> list[Negative]:
        rows = self.run("SELECT content, look, vector, label, item FROM negatives ORDER BY seq")
        return [
            Negative(content, bytes(look), bytes(vector), label, item) for content, look, vector, label, item in rows
        ]

    def drop_negatives(self, *, label: str = "", items: Sequence[str] = ()) -> None:
        """Forget the marks that name a class, or these items."""
        if label:
            self.run("DELETE FROM negatives WHERE label = ?", (label,))
        for item in items:
            self.run("DELETE FROM negatives WHERE item = ?", (item,))

    def rename_negatives(self, old: str, new: str) -> None:
        for negative in self.negatives():
            if negative.label == old:
                self.drop_negatives(label=old)
                self.add_negative(negative._replace(label=new))

    def log(self, verb: str, items: int, label: str = "") -> None:
        """A line of the audit log: when, what, how many; never an image."""
        values = (time.time(), verb, items, label)
        self.run("INSERT INTO audit (at, verb, items, label) VALUES (?, ?, ?, ?)", values)

    def audit(self, last: int = 100) -> list[dict[str, object]]:
        rows = self.run("SELECT at, verb, items, label FROM audit ORDER BY seq DESC LIMIT ?", (last,))
        return [dict(zip(("at", "verb", "items", "label"), row, strict=True)) for row in rows]

    def redact(self, label: str) -> None:
        """Take a class's name out of the audit log."""
        self.run("UPDATE audit SET label = ? WHERE label = ?", (DROPPED, label))

    def push_step(self, verb: str, undo: dict[str, object]) -> None:
        values = (time.time(), verb, json.dumps(undo, ensure_ascii=False))
        self.run("INSERT INTO steps (at, verb, undo) VALUES (?, ?, ?)", values)

    def last_step(self) -> Step | None:
        rows = self.run("SELECT seq, verb, undo FROM steps ORDER BY seq DESC LIMIT 1")
        return (
            Step(rows[0][0], rows[0][1], bounds.parsed_json(rows[0][2], f"{self.url}: the last step")) if rows else None
        )

    def drop_step(self, seq: int) -> None:
        self.run("DELETE FROM steps WHERE seq = ?", (seq,))

    def clear_steps(self) -> None:
        self.run("DELETE FROM steps")


def _row_of(item: Item) -> Row:
    """An item as it is written. Errors: ValueError, see `storable`."""
    metadata = json.dumps(item.metadata, ensure_ascii=False, sort_keys=True)
    for text, what in ((item.id, "an id"), (item.content, "a content hash"), (item.label, "a label")):
        storable(text, what, LONGEST_NAME)
    for text, what in ((item.group, "a group"), (item.path, "a path"), (metadata, "metadata")):
        storable(text, what, LONGEST_TEXT)
    vector = item.vector.astype("<f4").tobytes()
    return Row(0, item.id, item.content, item.label, item.group, item.path, metadata, item.look, vector)


def _binary(value: object) -> bytes:
    """A damaged file may hold another type, which no checksum passes."""
    return bytes(value) if isinstance(value, (bytes, memoryview)) else b""


def checksum(row: Row) -> int:
    """CRC-32 of all that is written of an item."""
    text = json.dumps(row[1:7], ensure_ascii=False, default=repr).encode("utf-8", "surrogatepass")
    return zlib.crc32(row.vector, zlib.crc32(row.look, zlib.crc32(text)))
