"""Clustering metrics: silhouettes and other measures of class shape, and k-means compared with the labels."""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from likewise.metrics.classification import centroids
from likewise.metrics.neighbours import TILE

__all__ = [
    "Agreement",
    "Information",
    "agreement",
    "ami",
    "ari",
    "calinski_harabasz",
    "commonest",
    "davies_bouldin",
    "information",
    "kmeans",
    "nmi",
    "purity",
    "Silhouette",
    "silhouette",
    "silhouette_effects",
    "simplified_silhouette",
]


class Silhouette(NamedTuple):
    """The silhouette of each sample, and what each does to those of the others."""

    value: Tensor  # [N] float64
    effect: Tensor  # [N] float64: sum of what the others would lose without it
    squares: float  # sum of the squared effects of one on one


def silhouette(vectors_ND: Tensor, labels_N: Tensor, *, tile: int = TILE) -> Tensor:
    """(b - a) / max(a, b) of each sample, float64 `[N]`, in [-1, 1]: exact, with one tile of distances in memory.

    a is the mean Euclidean distance to the other samples of the class, b the lowest mean distance to another class;
    the only sample of a class gets 0. Errors: ValueError for fewer than two classes.
    Rousseeuw, 1987, https://doi.org/10.1016/0377-0427(87)90125-7.

    >>> vectors, labels = torch.tensor([[0.0], [1.0], [9.0], [10.0]]), torch.tensor([0, 0, 1, 1])
    >>> silhouette(vectors, labels)
    tensor([0.8947, 0.8824, 0.8824, 0.8947], dtype=torch.float64)
    """
    return silhouette_effects(vectors_ND, labels_N, tile=tile, effects=False).value


