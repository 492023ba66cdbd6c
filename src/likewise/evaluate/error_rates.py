"""False accepts and false rejects at a threshold or a level, with bounds that know that pairs share images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from likewise.metrics.dependence import effective_size
from likewise.metrics.exact import exact_interval
from likewise.metrics.intervals import Score
from likewise.metrics.sampled_pairs import Pairs

__all__ = ["LEVELS", "ErrorRates", "Members", "Rate", "at_levels", "at_threshold", "members_of", "rate"]

LEVELS = (0.1, 0.05, 0.01, 0.001, 0.0001)


class Members(NamedTuple):
    """The two members of each pair: images, or classes (people) where those of the test were drawn."""

    first: Tensor  # [T] int64
    second: Tensor  # [T] int64


@dataclass(frozen=True)
class Rate(Score):
    """A share of n pairs, and how many independent ones these are worth."""

    effective: float


class ErrorRates(NamedTuple):
    """Rates of pairs at a threshold: different pairs accepted, same pairs rejected, each of its n pairs."""

    threshold: float
    far: Rate
    frr: Rate


def at_threshold(score_T: Tensor, same_T: Tensor, threshold: float, members: Members | None = None) -> ErrorRates:
    """Error rates where pairs of this similarity or more are accepted, with 95 % intervals.

    members: who is in the pairs; None where no two pairs share anything. Errors: ValueError where pairs of one kind are
    missing.
    """
    same, different = int(same_T.sum()), int((~same_T).sum())
    if not same or not different:
        raise ValueError(
            f"error rates need pairs of both kinds, and there are {same:,} same and {different:,} different"
        )
    far = rate(score_T[~same_T], threshold, _of(members, ~same_T))
    return ErrorRates(threshold, far, rate(score_T[same_T], threshold, _of(members, same_T), rejected=True))


def at_levels(
    score_T: Tensor, same_T: Tensor, levels: Sequence[float] = LEVELS, members: Members | None = None
) -> dict[str, ErrorRates]:
    """For each level of FAR (`far=0.01`) the lowest threshold at which no larger share of different pairs is accepted.

    The threshold is of the same pairs, so that the FAR is no estimate for others; its upper bound says how far it may
    be off. A level below 1 / different pairs takes the threshold above all of these.
    """
    ordered_E = score_T[~same_T].double().sort(descending=True).values
    at_level = {}
    for level in levels:
        allowed = math.floor(level * len(ordered_E) * (1 + 1e-12))
        below = float(ordered_E[allowed]) if allowed < len(ordered_E) else -math.inf
        above_T = score_T.double()[score_T.double() > below]  # accepting ties with `below` would be too many
        threshold = float(above_T.min()) if len(above_T) else math.nextafter(below, math.inf)
        at_level[f"far={level:g}"] = at_threshold(score_T, same_T, threshold, members)
    return at_level


def rate(score_T: Tensor, threshold: float, members: Members | None = None, *, rejected: bool = False) -> Rate:
    """The share of pairs that are accepted (or rejected) at a threshold.

    The interval is Clopper and Pearson's (1934) for the number of independent pairs that these are worth: see
    `metrics.dependence.effective_size`. Without members each pair counts as one.
    """
    accepted_T = score_T.double() >= threshold
    wrong_T = ~accepted_T if rejected else accepted_T
    n, k = len(wrong_T), int(wrong_T.sum())
    if members is None:
        return Rate(k / n, *exact_interval(k, n), n, float(n))
    error_T = -score_T.double() if rejected else score_T.double()
    limit = math.nextafter(-threshold, math.inf) if rejected else threshold
    worth = effective_size(error_T, members.first, members.second, limit)
    return Rate(k / n, *exact_interval(k / n * worth, worth), n, worth)


def members_of(pairs: Pairs, units_N: Tensor) -> Members:
    """The members of pairs of images, where units_N says which image, class or person each is: `resampling.units`."""
    return Members(units_N[pairs.first], units_N[pairs.second])


def _of(members: Members | None, kind_T: Tensor) -> Members | None:
    return members and Members(members.first[kind_T], members.second[kind_T])
