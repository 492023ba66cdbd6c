"""Rules over learned class proxies: each embedding against one or several proxies of every class.

Columns are the classes, C, or their proxies, M = C * centres, class by class. A required keyword is what the rule asks
of ProxyLoss (`bias_C`, `norm_N`, ...); the others are the user's numbers. Margins in angle are in radians.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from likewise import geometry
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


def at_positives(change: Callable, sim_NC: Tensor, pos_NC: Tensor, *also_NC: Tensor) -> Tensor:
    """Similarities with those to positives changed: `change(sim, *also)`, elementwise."""
    if sim_NC.device.type != "cpu":  # to list the positives would wait for the device, which has time for them all
        return torch.where(pos_NC, change(sim_NC, *also_NC), sim_NC)
    at = pos_NC.nonzero(as_tuple=True)
    return sim_NC.index_put(at, change(sim_NC[at], *(x[at] for x in also_NC)))


@over(geometry.dot)
def softmax(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, bias_C: Tensor) -> Terms:
    """Cross-entropy of a plain linear classifier: -log softmax(W e + b) at the class of the anchor.

    Chance ln C. W and b are as in `nn.Linear(dim, classes)`; directly on a 2-D embedding, with no non-linearity
    between, it draws the classes as rays. Compared by angle such an embedding retrieves well, though its lengths
    carry confidence. The baseline to beat when the test classes were seen in training. Not in
    pytorch-metric-learning.
    """
    return likelihood(sim_NC + bias_C, pos_NC)


@over(geometry.cosine)
def normalized_softmax(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, scale: float = 20.0) -> Terms:
    """Cross-entropy on scaled cosines: -log softmax(scale * cos). Wang et al., 2017 (NormFace); Zhai and Wu, 2019.

    Chance ln C. The plainest proxy loss that trains what cosine retrieval uses; start here, add a margin when it
    stalls. pytorch-metric-learning writes temperature = 1 / scale.
    """
    return likelihood(scale * sim_NC, pos_NC)


@over(geometry.cosine)
def cosface(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, margin: float = 0.35, scale: float = 64.0) -> Terms:
    """Softmax on scaled cosines, the target's lowered by a margin: scale * (cos - margin). Wang et al., 2018.

    Chance ln(1 + (C - 1) exp(scale * margin)). An additive margin has the same pull at every angle, which makes this
    the steadiest of the margin softmaxes; lower `scale` (16 to 30) for few classes. Same as pytorch-metric-learning.
    """
    return likelihood(scale * (sim_NC - margin * pos_NC.to(sim_NC.dtype)), pos_NC)


@over(geometry.cosine)
def arcface(
    sim_NC: Tensor,
    pos_NC: Tensor,
    neg_NC: Tensor,
    *,
    margin: float = 0.5,
    scale: float = 64.0,
    easy: bool = False,
) -> Terms:
    """Softmax on scaled cosines, the target's angle widened: scale * cos(angle + margin). Deng et al., 2019.

    Chance ln(1 + (C - 1) exp(scale * (1 - cos(margin)))). Beyond angle = pi - margin, where cos(angle + margin) would
    rise again, the target is cos(angle) - margin * sin(margin), as in the authors' code: a step, but always downhill.
    easy: a margin only within 90 degrees of the proxy, for a start from random weights. The gradient is the true one
    at every angle. The usual choice for faces and many classes. pytorch-metric-learning writes the margin in degrees
    (28.6).
    """
    wide_NC = at_positives(partial(widened, margin=margin, easy=easy), sim_NC, pos_NC)
    return likelihood(scale * wide_NC, pos_NC)


def widened(cos: Tensor, margin: float | Tensor, easy: bool = False) -> Tensor:
    """cos(angle + margin) of any shape, continued downhill; when `easy`, cos(angle) beyond 90 degrees."""
    trig = torch if isinstance(margin, Tensor) else math
    cos_m, sin_m = trig.cos(margin), trig.sin(margin)
    # At 0 and pi the derivative of sin by cos is infinite; the floor is the rounding error of the product.
    sin = ((1 - cos) * (1 + cos)).clamp_min(torch.finfo(cos.dtype).eps).sqrt()
    wide = cos * cos_m - sin * sin_m
    if easy:
        return torch.where(cos > 0, wide, cos)
    return torch.where(cos >= -cos_m, wide, cos - margin * sin_m)


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
    """ArcFace on the nearest of several proxies a class: scale * cos(nearest angle + margin). Deng et al., 2020.

    Chance as arcface. One proxy becomes the class, the others take in its mislabelled or unusual pictures: for labels
    that cannot be trusted. Same as pytorch-metric-learning but for the margin's unit (see arcface).
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
    """ArcFace whose margin grows as a class gets rarer: margin = a * count ** -power + b. Ha et al., 2020.

    Chance as arcface, averaged over the margins. For long-tailed classes: a class of few pictures is held farther from
    the others. Needs the number of training images of each class. Not in pytorch-metric-learning 2.9.
    """
    margin_C = a * counts_C.to(sim_NC.dtype).clamp_min(1) ** -power + b
    wide_NC = at_positives(widened, sim_NC, pos_NC, margin_C.expand_as(sim_NC))
    return likelihood(scale * wide_NC, pos_NC)


