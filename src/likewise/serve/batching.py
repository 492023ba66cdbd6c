"""Images of many clients through the model at once.

Requests hand in files and wait; a worker takes all that wait, up to a batch, decodes and embeds them together. No
request waits for others to come: a batch is whatever arrived while the ones before were computed. Two workers, so
that one decodes while the model computes for the other.
"""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from likewise.gallery.encoder import Encoder
from likewise.serve.problems import RETRY, ProblemError

__all__ = ["BatchingEncoder"]

BATCH = 64  # images
WORKERS = 2


class _Job(NamedTuple):
    paths: Sequence[str | os.PathLike]
    result: "Future[np.ndarray]"


class BatchingEncoder:
    """An encoder that may be called from many threads. `observe` is told the number of images of each batch."""

    def __init__(
        self, encoder: Encoder, observe: Callable[[int], None] = lambda images: None, *, workers: int = WORKERS
    ):
        self.inner = encoder
        self.path, self.sim, self.fingerprint, self.info = encoder.path, encoder.sim, encoder.fingerprint, encoder.info
        self.dim, self.classes, self.run = encoder.dim, encoder.classes, encoder.run
        self.observe = observe
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.lock, self.closed = threading.Lock(), False
        self.threads = [
            threading.Thread(target=self._work, name=f"likewise-embed-{i}", daemon=True) for i in range(workers)
        ]
        for thread in self.threads:
            thread.start()

    def embed(self, paths: Sequence[str | os.PathLike]) -> np.ndarray:
        """float32 `[N, dim]` of image files. Errors: ValueError naming what cannot be read; Problem 503 once closed."""
        if not len(paths):
            return np.zeros((0, self.dim), np.float32)
        job = _Job(paths, Future())
        with self.lock:
            if self.closed:
                raise ProblemError(503, "the service is stopping; try again", RETRY)
            self.jobs.put(job)
        return job.result.result()

    def alive(self) -> bool:
        """Whether images are still embedded."""
        return not self.closed and all(thread.is_alive() for thread in self.threads)

    def close(self) -> None:
        """Finish what waits, then stop."""
        with self.lock:
            self.closed = True
        for _ in self.threads:
            self.jobs.put(None)
        for thread in self.threads:
            thread.join()

    def _work(self) -> None:
        last = False
        while not last:
            batch: list[_Job] = []
            job = self.jobs.get()
            while job is not None:
                batch.append(job)
                if sum(len(one.paths) for one in batch) >= BATCH:
                    break
                try:
                    job = self.jobs.get_nowait()
                except queue.Empty:
                    break
            else:
                last = True
            if batch:
                self._embed(batch)

    def _embed(self, batch: list[_Job]) -> None:
        """One forward pass; where a file cannot be read, each request for itself, so that only its own fails."""
        paths = [path for job in batch for path in job.paths]
        self.observe(len(paths))
        try:
            vectors_ND = self.inner.embed(paths)
        except Exception as error:
            if len(batch) == 1:
                batch[0].result.set_exception(error)
            else:
                for job in batch:
                    self._embed([job])
            return
        at = 0
        for job in batch:
            job.result.set_result(vectors_ND[at : at + len(job.paths)])
            at += len(job.paths)
