"""The kinds of index that a large gallery can have."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from likewise.gallery import codes, graph, links, lists
from likewise.spec import near

__all__ = ["KINDS", "MAPPED", "Candidates", "check_kind", "fault", "load", "new"]

KINDS = {
    "hnsw": "a graph over the vectors: the quickest, and the most memory",
    "int8": "a graph over the vectors rounded to a byte a number",
    "ivfpq": "lists of codes of a byte for each four numbers: the least memory",
}
MAPPED = ("int8", "ivfpq")  # whose vectors stay in a file


class Candidates(Protocol):
    """An index whose candidates are compared exactly. Nodes are numbered in the order in which they were added.

    keys: sequence number and CRC-32 of each node's item; beam: how widely it searches, 0 until `tune` has chosen it.
    """

    kind: str
    keys: tuple[np.ndarray, np.ndarray]
    beam: int

    def __len__(self) -> int: ...
    def add(
        self, prepared_ND: np.ndarray, seqs_N: np.ndarray, crcs_N: np.ndarray, stopped: Callable[[], bool] = bool
    ) -> None: ...
    def candidates(self, prepared_QD: np.ndarray, k: int, spare: int, beam: int = 0) -> np.ndarray: ...
    def tune(self, prepared_ND: np.ndarray) -> bool: ...
    def bytes(self) -> int: ...
    @property
    def described(self) -> str: ...
    def save(self, path: Path, removed_N: np.ndarray) -> None: ...


def check_kind(kind: str) -> str:
    """The kind's name. Errors: ValueError for one that is none."""
    if kind not in KINDS:
        raise ValueError(f"there is no index {kind!r}; a gallery has {', '.join(KINDS)}{near(kind, tuple(KINDS))}")
    return kind


def new(kind: str, dim: int, sim: str) -> Candidates:
    """An empty index."""
    return lists.Lists(dim, sim) if kind == "ivfpq" else graph.Graph(dim, sim, kind)


def load(
    path: Path, kind: str, sim: str, most: int, prepared_MD: np.ndarray, place: Callable[..., np.ndarray]
) -> Candidates:
    """The index of a file. most: nodes that the gallery could have; place(seqs, crcs): the row of each node, or -1.

    Errors: ValueError saying what is wrong with the file; OSError.
    """
    if kind == "ivfpq":
        read = codes.read(path, most, prepared_MD.shape[1])
        return lists.assembled(read, place(read.seqs, read.crcs), prepared_MD.shape[1], sim)
    linked = links.read(path, most, kind)
    return graph.assembled(linked, prepared_MD, place(linked.seqs, linked.crcs), sim, kind)


def fault(path: Path, kind: str) -> str:
    """What is wrong with a file; empty where nothing is."""
    try:
        codes.read(path, sys.maxsize) if kind == "ivfpq" else links.read(path, sys.maxsize, kind)
    except (OSError, ValueError) as error:
        return str(error)
    return ""
