"""A run that has ended, examined by the doctor."""

from likewise import spec
from likewise.doctor import Finding, Look, Setup, diagnose
from likewise.doctor.monitor import PICTURES, pair_auc, sample, vitals
from likewise.embeddings import Embeddings
from likewise.experiment.recipe import read_fields
from likewise.experiment.run import Run
from likewise.metrics.neighbours import Sim

__all__ = ["examine"]


def examine(run: Run) -> tuple[list[Finding], list[Look]]:
    """What is wrong with a run that has ended, and the looks it rests on.

    A run that was not watched has one last look, at its embeddings. Errors: ValueError when there are none either.
    """
    recipe = read_fields(run.recipe_file)
    kept = Embeddings.load(run.embeddings) if run.embeddings.exists() else None
    classes = len(kept.part("train").labels.unique()) if kept else 0
    setup = Setup.of(recipe, classes=classes or None)
    looks = [Look.of(record) for record in run.records() if record["kind"] == "health"]
    if not looks and kept:
        looks = [from_embeddings(run, kept, spec.bind("sim", setup.sim))]
    if not looks:
        raise ValueError(f"{run.path} holds no embeddings and no health records; run `likewise evaluate {run.path}`")
    return diagnose(looks, setup, patience=1), looks


def from_embeddings(run: Run, kept: Embeddings, sim: Sim) -> Look:
    """The last look of a run that was not watched."""
    train, val = few(kept.part("train") or kept), few(kept.part("val"))
    last = next((r for r in reversed(run.records()) if r["kind"] == "train"), {"step": 0, "epoch": 0.0, "loss": 0.0})
    said = vitals(train.vectors, train.labels, sim) | {"val_auc": pair_auc(val.vectors, val.labels, sim)}
    return Look.of(
        {
            **last,
            **said,
            "loss_at_collapse": run.metrics_or_nothing().get("loss_at_collapse"),
        }
    )


def few(part: Embeddings) -> Embeddings:
    return part.take(sample(part.labels, PICTURES))
