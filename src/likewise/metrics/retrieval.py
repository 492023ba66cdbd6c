"""Retrieval metrics: one value per query from its ranked hits; averages, slices and intervals are up to the caller.

Queries without positives are left out, and counted. Ties: see neighbours.py.
Differences from other libraries: docs/metrics.md.
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
    """Results of queries, nearest first."""

    hits: Tensor  # [Q, K] bool: whether the k-th result is relevant
    relevant: Tensor  # [Q] int64 > 0: total number of relevant references


class PerQuery(NamedTuple):
    """The value of each metric for every query with positives."""

    values: dict[str, Tensor]  # [Q] float64
    query: Tensor  # [Q] int64: index of the query of each value
    queries_without_positives: int  # queries left out, without a relevant reference


class Set(NamedTuple):
    """Vectors with their labels, and optionally groups (camera, video, writer)."""

    vectors: Tensor  # [N, D]
    labels: Tensor  # [N] int64
    groups: Tensor | None = None  # [N] int64


def recall(ranked: Ranked, k: int) -> Tensor:
    """1 if any of the first k is relevant: Recall@k in metric learning, CMC@k in re-identification.

    >>> ranked = Ranked(hits=torch.tensor([[True, False, True]]), relevant=torch.tensor([2]))
    >>> recall(ranked, k=1)
    tensor([1.], dtype=torch.float64)
    """
    return _first(ranked, k).any(-1).double()


def precision(ranked: Ranked, k: int) -> Tensor:
    """The share of relevant results among the first k.

    >>> ranked = Ranked(hits=torch.tensor([[True, False, True]]), relevant=torch.tensor([2]))
    >>> precision(ranked, k=2)
    tensor([0.5000], dtype=torch.float64)
    """
    return _first(ranked, k).double().mean(-1)


def found(ranked: Ranked, k: int) -> Tensor:
    """The share of all relevant references among the first k: recall in information retrieval.

    >>> ranked = Ranked(hits=torch.tensor([[True, False, True]]), relevant=torch.tensor([2]))
    >>> found(ranked, k=2)
    tensor([0.5000], dtype=torch.float64)
    """
    return _first(ranked, k).sum(-1) / ranked.relevant.double()


def cmc(ranked: Ranked, k: int) -> Tensor:
    """Cumulative match characteristic `[Q, k]`: at each rank, 1 from the first relevant result on.

    >>> ranked = Ranked(hits=torch.tensor([[True, False, True]]), relevant=torch.tensor([2]))
    >>> cmc(ranked, k=3)
    tensor([[1., 1., 1.]], dtype=torch.float64)
    """
    return _first(ranked, k).cummax(-1).values.double()


def reciprocal_rank(ranked: Ranked, k: int | None = None) -> Tensor:
    """1 / rank of the first relevant result among the first k, otherwise 0; its mean is MRR.

    >>> ranked = Ranked(hits=torch.tensor([[True, False, True]]), relevant=torch.tensor([2]))
    >>> reciprocal_rank(ranked)
    tensor([1.], dtype=torch.float64)
    """
    hits_QK = _first(ranked, k or ranked.hits.shape[1])
    return torch.where(hits_QK.any(-1), 1 / (hits_QK.byte().argmax(-1) + 1).double(), 0)


def r_precision(ranked: Ranked) -> Tensor:
    """The share of relevant results among the first R, where R is the number of references relevant to the query.

    >>> ranked = Ranked(hits=torch.tensor([[True, False, True]]), relevant=torch.tensor([2]))
    >>> r_precision(ranked)
    tensor([0.5000], dtype=torch.float64)
    """
    return _within_r(ranked).sum(-1) / ranked.relevant.double()


def map_at_r(ranked: Ranked) -> Tensor:
    """Mean over the first R ranks of the precision at relevant results, 0 at the others.

    Musgrave et al., 2020, https://arxiv.org/abs/2003.08505.

    >>> ranked = Ranked(hits=torch.tensor([[True, False, True]]), relevant=torch.tensor([2]))
    >>> map_at_r(ranked)
    tensor([0.5000], dtype=torch.float64)
    """
    return _precisions(_within_r(ranked)).sum(-1) / ranked.relevant


def average_precision(ranked: Ranked, k: int | None = None) -> Tensor:
    """Sum of the precision at relevant results within the first k, over min(R, k). Its mean is MAP.

    >>> ranked = Ranked(hits=torch.tensor([[True, False, True]]), relevant=torch.tensor([2]))
    >>> average_precision(ranked)
    tensor([0.8333], dtype=torch.float64)
    """
    k = k or ranked.hits.shape[1]
    return _precisions(_first(ranked, k)).sum(-1) / ranked.relevant.clamp_max(k)


def inverse_negative_penalty(ranked: Ranked) -> Tensor:
    """R over the rank of the last relevant reference, the hardest match. Its mean is mINP.

    Needs the whole ranking; errors: ValueError otherwise. Ye et al., 2021, https://arxiv.org/abs/2001.04193.

    >>> ranked = Ranked(hits=torch.tensor([[True, False, True]]), relevant=torch.tensor([2]))
    >>> inverse_negative_penalty(ranked)
    tensor([0.6667], dtype=torch.float64)
    """
    found_Q = ranked.hits.sum(-1)
    if bool((found_Q < ranked.relevant).any()):
        raise ValueError(f"the whole ranking is needed, but only {ranked.hits.shape[1]} results were ranked")
    rank_K = torch.arange(1, ranked.hits.shape[1] + 1, device=ranked.hits.device, dtype=torch.float64)
    return ranked.relevant / (ranked.hits * rank_K).amax(-1)


def ndcg(ranked: Ranked, k: int | None = None) -> Tensor:
    """Discounted cumulative gain 1 / log2(rank + 1), normalised by that of the ideal order.

    Järvelin & Kekäläinen, 2002, https://doi.org/10.1145/582415.582418.

    >>> ranked = Ranked(hits=torch.tensor([[True, False, True]]), relevant=torch.tensor([2]))
    >>> ndcg(ranked, k=3)
    tensor([0.9197], dtype=torch.float64)
    """
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
    "cmc": recall,  # the same at one rank; `cmc` is the curve over all ranks
    "precision": precision,
    "found": found,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "ndcg": ndcg,
}


def metric(name: str) -> Callable[[Ranked], Tensor]:
    """The metric with a name such as `recall@10`, `map@r` or `mrr`. Errors: ValueError for an unknown name.

    >>> metric("recall@1")(Ranked(hits=torch.tensor([[True]]), relevant=torch.tensor([1])))
    tensor([1.], dtype=torch.float64)
    """
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
    """Ranks once, only as deep as the named metrics need, and computes every metric for every query.

    >>> vectors, labels = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]), torch.tensor([0, 0, 1, 1])
    >>> measure(["recall@1", "map@r"], Set(vectors, labels)).values
    {'recall@1': tensor([1., 1., 1., 1.], dtype=torch.float64), 'map@r': tensor([1., 1., 1., 1.], dtype=torch.float64)}

    influence: collects what every image does to the others' values, where queries are each other's references.
    """
    metrics = {name: metric(name) for name in names}
    relevant_Q = relevant(query, reference)
    seen = len(query.labels) - 1 if reference is None else len(reference.labels)
    k = depth(names, relevant_Q, seen)
    deep = min(k + 1, max(k, seen)) if influence else k  # who takes the place of one that is removed
    where = relevant_Q.nonzero()[:, 0].cpu()
    # in place: small results of every tile would fragment the heap
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
    """Ranks the k nearest references of every query with a positive, some queries at a time.

    Without a reference set, the queries are each other's references. With groups on both sides, references with the
    label and group of the query are excluded, as in Market-1501 and torchreid for cameras.

    >>> query = Set(torch.tensor([[0.0, 1.0], [0.0, 1.1], [1.0, 0.0]]), torch.tensor([0, 0, 1]))
    >>> [ranked.hits.tolist() for ranked in rank(query, k=1)]
    [[[True], [True]]]
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
    """Ranking depth that the named metrics need: their k, the largest R, or all references."""
    most = max(int(relevant_Q.max()), 1)
    return max(_needs(name, most, references) for name in names)


