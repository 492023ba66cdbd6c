"""The parts of a recipe, built: images, model, loss, optimizer and feed, on their device, from the recipe's seed."""

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from likewise import data, distributed, losses, spec
from likewise.data.images import Images
from likewise.data.options import as_path, data_home
from likewise.data.rotated_classes import rotated_classes
from likewise.experiment.callbacks import average_of
from likewise.experiment.recipe import Recipe
from likewise.experiment.teacher import check_teacher, teacher_of, teacher_vectors
from likewise.losses.class_labels import ClassLabels, paths, tags
from likewise.losses.heads import VAE
from likewise.models import Embedder, weights
from likewise.models.blocks import lr_multipliers
from likewise.models.efficientnet import absent, installed, variant_of
from likewise.models.networks import smallest_side
from likewise.models.pretrained import is_outside, makers_of
from likewise.models.synced_batchnorm import synchronise
from likewise.training.device import choose_device, seed_everything
from likewise.training.loop import Feed, State
from likewise.training.optim import param_groups

__all__ = ["Parts", "build", "feed_of", "first_model", "load_images", "resolve_defaults", "weights_of"]

MeanStd = tuple[Sequence[float], Sequence[float]]
PUBLISHED, NO_WEIGHTS = "published", "none"


@dataclass
class Parts:
    """What a recipe is made of, built."""

    recipe: Recipe
    images: Images
    state: State
    feed: Feed
    device: torch.device


def resolve_defaults(recipe: Recipe) -> Recipe:
    """The recipe with everything said: similarity and scale as its loss prefers, images as the network's makers did.

    Errors: SpecError for a loss whose proxies cannot be shared out as `proxy_share` asks, for a network of someone
    else's that does not exist or is not installed, and for weights that are not there: before any data is read.
    """
    if recipe.proxy_share:
        losses.check_shardable(recipe.loss)
    home = losses.default_geometry(recipe.loss)
    normalize = home.normalize if recipe.normalize is None else recipe.normalize
    recipe = recipe.replace(sim=recipe.sim or home.sim, normalize=normalize)
    if is_outside(recipe.network):
        makers = makers_of(recipe.network)
        size, first = recipe.size or makers.size, recipe.weights or PUBLISHED
        recipe = recipe.replace(size=size, channels=recipe.channels or 3, weights=first)
    weights_of(recipe)
    teacher_of(recipe)
    return recipe


def weights_of(recipe: Recipe) -> Path | str:
    """The file or folder that a training starts from, or `published`, or nothing. Errors: SpecError."""
    if recipe.weights in ("", NO_WEIGHTS):
        return ""
    if recipe.weights == PUBLISHED:
        if not is_outside(recipe.network):
            check_installed(recipe.network)
        return PUBLISHED
    given = as_path(recipe.weights)
    places = [given] if given.name != recipe.weights else [given, *(home / given for home in weight_homes())]
    file = next((place for place in places if place.exists()), None)
    if file is None:
        looked = ", ".join(map(str, places))
        raise spec.SpecError(f"there are no weights {recipe.weights!r}: looked for {looked}; give the path of a file")
    return file


def check_installed(network: str) -> None:
    """Errors: SpecError for a network without published weights, and for a package of weights that is not installed."""
    variant = variant_of(network)
    if variant is None:
        raise spec.SpecError(
            f"weights={PUBLISHED} is for efficientnet_lite, timm:, torchvision: and hf:, not for {network}; give a file"
        )
    if installed(variant) is None:
        raise spec.SpecError(absent(variant))


def weight_homes() -> list[Path]:
    """Where a bare file name is looked for: the folder `weights` in the root of the data, or beside that root."""
    root = data_home()
    return [root / "weights", root.resolve().parent / "weights"]


