"""The folder of a run while a process works on it: made, begun again where it had not begun, swept."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from likewise import distributed
from likewise.experiment.lock import NAME as LOCK
from likewise.experiment.lock import try_lock
from likewise.experiment.run import Run, folder_in

__all__ = ["has_begun", "new_run", "sweep"]

LEFTOVER = re.compile(r"\..*\.part|\.tmp\w{6}")  # ours; and that of safetensors, which writes beside its file as well
# What is written before recipe.toml, with which a run has begun.
EARLY = {LOCK, "inputs.json", "skipped.csv", "snapshots"}


@contextmanager
def new_run(out: Path, name: str, *, exactly: bool = False) -> Iterator[Run]:
    """A new run `out/name`, or `out/name-2` and so on where that is taken, locked inside the block.

    A folder whose training was killed before it had begun is not taken. Of several processes rank 0 makes and locks
    it. Errors: ValueError for a name that cannot be a folder's, and, with `exactly`, where the folder is taken.
    """
    if not distributed.is_main():
        yield Run(Path(distributed.from_main("")))
        return
    with made(out, name, exactly) as run:
        distributed.from_main(str(run.path))
        yield run


@contextmanager
def made(out: Path, name: str, exactly: bool) -> Iterator[Run]:
    """The folder of a new run; see `new_run`."""
    folder_in(out, name)
    for attempt in range(1, 2 if exactly else 10_000):
        path = out / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # a file
            continue
        if has_begun(path):
            continue
        with try_lock(path) as mine:
            if mine and not has_begun(path):
                sweep(path)
                (path / "snapshots").mkdir(exist_ok=True)
                yield Run(path)
                return
    if exactly:
        raise ValueError(f"{out / name} holds something else than a run; give another --name, or delete it")
    raise ValueError(f"{out} already holds 10,000 runs named {name}; choose another --name")


def has_begun(folder: Path) -> bool:
    """Whether the folder holds a run, or anything else that is not of one that was killed before it had begun."""
    if not folder.is_dir():
        return folder.exists()
    if any((folder / "snapshots").iterdir() if (folder / "snapshots").is_dir() else ()):
        return True
    return any(path.name not in EARLY and not is_leftover(path) for path in folder.iterdir())


def is_leftover(path: Path) -> bool:
    """Whether it is what a killed process left half-written."""
    return path.suffix == ".tmp" or LEFTOVER.fullmatch(path.name) is not None


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written."""
    for path in [path for path in folder.rglob("*") if is_leftover(path)]:
        path.unlink(missing_ok=True)
