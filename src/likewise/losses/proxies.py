"""Rules over learned class proxies: each embedding against one or several proxies of every class.

Columns are the C classes, or their M = C * centres proxies, class by class. `cos` is that of the angle between
embedding and proxy; margins in angle are in radians. A required keyword is what the rule asks of ProxyLoss (`bias_C`,
`norm_N`, ...), the others are the user's numbers. Docstrings as in rules.py.
"""

from functools import partial

import torch
from torch import Tensor

from likewise import geometry
from likewise.losses.angle import at_positives, multiplied, widened
from likewise.losses.masked import lse, softplus, total
from likewise.losses.proxy import over
from likewise.losses.terms import Terms

__all__ = [
    "arcface",
    "center_loss",
    "cosface",
    "dynamic_arcface",
    "normalized_softmax",
    "p2sgrad",
    "proxy_anchor",
    "proxy_nca",
    "proxy_nca_pp",
    "soft_triple",
    "softmax",
    "sphereface",
    "subcenter_arcface",
]


def likelihood(logit_NC: Tensor, pos_NC: Tensor) -> Terms:
    """Cross-entropy: minus the log-probability of each positive class."""
    count_N = pos_NC.sum(-1)
    return Terms(logit_NC.logsumexp(-1) * count_N - total(logit_NC, pos_NC), count_N)


@over(geometry.dot)
def softmax(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, bias_C: Tensor) -> Terms:
    """Cross-entropy of a plain linear classifier on the embedding.

    loss    -log softmax(W e + b) at the anchor's class, mean over anchors; W and b as of nn.Linear(dim, classes)
    paper   Bridle, 1990; as a baseline of metric learning Zhai and Wu, 2019
    at collapse  ln C
    use     test classes that were seen in training; directly on a 2-D embedding, with nothing between, it draws the
            classes as rays from the origin. Keep the length (normalize=False), compare by direction
    PML     has none
    """
    return likelihood(sim_NC + bias_C, pos_NC)


@over(geometry.cosine)
def normalized_softmax(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, scale: float = 20.0) -> Terms:
    """Cross-entropy of scaled cosines to one proxy a class.

    loss    -log softmax(scale * cos), mean over anchors
    paper   Wang et al., 2017 (NormFace); Zhai and Wu, 2019
    at collapse  ln C
    use     the plainest proxy loss that trains what a search by cosine uses: start here, add a margin where it
            stalls
    PML     the same with temperature = 1 / scale
    """
    return likelihood(scale * sim_NC, pos_NC)


@over(geometry.cosine)
def cosface(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, margin: float = 0.35, scale: float = 64.0) -> Terms:
    """Softmax of scaled cosines, the anchor's own class handicapped by a margin in cosine.

    loss    -log softmax of scale * cos, at the anchor's class scale * (cos - margin); mean over anchors
    paper   Wang et al., 2018
    at collapse  ln(1 + (C - 1) e^(scale margin))
    use     the steadiest of the margin softmaxes: its margin pulls alike at every angle; scale=16 to 30 for few
            classes
    PML     the same
    """
    return likelihood(scale * (sim_NC - margin * pos_NC.to(sim_NC.dtype)), pos_NC)


@over(geometry.cosine)
def arcface(
    sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, margin: float = 0.5, scale: float = 64.0, easy: bool = False
) -> Terms:
    """Softmax of scaled cosines, the anchor's own class handicapped by a margin in angle.

    loss    -log softmax of scale * cos, at the anchor's class scale * cos(angle + margin); mean over anchors.
            Beyond angle = pi - margin, where that would rise again, cos(angle) - margin * sin(margin), as the
            authors have it: a step, but downhill all the way. The gradient is the true one at every angle
    easy    the margin only within 90 degrees of the proxy, for a start from random weights
    paper   Deng et al., 2019
    at collapse  ln(1 + (C - 1) e^(scale (1 - cos(margin))))
    use     faces, and wherever classes are many
    PML     the same, with the margin in degrees (28.6)
    """
    wide_NC = at_positives(partial(widened, margin=margin, easy=easy), sim_NC, pos_NC)
    return likelihood(scale * wide_NC, pos_NC)


