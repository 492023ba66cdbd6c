"""The loss of a collapsed embedding (all vectors equal)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from likewise import geometry
from likewise.losses.terms import Rule, Terms, as_terms, is_marked, reduce
from likewise.match import Refs, Relation, match, same

__all__ = ["loss_at_collapse"]

RANGES = {"cosine": (-1.0, 1.0), "dot": (-64.0, 64.0)}  # minus a distance reaches from -64 to 0
STEPS, ROUNDS = 17, 5  # constant similarities tried at once, then again around the best: within 1e-4 of the range
ROWS = 1024  # larger matrices take too long


class Batch(NamedTuple):
    """Masks of a batch, one row standing for `weight` anchors of the same kind."""

    pos: Tensor  # [N, M]
    neg: Tensor  # [N, M]
    weight: Tensor  # [N]


@torch.no_grad()
def loss_at_collapse(
    rule: Rule,
    labels_N: Tensor | None = None,
    *,
    sim: Callable = geometry.cosine,
    relation: Relation = same,
) -> float | None:
    """The lowest loss over similarities equal for every pair; None for a batch that is too large to compute it.

    labels: of the batch; only class sizes matter; by default 8 classes of 4. For example
    margin^2 / 4 for contrastive(margin) with euclidean, margin for triplet, ln(1 + negatives) for ntxent.
    """
    labels_N = torch.arange(8).repeat_interleave(4) if labels_N is None else labels_N.cpu()
    batch = _batch(labels_N, relation, is_marked(rule, "whole") or relation is not same)
    if batch is None:
        return None
    low, high = RANGES.get(getattr(getattr(sim, "func", sim), "__name__", ""), (-64.0, 0.0))
    best = torch.inf
    with torch.random.fork_rng(devices=[]):  # a random rule does not change the random state of the run
        for _ in range(ROUNDS):
            tried = torch.linspace(low, high, STEPS, dtype=torch.float64).tolist()
            values = [_at(rule, shift, batch) for shift in tried]
            best, at = min(best, *values), min(range(STEPS), key=values.__getitem__)
            low, high = tried[max(at - 1, 0)], tried[min(at + 1, STEPS - 1)]
    return best


def _batch(labels_N: Tensor, relation: Relation, every_row: bool) -> Batch | None:
    n = len(labels_N)
    if every_row:
        return Batch(*match(labels_N, Refs(labels_N, labels_N, 0), relation), torch.ones(n)) if n <= ROWS else None
    # Anchors of classes of equal size are equivalent: size - 1 positives; itself is neither positive nor negative.
    size_S, classes_S = labels_N.unique(return_counts=True)[1].unique(return_counts=True)
    place_N = torch.arange(n)
    return Batch(place_N < size_S[:, None] - 1, place_N >= size_S[:, None], size_S * classes_S)


def _at(rule: Rule, shift: float, batch: Batch) -> float:
    sim_NM = torch.full(batch.pos.shape, shift, dtype=torch.float64)
    terms = as_terms(rule(sim_NM, batch.pos, batch.neg))
    if not any(t.count.any() for t in terms):
        # A rule that needs a farther negative finds none at an exact tie: a tiny difference gives the limit.
        hair_NM = torch.linspace(0, 1e-7, sim_NM.numel(), dtype=torch.float64).view_as(sim_NM)
        terms = as_terms(rule(sim_NM - hair_NM * batch.neg, batch.pos, batch.neg))
    weight_N = batch.weight.to(terms[0].total.device)  # a rule over proxies answers where its proxies are
    return reduce(Terms(t.total * weight_N, t.count * weight_N) for t in terms).item()
