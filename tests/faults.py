"""Faults at a chosen file operation below a folder: the process ends there, or the operation fails with an error.

Counted are creating, writing, syncing, closing, renaming, removing and truncating files, and making and removing
folders, as Python does them. Writers in other languages (safetensors, Arrow) count as three operations: before, half of
the file, after.
"""

import builtins
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import safetensors
import safetensors.torch

__all__ = ["Faults", "dies", "failing"]

PATHS = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir", "truncate", "link", "symlink")  # of the module os
FREEING = {"unlink", "remove", "rmdir"}  # possible on a full disk
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

Fault = Callable[[str], None]  # ends the process or raises; gets the path


def dies(path: str) -> None:
    """The process is gone, as by kill -9: nothing is flushed, nothing is closed."""
    os._exit(137)


def failing(number: int) -> Fault:
    """Fails with an error of the operating system."""

    def fail(path: str) -> None:
        raise OSError(number, os.strerror(number), path)

    return fail


class Faults:
    """Counts operations on what lies below `root`, and has a fault at the n-th; n = 0 counts only.

    on: from then on every operation but removing fails, as on a full disk.
    """

    def __init__(self, root: Path, n: int = 0, fault: Fault = dies, *, on: bool = False):
        self.root, self.n, self.fault, self.on = str(root.resolve()), n, fault, on
        self.operations: list[str] = []

    def below(self, path: Any) -> bool:
        """Whether it counts. What TensorBoard's own thread writes has no fixed place among the others."""
        with suppress(TypeError, ValueError):
            full = os.path.realpath(os.fsdecode(path))
            own_thread = threading.current_thread() is threading.main_thread() or f"{os.sep}tensorboard" not in full
            return own_thread and full.startswith(self.root)
        return False

    def step(self, name: str, path: Any) -> None:
        full = os.fsdecode(path)
        self.operations.append(f"{name} {os.path.relpath(os.path.realpath(full), self.root)}")
        if self.n and (len(self.operations) == self.n or (self.on and len(self.operations) > self.n)):
            if self.fault is not dies and name in FREEING:
                return
            self.fault(full)

    @contextmanager
    def active(self) -> Iterator["Faults"]:
        """Inside, operations are counted and may fail."""
        places: list[tuple[Any, str, Any]] = [
            *((os, name, self.counted(name, getattr(os, name))) for name in PATHS),
            *((module, "open", self.opening(io.open)) for module in (builtins, io)),
            (os, "open", self.os_opening(os.open)),
            (os, "fsync", self.syncing(os.fsync)),
            (pq, "write_table", self.native(pq.write_table)),
            (safetensors.torch, "serialize_file", self.native(safetensors.serialize_file)),
        ]
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
        try:
            for owner, name, function in places:
                setattr(owner, name, function)
            yield self
        finally:
            for owner, name, function in before:
                setattr(owner, name, function)

    def counted(self, name: str, real: Callable) -> Callable:
        def call(path: Any, *given: Any, **named: Any) -> Any:
            if self.below(path) and not named.get("dir_fd"):
                self.step(name, path)
            return real(path, *given, **named)

        return call

    def opening(self, real: Callable) -> Callable:
        def call(file: Any, mode: str = "r", *given: Any, **named: Any) -> Any:
            if not set("wax+") & set(mode) or isinstance(file, int) or not self.below(file):
                return real(file, mode, *given, **named)
            self.step("open", file)
            return Written(real(file, mode, *given, **named), os.fsdecode(file), self)

        return call

    def os_opening(self, real: Callable) -> Callable:
        def call(path: Any, flags: int, *given: Any, **named: Any) -> int:
            if flags & WRITING and self.below(path):
                self.step("open", path)
            return real(path, flags, *given, **named)

        return call

    def syncing(self, real: Callable) -> Callable:
        def call(number: Any) -> None:
            path = os.readlink(f"/proc/self/fd/{number if isinstance(number, int) else number.fileno()}")
            if self.below(path):
                self.step("fsync", path)
            real(number)

        return call

    def native(self, real: Callable) -> Callable:
        """A writer whose second argument is the path."""

        def call(content: Any, path: Any, *given: Any, **named: Any) -> Any:
            if not self.below(path):
                return real(content, path, *given, **named)
            with raised_as(real):
                self.step("before", path)
                done = real(content, path, *given, **named)
                Path(path).write_bytes(Path(path).read_bytes())  # counted: nothing is there, half, all
                return done

        return call


@contextmanager
def raised_as(real: Callable) -> Iterator[None]:
    """Errors of the system as the library raises them."""
    try:
        yield
    except OSError as error:
        if real is not safetensors.serialize_file:
            raise
        said = f"Error while serializing: I/O error: {os.strerror(error.errno or 0)} (os error {error.errno})"
        raise safetensors.SafetensorError(said) from None


class Written:
    """A file whose writing and closing count."""

    def __init__(self, file: Any, path: str, faults: Faults):
        self.file, self.path, self.faults = file, path, faults

    def write(self, content: Any) -> int:
        self.faults.step("write", self.path)
        half = len(content) // 2
        if not half:
            return self.file.write(content)
        self.file.write(content[:half])
        if self.faults.n == len(self.faults.operations) + 1:
            self.file.flush()
        self.faults.step("half", self.path)
        return half + self.file.write(content[half:])

    def close(self) -> None:
        if not self.file.closed:
            try:
                self.faults.step("close", self.path)
            finally:
                self.file.close()

    def __enter__(self) -> "Written":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)