@over(geometry.cosine)
def subcenter_arcface(
    sim_NM: Tensor,
    pos_NM: Tensor,
    neg_NM: Tensor,
    *,
    centres: int = 3,
    margin: float = 0.5,
    scale: float = 64.0,
    easy: bool = False,
) -> Terms:
    """ArcFace to the nearest of several proxies a class.

    loss    that of arcface, with the largest cosine to one of the class's `centres` proxies
    paper   Deng et al., 2020
    at collapse  that of arcface
    use     labels that cannot be trusted: one proxy becomes the class, the others take in what is not of it
    PML     the same, with the margin in degrees
    """
    sim_NC = sim_NM.unflatten(1, (-1, centres)).amax(-1)
    return arcface(sim_NC, pos_NM[:, ::centres], neg_NM[:, ::centres], margin=margin, scale=scale, easy=easy)


@over(geometry.cosine)
def dynamic_arcface(
    sim_NC: Tensor,
    pos_NC: Tensor,
    neg_NC: Tensor,
    *,
    counts_C: Tensor,
    a: float = 0.5,
    b: float = 0.05,
    power: float = 0.25,
    scale: float = 64.0,
) -> Terms:
    """ArcFace with a margin that grows as a class gets rarer.

    loss    that of arcface, with margin = a * count ** -power + b for a class of `count` training images
    paper   Ha et al., 2020
    at collapse  that of arcface, averaged over classes
    use     long-tailed data: a class of few images is held farther from the others
    PML     has none in 2.9
    """
    margin_C = a * counts_C.to(sim_NC.dtype).clamp_min(1) ** -power + b
    wide_NC = at_positives(widened, sim_NC, pos_NC, margin_C.expand_as(sim_NC))
    return likelihood(scale * wide_NC, pos_NC)


@over(geometry.cosine)
def sphereface(
    sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, norm_N: Tensor, margin: int = 4, scale: float = 1.0
) -> Terms:
    """Softmax of cosines times the embedding's length, the anchor's own angle multiplied.

    loss    -log softmax of scale * |e| * cos, at the anchor's class scale * |e| * ((-1)^k cos(margin * angle) - 2k)
            with k = floor(margin * angle / pi), downhill all the way; mean over anchors
    paper   Liu et al., 2017
    at collapse  ln C, at length 0
    use     the first of its kind, and harder to train than cosface and arcface; margin=2 is gentler. Its lengths
            count: normalize=False
    PML     the same
    """
    if margin != int(margin) or margin < 1:
        raise ValueError(f"sphereface multiplies the angle by a whole number of at least 1, got margin={margin!r}")
    wide_NC = at_positives(partial(multiplied, m=int(margin)), sim_NC, pos_NC)
    return likelihood((scale * norm_N)[:, None] * wide_NC, pos_NC)


@over(geometry.cosine)
def proxy_nca(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, scale: float = 8.0) -> Terms:
    """The anchor's own proxy against the others.

    loss    d_own + log sum over the others of e^(-d), d = scale * squared distance on the unit sphere = scale (2 -
            2 cos); mean over anchors. Its own proxy is not in the sum, so it falls below 0 and never rests
    paper   Movshovitz-Attias et al., 2017, with scale 1, which is nearly flat; values found by search lie near 8
    at collapse  ln(C - 1)
    use     comparison with the paper; proxy_nca_pp is better founded
    PML     calls ProxyNCALoss what has the own proxy in the sum: proxy_nca_pp
    """
    logit_NC = 2 * scale * sim_NC  # the constant of the distance falls out of the difference
    has_NC = pos_NC & neg_NC.any(-1, keepdim=True)
    loss_NC = lse(logit_NC, neg_NC)[:, None] - logit_NC
    return Terms(total(loss_NC, has_NC), has_NC.sum(-1))


@over(geometry.cosine)
def proxy_nca_pp(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, temperature: float = 1 / 9) -> Terms:
    """The probability of the anchor's own proxy among all.

    loss    -log softmax(-d / temperature), d = squared distance on the unit sphere = 2 - 2 cos; mean over anchors
    paper   Teh et al., 2020 (ProxyNCA++), with global max pooling and proxies that learn much faster (lr_scale=100)
    at collapse  ln C
    use     as normalized_softmax, which it is with scale = 2 / temperature
    PML     the same is ProxyNCALoss with softmax_scale = 1 / temperature
    """
    return likelihood(sim_NC * (2 / temperature), pos_NC)


