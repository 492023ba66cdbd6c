"""Losses and miners of pytorch-metric-learning through our call give what theirs give through theirs."""

import sys

import pytest
import torch
from pytorch_metric_learning import distances, miners, reducers
from pytorch_metric_learning import losses as pml

from likewise import losses
from likewise.losses.interop import PMLLoss, masks
from likewise.losses.terms import BatchContext

N, D, C = 12, 6, 4
LABELS = torch.arange(N) % C
# Needs a second set of embeddings or another loss inside, and so is not called as loss(emb, labels).
NOT_ON_A_BATCH = {
    "BaseLossWrapper",
    "BaseMetricLossFunction",
    "CrossBatchMemory",
    "DynamicSoftMarginLoss",  # for pairs in two lists
    "GenericPairLoss",
    "ManifoldLoss",  # takes no labels
    "MultipleLosses",
    "SelfSupervisedLoss",
    "ThresholdConsistentMarginLoss",
    "VICRegLoss",
    "WeightMixin",
    "WeightRegularizerMixin",
    "EmbeddingRegularizerMixin",
}
THEIRS = sorted(name for name in vars(pml) if name.endswith("Loss") and name not in NOT_ON_A_BATCH)

# Their SphereFace and HistogramLoss, under NumPy 2 and torch 2.13.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_wrap__"),
    pytest.mark.filterwarnings("ignore:Using a non-tuple"),
]
NEEDS = {"RankedListLoss": "margin=0.4, Tn=1"}


@pytest.fixture
def emb():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("name", THEIRS)
def test_every_loss_of_theirs_works(name, emb):
    torch.manual_seed(0)
    loss = losses.build(f"pml:{name}({NEEDS.get(name, '')})", dim=D, classes=C)
    value = loss(emb, LABELS)
    value.backward()
    assert value.shape == ()
    assert value.isfinite()
    assert loss.at_collapse(LABELS) is None


def test_it_is_their_object_with_their_keywords(emb):
    ours = losses.build("pml:ContrastiveLoss(pos_margin=0.1, neg_margin=0.7)")
    theirs = pml.ContrastiveLoss(pos_margin=0.1, neg_margin=0.7)
    torch.testing.assert_close(ours(emb, LABELS), theirs(emb, LABELS), rtol=0, atol=0)


def test_objects_inside_are_written_as_names(emb):
    text = "pml:TripletMarginLoss(margin=0.3, distance='LpDistance(p=1)', reducer='MeanReducer()')"
    theirs = pml.TripletMarginLoss(margin=0.3, distance=distances.LpDistance(p=1), reducer=reducers.MeanReducer())
    torch.testing.assert_close(losses.build(text)(emb, LABELS), theirs(emb, LABELS), rtol=0, atol=0)


def test_their_proxies_are_parameters_of_ours():
    loss = losses.build("pml:ProxyAnchorLoss(alpha=16)", dim=D, classes=C)
    assert [p.shape for p in loss.parameters()] == [(C, D)]
    assert "loss.proxies" in loss.state_dict()


def test_their_miner_with_their_loss(emb):
    ours = losses.build("pml:TripletMarginLoss()", miner="pml:BatchHardMiner()")
    theirs = pml.TripletMarginLoss()(emb, LABELS, miners.BatchHardMiner()(emb, LABELS))
    torch.testing.assert_close(ours(emb, LABELS), theirs)


def test_our_miner_with_their_loss(emb):
    ours = losses.build("pml:ContrastiveLoss()", sim="euclidean", miner="hard")
    a, p, n = miners.BatchHardMiner(distance=distances.LpDistance(normalize_embeddings=False))(emb, LABELS)
    torch.testing.assert_close(ours(emb, LABELS), pml.ContrastiveLoss()(emb, LABELS, (a, p, a, n)))


