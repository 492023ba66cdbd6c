"""Bootstrap and permutation: against loops over the same draws, known variances, and how often intervals hold."""

import math
from statistics import NormalDist

import pytest
import torch

from likewise.metrics import intervals as i
from likewise.metrics.intervals import Ratio


def values(n: int = 200, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed)).double()


def test_draws_are_resamples_with_replacement_and_always_the_same():
    drawn = torch.cat(list(i.draws(7, resamples=500, at_once=50)))
    assert drawn.shape == (500, 7)
    assert (drawn.sum(1) == 7).all()
    assert torch.equal(drawn, torch.cat(list(i.draws(7, resamples=500, at_once=50))))
    assert not torch.equal(drawn, torch.cat(list(i.draws(7, resamples=500, at_once=50, seed=1))))
    assert drawn.mean(0).tolist() == pytest.approx([1] * 7, abs=0.15)


def test_bootstrap_equals_a_loop_over_the_same_draws():
    x = values(50)
    score = i.bootstrap({"x": i.mean(x)})["x"]
    means = [float(x.repeat_interleave(count.long()).mean()) for part in i.draws(50) for count in part]
    low, high = i.ends(torch.tensor(means), 50)
    assert (score.value, score.n) == (pytest.approx(float(x.mean())), 50)
    assert (score.low, score.high) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))


