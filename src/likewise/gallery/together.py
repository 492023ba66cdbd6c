"""Several images of one object as one query: by their mean vector, or by the best similarity of any."""

from collections.abc import Sequence

import numpy as np

from likewise.gallery.index import Found, prepare

__all__ = ["WAYS", "as_queries", "check_way", "merged"]

WAYS = ("mean", "best")


def check_way(together: str) -> str:
    if together not in WAYS:
        raise ValueError(f"together is {' or '.join(WAYS)}; got {together!r}")
    return together


def as_queries(vectors_QD: np.ndarray, sim: str, together: str) -> np.ndarray:
    """The vectors searched for one object: the mean `[1, D]` (of unit vectors under cosine), or all `[Q, D]`."""
    check_way(together)
    return vectors_QD if together == "best" else prepare(vectors_QD, sim).mean(0, keepdims=True)


def merged(near: Found, k: int) -> Found:
    """The k best rows `[1, K]` of one object: each by its highest similarity to any of the queries `[Q, K]`."""
    if len(near.row) == 1 and near.row.shape[1] <= k:
        return near
    best: dict[int, float] = {}
    for row, similarity in zip(near.row.ravel().tolist(), near.sim.ravel().tolist(), strict=True):
        if row >= 0:
            best[row] = max(similarity, best.get(row, -np.inf))
    ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))[:k]
    return Found(_row(ranked, 1, np.float32), _row(ranked, 0, np.int64))


def _row(ranked: Sequence[tuple[int, float]], at: int, kind: type) -> np.ndarray:
    return np.asarray([[pair[at] for pair in ranked]], dtype=kind)
