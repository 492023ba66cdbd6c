"""Each rule against its oracle, in value and gradient, and on one example worked by hand."""

import inspect
import math
from functools import partial

import pytest
import torch
from torch import Tensor

import rules_oracle as oracle
from likewise import geometry
from likewise.losses import batchwise, listwise, margins, rules
from likewise.losses.terms import as_terms, reduce
from likewise.match import Refs, match

MODULES = (rules, margins, batchwise, listwise)
RULES = {name: getattr(m, name) for m in MODULES for name in m.__all__ if inspect.isfunction(getattr(m, name))}

# Settings under which a rule takes another path than by default.
SETTINGS = {
    "contrastive": [{"pos_at": 0.9, "neg_at": 0.25}, {"margin": 1.5}],
    "triplet": [
        *({"margin": 0.25, "pick": pick} for pick in ("all", "hard", "semihard", "easy-positive")),
        *({"margin": 0.25, "pick": pick, "soft": True} for pick in ("all", "hard", "semihard", "easy-positive")),
        {"margin": 0.0},
        {"margin": 0.25, "swap": True},
        {"soft": True, "swap": True},
    ],
    "multi_ntxent": [{"positives": "out"}, {"positives": "in"}],
    "ntxent": [{}, {"temperature": 0.01}, {"temperature": 2.0}],
    "ranked_list": [{}, {"pos_scale": 3.0, "balance": 0.25}],
    "fast_ap": [{}, {"bins": 4}],
    "histogram": [{"bins": 8}],
    "angular": [{}, {"alpha": 55.0}],
    "smooth_ap": [{"temperature": 0.1}],
}
LABELS = {
    "balanced": [0, 0, 0, 1, 1, 1, 2, 2, 2],
    "ragged": [0, 1, 1, 2, 0, 2, 2, 2],
    "singletons": [0, 1, 2, 2, 3, 3, 3],
    "no positives": [0, 1, 2, 3, 4],
    "no negatives": [5, 5, 5, 5],
    "one": [0],
}
CASES = [(name, numbers) for name in RULES for numbers in SETTINGS.get(name, [{}])]