def _needs(name: str, most: int, references: int) -> int:
    if name in ("r_precision", "map@r"):
        return most
    return int(name.partition("@")[2] or references)


def relevant(query: Set, reference: Set | None = None) -> Tensor:
    """Number of references relevant to each query, int64 `[Q]`: those with its label, less itself or its own group.

    >>> relevant(Set(torch.zeros(3, 2), torch.tensor([0, 0, 1])))
    tensor([1, 1, 0])
    """
    refs = reference or query
    for labels in (query.labels, refs.labels):
        if labels.is_floating_point():
            raise ValueError(
                f"labels are {labels.dtype}, which cannot represent large class numbers: give them as int64"
            )
    codes = hidden(query, reference)
    itself = int(reference is None) if codes is None else _count(*codes)
    return _count(query.labels, refs.labels) - itself


def hidden(query: Set, reference: Set | None) -> neighbours.Codes | None:
    """Codes of (label, group) pairs of queries and references; equal codes are excluded from the results."""
    refs = reference or query
    if query.groups is None or refs.groups is None:
        return None
    labels, groups = torch.cat([query.labels, refs.labels]), torch.cat([query.groups, refs.groups])
    codes = torch.stack([labels, groups], dim=1).unique(dim=0, return_inverse=True)[1]
    return codes[: len(query.labels)], codes[len(query.labels) :]


def _count(code_Q: Tensor, code_M: Tensor) -> Tensor:
    """How often each query's code occurs among the references."""
    values, counts = code_M.unique(return_counts=True)
    place_Q = torch.searchsorted(values, code_Q).clamp_max(len(values) - 1)
    return torch.where(values[place_Q] == code_Q, counts[place_Q], 0)
