"""Miners narrow the masks: (sim, pos, neg), each [N, M], to (pos, neg). No gradient flows through a choice.

An anchor for which a miner keeps nothing has no term. Similarity: larger is closer. A miner sees the similarities of
the loss it is given to, so its numbers are in the same unit. Those that draw use torch's own generator.
"""

import math

import torch
from torch import Tensor

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
    """Each anchor's farthest positive and nearest negative. Hermans et al., 2017.

    Sharp, and easily misled: with noisy labels, or before anything is learned, it can collapse the embedding.
    """
    return _best(-sim_NM, pos_NM), _best(sim_NM, neg_NM)


def easy_positive(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor) -> Masks:
    """Each anchor's nearest positive and nearest negative. Xuan et al., 2020.

    Lets a class keep several modes, as one near positive is enough.
    """
    return _best(sim_NM, pos_NM), _best(sim_NM, neg_NM)


def semihard(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, margin: float = 0.2) -> Masks:
    """Positives with a negative farther by less than the margin, and those negatives. Schroff et al., 2015.

    A pair of masks cannot say which negative was for which positive; triplet(pick="semihard") can.
    """
    from_neg_NM = _next_above(sim_NM, pos_NM) - sim_NM
    from_pos_NM = _next_above(-sim_NM, neg_NM) + sim_NM
    return pos_NM & (from_pos_NM < margin), neg_NM & (from_neg_NM < margin)


def multi_similarity(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, epsilon: float = 0.1) -> Masks:
    """Positives farther than the nearest negative, negatives nearer than the farthest positive, both within epsilon.

    Wang et al., 2019. An anchor that has no positive, or no negative, keeps nothing.
    """
    nearest_N1 = sim_NM.masked_fill(~neg_NM, -torch.inf).amax(-1, keepdim=True)
    farthest_N1 = sim_NM.masked_fill(~pos_NM, torch.inf).amin(-1, keepdim=True)
    return pos_NM & (sim_NM - epsilon < nearest_N1), neg_NM & (sim_NM + epsilon > farthest_N1)


def pair_margin(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, pos_at: float = 0.8, neg_at: float = 0.2) -> Masks:
    """Positives below pos_at and negatives above neg_at: what contrastive with these margins still moves."""
    return pos_NM & (sim_NM < pos_at), neg_NM & (sim_NM > neg_at)


def nearest(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, k: int = 8) -> Masks:
    """Every positive and the k nearest negatives, fewer where there are fewer."""
    top_NK = sim_NM.masked_fill(~neg_NM, -torch.inf).topk(min(k, sim_NM.shape[-1]), dim=-1).indices
    return pos_NM, torch.zeros_like(neg_NM).scatter_(-1, top_NK, True) & neg_NM


def distance_weighted(
    sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, dim: int = 64, near: float = 0.5, far: float = 1.4
) -> Masks:
    """Every positive and one negative, drawn so that all distances are as likely. Wu et al., 2017.

    For cosine. On the unit sphere of `dim` dimensions distances crowd around 1.41; the weight 1 / q(d) undoes that,
    with q(d) = d^(dim - 2) (1 - d^2 / 4)^((dim - 3) / 2). Distances below `near` weigh no more than `near`, so that
    noise does not take over; negatives beyond `far`, which lose nothing, are not drawn.
    """
    distance_NM = (2 - 2 * sim_NM).clamp_min(near**2).sqrt()
    log_q_NM = (dim - 2) * distance_NM.log() + (dim - 3) / 2 * (1 - distance_NM.square() / 4).clamp_min(1e-8).log()
    # The largest of log-weights plus Gumbel noise is a draw by those weights.
    noise_NM = -torch.empty_like(sim_NM).exponential_().log()
    return pos_NM, _best(noise_NM - log_q_NM, neg_NM & (distance_NM < far))


def angular(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, angle: float = 20.0) -> Masks:
    """Pairs of a triplet whose angle at the negative, against the middle of the others, exceeds `angle` degrees.

    For cosine, the batch against itself. Wang et al., 2017: tan(angle) = |a - p| / (2 |n - (a + p) / 2|), which in
    squared distances reads (1 + t) ap > 2 t (an + pn), t = tan(angle)^2. O(positives x M) in tiles.
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


vars(angular).update(whole=True, columns=True)  # looks at the positive's row too: PairLoss gives it every row


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
