"""The cached step over two processes: the gradient of the whole batch on one, with equal, uneven and empty batches."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from likewise import distributed, losses
from likewise.losses.cached import cached
from likewise.losses.terms import BatchContext

N, WIDE, CLASSES, DIM = 12, 7, 4, 6
# the embeddings' own gradient, a tiled one, whole rows, a memory, proxies, a network of the loss
LOSSES = {
    "supcon": {}, "ntxent": {"tile": 2}, "smooth_ap": {}, "contrastive": {"memory": 20}, "arcface(scale=8)": {},
    "siamese_bce": {},
}  # fmt: skip
SIZES = [(6, 6), (9, 3), (0, 12)]


def parts(text: str, dropout: float = 0.0) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDE, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, DIM)).double()
    return model, losses.build(text, dim=DIM, classes=CLASSES, **LOSSES[text]).double()


def batches() -> list[tuple[Tensor, Tensor]]:
    """Two of them, so that a memory holds the first one at the second."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, N, WIDE, generator=generator, dtype=torch.float64)
    return [(images[i], (torch.arange(N) * (i + 1)) % CLASSES) for i in range(2)]


def gradients(text: str, sizes: tuple[int, ...], chunk: int) -> dict[str, Tensor]:
    """The loss and all gradients after two steps; chunk 0: not cached."""
    model, loss = parts(text)
    start = sum(sizes[: distributed.rank()])
    own = slice(start, start + sizes[distributed.rank()]) if sizes else slice(None)
    value = torch.zeros(())
    for images, labels in batches():
        shared = partial(losses.across_ranks, loss)
        if chunk:
            most = -(-max(sizes or (N,)) // chunk)
            value = cached(model, shared, images[own], labels[own], chunk=chunk, parts=most, batch=BatchContext())
        else:
            value = shared(model(images[own]), labels[own])
            value.backward()
    distributed.average_gradients([*model.parameters(), *loss.parameters()])
    named = [*model.named_parameters(), *((f"loss.{name}", p) for name, p in loss.named_parameters())]
    return {"loss": value.detach()} | {name: p.grad for name, p in named if p.grad is not None}


def close(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert float((found[name] - value).norm()) <= 1e-12 * float(value.norm()) + 1e-15, name


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("text", LOSSES)
def test_equals_the_whole_batch_of_one_process(two, text, sizes):
    wanted = gradients(text, (), 0)
    for found in two(gradients, text, sizes, 4):
        close(found, wanted)


def own_rows_only(sizes: tuple[int, ...]) -> dict[str, Tensor]:
    """With the fault that a process takes the loss of its own rows."""
    patch = pytest.MonkeyPatch()
    with patch.context() as broken:
        broken.setattr(losses, "across_ranks", lambda loss, *given: loss(*given))
        return gradients("supcon", sizes, 4)


def test_a_loss_of_each_process_alone_would_be_seen(two):
    with pytest.raises(AssertionError):
        close(two(own_rows_only, (6, 6))[0], gradients("supcon", (), 0))
