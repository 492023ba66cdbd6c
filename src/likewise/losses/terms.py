"""Terms returned by rules, the context of a batch, and the reduction."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from likewise import distributed

__all__ = ["BatchContext", "Rule", "Terms", "as_terms", "draws", "is_marked", "random", "reduce", "whole"]


class Terms(NamedTuple):
    """Per-anchor totals and numbers of terms: one division gives the average that the paper defines."""

    total: Tensor  # [N]
    count: Tensor  # type: ignore[assignment]  # [N], carries no gradient; hides tuple.count


Rule = Callable[..., "Terms | tuple[Terms, ...]"]


@dataclass
class BatchContext:
    """A batch as the network saw it. `notes` is where a loss writes detached tensors for the progress line.

    With several processes, embeddings and labels are those of all of them, images and features those of `own`.
    """

    images: Tensor | None = None
    features: Tensor | None = None  # before the embedding head
    partners: int = 0  # P > 0: N anchors, then N first partners, ... ; a row is compared with its own partners only
    notes: dict[str, Tensor] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()  # anchors of each process, where they are known
    own: slice | None = None  # anchors of this process; None: all, there is one process
    teacher: Tensor | None = None  # a teacher's embeddings [N, T], with several processes those of the whole batch


def whole(rule: Rule | None = None, *, columns: bool = True, when: str = "") -> Callable:
    """Marks a rule (or miner) whose rows depend on one another: it needs every row at once and is never tiled.

    columns: it also assumes that a column is the same reference for all rows, so that it cannot be used with partners.
    when: the keyword that makes it so.
    """

    def mark(rule: Rule) -> Rule:
        vars(rule).update(whole=True, columns=columns, when=when)
        return rule

    return mark(rule) if rule else mark


def is_marked(rule: Callable | None, mark: str) -> bool:
    """Whether a rule or miner, with the keywords bound to it, is marked as "whole" or as reading "columns"."""
    plain, bound = getattr(rule, "func", rule), getattr(rule, "keywords", {})
    when = getattr(plain, "when", "")
    return bool(getattr(plain, mark, False) and (not when or bound.get(when)))


def random(rule: Callable | None = None, *, when: str = "") -> Callable:
    """Marks a rule (or miner) that draws random numbers, which every process then draws for the whole batch.

    when: the value of a keyword that makes it so.
    """

    def mark(rule: Callable) -> Callable:
        vars(rule)["draws"] = when or True
        return rule

    return mark(rule) if rule else mark


def draws(rule: Callable | None) -> bool:
    """Whether a rule or miner, with the keywords bound to it, is marked as `random`."""
    mark = getattr(getattr(rule, "func", rule), "draws", False)
    return mark is True or (bool(mark) and mark in getattr(rule, "keywords", {}).values())


def as_terms(result: Terms | tuple[Terms, ...]) -> tuple[Terms, ...]:
    """One Terms or several, as a tuple."""
    return (result,) if isinstance(result, Terms) else tuple(result)


def reduce(terms: Iterable[Terms], *, over_ranks: bool = False) -> Tensor:
    """Sum over Terms of total over count, a scalar; a Terms without any term gives 0 with zero gradient.

    over_ranks: totals and counts are first added up over processes, each of which has the terms of its own anchors.
    """
    sums = [(t.total.sum(), t.count.sum()) for t in terms]
    return functools.reduce(torch.add, (_divide(*pair) for pair in (_over_ranks(sums) if over_ranks else sums)))


def _over_ranks(sums: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    flat = distributed.total(torch.stack([x.double() for pair in sums for x in pair]))
    totals, counts = flat[::2], flat[1::2].detach()
    return [(totals[i].to(total.dtype), counts[i].to(count.dtype)) for i, (total, count) in enumerate(sums)]


def _divide(total: Tensor, count: Tensor) -> Tensor:
    if not count.is_floating_point():
        return total / count.clamp_min(1)
    return total / torch.where(count > 0, count, 1)  # weighted, so that it may be a fraction
