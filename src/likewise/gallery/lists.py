"""FAISS's IVF-PQ over a gallery's vectors: lists around centres, in them codes of a byte for each four numbers.

Product quantization: Jegou, Douze and Schmid, 2011, https://doi.org/10.1109/TPAMI.2010.57. A code holds what a vector
differs from the centre of its list. As with the graph, FAISS's own file format is never read: see
`likewise.gallery.codes`.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from likewise.gallery.codes import PART, PROBES, Codes, parts, write
from likewise.gallery.graph import BUILT, PAUSE, PIECE, Shared
from likewise.gallery.tuning import SAMPLE, library, metric, narrowest, sampled, searched

__all__ = ["Lists", "assembled"]

POOL = 32  # candidates for each result asked for, which are compared exactly
FEW = 40  # vectors for each centre, at least
PASSES = 10  # of k-means
FITTED = 64  # vectors for each centre that it is fitted to, at most


class Lists:
    """Nodes in the order in which they were added, each known by the sequence number and CRC-32 of its item."""

    kind = "ivfpq"

    def __init__(self, dim: int, sim: str):
        self.dim, self.sim, self.code = dim, sim, parts(dim)
        self.index: Any = None  # FAISS has no types
        self.beam = 0  # lists searched: FAISS's nprobe
        self.parameters: dict[int, object] = {}
        self.lock = Shared()
        self.keys = np.zeros(0, np.int64), np.zeros(0, np.uint32)

    def __len__(self) -> int:
        return len(self.keys[0])

    def empty(self, lists: int) -> None:
        """Begin with so many lists, not fitted yet."""
        faiss, length = library(), PART * self.code
        self.centres = faiss.IndexFlat(length, metric(self.sim))
        self.index = faiss.IndexIVFPQ(self.centres, length, lists, self.code, 8, metric(self.sim))
        self.index.use_precomputed_table = -1  # which would take lists x 256 numbers for each byte of a code
        of_codes = self.index.pq.cp
        self.index.cp.max_points_per_centroid = of_codes.max_points_per_centroid = FITTED
        of_codes.niter = self.index.cp.niter = PASSES
        self.index.cp.min_points_per_centroid = of_codes.min_points_per_centroid = 1  # else said on stderr

    def padded(self, prepared_ND: np.ndarray) -> np.ndarray:
        """float32 `[N, 4 P]`: zeros behind, which change no similarity."""
        return np.ascontiguousarray(np.pad(prepared_ND, ((0, 0), (0, PART * self.code - self.dim))))

    def fit(self, prepared_ND: np.ndarray) -> None:
        """Find centres and the values of codes, before the first node. Errors: RuntimeError below 256 vectors."""
        if len(self):
            return
        count = len(prepared_ND)
        self.empty(max(1, min(int(4 * count**0.5), count // FEW)))
        self.index.train(self.padded(prepared_ND[sampled(count, SAMPLE)]))

    def add(
        self, prepared_ND: np.ndarray, seqs_N: np.ndarray, crcs_N: np.ndarray, stopped: Callable[[], bool] = bool
    ) -> None:
        """Add further nodes, in pieces between which searches go on; `stopped` is asked between them."""
        self.fit(prepared_ND)
        piece = PIECE if self.beam else BUILT
        for start in range(0, len(prepared_ND), piece):
            if stopped():
                return
            part = slice(start, start + piece)
            with self.lock.writing():
                self.index.add(self.padded(prepared_ND[part]))
                self.keys = np.append(self.keys[0], seqs_N[part]), np.append(self.keys[1], crcs_N[part])
            time.sleep(PAUSE if self.beam else 0)

    def candidates(self, prepared_QD: np.ndarray, k: int, spare: int, beam: int = 0) -> np.ndarray:
        """int64 `[Q, F]`: F >= k + spare nodes among which the k nearest are; beam: that of a search for 10 or less."""
        beam = beam or self.beam
        probe = min(max(beam, beam * k // 20), self.index.nlist)
        if probe not in self.parameters:
            self.parameters[probe] = library().SearchParametersIVF(nprobe=probe)
        with self.lock.reading():
            return searched(self.index, self.padded(prepared_QD), POOL * k + spare, self.parameters[probe])

    def tune(self, prepared_ND: np.ndarray) -> bool:
        """Choose the fewest lists whose candidates hold the nearest of stored vectors; False: all lists do not."""
        lists = self.index.nlist
        probes = [probe for probe in PROBES if probe < lists] + [next((p for p in PROBES if p >= lists), PROBES[-1])]
        self.beam = narrowest(
            lambda query_QD, k, probe: self.candidates(query_QD, k, 0, probe), probes, prepared_ND, self.sim
        )
        return self.beam > 0

    def bytes(self) -> int:
        """Memory of codes, node numbers, keys and centres."""
        with self.lock.reading():
            return len(self) * (self.code + 8 + 12) + 4 * PART * self.code * (self.index.nlist + 256)

    @property
    def described(self) -> str:
        return f"IVF-PQ, {self.code} bytes a code, {min(self.beam, self.index.nlist):,} of {self.index.nlist:,} lists"

    def save(self, path: Path, removed_N: np.ndarray) -> None:
        """Write the codes, in which removed nodes are named no more."""
        write(path, self.codes(removed_N), self.dim)

    def codes(self, removed_N: np.ndarray) -> Codes:
        """The lists as arrays, in which removed nodes have neither name nor code."""
        faiss = library()
        with self.lock.reading():
            (seqs, crcs), inverted = self.keys, self.index.invlists
            list_N, code_NP = np.zeros(len(seqs), np.int32), np.zeros((len(seqs), self.code), np.uint8)
            for number in range(self.index.nlist):
                if size := inverted.list_size(number):
                    node_S = faiss.rev_swig_ptr(inverted.get_ids(number), size).copy()
                    code_SP = faiss.rev_swig_ptr(inverted.get_codes(number), size * self.code)
                    list_N[node_S], code_NP[node_S] = number, code_SP.reshape(size, self.code)
            centre_LD = np.empty((self.index.nlist, PART * self.code), np.float32)
            self.centres.reconstruct_n(0, self.index.nlist, centre_LD)
            books = faiss.vector_to_array(self.index.pq.centroids).reshape(self.code, -1, PART)
        is_kept = np.ones(len(seqs), bool)
        is_kept[: len(removed_N)] = ~removed_N
        named, summed = np.where(is_kept, seqs, 0), np.where(is_kept, crcs, 0)
        return Codes(named, summed, list_N * is_kept, code_NP * is_kept[:, None], centre_LD, books, self.beam)


def assembled(codes: Codes, row_N: np.ndarray, dim: int, sim: str) -> Lists:
    """The lists of checked codes; nodes whose items are gone (row -1) are in none."""
    lists = Lists(dim, sim)
    lists.empty(len(codes.centres))
    faiss, index = library(), lists.index
    lists.centres.add(codes.centres)
    faiss.copy_array_to_vector(np.ascontiguousarray(codes.books).ravel(), index.pq.centroids)
    index.is_trained = True
    node_N = np.flatnonzero(row_N >= 0)
    node_N = node_N[np.argsort(codes.lists[node_N], kind="stable")]
    begin_L = np.searchsorted(codes.lists[node_N], np.arange(len(codes.centres) + 1))
    for number in np.flatnonzero(np.diff(begin_L)).tolist():
        node_S = np.ascontiguousarray(node_N[begin_L[number] : begin_L[number + 1]])
        code_SP = np.ascontiguousarray(codes.codes[node_S])
        index.invlists.add_entries(number, len(node_S), faiss.swig_ptr(node_S), faiss.swig_ptr(code_SP))
    index.ntotal = len(codes.seqs)
    lists.keys, lists.beam = (codes.seqs, codes.crcs), codes.probe
    return lists
