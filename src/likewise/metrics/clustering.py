"""How well classes form clusters: silhouettes and other measures of shape, and k-means against the labels."""

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
    "silhouette",
    "simplified_silhouette",
]


def silhouette(vectors_ND: Tensor, labels_N: Tensor, *, tile: int = TILE) -> Tensor:
    """(b - a) / max(a, b) of each sample, float64 `[N]`, in [-1, 1]: exact, holding one tile of distances at a time.

    a is the mean Euclidean distance to the others of the sample's class, b the least mean distance to another class;
    the only sample of a class gets 0. Rousseeuw, 1987. Errors: ValueError for fewer than two classes.
    """
    class_N, size_C = _classes(labels_N)
    order_N = class_N.argsort(stable=True)
    starts_C = (size_C.cumsum(0) - size_C).numpy()
    vectors_ND = vectors_ND.double() - vectors_ND.double().mean(0)  # near 0, squared distances lose fewest digits
    sorted_ND, values_N = vectors_ND[order_N], torch.empty(len(order_N), dtype=torch.float64)
    for place_T in torch.arange(len(order_N)).split(max(1, tile // len(order_N))):
        far_TN = torch.cdist(vectors_ND[place_T], sorted_ND, compute_mode="use_mm_for_euclid_dist")
        sums_TC = torch.from_numpy(np.add.reduceat(far_TN.numpy(), starts_C, axis=1))
        own_T1 = class_N[place_T, None]
        a_T = sums_TC.gather(1, own_T1)[:, 0] / (size_C[own_T1[:, 0]] - 1)
        values_N[place_T] = _between(a_T, (sums_TC / size_C).scatter(1, own_T1, torch.inf).amin(1))
    return values_N.where(size_C[class_N] > 1, 0)


def simplified_silhouette(vectors_ND: Tensor, labels_N: Tensor, *, tile: int = TILE) -> Tensor:
    """As `silhouette`, with distances to class means for a and b: O(N C), for sets too large for O(N^2).

    Another measure, under a name of its own: it is mostly higher. Hruschka et al., 2006.
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
    """Mean over classes of the worst (spread_i + spread_j) / distance_ij; lower is better. Davies & Bouldin, 1979.

    O(C^2 D) time, O(tile) memory.
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
        # classes at one place are infinitely bad, as far as scikit-learn lets them count: it leaves them out
        ratio_TC = ratio_TC.scatter(1, place_T[:, None], 0).nan_to_num(0, posinf=0)
        worst_C[place_T] = ratio_TC.amax(1)
    return float(worst_C.mean())


def calinski_harabasz(vectors_ND: Tensor, labels_N: Tensor) -> float:
    """Variance between classes over variance within, per degree of freedom. Calinski & Harabasz, 1974."""
    from sklearn.metrics import calinski_harabasz_score

    _classes(labels_N)
    return float(calinski_harabasz_score(vectors_ND.numpy(), labels_N.numpy()))


def kmeans(vectors_ND: Tensor, clusters: int, *, seed: int = 0) -> Tensor:
    """The cluster of each sample, int64 `[N]`: Lloyd's k-means from k-means++ starts. Arthur & Vassilvitskii, 2007."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if not 0 < clusters <= len(vectors_ND):
        raise ValueError(f"{clusters} clusters of {len(vectors_ND)} samples: choose from 1 to {len(vectors_ND)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct samples than clusters
        found = KMeans(clusters, n_init=1, random_state=seed).fit(vectors_ND.numpy())
    return torch.from_numpy(found.labels_).long()


class Information(NamedTuple):
    """What labels and clusters tell of one another, sample by sample; NMI and AMI divide sums over samples."""

    shared: Tensor  # log p(label, cluster) / p(label) p(cluster); its mean is the mutual information
    entropy: Tensor  # mean of -log p(label) and -log p(cluster)
    expected: float  # the mutual information of random clusters of these sizes


def information(labels_N: Tensor, cluster_N: Tensor) -> Information:
    """NMI is mean(shared) / mean(entropy), AMI the same less `expected` on both sides. Vinh et al., 2010."""
    label_N, found_N, pair_N = _together(labels_N, cluster_N)
    both_N, one_N, other_N = (x_N.bincount()[x_N].double().div(len(x_N)).log() for x_N in (pair_N, label_N, found_N))
    expected = _expected(label_N.bincount(), found_N.bincount())
    return Information(both_N - one_N - other_N, -(one_N + other_N) / 2, expected)


def _expected(size_C: Tensor, size_K: Tensor) -> float:
    """Mutual information over all ways to draw sets of these sizes: hypergeometric, once for any two sizes."""
    n = size_C.sum().double()
    b_B1, many_B1 = (x.double()[:, None] for x in size_K.unique(return_counts=True))
    total = 0.0
    for a, many in zip(*size_C.unique(return_counts=True), strict=True):
        both_R = torch.arange(1, int(a) + 1, dtype=torch.float64)
        ways = _choose(b_B1, both_R) + _choose(n - b_B1, a - both_R) - _choose(n, a.double())
        told = both_R / n * (n * both_R / (a * b_B1)).log() * ways.exp()
        total += float((told * many_B1 * many).nan_to_num(0).sum())
    return total


def _choose(n: Tensor, k: Tensor) -> Tensor:
    """log of n over k; -inf where k is not from 0 to n."""
    legal = (k >= 0) & (k <= n)
    k = k.clamp_min(0).minimum(n)
    ways = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    return ways.where(legal, -torch.inf)


def nmi(labels_N: Tensor, cluster_N: Tensor) -> float:
    """Mutual information over the mean of both entropies, in [0, 1]; 1 where one class is one cluster."""
    told = information(labels_N, cluster_N)
    return float(told.shared.sum() / told.entropy.sum()) if told.entropy.any() else 1.0


def ami(labels_N: Tensor, cluster_N: Tensor) -> float:
    """As `nmi`, less what chance gives: 0 in the mean for random clusters, 1 for the classes themselves."""
    told = information(labels_N, cluster_N)
    room = float(told.entropy.mean()) - told.expected
    return (float(told.shared.mean()) - told.expected) / room if room > 1e-12 else 1.0


class Agreement(NamedTuple):
    """With how many others labels and clusters put each sample together; the Rand index divides sums over samples."""

    both: Tensor  # with how many of its class its cluster holds it
    either: Tensor  # mean of its classmates and of the others in its cluster
    expected: float  # mean of `both` for random clusters of these sizes


def agreement(labels_N: Tensor, cluster_N: Tensor) -> Agreement:
    """ARI is mean(both) / mean(either), less `expected` on both sides. Hubert & Arabie, 1985."""
    label_N, found_N, pair_N = _together(labels_N, cluster_N)
    mates_N, near_N, both_N = ((x_N.bincount()[x_N] - 1).double() for x_N in (label_N, found_N, pair_N))
    n = len(labels_N)
    expected = float(mates_N.sum() * near_N.sum()) / max(n * n * (n - 1), 1)
    return Agreement(both_N, (mates_N + near_N) / 2, expected)


def ari(labels_N: Tensor, cluster_N: Tensor) -> float:
    """Rand index, less what chance gives: 0 in the mean for random clusters, 1 for the classes themselves."""
    told = agreement(labels_N, cluster_N)
    room = float(told.either.mean()) - told.expected
    return (float(told.both.mean()) - told.expected) / room if room > 1e-12 else 1.0


def commonest(labels_N: Tensor, cluster_N: Tensor) -> Tensor:
    """Whether each sample is of the commonest class of its cluster, bool `[N]`; of equally common ones the first."""
    label_N, found_N, pair_N = _together(labels_N, cluster_N)
    rank_N = pair_N.bincount()[pair_N] * (int(label_N.max()) + 1) - label_N
    best_K = torch.full((int(found_N.max()) + 1,), -1).scatter_reduce(0, found_N, rank_N, "amax")
    return rank_N == best_K[found_N]


def purity(labels_N: Tensor, cluster_N: Tensor) -> float:
    """The share of samples that are of the commonest class of their cluster."""
    return float(commonest(labels_N, cluster_N).double().mean())


def _together(labels_N: Tensor, cluster_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each sample's class, cluster and combination of both, numbered from 0."""
    label_N, found_N = (x_N.unique(return_inverse=True)[1] for x_N in (labels_N, cluster_N))
    return label_N, found_N, (found_N * (int(label_N.max()) + 1) + label_N).unique(return_inverse=True)[1]


NOTHING = 1e-8  # distances that count as zero, as scikit-learn has it


def _classes(labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Each sample's class, numbered from 0, and the size of each class."""
    class_N, size_C = labels_N.unique(return_inverse=True, return_counts=True)[1:]
    if len(size_C) < 2:
        raise ValueError(f"{len(size_C)} class: classes are compared with one another, so two are needed at least")
    return class_N, size_C
