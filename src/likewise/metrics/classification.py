"""Classify queries by labelled references: nearest neighbours, nearest centroid, logistic-regression probe.

Each function returns predicted labels `[Q]`; `predictions == labels` is the value per query.
"""

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from likewise import geometry
from likewise.metrics.neighbours import Nearest, Sim, nearest

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = ["centroids", "nearest_centroid", "probe", "vote", "weighted_vote"]


def vote(near: Nearest, labels_M: Tensor, k: int) -> Tensor:
    """The most frequent label of each query's k nearest references, int64 `[Q]`; ties go to the nearest.

    >>> near = Nearest(sim=torch.tensor([[0.9, 0.8, 0.7]]), place=torch.tensor([[0, 1, 2]]))
    >>> vote(near, torch.tensor([5, 7, 7]), k=3)
    tensor([7])
    """
    return _elected(near, labels_M, (_first(near, k).place >= 0).double())


def weighted_vote(near: Nearest, labels_M: Tensor, k: int, *, temperature: float = 0.07) -> Tensor:
    """As `vote`, with neighbours weighted by exp(sim / temperature).

    Wu et al., 2018, https://arxiv.org/abs/1805.01978.

    >>> near = Nearest(sim=torch.tensor([[0.9, 0.2, 0.1]]), place=torch.tensor([[0, 1, 2]]))
    >>> weighted_vote(near, torch.tensor([5, 7, 7]), k=3)
    tensor([5])
    """
    sim_QK = _first(near, k).sim.double()
    return _elected(near, labels_M, ((sim_QK - sim_QK[:, :1]) / temperature).exp().nan_to_num(0))


def _first(near: Nearest, k: int) -> Nearest:
    if not 0 < k <= near.place.shape[1]:
        raise ValueError(f"k is {k}, but {near.place.shape[1]} neighbours were ranked")
    return Nearest(near.sim[:, :k], near.place[:, :k])


def _elected(near: Nearest, labels_M: Tensor, weight_QK: Tensor) -> Tensor:
    """The label with the largest total weight, summed over runs of the sorted labels."""
    labels_QK = labels_M[near.place[:, : weight_QK.shape[1]]]
    ranked_QK, order_QK = labels_QK.sort(dim=1, stable=True)
    fresh_QK = torch.ones_like(ranked_QK, dtype=torch.bool)
    fresh_QK[:, 1:] = ranked_QK[:, 1:] != ranked_QK[:, :-1]
    run_T = fresh_QK.flatten().cumsum(0) - 1
    together_T = run_T.bincount(weight_QK.gather(1, order_QK).flatten())[run_T]
    votes_QK = torch.empty_like(weight_QK).scatter_(1, order_QK, together_T.view_as(weight_QK))
    return labels_QK.gather(1, votes_QK.argmax(1, keepdim=True))[:, 0]


def centroids(vectors_ND: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """The mean vector `[C, D]` of each class, and its label `[C]`.

    >>> centroids(torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 3]))
    (tensor([[1.],
            [5.]]), tensor([0, 3]))
    """
    values_C, class_N = labels_N.unique(return_inverse=True)
    sums_CD = vectors_ND.new_zeros(len(values_C), vectors_ND.shape[1]).index_add_(0, class_N, vectors_ND)
    return sums_CD / class_N.bincount()[:, None], values_C


def nearest_centroid(query_QD: Tensor, vectors_MD: Tensor, labels_M: Tensor, *, sim: Sim = geometry.cosine) -> Tensor:
    """The label of the nearest class mean, int64 `[Q]`.

    >>> nearest_centroid(torch.tensor([[1.0, 0.1]]), torch.eye(2), torch.tensor([4, 6]))
    tensor([4])
    """
    centroids_CD, values_C = centroids(vectors_MD, labels_M)
    return values_C[nearest(query_QD, centroids_CD, 1, sim=sim).place[:, 0]]


def _of_every_class(labels_M: Tensor, at_most: int, seed: int) -> Tensor:
    """Indices of at most this many random rows, in order; a class that was not drawn contributes its first row."""
    order_M = torch.randperm(len(labels_M), generator=torch.Generator().manual_seed(seed))
    drawn = order_M[:at_most]
    missed = ~torch.isin(labels_M[order_M], labels_M[drawn])
    for label in labels_M[order_M][missed].unique():
        drawn = torch.cat([drawn, order_M[(labels_M[order_M] == label).nonzero()[0]]])
    return drawn.sort().values


def probe(vectors_MD: Tensor, labels_M: Tensor, *, at_most: int = 5000, seed: int = 0) -> "Pipeline":
    """A fitted scikit-learn classifier: standardised features, then multinomial logistic regression with C = 1.

    It is fitted on `at_most` random samples (all, if there are no more) with at least one of every class.
    Use `.predict(vectors)`. Errors: ValueError for fewer than two classes.

    >>> vectors, labels = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]]), torch.tensor([0, 0, 1, 1])
    >>> probe(vectors, labels).predict([[-3.0], [3.0]]).tolist()
    [0, 1]
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(labels_M.unique()) < 2:
        raise ValueError("a probe needs references of at least two classes; these have one")
    keep = _of_every_class(labels_M, at_most, seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 steps are part of the definition
        return model.fit(vectors_MD[keep].numpy(), labels_M[keep].numpy())
