"""A table (CSV, TSV, Parquet) that names images and their labels, a row each."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from likewise.data.columns import USUAL, resolve, split_parts
from likewise.data.gather import Listed, gather
from likewise.data.images import SPLITS, Images, Skipped
from likewise.data.options import LoadOptions, as_path
from likewise.data.table_file import Row, parquet_names, parquet_rows, text_rows
from likewise.imaging.find import legible
from likewise.safety import bounds

__all__ = ["NO_LABEL", "image_of", "list_rows", "table"]

URL = re.compile(r"[a-z][a-z0-9+.\-]+://", re.IGNORECASE)
NO_LABEL = {"", "nan", "<na>"}


def table(
    options: LoadOptions,
    *,
    path: str,
    image: str | int = "",
    label: str | int = "",
    split: str | int = "",
    group: str | int = "",
    root: str = "",
    header: bool = True,
    separator: str = "",
    spellings: str = "error",
) -> Images:
    """Images listed in a table, a row each.

    path          the file: text in UTF-8 or Windows-1252, or Parquet, whose images may be bytes instead of paths
    image, label  the columns of the image's path and of its class: a name in the first row, or a number from 0;
                  without them, columns with a usual name in any case (file, filename, path ...; class, target ...)
    split, group  columns of the part (train, val, test, or folds) and of the group (camera, writer ...); where they are
                  not given, those called split, fold or subset, and group
    root          folder that the paths are relative to; without it, the folder of the file
    header        False: the first row is an image already, and columns are numbers (image=0, label=1)
    separator     the character between columns; without it, comma, tab, semicolon or pipe is detected
    spellings     error | merge | keep: how to treat `Cat` and `cat`, `cat ` or another Unicode form of it

    An image that is missing or broken, a row that is too short or has no label or part, and a file listed before, in
    whatever spelling of its path, are left out and listed as skipped.
    Errors: ValueError for no such file, column or part, a URL, or two spellings of one class.
    """
    skipped: list[Skipped] = []
    asked = {"image": image, "label": label, "split": split, "group": group}
    listed = list_rows(options, path, asked, skipped, root=root, header=header, separator=separator)
    file = as_path(path)
    return gather(listed, options, name=legible(file.stem), where=legible(file), skipped=skipped, spellings=spellings)


def list_rows(
    options: LoadOptions,
    path: str,
    asked: dict[str, str | int],
    skipped: list[Skipped],
    *,
    root: str = "",
    header: bool = True,
    separator: str = "",
) -> list[Listed]:
    """The images of `table`, unread. asked: the columns by use: image, label, split and group, and also role.

    Errors: as there.
    """
    file = as_path(path)
    if file.suffix.lower() in (".parquet", ".pq"):
        names: list[str] | None = (listed_names := parquet_names(file))
        rows = parquet_rows(file, listed_names, resolve(asked, listed_names, file).values())
    else:
        rows = text_rows(file, separator, most=min(options.memory, bounds.TEXT_FILE))
        names = [str(cell).strip() for cell in rows.pop(0).cells] if header and rows else None
    if not rows:
        below = " below its first line; is header=False meant?" if header and names else ""
        raise ValueError(f"{legible(file)} has no rows{below}")
    columns = resolve(asked, names, file, rows[0].cells)
    notes = _unused(columns, asked, rows, names, file)
    base = as_path(root) if root else file.parent
    listed = list(_listed(rows, columns, base, file, skipped, asked, names, notes))
    if names and (notes or _is_unusual(columns, names, asked)):
        options.say(_columns_text(file, columns, names, listed, notes))
    return listed


def _unused(
    columns: dict[str, int], asked: dict[str, str | int], rows: Sequence[Row], names: list[str] | None, file: Path
) -> list[str]:
    """Drop columns by usual names that say nothing: a group that all rows share. Returns why, in a sentence each."""
    place = columns.get("group")
    if place is None or asked["group"] != "" or names is None:
        return []
    if len({str(row.cells[place]).strip() for row in rows if place < len(row.cells)}) > 1:
        return []
    del columns["group"]
    return [f"column {names[place]!r} is not used: every row has the same group"]


def _is_unusual(columns: dict[str, int], names: Sequence[str], asked: dict[str, str | int]) -> bool:
    """Whether a column was found that the user did not name, other than plain `image` and `label`."""
    return any(asked.get(use) == "" and names[place] not in ("image", "label") for use, place in columns.items())


def _columns_text(
    file: Path, columns: dict[str, int], names: Sequence[str], listed: Sequence[Listed], notes: Sequence[str]
) -> str:
    counts = Counter(SPLITS[item.split] for item in listed)
    parts = f" ({', '.join(f'{counts[part]:,} {part}' for part in SPLITS if counts[part])})"
    words = {"image": "images", "label": "labels", "split": "parts", "group": "groups"}
    columns_used = [f"{words[use]} from column {names[columns[use]]!r}" for use in USUAL if use in columns]
    text = ", ".join(columns_used) + (parts if "split" in columns else "")
    return "; ".join([f"{legible(file.name)}: {text}", *notes])


def _listed(
    rows: Sequence[Row],
    columns: dict[str, int],
    base: Path,
    file: Path,
    skipped: list[Skipped],
    asked: dict[str, str | int],
    names: list[str] | None,
    notes: list[str],
) -> Iterator[Listed]:
    """The rows that name an image and a label for the first time; the others go to `skipped`."""
    seen: dict[str, tuple[str, str]] = {}
    complete = list(_complete(rows, columns, skipped))
    parts: list[int | None] = [0] * len(complete)
    if "split" in columns:
        place = columns["split"]
        words = [str(row.cells[place]).strip() for row in complete]
        name = names[place] if names else str(place)
        drawn = split_parts(words, name, [row.where for row in complete], file, asked=asked["split"] != "")
        notes += [drawn.note] if drawn.note else []
        if drawn.parts is None:
            del columns["split"]
        else:
            parts = drawn.parts
    shorten = _without_fraction([str(row.cells[columns["label"]]) for row in complete])
    for row, part in zip(complete, parts, strict=True):
        source, name, key = image_of(row, columns["image"], base, file)
        label = shorten(str(row.cells[columns["label"]]))
        if source is None or label.strip().casefold() in NO_LABEL:
            skipped.append(Skipped(name, f"{row.where} has no {'image' if source is None else 'label'}"))
        elif part is None:
            skipped.append(Skipped(name, f"{row.where} has no part"))
        elif key in seen:
            where, first = seen[key]
            other = "" if label.strip() == first.strip() else f", with another label ({first!r} there, {label!r} here)"
            skipped.append(Skipped(name, f"{row.where} lists again what {where} lists{other}"))
        else:
            seen[key] = row.where, label
            group = str(row.cells[columns["group"]]).strip() if "group" in columns else None
            role = str(row.cells[columns["role"]]).strip() if "role" in columns else ""
            yield Listed(name, source, label, part, group, role)


def _without_fraction(labels: Sequence[str]) -> Callable[[str], str]:
    """A function that writes 1.0 as 1, where all labels are whole numbers; spreadsheets and NaN make them floats."""
    given = {label.strip() for label in labels} - {""}
    numbers = {label for label in given if label.casefold() not in NO_LABEL}
    if all(re.fullmatch(r"[+-]?[0-9]+(\.0*)?", label) for label in numbers):
        return lambda label: label.strip().partition(".")[0]
    return str


def _complete(rows: Sequence[Row], columns: dict[str, int], skipped: list[Skipped]) -> Iterator[Row]:
    most = max(columns.values())
    for row in rows:
        if most < len(row.cells):
            yield row
        else:
            skipped.append(Skipped(row.where, f"it has {len(row.cells)} columns, and column {most} is asked for"))


def image_of(row: Row, column: int, base: Path, file: Path) -> tuple[Path | bytes | None, str, str]:
    """The file or bytes of a row's image, its id, and what two spellings of one file have in common."""
    cell: object = row.cells[column]
    if isinstance(cell, dict):  # as the datasets library keeps images
        cell = cell.get("bytes") or cell.get("path") or ""
    if isinstance(cell, bytes):
        return cell, row.where, row.where
    name = str(cell).strip()
    if not name:
        return None, row.where, row.where
    if URL.match(name):
        raise ValueError(
            f"{legible(file)}, {row.where}: {name[:80]!r} is a URL, and images are read from files only; "
            "download them, and list their paths"
        )
    path = base / name
    if "\\" in name and os.sep == "/" and not path.exists():
        path = base / name.replace("\\", "/")  # written on Windows
    return path, name, os.path.normpath(path)
