"""A plan for a user's own data: looked at first, then network, size, weights, batch, loss and epochs by rule.

Each rule's measurement is in docs/log.md. The test part is never looked at but for near-copies.
"""

import dataclasses
import math
import os
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from likewise import spec
from likewise.data.files import LARGEST, Files, conform
from likewise.data.images import Images
from likewise.data.options import LoadOptions, as_path
from likewise.data.scenes import TELLING, overlaps
from likewise.experiment.build import build, load_images, needed_side, resolve_defaults, weight_homes
from likewise.experiment.precision import settle
from likewise.experiment.recipe import Recipe
from likewise.imaging.decode import ImageError, head
from likewise.imaging.sizes import sides_of

__all__ = ["Facts", "Plan", "plan", "rules"]

PEEK = 32  # side at which the images are looked at
HEADS = 200  # files whose size is read
SMALL = 48  # images up to this side get the small networks
PHOTO = 64  # colour images from this side on are taken as photographs
PHOTO_SIDE = 160  # side for published weights; larger images are reduced
BATCH = 128  # images a batch, small networks
PHOTO_BATCH = 64
MINUTES = 8.0  # longest training without --minutes: ten minutes in all, with the look, the scores and the report
WIDTH, INDENT = 80, 9  # columns of the printed plan
STEPS = 3  # measured, after one that warms up
WEIGHTS = "mobilenet_v2-b0353104.pth"


@dataclass(frozen=True)
class Facts:
    """Properties of the data; counts are those of the training part unless noted."""

    images: int
    train: int
    val: int
    test: int
    classes: int
    smallest_class: int
    median_class: int
    largest_class: int
    side: int  # median shorter side in pixels; 0 for feature rows and signals
    channels: int
    groups: int
    drawn: tuple[str, ...]
    open: bool
    near_copies: tuple[tuple[str, str, float], ...] = ()
    length: int = 0  # samples of a signal; 0 for images and rows
    shape: tuple[int, ...] = ()  # of one array: (C, H, W), (C, T) or (D,); () for image files
    negative: bool = False  # floats with negative values, such as decibels

    def kind(self) -> str:
        """`28 px, grey`, `signals of 1 channel, 400 samples` or `feature rows`."""
        if self.length:
            return f"signals of {self.channels:,} channel{'s' * (self.channels > 1)}, {self.length:,} samples"
        if not self.side:
            return "feature rows"
        size = " x ".join(map(str, self.shape[1:])) if len(set(self.shape[1:])) > 1 else str(self.side)
        colours = {1: "grey", 3: "colour"}
        return f"{size} px, {'floats' if self.negative else colours.get(self.channels, f'{self.channels} channels')}"


@dataclass(frozen=True)
class Plan:
    """A recipe, the reasons for its settings, and its estimated time and memory."""

    recipe: Recipe
    facts: Facts
    notes: tuple[str, ...]
    minutes: float
    memory_gib: float
    precision: str = ""  # what amp=auto measured

    def to_dict(self) -> dict[str, object]:
        return {
            "data": dataclasses.asdict(self.facts),
            "recipe": self.recipe.to_dict(),
            "notes": list(self.notes),
            "minutes": self.minutes,
            "memory_gib": self.memory_gib,
            "precision": self.precision,
        }

    def lines(self) -> list[str]:
        """Five entries of at most 80 columns, each with its further lines indented."""
        f, r = self.facts, self.recipe
        groups = f", {f.groups:,} groups" if f.groups else ""
        sizes = f"{f.smallest_class:,} to {f.largest_class:,} a class"
        drawn = f"{' and '.join(f.drawn)} drawn by {r.split}" if f.drawn else "as the source has them"
        near = ", ".join(f"{a} in {b} {share:.0%}" for a, b, share in f.near_copies if share >= TELLING)
        entries = [
            f"data     {f.images:,} images, {f.classes:,} classes of {sizes}, {f.kind()}{groups}",
            f"parts    train {f.train:,}, val {f.val:,}, test {f.test:,}; {drawn}; "
            f"near-copies: {near or 'few or none'}",
            f"network  {r.network}, size={r.size}, weights={r.weights or 'none'}, dim={r.dim}, "
            f"augment={r.augment or 'none'}",
            f"training loss={r.loss}, sampler={r.sampler}, epochs={r.epochs}, lr={r.lr:g}, "
            f"amp={r.amp}" + f" ({self.precision})" * bool(self.precision),
            f"cost     about {max(self.minutes, 0.1):.1f} minutes and {self.memory_gib:.1f} GiB here; "
            + ("; ".join(self.notes) or "change any field with field=value"),
        ]
        return [line for entry in entries for line in wrapped(entry)]


