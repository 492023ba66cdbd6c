"""The cached step gives the loss and the gradient of the whole batch, in the memory of a chunk."""

import copy

import pytest
import torch
from torch import nn

from likewise import losses
from likewise.losses.cached import cached
from likewise.losses.terms import BatchContext

N, C = 12, 4
LABELS = torch.arange(N) % C


def network(dropout=0.0):
    torch.manual_seed(0)
    layers = nn.Linear(7, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 6)
    return nn.Sequential(*layers).double()


@pytest.fixture
def images():
    return torch.randn(N, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def build(text):
    torch.manual_seed(2)
    return losses.build(text, dim=6, classes=C).double()


def grads(*modules):
    return [p.grad for module in modules for p in module.parameters()]


@pytest.mark.parametrize("chunk", [1, 5, 12, 100])
@pytest.mark.parametrize("text", ["ntxent", "triplet", "proxy_anchor", "siamese_bce", "vicreg"])
def test_equals_the_whole_batch(text, chunk, images):
    labels = torch.arange(N // 2).repeat(2) if text == "vicreg" else LABELS
    model, loss = network(), build(text)
    whole_model, whole_loss = copy.deepcopy(model), copy.deepcopy(loss)
    value = cached(model, loss, images, labels, chunk=chunk)
    expected = whole_loss(whole_model(images), labels)
    expected.backward()
    assert not value.requires_grad
    torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=0)
    torch.testing.assert_close(grads(model, loss), grads(whole_model, whole_loss), rtol=1e-10, atol=1e-13)


def test_gradients_are_added_to_those_there_are(images):
    model, loss = network(), build("ntxent")
    cached(model, loss, images, LABELS, chunk=5)
    once = [g.clone() for g in grads(model)]
    cached(model, loss, images, LABELS, chunk=5)
    torch.testing.assert_close(grads(model), [2 * g for g in once])


def test_dropout_is_the_same_in_both_passes(images):
    model, loss = network(dropout=0.5).train(), build("ntxent")
    whole = copy.deepcopy(model)
    torch.manual_seed(5)
    value = cached(model, loss, images, LABELS, chunk=5)
    torch.manual_seed(5)
    expected = loss(torch.cat([whole(part) for part in images.split(5)]), LABELS)
    expected.backward()
    torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=0)
    torch.testing.assert_close(grads(model), grads(whole), rtol=1e-10, atol=1e-13)


class Drawing(nn.Module):
    """A loss that draws random numbers of its own."""

    def forward(self, emb_ND, labels_N, batch=None):
        return (emb_ND * torch.rand_like(emb_ND)).sum()


def test_random_numbers_go_on_after_the_step(images):
    """The next draw comes after those of the network's first pass and of the loss: none is drawn twice."""
    model = network(dropout=0.5).train()
    torch.manual_seed(5)
    cached(model, Drawing(), images, LABELS, chunk=5)
    after = torch.rand(3)
    torch.manual_seed(5)
    with torch.no_grad():
        Drawing()(torch.cat([model(part) for part in images.split(5)]), LABELS)
    torch.testing.assert_close(after, torch.rand(3), rtol=0, atol=0)


def test_autocast_loses_no_gradient(images):
    images = images.float()
    model, loss = network().float(), build("ntxent").float()
    whole = copy.deepcopy(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cached(model, loss, images, LABELS, chunk=5)
        value = loss(whole(images), LABELS)
    value.backward()
    torch.testing.assert_close(grads(model), grads(whole), rtol=0.1, atol=0.02)
    assert all(g.abs().sum() > 0 for g in grads(model))


def test_memory_is_pushed_to_once(images):
    loss = losses.build("ntxent", dim=6, memory=100).double()
    cached(network(), loss, images, LABELS, chunk=3)
    assert loss.references.seen == N


def test_the_loss_sees_the_batch_as_it_is(images):
    labels = torch.arange(N // 2).repeat(2)
    batch = BatchContext(partners=1)
    value = cached(network(), build("contrastive"), images, labels, chunk=5, batch=batch)
    expected = build("contrastive")(network()(images), labels, BatchContext(partners=1))
    torch.testing.assert_close(value, expected.detach())
    assert "active" in batch.notes


def test_only_a_chunk_is_held_at_once(images):
    """What the network keeps for its backward pass is never more than a chunk of rows."""
    model, held, most = network(), 0, 0

    def count(module, given, out):
        nonlocal held, most
        if out.requires_grad:
            held += len(out)
            most = max(most, held)
            out.register_hook(lambda grad: free(len(grad)))

    def free(n):
        nonlocal held
        held -= n

    model[0].register_forward_hook(count)
    cached(model, build("ntxent"), images, LABELS, chunk=3)
    assert (most, held) == (3, 0)


def test_the_backward_pass_may_be_scaled(images):
    model, scaled = network(), network()
    cached(model, build("ntxent"), images, LABELS, chunk=5)
    cached(scaled, build("ntxent"), images, LABELS, chunk=5, backward=lambda value: (8 * value).backward())
    torch.testing.assert_close(grads(scaled), [8 * g for g in grads(model)])


def test_a_loss_of_nothing_has_no_gradient(images):
    model = network()
    assert cached(model, build("ntxent"), images, torch.arange(N), chunk=5) == 0
    assert all((g == 0).all() for g in grads(model))


def test_a_chunk_holds_something(images):
    with pytest.raises(ValueError, match="chunk=0"):
        cached(network(), build("ntxent"), images, LABELS, chunk=0)
