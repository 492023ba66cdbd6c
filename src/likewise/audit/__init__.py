"""Audit of a run's data, as a page with images and a CSV.

Finds likely wrong labels, copies within and across parts, scenes that a random split divided, outliers, tiny classes
and broken files. The data are not changed.
"""

from pathlib import Path

from likewise import spec
from likewise.audit.duplicates import Copy, copies, thumbs
from likewise.audit.findings import COLUMNS, KINDS, TINY, Audit, Finding
from likewise.audit.labels import Outlier, Suspect, around, outliers, suspects
from likewise.audit.scenes import Scenes, scenes
from likewise.data.images import Images
from likewise.evaluate import Embeddings
from likewise.experiment.run import Run
from likewise.metrics.neighbours import Sim
from likewise.safety.spreadsheets import csv_text, read_rows, read_skipped

__all__ = [
    "COLUMNS",
    "TINY",
    "Audit",
    "Copy",
    "Finding",
    "Outlier",
    "Scenes",
    "Suspect",
    "audit",
    "read_findings",
    "write_csv",
]


def audit(run: Run, embeddings: Embeddings, images: Images | None) -> Audit:
    """Audit a run's embeddings and, if available, its images. Errors: ValueError for fewer than 3 images."""
    if len(embeddings) < 3:
        raise ValueError(f"{run.path} has {len(embeddings)} embeddings; an audit compares images and needs at least 3")
    if images is not None and images.ids != embeddings.ids:
        raise ValueError(f"the images are no longer those of {run.path}; run `likewise evaluate {run.path}` first")
    neighbours = around(embeddings, similarity(run))
    small = thumbs(images) if images is not None else None
    counts = embeddings.labels[embeddings.split == 0].bincount(minlength=len(embeddings.classes)).tolist()
    return Audit(
        run.name,
        embeddings,
        suspects(embeddings, neighbours),
        copies(images, small, neighbours) if images is not None else None,
        scenes(embeddings, small) if small is not None else Scenes(),
        outliers(neighbours),
        sorted(((c, n) for c, n in enumerate(counts) if 0 < n < TINY), key=lambda tiny: tiny[1]),
        skipped(run),
        images.drawn if images is not None else (),
    )


def similarity(run: Run) -> Sim:
    """The similarity of the run."""
    return spec.bind("sim", run.recipe.sim or "cosine")


def skipped(run: Run) -> list[tuple[str, str]]:
    """Images that could not be read, with the reason."""
    return read_skipped(run.path / "skipped.csv")


def write_csv(run: Run, result: Audit) -> Path:
    """Write audit.csv into the run folder, one line per finding, atomically."""
    rows = [COLUMNS, *(finding.row() for finding in result.findings())]
    return run.write("audit.csv", csv_text(rows, lineterminator="\n"))


def read_findings(path: Path) -> dict[str, tuple[str, ...]]:
    """The kinds of findings of each image in an audit.csv, by id; nothing where there is none. Errors: ValueError."""
    by_image: dict[str, tuple[str, ...]] = {}
    for row in read_rows(path)[1:]:
        if len(row) > 1 and row[0] in KINDS and row[1] and row[0] not in by_image.get(row[1], ()):
            by_image[row[1]] = (*by_image.get(row[1], ()), row[0])
    return by_image
