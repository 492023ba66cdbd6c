"""A folder of images, one folder a class."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from likewise.data.gather import Listed, gather, split_of
from likewise.data.images import Images, Skipped
from likewise.data.options import LoadOptions, as_path
from likewise.imaging.find import Found, images_below, joined, legible
from likewise.spec import near

__all__ = ["folder", "images_below", "list_labelled"]

PARTS = ("auto", "yes", "no")
TABLES = {".csv", ".tsv", ".parquet", ".pq"}


def folder(options: LoadOptions, *, path: str, parts: str = "auto", spellings: str = "error") -> Images:
    """Class-per-folder images: `path/cat/1.jpg`, or `path/train/cat/1.jpg`, likewise `val/` and `test/`.

    A class is the path of the folder its images lie in, so classes may be nested (`Fruit/Apple`). The folders train,
    val and test may lie deeper, at the same depth everywhere: `path/images/train/cat/1.jpg`, `path/cat/train/1.jpg`.
    Hidden files and files of operating systems are ignored; an image outside every class folder is listed as skipped.

    path       the folder, absolute or relative to where the command runs
    parts      yes | no: folders train, val and test are parts, or classes; auto: parts when train/ holds only folders
    spellings  error | merge | keep: how to treat `Cat` and `cat`, `cat ` or another Unicode form of it

    Errors: ValueError for no such folder, no image in it, or two spellings of one class.
    """
    skipped: list[Skipped] = []
    listed = list_labelled(path, skipped, parts=parts)
    top = as_path(path)
    return gather(
        listed, options, name=legible(top.resolve().name), where=legible(top), skipped=skipped, spellings=spellings
    )


def list_labelled(path: str, skipped: list[Skipped], *, parts: str = "auto") -> list[Listed]:
    """The images of `folder` with their classes and parts, unread. Errors: as there."""
    top = as_path(path)
    if not top.is_dir():
        raise ValueError(
            f"{legible(top)} {'is not a folder' if top.exists() else 'does not exist'}; give a folder of class folders"
        )
    if parts not in PARTS:
        raise ValueError(f"no parts={parts!r}{near(parts, PARTS)}")
    files = list(list_images(top, skipped))
    at = 0 if parts == "yes" or (parts == "auto" and _has_parts(files, top)) else None
    if at is None and parts == "auto":
        at = _deeper(files)
    if not (listed := list(_listed(files, at, skipped))):
        raise ValueError(_nothing(top, files, 0 if at is None else 1))
    return listed


def list_images(top: Path, skipped: list[Skipped]) -> Iterator[Found]:
    """Every image file below a folder, in the order of `imaging.find`; others are added to `skipped`."""
    return images_below(top, lambda name, why: skipped.append(Skipped(name, why)))


def _has_parts(files: Sequence[Found], top: Path) -> bool:
    """Whether the top folders are train, val and test. Errors: ValueError when that is ambiguous."""
    trains = [f for f in files if f.folders and split_of(f.folders[0]) == 0]
    if not trains or any(len(f.folders) == 1 for f in trains):
        return False  # no train/, or one with images of its own: a class that is called train
    if others := sorted({legible(f.folders[0]) for f in files if f.folders and split_of(f.folders[0]) is None}):
        raise ValueError(
            f"{legible(top)} holds {legible(trains[0].folders[0])}/ and also {others[0]}/; say parts='yes' to read "
            "the folders train, val and test alone, or parts='no' to take every folder as a class"
        )
    return True


def _deeper(files: Sequence[Found]) -> int | None:
    """The depth at which all images lie in folders train, val and test, below the top; None where there is none."""
    for at in range(1, min((len(f.folders) for f in files), default=0)):
        parts = {split_of(f.folders[at]) for f in files}
        if None not in parts and 0 in parts and len(parts) > 1:
            return at
    return None


def _listed(files: Sequence[Found], at: int | None, skipped: list[Skipped]) -> Iterator[Listed]:
    """Images with class and part; those outside every class folder or part go to `skipped`. at: the depth of parts."""
    above = {f.folders[:at] for f in files} if at else {()}
    for path, folders in files:
        name = joined((*folders, path.name))
        split = 0 if at is None else split_of(folders[at]) if len(folders) > at else None
        inner = folders if at is None else folders[at + 1 :]
        if at and len(above) > 1:  # the classes are above the parts
            inner = (*folders[:at], *inner)
        if split is None:
            skipped.append(Skipped(name, "outside the folders train, val and test"))
        elif not inner:
            skipped.append(Skipped(name, "in no class folder"))
        else:
            yield Listed(name, path, joined(inner), split)


def _nothing(top: Path, images: Sequence[Found], depth: int) -> str:
    """Why a folder gave no class, in one sentence."""
    layout = f"{legible(top)}/{'train/' * depth}<class>/<image>"
    if images:
        tables = sorted(file.name for file in top.iterdir() if file.suffix.lower() in TABLES)
        other = f"; its table {legible(tables[0])} can be given instead" if tables else ", or a table (image,label)"
        return f"{legible(top)} holds {len(images)} images and no folder for their class; needed is {layout}{other}"
    kinds = Counter(Path(file).suffix.lower() or "no ending" for _, _, files in os.walk(top) for file in files)
    there = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    return f"no image below {legible(top)} ({there or 'it is empty'}); what is needed is {layout}"
