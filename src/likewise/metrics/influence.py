"""What each image does to a retrieval score as a reference of the other queries: the gallery's part of its variance.

Where queries search one another, an image counts twice: by its own value, and by what it does in the results of the
others. Values per query alone make intervals too narrow, for a symmetric statistic of pairs by half (Hoeffding, 1948).
Here a query's value less that without one reference, summed over queries, is that reference's effect: the jackknife's
pseudo-value of an image is its own value plus its effect (Tukey, 1958; Efron and Stein, 1981). The results are ranked
once; every removal is read off prefix sums, O(Q K) a metric.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Form", "Influence", "Without", "form", "limit", "without", "without_noise"]


class Form(NamedTuple):
    """A metric as the sum over relevant ranks m up to a limit of weight(m) times share(hits so far), over a norm."""

    weight: Callable[[Tensor], Tensor]  # of ranks, from 1
    share: Callable[[Tensor], Tensor]  # of how many of the first m are relevant, m included
    norm: Callable[[Tensor], Tensor]  # of R, how many references are relevant
    limit: int | None = None  # None: all ranks
    within_r: bool = False  # the limit is R
    most: float = torch.inf  # larger sums count as this


class Without(NamedTuple):
    """Each query's value as it is and without one of its references; NaN where none that is relevant remains."""

    value: Tensor  # [Q] float64
    listed: Tensor  # [Q, K] without the reference at each rank
    beyond: Tensor  # [Q] without a relevant reference beyond the first K


def _ones(x: Tensor) -> Tensor:
    return torch.ones_like(x, dtype=torch.float64)


def _inverse(rank: Tensor) -> Tensor:
    return 1 / rank.double()


def _discount(rank: Tensor) -> Tensor:
    return 1 / (rank + 1).double().log2()


def form(name: str) -> Form:
    """The form of a metric that `retrieval.metric` knows by this name."""
    stem, _, at = name.partition("@")
    k = int(at) if at.isdigit() else None
    most = k or torch.iinfo(torch.int64).max
    if name in ("r_precision", "map@r"):
        weight, share = (_ones, _ones) if name == "r_precision" else (_inverse, Tensor.double)
        return Form(weight, share, Tensor.double, within_r=True)
    if stem == "map":
        return Form(_inverse, Tensor.double, lambda r: r.clamp_max(most).double(), k)
    if stem == "mrr":
        return Form(_inverse, lambda count: (count == 1).double(), _ones, k)
    if stem == "ndcg":
        return Form(_discount, _ones, lambda r: _best(r.clamp_max(most)), k)
    if stem == "precision":
        return Form(_ones, _ones, lambda r: _ones(r) * most, k)
    if stem == "found":
        return Form(_ones, _ones, Tensor.double, k)
    return Form(_ones, _ones, _ones, k, most=1.0)  # recall and cmc


def _best(r_Q: Tensor) -> Tensor:
    gain_K = _discount(torch.arange(1, max(int(r_Q.max()), 1) + 1, device=r_Q.device)).cumsum(0)
    return torch.where(r_Q > 0, gain_K[(r_Q - 1).clamp_min(0)], torch.nan)


def limit(name: str) -> int | None:
    """How many ranks a metric looks at; None: all, or as many as are relevant."""
    return None if name == "minp" else form(name).limit


def without(name: str, hits_QK: Tensor, relevant_Q: Tensor) -> Without:
    """A metric without each reference in turn.

    hits_QK: bool, one rank deeper than the metric looks, or all that there are; relevant_Q: int64.
    """
    return _last(hits_QK, relevant_Q) if name == "minp" else _summed(form(name), hits_QK, relevant_Q)


def _last(hits_QK: Tensor, relevant_Q: Tensor) -> Without:
    """R over the rank of the last relevant reference, of whole rankings."""
    rank_QK = hits_QK * torch.arange(1, hits_QK.shape[1] + 1, device=hits_QK.device)
    last_Q1 = rank_QK.amax(1, keepdim=True)
    second_Q1 = rank_QK.where(rank_QK < last_Q1, 0).amax(1, keepdim=True)
    all_Q1, whole_Q1 = relevant_Q[:, None].double(), relevant_Q[:, None] / last_Q1.double()
    miss_QK = all_Q1 / (last_Q1 - (torch.arange(1, hits_QK.shape[1] + 1, device=hits_QK.device) < last_Q1).long())
    hit_QK = (all_Q1 - 1) / torch.where(rank_QK < last_Q1, last_Q1 - 1, second_Q1)  # 0 / 0 is NaN: none remains
    return Without(whole_Q1[:, 0], torch.where(hits_QK, hit_QK, miss_QK), whole_Q1[:, 0])


