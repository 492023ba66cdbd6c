"""Rows of float32 in a file without a name, mapped into memory: the system keeps of them what it has room for.

The file is deleted while it is open, so that it ends with the process, and nobody else can open it.
"""

import mmap
import os
import tempfile
import weakref
from pathlib import Path

import numpy as np

__all__ = ["MappedRows"]

STEP = 8 << 20  # bytes by which a small file grows


class MappedRows:
    """Room for rows that grows without being copied; arrays given before stay valid, and see the same numbers."""

    def __init__(self, dim: int, folder: Path | None):
        self.dim = dim
        self.file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115, open as long as the rows are
        weakref.finalize(self, self.file.close)
        self.map: mmap.mmap | None = None

    def grown(self, needed: int) -> np.ndarray:
        """float32 `[M, dim]` with M of `needed` or more. Errors: OSError where the disk has no room."""
        row = 4 * self.dim
        size = max(needed * row, 5 * os.fstat(self.file.fileno()).st_size // 4, STEP)
        size = -(-size // row) * row
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self.file.fileno(), 0, size)  # a full disk is an error here, and a crash in a mapping
        else:
            self.file.truncate(size)
        self.map = mmap.mmap(self.file.fileno(), size)
        return np.frombuffer(self.map, np.float32).reshape(-1, self.dim)

    def settle(self) -> None:
        """Let go of the pages; they come back when they are read."""
        if self.map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.map.madvise(mmap.MADV_DONTNEED)
