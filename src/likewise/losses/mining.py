"""Miners select pairs: masks (sim, pos, neg), each [N, M], to (pos, neg). No gradient flows through the selection.

An anchor without selected pairs has no term. Similarity: larger is closer. A miner sees the similarities of its loss,
so its thresholds are in the same unit. Random miners use torch's default generator.
"""

import math

import torch
from torch import Tensor

from likewise.losses.terms import random

__all__ = [
    "angular",
    "distance_weighted",
    "easy_positive",
    "hard",
    "multi_similarity",
    "nearest",
    "pair_margin",
    "semihard",
]

Masks = tuple[Tensor, Tensor]
ENTRIES = 1 << 22  # of one tile of pairs x references


def hard(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor) -> Masks:
    """Each anchor's farthest positive and nearest negative. Hermans et al., 2017, https://arxiv.org/abs/1703.07737.

    Aggressive: with noisy labels, or early in training, it can collapse the embedding.

    >>> sim = torch.tensor([[0.9, 0.4, 0.7, 0.1]])
    >>> pos, neg = torch.tensor([[True, True, False, False]]), torch.tensor([[False, False, True, True]])
    >>> [mask.int().tolist() for mask in hard(sim, pos, neg)]
    [[[0, 1, 0, 0]], [[0, 0, 1, 0]]]
    """
    return _best(-sim_NM, pos_NM), _best(sim_NM, neg_NM)


def easy_positive(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor) -> Masks:
    """Each anchor's nearest positive and nearest negative. Xuan et al., 2020, https://arxiv.org/abs/1904.04370.

    A class may keep several modes, since one near positive suffices.

    >>> sim = torch.tensor([[0.9, 0.4, 0.7, 0.1]])
    >>> pos, neg = torch.tensor([[True, True, False, False]]), torch.tensor([[False, False, True, True]])
    >>> [mask.int().tolist() for mask in easy_positive(sim, pos, neg)]
    [[[1, 0, 0, 0]], [[0, 0, 1, 0]]]
    """
    return _best(sim_NM, pos_NM), _best(sim_NM, neg_NM)


def semihard(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, margin: float = 0.2) -> Masks:
    """Positives with a negative farther by less than the margin, and those negatives.

    Masks do not record which negative belongs to which positive; use triplet(pick="semihard") for that.
    Schroff et al., 2015, https://arxiv.org/abs/1503.03832.

    >>> sim = torch.tensor([[0.9, 0.4, 0.7, 0.1]])
    >>> pos, neg = torch.tensor([[True, True, False, False]]), torch.tensor([[False, False, True, True]])
    >>> [mask.int().tolist() for mask in semihard(sim, pos, neg, margin=0.2)]
    [[[1, 0, 0, 0]], [[0, 0, 1, 0]]]
    """
    from_neg_NM = _next_above(sim_NM, pos_NM) - sim_NM
    from_pos_NM = _next_above(-sim_NM, neg_NM) + sim_NM
    return pos_NM & (from_pos_NM < margin), neg_NM & (from_neg_NM < margin)


def multi_similarity(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, epsilon: float = 0.1) -> Masks:
    """Positives farther than the nearest negative, negatives nearer than the farthest positive, both within epsilon.

    Anchors without a positive or without a negative get no pairs. Wang et al., 2019, https://arxiv.org/abs/1904.06627.

    >>> sim = torch.tensor([[0.9, 0.4, 0.7, 0.1]])
    >>> pos, neg = torch.tensor([[True, True, False, False]]), torch.tensor([[False, False, True, True]])
    >>> [mask.int().tolist() for mask in multi_similarity(sim, pos, neg)]
    [[[0, 1, 0, 0]], [[0, 0, 1, 0]]]
    """
    nearest_N1 = sim_NM.masked_fill(~neg_NM, -torch.inf).amax(-1, keepdim=True)
    farthest_N1 = sim_NM.masked_fill(~pos_NM, torch.inf).amin(-1, keepdim=True)
    return pos_NM & (sim_NM - epsilon < nearest_N1), neg_NM & (sim_NM + epsilon > farthest_N1)


def pair_margin(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, pos_at: float = 0.8, neg_at: float = 0.2) -> Masks:
    """Positives below pos_at and negatives above neg_at: pairs with a nonzero contrastive loss at these margins.

    >>> sim = torch.tensor([[0.9, 0.4, 0.7, 0.1]])
    >>> pos, neg = torch.tensor([[True, True, False, False]]), torch.tensor([[False, False, True, True]])
    >>> [mask.int().tolist() for mask in pair_margin(sim, pos, neg)]
    [[[0, 1, 0, 0]], [[0, 0, 1, 0]]]
    """
    return pos_NM & (sim_NM < pos_at), neg_NM & (sim_NM > neg_at)


