"""FAISS's HNSW graph over a gallery's vectors. Malkov and Yashunin, 2018, https://arxiv.org/abs/1603.09320.

FAISS is the extra `gallery`. Its own file format is never read: the graph is taken apart into plain arrays
(`likewise.gallery.links`) and put together again from those and the store's vectors.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from likewise.gallery.index import prepare
from likewise.gallery.links import BEAMS, LINKS, Links, offsets, slots, write
from likewise.gallery.tuning import SAMPLE, library, metric, narrowest, sampled, searched

__all__ = ["Graph", "Shared", "assembled"]

BUILDING = 80  # candidates kept while a node is linked: FAISS's efConstruction
PIECE = 32  # nodes added while searches wait
BUILT = 4096  # nodes added at once while nobody searches
PAUSE = 0.002  # seconds in which those go on
LOADED = 65_536  # nodes whose vectors are read at once
SPARE = 4  # candidates beyond the k asked for


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
    kind: hnsw, whose nodes are vectors, or int8, whose nodes are those rounded to 256 values a number.
    """

    def __init__(self, dim: int, sim: str, kind: str = "hnsw"):
        faiss, self.sim, self.kind = library(), sim, kind
        if kind == "int8":
            self.index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_8bit, LINKS, metric(sim))
        else:
            self.index = faiss.IndexHNSWFlat(dim, LINKS, metric(sim))
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
        self.fit(prepared_ND)
        piece = PIECE if self.beam else BUILT  # without a beam nobody searches yet
        for start in range(0, len(prepared_ND), piece):
            if stopped():
                return
            part = slice(start, start + piece)
            with self.lock.writing():
                self.index.add(np.ascontiguousarray(prepared_ND[part]))
                self.keys = np.append(self.keys[0], seqs_N[part]), np.append(self.keys[1], crcs_N[part])
            time.sleep(PAUSE if self.beam else 0)

    def fit(self, prepared_ND: np.ndarray) -> None:
        """Find the range of each number, once."""
        if self.index.is_trained:
            return
        sample = prepared_ND[sampled(len(prepared_ND), SAMPLE)]
        library().downcast_index(self.index.storage).train(sample)
        self.index.is_trained = True

    def candidates(self, prepared_QD: np.ndarray, k: int, spare: int, beam: int = 0) -> np.ndarray:
        """int64 `[Q, F]`: F >= k + spare nodes among which the k nearest are; beam: that of a search for 10 or less."""
        beam = beam or self.beam
        fetched = (2 * k if self.kind == "int8" else k) + SPARE + spare
        return self.search(prepared_QD, fetched, max(beam, beam * k // 20, 3 * fetched))

    def search(self, prepared_QD: np.ndarray, k: int, beam: int) -> np.ndarray:
        """int64 `[Q, k]`: nodes, nearest first, -1 where fewer were reached."""
        if beam not in self.parameters:
            self.parameters[beam] = library().SearchParametersHNSW(efSearch=beam)
        with self.lock.reading():
            return searched(self.index, prepared_QD, k, self.parameters[beam])

    def tune(self, prepared_ND: np.ndarray) -> bool:
        """Choose the narrowest beam whose candidates hold the nearest of stored vectors; False: none does."""
        self.beam = narrowest(
            lambda query_QD, k, beam: self.candidates(query_QD, k, 0, beam), BEAMS, prepared_ND, self.sim
        )
        return self.beam > 0

    def bytes(self) -> int:
        """Memory of FAISS's vectors or their codes, the links and the keys."""
        with self.lock.reading():
            hnsw, count = self.index.hnsw, len(self)
            code = (1 if self.kind == "int8" else 4) * self.index.d
            return count * (code + 4 + 8 + 12) + 4 * hnsw.neighbors.size()

    @property
    def described(self) -> str:
        codes = " over int8 codes" if self.kind == "int8" else ""
        return f"HNSW graph{codes}, efSearch {self.beam}"

    def save(self, path: Path, removed_N: np.ndarray) -> None:
        """Write the links, see `likewise.gallery.links`."""
        write(path, self.links(removed_N), self.kind)

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


def assembled(links: Links, prepared_MD: np.ndarray, row_N: np.ndarray, sim: str, kind: str = "hnsw") -> Graph:
    """The graph of checked links and its nodes' vectors, rows of M; one without (-1) stands between its neighbours."""
    graph = Graph(prepared_MD.shape[1], sim, kind)
    graph.fit(prepared_MD)
    begin = offsets(links.levels)
    hnsw, storage = graph.index.hnsw, library().downcast_index(graph.index.storage)
    library().copy_array_to_vector(links.levels.astype(np.int32), hnsw.levels)
    library().copy_array_to_vector(begin.astype(np.uint64), hnsw.offsets)
    library().copy_array_to_vector(np.ascontiguousarray(links.neighbors, np.int32), hnsw.neighbors)
    hnsw.entry_point, hnsw.max_level = links.entry, int(links.levels.max()) - 1
    for start in range(0, len(row_N), LOADED):
        row_P = row_N[start : start + LOADED]
        prepared_PD = prepared_MD[np.maximum(row_P, 0)]
        if len(absent := np.flatnonzero(row_P < 0)):
            linked_AS = links.neighbors[slots(start + absent, begin, 0)]
            prepared_PD[absent] = prepare(_between(linked_AS, prepared_MD, row_N), sim)
        storage.add(prepared_PD)
    graph.index.ntotal = len(links.seqs)
    graph.keys, graph.beam = (links.seqs, links.crcs), links.beam
    return graph


def _between(linked_AS: np.ndarray, prepared_MD: np.ndarray, row_N: np.ndarray) -> np.ndarray:
    """float32 `[A, D]`: mean vectors of those of the linked nodes that are there."""
    row_AS = np.where(linked_AS >= 0, row_N[linked_AS], -1)
    sum_AD = np.zeros((len(linked_AS), prepared_MD.shape[1]), np.float32)
    for row_A in row_AS.T:
        sum_AD[row_A >= 0] += prepared_MD[row_A[row_A >= 0]]
    return sum_AD / np.maximum((row_AS >= 0).sum(1, keepdims=True), 1)
