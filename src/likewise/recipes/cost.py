"""What a planned training costs here: a few steps, forward passes and decoded files, measured; pages estimated."""

import dataclasses
import os
import time
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch

from likewise.data.files import LARGEST, Files, conform
from likewise.data.images import Images
from likewise.data.options import LoadOptions
from likewise.data.subset import SNAPSHOT_IMAGES
from likewise.experiment.baselines import cap
from likewise.experiment.build import Parts, build, needed_side
from likewise.experiment.page_cost import pages_seconds
from likewise.experiment.precision import settle
from likewise.experiment.recipe import Recipe
from likewise.experiment.trial import VALIDATION_REFERENCES
from likewise.imaging.decode import ImageError, decode
from likewise.imaging.sizes import sides_of
from likewise.models.embedder import evaluating
from likewise.models.inputs import at_once
from likewise.recipes.facts import Facts, spaced_files

__all__ = ["Cost", "Measured", "cost_of", "enlarged", "measured", "memory"]

STEPS = 3  # measured, after one that warms up
WARM = 8  # images of the forward pass before the measured one
DECODED = 12  # files that are decoded whole
FROZEN = 0.015  # seconds of an image in frozen published features, on one core
FIXED, EACH = 8.0, 0.002  # seconds of scores and pages on a free core: once, and for each image
BUSIEST = 20.0  # slowdown by other processes that is believed


class Measured(NamedTuple):
    """Seconds of an epoch's steps, of embedding an image and of decoding one; amp, and what decided it.

    busy: how many times longer this process takes than its own computing, for the cores are shared with others.
    """

    epoch: float
    forward: float
    decode: float
    amp: str
    precision: str = ""
    busy: float = 1.0


class Cost(NamedTuple):
    """Seconds: reading the images, an epoch with its validation, scores and baselines."""

    read: float
    epoch: float
    scoring: float
    images: int
    busy: float = 1.0

    def total(self, epochs: int) -> float:
        """Of a whole training with its pages."""
        trained = epochs * self.epoch
        return self.read + trained + self.scoring + self.busy * pages_seconds(self.images, trained)

    def epochs_within(self, seconds: float) -> int:
        """The most epochs with which a training stays within so many seconds; a third of them train at least."""
        left = max(seconds / 3, seconds - self.read - self.scoring)
        epochs = max(1, int(left / self.epoch))
        while epochs > 1 and epochs * self.epoch > seconds / 3 and self.total(epochs) > seconds:
            epochs -= max(1, epochs // 50)
        return epochs


def cost_of(recipe: Recipe, f: Facts, m: Measured) -> Cost:
    """The seconds that a recipe takes by what was measured, with the number of images that each stage looks at."""
    validated = f.val + (0 if f.open else min(f.train, VALIDATION_REFERENCES))
    often = bool(f.val) / recipe.eval_every_epochs if recipe.eval_every_epochs else 0.0
    snapshots = 2 * (min(f.train, SNAPSHOT_IMAGES) + min(f.test or f.val, SNAPSHOT_IMAGES))
    compared = cap(recipe, f.train)
    baselines = compared * (m.forward + (m.forward if recipe.weights else m.busy * FROZEN))
    scoring = (f.images + snapshots) * m.forward + baselines + m.busy * (FIXED + EACH * f.images)
    validation = validated * m.forward + m.busy * EACH * f.val
    return Cost(f.images * m.decode, m.epoch + often * validation, scoring, f.images, m.busy)


def measured(
    recipe: Recipe, images: Images, of_data: Facts, clock: Callable[[], float] = time.perf_counter
) -> Measured:
    """A few steps of this very recipe on its training images, a forward pass, and a few files decoded whole."""
    from likewise.experiment.trial import loop

    start, own = clock(), time.thread_time()
    parts = build(recipe.replace(epochs=1, ema=0.0), enlarged(images, of_data, recipe))
    precision = settle(parts)
    times, steps = [clock()], 1
    for state in loop(parts):
        steps = state.num_batches
        times.append(clock())
        if len(times) > STEPS + 1:
            break
    spans = [after - before for before, after in pairwise(times)]
    forward = forward_seconds(parts, clock)
    decoding = decode_seconds(images, recipe, parts.images.shape, clock)
    busy = min(BUSIEST, max(1.0, (clock() - start) / max(1e-3, time.thread_time() - own)))
    return Measured(steps * min(spans[1:] or spans), forward, decoding, parts.recipe.amp, precision, busy)


@torch.no_grad()
def forward_seconds(parts: Parts, clock: Callable[[], float]) -> float:
    """Seconds of embedding an image in a batch as large as embedding takes; a small one warms up."""
    train, span = parts.feed.images, 0.0
    with evaluating(parts.state.model) as model:
        for count in (WARM, at_once(train.shape)):
            start = clock()
            batch = train.batch(torch.arange(min(count, len(train)))).to(parts.device)
            model(batch).cpu()
            span = (clock() - start) / len(batch)
    return span


def decode_seconds(images: Images, recipe: Recipe, shape: tuple[int, ...], clock: Callable[[], float]) -> float:
    """Seconds of reading, decoding and resizing a file, in as many threads as reading has; 0 without files.

    The median of single files, so that a slow first one does not count.
    """
    spans = []
    for path in spaced_files(images, recipe.data, DECODED):
        start = clock()
        try:
            decode(path, (shape[0], shape[1], shape[2]), mode=recipe.fit)
        except ImageError:
            continue
        spans.append(clock() - start)
    return sorted(spans)[len(spans) // 2] / (os.cpu_count() or 1) if spans else 0.0


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


def memory() -> int:
    """Peak bytes of this process; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
