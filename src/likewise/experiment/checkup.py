"""Diagnosis of a finished run."""

from likewise import spec
from likewise.doctor import Finding, Observation, Setup, diagnose
from likewise.doctor.monitor import PER_PART, pair_auc, sample, vitals
from likewise.embeddings import Embeddings
from likewise.evaluate.caveats import validation_caveat
from likewise.experiment.caveats import other_validation
from likewise.experiment.recipe import read_fields
from likewise.experiment.run import Run
from likewise.metrics.neighbours import Sim
from likewise.safety.bounds import Record

__all__ = ["examine"]


def examine(run: Run, *, metrics: Record | None = None) -> tuple[list[Finding], list[Observation]]:
    """Diagnose a finished run; returns the findings and the observations they are based on.

    metrics: instead of the run's metrics.json. A run without health records gets one observation, of its embeddings.
    Errors: ValueError without those.
    """
    recipe = read_fields(run.recipe_file)
    saved = run.metrics_or_nothing() if metrics is None else metrics
    embeddings = Embeddings.load(run.embeddings) if run.embeddings.exists() else None
    classes = len(embeddings.part("train").labels.unique()) if embeddings else 0
    setup = Setup.of(recipe, classes=classes or None)
    observations = [Observation.of(record) for record in run.records() if record["kind"] == "health"]
    if not observations and embeddings:
        observations = [from_embeddings(run, embeddings, spec.bind("sim", setup.sim))]
    if not observations:
        raise ValueError(f"{run.path} has no embeddings and no health records; run `likewise evaluate {run.path}`")
    return [*diagnose(observations, setup, patience=1), *after_scoring(saved, embeddings)], observations


def after_scoring(metrics: Record, embeddings: Embeddings | None) -> list[Finding]:
    """What only the scores tell: a validation part far above the test part."""
    val, test, grouped = metrics.get("val"), metrics.get("scores"), embeddings is not None and bool(embeddings.groups)
    if metrics.get("split") != "test" or not val or not test:
        return []
    happening, _, change = validation_caveat(val, test, way=other_validation(grouped)).rpartition("; ")
    return [Finding("validation-above-test", happening, change)] if happening else []


def from_embeddings(run: Run, embeddings: Embeddings, sim: Sim) -> Observation:
    """Observation of a run without health records."""
    train, val = few(embeddings.part("train") or embeddings), few(embeddings.part("val"))
    last = next((r for r in reversed(run.records()) if r["kind"] == "train"), {"step": 0, "epoch": 0.0, "loss": 0.0})
    scores = vitals(train.vectors, train.labels, sim) | {"val_auc": pair_auc(val.vectors, val.labels, sim)}
    return Observation.of(
        {
            **last,
            **scores,
            "loss_at_collapse": run.metrics_or_nothing().get("loss_at_collapse"),
        }
    )


def few(part: Embeddings) -> Embeddings:
    return part.take(sample(part.labels, PER_PART))