def test_ends_of_a_normal_distribution_are_students():
    """For 10 units, Student's quantile 2.262 with the unbiased deviation of 10."""
    normal = torch.special.ndtri((torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000)
    assert i.ends(normal, 10) == pytest.approx((-2.262 * (10 / 9) ** 0.5, 2.262 * (10 / 9) ** 0.5), abs=0.01)


def test_ends_of_a_skewed_mean_move_towards_its_long_tail():
    """Efron's level of the ends by hand: of a gamma distribution of 100, skewness 0.2, acceleration 1/30."""
    gamma = torch.distributions.Gamma(torch.tensor(100.0), torch.tensor(1.0))
    torch.manual_seed(0)
    seen = gamma.sample((200_000,)).double()
    a, z, cdf = 1 / 30, 1.96, NormalDist().cdf
    levels = [cdf(a + (a + x) / (1 - a * (a + x))) for x in (-z, z)]
    assert i.ends(seen, 10**6) == pytest.approx(i.percentiles(seen, tuple(levels)), rel=2e-3)
    assert i.ends(seen, 10**6)[1] > i.percentiles(seen)[1]


def test_draws_within_strata_take_as_many_of_each():
    strata = torch.tensor([2, 0, 0, 1, 2, 2, 1])
    drawn = torch.cat(list(i.draws(7, resamples=300, strata_U=strata)))
    for stratum, size in ((0, 2), (1, 2), (2, 3)):
        assert (drawn[:, strata == stratum].sum(1) == size).all()
    assert drawn.mean(0).tolist() == pytest.approx([1] * 7, abs=0.15)


def test_a_spread_beside_the_queries_widens_by_its_variance():
    x = values(2000)
    plain, wide = (i.mean(x)._replace(spread=spread) for spread in (0.0, 0.05))
    found = i.bootstrap({"plain": plain, "wide": wide})
    width = {name: score.high - score.low for name, score in found.items()}
    assert width["wide"] ** 2 == pytest.approx(width["plain"] ** 2 + (2 * 1.96 * 0.05) ** 2, rel=0.1)
    other = i.mean(x - 0.001)
    assert i.paired(plain, other).p < 0.001 < 0.5 < i.paired(wide, other).p


def test_pair_noise_is_counted_once():
    """Variances 4 and 1: 4 - 2 is left, and twice that with a factor of 2; never less than the noise itself."""
    seen, noise = 2 * values(100_000), values(100_000, 1)
    assert float(i.without_pair_noise(0.0, seen, noise).var()) == pytest.approx(2, rel=0.02)
    assert float(i.without_pair_noise(0.0, seen, noise, 2.0, 2.0).var()) == pytest.approx(4, rel=0.02)
    assert float(i.without_pair_noise(0.0, seen, 1.2 * noise).var()) == pytest.approx(1.44, rel=0.02)
    assert (i.without_pair_noise(1.0, torch.ones(5), torch.ones(5)) == 1).all()


def test_width_is_that_of_the_central_limit():
    x = values(2000)
    score = i.bootstrap({"x": i.mean(x)})["x"]
    assert score.high - score.low == pytest.approx(2 * 1.96 * float(x.std()) / math.sqrt(2000), rel=0.1)


def test_units_are_drawn_whole():
    """Twenty copies of ten values are ten values: drawn by class, the interval does not shrink."""
    x, units = values(10).repeat(20), torch.arange(10).repeat(20)
    whole = i.bootstrap({"x": i.mean(x)}, units)["x"]
    alone = i.bootstrap({"x": i.mean(values(10))})["x"]
    assert (whole.low, whole.high) == (pytest.approx(alone.low), pytest.approx(alone.high))
    assert whole.n == 200
    assert i.bootstrap({"x": i.mean(x)})["x"].high < whole.high


def test_queries_without_a_value_do_not_count():
    x, where = values(30), torch.arange(0, 60, 2)
    found = i.bootstrap({"part": i.mean(x, where, 60), "whole": i.mean(values(60, 1))})
    assert (found["part"].n, found["whole"].n) == (30, 60)
    assert found["part"].value == pytest.approx(float(x.mean()))
    assert found["part"].low < found["part"].value < found["part"].high


def test_certainty_is_the_binomial_bound():
    """All of 100 right: the 97.5 % bound of Clopper and Pearson, 1934, is 0.9638."""
    ones = i.bootstrap({"x": i.mean(torch.ones(100))})["x"]
    assert (ones.value, ones.high) == (1, 1)
    assert ones.low == pytest.approx(0.9638, abs=1e-4)
    none = i.bootstrap({"x": i.mean(torch.zeros(100))})["x"]
    assert (none.low, none.high) == (0, pytest.approx(1 - 0.9638, abs=1e-4))
    few = i.bootstrap({"x": i.mean(torch.ones(100))}, torch.arange(100) % 5)["x"]
    assert few.low == pytest.approx(0.025 ** (1 / 5))


def test_nothing_to_measure_is_nothing():
    assert i.bootstrap({}) == {}


@pytest.mark.slow
def test_intervals_hold_as_often_as_they_say():
    held = 0
    for seed in range(300):
        score = i.bootstrap({"x": i.mean((values(150, seed) > 0.8).double())}, resamples=400)["x"]
        held += score.low <= 0.2119 <= score.high
    assert 0.91 <= held / 300 <= 0.98


def test_paired_sees_what_intervals_of_each_do_not():
    """Two runs that differ by little on every query: their own intervals overlap, the difference is sure."""
    first = values(200)
    second = first - 0.05 + 0.01 * values(200, 1)
    found = i.paired(i.mean(first), i.mean(second))
    assert found.difference == pytest.approx(float((first - second).mean()))
    assert 0.03 < found.low < found.difference < found.high < 0.07
    assert found.p == pytest.approx(1 / 10_001)
    alone = i.bootstrap({"a": i.mean(first), "b": i.mean(second)})
    assert alone["b"].high > alone["a"].low


def test_paired_of_a_run_with_itself_is_nothing():
    found = i.paired(i.mean(values()), i.mean(values()))
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_p_equals_all_exchanges():
    """Ten queries have 1,024 exchanges."""
    apart = values(10)
    sums = [abs(sum(a if mask >> n & 1 else -a for n, a in enumerate(apart.tolist()))) for mask in range(1024)]
    exact = sum(s >= abs(float(apart.sum())) - 1e-9 for s in sums) / 1024
    assert i.paired(i.mean(apart), i.mean(torch.zeros(10))).p == pytest.approx(exact, abs=0.02)


def test_p_of_no_difference_is_even():
    small = [i.paired(i.mean(values(40, s)), i.mean(values(40, s + 500)), resamples=500).p < 0.1 for s in range(200)]
    assert 0.04 < sum(small) / 200 < 0.17


def test_paired_by_units_is_less_sure():
    first, second = values(10).repeat(30), values(10, 1).repeat(30)
    units = torch.arange(10).repeat(30)
    assert i.paired(i.mean(first), i.mean(second), units).p > i.paired(i.mean(first), i.mean(second)).p


def test_paired_counts_the_queries_that_both_have():
    first, second = i.mean(values(20), torch.arange(20), 30), i.mean(values(20), torch.arange(10, 30), 30)
    assert i.paired(first, second).n == 10
    with pytest.raises(ValueError, match="the same queries in both runs, and they have 30 and 20"):
        i.paired(first, i.mean(values(20)))
    nothing = Ratio(torch.zeros(30), torch.zeros(30))
    with pytest.raises(ValueError, match="no query in common"):
        i.paired(first, nothing)


def test_the_interval_of_a_difference_equals_a_loop_and_counts_the_units_that_have_a_value():
    where = torch.arange(3, 15)
    a, b = values(12), values(12, 1) + 0.5
    found = i.paired(i.mean(a, where, 40), i.mean(b, where, 40))
    counts = torch.cat(list(i.draws(40)))[:, where]
    apart = ((counts * a).sum(1) - (counts * b).sum(1)) / counts.sum(1)
    assert (found.low, found.high) == pytest.approx(i.ends(apart, 12))
    assert found.difference == pytest.approx(float((a - b).mean()))


def test_holm_by_hand():
    # Holm, 1979: 0.01 x 3, 0.02 x 2, 0.03 x 1, never falling.
    assert i.holm({"a": 0.01, "b": 0.03, "c": 0.02}) == pytest.approx({"a": 0.03, "c": 0.04, "b": 0.04})
