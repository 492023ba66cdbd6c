"""The rows of a table: text, with separator, quotes and encoding detected, or the needed columns of Parquet."""

import csv
import io
import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from likewise.data.columns import USUAL, plain
from likewise.imaging.find import legible
from likewise.safety import bounds
from likewise.safety.parquet import check_announced, read_table

__all__ = ["Row", "parquet_names", "parquet_rows", "text_rows"]

SEPARATORS = (",", "\t", ";", "|")
LOOK = 50  # lines from which the separator is detected
NAMES = {name for names in USUAL.values() for name in names}

Cell = str | bytes | dict[str, object] | None  # text, an image, {bytes, path} of one, or a column that was not read


class Row(NamedTuple):
    """A row of the table and its position: `line 7` of text, `row 7` of Parquet."""

    where: str
    cells: Sequence[Cell]


def text_rows(file: Path, separator: str = "", *, most: int = bounds.TEXT_FILE) -> list[Row]:
    """The rows of a text file that are not blank. separator: "" finds it out among comma, tab, semicolon and pipe.

    The encoding is UTF-8, UTF-16 where the file begins with its mark, else Windows-1252 (and Latin-1, its superset of
    bytes). most: bytes that a file may have. Errors: ValueError for a file that is absent, empty, too large or no CSV.
    """
    if separator and len(separator) != 1:
        raise ValueError(f"separator is one character, such as ',' or ';' or '\\t'; got {separator!r}")
    text = _text(file, most)
    lines = list(itertools.islice(io.StringIO(text, newline=""), LOOK))
    separator = separator or max(SEPARATORS, key=lambda one: _fits(lines, one))
    try:
        whole = io.StringIO(text, newline="")  # lines end as CSV has them, and not at every mark of Unicode
        reader = csv.reader(whole, delimiter=separator, quotechar=_quote(lines), skipinitialspace=True)
        return [Row(f"line {reader.line_num}", cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise ValueError(f"{legible(file)} does not read as CSV: {error}") from None


def _text(file: Path, most: int) -> str:
    try:
        if (size := file.stat().st_size) > most:
            raise ValueError(f"{legible(file)} has {size:,} bytes and a table may have {most:,}; split it up")
        content = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{legible(file)} cannot be read: {error.strerror}") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def _quote(lines: Sequence[str]) -> str:
    """The quote character: double, or single if the first cell has single quotes and no double quote occurs."""
    single = bool(lines) and lines[0].startswith("'") and not any('"' in line for line in lines)
    return "'" if single else '"'


def _fits(lines: Sequence[str], separator: str) -> tuple[int, float, int]:
    """How well a separator explains the lines: usual names in the first, rows as wide as it, and its width."""
    try:
        rows = list(csv.reader(lines, delimiter=separator, quotechar=_quote(lines), skipinitialspace=True))
    except csv.Error:
        return (0, 0.0, 0)
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows or len(rows[0]) < 2:
        return (0, 0.0, 0)
    usual = sum(plain(name) in NAMES for name in rows[0])
    return (usual, sum(len(row) == len(rows[0]) for row in rows) / len(rows), len(rows[0]))


def parquet_names(file: Path) -> list[str]:
    """The columns of a Parquet file. Errors: ValueError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        check_announced(file, file.stat().st_size, legible(file))
        return [str(name) for name in pq.read_schema(file).names]
    except OSError as error:
        raise ValueError(f"{legible(file)} cannot be read: {error.strerror or error}") from None
    except (ValueError, pa.ArrowException) as error:
        raise ValueError(f"{legible(file)} does not read as Parquet: {error}") from None


def parquet_rows(file: Path, names: Sequence[str], columns: Iterable[int]) -> list[Row]:
    """The rows, with cells at these places as text, or bytes, or {bytes, path} for images; the other cells are None.

    Errors: ValueError, also beyond what `safety.bounds` allows a compressed file to hold.
    """
    places = sorted(set(columns))
    table = read_table(file, "a table of images", [names[place] for place in places])
    listed = [table.column(names[place]).to_pylist() for place in places]
    rows = []
    for n, values in enumerate(zip(*listed, strict=True), start=1):
        cells: list[Cell] = [None] * len(names)
        for place, value in zip(places, values, strict=True):
            cells[place] = _cell(value)
        rows.append(Row(f"row {n}", cells))
    return rows


def _cell(value: object) -> Cell:
    """Names and numbers as text (3.0 as 3, a missing value as ""); images unchanged."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bytes | dict):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
