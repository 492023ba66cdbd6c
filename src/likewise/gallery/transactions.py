"""Transactions over one connection that the threads of a process share, the same in either store."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Transactions"]


class Transactions(ABC):
    """One transaction at a time, under a lock; a store says how to begin, to commit and to roll back."""

    url: str
    read_only = False

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.depth = 0  # 1 inside a transaction
        self.writer = 0  # the thread inside `begin`

    @contextmanager
    def begin(self) -> Iterator[None]:
        """A write transaction, one at a time; left by an error, nothing of it is written."""
        if self.read_only:
            raise ValueError(f"{self.url} cannot be written: the file or its folder is read-only")
        with self.lock:
            if self.depth:  # part of a transaction that is under way
                yield
                return
            commit = self.begin_write()
            self.depth, self.writer = 1, threading.get_ident()
            try:
                yield
                commit()
            except BaseException:
                self.rollback()
                raise
            finally:
                self.depth = self.writer = 0

    def writing(self) -> bool:
        """Whether this thread is inside `begin`."""
        return self.writer == threading.get_ident()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A transaction in which all reads see one state."""
        with self.lock:
            if self.depth:
                yield
                return
            self.begin_read()
            self.depth = 1
            try:
                yield
            finally:
                self.rollback()
                self.depth = 0

    @abstractmethod
    def begin_write(self) -> Callable[[], None]:
        """Begin a write transaction; what commits it."""

    @abstractmethod
    def begin_read(self) -> None:
        """Begin a transaction that sees one state."""

    @abstractmethod
    def rollback(self) -> None:
        """End the transaction without a trace, if it has not ended by itself."""
