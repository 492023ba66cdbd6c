"""The core rules: (sim, pos, neg), each [N, M], to totals and counts of terms per anchor. One function, one loss.

Similarity: larger is closer. `s_p` and `s_n` are the similarities of an anchor to a positive and to a negative, sums
run over the pairs of one anchor, and a mean over anchors is total over count. Every rule here treats each row
independently, in O(M) or O(M log M). Each docstring gives the formula, the paper, the loss of a collapsed embedding
(all vectors equal), when to use the loss, and how pytorch-metric-learning 2.9 (PML) defines it.
"""

import torch
from torch import Tensor

from likewise.losses.masked import highest, lowest, lse, softplus, total
from likewise.losses.sorted_triplets import draw_violating, violating_triplets
from likewise.losses.terms import Terms, random, whole
from likewise.losses.triplet_tiles import over_positives, square

__all__ = [
    "contrastive",
    "triplet",
    "ntxent",
    "multi_ntxent",
    "supcon",
    "decoupled",
    "siglip",
    "nca",
    "multi_similarity",
    "circle",
]

PICKS = ("all", "hard", "semihard", "random-hard", "easy-positive")


def contrastive(
    sim_NM: Tensor,
    pos_NM: Tensor,
    neg_NM: Tensor,
    *,
    margin: float | None = None,
    pos_at: float = 1.0,
    neg_at: float = 0.0,
) -> tuple[Terms, Terms]:
    """Pull positives together, push negatives apart, up to a margin.

    loss    relu(pos_at - s), mean over positive pairs, plus relu(s - neg_at), mean over negative pairs; with `margin`
            d^2 / 2 and relu(margin - d)^2 / 2 for d = -s: the paper's form, for sim="euclidean"
    paper   Hadsell, Chopra and LeCun, 2006. https://doi.org/10.1109/CVPR.2006.100
    at collapse  pos_at - neg_at; with `margin` margin^2 / 4
    use     the siamese network; a stable choice when a similarity threshold is needed
    PML     the first form, averaged over the pairs with a nonzero loss; the same with its MeanReducer

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("contrastive()")(emb, labels).item(), 4)
    0.74
    """
    if margin is None:
        pull_NM, grad_wrt_sim_NM = (pos_at - sim_NM).relu(), (sim_NM - neg_at).relu()
    else:
        pull_NM, grad_wrt_sim_NM = sim_NM.square() / 2, (margin + sim_NM).relu().square() / 2
    return Terms(total(pull_NM, pos_NM), pos_NM.sum(-1)), Terms(total(grad_wrt_sim_NM, neg_NM), neg_NM.sum(-1))


