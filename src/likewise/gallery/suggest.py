"""Unlabelled images that the gallery does not know, in clusters that are proposed as new classes.

Complete linkage: images join a cluster as long as every pair in it is similar enough, so that a cluster holds no chain
of ever less similar images. Enough is what agrees best with the classes that are enrolled: the similarity at which the
same linkage of their images has the highest F1 over pairs. Where no class has two images, it is the threshold of
"unknown".
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from likewise.gallery import enrollment, naming
from likewise.gallery.index import prepare, similarities
from likewise.gallery.opened import Opened
from likewise.gallery.quality import Finding, content_of

__all__ = ["MOST", "Cluster", "Suggested", "best_cut", "clusters", "suggest"]

MOST = 10_000  # images in one call: their similarities to one another are held in memory
SAMPLE = 1500  # enrolled images by which the cut is chosen
CUTS = 50
NAME = "suggested-{:03d}"


class Cluster(NamedTuple):
    """Images that may be a class."""

    name: str
    size: int
    cohesion: float  # mean similarity of its pairs
    example: str  # the image most similar to the others
    images: list[str]


class Suggested(NamedTuple):
    """What is proposed, and what became of the other images."""

    clusters: list[Cluster]
    known: list[str]  # named by the gallery, or enrolled
    single: list[str]  # unknown, and in clusters smaller than was asked for
    unreadable: list[Finding]
    threshold: float  # below which an image is unknown
    cut: float  # the least similarity of a pair in a cluster
    enrolled: int = 0


def suggest(
    gallery: Opened,
    images: Sequence[str | os.PathLike],
    *,
    far: float | None,
    smallest: int,
    enroll: bool,
) -> Suggested:
    """See `Gallery.suggest`."""
    if smallest < 2:
        raise ValueError(f"smallest is the number of images of a cluster, from 2; got {smallest}")
    paths, unreadable = _readable(images)
    if len(paths) > MOST:
        raise ValueError(f"{len(paths):,} images are more than the {MOST:,} of one call; give them in parts")
    threshold = naming.threshold(gallery, far)
    enrolled = gallery.store.find("content", paths)
    rest = {content: path for content, path in paths.items() if content not in enrolled}
    known = [path for content, path in paths.items() if content in enrolled]
    if not rest:
        return Suggested([], known, [], unreadable, threshold, threshold)
    state, vectors_ND, _ = gallery.asked(list(rest.values()))
    answers = naming.identify(gallery, list(vectors_ND), far=far, where=())
    unknown = [i for i, answer in enumerate(answers) if answer.label is None]
    names = list(rest.values())
    known += [names[i] for i, answer in enumerate(answers) if answer.label is not None]
    cut = best_cut(state.index.prepared, state.labels[: len(state.index)], state.sim, threshold)
    clusters, single = _clusters(vectors_ND[unknown], [names[i] for i in unknown], cut, state.sim, smallest)
    taken = set(state.labels)
    free = (name for i in range(1, len(clusters) + len(taken) + 2) if (name := NAME.format(i)) not in taken)
    clusters = [one._replace(name=name) for one, name in zip(clusters, free, strict=False)]
    count = 0
    if enroll and clusters:
        labels = [one.name for one in clusters for _ in one.images]
        listed = [image for one in clusters for image in one.images]
        given = {"ids": None, "metadata": None, "groups": None}
        count = len(enrollment.enroll(gallery, listed, labels, gate="off", **given).added)
    return Suggested(clusters, known, single, unreadable, threshold, cut, count)


def _readable(images: Sequence[str | os.PathLike]) -> tuple[dict[str, str], list[Finding]]:
    """Images by the hash of their bytes, each once; and those that cannot be read."""
    from likewise.export.reading import sides

    readable: dict[str, str] = {}
    unreadable = []
    for image in images:
        path = os.fspath(image)
        try:
            sides(path)
            readable.setdefault(content_of(path), path)
        except ValueError as error:
            unreadable.append(Finding(path, str(error), False))
    return readable, unreadable


def clusters(vectors_ND: np.ndarray, threshold: float, sim: str) -> np.ndarray:
    """The cluster of each vector, int64 `[N]` from 0: complete linkage cut where the least similar pair is below."""
    from scipy.cluster.hierarchy import fcluster

    if len(vectors_ND) < 2:
        return np.zeros(len(vectors_ND), np.int64)
    tree, highest = _linked(vectors_ND, sim)
    return fcluster(tree, (highest - threshold) * (1 + 1e-9), "distance").astype(np.int64) - 1


def _linked(vectors_ND: np.ndarray, sim: str) -> tuple[np.ndarray, float]:
    """The tree of a complete linkage, whose heights are what the least similar pair lacks to the highest similarity."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    sim_NN = similarities(vectors_ND, prepare(vectors_ND, sim), sim).astype(np.float64)
    sim_NN = (sim_NN + sim_NN.T) / 2
    far_NN = sim_NN.max() - sim_NN
    np.fill_diagonal(far_NN, 0)
    return linkage(squareform(far_NN, checks=False), "complete"), float(sim_NN.max())


def best_cut(prepared_ND: np.ndarray, labels: Sequence[str], sim: str, otherwise: float) -> float:
    """The similarity at which clusters of labelled images agree best with their classes, by the F1 over pairs.

    Of more than 1,500 images a sample is looked at, at 50 cuts. otherwise: the answer where no class has two images.
    """
    from scipy.cluster.hierarchy import fcluster

    rows = np.random.default_rng(0).permutation(len(labels))[:SAMPLE]
    class_N = np.unique(np.asarray(labels, dtype=object)[rows].astype(str), return_inverse=True)[1]
    together = _pairs(class_N)
    if not together:
        return otherwise
    tree, highest = _linked(prepared_ND[rows], sim)
    best = (-1.0, 0.0)
    for height in np.unique(np.quantile(tree[:, 2], np.linspace(0, 1, CUTS))).tolist():
        place_N = fcluster(tree, height, "distance").astype(np.int64)
        both = _pairs(place_N * (class_N.max() + 1) + class_N)
        best = max(best, (2 * both / max(_pairs(place_N) + together, 1), -height))
    return highest + best[1]


def _pairs(of_N: np.ndarray) -> int:
    """How many pairs have the same value."""
    counts = np.unique(of_N, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def _clusters(
    vectors_ND: np.ndarray, names: Sequence[str], threshold: float, sim: str, smallest: int
) -> tuple[list[Cluster], list[str]]:
    """Clusters, the largest first and of equal ones the most coherent; and the images of smaller ones."""
    place_N = clusters(vectors_ND, threshold, sim)
    groups, single = [], []
    for at in np.unique(place_N).tolist():
        rows = np.flatnonzero(place_N == at)
        images = [names[i] for i in rows.tolist()]
        if len(rows) < smallest:
            single += images
            continue
        sim_KK = similarities(vectors_ND[rows], prepare(vectors_ND[rows], sim), sim)
        others_K = (sim_KK.sum(1) - np.diag(sim_KK)) / (len(rows) - 1)
        groups.append(Cluster("", len(rows), float(others_K.mean()), images[int(others_K.argmax())], images))
    return sorted(groups, key=lambda one: (-one.size, -one.cohesion, one.example)), single
