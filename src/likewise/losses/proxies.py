"""Rules over learned class proxies: each embedding against one or several proxies of every class.

Columns are the C classes, or their M = C * centres proxies, class by class. `cos` is the cosine between embedding
and proxy; angular margins are in radians. Required keywords are supplied by ProxyLoss (`bias_C`, `norm_N`, ...), the
others are set by the user. Docstrings as in rules.py.
"""

from functools import partial

import torch
from torch import Tensor

from likewise import geometry
from likewise.losses.angle import at_positives, multiplied, widened
from likewise.losses.masked import lse, softplus, total
from likewise.losses.proxy import over
from likewise.losses.terms import Terms, whole

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

    loss    -log softmax(W e + b) at the anchor's class, mean over anchors; W and b as in nn.Linear(dim, classes)
    paper   Bridle, 1990; as a baseline of metric learning Zhai and Wu, 2019. https://arxiv.org/abs/1811.12649
    at collapse  ln C
    use     test classes that were seen in training; directly on a 2-D embedding it arranges the classes as rays from
            the origin. Keep the norm (normalize=False), compare by cosine
    PML     not included

    >>> round(losses.build("softmax()", dim=64, classes=10).at_collapse(), 4)
    2.3026
    """
    return likelihood(sim_NC + bias_C, pos_NC)


@over(geometry.cosine)
def normalized_softmax(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, scale: float = 20.0) -> Terms:
    """Cross-entropy of scaled cosines to one proxy per class.

    loss    -log softmax(scale * cos), mean over anchors
    paper   Wang et al., 2017 (NormFace); Zhai and Wu, 2019. https://arxiv.org/abs/1704.06369,
            https://arxiv.org/abs/1811.12649
    at collapse  ln C
    use     the simplest proxy loss for search by cosine: start here, and add a margin if it stalls
    PML     the same with temperature = 1 / scale

    >>> round(losses.build("normalized_softmax()", dim=64, classes=10).at_collapse(), 4)
    2.3026
    """
    return likelihood(scale * sim_NC, pos_NC)


@over(geometry.cosine)
def cosface(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, margin: float = 0.35, scale: float = 64.0) -> Terms:
    """Softmax of scaled cosines with a cosine margin subtracted from the true class.

    loss    -log softmax of scale * cos, at the anchor's class scale * (cos - margin); mean over anchors
    paper   Wang et al., 2018. https://arxiv.org/abs/1801.09414
    at collapse  ln(1 + (C - 1) e^(scale margin))
    use     the most stable margin softmax: its margin is the same at every angle; scale=16 to 30 for few classes
    PML     the same

    >>> round(losses.build("cosface()", dim=64, classes=10).at_collapse(), 4)
    24.5972
    """
    return likelihood(cosface_logits(sim_NC, pos_NC, margin=margin, scale=scale), pos_NC)


def cosface_logits(sim_NC: Tensor, pos_NC: Tensor, *, margin: float = 0.35, scale: float = 64.0) -> Tensor:
    return scale * (sim_NC - margin * pos_NC.to(sim_NC.dtype))


@over(geometry.cosine)
def arcface(
    sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, margin: float = 0.5, scale: float = 64.0, easy: bool = False
) -> Terms:
    """Softmax of scaled cosines with an angular margin added to the true class.

    loss    -log softmax of scale * cos, at the anchor's class scale * cos(angle + margin); mean over anchors.
            Beyond angle = pi - margin, where that would rise again, cos(angle) - margin * sin(margin), as in the
            authors' code: discontinuous but decreasing. The gradient is exact at every angle
    easy    applies the margin only within 90 degrees of the proxy, for training from random weights
    paper   Deng et al., 2019. https://arxiv.org/abs/1801.07698
    at collapse  ln(1 + (C - 1) e^(scale (1 - cos(margin))))
    use     faces and other data with many classes
    PML     the same, with the margin in degrees (28.6)

    >>> round(losses.build("arcface()", dim=64, classes=10).at_collapse(), 4)
    10.032
    """
    return likelihood(arcface_logits(sim_NC, pos_NC, margin=margin, scale=scale, easy=easy), pos_NC)


def arcface_logits(
    sim_NC: Tensor, pos_NC: Tensor, *, margin: float = 0.5, scale: float = 64.0, easy: bool = False
) -> Tensor:
    return scale * at_positives(partial(widened, margin=margin, easy=easy), sim_NC, pos_NC)


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
    """ArcFace with several proxies per class, of which the nearest counts.

    loss    as arcface, with the largest cosine to the `centres` proxies of a class
    paper   Deng et al., 2020. https://doi.org/10.1007/978-3-030-58621-8_43
    at collapse  that of arcface
    use     noisy labels: one proxy represents the class, the others absorb the outliers
    PML     the same, with the margin in degrees

    >>> round(losses.build("subcenter_arcface()", dim=64, classes=10).at_collapse(), 4)
    10.032
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
    """ArcFace with a larger margin for rarer classes.

    loss    as arcface, with margin = a * count ** -power + b for a class of `count` training images
    paper   Ha et al., 2020. https://arxiv.org/abs/2010.05350
    at collapse  that of arcface, averaged over classes
    use     long-tailed data: classes with few images are separated more
    PML     not included in 2.9

    >>> round(losses.build("dynamic_arcface()", dim=64, classes=2, counts=[100, 5]).at_collapse(), 4)
    3.1421
    """
    margin_C = a * counts_C.to(sim_NC.dtype).clamp_min(1) ** -power + b
    wide_NC = at_positives(widened, sim_NC, pos_NC, margin_C.expand_as(sim_NC))
    return likelihood(scale * wide_NC, pos_NC)