def _summed(form: Form, hits_QK: Tensor, relevant_Q: Tensor) -> Without:
    depth = hits_QK.shape[1]
    rank_K = torch.arange(1, depth + 1, device=hits_QK.device)
    count_QK = hits_QK.cumsum(1)
    weight_K = form.weight(rank_K)
    earlier_K = torch.cat([weight_K.new_zeros(1), weight_K[:-1]])  # a rank earlier: what follows moves up
    share_QK = form.share(count_QK) * hits_QK
    kept_QK = _prefix(share_QK * weight_K)
    after_miss_QK = kept_QK if form.weight is _ones else _prefix(share_QK * earlier_K)
    after_hit_QK = after_miss_QK if form.share is _ones else _prefix(form.share(count_QK - 1) * hits_QK * earlier_K)

    def value(total: Tensor, r_Q: Tensor) -> Tensor:
        norm = form.norm(r_Q).where(r_Q > 0, torch.nan)
        total = total.clamp_max(form.most) if form.most < torch.inf else total
        return total / (norm[:, None] if total.ndim == 2 else norm)

    def removal(after_QK: Tensor, r_Q: Tensor) -> tuple[Tensor, Tensor]:
        """Without the one at each rank, and without one beyond the ranks that count."""
        limit_Q = r_Q if form.within_r else torch.full_like(r_Q, min(form.limit or depth, depth))
        limit_Q1, end_Q1 = limit_Q.clamp_max(depth)[:, None], (limit_Q + 1).clamp_max(depth)[:, None]
        beyond_Q1 = kept_QK.gather(1, limit_Q1)
        total_QK = (kept_QK[:, :-1] - after_QK[:, 1:]).add_(after_QK.gather(1, end_Q1))
        return value(torch.where(rank_K <= end_Q1, total_QK, beyond_Q1), r_Q), value(beyond_Q1[:, 0], r_Q)

    miss_QK, value_Q = removal(after_miss_QK, relevant_Q)
    hit_QK, beyond_Q = removal(after_hit_QK, relevant_Q - 1)
    return Without(value_Q, torch.where(hits_QK, hit_QK, miss_QK), beyond_Q)


def _prefix(x_QK: Tensor) -> Tensor:
    """Sums of the first 0, 1 ... K, `[Q, K + 1]`."""
    return torch.nn.functional.pad(x_QK.cumsum(1), (1, 0))


