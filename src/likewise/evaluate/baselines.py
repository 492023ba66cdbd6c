"""What an embedding is compared with: raw values, other networks; the same queries, and the paired difference."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator, default_rng
from torch import Tensor

from likewise.data.images import Images
from likewise.data.within_class import place_in_class
from likewise.embeddings import Embeddings
from likewise.evaluate.measure import check_same, measure
from likewise.metrics import intervals
from likewise.metrics.intervals import Paired, Score
from likewise.safety.bounds import Record

__all__ = ["MAIN", "SIDE", "Compared", "Vectors", "compare_with", "is_better", "is_worse", "raw", "subset"]

MAIN = ("knn@1", "recall@1", "map@r")
SIDE = 32  # longest side in pixels of the images that raw pixels are taken from
RESAMPLES = 2_000  # of the paired test
LEVEL = 0.05
QUERIES = 3  # one image in so many of a capped subset is a query
LEAST_CLASSES = 10  # of a capped open set, where there are so many


class Vectors(NamedTuple):
    """Embeddings of queries and references, and the similarity they are compared by; no references: an open set."""

    query: Embeddings
    reference: Embeddings | None
    sim: str


class Compared(NamedTuple):
    """Scores of one method, and by how much the trained embedding is above it."""

    scores: dict[str, Score]
    difference: dict[str, Paired]


def compare_with(
    trained: Vectors, others: Mapping[str, Vectors], *, seed: int = 0
) -> tuple[dict[str, Score], dict[str, Compared]]:
    """Main scores of the trained embedding, and of the others with the paired difference: trained less other.

    Differences have their bootstrap interval and the p of the paired test, by classes in an open set, else by queries.
    Errors: ValueError where they are not of the same queries.
    """
    ours = measure(trained.query, trained.reference, sim=trained.sim, seed=seed, quick=True)
    ours = ours._replace(ratios={name: ours.ratios[name] for name in MAIN if name in ours.ratios})
    compared = {}
    for method, vectors in others.items():
        theirs = measure(vectors.query, vectors.reference, sim=vectors.sim, seed=seed, quick=True)
        check_same(ours, theirs)
        ratios = {name: theirs.ratios[name] for name in ours.ratios}
        difference = {
            name: intervals.paired(ours.ratios[name], ratios[name], ours.units, resamples=RESAMPLES, seed=seed)
            for name in ratios
        }
        compared[method] = Compared(intervals.bootstrap(ratios, ours.units, seed=seed), difference)
    return intervals.bootstrap(ours.ratios, ours.units, seed=seed), compared


def is_better(difference: Record) -> bool:
    """Whether trained less other is above 0 beyond doubt: by the interval and by the paired test."""
    return difference["low"] > 0 and difference["p"] <= LEVEL


def is_worse(difference: Record) -> bool:
    """Whether trained less other is below 0 beyond doubt."""
    return difference["high"] < 0 and difference["p"] <= LEVEL


def raw(query: Images, reference: Images | None, scale: Images) -> Vectors:
    """Raw values as embeddings: pixels of at most 32 x 32 under cosine, or standardised columns under euclidean.

    scale: the images (rows) that give mean and deviation of each column.
    """
    if len(query.shape) == 3:
        reference_rows = None if reference is None else rows(reference, pixels(reference))
        return Vectors(rows(query, pixels(query)), reference_rows, "cosine")
    values_ND = scale.batch(torch.arange(len(scale))).flatten(1).double().cpu()
    mean_D, std_D = values_ND.mean(0), values_ND.std(0, unbiased=False)
    std_D = torch.where(std_D > 1e-12, std_D, 1.0)

    def standard(images: Images) -> Embeddings:
        x_ND = images.batch(torch.arange(len(images))).flatten(1).double().cpu()
        return rows(images, ((x_ND - mean_D) / std_D).float())

    return Vectors(standard(query), None if reference is None else standard(reference), "euclidean")


def pixels(images: Images) -> Tensor:
    """Pixels of each image as a row, float32 `[N, C * h * w]`, with h and w at most SIDE."""
    sides = [min(side, SIDE) for side in images.shape[1:]]
    return torch.cat([small(images.batch(at).cpu(), sides) for at in torch.arange(len(images)).split(1024)])


def small(pixels_NCHW: Tensor, sides: list[int]) -> Tensor:
    x = pixels_NCHW.float()
    return (x if list(x.shape[2:]) == sides else F.interpolate(x, sides, mode="bilinear", antialias=True)).flatten(1)


def rows(images: Images, vectors_ND: Tensor) -> Embeddings:
    return Embeddings(vectors_ND, images.labels.cpu(), images.ids, images.split.cpu(), images.classes, images.groups)


def subset(
    labels_N: Tensor, query_Q: Tensor, reference_M: Tensor | None, most: int, *, seed: int = 0
) -> tuple[Tensor, Tensor | None]:
    """At most `most` of the queries and references, by their places in order; the same ones for the same seed.

    labels_N: of all images, 0 to C - 1. With references a third are queries, and references are spread evenly over
    classes; without any, whole classes are drawn, since a query needs others of its class.
    """
    rng = default_rng(seed)
    if len(query_Q) + (0 if reference_M is None else len(reference_M)) <= most:
        return query_Q, reference_M
    if reference_M is None:
        return _whole_classes(labels_N, query_Q, most, rng), None
    queries = min(len(query_Q), max(1, most // QUERIES))
    order_C = torch.from_numpy(rng.permutation(labels_N[reference_M].unique().numpy()))
    kept_C = order_C[: max(2, (most - queries) // 2)]
    query_Q = query_Q[torch.isin(labels_N[query_Q], kept_C)]
    query_Q = query_Q[torch.from_numpy(np.sort(rng.permutation(len(query_Q))[:queries]))]
    reference_M = reference_M[torch.isin(labels_N[reference_M], kept_C)]
    place_M = place_in_class(labels_N[reference_M].numpy(), rng)
    first_M = np.sort(np.argsort(place_M, kind="stable")[: most - len(query_Q)])
    return query_Q, reference_M[torch.from_numpy(first_M)]


def _whole_classes(labels_N: Tensor, query_Q: Tensor, most: int, rng: Generator) -> Tensor:
    """Images of classes drawn at random until there are `most`, of each no more than a tenth of these."""
    each = max(2, most // LEAST_CLASSES)
    class_N = labels_N[query_Q].numpy()
    count_C = np.minimum(np.bincount(class_N), each)
    order_C = rng.permutation(np.flatnonzero(count_C))
    fits_C = np.cumsum(count_C[order_C]) <= most
    fits_C[:2] = True
    kept_Q = np.isin(class_N, order_C[fits_C]) & (place_in_class(class_N, rng) < each)
    return query_Q[torch.from_numpy(kept_Q)]
