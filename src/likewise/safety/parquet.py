"""Read untrusted Parquet files within bounds: the sizes in the footer are checked before a column is decoded."""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from likewise.safety import bounds
from likewise.safety.footer import announced

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["read_table", "stream_table"]

FIRST_ROWS = 64  # of the first batch; later ones are as long as their bytes allow
BATCH = 16 << 20  # bytes


def read_table(path: str | os.PathLike, what: str, columns: Sequence[str] = ()) -> "pa.Table":
    """The table of a file, with the existing columns among `columns`, or all.

    Errors: ValueError that names the file, for one that is no Parquet, or announces or holds more than `bounds` allow.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = os.fspath(path)
    try:
        length = os.stat(path).st_size
        check_announced(path, length, name)
        with pq.ParquetFile(path, thrift_string_size_limit=bounds.JSON_FILE, pre_buffer=False) as file:
            wanted = [c for c in columns if c in file.schema_arrow.names] if columns else None
            batches = within_bounds(file, wanted, length, name)
            schema = file.schema_arrow
        if wanted is not None:
            schema = pa.schema([schema.field(c) for c in wanted], metadata=schema.metadata)
        table = pa.Table.from_batches(batches) if batches else schema.empty_table()
        table = table.replace_schema_metadata(schema.metadata)
        table.validate(full=True)  # texts that are no UTF-8, offsets beyond their values
        return table
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"cannot read {what} from {name}: {error}") from None


def stream_table(
    path: str | os.PathLike, what: str, columns: Sequence[str], rows: int, *, optional: Sequence[str] = ()
) -> "Iterator[pa.Table]":
    """These columns in tables of at most `rows` rows, of which one at a time is in memory.

    optional: columns that the file may lack. Errors: as `read_table`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = os.fspath(path)
    try:
        length = os.stat(path).st_size
        check_announced(path, length, name)
        with pq.ParquetFile(path, thrift_string_size_limit=bounds.JSON_FILE, pre_buffer=False) as file:
            if missing := [c for c in columns if c not in file.schema_arrow.names]:
                raise ValueError(f"it has no column {missing[0]!r}; it has {', '.join(file.schema_arrow.names)}")
            wanted = [*columns, *(c for c in optional if c in file.schema_arrow.names)]
            for batch in file.iter_batches(batch_size=rows, columns=wanted):
                batch = decoded(batch)
                bounds.expanded(batch.nbytes, length, name)
                table = pa.Table.from_batches([batch])
                table.validate(full=True)
                yield table
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"cannot read {what} from {name}: {error}") from None


def check_announced(path: str | os.PathLike, length: int, name: str) -> None:
    """Errors: ValueError when rows, or the values and bytes of the columns, are beyond the bounds."""
    footer = announced(path)
    bounds.rows(footer.rows, length, name)
    bounds.expanded(max(footer.size, 4 * footer.values), length, name)


def within_bounds(
    file: "pq.ParquetFile", columns: Sequence[str] | None, length: int, name: str
) -> "list[pa.RecordBatch]":
    """All rows in batches, while their bytes in memory stay within the bound: a dictionary may repeat a long text."""
    batches, in_memory, size = [], 0, FIRST_ROWS
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
            batch = decoded(batch)
            batches.append(batch)
            in_memory, done = in_memory + batch.nbytes, done + len(batch)
            bounds.expanded(in_memory, length, name)
            if size == FIRST_ROWS and rows > size:
                break
        else:
            break
        size = max(1, min(1 << 16, BATCH * done // max(in_memory, 1)))
    return batches


def decoded(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    """Replace dictionary codes by their values, so that the size in bytes is that of the texts."""
    import pyarrow as pa

    columns = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]
    return pa.record_batch(columns, names=batch.schema.names)