def load_images(recipe: Recipe, progress: Callable[[int, int], None] | None = None) -> Images:
    """The images of a recipe, split and filtered; progress is called with (done, total). Errors: ValueError."""
    counts = ("min_per_class", "max_per_class", "max_classes")
    shared = ("split", "val", "group_from", "size", "channels", "fit", *counts, "strict", "decisions")
    wanted = {name: getattr(recipe, name) for name in shared}
    images = data.load(recipe.data, seed=recipe.split_seed, progress=progress, **wanted)
    if not recipe.size and len(images.shape) == 3 and (least := needed_side(recipe.network, images.shape)):
        height, width = (max(least, side) for side in images.shape[1:])
        wanted["size"] = f"{height}x{width}"
        images = data.load(recipe.data, seed=recipe.split_seed, progress=progress, **wanted)
    present = images.part("train").labels.unique()
    if len(present) < 2:
        raise ValueError(
            f"{images.name} has {len(present)} class{'es' if len(present) != 1 else ''} to train on; "
            "learning what is alike needs at least 2 classes of images"
        )
    return images


def needed_side(network: str, shape: tuple[int, ...]) -> int:
    """The side that images are enlarged to where no size is asked for; 0 where they suit the network as they are."""
    return 0 if is_outside(network) else smallest_side(network, shape)


def build(recipe: Recipe, images: Images) -> Parts:
    """Model, loss, optimizer and feed, on their device, from the recipe's seed."""
    device = choose_device(recipe.device)
    seed_everything(recipe.seed)
    feed = feed_of(recipe, images, device)
    if recipe.whiten and not (feed.images.labels.bincount() > 1).any():
        raise ValueError(
            f"whiten={recipe.whiten} looks at what varies within classes, and no class of {images.name} has two "
            "training images; give whiten=0"
        )
    model = embedder(recipe, images).to(device)
    if recipe.adapter:
        spec.bind("adapter", recipe.adapter)(model.backbone, model.shape)
    if recipe.sync_batchnorm and distributed.world_size() > 1:
        synchronise(model)
    feed.teacher = teacher_vectors(recipe, feed.images, device)
    loss_fn = loss_of(recipe, model, feed.images, feed.teacher).to(device)
    check_teacher(recipe, loss_fn)
    distributed.broadcast_tensors(model), distributed.broadcast_tensors(loss_fn)
    check_trainable(recipe, model, loss_fn)
    multiples = lr_multipliers(model.backbone, backbone_lr=recipe.backbone_lr, layer_decay=recipe.layer_decay)
    groups = param_groups(model, loss_fn, proxy_lr=recipe.proxy_lr or None, lr_multipliers=multiples)
    optimizer = spec.bind("optimizer", recipe.optimizer)(groups, recipe.lr)
    average = average_of(model) if recipe.ema else None
    state = State(model, loss_fn, optimizer, recipe.epochs, max_seconds=recipe.max_seconds, average=average)
    state.ranks = distributed.world_size()
    return Parts(recipe, images, state, feed, device)


def feed_of(recipe: Recipe, images: Images, device: torch.device | str = "cpu") -> Feed:
    """The training part with its further classes, and how batches of it are drawn and varied."""
    train = relabel_contiguous(images.part("train")).to(device)
    if recipe.rotations > 1 or recipe.mirror:
        train = rotated_classes(train, rotations=recipe.rotations, mirror=recipe.mirror)
    augment = spec.bind("augment", recipe.augment)() if recipe.augment else None
    sampler, sim = spec.bind("sampler", recipe.sampler), spec.bind("sim", recipe.sim or "cosine")
    return Feed(train, sampler, seed=recipe.seed, augment=augment, sim=sim)


def relabel_contiguous(images: Images) -> Images:
    """The same images with labels 0 to C - 1: in open-set data the training classes are only some of all."""
    present, labels = images.labels.unique(return_inverse=True)
    classes = tuple(images.classes[i] for i in present.tolist())
    return dataclasses.replace(images, labels=labels, classes=classes)