def wrapped(entry: str) -> list[str]:
    """Lines of at most 80 columns; the later ones are indented as far as the text of the first."""
    return textwrap.wrap(entry, WIDTH, subsequent_indent=" " * INDENT, break_long_words=False, break_on_hyphens=False)


def plan(recipe: Recipe, changes: Sequence[str] = (), *, minutes: float = 0.0, measure: bool = True) -> Plan:
    """The recipe of `folder` or `rows` for its data, with the user's `field=value` texts last.

    minutes: time limit of the training; 0 is MINUTES. Errors: ValueError for data that cannot be read.
    """
    if not (minutes >= 0 and math.isfinite(minutes)):
        raise ValueError(f"--minutes is how long the training may take, a number above 0, got {minutes}")
    overridden = recipe.override(*changes)
    fixed = {text.partition("=")[0].strip().replace("-", "_") for text in changes}
    images = peek(overridden)
    of_data = facts(images, overridden)
    chosen, notes = rules(of_data)
    drawn_up = recipe.replace(**chosen).override(*changes)
    if drawn_up.network != chosen.get("network", recipe.network) and "weights" not in fixed:
        drawn_up = drawn_up.replace(weights="", size=overridden.size)
    if not measure:
        return Plan(drawn_up, of_data, tuple(notes), 0.0, 0.0)
    return fitted(drawn_up, of_data, notes, minutes, fixed, images)


def peek(recipe: Recipe) -> Images:
    """The images at a size that is quick to read; arrays as they are."""
    return load_images(recipe.replace(size=PEEK if source_root(recipe.data) else 0, network="identity"))


