"""The index of a gallery in numbers: what is used, how complete it is, what it takes, how its searches grow."""

import statistics
import time
from typing import Any

import numpy as np

from likewise.gallery import nearest
from likewise.gallery.state import State

__all__ = ["describe"]

TIMED = 20  # searches whose median time is told


def describe(state: State) -> dict[str, Any]:
    """Kind of index, recall@10 on up to 1,000 of the gallery's own vectors, bytes a vector, milliseconds a search."""
    size, seen = len(state.index), state.view
    told: dict[str, Any] = {"index": "exact", "recall@10": 1.0 if size else None, "bytes_per_vector": 4 * state.dim}
    if seen is not None:
        told = {
            "index": f"HNSW graph, efSearch {seen.graph.beam}, {len(seen.rest):,} items beside it",
            "recall@10": round(nearest.measured(seen, state.index), 4),
            "bytes_per_vector": round(4 * state.dim + seen.graph.bytes() / max(len(seen.rows), 1)),
        }
    milliseconds = timed(state) if size else None
    return {**told, "search_ms": milliseconds, "search_growth": growth(state, milliseconds)}


def timed(state: State) -> float:
    """Median time of one search for the 10 nearest of a stored vector."""
    spent = []
    for row in np.linspace(0, len(state.index) - 1, TIMED).astype(int):
        query_1D = state.index.prepared[row : row + 1]
        start = time.perf_counter()
        state.search(query_1D, 10)
        spent.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(spent), 3)


def growth(state: State, milliseconds: float | None) -> str:
    """How the time of a search depends on the number of items."""
    if state.view is not None:
        return "with the logarithm of the number of items"
    told = "" if milliseconds is None else f": about {10 * milliseconds:.3g} ms at ten times as many"
    return f"in proportion to the number of items{told}"
