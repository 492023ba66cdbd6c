"""A loss from its name: every member of the family is built and trained a step, and what does not fit says so."""

import sys
import types

import pytest
import torch
from torch import nn

from likewise import losses, spec
from likewise.losses import PairLoss, ProxyLoss
from likewise.losses.build import family
from likewise.losses.memory import Memory
from likewise.losses.proxy import over
from likewise.losses.terms import BatchContext, Terms
from likewise.match import shared

N, D, C = 12, 6, 4
AROUND = {"dim": D, "classes": C, "counts": [5, 2, 9, 1], "shape": (1, 2, 3), "width": 7, "teacher": 5}
LABELS = torch.arange(N // 2).repeat(2) % C
TEXTS = {"sum": "sum(losses=['ntxent', 'softmax'])", "matryoshka": "matryoshka(loss='ntxent', dims=[2, 6])"}
NAMES = spec.names("loss")


@pytest.fixture
def emb():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.fixture
def batch():
    images, teacher = torch.zeros(N, 1, 2, 3, dtype=torch.uint8), torch.arange(5.0 * N).view(N, 5).sin()
    return BatchContext(images=images, features=torch.ones(N, 7), teacher=teacher)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_a_loss_that_can_be_followed(name, emb, batch):
    loss = losses.build(TEXTS.get(name, name), **AROUND)
    assert isinstance(loss, nn.Module)
    value = loss(emb, LABELS, batch)
    value.backward()
    assert value.shape == ()
    assert value.isfinite()
    assert emb.grad.isfinite().all()
    chance = loss.at_collapse(LABELS)
    assert chance is None or isinstance(chance, float)


def spoiled(emb, value):
    emb = emb.detach().clone()
    emb[3, 1] = value
    return emb


BAD = {
    "nan": (lambda e: spoiled(e, torch.nan), LABELS, "1 of 12 embeddings hold NaN or infinity, the first in row 3"),
    "infinity": (lambda e: spoiled(e, -torch.inf), LABELS, "NaN or infinity, the first in row 3"),
    "integers": (lambda e: e.detach().long(), LABELS, "embeddings are floats"),
    "one dimension": (lambda e: e[:, 0], LABELS, "embeddings are floats"),
    "fewer labels": (lambda e: e, LABELS[:-1], "12 embeddings need as many labels"),
    "float labels": (lambda e: e, LABELS.float(), "labels are whole numbers"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_an_error_for_every_name(name, bad, emb, batch):
    spoil, labels, says = BAD[bad]
    with pytest.raises(ValueError, match=says):
        losses.build(TEXTS.get(name, name), **AROUND)(spoil(emb), labels, batch)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_documented_with_its_paper(name):
    doc = spec.find("loss", name).__doc__
    assert doc.split("\n")[0].endswith(".")
    assert any(str(year) in doc for year in range(1990, 2027)) or name in ("softmax", "sum"), f"{name} names no year"
    assert "at collapse" in doc, f"{name} does not say where a collapsed embedding stands"


@pytest.mark.parametrize(
    ("text", "kind"),
    [("ntxent", "pair"), ("arcface(margin=0.3)", "proxy"), ("vae", "head"), ("sum", "combination"), ("pml:X()", "pml")],
)
def test_families(text, kind):
    assert family(text) == kind


def test_numbers_reach_the_rule(emb):
    fine, coarse = losses.build("ntxent(temperature=0.05)"), losses.build("ntxent(temperature=5.0)")
    assert fine(emb, LABELS) != coarse(emb, LABELS)
    assert losses.build("cosface(margin=0.1)", **AROUND).rule.keywords == {"margin": 0.1}


def test_options_of_pairs_reach_the_loss():
    loss = losses.build(
        "contrastive", sim="euclidean", miner="hard", dim=D, memory=30, memory_warmup_steps=4, relation=shared, tile=5
    )
    assert isinstance(loss, PairLoss)
    assert loss.sim(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).item() == -5
    assert loss.relation is shared
    assert loss.tile == 5
    assert isinstance(loss.references, Memory)
    assert (len(loss.references.emb), loss.references.warmup_steps) == (30, 4)
    assert losses.build("contrastive", balanced=True).balanced


def test_options_of_proxies_reach_the_loss():
    loss = losses.build("arcface(centres=2, lr_scale=50, scale=8)", **AROUND)
    assert isinstance(loss, ProxyLoss)
    assert (loss.centres, loss.lr_scale, loss.rule.keywords) == (2, 50, {"scale": 8})
    assert losses.build("soft_triple(centres=2)", **AROUND).proxies.shape == (2 * C, D)


def test_a_proxy_rule_brings_its_own_geometry(emb):
    torch.manual_seed(0)
    cosine = losses.build("cosface", **AROUND)(emb, LABELS)
    torch.manual_seed(0)
    torch.testing.assert_close(losses.build("cosface", sim="euclidean", **AROUND)(emb, LABELS), cosine)


# What users bring.


class Outside(nn.Module):
    """A loss of the user's own."""

    def __init__(self, dim, classes, gamma=2.0, sim=None):
        super().__init__()
        self.linear, self.gamma, self.sim = nn.Linear(dim, classes), gamma, sim

    def forward(self, emb_ND, labels_N, batch=None):
        return nn.functional.cross_entropy(self.linear(emb_ND), labels_N) * self.gamma


def focal(sim_NM, pos_NM, neg_NM, *, gamma=2.0):
    return Terms(gamma * (1 - sim_NM).masked_fill(~pos_NM, 0).sum(-1), pos_NM.sum(-1))


@over(lambda x_ND, y_MD: x_ND @ y_MD.mT)
def hinge(sim_NC, pos_NC, neg_NC, *, margin=1.0):
    return Terms((margin - sim_NC).relu().masked_fill(~pos_NC, 0).sum(-1), pos_NC.sum(-1))


@pytest.fixture
def outside(monkeypatch):
    module = types.ModuleType("mine")
    module.focal, module.Outside, module.hinge = focal, Outside, hinge
    monkeypatch.setitem(sys.modules, "mine", module)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("mine:focal(gamma=3)", PairLoss), ("mine:hinge(margin=0.5)", ProxyLoss), ("mine:Outside(gamma=4)", Outside)],
)
def test_a_loss_from_outside_is_built_as_ours_are(text, kind, outside, emb):
    loss = losses.build(text, **AROUND)
    assert isinstance(loss, kind)
    loss(emb, LABELS).backward()
    assert emb.grad.abs().sum() > 0


def test_a_module_from_outside_is_given_what_it_asks_for(outside):
    loss = losses.build("mine:Outside(gamma=4)", **AROUND)
    assert (loss.gamma, loss.linear.in_features, loss.linear.out_features) == (4, D, C)
    assert loss.sim(torch.ones(1, 2), torch.ones(1, 2)).item() == pytest.approx(1)
    with pytest.raises(ValueError, match="mine:Outside needs classes: give it to build"):
        losses.build("mine:Outside", dim=D)
    with pytest.raises(ValueError, match="takes no miner"):
        losses.build("mine:Outside", **AROUND, miner="hard")


# What does not fit.


@pytest.mark.parametrize(
    ("text", "given", "says"),
    [
        ("ntxnt", {}, "no loss named 'ntxnt'; did you mean ntxent"),
        ("ntxent(temprature=1)", {}, "takes no 'temprature'; did you mean temperature"),
        ("cosface(margn=1)", AROUND, "loss cosface takes no 'margn'; did you mean margin"),
        ("softmax(bias_C=1)", AROUND, "loss softmax takes no 'bias_C'"),
        ("vae(betta=2)", AROUND, "takes no 'betta'; did you mean beta"),
        ("ntxent", {"sim": "cosin"}, "no sim named 'cosin'; did you mean cosine"),
        ("ntxent", {"miner": "hrd"}, "no miner named 'hrd'; did you mean hard"),
        ("ntxent", {"memory": 10}, r"ntxent with memory=10 keeps embeddings: it needs dim, got dim=None"),
        ("softmax", {"dim": D}, "softmax learns a proxy for each class.*classes=None and dim=6"),
        ("softmax", {"classes": C}, "needs classes and dim, got classes=4 and dim=None"),
        (
            "softmax",
            AROUND | {"miner": "hard"},
            "softmax compares with class proxies.*takes no miner, got miner='hard'",
        ),
        ("softmax", AROUND | {"memory": 9}, "takes no memory, got memory=9"),
        ("softmax", AROUND | {"balanced": True}, "takes no balanced"),
        ("vae", AROUND | {"miner": "hard"}, "vae is not a rule over pairs, so it takes no miner"),
        ("vicreg", {"memory": 5, "dim": D}, "takes no memory"),
        ("siamese_bce", {"dim": D, "balanced": True}, "takes no balanced"),
        ("siamese_bce", {}, "siamese_bce needs dim: give it to build"),
        ("mine:focal", {}, "cannot import 'mine'"),
    ],
)
def test_what_does_not_fit_says_so_in_one_sentence(text, given, says):
    with pytest.raises(ValueError, match=says) as error:
        losses.build(text, **given)
    assert "\n" not in str(error.value)