def nearest(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, k: int = 8) -> Masks:
    """Every positive and the k nearest negatives (all if there are fewer).

    >>> sim = torch.tensor([[0.9, 0.4, 0.7, 0.1]])
    >>> pos, neg = torch.tensor([[True, True, False, False]]), torch.tensor([[False, False, True, True]])
    >>> [mask.int().tolist() for mask in nearest(sim, pos, neg, k=1)]
    [[[1, 1, 0, 0]], [[0, 0, 1, 0]]]
    """
    top_NK = sim_NM.masked_fill(~neg_NM, -torch.inf).topk(min(k, sim_NM.shape[-1]), dim=-1).indices
    return pos_NM, torch.zeros_like(neg_NM).scatter_(-1, top_NK, True) & neg_NM


@random
def distance_weighted(
    sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, dim: int = 64, near: float = 0.5, far: float = 1.4
) -> Masks:
    """Every positive and one negative, drawn uniformly over distances.

    For cosine. On the unit sphere of `dim` dimensions distances concentrate around 1.41; the weight 1 / q(d) corrects
    this, with q(d) = d^(dim - 2) (1 - d^2 / 4)^((dim - 3) / 2). Distances below `near` have the weight of `near`, so
    that noise does not dominate; negatives beyond `far`, which have no loss, are not drawn.
    Wu et al., 2017, https://arxiv.org/abs/1706.07567.

    >>> sim = torch.tensor([[0.9, 0.4, 0.7, 0.1]])
    >>> pos, neg = torch.tensor([[True, True, False, False]]), torch.tensor([[False, False, True, True]])
    >>> pos, neg = distance_weighted(sim, pos, neg)
    >>> int(neg.sum())
    1
    """
    distance_NM = (2 - 2 * sim_NM).clamp_min(near**2).sqrt()
    log_q_NM = (dim - 2) * distance_NM.log() + (dim - 3) / 2 * (1 - distance_NM.square() / 4).clamp_min(1e-8).log()
    # The largest of log-weights plus Gumbel noise is a draw by those weights.
    noise_NM = -torch.empty_like(sim_NM).exponential_().log()
    return pos_NM, _best(noise_NM - log_q_NM, neg_NM & (distance_NM < far))


def angular(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, angle: float = 20.0) -> Masks:
    """Pairs of a triplet whose angle at the negative, against the middle of the others, exceeds `angle` degrees.

    For cosine, the batch against itself. tan(angle) = |a - p| / (2 |n - (a + p) / 2|), which in squared distances reads
    (1 + t) ap > 2 t (an + pn), t = tan(angle)^2. O(positives x M) in tiles.
    Wang et al., 2017, https://arxiv.org/abs/1708.01682.

    >>> emb = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    >>> pos = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]]).bool()
    >>> neg = torch.tensor([[0, 0, 1], [0, 0, 1], [1, 1, 0]]).bool()
    >>> [mask.int().tolist() for mask in angular(emb @ emb.T, pos, neg)]
    [[[0, 1, 0], [1, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, 0, 1], [0, 0, 0]]]
    """
    tan2 = math.tan(math.radians(angle)) ** 2
    square_NM = 2 - 2 * sim_NM
    kept_pos_NM, kept_neg_NM = torch.zeros_like(pos_NM), torch.zeros_like(neg_NM)
    for pairs_K2 in pos_NM.nonzero().split(max(1, ENTRIES // max(1, pos_NM.shape[1]))):
        a_K, p_K = pairs_K2.unbind(-1)
        bound_K1 = square_NM[a_K, p_K][:, None] * (1 + tan2) / (2 * tan2)
        wide_KM = neg_NM[a_K] & (square_NM[a_K] + square_NM[p_K] < bound_K1)
        kept_pos_NM[a_K, p_K] = wide_KM.any(-1)
        kept_neg_NM.index_put_((a_K,), wide_KM, accumulate=True)
    return kept_pos_NM, kept_neg_NM


vars(angular).update(whole=True, columns=True)  # reads the positive's row too, so PairLoss passes all rows


def _best(score_NM: Tensor, where_NM: Tensor) -> Tensor:
    """The highest-scoring entry of each row among `where`, as a mask."""
    best_N1 = score_NM.masked_fill(~where_NM, -torch.inf).argmax(-1, keepdim=True)
    return torch.zeros_like(where_NM).scatter_(-1, best_N1, True) & where_NM


def _next_above(sim_NM: Tensor, where_NM: Tensor) -> Tensor:
    """For each entry the smallest one among `where` of its row that is larger; infinity when there is none."""
    sorted_NM = torch.where(where_NM, sim_NM, torch.inf).sort(-1).values
    place_NM = torch.searchsorted(sorted_NM, sim_NM.contiguous(), right=True).clamp_max(sim_NM.shape[-1] - 1)
    above_NM = sorted_NM.gather(-1, place_NM)
    return torch.where(above_NM > sim_NM, above_NM, torch.inf)
