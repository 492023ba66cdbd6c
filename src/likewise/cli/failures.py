"""Errors as one sentence with the remedy, and the exit code: never a traceback."""

import errno
import os
import re
import traceback

__all__ = ["CALL", "explained"]

CALL, WORK = 2, 1  # exit codes: the call was wrong; it failed on the way
RESUME = "then go on with: likewise train --resume RUN"

# errno: (what happened, what to do, exit code)
SYSTEM: dict[int, tuple[str, str, int]] = {
    errno.ENOSPC: ("the disk is full", f"free some space, or give another --out; {RESUME}", WORK),
    errno.EDQUOT: ("the disk quota is used up", f"free some space, or give another --out; {RESUME}", WORK),
    errno.EROFS: ("the file system is read-only", "give a folder that can be written", WORK),
    errno.EACCES: ("permission denied", "change its permissions, or give a path that you may use", CALL),
    errno.EPERM: ("permission denied", "change its permissions, or give a path that you may use", CALL),
    errno.EISDIR: ("it is a folder where a file is expected", "give a file", CALL),
    errno.ENOTDIR: ("a part of the path is a file where a folder is expected", "give another path", CALL),
    errno.EEXIST: ("it is already there", "give another name, or remove it", CALL),
    errno.ENOENT: ("no such file or folder", "check the path", CALL),
    errno.ENAMETOOLONG: ("the name is too long for the file system", "give a shorter --name or --out", CALL),
    errno.ELOOP: ("its links lead in a circle", "give a path without such links", CALL),
    errno.ENOTEMPTY: ("the folder is not empty", "give another name, or remove it", CALL),
    errno.EMFILE: ("too many files are open", f"raise the limit with: ulimit -n 4096; {RESUME}", WORK),
    errno.ENFILE: ("the system has too many files open", f"close other programs; {RESUME}", WORK),
    errno.ENOMEM: ("there is not enough memory", f"close other programs; {RESUME}", WORK),
    errno.EIO: ("the disk failed to read or write", f"check the disk; {RESUME}", WORK),
    errno.EFBIG: ("the file is larger than the limit", f"raise the limit with: ulimit -f unlimited; {RESUME}", WORK),
    errno.EADDRINUSE: ("the address is in use", "give another --port", CALL),
    errno.EINVAL: ("the system refuses the name or the operation", "give another path", CALL),
}
# messages of SQLite, and the system error behind each
SQLITE = {
    "disk is full": errno.ENOSPC,
    "readonly database": errno.EROFS,
    "unable to open database": errno.EACCES,
    "disk I/O error": errno.EIO,
}
MEMORY = "there is not enough memory; use a smaller size=, batch or max_per_class=, accumulate=4, or a larger machine"
GPU_MEMORY = "the GPU has not enough memory; use a smaller batch or size=, accumulate=4, or device=cpu"


def explained(error: BaseException) -> tuple[str, int]:
    """One sentence for a user, and the exit code."""
    if isinstance(error, MemoryError):
        return MEMORY, WORK
    if number := system_number(error):
        return system(error, number)
    if isinstance(error, UnicodeError):
        return f"text cannot be read or written as {getattr(error, 'encoding', 'text')}: {error}; use UTF-8", CALL
    if isinstance(error, ValueError | ModuleNotFoundError | OSError):
        return str(error) or type(error).__name__, getattr(error, "exit_code", CALL)
    return unforeseen(error)


def system_number(error: BaseException) -> int | None:
    """The number of an error of the operating system, also where a library in Rust, C++ or SQL says it in words."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    kind, text = type(error).__name__, str(error)
    if kind in ("OperationalError", "DatabaseError") and (numbers := [n for word, n in SQLITE.items() if word in text]):
        return numbers[0]
    match = re.search(r"\(os error (\d+)\)|\[errno (\d+)\]", text, re.IGNORECASE)
    if match is None or not (kind == "SafetensorError" or isinstance(error, OSError | RuntimeError)):
        return None
    return int(match[1] or match[2])


def system(error: BaseException, number: int) -> tuple[str, int]:
    """An error of the operating system, with its path."""
    default = (getattr(error, "strerror", None) or str(error), "check the path and the disk", WORK)
    happened, mend, code = SYSTEM.get(number, default)
    path = getattr(error, "filename", None)
    where = f"{os.fsdecode(path)}: " if isinstance(path, str | bytes | os.PathLike) else ""
    return f"{where}{happened}; {mend}", code


def unforeseen(error: BaseException) -> tuple[str, int]:
    """An unexpected error: its type, first line and location."""
    first = (str(error).strip().splitlines() or [""])[0][:300]
    if "out of memory" in first.lower():
        return GPU_MEMORY, WORK
    if "allocate memory" in first or "not enough memory" in first.lower() or isinstance(error, RecursionError):
        return MEMORY, WORK
    if type(error).__name__ == "SafetensorError":
        return f"a .safetensors file is damaged ({first}); copy it again, or train anew", WORK
    frame = (traceback.extract_tb(error.__traceback__) or [None])[-1]
    where = f" in {os.path.basename(frame.filename)}, line {frame.lineno}" if frame else ""
    return (
        f"unexpected {type(error).__name__}{where}: {first}; a file is damaged, or this is a fault of likewise: "
        "LIKEWISE_TRACEBACK=1 shows where, for a report",
        WORK,
    )
