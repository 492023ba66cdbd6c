"""Which images, classes or single pairs the intervals of pair scores draw, as weights of the pairs."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from likewise.metrics import intervals
from likewise.metrics.sampled_pairs import Pairs

__all__ = ["DRAWN_CLASSES", "Bias", "image_weights", "pair_weights", "strata", "units", "within_classes"]

DRAWN_CLASSES = 5  # below which classes tell nothing of others, so that images are drawn
FEW = 5  # pairs of the same two classes, below which they tell no variance


class Bias(NamedTuple):
    """What a bootstrap of images does to the variance of a score of pairs, as `intervals.without_pair_noise` has it."""

    surplus: float = 2.0
    factor: float = 1.0


def within_classes(size: float) -> Bias:
    """Where images are drawn within classes of this many: the variance of count_i count_j, multinomial counts.

    E[count_i count_j] is (n - 1) / n; higher moments follow from factorial ones, n (n - 1) (n - 2) (n - 3) / n^4.
    """
    n = max(size, 2.0)
    square = ((n - 1) * (n - 2) * max(n - 3, 0) + 2 * n * (n - 1) * (n - 2) + n**2 * (n - 1)) / n**3
    share = (n - 1) / n  # of the variance of one image's part
    return Bias(square - share**2 - share, 1 / share)


def units(labels_N: Tensor, classes: bool) -> Tensor:
    """What a bootstrap draws, int64 `[N]` numbered from 0: classes, or images where there are too few classes."""
    values_C, class_N = labels_N.unique(return_inverse=True)
    return class_N if classes and len(values_C) >= DRAWN_CLASSES else torch.arange(len(labels_N))


def strata(labels_N: Tensor, units_N: Tensor) -> Tensor | None:
    """The class of each image where images are what is drawn; None where classes are."""
    return labels_N if len(units_N) and int(units_N.max()) + 1 == len(labels_N) > len(labels_N.unique()) else None


def image_weights(
    pairs: Pairs, units_N: Tensor, strata_N: Tensor | None = None, *, resamples: int, seed: int
) -> Iterator[Tensor]:
    """How often each resample holds each pair, `[B, T]`: as often as both its images, or its class. Owen, 2007."""
    a_T, b_T = units_N[pairs.first], units_N[pairs.second]
    within_W = (a_T == b_T).nonzero()[:, 0]
    drawn = int(units_N.max()) + 1
    at_once = drawn * max(1, 2**19 // max(len(pairs.same), 1))
    for count_BU in intervals.draws(drawn, resamples=resamples, seed=seed, at_once=at_once, strata_U=strata_N):
        weight_BT = count_BU[:, a_T] * count_BU[:, b_T]
        weight_BT[:, within_W] = count_BU[:, a_T[within_W]]
        yield weight_BT


def pair_weights(
    pairs: Pairs, units_N: Tensor, strata_N: Tensor | None = None, *, resamples: int, seed: int
) -> Iterator[Tensor]:
    """How often each resample of the pairs of two units holds each, `[B, T]`; the pairs within one are in all once.

    Where images are drawn within classes, pairs are within two classes, unless those hold too few pairs each.
    """
    across_A = (units_N[pairs.first] != units_N[pairs.second]).nonzero()[:, 0]
    if not len(across_A):
        yield torch.ones(2, len(pairs.same), dtype=torch.float64)
        return
    code_A = None if strata_N is None else _class_pairs(strata_N, pairs)[across_A]
    at_once = len(across_A) * max(1, 2**19 // len(pairs.same))
    for count_BA in intervals.draws(len(across_A), resamples=resamples, seed=seed, at_once=at_once, strata_U=code_A):
        weight_BT = torch.ones(len(count_BA), len(pairs.same), dtype=torch.float64)
        weight_BT[:, across_A] = count_BA
        yield weight_BT


def _class_pairs(labels_N: Tensor, pairs: Pairs) -> Tensor:
    """A number for the two classes of each pair, int64 `[T]`; one for all pairs of two classes where these are few."""
    class_N = labels_N.unique(return_inverse=True)[1]
    a_T, b_T = class_N[pairs.first], class_N[pairs.second]
    classes = int(class_N.max()) + 1
    code_T = torch.minimum(a_T, b_T) * classes + torch.maximum(a_T, b_T)
    different_T = ~pairs.same
    few = int(different_T.sum()) < FEW * len(code_T[different_T].unique())
    return code_T.where(pairs.same, -1) if few else code_T