def first_model(recipe: Recipe, images: Images) -> Embedder:
    """The model of a recipe at step 0, on the CPU; the random state stays as it is. Errors: as in build."""
    before = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            seed_everything(recipe.seed)
            return embedder(recipe, images)
    finally:
        random.setstate(before)


def embedder(recipe: Recipe, images: Images) -> Embedder:
    """The model with its first weights, and the moments that these were trained with where they are known."""
    train, source = images.part("train"), weights_of(recipe)
    model = Embedder(
        recipe.network,
        shape=train.shape,
        dim=recipe.dim,
        head=recipe.head,
        normalize=bool(recipe.normalize),
        sim=recipe.sim,
        classes=images.classes,
        fit=recipe.fit,
    )
    if source:
        model.load_weights(None if source == PUBLISHED else source)
    model.standardise(*((source and trained_with(source, model)) or channel_mean_std(train)))
    return model


def trained_with(source: Path | str, model: Embedder) -> MeanStd | None:
    """Mean and deviation of the images that weights were trained on; None where nobody says."""
    if source != PUBLISHED and weights.is_ours(source):
        config = weights.load(weights.find(source))[1]["config"]
        return config["mean"], config["std"]
    mean, std = getattr(model.backbone, "mean", None), getattr(model.backbone, "std", None)
    return (mean, std) if mean is not None and std is not None else None


def check_trainable(recipe: Recipe, model: Embedder, loss_fn: nn.Module) -> None:
    """Errors: ValueError where freezing leaves nothing to train, and where a loss cannot be taken in parts."""
    if recipe.accumulate > 1 and any(isinstance(part, VAE) for part in loss_fn.modules()):
        raise ValueError("vae looks at the features of a whole batch, so it takes no accumulate; use accumulate=1")
    if recipe.adapter and recipe.frozen_epochs < 0:
        raise ValueError(f"frozen_epochs=-1 trains nothing of the network, so adapter={recipe.adapter} would not learn")
    if recipe.frozen_epochs == 0 or any(p.requires_grad for p in model.head.parameters()):
        return
    if recipe.accumulate > 1 or not any(p.requires_grad for p in loss_fn.parameters()):
        raise ValueError(
            f"frozen_epochs={recipe.frozen_epochs} freezes the backbone and dim={recipe.dim} leaves no head to train; "
            "give dim=64, or frozen_epochs=0"
        )


def channel_mean_std(images: Images, sample: int = 4096) -> MeanStd:
    """Mean and deviation of each channel or column, over evenly spaced training images; bytes count as 0 to 1."""
    every = torch.arange(0, len(images), max(1, len(images) // sample))
    pixels = images.batch(every)
    values = pixels.double() / (255 if pixels.dtype == torch.uint8 else 1)
    rows = values.movedim(1, 0).flatten(1)
    std = rows.std(1, unbiased=False)
    return tuple(rows.mean(1).tolist()), tuple(torch.where(std > 1e-6, std, 1.0).tolist())


def loss_of(recipe: Recipe, model: Embedder, train: Images, teacher_NT: Tensor | None = None) -> nn.Module:
    """The recipe's loss. With a relation it reads class names: `a/b` as a path for `level`, `a|b` as tags else."""
    relation = "" if spec.parse(recipe.relation or "same")[0] == "same" else recipe.relation
    loss = losses.build(
        recipe.loss,
        sim=recipe.sim,
        miner=recipe.miner or None,
        dim=model.dim,
        classes=len(train.classes),
        counts=train.labels.bincount(minlength=len(train.classes)),
        memory=recipe.memory,
        balanced=recipe.balanced,
        tile=recipe.tile or None,
        relation=relation or None,
        shape=model.shape,
        width=model.width,
        teacher=None if teacher_NT is None else teacher_NT.shape[1],
        proxy_share=recipe.proxy_share,
    )
    if not relation:
        return loss
    return ClassLabels(loss, (paths if spec.parse(relation)[0] == "level" else tags)(train.classes))
