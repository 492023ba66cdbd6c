"""CSV files that we write: cells that a spreadsheet would run as formulas are written as text."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from likewise.safety import bounds

__all__ = ["csv_text", "harmless", "read_rows", "read_skipped", "restored"]

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what begins a formula in common spreadsheets (OWASP, CSV injection)


def harmless(cell: object) -> object:
    """The cell, behind an apostrophe where a spreadsheet would take it for a formula; numbers stay numbers."""
    if not isinstance(cell, str) or not cell.startswith(FORMULA) or number(cell):
        return cell
    return f"'{cell}"


def restored(cell: str) -> str:
    """The inverse of `harmless` for texts."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell == cell.strip()


def csv_text(rows: Iterable[Sequence[object]], *, lineterminator: str = "\r\n") -> str:
    """Rows as the text of a CSV file."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=lineterminator).writerows([harmless(cell) for cell in row] for row in rows)
    return text.getvalue()


def read_rows(path: Path) -> list[list[str]]:
    """The rows of a CSV that we wrote, as they were; none where there is no file. Errors: ValueError."""
    if not path.exists():
        return []
    try:
        return [list(map(restored, row)) for row in csv.reader(io.StringIO(bounds.text(path), newline=""))]
    except csv.Error as error:
        raise ValueError(f"{path} does not read as CSV: {error}") from None


def read_skipped(path: Path) -> list[tuple[str, str]]:
    """The (id, reason) rows of a run's skipped.csv; none where there is no file. Errors: ValueError."""
    return [(row[0], row[1]) for row in read_rows(path)[1:] if len(row) > 1]
