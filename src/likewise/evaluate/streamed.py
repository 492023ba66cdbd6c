"""Retrieval scores of vectors in Parquet files that need not fit memory."""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from likewise.embeddings import stream
from likewise.metrics.neighbours import nearest_of_blocks
from likewise.metrics.retrieval import PerQuery, Ranked, map_at_r, r_precision, recall

__all__ = ["Streamed", "evaluate_files"]

QUERIES = 1 << 14  # in memory at a time; the references are read once for so many
REFERENCES = 1 << 16  # in memory at a time
DEPTH = 1_000  # classes with more images have no score that ranks all of them


class Streamed(NamedTuple):
    """Means over the queries that have a positive. depth: references ranked for each query."""

    scores: dict[str, float]
    queries: int
    without_positives: int
    references: int
    depth: int

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


def evaluate_files(
    queries: str | os.PathLike,
    references: str | os.PathLike | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    at_once: tuple[int, int] = (QUERIES, REFERENCES),
) -> Streamed:
    """recall@1, recall@10, and r_precision and map@r where no class is too large, by cosine; without intervals.

    references: searched instead of the other queries. Memory is that of `at_once` queries and references, one tile of
    similarities, and the labels; time O(Q M D). Errors: ValueError for files without labels or of other vectors.
    """
    own = references is None
    searched = queries if references is None else references
    numbers: dict[str, int] = {}
    labels_M = torch.cat([labels for _, labels in stream(searched, at_once[1], numbers)] or [torch.zeros(0).long()])
    size_C = labels_M.bincount()
    total = len(labels_M) if own else sum(len(labels) for _, labels in stream(queries, at_once[0], numbers))
    if len(labels_M) < 1 + own or not total:
        raise ValueError(f"{os.fspath(searched)} holds {len(labels_M)} vectors; there is nothing to search")
    if (size_C > 0).sum() < 2:
        raise ValueError(
            f"{os.fspath(searched)} holds one class only, so that every answer would be right; "
            "embed with --by-folder, or write the classes into the columns label and class"
        )
    deepest = int(size_C.max()) - own
    depth = min(len(labels_M) - own, max(10, deepest if deepest <= DEPTH else 10))
    parts, done = [], 0
    for vectors_QD, labels_Q in stream(queries, at_once[0], numbers):
        blocks = checked(searched, at_once[1], vectors_QD.shape[1], numbers)
        place_QK = nearest_of_blocks(vectors_QD, blocks, depth, offset=done if own else None).place
        relevant_Q = torch.where(labels_Q < len(size_C), size_C[labels_Q.clamp_max(len(size_C) - 1)], 0) - int(own)
        parts.append(measured(labels_M[place_QK] == labels_Q[:, None], relevant_Q, deepest <= depth))
        done += len(labels_Q)
        progress(done, total)
    without = sum(part.queries_without_positives for part in parts)
    if without == total:
        raise ValueError(f"no query in {os.fspath(queries)} has another image of its class to find")
    parts = [part for part in parts if part.values]
    names = parts[0].values
    means = {name: float(torch.cat([part.values[name] for part in parts]).mean()) for name in names}
    return Streamed(means, total - without, without, len(labels_M), depth)


def checked(path: str | os.PathLike, rows: int, dim: int, numbers: dict[str, int]) -> Iterator[Tensor]:
    for vectors_MD, _ in stream(path, rows, numbers):
        if vectors_MD.shape[1] != dim:
            raise ValueError(f"queries have {dim} numbers and {os.fspath(path)} {vectors_MD.shape[1]}: use one model")
        yield vectors_MD


def measured(hits_QK: Tensor, relevant_Q: Tensor, whole: bool) -> PerQuery:
    has_Q = relevant_Q > 0
    if not has_Q.any():
        return PerQuery({}, has_Q.nonzero()[:, 0], len(has_Q))
    ranked = Ranked(hits_QK[has_Q], relevant_Q[has_Q])
    values = {f"recall@{k}": recall(ranked, k) for k in (1, 10) if k <= hits_QK.shape[1]}
    if whole:
        values |= {"r_precision": r_precision(ranked), "map@r": map_at_r(ranked)}
    return PerQuery(values, has_Q.nonzero()[:, 0], int((~has_Q).sum()))
