"""Proxies that are shared out over processes give the loss and the gradients of ProxyLoss."""

import pytest
import torch
from torch import Tensor

from likewise import distributed, losses
from likewise.losses.sharded import LOGITS, ShardedProxyLoss

pytestmark = pytest.mark.slow  # a training or several processes for each part of it

ROWS, WIDE, DIM, CLASSES = 12, 5, 4, 7
TEXTS = (
    "softmax",
    "normalized_softmax(scale=8)",
    "cosface(scale=8, margin=0.2)",
    "arcface(scale=8)",
    "arcface(easy=True)",
)
LABELS = torch.tensor([0, 6, 3, 3, 2, 1, 5, 4, 0, 0, 6, 1])


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Linear(WIDE, DIM).double()


def batch(sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The rows of this process."""
    images = torch.rand(ROWS, WIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    start = sum(sizes[: distributed.rank()]) if distributed.world_size() > 1 else 0
    own = slice(start, start + sizes[distributed.rank()] if distributed.world_size() > 1 else ROWS)
    return images[own], LABELS[own]


def whole(text: str) -> dict[str, Tensor]:
    """Loss and gradients of ProxyLoss."""
    model = network()
    torch.manual_seed(2)
    loss_fn = losses.build(text, dim=DIM, classes=CLASSES).double()
    images, labels = batch(())
    loss = loss_fn(model(images), labels)
    loss.backward()
    found = {"loss": loss.detach(), "weight": model.weight.grad, "proxies": loss_fn.proxies.grad}
    return found | ({} if loss_fn.bias is None else {"bias": loss_fn.bias.grad})


def sharded(text: str, sizes: tuple[int, ...]) -> dict[str, Tensor]:
    """The same of ShardedProxyLoss, gathered from all processes."""
    model = network()
    torch.manual_seed(2)
    loss_fn = ShardedProxyLoss(text, dim=DIM, classes=CLASSES).double()
    images, labels = batch(sizes)
    loss = losses.across_ranks(loss_fn, model(images), labels)
    loss.backward()
    distributed.average_gradients([*model.parameters(), *loss_fn.parameters()])  # leaves the shards out
    found = {"loss": loss.detach(), "weight": model.weight.grad}
    return found | {name: distributed.gather(p.grad) for name, p in loss_fn.named_parameters()}


def steps(text: str, ranks_matter: bool) -> dict[str, Tensor]:
    """Weights after ten steps of SGD with momentum: of ProxyLoss, or of the shards, gathered."""
    model = network()
    torch.manual_seed(2)
    made = (
        ShardedProxyLoss(text, dim=DIM, classes=CLASSES)
        if ranks_matter
        else losses.build(text, dim=DIM, classes=CLASSES)
    )
    loss_fn = made.double()
    optimizer = torch.optim.SGD([*model.parameters(), *loss_fn.parameters()], 0.05, momentum=0.9)
    for _ in range(10):
        images, labels = batch((9, 3))
        losses.across_ranks(loss_fn, model(images), labels).backward()
        distributed.average_gradients(model.parameters())
        optimizer.step()
        optimizer.zero_grad()
    return {"weight": model.weight.detach(), "proxies": distributed.gather(loss_fn.proxies.detach())}


def close(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert float((found[name] - value).norm() / value.norm()) <= 1e-12, name


@pytest.mark.parametrize("text", TEXTS)
def test_one_process(text):
    close(sharded(text, ()), whole(text))


@pytest.mark.parametrize("sizes", [(6, 6), (9, 3), (0, 12)], ids=str)
@pytest.mark.parametrize("text", TEXTS)
def test_two_processes_give_loss_and_gradients_of_one(two, text, sizes):
    for found in two(sharded, text, sizes):
        close(found, whole(text))


@pytest.mark.parametrize("text", ["softmax", "arcface(scale=8)"])
def test_two_processes_end_in_the_weights_of_one(two, text):
    for found in two(steps, text, True):
        close(found, steps(text, False))


def undivided() -> dict[str, Tensor]:
    """With the fault that the gradient of a shard is off by the number of processes."""
    patch = pytest.MonkeyPatch()
    with patch.context() as broken:
        broken.setattr("likewise.losses.sharded.whole_gradient", lambda x: x)
        return sharded("cosface(scale=8)", (6, 6))


def test_a_gradient_that_is_off_by_the_number_of_processes_would_be_seen(two):
    with pytest.raises(AssertionError, match="proxies"):
        close(two(undivided)[0], whole("cosface(scale=8)"))


def initial_state(text: str) -> dict[str, Tensor] | None:
    torch.manual_seed(2)
    return ShardedProxyLoss(text, dim=DIM, classes=CLASSES).gathered_state()


def loaded_again(state: dict[str, Tensor]) -> dict[str, Tensor] | None:
    loss_fn = ShardedProxyLoss("softmax", dim=DIM, classes=CLASSES)
    loss_fn.load_gathered(state)
    return loss_fn.gathered_state()


def test_the_state_is_that_of_proxy_loss_for_any_number_of_processes(two):
    torch.manual_seed(2)
    plain = losses.build("softmax", dim=DIM, classes=CLASSES)
    main, other = two(initial_state, "softmax")
    assert other is None
    assert main.keys() == plain.state_dict().keys()
    for state in (main, initial_state("softmax")):
        assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())
    given = {name: torch.randn_like(value) for name, value in main.items()}
    for state in (two(loaded_again, given)[0], loaded_again(given)):
        assert all(torch.equal(state[name], value) for name, value in given.items())
    plain.load_state_dict(given)


def test_a_state_of_another_size_is_refused():
    loss_fn = ShardedProxyLoss("cosface", dim=DIM, classes=CLASSES)
    for state in ({}, {"proxies": torch.zeros(CLASSES + 1, DIM)}):
        with pytest.raises(ValueError, match="this loss needs \\[7, 4\\]"):
            loss_fn.load_gathered(state)


def test_sampled_negatives(two):
    (first, loss, grad), (second, same, _) = two(drawn_shared, 0.2)
    assert torch.equal(loss, same)
    assert all(len(kept) == 4 for kept in (*first, *second))  # a fifth of 20
    assert all({0, 1} <= set(kept.tolist()) for kept in first)
    assert all(19 in kept.tolist() for kept in second)
    assert len({tuple(kept.tolist()) for kept in first}) > 1
    assert int((grad.abs().sum(-1) > 0).sum()) == 4


def drawn_shared(share: float) -> tuple[list[Tensor], Tensor, Tensor]:
    """Each process has all rows here, so that the call is made on the whole batch."""
    torch.manual_seed(2)
    loss_fn = ShardedProxyLoss("cosface(scale=8)", dim=DIM, classes=40, share=share)
    labels = torch.tensor([0, 1, 39])
    kept = [loss_fn.kept(labels) for _ in range(3)]
    loss = loss_fn(torch.rand(3, DIM, generator=torch.Generator().manual_seed(3)), labels)
    loss.backward()
    return kept, loss.detach(), loss_fn.proxies.grad


def test_sampling_is_of_training_and_keeps_the_classes_of_the_batch():
    loss_fn = ShardedProxyLoss("cosface", dim=DIM, classes=40, share=0.01)
    assert set(loss_fn.kept(torch.tensor([3, 3, 8])).tolist()) == {3, 8}
    assert loss_fn.eval().kept(torch.tensor([3])) is None


@pytest.mark.parametrize(
    ("text", "given", "words"),
    [
        ("triplet", {}, "sharded proxies take"),
        ("arcfaces", {}, "did you mean arcface"),
        ("arcface(scael=3)", {}, "takes no 'scael'"),
        ("cosface", {"share": 0}, "share is"),
        ("cosface", {"share": 1.5}, "share is"),
        ("cosface", {"classes": 0}, "classes=0 cannot be shared out"),
    ],
)
def test_wrong_calls(text, given, words):
    with pytest.raises(ValueError, match=words):
        ShardedProxyLoss(text, **{"classes": CLASSES, "dim": DIM} | given)


def test_embeddings_and_labels_must_fit():
    loss_fn = ShardedProxyLoss("cosface", dim=DIM, classes=CLASSES)
    for emb, labels in [((2, 5), [0, 1]), ((2, 4), [0]), ((2, 4), [0, 7]), ((2, 4), [-1, 0])]:
        with pytest.raises(ValueError, match=r"dim=4|labels run from"):
            loss_fn(torch.rand(emb), torch.tensor(labels))


def test_every_rule_is_tested():
    assert {text.partition("(")[0] for text in TEXTS} == set(LOGITS)
