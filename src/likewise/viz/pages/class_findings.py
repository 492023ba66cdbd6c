"""Classes against one another: who is taken for whom, how similar they are, and an order that puts like beside like."""

from typing import NamedTuple

import numpy as np
import torch

from likewise.metrics.neighbours import Sim
from likewise.viz.pages.findings import Neighbours, spaced

__all__ = ["ClassMatrix", "Tree", "class_matrix", "class_similarity", "confusion", "most_confused", "tree"]

MOST = 100  # classes of a matrix
IMAGES = 20  # of a class whose similarities are averaged
STEM = 0.1  # of the range of similarities, drawn before the first join


class Tree(NamedTuple):
    """A dendrogram: the order of its leaves, and where each join is drawn."""

    order: np.ndarray  # [C], leaves from top to bottom
    place: np.ndarray  # [C-1, 4], corners of each join along the leaves; leaf n of the order lies at n
    height: np.ndarray  # [C-1, 4], the similarity at each of these corners; leaves lie above the highest


class ClassMatrix(NamedTuple):
    """The classes shown, in the order of the tree, with their counts and similarities."""

    classes: np.ndarray  # [C], indices into the names of the classes
    counts: np.ndarray  # [C, C], queries of the row's class whose nearest neighbour is of the column's
    queries: np.ndarray  # [C], all queries of a class
    similarity: np.ndarray  # [C, C], mean over pairs of images; NaN on the diagonal of a class of one image
    tree: Tree
    of: int  # classes of the run that have images
    errors: int  # of the run


def confusion(true_Q: np.ndarray, named_Q: np.ndarray, classes: int) -> np.ndarray:
    """How many queries of each class (row) have a nearest neighbour of each class (column), [C, C]."""
    return np.bincount(true_Q * classes + named_Q, minlength=classes * classes).reshape(classes, classes)


def most_confused(true_Q: np.ndarray, named_Q: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the classes that occur, those in most errors (as either class); in ascending order."""
    present, place = np.unique(np.concatenate([true_Q, named_Q]), return_inverse=True)
    wrong_Q = true_Q != named_Q
    involved_C = np.bincount(place[np.tile(wrong_Q, 2)], minlength=len(present))
    return np.sort(present[np.argsort(-involved_C, kind="stable")[:most]])


def class_similarity(vectors_by_class: list[torch.Tensor], sim: Sim) -> np.ndarray:
    """Mean similarity over the pairs of images of two classes, [C, C]; an image is not compared with itself."""
    x_ND = torch.cat(vectors_by_class)
    sim_NN = sim(x_ND, x_ND).double().numpy()
    size_C = np.array([len(one) for one in vectors_by_class])
    of_NC = np.repeat(np.eye(len(size_C)), size_C, axis=0)
    total_CC, pairs_CC = of_NC.T @ sim_NN @ of_NC, np.outer(size_C, size_C).astype(float)
    total_CC -= np.diag(of_NC.T @ np.diag(sim_NN))
    pairs_CC -= np.diag(size_C)
    return np.divide(total_CC, pairs_CC, out=np.full(total_CC.shape, np.nan), where=pairs_CC > 0)


def tree(sim_CC: np.ndarray) -> Tree:
    """Average-linkage clustering of classes by similarity, leaves ordered so that neighbours are most alike.

    sim_CC: symmetric; its diagonal is not read. Needs two classes or more.
    Optimal order of the leaves: Bar-Joseph et al., 2001, https://doi.org/10.1093/bioinformatics/17.suppl_1.S22
    """
    from scipy.cluster.hierarchy import dendrogram, linkage
    from scipy.spatial.distance import squareform

    between = sim_CC[~np.eye(len(sim_CC), dtype=bool)]
    top = float(between.max() + STEM * (np.ptp(between) or 1.0))
    distance_CC = top - (sim_CC + sim_CC.T) / 2
    np.fill_diagonal(distance_CC, 0.0)
    merges = linkage(squareform(distance_CC.clip(min=0), checks=False), "average", optimal_ordering=True)
    drawn = dendrogram(merges, no_plot=True)
    # SciPy places leaf n at 10 n + 5
    return Tree(np.array(drawn["leaves"]), (np.array(drawn["icoord"]) - 5) / 10, top - np.array(drawn["dcoord"]))


def class_matrix(nn: Neighbours, sim: Sim, *, most: int = MOST) -> ClassMatrix | None:
    """Counts and similarities of at most `most` classes, the most confused ones where there are more.

    None for fewer than two classes, or embeddings that are not finite.
    """
    true_Q, named_Q = nn.query.labels.numpy(), nn.named
    present = np.union1d(true_Q, named_Q)
    finite = bool(nn.query.vectors.isfinite().all() and nn.reference.vectors.isfinite().all())
    if len(present) < 2 or not finite:
        return None
    shown = most_confused(true_Q, named_Q, most)
    inside_Q = np.isin(true_Q, shown) & np.isin(named_Q, shown)
    row_Q, column_Q = (np.searchsorted(shown, labels[inside_Q]) for labels in (true_Q, named_Q))
    counts_CC = confusion(row_Q, column_Q, len(shown))
    sim_CC = class_similarity([images_of(nn, int(c)) for c in shown], sim)
    order = (drawn := tree(sim_CC)).order
    both, queries = np.ix_(order, order), np.array([(true_Q == c).sum() for c in shown])
    return ClassMatrix(
        shown[order], counts_CC[both], queries[order], sim_CC[both], drawn, len(present), int((true_Q != named_Q).sum())
    )


def images_of(nn: Neighbours, c: int) -> torch.Tensor:
    """Vectors of at most IMAGES evenly spaced images of a class: held-out ones, or references where there are none."""
    parts = (part.take(torch.nonzero(part.labels == c).flatten()) for part in (nn.query, nn.reference))
    return next(spaced(part, IMAGES).vectors for part in parts if len(part))
