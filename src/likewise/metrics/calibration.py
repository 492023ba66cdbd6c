"""From similarities to probabilities of being of one class, and how far such probabilities can be believed."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Isotonic", "Platt", "Reliability", "brier", "ece", "isotonic", "platt", "reliability"]


@dataclass(frozen=True)
class Platt:
    """p(same) = sigmoid(slope * score + offset)."""

    slope: float
    offset: float

    def __call__(self, score_T: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * score_T.double() + self.offset)


@dataclass(frozen=True)
class Isotonic:
    """p(same) as a rising curve, straight between knots and level beyond them."""

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __call__(self, score_T: Tensor) -> Tensor:
        x_U, y_U = (torch.tensor(knots, dtype=torch.float64) for knots in (self.scores, self.probabilities))
        score_T = score_T.double().clamp(x_U[0], x_U[-1])
        right_T = torch.searchsorted(x_U, score_T).clamp(1, len(x_U) - 1) if len(x_U) > 1 else None
        if right_T is None:
            return y_U.expand(len(score_T)).clone()
        width_T = x_U[right_T] - x_U[right_T - 1]
        return torch.lerp(y_U[right_T - 1], y_U[right_T], (score_T - x_U[right_T - 1]) / width_T)


def platt(score_T: Tensor, same_T: Tensor) -> Platt:
    """Logistic regression on the score by Newton steps, with Platt's (1999) targets, which keep it finite.

    Scores are standardised inside, so that the scale of a geometry does not matter. Lin et al., 2007.
    """
    _both_kinds(same_T)
    mean, scale = float(score_T.double().mean()), float(score_T.double().std().clamp_min(1e-12))
    design_T2 = torch.stack([(score_T.double() - mean) / scale, torch.ones(len(score_T), dtype=torch.float64)], dim=1)
    same, different = int(same_T.sum()), int((~same_T).sum())
    target_T = torch.where(same_T, (same + 1) / (same + 2), 1 / (different + 2)).double()
    weights_2 = torch.zeros(2, dtype=torch.float64)
    for _ in range(100):
        step_2 = _newton(design_T2, target_T, weights_2)
        weights_2 = weights_2 + step_2
        if step_2.abs().max() < 1e-10:
            break
    slope = float(weights_2[0]) / scale
    return Platt(slope, float(weights_2[1]) - slope * mean)


def _newton(design_T2: Tensor, target_T: Tensor, weights_2: Tensor) -> Tensor:
    """One step towards the least log loss, halved until it is a gain."""
    chance_T = torch.sigmoid(design_T2 @ weights_2)
    gradient_2 = design_T2.T @ (target_T - chance_T)
    curve_22 = (design_T2.T * (chance_T * (1 - chance_T))) @ design_T2 + 1e-9 * torch.eye(2, dtype=torch.float64)
    step_2 = torch.linalg.solve(curve_22, gradient_2)
    while step_2.abs().max() > 1e-10 and _loss(design_T2, target_T, weights_2 + step_2) > _loss(
        design_T2, target_T, weights_2
    ):
        step_2 = step_2 / 2
    return step_2


def _loss(design_T2: Tensor, target_T: Tensor, weights_2: Tensor) -> Tensor:
    return torch.nn.functional.binary_cross_entropy_with_logits(design_T2 @ weights_2, target_T)


def isotonic(score_T: Tensor, same_T: Tensor) -> Isotonic:
    """The rising curve of least squares: of any shape, and in need of more pairs. Zadrozny & Elkan, 2002."""
    from sklearn.isotonic import IsotonicRegression

    _both_kinds(same_T)
    fitted = IsotonicRegression(y_min=0, y_max=1).fit(score_T.double().numpy(), same_T.double().numpy())
    return Isotonic(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def _both_kinds(same_T: Tensor) -> None:
    if same_T.all() or not same_T.any():
        raise ValueError(f"all of the {len(same_T)} pairs are of one kind: calibration needs both kinds")


def brier(chance_T: Tensor, same_T: Tensor) -> Tensor:
    """Squared distance of each probability from what was true, `[T]`; its mean is the score. Brier, 1950."""
    return (chance_T.double() - same_T.double()).square()


class Reliability(NamedTuple):
    """Pairs by predicted probability, in bins of equal width; empty bins are left out."""

    pairs: Tensor  # [B] int64: how many
    predicted: Tensor  # [B] float64: mean probability of the bin's pairs
    observed: Tensor  # [B] float64: share of them that is of one class


def reliability(chance_T: Tensor, same_T: Tensor, *, bins: int = 15) -> Reliability:
    """What a reliability diagram draws. A bin holds its lower edge; the last one holds 1 as well."""
    bin_T = (chance_T.double() * bins).long().clamp(0, bins - 1)
    count_B = bin_T.bincount(minlength=bins)
    some = count_B > 0
    sums = [bin_T.bincount(x.double(), minlength=bins)[some] / count_B[some] for x in (chance_T, same_T)]
    return Reliability(count_B[some], *sums)


def ece(chance_T: Tensor, same_T: Tensor, *, bins: int = 15) -> float:
    """Expected calibration error: mean |predicted - observed| over pairs, bin by bin. Naeini et al., 2015."""
    table = reliability(chance_T, same_T, bins=bins)
    return float((table.pairs * (table.predicted - table.observed).abs()).sum() / len(chance_T))
