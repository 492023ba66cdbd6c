"""Losses made of losses; and the memory, which for every rule equals a list kept by hand, and resumes exactly."""

import copy
import inspect
import io
from collections import deque

import pytest
import torch
import torch.nn.functional as F

from likewise import losses, spec
from likewise.losses import PairLoss, ProxyLoss
from likewise.losses.build import family
from likewise.losses.combine import Matryoshka, Sum
from likewise.losses.memory import Memory
from likewise.losses.pair import in_batch
from likewise.losses.terms import BatchContext
from likewise.match import Refs, shared

D = 6
ITSELF_ONLY = {"npairs", "angular", "centroid_triplet"}  # by their definition, of a batch and nothing else


def remembers(name):
    found = spec.find("loss", name)
    return family(name) == "pair" or (inspect.isclass(found) and issubclass(found, PairLoss))


PAIRS = [name for name in spec.names("loss") if remembers(name)]


def batches(n=6, rows=8, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n):
        emb = torch.randn(rows, D, generator=generator, dtype=torch.float64)
        yield emb.requires_grad_(), torch.randint(classes, (rows,), generator=generator)


# The memory.


@pytest.mark.parametrize("size", [5, 12, 20, 1000])
@pytest.mark.parametrize("name", [name for name in PAIRS if name not in ITSELF_ONLY])
def test_memory_equals_a_list_of_the_last_embeddings(name, size):
    loss = losses.build(name, dim=D, memory=size).double()
    kept: deque = deque(maxlen=size)

    def by_hand(emb, labels):
        old = list(kept)
        rows, of = [emb, *(e[None] for e, _ in old)], [labels, *(y[None] for _, y in old)]
        return Refs(torch.cat(rows), torch.cat(of), 0)

    oracle = copy.deepcopy(loss)
    del oracle.references
    oracle.references = by_hand
    for emb, labels in batches(4):
        ours, expected = loss(emb, labels), oracle(emb, labels)
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)
        grads = torch.autograd.grad(ours, emb), torch.autograd.grad(expected, emb)
        torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-11)
        kept.extend((e.detach(), y) for e, y in zip(emb, labels, strict=True))


@pytest.mark.parametrize("name", [name for name in PAIRS if name in ITSELF_ONLY])
def test_a_rule_of_the_batch_alone_says_that_it_takes_no_memory(name):
    loss = losses.build(name, dim=D, memory=9)
    with pytest.raises(ValueError, match="no memory"):
        [loss(emb.float(), labels) for emb, labels in batches(2)]


def test_memory_holds_no_more_than_was_seen_and_no_more_than_its_size():
    memory = Memory(20, D)
    seen = 0
    for emb, labels in batches(5):
        refs = memory(emb.float(), labels)
        assert len(refs.emb) == len(refs.labels) == 8 + min(seen, 20)
        assert refs.offset == 0
        seen += 8
        assert len(memory.held()[0]) == min(seen, 20)


def test_memory_keeps_the_newest_of_a_batch_larger_than_itself():
    memory = Memory(3, D).double()
    ((emb, labels),) = batches(1)
    memory(emb, labels)
    kept = {tuple(row) for row in memory.held()[0].tolist()}
    assert kept == {tuple(row) for row in emb[-3:].tolist()}


@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_memory_fills_but_is_not_compared_with_while_it_warms_up(warmup):
    memory = Memory(1000, D, warmup_steps=warmup)
    widths = [len(memory(emb, labels).emb) for emb, labels in batches(5)]
    assert widths == [8 if step < warmup else 8 + 8 * step for step in range(5)]


def test_memory_does_not_remember_in_evaluation():
    memory = Memory(16, D).eval()
    for emb, labels in batches(3):
        assert len(memory(emb, labels).emb) == 8


def test_memory_takes_no_gradient():
    loss = losses.build("ntxent", dim=D, memory=16)
    (first, labels), second = batches(2)
    loss(first, labels).backward()
    before = first.grad.clone()
    loss(*second).backward()
    torch.testing.assert_close(first.grad, before, rtol=0, atol=0)


