"""Audit: what is wrong with the data of a run, as a page with pictures and a CSV to act on.

Likely wrong labels, copies within and across the parts, scenes that a random split has torn apart, outliers, tiny
classes and broken files. Nothing is changed: what to do about a finding is the reader's choice.
"""

from pathlib import Path

from likewise import spec
from likewise.audit.duplicates import Copy, copies, thumbs
from likewise.audit.findings import COLUMNS, TINY, Audit, Finding
from likewise.audit.labels import Outlier, Suspect, around, outliers, suspects
from likewise.audit.scenes import Scenes, scenes
from likewise.data.images import Images
from likewise.evaluate import Embeddings
from likewise.experiment.run import Run
from likewise.metrics.neighbours import Sim
from likewise.safety.spreadsheets import csv_text, read_skipped

__all__ = ["COLUMNS", "TINY", "Audit", "Copy", "Finding", "Outlier", "Scenes", "Suspect", "audit", "write_csv"]


def audit(run: Run, found: Embeddings, images: Images | None) -> Audit:
    """Look at a run's embeddings and, where they are there, its pictures. Errors: ValueError for fewer than 3."""
    if len(found) < 3:
        raise ValueError(f"{run.path} has {len(found)} embeddings; an audit compares pictures and needs at least 3")
    if images is not None and images.ids != found.ids:
        raise ValueError(f"the pictures are no longer those of {run.path}; run `likewise evaluate {run.path}` first")
    near = around(found, similarity(run))
    small = thumbs(images) if images is not None else None
    counts = found.labels[found.split == 0].bincount(minlength=len(found.classes)).tolist()
    return Audit(
        run.name,
        found,
        suspects(found, near),
        copies(images, small, near) if images is not None else None,
        scenes(found, small) if small is not None else Scenes(),
        outliers(near),
        sorted(((c, n) for c, n in enumerate(counts) if 0 < n < TINY), key=lambda tiny: tiny[1]),
        skipped(run),
    )


def similarity(run: Run) -> Sim:
    """That of the run."""
    return spec.bind("sim", run.recipe.sim or "cosine")


def skipped(run: Run) -> list[tuple[str, str]]:
    """The pictures that could not be read, and why."""
    return read_skipped(run.path / "skipped.csv")


def write_csv(run: Run, told: Audit) -> Path:
    """audit.csv in the run folder, a line a finding, whole or not at all."""
    rows = [COLUMNS, *(finding.row() for finding in told.findings())]
    return run.write("audit.csv", csv_text(rows, lineterminator="\n"))
