"""Which labels are likely wrong, and which images lie apart from all others: from neighbours in the embedding."""

from typing import NamedTuple

import torch
from torch import Tensor

from likewise.evaluate import Embeddings
from likewise.metrics.neighbours import Nearest, Sim, nearest

__all__ = ["K", "Outlier", "Suspect", "around", "fit", "outliers", "suspects", "votes"]

K = 20  # neighbours that are asked; a class of n images asks at most n - 1
FAR = 3.0  # interquartile ranges below the lower quartile: what Tukey calls far out
SHOWN = 5  # neighbours named beside a suspect


class Suspect(NamedTuple):
    """An image whose label its neighbours speak against. `score` is 0 to 1, larger is surer."""

    at: int
    label: int  # the class that most neighbours name
    score: float
    against: tuple[int, ...]  # the nearest of them, best first


class Outlier(NamedTuple):
    """An image that is like no other; `sim` is its similarity to its fifth neighbour."""

    at: int
    sim: float


def around(found: Embeddings, sim: Sim) -> Nearest:
    """The K nearest of all other images, of every part, to each image."""
    return nearest(found.vectors, found.vectors, min(K, len(found) - 1), sim=sim, offset=0)


def votes(near: Nearest, labels_N: Tensor, classes: int) -> Tensor:
    """Shares `[N, C]` of each class among an image's neighbours, of which it asks no more than its class could be."""
    asked_N = (labels_N.bincount(minlength=classes)[labels_N] - 1).clamp(1, near.place.shape[1])
    counted_NK = (torch.arange(near.place.shape[1]) < asked_N[:, None]).float()
    return torch.zeros(len(labels_N), classes).scatter_add_(1, labels_N[near.place], counted_NK) / asked_N[:, None]


def fit(vote_NC: Tensor, labels_N: Tensor) -> Tensor:
    """How well an image's vote fits its label, `[N]`: its product with the mean vote of the others of that label.

    A vote for a class that is often taken for the label speaks less against it than one for a class that never is. A
    vote that knows nothing, the same for all classes, has 1 / C.
    """
    sum_CC = torch.zeros(vote_NC.shape[1], vote_NC.shape[1]).index_add_(0, labels_N, vote_NC)
    others_N = (labels_N.bincount(minlength=vote_NC.shape[1])[labels_N] - 1).clamp(min=1)
    return (vote_NC * (sum_CC[labels_N] - vote_NC)).sum(1) / others_N


def suspects(found: Embeddings, near: Nearest) -> list[Suspect]:
    """The images whose vote fits their label worse than one that knows nothing, the surest first.

    Images alone in their class are not judged: no neighbour could speak for them.
    """
    labels_N = found.labels.unique(return_inverse=True)[1]
    values_C, classes = found.labels.unique(), int(labels_N.max()) + 1
    vote_NC = votes(near, labels_N, classes)
    fit_N = fit(vote_NC, labels_N)
    named_N = vote_NC.scatter(1, labels_N[:, None], -1.0).argmax(1)
    judged_N = labels_N.bincount()[labels_N] > 1
    flagged = ((fit_N < 1 / classes) & judged_N).nonzero()[:, 0]
    ordered = flagged[fit_N[flagged].argsort(stable=True)].tolist()
    return [
        Suspect(i, int(values_C[named_N[i]]), 1 - classes * float(fit_N[i]), _against(near, labels_N, i))
        for i in ordered
    ]


def _against(near: Nearest, labels_N: Tensor, at: int) -> tuple[int, ...]:
    """The nearest neighbours of another label."""
    place_K = near.place[at]
    return tuple(place_K[labels_N[place_K] != labels_N[at]][:SHOWN].tolist())


def outliers(near: Nearest) -> list[Outlier]:
    """Those less similar to their fifth neighbour than the lower quartile less three interquartile ranges."""
    sim_N = near.sim[:, min(4, near.sim.shape[1] - 1)].double()
    low, high = sim_N.quantile(0.25), sim_N.quantile(0.75)
    far = (sim_N < low - FAR * (high - low)).nonzero()[:, 0]
    return [Outlier(i, float(sim_N[i])) for i in far[sim_N[far].argsort(stable=True)].tolist()]
