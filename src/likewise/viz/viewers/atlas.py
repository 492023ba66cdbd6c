"""Two Parquet files for embedding-atlas (Apple, MIT): the images, and the names of classes on the map."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from likewise.data.images import Images
from likewise.viz.viewers.points import Points, encoded, reduced

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["write_atlas"]

SIDE = 96  # pixels of a thumbnail, at most
LEAST = 24  # and at least, however many there are
PIXELS = 200_000_000  # of all thumbnails together
NAMED = 200  # classes whose names stand on the map
CHUNK = 256


def write_atlas(cloud: Points, folder: Path) -> None:
    """images.parquet (id, class, part, right or wrong, nearest, map_x, map_y, neighbours, image) and classes.parquet.

    `neighbours` holds rows of this file and distances, the image itself first, as embedding-atlas reads them; an image
    that has fewer than others is listed with itself again instead, so that all lists are of one length.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    nearest_id, nearest_class, answer = (list(column) for column in zip(*cloud.nearest, strict=True))
    rows_NK, far_NK = neighbours(cloud)
    columns = {
        "id": pa.array(cloud.embeddings.ids, pa.string()),
        "class": pa.array(cloud.classes, pa.string()),
        "part": pa.array(cloud.parts, pa.string()),
        "nearest_neighbour": pa.array(answer, pa.string()),
        "nearest_class": pa.array(nearest_class, pa.string()),
        "nearest_id": pa.array(nearest_id, pa.string()),
        "similarity": pa.array([sim if np.isfinite(sim) else None for sim in cloud.sims[:, 0].tolist()], pa.float32()),
        "findings": pa.array([", ".join(kinds) for kinds in cloud.findings], pa.string()),
        "map_x": pa.array(cloud.xy[:, 0], pa.float32()),
        "map_y": pa.array(cloud.xy[:, 1], pa.float32()),
        "neighbours": pa.StructArray.from_arrays(
            [pa.array(rows_NK.tolist(), pa.list_(pa.int64())), pa.array(far_NK.tolist(), pa.list_(pa.float32()))],
            ["ids", "distances"],
        ),
    }
    if cloud.embeddings.groups is not None:
        columns["group"] = pa.array(cloud.embeddings.groups, pa.string())
    if cloud.images is not None:
        columns["image"] = thumbnails(cloud.images)
    pq.write_table(pa.table(columns), folder / "images.parquet")
    pq.write_table(pa.table(names(cloud)), folder / "classes.parquet")


def neighbours(cloud: Points) -> tuple[np.ndarray, np.ndarray]:
    """Rows [N, 1 + K] and distances, nearest first; the image itself comes first, and again for each that is missing.

    A distance is 1 - cosine, the Euclidean one, or else what a similarity is below the largest.
    """
    there = cloud.rows >= 0
    own_NK = np.broadcast_to(np.arange(len(cloud.rows))[:, None], cloud.rows.shape)
    largest = cloud.sims[there].max(initial=0.0)
    top = 1.0 if cloud.sim.startswith("cosine") else max(0.0, float(largest))
    far_NK = np.where(there, np.maximum(top - np.where(there, cloud.sims, 0.0), 0.0), 0.0)
    most = int(there.sum(1).max(initial=0))
    # those that are missing come first, beside the image itself
    order_NK = np.argsort(there, axis=1, kind="stable")[:, there.shape[1] - most :]
    rows_NK = np.take_along_axis(np.where(there, cloud.rows, own_NK), order_NK, 1)
    return np.hstack([own_NK[:, :1], rows_NK]), np.hstack(
        [np.zeros((len(far_NK), 1)), np.take_along_axis(far_NK, order_NK, 1)]
    )


def thumbnails(images: Images) -> "pa.Array":
    """The images as structs of bytes and path, as the datasets library keeps them."""
    import pyarrow as pa

    side = max(LEAST, min(SIDE, int((PIXELS / max(1, len(images))) ** 0.5)))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": one, "path": None} for one in each(images, side)], kind)


def each(images: Images, side: int) -> Iterator[bytes]:
    for first in range(0, len(images), CHUNK):
        batch = images.batch(range(first, min(first + CHUNK, len(images))))
        yield from (encoded(reduced(image_CHW.cpu().numpy(), side)) for image_CHW in batch)


def names(cloud: Points) -> dict[str, list[object]]:
    """A name for each of the most frequent classes, at that image of it which is nearest to the mean of its places."""
    labels_N = cloud.embeddings.labels.numpy()
    counts = np.bincount(labels_N, minlength=len(cloud.embeddings.classes))
    rows: dict[str, list[object]] = {"x": [], "y": [], "text": [], "priority": []}
    for label in np.argsort(-counts, kind="stable")[:NAMED].tolist():
        if not counts[label]:
            break
        xy_M2 = cloud.xy[labels_N == label]
        x, y = xy_M2[((xy_M2 - xy_M2.mean(0)) ** 2).sum(1).argmin()].tolist()
        values = (x, y, cloud.embeddings.classes[label], int(counts[label]))
        for column, value in zip(rows.values(), values, strict=True):
            column.append(value)
    return rows
