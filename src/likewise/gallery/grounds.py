"""The trials that a gallery's threshold, and that of a run, are calibrated with; reading what the run kept for it."""

from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from likewise.gallery.calibrate import Trials, leave_out
from likewise.gallery.unseen import FOLDS, Basis, Vectors, basis, trials_of_folds, vectors_of, without_these

if TYPE_CHECKING:
    from likewise.embeddings import Embeddings
    from likewise.experiment.run import Run
    from likewise.gallery.encoder import Encoder

__all__ = ["kept_folds", "of_folds", "of_gallery", "of_run"]

GALLERY = "the gallery, each class left out"


def of_gallery(encoder: "Encoder | None", enrolled: Vectors, *, sim: str, rule: str) -> Basis:
    """What a gallery's threshold is calibrated with. encoder: None where the model is elsewhere.

    Errors: ValueError where files of the model's run are damaged.
    """

    def left_out(queries: Vectors, references: Vectors | None) -> Trials:
        vectors, labels = (None, queries.labels) if references is None else references
        return leave_out(queries.vectors, queries.labels, vectors, labels, sim=sim, rule=rule)

    known, trained = left_out(enrolled, None), set(encoder.classes if encoder else ())
    classes = set(enrolled.labels)
    if not trained & classes:
        return Basis(known, GALLERY)
    run = run_of(encoder)
    if run is None:
        model = "RUN/export/model.onnx" if encoder and encoder.path.endswith(".onnx") else "RUN"
        how = f"run `likewise calibrate RUN` for its run, then `likewise gallery calibrate GALLERY --model {model}`"
        return basis(known, trained, source=GALLERY, how=how)
    held_out = validation(run, enrolled.vectors.shape[1])
    new = held_out.without(trained | classes)
    again = held_out.among(trained & classes)
    if again.labels and not new.labels:  # what it was not trained on of the classes that it was trained on
        rest = without_these(enrolled, again)
        if set(rest.labels) >= set(again.labels):
            left_out_classes = left_out(again, rest)
            known = known._replace(
                genuine=left_out_classes.genuine,
                right=left_out_classes.right,
                genuine_class=left_out_classes.genuine_class,
            )
    return basis(
        known,
        trained,
        source=GALLERY,
        further=left_out(new, enrolled) if new.labels else None,
        folds=trials_of_folds(folds_of(run), Counter(enrolled.labels), sim=sim, rule=rule),
        how=f"run `likewise calibrate RUN` for its run {run.name}, then `likewise gallery calibrate GALLERY`",
    )


def of_run(run: "Run", by: Vectors, embeddings: "Embeddings", *, sim: str, rule: str) -> Basis:
    """What the threshold of a run's own `predict` is calibrated with.

    by: what images are compared with. found: the embeddings of all of the run's images, of which the test part takes
    no part. Errors: ValueError where the run has no validation images.
    """
    val, trained = (
        vectors_of(embeddings.part("val")),
        {embeddings.classes[i] for i in embeddings.part("train").labels.tolist()},
    )
    if not val.labels:
        raise ValueError(f"{run.path} has no validation images to choose a threshold by; train with val=0.1")
    known = leave_out(val.vectors, val.labels, by.vectors, by.labels, sim=sim, rule=rule)
    return basis(
        known,
        trained,
        source=f"validation images of {run.name}",
        folds=trials_of_folds(folds_of(run), None, sim=sim, rule=rule),
        how=f"run `likewise calibrate {run.path}`",
    )


def of_folds(run: "Run", *, sim: str, rule: str) -> Basis:
    """The run's own trainings without some of the classes. Errors: ValueError where they are not all there."""
    trials = trials_of_folds(folds_of(run), None, sim=sim, rule=rule)
    if trials is None:
        raise ValueError(
            f"{run.path} has no trainings without some of its classes; run `likewise calibrate {run.path}`"
        )
    return Basis(trials, FOLDS)


def run_of(encoder: "Encoder | None") -> "Run | None":
    """The run of a model; None where it is gone, or cannot be read without torch."""
    if encoder is None or encoder.run is None or find_spec("torch") is None:
        return None
    from likewise.experiment.run import Run

    return Run(encoder.run)


def validation(run: "Run", dim: int) -> Vectors:
    """The run's validation images as its model embeds them; none where it was not evaluated."""
    from likewise.embeddings import Embeddings

    part = Embeddings.load(run.embeddings).part("val") if run.embeddings.is_file() else None
    if part is None or not len(part) or part.vectors.shape[1] != dim:
        return Vectors(np.zeros((0, dim), np.float32), [])
    return vectors_of(part)


def kept_folds(encoder: "Encoder | None") -> int:
    """How many files of trainings without some of the classes the model's run holds; found without torch."""
    folder = encoder and encoder.run and encoder.run / "left_out"
    return len(list(folder.glob("*.parquet"))) if folder else 0


def folds_of(run: "Run") -> "list[Embeddings]":
    from likewise.experiment.left_out import left_out

    return left_out(run)
