"""The footer of a Parquet file, read without Arrow: Arrow's own view of a damaged one may end the process.

Thrift's compact protocol, as far as sizes need it. https://parquet.apache.org/docs/file-format/metadata/
"""

import os
from dataclasses import dataclass
from pathlib import Path

from likewise.safety import bounds

__all__ = ["Announced", "announced"]

MAGIC = b"PAR1"
DEPTH = 16  # structures inside structures
Value = int | bytes | list["Value"] | dict[int, "Value"]  # of the compact protocol
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)


@dataclass(frozen=True)
class Announced:
    """Sizes announced by a footer: rows, and the values and decompressed bytes of all column chunks."""

    rows: int
    values: int
    size: int


class Reader:
    """Values of the compact protocol, one after another. Errors: ValueError for an early end or an unknown type."""

    def __init__(self, content: bytes):
        self.content, self.at = content, 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.content):
            raise ValueError("its footer ends early")
        self.at += count
        return self.content[self.at - count : self.at]

    def varint(self) -> int:
        number = shift = 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7
            if shift > 63:
                raise ValueError("its footer holds a number of more than 64 bits")

    def zigzag(self) -> int:
        number = self.varint()
        return (number >> 1) ^ -(number & 1)

    def value(self, kind: int, depth: int) -> "Value":
        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind == BYTE:
            return self.take(1)[0]
        if kind in (I16, I32, I64):
            return self.zigzag()
        if kind == DOUBLE:
            return self.take(8)
        if kind == BINARY:
            return self.take(self.varint())
        if kind in (LIST, SET):
            return self.several(depth)
        if kind == STRUCT:
            return self.struct(depth + 1)
        raise ValueError(f"its footer holds a value of the unknown type {kind}")

    def several(self, depth: int) -> list["Value"]:
        head = self.take(1)[0]
        count, kind = head >> 4, head & 0x0F
        count = self.varint() if count == 15 else count
        if count > len(self.content) - self.at:
            raise ValueError("its footer ends early")
        return [self.take(1) if kind in (TRUE, FALSE) else self.value(kind, depth) for _ in range(count)]

    def struct(self, depth: int = 0) -> dict[int, "Value"]:
        """Fields by number."""
        if depth > DEPTH:
            raise ValueError("its footer is nested too deeply")
        fields: dict[int, Value] = {}
        number = 0
        while head := self.take(1)[0]:
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            fields[number] = self.value(head & 0x0F, depth)
        return fields


def announced(path: str | os.PathLike) -> Announced:
    """Sizes announced by the footer of a file. Errors: ValueError, beginning with `it`, for other file formats."""
    length = os.stat(path).st_size
    with Path(path).open("rb") as file:
        file.seek(max(0, length - 8))
        end = file.read(8)
        size = int.from_bytes(end[:4], "little")
        if length < 12 or end[4:] != MAGIC or not 0 < size <= min(length - 12, bounds.JSON_FILE):
            raise ValueError("it is cut short or no Parquet file")
        file.seek(length - 8 - size)
        content = file.read(size)
    metadata = Reader(content).struct()
    rows, groups = metadata.get(3), metadata.get(4)
    if not isinstance(rows, int) or not isinstance(groups, list) or rows < 0:
        raise ValueError("its footer has no rows")
    chunks = [chunk_of(column) for group in groups for column in columns_of(group)]
    return Announced(rows, sum(values for values, _ in chunks), sum(size for _, size in chunks))


def columns_of(group: "Value") -> list["Value"]:
    columns = group.get(1) if isinstance(group, dict) else None
    if not isinstance(columns, list):
        raise ValueError("its footer has a row group without columns")
    return columns


def chunk_of(column: "Value") -> tuple[int, int]:
    """Values and bytes of a column chunk."""
    metadata = column.get(3) if isinstance(column, dict) else None
    values, size = (metadata.get(5), metadata.get(6)) if isinstance(metadata, dict) else (None, None)
    if not isinstance(values, int) or not isinstance(size, int) or min(values, size) < 0:
        raise ValueError("its footer has a column without sizes")
    return values, size
