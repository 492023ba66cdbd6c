"""FAISS's HNSW graph over a gallery's vectors. Malkov and Yashunin, 2018, https://arxiv.org/abs/1603.09320.

FAISS is the extra `gallery`. Its own file format is never read: the graph is taken apart into plain arrays
(`likewise.gallery.links`) and put together again from those and the store's vectors.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import numpy as np

from likewise.gallery.index import prepare
from likewise.gallery.links import BEAMS, LINKS, Links, offsets, slots

__all__ = ["Graph", "assembled", "available", "library", "metric", "recall"]

BUILDING = 80  # candidates kept while a node is linked: FAISS's efConstruction
GOAL = 0.995  # recall@10 on stored vectors that the beam is chosen for: 0.99 with room for other queries
PIECE = 32  # nodes added while searches wait
BUILT = 4096  # nodes added at once while nobody searches
PAUSE = 0.002  # seconds in which those go on


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


class Shared:
    """A lock that many readers hold together and a writer alone; a waiting writer comes first."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.readers, self.writers = 0, 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self.condition:
            while self.writers:
                self.condition.wait()
            self.readers += 1
        try:
            yield
        finally:
            with self.condition:
                self.readers -= 1
                self.condition.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self.condition:
            self.writers += 1
            while self.readers:
                self.condition.wait()
            try:
                yield  # the condition is held: nobody else gets in
            finally:
                self.writers -= 1
                self.condition.notify_all()


class Graph:
    """Nodes in the order in which they were added, each known by the sequence number and CRC-32 of its item.

    The graph is over prepared vectors, by inner product for cosine and dot, else by distance.
    """

    def __init__(self, dim: int, sim: str):
        self.index = library().IndexHNSWFlat(dim, LINKS, metric(sim))
        self.index.hnsw.efConstruction = BUILDING
        self.beam = 0
        self.parameters: dict[int, object] = {}
        self.lock = Shared()
        self.keys = np.zeros(0, np.int64), np.zeros(0, np.uint32)

    def __len__(self) -> int:
        return len(self.keys[0])

    def add(
        self, prepared_ND: np.ndarray, seqs_N: np.ndarray, crcs_N: np.ndarray, stopped: Callable[[], bool] = bool
    ) -> None:
        """Link further nodes, in pieces between which searches go on; `stopped` is asked between them."""
        piece = PIECE if self.beam else BUILT  # without a beam nobody searches yet
        for start in range(0, len(prepared_ND), piece):
            if stopped():
                return
            part = slice(start, start + piece)
            with self.lock.writing():
                self.index.add(prepared_ND[part])
                self.keys = np.append(self.keys[0], seqs_N[part]), np.append(self.keys[1], crcs_N[part])
            time.sleep(PAUSE if self.beam else 0)

    def search(self, prepared_QD: np.ndarray, k: int, beam: int) -> np.ndarray:
        """int64 `[Q, k]`: nodes, nearest first, -1 where fewer were reached."""
        if beam not in self.parameters:
            self.parameters[beam] = library().SearchParametersHNSW(efSearch=beam)
        with self.lock.reading():
            return self.index.search(prepared_QD, k, params=self.parameters[beam])[1]

    def tune(self, seed: int = 0, sample: int = 500) -> bool:
        """Choose the narrowest beam with recall@10 of `GOAL` for stored vectors but themselves; False: none has it."""
        storage, chosen = library().downcast_index(self.index.storage), _sample(len(self), sample, seed)
        query_QD = np.stack([storage.reconstruct(int(node)) for node in chosen])
        k = min(11, len(self))
        true_QK = storage.search(query_QD, k)[0]
        for beam in BEAMS:
            found_QK = self.index.search(query_QD, k, params=library().SearchParametersHNSW(efSearch=beam))[0]
            if recall(found_QK, true_QK, largest=self.index.metric_type == library().METRIC_INNER_PRODUCT) >= GOAL:
                self.beam = beam
                return True
        return False

    def bytes(self) -> int:
        """Memory of FAISS's copy of the vectors, the links and the keys."""
        with self.lock.reading():
            hnsw, count = self.index.hnsw, len(self)
            return count * (4 * self.index.d + 4 + 8 + 12) + 4 * hnsw.neighbors.size()

    def links(self, removed_N: np.ndarray) -> Links:
        """The graph as arrays, in which removed nodes are named no more."""
        with self.lock.reading():
            hnsw, (seqs, crcs) = self.index.hnsw, self.keys
            levels = library().vector_to_array(hnsw.levels).astype(np.uint8)
            neighbors = library().vector_to_array(hnsw.neighbors)
            entry = int(hnsw.entry_point)
        is_kept = np.ones(len(seqs), bool)
        is_kept[: len(removed_N)] = ~removed_N
        return Links(np.where(is_kept, seqs, 0), np.where(is_kept, crcs, 0), levels, neighbors, entry, self.beam)


def assembled(links: Links, prepared_ND: np.ndarray, present_N: np.ndarray, sim: str) -> Graph:
    """The graph of checked links and its nodes' vectors; a node that is not present stands between its neighbours."""
    graph = Graph(prepared_ND.shape[1], sim)
    begin = offsets(links.levels)
    if len(absent := np.flatnonzero(~present_N)):
        linked_AS = links.neighbors[slots(absent, begin, 0)]
        prepared_ND[absent] = prepare(_between(linked_AS, prepared_ND, present_N), sim)
    hnsw = graph.index.hnsw
    library().copy_array_to_vector(links.levels.astype(np.int32), hnsw.levels)
    library().copy_array_to_vector(begin.astype(np.uint64), hnsw.offsets)
    library().copy_array_to_vector(np.ascontiguousarray(links.neighbors, np.int32), hnsw.neighbors)
    hnsw.entry_point, hnsw.max_level = links.entry, int(links.levels.max()) - 1
    library().downcast_index(graph.index.storage).add(prepared_ND)
    graph.index.ntotal = len(links.seqs)
    graph.keys, graph.beam = (links.seqs, links.crcs), links.beam
    return graph


def _between(linked_AS: np.ndarray, prepared_ND: np.ndarray, present_N: np.ndarray) -> np.ndarray:
    """float32 `[A, D]`: mean vectors of those of the linked nodes that are present."""
    there_AS = (linked_AS >= 0) & present_N[linked_AS]
    sum_AD = np.zeros((len(linked_AS), prepared_ND.shape[1]), np.float32)
    for linked_A, there_A in zip(linked_AS.T, there_AS.T, strict=True):
        sum_AD[there_A] += prepared_ND[linked_A[there_A]]
    return sum_AD / np.maximum(there_AS.sum(1, keepdims=True), 1)


def recall(found_QK: np.ndarray, true_QK: np.ndarray, *, largest: bool = True) -> float:
    """Share of the k nearest that were found; of equally near ones any counts.

    Both are `[Q, k]`, similarities or (largest=False) distances. A query that is itself stored finds itself first in
    both, which is not counted.
    """
    found_QK, true_QK = (found_QK, true_QK) if largest else (-found_QK, -true_QK)
    edge_Q1 = true_QK[:, -1:] - 1e-6 * np.abs(true_QK[:, -1:])
    hits_Q = (found_QK >= edge_Q1).sum(1)
    return float(((hits_Q - 1) / max(true_QK.shape[1] - 1, 1)).mean())


def _sample(count: int, size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(count, min(size, count), replace=False))