@random(when="random-hard")
@whole(when="swap")
def triplet(
    sim_NM: Tensor,
    pos_NM: Tensor,
    neg_NM: Tensor,
    *,
    margin: float = 0.2,
    pick: str = "all",
    soft: bool = False,
    swap: bool = False,
) -> Terms:
    """Each positive closer than each negative, by a margin.

    loss    relu(s_n - s_p + margin), mean over the picked triplets
    pick    "all": every triplet with a nonzero loss (batch all)
            "hard": each anchor's farthest positive and nearest negative (batch hard; Hermans et al., 2017)
            "semihard": every triplet whose negative is farther than the positive, by less than the margin
            "random-hard": for each positive, one random negative among those that violate the margin
            "easy-positive": each anchor's nearest positive and nearest negative (Xuan et al., 2020)
    soft    log(1 + e^(s_n - s_p)) instead of the hinge; the margin is then used for picking only, and "all" picks
            every triplet
    swap    s_n is the negative's similarity to the anchor or to the positive, whichever is larger (Balntas et al.,
            2016); with pick="all", the batch against itself
    paper   Schroff, Kalenichenko and Philbin, 2015. https://arxiv.org/abs/1503.03832
    at collapse  margin; soft: ln 2
    use     "semihard" first; "all" is smooth, "hard" is aggressive and may collapse early. O(M log M) per row by
            sorting; soft or swapped, over all or semi-hard triplets, O(positives * M) in tiles
    PML     the same (AvgNonZeroReducer, its miners of those names)

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("triplet(margin=0.5, pick='hard')")(emb, labels).item(), 4)
    0.48
    """
    if pick not in PICKS or (swap and pick != "all"):
        accepted = "'all' with swap=True" if swap else f"one of {', '.join(PICKS)}"
        raise ValueError(f"triplet(pick={pick!r}): pick is {accepted}")
    if pick in ("hard", "easy-positive"):
        s_p = lowest(sim_NM, pos_NM) if pick == "hard" else highest(sim_NM, pos_NM)
        both_N = pos_NM.any(-1) & neg_NM.any(-1)
        loss_N = of_gap(highest(sim_NM, neg_NM) - s_p, margin, soft)
        return Terms(torch.where(both_N, loss_N, 0), both_N)
    if pick == "random-hard":
        column_NM, has_NM = draw_violating(sim_NM, pos_NM, neg_NM, margin)
        loss_NM = of_gap(sim_NM.gather(-1, column_NM) - sim_NM, margin, soft)
        return Terms(total(loss_NM, has_NM), has_NM.sum(-1))
    if soft or swap:
        return triplet_by_triplet(sim_NM, pos_NM, neg_NM, margin, soft, swap, pick == "semihard")
    return sorted_hinge(sim_NM, pos_NM, neg_NM, margin, pick == "semihard")


def of_gap(gap: Tensor, margin: float, soft: bool) -> Tensor:
    return softplus(gap) if soft else (gap + margin).relu()


def sorted_hinge(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, margin: float, semihard: bool) -> Terms:
    """The hinge over all, or all semi-hard, triplets without enumerating them."""
    grad_wrt_sim_NM, count_N = violating_triplets(sim_NM, pos_NM, neg_NM, margin)
    if semihard:  # violations of the margin, minus those whose negative is no farther than the positive
        hard_NM, hard_N = violating_triplets(sim_NM, pos_NM, neg_NM, 0.0, ties=True)
        grad_wrt_sim_NM, count_N = grad_wrt_sim_NM - hard_NM, count_N - hard_N
    return Terms((sim_NM * grad_wrt_sim_NM).sum(-1) + margin * count_N.to(sim_NM.dtype), count_N)


def triplet_by_triplet(
    sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, margin: float, soft: bool, swap: bool, semihard: bool
) -> Terms:
    """Losses that are not piecewise linear or need the row of the positive, triplet by triplet in tiles."""
    if swap:
        square(sim_NM, "triplet(swap=True)")

    def of_pairs(anchor_K: Tensor, positive_K: Tensor) -> Terms:
        near_KM, picked_KM = sim_NM[anchor_K], neg_NM[anchor_K]
        if swap:
            near_KM = torch.maximum(near_KM, sim_NM[positive_K])
        gap_KM = near_KM - sim_NM[anchor_K, positive_K][:, None]
        if semihard:
            picked_KM = picked_KM & (gap_KM < 0) & (gap_KM > -margin)
        elif not soft:
            picked_KM = picked_KM & (gap_KM > -margin)
        return Terms(total(of_gap(gap_KM, margin, soft), picked_KM), picked_KM.sum(-1))

    return over_positives(of_pairs, pos_NM)


