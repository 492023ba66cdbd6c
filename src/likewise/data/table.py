"""A CSV file that names pictures and their labels."""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from likewise.data.gather import Listed, gather, split_of
from likewise.data.images import Images, Skipped
from likewise.data.options import LoadOptions, as_path
from likewise.imaging.find import legible
from likewise.safety import bounds
from likewise.spec import near

__all__ = ["table"]


class Row(NamedTuple):
    """A row of the file and the number of its last line."""

    line: int
    cells: list[str]


def table(
    want: LoadOptions,
    *,
    path: str,
    image: str | int = "image",
    label: str | int = "label",
    split: str | int = "",
    group: str | int = "",
    root: str = "",
    header: bool = True,
    separator: str = ",",
    spellings: str = "error",
) -> Images:
    """Pictures listed in a CSV file, a row each.

    path              the file, UTF-8
    image, label      the columns of the picture's path and of its class: a name in the first row, or a number from 0
    split, group      columns of the part (train, val, test) and of the group (camera, writer ...), where there are such
    root              folder that the paths start from; the file's own, where none is given
    header            False: the first row is a picture already, and columns are numbers (image=0, label=1)
    separator         what stands between columns; '\\t' is a tab
    spellings         error | merge | keep: what to do about `Cat` beside `cat`, `cat ` or another Unicode form of it

    A picture that is missing or broken, a row that is too short or has no label, and a picture listed before are left
    out and listed as skipped. Errors: ValueError for no such file, column or part, or two spellings of one class.
    """
    file = as_path(path)
    rows = _rows(file, separator)
    names = [cell.strip() for cell in rows.pop(0).cells] if header and rows else None
    if not rows:
        raise ValueError(
            f"{legible(file)} has no rows{' below its first line; is header=False meant?' if header else ''}"
        )
    asked = {"image": image, "label": label, "split": split, "group": group}
    columns = {use: _column(column, use, names, file) for use, column in asked.items() if column != ""}
    base = as_path(root) if root else file.parent
    skipped: list[Skipped] = []
    listed = list(_listed(rows, columns, base, file, skipped))
    return gather(listed, want, name=legible(file.stem), where=legible(file), skipped=skipped, spellings=spellings)


def _rows(file: Path, separator: str) -> list[Row]:
    """The rows that are not blank."""
    if len(separator) != 1:
        raise ValueError(f"separator is one character, such as ',' or ';' or '\\t'; got {separator!r}")
    try:
        bounds.size(file, bounds.TEXT_FILE, "a table of images")
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
            return [Row(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except UnicodeDecodeError:
        raise ValueError(f"{legible(file)} is not UTF-8 text; save it as CSV with the encoding UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{legible(file)} does not read as CSV: {error}") from None
    except OSError as error:
        raise ValueError(f"{legible(file)} cannot be read: {error.strerror}") from None


def _column(column: str | int, use: str, names: list[str] | None, file: Path) -> int:
    """The place of a column. Errors: ValueError that names the columns there are."""
    if isinstance(column, int):
        most = math.inf if names is None else len(names)
        if not 0 <= column < most:
            there = " and up" if names is None else f" to {len(names) - 1}"
            raise ValueError(f"the columns of {legible(file)} are 0{there}, and {use}={column} is none of them")
        return column
    if names is None:
        raise ValueError(f"with header=False columns are numbers from 0, as in image=0, label=1; got {use}={column!r}")
    if column not in names:
        present = ", ".join(map(repr, names))
        raise ValueError(
            f"{legible(file)} has no column {column!r}; it has {present}{_or(near(column, names))} "
            f"(say {use}='...', or header=False where the first row is a picture already)"
        )
    return names.index(column)


def _or(suggestion: str) -> str:
    return suggestion if "did you mean" in suggestion else ""


def _listed(
    rows: Sequence[Row], columns: dict[str, int], base: Path, file: Path, skipped: list[Skipped]
) -> Iterator[Listed]:
    """The rows that name a picture and a label for the first time; the others go to `skipped`."""
    seen: dict[str, int] = {}
    for line, cells in rows:
        if max(columns.values()) >= len(cells):
            skipped.append(
                Skipped(f"line {line}", f"it has {len(cells)} columns, and column {max(columns.values())} is asked for")
            )
            continue
        cell = {use: cells[at].strip() for use, at in columns.items()}
        name = cell["image"]
        if not name or not cell["label"]:
            skipped.append(Skipped(name or f"line {line}", f"line {line} has no {'label' if name else 'picture'}"))
        elif name in seen:
            skipped.append(Skipped(name, f"line {line} lists again what line {seen[name]} lists"))
        else:
            seen[name] = line
            yield Listed(
                name, base / name, cells[columns["label"]], _part(cell.get("split"), line, file), cell.get("group")
            )


def _part(word: str | None, line: int, file: Path) -> int:
    if word is None:
        return 0
    if (part := split_of(word)) is None:
        raise ValueError(f"{legible(file)}, line {line}: the part {word!r} is none of train, val, test")
    return part
