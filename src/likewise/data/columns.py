"""Which column of a table holds what: by the name that the user gives, or by the names that people usually give."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from likewise.data.gather import split_of
from likewise.imaging.find import legible
from likewise.spec import near

__all__ = ["USUAL", "Parts", "plain", "resolve", "split_parts"]

# The usual names, the most telling first; compared without case, spaces and underscores.
USUAL: dict[str, tuple[str, ...]] = {
    "image": ("image", "imagepath", "path", "file", "filename", "filepath", "images", "name"),
    "label": ("label", "class", "target", "labels", "classname", "id", "name"),
    "split": ("split", "fold", "subset"),
    "group": ("group", "groups"),
}
REQUIRED = ("image", "label")
WHAT = {"image": "images", "label": "labels"}
TRAIN, VAL, TEST = range(3)


class Parts(NamedTuple):
    """The part of each row (None: its cell is empty), or None and why the column is not used."""

    parts: list[int | None] | None
    note: str = ""


def plain(name: str) -> str:
    """A column's name without case, spaces, `_` and `-`: `File Name` is `filename`."""
    return re.sub(r"[\s_\-]+", "", name.casefold())


def resolve(
    asked: Mapping[str, str | int],
    names: Sequence[str] | None,
    file: Path,
    first: Sequence[object] = (),
    *,
    command: str = "train",
) -> dict[str, int]:
    """The place of the column for each use: as asked, else the one with a usual name.

    asked: image, label, split and group, each a name, a number from 0, or "" (look for a usual name). names: None where
    the table has no header. first: the cells of its first row, by which the suggestion of an error finds the images.
    command: what the suggested line calls. Errors: ValueError that names the columns there are, with the line to type.
    """
    columns = {use: _asked(column, use, names, file) for use, column in asked.items() if column != ""}
    for use in USUAL:
        if use in columns:
            continue
        taken = {place for other, place in columns.items() if other in REQUIRED}
        place = _usual(use, names or (), taken)
        if place is not None:
            columns[use] = place
        elif use in REQUIRED:
            raise ValueError(_missing(use, columns, names, file, first, command))
    return columns


def _usual(use: str, names: Sequence[str], taken: set[int]) -> int | None:
    plain_names = [plain(name) for name in names]
    places = (plain_names.index(name) for name in USUAL[use] if name in plain_names)
    return next((place for place in places if place not in taken), None)


def _asked(column: str | int, use: str, names: Sequence[str] | None, file: Path) -> int:
    if isinstance(column, int):
        if column < 0 or (names is not None and column >= len(names)):
            there = " and up" if names is None else f" to {len(names) - 1}"
            raise ValueError(f"the columns of {legible(file)} are 0{there}, and {use}={column} is none of them")
        return column
    if names is None:
        raise ValueError(f"with header=False columns are numbers from 0, as in image=0, label=1; got {use}={column!r}")
    if column in names:
        return names.index(column)
    if plain(column) in (alike := [plain(name) for name in names]):
        return alike.index(plain(column))
    suggestion = near(column, names)
    raise ValueError(
        f"{legible(file)} has no column {column!r}; it has {', '.join(map(repr, names))}"
        f"{suggestion if 'did you mean' in suggestion else ''} "
        f"(say {use}='...', or header=False where the first row is an image already)"
    )


def _missing(
    use: str,
    columns: Mapping[str, int],
    names: Sequence[str] | None,
    file: Path,
    first: Sequence[object],
    command: str,
) -> str:
    if names is None:
        return f"with header=False columns are numbers from 0: say image=0, label=1 for {legible(file)}"
    guess = {other: names[place] for other, place in columns.items() if other in REQUIRED}
    free = [name for name in names if name and name not in guess.values()]
    for wanted in (w for w in REQUIRED if w not in guess):
        guess[wanted] = _guess(wanted, free, names, first)
        free = [name for name in free if name != guess[wanted]]
    line = " ".join(f"--{wanted}-column {shlex.quote(guess[wanted])}" for wanted in REQUIRED)
    return (
        f"{legible(file)} has no column of {WHAT[use]} ({', '.join(USUAL[use])}); it has "
        f"{', '.join(map(repr, names))}. Type: likewise {command} {shlex.quote(legible(file))} {line} "
        "(or say header=False where the first row is an image already)"
    )


def _guess(use: str, free: Sequence[str], names: Sequence[str], first: Sequence[object]) -> str:
    """The column that most likely holds it; NAME where none is left."""
    if use == "image":
        row = dict(zip(names, map(str, first), strict=False))
        files = [name for name in free if os.path.splitext(row.get(name, ""))[1][1:].isalnum()]
        return next(iter(files or free), "NAME")
    alike = [name for name in free if any("did you mean" in near(usual, [name]) for usual in USUAL[use])]
    return next(iter(alike or free), "NAME")


def split_parts(words: Sequence[str], column: str, where: Sequence[str], file: Path, *, asked: bool) -> Parts:
    """Train, val or test for each row's word: those words in any spelling, 0, 1, 2, or the numbers of folds.

    Of numbered folds the last is test, the one before it val where there are three or more. asked: the user named the
    column, so that other words are an error; so they are where some words are parts, and else the column is not used.
    Errors: ValueError with the place of the first wrong word.
    """
    present = [word for word in words if word.strip()]
    known = {word: split_of(word) for word in present}
    wrong = next((i for i, word in enumerate(words) if word in known and known[word] is None), None)
    if wrong is None:
        return Parts([known.get(word) for word in words])
    numbers = {word: _number(word) for word in present}
    if None not in numbers.values() and len(set(numbers.values())) > 1:
        return _numbered(words, {word: n for word, n in numbers.items() if n is not None}, column)
    if asked or any(part is not None for part in known.values()):
        raise ValueError(
            f"{legible(file)}, {where[wrong]}: the part {words[wrong]!r} is none of train, val, test"
            f"{'' if asked else f' (column {column!r})'}"
        )
    return Parts(None, f"column {column!r} is not used: it holds {words[wrong]!r}, none of train, val, test")


def _numbered(words: Sequence[str], numbers: Mapping[str, int], column: str) -> Parts:
    values = sorted(set(numbers.values()))
    if plain(column) != "fold" and values[-1] <= TEST:
        return Parts([numbers.get(word) for word in words])
    part = dict.fromkeys(values, TRAIN) | {values[-1]: TEST} | ({values[-2]: VAL} if len(values) > 2 else {})
    val = f", {values[-2]} val" if len(values) > 2 else ""
    parts = [part[numbers[word]] if word in numbers else None for word in words]
    return Parts(parts, f"of the folds in column {column!r} {values[-1]} is test{val}, the others train")


def _number(word: str) -> int | None:
    match = re.fullmatch(r"(?:fold)?[\s_\-]*([0-9]{1,9})(?:\.0)?", word.strip().casefold())
    return int(match[1]) if match else None
