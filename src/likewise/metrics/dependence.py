"""How many independent trials a rate of pairs is worth, where the pairs share images, classes or people."""

import torch
from torch import Tensor

__all__ = ["FEWEST", "design_effect", "effective_size"]

FEWEST = 10  # of the rarer outcome, for an estimate of the design effect


def effective_size(error_T: Tensor, first_T: Tensor, second_T: Tensor, threshold: float) -> float:
    """The number of independent trials that a share of pairs is worth, at most their own number.

    error_T: what makes a pair an error where it reaches the threshold: the similarity of different pairs, minus that of
        same pairs. first_T, second_T: the two members of each pair, int64: images, classes or people.
    The number of pairs is divided by the design effect, and by a ratio of t quantiles for the few members whose spread
    estimates it (Korn and Graubard, 1998, Survey Methodology 24, 193-201). With fewer than 10 errors, or 10 pairs
    without one, the design effect is that of the nearest threshold which has 10.
    """
    from scipy.stats import t

    pairs, (_, member_2T) = len(error_T), torch.cat([first_T, second_T]).unique(return_inverse=True)
    members = int(member_2T.max()) + 1
    if members < 2 or pairs < 2:
        return 1.0
    wrong_T = error_T >= threshold
    few = min(FEWEST, pairs // 2)
    if not few <= int(wrong_T.sum()) <= pairs - few:
        nearest = few if int(wrong_T.sum()) < few else pairs - few
        wrong_T = error_T >= error_T.sort(descending=True).values[nearest - 1]
    effect = design_effect(wrong_T, member_2T[:pairs], member_2T[pairs:])
    lessened = min(1.0, float(t.ppf(0.975, pairs - 1) / t.ppf(0.975, members - 1)) ** 2)
    return max(1.0, pairs / max(effect, 1.0) * lessened)


def design_effect(wrong_T: Tensor, first_T: Tensor, second_T: Tensor) -> float:
    """Variance of a share of pairs that share members, over that of as many independent pairs; 1 without variance.

    Pairs with a member in common vary together: Aronow, Samii and Assenova, 2015, https://doi.org/10.1093/pan/mpv018.
    Each member's part is what leaving it out changes (jackknife), as plain sums are too small where members are few.

    >>> wrong = torch.tensor([True, False, True, False])
    >>> design_effect(wrong, torch.tensor([0, 1, 2, 3]), torch.tensor([4, 5, 6, 7]))  # nothing is shared
    1.0
    """
    pairs, share = len(wrong_T), float(wrong_T.double().mean())
    if not 0 < share < 1:
        return 1.0
    excess_T = wrong_T.double() - share
    apart_A = (first_T != second_T).nonzero()[:, 0]
    a_T, b_A = first_T, second_T[apart_A]
    members = int(torch.cat([first_T, second_T]).max()) + 1
    couple_A = torch.minimum(a_T[apart_A], b_A) * members + torch.maximum(a_T[apart_A], b_A)
    couple_A = couple_A.unique(return_inverse=True)[1]
    once = _changes(torch.cat([excess_T, excess_T[apart_A]]), torch.cat([a_T, b_A]), pairs)
    twice = _changes(excess_T[apart_A], couple_A, pairs)  # pairs of the same two members were counted with both
    alone = float((excess_T / (pairs - 1)).square().sum())
    return (once - twice) / alone


def _changes(excess_P: Tensor, group_P: Tensor, pairs: int) -> float:
    """Sum of the squared changes of a share of `pairs` pairs, each group left out in turn; at most half of them."""
    sum_G = torch.zeros(len(group_P) and int(group_P.max()) + 1, dtype=torch.float64).index_add_(0, group_P, excess_P)
    left_G = (pairs - group_P.bincount()).clamp_min(max(pairs // 2, 1))
    return float((sum_G / left_G).square().sum())
