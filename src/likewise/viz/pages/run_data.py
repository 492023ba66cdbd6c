"""What a run folder holds, read for its report; what is missing is empty or None."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from likewise import spec
from likewise.data.images import Images
from likewise.evaluate import Embeddings
from likewise.experiment.pairs import kept_pairs
from likewise.experiment.recipe import read_fields
from likewise.experiment.run import Run
from likewise.safety.spreadsheets import read_skipped
from likewise.viz.pages.findings import Neighbours, Similarities, nearest, similarities
from likewise.viz.plots.style import Key, class_key

__all__ = ["RunData", "read", "snapshots"]


@dataclass(frozen=True)
class RunData:
    """One run, as far as its folder tells."""

    run: Run
    recipe: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    embeddings: Embeddings | None = None
    snapshots: dict[int, Embeddings] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    images: Images | None = None

    @property
    def open(self) -> bool:
        return bool(self.metrics.get("open"))

    @property
    def data(self) -> str:
        """Name of the source, without its numbers."""
        named = self.metrics.get("data", {})
        return named.get("name", "") if isinstance(named, dict) else str(named)

    @property
    def query(self) -> Embeddings | None:
        """The part that was measured: test, or validation where there is no test part."""
        return held_out(self.embeddings) if self.embeddings is not None else None

    @cached_property
    def similarities(self) -> Similarities | None:
        """Of the measured pairs: those kept in the run, where it kept any."""
        if self.query is None:
            return None
        split = self.metrics.get("split", "test")
        return similarities(self.query, self.sim, kept_pairs(self.run, self.query, split))

    @cached_property
    def neighbours(self) -> Neighbours | None:
        """Of each measured picture: among the training pictures, or among the others measured when classes are new."""
        if self.embeddings is None or self.query is None:
            return None
        train = self.embeddings.part("train")
        reference = None if self.open or not len(train) else train
        return nearest(self.query, reference, self.sim)

    @property
    def key(self) -> Key:
        """One colour a class, the same in every figure."""
        known = self.embeddings or next(iter(self.snapshots.values()), None)
        return class_key(known.labels.numpy(), len(known.classes)) if known is not None else {}

    @property
    def sim_name(self) -> str:
        return self.recipe.get("sim", "cosine")

    def sim(self, x_ND: Tensor, y_MD: Tensor) -> Tensor:
        """The similarity of the run."""
        return spec.bind("sim", self.sim_name)(x_ND, y_MD)

    def lines(self, kind: str, *keys: str) -> list[dict[str, Any]]:
        """The log lines of a kind that hold all of `keys`."""
        return [line for line in self.log if line.get("kind") == kind and all(k in line for k in keys)]


def read(path: str | Path, images: Images | None = None) -> RunData:
    """Everything that the report can show. Errors: ValueError when the folder is not a run."""
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
    """The kept embeddings by epoch, in order."""
    found = sorted((run.path / "snapshots").glob("epoch_*.parquet"))
    epochs = {path: path.stem.removeprefix("epoch_") for path in found}
    return {int(epoch): Embeddings.load(path) for path, epoch in epochs.items() if epoch.isascii() and epoch.isdigit()}


def held_out(embeddings: Embeddings) -> Embeddings | None:
    """The test part, else the validation part, else nothing."""
    parts = (embeddings.part(split) for split in ("test", "val"))
    return next((part for part in parts if len(part)), None)
