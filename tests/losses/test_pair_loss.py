"""PairLoss: input it refuses, precision, weights, memory, and tiles."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from likewise import geometry, match, spec
from likewise.losses import BatchContext, PairLoss, margins, rules
from likewise.losses.build import family
from likewise.losses.memory import Memory
from likewise.losses.pair import notes
from likewise.losses.terms import Terms, as_terms, reduce
from likewise.losses.tile import rows_within


def batch(n: int = 12, classes: int = 3, dim: int = 5) -> tuple[Tensor, Tensor]:
    emb_ND = torch.randn(n, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return emb_ND.requires_grad_(), torch.arange(n) % classes


LABELS = torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("emb", "labels", "message"),
    [
        (torch.ones(4), LABELS, r"embeddings are floats \[N, D\], got torch.float32 of shape \[4\]"),
        (torch.ones(4, 2, 2), LABELS, r"of shape \[4, 2, 2\]"),
        (torch.ones(4, 2, dtype=torch.long), LABELS, "embeddings are floats.*torch.int64"),
        (torch.ones(4, 2, dtype=torch.complex64), LABELS, "embeddings are floats.*torch.complex64"),
        (torch.ones(5, 2), LABELS, r"5 embeddings need as many labels, got labels of shape \[4\]"),
        (torch.ones(4, 2), torch.tensor(3), r"4 embeddings need as many labels, got labels of shape \[\]"),
        (torch.ones(4, 2), LABELS.float(), r"whole numbers \(int64\), got torch.float32.*labels.long\(\)"),
        (torch.ones(4, 2), LABELS[:, None].repeat(1, 3), r"shape \(4, 3\).*choose the relation"),
        (
            torch.tensor([[1, 1], [math.nan, 1], [1, 1], [1, math.inf]]),
            LABELS,
            "2 of 4 embeddings hold NaN or infinity, the first in row 1",
        ),
        (torch.tensor([[1, 1], [1, 1], [1, 1], [-math.inf, 1]]), LABELS, "1 of 4 embeddings.*row 3"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(emb, labels, message):
    with pytest.raises(ValueError, match=message):
        PairLoss(rules.ntxent)(emb, labels)


@pytest.mark.parametrize(
    "labels",
    [
        [2**24, 2**24 + 1, 2**24, 2**24 + 1],
        [2**53, 2**53 + 1, 2**53, 2**53 + 1],
        [-5, -1, -5, -1],
        [-(2**63), 2**63 - 1, -(2**63), 2**63 - 1],
    ],
)
def test_any_whole_number_is_a_label(labels):
    emb = batch(4)[0]
    loss = PairLoss(rules.supcon)
    assert loss(emb, torch.tensor(labels)) == loss(emb, torch.tensor([0, 1, 0, 1])) > 0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.bool])
def test_any_type_of_whole_number_is_a_label(dtype):
    emb = batch(4)[0]
    loss = PairLoss(rules.supcon)
    assert loss(emb, torch.tensor([0, 1, 0, 1]).to(dtype)) == loss(emb, torch.tensor([0, 1, 0, 1]))


def test_a_batch_of_nothing_is_zero():
    emb = torch.zeros(0, 4, requires_grad=True)
    notes = BatchContext()
    loss = PairLoss(rules.supcon)(emb, torch.zeros(0, dtype=torch.long), notes)
    loss.backward()
    assert loss == 0
    assert notes.notes["empty"] == 1


def test_notes_say_how_many_anchors_still_have_a_loss():
    """Anchor 0 and 1 are a pair next to each other; 2 and 3 are mixed up with 4 and 5; 6 has no partner."""
    emb = torch.tensor([[9.0, 0], [9, 0], [0, 1], [0, 2], [0, 1], [0, 2], [-9, 0]])
    notes = BatchContext()
    PairLoss(rules.triplet, sim=geometry.euclidean)(emb, torch.tensor([0, 0, 1, 1, 2, 2, 3]), notes)
    assert notes.notes == {
        "active": torch.tensor(1.0),
        "empty": torch.tensor(0.0),
    }  # all triplets: terms are active ones
    PairLoss(partial(rules.triplet, pick="hard"), sim=geometry.euclidean)(
        emb, torch.tensor([0, 0, 1, 1, 2, 2, 3]), notes
    )
    assert notes.notes["active"].item() == pytest.approx(4 / 6)


def test_under_autocast_it_computes_in_float32():
    emb, labels = batch()
    emb = emb.detach().float()
    loss = PairLoss(rules.ntxent)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = loss(emb, labels)
    assert got.dtype == torch.float32
    assert got == loss(emb, labels)


def test_balanced_gives_every_class_one_voice():
    """The mean over classes of each class's own mean, for a rule whose terms are anchors."""
    emb, labels = batch(12)[0], torch.tensor([0] * 6 + [1] * 4 + [2] * 2)
    (terms,) = PairLoss(rules.supcon).terms(emb, labels)
    want = torch.stack([terms.total[labels == c].mean() for c in range(3)]).mean()
    got = PairLoss(rules.supcon, balanced=True)(emb, labels)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(PairLoss(rules.supcon, balanced=True, tile=5)(emb, labels), want)
    with pytest.raises(ValueError, match="needs one label each"):
        PairLoss(rules.supcon, balanced=True, relation=match.shared)(emb, torch.ones(12, 3, dtype=torch.long))