@over(geometry.cosine)
def sphereface(
    sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, norm_N: Tensor, margin: int = 4, scale: float = 1.0
) -> Terms:
    """Softmax of cosines times the embedding's norm, with the angle to the true class multiplied.

    loss    -log softmax of scale * |e| * cos, at the anchor's class scale * |e| * ((-1)^k cos(margin * angle) - 2k)
            with k = floor(margin * angle / pi), monotonically decreasing; mean over anchors
    paper   Liu et al., 2017. https://arxiv.org/abs/1704.08063
    at collapse  ln C, at norm 0
    use     historical; harder to train than cosface and arcface, margin=2 is easier. Uses the norm:
            normalize=False
    PML     the same

    >>> round(losses.build("sphereface()", dim=64, classes=10).at_collapse(), 4)
    2.3026
    """
    if margin != int(margin) or margin < 1:
        raise ValueError(f"sphereface multiplies the angle by a whole number of at least 1, got margin={margin!r}")
    wide_NC = at_positives(partial(multiplied, m=int(margin)), sim_NC, pos_NC)
    return likelihood((scale * norm_N)[:, None] * wide_NC, pos_NC)


@over(geometry.cosine)
def proxy_nca(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, scale: float = 8.0) -> Terms:
    """The anchor's own proxy against the others.

    loss    d_own + log sum over the others of e^(-d), d = scale * squared distance on the unit sphere = scale (2 -
            2 cos); mean over anchors. Its own proxy is not in the sum, so the loss is unbounded below
    paper   Movshovitz-Attias et al., 2017, with scale 1, which is nearly flat; tuned values are near 8.
            https://arxiv.org/abs/1703.07464
    at collapse  ln(C - 1)
    use     comparison with the paper; otherwise prefer proxy_nca_pp
    PML     its ProxyNCALoss includes the own proxy in the sum: proxy_nca_pp

    >>> round(losses.build("proxy_nca()", dim=64, classes=10).at_collapse(), 4)
    2.1972
    """
    logit_NC = 2 * scale * sim_NC  # the constant of the distance falls out of the difference
    has_NC = pos_NC & neg_NC.any(-1, keepdim=True)
    loss_NC = lse(logit_NC, neg_NC)[:, None] - logit_NC
    return Terms(total(loss_NC, has_NC), has_NC.sum(-1))


