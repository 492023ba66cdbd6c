"""Embeddings: vectors with ids, labels and parts of their images, saved as Parquet."""

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise import distributed, geometry, spec
from likewise.atomic import replacing
from likewise.data.images import SPLITS, Images
from likewise.geometry import DivergedError
from likewise.metrics.neighbours import Sim
from likewise.models.inputs import at_once
from likewise.safety import bounds
from likewise.safety.parquet import read_table, stream_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DivergedError", "Embeddings", "as_seen", "check", "embed", "embed_shared", "stream"]

COLUMNS = ("id", "label", "class", "split", "vector", "group")


@dataclass(frozen=True, eq=False)
class Embeddings:
    """N vectors with ids, labels, parts and groups of their images."""

    vectors: Tensor  # float32 [N, D]
    labels: Tensor  # int64 [N], index into classes
    ids: tuple[str, ...]
    split: Tensor  # uint8 [N], index into SPLITS
    classes: tuple[str, ...]
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, split: str) -> "Embeddings":
        """Those of one part: train, val or test."""
        return self.take((self.split == _number(split)).nonzero()[:, 0])

    def take(self, indices: Tensor | Sequence[int]) -> "Embeddings":
        """Those at these places, in this order."""
        at = torch.as_tensor(indices, dtype=torch.int64)
        rows = at.tolist()
        return replace(
            self,
            vectors=self.vectors[at],
            labels=self.labels[at],
            ids=tuple(self.ids[i] for i in rows),
            split=self.split[at],
            groups=self.groups and tuple(self.groups[i] for i in rows),
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write a Parquet file, whole or not at all: columns id, label, class, split, vector, and group where known."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        flat = pa.array(self.vectors.float().contiguous().view(-1).numpy())
        columns = {
            "id": pa.array(self.ids, pa.string()),
            "label": pa.array(self.labels.numpy(), pa.int64()),
            "class": pa.array([self.classes[i] for i in self.labels.tolist()], pa.string()),
            "split": pa.array([SPLITS[i] for i in self.split.tolist()], pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(flat, self.vectors.shape[1]),
        }
        if self.groups is not None:
            columns["group"] = pa.array(self.groups, pa.string())
        about: dict[str, object] = {"classes": self.classes}
        about["crc32"] = table_checksum(pa.table(columns), self.classes)
        table = pa.table(columns).replace_schema_metadata({"likewise": json.dumps(about)})
        with replacing(Path(path)) as temporary:
            pq.write_table(table, temporary)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Embeddings":
        """Read what `save` wrote, or a Parquet file with at least the columns id, label and vector."""
        table = read_table(path, "embeddings", COLUMNS)
        if missing := [name for name in ("id", "label", "vector") if name not in table.column_names]:
            raise ValueError(f"{os.fspath(path)} has no column {missing[0]!r}; it has {', '.join(table.column_names)}")
        try:
            check_sum(table, os.fspath(path))
            return _from_table(table.combine_chunks(), os.fspath(path))
        except (TypeError, NotImplementedError, OverflowError, KeyError, AttributeError) as error:
            raise ValueError(f"{os.fspath(path)} holds columns of another type than embeddings have: {error}") from None


def stream(path: str | os.PathLike, rows: int, numbers: dict[str, int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Vectors float32 [N, D] and labels [N] of a file of any size, at most `rows` at a time.

    numbers: the label of each class by its name, to which new classes are added, since each file numbers its own. The
    file's checksum is not compared. Errors: ValueError; DivergedError where vectors are not finite.
    """
    name = os.fspath(path)
    for table in stream_table(path, "embeddings", ("label", "vector"), rows, optional=("class",)):
        _whole(table["label"], name)
        column = table["class" if "class" in table.column_names else "label"].combine_chunks().dictionary_encode()
        code_C = [numbers.setdefault(str(value), len(numbers)) for value in column.dictionary.to_pylist()]
        if column.null_count:
            raise ValueError(f"{name}: class names each row, and {column.null_count} rows have none")
        labels_N = torch.tensor(code_C)[torch.from_numpy(column.indices.to_numpy().astype(np.int64))]
        vectors_ND = _matrix(table["vector"].combine_chunks())
        if not vectors_ND.isfinite().all():
            raise DivergedError(f"{name} holds vectors with NaN or infinity: the training has diverged; train anew")
        yield vectors_ND, labels_N


def table_checksum(table: "pa.Table", classes: Sequence[str]) -> int:
    """CRC-32 of names, numbers and vectors, independent of chunks and encodings."""
    import pyarrow as pa

    crc = zlib.crc32(json.dumps(list(classes)).encode())
    for name in sorted(table.column_names):
        column = table[name]
        plain = pa.concat_arrays(column.chunks) if column.chunks else pa.array([], column.type)
        crc = zlib.crc32(name.encode(), crc)
        if pa.types.is_fixed_size_list(plain.type):
            content = plain.flatten().to_numpy(zero_copy_only=False)
            crc = zlib.crc32(
                np.ascontiguousarray(content).view(np.uint8).data, zlib.crc32(str(content.dtype).encode(), crc)
            )
        else:
            crc = zlib.crc32(json.dumps(plain.to_pylist()).encode(), crc)
    return crc


def check_sum(table: "pa.Table", path: str) -> None:
    """Errors: ValueError if the content does not match the checksum in the metadata."""
    about = bounds.parsed_json((table.schema.metadata or {}).get(b"likewise", b"{}"), f"the metadata of {path}")
    classes = about.get("classes")
    if "crc32" not in about or not isinstance(classes, list):
        return
    if about["crc32"] != table_checksum(table, classes):
        raise ValueError(f"{path} is damaged: its content is not what was saved; write it again, or copy it again")


def _from_table(table: "pa.Table", path: str) -> Embeddings:
    n, names = len(table), table.column_names
    labels = torch.from_numpy(_whole(table["label"], path))
    classes = _classes(table, labels, path)
    return Embeddings(
        vectors=_matrix(table["vector"].combine_chunks()),
        labels=labels,
        ids=_texts(table["id"], path),
        split=torch.tensor([_number(x) for x in table["split"].to_pylist()] if "split" in names else [2] * n).byte(),
        classes=classes,
        groups=_texts(table["group"], path) if "group" in names else None,
    )


def _whole(column: "pa.ChunkedArray", path: str) -> np.ndarray:
    """int64 labels from 0 on. Errors: ValueError for others, and beyond the bound."""
    import pyarrow as pa

    if not pa.types.is_integer(column.type) or column.null_count:
        raise ValueError(f"{path}: label holds whole numbers from 0 on, and is {column.type} here")
    labels_N = np.array(column.to_numpy(), dtype=np.int64)
    if labels_N.min(initial=0) < 0:
        raise ValueError(f"{path}: label holds whole numbers from 0 on, got {labels_N.min()}")
    bounds.largest(int(labels_N.max(initial=0)), max(bounds.LABEL, len(labels_N)), f"{path}: the largest label")
    return labels_N


def _texts(column: "pa.ChunkedArray", path: str) -> tuple[str, ...]:
    """Ids or groups as texts; whole numbers are spelled out. Errors: ValueError for missing ones and other types."""
    import pyarrow as pa

    plain = pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_integer(column.type)
    if not plain or column.null_count:
        raise ValueError(f"{path}: id and group are texts, one for each row, and {column.type} came, with gaps or not")
    return tuple(map(str, column.to_pylist()))


def _classes(table: "pa.Table", labels: Tensor, path: str) -> tuple[str, ...]:
    """The names by label: from the metadata, else of the column class, else the numbers."""
    n, highest = len(labels), int(labels.max()) if len(labels) else -1
    about = bounds.parsed_json((table.schema.metadata or {}).get(b"likewise", b"{}"), f"the metadata of {path}")
    classes = about.get("classes") or []
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"{path}: classes in the metadata is a list of names, got {classes!r:.80}")
    if classes:
        if highest >= len(classes):
            raise ValueError(f"{path}: the metadata names {len(classes):,} classes, and a label is {highest:,}")
        return tuple(classes)
    names = _texts(table["class"], path) if "class" in table.column_names else ()
    named = dict(zip(labels.tolist(), names, strict=True)) if n and names else {}
    return tuple(named.get(i, str(i)) for i in range(highest + 1))


def _matrix(column: "pa.Array") -> Tensor:
    import pyarrow as pa
    import pyarrow.compute as pc

    value = getattr(column.type, "value_type", None)
    if value is None or not (pa.types.is_floating(value) or pa.types.is_integer(value)):
        raise ValueError(f"vector holds lists of numbers, and is {column.type} here")
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) > 1 or None in lengths:
        raise ValueError(f"vectors of one file are all of one length, and these are of {len(lengths)}")
    width = getattr(column.type, "list_size", lengths[0] if lengths else 0)
    return torch.tensor(column.flatten().to_numpy(zero_copy_only=False), dtype=torch.float32).view(len(column), width)


def _number(split: str) -> int:
    if split not in SPLITS:
        raise ValueError(f"no part named {split!r}{spec.near(str(split), SPLITS)}")
    return SPLITS.index(split)


def check(query: Embeddings, reference: Embeddings | None = None) -> None:
    """Errors: ValueError where there is nothing to measure; DivergedError where vectors are not finite."""
    if not len(query):
        raise ValueError("there are no queries: the part to evaluate holds no images")
    if reference is not None and not len(reference):
        raise ValueError("the part to search holds no images: leave it out, or choose one that has some")
    for part, name in ((query, "query"), (reference, "reference")):
        if part is not None and (broken := int((~part.vectors.isfinite().all(-1)).sum())):
            raise DivergedError(
                f"{broken} of {len(part)} {name} vectors hold NaN or infinity: the training has diverged; "
                "train with a lower lr, or with clip=1.0"
            )


def as_seen(vectors_ND: Tensor, sim: Sim) -> Tensor:
    """Vectors for Euclidean measures: normalised to length 1 if the similarity is cosine."""
    return F.normalize(vectors_ND, dim=-1) if getattr(sim, "func", sim) is geometry.cosine else vectors_ND


@torch.no_grad()
def embed(model: nn.Module, images: Images, batch: int | None = None) -> Embeddings:
    """Every image's vector, float32 on the CPU. The model runs in eval mode where it is, and is left as it was.

    batch: how many pass it at once, by their size where it is not said.
    """
    places = torch.arange(len(images)).split(batch or at_once(images.shape))
    return with_vectors(images, vectors(model, images, places))


@torch.no_grad()
def embed_shared(model: nn.Module, images: Images) -> Embeddings:
    """As `embed`, each process embedding every so many-th batch; all of them call it, and all get all vectors.

    A batch holds the same images as with one process, so that the vectors are the same to the bit.
    """
    places = torch.arange(len(images)).split(at_once(images.shape))
    rank, ranks = distributed.rank(), distributed.world_size()
    own = vectors(model, images, places[rank::ranks])
    if ranks == 1 or not len(images):
        return with_vectors(images, own)
    rows = [places[r::ranks] for r in range(ranks)]
    width = int(distributed.from_main(own.shape[1]))  # rank 0 has a batch wherever another has one
    counts = [sum(map(len, of_rank)) for of_rank in rows]
    all_ND = distributed.gather(own if len(own) else own.new_zeros(0, width), counts)
    order_N = torch.cat([at for of_rank in rows for at in of_rank]).argsort()
    return with_vectors(images, all_ND[order_N])


def vectors(model: nn.Module, images: Images, places: Sequence[Tensor]) -> Tensor:
    """The vectors of these images, float32 [N, D] on the CPU, a batch at a time."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        parts = [model(images.batch(at).to(device)).float().cpu() for at in places if len(at)]
    finally:
        for module, was in training.items():
            module.training = was
    return torch.cat(parts) if parts else torch.zeros(0, 0)


def with_vectors(images: Images, vectors_ND: Tensor) -> Embeddings:
    return Embeddings(vectors_ND, images.labels.cpu(), images.ids, images.split.cpu(), images.classes, images.groups)
