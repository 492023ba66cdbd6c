"""What a file lists for enrollment: images of a table with label, id, group and metadata, or vectors."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from likewise.gallery.encoder import open_encoder
from likewise.gallery.filters import value_of
from likewise.gallery.quality import Finding

__all__ = ["ENDINGS", "Listed", "fingerprint", "is_listing", "read"]

ENDINGS = (".csv", ".tsv", ".parquet", ".pq", ".npz")
IDS = ("id", "imageid", "itemid", "key", "uuid", "sku")  # usual names of an id, the most telling first
ARRAYS = {
    "vectors": ("vectors", "vector", "embeddings", "embedding", "emb", "x"),
    "labels": ("classes", "class", "labels", "label", "targets", "target", "y"),
    "ids": ("ids", "id", "keys", "key"),
    "groups": ("groups", "group"),
}


class Listed(NamedTuple):
    """N rows of a file; what it does not say is None."""

    images: list[str]  # empty where there are vectors
    vectors: np.ndarray | None  # [N, D]
    labels: list[str]
    ids: list[str] | None
    metadata: list[dict[str, object]] | None
    groups: list[str] | None
    findings: list[Finding]  # rows that are left out, with the reason


def is_listing(path: str | os.PathLike) -> bool:
    return Path(path).suffix.lower() in ENDINGS


def fingerprint(path: str | os.PathLike, made_by: str | os.PathLike | None) -> str:
    """Of the model that made a file's vectors. Errors: ValueError where it is not said, or none."""
    if made_by is None:
        raise ValueError(
            f"{os.fspath(path)} holds vectors and does not say of which model; give the run or model.onnx that made "
            "them with --made-by"
        )
    return open_encoder(made_by).fingerprint


def read(path: str | os.PathLike, *, label: str, columns: Mapping[str, str]) -> Listed:
    """See `Gallery.enroll_listed`."""
    file = Path(path)
    if unknown := [name for name in columns if name not in ("image", "label", "id", "group")]:
        raise ValueError(f"columns are image, label, id and group; got {unknown[0]!r}")
    if not is_listing(file):
        raise ValueError(f"{file} is not a list of images or vectors; it ends in {', '.join(ENDINGS)}")
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    if file.suffix.lower() == ".npz":
        return _arrays(file, label)
    if file.suffix.lower() in (".parquet", ".pq"):
        from likewise.data.table_file import parquet_names

        if "vector" in parquet_names(file):
            return _embeddings(file, label)
    return _table(file, label, {"image": "", "label": "", "id": "", "group": "", **columns})


def _table(file: Path, label: str, asked: dict[str, str]) -> Listed:
    from likewise.data.columns import resolve
    from likewise.data.table import NO_LABEL, image_of
    from likewise.data.table_file import parquet_names, parquet_rows, text_rows

    if file.suffix.lower() in (".parquet", ".pq"):
        names = parquet_names(file)
        rows = parquet_rows(file, names, range(len(names)))
    else:
        rows = text_rows(file)
        names = [str(cell).strip() for cell in rows.pop(0).cells] if rows else []
    if not rows:
        raise ValueError(f"{file} has no rows below its first line")
    columns: dict[str, str | int] = {
        "image": asked["image"],
        "label": asked["label"],
        "split": 0,
        "group": asked["group"],
    }
    if label:
        columns["label"] = len(names)  # a column of no name, since none is needed
    places = resolve(columns, [*names, ""], file, rows[0].cells, command="gallery enroll GALLERY")
    del places["split"]
    if label:
        del places["label"]
    if (id_place := _id_place(asked["id"], names, set(places.values()), file)) is not None:
        places["id"] = id_place
    others = [i for i, name in enumerate(names) if name and i not in places.values()]
    listed = Listed([], None, [], [] if "id" in places else None, [], [] if "group" in places else None, [])
    for row in rows:
        cells = [*row.cells, *[""] * (len(names) - len(row.cells))]
        source, name, _ = image_of(row._replace(cells=cells), places["image"], file.parent, file)
        text = label or str(cells[places["label"]])
        wrong = _wrong(source, text.strip().casefold() in NO_LABEL, str(cells[places["id"]]) if "id" in places else "-")
        if wrong:
            listed.findings.append(Finding(name, f"{row.where} {wrong}", False))
            continue
        listed.images.append(str(source))
        listed.labels.append(text)
        _append(listed.ids, cells, places.get("id"))
        _append(listed.groups, cells, places.get("group"))
        assert listed.metadata is not None
        listed.metadata.append({names[i]: value_of(str(cells[i])) for i in others if str(cells[i]).strip()})
    return listed


def _wrong(source: object, no_label: bool, id_: str) -> str:
    """Why a row is not enrolled; empty where nothing speaks against it."""
    if isinstance(source, bytes):
        return "holds the image itself; write it to a file and list its path"
    lacks = [
        name for name, missing in (("image", source is None), ("label", no_label), ("id", not id_.strip())) if missing
    ]
    return f"has no {lacks[0]}" if lacks else ""


def _append(texts: list[str] | None, cells: Sequence[object], place: int | None) -> None:
    if texts is not None and place is not None:
        texts.append(str(cells[place]).strip())


def _id_place(asked: str, names: Sequence[str], taken: set[int], file: Path) -> int | None:
    from likewise.data.columns import plain

    if asked and asked not in names:
        raise ValueError(f"{file} has no column {asked!r}; it has {', '.join(map(repr, names))}")
    if asked:
        return list(names).index(asked)
    places = {plain(name): i for i, name in reversed(list(enumerate(names))) if i not in taken}
    return next((places[name] for name in IDS if name in places), None)


def _arrays(file: Path, label: str) -> Listed:
    from likewise.data.arrays import load_arrays

    arrays = {
        key.casefold(): value for key, value in load_arrays(file, {n for ns in ARRAYS.values() for n in ns}).items()
    }
    by_use = {use: next((arrays[name] for name in names if name in arrays), None) for use, names in ARRAYS.items()}
    if by_use["vectors"] is None:
        raise ValueError(
            f"{file} holds {', '.join(arrays) or 'nothing'} and no vectors; save it with vectors=..., labels=..."
        )
    texts = {
        use: None if (array := by_use[use]) is None else _texts(array, use, file) for use in ("labels", "ids", "groups")
    }
    return _listed(file, by_use["vectors"], label, texts["labels"], texts["ids"], texts["groups"])


def _texts(array: np.ndarray, use: str, file: Path) -> list[str]:
    if array.ndim != 1 or array.dtype.kind not in "iuUb":
        raise ValueError(f"{file}: {use} are texts or whole numbers, one for each vector")
    return [str(value) for value in array.tolist()]


def _embeddings(file: Path, label: str) -> Listed:
    from likewise.embeddings import Embeddings

    embeddings = Embeddings.load(file)
    names = [embeddings.classes[i] for i in embeddings.labels.tolist()]
    groups = None if embeddings.groups is None else list(embeddings.groups)
    return _listed(file, embeddings.vectors.numpy(), label, names if any(names) else None, list(embeddings.ids), groups)


def _listed(
    file: Path,
    vectors: np.ndarray,
    label: str,
    labels: list[str] | None,
    ids: list[str] | None,
    groups: list[str] | None,
) -> Listed:
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise ValueError(f"{file}: vectors are numbers [N, D], and {vectors.dtype} {list(vectors.shape)} came")
    if not label and labels is None:
        raise ValueError(f"{file} has no labels; give one for all with --label")
    names = [label] * len(vectors) if label else labels or []
    return Listed([], vectors, names, ids, None, groups, [])
