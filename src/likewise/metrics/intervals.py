"""Bootstrap intervals of a metric from its values per query, and the paired test between two runs.

Queries are drawn with replacement; where the question is how a model does on further classes, whole classes are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Paired",
    "Ratio",
    "Score",
    "bootstrap",
    "draws",
    "holm",
    "interval",
    "mean",
    "paired",
    "percentiles",
    "value",
    "without_pair_noise",
]

RESAMPLES = 1000
TAIL = 0.025  # on either side of a 95 % interval
ROUNDING = 1e-9  # within which a value is 1, or 0


@dataclass(frozen=True)
class Score:
    """A metric with its 95 % interval, and how many queries (or pairs, or trials) it rests on."""

    value: float
    low: float
    high: float
    n: int


class Ratio(NamedTuple):
    """A metric as the sum of one thing over the sum of another; a query it has no value for counts 0 and 0."""

    over: Tensor  # float64 [N]
    under: Tensor  # float64 [N]
    effect: Tensor | None = None  # float64 [N], sums to 0: what each does to the values of the others, see influence.py
    spread: float = 0.0  # standard deviation that drawing queries does not show, such as of where k-means starts

    @property
    def drawn(self) -> Tensor:
        """What is resampled for `over`: a query's own value and its effect on the others."""
        return self.over if self.effect is None else self.over + self.effect


class Paired(NamedTuple):
    """The mean difference of two runs on the same queries, first less second."""

    difference: float
    low: float
    high: float
    p: float  # how often the difference would be as far from 0, were the two runs exchangeable
    n: int


def mean(values_Q: Tensor, where_Q: Tensor | None = None, n: int | None = None) -> Ratio:
    """The mean of values that the queries `where_Q` of all `n` have."""
    if where_Q is None or n is None:
        return Ratio(values_Q.double(), torch.ones(len(values_Q), dtype=torch.float64))
    over_N, under_N = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    over_N[where_Q], under_N[where_Q] = values_Q.double(), 1.0
    return Ratio(over_N, under_N)