def ntxent(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, temperature: float = 0.07) -> Terms:
    """Each positive against the anchor's negatives: the normalised temperature-scaled cross-entropy, or InfoNCE.

    loss    -log(e^(s_p/T) / (e^(s_p/T) + sum e^(s_n/T))), mean over positive pairs; computed as
            softplus(logsumexp(s_n/T) - s_p/T), which neither saturates nor loses its gradient at any temperature
    paper   Sohn, 2016; van den Oord et al., 2018; Chen et al., 2020 (SimCLR). https://arxiv.org/abs/1807.03748,
            https://arxiv.org/abs/2002.05709
    at collapse  ln(1 + negatives)
    use     two views per image, large batches; a lower temperature gives the nearest negatives more weight
    PML     the same, but capped at 87 in float32, where its gradient is 0

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("ntxent(temperature=0.1)")(emb, labels).item(), 4)
    0.9668
    """
    logit_NM = sim_NM / temperature
    loss_NM = softplus(lse(logit_NM, neg_NM)[:, None] - logit_NM)
    return Terms(total(loss_NM, pos_NM), pos_NM.sum(-1) * neg_NM.any(-1))


def multi_ntxent(
    sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, temperature: float = 0.07, positives: str = "out"
) -> Terms:
    """NT-Xent where an anchor has several positives.

    loss    mean over anchors with both of
            positives="out": the mean of the NT-Xent loss over the positives, so that every anchor has the same weight
            (in ntxent every pair has)
            positives="in": their likelihoods summed inside the logarithm, softplus(logsumexp(s_n/T) -
            logsumexp(s_p/T)), so that one near positive suffices
    paper   Miech et al., 2020 (MIL-NCE) for "in". https://arxiv.org/abs/1912.06430
    at collapse  "out": ln(1 + negatives); "in": ln(1 + negatives / positives)
    use     "out" for classes of very different sizes, "in" if some positives may be wrong
    PML     not included

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("multi_ntxent(positives='in')")(emb, labels).item(), 4)
    1.2219
    """
    logit_NM = sim_NM / temperature
    positives_N, against_N = pos_NM.sum(-1), lse(logit_NM, neg_NM)
    if positives == "out":
        loss_N = total(softplus(against_N[:, None] - logit_NM), pos_NM) / positives_N.clamp_min(1)
    elif positives == "in":
        loss_N = softplus(against_N - lse(logit_NM, pos_NM))
    else:
        raise ValueError(f"multi_ntxent(positives={positives!r}): positives is 'out' or 'in'")
    both_N = (positives_N > 0) & neg_NM.any(-1)
    return Terms(torch.where(both_N, loss_N, 0), both_N)


def supcon(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, temperature: float = 0.1) -> Terms:
    """Supervised contrastive: each positive against everything else in the batch.

    loss    the anchor's mean over positives of -log(e^(s_p/T) / sum over all others of e^(s/T)), mean over anchors
            with both (L_out)
    paper   Khosla et al., 2020. https://arxiv.org/abs/2004.11362
    at collapse  ln(positives + negatives)
    use     labels and several images per class; the usual first choice
    PML     the same

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("supcon(temperature=0.1)")(emb, labels).item(), 4)
    0.9668
    """
    logit_NM = sim_NM / temperature
    positives_N = pos_NM.sum(-1)
    both_N = (positives_N > 0) & neg_NM.any(-1)
    mean_N = total(logit_NM, pos_NM) / positives_N.clamp_min(1)
    return Terms(torch.where(both_N, lse(logit_NM, pos_NM | neg_NM) - mean_N, 0), both_N)


def decoupled(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, temperature: float = 0.1) -> Terms:
    """NT-Xent without the positive in its denominator.

    loss    logsumexp(s_n/T) - s_p/T, mean over positive pairs of anchors with a negative; it has no lower bound
    paper   Yeh et al., 2022 (DCL). https://arxiv.org/abs/2110.06848
    at collapse  ln(negatives)
    use     small batches and few epochs: the gradient does not vanish for near positives
    PML     does not have it

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("decoupled()")(emb, labels).item(), 4)
    -0.1853
    """
    logit_NM = sim_NM / temperature
    counted_NM = pos_NM & neg_NM.any(-1, keepdim=True)
    return Terms(total(lse(logit_NM, neg_NM)[:, None] - logit_NM, counted_NM), counted_NM.sum(-1))


