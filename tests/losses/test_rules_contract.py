"""What holds for every pair rule, whatever it computes: adding a rule adds its tests."""

import inspect
import re
from functools import partial

import pytest
import torch
from torch import Tensor

from likewise import geometry
from likewise.losses import BatchContext, PairLoss, batchwise, listwise, margins, mining, rules
from likewise.losses.pair import check, notes
from likewise.losses.terms import as_terms, is_marked, reduce
from likewise.match import shared

MODULES = (rules, margins, batchwise, listwise)
MEMBERS = {name: getattr(module, name) for module in MODULES for name in module.__all__}
RULES = {name: partial(fn) for name, fn in MEMBERS.items() if inspect.isfunction(fn)} | {
    "contrastive(margin)": partial(rules.contrastive, margin=1.5),
    "triplet(hard)": partial(rules.triplet, pick="hard"),
    "triplet(semihard)": partial(rules.triplet, pick="semihard"),
    "triplet(random-hard)": partial(rules.triplet, pick="random-hard"),
    "triplet(easy-positive)": partial(rules.triplet, pick="easy-positive"),
    "triplet(soft)": partial(rules.triplet, soft=True),
    "triplet(swap)": partial(rules.triplet, swap=True),
    "multi_ntxent(in)": partial(rules.multi_ntxent, positives="in"),
}
SIMS = {
    "contrastive(margin)": geometry.euclidean,
    "lifted": geometry.euclidean,
    "generalized_lifted": geometry.euclidean,
    "snr_contrastive": geometry.snr,
    "npairs": geometry.dot,
}
COLUMNS = {"angular", "centroid_triplet", "lifted", "npairs", "triplet(swap)"}
WHOLE = COLUMNS | {"histogram", "intra_pair_variance"}
# What these compare is one pair with a boundary, so that a batch of one class, or of all different ones, still teaches.
ONE_SIDED = {
    "contrastive",
    "contrastive(margin)",
    "snr_contrastive",
    "siglip",
    "multi_similarity",
    "intra_pair_variance",
    "threshold_consistent",
    "ranked_list",
}
MINERS = {name: getattr(mining, name) for name in mining.__all__}

every_rule = pytest.mark.parametrize("name", RULES)


@every_rule
def test_the_marks_of_a_rule(name):
    assert is_marked(RULES[name], "whole") == (name in WHOLE)
    assert is_marked(RULES[name], "columns") == (name in COLUMNS)


@pytest.mark.parametrize("name", MINERS)
def test_the_marks_of_a_miner(name):
    assert is_marked(MINERS[name], "whole") == is_marked(MINERS[name], "columns") == (name == "angular")


def loss_of(name: str, **around) -> PairLoss:
    return PairLoss(RULES[name], sim=SIMS.get(name, geometry.cosine), **around)


def batch(n: int = 16, classes: int = 4, dim: int = 6, seed: int = 0, dtype=torch.float64) -> tuple[Tensor, Tensor]:
    emb_ND = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return emb_ND.to(dtype).requires_grad_(), torch.arange(n) % classes


def run(loss: PairLoss, emb_ND: Tensor, labels_N: Tensor, seen: BatchContext | None = None) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)  # for the picks that draw
    value = loss(emb_ND, labels_N, seen)
    return value.detach(), torch.autograd.grad(value, emb_ND)[0]


def clusters(labels_N: Tensor, noise: float) -> Tensor:
    g = torch.Generator().manual_seed(1)
    return 3 * torch.eye(8).double()[labels_N] + noise * torch.randn(len(labels_N), 8, generator=g).double()


def on_meta() -> tuple[Tensor, Tensor]:
    emb_ND, labels_N = batch()
    return emb_ND.detach().to("meta").requires_grad_(), labels_N.to("meta")


@every_rule
def test_a_random_batch_has_a_finite_loss_and_gradient(name):
    value, gradient = run(loss_of(name), *batch())
    assert value.ndim == 0
    assert value > 0
    assert gradient.isfinite().all()
    assert gradient.any()


@every_rule
def test_totals_and_counts_are_one_a_row(name):
    emb_ND, labels_N = batch()
    for terms in loss_of(name).terms(emb_ND, labels_N):
        assert terms.total.shape == terms.count.shape == (16,)
        assert not terms.count.requires_grad
        assert not terms.count.is_floating_point()
        assert (terms.total[terms.count == 0] == 0).all()


