"""Scores of embeddings of video crops, for a split in time or by video, and distances between images."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.data.images import Images
from likewise.evaluate import Embeddings, measure
from likewise.metrics.clustering import silhouette
from likewise.reproduce.section import span

__all__ = [
    "BACKGROUND",
    "SCORES",
    "SIDE",
    "Distances",
    "away",
    "inner",
    "judged",
    "pixels",
    "scale",
    "silhouette_over_all",
    "spans",
]

SCORES = ("silhouette", "knn@1", "map@r")
BACKGROUND = "background"
SIDE = 25  # pixels per side of the compared images


class Distances(NamedTuple):
    """Mean distances of crops, in grey levels."""

    following: float  # of a crop from the next one of its video
    same: float  # of any two of a video
    different: float  # of two of different videos
    random: float  # `away` of a test part drawn at random among all frames


def judged(embeddings: Embeddings) -> dict[str, float]:
    """Silhouette of training and of held-out crops, and neighbours and retrieval of the latter.

    Crops of videos that were trained on are looked up among the training crops; those of new videos, and their
    silhouettes, are measured among all crops. Background is no class. What so few crops cannot tell is left out.
    """
    if BACKGROUND in embeddings.classes:
        embeddings = embeddings.take((embeddings.labels != embeddings.classes.index(BACKGROUND)).nonzero()[:, 0])
    train, held_out = embeddings.part("train"), embeddings.part("test")
    closed = bool(torch.isin(held_out.labels, train.labels).all())
    query = held_out if closed else embeddings
    wanted_Q = torch.ones(len(query), dtype=torch.bool) if closed else embeddings.split == held_out.split[0]
    ratios = measure(query, train if closed else None, sim="euclidean", quick=True).ratios
    shares = {
        name: float(ratio.over[wanted_Q].sum() / ratio.under[wanted_Q].sum())
        for name, ratio in ratios.items()
        if name in SCORES and ratio.under[wanted_Q].any()
    }
    return {
        "train": float(silhouette(train.vectors, train.labels).mean()),
        "silhouette": float(silhouette(query.vectors, query.labels)[wanted_Q].mean()),
        **shares,
    }


def spans(trainings: Sequence[Embeddings], names: Sequence[str]) -> list[str]:
    embeddings = [judged(one) for one in trainings]
    return [
        span([one[name] for one in embeddings]) if all(name in one for one in embeddings) else "–" for name in names
    ]


def silhouette_over_all(vectors_ND: Tensor, labels_N: Tensor) -> Tensor:
    """Their silhouette: the mean distance within the class counts the sample itself, at distance 0."""
    classes, class_N = labels_N.unique(return_inverse=True)
    of_NC = F.one_hot(class_N, len(classes)).double()
    mean_NC = torch.cdist(vectors_ND.double(), vectors_ND.double()) @ of_NC / of_NC.sum(0)
    a_N = mean_NC.gather(1, class_N[:, None])[:, 0]
    b_N = mean_NC.masked_fill(of_NC.bool(), torch.inf).amin(1)
    return (b_N - a_N) / torch.maximum(a_N, b_N)


def inner(images: Images) -> Images:
    """For the choice of settings: the first 70 % of each video to train on, 80 to 90 % to choose by, the end unseen."""
    split = torch.full_like(images.split, 255)
    for c in range(len(images.classes)):
        of_c = (images.labels == c).nonzero()[:, 0]
        first, from_, to = (len(of_c) * tenth // 10 for tenth in (7, 8, 9))
        split[of_c[:first]], split[of_c[from_:to]] = 0, 2
    used = (split != 255).nonzero()[:, 0]
    return replace(images.take(used), split=split[used])


def pixels(images: Images) -> Embeddings:
    """The crops' downscaled pixels as an embedding."""
    small = [
        F.adaptive_avg_pool2d(images.batch(at).float(), SIDE).flatten(1) for at in torch.arange(len(images)).split(500)
    ]
    return Embeddings(torch.cat(small), images.labels, images.ids, images.split, images.classes)


def away(plain: Embeddings) -> float:
    """Root mean square difference of a held-out crop from its nearest training crop, mean over the crops."""
    train, held_out = plain.part("train"), plain.part("test")
    far_QM = torch.cdist(held_out.vectors, train.vectors) / plain.vectors.shape[1] ** 0.5
    other_QM = held_out.labels[:, None] != train.labels
    new_Q1 = other_QM.all(1, keepdim=True)
    return float(far_QM.masked_fill(other_QM & ~new_Q1, torch.inf).amin(1).mean())


def scale(plain: Embeddings) -> Distances:
    """Reference distances between crops."""
    drawn = torch.randperm(len(plain), generator=torch.Generator().manual_seed(0))[: len(plain.part("test"))]
    split = torch.zeros_like(plain.split).index_fill(0, drawn, 2)
    far_NN = torch.cdist(plain.vectors, plain.vectors) / plain.vectors.shape[1] ** 0.5
    same_NN = plain.labels[:, None] == plain.labels
    others_NN = same_NN & ~torch.eye(len(plain), dtype=torch.bool)
    following_N = far_NN.diagonal(1)[same_NN.diagonal(1)]
    following, same, different = (float(x.mean()) for x in (following_N, far_NN[others_NN], far_NN[~same_NN]))
    return Distances(following, same, different, away(replace(plain, split=split)))
