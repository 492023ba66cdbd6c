"""How a batch is shared out over processes, and random numbers that differ or agree between them."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from likewise import distributed
from likewise.data.resample import Augment, Places
from likewise.losses.cached import random_state, restore

__all__ = ["augmented", "clip_gradients", "own_random", "places_of", "sizes_of"]


def sizes_of(anchors: int, ranks: int) -> tuple[int, ...]:
    """How many of the anchors of a batch each process gets: within one of each other, in order.

    >>> sizes_of(10, 4)
    (2, 3, 2, 3)
    """
    return tuple(anchors * (r + 1) // ranks - anchors * r // ranks for r in range(ranks))


def places_of(rows: int, partners: int) -> Places:
    """The rows of a batch that are this process's: a run of anchors, and the same run of each block of partners."""
    anchors = rows // (1 + partners)
    sizes = sizes_of(anchors, distributed.world_size())
    start = sum(sizes[: distributed.rank()])
    starts = [block * anchors + start for block in range(1 + partners)]
    return Places(rows, tuple(slice(at, at + sizes[distributed.rank()]) for at in starts))


def augmented(augment: Callable, images: Tensor, places: Places | None, seed: str) -> Tensor:
    """The images varied, as they would be in the whole batch; one that needs all images of a batch is given them.

    An augmentation of the user's own draws other numbers on each process.
    """
    if places is None:
        return augment(images)
    if not isinstance(augment, Augment):
        with own_random(images.device, seed):
            return augment(images)
    if augment.whole:
        varied = augment(images)
        return torch.cat([varied[part] for part in places.parts])
    return augment(images, places=places)


@contextmanager
def own_random(device: torch.device, seed: str) -> Iterator[None]:
    """Inside, random numbers of this process alone; afterwards the stream that all share is where it was."""
    if distributed.world_size() == 1:
        yield
        return
    before = random_state(device)
    torch.manual_seed(zlib.crc32(f"{seed} {distributed.rank()}".encode()))
    try:
        yield
    finally:
        restore(before, device)


@torch.no_grad()
def clip_gradients(params: Sequence[Tensor], largest: float) -> None:
    """Scale all gradients so that their norm as one vector, over the shards of all processes, is at most that."""
    given = [p for p in params if p.grad is not None]
    if not any(distributed.is_shard(p) for p in given):
        nn.utils.clip_grad_norm_(given, largest)
        return
    whole, own = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for p in given:
        (own if distributed.is_shard(p) else whole).add_(grad_values(p).double().square().sum().cpu())
    norm = float((whole + distributed.total(own)).sqrt())
    for p in given:
        grad_values(p).mul_(min(1.0, largest / (norm + 1e-6)))


def grad_values(p: Tensor) -> Tensor:
    """The numbers of a gradient: those that a sparse one holds."""
    assert p.grad is not None
    if not p.grad.is_sparse:
        return p.grad
    p.grad = p.grad.coalesce()
    return p.grad.values()