@over(geometry.cosine)
def proxy_nca_pp(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, temperature: float = 1 / 9) -> Terms:
    """The probability of the anchor's own proxy among all proxies.

    loss    -log softmax(-d / temperature), d = squared distance on the unit sphere = 2 - 2 cos; mean over anchors
    paper   Teh et al., 2020 (ProxyNCA++), with global max pooling and proxies that learn much faster (lr_scale=100).
            https://arxiv.org/abs/2004.01113
    at collapse  ln C
    use     equivalent to normalized_softmax with scale = 2 / temperature
    PML     ProxyNCALoss with softmax_scale = 1 / temperature

    >>> round(losses.build("proxy_nca_pp()", dim=64, classes=10).at_collapse(), 4)
    2.3026
    """
    return likelihood(sim_NC * (2 / temperature), pos_NC)


@whole
@over(geometry.cosine)
def proxy_anchor(
    sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, margin: float = 0.1, alpha: float = 32.0
) -> tuple[Terms, Terms]:
    """Proxies as anchors, each against the images of the batch, the hardest with the largest weight.

    loss    log(1 + sum over its images of e^(alpha (margin - cos))), mean over proxies with an image in the batch,
            plus log(1 + sum over other images of e^(alpha (margin + cos))), mean over all proxies. The terms belong
            to proxies, not images, and need the whole batch at once
    paper   Kim et al., 2020. https://arxiv.org/abs/2003.13911
    at collapse  near ln(1 + p e^(alpha margin)) + ln(1 + q e^(alpha margin)) for p and q images of and not of a class
    use     converges quickly, good for unseen test classes; lr_scale=100 on a pretrained network
    PML     the same, but an embedding of 0 gets a gradient near 1e13

    >>> round(losses.build("proxy_anchor()", dim=64, classes=10).at_collapse(), 4)
    8.6242
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
    """Softmax over classes with several proxies each, weighted by similarity.

    loss    -log softmax of scale * s, at the anchor's class scale * (s - margin), s = sum over the class's proxies
            of softmax(cos / gamma) * cos; mean over anchors. Plus `merge` times half the mean distance between
            proxies of one class, which merges redundant proxies
    paper   Qian et al., 2019. https://arxiv.org/abs/1909.05235
    at collapse  ln(1 + (C - 1) e^(scale margin))
    use     classes with several modes
    PML     the same with merge=0

    >>> round(losses.build("soft_triple()", dim=64, classes=10).at_collapse(), 4)
    2.4843
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
    paper   Wen et al., 2016, with its own update rule for the centres; here the optimizer learns them.
            https://doi.org/10.1007/978-3-319-46478-7_31
    at collapse  0: on its own it collapses the embedding
    use     added to a loss that separates classes: sum(losses=['softmax', 'center_loss'], weights=[1, 0.003])
    PML     not included

    >>> round(losses.build("center_loss()", dim=64, classes=10).at_collapse(), 4)
    0.0
    """
    return Terms(-0.5 * total(sim_NC, pos_NC), pos_NC.sum(-1))


@over(geometry.cosine)
def p2sgrad(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor) -> Terms:
    """Squared error of every cosine to its target, 1 or 0.

    loss    half the sum over classes of (cos - target)^2, mean over anchors; the gradient with respect to a cosine is
            cos - target
    paper   Zhang et al., 2019. https://arxiv.org/abs/1905.02479
    at collapse  (1 - 1 / C) / 2
    use     no scale and no margin to choose
    PML     averages over the classes without halving: 2 / C times this loss

    >>> round(losses.build("p2sgrad()", dim=64, classes=10).at_collapse(), 4)
    0.45
    """
    error_NC = sim_NC - pos_NC.to(sim_NC.dtype)
    return Terms(0.5 * error_NC.square().sum(-1), torch.ones_like(pos_NC[:, 0]))
