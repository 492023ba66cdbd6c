"""A gallery as one Parquet file and back: a backup while it is in use, and the way between stores."""

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from likewise.atomic import replacing
from likewise.gallery import attachments
from likewise.gallery.index import check_vectors
from likewise.gallery.opened import Opened
from likewise.gallery.store import LARGEST_DIM, LONGEST_TEXT, Item
from likewise.safety import bounds

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["described", "export", "import_"]

TEXTS = ("id", "content", "label", "group", "path", "metadata")


def export(gallery: Opened, path: str | os.PathLike, *, ids: Collection[str] | None = None) -> int:
    """Write every item, or these, as they are at one moment; how many. Without undo history, marks and audit log."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with gallery.store.reading():
        rows = [row for row in gallery.store.scan() if ids is None or row.id in ids]
        about = gallery.store.meta()
        thumbnails = [attachments.thumbnail(gallery.store, row.content) for row in rows]
    columns = {name: pa.array([getattr(row, name) for row in rows], pa.string()) for name in TEXTS}
    columns["look"] = pa.array([row.look for row in rows], pa.binary())
    columns["thumbnail"] = pa.array(thumbnails, pa.binary())
    flat = pa.array(np.frombuffer(b"".join(row.vector for row in rows), "<f4"))
    columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, about["dim"])
    record = {key: about[key] for key in ("dim", "sim", "fingerprint")}
    table = pa.table(columns).replace_schema_metadata({"likewise_gallery": json.dumps(record)})
    with replacing(Path(path)) as temporary:
        pq.write_table(table, temporary)
    return len(rows)


def import_(gallery: Opened, path: str | os.PathLike) -> int:
    """Enroll what `export` wrote, in one transaction; how many were new. Errors: ValueError for another model's."""
    table, about = _read(Path(path))
    if about.get("fingerprint") != gallery.about["fingerprint"]:
        raise ValueError(
            f"{os.fspath(path)} holds vectors of the model {about.get('fingerprint')} and the gallery holds those of "
            f"{gallery.about['fingerprint']}"
        )
    column = table["vector"].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    if len(flat) != len(table) * gallery.dim:
        raise ValueError(f"{os.fspath(path)} has vectors of another length than {gallery.dim}")
    vectors = check_vectors(flat.reshape(len(table), gallery.dim), gallery.dim)
    lists = {name: table[name].to_pylist() for name in (*TEXTS, "look")}
    lists["thumbnail"] = table["thumbnail"].to_pylist() if "thumbnail" in table.column_names else [b""] * len(table)
    items = [_item({name: values[i] for name, values in lists.items()}, vectors[i], path) for i in range(len(table))]
    with gallery.writing(str(about["fingerprint"])):
        added = gallery.store.put(items)
        if added:
            attachments.put_thumbnails(gallery.store, items)
            gallery.store.push_step("import", {"remove": added})
            gallery.store.log("import", len(added))
    gallery.state()
    return len(added)


def described(path: Path) -> bounds.Fields:
    """What an export says of its gallery: dim, sim, fingerprint. Errors: ValueError for a file that is none."""
    return _read(path)[1]


def _item(row: bounds.Fields, vector: np.ndarray, path: str | os.PathLike) -> Item:
    try:
        metadata = bounds.parsed_json(row["metadata"], path)
        whole = all(isinstance(row[name], str) and row[name] for name in TEXTS[:3])
        whole = whole and isinstance(row["thumbnail"] or b"", bytes) and len(row["thumbnail"] or b"") <= LONGEST_TEXT
    except (ValueError, TypeError):
        whole = False
    if not whole:
        raise ValueError(
            f"{os.fspath(path)} has a row without id, content, label or metadata as text, or whose thumbnail is none"
        )
    return Item(
        row["id"], row["content"], row["label"], vector, row["group"] or "", row["path"] or "", metadata,
        row["look"] or b"", row["thumbnail"] or b"",
    )  # fmt: skip


def _read(path: Path) -> tuple["pa.Table", dict[str, object]]:
    """Within bounds: a file of a stranger is data."""
    from likewise.safety.parquet import read_table

    if not path.is_file():
        raise ValueError(f"there is no file {path}; `likewise gallery export` writes one")
    table = read_table(path, "a gallery's export")
    try:
        about = bounds.parsed_json((table.schema.metadata or {})[b"likewise_gallery"], path)
        dim = int(about["dim"])
    except (KeyError, ValueError, TypeError):
        raise ValueError(f"{path} is no export of a gallery") from None
    if missing := [name for name in (*TEXTS, "look", "vector") if name not in table.column_names]:
        raise ValueError(f"{path} has no column {missing[0]!r}")
    if not 1 <= dim <= LARGEST_DIM:
        raise ValueError(f"{path} is no export of a gallery")
    return table, about
