"""Distillation: values worked by hand, loops over pairs and triples, gradients, and what is said without a teacher."""

import math

import pytest
import torch
import torch.nn.functional as F
from rank_cases import Case, all_trained, apart

from likewise import losses
from likewise.losses.distill import __all__ as NAMES
from likewise.losses.distill import needs_teacher
from likewise.losses.terms import BatchContext

N, D, T = 7, 4, 6
LABELS = torch.arange(N) % 3
TEXTS = ["rkd", "rkd(angle=0.0)", "rkd(distance=0.0, angle=1.0)", "mimic"]


def drawn(seed: int, width: int):
    return torch.randn(N, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def emb():
    return drawn(0, D).requires_grad_()


@pytest.fixture
def batch():
    return BatchContext(teacher=drawn(1, T))


def build(text):
    torch.manual_seed(3)
    return losses.build(text, dim=D, teacher=T).double()


def huber(a, b):
    return F.smooth_l1_loss(a, b)


def loop_distance(x, t):
    pairs = [(i, j) for i in range(N) for j in range(N) if i != j]
    ours, theirs = ([(rows[i] - rows[j]).norm() for i, j in pairs] for rows in (x, t))
    mean, their_mean = sum(ours) / len(ours), sum(theirs) / len(theirs)
    return sum(huber(a / mean, b / their_mean) for a, b in zip(ours, theirs, strict=True)) / len(pairs)


def loop_angle(x, t):
    triples = [(i, j, k) for i in range(N) for j in range(N) for k in range(N) if len({i, j, k}) == 3]

    def cosine(rows, i, j, k):
        return F.cosine_similarity(rows[i] - rows[j], rows[k] - rows[j], dim=0)

    return sum(huber(cosine(x, *triple), cosine(t, *triple)) for triple in triples) / len(triples)


def loop(text, loss, x, t):
    if text == "mimic":
        return sum(1 - F.cosine_similarity(loss.project(a), b, dim=0) for a, b in zip(x, t, strict=True)) / N
    return loss.distance * loop_distance(x, t) + loss.angle * loop_angle(x, t)


@pytest.mark.parametrize("text", TEXTS)
class TestContract:
    def test_equals_the_loop(self, text, emb, batch):
        loss = build(text)
        ours, expected = loss(emb, LABELS, batch), loop(text, loss, emb, batch.teacher)
        torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-13)
        moved = [emb, *loss.parameters()]
        for one, other in zip(torch.autograd.grad(ours, moved), torch.autograd.grad(expected, moved), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)

    def test_gradient_is_the_slope(self, text, emb, batch):
        loss = build(text)
        assert torch.autograd.gradcheck(lambda x: loss(x, LABELS, batch), [emb])

    def test_order_does_not_matter_and_the_teacher_takes_no_gradient(self, text, emb, batch):
        loss, order = build(text), torch.randperm(N)
        teacher = batch.teacher.clone().requires_grad_()
        value = loss(emb[order], LABELS[order], BatchContext(teacher=teacher[order]))
        torch.testing.assert_close(value, loss(emb, LABELS, batch))
        value.backward()
        assert teacher.grad is None

    def test_a_point_and_few_images_are_finite(self, text, batch):
        for rows in (0, 1, 2, N):
            emb = torch.ones(rows, D, dtype=torch.float64, requires_grad=True)
            value = build(text)(emb, LABELS[:rows], BatchContext(teacher=batch.teacher[:rows]))
            value.backward()
            assert value.isfinite()
            assert emb.grad.isfinite().all()

    def test_takes_bfloat16(self, text, emb, batch):
        low = emb.detach().bfloat16().requires_grad_()
        build(text).float()(low, LABELS, BatchContext(teacher=batch.teacher.float())).backward()
        assert low.grad.isfinite().all()

    def test_without_a_teacher_it_says_so(self, text, emb):
        assert needs_teacher(build(text))
        assert build(text).at_collapse() is None
        for context in (None, BatchContext()):
            with pytest.raises(ValueError, match=r"compares with a teacher's embeddings: give distill=FILE.parquet"):
                build(text)(emb, LABELS, context)
        with pytest.raises(ValueError, match=r"7 embeddings and a teacher of shape \[3, 6\]"):
            build(text)(emb, LABELS, BatchContext(teacher=drawn(1, T)[:3]))


def test_rkd_by_hand():
    """A right angle against a straight line: distances 1, 1, sqrt 2 and 1, 1, 2."""
    x, t = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), torch.tensor([[-1.0], [0.0], [1.0]])
    labels, context = torch.arange(3), BatchContext(teacher=t)
    mean = (2 + math.sqrt(2)) / 3
    expected = (2 * (1 / mean - 3 / 4) ** 2 / 2 + (math.sqrt(2) / mean - 3 / 2) ** 2 / 2) / 3
    assert losses.build("rkd(angle=0.0)")(x, labels, context).item() == pytest.approx(expected, rel=1e-5)
    # cosines: 0 against -1 at the corner, 1/sqrt 2 against 1 at both ends
    expected = (1 / 2 + 2 * (1 - 1 / math.sqrt(2)) ** 2 / 2) / 3
    assert losses.build("rkd(distance=0.0, angle=1.0)")(x, labels, context).item() == pytest.approx(expected, rel=1e-5)


def test_a_scaled_and_turned_teacher_costs_nothing():
    x = drawn(0, D)
    turn = torch.linalg.qr(drawn(2, D)[:D])[0]
    value = build("rkd")(x, LABELS, BatchContext(teacher=3 * x @ turn + 5))
    assert value.item() == pytest.approx(0, abs=1e-12)


def test_corners_a_few_at_a_time_give_the_same(emb, batch, monkeypatch):
    def both():
        value = build("rkd")(emb, LABELS, batch)
        return value.detach(), torch.autograd.grad(value, emb)[0]

    whole = both()
    monkeypatch.setattr("likewise.losses.distill.TILE", 2 * N * N)
    for one, other in zip(both(), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


def test_the_map_is_as_wide_as_the_teacher(emb):
    with pytest.raises(ValueError, match=r"mimic was built with dim=4 and teacher=6, got .* teacher \[7, 5\]"):
        build("mimic")(emb, LABELS, BatchContext(teacher=drawn(1, 5)))
    with pytest.raises(ValueError, match="mimic needs teacher"):
        losses.build("mimic", dim=D)


@pytest.mark.parametrize("text", ["rkd(distance=-1.0)", "rkd(distance=0.0, angle=0.0)"])
def test_weights_without_a_meaning_are_refused(text):
    with pytest.raises(ValueError, match="rkd takes weights of 0 or more"):
        losses.build(text)


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(two):
    cases = (*map(Case, TEXTS), Case("sum(losses=['ntxent', 'rkd'], weights=[1, 0.5])"), Case("rkd", partners=1))
    one = all_trained(cases, (12,), torch.float64)
    for result in two(all_trained, cases, (9, 3), torch.float64):
        assert max(apart(a, b) for a, b in zip(result, one, strict=True)) <= 1e-12


def test_both_are_listed():
    assert set(NAMES) == {"rkd", "mimic"}