def test_a_relation_decides_what_is_alike():
    emb, labels = batch()
    hot = torch.nn.functional.one_hot(labels)
    want = PairLoss(rules.supcon)(emb, labels)
    assert PairLoss(rules.supcon, relation=match.shared)(emb, hot) == want
    torch.testing.assert_close(PairLoss(rules.supcon, relation=match.shared, tile=5)(emb, hot), want)
    paths = torch.stack([labels % 2, labels], 1)
    assert PairLoss(rules.supcon, relation=partial(match.level, depth=1))(emb, paths) == want
    assert PairLoss(rules.supcon, relation=partial(match.level, depth=0))(emb, paths) != want


def test_partners_that_do_not_divide_the_batch_are_refused():
    emb, labels = batch(10)
    with pytest.raises(ValueError, match=r"10 rows are not anchors with 2 partners each: give N \* 3"):
        PairLoss(rules.triplet)(emb, labels, BatchContext(partners=2))


class Stretched(nn.Module):
    """A geometry with something to learn."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 2, 5, dtype=torch.float64))

    def forward(self, x, y):
        return geometry.cosine(x * self.weight, y * self.weight)


@pytest.mark.parametrize("tile", [1, 5, 12])
def test_tiles_reach_memory_and_learned_numbers(tile):
    """References beyond the batch, a geometry with a weight, a rule with a boundary: every gradient as of the whole."""
    emb, labels = batch()
    results = []
    for rows in (None, tile):
        torch.manual_seed(0)
        refs = Memory(6, 5).double()
        refs.push(torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 3)
        loss = PairLoss(margins.Boundary(0.2, 0.3, 0.1), sim=Stretched(), references=refs, tile=rows).double()
        value = loss(emb, labels)
        results.append((value, *torch.autograd.grad(value, [emb, loss.sim.weight, loss.rule.beta])))
    for whole, tiled in zip(*results, strict=True):
        torch.testing.assert_close(tiled, whole)


@pytest.mark.parametrize("budget", [1, 12 * 16 * 8 * 4, 1 << 30])
def test_tiles_are_chosen_by_the_budget(budget, monkeypatch):
    """12 references of 8 bytes and 16 copies: one row, four rows, or all at once."""
    emb, labels = batch()
    want = PairLoss(rules.triplet)(emb, labels)
    seen = []

    def rule(sim_NM, pos_NM, neg_NM):
        seen.append(len(sim_NM))
        return rules.triplet(sim_NM, pos_NM, neg_NM)

    monkeypatch.setattr("likewise.losses.tile.BUDGET", {"cpu": budget})
    assert PairLoss(rule)(emb, labels).item() == pytest.approx(want.item())
    assert seen == {1: [1] * 12, 12 * 16 * 8 * 4: [4] * 3, 1 << 30: [12]}[budget]


def test_tiles_without_gradient_make_none():
    emb, labels = batch()
    learning = []

    def rule(sim_NM, pos_NM, neg_NM):
        learning.append(sim_NM.requires_grad)
        return rules.ntxent(sim_NM, pos_NM, neg_NM)

    with torch.no_grad():
        value = PairLoss(rule, tile=5)(emb, labels)
    assert not any(learning)
    assert not PairLoss(rule, tile=5)(emb.detach(), labels).requires_grad
    assert value.item() == pytest.approx(PairLoss(rules.ntxent)(emb, labels).item())


def test_totals_of_tiles_can_only_be_summed():
    """Weighing rows afterwards would need their own gradients, which were added up: an error, not a wrong gradient."""
    emb, labels = batch()
    (terms,) = PairLoss(rules.ntxent, tile=5).terms(emb, labels)
    with pytest.raises(RuntimeError, match="can only be summed"):
        (terms.total * torch.arange(12)).sum().backward()


@pytest.mark.parametrize("tile", [0, -3])
def test_a_tile_has_a_row(tile):
    with pytest.raises(ValueError, match=f"tile={tile}"):
        PairLoss(rules.ntxent, tile=tile)


def test_a_fraction_of_a_term_is_divided_by_itself():
    assert reduce([Terms(torch.tensor([0.5, 0.0]), torch.tensor([0.25, 0.0]))]) == 2
    assert reduce([Terms(torch.zeros(3), torch.zeros(3))]) == 0


@pytest.mark.parametrize(
    ("rule", "sim", "labels", "want"),
    [
        (partial(rules.contrastive, margin=3.0), geometry.euclidean, None, 3.0**2 / 4),
        (partial(rules.contrastive, pos_at=0.9, neg_at=0.2), geometry.cosine, None, 0.7),
        *((partial(rules.triplet, margin=0.3, pick=pick), geometry.cosine, None, 0.3) for pick in rules.PICKS),
        (partial(rules.triplet, soft=True), geometry.cosine, None, math.log(2)),
        (rules.ntxent, geometry.cosine, [0] * 5 + [1] * 5, math.log(1 + 5)),
        (rules.supcon, geometry.cosine, [0] * 5 + [1] * 5, math.log(9)),
        (rules.decoupled, geometry.cosine, [0] * 5 + [1] * 5, math.log(5)),
        (rules.nca, geometry.cosine, [0] * 3 + [1] * 6, (3 * math.log(8 / 2) + 6 * math.log(8 / 5)) / 9),
        (rules.circle, geometry.cosine, [0] * 5 + [1] * 5, 80 * (0.5 - 2 * 0.4**2) + math.log(4 * 5)),
        (margins.margin, geometry.cosine, None, 0.2),
        (margins.tuplet_margin, geometry.cosine, [0, 0, 1, 1], math.log1p(2 * math.exp(-128 * math.sin(0.05)))),
    ],
)
def test_chance(rule, sim, labels, want):
    labels = None if labels is None else torch.tensor(labels)
    assert PairLoss(rule, sim=sim).at_collapse(labels) == pytest.approx(want, rel=1e-3)


def test_chance_knows_a_geometry_by_its_name():
    """As losses are built from names, the geometry is a function with its numbers bound."""
    loss = PairLoss(partial(rules.contrastive, pos_at=0.9, neg_at=0.2), sim=partial(geometry.cosine))
    assert loss.at_collapse() == pytest.approx(0.7)


def test_chance_of_a_large_batch():
    """Of 20,000 rows one of each class is looked at; a rule that needs every row has none to say."""
    labels = torch.arange(20_000) % 100
    assert PairLoss(rules.ntxent).at_collapse(labels) == pytest.approx(math.log(1 + 19_800), rel=1e-3)
    assert PairLoss(partial(rules.triplet, swap=True)).at_collapse(labels) is None


def test_chance_of_a_learned_boundary_and_of_a_draw_leave_things_as_they_are():
    loss = margins.learned_margin(margin=0.1, beta=0.5, nu=3.0)
    assert loss.at_collapse() == pytest.approx(0.1, rel=1e-3)
    state = torch.get_rng_state()
    PairLoss(partial(rules.triplet, pick="random-hard")).at_collapse()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [rules.ntxent, rules.supcon, rules.multi_similarity, rules.triplet])
def test_a_large_batch_fits(rule):
    """8,192 embeddings: their similarities are 256 MiB, and the whole matrix would be held a dozen times."""
    import resource

    emb, labels = torch.randn(8192, 64, requires_grad=True), torch.arange(8192) // 4
    PairLoss(rule)(emb[:64], labels[:64]).backward()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    PairLoss(rule)(emb, labels).backward()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024 * 1024


def lowest(rule, sim, labels) -> float:
    """The lowest loss of one similarity for every pair, by trying: minus a distance reaches from -64 to 0."""
    same = labels[:, None] == labels
    pos, neg = same & ~torch.eye(len(labels), dtype=torch.bool), ~same
    low, high = (-1.0, 1.0) if sim is geometry.cosine else (-64.0, 64.0) if sim is geometry.dot else (-64.0, 0.0)
    best = math.inf
    for _ in range(3):
        tried = torch.linspace(low, high, 65, dtype=torch.float64)
        values = []
        for shift in tried:
            terms = as_terms(rule(torch.full(pos.shape, float(shift), dtype=torch.float64), pos, neg))
            counted = [t for t in terms if t.count.any()]
            values.append(sum(float(t.total.sum() / t.count.sum()) for t in counted) if counted else math.inf)
        best, at = min(best, *values), values.index(min(values))
        low, high = float(tried[max(at - 1, 0)]), float(tried[min(at + 1, 64)])
    return best


RULES = {name: spec.find("loss", name) for name in spec.names("loss") if family(name) == "pair"}


@pytest.mark.parametrize("sim", [geometry.euclidean, geometry.cosine, geometry.dot, geometry.manhattan])
@pytest.mark.parametrize("name", RULES)
def test_the_loss_at_collapse_is_the_lowest_of_one_similarity_for_all(name, sim):
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    rule = RULES[name]
    want = lowest(rule, sim, labels)
    if math.isfinite(want):  # at an exact tie some rules find no pair; what they cost next to one is tested by hand
        assert PairLoss(rule, sim=sim).at_collapse(labels) == pytest.approx(want, rel=2e-3, abs=2e-3)


@pytest.mark.parametrize(
    ("total", "count", "active", "empty"),
    [
        ([[0.5, 0.0, 0.0]], [[1, 0, 0]], 1.0, 0.0),  # the only anchor with a term
        ([[0.5, 0.0, 0.0]], [[1, 1, 0]], 0.5, 0.0),
        ([[0.5, 0.0], [0.0, 0.2]], [[1, 0], [0, 3]], 1.0, 0.0),  # of any of the terms
        ([[0.0, 0.0]], [[0, 0]], 0.0, 1.0),
    ],
)
def test_notes_by_hand(total, count, active, empty):
    found = notes(tuple(Terms(torch.tensor(t), torch.tensor(c)) for t, c in zip(total, count, strict=True)))
    assert {name: value.item() for name, value in found.items()} == {"active": active, "empty": empty}


@pytest.mark.parametrize(
    ("rule", "want"),
    [
        (partial(rules.triplet, pick="semihard", margin=0.3), 0.3),
        (partial(rules.triplet, pick="hard", margin=0.3), 0.3),
        (partial(rules.triplet, pick="random-hard", margin=0.3), 0.3),
    ],
)
def test_a_rule_that_finds_no_pair_at_a_tie_has_the_loss_of_a_hair_of_difference(rule, want):
    assert PairLoss(rule, sim=geometry.euclidean).at_collapse(torch.tensor([0, 0, 1, 1])) == pytest.approx(
        want, rel=1e-4
    )


def test_rows_of_a_tile_fit_the_budget():
    """256 MiB on a CPU, for 16 copies of the similarities; one row where not even that fits."""
    assert rows_within(torch.zeros(1024, 3)) == (256 << 20) // (16 * 4 * 1024)
    assert rows_within(torch.zeros(1024, 3, dtype=torch.float64)) == (256 << 20) // (16 * 8 * 1024)
    assert rows_within(torch.zeros(1, 3).expand(10**7, 3)) == 1
    assert rows_within(torch.zeros(0, 3)) == 256 << 20
