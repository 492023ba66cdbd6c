"""Listwise rules over all references of an anchor: smoothed average precision and related losses.

Conventions as in rules.py.
"""

import torch
from torch import Tensor

from likewise.losses.masked import exp_below, total
from likewise.losses.terms import Terms, whole
from likewise.losses.triplet_tiles import over_positives

__all__ = ["fast_ap", "smooth_ap", "histogram", "ranked_list"]


def fast_ap(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, bins: int = 10) -> Terms:
    """Average precision over a soft histogram of the cosine.

    loss    1 - sum over bins, nearest first, of h_pos(b) H_pos(b) / H(b) / positives, mean over anchors with both; h
            shares a similarity between the two nearest of bins + 1 centres on [-1, 1], H is its running sum
    paper   Cakir et al., 2019, for cosine.
            https://openaccess.thecvf.com/content_CVPR_2019/html/Cakir_Deep_Metric_Learning_to_Rank_CVPR_2019_paper.html
    at collapse  1 - positives / (positives + negatives)
    use     retrieval by rank, large batches with many images per class
    PML     the same with LpDistance(power=2), as in the paper; its default bins the distance, not its square

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("fast_ap()")(emb, labels).item(), 4)
    0.25
    """
    positives_N = pos_NM.sum(-1)
    both_N = (positives_N > 0) & neg_NM.any(-1)
    place_NM = to_bins(sim_NM, bins)
    near_pos_NB, near_neg_NB = (histogram_of(place_NM, where_NM, bins).flip(-1) for where_NM in (pos_NM, neg_NM))
    found_NB, seen_NB = near_pos_NB.cumsum(-1), (near_pos_NB + near_neg_NB).cumsum(-1)
    # Where nothing was seen nothing was found, and 0 / 1 says so.
    precision_NB = found_NB / torch.where(seen_NB > 0, seen_NB, 1)
    ap_N = (near_pos_NB * precision_NB).sum(-1) / positives_N.clamp_min(1)
    return Terms(torch.where(both_N, 1 - ap_N, 0), both_N)


def smooth_ap(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, temperature: float = 0.01) -> Terms:
    """Average precision with sigmoids instead of steps.

    loss    1 - mean over positives of rank among positives / rank among all, mean over anchors with both; the rank of
            p is 1 + sum over others j of sigmoid((s_j - s_p) / T). O(positives * M) per row, in tiles
    paper   Brown et al., 2020. https://arxiv.org/abs/2007.12163
    at collapse  1 - (1 + positives) / (1 + positives + negatives)
    use     as fast_ap, closer to the metric itself; the temperature is the width of a step
    PML     also ranks the anchor among its positives; accepts only sorted batches with classes of equal size

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("smooth_ap()")(emb, labels).item(), 4)
    0.25
    """

    def of_pairs(anchor_K: Tensor, positive_K: Tensor) -> Terms:
        gap_KM = sim_NM[anchor_K] - sim_NM[anchor_K, positive_K][:, None]
        before_KM = (gap_KM / temperature).sigmoid()
        rank_pos_K = 0.5 + total(before_KM, pos_NM[anchor_K])  # 1 + the others: the sum holds p itself, at sigmoid(0)
        rank_K = rank_pos_K + total(before_KM, neg_NM[anchor_K])
        return Terms(rank_pos_K / rank_K, torch.ones_like(anchor_K))

    precision = over_positives(of_pairs, pos_NM)
    both_N = (precision.count > 0) & neg_NM.any(-1)
    return Terms(torch.where(both_N, 1 - precision.total / precision.count.clamp_min(1), 0), both_N)


@whole(columns=False)
def histogram(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, bins: int = 100) -> Terms:
    """The probability that a random negative pair is nearer than a random positive pair, from soft histograms.

    loss    sum over r of h_neg(r) times the running sum of h_pos up to r; each histogram is the whole batch's, shares a
            similarity between the two nearest of bins + 1 centres on [-1, 1], and sums to 1
    paper   Ustinova and Lempitsky, 2016, for cosine. https://arxiv.org/abs/1611.00822
    at collapse  1, or 3/4 halfway between two centres; random similarities give 1/2
    use     no margin to choose; large batches
    PML     the same, except that it ignores pairs of two images without positives

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("histogram()")(emb, labels).item(), 4)
    0.25
    """
    place_NM = to_bins(sim_NM, bins)
    positives = pos_NM.sum()
    share_B = histogram_of(place_NM, pos_NM, bins).sum(0) / positives.clamp_min(1)
    return Terms(histogram_of(place_NM, neg_NM, bins) @ share_B.cumsum(-1), neg_NM.sum(-1) * (positives > 0))


def to_bins(sim_NM: Tensor, bins: int) -> Tensor:
    """Where on the scale of bin centres 0 ... bins a similarity in [-1, 1] lies."""
    return ((sim_NM + 1) * (bins / 2)).clamp(0, bins)


def histogram_of(place_NM: Tensor, where_NM: Tensor, bins: int) -> Tensor:
    """Soft histogram [N, bins + 1] of each row: an entry is shared between its two nearest centres."""
    left_NM = place_NM.detach().floor().clamp_max(bins - 1)
    mass_NM = where_NM.to(place_NM.dtype)
    right_NM = mass_NM * (place_NM - left_NM)  # the share of the upper centre
    index_NM, empty_NB = left_NM.long(), place_NM.new_zeros(len(place_NM), bins + 1)
    return empty_NB.scatter_add(-1, index_NM, mass_NM - right_NM).scatter_add(-1, index_NM + 1, right_NM)


def ranked_list(
    sim_NM: Tensor,
    pos_NM: Tensor,
    neg_NM: Tensor,
    *,
    pos_at: float = 0.7,
    neg_at: float = 0.3,
    pos_scale: float = 0.0,
    neg_scale: float = 10.0,
    balance: float = 0.5,
) -> Terms:
    """Positives inside a ball around the anchor, negatives outside a larger one, weighted by the violation.

    loss    (1 - balance) times the mean of pos_at - s_p over positives below pos_at, plus balance times the mean of
            s_n - neg_at over negatives above neg_at, weighted e^(scale * that excess), mean over anchors with a pair;
            the weights take no gradient
    paper   Wang et al., 2019; with euclidean on unit vectors its numbers are pos_at=-0.8, neg_at=-1.2.
            https://arxiv.org/abs/1903.03238
    at collapse  (pos_at - neg_at) min(balance, 1 - balance)
    use     preserves the spread within a class, since positives inside the ball have no loss
    PML     adds 1e-5 to every weight in the denominator, and its weights take a gradient

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("ranked_list()")(emb, labels).item(), 4)
    0.2376
    """
    far_N = weighted_mean(pos_at - sim_NM, pos_NM, pos_scale)
    near_N = weighted_mean(sim_NM - neg_at, neg_NM, neg_scale)
    return Terms((1 - balance) * far_N + balance * near_N, (pos_NM | neg_NM).any(-1))


def weighted_mean(excess_NM: Tensor, where_NM: Tensor, scale: float) -> Tensor:
    """Mean over the entries of `where` that are above 0, weighted e^(scale * entry); 0 where there are none."""
    counted_NM = where_NM & (excess_NM > 0)
    weight_NM, _ = exp_below(scale * excess_NM, counted_NM)
    return total(weight_NM * excess_NM, counted_NM) / weight_NM.sum(-1)
