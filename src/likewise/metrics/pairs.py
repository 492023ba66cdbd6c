"""Pairs of pictures, of one class or of two: drawn in equal numbers, or listed in a file; and their similarities."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from likewise import geometry
from likewise.metrics.neighbours import Sim

__all__ = ["Pairs", "draw", "draw_folds", "listed", "similarities"]

SAME, DIFFERENT = ("1", "true", "same", "yes"), ("0", "false", "different", "no")


class Pairs(NamedTuple):
    """T pairs by the places of their pictures, and whether both are of one class."""

    first: Tensor  # [T] int64
    second: Tensor  # [T] int64
    same: Tensor  # [T] bool


def draw(labels_N: Tensor, n: int = 10_000, *, seed: int = 0) -> Pairs:
    """At most n distinct pairs of one class and as many of two; every picture is as likely as any other to be in one.

    There are as many of either kind as of the scarcer: none at all, where one kind does not exist.
    """
    generator = torch.Generator().manual_seed(seed)
    order_N = labels_N.argsort(stable=True)
    size_C = labels_N.unique(return_counts=True)[1]
    end_N, size_N = size_C.cumsum(0).repeat_interleave(size_C), size_C.repeat_interleave(size_C)
    kinds = [
        _partners(end_N - size_N, size_N, n, generator, same=True),
        _partners(end_N - size_N, size_N, n, generator, same=False),
    ]
    few = min(len(first) for first, _ in kinds)
    first, second = (order_N[torch.cat([side[:few] for side in sides])] for sides in zip(*kinds, strict=True))
    return Pairs(first, second, torch.arange(2 * few) < few)


def _partners(
    start_N: Tensor, size_N: Tensor, n: int, generator: torch.Generator, *, same: bool
) -> tuple[Tensor, Tensor]:
    """Distinct pairs of places in labels sorted by class: a class is a run, the others the rest of the circle."""
    total = len(size_N)
    choices_N = size_N - 1 if same else total - size_N
    anchor_A = choices_N.nonzero()[:, 0]
    rounds = 2 * n // max(len(anchor_A), 1) + 2  # twice as many as wanted, since some come up again
    first_T = anchor_A[torch.rand(rounds, len(anchor_A), generator=generator).argsort(1).flatten()]
    step_T = (torch.rand(len(first_T), generator=generator, dtype=torch.float64) * choices_N[first_T]).long()
    if same:
        second_T = start_N[first_T] + (first_T - start_N[first_T] + 1 + step_T) % size_N[first_T]
    else:
        second_T = (start_N[first_T] + size_N[first_T] + step_T) % total
    return _distinct(first_T, second_T, total, n)


def _distinct(first_T: Tensor, second_T: Tensor, total: int, n: int) -> tuple[Tensor, Tensor]:
    """The first n pairs that are not another's repetition, in either order."""
    code_T = torch.minimum(first_T, second_T) * total + torch.maximum(first_T, second_T)
    code_T, order_T = code_T.sort(stable=True)
    fresh_T = torch.cat([torch.ones(1, dtype=torch.bool), code_T[1:] != code_T[:-1]])[: len(code_T)]
    keep_T = order_T[fresh_T].sort().values[:n]
    return first_T[keep_T], second_T[keep_T]


def draw_folds(labels_N: Tensor, n: int = 300, *, folds: int = 10, seed: int = 0) -> tuple[Pairs, Tensor]:
    """As LFW's ten sets: classes dealt into folds, n pairs of either kind within each, and the fold of each pair."""
    values_C, class_N = labels_N.unique(return_inverse=True)
    if len(values_C) < 2 * folds:
        raise ValueError(f"{folds} folds need {2 * folds} classes at least, two in each, and there are {len(values_C)}")
    fold_C = torch.randperm(len(values_C), generator=torch.Generator().manual_seed(seed)) % folds
    drawn = []
    for fold in range(folds):
        where = (fold_C[class_N] == fold).nonzero()[:, 0]
        found = draw(labels_N[where], n, seed=seed + fold)
        drawn.append(Pairs(where[found.first], where[found.second], found.same))
    sizes = torch.tensor([len(pairs.same) for pairs in drawn])
    whole = Pairs(*(torch.cat(sides) for sides in zip(*drawn, strict=True)))
    return whole, torch.arange(folds).repeat_interleave(sizes)


def listed(lines: Iterable[str], ids: Sequence[str]) -> Pairs:
    """Pairs from the lines of a CSV file: an id, another id, and 1 (same) or 0 (different); a heading may come first.

    Errors: ValueError naming the line that does not read, or the pictures that are not among `ids`.
    """
    place = {name: i for i, name in enumerate(ids)}
    read = csv.reader(lines, skipinitialspace=True)
    rows = [(line, [cell.strip() for cell in row]) for line, row in enumerate(read, start=1) if any(row)]
    if rows and _heading(rows[0][1], place):
        del rows[0]
    if not rows:
        raise ValueError("the list of pairs is empty: write one pair a line as id, id, and 1 (same) or 0 (different)")
    for line, row in rows:
        if len(row) < 3 or row[2].lower() not in SAME + DIFFERENT:
            said = ",".join(row)
            raise ValueError(f"line {line} of the pairs reads {said!r}; write id, id, and 1 (same) or 0 (different)")
    if missing := list(dict.fromkeys(name for _, row in rows for name in row[:2] if name not in place)):
        few = f"{len(missing)} pictures of the pairs"
        raise ValueError(f"{few} are not among the {len(place)} embedded ones; the first is {missing[0]!r}")
    first, second = (torch.tensor([place[row[side]] for _, row in rows], dtype=torch.int64) for side in (0, 1))
    return Pairs(first, second, torch.tensor([row[2].lower() in SAME for _, row in rows], dtype=torch.bool))


def _heading(row: list[str], place: Mapping[str, int]) -> bool:
    values = {*SAME, *DIFFERENT} - {"same"}  # a column may well be called so
    return not any(cell in place or cell.lower() in values for cell in row)


def similarities(
    vectors_ND: Tensor,
    pairs: Pairs,
    *,
    sim: Sim = geometry.cosine,
    other_MD: Tensor | None = None,
    at_once: int = 2**14,
) -> Tensor:
    """The similarity of each pair, float32 `[T]`; the second picture is looked up in `other_MD` where that is given."""
    seconds_MD = vectors_ND if other_MD is None else other_MD
    parts = zip(pairs.first.split(at_once), pairs.second.split(at_once), strict=True)
    found = [sim(vectors_ND[i][:, None], seconds_MD[j][:, None])[:, 0, 0].float() for i, j in parts]
    return torch.cat(found) if found else torch.zeros(0)
