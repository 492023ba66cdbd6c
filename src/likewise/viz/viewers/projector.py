"""A log folder for TensorBoard's projector: vectors, their metadata, a sheet of thumbnails, and the configuration."""

import math
import re
from pathlib import Path

import numpy as np

from likewise.data.images import Images
from likewise.viz.pages.map import as_compared
from likewise.viz.pages.map_data import fitted
from likewise.viz.viewers.points import Points

__all__ = ["write_projector"]

SHEET = 8_192  # pixels of a side of the sheet, the most that browsers' textures have everywhere
SIDE = 64  # pixels of a thumbnail, at most
CHUNK = 256
COLUMNS = ("class", "part", "nearest neighbour", "nearest class", "findings", "file")


def write_projector(cloud: Points, folder: Path) -> None:
    """tensors.tsv, metadata.tsv, sprite.png where there are images, and projector_config.pbtxt, all in `folder`.

    Vectors are normalised where the similarity is cosine, so that the projector's Euclidean distances agree with it.
    """
    vectors_ND = as_compared(cloud.embeddings.vectors, cloud.sim).numpy()
    np.savetxt(folder / "tensors.tsv", vectors_ND, fmt="%.6g", delimiter="\t")
    (folder / "metadata.tsv").write_text(metadata(cloud), encoding="utf-8", newline="\n")
    fields = ['tensor_name: "embedding"', 'tensor_path: "tensors.tsv"', 'metadata_path: "metadata.tsv"']
    if cloud.images is not None:
        side = sprite(cloud.images, folder / "sprite.png")
        size = f"single_image_dim: {side} single_image_dim: {side}"
        fields.append(f'sprite {{ image_path: "sprite.png" {size} }}')
    config = "".join(f"  {field}\n" for field in fields)
    (folder / "projector_config.pbtxt").write_text(f"embeddings {{\n{config}}}\n", encoding="utf-8", newline="\n")


def metadata(cloud: Points) -> str:
    """A line for each image below the names of the columns."""
    kinds = [", ".join(one) for one in cloud.findings]
    nearest = [(answer, name) for _, name, answer in cloud.nearest]
    columns = zip(cloud.classes, cloud.parts, nearest, kinds, cloud.embeddings.ids, strict=True)
    rows = [(name, part, *near, kind, file) for name, part, near, kind, file in columns]
    return "".join("\t".join(map(cell, row)) + "\n" for row in (COLUMNS, *rows))


def cell(text: str) -> str:
    """The text on one line and without tabs."""
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", text)


def sprite(images: Images, path: Path) -> int:
    """Write the thumbnails row by row into one square sheet; returns the pixels of a thumbnail's side."""
    from PIL import Image

    columns = math.ceil(math.sqrt(len(images)))
    side = min(SIDE, max(images.shape[1:]), SHEET // columns)
    sheet = Image.new("RGB", (columns * side, columns * side))
    for first in range(0, len(images), CHUNK):
        batch = images.batch(range(first, min(first + CHUNK, len(images))))
        for n, image_CHW in enumerate(batch, start=first):
            sheet.paste(fitted(image_CHW.cpu().numpy(), side), (n % columns * side, n // columns * side))
    sheet.save(path)
    return side