def facts(images: Images, recipe: Recipe) -> Facts:
    train, val, test = (images.part(name) for name in ("train", "val", "test"))
    counts = torch.bincount(train.labels)
    counts = counts[counts > 0].sort().values
    side, channels = sides(images, recipe)
    return Facts(
        len(images),
        len(train),
        len(val),
        len(test),
        classes=len(counts),
        smallest_class=int(counts[0]),
        median_class=int(counts[len(counts) // 2]),
        largest_class=int(counts[-1]),
        side=side,
        channels=channels,
        groups=len(set(images.groups or ())),
        drawn=images.drawn,
        open=images.open,
        length=images.shape[1] if len(images.shape) == 2 else 0,
        shape=images.shape if source_root(recipe.data) is None else (),
        negative=isinstance(images.pixels, Tensor) and bool(images.pixels[:1024].min() < 0),
        near_copies=tuple((o.part, o.other, o.share) for o in overlaps(images, seed=recipe.split_seed) if o.checked),
    )


def sides(images: Images, recipe: Recipe) -> tuple[int, int]:
    """Median shorter side of the files, of evenly spaced ones, and channels; those in memory where there are none."""
    if len(images.shape) != 3:
        return 0, images.shape[0] if len(images.shape) == 2 else 0
    top = source_root(recipe.data)
    if top is None:
        return min(images.shape[1:]), images.shape[0]
    shorter = []
    for name in images.ids[:: max(1, len(images) // HEADS)]:
        try:
            size = head(top / name)
        except (ImageError, OSError):
            continue
        shorter.append(min(size.height, size.width))
    return (sorted(shorter)[len(shorter) // 2] if shorter else PEEK), images.shape[0]


def source_root(text: str) -> Path | None:
    """The folder that ids of a folder or a table are relative to; None for arrays."""
    path = as_path(text)
    if path.is_dir():
        return path
    if "(" in text:
        keywords = dict(spec.parse(text)[1])
        path = as_path(str(keywords.get("path", "")))
        if keywords.get("root"):
            return as_path(str(keywords["root"]))
        if path.is_dir():
            return path
    return None if path.suffix.lower() == ".npz" or not path.exists() else path.parent


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
    if not f.side:
        return chosen | {"epochs": epochs_for(f.train, 30)}, notes
    if f.side <= SMALL or f.channels == 1 or f.negative:
        size = 0 if f.side <= SMALL else reduced(f.shape)
        augment = "light()" if f.channels == 1 or f.negative else "photo(least=0.7)"
        chosen |= {"network": "small_resnet", "size": size, "augment": augment, "epochs": epochs_for(f.train, 30)}
    elif f.side >= PHOTO:
        chosen |= photographs(f, notes)
    else:
        chosen |= {"size": 0, "augment": "photo(least=0.7)", "epochs": epochs_for(f.train, 30)}
    return chosen, notes


def reduced(shape: tuple[int, ...]) -> int | str:
    """The size of grey images: the shorter side 64 pixels; arrays keep their aspect up to 4 to 1."""
    if len(shape) != 3:
        return 64
    shorter = min(shape[1:])
    height, width = (min(256, round(64 * side / shorter)) for side in shape[1:])
    return 64 if height == width else f"{height}x{width}"


def photographs(f: Facts, notes: list[str]) -> dict[str, object]:
    """Published weights where there are any; else a small network, and what to install."""
    if published() is None:
        notes.append(f"published weights would help: put {WEIGHTS} into LIKEWISE_DATA/weights, or give weights=FILE")
        return {"size": 64, "augment": "photo(least=0.5)", "epochs": epochs_for(f.train, 30)}
    many = f.classes > 1000 or f.median_class < 4
    return {
        "network": "mobilenet_v2",
        "weights": WEIGHTS,
        "channels": 3,
        "size": min(f.side, PHOTO_SIDE),
        "dim": 128,
        "augment": "photo(least=0.7)",
        "loss": "supcon(temperature=0.1)" if many or f.open else "cosface(scale=16.0, margin=0.2)",
        "sampler": sampler(f, PHOTO_BATCH),
        "optimizer": "adamw(weight_decay=0.02)",
        "lr": 1e-3,
        "backbone_lr": 0.3,
        "schedule": "one_cycle(warmup=0.2)",
        "epochs": epochs_for(f.train, 10),
        "ema": 0.99,
        "amp": "auto",
        "eval_every_epochs": 0,
    }


def published() -> Path | None:
    """The file of published weights that is here."""
    return next((home / WEIGHTS for home in weight_homes() if (home / WEIGHTS).is_file()), None)


def sampler(f: Facts, batch: int) -> str:
    """P x K with the batch filled: few classes give many images each; classes of few images give many classes."""
    per_class = max(2, min(f.median_class, batch // min(f.classes, 16)))
    classes = max(2, min(f.classes, batch // per_class))
    return f"pk(classes={classes}, images={per_class})"


def epochs_for(train: int, usual: int) -> int:
    """Fewer passes over large sets, more over tiny ones."""
    few, many = math.sqrt(2000 / max(1, train)), math.sqrt(10_000 / max(1, train))
    return max(3, round(usual * min(3.0, max(1.0, few)) * min(1.0, many)))


def fitted(recipe: Recipe, of_data: Facts, notes: list[str], minutes: float, fixed: set[str], images: Images) -> Plan:
    """The recipe with epochs that suit the time, which a few steps measure; memory too."""
    recipe = resolve_defaults(recipe)
    memory_before = memory()
    per_epoch, amp, precision = measured(recipe, enlarged(images, of_data, recipe))
    recipe = recipe.replace(amp=amp)
    most = minutes or MINUTES
    by_time = int(most * 60 * 0.9 / per_epoch)
    epochs = recipe.epochs
    if "epochs" not in fixed:
        if minutes:  # use the requested time, up to four times the usual number of epochs
            epochs = max(1, min(by_time, 4 * recipe.epochs))
        elif by_time < epochs:
            epochs = max(1, by_time)
            notes = [*notes, f"cut to {MINUTES:.0f} minutes: --minutes 60 trains for longer"]
    recipe = recipe.replace(epochs=epochs)
    if minutes and "max_seconds" not in fixed:
        recipe = recipe.replace(max_seconds=minutes * 60)
    return Plan(recipe, of_data, tuple(notes), epochs * per_epoch / 60, max(memory(), memory_before) / 2**30, precision)


def enlarged(images: Images, of_data: Facts, recipe: Recipe) -> Images:
    """The images that were looked at in the shape that the recipe trains on; nothing in memory is read again.

    The time and memory of a step depend on the shape alone.
    """
    if len(images.shape) != 3:
        return images
    own = of_data.shape[1:] or (min(LARGEST, of_data.side),) * 2
    height, width = sides_of(recipe.size) or own
    least = 0 if recipe.size else needed_side(recipe.network, (images.shape[0], height, width))
    channels = recipe.channels or images.shape[0]
    if isinstance(images.pixels, Files):
        each = (channels, max(least, height), max(least, width))
        return dataclasses.replace(images, pixels=dataclasses.replace(images.pixels, each=each, stored=None))
    options = LoadOptions(
        size=f"{max(least, height)}x{max(least, width)}", channels=channels if channels in (1, 3) else 0
    )
    return dataclasses.replace(images, pixels=conform(images.pixels, options))


def measured(recipe: Recipe, images: Images, clock: Callable[[], float] = time.perf_counter) -> tuple[float, str, str]:
    """Seconds an epoch, by a few steps of this very recipe on its training images; amp, and what decided it."""
    from likewise.experiment.trial import loop

    parts = build(recipe.replace(epochs=1, ema=0.0), images)
    precision = settle(parts)
    times, steps = [clock()], 1
    for state in loop(parts):
        steps = state.num_batches
        times.append(clock())
        if len(times) > STEPS + 1:
            break
    spans = [after - before for before, after in pairwise(times)]
    return steps * min(spans[1:] or spans), parts.recipe.amp, precision


def memory() -> int:
    """Peak bytes of this process; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
