"""What two methods are compared by: values query by query, and pairs under the same draws; several seeds as one."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from likewise.evaluate import Measured, check_same
from likewise.evaluate.verification import Resampled, pairs_apart
from likewise.metrics import intervals
from likewise.metrics.intervals import Paired, Ratio

__all__ = ["Comparable", "apart", "over_seeds"]


class Comparable(NamedTuple):
    """The scores of one method on queries and on pairs that every method is scored on."""

    queries: Measured
    pairs: Mapping[str, Resampled]

    def __contains__(self, name: object) -> bool:
        """Whether it has a metric of this name."""
        return name in self.queries.ratios or name in self.pairs


def over_seeds(runs: Sequence[Comparable]) -> Comparable:
    """The runs of a method as one: each query's average over them, exactly. What one lacks is left out."""
    ratios = {name: _summed(of) for name, of in _shared([x.queries.ratios for x in runs]).items()}
    pairs = {name: _averaged(of) for name, of in _shared([x.pairs for x in runs]).items()}
    return Comparable(runs[0].queries._replace(ratios=ratios), pairs)


def _shared(mappings: Sequence[Mapping]) -> dict[str, list]:
    return {name: [one[name] for one in mappings] for name in mappings[0] if all(name in one for one in mappings)}


def _summed(ratios: Sequence[Ratio]) -> Ratio:
    effects = [ratio.effect for ratio in ratios if ratio.effect is not None]
    over_N, under_N = (torch.stack(side).sum(0) for side in zip(*((x.over, x.under) for x in ratios), strict=True))
    spread = sum(ratio.spread**2 for ratio in ratios) ** 0.5 / len(ratios)
    return Ratio(over_N, under_N, torch.stack(effects).sum(0) if effects else None, spread)


def _averaged(drawn: Sequence[Resampled]) -> Resampled:
    seen_B, noise_B = (torch.stack(side).mean(0) for side in zip(*((x.seen, x.noise) for x in drawn), strict=True))
    return drawn[0]._replace(value=sum(x.value for x in drawn) / len(drawn), seen=seen_B, noise=noise_B)


def apart(name: str, first: Comparable, second: Comparable, *, seed: int = 0) -> Paired:
    """First less second in one metric that both have. Errors: ValueError where their queries differ."""
    if name in first.pairs:
        return pairs_apart(first.pairs[name], second.pairs[name])
    check_same(first.queries, second.queries)
    return intervals.paired(first.queries.ratios[name], second.queries.ratios[name], first.queries.units, seed=seed)
