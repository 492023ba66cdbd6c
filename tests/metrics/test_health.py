"""Rank, alignment, uniformity, norms, hubs and spread, each from its definition."""

import math

import pytest
import torch
import torch.nn.functional as F

from likewise.metrics import health as h
from likewise.metrics.neighbours import nearest


def vectors(n: int = 40, dim: int = 6) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(0))


def test_effective_rank_counts_directions():
    assert h.effective_rank(torch.eye(5) * 3) == pytest.approx(5)
    assert h.effective_rank(torch.ones(10, 5)) == pytest.approx(1)
    assert h.effective_rank(torch.zeros(10, 5)) == 0
    values = torch.linalg.svdvals(vectors().double())
    share = (values / values.sum()).tolist()
    assert h.effective_rank(vectors()) == pytest.approx(math.exp(-sum(p * math.log(p) for p in share)))


def test_alignment_equals_all_pairs_of_a_class():
    x, labels = F.normalize(vectors(), dim=-1).double(), torch.arange(40) % 7
    apart = [float((x[i] - x[j]).square().sum()) for i in range(40) for j in range(i) if labels[i] == labels[j]]
    assert h.alignment(vectors(), labels) == pytest.approx(sum(apart) / len(apart))
    assert h.alignment(torch.ones(4, 2), torch.zeros(4, dtype=torch.int64)) == pytest.approx(0)
    with pytest.raises(ValueError, match="needs a class with two vectors"):
        h.alignment(vectors(), torch.arange(40))


@pytest.mark.parametrize("tile", [1, 100, 2**22])
def test_uniformity_equals_all_pairs(tile: int):
    x = F.normalize(vectors(), dim=-1).double()
    near = [math.exp(-2 * float((x[i] - x[j]).square().sum())) for i in range(40) for j in range(i)]
    assert h.uniformity(vectors(), tile=tile) == pytest.approx(math.log(sum(near) / len(near)))
    assert h.uniformity(torch.ones(4, 2), tile=tile) == pytest.approx(0)
    with pytest.raises(ValueError, match="there is 1"):
        h.uniformity(torch.ones(1, 2))


def test_norms_by_hand():
    assert h.norms(torch.tensor([[3.0, 4.0], [0.0, 1.0]])) == pytest.approx((3, 2, 1, 5))


def test_hubness_is_the_skewness_of_occurrences():
    from scipy.stats import skew

    near = nearest(vectors(), vectors(), 5, offset=0)
    found = h.occurrences(near.place, 40)
    assert found.sum() == 200
    assert found[3] == sum(3 in row for row in near.place.tolist())
    assert h.hubness(found) == pytest.approx(skew(found.numpy()))
    assert h.occurrences(torch.tensor([[0, -1], [0, 1]]), 3).tolist() == [2, 1, 0]
    assert h.hubness(torch.full((5,), 3)) == 0


def test_spread_by_hand():
    x = torch.tensor([[0.0, 0], [2, 0], [10, 0], [10, 4], [1, 7]])
    found = h.spread(x, torch.tensor([5, 5, 2, 2, 9]), tile=4)
    assert found.label.tolist() == [2, 5, 9]
    assert found.within.tolist() == pytest.approx([2, 1, 0])
    assert found.between.tolist() == pytest.approx([math.hypot(9, 2), 7, 7])
    assert found.nearest.tolist() == [5, 9, 5]
    alone = h.spread(x, torch.full((5,), 3))
    assert (alone.between.tolist(), alone.nearest.tolist()) == ([math.inf], [3])