class Influence:
    """Collects the effects of references while queries are ranked.

    labels_N, groups_N: of the images, which are queries and references at once; images of one label and group do not
        see each other, where groups are given.
    classes: whole classes are drawn (open set), so that what an image does to queries of its own class is in the
        values of that class already. Otherwise images are, and effects are those within the class: how many images a
        class has is not drawn.
    """

    def __init__(self, labels_N: Tensor, hidden_N: Tensor | None = None, *, classes: bool = False) -> None:
        self.labels, self.hidden, self.classes = labels_N.unique(return_inverse=True)[1], hidden_N, classes
        self.effects: dict[str, Tensor] = {}
        self.noise: dict[str, float] = {}  # sum of squares of the effects on single queries
        self.alone = torch.zeros(len(labels_N), dtype=torch.float64, device=labels_N.device)

    def add(self, name: str, query_Q: Tensor, place_QK: Tensor, hits_QK: Tensor, relevant_Q: Tensor) -> None:
        """Effects on some queries; place_QK: the images found, -1 for none."""
        depth = min((limit(name) or hits_QK.shape[1]) + 1, hits_QK.shape[1])
        place_QK, hits_QK = place_QK[:, :depth], hits_QK[:, :depth]
        removed = without(name, hits_QK, relevant_Q)
        effect_QK = removed.value[:, None] - removed.listed
        if bool((relevant_Q == 1).any()):
            effect_QK = torch.where(effect_QK.isnan(), removed.value[:, None], effect_QK)
        if bool((place_QK[:, -1] < 0).any()):
            effect_QK = effect_QK.where(place_QK >= 0, 0)
        effect_N = self.effects.setdefault(name, torch.zeros_like(self.alone))
        other_QK = effect_QK.masked_fill(hits_QK, 0)  # of images that are not relevant
        self.noise[name] = self.noise.get(name, 0.0) + float(torch.linalg.vecdot(other_QK, other_QK).sum())
        if self.classes:
            effect_QK = other_QK
        else:
            beyond_Q = removed.value - removed.beyond.nan_to_num(0)
            effect_N += self._to_class(query_Q, beyond_Q)
            # of relevant images, from one beyond the ranks; their variance within a query
            apart_QK = effect_QK.sub_(beyond_Q[:, None]).masked_fill_(~hits_QK, 0)
            square_Q = torch.linalg.vecdot(apart_QK, apart_QK) - apart_QK.sum(1).square() / relevant_Q
            self.noise[name] += float(square_Q.sum())
            effect_QK = other_QK.add_(apart_QK)
        effect_N.index_add_(0, place_QK.clamp_min(0).flatten(), effect_QK.flatten())

    def _to_class(self, query_Q: Tensor, x_Q: Tensor) -> Tensor:
        """Every query's x given to each image that is relevant to it."""
        x_N = torch.zeros_like(self.alone).index_add_(0, query_Q, x_Q)
        own_N = x_N if self.hidden is None else _sum_by(self.hidden, x_N)
        return _sum_by(self.labels, x_N) - own_N

    def effect(self, name: str, over_N: Tensor, relevant_N: Tensor) -> Tensor:
        """The effects on a metric as they enter its variance, float64 `[N]`; they sum to 0.

        Where images are drawn, the values are taken from the mean of their class to the mean of all: how many images a
        class has is not drawn (a stratified bootstrap, with n / (n - 1) for the variance within a class of n).
        over_N: the metric's values, 0 for the queries without one; relevant_N: as of `retrieval.relevant`.
        """
        under_N = (relevant_N > 0).double()
        mean = over_N.sum() / under_N.sum()
        effect_N = self._centred(self.effects[name], mean, relevant_N)
        own_N = over_N - mean * under_N
        if self.classes:
            own_U, effect_U = (_by_code(self.labels, x_N) for x_N in (own_N, effect_N))
            return without_noise(own_U, effect_U, self.noise[name]) * effect_N
        within_N = self._within(over_N, under_N)
        return without_noise(within_N, effect_N, self.noise[name]) * effect_N + within_N - own_N

    def _within(self, over_N: Tensor, under_N: Tensor) -> Tensor:
        """Values less the mean of their class, with the unbiased variance; 0 for queries without one."""
        size_N = _sum_by(self.labels, under_N)
        apart_N = over_N - under_N * _sum_by(self.labels, over_N) / size_N.clamp_min(1)
        return apart_N * (size_N / (size_N - 1).clamp_min(1)).sqrt()

    def _centred(self, effect_N: Tensor, mean: Tensor, relevant_N: Tensor) -> Tensor:
        if self.classes:
            return effect_N - effect_N.mean()
        only_Q = (relevant_N == 1).nonzero()[:, 0]  # queries that leave the mean with their only positive
        effect_N = effect_N - mean * self._to_class(only_Q, torch.ones_like(only_Q, dtype=torch.float64))
        size_N = _sum_by(self.labels, torch.ones_like(effect_N))
        stratum_N = self.labels.where(size_N > 1, self.labels.max() + 1)  # single images: one stratum
        return effect_N - _sum_by(stratum_N, effect_N) / _sum_by(stratum_N, torch.ones_like(effect_N))


def without_noise(own_U: Tensor, effect_U: Tensor, noise: float) -> Tensor:
    """The factor s of the effects at which own + s effect has the variance of own + effect less the noise.

    What one image does to one query is chance of both: it is in the query's own value already, and the jackknife
    counts such terms twice (Efron and Stein, 1981, theorem 1).
    """
    square, product = effect_U.square().sum(), (own_U * effect_U).sum()
    if square == 0:
        return square
    target = (2 * product + square - noise).clamp_min(0)
    return (((product.square() + square * target).clamp_min(0).sqrt() - product) / square).clamp(0, 1)


def _by_code(code_N: Tensor, x_N: Tensor) -> Tensor:
    return x_N.new_zeros(int(code_N.max()) + 1).index_add_(0, code_N, x_N)


def _sum_by(code_N: Tensor, x_N: Tensor) -> Tensor:
    """For each row the sum over all rows of its code."""
    return _by_code(code_N, x_N)[code_N]
