"""The graph of a large gallery as a file: its links alone, never a vector.

See `likewise.gallery.arrays`. Every link is checked before it is followed: a file of a stranger can make searches less
complete, which is measured when it is loaded, and nothing else.
"""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from likewise.gallery.arrays import check_items, put_together, taken_apart

__all__ = ["BEAMS", "LINKS", "WIDTHS", "Links", "offsets", "read", "slots", "write"]

MAGICS = {"hnsw": b"LKWGRPH1", "int8": b"LKWGRPI1"}
HEADER = struct.Struct("<QQqI")  # nodes, slots, entry point, beam
LINKS = 32  # links of a node in each upper layer; twice as many in the lowest
HIGHEST = 6  # layers that a node may be in
WIDTHS = np.array([0, *(2 * LINKS + LINKS * layer for layer in range(HIGHEST))], np.int64)  # slots of so many layers
BEAMS = (
    32,
    40,
    48,
    64,
    80,
    96,
    112,
    128,
    160,
    192,
    256,
    384,
    512,
    768,
    1024,
    1536,
    2048,
)  # candidates kept during a search: FAISS's efSearch
NUMBERS = {"seqs": "<i8", "crcs": "<u4", "levels": "u1", "neighbors": "<i4"}


class Links(NamedTuple):
    """Nodes and links. A node is the item of that sequence number and checksum; 0 for one that was removed."""

    seqs: np.ndarray  # int64 [N]
    crcs: np.ndarray  # uint32 [N], CRC-32 of the stored vector
    levels: np.ndarray  # uint8 [N], layers that a node is in, from 1
    neighbors: np.ndarray  # int32 [S], node or -1; a node's slots, layer by layer
    entry: int
    beam: int


def offsets(levels_N: np.ndarray) -> np.ndarray:
    """int64 `[N + 1]`: where the slots of each node begin."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(WIDTHS[levels_N])])


def slots(node_M: np.ndarray, begin_N: np.ndarray, layer: int) -> np.ndarray:
    """Places `[M, S]` in `neighbors` of the links of nodes in a layer."""
    return begin_N[node_M][:, None] + np.arange(WIDTHS[layer], WIDTHS[layer + 1])


def write(path: Path, links: Links, kind: str = "hnsw") -> None:
    """Write the file whole, or leave what was there. kind: of the nodes' vectors, see `likewise.gallery.graph`."""
    header = HEADER.pack(len(links.seqs), len(links.neighbors), links.entry, links.beam)
    put_together(path, MAGICS[kind], header, [(getattr(links, name), number) for name, number in NUMBERS.items()])


def read(path: Path, most: int, kind: str = "hnsw") -> Links:
    """Links whose every number is in its bounds. most: nodes that the gallery could have.

    Errors: ValueError saying what is wrong; FileNotFoundError.
    """

    def lengths(count: int, width: int, entry: int, beam: int) -> dict[str, int]:
        if not 1 <= count <= most:
            raise ValueError(f"it has {count:,} nodes and the gallery's could be {most:,}")
        if width > count * int(WIDTHS[-1]):
            raise ValueError("its length is not the one it announces")
        return {"seqs": count, "crcs": count, "levels": count, "neighbors": width}

    (_, _, entry, beam), arrays = taken_apart(path, MAGICS[kind], HEADER, NUMBERS, lengths)
    links = Links(**arrays, entry=entry, beam=beam)
    _check(links)
    return links


def _check(links: Links) -> None:
    """Errors: ValueError for numbers with which a search would read outside the arrays."""
    count, levels_N, neighbors_S = len(links.seqs), links.levels, links.neighbors
    if levels_N.min() < 1 or levels_N.max() > HIGHEST:
        raise ValueError("a node is in no layer, or in too many")
    begin_N = offsets(levels_N)
    if begin_N[-1] != len(neighbors_S):
        raise ValueError("its links are not as many as its layers take")
    if neighbors_S.min() < -1 or neighbors_S.max() >= count:
        raise ValueError("a link leads to no node")
    if not 0 <= links.entry < count or levels_N[links.entry] != levels_N.max():
        raise ValueError("its entry point is not in the highest layer")
    if links.beam not in BEAMS:
        raise ValueError("its beam width is out of range")
    for layer in range(1, int(levels_N.max())):
        linked = neighbors_S[slots(np.flatnonzero(levels_N > layer), begin_N, layer)]
        if (levels_N[linked[linked >= 0]] <= layer).any():
            raise ValueError("a link leads to a node that is not in its layer")
    check_items(links.seqs)
