"""The index of an open gallery: loaded, built and extended beside the searches, and kept in a file beside the store.

The store is the truth. The file is a cache: missing, stale or damaged it is made anew, and so it is after a class is
forgotten, so that no trace of what was erased stays in it. Until a graph is there, searches compare all vectors.
"""

import threading
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from likewise.export.session import on_stderr
from likewise.extras import install_line
from likewise.gallery import kinds, nearest
from likewise.gallery.state import State
from likewise.gallery.store import SqlStore
from likewise.gallery.tuning import available

__all__ = ["LARGE", "Upkeep", "file_of"]

LARGE = 12_800_000  # numbers: 100,000 vectors of length 128, which one core compares in some 2 ms
PATIENCE = 10  # searches before a graph is built unasked: a single command does not begin one
REST = 1024  # rows without a node from which the graph is extended
REMOVED = 0.2  # share of removed nodes from which it is built anew
UNSAVED = 0.01  # share of nodes that the file may lack
TRUSTED = 0.97  # recall@10 of a loaded graph, for 100 stored vectors, below which it is built anew


class Job(NamedTuple):
    """What the worker does: link rows from a state as it was, into a new graph or a given one."""

    graph: kinds.Candidates
    vectors: np.ndarray  # float32 [N, D], prepared
    seqs: np.ndarray  # int64 [N]
    crcs: np.ndarray  # uint32 [N]
    removed: np.ndarray  # bool [M], nodes of the graph before
    edits: int