@pytest.mark.parametrize("name", [n for n in RULES if n not in ("npairs", "triplet(random-hard)")])
def test_the_order_of_a_batch_does_not_matter(name):
    emb_ND, labels_N = batch(13, 4)
    move_N = torch.randperm(13, generator=torch.Generator().manual_seed(1))
    value, gradient = run(loss_of(name), emb_ND, labels_N)
    moved, moved_gradient = run(loss_of(name), emb_ND.detach()[move_N].requires_grad_(), labels_N[move_N])
    torch.testing.assert_close(moved, value)
    torch.testing.assert_close(moved_gradient, gradient[move_N])


@every_rule
def test_what_classes_are_called_does_not_matter(name):
    emb_ND, labels_N = batch()
    other = torch.tensor([2**40 + 1, -7, 2**40, 0])[labels_N]
    assert run(loss_of(name), emb_ND, labels_N)[0] == run(loss_of(name), emb_ND, other)[0]


@every_rule
def test_several_labels_of_which_one_is_set_are_one_label(name):
    emb_ND, labels_N = batch()
    hot_NC = torch.nn.functional.one_hot(labels_N)
    assert run(loss_of(name, relation=shared), emb_ND, hot_NC)[0] == run(loss_of(name), emb_ND, labels_N)[0]


