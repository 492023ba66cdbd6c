"""Report section: a training batch as the network receives it."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from likewise.experiment.build import feed_of
from likewise.experiment.checkpoint import kept_plan
from likewise.experiment.recipe import Recipe
from likewise.training.loop import Feed
from likewise.viz.pages.cases import card
from likewise.viz.pages.html import Html, tag, thumb
from likewise.viz.pages.run_data import RunData

__all__ = ["batch", "varied"]

MOST, EACH = 48, 4  # images on the page, and per class
ROLES = ("anchor", "its partner", "its second partner")


def batch(m: RunData) -> list[Html]:
    """Show the first batch of training; with an embedding-aware sampler, the first batch of the last epoch."""
    if m.images is None or len(m.images.shape) != 3 or not len(m.images.part("train")):
        return []
    recipe = m.run.recipe
    feed = feed_of(recipe, m.images)
    plan = last_plan(m, feed)
    rows = (plan or feed.plan(0))[0]
    pixels = varied(feed, rows, recipe.seed).numpy()
    groups = beside(len(rows), feed.partners) if feed.partners else by_class(feed.images.labels[rows])
    count = sum(map(len, groups))
    which = "a batch of the last epoch" if plan else "the first batch"
    shown = f"{count} of the {len(rows)}" if count < len(rows) else f"All {count}"
    text = tag("p", f"{shown} images of {which}, as the network receives them: {description(recipe)}")
    boxes = (tag("div", *cards(feed, rows, pixels, group), class_="pair") for group in groups)
    return [text, tag("div", *boxes, class_="errors"), *mined(m)]


def last_plan(m: RunData, feed: Feed) -> Sequence[Tensor]:
    """Batches saved with the run for an embedding-aware sampler, if they still index these images."""
    plan = kept_plan(m.run.last) if feed.needs_embeddings and m.run.last.exists() else []
    return plan if plan and max(int(rows.max()) for rows in plan) < len(feed.images) else []


def varied(feed: Feed, rows: Tensor, seed: int) -> Tensor:
    """The images of a batch, augmented as in training; deterministic for a seed."""
    images = feed.images.batch(rows)
    return feed.augment(images, torch.Generator().manual_seed(seed)) if feed.augment else images


def by_class(labels: Tensor) -> list[list[int]]:
    """Indices of up to EACH images of each class."""
    return [(labels == kind).nonzero()[:EACH, 0].tolist() for kind in labels.unique().tolist()[: MOST // EACH]]


def beside(rows: int, partners: int) -> list[list[int]]:
    """Indices of some anchors, each with its partners."""
    anchors = rows // (1 + partners)
    return [list(range(at, rows, anchors)) for at in range(min(anchors, MOST // (1 + partners)))]


def cards(feed: Feed, rows: Tensor, pixels: np.ndarray, group: Sequence[int]) -> list[Html]:
    """Images with their class and, for anchors with partners, their role."""
    names = [feed.images.classes[c] for c in feed.images.labels[rows[list(group)]].tolist()]
    roles = [ROLES[min(turn, 2)] if feed.partners else "" for turn in range(len(group))]
    ids = [feed.images.ids[i] for i in rows[list(group)].tolist()]
    return [card(thumb(pixels[at], i), name, role) for at, i, name, role in zip(group, ids, names, roles, strict=True)]


def description(recipe: Recipe) -> str:
    """Describe sampling and augmentation, and what to check."""
    how = f"augmented by {recipe.augment}" if recipe.augment else "without augmentation"
    return (
        f"drawn by {recipe.sampler}, {how}. Look for images whose class you cannot recognise yourself (augmented "
        "too strongly, too small, cropped away) and for wrong labels: the network is trained on all of them."
    )


def mined(m: RunData) -> Iterator[Html]:
    """Number of hard negatives for the last epoch, and of those filtered out as false negatives."""
    for line in m.lines("draw", "negatives", "too_near", "doubted")[-1:]:
        text = (
            f"Hard negatives for the last epoch: {line['negatives']:,}. Filtered out as likely false negatives: "
            f"{line['too_near']:,} more similar to the anchor than its positives, and {line['doubted']:,} whose "
            "neighbours are mostly of the anchor's class."
        )
        yield tag("p", text, class_="note")
