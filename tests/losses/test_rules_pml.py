"""The rules that pytorch-metric-learning 2.9 has too: same value and same gradient in float64."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from likewise import geometry
from likewise.losses import PairLoss, batchwise, listwise, margins, mining, rules
from likewise.losses.terms import reduce

pml = pytest.importorskip("pytorch_metric_learning")
from pytorch_metric_learning import distances, losses, miners, reducers  # noqa: E402  (only where it is installed)

COSINE, MEAN = distances.CosineSimilarity, reducers.MeanReducer


def euclid(power: int = 1) -> distances.LpDistance:
    return distances.LpDistance(normalize_embeddings=False, power=power)


def mined(miner, loss):
    return lambda emb, labels: loss(emb, labels, miner(emb, labels))


# name: (our rule, our geometry, theirs). Margins that a batch of random embeddings violates for some pairs only.
SAME = {
    "contrastive": (
        partial(rules.contrastive, pos_at=0.9, neg_at=0.1),
        geometry.cosine,
        lambda: losses.ContrastiveLoss(0.9, 0.1, distance=COSINE(), reducer=MEAN()),
    ),
    "triplet": (rules.triplet, geometry.cosine, lambda: losses.TripletMarginLoss(0.2, distance=COSINE())),
    "triplet, euclidean": (rules.triplet, geometry.euclidean, lambda: losses.TripletMarginLoss(0.2, distance=euclid())),
    "triplet, swap": (
        partial(rules.triplet, swap=True),
        geometry.cosine,
        lambda: losses.TripletMarginLoss(0.2, swap=True, distance=COSINE()),
    ),
    "triplet, soft": (
        partial(rules.triplet, soft=True),
        geometry.cosine,
        lambda: losses.TripletMarginLoss(0.0, smooth_loss=True, distance=COSINE(), reducer=MEAN()),
    ),
    "triplet, semihard": (
        partial(rules.triplet, pick="semihard"),
        geometry.cosine,
        lambda: mined(
            miners.TripletMarginMiner(0.2, "semihard", distance=COSINE()),
            losses.TripletMarginLoss(0.2, distance=COSINE()),
        ),
    ),
    "triplet, hard": (
        partial(rules.triplet, pick="hard"),
        geometry.cosine,
        lambda: mined(
            miners.BatchHardMiner(distance=COSINE()),
            losses.TripletMarginLoss(0.2, distance=COSINE(), reducer=MEAN()),
        ),
    ),
    "triplet, easy-positive": (
        partial(rules.triplet, pick="easy-positive"),
        geometry.cosine,
        lambda: mined(
            miners.BatchEasyHardMiner("easy", "hard", distance=COSINE()),
            losses.TripletMarginLoss(0.2, distance=COSINE(), reducer=MEAN()),
        ),
    ),
    "ntxent": (rules.ntxent, geometry.cosine, losses.NTXentLoss),
    "supcon": (rules.supcon, geometry.cosine, losses.SupConLoss),
    "nca": (partial(rules.nca, scale=1.0), geometry.sqeuclidean, lambda: losses.NCALoss(distance=euclid(2))),
    "multi_similarity": (rules.multi_similarity, geometry.cosine, losses.MultiSimilarityLoss),
    "multi_similarity, mined": (
        rules.multi_similarity,
        geometry.cosine,
        lambda: mined(miners.MultiSimilarityMiner(), losses.MultiSimilarityLoss()),
    ),
    "circle": (rules.circle, geometry.cosine, losses.CircleLoss),
    "margin": (
        partial(margins.margin, beta=-1.25),
        geometry.euclidean,
        lambda: losses.MarginLoss(0.2, beta=1.25, distance=euclid()),  # float32 in theirs
    ),
    "tuplet_margin": (
        partial(margins.tuplet_margin, margin=math.radians(5.73)),
        geometry.cosine,
        losses.TupletMarginLoss,
    ),
    "snr_contrastive": (
        margins.snr_contrastive,
        geometry.snr,
        lambda: losses.SignalToNoiseRatioContrastiveLoss(
            distance=distances.SNRDistance(normalize_embeddings=False), reducer=MEAN()
        ),
    ),
    "threshold_consistent": (
        partial(margins.threshold_consistent, pos_at=0.5, neg_at=0.1),
        geometry.cosine,
        lambda: losses.ThresholdConsistentMarginLoss(margin_plus=0.5, margin_minus=0.1),
    ),
    "lifted": (batchwise.lifted, geometry.euclidean, lambda: losses.LiftedStructureLoss(distance=euclid())),
    "npairs": (
        batchwise.npairs,
        geometry.dot,
        lambda: losses.NPairsLoss(distance=distances.DotProductSimilarity(normalize_embeddings=False)),
    ),
    "angular": (  # theirs does not normalise the negative
        batchwise.angular,
        geometry.cosine,
        lambda: lambda emb, labels: losses.AngularLoss()(F.normalize(emb), labels),
    ),
    "intra_pair_variance": (batchwise.intra_pair_variance, geometry.cosine, losses.IntraPairVarianceLoss),
    "fast_ap": (
        listwise.fast_ap,
        geometry.cosine,
        lambda: losses.FastAPLoss(distance=distances.LpDistance(power=2)),
    ),
}
# Of these theirs counts anchors that have nothing to compare, or leaves pairs out, where a class has a single image.
SAME_WITHOUT_SINGLETONS = {
    "generalized_lifted": (
        batchwise.generalized_lifted,
        geometry.euclidean,
        lambda: losses.GeneralizedLiftedStructureLoss(distance=euclid()),
    ),
    # A power of two: theirs places similarities in float32.
    "histogram": (partial(listwise.histogram, bins=16), geometry.cosine, lambda: losses.HistogramLoss(16)),
}
BATCHES = {"balanced": [0, 0, 0, 1, 1, 1, 2, 2, 2], "ragged": [3, 1, 1, 3, 7, 7, 7, 7, 3, 1, 1]}
SINGLETONS = {"singletons": [0, 1, 1, 2, 3, 3, 3, 4]}


def embeddings(n: int) -> Tensor:
    emb_ND = torch.randn(n, 6, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    return F.normalize(emb_ND, dim=-1).requires_grad_()


def assert_same(ours, theirs, emb_ND: Tensor, labels_N: Tensor) -> None:
    got, want = ours(emb_ND, labels_N), theirs(emb_ND, labels_N)
    assert want > 0
    assert got.item() == pytest.approx(want.item(), rel=1e-8)
    got_grad, want_grad = (torch.autograd.grad(x, emb_ND)[0] for x in (got, want))
    assert (got_grad - want_grad).norm() <= 1e-8 * want_grad.norm()


@pytest.mark.parametrize("labels", BATCHES | SINGLETONS)
@pytest.mark.parametrize("name", SAME)
def test_same_as_pytorch_metric_learning(name, labels):
    rule, sim, theirs = SAME[name]
    labels_N = torch.tensor((BATCHES | SINGLETONS)[labels])
    miner = mining.multi_similarity if "mined" in name else None
    assert_same(PairLoss(rule, sim=sim, miner=miner), theirs(), embeddings(len(labels_N)), labels_N)


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")  # in theirs
@pytest.mark.parametrize("labels", BATCHES)
@pytest.mark.parametrize("name", SAME_WITHOUT_SINGLETONS)
def test_same_as_pytorch_metric_learning_where_no_class_is_single(name, labels):
    rule, sim, theirs = SAME_WITHOUT_SINGLETONS[name]
    labels_N = torch.tensor(BATCHES[labels])
    assert_same(PairLoss(rule, sim=sim), theirs(), embeddings(len(labels_N)), labels_N)


def test_learned_margin_moves_its_boundary_like_theirs():
    labels_N, emb_ND = torch.tensor(BATCHES["ragged"]), embeddings(11)
    ours = margins.learned_margin(beta=-1.2, nu=0.1, sim=geometry.euclidean)
    theirs = losses.MarginLoss(0.2, beta=1.2, nu=0.1, learn_beta=True, distance=euclid())
    got, want = ours(emb_ND, labels_N), theirs(emb_ND, labels_N)
    assert got.item() == pytest.approx(want.item(), rel=1e-6)  # their boundary is float32
    got.backward()
    want.backward()
    assert ours.rule.beta.grad.item() == pytest.approx(-theirs.beta.grad.item(), rel=1e-6)


def test_smooth_ap_is_theirs_once_the_anchor_is_ranked_too():
    labels_N, emb_ND = torch.tensor(BATCHES["balanced"]), embeddings(9)
    same_NN = labels_N[:, None] == labels_N

    def ours(emb_ND: Tensor, _: Tensor) -> Tensor:
        return reduce([listwise.smooth_ap(geometry.cosine(emb_ND, emb_ND), same_NN, ~same_NN, temperature=0.1)])

    theirs = losses.SmoothAPLoss(0.1)
    # They collect float64 terms in a float32 tensor.
    got, want = ours(emb_ND, labels_N), theirs(emb_ND, labels_N)
    assert got.item() == pytest.approx(want.item(), rel=1e-6)
    got_grad, want_grad = (torch.autograd.grad(x, emb_ND)[0] for x in (got, want))
    assert (got_grad - want_grad).norm() <= 1e-6 * want_grad.norm()


def test_ranked_list_is_theirs_but_for_their_small_constant():
    labels_N, emb_ND = torch.tensor(BATCHES["balanced"]), embeddings(9)
    ours = PairLoss(partial(listwise.ranked_list, pos_at=-0.8, neg_at=-1.2, neg_scale=4.0), sim=geometry.euclidean)
    theirs = losses.RankedListLoss(0.4, 4.0, alpha=1.2, distance=euclid())
    assert ours(emb_ND, labels_N).item() == pytest.approx(theirs(emb_ND, labels_N).item(), rel=1e-4)


@pytest.mark.parametrize("temperature", [0.01, 0.0002])
def test_gradient_lives_where_theirs_is_dead(temperature):
    """One badly separated pair at low temperature: theirs is capped and flat, ours follows the float64 oracle."""
    emb_ND = torch.tensor([[1.0, 0.0], [-0.9, 0.1], [0.95, 0.05], [-1.0, 0.2]], requires_grad=True)
    labels_N = torch.tensor([0, 0, 1, 1])
    theirs = losses.NTXentLoss(temperature)(emb_ND, labels_N)
    assert torch.autograd.grad(theirs, emb_ND)[0].norm() == 0
    loss = PairLoss(partial(rules.ntxent, temperature=temperature))
    got = loss(emb_ND, labels_N)
    exact_ND = emb_ND.detach().double().requires_grad_()
    want = exact_ntxent(exact_ND, labels_N, temperature)
    assert got.item() == pytest.approx(want.item(), rel=1e-6)
    got_grad, want_grad = torch.autograd.grad(got, emb_ND)[0], torch.autograd.grad(want, exact_ND)[0]
    assert want_grad.norm() > 1
    assert (got_grad - want_grad).norm() <= 1e-5 * want_grad.norm()


def exact_ntxent(emb_ND: Tensor, labels_N: Tensor, temperature: float) -> Tensor:
    x_NN = geometry.cosine(emb_ND, emb_ND) / temperature
    terms = []
    for a in range(len(x_NN)):
        for p in range(len(x_NN)):
            if p != a and labels_N[p] == labels_N[a]:
                terms.append(torch.stack([x_NN[a, p], *x_NN[a, labels_N != labels_N[a]]]).logsumexp(0) - x_NN[a, p])
    return torch.stack(terms).mean()
