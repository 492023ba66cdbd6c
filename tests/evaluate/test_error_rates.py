"""Error rates with exact bounds, by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from likewise.evaluate.error_rates import at_levels, at_threshold

SAME = torch.tensor([True] * 4 + [False] * 20)
SCORE = torch.cat([torch.tensor([0.9, 0.8, 0.7, 0.2]), torch.linspace(-0.5, 0.45, 20)])


def test_rates_at_a_threshold_by_hand():
    rates = at_threshold(SCORE, SAME, 0.39)  # accepts 0.9, 0.8, 0.7 and, of the others, 0.40 and 0.45
    assert (rates.far.value, rates.far.n, rates.frr.value, rates.frr.n) == (0.1, 20, 0.25, 4)
    # Clopper and Pearson, 1934: 2 of 20, and 1 of 4
    assert (rates.far.low, rates.far.high) == pytest.approx((0.0123, 0.3170), abs=1e-4)
    assert (rates.frr.low, rates.frr.high) == pytest.approx((0.0063, 0.8059), abs=1e-4)


def test_a_level_that_few_pairs_reach_has_wide_bounds_and_no_refusal():
    rates = at_levels(SCORE, SAME, (0.1, 0.001))
    assert rates["far=0.1"].far.value == 0.1
    assert (rates["far=0.001"].far.value, rates["far=0.001"].frr.value) == (0, 0.25)
    assert rates["far=0.001"].far.high == pytest.approx(1 - 0.025 ** (1 / 20))
    with pytest.raises(ValueError, match="0 same and 20 different"):
        at_levels(SCORE[4:], SAME[4:])


@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40), st.sampled_from([0.5, 0.1, 0.01])
)
def test_no_level_is_passed_and_no_lower_threshold_keeps_it(rows, level):
    score_T, same_T = torch.tensor([float(s) for s, _ in rows]), torch.tensor([same for _, same in rows])
    if same_T.all() or not same_T.any():
        return
    (rates,) = at_levels(score_T, same_T, (level,)).values()
    assert rates.far.value <= level
    lower = score_T[score_T.double() < rates.threshold]
    if len(lower):  # the next lower score would accept too many of the others
        assert at_threshold(score_T, same_T, float(lower.max())).far.value > level
