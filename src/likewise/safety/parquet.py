"""Parquet files of others, read within bounds: what the footer announces is checked before a column is decoded."""

import os
from collections.abc import Sequence
from typing import Any

from likewise.safety import bounds

__all__ = ["read_table"]

FIRST_ROWS = 64  # of the first batch; later ones are as long as their bytes allow
BATCH = 16 << 20  # bytes


def read_table(path: str | os.PathLike, what: str, columns: Sequence[str] = ()) -> Any:
    """The table of a file; of its columns those that are there and in `columns`, or all.

    Errors: ValueError that names the file, for one that is no Parquet, or announces or holds more than `bounds` allow.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = os.fspath(path)
    try:
        length = os.stat(path).st_size
        with pq.ParquetFile(path, thrift_string_size_limit=bounds.JSON_FILE, pre_buffer=False) as file:
            check_announced(file.metadata, length, name)
            wanted = [c for c in columns if c in file.schema_arrow.names] if columns else None
            batches = within_bounds(file, wanted, length, name)
            schema = file.schema_arrow
        if wanted is not None:
            schema = pa.schema([schema.field(c) for c in wanted], metadata=schema.metadata)
        return pa.Table.from_batches(batches, schema=schema)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {what} from {name}: {error}") from None


def check_announced(metadata: Any, length: int, name: str) -> None:
    """Errors: ValueError when rows, or the values and bytes of the columns, are beyond the bounds."""
    bounds.rows(metadata.num_rows, length, name)
    total = 0
    for group in range(metadata.num_row_groups):
        of_group = metadata.row_group(group)
        for column in range(of_group.num_columns):
            chunk = of_group.column(column)
            total += max(chunk.total_uncompressed_size, 4 * chunk.num_values, 0)
    bounds.expanded(total, length, name)


def within_bounds(file: Any, columns: Sequence[str] | None, length: int, name: str) -> list[Any]:
    """All rows in batches, while their bytes in memory stay within the bound: a dictionary may repeat a long text."""
    found, held, size = [], 0, FIRST_ROWS
    rows, done = file.metadata.num_rows, 0
    while done < rows:
        done_before = done
        for batch in file.iter_batches(batch_size=size, columns=columns):
            if done_before:  # rows that an earlier pass has read
                step = min(done_before, len(batch))
                done_before -= step
                batch = batch.slice(step)
                if not len(batch):
                    continue
            found.append(batch)
            held, done = held + batch.nbytes, done + len(batch)
            bounds.expanded(held, length, name)
            if size == FIRST_ROWS and rows > size:
                break
        else:
            break
        size = max(1, min(1 << 16, BATCH * done // max(held, 1)))
    return found
