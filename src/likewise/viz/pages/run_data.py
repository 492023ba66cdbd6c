"""Contents of a run folder, read for its report; missing files give empty values or None."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from torch import Tensor

from likewise import spec
from likewise.data.images import Images
from likewise.evaluate import Embeddings
from likewise.experiment.recipe import read_fields
from likewise.experiment.run import Run
from likewise.experiment.thresholds import kept_pairs
from likewise.safety.bounds import Fields
from likewise.safety.spreadsheets import read_skipped
from likewise.viz.pages.findings import Neighbours, Similarities, nearest, similarities
from likewise.viz.plots.style import Key, class_key

__all__ = ["RunData", "read", "snapshots"]


@dataclass(frozen=True)
class RunData:
    """Data of one run."""

    run: Run
    recipe: Fields = field(default_factory=dict)
    metrics: Fields = field(default_factory=dict)
    log: list[dict[str, object]] = field(default_factory=list)
    embeddings: Embeddings | None = None
    snapshots: dict[int, Embeddings] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    images: Images | None = None

    @property
    def open(self) -> bool:
        return bool(self.metrics.get("open"))

    @property
    def data(self) -> str:
        """Name of the data source."""
        named = self.metrics.get("data", {})
        return named.get("name", "") if isinstance(named, dict) else str(named)

    @property
    def query(self) -> Embeddings | None:
        """The evaluated part: test, or validation without a test part."""
        return held_out(self.embeddings) if self.embeddings is not None else None

    @cached_property
    def similarities(self) -> Similarities | None:
        """Similarities of the evaluated pairs saved with the run, or of drawn pairs."""
        if self.query is None:
            return None
        split = self.metrics.get("split", "test")
        return similarities(self.query, self.sim, kept_pairs(self.run, self.query, split))

    @cached_property
    def neighbours(self) -> Neighbours | None:
        """Nearest neighbours of each query: training images, or the other queries in an open set."""
        if self.embeddings is None or self.query is None:
            return None
        train = self.embeddings.part("train")
        reference = None if self.open or not len(train) else train
        return nearest(self.query, reference, self.sim)

    @property
    def key(self) -> Key:
        """Style of each class, the same in every figure."""
        known = self.embeddings or next(iter(self.snapshots.values()), None)
        return class_key(known.labels.numpy(), len(known.classes)) if known is not None else {}

    @property
    def sim_name(self) -> str:
        return self.recipe.get("sim", "cosine")

    def sim(self, x_ND: Tensor, y_MD: Tensor) -> Tensor:
        """The similarity of the run."""
        return spec.bind("sim", self.sim_name)(x_ND, y_MD)

    def lines(self, kind: str, *keys: str) -> list[Fields]:
        """Log records of a kind that contain all `keys`."""
        return [line for line in self.log if line.get("kind") == kind and all(k in line for k in keys)]


def read(path: str | Path, images: Images | None = None) -> RunData:
    """Read a run for its report. Errors: ValueError if the folder is not a run."""
    run = Run.open(path)
    return RunData(
        run,
        recipe=read_fields(run.recipe_file),
        metrics=run.metrics_or_nothing(),
        log=run.records(),
        embeddings=Embeddings.load(run.embeddings) if run.embeddings.exists() else None,
        snapshots=snapshots(run),
        skipped=read_skipped(run.path / "skipped.csv"),
        images=images,
    )


def snapshots(run: Run) -> dict[int, Embeddings]:
    """Saved embeddings by epoch, in order."""
    paths = sorted((run.path / "snapshots").glob("epoch_*.parquet"))
    epochs = {path: path.stem.removeprefix("epoch_") for path in paths}
    return {int(epoch): Embeddings.load(path) for path, epoch in epochs.items() if epoch.isascii() and epoch.isdigit()}


def held_out(embeddings: Embeddings) -> Embeddings | None:
    """The test part, or the validation part without one, or None."""
    parts = (embeddings.part(split) for split in ("test", "val"))
    return next((part for part in parts if len(part)), None)
