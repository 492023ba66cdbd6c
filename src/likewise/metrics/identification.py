"""Open-set identification: who is it, or nobody that is enrolled?

A trial is one query searched in a gallery. score_T is the similarity of its best class; known_T says whether its class
is enrolled (a mated search), right_T whether the best class is the true one (never, where the class is not enrolled).
A query is named when its score reaches the threshold. Weights `[..., T]` count trials as often as they say, and their
leading dimensions stay in what comes out.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from likewise.metrics.verification import Roc

__all__ = ["Identification", "dir_at_far", "far_by_group", "identification", "min_dcf", "oscr", "threshold_at_far"]


class Identification(NamedTuple):
    """Open-set ROC: every operating point from naming nothing to naming all; U distinct scores give U + 1 of them."""

    far: Tensor  # [..., U + 1] float64: share of the unknown queries that is named at all (FPIR)
    dir: Tensor  # [..., U + 1] float64: share of the known queries that is named rightly (1 - FNIR)
    threshold: Tensor  # [U + 1] float64: a query whose score reaches it is named; first infinity


def identification(score_T: Tensor, known_T: Tensor, right_T: Tensor, weight_T: Tensor | None = None) -> Identification:
    """The open-set ROC. ISO/IEC 19795-1 (2021); NIST IR 8271, https://doi.org/10.6028/NIST.IR.8271.

    Errors: ValueError where known or unknown queries are missing, a score is NaN, or an unknown query counts as right.

    >>> scores, known = torch.tensor([0.9, 0.8, 0.6, 0.2]), torch.tensor([True, False, True, False])
    >>> curve = identification(scores, known, right_T=known)
    >>> curve.far.tolist(), curve.dir.tolist()
    ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    _check(score_T, known_T, right_T)
    ranked_T, order_T = score_T.double().sort(descending=True, stable=True)
    last_U = torch.cat([ranked_T[1:] != ranked_T[:-1], torch.ones(1, dtype=torch.bool)]).nonzero()[:, 0]
    weight_T = (torch.ones(len(score_T)) if weight_T is None else weight_T).double()[..., order_T]
    known_T, right_T = known_T[order_T], right_T[order_T]
    far = _share(weight_T * ~known_T, weight_T * ~known_T, last_U)
    dir_ = _share(weight_T * right_T, weight_T * known_T, last_U)
    edge = torch.cat([torch.full_like(ranked_T[:1], torch.inf), ranked_T[last_U]])
    return Identification(far, dir_, edge)


def _check(score_T: Tensor, known_T: Tensor, right_T: Tensor) -> None:
    if known_T.all() or not known_T.any():
        raise ValueError(
            f"all of the {len(known_T)} queries are {'known' if known_T.all() else 'unknown'}: open-set identification "
            "needs queries of enrolled classes and of others"
        )
    if score_T.isnan().any():
        raise ValueError(f"{int(score_T.isnan().sum())} of {len(score_T)} similarities are NaN")
    if (right_T & ~known_T).any():
        raise ValueError("a query of a class that is not enrolled cannot be named rightly")


def _share(counted_T: Tensor, all_T: Tensor, last_U: Tensor) -> Tensor:
    share_U = counted_T.cumsum(-1)[..., last_U] / all_T.sum(-1, keepdim=True)
    return torch.cat([torch.zeros_like(share_U[..., :1]), share_U], dim=-1)


def dir_at_far(curve: Identification, far: float) -> Tensor:
    """Detection and identification rate: the highest DIR of a point with at most this false accept rate.

    >>> scores, known = torch.tensor([0.9, 0.8, 0.6, 0.2]), torch.tensor([True, False, True, False])
    >>> float(dir_at_far(identification(scores, known, right_T=known), far=0.1))
    0.5
    """
    return curve.dir.gather(-1, _at(curve, far))[..., 0]


def threshold_at_far(curve: Identification, far: float) -> Tensor:
    """The lowest threshold with at most this false accept rate.

    >>> scores, known = torch.tensor([0.9, 0.8, 0.6, 0.2]), torch.tensor([True, False, True, False])
    >>> round(float(threshold_at_far(identification(scores, known, right_T=known), far=0.1)), 2)
    0.9
    """
    return curve.threshold[_at(curve, far)[..., 0]]


def _at(curve: Identification, far: float) -> Tensor:
    return (curve.far <= far).sum(-1, keepdim=True) - 1


def oscr(curve: Identification) -> Tensor:
    """Area under the open-set classification rate curve: DIR over the false accept rate. Dhamija et al., 2018.

    https://arxiv.org/abs/1811.04110. Trials of equal score are joined by a straight line.

    >>> scores, known = torch.tensor([0.9, 0.8, 0.6, 0.2]), torch.tensor([True, False, True, False])
    >>> float(oscr(identification(scores, known, right_T=known)))
    0.75
    """
    return torch.trapezoid(curve.dir, curve.far)


def min_dcf(curve: Roc, *, p_same: float = 0.01, miss_cost: float = 1.0, accept_cost: float = 1.0) -> Tensor:
    """Minimum of NIST's detection cost over all thresholds, 1 being the cost of the better constant answer.

    (miss_cost * FRR * p_same + accept_cost * FAR * (1 - p_same)) / min(miss_cost * p_same, accept_cost * (1 - p_same)).
    NIST SRE 2016 evaluation plan, https://www.nist.gov/itl/iad/mig/speaker-recognition-evaluation-2016.
    Errors: ValueError for a share that is not inside 0 and 1, or costs not above 0.

    >>> from likewise.metrics.verification import roc
    >>> curve = roc(torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([True, False, True, False]))
    >>> float(min_dcf(curve, p_same=0.5))
    0.5
    """
    if not 0 < p_same < 1 or miss_cost <= 0 or accept_cost <= 0:
        raise ValueError(
            f"p_same is a share inside 0 and 1 and costs are above 0; got {p_same}, {miss_cost}, {accept_cost}"
        )
    miss, accept = miss_cost * p_same, accept_cost * (1 - p_same)
    return (miss * (1 - curve.tar) + accept * curve.far).amin(-1) / min(miss, accept)


def far_by_group(score_T: Tensor, known_T: Tensor, group_T: Tensor, threshold: float) -> dict[int, tuple[int, int]]:
    """How many unknown queries of each group are named at a threshold, and of how many: `{group: (named, unknown)}`.

    >>> scores, known = torch.tensor([0.9, 0.8, 0.6, 0.2]), torch.tensor([True, False, False, False])
    >>> far_by_group(scores, known, group_T=torch.tensor([0, 0, 0, 1]), threshold=0.7)
    {0: (1, 2), 1: (0, 1)}
    """
    unknown_T = ~known_T
    named_T = unknown_T & (score_T.double() >= threshold)
    groups = group_T[unknown_T].unique().tolist()
    return {g: (int(named_T[group_T == g].sum()), int(unknown_T[group_T == g].sum())) for g in groups}