@pytest.mark.parametrize("size", [5, 20])
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_resuming_a_memory_equals_not_stopping(size, stop):
    straight = losses.build("supcon", dim=D, memory=size, memory_warmup_steps=2)
    stopped = copy.deepcopy(straight)
    expected = [straight(emb, labels).item() for emb, labels in batches(6)]
    got = []
    for step, (emb, labels) in enumerate(batches(6)):
        if step == stop:
            file = io.BytesIO()
            torch.save(stopped.state_dict(), file)
            file.seek(0)
            stopped = losses.build("supcon", dim=D, memory=size, memory_warmup_steps=2)
            stopped.load_state_dict(torch.load(file, weights_only=True))
        got.append(stopped(emb, labels).item())
    assert got == expected


def test_memory_state_is_tensors_only():
    assert all(
        isinstance(value, torch.Tensor) for value in losses.build("ntxent", dim=D, memory=4).state_dict().values()
    )


def test_memory_follows_other_references():
    def with_one_more(emb, labels):
        return Refs(torch.cat([torch.zeros(1, D).to(emb), emb]), torch.cat([labels[:1] * 0 + 7, labels]), 1)

    memory = Memory(100, D, inner=with_one_more).double()
    (first, labels), (second, others) = batches(2)
    memory(first, labels)
    refs = memory(second, others)
    assert refs.offset == 1
    torch.testing.assert_close(refs.emb[1:9], second)
    assert len(refs.emb) == 9 + 9


def test_memory_of_several_labels_a_row():
    rule = losses.build("supcon").rule
    several = PairLoss(rule, relation=shared, references=Memory(16, D, label_shape=(3,)).double())
    one = PairLoss(rule, references=Memory(16, D).double())
    for emb, labels in batches(4):
        torch.testing.assert_close(several(emb, F.one_hot(labels, 3)), one(emb, labels))


@pytest.mark.parametrize(("dim", "labels"), [(5, torch.zeros(8)), (D, torch.zeros(8, 3))], ids=["dim", "labels"])
def test_a_row_that_does_not_fit_the_memory_names_both_shapes(dim, labels):
    with pytest.raises(ValueError, match=rf"shape \[6\] with labels of shape \[\].*\[{dim}\]"):
        Memory(16, D)(torch.zeros(8, dim), labels.long())


def test_a_memory_holds_something():
    with pytest.raises(ValueError, match="size=0"):
        Memory(0, D)


# A weighted sum.


def test_sum_is_the_weighted_sum():
    text = "sum(losses=['triplet(margin=0.3)', 'softmax'], weights=[2, 0.5])"
    loss = losses.build(text, dim=D, classes=3).double()
    triplet, softmax = losses.build("triplet(margin=0.3)"), loss.losses[1]
    for emb, labels in batches(2):
        expected = 2 * triplet(emb, labels) + 0.5 * softmax(emb, labels)
        ours = loss(emb, labels)
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)
        moved = [emb, softmax.proxies]
        torch.testing.assert_close(torch.autograd.grad(ours, moved), torch.autograd.grad(expected, moved))


def test_sum_of_losses_already_built():
    parts = [PairLoss(losses.build("ntxent").rule), losses.build("softmax", dim=D, classes=3)]
    loss = Sum(losses=parts)
    assert loss.weights == (1.0, 1.0)
    ((emb, labels),) = batches(1)
    torch.testing.assert_close(loss(emb, labels), parts[0](emb, labels) + parts[1](emb, labels))
    assert set(loss.parameters()) == set(parts[1].parameters())


def test_sum_hands_miner_and_memory_to_pairs_only():
    loss = losses.build("sum(losses=['ntxent', 'cosface'])", dim=D, classes=3, miner="hard", memory=10)
    assert loss.losses[0].miner is not None
    assert isinstance(loss.losses[0].references, Memory)
    assert isinstance(loss.losses[1], ProxyLoss)
    loss = losses.build("sum(losses=['siamese_bce', 'vicreg'])", dim=D, miner="hard", memory=10)
    assert loss.losses[0].miner is not None
    assert isinstance(loss.losses[0].references, Memory)


def test_the_progress_line_follows_the_first_of_a_sum():
    ((emb, _),) = batches(1)
    labels = torch.zeros(8, dtype=torch.long)  # no negatives, so no term over pairs; softmax has terms
    batch = BatchContext()
    losses.build("sum(losses=['ntxent', 'softmax'])", dim=D, classes=3)(emb, labels, batch)
    assert batch.notes["empty"] == 1
    losses.build("sum(losses=['softmax', 'ntxent'])", dim=D, classes=3)(emb, labels, batch)
    assert batch.notes["empty"] == 0


