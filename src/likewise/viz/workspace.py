"""All pages of a run, written at the end of its training, and which of these are worth their time."""

from collections.abc import Callable
from pathlib import Path

from likewise.audit import Audit, audit, write_csv
from likewise.data.images import Images
from likewise.embeddings import Embeddings
from likewise.experiment.build import load_images
from likewise.experiment.compare import Comparison
from likewise.experiment.page_cost import POINTS, map_method, worth_an_audit
from likewise.experiment.run import Run
from likewise.experiment.verdict import keep_audit
from likewise.viz.pages.audit import write_audit
from likewise.viz.pages.comparison import write_comparison
from likewise.viz.pages.doctor import write_doctor
from likewise.viz.pages.flips import compared_epochs, compared_runs, write_flips
from likewise.viz.pages.map import write_map
from likewise.viz.pages.report import write_report
from likewise.viz.pages.workspace import PAGES, is_current, relink

__all__ = [
    "audit_run",
    "available",
    "complete",
    "write_comparison_workspace",
    "write_flips_of",
    "write_workspace",
]


def write_workspace(run: Run, images: Images | None) -> None:
    """Write report, map and doctor, and the audit where it costs less than a tenth of the training.

    A map is drawn by t-SNE where that costs as little, else by PCA; `likewise map` draws it anew.
    """
    seconds = float(run.metrics_or_nothing().get("seconds", 0.0))
    embeddings = Embeddings.load(run.embeddings)
    write_doctor(run)
    if images is not None and worth_an_audit(len(embeddings), seconds):
        audit_run(run, images)
    write_map(run, images, method=map_method(len(embeddings), seconds), most=POINTS)
    write_report(run.path, images)
    relink(run)


def complete(folder: Path) -> list[str]:
    """Write the pages that a run lacks, or has from an earlier version, and return their names.

    The folder of a comparison is left as it is.
    Errors: ValueError for a folder that is neither, or a run that was never evaluated.
    """
    if (folder / "compare.html").is_file():
        return []
    run = Run.open(folder)
    run.metrics()
    missing = [name for name in PAGES if not is_current(run.path / name)]
    images = matching(run) if missing else None
    writers: dict[str, Callable[[], object]] = {
        "doctor.html": lambda: write_doctor(run),
        "audit.html": lambda: audit_run(run, images),
        "map.html": lambda: write_map(run, images, most=POINTS),
        "report.html": lambda: write_report(run.path, images),
    }
    for name, write in writers.items():
        if name in missing:
            write()
    relink(run)
    return missing


def write_flips_of(run: Path, second: Path | None, epochs: tuple[int, int] | None) -> Path:
    """Write flips.html: of two runs into the second's folder, of two epochs into the run's.

    Errors: ValueError as `compared_runs` and `compared_epochs`, or for the folder of a comparison.
    """
    if epochs is not None:
        opened = Run.open(run)
        path = write_flips(opened, compared_epochs(opened, *epochs), matching(opened))
    else:
        first, opened = Run.open(run), Run.open(second or run)
        path = write_flips(opened, compared_runs(first, opened), matching(opened), other=first)
    relink(opened)
    return path


def write_comparison_workspace(comparison: Comparison) -> list[Path]:
    """Write the pages of a comparison, and report and doctor of each method's first run; returns the former."""
    runs = [row.runs[0] for row in comparison.rows]
    images = available(runs[0])
    for run in runs:
        write_doctor(run)
        write_report(run.path, images)
    paths = write_comparison(comparison, images)
    for run in runs:
        relink(run)
    return paths


def available(run: Run) -> Images | None:
    """The images of a run; None where the data are no longer there."""
    try:
        return load_images(run.recipe)
    except (ValueError, FileNotFoundError):
        return None


def matching(run: Run) -> Images | None:
    """The images of a run; None also where they are no longer those that were embedded."""
    images = available(run)
    if images is None or not run.embeddings.exists():
        return images
    return images if images.ids == Embeddings.load(run.embeddings).ids else None


def audit_run(run: Run, images: Images | None) -> Audit:
    """Audit a run: audit.csv, audit.html, and what it counts in metrics.json. Errors: as `likewise.audit.audit`."""
    result = audit(run, Embeddings.load(run.embeddings), images)
    write_csv(run, result)
    keep_audit(run, result.counts)
    write_audit(run, result, images)
    relink(run)
    return result