def silhouette_effects(vectors_ND: Tensor, labels_N: Tensor, *, tile: int = TILE, effects: bool = True) -> Silhouette:
    """As `silhouette`, with the effects of leaving each sample out, to first order in the mean distances a and b."""
    class_N, size_C = _classes(labels_N)
    order_N = class_N.argsort(stable=True)
    starts_C = (size_C.cumsum(0) - size_C).numpy()
    vectors_ND = vectors_ND.double() - vectors_ND.double().mean(0)  # squared distances are most precise near 0
    sorted_ND, values_N = vectors_ND[order_N], torch.empty(len(order_N), dtype=torch.float64)
    sum_N, squares = torch.zeros(len(order_N), dtype=torch.float64), 0.0
    for place_T in torch.arange(len(order_N)).split(max(1, tile // len(order_N))):
        far_TN = torch.cdist(vectors_ND[place_T], sorted_ND, compute_mode="use_mm_for_euclid_dist")
        sums_TC = torch.from_numpy(np.add.reduceat(far_TN.numpy(), starts_C, axis=1))
        own_T1 = class_N[place_T, None]
        a_T = sums_TC.gather(1, own_T1)[:, 0] / (size_C[own_T1[:, 0]] - 1)
        b_T, near_T = (sums_TC / size_C).scatter(1, own_T1, torch.inf).min(1)
        values_N[place_T] = _between(a_T, b_T)
        if effects:
            effect_TN = torch.zeros_like(far_TN)
            for mean_T, class_T, slope_T in _slopes(a_T, b_T, own_T1[:, 0], near_T, size_C):
                slope_TC = torch.zeros_like(sums_TC).scatter_(1, class_T[:, None], slope_T[:, None])
                effect_TN += slope_TC.repeat_interleave(size_C, 1) * (far_TN - mean_T[:, None])
            effect_TN.masked_fill_(order_N == place_T[:, None], 0)  # on itself
            sum_N += effect_TN.sum(0)
            squares += float(effect_TN.square_().sum())
    effect_N = torch.empty_like(sum_N).index_copy_(0, order_N, sum_N)
    return Silhouette(values_N.where(size_C[class_N] > 1, 0), effect_N, squares)


def _slopes(
    a_T: Tensor, b_T: Tensor, own_T: Tensor, near_T: Tensor, size_C: Tensor
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """For a and b: its value, of which class it is the mean, and how much one distance above it adds to the value."""
    largest_T = torch.maximum(a_T, b_T)
    inside_T = (a_T < b_T) & (largest_T > 0)
    by_a_T = torch.where(inside_T, -1 / b_T, -b_T / a_T.square()).nan_to_num(0, 0, 0)
    by_b_T = torch.where(inside_T, a_T / b_T.square(), 1 / a_T).nan_to_num(0, 0, 0)
    alone_T = size_C[own_T] < 2
    by_a_T, by_b_T = (x_T.masked_fill(alone_T, 0) for x_T in (by_a_T, by_b_T))
    return [
        (a_T.nan_to_num(0, 0, 0), own_T, by_a_T / (size_C[own_T] - 2).clamp_min(1)),
        (b_T, near_T, by_b_T / (size_C[near_T] - 1).clamp_min(1)),
    ]


def simplified_silhouette(vectors_ND: Tensor, labels_N: Tensor, *, tile: int = TILE) -> Tensor:
    """As `silhouette`, with distances to class means for a and b: O(N C), for sets too large for O(N^2).

    A different metric with its own name: it is mostly higher. Hruschka et al., 2006,
    https://doi.org/10.1016/j.ins.2005.07.015.

    >>> vectors, labels = torch.tensor([[0.0], [1.0], [9.0], [10.0]]), torch.tensor([0, 0, 1, 1])
    >>> simplified_silhouette(vectors, labels)
    tensor([0.9474, 0.9412, 0.9412, 0.9474], dtype=torch.float64)
    """
    class_N, size_C = _classes(labels_N)
    vectors_ND = vectors_ND.double()
    means_CD, _ = centroids(vectors_ND, class_N)
    values_N = torch.empty(len(class_N), dtype=torch.float64)
    for place_T in torch.arange(len(class_N)).split(max(1, tile // len(size_C))):
        far_TC, own_T1 = torch.cdist(vectors_ND[place_T], means_CD), class_N[place_T, None]
        values_N[place_T] = _between(far_TC.gather(1, own_T1)[:, 0], far_TC.scatter(1, own_T1, torch.inf).amin(1))
    return values_N.where(size_C[class_N] > 1, 0)


def _between(a_N: Tensor, b_N: Tensor) -> Tensor:
    return (b_N - a_N) / torch.maximum(a_N, b_N).clamp_min(torch.finfo(torch.float64).tiny)


def davies_bouldin(vectors_ND: Tensor, labels_N: Tensor, *, tile: int = TILE) -> float:
    """Mean over classes of the worst (spread_i + spread_j) / distance_ij; lower is better.

    O(C^2 D) time, O(tile) memory. Davies & Bouldin, 1979, https://doi.org/10.1109/TPAMI.1979.4766909.

    >>> vectors, labels = torch.tensor([[0.0], [1.0], [9.0], [10.0]]), torch.tensor([0, 0, 1, 1])
    >>> round(davies_bouldin(vectors, labels), 4)
    0.1111
    """
    class_N, size_C = _classes(labels_N)
    vectors_ND = vectors_ND.double()
    means_CD, _ = centroids(vectors_ND, class_N)
    apart_N = (vectors_ND - means_CD[class_N]).norm(dim=-1)
    spread_C = torch.zeros(len(size_C), dtype=torch.float64).index_add_(0, class_N, apart_N) / size_C
    if spread_C.max() <= NOTHING or (means_CD - means_CD[0]).norm(dim=-1).max() <= NOTHING:
        return 0.0
    worst_C = torch.empty_like(spread_C)
    for place_T in torch.arange(len(size_C)).split(max(1, tile // len(size_C))):
        ratio_TC = (spread_C[place_T, None] + spread_C) / torch.cdist(means_CD[place_T], means_CD)
        # classes with equal means would be infinitely bad; scikit-learn ignores such pairs, and so do we
        ratio_TC = ratio_TC.scatter(1, place_T[:, None], 0).nan_to_num(0, posinf=0)
        worst_C[place_T] = ratio_TC.amax(1)
    return float(worst_C.mean())


def calinski_harabasz(vectors_ND: Tensor, labels_N: Tensor) -> float:
    """Between-class over within-class variance, per degree of freedom.

    Calinski & Harabasz, 1974, https://doi.org/10.1080/03610927408827101.

    >>> vectors, labels = torch.tensor([[0.0], [1.0], [9.0], [10.0]]), torch.tensor([0, 0, 1, 1])
    >>> calinski_harabasz(vectors, labels)
    162.0
    """
    from sklearn.metrics import calinski_harabasz_score

    _classes(labels_N)
    return float(calinski_harabasz_score(vectors_ND.numpy(), labels_N.numpy()))


def kmeans(vectors_ND: Tensor, clusters: int, *, seed: int = 0) -> Tensor:
    """The cluster of each sample, int64 `[N]`: Lloyd's k-means with k-means++ initialisation.

    Arthur & Vassilvitskii, 2007, https://theory.stanford.edu/~sergei/papers/kMeansPP-soda.pdf.
    Errors: ValueError for fewer than 1 or more than N clusters.

    >>> len(kmeans(torch.tensor([[0.0], [0.1], [9.0]]), 2).unique())
    2
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if not 0 < clusters <= len(vectors_ND):
        raise ValueError(f"{clusters} clusters of {len(vectors_ND)} samples: choose from 1 to {len(vectors_ND)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct samples than clusters
        fitted = KMeans(clusters, n_init=1, random_state=seed).fit(vectors_ND.numpy())
    return torch.from_numpy(fitted.labels_).long()


class Information(NamedTuple):
    """Mutual information of labels and clusters per sample; NMI and AMI are ratios of sums over samples."""

    shared: Tensor  # log p(label, cluster) / p(label) p(cluster); its mean is the mutual information
    entropy: Tensor  # mean of -log p(label) and -log p(cluster)
    expected: float  # mutual information of random clusters of these sizes


def information(labels_N: Tensor, cluster_N: Tensor) -> Information:
    """NMI is mean(shared) / mean(entropy), AMI the same after subtracting `expected` from both.

    Vinh et al., 2010, https://jmlr.org/papers/v11/vinh10a.html.

    >>> terms = information(torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 2, 2]))
    >>> round(float(terms.shared.mean() / terms.entropy.mean()), 4)
    1.0
    """
    label_N, found_N, pair_N = _together(labels_N, cluster_N)
    both_N, one_N, other_N = (x_N.bincount()[x_N].double().div(len(x_N)).log() for x_N in (pair_N, label_N, found_N))
    expected = _expected(label_N.bincount(), found_N.bincount())
    return Information(both_N - one_N - other_N, -(one_N + other_N) / 2, expected)


def _expected(size_C: Tensor, size_K: Tensor) -> float:
    """Expected mutual information of random sets of these sizes: hypergeometric, once per pair of sizes."""
    n = size_C.sum().double()
    b_B1, many_B1 = (x.double()[:, None] for x in size_K.unique(return_counts=True))
    total = 0.0
    for a, many in zip(*size_C.unique(return_counts=True), strict=True):
        both_R = torch.arange(1, int(a) + 1, dtype=torch.float64)
        ways = _choose(b_B1, both_R) + _choose(n - b_B1, a - both_R) - _choose(n, a.double())
        terms_R = both_R / n * (n * both_R / (a * b_B1)).log() * ways.exp()
        total += float((terms_R * many_B1 * many).nan_to_num(0).sum())
    return total


def _choose(n: Tensor, k: Tensor) -> Tensor:
    """log of n over k; -inf unless 0 <= k <= n."""
    legal = (k >= 0) & (k <= n)
    k = k.clamp_min(0).minimum(n)
    ways = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    return ways.where(legal, -torch.inf)


def nmi(labels_N: Tensor, cluster_N: Tensor) -> float:
    """Normalised mutual information: over the mean of both entropies, in [0, 1]; 1 if classes and clusters coincide.

    >>> labels, clusters = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1])
    >>> round(nmi(labels, clusters), 4)
    0.3437
    """
    info = information(labels_N, cluster_N)
    return float(info.shared.sum() / info.entropy.sum()) if info.entropy.any() else 1.0


def ami(labels_N: Tensor, cluster_N: Tensor) -> float:
    """Adjusted mutual information: as `nmi`, corrected for chance.

    0 on average for random clusters, 1 for perfect ones.

    >>> labels, clusters = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1])
    >>> round(ami(labels, clusters), 4)
    0.0
    """
    info = information(labels_N, cluster_N)
    room = float(info.entropy.mean()) - info.expected
    return (float(info.shared.mean()) - info.expected) / room if room > 1e-12 else 1.0


class Agreement(NamedTuple):
    """Number of samples grouped with each sample by labels and clusters; the Rand index is a ratio of sums."""

    both: Tensor  # number of samples that share both class and cluster with it
    either: Tensor  # mean number that share its class, and that share its cluster
    expected: float  # mean of `both` for random clusters of these sizes


def agreement(labels_N: Tensor, cluster_N: Tensor) -> Agreement:
    """ARI is mean(both) / mean(either), after subtracting `expected` from both.

    Hubert & Arabie, 1985, https://doi.org/10.1007/BF01908075.

    >>> counts = agreement(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1]))
    >>> counts.both.tolist(), counts.either.tolist()
    ([1.0, 1.0, 0.0, 0.0], [1.5, 1.5, 1.5, 0.5])
    """
    label_N, found_N, pair_N = _together(labels_N, cluster_N)
    mates_N, near_N, both_N = ((x_N.bincount()[x_N] - 1).double() for x_N in (label_N, found_N, pair_N))
    n = len(labels_N)
    expected = float(mates_N.sum() * near_N.sum()) / max(n * n * (n - 1), 1)
    return Agreement(both_N, (mates_N + near_N) / 2, expected)


def ari(labels_N: Tensor, cluster_N: Tensor) -> float:
    """Adjusted Rand index: corrected for chance. 0 on average for random clusters, 1 for perfect ones.

    >>> labels, clusters = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1])
    >>> round(ari(labels, clusters), 4)
    0.0
    """
    pairs = agreement(labels_N, cluster_N)
    room = float(pairs.either.mean()) - pairs.expected
    return (float(pairs.both.mean()) - pairs.expected) / room if room > 1e-12 else 1.0


def commonest(labels_N: Tensor, cluster_N: Tensor) -> Tensor:
    """Whether each sample has the most frequent class of its cluster, bool `[N]`; ties go to the first class.

    >>> commonest(torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0]))
    tensor([ True,  True, False])
    """
    label_N, found_N, pair_N = _together(labels_N, cluster_N)
    rank_N = pair_N.bincount()[pair_N] * (int(label_N.max()) + 1) - label_N
    best_K = torch.full((int(found_N.max()) + 1,), -1).scatter_reduce(0, found_N, rank_N, "amax")
    return rank_N == best_K[found_N]


def purity(labels_N: Tensor, cluster_N: Tensor) -> float:
    """The share of samples with the most frequent class of their cluster.

    >>> labels, clusters = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1])
    >>> round(purity(labels, clusters), 4)
    0.75
    """
    return float(commonest(labels_N, cluster_N).double().mean())


def _together(labels_N: Tensor, cluster_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each sample's class, cluster and combination of both, numbered from 0."""
    label_N, found_N = (x_N.unique(return_inverse=True)[1] for x_N in (labels_N, cluster_N))
    return label_N, found_N, (found_N * (int(label_N.max()) + 1) + label_N).unique(return_inverse=True)[1]


NOTHING = 1e-8  # distances that count as zero, as in scikit-learn


def _classes(labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Each sample's class, numbered from 0, and the size of each class."""
    class_N, size_C = labels_N.unique(return_inverse=True, return_counts=True)[1:]
    if len(size_C) < 2:
        raise ValueError(f"{len(size_C)} class: the metric compares classes and needs at least two")
    return class_N, size_C
