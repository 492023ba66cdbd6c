"""Error rates with their bounds, by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from likewise.evaluate.error_rates import Members, at_levels, at_threshold, rate
from likewise.metrics.dependence import design_effect

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


def test_pairs_that_share_nothing_count_in_full():
    apart = Members(torch.arange(24), torch.arange(24, 48))
    free, given_members = at_threshold(SCORE, SAME, 0.39), at_threshold(SCORE, SAME, 0.39, apart)
    assert given_members.far.effective == 20
    assert given_members.far == free.far
    assert given_members.frr == free.frr


def test_one_bad_image_in_many_pairs_makes_the_bounds_wider():
    """20 images, each pair once; every pair of image 0 is accepted: one image is wrong, and not 19 of 190 pairs."""
    first_T, second_T = torch.triu_indices(20, 20, 1)
    shared = rate((first_T == 0).double(), 0.5, Members(first_T, second_T))
    assert (shared.value, shared.n) == (0.1, 190)
    assert shared.effective < 20
    assert shared.low < 0.02
    assert shared.high > 0.3
    free = rate((first_T == 0).double(), 0.5)
    assert free.low > 0.06
    assert free.high < 0.16


def test_none_of_many_pairs_of_few_people_shows_less_than_as_many_of_their_own():
    """All pairs of 8 people: none accepted at 0.9; the nearest threshold with errors says how much they share."""
    first_T, second_T = torch.triu_indices(8, 8, 1)
    score_T = (first_T == 0) * 0.8 + 0.001 * torch.arange(28)  # person 0 is like everybody
    none = rate(score_T, 0.9, Members(first_T, second_T))
    assert none.value == none.low == 0
    assert none.effective < 14
    assert none.high == pytest.approx(1 - 0.025 ** (1 / none.effective))


def test_rejected_pairs_are_those_below_the_threshold():
    members = Members(torch.tensor([0, 0, 1, 1]), torch.tensor([2, 3, 2, 3]))
    score_T = torch.tensor([0.9, 0.4, 0.5, 0.1])
    assert rate(score_T, 0.5, members, rejected=True).value == 0.5
    assert rate(score_T, 0.5, members).value == 0.5
    assert rate(score_T, 0.4, members, rejected=True).value == 0.25


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=40))
def test_the_design_effect_is_that_of_leaving_each_member_out(rows):
    wrong_T = torch.tensor([wrong for wrong, _, _ in rows])
    first_T, second_T = torch.tensor([[a, b] for _, a, b in rows]).T
    pairs, share = len(rows), float(wrong_T.double().mean())
    if not 0 < share < 1:
        assert design_effect(wrong_T, first_T, second_T) == 1
        return
    half = max(pairs // 2, 1)

    def change(left_out):
        return sum(rows[p][0] - share for p in left_out) / max(pairs - len(left_out), half)

    couples = {tuple(sorted((a, b))) for _, a, b in rows if a != b}
    of_members = sum(change([p for p in range(pairs) if m in rows[p][1:]]) ** 2 for m in range(6))
    of_couples = sum(change([p for p in range(pairs) if set(rows[p][1:]) == set(c)]) ** 2 for c in couples)
    of_pairs = sum(((wrong - share) / (pairs - 1)) ** 2 for wrong, _, _ in rows)
    expected = (of_members - of_couples) / of_pairs
    assert design_effect(wrong_T, first_T, second_T) == pytest.approx(expected, abs=1e-9)
