"""The regularizers: contract over every one, a value worked by hand, a loop and a gradient check each."""

import math

import pytest
import torch
from rank_cases import Case, all_trained, apart

from likewise import losses
from likewise.losses.spread import __all__ as NAMES
from likewise.losses.spread import nearest_other
from likewise.losses.terms import BatchContext

N, D = 9, 4
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 3, 3, 3])
TEXTS = [*NAMES, "koleo(same=False)", "uniformity(same=False)", "uniformity(t=0.5)"]


@pytest.fixture
def emb():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


def unit(x):
    return x / x.norm()


def loop_koleo(emb, labels, *, same=True, eps=1e-8):
    values = []
    for i, x in enumerate(emb):
        others = [y for j, y in enumerate(emb) if j != i and (same or labels[i] != labels[j])]
        if others:
            values.append(-torch.log(min((unit(x) - unit(y)).norm() for y in others) + eps))
    return sum(values) / len(values)


def loop_uniformity(emb, labels, *, t=2.0, same=True):
    pairs = [(i, j) for i in range(len(emb)) for j in range(len(emb)) if i != j and (same or labels[i] != labels[j])]
    values = [torch.exp(-t * (unit(emb[i]) - unit(emb[j])).square().sum()) for i, j in pairs]
    return torch.log(sum(values) / len(values))


def loop_spherical(emb, labels):
    lengths = [x.norm() for x in emb]
    mean = sum(lengths) / len(lengths)
    return sum((length - mean) ** 2 for length in lengths) / len(lengths)


LOOPS = {
    "koleo": loop_koleo,
    "koleo(same=False)": lambda *given: loop_koleo(*given, same=False),
    "uniformity": loop_uniformity,
    "uniformity(same=False)": lambda *given: loop_uniformity(*given, same=False),
    "uniformity(t=0.5)": lambda *given: loop_uniformity(*given, t=0.5),
    "spherical": loop_spherical,
}


@pytest.mark.parametrize("text", TEXTS)
class TestContract:
    def test_equals_the_loop(self, text, emb):
        ours, expected = losses.build(text)(emb, LABELS), LOOPS[text](emb, LABELS)
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-13)
        grads = torch.autograd.grad(ours, emb)[0], torch.autograd.grad(expected, emb)[0]
        torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)

    def test_gradient_is_the_slope(self, text, emb):
        loss = losses.build(text)
        assert torch.autograd.gradcheck(lambda x: loss(x, LABELS), [emb])

    def test_at_collapse_is_the_value_of_equal_vectors(self, text):
        loss, labels = losses.build(text), torch.arange(6)
        emb = torch.ones(6, D, dtype=torch.float64, requires_grad=True)
        value = loss(emb, labels)
        value.backward()
        assert value.item() == pytest.approx(loss.at_collapse(), abs=1e-12)
        assert emb.grad.isfinite().all()

    def test_order_and_names_do_not_matter(self, text, emb):
        loss, order = losses.build(text), torch.randperm(N)
        torch.testing.assert_close(loss(emb[order], 70 - LABELS[order]), loss(emb, LABELS))

    @pytest.mark.parametrize("rows", [0, 1])
    def test_too_few_images_cost_nothing(self, text, rows):
        emb = torch.ones(rows, D, requires_grad=True)
        value = losses.build(text)(emb, torch.zeros(rows, dtype=torch.long))
        value.backward()
        assert value.item() == 0
        assert not emb.grad.any()

    def test_takes_bfloat16_and_a_zero_vector(self, text):
        emb = torch.randn(N, D).bfloat16()
        emb[0] = 0
        emb.requires_grad_()
        losses.build(text)(emb, LABELS).backward()
        assert emb.grad.isfinite().all()

    def test_a_step_down_spreads_or_evens(self, text, emb):
        loss = losses.build(text)
        before = loss(emb, LABELS)
        before.backward()
        assert loss(emb - 1e-3 * emb.grad, LABELS) < before


def test_koleo_by_hand():
    emb = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])  # nearest at sqrt 2, each
    assert losses.build("koleo")(emb, torch.arange(3)).item() == pytest.approx(-0.5 * math.log(2))
    far = losses.build("koleo(same=False)")(emb, torch.tensor([0, 0, 1]))  # 2, sqrt 2, sqrt 2
    assert far.item() == pytest.approx(-2 / 3 * math.log(2))


def test_uniformity_by_hand():
    emb = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])  # squared distances 2, 2, 4
    expected = math.log((2 * math.exp(-4) + math.exp(-8)) / 3)
    assert losses.build("uniformity")(emb, torch.arange(3)).item() == pytest.approx(expected)


def test_spherical_by_hand():
    emb = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    assert losses.build("spherical")(emb, torch.arange(3)).item() == pytest.approx(2 / 3)


def test_images_of_one_class_have_no_other_to_avoid():
    emb = torch.randn(4, D, requires_grad=True)
    for text in ("koleo(same=False)", "uniformity(same=False)"):
        value = losses.build(text)(emb, torch.zeros(4, dtype=torch.long))
        value.backward()
        assert value.item() == 0
        assert not emb.grad.any()


def test_classes_may_be_rows_of_labels():
    paths = torch.tensor([[0, 1], [0, 1], [0, 2], [5, 6]])
    emb = torch.randn(4, D)
    expected = losses.build("koleo(same=False)")(emb, torch.tensor([0, 0, 1, 2]))
    assert losses.build("koleo(same=False)")(emb, paths) == expected


def test_the_nearest_is_found_tile_by_tile(monkeypatch):
    x = torch.nn.functional.normalize(torch.randn(23, D, dtype=torch.float64))
    labels = torch.arange(23) % 3
    whole = nearest_other(x, labels)
    monkeypatch.setattr("likewise.losses.spread.ROWS", 5)
    for tiled, expected in zip(nearest_other(x, labels), whole, strict=True):
        assert torch.equal(tiled, expected)


@pytest.mark.parametrize("text", ["koleo(eps=0)", "koleo(eps=2.0)", "uniformity(t=0.0)"])
def test_numbers_without_a_meaning_are_refused(text):
    with pytest.raises(ValueError, match="takes"):
        losses.build(text)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(9, 3), (0, 12)], ids=str)
def test_two_processes_give_the_weights_of_one(two, sizes):
    more = (Case("sum(losses=['ntxent', 'koleo'], weights=[1, 0.1])"), Case("koleo", partners=1))
    cases = (*map(Case, TEXTS), *more)
    one = all_trained(cases, (12,), torch.float64)
    for result in two(all_trained, cases, sizes, torch.float64):
        assert max(apart(a, b) for a, b in zip(result, one, strict=True)) <= 1e-12


def test_partners_count_as_images_of_the_batch(emb):
    torch.testing.assert_close(
        losses.build("koleo")(emb[:8], LABELS[:8], BatchContext(partners=1)), losses.build("koleo")(emb[:8], LABELS[:8])
    )
