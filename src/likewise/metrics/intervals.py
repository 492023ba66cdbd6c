"""Bootstrap intervals of a metric from its values per query, and the paired test between two runs.

Queries are drawn with replacement; where the question is how a model does on further classes, whole classes are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from likewise.safety import notebook

__all__ = [
    "Paired",
    "Ratio",
    "Score",
    "Scores",
    "bootstrap",
    "draws",
    "ends",
    "holm",
    "interval",
    "mean",
    "paired",
    "percentiles",
    "score_table",
    "value",
    "without_pair_noise",
]

RESAMPLES = 1000
TAIL = 0.025  # on either side of a 95 % interval
MOST_SKEWED = 0.1  # acceleration beyond which so few units tell nothing more
ROUNDING = 1e-9  # within which a value is 1, or 0


@dataclass(frozen=True)
class Score:
    """A metric with its 95 % interval, and how many queries (or pairs, or trials) it rests on."""

    value: float
    low: float
    high: float
    n: int


class Scores(dict[str, Score]):
    """Scores by name; a notebook shows them as a table."""

    def _repr_html_(self) -> str:
        return score_table(f"{len(self)} scores, with 95 % intervals", self)


def score_table(title: str, scores: Mapping[str, Score], *, note: str = "") -> str:
    """HTML for a notebook."""
    rows = [(name, *map(notebook.number, (s.value, s.low, s.high)), f"{s.n:,}") for name, s in scores.items()]
    return notebook.table(title, ("score", "value", "low", "high", "n"), rows, note=note)


class Ratio(NamedTuple):
    """A metric as the sum of one thing over the sum of another; a query it has no value for counts 0 and 0."""

    over: Tensor  # float64 [N]
    under: Tensor  # float64 [N]
    effect: Tensor | None = None  # float64 [N], sums to 0: what each does to the values of the others, see influence.py
    spread: float = 0.0  # standard deviation that drawing queries does not show, such as of where k-means starts

    @property
    def drawn(self) -> Tensor:
        """What is resampled for `over`: a query's own value and its effect on the others."""
        certain = bool((self.over == self.under).all()) or not self.over.any()  # the binomial bound's case
        return self.over if self.effect is None or certain else self.over + self.effect


class Paired(NamedTuple):
    """The mean difference of two runs on the same queries, first less second."""

    difference: float
    low: float
    high: float
    p: float  # how often the difference would be as far from 0, were the two runs exchangeable
    n: int


def mean(values_Q: Tensor, where_Q: Tensor | None = None, n: int | None = None) -> Ratio:
    """The mean of values that the queries `where_Q` of all `n` have.

    >>> value(mean(torch.tensor([1.0, 0.0, 1.0, 1.0])))
    0.75
    """
    if where_Q is None or n is None:
        return Ratio(values_Q.double(), torch.ones(len(values_Q), dtype=torch.float64))
    over_N, under_N = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    over_N[where_Q], under_N[where_Q] = values_Q.double(), 1.0
    return Ratio(over_N, under_N)


