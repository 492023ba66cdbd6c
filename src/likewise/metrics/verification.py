"""Verification: ROC, EER, TAR@FAR, thresholds and decisions from the similarities of pairs.

score_T are similarities and same_T says which pairs are of the same class; a pair is accepted if its score reaches the
threshold. Weights `[..., T]` count each pair that many times (bootstrap resamples); their leading dimensions are kept.
"""

from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Decisions",
    "Ranked",
    "Roc",
    "aim",
    "auc",
    "curve",
    "decide",
    "det",
    "eer",
    "enough",
    "fold_accuracy",
    "rank",
    "reached",
    "roc",
    "tar_at_far",
    "threshold",
    "too_few",
]

ROUNDING = 1e-13  # of rates computed in float64

# An error rate should be based on 30 errors: the true rate is then within 30 % of the observed one, at 90 %
# confidence (Doddington et al., 2000). The rule of 3 is weaker: no error in 3 / rate trials bounds the rate at 95 %.
RULE_OF_30 = 30


class Roc(NamedTuple):
    """Every operating point, from accepting nothing to accepting everything; U distinct scores give U + 1 of them."""

    far: Tensor  # [..., U + 1] float64: share of the different-class pairs that is accepted
    tar: Tensor  # [..., U + 1] float64: share of the same-class pairs that is accepted
    threshold: Tensor  # [U + 1]: half way between the last accepted score and the next


class Ranked(NamedTuple):
    """Pairs by decreasing similarity, sorted once for all weights."""

    order: Tensor  # [T] int64: index of each pair
    same: Tensor  # [T] bool, in this order
    last: Tensor  # [U] int64: last position of each distinct score
    threshold: Tensor  # [U + 1]


def roc(score_T: Tensor, same_T: Tensor, weight_T: Tensor | None = None) -> Roc:
    """The ROC of pairs. Errors: ValueError if one kind of pair is missing, or a score is NaN.

    >>> curve = roc(torch.tensor([0.9, 0.1]), torch.tensor([True, False]))
    >>> curve.far.tolist(), curve.tar.tolist()
    ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0])
    """
    return curve(rank(score_T, same_T), weight_T)


def rank(score_T: Tensor, same_T: Tensor) -> Ranked:
    """Sorts pairs for `curve`. Errors: as in `roc`."""
    if same_T.all() or not same_T.any():
        raise ValueError(f"all of the {len(same_T)} pairs are of one kind: pairs of one class and of two are needed")
    if score_T.isnan().any():
        raise ValueError(f"{int(score_T.isnan().sum())} of {len(score_T)} similarities are NaN")
    ranked_T, order_T = score_T.double().sort(descending=True, stable=True)
    last_U = torch.cat([ranked_T[1:] != ranked_T[:-1], torch.ones(1, dtype=torch.bool)]).nonzero()[:, 0]
    return Ranked(order_T, same_T[order_T], last_U, _between(ranked_T[last_U]))


def curve(ranked: Ranked, weight_T: Tensor | None = None) -> Roc:
    """The ROC of ranked pairs; weights are in the original order of the pairs."""
    weight_T = torch.ones(len(ranked.order)) if weight_T is None else weight_T
    weight_T = weight_T.double()[..., ranked.order]
    far, tar = (_share(weight_T * kind_T, ranked.last) for kind_T in (~ranked.same, ranked.same))
    return Roc(far, tar, ranked.threshold)


def _share(weight_T: Tensor, last_U: Tensor) -> Tensor:
    total_T = weight_T.cumsum(-1)
    total_U = total_T if len(last_U) == total_T.shape[-1] else total_T[..., last_U]  # no ties: nothing to select
    share_U = total_U / total_T[..., -1:]
    return torch.cat([torch.zeros_like(share_U[..., :1]), share_U], dim=-1)


def _between(score_U: Tensor) -> Tensor:
    """Half way between neighbouring scores, so that a threshold has room on both sides."""
    return torch.cat([score_U[:1] + 1e-6, (score_U[1:] + score_U[:-1]) / 2, score_U[-1:] - 1e-6])


