"""A dataset for FiftyOne (Voxel51, Apache 2.0) on disk: JSON that `fiftyone.types.FiftyOneDataset` imports.

Written without a version and without ids of a database, in the form that every release of FiftyOne reads.
"""

import base64
import io
import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from likewise.data.images import Images
from likewise.safety.bounds import Fields
from likewise.viz.viewers.points import Points, reduced

__all__ = ["check_images", "write_fiftyone"]

FIELDS = "fiftyone.core.fields."
LABEL = f"{FIELDS}EmbeddedDocumentField(fiftyone.core.labels.Classification)"
SCHEMA = {
    "filepath": f"{FIELDS}StringField",
    "tags": f"{FIELDS}ListField({FIELDS}StringField)",
    "ground_truth": LABEL,
    "prediction": LABEL,
    "right": f"{FIELDS}BooleanField",
    "similarity": f"{FIELDS}FloatField",
    "nearest_id": f"{FIELDS}StringField",
    "likewise_id": f"{FIELDS}StringField",
    "group_name": f"{FIELDS}StringField",
    "embedding": f"{FIELDS}VectorField",
    "map": f"{FIELDS}ListField({FIELDS}FloatField)",
}
SIDE = 512  # pixels of images that are written because they lie in no file of their own
CHUNK = 256


def check_images(images: Images | None) -> None:
    """Errors: ValueError where there are no images to show."""
    if images is None:
        raise ValueError("FiftyOne shows image files, and the run's images are no longer there; put them back first")
    if len(images.shape) != 3:
        raise ValueError("FiftyOne shows images, and this run's data are rows or signals; use --to atlas or projector")


def write_fiftyone(cloud: Points, folder: Path) -> None:
    """metadata.json, samples.json and, of images that lie in no file of their own, data/000000.png and so on.

    The class is `ground_truth`, the class of the nearest neighbour `prediction`; parts and findings are tags.
    """
    if cloud.images is None:
        raise ValueError("the run's images are no longer those that were embedded; run `likewise evaluate RUN` first")
    about = {
        "name": cloud.name,
        "media_type": "image",
        "sample_fields": SCHEMA,
        "info": {"run": cloud.name, "similarity": cloud.sim, "images": len(cloud.embeddings), "of": cloud.of},
    }
    (folder / "metadata.json").write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
    paths = list(paths_of(cloud, cloud.images, folder))
    with (folder / "samples.json").open("w", encoding="utf-8", newline="\n") as written:
        for n, one in enumerate(samples(cloud, paths)):
            written.write(("," if n else '{"samples": [') + json.dumps(one, ensure_ascii=False))
        written.write("]}\n")


def samples(cloud: Points, paths: list[str]) -> Iterator[Fields]:
    """The documents of the images."""
    vectors_ND = cloud.embeddings.vectors.numpy().astype(np.float32)
    groups, parts, classes = cloud.embeddings.groups, cloud.parts, cloud.classes
    for n, path in enumerate(paths):
        near_id, near_class, answer = cloud.nearest[n]
        sample: Fields = {
            "filepath": path,
            "tags": [parts[n], *cloud.findings[n]],
            "ground_truth": label(classes[n]),
            "prediction": label(near_class) if near_id else None,
            "right": answer == "right" if answer else None,
            "similarity": float(cloud.sims[n, 0]) if math.isfinite(cloud.sims[n, 0]) else None,
            "nearest_id": near_id or None,
            "likewise_id": cloud.embeddings.ids[n],
            "group_name": groups[n] if groups else None,
            "embedding": {"$binary": {"base64": packed(vectors_ND[n]), "subType": "00"}},
            "map": cloud.xy[n].tolist(),
        }
        yield sample


def label(name: str) -> Fields:
    return {"_cls": "Classification", "tags": [], "label": name}


def packed(vector_D: np.ndarray) -> str:
    """A vector as FiftyOne stores it: a .npy file, compressed, in base64."""
    written = io.BytesIO()
    np.save(written, vector_D, allow_pickle=False)
    return base64.b64encode(zlib.compress(written.getvalue())).decode()


def paths_of(cloud: Points, images: Images, folder: Path) -> Iterator[str]:
    """The absolute path of each image's file; of one that has none, a PNG that is written into data/."""
    for first in range(0, len(images), CHUNK):
        rows = range(first, min(first + CHUNK, len(images)))
        missing = [n for n in rows if cloud.files[n] is None]
        pixels = dict(zip(missing, images.batch(missing), strict=True)) if missing else {}
        for n in rows:
            if n not in pixels:
                yield str(cloud.files[n])
                continue
            path = folder / "data" / f"{n:06d}.png"
            path.parent.mkdir(exist_ok=True)
            reduced(pixels[n].cpu().numpy(), SIDE).save(path)
            yield f"data/{path.name}"
