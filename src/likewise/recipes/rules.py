"""Fields of a recipe for a user's own data. Each rule is measured or reasoned in docs/log.md."""

import math

from likewise.experiment.imagenet import advice, imagenet
from likewise.recipes.facts import Facts

__all__ = ["epochs_for", "rules", "sampler", "shaped"]

SMALL = 48  # images up to this side get the small networks
PHOTO = 64  # colour images from this side on are taken as photographs
PHOTO_SIDE = 160  # side for published weights; larger images are reduced
BATCH = 128  # images a batch, small networks
PHOTO_BATCH = 64
PROXY_IMAGES, PROXY_IMAGES_PRETRAINED = 1000, 4  # images of the median class from which a proxy of each class is learnt
PROXY_CLASSES = 1000  # classes at most that have proxies
LONG = 1.5  # median aspect from which images keep it
MIXED = 2.5  # ratio of wide to narrow aspects (90th to 10th percentile) from which images are padded
LONGEST = 4  # aspect that is kept at most


def rules(f: Facts) -> tuple[dict[str, object], list[str]]:
    """Fields of the recipe for these data, and notes to the user."""
    notes: list[str] = []
    chosen: dict[str, object] = {"sampler": sampler(f, BATCH)}
    if f.largest_class > 10 * max(1, f.median_class):
        chosen["balanced"] = True
        notes.append("one class dominates: batches and loss weigh classes alike (balanced=true)")
    if f.val == 0:
        notes.append("no validation part: classes are too small to give one")
    if f.length:
        chosen |= {"network": "conv1d", "size": 0, "augment": ""}
    if f.side and f.mixed > MIXED:
        chosen["fit"] = "pad"
        notes.append("images differ in aspect: padded and not stretched (fit=stretch or crop)")
    if not f.side:
        return chosen | {"epochs": epochs_for(f.train, 30)}, notes
    chosen["amp"] = "auto"
    if f.side <= SMALL or f.channels == 1 or f.negative:
        size = 0 if f.side <= SMALL else reduced(f)
        augment = "light()" if f.channels == 1 or f.negative else "photo(least=0.7)"
        chosen |= {"network": "small_resnet", "size": size, "augment": augment, "epochs": epochs_for(f.train, 30)}
        chosen["loss"] = loss_for(f, PROXY_IMAGES)
    elif f.side >= PHOTO:
        chosen |= photographs(f, notes)
    else:
        chosen |= {"size": 0, "augment": "photo(least=0.7)", "epochs": epochs_for(f.train, 30)}
    return chosen, notes


def reduced(f: Facts) -> int | str:
    """The size of grey images and floats: the shorter side 64 pixels; the aspect is kept up to 4 to 1."""
    shorter = min(f.shape[1:]) if len(f.shape) == 3 else 0
    height, width = f.shape[1:] if shorter else (1.0, f.aspect)
    if not shorter and max(f.aspect, 1 / f.aspect) <= LONG:
        return 64
    height, width = (min(64 * LONGEST, round(64 * side / (shorter or min(height, width)))) for side in (height, width))
    return 64 if height == width else f"{height}x{width}"


def shaped(side: int, f: Facts) -> int | str:
    """A square of this side, or where the median aspect is beyond LONG a rectangle of its area in that aspect.

    The shorter side is at most that of the images, and the aspect at most LONGEST.
    """
    long = min(LONGEST, max(f.aspect, 1 / f.aspect))
    if long <= LONG:
        return min(f.side, side)
    shorter = min(f.side, side / math.sqrt(long))
    sides = [max(16, round(length / 16) * 16) for length in (shorter, shorter * long)]
    height, width = sides if f.aspect > 1 else reversed(sides)
    return f"{height}x{width}"


def photographs(f: Facts, notes: list[str]) -> dict[str, object]:
    """Published weights where there are any; else a small network, and what to install."""
    if (start := imagenet()) is None:
        notes.append(advice())
        return {"size": shaped(64, f), "augment": "photo(least=0.5)", "epochs": epochs_for(f.train, 30)}
    return {
        "network": start.network,
        "weights": start.weights,
        "channels": 3,
        "size": shaped(PHOTO_SIDE, f),
        "dim": 128,
        "augment": "photo(rotate=15)",
        "loss": loss_for(f, PROXY_IMAGES_PRETRAINED),
        "sampler": sampler(f, PHOTO_BATCH),
        "optimizer": "adamw(weight_decay=0.02)",
        "lr": 1e-3,
        "backbone_lr": 0.3,
        "schedule": "one_cycle(warmup=0.2)",
        "epochs": epochs_for(f.train, 10),
        "ema": 0.99,
        "eval_every_epochs": 0,
    }


def loss_for(f: Facts, images: int) -> str:
    """Class proxies where classes have so many images, are not too many, and are those of the test; else SupCon."""
    proxies = f.median_class >= images and f.classes <= PROXY_CLASSES and not f.open
    return "cosface(scale=16.0, margin=0.2)" if proxies else "supcon(temperature=0.1)"


def sampler(f: Facts, batch: int) -> str:
    """P x K with the batch filled: few classes give many images each; classes of few images give many classes."""
    per_class = max(2, min(f.median_class, batch // min(f.classes, 16)))
    classes = max(2, min(f.classes, batch // per_class))
    return f"pk(classes={classes}, images={per_class})"


def epochs_for(train: int, usual: int) -> int:
    """Fewer passes over large sets, more over tiny ones."""
    few, many = math.sqrt(2000 / max(1, train)), math.sqrt(10_000 / max(1, train))
    return max(3, round(usual * min(3.0, max(1.0, few)) * min(1.0, many)))
