"""Retrieval metrics: one value per query from its ranked hits; averages, slices and intervals are the caller's.

Queries without positives are left out, and counted. Ties: see neighbours.py.
How each definition differs from other libraries': docs/metrics.md.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from likewise import geometry
from likewise.metrics import neighbours
from likewise.metrics.influence import Influence
from likewise.metrics.neighbours import Sim

__all__ = [
    "PerQuery",
    "Ranked",
    "average_precision",
    "cmc",
    "found",
    "hidden",
    "inverse_negative_penalty",
    "map_at_r",
    "measure",
    "metric",
    "ndcg",
    "precision",
    "r_precision",
    "rank",
    "recall",
    "reciprocal_rank",
    "relevant",
]


class Ranked(NamedTuple):
    """Queries with their results, nearest first."""

    hits: Tensor  # [Q, K] bool: is the k-th result relevant
    relevant: Tensor  # [Q] int64 > 0: how many references are relevant in all


class PerQuery(NamedTuple):
    """Each metric's value for every query that has something to find."""

    values: dict[str, Tensor]  # [Q] float64
    query: Tensor  # [Q] int64: which query each value is of
    queries_without_positives: int  # queries left out, because no reference is relevant


class Set(NamedTuple):
    """Vectors with their labels, and optionally the group (camera, video, writer) that each comes from."""

    vectors: Tensor  # [N, D]
    labels: Tensor  # [N] int64
    groups: Tensor | None = None  # [N] int64


def recall(ranked: Ranked, k: int) -> Tensor:
    """1 when any of the first k is relevant: what metric learning calls Recall@k, and tracking CMC@k."""
    return _first(ranked, k).any(-1).double()


def precision(ranked: Ranked, k: int) -> Tensor:
    """The share of the first k that is relevant."""
    return _first(ranked, k).double().mean(-1)


def found(ranked: Ranked, k: int) -> Tensor:
    """The share of all relevant references that is among the first k: recall as information retrieval has it."""
    return _first(ranked, k).sum(-1) / ranked.relevant.double()


def cmc(ranked: Ranked, k: int) -> Tensor:
    """Cumulative match characteristic `[Q, k]`: at each rank, 1 from the first relevant result on."""
    return _first(ranked, k).cummax(-1).values.double()


def reciprocal_rank(ranked: Ranked, k: int | None = None) -> Tensor:
    """1 / the rank of the first relevant result among the first k, otherwise 0; its mean is MRR."""
    hits_QK = _first(ranked, k or ranked.hits.shape[1])
    return torch.where(hits_QK.any(-1), 1 / (hits_QK.byte().argmax(-1) + 1).double(), 0)


def r_precision(ranked: Ranked) -> Tensor:
    """The share of the first R that is relevant, R being how many references are relevant to the query."""
    return _within_r(ranked).sum(-1) / ranked.relevant.double()


def map_at_r(ranked: Ranked) -> Tensor:
    """Mean over the first R ranks of precision at each relevant one, 0 at the others. Musgrave et al., 2020."""
    return _precisions(_within_r(ranked)).sum(-1) / ranked.relevant


def average_precision(ranked: Ranked, k: int | None = None) -> Tensor:
    """Mean precision at the ranks of the relevant references, within the first k; over min(R, k). Its mean is MAP."""
    k = k or ranked.hits.shape[1]
    return _precisions(_first(ranked, k)).sum(-1) / ranked.relevant.clamp_max(k)


def inverse_negative_penalty(ranked: Ranked) -> Tensor:
    """R over the rank of the last relevant reference: how soon the hardest match is found. Its mean is mINP.

    Needs the whole ranking. Ye et al., 2021, https://arxiv.org/abs/2001.04193.
    """
    found_Q = ranked.hits.sum(-1)
    if bool((found_Q < ranked.relevant).any()):
        raise ValueError(f"the whole ranking is needed, but only {ranked.hits.shape[1]} results were ranked")
    rank_K = torch.arange(1, ranked.hits.shape[1] + 1, device=ranked.hits.device, dtype=torch.float64)
    return ranked.relevant / (ranked.hits * rank_K).amax(-1)


def ndcg(ranked: Ranked, k: int | None = None) -> Tensor:
    """Discounted gain 1 / log2(rank + 1) of the relevant results, over that of the best order. Järvelin, 2002."""
    k = k or ranked.hits.shape[1]
    gain_K = 1 / torch.arange(2, k + 2, device=ranked.hits.device).double().log2()
    best_Q = gain_K.cumsum(0)[ranked.relevant.clamp_max(k) - 1]
    return (_first(ranked, k) * gain_K).sum(-1) / best_Q


def _first(ranked: Ranked, k: int) -> Tensor:
    if not 0 < k <= ranked.hits.shape[1]:
        raise ValueError(f"k is {k}, but {ranked.hits.shape[1]} results were ranked")
    return ranked.hits[:, :k]


def _within_r(ranked: Ranked) -> Tensor:
    most, depth = int(ranked.relevant.max()), ranked.hits.shape[1]
    if most > depth:
        raise ValueError(f"a query has {most} relevant references, but {depth} results were ranked")
    return ranked.hits[:, :most] & (torch.arange(most, device=ranked.hits.device) < ranked.relevant[:, None])


def _precisions(hits_QK: Tensor) -> Tensor:
    """Precision at each relevant rank, 0 at the others, float64 [Q, K]."""
    rank_K = torch.arange(1, hits_QK.shape[1] + 1, device=hits_QK.device, dtype=torch.float64)
    return hits_QK.cumsum(-1) * hits_QK / rank_K


