"""Short trainings through the loop, with one process or several."""

import torch
from torch import Tensor

from likewise import distributed, losses, spec
from likewise.data.images import Images
from likewise.experiment.build import feed_of
from likewise.experiment.recipe import Recipe
from likewise.models import Embedder
from likewise.models.synced_batchnorm import synchronise
from likewise.training.loop import State, steps
from likewise.training.ranks import augmented, own_random, places_of

SIDE, CLASSES, EACH = 8, 5, 6


def images() -> Images:
    labels = torch.arange(CLASSES).repeat_interleave(EACH)
    pixels = torch.randint(0, 256, (len(labels), 1, SIDE, SIDE), generator=torch.Generator().manual_seed(3))
    return Images(
        pixels=pixels.byte(),
        labels=labels,
        classes=tuple("abcde"),
        ids=tuple(map(str, range(len(labels)))),
        split=torch.zeros(len(labels), dtype=torch.uint8),
    )


def state_of(recipe: Recipe) -> State:
    torch.manual_seed(0)
    model = Embedder(recipe.network, shape=(1, SIDE, SIDE), dim=4, head=recipe.head)
    if recipe.sync_batchnorm and distributed.world_size() > 1:
        synchronise(model)
    loss_fn = losses.build(recipe.loss, dim=4, classes=CLASSES, memory=recipe.memory, miner=recipe.miner or None)
    params = [*model.parameters(), *loss_fn.parameters()]
    return State(
        model, loss_fn, torch.optim.SGD(params, 0.01, momentum=0.9), recipe.epochs, ranks=distributed.world_size()
    )


def run(recipe: Recipe, *, most: int = 20) -> dict[str, Tensor]:
    """The weights after at most so many steps, and the losses on the way; the same on every process."""
    feed = feed_of(recipe, images())
    state, values = state_of(recipe), []
    for _ in steps(state, feed, schedule=lambda progress: 1.0, lr=0.01, clip=1.0, accumulate=recipe.accumulate):
        values.append(state.loss.double())
        if state.step == most:
            break
    found = {name: x.double().clone() for name, x in state.model.state_dict().items()}
    return found | {"values": torch.stack(values), "seen": torch.tensor(float(state.seen))}


def shown(recipe: Recipe, epoch: int) -> list[tuple[Tensor, Tensor, tuple]]:
    """The batches of an epoch as this process gets them: pixels, labels and places in the whole batch."""
    feed = feed_of(recipe, images())
    return [(b.images, b.labels, b.places and b.places.parts) for b in feed.batches(feed.plan(epoch))]


def varied(augment: str, sizes: tuple[int, ...]) -> Tensor:
    """Images of one batch after augmentation, put together from all processes."""
    torch.manual_seed(5)
    n = sum(sizes)
    batch = torch.randint(0, 256, (n, 3, 128, 96), generator=torch.Generator().manual_seed(1)).byte()
    function = spec.bind("augment", augment)()
    if distributed.world_size() == 1:
        return function(batch)
    places = places_of(n, 0)
    own = batch if function.whole else batch[places.parts[0]]
    found = augmented(function, own, places, "0")
    return distributed.gather(found.int()).byte()


def dropped() -> tuple[Tensor, Tensor]:
    """What dropout makes of equal rows on each process, and the shared random numbers after it."""
    torch.manual_seed(0)
    with own_random(torch.device("cpu"), "0 1"):
        mask = torch.nn.functional.dropout(torch.ones(64))
    return mask, torch.rand(3)


__all__ = ["dropped", "images", "run", "shown", "varied"]
