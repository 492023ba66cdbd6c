"""Health of an embedding: rank, spread, norms, hubs."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.metrics.classification import centroids
from likewise.metrics.neighbours import TILE

__all__ = ["Norms", "Spread", "alignment", "effective_rank", "hubness", "norms", "occurrences", "spread", "uniformity"]


def effective_rank(vectors_ND: Tensor) -> float:
    """Exponential of the entropy of the normalised singular values: the effective number of dimensions.

    From 1 (all vectors on one line through 0) to D; 0 if all vectors are 0.
    Roy & Vetterli, 2007, https://www.eurasip.org/Proceedings/Eusipco/Eusipco2007/Papers/a5p-h05.pdf.

    >>> round(effective_rank(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])), 4)
    2.0
    """
    values_D = torch.linalg.svdvals(vectors_ND.double())
    share_D = values_D / values_D.sum().clamp_min(torch.finfo(torch.float64).tiny)
    return float(torch.special.entr(share_D).sum().exp()) if values_D.any() else 0.0


def alignment(vectors_ND: Tensor, labels_N: Tensor) -> float:
    """Mean |x - y|^2 over all same-class pairs, on the unit sphere; 0 is best.

    Computed from distances to the class mean, without enumerating pairs. Errors: ValueError if no class has two
    vectors. Wang & Isola, 2020, with alpha = 2, https://arxiv.org/abs/2005.10242.

    >>> round(alignment(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]), torch.tensor([0, 0, 1])), 4)
    2.0
    """
    unit_ND = F.normalize(vectors_ND.double(), dim=-1)
    means_CD, _ = centroids(unit_ND, labels_N)
    class_N, size_C = labels_N.unique(return_inverse=True, return_counts=True)[1:]
    square_N = (unit_ND - means_CD[class_N]).square().sum(-1)
    pairs = float((size_C * (size_C - 1)).sum()) / 2
    if not pairs:
        raise ValueError("alignment needs a class with two vectors, and there is none")
    return float((square_N * size_C[class_N]).sum()) / pairs


def uniformity(vectors_ND: Tensor, *, t: float = 2, tile: int = TILE) -> float:
    """Log of the mean exp(-t |x - y|^2) over all pairs, on the unit sphere; lower is more uniform.

    Wang & Isola, 2020, https://arxiv.org/abs/2005.10242.

    >>> round(uniformity(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])), 4)
    -4.3963
    """
    n = len(vectors_ND)
    if n < 2:
        raise ValueError(f"uniformity needs two vectors or more; there is {n}")
    unit_ND = F.normalize(vectors_ND.double(), dim=-1)
    total = sum(float((2 * t * (rows @ unit_ND.T - 1)).exp().sum()) for rows in unit_ND.split(max(1, tile // n)))
    itself = float((2 * t * (unit_ND.square().sum(-1) - 1)).exp().sum())
    return float(torch.tensor((total - itself) / (n * (n - 1)), dtype=torch.float64).log())


class Norms(NamedTuple):
    mean: float
    std: float
    min: float
    max: float


def norms(vectors_ND: Tensor) -> Norms:
    """Statistics of the vector norms: all 1 after normalisation; norms near 0 or very different are a warning sign.

    >>> norms(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    Norms(mean=3.0, std=2.0, min=1.0, max=5.0)
    """
    length_N = vectors_ND.double().norm(dim=-1)
    return Norms(*(float(x) for x in (length_N.mean(), length_N.std(correction=0), length_N.min(), length_N.max())))


def occurrences(place_QK: Tensor, references: int) -> Tensor:
    """How often each reference is among the K nearest of a query, int64 `[M]`.

    Radovanović et al., 2010, https://www.jmlr.org/papers/v11/radovanovic10a.html.

    >>> occurrences(torch.tensor([[1], [0], [1]]), references=3)
    tensor([1, 2, 0])
    """
    return place_QK[place_QK >= 0].bincount(minlength=references)


def hubness(occurrences_M: Tensor) -> float:
    """Skewness of the occurrences: 0 if neighbours are evenly distributed, large if a few hubs are near everything.

    >>> round(hubness(torch.tensor([0, 0, 0, 8])), 4)
    1.1547
    """
    apart_M = occurrences_M.double() - occurrences_M.double().mean()
    spread = float(apart_M.square().mean())
    return float(apart_M.pow(3).mean()) / spread**1.5 if spread else 0.0


class Spread(NamedTuple):
    """Per class, in the order of the labels `[C]`."""

    label: Tensor  # int64
    within: Tensor  # float64: root mean squared distance to the class mean
    between: Tensor  # float64: distance from the class mean to the nearest other one; infinite for a single class
    nearest: Tensor  # int64: the label of that class; its own for a single class


def spread(vectors_ND: Tensor, labels_N: Tensor, *, tile: int = TILE) -> Spread:
    """Width of each class, and distance to the nearest other class: a class with within > between overlaps another.

    >>> widths = spread(torch.tensor([[0.0], [2.0], [9.0], [11.0]]), torch.tensor([0, 0, 1, 1]))
    >>> widths.within.tolist(), widths.between.tolist()
    ([1.0, 1.0], [9.0, 9.0])
    """
    means_CD, label_C = centroids(vectors_ND.double(), labels_N)
    class_N = labels_N.unique(return_inverse=True)[1]
    square_N = (vectors_ND.double() - means_CD[class_N]).square().sum(-1)
    within_C = torch.zeros(len(label_C), dtype=torch.float64).index_add_(0, class_N, square_N)
    between_C, nearest_C = torch.empty_like(within_C), torch.empty_like(label_C)
    for place_T in torch.arange(len(label_C)).split(max(1, tile // len(label_C))):
        apart_TC = torch.cdist(means_CD[place_T], means_CD)
        between_C[place_T], nearest_C[place_T] = apart_TC.scatter(1, place_T[:, None], torch.inf).min(1)
    return Spread(label_C, (within_C / class_N.bincount()).sqrt(), between_C, label_C[nearest_C])
