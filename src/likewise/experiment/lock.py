"""One process at a time works on a run folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = ["NAME", "locked", "try_lock"]

NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder inside the block. The lock ends with the process, however that ends.

    Errors: ValueError when another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with try_lock(folder) as mine:
        if not mine:
            raise ValueError(f"{folder} is in use: another process trains or evaluates it; wait until it has ended")
        yield


@contextmanager
def try_lock(folder: Path) -> Iterator[bool]:
    """Whether the folder could be locked, which then holds inside the block; its file is removed afterwards."""
    path = folder / NAME
    file = acquired(path)
    if file is None:
        yield False
        return
    with file:
        try:
            yield True
        finally:
            if os.name != "nt":  # while it is locked, so that nobody's else is removed
                path.unlink(missing_ok=True)
    if os.name == "nt":
        with suppress(OSError):  # opened by another process since
            path.unlink(missing_ok=True)


def acquired(path: Path) -> IO[str] | None:
    """The locked file, or None when another process has it locked."""
    while True:
        file = path.open("a+")
        try:
            if not lock(file):
                file.close()
                return None
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:  # whoever had it locked has removed it
            pass
        except BaseException:
            file.close()
            raise
        file.close()


def lock(file: IO[str]) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if os.name == "nt" or error.errno in (11, 13):
            return False
    return True