def auc(curve: Roc) -> Tensor:
    """Area under the ROC: probability that a same-class pair scores above a different-class one, ties counting half.

    >>> curve = roc(torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([True, False, True, False]))
    >>> float(auc(curve))
    0.75
    """
    return torch.trapezoid(curve.tar, curve.far)


def eer(curve: Roc) -> Tensor:
    """Equal error rate: where false accept and false reject rate are equal, interpolated linearly.

    >>> curve = roc(torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([True, False, True, False]))
    >>> float(eer(curve))
    0.5
    """
    above = curve.far + curve.tar - 1  # rises from -1 to 1
    right = (above < 0).sum(-1, keepdim=True).clamp_min(1)  # 0 only for a resample without pairs of a kind: NaN
    left = right - 1
    a, b = above.gather(-1, left), above.gather(-1, right)
    far_a, far_b = curve.far.gather(-1, left), curve.far.gather(-1, right)
    return (far_a - a / (b - a) * (far_b - far_a))[..., 0]


def tar_at_far(curve: Roc, far: float) -> Tensor:
    """The highest true accept rate among the points with at most this false accept rate; not interpolated.

    >>> curve = roc(torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([True, False, True, False]))
    >>> float(tar_at_far(curve, 0.01))
    0.5
    """
    return curve.tar.gather(-1, (curve.far <= far).sum(-1, keepdim=True) - 1)[..., 0]


def enough(same_T: Tensor, far: float) -> bool:
    """Whether there are enough different-class pairs for this false accept rate: 30 expected false accepts.

    >>> enough(torch.zeros(3_000, dtype=torch.bool), far=0.01)
    True
    """
    return not too_few(same_T, far)


def too_few(same_T: Tensor, far: float) -> str:
    """Why this false accept rate cannot be estimated; empty if it can."""
    different = int((~same_T).sum())
    if different * far >= RULE_OF_30 * (1 - 1e-9):
        return ""
    if far <= 0:
        return "too few pairs to say: no number of them shows that none is ever accepted falsely"
    return (
        f"too few pairs to say: of {different:,} pairs of two classes {different * far:.2g} would be accepted falsely, "
        f"and a rate rests on {RULE_OF_30}, for FAR {far:g} on {ceil(RULE_OF_30 / far):,} pairs"
    )


def det(curve: Roc) -> tuple[Tensor, Tensor]:
    """Detection error trade-off: false accept and false reject rate, usually on probit axes.

    Martin et al., 1997, https://doi.org/10.21437/Eurospeech.1997-504.

    >>> curve = roc(torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([True, False, True, False]))
    >>> far, frr = det(curve)
    >>> far.tolist(), frr.tolist()
    ([0.0, 0.0, 0.5, 0.5, 1.0], [1.0, 0.5, 0.5, 0.0, 0.0])
    """
    return curve.far, 1 - curve.tar


def threshold(curve: Roc, target: str = "accuracy", share_same: float = 0.5) -> Tensor:
    """The threshold that best meets the target; of equally good ones the strictest.

    target: "accuracy", "f1", "eer" (both error rates closest to equal), "far=0.001" or "precision=0.99" (accepts the
    most
        with at most that false accept rate, or at least that precision; accepts nothing if no threshold has it).
    share_same: expected share of same-class pairs in use.

    >>> curve = roc(torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([True, False, True, False]))
    >>> round(float(threshold(curve, "far=0.1")), 3)
    0.85
    """
    kind, rate = aim(target)
    far, tar = curve.far, curve.tar
    if kind == "accuracy":
        merit = share_same * tar + (1 - share_same) * (1 - far)
    elif kind == "f1":
        accepted = share_same * tar + (1 - share_same) * far
        merit = 2 * share_same * tar / (accepted + share_same)
    elif kind == "eer":
        merit = -(far + tar - 1).abs()
    elif kind == "far":
        merit = torch.where(far <= rate, tar, -1.0)
    else:
        merit = torch.where(_precision(curve, share_same) >= rate - ROUNDING, tar, -1.0)
    # Equal merits may differ by rounding; true differences are at least 1 / (same-class pairs * different-class pairs).
    best = merit.amax(-1, keepdim=True)
    return curve.threshold[(merit >= best - ROUNDING).byte().argmax(-1)]


