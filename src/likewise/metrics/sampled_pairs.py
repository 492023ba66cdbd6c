"""Random pairs of images, of the same or of different classes, and their similarities."""

from typing import NamedTuple

import torch
from torch import Tensor

from likewise import geometry
from likewise.metrics.neighbours import Sim

__all__ = ["Pairs", "draw", "draw_folds", "even", "similarities"]


class Pairs(NamedTuple):
    """T pairs as indices of images, and whether both have the same class."""

    first: Tensor  # [T] int64
    second: Tensor  # [T] int64
    same: Tensor  # [T] bool


def draw(labels_N: Tensor, n: int = 10_000, *, different: int | None = None, seed: int = 0) -> Pairs:
    """At most n distinct same-class pairs and as many different-class pairs; every image is equally likely to be drawn.

    Both kinds have the size of the rarer one; with `different`, up to that many different-class pairs are drawn
    independently. Empty if one kind does not exist.

    >>> pairs = draw(torch.tensor([0, 0, 1, 1]), n=2)
    >>> pairs.same.int().tolist()
    [1, 1, 0, 0]
    """
    generator = torch.Generator().manual_seed(seed)
    order_N = labels_N.argsort(stable=True)
    size_C = labels_N.unique(return_counts=True)[1]
    end_N, size_N = size_C.cumsum(0).repeat_interleave(size_C), size_C.repeat_interleave(size_C)
    wanted = {True: n, False: n if different is None else different}
    kinds = [_partners(end_N - size_N, size_N, wanted[same], generator, same=same) for same in (True, False)]
    counts = [len(first) for first, _ in kinds]
    if different is None or not all(counts):
        counts = [min(counts)] * 2
    sides = ([side[:most] for side, most in zip(kind, counts, strict=True)] for kind in zip(*kinds, strict=True))
    first, second = (order_N[torch.cat(side)] for side in sides)
    return Pairs(first, second, torch.arange(sum(counts)) < counts[0])


def even(same_T: Tensor) -> Tensor:
    """Indices of equally many pairs of both kinds, int64: all of the rarer kind, the others evenly spaced.

    >>> even(torch.tensor([True, False, False, False]))
    tensor([0, 1])
    """
    kinds = [kind_T.nonzero()[:, 0] for kind_T in (same_T, ~same_T)]
    few = min(map(len, kinds))
    return torch.cat([kind[torch.arange(few) * len(kind) // max(few, 1)] for kind in kinds])


def _partners(
    start_N: Tensor, size_N: Tensor, n: int, generator: torch.Generator, *, same: bool
) -> tuple[Tensor, Tensor]:
    """Distinct pairs of positions in labels sorted by class: each class is a run, the others the rest of the circle."""
    total = len(size_N)
    choices_N = size_N - 1 if same else total - size_N
    if int(choices_N.sum()) <= 4 * n:  # each pair occurs twice: at most twice as many as wanted
        first_T, second_T = _every(start_N, size_N, choices_N, same=same)
        keep_T = torch.randperm(len(first_T), generator=generator)[:n]
        return first_T[keep_T], second_T[keep_T]
    anchor_A = choices_N.nonzero()[:, 0]
    rounds = 2 * n // max(len(anchor_A), 1) + 2  # twice as many as wanted, since some are repeated
    first_T = anchor_A[torch.rand(rounds, len(anchor_A), generator=generator).argsort(1).flatten()]
    step_T = (torch.rand(len(first_T), generator=generator, dtype=torch.float64) * choices_N[first_T]).long()
    return _distinct(first_T, _second(first_T, step_T, start_N, size_N, same=same), total, n)


def _second(first_T: Tensor, step_T: Tensor, start_N: Tensor, size_N: Tensor, *, same: bool) -> Tensor:
    """Some steps from an image through its class, or from the end of its class around the circle of the others."""
    if same:
        return start_N[first_T] + (first_T - start_N[first_T] + 1 + step_T) % size_N[first_T]
    return (start_N[first_T] + size_N[first_T] + step_T) % len(size_N)


def _every(start_N: Tensor, size_N: Tensor, choices_N: Tensor, *, same: bool) -> tuple[Tensor, Tensor]:
    """All pairs of a kind, once each."""
    first_T = torch.arange(len(size_N)).repeat_interleave(choices_N)
    step_T = torch.arange(len(first_T)) - (choices_N.cumsum(0) - choices_N)[first_T]
    second_T = _second(first_T, step_T, start_N, size_N, same=same)
    once_T = first_T < second_T
    return first_T[once_T], second_T[once_T]


def _distinct(first_T: Tensor, second_T: Tensor, total: int, n: int) -> tuple[Tensor, Tensor]:
    """The first n pairs without repetitions, in either order."""
    code_T = torch.minimum(first_T, second_T) * total + torch.maximum(first_T, second_T)
    code_T, order_T = code_T.sort(stable=True)
    fresh_T = torch.cat([torch.ones(1, dtype=torch.bool), code_T[1:] != code_T[:-1]])[: len(code_T)]
    keep_T = order_T[fresh_T].sort().values[:n]
    return first_T[keep_T], second_T[keep_T]


def draw_folds(labels_N: Tensor, n: int = 300, *, folds: int = 10, seed: int = 0) -> tuple[Pairs, Tensor]:
    """LFW's ten sets: classes divided into folds, n pairs of each kind per fold, and the fold of each pair.

    >>> pairs, folds = draw_folds(torch.arange(40) % 4, 5, folds=2)
    >>> len(pairs.same), folds.unique().tolist()
    (20, [0, 1])
    """
    values_C, class_N = labels_N.unique(return_inverse=True)
    if len(values_C) < 2 * folds:
        raise ValueError(f"{folds} folds need at least {2 * folds} classes, two in each, and there are {len(values_C)}")
    fold_C = torch.randperm(len(values_C), generator=torch.Generator().manual_seed(seed)) % folds
    drawn = []
    for fold in range(folds):
        where = (fold_C[class_N] == fold).nonzero()[:, 0]
        fold_pairs = draw(labels_N[where], n, seed=seed + fold)
        drawn.append(Pairs(where[fold_pairs.first], where[fold_pairs.second], fold_pairs.same))
    sizes = torch.tensor([len(pairs.same) for pairs in drawn])
    whole = Pairs(*(torch.cat(sides) for sides in zip(*drawn, strict=True)))
    return whole, torch.arange(folds).repeat_interleave(sizes)


def similarities(
    vectors_ND: Tensor,
    pairs: Pairs,
    *,
    sim: Sim = geometry.cosine,
    other_MD: Tensor | None = None,
    at_once: int = 2**14,
) -> Tensor:
    """The similarity of each pair, float32 `[T]`; the second image is taken from `other_MD` if given.

    >>> pairs = Pairs(torch.tensor([0, 0]), torch.tensor([1, 2]), torch.tensor([True, False]))
    >>> similarities(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), pairs)
    tensor([1., 0.])
    """
    seconds_MD = vectors_ND if other_MD is None else other_MD
    parts = zip(pairs.first.split(at_once), pairs.second.split(at_once), strict=True)
    parts_sims = [sim(vectors_ND[i][:, None], seconds_MD[j][:, None])[:, 0, 0].float() for i, j in parts]
    return torch.cat(parts_sims) if parts_sims else torch.zeros(0)
