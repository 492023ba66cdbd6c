"""A file is written beside its place, synced, and renamed: it is there whole, or as it was before."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["replacing", "write_text"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; when the block ends without an error, its file is on disk under `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(OSError):  # so that an error of the block is the one that is seen
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file in UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def remove_leftovers(path: Path) -> None:
    """Remove what processes that have ended since left half-written of this file."""
    with suppress(OSError):
        names = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.part")
        for name in os.listdir(path.parent):
            if (match := names.fullmatch(name)) and not is_running(int(match[1])):
                (path.parent / name).unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Whether there is such a process; on Windows, where asking may end it, yes."""
    if os.name == "nt" or process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
