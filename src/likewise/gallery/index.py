"""Nearest vectors of a gallery: exact by matrix product, in numpy. Large galleries: `likewise.gallery.nearest`.

Every similarity here is an inner product of prepared vectors, so that exact search is one matrix product:
cosine of unit vectors, and -|x - y|^2 of (2x, -|x|^2, -1) and (y, 1, |y|^2).
"""

from typing import NamedTuple, Protocol

import numpy as np

from likewise.gallery.mapped import MappedRows
from likewise.spec import near, parse

__all__ = [
    "SIMS",
    "ExactIndex",
    "Found",
    "Index",
    "check_sim",
    "check_vectors",
    "compared",
    "negated_squares",
    "prepare",
    "similarities",
]

SIMS = ("cosine", "dot", "euclidean", "sqeuclidean")
TILE = 2**22  # similarities held at once: 16 MB
CLOSE = 1e-3  # share of the squared lengths below which a squared distance is taken from the difference itself


class Found(NamedTuple):
    """The K rows nearest to each query, nearest first; row -1 with similarity -inf where there are fewer."""

    sim: np.ndarray  # [Q, K] float32
    row: np.ndarray  # [Q, K] int64


class Index(Protocol):
    """Rows are numbered in the order in which they were added."""

    def __len__(self) -> int: ...
    def add(self, vectors_MD: np.ndarray) -> None: ...
    def search(self, query_QD: np.ndarray, k: int) -> Found: ...


def check_sim(sim: str) -> str:
    """The similarity's name. Errors: ValueError for one that a gallery cannot search by."""
    name, settings = parse(sim)
    if name not in SIMS or settings:
        raise ValueError(
            f"a gallery searches by {', '.join(SIMS)}, and the model was trained for {sim}{near(name, SIMS)}"
        )
    return name