def test_partners_and_features_reach_the_parts_of_a_sum():
    ((emb, labels),) = batches(1)
    batch = BatchContext(partners=1)
    both = losses.build("sum(losses=['contrastive', 'siamese_bce'])", dim=D)
    expected = losses.build("contrastive")(emb, labels, batch) + both.losses[1](emb, labels, batch)
    torch.testing.assert_close(both(emb, labels, batch), expected)


# Prefixes.


def test_matryoshka_is_the_sum_over_prefixes():
    loss = losses.build("matryoshka(loss='ntxent(temperature=0.2)', dims=[2, 6], weights=[0.5, 1])", dim=D)
    one = losses.build("ntxent(temperature=0.2)")
    for emb, labels in batches(2):
        torch.testing.assert_close(loss(emb, labels), 0.5 * one(emb[:, :2], labels) + one(emb, labels))


def test_matryoshka_learns_proxies_of_its_own_for_every_prefix():
    loss = losses.build("matryoshka(loss='arcface', dims=[2, 4])", dim=D, classes=3)
    assert [part.proxies.shape for part in loss.losses] == [(3, 2), (3, 4)]
    ((emb, labels),) = batches(1)
    loss(emb, labels).backward()
    assert (emb.grad[:, 4:] == 0).all()
    assert (emb.grad[:, :4] != 0).any(0).all()


def test_matryoshka_memory_is_as_wide_as_the_prefix():
    loss = losses.build("matryoshka(loss='ntxent', dims=[2, 4])", dim=D, memory=9)
    assert [part.references.emb.shape for part in loss.losses] == [(9, 2), (9, 4)]


def test_a_prefix_longer_than_the_embedding_names_both():
    loss = losses.build("matryoshka(loss='ntxent', dims=[2, 7])", dim=D)
    with pytest.raises(ValueError, match=r"dims=\[2, 7\].*only 6"):
        loss(torch.zeros(4, D), torch.zeros(4).long())


def test_matryoshka_of_losses_already_built_has_one_a_prefix():
    with pytest.raises(ValueError, match=r"1 losses for dims=\[2, 4\]"):
        Matryoshka(loss=[losses.build("ntxent")], dims=[2, 4])


# Both.


def test_combinations_nest():
    text = "sum(losses=['matryoshka(loss=\"ntxent\", dims=[2, 6])', 'softmax'], weights=[1, 2])"
    loss = losses.build(text, dim=D, classes=3)
    ((emb, labels),) = batches(1)
    ntxent = losses.build("ntxent")
    expected = ntxent(emb[:, :2], labels) + ntxent(emb, labels) + 2 * loss.losses[1](emb, labels)
    torch.testing.assert_close(loss(emb, labels), expected)


def test_chance_is_the_weighted_sum_and_unknown_with_an_unknown_part():
    labels = torch.arange(12) % 3
    parts = [losses.build(text, dim=D, classes=3).at_collapse(labels) for text in ("triplet", "softmax")]
    both = losses.build("sum(losses=['triplet', 'softmax'], weights=[2, 3])", dim=D, classes=3)
    assert both.at_collapse(labels) == pytest.approx(2 * parts[0] + 3 * parts[1])
    with_vae = losses.build("sum(losses=['triplet', 'vae'])", dim=D, shape=(1, 2, 2), width=4)
    assert with_vae.at_collapse(labels) is None
    assert Sum(losses=[torch.nn.Identity()]).at_collapse() is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sum(losses=[])", "0 weights for 0 losses"),
        ("sum(losses=['ntxent'], weights=[1, 2])", "2 weights for 1 losses"),
        ("matryoshka(loss='ntxent', dims=[2], weights=[1, 2])", "2 weights for 1 dims"),
        ("sum(losses=['ntxnt'])", "did you mean ntxent"),
        ("sum", r"sum needs losses: write sum\(losses=...\)"),
        ("matryoshka(loss='ntxent')", "matryoshka needs dims"),
        ("matryoshka(loss='ntxent', dim=[2])", "matryoshka needs dims"),
    ],
)
def test_what_cannot_be_combined_says_why(text, says):
    with pytest.raises(ValueError, match=says):
        losses.build(text, dim=D)


def test_names_are_built_by_build_only():
    with pytest.raises(ValueError, match=r"'ntxent'.*use losses\.build"):
        Sum(losses=["ntxent"])


def test_the_batch_alone_is_the_reference_without_memory():
    assert losses.build("ntxent").references is in_batch