def draws(
    units: int, *, resamples: int = RESAMPLES, seed: int = 0, at_once: int = 2**18, strata_U: Tensor | None = None
) -> Iterator[Tensor]:
    """How often each unit is drawn, float64 `[B, U]`, B resamples at a time; always the same for one seed.

    strata_U: int64; of each stratum as many units are drawn as it has.
    """
    generator = torch.Generator().manual_seed(seed)
    step = max(1, at_once // units)
    order_U = torch.arange(units) if strata_U is None else strata_U.argsort(stable=True)
    size_C = torch.tensor([units]) if strata_U is None else strata_U.unique(return_counts=True)[1]
    size_U, start_U = (x_C.repeat_interleave(size_C) for x_C in (size_C, size_C.cumsum(0) - size_C))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        if strata_U is None:
            place_BU = torch.randint(units, (rows, units), generator=generator)
        else:
            share_BU = torch.rand(rows, units, generator=generator, dtype=torch.float64)
            place_BU = order_U[start_U + (share_BU * size_U).long()]
        drawn = place_BU + torch.arange(rows)[:, None] * units
        yield drawn.flatten().bincount(minlength=rows * units).view(rows, units).double()


def bootstrap(
    ratios: Mapping[str, Ratio], units_N: Tensor | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Score]:
    """A Score for each metric; all of them see the same resamples.

    units_N: what is drawn together, int64 `[N]`, numbered from 0 (the class of each query, say); None: each by itself.

    >>> score = bootstrap({"recall@1": mean(torch.tensor([1.0] * 90 + [0.0] * 10))})["recall@1"]
    >>> round(score.value, 2), round(score.low, 2), round(score.high, 2), score.n
    (0.9, 0.82, 0.95, 100)
    """
    if not ratios:
        return {}
    over_US = _by_unit(torch.stack([ratio.drawn for ratio in ratios.values()], dim=1), units_N)
    under_US = _by_unit(torch.stack([ratio.under for ratio in ratios.values()], dim=1), units_N)
    seen_BS = torch.cat([(c @ over_US) / (c @ under_US) for c in draws(len(over_US), resamples=resamples, seed=seed)])
    spread_S = torch.tensor([ratio.spread for ratio in ratios.values()], dtype=torch.float64)
    seen_BS = seen_BS + spread_S * _normal(len(seen_BS), seed)[:, None]
    units_S = under_US.count_nonzero(0)
    sizes = [
        (int(ratio.under.count_nonzero()), int(units)) for ratio, units in zip(ratios.values(), units_S, strict=True)
    ]
    return {
        name: interval(value(ratio), seen_B, n=n, units=units)
        for (name, ratio), seen_B, (n, units) in zip(ratios.items(), seen_BS.T, sizes, strict=True)
    }


def value(ratio: Ratio) -> float:
    """The metric itself: to the last digit the same, whatever it is measured beside.

    >>> value(Ratio(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])))
    0.5
    """
    return float(ratio.over.sum() / ratio.under.sum())


def _by_unit(x_N: Tensor, units_N: Tensor | None) -> Tensor:
    """Rows summed unit by unit."""
    if units_N is None:
        return x_N
    return x_N.new_zeros(int(units_N.max()) + 1, *x_N.shape[1:]).index_add_(0, units_N, x_N)


def interval(value: float, seen_B: Tensor, *, n: int, units: int) -> Score:
    """A Score from the resampled values of a metric that lies within -1 and 1; the interval holds the value itself.

    Where they are all 1 (or all 0) a bootstrap sees no doubt at all; the exact binomial bound of `units` trials without
    a failure (a success) stands in.
    """
    low, high = ends(seen_B.clamp(-1, 1), units)
    low, high = min(low, value), max(high, value)
    if low > 1 - ROUNDING:
        low = TAIL ** (1 / units)
    elif low > -ROUNDING and high < ROUNDING:
        high = 1 - TAIL ** (1 / units)
    return Score(value, low, high, n)


def percentiles(seen_B: Tensor, tails: tuple[float, float] = (TAIL, 1 - TAIL)) -> tuple[float, float]:
    """The ends of the middle 95 %; resamples that drew nothing to measure (NaN) are left out.

    >>> tuple(round(x, 3) for x in percentiles(torch.arange(1001) / 1000))
    (0.025, 0.975)
    """
    low, high = torch.quantile(seen_B[seen_B.isfinite()], torch.tensor(tails, dtype=seen_B.dtype)).tolist()
    return low, high


def ends(seen_B: Tensor, units: int) -> tuple[float, float]:
    """The ends of a 95 % interval: percentiles that allow for few units and for a skewed distribution.

    The acceleration and the bias of a mean are both a sixth of its skewness. Efron, 1987, Better Bootstrap Confidence
    Intervals, Journal of the American Statistical Association 82 (BCa), https://doi.org/10.2307/2289144.
    """
    apart_B = seen_B[seen_B.isfinite()] - seen_B[seen_B.isfinite()].mean()
    square = float(apart_B.square().mean())
    a = float(apart_B.pow(3).mean()) / square**1.5 / 6 if square > 1e-24 else 0.0
    a, normal = min(max(a, -MOST_SKEWED), MOST_SKEWED), NormalDist()
    reach = normal.inv_cdf(expanded_tail(units))
    low, high = (normal.cdf(a + (a + z) / (1 - a * (a + z))) for z in (reach, -reach))
    return percentiles(seen_B, (low, high))


def expanded_tail(units: int) -> float:
    """The tail of the bootstrap at which its ends are Student's for so few units.

    The bootstrap's variance is (n - 1) / n of the unbiased one, and its tails are normal ones. Hesterberg, 2015, What
    Teachers Should Know about the Bootstrap, The American Statistician 69, section 4 (expanded percentile interval).
    """
    from scipy.special import stdtrit

    if units < 2:
        return TAIL
    reach = float(stdtrit(units - 1, TAIL)) * (units / (units - 1)) ** 0.5
    return max(NormalDist().cdf(reach), 1e-9)


def without_pair_noise(
    value: float, seen_B: Tensor, noise_B: Tensor, surplus: float = 2.0, factor: float = 1.0
) -> Tensor:
    """Resamples of images with the variance that a score of pairs has.

    A pair that is as often in a resample as both its images has the chance of the pair itself in it three times (Owen,
    2007, The pigeonhole bootstrap, arXiv:0712.1111, theorem 1); noise_B is that chance alone.
    surplus: how many times it is counted too often. factor: by which the variance without that is too small.
    """
    seen, noise = (x_B[x_B.isfinite()].var() for x_B in (seen_B, noise_B))
    if not seen > 0:
        return seen_B
    return value + (seen_B - value) * (torch.maximum(factor * (seen - surplus * noise), noise) / seen).sqrt()


def paired(
    first: Ratio, second: Ratio, units_N: Tensor | None = None, *, resamples: int = 10_000, seed: int = 0
) -> Paired:
    """Compare a metric of two runs on the same queries: first less second.

    The interval is the bootstrap's; p is two-sided, by exchanging the runs unit by unit (Good, 2005,
    https://doi.org/10.1007/b138696), and never below 1 / (resamples + 1). Queries that have a value in one run only
    are left out.

    >>> first, second = mean(torch.ones(20)), mean(torch.tensor([0.0, 1.0] * 10))
    >>> apart = paired(first, second)
    >>> apart.difference, apart.p < 0.01
    (0.5, True)
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
    drawn = [
        _apart(swap_BU @ exchanged_U4 + (1 - swap_BU) @ sums_U4) for swap_BU in _coins(len(sums_U4), resamples, seed)
    ]
    drawn_B = torch.cat(drawn) + spread * _normal(resamples, seed)
    beyond = int((drawn_B.abs() >= abs(apart) * (1 - 1e-9)).sum())
    units = int((sums_U4[:, 1] != 0).sum())
    return Paired(apart, *ends(seen_B, units), (beyond + 1) / (resamples + 1), int(both_N.sum()))


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
    """Holm's correction for as many tests as there are. Holm, 1979, https://www.jstor.org/stable/4615733.

    >>> {name: round(p, 3) for name, p in holm({"a": 0.01, "b": 0.04, "c": 0.03}).items()}
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    corrected: dict[str, float] = {}
    worst = 0.0
    for rank, (label, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        worst = max(worst, min(1.0, value * (len(p) - rank)))
        corrected[label] = worst
    return corrected
