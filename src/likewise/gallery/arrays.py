"""The file of an index: plain arrays with a checksum.

Layout, little endian: magic, a header of fixed length, SHA-256 of all the rest, then the arrays. Nothing is executed or
unpickled, and lengths are compared with the file before memory is taken.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from io import BufferedReader
from pathlib import Path

import numpy as np

from likewise.atomic import replacing

__all__ = ["check_items", "put_together", "taken_apart"]

SUM = 32  # bytes of the checksum


def put_together(path: Path, magic: bytes, header: bytes, numbers: Iterable[tuple[np.ndarray, str]]) -> None:
    """Write arrays, each as numbers of a kind such as `<i4`; the file is written whole, or what was there is left."""
    arrays = [np.ascontiguousarray(array, kind) for array, kind in numbers]
    digest = hashlib.sha256(header)
    for array in arrays:
        digest.update(array.data)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(magic + header + digest.digest())
        for array in arrays:
            file.write(array.data)


def taken_apart(
    path: Path,
    magic: bytes,
    layout: struct.Struct,
    numbers: Mapping[str, str],
    lengths: Callable[..., Mapping[str, int]],
) -> tuple[tuple[int, ...], dict[str, np.ndarray]]:
    """The header's numbers, and the arrays by name. lengths: of each array, from the header's numbers.

    Errors: ValueError saying what is wrong; FileNotFoundError.
    """
    with path.open("rb") as file:
        head = file.read(len(magic) + layout.size + SUM)
        if len(head) < len(magic) + layout.size + SUM or not head.startswith(magic):
            raise ValueError("it is no index of this version and kind")
        header, promised = head[len(magic) : -SUM], head[-SUM:]
        fields = layout.unpack(header)
        length = lengths(*fields)
        body = sum(length[name] * np.dtype(kind).itemsize for name, kind in numbers.items())
        if path.stat().st_size != len(head) + body:
            raise ValueError("its length is not the one it announces")
        digest = hashlib.sha256(header)
        arrays = {name: _array(file, kind, length[name], digest) for name, kind in numbers.items()}
    if digest.digest() != promised:
        raise ValueError("its checksum differs")
    return fields, arrays


def _array(file: BufferedReader, kind: str, count: int, digest: "hashlib._Hash") -> np.ndarray:
    array = np.empty(count, kind)
    if file.readinto(array.data) != array.nbytes:
        raise ValueError("it ends too early")
    digest.update(array.data)
    return array


def check_items(seqs_N: np.ndarray) -> None:
    """Errors: ValueError for sequence numbers of which two are the same, or one is negative; 0 is a removed item."""
    named = np.sort(seqs_N[seqs_N != 0])
    if (len(named) and named[0] < 0) or (np.diff(named) == 0).any():
        raise ValueError("two nodes are the same item")