@every_rule
def test_separated_classes_cost_less_than_mixed_ones(name):
    _, labels_N = batch()
    apart, mixed = clusters(labels_N, 0.05), clusters(labels_N.flip(0).roll(3) // 2, 0.5)
    loss = loss_of(name)
    assert loss(apart, labels_N) < loss(mixed, labels_N)


@every_rule
def test_a_step_down_the_gradient_costs_less(name):
    emb_ND, labels_N = batch(seed=2)
    value, gradient = run(loss_of(name), emb_ND, labels_N)
    step = 1e-4 * gradient / gradient.norm()
    assert run(loss_of(name), (emb_ND.detach() - step).requires_grad_(), labels_N)[0] < value


ALONE, ONE_SIDE = [[0]], [[0, 1, 2, 3, 4], [7, 7, 7, 7, 7], [0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("name", "labels"),
    [(name, labels) for name in RULES for labels in ALONE + (ONE_SIDE if name not in ONE_SIDED else [])],
    ids=str,
)
def test_a_batch_without_comparisons_is_zero_and_noted(name, labels):
    emb_ND, seen = batch(len(labels))[0], BatchContext()
    value, gradient = run(loss_of(name), emb_ND, torch.tensor(labels), seen)
    assert value == 0
    assert not gradient.any()
    assert seen.notes["active"] == 0


@pytest.mark.parametrize("name", sorted(ONE_SIDED))
@pytest.mark.parametrize("labels", ONE_SIDE, ids=str)
def test_a_batch_of_one_side_is_finite(name, labels):
    value, gradient = run(loss_of(name), batch(len(labels))[0], torch.tensor(labels))
    assert value.isfinite()
    assert gradient.isfinite().all()


@every_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_precision(name, dtype):
    emb_ND, labels_N = batch(dtype=dtype)
    value, gradient = run(loss_of(name), emb_ND, labels_N)
    want, want_gradient = run(loss_of(name), emb_ND.detach().double().requires_grad_(), labels_N)
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(value.double(), want, rtol=1e-4, atol=1e-5)
    tolerance = 1e-3 if dtype == torch.float32 else 2e-2
    assert (gradient.double() - want_gradient).norm() <= tolerance * want_gradient.norm()


@every_rule
def test_a_rule_alone_takes_bfloat16(name):
    emb_ND, labels_N = batch()
    sim_NN, pos_NN, neg_NN = loss_of(name).similarities_and_masks(
        emb_ND.detach(), labels_N, loss_of(name).references(emb_ND, labels_N), slice(0, 16)
    )
    for terms in as_terms(RULES[name](sim_NN.bfloat16().requires_grad_(), pos_NN, neg_NN)):
        assert terms.total.isfinite().all()


@every_rule
def test_extreme_similarities_stay_finite(name):
    """Embeddings on top of one another, opposite, and zero."""
    one = torch.tensor([[1.0, 0, 0], [1, 0, 0], [-1, 0, 0], [-1, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]])
    value, gradient = run(loss_of(name), one.requires_grad_(), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", [n for n in RULES if n not in WHOLE])
@pytest.mark.parametrize("tile", [1, 3, 16, 100])
def test_tiled_equals_whole(name, tile):
    emb_ND, labels_N = batch()
    whole, tiled = BatchContext(), BatchContext()
    value, gradient = run(loss_of(name), emb_ND, labels_N, whole)
    got, got_gradient = run(loss_of(name, tile=tile), emb_ND, labels_N, tiled)
    torch.testing.assert_close(got, value, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(got_gradient, gradient, rtol=1e-10, atol=1e-14)
    assert tiled.notes == whole.notes


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_rule_that_needs_every_row_is_not_tiled(name, monkeypatch):
    monkeypatch.setattr("likewise.losses.tile.BUDGET", {"cpu": 1})
    assert run(loss_of(name), *batch())[0] > 0
    with pytest.raises(ValueError, match=r"tile=4.*needs every row"):
        loss_of(name, tile=4)


@every_rule
@pytest.mark.parametrize("miner", MINERS)
def test_any_miner(name, miner):
    value, gradient = run(loss_of(name, miner=MINERS[miner]), *batch(seed=3))
    assert value.isfinite()
    assert gradient.isfinite().all()


# These list their pairs, and say in their docstring that they wait for the device once.
LISTING = {"npairs", "smooth_ap", "triplet(soft)", "triplet(swap)"}


@pytest.mark.parametrize("name", [n for n in RULES if n not in LISTING])
@pytest.mark.parametrize("tile", [None, 5])
def test_a_step_never_waits_for_the_device(name, tile):
    """On the meta device, where tensors have shapes and no values, whatever reads a value on the host is an error."""
    emb_ND, labels_N = on_meta()
    loss = loss_of(name, tile=None if name in WHOLE else tile)
    check(emb_ND, labels_N)
    terms = loss.terms(emb_ND, labels_N)
    reduce(terms).backward()
    assert emb_ND.grad.shape == (16, 6)
    assert set(notes(terms)) == {"active", "empty"}


@pytest.mark.parametrize("name", sorted(LISTING))
def test_what_waits_says_so(name):
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        loss_of(name).terms(*on_meta())
    assert re.search("in tiles|[Ss]ynchronises once", inspect.getdoc(RULES[name].func))


@pytest.mark.parametrize("miner", [m for m in MINERS if m != "angular"])
def test_a_miner_never_waits_for_the_device(miner):
    assert reduce(loss_of("contrastive", miner=MINERS[miner]).terms(*on_meta())).shape == ()


@every_rule
@pytest.mark.parametrize("partners", [1, 2])
def test_pairs_and_triplets_of_partners(name, partners):
    """Six anchors, each with its own partners: what the rule makes of those similarities, row by row."""
    emb_ND, _ = batch(6 * (1 + partners))
    anchor_N = torch.arange(6) % 3
    labels_N = torch.cat([anchor_N, torch.tensor([0, 1, 2, 1, 2, 0]), anchor_N + 1][: 1 + partners])
    loss = loss_of(name)
    if name in COLUMNS:
        with pytest.raises(ValueError, match="compares a batch with itself"):
            run(loss, emb_ND, labels_N, BatchContext(partners=partners))
        return
    value, gradient = run(loss, emb_ND, labels_N, BatchContext(partners=partners))
    a, *others = emb_ND.chunk(1 + partners)
    sim = torch.stack([loss.sim(a[i : i + 1], torch.stack([o[i] for o in others]))[0] for i in range(6)])
    same = torch.stack([labels_N[:6] == of for of in labels_N.chunk(1 + partners)[1:]], 1)
    torch.manual_seed(0)
    want = sum(t.total.sum() / t.count.sum().clamp_min(1) for t in as_terms(RULES[name](sim, same, ~same)))
    torch.testing.assert_close(value, want.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(want, emb_ND, materialize_grads=True)[0])


@every_rule
def test_chance_is_what_one_similarity_for_all_costs(name):
    """No constant similarity does better, and the batch matters by its composition only."""
    _, labels_N = batch()
    loss = loss_of(name)
    at_collapse = loss.at_collapse(labels_N)
    pos = labels_N[:, None] == labels_N
    pos, neg = pos & ~torch.eye(16, dtype=torch.bool), ~pos
    for shift in (-1.0, -0.6, -0.25, 0.0, 0.4, 1.0):
        if shift <= 0 or loss.sim is geometry.cosine:
            terms = as_terms(RULES[name](torch.full((16, 16), shift).double(), pos, neg))
            value = sum(t.total.sum() / t.count.sum() for t in terms if t.count.any())
            assert at_collapse <= value + 1e-6 or not any(t.count.any() for t in terms)
    assert at_collapse == pytest.approx(loss.at_collapse(labels_N.flip(0) + 5), rel=1e-6)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_docstring_says_what_a_user_asks(name):
    lines = inspect.getdoc(MEMBERS[name]).splitlines()
    assert lines[0].endswith(".")
    for key in ("loss", "paper", "at collapse", "use", "PML"):
        assert any(re.match(rf"{key} +\S", line) for line in lines), f"{name} does not say {key!r}"
    assert re.search(r"paper .*(19|20)\d\d", inspect.getdoc(MEMBERS[name]))
