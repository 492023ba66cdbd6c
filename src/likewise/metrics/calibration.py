"""Calibration: probabilities of the same class from similarities, and how reliable they are."""

from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from likewise.safety.bounds import Record

__all__ = [
    "BINS",
    "Calibration",
    "Isotonic",
    "Platt",
    "Reliability",
    "brier",
    "chosen",
    "ece",
    "excess",
    "isotonic",
    "kept",
    "platt",
    "reliability",
    "restored",
]

BINS = 15
ISOTONIC_FROM = 500  # pairs of each kind per half


@dataclass(frozen=True)
class Platt:
    """p(same) = sigmoid(slope * score + offset)."""

    slope: float
    offset: float

    def __call__(self, score_T: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * score_T.double() + self.offset)


@dataclass(frozen=True)
class Isotonic:
    """p(same) as an increasing curve, linear between knots and constant beyond them."""

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


Calibration = Platt | Isotonic
FITS = {"platt": Platt, "isotonic": Isotonic}


def kept(fit: Calibration) -> dict[str, object]:
    """A calibration as a JSON object; `restored` reads it.

    >>> kept(Platt(slope=2.0, offset=-1.0))
    {'kind': 'platt', 'slope': 2.0, 'offset': -1.0}
    """
    return {"kind": type(fit).__name__.lower(), **asdict(fit)}


def restored(numbers: Record) -> Calibration:
    """The inverse of `kept`; other keys are ignored.

    Errors: ValueError for an unknown kind of calibration, or missing numbers.

    >>> restored({"kind": "platt", "slope": 2.0, "offset": -1.0, "n": 100})
    Platt(slope=2.0, offset=-1.0)
    """
    fit = FITS.get(str(numbers.get("kind")))
    if fit is None or any(field.name not in numbers for field in fields(fit)):
        raise ValueError(f"a calibration is one of {', '.join(FITS)} with its numbers, got {dict(numbers)!r:.200}")
    read = {key: tuple(value) if isinstance(value, list) else value for key, value in numbers.items()}
    return fit(**{field.name: read[field.name] for field in fields(fit)})


def chosen(score_T: Tensor, same_T: Tensor, half_T: Tensor) -> Calibration:
    """Platt scaling or isotonic regression, whichever has the lower Brier score on the half it was not fitted to.

    half_T: int64, 0 or 1 for the half that contains both images of a pair; pairs across halves (any other number) are
        used only in the final fit. Platt scaling if a half has fewer than 500 pairs of a kind: with fewer than a
        thousand, isotonic regression overfits (Niculescu-Mizil and Caruana, 2005,
        https://doi.org/10.1145/1102351.1102430).
    """
    halves = [half_T == side for side in (0, 1)]
    if min(int(kind_T[h].sum()) for kind_T in (same_T, ~same_T) for h in halves) < ISOTONIC_FROM:
        return platt(score_T, same_T)
    across = [(halves[0], halves[1]), (halves[1], halves[0])]
    off = {}
    for fit in (platt, isotonic):
        off[fit] = sum(_off(fit(score_T[a], same_T[a]), score_T[b], same_T[b]) for a, b in across)
    return min(off, key=lambda fit: off[fit])(score_T, same_T)


def _off(fit: Calibration, score_T: Tensor, same_T: Tensor) -> float:
    return float(brier(fit(score_T), same_T).sum())


def platt(score_T: Tensor, same_T: Tensor) -> Platt:
    """Platt scaling: logistic regression on the score by Newton steps, with Platt's (1999) smoothed targets.

    Scores are standardised internally, so the scale of the similarity does not matter.
    Lin et al., 2007, https://doi.org/10.1007/s10994-007-5018-6.

    >>> fit = platt(torch.tensor([0.9, 0.7, 0.4, 0.1]), torch.tensor([True, True, False, False]))
    >>> fit.slope > 0
    True
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
    """One Newton step, halved until the log loss decreases."""
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
    """Isotonic regression, the increasing curve of least squares: flexible, but needs more pairs.

    Zadrozny & Elkan, 2002, https://doi.org/10.1145/775047.775151.

    >>> fit = isotonic(torch.tensor([0.9, 0.7, 0.4, 0.1]), torch.tensor([True, True, False, False]))
    >>> fit(torch.tensor([0.1, 0.9]))
    tensor([0., 1.], dtype=torch.float64)
    """
    from sklearn.isotonic import IsotonicRegression

    _both_kinds(same_T)
    fitted = IsotonicRegression(y_min=0, y_max=1).fit(score_T.double().numpy(), same_T.double().numpy())
    return Isotonic(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def _both_kinds(same_T: Tensor) -> None:
    if same_T.all() or not same_T.any():
        raise ValueError(f"all of the {len(same_T)} pairs are of one kind: calibration needs both kinds")


def brier(chance_T: Tensor, same_T: Tensor) -> Tensor:
    """Squared error of each predicted probability, `[T]`; its mean is the Brier score.

    Brier, 1950, https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

    >>> brier(torch.tensor([0.9, 0.2]), torch.tensor([True, False]))
    tensor([0.0100, 0.0400], dtype=torch.float64)
    """
    return (chance_T.double() - same_T.double()).square()


class Reliability(NamedTuple):
    """Pairs in bins of predicted probability, of equal width; empty bins are left out."""

    pairs: Tensor  # [B] int64: number of pairs
    predicted: Tensor  # [B] float64: mean predicted probability
    observed: Tensor  # [B] float64: share of same-class pairs


def reliability(chance_T: Tensor, same_T: Tensor, *, bins: int = BINS) -> Reliability:
    """The points of a reliability diagram. A bin includes its lower edge; the last one also includes 1.

    >>> bins = reliability(torch.tensor([0.9, 0.9, 0.1]), torch.tensor([True, False, False]), bins=2)
    >>> bins.pairs.tolist(), bins.observed.tolist()
    ([1, 2], [0.0, 0.5])
    """
    bin_T = _bin(chance_T, bins)
    count_B = bin_T.bincount(minlength=bins)
    some = count_B > 0
    sums = [bin_T.bincount(x.double(), minlength=bins)[some] / count_B[some] for x in (chance_T, same_T)]
    return Reliability(count_B[some], *sums)


def _bin(chance_T: Tensor, bins: int) -> Tensor:
    return (chance_T.double() * bins).long().clamp(0, bins - 1)


def excess(chance_T: Tensor, same_T: Tensor, *, bins: int = BINS) -> Tensor:
    """Over-confidence of each pair, in the row of its bin, `[B, T]`; the row sums give the ECE.

    >>> excess(torch.tensor([0.75, 0.25]), torch.tensor([True, False]), bins=2).tolist()
    [[0.0, 0.25], [-0.25, 0.0]]
    """
    inside_BT = _bin(chance_T, bins) == torch.arange(bins)[:, None]
    return torch.where(inside_BT, chance_T.double() - same_T.double(), 0.0)


def ece(chance_T: Tensor, same_T: Tensor, *, bins: int = BINS) -> float:
    """Expected calibration error: mean |predicted - observed| over pairs, per bin.

    Naeini et al., 2015, https://doi.org/10.1609/aaai.v29i1.9602.

    >>> round(ece(torch.tensor([0.9, 0.9]), torch.tensor([True, False])), 4)
    0.4
    """
    return float(excess(chance_T, same_T, bins=bins).sum(-1).abs().sum() / len(chance_T))