def siglip(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, scale: float = 10.0, bias: float = -10.0) -> Terms:
    """A logistic loss on every pair independently.

    loss    sum of log(1 + e^-(scale s + bias)) over positives and of log(1 + e^(scale s + bias)) over negatives, mean
            over anchors
    paper   Zhai et al., 2023, where scale and bias are learned from these values. https://arxiv.org/abs/2303.15343
    at collapse  its minimum over s in [-1, 1]
    use     few positive pairs; not normalised over the batch, so the batch size matters little
    PML     does not have it

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("siglip()")(emb, labels).item(), 4)
    2.4016
    """
    logit_NM = scale * sim_NM + bias
    total_N = total(softplus(-logit_NM), pos_NM) + total(softplus(logit_NM), neg_NM)
    return Terms(total_N, torch.ones_like(total_N, dtype=torch.long))


def nca(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, scale: float = 16.0) -> Terms:
    """Neighbourhood components analysis: the probability that a neighbour drawn with weight e^(scale s) is a positive.

    loss    -log(sum e^(scale s_p) / sum over all others of e^(scale s)), mean over anchors with both
    paper   Goldberger et al., 2004, with sqeuclidean and scale=1.
            https://papers.nips.cc/paper/2566-neighbourhood-components-analysis
    at collapse  ln(1 + negatives / positives)
    use     nearest-neighbour classification: one near positive suffices, so a class may have several clusters
    PML     the same, but drops anchors whose probability rounds to 0, which need the gradient most

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("nca()")(emb, labels).item(), 4)
    1.3387
    """
    logit_NM = scale * sim_NM
    both_N = pos_NM.any(-1) & neg_NM.any(-1)
    return Terms(torch.where(both_N, lse(logit_NM, pos_NM | neg_NM) - lse(logit_NM, pos_NM), 0), both_N)


def multi_similarity(
    sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5
) -> Terms:
    """A soft maximum over the positives below `base` and one over the negatives above it.

    loss    log(1 + sum e^(-alpha (s_p - base))) / alpha + log(1 + sum e^(beta (s_n - base))) / beta, mean over all
            anchors, including those without mined pairs
    paper   Wang et al., 2019, for cosine, together with the miner of the same name. https://arxiv.org/abs/1904.06627
    at collapse  its minimum over s in [-1, 1]
    use     fine-grained classes with several images each
    PML     the same

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("multi_similarity()")(emb, labels).item(), 4)
    0.4988
    """
    far_N = softplus(lse(-alpha * (sim_NM - base), pos_NM)) / alpha
    near_N = softplus(lse(beta * (sim_NM - base), neg_NM)) / beta
    return Terms(far_N + near_N, torch.ones_like(far_N, dtype=torch.long))


def circle(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor, *, margin: float = 0.4, scale: float = 80.0) -> Terms:
    """Every pair weighted by its distance from its optimum.

    loss    softplus(logsumexp(scale w_n (s_n - m)) + logsumexp(-scale w_p (s_p - 1 + m))), mean over anchors with
            both; the weights w_n = relu(s_n + m) and w_p = relu(1 + m - s_p) take no gradient
    paper   Sun et al., 2020, for cosine: margin=0.4, scale=80 for retrieval, margin=0.25, scale=256 for faces.
            https://arxiv.org/abs/2002.10857
    at collapse  scale (1/2 - 2 m^2) + ln(positives negatives)
    use     as multi_similarity, with one decision boundary; not with a small scale
    PML     the same, averaged over anchors whose loss does not round to 0

    >>> emb, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> round(losses.build("circle()")(emb, labels).item(), 4)
    28.8648
    """
    fixed_NM = sim_NM.detach()
    far_N = lse(-scale * (1 + margin - fixed_NM).relu() * (sim_NM - 1 + margin), pos_NM)
    near_N = lse(scale * (fixed_NM + margin).relu() * (sim_NM - margin), neg_NM)
    both_N = pos_NM.any(-1) & neg_NM.any(-1)
    return Terms(torch.where(both_N, softplus(far_N + near_N), 0), both_N)