@over(geometry.cosine)
def sphereface(
    sim_NC: Tensor,
    pos_NC: Tensor,
    neg_NC: Tensor,
    *,
    norm_N: Tensor,
    margin: int = 4,
    scale: float = 1.0,
) -> Terms:
    """Softmax on |e| cos, the target's angle multiplied: |e| * ((-1)^k cos(margin * angle) - 2k). Liu et al., 2017.

    k = floor(margin * angle / pi) keeps the target downhill. Chance ln C, at an embedding of length 0: the only one
    here whose lengths count, so use it with `normalize=False`. The first of its kind; harder to train than cosface
    and arcface, `margin=2` is a gentler start. Same as pytorch-metric-learning.
    """
    if margin != int(margin) or margin < 1:
        raise ValueError(f"sphereface multiplies the angle by a whole number of at least 1, got margin={margin!r}")
    wide_NC = at_positives(partial(multiplied, m=int(margin)), sim_NC, pos_NC)
    return likelihood((scale * norm_N)[:, None] * wide_NC, pos_NC)


def multiplied(cos: Tensor, m: int) -> Tensor:
    """cos(m * angle), continued downhill over [0, pi]: a Chebyshev polynomial, so its gradient is finite everywhere."""
    before, cos_m = torch.ones_like(cos), cos
    for _ in range(m - 1):
        before, cos_m = cos_m, 2 * cos * cos_m - before
    k = (cos.detach().clamp(-1, 1).acos() * m / math.pi).floor()
    return (1 - 2 * (k % 2)) * cos_m - 2 * k


@over(geometry.cosine)
def proxy_nca(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, scale: float = 8.0) -> Terms:
    """The class's proxy against the others: d_pos + log sum over the others of exp(-d). Movshovitz-Attias et al., 2017.

    d = scale * squared distance on the unit sphere = scale * (2 - 2 cos). The proxy itself is not in the sum, so the
    loss falls below 0 and never rests. Chance ln(C - 1). Superseded by proxy_nca_pp; the paper has scale 1, tuned
    values are near 8. What pytorch-metric-learning calls ProxyNCALoss has the proxy in the sum: it is proxy_nca_pp
    here.
    """
    logit_NC = 2 * scale * sim_NC  # the constant of the distance falls out of the difference
    has_NC = pos_NC & neg_NC.any(-1, keepdim=True)
    loss_NC = lse(logit_NC, neg_NC)[:, None] - logit_NC
    return Terms(total(loss_NC, has_NC), has_NC.sum(-1))


@over(geometry.cosine)
def proxy_nca_pp(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, temperature: float = 1 / 9) -> Terms:
    """Probability of the class's proxy: -log softmax(-d / temperature), d = 2 - 2 cos. Teh et al., 2020 (ProxyNCA++).

    Chance ln C. Normalised softmax of scale 2 / temperature under another name; the paper adds proxies that learn much
    faster than the network (lr_scale=100 or more on a pretrained one) and global max pooling.
    pytorch-metric-learning has it as ProxyNCALoss with softmax_scale = 1 / temperature.
    """
    return likelihood(sim_NC * (2 / temperature), pos_NC)


@over(geometry.cosine)
def proxy_anchor(
    sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor, *, margin: float = 0.1, alpha: float = 32.0
) -> tuple[Terms, Terms]:
    """Proxies as anchors: a soft maximum over the batch's pictures for each proxy, on either side. Kim et al., 2020.

    Pull: log(1 + sum over its positives of exp(alpha * (margin - cos))), averaged over the proxies with positives in
    the batch. Push: log(1 + sum over its negatives of exp(alpha * (margin + cos))), averaged over all proxies. So the
    Terms have a row for each proxy, not for each picture, and need the whole batch at once. Hard pictures weigh most;
    quick to converge; wants lr_scale=100 on a pretrained network. Chance ln(1 + p exp(alpha * margin)) + ln(1 + q
    exp(alpha * margin)) for p positives and q negatives a proxy. Same as pytorch-metric-learning, which at an
    embedding of 0 has a gradient near 1e13.
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
    """Softmax over classes of several proxies, each weighed by its nearness: scale * (s - margin). Qian et al., 2019.

    s = sum over the class's proxies of softmax(cos / gamma) * cos. To it, `merge` times the mean distance between
    proxies of one class (halved, as in the paper), so that a class keeps no more of them than it needs. For classes
    that look several ways. Chance ln(1 + (C - 1) exp(scale * margin)). pytorch-metric-learning leaves the merging
    out: merge=0 is the same.
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
    unit_CKD = F.normalize(proxies_MD, dim=-1).unflatten(0, (-1, centres))
    pairs = len(unit_CKD) * centres * (centres - 1)
    return -geometry.euclidean(unit_CKD, unit_CKD).sum() / (2 * pairs)


@over(geometry.sqeuclidean)
def center_loss(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor) -> Terms:
    """Half the squared distance to the centre of the class, |e - c|^2 / 2. Wen et al., 2016.

    It only pulls: alone it collapses (chance 0), so use it beside a loss that separates, as in
    `sum(losses=['softmax', 'center_loss'], weights=[1, 0.003])`. Centres are learned by the optimizer, where the paper
    moves them by a rule of its own. Not in pytorch-metric-learning.
    """
    return Terms(-0.5 * total(sim_NC, pos_NC), pos_NC.sum(-1))


@over(geometry.cosine)
def p2sgrad(sim_NC: Tensor, pos_NC: Tensor, neg_NC: Tensor) -> Terms:
    """Half the squared difference of every cosine to its target, 1 or 0: sum over classes. Zhang et al., 2019.

    The gradient by a cosine is cos - target: no scale and no margin to choose. Chance (1 - 1 / C) / 2.
    pytorch-metric-learning averages over the classes and does not halve: its value is ours * 2 / C.
    """
    error_NC = sim_NC - pos_NC.to(sim_NC.dtype)
    return Terms(0.5 * error_NC.square().sum(-1), torch.ones_like(pos_NC[:, 0]))