@pytest.mark.parametrize(
    "name", ["BatchHardMiner", "MultiSimilarityMiner", "TripletMarginMiner", "PairMarginMiner", "AngularMiner"]
)
def test_their_miner_with_our_rule_narrows_the_pairs(name, emb):
    torch.manual_seed(0)
    loss = losses.build("contrastive", miner=f"pml:{name}()")
    torch.manual_seed(0)
    pos, neg = masks(loss.theirs(emb.detach(), LABELS), N)
    plain = losses.build("contrastive")
    sim, all_pos, all_neg = plain.similarities_and_masks(emb, LABELS, plain.references(emb, LABELS), slice(0, N))
    pull = (1 - sim)[pos & all_pos].relu()
    push = sim[neg & all_neg].relu()
    expected = sum(x.sum() / max(1, len(x)) for x in (pull, push))
    torch.testing.assert_close(loss(emb, LABELS), expected)
    assert pos.sum() + neg.sum() < N * (N - 1)


def test_their_batch_hard_is_our_hard(emb):
    theirs = losses.build("contrastive", miner="pml:BatchHardMiner(distance='CosineSimilarity()')")
    torch.testing.assert_close(theirs(emb, LABELS), losses.build("contrastive", miner="hard")(emb, LABELS))


def test_partners_are_given_as_pairs(emb):
    labels = torch.tensor([0, 1, 2, 3, 0, 5, 2, 5, 6, 1, 6, 3])
    ours = losses.build("pml:ContrastiveLoss()")(emb, labels, BatchContext(partners=2))
    i = torch.arange(4)
    pairs = torch.cat([i, i]), torch.cat([i + 4, i + 8])
    same = labels[pairs[0]] == labels[pairs[1]]
    tuples = (*(x[same] for x in pairs), *(x[~same] for x in pairs))
    torch.testing.assert_close(ours, pml.ContrastiveLoss()(emb, labels, tuples))


def test_their_losses_combine_with_ours(emb):
    both = losses.build("sum(losses=['pml:FastAPLoss()', 'softmax'], weights=[2, 1])", dim=D, classes=C)
    expected = 2 * pml.FastAPLoss()(emb, LABELS) + both.losses[1](emb, LABELS)
    torch.testing.assert_close(both(emb, LABELS), expected)
    assert isinstance(both.losses[0], PMLLoss)


@pytest.mark.parametrize(
    ("text", "given", "says"),
    [
        ("pml:FastLoss()", {}, "no 'pml:FastLoss.*did you mean FastAPLoss"),
        ("pml:ContrastiveLoss(pos_margn=1)", {}, "pml:ContrastiveLoss takes no 'pos_margn'; did you mean pos_margin"),
        ("pml:ArcFaceLoss()", {"dim": D}, "pml:ArcFaceLoss has class weights: say classes="),
        ("pml:SubCenterArcFaceLoss()", {}, "say classes=... and dim=..."),
        ("pml:P2SGradLoss()", {}, "say classes=... and dim=..."),
        ("pml:RankedListLoss()", {}, "pml:RankedListLoss: .*missing 2 required.*'margin' and 'Tn'"),
        ("pml:FastAPLoss()", {"memory": 5, "dim": D}, "takes no memory"),
        ("siamese_bce", {"miner": "pml:BatchHardMiner()", "dim": D}, "goes with a rule over pairs"),
        ("ntxent", {"miner": "pml:BatchMiner()"}, "no 'pml:BatchMiner"),
        ("ntxent", {"miner": "pml:BatchHardMiner()", "memory": 5, "dim": D}, "within the batch only.*memory=5"),
    ],
)
def test_what_does_not_fit_says_so(text, given, says):
    with pytest.raises(ValueError, match=says):
        losses.build(text, **given)


def test_without_it_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning.losses", None)
    with pytest.raises(ValueError, match="not installed: pip install pytorch-metric-learning"):
        losses.build("pml:FastAPLoss()")


def test_their_miner_has_no_place_among_partners(emb):
    with pytest.raises(ValueError, match="partners=1"):
        losses.build("contrastive", miner="pml:BatchHardMiner()")(emb, LABELS, BatchContext(partners=1))