def check_vectors(vectors: np.ndarray, dim: int, what: str = "vectors") -> np.ndarray:
    """float32 `[N, dim]`. Errors: ValueError for another length, or numbers that are not finite."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise ValueError(f"{what} have shape {list(vectors.shape)} and the gallery's vectors are {dim} long")
    if not np.isfinite(vectors).all():
        broken = int((~np.isfinite(vectors).all(axis=1)).sum())
        raise ValueError(f"{broken} of {len(vectors)} {what} hold NaN or infinity; embed the images again")
    return vectors


def prepare(vectors_ND: np.ndarray, sim: str) -> np.ndarray:
    """The stored side of the inner product: unit vectors under cosine, else as they are."""
    if sim != "cosine":
        return np.ascontiguousarray(vectors_ND, dtype=np.float32)
    length_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return (vectors_ND / np.maximum(length_N1, np.finfo(np.float32).tiny ** 0.5)).astype(np.float32)


def similarities(
    query_QD: np.ndarray, prepared_MD: np.ndarray, sim: str, square_M: np.ndarray | None = None
) -> np.ndarray:
    """float32 `[Q, M]` of raw queries to prepared rows; larger is closer.

    Of Euclidean distances the product rounds away those that are short beside the vectors; these are of differences.
    """
    if sim == "cosine":
        return prepare(query_QD, sim) @ prepared_MD.T
    if sim == "dot":
        return query_QD @ prepared_MD.T
    square_M = (prepared_MD**2).sum(1) if square_M is None else square_M
    square_Q1 = (query_QD**2).sum(1, keepdims=True)
    square_QM = np.minimum(2 * (query_QD @ prepared_MD.T) - square_M - square_Q1, 0)
    if square_QM.size:
        query, row = np.nonzero(square_QM > -CLOSE * (square_Q1 + square_M.max()))
        step = max(1, TILE // query_QD.shape[1])
        for part in (slice(start, start + step) for start in range(0, len(query), step)):
            square_QM[query[part], row[part]] = negated_squares(query_QD[query[part]], prepared_MD[row[part]])
    return square_QM if sim == "sqeuclidean" else -np.sqrt(-square_QM)


def negated_squares(first_ND: np.ndarray, second_ND: np.ndarray) -> np.ndarray:
    """float32 `[N]`: -|x - y|^2 of vectors in pairs."""
    difference_ND = first_ND - second_ND
    return 0 - np.einsum("nd,nd->n", difference_ND, difference_ND)  # not -0


def compared(query_QD: np.ndarray, rows_MD: np.ndarray, row_QK: np.ndarray, sim: str) -> np.ndarray:
    """float32 `[Q, K]`: similarities of prepared queries to prepared rows of their own, -inf for row -1."""
    step = max(1, TILE // max(row_QK.shape[1] * rows_MD.shape[1], 1))
    parts = [slice(start, start + step) for start in range(0, len(row_QK), step)]
    sims = [_compared(query_QD[part], rows_MD[row_QK[part]], sim) for part in parts]
    return np.where(
        row_QK < 0, np.float32(-np.inf), np.concatenate(sims) if sims else np.zeros(row_QK.shape, np.float32)
    )


def _compared(query_QD: np.ndarray, rows_QKD: np.ndarray, sim: str) -> np.ndarray:
    """float32 `[Q, K]` of queries to K prepared vectors of their own."""
    if sim in ("euclidean", "sqeuclidean"):
        difference_QKD = rows_QKD - query_QD[:, None]
        sim_QK = 0 - np.einsum("qkd,qkd->qk", difference_QKD, difference_QKD)  # not -0
        return sim_QK if sim == "sqeuclidean" else -np.sqrt(-sim_QK)
    return np.einsum("qkd,qd->qk", rows_QKD, query_QD)


class ExactIndex:
    """One matrix product a search. Memory is 4 bytes a number; rows may be added while others search.

    mapped: keep the rows in a file instead, of which the system keeps in memory what it has room for.
    """

    def __init__(self, dim: int, sim: str, mapped: MappedRows | None = None):
        self.dim, self.sim, self.mapped = dim, sim, mapped
        self.rows = np.zeros((0, dim), np.float32)
        self.square = np.zeros(0, np.float32)
        self.count = 0

    def __len__(self) -> int:
        return self.count

    @property
    def prepared(self) -> np.ndarray:
        """float32 `[M, D]`, the rows as they are searched."""
        return self.rows[: self.count]

    def add(self, vectors_MD: np.ndarray) -> None:
        """Append rows."""
        self.reserve(len(vectors_MD))
        needed = self.count + len(vectors_MD)
        prepared_MD = prepare(vectors_MD, self.sim)
        self.rows[self.count : needed] = prepared_MD
        self.square[self.count : needed] = (prepared_MD**2).sum(1)
        self.count = needed  # last: a search in another thread sees whole rows only

    def reserve(self, more: int) -> None:
        """Room for further rows; it doubles, so that adding one at a time costs no copy each. Errors: OSError."""
        needed = self.count + more
        if needed > len(self.rows):
            wanted = max(needed, 2 * len(self.rows))
            rows = self._longer(self.rows, wanted) if self.mapped is None else self.mapped.grown(needed)
            self.rows, self.square = rows, self._longer(self.square, len(rows))

    def _longer(self, old: np.ndarray, length: int) -> np.ndarray:
        new = np.zeros((length, *old.shape[1:]), np.float32)
        new[: self.count] = old[: self.count]
        return new

    def settle(self) -> None:
        """Let go of mapped rows that are in memory."""
        if self.mapped is not None:
            self.mapped.settle()

    def search(self, query_QD: np.ndarray, k: int, rows: np.ndarray | slice | None = None) -> Found:
        """The k nearest; `rows` restricts the search to these. Of equal similarities the lower row comes first."""
        count = self.count
        prepared_MD = self.rows[:count] if rows is None else self.rows[rows]
        square_M = self.square[:count] if rows is None else self.square[rows]
        parts = [self._tile(part, prepared_MD, square_M, k) for part in _tiles(query_QD, len(prepared_MD))]
        sim = np.concatenate([part.sim for part in parts]) if parts else np.zeros((0, k), np.float32)
        row = np.concatenate([part.row for part in parts]) if parts else np.zeros((0, k), np.int64)
        if isinstance(rows, slice):
            row = np.where(row >= 0, row + rows.start, -1)
        elif rows is not None and len(rows):
            row = np.where(row >= 0, rows[row], -1)
        return Found(sim, row)

    def _tile(self, query_QD: np.ndarray, prepared_MD: np.ndarray, square_M: np.ndarray, k: int) -> Found:
        return top(similarities(query_QD, prepared_MD, self.sim, square_M), k)


def _tiles(query_QD: np.ndarray, width: int) -> list[np.ndarray]:
    step = max(1, TILE // max(width, 1))
    return [query_QD[start : start + step] for start in range(0, len(query_QD), step)]


def top(sim_QM: np.ndarray, k: int) -> Found:
    """The k highest of each row, highest first, of equal ones the lower column; filled up with -1."""
    queries, width = sim_QM.shape
    if k < width:
        part_QK = np.argpartition(-sim_QM, k - 1, axis=1)[:, :k]
        edge_Q1 = np.take_along_axis(sim_QM, part_QK, 1).min(1, keepdims=True)
        tied = (sim_QM >= edge_Q1).sum(1) > k
        part_QK.sort(axis=1)
        for q in np.flatnonzero(tied):  # the partition picks any of equal ones
            part_QK[q] = np.argsort(-sim_QM[q], kind="stable")[:k]
            part_QK[q].sort()
    else:
        part_QK = np.broadcast_to(np.arange(width), (queries, width))
    sims_QK = np.take_along_axis(sim_QM, part_QK, 1)
    order_QK = np.argsort(-sims_QK, axis=1, kind="stable")
    sim = np.take_along_axis(sims_QK, order_QK, 1).astype(np.float32)
    row = np.take_along_axis(part_QK, order_QK, 1).astype(np.int64)
    row = np.where(np.isneginf(sim), -1, row)
    if (lacking := k - sim.shape[1]) > 0:
        sim = np.pad(sim, ((0, 0), (0, lacking)), constant_values=-np.inf)
        row = np.pad(row, ((0, 0), (0, lacking)), constant_values=-1)
    return Found(sim, row)
