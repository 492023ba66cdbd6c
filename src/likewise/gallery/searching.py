"""Search: the rows nearest to an image, to several of one object, or to an enrolled id, re-ranked if asked."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from likewise.gallery import filters, negatives
from likewise.gallery.index import Found, prepare
from likewise.gallery.opened import Opened, Query
from likewise.gallery.rerank import POOL, check_rerank, reranked
from likewise.gallery.state import State
from likewise.gallery.together import as_queries, check_way, merged

__all__ = ["Searched", "as_many", "search"]


class Searched(NamedTuple):
    """Rows of a state, best first, with their similarities `[K]`."""

    state: State
    rows: list[int]
    sims: list[float]


def search(
    gallery: Opened,
    query: Query | Sequence[Query] | None,
    k: int,
    *,
    id: str,
    where: Sequence[str],
    together: str,
    rerank: str,
) -> Searched:
    """See `Gallery.search`."""
    if k < 1:
        raise ValueError(f"k is the number of results, from 1; got {k}")
    if rerank:
        check_rerank(rerank, gallery.sim)
    conditions, check = filters.parse(where), check_way(together)
    hidden: set[int] = set()
    if id:
        state = gallery.state()
        row = gallery.place(state, id)
        vectors_QD, hidden = state.index.prepared[row : row + 1], {row}
    elif query is None:
        raise ValueError("search needs an image, a vector or an id")
    else:
        many = as_many(query)
        state, embedded_QD, _ = gallery.asked(many)
        for one, vector_D in zip(many, embedded_QD, strict=True):
            hidden |= negatives.hidden(gallery, state, one, vector_D)
        vectors_QD = as_queries(embedded_QD, gallery.sim, check)
    wanted = max(k, POOL) if rerank else k
    near = merged(state.search(vectors_QD, wanted, conditions, hidden), wanted)
    if rerank:
        near = _reranked(state, near, as_queries(vectors_QD, gallery.sim, "mean"), rerank)
    present = near.row[0] >= 0
    return Searched(state, near.row[0][present][:k].tolist(), near.sim[0][present][:k].tolist())


def _reranked(state: State, near: Found, query_1D: np.ndarray, rerank: str) -> Found:
    pool = near.row[:, near.row[0] >= 0]
    if not pool.shape[1]:
        return near
    place = reranked(prepare(query_1D, state.sim)[0], state.index.prepared[pool[0]], rerank)
    return Found(near.sim[:, place], pool[:, place])


def as_many(query: Query | Sequence[Query]) -> list[Query]:
    """The images or vectors of one object. A matrix is several vectors."""
    if isinstance(query, np.ndarray):
        return list(np.atleast_2d(query))
    return [query] if isinstance(query, (str, os.PathLike)) else list(query)
