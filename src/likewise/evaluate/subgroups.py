"""Scores of pairs apart by role and by group, and the gap between the groups of the most and the fewest errors."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from likewise.evaluate.error_rates import Members, Rate, members_of, rate
from likewise.evaluate.resampling import DRAWN_CLASSES
from likewise.evaluate.verification import CURVED, Resampled, resampled
from likewise.metrics import intervals
from likewise.metrics.exact import exact_interval
from likewise.metrics.intervals import TAIL, Score
from likewise.metrics.sampled_pairs import Pairs

__all__ = ["LISTED", "Gap", "Slice", "ScoredPairs", "by_group", "by_role", "gaps", "rate_gap"]

LISTED = 20  # groups, those with the most pairs
FEWEST = 2  # pairs of each kind, below which an EER has no interval


class ScoredPairs(NamedTuple):
    """Pairs with their similarities, and what the intervals draw together."""

    pairs: Pairs
    score: Tensor  # [T]
    classes: Tensor  # [N] int64, the class of each image
    units: Tensor  # [N] int64
    strata: Tensor | None = None  # [N] int64

    def take(self, places_T: Tensor) -> "ScoredPairs":
        """Some of the pairs; those of fewer than five classes draw images."""
        pairs = Pairs(*(column[places_T] for column in self.pairs))
        part = self._replace(pairs=pairs, score=self.score[places_T])
        images = len(self.classes)
        if int(self.units.max()) + 1 == images or len(self.classes[pairs.first[pairs.same]].unique()) >= DRAWN_CLASSES:
            return part
        return part._replace(units=torch.arange(images), strata=self.classes)


class Slice(NamedTuple):
    """Scores of some of the pairs; None for what they cannot tell."""

    name: str
    same: int
    different: int
    eer: Score | None
    far: Rate | None  # at the threshold
    frr: Rate | None


class Gap(NamedTuple):
    """Score of the worst group less that of the best, with simultaneous 95 % intervals over all pairs of groups."""

    score: str
    worst: str
    best: str
    difference: float
    low: float
    high: float


def by_role(scored: ScoredPairs, role: Sequence[str], *, threshold: float | None = None, seed: int = 0) -> list[Slice]:
    """Each kind of impostor against all same pairs, then the roles of same pairs by themselves.

    The FRR is that of the same pairs, and the FAR that of one kind of impostor: of random ones it says nothing about
    skilled forgeries.
    """
    same_T = scored.pairs.same
    places = _places(role)
    results = []
    for name, where_T in places.items():
        kind = torch.zeros(len(same_T), dtype=torch.bool)
        kind[where_T] = True
        if (kind & ~same_T).any():
            part = scored.take((same_T | kind).nonzero()[:, 0])
            results.append(_slice(name, part, threshold, eer_of(part, seed))._replace(same=0, frr=None))
        if (kind & same_T).any():
            results.append(_slice(name, scored.take((kind & same_T).nonzero()[:, 0]), threshold, None))
    return sorted(results, key=lambda one: one.same == 0)


def by_group(
    scored: ScoredPairs, group: Sequence[str], *, threshold: float | None = None, curves: bool = True, seed: int = 0
) -> tuple[list[Slice], list[Gap], int]:
    """Scores of each group of pairs, the gaps between groups, and how many further groups are not listed.

    Pairs whose group is "" are in none. curves: the EER with its bootstrap interval too, not only the exact rates.
    """
    places = _places(group)
    names = sorted(sorted(places), key=lambda name: -len(places[name]))
    parts = {name: scored.take(places[name]) for name in names[:LISTED]}
    drawn = {name: seen for name, part in parts.items() if curves and (seen := eer_of(part, seed))}
    slices = [_slice(name, part, threshold, drawn.get(name)) for name, part in parts.items()]
    return slices, gaps(slices, drawn), len(names) - len(parts)


def gaps(slices: Sequence[Slice], drawn: Mapping[str, Resampled]) -> list[Gap]:
    """Between the groups of the highest and of the lowest EER, FRR and FAR, where two or more have one.

    The two are chosen by their scores, so that the interval is Bonferroni's over all pairs of groups. The EER's is a
    normal one from the resamples that the groups share; a rate's that of `rate_gap`.
    """
    results = []
    if len(drawn) > 1:
        order = sorted(drawn, key=lambda name: drawn[name].value)
        results.append(_eer_gap(order[-1], drawn[order[-1]], order[0], drawn[order[0]], _tail(len(drawn))))
    for kind in ("frr", "far"):
        scores = {one.name: score for one in slices if (score := getattr(one, kind))}
        if len(scores) > 1:
            order = sorted(scores, key=lambda name: scores[name].value)
            worst, best = scores[order[-1]], scores[order[0]]
            low, high = rate_gap(worst, best, _tail(len(scores)))
            results.append(Gap(kind, order[-1], order[0], worst.value - best.value, low, high))
    return results


def rate_gap(first: Rate, second: Rate, tail: float = TAIL) -> tuple[float, float]:
    """The ends of an interval of the difference of two independent rates, first less second.

    Newcombe, 1998, Interval estimation for the difference between independent proportions, Statistics in Medicine 17,
    method 10, with Clopper and Pearson's bounds in place of Wilson's: square and add. Pairs count for as many
    independent ones as they are worth.
    """
    ends = (exact_interval(one.value * one.effective, one.effective, tail) for one in (first, second))
    (low_a, high_a), (low_b, high_b) = ends
    difference = first.value - second.value
    below = ((first.value - low_a) ** 2 + (high_b - second.value) ** 2) ** 0.5
    above = ((high_a - first.value) ** 2 + (second.value - low_b) ** 2) ** 0.5
    return max(difference - below, -1.0), min(difference + above, 1.0)


def _tail(groups: int) -> float:
    return TAIL / len(list(combinations(range(groups), 2)))


def _eer_gap(worst: str, a: Resampled, best: str, b: Resampled, tail: float) -> Gap:
    difference = a.value - b.value
    apart_B = a.variable[: len(b.seen)] - b.variable[: len(a.seen)]
    spread = float(apart_B[apart_B.isfinite()].std())
    reach = -NormalDist().inv_cdf(tail) * spread if spread > 0 else 1 - tail ** (1 / min(a.units, b.units))
    return Gap("eer", worst, best, difference, max(difference - reach, -1.0), min(difference + reach, 1.0))


def eer_of(scored: ScoredPairs, seed: int) -> Resampled | None:
    """The EER of pairs under resamples of their images; None where there are too few of a kind."""
    same = int(scored.pairs.same.sum())
    if min(same, len(scored.score) - same) < FEWEST:
        return None
    curves = {"eer": CURVED["eer"]}
    drawn = resampled(scored.pairs, scored.score, scored.units, strata_N=scored.strata, curves=curves, seed=seed)
    return drawn.get("eer")


def _slice(name: str, scored: ScoredPairs, threshold: float | None, drawn: Resampled | None) -> Slice:
    same_T = scored.pairs.same
    same, different = int(same_T.sum()), int((~same_T).sum())
    eer = None
    if drawn is not None:
        eer = intervals.interval(drawn.value, drawn.variable.clamp(0, 1), n=drawn.n, units=drawn.units)
    far = frr = None
    if threshold is not None:
        far = _rate(scored, ~same_T, threshold) if different else None
        frr = _rate(scored, same_T, threshold, rejected=True) if same else None
    return Slice(name, same, different, eer, far, frr)


def _rate(scored: ScoredPairs, kind_T: Tensor, threshold: float, *, rejected: bool = False) -> Rate:
    first_T, second_T = members_of(scored.pairs, scored.units)
    return rate(scored.score[kind_T], threshold, Members(first_T[kind_T], second_T[kind_T]), rejected=rejected)


def _places(names: Sequence[str]) -> dict[str, Tensor]:
    """Where each name stands, int64; names in the order of their first place, without ""."""
    counts = Counter(name for name in names if name)
    number = {name: i for i, name in enumerate(counts)}
    code_T = torch.tensor([number.get(name, -1) for name in names], dtype=torch.int64)
    return {name: (code_T == i).nonzero()[:, 0] for name, i in number.items()}
