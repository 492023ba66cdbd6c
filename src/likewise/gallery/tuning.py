"""How wide an index has to search: the narrowest setting with recall@10 of 0.995 for stored vectors."""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import numpy as np

from likewise.gallery.index import compared

__all__ = [
    "SAMPLE",
    "available",
    "library",
    "metric",
    "narrowest",
    "recall",
    "sampled",
    "searched",
    "true_similarities",
]

GOAL = 0.995  # recall@10 on stored vectors that the setting is chosen for: 0.99 with room for other queries
QUERIES = 500  # of those
SAMPLE = 262_144  # vectors that codes are fitted to


def library() -> ModuleType:
    """FAISS, which is slow to import and may be missing."""
    return import_module("faiss")


@cache
def available() -> bool:
    return find_spec("faiss") is not None


def metric(sim: str) -> int:
    """FAISS's number of the comparison that ranks prepared vectors."""
    faiss = library()
    return faiss.METRIC_L2 if sim in ("euclidean", "sqeuclidean") else faiss.METRIC_INNER_PRODUCT


def searched(index: object, query_QD: np.ndarray, k: int, parameters: object) -> np.ndarray:
    """int64 `[Q, k]`: what FAISS's index finds, nearest first, -1 where there is none.

    Packages that import `faiss.contrib.torch_utils` replace `search` for the whole process by one that takes no
    parameters; FAISS's own is then `search_numpy`.
    """
    name = "search_numpy" if hasattr(index, "search_numpy") else "search"
    return getattr(index, name)(query_QD, k, params=parameters)[1]


def narrowest(
    candidates: Callable[[np.ndarray, int, int], np.ndarray],
    settings: Sequence[int],
    prepared_ND: np.ndarray,
    sim: str,
) -> int:
    """The first setting whose candidates, compared exactly, reach the goal; 0: none does.

    candidates: those of queries for the k nearest at a setting, nodes `[Q, F]` or -1. Nodes are rows of prepared_ND.
    """
    query_QD, k = prepared_ND[sampled(len(prepared_ND), QUERIES)], min(11, len(prepared_ND))
    true_QK = true_similarities(query_QD, prepared_ND, k, sim)
    for setting in settings:
        sim_QF = compared(query_QD, prepared_ND, candidates(query_QD, k, setting), sim)
        if recall(-np.sort(-sim_QF, axis=1)[:, :k], true_QK) >= GOAL:
            return setting
    return 0


def true_similarities(query_QD: np.ndarray, prepared_ND: np.ndarray, k: int, sim: str) -> np.ndarray:
    """float32 `[Q, k]` of prepared queries to the k nearest rows, nearest first."""
    row_QK = library().knn(query_QD, prepared_ND, k, metric(sim))[1]
    return compared(query_QD, prepared_ND, row_QK, sim)


def recall(found_QK: np.ndarray, true_QK: np.ndarray) -> float:
    """Share of the k nearest that were found, by their similarities `[Q, k]`; of equally near ones any counts.

    A query that is itself stored finds itself first in both, which is not counted.
    """
    edge_Q1 = true_QK[:, -1:] - 1e-6 * np.abs(true_QK[:, -1:])
    hits_Q = (found_QK >= edge_Q1).sum(1)
    return float(((hits_Q - 1) / max(true_QK.shape[1] - 1, 1)).mean())


def sampled(count: int, size: int, seed: int = 0) -> np.ndarray:
    """int64, ascending: rows drawn without replacement, all where they are fewer."""
    return np.sort(np.random.default_rng(seed).choice(count, min(size, count), replace=False))
