"""Encodings: what images are named by. All vectors of a class, some, or their mean; and how well they name."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from numpy.random import default_rng

from likewise import spec
from likewise.data.within_class import place_in_class
from likewise.embeddings import Embeddings, check
from likewise.metrics import intervals, retrieval
from likewise.metrics.classification import centroids
from likewise.metrics.intervals import Score
from likewise.metrics.retrieval import Set

__all__ = ["at_most", "centres", "naming", "numbered_as"]

KS = (1, 5)


def at_most(embeddings: Embeddings, most: int, *, seed: int = 0) -> Embeddings:
    """So many of each class, drawn by the seed, in the order they had; all of a class that has fewer.

    Errors: ValueError for less than 1.
    """
    if most < 1:
        raise ValueError(f"of each class 1 image or more is kept, got {most}")
    place_N = place_in_class(embeddings.labels.numpy(), default_rng(seed))
    return embeddings.take(torch.from_numpy((place_N < most).nonzero()[0]))


def centres(embeddings: Embeddings) -> Embeddings:
    """The mean vector of each class, under the name of the class. A mean of vectors of length 1 is shorter than 1."""
    vectors_CD, labels_C = centroids(embeddings.vectors, embeddings.labels)
    first_C = [int((embeddings.labels == label).nonzero()[0]) for label in labels_C]
    ids = tuple(embeddings.classes[label] for label in labels_C.tolist())
    return replace(embeddings.take(first_C), vectors=vectors_CD, ids=ids, groups=None)


def numbered_as(embeddings: Embeddings, classes: Sequence[str]) -> Embeddings:
    """The same with its classes numbered as `classes` has them, and those it lacks behind."""
    ours = set(classes)
    every = (*classes, *(name for name in embeddings.classes if name not in ours))
    place = {name: i for i, name in reversed([*enumerate(every)])}
    number_C = torch.tensor([place[name] for name in embeddings.classes], dtype=torch.int64)
    return replace(embeddings, labels=number_C[embeddings.labels], classes=every)


def naming(query: Embeddings, known: Embeddings, *, sim: str = "cosine", seed: int = 0) -> dict[str, Score]:
    """How well encodings name images: `top@1`, and `top@5` where any of the five nearest is of the right class.

    Queries whose class has no encoding are left out. Errors: ValueError when no class of the queries has one.
    """
    known = numbered_as(known, query.classes)
    check(query, known)
    if not torch.isin(query.labels, known.labels).any():
        raise ValueError("the encodings are of other classes than the images to be named: take those of this run")
    parts = [Set(part.vectors, part.labels) for part in (query, known)]
    names = {f"top@{k}": f"recall@{k}" for k in KS if k <= len(known)}
    measured = retrieval.measure(list(names.values()), *parts, sim=spec.bind("sim", sim))
    ratios = {top: intervals.mean(measured.values[name], measured.query, len(query)) for top, name in names.items()}
    return intervals.bootstrap(ratios, seed=seed)