def draws(units: int, *, resamples: int = RESAMPLES, seed: int = 0, at_once: int = 2**18) -> Iterator[Tensor]:
    """How often each unit is drawn, float64 `[B, U]`, B resamples at a time; always the same for one seed."""
    generator = torch.Generator().manual_seed(seed)
    step = max(1, at_once // units)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = torch.randint(units, (rows, units), generator=generator) + torch.arange(rows)[:, None] * units
        yield drawn.flatten().bincount(minlength=rows * units).view(rows, units).double()


def bootstrap(
    ratios: Mapping[str, Ratio], units_N: Tensor | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Score]:
    """A Score for each metric; all of them see the same resamples.

    units_N: what is drawn together, int64 `[N]`, numbered from 0 (the class of each query, say); None: each by itself.
    """
    if not ratios:
        return {}
    over_US = _by_unit(torch.stack([ratio.drawn for ratio in ratios.values()], dim=1), units_N)
    under_US = _by_unit(torch.stack([ratio.under for ratio in ratios.values()], dim=1), units_N)
    seen_BS = torch.cat([(c @ over_US) / (c @ under_US) for c in draws(len(over_US), resamples=resamples, seed=seed)])
    spread_S = torch.tensor([ratio.spread for ratio in ratios.values()], dtype=torch.float64)
    seen_BS = seen_BS + spread_S * _normal(len(seen_BS), seed)[:, None]
    units_S = under_US.count_nonzero(0)
    sizes = [(int(ratio.under.count_nonzero()), int(units)) for ratio, units in zip(ratios.values(), units_S, strict=True)]
    return {
        name: interval(value(ratio), seen_B, n=n, units=units, expand=True)
        for (name, ratio), seen_B, (n, units) in zip(ratios.items(), seen_BS.T, sizes, strict=True)
    }


def value(ratio: Ratio) -> float:
    """The metric itself: to the last digit the same, whatever it is measured beside."""
    return float(ratio.over.sum() / ratio.under.sum())


def _by_unit(x_N: Tensor, units_N: Tensor | None) -> Tensor:
    """Rows summed unit by unit."""
    if units_N is None:
        return x_N
    return x_N.new_zeros(int(units_N.max()) + 1, *x_N.shape[1:]).index_add_(0, units_N, x_N)


def interval(value: float, seen_B: Tensor, *, n: int, units: int, expand: bool = False) -> Score:
    """A Score from the resampled values of a metric that lies within -1 and 1; the interval holds the value itself.

    Where they are all 1 (or all 0) a bootstrap sees no doubt at all; the exact binomial bound of `units` trials without
    a failure (a success) stands in.
    """
    low, high = percentiles(seen_B.clamp(-1, 1), expanded_tail(units) if expand else TAIL)
    low, high = min(low, value), max(high, value)
    if low > 1 - ROUNDING:
        low = TAIL ** (1 / units)
    elif low > -ROUNDING and high < ROUNDING:
        high = 1 - TAIL ** (1 / units)
    return Score(value, low, high, n)


def percentiles(seen_B: Tensor, tail: float = TAIL) -> tuple[float, float]:
    """The ends of the middle 95 %; resamples that drew nothing to measure (NaN) are left out."""
    low, high = torch.quantile(seen_B[seen_B.isfinite()], torch.tensor([tail, 1 - tail], dtype=seen_B.dtype)).tolist()
    return low, high


def expanded_tail(units: int) -> float:
    """The tail of the bootstrap at which its ends are Student's for so few units.

    The bootstrap's variance is (n - 1) / n of the unbiased one, and its tails are normal ones. Hesterberg, 2015, What
    Teachers Should Know about the Bootstrap, The American Statistician 69, section 4 (expanded percentile interval).
    """
    from scipy.special import stdtrit

    if units < 2:
        return TAIL
    reach = float(stdtrit(units - 1, TAIL)) * (units / (units - 1)) ** 0.5
    return NormalDist().cdf(reach)


def without_pair_noise(value: float, seen_B: Tensor, noise_B: Tensor) -> Tensor:
    """Resamples of images with the variance that a score of pairs has.

    A pair that is as often in a resample as both its images has the chance of the pair itself in it three times (Owen,
    2007, The pigeonhole bootstrap, theorem 1); noise_B is that chance alone, and two parts of it are taken off.
    """
    seen, noise = (x_B[x_B.isfinite()].var() for x_B in (seen_B, noise_B))
    if not seen > 0:
        return seen_B
    return value + (seen_B - value) * (torch.maximum(seen - 2 * noise, noise) / seen).clamp(0, 1).sqrt()


def paired(
    first: Ratio, second: Ratio, units_N: Tensor | None = None, *, resamples: int = 10_000, seed: int = 0
) -> Paired:
    """Compare a metric of two runs on the same queries: first less second.

    The interval is the bootstrap's; p is two-sided, by exchanging the runs unit by unit (Good, 2005), and never below
    1 / (resamples + 1). Queries that have a value in one run only are left out.
    """
    if len(first.over) != len(second.over):
        sizes = f"{len(first.over)} and {len(second.over)}"
        raise ValueError(f"a paired test needs the same queries in both runs, and they have {sizes}")
    both_N = (first.under != 0) & (second.under != 0)
    if not both_N.any():
        raise ValueError("the two runs have no query in common that has a value")
    own_N4 = torch.stack([first.over, first.under, second.over, second.under], dim=1) * both_N[:, None]
    apart = float(_apart(own_N4.sum(0)))
    # images without a value of their own are references too: their effects stay, and sum to 0 only with them
    sums_U4 = _by_unit(own_N4 + torch.stack(_effects(first) + _effects(second), dim=1), units_N)
    spread = (first.spread**2 + second.spread**2) ** 0.5
    seen_B = torch.cat([_apart(counts @ sums_U4) for counts in draws(len(sums_U4), seed=seed)])
    seen_B = seen_B + spread * _normal(len(seen_B), seed)
    exchanged_U4 = sums_U4[:, [2, 3, 0, 1]]
    drawn = [_apart(swap_BU @ exchanged_U4 + (1 - swap_BU) @ sums_U4) for swap_BU in _coins(len(sums_U4), resamples, seed)]
    drawn_B = torch.cat(drawn) + spread * _normal(resamples, seed)
    beyond = int((drawn_B.abs() >= abs(apart) * (1 - 1e-9)).sum())
    tail = expanded_tail(int((sums_U4[:, 1] != 0).sum()))
    return Paired(apart, *percentiles(seen_B, tail), (beyond + 1) / (resamples + 1), int(both_N.sum()))


def _effects(ratio: Ratio) -> list[Tensor]:
    """What is resampled beside `over` and `under`."""
    nothing_N = torch.zeros_like(ratio.over)
    return [nothing_N if ratio.effect is None else ratio.effect, nothing_N]


def _apart(sums: Tensor) -> Tensor:
    return sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3]


def _normal(n: int, seed: int) -> Tensor:
    """n quantiles of the normal distribution in random order, float64."""
    at_B = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    order_B = torch.randperm(n, generator=torch.Generator().manual_seed(seed + 1))
    return torch.special.ndtri(at_B)[order_B]


def _coins(units: int, resamples: int, seed: int, at_once: int = 2**20) -> Iterator[Tensor]:
    """0 or 1 for each unit, float64 `[B, U]`."""
    generator = torch.Generator().manual_seed(seed)
    step = max(1, at_once // units)
    for start in range(0, resamples, step):
        yield torch.randint(2, (min(step, resamples - start), units), generator=generator).double()


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's correction for as many tests as there are. Holm, 1979."""
    found: dict[str, float] = {}
    worst = 0.0
    for rank, (label, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        worst = max(worst, min(1.0, value * (len(p) - rank)))
        found[label] = worst
    return found
