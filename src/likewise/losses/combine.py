"""Combinations of losses: a weighted sum, and one loss at several prefixes of the embedding."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from likewise.losses.pair import check
from likewise.losses.terms import BatchContext

__all__ = ["matryoshka", "sum"]

Make = Callable[..., nn.Module]  # a name and changed keywords -> a loss


class Sum(nn.Module):
    """A weighted sum of losses.

    loss    weights[0] * losses[0] + weights[1] * losses[1] + ...; without weights, 1 each
    losses  names, or losses that are already built. A miner, a memory (one for each) and class balance apply to the
            losses over pairs; the progress line shows the first
    at collapse  the weighted sum of the losses at collapse
    use     sum(losses=['triplet(margin=0.2)', 'softmax'], weights=[1, 0.5])
    PML     MultipleLosses

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("sum(losses=['triplet', 'ntxent'], weights=[1, 0.5])")(emb, labels).item(), 4)
    0.9709
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
    paper   Kusupati et al., 2022. https://arxiv.org/abs/2205.13147
    at collapse  the weighted sum of the losses at collapse
    use     matryoshka(loss='ntxent', dims=[8, 16, 64]): each prefix is then an embedding by itself, smaller and
            faster to search. For cosine, which normalises each prefix; proxies are not shared
    PML     not included

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("matryoshka(loss='triplet', dims=[1, 2])", dim=2)(emb, labels).item(), 4)
    0.8933
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
    """A loss from its name, by `make`; a built loss unchanged."""
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
    """The batch for each part: the notes of the first are kept, those of the others discarded."""
    rest = [replace(batch, notes={}) if batch else None for _ in whole.losses]
    return [batch, *rest[1:]]


def weighted(parts: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Sum of weights[i] * parts[i]."""
    return torch.stack([weight * part for weight, part in zip(weights, parts, strict=True)]).sum()


def weighted_at_collapse(whole: Sum | Matryoshka, labels_N: Tensor | None) -> float | None:
    """The weighted sum of the parts' losses at collapse; None if one is unknown."""
    parts = [at_collapse_of(loss, labels_N) for loss in whole.losses]
    known = [weight * part for weight, part in zip(whole.weights, parts, strict=True) if part is not None]
    return math.fsum(known) if len(known) == len(parts) else None


def at_collapse_of(loss: nn.Module, labels_N: Tensor | None) -> float | None:
    """None for a custom loss that does not define it."""
    ask = getattr(loss, "at_collapse", None)
    return ask(labels_N) if ask else None


sum, matryoshka = Sum, Matryoshka
