"""The inverted lists of a large gallery as a file: which list each item is in, and its code.

See `likewise.gallery.arrays`. Every number is checked before it is used: a file of a stranger can make searches less
complete, which is measured when it is loaded, and nothing else.
"""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from likewise.gallery.arrays import check_items, put_together, taken_apart

__all__ = ["PART", "PROBES", "VALUES", "Codes", "parts", "read", "write"]

MAGIC = b"LKWGRPQ1"
HEADER = struct.Struct("<QQQI")  # nodes, lists, length of a vector, probe
NUMBERS = {"seqs": "<i8", "crcs": "<u4", "lists": "<i4", "codes": "u1", "centres": "<f4", "books": "<f4"}
PART = 4  # numbers that one byte of a code stands for
VALUES = 256  # of one byte
PROBES = (4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)  # lists searched: FAISS's nprobe
LONGEST = 1 << 20  # numbers of a vector


class Codes(NamedTuple):
    """Nodes, lists and what the codes stand for. A node is the item of that sequence number and checksum, or 0."""

    seqs: np.ndarray  # int64 [N]
    crcs: np.ndarray  # uint32 [N], CRC-32 of the stored vector
    lists: np.ndarray  # int32 [N], the list that each node is in
    codes: np.ndarray  # uint8 [N, P]
    centres: np.ndarray  # float32 [L, 4 P]
    books: np.ndarray  # float32 [P, 256, 4]
    probe: int


def parts(dim: int) -> int:
    """Bytes of a code."""
    return -(-dim // PART)


def write(path: Path, codes: Codes, dim: int) -> None:
    """Write the file whole, or leave what was there."""
    header = HEADER.pack(len(codes.seqs), len(codes.centres), dim, codes.probe)
    put_together(path, MAGIC, header, [(getattr(codes, name), kind) for name, kind in NUMBERS.items()])


def read(path: Path, most: int, dim: int = 0) -> Codes:
    """Codes whose every number is in its bounds. most: nodes that the gallery could have; dim: 0 for any.

    Errors: ValueError saying what is wrong; FileNotFoundError.
    """

    def lengths(count: int, width: int, given: int, probe: int) -> dict[str, int]:
        if not 1 <= count <= most:
            raise ValueError(f"it has {count:,} nodes and the gallery's could be {most:,}")
        if given != (dim or given) or not 1 <= given <= LONGEST or not 1 <= width <= count:
            raise ValueError(f"its vectors are {given:,} long, in {width:,} lists")
        code = parts(given)
        return {
            "seqs": count,
            "crcs": count,
            "lists": count,
            "codes": count * code,
            "centres": width * PART * code,
            "books": VALUES * PART * code,
        }

    (count, width, given, probe), arrays = taken_apart(path, MAGIC, HEADER, NUMBERS, lengths)
    code = parts(given)
    arrays["codes"] = arrays["codes"].reshape(count, code)
    arrays["centres"] = arrays["centres"].reshape(width, PART * code)
    arrays["books"] = arrays["books"].reshape(code, VALUES, PART)
    if arrays["lists"].min() < 0 or arrays["lists"].max() >= width:
        raise ValueError("a node is in no list")
    if not np.isfinite(arrays["centres"]).all() or not np.isfinite(arrays["books"]).all():
        raise ValueError("its centres hold NaN or infinity")
    if probe not in PROBES:
        raise ValueError("its number of lists searched is out of range")
    check_items(arrays["seqs"])
    return Codes(**arrays, probe=probe)
