"""The class of an image by a vote of a run's own embeddings, or "unknown" at a promised false-accept rate."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from likewise.embeddings import Embeddings
from likewise.experiment.left_out import train_left_out
from likewise.experiment.lock import locked
from likewise.experiment.open_set import rescore
from likewise.experiment.run import Run
from likewise.gallery.calibrate import Promise
from likewise.gallery.decide import decide
from likewise.gallery.grounds import of_folds, of_run
from likewise.gallery.index import check_sim
from likewise.gallery.unseen import vectors_of
from likewise.metrics.exact import exact_interval
from likewise.safety.bounds import Fields, Record
from likewise.training.watch import Watch

__all__ = ["accuracy", "calibrate_run", "folder_classes", "predicted", "promise_of"]


def predicted(
    path: Path, place_K: list[int], sim_K: list[float], by: Embeddings, k: int, promised: Promise | None
) -> dict[str, object]:
    """One row of `predict`."""
    labels = [by.classes[int(by.labels[at])] for at in place_K]
    if promised is None:
        answer = decide(sim_K, labels, f"vote(k={k})", neighbours=k)
    else:
        answer = decide(sim_K, labels, f"vote(k={k})", promised.threshold, promised.calibration, neighbours=k)
    row: dict[str, object] = {"image": str(path), "class": answer.label, "votes": labels.count(str(answer.best))}
    if promised is not None:
        row |= {
            "nearest_class": answer.best,
            "probability": answer.probability,
            "threshold": answer.threshold,
            "far": promised.far,
            "far_interval": [promised.low, promised.high],
            "why": answer.why,
            "note": promised.note,
        }
    row["neighbours"] = [
        {"id": by.ids[place_K[n.place]], "class": n.label, "similarity": round(n.similarity, 6)}
        for n in answer.neighbours
    ]
    return row


def promise_of(run: Run, by: Embeddings, embeddings: Embeddings, k: int, far: float, sim: str) -> Promise:
    """The threshold of a false-accept rate among `by`, on images of classes that the run was not trained on.

    found: the embeddings of all images of the run. See `gallery.unseen`.
    """
    rule = f"vote(k={k})"
    return of_run(run, vectors_of(by), embeddings, sim=check_sim(sim), rule=rule).promise(far, rule)


def calibrate_run(
    run: str | os.PathLike,
    *,
    folds: int = 0,
    fars: Sequence[float] = (0.1, 0.05, 0.01),
    k: int = 5,
    watch: Watch | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> list[Fields]:
    """Train a run's recipe again without some of its classes, so that "unknown" holds a promised false-accept rate.

    The vectors are kept in the run's folder; `predict` with far, and galleries of the run, use them from then on,
    and dir@far and oscr of metrics.json are of them.
    folds: trainings; 0 is 10, or one a class where they are fewer. fars: rates whose thresholds are returned, by a
    vote of the k nearest. watch gets the records of each training, say a sentence before it.
    Errors: ValueError for fewer than three classes, changed data, or a rate that so few images cannot promise.
    """
    opened, rule = Run.open(run), f"vote(k={k})"
    wrong = [far for far in fars if not 0 < far < 1]
    if wrong or k < 1:
        raise ValueError(
            f"a rate lies inside 0 and 1, such as 0.05, and k is 1 or more; got {wrong[0] if wrong else k}"
        )
    train_left_out(opened, folds, watch=watch, say=say)
    with locked(opened.path):
        rescore(opened)
    basis = of_folds(opened, sim=check_sim(opened.recipe.sim), rule=rule)
    return [basis.promise(far, rule).as_json() for far in fars]


def folder_classes(
    paths: Sequence[Path], given: Sequence[str | os.PathLike], classes: Sequence[str]
) -> list[str | None]:
    """The class that the folder of each image names, where the image was found below a given folder; else None.

    It is the folder's path below the given one (`Fruit/Apple`), its last name, or the given folder's own name,
    whichever is a class first.
    """
    known, tops = frozenset(classes), [Path(top) for top in given if Path(top).is_dir()]
    known_classes: list[str | None] = []
    for path in paths:
        names: list[str] = []
        for top in tops:
            if path.is_relative_to(top):
                below = path.relative_to(top).parent
                names += [below.as_posix(), below.name or top.resolve().name]
        known_classes.append(next((name for name in names if name in known), None))
    return known_classes


def accuracy(predictions: Sequence[Record]) -> dict[str, object] | None:
    """The share of images predicted as their folder says, with the exact binomial 95 % interval; None without such."""
    rows = [row for row in predictions if "folder_class" in row]
    if not rows:
        return None
    right = sum(row["class"] == row["folder_class"] for row in rows)
    low, high = exact_interval(right, len(rows))
    others = len(predictions) - len(rows)
    return {"value": right / len(rows), "low": low, "high": high, "n": len(rows), "right": right, "others": others}