@over(geometry.cosine)
def proxy_anchor(
    sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, margin: float = 0.1, alpha: float = 32.0
) -> tuple[Terms, Terms]:
    """Proxies as anchors: each against the images of the batch, the hardest weighing most.

    loss    log(1 + sum over its images of e^(alpha (margin - cos))), mean over proxies with an image in the batch,
            plus log(1 + sum over the others' of e^(alpha (margin + cos))), mean over all proxies. So its terms
            belong to proxies and not to images, and need the whole batch at once
    paper   Kim et al., 2020
    at collapse  near ln(1 + p e^(alpha margin)) + ln(1 + q e^(alpha margin)) for p and q images of and not of a class
    use     quick to converge, good where the test classes are new; lr_scale=100 on a pretrained network
    PML     the same, but an embedding of 0 gets a gradient near 1e13
    """
    pull_C = softplus(lse(alpha * (margin - sim_NC).mT, pos_NC.mT))
    push_C = softplus(lse(alpha * (margin + sim_NC).mT, neg_NC.mT))
    return Terms(pull_C, pos_NC.any(0)), Terms(push_C, torch.ones_like(pos_NC[0]))


@over(geometry.cosine)
def soft_triple(
    sim_NM: Tensor,
    pos_NM: Tensor,
    neg_NM: Tensor,
    *,
    proxies_MD: Tensor,
    centres: int = 10,
    scale: float = 20.0,
    gamma: float = 0.1,
    margin: float = 0.01,
    merge: float = 0.2,
) -> Terms:
    """Softmax over classes that have several proxies each, weighed by nearness.

    loss    -log softmax of scale * s, at the anchor's class scale * (s - margin), s = sum over the class's proxies
            of softmax(cos / gamma) * cos; mean over anchors. Plus `merge` times half the mean distance between
            proxies of one class, so that a class keeps no more of them than it needs
    paper   Qian et al., 2019
    at collapse  ln(1 + (C - 1) e^(scale margin))
    use     classes that look several ways
    PML     the same with merge=0: it leaves that part out
    """
    sim_NCK = sim_NM.unflatten(1, (-1, centres))
    sim_NC = (sim_NCK * (sim_NCK / gamma).softmax(-1)).sum(-1)
    pos_NC = pos_NM[:, ::centres]
    terms = likelihood(scale * (sim_NC - margin * pos_NC.to(sim_NC.dtype)), pos_NC)
    return terms if merge == 0 else Terms(terms.total + merge * spread(proxies_MD, centres) * terms.count, terms.count)


def spread(proxies_MD: Tensor, centres: int) -> Tensor | float:
    """Half the mean distance, on the unit sphere, between two proxies of one class; 0 when each class has one."""
    if centres == 1:
        return 0.0
    unit_CKD = geometry.unit(proxies_MD).unflatten(0, (-1, centres))
    pairs = len(unit_CKD) * centres * (centres - 1)
    return -geometry.euclidean(unit_CKD, unit_CKD).sum() / (2 * pairs)


@over(geometry.sqeuclidean)
def center_loss(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor) -> Terms:
    """Half the squared distance to the centre of the class.

    loss    |e - c|^2 / 2 for the class's learned centre c, mean over anchors
    paper   Wen et al., 2016, whose centres move by a rule of their own; here the optimizer learns them
    at collapse  0: it only pulls, and alone it collapses
    use     beside a loss that separates: sum(losses=['softmax', 'center_loss'], weights=[1, 0.003])
    PML     has none
    """
    return Terms(-0.5 * total(sim_NC, pos_NC), pos_NC.sum(-1))


@over(geometry.cosine)
def p2sgrad(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor) -> Terms:
    """Every cosine to its target, 1 or 0, by squares.

    loss    half the sum over classes of (cos - target)^2, mean over anchors; so its gradient by a cosine is cos -
            target
    paper   Zhang et al., 2019
    at collapse  (1 - 1 / C) / 2
    use     no scale and no margin to choose
    PML     averages over the classes and does not halve: 2 / C times ours
    """
    error_NC = sim_NC - pos_NC.to(sim_NC.dtype)
    return Terms(0.5 * error_NC.square().sum(-1), torch.ones_like(pos_NC[:, 0]))
