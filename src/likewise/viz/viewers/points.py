"""What every viewer shows: the images with their classes, parts, nearest neighbours, findings, and places on a map."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from likewise import spec
from likewise.audit import read_findings
from likewise.data.images import SPLITS, Images
from likewise.embeddings import Embeddings
from likewise.experiment.run import Run
from likewise.recipes.facts import source_root
from likewise.viz.pages.map import as_compared
from likewise.viz.pages.map_data import UNKNOWN, neighbourhood, shown
from likewise.viz.plots.images import displayable
from likewise.viz.projection import METHODS, project

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Points", "encoded", "points", "reduced"]

K = 10  # nearest neighbours
ANSWERS = ("wrong", "right", "")  # by what the class of the nearest neighbour is


class Points(NamedTuple):
    """N images of a run, in the order of its embeddings."""

    name: str
    sim: str
    embeddings: Embeddings
    of: int  # images that the run has
    xy: np.ndarray  # float32 [N, 2]
    rows: np.ndarray  # int64 [N, K], the neighbours among these N, -1 for none or one that is left out
    sims: np.ndarray  # float32 [N, K]
    nearest: list[tuple[str, str, str]]  # id and class of the nearest neighbour, and right | wrong | ""
    findings: list[tuple[str, ...]]  # kinds of findings of the audit
    images: Images | None  # these N, in their order
    files: list[Path | None]  # of each image, where it lies in one of its own

    @property
    def classes(self) -> list[str]:
        """The class of each image."""
        return [self.embeddings.classes[label] for label in self.embeddings.labels.tolist()]

    @property
    def parts(self) -> list[str]:
        return [SPLITS[part] for part in self.embeddings.split.tolist()]


def points(run: Run, images: Images | None, *, method: str, most: int, numbers: int) -> Points:
    """At most `most` images, and at most so many that their vectors hold `numbers` numbers.

    Errors: ValueError for an unknown method, or a run without embeddings.
    """
    if method not in METHODS:
        raise ValueError(f"no map method is named {method!r}{spec.near(method, METHODS)}")
    if not run.embeddings.exists():
        raise ValueError(f"{run.path} has no embeddings yet; run `likewise evaluate {run.path}`")
    every = Embeddings.load(run.embeddings)
    at_N = shown(every, min(most, max(2, numbers // max(1, every.vectors.shape[1]))))
    chosen = every.take(at_N.tolist())
    sim = run.recipe.sim or "cosine"
    around = neighbourhood(every, at_N, spec.bind("sim", sim), K)
    row = np.full(len(every) + 1, -1)
    row[at_N] = np.arange(len(at_N))
    first = around.place[:, 0].tolist()
    labels = every.labels.tolist()
    nearest = [
        (every.ids[n], every.classes[labels[n]], ANSWERS[right]) if n >= 0 else ("", "", ANSWERS[UNKNOWN])
        for n, right in zip(first, around.right.tolist(), strict=True)
    ]
    findings = read_findings(run.path / "audit.csv")
    xy = project(as_compared(chosen.vectors, sim), method if len(chosen) > 3 else "pca")
    return Points(
        run.name, sim, chosen, len(every), xy, row[around.place], around.sim, nearest,
        [findings.get(name, ()) for name in chosen.ids], these(images, chosen.ids), files(run, chosen.ids),
    )  # fmt: skip


def these(images: Images | None, ids: tuple[str, ...]) -> Images | None:
    """The images of these ids, in this order; None where they are no images, or not all there."""
    if images is None or len(images.shape) != 3:
        return None
    at = {name: n for n, name in enumerate(images.ids)}
    return images.take([at[name] for name in ids]) if set(ids) <= set(at) else None


def files(run: Run, ids: tuple[str, ...]) -> list[Path | None]:
    """The files that ids of a folder or a table name, relative to it."""
    root = source_root(run.recipe.data)
    if root is None:
        return [None] * len(ids)
    return [path.resolve() if (path := root / name).is_file() else None for name in ids]


def reduced(image_CHW: np.ndarray, side: int) -> "Image.Image":
    """The image, with its longer side at most `side` pixels."""
    from PIL import Image

    image = Image.fromarray(displayable(image_CHW)).convert("RGB")
    if max(image.size) > side:
        image.thumbnail((side, side), reducing_gap=2.0)
    return image


def encoded(image: "Image.Image") -> bytes:
    """PNG for a small image, else JPEG."""
    written = io.BytesIO()
    if max(image.size) <= 32:
        image.save(written, "png")
    else:
        image.save(written, "jpeg", quality=85)
    return written.getvalue()