def batch(labels: list[int], *, ties: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Similarities of a batch to itself and its masks; with ties they are multiples of 1/4, and many are equal.

    Two images are never at an angle of exactly 0, where a rule on angles has no gradient to agree on.
    """
    g = torch.Generator().manual_seed(len(labels))
    emb_ND = torch.randn(len(labels), 4, generator=g, dtype=torch.float64)
    sim_NN = geometry.cosine(emb_ND, emb_ND)
    if ties:
        sim_NN = ((sim_NN * 4).round() / 4).clamp(-0.75, 0.75)
    sim_NN = sim_NN.fill_diagonal_(1.0)
    labels_N = torch.tensor(labels)
    return sim_NN, *match(labels_N, Refs(emb_ND, labels_N, 0))


def value_and_gradient(fn, sim_NM: Tensor, *masks: Tensor) -> tuple[Tensor, Tensor]:
    sim_NM = sim_NM.clone().requires_grad_()
    value = fn(sim_NM, *masks)
    (gradient,) = torch.autograd.grad(value, sim_NM, materialize_grads=True, allow_unused=True)
    return value.detach(), gradient


def ours(rule):
    return lambda *a: reduce(as_terms(rule(*a)))


def close(got: Tensor, want: Tensor, tolerance: float = 1e-10) -> bool:
    return bool((got - want).norm() <= tolerance * want.norm().clamp_min(1e-300)) if want.any() else not got.any()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize(("name", "numbers"), CASES, ids=str)
def test_rule_equals_its_oracle(name, numbers, labels, ties):
    data = batch(LABELS[labels], ties=ties)
    rule = partial(RULES[name], **numbers)
    got, got_grad = value_and_gradient(ours(rule), *data)
    want, want_grad = value_and_gradient(partial(oracle.loss, getattr(oracle, name), **numbers), *data)
    assert close(got, want), f"{got} is not {want}"
    assert close(got_grad, want_grad)


def row(pos: list[float], neg: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """One anchor with these similarities."""
    sim_1M = torch.tensor([[*pos, *neg]], dtype=torch.float64)
    pos_1M = torch.tensor([[True] * len(pos) + [False] * len(neg)])
    return sim_1M, pos_1M, ~pos_1M


def two_pairs(s01: float, s23: float, s02: float, s03: float, s12: float, s13: float) -> tuple[Tensor, Tensor, Tensor]:
    """A batch of four images of two classes, by the similarity of each two of them."""
    rows = [[1, s01, s02, s03], [s01, 1, s12, s13], [s02, s12, 1, s23], [s03, s13, s23, 1]]
    sim_44 = torch.tensor(rows, dtype=torch.float64)
    labels_N = torch.tensor([0, 0, 1, 1])
    return sim_44, *match(labels_N, Refs(sim_44, labels_N, 0))


def ln(x: float) -> float:
    return math.log(x)


# Similarities 0.8 and 0.4 of positives, 0.6, 0.2 and -0.3 of negatives; and logarithms, so that sums of exponentials
# are sums of whole numbers: positives e^s = 2, 4, negatives e^s = 1, 5.
PLAIN, LOGS = row([0.8, 0.4], [0.6, 0.2, -0.3]), row([ln(2), ln(4)], [0, ln(5)])
BY_HAND = [
    ("contrastive", {"neg_at": 0.25}, PLAIN, (0.2 + 0.6) / 2 + 0.35 / 3),
    ("contrastive", {"margin": 1.0}, row([-0.5, -1.0], [-0.6, -2.0]), (0.125 + 0.5) / 2 + 0.08 / 2),
    ("triplet", {"margin": 0.25}, PLAIN, (0.05 + 0.45 + 0.05) / 3),
    ("triplet", {"margin": 0.25, "pick": "hard"}, PLAIN, 0.45),
    ("triplet", {"margin": 0.25, "pick": "semihard"}, PLAIN, (0.05 + 0.05) / 2),
    ("triplet", {"margin": 0.25, "pick": "easy-positive"}, PLAIN, 0.05),
    ("triplet", {"margin": 0.05, "pick": "random-hard"}, PLAIN, 0.25),  # one positive, one negative violates
    ("triplet", {"pick": "hard", "soft": True}, row([0.0], [ln(3)]), ln(4)),
    ("triplet", {"margin": 0.1, "swap": True}, two_pairs(0.5, 0.9, 0.2, 0.1, 0.6, 0.1), 0.2),  # s12 for s02
    ("ntxent", {"temperature": 1.0}, LOGS, (ln(8 / 2) + ln(10 / 4)) / 2),
    ("multi_ntxent", {"temperature": 1.0, "positives": "out"}, LOGS, (ln(8 / 2) + ln(10 / 4)) / 2),
    ("multi_ntxent", {"temperature": 1.0, "positives": "in"}, LOGS, ln(12 / 6)),
    ("supcon", {"temperature": 1.0}, LOGS, (ln(12 / 2) + ln(12 / 4)) / 2),
    ("decoupled", {"temperature": 1.0}, LOGS, (ln(6 / 2) + ln(6 / 4)) / 2),
    ("siglip", {"scale": 1.0, "bias": 0.0}, LOGS, ln(1.5) + ln(1.25) + ln(2) + ln(6)),
    ("nca", {"scale": 1.0}, LOGS, ln(12 / 6)),
    ("multi_similarity", {"alpha": 1.0, "beta": 1.0, "base": 0.0}, LOGS, ln(1 + 0.5 + 0.25) + ln(1 + 6)),
    ("circle", {"margin": 0.25, "scale": 4.0}, row([0.5], [0.75]), ln(1 + math.exp(4 * 0.5 + 4 * 0.75 * 0.25))),
    ("margin", {"margin": 0.2, "beta": 0.3}, PLAIN, (3 * 0.1 + 2 * (0.5 + 0.1)) / (3 * 1 + 2 * 2)),
    ("tuplet_margin", {"margin": math.pi / 3, "scale": 1.0}, row([0.5], [0.0]), ln(1 + math.exp(-1))),
    ("snr_contrastive", {}, row([-0.5], [-0.25, -3.0]), 0.5 + 0.75 / 2),
    ("threshold_consistent", {}, row([0.95, 0.6, 0.3], [0.7, 0.2]), (0.3 + 0.6) / 2 + 0.2),
    ("lifted", {"margin": 0.0}, two_pairs(ln(2), ln(2), 0, 0, 0, 0), ln(4 / 2) ** 2 / 2),
    ("generalized_lifted", {"margin": 0.0}, LOGS, ln(0.5 + 0.25) + ln(6)),
    ("npairs", {}, two_pairs(ln(2), ln(3), 9, ln(6), ln(3), 9), (ln(8 / 2) + ln(6 / 3)) / 2),
    ("angular", {"alpha": 45.0}, two_pairs(ln(2) / 4, ln(2) / 4, 0, 0, 0, 0), ln(1 + 2 / 2)),
    ("intra_pair_variance", {"slack": 0.0}, row([0.8, 0.4], [0.6, 0.2, -0.2]), 0.2**2 / 2 + 0.4**2 / 3),
    ("centroid_triplet", {}, two_pairs(0.5, 0.5, 0.6, 0.2, 0.6, 0.2), (0.1 + 0.1 + 0.3) / 3),
    ("fast_ap", {"bins": 2}, row([1.0, -1.0], [0.0]), 1 - (1 / 1 + 2 / 3) / 2),
    ("smooth_ap", {}, row([0.5], [0.5]), 1 - 1 / 1.5),
    ("histogram", {"bins": 2}, row([0.0], [0.5, -0.5]), (1 + 0.5) / 2),
    ("ranked_list", {"neg_scale": ln(2) / 0.2}, row([0.5, 0.9], [0.6, 0.4]), 0.2 / 2 + (2 * 0.3 + 0.1) / 3 / 2),
]


def test_every_rule_is_worked_by_hand():
    assert {name for name, *_ in BY_HAND} == set(RULES)


@pytest.mark.parametrize(("name", "numbers", "data", "want"), BY_HAND, ids=lambda x: str(x)[:40])
def test_by_hand(name, numbers, data, want):
    assert ours(partial(RULES[name], **numbers))(*data).item() == pytest.approx(want, rel=1e-9)


def test_random_hard_draws_evenly_among_the_violating():
    """Four negatives within the margin of 0.5 of the positive and one beyond: over 20,000 anchors each a quarter."""
    torch.manual_seed(0)
    sim_NM = torch.tensor([0.6, 0.2, 0.3, 0.5, 0.9, 0.0]).expand(20_000, 6).clone().requires_grad_()
    pos_NM = torch.tensor([1, 0, 0, 0, 0, 0]).bool().expand(20_000, 6)
    terms = rules.triplet(sim_NM, pos_NM, ~pos_NM, margin=0.5, pick="random-hard")
    terms.total.sum().backward()
    assert (terms.count == 1).all()
    assert sim_NM.grad.mean(0).tolist() == pytest.approx([-1, 0.25, 0.25, 0.25, 0.25, 0], abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_triplets_are_exact_on_a_large_batch(dtype):
    """Against the cube of triplets: 90 images, where a sort and its counts meet every position."""
    emb_ND = torch.randn(90, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    labels_N = torch.arange(90) % 7
    sim_NN, masks = geometry.cosine(emb_ND, emb_ND), match(labels_N, Refs(emb_ND, labels_N, 0))

    def cube(sim_NN, pos_NN, neg_NN):
        loss_NPM = (sim_NN[:, None, :] - sim_NN[:, :, None] + 0.2).relu() * pos_NN[:, :, None] * neg_NN[:, None, :]
        return loss_NPM.sum() / (loss_NPM > 0).sum()

    got, got_grad = value_and_gradient(ours(rules.triplet), sim_NN, *masks)
    want, want_grad = value_and_gradient(cube, sim_NN, *masks)
    assert close(got, want, 1e-5 if dtype == torch.float32 else 1e-12)
    assert close(got_grad, want_grad, 1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize(
    ("name", "numbers", "message"),
    [
        ("triplet", {"pick": "hardest"}, "pick='hardest'.*one of all, hard, semihard"),
        ("triplet", {"pick": "hard", "swap": True}, "pick is 'all' with swap=True"),
        ("multi_ntxent", {"positives": "both"}, "'out' or 'in'"),
    ],
)
def test_an_unknown_choice_is_refused(name, numbers, message):
    with pytest.raises(ValueError, match=message):
        RULES[name](*PLAIN, **numbers)


@pytest.mark.parametrize("name", ["npairs", "angular", "centroid_triplet"])
def test_a_rule_on_the_batch_refuses_other_references(name):
    with pytest.raises(ValueError, match=rf"{name} compares a batch with itself only.*sim is \[1, 5\]"):
        RULES[name](*PLAIN)