WITHOUT_K = {
    "r_precision": r_precision,
    "map@r": map_at_r,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "minp": inverse_negative_penalty,
    "ndcg": ndcg,
}
WITH_K = {
    "recall": recall,
    "cmc": recall,  # at one rank they are the same; the curve over all ranks is `cmc`
    "precision": precision,
    "found": found,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "ndcg": ndcg,
}


def metric(name: str) -> Callable[[Ranked], Tensor]:
    """The metric of a name such as `recall@10`, `map@r` or `mrr`."""
    stem, _, k = name.partition("@")
    if name in WITHOUT_K:
        return WITHOUT_K[name]
    if stem in WITH_K and k.isdigit() and int(k):
        return partial(WITH_K[stem], k=int(k))
    known = ", ".join([*WITHOUT_K, *(f"{stem}@k" for stem in WITH_K)])
    raise ValueError(f"no retrieval metric is named {name!r}; there are {known}")


def measure(
    names: Sequence[str],
    query: Set,
    reference: Set | None = None,
    *,
    sim: Sim = geometry.cosine,
    tile: int = neighbours.TILE,
    influence: Influence | None = None,
) -> PerQuery:
    """Rank once, only as deep as the metrics of these names need, and take every metric of every query.

    influence: collects what every image does to the others' values, where queries are one another's references.
    """
    metrics = {name: metric(name) for name in names}
    relevant_Q = relevant(query, reference)
    seen = len(query.labels) - 1 if reference is None else len(reference.labels)
    k = depth(names, relevant_Q, seen)
    deep = min(k + 1, max(k, seen)) if influence else k  # who takes the place of one that is removed
    where = relevant_Q.nonzero()[:, 0].cpu()
    # in place: small results kept from every tile would lie between the large ones and fragment the heap
    values = {name: torch.empty(len(where), dtype=torch.float64) for name in names}
    done = 0
    for query_Q, place_QK, ranked in _ranked(query, reference, k=deep, sim=sim, tile=tile):
        first = Ranked(ranked.hits[:, :k], ranked.relevant)
        for name in names:
            values[name][done : done + len(query_Q)] = metrics[name](first)
            if influence:
                influence.add(name, query_Q, place_QK, *ranked)
        done += len(query_Q)
    return PerQuery(values, where, len(relevant_Q) - len(where))


def rank(
    query: Set,
    reference: Set | None = None,
    *,
    k: int,
    sim: Sim = geometry.cosine,
    tile: int = neighbours.TILE,
) -> Iterator[Ranked]:
    """Rank the k nearest references of every query that has a relevant one, some queries at a time.

    Without a reference set the queries are one another's references. With groups on both sides a query does not see
    the references of its own label and group, as Market-1501 and torchreid have it for cameras.
    """
    for _, _, ranked in _ranked(query, reference, k=k, sim=sim, tile=tile):
        yield ranked


def _ranked(
    query: Set, reference: Set | None, *, k: int, sim: Sim, tile: int
) -> Iterator[tuple[Tensor, Tensor, Ranked]]:
    """Which queries, the places of what they find `[Q, K]`, and the hits."""
    refs, apart = reference or query, hidden(query, reference)
    relevant_Q = relevant(query, reference)
    offset = 0 if reference is None else None
    ranks = neighbours.tiles(query.vectors, refs.vectors, k, sim=sim, offset=offset, hidden=apart, tile=tile)
    for rows, near in ranks:
        keep = relevant_Q[rows].nonzero()[:, 0]
        if len(keep):
            place_QK = near.place[keep]
            hits_QK = (refs.labels[place_QK] == query.labels[rows][keep, None]) & (place_QK >= 0)
            yield keep + rows.start, place_QK, Ranked(hits_QK, relevant_Q[rows][keep])


def depth(names: Sequence[str], relevant_Q: Tensor, references: int) -> int:
    """How many results the metrics of these names need ranked: their k, the largest R, or all references."""
    most = max(int(relevant_Q.max()), 1)
    return max(_needs(name, most, references) for name in names)


def _needs(name: str, most: int, references: int) -> int:
    if name in ("r_precision", "map@r"):
        return most
    return int(name.partition("@")[2] or references)


def relevant(query: Set, reference: Set | None = None) -> Tensor:
    """How many references are relevant to each query, int64 `[Q]`: those of its label, less itself or its own group."""
    refs = reference or query
    for labels in (query.labels, refs.labels):
        if labels.is_floating_point():
            raise ValueError(f"labels are {labels.dtype}, which merges large class numbers: give them as int64")
    codes = hidden(query, reference)
    itself = int(reference is None) if codes is None else _count(*codes)
    return _count(query.labels, refs.labels) - itself


def hidden(query: Set, reference: Set | None) -> neighbours.Codes | None:
    """Codes of (label, group) pairs of queries and references; equal ones do not see each other."""
    refs = reference or query
    if query.groups is None or refs.groups is None:
        return None
    labels, groups = torch.cat([query.labels, refs.labels]), torch.cat([query.groups, refs.groups])
    codes = torch.stack([labels, groups], dim=1).unique(dim=0, return_inverse=True)[1]
    return codes[: len(query.labels)], codes[len(query.labels) :]


def _count(code_Q: Tensor, code_M: Tensor) -> Tensor:
    """How often each query's code is among the references'."""
    values, counts = code_M.unique(return_counts=True)
    place_Q = torch.searchsorted(values, code_Q).clamp_max(len(values) - 1)
    return torch.where(values[place_Q] == code_Q, counts[place_Q], 0)
