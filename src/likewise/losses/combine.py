"""Losses made of losses: a weighted sum, and one loss at several prefixes of the embedding."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from likewise.losses.pair import check
from likewise.losses.terms import BatchContext

__all__ = ["matryoshka", "sum"]

Make = Callable[..., nn.Module]  # a name, and what is different about it -> a loss


class Sum(nn.Module):
    """A weighted sum of losses.

    loss    weights[0] * losses[0] + weights[1] * losses[1] + ...; without weights, 1 each
    losses  names as anywhere, or losses already built. A miner, a memory (each its own) and class balance go to
            those over pairs; the progress line follows the first
    at collapse  the weighted sum of theirs
    use     sum(losses=['triplet(margin=0.2)', 'softmax'], weights=[1, 0.5])
    PML     MultipleLosses
    """

    def __init__(
        self,
        *,
        losses: Sequence[str | nn.Module],
        weights: Sequence[float] | None = None,
        make: Make | None = None,
    ):
        super().__init__()
        self.losses = nn.ModuleList(made(loss, make) for loss in losses)
        self.weights = one_each(weights, len(self.losses), "losses")

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        parts = [loss(emb_ND, labels_N, seen) for loss, seen in zip(self.losses, noted_once(batch, self), strict=True)]
        return weighted(parts, self.weights)

    def at_collapse(self, labels_N: Tensor | None = None) -> float | None:
        return weighted_at_collapse(self, labels_N)


class Matryoshka(nn.Module):
    """One loss at several prefixes of the embedding.

    loss    sum over dims of weight * loss(emb[:, :dim]); without weights, 1 each
    paper   Kusupati et al., 2022
    at collapse  the weighted sum of theirs
    use     matryoshka(loss='ntxent', dims=[8, 16, 64]): each prefix then serves as an embedding of its own, shorter
            and faster to search. Made for cosine, which sees each prefix at its own length; proxies are not shared
    PML     has none
    """

    def __init__(
        self,
        *,
        loss: str | Sequence[nn.Module],
        dims: Sequence[int],
        weights: Sequence[float] | None = None,
        make: Make | None = None,
    ):
        super().__init__()
        built = [made(loss, make, dim=dim) for dim in dims] if isinstance(loss, str) else list(loss)
        if len(built) != len(dims):
            raise ValueError(f"matryoshka has {len(built)} losses for dims={list(dims)}; give one for each")
        self.losses, self.dims = nn.ModuleList(built), tuple(dims)
        self.weights = one_each(weights, len(self.dims), "dims")

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        check(emb_ND, labels_N)
        if max(self.dims) > emb_ND.shape[1]:
            raise ValueError(f"matryoshka has dims={list(self.dims)}, but the embedding has only {emb_ND.shape[1]}")
        each = zip(self.losses, self.dims, noted_once(batch, self), strict=True)
        return weighted([loss(emb_ND[:, :dim], labels_N, seen) for loss, dim, seen in each], self.weights)

    def at_collapse(self, labels_N: Tensor | None = None) -> float | None:
        return weighted_at_collapse(self, labels_N)


def made(loss: str | nn.Module, make: Make | None, **different: int) -> nn.Module:
    """A loss from its name, by `make`; one already built as it is."""
    if isinstance(loss, nn.Module):
        return loss
    if make is None:
        raise ValueError(f"to build {loss!r} from its name use losses.build; here give losses already built")
    return make(loss, **different)


def one_each(weights: Sequence[float] | None, n: int, of: str) -> tuple[float, ...]:
    """One weight for each. Errors: ValueError when there are none, or another number of them."""
    weights = [1.0] * n if weights is None else weights
    if n == 0 or len(weights) != n:
        raise ValueError(f"{len(weights)} weights for {n} {of}; give at least one of them, and a weight for each")
    return tuple(weights)


def noted_once(batch: BatchContext | None, whole: Sum | Matryoshka) -> list[BatchContext | None]:
    """The batch for each part: what the first notes stays, the others write into notes that are thrown away."""
    rest = [replace(batch, notes={}) if batch else None for _ in whole.losses]
    return [batch, *rest[1:]]


def weighted(parts: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Sum of weights[i] * parts[i]."""
    return torch.stack([weight * part for weight, part in zip(weights, parts, strict=True)]).sum()


def weighted_at_collapse(whole: Sum | Matryoshka, labels_N: Tensor | None) -> float | None:
    """The weighted sum of what is chance to the parts; None when it is not known of one."""
    parts = [at_collapse_of(loss, labels_N) for loss in whole.losses]
    known = [weight * part for weight, part in zip(whole.weights, parts, strict=True) if part is not None]
    return math.fsum(known) if len(known) == len(parts) else None


def at_collapse_of(loss: nn.Module, labels_N: Tensor | None) -> float | None:
    """A loss of the user's own need not know."""
    ask = getattr(loss, "at_collapse", None)
    return ask(labels_N) if ask else None


sum, matryoshka = Sum, Matryoshka
