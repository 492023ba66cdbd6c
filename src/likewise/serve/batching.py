"""Images of many clients through the model at once.

Requests hand in files and wait; one thread takes all that wait, up to a batch, decodes and embeds them together. No
request waits for others to come: a batch is whatever arrived while the one before was computed.
"""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np

from likewise.gallery.encoder import Encoder

__all__ = ["BatchingEncoder"]

BATCH = 64  # images


class _Job(NamedTuple):
    paths: Sequence[str | os.PathLike]
    result: "Future[np.ndarray]"


class BatchingEncoder:
    """An encoder that may be called from many threads. `observe` is told the number of images of each batch."""

    def __init__(self, encoder: Encoder, observe: Callable[[int], None] | None = None):
        self.inner = encoder
        self.path, self.sim, self.fingerprint, self.info = encoder.path, encoder.sim, encoder.fingerprint, encoder.info
        self.dim = encoder.dim
        self.observe = observe or (lambda images: None)
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name="likewise-embed", daemon=True)
        self.thread.start()

    def embed(self, paths: Sequence[str | os.PathLike]) -> np.ndarray:
        """float32 `[N, dim]` of image files. Errors: ValueError naming what cannot be read."""
        if not len(paths):
            return np.zeros((0, self.dim), np.float32)
        job = _Job(paths, Future())
        self.jobs.put(job)
        return job.result.result()

    def close(self) -> None:
        """Finish what waits, then stop."""
        self.jobs.put(None)
        self.thread.join()

    def _work(self) -> None:
        last = False
        while not last:
            batch: list[_Job] = []
            job: Any = self.jobs.get()
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
