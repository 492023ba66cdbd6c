"""Nearest rows by an index: its candidates compared exactly, rows that it lacks compared as they are.

An index (a graph, or lists of codes) outlives the states of a gallery. A view says which row of one state each node
is: none where it was removed.
"""

from typing import NamedTuple

import numpy as np

from likewise.gallery.index import ExactIndex, Found, compared, prepare
from likewise.gallery.kinds import Candidates
from likewise.gallery.tuning import recall, true_similarities

__all__ = ["MOST", "View", "measured", "placed", "search", "view"]

MOST = 1000  # results for which the graph is asked; more are found by comparing all


class View(NamedTuple):
    """The nodes of an index as rows of one state of a gallery. Immutable: searches of other threads keep theirs."""

    graph: Candidates
    size: int  # rows of the state
    rows: np.ndarray  # int64 [N]: row of each node, -1 for a removed one
    removed: int
    rest: np.ndarray  # int64 [T]: rows without a node, ascending


def placed(keys: tuple[np.ndarray, np.ndarray], seqs_M: np.ndarray, crcs_M: np.ndarray) -> np.ndarray:
    """int64 `[N]`: the row of each node's item among M, whose sequence numbers ascend; -1 where it is not there."""
    seqs_N, crcs_N = keys
    if not len(seqs_M):
        return np.full(len(seqs_N), -1)
    at_N = np.minimum(np.searchsorted(seqs_M, seqs_N), len(seqs_M) - 1)
    return np.where((seqs_M[at_N] == seqs_N) & (crcs_M[at_N] == crcs_N), at_N, -1)


def view(graph: Candidates, seqs_M: np.ndarray, crcs_M: np.ndarray, old: View | None = None) -> View:
    """The nodes of a graph among the M rows of a state. old: a view of an earlier moment of the same state."""
    known = np.zeros(0, np.int64) if old is None or old.graph is not graph else old.rows
    seqs_N, crcs_N = graph.keys
    row_N = np.concatenate([known, placed((seqs_N[len(known) :], crcs_N[len(known) :]), seqs_M, crcs_M)])
    covered_M = np.zeros(len(seqs_M), bool)
    covered_M[row_N[row_N >= 0]] = True
    return View(graph, len(seqs_M), row_N, int((row_N < 0).sum()), np.flatnonzero(~covered_M))


def search(seen: View, index: ExactIndex, query_QD: np.ndarray, k: int, *, complete: bool = True) -> Found:
    """What `ExactIndex.search` finds, nearly always; similarities and order are exact. k is at most `MOST`.

    complete: compare all rows for a query for which the index led to fewer than k, or half to removed ones.
    """
    prepared_QD = prepare(query_QD, index.sim)
    node_QK = seen.graph.candidates(prepared_QD, k, min(seen.removed, k))
    node_QK[node_QK >= len(seen.rows)] = -1  # added since the view was made
    row_QK = seen.rows[node_QK]
    row_QK[node_QK < 0] = -1
    lost_Q = 2 * ((node_QK >= 0) & (row_QK < 0)).sum(1) > node_QK.shape[1]
    sim_QK = compared(prepared_QD, index.rows, row_QK, index.sim)
    if len(seen.rest):
        rest = index.search(query_QD, min(k, len(seen.rest)), _rows(seen.rest))
        sim_QK, row_QK = np.concatenate([sim_QK, rest.sim], 1), np.concatenate([row_QK, rest.row], 1)
    order_QK, every_Q1 = np.lexsort((row_QK, -sim_QK))[:, :k], np.arange(len(sim_QK))[:, None]
    near = Found(sim_QK[every_Q1, order_QK], row_QK[every_Q1, order_QK])
    few_Q = (near.row[:, min(k, seen.size) - 1] < 0) | lost_Q
    if complete and few_Q.any():
        whole = index.search(query_QD[few_Q], k, slice(0, seen.size))
        near.sim[few_Q], near.row[few_Q] = whole
    return near


def _rows(rest: np.ndarray) -> np.ndarray | slice:
    """Rows that follow one another are not copied."""
    return slice(int(rest[0]), int(rest[-1]) + 1) if rest[-1] - rest[0] + 1 == len(rest) else rest


def measured(seen: View, index: ExactIndex, sample: int = 1000, seed: int = 0) -> float:
    """Recall@10 for rows drawn at random, each but itself."""
    chosen = np.random.default_rng(seed).choice(seen.size, min(sample, seen.size), replace=False)
    query_QD, k = index.prepared[np.sort(chosen)], min(11, seen.size)
    true_QK = true_similarities(query_QD, index.prepared[: seen.size], k, index.sim)
    return recall(search(seen, index, query_QD, k, complete=False).sim, true_QK)
