"""Rules over the structure of the whole batch.

Rules marked @whole need every row at once and are never tiled. Conventions as in rules.py.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise.losses.masked import highest, lse, softplus, total
from likewise.losses.terms import Terms, whole
from likewise.losses.triplet_tiles import square

__all__ = ["lifted", "generalized_lifted", "npairs", "angular", "intra_pair_variance", "centroid_triplet"]


@whole
def lifted(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, margin: float = 1.0) -> Terms:
    """Lifted structure: each positive pair against the negatives of both its ends.

    loss    relu(log(sum over negatives of a and of p of e^(margin + s)) - s_ap)^2 / 2, mean over positive pairs; the
            sum is a logaddexp of two numbers, one of the anchor's row and one of the positive's column: O(N M)
    paper   Song et al., 2016, for euclidean. https://arxiv.org/abs/1511.06452
    at collapse  (margin + ln(2 negatives))^2 / 2
    use     small batches, of which it uses every comparison
    PML     the same

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("lifted()")(emb, labels).item(), 4)
    2.3802
    """
    row_N, column_M = lse(sim_NM, neg_NM), lse(sim_NM.mT, neg_NM.mT)
    loss_NM = (torch.logaddexp(row_N[:, None], column_M) + margin - sim_NM).relu().square() / 2
    return Terms(total(loss_NM, pos_NM), pos_NM.sum(-1))


def generalized_lifted(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, margin: float = 1.0) -> Terms:
    """Lifted structure over all positives of an anchor at once: a smooth batch-hard triplet loss.

    loss    relu(log sum e^(-s_p) + log sum e^(margin + s_n)), mean over anchors with both
    paper   Hermans et al., 2017, for euclidean. https://arxiv.org/abs/1703.07737
    at collapse  margin + ln(positives negatives)
    use     where triplet(pick="hard") is too aggressive
    PML     also counts anchors that lack either, with a logarithm of 0

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("generalized_lifted()")(emb, labels).item(), 4)
    1.4634
    """
    both_N = pos_NM.any(-1) & neg_NM.any(-1)
    return Terms(torch.where(both_N, (lse(-sim_NM, pos_NM) + lse(sim_NM, neg_NM) + margin).relu(), 0), both_N)


@whole
def npairs(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor) -> Terms:
    """One pair per class: its first image against its second one and those of the other classes.

    loss    -log(e^(s_p) / (e^(s_p) + sum e^(s_n))), mean over classes of two or more; the batch against itself.
            Synchronises once with the device
    paper   Sohn, 2016, for dot, with a penalty on the norm of the embedding.
            https://papers.nips.cc/paper/6200-improved-deep-metric-learning-with-multi-class-n-pair-loss-objective
    at collapse  ln(classes)
    use     two images per class; ntxent also uses all other images
    PML     the same

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("npairs()")(emb, labels).item(), 4)
    0.5981
    """
    square(sim_NM, "npairs")
    n = len(sim_NM)
    earliest_N = pos_NM.byte().argmax(-1)  # positive; 0 where there is none
    is_first_N = earliest_N > torch.arange(
        n, device=sim_NM.device
    )  # of its class, and its earliest is the second image
    first_C = is_first_N.nonzero()[:, 0]
    among = first_C[:, None], earliest_N[first_C]
    counted_CC = neg_NM[among].fill_diagonal_(True)
    logit_CC = torch.where(counted_CC, sim_NM[among], torch.finfo(sim_NM.dtype).min)
    loss_C = F.cross_entropy(logit_CC, torch.arange(len(first_C), device=sim_NM.device), reduction="none")
    return Terms(sim_NM.new_zeros(n).index_put((first_C,), loss_C), is_first_N)


@whole
def angular(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, alpha: float = 40.0) -> Terms:
    """Bounds the angle, in degrees, at each negative of the triangle with a positive pair.

    loss    log(1 + sum e^(4 t (s_an + s_pn) - 2 (1 + t) s_ap)), t = tan(alpha)^2, mean over positive pairs; the sum
            over n of e^(s_an) e^(s_pn) is a matrix product, memory O(N^2); the batch against itself
    paper   Wang et al., 2017, for cosine, alpha from 36 to 55. https://arxiv.org/abs/1708.01682
    at collapse  ln(1 + negatives e^-|6 t - 2|)
    use     classes of very different spread, since angles have no scale; often added to npairs
    PML     the same on unit vectors; it does not normalise the negative

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("angular()")(emb, labels).item(), 4)
    1.8947
    """
    square(sim_NM, "angular")
    tan2 = math.tan(math.radians(alpha)) ** 2
    counted_NM = pos_NM & neg_NM.any(-1, keepdim=True)
    log_NM = _log_sum_over_negatives(4 * tan2 * sim_NM, counted_NM, neg_NM)
    return Terms(total(softplus(log_NM - 2 * (1 + tan2) * sim_NM), counted_NM), counted_NM.sum(-1))


def _log_sum_over_negatives(logit_NM: Tensor, counted_NM: Tensor, neg_NM: Tensor) -> Tensor:
    """For each counted pair (a, p), log of the sum over a's negatives n of e^(l_an + l_pn), [N, N]; 0 elsewhere.

    A product of two matrices of exponentials, each below the largest of its own row: among the negatives of the row,
    and among those of the anchors that the row is a positive of. Where the two rows peak at different negatives the
    product can underflow. On a CPU these pairs, few if any, are summed one by one. On another device, where listing
    them would wait for it, the product is in float64, which has room for logits 700 below their row's largest.
    """
    on_cpu = logit_NM.device.type == "cpu"
    wide_NM = logit_NM if on_cpu else logit_NM.double()
    reach_NM = (counted_NM.float().mT @ neg_NM.float()) > 0
    (anchor_NM, anchor_N), (other_NM, other_N) = (_exp_below_top(wide_NM, where) for where in (neg_NM, reach_NM))
    sum_NM = anchor_NM @ other_NM.mT
    tiny = torch.finfo(wide_NM.dtype).tiny
    small_NM = counted_NM & (sum_NM < tiny**0.75) if on_cpu else torch.zeros_like(counted_NM)
    log_NM = torch.where(counted_NM & ~small_NM, sum_NM, 1).clamp_min(tiny).log()
    log_NM = torch.where(counted_NM, log_NM + anchor_N[:, None] + other_N, 0).to(logit_NM.dtype)
    if not on_cpu or not small_NM.any():
        return log_NM
    a_K, p_K = small_NM.nonzero(as_tuple=True)
    parts = [lse(logit_NM[a] + logit_NM[p], neg_NM[a]) for a, p in zip(a_K.split(4096), p_K.split(4096), strict=True)]
    return log_NM.index_put((a_K, p_K), torch.cat(parts))


def _exp_below_top(logit_NM: Tensor, where_NM: Tensor) -> tuple[Tensor, Tensor]:
    """e^(l - top) of the entries in `where`, 0 elsewhere, and top [N], the largest of them (0 where there are none)."""
    top_N = torch.where(where_NM.any(-1), highest(logit_NM, where_NM), 0).detach()
    # masked before the exponential: what is not in `where` may be large, and inf * 0 in its gradient would be NaN
    return torch.where(where_NM, logit_NM - top_N[:, None], -torch.inf).exp(), top_N


@whole(columns=False)
def intra_pair_variance(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, slack: float = 0.01) -> tuple[Terms, Terms]:
    """Small variance of positive similarities, and of negative ones.

    loss    relu((1 - slack) mean(s_p) - s_p)^2, mean over positive pairs, plus relu(s_n - (1 + slack) mean(s_n))^2,
            mean over negative pairs; the means are over the batch and take a gradient
    paper   Yu and Tao, 2019, for cosine, added to tuplet_margin.
            https://openaccess.thecvf.com/content_ICCV_2019/html/Yu_Deep_Metric_Learning_With_Tuplet_Margin_Loss_ICCV_2019_paper.html
    at collapse  0: useless on its own
    use     added to another loss, for one threshold that suits all pairs
    PML     the same

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("intra_pair_variance()")(emb, labels).item(), 4)
    0.0445
    """
    positives_N, negatives_N = pos_NM.sum(-1), neg_NM.sum(-1)
    mean_pos = total(sim_NM, pos_NM).sum() / positives_N.sum().clamp_min(1)
    mean_neg = total(sim_NM, neg_NM).sum() / negatives_N.sum().clamp_min(1)
    far_NM, near_NM = (1 - slack) * mean_pos - sim_NM, sim_NM - (1 + slack) * mean_neg
    return (
        Terms(total(far_NM.relu().square(), pos_NM), positives_N),
        Terms(total(near_NM.relu().square(), neg_NM), negatives_N),
    )


@whole
def centroid_triplet(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, margin: float = 0.2) -> Terms:
    """Each anchor closer to the centre of its class than to any other class's, by a margin.

    loss    relu(s(a, other centre) - s(a, own centre) + margin), mean over the triplets with a nonzero loss; the
            similarity to a centre is the mean over its images, which is exact for dot products; the anchor is
            excluded from its own centre, and the only image of a class is a centre but no anchor; the batch
            against itself
    paper   Wieczorek, Rychalska and Dabrowski, 2021. https://arxiv.org/abs/2104.13643
    at collapse  margin
    use     class-level retrieval: less noisy than triplets of single images
    PML     not included

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("centroid_triplet()")(emb, labels).item(), 4)
    0.18
    """
    square(sim_NM, "centroid_triplet")
    member_MM = pos_NM | torch.eye(len(pos_NM), dtype=torch.bool, device=pos_NM.device)
    centre_NM = (sim_NM @ member_MM.to(sim_NM.dtype).mT) / member_MM.sum(-1)
    own_N1 = total(sim_NM, pos_NM)[:, None] / pos_NM.sum(-1, keepdim=True).clamp_min(1)
    # Every image of a class stands at its centre: the first one speaks for all.
    other_NM = neg_NM & ~pos_NM.tril(-1).any(-1) & pos_NM.any(-1, keepdim=True)
    loss_NM = (centre_NM - own_N1 + margin).relu()
    return Terms(total(loss_NM, other_NM), (other_NM & (loss_NM > 0)).sum(-1))
