"""The class of an image by a vote of a run's own embeddings, or "unknown" at a promised false-accept rate."""

import os
from collections.abc import Sequence
from pathlib import Path

from likewise.embeddings import Embeddings
from likewise.experiment.run import Run
from likewise.gallery.calibrate import Promise, calibrate, leave_out
from likewise.gallery.decide import decide
from likewise.gallery.index import check_sim
from likewise.metrics.exact import exact_interval
from likewise.safety.bounds import Record

__all__ = ["accuracy", "folder_classes", "predicted", "promise_of"]


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
        }
    row["neighbours"] = [
        {"id": by.ids[place_K[n.place]], "class": n.label, "similarity": round(n.similarity, 6)}
        for n in answer.neighbours
    ]
    return row


def promise_of(run: Run, by: Embeddings, val: Embeddings, k: int, far: float, sim: str) -> Promise:
    """The threshold of a false-accept rate on a run's validation images, each with its own class left out."""
    if not len(val):
        raise ValueError(f"{run.path} has no validation images to choose a threshold by; train with val=0.1")
    trials = leave_out(
        val.vectors.numpy(),
        [val.classes[i] for i in val.labels.tolist()],
        by.vectors.numpy(),
        [by.classes[i] for i in by.labels.tolist()],
        sim=check_sim(sim),
        rule=f"vote(k={k})",
    )
    return calibrate(trials, far, rule=f"vote(k={k})", source=f"validation images of {run.name}")


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