def reached(curve: Roc, share_same: float = 0.5) -> float:
    """The highest precision of any threshold that accepts something.

    >>> curve = roc(torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([True, False, True, False]))
    >>> reached(curve)
    1.0
    """
    return float(_precision(curve, share_same).max())


def _precision(curve: Roc, share_same: float) -> Tensor:
    """At every operating point; 0 if nothing is accepted."""
    right, wrong = share_same * curve.tar, (1 - share_same) * curve.far
    return right / (right + wrong).clamp_min(torch.finfo(torch.float64).tiny)


def aim(target: str) -> tuple[str, float]:
    """`"far=0.001"` as ("far", 0.001), `"f1"` as ("f1", 0). Errors: ValueError for an unknown target.

    >>> aim("far=0.001")
    ('far', 0.001)
    """
    kind, _, number = target.partition("=")
    if target in ("accuracy", "f1", "eer"):
        return target, 0.0
    if kind not in ("far", "precision"):
        raise ValueError(
            f"no threshold aims at {target!r}; choose accuracy, f1, eer, a rate such as far=0.001, or precision=0.99"
        )
    try:
        rate = float(number)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1:
        raise ValueError(f"{target!r} gives no share from 0 to 1; write it as in far=0.001 or precision=0.99")
    return kind, rate


class Decisions(NamedTuple):
    """Shares of correct and wrong decisions at one threshold."""

    accuracy: float
    precision: float  # share of accepted pairs that are of the same class
    recall: float  # share of same-class pairs that are accepted: the true accept rate
    f1: float
    far: float
    frr: float


def decide(score_T: Tensor, same_T: Tensor, at: float) -> Decisions:
    """Accepts the pairs with a score of at least `at`. Shares of empty sets are 0.

    >>> decide(torch.tensor([0.9, 0.8, 0.1]), torch.tensor([True, False, False]), at=0.85).accuracy
    1.0
    """
    accept_T = score_T.double() >= at
    right, wrong = int((accept_T & same_T).sum()), int((accept_T & ~same_T).sum())
    same, different = int(same_T.sum()), int((~same_T).sum())
    return Decisions(
        accuracy=(right + different - wrong) / max(len(same_T), 1),
        precision=right / max(right + wrong, 1),
        recall=right / max(same, 1),
        f1=2 * right / max(right + wrong + same, 1),
        far=wrong / max(different, 1),
        frr=(same - right) / max(same, 1),
    )


def fold_accuracy(score_T: Tensor, same_T: Tensor, fold_T: Tensor, *, target: str = "accuracy") -> Tensor:
    """LFW's protocol: the accuracy in each fold `[F]` at the threshold chosen on all others.

    Reported as the mean with the standard error std / sqrt(F). Huang et al., 2007,
    http://vis-www.cs.umass.edu/lfw/lfw.pdf.

    >>> scores, same = torch.tensor([0.9, 0.1, 0.8, 0.2]), torch.tensor([True, False, True, False])
    >>> fold_accuracy(scores, same, torch.tensor([0, 0, 1, 1]))
    tensor([1., 1.], dtype=torch.float64)
    """
    accuracies = []
    for fold in fold_T.unique():
        out_T = fold_T == fold
        share = float(same_T[~out_T].double().mean())
        at = float(threshold(roc(score_T[~out_T], same_T[~out_T]), target, share))
        accuracies.append(decide(score_T[out_T], same_T[out_T], at).accuracy)
    return torch.tensor(accuracies, dtype=torch.float64)
