"""The images that a list of pairs names: under which suffix they are kept, and where their files lie."""

from collections.abc import Container, Sequence
from pathlib import Path

from likewise.imaging.find import SUFFIXES

__all__ = ["Files", "found_at", "with_suffix"]


def with_suffix(names: Sequence[str], known: Container[str]) -> dict[str, str]:
    """The names by which images are known that a list calls .jpg, as LFW's does, and that are kept in another format.

    known: names, or anything else that can be asked whether it has one. A name that is known stays, and so does one of
    which no suffix is: .jpg comes first, and .png before the rarer ones.
    """
    suffixes = sorted(SUFFIXES, key=lambda suffix: (suffix not in (".jpg", ".jpeg"), suffix != ".png", suffix))
    by_name = {}
    for name in names:
        stem = name.removesuffix(".jpg")
        others = (stem + ending for suffix in suffixes for ending in (suffix, suffix.upper()))
        by_name[name] = name if name in known else next((other for other in others if other in known), name)
    return by_name


class Files:
    """Whether a name is of a file below one of these folders: what `with_suffix` can ask."""

    def __init__(self, folders: Sequence[Path]):
        self.folders = folders

    def __contains__(self, name: object) -> bool:
        return any((folder / str(name)).is_file() for folder in self.folders)


def found_at(names: Sequence[str], folders: Sequence[Path], file: Path) -> list[Path]:
    """Where the images of these names lie, in the first of the folders that has them.

    Errors: ValueError with the first that is nowhere, and how many are.
    """
    paths = [next((folder / name for folder in folders if (folder / name).is_file()), None) for name in names]
    if missing := [name for name, path in zip(names, paths, strict=True) if path is None]:
        are = f"{len(missing):,} images that {file} names are" if len(missing) > 1 else f"1 image that {file} names is"
        raise ValueError(
            f"{are} not there; the first is {missing[0]!r}: give ids of the run's images, or paths from the folder "
            f"that --images names (without it, from the file's own)"
        )
    return [path for path in paths if path is not None]
