"""Scores by role and by group, by hand; the interval of a gap between two rates."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from likewise.evaluate.error_rates import rate
from likewise.evaluate.subgroups import LISTED, ScoredPairs, by_group, by_role, rate_gap
from likewise.metrics.exact import exact_interval
from likewise.metrics.sampled_pairs import Pairs


def scored(same: list[int], score: list[float]) -> ScoredPairs:
    """Pair i is of the images 2 i and 2 i + 1; images of same pairs share a class."""
    n = len(same)
    place_T, same_T = torch.arange(n), torch.tensor(same, dtype=torch.bool)
    classes = torch.arange(2 * n)
    classes[1::2] = torch.where(same_T, 2 * place_T, 2 * place_T + 1)
    return ScoredPairs(Pairs(2 * place_T, 2 * place_T + 1, same_T), torch.tensor(score), classes, torch.arange(2 * n))


def test_each_kind_of_impostor_is_scored_by_itself():
    """Random impostors are far from the 4 genuine pairs; of the 4 skilled ones two score as genuine pairs do."""
    same = [1] * 4 + [0] * 8
    score = [0.9, 0.8, 0.7, 0.4, 0.0, 0.1, 0.2, 0.1, 0.85, 0.75, 0.3, 0.2]
    roles = ["genuine"] * 4 + ["random"] * 4 + ["skilled"] * 4
    genuine, chance, skilled = by_role(scored(same, score), roles, threshold=0.6)
    assert (genuine.name, genuine.same, genuine.frr.value, genuine.far) == ("genuine", 4, 0.25, None)
    assert (chance.name, chance.different, chance.eer.value, chance.far.value) == ("random", 4, 0.0, 0.0)
    assert chance.far.high == pytest.approx(1 - 0.025**0.25)  # none of 4
    # at a threshold of 0.75: 2 of 4 skilled ones accepted, 2 of 4 genuine ones rejected
    assert (skilled.eer.value, skilled.far.value, skilled.frr) == (0.5, 0.5, None)


def test_rates_by_group_and_the_gap_between_the_worst_and_the_best():
    same = [1] * 40 + [0] * 40
    score = [0.9] * 20 + [0.9] * 10 + [0.1] * 10 + [0.0] * 40
    group = ["paper"] * 20 + ["pad"] * 20 + ["paper"] * 20 + ["pad"] * 18 + ["", ""]
    slices, gaps, more = by_group(scored(same, score), group, threshold=0.5, curves=False)
    assert [(one.name, one.same, one.different, one.frr.value) for one in slices] == [
        ("paper", 20, 20, 0.0),
        ("pad", 20, 18, 0.5),
    ]
    assert more == 0
    frr = gaps[0]
    assert (frr.score, frr.worst, frr.best, frr.difference) == ("frr", "pad", "paper", 0.5)
    # 10 of 20: 0.2720 to 0.7280; none of 20: to 0.1684: 0.5 - (0.2280² + 0.1684²)^½, and 0.5 + 0.2280
    assert (frr.low, frr.high) == pytest.approx((0.2165, 0.7280), abs=1e-4)


def test_groups_that_do_not_differ_have_a_gap_whose_interval_holds_nought():
    generator = torch.Generator().manual_seed(0)
    same = [1] * 200 + [0] * 200
    score = torch.cat([torch.randn(200, generator=generator) + 1, torch.randn(200, generator=generator)]).tolist()
    group = ["a", "b", "c", "d"] * 100
    slices, gaps, _ = by_group(scored(same, score), group, threshold=0.5)
    assert {one.name for one in slices} == set("abcd")
    assert all(one.eer is not None and one.eer.low < one.eer.value < one.eer.high for one in slices)
    assert [gap.score for gap in gaps] == ["eer", "frr", "far"]
    assert all(gap.low < 0 < gap.difference < gap.high for gap in gaps)


def test_many_groups_are_not_all_listed():
    n = LISTED + 5
    slices, _, more = by_group(scored([1] * n, [0.5] * n), [str(i) for i in range(n)], threshold=0.4)
    assert (len(slices), more) == (LISTED, 5)
    assert all(one.eer is None and one.far is None and one.frr.value == 0 for one in slices)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.001, 0.4))
def test_exact_bounds_are_those_of_the_beta_distribution(kn, tail):
    k, n = kn
    low, high = exact_interval(k, n, tail)
    assert low == pytest.approx(beta.ppf(tail, k, n - k + 1) if k else 0.0)
    assert high == pytest.approx(beta.ppf(1 - tail, k + 1, n - k) if k < n else 1.0)
    # the defining tails: P(X >= k | low) and P(X <= k | high) are `tail`
    if k:
        assert beta.cdf(low, k, n - k + 1) == pytest.approx(tail)
    if k < n:
        assert 1 - beta.cdf(high, k + 1, n - k) == pytest.approx(tail)


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_gap_of_two_rates_turns_round_and_holds_the_difference(a, b):
    first, second = (rate(torch.arange(30) < n, 1.0) for n in (a, b))
    low, high = rate_gap(first, second)
    assert -1 <= low <= first.value - second.value <= high <= 1
    other_low, other_high = rate_gap(second, first)
    assert (low, high) == pytest.approx((-other_high, -other_low))
    wide_low, wide_high = rate_gap(first, second, 0.001)
    assert wide_low <= low
    assert wide_high >= high
