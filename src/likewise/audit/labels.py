"""Likely wrong labels and outliers, from neighbours in the embedding."""

from typing import NamedTuple

import torch
from torch import Tensor

from likewise.evaluate import Embeddings
from likewise.metrics.neighbours import Nearest, Sim, nearest

__all__ = ["K", "Outlier", "Suspect", "around", "fit", "outliers", "suspects", "votes"]

K = 20  # neighbours that vote; at most n - 1 for a class of n images
FAR = 3.0  # interquartile ranges below the lower quartile ("far out" after Tukey)
SHOWN = 5  # neighbours listed with a suspect


class Suspect(NamedTuple):
    """An image whose neighbours contradict its label. `score` is the confidence, 0 to 1."""

    at: int
    label: int  # majority class of its neighbours
    score: float
    against: tuple[int, ...]  # nearest neighbours of another class, most similar first


class Outlier(NamedTuple):
    """An image that resembles no other; `sim` is its similarity to its fifth neighbour."""

    at: int
    sim: float


def around(embeddings: Embeddings, sim: Sim) -> Nearest:
    """The K nearest neighbours of each image, over all parts."""
    return nearest(embeddings.vectors, embeddings.vectors, min(K, len(embeddings) - 1), sim=sim, offset=0)


def votes(near: Nearest, labels_N: Tensor, classes: int) -> Tensor:
    """Class shares `[N, C]` among each image's neighbours; at most as many neighbours as its class has other images."""
    count_N = (labels_N.bincount(minlength=classes)[labels_N] - 1).clamp(1, near.place.shape[1])
    counted_NK = (torch.arange(near.place.shape[1]) < count_N[:, None]).float()
    return torch.zeros(len(labels_N), classes).scatter_add_(1, labels_N[near.place], counted_NK) / count_N[:, None]


def fit(vote_NC: Tensor, labels_N: Tensor) -> Tensor:
    """Agreement `[N]` of a vote with its label: its dot product with the mean vote of the other images of that label.

    Votes for a class that is often confused with the label count less against it. A uniform vote has agreement 1 / C.
    """
    sum_CC = torch.zeros(vote_NC.shape[1], vote_NC.shape[1]).index_add_(0, labels_N, vote_NC)
    others_N = (labels_N.bincount(minlength=vote_NC.shape[1])[labels_N] - 1).clamp(min=1)
    return (vote_NC * (sum_CC[labels_N] - vote_NC)).sum(1) / others_N


def suspects(embeddings: Embeddings, near: Nearest) -> list[Suspect]:
    """Images whose vote agrees with their label less than a uniform vote does, most confident first.

    Images alone in their class are skipped: they have no neighbour of their class.
    """
    labels_N = embeddings.labels.unique(return_inverse=True)[1]
    values_C, classes = embeddings.labels.unique(), int(labels_N.max()) + 1
    vote_NC = votes(near, labels_N, classes)
    fit_N = fit(vote_NC, labels_N)
    predicted_N = vote_NC.scatter(1, labels_N[:, None], -1.0).argmax(1)
    checked_N = labels_N.bincount()[labels_N] > 1
    flagged = ((fit_N < 1 / classes) & checked_N).nonzero()[:, 0]
    ordered = flagged[fit_N[flagged].argsort(stable=True)].tolist()
    return [
        Suspect(i, int(values_C[predicted_N[i]]), 1 - classes * float(fit_N[i]), _against(near, labels_N, i))
        for i in ordered
    ]


def _against(near: Nearest, labels_N: Tensor, at: int) -> tuple[int, ...]:
    """The nearest neighbours of another label."""
    place_K = near.place[at]
    return tuple(place_K[labels_N[place_K] != labels_N[at]][:SHOWN].tolist())


def outliers(near: Nearest) -> list[Outlier]:
    """Images whose similarity to the fifth neighbour is below the lower quartile by three interquartile ranges."""
    sim_N = near.sim[:, min(4, near.sim.shape[1] - 1)].double()
    low, high = sim_N.quantile(0.25), sim_N.quantile(0.75)
    far = (sim_N < low - FAR * (high - low)).nonzero()[:, 0]
    return [Outlier(i, float(sim_N[i])) for i in far[sim_N[far].argsort(stable=True)].tolist()]
