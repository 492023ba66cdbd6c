"""Miners: masks only get narrower, each keeps what its definition says, and the peers' miners agree."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from likewise import geometry
from likewise.losses import mining
from likewise.match import Refs, match

MINERS = [getattr(mining, name) for name in mining.__all__]
LABELS = [
    [0, 0, 0, 1, 1, 1, 2, 2, 2],
    [0, 1, 1, 2, 0, 2, 2, 2],
    [0, 1, 2, 2, 3, 3, 3],
    [0, 1, 2, 3],
    [4, 4, 4],
    [0],
]


def batch(labels: list[int], seed: int = 0, dim: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    emb_ND = torch.randn(len(labels), dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels_N = torch.tensor(labels)
    return geometry.cosine(emb_ND, emb_ND), *match(labels_N, Refs(emb_ND, labels_N, 0))


@pytest.mark.parametrize("labels", LABELS, ids=str)
@pytest.mark.parametrize("miner", MINERS, ids=lambda m: m.__name__)
def test_a_miner_only_narrows(miner, labels):
    sim_NN, pos_NN, neg_NN = batch(labels)
    before = pos_NN.clone(), neg_NN.clone()
    kept_pos, kept_neg = miner(sim_NN, pos_NN, neg_NN)
    assert kept_pos.dtype == kept_neg.dtype == torch.bool
    assert not (kept_pos & ~pos_NN).any()
    assert not (kept_neg & ~neg_NN).any()
    assert torch.equal(pos_NN, before[0])
    assert torch.equal(neg_NN, before[1])


@pytest.mark.parametrize("miner", [m for m in MINERS if m is not mining.distance_weighted], ids=lambda m: m.__name__)
def test_the_order_of_a_batch_does_not_matter(miner):
    labels = LABELS[1]
    sim_NN, pos_NN, neg_NN = batch(labels)
    move_N = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))
    moved = [x[move_N][:, move_N] for x in (sim_NN, pos_NN, neg_NN)]
    for kept, kept_moved in zip(miner(sim_NN, pos_NN, neg_NN), miner(*moved), strict=True):
        assert torch.equal(kept[move_N][:, move_N], kept_moved)


# One anchor: positives at 0.9, 0.6, 0.2; negatives at 0.7, 0.3, -0.5; the last column is neither.
SIM = torch.tensor([[0.9, 0.6, 0.2, 0.7, 0.3, -0.5, 1.0]])
POS = torch.tensor([[1, 1, 1, 0, 0, 0, 0]]).bool()
NEG = torch.tensor([[0, 0, 0, 1, 1, 1, 0]]).bool()


@pytest.mark.parametrize(
    ("miner", "pos", "neg"),
    [
        (mining.hard, [0.2], [0.7]),
        (mining.easy_positive, [0.9], [0.7]),
        (partial(mining.semihard, margin=0.25), [0.9], [0.7]),
        (partial(mining.semihard, margin=0.4), [0.9, 0.6], [0.7, 0.3]),
        (partial(mining.multi_similarity, epsilon=0.0), [0.6, 0.2], [0.7, 0.3]),
        (partial(mining.multi_similarity, epsilon=0.75), [0.9, 0.6, 0.2], [0.7, 0.3, -0.5]),
        (partial(mining.pair_margin, pos_at=0.5, neg_at=0.4), [0.2], [0.7]),
        (partial(mining.nearest, k=2), [0.9, 0.6, 0.2], [0.7, 0.3]),
        (partial(mining.nearest, k=99), [0.9, 0.6, 0.2], [0.7, 0.3, -0.5]),
    ],
)
def test_what_is_kept_of_one_anchor(miner, pos, neg):
    kept_pos, kept_neg = miner(SIM, POS, NEG)
    assert SIM[kept_pos].tolist() == pytest.approx(pos)
    assert SIM[kept_neg].tolist() == pytest.approx(neg)


@given(st.integers(0, 200), st.floats(0.01, 1.0))
def test_semihard_is_what_the_definition_lists(seed, margin):
    sim, pos, neg = batch([0, 0, 0, 1, 1, 1, 2], seed)
    kept_pos, kept_neg = mining.semihard(sim, pos, neg, margin=margin)
    want_pos, want_neg = torch.zeros_like(pos), torch.zeros_like(neg)
    for a, p, n in triplets(pos, neg):
        if sim[a, n] < sim[a, p] and sim[a, p] - sim[a, n] < margin:
            want_pos[a, p] = want_neg[a, n] = True
    assert torch.equal(kept_pos, want_pos)
    assert torch.equal(kept_neg, want_neg)


@pytest.mark.parametrize("entries", [1, 1 << 22])
@pytest.mark.parametrize("angle", [20.0, 40.0])
def test_angular_is_what_the_definition_lists(angle, entries, monkeypatch):
    monkeypatch.setattr(mining, "ENTRIES", entries)
    labels_N = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    emb = torch.nn.functional.normalize(torch.randn(8, 3, generator=torch.Generator().manual_seed(1)).double())
    pos, neg = match(labels_N, Refs(emb, labels_N, 0))
    kept_pos, kept_neg = mining.angular(emb @ emb.T, pos, neg, angle=angle)
    want_pos, want_neg = torch.zeros_like(pos), torch.zeros_like(neg)
    for a, p, n in triplets(pos, neg):
        middle = (emb[a] + emb[p]) / 2
        if math.degrees(math.atan((emb[a] - emb[p]).norm() / (2 * (emb[n] - middle).norm()))) > angle:
            want_pos[a, p] = want_neg[a, n] = True
    assert 0 < want_neg.sum() < neg.sum()
    assert torch.equal(kept_pos, want_pos)
    assert torch.equal(kept_neg, want_neg)


def triplets(pos: Tensor, neg: Tensor):
    for a in range(len(pos)):
        for p in pos[a].nonzero().flatten().tolist():
            for n in neg[a].nonzero().flatten().tolist():
                yield a, p, n


def test_distance_weighted_draws_by_its_weights():
    """Three negatives at distances 0.8, 1.0 and 1.2, in 8 dimensions: the shares of 20,000 draws."""
    torch.manual_seed(0)
    distance = torch.tensor([0.8, 1.0, 1.2, 1.39, 1.41])
    sim = (1 - distance.square() / 2).expand(20_000, 5)
    neg = torch.tensor([1, 1, 1, 0, 1]).bool().expand(20_000, 5)
    _, kept = mining.distance_weighted(sim, ~neg, neg, dim=8)
    weight = 1 / (distance**6 * (1 - distance**2 / 4) ** 2.5)
    want = weight * torch.tensor([1, 1, 1, 0, 0])
    assert (kept.sum(-1) == 1).all()
    assert kept.float().mean(0).tolist() == pytest.approx((want / want.sum()).tolist(), abs=0.01)


def test_distance_weighted_does_not_follow_noise():
    """Below `near` a negative is no more likely for being nearer."""
    torch.manual_seed(0)
    sim = (1 - torch.tensor([0.01, 0.5]).square() / 2).expand(20_000, 2)
    neg = torch.ones_like(sim, dtype=torch.bool)
    _, kept = mining.distance_weighted(sim, ~neg, neg, dim=64)
    assert kept.float().mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.01)


def test_peers_keep_the_same():
    miners = pytest.importorskip("pytorch_metric_learning.miners")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    emb, labels_N = torch.randn(12, 4, generator=torch.Generator().manual_seed(5)), torch.arange(12) // 3
    data = geometry.cosine(emb, emb), *match(labels_N, Refs(emb, labels_N, 0))
    cosine = distances.CosineSimilarity()
    for ours, theirs in [
        (mining.hard, miners.BatchHardMiner(distance=cosine)),
        (mining.easy_positive, miners.BatchEasyHardMiner("easy", "hard", distance=cosine)),
        (mining.multi_similarity, miners.MultiSimilarityMiner(distance=cosine)),
        (mining.pair_margin, miners.PairMarginMiner(0.8, 0.2, distance=cosine)),
    ]:
        a1, p, *a2, n = theirs(emb, labels_N)  # four lists, or three where both pairs have the same anchors
        kept_pos, kept_neg = ours(*data)
        assert sorted(kept_pos.nonzero().tolist()) == sorted(torch.stack([a1, p], 1).tolist())
        assert sorted(kept_neg.nonzero().tolist()) == sorted(torch.stack([*(a2 or [a1]), n], 1).tolist())
