"""False accepts and false rejects at a threshold or a level, with exact binomial bounds: no level has too few pairs."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from likewise.metrics.exact import exact_interval
from likewise.metrics.intervals import Score

__all__ = ["LEVELS", "ErrorRates", "at_levels", "at_threshold", "rate"]

LEVELS = (0.1, 0.05, 0.01, 0.001, 0.0001)


class ErrorRates(NamedTuple):
    """Rates of pairs at a threshold: different pairs accepted, same pairs rejected, each of its n pairs."""

    threshold: float
    far: Score
    frr: Score


def at_threshold(score_T: Tensor, same_T: Tensor, threshold: float) -> ErrorRates:
    """Error rates where pairs of this similarity or more are accepted.

    Intervals are Clopper and Pearson's (1934) at 95 %, for pairs that are independent: pairs which share images or
    people tell less than as many that do not. Errors: ValueError where pairs of one kind are missing.
    """
    accepted_T = score_T.double() >= threshold
    wrong, right = int((accepted_T & ~same_T).sum()), int((accepted_T & same_T).sum())
    same, different = int(same_T.sum()), int((~same_T).sum())
    if not same or not different:
        raise ValueError(
            f"error rates need pairs of both kinds, and there are {same:,} same and {different:,} different"
        )
    return ErrorRates(threshold, rate(wrong, different), rate(same - right, same))


def at_levels(score_T: Tensor, same_T: Tensor, levels: Sequence[float] = LEVELS) -> dict[str, ErrorRates]:
    """For each level of FAR (`far=0.01`) the lowest threshold at which no larger share of different pairs is accepted.

    The threshold is of the same pairs, so that the FAR is no estimate for others; its upper bound says how far it may
    be off. A level below 1 / different pairs takes the threshold above all of these.
    """
    ordered_E = score_T[~same_T].double().sort(descending=True).values
    by_level = {}
    for level in levels:
        allowed = math.floor(level * len(ordered_E) * (1 + 1e-12))
        below = float(ordered_E[allowed]) if allowed < len(ordered_E) else -math.inf
        above_T = score_T.double()[score_T.double() > below]  # accepting ties with `below` would be too many
        threshold = float(above_T.min()) if len(above_T) else math.nextafter(below, math.inf)
        by_level[f"far={level:g}"] = at_threshold(score_T, same_T, threshold)
    return by_level


def rate(k: int, n: int) -> Score:
    """k of n with Clopper and Pearson's interval."""
    return Score(k / n, *exact_interval(k, n), n)