class Upkeep:
    """Used under the gallery's lock, but for the worker, which only adds to a graph and puts it in its place."""

    def __init__(self, store: SqlStore, dim: int, sim: str, say: Callable[[str], None] = on_stderr):
        self.store, self.dim, self.sim, self.say = store, dim, sim, say
        self.path = file_of(store)
        self.graph: kinds.Candidates | None = None
        self.kind = "hnsw"
        self.workers: list[threading.Thread] = []
        self.stopping = threading.Event()
        self.asked, self.saved, self.unfit = 0, 0, 0
        self.tried, self.broken, self.why = False, False, ""
        weakref.finalize(self, _end, self.stopping, self.workers)  # a program may end without closing

    def refresh(self, state: State, *, now: bool = False) -> None:
        """Give a state its view of the graph, and begin what has to be done. now: without waiting for more searches."""
        if not self.needed(state):
            state.view = None
            return
        if state.kind != self.kind:
            self._drop()
            self.kind, self.unfit, self.broken, self.why = state.kind, 0, False, ""
        if self.graph is None and not self.working and not self.tried:
            self.tried = True
            self._load(state)
        graph = self.graph
        if graph is None:
            self.asked += 1
            state.view = None
            if now or self.asked > PATIENCE:
                self._build(state)
            return
        old = state.view
        if old is None or old.graph is not graph or old.size != len(state.index) or len(old.rows) != len(graph):
            state.view = nearest.view(graph, state.seqs, state.crcs, old)
        self._mend(state, now)

    def needed(self, state: State) -> bool:
        """Whether a gallery is so large that it has a graph, and FAISS is there."""
        return len(state.index) * self.dim >= LARGE and self._installed(len(state.index))

    def _mend(self, state: State, now: bool) -> None:
        seen = state.view
        if seen is None or self.working:
            return
        if seen.removed > REMOVED * len(seen.rows):
            self._anew(f"{seen.removed:,} of its {len(seen.rows):,} items were removed")
            self._build(state)
        elif len(seen.rest) >= REST or (now and len(seen.rest)):
            self._begin(self._job(state, seen.graph, seen.rest, seen.rows < 0))

    def _installed(self, count: int) -> bool:
        is_installed = available()
        if not is_installed and not self.tried:
            self.tried = True
            faster = install_line("gallery")
            self.say(f"the gallery has {count:,} items, and every search compares all of them; faster: {faster}")
        return is_installed

    @property
    def working(self) -> bool:
        return any(worker.is_alive() for worker in self.workers)

    def _load(self, state: State) -> None:
        """Errors are told, and the graph is built anew."""
        if self.path is None or not self.path.exists():
            return
        try:
            most = int(len(state.index) / (1 - REMOVED)) + 1
            graph = kinds.load(self.path, self.kind, self.sim, most, state.index.prepared, partial(_rows, state))
            seen = nearest.view(graph, state.seqs, state.crcs)
            if nearest.measured(seen, state.index, sample=100) < TRUSTED:
                raise ValueError("it does not lead to the nearest vectors")
        except (OSError, ValueError, RuntimeError) as error:
            self._anew(str(error))
            return
        self.graph, self.saved = graph, len(graph)

    def _anew(self, why: str) -> None:
        self.why = why
        self.say(f"the index of {self.store.url} is rebuilt: {why}")

    def _build(self, state: State) -> None:
        if self.working or self.broken or len(state.index) < 2 * self.unfit:
            return
        count = len(state.index)
        if not self.why:
            self.say(f"an index of {count:,} items is built in the background; searches are exact until it is there")
        graph = kinds.new(self.kind, self.dim, self.sim)
        self._begin(self._job(state, graph, slice(0, count), np.zeros(0, bool)))

    def _job(self, state: State, graph: kinds.Candidates, rows: np.ndarray | slice, removed_N: np.ndarray) -> Job:
        prepared = state.index.prepared
        return Job(graph, prepared[rows], state.seqs[rows], state.crcs[rows], removed_N, state.version.edits)

    def _begin(self, job: Job) -> None:
        if self.broken:
            return
        self.stopping.clear()
        self.workers[:] = [threading.Thread(target=self._work, args=(job,), name="gallery index", daemon=True)]
        self.workers[0].start()

    def _work(self, job: Job) -> None:
        graph = job.graph
        try:
            graph.add(job.vectors, job.seqs, job.crcs, self.stopping.is_set)
            if self.stopping.is_set():
                return
            if not graph.beam and not graph.tune(job.vectors):
                self.unfit, self.why = len(graph), "it does not reach recall@10 of 0.99 on these vectors"
                self.say(f"searches of {self.store.url} stay exact: an index {self.why.removeprefix('it ')}")
                return
        except Exception as error:  # a worker that ends without a word would be begun again without end
            self.broken, self.why = True, str(error) or type(error).__name__
            self.say(f"searches of {self.store.url} are exact, since an index cannot be made: {self.why}")
            return
        if graph is not self.graph:
            self.graph, self.saved, self.unfit, self.why = graph, 0, 0, ""
        try:
            self._save(graph, job)
        except (OSError, ValueError) as error:
            self.say(f"the index of {self.store.url} is not saved: {error}")

    def _save(self, graph: kinds.Candidates, job: Job) -> None:
        """Only of what the store still holds: where something was removed meanwhile, not at all."""
        lacking = len(graph) - self.saved
        if self.path is None or self.store.read_only or lacking <= UNSAVED * len(graph):
            return
        if self.store.version().edits != job.edits:
            return
        graph.save(self.path, job.removed)
        if self.store.version().edits != job.edits:  # by another process, between the look and the writing
            self.path.unlink(missing_ok=True)
        else:
            self.saved = len(graph)

    def fault(self) -> str:
        """What is wrong with the file; empty where nothing is, or there is none."""
        return kinds.fault(self.path, self.kind) if self.path is not None and self.path.exists() else ""

    def wait(self) -> None:
        for worker in self.workers:
            worker.join()

    def forget(self) -> None:
        """Drop the graph and its file; the next searches make it anew from what is left."""
        self._drop()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _drop(self) -> None:
        self.close()
        self.graph, self.saved, self.asked, self.tried = None, 0, 0, False

    def close(self) -> None:
        _end(self.stopping, self.workers)


def _rows(state: State, seqs_N: np.ndarray, crcs_N: np.ndarray) -> np.ndarray:
    """int64 `[N]`: the row of each node. Errors: ValueError where too many have none."""
    row_N = nearest.placed((seqs_N, crcs_N), state.seqs, state.crcs)
    if (removed := int((row_N < 0).sum())) > REMOVED * len(row_N):
        raise ValueError(f"{removed:,} of its {len(row_N):,} items were removed")
    return row_N


def _end(stopping: threading.Event, workers: list[threading.Thread]) -> None:
    stopping.set()
    for worker in workers:
        worker.join()


def file_of(store: SqlStore) -> Path | None:
    """Where the index of a store is kept; None for one that is no file."""
    return None if store.path is None else store.path.with_name(f"{store.path.name}.index")
