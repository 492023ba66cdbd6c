"""The parts of a recipe, built: pictures, model, loss, optimizer and feed, on their device, from the recipe's seed."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from likewise import data, losses, spec
from likewise.callbacks import average_of
from likewise.data.images import Images
from likewise.data.turned import turned
from likewise.models import Embedder
from likewise.optim import param_groups
from likewise.recipe import Recipe
from likewise.run import choose_device, seed_everything
from likewise.training import Feed, State

__all__ = ["Parts", "build", "load_images", "settled"]


@dataclass
class Parts:
    """What a recipe is made of, built."""

    recipe: Recipe
    images: Images
    state: State
    feed: Feed
    device: torch.device


def settled(recipe: Recipe) -> Recipe:
    """The recipe with its similarity and scale said, as its loss prefers them where it did not say."""
    home = losses.home(recipe.loss)
    normalize = home.normalize if recipe.normalize is None else recipe.normalize
    return recipe.replace(sim=recipe.sim or home.sim, normalize=normalize)


def load_images(recipe: Recipe, progress: Callable[[int, int], None] | None = None) -> Images:
    """The pictures of a recipe, split and filtered; progress is called with (done, total). Errors: ValueError."""
    shared = ("split", "val", "size", "channels", "min_per_class", "max_per_class", "max_classes", "strict")
    wanted = {name: getattr(recipe, name) for name in shared}
    images = data.load(recipe.data, seed=recipe.split_seed, progress=progress, **wanted)
    present = images.part("train").labels.unique()
    if len(present) < 2:
        raise ValueError(
            f"{images.name} has {len(present)} class{'es' if len(present) != 1 else ''} to train on; "
            "learning what is alike needs at least 2 classes of pictures"
        )
    return images


def build(recipe: Recipe, images: Images) -> Parts:
    """Model, loss, optimizer and feed, on their device, from the recipe's seed."""
    device = choose_device(recipe.device)
    seed_everything(recipe.seed)
    train = dense(images.part("train")).to(device)
    if recipe.turns > 1 or recipe.mirror:
        train = turned(train, turns=recipe.turns, mirror=recipe.mirror)
    model = embedder(recipe, images).to(device)
    loss_fn = loss_of(recipe, model, train).to(device)
    groups = param_groups(model, loss_fn, proxy_lr=recipe.proxy_lr or None)
    optimizer = spec.bind("optimizer", recipe.optimizer)(groups, recipe.lr)
    average = average_of(model) if recipe.ema else None
    state = State(model, loss_fn, optimizer, recipe.epochs, max_seconds=recipe.max_seconds, average=average)
    augment = spec.bind("augment", recipe.augment)() if recipe.augment else None
    feed = Feed(train, spec.bind("sampler", recipe.sampler), seed=recipe.seed, augment=augment)
    return Parts(recipe, images, state, feed, device)


def dense(images: Images) -> Images:
    """The same pictures with labels 0 to C - 1: in open-set data the training classes are only some of all."""
    present, labels = images.labels.unique(return_inverse=True)
    classes = tuple(images.classes[i] for i in present.tolist())
    return dataclasses.replace(images, labels=labels, classes=classes)


def embedder(recipe: Recipe, images: Images) -> Embedder:
    train = images.part("train")
    mean, std = moments(train)
    return Embedder(
        recipe.network,
        shape=train.shape,
        dim=recipe.dim,
        normalize=bool(recipe.normalize),
        mean=mean,
        std=std,
        sim=recipe.sim,
        classes=images.classes,
    )


def moments(images: Images, sample: int = 4096) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel or column, over evenly spaced training pictures; bytes count as 0 to 1."""
    every = torch.arange(0, len(images), max(1, len(images) // sample))
    pixels = images.batch(every)
    values = pixels.double() / (255 if pixels.dtype == torch.uint8 else 1)
    rows = values.movedim(1, 0).flatten(1)
    std = rows.std(1, unbiased=False)
    return tuple(rows.mean(1).tolist()), tuple(torch.where(std > 1e-6, std, 1.0).tolist())


def loss_of(recipe: Recipe, model: Embedder, train: Images) -> nn.Module:
    return losses.build(
        recipe.loss,
        sim=recipe.sim,
        miner=recipe.miner or None,
        dim=model.dim,
        classes=len(train.classes),
        counts=train.labels.bincount(minlength=len(train.classes)),
        memory=recipe.memory,
        shape=model.shape,
        width=model.width,
    )
