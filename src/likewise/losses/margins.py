"""Rules with a decision boundary in similarity, with a loss for pairs on the wrong side. Conventions as in rules.py."""

import math
from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from likewise import geometry
from likewise.losses.collapse import loss_at_collapse
from likewise.losses.masked import lse, softplus, total
from likewise.losses.pair import PairLoss, References, in_batch
from likewise.losses.terms import Terms

__all__ = ["margin", "learned_margin", "tuplet_margin", "snr_contrastive", "threshold_consistent"]


def margin(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, margin: float = 0.2, beta: float | Tensor = 0.3) -> Terms:
    """Positives above a boundary and negatives below it, each by a margin.

    loss    relu(margin + beta - s_p) + relu(margin + s_n - beta) over all triplets, divided by the number of
            nonzero terms: a positive counts once per negative of its anchor and vice versa, so O(M) per row
    paper   Wu et al., 2017, with the miner distance_weighted; beta=-1.2 with euclidean on unit vectors, of which 0.3 is
            the cosine. https://arxiv.org/abs/1706.07567
    at collapse  margin
    use     as contrastive, for pairs of varying difficulty; learned_margin learns beta
    PML     the same

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("margin()")(emb, labels).item(), 4)
    0.62
    """
    far_NM, near_NM = (margin + beta - sim_NM).relu(), (margin + sim_NM - beta).relu()
    positives_N, negatives_N = pos_NM.sum(-1), neg_NM.sum(-1)
    total_N = negatives_N * total(far_NM, pos_NM) + positives_N * total(near_NM, neg_NM)
    active_N = negatives_N * (pos_NM & (far_NM > 0)).sum(-1) + positives_N * (neg_NM & (near_NM > 0)).sum(-1)
    return Terms(total_N, active_N)


class Boundary(nn.Module):
    """The rule `margin` with a learned beta, and -nu * beta as a second term."""

    def __init__(self, margin: float, beta: float, nu: float):
        super().__init__()
        self.margin, self.nu = margin, nu
        self.beta = nn.Parameter(torch.tensor(float(beta)))

    def forward(self, sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor) -> tuple[Terms, Terms]:
        beta = self.beta.to(sim_NM.dtype)
        both_N = pos_NM.any(-1) & neg_NM.any(-1)
        return margin(sim_NM, pos_NM, neg_NM, margin=self.margin, beta=beta), Terms(-self.nu * beta * both_N, both_N)


class LearnedMargin(PairLoss):
    """The rule `margin` with its boundary learned, one for all classes.

    loss    that of margin(margin, beta), minus nu * beta: nu > 0 keeps the boundary from drifting down
    paper   Wu et al., 2017. https://arxiv.org/abs/1706.07567
    at collapse  that of `margin`
    use     when no boundary is known; its learning rate is lr_scale times that of the network
    PML     the same with learn_beta=True and one beta

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("learned_margin()")(emb, labels).item(), 4)
    0.62
    """

    def __init__(
        self,
        *,
        margin: float = 0.2,
        beta: float = 0.3,
        nu: float = 0.0,
        lr_scale: float = 10.0,
        sim: Callable = geometry.cosine,
        miner: Callable | None = None,
        references: References | None = None,
    ):
        super().__init__(Boundary(margin, beta, nu), sim=sim, miner=miner, references=references or in_batch)
        self.lr_scale = lr_scale

    def at_collapse(self, labels_N: Tensor | None = None) -> float | None:
        boundary = cast(Boundary, self.rule)
        beta = float(boundary.beta.detach())
        return loss_at_collapse(partial(margin, margin=boundary.margin, beta=beta), labels_N, sim=self.sim)


learned_margin = LearnedMargin


def tuplet_margin(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, margin: float = 0.1, scale: float = 64.0) -> Terms:
    """Each positive, with its angle reduced by `margin` radians, against all negatives.

    loss    log(1 + sum e^(scale (s_n - cos(angle_p - margin)))), mean over positive pairs
    paper   Yu and Tao, 2019, for cosine, added to intra_pair_variance.
            https://openaccess.thecvf.com/content_ICCV_2019/html/Yu_Deep_Metric_Learning_With_Tuplet_Margin_Loss_ICCV_2019_paper.html
    at collapse  ln(1 + negatives e^(-2 scale sin(margin / 2)))
    use     as ntxent at a low temperature; the slack ignores easy positives
    PML     the same with the margin in degrees (5.73); NaN if rounding produces a cosine above 1

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("tuplet_margin()")(emb, labels).item(), 4)
    3.3317
    """
    square_NM = 1 - sim_NM.square()
    apart_NM = square_NM > torch.finfo(sim_NM.dtype).eps
    sine_NM = torch.where(apart_NM, square_NM, 1).sqrt() * apart_NM  # 0 at an angle of 0, without its infinite gradient
    eased_NM = sim_NM * math.cos(margin) + sine_NM * math.sin(margin)
    loss_NM = softplus(lse(scale * sim_NM, neg_NM)[:, None] - scale * eased_NM)
    return Terms(total(loss_NM, pos_NM), pos_NM.sum(-1) * neg_NM.any(-1))


def snr_contrastive(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, margin: float = 1.0) -> tuple[Terms, Terms]:
    """Contrastive over noise-to-signal ratios, for sim="snr": r = -s, the variance of y - x over that of the anchor x.

    loss    r, mean over positive pairs, plus relu(margin - r), mean over negative pairs
    paper   Yuan et al., 2019, without its regularisation of the embedding's mean. https://arxiv.org/abs/1904.02616
    at collapse  margin
    use     embeddings that are not normalised: the ratio does not depend on their scale
    PML     averaged over the pairs with a nonzero loss; the same with its MeanReducer

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("snr_contrastive()", sim="snr")(emb, labels).item(), 4)
    8.32
    """
    return Terms(total(-sim_NM, pos_NM), pos_NM.sum(-1)), Terms(total((margin + sim_NM).relu(), neg_NM), neg_NM.sum(-1))


def threshold_consistent(
    sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, pos_at: float = 0.9, neg_at: float = 0.5
) -> tuple[Terms, Terms]:
    """Only the hard pairs: positives at or below pos_at, negatives at or above neg_at.

    loss    pos_at - s_p, mean over those positives, plus s_n - neg_at, mean over those negatives
    paper   Zhang et al., 2024 (TCM), for cosine. https://arxiv.org/abs/2307.04047
    at collapse  pos_at - neg_at
    use     added to another loss, so that all classes share one threshold: sum(losses=['ntxent', ...])
    PML     the same

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("threshold_consistent()")(emb, labels).item(), 4)
    0.32
    """
    hard_pos_NM, hard_neg_NM = pos_NM & (sim_NM <= pos_at), neg_NM & (sim_NM >= neg_at)
    return (
        Terms(total(pos_at - sim_NM, hard_pos_NM), hard_pos_NM.sum(-1)),
        Terms(total(sim_NM - neg_at, hard_neg_NM), hard_neg_NM.sum(-1)),
    )
